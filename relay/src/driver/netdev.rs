//! What an interface can do for XDP, as the kernel says by generic netlink (family `netdev`, Linux 6.3).
//!
//! A frame that is redirected to an interface which cannot take it is lost without a trace, so this has to be known before.

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const CTRL_ATTR_MCAST_GROUPS: u16 = 7;
const CTRL_ATTR_MCAST_GRP_NAME: u16 = 1;
const CTRL_ATTR_MCAST_GRP_ID: u16 = 2;
/// The multicast group that hears of devices whose features change.
const NETDEV_MCGRP_MGMT: &[u8] = b"mgmt\0";
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
const NETDEV_XDP_ACT_NDO_XMIT: u64 = 1 << 2;

const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
/// Octets of a message that are read; the rest of it is of no interest.
const MESSAGE: usize = 64;
/// Length of the netlink header, and with the generic one behind it, in octets.
const HEADER: usize = 16;
const BOTH_HEADERS: usize = HEADER + 4;

/// A connection to the kernel's list of network devices, in the namespace of the thread that opened it.
pub struct NetDevices {
    socket: Socket,
    /// The number of the family; `None` if the kernel is too old for it.
    family: Option<u16>,
    /// Where the kernel tells of changes, if it does.
    changes: Option<Socket>,
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
            changes: None,
        };
        let name = (CTRL_ATTR_FAMILY_NAME, &b"netdev\0"[..]);
        match devices.ask(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, name) {
            Ok(answer) => {
                devices.family = number(&answer, CTRL_ATTR_FAMILY_ID).map(u16::from_ne_bytes);
                devices.changes = group(&answer).map(listen).transpose()?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(devices)
    }

    /// Returns what becomes readable when an interface's features may have changed; `None` if the kernel does not tell.
    pub fn changes(&self) -> Option<BorrowedFd<'_>> {
        self.changes.as_ref().map(AsFd::as_fd)
    }

    /// Takes what the kernel has told of changes; says whether there was anything.
    pub fn take_changes(&self) -> bool {
        let Some(changes) = &self.changes else {
            return false;
        };
        let mut has_any = false;
        // What is told does not matter, nor whether some of it was lost: all is asked for anew.
        loop {
            match changes.recv(&mut Vec::with_capacity(MESSAGE), 0) {
                Ok(_) => has_any = true,
                Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => {
                    has_any = true;
                }
                Err(_) => return has_any,
            }
        }
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
        let features = number(&answer, NETDEV_A_DEV_XDP_FEATURES).map(u64::from_ne_bytes);
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

/// Returns the number of the multicast group for changes, by what the kernel says of the family.
fn group(family: &[u8]) -> Option<u32> {
    let groups = value(family, CTRL_ATTR_MCAST_GROUPS)?;
    let mut all = attributes(groups).map(|(_, group)| group);
    let changes =
        all.find(|group| value(group, CTRL_ATTR_MCAST_GRP_NAME) == Some(NETDEV_MCGRP_MGMT))?;
    number(changes, CTRL_ATTR_MCAST_GRP_ID).map(u32::from_ne_bytes)
}

/// Returns a socket that hears what a multicast group is told.
fn listen(group: u32) -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.set_non_blocking(true)?;
    socket.add_membership(group)?;
    Ok(socket)
}

/// Goes through attributes: their kinds and values. What cannot be read ends it.
fn attributes(mut octets: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let ([l0, l1, k0, k1], rest) = octets.split_first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([*l0, *l1])).checked_sub(4)?;
        let value = rest.get(..length)?;
        octets = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([*k0, *k1]) & 0x3fff, value))
    })
}

/// Returns the value of an attribute, if it is there.
fn value(octets: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut all = attributes(octets);
    all.find_map(|(kind, value)| (kind == wanted).then_some(value))
}

/// Returns the value of an attribute, if it is there with this length.
fn number<const N: usize>(octets: &[u8], wanted: u16) -> Option<[u8; N]> {
    value(octets, wanted)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::tests::{namespace, privileged};
    use crate::lab::{VethEnd, veth_pair};
    use std::time::{Duration, Instant};

    #[test]
    fn the_kernel_tells_when_an_interface_takes_redirects() {
        let test = "netdev-changes";
        if !privileged(test) {
            return;
        }
        let (near, far) = (
            namespace(&format!("{test}-near")),
            namespace(&format!("{test}-far")),
        );
        let pair = veth_pair(VethEnd::new(&near, "near"), VethEnd::new(&far, "far"));
        pair.unwrap();
        let index = near.interface_index("near").unwrap();
        let devices = near.run_in(|| NetDevices::open().unwrap()).unwrap();
        if devices.family.is_none() {
            return println!("SKIPPED: the kernel knows no generic netlink family `netdev`");
        }
        devices.take_changes();
        assert_eq!(devices.takes_redirects(index).unwrap(), Some(false));
        assert!(!devices.take_changes());
        far.take_redirected_frames("far").unwrap();
        let end = Instant::now() + Duration::from_secs(5);
        while !devices.take_changes() {
            assert!(Instant::now() < end, "nothing was told");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(devices.takes_redirects(index).unwrap(), Some(true));
    }

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
        assert_eq!(number(&attributes, 3).map(u64::from_ne_bytes), Some(4));
        assert_eq!(number(&attributes, 1), Some([7, 0]));
        assert_eq!(number::<4>(&attributes, 1), None);
        assert_eq!(number::<4>(&attributes, 2), None);
        for length in 0..attributes.len() {
            let _ = number::<8>(&attributes[..length], 3);
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
