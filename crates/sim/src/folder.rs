//! A data folder as `corgi-log` keeps it: identity, Raft log with its mark, applied state. What may
//! be lost without anybody noticing is not lost by accident here, and what was damaged is found by
//! the same rules: checksums of what is read at start, the mark, and the floor in the identity.
//!
//! ```text
//!   log:     group 1 | group 2 | group 3 ╎ torn
//!                              ▲         ╎
//!                    mark: 3 groups were synced; what is behind may be anything after a power cut
//! ```

use crate::rng::Rng;
use corgi_base::{Boot, Formation, InstanceId, LogIndex, NodeId, Term};
use corgi_consensus::mem::MemLog;
use corgi_consensus::storage::{LogBounds, LogEntry, LogReader, ReadLogError};
use corgi_state::mem::MemState;
use corgi_state::mem_snapshots::MemSnapshots;

/// So many entries from the end are read and checked when a log is opened, as many as the WAL of a
/// real one may have held.
const TAIL_ENTRIES: u64 = 64;

/// What may be wrong with the disk itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    /// One byte of an entry has changed.
    BitFlip,
    /// The end of the log is gone, as if it had been truncated or overwritten with zeros.
    LostEnd,
    /// Term and vote are gone.
    LostHardState,
    /// The log is an old copy; everything else is not.
    OldLog,
    /// All of the folder is an old copy.
    OldFolder,
    /// The folder is empty.
    Wiped,
}

/// Mistakes that a store can make, to be made on purpose.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mistakes {
    /// A log that ends before its mark is taken for one with a torn end.
    pub(crate) ignores_mark: bool,
    /// A damaged entry is cut off, with all behind it.
    pub(crate) cuts_damage: bool,
    /// A sync that failed is done again, and is then told that all is well.
    pub(crate) retries_sync: bool,
    /// The applied index is written apart from the rows.
    pub(crate) splits_state: bool,
    /// The log is truncated up to what is applied, flushed or not.
    pub(crate) truncates_early: bool,
    /// A log that was reset to a snapshot does not tell that the state is still to be replaced.
    pub(crate) forgets_install: bool,
}

/// What the identity file says besides whose it is.
#[derive(Clone, Copy, Debug, Default)]
struct Floor {
    term: Term,
    commit: LogIndex,
}

/// One data folder.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) log: MemLog,
    pub(crate) state: MemState,
    pub(crate) snapshots: MemSnapshots,
    pub(crate) instance: InstanceId,
    pub(crate) boot: Boot,
    pub(crate) formation: Option<Formation>,
    floor: Floor,
    /// How many groups the log holds, and how many were synced.
    groups: u64,
    mark: u64,
    /// Behind what is held lies the wreck of a write that a power cut has met.
    torn: bool,
    pub(crate) mistakes: Mistakes,
}

impl Folder {
    pub(crate) fn new(id: NodeId, rng: &mut Rng) -> Self {
        Self {
            log: MemLog::new(),
            state: MemState::new(),
            snapshots: MemSnapshots::default(),
            instance: InstanceId(u128::from(rng.draw()) << 64 | u128::from(id.get())),
            boot: Boot(0),
            formation: None,
            floor: Floor::default(),
            groups: 0,
            mark: 0,
            torn: false,
            mistakes: Mistakes::default(),
        }
    }

    /// Returns a copy of the files, with what is durable, but without snapshots: they are made, or received, again.
    /// There is none in the middle of an install, which needs one.
    pub(crate) fn copy(&self) -> Option<Self> {
        (!self.bounds().installing).then(|| Self {
            log: self.log.copy(),
            state: self.state.copy(),
            snapshots: MemSnapshots::default(),
            ..*self
        })
    }

    /// Takes note that a group is synced.
    pub(crate) fn synced(&mut self) {
        self.groups += 1;
        self.mark = self.groups;
    }

    /// Ends the life of the process. Of a group that was begun everything, nothing, or, if power was
    /// lost, any part may be on the disk: its blocks are written in any order. Returns whether the
    /// group is whole.
    pub(crate) fn crash(&mut self, power: bool, rng: &mut Rng) -> bool {
        let begun = self.log.begun();
        let keep = rng.index(begun + 1);
        self.log.crash(keep);
        self.groups += keep as u64;
        self.torn = power && keep < begun;
        let state = rng.index(self.state.unflushed() + 1);
        self.state.crash(state);
        if power {
            self.snapshots.lose_after(|held| rng.index(held + 1));
        }
        keep > 0
    }

    /// Opens the folder.
    ///
    /// # Errors
    /// What is wrong with it, as the real one names it.
    pub(crate) fn open(&mut self) -> Result<LogBounds, String> {
        self.boot = self.boot.next();
        if self.torn && self.groups >= self.mark {
            // Behind the mark nothing was promised.
            self.torn = false;
        }
        if self.groups < self.mark && !self.mistakes.ignores_mark {
            let (held, synced) = (self.groups, self.mark);
            return Err(format!(
                "the Raft log is damaged (its end is missing: it holds {held} records, {synced} were synced)"
            ));
        }
        self.mark = self.groups;
        if self.mistakes.cuts_damage {
            self.log.cut_at_damage();
        }
        if self.bounds().installing {
            self.finish_install();
        }
        let bounds = self.log.bounds();
        self.check_tail(&bounds)?;
        let Floor { term, commit } = self.floor;
        let hard_state = bounds.hard_state;
        if hard_state.term < term || hard_state.commit < commit {
            return Err(format!(
                "the Raft log is damaged (it has {hard_state:?}, but has held term {term} and commit {commit})"
            ));
        }
        self.floor = Floor {
            term: hard_state.term,
            commit: hard_state.commit,
        };
        Ok(bounds)
    }

    fn check_tail(&self, bounds: &LogBounds) -> Result<(), String> {
        let last = bounds.last_index.0;
        let from = (bounds.truncated_index.0 + 1).max(last.saturating_sub(TAIL_ENTRIES) + 1);
        let reader = self.log.reader();
        let tail = reader.entries(LogIndex(from), LogIndex(last + 1), u64::MAX);
        tail.map(drop).map_err(damaged)
    }

    /// Harms what is on the disk; `old` is an earlier copy. Returns whether anything is lost or
    /// changed by it.
    pub(crate) fn harm(
        &mut self,
        harm: Harm,
        old: Option<Self>,
        id: NodeId,
        rng: &mut Rng,
    ) -> bool {
        let bounds = self.bounds();
        let entries = bounds.last_index.0 - bounds.truncated_index.0;
        match (harm, old) {
            (Harm::BitFlip, _) if entries > 0 => {
                let far = if rng.chance(50) { 8 } else { entries };
                let back = rng.below(entries.min(far));
                let at = rng.index(1 << 20);
                self.log.flip(LogIndex(bounds.last_index.0 - back), at)
            }
            // At least one group that was synced is gone, whatever an unsynced one has left.
            (Harm::LostEnd, _) if entries > 0 => {
                let far = if rng.chance(70) { 10 } else { entries };
                let lost = 1 + rng.below(entries.min(far));
                self.log.lose_after(LogIndex(bounds.last_index.0 - lost));
                self.groups = self.mark.saturating_sub(1);
                true
            }
            (Harm::LostHardState, _) if bounds.hard_state.vote.is_some() => {
                self.log.lose_hard_state();
                self.groups = self.mark.saturating_sub(1);
                true
            }
            (Harm::OldLog, Some(old)) if old.groups < self.mark => {
                self.log = old.log;
                self.groups = old.groups;
                true
            }
            (Harm::OldFolder, Some(old)) if old.boot < self.boot => {
                *self = old;
                true
            }
            (Harm::Wiped, _) => {
                let mistakes = self.mistakes;
                *self = Self::new(id, rng);
                self.mistakes = mistakes;
                true
            }
            (
                Harm::BitFlip
                | Harm::LostEnd
                | Harm::LostHardState
                | Harm::OldLog
                | Harm::OldFolder,
                _,
            ) => false,
        }
    }

    /// Returns the bounds of the log as it is on the disk.
    pub(crate) fn bounds(&self) -> LogBounds {
        self.log.bounds()
    }

    /// Reads the whole log, as far as it is not damaged.
    pub(crate) fn entries(&self) -> impl Iterator<Item = LogEntry> {
        let bounds = self.bounds();
        let indexes = bounds.truncated_index.0 + 1..=bounds.last_index.0;
        indexes.filter_map(|index| self.log.sound(LogIndex(index)))
    }
}

fn damaged(error: ReadLogError) -> String {
    format!("the Raft log is damaged ({error})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use corgi_consensus::storage::{EntryType, HardState, LogWrite, LogWriter as _};

    const ONE: NodeId = NodeId::new(1).unwrap();

    fn group(index: u64) -> Vec<LogWrite> {
        let entry = LogEntry {
            index: LogIndex(index),
            term: Term(1),
            entry_type: EntryType::Normal,
            context: Bytes::new(),
            data: Bytes::from_static(b"data"),
        };
        let hard_state = HardState {
            term: Term(1),
            vote: Some(ONE),
            commit: LogIndex(index - 1),
        };
        vec![LogWrite {
            entries: vec![entry],
            hard_state: Some(hard_state),
        }]
    }

    /// A folder with synced groups.
    fn folder(groups: u64) -> (Folder, Rng) {
        let mut rng = Rng::new(7);
        let mut folder = Folder::new(ONE, &mut rng);
        for index in 1..=groups {
            let mut writer = folder.log.writer();
            writer.write(&group(index)).unwrap();
            folder.synced();
        }
        (folder, rng)
    }

    #[test]
    fn what_a_power_cut_tears_was_not_synced_and_is_dropped() {
        for seed in 0..20 {
            let (mut folder, _) = folder(3);
            folder.log.writer().begin(&group(4));
            let whole = folder.crash(true, &mut Rng::new(seed));
            let bounds = folder.open().unwrap();
            assert_eq!(bounds.last_index.0, if whole { 4 } else { 3 });
        }
    }

    #[test]
    fn each_harm_to_the_log_is_found_when_it_is_opened() {
        for harm in [Harm::BitFlip, Harm::LostEnd, Harm::LostHardState] {
            let (mut folder, mut rng) = folder(5);
            folder.open().unwrap();
            assert!(folder.harm(harm, None, ONE, &mut rng));
            let refused = folder.open().unwrap_err();
            assert!(refused.contains("damaged"), "{harm:?}: {refused}");
        }
        let (mut folder, mut rng) = folder(2);
        let old = folder.copy();
        folder.log.writer().write(&group(3)).unwrap();
        folder.synced();
        assert!(folder.harm(Harm::OldLog, old, ONE, &mut rng));
        assert!(folder.open().unwrap_err().contains("its end is missing"));
    }

    #[test]
    fn an_old_folder_opens_with_an_old_boot_and_an_empty_one_with_another_name() {
        let (mut folder, mut rng) = folder(2);
        folder.open().unwrap();
        let old = folder.copy();
        folder.open().unwrap();
        let (boot, instance) = (folder.boot, folder.instance);
        assert!(folder.harm(Harm::OldFolder, old, ONE, &mut rng));
        folder.open().unwrap();
        assert_eq!((folder.boot, folder.instance), (boot, instance));
        assert!(folder.harm(Harm::Wiped, None, ONE, &mut rng));
        folder.open().unwrap();
        assert_ne!(folder.instance, instance);
    }

    #[test]
    fn the_mistakes_open_what_is_damaged() {
        let (mut folder, mut rng) = folder(5);
        folder.harm(Harm::LostEnd, None, ONE, &mut rng);
        folder.mistakes.ignores_mark = true;
        assert!(folder.open().unwrap().last_index.0 < 5);
        let (mut folder, _) = self::folder(5);
        folder.log.flip(LogIndex(3), 0);
        folder.mistakes.cuts_damage = true;
        assert_eq!(folder.open().unwrap().last_index.0, 2);
    }
}
