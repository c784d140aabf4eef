//! What names a snapshot: the applied state as it is after one entry, in a file.

use crate::{LogIndex, NodeId, Term};

/// What Raft needs to know of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// The last entry whose effects it holds.
    pub index: LogIndex,
    /// The term of that entry.
    pub term: Term,
    /// Who voted after that entry, ascending.
    pub voters: Vec<NodeId>,
    /// Who received only, ascending.
    pub learners: Vec<NodeId>,
}

/// The file that a snapshot is in. Nodes that have applied as much and have equal rows make equal files, byte by byte:
/// a transfer that one of them began another may end. Where rows differ the hash does, and it begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotFile {
    /// The last entry whose effects it holds.
    pub index: LogIndex,
    /// The term of that entry.
    pub term: Term,
    /// How long the file is.
    pub bytes: u64,
    /// The hash over the whole file, see `corgi_state::snapshot`.
    pub hash: u64,
}

/// An applied index that a crash cannot take back: read back from what is flushed, by the store of the applied state.
/// Only such a store makes one; the Raft log is truncated by nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlushedIndex(LogIndex);

impl FlushedIndex {
    /// Says that the state up to `index` survives a crash. For stores of the applied state only.
    pub fn read_back(index: LogIndex) -> Self {
        Self(index)
    }

    /// Returns the index.
    pub fn get(self) -> LogIndex {
        self.0
    }
}
