//! What the Raft log must be able to do, whatever keeps it.
//!
//! Reading and writing are apart, because they happen on different threads: raft reads through [`LogReader`] while the
//! disk thread writes through [`LogWriter`]. A reader sees what a writer has finished; what is not finished yet is
//! answered by the in-memory tail (see [`crate::tail`]).

use bytes::Bytes;
use corgi_base::{FlushedIndex, LogIndex, NodeId, Term};

/// What raft needs an entry to be. The numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryType {
    /// Ours, or the empty entry of a new leader.
    Normal = 0,
    /// A change of one member.
    ConfChange = 1,
    /// A change of several members, or the end of one.
    ConfChangeV2 = 2,
}

/// One entry of the Raft log.
#[derive(Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its position.
    pub index: LogIndex,
    /// The term of the leader that appended it.
    pub term: Term,
    /// What raft needs to know of it.
    pub entry_type: EntryType,
    /// The head (`corgi_base::EntryHead`), or what a membership change says of the member.
    pub context: Bytes,
    /// What the head is about.
    pub data: Bytes,
}

impl std::fmt::Debug for LogEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}@{} {:?} {}+{}B",
            self.index,
            self.term,
            self.entry_type,
            self.context.len(),
            self.data.len()
        )
    }
}

impl LogEntry {
    /// Returns how many bytes of payload the entry holds, for limits.
    pub fn payload_bytes(&self) -> usize {
        self.context.len() + self.data.len()
    }
}

/// What a node must never forget (Raft, figure 2: persistent state).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term seen.
    pub term: Term,
    /// Whom this node voted for in that term.
    pub vote: Option<NodeId>,
    /// The highest entry known to be committed. May lag: it is written with the next thing that must be synced.
    pub commit: LogIndex,
}

/// The bounds of a log, read once at start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogBounds {
    /// Term and vote, and a commit that may lag.
    pub hard_state: HardState,
    /// The last entry that was removed from the front, 0 if none.
    pub truncated_index: LogIndex,
    /// Its term.
    pub truncated_term: Term,
    /// The last entry; equal to `truncated_index` when the log is empty.
    pub last_index: LogIndex,
    /// Its term.
    pub last_term: Term,
    /// Whether the log was reset to a snapshot, and the applied state is not yet known to be that snapshot's: the state
    /// must be replaced (again) before the node starts.
    pub installing: bool,
}

/// A reset of the log to a snapshot: it is empty then, and goes on after the snapshot's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogInstall {
    /// The last entry whose effects the snapshot holds.
    pub index: LogIndex,
    /// The term of that entry.
    pub term: Term,
    /// The hard state, whose commit is at least `index`.
    pub hard_state: HardState,
}

/// What may be removed from the front of a log.
#[derive(Clone, Copy, Debug)]
pub struct TruncateLimits {
    /// Up to where the applied state survives a crash: what comes after can be rebuilt from nothing but the log.
    pub flushed: FlushedIndex,
    /// Entries after this one are still needed by somebody.
    pub hold: Option<LogIndex>,
    /// So many bytes of the newest entries stay at least.
    pub retain_bytes: u64,
    /// With fewer bytes to gain nothing is removed.
    pub step_bytes: u64,
}

/// Up to where a log has been truncated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated {
    /// The last entry that was removed.
    pub index: LogIndex,
    /// Its term.
    pub term: Term,
}

/// One atomic write. All or nothing of it survives a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogWrite {
    /// Consecutive entries. Whatever the log held from the first of them on is replaced: a follower's log may hold a
    /// suffix that its new leader does not have (Raft, 5.3).
    pub entries: Vec<LogEntry>,
    /// The new hard state, if it changed.
    pub hard_state: Option<HardState>,
}

/// Why the log could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadLogError {
    /// The entry was removed from the front.
    #[error("entry {index} is no longer in the log, which starts after {truncated}")]
    Compacted {
        /// The entry asked for.
        index: LogIndex,
        /// The last one removed.
        truncated: LogIndex,
    },
    /// The log ends before the entry.
    #[error("entry {index} is beyond the last entry {last}")]
    Unavailable {
        /// The entry asked for.
        index: LogIndex,
        /// The last one there is.
        last: LogIndex,
    },
    /// What is there is not what was written. The node must stop.
    #[error("entry {index} is damaged: {what}")]
    Damaged {
        /// The entry asked for.
        index: LogIndex,
        /// What does not fit, and where it is stored.
        what: String,
    },
    /// The disk refused. The node must stop.
    #[error("read entry {index}: {what}")]
    Io {
        /// The entry asked for.
        index: LogIndex,
        /// What the disk said.
        what: String,
    },
}

/// Why the log could not be written. There is no way on from here: what is on disk is unknown, and a second try could
/// be told that all is well when it is not. The process ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write the Raft log: {what}")]
pub struct WriteLogError {
    /// What the disk said.
    pub what: String,
}

/// The reading side of a log.
pub trait LogReader: Send {
    /// Reads entries from `low` on, below `high`, until their payloads exceed `max_bytes`; the first is returned
    /// whatever its size. Never returns an empty list for `low < high`.
    ///
    /// # Errors
    /// [`ReadLogError`], for `low` not in the log, or for a damaged or unreadable entry.
    fn entries(
        &self,
        low: LogIndex,
        high: LogIndex,
        max_bytes: u64,
    ) -> Result<Vec<LogEntry>, ReadLogError>;

    /// Returns the term of an entry, also of the last one that was removed from the front.
    ///
    /// # Errors
    /// [`ReadLogError`] as for `entries`.
    fn term(&self, index: LogIndex) -> Result<Term, ReadLogError>;
}

/// The writing side of a log: one writer, one order.
pub trait LogWriter: Send {
    /// Returns the bounds of what is stored.
    ///
    /// # Errors
    /// [`ReadLogError`] if the log is damaged or unreadable.
    fn bounds(&self) -> Result<LogBounds, ReadLogError>;

    /// Writes all of `writes` in order as one atomic, synced write: when this returns, it survives the loss of power.
    ///
    /// # Errors
    /// [`WriteLogError`], after which the process must end.
    fn write(&mut self, writes: &[LogWrite]) -> Result<(), WriteLogError>;

    /// Resets the log to a snapshot and notes that the applied state is to be replaced ([`LogBounds::installing`]), all
    /// as one synced write. Whatever the log held is gone.
    ///
    /// # Errors
    /// [`WriteLogError`], after which the process must end.
    fn install(&mut self, install: &LogInstall) -> Result<(), WriteLogError>;

    /// Notes, synced, that the applied state is the snapshot's.
    ///
    /// # Errors
    /// [`WriteLogError`], after which the process must end.
    fn installed(&mut self) -> Result<(), WriteLogError>;

    /// Removes entries from the front as far as `limits` allow, as one synced write, and raises the stored commit to
    /// the last of them. Returns where the log begins now, or `None` if nothing was removed. Sizes may be estimated, as
    /// long as `retain_bytes` are kept.
    ///
    /// # Errors
    /// [`WriteLogError`], after which the process must end.
    fn truncate(&mut self, limits: &TruncateLimits) -> Result<Option<Truncated>, WriteLogError>;
}
