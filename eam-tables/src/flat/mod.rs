//! One look-up of mappings for the XDP program and the workers, in plain arrays which can lie in a BPF map.
//!
//! The rules are those of RFC 7757, 3.3: the longest prefix counts, and the rest of the address is kept behind the other
//! prefix. The search is a binary one over the prefix lengths that occur (Waldvogel, Varghese, Turner, Plattner: "Scalable
//! High Speed IP Routing Lookups", SIGCOMM 1997): a longer prefix leaves *markers* at the shorter lengths which the search
//! passes on the way to it, and a marker carries the best match among the prefixes no longer than itself, so the search never
//! has to go back. One length costs one probe, 3 lengths two, 33 lengths at most six, 129 at most eight.
//!
//! Prefixes and markers of all lengths share one array of [`Slot4`] or [`Slot6`] with open addressing: an entry lies at most
//! [`PROBES`] - 1 slots behind the one that its hash names, and an empty slot ends the search. A [`Shape`] holds the few numbers
//! that say how to read the array. In front stands a filter of bits, so that an address without a mapping, as most clients
//! have it, costs one word and not a miss in the array.
//!
//! Building the arrays is the business of `Image`, which needs the feature `std`.

#[cfg(feature = "std")]
mod build;
mod find;
mod key;

#[cfg(feature = "std")]
pub use build::Image;
pub use find::{
    find_service_v4, find_service_v6, find_v4, find_v6, first_slot_v4, first_slot_v6, longest_v4,
    longest_v6, may_match_v4, may_match_v6,
};
pub use relay_core::network::Mapped;

/// The most slots that a look-up reads at one prefix length.
pub const PROBES: u32 = 16;

/// A prefix or marker of the IPv4 table: 32 octets, numbers in host order. All zeros: the slot is empty.
///
/// Aligned, so that none lies across two lines of the processor's cache.
#[repr(C, align(32))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot4 {
    /// The IPv4 address in the upper 32 bits; in the lower ones the prefix length plus one.
    pub key: u64,
    /// The upper half of the IPv6 network to put in place of the matched prefix.
    pub other_high: u64,
    /// The lower half of it.
    pub other_low: u64,
    /// The number of the mapping that the match is due to, counted from zero.
    pub entry: u32,
    /// The length of the matched prefix plus one; zero for a marker that no prefix covers.
    pub matched: u8,
    /// The length of the IPv6 prefix.
    pub other_length: u8,
    /// What a checksum's sum gains when the prefix is replaced, and for a single address that is all.
    pub difference: u16,
}

/// A prefix or marker of the IPv6 table: 32 octets, numbers in host order. All zeros: the slot is empty.
///
/// Aligned, so that none lies across two lines of the processor's cache.
#[repr(C, align(32))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot6 {
    /// The upper half of the IPv6 address.
    pub key_high: u64,
    /// The lower half of it.
    pub key_low: u64,
    /// The IPv4 network to put in place of the matched prefix.
    pub other: u32,
    /// The number of the mapping that the match is due to, counted from zero.
    pub entry: u32,
    /// What a checksum's sum gains when the prefix is replaced, and for a single address that is all.
    pub difference: u16,
    /// The prefix length plus one.
    pub level: u8,
    /// The length of the matched prefix plus one; zero for a marker that no prefix covers.
    pub matched: u8,
    /// The length of the IPv4 prefix.
    pub other_length: u8,
    /// Zeros, in place of padding.
    pub reserved: [u8; 3],
}

/// How to read an array of slots and its filter.
///
/// The binary search over the prefix lengths is written down as a tree, which costs less than to calculate its turns, and less
/// than that to verify.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// What the hash of the slots starts from.
    pub seed: u64,
    /// The bits that count for the filter, of an IPv4 address in the upper half, of an IPv6 address of its upper half.
    pub filter_mask: u64,
    /// How far the filter's hash is shifted right to give the number of a bit; six bits less give that of another one in its word.
    pub filter_shift: u32,
    /// The number of slots which a hash can name; the array has [`PROBES`] - 1 more, so that no search leaves it.
    pub slots: u32,
    /// The place in `turns` of the prefix length that is looked at first.
    pub root: u32,
    /// Zero, in place of padding.
    pub reserved: u32,
    /// The prefix lengths to look at; the one in front is where every search ends.
    pub turns: [Turn; LENGTHS + 2],
}

/// The number of prefix lengths of IPv6, from zero on.
const LENGTHS: usize = 129;

/// A turn of the search: a prefix length, and where the search goes on, as places in [`Shape::turns`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Ones as far as the prefix reaches, in halves; IPv4 prefixes have the upper 32 bits.
    pub mask: [u64; 2],
    /// The prefix length plus one; zero ends the search.
    pub level: u8,
    /// The next turn when there is a prefix or marker of this length.
    pub hit: u8,
    /// The next turn when there is none.
    pub miss: u8,
    /// Zeros, in place of padding.
    pub reserved: [u8; 5],
}

impl Turn {
    /// Where every search ends.
    pub const END: Self = Self {
        mask: [0; 2],
        level: 0,
        hit: 0,
        miss: 0,
        reserved: [0; 5],
    };
}

impl Shape {
    /// The place in `turns` where every search ends.
    pub const END: u32 = 0;

    /// The shape of a table without mappings.
    pub const EMPTY: Self = Self {
        seed: 0,
        filter_mask: 0,
        filter_shift: 63,
        slots: 0,
        root: 0,
        reserved: 0,
        turns: [Turn::END; LENGTHS + 2],
    };
}

impl Default for Shape {
    fn default() -> Self {
        Self::EMPTY
    }
}

const _: () = assert!(size_of::<Slot4>() == 32);
const _: () = assert!(size_of::<Slot6>() == 32);
const _: () = assert!(size_of::<Shape>() == 3176 && align_of::<Shape>() == 8);

/// Where slots are read from: a slice, or a BPF map.
pub trait Slots<S> {
    /// Returns a slot of the array, or `None` behind its end.
    fn slot(&self, index: u32) -> Option<&S>;
}

impl<S> Slots<S> for [S] {
    #[inline(always)]
    fn slot(&self, index: u32) -> Option<&S> {
        self.get(index as usize)
    }
}

/// Where the words of a filter are read from: a slice, or a BPF map.
pub trait Filter {
    /// Returns a word of the filter, or `None` behind its end.
    fn word(&self, index: u32) -> Option<u64>;
}

impl Filter for [u64] {
    #[inline(always)]
    fn word(&self, index: u32) -> Option<u64> {
        self.get(index as usize).copied()
    }
}
