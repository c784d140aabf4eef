//! The patterns that match a channel, without looking at the others.
//!
//! Patterns are kept by their literal prefix (`news.*` by `news.`) in one sorted map. The prefixes
//! with which a channel begins lie on a path in the sort order: from the channel itself, step to
//! the greatest prefix that is not greater. If the channel begins with it, its patterns are
//! candidates. If not, both have some beginning in common, and every prefix of the channel that is
//! still to come is a prefix of that beginning: the search goes on from there. Each step shortens
//! what is searched for, so there are at most as many steps as the channel has bytes, and in
//! practice as many as there are matching prefixes, plus a few. Patterns with other prefixes are
//! never touched, however many there are.
//!
//! Only patterns that begin with a wildcard are candidates for every channel.

use crate::topics::TopicSlot;
use bytes::Bytes;
use corgi_base::glob::{literal_prefix, matches};
use std::collections::BTreeMap;
use std::ops::Bound;

/// The index over patterns.
#[derive(Debug, Default)]
pub(crate) struct Patterns {
    by_prefix: BTreeMap<Box<[u8]>, BTreeMap<Bytes, TopicSlot>>,
    visited: u64,
}

impl Patterns {
    /// Returns the number of a pattern that somebody listens to.
    pub(crate) fn get(&self, pattern: &[u8]) -> Option<TopicSlot> {
        self.by_prefix
            .get(literal_prefix(pattern).as_slice())?
            .get(pattern)
            .copied()
    }

    /// Adds a pattern.
    pub(crate) fn insert(&mut self, pattern: Bytes, topic: TopicSlot) {
        let prefix = literal_prefix(&pattern).into_boxed_slice();
        self.by_prefix
            .entry(prefix)
            .or_default()
            .insert(pattern, topic);
    }

    /// Removes a pattern.
    pub(crate) fn remove(&mut self, pattern: &[u8]) {
        let prefix = literal_prefix(pattern);
        if let Some(patterns) = self.by_prefix.get_mut(prefix.as_slice()) {
            patterns.remove(pattern);
            if patterns.is_empty() {
                self.by_prefix.remove(prefix.as_slice());
            }
        }
    }

    /// Puts the numbers of all patterns that match the channel into `found`, in byte order of the
    /// patterns.
    pub(crate) fn find(&mut self, channel: &[u8], found: &mut Vec<TopicSlot>) {
        let mut matching: Vec<(&Bytes, TopicSlot)> = Vec::new();
        let mut bound = Bound::Included(channel);
        while let Some((prefix, patterns)) = self
            .by_prefix
            .range::<[u8], _>((Bound::Unbounded, bound))
            .next_back()
        {
            self.visited += 1;
            let common = common_len(prefix, channel);
            if common < prefix.len() {
                bound = Bound::Included(&channel[..common]);
                continue;
            }
            for (pattern, topic) in patterns {
                self.visited += 1;
                if matches(pattern, channel) {
                    matching.push((pattern, *topic));
                }
            }
            bound = Bound::Excluded(&channel[..common]);
        }
        matching.sort_unstable();
        found.clear();
        found.extend(matching.into_iter().map(|(_, topic)| topic));
    }

    /// Returns how many prefixes and patterns have been looked at since the start.
    pub(crate) fn visited(&self) -> u64 {
        self.visited
    }
}

fn common_len(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(patterns: &[&'static str]) -> Patterns {
        let mut index = Patterns::default();
        for (topic, pattern) in (0..).zip(patterns) {
            index.insert(Bytes::from(*pattern), topic);
        }
        index
    }

    fn find(index: &mut Patterns, channel: &str) -> Vec<TopicSlot> {
        let mut found = vec![99];
        index.find(channel.as_bytes(), &mut found);
        found
    }

    #[test]
    fn finds_every_prefix_on_the_way_in_byte_order_of_the_patterns() {
        let mut index = index(&[
            "*", "a*", "ab?", "abc", "abb*", "abd*", "b*", "[a]*", "abcd*",
        ]);
        assert_eq!(find(&mut index, "abc"), [0, 7, 1, 2, 3]);
        assert_eq!(find(&mut index, "b"), [0, 6]);
        assert_eq!(find(&mut index, ""), [0; 0]);
    }

    #[test]
    fn forgets_what_is_removed() {
        let mut index = index(&["a*", "a?"]);
        assert_eq!(index.get(b"a?"), Some(1));
        index.remove(b"a?");
        assert_eq!(index.get(b"a?"), None);
        assert_eq!(find(&mut index, "ab"), [0]);
        index.remove(b"a*");
        index.remove(b"never there");
        assert_eq!(find(&mut index, "ab"), [0; 0]);
        assert!(index.by_prefix.is_empty());
    }

    /// Prefixes that lie between the channel and the one sought cost one step per shared beginning.
    #[test]
    fn steps_over_neighbours_that_share_a_beginning() {
        let mut index = index(&["a*", "abb1*", "abb2*", "abb3*", "abbb*", "ac*"]);
        assert_eq!(find(&mut index, "abc"), [0]);
        assert!(index.visited() <= 4, "{} visited", index.visited());
    }
}
