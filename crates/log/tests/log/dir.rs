//! Who may use a data folder, and what is refused.
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::common::{all_up_to, batch_write, node, open_dir, quiet};
use corgi_base::{Boot, ClusterId, Formation, InstanceId, LogIndex};
use corgi_consensus::storage::LogWriter as _;
use corgi_log::{DataDir, FormError, OpenError, OpenStoreError, open_log};
use corgi_state::store::{StateStore as _, StateWrite};
use tempfile::TempDir;

fn formation() -> Formation {
    Formation {
        cluster: ClusterId(5),
        founder: node(2),
    }
}

/// Returns a folder of a node that has formed a cluster and written some entries.
fn used_folder() -> TempDir {
    let root = TempDir::new().unwrap();
    let mut dir = open_dir(root.path()).unwrap();
    let mut stores = dir.open_stores().unwrap();
    dir.form(formation()).unwrap();
    stores.writer.write(&[batch_write(1..=9, 1, 9)]).unwrap();
    let write = StateWrite {
        applied: LogIndex(4),
        ..StateWrite::default()
    };
    stores.state.write(&write).unwrap();
    stores.state.flush().unwrap();
    root
}

fn reopen(root: &TempDir) -> OpenError {
    open_dir(root.path()).unwrap_err()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn each_start_has_a_higher_boot_and_the_same_instance() {
    let root = TempDir::new().unwrap();
    for boot in 1..=3 {
        let dir = DataDir::open(root.path(), node(1), InstanceId(boot.into()), &quiet()).unwrap();
        assert_eq!(dir.identity().boot, Boot(boot));
        assert_eq!(dir.identity().instance, InstanceId(1), "drawn once");
        assert_eq!(dir.identity().formation, None);
    }
}

#[test]
fn the_cluster_is_recorded_once_and_for_ever() {
    let root = used_folder();
    let mut dir = open_dir(root.path()).unwrap();
    assert_eq!(dir.identity().formation, Some(formation()));
    dir.form(formation()).unwrap();
    let other = Formation {
        cluster: ClusterId(6),
        founder: node(2),
    };
    let error = dir.form(other).unwrap_err();
    assert!(matches!(error, FormError::OtherCluster { .. }), "{error}");
    assert_eq!(dir.identity().formation, Some(formation()));
}

#[test]
fn a_folder_in_use_is_refused_and_left_as_it_is() {
    let root = TempDir::new().unwrap();
    let first = open_dir(root.path()).unwrap();
    let error = reopen(&root);
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains(&root.path().display().to_string())
    );
    drop(first);
    assert_eq!(open_dir(root.path()).unwrap().identity().boot, Boot(2));
}

#[test]
fn the_folder_of_another_node_is_refused() {
    let root = used_folder();
    let error = DataDir::open(root.path(), node(9), InstanceId(1), &quiet()).unwrap_err();
    assert!(matches!(error, OpenError::OtherNode { .. }), "{error}");
    assert!(error.to_string().contains("set node-id to 1"), "{error}");
    assert_eq!(
        open_dir(root.path()).unwrap().identity().boot,
        Boot(2),
        "not counted"
    );
}

#[test]
fn a_missing_identity_beside_data_is_refused() {
    let root = used_folder();
    fs::remove_file(root.path().join("identity")).unwrap();
    let error = reopen(&root);
    assert!(
        matches!(error, OpenError::IdentityMissing { .. }),
        "{error}"
    );
}

#[test]
fn a_damaged_identity_is_refused() {
    let root = used_folder();
    let path = root.path().join("identity");
    let mut file = fs::read(&path).unwrap();
    file[30] ^= 1;
    fs::write(&path, file).unwrap();
    let error = reopen(&root);
    assert!(
        matches!(error, OpenError::IdentityDamaged { .. }),
        "{error}"
    );
    fs::write(&path, []).unwrap();
    assert!(matches!(reopen(&root), OpenError::IdentityDamaged { .. }));
}

#[test]
fn an_emptied_folder_of_a_formed_node_is_refused() {
    let root = used_folder();
    fs::remove_dir_all(root.path().join("raft")).unwrap();
    let error = reopen(&root);
    assert!(matches!(error, OpenError::LogMissing { .. }), "{error}");
}

#[test]
fn a_raft_folder_without_its_files_is_damage_and_not_a_new_log() {
    let root = used_folder();
    let raft = root.path().join("raft");
    fs::remove_dir_all(&raft).unwrap();
    fs::create_dir(&raft).unwrap();
    let error = open_dir(root.path()).unwrap().open_stores().unwrap_err();
    assert!(
        matches!(error, OpenStoreError::LogDamaged { .. }),
        "{error}"
    );
}

#[test]
fn what_a_crash_leaves_of_a_first_start_is_used() {
    let root = TempDir::new().unwrap();
    drop(open_dir(root.path()).unwrap());
    let half = root.path().join("raft.new");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("CURRENT"), "half").unwrap();
    fs::write(root.path().join("identity.new"), "half").unwrap();
    let mut dir = open_dir(root.path()).unwrap();
    let stores = dir.open_stores().unwrap();
    assert_eq!(stores.reader.verify(), Ok(0));
    assert!(!half.exists());
}

#[test]
fn a_lost_applied_state_is_made_anew() {
    let root = used_folder();
    fs::remove_dir_all(root.path().join("state")).unwrap();
    let stores = open_dir(root.path()).unwrap().open_stores().unwrap();
    assert_eq!(
        stores.state.applied(),
        LogIndex(0),
        "to be applied again from the log"
    );
    assert_eq!(stores.reader.verify(), Ok(9));
}

#[test]
fn an_applied_state_ahead_of_the_log_means_that_the_log_is_damaged() {
    let root = used_folder();
    let mut stores = open_dir(root.path()).unwrap().open_stores().unwrap();
    let write = StateWrite {
        applied: LogIndex(10),
        ..StateWrite::default()
    };
    stores.state.write(&write).unwrap();
    drop(stores);
    let error = open_dir(root.path()).unwrap().open_stores().unwrap_err();
    assert!(
        matches!(error, OpenStoreError::LogDamaged { .. }),
        "{error}"
    );
}

#[test]
fn an_applied_state_that_the_log_cannot_rebuild_is_refused_or_begins_with_nothing() {
    let root = used_folder();
    let old = root.path().join("old");
    crate::common::copy_dir(&root.path().join("state"), &old);
    let mut stores = open_dir(root.path()).unwrap().open_stores().unwrap();
    let write = StateWrite {
        applied: LogIndex(9),
        ..StateWrite::default()
    };
    stores.state.write(&write).unwrap();
    stores.state.flush().unwrap();
    stores.writer.truncate(&all_up_to(6)).unwrap();
    drop(stores);
    drop(open_dir(root.path()).unwrap().open_stores().unwrap());
    let state = root.path().join("state");
    fs::remove_dir_all(&state).unwrap();
    fs::rename(&old, &state).unwrap();
    let error = open_dir(root.path()).unwrap().open_stores().unwrap_err();
    assert!(
        matches!(error, OpenStoreError::StateTooOld { .. }),
        "{error}"
    );
    fs::remove_dir_all(&state).unwrap();
    let stores = open_dir(root.path()).unwrap().open_stores().unwrap();
    assert_eq!(stores.state.applied(), LogIndex(0), "a snapshot is needed");
    assert_eq!(stores.writer.bounds().unwrap().truncated_index, LogIndex(6));
}

#[test]
fn a_stored_commit_behind_what_is_applied_is_raised() {
    let root = TempDir::new().unwrap();
    let mut stores = open_dir(root.path()).unwrap().open_stores().unwrap();
    stores.writer.write(&[batch_write(1..=9, 1, 2)]).unwrap();
    let write = StateWrite {
        applied: LogIndex(7),
        ..StateWrite::default()
    };
    stores.state.write(&write).unwrap();
    drop(stores);
    for _ in 0..2 {
        let stores = open_dir(root.path()).unwrap().open_stores().unwrap();
        let bounds = stores.writer.bounds().unwrap();
        assert_eq!(bounds.hard_state.commit, LogIndex(7));
        assert_eq!(
            (bounds.hard_state.term.0, bounds.hard_state.vote),
            (1, Some(node(1)))
        );
    }
}

#[test]
fn a_log_that_has_held_more_is_damaged() {
    let root = TempDir::new().unwrap();
    let mut dir = open_dir(root.path()).unwrap();
    let mut stores = dir.open_stores().unwrap();
    stores.writer.write(&[batch_write(1..=9, 3, 5)]).unwrap();
    dir.raise_floor(&stores.writer.bounds().unwrap().hard_state)
        .unwrap();
    drop((dir, stores));
    let refused = |term, commit| {
        fs::remove_dir_all(root.path().join("raft")).unwrap();
        let mut stores = open_log(&root.path().join("raft")).unwrap();
        stores
            .1
            .write(&[batch_write(1..=commit, term, commit)])
            .unwrap();
        drop(stores);
        let opened = open_dir(root.path()).unwrap().open_stores();
        opened.map(drop).map_err(|error| error.to_string())
    };
    assert!(refused(3, 4).unwrap_err().contains("has held entry 5"));
    assert!(refused(2, 5).unwrap_err().contains("has been in term 3"));
    refused(3, 5).unwrap();
}

#[test]
fn nobody_else_can_read_the_folder() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("a/b/data");
    drop(open_dir(&path).unwrap().open_stores().unwrap());
    assert_eq!(mode(&path), 0o700);
    for file in ["LOCK", "identity"] {
        assert_eq!(mode(&path.join(file)), 0o600, "{file}");
    }
    for folder in ["raft", "state"] {
        assert_eq!(mode(&path.join(folder)), 0o700, "{folder}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    drop(open_dir(&path).unwrap());
    assert_eq!(mode(&path), 0o700, "an open folder is closed at start");
}

#[test]
fn a_folder_that_cannot_be_made_is_a_clear_error() {
    let root = TempDir::new().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let error = open_dir(&file.join("data")).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
    assert!(error.to_string().contains("file/data"), "{error}");
}
