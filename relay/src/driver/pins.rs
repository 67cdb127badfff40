//! What keeps the XDP program at work when the process ends: links in a directory of a BPF file system.
//!
//! The directory belongs to the relay that holds a lock upon it. It has a link for each interface, named by the kernel's number
//! for that, and the map in which the program that the links hold counts. Objects are opened by path and never by id, which
//! takes CAP_BPF and the right to open files there; an id would take CAP_SYS_ADMIN.

use super::bpf::AttachedMode;
use super::xdp_link::{self, Hook};
use aya::maps::{Map, MapData};
use aya::pin::PinError as AyaPinError;
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use rustix::fs::{Access, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountFlags;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Where the machine has its BPF file system.
const MOUNT_POINT: &str = "/sys/fs/bpf";
/// The kernel's number of the file system (BPF_FS_MAGIC).
const BPF_FS: u32 = 0xcafe_4a11;
const LINK: &str = "link-";
const COUNTERS: &str = "counters";
/// How long the kernel may take to detach a program whose link nobody holds any more.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why the program cannot be kept, or what was kept cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// Another relay holds the directory.
    #[error(
        "pin {}: another relay is running with this directory; stop that one first, or give this one another `pin`",
        .0.display()
    )]
    InUse(PathBuf),
    /// The directory lies elsewhere.
    #[error("pin {}: this is in no BPF file system; `mount -t bpf bpf {MOUNT_POINT}` makes one", .0.display())]
    NoBpfFs(PathBuf),
    /// A system call failed.
    #[error("pin {}: cannot {action}: {source}", .path.display())]
    System {
        /// The directory or a file in it.
        path: PathBuf,
        /// What was to be done.
        action: &'static str,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// An object cannot be pinned.
    #[error("pin {}: cannot pin it: {source}", .path.display())]
    Pin {
        /// Where.
        path: PathBuf,
        /// What aya says.
        #[source]
        source: AyaPinError,
    },
    /// A pinned link cannot be opened.
    #[error("pin {}: cannot open it: {source}", .path.display())]
    Link {
        /// Where.
        path: PathBuf,
        /// What aya says.
        #[source]
        source: LinkError,
    },
    /// A link is of a kind that cannot be pinned.
    #[error(
        "interface {interface_index}: the kernel has no BPF link for its XDP program: {source}"
    )]
    NoLink {
        /// The kernel's number of the interface.
        interface_index: u32,
        /// What aya says.
        #[source]
        source: LinkError,
    },
}

/// The directory, held for as long as this lives.
#[derive(Debug)]
pub struct Pins {
    directory: PathBuf,
    _lock: OwnedFd,
}

impl Pins {
    /// Makes the directory, if need be with the BPF file system, and takes hold of it.
    ///
    /// # Errors
    ///
    /// [`PinError::InUse`] if another relay has it; the others say why the program cannot be kept there.
    pub fn open(directory: &Path) -> Result<Self, PinError> {
        let failed = |action| failed(directory, action);
        if directory.starts_with(MOUNT_POINT) && !is_bpf_fs(Path::new(MOUNT_POINT)) {
            rustix::mount::mount("bpf", MOUNT_POINT, "bpf", MountFlags::empty(), None)
                .map_err(|error| failed("mount a BPF file system at /sys/fs/bpf")(error.into()))?;
            info!("mounted a BPF file system at {MOUNT_POINT}");
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed("make the directory"))?;
        if !is_bpf_fs(directory) {
            return Err(PinError::NoBpfFs(directory.to_owned()));
        }
        let pins = Self::take(directory)?;
        // A link that could not be pinned would be lost.
        rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| failed("write to the directory")(error.into()))?;
        Ok(pins)
    }

    /// Takes hold of the directory if there is one.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn find(directory: &Path) -> Result<Option<Self>, PinError> {
        match directory.exists() {
            true => Self::take(directory).map(Some),
            false => Ok(None),
        }
    }

    fn take(directory: &Path) -> Result<Self, PinError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let lock = rustix::fs::open(directory, flags, Mode::empty())
            .map_err(|error| failed(directory, "open the directory")(error.into()))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self {
                directory: directory.to_owned(),
                _lock: lock,
            }),
            Err(Errno::WOULDBLOCK) => Err(PinError::InUse(directory.to_owned())),
            Err(error) => Err(failed(directory, "lock the directory")(error.into())),
        }
    }

    /// Returns the directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the link by which an earlier relay has left its program on an interface, and how that is attached. A link whose
    /// interface has gone, or has been made anew under the same number, is removed.
    ///
    /// # Errors
    ///
    /// [`PinError`] if the link cannot be opened or removed.
    pub fn link(&self, interface_index: u32) -> Result<Option<(FdLink, AttachedMode)>, PinError> {
        let path = self.link_path(interface_index);
        if !self.has_link(interface_index) {
            return Ok(None);
        }
        let broken = |source| PinError::Link {
            path: path.clone(),
            source,
        };
        let link = FdLink::from(PinnedLink::from_pin(&path).map_err(broken)?);
        let program = link.info().map_err(broken)?.program_id();
        let attached = xdp_link::attached(interface_index)
            .map_err(failed(&path, "ask for the program of the interface"))?;
        match attached.filter(|(id, _)| *id == program) {
            Some((_, Hook::Generic)) => Ok(Some((link, AttachedMode::Generic))),
            Some((_, Hook::Driver | Hook::Device)) => Ok(Some((link, AttachedMode::Native))),
            None => {
                self.remove_link(interface_index)?;
                Ok(None)
            }
        }
    }

    /// Whether there is a link for an interface.
    pub fn has_link(&self, interface_index: u32) -> bool {
        self.link_path(interface_index).exists()
    }

    /// Keeps a link. If that fails, it is closed, and what it held is detached.
    ///
    /// # Errors
    ///
    /// [`PinError::Pin`] if the kernel refuses.
    pub fn keep_link(&self, interface_index: u32, link: FdLink) -> Result<FdLink, PinError> {
        let path = self.link_path(interface_index);
        match link.pin(&path) {
            Ok(pinned) => Ok(pinned.into()),
            Err(source) => Err(PinError::Pin { path, source }),
        }
    }

    /// Lets go of a link; its program stays for as long as somebody has the link open.
    ///
    /// # Errors
    ///
    /// [`PinError::System`] if the file cannot be removed.
    pub fn remove_link(&self, interface_index: u32) -> Result<(), PinError> {
        remove(&self.link_path(interface_index))
    }

    /// Returns the kernel's numbers of the interfaces that there are links for.
    ///
    /// # Errors
    ///
    /// [`PinError::System`] if the directory cannot be read.
    pub fn links(&self) -> Result<Vec<u32>, PinError> {
        let mut indices = Vec::new();
        let failed = |source| failed(&self.directory, "read the directory")(source);
        for entry in fs::read_dir(&self.directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let index = name.to_str().and_then(|name| name.strip_prefix(LINK));
            indices.extend(index.and_then(|index| index.parse::<u32>().ok()));
        }
        Ok(indices)
    }

    /// Keeps a map of counters in place of the one that was kept before.
    ///
    /// # Errors
    ///
    /// [`PinError`] if the kernel refuses; the one before is not kept any more then.
    pub fn keep_counters(&self, map: &Map) -> Result<(), PinError> {
        let path = self.directory.join(COUNTERS);
        remove(&path)?;
        map.pin(&path)
            .map_err(|source| PinError::Pin { path, source })
    }

    /// Returns the map of counters that an earlier relay has left.
    pub fn counters(&self) -> Option<Map> {
        let data = MapData::from_pin(self.directory.join(COUNTERS)).ok()?;
        Map::from_map_data(data).ok()
    }

    /// Lets go of all that is kept, and of the directory; returns the numbers of the interfaces that links were for.
    ///
    /// # Errors
    ///
    /// [`PinError::System`] if a file cannot be removed.
    pub fn remove_all(&self) -> Result<Vec<u32>, PinError> {
        let indices = self.links()?;
        indices
            .iter()
            .try_for_each(|index| self.remove_link(*index))?;
        remove(&self.directory.join(COUNTERS))?;
        // It stays where only root may remove it, which does no harm.
        let _ = fs::remove_dir(&self.directory);
        Ok(indices)
    }

    fn link_path(&self, interface_index: u32) -> PathBuf {
        self.directory.join(format!("{LINK}{interface_index}"))
    }
}

/// Waits until no program is attached to an interface: when the last holder of a link has let go, the kernel takes a moment.
pub fn await_detached(interface_index: u32) {
    let deadline = Instant::now() + PATIENCE;
    // An interface that has gone has no program either.
    while let Ok(Some((id, _))) = xdp_link::attached(interface_index) {
        if Instant::now() > deadline {
            warn!("interface {interface_index}: XDP program {id} is still attached");
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_bpf_fs(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type as u32 == BPF_FS)
}

fn remove(path: &Path) -> Result<(), PinError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed(path, "remove it")(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> PinError {
    move |source| PinError::System {
        path: path.to_owned(),
        action,
        source,
    }
}
