//! Looking ahead over a batch of frames: what translating them will read is fetched before the first is translated.
//!
//! In a large table each look-up begins with memory that is in no cache of the processor. Asked for one by one these accesses
//! wait for each other; asked for together they take little longer than one of them. Nothing is decided here, and a frame
//! that cannot be read is none of this module's business.

use crate::driver::prefetch::prefetch;
use crate::perform::Frame;
use crate::tables::Tables;
use relay_core::wire::Octets;
use relay_core::wire::ethernet::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The most frames that are looked at together, as many as the processor can have on their way and more.
const TOGETHER: usize = 32;

/// What a packet will have looked up.
#[derive(Clone, Copy)]
enum LookUps {
    None,
    V4 {
        source: Ipv4Addr,
        destination: Ipv4Addr,
    },
    V6 {
        source: Ipv6Addr,
        /// What the destination stands for, of which the other table may know (RFC 7757, 4.2.2).
        embedded: Option<Ipv4Addr>,
    },
}

/// Fetches what translating the frames will read of the tables.
#[inline]
pub fn prepare<F: Frame>(frames: &[F], tables: &Tables) {
    for frames in frames.chunks(TOGETHER) {
        prepare_together(frames, tables);
    }
}

fn prepare_together<F: Frame>(frames: &[F], tables: &Tables) {
    for frame in frames {
        if let Some(first) = frame.octets().first() {
            prefetch(first);
        }
    }
    let (v4, v6) = (tables.eam.image_v4(), tables.eam.image_v6());
    let fetch_filter_v4 = |address| {
        if let Some(word) = v4.filter_word(address) {
            prefetch(word);
        }
    };
    let mut look_ups = [LookUps::None; TOGETHER];
    for (place, frame) in look_ups.iter_mut().zip(frames) {
        *place = look_ups_of(frame.octets(), tables);
        match *place {
            LookUps::None => {}
            LookUps::V4 {
                source,
                destination,
            } => {
                fetch_filter_v4(source);
                fetch_filter_v4(destination);
            }
            LookUps::V6 { source, embedded } => {
                if let Some(word) = v6.filter_word(source) {
                    prefetch(word);
                }
                if let Some(embedded) = embedded {
                    fetch_filter_v4(embedded);
                }
            }
        }
    }
    let fetch_slot_v4 = |address| {
        if let Some(slot) = v4.first_slot(address) {
            prefetch(slot);
        }
    };
    for look_ups in look_ups {
        match look_ups {
            LookUps::None => {}
            LookUps::V4 {
                source,
                destination,
            } => {
                fetch_slot_v4(source);
                fetch_slot_v4(destination);
            }
            LookUps::V6 { source, embedded } => {
                if let Some(slot) = v6.first_slot(source) {
                    prefetch(slot);
                }
                if let Some(embedded) = embedded {
                    fetch_slot_v4(embedded);
                }
            }
        }
    }
}

/// Reads the addresses of a frame.
#[inline]
fn look_ups_of(frame: &[u8], tables: &Tables) -> LookUps {
    let Ok(header) = ethernet::Header::parse(frame) else {
        return LookUps::None;
    };
    let network = header.length;
    match header.ethertype {
        ETHERTYPE_IPV4 => match (frame.load::<4>(network + 12), frame.load::<4>(network + 16)) {
            (Some(source), Some(destination)) => LookUps::V4 {
                source: source.into(),
                destination: destination.into(),
            },
            (_, _) => LookUps::None,
        },
        ETHERTYPE_IPV6 => match (
            frame.load::<16>(network + 8),
            frame.load::<16>(network + 24),
        ) {
            (Some(source), Some(destination)) => LookUps::V6 {
                source: source.into(),
                embedded: tables.policy.prefix.extract(destination.into()),
            },
            (_, _) => LookUps::None,
        },
        _ => LookUps::None,
    }
}
