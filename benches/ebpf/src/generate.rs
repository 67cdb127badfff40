//! The generator: writes the whole head of a frame, since live frames come back as their receivers left them.
//!
//! What stands behind the head is written once, by whoever starts the generator, and is the same in all frames.

use aya_ebpf::{bindings::xdp_action, programs::XdpContext};

use crate::frame::Frame;
use crate::layout::{Progress, Stream, TAG, TAG_V4, TAG_V6, Variation, fold, words};
use crate::maps::{self, Cell};

/// How far a stream may be behind before the frames that it owes are given up, in nanoseconds: a burst of them would
/// measure the queues and not the device.
const MAX_DEBT: u64 = 50_000;

/// Sends one frame, if it is time.
#[inline(always)]
pub(crate) fn generate(context: &XdpContext) -> Option<u32> {
    let stream = maps::stream()?;
    let sent = maps::progress(Progress::Sent)?;
    let mut now = 0;
    if stream.interval != 0 || stream.stamped != 0 {
        now = maps::now();
    }
    if stream.interval != 0 {
        let (due, end) = (
            maps::progress(Progress::Due)?,
            maps::progress(Progress::End)?,
        );
        if !is_due(stream, &due, &end, now) {
            return None;
        }
    }
    let number = sent.get();
    let time = if stream.stamped != 0 { now } else { 0 };
    if stream.ipv6 != 0 {
        write_v6(context, stream, number, time)?;
    } else {
        write_v4(context, stream, number, time)?;
    }
    sent.set(number.wrapping_add(1));
    Some(xdp_action::XDP_TX)
}

/// Says whether a frame is to be sent, and notes when the next one is.
#[inline(always)]
fn is_due(stream: &Stream, due: &Cell, end: &Cell, now: u64) -> bool {
    if end.get() == 0 {
        end.set(now.wrapping_add(stream.duration));
        due.set(now << 16);
    }
    let when = due.get();
    if now << 16 < when || now >= end.get() {
        return false;
    }
    let next = when.wrapping_add(stream.interval);
    let earliest = now.wrapping_sub(MAX_DEBT) << 16;
    due.set(if next < earliest { earliest } else { next });
    true
}

#[inline(always)]
fn write_v4(context: &XdpContext, stream: &Stream, number: u64, time: u64) -> Option<()> {
    let frame = Frame::<{ TAG_V4 + TAG }>::new(context)?;
    let [w0, w1, w2, w3, w4, w5, _, _] = stream.header;
    frame.store_word::<0>(w0);
    frame.store_word::<8>(w1);
    frame.store_word::<16>(w2);
    frame.store_word::<24>(w3);
    frame.store_word::<32>(w4);
    frame.store_word::<40>(w5);
    let variation = Variation::of(number, &stream.source, &stream.destination);
    frame.store_32::<26, 28>(variation.source);
    frame.store_32::<30, 32>(variation.destination);
    let sum = u64::from(stream.network_sum)
        .wrapping_add(u64::from(variation.source))
        .wrapping_add(u64::from(variation.destination));
    frame.store_16::<24>(!fold(sum));
    frame.store_16::<34>(variation.source_port);
    frame.store_16::<36>(variation.destination_port);
    frame.store_16::<40>(udp_checksum(stream, &variation, number, time));
    frame.store_64::<44, 48>(number);
    frame.store_64::<52, 56>(time);
    Some(())
}

#[inline(always)]
fn write_v6(context: &XdpContext, stream: &Stream, number: u64, time: u64) -> Option<()> {
    let frame = Frame::<{ TAG_V6 + TAG }>::new(context)?;
    let [w0, w1, w2, w3, w4, w5, w6, w7] = stream.header;
    frame.store_word::<0>(w0);
    frame.store_word::<8>(w1);
    frame.store_word::<16>(w2);
    frame.store_word::<24>(w3);
    frame.store_word::<32>(w4);
    frame.store_word::<40>(w5);
    frame.store_word::<48>(w6);
    frame.store_word::<56>(w7);
    let variation = Variation::of(number, &stream.source, &stream.destination);
    frame.store_32::<34, 36>(variation.source);
    frame.store_32::<50, 52>(variation.destination);
    frame.store_16::<54>(variation.source_port);
    frame.store_16::<56>(variation.destination_port);
    frame.store_16::<60>(udp_checksum(stream, &variation, number, time));
    frame.store_64::<64, 68>(number);
    frame.store_64::<72, 76>(time);
    Some(())
}

/// Computes the UDP checksum (RFC 768), which is never zero.
#[inline(always)]
fn udp_checksum(stream: &Stream, variation: &Variation, number: u64, time: u64) -> u16 {
    let sum = u64::from(stream.transport_sum)
        .wrapping_add(u64::from(variation.source))
        .wrapping_add(u64::from(variation.destination))
        .wrapping_add(u64::from(variation.source_port))
        .wrapping_add(u64::from(variation.destination_port))
        .wrapping_add(words(number))
        .wrapping_add(words(time));
    match !fold(sum) {
        0 => 0xffff,
        checksum => checksum,
    }
}
