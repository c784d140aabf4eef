//! From the messages of one applied batch to what each client gets.

use crate::Encoder;
use crate::bus::{Channels, Client, PatternTopics, Route};
use crate::elsewhere::Nodes;
use crate::topics::{ClientSlot, slot};
use bytes::{Bytes, BytesMut};
use corgi_base::{ClientId, Protocol, Via};
use std::collections::BTreeSet;
use std::fmt;

const PROTOCOLS: usize = 2;

/// The mark of a client that is left out, so that the batch's other messages need not look at it.
const DETACHED: u32 = u32::MAX;

/// Consecutive frames for one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The operation of the batch whose message comes first in the piece. For a replier it is the
    /// operation of all its messages.
    pub op: u32,
    /// Whole frames, a slice of a buffer that is shared with all clients of the same protocol.
    pub bytes: Bytes,
}

/// What one client gets of one batch, never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The client.
    pub client: ClientId,
    /// In the order to write them; `op` never falls.
    pub pieces: Vec<Piece>,
    /// The bytes of all pieces: what they count in the client's queue. Queued pieces keep their
    /// batch's whole buffer alive, which is shared, so the sum over clients is more than the memory
    /// taken.
    pub bytes: usize,
    /// True if the client's part passed [`Options::client_batch_bytes_max`](crate::Options) and
    /// later frames were left out: the client has missed messages unless the node feeds it from the
    /// log.
    pub cut: bool,
}

/// The fan-out of one applied batch, from [`Bus::fan_out`](crate::Bus::fan_out).
///
/// Each operation that took effect is published in log order under its number in the batch, and
/// [`FanOut::finish`] returns what every client gets. Dropping it instead delivers nothing.
///
/// **Replies and own messages.** A client that listens to what it publishes must see the reply to
/// its `PUBLISH` before the message. For a client in `repliers` a piece therefore never holds
/// messages of two operations, and the caller can put the replies between: before a piece of
/// operation `op`, write the client's replies to its operations up to and including `op`; after the
/// last piece, the rest.
///
/// ```
/// use bytes::{BufMut, BytesMut};
/// use corgi_base::{ClientId, Protocol, SubscriptionKind, Via};
/// use corgi_bus::{Bus, Encoder, Options};
/// use std::collections::{BTreeMap, BTreeSet};
///
/// struct Lines;
/// impl Encoder for Lines {
///     fn message(
///         &self, _: Protocol, _: Via<'_>, _: &[u8], payload: &[u8], out: &mut BytesMut,
///     ) {
///         out.put_slice(payload);
///         out.put_u8(b'\n');
///     }
/// }
///
/// let mut bus = Bus::new(Options { hash_seed: 0, client_batch_bytes_max: 1 << 20, elsewhere_bytes_max: 0 });
/// let (publisher, other) = (ClientId(1), ClientId(2));
/// for client in [publisher, other] {
///     bus.open(client, Protocol::Resp3);
///     bus.subscribe(client, SubscriptionKind::Channel, b"news");
/// }
///
/// // A batch of three messages: 0 and 2 are the publisher's, 1 came from somewhere else.
/// let repliers = BTreeSet::from([publisher]);
/// let mut fan = bus.fan_out(&Lines, &repliers);
/// let mut replies = BTreeMap::new();
/// replies.insert(0, fan.publish(0, b"news", b"zero"));
/// fan.publish(1, b"news", b"one");
/// replies.insert(2, fan.publish(2, b"news", b"two"));
/// let deliveries = fan.finish();
///
/// let mut written = String::new();
/// for piece in &deliveries[0].pieces {
///     while let Some(reply) = replies.first_entry().filter(|reply| *reply.key() <= piece.op) {
///         written += &format!(":{}\n", reply.remove());
///     }
///     written += std::str::from_utf8(&piece.bytes).unwrap();
/// }
/// assert_eq!(written, ":2\nzero\none\n:2\ntwo\n");
///
/// // Who waits for nothing gets one slice.
/// assert_eq!(deliveries[1].client, other);
/// assert_eq!(deliveries[1].pieces.len(), 1);
/// assert_eq!(deliveries[1].pieces[0].bytes, "zero\none\ntwo\n");
/// ```
pub struct FanOut<'b, E: ?Sized> {
    listeners: Listeners<'b>,
    frames: Frames<'b, E>,
    delivered: u64,
}

impl<'b, E: Encoder + ?Sized> FanOut<'b, E> {
    pub(crate) fn new(
        listeners: Listeners<'b>,
        marks: Marks<'b>,
        encoder: &'b E,
        repliers: &'b BTreeSet<ClientId>,
        bytes_max: usize,
    ) -> Self {
        let frames = Frames {
            encoder,
            repliers,
            bytes_max,
            marks,
            buffers: [BytesMut::new(), BytesMut::new()],
            parts: Vec::new(),
            op: 0,
        };
        Self {
            listeners,
            frames,
            delivered: 0,
        }
    }

    /// Takes the message of operation `op` of the batch. Returns how many subscriptions of all nodes
    /// receive it, which is what `PUBLISH` counts: the clients on the channel, and for every
    /// matching pattern the clients on it (<https://redis.io/docs/latest/commands/publish/>).
    ///
    /// # Panics
    /// If `op` is lower than in an earlier call: messages are published in log order.
    pub fn publish(&mut self, op: u32, channel: &[u8], payload: &[u8]) -> u64 {
        self.frames.begin(op);
        let Listeners {
            clients,
            channels,
            patterns,
            nodes,
            route,
            ..
        } = &mut self.listeners;
        route.find(channel, channels, patterns);
        let mut here = 0;
        let mut elsewhere = 0;
        if let Some(topic) = route.exact {
            let message = Message {
                via: Via::Channel,
                channel,
                payload,
            };
            let subscribers = channels.topics.subscribers(topic);
            here += self.frames.deliver(clients, subscribers, message);
            elsewhere += channels.topics.elsewhere(topic, nodes);
        }
        for topic in &route.patterns {
            let message = Message {
                via: Via::Pattern(patterns.topics.name(*topic)),
                channel,
                payload,
            };
            let subscribers = patterns.topics.subscribers(*topic);
            here += self.frames.deliver(clients, subscribers, message);
            elsewhere += patterns.topics.elsewhere(*topic, nodes);
        }
        self.delivered += here;
        here + elsewhere
    }

    /// Takes a message of operation `op` of the batch that is only for those on the channel itself, not for those on
    /// patterns that match. `payload` is called if there is anybody. Returns how many clients of all nodes receive it.
    ///
    /// # Panics
    /// As [`FanOut::publish`].
    pub fn publish_exact(
        &mut self,
        op: u32,
        channel: &[u8],
        payload: impl FnOnce() -> Vec<u8>,
    ) -> u64 {
        self.frames.begin(op);
        let Listeners {
            clients,
            channels,
            nodes,
            ..
        } = &self.listeners;
        let Some(topic) = channels.by_name.get(channel).copied() else {
            return 0;
        };
        let message = Message {
            via: Via::Channel,
            channel,
            payload: &payload(),
        };
        let subscribers = channels.topics.subscribers(topic);
        let here = self.frames.deliver(clients, subscribers, message);
        self.delivered += here;
        here + channels.topics.elsewhere(topic, nodes)
    }

    /// Takes the message of operation `op` of the batch, which is for a shard channel. Returns how
    /// many clients of all nodes receive it, which is what `SPUBLISH` counts
    /// (<https://redis.io/docs/latest/commands/spublish/>).
    ///
    /// # Panics
    /// As [`FanOut::publish`].
    pub fn publish_shard(&mut self, op: u32, channel: &[u8], payload: &[u8]) -> u64 {
        self.frames.begin(op);
        let Listeners {
            clients,
            shards,
            nodes,
            ..
        } = &self.listeners;
        let Some(topic) = shards.by_name.get(channel).copied() else {
            return 0;
        };
        let message = Message {
            via: Via::Shard,
            channel,
            payload,
        };
        let subscribers = shards.topics.subscribers(topic);
        let here = self.frames.deliver(clients, subscribers, message);
        self.delivered += here;
        here + shards.topics.elsewhere(topic, nodes)
    }

    /// Returns to how many subscriptions of this node messages have gone so far.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Ends the batch. Returns one delivery per client that receives anything, by client id.
    #[must_use]
    pub fn finish(self) -> Vec<Delivery> {
        let Frames {
            buffers, mut parts, ..
        } = self.frames;
        let buffers = buffers.map(BytesMut::freeze);
        parts.sort_unstable_by_key(|part| part.client);
        parts
            .into_iter()
            .map(|part| part.delivery(&buffers))
            .collect()
    }
}

impl<E: ?Sized> fmt::Debug for FanOut<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FanOut")
            .field("op", &self.frames.op)
            .field("clients", &self.frames.parts.len())
            .finish_non_exhaustive()
    }
}

/// The parts of the bus that say who gets what.
pub(crate) struct Listeners<'b> {
    pub(crate) clients: &'b [Option<Client>],
    pub(crate) channels: &'b Channels,
    pub(crate) patterns: &'b mut PatternTopics,
    pub(crate) shards: &'b Channels,
    pub(crate) nodes: &'b Nodes,
    pub(crate) route: &'b mut Route,
}

/// Which part of a batch is a client's. Marks of earlier batches stay and are told by their epoch.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mark {
    epoch: u64,
    part: u32,
}

/// One mark per client slot, and the epoch of the batch at hand.
pub(crate) struct Marks<'b> {
    pub(crate) marks: &'b mut [Mark],
    pub(crate) epoch: u64,
}

#[derive(Clone, Copy)]
struct Message<'a> {
    via: Via<'a>,
    channel: &'a [u8],
    payload: &'a [u8],
}

/// Consecutive bytes of a protocol's buffer.
#[derive(Clone, Copy)]
struct Span {
    op: u32,
    start: usize,
    end: usize,
}

impl Span {
    fn piece(self, buffer: &Bytes) -> Piece {
        Piece {
            op: self.op,
            bytes: buffer.slice(self.start..self.end),
        }
    }
}

/// What one client gets, while the batch is under way.
struct Part {
    client: ClientId,
    protocol: Protocol,
    replier: bool,
    cut: bool,
    bytes: usize,
    /// Apart from the earlier ones, because most clients have one.
    last: Span,
    earlier: Vec<Span>,
}

impl Part {
    fn add(&mut self, span: Span) {
        self.bytes += span.end - span.start;
        let adjacent = self.last.end == span.start;
        if adjacent && (!self.replier || self.last.op == span.op) {
            self.last.end = span.end;
        } else {
            self.earlier.push(self.last);
            self.last = span;
        }
    }

    fn delivery(self, buffers: &[Bytes; PROTOCOLS]) -> Delivery {
        let buffer = &buffers[position(self.protocol)];
        let spans = self.earlier.iter().copied().chain([self.last]);
        let pieces = spans.map(|span| span.piece(buffer)).collect();
        Delivery {
            client: self.client,
            pieces,
            bytes: self.bytes,
            cut: self.cut,
        }
    }
}

/// The frames of the batch and who gets which.
struct Frames<'b, E: ?Sized> {
    encoder: &'b E,
    repliers: &'b BTreeSet<ClientId>,
    bytes_max: usize,
    marks: Marks<'b>,
    buffers: [BytesMut; PROTOCOLS],
    parts: Vec<Part>,
    op: u32,
}

impl<E: Encoder + ?Sized> Frames<'_, E> {
    fn begin(&mut self, op: u32) {
        assert!(op >= self.op, "operation {op} after {}", self.op);
        self.op = op;
    }

    /// Gives a message to the subscribers of one name, and returns how many they are.
    fn deliver(
        &mut self,
        clients: &[Option<Client>],
        subscribers: &[ClientSlot],
        message: Message<'_>,
    ) -> u64 {
        let mut encoded: [Option<Span>; PROTOCOLS] = [None; PROTOCOLS];
        for at in subscribers {
            let mark = self.marks.marks[*at as usize];
            if mark.epoch == self.marks.epoch {
                if mark.part == DETACHED {
                    continue;
                }
                let part = &mut self.parts[mark.part as usize];
                if part.bytes >= self.bytes_max {
                    part.cut = true;
                    continue;
                }
                let protocol = part.protocol;
                let span = self.encode(protocol, message, &mut encoded);
                self.parts[mark.part as usize].add(span);
            } else {
                let client = clients[*at as usize]
                    .as_ref()
                    .expect("subscribers are open");
                if client.detached {
                    self.marks.marks[*at as usize] = Mark {
                        epoch: self.marks.epoch,
                        part: DETACHED,
                    };
                    continue;
                }
                let span = self.encode(client.protocol, message, &mut encoded);
                self.start_part(*at, client, span);
            }
        }
        subscribers.len() as u64
    }

    fn encode(
        &mut self,
        protocol: Protocol,
        message: Message<'_>,
        encoded: &mut [Option<Span>; PROTOCOLS],
    ) -> Span {
        let Message {
            via,
            channel,
            payload,
        } = message;
        *encoded[position(protocol)].get_or_insert_with(|| {
            let buffer = &mut self.buffers[position(protocol)];
            let start = buffer.len();
            self.encoder
                .message(protocol, via, channel, payload, buffer);
            Span {
                op: self.op,
                start,
                end: buffer.len(),
            }
        })
    }

    fn start_part(&mut self, at: ClientSlot, client: &Client, first: Span) {
        self.marks.marks[at as usize] = Mark {
            epoch: self.marks.epoch,
            part: slot(self.parts.len()),
        };
        self.parts.push(Part {
            client: client.id,
            protocol: client.protocol,
            replier: self.repliers.contains(&client.id),
            cut: false,
            bytes: first.end - first.start,
            last: first,
            earlier: Vec::new(),
        });
    }
}

fn position(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Resp2 => 0,
        Protocol::Resp3 => 1,
    }
}
