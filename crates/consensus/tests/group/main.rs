//! What one Raft group does and in which order: golden scripts, and a seeded random run that checks Raft's promises
//! after every step.
//!
//! ```text
//!   scripts/* ── commands ──▶ script ──┐
//!                                      ├──▶ cluster: groups, disks, network ──▶ events ──▶ lines, or checks
//!   seeds ─────── choices ──▶ random ──┘
//! ```
//!
//! A script is refreshed by `UPDATE_GOLDENFILES=1 cargo test -p corgi-consensus`; its diff is then read, line by line.

mod cluster;
mod event;
mod joint;
mod random;
mod refusals;
mod script;
