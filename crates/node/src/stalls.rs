//! Whether this node's disk stalls, so that it should not lead.
//!
//! A leader whose disk is slow slows every write of the cluster down only if it is needed for a majority; but its own
//! clients wait for it, and it is the one that all batches go through. Another member does it better.

use std::collections::VecDeque;

/// A sync that takes longer than this is slow: a hundred times what a disk takes.
const SLOW_MS: u64 = 500;
/// So many slow ones in a row are no hiccup.
const SLOW_SYNCS: u32 = 3;
/// One that takes longer than this is reason enough.
const STALLED_MS: u64 = 1000;

/// Watches how long log writes take.
#[derive(Debug, Default)]
pub(crate) struct DiskWatch {
    /// When the writes that are under way were handed out.
    outstanding: VecDeque<u64>,
    /// When the last write was synced.
    done_ms: u64,
    slow: u32,
}

impl DiskWatch {
    /// Takes note that a write is on its way.
    pub(crate) fn handed_out(&mut self, now_ms: u64) {
        self.outstanding.push_back(now_ms);
    }

    /// Takes note that the oldest write is synced. Several may be in one sync.
    pub(crate) fn synced(&mut self, now_ms: u64) {
        let Some(handed_out) = self.outstanding.pop_front() else {
            return;
        };
        if self.done_ms == now_ms {
            return;
        }
        let took = now_ms.saturating_sub(handed_out.max(self.done_ms));
        self.slow = if took > SLOW_MS { self.slow + 1 } else { 0 };
        self.done_ms = now_ms;
    }

    /// Whether this node should not lead.
    pub(crate) fn stalls(&self, now_ms: u64) -> bool {
        let under_way = self
            .outstanding
            .front()
            .map_or(0, |since| now_ms.saturating_sub(*since.max(&self.done_ms)));
        self.slow >= SLOW_SYNCS || under_way > STALLED_MS
    }

    /// Begins to count anew: leadership has been given away.
    pub(crate) fn forgive(&mut self) {
        self.slow = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_long_sync_is_enough() {
        let mut disk = DiskWatch::default();
        disk.handed_out(0);
        assert!(!disk.stalls(1000));
        assert!(disk.stalls(1001));
        disk.synced(1100);
        assert!(!disk.stalls(1100), "it is over");
    }

    #[test]
    fn three_slow_syncs_in_a_row_are_enough() {
        let mut disk = DiskWatch::default();
        for k in 0..3 {
            assert!(!disk.stalls(k * 600));
            disk.handed_out(k * 600);
            disk.synced(k * 600 + 600);
        }
        assert!(disk.stalls(1800));
        disk.forgive();
        assert!(!disk.stalls(1800));
    }

    #[test]
    fn a_quick_sync_ends_the_row_and_waiting_in_the_queue_is_not_slowness() {
        let mut disk = DiskWatch::default();
        for k in 0..10 {
            disk.handed_out(k);
        }
        // Ten writes wait, in five syncs of 300 ms.
        for k in 0..10 {
            disk.synced(300 * (k / 2 + 1));
            assert!(!disk.stalls(300 * (k / 2 + 1)));
        }
    }
}
