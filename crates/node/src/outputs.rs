//! What a node asks its surroundings to do.

use crate::config::InitialMember;
use crate::cursors::LogRead;
use crate::peer::PeerMessage;
use bytes::Bytes;
use corgi_base::{ClientId, Formation, NodeId};
use corgi_consensus::Persist;
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
}
