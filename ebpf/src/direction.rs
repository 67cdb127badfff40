//! What the translator says of a packet of either family, and what becomes of the packet then.
//!
//! Each step is a function of its own, since the stack of one has no room for all, and passes its outcome on in numbers and by
//! [`Scratch`], so that the verifier need not look at a step again for each way that leads there.

use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use eam_tables::layout::{Port, State, Work, XdpCounter};
use relay_core::wire::Octets as _;
use relay_core::{NotPlain, PassReason, Plain, PuntReason, Translator};

use crate::{frame::Packet, maps, next_hop, perform, scratch::Scratch, surroundings::Surroundings};

/// Processes the packet behind a link header of `network` octets; returns what the kernel is told to do with the frame.
#[inline(always)]
pub(crate) fn process(context: &XdpContext, port: &Port, network: usize, is_v4: bool) -> u32 {
    let (Some(state), Some(scratch)) = (maps::state(), maps::scratch()) else {
        return xdp_action::XDP_PASS;
    };
    let outcome = match is_v4 {
        true => describe_v4(context, network, port.is_veth(), state, scratch),
        false => describe_v6(context, network, port.is_veth(), state, scratch),
    };
    let outcome = match outcome {
        DESCRIBED if scratch.plain.is_v6() => {
            forward_v6(context, port.number, network, state, scratch)
        }
        DESCRIBED => forward_v4(context, port.number, network, state, scratch),
        reason => reason,
    };
    match outcome {
        SENT => xdp_action::XDP_REDIRECT,
        SENT_BACK => xdp_action::XDP_TX,
        LEFT_TO_KERNEL => xdp_action::XDP_PASS,
        reason => {
            let reason = reason.wrapping_sub(FIRST_REASON) as usize;
            give_away(context, port, network, reason, scratch)
        }
    }
}

/// What a step returns: one of these, or [`FIRST_REASON`] and the number of the counter that says why not.
type Outcome = u32;

const DESCRIBED: Outcome = 0;
const SENT: Outcome = 1;
const SENT_BACK: Outcome = 2;
const LEFT_TO_KERNEL: Outcome = 3;
const FIRST_REASON: Outcome = 4;

#[inline(always)]
fn outcome(result: Result<Outcome, XdpCounter>) -> Outcome {
    match result {
        Ok(outcome) => outcome,
        Err(reason) => (reason.index() as Outcome).wrapping_add(FIRST_REASON),
    }
}

#[inline(never)]
fn describe_v4(
    context: &XdpContext,
    network: usize,
    is_from_veth: bool,
    state: &'static State,
    scratch: &mut Scratch,
) -> Outcome {
    let packet = Packet::new(context, network);
    outcome(describe(
        packet.len(),
        is_from_veth,
        state,
        scratch,
        |translator| translator.claim_v4(&packet),
        |translator, claimed| translator.plain_v4_to_v6(&packet, claimed),
    ))
}

#[inline(never)]
fn describe_v6(
    context: &XdpContext,
    network: usize,
    is_from_veth: bool,
    state: &'static State,
    scratch: &mut Scratch,
) -> Outcome {
    let packet = Packet::new(context, network);
    outcome(describe(
        packet.len(),
        is_from_veth,
        state,
        scratch,
        |translator| translator.claim_v6(&packet),
        |translator, claimed| translator.plain_v6_to_v4(&packet, claimed),
    ))
}

/// Describes the translation of a packet, unless all that can be claimed is for the workers.
#[inline(always)]
fn describe<C>(
    length: usize,
    is_from_veth: bool,
    state: &'static State,
    scratch: &mut Scratch,
    claim: impl FnOnce(Translator<'_, Surroundings>) -> Result<C, NotPlain>,
    translate: impl FnOnce(Translator<'_, Surroundings>, C) -> Result<Plain, PuntReason>,
) -> Result<Outcome, XdpCounter> {
    let settings = maps::settings();
    let surroundings = Surroundings {
        settings,
        state,
        is_from_veth,
    };
    let claimed = claim(Translator::new(&settings.policy(), &surroundings)).map_err(reason)?;
    if settings.work() == Work::Steer || surroundings.state.is_watched != 0 {
        return Err(XdpCounter::Redirected);
    }
    // Read again: what was read before would have to be kept on the stack while the mapping of the packet is looked up.
    let plain = translate(Translator::new(&settings.policy(), &surroundings), claimed)?;
    scratch.plain = plain;
    let end = plain.cut.wrapping_add(plain.payload);
    scratch.surplus = (length as u64).wrapping_sub(u64::from(end));
    Ok(DESCRIBED)
}

#[inline(always)]
fn reason(reason: NotPlain) -> XdpCounter {
    match reason {
        NotPlain::Pass(PassReason::OwnAddress) => XdpCounter::OwnAddress,
        NotPlain::Pass(PassReason::NotIp | PassReason::NotOurs) => XdpCounter::NotOurs,
        NotPlain::Punt(reason) => reason.into(),
    }
}

#[inline(never)]
fn forward_v4(
    context: &XdpContext,
    came_by: u16,
    network: usize,
    state: &State,
    scratch: &mut Scratch,
) -> Outcome {
    outcome(forward::<false>(context, came_by, network, state, scratch).map_err(XdpCounter::from))
}

#[inline(never)]
fn forward_v6(
    context: &XdpContext,
    came_by: u16,
    network: usize,
    state: &State,
    scratch: &mut Scratch,
) -> Outcome {
    outcome(forward::<true>(context, came_by, network, state, scratch).map_err(XdpCounter::from))
}

/// Performs what is described, with an IPv6 header or an IPv4 one, and sends the frame on.
#[inline(always)]
fn forward<const V6: bool>(
    context: &XdpContext,
    came_by: u16,
    network: usize,
    state: &State,
    scratch: &mut Scratch,
) -> Result<Outcome, PuntReason> {
    let hop = next_hop::find::<V6>(context, state, scratch).ok_or(PuntReason::NextHop)?;
    let settings = maps::settings();
    // Somewhere less may fit than the kernel says; the workers know where.
    let (least, most) = if V6 {
        (state.memory_v6.least_mtu, settings.mtu_v6)
    } else {
        (state.memory_v4.least_mtu, settings.mtu_v4)
    };
    let mut mtu = u32::from(hop.mtu).min(most);
    if least != 0 {
        mtu = mtu.min(least);
    }
    if !scratch.plain.fits_as(V6, mtu) {
        return Err(PuntReason::Length);
    }
    if settings.work() == Work::Translate {
        return leave_to_kernel::<V6>(context, network, scratch);
    }
    perform::for_hop::<V6>(context, network, hop, scratch).ok_or(PuntReason::NextHop)?;
    let outcome = if u16::from(hop.port) == came_by {
        SENT_BACK
    } else {
        maps::send(u32::from(hop.port));
        SENT
    };
    count::<V6>(XdpCounter::Forwarded, &scratch.plain);
    Ok(outcome)
}

/// Performs what is described, and leaves the packet to the kernel.
#[inline(always)]
fn leave_to_kernel<const V6: bool>(
    context: &XdpContext,
    network: usize,
    scratch: &Scratch,
) -> Result<Outcome, PuntReason> {
    perform::for_kernel::<V6>(context, network, scratch).ok_or(PuntReason::NextHop)?;
    count::<V6>(XdpCounter::LeftToKernel, &scratch.plain);
    Ok(LEFT_TO_KERNEL)
}

/// As [`leave_to_kernel`], for what has no next hop, when there is no worker to find one.
#[inline(never)]
fn leave_orphan_to_kernel(context: &XdpContext, network: usize, scratch: &Scratch) -> Outcome {
    let left = if scratch.plain.is_v6() {
        leave_to_kernel::<true>(context, network, scratch)
    } else {
        leave_to_kernel::<false>(context, network, scratch)
    };
    outcome(left.map_err(XdpCounter::from))
}

/// Counts a packet that has been translated to IPv6 or to IPv4.
#[inline(always)]
fn count<const V6: bool>(fate: XdpCounter, plain: &Plain) {
    let Some(counters) = maps::counters() else {
        return;
    };
    // What becomes IPv4 was none.
    let is_from_v4 = V6 && plain.cut == IPV4_HEADER;
    let length = u64::from(plain.length_as(V6));
    let (packets, octets) = if is_from_v4 {
        (XdpCounter::PacketsV4ToV6, XdpCounter::OctetsV4ToV6)
    } else {
        (XdpCounter::PacketsV6ToV4, XdpCounter::OctetsV6ToV4)
    };
    maps::add(counters, fate.index(), 1);
    maps::add(counters, packets.index(), 1);
    maps::add(counters, octets.index(), length);
    if V6 && !is_from_v4 {
        maps::add(counters, XdpCounter::Hairpinned.index(), 1);
    }
    for mapping in plain.mappings {
        maps::count_for(mapping, is_from_v4, length);
    }
}

/// What is cut of a plain packet that came as IPv4, in octets.
const IPV4_HEADER: u32 = relay_core::wire::ipv4::HEADER_LENGTH as u32;

/// Gives a frame, which is as it came, to who can do more.
#[inline(always)]
fn give_away(
    context: &XdpContext,
    port: &Port,
    network: usize,
    reason: usize,
    scratch: &Scratch,
) -> u32 {
    if reason == XdpCounter::OwnAddress.index() || reason == XdpCounter::NotOurs.index() {
        maps::count_at(reason, 1);
        return xdp_action::XDP_PASS;
    }
    let socket = port.socket(context.rx_queue_index());
    if socket.is_some_and(maps::redirect) {
        maps::count_at(reason, 1);
        xdp_action::XDP_REDIRECT
    } else if reason == XdpCounter::PuntNextHop.index()
        && leave_orphan_to_kernel(context, network, scratch) == LEFT_TO_KERNEL
    {
        // Nobody serves the queue, as while no daemon runs; the packet has been described.
        xdp_action::XDP_PASS
    } else {
        maps::count(XdpCounter::NoSocket, 1);
        xdp_action::XDP_DROP
    }
}
