//! How operators and machines talk to the running daemon: the control socket and the metrics.
//!
//! Both are served by threads of their own. What they need from the control thread they ask it for by a [`Command`], and it
//! answers when it comes by; neither it nor a worker ever waits for a client. `docs/control-protocol.md` describes what is
//! spoken on the socket. Nothing here decides about packets.

mod accept;
mod access;
mod answer;
pub mod client;
mod exposition;
mod http;
mod listen;
mod metrics;
mod process;
pub mod protocol;
mod server;
pub mod snapshot;
mod trace;

pub use access::{Access, Change, Command, Edit, Health, Refusal};
pub use answer::is_runtime;
pub use exposition::Format;
pub use http::serve as serve_metrics;
pub use listen::{ListenError, Listener};
pub use metrics::exposition;
pub use process::{Process, ProcessFigures};
pub use server::serve;
