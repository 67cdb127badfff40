//! Reassembly by the plain definitions of RFC 791, 3.2 and RFC 8200, 4.5, with nothing shared with the translator.
//!
//! Fragments must come in order and may not overlap; that is all that a translator may send.

/// What one packet says about its place.
struct Place {
    /// Octets in front of what is fragmented, as a whole packet has them but for the length.
    head: Vec<u8>,
    /// Octets of the datagram in front of `payload`.
    offset: usize,
    more: bool,
    identification: u32,
    payload: Vec<u8>,
}

/// Puts packets without link header together that are all the fragments of one datagram, in order; a packet that is no
/// fragment comes back as it is.
///
/// `None` if the fragments do not belong together, if one is missing, or if a packet is not all there.
pub fn reassemble(packets: &[&[u8]]) -> Option<Vec<u8>> {
    let mut places = packets.iter().map(|packet| place(packet));
    let mut whole = places.next()??;
    if whole.offset != 0 {
        return None;
    }
    for place in places {
        let place = place?;
        let is_next = whole.more
            && whole.payload.len() % 8 == 0
            && place.offset == whole.payload.len()
            && place.identification == whole.identification
            && place.head == whole.head;
        if !is_next {
            return None;
        }
        whole.payload.extend(place.payload);
        whole.more = place.more;
    }
    if whole.more {
        return None;
    }
    let mut packet = whole.head;
    packet.extend(whole.payload);
    let length = packet.len();
    match packet[0] >> 4 {
        4 => {
            packet[2..4].copy_from_slice(&u16::try_from(length).ok()?.to_be_bytes());
            super::packet::set_header_checksum(&mut packet);
        }
        _ => packet[4..6].copy_from_slice(&u16::try_from(length - 40).ok()?.to_be_bytes()),
    }
    Some(packet)
}

/// Says whether a packet without link header is a fragment; an atomic one counts.
pub fn is_fragment(packet: &[u8]) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(4) => packet
            .get(6..8)
            .is_some_and(|flags| flags[0] & 0x3f | flags[1] != 0),
        Some(6) => fragment_header(packet).is_some(),
        Some(_) | None => false,
    }
}

/// Returns where the Fragment header is, and where the number is that announces it.
fn fragment_header(packet: &[u8]) -> Option<(usize, usize)> {
    let (mut announced, mut at) = (6, 40);
    loop {
        match packet.get(announced)? {
            44 => return Some((at, announced)),
            0 | 43 | 60 => (announced, at) = (at, at + 8 + 8 * usize::from(*packet.get(at + 1)?)),
            _ => return None,
        }
    }
}

fn place(packet: &[u8]) -> Option<Place> {
    let word = |at: usize| Some(u16::from_be_bytes(*packet.get(at..)?.first_chunk()?));
    match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet[0] & 0xf) * 4;
            let flags = word(6)?;
            let mut head = packet.get(..header)?.to_vec();
            // Length, MF, offset and checksum are the fragment's own.
            head[2..4].fill(0);
            head[6..8].copy_from_slice(&(flags & 0x4000).to_be_bytes());
            head[10..12].fill(0);
            Some(Place {
                head,
                offset: usize::from(flags & 0x1fff) * 8,
                more: flags & 0x2000 != 0,
                identification: word(4)?.into(),
                payload: packet.get(header..usize::from(word(2)?))?.to_vec(),
            })
        }
        6 => {
            let end = 40 + usize::from(word(4)?);
            let Some((at, announced)) = fragment_header(packet) else {
                let (head, payload) = packet.get(..end)?.split_at_checked(40)?;
                let mut head = head.to_vec();
                head[4..6].fill(0);
                return Some(Place {
                    head,
                    offset: 0,
                    more: false,
                    identification: 0,
                    payload: payload.to_vec(),
                });
            };
            let mut head = packet.get(..at)?.to_vec();
            head[4..6].fill(0);
            head[announced] = *packet.get(at)?;
            let field = word(at + 2)?;
            Some(Place {
                head,
                offset: usize::from(field & 0xfff8),
                more: field & 1 != 0,
                identification: u32::from(word(at + 4)?) << 16 | u32::from(word(at + 6)?),
                payload: packet.get(at + 8..end)?.to_vec(),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet;

    fn fragments() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        let address = |last| std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into();
        let whole = packet::packet(address(1), address(2), 17, &[7; 20]);
        let fragment = |field: [u8; 2], payload: &[u8]| {
            let mut fragment = whole[..40].to_vec();
            fragment[5] = 8 + payload.len() as u8;
            fragment[6] = 44;
            fragment.extend([17, 0, field[0], field[1], 0, 0, 0x12, 0x34]);
            fragment.extend(payload);
            fragment
        };
        let (first, last) = (
            fragment([0, 1], &whole[40..56]),
            fragment([0, 16], &whole[56..]),
        );
        (whole, first, last)
    }

    #[test]
    fn all_fragments_in_order_make_the_packet() {
        let (whole, first, last) = fragments();
        assert_eq!(reassemble(&[&whole]).as_ref(), Some(&whole));
        assert_eq!(reassemble(&[&first, &last]).as_ref(), Some(&whole));
        assert!(is_fragment(&first) && is_fragment(&last) && !is_fragment(&whole));
    }

    #[test]
    fn anything_else_does_not() {
        let (whole, first, last) = fragments();
        for wrong in [
            &[&first[..]][..],
            &[&last],
            &[&last, &first],
            &[&first, &first],
            &[&first, &last, &last],
            &[&whole, &last],
            &[&first, &last[..59]],
        ] {
            assert_eq!(reassemble(wrong), None);
        }
        let mut other = last;
        other[47] ^= 1;
        assert_eq!(reassemble(&[&first, &other]), None);
    }
}
