//! The names that somebody listens to, each with its subscribers in one dense list, and with how many
//! there are on other nodes.

use crate::elsewhere::{Elsewhere, NodeSlot, Nodes};
use bytes::Bytes;

/// The number of a name in [`Topics`]; used again once nobody listens to the name.
pub(crate) type TopicSlot = u32;

/// The number of a client in the bus; used again once the client is closed.
pub(crate) type ClientSlot = u32;

/// Where a subscription stands, kept by its client so that leaving a list of any length is one
/// step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) topic: TopicSlot,
    /// The position in the topic's list of subscribers.
    pub(crate) at: u32,
}

/// What became of a topic that a subscriber left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// The list changed its last place only.
    Kept,
    /// The list's last subscriber now stands where the leaving one stood.
    Moved(ClientSlot),
    /// Nobody is left, here or elsewhere: the topic is gone, and its number free.
    Gone,
}

/// What became of a topic to which subscribers elsewhere came or went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// It still says something of the node, as it did before.
    Changed,
    /// It says something of the node for the first time.
    Added,
    /// It says nothing of the node any more, or never did.
    Removed {
        /// Whether it did before.
        did: bool,
        /// Whether nobody is left, here or elsewhere, so that the topic is gone.
        gone: bool,
    },
}

/// What sweeping has done to a topic.
#[derive(Debug)]
pub(crate) struct Swept {
    /// How much of what other nodes said of it is removed.
    pub(crate) removed: usize,
    pub(crate) name_bytes: usize,
    /// Its name, if nobody is left.
    pub(crate) gone: Option<Bytes>,
}

/// A channel or a pattern.
#[derive(Debug)]
struct Topic {
    name: Bytes,
    /// In no particular order. The number is free if and only if this and `elsewhere` are empty.
    subscribers: Vec<ClientSlot>,
    /// One for each node that has told of subscribers, some perhaps no longer valid.
    elsewhere: Vec<Elsewhere>,
}

impl Topic {
    fn is_free(&self) -> bool {
        self.subscribers.is_empty() && self.elsewhere.is_empty()
    }
}

/// All topics of one kind.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    topics: Vec<Topic>,
    free: Vec<TopicSlot>,
}

impl Topics {
    /// Adds a name with its first subscriber.
    pub(crate) fn insert(&mut self, name: Bytes, first: ClientSlot) -> Place {
        let topic = self.add(Topic {
            name,
            subscribers: vec![first],
            elsewhere: Vec::new(),
        });
        Place { topic, at: 0 }
    }

    /// Adds a name with its first subscribers elsewhere.
    pub(crate) fn insert_elsewhere(&mut self, name: Bytes, first: Elsewhere) -> TopicSlot {
        self.add(Topic {
            name,
            subscribers: Vec::new(),
            elsewhere: vec![first],
        })
    }

    fn add(&mut self, new: Topic) -> TopicSlot {
        match self.free.pop() {
            Some(topic) => {
                self.topics[topic as usize] = new;
                topic
            }
            None => {
                self.topics.push(new);
                slot(self.topics.len() - 1)
            }
        }
    }

    /// Adds a subscriber that is not yet in the topic's list.
    pub(crate) fn join(&mut self, topic: TopicSlot, client: ClientSlot) -> Place {
        let subscribers = &mut self.topics[topic as usize].subscribers;
        subscribers.push(client);
        Place {
            topic,
            at: slot(subscribers.len() - 1),
        }
    }

    /// Takes the subscriber at a place out of the list.
    pub(crate) fn leave(&mut self, place: Place) -> Left {
        let topic = &mut self.topics[place.topic as usize];
        topic.subscribers.swap_remove(place.at as usize);
        if let Some(moved) = topic.subscribers.get(place.at as usize) {
            return Left::Moved(*moved);
        }
        if !topic.is_free() {
            return Left::Kept;
        }
        self.free(place.topic);
        Left::Gone
    }

    fn free(&mut self, topic: TopicSlot) {
        self.topics[topic as usize] = Topic {
            name: Bytes::new(),
            subscribers: Vec::new(),
            elsewhere: Vec::new(),
        };
        self.free.push(topic);
    }

    /// Sets what a node says of a topic.
    pub(crate) fn count_elsewhere(&mut self, topic: TopicSlot, new: Elsewhere) -> Counted {
        let elsewhere = &mut self.topics[topic as usize].elsewhere;
        let known = elsewhere.iter().position(|old| old.node == new.node);
        match known {
            Some(at) if new.count > 0 => {
                elsewhere[at] = new;
                Counted::Changed
            }
            None if new.count > 0 => {
                elsewhere.push(new);
                Counted::Added
            }
            Some(at) => {
                elsewhere.swap_remove(at);
                Counted::Removed {
                    did: true,
                    gone: self.free_if_empty(topic),
                }
            }
            None => Counted::Removed {
                did: false,
                gone: false,
            },
        }
    }

    /// Removes what other nodes say of a topic and is no longer valid.
    pub(crate) fn sweep(&mut self, topic: TopicSlot, nodes: &Nodes) -> Swept {
        let Topic {
            name, elsewhere, ..
        } = &mut self.topics[topic as usize];
        let before = elsewhere.len();
        elsewhere.retain(|it| nodes.is_valid(it));
        let removed = before - elsewhere.len();
        let name_bytes = name.len();
        let name = (removed > 0).then(|| name.clone());
        Swept {
            removed,
            name_bytes,
            gone: name.filter(|_| self.free_if_empty(topic)),
        }
    }

    fn free_if_empty(&mut self, topic: TopicSlot) -> bool {
        let free = self.topics[topic as usize].is_free();
        if free {
            self.free(topic);
        }
        free
    }

    /// Whether a node has said anything of a topic, valid or not.
    pub(crate) fn has_said(&self, topic: TopicSlot, node: NodeSlot) -> bool {
        let mut elsewhere = self.topics[topic as usize].elsewhere.iter();
        elsewhere.any(|it| it.node == node)
    }

    /// Returns how many subscribers a topic has on other nodes.
    pub(crate) fn elsewhere(&self, topic: TopicSlot, nodes: &Nodes) -> u64 {
        let all = self.topics[topic as usize].elsewhere.iter();
        all.filter(|it| nodes.is_valid(it))
            .map(|it| u64::from(it.count))
            .sum()
    }

    pub(crate) fn name(&self, topic: TopicSlot) -> &Bytes {
        &self.topics[topic as usize].name
    }

    pub(crate) fn subscribers(&self, topic: TopicSlot) -> &[ClientSlot] {
        &self.topics[topic as usize].subscribers
    }

    /// Returns how many names are kept: those that somebody listens to, here or elsewhere, and those
    /// that the next [`Topics::sweep`] will remove.
    pub(crate) fn len(&self) -> usize {
        self.topics.len() - self.free.len()
    }

    /// Returns how many numbers have ever been given at once.
    pub(crate) fn slots(&self) -> usize {
        self.topics.len()
    }

    /// Returns the name with a number, if somebody listens to it here.
    pub(crate) fn name_here(&self, topic: TopicSlot) -> Option<&Bytes> {
        let topic = self.topics.get(topic as usize)?;
        (!topic.subscribers.is_empty()).then_some(&topic.name)
    }

    /// Returns the names that somebody listens to, here or elsewhere, in the order of their numbers.
    pub(crate) fn names(&self, nodes: &Nodes) -> impl Iterator<Item = &Bytes> {
        self.listened(nodes).map(|(name, ..)| name)
    }

    /// Returns the same with how many listen here and elsewhere.
    pub(crate) fn listened(&self, nodes: &Nodes) -> impl Iterator<Item = (&Bytes, u64, u64)> {
        let all = (0..slot(self.topics.len())).zip(&self.topics);
        let counted = all.map(|(at, topic)| {
            let here = topic.subscribers.len() as u64;
            (&topic.name, here, self.elsewhere(at, nodes))
        });
        counted.filter(|(_, here, elsewhere)| here + elsewhere > 0)
    }
}

/// Turns a position into a number.
///
/// # Panics
/// If there are 2^32 or more: names and clients take far more memory than a machine has before
/// that.
pub(crate) fn slot(position: usize) -> u32 {
    u32::try_from(position).expect("memory ends before 2^32 subscriptions")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaving_moves_the_last_subscriber_into_the_gap() {
        let mut topics = Topics::default();
        let first = topics.insert("a".into(), 1);
        let second = topics.join(first.topic, 2);
        topics.join(first.topic, 3);
        assert_eq!(topics.leave(first), Left::Moved(3));
        assert_eq!(topics.subscribers(first.topic), [3, 2]);
        assert_eq!(topics.leave(second), Left::Kept);
        assert_eq!(topics.leave(first), Left::Gone);
        assert_eq!(topics.len(), 0);
    }

    #[test]
    fn numbers_of_forgotten_names_are_used_again() {
        let mut topics = Topics::default();
        let a = topics.insert("a".into(), 1);
        topics.insert("b".into(), 1);
        topics.leave(a);
        assert_eq!(topics.insert("c".into(), 1).topic, a.topic);
        let nodes = Nodes::default();
        assert_eq!(topics.names(&nodes).collect::<Vec<_>>(), ["c", "b"]);
        assert_eq!(topics.name(a.topic), "c");
    }
}
