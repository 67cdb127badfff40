//! What is attached to an interface at its XDP hooks, by netlink: which program, and how to remove it.

use super::netlink::{Connection, NetlinkError};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Where an interface runs an XDP program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// In the kernel's generic path.
    Generic,
    /// In the driver.
    Driver,
    /// In the device.
    Device,
}

impl Hook {
    /// The kernel's flag: XDP_FLAGS_SKB_MODE, XDP_FLAGS_DRV_MODE, XDP_FLAGS_HW_MODE.
    const fn flag(self) -> u32 {
        match self {
            Self::Generic => 1 << 1,
            Self::Driver => 1 << 2,
            Self::Device => 1 << 3,
        }
    }
}

/// Returns the id of the program that is attached to an interface, if there is one.
///
/// # Errors
///
/// The interface has gone, or the kernel refuses.
pub fn attached_program(interface_index: u32) -> io::Result<Option<u32>> {
    Ok(attached(interface_index)?.map(|(id, _)| id))
}

/// Returns the id of the program that is attached to an interface, if there is one, and where.
///
/// # Errors
///
/// The interface has gone, or the kernel refuses.
pub fn attached(interface_index: u32) -> io::Result<Option<(u32, Hook)>> {
    let mut message = LinkMessage::default();
    message.header.index = interface_index;
    let mut connection = Connection::open().map_err(io::Error::other)?;
    let answer = connection
        .query(RouteNetlinkMessage::GetLink(message))
        .map_err(io::Error::other)?;
    let RouteNetlinkMessage::NewLink(link) = answer else {
        return Ok(None);
    };
    let mut program = None;
    for attribute in link.attributes {
        let LinkAttribute::Xdp(attributes) = attribute else {
            continue;
        };
        for attribute in attributes {
            if let LinkXdp::SkbProgId(id) = attribute {
                program = Some((id, Hook::Generic));
            } else if let LinkXdp::DrvProgId(id) = attribute {
                program = Some((id, Hook::Driver));
            } else if let LinkXdp::HwProgId(id) = attribute {
                program = Some((id, Hook::Device));
            }
        }
    }
    Ok(program.filter(|(id, _)| *id != 0))
}

/// Attaches a program by netlink. What is attached this way stays when the process ends.
///
/// # Errors
///
/// The interface has gone, its driver has no such hook, or the kernel refuses.
pub fn attach(interface_index: u32, program: BorrowedFd<'_>, hook: Hook) -> io::Result<()> {
    set_program(interface_index, program.as_raw_fd(), hook)
}

/// Removes a program that was attached by netlink. One that a BPF link holds cannot be removed this way.
///
/// # Errors
///
/// The program belongs to a BPF link (EBUSY), the interface has gone, or the kernel refuses.
pub fn detach(interface_index: u32, hook: Hook) -> io::Result<()> {
    set_program(interface_index, -1, hook)
}

fn set_program(interface_index: u32, program: i32, hook: Hook) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = interface_index;
    // Without the flag the kernel would look at the driver's hook alone.
    let attributes = vec![LinkXdp::Fd(program), LinkXdp::Flags(hook.flag())];
    message.attributes.push(LinkAttribute::Xdp(attributes));
    let mut connection = Connection::open().map_err(io::Error::other)?;
    connection
        .request(RouteNetlinkMessage::SetLink(message), 0)
        .map_err(|error: NetlinkError| match error.os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::other(error),
        })
}
