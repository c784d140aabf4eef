//! The applied state in RocksDB: [`RocksState`].
//!
//! | key         | record                                       |
//! |-------------|----------------------------------------------|
//! | `0x00`      | `format:u8 applied:u64 crc:u32`              |
//! | `0x01 key`  | `crc:u32 value`, the checksum over key and value |
//!
//! Among the rows are copies of payloads of history (`state/history.rs`), which are not read at start.
//!
//! Invariants
//! - A write and its applied index are one batch. RocksDB makes batches durable in the order
//!   written, so a crash leaves the rows as they were at some applied index, which is the one
//!   stored.
//! - There is no WAL: a write costs no disk time, and what a crash loses is applied again from the
//!   Raft log. Hence the log may be truncated only up to what is [flushed](FlushedIndex).
//! - One writer. A [`StateReader`] flushes and reads beside it, and holds up nothing but a replacement of the whole.

mod history;

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use corgi_base::{FlushedIndex, LogIndex};
use corgi_state::history::{copied_range, is_copied};
use corgi_state::store::{StateStore, StateStoreError, StateWrite};
use rocksdb::{DB, DBRawIterator, ReadOptions, ReadTier, WriteBatch};

use crate::error::{OpenStoreError, state_cure};
use crate::identity::sync_dir;
use crate::options::{self, DbError};
use crate::record::{seal, unseal};

const APPLIED: [u8; 1] = [0x00];
const ROW: u8 = 0x01;
const FORMAT: u8 = 1;

/// The applied state in a RocksDB of its own.
#[derive(Debug)]
pub struct RocksState {
    shared: Arc<Shared>,
    applied: LogIndex,
    /// The error after which nothing is written any more.
    failed: Option<StateStoreError>,
}

#[derive(Debug)]
struct Shared {
    /// Taken for writing only to replace it, in which it is `None` for a moment.
    db: RwLock<Option<DB>>,
    path: PathBuf,
    /// How often somebody has asked for a replacement: whoever reads for long gives up.
    replacements: AtomicU64,
    /// Up to which entry there may be copies of payloads.
    copied: AtomicU64,
}

/// A row, key and value.
type RowResult = Result<(Bytes, Bytes), StateStoreError>;

/// Reads and flushes the applied state beside its writer. Clones are for the same state.
#[derive(Clone, Debug)]
pub struct StateReader {
    shared: Arc<Shared>,
}

/// A database that is there: it is replaced under the lock, and nowhere else missing.
struct Db<'a>(RwLockReadGuard<'a, Option<DB>>);

impl std::ops::Deref for Db<'_> {
    type Target = DB;

    fn deref(&self) -> &DB {
        self.0
            .as_ref()
            .expect("it is put back before the lock is released")
    }
}

/// Opens the applied state in the folder `path`, or creates it if there is no such folder.
///
/// # Errors
/// [`OpenStoreError`] if it is damaged or the disk refuses.
pub fn open_state(path: &Path) -> Result<RocksState, OpenStoreError> {
    let db = options::open_db(&mut options::state(), path);
    check(db, path)
}

/// Opens the applied state of a stopped node for reading.
///
/// # Errors
/// As [`open_state`].
pub(crate) fn open_state_read_only(path: &Path) -> Result<RocksState, OpenStoreError> {
    let db = DB::open_for_read_only(&options::state(), path, false);
    check(db.map_err(DbError::from), path)
}

fn check(db: Result<DB, DbError>, path: &Path) -> Result<RocksState, OpenStoreError> {
    let (db, applied) = read_applied(db, path)?;
    let shared = Shared {
        db: RwLock::new(Some(db)),
        path: path.to_owned(),
        replacements: AtomicU64::new(0),
        copied: AtomicU64::new(0),
    };
    let found = shared.find_copies();
    found.map_err(|error| failed(path, DbError::Damaged(error.what)))?;
    Ok(RocksState {
        shared: Arc::new(shared),
        applied,
        failed: None,
    })
}

fn read_applied(db: Result<DB, DbError>, path: &Path) -> Result<(DB, LogIndex), OpenStoreError> {
    let failed = |error| failed(path, error);
    let db = db.map_err(failed)?;
    let record = db.get(APPLIED).map_err(|error| failed(error.into()))?;
    let applied = decode_applied(record).map_err(|what| failed(DbError::Damaged(what)))?;
    Ok((db, applied))
}

/// Turns an error of the database into one that names it.
fn failed(path: &Path, error: DbError) -> OpenStoreError {
    let path = path.to_owned();
    match error {
        DbError::Damaged(what) => OpenStoreError::StateDamaged { path, what },
        DbError::Io(what) => OpenStoreError::Io { path, what },
    }
}

fn encode_applied(applied: LogIndex) -> Vec<u8> {
    let mut record = vec![FORMAT];
    record.extend_from_slice(&applied.0.to_be_bytes());
    seal(record)
}

fn decode_applied(record: Option<Vec<u8>>) -> Result<LogIndex, String> {
    let Some(record) = record else {
        return Ok(LogIndex(0));
    };
    let wrong = |what| format!("applied record: {what}");
    let mut reader = unseal(&record).map_err(wrong)?;
    let applied = reader
        .u64("applied index")
        .map_err(|error| wrong(error.to_string()))?;
    reader.finish().map_err(|error| wrong(error.to_string()))?;
    Ok(LogIndex(applied))
}

fn row_key(key: &[u8]) -> Vec<u8> {
    [&[ROW], key].concat()
}

fn row_crc(key: &[u8], value: &[u8]) -> [u8; 4] {
    crc32c::crc32c_append(crc32c::crc32c(key), value).to_be_bytes()
}

impl Shared {
    fn db(&self) -> Db<'_> {
        Db(self.db.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn applied(&self) -> Result<LogIndex, StateStoreError> {
        let record = self.db().get(APPLIED);
        let record = record.map_err(|error| self.unreadable(error))?;
        decode_applied(record).map_err(|what| self.damaged(what))
    }

    fn flushed(&self) -> Result<FlushedIndex, StateStoreError> {
        let mut options = ReadOptions::default();
        // Without a WAL this reads past what is only in memory.
        options.set_read_tier(ReadTier::Persisted);
        let record = self.db().get_opt(APPLIED, &options);
        let record = record.map_err(|error| self.unreadable(error))?;
        let applied = decode_applied(record).map_err(|what| self.damaged(what))?;
        Ok(FlushedIndex::read_back(applied))
    }

    fn damaged(&self, what: impl std::fmt::Display) -> StateStoreError {
        let cure = state_cure(&self.path);
        StateStoreError {
            action: "read",
            what: format!("{what}: {cure}"),
        }
    }

    fn unreadable(&self, error: rocksdb::Error) -> StateStoreError {
        match DbError::from(error) {
            DbError::Damaged(what) => self.damaged(what),
            DbError::Io(what) => StateStoreError {
                action: "read",
                what,
            },
        }
    }

    fn refused(&self, action: &'static str, error: rocksdb::Error) -> StateStoreError {
        let what = format!("{} in {}", error.into_string(), self.path.display());
        StateStoreError { action, what }
    }

    /// Returns all rows but copies of payloads, in key order, as they are now. Nothing comes after an error.
    fn rows<'a>(&'a self, db: &'a DB) -> impl Iterator<Item = RowResult> + 'a {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound([ROW + 1]);
        let mut rows = db.raw_iterator_opt(options);
        rows.seek([ROW]);
        let mut ended = false;
        std::iter::from_fn(move || {
            if ended {
                return None;
            }
            if rows.key().is_some_and(|key| is_copied(&key[1..])) {
                let [_, behind] = copied_range();
                rows.seek(row_key(&behind));
            }
            let row = self.row(&rows).transpose();
            rows.next();
            ended = !matches!(row, Some(Ok(_)));
            row
        })
    }

    fn row(&self, rows: &DBRawIterator<'_>) -> Result<Option<(Bytes, Bytes)>, StateStoreError> {
        let Some((key, record)) = rows.item() else {
            rows.status().map_err(|error| self.unreadable(error))?;
            return Ok(None);
        };
        let key = &key[1..];
        let value = self.value(key, record)?;
        let row = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        Ok(Some(row))
    }

    /// Checks the record of a row.
    fn value<'a>(&self, key: &[u8], record: &'a [u8]) -> Result<&'a [u8], StateStoreError> {
        let Some((crc, value)) = record.split_first_chunk::<4>() else {
            return Err(self.damaged(format!("row {key:02x?} is cut off")));
        };
        if *crc != row_crc(key, value) {
            return Err(self.damaged(format!("row {key:02x?} has a wrong checksum")));
        }
        Ok(value)
    }
}

impl StateReader {
    /// Makes everything written so far survive a crash, and returns how far that is. May take long; the writer goes on
    /// meanwhile.
    ///
    /// # Errors
    /// [`StateStoreError`], after which the process must end.
    pub fn flush(&self) -> Result<FlushedIndex, StateStoreError> {
        let flushed = self.shared.db().flush();
        flushed.map_err(|error| self.shared.refused("flush", error))?;
        self.shared.flushed()
    }

    /// Returns how many errors RocksDB met in the background since it was opened. Anything but 0
    /// means that the process must end.
    pub fn background_errors(&self) -> u64 {
        options::background_errors(&self.shared.db())
    }
}

impl RocksState {
    /// Returns what reads and flushes this state on another thread.
    pub fn reader(&self) -> StateReader {
        StateReader {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Returns the entry up to which the log is applied, as the last write said.
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// Puts the closed database in the folder `new` in the place of this one. Waits for readers, which give up soon.
    fn put_in_place(&mut self, new: &Path) -> Result<(), DbError> {
        self.shared.replacements.fetch_add(1, Ordering::AcqRel);
        let path = &self.shared.path;
        let db = self.shared.db.write();
        let mut db = db.unwrap_or_else(PoisonError::into_inner);
        // RocksDB locks a folder by its name, also within one process.
        drop(db.take());
        std::fs::remove_dir_all(path)?;
        std::fs::rename(new, path)?;
        sync_dir(path.parent().expect("a database lies in a data folder"))?;
        let mut options = options::state();
        options.create_if_missing(false);
        *db = Some(DB::open(&options, path)?);
        Ok(())
    }

    /// Remembers an error, so that nothing is tried again after it.
    fn finish(
        &mut self,
        action: &'static str,
        done: Result<(), rocksdb::Error>,
    ) -> Result<(), StateStoreError> {
        done.map_err(|error| {
            let error = self.shared.refused(action, error);
            self.failed = Some(error.clone());
            error
        })
    }

    fn not_replaced(&mut self, error: DbError) -> StateStoreError {
        let (DbError::Damaged(what) | DbError::Io(what)) = error;
        let error = StateStoreError {
            action: "replace",
            what: format!("{what} in {}", self.shared.path.display()),
        };
        self.failed = Some(error.clone());
        error
    }

    fn check_usable(&self) -> Result<(), StateStoreError> {
        self.failed.clone().map_or(Ok(()), Err)
    }
}

impl StateStore for RocksState {
    fn rows(&self) -> Result<Vec<(Bytes, Bytes)>, StateStoreError> {
        let db = self.shared.db();
        self.shared.rows(&db).collect()
    }

    fn write(&mut self, write: &StateWrite) -> Result<(), StateStoreError> {
        self.check_usable()?;
        let written = self
            .shared
            .db()
            .write_opt(batch(write, &self.shared), &options::without_wal());
        self.finish("write", written)?;
        self.applied = write.applied;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StateStoreError> {
        self.check_usable()?;
        let flushed = self.shared.db().flush();
        self.finish("flush", flushed)
    }

    fn flushed(&self) -> Result<FlushedIndex, StateStoreError> {
        self.shared.flushed()
    }

    fn replace(
        &mut self,
        applied: LogIndex,
        rows: &mut dyn Iterator<Item = Result<(Bytes, Bytes), StateStoreError>>,
    ) -> Result<(), StateStoreError> {
        self.check_usable()?;
        let new = self.shared.path.with_extension("new");
        let mut filler = Filler::create(&new).map_err(|error| self.not_replaced(error))?;
        for row in rows {
            let (key, value) = row?;
            let put = filler.put(&key, &value);
            put.map_err(|error| self.not_replaced(error))?;
        }
        let finished = filler.finish(applied);
        let placed = finished.and_then(|()| self.put_in_place(&new));
        placed.map_err(|error| self.not_replaced(error))?;
        // Of all that the snapshot keeps.
        self.shared.may_copy(applied);
        self.applied = applied;
        Ok(())
    }
}

fn batch(write: &StateWrite, shared: &Shared) -> WriteBatch {
    let mut batch = WriteBatch::default();
    for key in &write.deletes {
        batch.delete(row_key(key));
        if let Some(copy) = shared.copy_with(key) {
            batch.delete(row_key(&copy));
        }
    }
    for (key, value) in &write.puts {
        batch.put(row_key(key), [&row_crc(key, value)[..], value].concat());
    }
    batch.put(APPLIED, encode_applied(write.applied));
    batch
}

/// Makes a database of its own in a new folder.
struct Filler {
    db: DB,
    batch: WriteBatch,
}

/// Rows go to the database in pieces of so many bytes.
const FILL_BYTES: usize = 1 << 20;

impl Filler {
    /// Begins with nothing in the folder `path`; what is there is removed.
    fn create(path: &Path) -> Result<Self, DbError> {
        if std::fs::exists(path)? {
            std::fs::remove_dir_all(path)?;
        }
        std::fs::DirBuilder::new().mode(0o700).create(path)?;
        let mut options = options::state();
        options.create_if_missing(true);
        let db = DB::open(&options, path)?;
        Ok(Self {
            db,
            batch: WriteBatch::default(),
        })
    }

    /// Adds a row.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), DbError> {
        let record = [&row_crc(key, value)[..], value].concat();
        self.batch.put(row_key(key), record);
        if self.batch.size_in_bytes() >= FILL_BYTES {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), DbError> {
        let batch = std::mem::take(&mut self.batch);
        Ok(self.db.write_opt(batch, &options::without_wal())?)
    }

    /// Ends with the entry up to which the rows are applied, and makes all of it durable. The folder is closed then.
    fn finish(mut self, applied: LogIndex) -> Result<(), DbError> {
        self.batch.put(APPLIED, encode_applied(applied));
        self.write()?;
        Ok(self.db.flush()?)
    }
}
