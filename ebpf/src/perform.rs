//! Performing a translation on the frame in front of the XDP program.
//!
//! The payload never moves: the frame's start does, and the new headers are written over the old ones from there.

use aya_ebpf::programs::XdpContext;
use eam_tables::layout::CachedHop;
use relay_core::Plain;
use relay_core::wire::{
    Octets,
    ethernet::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6},
    ipv4, ipv6,
};

use crate::frame::Frame;
use crate::next_hop;
use crate::scratch::Scratch;

const UNTAGGED: usize = ethernet::HEADER_LENGTH;
const TAGGED: usize = UNTAGGED + ethernet::TAG_LENGTH;
const TWICE_TAGGED: usize = TAGGED + ethernet::TAG_LENGTH;

/// An Ethernet header with up to two tags but without its EtherType, in words as they lie in memory.
struct Link {
    /// The destination, and two octets of the source.
    addresses: u64,
    /// The other four octets of the source.
    rest: u32,
    tags: u64,
}

/// Turns the packet behind a link header of `network` octets into what is described, on its way to a next hop. `None` if there
/// is no room for it in the frame, which no driver is that short of.
#[inline(always)]
pub(crate) fn for_hop<const V6: bool>(
    context: &XdpContext,
    network: usize,
    hop: &CachedHop,
    scratch: &Scratch,
) -> Option<()> {
    let link = Link {
        addresses: hop.addresses,
        rest: hop.rest,
        tags: hop.tags,
    };
    match next_hop::tag_count(hop) {
        0 => perform_behind::<UNTAGGED, V6>(context, network, &link, scratch),
        1 => perform_behind::<TAGGED, V6>(context, network, &link, scratch),
        _ => perform_behind::<TWICE_TAGGED, V6>(context, network, &link, scratch),
    }
}

/// As [`for_hop`], behind the link header that is there.
#[inline(always)]
pub(crate) fn for_kernel<const V6: bool>(
    context: &XdpContext,
    network: usize,
    scratch: &Scratch,
) -> Option<()> {
    // Longer than a link header without tags, but there is always a network header behind.
    let octets: [u8; TWICE_TAGGED - 2] = Frame::new(context).load(0)?;
    let (addresses, others) = octets.split_first_chunk()?;
    let (rest, tags) = others.split_first_chunk()?;
    let link = Link {
        addresses: u64::from_ne_bytes(*addresses),
        rest: u32::from_ne_bytes(*rest),
        tags: u64::from_ne_bytes(*tags.first_chunk()?),
    };
    match network {
        UNTAGGED => perform_behind::<UNTAGGED, V6>(context, network, &link, scratch),
        TAGGED => perform_behind::<TAGGED, V6>(context, network, &link, scratch),
        _ => perform_behind::<TWICE_TAGGED, V6>(context, network, &link, scratch),
    }
}

/// Performs it behind a new link header of `LINK` octets.
#[inline(always)]
fn perform_behind<const LINK: usize, const V6: bool>(
    context: &XdpContext,
    network: usize,
    link: &Link,
    scratch: &Scratch,
) -> Option<()> {
    let plain = &scratch.plain;
    let header_length = if V6 {
        ipv6::HEADER_LENGTH
    } else {
        ipv4::HEADER_LENGTH
    };
    let front = LINK.wrapping_add(header_length);
    let mut frame = Frame::new(context);
    let old = network.wrapping_add(plain.cut as usize);
    frame.move_start((old as i32).wrapping_sub(front as i32))?;
    if scratch.surplus != 0 {
        frame.cut_end(scratch.surplus as u32)?;
    }
    // Both headers at once: each look at the end of the frame takes as long as writing half a header.
    if V6 {
        match LINK {
            UNTAGGED => emit_v6(
                frame.front_mut::<{ UNTAGGED + ipv6::HEADER_LENGTH }>()?,
                link,
                plain,
            )?,
            TAGGED => emit_v6(
                frame.front_mut::<{ TAGGED + ipv6::HEADER_LENGTH }>()?,
                link,
                plain,
            )?,
            _ => emit_v6(
                frame.front_mut::<{ TWICE_TAGGED + ipv6::HEADER_LENGTH }>()?,
                link,
                plain,
            )?,
        }
    } else {
        match LINK {
            UNTAGGED => emit_v4(
                frame.front_mut::<{ UNTAGGED + ipv4::HEADER_LENGTH }>()?,
                link,
                plain,
            )?,
            TAGGED => emit_v4(
                frame.front_mut::<{ TAGGED + ipv4::HEADER_LENGTH }>()?,
                link,
                plain,
            )?,
            _ => emit_v4(
                frame.front_mut::<{ TWICE_TAGGED + ipv4::HEADER_LENGTH }>()?,
                link,
                plain,
            )?,
        }
    }
    patch(&mut frame, front, plain)
}

/// Writes link header and IPv6 header.
#[inline(always)]
fn emit_v6(front: &mut [u8], link: &Link, plain: &Plain) -> Option<()> {
    let (link_octets, header) = front.split_last_chunk_mut::<{ ipv6::HEADER_LENGTH }>()?;
    emit_link(link_octets, link, ETHERTYPE_IPV6)?;
    let (words, _) = header.as_chunks_mut();
    for (to, from) in words.iter_mut().zip(plain.header_v6()) {
        *to = from;
    }
    Some(())
}

/// Writes link header and IPv4 header.
#[inline(always)]
fn emit_v4(front: &mut [u8], link: &Link, plain: &Plain) -> Option<()> {
    let (link_octets, header) = front.split_last_chunk_mut::<{ ipv4::HEADER_LENGTH }>()?;
    emit_link(link_octets, link, ETHERTYPE_IPV4)?;
    let (first, second, last) = plain.header_v4();
    let (to, rest) = header.split_first_chunk_mut()?;
    *to = first;
    let (to, rest) = rest.split_first_chunk_mut()?;
    *to = second;
    *rest.first_chunk_mut()? = last;
    Some(())
}

/// Writes a link header of any number of tags.
#[inline(always)]
fn emit_link(octets: &mut [u8], link: &Link, ethertype: u16) -> Option<()> {
    let (addresses, rest) = octets.split_first_chunk_mut()?;
    *addresses = link.addresses.to_ne_bytes();
    let (others, rest) = rest.split_first_chunk_mut()?;
    *others = link.rest.to_ne_bytes();
    let (tags, announced) = rest.split_last_chunk_mut()?;
    *announced = ethertype.to_be_bytes();
    for (to, from) in tags.iter_mut().zip(link.tags.to_ne_bytes()) {
        *to = from;
    }
    Some(())
}

/// Changes what has to change behind the network header, which ends at `payload`.
#[inline(always)]
fn patch(frame: &mut Frame<'_>, payload: usize, plain: &Plain) -> Option<()> {
    if plain.checksum_at == 0 {
        return Some(());
    }
    if plain.checksum_at == Plain::ICMP {
        frame.store(payload, [plain.icmp_type])?;
    }
    frame.store(
        payload.wrapping_add(plain.checksum_at as usize),
        plain.checksum.to_be_bytes(),
    )
}
