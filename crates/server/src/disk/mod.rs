//! The disk thread: the only one that writes the Raft log, the applied state and the identity.
//!
//! ```text
//!   node ─ DiskJob ─▶ Queue ─▶ disk thread ─┬─ all log jobs that wait, one sync ─▶ node: persisted
//!                                           ├─ the applied state, not synced
//!                                           ├─ the cluster's name, synced, in its place
//!                                           └─ a snapshot in place of log and state
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
//! an entry must not exist in a folder that does not know its cluster. Nor does anything pass the installation of a
//! snapshot.
//!
//! # Flushing and truncating
//! The state is flushed by the upkeep thread, so that no sync waits for it. It is told what the log could be truncated
//! by, and copies what history keeps of that into the state before. What it says is flushed is how far the log may be
//! truncated, which is done when all that waited is written.
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
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use corgi_base::{FlushedIndex, Formation, LogIndex, SnapshotFile};
use corgi_consensus::storage::{LogInstall, LogWrite, LogWriter, TruncateLimits, Truncated};
use corgi_consensus::{self as consensus, Persist, PersistToken};
use corgi_log::{DataDir, Install, RocksLogWriter, RocksState};
use corgi_node::DiskJob;
use corgi_state::store::{StateStore, StateWrite};
use slog::{Logger, info};

use crate::upkeep::Task;

pub(crate) use queue::{Queue, Taken};
pub(crate) use stall::Steps;

/// After so much has been added to the log, the state is flushed: it bounds what a start must apply
/// again. Earlier if little of the log is retained: it is truncated only after a flush.
const FLUSH_AFTER_BYTES: u64 = 64 << 20;
/// So many times while as much is added as is retained.
const FLUSHES_OF_RETAINED: u64 = 8;
/// Enough to be worth the removal of entries, whatever is retained.
const TRUNCATE_BYTES: u64 = 1 << 20;
/// Or this part of what is retained.
const TRUNCATES_OF_RETAINED: u64 = 10;
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
    /// Replaces log and state by a snapshot that was received, for good, and returns the new rows.
    fn install(&mut self, file: &SnapshotFile, log: &LogInstall) -> anyhow::Result<Rows>;
    /// Removes from the front of the log what `limits` allow.
    fn truncate(&mut self, limits: &TruncateLimits) -> anyhow::Result<Option<Truncated>>;
    /// Lets the applied state be flushed elsewhere, so that the log can be truncated by it, but for entries after
    /// `hold` and the newest `retain_bytes`; [`Job::Flushed`] follows.
    fn begin_flush(&mut self, hold: Option<LogIndex>, retain_bytes: u64) -> anyhow::Result<()>;
    /// Makes the applied state survive a crash.
    fn flush_state(&mut self) -> anyhow::Result<()>;
}

/// The rows of the applied state.
pub(crate) type Rows = Vec<(Bytes, Bytes)>;

/// The data folder of this node.
#[derive(Debug)]
pub(crate) struct Folder {
    /// Its lock and identity.
    pub(crate) dir: DataDir,
    /// The Raft log.
    pub(crate) log: RocksLogWriter,
    /// The applied state.
    pub(crate) state: RocksState,
    /// How many bytes the log holds, for `INFO`.
    pub(crate) log_bytes: Arc<AtomicU64>,
    /// For the upkeep thread.
    pub(crate) upkeep: Arc<Queue<Task>>,
}

impl Folder {
    fn count_log(&self) {
        self.log_bytes.store(self.log.bytes(), Ordering::Relaxed);
    }
}

impl Disk for Folder {
    fn form(&mut self, formation: Formation) -> anyhow::Result<()> {
        Ok(self.dir.form(formation)?)
    }

    fn write_log(&mut self, writes: &[LogWrite]) -> anyhow::Result<()> {
        self.log.write(writes)?;
        self.count_log();
        Ok(())
    }

    fn sync_mark(&mut self) -> anyhow::Result<()> {
        Ok(self.log.sync_mark()?)
    }

    fn write_state(&mut self, write: &StateWrite) -> anyhow::Result<()> {
        Ok(self.state.write(write)?)
    }

    fn install(&mut self, file: &SnapshotFile, log: &LogInstall) -> anyhow::Result<Rows> {
        let mut install = Install {
            dir: self.dir.path(),
            log: &mut self.log,
            state: &mut self.state,
        };
        install.run(file, log)?;
        self.count_log();
        Ok(self.state.rows()?)
    }

    fn truncate(&mut self, limits: &TruncateLimits) -> anyhow::Result<Option<Truncated>> {
        let truncated = self.log.truncate(limits)?;
        self.count_log();
        Ok(truncated)
    }

    fn begin_flush(&mut self, hold: Option<LogIndex>, retain_bytes: u64) -> anyhow::Result<()> {
        let upto = self.log.removable(hold, retain_bytes);
        self.upkeep.push(vec![Task::Flush(upto)]);
        self.upkeep.wake();
        self.check_background()
    }

    fn flush_state(&mut self) -> anyhow::Result<()> {
        self.state.flush()?;
        self.check_background()
    }
}

impl Folder {
    /// What fails in the background of the log shows nowhere else until something is lost.
    fn check_background(&self) -> anyhow::Result<()> {
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
    Install {
        file: SnapshotFile,
        log: LogInstall,
        token: T,
    },
    Hold(Option<LogIndex>),
    /// From the upkeep thread: the applied state survives a crash up to here.
    Flushed(FlushedIndex),
}

/// What the disk thread tells of its work.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<T> {
    /// The files have grown by megabytes. Told before the writes that did it are.
    Grown,
    /// The proofs of a synced write.
    Persisted(Vec<T>),
    /// A snapshot is installed, with these rows.
    Installed(T, Rows),
    /// The log begins later now.
    Truncated(Truncated),
}

impl From<DiskJob> for Job<PersistToken> {
    fn from(job: DiskJob) -> Self {
        match job {
            DiskJob::Form(formation) => Self::Form(formation),
            DiskJob::Log(Persist { write, token }) => Self::Log(write, token),
            DiskJob::State(write) => Self::State(write),
            DiskJob::Install(consensus::Install { file, log, token }) => {
                Self::Install { file, log, token }
            }
            DiskJob::Hold(index) => Self::Hold(index),
        }
    }
}

/// Does jobs, and keeps count of what is not flushed.
#[derive(Debug)]
pub(crate) struct Worker<D> {
    disk: D,
    /// Each call of the disk is one.
    steps: Arc<Steps>,
    /// How much of the log stays at least.
    retain_bytes: u64,
    /// Entries after this one are needed.
    hold: Option<LogIndex>,
    /// Bytes of entries since the last flush.
    log_bytes: u64,
    /// Bytes of entries since [`Event::Grown`].
    grown_bytes: u64,
    /// When the oldest state write that is not flushed was done.
    dirty_since: Option<Instant>,
    /// Whether a flush is under way.
    flushing: bool,
    /// When the oldest log write was done whose mark is not synced.
    unmarked_since: Option<Instant>,
}

impl<D: Disk> Worker<D> {
    /// Starts with nothing to flush.
    pub(crate) fn new(disk: D, retain_bytes: u64, steps: Arc<Steps>) -> Self {
        Self {
            disk,
            steps,
            retain_bytes,
            hold: None,
            log_bytes: 0,
            grown_bytes: 0,
            dirty_since: None,
            flushing: false,
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
                Taken::Jobs(jobs) => self.work(jobs, log, &mut tell)?,
                Taken::TimeOut => {}
                Taken::Closed => break,
            }
            if self.mark_at().is_some_and(|at| at <= Instant::now()) {
                self.mark()?;
            }
            if self.flush_due() {
                (self.dirty_since, self.log_bytes) = (None, 0);
                self.flushing = true;
                self.disk.begin_flush(self.hold, self.retain_bytes)?;
            }
        }
        self.mark()?;
        self.disk.flush_state()
    }

    fn work<T>(
        &mut self,
        jobs: Vec<Job<T>>,
        log: &Logger,
        tell: &mut impl FnMut(Event<T>),
    ) -> anyhow::Result<()> {
        let mut group = Group::default();
        let mut flushed = None;
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
                Job::Install {
                    file,
                    log: reset,
                    token,
                } => {
                    self.finish(std::mem::take(&mut group), tell)?;
                    let rows = self.install(&file, &reset, log)?;
                    tell(Event::Installed(token, rows));
                }
                Job::Hold(index) => self.hold = index,
                Job::Flushed(index) => {
                    self.flushing = false;
                    flushed = Some(index);
                }
            }
        }
        self.finish(group, tell)?;
        if let Some(flushed) = flushed {
            self.truncate(flushed, tell)?;
        }
        Ok(())
    }

    fn install(
        &mut self,
        file: &SnapshotFile,
        reset: &LogInstall,
        log: &Logger,
    ) -> anyhow::Result<Rows> {
        let started = Instant::now();
        let installed = self.disk.install(file, reset);
        let rows = installed.context("install a snapshot")?;
        (self.dirty_since, self.log_bytes) = (None, 0);
        self.unmarked_since.get_or_insert_with(Instant::now);
        info!(log, "installed a snapshot"; "index" => %file.index, "bytes" => file.bytes,
            "elapsed_ms" => u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
        Ok(rows)
    }

    fn truncate<T>(
        &mut self,
        flushed: FlushedIndex,
        tell: &mut impl FnMut(Event<T>),
    ) -> anyhow::Result<()> {
        let limits = TruncateLimits {
            flushed,
            hold: self.hold,
            retain_bytes: self.retain_bytes,
            step_bytes: (self.retain_bytes / TRUNCATES_OF_RETAINED).min(TRUNCATE_BYTES),
        };
        let truncated = self.steps.during(|| self.disk.truncate(&limits))?;
        if let Some(truncated) = truncated {
            tell(Event::Truncated(truncated));
        }
        Ok(())
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
                // A look at the disk can hang as a write can.
                self.steps.during(|| tell(Event::Grown));
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
        let flush_at = self.flush_at().filter(|_| !self.flushing);
        flush_at.into_iter().chain(self.mark_at()).min()
    }

    fn mark(&mut self) -> anyhow::Result<()> {
        if self.unmarked_since.take().is_some() {
            self.steps.during(|| self.disk.sync_mark())?;
        }
        Ok(())
    }

    fn flush_due(&self) -> bool {
        let late = self.flush_at().is_some_and(|at| at <= Instant::now());
        let bytes = FLUSH_AFTER_BYTES.min(self.retain_bytes / FLUSHES_OF_RETAINED);
        self.dirty_since.is_some() && !self.flushing && (late || self.log_bytes >= bytes)
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
