//! What an interface can do for XDP, as the kernel says by generic netlink (family `netdev`, Linux 6.3).
//!
//! A frame that is redirected to an interface which cannot take it is lost without a trace, so this has to be known before.

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};
use rustix::io::Errno;
use std::io;

const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
const NETDEV_XDP_ACT_NDO_XMIT: u64 = 1 << 2;

const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
/// Length of the netlink header, and with the generic one behind it, in octets.
const HEADER: usize = 16;
const BOTH_HEADERS: usize = HEADER + 4;

/// A connection to the kernel's list of network devices, in the namespace of the thread that opened it.
pub struct NetDevices {
    socket: Socket,
    /// The number of the family; `None` if the kernel is too old for it.
    family: Option<u16>,
}

impl NetDevices {
    /// Opens a connection.
    ///
    /// # Errors
    ///
    /// The kernel refuses a socket or does not answer as it should.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_GENERIC)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        let mut devices = Self {
            socket,
            family: None,
        };
        let name = (CTRL_ATTR_FAMILY_NAME, &b"netdev\0"[..]);
        devices.family = match devices.ask(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, name) {
            Ok(answer) => attribute(&answer, CTRL_ATTR_FAMILY_ID).map(u16::from_ne_bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(devices)
    }

    /// Says whether an interface takes frames that XDP programs in drivers redirect to it; `None` if the kernel cannot tell.
    ///
    /// # Errors
    ///
    /// There is no such interface, or the kernel does not answer as it should.
    pub fn takes_redirects(&self, interface_index: u32) -> io::Result<Option<bool>> {
        let Some(family) = self.family else {
            return Ok(None);
        };
        let index = interface_index.to_ne_bytes();
        let answer = self.ask(family, NETDEV_CMD_DEV_GET, (NETDEV_A_DEV_IFINDEX, &index))?;
        let features = attribute(&answer, NETDEV_A_DEV_XDP_FEATURES).map(u64::from_ne_bytes);
        Ok(features.map(|features| features & NETDEV_XDP_ACT_NDO_XMIT != 0))
    }

    /// Asks with one attribute, and returns the attributes of the answer.
    fn ask(&self, family: u16, command: u8, (kind, value): (u16, &[u8])) -> io::Result<Vec<u8>> {
        let mut message = vec![0; BOTH_HEADERS];
        message[4..6].copy_from_slice(&family.to_ne_bytes());
        message[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
        message[HEADER] = command;
        message[HEADER + 1] = 1;
        message.extend((4 + value.len() as u16).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(value);
        message.resize(message.len().next_multiple_of(4), 0);
        let length = message.len() as u32;
        message[..4].copy_from_slice(&length.to_ne_bytes());
        self.socket.send(&message, 0)?;
        let (mut answer, _) = self.socket.recv_from_full()?;
        let kind = answer.get(4..).and_then(|rest| rest.first_chunk().copied());
        if kind.map(u16::from_ne_bytes) == Some(NLMSG_ERROR) {
            let error = answer
                .get(HEADER..)
                .and_then(|rest| rest.first_chunk().copied());
            let error = error.map_or(Errno::BADMSG.raw_os_error(), |error| {
                -i32::from_ne_bytes(error)
            });
            return Err(io::Error::from_raw_os_error(error));
        }
        if answer.len() < BOTH_HEADERS {
            return Err(Errno::BADMSG.into());
        }
        Ok(answer.split_off(BOTH_HEADERS))
    }
}

/// Returns the value of an attribute, if it is there with this length.
fn attribute<const N: usize>(mut attributes: &[u8], wanted: u16) -> Option<[u8; N]> {
    while let Some(([l0, l1, k0, k1], rest)) = attributes.split_first_chunk() {
        let length = usize::from(u16::from_ne_bytes([*l0, *l1])).checked_sub(4)?;
        let value = rest.get(..length)?;
        if u16::from_ne_bytes([*k0, *k1]) & 0x3fff == wanted {
            return value.try_into().ok();
        }
        attributes = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_behind_padding() {
        let mut attributes = Vec::new();
        for (kind, value) in [
            (9_u16, &b"abc"[..]),
            (1, &[7, 0]),
            (3, &[4, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            attributes.extend((4 + value.len() as u16).to_ne_bytes());
            attributes.extend(kind.to_ne_bytes());
            attributes.extend(value);
            attributes.resize(attributes.len().next_multiple_of(4), 0);
        }
        assert_eq!(attribute(&attributes, 3).map(u64::from_ne_bytes), Some(4));
        assert_eq!(attribute(&attributes, 1), Some([7, 0]));
        assert_eq!(attribute::<4>(&attributes, 1), None);
        assert_eq!(attribute::<4>(&attributes, 2), None);
        for length in 0..attributes.len() {
            let _ = attribute::<8>(&attributes[..length], 3);
        }
    }

    #[test]
    fn the_kernel_knows_the_loopback() {
        let devices = NetDevices::open().unwrap();
        if let Some(takes) = devices.takes_redirects(1).unwrap() {
            assert!(!takes);
        }
        if devices.family.is_some() {
            assert!(devices.takes_redirects(u32::MAX).is_err());
        }
    }
}
