//! The node behind its lock: a monitor that is entered by whichever thread has news.
//!
//! ```text
//!   client threads ─ asks ──────┐                         ┌─▶ outboxes of clients
//!   raft thread ─ ticks, peers ─┼─▶ enter: node, outputs ─┼─▶ queue of the disk thread
//!   disk thread ─ persisted ────┤                         ├─▶ peers
//!   readers ─ blocks of the log ┤                         ├─▶ readers
//!   upkeep ─ snapshots ─────────┘                         └─▶ upkeep
//! ```
//!
//! # The lock
//! - Outputs are handed on while the lock is held: so they stand in every queue in the order in
//!   which the node decided them.
//! - Nothing blocks while it is held: the queues take without waiting, or refuse.
//! - The order of locks is: this one, then that of a queue (an outbox, the disk's, a peer's).
//!   Whoever holds the lock of a queue never enters.
//! - Threads are woken after it is released, because they would run into it.
//!
//! The node gets the time from here, read under the lock, so that for it time never goes back.
//!
//! Not here: what the node decides.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use corgi_base::{ClientId, NodeId, Now};
use corgi_consensus::PersistToken;
use corgi_consensus::storage::LogReader;
use corgi_node::{
    Facts, InitialMember, Node, Outputs, PeerHello, PeerMessage, QueuedBytes, Refusal,
};
use corgi_session::Ask;

use crate::clients::{Host, Outbox};
use crate::config::PubsubOutput;
use crate::disk::{Job, Queue};
use crate::peers::{PeerEvents, Peers};
use crate::readers::{ReadJob, ReadQueue};
use crate::stop::{Stop, StopReason};
use crate::upkeep::Task;

const UNPOISONED: &str = "a panic ends the process, so nobody sees a poisoned lock";

/// The clock that the node goes by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
}

impl Clock {
    /// Starts at zero.
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    /// Reads it.
    pub(crate) fn now(self) -> Now {
        let since = |duration: Duration| {
            u64::try_from(duration.as_millis()).expect("milliseconds of 500 million years fit")
        };
        Now {
            mono_ms: since(self.started.elapsed()),
            // A clock set before 1970 is as wrong as one at 1970.
            wall_ms: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, since),
        }
    }
}

/// The node and the queues that its outputs go to.
pub(crate) struct Core<R: LogReader> {
    inner: Mutex<Inner<R>>,
    clock: Clock,
    disk: Arc<Queue<Job<PersistToken>>>,
    reads: Arc<ReadQueue>,
    upkeep: Arc<Queue<Task>>,
    /// Set once the transport runs; what is sent before is lost, as on any network.
    peers: OnceLock<Peers>,
    stop: Stop,
}

struct Inner<R: LogReader> {
    node: Node<R>,
    outboxes: HashMap<ClientId, Arc<Outbox>>,
    /// The members that the node named before the transport ran.
    members: Option<Vec<InitialMember>>,
    /// The node gave up: whatever it still says must not be acted on.
    failed: bool,
}

/// Whom to wake after the lock is released.
#[derive(Default)]
struct Wakes {
    disk: bool,
    upkeep: bool,
    reads: usize,
    outboxes: Vec<Arc<Outbox>>,
}

impl<R: LogReader> Core<R> {
    /// Wraps a node that was just made.
    pub(crate) fn new(
        node: Node<R>,
        clock: Clock,
        disk: Arc<Queue<Job<PersistToken>>>,
        reads: Arc<ReadQueue>,
        upkeep: Arc<Queue<Task>>,
        stop: Stop,
    ) -> Self {
        let inner = Inner {
            node,
            outboxes: HashMap::new(),
            members: None,
            failed: false,
        };
        Self {
            inner: Mutex::new(inner),
            clock,
            disk,
            reads,
            upkeep,
            peers: OnceLock::new(),
            stop,
        }
    }

    /// Lets messages go out from now on.
    ///
    /// # Panics
    /// If called twice.
    pub(crate) fn connect(&self, peers: Peers) {
        assert!(
            self.peers.set(peers).is_ok(),
            "the transport is started once"
        );
        self.enter_with(|inner, _| {
            if let (Some(members), Some(peers)) = (inner.members.take(), self.peers.get()) {
                peers.set_members(members);
            }
        });
    }

    /// Gives the node an input and hands on what it decides.
    pub(crate) fn enter<T>(&self, input: impl FnOnce(&mut Node<R>, Now) -> T) -> T {
        self.enter_with(|inner, now| input(&mut inner.node, now))
    }

    fn enter_with<T>(&self, input: impl FnOnce(&mut Inner<R>, Now) -> T) -> T {
        let mut wakes = Wakes::default();
        let result = {
            let mut inner = self.inner.lock().expect(UNPOISONED);
            let result = input(&mut inner, self.clock.now());
            self.hand_on(&mut inner, &mut wakes);
            result
        };
        if wakes.disk {
            self.disk.wake();
        }
        if wakes.upkeep {
            self.upkeep.wake();
        }
        self.reads.wake(wakes.reads);
        for outbox in wakes.outboxes {
            outbox.wake();
        }
        result
    }

    fn hand_on(&self, inner: &mut Inner<R>, wakes: &mut Wakes) {
        loop {
            let outputs = inner.node.outputs();
            if outputs.is_empty() || inner.failed {
                return;
            }
            let Outputs {
                send,
                disk,
                reads,
                history,
                snapshots,
                clients,
                peers,
                probes,
                removed,
                fatal,
            } = outputs;
            if let Some(text) = fatal {
                // An acknowledgement could stand beside it in the same outputs. What is dropped
                // here is what a crash at this moment would have dropped.
                inner.failed = true;
                self.stop.request(StopReason::Fatal(text));
                return;
            }
            match (peers, self.peers.get()) {
                (Some(members), Some(transport)) => transport.set_members(members),
                (Some(members), None) => inner.members = Some(members),
                (None, _) => {}
            }
            if !disk.is_empty() {
                self.disk.push(disk.into_iter().map(Job::from).collect());
                wakes.disk = true;
            }
            if !snapshots.is_empty() {
                self.upkeep
                    .push(snapshots.into_iter().map(Task::Snapshot).collect());
                wakes.upkeep = true;
            }
            wakes.reads += reads.len() + history.len();
            let reads = reads.into_iter().map(ReadJob::Log);
            let history = history.into_iter().map(ReadJob::History);
            self.reads.push(reads.chain(history).collect());
            for (client, told) in clients {
                // A client may have left while the node worked for it.
                if let Some(outbox) = inner.outboxes.get(&client)
                    && outbox.push(told)
                {
                    wakes.outboxes.push(outbox.clone());
                }
            }
            if let Some(transport) = self.peers.get() {
                for probe in probes {
                    transport.probe(probe);
                }
            }
            if let Some(text) = removed {
                self.stop.request(StopReason::Removed(text));
            }
            for (peer, message) in send {
                let sent = self
                    .peers
                    .get()
                    .is_some_and(|peers| peers.send(peer, message));
                if !sent {
                    inner.node.send_failed(peer);
                }
            }
        }
    }
}

impl<R: LogReader + 'static> Host for Core<R> {
    fn opened(&self, client: ClientId, outbox: Arc<Outbox>, queued: QueuedBytes) {
        self.enter_with(|inner, _| {
            inner.outboxes.insert(client, outbox);
            inner.node.client_opened(client, queued);
        });
    }

    fn ask(&self, client: ClientId, asks: Vec<Ask>) {
        self.enter(|node, now| node.client_asks(now, client, asks));
    }

    fn drained(&self, client: ClientId) {
        self.enter(|node, now| node.client_drained(now, client));
    }

    fn closed(&self, client: ClientId) {
        self.enter_with(|inner, _| {
            inner.outboxes.remove(&client);
            inner.node.client_closed(client);
        });
    }

    fn set_facts(&self, facts: Facts) {
        self.enter(|node, _| node.set_facts(facts));
    }

    fn set_output_limits(&self, one: PubsubOutput, all: u64) {
        self.enter(|node, _| node.set_output_limits(one.hard, one.low, all));
    }
}

impl<R: LogReader + 'static> PeerEvents for Core<R> {
    fn hello(&self) -> PeerHello {
        self.enter(|node, _| node.hello())
    }

    fn check(&self, hello: &PeerHello) -> Result<(), Refusal> {
        self.enter(|node, _| node.check_peer(hello))
    }

    fn up(&self, hello: PeerHello) {
        self.enter(|node, now| node.peer_up(now, hello));
    }

    fn hung_up(&self, peer: NodeId) {
        self.enter(|node, now| node.peer_hung_up(now, peer));
    }

    fn down(&self, peer: NodeId) {
        self.enter(|node, now| node.peer_down(now, peer));
    }

    fn refused(&self, peer: NodeId, refusal: Refusal) {
        self.enter(|node, now| node.peer_refused(now, peer, &refusal));
    }

    fn probed(&self, number: u64, answer: Result<PeerHello, String>) {
        self.enter(|node, now| node.probed(now, number, answer));
    }

    fn message(&self, from: NodeId, message: PeerMessage) {
        self.enter(|node, now| node.peer_message(now, from, message));
    }

    fn send_failed(&self, peer: NodeId) {
        self.enter(|node, _| node.send_failed(peer));
    }
}

impl<R: LogReader> std::fmt::Debug for Core<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}
