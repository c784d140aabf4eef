//! Drives one raft-rs `RawNode` without doing I/O.
//!
//! ```text
//!   tick / step / propose / read_index          send, persist, apply
//!   ─────────────────────────────────▶  Group  ─────────────────────▶  caller
//!                                         ▲                               │
//!                                         └──── persisted(token) ◀────────┘
//! ```
//!
//! Invariants
//! - Writes are handed out in order, each with its token; a token can only be given back, not made.
//! - A message that promises durability is kept inside until the token it waits for comes back.
//! - A leader tells nobody that a change of the members is committed before its own disk says so.
//! - Nothing of a term is sent before the term is on disk. (raft-rs lets a sole voter, which elects itself, append to
//!   learners while its term is not synced; after a crash it could lead the same term again with other entries.)
//! - Committed entries come out once, in index order, without gaps.

mod snapshot;
mod start;

pub use snapshot::{SnapshotOffer, Stepped};
pub use start::{GroupConfig, GroupStart, StartError};

use crate::convert::{decode_read_state, encode_read_id, entry_to_log, hard_state_from_raft};
use crate::message::{Envelope, promises_durability, refusal};
use crate::pin::ElectionPin;
use crate::storage::{HardState, LogReader, LogWrite};
use crate::tail::Tail;
use crate::work::{
    Committed, MemberChange, Payload, Persist, PersistToken, Position, ProposeError, ReadError,
    ReadId, Role, Status, StepError, Work,
};
use bytes::Bytes;
use corgi_base::{LogIndex, NodeId, Term};
use protobuf::Message as _;
use raft::eraftpb::{
    ConfChange, ConfChangeType, ConfChangeV2, ConfState, Entry, EntryType, Message, MessageType,
};
use raft::{RawNode, StateRole};
use slog::{Logger, o};
use std::collections::VecDeque;

/// A write that is on its way to the disk, and what waits for it.
#[derive(Debug)]
struct Outstanding {
    token: u64,
    /// raft-rs' number of the last ready that is durable with this write.
    ready: u64,
    last: Option<(LogIndex, Term)>,
    /// Term, vote, or the commit of a change of the members: nothing may leave before it is on disk.
    changes_vote: bool,
    messages: Vec<Envelope>,
}

/// One member of one Raft group.
pub struct Group<R: LogReader> {
    raw: RawNode<Tail<R>>,
    id: NodeId,
    outstanding: VecDeque<Outstanding>,
    next_token: u64,
    /// The hard state as last handed out for writing.
    written: HardState,
    applied: LogIndex,
    /// See [`GroupStart::state_lost`].
    state_lost: bool,
    installing: Option<snapshot::Installing>,
    pin: ElectionPin,
    /// See [`Group::lead_alone`].
    leads_alone: bool,
    #[cfg(feature = "seeded-bugs")]
    bug: Option<crate::SeededBug>,
}

impl<R: LogReader> std::fmt::Debug for Group<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group")
            .field("status", &self.status())
            .field("applied", &self.applied)
            .finish_non_exhaustive()
    }
}

impl<R: LogReader> Group<R> {
    /// Starts from what is on disk. A node that votes alone does not lead before [`Group::lead_alone`].
    ///
    /// # Errors
    /// [`StartError`] if log and applied state do not fit together.
    pub fn new(
        config: &GroupConfig,
        start: GroupStart,
        reader: R,
        log: &Logger,
    ) -> Result<Self, StartError> {
        let state_lost = start.state_lost;
        let (bounds, applied) = start.check()?;
        let (voters, learners) = if state_lost {
            (Vec::new(), Vec::new())
        } else {
            (start.voters, start.learners)
        };
        let written = bounds.hard_state;
        let tail = Tail::new(reader, bounds, voters, learners, config.tail_bytes_max);
        let logger = log.new(o!("mod" => "raft"));
        let raw = RawNode::new(&config.for_raft(applied), tail, &logger)
            .map_err(|error| StartError::Raft(error.to_string()))?;
        let pin = ElectionPin::new(config);
        let mut group = Self {
            raw,
            id: config.id,
            outstanding: VecDeque::new(),
            next_token: 1,
            written,
            applied,
            state_lost,
            installing: None,
            pin,
            leads_alone: false,
            #[cfg(feature = "seeded-bugs")]
            bug: None,
        };
        group.pin.apply(&mut group.raw);
        Ok(group)
    }

    /// Allows this node to lead where it is the only voter, and starts an election if it is that now. Nobody else can
    /// tell such a node that its folder is an old copy, from before others voted: the caller asks them first.
    pub fn lead_alone(&mut self) {
        self.leads_alone = true;
        if self.raw.raft.prs().is_singleton() {
            self.campaign();
        }
    }

    /// Makes a mistake from now on.
    #[cfg(feature = "seeded-bugs")]
    pub fn seed_bug(&mut self, bug: crate::SeededBug) {
        self.bug = Some(bug);
    }

    /// Lets one tick of time pass.
    pub fn tick(&mut self) {
        if self.must_wait_before_election() {
            return;
        }
        self.raw.tick();
        self.ask_for_snapshot();
        self.pin.apply(&mut self.raw);
    }

    /// Starts an election now, if this node votes and does not lead. Where it cannot be started yet, it starts when the
    /// election timeout has passed.
    pub fn campaign(&mut self) {
        // raft-rs would let a learner stand for election, and win it.
        if !self.raw.raft.promotable() || self.must_wait_before_election() {
            return;
        }
        // The only error is "the campaign is pointless", which the status shows.
        drop(self.raw.campaign());
        self.pin.apply(&mut self.raw);
    }

    /// raft-rs looks through all entries that are not applied before it campaigns, and while a snapshot is on its way
    /// to the disk they are not in the log any more. And a sole voter leads in the moment in which it campaigns, and
    /// raft-rs then asserts that its log is on disk, which it may not be if the other voters have just been removed.
    /// Time waits for the disk then, and for the permission to lead alone.
    fn must_wait_before_election(&self) -> bool {
        let raft = &self.raw.raft;
        let sole_voter = raft.promotable() && raft.prs().is_singleton();
        let unsynced = raft.raft_log.persisted != raft.raft_log.last_index();
        let alone = sole_voter && (unsynced || !self.leads_alone);
        raft.state != StateRole::Leader && (self.installing.is_some() || alone)
    }

    /// Takes a message that `peer` sent.
    ///
    /// # Errors
    /// [`StepError`]; the group is as it was before.
    pub fn step(&mut self, peer: NodeId, bytes: &Bytes) -> Result<Stepped, StepError> {
        let message = Message::parse_from_carllerche_bytes(bytes)
            .map_err(|error| StepError::Malformed(error.to_string()))?;
        if message.from != peer.get() || message.to != self.id.get() {
            let (from, to) = (message.from, message.to);
            return Err(StepError::WrongAddress {
                from,
                to,
                peer,
                node: self.id,
            });
        }
        if let Some(reason) = refusal(&message) {
            return Err(StepError::Refused(reason.to_owned()));
        }
        if message.get_msg_type() == MessageType::MsgTimeoutNow && self.must_wait_before_election()
        {
            return Ok(Stepped::Taken);
        }
        if message.get_msg_type() == MessageType::MsgSnapshot {
            return self.step_snapshot(peer, message);
        }
        // A leader says in a heartbeat what is committed as far as it knows that this node has it; raft-rs panics here.
        let (accepted, last) = (message.commit, self.raw.raft.raft_log.last_index());
        let leads = message.get_msg_type() == MessageType::MsgHeartbeat
            && message.term >= self.raw.raft.term;
        if leads && accepted > last {
            let (accepted, last) = (LogIndex(accepted), LogIndex(last));
            return Err(StepError::EndLost { accepted, last });
        }
        self.step_raft(message)
    }

    fn step_raft(&mut self, message: Message) -> Result<Stepped, StepError> {
        self.take_for_accepted(&message);
        let accepted = message.get_msg_type() == MessageType::MsgAppendResponse && !message.reject;
        let (from, index) = (message.from, message.index);
        let result = self.raw.step(message);
        if accepted {
            self.has_snapshot(from, index);
        }
        self.pin.apply(&mut self.raw);
        result.map_err(|error| StepError::Refused(error.to_string()))?;
        Ok(Stepped::Taken)
    }

    /// Appends an entry if this node leads. Returns where it lands.
    ///
    /// # Errors
    /// [`ProposeError`]; the entry certainly is not in the log.
    pub fn propose(&mut self, context: Bytes, data: Bytes) -> Result<Position, ProposeError> {
        let mut entry = Entry::default();
        entry.set_context(context);
        entry.set_data(data);
        self.append(entry)
    }

    /// Whether a change of the members may be in the log that is not applied. A new leader may have one until it has
    /// applied all that it found there.
    pub fn change_pending(&self) -> bool {
        self.raw.raft.has_pending_conf()
    }

    /// Appends a change of the members if this node leads and no earlier change waits to be applied. A leader may
    /// remove itself: it steps down when the change is applied, and the others elect after a timeout (hand over first
    /// to spare them the wait). `context` goes with the change; it may be empty.
    ///
    /// # Errors
    /// [`ProposeError`]; the change certainly is not in the log.
    pub fn propose_change(
        &mut self,
        change: MemberChange,
        context: Bytes,
    ) -> Result<Position, ProposeError> {
        // raft-rs would replace the second change by an empty entry, and say that all is well.
        if self.change_pending() {
            return Err(ProposeError::ChangePending);
        }
        let (kind, node) = match change {
            MemberChange::AddLearner(node) => (ConfChangeType::AddLearnerNode, node),
            MemberChange::AddVoter(node) => (ConfChangeType::AddNode, node),
            MemberChange::Remove(node) => (ConfChangeType::RemoveNode, node),
        };
        // raft-rs appends such a change, and every node then fails to apply it, at each start. What is checked here
        // still holds when the change is applied, because no other change can come between.
        let voters = self.raw.raft.prs().conf().voters();
        let leaves_nobody = !matches!(change, MemberChange::AddVoter(_))
            && self.raw.raft.prs().is_singleton()
            && voters.contains(node.get());
        if self.raw.raft.state == StateRole::Leader && leaves_nobody {
            return Err(ProposeError::LastVoter);
        }
        let mut conf_change = ConfChange::default();
        conf_change.set_change_type(kind);
        conf_change.node_id = node.get();
        let mut entry = Entry::default();
        entry.set_entry_type(EntryType::EntryConfChange);
        entry.set_context(context);
        entry.data = conf_change
            .write_to_bytes()
            .expect("a message in memory can be written to memory")
            .into();
        let position = self.append(entry)?;
        #[cfg(feature = "seeded-bugs")]
        if self.bug == Some(crate::SeededBug::ChangeUncommitted) {
            let applied = self.raw.apply_conf_change(&conf_change);
            applied.expect("the change was checked above");
        }
        Ok(position)
    }

    fn append(&mut self, entry: Entry) -> Result<Position, ProposeError> {
        // On a follower raft-rs would forward the proposal by itself, and say that all is well.
        if self.raw.raft.state != StateRole::Leader {
            return Err(ProposeError::NotLeader);
        }
        let before = self.raw.raft.raft_log.last_index();
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.id.get();
        message.set_entries(vec![entry].into());
        // Straight to the inner machine, because RawNode::propose would copy the payload.
        let result = self.raw.raft.step(message);
        let after = self.raw.raft.raft_log.last_index();
        match result {
            Ok(()) if after == before + 1 => Ok(Position {
                index: LogIndex(after),
                term: Term(self.raw.raft.term),
            }),
            _ if self.raw.raft.lead_transferee.is_some() => Err(ProposeError::Transferring),
            _ => Err(ProposeError::Overloaded),
        }
    }

    /// Asks how far apply must be for a read that starts now to be linearizable (Raft thesis, 6.4). Never by lease.
    ///
    /// # Errors
    /// [`ReadError`] where raft would drop the question silently here. It may still be dropped on its way: ask again
    /// with a new id when no grant comes.
    pub fn read_index(&mut self, id: ReadId) -> Result<(), ReadError> {
        let raft = &self.raw.raft;
        if raft.leader_id == 0 {
            return Err(ReadError::NoLeader);
        }
        if raft.state == StateRole::Leader && !raft.commit_to_current_term() {
            return Err(ReadError::NotReady);
        }
        self.raw.read_index(encode_read_id(id));
        Ok(())
    }

    /// Whether [`Group::work`] has something to return.
    pub fn has_work(&self) -> bool {
        self.raw.has_ready()
    }

    /// Returns what has become due, or `None`. Call it until it returns `None` after every input.
    pub fn work(&mut self) -> Option<Work> {
        if !self.raw.has_ready() {
            return None;
        }
        let mut ready = self.raw.ready();
        let number = ready.number();
        let install = (!ready.snapshot().is_empty()).then(|| {
            assert!(
                ready.entries().is_empty(),
                "work is taken after every input, so that nothing comes with a snapshot"
            );
            self.take_snapshot(number, ready.snapshot())
        });
        let entries = ready.take_entries();
        self.raw.mut_store().append(&entries);
        let hard_state = ready.hs().map(hard_state_from_raft);
        let changes_vote = hard_state.is_some_and(|hs| {
            let elects = hs.term != self.written.term || hs.vote != self.written.vote;
            elects || self.settles_change(hs.commit)
        });
        let messages: Vec<Message> = ready
            .take_messages()
            .into_iter()
            .chain(ready.take_persisted_messages())
            .collect();
        #[cfg(feature = "seeded-bugs")]
        let changes_vote = changes_vote && self.bug != Some(crate::SeededBug::VoteNotSynced);
        let leads = self.raw.raft.state == StateRole::Leader;
        let mut committed = ready.take_committed_entries();
        if self.state_lost {
            // The snapshot that is to come is not older than any of them.
            committed.clear();
        }
        let reads = ready
            .take_read_states()
            .iter()
            .filter_map(decode_read_state)
            .collect();
        self.raw.advance_append_async(ready);

        let persist = if install.is_some() {
            None
        } else if entries.is_empty() && !changes_vote {
            self.attach(number)
        } else {
            Some(self.hand_out(number, &entries, changes_vote))
        };
        #[cfg(feature = "seeded-bugs")]
        if leads && self.bug == Some(crate::SeededBug::AckBeforeFsync) {
            self.raw.on_persist_ready(number);
        }
        let send = self.sort_out(messages, leads);
        let committed = committed
            .into_iter()
            .map(|entry| self.take_committed(entry))
            .collect();
        Some(Work {
            send,
            install,
            persist,
            committed,
            reads,
        })
    }

    /// Whether this leader commits a change of the members: others learn of that only when it is on this disk. A node
    /// that hears of its removal goes, and a leader that then forgot the commit could need its vote for ever.
    fn settles_change(&self, commit: LogIndex) -> bool {
        let change = self.raw.raft.pending_conf_index;
        let leads = self.raw.raft.state == StateRole::Leader;
        leads && self.written.commit.0 < change && change <= commit.0
    }

    /// A ready without anything to sync is durable together with the write before it, or at once if there is none. (A
    /// commit index alone is not worth a sync: it is written with the next thing that is.)
    fn attach(&mut self, number: u64) -> Option<Persist> {
        match self.outstanding.back_mut() {
            Some(last) => last.ready = number,
            None => self.raw.on_persist_ready(number),
        }
        None
    }

    fn hand_out(&mut self, number: u64, entries: &[Entry], changes_vote: bool) -> Persist {
        let hard_state = hard_state_from_raft(&self.raw.raft.hard_state());
        let token = self.next_token;
        self.next_token += 1;
        self.outstanding.push_back(Outstanding {
            token,
            ready: number,
            last: entries.last().map(|e| (LogIndex(e.index), Term(e.term))),
            changes_vote,
            messages: Vec::new(),
        });
        let write = LogWrite {
            entries: entries.iter().map(entry_to_log).collect(),
            hard_state: (hard_state != self.written).then_some(hard_state),
        };
        self.written = hard_state;
        Persist {
            write,
            token: PersistToken(token),
        }
    }

    /// Returns the messages that may leave at once, and keeps the others with the write that they wait for.
    fn sort_out(&mut self, messages: Vec<Message>, leads: bool) -> Vec<Envelope> {
        let vote_under_way = self.outstanding.iter().any(|o| o.changes_vote);
        let mut send = Vec::new();
        for message in messages {
            let Some(envelope) = Envelope::new(&message) else {
                continue;
            };
            // A leader's promises are about other nodes' disks: its own copy counts only once it is synced.
            let promises = !leads && promises_durability(&message);
            #[cfg(feature = "seeded-bugs")]
            let promises = promises && self.bug != Some(crate::SeededBug::AnswerBeforeFsync);
            let waits = vote_under_way || promises;
            match self.outstanding.back_mut() {
                Some(last) if waits => last.messages.push(envelope),
                _ => send.push(envelope),
            }
        }
        send
    }

    fn take_committed(&mut self, entry: Entry) -> Committed {
        let payload = match entry.get_entry_type() {
            // The type comes first: an empty ConfChangeV2 is a real change.
            EntryType::EntryNormal if entry.data.is_empty() && entry.context.is_empty() => {
                Payload::Empty
            }
            EntryType::EntryNormal => Payload::Proposal {
                context: entry.context,
                data: entry.data,
            },
            EntryType::EntryConfChange => {
                let change = ConfChange::parse_from_carllerche_bytes(&entry.data);
                let change = change.expect("raft checked the change before it appended it");
                let members = self.raw.apply_conf_change(&change);
                let members = members.expect("the leader checked the change against these members");
                self.take_members(&members, entry.context)
            }
            EntryType::EntryConfChangeV2 => {
                let change = ConfChangeV2::parse_from_carllerche_bytes(&entry.data);
                let change = change.expect("raft checked the change before it appended it");
                let members = self.raw.apply_conf_change(&change);
                let members = members.expect("raft checked the change when it was proposed");
                self.take_members(&members, entry.context)
            }
        };
        Committed {
            index: LogIndex(entry.index),
            term: Term(entry.term),
            payload,
        }
    }

    fn take_members(&mut self, conf_state: &ConfState, context: Bytes) -> Payload {
        let raft = &mut self.raw.raft;
        if raft.state == StateRole::Leader && !raft.promotable() {
            // raft-rs would lead on without taking proposals, and panic at the next entry that commits. The others have
            // been told of this commit already: the message is in the work that this entry is in, or was in one before.
            let term = raft.term;
            raft.become_follower(term, raft::INVALID_ID);
        }
        self.pin.apply(&mut self.raw);
        let nodes = |ids: &[u64]| {
            let mut nodes: Vec<NodeId> = ids.iter().filter_map(|id| NodeId::new(*id)).collect();
            nodes.sort_unstable();
            nodes
        };
        Payload::Members {
            voters: nodes(conf_state.get_voters()),
            learners: nodes(conf_state.get_learners()),
            context,
        }
    }

    /// Takes the proof that a write is synced, and returns the messages that waited for it. Then call
    /// [`Group::work`]: entries may have become committed.
    ///
    /// # Panics
    /// If the tokens do not come back in the order in which they were handed out.
    pub fn persisted(&mut self, token: PersistToken) -> Vec<Envelope> {
        self.finish(token)
    }

    fn finish(&mut self, token: PersistToken) -> Vec<Envelope> {
        let done = self
            .outstanding
            .pop_front()
            .expect("a token stands for an outstanding write");
        assert_eq!(
            done.token, token.0,
            "writes are done in the order handed out"
        );
        if let Some((index, term)) = done.last {
            self.raw.mut_store().persisted(index, term);
        }
        self.raw.on_persist_ready(done.ready);
        self.raw.mut_store().evict(self.applied);
        self.pin.apply(&mut self.raw);
        done.messages
    }

    /// Notes that everything up to `index` is applied.
    pub fn applied(&mut self, index: LogIndex) {
        assert!(
            index >= self.applied,
            "applied went back from {} to {index}",
            self.applied
        );
        self.applied = index;
        self.raw.advance_apply_to(index.0);
        self.raw.mut_store().evict(index);
    }

    /// Hands leadership to `to`, if this node leads and `to` votes. Watch the status: raft gives up after a while.
    pub fn transfer_leader(&mut self, to: NodeId) {
        // A follower would pass it on in the name of `to`, which no peer believes; asked twice, raft-rs would wait.
        if self.raw.raft.state != StateRole::Leader {
            return;
        }
        self.raw.raft.abort_leader_transfer();
        self.raw.transfer_leader(to.get());
        self.pin.apply(&mut self.raw);
    }

    /// Forgets who leads, on strong evidence that the leader's process is gone: its sockets were closed. A follower
    /// that has heard of its leader within the election timeout refuses to vote; one that has forgotten it may vote at
    /// once. Vote and term stay, so that no safety depends on the evidence: if it was wrong, the leader's next
    /// heartbeat ends the matter. (etcd's Raft has the same as `ForgetLeader`.)
    pub fn forget_leader(&mut self) {
        let raft = &mut self.raw.raft;
        if raft.state != StateRole::Follower || raft.leader_id == raft::INVALID_ID {
            return;
        }
        let (term, elapsed) = (raft.term, raft.election_elapsed);
        raft.become_follower(term, raft::INVALID_ID);
        // The ordinary election timeout goes on as if nothing had happened.
        raft.election_elapsed = elapsed;
        self.pin.apply(&mut self.raw);
    }

    /// Notes that a message to `peer` was lost, so that a leader probes instead of streaming.
    pub fn report_unreachable(&mut self, peer: NodeId) {
        self.raw.report_unreachable(peer.get());
    }

    /// Returns where the group stands.
    pub fn status(&self) -> Status {
        let raft = &self.raw.raft;
        Status {
            role: match raft.state {
                StateRole::Follower => Role::Follower,
                StateRole::PreCandidate => Role::PreCandidate,
                StateRole::Candidate => Role::Candidate,
                StateRole::Leader => Role::Leader,
            },
            term: Term(raft.term),
            leader: NodeId::new(raft.leader_id),
            commit_index: LogIndex(raft.raft_log.committed),
            first_index: self.raw.store().truncated_index().next(),
            last_index: LogIndex(raft.raft_log.last_index()),
            voter: raft.promotable(),
        }
    }

    /// Returns how far each other member's log is known to agree with this leader's, ascending by node; empty on
    /// others.
    pub fn matched(&self) -> Vec<(NodeId, LogIndex)> {
        if self.raw.raft.state != StateRole::Leader {
            return Vec::new();
        }
        let progress = self.raw.raft.prs().iter();
        let mut matched: Vec<_> = progress
            .filter_map(|(id, p)| Some((NodeId::new(*id)?, LogIndex(p.matched))))
            .filter(|(id, _)| *id != self.id)
            .collect();
        matched.sort_unstable();
        matched
    }

    /// Reads the contexts of the entries after `from` up to the end of the log, changes of the members among them: what
    /// a new leader needs to know which batches of each origin are under way.
    ///
    /// # Panics
    /// If the log cannot be read, as raft itself does.
    pub fn entries_after(&self, from: LogIndex) -> Vec<(LogIndex, Bytes)> {
        let last = self.raw.raft.raft_log.last_index();
        let mut out: Vec<(LogIndex, Bytes)> = Vec::new();
        let mut next = from.0 + 1;
        while next <= last {
            let page = self
                .raw
                .raft
                .raft_log
                .slice(
                    next,
                    last + 1,
                    Some(4 << 20),
                    raft::GetEntriesContext::empty(false),
                )
                .expect("the unapplied end of the log is never compacted");
            assert!(!page.is_empty(), "entry {next} is in the log");
            next += page.len() as u64;
            out.extend(page.into_iter().map(|e| (LogIndex(e.index), e.context)));
        }
        out
    }
}
