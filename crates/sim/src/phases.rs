//! The parts of a run: faults, then healing and a demand for progress, then a comparison of
//! everything with everything.

use crate::clients::Role;
use crate::history::{Micros, Violation};
use crate::scenario::SECOND;
use crate::world::{Event, Phase, World};
use bytes::Bytes;
use corgi_base::op::decode_ops;
use corgi_base::{EntryHead, LogIndex, Op};
use corgi_consensus::storage::{LogReader, LogWriter};

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
        if limits.append_bytes_max > 10_000 {
            return 0;
        }
        let held = self.machines.iter().map(|machine| {
            let bounds = machine.log.writer().bounds();
            bounds.map_or(0, |bounds| bounds.last_index.0)
        });
        let (least, most) = (held.clone().min(), held.max());
        let entries = most.unwrap_or(0) - least.unwrap_or(0) + 100;
        let (delay, more) = self.scenario.delay;
        entries * (2 * (delay + more) + 2 * self.scenario.sync.1)
    }

    /// Ends the faults. Unless all is healed, a minority stays dead.
    fn heal_some(&mut self) -> Result<(), Violation> {
        self.heal();
        let nodes = self.machines.len();
        // A cluster that is not complete needs all of its first members.
        let all = self.scenario.heal_all || !self.checks.canon().formed();
        let dead = if all {
            0
        } else {
            self.rng.index(nodes.div_ceil(2))
        };
        let first = self.rng.index(nodes);
        for k in 0..nodes {
            let node = (first + k) % nodes;
            if k < dead {
                self.crash(node, true)?;
                self.machines[node].abandoned = true;
            } else {
                self.after(0, Event::Start { node });
            }
        }
        self.probe();
        Ok(())
    }

    fn check_progress(&self) -> Result<(), Violation> {
        for client in &self.clients {
            if client.role == Role::Probe && !client.done {
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
            let applied = self.applied_of(node);
            if applied != Some(last) {
                let text = format!("n{} applied {applied:?} of {last} entries", node + 1);
                return Violation::of("I20", text);
            }
            let (truncated, payloads) = self.history(node, last)?;
            let node = self.machines[node].id;
            self.checks.drained(node, truncated, &payloads)?;
        }
        if let Some((conn, topic, payload)) = self.checks.behind() {
            let name = crate::history::label(&payload);
            let text = format!("{conn:?} {topic:?} has never heard {name}");
            return Violation::of("I20", text);
        }
        for (id, client) in self.clients.iter().enumerate() {
            if client.conn.is_some() && client.waits() {
                return Violation::of("I21", format!("client c{id} still waits: {client:?}"));
            }
        }
        Ok(())
    }

    /// Reads a node's history anew from its disk: up to where it is truncated, and the payloads after that in log order.
    fn history(&self, node: usize, upto: LogIndex) -> Result<(LogIndex, Vec<Bytes>), Violation> {
        let log = &self.machines[node].log;
        let bounds = log.writer().bounds();
        let truncated = bounds.map_or(LogIndex(0), |bounds| bounds.truncated_index);
        let entries = log
            .reader()
            .entries(truncated.next(), upto.next(), u64::MAX);
        let Ok(entries) = entries else {
            return Violation::of("I01", format!("n{} has lost its log", node + 1));
        };
        let mut payloads = Vec::new();
        for entry in entries {
            let Ok(EntryHead::Batch(head)) = EntryHead::decode(entry.context) else {
                continue;
            };
            let ops = decode_ops(head.ops, entry.data).unwrap_or_default();
            payloads.extend(ops.into_iter().map(|op| {
                let (Op::Publish { payload, .. } | Op::ShardPublish { payload, .. }) = op;
                payload
            }));
        }
        Ok((truncated, payloads))
    }
}
