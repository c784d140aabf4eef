//! Members that come and go: machines that wait to be let in, and the people who run the cluster.
//!
//! People ask with the commands that there are, any node, again when they are told to. They replace
//! a node whose disk has failed by a new one (F15, F16), and, where the seed wants it, make the
//! cluster larger, smaller, and other (F09).

use crate::clients::{Pending, Role};
use crate::history::{ConnId, Outcome, Record, Violation};
use crate::machine::{Machine, Seat, address};
use crate::nodes::place;
use crate::resp::put_command;
use crate::scenario::{FaultKind, MS, SECOND};
use crate::world::{Event, World};
use bytes::BytesMut;
use corgi_base::{Formation, NodeId};
use corgi_consensus::Role as RaftRole;
use corgi_node::{PeerHello, Probe};

/// More machines than this are never bought.
const MACHINES_MAX: usize = 12;

/// What is asked of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Forget(NodeId),
    Meet {
        node: NodeId,
        replaces: Option<NodeId>,
    },
    Failover,
}

impl Change {
    fn leaves(self) -> Option<NodeId> {
        match self {
            Self::Forget(node) => Some(node),
            Self::Meet { replaces, .. } => replaces,
            Self::Failover => None,
        }
    }

    fn joins(self) -> Option<NodeId> {
        match self {
            Self::Meet { node, .. } => Some(node),
            Self::Forget(_) | Self::Failover => None,
        }
    }
}

/// Something that a person wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errand {
    pub(crate) change: Change,
    /// The node to ask, if it must be that one.
    pub(crate) at: Option<usize>,
    /// How often it may be asked again.
    pub(crate) tries: u64,
}

impl World {
    /// Returns the machines whose folders are members' or will be.
    pub(crate) fn member_machines(&self) -> Vec<usize> {
        let all = 0..self.machines.len();
        all.filter(|node| self.machines[*node].is_member())
            .collect()
    }

    /// Whether a node votes and nothing keeps it from serving clients.
    pub(crate) fn must_serve(&self, node: usize) -> bool {
        let machine = &self.machines[node];
        let members = self.checks.members();
        // Before the cluster is complete the first nodes wait for each other.
        let votes = !self.checks.canon().formed() || members.voters().contains(&machine.id);
        machine.is_member() && machine.harm.is_none() && !machine.abandoned && votes
    }

    /// Whether the scenario has faults after which members change.
    pub(crate) fn members_change(&self) -> bool {
        let changes = |kind: &FaultKind| {
            matches!(
                kind,
                FaultKind::Members
                    | FaultKind::Island
                    | FaultKind::BitFlip
                    | FaultKind::LostFile
                    | FaultKind::OldFolder
                    | FaultKind::Wipe
            )
        };
        self.scenario.faults.iter().any(changes)
    }

    /// Whether nobody is on the way in or out.
    pub(crate) fn is_settled(&self) -> bool {
        let asks = |client: &crate::clients::Client| client.role == Role::Admin && client.waits();
        self.checks.canon().formed()
            && self.errands.is_empty()
            && !self.clients.iter().any(asks)
            && self.checks.members().is_settled()
    }

    /// Returns the machines with an empty folder that wait to be let in, and that nobody has plans for.
    fn free_machines(&self) -> impl Iterator<Item = NodeId> {
        let asked = |id: NodeId| {
            let of = |errand: &Errand| errand.change.joins() == Some(id);
            self.errands.iter().any(of)
        };
        let free = move |machine: &&Machine| {
            machine.seat == Seat::Waiting && machine.harm.is_none() && !asked(machine.id)
        };
        self.machines.iter().filter(free).map(|machine| machine.id)
    }

    /// Returns how many machines could still be let in.
    pub(crate) fn machines_left(&self) -> usize {
        MACHINES_MAX.saturating_sub(self.machines.len()) + self.free_machines().count()
    }

    /// Returns a machine with an empty folder that waits to be let in.
    fn spare_machine(&mut self) -> Option<NodeId> {
        let free = self.free_machines().next();
        if free.is_some() || self.machines.len() >= MACHINES_MAX {
            return free;
        }
        let id = NodeId::new(self.machines.len() as u64 + 1)?;
        let mut machine = Machine::new(id, &mut self.rng);
        machine.seat = Seat::Waiting;
        // Mostly people take the release that the others have.
        let newest = self.machines.iter().map(|machine| machine.level).max();
        if self.rng.chance(80) {
            machine.level = newest.unwrap_or(machine.level);
        }
        self.machines.push(machine);
        Some(id)
    }

    fn errand(&mut self, change: Change, at: Option<usize>, tries: u64) {
        self.trace.say(|| format!("wanted: {change:?} at {at:?}"));
        self.errands.push_back(Errand { change, at, tries });
    }

    /// F09: somebody wants another cluster.
    pub(crate) fn change_members(&mut self) {
        let harmed = self.machines.iter().any(|machine| machine.harm.is_some());
        let voters: Vec<NodeId> = self.checks.members().voters().iter().copied().collect();
        if harmed || !self.is_settled() || self.without_state(&voters) > 0 {
            return;
        }
        let node = self.rng.pick(&voters);
        let tries = self.rng.below(6);
        match self.rng.below(10) {
            0..3 if voters.len() < 6 => {
                if let Some(node) = self.spare_machine() {
                    let replaces = None;
                    self.errand(Change::Meet { node, replaces }, None, tries);
                }
            }
            0..5 => self.errand(Change::Forget(node), None, tries),
            5..8 => {
                if let Some(spare) = self.spare_machine() {
                    let change = Change::Meet {
                        node: spare,
                        replaces: Some(node),
                    };
                    self.errand(change, None, tries);
                }
            }
            8 => {
                let at = Some(place(node));
                self.errand(Change::Failover, at, 0);
            }
            _ => {
                // Somebody who is there already, or was.
                let node = self.machines[self.rng.index(self.machines.len())].id;
                let replaces = None;
                self.errand(Change::Meet { node, replaces }, None, 0);
            }
        }
    }

    /// F09: a leader is cut off, with less than a majority, and asked to remove those that it
    /// cannot reach.
    pub(crate) fn ask_an_island(&mut self) {
        let harmed = self.machines.iter().any(|machine| machine.harm.is_some());
        let Some(leader) = self.leader().filter(|_| !harmed && self.is_settled()) else {
            return;
        };
        let voters: Vec<NodeId> = self.checks.members().voters().iter().copied().collect();
        let mut island = vec![leader];
        let mut others = Vec::new();
        for node in voters
            .iter()
            .map(|node| place(*node))
            .filter(|node| *node != leader)
        {
            if (island.len() + 1) * 2 <= voters.len() && self.rng.chance(50) {
                island.push(node);
            } else {
                others.push(node);
            }
        }
        let wait = self.rng.between(SECOND, 6 * SECOND);
        self.partition(wait, |from, to| {
            island.contains(&from) != island.contains(&to)
        });
        for node in others {
            let id = self.machines[node].id;
            self.errand(Change::Forget(id), Some(leader), 0);
        }
    }

    fn leader(&self) -> Option<usize> {
        let leads = |machine: &Machine| {
            let status = machine
                .process
                .as_ref()
                .and_then(|process| process.node.raft_status());
            status.is_some_and(|status| status.role == RaftRole::Leader)
        };
        self.machines.iter().position(leads)
    }

    /// People look for nodes that have stopped for ever, and replace them.
    pub(crate) fn operate(&mut self) {
        self.after(SECOND, Event::Operate);
        for node in 0..self.machines.len() {
            let machine = &self.machines[node];
            let id = machine.id;
            let members = self.checks.members();
            let (votes, learns) = (
                members.voters().contains(&id),
                members.learners().contains(&id),
            );
            let stopped = machine.process.is_none() && machine.seat != Seat::Member;
            let lost = machine.harm.is_some() && (stopped || machine.is_lost());
            let of = |errand: &Errand| errand.change.leaves() == Some(id);
            let asked = self.errands.iter().any(of)
                || self.clients.iter().any(|client| {
                    client
                        .pending
                        .iter()
                        .any(|pending| matches!(pending, Pending::Errand(errand) if of(errand)))
                });
            if !lost || asked || !(votes || learns) || !members.learners().is_empty() && !learns {
                continue;
            }
            if learns {
                self.errand(Change::Forget(id), None, 20);
            } else if let Some(spare) = self.spare_machine() {
                let change = Change::Meet {
                    node: spare,
                    replaces: Some(id),
                };
                self.errand(change, None, 20);
            }
        }
    }

    /// Somebody who has an errand goes to a node, and asks.
    pub(crate) fn run_errand(&mut self, id: usize) -> Result<(), Violation> {
        let waits = self.clients[id].waits();
        let Some(errand) = self.errands.front().copied().filter(|_| !waits) else {
            return Ok(());
        };
        let conn = self.clients[id].conn;
        let there = conn
            .and_then(|conn| self.conns.get(&conn))
            .map(|conn| conn.node);
        match (conn, there) {
            (Some(conn), Some(there)) if errand.at.is_none_or(|at| at == there) => {
                self.errands.pop_front();
                self.ask_for(id, conn, errand)
            }
            (Some(_), _) => self.client_leaves(id),
            (None, _) => {
                let members = self.member_machines();
                let node = errand.at.unwrap_or_else(|| self.rng.pick(&members));
                let conn = self.connect(id, node);
                self.clients[id].conn = Some(conn);
                Ok(())
            }
        }
    }

    fn ask_for(&mut self, id: usize, conn: ConnId, errand: Errand) -> Result<(), Violation> {
        let change = errand.change;
        let text = |node: NodeId| node.to_string();
        let mut words = match change {
            Change::Forget(node) => vec!["CLUSTER".to_owned(), "FORGET".to_owned(), text(node)],
            Change::Failover => vec!["CLUSTER".to_owned(), "FAILOVER".to_owned()],
            Change::Meet { node, .. } => {
                let addr = String::from_utf8_lossy(&address(node)).into_owned();
                let (host, port) = addr.split_once(':').expect("an address has a port");
                ["CLUSTER", "MEET", host, port].map(str::to_owned).to_vec()
            }
        };
        if let Change::Meet {
            replaces: Some(old),
            ..
        } = change
        {
            words.extend(["REPLACE".to_owned(), text(old)]);
        }
        self.record(&Record::ChangeAsked {
            leaves: change.leaves(),
            joins: change.joins(),
        })?;
        let args: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
        let mut out = BytesMut::new();
        put_command(&args, &mut out);
        let client = &mut self.clients[id];
        client.unblocked = self.now;
        client.pending.push_back(Pending::Errand(errand));
        self.client_sends(conn, out.freeze());
        Ok(())
    }

    /// Somebody has an answer, or none.
    pub(crate) fn errand_ended(&mut self, errand: Errand, end: Outcome) -> Result<(), Violation> {
        let Errand { change, tries, .. } = errand;
        let (leaves, joins) = (change.leaves(), change.joins());
        match end {
            Outcome::Ok => return self.record(&Record::ChangeMade { leaves, joins }),
            Outcome::Failed => self.record(&Record::ChangeRefused { leaves, joins })?,
            Outcome::Unknown | Outcome::Silence { .. } => {}
        }
        if tries > 0 {
            self.errand(change, errand.at, tries - 1);
        }
        Ok(())
    }

    /// A node stops because it was removed.
    pub(crate) fn leaves(&mut self, node: usize, text: &str) -> Result<(), Violation> {
        self.trace.say(|| format!("n{} leaves: {text}", node + 1));
        let machine = &mut self.machines[node];
        machine.seat = Seat::Left;
        let id = machine.id;
        self.record(&Record::Removed { node: id })?;
        self.crash(node, false)
    }

    /// A node wants to know who is at an address.
    pub(crate) fn ask_who(&mut self, node: usize, probe: Probe) {
        let addr = String::from_utf8_lossy(&probe.addr).into_owned();
        let to = self
            .machines
            .iter()
            .position(|machine| address(machine.id) == addr);
        let life = self.machines[node].life;
        let number = probe.number;
        let Some(to) = to.filter(|to| !self.links.is_apart(node, *to)) else {
            let answer = Err("no answer".to_owned());
            self.after(
                SECOND,
                Event::Probed {
                    node,
                    life,
                    number,
                    answer,
                },
            );
            return;
        };
        let wait = self.delay(node, to);
        self.after(
            wait,
            Event::Probe {
                node,
                life,
                number,
                to,
            },
        );
    }

    pub(crate) fn answer_probe(&mut self, node: usize, life: u64, number: u64, to: usize) {
        let machine = &self.machines[to];
        let answer = match machine.seat {
            Seat::Waiting => Ok(machine.waiting_hello()),
            Seat::Member | Seat::Left | Seat::Broken => machine
                .hello()
                .ok_or_else(|| "connection refused".to_owned()),
        };
        let wait = self.delay(to, node);
        self.after(
            wait,
            Event::Probed {
                node,
                life,
                number,
                answer,
            },
        );
    }

    pub(crate) fn probed(
        &mut self,
        node: usize,
        life: u64,
        number: u64,
        answer: Result<PeerHello, String>,
    ) -> Result<(), Violation> {
        let machine = &mut self.machines[node];
        let now = machine.clock.now(self.now);
        if let Some(process) = machine.process.as_mut().filter(|_| machine.life == life) {
            process.node.probed(now, number, answer);
        }
        self.drain(node)
    }

    /// A machine that waits has been called by a member.
    pub(crate) fn admit(&mut self, node: usize, formation: Formation) {
        let machine = &mut self.machines[node];
        if machine.seat != Seat::Waiting {
            return;
        }
        machine.admit(formation);
        self.trace.say(|| format!("n{} is let in", node + 1));
        let wait = self.rng.between(10 * MS, SECOND);
        self.after(wait, Event::Start { node });
    }
}
