//! A key as its row.
//!
//! ```text
//! value = type:u8  has_expiry:u8  expires_ms:i64  ms:u64 seq:u64  content
//! 1 string  value:rest
//! 2 stream  ms:u64 seq:u64   (its id: what it holds are rows of its own, see `streams/rows.rs`)
//! ```

use super::{Entry, Keyspace, Place, Value};
use bytes::Bytes;
use corgi_base::MessageId;
use corgi_base::codec::{DecodeError, Out, Put, Reader};

const STRING: u8 = 1;
const STREAM: u8 = 2;

impl Keyspace {
    /// Returns the places of all keys, by database and name.
    pub(crate) fn places(&self) -> Vec<Place> {
        let dbs = (0u8..).zip(&self.dbs);
        let mut places: Vec<Place> = dbs
            .flat_map(|(db, keys)| keys.keys().map(move |name| (db, name.key.clone())))
            .collect();
        places.sort_unstable();
        places
    }

    /// Returns a key's row; `None` if it is not there.
    pub(crate) fn row(&self, db: u8, key: &Bytes) -> Option<Bytes> {
        let Entry {
            value,
            expires_ms,
            version,
        } = self.entry(db, key)?;
        let (kind, length) = match value {
            Value::String(value) => (STRING, value.len()),
            Value::Stream(_) => (STREAM, 16),
        };
        let mut row = Vec::with_capacity(26 + length);
        let mut out = Out(&mut row);
        out.u8(kind);
        out.flag(expires_ms.is_some());
        out.i64(expires_ms.unwrap_or(0));
        out.u64(version.ms);
        out.u64(version.seq);
        match value {
            Value::String(value) => out.raw(value),
            Value::Stream(id) => {
                out.u64(id.ms);
                out.u64(id.seq);
            }
        }
        Some(row.into())
    }

    /// Takes a key from its row.
    ///
    /// # Errors
    /// [`DecodeError`] if it is none that this build knows.
    pub(crate) fn restore(&mut self, db: u8, key: &Bytes, row: Bytes) -> Result<(), DecodeError> {
        let mut r = Reader::new(row);
        let kind = r.u8("key type")?;
        let expires = r.flag("has expiry")?;
        let expires_ms = r.i64("expiry")?;
        let version = id(&mut r)?;
        let value = match kind {
            // A copy: the row may share the buffer of a whole scan.
            STRING => Value::String(Bytes::copy_from_slice(&r.rest())),
            STREAM => {
                let stream = id(&mut r)?;
                r.finish()?;
                Value::Stream(stream)
            }
            kind => {
                return Err(DecodeError::Unknown {
                    field: "key type",
                    value: kind.into(),
                });
            }
        };
        let entry = Entry {
            value,
            expires_ms: expires.then_some(expires_ms),
            version,
        };
        self.put(db, key, entry);
        self.dirty.clear();
        Ok(())
    }
}

fn id(r: &mut Reader) -> Result<MessageId, DecodeError> {
    Ok(MessageId {
        ms: r.u64("id of an operation, ms")?,
        seq: r.u64("id of an operation, seq")?,
    })
}
