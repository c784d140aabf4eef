//! Snapshots as files, and their installation, which a kill at any point leaves whole.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{batch_write, node, open_dir};
use corgi_base::{LogIndex, SnapshotFile, Term};
use corgi_consensus::storage::{HardState, LogInstall, LogWriter as _};
use corgi_log::{DataDir, Install, InstallError, Received, SnapshotFolder, Stores};
use corgi_state::State;
use corgi_state::store::StateStore as _;
use tempfile::TempDir;

/// The last entry of the snapshot, far behind what the receiver has.
const INDEX: LogIndex = LogIndex(20);

/// Makes a snapshot of a state with so many entries, and returns its bytes.
fn made() -> (SnapshotFile, Vec<u8>) {
    let root = TempDir::new().unwrap();
    let mut stores = open_dir(root.path()).unwrap().open_stores().unwrap();
    let mut state = State::new(node(1));
    for index in 1..=INDEX.0 {
        state.apply_empty(LogIndex(index), Term(1));
    }
    stores.state.write(&state.take_write().unwrap()).unwrap();
    let made = stores
        .snapshots
        .make(&stores.state.reader(), &stores.reader)
        .unwrap();
    let (meta, file) = made.unwrap();
    assert_eq!((meta.index, file.index), (INDEX, INDEX));
    let bytes = stores.snapshots.read(&file, 0, u32::MAX).unwrap().unwrap();
    assert_eq!(bytes.len() as u64, file.bytes);
    (file, bytes.to_vec())
}

/// Gives a folder all pieces from `from` on, and returns what became of the last one.
fn receive(folder: &mut SnapshotFolder, file: SnapshotFile, bytes: &[u8], from: u64) -> Received {
    let mut at = from;
    loop {
        let start = usize::try_from(at).unwrap();
        let piece = &bytes[start..bytes.len().min(start + 7)];
        match folder.write(file, at, piece).unwrap() {
            Received::Next(next) => {
                assert_eq!(next, at + piece.len() as u64);
                at = next;
            }
            ended => return ended,
        }
    }
}

/// A node with nine entries, of which it has applied four, and a snapshot that it has received.
struct Receiver {
    root: TempDir,
    dir: DataDir,
    stores: Stores,
}

impl Receiver {
    fn new() -> Self {
        let root = TempDir::new().unwrap();
        let mut dir = open_dir(root.path()).unwrap();
        let mut stores = dir.open_stores().unwrap();
        stores.writer.write(&[batch_write(1..=9, 1, 9)]).unwrap();
        let mut state = State::new(node(1));
        for index in 1..=4 {
            state.apply_empty(LogIndex(index), Term(1));
        }
        stores.state.write(&state.take_write().unwrap()).unwrap();
        stores.state.flush().unwrap();
        Self { root, dir, stores }
    }

    fn install(&mut self) -> Install<'_> {
        Install {
            dir: self.root.path(),
            log: &mut self.stores.writer,
            state: &mut self.stores.state,
        }
    }

    /// Ends, and starts again from what is on the disk.
    fn restart(self) -> Self {
        let Self { root, dir, stores } = self;
        drop((stores, dir));
        let mut dir = open_dir(root.path()).unwrap();
        let stores = dir.open_stores().unwrap();
        Self { root, dir, stores }
    }

    fn assert_has(&mut self, truncated: u64, last: u64, applied: u64) {
        let bounds = self.stores.writer.bounds().unwrap();
        let found = (bounds.truncated_index, bounds.last_index);
        assert_eq!(found, (LogIndex(truncated), LogIndex(last)));
        assert_eq!(self.stores.state.applied(), LogIndex(applied));
        assert!(!bounds.installing);
        assert!(!installed_from(self.root.path()).exists());
        let next = last + 1;
        let write = batch_write(next..=next, 1, next);
        self.stores.writer.write(&[write]).unwrap();
    }
}

fn installed_from(root: &Path) -> PathBuf {
    root.join("snapshots/install.snap")
}

fn reset() -> LogInstall {
    LogInstall {
        index: INDEX,
        term: Term(1),
        hard_state: HardState {
            term: Term(1),
            vote: Some(node(1)),
            commit: INDEX,
        },
    }
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn equal_states_make_equal_files() {
    assert_eq!(made(), made());
}

#[test]
fn a_transfer_goes_on_where_it_was_after_a_restart() {
    let (file, bytes) = made();
    let mut node = Receiver::new();
    for at in [0, 7, 14] {
        let start = usize::try_from(at).unwrap();
        let written = node
            .stores
            .snapshots
            .write(file, at, &bytes[start..start + 7]);
        assert_eq!(written.unwrap(), Received::Next(at + 7));
    }
    let mut node = node.restart();
    let folder = &mut node.stores.snapshots;
    assert_eq!(folder.find(file).unwrap(), 21);
    // What comes twice, or too early, is left aside.
    for at in [14, 28] {
        let start = usize::try_from(at).unwrap();
        let written = folder.write(file, at, &bytes[start..start + 7]);
        assert_eq!(written.unwrap(), Received::Next(21));
    }
    assert_eq!(receive(folder, file, &bytes, 21), Received::Complete);
    assert_eq!(
        node.restart().stores.snapshots.find(file).unwrap(),
        file.bytes
    );
}

#[test]
fn what_is_not_the_snapshot_is_removed_and_named() {
    let (file, mut bytes) = made();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let mut node = Receiver::new();
    let folder = &mut node.stores.snapshots;
    let ended = receive(folder, file, &bytes, 0);
    assert!(matches!(ended, Received::Damaged(_)), "{ended:?}");
    assert_eq!(folder.find(file).unwrap(), 0, "it begins anew");
}

#[test]
fn a_kill_after_any_step_of_an_installation_restarts_clean() {
    let (file, bytes) = made();
    for steps in 0..=4 {
        let mut node = Receiver::new();
        receive(&mut node.stores.snapshots, file, &bytes, 0);
        let mut install = node.install();
        if steps >= 1 {
            install.claim(&file).unwrap();
        }
        if steps >= 2 {
            install.log.install(&reset()).unwrap();
        }
        if steps >= 3 {
            install.replace_state(INDEX, Term(1)).unwrap();
        }
        if steps >= 4 {
            install.finish().unwrap();
        }
        let mut node = node.restart();
        if steps < 2 {
            node.assert_has(0, 9, 4);
        } else {
            node.assert_has(INDEX.0, INDEX.0, INDEX.0);
        }
        node.restart();
    }
}

#[test]
fn damage_while_a_snapshot_is_installed_costs_the_state_not_the_node() {
    let (file, bytes) = made();
    let path = installed_from;
    for damage in [flip, |path: &Path| fs::remove_file(path).unwrap()] {
        let mut node = Receiver::new();
        receive(&mut node.stores.snapshots, file, &bytes, 0);
        let mut install = node.install();
        install.claim(&file).unwrap();
        install.log.install(&reset()).unwrap();
        damage(&path(node.root.path()));
        // Its log is that of the snapshot, so that it gets another one from the leader.
        node.restart().assert_has(INDEX.0, INDEX.0, 0);
    }
}

#[test]
fn a_snapshot_that_is_damaged_on_the_disk_replaces_nothing() {
    let (file, bytes) = made();
    let mut node = Receiver::new();
    receive(&mut node.stores.snapshots, file, &bytes, 0);
    let received = fs::read_dir(node.root.path().join("snapshots")).unwrap();
    let received = received.map(|entry| entry.unwrap().path());
    flip(&received.into_iter().next().unwrap());
    let refused = node.install().run(&file, &reset()).unwrap_err();
    assert!(matches!(refused, InstallError::Damaged { .. }), "{refused}");
    node.restart().assert_has(0, 9, 4);
}
