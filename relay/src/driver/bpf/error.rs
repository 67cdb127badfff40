//! Why the XDP program cannot do its work, in words for operators.

use super::AttachedMode;
use crate::driver::pins::PinError;
use aya::EbpfError;
use aya::maps::MapError;
use aya::maps::xdp::XdpMapError;
use aya::programs::ProgramError;
use eam_tables::layout;
use std::io;

/// Why the XDP program cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum BpfError {
    /// The kernel or the capabilities of the process do not allow to load it.
    #[error("cannot load the XDP program: {}; it needs root or the capabilities \
             CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON", chain(.0))]
    Load(#[source] EbpfError),
    /// The program or one of its maps is not in the object.
    #[error("the XDP object has no `{0}`; it does not belong to this binary")]
    Missing(&'static str),
    /// The verifier refused the program.
    #[error("the kernel refuses the XDP program: {}", refusal(.0))]
    Refused(#[source] ProgramError),
    /// The kernel does not say how many processors there are.
    #[error("cannot find out how many processors there are: {file}: {source}")]
    Processors {
        /// The file that says it.
        file: &'static str,
        /// What reading it came to.
        #[source]
        source: io::Error,
    },
    /// A test run failed.
    #[error("cannot run the XDP program for a test: {}", chain(.0))]
    TestRun(#[source] ProgramError),
    /// A map could not be read or written.
    #[error("BPF map {map}: {}", chain(.source))]
    Map {
        /// The name of the map.
        map: &'static str,
        /// What aya says.
        #[source]
        source: MapError,
    },
    /// The interface already has a program of somebody else.
    #[error(
        "interface {interface}: XDP program `{program}` (id {id}) is attached; \
             detach it with `ip link set dev {interface} xdp off`"
    )]
    Occupied {
        /// The interface.
        interface: String,
        /// The name of its program.
        program: String,
        /// The id of its program.
        id: u32,
    },
    /// The interface has the program of a relay that is still running.
    #[error(
        "interface {interface}: another relay is running on it, or has left its program with another `pin` (XDP program id {id}); \
         `siit-relay stop --detach` with its configuration takes it away"
    )]
    InUse {
        /// The interface.
        interface: String,
        /// The id of its program.
        id: u32,
    },
    /// The program cannot be attached in the mode asked for.
    #[error("interface {interface}: cannot attach the XDP program in {mode} mode: {}", chain(.source))]
    Attach {
        /// The interface.
        interface: String,
        /// The mode.
        mode: AttachedMode,
        /// What aya says.
        #[source]
        source: ProgramError,
    },
    /// An interface cannot become a place to redirect to.
    #[error("BPF map {}: {}", layout::DEVICES, chain(.0))]
    Device(#[source] XdpMapError),
    /// A table of the program could not be filled.
    #[error("BPF map {map}: cannot map its memory: {source}; {octets} octets are needed")]
    Memory {
        /// The name of the map.
        map: &'static str,
        /// How large it is.
        octets: usize,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// A socket cannot be kept for the programs to come.
    #[error("cannot duplicate the descriptor of an AF_XDP socket: {source}")]
    Socket {
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// A program cannot take the place of its predecessor.
    #[error("interface {interface_index}: cannot replace its XDP program: {}", chain(.source))]
    Replace {
        /// The kernel's number of the interface.
        interface_index: u32,
        /// What aya says.
        #[source]
        source: ProgramError,
    },
    /// The program cannot be kept for the time after the process, or what was kept cannot be taken over.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The kernel's list of attached programs cannot be read or changed.
    #[error("interface {interface}: cannot {action} its XDP program: {source}")]
    Leftover {
        /// The interface.
        interface: String,
        /// What was to be done.
        action: &'static str,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
}

/// Shows why a program was refused: of what the verifier says, often thousands of lines, the last ones tell.
fn refusal(error: &ProgramError) -> String {
    const LINES: usize = 4;
    let text = chain(error);
    let lines: Vec<&str> = text.lines().collect();
    match lines.as_slice() {
        [first, .., a, b, c, d] if lines.len() > LINES + 1 => {
            let first: String = first.chars().take(120).collect();
            format!("{first} ... {a}; {b}; {c}; {d}")
        }
        _ => text,
    }
}

/// Shows an error with its causes, which aya keeps apart.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
