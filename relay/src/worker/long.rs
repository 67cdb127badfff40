//! Packets that lie in several frames, because they are longer than a chunk of the UMEM: jumbo frames.
//!
//! They are copied into one piece of memory, processed there like any other, and cut into frames again. That is not fast;
//! who translates jumbo frames moves many octets by few packets.

use super::Worker;
use crate::link::LinkHeader;
use crate::memory::MemoryFrame;
use crate::perform::{Frame as _, perform_piece};
use crate::process::{Disposition, Fragments, Processor, Route};
use af_xdp::{Frame, PACKET_HEADROOM};
use relay_core::rewrite::Piece;

/// The most frames that a packet can lie in: the kernel's MAX_SKB_FRAGS, which is 17 or more.
const MOST_FRAMES: usize = 17;

impl Worker {
    /// Processes a packet whose first frame is at hand and whose others come next, and puts it where it goes.
    pub(super) fn dispatch_long(
        &mut self,
        first: Frame,
        rest: &mut impl Iterator<Item = Frame>,
        processor: &mut Processor<'_>,
    ) {
        let Some(octets) = self.gather(first, rest) else {
            self.counters.lost_too_long += 1;
            return;
        };
        let mut packet = MemoryFrame::new(&octets, PACKET_HEADROOM as usize);
        match processor.process(&mut packet, &mut self.counters.verdicts) {
            Disposition::Send(route) => self.send_long(packet.octets(), route),
            Disposition::Split(fragments) => self.send_pieces(packet.octets(), &fragments),
            Disposition::Control {
                network,
                direction,
                task,
            } => {
                let packet = packet.octets().get(network..).unwrap_or_default();
                self.request(packet, direction, task);
            }
            Disposition::Discard => {}
        }
    }

    /// Puts together what lies in several frames, and frees them; `None` if the last of them is missing.
    fn gather(&mut self, first: Frame, rest: &mut impl Iterator<Item = Frame>) -> Option<Vec<u8>> {
        let mut octets = Vec::new();
        let mut next = Some(first);
        while let Some(frame) = next {
            let continues = frame.continues();
            octets.extend_from_slice(frame.octets());
            self.umem.free(frame);
            if !continues {
                return Some(octets);
            }
            next = rest.next();
        }
        None
    }

    /// Puts a packet on its way that may be longer than a chunk.
    fn send_long(&mut self, octets: &[u8], route: Route) {
        match route {
            Route::Port(port) => self.scatter(octets, port),
            Route::Kernel {
                destination,
                reason,
            } => self.hand_over(octets, destination, reason),
        }
    }

    /// Makes a fragment that is longer than a chunk, and puts it on its way.
    pub(super) fn send_long_piece(&mut self, fragments: &Fragments, piece: &Piece, payload: &[u8]) {
        let mut packet = MemoryFrame::new(&[], 0);
        let link: &LinkHeader = &fragments.link;
        match perform_piece(&mut packet, link, piece, payload) {
            Ok(()) => self.send_long(packet.octets(), fragments.route),
            Err(_) => self.counters.lost_no_frame += 1,
        }
    }

    /// Cuts a packet into frames and puts them on their way out of a port.
    fn scatter(&mut self, octets: &[u8], port: usize) {
        let Some(Some(sender)) = self.senders.get(port).copied() else {
            self.counters.lost_transmit_full += 1;
            return;
        };
        let room = (self.umem.chunk_size().octets() - PACKET_HEADROOM) as usize;
        let count = octets.len().div_ceil(room);
        let may_be_cut = self.sockets[sender].socket.is_multi_buffer() && count <= MOST_FRAMES;
        if count > 1 && !may_be_cut {
            self.counters.lost_too_long += 1;
            return;
        }
        if self.umem.available() < count {
            self.counters.lost_no_frame += 1;
            return;
        }
        for (number, part) in (1..).zip(octets.chunks(room)) {
            // As many as there are were counted, and each holds as much.
            let Some(mut frame) = self.umem.allocate() else {
                return;
            };
            if frame.set_len(part.len()).is_ok() {
                frame.octets_mut().copy_from_slice(part);
            }
            frame.set_continues(number < count);
            self.outgoing[sender].push(frame);
        }
        self.counters.transmitted_frames += 1;
        self.queues[sender].transmitted_frames += 1;
    }
}
