//! Key operations to bytes.

use super::{About, ExpireIf, Expiry, KeyOp, SetIf, Unit, decode::tag};
use crate::codec::Put;
use bytes::Bytes;

impl KeyOp {
    /// Puts the operation's bytes.
    pub fn put(&self, out: &mut impl Put) {
        match self {
            Self::Set {
                key,
                value,
                only,
                expiry,
                get,
            } => {
                out.u8(tag::SET);
                out.bytes(key);
                out.bytes(value);
                out.u8(match only {
                    SetIf::Always => 0,
                    SetIf::Absent => 1,
                    SetIf::Present => 2,
                });
                put_expiry(out, *expiry);
                out.flag(*get);
            }
            Self::SetNx { key, value } => put_two(out, tag::SET_NX, key, value),
            Self::Get(key) => put_one(out, tag::GET, key),
            Self::GetDel(key) => put_one(out, tag::GET_DEL, key),
            Self::GetEx { key, expiry } => {
                put_one(out, tag::GET_EX, key);
                put_expiry(out, *expiry);
            }
            Self::MGet(keys) => put_list(out, tag::GET_MANY, keys),
            Self::MSet { pairs, nx } => {
                put_list(out, tag::SET_MANY, pairs);
                out.flag(*nx);
            }
            Self::Append { key, value } => put_two(out, tag::APPEND, key, value),
            Self::StrLen(key) => put_one(out, tag::LENGTH, key),
            Self::GetRange { key, start, end } => {
                put_one(out, tag::GET_RANGE, key);
                out.i64(*start);
                out.i64(*end);
            }
            Self::SetRange { key, offset, value } => {
                put_one(out, tag::SET_RANGE, key);
                out.u64(*offset);
                out.bytes(value);
            }
            Self::IncrBy { key, by } => {
                put_one(out, tag::ADD, key);
                out.i64(*by);
            }
            Self::IncrByFloat { key, by } => put_two(out, tag::ADD_DECIMAL, key, by),
            Self::Del(keys) => put_list(out, tag::DELETE, keys),
            Self::Exists(keys) => put_list(out, tag::EXIST, keys),
            Self::Type(key) => put_one(out, tag::TYPE, key),
            Self::Ttl {
                key,
                unit,
                absolute,
            } => {
                put_one(out, tag::TTL, key);
                out.flag(*unit == Unit::Millis);
                out.flag(*absolute);
            }
            Self::Expire { key, expiry, only } => {
                put_one(out, tag::EXPIRE, key);
                put_expiry(out, *expiry);
                out.u8(condition(*only));
            }
            Self::Persist(key) => put_one(out, tag::PERSIST, key),
            Self::Rename { key, to, nx } => {
                put_two(out, tag::RENAME, key, to);
                out.flag(*nx);
            }
            Self::Copy {
                key,
                to,
                db,
                replace,
            } => {
                put_two(out, tag::COPY, key, to);
                out.u8(*db);
                out.flag(*replace);
            }
            Self::Move { key, db } => {
                put_one(out, tag::MOVE, key);
                out.u8(*db);
            }
            Self::Keys(pattern) => put_one(out, tag::KEYS, pattern),
            Self::Scan {
                cursor,
                count,
                pattern,
                kind,
            } => {
                out.u8(tag::SCAN);
                out.u64(*cursor);
                out.u64(*count);
                put_option(out, pattern.as_ref());
                put_option(out, kind.as_ref());
            }
            Self::RandomKey => out.u8(tag::RANDOM_KEY),
            Self::DbSize => out.u8(tag::SIZE),
            Self::Flush { all } => {
                out.u8(tag::FLUSH);
                out.flag(*all);
            }
            Self::Swap(one, other) => out.raw(&[tag::SWAP, *one, *other]),
            Self::Object { key, about } => {
                put_one(out, tag::OBJECT, key);
                out.u8(match about {
                    About::Encoding => 0,
                    About::IdleTime => 1,
                    About::Freq => 2,
                    About::RefCount => 3,
                });
            }
            Self::Stream(op) => {
                out.u8(tag::STREAM);
                op.put(out);
            }
        }
    }
}

fn put_one(out: &mut impl Put, tag: u8, bytes: &[u8]) {
    out.u8(tag);
    out.bytes(bytes);
}

fn put_two(out: &mut impl Put, tag: u8, one: &[u8], other: &[u8]) {
    put_one(out, tag, one);
    out.bytes(other);
}

fn put_list(out: &mut impl Put, tag: u8, list: &[Bytes]) {
    out.u8(tag);
    out.list(list);
}

fn put_option(out: &mut impl Put, bytes: Option<&Bytes>) {
    out.flag(bytes.is_some());
    if let Some(bytes) = bytes {
        out.bytes(bytes);
    }
}

fn put_expiry(out: &mut impl Put, expiry: Expiry) {
    match expiry {
        Expiry::None => out.u8(0),
        Expiry::In(ms) => {
            out.u8(1);
            out.i64(ms);
        }
        Expiry::At(ms) => {
            out.u8(2);
            out.i64(ms);
        }
        Expiry::Keep => out.u8(3),
        Expiry::Persist => out.u8(4),
    }
}

fn condition(only: ExpireIf) -> u8 {
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    bit(only.nx, 1) | bit(only.xx, 2) | bit(only.gt, 4) | bit(only.lt, 8)
}
