//! A Raft log in memory that forgets what was not synced, for tests and simulation.
//!
//! ```text
//!   MemLogWriter ── begin ──▶ begun groups ── sync ──▶ durable image ◀── reads ── MemLogReader
//!                                  │                        ▲
//!                                  └──── crash(keep) ───────┘   the first `keep` groups survive
//! ```
//!
//! Invariants
//! - A begun group is atomic and ordered: a crash keeps a prefix of the groups, never a part of
//!   one.
//! - Readers and [`LogWriter::bounds`] see only what is synced, as the contract of [`LogReader`]
//!   says.
//! - A handle that was taken before a crash panics when it is used after it: a test cannot mistake
//!   the dead process for the new one.
//!
//! Damage to what is synced is done on purpose ([`MemLog::flip`] and others), and found when it is read, as
//! with the checksums of a real disk. Not here: failing writes. Tested by [`crate::conformance`], which RocksDB
//! passes too.

mod damage;

use damage::Damage;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use corgi_base::{LogIndex, Term};

use crate::storage::{
    HardState, LogBounds, LogEntry, LogInstall, LogReader, LogWrite, LogWriter, ReadLogError,
    TruncateLimits, Truncated, WriteLogError,
};

/// The disk of one node's Raft log. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemLog {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    durable: Image,
    begun: Vec<Vec<LogWrite>>,
    /// How many crashes there have been; handles of an earlier life are dead.
    life: u64,
}

/// What the log holds.
#[derive(Clone, Debug, Default)]
struct Image {
    hard_state: HardState,
    truncated: (LogIndex, Term),
    /// Consecutive; the first has the index after `truncated`.
    entries: Vec<LogEntry>,
    damage: Damage,
    /// Whether the applied state is still to be replaced.
    installing: bool,
}

impl MemLog {
    /// Returns an empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a reader, which lives until the next crash.
    pub fn reader(&self) -> MemLogReader {
        MemLogReader {
            handle: self.handle(),
        }
    }

    /// Returns the writer, which lives until the next crash. One at a time, as for any log.
    pub fn writer(&self) -> MemLogWriter {
        MemLogWriter {
            handle: self.handle(),
        }
    }

    /// Ends the life of the process: of the groups that were begun and not synced the first `keep`
    /// survive, because a disk may have written more than it was asked to promise.
    pub fn crash(&self, keep: usize) {
        let mut disk = self.lock();
        let begun = std::mem::take(&mut disk.begun);
        for group in begun.into_iter().take(keep) {
            disk.durable.apply(&group);
        }
        disk.life += 1;
    }

    /// Returns the bounds of what is durable.
    pub fn bounds(&self) -> LogBounds {
        self.lock().durable.bounds()
    }

    /// Returns how many groups are begun and not synced.
    pub fn begun(&self) -> usize {
        self.lock().begun.len()
    }

    fn handle(&self) -> Handle {
        Handle {
            life: self.lock().life,
            log: self.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        // A panic of another test thread must not hide behind a second one here.
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Debug)]
struct Handle {
    log: MemLog,
    life: u64,
}

impl Handle {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        let disk = self.log.lock();
        assert_eq!(
            disk.life, self.life,
            "a handle from before a crash was used after it"
        );
        disk
    }
}

/// Reads a [`MemLog`].
#[derive(Clone, Debug)]
pub struct MemLogReader {
    handle: Handle,
}

impl LogReader for MemLogReader {
    fn entries(
        &self,
        low: LogIndex,
        high: LogIndex,
        max_bytes: u64,
    ) -> Result<Vec<LogEntry>, ReadLogError> {
        if low >= high {
            return Ok(Vec::new());
        }
        let mut disk = self.handle.disk();
        let image = &mut disk.durable;
        let from = image.position(low)?;
        let count = usize::try_from(high.0 - low.0).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let mut read = Vec::new();
        for entry in image.entries[from..].iter().take(count) {
            bytes += entry.payload_bytes() as u64;
            if bytes > max_bytes && !read.is_empty() {
                break;
            }
            read.push(entry.clone());
        }
        let last = read.last().map_or(low, |entry| entry.index);
        image.damage.check(low, last)?;
        Ok(read)
    }

    fn term(&self, index: LogIndex) -> Result<Term, ReadLogError> {
        let mut disk = self.handle.disk();
        if index == disk.durable.truncated.0 {
            return Ok(disk.durable.truncated.1);
        }
        let position = disk.durable.position(index)?;
        disk.durable.damage.check(index, index)?;
        Ok(disk.durable.entries[position].term)
    }
}

/// Writes a [`MemLog`], in one step or in two.
#[derive(Debug)]
pub struct MemLogWriter {
    handle: Handle,
}

impl MemLogWriter {
    /// Hands a group to the disk: it may survive a crash, and does once [`MemLogWriter::sync`] has
    /// returned.
    pub fn begin(&mut self, writes: &[LogWrite]) {
        self.handle.disk().begun.push(writes.to_vec());
    }

    /// Makes all that was begun durable, and visible to readers.
    pub fn sync(&mut self) {
        let mut disk = self.handle.disk();
        let begun = std::mem::take(&mut disk.begun);
        for group in begun {
            disk.durable.apply(&group);
        }
    }
}

impl LogWriter for MemLogWriter {
    fn bounds(&self) -> Result<LogBounds, ReadLogError> {
        Ok(self.handle.disk().durable.bounds())
    }

    fn write(&mut self, writes: &[LogWrite]) -> Result<(), WriteLogError> {
        self.begin(writes);
        self.sync();
        Ok(())
    }

    fn install(&mut self, install: &LogInstall) -> Result<(), WriteLogError> {
        let LogInstall {
            index,
            term,
            hard_state,
        } = *install;
        self.sync();
        let image = &mut self.handle.disk().durable;
        *image = Image {
            hard_state,
            truncated: (index, term),
            entries: Vec::new(),
            installing: true,
            damage: Damage::default(),
        };
        image.check();
        Ok(())
    }

    fn installed(&mut self) -> Result<(), WriteLogError> {
        self.sync();
        self.handle.disk().durable.installing = false;
        Ok(())
    }

    fn truncate(&mut self, limits: &TruncateLimits) -> Result<Option<Truncated>, WriteLogError> {
        self.sync();
        Ok(self.handle.disk().durable.truncate(limits))
    }
}

impl Image {
    fn bounds(&self) -> LogBounds {
        let (last_index, last_term) = self.last();
        LogBounds {
            hard_state: self.hard_state,
            truncated_index: self.truncated.0,
            truncated_term: self.truncated.1,
            last_index,
            last_term,
            installing: self.installing,
        }
    }

    fn last(&self) -> (LogIndex, Term) {
        self.entries
            .last()
            .map_or(self.truncated, |entry| (entry.index, entry.term))
    }

    /// Returns where in `entries` an index stands.
    fn position(&self, index: LogIndex) -> Result<usize, ReadLogError> {
        let (truncated, last) = (self.truncated.0, self.last().0);
        if index <= truncated {
            return Err(ReadLogError::Compacted { index, truncated });
        }
        if index > last {
            return Err(ReadLogError::Unavailable { index, last });
        }
        Ok((index.0 - truncated.0 - 1) as usize)
    }

    fn apply(&mut self, group: &[LogWrite]) {
        for write in group {
            self.replace_from(&write.entries);
            if let Some(hard_state) = write.hard_state {
                self.hard_state = hard_state;
            }
        }
        self.check();
    }

    fn check(&self) {
        let (last, last_term) = self.last();
        let HardState { term, commit, .. } = self.hard_state;
        let truncated = self.truncated.0;
        assert!(
            truncated <= commit && commit <= last,
            "commit {commit} is not within {truncated}..={last}"
        );
        assert!(
            term >= last_term,
            "term {term} is older than the last entry's {last_term}"
        );
    }

    /// Removes entries from the front.
    fn truncate(&mut self, limits: &TruncateLimits) -> Option<Truncated> {
        let flushed = limits.flushed.get();
        let last = self.last().0;
        assert!(
            flushed <= last,
            "the state is flushed up to {flushed}, beyond the last entry {last}"
        );
        let may = limits.hold.unwrap_or(flushed).min(flushed);
        let bytes = |entries: &[LogEntry]| -> u64 {
            let payload = entries.iter().map(LogEntry::payload_bytes);
            payload.sum::<usize>() as u64
        };
        let mut left = bytes(&self.entries);
        let mut count = 0;
        for entry in self.entries.iter().take_while(|entry| entry.index <= may) {
            left -= entry.payload_bytes() as u64;
            if left < limits.retain_bytes {
                break;
            }
            count += 1;
        }
        let gone = &self.entries[..count];
        let last = gone.last()?;
        if bytes(gone) < limits.step_bytes {
            return None;
        }
        let (index, term) = (last.index, last.term);
        self.truncated = (index, term);
        self.entries.drain(..count);
        self.damage.truncated(index);
        self.hard_state.commit = self.hard_state.commit.max(index);
        Some(Truncated { index, term })
    }

    fn replace_from(&mut self, entries: &[LogEntry]) {
        let Some(first) = entries.first() else { return };
        let (truncated, last) = (self.truncated.0, self.last().0);
        let first = first.index;
        assert!(
            first > truncated && first <= last.next(),
            "entries from {first} on leave a gap in a log of {truncated}..={last}"
        );
        self.entries.truncate((first.0 - truncated.0 - 1) as usize);
        self.damage.replaced_from(first);
        for entry in entries {
            let next = self.last().0.next();
            assert_eq!(entry.index, next, "entries are not consecutive");
            self.entries.push(entry.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{self, LogFixture};
    use crate::storage::EntryType;
    use bytes::Bytes;

    struct Fixture(MemLog);

    impl LogFixture for Fixture {
        type Reader = MemLogReader;
        type Writer = MemLogWriter;

        fn open(&mut self) -> (MemLogReader, MemLogWriter) {
            (self.0.reader(), self.0.writer())
        }

        fn crash(&mut self, _: MemLogReader, _: MemLogWriter) {
            self.0.crash(0);
        }
    }

    pub(super) fn group(index: u64) -> Vec<LogWrite> {
        let entry = LogEntry {
            index: LogIndex(index),
            term: Term(1),
            entry_type: EntryType::Normal,
            context: Bytes::new(),
            data: Bytes::from_static(b"x"),
        };
        let hard_state = HardState {
            term: Term(1),
            vote: None,
            commit: LogIndex(0),
        };
        vec![LogWrite {
            entries: vec![entry],
            hard_state: Some(hard_state),
        }]
    }

    fn last(log: &MemLog) -> LogIndex {
        log.writer().bounds().unwrap().last_index
    }

    #[test]
    fn passes_the_conformance_suite() {
        conformance::suite(|| Fixture(MemLog::new()));
    }

    #[test]
    fn begun_groups_are_invisible_until_synced() {
        let log = MemLog::new();
        let mut writer = log.writer();
        writer.begin(&group(1));
        assert_eq!((log.begun(), last(&log)), (1, LogIndex(0)));
        writer.sync();
        assert_eq!((log.begun(), last(&log)), (0, LogIndex(1)));
    }

    #[test]
    fn a_crash_keeps_a_prefix_of_the_begun_groups() {
        for keep in 0..=4 {
            let log = MemLog::new();
            let mut writer = log.writer();
            writer.write(&group(1)).unwrap();
            for index in 2..=4 {
                writer.begin(&group(index));
            }
            log.crash(keep);
            assert_eq!(last(&log), LogIndex(1 + keep.min(3) as u64));
            assert_eq!(log.begun(), 0);
        }
    }

    #[test]
    #[should_panic(expected = "before a crash")]
    fn a_handle_does_not_outlive_a_crash() {
        let log = MemLog::new();
        let mut writer = log.writer();
        log.crash(0);
        writer.begin(&group(1));
    }

    #[test]
    #[should_panic(expected = "leave a gap")]
    fn a_gap_is_refused() {
        let mut writer = MemLog::new().writer();
        writer.write(&group(2)).unwrap();
    }
}
