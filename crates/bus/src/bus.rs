//! The clients of a node and what they listen to.

use crate::Encoder;
use crate::elsewhere::{KINDS, Nodes, Others};
use crate::fan_out::{FanOut, Mark};
use crate::patterns::Patterns;
use crate::topics::{ClientSlot, Left, Place, TopicSlot, Topics, slot};
use bytes::Bytes;
use corgi_base::glob::matches;
use corgi_base::{ClientId, Protocol, SubscriptionKind};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, DefaultHasher, Hasher};

mod replay;

pub use replay::Replay;

/// What a bus is started with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Drawn at random by the caller at each start of a server, so that nobody can choose channel
    /// names that collide in the hash map. Has no effect on anything that the bus returns.
    pub hash_seed: u64,
    /// Once a client's part of one batch has this many bytes or more, the rest of the batch is left
    /// out, and [`Delivery::cut`](crate::Delivery::cut) is set. Without it a client could make the
    /// bus encode a large message once for each of thousands of patterns. `usize::MAX` turns it
    /// off.
    pub client_batch_bytes_max: usize,
    /// What names may cost that other nodes have told of; more are not counted.
    pub elsewhere_bytes_max: usize,
}

/// A client as the fan-out sees it.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: ClientId,
    pub(crate) protocol: Protocol,
    /// Gets nothing from the fan-out: see [`Bus::detach`].
    pub(crate) detached: bool,
    channels: BTreeMap<Bytes, Place>,
    patterns: BTreeMap<Bytes, Place>,
    shards: BTreeMap<Bytes, Place>,
}

impl Client {
    fn subscriptions(&self, kind: SubscriptionKind) -> &BTreeMap<Bytes, Place> {
        match kind {
            SubscriptionKind::Channel => &self.channels,
            SubscriptionKind::Pattern => &self.patterns,
            SubscriptionKind::Shard => &self.shards,
        }
    }

    fn subscriptions_mut(&mut self, kind: SubscriptionKind) -> &mut BTreeMap<Bytes, Place> {
        match kind {
            SubscriptionKind::Channel => &mut self.channels,
            SubscriptionKind::Pattern => &mut self.patterns,
            SubscriptionKind::Shard => &mut self.shards,
        }
    }

    /// The number in the confirmation of a subscription.
    fn count(&self, kind: SubscriptionKind) -> u64 {
        let count = match kind {
            SubscriptionKind::Channel | SubscriptionKind::Pattern => {
                self.channels.len() + self.patterns.len()
            }
            SubscriptionKind::Shard => self.shards.len(),
        };
        count as u64
    }
}

/// All channels that somebody listens to, or all shard channels.
#[derive(Debug)]
pub(crate) struct Channels {
    pub(crate) topics: Topics,
    pub(crate) by_name: HashMap<Bytes, TopicSlot, SeededHash>,
}

impl Channels {
    fn new(hash: SeededHash) -> Self {
        Self {
            topics: Topics::default(),
            by_name: HashMap::with_hasher(hash),
        }
    }

    /// Returns how many clients of all nodes listen to a channel.
    fn count(&self, channel: &[u8], nodes: &Nodes) -> u64 {
        self.by_name.get(channel).map_or(0, |topic| {
            self.topics.subscribers(*topic).len() as u64 + self.topics.elsewhere(*topic, nodes)
        })
    }

    /// Returns the names, those that match the pattern if there is one, in byte order.
    fn names(&self, pattern: Option<&[u8]>, nodes: &Nodes) -> Vec<Bytes> {
        let asked = |name: &&Bytes| pattern.is_none_or(|pattern| matches(pattern, name));
        let names = self.topics.names(nodes);
        let mut names: Vec<Bytes> = names.filter(asked).cloned().collect();
        names.sort_unstable();
        names
    }
}

/// All patterns that somebody listens to.
#[derive(Debug, Default)]
pub(crate) struct PatternTopics {
    pub(crate) topics: Topics,
    pub(crate) index: Patterns,
}

/// The subscriptions that the channel published last leads to.
#[derive(Debug, Default)]
pub(crate) struct Route {
    /// False when a name has come or gone since.
    valid: bool,
    channel: Vec<u8>,
    pub(crate) exact: Option<TopicSlot>,
    pub(crate) patterns: Vec<TopicSlot>,
}

impl Route {
    /// Makes this the route of a channel.
    pub(crate) fn find(&mut self, channel: &[u8], to: &Channels, patterns: &mut PatternTopics) {
        if self.valid && self.channel == channel {
            return;
        }
        self.channel.clear();
        self.channel.extend_from_slice(channel);
        self.exact = to.by_name.get(channel).copied();
        patterns.index.find(channel, &mut self.patterns);
        self.valid = true;
    }
}

/// Who listens on this node, and how many do on others. See the crate's page for what it keeps to.
///
/// A client that is not open has no subscriptions: questions about it and taking from it are
/// answered as for a client that subscribed to nothing.
#[derive(Debug)]
pub struct Bus {
    clients: Vec<Option<Client>>,
    free: Vec<ClientSlot>,
    by_id: HashMap<ClientId, ClientSlot, SeededHash>,
    channels: Channels,
    patterns: PatternTopics,
    shards: Channels,
    route: Route,
    marks: Vec<Mark>,
    epoch: u64,
    client_batch_bytes_max: usize,
    pub(crate) others: Others,
    pub(crate) elsewhere_bytes_max: usize,
    /// Names that clients of this node have ceased to listen to.
    pub(crate) left: Vec<(SubscriptionKind, Bytes)>,
}

impl Bus {
    /// Returns a bus to which nobody listens.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let hash = SeededHash(options.hash_seed);
        Self {
            clients: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::with_hasher(hash),
            channels: Channels::new(hash),
            patterns: PatternTopics::default(),
            shards: Channels::new(hash),
            route: Route::default(),
            marks: Vec::new(),
            epoch: 0,
            client_batch_bytes_max: options.client_batch_bytes_max,
            others: Others::default(),
            elsewhere_bytes_max: options.elsewhere_bytes_max,
            left: Vec::new(),
        }
    }

    /// Takes a new bound on what one batch may bring a client at once.
    pub fn set_client_batch_bytes_max(&mut self, bytes: usize) {
        self.client_batch_bytes_max = bytes;
    }

    /// Adds a client without subscriptions.
    ///
    /// # Panics
    /// If the client is open already: ids are never used twice.
    pub fn open(&mut self, client: ClientId, protocol: Protocol) {
        let new = Client {
            id: client,
            protocol,
            detached: false,
            channels: BTreeMap::new(),
            patterns: BTreeMap::new(),
            shards: BTreeMap::new(),
        };
        let at = match self.free.pop() {
            Some(at) => {
                self.clients[at as usize] = Some(new);
                at
            }
            None => {
                self.clients.push(Some(new));
                self.marks.push(Mark::default());
                slot(self.clients.len() - 1)
            }
        };
        let before = self.by_id.insert(client, at);
        assert!(before.is_none(), "{client:?} is open already");
    }

    /// Removes a client and all its subscriptions. Nothing happens if it is not open.
    pub fn close(&mut self, client: ClientId) {
        self.drop_subscriptions(client);
        if let Some(at) = self.by_id.remove(&client) {
            self.clients[at as usize] = None;
            self.free.push(at);
        }
    }

    /// Sets the protocol of what is delivered from now on: `HELLO`.
    ///
    /// # Panics
    /// If the client is not open.
    pub fn set_protocol(&mut self, client: ClientId, protocol: Protocol) {
        let at = self.by_id.get(&client).copied();
        let found = at.and_then(|at| self.clients[at as usize].as_mut());
        found.expect("only an open client sends HELLO").protocol = protocol;
    }

    /// Drops all subscriptions of a client and sets it back to RESP2: `RESET`
    /// (<https://redis.io/docs/latest/commands/reset/>). With nothing left to read again it is
    /// attached.
    pub fn reset(&mut self, client: ClientId) {
        self.drop_subscriptions(client);
        if let Some(found) = self.client_mut(client) {
            found.protocol = Protocol::Resp2;
            found.detached = false;
        }
    }

    /// Leaves a client out of the fan-out from the next batch on, while it goes on to count as a
    /// receiver: whoever detaches it feeds it with [`Bus::replay`] until it is attached again.
    pub fn detach(&mut self, client: ClientId) {
        if let Some(found) = self.client_mut(client) {
            found.detached = true;
        }
    }

    /// Takes a client into the fan-out again, from the next batch on.
    pub fn attach(&mut self, client: ClientId) {
        if let Some(found) = self.client_mut(client) {
            found.detached = false;
        }
    }

    /// Subscribes a client; again is nothing new. Returns the number in the confirmation: how many
    /// channels and patterns the client listens to, or how many shard channels
    /// (<https://redis.io/docs/latest/commands/subscribe/>,
    /// <https://redis.io/docs/latest/commands/ssubscribe/>).
    ///
    /// # Panics
    /// If the client is not open.
    pub fn subscribe(&mut self, client: ClientId, kind: SubscriptionKind, name: &[u8]) -> u64 {
        let at = *self
            .by_id
            .get(&client)
            .expect("only an open client subscribes");
        let found = self.client(client).expect("an id leads to a client");
        if found.subscriptions(kind).contains_key(name) {
            return found.count(kind);
        }
        let (name, place) = match self.topic(kind, name) {
            Some(topic) => {
                let topics = self.topics_mut(kind);
                (topics.name(topic).clone(), topics.join(topic, at))
            }
            None => {
                let name = Bytes::copy_from_slice(name);
                let place = self.topics_mut(kind).insert(name.clone(), at);
                self.name_came(kind, name.clone(), place.topic);
                (name, place)
            }
        };
        let found = self.client_mut(client).expect("it was there");
        found.subscriptions_mut(kind).insert(name, place);
        found.count(kind)
    }

    /// Ends a subscription, if there is one. Returns how many are left, counted as in
    /// [`Bus::subscribe`] (<https://redis.io/docs/latest/commands/unsubscribe/>).
    pub fn unsubscribe(&mut self, client: ClientId, kind: SubscriptionKind, name: &[u8]) -> u64 {
        let Some(at) = self.by_id.get(&client).copied() else {
            return 0;
        };
        let Some(found) = self.clients[at as usize].as_mut() else {
            return 0;
        };
        let removed = found.subscriptions_mut(kind).remove_entry(name);
        let left = found.count(kind);
        if let Some((name, place)) = removed {
            self.leave(kind, &name, place);
        }
        left
    }

    /// Returns the channels, patterns or shard channels that a client listens to, in byte order.
    #[must_use]
    pub fn names(&self, client: ClientId, kind: SubscriptionKind) -> Vec<Bytes> {
        let Some(found) = self.client(client) else {
            return Vec::new();
        };
        found.subscriptions(kind).keys().cloned().collect()
    }

    /// Returns whether a client listens to a channel by its exact name, or to a pattern by its
    /// exact spelling.
    #[must_use]
    pub fn is_subscribed(&self, client: ClientId, kind: SubscriptionKind, name: &[u8]) -> bool {
        self.client(client)
            .is_some_and(|found| found.subscriptions(kind).contains_key(name))
    }

    /// Returns how many channels and patterns, or shard channels, a client listens to.
    #[must_use]
    pub fn count(&self, client: ClientId, kind: SubscriptionKind) -> u64 {
        self.client(client).map_or(0, |found| found.count(kind))
    }

    /// Returns whether a client listens to anything at all.
    #[must_use]
    pub fn listens(&self, client: ClientId) -> bool {
        let kinds = [SubscriptionKind::Channel, SubscriptionKind::Shard];
        let found = self.client(client);
        found.is_some_and(|found| kinds.iter().any(|kind| found.count(*kind) > 0))
    }

    /// Returns the channels that somebody listens to by their exact name, and that match the
    /// pattern if there is one, in byte order: `PUBSUB CHANNELS`
    /// (<https://redis.io/docs/latest/commands/pubsub-channels/>).
    #[must_use]
    pub fn channels(&self, pattern: Option<&[u8]>) -> Vec<Bytes> {
        self.channels.names(pattern, &self.others.nodes)
    }

    /// Returns the shard channels that somebody listens to, and that match the pattern if there is
    /// one, in byte order: `PUBSUB SHARDCHANNELS`
    /// (<https://redis.io/docs/latest/commands/pubsub-shardchannels/>).
    #[must_use]
    pub fn shard_channels(&self, pattern: Option<&[u8]>) -> Vec<Bytes> {
        self.shards.names(pattern, &self.others.nodes)
    }

    /// Returns how many clients listen to a channel by its exact name: `PUBSUB NUMSUB`
    /// (<https://redis.io/docs/latest/commands/pubsub-numsub/>).
    #[must_use]
    pub fn numsub(&self, channel: &[u8]) -> u64 {
        self.channels.count(channel, &self.others.nodes)
    }

    /// Returns how many clients listen to a shard channel: `PUBSUB SHARDNUMSUB`
    /// (<https://redis.io/docs/latest/commands/pubsub-shardnumsub/>).
    #[must_use]
    pub fn shard_numsub(&self, channel: &[u8]) -> u64 {
        self.shards.count(channel, &self.others.nodes)
    }

    /// Returns how many different patterns somebody listens to: `PUBSUB NUMPAT`
    /// (<https://redis.io/docs/latest/commands/pubsub-numpat/>).
    #[must_use]
    pub fn numpat(&self) -> u64 {
        self.count_names(SubscriptionKind::Pattern)
    }

    /// Returns how many different channels, patterns or shard channels somebody listens to.
    #[must_use]
    pub fn count_names(&self, kind: SubscriptionKind) -> u64 {
        let topics = self.topics(kind);
        let count = if self.others.is_swept() {
            topics.len()
        } else {
            topics.names(&self.others.nodes).count()
        };
        count as u64
    }

    /// Returns how many literal prefixes and patterns publishes have looked at since the start: a
    /// measure of what patterns cost, whether they matched or not.
    #[must_use]
    pub fn patterns_visited(&self) -> u64 {
        self.patterns.index.visited()
    }

    /// Starts the fan-out of one applied batch. `repliers` are the clients of this node that wait
    /// for a reply to an operation of the batch; see [`FanOut`] for what is different for them.
    pub fn fan_out<'b, E: Encoder + ?Sized>(
        &'b mut self,
        encoder: &'b E,
        repliers: &'b BTreeSet<ClientId>,
    ) -> FanOut<'b, E> {
        self.epoch += 1;
        FanOut::new(
            crate::fan_out::Listeners {
                clients: &self.clients,
                channels: &self.channels,
                patterns: &mut self.patterns,
                shards: &self.shards,
                nodes: &self.others.nodes,
                route: &mut self.route,
            },
            crate::fan_out::Marks {
                marks: &mut self.marks,
                epoch: self.epoch,
            },
            encoder,
            repliers,
            self.client_batch_bytes_max,
        )
    }

    fn client(&self, client: ClientId) -> Option<&Client> {
        let at = self.by_id.get(&client)?;
        self.clients[*at as usize].as_ref()
    }

    fn client_mut(&mut self, client: ClientId) -> Option<&mut Client> {
        let at = self.by_id.get(&client)?;
        self.clients[*at as usize].as_mut()
    }

    fn drop_subscriptions(&mut self, client: ClientId) {
        let Some(at) = self.by_id.get(&client).copied() else {
            return;
        };
        for kind in KINDS {
            while let Some(found) = self.clients[at as usize].as_mut()
                && let Some((name, place)) = found.subscriptions_mut(kind).pop_first()
            {
                self.leave(kind, &name, place);
            }
        }
    }

    /// Takes a client out of a topic's list, and forgets the topic if it was the last.
    fn leave(&mut self, kind: SubscriptionKind, name: &Bytes, place: Place) {
        self.left.push((kind, name.clone()));
        match self.topics_mut(kind).leave(place) {
            Left::Kept => {}
            Left::Moved(client) => {
                let moved = self.clients[client as usize]
                    .as_mut()
                    .expect("subscribers are open");
                let subscriptions = moved.subscriptions_mut(kind);
                *subscriptions
                    .get_mut(name)
                    .expect("subscribers know their topics") = place;
            }
            Left::Gone => self.name_went(kind, name),
        }
    }

    /// Returns the number of a name that is kept.
    pub(crate) fn topic(&self, kind: SubscriptionKind, name: &[u8]) -> Option<TopicSlot> {
        match kind {
            SubscriptionKind::Channel => self.channels.by_name.get(name).copied(),
            SubscriptionKind::Pattern => self.patterns.index.get(name),
            SubscriptionKind::Shard => self.shards.by_name.get(name).copied(),
        }
    }

    pub(crate) fn topics(&self, kind: SubscriptionKind) -> &Topics {
        match kind {
            SubscriptionKind::Channel => &self.channels.topics,
            SubscriptionKind::Pattern => &self.patterns.topics,
            SubscriptionKind::Shard => &self.shards.topics,
        }
    }

    pub(crate) fn topics_mut(&mut self, kind: SubscriptionKind) -> &mut Topics {
        match kind {
            SubscriptionKind::Channel => &mut self.channels.topics,
            SubscriptionKind::Pattern => &mut self.patterns.topics,
            SubscriptionKind::Shard => &mut self.shards.topics,
        }
    }

    /// Lets a name that has become a topic be found.
    pub(crate) fn name_came(&mut self, kind: SubscriptionKind, name: Bytes, topic: TopicSlot) {
        self.others.one_more();
        match kind {
            SubscriptionKind::Channel => {
                self.channels.by_name.insert(name, topic);
            }
            SubscriptionKind::Pattern => self.patterns.index.insert(name, topic),
            SubscriptionKind::Shard => {
                self.shards.by_name.insert(name, topic);
            }
        }
        self.route.valid = false;
    }

    /// Forgets a name whose topic is gone.
    pub(crate) fn name_went(&mut self, kind: SubscriptionKind, name: &[u8]) {
        match kind {
            SubscriptionKind::Channel => {
                self.channels.by_name.remove(name);
            }
            SubscriptionKind::Pattern => self.patterns.index.remove(name),
            SubscriptionKind::Shard => {
                self.shards.by_name.remove(name);
            }
        }
        self.route.valid = false;
    }
}

/// Keyed hashing with a seed that is an argument, where the standard library would draw one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeededHash(u64);

impl BuildHasher for SeededHash {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}
