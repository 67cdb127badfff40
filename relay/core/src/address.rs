//! IPv4-embedded IPv6 addresses (RFC 6052), and the classes of addresses that are never translated.

mod class;

pub use class::{
    is_global_v4, is_illegal_destination_v4, is_illegal_source_v4, is_illegal_source_v6,
};

use crate::wire::checksum;
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
    /// What a sum gains when an IPv4 address is embedded in a /96, whichever it is, since the address itself stays: 16 bits.
    difference_to_v6: u32,
    /// The same when it is extracted.
    difference_to_v4: u32,
}

const _: () = assert!(size_of::<Prefix>() == 4 * 8 + 6 * 4);

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
            difference_to_v6: checksum::difference_to_v6(Ipv4Addr::UNSPECIFIED, address) as u32,
            difference_to_v4: checksum::difference_to_v4(address, Ipv4Addr::UNSPECIFIED) as u32,
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

/// What translation does to a checksum's sum.
impl Prefix {
    /// Returns what the sum gains when `address` becomes `embedded`, one's complement, host order.
    #[inline(always)]
    pub const fn difference_to_v6(&self, address: Ipv4Addr, embedded: Ipv6Addr) -> u16 {
        match self.bits_behind {
            0 => self.difference_to_v6 as u16,
            _ => checksum::difference_to_v6(address, embedded),
        }
    }

    /// Returns what the sum gains when `embedded`, with whatever suffix it has, becomes `address`.
    #[inline(always)]
    pub const fn difference_to_v4(&self, embedded: Ipv6Addr, address: Ipv4Addr) -> u16 {
        match self.bits_behind {
            0 => self.difference_to_v4 as u16,
            _ => checksum::difference_to_v4(embedded, address),
        }
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
    fn differences_are_those_of_the_addresses() {
        for (network, length, suffix) in [
            ("2001:db8::", 32, 0xff_ffff),
            ("2001:db8:100::", 40, 0xff_ffff),
            ("2001:db8:122::", 48, 0xff_ffff),
            ("2001:db8:122:300::", 56, 0xff_ffff),
            ("2001:db8:122:344::", 64, 0xff_ffff),
            ("2001:db8:122:344::", 96, 0),
            ("64:ff9b::", 96, 0),
            ("::", 96, 0),
        ] {
            let prefix = prefix(network, length);
            for v4 in ["0.0.0.0", "192.0.2.33", "203.0.113.50", "255.255.255.255"] {
                let v4 = v4.parse().unwrap();
                let v6 = prefix.embed(v4);
                assert_eq!(
                    prefix.difference_to_v6(v4, v6),
                    checksum::difference_to_v6(v4, v6),
                    "{network}/{length}, {v4}"
                );
                let v6 = Ipv6Addr::from_bits(v6.to_bits() | suffix);
                assert_eq!(
                    prefix.difference_to_v4(v6, v4),
                    checksum::difference_to_v4(v6, v4),
                    "{network}/{length}, {v4}"
                );
            }
        }
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
}
