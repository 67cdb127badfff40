//! What the translator says of a packet of either family, and what becomes of the packet then.
//!
//! Each step is a function of its own, since the stack of one has no room for all, and passes its outcome on in numbers and by
//! [`Described`](crate::described::Described), so that the verifier need not look at a step again for each way that leads there.

use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use eam_tables::layout::{Port, Work, XdpCounter};
use relay_core::wire::Octets as _;
use relay_core::{NotPlain, PassReason, PuntReason, Rewrite, Translator};

use crate::{
    described::Described, frame::Packet, maps, next_hop, perform, surroundings::Surroundings,
};

/// Processes the packet behind a link header of `network` octets; returns what the kernel is told to do with the frame.
#[inline(always)]
pub(crate) fn process(context: &XdpContext, port: &Port, network: usize, is_v4: bool) -> u32 {
    let outcome = match is_v4 {
        true => describe_v4(context, network),
        false => describe_v6(context, network),
    };
    let outcome = match outcome {
        DESCRIBED => forward(context, port, network, is_v4),
        reason => reason,
    };
    match outcome {
        SENT => xdp_action::XDP_REDIRECT,
        SENT_BACK => xdp_action::XDP_TX,
        LEFT_TO_KERNEL => xdp_action::XDP_PASS,
        reason => {
            let reason = reason.wrapping_sub(FIRST_REASON) as usize;
            give_away(context, port, network, is_v4, reason)
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
fn describe_v4(context: &XdpContext, network: usize) -> Outcome {
    let packet = Packet::new(context, network);
    outcome(describe(
        packet.len(),
        |translator| translator.claim_v4(&packet),
        |translator, claimed| translator.plain_v4_to_v6(&packet, claimed),
    ))
}

#[inline(never)]
fn describe_v6(context: &XdpContext, network: usize) -> Outcome {
    let packet = Packet::new(context, network);
    outcome(describe(
        packet.len(),
        |translator| translator.claim_v6(&packet),
        |translator, claimed| translator.plain_v6_to_v4(&packet, claimed),
    ))
}

/// Describes the translation of a packet, unless all that can be claimed is for the workers.
#[inline(always)]
fn describe<C>(
    length: usize,
    claim: impl FnOnce(Translator<'_, Surroundings>) -> Result<C, NotPlain>,
    translate: impl FnOnce(Translator<'_, Surroundings>, C) -> Result<Rewrite, PuntReason>,
) -> Result<Outcome, XdpCounter> {
    let surroundings = Surroundings::get().ok_or(XdpCounter::PuntRefused)?;
    let settings = surroundings.settings;
    let policy = settings.policy().ok_or(XdpCounter::PuntRefused)?;
    let translator = Translator::new(&policy, &surroundings);
    let claimed = claim(translator).map_err(reason)?;
    if settings.work() == Work::Steer || surroundings.state.is_watched != 0 {
        return Err(XdpCounter::Redirected);
    }
    let rewrite = translate(translator, claimed)?;
    let described = maps::described().ok_or(XdpCounter::PuntRefused)?;
    described
        .set(&rewrite, length)
        .ok_or(XdpCounter::PuntLength)?;
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

/// Performs what is described, and sends the frame on.
#[inline(never)]
fn forward(context: &XdpContext, port: &Port, network: usize, is_v4: bool) -> Outcome {
    outcome(try_forward(context, port, network, is_v4).map_err(XdpCounter::from))
}

#[inline(always)]
fn try_forward(
    context: &XdpContext,
    port: &Port,
    network: usize,
    is_v4: bool,
) -> Result<Outcome, PuntReason> {
    let described = maps::described().ok_or(PuntReason::NextHop)?;
    let state = maps::state().ok_or(PuntReason::NextHop)?;
    let hop = next_hop::find(context, state, described).ok_or(PuntReason::NextHop)?;
    let length = described.length();
    // Somewhere less may fit than the kernel says; the workers know where.
    let least = match described.is_v6 {
        0 => state.memory_v4.least_mtu,
        _ => state.memory_v6.least_mtu,
    };
    let mtu = match least {
        0 => u32::from(hop.mtu),
        _ => least.min(u32::from(hop.mtu)),
    };
    if length > described.limit(mtu, maps::settings()) {
        return Err(PuntReason::Length);
    }
    let outcome = match maps::settings().work() {
        Work::Translate => return leave_to_kernel(context, network, is_v4, described),
        Work::Forward | Work::Steer => {
            perform::for_hop(context, network, hop, described).ok_or(PuntReason::NextHop)?;
            if u16::from(hop.port) == port.number {
                SENT_BACK
            } else {
                maps::send(u32::from(hop.port));
                SENT
            }
        }
    };
    count(XdpCounter::Forwarded, is_v4, described);
    Ok(outcome)
}

/// Performs what is described, and leaves the packet to the kernel.
#[inline(always)]
fn leave_to_kernel(
    context: &XdpContext,
    network: usize,
    is_v4: bool,
    described: &mut Described,
) -> Result<Outcome, PuntReason> {
    perform::for_kernel(context, network, described).ok_or(PuntReason::NextHop)?;
    count(XdpCounter::LeftToKernel, is_v4, described);
    Ok(LEFT_TO_KERNEL)
}

/// As [`leave_to_kernel`], for what has no next hop, when there is no worker to find one.
#[inline(never)]
fn leave_orphan_to_kernel(context: &XdpContext, network: usize, is_v4: bool) -> Outcome {
    let described = maps::described().ok_or(PuntReason::NextHop);
    let left = described.and_then(|described| leave_to_kernel(context, network, is_v4, described));
    outcome(left.map_err(XdpCounter::from))
}

/// Counts a packet that has been translated.
#[inline(always)]
fn count(fate: XdpCounter, is_v4: bool, described: &Described) {
    let Some(counters) = maps::counters() else {
        return;
    };
    let (packets, octets) = match is_v4 {
        true => (XdpCounter::PacketsV4ToV6, XdpCounter::OctetsV4ToV6),
        false => (XdpCounter::PacketsV6ToV4, XdpCounter::OctetsV6ToV4),
    };
    maps::add(counters, fate.index(), 1);
    maps::add(counters, packets.index(), 1);
    maps::add(counters, octets.index(), u64::from(described.length()));
    if !is_v4 && described.is_v6 != 0 {
        maps::add(counters, XdpCounter::Hairpinned.index(), 1);
    }
}

/// Gives a frame, which is as it came, to who can do more.
#[inline(always)]
fn give_away(context: &XdpContext, port: &Port, network: usize, is_v4: bool, reason: usize) -> u32 {
    if reason == XdpCounter::OwnAddress.index() || reason == XdpCounter::NotOurs.index() {
        maps::count_at(reason, 1);
        return xdp_action::XDP_PASS;
    }
    let socket = port.socket(context.rx_queue_index());
    if socket.is_some_and(maps::redirect) {
        maps::count_at(reason, 1);
        xdp_action::XDP_REDIRECT
    } else if reason == XdpCounter::PuntNextHop.index()
        && leave_orphan_to_kernel(context, network, is_v4) == LEFT_TO_KERNEL
    {
        // Nobody serves the queue, as while no daemon runs; the packet has been described.
        xdp_action::XDP_PASS
    } else {
        maps::count(XdpCounter::NoSocket, 1);
        xdp_action::XDP_DROP
    }
}
