//! Next hops: what the daemon knows of interfaces that packets leave by, and what the program remembers of the kernel's answers.

/// Map: interface index (`u32`) to [`Egress`]: interfaces by which translated packets can leave without the kernel's help.
pub const EGRESSES: &str = "EGRESSES";
/// Map: the interfaces themselves, at the index that [`Egress::port`] gives.
pub const DEVICES: &str = "DEVICES";
/// The most [`Egress`]es.
pub const EGRESSES_MAX_ENTRIES: u32 = 1 << 13;
/// Map: one [`State`].
pub const STATE: &str = "STATE";
/// Map: [`HOPS_MAX_ENTRIES`] times [`CachedHop`] for each CPU.
pub const HOPS: &str = "HOPS";
/// Number of [`CachedHop`]s, a power of two.
pub const HOPS_MAX_ENTRIES: u32 = 1 << 13;

/// Map: the neighbours that the kernel's answers named, as [`NeighbourKey`]; the value means nothing.
pub const NEIGHBOURS: &str = "NEIGHBOURS";
/// The most neighbours that are noted until the daemon takes them; the latest stay.
pub const NEIGHBOURS_MAX_ENTRIES: u32 = 1 << 16;

/// A neighbour: interface index and address family (2 is IPv4, 10 is IPv6), then the address in network order, of which IPv4 has
/// the first word.
pub type NeighbourKey = [u32; 6];

/// How frames leave by an interface: an Ethernet port, or a VLAN interface on top of one.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Egress {
    /// Number of the Ethernet port: its index in [`DEVICES`], and [`Port::number`](super::Port::number).
    pub port: u32,
    /// How many VLAN tags the frames get: two at most.
    pub tag_count: u32,
    /// The tags as they lie on the wire, outermost first, then zeros.
    pub tags: [u8; 8],
}

impl Egress {
    /// Size of the value in octets.
    pub const SIZE: usize = 16;

    /// Returns the octets of the map's value.
    pub fn emit(&self) -> [u8; Self::SIZE] {
        let mut octets = [0; Self::SIZE];
        octets[..4].copy_from_slice(&self.port.to_ne_bytes());
        octets[4..8].copy_from_slice(&self.tag_count.to_ne_bytes());
        octets[8..].copy_from_slice(&self.tags);
        octets
    }
}

const _: () = assert!(size_of::<Egress>() == Egress::SIZE);

/// What of the network changes while a program runs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Grows whenever a route, a neighbour or a link changes: what was remembered before is void.
    pub epoch: u32,
    /// How long an answer of the kernel is remembered at most, in its jiffies.
    pub patience: u32,
    /// Whether the tables cover an IPv4 address of the machine: 0 or 1.
    pub own_v4: u32,
    /// Whether the translation prefix covers an IPv6 address of the machine: 0 or 1.
    pub own_v6: u32,
    /// Whether everything goes to the workers for the time being, where somebody looks at it: 0 or 1.
    pub is_watched: u32,
    /// Zero, in place of padding.
    pub reserved: u32,
    /// How the answers about IPv4 destinations may be remembered.
    pub memory_v4: Memory,
    /// How the answers about IPv6 destinations may be remembered.
    pub memory_v6: Memory,
}

/// On what the kernel's answers about the destinations of a family depend.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The longest prefix in bits, 8 at least, among the routes to destinations with each first octet: those that agree so far and
    /// have a gateway have the same one.
    pub longest: [u8; 256],
    /// Whether that is so only of destinations that are not the machine's own: 0 or 1.
    pub but_own: u32,
    /// The least MTU that a route has of its own, in octets; zero if none has. The kernel's answers do not speak of it.
    pub least_mtu: u32,
    /// One of the constants. It is the last to be written.
    pub on: u32,
    /// Zero, in place of padding.
    pub reserved: u32,
}

impl Memory {
    /// Value of [`on`](Self::on): answers are not remembered.
    pub const NOTHING: u32 = 0;
    /// Value of [`on`](Self::on): they depend on the destination.
    pub const ON_DESTINATION: u32 = 1;
    /// Value of [`on`](Self::on): they depend on destination and source.
    pub const ON_BOTH: u32 = 2;

    /// Nothing is remembered.
    pub const NONE: Self = Self {
        longest: [8; 256],
        but_own: 0,
        least_mtu: 0,
        on: Self::NOTHING,
        reserved: 0,
    };

    /// Size in octets.
    const SIZE: usize = 256 + 4 * 4;

    fn emit(&self) -> [u8; Self::SIZE] {
        let mut octets = [0; Self::SIZE];
        let (longest, words) = octets.split_at_mut(256);
        longest.copy_from_slice(&self.longest);
        put(
            words,
            &[self.but_own, self.least_mtu, self.on, self.reserved],
        );
        octets
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::NONE
    }
}

/// Writes numbers one behind the other.
fn put(octets: &mut [u8], numbers: &[u32]) {
    for (to, from) in octets.chunks_exact_mut(4).zip(numbers) {
        to.copy_from_slice(&from.to_ne_bytes());
    }
}

impl State {
    /// Size of the value in octets.
    pub const SIZE: usize = 6 * 4 + 2 * Memory::SIZE;

    /// Returns the octets of the map's value.
    pub fn emit(&self) -> [u8; Self::SIZE] {
        let words = [
            self.epoch,
            self.patience,
            self.own_v4,
            self.own_v6,
            self.is_watched,
            self.reserved,
        ];
        let mut octets = [0; Self::SIZE];
        let (front, memories) = octets.split_at_mut(6 * 4);
        put(front, &words);
        let (v4, v6) = memories.split_at_mut(Memory::SIZE);
        v4.copy_from_slice(&self.memory_v4.emit());
        v6.copy_from_slice(&self.memory_v6.emit());
        octets
    }
}

const _: () = assert!(size_of::<State>() == State::SIZE);
const _: () = assert!(size_of::<Memory>() == Memory::SIZE);

/// An answer of the kernel, remembered by one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CachedHop {
    /// Where the packet goes, or the network that it lies in: network order; IPv4 addresses behind zeros.
    pub destination: [u64; 2],
    /// Where it comes from, if that matters; else zeros.
    pub source: [u64; 2],
    /// The next hop's hardware address and the first two octets of the interface's own, as they lie in memory.
    pub addresses: u64,
    /// VLAN tags as they lie on the wire, outermost first, then zeros.
    pub tags: u64,
    /// The other four octets of the interface's own address.
    pub rest: u32,
    /// The [`State::epoch`] in which the kernel was asked; zero if it never was.
    pub epoch: u32,
    /// When it was asked, in jiffies.
    pub since: u32,
    /// What fits, in octets.
    pub mtu: u16,
    /// Number of the port, as in [`Egress::port`].
    pub port: u8,
    /// How many VLAN tags there are.
    pub tag_count: u8,
}

const _: () = assert!(size_of::<CachedHop>() == 64);
