//! What becomes of a packet of either family. Each has a function of its own, since the stack of one has no room for both.

use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use eam_tables::layout::{Port, Work, XdpCounter};
use relay_core::rewrite::NetworkHeader;
use relay_core::wire::{ipv4, ipv6};
use relay_core::{NotPlain, PassReason, PuntReason, Rewrite, Translator};

use crate::{frame::Frame, maps, next_hop, perform, surroundings::Surroundings};

/// Processes the IPv4 packet behind a link header of `network` octets.
#[inline(never)]
pub(crate) fn v4_to_v6(context: &XdpContext, port: &'static Port, network: usize) -> u32 {
    let rewrite = translate_v4(context, network);
    let outcome = rewrite.and_then(|rewrite| forward(context, port, network, &rewrite));
    match outcome {
        Ok(sent) => {
            maps::count(XdpCounter::PacketsV4ToV6, 1);
            maps::count(XdpCounter::OctetsV4ToV6, u64::from(sent.octets));
            sent.action
        }
        Err(reason) => give_away(context, port, reason),
    }
}

/// Processes the IPv6 packet behind a link header of `network` octets.
#[inline(never)]
pub(crate) fn v6_to_v4(context: &XdpContext, port: &'static Port, network: usize) -> u32 {
    let rewrite = translate_v6(context, network);
    let outcome = rewrite.and_then(|rewrite| forward(context, port, network, &rewrite));
    match outcome {
        Ok(sent) => {
            maps::count(XdpCounter::PacketsV6ToV4, 1);
            maps::count(XdpCounter::OctetsV6ToV4, u64::from(sent.octets));
            if sent.is_v6 {
                maps::count(XdpCounter::Hairpinned, 1);
            }
            sent.action
        }
        Err(reason) => give_away(context, port, reason),
    }
}

/// What was sent.
struct Sent {
    /// What the kernel is told to do with the frame.
    action: u32,
    /// Octets from the new network header on.
    octets: u32,
    /// Whether it is an IPv6 packet.
    is_v6: bool,
}

#[inline(always)]
fn translate_v4(context: &XdpContext, network: usize) -> Result<Rewrite, NotPlain> {
    let surroundings = Surroundings::get().ok_or(PassReason::NotOurs)?;
    let policy = surroundings.settings.policy().ok_or(PassReason::NotOurs)?;
    Translator::new(&policy, &surroundings).plain_v4_to_v6(&Frame::packet(context, network))
}

#[inline(always)]
fn translate_v6(context: &XdpContext, network: usize) -> Result<Rewrite, NotPlain> {
    let surroundings = Surroundings::get().ok_or(PassReason::NotOurs)?;
    let policy = surroundings.settings.policy().ok_or(PassReason::NotOurs)?;
    Translator::new(&policy, &surroundings).plain_v6_to_v4(&Frame::packet(context, network))
}

/// Translates a frame and sends it to its next hop.
#[inline(always)]
fn forward(
    context: &XdpContext,
    port: &Port,
    network: usize,
    rewrite: &Rewrite,
) -> Result<Sent, NotPlain> {
    let settings = maps::settings();
    let state = maps::state().ok_or(PuntReason::NextHop)?;
    if settings.work() == Work::Steer {
        return Err(PuntReason::NextHop.into());
    }
    let (hop, limit, least) = match &rewrite.header {
        NetworkHeader::V4(header) => (
            next_hop::find_v4(context, state, header),
            settings.mtu_v4,
            ipv4::MINIMUM_MTU,
        ),
        NetworkHeader::V6(header) => (
            next_hop::find_v6(context, state, header),
            settings.mtu_v6,
            ipv6::MINIMUM_MTU,
        ),
        NetworkHeader::V6Fragment(..) => return Err(PuntReason::Length.into()),
    };
    let hop = hop.ok_or(PuntReason::NextHop)?;
    let octets = rewrite.header.length().wrapping_add(rewrite.payload) as u32;
    if octets > u32::from(hop.mtu).min(limit).max(least) {
        return Err(PuntReason::Length.into());
    }
    // No driver leaves less room in front than the longest header takes.
    perform::perform(Frame::new(context), network, hop, rewrite)
        .map_err(|_| PuntReason::NextHop)?;
    let action = if u16::from(hop.port) == port.number {
        xdp_action::XDP_TX
    } else {
        maps::send(u32::from(hop.port))
    };
    Ok(Sent {
        action,
        octets,
        is_v6: matches!(rewrite.header, NetworkHeader::V6(_)),
    })
}

/// Gives a frame, which is as it came, to who can do more.
#[inline(always)]
fn give_away(context: &XdpContext, port: &Port, reason: NotPlain) -> u32 {
    match reason {
        NotPlain::Pass(PassReason::OwnAddress) => crate::pass(XdpCounter::OwnAddress),
        NotPlain::Pass(PassReason::NotIp | PassReason::NotOurs) => crate::pass(XdpCounter::NotOurs),
        NotPlain::Punt(reason) => {
            maps::count(reason.into(), 1);
            let socket = port.socket(context.rx_queue_index());
            if socket.is_some_and(maps::redirect) {
                maps::count(XdpCounter::Redirected, 1);
                xdp_action::XDP_REDIRECT
            } else {
                maps::count(XdpCounter::NoSocket, 1);
                xdp_action::XDP_DROP
            }
        }
    }
}
