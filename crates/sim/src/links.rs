//! The network between nodes: for each ordered pair one call with three lanes, as the server's
//! transport has it.
//!
//! - A lane is first in, first out, and loses nothing while its connection lives.
//! - A connection lives until it is reset, an end of it dies, or nothing has moved for too long;
//!   what is under way then may or may not arrive.
//! - While a direction is cut, its messages wait; they arrive late if the cut ends in time.
//! - After a connection ends the caller calls again, and both sides check each other again.

use crate::history::{Micros, Violation};
use crate::machine::Seat;
use crate::nodes::place;
use crate::scenario::{MS, SECOND};
use crate::world::{Event, World};
use bytes::Bytes;
use corgi_base::NodeId;
use corgi_node::{Lane, PeerHello, PeerMessage, Refusal};
use std::collections::{BTreeMap, VecDeque};

const LANES: [Lane; 3] = [Lane::Control, Lane::Bulk, Lane::Snapshot];

/// One connection from a caller to a callee, which carries messages that way only.
#[derive(Debug)]
struct Call {
    from: usize,
    to: usize,
    from_life: u64,
    /// The process that let the caller in.
    to_life: Option<u64>,
    up: bool,
    /// The caller has given it up; what is under way may still arrive.
    ended: bool,
    lanes: [VecDeque<Bytes>; 3],
    /// When the last message of each lane arrives.
    last: [Micros; 3],
    /// Arrivals that wait for the end of a cut.
    held: [usize; 3],
}

/// All of the network between nodes.
#[derive(Debug)]
pub(crate) struct Links {
    calls: BTreeMap<u64, Call>,
    next: u64,
    /// The present call of each ordered pair.
    current: BTreeMap<(usize, usize), u64>,
    /// How many faults cut each direction.
    cuts: BTreeMap<(usize, usize), u32>,
    /// By how much faults slow each direction.
    pub(crate) slow: BTreeMap<(usize, usize), Micros>,
}

impl Links {
    pub(crate) fn new() -> Self {
        Self {
            calls: BTreeMap::new(),
            next: 1,
            current: BTreeMap::new(),
            cuts: BTreeMap::new(),
            slow: BTreeMap::new(),
        }
    }

    pub(crate) fn caller(&self, call: u64) -> Option<usize> {
        self.calls.get(&call).map(|call| call.from)
    }

    pub(crate) fn callee(&self, call: u64) -> Option<usize> {
        self.calls.get(&call).map(|call| call.to)
    }

    fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.contains_key(&(from, to))
    }

    /// Whether two machines cannot talk with each other.
    pub(crate) fn is_apart(&self, one: usize, other: usize) -> bool {
        self.is_cut(one, other) || self.is_cut(other, one)
    }
}

impl World {
    pub(crate) fn delay(&mut self, from: usize, to: usize) -> Micros {
        let (least, more) = self.scenario.delay;
        let slow = self.links.slow.get(&(from, to));
        least + self.rng.below(more) + slow.copied().unwrap_or(0)
    }

    /// Cuts a direction.
    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        *self.links.cuts.entry((from, to)).or_default() += 1;
    }

    /// Takes back one cut; what waited arrives if it was the last.
    pub(crate) fn mend(&mut self, from: usize, to: usize) {
        if let Some(cuts) = self.links.cuts.get_mut(&(from, to)) {
            *cuts -= 1;
            if *cuts > 0 {
                return;
            }
        }
        self.links.cuts.remove(&(from, to));
        let held: Vec<(u64, [usize; 3])> = self
            .links
            .calls
            .iter_mut()
            .filter(|(_, call)| (call.from, call.to) == (from, to))
            .map(|(id, call)| (*id, std::mem::take(&mut call.held)))
            .collect();
        for (call, held) in held {
            let wait = self.delay(from, to);
            for (lane, count) in held.into_iter().enumerate() {
                for _ in 0..count {
                    self.after(wait, Event::Lane { conn: call, lane });
                }
            }
        }
    }

    /// Takes the list of members that a node keeps connections with.
    pub(crate) fn set_peers(&mut self, node: usize, peers: Vec<NodeId>) {
        let life = self.machines[node].life;
        for peer in &peers {
            if !self.links.current.contains_key(&(node, place(*peer))) {
                let to = place(*peer);
                let wait = self.rng.below(50 * MS);
                let from = node;
                self.after(wait, Event::Dial { from, to, life });
            }
        }
        let Some(process) = &mut self.machines[node].process else {
            return;
        };
        let before = std::mem::replace(&mut process.peers, peers.clone());
        for gone in before.into_iter().filter(|peer| !peers.contains(peer)) {
            // It calls again, and is told that it is no member.
            self.reset_link(node, place(gone));
            self.reset_link(place(gone), node);
        }
    }

    pub(crate) fn dial(&mut self, from: usize, to: usize, life: u64) {
        let machine = &self.machines[from];
        let alive = machine.life == life && machine.knows(self.machines[to].id);
        let Some(hello) = machine.hello().filter(|_| alive) else {
            return;
        };
        if self.links.current.contains_key(&(from, to)) {
            return;
        }
        let id = self.links.next;
        self.links.next += 1;
        self.links.current.insert((from, to), id);
        let call = Call {
            from,
            to,
            from_life: life,
            to_life: None,
            up: false,
            ended: false,
            lanes: Default::default(),
            last: [0; 3],
            held: [0; 3],
        };
        self.links.calls.insert(id, call);
        let wait = self.delay(from, to);
        self.after(wait, Event::Hello { conn: id, hello });
        self.after(2 * SECOND, Event::GiveUp { conn: id });
    }

    pub(crate) fn hello(&mut self, id: u64, hello: PeerHello) {
        let Some((from, to)) = self.links.calls.get(&id).map(|call| (call.from, call.to)) else {
            return;
        };
        if self.links.is_cut(from, to) {
            return;
        }
        let wait = self.delay(to, from);
        let machine = &self.machines[to];
        if machine.seat == Seat::Waiting && hello.formation.is_some() {
            let reply = Ok(machine.waiting_hello());
            self.after(wait, Event::HelloBack { conn: id, reply });
            return;
        }
        let Some(process) = &machine.process else {
            self.after(wait, Event::Broken { conn: id });
            return;
        };
        let reply = match process.node.check_peer(&hello) {
            Ok(()) => Ok(process.node.hello()),
            Err(refusal) => Err(refusal),
        };
        let life = machine.life;
        if let Some(call) = self.links.calls.get_mut(&id) {
            call.to_life = Some(life);
        }
        self.after(wait, Event::HelloBack { conn: id, reply });
    }

    pub(crate) fn hello_back(
        &mut self,
        id: u64,
        reply: Result<PeerHello, Refusal>,
    ) -> Result<(), Violation> {
        let Some(call) = self.links.calls.get(&id) else {
            return Ok(());
        };
        let (from, to, life) = (call.from, call.to, call.from_life);
        let lost = self.links.is_cut(to, from) || call.ended;
        let peer = self.machines[to].id;
        // Only a machine that waits answers without a process.
        let waits = call.to_life.is_none();
        let machine = &mut self.machines[from];
        if lost || machine.life != life {
            return Ok(());
        }
        let Some(process) = &mut machine.process else {
            return Ok(());
        };
        let now = machine.clock.now(self.now);
        let formation = process.node.hello().formation;
        match reply {
            // It wants the last word, and calls back when it has started.
            Ok(theirs) if waits && process.node.check_peer(&theirs).is_ok() => {
                let wait = self.delay(from, to);
                if let Some(formation) = formation {
                    let node = to;
                    self.after(wait, Event::Admit { node, formation });
                }
                return self.broken(id);
            }
            Ok(theirs) if process.node.check_peer(&theirs).is_ok() => {
                if let Some(call) = self.links.calls.get_mut(&id) {
                    call.up = true;
                }
                self.trace.say(|| format!("n{} reaches {peer:?}", from + 1));
                process.node.peer_up(now, theirs);
            }
            Ok(_) => return self.broken(id),
            Err(refusal) => {
                self.trace
                    .say(|| format!("n{} is refused by {peer:?}: {refusal}", from + 1));
                process.node.peer_refused(now, peer, &refusal);
                self.drain(from)?;
                return self.broken(id);
            }
        }
        self.drain(from)
    }

    /// A call that was not answered, or one that a cut has stopped, ends.
    pub(crate) fn give_up(&mut self, id: u64) -> Result<(), Violation> {
        let Some(call) = self.links.calls.get(&id) else {
            return Ok(());
        };
        let stuck = call.held.iter().any(|held| *held > 0);
        if call.up && !stuck {
            return Ok(());
        }
        self.broken(id)
    }

    /// The caller learns that a connection has ended.
    pub(crate) fn broken(&mut self, id: u64) -> Result<(), Violation> {
        let Some(call) = self.links.calls.get_mut(&id) else {
            return Ok(());
        };
        if call.ended {
            return Ok(());
        }
        call.ended = true;
        let (from, to, life, up) = (call.from, call.to, call.from_life, call.up);
        for lane in &mut call.lanes {
            let keep = self.rng.index(lane.len() + 1);
            lane.truncate(keep);
        }
        if self.links.current.get(&(from, to)) == Some(&id) {
            self.links.current.remove(&(from, to));
        }
        // The system closes the sockets of a process that is gone; now and then something on the way does so by
        // mistake.
        let hung_up = self.machines[to].process.is_none() || id.is_multiple_of(4);
        let machine = &mut self.machines[from];
        let Some(process) = machine.process.as_mut().filter(|_| machine.life == life) else {
            return Ok(());
        };
        let peer = NodeId::new(to as u64 + 1).expect("one more than an index is not 0");
        if up && hung_up {
            process.node.peer_hung_up(machine.clock.now(self.now), peer);
        }
        if up {
            self.trace.say(|| format!("n{} loses {peer:?}", from + 1));
            process.node.peer_down(machine.clock.now(self.now), peer);
        }
        let wait = self.rng.between(50 * MS, 400 * MS);
        self.after(wait, Event::Dial { from, to, life });
        self.drain(from)
    }

    /// Resets what a dead process was connected to.
    pub(crate) fn break_links(&mut self, node: usize, power: bool) {
        let mut notify = Vec::new();
        for (id, call) in &mut self.links.calls {
            if call.from == node && !call.ended {
                call.ended = true;
                for lane in &mut call.lanes {
                    let keep = self.rng.index(lane.len() + 1);
                    lane.truncate(keep);
                }
                self.links.current.remove(&(node, call.to));
            } else if call.to == node && !call.ended {
                notify.push((*id, call.from));
            }
        }
        for (id, from) in notify {
            // A machine without power says nothing: only silence tells.
            let wait = if power || self.links.is_cut(node, from) {
                self.rng.between(SECOND, 3 * SECOND)
            } else {
                self.delay(node, from)
            };
            self.after(wait, Event::Broken { conn: id });
        }
        self.links
            .calls
            .retain(|_, call| !call.ended || call.lanes.iter().any(|lane| !lane.is_empty()));
    }

    /// Resets the connections between two nodes, as a broken switch does.
    pub(crate) fn reset_link(&mut self, from: usize, to: usize) {
        if let Some(id) = self.links.current.get(&(from, to)).copied() {
            self.after(0, Event::Broken { conn: id });
        }
    }

    /// Sends a message; `false` if it was dropped.
    pub(crate) fn send(&mut self, from: usize, to: usize, message: &PeerMessage) -> bool {
        let wait = self.delay(from, to);
        let Some(id) = self.links.current.get(&(from, to)).copied() else {
            return false;
        };
        let Some(call) = self.links.calls.get_mut(&id) else {
            return false;
        };
        let lane = LANES
            .iter()
            .position(|lane| *lane == message.lane())
            .expect("there are three lanes");
        if !call.up || call.lanes[lane].len() >= self.scenario.lane_max {
            return false;
        }
        let (mut head, payload) = message.encode();
        head.extend_from_slice(&payload);
        self.trace.mix_bytes(&head);
        self.trace
            .say(|| format!("n{}→n{} {}", from + 1, to + 1, text(message)));
        call.lanes[lane].push_back(head.into());
        let at = call.last[lane].max(self.now + wait);
        call.last[lane] = at;
        self.schedule(at, Event::Lane { conn: id, lane });
        true
    }

    pub(crate) fn lane(&mut self, id: u64, lane: usize) -> Result<(), Violation> {
        let Some(call) = self.links.calls.get_mut(&id) else {
            return Ok(());
        };
        let (from, to) = (call.from, call.to);
        if self.links.cuts.contains_key(&(from, to)) {
            if call.held == [0; 3] {
                let wait = self.scenario.stall_max;
                self.schedule(self.now + wait, Event::GiveUp { conn: id });
            }
            // Borrowed anew, because scheduling needs the world.
            if let Some(call) = self.links.calls.get_mut(&id) {
                call.held[lane] += 1;
            }
            return Ok(());
        }
        let Some(bytes) = call.lanes[lane].pop_front() else {
            return Ok(());
        };
        let machine = &mut self.machines[to];
        if call.to_life != Some(machine.life) {
            return Ok(());
        }
        let Some(process) = &mut machine.process else {
            return Ok(());
        };
        let message = match PeerMessage::decode(LANES[lane], bytes) {
            Ok(message) => message,
            Err(error) => return Violation::of("I18", format!("a message is none: {error}")),
        };
        let peer = NodeId::new(from as u64 + 1).expect("one more than an index is not 0");
        let now = machine.clock.now(self.now);
        process.node.peer_message(now, peer, message);
        self.drain(to)
    }
}

/// What the trace shows of a message.
fn text(message: &PeerMessage) -> String {
    match message {
        PeerMessage::Raft { bytes, .. } => corgi_consensus::inspect::describe(bytes),
        PeerMessage::Forward {
            boot, number, ops, ..
        } => format!("Forward boot={boot} batch={number} ops={ops}"),
        PeerMessage::Expect { boot, number } => format!("Expect boot={boot} batch={number}"),
        PeerMessage::OpenSession { boot, .. } => format!("OpenSession boot={boot}"),
        PeerMessage::Contacts(members) => format!("Contacts of {}", members.len()),
        PeerMessage::Change {
            term,
            number,
            change,
        } => format!("Change {number} of term {term} {change:?}"),
        PeerMessage::Changed { number, result } => format!("Changed {number} {result:?}"),
        PeerMessage::Vitals(vitals) => format!("{vitals:?}"),
        PeerMessage::StateHash { index, hash } => format!("StateHash {index} {hash:016x}"),
        PeerMessage::Counts {
            stream,
            seq,
            complete,
            counts,
            ..
        } => format!(
            "Counts {stream}.{seq} complete={complete} names={}",
            counts.len()
        ),
        PeerMessage::CountsTaken { stream, next, .. } => format!("CountsTaken {stream}.{next}"),
        PeerMessage::Recount => "Recount".to_owned(),
        PeerMessage::SnapshotFetch { file, offset, .. } => {
            format!("SnapshotFetch {} at {offset}", file.index)
        }
        PeerMessage::SnapshotChunk {
            file,
            offset,
            bytes,
        } => format!(
            "SnapshotChunk {} at {offset}: {} bytes",
            file.index,
            bytes.len()
        ),
        PeerMessage::SnapshotGone(file) => format!("SnapshotGone {}", file.index),
        PeerMessage::Formed(formation) => format!("Formed by {:?}", formation.founder),
    }
}
