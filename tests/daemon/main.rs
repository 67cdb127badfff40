//! The daemon `siit-relay run` between real network stacks: a client, the relay and a server in namespaces of their own.
//!
//! ```text
//! client             relay                                 server
//! 203.0.113.50/24 -- 203.0.113.1 [north][south] ...:34::fe -- 2001:db8:12:34::1/64
//! ```
//!
//! The service is 192.0.2.1, the prefix 2001:db8:46::/96. Packets come from the kernels at both ends, and what they take
//! for right is right: nothing here knows how the relay computes it. Needs root.

mod control;
mod daemon;
mod delivery;
mod hops;
mod inject;
mod interfaces;
mod jumbo;
mod lab;
mod lifecycle;
mod load;
mod metrics;
mod native;
mod next_hops;
mod packets;
mod path_mtu;
mod ping;
mod ports;
mod reload;
mod restart;
mod sctp;
mod service;
mod start_up;
mod stream;
mod tally;
mod trace;
mod waits;
