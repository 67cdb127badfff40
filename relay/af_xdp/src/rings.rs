//! The four rings of a socket and the way of a frame through them.
//!
//! Frames go pool -> fill -> RX -> worker -> TX -> completion -> pool, and the ledger of the
//! [`Umem`] is told at each step. No system call happens here, so tests play the kernel in memory.

use std::sync::Arc;

use rustix::net::xdp::XdpDesc;

use crate::frame::Frame;
use crate::mapping::Mapping;
use crate::ring::{Consumer, Producer};
use crate::umem::{SocketId, Umem};

/// Descriptors that were not acceptable; all zero unless the kernel or this program has a bug.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DescriptorErrors {
    /// Entries of the RX ring that named no chunk lent for receiving, or data outside their chunk.
    pub receive: u64,
    /// Entries of the completion ring that named no chunk lent for sending.
    pub completion: u64,
    /// Frames without octets given to `transmit`, freed instead: the kernel would skip their descriptors
    /// and never return the chunks.
    pub empty: u64,
}

/// The rings of one socket, this program's ends.
#[derive(Debug)]
pub(crate) struct Rings {
    pub(crate) socket: SocketId,
    /// The memory that the kernel knows under the addresses on these rings.
    pub(crate) umem: Arc<Mapping>,
    pub(crate) fill: Producer<u64>,
    pub(crate) completion: Consumer<u64>,
    pub(crate) rx: Consumer<XdpDesc>,
    pub(crate) tx: Producer<XdpDesc>,
    pub(crate) errors: DescriptorErrors,
}

impl Rings {
    /// Moves up to `limit` free frames to the fill ring; returns how many.
    pub(crate) fn fill(&mut self, umem: &mut Umem, limit: u32) -> u32 {
        self.check_umem(umem);
        self.fill.produce(limit, || umem.lend_to_fill(self.socket))
    }

    /// Appends up to `limit` received frames to `frames`, and those in which the last packet goes on; returns how many.
    pub(crate) fn receive(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>, limit: u32) -> u32 {
        self.check_umem(umem);
        let mut received = 0;
        let mut wanted = limit;
        while wanted > 0 {
            let mut continues = false;
            let read = self.rx.consume(wanted, |descriptor| {
                match umem.take_received(self.socket, descriptor) {
                    Some(frame) => {
                        continues = frame.continues();
                        frame.fetch_start();
                        frames.push(frame);
                        received += 1;
                    }
                    None => self.errors.receive += 1,
                }
            });
            wanted = u32::from(continues && read > 0);
        }
        received
    }

    /// Moves frames from the front of `frames` to the TX ring until it is full; returns how many. A packet in several frames
    /// goes as a whole or stays.
    pub(crate) fn transmit(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>) -> u32 {
        self.check_umem(umem);
        for empty in frames.extract_if(.., |frame| frame.is_empty()) {
            self.errors.empty += 1;
            umem.free(empty);
        }
        let wanted = u32::try_from(frames.len()).unwrap_or(u32::MAX);
        let mut room = self.tx.reserve(wanted);
        while room > 0 && frames[room as usize - 1].continues() {
            room -= 1;
        }
        let mut leaving = frames.drain(..room as usize);
        self.tx.produce(room, || {
            let frame = leaving.next()?;
            Some(umem.lend_to_transmit(self.socket, frame))
        })
    }

    /// Moves up to `limit` sent frames from the completion ring to the pool; returns how many.
    pub(crate) fn reclaim(&mut self, umem: &mut Umem, limit: u32) -> u32 {
        self.check_umem(umem);
        let mut reclaimed = 0;
        self.completion.consume(limit, |address| {
            if umem.take_completed(self.socket, address) {
                reclaimed += 1;
            } else {
                self.errors.completion += 1;
            }
        });
        reclaimed
    }

    /// An address of another UMEM would let the kernel write into frames that somebody owns.
    fn check_umem(&self, umem: &Umem) {
        assert!(
            Arc::ptr_eq(umem.mapping(), &self.umem),
            "the socket was bound with another UMEM"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, VecDeque};

    use rustix::net::xdp::XdpDescOptions;

    use super::*;
    use crate::ring::tests::pair;
    use crate::umem::{ChunkSize, Ledger};

    const RING: u32 = 8;

    /// The kernel's ends of the rings, and the frames inside the kernel.
    struct Kernel {
        fill: Consumer<u64>,
        completion: Producer<u64>,
        rx: Producer<XdpDesc>,
        tx: Consumer<XdpDesc>,
        empty: VecDeque<u64>,
        sent: VecDeque<u64>,
    }

    impl Kernel {
        fn take_fill(&mut self, limit: u32) {
            self.fill
                .consume(limit, |address| self.empty.push_back(address));
        }

        fn deliver(&mut self, limit: u32, length: u32) {
            self.rx.produce(limit, || {
                let addr = self.empty.pop_front()? + 256;
                Some(descriptor(addr, length))
            });
        }

        fn take_tx(&mut self, limit: u32) {
            self.tx
                .consume(limit, |descriptor| self.sent.push_back(descriptor.addr));
        }

        fn complete(&mut self, limit: u32) {
            self.completion.produce(limit, || self.sent.pop_front());
        }
    }

    fn descriptor(addr: u64, len: u32) -> XdpDesc {
        let options = XdpDescOptions::empty();
        XdpDesc { addr, len, options }
    }

    fn connected(umem: &mut Umem, start: u32) -> (Rings, Kernel) {
        let (fill, kernel_fill) = pair(RING, start);
        let (kernel_completion, completion) = pair(RING, start);
        let (kernel_rx, rx) = pair(RING, start);
        let (tx, kernel_tx) = pair(RING, start);
        let rings = Rings {
            socket: umem.enrol_fake(),
            umem: Arc::clone(umem.mapping()),
            fill,
            completion,
            rx,
            tx,
            errors: DescriptorErrors::default(),
        };
        let kernel = Kernel {
            fill: kernel_fill,
            completion: kernel_completion,
            rx: kernel_rx,
            tx: kernel_tx,
            empty: VecDeque::new(),
            sent: VecDeque::new(),
        };
        (rings, kernel)
    }

    #[test]
    fn a_frame_received_on_one_socket_leaves_by_another() {
        let mut umem = Umem::new(ChunkSize::Octets2048, 4).unwrap();
        let (mut a, mut kernel_a) = connected(&mut umem, 0);
        let (mut b, mut kernel_b) = connected(&mut umem, 0);
        assert_eq!(a.fill(&mut umem, 2), 2);
        kernel_a.take_fill(2);
        kernel_a.deliver(1, 60);

        let mut frames = Vec::new();
        assert_eq!(a.receive(&mut umem, &mut frames, 64), 1);
        frames[0].reshape(-20, 80).unwrap();
        assert_eq!(b.transmit(&mut umem, &mut frames), 1);
        let expected = Ledger {
            free: 2,
            fill: 1,
            transmit: 1,
            worker: 0,
        };
        assert_eq!(umem.ledger(), expected);

        let mut seen = Vec::new();
        kernel_b.tx.consume(8, |descriptor| seen.push(descriptor));
        assert_eq!(seen, [descriptor(236, 80)]);
        kernel_b.completion.produce(1, || Some(236));
        assert_eq!(a.reclaim(&mut umem, 8), 0);
        assert_eq!(b.reclaim(&mut umem, 8), 1);
        assert_eq!(umem.outstanding(), 1);
        assert_eq!(a.errors, DescriptorErrors::default());
        assert_eq!(b.errors, DescriptorErrors::default());
    }

    #[test]
    fn frames_that_do_not_fit_the_tx_ring_stay_in_order() {
        let mut umem = Umem::new(ChunkSize::Octets2048, 16).unwrap();
        let (mut rings, mut kernel) = connected(&mut umem, u32::MAX - 2);
        let mut frames = Vec::new();
        for length in 1..=12 {
            let mut frame = umem.allocate().unwrap();
            frame.set_len(length).unwrap();
            frames.push(frame);
        }
        assert_eq!(rings.transmit(&mut umem, &mut frames), RING);
        let lengths: Vec<usize> = frames.iter().map(Frame::len).collect();
        assert_eq!(lengths, [9, 10, 11, 12]);
        kernel.take_tx(RING);
        assert_eq!(rings.transmit(&mut umem, &mut frames), 4);
        assert_eq!(umem.ledger().transmit, 12);
    }

    #[test]
    fn a_packet_in_several_frames_stays_together() {
        let mut umem = Umem::new(ChunkSize::Octets2048, 24).unwrap();
        let (mut rings, mut kernel) = connected(&mut umem, 0);
        rings.fill(&mut umem, RING);
        kernel.take_fill(RING);
        // Two short packets, and one of three descriptors.
        let mut pieces = [false, false, true, true, false].into_iter();
        kernel.rx.produce(5, || {
            let addr = kernel.empty.pop_front()? + 256;
            let options = match pieces.next()? {
                true => XdpDescOptions::XDP_PKT_CONTD,
                false => XdpDescOptions::empty(),
            };
            let len = 1792;
            Some(XdpDesc { addr, len, options })
        });
        let mut frames = Vec::new();
        assert_eq!(rings.receive(&mut umem, &mut frames, 2), 2);
        assert_eq!(rings.receive(&mut umem, &mut frames, 1), 3);
        let continues: Vec<bool> = frames.iter().map(Frame::continues).collect();
        assert_eq!(continues, [false, false, true, true, false]);

        // With four more in front, the ring has no room for the last of the eleven.
        frames.rotate_left(2);
        for _ in 0..6 {
            let mut frame = umem.allocate().unwrap();
            frame.set_len(60).unwrap();
            frames.insert(0, frame);
        }
        assert_eq!(rings.transmit(&mut umem, &mut frames), 6);
        assert_eq!(frames.len(), 5);
        kernel.take_tx(RING);
        assert_eq!(rings.transmit(&mut umem, &mut frames), 5);
        let mut sent = Vec::new();
        let flags = |descriptor: XdpDesc| sent.push(descriptor.options.bits());
        kernel.tx.consume(RING, flags);
        assert_eq!(sent, [1, 1, 0, 0, 0]);
    }

    #[test]
    fn an_empty_frame_is_freed_and_counted() {
        let mut umem = Umem::new(ChunkSize::Octets2048, 2).unwrap();
        let (mut rings, kernel) = connected(&mut umem, 0);
        let mut frames = vec![umem.allocate().unwrap()];
        assert_eq!(rings.transmit(&mut umem, &mut frames), 0);
        assert_eq!(rings.errors.empty, 1);
        assert_eq!(umem.outstanding(), 0);
        drop(kernel);
    }

    #[test]
    fn wrong_descriptors_are_counted_and_make_no_frame() {
        let mut umem = Umem::new(ChunkSize::Octets2048, 4).unwrap();
        let (mut rings, mut kernel) = connected(&mut umem, 0);
        rings.fill(&mut umem, 2);
        // Chunk 0 comes twice, chunk 1 with data that leaves it, chunk 3 was never lent, 9 is outside.
        let mut wrong = [(256, 60), (256, 60), (2048, 2049), (6400, 60), (18432, 1)].into_iter();
        kernel
            .rx
            .produce(8, || wrong.next().map(|(addr, len)| descriptor(addr, len)));
        let mut frames = Vec::new();
        assert_eq!(rings.receive(&mut umem, &mut frames, 8), 1);
        assert_eq!(rings.errors.receive, 4);
        assert_eq!(
            umem.ledger(),
            Ledger {
                free: 3,
                worker: 1,
                ..Ledger::default()
            }
        );

        rings.transmit(&mut umem, &mut frames);
        let mut wrong = [256, 256, 2048, u64::MAX].into_iter();
        kernel.completion.produce(8, || wrong.next());
        assert_eq!(rings.reclaim(&mut umem, 8), 1);
        assert_eq!(rings.errors.completion, 3);
        assert_eq!(umem.outstanding(), 0);
    }

    #[test]
    #[should_panic(expected = "another UMEM")]
    fn a_socket_does_not_take_frames_of_another_umem() {
        let mut umem = Umem::new(ChunkSize::Octets2048, 1).unwrap();
        let mut other = Umem::new(ChunkSize::Octets2048, 1).unwrap();
        let (mut rings, _kernel) = connected(&mut umem, 0);
        rings.fill(&mut other, 1);
    }

    /// A deterministic stream of numbers (xorshift64).
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, bound: u32) -> u32 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            u32::try_from(self.0 % u64::from(bound)).unwrap()
        }
    }

    /// What each party holds must agree with the ledger, and no chunk may be in two hands.
    fn assert_balanced(umem: &Umem, frames: &[Frame], seed: u64) {
        let ledger = umem.ledger();
        assert_eq!(ledger.total(), 24, "seed {seed}");
        assert_eq!(ledger.worker as usize, frames.len(), "seed {seed}");
        assert_eq!(ledger.free as usize, umem.available(), "seed {seed}");
        let mut held = HashMap::new();
        for frame in frames {
            *held.entry(frame.chunk()).or_insert(0) += 1;
        }
        assert!(held.values().all(|count| *count == 1), "seed {seed}");
    }

    #[test]
    fn no_frame_is_lost_or_doubled_in_any_order_of_steps() {
        for seed in 1..=50 {
            let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15 ^ seed);
            let mut umem = Umem::new(ChunkSize::Octets2048, 24).unwrap();
            let mut sockets: Vec<(Rings, Kernel)> = (0..2)
                .map(|_| connected(&mut umem, u32::MAX - 40))
                .collect();
            let mut frames = Vec::new();
            for _ in 0..2000 {
                let step = numbers.below(10);
                let limit = numbers.below(RING + 2);
                let (rings, kernel) = &mut sockets[numbers.below(2) as usize];
                match step {
                    0 => drop(rings.fill(&mut umem, limit)),
                    1 => kernel.take_fill(limit),
                    2 => kernel.deliver(limit, 60),
                    3 => drop(rings.receive(&mut umem, &mut frames, limit)),
                    4 => drop(rings.transmit(&mut umem, &mut frames)),
                    5 => kernel.take_tx(limit),
                    6 => kernel.complete(limit),
                    7 => drop(rings.reclaim(&mut umem, limit)),
                    8 => frames.pop().into_iter().for_each(|frame| umem.free(frame)),
                    _ => {
                        // A kernel gone mad: any chunk, lent or not, and one outside.
                        let wrong = u64::from(numbers.below(25) * 2048 + 256);
                        kernel.rx.produce(1, || Some(descriptor(wrong, 60)));
                        kernel.completion.produce(1, || Some(wrong));
                    }
                }
                assert_balanced(&umem, &frames, seed);
            }
            for _ in 0..100 {
                for (rings, kernel) in &mut sockets {
                    kernel.take_fill(RING);
                    kernel.deliver(RING, 60);
                    rings.receive(&mut umem, &mut frames, RING);
                    kernel.take_tx(RING);
                    kernel.complete(RING);
                    rings.reclaim(&mut umem, RING);
                }
                frames.drain(..).for_each(|frame| umem.free(frame));
            }
            assert_eq!(
                umem.ledger(),
                Ledger {
                    free: 24,
                    ..Ledger::default()
                },
                "seed {seed}"
            );
            let wrong: u64 = sockets.iter().map(|(rings, _)| rings.errors.receive).sum();
            assert!(wrong > 0, "seed {seed} never tried a wrong descriptor");
        }
    }
}
