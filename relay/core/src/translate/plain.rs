//! Which packets are plain: those whose translation needs nothing but their headers, at fixed places.
//!
//! A performer that cannot afford loops or sums, as an XDP program, asks here first and leaves all other packets to one that
//! can. Nothing is decided here about what becomes of a packet: [`super::v4_to_v6`] and [`super::v6_to_v4`] do that, for plain
//! packets as for all.

use crate::policy::{Policy, TcpMssClamp};
use crate::reasons::PuntReason;
use crate::wire::transport::{TCP, UDP};
use crate::wire::{Octets, icmp, ipv4, ipv6, tcp};

/// Version 4 and a header of five words: one without options.
const VERSION_WITHOUT_OPTIONS: u8 = 0x45;
/// The More Fragments flag and the fragment offset: all zeros in a whole packet.
const FRAGMENT_FIELDS: u16 = 0x3fff;
/// Screens an IPv4 packet that begins with `octets`.
#[inline(always)]
pub(super) fn screen_v4<O: Octets + ?Sized>(
    policy: &Policy,
    packet: &O,
    octets: &[u8; ipv4::HEADER_LENGTH],
) -> Result<(), PuntReason> {
    let [version, _, _, _, _, _, f0, f1, _, protocol, ..] = *octets;
    if version != VERSION_WITHOUT_OPTIONS {
        return Err(PuntReason::Options);
    }
    if u16::from_be_bytes([f0, f1]) & FRAGMENT_FIELDS != 0 {
        return Err(PuntReason::Fragment);
    }
    match protocol {
        TCP => needs_no_clamp(policy, packet, ipv4::HEADER_LENGTH),
        UDP => has_checksum(packet, ipv4::HEADER_LENGTH),
        icmp::PROTOCOL_V4 => is_echo(packet, ipv4::HEADER_LENGTH, icmp::kind_v4),
        _ => Ok(()),
    }
}

/// Screens an IPv6 packet whose fixed header announces `next_header`; returns its upper layer.
#[inline(always)]
pub(super) fn screen_v6<O: Octets + ?Sized>(
    policy: &Policy,
    packet: &O,
    next_header: u8,
) -> Result<ipv6::Upper, PuntReason> {
    match next_header {
        TCP => needs_no_clamp(policy, packet, ipv6::HEADER_LENGTH)?,
        UDP => has_checksum(packet, ipv6::HEADER_LENGTH)?,
        icmp::PROTOCOL_V6 => is_echo(packet, ipv6::HEADER_LENGTH, icmp::kind_v6)?,
        ipv6::FRAGMENT => return Err(PuntReason::Fragment),
        ipv6::HOP_BY_HOP_OPTIONS | ipv6::ROUTING | ipv6::DESTINATION_OPTIONS => {
            return Err(PuntReason::Options);
        }
        _ => {}
    }
    Ok(ipv6::Upper {
        protocol: next_header,
        offset: ipv6::HEADER_LENGTH,
        fragment: None,
    })
}

/// The options of a segment that opens a connection may have to be changed.
#[inline(always)]
fn needs_no_clamp<O: Octets + ?Sized>(
    policy: &Policy,
    packet: &O,
    transport: usize,
) -> Result<(), PuntReason> {
    if policy.tcp_mss_clamp == TcpMssClamp::Off {
        return Ok(());
    }
    match packet.load::<1>(transport + tcp::FLAGS) {
        Some([flags]) if flags & tcp::SYN == 0 => Ok(()),
        Some(_) => Err(PuntReason::SegmentSize),
        None => Err(PuntReason::Malformed),
    }
}

/// A UDP packet without a checksum may need one, over all of it.
#[inline(always)]
fn has_checksum<O: Octets + ?Sized>(packet: &O, transport: usize) -> Result<(), PuntReason> {
    match packet.load::<2>(transport + 6) {
        Some([0, 0]) => Err(PuntReason::UdpZeroChecksum),
        Some(_) => Ok(()),
        None => Err(PuntReason::Malformed),
    }
}

/// An ICMP error quotes a packet that has to be translated, too.
#[inline(always)]
fn is_echo<O: Octets + ?Sized>(
    packet: &O,
    transport: usize,
    sort: fn(u8) -> icmp::Kind,
) -> Result<(), PuntReason> {
    let [number] = packet.load::<1>(transport).ok_or(PuntReason::Malformed)?;
    match sort(number) {
        icmp::Kind::EchoRequest | icmp::Kind::EchoReply => Ok(()),
        icmp::Kind::Error | icmp::Kind::Other => Err(PuntReason::Icmp),
    }
}
