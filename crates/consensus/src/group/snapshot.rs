//! Snapshots: what is too old for the log.
//!
//! ```text
//! leader                                        follower
//!   raft: the next entry is truncated ─▶ wanted
//!   snapshot_made ─▶ raft sends what names it ──▶ step: Stepped::Offer    (its rows travel apart, from node to node)
//!                                                   │ once they are all there
//!                                                 accept ─▶ raft ─▶ Work::install ─▶ installed
//! ```
//!
//! raft-rs takes a snapshot for received when the message is stepped. So the message is kept back until the rows are
//! here: the type of [`Group::step`]'s answer does not let the caller forget it.

use super::{Group, Outstanding};
use crate::convert::{file_from_raft, hard_state_from_raft};
use crate::message::{Envelope, asks_for_snapshot};
use crate::storage::{HardState, LogInstall, LogReader, Truncated};
use crate::work::{Install, PersistToken, StepError};
use corgi_base::{LogIndex, NodeId, SnapshotFile, SnapshotMeta};
use raft::eraftpb::{Message, MessageType, Snapshot};
use raft::{INVALID_INDEX, ProgressState, SnapshotStatus, StateRole};
use std::fmt;

/// What became of a message.
#[must_use = "an offered snapshot that is dropped is never received"]
#[derive(Debug, PartialEq)]
pub enum Stepped {
    /// Raft has it.
    Taken,
    /// A snapshot that this node needs: fetch its rows from the sender, then [`Group::accept`].
    Offer(SnapshotOffer),
}

/// A snapshot that a leader offers, kept back from raft until its rows are here.
#[derive(PartialEq)]
pub struct SnapshotOffer {
    /// Who offers it.
    pub from: NodeId,
    /// Where it is.
    pub file: SnapshotFile,
    /// Boxed, because most messages are no offers.
    message: Box<Message>,
}

impl fmt::Debug for SnapshotOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} from {:?}", self.file, self.from)
    }
}

/// A snapshot that is on its way to the disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Installing {
    token: u64,
    index: LogIndex,
}

impl<R: LogReader> Group<R> {
    /// Takes an offer of a leader, or passes it to raft, which knows what to do when there is nothing to receive.
    pub(super) fn step_snapshot(
        &mut self,
        from: NodeId,
        message: Message,
    ) -> Result<Stepped, StepError> {
        let refused = |what: &str| Err(StepError::Refused(what.to_owned()));
        let Some(file) = file_from_raft(message.get_snapshot()) else {
            return refused("a snapshot that does not say which file it is in");
        };
        let raft = &self.raw.raft;
        let log = &raft.raft_log;
        let members = message.get_snapshot().get_metadata().get_conf_state();
        let mut known = members.get_voters().iter().chain(members.get_learners());
        let (index, term) = (file.index.0, file.term.0);
        // With its log this node could do without it; with its state lost it cannot, but must not forget entries after
        // the snapshot, which may be committed because this node has them.
        let whole = self.state_lost && index >= log.last_index();
        let needed = whole || (index > log.committed && !log.match_term(index, term));
        if message.term < raft.term || !needed {
            // raft-rs would install one that this node has asked for, and whose rows are not here.
            if self.state_lost && raft.pending_request_snapshot != INVALID_INDEX {
                return refused("a snapshot older than the log, to a node without a state");
            }
            return self.step_raft(message);
        }
        if !known.any(|id| *id == self.id.get()) {
            return refused("a snapshot of members among whom this node is not");
        }
        if self.installing.is_some() {
            return refused("a snapshot while another one is being installed");
        }
        Ok(Stepped::Offer(SnapshotOffer {
            from,
            file,
            message: Box::new(message),
        }))
    }

    /// Gives raft a snapshot whose rows are here, complete and checked. [`Group::work`] then has it to install, unless
    /// it has become superfluous meanwhile: another leader offers its own, or the log was enough.
    pub fn accept(&mut self, offer: SnapshotOffer) {
        if self.installing.is_some() {
            return;
        }
        let raft = &mut self.raw.raft;
        let index = offer.file.index.0;
        if self.state_lost && index >= raft.raft_log.last_index() {
            // Says that the snapshot is needed, although the log may have its entry.
            raft.pending_request_snapshot = index;
        }
        // What raft refuses is what has become superfluous.
        drop(self.step_raft(*offer.message));
    }

    /// Hands out a snapshot that raft has taken.
    pub(super) fn take_snapshot(&mut self, number: u64, snapshot: &Snapshot) -> Install {
        let file = file_from_raft(snapshot).expect("an offer says which file it is in");
        self.raw.mut_store().restore(file.index, file.term);
        let hard_state = hard_state_from_raft(&self.raw.raft.hard_state());
        let HardState { term, vote, .. } = self.written;
        let token = self.next_token;
        self.next_token += 1;
        self.outstanding.push_back(Outstanding {
            token,
            ready: number,
            last: None,
            // An installation can take long. Signs of life go on meanwhile, if the disk knows of the term.
            changes_vote: (term, vote) != (hard_state.term, hard_state.vote),
            messages: Vec::new(),
        });
        self.written = hard_state;
        let index = file.index;
        self.installing = Some(Installing { token, index });
        Install {
            file,
            log: LogInstall {
                index,
                term: file.term,
                hard_state,
            },
            token: PersistToken(token),
        }
    }

    /// Takes the proof that log and applied state are the snapshot's, and returns the messages that waited for it. Then
    /// call [`Group::work`].
    ///
    /// # Panics
    /// If the token is not that of the [`Install`] which is under way, in its turn among the writes.
    pub fn installed(&mut self, token: PersistToken) -> Vec<Envelope> {
        let installing = self.installing.take();
        let installing = installing.expect("a snapshot is being installed");
        assert_eq!(installing.token, token.0, "it is this snapshot");
        self.applied = installing.index;
        self.state_lost = false;
        let messages = self.finish(token);
        self.raw.advance_apply_to(installing.index.0);
        messages
    }

    /// Asks the leader for a snapshot, if the state is lost and it has not been asked yet. The leader's log must have
    /// reached this node before: a snapshot is not older than what this node has in its log.
    pub(super) fn ask_for_snapshot(&mut self) {
        if !self.state_lost || self.installing.is_some() {
            return;
        }
        let raft = &mut self.raw.raft;
        let log = &raft.raft_log;
        let last_term = log.term(log.last_index()).unwrap_or_default();
        let asked = raft.pending_request_snapshot != INVALID_INDEX;
        if last_term != raft.term {
            // While it has asked, this node takes no entries, and what it has asked for may be beyond a new leader's
            // log.
            raft.pending_request_snapshot = INVALID_INDEX;
        } else if !asked && raft.state == StateRole::Follower && raft.leader_id != raft::INVALID_ID
        {
            // Dropped only where this does not hold.
            drop(raft.request_snapshot());
        }
    }

    /// Returns whether this node needs a snapshot because its applied state is lost.
    pub fn state_lost(&self) -> bool {
        self.state_lost
    }

    /// Returns whether a follower needs a snapshot and none fits, since the last call: make one and call
    /// [`Group::snapshot_made`]. Raft asks again with every heartbeat.
    pub fn take_snapshot_wanted(&mut self) -> bool {
        self.raw.store().take_wanted()
    }

    /// Takes note of a snapshot that followers may fetch from this node.
    pub fn snapshot_made(&mut self, meta: SnapshotMeta, file: SnapshotFile) {
        self.raw.mut_store().snapshot_made(meta, file);
    }

    /// Takes note that the snapshot which was made is not there any more.
    pub fn snapshot_gone(&mut self) {
        self.raw.mut_store().snapshot_gone();
    }

    /// Returns who has been offered a snapshot by this leader and has not taken it yet, ascending. Nothing else is sent
    /// to them.
    pub fn snapshots_offered(&self) -> Vec<NodeId> {
        let raft = &self.raw.raft;
        if raft.state != StateRole::Leader {
            return Vec::new();
        }
        let offered = raft.prs().iter();
        let offered = offered.filter(|(_, progress)| progress.state == ProgressState::Snapshot);
        let mut offered: Vec<_> = offered.filter_map(|(id, _)| NodeId::new(*id)).collect();
        offered.sort_unstable();
        offered
    }

    /// A follower that says it has all entries up to `index` has what it was offered. raft-rs sees that only if it did
    /// not know of these entries before: one whose state was lost had them.
    pub(super) fn has_snapshot(&mut self, from: u64, index: u64) {
        let raft = &self.raw.raft;
        let progress = raft.prs().get(from);
        let offered = progress.filter(|it| it.state == ProgressState::Snapshot);
        let leads = raft.state == StateRole::Leader;
        if leads && offered.is_some_and(|it| index >= it.pending_snapshot) {
            self.raw.report_snapshot(from, SnapshotStatus::Finish);
        }
    }

    /// A follower that asks for a snapshot answers nothing else: if the answer to its last entries was lost, a leader
    /// that needs it for a majority could never commit them, nor make a snapshot that has them. So what it says of the
    /// end of its log counts as the answer. It may, if the last entry is of this leader's term: then all before it is
    /// this leader's log, and the message has left only when the disk had it ([`crate::message::promises_durability`]).
    pub(super) fn take_for_accepted(&mut self, message: &Message) {
        let raft = &self.raw.raft;
        let leads = raft.state == StateRole::Leader && message.term == raft.term;
        if leads && asks_for_snapshot(message) && message.log_term == raft.term {
            let mut accepted = Message::default();
            accepted.set_msg_type(MessageType::MsgAppendResponse);
            accepted.from = message.from;
            accepted.to = message.to;
            accepted.term = message.term;
            accepted.index = message.reject_hint;
            accepted.commit = message.index;
            // Refused only if the sender is no member: the request is, too.
            drop(self.raw.step(accepted));
        }
    }

    /// Takes note that `peer` does not take what it was offered: raft tries with entries again.
    pub fn snapshot_failed(&mut self, peer: NodeId) {
        self.raw
            .report_snapshot(peer.get(), SnapshotStatus::Failure);
    }

    /// Takes note that the log has been truncated on the disk.
    pub fn compact(&mut self, truncated: Truncated) {
        let Truncated { index, .. } = truncated;
        assert!(
            index <= self.applied,
            "truncated up to {index}, but applied only up to {}",
            self.applied
        );
        self.raw.mut_store().compact(truncated);
    }
}
