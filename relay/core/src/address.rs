//! IPv4-embedded IPv6 addresses (RFC 6052) and the classes of addresses that are never translated.

use core::net::{Ipv4Addr, Ipv6Addr};

/// A translation prefix: IPv6 addresses under it stand for IPv4 addresses (RFC 6052, 2.2).
///
/// Besides the prefix there are the numbers that say where the IPv4 address lies, so that nothing has to be decided for a
/// packet. There is no padding: a program can have it among its settings as it is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Bits 0 to 63.
    high: u64,
    /// Bits 64 to 127; the first eight of them, which RFC 6052 calls "u", are zero.
    low: u64,
    /// Ones where addresses under the prefix agree with `high`.
    mask_high: u64,
    /// Ones where they agree with `low`.
    mask_low: u64,
    /// Length in bits: 32, 40, 48, 56, 64 or 96.
    length: u32,
    /// How many bits of the IPv4 address lie in the lower half.
    bits_in_low: u32,
    /// How many bits lie behind these.
    bits_behind: u32,
    /// Whether this is the Well-Known Prefix: 0 or 1.
    is_well_known: u32,
}

const _: () = assert!(size_of::<Prefix>() == 4 * 8 + 4 * 4);

/// The reason why an IPv6 prefix cannot be a translation prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixError {
    /// The length is none of 32, 40, 48, 56, 64 and 96 (RFC 6052, 2.2).
    Length,
    /// Bits behind the prefix length are set.
    HostBits,
    /// Bits 64 to 71 of a /96 are not zero (RFC 6052, 2.2).
    ReservedOctet,
}

impl core::fmt::Display for PrefixError {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(match self {
            Self::Length => {
                "a translation prefix has a length of 32, 40, 48, 56, 64 or 96 (RFC 6052, 2.2)"
            }
            Self::HostBits => "bits behind the prefix length are set",
            Self::ReservedOctet => {
                "bits 64 to 71 of a /96 translation prefix must be zero (RFC 6052, 2.2)"
            }
        })
    }
}

impl core::error::Error for PrefixError {}

impl Prefix {
    /// The Well-Known Prefix 64:ff9b::/96 (RFC 6052, 2.1).
    pub const WELL_KNOWN: Self = match Self::new(WELL_KNOWN, 96) {
        Ok(prefix) => prefix,
        Err(_) => panic!("it is one"),
    };

    /// Returns the translation prefix of `length` bits that starts at `address`.
    ///
    /// # Errors
    ///
    /// [`PrefixError`] says which rule of RFC 6052, 2.2 the prefix breaks.
    pub const fn new(address: Ipv6Addr, length: u8) -> Result<Self, PrefixError> {
        let (bits_in_low, bits_behind) = match length {
            96 => (32, 0),
            // "If the prefix length is less than 96 bits, insert the null octet "u" at the appropriate position": the bits that
            // have no room in the upper half stand behind that octet in the lower one.
            32 | 40 | 48 | 56 | 64 => (length as u32 - 32, 88 - length as u32),
            _ => return Err(PrefixError::Length),
        };
        let [high, low] = halves(address);
        let [mask_high, mask_low] = halves(Ipv6Addr::from_bits(u128::MAX << (128 - length as u32)));
        if high & !mask_high != 0 || low & !mask_low != 0 {
            return Err(PrefixError::HostBits);
        }
        // RFC 6052, 2.2: "the administrators MUST ensure that the bits 64 to 71 are set to zero".
        if low >> 56 != 0 {
            return Err(PrefixError::ReservedOctet);
        }
        Ok(Self {
            high,
            low,
            mask_high,
            mask_low,
            length: length as u32,
            bits_in_low,
            bits_behind,
            is_well_known: (length == 96 && address.to_bits() == WELL_KNOWN.to_bits()) as u32,
        })
    }

    /// Returns the first address of the prefix.
    #[inline]
    pub const fn network(&self) -> Ipv6Addr {
        join([self.high, self.low])
    }

    /// Returns the length in bits.
    #[inline]
    pub const fn length(&self) -> u8 {
        self.length as u8
    }

    /// Says whether this is the Well-Known Prefix, which may only stand for global IPv4 addresses.
    #[inline]
    pub const fn is_well_known(&self) -> bool {
        self.is_well_known != 0
    }

    /// Says whether `address` lies under the prefix.
    #[inline]
    pub const fn contains(&self, address: Ipv6Addr) -> bool {
        let [high, low] = halves(address);
        (high ^ self.high) & self.mask_high | (low ^ self.low) & self.mask_low == 0
    }

    /// Returns the IPv6 address that stands for `address` (RFC 6052, 2.3).
    #[inline]
    pub const fn embed(&self, address: Ipv4Addr) -> Ipv6Addr {
        let bits = address.to_bits() as u64;
        join([
            self.high | bits >> (self.bits_in_low & 63),
            self.low | (bits & ones(self.bits_in_low)) << (self.bits_behind & 63),
        ])
    }

    /// Returns the IPv4 address for which `address` stands, or `None` if it does not lie under the prefix.
    ///
    /// RFC 6052, 2.2: the suffix is ignored, "as if the bits' value were zero".
    #[inline]
    pub const fn extract(&self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        if !self.contains(address) {
            return None;
        }
        let [high, low] = halves(address);
        // RFC 6052, 2.3: "If the prefix is 96 bits long, extract the last 32 bits of the IPv6 address".
        if self.bits_behind == 0 {
            return Some(Ipv4Addr::from_bits(low as u32));
        }
        // "For the other prefix lengths, remove the "u" octet to obtain a 120-bit sequence".
        let bits = high << (self.bits_in_low & 63)
            | low >> (self.bits_behind & 63) & ones(self.bits_in_low);
        Some(Ipv4Addr::from_bits(bits as u32))
    }
}

/// The network of the Well-Known Prefix (RFC 6052, 2.1).
const WELL_KNOWN: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);

/// Returns the halves of an address, host order. No shift by a run-time number of bits is ever made on all 128: BPF has none.
#[inline(always)]
pub const fn halves(address: Ipv6Addr) -> [u64; 2] {
    let bits = address.to_bits();
    [(bits >> 64) as u64, bits as u64]
}

/// Returns the address with these halves.
#[inline(always)]
pub const fn join([high, low]: [u64; 2]) -> Ipv6Addr {
    Ipv6Addr::from_bits((high as u128) << 64 | low as u128)
}

/// Returns a number whose lowest `count` bits, 32 at most, are ones.
#[inline]
const fn ones(count: u32) -> u64 {
    (1 << (count & 63)) - 1
}

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

    fn prefix(text: &str, length: u8) -> Prefix {
        Prefix::new(text.parse().unwrap(), length).unwrap()
    }

    /// RFC 6052, 2.4, tables 1 and 2.
    #[test]
    fn rfc_6052_tables() {
        for (network, length, embedded) in [
            ("2001:db8::", 32, "2001:db8:c000:221::"),
            ("2001:db8:100::", 40, "2001:db8:1c0:2:21::"),
            ("2001:db8:122::", 48, "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::", 56, "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::", 64, "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::", 96, "2001:db8:122:344::192.0.2.33"),
            ("64:ff9b::", 96, "64:ff9b::192.0.2.33"),
        ] {
            let prefix = prefix(network, length);
            let (v4, v6) = (Ipv4Addr::new(192, 0, 2, 33), embedded.parse().unwrap());
            assert_eq!(prefix.embed(v4), v6, "{network}/{length}");
            assert_eq!(prefix.extract(v6), Some(v4), "{network}/{length}");
        }
    }

    /// RFC 6052, 2.2: "SHOULD ignore the bits' value and proceed as if the bits' value were zero".
    #[test]
    fn suffix_bits_are_ignored_on_the_way_in() {
        for (network, length, with_suffix) in [
            ("2001:db8::", 32, "2001:db8:c000:221:ff:ffff:ffff:ffff"),
            ("2001:db8:100::", 40, "2001:db8:1c0:2:21:ffff:ffff:ffff"),
            ("2001:db8:122::", 48, "2001:db8:122:c000:2:21ff:ffff:ffff"),
            ("2001:db8:122:300::", 56, "2001:db8:122:3c0:0:221:ffff:ffff"),
            ("2001:db8:122:344::", 64, "2001:db8:122:344:c0:2:21ff:ffff"),
        ] {
            let v4 = prefix(network, length).extract(with_suffix.parse().unwrap());
            assert_eq!(v4, Some(Ipv4Addr::new(192, 0, 2, 33)), "{network}/{length}");
        }
    }

    #[test]
    fn every_bit_of_an_address_survives_every_length() {
        for length in [32, 40, 48, 56, 64, 96] {
            let prefix = prefix("2001:db8::", length);
            for bit in 0..32 {
                let v4 = Ipv4Addr::from_bits(1 << bit);
                let v6 = prefix.embed(v4);
                assert_eq!(v6.octets()[8], 0);
                assert_eq!(prefix.extract(v6), Some(v4));
            }
        }
    }

    #[test]
    fn addresses_outside_the_prefix_do_not_translate() {
        let prefix = prefix("2001:db8:46::", 96);
        assert_eq!(prefix.extract("2001:db8:46::1:0:0".parse().unwrap()), None);
        assert_eq!(
            prefix.extract("2001:db8:47::192.0.2.1".parse().unwrap()),
            None
        );
    }

    #[test]
    fn prefixes_that_break_the_rules_are_refused() {
        let address = "2001:db8::".parse().unwrap();
        assert_eq!(Prefix::new(address, 95), Err(PrefixError::Length));
        assert_eq!(
            Prefix::new("2001:db8::1".parse().unwrap(), 96),
            Err(PrefixError::HostBits)
        );
        assert_eq!(
            Prefix::new("2001:db8:0:0:100::".parse().unwrap(), 96),
            Err(PrefixError::ReservedOctet)
        );
        assert_eq!(
            Prefix::new("2001:db8:0:0:a::".parse().unwrap(), 96).map(|prefix| prefix.length()),
            Ok(96)
        );
    }

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
