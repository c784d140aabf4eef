//! Looks once a second how much room the disk has, and tells the node, which refuses new writes
//! before it is full (P10).
//!
//! On a thread of its own: on a file system that hangs, only this thread waits.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use corgi_consensus::storage::LogReader;
use corgi_node::DiskSpace;
use slog::{Logger, warn};

use crate::core::Core;

/// In a second far less is written than is kept free.
const EVERY: Duration = Duration::from_secs(1);

/// Returns what the file system of a folder has for this process.
fn disk_space(dir: &Path) -> std::io::Result<DiskSpace> {
    let found = rustix::fs::statvfs(dir)?;
    Ok(DiskSpace {
        free: found.f_bavail.saturating_mul(found.f_frsize),
        total: found.f_blocks.saturating_mul(found.f_frsize),
    })
}

/// The thread that looks. It ends when the value is dropped.
#[derive(Debug)]
pub(crate) struct SpaceWatch {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl SpaceWatch {
    /// Looks once, so that no write is taken that should not be, and starts the thread.
    pub(crate) fn start<R: LogReader + 'static>(
        dir: PathBuf,
        core: Arc<Core<R>>,
        log: &Logger,
    ) -> anyhow::Result<Self> {
        let first = disk_space(&dir);
        let first =
            first.with_context(|| format!("ask for the free space of {}", dir.display()))?;
        core.enter(|node, now| node.set_disk_space(now, first));
        let (stop, stops) = mpsc::channel::<()>();
        let log = log.clone();
        let look = move || {
            let mut failed = false;
            while stops.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                match disk_space(&dir) {
                    Ok(space) => {
                        failed = false;
                        core.enter(|node, now| node.set_disk_space(now, space));
                    }
                    Err(error) if !failed => {
                        failed = true;
                        warn!(log, "cannot ask for the free space of the data folder";
                            "dir" => %dir.display(), "error" => %error);
                    }
                    Err(_) => {}
                }
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
