//! Streams as values of keys.

use super::{Entry, Keyspace, Name, Value, When};
use crate::streams::{At, RowKey, Stream};
use bytes::Bytes;
use corgi_base::codec::DecodeError;
use corgi_base::streams::error::Name as StreamName;
use corgi_base::streams::{After, StreamError, StreamOp};
use corgi_base::{Answer, KeyError, MessageId};
use std::collections::{BTreeMap, BTreeSet};

/// Returns the stream that a key names.
fn find(keys: &BTreeMap<Name, Entry>, key: &Bytes) -> Result<Option<MessageId>, KeyError> {
    match keys.get(&Name::new(key)).map(|entry| &entry.value) {
        None => Ok(None),
        Some(Value::Stream(id)) => Ok(Some(*id)),
        Some(Value::String(_)) => Err(KeyError::WrongType),
    }
}

impl Keyspace {
    pub(super) fn read_stream(&self, db: u8, op: &StreamOp, when: When) -> Answer {
        let keys = self.db(db);
        let read = self.streams.read(op, &|key| find(keys, key), log_ms(when));
        read.into()
    }

    pub(super) fn write_stream(&mut self, db: u8, op: &StreamOp, when: When) -> Answer {
        let at = At {
            now_ms: log_ms(when),
            id: when.id,
        };
        let changed = groups_of(op).into_iter().map(|key| (db, key.clone()));
        self.groups_changed.extend(changed);
        let keys = &self.dbs[usize::from(db)];
        let executed = self.streams.execute(op, &|key| find(keys, key), at);
        let written = op.key().filter(|_| executed.written);
        if let Some(key) = executed.made {
            let entry = Entry {
                value: Value::Stream(when.id),
                expires_ms: None,
                version: when.id,
            };
            self.put(db, &key, entry);
        } else if let Some(entry) = written.and_then(|key| self.take(db, key)) {
            let version = when.id;
            if let Some(key) = op.key() {
                self.put(db, key, Entry { version, ..entry });
            }
        }
        executed.answer
    }

    /// Returns a read as it goes on: after which ids, where it says what there is now.
    pub fn settled(&self, db: u8, op: &StreamOp) -> StreamOp {
        let mut op = op.clone();
        if let StreamOp::Read { streams, .. } = &mut op {
            for (key, after) in streams {
                let stream = find(self.db(db), key).ok().flatten();
                let stream = stream.and_then(|id| self.streams.get(id));
                let from = stream.map(|stream| stream.after(*after));
                *after = After::Id(match after {
                    After::Id(id) => *id,
                    After::Top | After::ButLast => from.unwrap_or_default(),
                });
            }
        }
        op
    }

    /// Returns whether a key holds a stream.
    pub fn is_stream(&self, db: u8, key: &Bytes) -> bool {
        matches!(find(self.db(db), key), Ok(Some(_)))
    }

    /// Returns whether there is something in a stream that a group has not been given.
    ///
    /// # Errors
    /// [`KeyError`], which is the answer to who waits for that: there is no such group.
    pub fn group_has_news(&self, db: u8, key: &Bytes, group: &Bytes) -> Result<bool, KeyError> {
        let stream = find(self.db(db), key)?.and_then(|id| self.streams.get(id));
        let given = stream.and_then(|stream| stream.group_last(group));
        let given = given.ok_or_else(|| StreamError::NoGroupToRead {
            key: StreamName(key.clone()),
            group: StreamName(group.clone()),
        })?;
        Ok(stream.and_then(Stream::top).is_some_and(|top| top > given))
    }

    /// Returns the value of a copy, which this operation makes.
    pub(super) fn copied(&mut self, value: &Value, when: When) -> Value {
        match value {
            Value::String(bytes) => Value::String(bytes.clone()),
            Value::Stream(id) => {
                self.streams.copy(*id, when.id);
                Value::Stream(when.id)
            }
        }
    }

    /// Returns the names of all rows of streams.
    pub(crate) fn stream_rows(&self) -> BTreeSet<RowKey> {
        self.streams.rows()
    }

    /// Returns a row of a stream; `None` if there is none any more.
    pub(crate) fn stream_row(&self, key: &RowKey) -> Option<Bytes> {
        self.streams.row(key)
    }

    /// Takes a row of a stream.
    ///
    /// # Errors
    /// [`DecodeError`] if it does not hold what it should.
    pub(crate) fn restore_stream(&mut self, key: RowKey, row: Bytes) -> Result<(), DecodeError> {
        self.streams.restore(key, row)
    }

    /// Counts what the streams take, once all their rows are here.
    pub(crate) fn restored(&mut self) {
        self.streams.restored();
    }
}

/// Returns the keys with groups that may have something else to give afterwards, or be gone, without an entry that was
/// added.
fn groups_of(op: &StreamOp) -> Vec<&Bytes> {
    match op {
        StreamOp::GroupSetId { key, .. } | StreamOp::GroupDestroy { key, .. } => vec![key],
        StreamOp::ReadGroup { streams, .. } => streams.iter().map(|(key, _)| key).collect(),
        _ => Vec::new(),
    }
}

fn log_ms(when: When) -> u64 {
    u64::try_from(when.now_ms).unwrap_or(0)
}
