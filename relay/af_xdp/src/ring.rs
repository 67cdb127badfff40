//! The two ends of a ring: a producer that hands entries over, a consumer that takes them.
//!
//! Cursors are free-running `u32` and wrap; their difference is the fill level. Each end keeps its own
//! cursor and the last one it saw of the other side, and touches the shared cache line once a batch. A
//! cursor from the other side is not trusted: one that makes no sense yields an idle ring or stale
//! entries, never an access outside the ring. (Kernel: Documentation/networking/af_xdp.rst, "Rings".)

use crate::ring_memory::{Descriptor, RingMemory};

/// The end that writes entries (fill and TX).
#[derive(Debug)]
pub(crate) struct Producer<T> {
    memory: RingMemory<T>,
    cursor: u32,
    seen_consumer: u32,
}

impl<T: Descriptor> Producer<T> {
    pub(crate) fn new(memory: RingMemory<T>) -> Self {
        let cursor = memory.load_producer();
        let seen_consumer = memory.load_consumer();
        Self {
            memory,
            cursor,
            seen_consumer,
        }
    }

    /// How many of `wanted` entries there is room for.
    pub(crate) fn reserve(&mut self, wanted: u32) -> u32 {
        if self.vacant() < wanted {
            self.seen_consumer = self.memory.load_consumer();
        }
        self.vacant().min(wanted)
    }

    /// Writes what `next` yields, at most `wanted` entries and at most what there is room for, and hands
    /// the whole batch over at once. Returns the number of entries written.
    pub(crate) fn produce(&mut self, wanted: u32, mut next: impl FnMut() -> Option<T>) -> u32 {
        let room = self.reserve(wanted);
        let mut written = 0;
        while written < room {
            let Some(entry) = next() else { break };
            self.memory.write(self.cursor.wrapping_add(written), entry);
            written += 1;
        }
        if written > 0 {
            self.cursor = self.cursor.wrapping_add(written);
            self.memory.store_producer(self.cursor);
        }
        written
    }

    /// How many entries the other side has not taken yet.
    pub(crate) fn waiting(&self) -> u32 {
        self.cursor.wrapping_sub(self.memory.load_consumer())
    }

    /// Whether the kernel asks for a system call before it looks at this ring again.
    pub(crate) fn needs_wakeup(&self) -> bool {
        self.memory.needs_wakeup()
    }

    fn vacant(&self) -> u32 {
        let used = self.cursor.wrapping_sub(self.seen_consumer);
        self.memory.size().saturating_sub(used)
    }
}

/// The end that reads entries (completion and RX).
#[derive(Debug)]
pub(crate) struct Consumer<T> {
    memory: RingMemory<T>,
    cursor: u32,
    seen_producer: u32,
}

impl<T: Descriptor> Consumer<T> {
    pub(crate) fn new(memory: RingMemory<T>) -> Self {
        let cursor = memory.load_consumer();
        let seen_producer = memory.load_producer();
        Self {
            memory,
            cursor,
            seen_producer,
        }
    }

    /// Passes up to `wanted` entries to `each`, then gives their slots back at once. Returns the number
    /// of entries read.
    pub(crate) fn consume(&mut self, wanted: u32, mut each: impl FnMut(T)) -> u32 {
        if self.available() < wanted {
            self.seen_producer = self.memory.load_producer();
        }
        let read = self.available().min(wanted);
        for offset in 0..read {
            each(self.memory.read(self.cursor.wrapping_add(offset)));
        }
        if read > 0 {
            self.cursor = self.cursor.wrapping_add(read);
            self.memory.store_consumer(self.cursor);
        }
        read
    }

    fn available(&self) -> u32 {
        let filled = self.seen_producer.wrapping_sub(self.cursor);
        filled.min(self.memory.size())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::ring_memory::tests::{connected, set_needs_wakeup};

    /// The producer and the consumer of one ring in memory, with the cursors at `start`.
    pub(crate) fn pair<T: Descriptor>(size: u32, start: u32) -> (Producer<T>, Consumer<T>) {
        let (one, other) = connected(size, start);
        (Producer::new(one), Consumer::new(other))
    }

    fn produce(producer: &mut Producer<u64>, values: &[u64]) -> u32 {
        let mut values = values.iter().copied();
        producer.produce(u32::MAX, || values.next())
    }

    fn consume(consumer: &mut Consumer<u64>, wanted: u32) -> Vec<u64> {
        let mut values = Vec::new();
        let read = consumer.consume(wanted, |value| values.push(value));
        assert_eq!(read as usize, values.len());
        values
    }

    #[test]
    fn a_full_ring_takes_no_more() {
        let (mut producer, mut consumer) = pair(4, 0);
        assert_eq!(produce(&mut producer, &[1, 2, 3, 4, 5]), 4);
        assert_eq!(producer.reserve(1), 0);
        assert_eq!(produce(&mut producer, &[6]), 0);
        assert_eq!(producer.waiting(), 4);
        assert_eq!(consume(&mut consumer, 3), [1, 2, 3]);
        assert_eq!(producer.reserve(9), 3);
        assert_eq!(produce(&mut producer, &[7]), 1);
        assert_eq!(consume(&mut consumer, 9), [4, 7]);
        assert_eq!(producer.waiting(), 0);
    }

    #[test]
    fn the_iterator_may_end_before_the_room_does() {
        let (mut producer, mut consumer) = pair(8, 0);
        assert_eq!(produce(&mut producer, &[]), 0);
        assert_eq!(produce(&mut producer, &[1]), 1);
        assert_eq!(producer.produce(0, || Some(2)), 0);
        assert_eq!(consume(&mut consumer, 0), []);
        assert_eq!(consume(&mut consumer, 8), [1]);
    }

    #[test]
    fn entries_keep_their_order_where_the_cursors_wrap() {
        for start in (u32::MAX - 9)..=u32::MAX {
            let (mut producer, mut consumer) = pair(8, start);
            let mut next = 0;
            for batch in [1, 8, 3, 5, 7, 2, 8] {
                let values: Vec<u64> = (next..next + batch).collect();
                assert_eq!(u64::from(produce(&mut producer, &values)), batch);
                assert_eq!(consume(&mut consumer, u32::MAX), values);
                next += batch;
            }
        }
    }

    #[test]
    fn a_batch_becomes_visible_only_as_a_whole() {
        let (mut producer, mut consumer) = pair(8, u32::MAX - 1);
        let mut value = 0;
        producer.produce(4, || {
            assert_eq!(consumer.consume(8, |_: u64| ()), 0, "handed over too early");
            value += 1;
            Some(value)
        });
        assert_eq!(consume(&mut consumer, 8), [1, 2, 3, 4]);
    }

    #[test]
    fn senseless_cursors_of_the_other_side_stay_inside_the_ring() {
        let (one, mut other) = connected::<u64>(8, 0);
        let mut producer = Producer::new(one);
        other.store_consumer(1000);
        assert_eq!(producer.reserve(8), 8, "the cached cursor is enough");
        assert_eq!(
            produce(&mut producer, &[1, 2, 3]),
            0,
            "more was asked for than seen"
        );

        let (mut one, other) = connected::<u64>(8, 0);
        one.store_producer(1000);
        let mut consumer = Consumer::new(other);
        assert_eq!(consume(&mut consumer, u32::MAX).len(), 8);
    }

    #[test]
    fn the_wakeup_flag_is_read_from_the_ring() {
        let (one, mut other) = connected::<u64>(8, 0);
        let producer = Producer::new(one);
        assert!(!producer.needs_wakeup());
        set_needs_wakeup(&mut other, true);
        assert!(producer.needs_wakeup());
        set_needs_wakeup(&mut other, false);
        assert!(!producer.needs_wakeup());
    }

    #[test]
    fn two_threads_lose_and_double_nothing() {
        const ENTRIES: u64 = 200_000;
        let (mut producer, mut consumer) = pair(64, u32::MAX - 1000);
        let writer = std::thread::spawn(move || {
            let mut next = 0;
            while next < ENTRIES {
                let written = producer.produce(17, || {
                    (next < ENTRIES).then(|| {
                        next += 1;
                        next - 1
                    })
                });
                if written == 0 {
                    std::thread::yield_now();
                }
            }
        });
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut expected = 0;
        while expected < ENTRIES {
            let read = consumer.consume(23, |value| {
                assert_eq!(value, expected);
                expected += 1;
            });
            if read == 0 {
                assert!(Instant::now() < deadline, "stuck at entry {expected}");
                std::thread::yield_now();
            }
        }
        writer.join().unwrap();
        assert_eq!(consumer.consume(1, |_| ()), 0);
    }
}
