//! Performing a translation on a frame in memory: the one place in userspace where packets change.
//!
//! The payload never moves. The old link and network headers are overwritten from behind: the new
//! network header ends where the payload begins, and the new link header stands in front of it.

use crate::link::LinkHeader;
use relay_core::rewrite::Piece;
use relay_core::wire::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use relay_core::wire::{ipv4, ipv6};
use relay_core::{Plain, Rewrite};

/// A frame whose first octets can be moved, as translation needs it to grow and shrink in front.
pub trait Frame {
    /// Returns the frame.
    fn octets(&self) -> &[u8];
    /// Returns the frame, to be changed in place.
    fn octets_mut(&mut self) -> &mut [u8];
    /// Moves the start by `octets`, forwards to cut the front off, backwards to make room there, and makes the frame `length` octets
    /// long; what is added at either end holds anything.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] if there is no such place; the frame is unchanged.
    fn reshape(&mut self, octets: i32, length: usize) -> Result<(), NoRoom>;
}

/// A frame has no room for longer headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl Frame for af_xdp::Frame {
    #[inline(always)]
    fn octets(&self) -> &[u8] {
        self.octets()
    }

    #[inline(always)]
    fn octets_mut(&mut self) -> &mut [u8] {
        self.octets_mut()
    }

    #[inline(always)]
    fn reshape(&mut self, octets: i32, length: usize) -> Result<(), NoRoom> {
        self.reshape(octets, length).map_err(|_| NoRoom)
    }
}

/// Turns the packet in `frame`, whose network header begins at offset `network`, into what the
/// translator describes, with a new link header in front.
///
/// # Errors
///
/// [`NoRoom`] if the frame cannot grow in front; it is unchanged then.
#[inline(always)]
pub fn perform<F: Frame>(
    frame: &mut F,
    network: usize,
    link: &LinkHeader,
    rewrite: &Rewrite,
) -> Result<(), NoRoom> {
    let payload = network + rewrite.cut;
    let front = link.length() + rewrite.header.length();
    // Both are a few hundred octets at most, but for extension headers, which are below 65536.
    frame.reshape(payload as i32 - front as i32, front + rewrite.payload)?;

    let octets = frame.octets_mut();
    let Some((headers, payload)) = octets.split_at_mut_checked(front) else {
        return Err(NoRoom);
    };
    let (link_octets, header_octets) = headers.split_at_mut(link.length());
    link.announce(rewrite.header.destination(), link_octets);
    rewrite.header.emit(header_octets);
    rewrite.patch.perform(payload);
    Ok(())
}

/// As [`perform`], for a plain packet.
///
/// # Errors
///
/// As [`perform`].
#[inline(always)]
pub fn perform_plain<F: Frame>(
    frame: &mut F,
    network: usize,
    link: &LinkHeader,
    plain: &Plain,
) -> Result<(), NoRoom> {
    let length = plain.length() as usize;
    let payload = plain.payload as usize;
    let old = network + plain.cut as usize;
    let front = link.length() + length - payload;
    frame.reshape(old as i32 - front as i32, link.length() + length)?;
    let (headers, payload) = frame
        .octets_mut()
        .split_at_mut_checked(front)
        .ok_or(NoRoom)?;
    let (link_octets, ethertype) = if plain.is_v6() {
        let (link_octets, header) = headers
            .split_last_chunk_mut::<{ ipv6::HEADER_LENGTH }>()
            .ok_or(NoRoom)?;
        let (words, _) = header.as_chunks_mut();
        for (to, from) in words.iter_mut().zip(plain.header_v6()) {
            *to = from;
        }
        (link_octets, ETHERTYPE_IPV6)
    } else {
        let (link_octets, header) = headers
            .split_last_chunk_mut::<{ ipv4::HEADER_LENGTH }>()
            .ok_or(NoRoom)?;
        let (first, second, last) = plain.header_v4();
        header[..8].copy_from_slice(&first);
        header[8..16].copy_from_slice(&second);
        header[16..].copy_from_slice(&last);
        (link_octets, ETHERTYPE_IPV4)
    };
    link.emit(ethertype, link_octets);
    if plain.checksum_at == Plain::ICMP
        && let Some(place) = payload.first_mut()
    {
        *place = plain.icmp_type;
    }
    let at = plain.checksum_at as usize;
    if at != 0
        && let Some(place) = payload.get_mut(at..at + 2)
    {
        place.copy_from_slice(&plain.checksum.to_be_bytes());
    }
    Ok(())
}

/// Writes one fragment into a fresh frame. `payload` is the payload of the packet that is split.
///
/// # Errors
///
/// [`NoRoom`] if the frame is too short.
pub fn perform_piece<F: Frame>(
    frame: &mut F,
    link: &LinkHeader,
    piece: &Piece,
    payload: &[u8],
) -> Result<(), NoRoom> {
    let payload = payload.get(piece.payload.clone()).ok_or(NoRoom)?;
    frame.reshape(0, link.length() + piece.header.length() + payload.len())?;
    let (link_octets, rest) = frame
        .octets_mut()
        .split_at_mut_checked(link.length())
        .ok_or(NoRoom)?;
    let (header_octets, payload_octets) = rest
        .split_at_mut_checked(piece.header.length())
        .ok_or(NoRoom)?;
    link.announce(piece.header.destination(), link_octets);
    piece.header.emit(header_octets);
    payload_octets.copy_from_slice(payload);
    piece
        .patch
        .perform_from(piece.payload.start, payload_octets);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryFrame;
    use relay_core::rewrite::{NetworkHeader, Patch};
    use relay_core::wire::{ipv4, ipv6};
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn v6_header() -> NetworkHeader {
        NetworkHeader::V6(ipv6::Header {
            traffic_class: 0,
            payload_length: 12,
            next_header: 17,
            hop_limit: 63,
            source: Ipv6Addr::LOCALHOST,
            destination: Ipv6Addr::UNSPECIFIED,
        })
    }

    fn v4_header() -> NetworkHeader {
        NetworkHeader::V4(ipv4::Header {
            tos: 0,
            total_length: 32,
            identification: 1,
            df: false,
            mf: false,
            fragment_offset: 0,
            ttl: 63,
            protocol: 17,
            source: Ipv4Addr::LOCALHOST,
            destination: Ipv4Addr::UNSPECIFIED,
        })
    }

    /// A frame of 14 link octets, `cut` header octets, 12 payload octets and 6 octets of padding.
    fn frame(cut: usize, headroom: usize) -> MemoryFrame {
        let mut octets = vec![0xa5; 14 + cut];
        octets.extend(0..12);
        octets.extend([0xee; 6]);
        MemoryFrame::new(&octets, headroom)
    }

    #[test]
    fn grows_in_front_and_loses_padding() {
        let mut frame = frame(20, 64);
        let link = LinkHeader::new([2; 6], [4; 6], [(0x8100, 100)]);
        let patch = Patch::Checksum {
            at: 6,
            checksum: 0xbeef,
        };
        let rewrite = Rewrite {
            cut: 20,
            header: v6_header(),
            payload: 12,
            patch,
        };
        perform(&mut frame, 14, &link, &rewrite).unwrap();
        let octets = frame.octets();
        assert_eq!(octets.len(), 18 + 40 + 12);
        let tagged = [
            2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 0x81, 0, 0, 100, 0x86, 0xdd,
        ];
        assert_eq!(octets[..18], tagged);
        assert_eq!(octets[18..24], [0x60, 0, 0, 0, 0, 12]);
        assert_eq!(octets[58..], [0, 1, 2, 3, 4, 5, 0xbe, 0xef, 8, 9, 10, 11]);
    }

    #[test]
    fn shrinks_in_front() {
        let mut frame = frame(48, 0);
        let link = LinkHeader::copy(&[7; 14], 14);
        let patch = Patch::Icmp {
            kind: 8,
            checksum: 0x1234,
        };
        let rewrite = Rewrite {
            cut: 48,
            header: v4_header(),
            payload: 12,
            patch,
        };
        perform(&mut frame, 14, &link, &rewrite).unwrap();
        let octets = frame.octets();
        assert_eq!(octets.len(), 14 + 20 + 12);
        assert_eq!(octets[10..16], [7, 7, 0x08, 0x00, 0x45, 0]);
        assert_eq!(octets[34..], [8, 1, 0x12, 0x34, 4, 5, 6, 7, 8, 9, 10, 11]);
    }

    #[test]
    fn a_frame_without_headroom_is_left_alone() {
        let mut frame = frame(20, 19);
        let before = frame.octets().to_vec();
        let link = LinkHeader::new([2; 6], [4; 6], []);
        let rewrite = Rewrite {
            cut: 20,
            header: v6_header(),
            payload: 12,
            patch: Patch::None,
        };
        assert_eq!(perform(&mut frame, 14, &link, &rewrite), Err(NoRoom));
        assert_eq!(frame.octets(), before);
    }

    #[test]
    fn packets_without_a_link_header_stay_so() {
        let mut frame = MemoryFrame::new(&[0xa5; 32], 64);
        let rewrite = Rewrite {
            cut: 20,
            header: v6_header(),
            payload: 12,
            patch: Patch::None,
        };
        perform(&mut frame, 0, &LinkHeader::NONE, &rewrite).unwrap();
        assert_eq!((frame.octets().len(), frame.octets()[0]), (52, 0x60));
    }
}
