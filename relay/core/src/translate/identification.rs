//! The generator of IPv4 Identifications (RFC 7915, 5.1).
//!
//! An Identification is a keyed hash of the packet itself. So it cannot be predicted without the key (RFC 7739), differs
//! between packets of one flow as their checksums and sequence numbers do, and needs no state that border relays
//! behind one anycast address, or the performers within one relay, would have to share.

use crate::address::halves;
use crate::hash::MULTIPLIERS;
use crate::wire::Octets;
use core::net::{Ipv4Addr, Ipv6Addr};

/// The octets of a transport header that count.
const HEADER_LENGTH: usize = 20;

/// Returns the Identification of the packet whose transport header begins at `offset`; never zero, which some stacks
/// take for "none".
#[inline(always)]
pub(super) fn generate<O: Octets + ?Sized>(
    key: u64,
    packet: &O,
    offset: usize,
    source: Ipv6Addr,
    destination: Ipv4Addr,
    length: usize,
) -> u16 {
    let [high, low] = halves(source);
    let (ports, rest) = ends(packet, offset, length as u64);
    // One number is enough for addresses: packets between others may have the same Identification.
    let addresses = high ^ low ^ u64::from(destination.to_bits()) << 32;
    let [a, b, c] = MULTIPLIERS;
    // No product waits for another one.
    let mixed = (addresses ^ key)
        .wrapping_mul(a)
        .wrapping_add((ports ^ length as u64).wrapping_mul(b))
        .wrapping_add(rest.wrapping_mul(c));
    let hash = (mixed ^ mixed >> 32).wrapping_mul(a);
    match (hash >> 48) as u16 {
        0 => 1,
        identification => identification,
    }
}

/// Returns the first and the last eight octets of a transport header: ports and sequence number; TCP's window and checksum, or
/// the head of the data in other transports. In place of what a packet is too short for stands its length.
#[inline(always)]
fn ends<O: Octets + ?Sized>(packet: &O, offset: usize, length: u64) -> (u64, u64) {
    let octets: Option<[u8; HEADER_LENGTH]> = packet.load(offset);
    if let Some([ports @ .., _, _, _, _, r0, r1, r2, r3, r4, r5, r6, r7]) = octets {
        let rest = [r0, r1, r2, r3, r4, r5, r6, r7];
        return (u64::from_be_bytes(ports), u64::from_be_bytes(rest));
    }
    let ports = packet.load(offset).map_or(length, u64::from_be_bytes);
    (ports, length)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn packets_of_one_flow_get_spread_identifications_and_keys_matter() {
        let (source, destination) = (Ipv6Addr::LOCALHOST, Ipv4Addr::new(203, 0, 113, 50));
        let identify = |key: u64, sequence: u32| {
            let mut packet = [0; 28];
            packet[4..8].copy_from_slice(&sequence.to_be_bytes());
            generate(key, &packet[..], 0, source, destination, 28)
        };
        let seen: std::collections::BTreeSet<u16> =
            (0..4096).map(|sequence| identify(7, sequence)).collect();
        // 4096 draws from 65535 values leave about 3970 different ones.
        assert!(seen.len() > 3850, "{}", seen.len());
        let changed = (0..4096)
            .filter(|&sequence| identify(7, sequence) != identify(8, sequence))
            .count();
        assert!(changed > 4080, "{changed}");
        assert!(!seen.contains(&0));
    }

    #[test]
    fn short_packets_are_no_problem() {
        for length in 0..24 {
            generate(
                1,
                &[0xa5; 24][..length],
                0,
                Ipv6Addr::LOCALHOST,
                Ipv4Addr::LOCALHOST,
                length,
            );
        }
    }
}
