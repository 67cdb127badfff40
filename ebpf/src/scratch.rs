//! What one step of the program leaves to the next, and the question to the kernel.
//!
//! It lies in memory of the kernel: the stack has no room for it, and the verifier, which does not follow numbers through there,
//! looks at performing once and not for every kind of packet.

use aya_ebpf::programs::XdpContext;
use relay_core::Plain;

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

/// The most octets of a frame that are summed at a time.
pub(crate) const PIECE: usize = 512;

/// A piece of a frame, and a word of zeros behind it.
pub(crate) type Piece = [u8; PIECE + 4];

/// What the kernel is asked about a next hop, and what it answers in the same place: its `struct bpf_fib_lookup`.
#[repr(C)]
pub(crate) struct Question {
    pub(crate) family: u8,
    protocol: u8,
    ports: [u16; 2],
    /// Asked: the packet's length, or zero. Answered: what fits, in octets.
    pub(crate) mtu: u16,
    /// Asked: the interface by which the packet came. Answered: the one by which it goes.
    pub(crate) interface: u32,
    service: u32,
    source: [u32; 4],
    /// Asked: where the packet goes, in network order. Answered: its next hop.
    pub(crate) destination: [u32; 4],
    vlan: u32,
    /// Answered: hardware address of the interface by which the packet goes.
    pub(crate) own: [u8; 6],
    /// Answered: hardware address of the next hop.
    pub(crate) next: [u8; 6],
}

const _: () = assert!(size_of::<Question>() == 64);

impl Question {
    /// Becomes the question for a packet.
    #[inline(always)]
    pub(crate) fn set(&mut self, context: &XdpContext, plain: &Plain) {
        const AF_INET: u8 = 2;
        const AF_INET6: u8 = 10;
        let service = u32::from(plain.service);
        if plain.is_v6() {
            self.begin(context, AF_INET6, (service << 20).to_be());
            self.source = words(plain.source);
            self.destination = words(plain.destination);
        } else {
            let ([_, source], [_, destination]) = (plain.source, plain.destination);
            self.begin(context, AF_INET, service);
            self.source = [(source as u32).to_be(), 0, 0, 0];
            self.destination = [(destination as u32).to_be(), 0, 0, 0];
        }
    }

    #[inline(always)]
    fn begin(&mut self, context: &XdpContext, family: u8, service: u32) {
        self.family = family;
        self.protocol = 0;
        self.ports = [0; 2];
        self.mtu = 0;
        self.interface = context.ingress_ifindex() as u32;
        self.service = service;
        self.vlan = 0;
    }
}

/// Returns an address as the kernel keeps it: in words that are in network order.
#[inline(always)]
fn words([high, low]: [u64; 2]) -> [u32; 4] {
    [
        ((high >> 32) as u32).to_be(),
        (high as u32).to_be(),
        ((low >> 32) as u32).to_be(),
        (low as u32).to_be(),
    ]
}
