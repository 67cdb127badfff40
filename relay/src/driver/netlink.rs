//! Connections to the kernel's routing sockets (netlink, RFC 3549; `NETLINK_ROUTE`).
//!
//! A socket belongs to the network namespace of the thread that opens it, and works from any thread afterwards.
//! What the messages mean is up to the callers: `routes` reads tables and events, `lab` builds interfaces.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    DecodeError, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST,
    NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload, NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};

/// Larger than any datagram the kernel makes: dumps come in at most 32 KiB.
const BUFFER_OCTETS: usize = 128 * 1024;
/// Room for a burst of events, for example a routing daemon that withdraws everything it announced.
const EVENT_BUFFER_OCTETS: usize = 8 * 1024 * 1024;
/// A dump that the kernel calls inconsistent is repeated so many times before that is an error.
const DUMP_ATTEMPTS: usize = 20;
const NETLINK_HEADER_OCTETS: usize = 16;
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLA_TYPE_MASK: u16 = 0x3fff;

/// Why a netlink call failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// A system call on the socket failed.
    #[error("{call} on a netlink socket: {source}")]
    Socket {
        /// The system call.
        call: &'static str,
        /// Its error.
        source: io::Error,
    },
    /// The kernel refused the request.
    #[error("{source}{}", explanation(.message))]
    Refused {
        /// The error number of the answer.
        source: io::Error,
        /// The kernel's own words (extended acknowledgement), when it gave some.
        message: Option<String>,
    },
    /// The kernel sent something which cannot be decoded.
    #[error("undecodable netlink message: {0}")]
    Undecodable(DecodeError),
    /// The kernel answered something else than what was asked for.
    #[error("the kernel acknowledged the request without an answer")]
    NoAnswer,
    /// The kernel's table changed during each of several dumps.
    #[error("the table changed during each of {DUMP_ATTEMPTS} dumps")]
    Interrupted,
    /// Events were lost, because they came faster than they were read: dump everything again.
    #[error("events were lost")]
    Overrun,
}

impl NetlinkError {
    /// Returns the error number of a refusal or a failed system call.
    pub fn os_error(&self) -> Option<i32> {
        match self {
            Self::Socket { source, .. } | Self::Refused { source, .. } => source.raw_os_error(),
            Self::Undecodable(_) | Self::NoAnswer | Self::Interrupted | Self::Overrun => None,
        }
    }
}

fn explanation(message: &Option<String>) -> String {
    message
        .as_ref()
        .map(|text| format!(" ({text})"))
        .unwrap_or_default()
}

fn socket_error(call: &'static str) -> impl FnOnce(io::Error) -> NetlinkError {
    move |source| NetlinkError::Socket { call, source }
}

/// One message from the kernel.
#[derive(Debug)]
pub struct Message {
    /// The message type, for example 24 for `RTM_NEWROUTE`.
    pub kind: u16,
    /// The `NLM_F_*` flags, which for an event are those of the request that caused it.
    pub flags: u16,
    /// The content, unless it is something the decoder does not know.
    pub content: Result<RouteNetlinkMessage, DecodeError>,
}

/// A connection for requests and dumps; calls block until the kernel has answered.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Connection {
    /// Opens a connection in the network namespace of the calling thread.
    pub fn open() -> Result<Self, NetlinkError> {
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(socket_error("socket"))?;
        socket.bind_auto().map_err(socket_error("bind"))?;
        socket
            .connect(&SocketAddr::new(0, 0))
            .map_err(socket_error("connect"))?;
        // An acknowledgement then carries the header of the request, not all of it, and the kernel's words.
        socket
            .set_cap_ack(true)
            .map_err(socket_error("setsockopt NETLINK_CAP_ACK"))?;
        socket
            .set_ext_ack(true)
            .map_err(socket_error("setsockopt NETLINK_EXT_ACK"))?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: vec![0; BUFFER_OCTETS],
        })
    }

    /// Sends a request and waits until the kernel has done it.
    ///
    /// `flags` are `NLM_F_CREATE` and its like; request and acknowledgement flags are added.
    pub fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), NetlinkError> {
        self.exchange(message, flags | NLM_F_ACK, |_| ())
            .map(|_| ())
    }

    /// Asks for one object and returns the answer.
    pub fn query(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> Result<RouteNetlinkMessage, NetlinkError> {
        let mut answer = None;
        self.exchange(message, NLM_F_ACK, |message| answer = Some(message.content))?;
        answer
            .ok_or(NetlinkError::NoAnswer)?
            .map_err(NetlinkError::Undecodable)
    }

    /// Asks for a whole table and returns its messages, from a dump which no change interrupted.
    ///
    /// The kernel answers with everything there is when it cannot select, so the caller has to look what it got.
    pub fn dump(&mut self, message: &RouteNetlinkMessage) -> Result<Vec<Message>, NetlinkError> {
        let mut messages = Vec::new();
        for _ in 0..DUMP_ATTEMPTS {
            messages.clear();
            let consistent = self.exchange(message.clone(), NLM_F_DUMP, |message| {
                messages.push(message)
            })?;
            if consistent {
                return Ok(messages);
            }
        }
        Err(NetlinkError::Interrupted)
    }

    /// Sends one message and reads until it is acknowledged or the dump is done. Returns whether all messages belong to one
    /// state of the kernel.
    fn exchange(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        mut each: impl FnMut(Message),
    ) -> Result<bool, NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        packet.finalize();
        let mut octets = vec![0; packet.buffer_len()];
        packet.serialize(&mut octets);
        self.socket.send(&octets, 0).map_err(socket_error("send"))?;

        let mut consistent = true;
        loop {
            let length = receive(&self.socket, &mut self.buffer, true)?.unwrap_or(0);
            for part in split(&self.buffer[..length]) {
                let part = part?;
                // The rest of an exchange that ended early with an error.
                if part.sequence_number() != self.sequence {
                    continue;
                }
                consistent &= part.flags() & NLM_F_DUMP_INTR == 0;
                match decode(part) {
                    Received::Message(message) => each(message),
                    Received::Done => return Ok(consistent),
                    Received::Refused(error) => return Err(error),
                    Received::Nothing => {}
                }
            }
        }
    }
}

/// A subscription to the kernel's multicast groups of events.
#[derive(Debug)]
pub struct Events {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Events {
    /// Subscribes to groups (`RTNLGRP_*`) in the network namespace of the calling thread.
    pub fn subscribe(groups: &[u32]) -> Result<Self, NetlinkError> {
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(socket_error("socket"))?;
        socket.bind_auto().map_err(socket_error("bind"))?;
        // Beyond the system-wide limit with CAP_NET_ADMIN, else as far as the limit goes.
        set_socket_recv_buffer_size_force(&socket, EVENT_BUFFER_OCTETS)
            .or_else(|_| set_socket_recv_buffer_size(&socket, EVENT_BUFFER_OCTETS))
            .map_err(|error| socket_error("setsockopt SO_RCVBUF")(error.into()))?;
        for group in groups {
            socket
                .add_membership(*group)
                .map_err(socket_error("setsockopt NETLINK_ADD_MEMBERSHIP"))?;
        }
        Ok(Self {
            socket,
            buffer: vec![0; BUFFER_OCTETS],
        })
    }

    /// Takes one datagram of events, without waiting. Returns false when there is none.
    ///
    /// # Errors
    ///
    /// [`NetlinkError::Overrun`] when events were lost.
    pub fn receive(&mut self, mut each: impl FnMut(Message)) -> Result<bool, NetlinkError> {
        let Some(length) = receive(&self.socket, &mut self.buffer, false)? else {
            return Ok(false);
        };
        for part in split(&self.buffer[..length]) {
            if let Received::Message(message) = decode(part?) {
                each(message);
            }
        }
        Ok(true)
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

enum Received {
    Message(Message),
    Done,
    Refused(NetlinkError),
    Nothing,
}

/// Reads one datagram; `None` when there is none and the caller does not want to wait.
fn receive(socket: &Socket, buffer: &mut [u8], wait: bool) -> Result<Option<usize>, NetlinkError> {
    use rustix::net::{RecvFlags, recv};
    let flags = RecvFlags::TRUNC
        | if wait {
            RecvFlags::empty()
        } else {
            RecvFlags::DONTWAIT
        };
    loop {
        match recv(socket, &mut *buffer, flags) {
            Ok((filled, length)) if filled < length => return Err(NetlinkError::Overrun),
            Ok((filled, _)) => return Ok(Some(filled)),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) if !wait => return Ok(None),
            Err(rustix::io::Errno::NOBUFS) => return Err(NetlinkError::Overrun),
            Err(error) => {
                return Err(NetlinkError::Socket {
                    call: "recv",
                    source: error.into(),
                });
            }
        }
    }
}

/// Splits a datagram into its messages, which begin at multiples of four octets.
fn split(mut rest: &[u8]) -> impl Iterator<Item = Result<NetlinkBuffer<&[u8]>, NetlinkError>> {
    std::iter::from_fn(move || {
        if rest.len() < NETLINK_HEADER_OCTETS {
            return None;
        }
        let part = NetlinkBuffer::new_checked(rest).map_err(NetlinkError::Undecodable);
        rest = match &part {
            Ok(part) => rest
                .get((part.length() as usize).next_multiple_of(4)..)
                .unwrap_or_default(),
            Err(_) => &[],
        };
        Some(part)
    })
}

fn decode(part: NetlinkBuffer<&[u8]>) -> Received {
    let (kind, flags, length) = (part.message_type(), part.flags(), part.length() as usize);
    let octets = &part.into_inner()[..length];
    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(octets);
    let content = match message.map(|message| message.payload) {
        Ok(NetlinkPayload::InnerMessage(message)) => Ok(message),
        Ok(NetlinkPayload::Done(done)) if done.code < 0 => {
            return refusal(done.code, &done.extended_ack, flags);
        }
        Ok(NetlinkPayload::Done(_)) => return Received::Done,
        Ok(NetlinkPayload::Error(error)) if error.code.is_some() => {
            let attributes = error
                .header
                .get(NETLINK_HEADER_OCTETS..)
                .unwrap_or_default();
            return refusal(error.raw_code(), attributes, flags);
        }
        Ok(NetlinkPayload::Error(_)) => return Received::Done,
        Ok(_) => return Received::Nothing,
        Err(error) => Err(error),
    };
    Received::Message(Message {
        kind,
        flags,
        content,
    })
}

fn refusal(code: i32, attributes: &[u8], flags: u16) -> Received {
    let message = (flags & NLM_F_ACK_TLVS != 0)
        .then(|| {
            NlasIterator::new(attributes)
                .map_while(Result::ok)
                .find(|attribute| attribute.kind() & NLA_TYPE_MASK == NLMSGERR_ATTR_MSG)
                .map(|attribute| {
                    String::from_utf8_lossy(attribute.value())
                        .trim_end_matches('\0')
                        .to_owned()
                })
        })
        .flatten();
    Received::Refused(NetlinkError::Refused {
        source: io::Error::from_raw_os_error(code.saturating_neg()),
        message,
    })
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::{LinkAttribute, LinkMessage};

    use super::*;

    fn link_named(name: &str) -> RouteNetlinkMessage {
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName(name.to_owned()));
        RouteNetlinkMessage::GetLink(link)
    }

    #[test]
    fn loopback_answers_a_query_and_stands_in_the_dump() {
        let mut connection = Connection::open().unwrap();
        assert!(matches!(
            connection.query(link_named("lo")).unwrap(),
            RouteNetlinkMessage::NewLink(_)
        ));
        let links = connection
            .dump(&RouteNetlinkMessage::GetLink(LinkMessage::default()))
            .unwrap();
        assert!(
            links
                .iter()
                .any(|message| message.kind == 16 && message.content.is_ok())
        );
    }

    #[test]
    fn an_absent_interface_is_refused_with_its_error_number_and_the_connection_lives_on() {
        let mut connection = Connection::open().unwrap();
        let error = connection.query(link_named("absent0")).unwrap_err();
        assert_eq!(
            error.os_error(),
            Some(rustix::io::Errno::NODEV.raw_os_error())
        );
        connection.query(link_named("lo")).unwrap();
    }

    #[test]
    fn without_events_there_is_nothing_to_wait_for() {
        let mut events = Events::subscribe(&[]).unwrap();
        assert!(
            !events
                .receive(|_| panic!("an event without a group"))
                .unwrap()
        );
    }

    #[test]
    fn cut_and_absurd_datagrams_do_not_panic() {
        for octets in [&[][..], &[0; 15], &[0; 16], &[0xff; 40]] {
            for part in split(octets).flatten() {
                decode(part);
            }
        }
    }
}
