//! Whether the nodes' applied states are equal (I16).
//!
//! Each state has a hash over all that was applied and what came of it. The leader tells its own
//! after every 1,000 entries, or after ten seconds in which anything was applied; each node then
//! tells all others what its hash was after that entry. A node that finds itself against a majority
//! has damaged memory or a damaged disk, and stops.
//!
//! Not here: who is right when there is no majority for either. Both go on, and say so in the log.

use corgi_base::{LogIndex, NodeId};
use std::collections::{BTreeMap, VecDeque};

/// After so many entries the states are compared.
const EVERY_ENTRIES: u64 = 1000;
/// And after so long a time.
const EVERY_MS: u64 = 10_000;
/// How many hashes are kept: a node that is this far ahead of the leader's question has no answer.
const RECENT_MAX: usize = 2048;
/// Comparisons under way: older ones are forgotten.
const OPEN_MAX: usize = 4;

/// What a comparison says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A majority has another state.
    Deviates {
        index: LogIndex,
        own: u64,
        majority: u64,
    },
    /// Somebody has another state.
    Differs { index: LogIndex, node: NodeId },
}

/// The comparisons of one node.
#[derive(Debug)]
pub(crate) struct Agreement {
    recent: VecDeque<(LogIndex, u64)>,
    /// What the others have said, by entry; kept until this node has applied as much, and for late answers.
    heard: BTreeMap<LogIndex, BTreeMap<NodeId, u64>>,
    /// The last entry whose hash this node has told, and when.
    told: LogIndex,
    told_ms: u64,
}

impl Agreement {
    /// Begins with the state as it was found.
    pub(crate) fn new(applied: LogIndex, hash: u64) -> Self {
        Self {
            recent: VecDeque::from([(applied, hash)]),
            heard: BTreeMap::new(),
            told: applied,
            told_ms: 0,
        }
    }

    /// Notes the hash after an entry.
    pub(crate) fn applied(&mut self, index: LogIndex, hash: u64) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((index, hash));
    }

    fn own(&self, index: LogIndex) -> Option<u64> {
        let at = self.recent.binary_search_by_key(&index, |(at, _)| *at);
        at.ok().map(|at| self.recent[at].1)
    }

    /// Returns what a leader tells now, if it is time to.
    pub(crate) fn due(&mut self, now_ms: u64) -> Option<(LogIndex, u64)> {
        let (index, hash) = *self.recent.back()?;
        let entries = index.0.saturating_sub(self.told.0);
        let late = entries > 0 && now_ms >= self.told_ms + EVERY_MS;
        (entries >= EVERY_ENTRIES || late).then(|| self.tell(now_ms, index, hash))
    }

    /// Returns the present state to tell a node that has just come.
    pub(crate) fn greet(&self) -> Option<(LogIndex, u64)> {
        self.recent.back().copied()
    }

    fn tell(&mut self, now_ms: u64, index: LogIndex, hash: u64) -> (LogIndex, u64) {
        self.told = self.told.max(index);
        self.told_ms = now_ms;
        (index, hash)
    }

    /// Takes what another node said.
    pub(crate) fn heard(&mut self, from: NodeId, index: LogIndex, hash: u64) {
        self.heard.entry(index).or_default().insert(from, hash);
        if self.heard.len() > OPEN_MAX {
            self.heard.pop_first();
        }
    }

    /// Returns what this node has to tell all others, because it has been asked and knows by now.
    pub(crate) fn answers(&mut self, now_ms: u64) -> Vec<(LogIndex, u64)> {
        let open: Vec<LogIndex> = self.heard.keys().copied().collect();
        let open = open.into_iter().filter(|index| *index > self.told);
        let known: Vec<_> = open
            .filter_map(|index| Some((index, self.own(index)?)))
            .collect();
        let tell = |(index, hash)| self.tell(now_ms, index, hash);
        known.into_iter().map(tell).collect()
    }

    /// Compares. What has differed is forgotten with the saying, and said again with the next comparison.
    pub(crate) fn verdict(&mut self, voters: &[NodeId]) -> Option<Verdict> {
        let mut differs = None;
        for (index, heard) in &self.heard {
            let Some(own) = self.own(*index) else {
                continue;
            };
            let says = |node: &&NodeId, hash| heard.get(node) == Some(hash);
            for (node, hash) in heard {
                if *hash == own {
                    continue;
                }
                let votes = voters.iter().filter(|voter| says(voter, hash)).count();
                if votes * 2 > voters.len() {
                    let (index, majority) = (*index, *hash);
                    return Some(Verdict::Deviates {
                        index,
                        own,
                        majority,
                    });
                }
                differs.get_or_insert((*index, *node));
            }
        }
        differs.map(|(index, node)| Verdict::Differs { index, node })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn node(id: u64) -> NodeId {
        match NodeId::new(id) {
            Some(node) => node,
            None => panic!("nodes are counted from 1"),
        }
    }

    const VOTERS: [NodeId; 3] = [node(1), node(2), node(3)];

    /// A node that has applied entries up to `last`, each to the hash of its index.
    fn agreement(last: u64) -> Agreement {
        let mut agreement = Agreement::new(LogIndex(0), 0);
        (1..=last).for_each(|index| agreement.applied(LogIndex(index), index));
        agreement
    }

    #[test]
    fn a_leader_tells_after_many_entries_or_a_long_time() {
        let mut agreement = agreement(999);
        assert_eq!(agreement.due(1), None);
        agreement.applied(LogIndex(1000), 1000);
        assert_eq!(agreement.due(2), Some((LogIndex(1000), 1000)));
        assert_eq!(
            agreement.due(20_000),
            None,
            "nothing has been applied since"
        );
        agreement.applied(LogIndex(1001), 1001);
        assert_eq!(agreement.due(10_001), None);
        assert_eq!(agreement.due(10_002), Some((LogIndex(1001), 1001)));
    }

    #[test]
    fn a_question_is_answered_when_as_much_is_applied() {
        let mut agreement = agreement(4);
        agreement.heard(node(1), LogIndex(5), 5);
        assert_eq!(agreement.answers(0), []);
        agreement.applied(LogIndex(5), 5);
        assert_eq!(agreement.answers(0), [(LogIndex(5), 5)]);
        assert_eq!(agreement.answers(0), [], "it has been told");
        assert_eq!(agreement.verdict(&VOTERS), None);
    }

    #[test]
    fn only_a_majority_against_it_stops_a_node() {
        let mut agreement = agreement(5);
        let index = LogIndex(5);
        agreement.heard(node(1), index, 99);
        let differs = Verdict::Differs {
            index,
            node: node(1),
        };
        assert_eq!(agreement.verdict(&VOTERS), Some(differs));
        agreement.heard(node(4), index, 99);
        assert_eq!(agreement.verdict(&VOTERS), Some(differs), "4 has no vote");
        agreement.heard(node(3), index, 98);
        assert_eq!(
            agreement.verdict(&VOTERS),
            Some(differs),
            "two others, no majority"
        );
        agreement.heard(node(3), index, 99);
        let deviates = Verdict::Deviates {
            index,
            own: 5,
            majority: 99,
        };
        assert_eq!(agreement.verdict(&VOTERS), Some(deviates));
    }

    #[test]
    fn a_node_on_the_right_side_goes_on() {
        let mut agreement = agreement(5);
        agreement.heard(node(1), LogIndex(5), 5);
        agreement.heard(node(3), LogIndex(5), 99);
        let verdict = agreement.verdict(&VOTERS);
        assert!(
            matches!(verdict, Some(Verdict::Differs { .. })),
            "{verdict:?}"
        );
    }

    #[test]
    fn memory_is_bounded() {
        let mut agreement = agreement(10_000);
        (0..1000).for_each(|index| agreement.heard(node(1), LogIndex(20_000 + index), 1));
        assert!(agreement.recent.len() <= RECENT_MAX && agreement.heard.len() <= OPEN_MAX);
    }
}
