//! The kernel's packet generator, by its files in /proc/net/pktgen (Documentation/networking/pktgen.rst).
//!
//! Its packets have its own tag in place of ours, so they are counted, but neither checked nor timed.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{GeneratorError, Port};
use crate::traffic::{Addresses, Pace, Traffic};

/// Not /proc/net, which is that of the program's first thread.
const DIRECTORY: &str = "/proc/thread-self/net/pktgen";

/// The file that starts and stops all threads.
const CONTROL: &str = "pgctrl";
/// How often to look whether it is time to stop.
const GLANCE: Duration = Duration::from_micros(100);

/// A generator on an interface.
pub(crate) struct Pktgen {
    directory: PathBuf,
    interface: String,
    thread: String,
}

impl Pktgen {
    /// Takes the interface for a processor's thread.
    pub(super) fn open(port: &Port, processor: usize) -> Result<Self, GeneratorError> {
        Self::open_in(Path::new(DIRECTORY), port, processor)
    }

    fn open_in(directory: &Path, port: &Port, processor: usize) -> Result<Self, GeneratorError> {
        if !directory.exists() {
            return Err(GeneratorError::NoPktgen(directory.display().to_string()));
        }
        let pktgen = Self {
            directory: directory.to_owned(),
            interface: port.name.clone(),
            thread: format!("kpktgend_{processor}"),
        };
        pktgen.write(&pktgen.thread, "rem_device_all")?;
        pktgen.write(&pktgen.thread, &format!("add_device {}", port.name))?;
        Ok(pktgen)
    }

    /// Sends until the stream ends or until told to stop; returns how many frames were sent.
    pub(super) fn run(
        &mut self,
        traffic: &Traffic,
        pace: Pace,
        stop: &AtomicBool,
    ) -> Result<u64, GeneratorError> {
        for command in commands(traffic, pace) {
            self.write(&self.interface, &command)?;
        }
        let end = match pace {
            Pace::Flood => None,
            Pace::Rate(_, duration) => Some(Instant::now() + duration),
        };
        let is_over =
            || stop.load(Ordering::Relaxed) || end.is_some_and(|end| Instant::now() >= end);
        thread::scope(|scope| {
            // It returns when somebody else stops it.
            let sending = scope.spawn(|| self.write(CONTROL, "start"));
            while !sending.is_finished() && !is_over() {
                thread::sleep(GLANCE);
            }
            let stopped = self.write(CONTROL, "stop");
            sending.join().expect("writing a file does not panic")?;
            stopped
        })?;
        let path = self.directory.join(&self.interface);
        let text = fs::read_to_string(&path).unwrap_or_default();
        packets_sent(&text).ok_or_else(|| GeneratorError::PktgenResult {
            path: path.display().to_string(),
            text,
        })
    }

    fn write(&self, file: &str, command: &str) -> Result<(), GeneratorError> {
        let path = self.directory.join(file);
        fs::write(&path, format!("{command}\n")).map_err(|source| GeneratorError::Pktgen {
            path: path.display().to_string(),
            command: command.to_owned(),
            source,
        })
    }
}

impl Drop for Pktgen {
    fn drop(&mut self) {
        // Whoever uses it next does the same first.
        let _ = self.write(&self.thread, "rem_device_all");
    }
}

/// Returns what is to be written for a stream, which goes on until it is stopped.
fn commands(traffic: &Traffic, pace: Pace) -> Vec<String> {
    let [source_mac, destination_mac] = [traffic.source_mac, traffic.destination_mac]
        .map(|mac| mac.map(|octet| format!("{octet:02x}")).join(":"));
    let mut commands = vec![
        format!("pkt_size {}", traffic.length),
        "count 0".to_owned(),
        "clone_skb 0".to_owned(),
        format!("src_mac {source_mac}"),
        format!("dst_mac {destination_mac}"),
    ];
    commands.push(match pace {
        Pace::Flood => "delay 0".to_owned(),
        Pace::Rate(rate, _) => format!("ratep {:.0}", rate.max(1.0)),
    });
    commands.extend(range("src", &traffic.source));
    commands.extend(range("dst", &traffic.destination));
    // RFC 4814, 4.5.
    commands.extend(
        [
            "udp_src_min 1024",
            "udp_src_max 65535",
            "udp_dst_min 1",
            "udp_dst_max 49151",
            "flag IPSRC_RND",
            "flag IPDST_RND",
            "flag UDPSRC_RND",
            "flag UDPDST_RND",
            "flag UDPCSUM",
        ]
        .map(str::to_owned),
    );
    commands
}

/// Returns the commands for the addresses of one side: all of them, without gaps, in IPv4; in IPv6 the first.
fn range(side: &str, addresses: &Addresses) -> Vec<String> {
    let last = addresses.last_without_gaps();
    match addresses.first {
        IpAddr::V4(first) => vec![format!("{side}_min {first}"), format!("{side}_max {last}")],
        IpAddr::V6(first) => vec![format!("{side}6 {first}")],
    }
}

/// Finds the number of packets in a line like `Result: OK: 5(c4+d1) usec, 1000 (60byte,0frags)`.
fn packets_sent(text: &str) -> Option<u64> {
    let result = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Result: OK:"))?;
    result
        .split_once("usec,")?
        .1
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::tests::example;

    #[test]
    fn a_stream_in_ipv4() {
        assert_eq!(
            commands(&example(false, 60), Pace::Rate(250_000.0, Duration::MAX)),
            [
                "pkt_size 60",
                "count 0",
                "clone_skb 0",
                "src_mac 02:00:00:00:00:01",
                "dst_mac 02:00:00:00:00:02",
                "ratep 250000",
                "src_min 198.18.0.0",
                "src_max 198.18.3.231",
                "dst_min 10.1.2.3",
                "dst_max 10.1.2.7",
                "udp_src_min 1024",
                "udp_src_max 65535",
                "udp_dst_min 1",
                "udp_dst_max 49151",
                "flag IPSRC_RND",
                "flag IPDST_RND",
                "flag UDPSRC_RND",
                "flag UDPDST_RND",
                "flag UDPCSUM",
            ]
        );
    }

    #[test]
    fn a_stream_in_ipv6_at_full_speed() {
        let commands = commands(&example(true, 80), Pace::Flood);
        for expected in [
            "delay 0",
            "src6 2001:db8:1::a01:203",
            "dst6 2001:db8:46::c612:0",
        ] {
            assert!(
                commands.iter().any(|command| command == expected),
                "{commands:?}"
            );
        }
    }

    #[test]
    fn the_files_are_written_and_read() {
        let directory = tempfile::tempdir().unwrap();
        let port = Port {
            name: "eth7".to_owned(),
            index: 7,
        };
        let mut pktgen = Pktgen::open_in(directory.path(), &port, 3).unwrap();
        let read = |file: &str| fs::read_to_string(directory.path().join(file)).unwrap();
        assert_eq!(read("kpktgend_3"), "add_device eth7\n");
        let error = pktgen
            .run(&example(false, 60), Pace::Flood, &AtomicBool::new(true))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("does not tell how many packets were sent"),
            "{error}"
        );
        // Both `start` and `stop` are written, at the same time, which only the kernel's file can tell apart.
        assert!(read("pgctrl").starts_with("st"));
        assert_eq!(read("eth7"), "flag UDPCSUM\n");
        drop(pktgen);
        assert_eq!(read("kpktgend_3"), "rem_device_all\n");

        let text = "Params: count 1000\n Current:\n     pkts-sofar: 1000  errors: 0\n\
                    Result: OK: 1234(c1200+d34) usec, 1000 (60byte,0frags)\n  810372pps 388Mb/sec\n";
        assert_eq!(packets_sent(text), Some(1000));
        assert_eq!(packets_sent("Result: Idle"), None);
    }

    #[test]
    fn a_missing_module_is_named() {
        let port = Port {
            name: "eth7".to_owned(),
            index: 7,
        };
        let Err(error) = Pktgen::open_in(Path::new("/nonexistent/pktgen"), &port, 0) else {
            panic!("there is no such folder");
        };
        let error = error.to_string();
        assert!(
            error.contains("/nonexistent/pktgen") && error.contains("modprobe pktgen"),
            "{error}"
        );
    }
}
