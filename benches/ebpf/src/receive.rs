//! The receiver: counts test frames, measures their latency, shows some of them to the loader.

use aya_ebpf::{bindings::xdp_action, programs::XdpContext};

use crate::frame::{self, Frame};
use crate::layout::{Count, MAGIC, PKTGEN_MAGIC, SAMPLE_EVERY, TAG, TAG_V4, TAG_V6, bucket};
use crate::maps;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const UDP: u8 = 17;

/// A frame that somebody sent to be measured.
pub(crate) enum TestFrame {
    /// It has a tag.
    Tagged,
    /// The kernel's packet generator made it.
    Pktgen,
}

/// Counts one frame.
#[inline(always)]
pub(crate) fn receive<const TIMED: bool>(context: &XdpContext) -> Option<u32> {
    let Some((frame, tag)) = recognise(context) else {
        maps::count(Count::Foreign)?.add(1);
        return None;
    };
    let length = frame::length(context);
    let frames = maps::count(Count::Frames)?;
    let number = frames.get();
    frames.set(number.wrapping_add(1));
    maps::count(Count::Octets)?.add(length);
    if let TestFrame::Tagged = frame {
        if TIMED {
            measure(tag.stamp(context)?)?;
        }
        if number & (SAMPLE_EVERY - 1) == 0 {
            maps::sample(context);
        }
    }
    Some(xdp_action::XDP_DROP)
}

/// Where the tag of a frame is.
pub(crate) enum Place {
    V4,
    V6,
}

impl Place {
    /// Returns when the frame was sent, which is zero if it does not tell.
    #[inline(always)]
    fn stamp(&self, context: &XdpContext) -> Option<u64> {
        let octets = match self {
            Self::V4 => Frame::<{ TAG_V4 + TAG }>::new(context)?.load::<{ TAG_V4 + 10 }, 8>(),
            Self::V6 => Frame::<{ TAG_V6 + TAG }>::new(context)?.load::<{ TAG_V6 + 10 }, 8>(),
        };
        Some(u64::from_be_bytes(octets))
    }
}

/// Says whether a frame is a test frame, of which kind, and where its tag is.
#[inline(always)]
pub(crate) fn recognise(context: &XdpContext) -> Option<(TestFrame, Place)> {
    let frame = Frame::<{ TAG_V4 + TAG }>::new(context)?;
    match u16::from_be_bytes(frame.load::<12, 2>()) {
        ETHERTYPE_IPV4 => {
            let [version] = frame.load::<14, 1>();
            let [protocol] = frame.load::<23, 1>();
            if version != 0x45 || protocol != UDP {
                return None;
            }
            Some((kind(frame.load::<TAG_V4, 4>())?, Place::V4))
        }
        ETHERTYPE_IPV6 => {
            let frame = Frame::<{ TAG_V6 + TAG }>::new(context)?;
            let [protocol] = frame.load::<20, 1>();
            if protocol != UDP {
                return None;
            }
            Some((kind(frame.load::<TAG_V6, 4>())?, Place::V6))
        }
        _ => None,
    }
}

/// Tells test frames from others by what the payload begins with.
#[inline(always)]
fn kind(payload: [u8; 4]) -> Option<TestFrame> {
    let [first, second, _, _] = payload;
    if u16::from_be_bytes([first, second]) == MAGIC {
        Some(TestFrame::Tagged)
    } else if u32::from_be_bytes(payload) == PKTGEN_MAGIC {
        Some(TestFrame::Pktgen)
    } else {
        None
    }
}

/// Notes how long a frame was under way, if it tells when it was sent.
#[inline(always)]
fn measure(stamp: u64) -> Option<()> {
    if stamp == 0 {
        return Some(());
    }
    let latency = maps::now().saturating_sub(stamp);
    maps::latency(bucket(latency))?.add(1);
    let longest = maps::count(Count::LatencyMax)?;
    if latency > longest.get() {
        longest.set(latency);
    }
    let shortest = maps::count(Count::LatencyMinComplement)?;
    let complement = !latency;
    if complement > shortest.get() {
        shortest.set(complement);
    }
    Some(())
}
