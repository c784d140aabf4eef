//! One node's decisions, without I/O. (Skeleton: the API is fixed, the bodies are being written.)
#![deny(clippy::iter_over_hash_type)]

mod config;
mod info;
mod outputs;
mod peer;

pub use config::{InitialMember, Limits, NodeConfig, NodeStart, Timeouts};
pub use info::Facts;
pub use outputs::{DiskJob, Outputs, QueuedBytes};
pub use peer::{Lane, PeerHello, PeerMessage, Refusal, RefusalKind};

use corgi_base::{ClientId, NodeId, Now};
use corgi_consensus::storage::LogReader;
use corgi_consensus::{PersistToken, StartError};
use corgi_session::Ask;
use slog::Logger;

/// One node. Not `Sync`: the server keeps it behind one lock and drives it from whichever thread has news.
#[derive(Debug)]
pub struct Node<R: LogReader> {
    _reader: std::marker::PhantomData<R>,
}

#[expect(clippy::todo, reason = "skeleton")]
impl<R: LogReader> Node<R> {
    /// Starts from what is on disk.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn new(
        _config: NodeConfig,
        _start: NodeStart<R>,
        _now: Now,
        _log: &Logger,
    ) -> Result<Self, StartError> {
        todo!()
    }
    /// Who this node says it is in a handshake.
    pub fn hello(&self) -> PeerHello {
        todo!()
    }
    /// Whether a peer may talk to this node.
    ///
    /// # Errors
    /// [`Refusal`], to be sent to the peer and logged.
    pub fn check_peer(&self, _hello: &PeerHello) -> Result<(), Refusal> {
        todo!()
    }
    /// Both lanes to a peer are up (dialled by us, peer authenticated and checked).
    pub fn peer_up(&mut self, _now: Now, _hello: PeerHello) {
        todo!()
    }
    /// A lane to a peer is down.
    pub fn peer_down(&mut self, _now: Now, _peer: NodeId) {
        todo!()
    }
    /// A peer that we called refused us.
    pub fn peer_refused(&mut self, _now: Now, _peer: NodeId, _refusal: Refusal) {
        todo!()
    }
    /// A message arrived from an authenticated peer.
    pub fn peer_message(&mut self, _now: Now, _from: NodeId, _message: PeerMessage) {
        todo!()
    }
    /// A message to `peer` was dropped.
    pub fn send_failed(&mut self, _peer: NodeId) {
        todo!()
    }
    /// `tick_ms` have passed. Late calls are one tick, not many.
    pub fn tick(&mut self, _now: Now) {
        todo!()
    }
    /// A log write is synced.
    pub fn persisted(&mut self, _now: Now, _token: PersistToken) {
        todo!()
    }
    /// A client connected.
    pub fn client_opened(&mut self, _client: ClientId, _queued: QueuedBytes) {
        todo!()
    }
    /// A client's session asks, in order.
    pub fn client_asks(&mut self, _now: Now, _client: ClientId, _asks: Vec<Ask>) {
        todo!()
    }
    /// A client is gone. Its writes that are under way go on.
    pub fn client_closed(&mut self, _client: ClientId) {
        todo!()
    }
    /// What `INFO` shows of the process; set now and then.
    pub fn set_facts(&mut self, _facts: Facts) {
        todo!()
    }
    /// Stop soon: hand over leadership, take no new clients.
    pub fn shut_down(&mut self, _now: Now) {
        todo!()
    }
    /// Whether nothing holds the node any more after `shut_down`: leadership is elsewhere (or nobody could take it), and
    /// no write of a client is under way.
    pub fn may_stop(&self, _now: Now) -> bool {
        todo!()
    }
    /// Whether this node serves: it has a cluster that is complete, and a leader is known.
    pub fn serves(&self) -> bool {
        todo!()
    }
    /// What has become due. Call it after every input.
    pub fn outputs(&mut self) -> Outputs {
        todo!()
    }
}
