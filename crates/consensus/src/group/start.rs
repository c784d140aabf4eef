//! What a group starts from: its configuration, what is on disk, and why that may not do.

use crate::storage::{HardState, LogBounds};
use corgi_base::{LogIndex, NodeId, Term};
use raft::{Config, ReadOnlyOption};

/// How a group behaves. Every limit is here, so that tests can make them tiny.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// This node.
    pub id: NodeId,
    /// Ticks without a leader's sign of life before a follower campaigns; the real timeout lies between this and
    /// `election_ticks_max`, chosen by `seed`.
    pub election_ticks: usize,
    /// Exclusive bound of the election timeout.
    pub election_ticks_max: usize,
    /// Ticks between a leader's heartbeats.
    pub heartbeat_ticks: usize,
    /// Chooses the election timeouts. Should differ between nodes and boots.
    pub seed: u64,
    /// Payload bytes of one append message; an entry larger than this goes alone.
    pub append_bytes_max: u64,
    /// Append messages under way to one follower.
    pub inflight_appends_max: usize,
    /// Payload bytes that a leader holds uncommitted before it refuses proposals.
    pub uncommitted_bytes_max: u64,
    /// Payload bytes of committed entries handed out at once.
    pub committed_bytes_max: u64,
    /// Payload bytes of the log kept in memory beyond what must be there.
    pub tail_bytes_max: u64,
}

impl GroupConfig {
    /// The same in raft-rs' words.
    pub(super) fn for_raft(&self, applied: LogIndex) -> Config {
        Config {
            id: self.id.get(),
            election_tick: self.election_ticks,
            heartbeat_tick: self.heartbeat_ticks,
            applied: applied.0,
            max_size_per_msg: self.append_bytes_max,
            max_inflight_msgs: self.inflight_appends_max,
            check_quorum: true,
            pre_vote: true,
            min_election_tick: self.election_ticks,
            max_election_tick: self.election_ticks_max,
            read_only_option: ReadOnlyOption::Safe,
            skip_bcast_commit: false,
            batch_append: false,
            priority: 0,
            max_uncommitted_size: self.uncommitted_bytes_max,
            max_committed_size_per_ready: self.committed_bytes_max,
        }
    }
}

/// What a group knows when it starts.
#[derive(Clone, Debug)]
pub struct GroupStart {
    /// What the log holds.
    pub bounds: LogBounds,
    /// Up to where it is applied.
    pub applied: LogIndex,
    /// Whether the applied state is lost, and the log does not reach back to rebuild it: the group then follows, votes
    /// and writes, but does not apply, campaign or lead until a snapshot has been installed. `applied` and the members
    /// say nothing then.
    pub state_lost: bool,
    /// Who voted at `applied`.
    pub voters: Vec<NodeId>,
    /// Who received only, at `applied`.
    pub learners: Vec<NodeId>,
}

/// Why a group cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The applied state is of another log, or the log has lost its end.
    #[error(
        "the state is applied up to entry {applied}, but the log ends with entry {last}: the log has lost its end, or it \
         is another node's. Replace this node by one with a new id."
    )]
    AppliedBeyondLog {
        /// Up to where the state is applied.
        applied: LogIndex,
        /// Where the log ends.
        last: LogIndex,
    },
    /// The applied state does not reach the start of the log.
    #[error(
        "the state is applied up to entry {applied}, but the log starts after entry {truncated}: the state is an old copy. \
         Remove it, and the node gets a new one from the others."
    )]
    AppliedBeforeLog {
        /// Up to where the state is applied.
        applied: LogIndex,
        /// The last entry that was removed from the front of the log.
        truncated: LogIndex,
    },
    /// The log lacks entries that it says are committed.
    #[error(
        "entries up to {commit} are committed, but the log ends with entry {last}: the log has lost its end. Replace this \
         node by one with a new id."
    )]
    CommitBeyondLog {
        /// Up to where entries are committed.
        commit: LogIndex,
        /// Where the log ends.
        last: LogIndex,
    },
    /// The hard state is older than the log, so that this node may have forgotten a vote.
    #[error(
        "the hard state is of term {term}, but the last entry is of term {last_term}: the hard state is lost. Replace this \
         node by one with a new id."
    )]
    TermBehindLog {
        /// The term of the hard state.
        term: Term,
        /// The term of the last entry.
        last_term: Term,
    },
    /// raft-rs does not take the configuration.
    #[error("raft refuses to start: {0}")]
    Raft(String),
}

impl GroupStart {
    /// Returns the bounds of the log as raft-rs takes them, and up to where raft-rs believes that it is applied.
    pub(super) fn check(&self) -> Result<(LogBounds, LogIndex), StartError> {
        let (mut bounds, truncated) = (self.bounds, self.bounds.truncated_index);
        // What a lost state had applied is not applied again: a snapshot brings it.
        let applied = if self.state_lost {
            truncated
        } else {
            self.applied
        };
        let last = bounds.last_index;
        if applied > last {
            return Err(StartError::AppliedBeyondLog { applied, last });
        }
        if applied < truncated {
            return Err(StartError::AppliedBeforeLog { applied, truncated });
        }
        let HardState { term, commit, .. } = bounds.hard_state;
        if commit > last {
            return Err(StartError::CommitBeyondLog { commit, last });
        }
        if term < bounds.last_term {
            return Err(StartError::TermBehindLog {
                term,
                last_term: bounds.last_term,
            });
        }
        // The stored commit may lag behind what was applied; raft-rs refuses to start then.
        bounds.hard_state.commit = commit.max(applied);
        Ok((bounds, applied))
    }
}
