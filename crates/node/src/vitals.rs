//! What nodes know of each other that no log tells: the clocks, the room on the disks, and what each can apply.
//!
//! Each node tells all others twice a second, and at once when a link comes up or its disk runs low.

use crate::peer;
use corgi_base::{NodeId, Now};
use std::collections::BTreeMap;

/// Often enough for a disk that fills: in this time far less is written than is kept free.
pub(crate) const EVERY_MS: u64 = 500;

#[derive(Clone, Copy, Debug)]
struct Peer {
    vitals: peer::Vitals,
    /// When they arrived, on this node's monotonic clock.
    at_ms: u64,
}

/// The others as they last said they were.
#[derive(Debug, Default)]
pub(crate) struct Vitals {
    told_ms: Option<u64>,
    peers: BTreeMap<NodeId, Peer>,
}

impl Vitals {
    /// Takes what a peer said of itself.
    pub(crate) fn heard(&mut self, now: Now, from: NodeId, vitals: peer::Vitals) {
        let at_ms = now.mono_ms;
        self.peers.insert(from, Peer { vitals, at_ms });
    }

    /// Whether it is time to tell the others, which the caller then does.
    pub(crate) fn due(&mut self, now: Now) -> bool {
        let due = self
            .told_ms
            .is_none_or(|told| now.mono_ms >= told + EVERY_MS);
        if due {
            self.told_ms = Some(now.mono_ms);
        }
        due
    }

    /// Returns the median of the clocks of `voters`, if those of a majority are known. Of an even
    /// number of clocks it is the slower of the two in the middle: to be late expires nothing.
    pub(crate) fn median_clock(&self, now: Now, own: NodeId, voters: &[NodeId]) -> Option<u64> {
        let clock = |node: &NodeId| {
            if *node == own {
                return Some(now.wall_ms);
            }
            let peer = self.peers.get(node)?;
            let since = now.mono_ms - peer.at_ms;
            Some(peer.vitals.wall_ms.saturating_add(since))
        };
        let mut clocks: Vec<u64> = voters.iter().filter_map(clock).collect();
        if clocks.len() * 2 <= voters.len() {
            return None;
        }
        clocks.sort_unstable();
        clocks.get((clocks.len() - 1) / 2).copied()
    }

    /// Whether a peer's disk is almost full, as far as it has said.
    pub(crate) fn disk_low(&self, node: NodeId) -> bool {
        self.peers
            .get(&node)
            .is_some_and(|peer| peer.vitals.disk_low)
    }

    /// Whether a peer has said that it can apply what comes with a feature level.
    pub(crate) fn can_apply(&self, node: NodeId, level: u32) -> bool {
        let peer = self.peers.get(&node);
        peer.is_some_and(|peer| peer.vitals.level >= level)
    }

    /// Returns what all of `members` can apply, if each has said so.
    pub(crate) fn common_level(
        &self,
        own: NodeId,
        own_level: u32,
        members: impl Iterator<Item = NodeId>,
    ) -> Option<u32> {
        let mut common = own_level;
        for node in members.filter(|node| *node != own) {
            common = common.min(self.peers.get(&node)?.vitals.level);
        }
        Some(common)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u64) -> NodeId {
        NodeId::new(id).expect("not 0")
    }

    fn now(ms: u64) -> Now {
        Now {
            mono_ms: ms,
            wall_ms: 1000 + ms,
        }
    }

    fn heard(vitals: &mut Vitals, at: u64, from: u64, wall_ms: u64) {
        let heard = peer::Vitals {
            wall_ms,
            level: 1,
            disk_low: false,
        };
        vitals.heard(now(at), node(from), heard);
    }

    #[test]
    fn one_wrong_clock_does_not_move_the_median() {
        let voters = [1, 2, 3].map(node);
        for wrong in [0, 1_000_000, u64::MAX] {
            let mut vitals = Vitals::default();
            heard(&mut vitals, 0, 2, 1002);
            heard(&mut vitals, 0, 3, wrong);
            let median = vitals.median_clock(now(50), node(1), &voters);
            assert!([Some(1050), Some(1052)].contains(&median), "{median:?}");
            // Also if the wrong one asks.
            let asked = Now {
                mono_ms: 50,
                wall_ms: wrong,
            };
            heard(&mut vitals, 0, 3, 1004);
            let median = vitals.median_clock(asked, node(1), &voters);
            assert!([Some(1052), Some(1054)].contains(&median), "{median:?}");
        }
    }

    #[test]
    fn less_than_a_majority_has_no_median_and_of_two_the_slower_counts() {
        let mut vitals = Vitals::default();
        let voters = [1, 2, 3].map(node);
        assert_eq!(vitals.median_clock(now(0), node(1), &voters), None);
        heard(&mut vitals, 0, 4, 1);
        assert_eq!(
            vitals.median_clock(now(0), node(1), &voters),
            None,
            "4 has no vote"
        );
        heard(&mut vitals, 0, 3, 990);
        assert_eq!(vitals.median_clock(now(10), node(1), &voters), Some(1000));
        assert_eq!(vitals.median_clock(now(0), node(1), &[node(1)]), Some(1000));
    }

    #[test]
    fn a_level_is_common_when_all_have_said_so() {
        let members = || [1, 2].map(node).into_iter();
        let mut vitals = Vitals::default();
        assert_eq!(vitals.common_level(node(1), 2, members()), None);
        heard(&mut vitals, 0, 2, 0);
        assert_eq!(vitals.common_level(node(1), 2, members()), Some(1));
        assert!(vitals.can_apply(node(2), 1) && !vitals.can_apply(node(2), 2));
        assert!(!vitals.can_apply(node(3), 0), "it has not said anything");
    }

    #[test]
    fn they_are_told_twice_a_second() {
        let mut vitals = Vitals::default();
        let told: Vec<u64> = (0..1200).filter(|ms| vitals.due(now(*ms))).collect();
        assert_eq!(told, [0, 500, 1000]);
    }
}
