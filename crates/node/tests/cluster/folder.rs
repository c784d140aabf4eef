//! A node's data folder: what survives its process.

use bytes::Bytes;
use corgi_base::{Boot, Formation, InstanceId, LogIndex, NodeId};
use corgi_consensus::PersistToken;
use corgi_consensus::mem::{MemLog, MemLogReader, MemLogWriter};
use corgi_consensus::storage::{LogEntry, LogReader as _, LogWrite, LogWriter as _};
use corgi_node::{DiskJob, NodeStart};
use corgi_state::mem::{MemState, MemStateStore};
use corgi_state::store::{StateStore as _, StateWrite};

/// What is on disk.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    pub(crate) instance: InstanceId,
    pub(crate) boot: Boot,
    pub(crate) formation: Option<Formation>,
    pub(crate) log: MemLog,
    pub(crate) state: MemState,
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
        }
    }

    /// Returns a copy that shares nothing with this one, as a backup or a cloned machine has it.
    pub(crate) fn copied(&self) -> Self {
        let copy = Self {
            log: MemLog::new(),
            state: MemState::new(),
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
        let entries = self
            .log
            .reader()
            .entries(LogIndex(1), bounds.last_index.next(), u64::MAX);
        entries.expect("no log is truncated yet")
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
        let writer = self.log.writer();
        let start = NodeStart {
            bounds: writer.bounds().expect("a log in memory can be read"),
            reader: self.log.reader(),
            state_rows: self.rows(),
        };
        (
            start,
            Disk {
                writer,
                store: self.state.open(),
            },
        )
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
}

impl Disk {
    /// Does one job; returns the proof that the node waits for, if it does.
    pub(crate) fn run(&mut self, folder: &mut Folder, job: DiskJob) -> Option<PersistToken> {
        match job {
            DiskJob::Form(formation) => {
                folder.formation = Some(formation);
                None
            }
            DiskJob::Log(persist) => {
                self.writer
                    .write(&[persist.write])
                    .expect("a disk in memory does not fail");
                Some(persist.token)
            }
            DiskJob::State(write) => {
                self.store
                    .write(&write)
                    .expect("a disk in memory does not fail");
                None
            }
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
