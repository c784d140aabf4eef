//! What can be done with keys of any type.

use super::strings::integer;
use super::{Entry, Keyspace, Name, Value, When};
use bytes::Bytes;
use corgi_base::glob::matches;
use corgi_base::keys::{About, ExpireIf, Expiry, Unit};
use corgi_base::{Answer, KeyError, KeyOp};
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};

/// Strings up to this length are kept in one piece with their key in Redis, which is what their encoding tells.
const EMBEDDED_MAX: usize = 44;

type Answered = Result<Answer, KeyError>;

impl Keyspace {
    /// Answers an operation that only reads; `None` for another one.
    pub(super) fn read_generic(&self, db: u8, op: &KeyOp, when: When) -> Option<Answered> {
        Some(match op {
            KeyOp::Exists(keys) => {
                let there = keys.iter().filter(|key| self.entry(db, key).is_some());
                Ok(Answer::count(there.count()))
            }
            KeyOp::Type(key) => {
                let kind = self.entry(db, key).map(|entry| entry.value.kind());
                Ok(Answer::Status(kind.unwrap_or("none")))
            }
            KeyOp::Ttl {
                key,
                unit,
                absolute,
            } => Ok(Answer::Int(self.ttl(db, key, *unit, *absolute, when))),
            KeyOp::Keys(pattern) => {
                let keys = self.db(db).keys().map(|name| &name.key);
                let keys = keys.filter(|key| pattern == "*" || matches(pattern, key));
                Ok(Answer::Array(keys.cloned().map(Answer::Bulk).collect()))
            }
            KeyOp::Scan {
                cursor,
                count,
                pattern,
                kind,
            } => Ok(self.scan(db, *cursor, *count, (pattern.as_ref(), kind.as_ref()))),
            KeyOp::RandomKey => Ok(self.random_key(db, when)),
            KeyOp::DbSize => Ok(Answer::count(self.db(db).len())),
            KeyOp::Object { key, about } => match self.entry(db, key) {
                Some(entry) => object(entry, *about, when),
                None => Ok(Answer::Nil),
            },
            _ => return None,
        })
    }

    /// Does an operation; `None` for another one.
    pub(super) fn write_generic(&mut self, db: u8, op: &KeyOp, when: When) -> Option<Answered> {
        Some(match op {
            KeyOp::Del(keys) => {
                let gone = keys.iter().filter(|key| self.remove(db, key));
                Ok(Answer::count(gone.count()))
            }
            KeyOp::Expire { key, expiry, only } => {
                Ok(Answer::flag(self.expire_key(db, key, *expiry, *only, when)))
            }
            KeyOp::Persist(key) => {
                let expires = |entry: &Entry| entry.expires_ms.is_some();
                let persists = self.entry(db, key).is_some_and(expires);
                if persists {
                    self.set_expiry(db, key, Expiry::Persist, when);
                }
                Ok(Answer::flag(persists))
            }
            KeyOp::Rename { key, to, nx } => self.rename(db, key, to, *nx, when),
            KeyOp::Copy {
                key,
                to,
                db: other,
                replace,
            } => {
                let copies = *replace || self.entry(*other, to).is_none();
                let entry = self.entry(db, key).filter(|_| copies).cloned();
                if let Some(entry) = &entry {
                    let value = self.copied(&entry.value, when);
                    let expires_ms = entry.expires_ms;
                    let version = when.id;
                    let copy = Entry {
                        value,
                        expires_ms,
                        version,
                    };
                    self.put(*other, to, copy);
                }
                Ok(Answer::flag(entry.is_some()))
            }
            KeyOp::Move { key, db: other } => {
                let moves = self.entry(*other, key).is_none();
                let entry = moves.then(|| self.take(db, key)).flatten();
                let moved = entry.map(|entry| self.put_as(*other, key, entry, when));
                Ok(Answer::flag(moved.is_some()))
            }
            KeyOp::Flush { all } => {
                let dbs = if *all {
                    0..self.dbs.len()
                } else {
                    usize::from(db)..usize::from(db) + 1
                };
                dbs.for_each(|db| self.flush(db));
                Ok(Answer::Ok)
            }
            KeyOp::Swap(one, other) => {
                self.swap(*one, *other, when);
                Ok(Answer::Ok)
            }
            _ => return None,
        })
    }

    /// Returns -2 if there is no such key, -1 if it stays for ever.
    fn ttl(&self, db: u8, key: &Bytes, unit: Unit, absolute: bool, when: When) -> i64 {
        let Some(entry) = self.entry(db, key) else {
            return -2;
        };
        let Some(at) = entry.expires_ms else {
            return -1;
        };
        let ms = if absolute {
            at
        } else {
            at.saturating_sub(when.now_ms).max(0)
        };
        match unit {
            Unit::Seconds => ms.saturating_add(500) / 1000,
            Unit::Millis => ms,
        }
    }

    /// Returns a cursor and keys: all between two cursors, so that every key that is there all the time comes.
    fn scan(
        &self,
        db: u8,
        cursor: u64,
        count: u64,
        (pattern, kind): (Option<&Bytes>, Option<&Bytes>),
    ) -> Answer {
        let start = Name {
            hash: cursor,
            key: Bytes::new(),
        };
        let mut found = Vec::new();
        let (mut looked, mut last) = (0, None);
        for (name, entry) in self.db(db).range(start..) {
            // Keys of one hash come together, because the cursor does not tell them apart.
            if looked >= count && last != Some(name.hash) {
                let cursor = Answer::Bulk(name.hash.to_string().into());
                return Answer::Array(vec![cursor, Answer::Array(found)]);
            }
            looked += 1;
            last = Some(name.hash);
            let wanted = pattern.is_none_or(|pattern| matches(pattern, &name.key))
                && kind.is_none_or(|kind| entry.value.kind().as_bytes() == kind);
            if wanted {
                found.push(Answer::Bulk(name.key.clone()));
            }
        }
        let end = Answer::Bulk(Bytes::from_static(b"0"));
        Answer::Array(vec![end, Answer::Array(found)])
    }

    fn random_key(&self, db: u8, when: When) -> Answer {
        let start = Name {
            hash: super::hash(&when.salt.to_be_bytes()),
            key: Bytes::new(),
        };
        let keys = self.db(db);
        let behind = keys.range((Included(&start), Unbounded)).next();
        let found = behind.or_else(|| keys.range((Unbounded, Excluded(&start))).next());
        Answer::bulk_or_nil(found.map(|(name, _)| name.key.clone()))
    }

    fn expire_key(
        &mut self,
        db: u8,
        key: &Bytes,
        expiry: Expiry,
        only: ExpireIf,
        when: When,
    ) -> bool {
        let Some(entry) = self.entry(db, key) else {
            return false;
        };
        let before = entry.expires_ms;
        let Some(at) = super::expires_ms(expiry, before, when) else {
            return false;
        };
        let refused = (only.nx && before.is_some())
            || (only.xx && before.is_none())
            || (only.gt && before.is_none_or(|before| at <= before))
            || (only.lt && before.is_some_and(|before| at >= before));
        if !refused {
            self.set_expiry(db, key, expiry, when);
        }
        !refused
    }

    fn rename(&mut self, db: u8, key: &Bytes, to: &Bytes, nx: bool, when: When) -> Answered {
        if self.entry(db, key).is_none() {
            return Err(KeyError::NoSuchKey);
        }
        if nx && self.entry(db, to).is_some() {
            return Ok(Answer::flag(false));
        }
        if let Some(entry) = self.take(db, key) {
            self.put_as(db, to, entry, when);
        }
        Ok(if nx { Answer::flag(true) } else { Answer::Ok })
    }

    /// Puts an entry under another name, written by this operation.
    fn put_as(&mut self, db: u8, key: &Bytes, entry: Entry, when: When) {
        let version = when.id;
        self.put(db, key, Entry { version, ..entry });
    }

    /// Takes a database's keys away.
    fn take_db(&mut self, db: u8) -> BTreeMap<Name, Entry> {
        let keys = std::mem::take(&mut self.dbs[usize::from(db)]);
        self.dirty
            .extend(keys.keys().map(|name| (db, name.key.clone())));
        for (name, entry) in &keys {
            self.bytes -= super::KEY_BYTES + name.key.len() as u64 + entry.value.bytes();
            if let Some(at) = entry.expires_ms {
                self.expiries.remove(&(at, db, name.key.clone()));
            }
        }
        keys
    }

    fn flush(&mut self, db: usize) {
        if let Ok(db) = u8::try_from(db) {
            for entry in self.take_db(db).into_values() {
                self.forget(&entry);
            }
        }
    }

    fn swap(&mut self, one: u8, other: u8, when: When) {
        if one == other {
            return;
        }
        let (to_other, to_one) = (self.take_db(one), self.take_db(other));
        for (db, keys) in [(one, to_one), (other, to_other)] {
            for (name, entry) in keys {
                self.put_as(db, &name.key, entry, when);
            }
        }
    }
}

fn object(entry: &Entry, about: About, when: When) -> Answered {
    match about {
        About::Encoding => Ok(Answer::Bulk(Bytes::from_static(match &entry.value {
            Value::Stream(_) => b"stream",
            Value::String(value) if integer(value).is_some() => b"int",
            Value::String(value) if value.len() <= EMBEDDED_MAX => b"embstr",
            Value::String(_) => b"raw",
        }))),
        About::IdleTime => {
            let written = i64::try_from(entry.version.ms).unwrap_or(i64::MAX);
            Ok(Answer::Int(
                when.now_ms.saturating_sub(written).max(0) / 1000,
            ))
        }
        About::Freq => Err(KeyError::NoFrequency),
        About::RefCount => Ok(Answer::Int(1)),
    }
}
