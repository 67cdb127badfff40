//! Busy polling: the driver's work is done by the socket's own calls, on the processor of whoever makes them, in place of
//! interrupts. (Kernel: Documentation/networking/napi.rst, "Busy polling".)

use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::error::{Call, Error};
use crate::socket::Socket;
use crate::sockopt::{BusyPollOption, busy_poll, set_busy_poll};

/// How the calls of a socket poll its device, in place of the device's interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyPoll {
    /// The microseconds for which a call that would block polls instead. [`Socket::wake_rx`] and [`Socket::kick_tx`] never
    /// block and poll once, unless it is zero.
    pub microseconds: u32,
    /// The most packets that the driver takes in at a time, 65,535 at most; after an interrupt it takes 64.
    pub budget: u32,
}

impl Socket {
    /// Has [`Socket::wake_rx`] and [`Socket::kick_tx`] poll the device, and the device's interrupts put off meanwhile.
    ///
    /// They are put off only where `napi_defer_hard_irqs` and `gro_flush_timeout` of the interface are not zero. The kernel
    /// knows which queue to poll once a packet has come by it. (Kernel: Documentation/networking/napi.rst, "Busy polling".)
    ///
    /// # Errors
    ///
    /// The kernel is older than 5.11, or the process has no CAP_NET_ADMIN; then no call polls.
    pub fn prefer_busy_poll(&mut self, how: BusyPoll) -> Result<(), Error> {
        // The time comes last: without it nothing is polled, whatever the others say.
        for (option, value) in [
            (BusyPollOption::Budget, how.budget),
            (BusyPollOption::Preferred, 1),
            (BusyPollOption::Time, how.microseconds),
        ] {
            set_busy_poll(self.as_fd(), option, value)
                .map_err(self.config().failed(Call::BusyPoll(option)))?;
        }
        Ok(())
    }

    /// Asks the kernel for an option of busy polling; 0 where it is not set.
    ///
    /// # Errors
    ///
    /// The kernel does not know the option, or does not tell it, as [`BusyPollOption::Budget`].
    pub fn busy_poll(&self, option: BusyPollOption) -> Result<u32, Errno> {
        busy_poll(self.as_fd(), option)
    }
}
