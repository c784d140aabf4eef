//! The node: every input and what it leads to.

use crate::birth::{self, check_peer};
use crate::config::{NodeConfig, NodeStart};
use crate::cursors::LogBlock;
use crate::errors;
use crate::history::HistoryFound;
use crate::info::{Facts, NodeFacts, render};
use crate::outputs::{DiskJob, Outputs, SnapshotDone};
use crate::peer::{PeerHello, PeerMessage, Refusal, RefusalKind};
use crate::queued::QueuedBytes;
use crate::room::DiskSpace;
use crate::running::Running;
use crate::shared::{AboutCluster, Shared};
use bytes::Bytes;
use corgi_base::codec::DecodeError;
use corgi_base::{
    Boot, ClientId, Formation, LogIndex, NodeId, Now, Protocol, SubscriptionKind, Term,
};
use corgi_consensus::storage::{LogReader, Truncated};
use corgi_consensus::{PersistToken, Role, StartError};
use corgi_session::{Ask, Reply};
use corgi_state::State;
use slog::{Logger, debug, info, o, warn};

/// Why a node cannot start from what is on its disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeStartError {
    /// Log and applied state do not fit together.
    #[error(transparent)]
    Group(#[from] StartError),
    /// The applied state cannot be read.
    #[error(
        "the applied state holds a row that cannot be read: {0}. Replace this node by one with a new node-id."
    )]
    State(#[from] DecodeError),
    /// There is a log, but the folder's identity names no cluster.
    #[error(
        "the log ends with entry {last}, but the folder's identity names no cluster: the identity file is not this log's. \
         Restore it, or replace this node by one with a new node-id."
    )]
    LogWithoutCluster {
        /// Where the log ends.
        last: LogIndex,
    },
    /// The cluster goes by a feature level that this build does not know.
    #[error(
        "the cluster has feature level {level}, this build knows {known}: start the release that wrote the folder, or a later \
         one."
    )]
    FeatureLevel {
        /// The cluster's.
        level: u32,
        /// This build's.
        known: u32,
    },
    /// The applied state has seen this boot, or a later one.
    #[error(
        "this is boot {boot} of the data folder, but boot {recorded} has already been recorded: the folder, or its \
         identity file, is an old copy. Restore it, or replace this node by one with a new node-id."
    )]
    BootBehind {
        /// The boot of this start.
        boot: Boot,
        /// The boot in the applied state.
        recorded: Boot,
    },
}

/// How much waits on a node to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Bytes of operations that are in no batch yet.
    pub pending_bytes: usize,
    /// Batches that are sent and not applied.
    pub batches_in_flight: usize,
}

/// Whether the node has a cluster yet.
#[derive(Debug)]
enum Stage<R: LogReader> {
    /// Not yet; what it will start from.
    Unformed(Option<NodeStart<R>>),
    Running(Box<Running<R>>),
}

/// One node of a cluster: what it decides, without I/O. Not `Sync`; the server keeps it behind one lock, and whichever
/// thread has news gives it an input and takes its [`Outputs`].
#[derive(Debug)]
pub struct Node<R: LogReader> {
    shared: Shared,
    stage: Stage<R>,
}

impl<R: LogReader> Node<R> {
    /// Starts from what is on disk. A node that is its cluster's only first member founds it at once.
    ///
    /// # Errors
    /// [`NodeStartError`] if what is on disk does not fit together.
    pub fn new(
        config: NodeConfig,
        start: NodeStart<R>,
        now: Now,
        log: &Logger,
    ) -> Result<Self, NodeStartError> {
        let formation = config.formation;
        let alone = config
            .initial_members
            .iter()
            .all(|member| member.id == config.id);
        let shared = Shared::new(config, log.new(o!("mod" => "node")));
        if formation.is_none() && start.bounds.last_index > LogIndex(0) {
            return Err(NodeStartError::LogWithoutCluster {
                last: start.bounds.last_index,
            });
        }
        let mut node = Self {
            shared,
            stage: Stage::Unformed(Some(start)),
        };
        match formation {
            Some(formation) => {
                info!(node.shared.log, "the folder belongs to a cluster; initial-cluster is ignored";
                    "cluster" => %formation.cluster);
                node.start_running(formation)?;
            }
            None if alone => node.form(node.own_formation())?,
            None => {}
        }
        let peers = birth::others(&node.shared.config, node.state(), &[]);
        node.shared.out.peers = Some(peers);
        node.pump(now);
        Ok(node)
    }

    fn own_formation(&self) -> Formation {
        Formation {
            cluster: self.shared.config.new_cluster,
            founder: self.shared.config.id,
        }
    }

    fn start_running(&mut self, formation: Formation) -> Result<(), NodeStartError> {
        if let Stage::Unformed(start) = &mut self.stage
            && let Some(start) = start.take()
        {
            #[cfg_attr(
                not(feature = "seeded-bugs"),
                expect(unused_mut, reason = "only a seeded bug changes it")
            )]
            let mut running = Running::new(&self.shared, formation, start)?;
            #[cfg(feature = "seeded-bugs")]
            if let Some(bug) = self.shared.bug {
                running.group.seed_bug(bug);
            }
            self.shared.users_restored(&running.state);
            running.show_rules(&self.shared);
            self.stage = Stage::Running(Box::new(running));
        }
        Ok(())
    }

    /// Takes on a cluster: first on disk, then by taking part.
    fn form(&mut self, formation: Formation) -> Result<(), NodeStartError> {
        info!(self.shared.log, "takes on a cluster";
            "cluster" => %formation.cluster, "founder" => formation.founder.get());
        self.shared.out.disk.push(DiskJob::Form(formation));
        self.start_running(formation)
    }

    fn form_or_fail(&mut self, formation: Formation) {
        if let Err(error) = self.form(formation) {
            self.shared.fail(error.to_string());
        }
    }

    fn running(&self) -> Option<&Running<R>> {
        match &self.stage {
            Stage::Running(running) => Some(running),
            Stage::Unformed(_) => None,
        }
    }

    fn state(&self) -> Option<&State> {
        self.running().map(|running| &running.state)
    }

    fn formation(&self) -> Option<Formation> {
        self.running().map(|running| running.formation)
    }

    /// Returns who this node says it is in a handshake. A founder names its cluster once that is on its disk.
    pub fn hello(&self) -> PeerHello {
        let config = &self.shared.config;
        let announced = self
            .running()
            .filter(|running| running.may_announce(config.id));
        PeerHello {
            id: config.id,
            instance: config.instance,
            boot: config.boot,
            nonce: config.nonce,
            formation: announced.map(|running| running.formation),
        }
    }

    /// Decides whether a peer may talk to this node.
    ///
    /// # Errors
    /// [`Refusal`], to be sent to the peer and logged.
    pub fn check_peer(&self, hello: &PeerHello) -> Result<(), Refusal> {
        let checked = check_peer(&self.shared.config, self.formation(), self.state(), hello);
        #[cfg(feature = "seeded-bugs")]
        if self.shared.bug == Some(corgi_consensus::SeededBug::WipedReturns)
            && checked
                .as_ref()
                .is_err_and(|refusal| refusal.kind == RefusalKind::OtherInstance)
        {
            return Ok(());
        }
        checked
    }

    /// Takes note that messages to a peer can be sent: this node has called it, and each has checked the other.
    pub fn peer_up(&mut self, now: Now, hello: PeerHello) {
        self.shared.peers_up.insert(hello.id);
        self.shared.heard.insert(&hello);
        self.shared.counts.peer_up(now.mono_ms, hello.id);
        self.shared.tell_vitals(now, Some(hello.id));
        match (&mut self.stage, hello.formation) {
            (Stage::Running(running), theirs) => {
                running.inquiry.let_in(hello.id);
                if theirs.is_none() && running.may_announce(self.shared.config.id) {
                    let formed = PeerMessage::Formed(running.formation);
                    self.shared.out.send.push((hello.id, formed));
                }
                if theirs.is_some() {
                    running.introduce(&mut self.shared, hello.id);
                }
                // What was sent over the link before may be lost.
                if running.route.is_some_and(|(leader, _)| leader == hello.id) {
                    running.resend_from_start(&mut self.shared, now);
                }
                running.greet(&mut self.shared, hello.id);
                running.offer_again(hello.id, now);
            }
            (Stage::Unformed(_), Some(formation)) => self.adopt(formation),
            (Stage::Unformed(_), None) => self.found_if_all_are_here(),
        }
        self.pump(now);
    }

    fn found_if_all_are_here(&mut self) {
        if self
            .shared
            .heard
            .founding_members(&self.shared.config)
            .is_none()
        {
            return;
        }
        // The others are told once it is on disk.
        self.form_or_fail(self.own_formation());
    }

    /// Takes on the cluster that a peer belongs to. Not one that this node has founded: others know of a cluster only
    /// after its founder has it on disk, so that the founder has lost its data, and with it what it has appended and
    /// voted.
    fn adopt(&mut self, formation: Formation) {
        let id = self.shared.config.id;
        if formation.founder == id {
            return self.shared.fail(format!(
                "node {id} founded cluster {}, but its data folder is empty. A node that lost its data must not return \
                 under its old id, because it may have voted: restore the folder, or, if the cluster never served anybody, \
                 empty the folders of all its nodes.",
                formation.cluster
            ));
        }
        self.form_or_fail(formation);
    }

    /// Takes note that messages to a peer cannot be sent any more.
    pub fn peer_down(&mut self, now: Now, peer: NodeId) {
        self.shared.peers_up.remove(&peer);
        self.shared.counts.peer_down(now.mono_ms, peer);
        if matches!(self.stage, Stage::Unformed(_)) {
            self.shared.heard.remove(peer);
        }
        self.send_failed(peer);
        self.pump(now);
    }

    /// Takes note that a peer has closed its connections, as the system does for a process that dies;
    /// [`Node::peer_down`] follows. A peer that falls silent, or is cut off, is not meant.
    pub fn peer_hung_up(&mut self, now: Now, peer: NodeId) {
        if let Stage::Running(running) = &mut self.stage {
            running.hung_up(&self.shared, now, peer);
        }
        self.shared.counts.peer_hung_up(now.mono_ms, peer);
        self.pump(now);
    }

    /// Takes note that a peer which this node has called does not let it in. A node that is not bound to its cluster
    /// yet cannot go on when it is refused for what it is: its folder was emptied, or its id is another's.
    pub fn peer_refused(&mut self, _now: Now, peer: NodeId, refusal: &Refusal) {
        if refusal.kind == RefusalKind::Removed {
            return self.shared.leave(format!("node {peer} says: {refusal}"));
        }
        let hopeless = match refusal.kind {
            RefusalKind::OtherInstance | RefusalKind::SameId => true,
            // A member has let this node in; whoever does not know it has lost its folder, or lags.
            RefusalKind::NotMember => self.formation().is_none(),
            RefusalKind::Secret
            | RefusalKind::Version
            | RefusalKind::OtherCluster
            | RefusalKind::WrongId
            | RefusalKind::Removed
            | RefusalKind::OldFolder => false,
        };
        let bound = self.state().is_some_and(|state| state.cluster().is_some());
        let old = refusal.kind == RefusalKind::OldFolder;
        if old || (hopeless && !bound) {
            self.shared
                .fail(format!("node {peer} refuses this node: {refusal}"));
        }
    }

    /// Takes the answer to a [`crate::Probe`]: who is there, authenticated, or why nobody is.
    pub fn probed(&mut self, now: Now, number: u64, answer: Result<PeerHello, String>) {
        if let Stage::Running(running) = &mut self.stage {
            running.probed(&mut self.shared, number, answer);
        }
        self.pump(now);
    }

    /// Takes a message from a peer that has been let in.
    pub fn peer_message(&mut self, now: Now, from: NodeId, message: PeerMessage) {
        self.shared.counts.heard(now.mono_ms, from);
        match (&mut self.stage, message) {
            (_, PeerMessage::Vitals(vitals)) => self.shared.vitals.heard(now, from, vitals),
            (
                _,
                PeerMessage::Counts {
                    boot,
                    stream,
                    seq,
                    complete,
                    counts,
                },
            ) => {
                let told = (boot, stream, seq, complete);
                self.shared.take_counts(now.mono_ms, from, told, counts);
            }
            (_, PeerMessage::CountsTaken { boot, stream, next }) => {
                self.shared.counts_taken(from, boot, stream, next);
            }
            (_, PeerMessage::Recount) => self.shared.recount(from),
            (Stage::Running(running), message) => {
                running.peer_message(&mut self.shared, now, from, message);
            }
            (Stage::Unformed(_), PeerMessage::Formed(formation)) => self.adopt(formation),
            // A leader repeats itself until this node has taken on the cluster.
            (Stage::Unformed(_), _) => {}
        }
        self.pump(now);
    }

    /// Takes note that a message to `peer` was dropped.
    pub fn send_failed(&mut self, peer: NodeId) {
        if let Stage::Running(running) = &mut self.stage {
            running.group.report_unreachable(peer);
        }
    }

    /// Takes note that `tick_ms` have passed. After a stall it is called once, not as often as was missed: time that a
    /// node did not live through must not depose leaders.
    pub fn tick(&mut self, now: Now) {
        if let Stage::Running(running) = &mut self.stage {
            running.tick(&mut self.shared, now);
        }
        if self.shared.vitals.due(now) {
            self.shared.tell_vitals(now, None);
        }
        self.shared.expire(now);
        if self.shared.stopping {
            self.shut_down(now);
        } else {
            self.pump(now);
        }
    }

    /// Takes note that a log write is synced. Tokens come back in the order in which they were handed out.
    pub fn persisted(&mut self, now: Now, token: PersistToken) {
        match &mut self.stage {
            Stage::Running(running) => running.persisted(&mut self.shared, now, token),
            Stage::Unformed(_) => {
                warn!(self.shared.log, "a write was synced before there was a log");
            }
        }
        self.pump(now);
    }

    /// Takes note that log and applied state have been replaced as a [`DiskJob::Install`] says, for good, and takes on
    /// the new state, or fails with the reason why its rows cannot be read. Reading them, and dropping what is
    /// returned, takes as long as the state is large: the caller does it where nobody waits.
    pub fn installed(
        &mut self,
        now: Now,
        token: PersistToken,
        restored: Result<State, DecodeError>,
    ) -> Option<State> {
        let replaced = match &mut self.stage {
            Stage::Running(running) => running.installed(&mut self.shared, now, token, restored),
            Stage::Unformed(_) => {
                warn!(
                    self.shared.log,
                    "a snapshot was installed before there was a log"
                );
                None
            }
        };
        self.pump(now);
        replaced
    }

    /// Takes what became of one of [`Outputs::snapshots`].
    pub fn snapshot_done(&mut self, now: Now, done: SnapshotDone) {
        if let Stage::Running(running) = &mut self.stage {
            running.snapshot_done(&mut self.shared, now, done);
        }
        self.pump(now);
    }

    /// Takes note that entries have been removed from the front of the log.
    pub fn truncated(&mut self, now: Now, truncated: Truncated) {
        if let Stage::Running(running) = &mut self.stage {
            debug!(self.shared.log, "truncated the log"; "index" => truncated.index.0);
            running.group.compact(truncated);
        }
        self.pump(now);
    }

    /// Takes a new connection, which speaks RESP2. `queued` counts the bytes of messages that wait for it.
    pub fn client_opened(&mut self, client: ClientId, queued: QueuedBytes) {
        self.shared.clients.open(client, queued);
        self.shared.bus.open(client, Protocol::Resp2);
        if self.shared.resigned {
            self.shared.send_away(client);
        }
    }

    /// Takes what a connection's session asks, in order.
    pub fn client_asks(&mut self, now: Now, client: ClientId, asks: Vec<Ask>) {
        if !self.shared.clients.contains(client) {
            return;
        }
        for ask in asks {
            match self.shared.take_ask(now, client, ask) {
                None => {}
                Some(AboutCluster::Info { seq, sections }) => {
                    let text = render(&self.shared.facts, &self.facts(), &sections);
                    let clients = &mut self.shared.clients;
                    clients.reply(client, seq, Reply::Verbatim(text));
                }
                Some(AboutCluster::Keys(read)) => {
                    if let Stage::Running(running) = &mut self.stage {
                        running.answer_keys(&mut self.shared, now, read);
                    }
                }
                Some(AboutCluster::Ask { seq, ask }) => match &mut self.stage {
                    Stage::Running(running) => {
                        running.cluster_asked(&mut self.shared, now, client, seq, &ask);
                    }
                    Stage::Unformed(_) => {
                        let error = errors::not_formed();
                        self.shared.clients.error(client, seq, error);
                    }
                },
            }
        }
        self.pump(now);
    }

    /// Takes note that [`QueuedBytes::sub`] has asked for it: a connection has room for more.
    pub fn client_drained(&mut self, now: Now, client: ClientId) {
        self.shared.client_drained(client);
        self.pump(now);
    }

    /// Takes what one of [`Outputs::reads`] gave.
    pub fn log_read(&mut self, now: Now, block: LogBlock) {
        self.shared.log_read(block);
        self.pump(now);
    }

    /// Takes what one of [`Outputs::history`] found.
    pub fn history_read(&mut self, now: Now, found: HistoryFound) {
        if let Stage::Running(running) = &self.stage {
            running.history_read(&mut self.shared, found);
        }
        self.pump(now);
    }

    /// Forgets a connection that is gone. Its writes that are under way go on.
    pub fn client_closed(&mut self, client: ClientId) {
        self.shared.close_client(client);
    }

    /// Takes new limits for the bytes of messages that wait for one connection, with what is little, and for all of
    /// them.
    pub fn set_output_limits(&mut self, one: u64, low: u64, all: u64) {
        let limits = &mut self.shared.config.limits;
        limits.client_queue_bytes_max = one;
        limits.client_queue_bytes_low = low;
        limits.clients_queue_bytes_max = all;
        self.shared
            .bus
            .set_client_batch_bytes_max(usize::try_from(one.min(all)).unwrap_or(usize::MAX));
    }

    /// Sets what `INFO` shows of the process.
    pub fn set_facts(&mut self, facts: Facts) {
        self.shared.facts = facts;
    }

    /// Takes what the file system of the data folder has: with too little room, new writes are refused (P10). Call it
    /// about once a second.
    pub fn set_disk_space(&mut self, now: Now, space: DiskSpace) {
        if self.shared.room.set(space) {
            let (free, needed) = (space.free, self.shared.room.bytes_needed());
            if self.shared.room.is_low() {
                warn!(self.shared.log, "the disk is almost full: new writes are refused";
                    "bytes" => free, "needed" => needed);
            } else {
                info!(self.shared.log, "the disk has room again: writes are taken"; "bytes" => free);
            }
            self.shared.tell_vitals(now, None);
            self.pump(now);
        }
    }

    fn facts(&self) -> NodeFacts {
        self.running().map_or_else(
            || NodeFacts::of(&self.shared),
            |running| running.facts(&self.shared),
        )
    }

    /// Begins to stop: leadership is handed over to a member that is up. Where those that are up are no majority,
    /// writes that wait get their answers at once: nothing that could still happen is worth waiting for.
    pub fn shut_down(&mut self, now: Now) {
        self.shared.stopping = true;
        self.pump(now);
        if self
            .running()
            .is_none_or(|running| !running.has_majority(&self.shared))
        {
            self.shared.give_up(now);
        }
    }

    /// Returns whether nothing holds the node any more after [`Node::shut_down`]: another node leads, or nobody is
    /// up who could take it with a majority, and no client waits for a write.
    pub fn may_stop(&self) -> bool {
        let holds = self.running().is_some_and(|running| {
            let others = running.state.voters().len() > 1;
            // Without a leader its vote may be the one that is missing.
            let needed = running.leads() || running.route.is_none();
            needed && others && running.has_majority(&self.shared)
        });
        !holds && !self.shared.origin.is_waited_for() && self.shared.clients.is_quiet()
    }

    /// Returns whether clients are served: the cluster is complete, a leader is known, and a majority answers.
    pub fn serves(&self) -> bool {
        !self.shared.quorum.is_lost() && self.running().is_some_and(Running::serves)
    }

    /// Makes a mistake from now on.
    #[cfg(feature = "seeded-bugs")]
    pub fn seed_bug(&mut self, bug: corgi_consensus::SeededBug) {
        self.shared.bug = Some(bug);
        if let Stage::Running(running) = &mut self.stage {
            running.group.seed_bug(bug);
        }
    }

    /// Returns how much waits here to be written.
    pub fn load(&self) -> Load {
        Load {
            pending_bytes: self.shared.origin.pending_bytes(),
            batches_in_flight: self.shared.origin.in_flight(),
        }
    }

    /// Returns where this node stands in its Raft group, once it has a cluster.
    pub fn raft_status(&self) -> Option<corgi_consensus::Status> {
        self.running().map(|running| running.group.status())
    }

    /// Returns who votes as far as this node has applied the log, ascending; nobody before it has a cluster.
    pub fn voters(&self) -> &[NodeId] {
        self.state().map_or(&[], State::voters)
    }

    /// Returns the names of a kind that somebody listens to, as far as this node knows, ascending: how many clients of
    /// this node do, and how many of others.
    pub fn listened(&self, kind: SubscriptionKind) -> Vec<(Bytes, u64, u64)> {
        self.shared.bus.listened(kind)
    }

    /// Returns what has become due, in the order in which it must be done. Call it after every input.
    pub fn outputs(&mut self) -> Outputs {
        let mut out = std::mem::take(&mut self.shared.out);
        out.clients = self.shared.clients.take();
        out
    }

    fn pump(&mut self, now: Now) {
        if let Stage::Running(running) = &mut self.stage {
            running.pump(&mut self.shared, now);
        }
        self.shared.work_on_counts(now.mono_ms);
    }
}

impl NodeFacts {
    /// What is known without a cluster.
    pub(crate) fn of(shared: &Shared) -> Self {
        Self {
            id: shared.config.id,
            cluster: None,
            formed: false,
            quorum_lost: shared.quorum.is_lost(),
            role: Role::Follower,
            term: Term(0),
            leader: None,
            commit: LogIndex(0),
            applied: LogIndex(0),
            first: LogIndex(1),
            last: LogIndex(0),
            state_lost: false,
            snapshots: Default::default(),
            voters: Vec::new(),
            learners: Vec::new(),
            peers_up: shared.peers_up.len(),
            feature_level: 0,
            state_hash: 0,
            disk_low: shared.room.is_low(),
            pending_bytes: shared.origin.pending_bytes(),
            batches_in_flight: shared.origin.in_flight(),
            channels: shared.bus.count_names(SubscriptionKind::Channel),
            shard_channels: shared.bus.count_names(SubscriptionKind::Shard),
            patterns: shared.bus.numpat(),
            published: shared.counters.published,
            delivered: shared.counters.delivered,
            lagging: shared.cursors.len(),
            feed: shared.feed_counters,
            key_bytes: shared.keys.bytes,
            keyspace: Vec::new(),
            history: Default::default(),
        }
    }
}
