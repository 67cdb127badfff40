//! The XDP program: decides in the driver whether a frame is the relay's, and hands it to a worker if so.
//!
//! Whatever is not the relay's stays the kernel's (XDP_PASS): ARP, Neighbor Discovery, routing protocols, native IPv6. A
//! packet that is the relay's is never passed, since the kernel would route it untranslated. Nothing is translated here, and
//! the IP headers are not checked: the worker does both.

#![no_std]
#![no_main]

mod frame;
mod maps;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use eam_tables::layout::{Ownership, Port, XdpCounter};
use relay_core::wire::{
    Octets,
    ethernet::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6},
};

use crate::frame::Frame;

/// Offset of the destination address in an IPv4 header (RFC 791, 3.1), in octets.
const DESTINATION_V4: usize = 16;
/// Offset of the destination address in an IPv6 header (RFC 8200, 3), in octets.
const DESTINATION_V6: usize = 24;

/// The entry: steers one frame, and counts it once.
#[xdp(frags)]
fn siit_relay(context: XdpContext) -> u32 {
    let (action, counter) = match claim(&context) {
        Ok(port) => match port.socket(context.rx_queue_index()) {
            Some(socket) if maps::redirect(socket) => {
                (xdp_action::XDP_REDIRECT, XdpCounter::Redirected)
            }
            Some(_) | None => (xdp_action::XDP_DROP, XdpCounter::NoSocket),
        },
        Err(reason) => (xdp_action::XDP_PASS, reason),
    };
    maps::count(counter);
    action
}

/// Returns the port that the frame came in by, if its packet is the relay's; else why it is not.
#[inline(always)]
fn claim(context: &XdpContext) -> Result<Port, XdpCounter> {
    let port = maps::port(context.ingress_ifindex() as u32).ok_or(XdpCounter::NotAPort)?;
    let frame = Frame::new(context);
    let header = ethernet::Header::parse(&frame).map_err(|_| XdpCounter::Malformed)?;
    let ownership = match header.ethertype {
        ETHERTYPE_IPV4 => {
            sent_to(&port, &header)?;
            maps::ownership_v4(destination(&frame, &header, DESTINATION_V4)?)
        }
        ETHERTYPE_IPV6 => {
            sent_to(&port, &header)?;
            maps::ownership_v6(destination(&frame, &header, DESTINATION_V6)?)
        }
        _ => return Err(XdpCounter::NotIp),
    };
    match ownership {
        Ownership::Relay => Ok(port),
        Ownership::Kernel => Err(XdpCounter::NotOurs),
    }
}

/// Checks that the frame was sent to the port's own hardware address.
///
/// RFC 1812, 5.3.4: "A router MUST NOT forward any packet that the router received as a Link Layer broadcast". Link layer
/// multicast is forbidden likewise, and what a promiscuous interface overhears is meant for somebody else.
#[inline(always)]
fn sent_to(port: &Port, header: &ethernet::Header) -> Result<(), XdpCounter> {
    if header.destination == port.mac {
        Ok(())
    } else {
        Err(XdpCounter::OtherStation)
    }
}

/// Reads the destination address, which lies at the offset `at` of the network header.
#[inline(always)]
fn destination<const N: usize>(
    frame: &Frame<'_>,
    header: &ethernet::Header,
    at: usize,
) -> Result<[u8; N], XdpCounter> {
    frame
        .load(header.length.wrapping_add(at))
        .ok_or(XdpCounter::Malformed)
}

/// Never runs: a program that could reach this endless loop is refused by the verifier.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
