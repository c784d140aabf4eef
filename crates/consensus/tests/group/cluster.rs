//! Groups, their disks and the network between them, in one process and without time of their own.
//!
//! Invariants
//! - Nothing happens by itself: a write stays on its way until [`Cluster::persist`], a message until
//!   [`Cluster::deliver_at`].
//! - After every input a node does all the work that has become due, in the order in which the work lists it.
//! - A crash loses the writes on their way (or all but the first few, as a disk may have written more than it
//!   promised), what was applied since the last flush, and nothing else.

use crate::event::{Event, What};
use bytes::Bytes;
use corgi_base::{FlushedIndex, LogIndex, NodeId, SnapshotFile, SnapshotMeta, Term};
use corgi_consensus::mem::{MemLog, MemLogReader, MemLogWriter};
use corgi_consensus::storage::{LogEntry, LogReader, LogWriter as _, ReadLogError, TruncateLimits};
use corgi_consensus::{
    Committed, Envelope, Group, GroupConfig, GroupStart, Install, MemberChange, Payload, Persist,
    Position, ProposeError, ReadError, ReadId, Role, SnapshotOffer, Status, Stepped,
};
use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};
use slog::{Discard, Logger, o};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex};

/// What has been applied, and the members at that point.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    pub(crate) index: LogIndex,
    pub(crate) term: Term,
    /// Over all that was applied.
    pub(crate) hash: u64,
    pub(crate) voters: Vec<NodeId>,
    pub(crate) learners: Vec<NodeId>,
}

/// A node: what survives a crash, and what does not.
pub(crate) struct Node {
    pub(crate) disk: MemLog,
    pub(crate) flushed: Applied,
    initial: Applied,
    boots: u64,
    pub(crate) life: Option<Life>,
}

/// One run of a node's process.
pub(crate) struct Life {
    pub(crate) group: Group<Reader>,
    writer: MemLogWriter,
    pub(crate) writes: VecDeque<Write>,
    pub(crate) offer: Option<SnapshotOffer>,
    pub(crate) applied: Applied,
    /// Handed out, and not applied because applying is paused.
    waiting: VecDeque<Committed>,
    pub(crate) paused: bool,
    pub(crate) handed_out: LogIndex,
    role: (Role, Option<NodeId>),
    reads: u64,
    pub(crate) disk_reads: Arc<Mutex<Vec<(LogIndex, LogIndex)>>>,
}

/// What is on its way to the disk.
pub(crate) enum Write {
    Log(Persist),
    Install(Install),
}

/// A message that is on its way.
pub(crate) struct Packet {
    pub(crate) from: NodeId,
    pub(crate) envelope: Envelope,
}

/// A reader that notes which entries were read.
pub(crate) struct Reader {
    log: MemLogReader,
    reads: Arc<Mutex<Vec<(LogIndex, LogIndex)>>>,
}

impl LogReader for Reader {
    fn entries(
        &self,
        low: LogIndex,
        high: LogIndex,
        max_bytes: u64,
    ) -> Result<Vec<LogEntry>, ReadLogError> {
        let entries = self.log.entries(low, high, max_bytes)?;
        if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            self.reads
                .lock()
                .expect("nobody panics with it")
                .push((first.index, last.index));
        }
        Ok(entries)
    }

    fn term(&self, index: LogIndex) -> Result<Term, ReadLogError> {
        self.log.term(index)
    }
}

/// All nodes, and the messages between them.
pub(crate) struct Cluster {
    config: GroupConfig,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) network: Vec<Packet>,
    cut: BTreeSet<NodeId>,
    /// What is in the snapshots that were made.
    snapshots: BTreeMap<SnapshotFile, Applied>,
    events: Vec<Event>,
}

/// Returns the limits that scripts start from: none is in the way.
pub(crate) fn roomy_config() -> GroupConfig {
    GroupConfig {
        id: node(1),
        election_ticks: 10,
        election_ticks_max: 11,
        heartbeat_ticks: 2,
        seed: 1,
        append_bytes_max: 1 << 20,
        inflight_appends_max: 64,
        uncommitted_bytes_max: 1 << 24,
        committed_bytes_max: 1 << 20,
        tail_bytes_max: 1 << 20,
    }
}

/// Returns the id of a node.
pub(crate) fn node(id: u64) -> NodeId {
    NodeId::new(id).expect("nodes are counted from 1")
}

impl Cluster {
    /// Starts voters `1..=voters`, then learners, then nodes that are no members yet. All start from the same members
    /// at index 0, as after a bootstrap.
    pub(crate) fn new(config: GroupConfig, voters: u64, learners: u64, spares: u64) -> Self {
        let members = Applied {
            index: LogIndex(0),
            term: Term(0),
            hash: 0,
            voters: (1..=voters).map(node).collect(),
            learners: (voters + 1..=voters + learners).map(node).collect(),
        };
        let nodes = (1..=voters + learners + spares)
            .map(|id| {
                let (disk, flushed) = (MemLog::new(), members.clone());
                (
                    node(id),
                    Node {
                        disk,
                        flushed,
                        initial: members.clone(),
                        boots: 0,
                        life: None,
                    },
                )
            })
            .collect();
        let (network, cut, events) = (Vec::new(), BTreeSet::new(), Vec::new());
        let snapshots = BTreeMap::new();
        let mut cluster = Self {
            config,
            nodes,
            network,
            cut,
            snapshots,
            events,
        };
        for id in cluster.ids() {
            cluster.start(id);
        }
        cluster
    }

    /// Returns all nodes, ascending.
    pub(crate) fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// Returns what happened since the last call.
    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Returns a node that runs.
    pub(crate) fn life(&self, id: NodeId) -> Option<&Life> {
        self.nodes.get(&id).and_then(|node| node.life.as_ref())
    }

    fn alive(&mut self, id: NodeId) -> Option<&mut Life> {
        self.nodes.get_mut(&id).and_then(|node| node.life.as_mut())
    }

    /// Starts a node from its disk, unless it runs.
    pub(crate) fn start(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.life.is_none()) else {
            return;
        };
        node.boots += 1;
        let config = GroupConfig {
            id,
            seed: self.config.seed + node.boots,
            ..self.config.clone()
        };
        let mut writer = node.disk.writer();
        let mut bounds = writer.bounds().expect("a log in memory can be read");
        if bounds.installing {
            // The state was not replaced any more when the process ended.
            let at = (bounds.truncated_index, bounds.truncated_term);
            let file = |(file, _): &(&SnapshotFile, _)| (file.index, file.term) == at;
            let snapshot = self.snapshots.iter().find(file);
            node.flushed = snapshot.expect("it was received").1.clone();
            writer.installed().expect("a disk in memory does not fail");
            bounds.installing = false;
        }
        let applied = node.flushed.clone();
        let start = GroupStart {
            bounds,
            state_lost: applied.index < bounds.truncated_index,
            applied: applied.index,
            voters: applied.voters.clone(),
            learners: applied.learners.clone(),
        };
        let disk_reads = Arc::new(Mutex::new(Vec::new()));
        let reader = Reader {
            log: node.disk.reader(),
            reads: Arc::clone(&disk_reads),
        };
        let group = Group::new(&config, start, reader, &Logger::root(Discard, o!()));
        let mut group = group.expect("what a crash leaves behind can be started from");
        group.lead_alone();
        node.life = Some(Life {
            group,
            writer,
            writes: VecDeque::new(),
            offer: None,
            handed_out: applied.index,
            applied,
            waiting: VecDeque::new(),
            paused: false,
            role: (Role::Follower, None),
            reads: 0,
            disk_reads,
        });
        self.settle(id);
    }

    /// Ends a node's process; the first `keep` of its outstanding writes reach the disk all the same.
    pub(crate) fn crash(&mut self, id: NodeId, keep: usize) {
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        let Some(mut life) = node.life.take() else {
            return;
        };
        for write in life.writes.drain(..).take(keep) {
            let written = match write {
                Write::Log(persist) => life.writer.write(&[persist.write]),
                Write::Install(install) => life.writer.install(&install.log),
            };
            written.expect("a disk in memory does not fail");
        }
        node.disk.crash(0);
    }

    /// A node's state is gone, its log is not.
    pub(crate) fn lose_state(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.flushed = node.initial.clone();
        }
    }

    /// Whether a node's state is gone, and its log does not reach back to rebuild it.
    pub(crate) fn lost_state(&self, id: NodeId) -> bool {
        let node = &self.nodes[&id];
        let bounds = node.disk.writer().bounds();
        let bounds = bounds.expect("a log in memory can be read");
        node.flushed.index < bounds.truncated_index
    }

    /// Makes what is applied survive a crash.
    pub(crate) fn flush(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        if let Some(life) = &node.life {
            node.flushed = life.applied.clone();
        }
    }

    /// Makes a snapshot of what a node has applied.
    pub(crate) fn make_snapshot(&mut self, id: NodeId) {
        let Some(life) = self.alive(id) else { return };
        let applied = life.applied.clone();
        if applied.index == LogIndex(0) || life.group.state_lost() {
            return;
        }
        let file = SnapshotFile {
            index: applied.index,
            term: applied.term,
            bytes: 1000,
            hash: applied.hash,
        };
        let meta = SnapshotMeta {
            index: applied.index,
            term: applied.term,
            voters: applied.voters.clone(),
            learners: applied.learners.clone(),
        };
        life.group.snapshot_made(meta, file);
        self.snapshots.insert(file, applied);
        self.settle(id);
    }

    /// Truncates a node's log up to what is flushed, but for so many bytes; in its turn among the writes, so that none
    /// with an older commit follows.
    pub(crate) fn truncate(&mut self, id: NodeId, retain_bytes: u64) {
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        let Some(life) = node.life.as_mut().filter(|life| life.writes.is_empty()) else {
            return;
        };
        // What a lost state had applied must not be read back.
        let flushed = FlushedIndex::read_back(node.flushed.index);
        let limits = TruncateLimits {
            flushed,
            hold: None,
            retain_bytes,
            step_bytes: 0,
        };
        let truncated = life.writer.truncate(&limits);
        if let Some(truncated) = truncated.expect("a disk in memory does not fail") {
            life.group.compact(truncated);
        }
        self.settle(id);
    }

    /// All rows of the snapshot that a node was offered have come.
    pub(crate) fn accept(&mut self, id: NodeId) -> bool {
        let Some(offer) = self.alive(id).and_then(|life| life.offer.take()) else {
            return false;
        };
        assert!(self.snapshots.contains_key(&offer.file), "{offer:?}");
        self.input(id, |group| group.accept(offer));
        true
    }

    /// A leader gives up on those who do not take what they were offered.
    pub(crate) fn give_up(&mut self, id: NodeId) {
        self.input(id, |group| {
            for peer in group.snapshots_offered() {
                group.snapshot_failed(peer);
            }
        });
    }

    /// Gives a node an input, and does the work that follows.
    pub(crate) fn input<T>(
        &mut self,
        id: NodeId,
        input: impl FnOnce(&mut Group<Reader>) -> T,
    ) -> Option<T> {
        let result = input(&mut self.alive(id)?.group);
        self.settle(id);
        Some(result)
    }

    /// Proposes an entry.
    pub(crate) fn propose(
        &mut self,
        id: NodeId,
        data: Vec<u8>,
    ) -> Option<Result<Position, ProposeError>> {
        self.input(id, |group| {
            group.propose(Bytes::from_static(b"head"), data.into())
        })
    }

    /// Proposes a change of the members.
    pub(crate) fn change(
        &mut self,
        id: NodeId,
        change: MemberChange,
    ) -> Option<Result<Position, ProposeError>> {
        self.input(id, |group| group.propose_change(change, Bytes::new()))
    }

    /// Asks for a read.
    pub(crate) fn read(&mut self, id: NodeId) -> Option<Result<ReadId, ReadError>> {
        let boot = self.nodes.get(&id)?.boots;
        let life = self.alive(id)?;
        life.reads += 1;
        let read = ReadId {
            node: id,
            boot,
            count: life.reads,
        };
        self.input(id, |group| group.read_index(read).map(|()| read))
    }

    /// Syncs the oldest outstanding write of a node; `false` if there is none.
    pub(crate) fn persist(&mut self, id: NodeId) -> bool {
        let Some(life) = self.alive(id) else {
            return false;
        };
        let messages = match life.writes.pop_front() {
            None => return false,
            Some(Write::Log(Persist { write, token })) => {
                let written = life.writer.write(&[write]);
                written.expect("a disk in memory does not fail");
                let messages = life.group.persisted(token);
                self.report(id, What::Persisted);
                messages
            }
            Some(Write::Install(install)) => self.install(id, install),
        };
        self.send(id, messages);
        self.settle(id);
        true
    }

    fn install(&mut self, id: NodeId, install: Install) -> Vec<Envelope> {
        let applied = self.snapshots[&install.file].clone();
        let node = self.nodes.get_mut(&id).expect("it works");
        node.flushed = applied.clone();
        let life = node.life.as_mut().expect("it works");
        let written = life.writer.install(&install.log);
        written.expect("a disk in memory does not fail");
        let written = life.writer.installed();
        written.expect("a disk in memory does not fail");
        life.waiting.clear();
        life.handed_out = applied.index;
        life.applied = applied;
        let messages = life.group.installed(install.token);
        self.report(id, What::Installed(install.file.index));
        messages
    }

    /// Stops or resumes applying.
    pub(crate) fn pause(&mut self, id: NodeId, paused: bool) {
        let Some(life) = self.alive(id) else { return };
        life.paused = paused;
        self.apply(id);
        self.settle(id);
    }

    /// Cuts a node off, or connects it again.
    pub(crate) fn cut(&mut self, id: NodeId, cut: bool) {
        if cut {
            self.cut.insert(id);
        } else {
            self.cut.remove(&id);
        }
    }

    /// Delivers one message; with `again` it stays in the network and will arrive once more.
    pub(crate) fn deliver_at(&mut self, position: usize, again: bool) {
        let packet = if again {
            let Packet { from, envelope } = &self.network[position];
            Packet {
                from: *from,
                envelope: envelope.clone(),
            }
        } else {
            self.network.remove(position)
        };
        let to = packet.envelope.to;
        let bytes = packet.envelope.bytes;
        let Some(life) = self.alive(to) else { return };
        match life.group.step(packet.from, &bytes) {
            Ok(Stepped::Taken) => {}
            Ok(Stepped::Offer(offer)) => {
                let index = offer.file.index;
                life.offer = Some(offer);
                self.report(to, What::Offered(index));
            }
            Err(error) => self.report(to, What::Refused(error.to_string())),
        }
        self.settle(to);
    }

    /// Persists and delivers until nothing is left to do.
    pub(crate) fn stabilize(&mut self) {
        loop {
            let mut quiet = true;
            for id in self.ids() {
                while self.persist(id) {
                    quiet = false;
                }
                let wanted = self.alive(id).map(|life| life.group.take_snapshot_wanted());
                if wanted == Some(true) {
                    self.make_snapshot(id);
                }
                quiet &= !self.accept(id);
            }
            for _ in 0..self.network.len() {
                quiet = false;
                self.deliver_at(0, false);
            }
            if quiet {
                return;
            }
        }
    }

    fn settle(&mut self, id: NodeId) {
        while let Some(work) = self.alive(id).and_then(|life| life.group.work()) {
            self.report_role(id);
            self.send(id, work.send);
            if let Some(install) = work.install {
                self.report(id, What::Install(install.file.index));
                let life = self.alive(id).expect("it works");
                life.writes.push_back(Write::Install(install));
            }
            if let Some(persist) = work.persist {
                self.report(id, What::Persist(persist.write.clone()));
                let life = self.alive(id).expect("it works");
                life.writes.push_back(Write::Log(persist));
            }
            for entry in work.committed {
                let life = self.alive(id).expect("it works");
                assert_eq!(
                    entry.index,
                    life.handed_out.next(),
                    "{id:?}: once, in order, no gap"
                );
                life.handed_out = entry.index;
                life.waiting.push_back(entry.clone());
                self.report(id, What::Commit(entry));
            }
            for grant in work.reads {
                self.report(id, What::Read(grant));
            }
            self.apply(id);
        }
    }

    fn apply(&mut self, id: NodeId) {
        let Some(life) = self.alive(id).filter(|life| !life.paused) else {
            return;
        };
        let Some(last) = life.waiting.back().map(|entry| entry.index) else {
            return;
        };
        for entry in life.waiting.drain(..) {
            let mut hasher = DefaultHasher::new();
            (life.applied.hash, entry.index.0, entry.term.0).hash(&mut hasher);
            format!("{:?}", entry.payload).hash(&mut hasher);
            life.applied.hash = hasher.finish();
            life.applied.term = entry.term;
            if let Payload::Members {
                voters, learners, ..
            } = entry.payload
            {
                life.applied.voters = voters;
                life.applied.learners = learners;
            }
        }
        life.applied.index = last;
        life.group.applied(last);
    }

    fn send(&mut self, from: NodeId, messages: Vec<Envelope>) {
        for envelope in messages {
            check_promise(&self.nodes[&from].disk, &envelope);
            let arrives = !self.cut.contains(&from) && !self.cut.contains(&envelope.to);
            self.report(from, What::Send(envelope.clone(), arrives));
            if arrives {
                self.network.push(Packet { from, envelope });
            }
        }
    }

    fn report_role(&mut self, id: NodeId) {
        let Some(life) = self.alive(id) else { return };
        let Status { role, leader, .. } = life.group.status();
        if life.role != (role, leader) {
            life.role = (role, leader);
            self.report(id, What::Role(role, leader));
        }
    }

    fn report(&mut self, node: NodeId, what: What) {
        let term = self
            .life(node)
            .map_or(Term(0), |life| life.group.status().term);
        self.events.push(Event { node, term, what });
    }
}

/// What a message says of its sender's disk must be true when it leaves.
fn check_promise(disk: &MemLog, envelope: &Envelope) {
    let message = Message::parse_from_bytes(&envelope.bytes).expect("a group wrote it");
    let bounds = disk.writer().bounds().expect("a log in memory can be read");
    match message.get_msg_type() {
        // These name a term that the sender is not in yet, and a read names none.
        MessageType::MsgRequestPreVote
        | MessageType::MsgRequestPreVoteResponse
        | MessageType::MsgReadIndex => return,
        MessageType::MsgAppendResponse if !message.reject => {
            assert!(
                bounds.last_index.0 >= message.index,
                "accepted, not on disk: {envelope:?}"
            );
        }
        MessageType::MsgRequestVoteResponse if !message.reject => {
            let vote = (bounds.hard_state.term.0, bounds.hard_state.vote);
            assert_eq!(
                vote,
                (message.term, Some(envelope.to)),
                "voted, not on disk"
            );
        }
        _ => {}
    }
    assert!(
        bounds.hard_state.term.0 >= message.term,
        "a term that is not on disk: {envelope:?}"
    );
}
