//! What an operation on keys answers, before it is put into a version of the protocol.

use crate::streams::StreamError;
use bytes::Bytes;

/// The answer to one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `OK`, a status.
    Ok,
    /// Another status.
    Status(&'static str),
    /// There is nothing.
    Nil,
    /// There is nothing where a list would be.
    NilArray,
    /// A number.
    Int(i64),
    /// A byte string.
    Bulk(Bytes),
    /// Several answers.
    Array(Vec<Self>),
    /// Pairs: a map in RESP3, one list in RESP2.
    Map(Vec<(Self, Self)>),
    /// What streams gave, by key: a map in RESP3, a list of pairs in RESP2.
    Streams(Vec<(Bytes, Self)>),
    /// The operation had no effect.
    Error(KeyError),
}

impl Answer {
    /// Returns a number of things.
    pub fn count(count: usize) -> Self {
        Self::Int(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// Returns 1 or 0.
    pub fn flag(yes: bool) -> Self {
        Self::Int(i64::from(yes))
    }

    /// Returns a byte string, or nothing.
    pub fn bulk_or_nil(bytes: Option<Bytes>) -> Self {
        bytes.map_or(Self::Nil, Self::Bulk)
    }
}

impl From<Result<Self, KeyError>> for Answer {
    fn from(result: Result<Self, KeyError>) -> Self {
        result.unwrap_or_else(Self::Error)
    }
}

/// Why an operation on keys had no effect. The texts are Redis' texts, code first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The key holds another type.
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    /// The value is to be counted with, and is no number.
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    /// The value is to be counted with, and is no decimal number.
    #[error("ERR value is not a valid float")]
    NotAFloat,
    /// The sum does not fit into 64 bits.
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    /// The sum has more digits than are counted with.
    #[error("ERR increment would produce NaN or Infinity")]
    NotFinite,
    /// The value would be longer than a value may be.
    #[error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")]
    TooLong,
    /// There is no such key.
    #[error("ERR no such key")]
    NoSuchKey,
    /// `OBJECT FREQ`, which needs a policy that is not there.
    #[error(
        "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching \
         between policies at runtime LRU and LFU data will take some time to adjust."
    )]
    NoFrequency,
    /// What only streams can say.
    #[error(transparent)]
    Stream(#[from] StreamError),
}
