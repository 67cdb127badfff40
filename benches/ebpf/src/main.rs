//! The XDP programs of the benchmarks: a generator, a receiver, and what the relay is compared with.

#![no_std]
#![no_main]

mod frame;
mod generate;
#[expect(
    dead_code,
    reason = "the loader's half of what both have in common is not used here"
)]
mod layout;
mod maps;
mod receive;
mod route;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};

/// Sends one frame of the stream, or none if it is not yet time.
#[xdp]
fn generate(context: XdpContext) -> u32 {
    generate::generate(&context).unwrap_or(xdp_action::XDP_DROP)
}

/// Counts a test frame and drops it; leaves others to the kernel.
#[xdp]
fn receive(context: XdpContext) -> u32 {
    receive::receive::<false>(&context).unwrap_or(xdp_action::XDP_PASS)
}

/// The same, and notes how long it was under way.
#[xdp]
fn receive_timed(context: XdpContext) -> u32 {
    receive::receive::<true>(&context).unwrap_or(xdp_action::XDP_PASS)
}

/// Routes a packet; leaves to the kernel what has no next hop.
#[xdp]
fn route(context: XdpContext) -> u32 {
    route::route(&context).unwrap_or(xdp_action::XDP_PASS)
}

/// Leaves everything to the kernel.
#[xdp]
fn pass(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Hands a test frame to the socket of its queue; leaves others to the kernel.
#[xdp]
fn to_socket(context: XdpContext) -> u32 {
    match receive::recognise(&context) {
        Some(_) => maps::to_socket(context.rx_queue_index()),
        None => xdp_action::XDP_PASS,
    }
}

/// Never runs: a program that could reach this endless loop is refused by the verifier.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
