//! RocksDB passes the suites that the in-memory stores pass.
use std::path::PathBuf;

use crate::common::copy_dir;
use corgi_base::LogIndex;
use corgi_consensus::conformance::LogFixture;
use corgi_log::{RocksLogReader, RocksLogWriter, RocksState, open_log, open_state};
use corgi_state::conformance::StateFixture;
use corgi_state::store::{StateStore as _, StateWrite};
use tempfile::TempDir;

/// A folder whose databases move on to a copy at each crash: the copy is taken while they are open,
/// so that it holds what a killed process leaves and nothing that closing adds.
struct Folder {
    root: TempDir,
    crashes: u32,
}

impl Folder {
    fn new() -> Self {
        Self {
            root: TempDir::new().unwrap(),
            crashes: 0,
        }
    }

    fn path(&self) -> PathBuf {
        self.root.path().join(format!("life-{}", self.crashes))
    }

    fn crash(&mut self) {
        let old = self.path();
        self.crashes += 1;
        copy_dir(&old, &self.path());
        let mark = old.with_extension("mark");
        if mark.exists() {
            std::fs::copy(mark, self.path().with_extension("mark")).unwrap();
        }
    }
}

impl LogFixture for Folder {
    type Reader = RocksLogReader;
    type Writer = RocksLogWriter;

    fn open(&mut self) -> (RocksLogReader, RocksLogWriter) {
        open_log(&self.path()).unwrap()
    }

    fn crash(&mut self, reader: RocksLogReader, writer: RocksLogWriter) {
        Self::crash(self);
        drop((reader, writer));
    }
}

impl StateFixture for Folder {
    type Store = RocksState;

    fn open(&mut self) -> RocksState {
        open_state(&self.path()).unwrap()
    }

    fn crash(&mut self, store: RocksState) {
        Self::crash(self);
        drop(store);
    }
}

#[test]
fn the_raft_log_passes_the_conformance_suite() {
    corgi_consensus::conformance::suite(Folder::new);
}

#[test]
fn the_applied_state_passes_the_conformance_suite() {
    corgi_state::conformance::suite(Folder::new);
}

#[test]
fn flushed_is_what_a_crash_keeps() {
    let mut folder = Folder::new();
    let mut state = StateFixture::open(&mut folder);
    let write = |applied| StateWrite {
        applied: LogIndex(applied),
        ..StateWrite::default()
    };
    assert_eq!(state.flushed().unwrap().get(), LogIndex(0));
    state.write(&write(3)).unwrap();
    assert_eq!(
        (state.applied(), state.flushed().unwrap().get()),
        (LogIndex(3), LogIndex(0))
    );
    state.flush().unwrap();
    state.write(&write(8)).unwrap();
    assert_eq!(
        (state.applied(), state.flushed().unwrap().get()),
        (LogIndex(8), LogIndex(3))
    );
    assert_eq!(state.reader().background_errors(), 0);
    StateFixture::crash(&mut folder, state);
    assert_eq!(StateFixture::open(&mut folder).applied(), LogIndex(3));
}
