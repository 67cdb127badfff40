//! Laboratories of network namespaces: for `siit-relay demo`, tests and benchmarks.
//!
//! A [`Namespace`] is named below `/run/netns` as `ip netns add` would, so `ip netns exec NAME ...` works on it, and is gone
//! when its value is dropped. [`veth_pair`] ties namespaces together; addresses, routes and the rest are methods of
//! [`Namespace`]. All is done by system calls and netlink: no program is needed. Nothing here is used by the running relay.

mod command;
mod error;
mod link;
mod route;

pub use command::Command;
pub use error::LabError;
pub use link::{VethEnd, Vlan, veth_pair};
pub use route::Route;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

use netlink_packet_route::RouteNetlinkMessage;
use rustix::fs::{FlockOperation, flock};
use rustix::mount::{
    MountPropagationFlags, UnmountFlags, mount_bind, mount_bind_recursive, mount_change, unmount,
};

use crate::driver::ethtool::Ethtool;
use crate::driver::namespace::{enter_network, unshare_network};
use crate::driver::netlink::{Connection, NetlinkError};

/// Where iproute2 keeps the names of namespaces.
const DIRECTORY: &str = "/run/netns";

/// A named network namespace, with its loopback interface up. Dropping it removes it, unless it is to be kept.
///
/// Duplicate address detection is off inside, so that addresses work as soon as they are there.
///
/// What still runs inside keeps the namespace alive without its name: end such programs first.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    handle: File,
    connection: Mutex<Connection>,
    kept: bool,
}

impl Namespace {
    /// Makes a namespace and names it `/run/netns/<name>`.
    ///
    /// # Errors
    ///
    /// When the name is taken, or the caller is not root.
    pub fn create(name: &str) -> Result<Self, LabError> {
        let failed = |request: &str, source: io::Error| LabError::system(name, request, source);
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(failed("use this name", io::ErrorKind::InvalidInput.into()));
        }
        share_directory().map_err(|source| failed("share the mounts of /run/netns", source))?;
        let path = Path::new(DIRECTORY).join(name);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o000)
            .open(&path)
            .map_err(|source| failed("create its file in /run/netns", source))?;

        let connection = thread::scope(|scope| scope.spawn(|| populate(name, &path)).join())
            .unwrap_or_else(|panic| resume_unwind(panic));
        let opened = connection.and_then(|connection| match File::open(&path) {
            Ok(handle) => Ok((handle, connection)),
            Err(source) => Err(failed("open", source)),
        });
        match opened {
            Ok((handle, connection)) => {
                let namespace = Self {
                    name: name.to_owned(),
                    handle,
                    connection: Mutex::new(connection),
                    kept: false,
                };
                namespace.skip_duplicate_address_detection()?;
                namespace.set_up("lo")?;
                Ok(namespace)
            }
            Err(error) => {
                remove(&path).unwrap_or_else(|source| {
                    tracing::warn!("cannot remove {}: {source}", path.display())
                });
                Err(error)
            }
        }
    }

    /// Returns the namespace that the calling thread is in. Dropping it leaves it as it is.
    pub fn current() -> Result<Self, LabError> {
        let name = "(current)";
        let handle = File::open("/proc/thread-self/ns/net")
            .map_err(|source| LabError::system(name, "open", source))?;
        let connection = Connection::open()
            .map_err(|source| LabError::netlink(name, "open a netlink socket", source))?;
        Ok(Self {
            name: name.to_owned(),
            handle,
            connection: Mutex::new(connection),
            kept: true,
        })
    }

    /// The name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for the namespace, for `nsenter --net=FILE`.
    pub fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.name)
    }

    /// Leaves the namespace and its name behind when the value is dropped.
    pub fn keep(mut self) {
        self.kept = true;
    }

    /// Runs a closure on a thread of its own inside the namespace, and returns its value.
    ///
    /// Sockets that the closure opens, and threads and programs that it starts, belong to the namespace. `/sys` still shows
    /// the interfaces of the namespace in which it was mounted; `/proc/sys/net` follows the thread.
    ///
    /// # Panics
    ///
    /// When the closure does.
    pub fn run_in<R: Send>(&self, work: impl FnOnce() -> R + Send) -> Result<R, LabError> {
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    enter_network(self.handle.as_fd()).map_err(|error| {
                        LabError::system(&self.name, "enter the namespace", error.into())
                    })?;
                    Ok(work())
                })
                .join()
                .unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Begins a command that will run inside the namespace.
    pub fn command(&self, program: &str) -> Command<'_> {
        Command::new(self, program)
    }

    /// Writes a kernel setting of the namespace, for example `net/ipv4/ip_forward`.
    pub fn sysctl(&self, setting: &str, value: &str) -> Result<(), LabError> {
        let path = Path::new("/proc/sys").join(setting);
        self.run_in(|| fs::write(&path, value))?.map_err(|source| {
            LabError::system(
                &self.name,
                &format!("write {value} to sysctl {setting}"),
                source,
            )
        })
    }

    /// Makes the namespace a router for both address families.
    pub fn enable_forwarding(&self) -> Result<(), LabError> {
        self.sysctl("net/ipv4/ip_forward", "1")?;
        self.sysctl("net/ipv6/conf/all/forwarding", "1")
    }

    /// Makes an interface compute the transport checksum of every packet before it hands it out. Without this, XDP and
    /// AF_XDP programs at the other end of a veth see checksums which nobody has finished.
    pub fn disable_transmit_checksum_offload(&self, interface: &str) -> Result<(), LabError> {
        self.run_in(|| Ethtool::open()?.set_transmit_checksum(interface, false))?
            .map_err(|source| LabError::Ethtool {
                namespace: self.name.clone(),
                source,
            })
    }

    /// Makes an interface take frames that an XDP program redirects to the other end of its veth pair.
    pub fn take_redirected_frames(&self, interface: &str) -> Result<(), LabError> {
        self.run_in(|| Ethtool::open()?.set_receive_offload(interface, true))?
            .map_err(|source| LabError::Ethtool {
                namespace: self.name.clone(),
                source,
            })
    }

    /// Makes addresses usable at once. Otherwise a link-local address, from which neighbours are solicited, comes to life one
    /// or two seconds after its interface.
    fn skip_duplicate_address_detection(&self) -> Result<(), LabError> {
        for scope in ["all", "default"] {
            match self.sysctl(&format!("net/ipv6/conf/{scope}/accept_dad"), "0") {
                // A machine without IPv6 has nothing to switch off.
                Err(LabError::System { source, .. })
                    if source.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Performs one netlink request in the namespace; `what` completes "cannot ..." in the error.
    fn request(
        &self,
        what: &str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), LabError> {
        self.netlink(what, |connection| connection.request(message, flags))
    }

    fn netlink<R>(
        &self,
        what: &str,
        call: impl FnOnce(&mut Connection) -> Result<R, NetlinkError>,
    ) -> Result<R, LabError> {
        // A panic elsewhere leaves no half of an exchange behind: answers carry sequence numbers.
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        call(&mut connection).map_err(|source| LabError::netlink(&self.name, what, source))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = remove(&self.path())
        {
            tracing::warn!("cannot remove the network namespace {}: {error}", self.name);
        }
    }
}

/// On the calling thread: makes the namespace, ties it to its file, and opens a connection inside.
fn populate(name: &str, path: &Path) -> Result<Connection, LabError> {
    unshare_network()
        .map_err(|error| LabError::system(name, "make a network namespace", error.into()))?;
    mount_bind("/proc/thread-self/ns/net", path)
        .map_err(|error| LabError::system(name, "mount it in /run/netns", error.into()))?;
    Connection::open().map_err(|source| LabError::netlink(name, "open a netlink socket", source))
}

fn remove(path: &Path) -> io::Result<()> {
    match unmount(path, UnmountFlags::DETACH) {
        // The file of a namespace that could not be made.
        Ok(()) | Err(rustix::io::Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    fs::remove_file(path)
}

/// Makes `/run/netns` a shared mount of its own, as iproute2 does, so that names made and removed in one mount namespace
/// are seen in those cloned from it.
fn share_directory() -> io::Result<()> {
    fs::create_dir_all(DIRECTORY)?;
    let directory = File::open(DIRECTORY)?;
    // The lock iproute2 takes too: otherwise two at a time would mount the directory twice.
    flock(&directory, FlockOperation::LockExclusive)?;
    let propagation = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    match mount_change(DIRECTORY, propagation) {
        Err(rustix::io::Errno::INVAL) => {
            mount_bind_recursive(DIRECTORY, DIRECTORY)?;
            mount_change(DIRECTORY, propagation)?;
            Ok(())
        }
        other => Ok(other?),
    }
}

#[cfg(test)]
pub(crate) mod tests;
