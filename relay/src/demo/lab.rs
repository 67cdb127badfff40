//! The laboratory: the example of RFC 7755, section 3, as three network namespaces.
//!
//! An IPv4-only client, the relay in the middle, and an IPv6-only server, with a veth pair on either side of the relay.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process;

use super::error::{DemoError, failed};
use super::patience::Patience;
use super::relay::Relay;
use super::traffic::Ends;
use crate::driver::xdp_link;
use crate::lab::{LabError, Namespace, Route, VethEnd, veth_pair};

/// The client.
pub(super) const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 50);
/// The client as the server sees it: inside the translation prefix.
pub(super) const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x46, 0, 0, 0, 0xcb00, 0x7132);
/// The service as the client sees it.
pub(super) const SERVICE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The service, by an Explicit Address Mapping.
pub(super) const SERVICE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x12, 0x34, 0, 0, 0, 1);
/// The first 96 bits of the translation prefix.
pub(super) const PREFIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x46, 0, 0, 0, 0, 0);

const RELAY_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const RELAY_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x12, 0x34, 0, 0, 0, 0xffff);
/// The only interface of the client, and of the server.
const PORT: &str = "eth0";
/// The interfaces of the relay.
const PORT_V4: &str = "ipv4";
const PORT_V6: &str = "ipv6";
const MTU_V4: u32 = 1500;
/// What a full packet of the IPv4 side grows to, so that none has to be fragmented (RFC 7755, 4.9.1).
const MTU_V6: u32 = MTU_V4 + 20;

/// The laboratory with the relay in it. Dropping it stops the relay and removes everything.
///
/// The fields are dropped in their order: a namespace would live on while something runs inside.
#[derive(Debug)]
pub(super) struct Lab {
    name: String,
    pub(super) relay: Relay,
    client: Namespace,
    middle: Namespace,
    server: Namespace,
    directory: Directory,
}

/// What is left behind when the laboratory is kept.
#[derive(Debug, serde::Serialize)]
pub(super) struct Kept {
    /// The namespaces are called by this name with `-client`, `-relay` and `-server` behind it.
    pub(super) name: String,
    /// The relay's process.
    pub(super) relay_pid: u32,
    /// The relay's configuration and log.
    pub(super) directory: PathBuf,
}

impl Lab {
    /// Builds the laboratory and starts the relay.
    pub(super) fn build(patience: Patience<'_>) -> Result<Self, DemoError> {
        let name = format!("siit-demo-{}", process::id());
        let directory = Directory::create(&name)?;
        let namespace = |part: &str| Namespace::create(&format!("{name}-{part}"));
        let (client, middle, server) = (
            namespace("client")?,
            namespace("relay")?,
            namespace("server")?,
        );
        furnish(&client, &middle, &server)?;
        write_configuration(&directory.0)?;
        let relay = Relay::start(&middle, &directory.0, patience)?;
        Ok(Self {
            name,
            relay,
            client,
            middle,
            server,
            directory,
        })
    }

    /// Returns the two ends.
    pub(super) fn ends<'a>(&'a self, patience: Patience<'a>) -> Ends<'a> {
        Ends {
            client: &self.client,
            server: &self.server,
            patience,
        }
    }

    /// Returns the interfaces of the relay that still have an XDP program.
    pub(super) fn programs_left(&self) -> Result<Vec<&'static str>, DemoError> {
        let mut left = Vec::new();
        for port in [PORT_V4, PORT_V6] {
            let index = self.middle.interface_index(port)?;
            let program = self
                .middle
                .run_in(|| xdp_link::attached_program(index))?
                .map_err(failed(format!("see which XDP program {port} has")))?;
            left.extend(program.map(|_| port));
        }
        Ok(left)
    }

    /// Leaves everything as it is.
    pub(super) fn keep(self) -> Kept {
        let Self {
            name,
            relay,
            client,
            middle,
            server,
            directory,
        } = self;
        let kept = Kept {
            name,
            relay_pid: relay.pid(),
            directory: directory.keep(),
        };
        relay.keep();
        for namespace in [client, middle, server] {
            namespace.keep();
        }
        kept
    }
}

/// Ties the namespaces together and gives them addresses and routes.
fn furnish(client: &Namespace, middle: &Namespace, server: &Namespace) -> Result<(), LabError> {
    client.sysctl("net/ipv6/conf/all/disable_ipv6", "1")?;
    veth_pair(
        VethEnd::new(client, PORT).mtu(MTU_V4),
        VethEnd::new(middle, PORT_V4).mtu(MTU_V4),
    )?;
    veth_pair(
        VethEnd::new(server, PORT).mtu(MTU_V6),
        VethEnd::new(middle, PORT_V6).mtu(MTU_V6),
    )?;
    for end in [client, server] {
        // A network card finishes checksums before the wire; a veth leaves that to whoever receives.
        end.disable_transmit_checksum_offload(PORT)?;
        end.take_redirected_frames(PORT)?;
    }
    let v4 = |address| ipnet::Ipv4Net::new_assert(address, 24).into();
    let v6 = |address| ipnet::Ipv6Net::new_assert(address, 64).into();
    client.add_address(PORT, v4(CLIENT_V4))?;
    middle.add_address(PORT_V4, v4(RELAY_V4))?;
    middle.add_address(PORT_V6, v6(RELAY_V6))?;
    server.add_address(PORT, v6(SERVICE_V6))?;
    let pool = ipnet::Ipv4Net::new_assert(SERVICE_V4, 24).trunc();
    client.add_route(&Route::to(pool.into()).via(RELAY_V4.into()))?;
    let clients = ipnet::Ipv6Net::new_assert(PREFIX, 96);
    server.add_route(&Route::to(clients.into()).via(RELAY_V6.into()))
}

fn write_configuration(directory: &Path) -> Result<(), DemoError> {
    let socket = directory.join("control.sock");
    let relay = format!(
        "# The example of RFC 7755, section 3.\n\
         prefix: {PREFIX}/96\n\
         eam: eam.yaml\n\
         service_pools: [192.0.2.0/24]\n\
         interfaces:\n\
         \x20 - name: {PORT_V4}\n\
         \x20 - name: {PORT_V6}\n\
         pin: off\n\
         control: {{ socket: {socket:?}, metrics: off }}\n"
    );
    let eam = format!("eam:\n  - {{ ipv4: {SERVICE_V4}, ipv6: \"{SERVICE_V6}\" }}\n");
    for (name, text) in [("relay.yaml", relay), ("eam.yaml", eam)] {
        let path = directory.join(name);
        fs::write(&path, text).map_err(failed(format!("write {}", path.display())))?;
    }
    Ok(())
}

/// A directory for the relay's configuration and log. Dropping it removes it.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    /// Makes the directory where temporary files belong. One that is already there is not used: it may be a trap.
    fn create(name: &str) -> Result<Self, DemoError> {
        let path = std::path::absolute(std::env::temp_dir().join(name))
            .map_err(failed("find the directory for temporary files"))?;
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(failed(format!("create {}", path.display())))?;
        Ok(Self(path))
    }

    fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.0.as_os_str().is_empty() {
            return;
        }
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("cannot remove {}: {error}", self.0.display());
            }
            Ok(()) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use relay_core::address::Prefix;

    use super::*;

    #[test]
    fn the_client_is_inside_the_translation_prefix() {
        let prefix = Prefix::new(PREFIX, 96).unwrap();
        assert_eq!(prefix.embed(CLIENT_V4), CLIENT_V6);
    }

    #[test]
    fn the_configuration_is_one_that_the_relay_takes() {
        let directory = Directory::create(&format!("siit-demo-test-{}", process::id())).unwrap();
        write_configuration(&directory.0).unwrap();
        let loaded = crate::config::load(&directory.0.join("relay.yaml"));
        let (config, eams) = loaded.usable.unwrap();
        assert_eq!(config.interfaces.len(), 2);
        assert_eq!(eams.len(), 1);
        let path = directory.0.clone();
        drop(directory);
        assert!(!path.exists());
    }
}
