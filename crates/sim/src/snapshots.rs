//! Snapshots and truncation on a simulated machine.
//!
//! A job on a snapshot file takes a while, and the node goes on meanwhile. An install has three steps, and the process
//! may end after any of them; the next one does the rest.

use crate::history::{Record, Violation};
use crate::machine::{Machine, Process};
use crate::rng::Rng;
use crate::scenario::MS;
use crate::world::{Event, World};
use corgi_consensus::Install;
use corgi_consensus::storage::{LogInstall, LogWriter, TruncateLimits};
use corgi_node::{SnapshotDone, SnapshotJob};
use corgi_state::store::{StateStore, StateStoreError};

impl Machine {
    /// Does the first `steps` of an install.
    fn install(&mut self, log: Option<&LogInstall>, steps: usize) {
        let (mut writer, mut store) = (self.log.writer(), self.state.open());
        if let Some(log) = log.filter(|_| steps > 0) {
            let written = writer.install(log);
            written.expect("a disk in memory takes every write");
        }
        if steps > 1 {
            let file = self.snapshots.received();
            let file = file.expect("only what was received as a whole is installed");
            let rows = self.snapshots.rows(file);
            let mut rows = rows.into_iter().map(Ok::<_, StateStoreError>);
            let replaced = store.replace(file.index, &mut rows);
            replaced.expect("a disk in memory takes every write");
        }
        if steps > 2 {
            let written = writer.installed();
            written.expect("a disk in memory takes every write");
        }
    }

    /// The process ends somewhere in an install.
    pub(crate) fn crash_in_install(&mut self, install: &Install, rng: &mut Rng) {
        let steps = rng.index(4);
        self.install(Some(&install.log), steps);
    }

    /// A start does what is left of an install.
    pub(crate) fn finish_install(&mut self) {
        self.install(None, 3);
    }

    /// Removes from the front of the log what is flushed, and older than what is to be retained. Not while a write is
    /// on its way: truncating is one, in its turn.
    pub(crate) fn truncate(&mut self, retain_bytes: u64, now: u64) {
        let Some(process) = &mut self.process else {
            return;
        };
        if process.busy.is_some() || !std::mem::take(&mut process.truncate) {
            return;
        }
        let flushed = process.store.flushed();
        let limits = TruncateLimits {
            flushed: flushed.expect("a disk in memory can be read"),
            hold: process.hold,
            retain_bytes,
            step_bytes: retain_bytes / 10,
        };
        let truncated = process.writer.truncate(&limits);
        if let Some(truncated) = truncated.expect("a disk in memory takes every write") {
            process.node.truncated(self.clock.now(now), truncated);
        }
    }

    fn snapshot_job(&mut self, job: SnapshotJob) -> Option<SnapshotDone> {
        let process = self.process.as_ref()?;
        let snapshots = &mut self.snapshots;
        Some(match job {
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
        let process = machine.process.as_mut();
        let Some(job) = process.and_then(|process| process.snapshots.pop_front()) else {
            return Ok(());
        };
        let now = machine.clock.now(self.now);
        if let Some(done) = machine.snapshot_job(job)
            && let Some(process) = &mut machine.process
        {
            process.node.snapshot_done(now, done);
        }
        self.drain(node)
    }

    /// Log and state of a node are replaced, for good (I15: its state is what others had at that entry).
    pub(crate) fn installed(&mut self, node: usize, install: Install) -> Result<(), Violation> {
        let machine = &mut self.machines[node];
        machine.install(Some(&install.log), 3);
        let (id, now) = (machine.id, machine.clock.now(self.now));
        self.trace
            .say(|| format!("{id:?} installs a snapshot of {}", install.file.index));
        self.ledger.snapshots += 1;
        self.note_disk(node, Vec::new())?;
        let process = self.machines[node].process.as_mut();
        let Some(process) = process else {
            return Ok(());
        };
        let rows = process.store.rows().expect("a disk in memory can be read");
        let hash = process.replace_rows(install.file.index, &rows);
        process.node.installed(now, install.token, &rows);
        self.record(&Record::Rows {
            node: id,
            applied: install.file.index,
            hash,
        })?;
        self.drain(node)
    }
}

impl Process {
    /// Takes the rows of a snapshot, and returns the hash over them.
    fn replace_rows(
        &mut self,
        applied: corgi_base::LogIndex,
        rows: &[(bytes::Bytes, bytes::Bytes)],
    ) -> u64 {
        self.rows = rows.iter().cloned().collect();
        self.applied = applied;
        self.rows_hash()
    }
}
