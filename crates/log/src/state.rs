//! The applied state in RocksDB: [`RocksState`].
//!
//! | key         | record                                       |
//! |-------------|----------------------------------------------|
//! | `0x00`      | `format:u8 applied:u64 crc:u32`              |
//! | `0x01 key`  | `crc:u32 value`, the checksum over key and value |
//!
//! Invariants
//! - A write and its applied index are one batch. RocksDB makes batches durable in the order
//!   written, so a crash leaves the rows as they were at some applied index, which is the one
//!   stored.
//! - There is no WAL: a write costs no disk time, and what a crash loses is applied again from the
//!   Raft log. Hence the log may be truncated only up to [`RocksState::durable_applied`].

use std::path::{Path, PathBuf};

use bytes::Bytes;
use corgi_base::LogIndex;
use corgi_state::store::{StateStore, StateStoreError, StateWrite};
use rocksdb::{DB, ReadOptions, ReadTier, WriteBatch};

use crate::error::{OpenStoreError, state_cure};
use crate::options::{self, DbError};
use crate::record::{seal, unseal};

const APPLIED: [u8; 1] = [0x00];
const ROW: u8 = 0x01;
const FORMAT: u8 = 1;

/// The applied state in a RocksDB of its own.
#[derive(Debug)]
pub struct RocksState {
    db: DB,
    path: PathBuf,
    applied: LogIndex,
    /// The error after which nothing is written any more.
    failed: Option<StateStoreError>,
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
    let failed = |error| match error {
        DbError::Damaged(what) => OpenStoreError::StateDamaged {
            path: path.to_owned(),
            what,
        },
        DbError::Io(what) => OpenStoreError::Io {
            path: path.to_owned(),
            what,
        },
    };
    let db = db.map_err(failed)?;
    let record = db.get(APPLIED).map_err(|error| failed(error.into()))?;
    let applied = decode_applied(record).map_err(|what| failed(DbError::Damaged(what)))?;
    Ok(RocksState {
        db,
        path: path.to_owned(),
        applied,
        failed: None,
    })
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

impl RocksState {
    /// Returns the entry up to which the log is applied, as the last write said.
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// Returns the entry up to which a crash cannot lose anything.
    ///
    /// # Errors
    /// [`StateStoreError`] if the record is damaged or cannot be read.
    pub fn durable_applied(&self) -> Result<LogIndex, StateStoreError> {
        let mut options = ReadOptions::default();
        // Without a WAL this reads past what is only in memory.
        options.set_read_tier(ReadTier::Persisted);
        let record = self.db.get_opt(APPLIED, &options);
        let record = record.map_err(|error| self.unreadable(error))?;
        decode_applied(record).map_err(|what| self.damaged(what))
    }

    /// Returns how many errors RocksDB met in the background since it was opened. Anything but 0
    /// means that the process must end.
    pub fn background_errors(&self) -> u64 {
        options::background_errors(&self.db)
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

    /// Remembers an error, so that nothing is tried again after it.
    fn finish(
        &mut self,
        action: &'static str,
        done: Result<(), rocksdb::Error>,
    ) -> Result<(), StateStoreError> {
        done.map_err(|error| {
            let what = format!("{} in {}", error.into_string(), self.path.display());
            let error = StateStoreError { action, what };
            self.failed = Some(error.clone());
            error
        })
    }

    fn check_usable(&self) -> Result<(), StateStoreError> {
        self.failed.clone().map_or(Ok(()), Err)
    }
}

impl StateStore for RocksState {
    fn rows(&self) -> Result<Vec<(Bytes, Bytes)>, StateStoreError> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound([ROW + 1]);
        let mut rows = self.db.raw_iterator_opt(options);
        rows.seek([ROW]);
        let mut all = Vec::new();
        while let Some((key, record)) = rows.item() {
            let key = &key[1..];
            let Some((crc, value)) = record.split_first_chunk::<4>() else {
                return Err(self.damaged(format!("row {key:02x?} is cut off")));
            };
            if *crc != row_crc(key, value) {
                return Err(self.damaged(format!("row {key:02x?} has a wrong checksum")));
            }
            all.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            rows.next();
        }
        rows.status().map_err(|error| self.unreadable(error))?;
        Ok(all)
    }

    fn write(&mut self, write: &StateWrite) -> Result<(), StateStoreError> {
        self.check_usable()?;
        let mut batch = WriteBatch::default();
        for key in &write.deletes {
            batch.delete(row_key(key));
        }
        for (key, value) in &write.puts {
            batch.put(row_key(key), [&row_crc(key, value)[..], value].concat());
        }
        batch.put(APPLIED, encode_applied(write.applied));
        let written = self.db.write_opt(batch, &options::without_wal());
        self.finish("write", written)?;
        self.applied = write.applied;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StateStoreError> {
        self.check_usable()?;
        let flushed = self.db.flush();
        self.finish("flush", flushed)
    }
}
