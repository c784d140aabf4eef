//! The parts of a run: faults, then healing and a demand for progress, then a comparison of
//! everything with everything.

use crate::clients::{Client, Role};
use crate::history::{Micros, Topic, Violation};
use crate::machine::Seat;
use crate::nodes::place;
use crate::scenario::{FaultKind, MS, SECOND};
use crate::world::{Event, Phase, World};
use bytes::Bytes;
use corgi_base::op::decode_ops;
use corgi_base::{EntryHead, Op, SubscriptionKind};

/// Within this time after healing every healed node takes a write, and later everybody has heard
/// everything (I20).
const DEADLINE: Micros = 10 * SECOND;

impl World {
    pub(crate) fn phase(&mut self, phase: Phase) -> Result<(), Violation> {
        self.trace.say(|| format!("phase {phase:?}"));
        match phase {
            Phase::Heal => {
                self.heal_some()?;
                let wait = DEADLINE + self.backlog();
                self.after(wait, Event::Phase(Phase::Progress));
                Ok(())
            }
            Phase::Progress => {
                self.check_progress()?;
                for node in 0..self.machines.len() {
                    self.machines[node].abandoned = false;
                    self.after(0, Event::Start { node });
                }
                self.draining = true;
                self.widen_pipes();
                let wait = DEADLINE + self.backlog();
                self.after(wait, Event::Phase(Phase::End));
                Ok(())
            }
            Phase::End => {
                self.check_end()?;
                self.over = true;
                Ok(())
            }
        }
    }

    /// What the tightest limits add to a deadline: they let followers have one entry a round trip,
    /// and the same for batches on their way to the leader.
    fn backlog(&self) -> Micros {
        let limits = &self.scenario.limits;
        let (delay, more) = self.scenario.delay;
        let round_trip = 2 * (delay + more);
        // A piece is asked for when the one before is on the disk; an offer may be lost, and a transfer begin anew.
        let snapshot = 2 * self.snapshot_pieces() * (round_trip + 20 * MS);
        if limits.append_bytes_max > 10_000 {
            return snapshot;
        }
        let held = self
            .machines
            .iter()
            .map(|machine| machine.folder.bounds().last_index.0);
        let (least, most) = (held.clone().min(), held.max());
        let entries = most.unwrap_or(0) - least.unwrap_or(0) + 100;
        snapshot + entries * (round_trip + 2 * self.scenario.sync.1)
    }

    /// Whether progress can be demanded of a majority alone. A cluster that is not complete needs all of its first
    /// members, one whose members are about to change may need any, and one that has lost a disk, or where a state is
    /// lost, needs somebody else who has it.
    fn may_leave_some_dead(&self, voters: &[usize]) -> bool {
        let whole = |node: &usize| {
            let machine = &self.machines[*node];
            let stays = !self.checks.members().may_leave(machine.id);
            let well = machine.harm.is_none() && !machine.abandoned;
            machine.is_member() && well && stays && self.members_are_known(*node)
        };
        let changes = self.members_change() && !(self.is_settled() && voters.iter().all(whole));
        !self.scenario.heal_all
            && self.checks.canon().formed()
            && !changes
            && !self.scenario.faults.contains(&FaultKind::LostState)
    }

    /// Ends the faults. Unless all is healed, a minority stays dead.
    fn heal_some(&mut self) -> Result<(), Violation> {
        self.heal();
        let mut voters: Vec<usize> = self
            .checks
            .members()
            .voters()
            .iter()
            .map(|node| place(*node))
            .collect();
        let dead = if self.may_leave_some_dead(&voters) {
            self.rng.index(voters.len().div_ceil(2))
        } else {
            0
        };
        let first = self.rng.index(voters.len().max(1));
        voters.rotate_left(first);
        for node in voters.into_iter().take(dead) {
            self.crash(node, true)?;
            self.machines[node].abandoned = true;
        }
        for node in 0..self.machines.len() {
            if !self.machines[node].abandoned {
                self.after(0, Event::Start { node });
            }
        }
        self.probe();
        Ok(())
    }

    fn check_progress(&self) -> Result<(), Violation> {
        for client in &self.clients {
            if client.role == Role::Probe && !client.done && self.must_serve(client.node) {
                let text = format!(
                    "n{} has taken no write until {} s after the healing",
                    client.node + 1,
                    (self.now - self.scenario.heal_at) / SECOND
                );
                return Violation::of("I20", text);
            }
        }
        Ok(())
    }

    fn check_end(&self) -> Result<(), Violation> {
        let last = self.checks.canon().last();
        for node in 0..self.machines.len() {
            if !self.is_whole(node)? {
                continue;
            }
            let applied = self.applied_of(node);
            if applied != Some(last) {
                let text = format!("n{} applied {applied:?} of {last} entries", node + 1);
                return Violation::of("I20", text);
            }
            let machine = &self.machines[node];
            let truncated = machine.folder.bounds().truncated_index;
            let payloads = self.history(node);
            self.checks.drained(machine.id, truncated, &payloads)?;
        }
        self.check_counts()?;
        if let Some((conn, topic, payload)) = self.checks.behind() {
            let name = crate::history::label(&payload);
            let text = format!("{conn:?} {topic:?} has never heard {name}");
            return Violation::of("I20", text);
        }
        for (id, client) in self.clients.iter().enumerate() {
            // A node that was removed, and knows nobody who could tell it, refuses one command after the other (seed
            // 20148 of an earlier simulator).
            let conn = client.conn.and_then(|conn| self.conns.get(&conn));
            if client.waits() && conn.is_some_and(|conn| self.must_serve(conn.node)) {
                return Violation::of("I21", format!("client c{id} still waits: {client:?}"));
            }
        }
        Ok(())
    }

    /// Every node counts the subscribers of all nodes (P6). Not while one is about to change what is counted: clients
    /// may reconnect to the last.
    fn check_counts(&self) -> Result<(), Violation> {
        if !self.clients.iter().all(Client::is_settled) {
            return Ok(());
        }
        for node in 0..self.machines.len() {
            let process = self.machines[node].process.as_ref();
            let Some(process) = process.filter(|_| self.must_serve(node)) else {
                continue;
            };
            let kinds = [
                SubscriptionKind::Channel,
                SubscriptionKind::Pattern,
                SubscriptionKind::Shard,
            ];
            let of_kind = |kind| {
                let listened = process.node.listened(kind).into_iter();
                listened.map(move |(name, here, there)| (Topic { kind, name }, here + there))
            };
            let counted = kinds.into_iter().flat_map(of_kind).collect();
            self.checks.counted(self.machines[node].id, &counted)?;
        }
        Ok(())
    }

    /// Whether a node must have everything at the end. Those that have left, or have stopped over a
    /// harmed disk, must be out.
    fn is_whole(&self, node: usize) -> Result<bool, Violation> {
        let machine = &self.machines[node];
        let members = self.checks.members();
        if members.has_left(machine.id) {
            // It hears of it from those that it knows.
            let mut known = machine.process.iter().flat_map(|process| &process.peers);
            if machine.harm.is_none() && known.any(|peer| self.must_serve(place(*peer))) {
                return Violation::of("I17", format!("n{} has left, and still runs", node + 1));
            }
            return Ok(false);
        }
        if machine.seat == Seat::Broken && members.voters().contains(&machine.id) {
            return Violation::of(
                "I20",
                format!("n{} has stopped, and was not replaced", node + 1),
            );
        }
        Ok(machine.is_member() && machine.harm.is_none())
    }

    /// Reads a node's history anew from its disk: the payloads in log order, as far as the log reaches back.
    fn history(&self, node: usize) -> Vec<Bytes> {
        let mut payloads = Vec::new();
        for entry in self.machines[node].folder.entries() {
            let Ok(EntryHead::Batch(head)) = EntryHead::decode(entry.context) else {
                continue;
            };
            let ops = decode_ops(head.ops, entry.data).unwrap_or_default();
            payloads.extend(ops.into_iter().filter_map(|op| match op {
                Op::Publish { payload, .. } | Op::ShardPublish { payload, .. } => Some(payload),
                Op::Key { .. } | Op::Guard { .. } | Op::Users(_) | Op::HistoryRules(_) => None,
            }));
        }
        payloads
    }
}
