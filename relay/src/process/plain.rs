//! The short way of plain packets, which most are: no verdict on the way, but the words of the new header at once.

use super::next_hop::{flow_v4, flow_v6, leave_by};
use super::{Processor, Route};
use crate::perform::{Frame, perform_plain};
use crate::tables::{Paths, Surroundings};
use relay_core::counters::Counters;
use relay_core::wire::ethernet::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use relay_core::{Direction, Plain, Translator};

impl Processor<'_> {
    /// Processes the packet behind a link header if it is plain and fits; else it does nothing and returns `None`.
    ///
    /// Each direction has this code for itself: what holds for one of them need not be found out again at each step.
    #[inline(always)]
    pub(super) fn process_plain<F: Frame>(
        &mut self,
        frame: &mut F,
        header: &ethernet::Header,
        counters: &mut Counters,
    ) -> Option<Route> {
        match header.ethertype {
            ETHERTYPE_IPV4 => self.forward(frame, header.length, Direction::V4ToV6, counters),
            ETHERTYPE_IPV6 => self.forward(frame, header.length, Direction::V6ToV4, counters),
            _ => None,
        }
    }

    /// As [`process_plain`](Self::process_plain), for the direction of the packet's family.
    #[inline(always)]
    fn forward<F: Frame>(
        &mut self,
        frame: &mut F,
        network: usize,
        direction: Direction,
        counters: &mut Counters,
    ) -> Option<Route> {
        let surroundings = self.surroundings(self.live);
        let plain = translate_plain(frame.octets(), network, direction, surroundings)?;
        self.send_on(frame, network, direction, &plain, counters)
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
}

/// Translates the packet behind a link header of `network` octets in a direction if it is plain.
#[inline(always)]
pub fn translate_plain(
    frame: &[u8],
    network: usize,
    direction: Direction,
    surroundings: Surroundings<'_, impl Paths>,
) -> Option<Plain> {
    let translator = Translator::new(&surroundings.tables.policy, &surroundings);
    let packet = frame.get(network..)?;
    match direction {
        Direction::V4ToV6 => {
            let claimed = translator.claim_v4(packet).ok()?;
            translator.plain_v4_to_v6(packet, claimed).ok()
        }
        Direction::V6ToV4 => {
            let claimed = translator.claim_v6(packet).ok()?;
            translator.plain_v6_to_v4(packet, claimed).ok()
        }
    }
}
