//! One Raft group on raft-rs.
pub mod storage;
