//! The differential test: the same commands to Corgi and to real servers, every reply and push compared.
//!
//! ```text
//!   generate ─▶ Script ─┬─ run ─▶ Redis 8.2   ─▶ Transcript ─┐
//!   (proptest)          ├─ run ─▶ Valkey 9.1  ─▶ Transcript ─┼─ differences: mask, compare ─▶ verdict
//!                       └─ run ─▶ Corgi       ─▶ Transcript ─┘
//! ```
//!
//! A script is lines like `1> SUBSCRIBE a`: a connection and what it sends. After each line every connection is brought
//! to rest, so that what a real server answers is a function of the script. What must differ (ids, times, versions, the
//! order of a hash table) is masked in one place, [`differences`], each with its reason; what differs beyond that is a
//! fault of Corgi. Where the two real servers differ from each other, Redis counts.
//!
//! Not here: commands that only Corgi has, what a node does when others fail, timing.
//!
//! How it is tested: the decoder and the masks with samples; and a real server against itself never differs.

pub mod differences;
pub mod generate;
pub mod run;
pub mod script;
pub mod servers;
pub mod streams;
pub mod wire;

pub use run::{Transcript, run};
pub use script::{Line, Script};
pub use servers::{Peer, Reference};
pub use wire::Value;
