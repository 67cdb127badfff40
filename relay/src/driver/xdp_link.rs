//! What is attached to an interface at its XDP hook, by netlink: whose program, and how to remove it.

use super::netlink::{Connection, NetlinkError};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use std::io;

/// Returns the id of the program that is attached to an interface, if there is one.
///
/// # Errors
///
/// The interface has gone, or the kernel refuses.
pub fn attached_program(interface_index: u32) -> io::Result<Option<u32>> {
    let mut message = LinkMessage::default();
    message.header.index = interface_index;
    let mut connection = Connection::open().map_err(io::Error::other)?;
    let answer = connection.query(RouteNetlinkMessage::GetLink(message)).map_err(io::Error::other)?;
    let RouteNetlinkMessage::NewLink(link) = answer else {
        return Ok(None);
    };
    let attributes = link.attributes.into_iter().filter_map(|attribute| match attribute {
        LinkAttribute::Xdp(attributes) => Some(attributes),
        _ => None,
    });
    let id = attributes.flatten().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) => Some(id),
        _ => None,
    });
    Ok(id.filter(|id| *id != 0))
}

/// Removes a program that was attached by netlink. One that a BPF link holds cannot be removed this way.
///
/// # Errors
///
/// The program belongs to a BPF link (EBUSY), the interface has gone, or the kernel refuses.
pub fn detach(interface_index: u32) -> io::Result<()> {
    set_program(interface_index, -1)
}

/// Attaches the program behind a file descriptor by netlink, or none for -1. What is attached this way
/// stays when the process ends.
///
/// # Errors
///
/// The kernel's, as for [`detach`].
pub(super) fn set_program(interface_index: u32, program: i32) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = interface_index;
    message.attributes.push(LinkAttribute::Xdp(vec![LinkXdp::Fd(program)]));
    let mut connection = Connection::open().map_err(io::Error::other)?;
    connection.request(RouteNetlinkMessage::SetLink(message), 0).map_err(|error: NetlinkError| {
        match error.os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::other(error),
        }
    })
}
