//! A node's data folder: what survives its process.

use bytes::Bytes;
use corgi_base::{Boot, Formation, InstanceId, LogIndex, NodeId, Now};
use corgi_consensus::Install;
use corgi_consensus::mem::{MemLog, MemLogReader, MemLogWriter};
use corgi_consensus::storage::{
    LogEntry, LogReader as _, LogWrite, LogWriter as _, TruncateLimits,
};
use corgi_node::{DiskJob, Node, NodeStart, SnapshotDone, SnapshotJob};
use corgi_state::State;
use corgi_state::mem::{MemState, MemStateStore};
use corgi_state::mem_snapshots::MemSnapshots;
use corgi_state::store::{StateStore as _, StateWrite};
use std::sync::{Arc, Mutex, MutexGuard};

/// What is on disk.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    pub(crate) instance: InstanceId,
    pub(crate) boot: Boot,
    pub(crate) formation: Option<Formation>,
    pub(crate) log: MemLog,
    pub(crate) state: MemState,
    snapshots: Arc<Mutex<MemSnapshots>>,
}

impl Folder {
    /// Returns an empty folder.
    pub(crate) fn new(instance: InstanceId) -> Self {
        Self {
            instance,
            boot: Boot(0),
            formation: None,
            log: MemLog::new(),
            state: MemState::new(),
            snapshots: Arc::default(),
        }
    }

    /// Returns the snapshots.
    pub(crate) fn snapshots(&self) -> MutexGuard<'_, MemSnapshots> {
        self.snapshots.lock().expect("nobody panics with it")
    }

    /// Returns a copy that shares nothing with this one, as a backup or a cloned machine has it.
    pub(crate) fn copied(&self) -> Self {
        let copy = Self {
            log: MemLog::new(),
            state: MemState::new(),
            snapshots: Arc::default(),
            ..self.clone()
        };
        let bounds = self
            .log
            .writer()
            .bounds()
            .expect("a log in memory can be read");
        let write = LogWrite {
            entries: self.entries(),
            hard_state: Some(bounds.hard_state),
        };
        copy.log
            .writer()
            .write(&[write])
            .expect("a disk in memory does not fail");
        let puts = self.rows();
        let mut store = copy.state.open();
        let write = StateWrite {
            applied: LogIndex(0),
            puts,
            deletes: Vec::new(),
        };
        store.write(&write).expect("a disk in memory does not fail");
        store.flush().expect("a disk in memory does not fail");
        copy
    }

    /// Returns the log.
    pub(crate) fn entries(&self) -> Vec<LogEntry> {
        let bounds = self
            .log
            .writer()
            .bounds()
            .expect("a log in memory can be read");
        let first = bounds.truncated_index.next();
        let entries = self
            .log
            .reader()
            .entries(first, bounds.last_index.next(), u64::MAX);
        entries.expect("a log in memory can be read")
    }

    /// Returns the rows of the applied state, as far as it was written.
    pub(crate) fn rows(&self) -> Vec<(Bytes, Bytes)> {
        self.state
            .open()
            .rows()
            .expect("a disk in memory does not fail")
    }

    /// Changes a bit of the applied state, as a disk or memory may.
    pub(crate) fn spoil(&self) {
        let rows = self.rows();
        let (key, value) = rows.first().expect("the state is flushed");
        let mut value = value.to_vec();
        // In the running hash of the first row (crates/state, rows.rs).
        value[1 + 8 + 8] ^= 1;
        let mut store = self.state.open();
        let write = StateWrite {
            applied: LogIndex(0),
            puts: vec![(key.clone(), value.into())],
            deletes: Vec::new(),
        };
        store.write(&write).expect("a disk in memory does not fail");
        store.flush().expect("a disk in memory does not fail");
    }

    /// Counts a start, and returns what a process finds and what it writes with.
    pub(crate) fn open(&mut self) -> (NodeStart<MemLogReader>, Disk) {
        self.boot = self.boot.next();
        let mut writer = self.log.writer();
        let mut bounds = writer.bounds().expect("a log in memory can be read");
        if bounds.installing {
            self.finish_install();
            writer.installed().expect("a disk in memory does not fail");
            bounds.installing = false;
        }
        let start = NodeStart {
            bounds,
            reader: self.log.reader(),
            state_rows: self.rows(),
        };
        (
            start,
            Disk {
                writer,
                store: self.state.open(),
                hold: None,
            },
        )
    }

    /// Replaces the state by the snapshot that was received.
    fn finish_install(&self) {
        let snapshots = self.snapshots();
        let file = snapshots.received().expect("it is there as a whole");
        let mut rows = snapshots.rows(file).into_iter().map(Ok);
        let replaced = self.state.open().replace(file.index, &mut rows);
        replaced.expect("a disk in memory does not fail");
    }

    /// The applied state is gone, the log is not.
    pub(crate) fn lose_state(&mut self) {
        self.state = MemState::new();
    }

    /// Does one job on snapshot files.
    pub(crate) fn snapshot(&self, job: SnapshotJob) -> Option<SnapshotDone> {
        let mut snapshots = self.snapshots();
        Some(match job {
            SnapshotJob::Make => {
                let (meta, file) = snapshots.make(self.rows());
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

    /// Ends the process that has it open: what is not synced, and what of the state is not flushed, is lost.
    pub(crate) fn crash(&self) {
        self.log.crash(0);
        self.state.crash(0);
    }
}

/// What one process writes with.
#[derive(Debug)]
pub(crate) struct Disk {
    writer: MemLogWriter,
    store: MemStateStore,
    hold: Option<LogIndex>,
}

impl Disk {
    /// Does one job, and tells the node.
    pub(crate) fn run(
        &mut self,
        folder: &mut Folder,
        job: DiskJob,
        node: &mut Node<MemLogReader>,
        now: Now,
    ) {
        match job {
            DiskJob::Form(formation) => folder.formation = Some(formation),
            DiskJob::Log(persist) => {
                let written = self.writer.write(&[persist.write]);
                written.expect("a disk in memory does not fail");
                node.persisted(now, persist.token);
            }
            DiskJob::State(write) => {
                let written = self.store.write(&write);
                written.expect("a disk in memory does not fail");
            }
            DiskJob::Install(Install { log, token, .. }) => {
                let done = self.writer.install(&log);
                done.expect("a disk in memory does not fail");
                folder.finish_install();
                let done = self.writer.installed();
                done.expect("a disk in memory does not fail");
                node.installed(now, token, State::of_snapshot(&folder.rows()));
            }
            DiskJob::Hold(hold) => self.hold = hold,
        }
    }

    /// Does no more than the first step of an install that waits, before the process ends.
    pub(crate) fn begin_install(&mut self, job: DiskJob) {
        if let DiskJob::Install(Install { log, .. }) = job {
            let done = self.writer.install(&log);
            done.expect("a disk in memory does not fail");
        }
    }

    /// Flushes, and removes from the front of the log what is older than the newest `retain_bytes`.
    pub(crate) fn truncate(&mut self, node: &mut Node<MemLogReader>, now: Now, retain_bytes: u64) {
        self.flush();
        let flushed = self.store.flushed();
        let limits = TruncateLimits {
            flushed: flushed.expect("a disk in memory does not fail"),
            hold: self.hold,
            retain_bytes,
            step_bytes: 0,
        };
        let truncated = self.writer.truncate(&limits);
        if let Some(truncated) = truncated.expect("a disk in memory does not fail") {
            node.truncated(now, truncated);
        }
    }

    /// Makes the applied state survive a crash, as RocksDB does on its own now and then.
    pub(crate) fn flush(&mut self) {
        self.store.flush().expect("a disk in memory does not fail");
    }
}

/// Returns the id of a node.
pub(crate) fn node_id(id: u64) -> NodeId {
    NodeId::new(id).expect("nodes are counted from 1")
}
