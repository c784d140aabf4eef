//! The data folder on a real disk. One binary for all of it: RocksDB is linked once.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod concurrent;
mod conformance;
mod crash;
mod damage;
mod dir;
mod dump;
mod full_disk;
mod history;
mod snapshots;
