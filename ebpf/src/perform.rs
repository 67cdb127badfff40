//! Performing a translation on the frame in front of the XDP program.
//!
//! The payload never moves: the frame's start does, and the new headers are written over the old ones from there.

use aya_ebpf::programs::XdpContext;
use eam_tables::layout::CachedHop;
use relay_core::wire::{
    Octets,
    ethernet::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6},
    ipv4, ipv6,
};

use crate::described::Described;
use crate::frame::Frame;
use crate::next_hop;

const UNTAGGED: usize = ethernet::HEADER_LENGTH;
const TAGGED: usize = UNTAGGED + ethernet::TAG_LENGTH;
const TWICE_TAGGED: usize = TAGGED + ethernet::TAG_LENGTH;

/// An Ethernet header with up to two tags, but for its EtherType.
type Link = [u8; TWICE_TAGGED - 2];

/// Turns the packet behind a link header of `network` octets into what is described, on its way to a next hop. `None` if there
/// is no room for it in the frame, which no driver is that short of.
#[inline(always)]
pub(crate) fn for_hop(
    context: &XdpContext,
    network: usize,
    hop: &CachedHop,
    described: &Described,
) -> Option<()> {
    match next_hop::tag_count(hop) {
        0 => perform::<UNTAGGED>(context, network, &hop.link, described),
        1 => perform::<TAGGED>(context, network, &hop.link, described),
        _ => perform::<TWICE_TAGGED>(context, network, &hop.link, described),
    }
}

/// As [`for_hop`], behind the link header that is there.
#[inline(always)]
pub(crate) fn for_kernel(
    context: &XdpContext,
    network: usize,
    described: &mut Described,
) -> Option<()> {
    // Longer than a link header without tags, but there is always a network header behind.
    described.link = Frame::new(context).load(0)?;
    match network {
        UNTAGGED => perform::<UNTAGGED>(context, network, &described.link, described),
        TAGGED => perform::<TAGGED>(context, network, &described.link, described),
        _ => perform::<TWICE_TAGGED>(context, network, &described.link, described),
    }
}

/// Performs it behind a new link header of `LINK` octets.
#[inline(always)]
fn perform<const LINK: usize>(
    context: &XdpContext,
    network: usize,
    link: &Link,
    described: &Described,
) -> Option<()> {
    let mut frame = Frame::new(context);
    let old = network.wrapping_add(described.cut as usize);
    let new = LINK.wrapping_add(described.header_length());
    frame.move_start((old as i32).wrapping_sub(new as i32))?;
    if described.surplus != 0 {
        frame.cut_end(described.surplus)?;
    }
    let mut front = [0; LINK];
    let (addresses, ethertype) = front.split_last_chunk_mut()?;
    for (to, from) in addresses.iter_mut().zip(link) {
        *to = *from;
    }
    if described.is_v6 == 0 {
        *ethertype = ETHERTYPE_IPV4.to_be_bytes();
        let header: &[u8; ipv4::HEADER_LENGTH] = described.header.first_chunk()?;
        frame.store(LINK, *header)?;
        patch(
            &mut frame,
            LINK.wrapping_add(ipv4::HEADER_LENGTH),
            described,
        )?;
    } else {
        *ethertype = ETHERTYPE_IPV6.to_be_bytes();
        frame.store(LINK, described.header)?;
        patch(
            &mut frame,
            LINK.wrapping_add(ipv6::HEADER_LENGTH),
            described,
        )?;
    }
    frame.store(0, front)
}

/// Changes what has to change behind the network header, which ends at `payload`.
#[inline(always)]
fn patch(frame: &mut Frame<'_>, payload: usize, described: &Described) -> Option<()> {
    if described.patch == Described::NOTHING {
        return Some(());
    }
    if described.patch == Described::ICMP {
        frame.store(payload, [described.kind])?;
    }
    frame.store(
        payload.wrapping_add(described.at as usize),
        described.checksum,
    )
}
