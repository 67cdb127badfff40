//! What workers count besides the translator's verdicts: where packets went, and what was lost on the way.

use crate::process::HandoverReason;
use crate::routes::KernelReason;
use relay_core::counters::Counters;

/// Declares counters, each with its name and its line of documentation.
macro_rules! counters {
    ($($(#[doc = $text:literal])+ $field:ident,)+) => {
        /// The counters of a worker.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct WorkerCounters {
            /// What became of packets in the translator.
            pub verdicts: Counters,
            /// Packets handed to the kernel, by [`KernelReason`].
            pub handed_over: [u64; KernelReason::ALL.len()],
            $($(#[doc = $text])+ pub $field: u64,)+
        }

        impl WorkerCounters {
            /// Adds another worker's counters to these.
            pub fn add(&mut self, other: &Self) {
                self.verdicts.add(&other.verdicts);
                self.handed_over.iter_mut().zip(other.handed_over).for_each(|(mine, theirs)| *mine += theirs);
                $(self.$field += other.$field;)+
            }

            /// Lists every counter with its name, also those at zero.
            pub fn list(&self) -> Vec<(String, u64)> {
                let mut list: Vec<_> =
                    self.verdicts.iter().map(|(name, count)| (name.to_string(), count)).collect();
                let handed_over = KernelReason::ALL.into_iter().zip(self.handed_over);
                list.extend(handed_over.map(|(reason, count)| (format!("kernel_{}", reason.name()), count)));
                $(list.push((stringify!($field).to_owned(), self.$field));)+
                list
            }
        }
    };
}

counters! {
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

impl WorkerCounters {
    /// Counts a packet that the kernel took.
    pub fn count_handover(&mut self, reason: HandoverReason) {
        match reason {
            HandoverReason::NextHop(reason) => self.handed_over[reason as usize] += 1,
            HandoverReason::Passed => self.kernel_passed += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_sums_are_complete() {
        let mut one = WorkerCounters {
            received_frames: 3,
            ..WorkerCounters::default()
        };
        one.count_handover(HandoverReason::NextHop(KernelReason::NoNeighbour));
        one.count_handover(HandoverReason::Passed);
        let mut sum = one;
        sum.add(&one);
        let moved: Vec<_> = sum
            .list()
            .into_iter()
            .filter(|(_, count)| *count != 0)
            .collect();
        let expected = [
            ("kernel_no_neighbour", 2),
            ("received_frames", 6),
            ("kernel_passed", 2),
        ];
        assert_eq!(
            moved,
            expected.map(|(name, count)| (name.to_owned(), count))
        );
        let mut names: Vec<_> = sum.list().into_iter().map(|(name, _)| name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
