//! The packet that an ICMP error quotes, translated like any other (RFC 7915, 4.3 and 5.3): but its hop limit stays, it may
//! be cut off anywhere behind its network header, and nobody forwards it.

use super::super::transport::{self, Addresses, Part, Upper};
use super::super::{MappedBy, Translator, identification, v4_to_v6, v6_to_v4};
use crate::network::{AddressMap, Network};
use crate::policy::UdpZeroChecksum;
use crate::reasons::DropReason;
use crate::rewrite::{NetworkHeader, Patch};
use crate::wire::{Octets, icmp, ipv4, ipv6};
use core::net::{Ipv4Addr, Ipv6Addr};

/// A quoted packet and what becomes of it. Offsets count from the start of the ICMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quoted {
    /// The new network header.
    pub(super) header: NetworkHeader,
    /// Offset of the payload behind the old network header.
    pub(super) payload_at: usize,
    /// Octets of the payload that are there.
    pub(super) payload: usize,
    /// What changes in the payload.
    pub(super) patch: Patch,
    /// The Total Length of the packet in its IPv4 form.
    pub(super) total_length: u16,
    /// Whether a quoted IPv6 packet had a Fragment header.
    pub(super) had_fragment_header: bool,
    /// The extension structure behind the quoted packet: offset and length in octets.
    pub(super) extensions: Option<(usize, usize)>,
    v4_source: Ipv4Addr,
    v4_destination: Ipv4Addr,
    v6_destination: Ipv6Addr,
    source_mapped_by: MappedBy,
}

/// Splits an error's body into the quoted packet and an extension structure (RFC 4884, 3): where the first ends, and offset
/// and length of the second.
///
/// A length that leads out of the message is not believed: everything is then taken for the quoted packet, as everything is
/// where there is no length.
fn split(message: &[u8], field: Option<usize>, unit: usize) -> (usize, Option<(usize, usize)>) {
    let quoted = field
        .and_then(|at| message.get(at))
        .map_or(0, |length| usize::from(*length) * unit);
    let end = icmp::HEADER_LENGTH + quoted;
    match message.len().checked_sub(end) {
        Some(rest) if quoted > 0 && rest > 0 => (end, Some((end, rest))),
        Some(_) | None => (message.len(), None),
    }
}

impl Quoted {
    /// Translates the packet that an ICMPv4 error quotes.
    pub(super) fn v4_to_v6<N: Network + ?Sized>(
        translator: &Translator<'_, N>,
        message: &[u8],
        is_simple: bool,
    ) -> Result<Self, DropReason> {
        let (end, extensions) = split(message, Some(super::messages::LENGTH_AT_V4), 4);
        let packet = message
            .get(icmp::HEADER_LENGTH..end)
            .ok_or(DropReason::MalformedQuotation)?;
        let (header, header_length) =
            ipv4::Header::parse_quoted(packet).map_err(|_| DropReason::MalformedQuotation)?;
        let whole = usize::from(header.total_length) - header_length;
        let there = whole.min(packet.len() - header_length);

        let (source, source_mapped_by) = match translator.network.v4_to_v6(header.source) {
            Some(mapped) => (mapped, MappedBy::Eam),
            None => (translator.embed(header.source)?, MappedBy::Rfc6052),
        };
        // RFC 7757, 4.2.1: "The EAM algorithm MUST NOT be used when translating the destination address in the inner IPv4
        // header."
        let destination = match translator
            .network
            .v4_to_v6(header.destination)
            .filter(|_| !is_simple)
        {
            Some(mapped) => mapped,
            None => translator.embed(header.destination)?,
        };
        let old = Addresses::V4(header.source, header.destination);
        let new = Addresses::V6(source, destination);
        let part = Part::new(header.fragment_offset, header.mf);
        let upper = Upper {
            protocol: header.protocol,
            offset: header_length,
            length: whole,
            part,
        };
        let (next_header, patch) = match header.protocol {
            icmp::PROTOCOL_V4 => (icmp::PROTOCOL_V6, echo(packet, upper, old, new)?),
            protocol => {
                // What the translator refuses to send on, it cannot have sent.
                v4_to_v6::check_protocol(protocol)
                    .map_err(|_| DropReason::UntranslatableProtocol)?;
                (protocol, partial(packet, upper, old, new))
            }
        };
        let header_v6 = ipv6::Header {
            traffic_class: translator.policy.traffic_class.apply(header.tos),
            payload_length: whole as u16,
            next_header,
            hop_limit: header.ttl,
            source,
            destination,
        };
        Ok(Self {
            header: NetworkHeader::v6(header_v6, header.as_v6_fragment()),
            payload_at: icmp::HEADER_LENGTH + header_length,
            payload: there,
            patch,
            total_length: header.total_length,
            had_fragment_header: false,
            extensions,
            v4_source: header.source,
            v4_destination: header.destination,
            v6_destination: destination,
            source_mapped_by,
        })
    }

    /// Translates the packet that an ICMPv6 error quotes.
    pub(super) fn v6_to_v4<N: Network + ?Sized>(
        translator: &Translator<'_, N>,
        message: &[u8],
    ) -> Result<Self, DropReason> {
        // RFC 4884, 4.4 and 4.5: Destination Unreachable and Time Exceeded may have extensions, the others may not.
        let field = matches!(message.first(), Some(1 | 3)).then_some(super::messages::LENGTH_AT_V6);
        let (end, extensions) = split(message, field, 8);
        let packet = message
            .get(icmp::HEADER_LENGTH..end)
            .ok_or(DropReason::MalformedQuotation)?;
        let header =
            ipv6::Header::parse_quoted(packet).map_err(|_| DropReason::MalformedQuotation)?;
        let upper = header
            .upper(packet, packet.len(), true)
            .map_err(|_| DropReason::MalformedQuotation)?;
        let whole_end = ipv6::HEADER_LENGTH + usize::from(header.payload_length);
        let whole = whole_end
            .checked_sub(upper.offset)
            .ok_or(DropReason::MalformedQuotation)?;
        let there = whole.min(packet.len().saturating_sub(upper.offset));

        let (source, source_mapped_by) = translator
            .map_v6(header.source)?
            .ok_or(DropReason::UnmappedQuotation)?;
        let (destination, _) = translator
            .map_v6(header.destination)?
            .ok_or(DropReason::UnmappedQuotation)?;
        let old = Addresses::V6(header.source, header.destination);
        let new = Addresses::V4(source, destination);
        let fragment = upper.fragment.filter(|fragment| !fragment.is_atomic());
        let part = fragment.map_or(Part::Whole, |fragment| {
            Part::new(fragment.offset, fragment.more)
        });
        let transport = Upper {
            protocol: upper.protocol,
            offset: upper.offset,
            length: whole,
            part,
        };
        let (protocol, patch) = match upper.protocol {
            icmp::PROTOCOL_V6 => (icmp::PROTOCOL_V4, echo(packet, transport, old, new)?),
            protocol => {
                v6_to_v4::check_protocol(protocol)
                    .map_err(|_| DropReason::UntranslatableProtocol)?;
                (protocol, partial(packet, transport, old, new))
            }
        };
        let length = ipv4::HEADER_LENGTH + whole;
        let total_length = u16::try_from(length).map_err(|_| DropReason::MalformedQuotation)?;
        let key = translator.policy.identification_key;
        let identification = match upper.fragment {
            Some(fragment) => fragment.identification as u16,
            None => identification::generate(
                key,
                packet,
                upper.offset,
                header.source,
                destination,
                length,
            ),
        };
        Ok(Self {
            header: NetworkHeader::V4(ipv4::Header {
                tos: translator.policy.tos.apply(header.traffic_class),
                total_length,
                identification,
                df: upper.fragment.is_none() && length > v6_to_v4::MAX_LENGTH_WITHOUT_DF,
                mf: fragment.is_some_and(|fragment| fragment.more),
                fragment_offset: fragment.map_or(0, |fragment| fragment.offset),
                ttl: header.hop_limit,
                protocol,
                source,
                destination,
            }),
            payload_at: icmp::HEADER_LENGTH + upper.offset,
            payload: there,
            patch,
            total_length,
            had_fragment_header: upper.fragment.is_some(),
            extensions,
            v4_source: source,
            v4_destination: destination,
            v6_destination: header.destination,
            source_mapped_by,
        })
    }

    /// Returns the destination of the quoted packet in its IPv4 form.
    pub(super) const fn v4_destination(&self) -> Ipv4Addr {
        self.v4_destination
    }

    /// Returns the destination of the quoted packet in its IPv6 form.
    pub(super) const fn v6_destination(&self) -> Ipv6Addr {
        self.v6_destination
    }

    /// Says whether the quoted packet was on its way from one service to another (RFC 7757, 4.2.2, B2 and B3).
    pub(super) fn is_source_hairpinned<M: AddressMap + ?Sized>(&self, map: &M) -> bool {
        self.source_mapped_by == MappedBy::Rfc6052 && map.v4_to_v6(self.v4_source).is_some()
    }
}

/// Returns what changes in a quoted transport header, as far as it is there: RFC 792 only promises eight octets.
fn partial(packet: &[u8], upper: Upper, old: Addresses, new: Addresses) -> Patch {
    // What is too short to have a checksum keeps what it has; whoever gets the error knows its own packet.
    transport::patch(packet, upper, old, new, UdpZeroChecksum::Forward).unwrap_or(Patch::None)
}

/// Returns what changes in a quoted echo message.
fn echo(packet: &[u8], upper: Upper, old: Addresses, new: Addresses) -> Result<Patch, DropReason> {
    // RFC 7915, 1.2: "Fragmented ICMP/ICMPv6 packets will not be translated", so nobody can complain about one.
    if upper.part != Part::Whole {
        return Err(DropReason::FragmentedIcmp);
    }
    let [number] = packet
        .load::<1>(upper.offset)
        .ok_or(DropReason::MalformedQuotation)?;
    let kind = match new {
        Addresses::V4(..) => match icmp::kind_v6(number) {
            icmp::Kind::EchoRequest => icmp::ECHO_REQUEST_V4,
            icmp::Kind::EchoReply => icmp::ECHO_REPLY_V4,
            // RFC 7915, 5.3: "This process MUST stop at the first embedded header and drop the packet if it contains more
            // embedded headers."
            icmp::Kind::Error => return Err(DropReason::NestedError),
            icmp::Kind::Other => return Err(DropReason::UntranslatableIcmp),
        },
        Addresses::V6(..) => match icmp::kind_v4(number) {
            icmp::Kind::EchoRequest => icmp::ECHO_REQUEST_V6,
            icmp::Kind::EchoReply => icmp::ECHO_REPLY_V6,
            // RFC 7915, 4.3: the same.
            icmp::Kind::Error => return Err(DropReason::NestedError),
            icmp::Kind::Other => return Err(DropReason::UntranslatableIcmp),
        },
    };
    transport::echo_patch(packet, upper, kind, old, new).map_err(|_| DropReason::MalformedQuotation)
}
