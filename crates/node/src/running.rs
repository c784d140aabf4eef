//! A node's part in its cluster: it drives Raft, applies what is committed, and gets its clients' batches to the
//! leader. It is long because every part of a node meets Raft here, in the order in which one step follows another.

use crate::agreement::{Agreement, Verdict as Compared};
use crate::birth::{self, NextStep};
use crate::config::{InitialMember, NodeStart};
use crate::info::NodeFacts;
use crate::leadership::Leadership;
use crate::leading::{BirthStep, Leading, Verdict};
use crate::members::Orders;
use crate::node::NodeStartError;
use crate::origin::{Outgoing, Session};
use crate::outputs::DiskJob;
use crate::peer::PeerMessage;
use crate::shared::Shared;
use bytes::Bytes;
use corgi_base::op::decode_ops;
use corgi_base::{
    BatchHead, BatchNumber, Boot, Effects, EntryHead, Formation, InstanceId, LogIndex, NodeId,
    Nonce, Now, Term,
};
use corgi_consensus::storage::LogReader;
use corgi_consensus::{
    Committed, Envelope, Group, GroupConfig, GroupStart, Payload, PersistToken, Role,
};
use corgi_state::{ApplyError, State};
use slog::{debug, error, info, warn};

/// A request to open a session may get lost; ask again after this time.
const SESSION_RETRY_MS: u64 = 200;

/// A node with a cluster.
#[derive(Debug)]
pub(crate) struct Running<R: LogReader> {
    pub(crate) formation: Formation,
    pub(crate) group: Group<R>,
    pub(crate) state: State,
    agreement: Agreement,
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
            applied: state.applied(),
            voters: state.voters().to_vec(),
            learners: state.learners().to_vec(),
        };
        let group = Group::new(&group_config(shared), start_at, start.reader, &shared.log)?;
        Ok(Self {
            formation,
            group,
            state,
            agreement,
            leading: None,
            route: None,
            resend_ms: 0,
            leadership: Leadership::default(),
            orders: Orders::default(),
            contacts: Vec::new(),
            announced: false,
            differed: None,
        })
    }

    /// Whether clients are served: all first members vote, and a leader is known.
    pub(crate) fn serves(&self) -> bool {
        self.state.formed() && self.route.is_some()
    }

    /// Whether the cluster is on this node's disk, so that others may hear of it from here. A founder that told them
    /// first, crashed, and founded another one would divide them. Its identity is written before its first entry, and
    /// that is applied only when it is synced. The others only repeat what the founder has said.
    pub(crate) fn may_announce(&self, own: NodeId) -> bool {
        self.formation.founder != own || self.state.applied() > LogIndex(0)
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

    /// Sends again what is not applied, and waits before the next time.
    pub(crate) fn resend_from_start(&mut self, shared: &mut Shared, now: Now) {
        #[cfg(feature = "seeded-bugs")]
        if shared.bug == Some(corgi_consensus::SeededBug::ForwardedTwice) {
            shared.origin.copy_oldest();
        }
        shared.origin.rewind();
        self.resend_ms = now.mono_ms + shared.config.timeouts.write_ms / 4;
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
            PeerMessage::Raft { bytes, .. } => {
                if let Err(error) = self.group.step(from, &bytes) {
                    debug!(shared.log, "did not take a Raft message";
                        "peer" => %from, "error" => %error);
                }
            }
            PeerMessage::Forward {
                boot,
                number,
                ops,
                data,
            } => {
                self.forwarded(shared, now, from, boot, Outgoing { number, ops, data });
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
            PeerMessage::Change { number, change } => {
                self.take_order(shared, now, from, number, change);
            }
            PeerMessage::Changed { number, result } => {
                shared.admin.answered(&mut shared.clients, number, result);
            }
            PeerMessage::StateHash { index, hash } => self.agreement.heard(from, index, hash),
            // Taken before there is a cluster.
            PeerMessage::Vitals(_) => {}
            PeerMessage::Formed(formation) => {
                if formation != self.formation {
                    warn!(shared.log, "a peer says that this node belongs to another cluster";
                        "peer" => %from, "cluster" => %formation.cluster);
                }
            }
        }
    }

    /// Takes a batch of another node's clients, if this node leads. If not, or if there is no room, the batch is
    /// dropped: its origin sends it again.
    fn forwarded(
        &mut self,
        shared: &mut Shared,
        now: Now,
        from: NodeId,
        boot: Boot,
        batch: Outgoing,
    ) {
        if decode_ops(batch.ops, batch.data.clone()).is_err() {
            // Appended, it would stop every node.
            warn!(shared.log, "dropped a malformed batch"; "peer" => %from);
            return;
        }
        if let Appended::Expects(number) = self.append_batch(shared, now, from, boot, batch) {
            shared
                .out
                .send
                .push((from, PeerMessage::Expect { boot, number }));
        }
    }

    fn append_batch(
        &mut self,
        shared: &Shared,
        now: Now,
        origin: NodeId,
        boot: Boot,
        batch: Outgoing,
    ) -> Appended {
        let median_ms = shared
            .vitals
            .median_clock(now, shared.config.id, self.state.voters());
        let Some(leading) = &mut self.leading else {
            return Appended::No;
        };
        let Outgoing { number, ops, data } = batch;
        match leading.judge(origin, boot, number) {
            Verdict::Next => {
                let head = BatchHead {
                    origin,
                    boot,
                    number,
                    ops,
                    stamp: leading.stamp(now, median_ms),
                };
                match self.group.propose(EntryHead::Batch(head).encode(), data) {
                    Ok(_) => {
                        leading.appended_batch(&head);
                        Appended::Yes
                    }
                    Err(_) => Appended::No,
                }
            }
            Verdict::Appended => Appended::Yes,
            Verdict::Expect(next) => Appended::Expects(next),
            Verdict::NoSession => Appended::No,
        }
    }

    fn append_session(&mut self, node: NodeId, instance: InstanceId, boot: Boot, nonce: Nonce) {
        let Some(leading) = &mut self.leading else {
            return;
        };
        if !leading.may_open(&self.state, node, instance, boot) {
            return;
        }
        let head = EntryHead::OpenSession {
            node,
            instance,
            boot,
            nonce,
        };
        if self.group.propose(head.encode(), Bytes::new()).is_ok() {
            leading.appended_session(&self.state, node, instance, boot);
        }
    }

    /// Does all that has become possible.
    pub(crate) fn pump(&mut self, shared: &mut Shared, now: Now) {
        while shared.out.fatal.is_none() {
            self.drain(shared, now);
            self.follow_leader(shared, now);
            self.give_birth(shared);
            self.promote(shared, now);
            self.retire(shared, now);
            self.send_requests(shared, now);
            self.work_on_order(shared, now);
            self.open_session(shared, now);
            self.raise_level(shared);
            if self.state.formed() {
                self.send_batches(shared, now);
                self.ask_read(shared, now);
            }
            self.hand_over(shared, now);
            if !self.group.has_work() {
                break;
            }
        }
        shared.starved = self.starved(shared);
        self.compare_states(shared, now);
        for read in shared.reads.take_ready(self.state.applied()) {
            shared.subscribe(read);
        }
        shared.feed();
        if let Some(write) = self.state.take_write() {
            shared.out.disk.push(DiskJob::State(write));
        }
    }

    /// Takes Raft's work.
    fn drain(&mut self, shared: &mut Shared, now: Now) {
        while let Some(work) = self.group.work() {
            send_raft(shared, work.send);
            if let Some(persist) = work.persist {
                self.leadership.disk.handed_out(now.mono_ms);
                shared.out.disk.push(DiskJob::Log(persist));
            }
            for grant in work.reads {
                shared.reads.grant(grant);
            }
            if work.committed.is_empty() {
                continue;
            }
            let oldest = shared.origin.oldest();
            for committed in work.committed {
                if let Err(error) = self.apply(shared, committed) {
                    shared.fail(error.to_string());
                }
                if shared.out.fatal.is_some() {
                    // What follows may be another process' that has this node's name.
                    return;
                }
            }
            self.group.applied(self.state.applied());
            if shared.origin.oldest() != oldest {
                // Only progress of this node's own batches shows that they arrive.
                self.resend_ms = now.mono_ms + shared.config.timeouts.write_ms / 4;
            }
        }
    }

    fn apply(&mut self, shared: &mut Shared, committed: Committed) -> Result<(), ApplyError> {
        let Committed {
            index,
            term,
            payload,
        } = committed;
        let mut delivered = None;
        match payload {
            Payload::Empty => self.state.apply_empty(index, term),
            Payload::Members {
                voters,
                learners,
                context,
            } => {
                info!(shared.log, "members changed";
                    "index" => index.0, "voters" => ?voters, "learners" => ?learners);
                self.state
                    .apply_members(index, term, voters, learners, context)?;
                self.members_changed(shared);
            }
            Payload::Proposal { context, data } => {
                match self.state.apply(index, term, context, data)? {
                    Effects::None => {}
                    Effects::Batch(batch) => {
                        shared.deliver(&batch);
                        delivered = Some(batch);
                    }
                    Effects::Session {
                        node,
                        boot,
                        nonce,
                        accepted,
                    } => {
                        if node == shared.config.id {
                            own_session(shared, boot, nonce, accepted);
                        }
                    }
                    Effects::Feature(level) => {
                        let known = shared.config.feature_level;
                        if level > known {
                            shared.fail(format!(
                                "the cluster has taken on feature level {level}, this build knows {known}: start a later \
                                 release here."
                            ));
                        }
                        info!(shared.log, "feature level"; "level" => level);
                    }
                    Effects::Membership => {
                        self.tell_peers(shared);
                        info!(shared.log, "cluster"; "formed" => self.state.formed(),
                            "members" => self.state.members().count());
                    }
                }
            }
        }
        self.agreement.applied(index, self.state.hash());
        shared.cursors.applied(index, delivered);
        Ok(())
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

    /// Compares this node's state with the others', and says what its own was where it is asked.
    fn compare_states(&mut self, shared: &mut Shared, now: Now) {
        let mut tell = self.agreement.answers(now.mono_ms);
        if self.leading.is_some() {
            tell.extend(self.agreement.due(now.mono_ms));
        }
        for (index, hash) in tell {
            shared.tell_peers(None, &PeerMessage::StateHash { index, hash });
        }
        match self.agreement.verdict(self.state.voters()) {
            None => {}
            Some(Compared::Differs { index, .. }) if self.differed == Some(index) => {}
            Some(Compared::Differs { index, node }) => {
                self.differed = Some(index);
                    error!(shared.log, "the applied state differs from another node's";
                        "index" => index.0, "peer" => %node);
            }
            Some(Compared::Deviates {
                index,
                own,
                majority,
            }) => shared.fail(format!(
                "the applied state of this node at entry {index} has the hash {own:016x}, a majority has {majority:016x}: its \
                 disk or memory is damaged, and what it serves cannot be trusted. Check the machine; then replace this node \
                 by one with an empty folder and a new node-id."
            )),
        }
    }

    /// Tells a peer that has just come what the state is here, so that damage shows before it serves for long.
    pub(crate) fn greet(&self, shared: &mut Shared, peer: NodeId) {
        if self.leading.is_some()
            && let Some((index, hash)) = self.agreement.greet()
        {
            shared.tell_peers(Some(peer), &PeerMessage::StateHash { index, hash });
        }
    }

    /// Takes the cluster to the feature level that all its members can apply, if this node leads.
    fn raise_level(&mut self, shared: &Shared) {
        let Some(leading) = &mut self.leading else {
            return;
        };
        let voters = self.state.voters().iter();
        let members = voters.chain(self.state.learners()).copied();
        let (own, known) = (shared.config.id, shared.config.feature_level);
        if known <= leading.proposed_level || !self.state.formed() {
            return;
        }
        let common = shared.vitals.common_level(own, known, members);
        if let Some(level) = common.filter(|level| *level > leading.proposed_level) {
            let head = EntryHead::Feature { level };
            if self.group.propose(head.encode(), Bytes::new()).is_ok() {
                leading.proposed_level = level;
            }
        }
    }

    /// Notes who leads now.
    fn follow_leader(&mut self, shared: &mut Shared, now: Now) {
        let status = self.group.status();
        if status.role != Role::Leader {
            self.leading = None;
            self.leadership.lost();
            self.orders.lost();
        } else if self
            .leading
            .as_ref()
            .is_none_or(|leading| leading.term != status.term)
        {
            let unapplied = self.group.entries_after(self.state.applied());
            let heads = unapplied.into_iter().map(|(_, context)| context);
            self.leading = Some(Leading::new(status.term, &self.state, heads));
        }
        let route = status.leader.map(|leader| (leader, status.term));
        if route == self.route {
            return;
        }
        self.route = route;
        match route {
            Some((leader, term)) => {
                info!(shared.log, "leader"; "leader" => leader.get(), "term" => term.0);
                self.resend_from_start(shared, now);
                if let Session::Closed { asked_ms } = &mut shared.origin.session {
                    *asked_ms = None;
                }
            }
            None => info!(shared.log, "no leader"; "term" => status.term.0),
        }
    }

    /// Brings a cluster that is not complete one step further, if this node leads.
    fn give_birth(&mut self, shared: &mut Shared) {
        let Some(leading) = &mut self.leading else {
            return;
        };
        if self.state.formed() {
            return;
        }
        if !self.announced && self.formation.founder == shared.config.id {
            if self.state.applied() == LogIndex(0) {
                return;
            }
            self.announced = true;
            let tell = |peer: &NodeId| (*peer, PeerMessage::Formed(self.formation));
            shared.out.send.extend(shared.peers_up.iter().map(tell));
        }
        let members = shared.heard.founding_members(&shared.config);
        let last = self.group.status().last_index;
        let matched = self.group.matched();
        match birth::next_step(
            &self.state,
            self.formation,
            members.as_deref(),
            &matched,
            last,
        ) {
            NextStep::Append(head) => {
                let step = match head {
                    EntryHead::Formed => BirthStep::Formed,
                    EntryHead::Bootstrap { .. }
                    | EntryHead::Feature { .. }
                    | EntryHead::Batch(_)
                    | EntryHead::OpenSession { .. }
                    | EntryHead::Join { .. }
                    | EntryHead::Leave { .. } => BirthStep::Bootstrap,
                };
                if leading.birth_step != Some(step)
                    && self.group.propose(head.encode(), Bytes::new()).is_ok()
                {
                    leading.birth_step = Some(step);
                }
            }
            NextStep::Change(change) => {
                if let Err(error) = self.group.propose_change(change, Bytes::new()) {
                    // An earlier change is not applied yet; the next pump tries again.
                    debug!(shared.log, "change waits"; "change" => ?change, "error" => %error);
                }
            }
            NextStep::Wait => {}
        }
    }

    fn open_session(&mut self, shared: &mut Shared, now: Now) {
        let Session::Closed { asked_ms } = shared.origin.session else {
            return;
        };
        let Some((leader, _)) = self.route else {
            return;
        };
        if asked_ms.is_some_and(|asked| now.mono_ms < asked + SESSION_RETRY_MS) {
            return;
        }
        let (id, instance) = (shared.config.id, shared.config.instance);
        let (boot, nonce) = (shared.config.boot, shared.config.nonce);
        if leader == id {
            if self.state.member(id).is_none() {
                return;
            }
            self.append_session(id, instance, boot, nonce);
        } else {
            shared.out.send.push((
                leader,
                PeerMessage::OpenSession {
                    instance,
                    boot,
                    nonce,
                },
            ));
        }
        shared.origin.session = Session::Closed {
            asked_ms: Some(now.mono_ms),
        };
    }

    fn send_batches(&mut self, shared: &mut Shared, now: Now) {
        let Some((leader, _)) = self.route else {
            return;
        };
        shared.origin.cut();
        let (id, boot) = (shared.config.id, shared.origin.boot());
        while let Some(batch) = shared.origin.to_send() {
            if leader == id {
                match self.append_batch(shared, now, id, boot, batch) {
                    Appended::Yes => {}
                    // No room, or leadership is on its way elsewhere: the next tick or the next leader.
                    Appended::No | Appended::Expects(_) => return,
                }
            } else {
                let Outgoing { number, ops, data } = batch;
                let message = PeerMessage::Forward {
                    boot,
                    number,
                    ops,
                    data,
                };
                shared.out.send.push((leader, message));
            }
            shared.origin.sent();
        }
    }

    fn ask_read(&mut self, shared: &mut Shared, now: Now) {
        #[cfg(feature = "seeded-bugs")]
        if shared.bug == Some(corgi_consensus::SeededBug::SubscribeWithoutReadIndex)
            && let Some(id) = shared.reads.wants_question(now.mono_ms)
        {
            shared.reads.asked(now.mono_ms, id);
            let granted = corgi_consensus::ReadGrant {
                id,
                index: Default::default(),
            };
            shared.reads.grant(granted);
        }
        if let Some(id) = shared.reads.wants_question(now.mono_ms)
            && self.group.read_index(id).is_ok()
        {
            shared.reads.asked(now.mono_ms, id);
        }
    }

    /// Says which connections to keep.
    pub(crate) fn tell_peers(&mut self, shared: &mut Shared) {
        let known = |contact: &InitialMember| self.state.member(contact.id).is_some();
        self.contacts.retain(|contact| !known(contact));
        let peers = birth::others(&shared.config, Some(&self.state), &self.contacts);
        shared.out.peers = Some(peers);
    }

    /// Tells a peer where the members are.
    pub(crate) fn introduce(&self, shared: &mut Shared, peer: NodeId) {
        let members = self.state.members().map(|member| InitialMember {
            id: member.id,
            addr: member.addr.clone(),
        });
        let members: Vec<InitialMember> = members.collect();
        if !members.is_empty() {
            shared.out.send.push((peer, PeerMessage::Contacts(members)));
        }
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
            last: status.last_index,
            feature_level: self.state.feature_level(),
            state_hash: self.state.hash(),
            voters: self.state.voters().to_vec(),
            learners: self.state.learners().to_vec(),
            ..NodeFacts::of(shared)
        }
    }
}

/// What became of a batch that was to be appended.
enum Appended {
    /// It is in the log.
    Yes,
    /// Not now.
    No,
    /// Another one must come first.
    Expects(BatchNumber),
}

/// Whether this process is, or has just ceased to be, its node's origin.
fn own_session(shared: &mut Shared, boot: Boot, nonce: Nonce, accepted: bool) {
    let own = boot == shared.config.boot && nonce == shared.config.nonce;
    if own && accepted {
        info!(shared.log, "session opened"; "boot" => boot.0);
        shared.origin.session = Session::Open;
    } else if own && shared.origin.session != Session::Open {
        shared.fail(format!(
            "the cluster does not let boot {boot} of node {} publish: its id is bound to another data folder, or a later \
             boot has been seen. The folder is an old copy; replace this node by one with a new node-id.",
            shared.config.id
        ));
    } else if accepted && boot >= shared.config.boot {
        shared.fail(format!(
            "another process has started as node {} with boot {boot}, this one has boot {}: stop one of them, and never run \
             two on copies of one data folder.",
            shared.config.id, shared.config.boot
        ));
    }
}

fn send_raft(shared: &mut Shared, envelopes: Vec<Envelope>) {
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
