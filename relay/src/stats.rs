//! What is counted besides the translator's verdicts, and the one list of all counters that everything shown is made from.

mod list;

pub use list::{Counter, Totals};

use crate::process::HandoverReason;
use crate::routes::KernelReason;
use relay_core::counters::Counters;

/// Declares counters, each with its name and its line of documentation, besides other fields.
macro_rules! counters {
    (
        $(#[$attribute:meta])* $name:ident
        { $($(#[$other_attribute:meta])* $other:ident: $type:ty,)* }
        $($(#[doc = $text:literal])+ $field:ident,)+
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$other_attribute])* pub $other: $type,)*
            $($(#[doc = $text])+ pub $field: u64,)+
        }

        impl $name {
            /// Lists the plain counters: name, description, value; also those at zero.
            pub fn plain(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($field), concat!($($text),+).trim_ascii(), self.$field)),+]
            }

            /// Adds another's plain counters to these.
            pub fn add_plain(&mut self, other: &Self) {
                $(self.$field += other.$field;)+
            }
        }
    };
}

counters! {
    /// The counters of a worker.
    WorkerCounters {
        /// What became of packets in the translator.
        verdicts: Counters,
        /// Packets handed to the kernel, by [`KernelReason`].
        handed_over: [u64; KernelReason::ALL.len()],
    }
    /// Packets received from AF_XDP sockets.
    received_frames,
    /// Packets lost because they came faster than the worker took them.
    lost_receive_full,
    /// Packets lost because they were too long for a chunk of memory, or no chunk was free.
    lost_receive_refused,
    /// Times that a packet came while the kernel had no chunk of memory to receive into.
    empty_fill_ring,
    /// Entries of rings that made no sense to the kernel or the relay: a fault in one of them.
    invalid_descriptors,
    /// Packets given to AF_XDP sockets for sending.
    transmitted_frames,
    /// Packets that left as fragments because they had to be split.
    split_packets,
    /// Packets handed to the kernel as they came, because they turned out not to be the relay's.
    kernel_passed,
    /// Packets lost because the kernel refused to take them.
    lost_kernel_refused,
    /// Packets lost because an interface took no more.
    lost_transmit_full,
    /// Fragments lost because there was no frame for them.
    lost_no_frame,
    /// Packets lost because they are longer than a chunk of memory, and the interface takes no packets in several.
    lost_too_long,
    /// ICMP errors not translated because the control thread had too many to do.
    lost_errors,
    /// Dropped packets whose senders were not told because the control thread had too much to do.
    lost_replies,
    /// Failed wake-ups of the kernel, which are tried again.
    failed_wake_ups,
}

counters! {
    /// The counters of the control thread.
    ControlCounters {
        /// What became of the packets in the translator.
        verdicts: Counters,
    }
    /// ICMP errors, translated or originated, that the kernel took for sending.
    kernel_icmp_errors,
    /// ICMP errors not originated because of the rate limit.
    limited_replies,
    /// ICMP errors that the kernel refused to send.
    lost_icmp_errors_refused,
}

counters! {
    /// The counters of one receive queue: of the AF_XDP socket that serves it.
    QueueCounters {}
    /// Frames that the worker received from the queue.
    received_frames,
    /// Frames that the worker gave to the socket for sending.
    transmitted_frames,
    /// Received frames that the kernel dropped, as being too long for a chunk of memory.
    rx_dropped,
    /// Entries of the fill ring that were not valid.
    rx_invalid_descriptors,
    /// Entries of the transmit ring that were not valid.
    tx_invalid_descriptors,
    /// Received frames that the kernel dropped because the receive ring was full.
    rx_ring_full,
    /// How often a frame came and the fill ring was empty.
    rx_fill_ring_empty,
    /// How often the kernel looked for a frame to send and the transmit ring was empty.
    tx_ring_empty,
}

impl QueueCounters {
    /// Takes over what the kernel has counted.
    pub fn set_rings(&mut self, rings: &af_xdp::Statistics) {
        self.rx_dropped = rings.rx_dropped;
        self.rx_invalid_descriptors = rings.rx_invalid_descriptors;
        self.tx_invalid_descriptors = rings.tx_invalid_descriptors;
        self.rx_ring_full = rings.rx_ring_full;
        self.rx_fill_ring_empty = rings.rx_fill_ring_empty;
        self.tx_ring_empty = rings.tx_ring_empty;
    }
}

/// What a worker lets others see of its counters from time to time.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// The worker's own.
    pub counters: WorkerCounters,
    /// Those of its sockets, in their order.
    pub queues: Vec<QueueCounters>,
}

impl WorkerCounters {
    /// Adds another worker's counters to these.
    pub fn add(&mut self, other: &Self) {
        self.verdicts.add(&other.verdicts);
        let pairs = self.handed_over.iter_mut().zip(other.handed_over);
        pairs.for_each(|(mine, theirs)| *mine += theirs);
        self.add_plain(other);
    }

    /// Counts a packet that the kernel took.
    pub fn count_handover(&mut self, reason: HandoverReason) {
        match reason {
            HandoverReason::NextHop(reason) => self.handed_over[reason as usize] += 1,
            HandoverReason::Passed => self.kernel_passed += 1,
        }
    }
}
