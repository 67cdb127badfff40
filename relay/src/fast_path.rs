//! The XDP program of the generation in force, and all that it is told of the network meanwhile.
//!
//! A generation is a program with tables of its own: publishing one means loading a new program and putting it in the old one's
//! place, so no frame sees a mixture. What changes without a reload (ports, next hops, the machine's own addresses) goes into the
//! maps of the program in force, and into those of its successor before that takes over.
//!
//! A program that translates stays on its interfaces when the process ends, if there is a place to pin it, and the next
//! process begins by putting its own there. What needs a worker is lost meanwhile, and counted as that.

mod prepare;
mod wiring;

pub use prepare::{Wishes, prepare};
pub use wiring::{Attachment, Wiring};

use crate::config::XdpMode;
use crate::driver::bpf::{AttachedMode, BpfError, XdpProgram};
use crate::driver::pins::{self, Pins};
use crate::driver::xdp_counters::XdpCounters;
use crate::tables::Tables;
use aya::maps::Map;
use eam_tables::layout::{self, Egress, Memory, State};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How long a program may still be at work on a frame after it was replaced, by far.
pub const GRACE: Duration = Duration::from_secs(1);
/// How long the program remembers an answer of the kernel at most, in the kernel's jiffies: a second or more.
const PATIENCE: u32 = 1000;

/// The program in force.
pub struct FastPath {
    program: XdpProgram,
    /// Replaced programs whose last numbers are still to be read.
    retired: Vec<(Instant, XdpProgram)>,
    /// What programs before those have counted.
    counted: XdpCounters,
    /// Where programs stay that translate.
    pins: Option<Pins>,
    /// Where the program of an earlier relay counted that this one has replaced, and since when.
    inherited: Option<(Instant, Map)>,
    known: Known,
}

/// What becomes of the program when the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It goes on, if it is pinned.
    Stay,
    /// It goes, too.
    Detach,
}

/// What each program is told anew.
#[derive(Default)]
struct Known {
    ports: BTreeMap<u32, layout::Port>,
    sockets: BTreeMap<u32, OwnedFd>,
    own: BTreeSet<IpAddr>,
    egresses: BTreeMap<u32, Egress>,
    state: State,
}

impl Known {
    /// Tells a program, whose tables are these, all that is known.
    fn tell(&mut self, program: &mut XdpProgram, tables: &Tables) -> Result<(), BpfError> {
        for (index, port) in &self.ports {
            program.set_port(*index, port)?;
        }
        for (index, socket) in &self.sockets {
            program.set_socket(*index, socket)?;
        }
        for address in &self.own {
            program.set_own(*address, true)?;
        }
        for (index, egress) in &self.egresses {
            program.set_egress(*index, Some(egress))?;
        }
        [self.state.own_v4, self.state.own_v6] = covered(tables, &self.own);
        program.set_state(&self.state)
    }
}

impl FastPath {
    /// Begins with the program of the first generation, which is attached to nothing yet.
    pub fn new(program: XdpProgram, pins: Option<Pins>) -> Self {
        let state = State {
            epoch: 1,
            patience: PATIENCE,
            ..State::default()
        };
        Self {
            program,
            retired: Vec::new(),
            counted: XdpCounters::default(),
            pins,
            inherited: None,
            known: Known {
                state,
                ..Known::default()
            },
        }
    }

    /// Makes an interface a port of the relay, or changes what is known of it.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`] if the kernel refuses.
    pub fn set_port(&mut self, interface_index: u32, port: layout::Port) -> Result<(), BpfError> {
        self.program.set_port(interface_index, &port)?;
        self.known.ports.insert(interface_index, port);
        Ok(())
    }

    /// Has later programs know nothing of an interface that has gone, with which the kernel would refuse them.
    pub fn forget_port(&mut self, interface_index: u32) {
        self.known.ports.remove(&interface_index);
    }

    /// Puts an AF_XDP socket at an index, as [`layout::Port::socket`] counts.
    ///
    /// # Errors
    ///
    /// [`BpfError`] if the kernel refuses.
    pub fn set_socket(&mut self, index: u32, socket: &impl AsFd) -> Result<(), BpfError> {
        let socket = socket
            .as_fd()
            .try_clone_to_owned()
            .map_err(|source| BpfError::Socket { source })?;
        self.program.set_socket(index, &socket)?;
        self.known.sockets.insert(index, socket);
        Ok(())
    }

    /// Closes what is known of sockets, so that others can be bound in their places. The kernel takes a socket out of the map when
    /// nobody has it open.
    pub fn forget_sockets(&mut self) {
        self.known.sockets.clear();
    }

    /// Attaches the program to an interface; says in which mode.
    ///
    /// # Errors
    ///
    /// As [`XdpProgram::attach`].
    pub fn attach(
        &mut self,
        interface: &str,
        interface_index: u32,
        mode: XdpMode,
    ) -> Result<AttachedMode, BpfError> {
        let pins = self.pins.as_ref();
        if let (None, Some(pins)) = (&self.inherited, pins) {
            self.inherited = pins.counters().map(|map| (Instant::now(), map));
        }
        self.program.attach(interface, interface_index, mode, pins)
    }

    /// Says how an earlier relay has left its program on an interface, if it has.
    ///
    /// # Errors
    ///
    /// [`BpfError::Pin`] if that cannot be found out.
    pub fn left_on(&self, interface_index: u32) -> Result<Option<AttachedMode>, BpfError> {
        let Some(pins) = &self.pins else {
            return Ok(None);
        };
        let left = pins.link(interface_index)?;
        Ok(left.map(|(_, mode)| mode))
    }

    /// Has the program stay when the process ends, if it translates. Called when it is attached to all interfaces; what an
    /// earlier relay has left on others is detached.
    ///
    /// # Errors
    ///
    /// [`BpfError::Pin`] if the kernel refuses.
    pub fn settle(&mut self) -> Result<(), BpfError> {
        let Some(pins) = &self.pins else {
            return Ok(());
        };
        for index in pins.links()? {
            if !self.program.interfaces().any(|own| own == index) {
                info!(
                    "interface {index}: detaching what an earlier relay has left; it is none of this one's"
                );
                pins.remove_link(index)?;
                pins::await_detached(index);
            }
        }
        self.keep()
    }

    /// Has the program in force stay when the process ends, if it translates and there is a place to pin it.
    fn keep(&mut self) -> Result<(), BpfError> {
        match (&self.pins, self.program.translates()) {
            (Some(pins), true) => self.program.pin(pins),
            (Some(pins), false) => self.program.unpin(pins),
            (None, _) => Ok(()),
        }
    }

    /// Follows the network: the machine's addresses, the interfaces by which frames can leave, and routes, of which it is enough
    /// to know on what the kernel's answers depend.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`] if the kernel refuses.
    pub fn follow(
        &mut self,
        tables: &Tables,
        own: BTreeSet<IpAddr>,
        egresses: BTreeMap<u32, Egress>,
        [memory_v4, memory_v6]: [Memory; 2],
    ) -> Result<(), BpfError> {
        for address in own.difference(&self.known.own) {
            self.program.set_own(*address, true)?;
        }
        for (index, egress) in &egresses {
            if self.known.egresses.get(index) != Some(egress) {
                self.program.set_egress(*index, Some(egress))?;
            }
        }
        let [own_v4, own_v6] = covered(tables, &own);
        let state = State {
            memory_v4,
            memory_v6,
            own_v4,
            own_v6,
            ..self.known.state
        };
        // While numbers change nothing is remembered by them: the program may see some that are new and some that are old.
        for memory in [
            &mut self.known.state.memory_v4,
            &mut self.known.state.memory_v6,
        ] {
            memory.on = Memory::NOTHING;
        }
        self.program.set_state(&self.known.state)?;
        self.known.state = state;
        self.forget_next_hops()?;
        // What is no longer so is forgotten when nothing relies on it.
        for address in self.known.own.difference(&own) {
            self.program.set_own(*address, false)?;
        }
        for index in self.known.egresses.keys() {
            if !egresses.contains_key(index) {
                self.program.set_egress(*index, None)?;
            }
        }
        self.known.own = own;
        self.known.egresses = egresses;
        Ok(())
    }

    /// Has everything go to the workers, where it can be looked at, or no longer.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`] if the kernel refuses.
    pub fn set_watched(&mut self, is_watched: bool) -> Result<(), BpfError> {
        self.known.state.is_watched = u32::from(is_watched);
        self.program.set_state(&self.known.state)
    }

    /// Voids all that the program remembers of next hops, for something has changed; [`follow`](Self::follow) comes later.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`] if the kernel refuses.
    pub fn forget_next_hops(&mut self) -> Result<(), BpfError> {
        let state = &mut self.known.state;
        state.epoch = state.epoch.wrapping_add(1).max(1);
        self.program.set_state(state)
    }

    /// Puts a new generation, which was [prepared](prepare) from the tables, in the place of the one in force.
    ///
    /// # Errors
    ///
    /// [`BpfError`] if the kernel refuses; the old generation stays in force then, wherever it was.
    pub fn publish(&mut self, mut program: XdpProgram, tables: &Tables) -> Result<(), BpfError> {
        self.known.tell(&mut program, tables)?;
        let everywhere: Vec<u32> = self.program.interfaces().collect();
        program.take_over(&mut self.program, &everywhere)?;
        self.succeed(program);
        Ok(())
    }

    /// Puts a program in force that is attached already, and has it stay if it may.
    fn succeed(&mut self, program: XdpProgram) {
        let old = std::mem::replace(&mut self.program, program);
        self.retired.push((Instant::now(), old));
        // The generation is in force: what follows must not make anybody believe that the one before is.
        if let Err(error) = self.keep() {
            warn!("{error}; the XDP program may end with this relay");
        }
    }

    /// Returns the neighbours, by interface index and address, to which frames have gone since the last call, nearly.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`] if the kernel refuses to tell.
    pub fn take_used_neighbours(&mut self) -> Result<Vec<(u32, IpAddr)>, BpfError> {
        self.program.take_used_neighbours()
    }

    /// Reads the last numbers of replaced programs and lets go of them; notes for a successor what has been counted.
    pub fn reclaim(&mut self, now: Instant) {
        if let Err(error) = self.note() {
            warn!("{error}");
        }
        let is_due = |since: &Instant| now.duration_since(*since) >= GRACE;
        if let Some((_, map)) = self.inherited.take_if(|(since, _)| is_due(since)) {
            match XdpCounters::untold(&map) {
                Ok(counters) => self.counted.add(&counters),
                Err(error) => warn!("the counters of the earlier relay's program: {error}"),
            }
        }
        let due = |(since, _): &mut (Instant, XdpProgram)| is_due(since);
        for (_, program) in self.retired.extract_if(.., due) {
            match program.counters() {
                Ok(counters) => self.counted.add(&counters),
                Err(error) => warn!("{error}"),
            }
        }
    }

    /// Returns the program in force.
    pub fn program(&self) -> &XdpProgram {
        &self.program
    }

    /// Notes what the program has counted so far, if there may be a successor to tell what comes after.
    fn note(&mut self) -> Result<(), BpfError> {
        match self.stays() {
            true => self.program.set_told(&self.program.counters()?),
            false => Ok(()),
        }
    }

    /// Whether the program stays when the process ends.
    fn stays(&self) -> bool {
        self.pins.is_some() && self.program.translates()
    }

    /// Returns all that the programs have counted, and what that of an earlier relay has counted while none ran.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`] if the kernel refuses to tell.
    pub fn counters(&self) -> Result<XdpCounters, BpfError> {
        let mut sum = self.counted;
        // What an earlier relay has counted otherwise is warned of when it is let go.
        if let Some(Ok(counters)) = self
            .inherited
            .as_ref()
            .map(|(_, map)| XdpCounters::untold(map))
        {
            sum.add(&counters);
        }
        for (_, program) in &self.retired {
            sum.add(&program.counters()?);
        }
        sum.add(&self.program.counters()?);
        Ok(sum)
    }

    /// Leaves the program to itself, or detaches it everywhere; returns all that was counted.
    ///
    /// # Errors
    ///
    /// [`BpfError`] if the kernel refuses to tell; the program is left or detached even then.
    pub fn end(mut self, departure: Departure) -> Result<XdpCounters, BpfError> {
        if self.stays() && departure == Departure::Stay {
            let sockets = self.known.sockets.keys().copied();
            let forgotten = self.program.forget_sockets(sockets);
            let state = State {
                is_watched: 0,
                ..self.known.state
            };
            let told = self.program.set_state(&state);
            let counters = self.counters();
            let noted = self.note();
            if let Some(pins) = &self.pins {
                let directory = pins.directory().display();
                info!(
                    "XDP program left at work, pinned in {directory}; `siit-relay stop --detach` takes it away"
                );
            }
            return forgotten.and(told).and(noted).and(counters);
        }
        let counters = self.counters();
        let removed = self.pins.as_ref().map(Pins::remove_all).transpose();
        let indices: Vec<u32> = self.program.interfaces().collect();
        drop(self.program);
        // Without a pin the kernel has done it when the link was closed.
        if let Ok(Some(_)) = removed {
            indices.into_iter().for_each(pins::await_detached);
        }
        info!("XDP program detached");
        removed?;
        counters
    }
}

/// Says whether the tables cover one of the machine's own addresses, of either family: 0 or 1.
fn covered(tables: &Tables, own: &BTreeSet<IpAddr>) -> [u32; 2] {
    let is_covered_v4 = own.iter().any(|address| match address {
        IpAddr::V4(address) => {
            let lists = [&tables.ipv4_translatable, &tables.service_pools];
            tables.eam.find_v4(*address).is_some() || lists.iter().any(|set| set.contains(*address))
        }
        IpAddr::V6(_) => false,
    });
    let is_covered_v6 = own.iter().any(|address| match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => tables.policy.prefix.contains(*address),
    });
    [u32::from(is_covered_v4), u32::from(is_covered_v6)]
}
