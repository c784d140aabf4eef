//! What a group asks its caller to do.

use crate::message::Envelope;
use crate::storage::{LogInstall, LogWrite};
use bytes::Bytes;
use corgi_base::{LogIndex, NodeId, SnapshotFile, Term};

/// Everything that has become due. Do the parts in field order.
#[must_use = "dropping work loses messages and committed entries"]
#[derive(Debug, Default)]
pub struct Work {
    /// Messages that depend on nothing that is still on its way to the disk. A leader's appends are among them: it
    /// sends while its own disk syncs (Raft thesis, 10.2.1).
    pub send: Vec<Envelope>,
    /// A snapshot to be installed before anything that is handed out later is written or applied.
    pub install: Option<Install>,
    /// One synced write. Writes are done in the order handed out, and each one's token is given back to
    /// [`crate::Group::persisted`]. Several may be outstanding, and may be synced together.
    pub persist: Option<Persist>,
    /// Entries to apply, in order, each once.
    pub committed: Vec<Committed>,
    /// Reads whose answer is valid once everything up to their index is applied.
    pub reads: Vec<ReadGrant>,
}

/// A write and the proof that it was asked for.
#[derive(Debug)]
pub struct Persist {
    /// What to write.
    pub write: LogWrite,
    /// Give it back when the write is synced.
    pub token: PersistToken,
}

/// A snapshot that replaces the log and the applied state, and the proof that it was asked for.
#[derive(Debug)]
pub struct Install {
    /// The file that it is in.
    pub file: SnapshotFile,
    /// What the log is reset to.
    pub log: LogInstall,
    /// Give it back when both are replaced, for good.
    pub token: PersistToken,
}

/// Stands for one outstanding write. Cannot be made or copied outside of this crate.
#[derive(Debug, PartialEq, Eq)]
pub struct PersistToken(pub(crate) u64);

/// An entry that a majority has on disk, and that this node has on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its position.
    pub index: LogIndex,
    /// The term of the leader that appended it.
    pub term: Term,
    /// What it holds.
    pub payload: Payload,
}

/// What a committed entry holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Nothing: a new leader's first entry, or a membership change that raft refused.
    Empty,
    /// What was proposed.
    Proposal {
        /// The head.
        context: Bytes,
        /// What the head is about.
        data: Bytes,
    },
    /// The members from this entry on.
    Members {
        /// Who votes, ascending.
        voters: Vec<NodeId>,
        /// Who only receives, ascending.
        learners: Vec<NodeId>,
        /// What was proposed with the change; often empty.
        context: Bytes,
    },
}

/// Permission to answer one read once everything up to `index` is applied. A permission, not an answer: the read must
/// wait for apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadGrant {
    /// The id given to [`crate::Group::read_index`].
    pub id: ReadId,
    /// How far apply must be.
    pub index: LogIndex,
}

/// Names a read. Unique over all nodes and restarts, because raft drops the second of two equal ones: so the node, its
/// boot, and a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadId {
    /// Who reads.
    pub node: NodeId,
    /// The boot of the reader.
    pub boot: u64,
    /// Counts the reads of that boot.
    pub count: u64,
}

/// One change of the members. A change at a time, each of one member, so that the majorities before and after always
/// overlap (Raft thesis, 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// Start to send the log to a node that does not vote.
    AddLearner(NodeId),
    /// Let a node vote.
    AddVoter(NodeId),
    /// Remove a node.
    Remove(NodeId),
}

/// Where a proposal landed. It is lost if another term appears at that index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The index.
    pub index: LogIndex,
    /// The leader's term.
    pub term: Term,
}

/// What a node is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Follows, or waits for an election.
    Follower,
    /// Asks whether it could win an election.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Appends.
    Leader,
}

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// What this node is.
    pub role: Role,
    /// The current term.
    pub term: Term,
    /// The leader of that term, if known.
    pub leader: Option<NodeId>,
    /// The highest entry known to be committed.
    pub commit_index: LogIndex,
    /// The first entry that the log still has, or the one after the last in an empty log.
    pub first_index: LogIndex,
    /// The last entry.
    pub last_index: LogIndex,
    /// Whether this node votes.
    pub voter: bool,
}

/// Why a proposal was not appended. It certainly is not in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Only a leader appends.
    #[error("this node does not lead")]
    NotLeader,
    /// Leadership is being handed over.
    #[error("leadership is being handed over")]
    Transferring,
    /// Too many bytes wait for a majority.
    #[error("too many bytes wait for a majority")]
    Overloaded,
    /// An earlier membership change is not applied yet.
    #[error("an earlier membership change is not applied yet")]
    ChangePending,
    /// The change would leave nobody who votes.
    #[error("the change would leave nobody who votes")]
    LastVoter,
}

/// Why a read index was not asked for; try again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Nobody is known to lead.
    #[error("no leader is known")]
    NoLeader,
    /// The leader has not committed an entry of its term yet, so that it does not know what is committed.
    #[error("the leader has not committed in its term yet")]
    NotReady,
}

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The bytes are no Raft message.
    #[error("not a Raft message: {0}")]
    Malformed(String),
    /// The sender is not who the transport says it is, or it is for another node.
    #[error("a message from {from} to {to}, received from {peer} by {node}")]
    WrongAddress {
        /// The sender that the message names.
        from: u64,
        /// The receiver that the message names.
        to: u64,
        /// The peer that sent it.
        peer: NodeId,
        /// This node.
        node: NodeId,
    },
    /// The leader knows that this node has accepted entries which are not in its log: the log has lost its end, or is
    /// an old copy. What else it has forgotten nobody can tell: the node must not go on under its id.
    #[error(
        "the leader has seen this node accept entries up to {accepted}, but its log ends with entry {last}: the log \
         has lost its end, or the data folder is an old copy. Restore the latest folder, or replace this node by one \
         with an empty folder and a new node-id."
    )]
    EndLost {
        /// Up to where this node's copy counts for a majority.
        accepted: LogIndex,
        /// Where the log ends.
        last: LogIndex,
    },
    /// Raft refused it: an answer from a node that is no member, a message that must not come from a peer.
    #[error("refused: {0}")]
    Refused(String),
}
