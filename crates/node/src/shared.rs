//! What a node has whether or not it has a cluster yet: its clients, their writes and reads, the bus.

use crate::access::Access;
use crate::admin::{self, Admin};
use crate::birth::Heard;
use crate::blocked::Blocked;
use crate::clients::Clients;
use crate::config::NodeConfig;
use crate::counts::Counts;
use crate::cursors::Cursors;
use crate::errors;
use crate::feed::{self, FeedCounters};
use crate::history::ChannelRules;
use crate::info::Facts;
use crate::keys::{self, KeyFacts};
use crate::origin::{Origin, OriginLimits, Waiter, Wants};
use crate::outputs::Outputs;
use crate::peer::{self, PeerMessage};
use crate::quorum::{self, Change, Quorum};
use crate::reads::{KeyRead, Read, Reads, Waiting};
use crate::room::Room;
use crate::vitals::Vitals;
use bytes::{Bytes, BytesMut};
use corgi_base::{
    AppliedBatch, ClientId, LogIndex, NodeId, Now, Op, Outcome, Protocol, SubscriptionKind, Via,
};
use corgi_bus::{Bus, Delivery, Encoder, Options};
use corgi_session::{
    Ask, ClusterAsk, PubSubQuery, Reply, Seq, Told, encode_message, live_channel, live_payload,
};
use slog::Logger;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Counters for `INFO`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) published: u64,
    pub(crate) delivered: u64,
}

/// What a client asks that needs the cluster.
#[derive(Debug)]
pub(crate) enum AboutCluster {
    Info { seq: Seq, sections: Vec<Bytes> },
    Ask { seq: Seq, ask: ClusterAsk },
    Keys(KeyRead),
}

/// All of a node but its part in the cluster.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: NodeConfig,
    pub(crate) log: Logger,
    pub(crate) clients: Clients,
    pub(crate) bus: Bus,
    pub(crate) origin: Origin,
    pub(crate) reads: Reads,
    pub(crate) blocked: Blocked,
    pub(crate) admin: Admin,
    pub(crate) access: Access,
    pub(crate) quorum: Quorum,
    pub(crate) room: Room,
    pub(crate) vitals: Vitals,
    pub(crate) keys: KeyFacts,
    pub(crate) rules: ChannelRules,
    /// The node whose disk has no room for new writes.
    pub(crate) starved: Option<NodeId>,
    pub(crate) cursors: Cursors,
    pub(crate) counts: Counts,
    pub(crate) heard: Heard,
    pub(crate) peers_up: BTreeSet<NodeId>,
    pub(crate) out: Outputs,
    pub(crate) facts: Facts,
    pub(crate) counters: Counters,
    pub(crate) feed_counters: FeedCounters,
    pub(crate) stopping: bool,
    /// This node was removed from the cluster.
    pub(crate) resigned: bool,
    #[cfg(feature = "seeded-bugs")]
    pub(crate) bug: Option<corgi_consensus::SeededBug>,
}

impl Shared {
    pub(crate) fn new(config: NodeConfig, log: Logger) -> Self {
        let limits = OriginLimits {
            batch_bytes_max: config.limits.batch_bytes_max,
            in_flight_max: config.limits.batches_in_flight_max,
            pending_bytes_max: config.limits.pending_bytes_max,
            write_timeout_ms: config.timeouts.write_ms,
        };
        // A question takes a round trip to a majority; by two heartbeats it is lost.
        let retry_ms = config.timeouts.heartbeat_ms * 2;
        let queue_bytes_max = config
            .limits
            .client_queue_bytes_max
            .min(config.limits.clients_queue_bytes_max);
        let client_batch_bytes_max = usize::try_from(queue_bytes_max).unwrap_or(usize::MAX);
        let access = Access::new(config.users.clone(), config.all_channels);
        Self {
            log,
            access,
            clients: Clients::default(),
            bus: Bus::new(Options {
                hash_seed: config.seed,
                client_batch_bytes_max,
                elsewhere_bytes_max: config.limits.counts_bytes_max,
            }),
            origin: Origin::new(config.boot, limits),
            blocked: Blocked::new(config.limits.blocked_keys_max),
            admin: Admin::new(config.boot),
            reads: Reads::new(
                config.id,
                config.boot,
                retry_ms,
                quorum::probe_ms(config.timeouts.quorum_loss_ms),
            ),
            room: Room::new(
                config.limits.disk_free_bytes_min,
                config.limits.disk_free_percent_min,
            ),
            vitals: Vitals::default(),
            keys: KeyFacts::default(),
            rules: ChannelRules::new(config.history.clone()),
            starved: None,
            quorum: Quorum::new(config.timeouts.quorum_loss_ms),
            cursors: feed::cursors(&config.limits.cursors),
            counts: Counts::new(config.boot, config.timeouts.quorum_loss_ms),
            heard: Heard::default(),
            peers_up: BTreeSet::new(),
            out: Outputs::default(),
            facts: Facts::default(),
            counters: Counters::default(),
            feed_counters: FeedCounters::default(),
            stopping: false,
            resigned: false,
            #[cfg(feature = "seeded-bugs")]
            bug: None,
            config,
        }
    }

    /// Stops the node with a text for people.
    pub(crate) fn fail(&mut self, text: String) {
        slog::crit!(self.log, "the node cannot go on"; "error" => &text);
        self.out.fatal.get_or_insert(text);
    }

    pub(crate) fn close_client(&mut self, client: ClientId) {
        if self.clients.close(client) {
            self.bus.close(client);
            self.cursors.end(client);
            self.forget_reads(client);
            self.admin.forget(client);
            self.access.forget(client);
        }
    }

    /// Forgets what a client waits for. Subscriptions must not begin for a connection that ends.
    pub(crate) fn forget_reads(&mut self, client: ClientId) {
        for read in self.reads.forget(client) {
            if let Waiting::Subscription(read) = read {
                self.counts.retract(&read);
            }
        }
        self.counts.forget(client);
        self.blocked.forget(client);
    }

    /// Refuses what waited for a position.
    fn refuse(&mut self, waiting: &Waiting, error: Bytes) {
        match waiting {
            Waiting::Subscription(read) => self.refuse_read(read, error),
            Waiting::Keys(read) => self.clients.error(read.client, read.seq, error),
        }
    }

    /// Refuses a subscription that waited.
    fn refuse_read(&mut self, read: &Read, error: Bytes) {
        self.counts.retract(read);
        self.clients.error(read.client, read.seq, error);
    }

    /// Ends all connections, because this node was removed. It stops when a member refuses it for that, however long
    /// that takes: until others have heard that the removal is committed they may need its vote, and their
    /// acknowledgement.
    pub(crate) fn resign(&mut self) {
        self.resigned = true;
        self.admin.has_left(&mut self.clients, self.config.id);
        for client in self.clients.ids().collect::<Vec<_>>() {
            self.bus.reset(client);
            self.forget_reads(client);
            self.send_away(client);
        }
    }

    /// Tells a client that this node was removed.
    pub(crate) fn send_away(&mut self, client: ClientId) {
        let error = Some(errors::removed());
        self.clients.tell(client, Told::Close { error });
    }

    /// Ends all connections, and then the node: it was removed, and others know.
    pub(crate) fn leave(&mut self, text: String) {
        if !self.resigned {
            self.resign();
        }
        self.out.removed.get_or_insert(text);
    }

    /// Takes one ask; returns it if it is about the cluster, which is not known here.
    pub(crate) fn take_ask(
        &mut self,
        now: Now,
        client: ClientId,
        ask: Ask,
    ) -> Option<AboutCluster> {
        match ask {
            Ask::As { user, revision } => self.access.identify(client, &user, revision),
            Ask::Users { seq, ask } => self.change_users(now, client, seq, ask),
            Ask::Write { seq, op } => self.write(now, client, seq, Wants::One, &[op]),
            Ask::WriteAll { seq, ops } => {
                let count =
                    u32::try_from(ops.len()).expect("a request holds far fewer than 4 billion");
                self.write(now, client, seq, Wants::All(count), &ops);
            }
            Ask::Subscribe { seq, .. } if self.quorum.is_lost() => {
                let loss_ms = self.config.timeouts.quorum_loss_ms;
                self.clients
                    .error(client, seq, errors::quorum_lost(loss_ms));
            }
            Ask::Subscribe { seq, kind, names } => {
                let (announced, told) =
                    self.counts
                        .announce(now.mono_ms, &self.bus, client, kind, &names);
                self.reads.ask(Waiting::Subscription(Read {
                    client,
                    seq,
                    kind,
                    names,
                    deadline_ms: now.mono_ms + self.config.timeouts.write_ms,
                    announced,
                    told,
                }));
            }
            Ask::Read { seq, query } => {
                let deadline_ms = now.mono_ms + self.config.timeouts.write_ms;
                let read = KeyRead {
                    client,
                    seq,
                    query,
                    deadline_ms,
                    until_ms: None,
                };
                return self.ask_keys(read).map(AboutCluster::Keys);
            }
            Ask::Wait {
                seq,
                db,
                op,
                block_ms,
            } => {
                let read = self.begin_waiting(now, (client, seq), db, op, block_ms);
                return read
                    .and_then(|read| self.ask_keys(read))
                    .map(AboutCluster::Keys);
            }
            Ask::Unblock {
                seq,
                client: other,
                error,
            } => {
                let waited = self.unblock(other, error);
                self.clients
                    .reply(client, seq, Reply::Integer(waited.into()));
            }
            Ask::Unsubscribe { seq, kind, names } => {
                let told = self.unsubscribe(client, seq, kind, names);
                self.confirm_unsubscribed(now.mono_ms, client, told);
            }
            Ask::SetProtocol { seq, protocol } => {
                self.bus.set_protocol(client, protocol);
                self.clients.tell(client, Told::Done { seq });
            }
            Ask::Reset { seq } => {
                self.bus.reset(client);
                self.cursors.end(client);
                self.clients.tell(client, Told::Done { seq });
            }
            Ask::PubSub { seq, query } => {
                let reply = self.count(query);
                self.clients.reply(client, seq, reply);
            }
            Ask::Info { seq, sections } => return Some(AboutCluster::Info { seq, sections }),
            Ask::Cluster { seq, ask } => return Some(AboutCluster::Ask { seq, ask }),
        }
        None
    }

    pub(crate) fn write(&mut self, now: Now, client: ClientId, seq: Seq, wants: Wants, ops: &[Op]) {
        let waiter = Waiter {
            client,
            seq,
            wants,
            user: self.access.user_of(client),
        };
        let bytes = ops.iter().map(Op::encoded_len).sum();
        let max = self.config.limits.write_bytes_max;
        let refusal = if self.starved.is_some() {
            self.no_room()
        } else if bytes > max {
            errors::too_large(bytes, max)
        } else if let Some(text) = self.refuse_keys(ops).or_else(|| self.refuse_rules(ops)) {
            text
        } else if let Err(text) = self.access.check_write(waiter, ops) {
            text
        } else if !self.origin.write(now.mono_ms, waiter, ops) {
            errors::try_again(self.origin.pending_bytes())
        } else {
            return;
        };
        self.fail_write(waiter, refusal);
    }

    /// Answers a write with an error, and forgets what else it waited for.
    pub(crate) fn fail_write(&mut self, Waiter { client, seq, .. }: Waiter, error: Bytes) {
        self.access.give_up(client, seq);
        self.blocked.forget(client);
        self.clients.error(client, seq, error);
    }

    fn no_room(&self) -> Bytes {
        let node = self.starved.unwrap_or(self.config.id);
        let own = node == self.config.id;
        errors::disk_low(
            node,
            own.then(|| (self.room.bytes_free(), self.room.bytes_needed())),
        )
    }

    /// Tells a peer, or all that are up, how this node is.
    pub(crate) fn tell_vitals(&mut self, now: Now, peer: Option<NodeId>) {
        let vitals = PeerMessage::Vitals(peer::Vitals {
            wall_ms: now.wall_ms,
            level: self.config.feature_level,
            disk_low: self.room.is_low(),
        });
        self.tell_peers(peer, &vitals);
    }

    /// Sends a small message to a peer, or to all that are up.
    pub(crate) fn tell_peers(&mut self, peer: Option<NodeId>, message: &PeerMessage) {
        let all = self.peers_up.iter().copied();
        let to = all.filter(|up| peer.is_none_or(|peer| peer == *up));
        self.out.send.extend(to.map(|up| (up, message.clone())));
    }

    /// Ends subscriptions at once; returns what is to be told of it.
    fn unsubscribe(
        &mut self,
        client: ClientId,
        seq: Seq,
        kind: SubscriptionKind,
        names: Vec<Bytes>,
    ) -> Vec<Told> {
        let mut told = Vec::with_capacity(names.len() + 1);
        let names = if names.is_empty() {
            self.bus.names(client, kind)
        } else {
            names
        };
        let confirm = |name, count| Told::Subscription {
            on: false,
            kind,
            name,
            count,
        };
        if names.is_empty() {
            told.push(confirm(None, self.bus.count(client, kind)));
        }
        for name in names {
            let count = self.bus.unsubscribe(client, kind, &name);
            self.cursors.unsubscribed(client, kind, &name);
            told.push(confirm(Some(name), count));
        }
        if !self.bus.listens(client) {
            self.end_lag(client);
        }
        told.push(Told::Done { seq });
        told
    }

    fn count(&self, query: PubSubQuery) -> Reply {
        let integer = |n: u64| Reply::Integer(i64::try_from(n).unwrap_or(i64::MAX));
        match query {
            PubSubQuery::Channels(pattern) => {
                let channels = self.bus.channels(pattern.as_deref());
                Reply::Array(channels.into_iter().map(Reply::Bulk).collect())
            }
            PubSubQuery::NumSub(channels) => {
                let pair = |name: Bytes| {
                    let count = integer(self.bus.numsub(&name));
                    [Reply::Bulk(name), count]
                };
                Reply::Array(channels.into_iter().flat_map(pair).collect())
            }
            PubSubQuery::NumPat => integer(self.bus.numpat()),
            PubSubQuery::ShardChannels(pattern) => {
                let channels = self.bus.shard_channels(pattern.as_deref());
                Reply::Array(channels.into_iter().map(Reply::Bulk).collect())
            }
            PubSubQuery::ShardNumSub(channels) => {
                let pair = |name: Bytes| {
                    let count = integer(self.bus.shard_numsub(&name));
                    [Reply::Bulk(name), count]
                };
                Reply::Array(channels.into_iter().flat_map(pair).collect())
            }
        }
    }

    /// Registers a subscription at the present position of the bus, and confirms it: what is applied from here on is
    /// delivered (P3).
    pub(crate) fn subscribe(&mut self, read: Read) {
        let permitted = self
            .access
            .check_subscription(read.client, read.kind, &read.names);
        if let Err(text) = permitted {
            return self.refuse_read(&read, text);
        }
        let Read {
            client,
            seq,
            kind,
            names,
            announced,
            ..
        } = read;
        for name in names {
            if !self.bus.is_subscribed(client, kind, &name) {
                self.cursors.subscribed(client, kind, &name);
                if announced.binary_search(&name).is_err() {
                    self.counts.changed(kind, &name);
                }
            }
            let count = self.bus.subscribe(client, kind, &name);
            let name = Some(name);
            self.clients.tell(
                client,
                Told::Subscription {
                    on: true,
                    kind,
                    name,
                    count,
                },
            );
        }
        self.clients.tell(client, Told::Done { seq });
    }

    /// Looks whether a majority answers. If not, nobody may believe any longer that silence means that nothing is
    /// published (P8).
    pub(crate) fn watch_quorum(&mut self, now: Now) {
        let loss_ms = self.config.timeouts.quorum_loss_ms;
        match self.quorum.look(now.mono_ms, self.reads.confirmed_ms()) {
            None => {}
            Some(Change::Found) => slog::info!(self.log, "a majority answers again"),
            Some(Change::Lost) => {
                let blocked: BTreeSet<ClientId> = self.blocked.clients().into_iter().collect();
                let listeners: Vec<ClientId> = self
                    .clients
                    .ids()
                    .filter(|client| self.bus.listens(*client) || blocked.contains(client))
                    .collect();
                slog::warn!(self.log, "no majority answers: subscribers and blocked clients are closed";
                    "elapsed_ms" => loss_ms, "clients" => listeners.len());
                let mut waiting = self.reads.give_up();
                waiting.extend(self.counts.give_up().into_iter().map(Waiting::Subscription));
                for waiting in waiting {
                    let error = match waiting {
                        Waiting::Subscription(_) => errors::quorum_lost(loss_ms),
                        Waiting::Keys(_) => errors::cluster_down_read(loss_ms),
                    };
                    self.refuse(&waiting, error);
                }
                for client in listeners {
                    let text = if blocked.contains(&client) {
                        errors::cluster_down_read(loss_ms)
                    } else {
                        errors::quorum_lost(loss_ms)
                    };
                    self.end_listening(client, text);
                }
            }
        }
    }

    /// Answers all that wait, as if their time were up.
    pub(crate) fn give_up(&mut self, now: Now) {
        let latest_ms = admin::wait_ms(self).max(self.config.timeouts.write_ms);
        self.expire(Now {
            mono_ms: now.mono_ms + latest_ms,
            ..now
        });
    }

    /// Tells those who have waited for too long.
    pub(crate) fn expire(&mut self, now: Now) {
        let write_ms = self.config.timeouts.write_ms;
        let expired = self.origin.expire(now.mono_ms);
        for waiter in expired.unknown {
            self.fail_write(waiter, errors::indeterminate(write_ms));
        }
        for waiter in expired.unsent {
            self.fail_write(waiter, errors::cluster_down_write(write_ms));
        }
        let wait_ms = admin::wait_ms(self);
        self.admin.expire(&mut self.clients, now, wait_ms);
        for (reader, reply) in self.blocked.take_due(now.mono_ms) {
            self.clients.reply(reader.client, reader.seq, reply);
        }
        for read in self.reads.expire(now.mono_ms) {
            self.refuse(&read, errors::cluster_down_read(write_ms));
        }
    }

    /// Hands an applied batch to its listeners, and its replies to those of its clients that are here.
    pub(crate) fn deliver(&mut self, batch: &AppliedBatch) {
        let ours = batch.origin == self.config.id && batch.boot == self.origin.boot();
        let waiters = if ours {
            self.origin.applied(batch.number)
        } else {
            Vec::new()
        };
        // Only a client that listens must have its replies between its messages.
        let listens = |waiter: &&Waiter| self.bus.listens(waiter.client);
        let repliers: BTreeSet<ClientId> = waiters
            .iter()
            .filter(listens)
            .map(|waiter| waiter.client)
            .collect();

        let mut fan = self.bus.fan_out(&RespEncoder, &repliers);
        let mut counts = Vec::with_capacity(batch.ops.len());
        let mut live = Vec::new();
        // What was written together has one place, its first operation's: its reply comes before all its messages.
        let mut writes = waiters.iter().map(|waiter| waiter.wants.ops());
        let (mut place, mut end) = (0, 0);
        for (k, op) in (0u32..).zip(&batch.ops) {
            if k == end {
                place = k;
                end += writes.next().unwrap_or(1);
            }
            counts.push(match op {
                _ if matches!(batch.outcomes.get(k as usize), Some(Outcome::Void)) => 0,
                Op::Publish { channel, payload } => {
                    let heard = fan.publish(place, channel, payload);
                    live_channel(&mut live, channel);
                    let with_id = || live_payload(batch.id(k), payload);
                    heard + fan.publish_exact(place, &live, with_id)
                }
                Op::ShardPublish { channel, payload } => fan.publish_shard(place, channel, payload),
                // Has an effect of its own.
                Op::Key { .. } | Op::Guard { .. } | Op::Users(_) | Op::HistoryRules(_) => 0,
            });
        }
        self.counters.delivered += fan.delivered();
        let deliveries = fan.finish();

        self.counters.published += batch.published();
        let mut replies: BTreeMap<ClientId, VecDeque<(u32, Seq, Reply)>> = BTreeMap::new();
        let of_op = |k: u32, count| keys::reply(batch.outcomes.get(k as usize), count);
        let (mut place, mut counts) = (0, (0u32..).zip(counts));
        for waiter in &waiters {
            let ops = waiter.wants.ops();
            let of_ops = counts.by_ref().take(ops as usize);
            let mut replies_of_ops = of_ops.map(|(k, count)| of_op(k, count));
            let reply = match waiter.wants {
                Wants::One => replies_of_ops.next().expect("a reply for each operation"),
                Wants::All(_) => keys::reply_all(batch.guard(place), replies_of_ops.collect()),
            };
            let k = place;
            place += ops;
            let Some(reply) = self.blocked.answered(waiter.client, waiter.seq, reply) else {
                continue;
            };
            if repliers.contains(&waiter.client) {
                replies
                    .entry(waiter.client)
                    .or_default()
                    .push_back((k, waiter.seq, reply));
            } else {
                self.clients.reply(waiter.client, waiter.seq, reply);
            }
        }
        for delivery in deliveries {
            let own = replies.remove(&delivery.client).unwrap_or_default();
            self.deliver_to(batch.index, delivery, own);
        }
        for (client, rest) in replies {
            for (_, seq, reply) in rest {
                self.clients.reply(client, seq, reply);
            }
        }
    }

    /// A client's own message follows the reply to its `PUBLISH` (P4).
    fn deliver_to(
        &mut self,
        index: LogIndex,
        delivery: Delivery,
        mut replies: VecDeque<(u32, Seq, Reply)>,
    ) {
        let Delivery {
            client,
            pieces,
            bytes,
            cut,
        } = delivery;
        if cut || !self.has_room(client, bytes) {
            // Its replies do not wait for its messages, which follow from the log.
            for (_, seq, reply) in replies {
                self.clients.reply(client, seq, reply);
            }
            #[cfg(feature = "seeded-bugs")]
            if self.bug == Some(corgi_consensus::SeededBug::OverflowDrops) {
                return;
            }
            return self.begin_lag(client, index);
        }
        for piece in pieces {
            while replies.front().is_some_and(|(op, ..)| *op <= piece.op) {
                if let Some((_, seq, reply)) = replies.pop_front() {
                    self.clients.reply(client, seq, reply);
                }
            }
            self.clients.tell(client, Told::Deliver(piece.bytes));
        }
        for (_, seq, reply) in replies {
            self.clients.reply(client, seq, reply);
        }
    }

    /// Closes a subscriber with a last word.
    fn end_listening(&mut self, client: ClientId, error: Bytes) {
        self.bus.reset(client);
        self.forget_reads(client);
        let error = Some(error);
        self.clients.tell(client, Told::Close { error });
    }
}

/// Frames as the clients' protocol has them.
pub(crate) struct RespEncoder;

impl Encoder for RespEncoder {
    fn message(
        &self,
        protocol: Protocol,
        via: Via<'_>,
        channel: &[u8],
        payload: &[u8],
        out: &mut BytesMut,
    ) {
        encode_message(via, channel, payload, protocol, out);
    }
}
