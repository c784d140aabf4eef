//! The mark: how far the Raft log is synced, kept apart from the log.
//!
//! A log that ends early looks like one whose last write a crash has torn. The mark tells the two
//! apart: RocksDB numbers all that is written, and after each synced write its last number is put
//! here. A log that recovers less than the mark has lost what was synced, and must not be used;
//! what is torn behind the mark was never synced, and is dropped.
//!
//! ```text
//! <dir>/raft.mark   two slots, at 0 and 512, written in turns:  format:u8 (1)  sequence:u64  crc:u32
//! ```
//!
//! Invariants
//! - The mark is written after the write that it speaks of is synced: it is never ahead of the log.
//! - A torn mark leaves the one before it.
//!
//! Writing it costs no sync of its own: the kernel keeps it when the process dies. Only a power cut
//! can take it back, to where [`SyncMark::sync`] was last called; then what was synced later has no
//! mark.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::identity::sync_dir;
use crate::options::DbError;
use crate::record::{seal, unseal};

const FORMAT: u8 = 1;
const RECORD_BYTES: usize = 1 + 8 + 4;
/// Slots lie in different sectors: a torn write of one leaves the other.
const SLOT_BYTES: u64 = 512;

/// The mark of one log.
#[derive(Debug)]
pub(crate) struct SyncMark {
    file: File,
    sequence: u64,
    /// The slot to write next.
    slot: u64,
    unsynced: bool,
}

/// Returns where the mark of the log in `raft` is.
pub(crate) fn path(raft: &Path) -> PathBuf {
    raft.with_extension("mark")
}

impl SyncMark {
    /// Makes the mark of a log that does not exist yet, durably.
    pub(crate) fn create(raft: &Path) -> io::Result<()> {
        let path = path(raft);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        for slot in [0, 1] {
            file.write_all_at(&record(0), slot * SLOT_BYTES)?;
        }
        file.sync_all()?;
        sync_dir(path.parent().expect("a mark lies in a data folder"))
    }

    /// Returns the sequence number that the mark names.
    pub(crate) fn read(raft: &Path) -> Result<u64, DbError> {
        Self::slots(raft).map(|(sequence, _)| sequence)
    }

    /// Opens the mark for writing.
    pub(crate) fn open(raft: &Path) -> Result<Self, DbError> {
        let (sequence, slot) = Self::slots(raft)?;
        Ok(Self {
            file: OpenOptions::new().write(true).open(path(raft))?,
            sequence,
            slot: 1 - slot,
            unsynced: false,
        })
    }

    /// Returns the higher of the sound slots, and which it is.
    fn slots(raft: &Path) -> Result<(u64, u64), DbError> {
        let path = path(raft);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let what = format!("{} is missing", path.display());
                return Err(DbError::Damaged(what));
            }
            read => read?,
        };
        let sound = [0, 1].into_iter().filter_map(|slot| {
            let at = usize::try_from(slot * SLOT_BYTES).ok()?;
            let record = bytes.get(at..at + RECORD_BYTES)?;
            let sequence = unseal(record).ok()?.u64("sequence").ok()?;
            Some((sequence, slot))
        });
        let what = || format!("{} is damaged", path.display());
        sound.max().ok_or_else(|| DbError::Damaged(what()))
    }

    /// Returns the sequence number that the mark names.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Notes that the log is synced up to `sequence`.
    pub(crate) fn set(&mut self, sequence: u64) -> io::Result<()> {
        self.file
            .write_all_at(&record(sequence), self.slot * SLOT_BYTES)?;
        self.sequence = sequence;
        self.slot = 1 - self.slot;
        self.unsynced = true;
        Ok(())
    }

    /// Makes the mark survive a power cut.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.unsynced {
            self.file.sync_data()?;
            self.unsynced = false;
        }
        Ok(())
    }
}

fn record(sequence: u64) -> Vec<u8> {
    let mut record = vec![FORMAT];
    record.extend_from_slice(&sequence.to_be_bytes());
    seal(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let raft = dir.path().join("raft");
        SyncMark::create(&raft).unwrap();
        (dir, raft)
    }

    fn read(raft: &Path) -> Result<u64, String> {
        SyncMark::read(raft).map_err(|error| match error {
            DbError::Damaged(what) | DbError::Io(what) => what,
        })
    }

    #[test]
    fn the_last_number_set_is_read_also_after_opening_again() {
        let (_dir, raft) = new();
        assert_eq!(read(&raft), Ok(0));
        for first in [1, 5] {
            let mut mark = SyncMark::open(&raft).ok().unwrap();
            for sequence in first..first + 4 {
                mark.set(sequence).unwrap();
                assert_eq!(read(&raft), Ok(sequence));
            }
            mark.sync().unwrap();
        }
        assert_eq!(SyncMark::open(&raft).ok().unwrap().sequence(), 8);
    }

    #[test]
    fn a_torn_write_leaves_the_mark_before_it_and_damage_to_both_is_noticed() {
        let (_dir, raft) = new();
        let mut mark = SyncMark::open(&raft).ok().unwrap();
        mark.set(7).unwrap();
        mark.set(9).unwrap();
        let sound = fs::read(path(&raft)).unwrap();
        for at in 0..sound.len() {
            let mut torn = sound.clone();
            torn[at] ^= 0x40;
            fs::write(path(&raft), &torn).unwrap();
            let left = read(&raft).unwrap();
            assert!(left == 9 || left == 7, "{left} after damage at {at}");
        }
        fs::write(path(&raft), vec![0; sound.len()]).unwrap();
        assert!(read(&raft).unwrap_err().contains("raft.mark is damaged"));
        fs::remove_file(path(&raft)).unwrap();
        assert!(read(&raft).unwrap_err().contains("raft.mark is missing"));
    }
}
