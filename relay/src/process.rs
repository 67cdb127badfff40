//! What a worker does with one frame: translate, find the next hop, perform. It knows no file descriptor.
//!
//! The caller owns the frame before and after; [`Disposition`] says where it goes from here.

use crate::errors::Task;
use crate::link::LinkHeader;
use crate::paths::Live;
use crate::perform::{Frame, perform, perform_plain};
use crate::routes::{Found, Hop, KernelReason};
use crate::tables::{Paths, Surroundings, Tables};
use crate::tally::Counting;
use relay_core::address::halves;
use relay_core::counters::Counters;
use relay_core::rewrite::NetworkHeader;
use relay_core::wire::ethernet::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use relay_core::wire::{Octets, ipv6};
use relay_core::{Direction, PassReason, Plain, Split, Translator, Verdict};
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where a frame goes after it was processed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Out, as it is.
    Send(Route),
    /// Out, in pieces that [`Fragments`] describes; the frame itself is free then. Boxed, since it happens to few packets and would
    /// make the answer about all others larger.
    Split(Box<Fragments>),
    /// Nowhere; a copy of its packet goes to the control thread.
    Control {
        /// Offset of the packet in the frame, in octets.
        network: usize,
        /// The family in which it arrived.
        direction: Direction,
        /// What is to be done about it.
        task: Task,
    },
    /// Nowhere: the frame is free.
    Discard,
}

/// The way that a packet takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Out of the port with this position.
    Port(usize),
    /// To the kernel, as a packet without a link header.
    Kernel {
        /// Where the packet goes.
        destination: IpAddr,
        /// Why the kernel has to take it.
        reason: HandoverReason,
    },
}

/// How a frame is to be sent in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragments {
    /// The pieces.
    pub split: Split,
    /// Offset of the payload in the frame, in octets.
    pub payload: usize,
    /// What stands in front of each piece.
    pub link: LinkHeader,
    /// The way that all of them take.
    pub route: Route,
}

/// Why the kernel takes a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandoverReason {
    /// The packet is translated; the relay cannot send it on by itself.
    NextHop(KernelReason),
    /// The packet is as it came: it turned out not to be the relay's.
    Passed,
}

/// What frames are processed with: a picture of tables and network, and whoever counts for the mappings.
///
/// Good for a batch: what was counted is told when it goes.
pub struct Processor<'a> {
    tables: &'a Tables,
    live: &'a Live,
    counting: Counting<'a>,
}

impl<'a> Processor<'a> {
    /// Returns a processor that counts for the mappings as the worker with a number.
    pub fn new(tables: &'a Tables, live: &'a Live, worker: usize) -> Self {
        Self {
            tables,
            live,
            counting: tables.tally.counting(worker),
        }
    }

    /// Processes the frame that arrived on some port.
    #[inline]
    pub fn process<F: Frame>(&mut self, frame: &mut F, counters: &mut Counters) -> Disposition {
        let Some(header) = parse_link(frame, counters) else {
            return Disposition::Discard;
        };
        let route = match header.ethertype {
            ETHERTYPE_IPV4 => self.process_plain_v4(frame, header.length, counters),
            ETHERTYPE_IPV6 => self.process_plain_v6(frame, header.length, counters),
            _ => None,
        };
        match route {
            Some(route) => Disposition::Send(route),
            None => self.process_behind(frame, &header, counters),
        }
    }

    /// As [`process`](Self::process), without the short way of plain packets: what becomes of a packet is the same.
    pub fn process_any<F: Frame>(&mut self, frame: &mut F, counters: &mut Counters) -> Disposition {
        match parse_link(frame, counters) {
            Some(header) => self.process_behind(frame, &header, counters),
            None => Disposition::Discard,
        }
    }

    /// Processes the IPv4 packet behind a link header of `network` octets if it is plain, as most are, and fits; else it does nothing
    /// and returns `None`.
    #[inline(always)]
    fn process_plain_v4<F: Frame>(
        &mut self,
        frame: &mut F,
        network: usize,
        counters: &mut Counters,
    ) -> Option<Route> {
        let plain = translate_plain_v4(frame.octets(), network, self.tables, self.live)?;
        self.send_on(frame, network, Direction::V4ToV6, &plain, counters)
    }

    /// As [`process_plain_v4`](Self::process_plain_v4), for an IPv6 packet.
    #[inline(always)]
    fn process_plain_v6<F: Frame>(
        &mut self,
        frame: &mut F,
        network: usize,
        counters: &mut Counters,
    ) -> Option<Route> {
        let plain = translate_plain_v6(frame.octets(), network, self.tables, self.live)?;
        self.send_on(frame, network, Direction::V6ToV4, &plain, counters)
    }

    /// Finds the next hop of a plain packet, performs its translation and counts it, if it fits.
    #[inline(always)]
    fn send_on<F: Frame>(
        &mut self,
        frame: &mut F,
        network: usize,
        direction: Direction,
        plain: &Plain,
        counters: &mut Counters,
    ) -> Option<Route> {
        let (live, routes) = (self.live, &self.live.routes);
        let (mtu, hop) = if plain.is_v6() {
            let destination = plain.destination_v6();
            let found = routes.find_v6(destination);
            let flow = flow_v6(plain.source, plain.destination);
            (
                live.mtu_by_v6(found),
                routes.hop_v6(found, destination, flow),
            )
        } else {
            let destination = plain.destination_v4();
            let found = routes.find_v4(destination);
            let flow = flow_v4(plain.source_v4(), destination);
            (
                live.mtu_by_v4(found),
                routes.hop_v4(found, destination, flow),
            )
        };
        if !plain.fits(mtu) {
            return None;
        }
        let (link, route) = leave_by(hop, || match plain.is_v6() {
            true => plain.destination_v6().into(),
            false => plain.destination_v4().into(),
        });
        perform_plain(frame, network, link, plain).ok()?;
        counters.record_plain(direction, plain);
        self.counting.add(direction, plain.mappings, plain.length());
        Some(route)
    }

    /// Processes any packet behind its link header.
    #[inline(never)]
    fn process_behind<F: Frame>(
        &mut self,
        frame: &mut F,
        header: &ethernet::Header,
        counters: &mut Counters,
    ) -> Disposition {
        let (tables, way) = (self.tables, Way::new(self.live));
        let surroundings = Surroundings {
            tables,
            paths: &way,
            random: 0,
        };
        let translator = Translator::new(&tables.policy, &surroundings);
        let packet = frame.octets().get(header.length..).unwrap_or_default();
        let (direction, verdict) = match header.ethertype {
            ETHERTYPE_IPV4 => (Direction::V4ToV6, translator.v4_to_v6(packet)),
            ETHERTYPE_IPV6 => (Direction::V6ToV4, translator.v6_to_v4(packet)),
            // The XDP program sends nothing else here.
            _ => {
                counters.record_pass(PassReason::NotIp);
                return Disposition::Discard;
            }
        };
        let octets = counters.forwarded_octets(direction);
        counters.record(direction, &verdict);
        let octets = counters.forwarded_octets(direction) - octets;
        if let Verdict::Forward(rewrite) | Verdict::Split(Split { rewrite, .. }) = &verdict {
            let new = [rewrite.header.source(), rewrite.header.destination()];
            let mappings = tables.mappings_of(direction, packet, new);
            self.counting.add(direction, mappings, octets as u32);
        }
        // Taken apart in place: a copy costs as much as a look-up.
        match &verdict {
            Verdict::Forward(rewrite) => {
                let (link, route) = way.next_hop(&rewrite.header);
                match perform(frame, header.length, link, rewrite) {
                    Ok(()) => Disposition::Send(route),
                    // The kernel leaves 256 octets in front of every packet; headers grow by 36 at most.
                    Err(_) => Disposition::Discard,
                }
            }
            Verdict::Split(split) => {
                let (link, route) = way.next_hop(&split.rewrite.header);
                let payload = header.length + split.rewrite.cut;
                Disposition::Split(Box::new(Fragments {
                    split: *split,
                    payload,
                    link: *link,
                    route,
                }))
            }
            Verdict::IcmpError => Disposition::Control {
                network: header.length,
                direction,
                task: Task::Translate,
            },
            Verdict::Reply(reason, reply) => Disposition::Control {
                network: header.length,
                direction,
                task: Task::Reply(*reason, *reply),
            },
            Verdict::Pass(_) => pass(frame, header.length, direction),
            Verdict::Drop(_) => Disposition::Discard,
        }
    }
}

/// Parses the link header of a frame; what has none is counted.
#[inline(always)]
fn parse_link<F: Frame>(frame: &F, counters: &mut Counters) -> Option<ethernet::Header> {
    let header = ethernet::Header::parse(frame.octets()).ok();
    if header.is_none() {
        counters.record_pass(PassReason::NotIp);
    }
    header
}

/// Translates the IPv4 packet behind a link header of `network` octets if it is plain; `paths` know the machine's own addresses.
#[inline(always)]
pub fn translate_plain_v4(
    frame: &[u8],
    network: usize,
    tables: &Tables,
    paths: &impl Paths,
) -> Option<Plain> {
    let surroundings = Surroundings {
        tables,
        paths,
        random: 0,
    };
    let translator = Translator::new(&tables.policy, &surroundings);
    let packet = frame.get(network..)?;
    let claimed = translator.claim_v4(packet).ok()?;
    translator.plain_v4_to_v6(packet, claimed).ok()
}

/// As [`translate_plain_v4`], for an IPv6 packet.
#[inline(always)]
pub fn translate_plain_v6(
    frame: &[u8],
    network: usize,
    tables: &Tables,
    paths: &impl Paths,
) -> Option<Plain> {
    let surroundings = Surroundings {
        tables,
        paths,
        random: 0,
    };
    let translator = Translator::new(&tables.policy, &surroundings);
    let packet = frame.get(network..)?;
    let claimed = translator.claim_v6(packet).ok()?;
    translator.plain_v6_to_v4(packet, claimed).ok()
}

/// The network as one packet sees it: the route that the translator asks for is kept for the next hop.
struct Way<'a> {
    live: &'a Live,
    found_v4: Cell<Option<(Ipv4Addr, Found<'a>)>>,
    found_v6: Cell<Option<(Ipv6Addr, Found<'a>)>>,
}

impl<'a> Way<'a> {
    #[inline(always)]
    fn new(live: &'a Live) -> Self {
        Self {
            live,
            found_v4: Cell::new(None),
            found_v6: Cell::new(None),
        }
    }

    /// Returns the way of a packet with this header, and the link header for it.
    #[inline(always)]
    fn next_hop(&self, header: &NetworkHeader) -> (&'a LinkHeader, Route) {
        let routes = &self.live.routes;
        let hop = match header {
            NetworkHeader::V4(header) => {
                let destination = header.destination;
                let flow = flow_v4(header.source, destination);
                let found = match self.found_v4.get() {
                    Some((asked, found)) if asked == destination => found,
                    Some(_) | None => routes.find_v4(destination),
                };
                routes.hop_v4(found, destination, flow)
            }
            NetworkHeader::V6(header) | NetworkHeader::V6Fragment(header, _) => {
                let destination = header.destination;
                let flow = flow_v6(halves(header.source), halves(destination));
                let found = match self.found_v6.get() {
                    Some((asked, found)) if asked == destination => found,
                    Some(_) | None => routes.find_v6(destination),
                };
                routes.hop_v6(found, destination, flow)
            }
        };
        leave_by(hop, || header.destination())
    }
}

/// Returns the link header and the way of a packet with this next hop. `destination` is where it goes in the end.
#[inline(always)]
fn leave_by<'a>(hop: Hop<'a>, destination: impl FnOnce() -> IpAddr) -> (&'a LinkHeader, Route) {
    match hop {
        Hop::Direct(hop) => (hop.link(), Route::Port(hop.port)),
        Hop::Kernel(reason) => {
            let route = Route::Kernel {
                destination: destination(),
                reason: HandoverReason::NextHop(reason),
            };
            (&LinkHeader::NONE, route)
        }
    }
}

/// Returns the same number for all packets between two IPv4 hosts in one direction.
#[inline(always)]
fn flow_v4(source: Ipv4Addr, destination: Ipv4Addr) -> u32 {
    source.to_bits() ^ destination.to_bits().rotate_left(16)
}

/// Returns the same number for all packets between two IPv6 hosts, whose addresses are given in halves, in one direction.
#[inline(always)]
fn flow_v6([s0, s1]: [u64; 2], [d0, d1]: [u64; 2]) -> u32 {
    let both = s0 ^ s1 ^ (d0 ^ d1).rotate_left(32);
    (both ^ both >> 32) as u32
}

impl Paths for Way<'_> {
    #[inline(always)]
    fn is_own_v4(&self, address: Ipv4Addr) -> bool {
        self.live.is_own_v4(address)
    }

    #[inline(always)]
    fn is_own_v6(&self, address: Ipv6Addr) -> bool {
        self.live.is_own_v6(address)
    }

    #[inline(always)]
    fn mtu_v4(&self, destination: Ipv4Addr) -> u32 {
        let found = self.live.routes.find_v4(destination);
        self.found_v4.set(Some((destination, found)));
        self.live.mtu_by_v4(found)
    }

    #[inline(always)]
    fn mtu_v6(&self, destination: Ipv6Addr) -> u32 {
        let found = self.live.routes.find_v6(destination);
        self.found_v6.set(Some((destination, found)));
        self.live.mtu_by_v6(found)
    }

    fn own_v4(&self, destination: Ipv4Addr) -> Option<Ipv4Addr> {
        self.live.own_v4(destination)
    }

    fn own_v6(&self, destination: Ipv6Addr) -> Option<Ipv6Addr> {
        self.live.own_v6(destination)
    }
}

/// Strips the link header of a packet that is the kernel's after all, as when an address was given to the
/// machine a moment ago.
fn pass<F: Frame>(frame: &mut F, network: usize, direction: Direction) -> Disposition {
    let packet = frame.octets().get(network..).unwrap_or_default();
    let field = |at| packet.load(at).map(u16::from_be_bytes).map(usize::from);
    let (destination, length) = match direction {
        Direction::V4ToV6 => (packet.load::<4>(16).map(IpAddr::from), field(2)),
        Direction::V6ToV4 => {
            let payload = field(4);
            let length = payload.map(|payload| ipv6::HEADER_LENGTH + payload);
            (packet.load::<16>(24).map(IpAddr::from), length)
        }
    };
    let (Some(destination), Some(length)) = (destination, length) else {
        return Disposition::Discard;
    };
    // What the link added behind the packet would become a part of it.
    let is_whole = length <= packet.len();
    if !is_whole || frame.reshape(network as i32, length).is_err() {
        return Disposition::Discard;
    }
    let reason = HandoverReason::Passed;
    Disposition::Send(Route::Kernel {
        destination,
        reason,
    })
}
