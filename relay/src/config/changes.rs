//! What a new configuration changes in a running relay, and what it cannot.

use super::{Config, ControlPoints};

/// A new configuration, as far as it can take effect without a restart.
#[derive(Debug)]
pub struct Change {
    /// The configuration to go on with.
    pub config: Config,
    /// The keys with new values that need a restart; `config` has their old ones.
    pub needs_restart: Vec<&'static str>,
}

impl Config {
    /// Returns what remains of `next` when the relay that runs with `self` goes on without a restart.
    ///
    /// What the relay listens on is made once, when it starts, and so is the place where it pins; how workers wait is settled with
    /// their first sockets. Everything else can change; whether interfaces can be had is not looked at here.
    pub fn changed_to(&self, next: Self) -> Change {
        // Taken apart in full, so that nobody can add a key without deciding about it.
        let Self {
            mut policy,
            eam,
            eam_counters,
            ipv4_translatable,
            service_pools,
            denylist4,
            interfaces,
            fast_path,
            forwarding,
            pin,
            mtu,
            icmp,
            control,
            cpus,
            wait,
        } = next;
        // Not from the file: it is drawn when the relay starts.
        policy.identification_key = self.policy.identification_key;
        let restarts = [
            ("pin", self.pin != pin),
            ("control.socket", self.control.socket != control.socket),
            ("control.group", self.control.group != control.group),
            ("control.metrics", self.control.metrics != control.metrics),
            ("workers.wait", self.wait != wait),
        ];
        let config = Self {
            policy,
            eam,
            eam_counters,
            ipv4_translatable,
            service_pools,
            denylist4,
            interfaces,
            fast_path,
            forwarding,
            pin: self.pin.clone(),
            mtu,
            icmp,
            control: ControlPoints {
                watch: control.watch,
                ..self.control.clone()
            },
            cpus,
            wait: self.wait,
        };
        Change {
            config,
            needs_restart: restarts
                .into_iter()
                .filter_map(|(key, differs)| differs.then_some(key))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;
    use std::path::Path;

    fn config(text: &str) -> Config {
        let contents = read::read(Path::new("relay.yaml"), text);
        contents.config.expect("there are no errors")
    }

    #[test]
    fn what_needs_a_restart_keeps_its_value_and_is_named() {
        let mut running = config("prefix: 2001:db8:46::/96\ninterfaces: [{ name: eth0 }]\n");
        running.policy.identification_key = 7;
        let next = config(
            "# Moved by a line.\nprefix: 2001:db8:47::/96\ninterfaces: [{ name: eth0 }]\n\
             icmp: { rate: 5 }\n",
        );
        let change = running.changed_to(next.clone());
        assert_eq!(change.needs_restart, [""; 0]);
        assert_eq!(change.config.policy.prefix, next.policy.prefix);
        assert_eq!(change.config.policy.identification_key, 7);
        assert_eq!(change.config.icmp.rate, Some(5));

        let next = config(
            "prefix: 2001:db8:47::/96\ninterfaces: [{ name: eth1 }]\n\
             control: { watch: on, socket: off, group: 0 }\n\
             workers: { cpus: [0], wait: busy }\npin: off\n",
        );
        let change = running.changed_to(next.clone());
        assert_eq!(
            change.needs_restart,
            ["pin", "control.socket", "control.group", "workers.wait"]
        );
        assert_eq!(change.config.pin, running.pin);
        assert_eq!(change.config.control.socket, running.control.socket);
        assert_eq!(change.config.control.group, running.control.group);
        assert_eq!(change.config.wait, running.wait);
        assert!(change.config.control.watch);
        assert_eq!(change.config.interfaces, next.interfaces);
        assert_eq!(change.config.cpus, next.cpus);
        assert_eq!(change.config.policy.prefix, next.policy.prefix);
    }
}
