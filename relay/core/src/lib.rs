//! The translator between IPv4 and IPv6: RFC 7915, with RFC 6052 addresses and RFC 7757 explicit mappings.
//!
//! One translator, several performers. This package reads *copies* of headers and returns a [`Verdict`] that
//! describes what to do; it never touches a frame, knows no file descriptor, takes no lock and allocates nothing. So
//! the packet is still whole when somebody must quote it, and performers can differ only in performing.
//!
//! # Map
//!
//! | module | what is there |
//! |---|---|
//! | [`wire`] | octets to values and back: Ethernet, IPv4, IPv6, ICMP, transports, checksums |
//! | [`address`] | RFC 6052 prefixes; which addresses are never translated |
//! | [`hash`] | what numbers are mixed with where they are hashed |
//! | [`network`] | what the translator asks of its surroundings: mappings, prefix lists, MTUs |
//! | [`policy`] | the operator's choices as one plain value |
//! | [`verdict`] | what can become of a packet |
//! | [`reasons`] | why packets are dropped or left to the kernel |
//! | [`rewrite`] | how a packet is translated, described |
//! | [`plain`] | how a plain packet is translated, in words |
//! | [`counters`] | one number for each thing that can become of a packet |
//! | [`Translator`] | the two directions, each a file that reads in the order of the RFC's clauses |
//!
//! Imports go one way: `wire`, `address`, `hash` and `reasons` import nothing of ours but each other's plain values; `policy`,
//! `network`, `rewrite` and `verdict` stand on them; `translate` on all of these, and `counters` on `translate`.
//!
//! # Glossary
//!
//! Short words that are used without being spelled out; any other is written in full.
//!
//! | word | meaning |
//! |---|---|
//! | `v4_to_v6`, `v6_to_v4` | the two directions |
//! | DF, MF | IPv4's Don't Fragment and More Fragments flags |
//! | EAM | Explicit Address Mapping (RFC 7757) |
//! | MTU | maximum transmission unit, in octets of the network layer |
//! | TOS, TTL | IPv4's Type Of Service octet and Time To Live |
//! | `v4`, `v6` | IPv4, IPv6 |
//! | WKP | the Well-Known Prefix 64:ff9b::/96 (RFC 6052) |

#![no_std]
#![forbid(unsafe_code)]

pub mod address;
pub mod counters;
pub mod hash;
pub mod network;
pub mod plain;
pub mod policy;
pub mod reasons;
pub mod rewrite;
mod translate;
pub mod verdict;
pub mod wire;

pub use network::{AddressMap, Network};
pub use plain::Plain;
pub use policy::Policy;
pub use reasons::{DropReason, PassReason, PuntReason};
pub use rewrite::{Rewrite, Split};
pub use translate::{
    ClaimedV4, ClaimedV6, MAX_ERROR_LENGTH, NotPlain, TranslatedError, Translator, reply_v4,
    reply_v6,
};
pub use verdict::{Direction, Reply, Verdict};
