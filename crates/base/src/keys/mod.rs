//! Operations on keys, as the log records them: after the parser, so that no syntax error can reach the log.
//!
//! ```text
//! key operation = tag:u8 fields                 (bytes = len:u32 then as many; list = count:u32 (bytes)*)
//! 0x01 set           key:bytes value:bytes condition:u8 expiry get:u8
//! 0x02 set nx        key:bytes value:bytes
//! 0x03 get           key:bytes
//! 0x04 get del       key:bytes
//! 0x05 get ex        key:bytes expiry
//! 0x06 get many      keys:list
//! 0x07 set many      pairs:list nx:u8           (key, value, key, value, …)
//! 0x08 append        key:bytes value:bytes
//! 0x09 length        key:bytes
//! 0x0a get range     key:bytes start:i64 end:i64
//! 0x0b set range     key:bytes offset:u64 value:bytes
//! 0x0c add           key:bytes by:i64
//! 0x0d add decimal   key:bytes by:bytes
//! 0x40 delete        keys:list
//! 0x41 exist         keys:list
//! 0x42 type          key:bytes
//! 0x43 ttl           key:bytes unit:u8 absolute:u8
//! 0x44 expire        key:bytes expiry condition:u8
//! 0x45 persist       key:bytes
//! 0x46 rename        key:bytes to:bytes nx:u8
//! 0x47 copy          key:bytes to:bytes db:u8 replace:u8
//! 0x48 move          key:bytes db:u8
//! 0x49 keys          pattern:bytes
//! 0x4a scan          cursor:u64 count:u64 pattern:(u8 bytes?) type:(u8 bytes?)
//! 0x4b random key
//! 0x4c size
//! 0x4d flush         all:u8
//! 0x4e swap          db:u8 db:u8
//! 0x4f object        key:bytes about:u8
//! 0x60 stream        stream operation           (see `streams`)
//!
//! expiry = 0x00 (none) | 0x01 ms:i64 (from now) | 0x02 ms:i64 (at) | 0x03 (keep) | 0x04 (persist)
//! ```
//!
//! Tag bytes are on disk: add, never reuse.

mod decimal;
mod decode;
mod encode;
mod show;

pub use decimal::Decimal;
pub(crate) use decode::database;

use crate::streams::StreamOp;
use bytes::Bytes;

/// How many databases there are: 0 to 15.
pub const DATABASES: u8 = 16;

/// The longest value that an operation may build. Values that come whole are bounded by `proto-max-bulk-len`.
pub const VALUE_BYTES_MAX: usize = 64 << 20;

/// When a key ceases to be. Times are in log time, milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Never.
    None,
    /// So long after the operation.
    In(i64),
    /// At a time.
    At(i64),
    /// As it is.
    Keep,
    /// Not any more.
    Persist,
}

/// When a key is to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetIf {
    /// In any case.
    Always,
    /// If there is none: `NX`.
    Absent,
    /// If there is one: `XX`.
    Present,
}

/// When a new expiry is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpireIf {
    /// If there is none yet.
    pub nx: bool,
    /// If there is one already.
    pub xx: bool,
    /// If it is later than that there is.
    pub gt: bool,
    /// If it is earlier than that there is; none at all is later than any.
    pub lt: bool,
}

/// In what times are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
}

/// What `OBJECT` asks about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// How it is kept.
    Encoding,
    /// For how many seconds it has not been written.
    IdleTime,
    /// How often it is used.
    Freq,
    /// How many know it.
    RefCount,
}

/// One operation on the keys of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyOp {
    /// `SET`, and `SETEX`, `PSETEX`, `GETSET`.
    Set {
        /// Which key.
        key: Bytes,
        /// Its value.
        value: Bytes,
        /// When.
        only: SetIf,
        /// How long it stays.
        expiry: Expiry,
        /// Whether the answer is the value before.
        get: bool,
    },
    /// `SETNX`, which answers with a number.
    SetNx {
        /// Which key.
        key: Bytes,
        /// Its value.
        value: Bytes,
    },
    /// `GET`.
    Get(Bytes),
    /// `GETDEL`.
    GetDel(Bytes),
    /// `GETEX`.
    GetEx {
        /// Which key.
        key: Bytes,
        /// How long it stays; [`Expiry::Keep`] without an option.
        expiry: Expiry,
    },
    /// `MGET`.
    MGet(Vec<Bytes>),
    /// `MSET` and `MSETNX`.
    MSet {
        /// Key, value, key, value, …
        pairs: Vec<Bytes>,
        /// Only if none of the keys is there.
        nx: bool,
    },
    /// `APPEND`.
    Append {
        /// Which key.
        key: Bytes,
        /// What is added.
        value: Bytes,
    },
    /// `STRLEN`.
    StrLen(Bytes),
    /// `GETRANGE`, `SUBSTR`.
    GetRange {
        /// Which key.
        key: Bytes,
        /// The first byte; negative from the end.
        start: i64,
        /// The last byte; negative from the end.
        end: i64,
    },
    /// `SETRANGE`.
    SetRange {
        /// Which key.
        key: Bytes,
        /// Where.
        offset: u64,
        /// What.
        value: Bytes,
    },
    /// `INCR`, `DECR`, `INCRBY`, `DECRBY`.
    IncrBy {
        /// Which key.
        key: Bytes,
        /// How much.
        by: i64,
    },
    /// `INCRBYFLOAT`.
    IncrByFloat {
        /// Which key.
        key: Bytes,
        /// How much, as a decimal number in text.
        by: Bytes,
    },
    /// `DEL`, `UNLINK`.
    Del(Vec<Bytes>),
    /// `EXISTS`, `TOUCH`.
    Exists(Vec<Bytes>),
    /// `TYPE`.
    Type(Bytes),
    /// `TTL`, `PTTL`, `EXPIRETIME`, `PEXPIRETIME`.
    Ttl {
        /// Which key.
        key: Bytes,
        /// In what.
        unit: Unit,
        /// Since 1970, not from now.
        absolute: bool,
    },
    /// `EXPIRE`, `PEXPIRE`, `EXPIREAT`, `PEXPIREAT`.
    Expire {
        /// Which key.
        key: Bytes,
        /// When: [`Expiry::In`] or [`Expiry::At`].
        expiry: Expiry,
        /// On which condition.
        only: ExpireIf,
    },
    /// `PERSIST`.
    Persist(Bytes),
    /// `RENAME`, `RENAMENX`.
    Rename {
        /// Which key.
        key: Bytes,
        /// Its new name.
        to: Bytes,
        /// Only if that is not there.
        nx: bool,
    },
    /// `COPY`.
    Copy {
        /// Which key.
        key: Bytes,
        /// The copy's name.
        to: Bytes,
        /// The copy's database.
        db: u8,
        /// Also if that is there.
        replace: bool,
    },
    /// `MOVE`.
    Move {
        /// Which key.
        key: Bytes,
        /// Where to.
        db: u8,
    },
    /// `KEYS`.
    Keys(Bytes),
    /// `SCAN`.
    Scan {
        /// Where to go on.
        cursor: u64,
        /// After how many keys to stop.
        count: u64,
        /// Only those that match.
        pattern: Option<Bytes>,
        /// Only those of a type, in lower case.
        kind: Option<Bytes>,
    },
    /// `RANDOMKEY`.
    RandomKey,
    /// `DBSIZE`.
    DbSize,
    /// `FLUSHDB`, `FLUSHALL`.
    Flush {
        /// All databases.
        all: bool,
    },
    /// `SWAPDB`.
    Swap(u8, u8),
    /// `OBJECT`.
    Object {
        /// Which key.
        key: Bytes,
        /// What about it.
        about: About,
    },
    /// An operation on streams, on the heap: it is by far the largest.
    Stream(Box<StreamOp>),
}

impl KeyOp {
    /// Returns whether it changes nothing, whatever there is: it can be answered without the log.
    pub fn is_read(&self) -> bool {
        match self {
            Self::Get(_)
            | Self::MGet(_)
            | Self::StrLen(_)
            | Self::GetRange { .. }
            | Self::Exists(_)
            | Self::Type(_)
            | Self::Ttl { .. }
            | Self::Keys(_)
            | Self::Scan { .. }
            | Self::RandomKey
            | Self::DbSize
            | Self::Object { .. } => true,
            Self::Set { .. }
            | Self::SetNx { .. }
            | Self::GetDel(_)
            | Self::GetEx { .. }
            | Self::MSet { .. }
            | Self::Append { .. }
            | Self::SetRange { .. }
            | Self::IncrBy { .. }
            | Self::IncrByFloat { .. }
            | Self::Del(_)
            | Self::Expire { .. }
            | Self::Persist(_)
            | Self::Rename { .. }
            | Self::Copy { .. }
            | Self::Move { .. }
            | Self::Flush { .. }
            | Self::Swap(..) => false,
            Self::Stream(op) => op.is_read(),
        }
    }

    /// Returns whether it may make the keyspace larger: what `maxmemory` refuses.
    pub fn may_grow(&self) -> bool {
        match self {
            Self::Set { .. }
            | Self::SetNx { .. }
            | Self::MSet { .. }
            | Self::Append { .. }
            | Self::SetRange { .. }
            | Self::IncrBy { .. }
            | Self::IncrByFloat { .. }
            | Self::Copy { .. } => true,
            Self::Stream(op) => op.may_grow(),
            _ => false,
        }
    }
}

/// A key that must not have changed, for the operations that follow to take effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Its database.
    pub db: u8,
    /// Its name.
    pub key: Bytes,
    /// The id of the operation that wrote it last; 0-0 if it was not there.
    pub version: crate::MessageId,
}
