//! What can go wrong while a UMEM or a socket is set up, and what the operator can do about it.

use std::fmt;

use rustix::io::Errno;

use crate::socket::Mode;
use crate::sockopt::BusyPollOption;

/// A failure to set up or to use a UMEM or a socket.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The UMEM cannot have this number of frames.
    #[error(
        "a UMEM of {frames} frames: there must be at least one, and all must fit the address space"
    )]
    FrameCount {
        /// The number of frames asked for.
        frames: u32,
    },
    /// No memory for the frames.
    #[error("mmap of {length} octets for the UMEM: {errno}")]
    MapUmem {
        /// The octets asked for.
        length: usize,
        /// What the kernel said.
        errno: Errno,
    },
    /// A ring size that the kernel would refuse.
    #[error(
        "{interface} queue {queue}: {ring} ring of {size} entries: the size must be a power of two"
    )]
    RingSize {
        /// The interface's name.
        interface: String,
        /// The queue.
        queue: u32,
        /// Which ring.
        ring: Ring,
        /// The size asked for.
        size: u32,
    },
    /// The kernel lays a ring out in a way that this package does not know.
    #[error(
        "{interface} queue {queue}: unknown layout of the {ring} ring; Linux 5.4 or newer is needed"
    )]
    RingLayout {
        /// The interface's name.
        interface: String,
        /// The queue.
        queue: u32,
        /// Which ring.
        ring: Ring,
    },
    /// The UMEM is bound in one mode already, and its other sockets cannot use the other.
    #[error(
        "{interface} queue {queue}: cannot bind otherwise than in {mode} mode, which the first socket of this \
         UMEM has chosen for all; set the same zero-copy mode for all interfaces of a worker"
    )]
    ModeFixed {
        /// The interface's name.
        interface: String,
        /// The queue.
        queue: u32,
        /// The mode of the UMEM.
        mode: Mode,
    },
    /// More sockets than a UMEM can tell apart in its lifetime.
    #[error("{interface} queue {queue}: this UMEM has had 65535 sockets; make a new one")]
    SocketsExhausted {
        /// The interface's name.
        interface: String,
        /// The queue.
        queue: u32,
    },
    /// A system call failed.
    #[error("{interface} queue {queue}: {call}: {errno}{}", advice(*call, *errno))]
    Call {
        /// The interface's name.
        interface: String,
        /// The queue.
        queue: u32,
        /// Which call.
        call: Call,
        /// What the kernel said.
        errno: Errno,
    },
}

impl Error {
    /// Whether a queue is held by another socket, or still by one that was closed a moment ago.
    pub fn is_busy(&self) -> bool {
        matches!(
            self,
            Self::Call {
                call: Call::BindCopy | Call::BindZeroCopy | Call::BindShared,
                errno: Errno::BUSY,
                ..
            }
        )
    }
}

/// The rings of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// Chunks for the kernel to receive into.
    Fill,
    /// Chunks whose packet the kernel has sent.
    Completion,
    /// Received packets.
    Rx,
    /// Packets to send.
    Tx,
}

impl fmt::Display for Ring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Fill => "fill",
            Self::Completion => "completion",
            Self::Rx => "RX",
            Self::Tx => "TX",
        })
    }
}

/// The system calls that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Making the socket.
    Socket,
    /// Registering the UMEM.
    RegisterUmem,
    /// Sizing a ring.
    SizeRing(Ring),
    /// Asking where the parts of the rings lie.
    RingOffsets,
    /// Mapping a ring.
    MapRing(Ring),
    /// Binding the first socket of a UMEM in copy mode.
    BindCopy,
    /// Binding the first socket of a UMEM in zero-copy mode.
    BindZeroCopy,
    /// Binding a later socket of a UMEM, in the mode of the first.
    BindShared,
    /// Asking which mode the socket got.
    Options,
    /// Asking for the statistics.
    Statistics,
    /// Telling the kernel that the TX ring has work.
    KickTx,
    /// Telling the kernel that the fill ring has frames.
    WakeRx,
    /// Having the device polled by the socket's calls.
    BusyPoll(BusyPollOption),
}

impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket => formatter.write_str("socket(AF_XDP)"),
            Self::RegisterUmem => formatter.write_str("setsockopt(XDP_UMEM_REG)"),
            Self::SizeRing(ring) => write!(formatter, "setsockopt of the {ring} ring's size"),
            Self::RingOffsets => formatter.write_str("getsockopt(XDP_MMAP_OFFSETS)"),
            Self::MapRing(ring) => write!(formatter, "mmap of the {ring} ring"),
            Self::BindCopy => formatter.write_str("bind(XDP_COPY)"),
            Self::BindZeroCopy => formatter.write_str("bind(XDP_ZEROCOPY)"),
            Self::BindShared => formatter.write_str("bind(XDP_SHARED_UMEM)"),
            Self::Options => formatter.write_str("getsockopt(XDP_OPTIONS)"),
            Self::Statistics => formatter.write_str("getsockopt(XDP_STATISTICS)"),
            Self::KickTx => formatter.write_str("sendto"),
            Self::WakeRx => formatter.write_str("recvfrom"),
            Self::BusyPoll(option) => write!(formatter, "setsockopt({})", option.name()),
        }
    }
}

/// What to do about `errno` from `call`, as the end of a sentence; empty when nothing is known.
fn advice(call: Call, errno: Errno) -> &'static str {
    match call {
        Call::Socket => match errno {
            Errno::PERM | Errno::ACCESS => {
                "; needs CAP_NET_RAW (and CAP_NET_ADMIN to attach the XDP program)"
            }
            Errno::AFNOSUPPORT => "; this kernel is built without CONFIG_XDP_SOCKETS",
            _ => "",
        },
        Call::RegisterUmem => match errno {
            Errno::NOBUFS => "; needs CAP_IPC_LOCK or a larger RLIMIT_MEMLOCK",
            Errno::NOMEM => "; the frames cannot be kept in memory: use fewer",
            _ => "",
        },
        Call::BindCopy | Call::BindZeroCopy | Call::BindShared => advice_for_bind(call, errno),
        Call::KickTx | Call::WakeRx => match errno {
            Errno::NXIO => "; the interface or its XDP program has gone",
            _ => "",
        },
        Call::BusyPoll(option) => match errno {
            Errno::PERM => "; needs CAP_NET_ADMIN",
            Errno::NOPROTOOPT => "; Linux 5.11 or newer is needed",
            Errno::INVAL if option == BusyPollOption::Budget => "; at most 65535 packets at a time",
            _ => "",
        },
        Call::SizeRing(_)
        | Call::RingOffsets
        | Call::MapRing(_)
        | Call::Options
        | Call::Statistics => "",
    }
}

fn advice_for_bind(call: Call, errno: Errno) -> &'static str {
    match errno {
        Errno::PERM | Errno::ACCESS => "; needs CAP_NET_RAW and CAP_NET_ADMIN",
        Errno::NODEV => "; there is no such interface in this network namespace",
        Errno::BUSY => "; another AF_XDP socket holds this queue: stop the process that owns it",
        Errno::INVAL if call == Call::BindZeroCopy => {
            "; no such queue, or the MTU does not fit a chunk in zero-copy mode"
        }
        Errno::INVAL => "; no such queue, or this UMEM has a socket on it already",
        Errno::OPNOTSUPP if call == Call::BindShared => {
            "; an earlier socket of this UMEM is in zero-copy mode, which this interface or queue cannot do: \
             turn zero copy off for all interfaces of the worker"
        }
        Errno::OPNOTSUPP => {
            "; zero copy is not possible on this interface or queue: use auto or off"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(call: Call, errno: Errno) -> String {
        let error = Error::Call {
            interface: "eth0".to_owned(),
            queue: 3,
            call,
            errno,
        };
        error.to_string()
    }

    #[test]
    fn messages_name_the_object_the_call_and_the_way_out() {
        for (call, errno, expected) in [
            (Call::Socket, Errno::PERM, "CAP_NET_RAW"),
            (
                Call::RegisterUmem,
                Errno::NOBUFS,
                "needs CAP_IPC_LOCK or a larger RLIMIT_MEMLOCK",
            ),
            (Call::BindCopy, Errno::PERM, "CAP_NET_ADMIN"),
            (Call::BindCopy, Errno::INVAL, "no such queue"),
            (Call::BindCopy, Errno::BUSY, "holds this queue"),
            (Call::BindZeroCopy, Errno::INVAL, "MTU"),
            (Call::BindZeroCopy, Errno::OPNOTSUPP, "use auto or off"),
            (Call::BindShared, Errno::OPNOTSUPP, "turn zero copy off"),
            (Call::BindShared, Errno::INVAL, "no such queue"),
            (Call::BindShared, Errno::NODEV, "no such interface"),
        ] {
            let message = message(call, errno);
            assert!(
                message.starts_with(&format!("eth0 queue 3: {call}: ")),
                "{message}"
            );
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn an_unexpected_error_gets_no_invented_advice() {
        let message = message(Call::Options, Errno::FAULT);
        assert_eq!(
            message,
            format!("eth0 queue 3: getsockopt(XDP_OPTIONS): {}", Errno::FAULT)
        );
    }
}
