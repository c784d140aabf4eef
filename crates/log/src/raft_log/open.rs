//! What is checked when a Raft log is opened.

use std::path::Path;
use std::sync::Mutex;

use corgi_base::LogIndex;
use corgi_consensus::storage::HardState;
use rocksdb::{DB, DBRecoveryMode, Range, ReadOptions};

use super::sizes::Sizes;
use super::{Edges, Shared, StoredEntry};
use crate::error::OpenStoreError;
use crate::mark::SyncMark;
use crate::options::{self, DbError, RAFT_TAIL_CHECK_BYTES};
use crate::record::{
    ENTRY, ENTRY_KEY_BYTES, HARD_STATE, INSTALLING, Mark, TRUNCATED, decode_entry,
    decode_hard_state, decode_installing, decode_truncated, entry_key, parse_entry_key,
};

/// Into how many parts the log before its checked end is divided to estimate where its bytes are.
const ESTIMATES: u64 = 64;

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

/// What a log was found to hold.
pub(super) struct Found {
    pub(super) shared: Shared,
    pub(super) hard_state: HardState,
    /// Whether the applied state has yet to be replaced by the snapshot that the log was reset to.
    pub(super) installing: bool,
    pub(super) sizes: Sizes,
}

/// Finds the edges of the log and checks what a crash, or a slip of the disk, could have left
/// wrong.
pub(super) fn check(db: DB, path: &Path) -> Result<Found, DbError> {
    check_keys(&db)?;
    let truncated = match db.get(TRUNCATED)? {
        Some(record) => decode_truncated(&record).map_err(in_record("truncation"))?,
        None => Mark::default(),
    };
    let hard_state = match db.get(HARD_STATE)? {
        Some(record) => decode_hard_state(&record).map_err(in_record("hard state"))?,
        None => HardState::default(),
    };
    let installing = match db.get(INSTALLING)? {
        Some(record) => {
            decode_installing(&record).map_err(in_record("installation"))?;
            true
        }
        None => false,
    };
    let tail = check_tail(&db, truncated)?;
    let edges = Edges {
        truncated,
        last: tail.last,
    };
    if let Some(what) = contradiction(&hard_state, &edges) {
        return Err(DbError::Damaged(what));
    }
    let sizes = tail.sizes(&db, truncated);
    let shared = Shared {
        db,
        path: path.to_owned(),
        edges: Mutex::new(edges),
    };
    Ok(Found {
        shared,
        hard_state,
        installing,
        sizes,
    })
}

fn in_record(name: &'static str) -> impl Fn(String) -> DbError {
    move |what| DbError::Damaged(format!("{name} record: {what}"))
}

/// Refuses keys of a later release: what they say may change what the others mean.
fn check_keys(db: &DB) -> Result<(), DbError> {
    let mut rows = db.raw_iterator();
    rows.seek([INSTALLING[0] + 1]);
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

/// The checked end of a log.
struct Tail {
    /// The last entry, or what was truncated in an empty log.
    last: Mark,
    /// The first entry that was read.
    first: LogIndex,
    /// For each entry that was read, from the last to the first, how many bytes it and those behind it have; not for
    /// those that are near to the one before.
    bytes_from: Vec<(LogIndex, u64)>,
    /// How many bytes were read.
    bytes: u64,
}

/// Reads backwards from the last entry, checking each and the chain between them, for as many bytes
/// as the WAL can have held. The first one must follow what was truncated.
fn check_tail(db: &DB, truncated: Mark) -> Result<Tail, DbError> {
    let mut tail = Tail {
        last: truncated,
        first: truncated.index.next(),
        bytes_from: Vec::new(),
        bytes: 0,
    };
    let mut options = ReadOptions::default();
    options.set_iterate_upper_bound([ENTRY + 1]);
    let mut rows = db.raw_iterator_opt(options);
    rows.seek([ENTRY]);
    rows.status()?;
    let first = rows.key().map(parse_key).transpose()?;
    match first {
        None => return Ok(tail),
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
    while let Some((key, record)) = rows.item() {
        let index = parse_key(key)?;
        tail.read(index, (ENTRY_KEY_BYTES + record.len()) as u64);
        let stored = decode_entry(index, record);
        let stored = stored.map_err(|what| DbError::Damaged(format!("entry {index}: {what}")))?;
        last.get_or_insert_with(|| stored.mark());
        if let Some(after) = &after {
            follows(&stored.mark(), after)?;
        }
        if tail.bytes >= RAFT_TAIL_CHECK_BYTES {
            break;
        }
        after = Some(stored);
        rows.prev();
    }
    rows.status()?;
    if let Some(first) = after.filter(|entry| entry.entry.index == truncated.index.next()) {
        follows(&truncated, &first)?;
    }
    let unreadable = || DbError::Damaged("its entries cannot be read backwards".to_owned());
    tail.last = last.ok_or_else(unreadable)?;
    Ok(tail)
}

impl Tail {
    fn read(&mut self, index: LogIndex, bytes: u64) {
        self.first = index;
        self.bytes += bytes;
        let noted = self.bytes_from.last().map_or(0, |(_, bytes)| *bytes);
        if self.bytes - noted >= Sizes::STEP_BYTES {
            self.bytes_from.push((index, self.bytes));
        }
    }

    /// Returns where the bytes of the log are: those of the end as they were read, those before it as RocksDB estimates
    /// them.
    fn sizes(&self, db: &DB, truncated: Mark) -> Sizes {
        let mut sizes = Sizes::default();
        let (begin, end) = (truncated.index.next().0, self.first.0);
        let part = (end - begin).div_ceil(ESTIMATES).max(1);
        let mut from = begin;
        while from < end {
            let to = (from + part).min(end);
            let keys = (entry_key(LogIndex(from)), entry_key(LogIndex(to)));
            let bytes = db.get_approximate_sizes(&[Range::new(&keys.0, &keys.1)]);
            sizes.append(LogIndex(to - 1), bytes.first().copied().unwrap_or(0));
            from = to;
        }
        let mut behind = self.bytes;
        for (index, bytes) in self.bytes_from.iter().rev() {
            if let Some(before) = index.0.checked_sub(1).filter(|before| *before >= end) {
                sizes.append(LogIndex(before), behind - bytes);
                behind = *bytes;
            }
        }
        sizes.append(self.last.index, behind);
        sizes
    }
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
