//! The short way of plain packets against the translator's long one. Only memory is needed, neither the kernel nor privileges.

use crate::packets;
use crate::random::SCENARIOS;
use crate::twins::{hex, network};
use relay::link::LinkHeader;
use relay::memory::MemoryFrame;
use relay::perform::{Frame, perform, perform_plain};
use relay::tables::{Paths, Surroundings, Tables};
use relay_core::wire::ethernet::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use relay_core::{NotPlain, Plain, Translator, Verdict};
use std::net::{Ipv4Addr, Ipv6Addr};
use tests::case;
use tests::random::{Random, seed};

/// Frames for each configuration.
const FRAMES: usize = 20_000;
/// What fits through every next hop, in octets.
const MTU: u32 = 1500;

/// A network in which every way is alike.
struct Still;

impl Paths for Still {
    fn is_own_v4(&self, _: Ipv4Addr) -> bool {
        false
    }

    fn is_own_v6(&self, _: Ipv6Addr) -> bool {
        false
    }

    fn mtu_v4(&self, _: Ipv4Addr) -> u32 {
        MTU
    }

    fn mtu_v6(&self, _: Ipv6Addr) -> u32 {
        MTU
    }

    fn own_v4(&self, _: Ipv4Addr) -> Option<Ipv4Addr> {
        None
    }

    fn own_v6(&self, _: Ipv6Addr) -> Option<Ipv6Addr> {
        None
    }
}

/// Goes both ways with a frame; says whether the packet is plain and fits, or what differs.
fn go(tables: &Tables, frame: &[u8]) -> Result<bool, String> {
    let surroundings = Surroundings {
        tables,
        paths: &Still,
        may_be_unfinished: false,
        random: 0,
    };
    let translator = Translator::new(&tables.policy, &surroundings);
    let network = network(frame);
    let packet = &frame[network..];
    let Ok(header) = ethernet::Header::parse(frame) else {
        return Ok(false);
    };
    let (short, long): (Result<Plain, NotPlain>, Verdict) = match header.ethertype {
        ETHERTYPE_IPV4 => (
            translator
                .claim_v4(packet)
                .and_then(|claimed| Ok(translator.plain_v4_to_v6(packet, claimed)?)),
            translator.v4_to_v6(packet),
        ),
        ETHERTYPE_IPV6 => (
            translator
                .claim_v6(packet)
                .and_then(|claimed| Ok(translator.plain_v6_to_v4(packet, claimed)?)),
            translator.v6_to_v4(packet),
        ),
        _ => return Ok(false),
    };
    let plain = match short {
        Ok(plain) => plain,
        Err(NotPlain::Punt(_)) => return Ok(false),
        Err(NotPlain::Pass(reason)) if long == Verdict::Pass(reason) => return Ok(false),
        Err(NotPlain::Pass(reason)) => return Err(format!("{reason:?}, but {long:?}")),
    };
    let Verdict::Forward(rewrite) = &long else {
        let is_told = matches!(long, Verdict::Reply(..) | Verdict::Split(_));
        return match plain.fits(MTU) || !is_told {
            true => Err(format!("{plain:?}, but {long:?}")),
            false => Ok(false),
        };
    };
    if !plain.fits(MTU) {
        return Err(format!("too long, but {long:?}"));
    }
    let mut frames = [MemoryFrame::new(frame, 64), MemoryFrame::new(frame, 64)];
    let [one, other] = &mut frames;
    let done = (
        perform_plain(one, network, &LinkHeader::NONE, &plain),
        perform(other, network, &LinkHeader::NONE, rewrite),
    );
    assert_eq!(done, (Ok(()), Ok(())), "there is room");
    match one.octets() == other.octets() {
        true => Ok(true),
        false => Err(format!("{}\n{}", hex(one.octets()), hex(other.octets()))),
    }
}

#[test]
fn the_short_way_leads_where_the_long_one_does() {
    let mut plain = 0;
    for scenario in &SCENARIOS {
        let (_, tables) = case::configure(&scenario.text(), scenario.eam);
        for number in 0..FRAMES {
            let mut random = Random::new(&format!("short:{}:{number}", scenario.name));
            let frame = packets::make(&mut random, tables.policy.prefix).frame;
            match go(&tables, &frame) {
                Ok(is_plain) => plain += usize::from(is_plain),
                Err(failure) => panic!(
                    "{}, frame {number}: {}\n{failure}\nrepeat with: SIIT_RELAY_SEED={} cargo test -p tests --test equality short",
                    scenario.name,
                    hex(&frame),
                    seed()
                ),
            }
        }
    }
    assert!(
        plain > SCENARIOS.len() * FRAMES / 3,
        "only {plain} packets were plain"
    );
}
