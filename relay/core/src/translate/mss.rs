//! The Maximum Segment Size that TCP announces, lowered to what fits through the relay without fragments.
//!
//! No RFC asks for it; routers in front of a narrower path do it all the same (RFC 4459, 3.2), so that TCP need not depend on
//! ICMP errors. An option is never raised and never added.

use super::Translator;
use super::transport::{Part, Upper};
use crate::network::Network;
use crate::policy::TcpMssClamp;
use crate::rewrite::Patch;
use crate::wire::checksum::{self, Sum};
use crate::wire::transport::TCP;
use crate::wire::{Octets, ipv4, ipv6, tcp};
use core::net::IpAddr;

/// Returns the `patch` of a transport header that also lowers the announced segment size, if there is one that is too great.
///
/// `ends` are the two hosts, each by the address at which the relay reaches it.
#[inline(always)]
pub(super) fn clamp<N: Network + ?Sized, O: Octets + ?Sized>(
    translator: &Translator<'_, N>,
    packet: &O,
    upper: Upper,
    patch: Patch,
    ends: [IpAddr; 2],
) -> Patch {
    let Patch::Checksum { at: _, checksum } = patch else {
        return patch;
    };
    let most = match translator.policy.tcp_mss_clamp {
        TcpMssClamp::Off => return patch,
        TcpMssClamp::Auto => None,
        TcpMssClamp::AtMost(most) => Some(most),
    };
    if upper.protocol != TCP || upper.part == Part::Later {
        return patch;
    }
    let Some(announced) = tcp::maximum_segment_size(packet, upper.offset, upper.length) else {
        return patch;
    };
    let most = most.unwrap_or_else(|| {
        ends.into_iter().fold(u16::MAX, |most, end| {
            most.min(greatest_segment(translator.network, end))
        })
    });
    if announced.value <= most {
        return patch;
    }
    // At an odd offset, the two octets of the value belong to two words: as if they were swapped in one.
    let word = |value: u16| match announced.at % 2 {
        0 => Sum::ZERO.add_word(value),
        _ => Sum::ZERO.add_word(value.swap_bytes()),
    };
    Patch::TcpMss {
        at: announced.at,
        mss: most,
        checksum: checksum::update(checksum, word(announced.value), word(most)),
    }
}

/// Returns the size in octets of the greatest segment without options that reaches or leaves the host at `end` whole.
///
/// RFC 9293, 3.7.1 subtracts "the IP and TCP headers" from the MTU. The same segment is 20 octets longer in IPv6.
#[inline(always)]
fn greatest_segment<N: Network + ?Sized>(network: &N, end: IpAddr) -> u16 {
    let (mtu, header) = match end {
        IpAddr::V4(end) => (
            network.mtu_v4(end).max(ipv4::MINIMUM_MTU),
            ipv4::HEADER_LENGTH,
        ),
        IpAddr::V6(end) => (
            network.mtu_v6(end).max(ipv6::MINIMUM_MTU),
            ipv6::HEADER_LENGTH,
        ),
    };
    let headers = (header + tcp::HEADER_LENGTH) as u32;
    u16::try_from(mtu.saturating_sub(headers)).unwrap_or(u16::MAX)
}
