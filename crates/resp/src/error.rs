//! What can be wrong with the bytes of a client, in Redis' words.

use std::fmt;

/// Why a connection can no longer be decoded. Framing is lost, so the connection must end.
///
/// `Display` gives exactly the text that follows `-ERR ` in the last reply. Where Redis has a text
/// for the case it is Redis' text, letter by letter, because operators search for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// An inline request closes no quote, or goes on right after a closing one.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
    /// An inline request is longer than [`crate::Limits::max_inline`].
    #[error("Protocol error: too big inline request")]
    TooBigInline,
    /// The line that starts with `*` is longer than [`crate::Limits::max_inline`].
    #[error("Protocol error: too big mbulk count string")]
    TooBigCount,
    /// The line that starts with `$` is longer than [`crate::Limits::max_inline`].
    #[error("Protocol error: too big bulk count string")]
    TooBigBulkHeader,
    /// What follows `*` is no integer in Redis' strict form, or above [`crate::Limits::max_args`].
    #[error("Protocol error: invalid multibulk length")]
    InvalidMultibulkLength,
    /// What follows `$` is no integer in Redis' strict form, is negative, or is above
    /// [`crate::Limits::proto_max_bulk_len`].
    #[error("Protocol error: invalid bulk length")]
    InvalidBulkLength,
    /// An argument is not a bulk string. Nested arrays end here, before anything could recurse.
    #[error("Protocol error: expected '$', got '{}'", Shown(*.got))]
    ExpectedBulk {
        /// The byte that stood in the place of `$`.
        got: u8,
    },
    /// More than 10 arguments from a client that must authenticate first (CVE-2021-32675).
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedMultibulk,
    /// An argument of more than 16384 bytes from a client that must authenticate first.
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulk,
    /// The two bytes after an argument are not CRLF, so the declared length was wrong. Redis skips
    /// the two bytes unseen and executes whatever the shifted stream then says.
    #[error("Protocol error: expected CRLF after bulk")]
    MissingBulkEnd,
    /// One request would hold more memory than [`crate::Limits::max_request_bytes`].
    #[error("Protocol error: too big request, the limit is {limit} bytes in all")]
    TooBigRequest {
        /// The limit that was exceeded.
        limit: usize,
    },
    /// An HTTP client, most likely a browser that a hostile page has sent here. Redis closes such a
    /// connection without any reply; whoever closes it should log that at most once a minute.
    #[error("Protocol error: this is HTTP, and the port speaks the Redis protocol")]
    CrossProtocol,
}

/// One byte of the client's, shown so that the text stays one line of UTF-8.
struct Shown(u8);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            b'\r' | b'\n' | 0 => f.write_str(" "),
            byte if byte.is_ascii() => write!(f, "{}", char::from(byte)),
            byte => write!(f, "\\x{byte:02x}"),
        }
    }
}
