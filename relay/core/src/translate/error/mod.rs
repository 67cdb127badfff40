//! ICMP errors: the message and the packet that it quotes (RFC 7915, 4.2, 4.3, 5.2, 5.3; RFC 4884).
//!
//! An error changes its length and most of its octets, so it is built anew in a buffer of the caller instead of
//! being patched. Errors are rare and limited in size: this is not the fast path.

mod body;
mod messages;
mod quoted;
mod reply;
#[cfg(test)]
mod tests;

use super::Translator;
use super::transport::Addresses;
use crate::address;
use crate::network::Network;
use crate::policy::Hairpin;
use crate::reasons::DropReason;
use crate::rewrite::NetworkHeader;
use crate::wire::checksum::Sum;
use crate::wire::{Octets, icmp, ipv4, ipv6};
use body::Body;
use core::net::IpAddr;
use quoted::Quoted;
pub use reply::{reply_v4, reply_v6};

/// The greatest length in octets of an error that the translator sends: what every IPv6 link takes
/// (RFC 4443, 2.4 (c)).
pub const MAX_ERROR_LENGTH: usize = ipv6::MINIMUM_MTU as usize;
/// The greatest length in octets of an ICMPv4 error (RFC 1812, 4.3.2.3).
const MAX_V4_ERROR_LENGTH: usize = 576;

/// An error that was translated into a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TranslatedError {
    /// Octets in the buffer, from the network header on.
    pub length: usize,
    /// Where the packet goes.
    pub destination: IpAddr,
}

/// Which pass of translation this is (RFC 7757, 4.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// The packet came from the network.
    First,
    /// The packet is being hairpinned: simple hairpinning's rules apply, and the hop limit stays.
    Second,
}

impl<N: Network + ?Sized> Translator<'_, N> {
    /// Translates an ICMPv4 error of which [`v4_to_v6`](Self::v4_to_v6) said that it is one.
    ///
    /// # Errors
    ///
    /// The reason to drop it.
    pub fn error_v4_to_v6(
        &self,
        packet: &[u8],
        output: &mut [u8; MAX_ERROR_LENGTH],
    ) -> Result<TranslatedError, DropReason> {
        self.v4_to_v6_pass(packet, output, Pass::First)
    }

    /// Translates an ICMPv6 error of which [`v6_to_v4`](Self::v6_to_v4) said that it is one; a hairpinned one
    /// comes out as ICMPv6 again.
    ///
    /// # Errors
    ///
    /// The reason to drop it.
    pub fn error_v6_to_v4(
        &self,
        packet: &[u8],
        output: &mut [u8; MAX_ERROR_LENGTH],
    ) -> Result<TranslatedError, DropReason> {
        let header = ipv6::Header::parse(packet).map_err(|_| DropReason::MalformedHeader)?;
        let end = ipv6::HEADER_LENGTH + usize::from(header.payload_length);
        let upper = header
            .upper(packet, end, false)
            .map_err(|_| DropReason::MalformedExtensions)?;
        let message = packet
            .get(upper.offset..end)
            .ok_or(DropReason::MalformedTransport)?;
        let pseudo_header =
            Addresses::V6(header.source, header.destination).icmp_pseudo_header(message.len());
        let fields = verified(message, pseudo_header)?;

        let quoted = Quoted::v6_to_v4(self, message)?;
        let (destination, _) = self
            .map_v6(header.destination)?
            .ok_or(DropReason::IllegalDestination)?;
        if address::is_illegal_destination_v4(destination) {
            return Err(DropReason::IllegalDestination);
        }
        let (source, stands_for) = match self.map_v6(header.source) {
            Ok(Some((source, _))) if !address::is_illegal_source_v4(source) => (source, None),
            // RFC 6791, 3.2: "use a single (or small pool of) public IPv4 address as the source address of the translated
            // ICMP message and leverage the ICMP extension [RFC5837] to include the IPv6 address".
            Ok(_) | Err(_) => {
                let substitute =
                    self.network
                        .error_source_v4(header.source, destination, header.hop_limit);
                (
                    substitute.ok_or(DropReason::UnmappedSource)?,
                    Some(header.source),
                )
            }
        };
        // The packet in error came from where the message goes, and went to the destination that it has in IPv6.
        let mtus = messages::Mtus {
            v4: self.network.mtu_v4(destination),
            v6: self.network.mtu_v6(quoted.v6_destination()),
        };
        let translated = messages::v6_to_v4(fields, quoted.had_fragment_header, mtus)?;
        let object = stands_for.filter(|_| self.policy.interface_object);
        let body = Body::v6_to_v4(message, &quoted, &translated, object);

        let length = ipv4::HEADER_LENGTH + icmp::HEADER_LENGTH + body.length();
        let new = ipv4::Header {
            tos: self.policy.tos.apply(header.traffic_class),
            total_length: length as u16,
            identification: super::identification::generate(
                self.policy.identification_key,
                packet,
                upper.offset,
                header.source,
                destination,
                length,
            ),
            // RFC 7915, 5.1: DF is clear up to 1260 octets, which is more than an error has.
            df: false,
            mf: false,
            fragment_offset: 0,
            ttl: header
                .hop_limit
                .checked_sub(1)
                .filter(|ttl| *ttl > 0)
                .ok_or(DropReason::HopLimit)?,
            protocol: icmp::PROTOCOL_V4,
            source,
            destination,
        };
        emit(
            NetworkHeader::V4(new),
            &translated,
            &body,
            Sum::ZERO,
            output,
        )?;

        // RFC 7757, 4.2.2, condition set B: "The inner source address was translated using the algorithm in [RFC6052]. The
        // inner source address is found in the EAMT."
        if self.policy.hairpin == Hairpin::Intrinsic && quoted.is_source_hairpinned(self.network) {
            let mut first_pass = [0; MAX_ERROR_LENGTH];
            first_pass.copy_from_slice(output);
            let packet = first_pass
                .get(..length)
                .ok_or(DropReason::MalformedTransport)?;
            return self.v4_to_v6_pass(packet, output, Pass::Second);
        }
        Ok(TranslatedError {
            length,
            destination: IpAddr::V4(destination),
        })
    }

    fn v4_to_v6_pass(
        &self,
        packet: &[u8],
        output: &mut [u8; MAX_ERROR_LENGTH],
        pass: Pass,
    ) -> Result<TranslatedError, DropReason> {
        let received = ipv4::Received::parse(packet).map_err(|_| DropReason::MalformedHeader)?;
        let header = received.header;
        let message = packet
            .get(received.header_length..usize::from(header.total_length))
            .ok_or(DropReason::MalformedTransport)?;
        let fields = verified(message, Sum::ZERO)?;

        let is_simple = pass == Pass::Second || self.policy.hairpin == Hairpin::Simple;
        let quoted = Quoted::v4_to_v6(self, message, is_simple)?;
        let destination = match self.network.v4_to_v6(header.destination) {
            Some(destination) => destination,
            None => self.embed(header.destination)?,
        };
        // RFC 7757, 4.2.1: "If the packet is an ICMPv4 error whose outer IPv4 source address is equal to its inner IPv4
        // destination address: The EAM algorithm MUST NOT be used".
        let without_eam = is_simple && header.source == quoted.v4_destination();
        let mapped = match self
            .network
            .v4_to_v6(header.source)
            .filter(|_| !without_eam)
        {
            Some(mapped) => Ok(mapped),
            None => self.embed(header.source),
        };
        // RFC 7915, 4.1: 'when translating ICMPv4 Error Messages into ICMPv6, the "illegal" source address will be
        // translated for the purpose of trouble shooting'; what RFC 6052 may not translate needs a substitute.
        let source = match mapped {
            Ok(source) => source,
            Err(reason) => self
                .network
                .error_source_v6(header.source, destination, header.ttl)
                .ok_or(reason)?,
        };
        let mtus = messages::Mtus {
            v4: self.network.mtu_v4(quoted.v4_destination()),
            v6: self.network.mtu_v6(destination),
        };
        let translated = messages::v4_to_v6(
            fields,
            quoted.total_length,
            mtus,
            self.policy.mtu_plateaus.as_slice(),
        )?;
        let body = Body::v4_to_v6(message, &quoted, &translated);
        let message_length = icmp::HEADER_LENGTH + body.length();
        let hop_limit = match pass {
            Pass::First => header
                .ttl
                .checked_sub(1)
                .filter(|ttl| *ttl > 0)
                .ok_or(DropReason::HopLimit)?,
            // RFC 7757, 4.2.2: in the second pass "the Hop Limit field SHOULD NOT be decremented".
            Pass::Second => header.ttl,
        };
        let new = ipv6::Header {
            traffic_class: self.policy.traffic_class.apply(header.tos),
            payload_length: message_length as u16,
            next_header: icmp::PROTOCOL_V6,
            hop_limit,
            source,
            destination,
        };
        let pseudo_header = Addresses::V6(source, destination).icmp_pseudo_header(message_length);
        emit(
            NetworkHeader::V6(new),
            &translated,
            &body,
            pseudo_header,
            output,
        )?;
        let length = ipv6::HEADER_LENGTH + message_length;
        Ok(TranslatedError {
            length,
            destination: IpAddr::V6(destination),
        })
    }
}

/// Checks a message's checksum and returns its fields.
///
/// Since the checksum of the translated message is computed anew, a wrong one would come out right.
fn verified(message: &[u8], pseudo_header: Sum) -> Result<[u8; icmp::HEADER_LENGTH], DropReason> {
    let fields = message.load(0).ok_or(DropReason::MalformedTransport)?;
    match pseudo_header.add_octets(message).fold() {
        0xffff => Ok(fields),
        _ => Err(DropReason::IcmpChecksum),
    }
}

/// Writes a packet with a body that has to be composed.
fn emit(
    header: NetworkHeader,
    message: &messages::Message,
    body: &Body<'_>,
    pseudo_header: Sum,
    output: &mut [u8; MAX_ERROR_LENGTH],
) -> Result<(), DropReason> {
    let start = header.length() + icmp::HEADER_LENGTH;
    let (_, rest) = output
        .split_at_mut_checked(start)
        .ok_or(DropReason::MalformedTransport)?;
    let body_sum = Sum::ZERO.add_octets(body.emit(rest).ok_or(DropReason::MalformedTransport)?);
    let fields = message.emit(body.length_field());
    emit_headers(header, fields, pseudo_header.add(body_sum), output)
        .ok_or(DropReason::MalformedTransport)
}

/// Writes a packet with a body that is ready.
fn emit_parts(
    header: NetworkHeader,
    fields: [u8; icmp::HEADER_LENGTH],
    body: &[u8],
    pseudo_header: Sum,
    output: &mut [u8; MAX_ERROR_LENGTH],
) -> Option<()> {
    let start = header.length() + icmp::HEADER_LENGTH;
    output
        .get_mut(start..)?
        .get_mut(..body.len())?
        .copy_from_slice(body);
    emit_headers(header, fields, pseudo_header.add_octets(body), output)
}

/// Writes the network header, and the ICMP header with the checksum that completes `sum`.
fn emit_headers(
    header: NetworkHeader,
    mut fields: [u8; icmp::HEADER_LENGTH],
    sum: Sum,
    output: &mut [u8; MAX_ERROR_LENGTH],
) -> Option<()> {
    let [high, low] = sum.add_octets(&fields).checksum().to_be_bytes();
    (fields[2], fields[3]) = (high, low);
    let (network, rest) = output.split_at_mut_checked(header.length())?;
    header.emit(network);
    *rest.first_chunk_mut()? = fields;
    Some(())
}
