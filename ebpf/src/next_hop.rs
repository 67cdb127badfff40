//! Next hops: the kernel's forwarding tables, and a memory of what they said.
//!
//! Asking costs more than the translation, so each CPU remembers the answers by destination, and by source where there are
//! several ways. What is remembered is void as soon as the daemon announces a new epoch, as it does at any change of routes,
//! neighbours or links, and after a while besides. Destinations behind a gateway share one answer, cut to the longest prefix
//! among the routes: no route tells them apart.

use aya_ebpf::programs::XdpContext;
use eam_tables::layout::{CachedHop, HOPS_MAX_ENTRIES, Memory, State, XdpCounter};

use crate::maps;
use crate::opaque::opaque;
use crate::scratch::Scratch;
use relay_core::{Plain, hash::MULTIPLIERS};

/// In [`CachedHop::tag_count`]: the destination is cut to the longest prefix among the routes.
const IS_CUT: u8 = 0x80;

/// How many bits of a hash are left over, besides those that number the places.
const SPARE_BITS: u32 = 64 - HOPS_MAX_ENTRIES.trailing_zeros();

/// An address, IPv4 behind zeros: the halves in host order.
type Words = [u64; 2];

/// Where a packet goes, and where it comes from if that matters.
struct Key {
    destination: Words,
    source: Words,
    /// Whether the destination is cut.
    is_cut: bool,
}

/// Returns the next hop of the packet that is described, with an IPv6 header or an IPv4 one; `None` if the program cannot send it
/// on.
#[inline(always)]
pub(crate) fn find<const V6: bool>(
    context: &XdpContext,
    state: &State,
    scratch: &mut Scratch,
) -> Option<&'static CachedHop> {
    // Read once, before the kernel is asked: an answer that is overtaken by a change is void from the start.
    let epoch = opaque(u64::from(state.epoch)) as u32;
    let memory = if V6 {
        &state.memory_v6
    } else {
        &state.memory_v4
    };
    recall::<V6>(state, epoch, memory, &scratch.plain)
        .or_else(|| ask::<V6>(context, epoch, memory, scratch))
}

/// Returns a number whose upper `count` bits, 1 to 64, are ones.
#[inline(always)]
fn high_bits(count: u32) -> u64 {
    u64::MAX << (64_u32.wrapping_sub(count) & 63)
}

/// Returns the key with or without what lies behind the longest prefix among the routes.
#[inline(always)]
fn key<const V6: bool>(memory: &Memory, plain: &Plain, is_cut: bool) -> Key {
    let [d0, d1] = plain.destination;
    let class = if V6 { d0 >> 56 } else { d1 >> 24 };
    let destination = match (is_cut, memory.longest.get(class as usize)) {
        (true, Some(longest)) => {
            let longest = u32::from(*longest);
            if !V6 {
                [0, d1 & high_bits(longest) >> 32]
            } else if longest <= 64 {
                [d0 & high_bits(longest), 0]
            } else {
                [d0, d1 & high_bits(longest.wrapping_sub(64))]
            }
        }
        (_, _) => [d0, d1],
    };
    let source = if memory.on == Memory::ON_BOTH {
        plain.source
    } else {
        [0; 2]
    };
    Key {
        destination,
        source,
        is_cut,
    }
}

/// Returns the answer that is remembered, if there is one.
#[inline(always)]
fn recall<const V6: bool>(
    state: &State,
    epoch: u32,
    memory: &Memory,
    plain: &Plain,
) -> Option<&'static CachedHop> {
    if memory.on == Memory::NOTHING {
        return None;
    }
    let now = maps::jiffies();
    for is_cut in [true, false] {
        let key = key::<V6>(memory, plain, is_cut);
        let hop = maps::hop(key.index())?;
        let is_fresh = hop.epoch == epoch && now.wrapping_sub(hop.since) <= state.patience;
        if is_fresh && key.is_of(hop) {
            // Packets to the machine itself are the kernel's, whatever lies around its addresses.
            let is_exception = is_cut && memory.but_own != 0 && is_own::<V6>(plain);
            return if is_exception { None } else { Some(hop) };
        }
    }
    None
}

#[inline(always)]
fn is_own<const V6: bool>(plain: &Plain) -> bool {
    let [_, low] = plain.destination;
    if V6 {
        maps::is_own_v6(plain.destination)
    } else {
        maps::is_own_v4(low)
    }
}

/// Asks the kernel, and remembers the answer.
#[inline(always)]
fn ask<const V6: bool>(
    context: &XdpContext,
    epoch: u32,
    memory: &Memory,
    scratch: &mut Scratch,
) -> Option<&'static CachedHop> {
    maps::count(XdpCounter::HopLookups, 1);
    let Scratch {
        plain, question, ..
    } = scratch;
    question.set(context, plain);
    let has_gateway = maps::ask(context, question)?;
    let egress = maps::egress(question.interface)?;
    maps::note_neighbour(question);
    let key = key::<V6>(memory, plain, has_gateway);
    let hop = maps::hop(key.index())?;
    hop.destination = key.destination;
    hop.source = key.source;
    hop.epoch = epoch;
    hop.since = maps::jiffies();
    hop.mtu = question.mtu;
    hop.port = egress.port as u8;
    hop.tag_count = egress.tag_count as u8 | if key.is_cut { IS_CUT } else { 0 };
    let [o0, o1, rest @ ..] = question.own;
    let [n0, n1, n2, n3, n4, n5] = question.next;
    hop.addresses = u64::from_ne_bytes([n0, n1, n2, n3, n4, n5, o0, o1]);
    hop.rest = u32::from_ne_bytes(rest);
    hop.tags = u64::from_ne_bytes(egress.tags);
    Some(hop)
}

impl Key {
    /// Returns the place among the remembered answers.
    #[inline(always)]
    fn index(&self) -> u32 {
        let ([d0, d1], [s0, s1]) = (self.destination, self.source);
        let mixed = d0 ^ d1 ^ s0.rotate_left(32) ^ s1.rotate_left(17);
        let [a, ..] = MULTIPLIERS;
        (mixed.wrapping_mul(a) >> SPARE_BITS) as u32
    }

    #[inline(always)]
    fn is_of(&self, hop: &CachedHop) -> bool {
        let ([d0, d1], [s0, s1]) = (self.destination, self.source);
        let ([e0, e1], [t0, t1]) = (hop.destination, hop.source);
        (d0 ^ e0) | (d1 ^ e1) | (s0 ^ t0) | (s1 ^ t1) == 0
            && (hop.tag_count & IS_CUT != 0) == self.is_cut
    }
}

/// Returns how many VLAN tags a frame to this hop gets.
#[inline(always)]
pub(crate) fn tag_count(hop: &CachedHop) -> u8 {
    hop.tag_count & !IS_CUT
}
