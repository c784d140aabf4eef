//! Election timeouts that a seed repeats.

use crate::group::GroupConfig;
use crate::storage::LogReader;
use crate::tail::Tail;
use raft::{RawNode, StateRole};

/// Replaces raft-rs' random election timeouts with ones that depend only on the seed and on what happened, so that a
/// run can be repeated. raft-rs draws from the process' random numbers whenever its role changes; the draw is
/// overwritten here, after every call that may have made one.
#[derive(Debug)]
pub(crate) struct ElectionPin {
    seed: u64,
    min: usize,
    span: usize,
    seen: Option<(u64, StateRole, u64)>,
    transitions: u64,
}

impl ElectionPin {
    pub(crate) fn new(config: &GroupConfig) -> Self {
        Self {
            seed: config.seed ^ config.id.get().rotate_left(17),
            min: config.election_ticks,
            span: config.election_ticks_max - config.election_ticks,
            seen: None,
            transitions: 0,
        }
    }

    pub(crate) fn apply<R: LogReader>(&mut self, raw: &mut RawNode<Tail<R>>) {
        let now = (raw.raft.term, raw.raft.state, raw.raft.leader_id);
        if self.seen != Some(now) {
            self.seen = Some(now);
            self.transitions += 1;
        }
        let offset = mix(self.seed ^ self.transitions.rotate_left(32)) % self.span.max(1) as u64;
        raw.raft
            .set_randomized_election_timeout(self.min + offset as usize);
    }
}

/// Spreads the bits of a number over all 64 (the finalizer of SplitMix64).
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
