//! What this node tells the others of its own counts.

use super::announced::Announced;
use crate::peer::{NameCount, PeerMessage};
use bytes::Bytes;
use corgi_base::{Boot, NodeId, SubscriptionKind};
use corgi_bus::Bus;
use std::collections::{BTreeMap, VecDeque};

/// Bytes of counts in one message, unless one name is longer. Small, because heartbeats wait behind it.
const MESSAGE_BYTES: usize = 16 << 10;
/// Bytes of counts that are told and not taken yet, unless it is one message.
const WINDOW_BYTES: usize = 64 << 10;
/// Messages that are told and not taken yet: what changes while as many are under way shares the next one.
const WINDOW_MESSAGES: usize = 8;
/// What is not taken by then is told again: longer than a round trip between busy nodes.
const AGAIN_MS: u64 = 100;
/// A peer that has not taken what it was told for so long is not waited for: half an election timeout by default, so
/// that one that is paused delays a subscription by less than a fail-over would.
pub(crate) const LATE_MS: u64 = 300;
/// Changed names that are kept for peers which do not take them; beyond this a peer gets everything again.
const CHANGES_MAX: usize = 1 << 16;
/// The same in bytes of their names.
const CHANGES_BYTES_MAX: usize = 16 << 20;
/// Numbers of names that are looked at for one message: most may be free after many have left.
const SLOTS_MAX: u32 = 4096;

/// The kinds in the order in which they are told.
const KINDS: [SubscriptionKind; 3] = [
    SubscriptionKind::Channel,
    SubscriptionKind::Pattern,
    SubscriptionKind::Shard,
];

/// This node's own counts: of those who listen, and of those whose subscription waits to be confirmed.
pub(crate) struct Own<'a> {
    pub(crate) bus: &'a Bus,
    pub(crate) announced: &'a Announced,
}

impl Own<'_> {
    fn count(&self, kind: SubscriptionKind, name: &Bytes) -> u64 {
        self.bus.count_here(kind, name) + self.announced.count(kind, name)
    }
}

/// Up to where a stream has told everything there is.
#[derive(Clone, Debug)]
enum Place {
    /// Names that wait to be confirmed, after this one.
    Announced(Option<(SubscriptionKind, Bytes)>),
    /// The names of a kind, from this number.
    Names(usize, u32),
    /// All.
    End,
}

/// A message that is not taken yet.
#[derive(Debug)]
struct Told {
    message: PeerMessage,
    bytes: usize,
    /// Changes before this one are told once it is taken.
    covers: u64,
    since_ms: u64,
}

/// What one peer is told: everything once, and what changes from then on. Lost with the link; the next link begins
/// another.
#[derive(Debug)]
struct Stream {
    number: u64,
    /// The number of its next message.
    seq: u64,
    /// The next change to tell.
    next: u64,
    place: Place,
    told: VecDeque<Told>,
    told_bytes: usize,
    /// When anything was last told.
    told_ms: u64,
    /// Changes before this one are taken.
    taken: u64,
    /// Whether the peer has taken any message.
    met: bool,
}

impl Stream {
    fn is_late(&self, now_ms: u64) -> bool {
        let oldest = self.told.front();
        oldest.is_some_and(|oldest| now_ms >= oldest.since_ms + LATE_MS)
    }

    fn has_window(&self) -> bool {
        let room = self.told_bytes < WINDOW_BYTES && self.told.len() < WINDOW_MESSAGES;
        self.told.is_empty() || room
    }
}

/// What all peers are told.
#[derive(Debug)]
pub(crate) struct Telling {
    boot: Boot,
    streams: u64,
    peers: BTreeMap<NodeId, Stream>,
    /// The number of the first of `changes`.
    first: u64,
    changes: VecDeque<(SubscriptionKind, Bytes)>,
    changes_bytes: usize,
}

impl Telling {
    pub(crate) fn new(boot: Boot) -> Self {
        Self {
            boot,
            streams: 0,
            peers: BTreeMap::new(),
            first: 0,
            changes: VecDeque::new(),
            changes_bytes: 0,
        }
    }

    /// Whether there is anybody to tell.
    pub(crate) fn has_peers(&self) -> bool {
        !self.peers.is_empty()
    }

    /// Tells a peer everything from the start: its link has just come up, or it has lost what it was told.
    pub(crate) fn begin(&mut self, peer: NodeId) {
        self.streams += 1;
        let stream = Stream {
            number: self.streams,
            seq: 0,
            next: self.end(),
            place: Place::Announced(None),
            told: VecDeque::new(),
            told_bytes: 0,
            told_ms: 0,
            taken: 0,
            met: false,
        };
        self.peers.insert(peer, stream);
    }

    /// The link to a peer is down.
    pub(crate) fn end_stream(&mut self, peer: NodeId) {
        self.peers.remove(&peer);
    }

    /// A peer says that it has nothing of what it was told. Before it has taken the first message that is no news.
    pub(crate) fn begin_again(&mut self, peer: NodeId) {
        if self.peers.get(&peer).is_some_and(|stream| stream.met) {
            self.begin(peer);
        }
    }

    /// Notes that a count has changed.
    pub(crate) fn changed(&mut self, kind: SubscriptionKind, name: Bytes) {
        if self.peers.is_empty() {
            self.first += 1;
            return;
        }
        self.changes_bytes += name.len();
        self.changes.push_back((kind, name));
    }

    /// Returns the number of the next change.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.changes.len() as u64
    }

    /// Whether all changes before `end` are taken by all peers that can be expected to.
    pub(crate) fn is_taken(&self, now_ms: u64, end: u64) -> bool {
        let mut peers = self.peers.values();
        peers.all(|stream| stream.taken >= end || stream.is_late(now_ms))
    }

    /// A peer has taken all messages of a stream before `seq`.
    pub(crate) fn taken(&mut self, peer: NodeId, boot: Boot, number: u64, seq: u64) {
        let Some(stream) = self.peers.get_mut(&peer) else {
            return;
        };
        if boot != self.boot || number != stream.number || seq > stream.seq {
            return;
        }
        let first = stream.seq - stream.told.len() as u64;
        for _ in first..seq {
            if let Some(told) = stream.told.pop_front() {
                stream.told_bytes -= told.bytes;
                stream.taken = told.covers;
                stream.met = true;
            }
        }
    }

    /// Tells what there is to tell and what got lost.
    pub(crate) fn tell(
        &mut self,
        now_ms: u64,
        own: &Own<'_>,
        out: &mut Vec<(NodeId, PeerMessage)>,
    ) {
        for (peer, stream) in &mut self.peers {
            if !stream.told.is_empty() && now_ms >= stream.told_ms + AGAIN_MS {
                out.extend(stream.told.iter().map(|told| (*peer, told.message.clone())));
                stream.told_ms = now_ms;
            }
            while stream.has_window() {
                let changes = (self.first, &self.changes);
                let Some(told) = next_message(stream, self.boot, changes, now_ms, own) else {
                    break;
                };
                out.push((*peer, told.message.clone()));
                stream.told_bytes += told.bytes;
                stream.told.push_back(told);
                stream.told_ms = now_ms;
            }
        }
        self.forget_told();
    }

    /// Forgets changes that are told to all. A peer for which too many would have to be kept gets everything again.
    fn forget_told(&mut self) {
        if self.changes.len() > CHANGES_MAX || self.changes_bytes > CHANGES_BYTES_MAX {
            let end = self.end();
            let behind = |(peer, stream): (&NodeId, &Stream)| (stream.next < end).then_some(*peer);
            let behind: Vec<NodeId> = self.peers.iter().filter_map(behind).collect();
            for peer in behind {
                self.begin(peer);
            }
        }
        let next = self.peers.values().map(|stream| stream.next).min();
        let next = next.unwrap_or_else(|| self.end());
        while self.first < next
            && let Some((_, name)) = self.changes.pop_front()
        {
            self.changes_bytes -= name.len();
            self.first += 1;
        }
    }
}

/// Returns a stream's next message, if there is anything to tell: changes first, because somebody may wait for them.
fn next_message(
    stream: &mut Stream,
    boot: Boot,
    (first, changes): (u64, &VecDeque<(SubscriptionKind, Bytes)>),
    now_ms: u64,
    own: &Own<'_>,
) -> Option<Told> {
    let mut counts: Vec<NameCount> = Vec::new();
    let mut bytes = 0;
    let mut add = |kind, name: &Bytes| {
        let name = name.clone();
        let count = NameCount {
            kind,
            count: own.count(kind, &name),
            name,
        };
        bytes += count.encoded_len();
        counts.push(count);
        bytes < MESSAGE_BYTES
    };
    let mut room = true;
    while room && let Some((kind, name)) = changes.get(usize::try_from(stream.next - first).ok()?) {
        stream.next += 1;
        room = add(*kind, name);
    }
    let mut complete = false;
    let mut slots = SLOTS_MAX;
    while room && slots > 0 && !complete {
        match &mut stream.place {
            Place::Announced(after) => match own.announced.next_after(after.as_ref()) {
                Some((kind, name)) => {
                    room = add(kind, &name);
                    stream.place = Place::Announced(Some((kind, name)));
                }
                None => stream.place = Place::Names(0, 0),
            },
            Place::Names(at, slot) => {
                slots -= 1;
                match KINDS.get(*at) {
                    None => {
                        stream.place = Place::End;
                        complete = true;
                    }
                    Some(kind) if *slot >= own.bus.slots(*kind) => {
                        *at += 1;
                        *slot = 0;
                    }
                    Some(kind) => {
                        if let Some(name) = own.bus.name_here(*kind, *slot) {
                            room = add(*kind, name);
                        }
                        *slot += 1;
                    }
                }
            }
            Place::End => break,
        }
    }
    if counts.is_empty() && !complete {
        return None;
    }
    let seq = stream.seq;
    stream.seq += 1;
    // A subscription that waits counts as told when those that waited before the stream began are.
    let covers = match stream.place {
        Place::Announced(_) => stream.taken,
        Place::Names(..) | Place::End => stream.next,
    };
    Some(Told {
        message: PeerMessage::Counts {
            boot,
            stream: stream.number,
            seq,
            complete,
            counts,
        },
        bytes,
        covers,
        since_ms: now_ms,
    })
}
