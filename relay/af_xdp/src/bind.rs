//! Setting a socket up: registration or sharing of the UMEM, rings, and the bind itself.
//!
//! Later sockets of a UMEM are bound with XDP_SHARED_UMEM as their only flag; the kernel makes them copy
//! or zero-copy, and wakeup-driven, as the first one is, and refuses any other flag with EINVAL.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{
    set_xdp_rx_ring_size, set_xdp_tx_ring_size, set_xdp_umem_completion_ring_size,
    set_xdp_umem_fill_ring_size, set_xdp_umem_reg, xdp_mmap_offsets, xdp_options,
};
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, SocketAddrXdpWithSharedUmem, XDP_PGOFF_RX_RING,
    XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING, XdpOptionsFlags,
    XdpRingOffset,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};

use crate::error::{Call, Error, Ring};
use crate::mapping::Mapping;
use crate::ring::{Consumer, Producer};
use crate::ring_memory::{Descriptor, RingMemory};
use crate::rings::{DescriptorErrors, Rings};
use crate::socket::{Mode, Socket, SocketConfig, ZeroCopy};
use crate::sockopt::raise_tx_budget;
use crate::umem::Umem;

/// How long a bind waits for a queue that is busy: the kernel lets go of the sockets of a process that
/// has ended only some time later.
const BUSY_PATIENCE: Duration = Duration::from_secs(2);

/// The pauses between two attempts: the first, doubled each time, and the longest.
const BUSY_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));

impl Socket {
    /// Makes a socket for one queue of an interface, with rings of its own, over the frames of `umem`.
    ///
    /// The first socket registers the UMEM and chooses its [`Mode`]; the later ones share both. While the
    /// queue is busy the call waits, for two seconds at most.
    ///
    /// # Errors
    ///
    /// See [`Error`]; whatever was set up is taken down again.
    pub fn bind(umem: &mut Umem, config: &SocketConfig) -> Result<Self, Error> {
        Self::bind_within(umem, config, BUSY_PATIENCE)
    }

    /// Like [`bind`](Self::bind), and does not wait for a queue that is busy.
    ///
    /// # Errors
    ///
    /// As for [`bind`](Self::bind); [`Error::is_busy`] tells those after which it may be tried again.
    pub fn bind_at_once(umem: &mut Umem, config: &SocketConfig) -> Result<Self, Error> {
        Self::bind_within(umem, config, Duration::ZERO)
    }

    fn bind_within(
        umem: &mut Umem,
        config: &SocketConfig,
        patience: Duration,
    ) -> Result<Self, Error> {
        let sizes = &config.ring_sizes;
        for (ring, size) in [
            (Ring::Fill, sizes.fill),
            (Ring::Completion, sizes.completion),
            (Ring::Rx, sizes.rx),
            (Ring::Tx, sizes.tx),
        ] {
            if !size.is_power_of_two() {
                return Err(config.ring_size(ring, size));
            }
        }

        let fd = socket_with(
            AddressFamily::XDP,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(config.failed(Call::Socket))?;
        let registered_by = umem.registered_by();
        if registered_by.is_none() {
            set_xdp_umem_reg(&fd, umem.registration())
                .map_err(config.failed(Call::RegisterUmem))?;
        }

        set_xdp_umem_fill_ring_size(&fd, sizes.fill)
            .map_err(config.failed(Call::SizeRing(Ring::Fill)))?;
        set_xdp_umem_completion_ring_size(&fd, sizes.completion)
            .map_err(config.failed(Call::SizeRing(Ring::Completion)))?;
        set_xdp_rx_ring_size(&fd, sizes.rx).map_err(config.failed(Call::SizeRing(Ring::Rx)))?;
        set_xdp_tx_ring_size(&fd, sizes.tx).map_err(config.failed(Call::SizeRing(Ring::Tx)))?;

        let offsets = xdp_mmap_offsets(&fd).map_err(config.failed(Call::RingOffsets))?;
        let fill = map_ring(config, &fd, Ring::Fill, &offsets.fr, sizes.fill)?;
        let completion = map_ring(config, &fd, Ring::Completion, &offsets.cr, sizes.completion)?;
        let rx = map_ring(config, &fd, Ring::Rx, &offsets.rx, sizes.rx)?;
        let tx = map_ring(config, &fd, Ring::Tx, &offsets.tx, sizes.tx)?;

        match registered_by {
            None => umem.set_multi_buffer(bind_first(config, &fd, patience)?),
            Some(first) => bind_shared(config, &fd, &first, patience)?,
        }
        raise_tx_budget(fd.as_fd(), sizes.tx);
        let mode = mode_of(config, &fd)?;

        let fd = Arc::new(fd);
        let socket = umem.enrol(&fd, (config.interface_index, config.queue));
        let socket = socket.ok_or_else(|| config.sockets_exhausted())?;
        let rings = Rings {
            socket,
            umem: Arc::clone(umem.mapping()),
            fill: Producer::new(fill),
            completion: Consumer::new(completion),
            rx: Consumer::new(rx),
            tx: Producer::new(tx),
            errors: DescriptorErrors::default(),
        };
        Ok(Self::new(fd, rings, mode, umem.multi_buffer(), config))
    }
}

fn map_ring<T: Descriptor>(
    config: &SocketConfig,
    fd: &OwnedFd,
    ring: Ring,
    offsets: &XdpRingOffset,
    size: u32,
) -> Result<RingMemory<T>, Error> {
    let page_offset = match ring {
        Ring::Fill => XDP_UMEM_PGOFF_FILL_RING,
        Ring::Completion => XDP_UMEM_PGOFF_COMPLETION_RING,
        Ring::Rx => XDP_PGOFF_RX_RING,
        Ring::Tx => XDP_PGOFF_TX_RING,
    };
    let unknown_layout = || config.ring_layout(ring);
    let length = RingMemory::<T>::length(offsets, size).ok_or_else(unknown_layout)?;
    let mapping = Mapping::ring(fd.as_fd(), page_offset, length)
        .map_err(config.failed(Call::MapRing(ring)))?;
    RingMemory::new(Arc::new(mapping), offsets, size).ok_or_else(unknown_layout)
}

/// Binds the socket that registered the UMEM; says whether packets may lie in several chunks (since Linux 6.6).
fn bind_first(config: &SocketConfig, fd: &OwnedFd, patience: Duration) -> Result<bool, Error> {
    let attempt = |mode: SocketAddrXdpFlags, multi_buffer| {
        let mut flags = mode | SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP;
        flags.set(SocketAddrXdpFlags::XDP_USE_SG, multi_buffer);
        let address = SocketAddrXdp::new(flags, config.interface_index, config.queue);
        patiently(patience, || bind(fd, &address)).map(|()| multi_buffer)
    };
    // Kernels and drivers refuse what they cannot do in many ways, so that only the refusal of the least tells. A queue
    // that is busy is busy in every way.
    let first_of = |attempts: &[(SocketAddrXdpFlags, bool)]| {
        let mut outcome = Err(Errno::INVAL);
        for (mode, multi_buffer) in attempts {
            outcome = attempt(*mode, *multi_buffer);
            if matches!(outcome, Ok(_) | Err(Errno::BUSY)) {
                break;
            }
        }
        outcome
    };
    let (copy, zero_copy) = (
        SocketAddrXdpFlags::XDP_COPY,
        SocketAddrXdpFlags::XDP_ZEROCOPY,
    );
    match config.zero_copy {
        ZeroCopy::Off => {
            first_of(&[(copy, true), (copy, false)]).map_err(config.failed(Call::BindCopy))
        }
        ZeroCopy::On => first_of(&[(zero_copy, true), (zero_copy, false)])
            .map_err(config.failed(Call::BindZeroCopy)),
        ZeroCopy::Auto => {
            let order = match config.long_packets {
                true => [(zero_copy, true), (copy, true), (zero_copy, false)],
                false => [(zero_copy, true), (zero_copy, false), (copy, true)],
            };
            match first_of(&order) {
                Err(Errno::BUSY) => Err(config.failed(Call::BindZeroCopy)(Errno::BUSY)),
                Err(_) => attempt(copy, false).map_err(config.failed(Call::BindCopy)),
                Ok(multi_buffer) => Ok(multi_buffer),
            }
        }
    }
}

/// Binds a socket to the UMEM that `first` has registered.
fn bind_shared(
    config: &SocketConfig,
    fd: &OwnedFd,
    first: &OwnedFd,
    patience: Duration,
) -> Result<(), Error> {
    let mode = mode_of(config, first)?;
    let agrees = match config.zero_copy {
        ZeroCopy::Auto => true,
        ZeroCopy::On => mode == Mode::ZeroCopy,
        ZeroCopy::Off => mode == Mode::Copy,
    };
    if !agrees {
        return Err(config.mode_fixed(mode));
    }
    let flags = SocketAddrXdpFlags::XDP_SHARED_UMEM;
    let address = SocketAddrXdpWithSharedUmem {
        addr: SocketAddrXdp::new(flags, config.interface_index, config.queue),
        shared_umem_fd: first.as_fd(),
    };
    patiently(patience, || bind(fd, &address)).map_err(config.failed(Call::BindShared))
}

fn mode_of(config: &SocketConfig, fd: &OwnedFd) -> Result<Mode, Error> {
    let options = xdp_options(fd).map_err(config.failed(Call::Options))?;
    Ok(if options.contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY) {
        Mode::ZeroCopy
    } else {
        Mode::Copy
    })
}

/// Repeats `bind` with growing pauses while the kernel says EBUSY.
fn patiently(patience: Duration, mut bind: impl FnMut() -> Result<(), Errno>) -> Result<(), Errno> {
    let deadline = Instant::now() + patience;
    let (mut pause, longest) = BUSY_PAUSE;
    loop {
        match bind() {
            Err(Errno::BUSY) if Instant::now() < deadline => std::thread::sleep(pause),
            result => return result,
        }
        pause = (pause * 2).min(longest);
    }
}
