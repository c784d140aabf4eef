//! Bytes to key operations.

use super::{About, DATABASES, ExpireIf, Expiry, KeyOp, SetIf, Unit};
use crate::codec::{DecodeError, Reader};
use crate::streams::StreamOp;
use bytes::Bytes;

/// The tag bytes.
pub(super) mod tag {
    pub(crate) const SET: u8 = 0x01;
    pub(crate) const SET_NX: u8 = 0x02;
    pub(crate) const GET: u8 = 0x03;
    pub(crate) const GET_DEL: u8 = 0x04;
    pub(crate) const GET_EX: u8 = 0x05;
    pub(crate) const GET_MANY: u8 = 0x06;
    pub(crate) const SET_MANY: u8 = 0x07;
    pub(crate) const APPEND: u8 = 0x08;
    pub(crate) const LENGTH: u8 = 0x09;
    pub(crate) const GET_RANGE: u8 = 0x0a;
    pub(crate) const SET_RANGE: u8 = 0x0b;
    pub(crate) const ADD: u8 = 0x0c;
    pub(crate) const ADD_DECIMAL: u8 = 0x0d;
    pub(crate) const DELETE: u8 = 0x40;
    pub(crate) const EXIST: u8 = 0x41;
    pub(crate) const TYPE: u8 = 0x42;
    pub(crate) const TTL: u8 = 0x43;
    pub(crate) const EXPIRE: u8 = 0x44;
    pub(crate) const PERSIST: u8 = 0x45;
    pub(crate) const RENAME: u8 = 0x46;
    pub(crate) const COPY: u8 = 0x47;
    pub(crate) const MOVE: u8 = 0x48;
    pub(crate) const KEYS: u8 = 0x49;
    pub(crate) const SCAN: u8 = 0x4a;
    pub(crate) const RANDOM_KEY: u8 = 0x4b;
    pub(crate) const SIZE: u8 = 0x4c;
    pub(crate) const FLUSH: u8 = 0x4d;
    pub(crate) const SWAP: u8 = 0x4e;
    pub(crate) const OBJECT: u8 = 0x4f;
    pub(crate) const STREAM: u8 = 0x60;
}

impl KeyOp {
    /// Reads one operation; names and values share the buffer.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not one that this build knows.
    pub fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        let tag = r.u8("key operation tag")?;
        Ok(match tag {
            tag::SET => Self::Set {
                key: r.bytes("key")?,
                value: r.bytes("value")?,
                only: match r.u8("set condition")? {
                    0 => SetIf::Always,
                    1 => SetIf::Absent,
                    2 => SetIf::Present,
                    other => return unknown("set condition", other),
                },
                expiry: expiry(r)?,
                get: r.flag("get")?,
            },
            tag::SET_NX => Self::SetNx {
                key: r.bytes("key")?,
                value: r.bytes("value")?,
            },
            tag::GET => Self::Get(r.bytes("key")?),
            tag::GET_DEL => Self::GetDel(r.bytes("key")?),
            tag::GET_EX => Self::GetEx {
                key: r.bytes("key")?,
                expiry: expiry(r)?,
            },
            tag::GET_MANY => Self::MGet(r.list("keys")?),
            tag::SET_MANY => Self::MSet {
                pairs: pairs(r)?,
                nx: r.flag("nx")?,
            },
            tag::APPEND => Self::Append {
                key: r.bytes("key")?,
                value: r.bytes("value")?,
            },
            tag::LENGTH => Self::StrLen(r.bytes("key")?),
            tag::GET_RANGE => Self::GetRange {
                key: r.bytes("key")?,
                start: r.i64("range start")?,
                end: r.i64("range end")?,
            },
            tag::SET_RANGE => Self::SetRange {
                key: r.bytes("key")?,
                offset: r.u64("range offset")?,
                value: r.bytes("value")?,
            },
            tag::ADD => Self::IncrBy {
                key: r.bytes("key")?,
                by: r.i64("increment")?,
            },
            tag::ADD_DECIMAL => Self::IncrByFloat {
                key: r.bytes("key")?,
                by: r.bytes("increment")?,
            },
            tag => return Self::decode_generic(tag, r),
        })
    }

    fn decode_generic(tag: u8, r: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match tag {
            tag::DELETE => Self::Del(r.list("keys")?),
            tag::EXIST => Self::Exists(r.list("keys")?),
            tag::TYPE => Self::Type(r.bytes("key")?),
            tag::TTL => Self::Ttl {
                key: r.bytes("key")?,
                unit: if r.flag("unit")? {
                    Unit::Millis
                } else {
                    Unit::Seconds
                },
                absolute: r.flag("absolute")?,
            },
            tag::EXPIRE => Self::Expire {
                key: r.bytes("key")?,
                expiry: expiry(r)?,
                only: condition(r.u8("expire condition")?)?,
            },
            tag::PERSIST => Self::Persist(r.bytes("key")?),
            tag::RENAME => Self::Rename {
                key: r.bytes("key")?,
                to: r.bytes("new key")?,
                nx: r.flag("nx")?,
            },
            tag::COPY => Self::Copy {
                key: r.bytes("key")?,
                to: r.bytes("new key")?,
                db: database(r)?,
                replace: r.flag("replace")?,
            },
            tag::MOVE => Self::Move {
                key: r.bytes("key")?,
                db: database(r)?,
            },
            tag::KEYS => Self::Keys(r.bytes("pattern")?),
            tag::SCAN => Self::Scan {
                cursor: r.u64("cursor")?,
                count: r.u64("count")?,
                pattern: option(r, "pattern")?,
                kind: option(r, "type")?,
            },
            tag::RANDOM_KEY => Self::RandomKey,
            tag::SIZE => Self::DbSize,
            tag::FLUSH => Self::Flush {
                all: r.flag("all databases")?,
            },
            tag::SWAP => Self::Swap(database(r)?, database(r)?),
            tag::OBJECT => Self::Object {
                key: r.bytes("key")?,
                about: match r.u8("object question")? {
                    0 => About::Encoding,
                    1 => About::IdleTime,
                    2 => About::Freq,
                    3 => About::RefCount,
                    other => return unknown("object question", other),
                },
            },
            tag::STREAM => Self::Stream(Box::new(StreamOp::decode(r)?)),
            other => return unknown("key operation tag", other),
        })
    }
}

fn unknown<T>(field: &'static str, value: u8) -> Result<T, DecodeError> {
    let value = value.into();
    Err(DecodeError::Unknown { field, value })
}

/// Reads the number of a database.
pub(crate) fn database(r: &mut Reader) -> Result<u8, DecodeError> {
    let field = "database";
    let db = r.u8(field)?;
    (db < DATABASES)
        .then_some(db)
        .ok_or(DecodeError::Invalid { field })
}

fn pairs(r: &mut Reader) -> Result<Vec<Bytes>, DecodeError> {
    let field = "pairs";
    let pairs = r.list(field)?;
    pairs
        .len()
        .is_multiple_of(2)
        .then_some(pairs)
        .ok_or(DecodeError::Invalid { field })
}

fn option(r: &mut Reader, field: &'static str) -> Result<Option<Bytes>, DecodeError> {
    r.flag(field)?.then(|| r.bytes(field)).transpose()
}

fn expiry(r: &mut Reader) -> Result<Expiry, DecodeError> {
    Ok(match r.u8("expiry")? {
        0 => Expiry::None,
        1 => Expiry::In(r.i64("expiry ms")?),
        2 => Expiry::At(r.i64("expiry ms")?),
        3 => Expiry::Keep,
        4 => Expiry::Persist,
        other => return unknown("expiry", other),
    })
}

fn condition(bits: u8) -> Result<ExpireIf, DecodeError> {
    if bits > 15 {
        return unknown("expire condition", bits);
    }
    Ok(ExpireIf {
        nx: bits & 1 != 0,
        xx: bits & 2 != 0,
        gt: bits & 4 != 0,
        lt: bits & 8 != 0,
    })
}
