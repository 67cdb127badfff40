//! Plain packets from IPv6 to IPv4: the rules of [`crate::translate::v6_to_v4`].

use super::{
    Addresses, Change, ClaimedV6, NotPlain, Target, ToV6, Translator, change, echo_change, load,
};
use crate::address::{is_illegal_destination_v4, is_illegal_source_v4, is_illegal_source_v6, join};
use crate::network::Network;
use crate::plain::Plain;
use crate::policy::Hairpin;
use crate::reasons::PuntReason;
use crate::translate::identification;
use crate::translate::v6_to_v4::{self as rules, MAX_LENGTH_WITHOUT_DF, check_protocol};
use crate::wire::checksum::Sum;
use crate::wire::transport::{TCP, UDP};
use crate::wire::{Octets, icmp, ipv4, ipv6};
use core::net::{Ipv4Addr, Ipv6Addr};

#[inline(always)]
pub(super) fn claim<N: Network + ?Sized, O: Octets + ?Sized>(
    translator: &Translator<'_, N>,
    packet: &O,
) -> Result<ClaimedV6, NotPlain> {
    let octets = load::<{ ipv6::HEADER_LENGTH }, O>(packet, 0)?;
    let (words, _) = octets.as_chunks::<8>();
    let [front, s0, s1, d0, d1] = words else {
        return Err(PuntReason::Malformed.into());
    };
    let half = |octets: &[u8; 8]| u64::from_be_bytes(*octets);
    let destination = [half(d0), half(d1)];
    Ok(ClaimedV6 {
        front: half(front),
        source: [half(s0), half(s1)],
        destination,
        embedded: rules::claim(translator, join(destination))?,
    })
}

/// A packet on its way from IPv6, when both addresses are known.
struct Translating {
    source: Target<Ipv4Addr>,
    destination: Target<Ipv4Addr>,
    payload: u32,
    protocol: u8,
    /// Type Of Service.
    service: u8,
    /// Time To Live.
    ttl: u8,
    /// Whether the IPv4 packet may not be fragmented.
    df: bool,
}

#[inline(always)]
pub(super) fn translate<N: Network + ?Sized, O: Octets + ?Sized>(
    translator: &Translator<'_, N>,
    packet: &O,
    claimed: ClaimedV6,
) -> Result<Plain, PuntReason> {
    let ClaimedV6 {
        front,
        source: old_source,
        destination: old_destination,
        embedded,
    } = claimed;
    let payload = (front >> 16) as u16;
    if front >> 60 != 6 || ipv6::HEADER_LENGTH.wrapping_add(usize::from(payload)) > packet.len() {
        return Err(PuntReason::Malformed);
    }
    let protocol = (front >> 8) as u8;
    match protocol {
        TCP | UDP => {}
        ipv6::FRAGMENT => return Err(PuntReason::Fragment),
        ipv6::HOP_BY_HOP_OPTIONS | ipv6::ROUTING | ipv6::DESTINATION_OPTIONS => {
            return Err(PuntReason::Options);
        }
        _ => check_protocol(protocol).map_err(|_| PuntReason::Refused)?,
    }
    let hop_limit = front as u8;
    let (from, to) = (join(old_source), join(old_destination));
    let payload = u32::from(payload);
    let length = payload.wrapping_add(ipv4::HEADER_LENGTH as u32);
    if hop_limit <= 1 || length > u32::from(u16::MAX) || is_illegal_source_v6(from) {
        return Err(PuntReason::Refused);
    }
    let network = translator.network;
    let destination = match network.map_embedded_v6(to) {
        Some(mapped) => Target::<Ipv4Addr>::by_eam(mapped),
        None => extracted(translator, to, embedded)?,
    };
    let source = match network.map_service_v6(from) {
        Some(mapped) => Target::<Ipv4Addr>::by_eam(mapped),
        None => {
            let address = translator.policy.prefix.extract(from);
            extracted(translator, from, address.ok_or(PuntReason::Refused)?)?
        }
    };
    if is_illegal_source_v4(source.address) || is_illegal_destination_v4(destination.address) {
        return Err(PuntReason::Refused);
    }
    let translating = Translating {
        source,
        destination,
        payload,
        protocol,
        service: translator.policy.tos.apply((front >> 52) as u8),
        ttl: hop_limit.wrapping_sub(1),
        df: length > MAX_LENGTH_WITHOUT_DF as u32,
    };
    if translator.policy.hairpin == Hairpin::Intrinsic
        && destination.mapping == 0
        && let Some(mapped) = network.map_v4(destination.address)
    {
        let back = Target::<[u64; 2]>::by_eam(mapped);
        return translating.back_to_v6(translator, packet, back);
    }
    translating.to_v4(translator, packet, from)
}

/// Returns the address for which another one stands by RFC 6052.
#[inline(always)]
fn extracted<N: Network + ?Sized>(
    translator: &Translator<'_, N>,
    embedded: Ipv6Addr,
    address: Ipv4Addr,
) -> Result<Target<Ipv4Addr>, PuntReason> {
    let is_allowed = translator.check_rfc_6052(address);
    is_allowed.map_err(|_| PuntReason::Refused)?;
    Ok(Target {
        address,
        mapping: 0,
        difference: translator.policy.prefix.difference_to_v4(embedded, address),
    })
}

impl Translating {
    /// Returns what the translation of the addresses to IPv4 does to the sum that a checksum covers.
    #[inline(always)]
    fn addresses(&self) -> Addresses {
        let difference = Sum::ZERO
            .add_word(self.source.difference)
            .add_word(self.destination.difference);
        // What the sum gains, without what the new addresses add: these are shorter than the old ones.
        let without_old = difference
            .add_long(!self.source.address.to_bits())
            .add_long(!self.destination.address.to_bits());
        Addresses {
            difference,
            without_old,
        }
    }

    #[inline(always)]
    fn to_v4<N: Network + ?Sized, O: Octets + ?Sized>(
        &self,
        translator: &Translator<'_, N>,
        packet: &O,
        old_source: Ipv6Addr,
    ) -> Result<Plain, PuntReason> {
        let Self {
            source,
            destination,
            payload,
            protocol,
            service,
            ttl,
            df,
            ..
        } = *self;
        let (new_source, new_destination) =
            (source.address.to_bits(), destination.address.to_bits());
        let place = (ipv6::HEADER_LENGTH, payload);
        let addresses = self.addresses();
        let (protocol, change) = if protocol == icmp::PROTOCOL_V6 {
            // In IPv4, the checksum covers no pseudo-header.
            let difference = addresses
                .without_old
                .add_long(!payload)
                .remove_word(u16::from(icmp::PROTOCOL_V6));
            let types = [icmp::ECHO_REQUEST_V4, icmp::ECHO_REPLY_V4];
            let change = echo_change(packet, place, icmp::kind_v6, types, difference)?;
            (icmp::PROTOCOL_V4, change)
        } else {
            (
                protocol,
                change(translator, packet, place, protocol, addresses)?,
            )
        };
        let Change {
            checksum_at,
            checksum,
            icmp_type,
        } = change;

        let length = payload.wrapping_add(ipv4::HEADER_LENGTH as u32);
        let identification = identification::generate(
            translator.policy.identification_key,
            packet,
            ipv6::HEADER_LENGTH,
            old_source,
            destination.address,
            length as usize,
        );
        let front = ipv4::front(service, length as u16, identification, df);
        let middle = u32::from_be_bytes([ttl, protocol, 0, 0]);
        let header_checksum = Sum::ZERO
            .add_halves([front, u64::from(middle)])
            .add_long(new_source)
            .add_long(new_destination)
            .checksum();
        Ok(Plain {
            source: [0, u64::from(new_source)],
            destination: [0, u64::from(new_destination)],
            front,
            middle: middle | u32::from(header_checksum),
            cut: ipv6::HEADER_LENGTH as u32,
            payload,
            checksum_at,
            mappings: [source.mapping, destination.mapping],
            checksum,
            icmp_type,
            service,
            version: 4,
        })
    }

    /// Hairpins the packet: the rules of the second pass.
    #[inline(always)]
    fn back_to_v6<N: Network + ?Sized, O: Octets + ?Sized>(
        &self,
        translator: &Translator<'_, N>,
        packet: &O,
        destination: Target<[u64; 2]>,
    ) -> Result<Plain, PuntReason> {
        let Self {
            payload, protocol, ..
        } = *self;
        // The mapping of the source is the one by which it would be translated to IPv4.
        let source = Target {
            mapping: self.source.mapping,
            ..translator.embedded(self.source.address)?
        };
        let to_v4 = self.addresses();
        let addresses = Addresses {
            difference: to_v4
                .difference
                .add_word(source.difference)
                .add_word(destination.difference),
            ..to_v4
        };
        let place = (ipv6::HEADER_LENGTH, payload);
        let change = if protocol == icmp::PROTOCOL_V6 {
            let types = [icmp::ECHO_REQUEST_V6, icmp::ECHO_REPLY_V6];
            echo_change(packet, place, icmp::kind_v6, types, addresses.difference)?
        } else {
            change(translator, packet, place, protocol, addresses)?
        };
        let packet = ToV6 {
            source,
            destination,
            cut: ipv6::HEADER_LENGTH as u32,
            payload,
            next_header: protocol,
            service: translator.policy.traffic_class.apply(self.service),
            hop_limit: self.ttl,
        };
        packet.describe(translator.policy, self.df, change)
    }
}
