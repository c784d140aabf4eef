//! The same node code under a simulated network, disk and clock.
//!
//! ```text
//!   seed ─▶ Scenario ─▶ World: queue of (time, event)
//!                         ├ clients ── bytes ──▶ Session ─┐ the shipped code: session, node, bus,
//!                         ├ links   ── messages ─▶ Node  ─┤ state, consensus
//!                         ├ machines: disk, clocks ───────┘
//!                         └ records ──▶ Checks ──▶ Violation
//! ```
//!
//! A run is a function of its seed: it draws cluster size, load, limits and faults, lets faults
//! happen, heals a majority or everything and demands progress, stops the clients, and compares all
//! nodes. `docs/simulation.md` teaches how to read a failure.
//!
//! # Invariants
//! - One generator, one queue ordered by (virtual time, order of scheduling), one thread: two runs
//!   of a seed do the same, event by event ([`Outcome::hash`]).
//! - What the simulator models is what the server does around a node: the order of outputs, the
//!   disk's groups, lanes and handshakes, what a connection does with its session.
//! - The checkers see records, never a node's memory: what a node claims is held against what is
//!   on disks, and against what clients were told.
//!
//! # Not here
//! Duplicated and reordered messages within a lane: a stream does not do that. RocksDB and sockets: the conformance
//! suites and the tests with real processes are for those.
//!
//! # How it is tested
//! Each checker has unit tests with the violations that it must catch. `tests/seeds.rs` runs seeds that would find
//! again what they found, fixed ones, fresh ones, and some twice. With the feature `seeded-bugs`, `tests/seeded.rs`
//! shows that known mistakes are found.
#![deny(clippy::iter_over_hash_type)]

mod check;
mod clients;
mod damage;
mod faults;
mod folder;
mod history;
mod ledger;
mod links;
mod load;
mod machine;
mod membership;
mod nodes;
mod phases;
mod reading;
pub mod resp;
mod rng;
mod run;
mod scenario;
mod snapshots;
mod trace;
mod wire;
mod world;

pub use check::{Canon, CanonOp, Checks};
#[cfg(feature = "seeded-bugs")]
pub use corgi_consensus::SeededBug;
pub use history::{ConnId, Micros, Outcome as WriteOutcome, Record, Topic, Violation};
pub use ledger::Ledger;
pub use rng::Rng;
pub use run::{Options, Outcome, run, shorten};
pub use scenario::FaultKind;
pub use trace::Keep;
