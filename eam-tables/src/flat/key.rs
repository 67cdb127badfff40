//! Keys of both families: cut to a prefix length, hashed, compared with slots.
//!
//! A *level* is a prefix length plus one, so that zero stands for none.
//!
//! Everything is arithmetic on 64 bits which the BPF instruction set has: no division and nothing of 128 bits.

use super::{Shape, Slot4, Slot6, Turn};
use core::net::{Ipv4Addr, Ipv6Addr};
use relay_core::address::halves;
use relay_core::hash::MULTIPLIERS;

/// An address as a key of a table.
pub(super) trait Key: Copy {
    /// The slots that it is looked up in.
    type Slot;
    /// The most turns of a binary search over the prefix lengths of the family.
    const TURNS: u32;

    /// Returns the key with zeros behind the prefix of a turn.
    fn truncate(self, turn: &Turn) -> Self;

    /// Returns 32 bits that depend on all bits of the key, and on its level.
    fn hash(self, level: u8, seed: u64) -> u32;

    /// Returns the place of the key in the filter.
    fn mark(self, shape: &Shape) -> Mark;

    /// Says whether the slot is the one of this key at this level.
    fn is_in(self, level: u8, slot: &Self::Slot) -> bool;

    /// Says whether the slot is empty.
    fn is_empty(slot: &Self::Slot) -> bool;

    /// Says whether the slot has found a prefix.
    fn is_match(slot: &Self::Slot) -> bool;

    /// Returns zero, read from the slot.
    fn zero(slot: &Self::Slot) -> u32;
}

/// What stands in the filter for a key: two bits of one word.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    /// The number of the word.
    pub(super) word: u32,
    /// The two bits, which may be the same.
    pub(super) bits: u64,
}

impl Mark {
    #[inline(always)]
    fn of(key: u64, shape: &Shape) -> Self {
        let [a, ..] = MULTIPLIERS;
        let mixed = key.wrapping_mul(a);
        let first = mixed >> (shape.filter_shift & 63);
        let second = mixed >> (shape.filter_shift.wrapping_sub(6) & 63);
        Self {
            word: (first >> 6) as u32,
            bits: 1 << (first & 63) | 1 << (second & 63),
        }
    }
}

/// An IPv4 address in the upper 32 bits of a number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key4(pub(super) u64);

impl From<Ipv4Addr> for Key4 {
    #[inline(always)]
    fn from(address: Ipv4Addr) -> Self {
        Self((address.to_bits() as u64) << 32)
    }
}

impl Key for Key4 {
    type Slot = Slot4;
    const TURNS: u32 = 6;

    #[inline(always)]
    fn truncate(self, turn: &Turn) -> Self {
        let [mask, _] = turn.mask;
        Self(self.0 & mask)
    }

    #[inline(always)]
    fn hash(self, level: u8, seed: u64) -> u32 {
        let [_, b, c] = MULTIPLIERS;
        let mixed = (self.label(level) ^ seed).wrapping_mul(b);
        let mixed = (mixed ^ mixed >> 32).wrapping_mul(c);
        (mixed >> 32) as u32
    }

    #[inline(always)]
    fn mark(self, shape: &Shape) -> Mark {
        Mark::of(self.0 & shape.filter_mask, shape)
    }

    #[inline(always)]
    fn is_in(self, level: u8, slot: &Slot4) -> bool {
        slot.key == self.label(level)
    }

    #[inline(always)]
    fn is_empty(slot: &Slot4) -> bool {
        slot.key == 0
    }

    #[inline(always)]
    fn is_match(slot: &Slot4) -> bool {
        slot.matched != 0
    }

    #[inline(always)]
    fn zero(slot: &Slot4) -> u32 {
        // No IPv4 prefix is that long.
        (slot.matched >> 7) as u32
    }
}

impl Key4 {
    /// Returns the key as it stands in a slot.
    #[inline(always)]
    pub(super) fn label(self, level: u8) -> u64 {
        self.0 | level as u64
    }
}

/// The halves of an IPv6 address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key6 {
    pub(super) high: u64,
    pub(super) low: u64,
}

impl From<Ipv6Addr> for Key6 {
    #[inline(always)]
    fn from(address: Ipv6Addr) -> Self {
        let [high, low] = halves(address);
        Self { high, low }
    }
}

impl Key for Key6 {
    type Slot = Slot6;
    const TURNS: u32 = 8;

    #[inline(always)]
    fn truncate(self, turn: &Turn) -> Self {
        let [high, low] = turn.mask;
        Self {
            high: self.high & high,
            low: self.low & low,
        }
    }

    #[inline(always)]
    fn hash(self, level: u8, seed: u64) -> u32 {
        let [a, b, c] = MULTIPLIERS;
        // Neither half waits for the other.
        let high = (self.high ^ seed).wrapping_mul(a);
        let low = self.low.wrapping_add(level as u64).wrapping_mul(b);
        let mixed = high.wrapping_add(low);
        let mixed = (mixed ^ mixed >> 32).wrapping_mul(c);
        (mixed >> 32) as u32
    }

    #[inline(always)]
    fn mark(self, shape: &Shape) -> Mark {
        let bits = self.high & shape.filter_mask;
        Mark::of(bits ^ bits >> 32, shape)
    }

    #[inline(always)]
    fn is_in(self, level: u8, slot: &Slot6) -> bool {
        (slot.key_high ^ self.high) | (slot.key_low ^ self.low) == 0 && slot.level == level
    }

    #[inline(always)]
    fn is_empty(slot: &Slot6) -> bool {
        slot.level == 0
    }

    #[inline(always)]
    fn is_match(slot: &Slot6) -> bool {
        slot.matched != 0
    }

    #[inline(always)]
    fn zero(slot: &Slot6) -> u32 {
        let [zero, ..] = slot.reserved;
        zero as u32
    }
}

/// Returns the slot at which a search for a hash begins.
#[inline(always)]
pub(super) fn home(hash: u32, slots: u32) -> u32 {
    ((hash as u64 * slots as u64) >> 32) as u32
}
