//! Next hops: the kernel's forwarding tables, and a memory of what they said.
//!
//! Asking costs more than the translation, so each CPU remembers the answers by destination, and by source where there are
//! several ways. What is remembered is void as soon as the daemon announces a new epoch, as it does at any change of routes,
//! neighbours or links, and after a while besides. Destinations behind a gateway share one answer, cut to the longest prefix
//! among the routes: no route tells them apart.

use aya_ebpf::programs::XdpContext;
use eam_tables::layout::{CachedHop, HOPS_MAX_ENTRIES, Memory, State, XdpCounter};

use crate::described::Described;
use crate::maps::{self, Question};

/// In [`CachedHop::tag_count`]: the destination is cut to the longest prefix among the routes.
const IS_CUT: u8 = 0x80;

/// How many bits of a hash are left over, besides those that number the places.
const SPARE_BITS: u32 = 64 - HOPS_MAX_ENTRIES.trailing_zeros();

/// An address, IPv4 behind zeros: the halves in host order.
type Words = [u64; 2];

/// What the answers for a packet depend on.
struct Keys {
    source: Words,
    destination: Words,
    /// Ones as far as routes tell destinations apart, then zeros.
    longest: Words,
}

/// Where a packet goes, and where it comes from if that matters.
struct Key {
    destination: Words,
    source: Words,
    /// Whether the destination is cut.
    is_cut: bool,
}

/// Returns the next hop of a packet; `None` if the program cannot send it on.
#[inline(always)]
pub(crate) fn find(
    context: &XdpContext,
    state: &State,
    described: &Described,
) -> Option<&'static CachedHop> {
    match described.is_v6 {
        0 => {
            let longest = [0, high_bits(state.memory_v4.longest) >> 32];
            let keys = Keys::new(described, longest);
            let is_own = || maps::is_own_v4(described.destination);
            recall(state, &state.memory_v4, &keys, is_own).or_else(|| {
                let question = Question::v4(context, described)?;
                ask(context, state, &state.memory_v4, &keys, question)
            })
        }
        _ => {
            let longest = state.memory_v6.longest;
            let longest = match longest {
                0..=64 => [high_bits(longest), 0],
                _ => [u64::MAX, high_bits(longest.wrapping_sub(64))],
            };
            let keys = Keys::new(described, longest);
            let is_own = || maps::is_own_v6(described.destination);
            recall(state, &state.memory_v6, &keys, is_own).or_else(|| {
                let question = Question::v6(context, described)?;
                ask(context, state, &state.memory_v6, &keys, question)
            })
        }
    }
}

/// Returns a number whose upper `count` bits, 64 at most, are ones.
#[inline(always)]
fn high_bits(count: u32) -> u64 {
    match count {
        0 => 0,
        _ => u64::MAX << (64_u32.wrapping_sub(count) & 63),
    }
}

impl Keys {
    #[inline(always)]
    fn new(described: &Described, longest: Words) -> Self {
        Self {
            source: described.source,
            destination: described.destination,
            longest,
        }
    }

    /// Returns the key with or without what lies behind the longest prefix among the routes.
    #[inline(always)]
    fn key(&self, memory: &Memory, is_cut: bool) -> Key {
        let ([d0, d1], [l0, l1]) = (self.destination, self.longest);
        Key {
            destination: if is_cut { [d0 & l0, d1 & l1] } else { [d0, d1] },
            source: if memory.on == Memory::ON_BOTH {
                self.source
            } else {
                [0; 2]
            },
            is_cut,
        }
    }
}

/// Returns the answer that is remembered, if there is one.
#[inline(always)]
fn recall(
    state: &State,
    memory: &Memory,
    keys: &Keys,
    is_own: impl Fn() -> bool,
) -> Option<&'static CachedHop> {
    if memory.on == Memory::NOTHING {
        return None;
    }
    let now = maps::jiffies();
    for is_cut in [true, false] {
        let key = keys.key(memory, is_cut);
        let hop = maps::hop(key.index())?;
        let is_fresh = hop.epoch == state.epoch && now.wrapping_sub(hop.since) <= state.patience;
        if is_fresh && key.is_of(hop) {
            // Packets to the machine itself are the kernel's, whatever lies around its addresses.
            let is_exception = is_cut && memory.but_own != 0 && is_own();
            return if is_exception { None } else { Some(hop) };
        }
    }
    None
}

/// Asks the kernel, and remembers the answer.
#[inline(always)]
fn ask(
    context: &XdpContext,
    state: &State,
    memory: &Memory,
    keys: &Keys,
    question: &mut Question,
) -> Option<&'static CachedHop> {
    maps::count(XdpCounter::HopLookups, 1);
    let has_gateway = question.ask(context)?;
    let egress = maps::egress(question.interface)?;
    question.note_neighbour();
    let key = keys.key(memory, has_gateway);
    let hop = maps::hop(key.index())?;
    hop.destination = key.destination;
    hop.source = key.source;
    hop.epoch = state.epoch;
    hop.since = maps::jiffies();
    hop.mtu = question.mtu;
    hop.port = egress.port as u8;
    hop.tag_count = egress.tag_count as u8 | if key.is_cut { IS_CUT } else { 0 };
    let (next, rest) = hop.link.split_first_chunk_mut()?;
    let (own, tags) = rest.split_first_chunk_mut()?;
    *next = question.next;
    *own = question.own;
    *tags.first_chunk_mut()? = egress.tags;
    Some(hop)
}

impl Key {
    /// Returns the place among the remembered answers.
    #[inline(always)]
    fn index(&self) -> u32 {
        let ([d0, d1], [s0, s1]) = (self.destination, self.source);
        let mixed = d0 ^ d1 ^ s0.rotate_left(32) ^ s1.rotate_left(17);
        let hash = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash >> SPARE_BITS) as u32
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
