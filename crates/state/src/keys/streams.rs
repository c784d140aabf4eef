//! Streams as values of keys.

use super::{Entry, Keyspace, Name, Value, When};
use crate::streams::{At, RowKey};
use bytes::Bytes;
use corgi_base::codec::DecodeError;
use corgi_base::streams::StreamOp;
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

fn log_ms(when: When) -> u64 {
    u64::try_from(when.now_ms).unwrap_or(0)
}
