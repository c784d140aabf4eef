//! What applying an entry means to the rest of the node: data, and no callbacks.

use crate::answer::Answer;
use crate::ids::{BatchNumber, Boot, LogIndex, MessageId, NodeId, Nonce};
use crate::op::Op;
use crate::users::UserChanges;

/// A batch whose operations took effect, in the form in which the bus and the waiting clients get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedBatch {
    /// Where the batch stands in the log.
    pub index: LogIndex,
    /// The node whose clients sent it.
    pub origin: NodeId,
    /// The boot of that node.
    pub boot: Boot,
    /// The batch's number within that boot.
    pub number: BatchNumber,
    /// The id of operation 0; operation `k` has `ms-(seq + k)`.
    pub first: MessageId,
    /// The operations in the order sent, slices of the entry's bytes.
    pub ops: Vec<Op>,
    /// What came of each of them; empty if all were published.
    pub outcomes: Vec<Outcome>,
}

impl AppliedBatch {
    /// Returns what came of the guard at a place, if there is one.
    pub fn guard(&self, k: u32) -> Option<&Outcome> {
        let guard = matches!(self.ops.get(k as usize), Some(Op::Guard { .. }));
        self.outcomes.get(k as usize).filter(|_| guard)
    }

    /// Returns the id of an operation.
    pub fn id(&self, k: u32) -> MessageId {
        MessageId {
            ms: self.first.ms,
            seq: self.first.seq + u64::from(k),
        }
    }

    /// Returns how many messages were published.
    pub fn published(&self) -> u64 {
        let message = |op: &&Op| matches!(op, Op::Publish { .. } | Op::ShardPublish { .. });
        let messages = self.ops.iter().filter(message).count();
        let void = self.void().filter_map(|k| self.ops.get(k as usize));
        (messages - void.filter(message).count()) as u64
    }

    /// Returns the operations that had no effect, because a key had changed that was watched: their places.
    pub fn void(&self) -> impl Iterator<Item = u32> {
        let outcomes = (0u32..).zip(&self.outcomes);
        outcomes.filter_map(|(k, outcome)| matches!(outcome, Outcome::Void).then_some(k))
    }
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is for those who listen.
    Published,
    /// This is its answer.
    Answered(Answer),
    /// Nothing: a key had changed that was watched.
    Void,
}

/// Which batch of which origin an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchName {
    /// The node whose clients sent it.
    pub origin: NodeId,
    /// The boot of that node.
    pub boot: Boot,
    /// The batch's number within that boot.
    pub number: BatchNumber,
}

/// What one entry did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effects {
    /// Nothing that concerns anybody else.
    None,
    /// Operations took effect.
    Batch(AppliedBatch),
    /// A batch had no effect, because the users have changed since its operations were checked.
    Void(BatchName),
    /// The users changed.
    Users {
        /// How.
        changes: UserChanges,
        /// The number of changes so far.
        revision: u64,
        /// The batch that asked for it; without one it is the cluster's beginning.
        batch: Option<BatchName>,
    },
    /// A boot asked to be its node's origin.
    Session {
        /// The node.
        node: NodeId,
        /// The boot that asked.
        boot: Boot,
        /// The process that asked.
        nonce: Nonce,
        /// Whether it was let in; if not, a later boot has been.
        accepted: bool,
    },
    /// How much of channels is kept was said for the first time.
    Rules,
    /// The cluster has a feature level that all members can apply.
    Feature(u32),
    /// The list of members, or their readiness to serve, changed.
    Membership,
}
