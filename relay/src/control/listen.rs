//! Opening the control socket: who may use it, and what to do about a file that is there already.

use crate::config::ControlPoints;
use rustix::net::sockopt::socket_peercred;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another relay listens there.
    #[error(
        "control socket {}: another relay is listening on it; stop that one first, or give this one another `control.socket`",
        .0.display()
    )]
    InUse(PathBuf),
    /// There is something else.
    #[error("control socket {}: there is a file that is no socket; remove it or choose another path", .0.display())]
    NoSocket(PathBuf),
    /// The group is not known.
    #[error("control.group: there is no group `{0}` in /etc/group")]
    NoGroup(String),
    /// The socket cannot be made.
    #[error("control socket {}: cannot {action}: {source}", .path.display())]
    System {
        /// Where it is to be.
        path: PathBuf,
        /// What was to be done.
        action: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// The control socket. Dropping it removes the file.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
    permissions: Permissions,
}

/// Who may use the socket.
#[derive(Clone, Copy, Debug)]
struct Permissions {
    user: u32,
    group: u32,
}

impl Listener {
    /// Opens the socket; `None` if the configuration wants none. What a relay that died has left there is replaced.
    ///
    /// # Errors
    ///
    /// [`ListenError`] says what is in the way.
    pub fn open(control: &ControlPoints) -> Result<Option<Self>, ListenError> {
        let Some(path) = &control.socket else {
            return Ok(None);
        };
        let failed = |action| {
            move |source| ListenError::System {
                path: path.clone(),
                action,
                source,
            }
        };
        let own_group = rustix::process::getegid().as_raw();
        let group = match &control.group {
            None => own_group,
            Some(name) => find_group(name).ok_or_else(|| ListenError::NoGroup(name.clone()))?,
        };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed("make its directory"))?;
        }
        clear(path)?;
        let socket = UnixListener::bind(path).map_err(failed("bind"))?;
        let listener = Self {
            socket,
            path: path.clone(),
            permissions: Permissions {
                user: rustix::process::geteuid().as_raw(),
                group,
            },
        };
        if group != own_group {
            chown(path, None, Some(group)).map_err(failed("give it to its group"))?;
        }
        let mode = fs::Permissions::from_mode(0o660);
        fs::set_permissions(path, mode).map_err(failed("set its mode"))?;
        Ok(Some(listener))
    }

    /// Returns a second handle, whose end leaves the file where it is.
    pub(super) fn serving(&self) -> io::Result<Serving> {
        Ok(Serving {
            socket: self.socket.try_clone()?,
            permissions: self.permissions,
        })
    }
}

/// The accepting side of a [`Listener`].
pub(super) struct Serving {
    socket: UnixListener,
    permissions: Permissions,
}

impl Serving {
    /// Waits for a client; the second value is whether it may use the socket.
    pub(super) fn accept(&self) -> io::Result<(UnixStream, bool)> {
        let (stream, _) = self.socket.accept()?;
        let may = self.permissions.allow(&stream);
        Ok((stream, may))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Whoever removed it already has done the work.
        let _ = fs::remove_file(&self.path);
    }
}

impl Permissions {
    /// Root, the daemon's own user, and the members of the group.
    fn allow(&self, stream: &UnixStream) -> bool {
        let Ok(peer) = socket_peercred(stream) else {
            return false;
        };
        let (user, group) = (peer.uid.as_raw(), peer.gid.as_raw());
        user == 0
            || user == self.user
            || group == self.group
            || groups_of(peer.pid.as_raw_nonzero().get()).contains(&self.group)
    }
}

/// Returns the supplementary groups of a process that lives.
fn groups_of(process: i32) -> Vec<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Groups:"));
    let numbers = line.unwrap_or_default().split_whitespace();
    numbers.filter_map(|number| number.parse().ok()).collect()
}

/// Returns the number of a group that is given by name or number.
fn find_group(name: &str) -> Option<u32> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let table = fs::read_to_string("/etc/group").ok()?;
    table.lines().find_map(|line| {
        let mut fields = line.split(':');
        let number = (fields.next() == Some(name)).then(|| fields.nth(1))?;
        number?.parse().ok()
    })
}

/// Removes the socket of a relay that died; a live one's is left alone, and so is any other file.
fn clear(path: &Path) -> Result<(), ListenError> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(ListenError::NoSocket(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|source| ListenError::System {
                path: path.to_owned(),
                action: "remove what a relay that died has left",
                source,
            }),
        // What cannot be asked may well be alive.
        Ok(_) | Err(_) => Err(ListenError::InUse(path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(path: &Path) -> ControlPoints {
        ControlPoints {
            socket: Some(path.to_owned()),
            group: None,
            metrics: None,
            watch: false,
        }
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_refused() {
        let path = std::env::temp_dir().join(format!("relay-{}.sock", std::process::id()));
        let _ = fs::remove_file(&path);
        // The end of a plain listener leaves its file behind, as a killed process does.
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let first = Listener::open(&control(&path)).unwrap().unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        assert!(matches!(
            Listener::open(&control(&path)),
            Err(ListenError::InUse(_))
        ));
        drop(first);
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        assert!(matches!(
            Listener::open(&control(&path)),
            Err(ListenError::NoSocket(_))
        ));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
        let unknown = ControlPoints {
            group: Some("no such group".to_owned()),
            ..control(&path)
        };
        assert!(matches!(
            Listener::open(&unknown),
            Err(ListenError::NoGroup(_))
        ));
    }

    #[test]
    fn groups_are_found_by_name_and_number() {
        assert_eq!(find_group("root"), Some(0));
        assert_eq!(find_group("4711"), Some(4711));
        assert_eq!(find_group("no-such-group"), None);
    }
}
