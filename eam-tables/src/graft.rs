//! Address arithmetic of mappings (RFC 7757, 3.3.1, steps 3-5, and 3.3.2, steps 3-5).
//!
//! On halves of 64 bits, since the XDP program has no wider shifts.

use core::net::{Ipv4Addr, Ipv6Addr};

/// Replaces the first `removed` bits of an IPv4 address by an IPv6 prefix (RFC 7757, 3.3.1, steps 3-5).
#[inline(always)]
pub(crate) fn graft_v6(prefix: Ipv6Addr, length: u8, removed: u8, address: Ipv4Addr) -> Ipv6Addr {
    // Left-aligned, the zeros of step 5 are there already.
    let suffix = shift_left((address.to_bits() as u64) << 32, removed as u32);
    let length = length as u32;
    let (high, low) = if length < 64 {
        (
            suffix >> length,
            shift_left(suffix, 64u32.wrapping_sub(length)),
        )
    } else if length < 128 {
        (0, suffix >> (length & 63))
    } else {
        (0, 0)
    };
    Ipv6Addr::from_bits(prefix.to_bits() | (high as u128) << 64 | low as u128)
}

/// Replaces the first `removed` bits of an IPv6 address by an IPv4 prefix (RFC 7757, 3.3.2, steps 3-5).
#[inline(always)]
pub(crate) fn graft_v4(prefix: Ipv4Addr, length: u8, removed: u8, address: Ipv6Addr) -> Ipv4Addr {
    // Nothing of a host's address is left over.
    if length == 32 {
        return prefix;
    }
    let bits = address.to_bits();
    let (high, low) = ((bits >> 64) as u64, bits as u64);
    let removed = removed as u32;
    let suffix = if removed == 0 {
        high
    } else if removed < 64 {
        high << removed | low >> (64u32.wrapping_sub(removed) & 63)
    } else if removed < 128 {
        low << (removed & 63)
    } else {
        0
    };
    Ipv4Addr::from_bits(prefix.to_bits() | ((suffix >> 32) >> (length & 63)) as u32)
}

/// Shifts left by any number of bits.
#[inline(always)]
fn shift_left(bits: u64, by: u32) -> u64 {
    if by < 64 { bits << (by & 63) } else { 0 }
}
