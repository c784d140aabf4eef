//! The end of the log, in memory.
//!
//! Raft must be able to read an entry before it is on disk, and reads the newest entries far more often than any
//! others: to send them, and to hand them out once they are committed. [`Tail`] keeps them, shares their bytes, and
//! asks the [`LogReader`] only for what is older.
//!
//! Invariants
//! - Entries that are not on disk, or not applied, are never evicted; others are, oldest first, beyond `bytes_max`.
//! - The entries are consecutive and end with the last entry of the log.

use crate::convert::{conf_state, entry_from_log, hard_state_to_raft, snapshot_to_raft};
use crate::storage::{LogBounds, LogReader, ReadLogError, Truncated};
use corgi_base::{LogIndex, NodeId, SnapshotFile, SnapshotMeta, Term};
use raft::eraftpb::{Entry, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};
use std::cell::Cell;
use std::collections::VecDeque;

/// The log as raft-rs sees it: what a [`LogReader`] holds, and the in-memory tail.
#[derive(Debug)]
pub(crate) struct Tail<R> {
    reader: R,
    bounds: LogBounds,
    voters: Vec<NodeId>,
    learners: Vec<NodeId>,
    entries: VecDeque<Entry>,
    bytes: u64,
    bytes_max: u64,
    /// Entries up to here are on disk.
    durable: LogIndex,
    /// The snapshot that can be sent to followers.
    made: Option<(SnapshotMeta, SnapshotFile)>,
    /// Whether raft has asked for one that is not there.
    wanted: Cell<bool>,
}

fn payload(entry: &Entry) -> u64 {
    (entry.data.len() + entry.context.len()) as u64
}

impl<R: LogReader> Tail<R> {
    pub(crate) fn new(
        reader: R,
        bounds: LogBounds,
        voters: Vec<NodeId>,
        learners: Vec<NodeId>,
        bytes_max: u64,
    ) -> Self {
        Self {
            reader,
            bounds,
            voters,
            learners,
            entries: VecDeque::new(),
            bytes: 0,
            bytes_max,
            durable: bounds.last_index,
            made: None,
            wanted: Cell::new(false),
        }
    }

    /// Returns the last entry that was removed from the front.
    pub(crate) fn truncated_index(&self) -> LogIndex {
        self.bounds.truncated_index
    }

    /// Notes a snapshot that can be sent to followers.
    pub(crate) fn snapshot_made(&mut self, meta: SnapshotMeta, file: SnapshotFile) {
        self.made = Some((meta, file));
    }

    /// Notes that it is not there any more.
    pub(crate) fn snapshot_gone(&mut self) {
        self.made = None;
    }

    /// Returns whether raft has asked for a snapshot that was not there, since the last call.
    pub(crate) fn take_wanted(&self) -> bool {
        self.wanted.take()
    }

    /// Goes on after a snapshot: the log is empty.
    pub(crate) fn restore(&mut self, index: LogIndex, term: Term) {
        (self.bounds.truncated_index, self.bounds.truncated_term) = (index, term);
        (self.bounds.last_index, self.bounds.last_term) = (index, term);
        self.entries.clear();
        self.bytes = 0;
        self.durable = index;
    }

    /// Takes note that entries are gone from the front.
    pub(crate) fn compact(&mut self, truncated: Truncated) {
        let Truncated { index, term } = truncated;
        if index <= self.bounds.truncated_index {
            // A snapshot was faster.
            return;
        }
        assert!(
            index <= self.durable,
            "truncated up to {index}, but entries are on disk only up to {}",
            self.durable
        );
        (self.bounds.truncated_index, self.bounds.truncated_term) = (index, term);
        while self.entries.front().is_some_and(|e| e.index <= index.0) {
            let dropped = self.entries.pop_front().expect("the front was just seen");
            self.bytes -= payload(&dropped);
        }
    }

    /// Returns the index of the oldest entry in memory, or the one after the last if there is none.
    fn start(&self) -> u64 {
        self.entries
            .front()
            .map_or(self.bounds.last_index.0 + 1, |e| e.index)
    }

    /// Takes what raft has just appended; a suffix that it replaces is dropped.
    pub(crate) fn append(&mut self, new: &[Entry]) {
        let (Some(first), Some(last)) = (new.first(), new.last()) else {
            return;
        };
        assert!(
            first.index > self.bounds.truncated_index.0
                && first.index <= self.bounds.last_index.0 + 1,
            "append at {} to a log that holds {}..={}",
            first.index,
            self.bounds.truncated_index.0 + 1,
            self.bounds.last_index
        );
        while self.entries.back().is_some_and(|e| e.index >= first.index) {
            let dropped = self.entries.pop_back().expect("the back was just seen");
            self.bytes -= payload(&dropped);
        }
        self.durable = self.durable.min(LogIndex(first.index - 1));
        for entry in new {
            self.bytes += payload(entry);
            self.entries.push_back(entry.clone());
        }
        self.bounds.last_index = LogIndex(last.index);
        self.bounds.last_term = Term(last.term);
    }

    /// Notes that entries up to `index` of `term` are on disk; ignored if they have been replaced since. (They cannot
    /// have been replaced and put back meanwhile: a leader sends old entries only to a node that answered it in its
    /// term, and the group answers nothing in a new term before the disk has it, and with it all earlier writes.)
    pub(crate) fn persisted(&mut self, index: LogIndex, term: Term) {
        if index > self.durable && self.term(index.0) == Ok(term.0) {
            self.durable = index;
        }
    }

    /// Drops the oldest entries while there are too many bytes, as far as they are on disk and applied.
    pub(crate) fn evict(&mut self, applied: LogIndex) {
        let spare = self.durable.min(applied);
        while self.bytes > self.bytes_max
            && self.entries.front().is_some_and(|e| e.index <= spare.0)
        {
            let dropped = self.entries.pop_front().expect("the front was just seen");
            self.bytes -= payload(&dropped);
        }
    }

    fn read_older(&self, low: u64, high: u64, max: u64) -> raft::Result<Vec<Entry>> {
        let entries = self.reader.entries(LogIndex(low), LogIndex(high), max);
        Ok(entries
            .map_err(to_raft)?
            .into_iter()
            .map(entry_from_log)
            .collect())
    }
}

/// Compaction is an answer that raft knows what to do with; anything else ends the process with this text, because raft
/// panics and the process is built to abort on panic.
fn to_raft(error: ReadLogError) -> raft::Error {
    match error {
        ReadLogError::Compacted { .. } => StorageError::Compacted.into(),
        ReadLogError::Unavailable { .. }
        | ReadLogError::Damaged { .. }
        | ReadLogError::Io { .. } => StorageError::Other(Box::new(error)).into(),
    }
}

impl<R: LogReader> Storage for Tail<R> {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(
            hard_state_to_raft(self.bounds.hard_state),
            conf_state(&self.voters, &self.learners),
        ))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        let max = max_size.into().unwrap_or(u64::MAX);
        if low <= self.bounds.truncated_index.0 {
            return Err(StorageError::Compacted.into());
        }
        let start = self.start();
        let mut out = Vec::new();
        let mut bytes = 0u64;
        if low < start {
            out = self.read_older(low, high.min(start), max)?;
            bytes = out.iter().map(payload).sum();
            let next = out.last().map_or(low, |e| e.index + 1);
            if next < start || next >= high || bytes >= max {
                return Ok(out);
            }
        }
        let from = (low.max(start) - start) as usize;
        let to = (high - start) as usize;
        for entry in self.entries.range(from..to) {
            bytes = bytes.saturating_add(payload(entry));
            if bytes > max && !out.is_empty() {
                break;
            }
            out.push(entry.clone());
        }
        Ok(out)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.bounds.last_index.0 {
            return Ok(self.bounds.last_term.0);
        }
        if index == self.bounds.truncated_index.0 {
            return Ok(self.bounds.truncated_term.0);
        }
        if index < self.bounds.truncated_index.0 {
            return Err(StorageError::Compacted.into());
        }
        if index > self.bounds.last_index.0 {
            return Err(StorageError::Unavailable.into());
        }
        let start = self.start();
        if index >= start {
            return Ok(self.entries[(index - start) as usize].term);
        }
        self.reader
            .term(LogIndex(index))
            .map(|term| term.0)
            .map_err(to_raft)
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.bounds.truncated_index.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.bounds.last_index.0)
    }

    /// Answers with what names the snapshot; its rows travel apart. One that does not know the receiver is none for it,
    /// and neither is one that the log does not go on from.
    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let knows = |meta: &SnapshotMeta| {
            let mut members = meta.voters.iter().chain(&meta.learners);
            members.any(|id| id.get() == to)
        };
        let fits = |meta: &SnapshotMeta| {
            meta.index >= self.bounds.truncated_index && meta.index.0 >= request_index
        };
        match &self.made {
            Some((meta, file)) if knows(meta) && fits(meta) => Ok(snapshot_to_raft(meta, file)),
            _ => {
                self.wanted.set(true);
                Err(StorageError::SnapshotTemporarilyUnavailable.into())
            }
        }
    }
}
