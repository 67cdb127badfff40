//! The two directions of translation, and what they share: mapping an address, patching a transport header.

mod error;
mod identification;
mod mss;
mod plain;
mod transport;
mod v4_to_v6;
mod v6_to_v4;

pub use error::{MAX_ERROR_LENGTH, TranslatedError, reply_v4, reply_v6};
pub use plain::{ClaimedV4, ClaimedV6};

use crate::network::Network;
use crate::policy::Policy;
use crate::reasons::{DropReason, PassReason, PuntReason};
use crate::verdict::Verdict;
use crate::wire::{Malformed, Octets, ipv4, ipv6};
use core::net::{Ipv4Addr, Ipv6Addr};

/// The translator: a policy in its surroundings. It has no state of its own, and no packet changes it.
#[derive(Debug)]
pub struct Translator<'a, N: ?Sized> {
    policy: &'a Policy,
    network: &'a N,
}

impl<N: ?Sized> Clone for Translator<'_, N> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<N: ?Sized> Copy for Translator<'_, N> {}

/// Who gets a packet that is not plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotPlain {
    /// The kernel: the relay has no part in it.
    Pass(PassReason),
    /// A performer that can do everything.
    Punt(PuntReason),
}

impl From<PassReason> for NotPlain {
    fn from(reason: PassReason) -> Self {
        Self::Pass(reason)
    }
}

impl From<PuntReason> for NotPlain {
    fn from(reason: PuntReason) -> Self {
        Self::Punt(reason)
    }
}

/// How an address was mapped, which decides about hairpinning (RFC 7757, 4.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MappedBy {
    Eam,
    Rfc6052,
}

impl<'a, N: Network + ?Sized> Translator<'a, N> {
    /// Returns a translator for a policy in its surroundings.
    pub const fn new(policy: &'a Policy, network: &'a N) -> Self {
        Self { policy, network }
    }

    /// Translates an IPv4 packet (RFC 7915, section 4). Octet 0 is the first of the IPv4 header; octets behind the
    /// packet, as links add them, are allowed.
    #[inline]
    pub fn v4_to_v6<O: Octets + ?Sized>(&self, packet: &O) -> Verdict {
        let Some(octets) = packet.load(0) else {
            return Verdict::Drop(DropReason::MalformedHeader);
        };
        let verdict = match v4_to_v6::claim(self, ipv4::destination(&octets)) {
            Ok(target) => {
                v4_to_v6::translate(self, packet, octets, target).unwrap_or_else(Verdict::from)
            }
            Err(reason) => Verdict::Pass(reason),
        };
        mss::clamp(self, packet, ipv4::source(&octets).into(), verdict)
    }

    /// Translates an IPv6 packet (RFC 7915, section 5). Octet 0 is the first of the IPv6 header; octets behind the
    /// packet, as links add them, are allowed.
    #[inline]
    pub fn v6_to_v4<O: Octets + ?Sized>(&self, packet: &O) -> Verdict {
        let Some(destination) = packet.load::<16>(24) else {
            return Verdict::Drop(DropReason::MalformedHeader);
        };
        if let Err(reason) = v6_to_v4::claim(self, destination.into()) {
            return Verdict::Pass(reason);
        }
        match ipv6::Header::parse(packet) {
            Ok(header) => {
                let verdict = v6_to_v4::translate(self, packet, header);
                let verdict = verdict.unwrap_or_else(Verdict::from);
                mss::clamp(self, packet, header.source.into(), verdict)
            }
            Err(Malformed) => Verdict::Drop(DropReason::MalformedHeader),
        }
    }

    /// Returns the RFC 6052 form of `address`, unless a rule forbids it.
    #[inline(always)]
    fn embed(&self, address: Ipv4Addr) -> Result<Ipv6Addr, DropReason> {
        self.check_rfc_6052(address)?;
        Ok(self.policy.prefix.embed(address))
    }

    /// Checks whether RFC 6052 may translate `address`, from or to its embedded form.
    #[inline(always)]
    fn check_rfc_6052(&self, address: Ipv4Addr) -> Result<(), DropReason> {
        if self.network.is_denied(address) {
            return Err(DropReason::Denied);
        }
        if !self.policy.may_embed(address) {
            return Err(DropReason::WkpNonGlobal);
        }
        Ok(())
    }

    /// Says whether `address`, which stands for `embedded`, is the one that a service itself has, because neither an EAM maps it
    /// nor its IPv4 form.
    ///
    /// RFC 6052, 3.3: "Standard routing preference [...] will then ensure that the IPv6 packets are delivered directly, without
    /// requiring that translators receive the packets and then return them".
    #[inline(always)]
    fn is_ipv4_translatable(&self, address: Ipv6Addr, embedded: Ipv4Addr) -> bool {
        let network = self.network;
        network.is_ipv4_translatable(embedded)
            && !network.is_denied(embedded)
            && network.v4_to_v6(embedded).is_none()
            && network.v6_to_v4(address).is_none()
    }

    /// Maps an IPv6 address: an EAM takes precedence over RFC 6052 for each address (RFC 7757, 3.3.2).
    ///
    /// `None` means that neither applies.
    #[inline(always)]
    fn map_v6(&self, address: Ipv6Addr) -> Result<Option<(Ipv4Addr, MappedBy)>, DropReason> {
        if let Some(mapped) = self.network.v6_to_v4(address) {
            return Ok(Some((mapped, MappedBy::Eam)));
        }
        let Some(extracted) = self.policy.prefix.extract(address) else {
            return Ok(None);
        };
        self.check_rfc_6052(extracted)?;
        Ok(Some((extracted, MappedBy::Rfc6052)))
    }
}
