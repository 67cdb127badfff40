//! Where /sys tells about an interface. It shows the interfaces of the network namespace in which it was mounted.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the directory of the interface with this name, whichever that is, and whether there is one or not.
pub(super) fn named(name: &str) -> PathBuf {
    Path::new("/sys/class/net").join(name)
}

/// Returns the directory of an interface, if it is this one and none of another namespace with the same name.
pub(super) fn interface(name: &str, index: u32) -> Option<PathBuf> {
    let directory = named(name);
    let shown = fs::read_to_string(directory.join("ifindex")).ok()?;
    (shown.trim().parse() == Ok(index)).then_some(directory)
}
