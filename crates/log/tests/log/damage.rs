//! A byte of a closed database is flipped, a file is cut or removed: the node says so, or reads all
//! it had.
//!
//! Only what is torn behind the mark of what was synced is dropped (docs/disk-format.md).

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{batch_entry, batch_write, copy_dir, open_dir};
use corgi_base::LogIndex;
use corgi_consensus::storage::{LogReader as _, LogWriter as _};
use corgi_log::{OpenStoreError, Stores, dump_log, open_state};
use corgi_state::store::{StateStore as _, StateWrite};
use tempfile::TempDir;

const ENTRIES: u64 = 600;

/// Returns a closed data folder in which `applied` entries are applied. The log is in the WAL
/// alone, or after a second start in a table file.
fn closed_folder(in_tables: bool, applied: u64) -> TempDir {
    let root = TempDir::new().unwrap();
    let mut stores = open_dir(root.path()).unwrap().open_stores().unwrap();
    for index in 1..=ENTRIES {
        stores
            .writer
            .write(&[batch_write(index..=index, 1, index)])
            .unwrap();
    }
    for applied in 1..=applied {
        let key = format!("row {applied}").into();
        let puts = vec![(key, batch_entry(applied, 1).data)];
        let write = StateWrite {
            applied: LogIndex(applied),
            puts,
            deletes: Vec::new(),
        };
        stores.state.write(&write).unwrap();
    }
    stores.state.flush().unwrap();
    drop(stores);
    if in_tables {
        // Recovery moves what it finds in the WAL into tables.
        drop(open_dir(root.path()).unwrap().open_stores().unwrap());
    }
    root
}

fn files(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|path| path.to_str().unwrap().ends_with(suffix))
        .collect();
    files.sort();
    files
}

/// Returns the largest of the files whose name has the suffix.
fn file(dir: &Path, suffix: &str) -> PathBuf {
    let len = |path: &PathBuf| fs::metadata(path).unwrap().len();
    files(dir, suffix).into_iter().max_by_key(len).unwrap()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x40;
    fs::write(path, bytes).unwrap();
}

/// Opens the node and reads all of its log, entry by entry; returns how many there are, or what is
/// wrong.
fn read_log(root: &Path) -> Result<u64, String> {
    let stores = open_dir(root).unwrap().open_stores().map_err(|error| {
        assert!(
            matches!(error, OpenStoreError::LogDamaged { .. }),
            "{error}"
        );
        error.to_string()
    })?;
    let last = stores.writer.bounds().unwrap().last_index;
    for index in 1..=last.0 {
        let (index, next) = (LogIndex(index), LogIndex(index + 1));
        let read = stores.reader.entries(index, next, u64::MAX);
        let read = read.map_err(|error| error.to_string())?;
        assert_eq!(
            read,
            [batch_entry(index.0, 1)],
            "served what was never written"
        );
    }
    stores.reader.verify().map_err(|error| error.to_string())
}

/// Damages a copy of the folder with `damage`, which gets the log, and returns what reading it
/// says.
fn read_damaged(root: &TempDir, damage: impl FnOnce(&Path)) -> Result<u64, String> {
    let copy = TempDir::new().unwrap();
    for folder in ["raft", "state"] {
        copy_dir(&root.path().join(folder), &copy.path().join(folder));
    }
    for file in ["identity", "raft.mark"] {
        fs::copy(root.path().join(file), copy.path().join(file)).unwrap();
    }
    let path = copy.path().join("raft");
    damage(&path);
    let read = read_log(copy.path());
    if let Err(error) = &read {
        let named = error.contains(&path.display().to_string());
        assert!(named, "the error does not name the folder: {error}");
    }
    read
}

/// Flips `count` bytes of the WAL, evenly spread from `from` on, each in a copy of its own; returns
/// how many entries were left where nothing was noticed.
fn flip_wal(root: &TempDir, from: usize, to: usize, count: usize) -> Vec<u64> {
    let positions = (from..to).step_by((to - from).div_ceil(count));
    let read = |at| read_damaged(root, |path| flip(&file(path, ".log"), at));
    positions.filter_map(|at| read(at).ok()).collect()
}

#[test]
fn a_flipped_byte_in_a_table_is_an_error_or_harmless() {
    let root = closed_folder(true, ENTRIES);
    let len = fs::metadata(file(&root.path().join("raft"), ".sst"))
        .unwrap()
        .len() as usize;
    let mut errors = 0;
    let positions = (0..len).step_by(len / 60).chain(len - 60..len);
    for at in positions {
        match read_damaged(&root, |path| flip(&file(path, ".sst"), at)) {
            Ok(count) => assert_eq!(count, ENTRIES, "byte {at} of {len}"),
            Err(_) => errors += 1,
        }
    }
    assert!(errors > 60, "{errors} errors only");
}

#[test]
fn a_flipped_byte_in_the_wal_is_an_error_where_the_state_is_flushed() {
    let root = closed_folder(false, ENTRIES);
    let len = fs::metadata(file(&root.path().join("raft"), ".log"))
        .unwrap()
        .len() as usize;
    let unnoticed = flip_wal(&root, 0, len, 80);
    assert_eq!(unnoticed, [], "entries left where nothing was noticed");
}

#[test]
fn a_flipped_byte_in_the_wal_is_an_error_also_in_its_last_block() {
    const BLOCK: usize = 32 * 1024;
    // Nothing is applied, so that only the mark can tell.
    let root = closed_folder(false, 0);
    let len = fs::metadata(file(&root.path().join("raft"), ".log"))
        .unwrap()
        .len() as usize;
    assert!(len > 3 * BLOCK, "the WAL has only {len} bytes");
    let last_block = len / BLOCK * BLOCK;
    assert_eq!(flip_wal(&root, 0, last_block, 80), []);
    assert_eq!(flip_wal(&root, last_block, len, 160), []);
}

/// Cuts so many bytes off the end of the WAL.
fn cut_wal(raft: &Path, bytes: u64) {
    let file = fs::OpenOptions::new()
        .write(true)
        .open(file(raft, ".log"))
        .unwrap();
    file.set_len(file.metadata().unwrap().len() - bytes)
        .unwrap();
}

#[test]
fn a_wal_without_its_end_is_an_error() {
    let root = closed_folder(false, 0);
    for bytes in [1, 20, 5000] {
        let read = read_damaged(&root, |path| cut_wal(path, bytes));
        assert!(read.is_err(), "{bytes} bytes cut off: {read:?}");
    }
}

/// Returns a folder in which one more write was under way when power failed: its bytes may be on the disk, its mark is
/// not.
fn folder_with_unfinished_write() -> TempDir {
    let root = closed_folder(false, 0);
    let mark = fs::read(root.path().join("raft.mark")).unwrap();
    let mut stores = open_dir(root.path()).unwrap().open_stores().unwrap();
    let write = batch_write(ENTRIES + 1..=ENTRIES + 400, 1, ENTRIES);
    stores.writer.write(&[write]).unwrap();
    drop(stores);
    fs::write(root.path().join("raft.mark"), mark).unwrap();
    root
}

#[test]
fn what_was_never_synced_may_be_torn_anywhere() {
    let root = folder_with_unfinished_write();
    assert_eq!(
        read_damaged(&root, |_| {}),
        Ok(ENTRIES + 400),
        "all of it arrived"
    );
    let len = fs::metadata(file(&root.path().join("raft"), ".log"))
        .unwrap()
        .len();
    assert!(len > 3 * 4096, "the write has only {len} bytes");
    for bytes in [1, 20, len / 2, len] {
        let read = read_damaged(&root, |path| cut_wal(path, bytes));
        assert_eq!(
            read,
            Ok(ENTRIES),
            "{bytes} bytes of {len} are missing at the end"
        );
    }
    for page in 0..len / 4096 {
        let read = read_damaged(&root, |path| {
            let path = file(path, ".log");
            let mut bytes = fs::read(&path).unwrap();
            let from = usize::try_from(page * 4096).unwrap();
            bytes[from..from + 4096].fill(0);
            fs::write(path, bytes).unwrap();
        });
        assert_eq!(read, Ok(ENTRIES), "page {page} did not arrive");
    }
}

#[test]
fn a_log_that_was_put_back_as_it_was_is_an_error() {
    let root = closed_folder(false, 0);
    let old = TempDir::new().unwrap();
    copy_dir(&root.path().join("raft"), old.path());
    let mut stores = open_dir(root.path()).unwrap().open_stores().unwrap();
    let write = batch_write(ENTRIES + 1..=ENTRIES + 1, 1, ENTRIES);
    stores.writer.write(&[write]).unwrap();
    drop(stores);
    let read = read_damaged(&root, |path| {
        fs::remove_dir_all(path).unwrap();
        copy_dir(old.path(), path);
    });
    assert!(read.unwrap_err().contains("were synced"));
}

#[test]
fn a_missing_or_damaged_mark_is_an_error() {
    let root = closed_folder(false, ENTRIES);
    let mark = |path: &Path| path.with_extension("mark");
    let read = read_damaged(&root, |path| fs::remove_file(mark(path)).unwrap());
    assert!(read.unwrap_err().contains("raft.mark is missing"));
    let read = read_damaged(&root, |path| fs::write(mark(path), [0; 1024]).unwrap());
    assert!(read.unwrap_err().contains("raft.mark is damaged"));
}

#[test]
fn missing_or_damaged_files_of_the_database_are_errors() {
    let root = closed_folder(true, ENTRIES);
    for name in ["CURRENT", ".sst"] {
        let read = read_damaged(&root, |path| fs::remove_file(file(path, name)).unwrap());
        assert!(read.is_err(), "{name} removed: {read:?}");
        let read = read_damaged(&root, |path| fs::write(file(path, name), "").unwrap());
        assert!(read.is_err(), "{name} emptied: {read:?}");
    }
    let manifest = |path: &Path| {
        let current = fs::read_to_string(path.join("CURRENT")).unwrap();
        path.join(current.trim())
    };
    let read = read_damaged(&root, |path| fs::remove_file(manifest(path)).unwrap());
    assert!(read.is_err(), "MANIFEST removed: {read:?}");
    let len = fs::metadata(manifest(&root.path().join("raft")))
        .unwrap()
        .len() as usize;
    for at in (0..len).step_by((len / 40).max(1)) {
        if let Ok(count) = read_damaged(&root, |path| flip(&manifest(path), at)) {
            assert_eq!(count, ENTRIES, "byte {at} of the MANIFEST");
        }
    }
}

#[test]
fn a_damaged_state_is_an_error_that_says_how_to_cure_it() {
    let root = closed_folder(false, ENTRIES);
    let state = root.path().join("state");
    let table = file(&state, ".sst");
    let sound = fs::read(&table).unwrap();
    let whole = open_state(&state).unwrap().rows().unwrap();
    let mut errors = 0;
    for at in (0..sound.len()).step_by(sound.len() / 60) {
        flip(&table, at);
        let read = open_state(&state).map_err(|error| {
            assert!(
                matches!(error, OpenStoreError::StateDamaged { .. }),
                "{error}"
            );
            error.to_string()
        });
        match read.and_then(|store| store.rows().map_err(|error| error.to_string())) {
            Ok(rows) => assert_eq!(rows, whole, "byte {at}"),
            Err(error) => {
                let cure = format!("remove the folder {}", state.display());
                assert!(error.contains(&cure), "{error}");
                errors += 1;
            }
        }
        fs::write(&table, &sound).unwrap();
    }
    assert!(errors > 30, "{errors} errors only");
}

#[test]
fn the_cure_for_a_damaged_state_works() {
    let root = closed_folder(false, ENTRIES);
    fs::write(root.path().join("state/CURRENT"), "nonsense").unwrap();
    let error = open_dir(root.path()).unwrap().open_stores().unwrap_err();
    assert!(error.to_string().contains("remove the folder"), "{error}");
    fs::remove_dir_all(root.path().join("state")).unwrap();
    let Stores { reader, state, .. } = open_dir(root.path()).unwrap().open_stores().unwrap();
    assert_eq!(
        (reader.verify(), state.applied()),
        (Ok(ENTRIES), LogIndex(0))
    );
}

#[test]
fn a_dump_of_a_damaged_log_ends_at_the_damage() {
    let root = closed_folder(true, ENTRIES);
    let table = file(&root.path().join("raft"), ".sst");
    let len = fs::metadata(&table).unwrap().len() as usize;
    flip(&table, len / 2);
    let mut out = Vec::new();
    let error = dump_log(root.path(), &mut out).unwrap_err();
    assert!(error.to_string().contains("raft"), "{error}");
    assert!(!String::from_utf8(out).unwrap().contains("end entries"));
}
