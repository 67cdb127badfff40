//! What touches the operating system directly, and the only modules of this package with `unsafe` code.

mod array;
pub mod bpf;
pub mod ethtool;
pub mod interrupts;
pub mod kernel;
pub mod namespace;
pub mod napi;
pub mod netdev;
pub mod netlink;
pub mod object;
pub mod pins;
pub mod prefetch;
mod sysfs;
pub mod xdp_counters;
pub mod xdp_link;
