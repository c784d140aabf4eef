//! The upkeep thread: what is done on the disk for long and in no hurry, so that neither a sync nor the node waits for
//! it.
//!
//! ```text
//!   disk thread ── Flush ────────┐                  ┌─▶ disk thread: Flushed, which truncates the log by it
//!   node ── SnapshotJob ──▶ Queue ─▶ upkeep thread ─┴─▶ node: SnapshotDone
//! ```
//!
//! It flushes the applied state, after it has copied into it what history keeps of entries that the log is about to
//! lose, makes the snapshot that this node sends, reads pieces of it, and writes and checks the
//! one that this node receives. One thread, one task after the other: the state is never flushed twice at a time, and a
//! snapshot that is being made holds up those who fetch it, but no publish.
//!
//! As for the disk thread, there is no way on from a failed write: the process ends.
//!
//! Not here: which snapshot is wanted, and when (`corgi-node`); the files (`corgi-log`); installing, which is for the
//! disk thread, because it replaces the log too.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use corgi_base::{FlushedIndex, LogIndex};
use corgi_log::{Received, RocksLogReader, SnapshotFolder, StateReader};
use corgi_node::{SnapshotDone, SnapshotJob};
use slog::{Logger, debug, info};

use crate::disk::{Queue, Taken};

/// How long to wait for a state in which nothing is applied yet.
const NOTHING_YET: Duration = Duration::from_millis(50);

/// One thing to do.
#[derive(Debug)]
pub(crate) enum Task {
    /// Make the applied state survive a crash, with the payloads that history keeps of entries up to this one.
    Flush(LogIndex),
    /// Something with snapshots.
    Snapshot(SnapshotJob),
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Done {
    /// The applied state survives a crash up to here, or what the log was to be truncated by.
    Flushed(FlushedIndex),
    /// For the node.
    Snapshot(SnapshotDone),
}

/// Does tasks.
#[derive(Debug)]
pub(crate) struct Upkeep {
    pub(crate) state: StateReader,
    pub(crate) reader: RocksLogReader,
    pub(crate) snapshots: SnapshotFolder,
    pub(crate) log: Logger,
}

impl Upkeep {
    /// Starts the thread, which ends when `queue` is closed and empty. `done` is told of each task that has an answer;
    /// `failed` of the first error of the disk.
    pub(crate) fn start(
        self,
        queue: Arc<Queue<Task>>,
        done: impl FnMut(Done) + Send + 'static,
        failed: impl FnOnce(&anyhow::Error) + Send + 'static,
    ) -> anyhow::Result<JoinHandle<()>> {
        let run = move || {
            if let Err(error) = self.run(&queue, done) {
                failed(&error);
            }
        };
        let thread = std::thread::Builder::new().name("upkeep".to_owned());
        thread.spawn(run).context("start the upkeep thread")
    }

    fn run(mut self, queue: &Queue<Task>, mut done: impl FnMut(Done)) -> anyhow::Result<()> {
        while let Taken::Jobs(tasks) = queue.take(None) {
            for task in tasks {
                if let Some(answer) = self.work(task)? {
                    done(answer);
                }
            }
        }
        Ok(())
    }

    fn work(&mut self, task: Task) -> anyhow::Result<Option<Done>> {
        let job = match task {
            Task::Flush(upto) => return self.flush(upto).map(Some),
            Task::Snapshot(job) => job,
        };
        let answer = match job {
            SnapshotJob::Make => Some(self.make()?),
            SnapshotJob::Read {
                to,
                file,
                offset,
                len,
            } => Some(SnapshotDone::Read {
                to,
                file,
                offset,
                bytes: self.snapshots.read(&file, offset, len)?,
            }),
            SnapshotJob::Find(file) => Some(SnapshotDone::Found {
                file,
                bytes: self.snapshots.find(file)?,
            }),
            SnapshotJob::Write {
                file,
                offset,
                bytes,
            } => Some(match self.snapshots.write(file, offset, &bytes)? {
                Received::Next(next) => SnapshotDone::Written { file, next },
                Received::Complete => SnapshotDone::Received(file),
                Received::Damaged(what) => SnapshotDone::Damaged { file, what },
            }),
            SnapshotJob::Discard => {
                self.snapshots.discard()?;
                None
            }
        };
        Ok(answer.map(Done::Snapshot))
    }

    fn flush(&self, upto: LogIndex) -> anyhow::Result<Done> {
        let started = Instant::now();
        let flushed = self.state.flush_for(&self.reader, upto)?;
        debug!(self.log, "flushed the applied state"; "index" => %flushed.get(),
            "elapsed_ms" => millis(started));
        Ok(Done::Flushed(flushed))
    }

    fn make(&mut self) -> anyhow::Result<SnapshotDone> {
        let started = Instant::now();
        loop {
            if let Some((meta, file)) = self.snapshots.make(&self.state, &self.reader)? {
                info!(self.log, "made a snapshot"; "index" => %file.index, "bytes" => file.bytes,
                    "elapsed_ms" => millis(started));
                return Ok(SnapshotDone::Made { meta, file });
            }
            std::thread::sleep(NOTHING_YET);
        }
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
