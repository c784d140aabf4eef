//! Looks how much room the disk has, and tells the node, which refuses new writes before it is full (P10).
//!
//! Once a second on a thread of its own, because others fill the disk too; and after every few megabytes of log on the
//! disk thread, because a fast disk is full in less than a second.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use corgi_consensus::storage::LogReader;
use corgi_node::DiskSpace;
use slog::{Logger, warn};

use crate::core::Core;

const EVERY: Duration = Duration::from_secs(1);

/// Returns what the file system of a folder has for this process.
fn disk_space(dir: &Path) -> std::io::Result<DiskSpace> {
    let found = rustix::fs::statvfs(dir)?;
    Ok(DiskSpace {
        free: found.f_bavail.saturating_mul(found.f_frsize),
        total: found.f_blocks.saturating_mul(found.f_frsize),
    })
}

/// The disk of a folder.
#[derive(Debug)]
pub(crate) struct Space<R: LogReader> {
    dir: PathBuf,
    core: Arc<Core<R>>,
    /// The last look was an error, which is said once.
    failed: AtomicBool,
    log: Logger,
}

impl<R: LogReader + 'static> Space<R> {
    /// Looks once, so that no write is taken that should not be.
    ///
    /// # Errors
    /// If the file system does not say how much is free.
    pub(crate) fn of(dir: PathBuf, core: Arc<Core<R>>, log: &Logger) -> anyhow::Result<Arc<Self>> {
        let first = disk_space(&dir);
        let first =
            first.with_context(|| format!("ask for the free space of {}", dir.display()))?;
        core.enter(|node, now| node.set_disk_space(now, first));
        Ok(Arc::new(Self {
            dir,
            core,
            failed: AtomicBool::new(false),
            log: log.clone(),
        }))
    }

    /// Looks, and tells the node.
    pub(crate) fn look(&self) {
        match disk_space(&self.dir) {
            Ok(space) => {
                self.failed.store(false, Ordering::Relaxed);
                self.core.enter(|node, now| node.set_disk_space(now, space));
            }
            Err(error) => {
                if !self.failed.swap(true, Ordering::Relaxed) {
                    warn!(self.log, "cannot ask for the free space of the data folder";
                        "dir" => %self.dir.display(), "error" => %error);
                }
            }
        }
    }
}

/// The thread that looks once a second. It ends when the value is dropped.
#[derive(Debug)]
pub(crate) struct SpaceWatch {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl SpaceWatch {
    /// Starts the thread.
    pub(crate) fn start<R: LogReader + 'static>(space: Arc<Space<R>>) -> anyhow::Result<Self> {
        let (stop, stops) = mpsc::channel::<()>();
        let look = move || {
            while stops.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                space.look();
            }
        };
        let thread = std::thread::Builder::new().name("space".to_owned());
        let thread = thread.spawn(look).context("start the space thread")?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for SpaceWatch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("a panic ends the process");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_room_and_a_missing_one_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let space = disk_space(dir.path()).unwrap();
        assert!(space.free <= space.total && space.total > 0, "{space:?}");
        assert!(disk_space(&dir.path().join("missing")).is_err());
    }
}
