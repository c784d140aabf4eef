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
use corgi_base::{LogIndex, NodeId, Term};
use corgi_consensus::mem::{MemLog, MemLogReader, MemLogWriter};
use corgi_consensus::storage::{LogEntry, LogReader, LogWriter as _, ReadLogError};
use corgi_consensus::{
    Committed, Envelope, Group, GroupConfig, GroupStart, MemberChange, Payload, Persist, Position,
    ProposeError, ReadError, ReadId, Role, Status,
};
use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};
use slog::{Discard, Logger, o};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

/// What has been applied, and the members at that point.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    pub(crate) index: LogIndex,
    pub(crate) voters: Vec<NodeId>,
    pub(crate) learners: Vec<NodeId>,
}

/// A node: what survives a crash, and what does not.
pub(crate) struct Node {
    pub(crate) disk: MemLog,
    pub(crate) flushed: Applied,
    boots: u64,
    pub(crate) life: Option<Life>,
}

/// One run of a node's process.
pub(crate) struct Life {
    pub(crate) group: Group<Reader>,
    writer: MemLogWriter,
    pub(crate) writes: VecDeque<Persist>,
    pub(crate) applied: Applied,
    /// Handed out, and not applied because applying is paused.
    waiting: VecDeque<Committed>,
    pub(crate) paused: bool,
    pub(crate) handed_out: LogIndex,
    role: (Role, Option<NodeId>),
    reads: u64,
    pub(crate) disk_reads: Arc<Mutex<Vec<(LogIndex, LogIndex)>>>,
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
                        boots: 0,
                        life: None,
                    },
                )
            })
            .collect();
        let (network, cut, events) = (Vec::new(), BTreeSet::new(), Vec::new());
        let mut cluster = Self {
            config,
            nodes,
            network,
            cut,
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
        let writer = node.disk.writer();
        let applied = node.flushed.clone();
        let start = GroupStart {
            bounds: writer.bounds().expect("a log in memory can be read"),
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
        node.life = Some(Life {
            group: group.expect("what a crash leaves behind can be started from"),
            writer,
            writes: VecDeque::new(),
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
        for persist in life.writes.drain(..) {
            life.writer.begin(&[persist.write]);
        }
        node.disk.crash(keep);
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
        let Some(Persist { write, token }) = life.writes.pop_front() else {
            return false;
        };
        life.writer
            .write(&[write])
            .expect("a disk in memory does not fail");
        let messages = life.group.persisted(token);
        self.report(id, What::Persisted);
        self.send(id, messages);
        self.settle(id);
        true
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
        if let Err(error) = life.group.step(packet.from, &bytes) {
            self.report(to, What::Refused(error.to_string()));
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
            if let Some(persist) = work.persist {
                self.report(id, What::Persist(persist.write.clone()));
                self.alive(id).expect("it works").writes.push_back(persist);
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
