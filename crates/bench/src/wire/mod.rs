//! The bytes on the wire: commands that are encoded once, and readers that count what comes back.
//!
//! A message's payload begins with who sent it and its number, so that whoever receives it can tell at once whether it
//! is the next one. Nothing here allocates per message.

mod command;
mod nats;
mod resp;

pub use command::{Command, HEAD_LEN, encode, head};
pub use nats::NatsReader;
pub use resp::RespReader;

use std::fmt;

/// So much of a string is kept: enough for a payload's head, for `subscribe`, and to show what an error says.
const KEPT: usize = 96;

/// The beginning of a string that was read.
#[derive(Clone, Copy)]
pub struct Kept {
    bytes: [u8; KEPT],
    len: usize,
}

impl Kept {
    const EMPTY: Self = Self {
        bytes: [0; KEPT],
        len: 0,
    };

    fn clear(&mut self) {
        self.len = 0;
    }

    fn push(&mut self, more: &[u8]) {
        let fits = more.len().min(KEPT - self.len);
        self.bytes[self.len..self.len + fits].copy_from_slice(&more[..fits]);
        self.len += fits;
    }

    /// Returns what was kept.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.bytes().escape_ascii())
    }
}

/// What kind of frame it was, as a load generator needs to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A message for a subscriber, with the head of its payload in `last`.
    Message,
    /// A subscription is there.
    Subscribed,
    /// A command went well; `number` is its integer, if it has one.
    Ok,
    /// A command was refused; `last` says why.
    Error,
    /// The other side asks for a sign of life (NATS).
    Ping,
}

/// One whole frame: a reply or a push.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What it was.
    pub kind: Kind,
    /// The last integer in it.
    pub number: i64,
    /// The beginning of the last string in it.
    pub last: Kept,
}

/// The bytes are not of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server sent what is not of its protocol: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// A reader of either protocol.
#[derive(Clone, Debug)]
pub enum Reader {
    /// The Redis protocol.
    Resp(RespReader),
    /// The text protocol of NATS.
    Nats(NatsReader),
}

impl Reader {
    /// Takes the next bytes, cut anywhere, and shows each frame that they complete.
    ///
    /// # Errors
    /// If the bytes are not of the protocol.
    pub fn feed(&mut self, bytes: &[u8], each: impl FnMut(&Frame)) -> Result<(), Malformed> {
        match self {
            Self::Resp(reader) => reader.feed(bytes, each),
            Self::Nats(reader) => reader.feed(bytes, each),
        }
    }
}
