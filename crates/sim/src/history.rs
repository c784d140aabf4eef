//! What the checkers see of a run: one record after the other, in the order of events.

use bytes::Bytes;
use corgi_base::{Boot, InstanceId, LogIndex, NodeId, SubscriptionKind, Term};
use corgi_consensus::inspect::Promise;
use corgi_consensus::storage::{HardState, LogBounds, LogEntry};
use std::fmt;

/// Virtual time in microseconds since the start of the run.
pub type Micros = u64;

/// One client connection, unique in a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "k{}", self.0)
    }
}

/// What a client knows of its write. The three are different: only a definite failure may be
/// counted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged.
    Ok,
    /// Refused with an error that says that nothing was written.
    Failed,
    /// The connection ended, or the error says that the fate is unknown.
    Unknown,
    /// The client waited for longer than the node may take, and gave up.
    Silence {
        /// Since when the node could have answered: it was up, not paused, and reachable.
        answerable_since: Micros,
        /// When the write was sent.
        sent: Micros,
    },
}

/// What a subscription names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Topic {
    /// Channel or pattern.
    pub kind: SubscriptionKind,
    /// The channel or the pattern.
    pub name: Bytes,
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.kind {
            SubscriptionKind::Channel => '#',
            SubscriptionKind::Pattern => '~',
            SubscriptionKind::Shard => '%',
        };
        write!(f, "{sign}{}", String::from_utf8_lossy(&self.name))
    }
}

/// One thing that happened. Payloads are unique, so that a payload names its write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A client sent a `PUBLISH`.
    Invoked {
        /// Over this connection.
        conn: ConnId,
        /// To this channel.
        channel: Bytes,
        /// With this payload.
        payload: Bytes,
    },
    /// A node told a session that the write succeeded.
    Acked {
        /// The node.
        node: NodeId,
        /// The write.
        payload: Bytes,
    },
    /// A client learned what became of its write.
    Returned {
        /// The write.
        payload: Bytes,
        /// What it learned.
        outcome: Outcome,
    },
    /// A node's log was reset to a snapshot, on its disk.
    Reset {
        /// The node.
        node: NodeId,
        /// The entry of the snapshot.
        index: LogIndex,
        /// Its term.
        term: Term,
        /// Whether later entries went, although the log had the snapshot's entry.
        drops: bool,
    },
    /// A node has taken on the state of a snapshot.
    InstalledRows {
        /// The node.
        node: NodeId,
        /// The entry of the snapshot.
        applied: LogIndex,
        /// A hash over the rows.
        hash: u64,
    },
    /// A client sent a subscription.
    Asked {
        /// Over this connection.
        conn: ConnId,
        /// To this.
        topic: Topic,
    },
    /// A node confirmed a subscription to a session.
    Confirmed {
        /// The connection.
        conn: ConnId,
        /// What it now listens to.
        topic: Topic,
    },
    /// A client read that it listens.
    Listens {
        /// The connection.
        conn: ConnId,
        /// To what.
        topic: Topic,
    },
    /// A node refused a subscription.
    Refused {
        /// The connection.
        conn: ConnId,
        /// What it does not listen to.
        topic: Topic,
    },
    /// A client read that it does not listen any more.
    Stopped {
        /// The connection.
        conn: ConnId,
        /// To what.
        topic: Topic,
    },
    /// A client read a message.
    Heard {
        /// The connection.
        conn: ConnId,
        /// The subscription.
        topic: Topic,
        /// The channel that the message names.
        channel: Bytes,
        /// The write.
        payload: Bytes,
    },
    /// A connection ended, on the client's side.
    Closed {
        /// Which.
        conn: ConnId,
    },
    /// A node applied an entry.
    Applied {
        /// Which node.
        node: NodeId,
        /// The entry as it stands in the node's durable log.
        entry: LogEntry,
        /// Who had it on disk, or has lost it together with that disk, if this was the first node to
        /// apply it.
        disks: Vec<NodeId>,
    },
    /// A process has started.
    Started {
        /// Which node.
        node: NodeId,
        /// The name of its folder.
        instance: InstanceId,
        /// Its boot.
        boot: Boot,
        /// What its log holds.
        bounds: LogBounds,
    },
    /// A message has left a node.
    Promised {
        /// Which node.
        node: NodeId,
        /// What it says about the node's disk.
        promise: Promise,
    },
    /// The disk of a node has lost or changed what was synced.
    Harmed {
        /// Which node.
        node: NodeId,
    },
    /// A sync has failed.
    SyncFailed {
        /// Which node.
        node: NodeId,
    },
    /// A node does not start, or does not go on.
    GaveUp {
        /// Which node.
        node: NodeId,
        /// Why, in its words.
        text: String,
    },
    /// A node stops because it was removed.
    Removed {
        /// Which node.
        node: NodeId,
    },
    /// A client asks for a change of the members.
    ChangeAsked {
        /// Who is to leave, if somebody is.
        leaves: Option<NodeId>,
        /// Who is to join, if somebody is.
        joins: Option<NodeId>,
    },
    /// A client was told that such a change is made.
    ChangeMade {
        /// Who has left.
        leaves: Option<NodeId>,
        /// Who has joined.
        joins: Option<NodeId>,
    },
    /// A client was told that such a change is not made, and never will be.
    ChangeRefused {
        /// Who does not leave for it.
        leaves: Option<NodeId>,
        /// Who does not join for it.
        joins: Option<NodeId>,
    },
    /// How much waits somewhere.
    Held {
        /// On which node.
        node: NodeId,
        /// What, and where.
        what: &'static str,
        /// How much.
        amount: u64,
        /// How much may.
        max: u64,
    },
    /// A node leads.
    Leads {
        /// Which node.
        node: NodeId,
        /// In which term.
        term: Term,
    },
    /// Entries are on a node's disk.
    Wrote {
        /// Which node.
        node: NodeId,
        /// What.
        entries: Vec<LogEntry>,
    },
    /// Term and vote on a node's disk.
    Voted {
        /// Which node.
        node: NodeId,
        /// What its disk says.
        hard_state: HardState,
    },
    /// The rows of a node's applied state.
    Rows {
        /// Which node.
        node: NodeId,
        /// Up to where the log is applied.
        applied: LogIndex,
        /// A hash over all rows.
        hash: u64,
    },
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// `I01` to `I24`, `P4` to `P6`, `resp` or `panic`.
    pub invariant: &'static str,
    /// What is wrong, with the values.
    pub text: String,
}

impl Violation {
    /// Makes the result that a checker ends with.
    pub fn of<T>(invariant: &'static str, text: String) -> Result<T, Self> {
        Err(Self { invariant, text })
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.text)
    }
}

/// Shows a payload without its padding.
pub(crate) fn label(payload: &[u8]) -> String {
    let end = payload.iter().position(|byte| *byte == b':');
    String::from_utf8_lossy(&payload[..end.unwrap_or(payload.len())]).into_owned()
}
