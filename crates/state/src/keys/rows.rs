//! A key as its row.
//!
//! ```text
//! value = type:u8 (1 string)  has_expiry:u8  expires_ms:i64  ms:u64 seq:u64  value:rest
//! ```

use super::{Entry, Keyspace, Place, Value};
use bytes::Bytes;
use corgi_base::MessageId;
use corgi_base::codec::{DecodeError, Out, Put, Reader};

const STRING: u8 = 1;

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
        let Value::String(value) = value;
        let mut row = Vec::with_capacity(26 + value.len());
        let mut out = Out(&mut row);
        out.u8(STRING);
        out.flag(expires_ms.is_some());
        out.i64(expires_ms.unwrap_or(0));
        out.u64(version.ms);
        out.u64(version.seq);
        out.raw(value);
        Some(row.into())
    }

    /// Takes a key from its row.
    ///
    /// # Errors
    /// [`DecodeError`] if it is none that this build knows.
    pub(crate) fn restore(&mut self, db: u8, key: &Bytes, row: Bytes) -> Result<(), DecodeError> {
        let mut r = Reader::new(row);
        let kind = r.u8("key type")?;
        if kind != STRING {
            return Err(DecodeError::Unknown {
                field: "key type",
                value: kind.into(),
            });
        }
        let expires = r.flag("has expiry")?;
        let expires_ms = r.i64("expiry")?;
        let version = MessageId {
            ms: r.u64("version ms")?,
            seq: r.u64("version seq")?,
        };
        // A copy: the row may share the buffer of a whole scan.
        let value = Value::String(Bytes::copy_from_slice(&r.rest()));
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
