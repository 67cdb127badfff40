//! The XDP object of the benchmarks, as `build.rs` provides it, and how its programs are loaded and attached.

use std::io;

use aya::maps::MapError;
use aya::programs::{ProgramError, TestRun, Xdp, xdp::XdpMode};
use aya::{Ebpf, EbpfError, EbpfLoader, TestRunOptions};

use crate::chain::Chain;

/// What the object and this program have in common.
#[expect(
    dead_code,
    reason = "the object's half of what both have in common is not used here"
)]
#[path = "../ebpf/src/layout.rs"]
pub(crate) mod layout;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/siit_bench.bpf.o"));

/// Why an XDP program of the benchmarks cannot do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObjectError {
    /// The kernel or the capabilities of the process do not allow to load it.
    #[error("cannot load the XDP programs: {}; this needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON", Chain(.0))]
    Load(#[source] EbpfError),
    /// The verifier refused it, or it could not be attached or run.
    #[error("XDP program {program}: cannot {what}: {}", Chain(.source))]
    Program {
        /// The program.
        program: &'static str,
        /// What was to be done with it.
        what: &'static str,
        /// What aya says.
        #[source]
        source: ProgramError,
    },
    /// It could be attached neither in the driver nor generically.
    #[error("XDP program {program}: cannot attach to the interface with index {interface}: {}", Chain(.source))]
    Attach {
        /// The program.
        program: &'static str,
        /// The interface's index.
        interface: u32,
        /// What aya says.
        #[source]
        source: ProgramError,
    },
    /// A map could not be read or written.
    #[error("BPF map {map}: {}", Chain(.source))]
    Map {
        /// The map.
        map: &'static str,
        /// What aya says.
        #[source]
        source: MapError,
    },
    /// The object does not belong to this binary.
    #[error("the XDP object has no {0}")]
    Missing(&'static str),
}

/// One copy of the object in the kernel, with maps of its own.
pub(crate) struct Object(Ebpf);

impl Object {
    /// Loads the maps, and one of the programs.
    pub(crate) fn load(program: &'static str) -> Result<Self, ObjectError> {
        let mut object = Self(EbpfLoader::new().load(OBJECT).map_err(ObjectError::Load)?);
        object
            .program(program)?
            .load()
            .map_err(|source| ObjectError::Program {
                program,
                what: "load it",
                source,
            })?;
        Ok(object)
    }

    /// Returns a program.
    pub(crate) fn program(&mut self, program: &'static str) -> Result<&mut Xdp, ObjectError> {
        self.0
            .program_mut(program)
            .ok_or(ObjectError::Missing(program))?
            .try_into()
            .map_err(|source| ObjectError::Program {
                program,
                what: "use it as an XDP program",
                source,
            })
    }

    /// Runs a program on live frames until a signal comes, or the kernel has enough.
    pub(crate) fn run_live(
        &self,
        program: &'static str,
        options: TestRunOptions<'_>,
    ) -> Result<(), ObjectError> {
        let failed = |source| ObjectError::Program {
            program,
            what: "run it on live frames, which needs Linux 5.18",
            source,
        };
        let loaded = self.0.program(program);
        let loaded: &Xdp = loaded
            .ok_or(ObjectError::Missing(program))?
            .try_into()
            .map_err(failed)?;
        match loaded.test_run(options) {
            Ok(_) => Ok(()),
            Err(ProgramError::SyscallError(error))
                if error.io_error.kind() == io::ErrorKind::Interrupted =>
            {
                Ok(())
            }
            Err(source) => Err(failed(source)),
        }
    }

    /// Takes a map out.
    pub(crate) fn map<M: TryFrom<aya::maps::Map, Error = MapError>>(
        &mut self,
        map: &'static str,
    ) -> Result<M, ObjectError> {
        let found = self.0.take_map(map).ok_or(ObjectError::Missing(map))?;
        M::try_from(found).map_err(in_map(map))
    }

    /// Attaches the program to an interface of this thread's namespace, in the driver if that can be. It is detached when
    /// the object is dropped.
    pub(crate) fn attach(
        &mut self,
        program: &'static str,
        interface: u32,
    ) -> Result<(), ObjectError> {
        let loaded = self.program(program)?;
        loaded
            .attach_to_if_index(interface, XdpMode::Driver)
            .or_else(|_| loaded.attach_to_if_index(interface, XdpMode::Skb))
            .map(drop)
            .map_err(|source| ObjectError::Attach {
                program,
                interface,
                source,
            })
    }
}

/// Completes an error of a map.
pub(crate) fn in_map(map: &'static str) -> impl Fn(MapError) -> ObjectError {
    move |source| ObjectError::Map { map, source }
}
