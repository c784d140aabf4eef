//! Random histories against a model that keeps a set of subscriptions and expands every publish
//! over all of them.

mod support;

use bytes::{Bytes, BytesMut};
use corgi_base::glob::matches;
use corgi_base::{ClientId, NodeId, Protocol, SubscriptionKind, Via};
use corgi_bus::{Bus, Delivery, Encoder, Options};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::{BTreeMap, BTreeSet};
use support::Readable;

const CHANNELS: &[&str] = &["", "a", "ab", "abc", "abd", "b", "ba", "*"];
const PATTERNS: &[&str] = &[
    "*", "a*", "ab?", "a[b]*", "*b*", "abc", "b*", r"\*", "?", "abx*", "",
];

/// A message: its operation, whether it is for a shard channel, the channel and the payload.
type Message = (u32, bool, &'static str, &'static str);

const KINDS: [SubscriptionKind; 3] = [
    SubscriptionKind::Channel,
    SubscriptionKind::Pattern,
    SubscriptionKind::Shard,
];

#[derive(Clone, Debug)]
enum Step {
    Open(ClientId, Protocol),
    Close(ClientId),
    SetProtocol(ClientId, Protocol),
    Reset(ClientId),
    Subscribe(ClientId, SubscriptionKind, &'static str),
    Unsubscribe(ClientId, SubscriptionKind, &'static str),
    Begin(NodeId),
    Complete(NodeId),
    Forget(NodeId),
    Elsewhere(NodeId, SubscriptionKind, &'static str, u64),
    Sweep(usize),
    Batch {
        repliers: BTreeSet<ClientId>,
        messages: Vec<Message>,
    },
}

fn client() -> impl Strategy<Value = ClientId> {
    (1_u64..=5).prop_map(ClientId)
}

fn node() -> impl Strategy<Value = NodeId> {
    (2_u64..=3).prop_map(|id| NodeId::new(id).expect("not 0"))
}

fn protocol() -> impl Strategy<Value = Protocol> {
    select(vec![Protocol::Resp2, Protocol::Resp3])
}

fn name() -> impl Strategy<Value = (SubscriptionKind, &'static str)> {
    prop_oneof![
        select(CHANNELS).prop_map(|name| (SubscriptionKind::Channel, name)),
        select(PATTERNS).prop_map(|name| (SubscriptionKind::Pattern, name)),
        select(CHANNELS).prop_map(|name| (SubscriptionKind::Shard, name)),
    ]
}

/// Messages of a batch; operations between them may have had no effect, so numbers have gaps.
fn messages() -> impl Strategy<Value = Vec<Message>> {
    vec(
        (
            0_u32..3,
            prop::bool::weighted(0.3),
            select(CHANNELS),
            select(vec!["", "x", "longer"]),
        ),
        0..8,
    )
    .prop_map(|messages| {
        let mut op = 0;
        let number = |(gap, shard, channel, payload)| {
            op += gap;
            (op, shard, channel, payload)
        };
        messages.into_iter().map(number).collect()
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (client(), protocol()).prop_map(|(c, p)| Step::Open(c, p)),
        1 => client().prop_map(Step::Close),
        1 => (client(), protocol()).prop_map(|(c, p)| Step::SetProtocol(c, p)),
        1 => client().prop_map(Step::Reset),
        12 => (client(), name()).prop_map(|(c, (kind, name))| Step::Subscribe(c, kind, name)),
        5 => (client(), name()).prop_map(|(c, (kind, name))| Step::Unsubscribe(c, kind, name)),
        1 => node().prop_map(Step::Begin),
        1 => node().prop_map(Step::Complete),
        1 => node().prop_map(Step::Forget),
        6 => (node(), name(), 0_u64..3)
            .prop_map(|(node, (kind, name), count)| Step::Elsewhere(node, kind, name, count)),
        1 => (0_usize..30).prop_map(Step::Sweep),
        8 => (btree_set(client(), 0..3), messages())
            .prop_map(|(repliers, messages)| Step::Batch { repliers, messages }),
    ]
}

#[derive(Default)]
struct Model {
    clients: BTreeMap<ClientId, Protocol>,
    subscriptions: BTreeSet<(ClientId, SubscriptionKind, &'static str)>,
    /// What nodes say: whether it is left from before they began anew, and how many.
    elsewhere: BTreeMap<(NodeId, SubscriptionKind, &'static str), (bool, u64)>,
}

/// What the model expects for one client: its frames with their operations, and whether it was cut.
#[derive(Default)]
struct Expected {
    frames: Vec<(u32, Bytes)>,
    bytes: usize,
    cut: bool,
}

impl Model {
    fn count(&self, client: ClientId, kind: SubscriptionKind) -> u64 {
        let shard = |kind| kind == SubscriptionKind::Shard;
        let counts = |(c, k, _): &&(ClientId, SubscriptionKind, &str)| {
            *c == client && shard(*k) == shard(kind)
        };
        self.subscriptions.iter().filter(counts).count() as u64
    }

    fn names(&self, client: ClientId, kind: SubscriptionKind) -> Vec<&'static str> {
        let own = self
            .subscriptions
            .iter()
            .filter(|(c, k, _)| (*c, *k) == (client, kind));
        own.map(|(_, _, name)| *name).collect()
    }

    fn listened(&self, kind: SubscriptionKind) -> BTreeSet<&'static str> {
        let here = self.subscriptions.iter().map(|(_, k, name)| (*k, *name));
        let elsewhere = self.elsewhere.keys().map(|(_, k, name)| (*k, *name));
        here.chain(elsewhere)
            .filter(|(k, _)| *k == kind)
            .map(|(_, name)| name)
            .collect()
    }

    /// How many listen to a name on other nodes.
    fn elsewhere(&self, kind: SubscriptionKind, name: &str) -> u64 {
        let of_name = self
            .elsewhere
            .iter()
            .filter(|((_, k, n), _)| (*k, *n) == (kind, name));
        of_name.map(|(_, (_, count))| count).sum()
    }

    fn here(&self, kind: SubscriptionKind, name: &str) -> u64 {
        let of_name = self
            .subscriptions
            .iter()
            .filter(|(_, k, n)| (*k, *n) == (kind, name));
        of_name.count() as u64
    }

    fn publish(
        &self,
        (op, shard, channel, payload): Message,
        max: usize,
        expected: &mut BTreeMap<ClientId, Expected>,
    ) -> u64 {
        let mut receivers = 0;
        // In the order of the set: by client, then the channel before the patterns by name.
        for (client, kind, name) in &self.subscriptions {
            let via = match kind {
                SubscriptionKind::Channel if !shard && *name == channel => Via::Channel,
                SubscriptionKind::Shard if shard && *name == channel => Via::Shard,
                SubscriptionKind::Pattern
                    if !shard && matches(name.as_bytes(), channel.as_bytes()) =>
                {
                    Via::Pattern(name.as_bytes())
                }
                _ => continue,
            };
            receivers += 1;
            let part = expected.entry(*client).or_default();
            if part.bytes >= max {
                part.cut = true;
                continue;
            }
            let mut frame = BytesMut::new();
            let (channel, payload) = (channel.as_bytes(), payload.as_bytes());
            let protocol = self.clients[client];
            Readable::default().message(protocol, via, channel, payload, &mut frame);
            part.bytes += frame.len();
            part.frames.push((op, frame.freeze()));
        }
        receivers + self.receivers_elsewhere(shard, channel)
    }

    fn receivers_elsewhere(&self, shard: bool, channel: &str) -> u64 {
        if shard {
            return self.elsewhere(SubscriptionKind::Shard, channel);
        }
        let kind = SubscriptionKind::Pattern;
        let patterns = PATTERNS.iter();
        let matching = patterns.filter(|pattern| matches(pattern.as_bytes(), channel.as_bytes()));
        let by_pattern: u64 = matching.map(|pattern| self.elsewhere(kind, pattern)).sum();
        self.elsewhere(SubscriptionKind::Channel, channel) + by_pattern
    }
}

fn run(steps: Vec<Step>, max: usize) -> Result<(), TestCaseError> {
    let mut bus = Bus::new(Options {
        hash_seed: 7,
        client_batch_bytes_max: max,
        elsewhere_bytes_max: usize::MAX,
    });
    let mut model = Model::default();
    let mut here: BTreeMap<(SubscriptionKind, &str), u64> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Open(client, protocol) => {
                model.clients.entry(client).or_insert_with(|| {
                    bus.open(client, protocol);
                    protocol
                });
            }
            Step::Close(client) => {
                bus.close(client);
                model.clients.remove(&client);
                model.subscriptions.retain(|(c, ..)| *c != client);
            }
            Step::SetProtocol(client, protocol) => {
                if let Some(current) = model.clients.get_mut(&client) {
                    *current = protocol;
                    bus.set_protocol(client, protocol);
                }
            }
            Step::Reset(client) => {
                bus.reset(client);
                model
                    .clients
                    .entry(client)
                    .and_modify(|protocol| *protocol = Protocol::Resp2);
                model.subscriptions.retain(|(c, ..)| *c != client);
            }
            Step::Subscribe(client, kind, name) => {
                if model.clients.contains_key(&client) {
                    model.subscriptions.insert((client, kind, name));
                    let count = bus.subscribe(client, kind, name.as_bytes());
                    prop_assert_eq!(count, model.count(client, kind));
                }
            }
            Step::Unsubscribe(client, kind, name) => {
                model.subscriptions.remove(&(client, kind, name));
                let count = bus.unsubscribe(client, kind, name.as_bytes());
                prop_assert_eq!(count, model.count(client, kind));
            }
            Step::Begin(node) => {
                bus.begin_node(node);
                let of_node = model.elsewhere.iter_mut().filter(|(key, _)| key.0 == node);
                of_node.for_each(|(_, (old, _))| *old = true);
            }
            Step::Complete(node) => {
                bus.complete_node(node);
                model
                    .elsewhere
                    .retain(|(of, ..), (old, _)| *of != node || !*old);
            }
            Step::Forget(node) => {
                bus.forget_node(node);
                model.elsewhere.retain(|(of, ..), _| *of != node);
            }
            Step::Elsewhere(node, kind, name, count) => {
                prop_assert!(bus.count_elsewhere(node, kind, name.as_bytes(), count));
                if count == 0 {
                    model.elsewhere.remove(&(node, kind, name));
                } else {
                    model.elsewhere.insert((node, kind, name), (false, count));
                }
            }
            Step::Sweep(topics) => bus.sweep(topics),
            Step::Batch { repliers, messages } => {
                check_batch(&mut bus, &model, &repliers, &messages, max)?;
            }
        }
        check_questions(&bus, &model)?;
        let all_left = bus.take_left();
        let names = CHANNELS.iter().chain(PATTERNS);
        let names = names.flat_map(|name| KINDS.map(|kind| (kind, *name)));
        for (kind, name) in names {
            let now = model.here(kind, name);
            let before = here.insert((kind, name), now);
            if before.is_some_and(|before| before > now) {
                let left = (kind, Bytes::from_static(name.as_bytes()));
                prop_assert!(all_left.contains(&left), "{:?} is not told", left);
            }
        }
    }
    bus.sweep(usize::MAX);
    check_questions(&bus, &model)?;
    let kept = model.elsewhere.keys().map(|(.., name)| 160 + name.len());
    prop_assert_eq!(bus.elsewhere_bytes(), kept.sum::<usize>());
    Ok(())
}

fn check_questions(bus: &Bus, model: &Model) -> Result<(), TestCaseError> {
    for client in (1..=5).map(ClientId) {
        let listens = model.subscriptions.iter().any(|(c, ..)| *c == client);
        prop_assert_eq!(bus.listens(client), listens);
        for kind in KINDS {
            prop_assert_eq!(bus.count(client, kind), model.count(client, kind));
            let names = model.names(client, kind);
            for name in CHANNELS.iter().chain(PATTERNS) {
                let subscribed = bus.is_subscribed(client, kind, name.as_bytes());
                prop_assert_eq!(subscribed, names.contains(name));
            }
            prop_assert_eq!(bus.names(client, kind), names);
        }
    }
    for kind in [SubscriptionKind::Channel, SubscriptionKind::Shard] {
        let shard = kind == SubscriptionKind::Shard;
        let channels = model.listened(kind);
        let asked = |pattern: Option<&[u8]>| match shard {
            true => bus.shard_channels(pattern),
            false => bus.channels(pattern),
        };
        prop_assert_eq!(asked(None), channels.iter().copied().collect::<Vec<_>>());
        for pattern in PATTERNS.iter().map(|pattern| pattern.as_bytes()) {
            let wanted = channels
                .iter()
                .filter(|name| matches(pattern, name.as_bytes()));
            prop_assert_eq!(asked(Some(pattern)), wanted.copied().collect::<Vec<_>>());
        }
        for channel in CHANNELS {
            let here = model.here(kind, channel);
            prop_assert_eq!(bus.count_here(kind, channel.as_bytes()), here);
            let count = here + model.elsewhere(kind, channel);
            let channel = channel.as_bytes();
            let counted = match shard {
                true => bus.shard_numsub(channel),
                false => bus.numsub(channel),
            };
            prop_assert_eq!(counted, count);
        }
    }
    prop_assert_eq!(
        bus.numpat(),
        model.listened(SubscriptionKind::Pattern).len() as u64
    );
    for kind in KINDS {
        let listened = bus
            .listened(kind)
            .into_iter()
            .map(|(name, here, elsewhere)| {
                let name = String::from_utf8(name.to_vec()).unwrap_or_default();
                (name, here, elsewhere)
            });
        let wanted = model.listened(kind).into_iter().map(|name| {
            let (here, elsewhere) = (model.here(kind, name), model.elsewhere(kind, name));
            (name.to_owned(), here, elsewhere)
        });
        prop_assert_eq!(listened.collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
        prop_assert_eq!(bus.count_names(kind), model.listened(kind).len() as u64);
        let names = (0..bus.slots(kind)).filter_map(|number| bus.name_here(kind, number));
        let names: BTreeSet<&[u8]> = names.map(|name| &name[..]).collect();
        let here = model.subscriptions.iter().filter(|(_, k, _)| *k == kind);
        let here: BTreeSet<&[u8]> = here.map(|(.., name)| name.as_bytes()).collect();
        prop_assert_eq!(names, here);
    }
    Ok(())
}

fn check_batch(
    bus: &mut Bus,
    model: &Model,
    repliers: &BTreeSet<ClientId>,
    messages: &[Message],
    max: usize,
) -> Result<(), TestCaseError> {
    check_replay(bus, model, messages)?;
    let encoder = Readable::default();
    let mut expected = BTreeMap::new();
    let mut fan = bus.fan_out(&encoder, repliers);
    for message in messages {
        let (op, shard, channel, payload) = *message;
        let (channel, payload) = (channel.as_bytes(), payload.as_bytes());
        let receivers = match shard {
            true => fan.publish_shard(op, channel, payload),
            false => fan.publish(op, channel, payload),
        };
        prop_assert_eq!(receivers, model.publish(*message, max, &mut expected));
    }
    let deliveries = fan.finish();
    let clients: Vec<ClientId> = deliveries.iter().map(|delivery| delivery.client).collect();
    prop_assert_eq!(clients, expected.keys().copied().collect::<Vec<_>>());
    for (delivery, expected) in deliveries.iter().zip(expected.values()) {
        check_delivery(delivery, expected, repliers.contains(&delivery.client))?;
    }
    Ok(())
}

/// What is published again to one client, in parts of any size, is what the fan-out gives it.
fn check_replay(bus: &mut Bus, model: &Model, messages: &[Message]) -> Result<(), TestCaseError> {
    let mut expected = BTreeMap::new();
    for message in messages {
        model.publish(*message, usize::MAX, &mut expected);
    }
    let encoder = Readable::default();
    for client in (1..=5).map(ClientId) {
        let expected = expected.remove(&client).unwrap_or_default();
        let frames: Vec<u8> = expected.frames.iter().flat_map(|f| f.1.to_vec()).collect();
        for bytes_max in [1, 20, 60, usize::MAX] {
            let mut got = Vec::new();
            let (mut next, mut after) = (0, None);
            while next < messages.len() {
                let mut replay = bus.replay(&encoder, client, bytes_max);
                while let Some((_, shard, channel, payload)) = messages.get(next) {
                    let (channel, payload) = (channel.as_bytes(), payload.as_bytes());
                    let whole = match shard {
                        true => replay.publish_shard(channel, payload, &mut after, |_, _| true),
                        false => replay.publish(channel, payload, &mut after, |_, _| true),
                    };
                    if !whole {
                        break;
                    }
                    next += 1;
                }
                let part = replay.finish();
                prop_assert!(next == messages.len() || part.len() >= bytes_max);
                got.extend_from_slice(&part);
            }
            prop_assert_eq!(&got, &frames, "{:?} by {}", client, bytes_max);
        }
    }
    Ok(())
}

fn check_delivery(
    delivery: &Delivery,
    expected: &Expected,
    replier: bool,
) -> Result<(), TestCaseError> {
    let pieces = &delivery.pieces;
    let all = |frames: &[(u32, Bytes)]| {
        frames
            .iter()
            .flat_map(|(_, frame)| frame.to_vec())
            .collect::<Vec<u8>>()
    };
    let got: Vec<u8> = pieces
        .iter()
        .flat_map(|piece| piece.bytes.to_vec())
        .collect();
    prop_assert_eq!(&got, &all(&expected.frames));
    prop_assert_eq!(delivery.bytes, got.len());
    prop_assert_eq!(delivery.cut, expected.cut);
    // Each piece begins with a frame of its operation; a replier's has frames of no other.
    let mut frames = expected.frames.as_slice();
    for piece in pieces {
        let mut len = 0;
        let mut taken = 0;
        while len < piece.bytes.len() {
            let (op, frame) = &frames[taken];
            prop_assert!(*op == piece.op || (taken > 0 && !replier));
            len += frame.len();
            taken += 1;
        }
        prop_assert_eq!(len, piece.bytes.len());
        frames = &frames[taken..];
    }
    // What could be one slice is one slice.
    for pair in pieces.windows(2) {
        let adjacent = pair[0].bytes.as_ptr_range().end == pair[1].bytes.as_ptr();
        prop_assert!(!adjacent || (replier && pair[0].op != pair[1].op));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn bus_and_model_agree(steps in vec(step(), 0..80)) {
        run(steps, usize::MAX)?;
    }

    #[test]
    fn bus_and_model_agree_on_what_is_cut(steps in vec(step(), 0..80), max in 1_usize..120) {
        run(steps, max)?;
    }
}
