//! The classes of addresses that are never translated.

use core::net::{Ipv4Addr, Ipv6Addr};

/// Says whether no router may forward a packet *from* `address` (RFC 1812, 5.3.7; RFC 3927, 2.7).
///
/// Class E (240.0.0.0/4) apart from the broadcast address is left to the operator's routing.
#[inline(always)]
pub const fn is_illegal_source_v4(address: Ipv4Addr) -> bool {
    is_never_forwarded_v4(address)
}

/// Says whether no unicast packet *to* `address` may be forwarded (RFC 1812, 5.3.7; RFC 3927, 2.7).
///
/// RFC 7915, 1.2: IPv4 multicast addresses cannot be mapped, so they count here.
#[inline(always)]
pub const fn is_illegal_destination_v4(address: Ipv4Addr) -> bool {
    is_never_forwarded_v4(address)
}

#[inline(always)]
const fn is_never_forwarded_v4(address: Ipv4Addr) -> bool {
    let bits = address.to_bits();
    // Two comparisons tell most addresses from all that follows: 1.0.0.0 to 126.255.255.255, and 170.0.0.0 to 223.255.255.255.
    let net = bits >> 24;
    if net.wrapping_sub(1) < 126 || net.wrapping_sub(170) < 54 {
        return false;
    }
    // Numbers, since taking octets apart costs more.
    let is_zero_net_or_loopback = matches!(bits >> 24, 0 | 127);
    let (is_multicast, is_link_local) = (bits >> 28 == 0xe, bits >> 16 == 0xa9fe);
    is_zero_net_or_loopback || is_multicast || is_link_local || bits == u32::MAX
}

/// Says whether no router may forward a packet from `address`: ::, ::1, multicast, link-local (RFC 7915, 5.1;
/// RFC 4291, 2.5).
#[inline(always)]
pub const fn is_illegal_source_v6(address: Ipv6Addr) -> bool {
    let bits = address.to_bits();
    // The first octet of all others is one of three.
    if !matches!(bits >> 120, 0 | 0xfe | 0xff) {
        return false;
    }
    bits <= 1 || address.is_multicast() || bits >> 118 == 0xfe80 >> 6
}

/// Says whether `address` is globally reachable, so that the Well-Known Prefix may stand for it (RFC 6052, 3.1).
///
/// The list is RFC 6890's table of special-purpose addresses whose "Global" is false.
#[inline]
pub const fn is_global_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        [0 | 10 | 127 | 224..=255, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 0, 0 | 2, _]
            | [192, 168, ..]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn illegal_sources() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "169.254.1.1",
            "224.0.0.1",
            "239.1.1.1",
            "255.255.255.255",
        ] {
            assert!(is_illegal_source_v4(text.parse().unwrap()), "{text}");
        }
        for text in [
            "1.0.0.1",
            "10.0.0.1",
            "169.253.1.1",
            "203.0.113.50",
            "240.0.0.1",
            "255.255.255.254",
        ] {
            assert!(!is_illegal_source_v4(text.parse().unwrap()), "{text}");
        }
        for text in ["::", "::1", "fe80::1", "febf::1", "ff02::1"] {
            assert!(is_illegal_source_v6(text.parse().unwrap()), "{text}");
        }
        for text in [
            "::2",
            "2001:db8::1",
            "fec0::1",
            "fe7f::1",
            "64:ff9b::192.0.2.1",
        ] {
            assert!(!is_illegal_source_v6(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn global_addresses() {
        for text in [
            "8.8.8.8",
            "100.63.0.1",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.20.0.1",
        ] {
            assert!(is_global_v4(text.parse().unwrap()), "{text}");
        }
        for text in [
            "10.0.0.1",
            "100.64.0.1",
            "172.31.9.9",
            "192.0.2.1",
            "192.168.1.1",
            "198.19.0.1",
            "240.0.0.1",
        ] {
            assert!(!is_global_v4(text.parse().unwrap()), "{text}");
        }
    }
}
