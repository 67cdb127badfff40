//! One Explicit Address Mapping (RFC 7757, 3.2).
//!
//! Which mapping an address belongs to is not decided here.

use crate::Place;
use crate::graft::{graft_v4, graft_v6};
use core::net::{Ipv4Addr, Ipv6Addr};
use ipnet::{Ipv4Net, Ipv6Net};

/// One mapping between an IPv4 prefix and an IPv6 prefix.
///
/// The IPv6 suffix is at least as long as the IPv4 suffix, so the way IPv4 -> IPv6 -> IPv4 loses nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eam {
    ipv4: Ipv4Net,
    ipv6: Ipv6Net,
    name: Option<Box<str>>,
    place: Place,
}

/// The IPv6 prefix leaves fewer bits than the IPv4 prefix has to put there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{ipv6} leaves {} bits for the {} suffix bits of {ipv4}; its length can be /{} at most (RFC 7757, 3.2)",
    suffix_length(ipv6.max_prefix_len(), ipv6.prefix_len()),
    suffix_length(ipv4.max_prefix_len(), ipv4.prefix_len()),
    96 + ipv4.prefix_len()
)]
pub struct SuffixTooShort {
    /// The IPv4 prefix.
    pub ipv4: Ipv4Net,
    /// The IPv6 prefix, too long for it.
    pub ipv6: Ipv6Net,
}

fn suffix_length(whole: u8, prefix: u8) -> u8 {
    whole - prefix
}

impl Eam {
    /// Ties two prefixes together; bits after the prefixes are ignored.
    ///
    /// `place` is where the mapping stands in its file.
    ///
    /// # Errors
    /// "An EAM's IPv4 prefix value MUST have an identical or smaller number of suffix bits than its corresponding IPv6
    /// prefix value" (RFC 7757, 3.2).
    pub fn new(
        ipv4: Ipv4Net,
        ipv6: Ipv6Net,
        name: Option<Box<str>>,
        place: Place,
    ) -> Result<Self, SuffixTooShort> {
        if suffix_length(32, ipv4.prefix_len()) > suffix_length(128, ipv6.prefix_len()) {
            return Err(SuffixTooShort { ipv4, ipv6 });
        }
        Ok(Self {
            ipv4: ipv4.trunc(),
            ipv6: ipv6.trunc(),
            name,
            place,
        })
    }

    /// The IPv4 prefix, without bits after it.
    pub fn ipv4(&self) -> Ipv4Net {
        self.ipv4
    }

    /// The IPv6 prefix, without bits after it.
    pub fn ipv6(&self) -> Ipv6Net {
        self.ipv6
    }

    /// What the operator calls the mapping.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Where the mapping stands.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Puts the suffix of an IPv4 address behind the IPv6 prefix and pads with zeros; `None` when the address lies outside.
    pub fn v4_to_v6(&self, address: Ipv4Addr) -> Option<Ipv6Addr> {
        self.ipv4.contains(&address).then(|| {
            let (network, length) = (self.ipv6.addr(), self.ipv6.prefix_len());
            graft_v6(network, length, self.ipv4.prefix_len(), address)
        })
    }

    /// Puts the suffix of an IPv6 address behind the IPv4 prefix and discards what is too long; `None` when the address lies
    /// outside.
    pub fn v6_to_v4(&self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        self.ipv6.contains(&address).then(|| {
            let (network, length) = (self.ipv4.addr(), self.ipv4.prefix_len());
            graft_v4(network, length, self.ipv6.prefix_len(), address)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    fn eam(ipv4: Ipv4Net, ipv6: Ipv6Net) -> Result<Eam, SuffixTooShort> {
        Eam::new(
            ipv4,
            ipv6,
            None,
            Place::start_of(Path::new("eam.yaml").into()),
        )
    }

    #[test]
    fn refuses_an_ipv6_suffix_that_is_too_short() {
        let error = eam(
            "192.0.2.0/24".parse().unwrap(),
            "2001:db8::/121".parse().unwrap(),
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "2001:db8::/121 leaves 7 bits for the 8 suffix bits of 192.0.2.0/24; its length can be /120 at most (RFC 7757, 3.2)"
        );
    }

    #[test]
    fn leaves_addresses_outside_alone() {
        let eam = eam(
            "192.0.2.0/24".parse().unwrap(),
            "2001:db8::/120".parse().unwrap(),
        )
        .unwrap();
        assert_eq!(eam.v4_to_v6("192.0.3.0".parse().unwrap()), None);
        assert_eq!(eam.v6_to_v4("2001:db8::100".parse().unwrap()), None);
    }

    proptest! {
        /// Any valid mapping, including the extreme lengths 0, 32 and 128.
        #[test]
        fn works_like_the_steps_of_the_rfc(
            bits4: u32, length4 in 0u8..=32, bits6: u128, slack in 0u8..=96, address: u32, garbage: u128,
        ) {
            let length6 = 96 + length4 - slack;
            let ipv4 = Ipv4Net::new(bits4.into(), length4).unwrap().trunc();
            let ipv6 = Ipv6Net::new(bits6.into(), length6.min(128)).unwrap().trunc();
            let eam = eam(ipv4, ipv6).unwrap();

            // Bit strings, as RFC 7757 3.3 describes the procedure.
            let inside4 = Ipv4Addr::from(ipv4.addr().to_bits() | (address & ipv4.hostmask().to_bits()));
            let text4 = format!("{:032b}", inside4.to_bits());
            let prefix6 = format!("{:0128b}", ipv6.addr().to_bits());
            let mut buffer = format!("{}{}", &prefix6[..usize::from(ipv6.prefix_len())], &text4[usize::from(length4)..]);
            while buffer.len() < 128 {
                buffer.push('0');
            }
            let expected6 = Ipv6Addr::from(u128::from_str_radix(&buffer, 2).unwrap());
            prop_assert_eq!(eam.v4_to_v6(inside4), Some(expected6));
            prop_assert_eq!(eam.v6_to_v4(expected6), Some(inside4));

            let inside6 = Ipv6Addr::from(ipv6.addr().to_bits() | (garbage & ipv6.hostmask().to_bits()));
            let text6 = format!("{:0128b}", inside6.to_bits());
            let prefix4 = format!("{:032b}", ipv4.addr().to_bits());
            let buffer = format!("{}{}", &prefix4[..usize::from(length4)], &text6[usize::from(ipv6.prefix_len())..]);
            let expected4 = Ipv4Addr::from(u32::from_str_radix(&buffer[..32], 2).unwrap());
            prop_assert_eq!(eam.v6_to_v4(inside6), Some(expected4));
        }
    }
}
