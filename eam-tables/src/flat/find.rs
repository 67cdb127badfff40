//! The look-up itself, bounded in every loop.

use super::key::{Key, Key4, Key6, home};
use super::{Filter, Mapped, PROBES, Shape, Slot4, Slot6, Slots};
use crate::graft::{graft_v4, graft_v6};
use core::net::{Ipv4Addr, Ipv6Addr};
use relay_core::address::join;

/// Translates an IPv4 address by the longest prefix that contains it (RFC 7757, 3.3.1); `None` when there is none.
#[inline(always)]
pub fn find_v4<T, F>(
    shape: &Shape,
    slots: &T,
    filter: &F,
    address: Ipv4Addr,
) -> Option<Mapped<Ipv6Addr>>
where
    T: Slots<Slot4> + ?Sized,
    F: Filter + ?Sized,
{
    if !may_match_v4(shape, filter, address) {
        return None;
    }
    find_service_v4(shape, slots, address)
}

/// As [`find_v4`], without a filter, for an address that most likely has a mapping.
#[inline(always)]
pub fn find_service_v4<T: Slots<Slot4> + ?Sized>(
    shape: &Shape,
    slots: &T,
    address: Ipv4Addr,
) -> Option<Mapped<Ipv6Addr>> {
    let number = longest_v4(shape, slots, address)?;
    slots.slot(number).map(|slot| slot.translate(address))
}

/// Translates an IPv6 address by the longest prefix that contains it (RFC 7757, 3.3.2); `None` when there is none.
#[inline(always)]
pub fn find_v6<T, F>(
    shape: &Shape,
    slots: &T,
    filter: &F,
    address: Ipv6Addr,
) -> Option<Mapped<Ipv4Addr>>
where
    T: Slots<Slot6> + ?Sized,
    F: Filter + ?Sized,
{
    if !may_match_v6(shape, filter, address) {
        return None;
    }
    find_service_v6(shape, slots, address)
}

/// As [`find_v6`], without a filter, for an address that most likely has a mapping.
#[inline(always)]
pub fn find_service_v6<T: Slots<Slot6> + ?Sized>(
    shape: &Shape,
    slots: &T,
    address: Ipv6Addr,
) -> Option<Mapped<Ipv4Addr>> {
    let number = longest_v6(shape, slots, address)?;
    slots.slot(number).map(|slot| slot.translate(address))
}

/// Returns the number of the slot of the longest prefix that contains an IPv4 address, without asking the filter.
#[inline(always)]
pub fn longest_v4<T: Slots<Slot4> + ?Sized>(
    shape: &Shape,
    slots: &T,
    address: Ipv4Addr,
) -> Option<u32> {
    search(shape, slots, Key4::from(address))
}

/// Returns the number of the slot of the longest prefix that contains an IPv6 address, without asking the filter.
#[inline(always)]
pub fn longest_v6<T: Slots<Slot6> + ?Sized>(
    shape: &Shape,
    slots: &T,
    address: Ipv6Addr,
) -> Option<u32> {
    search(shape, slots, Key6::from(address))
}

impl Slot4 {
    /// Translates an address that the slot's prefix contains.
    #[inline(always)]
    pub fn translate(&self, address: Ipv4Addr) -> Mapped<Ipv6Addr> {
        let other = join([self.other_high, self.other_low]);
        let removed = self.matched.wrapping_sub(1);
        // A single address, of which nothing is left over; so are most services.
        if removed == 32 {
            return Mapped {
                address: other,
                entry: self.entry,
                difference: self.difference,
            };
        }
        let mapped = graft_v6(other, self.other_length, removed, address);
        Mapped::from_v4(address, mapped, self.entry)
    }
}

impl Slot6 {
    /// Translates an address that the slot's prefix contains.
    #[inline(always)]
    pub fn translate(&self, address: Ipv6Addr) -> Mapped<Ipv4Addr> {
        let other = Ipv4Addr::from_bits(self.other);
        let removed = self.matched.wrapping_sub(1);
        // As above.
        if removed == 128 {
            return Mapped {
                address: other,
                entry: self.entry,
                difference: self.difference,
            };
        }
        let mapped = graft_v4(other, self.other_length, removed, address);
        Mapped::from_v6(address, mapped, self.entry)
    }
}

/// Says whether an IPv4 address may have a mapping; where this says no, it has none.
#[inline(always)]
pub fn may_match_v4<F: Filter + ?Sized>(shape: &Shape, filter: &F, address: Ipv4Addr) -> bool {
    may_match(shape, filter, Key4::from(address))
}

/// Says whether an IPv6 address may have a mapping; where this says no, it has none.
#[inline(always)]
pub fn may_match_v6<F: Filter + ?Sized>(shape: &Shape, filter: &F, address: Ipv6Addr) -> bool {
    may_match(shape, filter, Key6::from(address))
}

/// Returns the index of the first slot that a look-up reads, for those who fetch it in advance.
#[inline(always)]
pub fn first_slot_v4(shape: &Shape, address: Ipv4Addr) -> Option<u32> {
    first_slot(shape, Key4::from(address))
}

/// Returns the index of the first slot that a look-up reads, for those who fetch it in advance.
#[inline(always)]
pub fn first_slot_v6(shape: &Shape, address: Ipv6Addr) -> Option<u32> {
    first_slot(shape, Key6::from(address))
}

#[inline(always)]
fn may_match<K: Key, F: Filter + ?Sized>(shape: &Shape, filter: &F, key: K) -> bool {
    let mark = key.mark(shape);
    match filter.word(mark.word) {
        Some(word) => !word & mark.bits == 0,
        None => false,
    }
}

#[inline(always)]
fn first_slot<K: Key>(shape: &Shape, key: K) -> Option<u32> {
    if shape.root == Shape::END {
        return None;
    }
    let turn = shape.turns.get(shape.root as usize)?;
    let key = key.truncate(turn);
    Some(home(key.hash(turn.level, shape.seed), shape.slots))
}

/// No slot has this number.
const NONE: u32 = u32::MAX;

/// Returns the number of the slot that knows the longest prefix.
#[inline(always)]
fn search<K: Key, T: Slots<K::Slot> + ?Sized>(shape: &Shape, slots: &T, key: K) -> Option<u32> {
    let mut best = NONE;
    let mut at = shape.root;
    for _ in 0..K::TURNS {
        if at == Shape::END {
            break;
        }
        let Some(turn) = shape.turns.get(at as usize) else {
            break;
        };
        let key = key.truncate(turn);
        let home = home(key.hash(turn.level, shape.seed), shape.slots);
        let mut next = turn.miss;
        let mut zero = 0;
        for distance in 0..PROBES {
            let number = home.wrapping_add(distance);
            let slot = slots.slot(number)?;
            // It changes nothing but what the BPF verifier believes: it takes all numbers of slots and turns for alike, and does
            // not follow each of them to the end.
            zero = K::zero(slot);
            if key.is_in(turn.level, slot) {
                let is_match = K::is_match(slot);
                // In most tables there is nothing longer to look for.
                if u32::from(turn.hit) == Shape::END {
                    return is_match.then_some(number ^ zero);
                }
                next = turn.hit;
                // The slot of a longer prefix or marker knows at least as much.
                best = if is_match { number ^ zero } else { NONE };
                break;
            }
            if K::is_empty(slot) {
                break;
            }
        }
        at = u32::from(next) ^ zero;
    }
    match best {
        NONE => None,
        number => Some(number),
    }
}
