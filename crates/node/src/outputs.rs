//! What a node asks its surroundings to do.

use crate::config::InitialMember;
use crate::cursors::LogRead;
use crate::history::HistoryRead;
use crate::peer::PeerMessage;
use bytes::Bytes;
use corgi_base::{ClientId, Formation, LogIndex, NodeId, SnapshotFile, SnapshotMeta};
use corgi_consensus::{Install, Persist};
use corgi_session::Told;
use corgi_state::store::StateWrite;

/// All that has become due since the last call, in the order in which it must be done within each list.
#[must_use = "dropping outputs loses messages, writes and replies"]
#[derive(Debug, Default)]
pub struct Outputs {
    /// Messages to peers. A message that cannot be queued is dropped, and [`crate::Node::send_failed`] called.
    pub send: Vec<(NodeId, PeerMessage)>,
    /// Writes, in order.
    pub disk: Vec<DiskJob>,
    /// Reads of the log for subscribers that lag, each to be run where it may wait for the disk, and its block given to
    /// [`crate::Node::log_read`]. Few at a time: [`crate::CursorLimits::reads_max`].
    pub reads: Vec<LogRead>,
    /// Reads of the history of channels, each to be run where it may wait for the disk, and what it found given to
    /// [`crate::Node::history_read`]. At most one for each client.
    pub history: Vec<HistoryRead>,
    /// Work on snapshot files, to be done in order where it may wait for the disk; each is answered by
    /// [`crate::Node::snapshot_done`].
    pub snapshots: Vec<SnapshotJob>,
    /// What to tell the sessions, in order.
    pub clients: Vec<(ClientId, Vec<Told>)>,
    /// The other members to keep connections with, whenever the list changes.
    pub peers: Option<Vec<InitialMember>>,
    /// Addresses to find out who is there; then [`crate::Node::probed`].
    pub probes: Vec<Probe>,
    /// The node has left the cluster, and its clients are told so: stop with this text.
    pub removed: Option<String>,
    /// The node cannot go on: stop with this text.
    pub fatal: Option<String>,
}

/// A question: who listens at an address? Nothing but a handshake, which leaves nothing behind on either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Names the question.
    pub number: u64,
    /// `host:port` of a peer listener.
    pub addr: Bytes,
    /// The id to call it by: one without an id takes it.
    pub id: NodeId,
}

impl Outputs {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.send.is_empty()
            && self.disk.is_empty()
            && self.reads.is_empty()
            && self.history.is_empty()
            && self.snapshots.is_empty()
            && self.clients.is_empty()
            && self.peers.is_none()
            && self.probes.is_empty()
            && self.removed.is_none()
            && self.fatal.is_none()
    }
}

/// One thing to write. Jobs are done in the order given; neighbouring log writes may share one sync. Any error ends the
/// process.
#[derive(Debug)]
pub enum DiskJob {
    /// Record the cluster in the folder's identity, synced.
    Form(Formation),
    /// Write to the Raft log, synced; then call [`crate::Node::persisted`] with the token.
    Log(Persist),
    /// Write to the applied state, not synced.
    State(StateWrite),
    /// Replace log and applied state by the snapshot in a file that was received and checked
    /// ([`SnapshotDone::Received`]); then call [`crate::Node::installed`] with the token and the new rows. Nothing
    /// passes it in either direction. Log first ([`LogWriter::install`]), then the state ([`StateStore::replace`]),
    /// then [`LogWriter::installed`]; a start that finds the log in between does the rest again.
    ///
    /// [`LogWriter::install`]: corgi_consensus::storage::LogWriter::install
    /// [`LogWriter::installed`]: corgi_consensus::storage::LogWriter::installed
    /// [`StateStore::replace`]: corgi_state::store::StateStore::replace
    Install(Install),
    /// From now on keep the entries after this one ([`corgi_consensus::storage::TruncateLimits::hold`]), until told
    /// otherwise.
    Hold(Option<LogIndex>),
}

/// One thing to do with snapshot files. A node has at most one that it made, to send, and one that it receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotJob {
    /// Make one of the applied state as it is; an older one is removed. Answer [`SnapshotDone::Made`].
    Make,
    /// Read bytes of the one that was made. Answer [`SnapshotDone::Read`].
    Read {
        /// Who wants them.
        to: NodeId,
        /// Of which file.
        file: SnapshotFile,
        /// From where on.
        offset: u64,
        /// How many at most; fewer only at the end of the file.
        len: u32,
    },
    /// Find what is there of a file that is to be received; what is there of any other is removed. Answer
    /// [`SnapshotDone::Found`].
    Find(SnapshotFile),
    /// Append bytes to the file that is received, and check what can be checked. Answer [`SnapshotDone::Written`], or
    /// [`SnapshotDone::Received`] when the file is complete, synced, and as it was made, or [`SnapshotDone::Damaged`].
    Write {
        /// To which file.
        file: SnapshotFile,
        /// Where they belong.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// Remove what is there of a file that was to be received. No answer.
    Discard,
}

/// What became of a [`SnapshotJob`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotDone {
    /// A snapshot is there to be sent, and survives.
    Made {
        /// Of what.
        meta: SnapshotMeta,
        /// In which file.
        file: SnapshotFile,
    },
    /// Bytes to be sent.
    Read {
        /// Who wants them.
        to: NodeId,
        /// Of which file.
        file: SnapshotFile,
        /// From where on.
        offset: u64,
        /// The bytes; `None` if the file is not there any more.
        bytes: Option<Bytes>,
    },
    /// So many bytes of the file are there; all of them only if it is complete and checked.
    Found {
        /// Of which file.
        file: SnapshotFile,
        /// How many.
        bytes: u64,
    },
    /// The file is so long now.
    Written {
        /// Which file.
        file: SnapshotFile,
        /// Where the next bytes belong.
        next: u64,
    },
    /// The file is complete, synced, and as it was made: it may be installed.
    Received(SnapshotFile),
    /// What came is not what was made; it is removed.
    Damaged {
        /// Which file.
        file: SnapshotFile,
        /// What does not fit, and at which offset.
        what: String,
    },
}
