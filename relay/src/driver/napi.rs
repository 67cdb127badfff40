//! Whether an interface puts its interrupts off while its queues are polled, as its settings in /sys say.
//!
//! They belong to the machine's administrator and are only looked at.

use super::sysfs;
use std::fs;
use std::path::Path;

/// The interrupts that may be put off one after the other, and the nanoseconds after which they come after all, as the
/// kernel's documentation of AF_XDP suggests.
const SUGGESTED: (u32, u32) = (2, 200_000);

/// Returns what has to be set on an interface so that polling its queues keeps its interrupts away; `None` if nothing.
pub fn missing(name: &str, index: u32) -> Option<String> {
    let Some(class) = sysfs::interface(name, index) else {
        return Some(format!(
            "{name}: cannot see whether its interrupts are put off while workers poll it, since /sys/class/net does not show it \
             (it shows another network namespace); {}",
            advice(name)
        ));
    };
    missing_in(name, &class)
}

/// Likewise for the interface that has this name where /sys was mounted; `None` also if there is none.
pub fn missing_here(name: &str) -> Option<String> {
    let class = sysfs::named(name);
    class.exists().then(|| missing_in(name, &class))?
}

fn missing_in(name: &str, class: &Path) -> Option<String> {
    let read = |file| fs::read_to_string(class.join(file)).unwrap_or_default();
    missing_with(
        name,
        &read("napi_defer_hard_irqs"),
        &read("gro_flush_timeout"),
    )
}

/// Takes the settings as the kernel writes them.
fn missing_with(name: &str, defer: &str, timeout: &str) -> Option<String> {
    let is_set = |text: &str| text.trim().parse().is_ok_and(|number: u64| number > 0);
    if is_set(defer) && is_set(timeout) {
        return None;
    }
    let shown = |text: &str| match text.trim() {
        "" => "not there".to_owned(),
        text => text.to_owned(),
    };
    Some(format!(
        "{name}: its interrupts are not put off while workers poll it (napi_defer_hard_irqs is {}, gro_flush_timeout is {}), so \
         that it does the work of both; {}",
        shown(defer),
        shown(timeout),
        advice(name)
    ))
}

fn advice(name: &str) -> String {
    let (defer, timeout) = SUGGESTED;
    format!(
        "set them: `echo {defer} > /sys/class/net/{name}/napi_defer_hard_irqs; \
         echo {timeout} > /sys/class/net/{name}/gro_flush_timeout`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_settings_are_needed() {
        assert_eq!(missing_with("eth0", "2\n", "200000\n"), None);
        for (defer, timeout) in [
            ("0\n", "0\n"),
            ("2\n", "0\n"),
            ("0\n", "200000\n"),
            ("", ""),
        ] {
            let message = missing_with("eth0", defer, timeout).unwrap();
            assert!(message.starts_with("eth0: "), "{message}");
            assert!(
                message.contains("echo 2 > /sys/class/net/eth0/napi_defer_hard_irqs")
                    && message.contains("echo 200000 > /sys/class/net/eth0/gro_flush_timeout"),
                "{message}"
            );
        }
    }

    #[test]
    fn an_interface_that_cannot_be_seen_is_said_to_be() {
        let message = missing("lo", 999_999).unwrap();
        assert!(message.contains("another network namespace"), "{message}");
    }
}
