//! What can be measured between the tester's interfaces.

mod reflector;
mod relay;
mod tayga;

use std::io;
use std::path::Path;

use ::relay::lab::{LabError, Namespace};
use clap::ValueEnum;

use crate::lab::{Direction, Lab, NORTH, SOUTH, Treatment};
use crate::object::layout::{PASS, ROUTE};
use crate::object::{Object, ObjectError};
use crate::process::Process;
use crate::receiver::xdp::XdpReceiver;
use crate::waits::Workers;
use reflector::Reflector;

/// A device to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Case {
    /// This relay with `fast_path: xdp`
    RelayXdp,
    /// This relay with `fast_path: af_xdp`
    RelayAfXdp,
    /// A plain router in XDP: bpf_fib_lookup and redirect
    XdpRouter,
    /// The kernel's own forwarding
    KernelRouter,
    /// TAYGA, a translator in user space behind a TUN interface
    Tayga,
    /// An AF_XDP program that only swaps MAC addresses and sends back
    Reflector,
    /// Nothing: the first interface counts and drops what the generator sends
    Ceiling,
}

/// Why a device cannot be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// It ended by itself, or was never ready.
    #[error("refused: {0}")]
    Refused(String),
    /// It is not on this machine.
    #[error("not installed: {0}")]
    NotInstalled(String),
    /// It is not made for so much.
    #[error("not measured: {0}")]
    TooMuch(String),
    /// Somebody wants the program to end.
    #[error("interrupted")]
    Interrupted,
    /// The laboratory is in the way.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// An XDP program could not be loaded or attached.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// An AF_XDP socket could not be had.
    #[error(transparent)]
    Socket(#[from] af_xdp::Error),
    /// A file or program could not be used.
    #[error("{what}: {source}")]
    Io {
        /// What was to be done.
        what: String,
        /// What the system says.
        source: io::Error,
    },
}

/// What a device is started with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings<'a> {
    /// The mappings in its table.
    pub(crate) eams: u32,
    /// The processor for its threads, if it has any.
    pub(crate) processor: usize,
    /// The relay's program.
    pub(crate) relay: &'a Path,
}

impl Case {
    /// What it is called in reports.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::RelayXdp => "siit-relay, XDP",
            Self::RelayAfXdp => "siit-relay, AF_XDP",
            Self::XdpRouter => "plain XDP router",
            Self::KernelRouter => "kernel forwarding",
            Self::Tayga => "TAYGA",
            Self::Reflector => "AF_XDP reflector",
            Self::Ceiling => "generator and drop",
        }
    }

    /// What it does to packets.
    pub(crate) const fn treatment(self) -> Treatment {
        match self {
            Self::RelayXdp | Self::RelayAfXdp | Self::Tayga => Treatment::Translates,
            Self::XdpRouter | Self::KernelRouter | Self::Reflector | Self::Ceiling => {
                Treatment::Routes
            }
        }
    }

    /// Starts it in a laboratory, with receivers where its packets arrive.
    pub(crate) fn start(self, lab: &Lab, settings: Settings<'_>) -> Result<Device, StartError> {
        let receive_at = |direction: Direction| {
            let (namespace, port) = match self {
                Self::Ceiling => (&lab.device, direction.sender()),
                Self::Reflector => (&lab.tester, direction.sender()),
                Self::RelayXdp
                | Self::RelayAfXdp
                | Self::XdpRouter
                | Self::KernelRouter
                | Self::Tayga => (&lab.tester, direction.receiver()),
            };
            let index = namespace.interface_index(port)?;
            Ok::<_, StartError>(namespace.run_in(|| XdpReceiver::attach(index, false))??)
        };
        // Before the device: over veth, frames can be redirected only to an end that has an XDP program at its other end.
        let v4_to_v6 = receive_at(Direction::V4ToV6)?;
        let v6_to_v4 = receive_at(Direction::V6ToV4)?;
        let (part, process) = match self {
            Self::RelayXdp => (None, Some(relay::start(lab, settings, "xdp")?)),
            Self::RelayAfXdp => (None, Some(relay::start(lab, settings, "af_xdp")?)),
            Self::XdpRouter => {
                lab.route_untranslated()?;
                (Some(Part::Programs(attach(&lab.device, ROUTE)?)), None)
            }
            Self::KernelRouter => {
                lab.route_untranslated()?;
                (Some(Part::Programs(attach(&lab.device, PASS)?)), None)
            }
            Self::Tayga => {
                let programs = attach(&lab.device, PASS)?;
                let process = tayga::start(lab, settings)?;
                (Some(Part::Programs(programs)), Some(process))
            }
            Self::Reflector => {
                let reflectors = [NORTH, SOUTH].map(|port| Reflector::start(lab, port, settings));
                let [north, south] = reflectors;
                (Some(Part::Reflectors([north?, south?])), None)
            }
            Self::Ceiling => (None, None),
        };
        Ok(Device {
            v4_to_v6,
            v6_to_v4,
            process,
            part,
        })
    }
}

/// A device at work. Dropping it stops it.
pub(crate) struct Device {
    v4_to_v6: XdpReceiver,
    v6_to_v4: XdpReceiver,
    process: Option<Process>,
    part: Option<Part>,
}

impl Device {
    /// Returns the receiver of what goes in one direction.
    pub(crate) fn receiver(&mut self, direction: Direction) -> &mut XdpReceiver {
        match direction {
            Direction::V4ToV6 => &mut self.v4_to_v6,
            Direction::V6ToV4 => &mut self.v6_to_v4,
        }
    }

    /// Returns the threads that it works with, if it does not work in the kernel alone.
    pub(crate) fn workers(&self) -> Workers {
        Workers {
            process: self.process.as_ref().map(Process::id),
            threads: match &self.part {
                Some(Part::Reflectors(reflectors)) => {
                    reflectors.iter().map(Reflector::thread).collect()
                }
                Some(Part::Programs(_)) | None => Vec::new(),
            },
        }
    }

    /// Checks that it has not ended by itself.
    pub(crate) fn still_runs(&mut self) -> Result<(), StartError> {
        self.process.as_mut().map_or(Ok(()), Process::still_runs)
    }
}

/// What a device consists of, besides a process; held until the device goes.
enum Part {
    Programs(#[expect(dead_code, reason = "held only")] [Object; 2]),
    Reflectors([Reflector; 2]),
}

/// Attaches a program to both interfaces of the device.
fn attach(device: &Namespace, program: &'static str) -> Result<[Object; 2], StartError> {
    let attach = |port| {
        let index = device.interface_index(port)?;
        let object = device.run_in(|| {
            let mut object = Object::load(program)?;
            object.attach(program, index)?;
            Ok::<_, ObjectError>(object)
        })??;
        Ok::<_, StartError>(object)
    };
    Ok([attach(NORTH)?, attach(SOUTH)?])
}
