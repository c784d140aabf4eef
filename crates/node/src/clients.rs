//! The connections of this node, and what is told to them.

use crate::queued::{QueuedBytes, Total};
use bytes::Bytes;
use corgi_base::ClientId;
use corgi_session::{Reply, Seq, Told};
use std::collections::{BTreeMap, HashMap};

/// All connections, and what they have not been told yet.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    queued: BTreeMap<ClientId, QueuedBytes>,
    total: Total,
    told: Vec<(ClientId, Vec<Told>)>,
    /// Where a client stands in `told`. Only looked up.
    at: HashMap<ClientId, usize>,
}

impl Clients {
    pub(crate) fn open(&mut self, client: ClientId, queued: QueuedBytes) {
        queued.join(self.total.clone());
        let before = self.queued.insert(client, queued);
        assert!(before.is_none(), "client ids are unique: {client:?}");
    }

    /// Forgets a connection; what it has not been told is dropped with it. `false` if it was not there.
    pub(crate) fn close(&mut self, client: ClientId) -> bool {
        let queued = self.queued.remove(&client);
        queued.inspect(QueuedBytes::leave).is_some()
    }

    /// Returns the connections, ascending.
    pub(crate) fn ids(&self) -> impl Iterator<Item = ClientId> {
        self.queued.keys().copied()
    }

    pub(crate) fn contains(&self, client: ClientId) -> bool {
        self.queued.contains_key(&client)
    }

    /// Returns how many bytes of messages wait for a connection.
    pub(crate) fn queued_bytes(&self, client: ClientId) -> u64 {
        self.queued.get(&client).map_or(0, QueuedBytes::get)
    }

    /// Returns how many bytes of messages wait for all connections.
    pub(crate) fn queued_total(&self) -> u64 {
        self.total.get()
    }

    /// Returns whether no more than `low` bytes wait for a connection; if more do, it will say when that has changed.
    pub(crate) fn drained_or_watch(&self, client: ClientId, low: u64) -> bool {
        let queued = self.queued.get(&client);
        queued.is_some_and(|queued| queued.drained_or_watch(low))
    }

    /// Tells a connection something, if it is still there.
    pub(crate) fn tell(&mut self, client: ClientId, told: Told) {
        let Some(queued) = self.queued.get(&client) else {
            return;
        };
        if let Told::Deliver(bytes) = &told {
            queued.add(bytes.len() as u64);
        }
        match self.told.last_mut() {
            Some((last, list)) if *last == client => list.push(told),
            _ => {
                let at = *self.at.entry(client).or_insert_with(|| {
                    self.told.push((client, Vec::new()));
                    self.told.len() - 1
                });
                self.told[at].1.push(told);
            }
        }
    }

    pub(crate) fn reply(&mut self, client: ClientId, seq: Seq, reply: Reply) {
        self.tell(client, Told::Reply { seq, reply });
    }

    pub(crate) fn error(&mut self, client: ClientId, seq: Seq, text: impl Into<Bytes>) {
        self.reply(client, seq, Reply::error(text));
    }

    pub(crate) fn take(&mut self) -> Vec<(ClientId, Vec<Told>)> {
        self.at.clear();
        std::mem::take(&mut self.told)
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.told.is_empty()
    }
}

#[cfg(test)]
mod tests;
