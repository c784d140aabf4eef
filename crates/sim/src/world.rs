//! The world: one queue of events, and the machines, links and clients that they happen to.
//!
//! Events are ordered by virtual time and, at equal times, by the order in which they were
//! scheduled. Handling one may schedule others; nothing else moves time.

use crate::check::Checks;
use crate::clients::Client;
use crate::faults::Faults;
use crate::history::{ConnId, Micros, Record, Violation};
use crate::ledger::Ledger;
use crate::links::Links;
use crate::machine::Machine;
use crate::membership::Errand;
use crate::rng::Rng;
use crate::run::{Options, panic_text};
use crate::scenario::{SECOND, Scenario};
use crate::trace::Trace;
use crate::wire::Conn;
use bytes::Bytes;
use corgi_base::{Formation, NodeId};
use corgi_node::{PeerHello, Refusal};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A machine starts its process.
    Start { node: usize },
    /// The node's timer.
    Tick { node: usize, life: u64 },
    /// A group of writes is on the disk.
    Synced { node: usize, life: u64, group: u64 },
    /// A read of the log is done.
    Read { node: usize, life: u64 },
    /// A job on a snapshot file is done.
    Snapshot { node: usize, life: u64 },
    /// A process looks at what its machine has.
    Look { node: usize, life: u64 },
    /// A node's question who is at an address arrives there.
    Probe {
        node: usize,
        life: u64,
        number: u64,
        to: usize,
    },
    /// Its answer arrives.
    Probed {
        node: usize,
        life: u64,
        number: u64,
        answer: Result<PeerHello, String>,
    },
    /// A machine that waits is let in.
    Admit { node: usize, formation: Formation },
    /// Somebody looks after the cluster.
    Operate,
    /// The applied state is flushed.
    Flush { node: usize, life: u64 },
    /// A node calls a peer.
    Dial { from: usize, to: usize, life: u64 },
    /// The call arrives.
    Hello { conn: u64, hello: PeerHello },
    /// The answer arrives.
    HelloBack {
        conn: u64,
        reply: Result<PeerHello, Refusal>,
    },
    /// Nobody answered, or nothing has moved for too long.
    GiveUp { conn: u64 },
    /// A connection between nodes is reset, as its caller sees it.
    Broken { conn: u64 },
    /// The next message of a lane arrives.
    Lane { conn: u64, lane: usize },
    /// A client's connection arrives.
    Accept { conn: ConnId },
    /// Bytes of a client arrive.
    Up { conn: ConnId, bytes: Bytes },
    /// The end of a client arrives.
    UpClosed { conn: ConnId },
    /// A client has made room for more.
    Room { conn: ConnId, bytes: usize },
    /// A node hears that a subscriber which it feeds from the log has room for more.
    Drained { conn: ConnId },
    /// A node loses patience with a client that does not read its last bytes.
    CloseLate { conn: ConnId },
    /// Bytes of a node arrive.
    Down { conn: ConnId, bytes: Bytes },
    /// The end of a node's side arrives.
    DownClosed { conn: ConnId },
    /// A client does something.
    Client { client: usize },
    /// A fault begins.
    Fault,
    /// A fault ends.
    FaultEnd { fault: u64 },
    /// The run goes over into its next part.
    Phase(Phase),
}

/// The parts of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Faults happen until here; then a majority, or everything, is healed.
    Heal,
    /// By now every healed node must have taken a write (I20).
    Progress,
    /// By now everybody must have heard everything, and all nodes must be equal.
    End,
}

#[derive(Debug)]
struct Scheduled {
    at: Micros,
    sequence: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// Everything there is.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Micros,
    sequence: u64,
    pub(crate) handled: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    pub(crate) scenario: Scenario,
    pub(crate) rng: Rng,
    pub(crate) machines: Vec<Machine>,
    pub(crate) links: Links,
    pub(crate) conns: BTreeMap<ConnId, Conn>,
    pub(crate) next_conn: u64,
    pub(crate) clients: Vec<Client>,
    pub(crate) faults: Faults,
    /// What people want done about the members.
    pub(crate) errands: VecDeque<Errand>,
    pub(crate) checks: Checks,
    pub(crate) ledger: Ledger,
    pub(crate) trace: Trace,
    /// No fault begins at or after this event.
    pub(crate) faults_until: u64,
    /// Publishers have stopped, and everybody reads.
    pub(crate) draining: bool,
    pub(crate) over: bool,
    #[cfg(feature = "seeded-bugs")]
    pub(crate) bug: Option<corgi_consensus::SeededBug>,
}

impl World {
    /// Draws a world from a seed.
    pub(crate) fn new(seed: u64, options: Options) -> Self {
        let mut rng = Rng::new(seed);
        let scenario = Scenario::draw(&mut rng, options.light);
        let ids = 1..=scenario.nodes as u64;
        let mut machines: Vec<Machine> = ids
            .filter_map(NodeId::new)
            .map(|id| Machine::new(id, &mut rng))
            .collect();
        if let Some((node, ms)) = scenario.wrong_clock {
            machines[node].clock.jump(ms);
        }
        let trace = Trace::new(options.keep);
        trace.say(|| format!("seed {seed}: {scenario:?}"));
        let mut world = Self {
            now: 0,
            sequence: 0,
            handled: 0,
            queue: BinaryHeap::new(),
            links: Links::new(),
            machines,
            conns: BTreeMap::new(),
            next_conn: 1,
            clients: Vec::new(),
            faults: Faults::default(),
            errands: VecDeque::new(),
            checks: Checks::new(),
            ledger: Ledger {
                seeds: 1,
                ..Ledger::default()
            },
            trace,
            faults_until: options.faults_until,
            draining: false,
            over: false,
            rng,
            scenario,
            #[cfg(feature = "seeded-bugs")]
            bug: options.bug,
        };
        for node in 0..world.machines.len() {
            let wait = world.rng.below(2 * SECOND);
            world.after(wait, Event::Start { node });
        }
        world.make_clients();
        if world.members_change() {
            world.after(SECOND, Event::Operate);
        }
        let wait = world.scenario.faults_from;
        world.after(wait, Event::Fault);
        let wait = world.scenario.heal_at;
        world.after(wait, Event::Phase(Phase::Heal));
        world
    }

    /// Schedules an event.
    pub(crate) fn after(&mut self, wait: Micros, event: Event) {
        self.schedule(self.now + wait, event);
    }

    /// Schedules an event for a time that is not over.
    pub(crate) fn schedule(&mut self, at: Micros, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse(Scheduled {
            at: at.max(self.now),
            sequence: self.sequence,
            event,
        }));
    }

    /// Lets everything happen, until the run is over or a promise is broken.
    pub(crate) fn run(&mut self) -> Result<(), Violation> {
        while !self.over {
            let Some(Reverse(next)) = self.queue.pop() else {
                return Violation::of("I20", "nothing happens any more".to_owned());
            };
            self.now = next.at;
            self.handled += 1;
            self.trace.at(self.now, self.handled);
            self.trace.mix(self.now);
            self.trace.mix(next.sequence);
            self.handle_or_abort(next.sequence, next.event)?;
        }
        Ok(())
    }

    /// A node is built to end its process by a panic where it cannot go on. Here it ends one of many.
    fn handle_or_abort(&mut self, sequence: u64, event: Event) -> Result<(), Violation> {
        let handled = catch_unwind(AssertUnwindSafe(|| self.handle(sequence, event)));
        handled.unwrap_or_else(|panic| self.aborted(&panic_text(panic.as_ref())))
    }

    /// Lets what was deferred happen now, before everything that was scheduled after it.
    pub(crate) fn catch_up(&mut self, deferred: Vec<(u64, Event)>) {
        let at = self.now;
        let late = deferred.into_iter().map(|(sequence, event)| {
            Reverse(Scheduled {
                at,
                sequence,
                event,
            })
        });
        self.queue.extend(late);
    }

    fn handle(&mut self, sequence: u64, event: Event) -> Result<(), Violation> {
        if let Some(node) = self.target(&event)
            && self.machines[node].paused
        {
            self.machines[node].deferred.push((sequence, event));
            return Ok(());
        }
        match event {
            Event::Start { node } => self.start(node),
            Event::Tick { node, life } => self.tick(node, life),
            Event::Synced { node, life, group } => self.synced(node, life, group),
            Event::Read { node, life } => self.read_log(node, life),
            Event::Snapshot { node, life } => self.snapshot(node, life),
            Event::Look { node, life } => self.look(node, life),
            Event::Probe {
                node,
                life,
                number,
                to,
            } => {
                self.answer_probe(node, life, number, to);
                Ok(())
            }
            Event::Probed {
                node,
                life,
                number,
                answer,
            } => self.probed(node, life, number, answer),
            Event::Admit { node, formation } => {
                self.admit(node, formation);
                Ok(())
            }
            Event::Operate => {
                self.operate();
                Ok(())
            }
            Event::Flush { node, life } => {
                self.flush(node, life);
                Ok(())
            }
            Event::Dial { from, to, life } => {
                self.dial(from, to, life);
                Ok(())
            }
            Event::Hello { conn, hello } => {
                self.hello(conn, hello);
                Ok(())
            }
            Event::HelloBack { conn, reply } => self.hello_back(conn, reply),
            Event::GiveUp { conn } => self.give_up(conn),
            Event::Broken { conn } => self.broken(conn),
            Event::Lane { conn, lane } => self.lane(conn, lane),
            Event::Accept { conn } => {
                self.accept(conn);
                Ok(())
            }
            Event::Up { conn, bytes } => self.up(conn, &bytes),
            Event::UpClosed { conn } => self.up_closed(conn),
            Event::Drained { conn } => self.drained(conn),
            Event::Room { conn, bytes } => self.room(conn, bytes),
            Event::CloseLate { conn } => {
                self.close_late(conn);
                Ok(())
            }
            Event::Down { conn, bytes } => self.down(conn, &bytes),
            Event::DownClosed { conn } => self.client_lost(conn),
            Event::Client { client } => self.client_turn(client),
            Event::Fault => self.fault(),
            Event::FaultEnd { fault } => {
                self.end_fault(fault);
                Ok(())
            }
            Event::Phase(phase) => self.phase(phase),
        }
    }

    /// Returns the machine whose process an event happens to.
    fn target(&self, event: &Event) -> Option<usize> {
        match event {
            Event::Tick { node, .. }
            | Event::Synced { node, .. }
            | Event::Read { node, .. }
            | Event::Snapshot { node, .. }
            | Event::Look { node, .. }
            | Event::Probed { node, .. }
            | Event::Flush { node, .. } => Some(*node),
            Event::Probe { to, .. } => Some(*to),
            Event::Dial { from, .. } => Some(*from),
            Event::Hello { conn, .. } | Event::Lane { conn, .. } => self.links.callee(*conn),
            Event::HelloBack { conn, .. } | Event::GiveUp { conn } | Event::Broken { conn } => {
                self.links.caller(*conn)
            }
            Event::Accept { conn }
            | Event::Up { conn, .. }
            | Event::UpClosed { conn }
            | Event::Room { conn, .. }
            | Event::Drained { conn }
            | Event::CloseLate { conn } => self.conns.get(conn).map(|conn| conn.node),
            Event::Start { .. }
            | Event::Admit { .. }
            | Event::Operate
            | Event::Down { .. }
            | Event::DownClosed { .. }
            | Event::Client { .. }
            | Event::Fault
            | Event::FaultEnd { .. }
            | Event::Phase(_) => None,
        }
    }

    /// Gives the checkers a record.
    pub(crate) fn record(&mut self, record: &Record) -> Result<(), Violation> {
        let result = self.checks.observe(record);
        if let Err(violation) = &result {
            self.trace
                .say(|| format!("VIOLATED {violation}: {record:?}"));
        }
        result
    }

    /// Returns the sums of the run so far.
    pub(crate) fn sums(&self) -> Ledger {
        Ledger {
            simulated: self.now,
            events: self.handled,
            writes: self.checks.counts(),
            deliveries: self.checks.deliveries(),
            entries: self.checks.canon().last().0,
            ..self.ledger.clone()
        }
    }
}
