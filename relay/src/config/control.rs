//! The section `control` of `relay.yaml`. Whether a socket can be opened there is not looked at here.

use super::ControlPoints;
use super::keys::CONTROL;
use super::section::{Problems, Section, auto_or, off_or};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Where the control socket is unless the configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/siit-relay/control.sock";
const DEFAULT_METRICS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9469);
/// The longest path that fits into the address of a socket, in octets.
const MAX_SOCKET_PATH: usize = 107;

pub(super) fn control(top: &mut Section, problems: &mut Problems) -> ControlPoints {
    let mut section = top.section("control", &CONTROL, problems);
    let on_off = [("on", true), ("off", false)];
    ControlPoints {
        socket: section.parsed(
            "socket",
            Some(DEFAULT_SOCKET.into()),
            problems,
            off_or(socket),
        ),
        group: section.parsed("group", None, problems, auto_or(group)),
        metrics: section.parsed("metrics", Some(DEFAULT_METRICS), problems, off_or(metrics)),
        watch: section.choice("watch", false, &on_off, problems, &[]),
    }
}

fn socket(text: &str) -> Result<PathBuf, String> {
    match Path::new(text) {
        path if !path.is_absolute() => Err("must be `off` or an absolute path".to_owned()),
        path if text.len() > MAX_SOCKET_PATH => Err(format!(
            "a socket's path has {MAX_SOCKET_PATH} octets at most, this one has {}",
            path.as_os_str().len()
        )),
        path => Ok(path.to_owned()),
    }
}

fn group(text: &str) -> Result<String, &'static str> {
    let is_valid = !text.is_empty()
        && !text.contains(|c: char| c == ':' || c.is_whitespace() || c.is_control());
    match is_valid {
        true => Ok(text.to_owned()),
        false => Err("must be `auto`, or the name or number of a group"),
    }
}

fn metrics(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse()
        .map_err(|_| "must be `off`, or an address and a port, as 127.0.0.1:9469 or [::1]:9469")
}
