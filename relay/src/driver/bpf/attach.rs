//! Where the XDP program is attached: on interfaces, by links that may be pinned, in the place of a predecessor.

use super::{BpfError, XdpProgram, program};
use crate::config::XdpMode;
use crate::driver::pins::{self, PinError, Pins};
use crate::driver::xdp_link;
use aya::programs::links::FdLink;
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, ProgramInfo, xdp};
use eam_tables::layout;
use rustix::io::Errno;
use tracing::info;

/// How the program turned out to be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachedMode {
    /// In the driver.
    Native,
    /// In the kernel's generic path.
    Generic,
}

impl std::fmt::Display for AttachedMode {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

impl XdpProgram {
    /// Attaches the program to an interface; says in which mode. `Auto` tries the driver first.
    ///
    /// If an earlier relay has left its program by a pinned link, this one takes its place in the mode of that, and no frame
    /// sees neither or both; unless the other mode is asked for.
    ///
    /// # Errors
    ///
    /// [`BpfError::Occupied`] if somebody else's program is there, [`BpfError::Attach`] if the mode
    /// cannot be had.
    pub fn attach(
        &mut self,
        interface: &str,
        interface_index: u32,
        mode: XdpMode,
        pins: Option<&Pins>,
    ) -> Result<AttachedMode, BpfError> {
        if let Some(pins) = pins
            && let Some(mode) = self.inherit(interface, interface_index, mode, pins)?
        {
            return Ok(mode);
        }
        clear_leftover(interface, interface_index)?;
        let modes: &[AttachedMode] = match mode {
            XdpMode::Auto => &[AttachedMode::Native, AttachedMode::Generic],
            XdpMode::Native => &[AttachedMode::Native],
            XdpMode::Generic => &[AttachedMode::Generic],
        };
        let program = program(&mut self.ebpf)?;
        let mut outcome = Err(BpfError::Missing(layout::PROGRAM));
        for &mode in modes {
            let flag = match mode {
                AttachedMode::Native => xdp::XdpMode::Driver,
                AttachedMode::Generic => xdp::XdpMode::Skb,
            };
            outcome = match program.attach_to_if_index(interface_index, flag) {
                Ok(link) => {
                    self.links.insert(interface_index, link);
                    return Ok(mode);
                }
                Err(source) => {
                    let interface = interface.to_owned();
                    Err(BpfError::Attach {
                        interface,
                        mode,
                        source,
                    })
                }
            };
        }
        outcome
    }

    /// Takes the place of a program that an earlier relay has left on an interface; `None` if there is none that will do.
    fn inherit(
        &mut self,
        interface: &str,
        interface_index: u32,
        wanted: XdpMode,
        pins: &Pins,
    ) -> Result<Option<AttachedMode>, BpfError> {
        let Some((link, mode)) = pins.link(interface_index)? else {
            return Ok(None);
        };
        let is_wanted = match wanted {
            XdpMode::Auto => true,
            XdpMode::Native => mode == AttachedMode::Native,
            XdpMode::Generic => mode == AttachedMode::Generic,
        };
        if !is_wanted {
            info!(
                "{interface}: detaching what runs in {mode} mode, since `xdp` asks for another one"
            );
            pins.remove_link(interface_index)?;
            drop(link);
            pins::await_detached(interface_index);
            return Ok(None);
        }
        self.put_on(interface_index, link)?;
        info!("{interface}: took the place of the program that an earlier relay has left");
        Ok(Some(mode))
    }

    /// Puts the program on a link in place of the one that is there. If that fails, the link is closed.
    fn put_on(&mut self, interface_index: u32, link: FdLink) -> Result<(), BpfError> {
        let failed = |source| BpfError::Replace {
            interface_index,
            source,
        };
        let link = XdpLink::try_from(link).map_err(|source| PinError::NoLink {
            interface_index,
            source,
        })?;
        let link = program(&mut self.ebpf)?
            .attach_to_link(link)
            .map_err(failed)?;
        self.links.insert(interface_index, link);
        Ok(())
    }

    /// Has the program stay on its interfaces when the process ends, and its counters with it.
    ///
    /// # Errors
    ///
    /// [`BpfError::Pin`] if that cannot be; the program is not attached to the interface any more then.
    pub fn pin(&mut self, pins: &Pins) -> Result<(), BpfError> {
        self.pin_links(pins)?;
        Ok(pins.keep_counters(self.counters_map()?)?)
    }

    /// Has the program stay on its interfaces when the process ends.
    ///
    /// # Errors
    ///
    /// As [`pin`](Self::pin).
    pub fn pin_links(&mut self, pins: &Pins) -> Result<(), BpfError> {
        let indices: Vec<u32> = self.links.keys().copied().collect();
        for interface_index in indices {
            if pins.has_link(interface_index) {
                continue;
            }
            let Some(link) = self.links.remove(&interface_index) else {
                continue;
            };
            let link = program(&mut self.ebpf)?.take_link(link);
            let link = link.map_err(|source| BpfError::Replace {
                interface_index,
                source,
            })?;
            let link = FdLink::try_from(link).map_err(|source| PinError::NoLink {
                interface_index,
                source,
            })?;
            let link = pins.keep_link(interface_index, link)?;
            self.put_on(interface_index, link)?;
        }
        Ok(())
    }

    /// Detaches the program from an interface, and waits until it is.
    ///
    /// # Errors
    ///
    /// [`BpfError::Pin`] if a link that is pinned cannot be let go of.
    pub fn detach(&mut self, interface_index: u32, pins: Option<&Pins>) -> Result<(), BpfError> {
        if let Some(pins) = pins {
            pins.remove_link(interface_index)?;
        }
        if let Some(link) = self.links.remove(&interface_index) {
            let link = program(&mut self.ebpf)?.take_link(link);
            link.map(drop).map_err(|source| BpfError::Replace {
                interface_index,
                source,
            })?;
            pins::await_detached(interface_index);
        }
        Ok(())
    }

    /// Has the program end with the process.
    ///
    /// # Errors
    ///
    /// [`BpfError::Pin`] if a file cannot be removed.
    pub fn unpin(&self, pins: &Pins) -> Result<(), BpfError> {
        let mut indices = self.links.keys();
        Ok(indices.try_for_each(|index| pins.remove_link(*index))?)
    }

    /// Returns the kernel's numbers of the interfaces that the program is attached to.
    pub fn interfaces(&self) -> impl Iterator<Item = u32> + '_ {
        self.links.keys().copied()
    }

    /// Takes the place of another program on these interfaces, where that is attached. No frame sees neither or both. An
    /// interface that has gone has taken its link along.
    ///
    /// # Errors
    ///
    /// [`BpfError::Replace`] if the kernel refuses; nothing is attached to that interface then, unless its link is pinned.
    pub fn take_over(&mut self, old: &mut Self, interfaces: &[u32]) -> Result<(), BpfError> {
        for &interface_index in interfaces {
            let Some(link) = old.links.remove(&interface_index) else {
                continue;
            };
            let failed = |source| BpfError::Replace {
                interface_index,
                source,
            };
            let link = program(&mut old.ebpf)?.take_link(link).map_err(failed)?;
            match program(&mut self.ebpf)?.attach_to_link(link) {
                Ok(link) => drop(self.links.insert(interface_index, link)),
                Err(ProgramError::SyscallError(error)) if has_gone(&error.io_error) => {}
                Err(source) => return Err(failed(source)),
            }
        }
        Ok(())
    }
}

/// Whether a link is refused because its interface has gone.
fn has_gone(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NOLINK.raw_os_error())
}

/// Removes a program that an earlier relay left behind when it died; anybody else's is left alone.
fn clear_leftover(interface: &str, interface_index: u32) -> Result<(), BpfError> {
    let failed = |action| {
        move |source| BpfError::Leftover {
            interface: interface.to_owned(),
            action,
            source,
        }
    };
    let Some((id, hook)) = xdp_link::attached(interface_index).map_err(failed("read"))? else {
        return Ok(());
    };
    let info = aya::programs::loaded_programs()
        .filter_map(Result::ok)
        .find(|info: &ProgramInfo| info.id() == id);
    let program = info
        .as_ref()
        .and_then(ProgramInfo::name_as_str)
        .unwrap_or("?")
        .to_owned();
    if program != layout::PROGRAM {
        return Err(BpfError::Occupied {
            interface: interface.to_owned(),
            program,
            id,
        });
    }
    match xdp_link::detach(interface_index, hook) {
        Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {
            Err(BpfError::InUse {
                interface: interface.to_owned(),
                id,
            })
        }
        outcome => outcome.map_err(failed("detach")),
    }
}
