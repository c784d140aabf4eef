//! A node's data folder: who may use it, whose it is, and the stores in it.
//!
//! ```text
//! <dir>/          mode 0700: nobody else reads what is in it
//!   LOCK          locked while a process uses the folder
//!   identity      whose data this is (see identity.rs)
//!   raft/         the Raft log and hard state
//!   state/        the applied state
//!   snapshots/    of the applied state, to be sent or installed (see snapshots.rs)
//! ```
//!
//! Order of creation: lock, identity, `raft/`, `state/`. The identity names a cluster only once the
//! log exists, so a missing log under such an identity is a loss and not a first start.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use corgi_base::{Boot, Formation, InstanceId, LogIndex, NodeId};
use corgi_consensus::storage::{HardState, LogBounds, LogWrite, LogWriter as _};
use slog::{Logger, info, o, warn};

use crate::error::{FormError, OpenError, OpenStoreError};
use crate::identity::{self, FORMAT, Floor, Identity, Malformed};
use crate::install::Install;
use crate::raft_log::{RocksLogReader, RocksLogWriter, open_log};
use crate::snapshots::{Installing, SnapshotFolder};
use crate::state::{RocksState, open_state};

/// The name of the lock file.
pub(crate) const LOCK: &str = "LOCK";
/// The name of the Raft log's folder.
pub(crate) const RAFT: &str = "raft";
/// The name of the applied state's folder.
pub(crate) const STATE: &str = "state";

/// A data folder that this process has for itself, until the value is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    identity: Identity,
    log: Logger,
    /// Holds the lock: the operating system releases it with the file, however the process ends.
    _lock: File,
}

/// The opened stores of a data folder.
#[derive(Debug)]
pub struct Stores {
    /// For the node, and for cursors.
    pub reader: RocksLogReader,
    /// For the disk thread.
    pub writer: RocksLogWriter,
    /// For the disk thread, too.
    pub state: RocksState,
    /// For the upkeep thread.
    pub snapshots: SnapshotFolder,
}

impl DataDir {
    /// Takes the folder `path` for the node `node_id` and counts a new boot, durably. A folder that
    /// does not exist or is empty is made this node's, under the random name `new_instance`. Without
    /// an id the folder may be anybody's; a new one then belongs to nobody until
    /// [`DataDir::assign`].
    ///
    /// # Errors
    /// [`OpenError`], which names the file, what is wrong and the way out. The folder is then as it
    /// was.
    pub fn open(
        path: &Path,
        node_id: impl Into<Option<NodeId>>,
        new_instance: InstanceId,
        log: &Logger,
    ) -> Result<Self, OpenError> {
        let log = log.new(o!("mod" => "log", "dir" => path.display().to_string()));
        let refused = |action, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io {
                action,
                path,
                source,
            }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(refused("create", path))?;
        let lock = lock(path, &path.join(LOCK), true)?;
        // Only now: the folder is ours. Closed to others before anything is written into it.
        fs::set_permissions(path, Permissions::from_mode(0o700))
            .map_err(refused("set the permissions of", path))?;
        let mut identity = match load(path)? {
            Some(identity) => identity,
            None => Identity {
                instance: new_instance,
                node: None,
                boot: Boot(0),
                formation: None,
                floor: Floor::default(),
            },
        };
        let node_id = node_id.into();
        if let (Some(stored), Some(configured)) = (identity.node, node_id)
            && stored != configured
        {
            let dir = path.to_owned();
            return Err(OpenError::OtherNode {
                dir,
                stored,
                configured,
            });
        }
        let raft = path.join(RAFT);
        if identity.formation.is_some() && !exists(&raft)? {
            return Err(OpenError::LogMissing { path: raft });
        }
        identity.node = identity.node.or(node_id);
        identity.boot = identity.boot.next();
        identity
            .store(path)
            .map_err(refused("write", &identity::path(path)))?;
        info!(log, "opened data folder";
            "node" => identity.node.map_or(0, NodeId::get), "boot" => %identity.boot, "instance" => %identity.instance);
        Ok(Self {
            path: path.to_owned(),
            identity,
            log,
            _lock: lock,
        })
    }

    /// Returns whose data this is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Records, durably and for ever, which node this is, in a folder that belonged to nobody.
    ///
    /// # Errors
    /// What the operating system said, after which the process must end.
    ///
    /// # Panics
    /// If the folder is another node's.
    pub fn assign(&mut self, node: NodeId) -> io::Result<()> {
        let other = self.identity.node.filter(|stored| *stored != node);
        assert!(other.is_none(), "the folder is that of node {other:?}");
        let identity = Identity {
            node: Some(node),
            ..self.identity
        };
        identity.store(&self.path)?;
        self.identity = identity;
        info!(self.log, "the cluster gave an id"; "node" => node.get());
        Ok(())
    }

    /// Records, durably and for ever, to which cluster this node belongs. Call it after
    /// [`DataDir::open_stores`] and before the node votes for the first time. Recording the same
    /// again changes nothing.
    ///
    /// # Errors
    /// [`FormError`] if another one is recorded, or if the file cannot be written, after which the
    /// process must end.
    ///
    /// # Panics
    /// If the Raft log does not exist yet: the next start would take it for lost.
    pub fn form(&mut self, formation: Formation) -> Result<(), FormError> {
        let path = identity::path(&self.path);
        if let Some(stored) = self.identity.formation {
            if stored == formation {
                return Ok(());
            }
            let (stored, wanted) = (stored.cluster, formation.cluster);
            return Err(FormError::OtherCluster {
                path,
                stored,
                wanted,
            });
        }
        assert!(
            self.path.join(RAFT).is_dir(),
            "the cluster is recorded before the log exists"
        );
        let identity = Identity {
            formation: Some(formation),
            ..self.identity
        };
        identity
            .store(&self.path)
            .map_err(|source| FormError::Io { path, source })?;
        // Memory follows the disk, never the other way round.
        self.identity = identity;
        info!(self.log, "recorded cluster"; "cluster" => %formation.cluster);
        Ok(())
    }

    /// Opens the Raft log and the applied state, creating what is not there, and checks them
    /// against each other and against the floor in the identity file, which it then raises. A
    /// stored commit that lags behind what is applied is raised to it: what is applied was
    /// committed.
    ///
    /// # Errors
    /// [`OpenStoreError`] if either is damaged, if they contradict each other, or if the disk
    /// refuses.
    pub fn open_stores(&mut self) -> Result<Stores, OpenStoreError> {
        let raft_path = self.path.join(RAFT);
        let state_path = self.path.join(STATE);
        let (reader, mut writer) = open_log(&raft_path)?;
        let bounds = writer.bounds();
        let damaged = |what| OpenStoreError::LogDamaged {
            path: raft_path.clone(),
            what,
        };
        let mut bounds = bounds.map_err(|error| damaged(error.to_string()))?;
        let snapshots = SnapshotFolder::open(&self.path);
        let snapshots = snapshots.map_err(|error| OpenStoreError::Snapshot {
            path: self.path.clone(),
            what: error.to_string(),
        })?;
        let state = if bounds.installing {
            self.install_again(&mut writer, &bounds)?
        } else {
            open_state(&state_path)?
        };
        let applied = state.applied();
        if let Some(what) = lost(&bounds, applied, &self.identity.floor) {
            return Err(damaged(what));
        }
        let truncated = bounds.truncated_index;
        // Without any state the node asks for a snapshot.
        if applied < truncated && applied > LogIndex(0) {
            return Err(OpenStoreError::StateTooOld {
                path: state_path,
                applied,
                truncated,
            });
        }
        if bounds.hard_state.commit < applied {
            warn!(self.log, "raised the stored commit to what is applied";
                "commit" => %bounds.hard_state.commit, "applied" => %applied);
            bounds.hard_state.commit = applied;
            let raise = LogWrite {
                entries: Vec::new(),
                hard_state: Some(bounds.hard_state),
            };
            let raised = writer.write(&[raise]);
            raised.map_err(|error| OpenStoreError::Io {
                path: raft_path.clone(),
                what: error.to_string(),
            })?;
        }
        let floored = self.raise_floor(&bounds.hard_state);
        floored.map_err(|error| OpenStoreError::Io {
            path: identity::path(&self.path),
            what: error.to_string(),
        })?;
        // One that was claimed and not begun with, or is done with.
        let removed = Installing::of(&self.path).remove();
        removed.map_err(|error| OpenStoreError::Snapshot {
            path: self.path.clone(),
            what: error.to_string(),
        })?;
        info!(self.log, "opened stores"; "term" => %bounds.hard_state.term,
            "first" => %truncated.next(), "last" => %bounds.last_index, "applied" => %applied);
        Ok(Stores {
            reader,
            writer,
            state,
            snapshots,
        })
    }

    /// Does again what is left of an installation that a crash has cut short.
    fn install_again(
        &self,
        log: &mut RocksLogWriter,
        bounds: &LogBounds,
    ) -> Result<RocksState, OpenStoreError> {
        let (index, term) = (bounds.truncated_index, bounds.truncated_term);
        info!(self.log, "goes on with the installation of a snapshot"; "index" => %index, "term" => %term);
        let path = self.path.join(STATE);
        // Whatever a crash has left of it.
        if path.exists() {
            let removed = fs::remove_dir_all(&path);
            removed.map_err(|error| OpenStoreError::Io {
                path: path.clone(),
                what: error.to_string(),
            })?;
        }
        let mut state = open_state(&path)?;
        let mut install = Install {
            dir: &self.path,
            log,
            state: &mut state,
        };
        let replaced = if install.intact(index, term) {
            install.replace_state(index, term)
        } else {
            warn!(self.log, "the snapshot that was being installed is damaged: the node starts without a state, and gets \
                another one"; "index" => %index);
            Ok(())
        };
        let installed = replaced.and_then(|()| install.finish());
        installed.map_err(|error| OpenStoreError::Snapshot {
            path: self.path.clone(),
            what: error.to_string(),
        })?;
        Ok(state)
    }

    /// Records, durably, that the log has held this much, so that the next start notices if it
    /// holds less. Worth doing when the node stops; [`DataDir::open_stores`] does it at each start.
    ///
    /// # Errors
    /// What the operating system said, after which the process must end.
    pub fn raise_floor(&mut self, synced: &HardState) -> io::Result<()> {
        let floor = Floor {
            term: self.identity.floor.term.max(synced.term),
            commit: self.identity.floor.commit.max(synced.commit),
        };
        if floor != self.identity.floor {
            let identity = Identity {
                floor,
                ..self.identity
            };
            identity.store(&self.path)?;
            self.identity = identity;
        }
        Ok(())
    }
}

/// Returns what the log has lost of what was synced, as far as its neighbours know.
pub(crate) fn lost(bounds: &LogBounds, applied: LogIndex, floor: &Floor) -> Option<String> {
    let (term, last) = (bounds.hard_state.term, bounds.last_index);
    if applied > last {
        let what = format!("it ends with entry {last}, but entry {applied} has been applied");
        return Some(what);
    }
    if floor.commit > last {
        let held = floor.commit;
        return Some(format!(
            "it ends with entry {last}, but has held entry {held}"
        ));
    }
    if floor.term > term {
        let held = floor.term;
        return Some(format!("it is in term {term}, but has been in term {held}"));
    }
    None
}

/// Takes the lock of the folder `dir`; with `create` the file is made if it is not there.
pub(crate) fn lock(dir: &Path, path: &Path, create: bool) -> Result<File, OpenError> {
    let refused = |action| {
        let path = path.to_owned();
        move |source| OpenError::Io {
            action,
            path,
            source,
        }
    };
    let file = OpenOptions::new()
        .read(true)
        .write(create)
        .create(create)
        .mode(0o600)
        .open(path)
        .map_err(refused("open"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked {
            dir: dir.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(refused("lock")(source)),
    }
}

/// Reads the identity of a folder; `None` for a folder without data.
pub(crate) fn load(dir: &Path) -> Result<Option<Identity>, OpenError> {
    let path = identity::path(dir);
    let file = match fs::read(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            for data in [RAFT, STATE] {
                let found = dir.join(data);
                if exists(&found)? {
                    return Err(OpenError::IdentityMissing { path, found });
                }
            }
            return Ok(None);
        }
        Err(source) => {
            return Err(OpenError::Io {
                action: "read",
                path,
                source,
            });
        }
    };
    match Identity::decode(&file) {
        Ok(identity) => Ok(Some(identity)),
        Err(Malformed::Damaged(what)) => Err(OpenError::IdentityDamaged { path, what }),
        Err(Malformed::UnknownFormat(format)) => Err(OpenError::UnknownFormat {
            path,
            format,
            known: FORMAT,
        }),
    }
}

fn exists(path: &Path) -> Result<bool, OpenError> {
    let look = |source| OpenError::Io {
        action: "look for",
        path: path.to_owned(),
        source,
    };
    fs::exists(path).map_err(look)
}
