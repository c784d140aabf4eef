//! The Redis serialization protocol: bytes to requests, replies to bytes.
//!
//! ```text
//!   socket ── BytesMut ──▶ Decoder ── Request ──▶ session
//!   socket ◀── BytesMut ── encode … ◀── Reply ──── session, node, bus
//! ```
//!
//! A client sends arrays of bulk strings or inline lines, and nothing else; [`Decoder`] reads both
//! in one loop, with Redis' limits and Redis' error texts. Replies are values ([`Reply`]) until the
//! protocol version of a connection is known; [`encode()`] then writes them as RESP2 or RESP3
//! (<https://redis.io/docs/latest/develop/reference/protocol-spec/>). What is sent most, messages
//! and confirmations, is written without a [`Reply`] in between: [`encode_message`],
//! [`encode_subscription`].
//!
//! # Invariants
//! - No bytes of a client can panic this crate, make it recurse, make it allocate from a length
//!   that was only declared, or make it look at the same bytes again and again.
//! - After an error the decoder is spent: what follows is never read as requests.
//! - One reply is one frame, whatever bytes of clients are in it: no CR, LF or NUL gets into a
//!   simple string or an error.
//! - The types of redis-protocol stay in here. It writes the leaves of replies and is the oracle
//!   that the tests hold both directions against. It does not read requests: its decoder recurses
//!   as deep as the input says, has no limits, and starts over at every call.
//!
//! # What it does not do
//! It reads no socket and no clock, knows no command, and does not decode replies: tests and tools
//! that act as clients use redis-protocol or a client library for that. RESP3's attributes, big
//! numbers and streamed types are never sent by a server like this one and are left out.
//!
//! # How it is tested
//! Tables of error texts, checked against a real redis-server, stand beside the code. `tests/` has
//! the properties: any requests, cut anywhere, come out as they went in; what is accepted,
//! redis-protocol accepts equally; every reply reads back as exactly one frame of the same value.
#![deny(clippy::iter_over_hash_type)]

mod decoder;
mod encode;
mod error;
mod http;
mod inline;
mod push;
mod reply;
mod request;

pub use decoder::Decoder;
pub use encode::encode;
pub use error::ProtocolError;
pub use push::{encode_message, encode_subscription};
pub use reply::Reply;
pub use request::{Limits, Request, request_bytes};
