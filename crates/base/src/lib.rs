//! The words that all of Corgi shares: identifiers, operations and their codec, entry heads, effects, glob matching.
//!
//! ```text
//!   session ── Op ──▶ node ── EntryHead + bytes ──▶ consensus ──▶ state ── Effects ──▶ bus
//! ```
//!
//! Everything here is a value. Nothing in this crate reads a clock, draws randomness, blocks, or knows a socket, Raft
//! or RocksDB; it depends on nothing else of ours. All integers that go to disk or to a peer are big-endian, and every
//! tag byte is for ever: add, never reuse (docs/disk-format.md).
//!
//! | module | holds |
//! |---|---|
//! | [`ids`] | newtypes for everything countable that could be swapped by mistake |
//! | [`keys`] | what a client can ask about keys, and its bytes |
//! | [`answer`] | what it is answered |
//! | [`op`] | what a client can ask the log to record, and its bytes |
//! | [`entry`] | the head of a log entry: who sent it, in which order, with which stamp |
//! | [`effects`] | what applying an entry means to the rest of the node |
//! | [`glob`] | Redis' pattern language, in bounded time |
//! | [`history`] | how much of each channel is kept |
//! | [`streams`] | operations on streams, and their ids as text |
//! | [`answer`] | what an operation on keys answers |
//! | [`snapshot`] | what names a snapshot of the applied state |
//! | [`users`] | changes of users |
//! | [`time`] | the two clocks, as values |
//! | [`codec`] | the reader of untrusted bytes that the codecs share |
#![deny(clippy::iter_over_hash_type)]

pub mod answer;
pub mod codec;
pub mod effects;
pub mod entry;
pub mod glob;
pub mod history;
pub mod ids;
pub mod keys;
pub mod op;
pub mod snapshot;
pub mod streams;
pub mod time;
pub mod users;

pub use answer::{Answer, KeyError};
pub use effects::{AppliedBatch, BatchName, Effects, Outcome};
pub use entry::{BatchHead, EntryHead, FEATURE_LEVEL, Formation, Member, Stamp};
pub use history::{Retention, Rules, RulesChange};
pub use ids::{
    BatchNumber, Boot, ClientId, ClusterId, InstanceId, LogIndex, MessageId, NodeId, Nonce, Term,
};
pub use keys::{KeyOp, Watch};
pub use op::Op;
pub use snapshot::{FlushedIndex, SnapshotFile, SnapshotMeta};
pub use time::Now;
pub use users::UserChanges;

/// The version of the Redis protocol that a connection speaks (<https://redis.io/docs/latest/develop/reference/protocol-spec/>).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// What every connection starts with.
    #[default]
    Resp2,
    /// Chosen by `HELLO 3`: maps, pushes and the other typed replies.
    Resp3,
}

/// What a subscription names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SubscriptionKind {
    /// One channel, by its exact name: `SUBSCRIBE`.
    Channel,
    /// All channels that match a glob pattern: `PSUBSCRIBE`.
    Pattern,
    /// One shard channel, by its exact name: `SSUBSCRIBE`. Shard channels are a world of their own: only `SPUBLISH`
    /// reaches them, and they are counted apart.
    Shard,
}

/// Through which kind of subscription a message reaches a client, and with what it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via<'a> {
    /// `message`.
    Channel,
    /// `pmessage` with the pattern.
    Pattern(&'a [u8]),
    /// `smessage`.
    Shard,
}
