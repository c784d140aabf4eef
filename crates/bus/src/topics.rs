//! The names that somebody listens to, each with its subscribers in one dense list.

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
    /// Nobody is left: the topic is gone, and its number free.
    Gone,
}

/// A channel or a pattern.
#[derive(Debug)]
struct Topic {
    name: Bytes,
    /// In no particular order; empty if and only if the number is free.
    subscribers: Vec<ClientSlot>,
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
        let new = Topic {
            name,
            subscribers: vec![first],
        };
        let topic = match self.free.pop() {
            Some(topic) => {
                self.topics[topic as usize] = new;
                topic
            }
            None => {
                self.topics.push(new);
                slot(self.topics.len() - 1)
            }
        };
        Place { topic, at: 0 }
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
        if !topic.subscribers.is_empty() {
            return Left::Kept;
        }
        *topic = Topic {
            name: Bytes::new(),
            subscribers: Vec::new(),
        };
        self.free.push(place.topic);
        Left::Gone
    }

    pub(crate) fn name(&self, topic: TopicSlot) -> &Bytes {
        &self.topics[topic as usize].name
    }

    pub(crate) fn subscribers(&self, topic: TopicSlot) -> &[ClientSlot] {
        &self.topics[topic as usize].subscribers
    }

    /// Returns how many names somebody listens to.
    pub(crate) fn len(&self) -> usize {
        self.topics.len() - self.free.len()
    }

    /// Returns the names that somebody listens to, in the order of their numbers.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Bytes> {
        self.topics
            .iter()
            .filter(|topic| !topic.subscribers.is_empty())
            .map(|topic| &topic.name)
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
        assert_eq!(topics.names().collect::<Vec<_>>(), ["c", "b"]);
        assert_eq!(topics.name(a.topic), "c");
    }
}
