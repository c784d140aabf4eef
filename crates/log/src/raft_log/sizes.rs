//! Which part of the log holds how many bytes, so that its front can be removed by bytes and not by entries.
//!
//! A sparse table: a mark each time enough was added. Whoever truncates at its marks keeps at least as much as was
//! asked
//! for, and little more.

use std::collections::VecDeque;

use corgi_base::LogIndex;

/// The table. Counts keys and records, which is nearly what the tables on disk hold.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    /// How much had been added once an entry was, ascending. The front is the last mark that was truncated.
    marks: VecDeque<(LogIndex, u64)>,
    /// What had been added when the log was truncated where it is.
    base: u64,
    /// What has been added in all.
    total: u64,
}

impl Sizes {
    /// Between two marks. A log of 1 GiB has 65,536 of them, which is a megabyte.
    pub(super) const STEP_BYTES: u64 = 16 << 10;

    /// Takes note of an entry at the end.
    pub(super) fn append(&mut self, index: LogIndex, bytes: u64) {
        self.total += bytes;
        let marked = self.marks.back().map_or(self.base, |(_, bytes)| *bytes);
        if self.total - marked >= Self::STEP_BYTES {
            self.marks.push_back((index, self.total));
        }
    }

    /// Takes note that all entries from `first` on are gone. What was added since the mark before is forgotten too, so
    /// that the log counts for less than it is, and more of it is kept.
    pub(super) fn replace_from(&mut self, first: LogIndex) {
        while self.marks.back().is_some_and(|(index, _)| *index >= first) {
            self.marks.pop_back();
        }
        self.total = self.marks.back().map_or(self.base, |(_, bytes)| *bytes);
    }

    /// Takes note that all entries up to `upto` are gone. Between two marks they count for more than they were, so that
    /// the rest counts for less than it is.
    pub(super) fn truncate(&mut self, upto: LogIndex) {
        self.base = self.bytes_upto(upto);
        let gone = self.marks.partition_point(|(index, _)| *index <= upto);
        self.marks.drain(..gone);
    }

    /// Returns at least as much as had been added once `upto` was.
    fn bytes_upto(&self, upto: LogIndex) -> u64 {
        if self.marks.back().is_none_or(|(last, _)| *last < upto) {
            return self.total;
        }
        let before = self.marks.partition_point(|(index, _)| *index < upto);
        self.marks[before].1
    }

    /// Takes note that nothing is left.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Returns how many bytes the log holds; after a truncation perhaps a step less than that.
    pub(super) fn bytes(&self) -> u64 {
        self.total - self.base
    }

    /// Returns the last entry up to `upto` that can be removed so that at least `retain` bytes are left, and how many
    /// bytes that would free, up to a step more or less.
    pub(super) fn removable(&self, upto: LogIndex, retain: u64) -> Option<(LogIndex, u64)> {
        let spare = self.total.checked_sub(retain)?;
        let bytes = self.bytes_upto(upto);
        if bytes <= spare {
            return Some((upto, bytes - self.base));
        }
        let fit = self.marks.partition_point(|(_, bytes)| *bytes <= spare);
        let (index, bytes) = self.marks.get(fit.checked_sub(1)?)?;
        Some((*index.min(&upto), bytes - self.base))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STEP_BYTES: u64 = Sizes::STEP_BYTES;

    /// Returns the table of a log of entries that are all as large as one step.
    fn steps(count: u64) -> Sizes {
        let mut sizes = Sizes::default();
        for index in 1..=count {
            sizes.append(LogIndex(index), STEP_BYTES);
        }
        sizes
    }

    #[test]
    fn what_can_be_removed_leaves_enough_and_goes_no_further_than_allowed() {
        let sizes = steps(10);
        let removable = |upto, retain| {
            let found = sizes.removable(LogIndex(upto), retain * STEP_BYTES);
            found.map(|(index, bytes)| (index.0, bytes / STEP_BYTES))
        };
        assert_eq!(removable(10, 4), Some((6, 6)));
        assert_eq!(removable(3, 4), Some((3, 3)));
        assert_eq!(removable(10, 0), Some((10, 10)));
        assert_eq!(removable(10, 10), None);
        assert_eq!(removable(10, 11), None);
        assert_eq!(removable(9, 0), Some((9, 9)));
    }

    #[test]
    fn a_replaced_suffix_counts_for_nothing_and_an_emptied_log_too() {
        let mut sizes = steps(10);
        sizes.replace_from(LogIndex(8));
        assert_eq!(sizes.bytes(), 7 * STEP_BYTES);
        sizes.append(LogIndex(8), 3 * STEP_BYTES);
        assert_eq!(sizes.bytes(), 10 * STEP_BYTES);
        sizes.clear();
        assert_eq!(sizes.bytes(), 0);
        sizes.append(LogIndex(40), STEP_BYTES);
        assert_eq!(
            sizes.removable(LogIndex(40), 0),
            Some((LogIndex(40), STEP_BYTES))
        );
    }

    proptest! {
        #[test]
        fn at_least_as_much_is_kept_as_was_asked_for(
            bytes in proptest::collection::vec(1_u64..3 * STEP_BYTES, 1..200),
            retain in 0_u64..100 * STEP_BYTES,
            replaced in 0_usize..200,
            flushed in 0_u64..300,
        ) {
            let mut sizes = Sizes::default();
            let mut left = bytes.clone();
            left.truncate(replaced.max(1));
            for (index, bytes) in (1..).zip(&bytes) {
                sizes.append(LogIndex(index), *bytes);
            }
            sizes.replace_from(LogIndex(left.len() as u64 + 1));
            let upto = LogIndex(flushed.min(left.len() as u64));
            let removable = sizes.removable(upto, retain);
            let before = removable.map_or(0, |(index, _)| index.0);
            prop_assert!(before <= upto.0);
            sizes.truncate(LogIndex(before));
            let kept: u64 = left[before as usize..].iter().sum();
            prop_assert!(before == 0 || kept >= retain, "{kept} of {retain}");
            prop_assert!(sizes.bytes() <= kept);
            let enough = before == upto.0 || kept <= retain + 8 * STEP_BYTES;
            prop_assert!(enough, "{kept} of {retain}");
        }
    }
}
