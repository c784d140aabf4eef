//! Snapshots and truncation on a simulated machine.
//!
//! A job on a snapshot file takes a while, and the node goes on meanwhile. An install has three steps, and the process
//! may end after any of them; the next one does the rest.
//!
//! ```text
//!   log reset to the snapshot, with a note ─▶ state replaced ─▶ note gone
//! ```

use crate::folder::Folder;
use crate::history::{Record, Violation};
use crate::machine::{Group, Machine, Process};
use crate::nodes::place;
use crate::rng::Rng;
use crate::scenario::{FaultKind, MS};
use crate::world::{Event, World};
use bytes::Bytes;
use corgi_base::{FlushedIndex, LogIndex, NodeId};
use corgi_consensus::Install;
use corgi_consensus::storage::{LogInstall, LogWriter as _, TruncateLimits};
use corgi_node::{SnapshotDone, SnapshotJob};
use corgi_state::State;
use corgi_state::store::{StateStore as _, StateStoreError};

/// How long to wait for a state in which nothing is applied yet.
const NOTHING_YET: u64 = 50 * MS;

/// A log that was reset to a snapshot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reset {
    log: LogInstall,
    /// Whether entries behind the snapshot were cut off that fit to it.
    drops: bool,
}

impl Folder {
    /// Does the first `steps` of an install.
    fn install(&mut self, log: &LogInstall, steps: usize) -> Option<Reset> {
        if steps == 0 {
            return None;
        }
        let (held, last) = (self.log.term_of(log.index), self.bounds().last_index);
        let mut writer = self.log.writer();
        let written = writer.install(log);
        written.expect("a disk in memory takes every write");
        self.synced();
        if self.mistakes.forgets_install {
            self.finish_log();
        }
        if steps > 1 {
            self.finish_state();
        }
        if steps > 2 {
            self.finish_log();
        }
        Some(Reset {
            log: *log,
            drops: held == Some(log.term) && last > log.index,
        })
    }

    fn finish_state(&self) {
        let file = self.snapshots.received();
        let file = file.expect("only what was received as a whole is installed");
        let mut rows = self.snapshots.rows(file).into_iter();
        let mut rows = rows.by_ref().map(Ok::<_, StateStoreError>);
        let replaced = self.state.open().replace(file.index, &mut rows);
        replaced.expect("a disk in memory takes every write");
    }

    fn finish_log(&mut self) {
        let written = self.log.writer().installed();
        written.expect("a disk in memory takes every write");
        self.synced();
    }

    /// A start does what is left of an install.
    pub(crate) fn finish_install(&mut self) {
        self.finish_state();
        self.finish_log();
    }

    /// The process ends somewhere in an install.
    pub(crate) fn crash_in_install(&mut self, install: &Install, rng: &mut Rng) -> Option<Reset> {
        let steps = rng.pick(&[0, 1, 1, 2, 2, 3]);
        self.install(&install.log, steps)
    }

    /// Whether the applied state is lost, and the log does not reach back to rebuild it.
    pub(crate) fn lacks_state(&self) -> bool {
        let truncated = self.bounds().truncated_index > LogIndex(0);
        truncated && self.state.flushed_applied() == LogIndex(0) && self.state.unflushed() == 0
    }
}

impl Machine {
    /// Removes from the front of the log what is flushed, and older than what is to be retained. Not while a write is
    /// on its way: truncating is one, in its turn.
    pub(crate) fn truncate(&mut self, retain_bytes: u64, now: u64) {
        let early = self.folder.mistakes.truncates_early;
        let Some(process) = &mut self.process else {
            return;
        };
        process.truncate |= early;
        if process.busy.is_some() || !std::mem::take(&mut process.truncate) {
            return;
        }
        let flushed = process.store.flushed();
        let flushed = if early {
            FlushedIndex::read_back(process.stored())
        } else {
            flushed.expect("a disk in memory can be read")
        };
        let limits = TruncateLimits {
            flushed,
            hold: process.hold,
            retain_bytes,
            step_bytes: retain_bytes / 10,
        };
        let truncated = process.writer.truncate(&limits);
        if let Some(truncated) = truncated.expect("a disk in memory takes every write") {
            process.node.truncated(self.clock.now(now), truncated);
        }
    }

    fn snapshot_job(&mut self, job: &SnapshotJob) -> Option<SnapshotDone> {
        let process = self.process.as_ref()?;
        let snapshots = &mut self.folder.snapshots;
        Some(match job.clone() {
            SnapshotJob::Make => {
                let rows = process.store.rows().expect("a disk in memory can be read");
                let (meta, file) = snapshots.make(rows);
                SnapshotDone::Made { meta, file }
            }
            SnapshotJob::Read {
                to,
                file,
                offset,
                len,
            } => SnapshotDone::Read {
                to,
                file,
                offset,
                bytes: snapshots.read(file, offset, len),
            },
            SnapshotJob::Find(file) => {
                let bytes = snapshots.find(file);
                SnapshotDone::Found { file, bytes }
            }
            SnapshotJob::Write {
                file,
                offset,
                bytes,
            } => match snapshots.write(file, offset, &bytes) {
                Ok(next) if next == file.bytes => SnapshotDone::Received(file),
                Ok(next) => SnapshotDone::Written { file, next },
                Err(error) => {
                    let what = error.to_string();
                    SnapshotDone::Damaged { file, what }
                }
            },
            SnapshotJob::Discard => {
                snapshots.discard();
                return None;
            }
        })
    }
}

impl World {
    /// Takes jobs on snapshot files.
    pub(crate) fn begin_snapshots(&mut self, node: usize, jobs: Vec<SnapshotJob>) {
        let life = self.machines[node].life;
        for job in jobs {
            if let Some(process) = &mut self.machines[node].process {
                process.snapshots.push_back(job);
            }
            let wait = self.rng.skewed(100, 20 * MS);
            self.after(wait, Event::Snapshot { node, life });
        }
    }

    /// The oldest job on a snapshot file is done.
    pub(crate) fn snapshot(&mut self, node: usize, life: u64) -> Result<(), Violation> {
        let machine = &mut self.machines[node];
        if machine.life != life {
            return Ok(());
        }
        let Some(process) = &mut machine.process else {
            return Ok(());
        };
        let Some(job) = process.snapshots.pop_front() else {
            return Ok(());
        };
        if job == SnapshotJob::Make && process.stored() == LogIndex(0) {
            process.snapshots.push_front(job);
            self.after(NOTHING_YET, Event::Snapshot { node, life });
            return Ok(());
        }
        let now = machine.clock.now(self.now);
        let done = machine.snapshot_job(&job);
        self.trace
            .say(|| format!("n{} {}", node + 1, shown(&job, done.as_ref())));
        if let Some(done) = done
            && let Some(process) = &mut self.machines[node].process
        {
            process.node.snapshot_done(now, done);
        }
        self.drain(node)
    }

    /// Log and state of a node are replaced, for good (I15: its state is what others had at that entry).
    pub(crate) fn installed(&mut self, node: usize, install: Install) -> Result<(), Violation> {
        let machine = &mut self.machines[node];
        let reset = machine.folder.install(&install.log, 3);
        let (id, now) = (machine.id, machine.clock.now(self.now));
        self.ledger.snapshots += 1;
        self.note_reset(node, reset)?;
        let machine = &mut self.machines[node];
        let Some(process) = &mut machine.process else {
            return Ok(());
        };
        let rows = process.store.rows().expect("a disk in memory can be read");
        let hash = process.replace_rows(install.file.index, &rows);
        self.record(&Record::InstalledRows {
            node: id,
            applied: install.file.index,
            hash,
        })?;
        if self.burns(node)? {
            return Ok(());
        }
        if let Some(process) = &mut self.machines[node].process {
            let restored = State::of_snapshot(&rows);
            process.node.installed(now, install.token, restored);
        }
        self.drain(node)
    }

    /// An install is due: it fails as every write may, is interrupted, or done.
    pub(crate) fn finish_install(
        &mut self,
        node: usize,
        install: Install,
        lost: bool,
    ) -> Result<(), Violation> {
        let deadly = [FaultKind::Kill, FaultKind::PowerLoss, FaultKind::Fuse];
        let interrupted = deadly
            .iter()
            .any(|kind| self.scenario.faults.contains(kind))
            && self.now < self.scenario.heal_at
            && self.handled < self.faults_until
            && self.rng.chance(25);
        if !lost && !interrupted {
            self.installed(node, install)?;
            self.machines[node].truncate(self.scenario.retain_bytes, self.now);
            self.begin_group(node);
            return Ok(());
        }
        let id = self.machines[node].id;
        if lost {
            self.trace.say(|| format!("{id:?} cannot sync"));
            self.record(&Record::SyncFailed { node: id })?;
        } else {
            *self.ledger.faults.entry(FaultKind::Fuse).or_default() += 1;
        }
        if let Some(process) = &mut self.machines[node].process {
            process.busy = Some(Group::Install(install));
        }
        let power = interrupted && self.rng.chance(50);
        self.crash_for_a_while(node, power)
    }

    /// Shows the checkers that a log was reset to a snapshot.
    pub(crate) fn note_reset(
        &mut self,
        node: usize,
        reset: Option<Reset>,
    ) -> Result<(), Violation> {
        let Some(Reset { log, drops }) = reset else {
            return Ok(());
        };
        let id = self.machines[node].id;
        self.trace
            .say(|| format!("{id:?} resets its log to a snapshot of {}", log.index));
        self.record(&Record::Reset {
            node: id,
            index: log.index,
            term: log.term,
            drops,
        })?;
        self.note_disk(node, Vec::new())
    }

    /// How many of those who vote wait for a snapshot, because their state is lost.
    pub(crate) fn without_state(&self, voters: &[NodeId]) -> usize {
        let lacks = |voter: &&NodeId| {
            let machine = self.machines.get(place(**voter));
            machine.is_some_and(|machine| machine.folder.lacks_state())
        };
        voters.iter().filter(lacks).count()
    }

    /// How many pieces a snapshot has.
    pub(crate) fn snapshot_pieces(&self) -> u64 {
        let made = |machine: &Machine| machine.folder.snapshots.made().map_or(0, |file| file.bytes);
        let longest = self.machines.iter().map(made).max().unwrap_or(0);
        longest / u64::from(self.scenario.limits.snapshot_chunk_bytes) + 1
    }
}

impl Process {
    /// Takes the rows of a snapshot, and returns the hash over them.
    fn replace_rows(&mut self, applied: LogIndex, rows: &[(Bytes, Bytes)]) -> u64 {
        self.set_rows(rows.iter().cloned().collect(), applied);
        self.rows_hash()
    }
}

/// What the trace shows of a job on a snapshot file.
fn shown(job: &SnapshotJob, done: Option<&SnapshotDone>) -> String {
    match (job, done) {
        (SnapshotJob::Make, Some(SnapshotDone::Made { file, .. })) => {
            format!("makes a snapshot of {}: {} bytes", file.index, file.bytes)
        }
        (SnapshotJob::Read { file, offset, .. }, _) => {
            format!("reads the snapshot of {} at {offset}", file.index)
        }
        (SnapshotJob::Find(file), Some(SnapshotDone::Found { bytes, .. })) => {
            format!(
                "has {bytes} of {} bytes of the snapshot of {}",
                file.bytes, file.index
            )
        }
        (SnapshotJob::Write { file, .. }, Some(SnapshotDone::Damaged { what, .. })) => {
            format!("refuses the snapshot of {}: {what}", file.index)
        }
        (SnapshotJob::Write { file, offset, .. }, Some(SnapshotDone::Received(_))) => {
            format!(
                "has all of the snapshot of {} with the piece at {offset}",
                file.index
            )
        }
        (SnapshotJob::Write { file, offset, .. }, _) => {
            format!(
                "has the piece at {offset} of the snapshot of {}",
                file.index
            )
        }
        (SnapshotJob::Discard, _) => "removes the snapshot that it receives".to_owned(),
        (job, done) => format!("{job:?}: {done:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corgi_base::Term;
    use corgi_consensus::storage::HardState;
    use corgi_state::State;
    use corgi_state::mem_snapshots::MemSnapshots;

    const ONE: NodeId = NodeId::new(1).unwrap();

    /// The state after so many entries.
    fn rows(entries: u64) -> Vec<(Bytes, Bytes)> {
        let mut state = State::new(ONE);
        for index in 1..=entries {
            state.apply_empty(LogIndex(index), Term(1));
        }
        state.rows()
    }

    /// An empty folder that has received a snapshot of entry 9.
    fn folder() -> (Folder, LogInstall) {
        let mut made = MemSnapshots::default();
        let (meta, file) = made.make(rows(9));
        let mut folder = Folder::new(ONE, &mut Rng::new(7));
        let bytes = made.read(file, 0, u32::MAX).unwrap();
        folder.snapshots.write(file, 0, &bytes).unwrap();
        let hard_state = HardState {
            term: Term(2),
            vote: None,
            commit: meta.index,
        };
        let (index, term) = (meta.index, meta.term);
        let log = LogInstall {
            index,
            term,
            hard_state,
        };
        (folder, log)
    }

    #[test]
    fn a_process_that_ends_anywhere_in_an_install_leaves_all_of_it_or_nothing() {
        for steps in 0..=3 {
            let (mut folder, log) = folder();
            folder.install(&log, steps);
            folder.crash(true, &mut Rng::new(7));
            let bounds = folder.open().unwrap();
            let there = steps > 0;
            let (index, state) = if there { (9, rows(9)) } else { (0, Vec::new()) };
            assert_eq!((bounds.last_index.0, bounds.installing), (index, false));
            assert_eq!(folder.state.open().rows().unwrap(), state, "{steps} steps");
        }
    }

    #[test]
    fn without_the_note_the_log_begins_after_what_the_state_has() {
        let (mut folder, log) = folder();
        folder.mistakes.forgets_install = true;
        folder.install(&log, 1);
        folder.crash(false, &mut Rng::new(7));
        assert_eq!(folder.open().unwrap().truncated_index, LogIndex(9));
        assert!(folder.state.open().rows().unwrap().is_empty());
        assert!(folder.lacks_state());
    }
}
