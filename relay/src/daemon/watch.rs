//! Watching the configuration and its EAM files for `control.watch`.
//!
//! Editors and deployment tools replace files by renaming others over them, or by turning links around. So the
//! directories are watched, and when something happens there, the files themselves are compared with what they were.

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tracing::warn;

/// What tells a version of some files from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fingerprint(Vec<(PathBuf, Option<[i64; 4]>)>);

impl Fingerprint {
    /// Takes the fingerprint of files as they are; links are followed.
    pub(super) fn take<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Self {
        let of = |path: &Path| {
            let metadata = fs::metadata(path).ok()?;
            let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
            Some([
                seconds,
                nanoseconds,
                metadata.size() as i64,
                metadata.ino() as i64,
            ])
        };
        Self(
            paths
                .into_iter()
                .map(|path| (path.to_owned(), of(path)))
                .collect(),
        )
    }
}

/// Watches directories.
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    directories: BTreeSet<PathBuf>,
}

impl Watch {
    /// Begins; `stir` is called whenever something happens in a directory.
    pub(super) fn begin(stir: impl Fn() + Send + 'static) -> Result<Self, notify::Error> {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading the files must not look like changing them.
            if !matches!(event, Ok(event) if event.kind.is_access()) {
                stir();
            }
        })?;
        Ok(Self {
            watcher,
            directories: BTreeSet::new(),
        })
    }

    /// Watches the directories of these files and no others.
    pub(super) fn follow<'p>(&mut self, paths: impl IntoIterator<Item = &'p Path>) {
        let wanted: BTreeSet<PathBuf> = paths.into_iter().map(directory).collect();
        for gone in self.directories.difference(&wanted) {
            // It may have gone itself.
            let _ = self.watcher.unwatch(gone);
        }
        for new in wanted.difference(&self.directories) {
            if let Err(error) = self.watcher.watch(new, RecursiveMode::NonRecursive) {
                warn!("cannot watch {}: {error}", new.display());
            }
        }
        self.directories = wanted;
    }
}

fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}
