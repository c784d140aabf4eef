//! An applied state in memory that forgets what was not flushed, for tests and simulation.
//!
//! Invariants
//! - A write is atomic, and writes survive in order: a crash keeps all of them up to some point and
//!   none after it.
//! - That point is never before the last flush. It may be after it, because RocksDB flushes on its
//!   own when its buffer is full; [`MemState::crash`] is told how far.
//! - A store handle that was taken before a crash panics when it is used after it.
//!
//! Not here: damaged bytes and failing disks. Tested by [`crate::conformance`], which RocksDB
//! passes too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use corgi_base::{FlushedIndex, LogIndex};

use crate::store::{StateStore, StateStoreError, StateWrite};

/// The disk of one node's applied state. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemState {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    flushed: Image,
    /// What the process has written since, in order.
    unflushed: Vec<StateWrite>,
    /// How many crashes there have been; handles of an earlier life are dead.
    life: u64,
}

#[derive(Clone, Debug, Default)]
struct Image {
    applied: LogIndex,
    rows: BTreeMap<Bytes, Bytes>,
}

impl MemState {
    /// Returns an empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the store, which lives until the next crash. One at a time, as for any store.
    pub fn open(&self) -> MemStateStore {
        MemStateStore {
            life: self.lock().life,
            state: self.clone(),
        }
    }

    /// Returns another disk with the same flushed rows, as a copy of the files would be.
    #[must_use]
    pub fn copy(&self) -> Self {
        let copy = Self::new();
        copy.lock().flushed = self.lock().flushed.clone();
        copy
    }

    /// Ends the life of the process: of the writes since the last flush the first `keep` survive.
    pub fn crash(&self, keep: usize) {
        let mut disk = self.lock();
        let unflushed = std::mem::take(&mut disk.unflushed);
        for write in unflushed.iter().take(keep) {
            disk.flushed.apply(write);
        }
        disk.life += 1;
    }

    /// Returns how many writes a crash could lose.
    pub fn unflushed(&self) -> usize {
        self.lock().unflushed.len()
    }

    /// Returns the entry up to which a crash cannot lose anything: the Raft log may be truncated
    /// only up to it.
    pub fn flushed_applied(&self) -> LogIndex {
        self.lock().flushed.applied
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        // A panic of another test thread must not hide behind a second one here.
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads and writes a [`MemState`].
#[derive(Debug)]
pub struct MemStateStore {
    state: MemState,
    life: u64,
}

impl MemStateStore {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        let disk = self.state.lock();
        assert_eq!(
            disk.life, self.life,
            "a handle from before a crash was used after it"
        );
        disk
    }
}

impl StateStore for MemStateStore {
    fn rows(&self) -> Result<Vec<(Bytes, Bytes)>, StateStoreError> {
        let disk = self.disk();
        let mut image = disk.flushed.clone();
        for write in &disk.unflushed {
            image.apply(write);
        }
        Ok(image.rows.into_iter().collect())
    }

    fn flushed(&self) -> Result<FlushedIndex, StateStoreError> {
        Ok(FlushedIndex::read_back(self.disk().flushed.applied))
    }

    fn replace(
        &mut self,
        applied: LogIndex,
        rows: &mut dyn Iterator<Item = Result<(Bytes, Bytes), StateStoreError>>,
    ) -> Result<(), StateStoreError> {
        let rows = rows.collect::<Result<_, _>>()?;
        let mut disk = self.disk();
        disk.unflushed.clear();
        disk.flushed = Image { applied, rows };
        Ok(())
    }

    fn write(&mut self, write: &StateWrite) -> Result<(), StateStoreError> {
        self.disk().unflushed.push(write.clone());
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StateStoreError> {
        let mut disk = self.disk();
        let unflushed = std::mem::take(&mut disk.unflushed);
        for write in &unflushed {
            disk.flushed.apply(write);
        }
        Ok(())
    }
}

impl Image {
    fn apply(&mut self, write: &StateWrite) {
        for key in &write.deletes {
            self.rows.remove(key);
        }
        for (key, value) in &write.puts {
            self.rows.insert(key.clone(), value.clone());
        }
        self.applied = write.applied;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{self, StateFixture};

    struct Fixture(MemState);

    impl StateFixture for Fixture {
        type Store = MemStateStore;

        fn open(&mut self) -> MemStateStore {
            self.0.open()
        }

        fn crash(&mut self, _: MemStateStore) {
            self.0.crash(0);
        }
    }

    fn write(applied: u64) -> StateWrite {
        let value = Bytes::from(applied.to_string());
        let puts = vec![(Bytes::from_static(b"applied"), value)];
        StateWrite {
            applied: LogIndex(applied),
            puts,
            deletes: Vec::new(),
        }
    }

    #[test]
    fn passes_the_conformance_suite() {
        conformance::suite(|| Fixture(MemState::new()));
    }

    #[test]
    fn a_crash_keeps_a_prefix_of_the_unflushed_writes() {
        for keep in 0..=4 {
            let state = MemState::new();
            let mut store = state.open();
            store.write(&write(1)).unwrap();
            store.flush().unwrap();
            for applied in 2..=4 {
                store.write(&write(applied)).unwrap();
            }
            assert_eq!(
                (state.unflushed(), state.flushed_applied()),
                (3, LogIndex(1))
            );
            state.crash(keep);
            let kept = 1 + keep.min(3) as u64;
            assert_eq!(state.flushed_applied(), LogIndex(kept));
            assert_eq!(state.open().rows().unwrap(), write(kept).puts);
        }
    }

    #[test]
    fn a_copy_is_another_disk() {
        let state = MemState::new();
        let mut store = state.open();
        store.write(&write(1)).unwrap();
        store.flush().unwrap();
        let copy = state.copy();
        copy.open().write(&write(2)).unwrap();
        assert_eq!((state.unflushed(), copy.flushed_applied().0), (0, 1));
    }

    #[test]
    #[should_panic(expected = "before a crash")]
    fn a_handle_does_not_outlive_a_crash() {
        let state = MemState::new();
        let mut store = state.open();
        state.crash(0);
        store.write(&write(1)).unwrap();
    }
}
