//! What the relay sent, judged by the plain definitions against what it had received.

use crate::fragments;
use crate::packet::{self, Checksum, network_offset};
use relay::offline::Link;

/// Checks what became of one packet by another library and by the plain definition of checksums: that all that was sent parses,
/// that a checksum which was right is still right, and that one which was wrong is still wrong.
///
/// # Errors
///
/// What is wrong, in words.
pub fn check_sent(link: Link, input: &[u8], output: &[Vec<u8>]) -> Result<(), String> {
    let mut packets = Vec::new();
    for frame in output {
        // Only what the network layer says counts: transports may hold anything.
        let parsed = match link {
            Link::Ethernet => etherparse::LaxSlicedPacket::from_ethernet(frame).ok(),
            Link::Raw => etherparse::LaxSlicedPacket::from_ip(frame).ok(),
        };
        let is_whole = parsed
            .and_then(|parsed| Some(!parsed.net?.ip_payload_ref()?.incomplete))
            .unwrap_or(false);
        if !is_whole {
            return Err("what was sent is no whole IP packet to another library".to_owned());
        }
        let packet = &frame[network_offset(link, frame)..];
        let judgement = packet::judge(packet).ok_or("what was sent is not a whole packet")?;
        if judgement.length != packet.len() {
            return Err("octets were sent behind the packet".to_owned());
        }
        if !judgement.header_is_valid {
            return Err("an IPv4 header checksum is wrong".to_owned());
        }
        packets.push(packet);
    }
    let Some(first) = packets.first() else {
        return Ok(());
    };
    let input = &input[network_offset(link, input)..];
    check_quotation(input, first)?;
    let whole = fragments::reassemble(&[input]);
    let before = match whole.and_then(|whole| packet::judge(&whole)) {
        Some(judgement) => judgement.transport,
        // The relay may well complain about a packet that nobody can read to its end.
        None if fragments::is_fragment(input) || is_icmp_error(first) => Checksum::None,
        None => return Err("what was translated was not a whole packet".to_owned()),
    };
    let after = match fragments::reassemble(&packets) {
        Some(whole) => judged(&whole)?,
        None if fragments::is_fragment(input) && fragments::is_fragment(first) => Checksum::None,
        None => return Err("the fragments do not make one packet".to_owned()),
    };
    match (before, after) {
        (Checksum::Valid, Checksum::Valid) | (Checksum::Invalid, Checksum::Invalid) => Ok(()),
        (Checksum::None, Checksum::None | Checksum::Valid) => Ok(()),
        // The relay's own word about a packet, whatever that was like.
        (Checksum::Invalid, Checksum::Valid) if is_icmp_error(first) => Ok(()),
        (before, after) => Err(format!(
            "the transport checksum was {before:?} and is {after:?}"
        )),
    }
}

/// Checks what an ICMP error that was sent quotes: what was right is right, what was wrong is wrong, and it can be read.
fn check_quotation(input: &[u8], output: &[u8]) -> Result<(), String> {
    if !is_icmp_error(output) {
        return Ok(());
    }
    let after = packet::quotation(output).ok_or("the length in an error leads out of it")?;
    // RFC 1812, 4.3.2.3; RFC 4443, 2.4 (c).
    let most = if output[0] >> 4 == 4 { 576 } else { 1280 };
    if output.len() > most {
        return Err(format!("an error of {} octets", output.len()));
    }
    if !after.header_is_valid() {
        return Err("the header checksum of a quoted IPv4 packet is wrong".to_owned());
    }
    // RFC 4884, 3.
    if !after.extensions.is_empty() && after.packet.len() < 128 {
        return Err("extensions stand too near".to_owned());
    }
    let Some(before) = packet::quotation(input) else {
        return Ok(());
    };
    if before.hops() != after.hops() {
        return Err("the hop limit of a quoted packet has changed".to_owned());
    }
    let transport = |octets| packet::judge(octets).map(|judgement| judgement.transport);
    let checksums = [
        (transport(before.packet), transport(after.packet)),
        (
            Some(before.extensions_checksum()),
            Some(after.extensions_checksum()),
        ),
    ];
    for (before, after) in checksums {
        match (before, after) {
            (Some(Checksum::Valid), Some(Checksum::Invalid))
            | (Some(Checksum::Invalid), Some(Checksum::Valid))
            | (Some(Checksum::None), Some(Checksum::Invalid)) => {
                return Err(format!(
                    "a checksum within an error was {before:?} and is {after:?}"
                ));
            }
            (Some(_) | None, Some(_) | None) => {}
        }
    }
    Ok(())
}

fn judged(packet: &[u8]) -> Result<Checksum, String> {
    let judgement = packet::judge(packet);
    Ok(judgement.ok_or("a packet is not all there")?.transport)
}

/// Says whether a packet that the relay sent, which has no options or extension headers then, is an ICMP error.
pub fn is_icmp_error(packet: &[u8]) -> bool {
    match packet[0] >> 4 {
        4 => packet[9] == 1 && matches!(packet.get(20), Some(3 | 11 | 12)),
        _ => packet[6] == 58 && matches!(packet.get(40), Some(1..=4)),
    }
}
