//! Strict reading of IPv4 and IPv6 prefixes as people write them.
//!
//! An address without a length is a host: /32 or /128 (RFC 7757, 3.2). Bits after the prefix must be zero, so that a slip of
//! the pen is not taken for a network.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use ipnet::{Ipv4Net, Ipv6Net};

/// Why a text is not a prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// The part before the slash is no address at all.
    #[error("`{text}` is not an {family} address or prefix")]
    NotAnAddress {
        /// The whole text, cut when it is long.
        text: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// The address is of the other family.
    #[error("`{text}` is {found}, but {family} is wanted here")]
    WrongFamily {
        /// The whole text.
        text: String,
        /// The family found, with its article.
        found: &'static str,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// The part after the slash is no number in range.
    #[error("`{text}`: the prefix length must be a number from 0 to {longest}")]
    Length {
        /// The whole text, cut when it is long.
        text: String,
        /// 32 or 128.
        longest: u8,
    },
    /// The address has bits set after the prefix.
    #[error("{text} has host bits set; write {network}")]
    HostBits {
        /// The whole text.
        text: String,
        /// The network that the address lies in.
        network: String,
    },
}

/// Reads an IPv4 prefix or address in dotted decimal.
///
/// # Errors
/// When the text is anything else, or has bits set after the prefix.
pub fn parse_ipv4_prefix(text: &str) -> Result<Ipv4Net, PrefixError> {
    const FAMILY: &str = "IPv4";
    let (address, length) = split(text, FAMILY, 32)?;
    let address = match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => {
            return Err(PrefixError::WrongFamily {
                text: text.to_owned(),
                found: "IPv6",
                family: FAMILY,
            });
        }
    };
    let net = Ipv4Net::new(address, length).map_err(|_| length_error(text, 32))?;
    if net.trunc() != net {
        return Err(PrefixError::HostBits {
            text: net.to_string(),
            network: net.trunc().to_string(),
        });
    }
    Ok(net)
}

/// Reads an IPv6 prefix or address in any form of RFC 4291, 2.2.
///
/// # Errors
/// When the text is anything else, or has bits set after the prefix.
pub fn parse_ipv6_prefix(text: &str) -> Result<Ipv6Net, PrefixError> {
    const FAMILY: &str = "IPv6";
    let (address, length) = split(text, FAMILY, 128)?;
    let address = match address {
        IpAddr::V6(address) => address,
        IpAddr::V4(_) => {
            return Err(PrefixError::WrongFamily {
                text: text.to_owned(),
                found: "IPv4",
                family: FAMILY,
            });
        }
    };
    let net = Ipv6Net::new(address, length).map_err(|_| length_error(text, 128))?;
    if net.trunc() != net {
        return Err(PrefixError::HostBits {
            text: net.to_string(),
            network: net.trunc().to_string(),
        });
    }
    Ok(net)
}

fn split(text: &str, family: &'static str, longest: u8) -> Result<(IpAddr, u8), PrefixError> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address = address.parse().map_err(|_| PrefixError::NotAnAddress {
        text: shorten(text),
        family,
    })?;
    let length = match length {
        None => longest,
        // `parse` alone would take a plus sign.
        Some(digits) if digits.bytes().all(|c| c.is_ascii_digit()) => {
            digits.parse().map_err(|_| length_error(text, longest))?
        }
        Some(_) => return Err(length_error(text, longest)),
    };
    Ok((address, length))
}

fn length_error(text: &str, longest: u8) -> PrefixError {
    PrefixError::Length {
        text: shorten(text),
        longest,
    }
}

/// Makes foreign text fit for one line of a message: cut when it is long, control characters escaped.
pub fn shorten(text: &str) -> String {
    const LONGEST: usize = 60;
    let line: String = text.chars().take(LONGEST).collect();
    let rest = match text.chars().nth(LONGEST) {
        Some(_) => "...",
        None => "",
    };
    printable(&line) + rest
}

/// Escapes control characters, which could forge lines or command a terminal.
pub fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => line.extend(c.escape_debug()),
            false => line.push(c),
        }
    }
    line
}

/// Names the kind of address that can never be translated, when the whole prefix consists of it.
pub(crate) fn untranslatable_ipv4(net: &Ipv4Net) -> Option<&'static str> {
    [
        (Ipv4Addr::new(0, 0, 0, 0), 8, "\"this network\" (RFC 1122)"),
        (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
        (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
        (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
        (Ipv4Addr::BROADCAST, 32, "the limited broadcast address"),
    ]
    .into_iter()
    .find(|(address, length, _)| Ipv4Net::new_assert(*address, *length).contains(net))
    .map(|(_, _, kind)| kind)
}

/// Names the kind of address that can never be translated, when the whole prefix consists of it.
pub(crate) fn untranslatable_ipv6(net: &Ipv6Net) -> Option<&'static str> {
    [
        (Ipv6Addr::UNSPECIFIED, 128, "the unspecified address"),
        (Ipv6Addr::LOCALHOST, 128, "loopback"),
        (
            Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0),
            96,
            "IPv4-mapped",
        ),
        (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "link-local"),
        (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "multicast"),
    ]
    .into_iter()
    .find(|(address, length, _)| Ipv6Net::new_assert(*address, *length).contains(net))
    .map(|(_, _, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(text: &str) -> String {
        parse_ipv4_prefix(text).map_or_else(|e| e.to_string(), |net| net.to_string())
    }

    fn ipv6(text: &str) -> String {
        parse_ipv6_prefix(text).map_or_else(|e| e.to_string(), |net| net.to_string())
    }

    #[test]
    fn reads_prefixes_and_addresses() {
        assert_eq!(ipv4("192.0.2.1"), "192.0.2.1/32");
        assert_eq!(ipv4("0.0.0.0/0"), "0.0.0.0/0");
        assert_eq!(ipv6("2001:DB8::"), "2001:db8::/128");
        assert_eq!(ipv6("64:ff9b::192.0.2.0/127"), "64:ff9b::c000:200/127");
        assert_eq!(ipv6("::/0"), "::/0");
    }

    #[test]
    fn says_what_is_wrong() {
        for (found, expected) in [
            (ipv4(""), "`` is not an IPv4 address or prefix"),
            (
                ipv4("192.0.2"),
                "`192.0.2` is not an IPv4 address or prefix",
            ),
            (
                ipv4("192.0.02.1"),
                "`192.0.02.1` is not an IPv4 address or prefix",
            ),
            (
                ipv4("192.0.2.0/24/1"),
                "`192.0.2.0/24/1`: the prefix length must be a number from 0 to 32",
            ),
            (
                ipv4("192.0.2.0/"),
                "`192.0.2.0/`: the prefix length must be a number from 0 to 32",
            ),
            (
                ipv4("192.0.2.0/+24"),
                "`192.0.2.0/+24`: the prefix length must be a number from 0 to 32",
            ),
            (
                ipv4("192.0.2.0/33"),
                "`192.0.2.0/33`: the prefix length must be a number from 0 to 32",
            ),
            (
                ipv4("192.0.2.0/2400"),
                "`192.0.2.0/2400`: the prefix length must be a number from 0 to 32",
            ),
            (
                ipv4("192.0.2.1/28"),
                "192.0.2.1/28 has host bits set; write 192.0.2.0/28",
            ),
            (
                ipv4("2001:db8::1"),
                "`2001:db8::1` is IPv6, but IPv4 is wanted here",
            ),
            (
                ipv6("192.0.2.1/32"),
                "`192.0.2.1/32` is IPv4, but IPv6 is wanted here",
            ),
            (
                ipv6("fe80::1%eth0"),
                "`fe80::1%eth0` is not an IPv6 address or prefix",
            ),
            (
                ipv6("2001:db8::/129"),
                "`2001:db8::/129`: the prefix length must be a number from 0 to 128",
            ),
            (
                ipv6("2001:db8::1/64"),
                "2001:db8::1/64 has host bits set; write 2001:db8::/64",
            ),
            (ipv6("a\nb"), "`a\\nb` is not an IPv6 address or prefix"),
        ] {
            assert_eq!(found, expected);
        }
        assert_eq!(
            ipv4(&"9".repeat(1 << 20)).len(),
            "`...` is not an IPv4 address or prefix".len() + 60
        );
    }

    #[test]
    fn knows_what_never_crosses_a_router() {
        for (text, expected) in [
            ("127.0.0.1", Some("loopback")),
            ("0.0.0.0/8", Some("\"this network\" (RFC 1122)")),
            ("239.1.0.0/16", Some("multicast")),
            ("169.254.1.0/24", Some("link-local")),
            ("255.255.255.255", Some("the limited broadcast address")),
            ("0.0.0.0/0", None),
            ("0.0.0.0/7", None),
            ("10.0.0.0/8", None),
        ] {
            assert_eq!(untranslatable_ipv4(&text_net(text)), expected, "{text}");
        }
        for (text, expected) in [
            ("::", Some("the unspecified address")),
            ("::1", Some("loopback")),
            ("::ffff:192.0.2.1", Some("IPv4-mapped")),
            ("fe80::/64", Some("link-local")),
            ("ff02::1", Some("multicast")),
            ("::/0", None),
            ("64:ff9b::/127", None),
        ] {
            assert_eq!(
                untranslatable_ipv6(&parse_ipv6_prefix(text).unwrap()),
                expected,
                "{text}"
            );
        }
    }

    fn text_net(text: &str) -> Ipv4Net {
        parse_ipv4_prefix(text).unwrap()
    }
}
