//! Who listens on all nodes together (P6).
//!
//! ```text
//!   SUBSCRIBE ─▶ announced ─▶ Counts ─▶ all peers that are up ─▶ their bus
//!                    │ read index           │
//!                    ▼                      ▼
//!              subscribed and confirmed ◀─ CountsTaken
//! ```
//!
//! A subscription is told to the others while it waits for its position, and begins when both are there: so whoever
//! publishes on another node after it is confirmed counts it. The end of a subscription takes effect at once, and is
//! confirmed when the others know.
//!
//! Each node tells each peer a *stream*: first every name that somebody listens to on it, then each name whose count
//! has changed, always with the count as it is, not with a difference. So a message that comes twice changes
//! nothing, and
//! every stream stands for itself. Its messages are numbered, and what is not taken is told again. A new link begins a
//! new stream; until that is complete, what the same process told before holds.
//!
//! What a node has told is dropped when it is gone: its system has closed its connections (0.3 s later), or nothing has
//! been heard from it for a while. A node that comes back tells everything again; one that was only thought to be gone
//! is asked to.
//!
//! Invariants
//! - For each peer the bus has at most one count of a name, so that no link that comes and goes makes anybody count
//!   twice.
//! - A confirmation waits for peers that answer, never for one that does not: [`telling::LATE_MS`].
//! - What is kept for a peer is bounded; so is what is kept of it ([`crate::Limits::counts_bytes_max`]).
//!
//! Not here: the counts themselves (`bus`).
//!
//! Tests: `tests.rs` compares random histories over lossy links with the truth; golden scripts `counts_*`.

mod announced;
mod hearing;
mod telling;
#[cfg(test)]
mod tests;

pub(crate) use announced::Until;

use crate::peer::{NameCount, PeerMessage};
use crate::reads::Read;
use crate::shared::Shared;
use crate::vitals;
use announced::{Announced, Waiting};
use bytes::Bytes;
use corgi_base::{Boot, ClientId, NodeId, SubscriptionKind};
use corgi_bus::Bus;
use corgi_session::Told;
use hearing::{Hearing, Verdict};
use slog::{debug, warn};
use std::collections::BTreeSet;
use telling::{LATE_MS, Own, Telling};

/// Numbers of names that are cleaned up at a time when a node is gone: well below a millisecond.
const SWEEP_SLOTS: usize = 4096;

/// The counts of all nodes, as far as this one tells and hears them.
#[derive(Debug)]
pub(crate) struct Counts {
    telling: Telling,
    hearing: Hearing,
    announced: Announced,
    /// Whether it has been said that there are too many names.
    told_too_many: bool,
}

impl Counts {
    /// A node that is silent for half the time in which one without a majority closes its subscribers is gone, if in
    /// that time more than one of its vitals has failed to come.
    pub(crate) fn new(boot: Boot, quorum_loss_ms: u64) -> Self {
        Self {
            telling: Telling::new(boot),
            hearing: Hearing::new((quorum_loss_ms / 2).max(vitals::EVERY_MS * 3)),
            announced: Announced::default(),
            told_too_many: false,
        }
    }

    pub(crate) fn peer_up(&mut self, now_ms: u64, peer: NodeId) {
        self.hearing.up(now_ms, peer);
        self.telling.begin(peer);
    }

    pub(crate) fn peer_hung_up(&mut self, now_ms: u64, peer: NodeId) {
        self.hearing.hung_up(now_ms, peer);
    }

    pub(crate) fn peer_down(&mut self, now_ms: u64, peer: NodeId) {
        self.hearing.down(now_ms, peer);
        self.telling.end_stream(peer);
    }

    pub(crate) fn heard(&mut self, now_ms: u64, peer: NodeId) {
        self.hearing.heard(now_ms, peer);
    }

    /// Tells the others of a subscription that is to come. Returns which of its names that are, each once, and how far
    /// they must have heard before it may begin.
    pub(crate) fn announce(
        &mut self,
        now_ms: u64,
        bus: &Bus,
        client: ClientId,
        kind: SubscriptionKind,
        names: &[Bytes],
    ) -> (Vec<Bytes>, Until) {
        let new: BTreeSet<&Bytes> = if self.telling.has_peers() {
            let is_new = |name: &&Bytes| !bus.is_subscribed(client, kind, name);
            names.iter().filter(is_new).collect()
        } else {
            // Nobody is there to wait for.
            BTreeSet::new()
        };
        for name in &new {
            self.announced.add(kind, (*name).clone());
            self.telling.changed(kind, (*name).clone());
        }
        let until = Until {
            end: self.telling.end(),
            at_ms: now_ms + LATE_MS,
        };
        (new.into_iter().cloned().collect(), until)
    }

    /// A subscription that was announced will not be.
    pub(crate) fn retract(&mut self, read: &Read) {
        for name in &read.announced {
            self.announced.remove(read.kind, name.clone());
            self.telling.changed(read.kind, name.clone());
        }
    }

    /// What was announced begins: the bus counts it from now on, unless it counts it already.
    fn begins(&mut self, read: &Read, bus: &Bus) {
        for name in &read.announced {
            self.announced.remove(read.kind, name.clone());
            if bus.is_subscribed(read.client, read.kind, name) {
                self.telling.changed(read.kind, name.clone());
            }
        }
    }

    /// Tells the others of a subscription that has begun without being announced.
    pub(crate) fn changed(&mut self, kind: SubscriptionKind, name: &Bytes) {
        self.telling.changed(kind, name.clone());
    }

    /// Removes and returns the subscriptions that wait until the others know.
    pub(crate) fn give_up(&mut self) -> Vec<Read> {
        self.announced.take_subscriptions()
    }

    pub(crate) fn confirm_later(&mut self, read: Read) {
        let until = read.told;
        self.announced.wait(until, Waiting::Subscribe(read));
    }

    /// Forgets what waits for a client that is gone.
    pub(crate) fn forget(&mut self, client: ClientId) {
        for read in self.announced.forget(client) {
            self.retract(&read);
        }
    }
}

impl Shared {
    /// Confirms that subscriptions have ended, once the others know.
    pub(crate) fn confirm_unsubscribed(&mut self, now_ms: u64, client: ClientId, told: Vec<Told>) {
        self.note_changes();
        let until = Until {
            end: self.counts.telling.end(),
            at_ms: now_ms + LATE_MS,
        };
        let waiting = Waiting::Unsubscribed(client, told);
        self.counts.announced.wait(until, waiting);
    }

    /// Takes what the bus says has changed.
    fn note_changes(&mut self) {
        for (kind, name) in self.bus.take_left() {
            self.counts.telling.changed(kind, name);
        }
    }

    /// Takes what a peer says of counts.
    pub(crate) fn take_counts(
        &mut self,
        now_ms: u64,
        from: NodeId,
        (boot, stream, seq, complete): (Boot, u64, u64, bool),
        counts: Vec<NameCount>,
    ) {
        match self.counts.hearing.judge(now_ms, from, boot, stream, seq) {
            Verdict::Begins { same_process } => {
                if !same_process {
                    self.bus.forget_node(from);
                }
                self.bus.begin_node(from);
            }
            Verdict::Next => {}
            Verdict::Not => return self.say_taken(from, boot, stream),
            Verdict::Unknown => return self.out.send.push((from, PeerMessage::Recount)),
            Verdict::Old => return,
        }
        for NameCount { kind, name, count } in counts {
            if !self.bus.count_elsewhere(from, kind, &name, count)
                && !std::mem::replace(&mut self.counts.told_too_many, true)
            {
                warn!(self.log, "too many names are listened to on other nodes: PUBLISH and PUBSUB count too few";
                    "peer" => %from, "bytes_max" => self.config.limits.counts_bytes_max);
            }
        }
        if complete {
            self.bus.complete_node(from);
        }
        self.say_taken(from, boot, stream);
    }

    fn say_taken(&mut self, to: NodeId, boot: Boot, stream: u64) {
        if let Some(next) = self.counts.hearing.next(to) {
            let taken = PeerMessage::CountsTaken { boot, stream, next };
            self.out.send.push((to, taken));
        }
    }

    /// Takes a peer's word for how much it has taken.
    pub(crate) fn counts_taken(&mut self, from: NodeId, boot: Boot, stream: u64, next: u64) {
        self.counts.telling.taken(from, boot, stream, next);
    }

    /// A peer knows nothing of what it was told.
    pub(crate) fn recount(&mut self, from: NodeId) {
        self.counts.telling.begin_again(from);
    }

    /// Tells what has changed, confirms what the others know, and drops the counts of nodes that are gone.
    pub(crate) fn work_on_counts(&mut self, now_ms: u64) {
        for node in self.counts.hearing.gone(now_ms) {
            debug!(self.log, "a node is gone, and with it its subscribers"; "peer" => %node);
            self.bus.forget_node(node);
        }
        self.bus.sweep(SWEEP_SLOTS);
        for node in self.counts.hearing.untold(now_ms) {
            self.tell_peers(Some(node), &PeerMessage::Recount);
        }
        self.note_changes();
        let own = Own {
            bus: &self.bus,
            announced: &self.counts.announced,
        };
        self.counts.telling.tell(now_ms, &own, &mut self.out.send);
        loop {
            let telling = &self.counts.telling;
            let is_ready =
                |until: Until| now_ms >= until.at_ms || telling.is_taken(now_ms, until.end);
            let Some(waiting) = self.counts.announced.take_ready(is_ready) else {
                break;
            };
            match waiting {
                Waiting::Subscribe(read) => {
                    self.counts.begins(&read, &self.bus);
                    self.subscribe(read);
                }
                Waiting::Unsubscribed(client, told) => {
                    for told in told {
                        self.clients.tell(client, told);
                    }
                }
            }
        }
    }
}
