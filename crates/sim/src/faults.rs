//! What goes wrong, for how long, and how it ends.
//!
//! Kinds of faults shift: for 10 to 30 s two to four of those that the seed has chosen happen, then
//! others, and a quarter of the time none (F23).

use crate::clients::Role;
use crate::history::{Micros, Violation};
use crate::scenario::{FaultKind, MS, SECOND};
use crate::world::{Event, World};
use std::collections::BTreeMap;

/// What must be undone when a fault ends.
#[derive(Clone, Debug)]
enum Undo {
    Mend(Vec<(usize, usize)>),
    Hasten(usize, usize, Micros),
    Quicken(usize, Micros),
    Steady(usize),
    Resume(usize),
    /// A disk has room again.
    Empty(usize),
    /// Reads succeed again.
    Read(usize),
    /// A node that is cut off and let in again in turns.
    Flap {
        node: usize,
        cut: Vec<(usize, usize)>,
        times: u64,
    },
}

/// The faults under way.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    next: u64,
    active: BTreeMap<u64, Undo>,
    /// The kinds that happen at present, and until when.
    mix: Vec<FaultKind>,
    mix_until: Micros,
}

impl World {
    /// Begins a fault, and schedules the next.
    pub(crate) fn fault(&mut self) -> Result<(), Violation> {
        let gap = self.scenario.fault_gap;
        if self.now >= self.scenario.heal_at || self.scenario.faults.is_empty() {
            return Ok(());
        }
        let wait = self.rng.between(gap / 4, gap * 2);
        self.after(wait, Event::Fault);
        self.shift_mix();
        if self.faults.mix.is_empty() {
            return Ok(());
        }
        let kinds = self.faults.mix.clone();
        let kind = self.rng.pick(&kinds);
        if self.handled >= self.faults_until {
            return Ok(());
        }
        *self.ledger.faults.entry(kind).or_default() += 1;
        self.trace.say(|| format!("fault {kind:?}"));
        self.begin(kind)
    }

    fn shift_mix(&mut self) {
        if self.now < self.faults.mix_until {
            return;
        }
        self.faults.mix_until = self.now + self.rng.between(10, 30) * SECOND / 2;
        self.faults.mix.clear();
        if self.rng.chance(25) {
            return;
        }
        for _ in 0..self.rng.between(2, 4) {
            let kind = self.rng.pick(&self.scenario.faults);
            self.faults.mix.push(kind);
        }
        let mix = &self.faults.mix;
        self.trace.say(|| format!("from now on {mix:?}"));
    }

    fn lasting(&mut self, wait: Micros, undo: Undo) {
        let fault = self.faults.next;
        self.faults.next += 1;
        self.faults.active.insert(fault, undo);
        self.after(wait, Event::FaultEnd { fault });
    }

    /// Draws some nodes: mostly one, sometimes more, seldom all.
    fn victims(&mut self) -> Vec<usize> {
        let mut nodes = self.member_machines();
        let all = nodes.len();
        if all == 0 {
            return nodes;
        }
        let count = match self.rng.below(10) {
            0..7 => 1,
            7..9 => 1 + self.rng.index(all),
            _ => all,
        };
        for k in 0..count {
            let other = k + self.rng.index(all - k);
            nodes.swap(k, other);
        }
        nodes.truncate(count);
        nodes
    }

    fn begin(&mut self, kind: FaultKind) -> Result<(), Violation> {
        match kind {
            FaultKind::Kill => self.kill(false),
            FaultKind::PowerLoss => self.kill(true),
            FaultKind::PowerLossAll => {
                for node in 0..self.machines.len() {
                    self.crash_for_a_while(node, true)?;
                }
                Ok(())
            }
            FaultKind::Stop => self.stop_one(false),
            FaultKind::Upgrade => self.stop_one(true),
            FaultKind::ClientCrash => self.clients_leave(),
            FaultKind::Members => {
                self.change_members();
                Ok(())
            }
            FaultKind::Island => {
                self.ask_an_island();
                Ok(())
            }
            FaultKind::BitFlip | FaultKind::LostFile | FaultKind::OldFolder | FaultKind::Wipe => {
                self.harm_one(kind)
            }
            FaultKind::LostState => self.lose_state(),
            FaultKind::SnapshotFlip => {
                for node in self.victims() {
                    self.machines[node].folder.snapshots.spoil();
                }
                Ok(())
            }
            FaultKind::Isolate
            | FaultKind::Halves
            | FaultKind::Ring
            | FaultKind::Bridge
            | FaultKind::OneWay
            | FaultKind::Flap
            | FaultKind::SlowLink
            | FaultKind::ResetLinks => {
                self.begin_network(kind);
                Ok(())
            }
            FaultKind::Pause
            | FaultKind::ClockJump
            | FaultKind::ClockDrift
            | FaultKind::DiskError
            | FaultKind::ReadError
            | FaultKind::DiskFull
            | FaultKind::SlowDisk
            | FaultKind::DiskStall
            | FaultKind::Fuse => {
                for node in self.victims() {
                    self.begin_machine(kind, node);
                }
                Ok(())
            }
        }
    }

    fn kill(&mut self, power: bool) -> Result<(), Violation> {
        for node in self.victims() {
            self.crash_for_a_while(node, power)?;
        }
        Ok(())
    }

    fn clients_leave(&mut self) -> Result<(), Violation> {
        for client in 0..self.clients.len() {
            if self.rng.chance(40) {
                self.client_leaves(client)?;
            }
        }
        Ok(())
    }

    pub(crate) fn crash_for_a_while(&mut self, node: usize, power: bool) -> Result<(), Violation> {
        self.crash(node, power)?;
        let wait = self.rng.skewed(50 * MS, 10 * SECOND);
        self.after(wait, Event::Start { node });
        Ok(())
    }

    fn stop_one(&mut self, upgrade: bool) -> Result<(), Violation> {
        let node = self.rng.index(self.machines.len());
        let by = self.now + 3 * SECOND;
        let machine = &mut self.machines[node];
        let Some(process) = &mut machine.process else {
            return Ok(());
        };
        process.stop_by = Some(by);
        process.node.shut_down(machine.clock.now(self.now));
        if upgrade {
            machine.level += 1;
        }
        let wait = self.rng.between(3 * SECOND, 8 * SECOND);
        self.after(wait, Event::Start { node });
        self.drain(node)
    }

    fn begin_machine(&mut self, kind: FaultKind, node: usize) {
        let wait = self.rng.skewed(100 * MS, 10 * SECOND);
        match kind {
            FaultKind::Pause => {
                self.pause(node);
                self.lasting(wait, Undo::Resume(node));
            }
            FaultKind::ClockJump => {
                let ms = self.rng.skewed(1, 10 * 365 * 24 * 3_600_000);
                let ms = i64::try_from(ms).unwrap_or(1);
                let back = self.rng.chance(50);
                self.machines[node].clock.jump(if back { -ms } else { ms });
            }
            FaultKind::ClockDrift => {
                let rate = self.rng.between(900_000, 1_100_000);
                self.machines[node].clock.drift(self.now, rate);
                self.lasting(wait * 4, Undo::Steady(node));
            }
            FaultKind::DiskError => self.machines[node].disk_fails = true,
            FaultKind::ReadError => {
                self.machines[node].folder.log.fail_reads(true);
                self.lasting(wait, Undo::Read(node));
            }
            FaultKind::DiskFull => {
                self.machines[node].full += 1;
                self.lasting(wait, Undo::Empty(node));
            }
            FaultKind::SlowDisk => {
                let extra = self.rng.skewed(5 * MS, SECOND);
                self.machines[node].sync_extra += extra;
                self.lasting(wait, Undo::Quicken(node, extra));
            }
            FaultKind::DiskStall => {
                let extra = self.rng.skewed(SECOND, 20 * SECOND);
                self.machines[node].sync_extra += extra;
                // Only the writes that begin soon are caught by it.
                self.lasting(100 * MS, Undo::Quicken(node, extra));
            }
            FaultKind::Fuse => {
                let steps = self.rng.below(40);
                self.machines[node].fuse = Some(steps);
            }
            kind => unreachable!("{kind:?} is no fault of one machine's parts"),
        }
    }

    fn begin_network(&mut self, kind: FaultKind) {
        let nodes = self.machines.len();
        let wait = self.rng.skewed(200 * MS, 12 * SECOND);
        let node = self.rng.index(nodes);
        let other = self.rng.index(nodes);
        match kind {
            FaultKind::SlowLink if node == other => {}
            FaultKind::SlowLink => {
                let extra = self.rng.skewed(10 * MS, 3 * SECOND);
                *self.links.slow.entry((node, other)).or_default() += extra;
                self.lasting(wait, Undo::Hasten(node, other, extra));
            }
            FaultKind::ResetLinks => {
                for (from, to) in pairs(nodes) {
                    if self.rng.chance(40) {
                        self.reset_link(from, to);
                    }
                }
            }
            FaultKind::Flap => {
                let times = self.rng.between(5, 24);
                let cut = Vec::new();
                self.lasting(0, Undo::Flap { node, cut, times });
            }
            FaultKind::Isolate => self.isolate(node, wait),
            FaultKind::Halves | FaultKind::Bridge => {
                let bridge = (kind == FaultKind::Bridge).then_some(node);
                let side: Vec<bool> = (0..nodes).map(|_| self.rng.chance(50)).collect();
                self.partition(wait, |from, to| {
                    side[from] != side[to] && bridge != Some(from) && bridge != Some(to)
                });
            }
            FaultKind::Ring => self.partition(wait, |from, to| {
                let apart = from.abs_diff(to);
                apart > 1 && apart < nodes - 1
            }),
            FaultKind::OneWay => self.partition(wait, |from, to| (from, to) == (node, other)),
            kind => unreachable!("{kind:?} is no fault of the network"),
        }
    }

    /// Cuts one node off from all others.
    fn isolate(&mut self, node: usize, wait: Micros) {
        self.partition(wait, |from, to| from == node || to == node);
    }

    pub(crate) fn partition(&mut self, wait: Micros, apart: impl Fn(usize, usize) -> bool) {
        let cut: Vec<(usize, usize)> = pairs(self.machines.len())
            .filter(|(from, to)| apart(*from, *to))
            .collect();
        for (from, to) in &cut {
            self.cut(*from, *to);
        }
        self.lasting(wait, Undo::Mend(cut));
    }

    pub(crate) fn end_fault(&mut self, fault: u64) {
        if let Some(undo) = self.faults.active.remove(&fault) {
            self.undo(undo, false);
        }
    }

    fn undo(&mut self, undo: Undo, for_ever: bool) {
        self.trace.say(|| format!("ends {undo:?}"));
        match undo {
            Undo::Mend(pairs) => {
                for (from, to) in pairs {
                    self.mend(from, to);
                }
            }
            Undo::Hasten(from, to, extra) => {
                *self.links.slow.entry((from, to)).or_default() -= extra;
            }
            Undo::Quicken(node, extra) => self.machines[node].sync_extra -= extra,
            Undo::Steady(node) => self.machines[node].clock.drift(self.now, 1_000_000),
            Undo::Resume(node) => self.resume(node),
            Undo::Empty(node) => self.machines[node].full -= 1,
            Undo::Read(node) => self.machines[node].folder.log.fail_reads(false),
            Undo::Flap { node, cut, times } => self.flap(node, cut, times, for_ever),
        }
    }

    /// Lets a node in again, or cuts it off, and the reverse a while later.
    fn flap(&mut self, node: usize, cut: Vec<(usize, usize)>, times: u64, for_ever: bool) {
        let mut next = Vec::new();
        let goes_on = !for_ever && times > 0;
        let was_cut = !cut.is_empty();
        for (from, to) in cut {
            self.mend(from, to);
        }
        if !goes_on {
            return;
        }
        if !was_cut {
            next.extend(
                pairs(self.machines.len()).filter(|(from, to)| *from == node || *to == node),
            );
            for (from, to) in &next {
                self.cut(*from, *to);
            }
        }
        let wait = self.rng.between(200 * MS, 3 * SECOND);
        let undo = Undo::Flap {
            node,
            cut: next,
            times: times - 1,
        };
        self.lasting(wait, undo);
    }

    /// Ends all faults.
    pub(crate) fn heal(&mut self) {
        for (_, undo) in std::mem::take(&mut self.faults.active) {
            self.undo(undo, true);
        }
        for node in 0..self.machines.len() {
            self.machines[node].disk_fails = false;
            self.machines[node].fuse = None;
            self.hurry_disk(node);
        }
    }

    /// Adds a client for each healed node that tries until the node takes a write.
    pub(crate) fn probe(&mut self) {
        for node in 0..self.machines.len() {
            if self.must_serve(node) {
                self.add_client(Role::Probe, Some(node));
            }
        }
    }
}

/// All ordered pairs of different nodes.
fn pairs(nodes: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..nodes).flat_map(move |from| {
        (0..nodes)
            .filter(move |to| *to != from)
            .map(move |to| (from, to))
    })
}
