//! One node's decisions, without I/O: state machines joined by messages.
//!
//! ```text
//!            Ask  ┌───────────────────────── Node ─────────────────────────┐ Told
//!   sessions ───▶ │ Clients ─ Origin ─▶ leader ─▶ Group ─▶ State ─▶ Bus ──▶ │ ───▶ sessions
//!      peers ◀──▶ │   Reads ─────────▶ read index ─┘   (birth, leading)     │ ───▶ disk
//!                 └────────────────────────────────────────────────────────┘
//! ```
//!
//! [`Node`] takes inputs (ticks, messages of peers, what sessions ask, proofs that writes are synced) and gives
//! [`Outputs`] (messages, writes, what to tell sessions). The server runs it on real sockets and disks, the simulator
//! on simulated ones; both run this code.
//!
//! | module | decides |
//! |---|---|
//! | `origin` | in which batches this node's writes go, what is sent again, who is told what (P4, P5) |
//! | `leading` | which batch of which origin a leader appends next, with which id |
//! | `leadership` | when leadership is given away: to stop, because the disk stalls |
//! | `succession`, `stalls` | who follows a leader whose process is gone; whether the disk stalls |
//! | `members` | how nodes join and leave (on the leader) |
//! | `access` | who clients are; what becomes of what is under way when the users change |
//! | `admin` | what clients ask about the cluster, and how a change reaches the leader |
//! | `vitals` | what nodes know of each other's clocks, disks and versions |
//! | `keys` | how keys are read, when they expire, what is refused |
//! | `history` | how much of channels is kept, and how it is read |
//! | `blocked` | who waits for entries of streams, and in which order they are woken |
//! | `log_time` | which time a leader stamps on batches |
//! | `room` | when the disk is too full for new writes (P10) |
//! | `counts` | who listens on all nodes together (P6) |
//! | `reads` | from which position a subscription counts (P3) |
//! | `agreement` | whether all nodes have the same state (I16) |
//! | `quorum` | whether a majority answers this node (P8) |
//! | `birth` | how a cluster is founded, who may talk to whom |
//! | `alone` | whom a node that votes alone asks before it leads |
//! | `running` | how these are driven by Raft: route to the leader, apply, birth of the cluster |
//! | `shared`, `clients` | what each connection is told, in which order (P2, P4) |
//! | `queued`, `feed`, `cursors` | when a connection lags, and how it is fed from the log until it is live again (P10) |
//! | `snapshots` | how a node that is too far behind for the log gets a snapshot, and what that means to its clients |
//! | `peer` | what nodes say to each other |
//!
//! Invariants
//! - A write is answered with success only when it is applied here, and it is applied only when a majority has it on
//!   disk.
//! - An operation that has a batch number is never refused; its fate is the log's, or unknown.
//! - Everything told to a client is told in the order of the log, its own replies before its own messages.
//! - Equal inputs give equal outputs: no clock, no randomness, no hash order.
//!
//! Not here: bytes of clients (`session`), encoding, sockets, threads, RocksDB.
//!
//! Tests: `tests/` has golden scripts over whole clusters of nodes, and unit tests of the parts.
#![deny(clippy::iter_over_hash_type)]

mod access;
mod admin;
mod agreement;
mod alone;
mod birth;
mod blocked;
mod clients;
mod config;
mod counts;
mod cursors;
mod errors;
mod feed;
mod history;
mod info;
mod keys;
mod leadership;
mod leading;
mod log_time;
mod members;
mod node;
mod origin;
mod outputs;
mod peer;
mod queued;
mod quorum;
mod reads;
mod room;
mod running;
mod shared;
mod snapshots;
mod stalls;
mod succession;
#[cfg(test)]
mod testing;
mod vitals;

pub use config::{CursorLimits, InitialMember, Limits, NodeConfig, NodeStart, Timeouts};
pub use cursors::{LogBlock, LogRead};
pub use history::{HistoryFound, HistoryRead, ShownRules};
pub use info::Facts;
pub use members::Change;
pub use node::{Load, Node, NodeStartError};
pub use outputs::{DiskJob, Outputs, Probe, SnapshotDone, SnapshotJob};
pub use peer::{Lane, NameCount, PeerHello, PeerMessage, Refusal, RefusalKind, Vitals};
pub use queued::QueuedBytes;
pub use room::DiskSpace;
