//! One request as its arguments, and how much of it a client may send.

use bytes::Bytes;

/// How many bytes one argument counts for besides its own: a handle of 32 bytes in the list of
/// arguments, doubled because a growing list has room to spare.
pub(crate) const ARG_OVERHEAD: usize = 64;

/// What a client that must authenticate first may send: room for `HELLO 3 AUTH user password
/// SETNAME name`, and not for filling the memory of a server it has no business with. Redis'
/// numbers.
pub(crate) const UNAUTHENTICATED_ARGS: usize = 10;
/// As [`UNAUTHENTICATED_ARGS`], for the bytes of one argument.
pub(crate) const UNAUTHENTICATED_BULK: usize = 16 * 1024;

/// One request: the command's name and its arguments, as sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Never empty. The arguments are slices of the read buffer and keep all of it alive: copy what
    /// is to live longer than the request.
    pub args: Vec<Bytes>,
}

/// Bounds on what one request may be. Nothing is ever allocated from a length that a client
/// declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest line, in bytes before its end: an inline request or the header of an array or of
    /// an argument. Redis' `PROTO_INLINE_MAX_SIZE`.
    pub max_inline: usize,
    /// The longest argument in bytes: `proto-max-bulk-len`.
    pub proto_max_bulk_len: usize,
    /// The most arguments an array may declare. Only the syntax is bounded by this, as in Redis
    /// since 7.0; memory is bounded by [`Limits::max_request_bytes`].
    pub max_args: usize,
    /// The most one request may hold: the bytes of its arguments, and 64 for each of them. The
    /// default has room for 278528 empty arguments. Redis has no such bound (CVE-2025-46686).
    pub max_request_bytes: usize,
}

impl Limits {
    /// Returns the limits that follow from `proto-max-bulk-len`: a request may hold one argument of
    /// that length and 1 MiB for everything else.
    pub const fn for_bulk(proto_max_bulk_len: usize) -> Self {
        Self {
            max_inline: 64 * 1024,
            proto_max_bulk_len,
            max_args: i32::MAX as usize,
            max_request_bytes: proto_max_bulk_len.saturating_add(1024 * 1024),
        }
    }
}

/// Returns what arguments count for in [`Limits::max_request_bytes`], and what they take while they are kept.
pub fn request_bytes(args: &[Bytes]) -> usize {
    args.iter().map(|arg| arg.len() + ARG_OVERHEAD).sum()
}

impl Default for Limits {
    /// The limits of a `proto-max-bulk-len` of 16 MiB.
    fn default() -> Self {
        Self::for_bulk(16 * 1024 * 1024)
    }
}
