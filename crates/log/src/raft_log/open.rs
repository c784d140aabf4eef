//! What is checked when a Raft log is opened.

use std::path::Path;
use std::sync::Mutex;

use corgi_base::LogIndex;
use corgi_consensus::storage::HardState;
use rocksdb::{DB, DBRecoveryMode, ReadOptions};

use super::{Edges, Shared, StoredEntry};
use crate::error::OpenStoreError;
use crate::mark::SyncMark;
use crate::options::{self, DbError, RAFT_TAIL_CHECK_BYTES};
use crate::record::{
    ENTRY, HARD_STATE, Mark, TRUNCATED, decode_entry, decode_hard_state, decode_truncated,
    parse_entry_key,
};

/// Opens the database and its mark, or creates both.
pub(super) fn open(path: &Path) -> Result<(DB, SyncMark), DbError> {
    if !std::fs::exists(path)? {
        SyncMark::create(path)?;
    }
    let mark = SyncMark::open(path)?;
    let db = match options::open_db(&mut options::raft(), path) {
        Err(DbError::Damaged(what)) => open_torn(path, &mark, what)?,
        opened => opened?,
    };
    holds_mark(&db, mark.sequence())?;
    Ok((db, mark))
}

/// Opens a log that RocksDB calls damaged, if the damage is behind all that was synced: when power
/// fails, the blocks of a write that was under way reach the disk in any order, and not only its
/// end is missing.
fn open_torn(path: &Path, mark: &SyncMark, what: String) -> Result<DB, DbError> {
    let mut options = options::raft();
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    // Looks first: opening for writing would remove what is behind the damage.
    let looked = DB::open_for_read_only(&options, path, false);
    match looked {
        Ok(db) if db.latest_sequence_number() >= mark.sequence() => {}
        _ => return Err(DbError::Damaged(what)),
    }
    Ok(DB::open(&options, path)?)
}

/// Refuses a log that holds less than was synced.
pub(super) fn holds_mark(db: &DB, synced: u64) -> Result<(), DbError> {
    let held = db.latest_sequence_number();
    if held >= synced {
        return Ok(());
    }
    let what = format!("its end is missing: it holds {held} records, {synced} were synced");
    Err(DbError::Damaged(what))
}

/// Turns an error of the database into one that names it.
pub(super) fn failed(path: &Path, error: DbError) -> OpenStoreError {
    let path = path.to_owned();
    match error {
        DbError::Damaged(what) => OpenStoreError::LogDamaged { path, what },
        DbError::Io(what) => OpenStoreError::Io { path, what },
    }
}

/// Returns what cannot be true of a log at once, if anything.
pub(super) fn contradiction(hard_state: &HardState, edges: &Edges) -> Option<String> {
    let HardState { term, vote, commit } = *hard_state;
    let Edges { truncated, last } = edges;
    if commit > last.index {
        return Some(format!(
            "commit {commit} is beyond the last entry {}",
            last.index
        ));
    }
    if commit < truncated.index {
        return Some(format!(
            "commit {commit} is before the first entry, {}",
            truncated.index
        ));
    }
    if term < last.term {
        return Some(format!(
            "term {term} is older than the last entry's, {}",
            last.term
        ));
    }
    if let (Some(vote), 0) = (vote, term.0) {
        return Some(format!("a vote for node {vote} in term 0"));
    }
    None
}

/// Finds the edges of the log and checks what a crash, or a slip of the disk, could have left
/// wrong.
pub(super) fn check(db: DB, path: &Path) -> Result<(Shared, HardState), DbError> {
    check_keys(&db)?;
    let truncated = match db.get(TRUNCATED)? {
        Some(record) => decode_truncated(&record).map_err(in_record("truncation"))?,
        None => Mark::default(),
    };
    let hard_state = match db.get(HARD_STATE)? {
        Some(record) => decode_hard_state(&record).map_err(in_record("hard state"))?,
        None => HardState::default(),
    };
    let last = check_tail(&db, truncated)?;
    let edges = Edges { truncated, last };
    if let Some(what) = contradiction(&hard_state, &edges) {
        return Err(DbError::Damaged(what));
    }
    Ok((
        Shared {
            db,
            path: path.to_owned(),
            edges: Mutex::new(edges),
        },
        hard_state,
    ))
}

fn in_record(name: &'static str) -> impl Fn(String) -> DbError {
    move |what| DbError::Damaged(format!("{name} record: {what}"))
}

/// Refuses keys of a later release: what they say may change what the others mean.
fn check_keys(db: &DB) -> Result<(), DbError> {
    let mut rows = db.raw_iterator();
    rows.seek([TRUNCATED[0] + 1]);
    let above = rows.key().map(<[u8]>::to_vec);
    rows.seek_to_first();
    let below = rows
        .key()
        .filter(|key| key.first() < Some(&ENTRY))
        .map(<[u8]>::to_vec);
    rows.status()?;
    match above.or(below) {
        Some(key) => Err(DbError::Damaged(format!("key {key:02x?} is unknown"))),
        None => Ok(()),
    }
}

/// Reads backwards from the last entry, checking each and the chain between them, for as many bytes
/// as the WAL can have held, and returns the last entry. The first one must follow what was
/// truncated.
fn check_tail(db: &DB, truncated: Mark) -> Result<Mark, DbError> {
    let mut options = ReadOptions::default();
    options.set_iterate_upper_bound([ENTRY + 1]);
    let mut rows = db.raw_iterator_opt(options);
    rows.seek([ENTRY]);
    rows.status()?;
    let first = rows.key().map(parse_key).transpose()?;
    match first {
        None => return Ok(truncated),
        Some(first) if first != truncated.index.next() => {
            let after = truncated.index;
            let what = format!("it begins with entry {first}, but was truncated after {after}");
            return Err(DbError::Damaged(what));
        }
        Some(_) => {}
    }
    rows.seek_to_last();
    let mut last = None;
    let mut after: Option<StoredEntry> = None;
    let mut bytes = 0;
    while let Some((key, record)) = rows.item() {
        let index = parse_key(key)?;
        bytes += record.len() as u64;
        let stored = decode_entry(index, record);
        let stored = stored.map_err(|what| DbError::Damaged(format!("entry {index}: {what}")))?;
        last.get_or_insert_with(|| stored.mark());
        if let Some(after) = &after {
            follows(&stored.mark(), after)?;
        }
        if bytes >= RAFT_TAIL_CHECK_BYTES {
            break;
        }
        after = Some(stored);
        rows.prev();
    }
    rows.status()?;
    if let Some(first) = after.filter(|entry| entry.entry.index == truncated.index.next()) {
        follows(&truncated, &first)?;
    }
    last.ok_or_else(|| DbError::Damaged("its entries cannot be read backwards".to_owned()))
}

fn parse_key(key: &[u8]) -> Result<LogIndex, DbError> {
    parse_entry_key(key).ok_or_else(|| DbError::Damaged(format!("key {key:02x?} is unknown")))
}

fn follows(before: &Mark, entry: &StoredEntry) -> Result<(), DbError> {
    let index = entry.entry.index;
    let fits = index == before.index.next()
        && entry.previous == before.chain
        && entry.entry.term >= before.term;
    if fits {
        return Ok(());
    }
    let what = format!("entry {index} does not follow entry {}", before.index);
    Err(DbError::Damaged(what))
}
