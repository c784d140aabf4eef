//! Whole clusters of nodes with real sessions as clients: golden scripts, one behaviour a file.
//!
//! ```text
//!   scripts/* ── commands ──▶ script ──▶ world: nodes, folders, clients, links ──▶ lines
//! ```
//!
//! Nothing happens by itself, no clock is read and nothing is drawn: a script gives the same lines each time. It is
//! refreshed by `UPDATE_GOLDENFILES=1 cargo test -p corgi-node --test cluster`; the difference is then read, line by
//! line. The random counterpart of these scripts is the simulator.

mod client;
mod folder;
mod script;
mod show;
mod world;
