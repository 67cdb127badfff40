//! The Maximum Segment Size that TCP announces, lowered to what fits through the relay without fragments.
//!
//! No RFC asks for it; routers in front of a narrower path do it all the same (RFC 4459, 3.2), so that TCP need not depend on
//! ICMP errors. An option is never raised and never added.

use super::Translator;
use crate::network::Network;
use crate::policy::TcpMssClamp;
use crate::rewrite::{NetworkHeader, Patch, Rewrite, Split};
use crate::verdict::Verdict;
use crate::wire::checksum::{self, Sum};
use crate::wire::transport::TCP;
use crate::wire::{Octets, ipv4, ipv6, tcp};
use core::net::IpAddr;

/// Returns the verdict about a packet from `source` that also lowers the announced segment size, if there is one that is too
/// great.
#[inline]
pub(super) fn clamp<N: Network + ?Sized, O: Octets + ?Sized>(
    translator: &Translator<'_, N>,
    packet: &O,
    source: IpAddr,
    verdict: Verdict,
) -> Verdict {
    let most = match translator.policy.tcp_mss_clamp {
        TcpMssClamp::Off => return verdict,
        TcpMssClamp::Auto => None,
        TcpMssClamp::AtMost(most) => Some(most),
    };
    let clamped = |rewrite: Rewrite| {
        let most = || {
            most.unwrap_or_else(|| {
                let ends = [source, rewrite.header.destination()];
                ends.into_iter().fold(u16::MAX, |most, end| {
                    most.min(greatest_segment(translator.network, end))
                })
            })
        };
        Rewrite {
            patch: lowered(packet, &rewrite, most),
            ..rewrite
        }
    };
    match verdict {
        Verdict::Forward(rewrite) => Verdict::Forward(clamped(rewrite)),
        Verdict::Split(split) => Verdict::Split(Split {
            rewrite: clamped(split.rewrite),
            ..split
        }),
        Verdict::IcmpError | Verdict::Pass(_) | Verdict::Drop(_) | Verdict::Reply(..) => verdict,
    }
}

/// Returns the patch of a packet in which no greater segment size than `most` is announced.
#[inline]
fn lowered<O: Octets + ?Sized>(packet: &O, rewrite: &Rewrite, most: impl FnOnce() -> u16) -> Patch {
    let patch = rewrite.patch;
    let Patch::Checksum { at: _, checksum } = patch else {
        return patch;
    };
    let (protocol, offset) = match rewrite.header {
        NetworkHeader::V4(header) => (header.protocol, header.fragment_offset),
        NetworkHeader::V6(header) => (header.next_header, 0),
        NetworkHeader::V6Fragment(header, fragment) => (header.next_header, fragment.offset),
    };
    if protocol != TCP || offset != 0 {
        return patch;
    }
    let Some(announced) = tcp::maximum_segment_size(packet, rewrite.cut, rewrite.payload) else {
        return patch;
    };
    let most = most();
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
