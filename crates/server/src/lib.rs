//! The Corgi server: sockets, threads, disk and configuration. The binary is `corgi-server`.
//!
//! ```text
//!                 ┌────────────── client threads ─────────────┐
//!   clients ────▶ │ clients: accept, one task a connection     │
//!                 │   socket ⇄ corgi-session (state machine)   │
//!                 └───────┬───────────────────────▲────────────┘
//!                    asks │                       │ outbox
//!                 ┌───────▼───────────────────────┴────────────┐
//!                 │ core: corgi-node behind one lock,          │
//!                 │   entered by whichever thread has news     │
//!                 └──┬──────────▲─────────────────┬──────▲─────┘
//!               jobs │          │ persisted  send │      │ ticks, messages
//!                 ┌──▼──────────┴──┐          ┌───▼──────┴─────┐
//!                 │ disk thread    │          │ raft thread    │ ◀───▶ other nodes
//!                 │   corgi-log    │          │   peers        │
//!                 └──────▲─────────┘          └────────────────┘
//!                        │ flushed
//!                 ┌──────┴─────────┐
//!                 │ upkeep thread  │ ◀── snapshot jobs of the core
//!                 └────────────────┘
//! ```
//!
//! This crate moves bytes and wakes machines. What a command means, what is agreed and who gets
//! which message is decided by `corgi-session` and `corgi-node`, which know neither sockets nor
//! clocks; here are the clock, the randomness, the sockets, the files and the threads that they are
//! driven with.
//!
//! # Invariants
//! - The node is entered under one lock, and its outputs are put into their queues under the same
//!   lock: every queue has them in the order in which they were decided.
//! - Nothing waits under that lock, for the disk and sockets least of all.
//! - Only the disk thread writes to the data folder, but for files of snapshots, which are the upkeep thread's. An
//!   error
//!   of the disk ends the process; nothing is tried twice.
//! - Ticks and peers have a thread of their own, so that clients cannot cause an election.
//! - Ports are bound before a node is seen to have started.
//! - A panic on any thread ends the process: no node lives on with a part of it dead.
//!
//! # What is where
//! | module | holds |
//! |---|---|
//! | `run` | start, threads, stop |
//! | `core` | the lock, and the ways out of it |
//! | `clients` | listening, accepting, one connection |
//! | `disk` | the disk thread and its queue |
//! | `readers` | the threads that read the log for subscribers that lag |
//! | `upkeep` | the thread that flushes, and that makes and takes snapshots |
//! | [`peers`] | the transport between nodes |
//! | [`config`] | redis.conf, command line, limits |
//! | [`logging`] | the drain |
//! | `facts` | what `INFO` shows of the process |
//! | `files` | the limit of open files, and how many clients it leaves room for |
//! | `secret_file` | files that hold secrets, and who may read them |
//! | `space` | the free space of the disk |
//! | `local` | who is connected, what commands took: what only the process can answer |
//! | `sync` | locks that a test can take apart |
//! | `stop` | signals, the last words of a process |
//! | `ports` | binding what `port`, `tls-port`, `unixsocket` and `peer-port` name |
//! | [`tls`] | certificates, and what TLS connections are made with |
//! | `seldom` | what is logged once a minute |
//!
//! # What it deliberately does not do
//! Metrics, the Cluster and Sentinel surfaces: later releases. It does not become a daemon: that
//! is for systemd or a container engine.
//!
//! # Tests
//! Each module has its own; connections are tested over real sockets against a scripted node.
//! `tests/` starts the real binary: serving, stopping, restarting after `kill -9`, and every way in
//! which a start can be refused. Clusters and client libraries are tested in the crate
//! `corgi-tests`.

mod clients;
pub mod config;
mod core;
mod disk;
mod facts;
mod files;
#[cfg(all(test, feature = "shuttle"))]
mod interleavings;
mod local;
pub mod logging;
pub mod peers;
mod ports;
mod readers;
mod run;
mod secret_file;
mod seldom;
mod space;
mod stop;
mod sync;
pub mod tls;
mod upkeep;

pub use run::{Ended, dump_log, run};
