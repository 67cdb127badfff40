//! Performing a translation on the frame in front of the XDP program.
//!
//! The payload never moves: the frame's start does, and the new headers are written over the old ones from there.

use eam_tables::layout::CachedHop;
use relay_core::rewrite::{NetworkHeader, Patch, Rewrite};
use relay_core::wire::{
    Octets,
    ethernet::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6},
};

use crate::frame::{Frame, NoRoom};
use crate::next_hop;

const UNTAGGED: usize = ethernet::HEADER_LENGTH;
const TAGGED: usize = UNTAGGED + ethernet::TAG_LENGTH;
const TWICE_TAGGED: usize = TAGGED + ethernet::TAG_LENGTH;

/// Turns the packet behind a link header of `network` octets into what the translator describes, on its way to a next hop.
#[inline(always)]
pub(crate) fn perform(
    frame: Frame<'_>,
    network: usize,
    hop: &CachedHop,
    rewrite: &Rewrite,
) -> Result<(), NoRoom> {
    match next_hop::tag_count(hop) {
        0 => perform_behind::<UNTAGGED>(frame, network, hop, rewrite),
        1 => perform_behind::<TAGGED>(frame, network, hop, rewrite),
        _ => perform_behind::<TWICE_TAGGED>(frame, network, hop, rewrite),
    }
}

/// As [`perform`], for a new link header of `LINK` octets.
#[inline(always)]
fn perform_behind<const LINK: usize>(
    mut frame: Frame<'_>,
    network: usize,
    hop: &CachedHop,
    rewrite: &Rewrite,
) -> Result<(), NoRoom> {
    let old = network.wrapping_add(rewrite.cut);
    let new = LINK.wrapping_add(rewrite.header.length());
    frame.move_start((old as i32).wrapping_sub(new as i32))?;
    let surplus = frame.len().wrapping_sub(new.wrapping_add(rewrite.payload));
    if surplus != 0 {
        frame.cut_end(surplus as u32)?;
    }
    write::<LINK>(&mut frame, hop, rewrite).ok_or(NoRoom)
}

#[inline(always)]
fn write<const LINK: usize>(
    frame: &mut Frame<'_>,
    hop: &CachedHop,
    rewrite: &Rewrite,
) -> Option<()> {
    let (ethertype, payload) = match &rewrite.header {
        NetworkHeader::V4(header) => {
            frame.store(LINK, header.emit())?;
            (ETHERTYPE_IPV4, LINK.wrapping_add(20))
        }
        NetworkHeader::V6(header) => {
            frame.store(LINK, header.emit())?;
            (ETHERTYPE_IPV6, LINK.wrapping_add(40))
        }
        NetworkHeader::V6Fragment(..) => return None,
    };
    let mut link = [0; LINK];
    let (front, last) = link.split_last_chunk_mut()?;
    for (to, from) in front.iter_mut().zip(&hop.link) {
        *to = *from;
    }
    *last = ethertype.to_be_bytes();
    frame.store(0, link)?;
    match rewrite.patch {
        // No plain packet has this one.
        Patch::TcpMss { .. } => None,
        Patch::None => Some(()),
        Patch::Checksum { at, checksum } => {
            frame.store(payload.wrapping_add(at), checksum.to_be_bytes())
        }
        Patch::Icmp { kind, checksum } => {
            frame.store(payload, [kind])?;
            frame.store(payload.wrapping_add(2), checksum.to_be_bytes())
        }
    }
}
