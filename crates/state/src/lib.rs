//! The replicated state machine: entries in log order in, [`Effects`](corgi_base::Effects) out.
//!
//! ```text
//!   consensus ── committed entries ──▶ State ── Effects ──▶ bus, waiting clients
//!                                        │ take_write
//!                                        ▼
//!                                    StateStore (rows; rebuilt from the log after a crash)
//! ```
//!
//! Invariants
//! - Deterministic: every node that has applied the same entries has the same rows, byte by byte. No clock, no
//!   randomness, no hash order, no setting of one node.
//! - Apply has no failures of its own: what can be wrong with an operation is an effect, the same on every node. An
//!   [`ApplyError`] means that the log holds what this build cannot know, and stops the node.
//! - The changes of an entry and the applied index are one write.
//!
//! Part of the state, and so of a [`snapshot`]: the cluster's name, who votes and who receives, which data folder
//! each node id is bound to, the session of each origin, the last id, the users, the keys, which messages the
//! [`history`] of each channel has. Not part of it: connections and subscriptions.
//!
//! [`streams`] are pure code, which no entry reaches yet: no operation of the log is one on streams.
//!
//! Not here: who proposes what, in which order replies leave, the disk.
//!
//! Tests: `tests/machine.rs`; `tests/streams.rs` and `tests/streams_model.rs`; [`conformance`] for every store.
#![deny(clippy::iter_over_hash_type)]

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod history;
pub mod keys;
mod machine;
#[cfg(any(test, feature = "testing"))]
pub mod mem;
#[cfg(any(test, feature = "testing"))]
pub mod mem_snapshots;
mod replay;
mod rows;
pub mod snapshot;
pub mod store;
pub mod streams;

pub use machine::{ApplyError, HISTORY_LEVEL, State};
pub use replay::{Replayed, replay};
