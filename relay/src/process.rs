//! What a worker does with one frame: translate, find the next hop, perform. It knows no file descriptor.
//!
//! The caller owns the frame before and after; [`Disposition`] says where it goes from here.

mod next_hop;
mod plain;
mod unfinished;

use crate::errors::Task;
use crate::link::LinkHeader;
use crate::paths::Live;
use crate::perform::{Frame, perform};
use crate::routes::KernelReason;
use crate::tables::{Surroundings, Tables};
use crate::tally::Counting;
use next_hop::Way;
pub use plain::translate_plain;
use relay_core::counters::Counters;
use relay_core::wire::ethernet::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use relay_core::wire::{Octets, ipv6};
use relay_core::{Direction, PassReason, Split, Translator, Verdict};
use std::net::IpAddr;

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
    may_be_unfinished: bool,
}

impl<'a> Processor<'a> {
    /// Returns a processor that counts for the mappings as the worker with a number. `may_be_unfinished` says whether packets come
    /// with unfinished checksums.
    pub fn new(tables: &'a Tables, live: &'a Live, worker: usize, may_be_unfinished: bool) -> Self {
        Self {
            tables,
            live,
            counting: tables.tally.counting(worker),
            may_be_unfinished,
        }
    }

    /// Returns the surroundings of the translator, with the network as somebody sees it.
    #[inline(always)]
    fn surroundings<'b, P>(&self, paths: &'b P) -> Surroundings<'b, P>
    where
        'a: 'b,
    {
        Surroundings {
            tables: self.tables,
            paths,
            may_be_unfinished: self.may_be_unfinished,
            random: 0,
        }
    }

    /// Processes the frame that arrived on some port.
    #[inline]
    pub fn process<F: Frame>(&mut self, frame: &mut F, counters: &mut Counters) -> Disposition {
        let Some(header) = parse_link(frame, counters) else {
            return Disposition::Discard;
        };
        match self.process_plain(frame, &header, counters) {
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

    /// Processes any packet behind its link header.
    #[inline(never)]
    fn process_behind<F: Frame>(
        &mut self,
        frame: &mut F,
        header: &ethernet::Header,
        counters: &mut Counters,
    ) -> Disposition {
        if self.may_be_unfinished
            && let Some(packet) = frame.octets_mut().get_mut(header.length..)
        {
            unfinished::finish(packet);
        }
        let (tables, way) = (self.tables, Way::new(self.live));
        let surroundings = self.surroundings(&way);
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
