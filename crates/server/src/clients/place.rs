//! A connection's place among the clients of this node: taken when it is accepted, given back
//! exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use corgi_base::ClientId;
use corgi_node::{Facts, QueuedBytes};
use corgi_session::{Ask, LocalAsk};

use super::outbox::Outbox;
use crate::config::PubsubOutput;
use crate::local::registry::{Ends, Entry};
use crate::local::{Answer, Local};

/// Who answers sessions. The seam between sockets and the node, so that either can be tested
/// without the other.
pub(crate) trait Host: Send + Sync + 'static {
    /// Takes in a client. Whatever it is told comes into `outbox`.
    fn opened(&self, client: ClientId, outbox: Arc<Outbox>, queued: QueuedBytes);
    /// Answers the asks of a client, in order, now or later.
    fn ask(&self, client: ClientId, asks: Vec<Ask>);
    /// Takes note that a client whose queue was too long has written most of it.
    fn drained(&self, client: ClientId);
    /// Forgets a client.
    fn closed(&self, client: ClientId);
    /// Takes in what the process knows of itself, for `INFO`.
    fn set_facts(&self, facts: Facts);
    /// Takes new limits for what waits for one subscriber, and for all.
    fn set_output_limits(&self, one: PubsubOutput, all: u64);
}

/// What `INFO` counts over all connections.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Connections that are open.
    connected: AtomicU64,
    /// Connections ever accepted, which is also the last client's id.
    received: AtomicU64,
    /// Connections turned away: too many, or protected mode.
    rejected: AtomicU64,
    /// Connections closed because too many replies waited for them.
    cut: AtomicU64,
    /// Bytes read from clients.
    bytes_in: AtomicU64,
    /// Bytes written to clients.
    bytes_out: AtomicU64,
}

impl Counters {
    /// Returns how many connections are open.
    pub(crate) fn connected(&self) -> u64 {
        self.connected.load(Ordering::Relaxed)
    }

    /// Returns how many were ever accepted.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Returns how many were turned away.
    pub(crate) fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Returns how many bytes came from clients and went to them.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (
            self.bytes_in.load(Ordering::Relaxed),
            self.bytes_out.load(Ordering::Relaxed),
        )
    }

    /// Notes a connection that was closed because too many replies waited for it.
    pub(crate) fn cut(&self) {
        self.cut.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many of them there were.
    pub(crate) fn were_cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }

    /// Forgets what was counted but who is connected (`CONFIG RESETSTAT`). The ids of clients go on.
    pub(crate) fn reset(&self) {
        for count in [&self.rejected, &self.cut, &self.bytes_in, &self.bytes_out] {
            count.store(0, Ordering::Relaxed);
        }
    }

    /// Notes a connection that was turned away.
    pub(crate) fn reject(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }
}

/// Held by a connection until its socket is closed, so that sockets are never more than places. Leaving it, or dropping
/// it, tells the host that the client is gone.
pub(crate) struct Place {
    left: bool,
    client: ClientId,
    host: Arc<dyn Host>,
    outbox: Arc<Outbox>,
    queued: QueuedBytes,
    local: Arc<Local>,
    entry: Arc<Entry>,
}

impl Place {
    /// Takes a place if fewer than `max` are taken, under the next client id, and tells the host.
    pub(crate) fn take(
        host: Arc<dyn Host>,
        local: Arc<Local>,
        ends: Ends,
        max: u64,
    ) -> Option<Self> {
        let counters = &local.counters;
        let room = |open: u64| (open < max).then_some(open + 1);
        let counted = counters
            .connected
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, room);
        if counted.is_err() {
            counters.reject();
            return None;
        }
        let client = ClientId(counters.received.fetch_add(1, Ordering::Relaxed) + 1);
        let outbox = Arc::new(Outbox::default());
        let queued = QueuedBytes::default();
        let entry = local.registry.enter(client, ends, outbox.clone());
        host.opened(client, outbox.clone(), queued.clone());
        Some(Self {
            left: false,
            client,
            host,
            outbox,
            queued,
            local,
            entry,
        })
    }

    /// Returns the id.
    pub(crate) fn client(&self) -> ClientId {
        self.client
    }

    /// Returns where the node's words arrive.
    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Returns the node's count of what waits for this connection.
    pub(crate) fn queued(&self) -> &QueuedBytes {
        &self.queued
    }

    /// Returns what all connections share.
    pub(crate) fn local(&self) -> &Local {
        &self.local
    }

    /// Returns where others find this client.
    pub(crate) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// Tells the host, and those who list clients, that the client is gone. What remains is its socket.
    pub(crate) fn leave(&mut self) {
        if !std::mem::replace(&mut self.left, true) {
            self.host.closed(self.client);
            self.local.registry.leave(&self.entry);
        }
    }

    /// Puts asks to the host.
    pub(crate) fn ask(&self, asks: Vec<Ask>) {
        if asks.iter().any(|ask| matches!(ask, Ask::Info { .. })) {
            self.host.set_facts(self.local.facts());
        }
        self.host.ask(self.client, asks);
    }

    /// Answers what the process must be asked.
    pub(crate) fn answer(&self, ask: LocalAsk) -> Answer {
        self.local.answer(&self.entry, ask, self.host.as_ref())
    }

    /// Tells the host that the queue has drained.
    pub(crate) fn drained(&self) {
        self.host.drained(self.client);
    }

    /// Notes bytes read.
    pub(crate) fn read(&self, bytes: usize) {
        self.local
            .counters
            .bytes_in
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Notes bytes written.
    pub(crate) fn wrote(&self, bytes: usize) {
        self.local
            .counters
            .bytes_out
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
        self.local
            .counters
            .connected
            .fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}
