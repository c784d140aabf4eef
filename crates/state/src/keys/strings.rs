//! Strings.

use super::{Keyspace, Value, When};
use bytes::{Bytes, BytesMut};
use corgi_base::keys::{Decimal, Expiry, SetIf, VALUE_BYTES_MAX};
use corgi_base::{Answer, KeyError, KeyOp};

type Answered = Result<Answer, KeyError>;

impl Keyspace {
    /// Answers an operation that reads strings; `None` for another one.
    pub(super) fn read_string(&self, db: u8, op: &KeyOp) -> Option<Answered> {
        Some(match op {
            KeyOp::Get(key) => self.get(db, key),
            KeyOp::MGet(keys) => {
                // Another type is nothing here, as in Redis.
                let value = |key| self.string(db, key).ok().flatten().cloned();
                let values = keys.iter().map(|key| Answer::bulk_or_nil(value(key)));
                Ok(Answer::Array(values.collect()))
            }
            KeyOp::StrLen(key) => self
                .string(db, key)
                .map(|value| Answer::count(value.map_or(0, Bytes::len))),
            KeyOp::GetRange { key, start, end } => self
                .string(db, key)
                .map(|value| Answer::Bulk(value.map_or(Bytes::new(), |v| range(v, *start, *end)))),
            _ => return None,
        })
    }

    /// Does an operation that writes strings; `None` for another one.
    pub(super) fn write_string(&mut self, db: u8, op: &KeyOp, when: When) -> Option<Answered> {
        Some(match op {
            KeyOp::Set {
                key,
                value,
                only,
                expiry,
                get,
            } => self.set_if(db, (key, value), (*only, *get), *expiry, when),
            KeyOp::SetNx { key, value } => {
                let absent = self.entry(db, key).is_none();
                if absent {
                    self.set_string(db, key, value, Expiry::None, when);
                }
                Ok(Answer::flag(absent))
            }
            KeyOp::GetDel(key) => self.get(db, key).inspect(|_| {
                self.remove(db, key);
            }),
            KeyOp::GetEx { key, expiry } => self.get(db, key).inspect(|_| {
                if *expiry != Expiry::Keep {
                    self.set_expiry(db, key, *expiry, when);
                }
            }),
            KeyOp::MSet { pairs, nx } => Ok(self.set_many(db, pairs, *nx, when)),
            KeyOp::Append { key, value } => self.append(db, key, value, when),
            KeyOp::SetRange { key, offset, value } => self.set_range(db, key, *offset, value, when),
            KeyOp::IncrBy { key, by } => self.add(db, key, *by, when),
            KeyOp::IncrByFloat { key, by } => self.add_decimal(db, key, by, when),
            _ => return None,
        })
    }

    fn get(&self, db: u8, key: &Bytes) -> Answered {
        self.string(db, key)
            .map(|value| Answer::bulk_or_nil(value.cloned()))
    }

    fn set_if(
        &mut self,
        db: u8,
        (key, value): (&Bytes, &Bytes),
        (only, get): (SetIf, bool),
        expiry: Expiry,
        when: When,
    ) -> Answered {
        let before = if get { Some(self.get(db, key)?) } else { None };
        let there = self.entry(db, key).is_some();
        let sets = match only {
            SetIf::Always => true,
            SetIf::Absent => !there,
            SetIf::Present => there,
        };
        if sets {
            self.set_string(db, key, value, expiry, when);
        }
        Ok(before.unwrap_or(if sets { Answer::Ok } else { Answer::Nil }))
    }

    fn set_many(&mut self, db: u8, pairs: &[Bytes], nx: bool, when: When) -> Answer {
        let there = |pair: &[Bytes]| self.entry(db, &pair[0]).is_some();
        if nx && pairs.chunks_exact(2).any(there) {
            return Answer::flag(false);
        }
        for pair in pairs.chunks_exact(2) {
            self.set_string(db, &pair[0], &pair[1], Expiry::None, when);
        }
        if nx { Answer::flag(true) } else { Answer::Ok }
    }

    fn append(&mut self, db: u8, key: &Bytes, more: &Bytes, when: When) -> Answered {
        let value = self.string(db, key)?.cloned().unwrap_or_default();
        check_length(value.len(), more.len())?;
        let value = [&value[..], &more[..]].concat();
        let length = value.len();
        self.set(db, key, Value::String(value.into()), Expiry::Keep, when);
        Ok(Answer::count(length))
    }

    fn set_range(
        &mut self,
        db: u8,
        key: &Bytes,
        offset: u64,
        part: &Bytes,
        when: When,
    ) -> Answered {
        let value = self.string(db, key)?.cloned().unwrap_or_default();
        if part.is_empty() {
            return Ok(Answer::count(value.len()));
        }
        let offset = usize::try_from(offset).map_err(|_too_large| KeyError::TooLong)?;
        check_length(offset, part.len())?;
        let end = offset + part.len();
        let mut value = BytesMut::from(&value[..]);
        if value.len() < end {
            value.resize(end, 0);
        }
        value[offset..end].copy_from_slice(part);
        let length = value.len();
        let value = Value::String(value.freeze());
        self.set(db, key, value, Expiry::Keep, when);
        Ok(Answer::count(length))
    }

    fn add(&mut self, db: u8, key: &Bytes, by: i64, when: When) -> Answered {
        let before = match self.string(db, key)? {
            Some(value) => integer(value).ok_or(KeyError::NotAnInteger)?,
            None => 0,
        };
        let sum = before.checked_add(by).ok_or(KeyError::Overflow)?;
        self.set_string(db, key, sum.to_string().as_bytes(), Expiry::Keep, when);
        Ok(Answer::Int(sum))
    }

    fn add_decimal(&mut self, db: u8, key: &Bytes, by: &Bytes, when: When) -> Answered {
        let before = match self.string(db, key)? {
            Some(value) => Decimal::parse(value)?,
            None => Decimal::default(),
        };
        let sum = before.plus(Decimal::parse(by)?)?.to_string();
        self.set_string(db, key, sum.as_bytes(), Expiry::Keep, when);
        Ok(Answer::Bulk(sum.into()))
    }
}

fn check_length(length: usize, more: usize) -> Result<(), KeyError> {
    let sum = length.checked_add(more);
    sum.filter(|sum| *sum <= VALUE_BYTES_MAX)
        .map(|_| ())
        .ok_or(KeyError::TooLong)
}

/// Reads an integer in the one way in which it is written.
pub(super) fn integer(bytes: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == bytes).then_some(number)
}

/// Returns a part of a string, both ends included. What begins before the string begins with it, also for the end: that
/// is how Redis counts.
fn range(value: &Bytes, start: i64, end: i64) -> Bytes {
    let length = i64::try_from(value.len()).unwrap_or(i64::MAX);
    if start < 0 && end < 0 && start > end {
        return Bytes::new();
    }
    let from_end = |at: i64| {
        if at < 0 {
            at.saturating_add(length)
        } else {
            at
        }
        .max(0)
    };
    let (start, end) = (from_end(start), from_end(end).min(length - 1));
    if start > end {
        return Bytes::new();
    }
    let at = |n: i64| usize::try_from(n).unwrap_or(0);
    value.slice(at(start)..=at(end))
}
