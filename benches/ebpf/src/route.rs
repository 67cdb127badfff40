//! A plain router, the yardstick for a translator: it does all that forwarding needs, and no more.

use aya_ebpf::{
    bindings::{
        bpf_fib_lookup__bindgen_ty_1, bpf_fib_lookup__bindgen_ty_3, bpf_fib_lookup__bindgen_ty_4,
    },
    programs::XdpContext,
};

use crate::frame::{self, Frame};
use crate::maps;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Routes one packet.
#[inline(always)]
pub(crate) fn route(context: &XdpContext) -> Option<u32> {
    let frame = Frame::<34>::new(context)?;
    match u16::from_be_bytes(frame.load::<12, 2>()) {
        0x0800 => route_v4(context, &frame),
        0x86dd => route_v6(context),
        _ => None,
    }
}

#[inline(always)]
fn route_v4(context: &XdpContext, frame: &Frame<34>) -> Option<u32> {
    let [version] = frame.load::<14, 1>();
    let [ttl] = frame.load::<22, 1>();
    if version != 0x45 || ttl <= 1 {
        return None;
    }
    let mut question = frame::question();
    question.family = AF_INET;
    question.ifindex = context.ingress_ifindex() as u32;
    let [protocol] = frame.load::<23, 1>();
    question.l4_protocol = protocol;
    question.__bindgen_anon_1 = bpf_fib_lookup__bindgen_ty_1 {
        tot_len: u16::from_be_bytes(frame.load::<16, 2>()),
    };
    question.__bindgen_anon_3 = bpf_fib_lookup__bindgen_ty_3 {
        ipv4_src: u32::from_ne_bytes(frame.load::<26, 4>()),
    };
    question.__bindgen_anon_4 = bpf_fib_lookup__bindgen_ty_4 {
        ipv4_dst: u32::from_ne_bytes(frame.load::<30, 4>()),
    };
    if !frame::ask(context, &mut question) {
        return None;
    }
    // RFC 1141: the TTL is the high octet of its word, so one less adds 0x0100 to the checksum.
    let checksum = u32::from(u16::from_be_bytes(frame.load::<24, 2>())).wrapping_add(0x0100);
    let checksum = (checksum & 0xffff).wrapping_add(checksum >> 16) as u16;
    frame.store::<24, 2>(checksum.to_be_bytes());
    frame.store::<22, 1>([ttl.wrapping_sub(1)]);
    frame.store::<0, 6>(question.dmac);
    frame.store::<6, 6>(question.smac);
    Some(maps::redirect(question.ifindex))
}

#[inline(always)]
fn route_v6(context: &XdpContext) -> Option<u32> {
    let frame = Frame::<54>::new(context)?;
    let [hop_limit] = frame.load::<21, 1>();
    if hop_limit <= 1 {
        return None;
    }
    let mut question = frame::question();
    question.family = AF_INET6;
    question.ifindex = context.ingress_ifindex() as u32;
    let [next_header] = frame.load::<20, 1>();
    question.l4_protocol = next_header;
    question.__bindgen_anon_1 = bpf_fib_lookup__bindgen_ty_1 {
        tot_len: u16::from_be_bytes(frame.load::<18, 2>()).wrapping_add(40),
    };
    question.__bindgen_anon_3 = bpf_fib_lookup__bindgen_ty_3 {
        ipv6_src: [
            u32::from_ne_bytes(frame.load::<22, 4>()),
            u32::from_ne_bytes(frame.load::<26, 4>()),
            u32::from_ne_bytes(frame.load::<30, 4>()),
            u32::from_ne_bytes(frame.load::<34, 4>()),
        ],
    };
    question.__bindgen_anon_4 = bpf_fib_lookup__bindgen_ty_4 {
        ipv6_dst: [
            u32::from_ne_bytes(frame.load::<38, 4>()),
            u32::from_ne_bytes(frame.load::<42, 4>()),
            u32::from_ne_bytes(frame.load::<46, 4>()),
            u32::from_ne_bytes(frame.load::<50, 4>()),
        ],
    };
    if !frame::ask(context, &mut question) {
        return None;
    }
    frame.store::<21, 1>([hop_limit.wrapping_sub(1)]);
    frame.store::<0, 6>(question.dmac);
    frame.store::<6, 6>(question.smac);
    Some(maps::redirect(question.ifindex))
}
