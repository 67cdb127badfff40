//! Questions and switches of network drivers, by the `SIOCETHTOOL` ioctl.
//!
//! Only what the relay needs: the driver's name, the number of queues, transmit checksum offload.
#![expect(unsafe_code, reason = "the ioctl takes a pointer within its argument")]

use std::ffi::c_void;
use std::io;
use std::os::fd::OwnedFd;

use rustix::ioctl::{Opcode, Updater, ioctl};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

const SIOCETHTOOL: Opcode = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_STXCSUM: u32 = 0x17;
const ETHTOOL_SGRO: u32 = 0x2c;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const IFNAMSIZ: usize = 16;

/// Why a question to a driver failed.
#[derive(Debug, thiserror::Error)]
pub enum EthtoolError {
    /// No socket for the ioctl.
    #[error("cannot open a socket for ethtool requests: {0}")]
    Socket(io::Error),
    /// The interface's driver or the kernel refused.
    #[error("{interface}: ethtool {request}: {source}")]
    Request {
        /// The interface.
        interface: String,
        /// The request, in the kernel's spelling.
        request: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// The queues of an interface which are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queues {
    /// Queues that receive; they are numbered from 0.
    pub receive: u32,
    /// Queues that transmit; they are numbered from 0.
    pub transmit: u32,
}

/// A handle for ethtool requests in one network namespace.
#[derive(Debug)]
pub struct Ethtool {
    socket: OwnedFd,
}

impl Ethtool {
    /// Opens a handle in the network namespace of the calling thread; it works from any thread afterwards.
    pub fn open() -> Result<Self, EthtoolError> {
        socket_with(
            AddressFamily::INET,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .map(|socket| Self { socket })
        .map_err(|error| EthtoolError::Socket(error.into()))
    }

    /// Returns the name of the interface's driver, for example `ixgbe`.
    pub fn driver(&self, interface: &str) -> Result<String, EthtoolError> {
        let mut information = DriverInformation {
            command: ETHTOOL_GDRVINFO,
            ..DriverInformation::default()
        };
        self.perform(interface, "GDRVINFO", &mut information)?;
        let name = information
            .driver
            .split(|octet| *octet == 0)
            .next()
            .unwrap_or_default();
        Ok(String::from_utf8_lossy(name).into_owned())
    }

    /// Returns how many queues the interface uses. A driver without that notion has one of each.
    pub fn queues(&self, interface: &str) -> Result<Queues, EthtoolError> {
        let mut channels = Channels {
            command: ETHTOOL_GCHANNELS,
            ..Channels::default()
        };
        match self.perform(interface, "GCHANNELS", &mut channels) {
            Ok(()) => Ok(Queues {
                receive: channels.combined.saturating_add(channels.receive).max(1),
                transmit: channels.combined.saturating_add(channels.transmit).max(1),
            }),
            Err(EthtoolError::Request { source, .. })
                if source.raw_os_error() == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error()) =>
            {
                Ok(Queues {
                    receive: 1,
                    transmit: 1,
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Switches transmit checksum offload. While it is on, a veth hands out packets whose transport checksum is not there.
    pub fn set_transmit_checksum(&self, interface: &str, on: bool) -> Result<(), EthtoolError> {
        let mut value = Value {
            command: ETHTOOL_STXCSUM,
            data: on.into(),
        };
        self.perform(interface, "STXCSUM", &mut value)
    }

    /// Switches generic receive offload. While it is off, a veth without an XDP program of its own takes no frames that XDP
    /// programs redirect to the other end.
    pub fn set_receive_offload(&self, interface: &str, on: bool) -> Result<(), EthtoolError> {
        let mut value = Value {
            command: ETHTOOL_SGRO,
            data: on.into(),
        };
        self.perform(interface, "SGRO", &mut value)
    }

    fn perform<T: Command>(
        &self,
        interface: &str,
        request: &'static str,
        command: &mut T,
    ) -> Result<(), EthtoolError> {
        let failed = |source| EthtoolError::Request {
            interface: interface.to_owned(),
            request,
            source,
        };
        let mut name = [0; IFNAMSIZ];
        // The last octet stays zero: the kernel wants the name terminated.
        name[..IFNAMSIZ - 1]
            .get_mut(..interface.len())
            .ok_or_else(|| failed(rustix::io::Errno::NODEV.into()))?
            .copy_from_slice(interface.as_bytes());
        let mut request = InterfaceRequest {
            name,
            command: std::ptr::from_mut(command).cast(),
            padding: [0; 2],
        };
        // SAFETY: SIOCETHTOOL reads and writes a `struct ifreq`, which InterfaceRequest is laid out as.
        let update = unsafe { Updater::<SIOCETHTOOL, InterfaceRequest>::new(&mut request) };
        // SAFETY: the kernel reads and writes at `command` the structure that the number in its first field stands for;
        // `Command` is implemented for these structures only, and `command` is borrowed mutably until after the call.
        unsafe { ioctl(&self.socket, update) }.map_err(|error| failed(error.into()))
    }
}

/// A structure that begins with its ethtool command number and is as long as the kernel expects for that number.
trait Command {}

/// `struct ifreq`: the name, then a union of which the pointer is one member and `padding` the rest.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; IFNAMSIZ],
    command: *mut c_void,
    padding: [u64; 2],
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

impl Command for Value {}

/// `struct ethtool_channels`.
#[repr(C)]
#[derive(Default)]
struct Channels {
    command: u32,
    limits: [u32; 4],
    receive: u32,
    transmit: u32,
    other: u32,
    combined: u32,
}

impl Command for Channels {}

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInformation {
    command: u32,
    driver: [u8; 32],
    strings: [u8; 140],
    counts: [u32; 5],
}

impl Default for DriverInformation {
    fn default() -> Self {
        Self {
            command: 0,
            driver: [0; 32],
            strings: [0; 140],
            counts: [0; 5],
        }
    }
}

impl Command for DriverInformation {}

const _: () = assert!(size_of::<InterfaceRequest>() == 40);
const _: () = assert!(size_of::<Value>() == 8);
const _: () = assert!(size_of::<Channels>() == 36);
const _: () = assert!(size_of::<DriverInformation>() == 196);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_or_overlong_interface_is_named_in_the_error() {
        let ethtool = Ethtool::open().unwrap();
        for name in ["absent0", "a-name-that-is-too-long-for-the-kernel"] {
            let error = ethtool.driver(name).unwrap_err();
            assert!(error.to_string().starts_with(name), "{error}");
            assert!(error.to_string().contains("GDRVINFO"), "{error}");
        }
    }

    #[test]
    fn loopback_has_one_queue() {
        assert_eq!(
            Ethtool::open().unwrap().queues("lo").unwrap(),
            Queues {
                receive: 1,
                transmit: 1
            }
        );
    }
}
