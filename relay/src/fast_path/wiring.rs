//! A generation with other ports than the one before: attached to what comes, put in place on what stays, detached from what goes.
//!
//! Numbers of ports and indices of sockets belong to a generation, since they stand in the maps of its program: whatever the old
//! program is still about to send goes by the old one's numbers.

use super::{FastPath, Known};
use crate::config::XdpMode;
use crate::driver::bpf::{AttachedMode, BpfError, XdpProgram};
use crate::tables::Tables;
use eam_tables::layout::{self, Egress};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use tracing::{info, warn};

/// What a program knows of its ports.
pub struct Wiring {
    /// The ports, by interface index.
    pub ports: BTreeMap<u32, layout::Port>,
    /// The AF_XDP sockets, by their indices as [`layout::Port::socket`] counts.
    pub sockets: BTreeMap<u32, OwnedFd>,
    /// How frames leave, by interface index.
    pub egresses: BTreeMap<u32, Egress>,
    /// Where the program has to be attached, because it is not there or in another mode.
    pub attachments: Vec<Attachment>,
}

/// An interface that a program has to be attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its name.
    pub name: String,
    /// The kernel's number for it.
    pub index: u32,
    /// How.
    pub mode: XdpMode,
    /// How it is attached before, if it is.
    pub before: Option<AttachedMode>,
}

impl FastPath {
    /// Puts a new generation with ports of its own in the place of the one in force; returns in which modes the program was
    /// attached where it had to be, by interface index.
    ///
    /// Where the program stays it is replaced, so that no frame sees neither or both. Where its mode changes, there is none for a
    /// moment.
    ///
    /// # Errors
    ///
    /// [`BpfError`] if an interface cannot be attached to, or the kernel refuses otherwise; the old generation stays in force then,
    /// wherever it was.
    pub fn rewire(
        &mut self,
        mut program: XdpProgram,
        tables: &Tables,
        wiring: Wiring,
    ) -> Result<BTreeMap<u32, AttachedMode>, BpfError> {
        let mut known = Known {
            ports: wiring.ports,
            sockets: wiring.sockets,
            own: self.known.own.clone(),
            egresses: wiring.egresses,
            state: self.known.state,
        };
        known.tell(&mut program, tables)?;
        let modes = match self.attach_all(&mut program, &wiring.attachments) {
            Ok(modes) => modes,
            Err(error) => {
                self.retreat(&mut program, &wiring.attachments);
                return Err(error);
            }
        };
        let (staying, going): (Vec<u32>, Vec<u32>) = self
            .program
            .interfaces()
            .partition(|index| known.ports.contains_key(index));
        if let Err(error) = program.take_over(&mut self.program, &staying) {
            // Those that it has may be had back.
            if let Err(error) = self.program.take_over(&mut program, &staying) {
                warn!("{error}");
            }
            self.retreat(&mut program, &wiring.attachments);
            return Err(error);
        }
        // From here on the new generation is in force, and what fails does not change that.
        for index in going {
            if let Err(error) = self.program.detach(index, self.pins.as_ref()) {
                warn!("{error}");
            }
        }
        self.known = known;
        self.succeed(program);
        Ok(modes)
    }

    /// Attaches a new program where it has to be. What is detached for that comes last, so that nothing is for nothing.
    fn attach_all(
        &mut self,
        program: &mut XdpProgram,
        attachments: &[Attachment],
    ) -> Result<BTreeMap<u32, AttachedMode>, BpfError> {
        let mut modes = BTreeMap::new();
        let (changed, new): (Vec<_>, Vec<_>) =
            attachments.iter().partition(|it| it.before.is_some());
        for attachment in new.into_iter().chain(changed) {
            let Attachment {
                name,
                index,
                mode,
                before,
            } = attachment;
            if before.is_some() {
                info!("{name}: detaching, since `xdp` asks for another mode");
                self.program.detach(*index, self.pins.as_ref())?;
            }
            let mode = program.attach(name, *index, *mode, self.pins.as_ref())?;
            modes.insert(*index, mode);
        }
        match &self.pins {
            Some(pins) if program.translates() => program.pin_links(pins)?,
            Some(_) | None => {}
        }
        Ok(modes)
    }

    /// Takes a program away again from where it was attached, and puts the one in force back where that was.
    fn retreat(&mut self, program: &mut XdpProgram, attachments: &[Attachment]) {
        for Attachment {
            name,
            index,
            before,
            ..
        } in attachments
        {
            let is_attached = program.interfaces().any(|other| other == *index);
            let detached = match is_attached {
                true => program.detach(*index, self.pins.as_ref()),
                false => Ok(()),
            };
            let has_old = self.program.interfaces().any(|other| other == *index);
            let mode = match before {
                Some(AttachedMode::Native) => XdpMode::Native,
                Some(AttachedMode::Generic) => XdpMode::Generic,
                None => XdpMode::Auto,
            };
            let restored = match before.is_some() && !has_old {
                true => self.program.attach(name, *index, mode, None).map(drop),
                false => Ok(()),
            };
            if let Err(error) = detached.and(restored).and_then(|()| self.keep()) {
                warn!("{error}");
            }
        }
    }
}
