//! What follows the ICMP header of an error: the quoted packet, padding, an extension structure (RFC 4884).
//!
//! The whole message must not exceed 1280 octets as ICMPv6 (RFC 4443, 2.4 (c)) and 576 as ICMPv4 (RFC 1812, 4.3.2.3). Where it
//! would, the quoted packet is shortened, down to the 128 octets that RFC 4884 asks for in front of extensions; if that is not
//! enough, the extensions go. So what arrives can always be parsed, which a structure that is cut off could not.

use super::messages::Message;
use super::quoted::Quoted;
use super::{MAX_ERROR_LENGTH, MAX_V4_ERROR_LENGTH};
use crate::wire::checksum::Sum;
use crate::wire::{icmp, ipv4, ipv6};
use core::net::Ipv6Addr;

/// Octets of the quoted packet that must be there, padded, if extensions follow (RFC 4884, 3).
const MIN_QUOTED_LENGTH: usize = 128;

/// Length of an extension structure's header, and of an object's (RFC 4884, 7 and 8), in octets.
const STRUCTURE_HEADER_LENGTH: usize = 4;
const OBJECT_HEADER_LENGTH: usize = 4;
/// Interface Information Objects (RFC 5837, 4.1): their class, and the bits of the C-Type that tell the role.
const INTERFACE_INFORMATION: u8 = 2;
const ROLE: u8 = 0xc0;
/// Length of an Interface Information Object with an IPv6 address (RFC 5837, 4), in octets.
const OBJECT_LENGTH: usize = 24;

/// The parts of a body. Offsets count from the start of the received ICMP message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body<'m> {
    quoted: &'m Quoted,
    payload: &'m [u8],
    /// Octets of zeros behind the quoted packet.
    padding: usize,
    /// The received extension structure.
    extensions: &'m [u8],
    /// The address for which an Interface Information Object is added.
    object: Option<Ipv6Addr>,
    /// Octets for each step of the length field.
    unit: usize,
}

impl<'m> Body<'m> {
    /// Composes the body of an ICMPv6 error.
    pub(super) fn v4_to_v6(message: &'m [u8], quoted: &'m Quoted, translated: &Message) -> Self {
        let room = MAX_ERROR_LENGTH - ipv6::HEADER_LENGTH - icmp::HEADER_LENGTH;
        Self::compose(message, quoted, translated, None, room, 8)
    }

    /// Composes the body of an ICMPv4 error; `object` is the IPv6 source that the message had.
    pub(super) fn v6_to_v4(
        message: &'m [u8],
        quoted: &'m Quoted,
        translated: &Message,
        object: Option<Ipv6Addr>,
    ) -> Self {
        let room = MAX_V4_ERROR_LENGTH - ipv4::HEADER_LENGTH - icmp::HEADER_LENGTH;
        Self::compose(message, quoted, translated, object, room, 4)
    }

    fn compose(
        message: &'m [u8],
        quoted: &'m Quoted,
        translated: &Message,
        object: Option<Ipv6Addr>,
        room: usize,
        unit: usize,
    ) -> Self {
        let payload = message
            .get(quoted.payload_at..)
            .and_then(|rest| rest.get(..quoted.payload))
            .unwrap_or_default();
        let may_have_extensions = translated.length_at.is_some();
        let extensions = quoted
            .extensions
            .filter(|_| may_have_extensions)
            .and_then(|(at, length)| message.get(at..)?.get(..length))
            // What is shorter than its own header is no structure.
            .filter(|structure| structure.len() >= STRUCTURE_HEADER_LENGTH)
            .unwrap_or_default();
        let mut body = Self {
            quoted,
            payload,
            padding: 0,
            extensions,
            object: object.filter(|_| may_have_extensions && may_add_object(extensions)),
            unit,
        };
        if body.extensions_length() > room - MIN_QUOTED_LENGTH {
            body.extensions = &[];
            body.object = object.filter(|_| may_have_extensions);
        }
        body.fit(room);
        body
    }

    /// Shortens the quoted packet to what there is room for, and pads it if extensions follow.
    fn fit(&mut self, room: usize) {
        let header = self.quoted.header.length();
        let has_extensions = self.extensions_length() > 0;
        let mut room = room - self.extensions_length();
        if has_extensions {
            room -= room % self.unit;
        }
        let keep = self.payload.len().min(room.saturating_sub(header));
        self.payload = self.payload.get(..keep).unwrap_or_default();
        if has_extensions {
            let quoted = header + keep;
            self.padding = quoted.max(MIN_QUOTED_LENGTH).next_multiple_of(self.unit) - quoted;
        }
    }

    /// Returns the length of the extension structure in octets; zero if there is none.
    fn extensions_length(&self) -> usize {
        match (self.extensions.len(), self.object) {
            (received, None) => received,
            (0, Some(_)) => STRUCTURE_HEADER_LENGTH + OBJECT_LENGTH,
            (received, Some(_)) => received + OBJECT_LENGTH,
        }
    }

    fn quoted_length(&self) -> usize {
        self.quoted.header.length() + self.payload.len() + self.padding
    }

    /// Returns the length of the body in octets.
    pub(super) fn length(&self) -> usize {
        self.quoted_length() + self.extensions_length()
    }

    /// Returns what the length field has to say (RFC 4884, 4): nothing if there are no extensions.
    pub(super) fn length_field(&self) -> u8 {
        match self.extensions_length() {
            0 => 0,
            // At most 1232 octets in words of eight, or 548 in words of four.
            _ => (self.quoted_length() / self.unit) as u8,
        }
    }

    /// Writes the body to the start of `output` and returns what was written.
    pub(super) fn emit<'o>(&self, output: &'o mut [u8]) -> Option<&'o [u8]> {
        let output = output.get_mut(..self.length())?;
        let (header, rest) = output.split_at_mut_checked(self.quoted.header.length())?;
        self.quoted.header.emit(header);
        let (payload, rest) = rest.split_at_mut_checked(self.payload.len())?;
        payload.copy_from_slice(self.payload);
        self.quoted.patch.perform(payload);
        let (padding, extensions) = rest.split_at_mut_checked(self.padding)?;
        padding.fill(0);
        self.emit_extensions(extensions)?;
        Some(output)
    }

    /// Writes the extension structure: as received, or with one more object and a new checksum.
    fn emit_extensions(&self, output: &mut [u8]) -> Option<()> {
        let Some(address) = self.object else {
            output.copy_from_slice(self.extensions);
            return Some(());
        };
        let (structure, object) =
            output.split_at_mut_checked(output.len().checked_sub(OBJECT_LENGTH)?)?;
        if self.extensions.is_empty() {
            // RFC 4884, 7: version 2.
            structure.copy_from_slice(&[0x20, 0, 0, 0]);
        } else {
            structure.copy_from_slice(self.extensions);
        }
        let (fields, octets) = object.split_first_chunk_mut::<8>()?;
        // RFC 5837, 4.1 to 4.3: length, class 2, role 0 (the interface that the packet came in by) with an address only;
        // address family 2 is IPv6.
        *fields = [
            0,
            OBJECT_LENGTH as u8,
            INTERFACE_INFORMATION,
            0x04,
            0,
            2,
            0,
            0,
        ];
        octets.copy_from_slice(&address.octets());
        // RFC 4884, 7: the checksum covers the whole structure. Zero says that there is none.
        let is_checked = self.extensions.is_empty() || structure.get(2..4) != Some(&[0, 0]);
        if is_checked {
            structure.get_mut(2..4)?.fill(0);
            let checksum = Sum::ZERO.add_octets(output).checksum();
            output
                .get_mut(2..4)?
                .copy_from_slice(&checksum.to_be_bytes());
        }
        Some(())
    }
}

/// Says whether an Interface Information Object may be added to a received structure: to none at all, or to one that a
/// receiver can read and that has no such object yet.
///
/// RFC 5837, 4.5: "A single ICMP message MUST NOT contain two Interface Information Objects that specify the same role."
fn may_add_object(structure: &[u8]) -> bool {
    let Some((header, mut objects)) = structure.split_first_chunk::<STRUCTURE_HEADER_LENGTH>()
    else {
        return structure.is_empty();
    };
    // RFC 4884, 7: another version is no business of ours, and a wrong checksum has to stay wrong.
    let [version, _, c0, c1] = *header;
    let is_checked = [c0, c1] != [0, 0];
    if version >> 4 != 2 || is_checked && Sum::ZERO.add_octets(structure).fold() != 0xffff {
        return false;
    }
    while let Some([l0, l1, class, c_type]) = objects.first_chunk::<OBJECT_HEADER_LENGTH>() {
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        // RFC 4884, 8: "one or more 32-bit words".
        let is_whole = length >= OBJECT_HEADER_LENGTH && length.is_multiple_of(4);
        let has_role = *class == INTERFACE_INFORMATION && c_type & ROLE == 0;
        match objects.get(length..) {
            Some(rest) if is_whole && !has_role => objects = rest,
            Some(_) | None => return false,
        }
    }
    objects.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_only_added_where_receivers_can_read_it() {
        // Version 2 and no checksum, then an object of MPLS's class; then objects of class 2 with a role each.
        let plain = [0x20, 0, 0, 0, 0, 8, 1, 1, 0, 0, 0, 0];
        assert!(may_add_object(&[]));
        assert!(may_add_object(&plain));
        assert!(may_add_object(&[0x20, 0, 0, 0, 0, 8, 2, 0x48, 0, 0, 0, 1]));
        assert!(!may_add_object(&[0x20, 0, 0, 0, 0, 8, 2, 0x08, 0, 0, 0, 1]));
        assert!(!may_add_object(&[
            0x20, 0, 0, 0, 0, 4, 1, 1, 0, 8, 2, 0x08, 0, 0, 0, 1
        ]));
        // Another version, a wrong checksum, lengths that lead nowhere.
        assert!(!may_add_object(&[0x10, 0, 0, 0]));
        assert!(!may_add_object(&[0x20, 0, 0x12, 0x34]));
        assert!(may_add_object(&[0x20, 0, 0xdf, 0xff]));
        for (at, value) in [(5, 0), (5, 3), (5, 7), (5, 12), (4, 1)] {
            let mut structure = plain;
            structure[at] = value;
            assert!(!may_add_object(&structure), "octet {at} = {value}");
        }
        assert!(!may_add_object(&plain[..10]));
        assert!(!may_add_object(&plain[..6]));
    }
}
