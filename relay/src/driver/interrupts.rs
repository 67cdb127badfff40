//! Which processor serves the interrupt of each receive queue, as the kernel tells in /proc and /sys.
//!
//! The kernel does not say which interrupt belongs to which queue; drivers do, by the names that they give to interrupts.
//! `/proc/interrupts` shows those of all devices of the machine, whatever namespace their interfaces are in.

use super::sysfs;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The parts of names between interface and queue by which drivers mean that a queue receives.
const RECEIVING: [&str; 5] = ["-tx-rx", "-txrx", "-rxtx", "-rx", "-fp"];

/// The interrupt of a receive queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupt {
    /// The kernel's number for it.
    pub number: u32,
    /// The one processor that serves it.
    pub processor: usize,
}

/// Why it is not known which interrupts an interface has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// The interface is not in /sys, which shows those of another network namespace.
    #[error("/sys/class/net does not show it (it shows another network namespace)")]
    NotShown,
    /// It is made in software.
    #[error("it has no device, and so no interrupts")]
    NoDevice,
    /// A file cannot be read.
    #[error("{path}: {error}")]
    Unreadable {
        /// The file.
        path: &'static str,
        /// What the system says.
        error: String,
    },
    /// No name of an interrupt is one that a driver is known to give.
    #[error("no interrupt in /proc/interrupts has a name that tells its queue")]
    NoNames,
    /// They may come to several processors.
    #[error("its interrupts are not tied to one processor each")]
    NotTied,
}

/// Finds the interrupts of an interface's receive queues, by queue.
///
/// # Errors
///
/// Not one of them is known.
pub fn of_interface(name: &str, index: u32) -> Result<BTreeMap<u32, Interrupt>, Unknown> {
    let class = sysfs::interface(name, index).ok_or(Unknown::NotShown)?;
    let device = fs::canonicalize(class.join("device")).map_err(|_| Unknown::NoDevice)?;
    let owner = Owner {
        interface: name.to_owned(),
        device: last_part(&device),
        numbers: message_interrupts(&device),
    };
    let path = "/proc/interrupts";
    let text = fs::read_to_string(path).map_err(|error| Unknown::Unreadable {
        path,
        error: error.to_string(),
    })?;
    let numbers = receive_queues(&text, &owner);
    if numbers.is_empty() {
        return Err(Unknown::NoNames);
    }
    let tied = numbers.into_iter().filter_map(|(queue, number)| {
        let processor = processor_of(number)?;
        Some((queue, Interrupt { number, processor }))
    });
    let tied: BTreeMap<u32, Interrupt> = tied.collect();
    match tied.is_empty() {
        true => Err(Unknown::NotTied),
        false => Ok(tied),
    }
}

/// Returns the processors of each NUMA node.
pub fn nodes() -> Vec<Vec<usize>> {
    let Ok(entries) = fs::read_dir("/sys/devices/system/node") else {
        return Vec::new();
    };
    let lists =
        entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("cpulist")).ok());
    lists.filter_map(|list| processors(&list)).collect()
}

/// What the names of interrupts are compared with.
#[derive(Debug, Default)]
struct Owner {
    interface: String,
    /// As `0000:3b:00.0` on PCI, or `virtio2`.
    device: String,
    /// The message-signalled interrupts of the device; empty if it does not tell.
    numbers: BTreeSet<u32>,
}

/// Lists the interrupts of a device, or of the one that it is a part of, as virtio devices are.
fn message_interrupts(device: &Path) -> BTreeSet<u32> {
    let directories = std::iter::once(device).chain(device.parent());
    let lists = directories.filter_map(|directory| fs::read_dir(directory.join("msi_irqs")).ok());
    let entries = lists.flatten().filter_map(Result::ok);
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn last_part(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Reads the one processor that serves an interrupt, where it is one.
fn processor_of(interrupt: u32) -> Option<usize> {
    let read = |file: &str| fs::read_to_string(format!("/proc/irq/{interrupt}/{file}")).ok();
    // Where the kernel does not tell what the controller made of it, what was asked of it is the next best.
    ["effective_affinity_list", "smp_affinity_list"]
        .into_iter()
        .find_map(|file| processors(&read(file)?).filter(|list| !list.is_empty()))
        .and_then(|list| match list.as_slice() {
            [only] => Some(*only),
            _ => None,
        })
}

/// Reads a list of processors as the kernel writes them: `0-3,8`; empty for none.
fn processors(text: &str) -> Option<Vec<usize>> {
    let mut processors = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        processors.extend(first.parse().ok()?..=last.parse::<usize>().ok()?);
    }
    Some(processors)
}

/// Finds in the text of /proc/interrupts the numbers of those of an interface's receive queues, by queue.
fn receive_queues(text: &str, owner: &Owner) -> BTreeMap<u32, u32> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let Some((number, rest)) = line.split_once(':') else {
            continue;
        };
        let Ok(number) = number.trim().parse() else {
            continue;
        };
        if !owner.numbers.is_empty() && !owner.numbers.contains(&number) {
            continue;
        }
        let mut names = rest.split([' ', ',']);
        if let Some(queue) = names.find_map(|name| receive_queue(name, owner)) {
            found.entry(queue).or_insert(number);
        }
    }
    found
}

/// Returns the receive queue that an interrupt's name tells, if it is one of the interface's.
fn receive_queue(name: &str, owner: &Owner) -> Option<u32> {
    // mlx5_comp3@pci:0000:3b:00.0
    if let Some(completion) = name.strip_prefix("mlx5_comp") {
        let (queue, device) = completion.split_once("@pci:")?;
        return (device == owner.device).then(|| queue.parse().ok())?;
    }
    // virtio2-input.3
    let input = name.strip_prefix(owner.device.as_str());
    if let Some(queue) = input.and_then(|rest| rest.strip_prefix("-input.")) {
        return queue.parse().ok();
    }
    // eth0-TxRx-3, and with the driver's name in front: i40e-eth0-TxRx-3
    let (head, queue) = name.rsplit_once('-')?;
    let queue = queue.parse().ok()?;
    let lower = head.to_ascii_lowercase();
    let is_owned = |kind: &&str| {
        let interface = lower
            .strip_suffix(*kind)
            .and_then(|rest| head.get(..rest.len()));
        let before = interface.and_then(|rest| rest.strip_suffix(owner.interface.as_str()));
        before.is_some_and(|before| before.is_empty() || before.ends_with('-'))
    };
    RECEIVING.iter().any(is_owned).then_some(queue)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(interface: &str, device: &str) -> Owner {
        Owner {
            interface: interface.to_owned(),
            device: device.to_owned(),
            numbers: BTreeSet::new(),
        }
    }

    fn queues(text: &str, owner: &Owner) -> Vec<(u32, u32)> {
        receive_queues(text, owner).into_iter().collect()
    }

    #[test]
    fn names_tell_the_queues_that_receive() {
        let pci = "0000:3b:00.0";
        for (interface, device, name, expected) in [
            ("eth0", pci, "mlx5_comp3@pci:0000:3b:00.0", Some(3)),
            ("eth0", pci, "mlx5_comp3@pci:0000:3b:00.1", None),
            ("eth0", pci, "mlx5_async3@pci:0000:3b:00.0", None),
            ("eth0", pci, "i40e-eth0-TxRx-3", Some(3)),
            ("eth0", pci, "iavf-eth0-TxRx-11", Some(11)),
            ("eth0", pci, "ice-eth0-TxRx-3", Some(3)),
            ("eth0", pci, "eth0-TxRx-3", Some(3)),
            ("eth0", pci, "eth0-rx-3", Some(3)),
            ("eth0", pci, "eth0-Tx-Rx-3", Some(3)),
            ("eth0", pci, "eth0-rxtx-3", Some(3)),
            ("eth0", pci, "eth0-fp-3", Some(3)),
            ("eth0", "virtio2", "virtio2-input.3", Some(3)),
            ("eth0", "virtio2", "virtio2-output.3", None),
            ("eth0", "virtio2", "virtio21-input.3", None),
            ("eth0", "virtio2", "virtio2-config", None),
            ("eth0", pci, "eth0-tx-3", None),
            ("eth0", pci, "eth0", None),
            ("eth0", pci, "eth0-TxRx-", None),
            ("eth0", pci, "eth01-TxRx-3", None),
            ("eth0", pci, "meth0-TxRx-3", None),
            ("wan-0", pci, "ice-wan-0-TxRx-3", Some(3)),
            ("0", pci, "ice-wan-0-TxRx-3", Some(3)),
            ("", "", "", None),
        ] {
            let owner = owner(interface, device);
            assert_eq!(receive_queue(name, &owner), expected, "{interface} {name}");
        }
    }

    #[test]
    fn a_virtual_machine() {
        let text = "           CPU0       CPU1
 36:          0     966933 PCI-MSIX-0000:00:02.0   1-edge      virtio1-req.0
 37:          0          0 PCI-MSIX-0000:00:03.0   0-edge      virtio2-config
 38:          0      21338 PCI-MSIX-0000:00:03.0   1-edge      virtio2-input.0
 39:      21077          0 PCI-MSIX-0000:00:03.0   2-edge      virtio2-output.0
 40:       1077          0 PCI-MSIX-0000:00:03.0   3-edge      virtio2-input.1
NMI:          0          0   Non-maskable interrupts
ERR:          0
";
        let mut eth0 = owner("eth0", "virtio2");
        assert_eq!(queues(text, &eth0), [(0, 38), (1, 40)]);
        eth0.numbers = BTreeSet::from([37, 38, 39]);
        assert_eq!(queues(text, &eth0), [(0, 38)]);
        assert_eq!(queues(text, &owner("eth1", "virtio3")), []);
        assert_eq!(queues("", &eth0), []);
    }

    #[test]
    fn a_server_with_cards_of_two_makers() {
        let text = "            CPU0       CPU1       CPU2       CPU3
   9:          0          0          0          0  IR-IO-APIC    9-fasteoi   acpi
 120:          1          0          0          0  IR-PCI-MSI 30932992-edge      i40e-0000:3b:00.0:misc
 121:   90210044          0          0          0  IR-PCI-MSI 30932993-edge      i40e-ens1f0-TxRx-0
 122:          0   80112833          0          0  IR-PCI-MSI 30932994-edge      i40e-ens1f0-TxRx-1
 123:          0          0   80112833          0  IR-PCI-MSI 30932995-edge      i40e-ens1f0-TxRx-2, ens9-rx-0
 160:          0          0          0     112833  IR-PCI-MSIX-0000:5e:00.0 0-edge      mlx5_async0@pci:0000:5e:00.0
 161:          0          0          0     112833  IR-PCI-MSIX-0000:5e:00.0 1-edge      mlx5_comp0@pci:0000:5e:00.0
 162:          0          0          0     112833  IR-PCI-MSIX-0000:5e:00.0 2-edge      mlx5_comp1@pci:0000:5e:00.0
";
        let intel = owner("ens1f0", "0000:3b:00.0");
        assert_eq!(queues(text, &intel), [(0, 121), (1, 122), (2, 123)]);
        let mellanox = owner("ens2f0np0", "0000:5e:00.0");
        assert_eq!(queues(text, &mellanox), [(0, 161), (1, 162)]);
        assert_eq!(queues(text, &owner("ens9", "0000:01:00.0")), [(0, 123)]);
    }

    #[test]
    fn lists_of_processors() {
        assert_eq!(processors("3\n"), Some(vec![3]));
        assert_eq!(processors("0-2,8\n"), Some(vec![0, 1, 2, 8]));
        assert_eq!(processors("\n"), Some(vec![]));
        assert_eq!(processors("all"), None);
        assert_eq!(processors("1-"), None);
    }

    #[test]
    fn the_loopback_has_no_interrupts() {
        assert_eq!(of_interface("lo", 1), Err(Unknown::NoDevice));
        assert_eq!(of_interface("lo", 999_999), Err(Unknown::NotShown));
    }
}
