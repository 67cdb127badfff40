//! What a look-up of a next hop may say.

use crate::link::LinkHeader;
use relay_core::wire::ethernet;

/// What to do with a packet for a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop<'a> {
    /// Send it out of one of the relay's interfaces with these addresses.
    Direct(&'a DirectHop),
    /// Hand it to the kernel.
    Kernel(KernelReason),
}

/// How a packet leaves by one of the relay's interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectHop {
    /// The position of the interface among those given to [`Mirror::snapshot`](super::Mirror::snapshot).
    pub port: usize,
    /// The VLAN tags, outermost first.
    pub tags: Tags,
    /// The source MAC address.
    pub source: [u8; 6],
    /// The destination MAC address.
    pub destination: [u8; 6],
    /// The longest packet that fits, in octets without the Ethernet header.
    pub mtu: u32,
    /// The place of the neighbour's mark among those of [`Routes`](super::Routes).
    pub(super) mark: u32,
    /// What all packets by this hop begin with.
    link: LinkHeader,
}

impl DirectHop {
    pub(super) fn new(
        port: usize,
        tags: Tags,
        [source, destination]: [ethernet::Address; 2],
        mtu: u32,
        mark: u32,
    ) -> Self {
        let tag = |tag: Tag| (tag.tpid, tag.vid);
        let link = match tags {
            Tags::None => LinkHeader::new(destination, source, []),
            Tags::One(only) => LinkHeader::new(destination, source, [tag(only)]),
            Tags::Two(outer, inner) => {
                LinkHeader::new(destination, source, [tag(outer), tag(inner)])
            }
        };
        Self {
            port,
            tags,
            source,
            destination,
            mtu,
            mark,
            link,
        }
    }

    /// Returns the link header of packets on their way to this hop.
    #[inline(always)]
    pub fn link(&self) -> &LinkHeader {
        &self.link
    }
}

/// Up to two VLAN tags of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tags {
    /// An untagged frame.
    #[default]
    None,
    /// A frame with one tag.
    One(Tag),
    /// A frame with two tags: the outer, then the inner.
    Two(Tag, Tag),
}

/// A VLAN tag without priority bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The tag protocol identifier: 0x8100 (IEEE 802.1Q) or 0x88a8 (802.1ad).
    pub tpid: u16,
    /// The VLAN identifier, 1 to 4094.
    pub vid: u16,
}

/// Why a packet goes to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KernelReason {
    /// No route covers the destination.
    NoRoute,
    /// The destination is an address of this machine.
    LocalAddress,
    /// The MAC address of the next hop is not known.
    NoNeighbour,
    /// The route leads out of an interface which is not the relay's, nor a VLAN on one.
    NotOurInterface,
    /// The route does something else than forward: blackhole, unreachable, prohibit, throw, encapsulation; or it depends on more
    /// than the destination; or the destination is multicast, broadcast or link-local.
    SpecialRoute,
    /// The machine has policy rules of its own, so the destination alone does not decide.
    PolicyRules,
    /// The interface of the route, or the one below it, is down or without carrier.
    LinkDown,
    /// The kernel has a route or rule which this program cannot decode.
    NotUnderstood,
    /// The configuration says `forwarding: kernel`.
    Configured,
}

impl KernelReason {
    /// All reasons; the position is `reason as usize`.
    pub const ALL: [Self; 9] = [
        Self::NoRoute,
        Self::LocalAddress,
        Self::NoNeighbour,
        Self::NotOurInterface,
        Self::SpecialRoute,
        Self::PolicyRules,
        Self::LinkDown,
        Self::NotUnderstood,
        Self::Configured,
    ];

    /// The reason's name in counters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoRoute => "no_route",
            Self::LocalAddress => "local_address",
            Self::NoNeighbour => "no_neighbour",
            Self::NotOurInterface => "not_our_interface",
            Self::SpecialRoute => "special_route",
            Self::PolicyRules => "policy_rules",
            Self::LinkDown => "link_down",
            Self::NotUnderstood => "not_understood",
            Self::Configured => "configured",
        }
    }

    /// Returns one line that explains the reason to an operator.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::NoRoute => "No route covers the destination.",
            Self::LocalAddress => "The destination is an address of this machine.",
            Self::NoNeighbour => "The hardware address of the next hop is not known yet.",
            Self::NotOurInterface => {
                "The route leads out of an interface that is not the relay's, nor a VLAN on one."
            }
            Self::SpecialRoute => {
                "The route does not simply forward (blackhole, unreachable, encapsulation), or the destination is multicast or link-local."
            }
            Self::PolicyRules => {
                "The machine has policy rules, so the destination alone does not decide."
            }
            Self::LinkDown => {
                "The interface of the route, or the one below it, is down or without carrier."
            }
            Self::NotUnderstood => "The kernel has a route or rule that the relay cannot decode.",
            Self::Configured => "The configuration says `forwarding: kernel`.",
        }
    }
}
