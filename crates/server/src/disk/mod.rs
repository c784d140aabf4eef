//! The disk thread: the only one that writes the Raft log, the applied state and the identity.
//!
//! ```text
//!   node ─ DiskJob ─▶ Queue ─▶ disk thread ─┬─ all log jobs that wait, one sync ─▶ node: persisted
//!                                           ├─ the applied state, not synced
//!                                           └─ the cluster's name, synced, in its place
//! ```
//!
//! While one write is being synced, the next ones collect in the queue; they share the next sync.
//! So the cost of a sync is spread over what comes in during one, and nothing waits for a timer.
//!
//! # Order
//! Log writes are done in the order given, and so are writes of the applied state. Between the two
//! kinds, a log write may be done before an earlier state write, never the other way round: the
//! applied state may always lag behind the log, from which it is rebuilt. That is what lets log
//! writes that have state writes between them share one sync, and what sends acknowledgements off
//! before the state is written. Nothing passes a record of the cluster's name, in either direction:
//! an entry must not exist in a folder that does not know its cluster.
//!
//! # Errors
//! There is no way on from a failed write. What is on disk is unknown, and a second try could be
//! told that all is well when it is not; so the process ends with one line that says why, and
//! starts again from what is there. One that does not return is no better ([`stall`]).
//!
//! Not here: what to write (the node), how it is stored (`corgi-log`).

mod queue;
pub(crate) mod stall;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use corgi_base::Formation;
use corgi_consensus::storage::{LogWrite, LogWriter};
use corgi_consensus::{Persist, PersistToken};
use corgi_log::{DataDir, RocksLogWriter, RocksState};
use corgi_node::DiskJob;
use corgi_state::store::{StateStore, StateWrite};
use slog::{Logger, debug};

pub(crate) use queue::{Queue, Taken};
pub(crate) use stall::Steps;

/// After so much has been added to the log, the state is flushed: it bounds what a start must apply
/// again.
const FLUSH_AFTER_BYTES: u64 = 64 << 20;
/// After so long a time too, so that a start after a quiet day is quick.
const FLUSH_AFTER: Duration = Duration::from_secs(30);

/// After so much has been added to the log, somebody should look how much room is left: a fast disk fills in less time
/// than lies between two looks by the clock. Far less than `disk-free-min` keeps free.
const LOOK_AFTER_BYTES: u64 = 4 << 20;

/// A power cut can take back the mark of what was synced by so much; it costs one more sync in so long a time.
const MARK_AFTER: Duration = Duration::from_millis(200);

/// What the disk thread writes to. A trait for the tests' sake: they see in which order things are
/// written.
pub(crate) trait Disk {
    /// Records the cluster, synced.
    fn form(&mut self, formation: Formation) -> anyhow::Result<()>;
    /// Writes to the Raft log, synced.
    fn write_log(&mut self, writes: &[LogWrite]) -> anyhow::Result<()>;
    /// Makes the mark of what is synced survive a power cut.
    fn sync_mark(&mut self) -> anyhow::Result<()>;
    /// Writes to the applied state, not synced.
    fn write_state(&mut self, write: &StateWrite) -> anyhow::Result<()>;
    /// Makes the applied state survive a crash.
    fn flush_state(&mut self) -> anyhow::Result<()>;
}

/// The data folder of this node.
#[derive(Debug)]
pub(crate) struct Folder {
    /// Its lock and identity.
    pub(crate) dir: DataDir,
    /// The Raft log.
    pub(crate) log: RocksLogWriter,
    /// The applied state.
    pub(crate) state: RocksState,
}

impl Disk for Folder {
    fn form(&mut self, formation: Formation) -> anyhow::Result<()> {
        Ok(self.dir.form(formation)?)
    }

    fn write_log(&mut self, writes: &[LogWrite]) -> anyhow::Result<()> {
        Ok(self.log.write(writes)?)
    }

    fn sync_mark(&mut self) -> anyhow::Result<()> {
        Ok(self.log.sync_mark()?)
    }

    fn write_state(&mut self, write: &StateWrite) -> anyhow::Result<()> {
        Ok(self.state.write(write)?)
    }

    fn flush_state(&mut self) -> anyhow::Result<()> {
        self.state.flush()?;
        // What fails in the background of the log shows nowhere else until something is lost.
        let errors = self.log.background_errors();
        ensure!(
            errors == 0,
            "write the Raft log in the background: {errors} errors, see raft/LOG"
        );
        Ok(())
    }
}

/// A job with its proof; the type of the proof is a parameter because only `corgi-consensus` can
/// make a real one.
#[derive(Debug)]
pub(crate) enum Job<T> {
    Form(Formation),
    Log(LogWrite, T),
    State(StateWrite),
}

impl From<DiskJob> for Job<PersistToken> {
    fn from(job: DiskJob) -> Self {
        match job {
            DiskJob::Form(formation) => Self::Form(formation),
            DiskJob::Log(Persist { write, token }) => Self::Log(write, token),
            DiskJob::State(write) => Self::State(write),
        }
    }
}

/// What the disk thread tells of its work.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<T> {
    /// The files have grown by megabytes. Told before the writes that did it are.
    Grown,
    /// The proofs of a synced write.
    Persisted(Vec<T>),
}

/// Does jobs, and keeps count of what is not flushed.
#[derive(Debug)]
pub(crate) struct Worker<D> {
    disk: D,
    /// Each call of the disk is one.
    steps: Arc<Steps>,
    /// Bytes of entries since the last flush.
    log_bytes: u64,
    /// Bytes of entries since [`Event::Grown`].
    grown_bytes: u64,
    /// When the oldest state write that is not flushed was done.
    dirty_since: Option<Instant>,
    /// When the oldest log write was done whose mark is not synced.
    unmarked_since: Option<Instant>,
}

impl<D: Disk> Worker<D> {
    /// Starts with nothing to flush.
    pub(crate) fn new(disk: D, steps: Arc<Steps>) -> Self {
        Self {
            disk,
            steps,
            log_bytes: 0,
            grown_bytes: 0,
            dirty_since: None,
            unmarked_since: None,
        }
    }

    /// Does jobs from `queue` until it is closed and empty, then flushes. `tell` hears what
    /// happens, in order.
    ///
    /// # Errors
    /// The first error of the disk, after which nothing more may be written.
    pub(crate) fn run<T>(
        mut self,
        queue: &Queue<Job<T>>,
        log: &Logger,
        mut tell: impl FnMut(Event<T>),
    ) -> anyhow::Result<()> {
        loop {
            match queue.take(self.wake_at()) {
                Taken::Jobs(jobs) => self.work(jobs, &mut tell)?,
                Taken::TimeOut => {}
                Taken::Closed => break,
            }
            if self.mark_at().is_some_and(|at| at <= Instant::now()) {
                self.mark()?;
            }
            if self.flush_due() {
                self.flush(log)?;
            }
        }
        self.mark()?;
        self.flush(log)
    }

    fn work<T>(
        &mut self,
        jobs: Vec<Job<T>>,
        tell: &mut impl FnMut(Event<T>),
    ) -> anyhow::Result<()> {
        let mut group = Group::default();
        for job in jobs {
            match job {
                Job::Form(formation) => {
                    self.finish(std::mem::take(&mut group), tell)?;
                    let formed = self.steps.during(|| self.disk.form(formation));
                    formed.context("record the cluster")?;
                }
                Job::Log(write, token) => {
                    group.log.push(write);
                    group.tokens.push(token);
                }
                Job::State(write) => group.state.push(write),
            }
        }
        self.finish(group, tell)
    }

    /// Writes what may go together: the log with one sync, then the state.
    fn finish<T>(
        &mut self,
        group: Group<T>,
        tell: &mut impl FnMut(Event<T>),
    ) -> anyhow::Result<()> {
        if !group.log.is_empty() {
            self.steps.during(|| self.disk.write_log(&group.log))?;
            let entries = group.log.iter().flat_map(|write| &write.entries);
            let bytes: u64 = entries.map(|entry| entry.payload_bytes() as u64).sum();
            self.log_bytes += bytes;
            self.grown_bytes += bytes;
            if self.grown_bytes >= LOOK_AFTER_BYTES {
                self.grown_bytes = 0;
                tell(Event::Grown);
            }
            tell(Event::Persisted(group.tokens));
            self.unmarked_since.get_or_insert_with(Instant::now);
        }
        for write in &group.state {
            self.steps.during(|| self.disk.write_state(write))?;
            self.dirty_since.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    fn flush_at(&self) -> Option<Instant> {
        self.dirty_since.map(|since| since + FLUSH_AFTER)
    }

    fn mark_at(&self) -> Option<Instant> {
        self.unmarked_since.map(|since| since + MARK_AFTER)
    }

    fn wake_at(&self) -> Option<Instant> {
        self.flush_at().into_iter().chain(self.mark_at()).min()
    }

    fn mark(&mut self) -> anyhow::Result<()> {
        if self.unmarked_since.take().is_some() {
            self.steps.during(|| self.disk.sync_mark())?;
        }
        Ok(())
    }

    fn flush_due(&self) -> bool {
        let late = self.flush_at().is_some_and(|at| at <= Instant::now());
        self.dirty_since.is_some() && (late || self.log_bytes >= FLUSH_AFTER_BYTES)
    }

    fn flush(&mut self, log: &Logger) -> anyhow::Result<()> {
        if self.dirty_since.take().is_none() {
            return Ok(());
        }
        let started = Instant::now();
        self.steps.during(|| self.disk.flush_state())?;
        debug!(log, "flushed the applied state"; "log_bytes" => self.log_bytes,
            "elapsed_ms" => u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
        self.log_bytes = 0;
        Ok(())
    }
}

#[derive(Debug)]
struct Group<T> {
    log: Vec<LogWrite>,
    tokens: Vec<T>,
    state: Vec<StateWrite>,
}

impl<T> Default for Group<T> {
    fn default() -> Self {
        Self {
            log: Vec::new(),
            tokens: Vec::new(),
            state: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
