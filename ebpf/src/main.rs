//! The XDP program: decides in the driver whether a frame is the relay's, translates it there if it is plain, and hands it to a
//! worker if not.
//!
//! Whatever is not the relay's stays the kernel's (XDP_PASS): ARP, Neighbor Discovery, routing protocols, native IPv6. A
//! packet that is the relay's is never passed untranslated, since the kernel would route it. `relay_core` says what becomes of a
//! packet; this program performs it, or leaves the packet whole to the worker.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)] // what the compiler must not know, it is told in no other way

mod direction;
mod frame;
mod maps;
mod next_hop;
mod opaque;
mod perform;
mod scratch;
mod surroundings;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use eam_tables::layout::XdpCounter;
use relay_core::wire::ethernet::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6};

use crate::frame::Frame;

/// The entry: processes one frame.
#[xdp(frags)]
fn siit_relay(context: XdpContext) -> u32 {
    let Some(port) = maps::port(context.ingress_ifindex() as u32) else {
        return pass(XdpCounter::NotAPort);
    };
    let Ok(header) = ethernet::Header::parse(&Frame::new(&context)) else {
        return pass(XdpCounter::Malformed);
    };
    let is_v4 = match header.ethertype {
        ETHERTYPE_IPV4 => true,
        ETHERTYPE_IPV6 => false,
        _ => return pass(XdpCounter::NotIp),
    };
    // RFC 1812, 5.3.4: "A router MUST NOT forward any packet that the router received as a Link Layer broadcast". Link layer
    // multicast is forbidden likewise, and what a promiscuous interface overhears is meant for somebody else.
    if words(header.destination) != words(port.mac) {
        return pass(XdpCounter::OtherStation);
    }
    direction::process(&context, port, header.length, is_v4)
}

/// Returns a hardware address in two numbers, which are compared in two steps.
#[inline(always)]
fn words([a, b, c, d, e, f]: ethernet::Address) -> (u32, u16) {
    (u32::from_ne_bytes([a, b, c, d]), u16::from_ne_bytes([e, f]))
}

/// Leaves a frame to the kernel.
#[inline(always)]
fn pass(reason: XdpCounter) -> u32 {
    maps::count(reason, 1);
    xdp_action::XDP_PASS
}

/// Never runs: a program that could reach this endless loop is refused by the verifier.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
