//! The payloads of the history of channels beside the log: which entries' payloads the state keeps a copy of, and
//! reading them (ADR 4).
//!
//! ```text
//!   truncation wanted up to k ─▶ copy what is kept of the entries up to k ─▶ flush ─▶ the log is truncated up to k
//! ```
//!
//! Invariants
//! - The log has an entry, or all that is kept of it is copied, and the copies survive a crash.
//! - A copy goes with its block: the writer removes both, up to where copies may be; what it removed while it was being
//!   copied is found by looking again.
//!
//! A crash in the middle leaves copies of what the log still has. They are made again, and are the same.

use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use corgi_base::{FlushedIndex, LogIndex, Op};
use corgi_consensus::storage::{EntryType, LogEntry, LogReader, ReadLogError};
use corgi_state::history::{self, Copied, RowKey};
use corgi_state::replay;
use corgi_state::store::{CopiedReader, StateStoreError};
use rocksdb::{DB, DBRawIterator, ReadOptions, SnapshotWithThreadMode, WriteBatch};

use super::{ROW, RowResult, Shared, StateReader, row_crc, row_key};
use crate::options;
use crate::raft_log::RocksLogReader;

/// Copies are written in pieces of so many bytes.
const PIECE_BYTES: usize = 1 << 20;

/// Why there is no row.
enum Missing {
    /// The log does not have the entry: log and state are being replaced by a snapshot.
    Gone,
    Failed(StateStoreError),
}

impl From<StateStoreError> for Missing {
    fn from(error: StateStoreError) -> Self {
        Self::Failed(error)
    }
}

fn failed(what: impl std::fmt::Display) -> StateStoreError {
    StateStoreError {
        action: "copy payloads of history into",
        what: what.to_string(),
    }
}

/// The last entry that was read, decoded.
#[derive(Default)]
struct LastEntry(Option<(LogIndex, Vec<Op>)>);

impl LastEntry {
    /// Returns the operations of an entry.
    fn ops(&mut self, log: &impl LogReader, index: LogIndex) -> Result<&[Op], Missing> {
        if self.0.as_ref().is_none_or(|(at, _)| *at != index) {
            let entry = match log.entries(index, index.next(), 0) {
                Ok(entries) => entries.into_iter().next(),
                Err(ReadLogError::Compacted { .. }) => return Err(Missing::Gone),
                Err(error) => return Err(failed(error).into()),
            };
            self.0 = Some((index, entry.map_or_else(|| Ok(Vec::new()), decode)?));
        }
        Ok(self.0.as_ref().map_or(&[], |(_, ops)| ops))
    }
}

fn decode(entry: LogEntry) -> Result<Vec<Op>, StateStoreError> {
    if entry.entry_type != EntryType::Normal {
        return Ok(Vec::new());
    }
    let replayed = replay(entry.context, entry.data);
    let replayed = replayed.map_err(|error| failed(format!("entry {}: {error}", entry.index)))?;
    Ok(replayed.map(|it| it.ops).unwrap_or_default())
}

impl Shared {
    /// Takes note of where the last copy is.
    pub(super) fn find_copies(&self) -> Result<(), StateStoreError> {
        let db = self.db();
        let mut rows = db.raw_iterator();
        let [_, behind] = history::copied_range();
        rows.seek_for_prev(row_key(&behind));
        let last = self.row_if(&rows, history::is_copied)?;
        let last = last.and_then(|(key, _)| history::copied_index(&key));
        if let Some(last) = last {
            self.may_copy(last);
        }
        Ok(())
    }

    /// Takes note that there may be copies up to an entry.
    pub(super) fn may_copy(&self, index: LogIndex) {
        self.copied.fetch_max(index.0, Ordering::AcqRel);
    }

    /// Returns the key of the copy that goes with a row, if there may be one.
    pub(super) fn copy_with(&self, key: &[u8]) -> Option<Bytes> {
        let (index, copy) = history::copy_of_block(key)?;
        (index.0 <= self.copied.load(Ordering::Acquire)).then_some(copy)
    }

    fn row_if(
        &self,
        rows: &DBRawIterator<'_>,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<(Bytes, Bytes)>, StateStoreError> {
        let of_a_row = rows.key().is_some_and(|key| key.first() == Some(&ROW));
        if rows.valid() && !of_a_row {
            return Ok(None);
        }
        Ok(self.row(rows)?.filter(|(key, _)| wanted(key)))
    }

    /// Copies what is kept of the entries from `from` up to `upto`, as much as is done in one piece. Returns up to
    /// where.
    fn copy_piece(
        &self,
        log: &impl LogReader,
        from: LogIndex,
        upto: LogIndex,
    ) -> Result<LogIndex, Missing> {
        let db = self.db();
        let mut rows = db.raw_iterator();
        rows.seek(row_key(&history::block_key(from, &[])));
        let mut batch = WriteBatch::default();
        let (mut last, mut entry) = (upto, LastEntry::default());
        let mut made = Vec::new();
        while let Some((key, row)) =
            self.row_if(&rows, |key| history::copy_of_block(key).is_some())?
        {
            let (index, copy) = history::copy_of_block(&key).unwrap_or_default();
            if index > upto {
                break;
            }
            let same = entry.0.as_ref().is_some_and(|(at, _)| *at == index);
            if batch.size_in_bytes() >= PIECE_BYTES && !same {
                last = entry.0.map_or(upto, |(at, _)| at);
                break;
            }
            let copied = history::copy(&row, entry.ops(log, index)?).map_err(failed)?;
            batch.put(row_key(&copy), sealed(&copy, &copied.encode()));
            made.push((key, copy));
            rows.next();
        }
        self.write_copies(&db, batch)?;
        let mut orphans = WriteBatch::default();
        for (key, copy) in &made {
            let block = db.get_pinned(row_key(key));
            if block.map_err(|error| self.unreadable(error))?.is_none() {
                orphans.delete(row_key(copy));
            }
        }
        self.write_copies(&db, orphans)?;
        Ok(last)
    }

    fn write_copies(&self, db: &DB, batch: WriteBatch) -> Result<(), StateStoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let written = db.write_opt(batch, &options::without_wal());
        written.map_err(|error| self.refused("write", error))
    }
}

fn sealed(key: &[u8], value: &[u8]) -> Vec<u8> {
    [&row_crc(key, value)[..], value].concat()
}

impl StateReader {
    /// Copies the payloads that are kept of entries up to `upto`, which the log is to be truncated by, then makes all
    /// that was written so far survive a crash. Returns how far the log may be truncated. Copies for no more than half
    /// of the time; the writer goes on meanwhile.
    ///
    /// # Errors
    /// [`StateStoreError`], after which the process must end.
    pub fn flush_for(
        &self,
        log: &RocksLogReader,
        upto: LogIndex,
    ) -> Result<FlushedIndex, StateStoreError> {
        let copied = self.copy(log, upto)?;
        let flushed = self.flush()?;
        Ok(FlushedIndex::read_back(flushed.get().min(copied)))
    }

    /// Copies, and returns up to where all is copied.
    fn copy(&self, log: &RocksLogReader, upto: LogIndex) -> Result<LogIndex, StateStoreError> {
        let shared = &self.shared;
        // What is not applied has no blocks yet.
        let upto = upto.min(shared.applied()?);
        let mut done = log.truncated();
        if done >= upto {
            return Ok(upto);
        }
        shared.may_copy(upto);
        while done < upto {
            let started = Instant::now();
            match shared.copy_piece(log, done.next(), upto) {
                Ok(last) => done = last,
                Err(Missing::Gone) => return Ok(done),
                Err(Missing::Failed(error)) => return Err(error),
            }
            if done < upto {
                std::thread::sleep(started.elapsed());
            }
        }
        Ok(upto)
    }

    /// Gives `read` all rows in key order, as they were at one moment, and a copy of every payload that history keeps,
    /// also of those that only the log has. Returns `None` if log and state were being replaced meanwhile, so that the
    /// rows ended with an error.
    pub fn with_rows<T>(
        &self,
        log: &impl LogReader,
        read: impl FnOnce(&mut dyn Iterator<Item = RowResult>) -> T,
    ) -> Option<T> {
        let asked = || self.shared.replacements.load(Ordering::Acquire);
        let before = asked();
        let db = self.shared.db();
        let snapshot = db.snapshot();
        let mut rows = WholeRows::new(&self.shared, &snapshot, log);
        let mut replaced = false;
        let mut rows = std::iter::from_fn(|| {
            let row = if asked() == before {
                rows.next_row()
            } else {
                Err(Missing::Gone)
            };
            match row {
                Ok(row) => row.map(Ok),
                Err(Missing::Failed(error)) => Some(Err(error)),
                Err(Missing::Gone) => {
                    replaced = true;
                    let (action, what) = ("read", "it is being replaced".to_owned());
                    Some(Err(StateStoreError { action, what }))
                }
            }
        });
        let result = read(&mut rows);
        (!replaced).then_some(result)
    }
}

impl CopiedReader for StateReader {
    fn copied(&self, index: LogIndex, channel: &[u8]) -> Result<Option<Copied>, StateStoreError> {
        let key = history::copied_key(index, channel);
        let record = self.shared.db().get(row_key(&key));
        let record = record.map_err(|error| self.shared.unreadable(error))?;
        let Some(record) = record else {
            return Ok(None);
        };
        let value = self.shared.value(&key, &record)?;
        let copied = Copied::decode(Bytes::copy_from_slice(value));
        copied
            .map(Some)
            .map_err(|error| self.shared.damaged(format!("copied payloads: {error}")))
    }
}

/// Where [`WholeRows`] is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Rows,
    Copies,
    Rest,
}

/// All rows of one moment, with a copy for each block.
struct WholeRows<'a, L> {
    shared: &'a Shared,
    log: &'a L,
    /// All rows but copies.
    rows: DBRawIterator<'a>,
    blocks: DBRawIterator<'a>,
    copies: DBRawIterator<'a>,
    entry: LastEntry,
    stage: Stage,
}

impl<'a, L: LogReader> WholeRows<'a, L> {
    fn new(shared: &'a Shared, snapshot: &'a SnapshotWithThreadMode<'a, DB>, log: &'a L) -> Self {
        let at = |key: &[u8]| {
            let mut options = ReadOptions::default();
            options.set_iterate_upper_bound([ROW + 1]);
            let mut rows = snapshot.raw_iterator_opt(options);
            rows.seek(row_key(key));
            rows
        };
        let [copies, _] = history::copied_range();
        Self {
            shared,
            log,
            rows: at(&[]),
            blocks: at(&history::block_key(LogIndex(0), &[])),
            copies: at(&copies),
            entry: LastEntry::default(),
            stage: Stage::Rows,
        }
    }

    fn next_row(&mut self) -> Result<Option<(Bytes, Bytes)>, Missing> {
        let [first, behind] = history::copied_range();
        if self.stage == Stage::Rows {
            let row = self.shared.row(&self.rows)?;
            if let Some(row) = row.filter(|(key, _)| **key < first[..]) {
                self.rows.next();
                return Ok(Some(row));
            }
            self.stage = Stage::Copies;
        }
        if self.stage == Stage::Copies {
            if let Some(copy) = self.next_copy()? {
                return Ok(Some(copy));
            }
            self.stage = Stage::Rest;
            self.rows.seek(row_key(&behind));
        }
        let row = self.shared.row(&self.rows)?;
        self.rows.next();
        Ok(row)
    }

    fn next_copy(&mut self) -> Result<Option<(Bytes, Bytes)>, Missing> {
        let block = self.shared.row(&self.blocks)?;
        let Some((key, row)) = block else {
            return Ok(None);
        };
        let Some((index, copy)) = RowKey::decode(&key)
            .ok()
            .and_then(|_| history::copy_of_block(&key))
        else {
            return Ok(None);
        };
        self.blocks.next();
        while let Some(found) = self.copies.key().filter(|found| found[1..] < copy[..]) {
            debug_assert!(found[0] == ROW);
            self.copies.next();
        }
        if self
            .copies
            .key()
            .is_some_and(|found| found[1..] == copy[..])
        {
            return Ok(self.shared.row(&self.copies)?);
        }
        let ops = self.entry.ops(self.log, index)?;
        let copied = history::copy(&row, ops).map_err(failed)?;
        Ok(Some((copy, copied.encode())))
    }
}
