//! The Internet checksum (RFC 1071): full sums, and updates from old to new values (RFC 1624).
//!
//! A sum is kept as a plain number and folded at the end. Since one's complement addition does not care about
//! grouping, octets may be added in any number of pieces, as long as each piece but the last has an even length.

use crate::address::halves;
use core::net::{Ipv4Addr, Ipv6Addr};

/// A one's complement sum in progress, not yet folded to 16 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// The empty sum.
    pub const ZERO: Self = Self(0);

    /// Adds one 16-bit word in host order.
    #[inline]
    pub const fn add_word(self, word: u16) -> Self {
        Self(self.0.wrapping_add(word as u64))
    }

    /// Takes one 16-bit word in host order out again (RFC 1624: adding the complement).
    #[inline]
    pub const fn remove_word(self, word: u16) -> Self {
        self.add_word(!word)
    }

    /// Adds all of another sum.
    #[inline]
    pub const fn add(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// Takes all of another sum out again.
    #[inline]
    pub const fn remove(self, other: Self) -> Self {
        self.remove_word(other.fold())
    }

    /// Adds octets in wire order; an odd last octet counts as the high half of a word, as RFC 1071 pads it.
    ///
    /// At most 2^40 octets may be added in all, far more than a packet has.
    #[inline]
    pub fn add_octets(self, octets: &[u8]) -> Self {
        let mut sum = self.0;
        let (quads, rest) = octets.as_chunks::<4>();
        for quad in quads {
            sum = sum.wrapping_add(u64::from(u32::from_be_bytes(*quad)));
        }
        let mut last = [0; 4];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        Self(sum.wrapping_add(u64::from(u32::from_be_bytes(last))))
    }

    /// Adds an IPv4 address.
    #[inline]
    pub const fn add_v4(self, address: Ipv4Addr) -> Self {
        self.add_long(address.to_bits())
    }

    /// Adds an IPv6 address.
    #[inline]
    pub const fn add_v6(self, address: Ipv6Addr) -> Self {
        self.add_halves(halves(address))
    }

    /// Adds a number of four octets in host order.
    ///
    /// Adding its complement takes the number out again (RFC 1624).
    #[inline(always)]
    pub const fn add_long(self, number: u32) -> Self {
        Self(self.0.wrapping_add(number as u64))
    }

    /// Adds two numbers of eight octets in host order, such as the halves of an IPv6 address; complements take them out again.
    #[inline(always)]
    pub const fn add_halves(self, [first, second]: [u64; 2]) -> Self {
        let high = (first >> 32).wrapping_add(second >> 32);
        let low = (first & 0xffff_ffff).wrapping_add(second & 0xffff_ffff);
        Self(self.0.wrapping_add(high).wrapping_add(low))
    }

    /// Folds the carries in and returns the 16-bit one's complement sum, host order.
    #[inline(always)]
    pub const fn fold(self) -> u16 {
        // A number plus itself with the halves exchanged: the sum of the halves is in the upper one, the carry from the lower one
        // included, as one's complement wants it.
        let sum = (self.0.wrapping_add(self.0.rotate_left(32)) >> 32) as u32;
        (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
    }

    /// Returns the checksum that belongs to this sum: its complement, host order.
    #[inline]
    pub const fn checksum(self) -> u16 {
        !self.fold()
    }
}

/// Returns the sum of the IPv6 pseudo-header (RFC 8200, 8.1).
///
/// `length` is the upper-layer length in octets, `next_header` the transport's protocol number.
#[inline]
pub fn pseudo_header_v6(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    length: u32,
    next_header: u8,
) -> Sum {
    Sum(u64::from(length))
        .add_word(u16::from(next_header))
        .add_v6(source)
        .add_v6(destination)
}

/// Returns what a sum over a pseudo-header gains when an IPv4 address in it becomes an IPv6 one: one's complement, host order.
#[inline(always)]
pub const fn difference_to_v6(old: Ipv4Addr, new: Ipv6Addr) -> u16 {
    Sum::ZERO.add_long(!old.to_bits()).add_v6(new).fold()
}

/// Returns what a sum over a pseudo-header gains when an IPv6 address in it becomes an IPv4 one, likewise.
#[inline(always)]
pub const fn difference_to_v4(old: Ipv6Addr, new: Ipv4Addr) -> u16 {
    let [high, low] = halves(old);
    Sum::ZERO.add_halves([!high, !low]).add_v4(new).fold()
}

/// Returns `checksum` after a part of what it covers changed from `old` to `new` (RFC 1624, equation 3).
///
/// A valid checksum stays valid and an invalid one stays invalid. For UDP the caller still has to turn a result of
/// zero into 0xffff.
#[inline]
pub const fn update(checksum: u16, old: Sum, new: Sum) -> u16 {
    Sum::ZERO
        .remove_word(checksum)
        .remove(old)
        .add(new)
        .checksum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1071's definition, word by word.
    fn plain(octets: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in octets.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            if sum > 0xffff {
                sum -= 0xffff;
            }
        }
        sum as u16
    }

    fn pseudo_random(length: usize, mut seed: u32) -> impl Iterator<Item = u8> {
        (0..length).map(move |_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        })
    }

    #[test]
    fn sums_agree_with_the_plain_definition() {
        let mut octets = [0; 257];
        for seed in 0..200 {
            octets
                .iter_mut()
                .zip(pseudo_random(257, seed))
                .for_each(|(to, from)| *to = from);
            for length in [0, 1, 2, 3, 5, 8, 20, 63, 64, 255, 256, 257] {
                let sum = Sum::ZERO.add_octets(&octets[..length]).fold();
                assert_eq!(
                    sum % 0xffff,
                    plain(&octets[..length]) % 0xffff,
                    "seed {seed}, length {length}"
                );
            }
        }
        assert_eq!(Sum::ZERO.add_octets(&[0xff; 256]).fold(), 0xffff);
    }

    #[test]
    fn rfc_1071_example() {
        let sum = Sum::ZERO.add_octets(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.fold(), 0xddf2);
    }

    #[test]
    fn rfc_1624_example() {
        // Section 4: checksum 0xdd2f, a field goes from 0x5555 to 0x3285, the new checksum is zero.
        let (old, new) = (Sum::ZERO.add_word(0x5555), Sum::ZERO.add_word(0x3285));
        assert_eq!(update(0xdd2f, old, new), 0x0000);
    }

    #[test]
    fn an_update_equals_a_full_sum() {
        let mut octets = [0; 64];
        for seed in 0..500 {
            octets
                .iter_mut()
                .zip(pseudo_random(64, seed))
                .for_each(|(to, from)| *to = from);
            let before = Sum::ZERO.add_octets(&octets).checksum();
            let old = Sum::ZERO.add_octets(&octets[8..24]);
            octets
                .iter_mut()
                .skip(8)
                .take(16)
                .zip(pseudo_random(16, !seed))
                .for_each(|(to, from)| *to = from);
            let new = Sum::ZERO.add_octets(&octets[8..24]);
            assert_eq!(
                update(before, old, new),
                Sum::ZERO.add_octets(&octets).checksum(),
                "seed {seed}"
            );
        }
    }

    #[test]
    fn addresses_add_as_their_octets() {
        let v4 = Ipv4Addr::new(203, 0, 113, 50);
        assert_eq!(
            Sum::ZERO.add_v4(v4).fold(),
            Sum::ZERO.add_octets(&v4.octets()).fold()
        );
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0x46, 0xffff, 0xfedc, 0xba98, 0xcb00, 0x7132);
        assert_eq!(
            Sum::ZERO.add_v6(v6).fold(),
            Sum::ZERO.add_octets(&v6.octets()).fold()
        );
    }
}
