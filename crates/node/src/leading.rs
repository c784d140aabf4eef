//! What a leader keeps: which batch of each origin comes next, and which id.
//!
//! Counted over the whole log, applied or not, because what is in the log may be committed at any time: on election
//! from the applied sessions and the heads of the unapplied entries, then with each entry appended.

use crate::log_time::LogTime;
use bytes::Bytes;
use corgi_base::{
    BatchHead, BatchNumber, Boot, EntryHead, InstanceId, Member, MessageId, NodeId, Now, Stamp,
    Term,
};
use corgi_state::State;
use std::collections::{BTreeMap, BTreeSet};

/// What to do with a batch of an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Append it.
    Next,
    /// It is in the log: its origin will see it applied.
    Appended,
    /// Another number must come first.
    Expect(BatchNumber),
    /// The boot has no session in the log, or a later one has.
    NoSession,
}

/// The bookkeeping of one term of leadership.
#[derive(Debug)]
pub(crate) struct Leading {
    pub(crate) term: Term,
    sessions: BTreeMap<NodeId, (Boot, BatchNumber)>,
    /// Members that only the unapplied part of the log binds to their data folders.
    bound: BTreeMap<NodeId, InstanceId>,
    /// Members that leave in the unapplied part of the log: what they send has no place behind that.
    leaving: BTreeSet<NodeId>,
    last_id: MessageId,
    time: LogTime,
    /// The feature level that this term has proposed.
    pub(crate) proposed_level: u32,
    /// Whether this term has proposed the users that the cluster begins with.
    pub(crate) seeded: bool,
    /// Whether it has proposed how much of channels is kept.
    pub(crate) ruled: bool,
    /// Whether this term has appended what the birth of the cluster needs next.
    pub(crate) birth_step: Option<BirthStep>,
}

/// Entries of a cluster's birth that a leader appends once a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BirthStep {
    Bootstrap,
    Formed,
}

impl Leading {
    /// Counts what the log holds: `unapplied` are the contexts of the entries after the applied one.
    pub(crate) fn new(term: Term, state: &State, unapplied: impl Iterator<Item = Bytes>) -> Self {
        let sessions = state
            .sessions()
            .map(|(node, boot, last)| (node, (boot, last)))
            .collect();
        let mut leading = Self {
            term,
            sessions,
            bound: BTreeMap::new(),
            leaving: BTreeSet::new(),
            last_id: state.last_id(),
            time: LogTime::default(),
            proposed_level: state.feature_level(),
            seeded: false,
            ruled: false,
            birth_step: None,
        };
        for context in unapplied {
            // The empty entry of a leader has no head. A head that this build does not know is found when it is
            // applied.
            match EntryHead::decode(context) {
                Ok(EntryHead::Batch(head)) => leading.appended_batch(&head),
                Ok(EntryHead::OpenSession {
                    node,
                    instance,
                    boot,
                    ..
                }) => {
                    leading.appended_session(state, node, instance, boot);
                }
                Ok(EntryHead::Bootstrap { members, .. }) => leading.bind(state, members),
                Ok(EntryHead::Join { member, .. }) => leading.appended_join(&member),
                Ok(EntryHead::Leave { node }) => leading.appended_leave(node),
                Ok(EntryHead::Time { stamp }) => leading.appended_id(stamp),
                Ok(
                    EntryHead::Formed
                    | EntryHead::Feature { .. }
                    | EntryHead::Users(_)
                    | EntryHead::History(_),
                )
                | Err(_) => {}
            }
        }
        leading
    }

    /// Only the first binding counts, as when it is applied.
    fn bind(&mut self, state: &State, members: Vec<Member>) {
        if state.cluster().is_none() && self.bound.is_empty() {
            self.bound = members.into_iter().map(|m| (m.id, m.instance)).collect();
        }
    }

    /// Notes that a node's joining is in the log.
    pub(crate) fn appended_join(&mut self, member: &Member) {
        self.bound.insert(member.id, member.instance);
    }

    /// Notes that a member's leaving is in the log.
    pub(crate) fn appended_leave(&mut self, node: NodeId) {
        self.sessions.remove(&node);
        self.leaving.insert(node);
    }

    /// Whether a boot may be recorded as its node's origin: a member, the data folder it is bound to, a later boot.
    pub(crate) fn may_open(
        &self,
        state: &State,
        node: NodeId,
        instance: InstanceId,
        boot: Boot,
    ) -> bool {
        let bound = state.member(node).map(|member| &member.instance);
        !self.leaving.contains(&node)
            && bound.or_else(|| self.bound.get(&node)) == Some(&instance)
            && self
                .sessions
                .get(&node)
                .is_none_or(|(last, _)| boot > *last)
    }

    /// Notes that the request to open a session is in the log.
    pub(crate) fn appended_session(
        &mut self,
        state: &State,
        node: NodeId,
        instance: InstanceId,
        boot: Boot,
    ) {
        if self.may_open(state, node, instance, boot) {
            self.sessions.insert(node, (boot, BatchNumber(0)));
        }
    }

    /// Decides about a batch.
    pub(crate) fn judge(&self, origin: NodeId, boot: Boot, number: BatchNumber) -> Verdict {
        match self.sessions.get(&origin) {
            Some((open, last)) if *open == boot => {
                if number <= *last {
                    Verdict::Appended
                } else if number == last.next() {
                    Verdict::Next
                } else {
                    Verdict::Expect(last.next())
                }
            }
            _ => Verdict::NoSession,
        }
    }

    /// Returns the stamp for a batch that is appended now: log time never goes back, whatever the clocks do.
    /// `median_ms` is the median clock of a majority.
    pub(crate) fn stamp(&mut self, now: Now, median_ms: Option<u64>) -> Stamp {
        let ms = self.time.now(now.mono_ms, median_ms, self.last_id.ms);
        if ms > self.last_id.ms {
            MessageId { ms, seq: 0 }
        } else {
            MessageId {
                ms: self.last_id.ms,
                seq: self.last_id.seq + 1,
            }
        }
    }

    /// Notes that a batch is in the log.
    pub(crate) fn appended_batch(&mut self, head: &BatchHead) {
        self.sessions.insert(head.origin, (head.boot, head.number));
        if head.ops > 0 {
            let seq = head.stamp.seq + u64::from(head.ops - 1);
            self.appended_id(MessageId {
                ms: head.stamp.ms,
                seq,
            });
        }
    }

    /// Notes that an id is in the log.
    pub(crate) fn appended_id(&mut self, id: MessageId) {
        self.last_id = self.last_id.max(id);
    }

    /// Returns the last id in the log.
    pub(crate) fn last_id(&self) -> MessageId {
        self.last_id
    }
}

#[cfg(test)]
mod tests;
