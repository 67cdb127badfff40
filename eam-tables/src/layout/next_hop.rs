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
    /// How the answers about IPv4 destinations may be remembered.
    pub memory_v4: Memory,
    /// How the answers about IPv6 destinations may be remembered.
    pub memory_v6: Memory,
    /// Whether the tables cover an IPv4 address of the machine: 0 or 1.
    pub own_v4: u32,
    /// Whether the translation prefix covers an IPv6 address of the machine: 0 or 1.
    pub own_v6: u32,
    /// Whether everything goes to the workers for the time being, where somebody looks at it: 0 or 1.
    pub is_watched: u32,
    /// Zeros, in place of padding.
    pub reserved: u32,
}

/// On what the kernel's answers about the destinations of a family depend.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// One of the constants.
    pub on: u32,
    /// The longest prefix among the routes, in bits: destinations that agree so far and have a gateway have the same one.
    pub longest: u32,
    /// Whether that is so only of destinations that are not the machine's own: 0 or 1.
    pub but_own: u32,
    /// The least MTU that a route has of its own, in octets; zero if none has. The kernel's answers do not speak of it.
    pub least_mtu: u32,
}

impl Memory {
    /// Value of [`on`](Self::on): answers are not remembered.
    pub const NOTHING: u32 = 0;
    /// Value of [`on`](Self::on): they depend on the destination.
    pub const ON_DESTINATION: u32 = 1;
    /// Value of [`on`](Self::on): they depend on destination and source.
    pub const ON_BOTH: u32 = 2;
}

impl State {
    /// Size of the value in octets.
    pub const SIZE: usize = 56;

    /// Returns the octets of the map's value.
    pub fn emit(&self) -> [u8; Self::SIZE] {
        let words = [
            self.epoch,
            self.patience,
            self.memory_v4.on,
            self.memory_v4.longest,
            self.memory_v4.but_own,
            self.memory_v4.least_mtu,
            self.memory_v6.on,
            self.memory_v6.longest,
            self.memory_v6.but_own,
            self.memory_v6.least_mtu,
            self.own_v4,
            self.own_v6,
            self.is_watched,
            self.reserved,
        ];
        let mut octets = [0; Self::SIZE];
        for (to, from) in octets.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&from.to_ne_bytes());
        }
        octets
    }
}

const _: () = assert!(size_of::<State>() == State::SIZE);

/// An answer of the kernel, remembered by one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CachedHop {
    /// Where the packet goes, or the network that it lies in: network order; IPv4 addresses behind zeros.
    pub destination: [u64; 2],
    /// Where it comes from, if that matters; else zeros.
    pub source: [u64; 2],
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
    /// The Ethernet header but for its EtherType: the next hop's address, the interface's own, the tags.
    pub link: [u8; 20],
}

const _: () = assert!(size_of::<CachedHop>() == 64);
