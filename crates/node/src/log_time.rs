//! The time that a leader stamps on batches.
//!
//! Ids, and whatever expires, go by the time in the log. It must not go back, and one wrong clock
//! must not make it jump: then everything would expire. So a new leader starts at the larger of the
//! last stamp and the median clock of a majority, and goes on with its monotonic clock, which it
//! lets run up to a tenth faster or slower towards that median.

/// Log time within one term.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogTime {
    at: Option<At>,
}

#[derive(Clone, Copy, Debug)]
struct At {
    mono_ms: u64,
    /// Log time in tenths of a millisecond, so that a tenth of a millisecond's drift is not lost.
    tenths: u64,
}

impl LogTime {
    /// Returns log time at `mono_ms`. `median_ms` is the median clock of a majority, if enough are
    /// known; until they are, time stands still at `last_ms`, the last stamp.
    pub(crate) fn now(&mut self, mono_ms: u64, median_ms: Option<u64>, last_ms: u64) -> u64 {
        let Some(at) = &mut self.at else {
            let Some(median_ms) = median_ms else {
                return last_ms;
            };
            let start_ms = median_ms.max(last_ms);
            self.at = Some(At {
                mono_ms,
                tenths: start_ms.saturating_mul(10),
            });
            return start_ms.min(u64::MAX / 10);
        };
        let passed = mono_ms - at.mono_ms;
        let steady = at.tenths.saturating_add(passed.saturating_mul(10));
        let aim = median_ms.map_or(steady, |ms| ms.saturating_mul(10));
        at.tenths = aim.clamp(steady - passed, steady.saturating_add(passed));
        at.mono_ms = mono_ms;
        at.tenths / 10
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_starts_at_the_larger_of_the_last_stamp_and_the_median() {
        assert_eq!(LogTime::default().now(5, Some(1000), 900), 1000);
        assert_eq!(LogTime::default().now(5, Some(1000), 2000), 2000);
    }

    #[test]
    fn time_stands_still_until_a_majority_has_told_its_clock() {
        let mut time = LogTime::default();
        assert_eq!(time.now(5, None, 900), 900);
        assert_eq!(time.now(5000, None, 900), 900);
        assert_eq!(time.now(6000, Some(8000), 900), 8000);
        assert_eq!(
            time.now(6100, None, 900),
            8100,
            "then the monotonic clock leads"
        );
    }

    #[test]
    fn the_wall_clock_pulls_by_a_tenth_at_most() {
        for (median, after) in [(1_000_000, 11_100), (0, 10_900)] {
            let mut time = LogTime::default();
            time.now(0, Some(10_000), 0);
            // In small steps or in one: a tenth is a tenth.
            for mono in (0..=1000).step_by(3) {
                time.now(mono, Some(median), 0);
            }
            let stepwise = time.now(1000, Some(median), 0);
            let mut time = LogTime::default();
            time.now(0, Some(10_000), 0);
            let at_once = time.now(1000, Some(median), 0);
            assert_eq!((stepwise, at_once), (after, after), "towards {median}");
        }
    }

    #[test]
    fn clocks_at_the_end_of_time_do_no_harm() {
        let mut time = LogTime::default();
        let first = time.now(0, Some(u64::MAX), 0);
        assert!(time.now(u64::MAX, Some(u64::MAX), 0) >= first);
    }
}
