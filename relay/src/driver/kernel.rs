//! Handing translated packets to the kernel, which resolves next hops, forwards, or refuses.
//!
//! Raw sockets take whole packets with their headers and run the kernel's output path: policy routing by
//! destination, neighbour resolution with its queue, nftables' output hook. The kernel does not touch
//! TTL or hop limit there, so each is decremented once, by the translator.

use relay_core::wire::ipv4;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with,
};
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::OwnedFd;

/// Why packets cannot be handed to the kernel.
#[derive(Debug, thiserror::Error)]
#[error("cannot open a raw socket: {0}; it needs root or the capability CAP_NET_RAW")]
pub struct HandoverError(#[source] Errno);

/// The way into the kernel's output path, for both families.
#[derive(Debug)]
pub struct Handover {
    v4: OwnedFd,
    v6: OwnedFd,
}

impl Handover {
    /// Opens the way in.
    ///
    /// # Errors
    ///
    /// [`HandoverError`] if the process may not have raw sockets.
    pub fn open() -> Result<Self, HandoverError> {
        // IPPROTO_RAW means: sends packets with their headers, receives nothing.
        let open = |family| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            socket_with(family, SocketType::RAW, flags, Some(ipproto::RAW)).map_err(HandoverError)
        };
        Ok(Self {
            v4: open(AddressFamily::INET)?,
            v6: open(AddressFamily::INET6)?,
        })
    }

    /// Hands over a packet that begins with its network header and goes to `destination`.
    ///
    /// # Errors
    ///
    /// What the kernel says: no route (ENETUNREACH, EHOSTUNREACH), larger than the MTU (EMSGSIZE), no
    /// memory, forbidden by a filter (EPERM).
    pub fn send(&self, packet: &[u8], destination: IpAddr) -> Result<(), Errno> {
        match destination {
            IpAddr::V4(address) => sendto(
                &self.v4,
                &numbered(packet),
                SendFlags::DONTWAIT,
                &SocketAddrV4::new(address, 0),
            ),
            IpAddr::V6(address) => {
                let address = SocketAddrV6::new(address, 0, 0, 0);
                sendto(&self.v6, packet, SendFlags::DONTWAIT, &address)
            }
        }
        .map(|_| ())
    }
}

/// The Identification of fragments whose own is zero.
const NUMBER: [u8; 2] = [0xff, 0xff];

/// Gives an IPv4 fragment without an Identification one that all fragments of its packet share.
///
/// The kernel takes zero for none (raw(7)), and would give each fragment a different one, so that they would never be put together
/// again. It computes the header checksum anew in any case.
fn numbered(packet: &[u8]) -> Cow<'_, [u8]> {
    let is_unnumbered = ipv4::Header::parse_quoted(packet)
        .is_ok_and(|(header, _)| header.is_fragment() && header.identification == 0);
    if !is_unnumbered {
        return Cow::Borrowed(packet);
    }
    let mut packet = packet.to_vec();
    packet[4..6].copy_from_slice(&NUMBER);
    Cow::Owned(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fragments_without_a_number_get_one() {
        let packet = |identification: u8, flags: u8, offset: u8| {
            let mut packet = vec![0xa5; 28];
            packet[..4].copy_from_slice(&[0x45, 0, 0, 28]);
            packet[4..8].copy_from_slice(&[0, identification, flags, offset]);
            packet
        };
        for (flags, offset) in [(0x20, 0), (0x20, 3), (0, 3)] {
            let mut expected = packet(0, flags, offset);
            expected[4..6].fill(0xff);
            assert_eq!(numbered(&packet(0, flags, offset)), expected);
            let other = packet(1, flags, offset);
            assert_eq!(numbered(&other), other);
        }
        for flags in [0, 0x40] {
            let whole = packet(0, flags, 0);
            assert_eq!(numbered(&whole), whole);
        }
        assert_eq!(numbered(&[0x45; 3]), &[0x45; 3][..]);
    }
}
