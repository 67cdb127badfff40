//! Handing translated packets to the kernel, which resolves next hops, forwards, or refuses.
//!
//! Raw sockets take whole packets with their headers and run the kernel's output path: policy routing by
//! destination, neighbour resolution with its queue, nftables' output hook. The kernel does not touch
//! TTL or hop limit there, so each is decremented once, by the translator.

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with,
};
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
                packet,
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
