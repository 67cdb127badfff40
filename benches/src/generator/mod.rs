//! Sending streams of test frames.

mod af_xdp;
pub(crate) mod live_frames;
mod pktgen;

use std::io;
use std::sync::atomic::AtomicBool;

use clap::ValueEnum;

use crate::object::ObjectError;
use crate::traffic::{Pace, Traffic};
use af_xdp::AfXdp;
use live_frames::LiveFrames;
use pktgen::Pktgen;

/// How test frames are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// An XDP program in the kernel, run by BPF_PROG_TEST_RUN (Linux 5.18)
    LiveFrames,
    /// This program, through an AF_XDP socket
    AfXdp,
    /// The kernel's packet generator (module pktgen); without latencies
    Pktgen,
}

/// Why frames could not be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GeneratorError {
    /// The XDP program could not be loaded or run.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The AF_XDP socket could not be had.
    #[error(transparent)]
    Socket(#[from] ::af_xdp::Error),
    /// The module is not loaded.
    #[error(
        "{0} is not there: the kernel's packet generator is the module pktgen (modprobe pktgen)"
    )]
    NoPktgen(String),
    /// One of its files could not be used.
    #[error("cannot write `{command}` to {path}: {source}")]
    Pktgen {
        /// The file.
        path: String,
        /// What was to be written.
        command: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// It did not say how many frames it sent.
    #[error("{path} does not tell how many packets were sent: {text}")]
    PktgenResult {
        /// The file.
        path: String,
        /// What it says instead.
        text: String,
    },
}

/// An interface that frames leave by, in the namespace of the thread that sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// Its name.
    pub(crate) name: String,
    /// Its number.
    pub(crate) index: u32,
}

/// A generator of one of the kinds.
pub(crate) enum Generator {
    /// In the kernel.
    LiveFrames(LiveFrames),
    /// In this program.
    AfXdp(AfXdp),
    /// Somewhere else in the kernel.
    Pktgen(Pktgen),
}

impl Generator {
    /// Makes a generator for an interface of this thread's namespace, on this processor.
    pub(crate) fn new(kind: Kind, port: &Port, processor: usize) -> Result<Self, GeneratorError> {
        Ok(match kind {
            Kind::LiveFrames => Self::LiveFrames(LiveFrames::load()?),
            Kind::AfXdp => Self::AfXdp(AfXdp::bind(port)?),
            Kind::Pktgen => Self::Pktgen(Pktgen::open(port, processor)?),
        })
    }

    /// Sends until the stream ends or until told to stop; returns how many frames were sent.
    pub(crate) fn run(
        &mut self,
        port: &Port,
        traffic: &Traffic,
        pace: Pace,
        stop: &AtomicBool,
    ) -> Result<u64, GeneratorError> {
        match self {
            Self::LiveFrames(generator) => {
                Ok(generator.prepare(traffic, pace)?.run(port.index, stop)?)
            }
            Self::AfXdp(generator) => Ok(generator.run(traffic, pace, stop)?),
            Self::Pktgen(generator) => generator.run(traffic, pace, stop),
        }
    }
}
