//! The TCP header, only as far as the Maximum Segment Size option (RFC 9293, 3.7.1). The checksum is found by
//! [`super::transport`].

use super::Octets;

/// Length of the header without options, in octets.
pub const HEADER_LENGTH: usize = 20;

/// The most octets that options can have.
const MAX_OPTIONS_LENGTH: usize = 40;

pub(crate) const SYN: u8 = 0x02;
/// Offset of the flags in octets.
pub(crate) const FLAGS: usize = 13;
const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const MAXIMUM_SEGMENT_SIZE: u8 = 2;

/// The value of a Maximum Segment Size option, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaximumSegmentSize {
    /// Octets from the start of the TCP header to the value, which may stand at an odd offset.
    pub at: usize,
    /// The greatest segment in octets that the sender takes, without headers.
    pub value: u16,
}

/// Finds the first Maximum Segment Size option of the segment whose TCP header begins at `offset` in `packet` and of which
/// `length` octets are there.
///
/// `None` if it has none, is no SYN, in which alone the option has a meaning, or if its options cannot be walked up to
/// there.
#[inline]
pub fn maximum_segment_size<O: Octets + ?Sized>(
    packet: &O,
    offset: usize,
    length: usize,
) -> Option<MaximumSegmentSize> {
    let [data_offset, flags] = packet.load(offset + 12)?;
    let end = usize::from(data_offset >> 4) * 4;
    if flags & SYN == 0 || end > length {
        return None;
    }
    let mut at = HEADER_LENGTH;
    for _ in 0..MAX_OPTIONS_LENGTH {
        if at >= end {
            return None;
        }
        let [kind] = packet.load(offset + at)?;
        if kind == END_OF_OPTIONS {
            return None;
        }
        if kind == NO_OPERATION {
            at += 1;
            continue;
        }
        let [option_length] = packet.load(offset + at + 1)?;
        let next = at + usize::from(option_length);
        if option_length < 2 || next > end {
            return None;
        }
        if kind == MAXIMUM_SEGMENT_SIZE {
            let value = packet
                .load(offset + at + 2)
                .filter(|_| option_length == 4)?;
            return Some(MaximumSegmentSize {
                at: at + 2,
                value: u16::from_be_bytes(value),
            });
        }
        at = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what is found in a segment with these flags and options, behind 3 octets of something else.
    fn find(flags: u8, options: &[u8]) -> Option<(usize, u16)> {
        let mut packet = [0xa5; 128];
        let length = HEADER_LENGTH + options.len().next_multiple_of(4);
        packet[3 + 12] = (length as u8 / 4) << 4;
        packet[3 + 13] = flags;
        packet[3 + 20..3 + length].fill(0);
        packet[3 + 20..][..options.len()].copy_from_slice(options);
        let found = maximum_segment_size(&packet[..3 + length], 3, length);
        // What is cut off is not believed, and nothing is read behind the end.
        for short in 0..length {
            assert_eq!(maximum_segment_size(&packet[..], 3, short), None);
            assert_eq!(maximum_segment_size(&packet[..3 + short], 3, short), None);
        }
        found.map(|found| (found.at, found.value))
    }

    #[test]
    fn the_option_is_found_wherever_it_stands() {
        assert_eq!(find(0x02, &[2, 4, 5, 0xb4]), Some((22, 1460)));
        assert_eq!(find(0x12, &[1, 2, 4, 5, 0xb4]), Some((23, 1460)));
        assert_eq!(
            find(0xc2, &[3, 3, 7, 4, 2, 2, 4, 5, 0xb4]),
            Some((27, 1460))
        );
        let mut last = [1; 40];
        last[36..].copy_from_slice(&[2, 4, 0, 1]);
        assert_eq!(find(0x02, &last), Some((58, 1)));
        // The first one counts.
        assert_eq!(find(0x02, &[2, 4, 0, 9, 2, 4, 5, 0xb4]), Some((22, 9)));
    }

    #[test]
    fn what_is_no_option_is_not_found() {
        for flags in [0x00, 0x10, 0x18, 0x04, 0xfd] {
            assert_eq!(find(flags, &[2, 4, 5, 0xb4]), None, "flags {flags:#x}");
        }
        let options: [&[u8]; 9] = [
            &[],
            &[1; 40],
            // Behind the end of the list.
            &[0, 2, 4, 5, 0xb4],
            // Of another length.
            &[2, 3, 5, 2, 4, 5, 0xb4],
            &[2, 5, 5, 0xb4, 0],
            &[2, 2, 5, 0xb4],
            // Without a length to go on by.
            &[3, 0, 2, 4, 5, 0xb4],
            &[3, 1, 2, 4, 5, 0xb4],
            // Led out of the header.
            &[8, 13, 0, 0, 0, 0, 0, 0, 2, 4, 5, 0xb4],
        ];
        for options in options {
            assert_eq!(find(0x02, options), None, "{options:?}");
        }
    }
}
