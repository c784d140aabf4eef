//! The Raft log and hard state in RocksDB: [`RocksLogReader`] and [`RocksLogWriter`] on one
//! database.
//!
//! Invariants
//! - One writer; what it writes is one synced batch, and is on stable storage when the call
//!   returns.
//! - The edges of the log (first, last) that readers see never name an entry that a finished write
//!   does not hold: before a write that removes entries they are drawn in, after it they are moved
//!   out.
//! - `truncated <= commit <= last` and `last term <= term`, checked at open and before every write.
//!
//! Not here: entries that are not written yet (the tail in `corgi-consensus` answers for them).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use corgi_base::{LogIndex, Term};
use corgi_consensus::storage::{
    HardState, LogBounds, LogEntry, LogInstall, LogReader, LogWrite, LogWriter, ReadLogError,
    TruncateLimits, Truncated, WriteLogError,
};
use rocksdb::{DB, DBRawIterator, ReadOptions, WriteBatch};

use crate::error::OpenStoreError;
use crate::mark::SyncMark;
use crate::options::{self, DbError};
use crate::record::{
    Chain, HARD_STATE, INSTALLING, Mark, StoredEntry, TRUNCATED, decode_entry, encode_entry,
    encode_hard_state, encode_installing, encode_truncated, entry_bytes, entry_key,
    parse_entry_key,
};

mod open;
mod sizes;

use sizes::Sizes;

/// What readers and the writer share.
#[derive(Debug)]
struct Shared {
    db: DB,
    path: PathBuf,
    edges: Mutex<Edges>,
}

/// Between which entries the log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Edges {
    /// The last entry that was removed from the front.
    truncated: Mark,
    /// The last entry there is, or `truncated` in an empty log.
    last: Mark,
}

impl RocksLogReader {
    /// Returns the last entry that was removed from the front.
    pub(crate) fn truncated(&self) -> LogIndex {
        self.shared.edges().truncated.index
    }
}

impl RocksLogWriter {
    /// Returns up to which entry [`LogWriter::truncate`] could remove entries if all of the applied state were flushed;
    /// 0 if none.
    pub fn removable(&self, hold: Option<LogIndex>, retain_bytes: u64) -> LogIndex {
        let last = self.shared.edges().last.index;
        let allowed = hold.map_or(last, |hold| hold.min(last));
        let removable = self.sizes.removable(allowed, retain_bytes);
        removable.map_or(LogIndex(0), |(upto, _)| upto)
    }
}

impl Edges {
    fn check(&self, index: LogIndex) -> Result<(), ReadLogError> {
        let (truncated, last) = (self.truncated.index, self.last.index);
        if index <= truncated {
            return Err(ReadLogError::Compacted { index, truncated });
        }
        if index > last {
            return Err(ReadLogError::Unavailable { index, last });
        }
        Ok(())
    }
}

impl Shared {
    fn edges(&self) -> MutexGuard<'_, Edges> {
        // Nothing is done under the lock that could leave it half changed.
        self.edges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn damaged(&self, index: LogIndex, what: impl std::fmt::Display) -> ReadLogError {
        ReadLogError::Damaged {
            index,
            what: format!("{what}, in {}", self.path.display()),
        }
    }

    fn unreadable(&self, index: LogIndex, error: rocksdb::Error) -> ReadLogError {
        match DbError::from(error) {
            DbError::Damaged(what) => self.damaged(index, what),
            DbError::Io(what) => ReadLogError::Io { index, what },
        }
    }

    /// Returns what it means that an entry between the edges was not found: it may have been
    /// removed just now.
    fn missing(&self, index: LogIndex) -> ReadLogError {
        let moved = self.edges().check(index);
        moved
            .err()
            .unwrap_or_else(|| self.damaged(index, "it is missing"))
    }

    fn get(&self, index: LogIndex) -> Result<StoredEntry, ReadLogError> {
        let found = self.db.get_pinned(entry_key(index));
        let found = found.map_err(|error| self.unreadable(index, error))?;
        let record = found.ok_or_else(|| self.missing(index))?;
        decode_entry(index, &record).map_err(|what| self.damaged(index, what))
    }

    /// Reads the entries of `low..high`, all of which must be there. An error ends it.
    fn scan(&self, low: LogIndex, high: LogIndex) -> Scan<'_> {
        // Before the rows are looked at: entries behind an older edge than theirs are missed, never mistaken.
        let truncated = self.edges().truncated;
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(entry_key(high));
        let mut rows = self.db.raw_iterator_opt(options);
        rows.seek(entry_key(low));
        let before = (truncated.index.next() == low).then_some(truncated);
        Scan {
            log: self,
            rows,
            next: low,
            high,
            before,
        }
    }
}

/// See [`Shared::scan`].
struct Scan<'a> {
    log: &'a Shared,
    rows: DBRawIterator<'a>,
    next: LogIndex,
    high: LogIndex,
    /// The entry before `next`, if it is known.
    before: Option<Mark>,
}

impl Scan<'_> {
    fn read(&mut self) -> Result<StoredEntry, ReadLogError> {
        let index = self.next;
        let Some((key, record)) = self.rows.item() else {
            let status = self.rows.status();
            status.map_err(|error| self.log.unreadable(index, error))?;
            return Err(self.log.missing(index));
        };
        if parse_entry_key(key) != Some(index) {
            return Err(self.log.missing(index));
        }
        let stored = decode_entry(index, record).map_err(|what| self.log.damaged(index, what))?;
        if let Some(before) = self.before {
            if stored.previous != before.chain {
                return Err(self
                    .log
                    .damaged(index, "it does not follow the entry before it"));
            }
            if stored.entry.term < before.term {
                return Err(self
                    .log
                    .damaged(index, "its term is older than the one before it"));
            }
        }
        Ok(stored)
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<StoredEntry, ReadLogError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.high {
            return None;
        }
        let read = self.read();
        match &read {
            Ok(stored) => {
                self.before = Some(stored.mark());
                self.next = self.next.next();
                self.rows.next();
            }
            Err(_) => self.next = self.high,
        }
        Some(read)
    }
}

impl StoredEntry {
    fn mark(&self) -> Mark {
        Mark {
            index: self.entry.index,
            term: self.entry.term,
            chain: self.chain,
        }
    }
}

/// Reads the Raft log. Clones read the same log, each on its own thread if need be.
#[derive(Clone, Debug)]
pub struct RocksLogReader {
    shared: Arc<Shared>,
}

impl RocksLogReader {
    /// Reads and checks every entry and the chain between them, and returns how many there are.
    ///
    /// # Errors
    /// [`ReadLogError`] for the first entry that is damaged or cannot be read.
    pub fn verify(&self) -> Result<u64, ReadLogError> {
        let mut count = 0;
        for stored in self.scan_all() {
            stored?;
            count += 1;
        }
        Ok(count)
    }

    /// Returns how many errors RocksDB met in the background since it was opened. Anything but 0
    /// means that the process must end: the disk refused something, and nothing is known of what
    /// comes after.
    pub fn background_errors(&self) -> u64 {
        options::background_errors(&self.shared.db)
    }

    /// Reads the whole log. An error ends it.
    pub(crate) fn scan_all(&self) -> impl Iterator<Item = Result<StoredEntry, ReadLogError>> {
        let edges = *self.shared.edges();
        self.shared
            .scan(edges.truncated.index.next(), edges.last.index.next())
    }
}

impl LogReader for RocksLogReader {
    fn entries(
        &self,
        low: LogIndex,
        high: LogIndex,
        max_bytes: u64,
    ) -> Result<Vec<LogEntry>, ReadLogError> {
        if low >= high {
            return Ok(Vec::new());
        }
        let edges = *self.shared.edges();
        edges.check(low)?;
        let mut bytes = 0;
        let mut read: Vec<LogEntry> = Vec::new();
        for stored in self.shared.scan(low, high.min(edges.last.index.next())) {
            let entry = match stored {
                Ok(stored) => stored.entry,
                // The suffix was replaced meanwhile: what was read is what the log held.
                Err(ReadLogError::Unavailable { .. }) if !read.is_empty() => break,
                Err(error) => return Err(error),
            };
            bytes += entry.payload_bytes() as u64;
            if bytes > max_bytes && !read.is_empty() {
                break;
            }
            read.push(entry);
        }
        Ok(read)
    }

    fn term(&self, index: LogIndex) -> Result<Term, ReadLogError> {
        let edges = *self.shared.edges();
        for known in [edges.truncated, edges.last] {
            if known.index == index {
                return Ok(known.term);
            }
        }
        edges.check(index)?;
        Ok(self.shared.get(index)?.entry.term)
    }
}

/// Writes the Raft log: the only one that does.
#[derive(Debug)]
pub struct RocksLogWriter {
    shared: Arc<Shared>,
    hard_state: HardState,
    mark: SyncMark,
    sizes: Sizes,
    /// Whether the applied state has yet to be replaced by the snapshot that the log was reset to.
    installing: bool,
    /// The error after which nothing is written any more: a second try could be told that all is
    /// well when it is not.
    failed: Option<WriteLogError>,
}

/// What several writes amount to.
#[derive(Default)]
struct Sum<'a> {
    /// The entries that are left, consecutive.
    entries: Vec<&'a LogEntry>,
    hard_state: Option<HardState>,
}

impl<'a> Sum<'a> {
    fn of(writes: &'a [LogWrite]) -> Self {
        let mut sum = Self::default();
        for write in writes {
            if let Some(first) = write.entries.first() {
                let kept = sum
                    .entries
                    .partition_point(|entry| entry.index < first.index);
                sum.entries.truncate(kept);
                sum.entries.extend(&write.entries);
            }
            sum.hard_state = write.hard_state.or(sum.hard_state);
        }
        for pair in sum.entries.windows(2) {
            assert_eq!(
                pair[1].index,
                pair[0].index.next(),
                "entries are not consecutive"
            );
        }
        sum
    }
}

impl RocksLogWriter {
    /// Gives back the disk space of tables that hold nothing but entries that are gone; of the others RocksDB takes
    /// care.
    fn drop_files(&mut self, upto: LogIndex) -> Result<(), WriteLogError> {
        let (from, to) = (entry_key(LogIndex(0)), entry_key(upto));
        let dropped = self.shared.db.delete_file_in_range(from, to);
        self.finish(dropped.map_err(rocksdb::Error::into_string))
    }

    /// Returns how many bytes of entries the log holds, as good as it is known.
    pub fn bytes(&self) -> u64 {
        self.sizes.bytes()
    }

    /// Returns how many errors RocksDB met in the background; see
    /// [`RocksLogReader::background_errors`].
    pub fn background_errors(&self) -> u64 {
        options::background_errors(&self.shared.db)
    }

    /// Returns the mark of an entry that is in the log, or of the last one removed from its front.
    fn mark(&self, index: LogIndex) -> Result<Mark, WriteLogError> {
        let edges = *self.shared.edges();
        if let Some(known) = [edges.last, edges.truncated]
            .iter()
            .find(|mark| mark.index == index)
        {
            return Ok(*known);
        }
        let stored = self.shared.get(index);
        stored
            .map(|stored| stored.mark())
            .map_err(|error| WriteLogError {
                what: error.to_string(),
            })
    }

    /// Adds the entries to the batch, with the removal of what they replace. Returns the marks of
    /// the entry before them and of the last of them.
    fn put_entries(
        &self,
        entries: &[&LogEntry],
        batch: &mut WriteBatch,
    ) -> Result<(Mark, Mark), WriteLogError> {
        let edges = *self.shared.edges();
        let Some(first) = entries.first() else {
            return Ok((edges.last, edges.last));
        };
        let (truncated, old_last) = (edges.truncated.index, edges.last.index);
        assert!(
            first.index > truncated && first.index <= old_last.next(),
            "entries from {} on leave a gap in a log of {truncated}..={old_last}",
            first.index
        );
        let before = self.mark(LogIndex(first.index.0 - 1))?;
        let mut mark = before;
        let mut record = Vec::new();
        for entry in entries {
            record.clear();
            let chain = encode_entry(entry, mark.chain, &mut record);
            batch.put(entry_key(entry.index), &record);
            assert!(
                entry.term >= mark.term,
                "{entry:?} follows an entry of term {}",
                mark.term
            );
            mark = Mark {
                index: entry.index,
                term: entry.term,
                chain,
            };
        }
        // A replaced suffix is short: it was not committed. One by one is cheaper to read over than
        // a range.
        for index in mark.index.0 + 1..=old_last.0 {
            batch.delete(entry_key(LogIndex(index)));
        }
        Ok((before, mark))
    }

    /// Adds the entries and the hard state to a batch and writes it.
    fn write_batch(&mut self, mut batch: WriteBatch, sum: &Sum<'_>) -> Result<(), WriteLogError> {
        let (before, last) = self.put_entries(&sum.entries, &mut batch)?;
        if let Some(hard_state) = &sum.hard_state {
            batch.put(HARD_STATE, encode_hard_state(hard_state));
        }
        if batch.is_empty() {
            return Ok(());
        }
        let hard_state = sum.hard_state.unwrap_or(self.hard_state);
        let mut edges = *self.shared.edges();
        let old_last = edges.last.index;
        edges.last = last;
        if let Some(what) = open::contradiction(&hard_state, &edges) {
            // Never put on disk what the next start would refuse.
            panic!("the Raft log was asked to write a contradiction: {what}");
        }
        // Drawn in first: a reader must not miss an entry between the edges.
        self.shared.edges().last = before;
        self.commit(batch)?;
        self.hard_state = hard_state;
        if let Some(first) = sum.entries.first().filter(|first| first.index <= old_last) {
            self.sizes.replace_from(first.index);
        }
        for entry in &sum.entries {
            self.sizes.append(entry.index, entry_bytes(entry));
        }
        *self.shared.edges() = edges;
        Ok(())
    }

    fn check_usable(&self) -> Result<(), WriteLogError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Writes a batch. After an error nothing more is written.
    fn commit(&mut self, batch: WriteBatch) -> Result<(), WriteLogError> {
        let written = self.shared.db.write_opt(batch, &options::synced());
        let written = written.map_err(rocksdb::Error::into_string);
        let sequence = self.shared.db.latest_sequence_number();
        let marked = written.and_then(|()| self.mark.set(sequence).map_err(marking));
        self.finish(marked)
    }

    /// Makes the mark of what is synced survive a power cut. Worth doing a few times a second:
    /// until then a power cut leaves the last writes without one, so that damage to them looks like
    /// a torn end.
    ///
    /// # Errors
    /// [`WriteLogError`] as for `write`.
    pub fn sync_mark(&mut self) -> Result<(), WriteLogError> {
        self.check_usable()?;
        let synced = self.mark.sync().map_err(marking);
        self.finish(synced)
    }

    /// Remembers an error, so that nothing is tried again after it.
    fn finish(&mut self, done: Result<(), String>) -> Result<(), WriteLogError> {
        done.map_err(|what| {
            let error = WriteLogError { what };
            self.failed = Some(error.clone());
            error
        })
    }
}

impl LogWriter for RocksLogWriter {
    fn bounds(&self) -> Result<LogBounds, ReadLogError> {
        let edges = *self.shared.edges();
        Ok(LogBounds {
            hard_state: self.hard_state,
            truncated_index: edges.truncated.index,
            truncated_term: edges.truncated.term,
            last_index: edges.last.index,
            last_term: edges.last.term,
            installing: self.installing,
        })
    }

    fn write(&mut self, writes: &[LogWrite]) -> Result<(), WriteLogError> {
        self.check_usable()?;
        self.write_batch(WriteBatch::default(), &Sum::of(writes))
    }

    fn install(&mut self, install: &LogInstall) -> Result<(), WriteLogError> {
        self.check_usable()?;
        let LogInstall {
            index,
            term,
            hard_state,
        } = *install;
        let snapshot = Mark {
            index,
            term,
            // That of the entry is not known here; the chain begins anew, as with the first entry of all.
            chain: Chain::default(),
        };
        let emptied = Edges {
            truncated: snapshot,
            last: snapshot,
        };
        let old_last = self.shared.edges().last.index;
        let mut batch = WriteBatch::default();
        batch.delete_range(entry_key(LogIndex(0)), entry_key(old_last.next()));
        batch.put(TRUNCATED, encode_truncated(&snapshot));
        batch.put(INSTALLING, encode_installing());
        *self.shared.edges() = emptied;
        self.sizes.clear();
        let hard_state = Some(hard_state);
        let sum = Sum {
            entries: Vec::new(),
            hard_state,
        };
        self.write_batch(batch, &sum)?;
        self.installing = true;
        self.drop_files(old_last)
    }

    fn installed(&mut self) -> Result<(), WriteLogError> {
        self.check_usable()?;
        let mut batch = WriteBatch::default();
        batch.delete(INSTALLING);
        self.commit(batch)?;
        self.installing = false;
        Ok(())
    }

    fn truncate(&mut self, limits: &TruncateLimits) -> Result<Option<Truncated>, WriteLogError> {
        self.check_usable()?;
        let mut edges = *self.shared.edges();
        let needed = limits.hold.unwrap_or(edges.last.index);
        let allowed = limits.flushed.get().min(needed).min(edges.last.index);
        let removable = self.sizes.removable(allowed, limits.retain_bytes);
        let upto = match removable {
            Some((upto, bytes)) if upto > edges.truncated.index && bytes >= limits.step_bytes => {
                upto
            }
            _ => return Ok(None),
        };
        edges.truncated = self.mark(upto)?;
        let mut batch = WriteBatch::default();
        // From the very beginning: a table with an older removal may be dropped before one with what that removed.
        batch.delete_range(entry_key(LogIndex(0)), entry_key(upto.next()));
        batch.put(TRUNCATED, encode_truncated(&edges.truncated));
        let mut hard_state = self.hard_state;
        if hard_state.commit < upto {
            // What is applied was committed.
            hard_state.commit = upto;
            batch.put(HARD_STATE, encode_hard_state(&hard_state));
        }
        // Drawn in first: a reader must not miss an entry between the edges.
        *self.shared.edges() = edges;
        self.commit(batch)?;
        self.hard_state = hard_state;
        self.sizes.truncate(upto);
        self.drop_files(upto)?;
        Ok(Some(Truncated {
            index: upto,
            term: edges.truncated.term,
        }))
    }
}

fn marking(error: std::io::Error) -> String {
    format!("mark what is synced: {error}")
}

/// Opens the Raft log in the folder `path`, or creates it if there is no such folder.
///
/// Checks the first and the last entry, the chain of as many entries at the end as a crash can have
/// touched, and the hard state against them. Older entries are checked when they are read.
///
/// # Errors
/// [`OpenStoreError`] if the log is damaged or the disk refuses.
pub fn open_log(path: &Path) -> Result<(RocksLogReader, RocksLogWriter), OpenStoreError> {
    let failed = |error| open::failed(path, error);
    let (db, mark) = open::open(path).map_err(failed)?;
    let found = open::check(db, path).map_err(failed)?;
    let shared = Arc::new(found.shared);
    let reader = RocksLogReader {
        shared: Arc::clone(&shared),
    };
    Ok((
        reader,
        RocksLogWriter {
            shared,
            hard_state: found.hard_state,
            mark,
            sizes: found.sizes,
            installing: found.installing,
            failed: None,
        },
    ))
}

/// Opens the Raft log of a stopped node for reading; writes nothing, not even what recovery finds.
///
/// # Errors
/// As [`open_log`].
pub(crate) fn open_log_read_only(
    path: &Path,
) -> Result<(RocksLogReader, LogBounds), OpenStoreError> {
    let failed = |error| open::failed(path, error);
    let db = DB::open_for_read_only(&options::raft(), path, false);
    let db = db.map_err(|error| failed(error.into()))?;
    open::holds_mark(&db, SyncMark::read(path).map_err(failed)?).map_err(failed)?;
    let open::Found {
        shared,
        hard_state,
        installing,
        ..
    } = open::check(db, path).map_err(failed)?;
    let edges = *shared.edges();
    let bounds = LogBounds {
        hard_state,
        truncated_index: edges.truncated.index,
        truncated_term: edges.truncated.term,
        last_index: edges.last.index,
        last_term: edges.last.term,
        installing,
    };
    Ok((
        RocksLogReader {
            shared: Arc::new(shared),
        },
        bounds,
    ))
}
