//! A look at packets on their way, for `trace` and `capture`: each as it came, what it was counted as, and as it left.
//!
//! While nobody looks, a worker asks for one flag before each batch. While somebody does, packets are copied for them until
//! their allowance is used up, over a bounded channel; translation never waits for whoever looks. What became of a
//! packet is read off the counter that moved, so a look shows just what is counted.

use crate::memory::MemoryFrame;
use crate::offline::Link;
use crate::perform::{Frame, perform_piece};
use crate::process::{Disposition, Fragments, HandoverReason, Route};
use arc_swap::ArcSwapOption;
use crossbeam::channel::Sender;
use ipnet::IpNet;
use relay_core::Direction;
use relay_core::counters::{Counters, Name};
use relay_core::wire::{Octets, ethernet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::SystemTime;

/// A packet or frame, copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The interface that it came in or went out by, or who has it.
    pub whereabouts: String,
    /// What it begins with.
    pub link: Link,
    /// Its octets, as many as are wanted.
    pub octets: Vec<u8>,
    /// Its length in octets.
    pub length: usize,
}

/// A packet that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// When it was.
    pub at: SystemTime,
    /// What it was counted as.
    pub counter: Name,
    /// The packet as it came.
    pub before: Copied,
    /// What left because of it: nothing, the translated packet, its fragments, or an ICMP error.
    pub after: Vec<Copied>,
}

/// Which packets are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Those from or to an address in this prefix, as they came; `None` for all.
    pub network: Option<IpNet>,
    /// Those that were counted so; `None` for all.
    pub counters: Option<Vec<Name>>,
}

/// Somebody who looks.
#[derive(Debug)]
pub struct Tap {
    filter: Filter,
    /// The most octets that are copied of a packet.
    snap: usize,
    sightings: Sender<Sighting>,
    allowance: AtomicU32,
    not_shown: AtomicU64,
}

/// A packet that is being looked at.
pub struct Look<'t> {
    tap: &'t Tap,
    before: Copied,
    counters: Counters,
}

impl Tap {
    /// Returns somebody who looks and is sent what they see; without any allowance yet.
    pub fn new(filter: Filter, snap: usize, sightings: Sender<Sighting>) -> Self {
        Self {
            filter,
            snap,
            sightings,
            allowance: AtomicU32::new(0),
            not_shown: AtomicU64::new(0),
        }
    }

    /// Allows that many packets from here on.
    pub fn allow(&self, packets: u32) {
        self.allowance.store(packets, Ordering::Relaxed);
    }

    /// Returns how many wanted packets were not shown since this was asked last.
    pub fn take_not_shown(&self) -> u64 {
        self.not_shown.swap(0, Ordering::Relaxed)
    }

    /// Begins to look at a packet that is about to be processed; `None` if it is not wanted. `counters` are those that will
    /// tell what became of it.
    pub fn look(
        &self,
        whereabouts: &str,
        link: Link,
        octets: &[u8],
        counters: &Counters,
    ) -> Option<Look<'_>> {
        if let Some(network) = &self.filter.network
            && !addresses(link, octets)
                .into_iter()
                .flatten()
                .any(|address| network.contains(&address))
        {
            return None;
        }
        Some(Look {
            tap: self,
            before: self.copy(whereabouts, link, octets),
            counters: *counters,
        })
    }

    fn copy(&self, whereabouts: &str, link: Link, octets: &[u8]) -> Copied {
        Copied {
            whereabouts: whereabouts.to_owned(),
            link,
            octets: octets[..octets.len().min(self.snap)].to_vec(),
            length: octets.len(),
        }
    }
}

impl Look<'_> {
    /// Ends the look at a frame that was processed: `octets` are the frame as it is by now. `port` names the interface of a port.
    pub fn end<'p>(
        self,
        disposition: &Disposition,
        octets: &[u8],
        counters: &Counters,
        port: impl Fn(usize) -> &'p str,
    ) {
        let Some(name) = moved(&self.counters, counters) else {
            // An ICMP error: it is looked at where it is translated.
            return;
        };
        let copy = |route: &Route, octets: &[u8]| match route {
            Route::Port(number) => self.tap.copy(port(*number), Link::Ethernet, octets),
            Route::Kernel { reason, .. } => {
                let whereabouts = match reason {
                    HandoverReason::NextHop(reason) => format!("kernel: {}", reason.name()),
                    HandoverReason::Passed => "kernel: as it came".to_owned(),
                };
                self.tap.copy(&whereabouts, Link::Raw, octets)
            }
        };
        let after = match disposition {
            Disposition::Send(route) => vec![copy(route, octets)],
            Disposition::Split(fragments) => pieces(fragments, octets)
                .map(|piece| copy(&fragments.route, piece.octets()))
                .collect(),
            Disposition::Control { .. } | Disposition::Discard => Vec::new(),
        };
        self.show(name, after);
    }

    /// Ends the look at a packet that the control thread has dealt with, and about which it has sent `sent` to the kernel.
    pub fn end_at_control(self, sent: Option<&[u8]>, counters: &Counters) {
        let Some(name) = moved(&self.counters, counters) else {
            return;
        };
        let copy = |octets| self.tap.copy("kernel: ICMP error", Link::Raw, octets);
        let after = sent.map(copy).into_iter().collect();
        self.show(name, after);
    }

    fn show(self, counter: Name, after: Vec<Copied>) {
        let Self { tap, before, .. } = self;
        let wanted = tap.filter.counters.as_ref();
        if wanted.is_some_and(|wanted| !wanted.contains(&counter)) {
            return;
        }
        let take_one = |left: u32| left.checked_sub(1);
        let is_allowed = tap
            .allowance
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take_one)
            .is_ok();
        let sighting = Sighting {
            at: SystemTime::now(),
            counter,
            before,
            after,
        };
        if !is_allowed || tap.sightings.try_send(sighting).is_err() {
            tap.not_shown.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Builds the fragments as the worker does.
fn pieces<'f>(
    fragments: &'f Fragments,
    octets: &'f [u8],
) -> impl Iterator<Item = MemoryFrame> + 'f {
    let payload = octets.get(fragments.payload..).unwrap_or_default();
    fragments.split.pieces().filter_map(move |piece| {
        let mut frame = MemoryFrame::new(&[], 0);
        perform_piece(&mut frame, &fragments.link, &piece, payload).ok()?;
        Some(frame)
    })
}

/// Returns the counter that tells what became of the packet between two states of the counters.
fn moved(before: &Counters, after: &Counters) -> Option<Name> {
    let mut pairs = before.iter().zip(after.iter());
    pairs
        .find(|((_, before), (_, after))| before != after)
        .map(|((name, _), _)| name)
}

/// Returns where the network header of a copied packet begins, and its direction.
pub fn network(link: Link, octets: &[u8]) -> Option<(usize, Direction)> {
    let start = match link {
        Link::Ethernet => ethernet::Header::parse(octets).ok()?.length,
        Link::Raw => 0,
    };
    match octets.get(start)? >> 4 {
        4 => Some((start, Direction::V4ToV6)),
        6 => Some((start, Direction::V6ToV4)),
        _ => None,
    }
}

/// Returns source and destination of a packet.
pub fn addresses(link: Link, octets: &[u8]) -> Option<[IpAddr; 2]> {
    let (start, direction) = network(link, octets)?;
    let packet = octets.get(start..)?;
    Some(match direction {
        Direction::V4ToV6 => [packet.load::<4>(12)?.into(), packet.load::<4>(16)?.into()],
        Direction::V6ToV4 => [packet.load::<16>(8)?.into(), packet.load::<16>(24)?.into()],
    })
}

/// The place where somebody who looks can stand: one at a time.
#[derive(Debug, Default)]
pub struct TapPlace {
    is_taken: AtomicBool,
    tap: ArcSwapOption<Tap>,
}

impl TapPlace {
    /// Returns who looks, if anybody. Costs one relaxed load if nobody does.
    #[inline]
    pub fn tap(&self) -> Option<Arc<Tap>> {
        match self.is_taken.load(Ordering::Relaxed) {
            false => None,
            true => self.tap.load_full(),
        }
    }

    /// Lets somebody look, for as long as what is returned lives; `None` if somebody does already.
    pub fn take(&self, tap: Arc<Tap>) -> Option<Looking<'_>> {
        let free = self
            .is_taken
            .compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed);
        free.ok()?;
        self.tap.store(Some(tap));
        Some(Looking(self))
    }
}

/// Somebody looks. Dropping it ends that.
#[derive(Debug)]
pub struct Looking<'p>(&'p TapPlace);

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.0.tap.store(None);
        self.0.is_taken.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam::channel::bounded;
    use relay_core::{DropReason, PassReason, Verdict};

    fn packet() -> Vec<u8> {
        let mut packet = vec![0; 20];
        packet[0] = 0x45;
        packet[12..20].copy_from_slice(&[203, 0, 113, 50, 192, 0, 2, 1]);
        packet
    }

    #[test]
    fn wanted_packets_are_shown_until_the_allowance_is_used_up() {
        let (sender, receiver) = bounded(10);
        let filter = Filter {
            network: Some("192.0.2.0/24".parse().unwrap()),
            counters: Some(vec![Name::Dropped(Direction::V4ToV6, DropReason::HopLimit)]),
        };
        let tap = Tap::new(filter, 16, sender);
        tap.allow(2);
        let mut counters = Counters::ZERO;
        let mut deal_with = |verdict: &Verdict, octets: &[u8]| {
            let look = tap.look("north", Link::Raw, octets, &counters);
            counters.record(Direction::V4ToV6, verdict);
            if let Some(look) = look {
                look.end(&Disposition::Discard, octets, &counters, |_| "");
            }
        };
        let dropped = Verdict::Drop(DropReason::HopLimit);
        for _ in 0..3 {
            deal_with(&dropped, &packet());
        }
        deal_with(&Verdict::Pass(PassReason::NotOurs), &packet());
        let mut stranger = packet();
        stranger[16..20].copy_from_slice(&[198, 51, 100, 1]);
        deal_with(&dropped, &stranger);
        deal_with(&dropped, &[0x45]);
        let seen: Vec<Sighting> = receiver.try_iter().collect();
        assert_eq!((seen.len(), tap.take_not_shown()), (2, 1));
        assert_eq!(seen[0].before.octets.len(), 16);
        assert_eq!(seen[0].before.length, 20);
        assert_eq!(seen[0].counter.to_string(), "drop_v4_to_v6_hop_limit");
    }

    #[test]
    fn one_looks_at_a_time() {
        let (sender, _receiver) = bounded(1);
        let place = TapPlace::default();
        let tap = || Arc::new(Tap::new(Filter::default(), 0, sender.clone()));
        assert!(place.tap().is_none());
        let looking = place.take(tap()).unwrap();
        assert!(place.tap().is_some() && place.take(tap()).is_none());
        drop(looking);
        assert!(place.tap().is_none() && place.take(tap()).is_some());
    }
}
