//! The harness of the end-to-end tests: real processes, real sockets, real clients.
//!
//! ```text
//!   tests/tests/*.rs ── Cluster ── Node ── corgi-server (a child process, its own folder and ports)
//!          │                                    ▲
//!          ├── Load      publishers: what was sent, and what became of it ──┤  redis-rs
//!          ├── Listener  subscribers: what arrived, in which order ─────────┤  redis-rs
//!          ├── RawClient bytes as they are, for input that no client sends ─┘
//!          ├── Network   what is between the nodes, and can be cut
//!          └── check     compares the three: nothing lost, doubled, invented or out of order
//! ```
//!
//! Invariants
//! - A test owns its ports and folders: all tests may run at the same time, and twice at once.
//! - Whatever a test starts ends with it, also when it panics; a failing test prints what its nodes logged.
//! - Nothing waits for a time: [`wait::until`] waits for a condition and names it when the deadline passes.
//! - The checker trusts no node: it sees only what clients sent, what they were told, and what arrived.
//!
//! Not here: what can be tested without processes (the crates' own tests), faults other than killed, paused and cut-off
//! processes, damaged or full folders and bad input. The clients of other languages have their tests in
//! `python/` and `node/`.
//!
//! How it is tested: the checker with seeded violations, the parsers with samples, the rest by being used.

pub mod binary;
pub mod certificates;
pub mod check;
pub mod cluster;
pub mod diff;
pub mod dump;
pub mod info;
pub mod listener;
pub mod load;
pub mod network;
pub mod node;
pub mod ports;
pub mod raw;
pub mod wait;

pub use certificates::Certificates;
pub use check::{Attempt, Outcome, PublisherHistory, SubscriberHistory, Violation};
pub use cluster::Cluster;
pub use listener::{Listener, Message, Subscription};
pub use load::Load;
pub use network::Network;
pub use node::Node;
pub use raw::RawClient;

/// The protocols that every client is tested with.
pub const PROTOCOLS: [redis::ProtocolVersion; 2] =
    [redis::ProtocolVersion::RESP2, redis::ProtocolVersion::RESP3];
