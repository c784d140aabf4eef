//! Random histories of three nodes' counts, against what is true.

use super::*;
use crate::testing::{config, node};
use corgi_base::{Now, Protocol};
use corgi_session::{Ask, PubSubQuery, Reply, Seq};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use slog::{Discard, Logger, o};
use std::collections::{BTreeMap, VecDeque};

const NODES: usize = 3;
const CLIENTS: u64 = 3;
const KINDS: [SubscriptionKind; 3] = [
    SubscriptionKind::Channel,
    SubscriptionKind::Pattern,
    SubscriptionKind::Shard,
];
const NAMES: [&str; 4] = ["a", "ab", "*", "a*"];

/// Three nodes without a log: a subscription has its position at once, and only waits for the others.
struct World {
    now_ms: u64,
    nodes: Vec<Shared>,
    boots: [u64; NODES],
    /// What is on its way, by who sends and who receives; none if the link is down.
    links: BTreeMap<(usize, usize), VecDeque<PeerMessage>>,
    /// Who was told that a subscription or its end is complete.
    done: Vec<(usize, ClientId)>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            now_ms: 10_000,
            nodes: Vec::new(),
            boots: [1; NODES],
            links: BTreeMap::new(),
            done: Vec::new(),
        };
        for at in 0..NODES {
            let started = world.start(at);
            world.nodes.push(started);
        }
        for from in 0..NODES {
            for to in 0..NODES {
                world.connect(from, to);
            }
        }
        world
    }

    fn start(&self, at: usize) -> Shared {
        let mut config = config(at as u64 + 1);
        config.boot = Boot(self.boots[at]);
        config.timeouts.quorum_loss_ms = 3000;
        let mut shared = Shared::new(config, Logger::root(Discard, o!()));
        for client in (1..=CLIENTS).map(ClientId) {
            shared.clients.open(client, Default::default());
            shared.bus.open(client, Protocol::Resp2);
        }
        shared
    }

    fn connect(&mut self, from: usize, to: usize) {
        if from != to && !self.links.contains_key(&(from, to)) {
            self.links.insert((from, to), VecDeque::new());
            let peer = node(to as u64 + 1);
            self.nodes[from].peers_up.insert(peer);
            self.nodes[from].counts.peer_up(self.now_ms, peer);
            self.work(from);
        }
    }

    fn disconnect(&mut self, from: usize, to: usize, hung_up: bool) {
        if self.links.remove(&(from, to)).is_some() {
            let peer = node(to as u64 + 1);
            self.nodes[from].peers_up.remove(&peer);
            if hung_up {
                self.nodes[from].counts.peer_hung_up(self.now_ms, peer);
            }
            self.nodes[from].counts.peer_down(self.now_ms, peer);
            self.work(from);
        }
    }

    /// The process dies, and another takes its place.
    fn restart(&mut self, at: usize) {
        for other in 0..NODES {
            self.disconnect(other, at, true);
            self.disconnect(at, other, true);
        }
        self.boots[at] += 1;
        self.nodes[at] = self.start(at);
    }

    fn ask(&mut self, at: usize, client: ClientId, ask: Ask) {
        let now = Now {
            mono_ms: self.now_ms,
            wall_ms: self.now_ms,
        };
        let shared = &mut self.nodes[at];
        assert!(shared.take_ask(now, client, ask).is_none());
        for read in shared.reads.give_up() {
            let crate::reads::Waiting::Subscription(read) = read else {
                panic!("nobody reads keys here: {read:?}");
            };
            shared.counts.confirm_later(read);
        }
        self.work(at);
    }

    fn subscribe(&mut self, at: usize, client: ClientId, kind: SubscriptionKind, name: &str) {
        let names = vec![Bytes::copy_from_slice(name.as_bytes())];
        let seq = Seq(0);
        self.ask(at, client, Ask::Subscribe { seq, kind, names });
    }

    fn unsubscribe(&mut self, at: usize, client: ClientId, kind: SubscriptionKind, name: &str) {
        let names = vec![Bytes::copy_from_slice(name.as_bytes())];
        let seq = Seq(0);
        self.ask(at, client, Ask::Unsubscribe { seq, kind, names });
    }

    /// The client goes, and another comes under its number.
    fn close(&mut self, at: usize, client: ClientId) {
        let shared = &mut self.nodes[at];
        shared.close_client(client);
        shared.clients.open(client, Default::default());
        shared.bus.open(client, Protocol::Resp2);
        self.work(at);
    }

    fn work(&mut self, at: usize) {
        let shared = &mut self.nodes[at];
        shared.work_on_counts(self.now_ms);
        for (to, message) in std::mem::take(&mut shared.out.send) {
            let to = usize::try_from(to.get()).unwrap() - 1;
            if let Some(queue) = self.links.get_mut(&(at, to)) {
                queue.push_back(message);
            }
        }
        for (client, told) in shared.clients.take() {
            let done = told.iter().any(|told| matches!(told, Told::Done { .. }));
            self.done.extend(done.then_some((at, client)));
        }
    }

    /// Lets a message arrive: as bytes, which are read again.
    fn arrive(&mut self, from: usize, to: usize, message: &PeerMessage) {
        let (mut bytes, payload) = message.encode();
        bytes.extend_from_slice(&payload);
        let message = PeerMessage::decode(message.lane(), bytes.into()).unwrap();
        let shared = &mut self.nodes[to];
        let peer = node(from as u64 + 1);
        shared.counts.heard(self.now_ms, peer);
        match message {
            PeerMessage::Counts {
                boot,
                stream,
                seq,
                complete,
                counts,
            } => {
                shared.take_counts(self.now_ms, peer, (boot, stream, seq, complete), counts);
            }
            PeerMessage::CountsTaken { boot, stream, next } => {
                shared.counts_taken(peer, boot, stream, next);
            }
            PeerMessage::Recount => shared.recount(peer),
            message => panic!("unexpected {message:?}"),
        }
        self.work(to);
    }

    fn deliver(&mut self, link: (usize, usize), at: usize, keep: bool) {
        let Some(queue) = self.links.get_mut(&link).filter(|queue| !queue.is_empty()) else {
            return;
        };
        let at = at % queue.len();
        let message = queue[at].clone();
        if !keep {
            queue.remove(at);
        }
        self.arrive(link.0, link.1, &message);
    }

    /// Time passes; who is connected hears something of the other.
    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        for (from, to) in self.links.keys().copied().collect::<Vec<_>>() {
            let peer = node(from as u64 + 1);
            self.nodes[to].counts.heard(self.now_ms, peer);
        }
        for at in 0..NODES {
            self.work(at);
        }
    }

    fn deliver_all(&mut self) {
        while let Some(link) = {
            let mut waiting = self.links.iter().filter(|(_, queue)| !queue.is_empty());
            waiting.next().map(|(link, _)| *link)
        } {
            self.deliver(link, 0, false);
        }
    }

    fn truth(&self, kind: SubscriptionKind, name: &str) -> u64 {
        let counts = self.nodes.iter();
        counts
            .map(|shared| shared.bus.count_here(kind, name.as_bytes()))
            .sum()
    }

    /// Compares what every node says with what is true on all of them.
    fn check(&mut self) -> Result<(), TestCaseError> {
        let heard = |kind| {
            let heard = NAMES.iter().filter(|name| self.truth(kind, name) > 0);
            heard.count() as u64
        };
        let names = KINDS.map(heard);
        let truth = KINDS.map(|kind| NAMES.map(|name| self.truth(kind, name)));
        for (at, shared) in self.nodes.iter_mut().enumerate() {
            let [channels, _, shards] = truth;
            for (kind, wanted) in [(KINDS[0], channels), (KINDS[2], shards)] {
                let counted = NAMES.map(|name| match kind {
                    SubscriptionKind::Shard => shared.bus.shard_numsub(name.as_bytes()),
                    SubscriptionKind::Channel | SubscriptionKind::Pattern => {
                        shared.bus.numsub(name.as_bytes())
                    }
                });
                prop_assert_eq!(counted, wanted, "{:?} on n{}", kind, at + 1);
            }
            let counted = KINDS.map(|kind| shared.bus.count_names(kind));
            prop_assert_eq!(counted, names, "names on n{}", at + 1);
            // Patterns count for what they match.
            let [a, ab, _, _] = channels;
            let [pa, pab, all, begin] = truth[1];
            let nobody = Default::default();
            let mut fan = shared.bus.fan_out(&crate::shared::RespEncoder, &nobody);
            prop_assert_eq!(fan.publish(0, b"a", b""), a + pa + all + begin);
            prop_assert_eq!(fan.publish(1, b"ab", b""), ab + pab + all + begin);
            prop_assert_eq!(fan.publish_shard(2, b"a", b""), shards[0]);
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Step {
    Subscribe(usize, u64, SubscriptionKind, &'static str),
    Unsubscribe(usize, u64, SubscriptionKind, &'static str),
    Close(usize, u64),
    Connect(usize, usize),
    Disconnect(usize, usize, bool),
    Restart(usize),
    Deliver((usize, usize), usize, bool),
    Lose((usize, usize)),
    Pass(u64),
}

fn at() -> impl Strategy<Value = usize> {
    0..NODES
}

fn step() -> impl Strategy<Value = Step> {
    let client = || 1..=CLIENTS;
    let name = || (select(&KINDS), select(&NAMES));
    prop_oneof![
        8 => (at(), client(), name()).prop_map(|(at, c, (k, n))| Step::Subscribe(at, c, k, n)),
        5 => (at(), client(), name()).prop_map(|(at, c, (k, n))| Step::Unsubscribe(at, c, k, n)),
        1 => (at(), client()).prop_map(|(at, client)| Step::Close(at, client)),
        2 => (at(), at()).prop_map(|(from, to)| Step::Connect(from, to)),
        1 => (at(), at(), any::<bool>()).prop_map(|(f, t, hung)| Step::Disconnect(f, t, hung)),
        1 => at().prop_map(Step::Restart),
        12 => ((at(), at()), 0_usize..4, prop::bool::weighted(0.1))
            .prop_map(|(link, at, keep)| Step::Deliver(link, at, keep)),
        1 => (at(), at()).prop_map(Step::Lose),
        2 => select(vec![1_u64, 20, 100, 350, 2000]).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Whatever gets lost, comes twice or in another order, and whoever dies: once all is well again, all nodes count
    /// what is true, and until then no node counts anybody twice.
    #[test]
    fn all_count_the_same_once_all_is_well(steps in vec(step(), 0..120)) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Subscribe(at, client, kind, name) => {
                    world.subscribe(at, ClientId(client), kind, name);
                }
                Step::Unsubscribe(at, client, kind, name) => {
                    world.unsubscribe(at, ClientId(client), kind, name);
                }
                Step::Close(at, client) => world.close(at, ClientId(client)),
                Step::Connect(from, to) => world.connect(from, to),
                Step::Disconnect(from, to, hung_up) => world.disconnect(from, to, hung_up),
                Step::Restart(at) => world.restart(at),
                Step::Deliver(link, at, keep) => world.deliver(link, at, keep),
                Step::Lose(link) => {
                    world.links.get_mut(&link).map(VecDeque::pop_front);
                }
                Step::Pass(ms) => world.pass(ms),
            }
            for shared in &world.nodes {
                for name in NAMES {
                    let counted = shared.bus.numsub(name.as_bytes());
                    prop_assert!(counted <= NODES as u64 * CLIENTS, "{} of {}", counted, name);
                }
            }
        }
        for _ in 0..40 {
            for from in 0..NODES {
                for to in 0..NODES {
                    world.connect(from, to);
                }
            }
            world.deliver_all();
            world.pass(100);
        }
        world.check()?;
    }

    /// While nothing is lost, whoever is told that a subscription has begun or ended may ask any node.
    #[test]
    fn all_count_it_once_it_is_confirmed(
        steps in vec((at(), 1..=CLIENTS, any::<bool>(), select(&KINDS), select(&NAMES)), 0..20),
        order in vec((at(), at()), 400),
    ) {
        let mut world = World::new();
        world.deliver_all();
        let mut order = order.iter().cycle();
        for (at, client, on, kind, name) in steps {
            let client = ClientId(client);
            world.done.clear();
            if on {
                world.subscribe(at, client, kind, name);
            } else {
                world.unsubscribe(at, client, kind, name);
            }
            for _ in 0..2000 {
                if world.done.contains(&(at, client)) {
                    break;
                }
                if let Some(link) = order.next() {
                    world.deliver(*link, 0, false);
                }
            }
            prop_assert_eq!(&world.done, &[(at, client)]);
            world.check()?;
        }
    }
}

/// A subscription on the first node, of which the others have heard.
fn subscribed() -> World {
    let mut world = World::new();
    world.deliver_all();
    world.subscribe(0, ClientId(1), SubscriptionKind::Channel, "a");
    world.deliver_all();
    assert_eq!(world.done, [(0, ClientId(1))]);
    world
}

fn numsub(world: &World) -> [u64; NODES] {
    let counted = world.nodes.iter().map(|shared| shared.bus.numsub(b"a"));
    counted.collect::<Vec<_>>().try_into().unwrap()
}

#[test]
fn a_peer_that_does_not_answer_delays_one_subscription_and_not_the_next() {
    let mut world = World::new();
    world.deliver_all();
    world.done.clear();
    world.subscribe(0, ClientId(1), SubscriptionKind::Channel, "a");
    world.deliver((0, 1), 0, false);
    world.deliver((1, 0), 0, false);
    world.pass(LATE_MS - 1);
    assert!(world.done.is_empty(), "the third may still answer");
    world.pass(1);
    assert_eq!(world.done, [(0, ClientId(1))]);
    world.done.clear();
    world.subscribe(0, ClientId(2), SubscriptionKind::Channel, "a");
    world.deliver((0, 1), 0, false);
    world.deliver((0, 1), 0, false);
    while world.links[&(1, 0)].front().is_some() {
        world.deliver((1, 0), 0, false);
    }
    assert_eq!(world.done, [(0, ClientId(2))], "it is known to be late");
}

#[test]
fn a_dead_process_is_forgotten_soon_and_a_link_that_comes_back_at_once_loses_nothing() {
    let mut world = subscribed();
    assert_eq!(numsub(&world), [1, 1, 1]);
    world.disconnect(1, 0, true);
    world.pass(299);
    assert_eq!(numsub(&world), [1, 1, 1]);
    world.connect(1, 0);
    world.pass(400);
    assert_eq!(numsub(&world), [1, 1, 1], "it was the link");
    world.restart(0);
    world.pass(299);
    assert_eq!(numsub(&world), [0, 1, 1]);
    world.pass(1);
    assert_eq!(numsub(&world), [0, 0, 0]);
}

#[test]
fn a_node_that_falls_silent_is_forgotten_and_asked_when_it_is_heard_again() {
    let mut world = subscribed();
    let silence = world.nodes[0].config.timeouts.quorum_loss_ms / 2;
    let gone = world.links.remove(&(0, 1)).unwrap();
    world.pass(silence - 1);
    assert_eq!(numsub(&world), [1, 1, 1]);
    world.pass(1);
    assert_eq!(numsub(&world), [1, 0, 1]);
    world.links.insert((0, 1), gone);
    world.pass(1);
    assert_eq!(world.links[&(1, 0)].len(), 0, "it may begin by itself");
    world.pass(300);
    world.deliver_all();
    assert_eq!(numsub(&world), [1, 1, 1]);
}

#[test]
fn a_subscription_that_is_refused_is_taken_back() {
    let mut world = World::new();
    world.deliver_all();
    let mut subscribe = |client: u64| {
        let now = Now {
            mono_ms: world.now_ms,
            wall_ms: 0,
        };
        let ask = Ask::Subscribe {
            seq: Seq(0),
            kind: SubscriptionKind::Channel,
            names: vec!["a".into(), "a".into()],
        };
        world.nodes[0].take_ask(now, ClientId(client), ask);
        world.work(0);
        world.deliver_all();
    };
    subscribe(1);
    subscribe(2);
    assert_eq!(numsub(&world), [0, 2, 2], "it is known before it begins");
    world.close(0, ClientId(1));
    world.deliver_all();
    assert_eq!(numsub(&world), [0, 1, 1]);
    let now = Now {
        mono_ms: world.now_ms + 10_000,
        wall_ms: 0,
    };
    world.nodes[0].expire(now);
    world.work(0);
    world.deliver_all();
    assert_eq!(numsub(&world), [0, 0, 0]);
}

#[test]
fn questions_are_answered_for_all_nodes() {
    let mut world = subscribed();
    world.subscribe(1, ClientId(1), SubscriptionKind::Channel, "a");
    world.subscribe(1, ClientId(1), SubscriptionKind::Pattern, "p*");
    world.subscribe(2, ClientId(1), SubscriptionKind::Pattern, "p*");
    world.deliver_all();
    let now = Now {
        mono_ms: world.now_ms,
        wall_ms: 0,
    };
    let mut ask = |query| {
        let seq = Seq(0);
        let shared = &mut world.nodes[2];
        shared.take_ask(now, ClientId(1), Ask::PubSub { seq, query });
        match shared
            .clients
            .take()
            .pop()
            .and_then(|mut told| told.1.pop())
        {
            Some(Told::Reply { reply, .. }) => reply,
            told => panic!("no reply: {told:?}"),
        }
    };
    let a = || Reply::Bulk("a".into());
    assert_eq!(ask(PubSubQuery::Channels(None)), Reply::Array(vec![a()]));
    let numsub = vec![a(), Reply::Integer(2)];
    assert_eq!(
        ask(PubSubQuery::NumSub(vec!["a".into()])),
        Reply::Array(numsub)
    );
    assert_eq!(ask(PubSubQuery::NumPat), Reply::Integer(1), "the union");
}
