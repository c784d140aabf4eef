//! One Raft group, without I/O: ticks, messages and proposals go in, work comes out.
//!
//! ```text
//!   node ── tick, step, propose, read_index ──▶ Group (raft-rs inside) ──▶ Work
//!                                                  │ reads                  ├ send      → peers
//!                                                Tail ── LogReader          ├ install   → disk, then installed(token)
//!                                                                           ├ persist   → disk, then persisted(token)
//!                                                                           ├ committed → apply, then applied(index)
//!                                                                           └ reads     → answer once applied
//! ```
//!
//! Invariants
//! - No message that promises something about this node's disk leaves before the disk has it; the types keep it inside.
//! - Entries are handed out for writing in order and for applying in order, once, without gaps.
//! - A snapshot is in raft's hands only when its rows are on this node; nothing that follows from it leaves, is written
//!   or is applied before log and state are replaced for good.
//! - Pre-vote and check-quorum are on, reads are never served by lease, every limit is set.
//! - Equal inputs give equal outputs: election timeouts follow a seed, not the process' random numbers.
//!
//! Not here: sockets, clocks, RocksDB, what an entry means, how the rows of a snapshot travel. No other crate knows
//! raft-rs or its messages: to the rest of Corgi a message is opaque bytes, and an entry is two byte strings.
//!
//! Tests: golden scripts in `tests/scripts` for what a group does and in which order; [`conformance`] for every log.
#![deny(clippy::iter_over_hash_type)]

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod convert;
mod group;
#[cfg(any(test, feature = "testing"))]
pub mod inspect;
#[cfg(any(test, feature = "testing"))]
pub mod mem;
mod message;
mod pin;
#[cfg(feature = "seeded-bugs")]
mod seeded;
pub mod storage;
mod tail;
mod work;

pub use group::{Group, GroupConfig, GroupStart, SnapshotOffer, StartError, Stepped};
pub use message::Envelope;
#[cfg(feature = "seeded-bugs")]
pub use seeded::SeededBug;
pub use work::{
    Committed, Install, MemberChange, Payload, Persist, PersistToken, Position, ProposeError,
    ReadError, ReadGrant, ReadId, Role, Status, StepError, Work,
};
