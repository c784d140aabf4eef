//! What happens on one machine: its process starts, ticks, writes, and says what it has decided.

use crate::history::{Record, Violation};
use crate::machine::{Group, Process};
use crate::scenario::{MS, SECOND};
use crate::world::{Event, World};
use corgi_base::{LogIndex, NodeId};
use corgi_consensus::inspect::{Promise, promise};
use corgi_consensus::storage::{LogEntry, LogReader, LogWriter};
use corgi_consensus::{PersistToken, Role};
use corgi_node::{DiskJob, Outputs, PeerMessage};
use corgi_session::Told;
use corgi_state::store::{StateStore, StateWrite};

/// Where a node stands in the lists.
pub(crate) fn place(node: NodeId) -> usize {
    usize::try_from(node.get() - 1).expect("simulated nodes are few")
}

impl World {
    pub(crate) fn start(&mut self, node: usize) -> Result<(), Violation> {
        if self.machines[node].process.is_some() || self.machines[node].abandoned {
            return Ok(());
        }
        let machine = &mut self.machines[node];
        let log = self
            .trace
            .logger()
            .new(slog::o!("node" => machine.id.get()));
        let started = machine.start(self.now, &self.scenario, &mut self.rng, &log);
        self.trace.say(|| format!("n{} starts", node + 1));
        if let Err(text) = started {
            return Violation::of("I24", format!("n{} cannot start: {text}", node + 1));
        }
        #[cfg(feature = "seeded-bugs")]
        self.seed_bug(node);
        let life = self.machines[node].life;
        self.after(0, Event::Tick { node, life });
        let wait = self.scenario.flush_every;
        self.after(wait, Event::Flush { node, life });
        self.note_disk(node, Vec::new())?;
        self.drain(node)
    }

    #[cfg(feature = "seeded-bugs")]
    fn seed_bug(&mut self, node: usize) {
        if let (Some(bug), Some(process)) = (self.bug, &mut self.machines[node].process) {
            process.node.seed_bug(bug);
        }
    }

    /// Ends a process as `kill -9` or a power cut does.
    pub(crate) fn crash(&mut self, node: usize, power: bool) -> Result<(), Violation> {
        if self.machines[node].process.is_none() {
            return Ok(());
        }
        self.trace.say(|| {
            format!(
                "n{} {}",
                node + 1,
                if power { "loses power" } else { "is killed" }
            )
        });
        let deferred = std::mem::take(&mut self.machines[node].deferred);
        let entries = self.machines[node].crash(&mut self.rng);
        // What came while it was paused now finds a closed port.
        self.catch_up(deferred);
        self.break_links(node, power);
        self.drop_conns(node, power);
        self.note_disk(node, entries)
    }

    /// Shows the checkers what has come to the disk.
    pub(crate) fn note_disk(
        &mut self,
        node: usize,
        entries: Vec<LogEntry>,
    ) -> Result<(), Violation> {
        let machine = &self.machines[node];
        let bounds = machine.log.writer().bounds();
        let bounds = bounds.expect("a disk in memory can be read");
        let node = machine.id;
        self.record(&Record::Wrote { node, entries })?;
        self.record(&Record::Voted {
            node,
            hard_state: bounds.hard_state,
        })
    }

    pub(crate) fn tick(&mut self, node: usize, life: u64) -> Result<(), Violation> {
        let machine = &mut self.machines[node];
        if machine.life != life {
            return Ok(());
        }
        let Some(process) = &mut machine.process else {
            return Ok(());
        };
        process.node.tick(machine.clock.now(self.now));
        let stop = process.stop_by;
        let ready = process.node.may_stop();
        let wait = machine.clock.real(self.scenario.timeouts.tick_ms * MS);
        self.after(wait, Event::Tick { node, life });
        self.drain(node)?;
        if stop.is_some_and(|by| ready || self.now >= by) {
            return self.crash(node, false);
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self, node: usize, life: u64) {
        let machine = &mut self.machines[node];
        if machine.life != life {
            return;
        }
        if let Some(process) = &mut machine.process {
            let flushed = process.store.flush();
            flushed.expect("a disk in memory takes every write");
            process.truncate = true;
            let wait = self.scenario.flush_every;
            self.after(wait, Event::Flush { node, life });
        }
        self.machines[node].truncate(self.scenario.retain_bytes, self.now);
    }

    /// The process stands still from now on.
    pub(crate) fn pause(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        if machine.process.is_some() {
            machine.paused = true;
            machine.answerable_since = u64::MAX;
        }
    }

    pub(crate) fn resume(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        if !machine.paused {
            return;
        }
        machine.paused = false;
        machine.answerable_since = self.now;
        let deferred = std::mem::take(&mut machine.deferred);
        self.catch_up(deferred);
    }

    /// Begins the next group of writes, if the disk is free.
    fn begin_group(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        let (life, extra) = (machine.life, machine.sync_extra);
        if let Some(group) = machine.process.as_mut().and_then(Process::begin_group) {
            let (least, most) = self.scenario.sync;
            let wait = self.rng.between(least, most) + extra;
            self.after(wait, Event::Synced { node, life, group });
        }
    }

    /// The oldest read of a node's log is done: reads take a while, and the node goes on meanwhile.
    pub(crate) fn read_log(&mut self, node: usize, life: u64) -> Result<(), Violation> {
        let machine = &mut self.machines[node];
        if machine.life != life {
            return Ok(());
        }
        let reader = machine.log.reader();
        let now = machine.clock.now(self.now);
        if let Some(process) = &mut machine.process
            && let Some(read) = process.reads.pop_front()
        {
            process.node.log_read(now, read.run(&reader));
        }
        self.drain(node)
    }

    /// A stalled disk goes on.
    pub(crate) fn hurry_disk(&mut self, node: usize) {
        let machine = &self.machines[node];
        if let Some(process) = &machine.process {
            let (life, group) = (machine.life, process.group);
            self.after(0, Event::Synced { node, life, group });
        }
    }

    pub(crate) fn synced(&mut self, node: usize, life: u64, group: u64) -> Result<(), Violation> {
        let machine = &mut self.machines[node];
        let alive = machine.process.as_ref().filter(|_| machine.life == life);
        if alive.is_none_or(|process| process.group != group || process.busy.is_none()) {
            return Ok(());
        }
        if machine.disk_fails {
            machine.disk_fails = false;
            self.trace.say(|| format!("n{} cannot write", node + 1));
            self.crash(node, false)?;
            let wait = self.rng.between(100 * MS, 3 * SECOND);
            self.after(wait, Event::Start { node });
            return Ok(());
        }
        if let Some(process) = &mut machine.process
            && let Some(Group::Install(install)) = process
                .busy
                .take_if(|group| matches!(group, Group::Install(_)))
        {
            self.installed(node, install)?;
            self.begin_group(node);
            return Ok(());
        }
        let (entries, tokens) = machine.finish_group();
        self.note_disk(node, entries)?;
        for token in tokens {
            self.persisted(node, token)?;
        }
        self.machines[node].truncate(self.scenario.retain_bytes, self.now);
        self.begin_group(node);
        Ok(())
    }

    fn persisted(&mut self, node: usize, token: PersistToken) -> Result<(), Violation> {
        let machine = &mut self.machines[node];
        if let Some(process) = &mut machine.process {
            process.node.persisted(machine.clock.now(self.now), token);
        }
        self.drain(node)
    }

    /// Does what a node has decided, until it has decided nothing more.
    pub(crate) fn drain(&mut self, node: usize) -> Result<(), Violation> {
        let mut woken = Vec::new();
        while let Some(process) = &mut self.machines[node].process {
            let out = process.node.outputs();
            if out.is_empty() {
                break;
            }
            self.take_outputs(node, out, &mut woken)?;
        }
        self.note_leader(node)?;
        for conn in woken {
            self.converse(conn)?;
        }
        Ok(())
    }

    fn take_outputs(
        &mut self,
        node: usize,
        out: Outputs,
        woken: &mut Vec<crate::history::ConnId>,
    ) -> Result<(), Violation> {
        let Outputs {
            mut send,
            disk,
            clients,
            peers,
            reads,
            snapshots,
            // Nobody asks for changes of the members.
            probes: _,
            removed,
            fatal,
        } = out;
        if let Some(text) = removed {
            return Violation::of("I17", format!("n{} leaves unasked: {text}", node + 1));
        }
        if let Some(text) = fatal {
            return Violation::of("I24", format!("n{} gives up: {text}", node + 1));
        }
        if let Some(peers) = peers {
            self.set_peers(node, peers.iter().map(|peer| peer.id).collect());
        }
        for job in disk {
            if let DiskJob::State(write) = &job {
                self.applied(node, write)?;
            }
            if let Some(process) = &mut self.machines[node].process {
                process.queue.push_back(job);
            }
        }
        self.begin_group(node);
        let life = self.machines[node].life;
        for read in reads {
            if let Some(process) = &mut self.machines[node].process {
                process.reads.push_back(read);
            }
            let wait = self.rng.skewed(100, 5 * MS);
            self.after(wait, Event::Read { node, life });
        }
        self.begin_snapshots(node, snapshots);
        for (client, told) in clients {
            let process = self.machines[node].process.as_ref();
            let conn = process
                .and_then(|process| process.conns.get(&client))
                .copied();
            if let Some(conn) = conn {
                self.told(conn, told)?;
                woken.push(conn);
            }
        }
        // raft-rs keeps its peers in hash maps whose order is a matter of the machine.
        send.sort_by_key(|(to, _)| *to);
        for (to, message) in send {
            self.check_promise(node, &message)?;
            if !self.send(node, place(to), &message)
                && let Some(process) = &mut self.machines[node].process
            {
                process.node.send_failed(to);
            }
        }
        Ok(())
    }

    /// Shows the checkers what a node has applied: read back from its own disk.
    fn applied(&mut self, node: usize, write: &StateWrite) -> Result<(), Violation> {
        let machine = &mut self.machines[node];
        let id = machine.id;
        let Some(process) = &mut machine.process else {
            return Ok(());
        };
        let (from, upto) = (process.applied.next(), write.applied);
        let hash = process.take_rows(write);
        let voters = process.node.voters().to_vec();
        let entries = machine.log.reader().entries(from, upto.next(), u64::MAX);
        let entries = match entries {
            Ok(entries) if entries.len() as u64 == upto.0 + 1 - from.0 => entries,
            Ok(_) | Err(_) => {
                let text = format!("{id:?} applied up to {upto}, which is not on its disk");
                return Violation::of("I14", text);
            }
        };
        for entry in entries {
            // Only the first to apply an entry shows when it was committed.
            let fresh = entry.index > self.checks.canon().last();
            let holds = |voter: &&NodeId| {
                let reader = self.machines[place(**voter)].log.reader();
                reader.term(entry.index) == Ok(entry.term)
            };
            let holders = if fresh {
                voters.iter().filter(holds).count()
            } else {
                0
            };
            let record = Record::Applied {
                node: id,
                entry,
                holders,
                voters: voters.len(),
            };
            self.record(&record)?;
        }
        self.record(&Record::Rows {
            node: id,
            applied: upto,
            hash,
        })
    }

    fn note_leader(&mut self, node: usize) -> Result<(), Violation> {
        let machine = &mut self.machines[node];
        let id = machine.id;
        let Some(process) = &mut machine.process else {
            return Ok(());
        };
        let Some(status) = process.node.raft_status() else {
            return Ok(());
        };
        if status.role != Role::Leader || process.led == Some(status.term) {
            return Ok(());
        }
        process.led = Some(status.term);
        self.trace
            .say(|| format!("{id:?} leads term {}", status.term));
        self.record(&Record::Leads {
            node: id,
            term: status.term,
        })
    }

    /// A message must not leave before the sender's disk has what it promises (I13, I14).
    fn check_promise(&self, node: usize, message: &PeerMessage) -> Result<(), Violation> {
        let PeerMessage::Raft { bytes, .. } = message else {
            return Ok(());
        };
        let machine = &self.machines[node];
        let Some(process) = &machine.process else {
            return Ok(());
        };
        let bounds = process.writer.bounds();
        let bounds = bounds.expect("a disk in memory can be read");
        let (disk, last) = (bounds.hard_state, bounds.last_index);
        let Some(promise) = promise(machine.id, bytes) else {
            return Violation::of("I13", "a message is none".to_owned());
        };
        let (invariant, kept) = match promise {
            Promise::Nothing => return Ok(()),
            Promise::Term(term) => ("I13", disk.term >= term),
            Promise::Vote { term, candidate } => {
                let voted = disk.term == term && disk.vote == Some(candidate);
                ("I13", voted || disk.term > term)
            }
            // A later leader may have replaced what was accepted in an earlier term.
            Promise::Append { term, index } => (
                "I14",
                disk.term > term || (disk.term == term && last >= index),
            ),
        };
        if kept {
            return Ok(());
        }
        let text = format!(
            "{:?} promises {promise:?}, but its disk has {disk:?} and ends with entry {last}",
            machine.id
        );
        Violation::of(invariant, text)
    }

    /// Returns up to where a running node has applied the log.
    pub(crate) fn applied_of(&self, node: usize) -> Option<LogIndex> {
        let process = self.machines[node].process.as_ref();
        process.map(|process| process.applied)
    }

    /// Takes what a node tells a connection.
    fn told(&mut self, conn: crate::history::ConnId, told: Vec<Told>) -> Result<(), Violation> {
        for told in told {
            self.hear(conn, told)?;
        }
        Ok(())
    }
}
