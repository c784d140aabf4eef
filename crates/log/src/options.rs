//! How RocksDB is set up, and how its databases come into being.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rocksdb::{DB, DBCompressionType, DBRecoveryMode, LogLevel, Options, WriteOptions};

use crate::identity::sync_dir;

/// One memtable of the Raft log. Large, so that entries near the end are read from memory and a
/// flush is rare.
const RAFT_MEMTABLE_BYTES: usize = 64 << 20;
/// One fills, one is being flushed, one waits: writers are not stopped by a flush that takes a
/// little longer.
const RAFT_MEMTABLES: i32 = 3;
/// How much of the log's end is checked at open: at least as much as can have been in the WAL
/// alone.
pub(crate) const RAFT_TAIL_CHECK_BYTES: u64 =
    (RAFT_MEMTABLE_BYTES as u64) * (RAFT_MEMTABLES as u64);
/// So many files of the log, and of the applied state, are kept open: those that are read now. The process must not run
/// out of files because its log has become long, and what it leaves to clients counts on this.
const RAFT_FILES: i32 = 48;
const STATE_FILES: i32 = 24;
/// Rows are small and rewritten often; what is unflushed is applied again after a crash, so this
/// bounds the replay too.
const STATE_MEMTABLE_BYTES: usize = 32 << 20;

/// Returns the settings of the Raft log's database.
pub(crate) fn raft() -> Options {
    let mut options = common();
    options.set_max_open_files(RAFT_FILES);
    options.set_write_buffer_size(RAFT_MEMTABLE_BYTES);
    options.set_max_write_buffer_number(RAFT_MEMTABLES);
    options.set_target_file_size_base(RAFT_MEMTABLE_BYTES as u64);
    options.set_max_bytes_for_level_base(4 * RAFT_MEMTABLE_BYTES as u64);
    options.set_max_total_wal_size(RAFT_TAIL_CHECK_BYTES);
    // A torn record at the very end is what a crash leaves. Anything else that does not fit is
    // damage and stops the node.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    // A WAL file that is missing or shorter than it was when it was last synced as a whole is an
    // error.
    options.set_track_and_verify_wals_in_manifest(true);
    // Every write reaches the file before it returns, and old WAL files are not written over: their
    // bytes would follow the end of the new ones and could not be told from a torn tail.
    options.set_manual_wal_flush(false);
    options.set_recycle_log_file_num(0);
    options
}

/// Returns the settings of the applied state's database.
pub(crate) fn state() -> Options {
    let mut options = common();
    options.set_max_open_files(STATE_FILES);
    options.set_write_buffer_size(STATE_MEMTABLE_BYTES);
    options.set_max_write_buffer_number(3);
    options
}

fn common() -> Options {
    let mut options = Options::default();
    options.set_paranoid_checks(true);
    // A read error of a mapped file is a signal that kills the process without a word.
    options.set_allow_mmap_reads(false);
    options.set_allow_mmap_writes(false);
    // No compression library is linked.
    options.set_compression_type(DBCompressionType::None);
    // One thread each for flushing and compacting: disk time belongs to the WAL.
    options.set_max_background_jobs(2);
    // Background writes go out in steps, so that they do not make one WAL sync wait for all of
    // them.
    options.set_bytes_per_sync(1 << 20);
    // RocksDB's own log file: enough to understand a failure, and no more.
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(1 << 20);
    options.set_max_manifest_file_size(16 << 20);
    options.set_stats_dump_period_sec(0);
    options
}

/// Returns how the Raft log writes: on stable storage before the call returns.
pub(crate) fn synced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options
}

/// Returns how the applied state writes: in memory, until a flush.
pub(crate) fn without_wal() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

/// Why a database could not be opened.
pub(crate) enum DbError {
    /// What is there is not a sound database.
    Damaged(String),
    /// The disk refused.
    Io(String),
}

impl From<io::Error> for DbError {
    fn from(error: io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

impl From<rocksdb::Error> for DbError {
    fn from(error: rocksdb::Error) -> Self {
        use rocksdb::ErrorKind::{Corruption, InvalidArgument, NotFound, NotSupported};
        match error.kind() {
            // An unreadable CURRENT or MANIFEST is reported as an argument that makes no sense.
            Corruption | InvalidArgument | NotFound | NotSupported => {
                Self::Damaged(error.into_string())
            }
            // A file that the database names and that is not there. RocksDB tells it by the text
            // alone.
            _ if error.as_ref().contains("No such file or directory") => {
                Self::Damaged(error.into_string())
            }
            _ => Self::Io(error.into_string()),
        }
    }
}

/// Opens a database, or creates it if there is no such folder.
///
/// A new one is made under another name and renamed when it is complete. So a folder under its own
/// name is a whole database, and one that lacks its files was damaged; it is never taken for a new
/// one.
pub(crate) fn open_db(options: &mut Options, path: &Path) -> Result<DB, DbError> {
    if !fs::exists(path)? {
        create_db(options, path)?;
    }
    options.create_if_missing(false);
    Ok(DB::open(options, path)?)
}

fn create_db(options: &mut Options, path: &Path) -> Result<(), DbError> {
    let unfinished = path.with_extension("new");
    if fs::exists(&unfinished)? {
        fs::remove_dir_all(&unfinished)?;
    }
    DirBuilder::new().mode(0o700).create(&unfinished)?;
    options.create_if_missing(true);
    drop(DB::open(options, &unfinished)?);
    fs::rename(&unfinished, path)?;
    let parent = path.parent().expect("a database lies in a data folder");
    sync_dir(parent)?;
    Ok(())
}

/// Returns how many errors RocksDB met while flushing or compacting. Anything but 0 means that the
/// process must end.
pub(crate) fn background_errors(db: &DB) -> u64 {
    // The property is always there; if RocksDB cannot even answer, that is an error too.
    db.property_int_value(rocksdb::properties::BACKGROUND_ERRORS)
        .ok()
        .flatten()
        .unwrap_or(1)
}
