//! The read-only settings that a program is loaded with: policy, translation prefix and the shapes of its tables.

use crate::flat::Shape;
use relay_core::address::Prefix;
use relay_core::policy::{
    AtomicFragments, Hairpin, Plateaus, Policy, ServiceOctet, TcpMssClamp, UdpZeroChecksum,
    WkpNonGlobal,
};

/// Name of the global variable with [`Settings`].
pub const SETTINGS: &str = "SETTINGS";

/// A [`ServiceOctet`] that is copied, as a number; any smaller one is the octet to set.
const COPY: u32 = 0x100;

/// What a program knows from the start and for ever: a change means another program.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// [`Policy::identification_key`].
    pub identification_key: u64,
    /// How to read the table of IPv4 addresses.
    pub shape_v4: Shape,
    /// How to read the table of IPv6 addresses.
    pub shape_v6: Shape,
    /// The translation prefix.
    pub prefix: Prefix,
    /// [`Policy::hairpin`]: 0 off, 1 simple, 2 intrinsic.
    pub hairpin: u32,
    /// [`Policy::atomic_fragments`]: 0 off, 1 on.
    pub atomic_fragments: u32,
    /// [`Policy::traffic_class`].
    pub traffic_class: u32,
    /// [`Policy::tos`].
    pub tos: u32,
    /// [`Policy::lowest_ipv6_mtu`].
    pub lowest_ipv6_mtu: u32,
    /// [`Policy::wkp_non_global`]: 0 drop, 1 translate.
    pub wkp_non_global: u32,
    /// The most that a packet may have on the IPv4 side, in octets, whatever the interface says.
    pub mtu_v4: u32,
    /// The most that a packet may have on the IPv6 side, in octets, whatever the interface says.
    pub mtu_v6: u32,
    /// What the program does with plain packets: see [`Work`].
    pub work: u32,
    /// Whether there is any [list](super::LISTS_V4): 0 or 1.
    pub has_lists: u32,
    /// [`Policy::tcp_mss_clamp`]: 0 off, 1 anything else.
    pub tcp_mss_clamp: u32,
    /// Whether a mapping has addresses under the translation prefix: 0 or 1.
    pub has_embedded: u32,
    /// The number of mappings that are counted for in [`EAM_COUNTS`](super::EAM_COUNTS); zero if none are.
    pub mappings: u32,
    /// Zero, in place of padding.
    pub reserved: u32,
}

/// What the program does with packets that are the relay's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// All go to a worker.
    Steer,
    /// Plain ones are translated and sent to their next hop.
    Forward,
    /// Plain ones are translated and left to the kernel to be sent on.
    Translate,
}

impl Work {
    const fn emit(self) -> u32 {
        match self {
            Self::Steer => 0,
            Self::Forward => 1,
            Self::Translate => 2,
        }
    }
}

impl Settings {
    /// Size in octets.
    pub const SIZE: usize = 8 + 2 * size_of::<Shape>() + size_of::<Prefix>() + 14 * 4;

    /// What stands in the object; the loader puts something else there.
    pub const NONE: Self = Self {
        identification_key: 0,
        shape_v4: Shape::EMPTY,
        shape_v6: Shape::EMPTY,
        prefix: Prefix::WELL_KNOWN,
        hairpin: 0,
        atomic_fragments: 0,
        traffic_class: COPY,
        tos: COPY,
        lowest_ipv6_mtu: 1280,
        wkp_non_global: 0,
        mtu_v4: u32::MAX,
        mtu_v6: u32::MAX,
        work: 0,
        has_lists: 0,
        tcp_mss_clamp: 0,
        has_embedded: 1,
        mappings: 0,
        reserved: 0,
    };

    /// Returns the settings for a policy; shapes, MTUs and lists are still those of [`NONE`](Self::NONE).
    pub const fn new(policy: &Policy, work: Work) -> Self {
        Self {
            identification_key: policy.identification_key,
            prefix: policy.prefix,
            hairpin: match policy.hairpin {
                Hairpin::Off => 0,
                Hairpin::Simple => 1,
                Hairpin::Intrinsic => 2,
            },
            atomic_fragments: match policy.atomic_fragments {
                AtomicFragments::Off => 0,
                AtomicFragments::On => 1,
            },
            traffic_class: emit_octet(policy.traffic_class),
            tos: emit_octet(policy.tos),
            tcp_mss_clamp: match policy.tcp_mss_clamp {
                TcpMssClamp::Off => 0,
                TcpMssClamp::Auto | TcpMssClamp::AtMost(_) => 1,
            },
            lowest_ipv6_mtu: policy.lowest_ipv6_mtu,
            wkp_non_global: match policy.wkp_non_global {
                WkpNonGlobal::Drop => 0,
                WkpNonGlobal::Translate => 1,
            },
            work: work.emit(),
            ..Self::NONE
        }
    }

    /// Returns what to do with plain packets; a number that has no meaning leaves them to the workers.
    #[inline(always)]
    pub const fn work(&self) -> Work {
        match self.work {
            1 => Work::Forward,
            2 => Work::Translate,
            _ => Work::Steer,
        }
    }

    /// Returns the policy, as far as plain packets are concerned.
    #[inline(always)]
    pub fn policy(&self) -> Policy {
        Policy {
            prefix: self.prefix,
            hairpin: match self.hairpin {
                2 => Hairpin::Intrinsic,
                1 => Hairpin::Simple,
                _ => Hairpin::Off,
            },
            // No plain packet lacks a checksum, and no plain one is an ICMP error.
            udp_zero_checksum: UdpZeroChecksum::Drop,
            mtu_plateaus: Plateaus::RFC_1191,
            interface_object: false,
            // Which, is a matter for those who lower segment sizes.
            tcp_mss_clamp: match self.tcp_mss_clamp {
                0 => TcpMssClamp::Off,
                _ => TcpMssClamp::Auto,
            },
            traffic_class: parse_octet(self.traffic_class),
            tos: parse_octet(self.tos),
            atomic_fragments: match self.atomic_fragments {
                0 => AtomicFragments::Off,
                _ => AtomicFragments::On,
            },
            lowest_ipv6_mtu: self.lowest_ipv6_mtu,
            wkp_non_global: match self.wkp_non_global {
                0 => WkpNonGlobal::Drop,
                _ => WkpNonGlobal::Translate,
            },
            identification_key: self.identification_key,
        }
    }
}

const _: () = assert!(size_of::<Settings>() == Settings::SIZE);

const fn emit_octet(octet: ServiceOctet) -> u32 {
    match octet {
        ServiceOctet::Copy => COPY,
        ServiceOctet::Set(value) => value as u32,
    }
}

#[inline(always)]
const fn parse_octet(number: u32) -> ServiceOctet {
    match number {
        COPY.. => ServiceOctet::Copy,
        value => ServiceOctet::Set(value as u8),
    }
}
