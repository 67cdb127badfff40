//! What stands in front of a packet on its way to the next hop.

use relay_core::wire::ethernet::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use std::net::IpAddr;

/// A link header: none at all, or Ethernet with up to two VLAN tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkHeader {
    octets: [u8; ethernet::MAX_HEADER_LENGTH],
    length: usize,
}

impl LinkHeader {
    /// No link header: the packet begins with its network header.
    pub const NONE: Self = Self {
        octets: [0; ethernet::MAX_HEADER_LENGTH],
        length: 0,
    };

    /// Returns the header of a frame on its way to a next hop; the EtherType is that of the packet behind it, and
    /// not known yet.
    ///
    /// Tags are given outermost first, each as tag protocol identifier and tag control information,
    /// host order. Only the first two count.
    #[inline(always)]
    pub fn new(
        destination: ethernet::Address,
        source: ethernet::Address,
        tags: impl IntoIterator<Item = (u16, u16)>,
    ) -> Self {
        let mut header = Self {
            length: ethernet::HEADER_LENGTH,
            ..Self::NONE
        };
        header.octets[..6].copy_from_slice(&destination);
        header.octets[6..12].copy_from_slice(&source);
        for (identifier, control) in tags.into_iter().take(ethernet::MAX_TAGS) {
            let at = header.length - 2;
            header.octets[at..at + 2].copy_from_slice(&identifier.to_be_bytes());
            header.octets[at + 2..at + 4].copy_from_slice(&control.to_be_bytes());
            header.length += ethernet::TAG_LENGTH;
        }
        header
    }

    /// Returns a copy of the header at the start of `frame`, whose length is `length` octets.
    pub fn copy(frame: &[u8], length: usize) -> Self {
        let mut header = Self {
            length: length.min(ethernet::MAX_HEADER_LENGTH),
            ..Self::NONE
        };
        let octets = frame.iter().take(header.length);
        header
            .octets
            .iter_mut()
            .zip(octets)
            .for_each(|(to, from)| *to = *from);
        header
    }

    /// Returns the length in octets.
    #[inline(always)]
    pub const fn length(&self) -> usize {
        self.length
    }

    /// Writes the header to `output`, in front of a packet to `destination`, whose family it announces.
    #[inline]
    pub(crate) fn announce(&self, destination: IpAddr, output: &mut [u8]) {
        let ethertype = match destination {
            IpAddr::V4(_) => ETHERTYPE_IPV4,
            IpAddr::V6(_) => ETHERTYPE_IPV6,
        };
        self.emit(ethertype, output);
    }

    /// Writes the header to `output`, in front of a packet of a family.
    #[inline(always)]
    pub(crate) fn emit(&self, ethertype: u16, output: &mut [u8]) {
        // Copying a number of octets that is known beforehand takes no call.
        match (output.as_mut_array(), self.octets.first_chunk()) {
            (Some(untagged), Some(octets)) => {
                let untagged: &mut [u8; ethernet::HEADER_LENGTH] = untagged;
                *untagged = *octets;
            }
            (_, _) => output.copy_from_slice(&self.octets[..self.length]),
        }
        if let Some(place) = output.last_chunk_mut() {
            *place = ethertype.to_be_bytes();
        }
    }

    /// Returns the frame around a whole packet to `destination`.
    pub fn around(&self, destination: IpAddr, packet: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; self.length];
        self.announce(destination, &mut frame);
        frame.extend_from_slice(packet);
        frame
    }
}
