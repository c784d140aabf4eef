//! What other nodes say of their subscribers.
//!
//! What a node says stands at the topics, each with the *generation* in which it was said. A node that is gone, or that
//! has told everything anew, makes all older generations of it invalid at once, at no cost; what they leave behind is
//! swept up bit by bit.

use crate::Bus;
use crate::topics::{Counted, TopicSlot, slot};
use bytes::Bytes;
use corgi_base::{NodeId, SubscriptionKind};

/// The number of a node in [`Nodes`].
pub(crate) type NodeSlot = u32;

/// What keeping a name of another node costs besides its bytes: an entry in the index and in the list, and allocations.
const NAME_COST: usize = 160;

pub(crate) const KINDS: [SubscriptionKind; 3] = [
    SubscriptionKind::Channel,
    SubscriptionKind::Pattern,
    SubscriptionKind::Shard,
];

/// How many subscribers a node has told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Elsewhere {
    pub(crate) node: NodeSlot,
    pub(crate) generation: u32,
    pub(crate) count: u32,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    id: NodeId,
    /// The generation of what it says now.
    generation: u32,
    /// The first one that is valid.
    valid_from: u32,
}

/// The other nodes that have ever said anything: few, because ids are never used again.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    nodes: Vec<Node>,
}

impl Nodes {
    pub(crate) fn is_valid(&self, said: &Elsewhere) -> bool {
        said.generation >= self.nodes[said.node as usize].valid_from
    }

    fn get(&mut self, id: NodeId) -> (NodeSlot, &mut Node) {
        let known = self.nodes.iter().position(|node| node.id == id);
        let at = known.unwrap_or_else(|| {
            self.nodes.push(Node {
                id,
                generation: 0,
                valid_from: 0,
            });
            self.nodes.len() - 1
        });
        (slot(at), &mut self.nodes[at])
    }
}

/// How far the sweeping has come.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    kind: usize,
    topic: TopicSlot,
    /// So many topics are left to look at.
    left: usize,
}

/// All that is kept of other nodes.
#[derive(Debug, Default)]
pub(crate) struct Others {
    pub(crate) nodes: Nodes,
    pub(crate) sweep: Sweep,
    /// What the names that others have told of cost, one for each node that has told of it.
    bytes: usize,
}

impl Others {
    /// Whether topics may be kept to which nobody listens any more.
    pub(crate) fn is_swept(&self) -> bool {
        self.sweep.left == 0
    }

    /// A topic has come. The sweeping may come to it before it comes to one that must be swept.
    pub(crate) fn one_more(&mut self) {
        if self.sweep.left > 0 {
            self.sweep.left += 1;
        }
    }
}

/// Subscribers on other nodes. They are counted by [`FanOut::publish`](crate::FanOut::publish) and by the questions of
/// `PUBSUB`, and nothing is delivered to them.
impl Bus {
    /// Begins to take counts of a node anew. What it has said before holds until [`Bus::complete_node`].
    pub fn begin_node(&mut self, node: NodeId) {
        self.others.nodes.get(node).1.generation += 1;
    }

    /// Forgets what a node said before the last [`Bus::begin_node`]: it has told everything since.
    pub fn complete_node(&mut self, node: NodeId) {
        let (_, node) = self.others.nodes.get(node);
        node.valid_from = node.generation;
        self.sweep_all();
    }

    /// Forgets what a node has said.
    pub fn forget_node(&mut self, node: NodeId) {
        let (_, node) = self.others.nodes.get(node);
        node.generation += 1;
        node.valid_from = node.generation;
        self.sweep_all();
    }

    fn sweep_all(&mut self) {
        self.others.sweep.left = KINDS.iter().map(|kind| self.slots(*kind) as usize).sum();
    }

    /// Sets how many clients of another node listen to a channel by its exact name, to a pattern by its spelling, or to
    /// a shard channel. Returns whether it was noted: names that cost more than
    /// [`Options::elsewhere_bytes_max`](crate::Options) altogether are not.
    pub fn count_elsewhere(
        &mut self,
        node: NodeId,
        kind: SubscriptionKind,
        name: &[u8],
        count: u64,
    ) -> bool {
        let (node, known) = self.others.nodes.get(node);
        let said = Elsewhere {
            node,
            generation: known.generation,
            count: u32::try_from(count).unwrap_or(u32::MAX),
        };
        let cost = NAME_COST + name.len();
        let full = self.others.bytes + cost > self.elsewhere_bytes_max;
        let topic = self.topic(kind, name);
        let Some(topic) = topic else {
            if count > 0 && !full {
                self.others.bytes += cost;
                let name = Bytes::copy_from_slice(name);
                let topic = self.topics_mut(kind).insert_elsewhere(name.clone(), said);
                self.name_came(kind, name, topic);
            }
            return count == 0 || !full;
        };
        if count > 0 && full && !self.topics(kind).has_said(topic, node) {
            return false;
        }
        match self.topics_mut(kind).count_elsewhere(topic, said) {
            Counted::Changed => {}
            Counted::Added => self.others.bytes += cost,
            Counted::Removed { did, gone } => {
                if did {
                    self.others.bytes -= cost;
                }
                if gone {
                    self.name_went(kind, name);
                }
            }
        }
        true
    }

    /// Looks at up to `topics` topics for what is no longer valid, if there can be any. Call it now and then.
    pub fn sweep(&mut self, topics: usize) {
        for _ in 0..topics.min(self.others.sweep.left) {
            self.others.sweep.left -= 1;
            let (kind, topic) = loop {
                let sweep = &mut self.others.sweep;
                let kind = KINDS[sweep.kind];
                let topic = sweep.topic;
                sweep.topic += 1;
                if topic < self.slots(kind) {
                    break (kind, topic);
                }
                let sweep = &mut self.others.sweep;
                sweep.kind = (sweep.kind + 1) % KINDS.len();
                sweep.topic = 0;
            };
            let nodes = std::mem::take(&mut self.others.nodes);
            let swept = self.topics_mut(kind).sweep(topic, &nodes);
            self.others.nodes = nodes;
            self.others.bytes -= swept.removed * (NAME_COST + swept.name_bytes);
            if let Some(name) = swept.gone {
                self.name_went(kind, &name);
            }
        }
    }

    /// Returns what the names cost that other nodes have told of.
    #[must_use]
    pub fn elsewhere_bytes(&self) -> usize {
        self.others.bytes
    }

    /// Returns how many clients of this node listen to a channel by its exact name, to a pattern by its spelling, or to
    /// a shard channel.
    #[must_use]
    pub fn count_here(&self, kind: SubscriptionKind, name: &[u8]) -> u64 {
        let topic = self.topic(kind, name);
        topic.map_or(0, |topic| self.topics(kind).subscribers(topic).len() as u64)
    }

    /// Returns the names of a kind that somebody listens to, in byte order, each with how many clients of this node do
    /// and how many of others.
    #[must_use]
    pub fn listened(&self, kind: SubscriptionKind) -> Vec<(Bytes, u64, u64)> {
        let all = self.topics(kind).listened(&self.others.nodes);
        let mut all: Vec<_> = all
            .map(|(name, here, there)| (name.clone(), here, there))
            .collect();
        all.sort_unstable();
        all
    }

    /// Returns below which number the names of a kind are found, see [`Bus::name_here`].
    #[must_use]
    pub fn slots(&self, kind: SubscriptionKind) -> u32 {
        slot(self.topics(kind).slots())
    }

    /// Returns the name of a kind with a number, if there is one that a client of this node listens to. A name keeps
    /// its number for as long as anybody listens to it.
    #[must_use]
    pub fn name_here(&self, kind: SubscriptionKind, number: u32) -> Option<&Bytes> {
        self.topics(kind).name_here(number)
    }

    /// Takes the names that clients of this node have ceased to listen to since the last call, in order, some perhaps
    /// more than once.
    pub fn take_left(&mut self) -> Vec<(SubscriptionKind, Bytes)> {
        std::mem::take(&mut self.left)
    }
}
