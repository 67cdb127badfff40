//! Who owns the chunks of a UMEM: one owner each, and how many each kind of owner has.

/// Distinguishes the sockets of a UMEM; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketId(pub(super) u16);

/// Who may touch a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// Nobody: the chunk lies in the pool.
    Free,
    /// The holder of its [`Frame`](crate::Frame).
    Worker,
    /// The kernel, to receive into: on the fill ring, in the driver or on the RX ring of this socket.
    Fill(SocketId),
    /// The kernel, to send from: on the TX ring, in the driver or on the completion ring of this socket.
    Transmit(SocketId),
}

/// How many frames each kind of owner has; the sum never changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Frames in the pool.
    pub free: u32,
    /// Frames that are out as [`Frame`](crate::Frame) handles.
    pub worker: u32,
    /// Frames lent to the kernel for receiving, those waiting on RX rings included.
    pub fill: u32,
    /// Frames lent to the kernel for sending, those waiting on completion rings included.
    pub transmit: u32,
}

impl Ledger {
    /// Counts the owners of all chunks.
    pub(super) fn of(owners: &[Owner]) -> Self {
        let mut ledger = Self::default();
        for owner in owners {
            match owner {
                Owner::Free => ledger.free += 1,
                Owner::Worker => ledger.worker += 1,
                Owner::Fill(_) => ledger.fill += 1,
                Owner::Transmit(_) => ledger.transmit += 1,
            }
        }
        ledger
    }

    /// The number of frames of the UMEM.
    pub fn total(&self) -> u32 {
        self.free + self.worker + self.fill + self.transmit
    }
}
