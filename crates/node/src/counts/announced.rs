//! Subscriptions that the others are told of before they are confirmed, and confirmations that wait until they are.

use crate::reads::Read;
use bytes::Bytes;
use corgi_base::{ClientId, SubscriptionKind};
use corgi_session::Told;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

/// What waits until the others know.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// A subscription, which begins when it is confirmed.
    Subscribe(Read),
    /// What is told of subscriptions that have ended.
    Unsubscribed(ClientId, Vec<Told>),
}

impl Waiting {
    fn client(&self) -> ClientId {
        match self {
            Self::Subscribe(read) => read.client,
            Self::Unsubscribed(client, _) => *client,
        }
    }
}

/// How far the others must know, and until when that is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Until {
    /// All changes before this one.
    pub(crate) end: u64,
    pub(crate) at_ms: u64,
}

/// Subscriptions and confirmations on their way.
#[derive(Debug, Default)]
pub(crate) struct Announced {
    /// How many subscriptions to a name wait to begin.
    names: BTreeMap<(SubscriptionKind, Bytes), u64>,
    queue: VecDeque<(Until, Waiting)>,
}

impl Announced {
    /// Counts a subscription from now on, as far as others are concerned.
    pub(crate) fn add(&mut self, kind: SubscriptionKind, name: Bytes) {
        *self.names.entry((kind, name)).or_default() += 1;
    }

    /// The subscription has begun, or never will.
    pub(crate) fn remove(&mut self, kind: SubscriptionKind, name: Bytes) {
        let key = (kind, name);
        if let Some(count) = self.names.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.names.remove(&key);
            }
        }
    }

    pub(crate) fn count(&self, kind: SubscriptionKind, name: &Bytes) -> u64 {
        let count = self.names.get(&(kind, name.clone()));
        count.copied().unwrap_or_default()
    }

    /// Returns the name after one, in the order of kind and name.
    pub(crate) fn next_after(
        &self,
        after: Option<&(SubscriptionKind, Bytes)>,
    ) -> Option<(SubscriptionKind, Bytes)> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.names.range((after, Bound::Unbounded)).next();
        next.map(|(key, _)| key.clone())
    }

    pub(crate) fn wait(&mut self, until: Until, what: Waiting) {
        self.queue.push_back((until, what));
    }

    /// Returns what has waited longest, if it is ready.
    pub(crate) fn take_ready(&mut self, is_ready: impl Fn(Until) -> bool) -> Option<Waiting> {
        self.queue
            .pop_front_if(|(until, _)| is_ready(*until))
            .map(|(_, what)| what)
    }

    /// Removes and returns the subscriptions that wait for a client that is gone, and drops what waits to be told to
    /// it.
    pub(crate) fn forget(&mut self, client: ClientId) -> Vec<Read> {
        if self.queue.iter().all(|(_, what)| what.client() != client) {
            return Vec::new();
        }
        self.take_if(|what| what.client() == client)
    }

    /// Removes and returns the subscriptions that wait.
    pub(crate) fn take_subscriptions(&mut self) -> Vec<Read> {
        self.take_if(|what| matches!(what, Waiting::Subscribe(_)))
    }

    fn take_if(&mut self, which: impl Fn(&Waiting) -> bool) -> Vec<Read> {
        let mut reads = Vec::new();
        for (until, what) in std::mem::take(&mut self.queue) {
            match what {
                what if !which(&what) => self.queue.push_back((until, what)),
                Waiting::Subscribe(read) => reads.push(read),
                Waiting::Unsubscribed(..) => {}
            }
        }
        reads
    }
}
