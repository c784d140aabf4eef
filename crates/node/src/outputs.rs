//! What a node asks its surroundings to do.

use crate::config::InitialMember;
use crate::peer::PeerMessage;
use bytes::Bytes;
use corgi_base::{ClientId, Formation, NodeId};
use corgi_consensus::Persist;
use corgi_session::Told;
use corgi_state::store::StateWrite;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// All that has become due since the last call, in the order in which it must be done within each list.
#[must_use = "dropping outputs loses messages, writes and replies"]
#[derive(Debug, Default)]
pub struct Outputs {
    /// Messages to peers. A message that cannot be queued is dropped, and [`crate::Node::send_failed`] called.
    pub send: Vec<(NodeId, PeerMessage)>,
    /// Writes, in order.
    pub disk: Vec<DiskJob>,
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

/// The bytes of messages that wait for one connection: the node adds what it tells, the connection subtracts what it
/// has written.
#[derive(Clone, Debug, Default)]
pub struct QueuedBytes(Arc<AtomicU64>);

impl QueuedBytes {
    /// Returns how many bytes wait.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Notes that as many more bytes wait.
    pub fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes that as many bytes have been written. Never more than were added.
    pub fn sub(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}
