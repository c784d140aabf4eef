//! The keys of all databases.
//!
//! Invariants
//! - Deterministic: what an operation does follows from the keys, the operation, its id and its stamp.
//! - A key is there until log time has passed its expiry: [`Keyspace::expire`] comes before the operations of a batch,
//!   so that nothing else has to look at the time.
//! - A write gives each key that it touches its own id as version.
//! - `bytes` and `expiries` follow from the entries.
//! - A stream has one key, which names it by the id of the operation that made it: it goes with its key.
//!
//! Keys are ordered by a hash of their name: that order is what `SCAN` walks through, and its cursor is the hash of the
//! next key, which means the same on every node and after any change.

mod generic;
mod rows;
mod streams;
mod strings;

use crate::streams::{RowKey, Streams};
use bytes::Bytes;
use corgi_base::keys::{DATABASES, Expiry};
use corgi_base::{Answer, KeyError, KeyOp, MessageId, Watch};
use std::collections::{BTreeMap, BTreeSet};
use xxhash_rust::xxh3::xxh3_64;

/// What a key takes besides its name and value, about.
const KEY_BYTES: u64 = 160;

/// A key's place among the others: by 48 bits of hash, so that a cursor is exact in a double too, then by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    hash: u64,
    key: Bytes,
}

impl Name {
    fn new(key: &Bytes) -> Self {
        Self {
            hash: hash(key),
            key: key.clone(),
        }
    }

    /// Returns a name that does not share the buffer of a whole entry.
    fn owned(key: &[u8]) -> Self {
        Self::new(&Bytes::copy_from_slice(key))
    }
}

fn hash(key: &[u8]) -> u64 {
    xxh3_64(key) >> 16
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    String(Bytes),
    /// One of the streams, by its id.
    Stream(MessageId),
}

impl Value {
    fn string(&self) -> Result<&Bytes, KeyError> {
        match self {
            Self::String(bytes) => Ok(bytes),
            Self::Stream(_) => Err(KeyError::WrongType),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "string",
            Self::Stream(_) => "stream",
        }
    }

    /// What it takes here; streams count what they take.
    fn bytes(&self) -> u64 {
        match self {
            Self::String(bytes) => bytes.len() as u64,
            Self::Stream(_) => 0,
        }
    }
}

/// A key that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    value: Value,
    /// Until when it is there.
    expires_ms: Option<i64>,
    /// The operation that wrote it last.
    version: MessageId,
}

/// When and as which operation something is done.
#[derive(Clone, Copy, Debug)]
pub struct When {
    /// The operation's id; for a read that of the last one applied.
    pub id: MessageId,
    /// The time: that of the stamp, or for a read outside of the log the best guess. Only remaining times are told by
    /// it, and expiries counted from it: a read never takes a key for expired that the log has not.
    pub now_ms: i64,
    /// Chooses among keys where the choice is free.
    pub salt: u64,
}

/// A key of a database, as rows name it.
pub(crate) type Place = (u8, Bytes);

/// All keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyspace {
    dbs: [BTreeMap<Name, Entry>; DATABASES as usize],
    expiries: BTreeSet<(i64, u8, Bytes)>,
    bytes: u64,
    /// What the keys of type stream hold: each of these has exactly one key.
    streams: Streams,
    /// What has changed since it was last taken.
    dirty: BTreeSet<Place>,
    /// Keys whose groups have changed, which their own rows do not show.
    groups_changed: Vec<Place>,
}

impl Keyspace {
    /// Does an operation.
    pub(crate) fn execute(&mut self, db: u8, op: &KeyOp, when: When) -> Answer {
        if op.is_read() {
            return self.read(db, op, when);
        }
        if let KeyOp::Stream(op) = op {
            return self.write_stream(db, op, when);
        }
        self.write_string(db, op, when)
            .or_else(|| self.write_generic(db, op, when))
            .map_or(Answer::Ok, Answer::from)
    }

    /// Answers an operation that only reads.
    pub fn read(&self, db: u8, op: &KeyOp, when: When) -> Answer {
        if let KeyOp::Stream(op) = op {
            return self.read_stream(db, op, when);
        }
        self.read_string(db, op)
            .or_else(|| self.read_generic(db, op, when))
            .map_or(Answer::Nil, Answer::from)
    }

    /// Removes the keys whose time has passed.
    pub(crate) fn expire(&mut self, now_ms: i64) {
        while let Some((at, db, key)) = self.expiries.first().cloned()
            && at < now_ms
        {
            self.remove(db, &key);
        }
    }

    /// Returns when the next key is due.
    pub fn next_expiry(&self) -> Option<i64> {
        self.expiries.first().map(|(at, ..)| *at)
    }

    /// Returns what all keys take, about.
    pub fn bytes(&self) -> u64 {
        self.bytes + self.streams.memory() as u64
    }

    /// Returns how many keys each database has that has any, and how many of them expire.
    pub fn counts(&self) -> Vec<(u8, usize, usize)> {
        let mut expiring = [0; DATABASES as usize];
        for (_, db, _) in &self.expiries {
            expiring[usize::from(*db)] += 1;
        }
        let dbs = (0u8..).zip(self.dbs.iter().zip(expiring));
        dbs.filter(|(_, (keys, _))| !keys.is_empty())
            .map(|(db, (keys, expiring))| (db, keys.len(), expiring))
            .collect()
    }

    /// Returns the version of a key, 0-0 if it is not there.
    pub fn version(&self, db: u8, key: &Bytes) -> MessageId {
        self.entry(db, key)
            .map(|entry| entry.version)
            .unwrap_or_default()
    }

    /// Returns whether all of these are as they were.
    pub(crate) fn unchanged(&self, watched: &[Watch]) -> bool {
        let same = |watch: &Watch| self.version(watch.db, &watch.key) == watch.version;
        watched.iter().all(same)
    }

    /// Takes the keys of streams since the last call whose groups may have something else to give.
    pub(crate) fn take_groups_changed(&mut self) -> Vec<Place> {
        std::mem::take(&mut self.groups_changed)
    }

    /// Takes what has changed since the last call: keys, and rows of streams.
    pub(crate) fn take_dirty(&mut self) -> (BTreeSet<Place>, BTreeSet<RowKey>) {
        let keys = std::mem::take(&mut self.dirty);
        (keys, self.streams.take_changed())
    }

    fn db(&self, db: u8) -> &BTreeMap<Name, Entry> {
        &self.dbs[usize::from(db)]
    }

    fn entry(&self, db: u8, key: &Bytes) -> Option<&Entry> {
        self.db(db).get(&Name::new(key))
    }

    fn string(&self, db: u8, key: &Bytes) -> Result<Option<&Bytes>, KeyError> {
        self.entry(db, key)
            .map(|entry| entry.value.string())
            .transpose()
    }

    /// Puts an entry in the place of whatever there is.
    fn put(&mut self, db: u8, key: &Bytes, entry: Entry) {
        self.remove(db, key);
        let name = Name::owned(key);
        self.bytes += KEY_BYTES + name.key.len() as u64 + entry.value.bytes();
        if let Some(at) = entry.expires_ms {
            self.expiries.insert((at, db, name.key.clone()));
        }
        self.dirty.insert((db, name.key.clone()));
        self.dbs[usize::from(db)].insert(name, entry);
    }

    /// Removes a key and what it holds. Returns whether it was there.
    fn remove(&mut self, db: u8, key: &Bytes) -> bool {
        let entry = self.take(db, key);
        if let Some(entry) = &entry {
            self.forget(entry);
        }
        entry.is_some()
    }

    /// Removes what a key held that is gone.
    fn forget(&mut self, entry: &Entry) {
        if let Value::Stream(id) = entry.value {
            self.streams.remove(id);
        }
    }

    /// Takes a key away to be put again, here or elsewhere.
    fn take(&mut self, db: u8, key: &Bytes) -> Option<Entry> {
        let (name, entry) = self.dbs[usize::from(db)].remove_entry(&Name::new(key))?;
        self.bytes -= KEY_BYTES + name.key.len() as u64 + entry.value.bytes();
        if let Some(at) = entry.expires_ms {
            self.expiries.remove(&(at, db, name.key.clone()));
        }
        self.dirty.insert((db, name.key));
        Some(entry)
    }

    /// Sets a key to a new value; its expiry is the given one, or stays. A key whose time has passed already is not
    /// there afterwards.
    fn set(&mut self, db: u8, key: &Bytes, value: Value, expiry: Expiry, when: When) {
        let before = self.entry(db, key).and_then(|entry| entry.expires_ms);
        let expires_ms = expires_ms(expiry, before, when);
        if expiry != Expiry::Keep && expires_ms.is_some_and(|at| at <= when.now_ms) {
            self.remove(db, key);
            return;
        }
        let entry = Entry {
            value,
            expires_ms,
            version: when.id,
        };
        self.put(db, key, entry);
    }

    /// Sets a key to a string of its own; see [`Keyspace::set`].
    fn set_string(&mut self, db: u8, key: &Bytes, value: &[u8], expiry: Expiry, when: When) {
        // A copy: what is kept must not keep a whole entry in memory.
        let value = Value::String(Bytes::copy_from_slice(value));
        self.set(db, key, value, expiry, when);
    }

    /// Gives a key that is there another expiry.
    fn set_expiry(&mut self, db: u8, key: &Bytes, expiry: Expiry, when: When) {
        let Some(entry) = self.take(db, key) else {
            return;
        };
        let expires_ms = expires_ms(expiry, entry.expires_ms, when);
        if expires_ms.is_some_and(|at| at <= when.now_ms) {
            return self.forget(&entry);
        }
        let entry = Entry {
            expires_ms,
            version: when.id,
            ..entry
        };
        self.put(db, key, entry);
    }
}

/// Returns until when a key is there.
fn expires_ms(expiry: Expiry, before: Option<i64>, when: When) -> Option<i64> {
    match expiry {
        Expiry::None | Expiry::Persist => None,
        Expiry::In(ms) => Some(when.now_ms.saturating_add(ms)),
        Expiry::At(ms) => Some(ms),
        Expiry::Keep => before,
    }
}
