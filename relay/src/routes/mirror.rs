//! The control thread's side: follows the kernel's tables through netlink.
//!
//! Events are applied one by one. Where the kernel does not tell all that follows from a change (IPv4 routes vanish silently
//! with their interface), or events were lost, the table is read again as a whole.

use std::collections::HashSet;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage};
use netlink_packet_route::route::{RouteMessage, RouteType};
use netlink_packet_route::rule::RuleMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::decode::Origin;
use super::decode_route::are_default;
use super::resolve::{compile, resolve};
use super::state::{Link, Outdated, State};
use super::{Routes, Tables};
use crate::driver::netlink::{Connection, Events, NetlinkError};

/// Multicast groups of events: link, neighbour, addresses, routes and rules of both families, nexthop objects.
const GROUPS: [u32; 9] = [1, 3, 5, 7, 8, 9, 11, 19, 32];
/// The rules of a fresh kernel, by priority and table.
const RULES_V4: [(u32, u32); 3] = [(0, 255), (32766, 254), (32767, 253)];
const RULES_V6: [(u32, u32); 2] = [(0, 255), (32766, 254)];
/// How much one call of `process_events` does before it lets the control thread see to other things.
const DATAGRAMS_PER_CALL: usize = 4096;

/// The kernel's tables could not be followed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {request}: {source}")]
pub struct MirrorError {
    /// What was to be done.
    request: &'static str,
    /// The netlink error.
    source: NetlinkError,
}

fn failed(request: &'static str) -> impl FnOnce(NetlinkError) -> MirrorError {
    move |source| MirrorError { request, source }
}

/// What the kernel knows about links, addresses, routes, rules and neighbours, kept up to date by its events.
pub struct Mirror {
    events: Events,
    connection: Connection,
    pub(super) state: State,
    /// The prefixes of the last picture, for the next one if only links or neighbours change.
    tables: Option<Arc<Tables>>,
    /// The neighbours of the last picture and the marks which its look-ups set.
    neighbours: Vec<(u32, IpAddr)>,
    used: Arc<[AtomicBool]>,
}

impl Mirror {
    /// Opens a mirror of the network namespace of the calling thread, and reads everything.
    pub fn open() -> Result<Self, MirrorError> {
        let mut mirror = Self {
            events: Events::subscribe(&GROUPS)
                .map_err(failed("subscribe to the kernel's routing events"))?,
            connection: Connection::open().map_err(failed("open a netlink socket"))?,
            state: State::default(),
            tables: None,
            neighbours: Vec::new(),
            used: Arc::new([]),
        };
        mirror.state.outdated.everything = true;
        mirror.refresh()?;
        Ok(mirror)
    }

    /// Applies the events that have come, without waiting for more. Call it when the descriptor is readable; it may leave
    /// events for the next call.
    pub fn process_events(&mut self) -> Result<(), MirrorError> {
        for _ in 0..DATAGRAMS_PER_CALL {
            let state = &mut self.state;
            match self
                .events
                .receive(|message| state.take_in(message, Origin::Event))
            {
                Ok(true) => {}
                Ok(false) => break,
                Err(NetlinkError::Overrun) => {
                    tracing::warn!(
                        "routing events came faster than they were read; reading all tables again"
                    );
                    self.state.outdated.everything = true;
                }
                Err(source) => return Err(failed("receive routing events")(source)),
            }
        }
        self.refresh()
    }

    /// Whether a new snapshot would differ from the last, as far as known.
    pub fn is_dirty(&self) -> bool {
        // A table that could not be read whole is worse than an old one.
        self.state.changed && !self.state.outdated.everything
    }

    /// Takes a picture for the workers. `ports` are the indices of the relay's interfaces, in the order in which
    /// [`DirectHop::port`](super::DirectHop::port) counts them.
    pub fn snapshot(&mut self, ports: &[u32]) -> Routes {
        let tables = match &self.tables {
            Some(tables) if !self.state.routes_changed => Arc::clone(tables),
            _ => Arc::new(compile(&self.state)),
        };
        self.tables = Some(Arc::clone(&tables));
        self.state.routes_changed = false;
        self.state.changed = false;
        let (routes, neighbours) = resolve(tables, &self.state, ports);
        // What was used and not confirmed yet is not forgotten with the old picture.
        let marks = self.neighbours.iter().zip(self.used.iter());
        let still_used: HashSet<_> = marks
            .filter(|(_, used)| used.load(Ordering::Relaxed))
            .map(|(key, _)| *key)
            .collect();
        for (key, used) in neighbours.iter().zip(routes.used.iter()) {
            used.store(still_used.contains(key), Ordering::Relaxed);
        }
        self.neighbours = neighbours;
        self.used = Arc::clone(&routes.used);
        routes
    }

    /// Has the kernel confirm the neighbours that look-ups came upon since the last call and that are stale or not resolved.
    /// Packets which bypass the kernel do not do that by themselves. Returns how many it asked for.
    pub fn confirm_used_neighbours(&mut self) -> usize {
        let marks = self.neighbours.iter().zip(self.used.iter());
        let used: Vec<(u32, IpAddr)> = marks
            .filter(|(_, used)| used.swap(false, Ordering::Relaxed))
            .map(|(neighbour, _)| *neighbour)
            .collect();
        used.into_iter()
            .filter(|(link, address)| self.confirm_neighbour(*link, *address))
            .count()
    }

    /// Has the kernel confirm a neighbour that is in use, if it is stale or not resolved; says whether it had to be asked.
    pub fn confirm_neighbour(&mut self, link: u32, address: IpAddr) -> bool {
        let neighbour = self.state.neighbours.get(&(link, address));
        if neighbour.is_some_and(|neighbour| !neighbour.stale) {
            return false;
        }
        // The interface may have gone a moment ago; the events will tell.
        if let Err(error) = self
            .connection
            .request(use_neighbour(link, address), NLM_F_CREATE)
        {
            tracing::debug!(
                "cannot have the kernel confirm neighbour {address} on interface {link}: {error}"
            );
        }
        true
    }

    /// Returns the interface with an index.
    pub fn link(&self, index: u32) -> Option<&Link> {
        self.state.links.get(&index)
    }

    /// Returns all interfaces with their indices, in no order.
    pub fn links(&self) -> impl Iterator<Item = (u32, &Link)> {
        self.state.links.iter().map(|(index, link)| (*index, link))
    }

    /// Returns all addresses of the machine; one that is on several interfaces comes several times.
    pub fn own_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.state.addresses.iter().map(|(_, address, _)| *address)
    }

    /// Returns the addresses of one interface.
    pub fn addresses_of(&self, index: u32) -> impl Iterator<Item = IpAddr> + '_ {
        self.state
            .addresses
            .iter()
            .filter(move |(link, _, _)| *link == index)
            .map(|(_, address, _)| *address)
    }

    /// Reads again whatever is out of date. What could not be read whole is read again, with everything, the next time.
    fn refresh(&mut self) -> Result<(), MirrorError> {
        let outdated = std::mem::take(&mut self.state.outdated);
        let outcome = if outdated.everything {
            self.reread()
        } else {
            let rules = if outdated.rules {
                self.read_rules()
            } else {
                Ok(())
            };
            rules.and_then(|()| {
                if outdated.routes {
                    self.read_routes()
                } else {
                    Ok(())
                }
            })
        };
        self.state.outdated.everything |= outcome.is_err();
        outcome
    }

    fn reread(&mut self) -> Result<(), MirrorError> {
        // What is queued came before the dumps and is in them.
        loop {
            match self.events.receive(|_| ()) {
                Ok(true) | Err(NetlinkError::Overrun) => {}
                Ok(false) => break,
                Err(source) => return Err(failed("receive routing events")(source)),
            }
        }
        self.state = State::default();
        self.read(
            RouteNetlinkMessage::GetLink(LinkMessage::default()),
            "read the interfaces",
        )?;
        self.read(
            RouteNetlinkMessage::GetAddress(AddressMessage::default()),
            "read the addresses",
        )?;
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = NeighbourMessage::default();
            message.header.family = family;
            self.read(
                RouteNetlinkMessage::GetNeighbour(message),
                "read the neighbours",
            )?;
        }
        self.read_rules()?;
        self.read_routes()?;
        self.state.outdated = Outdated::default();
        Ok(())
    }

    fn read_routes(&mut self) -> Result<(), MirrorError> {
        self.state.v4.clear_routes();
        self.state.v6.clear_routes();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            message.header.kind = RouteType::Unspec;
            self.read(RouteNetlinkMessage::GetRoute(message), "read the routes")?;
        }
        self.state.routes_changed = true;
        self.state.changed = true;
        Ok(())
    }

    fn read_rules(&mut self) -> Result<(), MirrorError> {
        self.state.v4.default_rules = self.has_default_rules(AddressFamily::Inet, &RULES_V4)?;
        self.state.v6.default_rules = self.has_default_rules(AddressFamily::Inet6, &RULES_V6)?;
        self.state.changed = true;
        Ok(())
    }

    fn has_default_rules(
        &mut self,
        family: AddressFamily,
        expected: &[(u32, u32)],
    ) -> Result<bool, MirrorError> {
        let mut request = RuleMessage::default();
        request.header.family = family;
        let messages = match self.connection.dump(&RouteNetlinkMessage::GetRule(request)) {
            Ok(messages) => messages,
            // A kernel without policy routing.
            Err(error) if error.os_error() == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error()) => {
                return Ok(true);
            }
            Err(source) => return Err(failed("read the policy rules")(source)),
        };
        let mut rules = Vec::new();
        for message in messages {
            match message.content {
                Ok(RouteNetlinkMessage::NewRule(rule)) if rule.header.family == family => {
                    rules.push(rule)
                }
                Ok(_) => {}
                // A rule that cannot be decoded is not one of the default ones.
                Err(_) => return Ok(false),
            }
        }
        Ok(are_default(&rules, expected))
    }

    fn read(
        &mut self,
        request: RouteNetlinkMessage,
        what: &'static str,
    ) -> Result<(), MirrorError> {
        for message in self.connection.dump(&request).map_err(failed(what))? {
            self.state.take_in(message, Origin::Dump);
        }
        Ok(())
    }
}

impl AsFd for Mirror {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

/// The message which makes the kernel treat a neighbour as if it had just sent a packet to it.
fn use_neighbour(link: u32, address: IpAddr) -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    message.header.ifindex = link;
    message.header.flags = NeighbourFlags::Use;
    message
        .attributes
        .push(NeighbourAttribute::Destination(address.into()));
    RouteNetlinkMessage::NewNeighbour(message)
}
