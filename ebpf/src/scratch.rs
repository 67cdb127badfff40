//! What one step of the program leaves to the next, and the question to the kernel.
//!
//! It lies in memory of the kernel: the stack has no room for it, and the verifier, which does not follow numbers through there,
//! looks at performing once and not for every kind of packet.

use relay_core::Plain;

use crate::maps::Question;

/// The notes of a CPU about the frame at hand.
#[repr(C)]
pub(crate) struct Scratch {
    /// How the packet is translated.
    pub(crate) plain: Plain,
    /// Octets behind the packet, which the link added.
    pub(crate) surplus: u64,
    /// What the kernel is asked about its next hop.
    pub(crate) question: Question,
}
