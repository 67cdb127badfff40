//! The daemon `siit-relay` and its command line, bottom to top.
//!
//! | module | what is there |
//! |---|---|
//! | [`config`] | `relay.yaml`, read and validated |
//! | [`tally`] | what is counted for each mapping |
//! | [`tables`] | one generation of mappings, lists and policy; the translator's surroundings |
//! | [`link`] | what stands in front of a packet |
//! | [`perform`] | a translation carried out on a frame |
//! | [`memory`] | frames in plain memory |
//! | [`errors`] | ICMP errors, translated and originated |
//! | [`lookahead`] | what a batch of frames will read, fetched in advance |
//! | [`process`] | what becomes of one frame; no file descriptor |
//! | [`worker`] | an AF_XDP thread: receive, process, transmit, reclaim |
//! | [`tap`] | a look at packets on their way |
//! | [`stats`] | what workers count |
//! | [`control`] | the control socket, metrics and health over HTTP |
//! | [`daemon`] | setting up, the control thread, generations, stopping |
//! | [`paths`] | the network as it is at a moment |
//! | [`routes`] | next hops, from the kernel's own routes and neighbours |
//! | [`offline`], [`capture`] | translation of capture files |
//! | [`driver`] | all that talks to the kernel: netlink, ethtool, XDP, namespaces |
//! | [`logging`] | the log, as text or JSON |
//! | [`lab`] | laboratories of network namespaces |
//! | [`demo`] | `siit-relay demo`: real traffic through the real relay |
//! | [`cli`] | arguments, subcommands, exit codes |

pub mod capture;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod demo;
pub mod driver;
pub mod errors;
pub mod fast_path;
pub mod lab;
pub mod link;
pub mod logging;
pub mod lookahead;
pub mod memory;
pub mod offline;
pub mod paths;
pub mod perform;
pub mod process;
pub mod routes;
pub mod stats;
pub mod tables;
pub mod tally;
pub mod tap;
pub mod worker;
