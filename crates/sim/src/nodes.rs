//! What happens on one machine: its process starts, ticks, writes, and says what it has decided.

use crate::history::{Record, Violation};
use crate::machine::{Group, Machine, Process, Seat};
use crate::scenario::{MS, SECOND};
use crate::world::{Event, World};
use corgi_base::{LogIndex, NodeId};
use corgi_consensus::inspect::{Promise, promise};
use corgi_consensus::storage::LogEntry;
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
        let machine = &self.machines[node];
        let off = machine.abandoned || !machine.is_member();
        if machine.process.is_some() || off || self.would_pass(node) {
            return Ok(());
        }
        if self.wants_copies() && self.rng.chance(30) {
            let machine = &mut self.machines[node];
            machine.old = machine.folder.copy();
        }
        #[cfg(feature = "seeded-bugs")]
        self.seed_mistakes(node);
        let machine = &mut self.machines[node];
        let log = self
            .trace
            .logger()
            .new(slog::o!("node" => machine.id.get()));
        let started = machine.start(self.now, &self.scenario, &mut self.rng, &log);
        self.trace.say(|| format!("n{} starts", node + 1));
        if let Err(text) = started {
            return self.gives_up(node, text);
        }
        #[cfg(feature = "seeded-bugs")]
        self.seed_bug(node);
        let machine = &self.machines[node];
        let (id, life) = (machine.id, machine.life);
        self.record(&Record::Started {
            node: id,
            instance: machine.folder.instance,
            boot: machine.folder.boot,
            bounds: machine.folder.bounds(),
        })?;
        self.after(0, Event::Tick { node, life });
        self.after(0, Event::Look { node, life });
        let wait = self.scenario.flush_every;
        self.after(wait, Event::Flush { node, life });
        self.note_disk(node, Vec::new())?;
        self.drain(node)
    }

    /// A node does not start or go on: for a reason that passes, or for ever.
    pub(crate) fn gives_up(&mut self, node: usize, text: String) -> Result<(), Violation> {
        self.trace.say(|| format!("n{} gives up: {text}", node + 1));
        let machine = &mut self.machines[node];
        if machine.folder.log.take_noticed() && machine.harm.is_none() {
            // The disk could not be read for a while.
            return self.crash_for_a_while(node, false);
        }
        let id = machine.id;
        let newest = self.machines.iter().map(|machine| machine.level).max();
        let machine = &mut self.machines[node];
        if newest > Some(machine.level) && text.contains("later") {
            // Somebody reads that, and does it.
            machine.level += 1;
            return self.crash_for_a_while(node, false);
        }
        self.record(&Record::GaveUp { node: id, text })?;
        self.machines[node].seat = Seat::Broken;
        self.crash(node, false)
    }

    /// A node has come upon an error that it is built to end itself with.
    pub(crate) fn aborted(&mut self, text: &str) -> Result<(), Violation> {
        let noticed = |machine: &Machine| machine.folder.log.has_noticed();
        match self.machines.iter().position(noticed) {
            Some(node) => self.gives_up(node, text.to_owned()),
            None => Violation::of("panic", text.to_owned()),
        }
    }

    /// Lets a process take one step more of what it has decided. Returns whether it died instead.
    pub(crate) fn burns(&mut self, node: usize) -> Result<bool, Violation> {
        let machine = &mut self.machines[node];
        let Some(steps) = &mut machine.fuse else {
            return Ok(false);
        };
        if *steps > 0 {
            *steps -= 1;
            return Ok(false);
        }
        machine.fuse = None;
        self.crash_for_a_while(node, false)?;
        Ok(true)
    }

    /// Gives the disk of a node the mistake that is sought, if it is one of a disk.
    #[cfg(feature = "seeded-bugs")]
    fn seed_mistakes(&mut self, node: usize) {
        use corgi_consensus::SeededBug;
        let bug = self.bug;
        self.machines[node].folder.mistakes = crate::folder::Mistakes {
            retries_sync: bug == Some(SeededBug::SyncRetried),
            ignores_mark: bug == Some(SeededBug::MarkIgnored),
            cuts_damage: bug == Some(SeededBug::DamageCut),
            splits_state: bug == Some(SeededBug::AppliedApart),
            truncates_early: bug == Some(SeededBug::TruncatedEarly),
            forgets_install: bug == Some(SeededBug::InstallLeavesGap),
        };
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
        let (entries, reset) = self.machines[node].crash(power, &mut self.rng);
        // What came while it was paused now finds a closed port.
        self.catch_up(deferred);
        self.break_links(node, power);
        self.drop_conns(node, power);
        self.note_reset(node, reset)?;
        self.note_disk(node, entries)
    }

    /// Shows the checkers what has come to the disk.
    pub(crate) fn note_disk(
        &mut self,
        node: usize,
        entries: Vec<LogEntry>,
    ) -> Result<(), Violation> {
        let machine = &self.machines[node];
        let bounds = machine.folder.bounds();
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

    /// Looks at what the file system has and what waits, as a process does each second.
    pub(crate) fn look(&mut self, node: usize, life: u64) -> Result<(), Violation> {
        let machine = &mut self.machines[node];
        if machine.life != life {
            return Ok(());
        }
        let space = machine.space(&self.scenario.limits);
        let Some(process) = &mut machine.process else {
            return Ok(());
        };
        process
            .node
            .set_disk_space(machine.clock.now(self.now), space);
        self.after(SECOND, Event::Look { node, life });
        self.measure(node)?;
        self.drain(node)
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
    pub(crate) fn begin_group(&mut self, node: usize) {
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
        let reader = machine.folder.log.reader();
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
        let lost = std::mem::take(&mut machine.disk_fails);
        let process = machine.process.as_mut();
        let install = process.and_then(|process| match &process.busy {
            Some(Group::Install(_)) => process.busy.take(),
            Some(Group::Form(_) | Group::Writes { .. }) | None => None,
        });
        if let Some(Group::Install(install)) = install {
            return self.finish_install(node, install, lost);
        }
        if lost {
            let (id, retries) = (machine.id, machine.folder.mistakes.retries_sync);
            self.trace.say(|| format!("n{} cannot sync", node + 1));
            self.record(&Record::SyncFailed { node: id })?;
            if !retries {
                self.crash(node, false)?;
                let wait = self.rng.between(100 * MS, 3 * SECOND);
                self.after(wait, Event::Start { node });
                return Ok(());
            }
            // The second sync finds nothing to do: the kernel has dropped what it could not write.
        }
        let machine = &mut self.machines[node];
        let (entries, tokens) = machine.finish_group(lost);
        self.note_disk(node, entries)?;
        if self.burns(node)? {
            return Ok(());
        }
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
            history,
            probes,
            removed,
            fatal,
            snapshots,
        } = out;
        if let Some(text) = fatal {
            return self.gives_up(node, text);
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
            if self.burns(node)? {
                return Ok(());
            }
        }
        self.begin_group(node);
        let life = self.machines[node].life;
        assert!(
            history.is_empty(),
            "no client here reads the history of channels"
        );
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
            if self.burns(node)? {
                return Ok(());
            }
        }
        for probe in probes {
            self.ask_who(node, probe);
        }
        // raft-rs keeps its peers in hash maps whose order is a matter of the machine.
        send.sort_by_key(|(to, _)| *to);
        for (to, message) in send {
            let promise = self.check_promise(node, &message)?;
            if self.send(node, place(to), &message) {
                let node = self.machines[node].id;
                self.record(&Record::Promised { node, promise })?;
            } else if let Some(process) = &mut self.machines[node].process {
                process.node.send_failed(to);
            }
            if self.burns(node)? {
                return Ok(());
            }
        }
        match removed {
            Some(text) => self.leaves(node, &text),
            None => Ok(()),
        }
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
        for index in (from.0..=upto.0).map(LogIndex) {
            let Some(entry) = self.entry_of(node, index) else {
                let machine = &self.machines[node];
                if machine.harm.is_some() && index <= self.checks.canon().last() {
                    // Read before it was damaged; the others have truncated it since.
                    continue;
                }
                let text =
                    format!("{id:?} applied up to {upto}, but entry {index} is not on its disk");
                return Violation::of("I14", text);
            };
            // Only the first to apply an entry shows when it was committed.
            let fresh = entry.index > self.checks.canon().last();
            let disks = if fresh {
                self.disks_with(&entry)
            } else {
                Vec::new()
            };
            let node = id;
            self.record(&Record::Applied { node, entry, disks })?;
        }
        self.record(&Record::Rows {
            node: id,
            applied: upto,
            hash,
        })
    }

    /// Returns an entry that a node has applied. Where its own copy was damaged since, it is read
    /// from another disk.
    fn entry_of(&self, node: usize, index: LogIndex) -> Option<LogEntry> {
        let log = &self.machines[node].folder.log;
        if let Some(entry) = log.sound(index) {
            return Some(entry);
        }
        let term = log.term_of(index)?;
        let logs = self.machines.iter().map(|machine| &machine.folder.log);
        let found = logs.filter_map(|log| log.sound(index));
        found.into_iter().find(|entry| entry.term == term)
    }

    /// Returns who has an entry on disk, or has lost it with the disk.
    fn disks_with(&self, entry: &LogEntry) -> Vec<NodeId> {
        let (index, term) = (entry.index, entry.term);
        let has = |machine: &&Machine| {
            let had = machine.harm.is_some() && self.checks.has_had(machine.id, index, term);
            had || machine.folder.log.holds(index, term)
        };
        self.machines
            .iter()
            .filter(has)
            .map(|machine| machine.id)
            .collect()
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
    fn check_promise(&self, node: usize, message: &PeerMessage) -> Result<Promise, Violation> {
        let PeerMessage::Raft { bytes, .. } = message else {
            return Ok(Promise::Nothing);
        };
        let machine = &self.machines[node];
        let bounds = machine.folder.bounds();
        let (disk, last) = (bounds.hard_state, bounds.last_index);
        let Some(promise) = promise(machine.id, bytes) else {
            return Violation::of("I13", "a message is none".to_owned());
        };
        let (invariant, kept) = match promise {
            Promise::Nothing => return Ok(promise),
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
            return Ok(promise);
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
