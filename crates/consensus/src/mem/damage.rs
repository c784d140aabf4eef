//! What a disk can do to a log that was synced, and to those who read it.

use super::{Image, MemLog};
use crate::storage::{HardState, LogEntry, ReadLogError};
use bytes::Bytes;
use corgi_base::{LogIndex, Term};
use std::collections::BTreeSet;

/// What is wrong with a disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Damage {
    /// Entries whose checksum does not fit.
    entries: BTreeSet<LogIndex>,
    /// Reads fail.
    reads_fail: bool,
    /// Checksums are not looked at: a mistake that simulations make on purpose.
    trusted: bool,
    /// A reader was told.
    noticed: bool,
}

impl Damage {
    /// Takes note that entries from `first` on were written anew.
    pub(super) fn replaced_from(&mut self, first: LogIndex) {
        self.entries.split_off(&first);
    }

    /// Takes note that entries up to `upto` are gone.
    pub(super) fn truncated(&mut self, upto: LogIndex) {
        self.entries.retain(|index| *index > upto);
    }

    /// Decides whether what was read may be used.
    pub(super) fn check(&mut self, first: LogIndex, last: LogIndex) -> Result<(), ReadLogError> {
        if self.reads_fail {
            self.noticed = true;
            let what = "input/output error".to_owned();
            return Err(ReadLogError::Io { index: first, what });
        }
        if self.trusted {
            return Ok(());
        }
        match self.entries.range(first..=last).next() {
            None => Ok(()),
            Some(index) => {
                self.noticed = true;
                let (index, what) = (*index, "its checksum does not fit".to_owned());
                Err(ReadLogError::Damaged { index, what })
            }
        }
    }
}

/// Returns the bytes with one of them changed.
fn flipped(bytes: &Bytes, at: usize) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 0x10;
    bytes.into()
}

impl Image {
    fn entry_mut(&mut self, index: LogIndex) -> Option<&mut LogEntry> {
        let position = self.position(index).ok()?;
        self.entries.get_mut(position)
    }
}

impl MemLog {
    /// Returns another disk with the same durable log, as a copy of the files would be.
    #[must_use]
    pub fn copy(&self) -> Self {
        let copy = Self::new();
        copy.lock().durable = self.lock().durable.clone();
        copy
    }

    /// Changes one byte of an entry on the disk; `at` chooses which. Returns whether there is such an entry.
    pub fn flip(&self, index: LogIndex, at: usize) -> bool {
        let mut disk = self.lock();
        let Some(entry) = disk.durable.entry_mut(index) else {
            return false;
        };
        let (context, data) = (entry.context.len(), entry.data.len());
        if data > 0 {
            entry.data = flipped(&entry.data, at % data);
        } else if context > 0 {
            entry.context = flipped(&entry.context, at % context);
        }
        disk.durable.damage.entries.insert(index);
        true
    }

    /// Cuts off the durable entries after `index`, as if the end of the file had never been written.
    pub fn lose_after(&self, index: LogIndex) {
        let mut disk = self.lock();
        let image = &mut disk.durable;
        let keep = index.0.saturating_sub(image.truncated.0.0);
        image
            .entries
            .truncate(usize::try_from(keep).unwrap_or(usize::MAX));
        image.damage.replaced_from(index.next());
        let last = image.last().0;
        image.hard_state.commit = image.hard_state.commit.min(last);
    }

    /// Forgets the groups that are begun and not synced, as a kernel does with what it cannot write.
    pub fn forget_begun(&self) {
        self.lock().begun.clear();
    }

    /// Takes term, vote and commit off the disk, as far as the entries allow.
    pub fn lose_hard_state(&self) {
        let mut disk = self.lock();
        let (last, term) = disk.durable.last();
        disk.durable.hard_state = HardState {
            term,
            vote: None,
            commit: disk.durable.truncated.0.min(last),
        };
    }

    /// Returns whether the disk has an entry of that term there, damaged or not.
    pub fn holds(&self, index: LogIndex, term: Term) -> bool {
        self.term_of(index) == Some(term)
    }

    /// Returns an entry as it was written, if it is on the disk and not damaged, whatever readers are told.
    pub fn sound(&self, index: LogIndex) -> Option<LogEntry> {
        let disk = self.lock();
        let image = &disk.durable;
        let position = image.position(index).ok()?;
        let sound = !image.damage.entries.contains(&index);
        sound.then(|| image.entries[position].clone())
    }

    /// Returns the term of an entry as it was written, damaged or not.
    pub fn term_of(&self, index: LogIndex) -> Option<Term> {
        let disk = self.lock();
        let position = disk.durable.position(index).ok()?;
        Some(disk.durable.entries[position].term)
    }

    /// Returns the entries whose checksum does not fit.
    pub fn damaged(&self) -> Vec<LogIndex> {
        self.lock().durable.damage.entries.iter().copied().collect()
    }

    /// Cuts off the first damaged entry and all behind it: a mistake that simulations make on purpose.
    pub fn cut_at_damage(&self) {
        if let Some(first) = self.damaged().first() {
            self.lose_after(LogIndex(first.0 - 1));
        }
    }

    /// Lets reads fail from now on, or succeed again.
    pub fn fail_reads(&self, fail: bool) {
        self.lock().durable.damage.reads_fail = fail;
    }

    /// Lets readers use what they read whatever its checksum says: a mistake that simulations make on purpose.
    pub fn trust(&self) {
        self.lock().durable.damage.trusted = true;
    }

    /// Returns whether a reader has been told of damage or of a failed read since that was last taken note of.
    pub fn has_noticed(&self) -> bool {
        self.lock().durable.damage.noticed
    }

    /// Takes note of whether a reader has been told, and forgets it.
    pub fn take_noticed(&self) -> bool {
        std::mem::take(&mut self.lock().durable.damage.noticed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::group;
    use super::*;
    use crate::storage::{LogReader as _, LogWriter as _};

    fn three() -> MemLog {
        let log = MemLog::new();
        for index in 1..=3 {
            log.writer().write(&group(index)).unwrap();
        }
        log
    }

    #[test]
    fn a_flipped_byte_is_an_error_to_whoever_reads_it_until_it_is_written_anew() {
        let log = three();
        assert!(log.flip(LogIndex(2), 5) && !log.flip(LogIndex(4), 0));
        let read = |low, high| log.reader().entries(LogIndex(low), LogIndex(high), 100);
        assert_eq!(read(1, 2).unwrap().len(), 1);
        let holds = |index, term| log.holds(LogIndex(index), Term(term));
        assert!(log.sound(LogIndex(1)).is_some() && log.sound(LogIndex(2)).is_none());
        assert!(holds(2, 1) && !holds(2, 2) && !holds(4, 1));
        assert!(!log.take_noticed());
        assert!(matches!(read(1, 4), Err(ReadLogError::Damaged { index, .. }) if index.0 == 2));
        assert!(log.reader().term(LogIndex(2)).is_err());
        assert!(log.take_noticed() && !log.take_noticed());
        log.writer().write(&group(2)).unwrap();
        assert_eq!(read(1, 3).unwrap().len(), 2);
    }

    #[test]
    fn who_trusts_the_disk_gets_the_changed_byte() {
        let log = three();
        log.flip(LogIndex(2), 0);
        log.trust();
        let read = log.reader().entries(LogIndex(2), LogIndex(3), 100).unwrap();
        assert_ne!(read[0].data, Bytes::from_static(b"x"));
    }

    #[test]
    fn a_lost_end_and_a_lost_hard_state_leave_a_log_that_looks_sound() {
        let log = three();
        let copy = log.copy();
        log.lose_after(LogIndex(1));
        log.lose_hard_state();
        let bounds = log.writer().bounds().unwrap();
        assert_eq!(bounds.last_index, LogIndex(1));
        assert_eq!(bounds.hard_state.term, bounds.last_term);
        assert_eq!(
            copy.writer().bounds().unwrap().last_index,
            LogIndex(3),
            "a copy is another disk"
        );
        copy.flip(LogIndex(2), 0);
        copy.cut_at_damage();
        assert_eq!(copy.writer().bounds().unwrap().last_index, LogIndex(1));
    }

    #[test]
    fn failing_reads_fail_until_they_do_not() {
        let log = three();
        log.fail_reads(true);
        let read = log.reader().entries(LogIndex(1), LogIndex(2), 100);
        assert!(matches!(read, Err(ReadLogError::Io { .. })));
        log.fail_reads(false);
        assert!(log.reader().term(LogIndex(1)).is_ok());
    }
}
