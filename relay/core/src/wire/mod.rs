//! Wire formats: octets to values (`parse`, may fail) and values to octets (`emit`, cannot fail).
//!
//! All multi-octet fields are in host order inside a value and in network order on the wire. A value can only
//! hold what the translator supports; everything else is [`Malformed`], and the caller turns that into the
//! reason that it counts. Policy has no place here.

pub mod checksum;
pub mod ethernet;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod tcp;
pub mod transport;

use checksum::Sum;

/// The octets do not form the header that they claim to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Octets that can be read by copy, wherever they live: a slice, or a frame in front of an XDP program.
///
/// The BPF verifier refuses slices of run-time length and accepts fixed-size arrays, so every read copies an array
/// out. No method panics, and offsets may be any number.
pub trait Octets {
    /// Returns the number of octets.
    fn len(&self) -> usize;

    /// Returns a copy of the `N` octets from offset `at`, or `None` if they are not all there.
    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]>;

    /// Returns the one's complement sum of `length` octets from offset `at`, or `None` if they are not all there
    /// or this reader cannot afford as many (as in XDP).
    fn sum(&self, at: usize, length: usize) -> Option<Sum>;

    /// Says whether there is nothing to read.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Octets for [u8] {
    #[inline]
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    #[inline]
    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.get(at..)?.first_chunk().copied()
    }

    #[inline]
    fn sum(&self, at: usize, length: usize) -> Option<Sum> {
        Some(Sum::ZERO.add_octets(self.get(at..)?.get(..length)?))
    }
}

impl<T: Octets + ?Sized> Octets for &T {
    #[inline]
    fn len(&self) -> usize {
        (**self).len()
    }

    #[inline]
    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        (**self).load(at)
    }

    #[inline]
    fn sum(&self, at: usize, length: usize) -> Option<Sum> {
        (**self).sum(at, length)
    }
}
