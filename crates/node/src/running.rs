//! A node's part in its cluster: every input and every pump meets Raft here, in the order in which one step follows
//! another.
//!
//! `route` gets batches to the leader and into its log, `apply` does what committed entries say, `wake` gives it to
//! those who wait for it, `cluster` has the
//! birth of a cluster and what its nodes tell each other of it.

mod apply;
mod cluster;
mod route;
mod wake;

pub(crate) use apply::own_session;

use crate::agreement::Agreement;
use crate::alone::Inquiry;
use crate::config::{InitialMember, NodeStart};
use crate::info::NodeFacts;
use crate::leadership::Leadership;
use crate::leading::Leading;
use crate::members::Orders;
use crate::node::NodeStartError;
use crate::origin::Outgoing;
use crate::outputs::DiskJob;
use crate::peer::PeerMessage;
use crate::reads::Waiting;
use crate::shared::Shared;
use crate::snapshots::Snapshots;
use corgi_base::{Formation, LogIndex, NodeId, Now, Term};
use corgi_consensus::storage::LogReader;
use corgi_consensus::{Envelope, Group, GroupConfig, GroupStart, PersistToken, StepError, Stepped};
use corgi_state::State;
use slog::{debug, warn};

/// A node with a cluster.
#[derive(Debug)]
pub(crate) struct Running<R: LogReader> {
    pub(crate) formation: Formation,
    pub(crate) group: Group<R>,
    pub(crate) state: State,
    pub(crate) agreement: Agreement,
    pub(crate) snapshots: Snapshots,
    pub(crate) leading: Option<Leading>,
    /// Who leads, and in which term: where batches go.
    pub(crate) route: Option<(NodeId, Term)>,
    /// When batches are sent again, of which none has been applied for a while.
    resend_ms: u64,
    /// When leadership comes, goes, and is given away.
    pub(crate) leadership: Leadership,
    /// Changes that clients have asked this leader for.
    pub(crate) orders: Orders,
    /// Where members are that the log does not know yet.
    contacts: Vec<InitialMember>,
    /// Whether this founder has told the others of the cluster.
    announced: bool,
    /// Whom it has asked before it leads alone.
    pub(crate) inquiry: Inquiry,
    /// The last entry after which another node's state was found to differ, so that it is said once.
    differed: Option<LogIndex>,
}

impl<R: LogReader> Running<R> {
    pub(crate) fn new(
        shared: &Shared,
        formation: Formation,
        start: NodeStart<R>,
    ) -> Result<Self, NodeStartError> {
        let state = State::restore(formation.founder, &start.state_rows)?;
        let (id, boot) = (shared.config.id, shared.config.boot);
        let recorded = state.sessions().find(|(node, ..)| *node == id);
        if let Some((_, recorded, _)) = recorded.filter(|(_, recorded, _)| *recorded >= boot) {
            return Err(NodeStartError::BootBehind { boot, recorded });
        }
        let (level, known) = (state.feature_level(), shared.config.feature_level);
        if level > known {
            return Err(NodeStartError::FeatureLevel { level, known });
        }
        let agreement = Agreement::new(state.applied(), state.hash());
        let start_at = GroupStart {
            bounds: start.bounds,
            // No row at all is a state before the first entry, which the log does not begin with any more.
            state_lost: start.state_rows.is_empty() && start.bounds.truncated_index > LogIndex(0),
            applied: state.applied(),
            voters: state.voters().to_vec(),
            learners: state.learners().to_vec(),
        };
        if start_at.state_lost {
            warn!(shared.log, "the applied state is lost, and the log does not reach back to rebuild it: waits for a \
                snapshot from the leader"; "truncated" => start_at.bounds.truncated_index.0);
        }
        let group = Group::new(&group_config(shared), start_at, start.reader, &shared.log)?;
        Ok(Self {
            formation,
            group,
            state,
            agreement,
            snapshots: Snapshots::default(),
            leading: None,
            route: None,
            resend_ms: 0,
            leadership: Leadership::default(),
            orders: Orders::default(),
            contacts: Vec::new(),
            announced: false,
            inquiry: Inquiry::new(shared.peers_up.iter().copied()),
            differed: None,
        })
    }

    /// Whether clients are served: all first members vote, and a leader is known.
    pub(crate) fn serves(&self) -> bool {
        self.state.formed() && self.route.is_some()
    }

    pub(crate) fn leads(&self) -> bool {
        self.leading.is_some()
    }

    pub(crate) fn tick(&mut self, shared: &mut Shared, now: Now) {
        self.group.tick();
        self.succeed(now);
        if self.state.formed() {
            shared.watch_quorum(now);
        }
        if shared.origin.in_flight() == 0 {
            self.resend_ms = now.mono_ms + shared.config.timeouts.write_ms / 4;
        } else if now.mono_ms >= self.resend_ms {
            self.resend_from_start(shared, now);
        }
    }

    pub(crate) fn persisted(&mut self, shared: &mut Shared, now: Now, token: PersistToken) {
        self.leadership.disk.synced(now.mono_ms);
        let messages = self.group.persisted(token);
        send_raft(shared, messages);
    }

    pub(crate) fn peer_message(
        &mut self,
        shared: &mut Shared,
        now: Now,
        from: NodeId,
        message: PeerMessage,
    ) {
        match message {
            PeerMessage::Raft { bytes, .. } => match self.group.step(from, &bytes) {
                Ok(Stepped::Taken) => {}
                Ok(Stepped::Offer(offer)) => self.offered(shared, now, offer),
                Err(error @ StepError::EndLost { .. }) => shared.fail(error.to_string()),
                Err(error) => debug!(shared.log, "did not take a Raft message";
                    "peer" => %from, "error" => %error),
            },
            PeerMessage::SnapshotFetch { file, offset, len } => {
                self.snapshot_fetched(shared, now, from, (file, offset, len));
            }
            PeerMessage::SnapshotChunk {
                file,
                offset,
                bytes,
            } => self.snapshot_chunk(shared, file, offset, bytes),
            PeerMessage::SnapshotGone(file) => self.snapshot_gone(shared, from, file),
            PeerMessage::Forward {
                boot,
                number,
                ops,
                data,
                acl,
            } => {
                let batch = Outgoing {
                    number,
                    ops,
                    data,
                    acl,
                };
                self.forwarded(shared, now, from, boot, batch);
            }
            PeerMessage::Expect { boot, number } => {
                if boot == shared.origin.boot() {
                    shared.origin.rewind_to(number, now.mono_ms);
                }
            }
            PeerMessage::OpenSession {
                instance,
                boot,
                nonce,
            } => {
                self.append_session(from, instance, boot, nonce);
            }
            PeerMessage::Contacts(contacts) => {
                if self.contacts != contacts {
                    self.contacts = contacts;
                    self.tell_peers(shared);
                }
            }
            PeerMessage::Change {
                term,
                number,
                change,
            } => {
                let asked = |leading: &Leading| leading.term == term;
                if self.leading.as_ref().is_some_and(asked) {
                    self.take_order(shared, now, from, number, change);
                }
            }
            PeerMessage::Changed { number, result } => {
                shared.admin.answered(&mut shared.clients, number, result);
            }
            PeerMessage::StateHash { index, hash } => self.agreement.heard(from, index, hash),
            // Taken before there is a cluster.
            PeerMessage::Vitals(_)
            | PeerMessage::Counts { .. }
            | PeerMessage::CountsTaken { .. }
            | PeerMessage::Recount => {}
            PeerMessage::Formed(formation) => {
                if formation != self.formation {
                    warn!(shared.log, "a peer says that this node belongs to another cluster";
                        "peer" => %from, "cluster" => %formation.cluster);
                }
            }
        }
    }

    /// Does all that has become possible.
    pub(crate) fn pump(&mut self, shared: &mut Shared, now: Now) {
        while shared.out.fatal.is_none() {
            self.drain(shared, now);
            self.ask_first(shared, now);
            self.follow_leader(shared, now);
            self.give_birth(shared);
            self.promote(shared);
            self.retire(shared, now);
            self.send_requests(shared, now);
            self.work_on_order(shared, now);
            self.open_session(shared, now);
            self.raise_level(shared);
            self.pass_time(shared, now);
            if self.state.formed() {
                self.seed_users(shared);
                self.seed_rules(shared);
                self.send_batches(shared, now);
                self.ask_read(shared, now);
            }
            self.hand_over(shared, now);
            self.tend_snapshots(shared, now);
            if !self.group.has_work() {
                break;
            }
        }
        shared.starved = self.starved(shared);
        self.compare_states(shared, now);
        for read in shared.reads.take_ready(self.state.applied()) {
            match read {
                Waiting::Subscription(read) => shared.counts.confirm_later(read),
                Waiting::Keys(read) => self.answer_keys(shared, now, read),
            }
        }
        shared.feed();
        if let Some(write) = self.state.take_write() {
            shared.out.disk.push(DiskJob::State(write));
        }
    }

    /// Returns the node whose disk keeps new writes from being safe: this one's, the leader's, or one of so many that
    /// those with room are no majority.
    fn starved(&self, shared: &Shared) -> Option<NodeId> {
        let own = shared.config.id;
        if shared.room.is_low() {
            return Some(own);
        }
        let low = |node: &NodeId| *node != own && shared.vitals.disk_low(*node);
        let leader = self.route.map(|(leader, _)| leader);
        if let Some(leader) = leader.filter(low) {
            return Some(leader);
        }
        let voters = self.state.voters();
        let mut short = voters.iter().copied().filter(low);
        let first = short.next()?;
        let room = voters.len() - 1 - short.count();
        (room * 2 <= voters.len()).then_some(first)
    }

    pub(crate) fn facts(&self, shared: &Shared) -> NodeFacts {
        let status = self.group.status();
        NodeFacts {
            cluster: Some(self.formation.cluster),
            formed: self.state.formed(),
            role: status.role,
            term: status.term,
            leader: status.leader,
            commit: status.commit_index,
            applied: self.state.applied(),
            first: status.first_index,
            last: status.last_index,
            state_lost: self.group.state_lost(),
            snapshots: self.snapshots.counters,
            feature_level: self.state.feature_level(),
            state_hash: self.state.hash(),
            voters: self.state.voters().to_vec(),
            learners: self.state.learners().to_vec(),
            keyspace: self.state.keys().counts(),
            history: self.state.history().totals(),
            ..NodeFacts::of(shared)
        }
    }
}

pub(crate) fn send_raft(shared: &mut Shared, envelopes: Vec<Envelope>) {
    shared
        .out
        .send
        .extend(envelopes.into_iter().map(|envelope| {
            (
                envelope.to,
                PeerMessage::Raft {
                    bulk: envelope.bulk,
                    bytes: envelope.bytes,
                },
            )
        }));
}

fn group_config(shared: &Shared) -> GroupConfig {
    let (timeouts, limits) = (&shared.config.timeouts, &shared.config.limits);
    let ticks = |ms: u64| usize::try_from((ms / timeouts.tick_ms).max(1)).unwrap_or(usize::MAX);
    let heartbeat_ticks = ticks(timeouts.heartbeat_ms);
    let election_ticks = ticks(timeouts.election_ms).max(heartbeat_ticks + 1);
    GroupConfig {
        id: shared.config.id,
        election_ticks,
        election_ticks_max: election_ticks * 2,
        heartbeat_ticks,
        seed: shared.config.seed,
        append_bytes_max: limits.append_bytes_max,
        inflight_appends_max: limits.inflight_appends_max,
        uncommitted_bytes_max: limits.uncommitted_bytes_max,
        committed_bytes_max: limits.committed_bytes_max,
        tail_bytes_max: limits.tail_bytes_max,
    }
}
