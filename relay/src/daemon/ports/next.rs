//! The ports of a new generation, and how they differ from those before. Nothing here changes anything.
//!
//! A port that stays keeps what is known of it. Its number, and where its sockets begin, may be another: these are positions among
//! the ports of a generation.

use super::{DaemonError, Port, Ports, find};
use crate::config::{Config, Interface, XdpMode};
use crate::driver::bpf::AttachedMode;
use crate::fast_path::Attachment;
use crate::routes::Mirror;
use eam_tables::layout;
use std::collections::BTreeMap;

/// How the ports of two generations differ, by names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::daemon) struct PortChanges {
    /// Not there before.
    pub(in crate::daemon) added: Vec<String>,
    /// No longer there.
    pub(in crate::daemon) removed: Vec<String>,
    /// Served in another way, or made anew in the meantime.
    pub(in crate::daemon) changed: Vec<String>,
}

impl PortChanges {
    /// Whether there are none.
    pub(in crate::daemon) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

impl Ports {
    /// Looks up what a configuration adds, takes away and changes, and returns the ports to come.
    ///
    /// One that stays as it is may have gone meanwhile; it is no reason to refuse anything.
    pub(in crate::daemon) fn next(
        &self,
        config: &Config,
        mirror: &Mirror,
    ) -> Result<(Self, PortChanges), DaemonError> {
        let mut changes = PortChanges::default();
        let mut ports = Vec::new();
        for interface in &config.interfaces {
            let name = &interface.name;
            let before = self.ports.iter().find(|port| port.interface.name == *name);
            if let Some(before) = before
                && is_same(&before.interface, interface)
                && is_there(before, mirror)
            {
                ports.push(Port {
                    interface: interface.clone(),
                    ..before.clone()
                });
                continue;
            }
            let mut port = find(interface, mirror)?;
            match before {
                Some(_) => changes.changed.push(name.clone()),
                None => changes.added.push(name.clone()),
            }
            // It may have another name than before.
            if let Some(before) = self.ports.iter().find(|it| it.index == port.index) {
                port.attached = before.attached;
                port.takes_redirects = before.takes_redirects;
            }
            ports.push(port);
        }
        let names = self.ports.iter().map(|port| &port.interface.name);
        let is_listed = |name: &&String| config.interfaces.iter().any(|it| it.name == **name);
        changes.removed = names.filter(|name| !is_listed(name)).cloned().collect();
        Ok((Self::number(ports)?, changes))
    }

    /// Returns what the XDP program knows of the ports that are there, by interface index.
    pub(in crate::daemon) fn layouts(&self) -> BTreeMap<u32, layout::Port> {
        let there = self.ports.iter().filter(|port| !port.is_gone);
        there.map(|port| (port.index, port.layout())).collect()
    }

    /// Returns where the XDP program has to be attached, because it is not there or not as the operator wants it.
    pub(in crate::daemon) fn attachments(&self) -> Vec<Attachment> {
        let ports = self.ports.iter();
        let wanting = ports.filter(|port| match (port.interface.xdp, port.attached) {
            (_, None)
            | (XdpMode::Native, Some(AttachedMode::Generic))
            | (XdpMode::Generic, Some(AttachedMode::Native)) => true,
            (XdpMode::Auto, Some(_))
            | (XdpMode::Native, Some(AttachedMode::Native))
            | (XdpMode::Generic, Some(AttachedMode::Generic)) => false,
        });
        let attachment = |port: &Port| Attachment {
            name: port.interface.name.clone(),
            index: port.index,
            mode: port.interface.xdp,
            before: port.attached,
        };
        wanting.map(attachment).collect()
    }

    /// Takes note of how the program was attached.
    pub(in crate::daemon) fn set_attached(&mut self, modes: &BTreeMap<u32, AttachedMode>) {
        for port in &mut self.ports {
            if let Some(mode) = modes.get(&port.index) {
                port.attached = Some(*mode);
                port.tell_attached(*mode);
            }
        }
    }
}

/// Compares what the operator wants, not where the file says so.
fn is_same(one: &Interface, other: &Interface) -> bool {
    let Interface {
        name,
        place: _,
        xdp,
        queues,
        zero_copy,
    } = one;
    *name == other.name
        && *xdp == other.xdp
        && *queues == other.queues
        && *zero_copy == other.zero_copy
}

/// Whether a port is the interface that has its name now, or there is none of that name.
fn is_there(port: &Port, mirror: &Mirror) -> bool {
    let mut links = mirror.links();
    let named = links.find(|(_, link)| link.name == port.interface.name);
    named.is_none_or(|(index, _)| index == port.index)
}
