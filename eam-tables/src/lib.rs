//! Explicit Address Mappings (EAMs, RFC 7757) for SIIT: the model, the YAML file, the look-up.
//!
//! An EAM ties an IPv4 prefix to an IPv6 prefix. Of an address inside one of the two, the bits after the prefix (its *suffix*)
//! are kept and put behind the other prefix. The way up, zeros fill what is left of the 128 bits; the way down, bits beyond
//! the 32nd are discarded (RFC 7757, 3.3). Each direction picks the longest prefix that matches, on its own.
//!
//! From bottom to top: [`Place`] and [`Problem`] name a spot in a file and what is wrong there; [`parse_ipv4_prefix`] and
//! its IPv6 sibling read a prefix strictly; [`Eam`] is one valid mapping; [`load`] reads files and finds every problem at once;
//! [`flat`] is the look-up of mappings in plain arrays; [`EamTable`] answers for both directions by it; [`PrefixTable`] is a
//! frozen longest-prefix table for anything else; [`PrefixSet4`] is a set of IPv4 prefixes.
//!
//! Without the feature `std` nothing but what the XDP program shares is left: the layouts, and the look-up in [`flat`].

#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

#[cfg(feature = "std")]
mod conflicts;
#[cfg(feature = "std")]
mod entry;
#[cfg(feature = "std")]
mod file;
pub mod flat;
mod graft;
pub mod layout;
#[cfg(feature = "std")]
mod lookup;
#[cfg(feature = "std")]
mod plain;
#[cfg(feature = "std")]
mod prefix;
#[cfg(feature = "std")]
mod prefix_set;
#[cfg(feature = "std")]
mod problem;
#[cfg(feature = "std")]
mod reader;
#[cfg(feature = "std")]
mod search_order;
#[cfg(feature = "std")]
mod spelling;
#[cfg(feature = "std")]
mod table;
#[cfg(feature = "std")]
mod yaml;

#[cfg(feature = "std")]
pub use entry::{Eam, SuffixTooShort};
#[cfg(feature = "std")]
pub use file::{Loaded, load, parse, read_text};
#[cfg(feature = "std")]
pub use lookup::{Address, PrefixTable, one_bit};
#[cfg(feature = "std")]
pub use prefix::{PrefixError, parse_ipv4_prefix, parse_ipv6_prefix, printable, shorten};
#[cfg(feature = "std")]
pub use prefix_set::PrefixSet4;
#[cfg(feature = "std")]
pub use problem::{Place, Problem, Severity};
#[cfg(feature = "std")]
pub use spelling::closest;
#[cfg(feature = "std")]
pub use table::EamTable;
