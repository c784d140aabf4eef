//! RocksDB behind the storage traits: one node's data folder.
//!
//! ```text
//!   server ── DataDir::open ──▶ LOCK, identity
//!     │            └ open_stores ──▶ Stores
//!     ├ node, readers ─▶ RocksLogReader ─┐
//!     ├ disk thread ───▶ RocksLogWriter ─┴─▶ <dir>/raft/    every write synced
//!     ├ disk thread ───▶ RocksState ───────▶ <dir>/state/   no WAL, flushed now and then
//!     └ upkeep thread ─▶ SnapshotFolder ───▶ <dir>/snapshots/   StateReader flushes, and reads what is made
//!   people, tests ── dump_log ──▶ a stopped node's folder, read-only
//! ```
//!
//! Invariants
//! - What [`RocksLogWriter`] has acknowledged survives a kill and the loss of power.
//! - Entries and the hard state that goes with them are in one synced batch.
//! - `truncated <= commit <= last` and `applied <= last` hold at open, and the log has not fallen
//!   behind what the identity file says it has held, or the node does not start.
//! - Every record is checked when it is read: its checksum covers its place in the log, and the
//!   record before it.
//! - A failed write ends the store: the same handle never tries again.
//! - A log that has lost what was synced is told from one whose last write was torn, by a mark beside it.
//! - A snapshot is installed as a whole, or not at all, or the rest of it is done at the next start.
//! - One process per folder, one node id per folder, and each start has a higher boot than all
//!   before.
//!
//! Not here: when to flush the state and when to truncate the log (the server decides), what the
//! rows and entries mean, and what is in a snapshot (the state machine). RocksDB's types stay inside this crate.
//!
//! The bytes are described in docs/disk-format.md, the reasons in docs/adr/0002-two-databases.md.
//!
//! Tests: the conformance suites of `corgi-consensus` and `corgi-state`, which the in-memory stores
//! pass too; readers beside the writer (`tests/log/concurrent.rs`); a child process that is killed while it
//! writes (`tests/log/crash.rs`), or whose disk is full (`tests/log/full_disk.rs`); a flipped byte in every kind
//! of file (`tests/log/damage.rs`).

mod dir;
mod dump;
mod error;
mod identity;
mod install;
mod mark;
mod options;
mod raft_log;
mod record;
mod snapshots;
mod state;

pub use dir::{DataDir, Stores};
pub use dump::{DumpError, DumpSummary, dump_log};
pub use error::{FormError, OpenError, OpenStoreError};
pub use identity::{Floor, Identity};
pub use install::{Install, InstallError};
pub use raft_log::{RocksLogReader, RocksLogWriter, open_log};
pub use snapshots::{Received, SnapshotFileError, SnapshotFolder};
pub use state::{RocksState, StateReader, open_state};
