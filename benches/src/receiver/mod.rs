//! Receiving test frames: how many there are, how long they took, and whether they are right.

mod af_xdp;
pub(crate) mod xdp;

use clap::ValueEnum;

use crate::generator::Port;
use crate::object::ObjectError;
use crate::statistics::Histogram;
use crate::traffic::{Fault, Traffic};
use af_xdp::AfXdpReceiver;
use xdp::XdpReceiver;

/// How test frames are received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// An XDP program in the kernel; the time is taken in the driver
    Xdp,
    /// This program, through an AF_XDP socket on queue 0; the time is taken here
    AfXdp,
}

/// Why frames could not be received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiverError {
    /// The XDP program could not be loaded, attached or asked.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The AF_XDP socket could not be had.
    #[error(transparent)]
    Socket(#[from] ::af_xdp::Error),
}

/// What arrived of a stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Arrived {
    /// Test frames.
    pub(crate) frames: u64,
    /// How long they were under way, if they were stamped.
    pub(crate) latencies: Histogram,
    /// The first fault among those that were looked at.
    pub(crate) fault: Option<Fault>,
}

/// A receiver of one of the kinds.
#[expect(
    clippy::large_enum_variant,
    reason = "there are never more than two of them"
)]
pub(crate) enum Receiver {
    /// In the kernel.
    Xdp(XdpReceiver),
    /// In this program.
    AfXdp(AfXdpReceiver),
}

impl Receiver {
    /// Begins to receive on an interface of this thread's namespace.
    pub(crate) fn new(kind: Kind, port: &Port) -> Result<Self, ReceiverError> {
        Ok(match kind {
            Kind::Xdp => Self::Xdp(XdpReceiver::attach(port.index, true)?),
            Kind::AfXdp => Self::AfXdp(AfXdpReceiver::start(port)?),
        })
    }

    /// Forgets everything. Nothing may arrive meanwhile.
    pub(crate) fn reset(&mut self) -> Result<(), ReceiverError> {
        match self {
            Self::Xdp(receiver) => receiver.reset()?,
            Self::AfXdp(receiver) => receiver.reset(),
        }
        Ok(())
    }

    /// Returns what arrived since the last reset; some frames are checked.
    pub(crate) fn arrived(&mut self, traffic: &Traffic) -> Result<Arrived, ReceiverError> {
        let mut fault = None;
        let mut look = |frame: &[u8]| {
            fault = fault.take().or_else(|| traffic.check(frame).err());
        };
        let (frames, latencies) = match self {
            Self::Xdp(receiver) => {
                receiver.take_samples(&mut look);
                (receiver.counted()?.frames, receiver.latencies()?)
            }
            Self::AfXdp(receiver) => receiver.arrived(&mut look),
        };
        Ok(Arrived {
            frames,
            latencies,
            fault,
        })
    }
}
