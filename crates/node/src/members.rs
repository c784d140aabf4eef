//! Changes of the members, on the leader.
//!
//! ```text
//!   CLUSTER MEET ── Change ─▶ probe the address ─▶ Join (learner) ── caught up ─┬──────────────────────────▶ voter
//!   … REPLACE id                                                               ├▶ voter ─▶ Leave of the old one
//!                                                                              └▶ Leave ─▶ voter, if it is dead
//!   CLUSTER FORGET ─ Change ─▶ (hand leadership over, if it is the leader) ─▶ Leave
//! ```
//!
//! Invariants
//! - One change at a time: the next one begins when nobody is on the way to a vote, and nothing is unapplied.
//! - Each step is one entry of the log that changes one member, so that the majorities before and after overlap. What
//!   has been begun is in the log, so that any later leader goes on with it.
//! - An id is bound to a data folder in the same entry that lets it receive, long before it may vote, and is never used
//!   again after it has left.
//! - A replaced member that is well votes until the new one does: any other may die between two steps. A dead one
//!   leaves before the new one votes, so that the majority depends on one less. None leaves while the others that are
//!   up are no majority: one of them may have died since the change was asked for.
//! - A request is refused, with the reason, before anything is in the log; or it is in the log.

use crate::birth::caught_up;
use crate::errors;
use crate::outputs::Probe;
use crate::peer::{PeerHello, PeerMessage};
use crate::running::Running;
use crate::shared::Shared;
use bytes::Bytes;
use corgi_base::{EntryHead, LogIndex, Member, NodeId, Now};
use corgi_consensus::MemberChange;
use corgi_consensus::storage::LogReader;
use slog::{info, warn};
use std::collections::VecDeque;

/// More members make every write slower and no cluster safer.
const MEMBERS_MAX: usize = 9;
/// So many answers are kept, for requests that come twice because an answer was lost.
const ANSWERS_MAX: usize = 64;
/// An address that has not answered by then does not.
const PROBE_MS: u64 = 2000;

/// What a client asks the leader for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// That the node which sends this leads.
    Lead,
    /// That a member leaves.
    Forget(NodeId),
    /// That the node at an address joins.
    Meet {
        /// `host:port` of its peer listener.
        addr: Bytes,
        /// The member that leaves when the new one has caught up.
        replaces: Option<NodeId>,
    },
}

/// A request that the leader works on.
#[derive(Debug)]
struct Order {
    from: NodeId,
    number: u64,
    change: Change,
    stage: Stage,
    /// Leadership that has not gone by then stays: as long as it is on its way nothing is appended.
    stays_ms: u64,
}

#[derive(Debug)]
enum Stage {
    /// Nothing is done yet, or leadership has to be handed over first.
    New,
    /// Who is at the address?
    Probing { probe: u64, until_ms: u64 },
    /// It is in the log of this leader.
    Appended(LogIndex, NodeId),
}

/// The requests of one term of leadership.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    current: Option<Order>,
    answered: VecDeque<(NodeId, u64, Result<(), Bytes>)>,
    probes: u64,
}

impl Orders {
    /// Takes note that this node does not lead: whoever asked asks the next leader.
    pub(crate) fn lost(&mut self) {
        self.current = None;
        self.answered.clear();
    }
}

/// How long a client's request may keep leadership on its way: two elections, or the heirs are not well.
fn handing_over_ms(shared: &Shared) -> u64 {
    2 * shared.config.timeouts.election_ms
}

impl<R: LogReader> Running<R> {
    /// Takes a request, if this node leads.
    pub(crate) fn take_order(
        &mut self,
        shared: &mut Shared,
        now: Now,
        from: NodeId,
        number: u64,
        change: Change,
    ) {
        if self.leading.is_none() {
            return;
        }
        let known = |(node, n, _): &&(NodeId, u64, _)| (*node, *n) == (from, number);
        if let Some((.., result)) = self.orders.answered.iter().find(known) {
            let result = result.clone();
            return self.send_answer(shared, from, number, result);
        }
        match &self.orders.current {
            Some(order) if (order.from, order.number) == (from, number) => return,
            Some(_) => {
                // Kept too: the same request may come again when this one is done, and its client has been told.
                let busy = Err(errors::change_pending(None));
                return self.keep_answer(shared, from, number, busy);
            }
            None => {}
        }
        self.orders.current = Some(Order {
            from,
            number,
            change,
            stage: Stage::New,
            stays_ms: now.mono_ms + handing_over_ms(shared),
        });
        self.work_on_order(shared, now);
    }

    fn answer(&mut self, shared: &mut Shared, result: Result<(), Bytes>) {
        let Some(order) = self.orders.current.take() else {
            return;
        };
        if let Err(text) = &result {
            info!(shared.log, "refused a change of the members"; "change" => ?order.change,
                "error" => %String::from_utf8_lossy(text));
        }
        self.keep_answer(shared, order.from, order.number, result);
    }

    /// Answers a request, and each copy of it that comes later with the same.
    fn keep_answer(
        &mut self,
        shared: &mut Shared,
        to: NodeId,
        number: u64,
        result: Result<(), Bytes>,
    ) {
        let answers = &mut self.orders.answered;
        answers.push_back((to, number, result.clone()));
        if answers.len() > ANSWERS_MAX {
            answers.pop_front();
        }
        self.send_answer(shared, to, number, result);
    }

    fn send_answer(
        &mut self,
        shared: &mut Shared,
        to: NodeId,
        number: u64,
        result: Result<(), Bytes>,
    ) {
        if to == shared.config.id {
            shared.admin.answered(&mut shared.clients, number, result);
        } else {
            let message = PeerMessage::Changed { number, result };
            shared.out.send.push((to, message));
        }
    }

    /// Brings the current request as far as it can go now.
    pub(crate) fn work_on_order(&mut self, shared: &mut Shared, now: Now) {
        let Some(order) = &self.orders.current else {
            return;
        };
        if self.leading.is_none() {
            return self.orders.lost();
        }
        let (from, change) = (order.from, order.change.clone());
        let leads = matches!(change, Change::Lead) || change == Change::Forget(shared.config.id);
        if leads && now.mono_ms >= order.stays_ms {
            let error = errors::no_failover(handing_over_ms(shared));
            return self.answer(shared, Err(error));
        }
        if matches!(order.stage, Stage::New)
            && change != Change::Lead
            && self.group.change_pending()
        {
            // It may be this very one, from the leader before: not refused, and then made.
            return;
        }
        match (&order.stage, change) {
            (Stage::New, Change::Lead) => {
                if let Err(text) = self.give_to(shared, now, from) {
                    self.answer(shared, Err(text));
                }
            }
            (Stage::New, Change::Forget(node)) => {
                if let Some(result) = self.forget(shared, now, node) {
                    self.answer(shared, result);
                }
            }
            (Stage::New, Change::Meet { addr, replaces }) => {
                if let Err(text) = self.may_meet(shared, &addr, replaces) {
                    return self.answer(shared, Err(text));
                }
                self.orders.probes += 1;
                let number = self.orders.probes;
                let id = self.state.next_node_id();
                shared.out.probes.push(Probe { number, addr, id });
                self.stage(Stage::Probing {
                    probe: number,
                    until_ms: now.mono_ms + PROBE_MS,
                });
            }
            (Stage::Probing { until_ms, .. }, Change::Meet { addr, .. }) => {
                if now.mono_ms >= *until_ms {
                    let why = format!("no answer within {PROBE_MS} ms");
                    self.answer(shared, Err(errors::no_target(&addr, &why)));
                }
            }
            (Stage::Appended(index, node), change) => {
                if self.state.applied() >= *index {
                    let done = match change {
                        Change::Meet { .. } => self.state.member(*node).is_some(),
                        Change::Forget(_) | Change::Lead => self.state.is_gone(*node),
                    };
                    // A leader's entry is applied as appended, or it has lost leadership on the way.
                    let result = if done {
                        Ok(())
                    } else {
                        Err(errors::change_lost())
                    };
                    self.answer(shared, result);
                }
            }
            (Stage::Probing { .. }, Change::Lead | Change::Forget(_)) => {}
        }
    }

    fn stage(&mut self, stage: Stage) {
        if let Some(order) = &mut self.orders.current {
            order.stage = stage;
        }
    }

    /// Returns the outcome, or `None` if there is none yet.
    fn forget(&mut self, shared: &mut Shared, now: Now, node: NodeId) -> Option<Result<(), Bytes>> {
        if self.state.is_gone(node) {
            // Most likely asked for twice, because an answer was lost.
            return Some(Ok(()));
        }
        if let Err(text) = self.may_forget(shared, node) {
            return Some(Err(text));
        }
        if node == shared.config.id {
            // Its next leader is asked again by whoever asked.
            if !self.hands_over(shared, now) {
                return Some(Err(errors::no_heir()));
            }
            return None;
        }
        let head = EntryHead::Leave { node };
        match self.append_change(MemberChange::Remove(node), &head) {
            Ok(index) => {
                self.stage(Stage::Appended(index, node));
                None
            }
            Err(text) => Some(Err(text)),
        }
    }

    fn append_change(&mut self, change: MemberChange, head: &EntryHead) -> Result<LogIndex, Bytes> {
        let position = self.group.propose_change(change, head.encode());
        let position = position.map_err(|error| errors::change_refused(&error.to_string()))?;
        if let Some(leading) = &mut self.leading {
            match head {
                EntryHead::Join { member, .. } => leading.appended_join(member),
                EntryHead::Leave { node } => leading.appended_leave(*node),
                EntryHead::Batch(_)
                | EntryHead::OpenSession { .. }
                | EntryHead::Bootstrap { .. }
                | EntryHead::Formed
                | EntryHead::Users(_)
                | EntryHead::History(_)
                | EntryHead::Feature { .. }
                | EntryHead::Time { .. } => {}
            }
        }
        Ok(position.index)
    }

    /// Whether the cluster is ready for a change; `node` may leave although it is on the way to a vote.
    fn is_settled(&self, node: Option<NodeId>) -> Result<(), Bytes> {
        if !self.state.formed() {
            return Err(errors::not_formed());
        }
        let mut voters = self.state.voters().iter();
        let replaced = voters.find_map(|heir| self.state.replaced_by(*heir));
        if replaced.is_some() && replaced != node {
            return Err(errors::change_pending(None));
        }
        match self.state.learners() {
            [] => Ok(()),
            [learner] if Some(*learner) == node => Ok(()),
            [learner, ..] => Err(errors::change_pending(Some(*learner))),
        }
    }

    fn may_forget(&self, shared: &Shared, node: NodeId) -> Result<(), Bytes> {
        self.is_settled(Some(node))?;
        if self.state.member(node).is_none() {
            return Err(errors::unknown_node(node.to_string().as_bytes()));
        }
        if !self.state.voters().contains(&node) {
            return Ok(());
        }
        let rest = self.others_than(node);
        if rest.is_empty() {
            return Err(errors::last_voter(node));
        }
        self.reaches_majority(shared, &rest, 0)
    }

    fn others_than(&self, node: NodeId) -> Vec<NodeId> {
        let voters = self.state.voters().iter().copied();
        voters.filter(|voter| *voter != node).collect()
    }

    fn may_meet(
        &self,
        shared: &Shared,
        addr: &Bytes,
        replaces: Option<NodeId>,
    ) -> Result<(), Bytes> {
        self.is_settled(None)?;
        let voters = self.state.voters();
        if self.state.members().any(|member| member.addr == *addr) && replaces.is_none() {
            return Err(errors::address_taken(addr));
        }
        let rest: Vec<NodeId> = match replaces {
            Some(old) if !voters.contains(&old) => {
                return Err(errors::unknown_node(old.to_string().as_bytes()));
            }
            Some(old) => self.others_than(old),
            None if voters.len() >= MEMBERS_MAX => return Err(errors::too_many(MEMBERS_MAX)),
            None => voters.to_vec(),
        };
        if !rest.is_empty() {
            // Before the new one votes the rest decide alone; afterwards it counts too.
            let without = replaces.is_some();
            self.reaches_majority(shared, &rest, usize::from(!without))?;
        }
        Ok(())
    }

    /// Whether a majority of `voters` and `new` more nodes, which answer, can be reached.
    fn reaches_majority(
        &self,
        shared: &Shared,
        voters: &[NodeId],
        new: usize,
    ) -> Result<(), Bytes> {
        let own = shared.config.id;
        let up = voters
            .iter()
            .filter(|node| **node == own || shared.peers_up.contains(node));
        let (up, all) = (up.count() + new, voters.len() + new);
        if up > all / 2 {
            Ok(())
        } else {
            Err(errors::too_few_up(up, all))
        }
    }

    /// Takes the answer to a probe.
    pub(crate) fn probed(
        &mut self,
        shared: &mut Shared,
        number: u64,
        answer: Result<PeerHello, String>,
    ) {
        let Some(Order {
            stage: Stage::Probing { probe, .. },
            change: Change::Meet { addr, replaces },
            ..
        }) = &self.orders.current
        else {
            return;
        };
        if *probe != number || self.leading.is_none() {
            return;
        }
        let (addr, replaces) = (addr.clone(), *replaces);
        match self.join(shared, &addr, replaces, answer) {
            Ok((index, node)) => self.stage(Stage::Appended(index, node)),
            Err(text) => self.answer(shared, Err(text)),
        }
    }

    fn join(
        &mut self,
        shared: &Shared,
        addr: &Bytes,
        replaces: Option<NodeId>,
        answer: Result<PeerHello, String>,
    ) -> Result<(LogIndex, NodeId), Bytes> {
        let hello = answer.map_err(|why| errors::no_target(addr, &why))?;
        let node = hello.id;
        if let Some(theirs) = hello.formation {
            let ours = theirs.cluster == self.formation.cluster;
            return Err(errors::formed_already(addr, ours, theirs.cluster));
        }
        if let Some(other) = self.state.bound_to(hello.instance) {
            return Err(errors::folder_used(addr, other));
        }
        if self.state.member(node).is_some() || self.state.is_gone(node) {
            return Err(errors::id_used(node, self.state.next_node_id()));
        }
        self.may_meet(shared, addr, replaces)?;
        let member = Member {
            id: node,
            instance: hello.instance,
            addr: addr.clone(),
        };
        info!(shared.log, "a node joins"; "joins" => node.get(),
            "addr" => %String::from_utf8_lossy(addr), "replaces" => replaces.map_or(0, NodeId::get));
        let head = EntryHead::Join { member, replaces };
        let index = self.append_change(MemberChange::AddLearner(node), &head)?;
        Ok((index, node))
    }

    /// Brings a member that has joined one step further, if this node leads.
    pub(crate) fn promote(&mut self, shared: &Shared) {
        if self.leading.is_none() || !self.state.formed() {
            return;
        }
        let &[learner] = self.state.learners() else {
            return;
        };
        let last = self.group.status().last_index;
        // A build that is too old for the cluster stops where it cannot apply the log: with a vote it
        // would leave the others one short.
        let able = shared.vitals.can_apply(learner, self.state.feature_level());
        if !able || !caught_up(learner, &self.group.matched(), last) {
            return;
        }
        let replaced = self.state.replaced_by(learner);
        let voters = self.state.voters();
        let up = |node: NodeId| node == shared.config.id || shared.peers_up.contains(&node);
        let leaves = replaced.filter(|old| voters.contains(old) && !up(*old));
        let (rest, comes) = match leaves {
            Some(old) => (self.others_than(old), 0),
            None => (voters.to_vec(), 1),
        };
        if !up(learner) || self.reaches_majority(shared, &rest, comes).is_err() {
            return;
        }
        let result = match leaves {
            Some(old) => {
                let head = EntryHead::Leave { node: old };
                self.append_change(MemberChange::Remove(old), &head)
            }
            None => {
                let change = MemberChange::AddVoter(learner);
                let position = self.group.propose_change(change, Bytes::new());
                position
                    .map(|at| at.index)
                    .map_err(|error| errors::change_refused(&error.to_string()))
            }
        };
        if result.is_ok() {
            info!(shared.log, "a node that joined has caught up"; "joins" => learner.get());
        }
    }

    /// Lets a replaced member go that has voted until the new one did.
    pub(crate) fn retire(&mut self, shared: &mut Shared, now: Now) {
        if self.leading.is_none() || !self.state.learners().is_empty() {
            return;
        }
        let voters = self.state.voters().iter();
        let mut replaced = voters.filter_map(|heir| self.state.replaced_by(*heir));
        let Some(old) = replaced.next() else {
            return;
        };
        let rest = self.others_than(old);
        if self.reaches_majority(shared, &rest, 0).is_err() {
            return;
        }
        if old == shared.config.id {
            self.hands_over(shared, now);
        } else if let Err(text) =
            self.append_change(MemberChange::Remove(old), &EntryHead::Leave { node: old })
        {
            slog::debug!(shared.log, "a replaced member stays for now"; "node" => old.get(),
                "error" => %String::from_utf8_lossy(&text));
        }
    }

    /// Notes a change of the members that was applied.
    pub(crate) fn members_changed(&mut self, shared: &mut Shared) {
        let own = shared.config.id;
        self.tell_peers(shared);
        if self.state.is_gone(own) {
            warn!(shared.log, "this node was removed from the cluster"; "node" => own.get());
            shared.resign();
        }
    }
}
