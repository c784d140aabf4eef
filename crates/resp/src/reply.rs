//! Replies as values, before a connection's protocol version is known.

use bytes::Bytes;

/// One reply or push. RESP3-only types fall back in RESP2 as Redis does: a map and a push become
/// flat arrays, a boolean an integer, a double and a verbatim string bulk strings, every null `$-1`
/// (or `*-1` for [`Reply::NullArray`]).
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// `+text`. No CR or LF gets through: see [`crate::encode()`].
    Simple(Bytes),
    /// `-text`: the code in capitals, a space, the rest. No CR or LF gets through.
    Error(Bytes),
    /// `:n`.
    Integer(i64),
    /// `$len bytes`.
    Bulk(Bytes),
    /// `$-1` in RESP2, `_` in RESP3.
    Null,
    /// `*-1` in RESP2, `_` in RESP3.
    NullArray,
    /// `*len` and the elements.
    Array(Vec<Self>),
    /// `%len` and the pairs in RESP3.
    Map(Vec<(Self, Self)>),
    /// Values by key: a map in RESP3, an array of pairs in RESP2.
    Keyed(Vec<(Self, Self)>),
    /// `>len` and the elements in RESP3: out of band, not the answer to a request.
    Push(Vec<Self>),
    /// `~len` and the elements in RESP3.
    Set(Vec<Self>),
    /// `,value` in RESP3.
    Double(f64),
    /// `#t` or `#f` in RESP3.
    Boolean(bool),
    /// `=len txt:text` in RESP3.
    Verbatim(Bytes),
}

impl Reply {
    /// `+OK`.
    pub fn ok() -> Self {
        Self::Simple(Bytes::from_static(b"OK"))
    }

    /// An error with a whole text, code first.
    pub fn error(text: impl Into<Bytes>) -> Self {
        Self::Error(text.into())
    }

    /// A bulk string.
    pub fn bulk(bytes: impl Into<Bytes>) -> Self {
        Self::Bulk(bytes.into())
    }
}
