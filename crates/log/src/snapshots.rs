//! The files of snapshots: one that this node made, to be sent, and one that it receives.
//!
//! ```text
//! <dir>/snapshots/
//!   made.snap                              made.new until it is complete
//!   received-<index>-<term>-<bytes>-<hash>.part      what has come so far
//!   received-<index>-<term>-<bytes>-<hash>.snap      complete, synced, and as it was made
//!   install.snap                           the one that is being installed (see install.rs)
//! ```
//!
//! Numbers in names are decimal, the hash is hexadecimal. What is in a file: `corgi_state::snapshot`.
//!
//! Invariants
//! - A name that ends in `.snap` is given to a file when all of it is synced.
//! - What has come of a file survives a restart, and is checked again before more is added.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use corgi_base::{SnapshotFile, SnapshotMeta};
use corgi_consensus::storage::LogReader;
use corgi_state::snapshot::{self, SnapshotReader, WriteSnapshotError};
use corgi_state::store::StateStoreError;

use crate::identity::sync_dir;
use crate::state::StateReader;

const FOLDER: &str = "snapshots";
const MADE: &str = "made.snap";
const MAKING: &str = "made.new";
const INSTALL: &str = "install.snap";
const RECEIVED: &str = "received-";
/// A received file is checked again in pieces of so many bytes.
const PIECE_BYTES: usize = 256 << 10;

/// A state that is being replaced is asked for again after so long, and so often.
const TRY_AGAIN: Duration = Duration::from_millis(50);
const TRIES_MAX: u32 = 2000;

/// Why a snapshot could not be kept. The process must end, as after any failed write.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotFileError {
    /// The operating system refused.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried, such as `write`.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The applied state could not be read, or not be written down.
    #[error("make {path}: {source}")]
    Make {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: WriteSnapshotError,
    },
}

/// What became of bytes that were received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// More is needed, from this byte on.
    Next(u64),
    /// The file is complete, synced, and as it was made.
    Complete,
    /// What came is not what was made; all of it is removed.
    Damaged(String),
}

/// A file that is received.
#[derive(Debug)]
struct Incoming {
    file: SnapshotFile,
    /// Checks what comes; knows how much has come.
    reader: SnapshotReader,
    out: File,
}

/// The snapshots of one node.
#[derive(Debug)]
pub struct SnapshotFolder {
    path: PathBuf,
    made: Option<(SnapshotFile, File)>,
    incoming: Option<Incoming>,
    /// The name of the last one that was complete: it may be about to be installed.
    complete: Option<String>,
}

impl SnapshotFolder {
    /// Opens the folder in the data folder `dir`, or creates it. What was made by an earlier process is removed: it may
    /// be older than what the log still has.
    pub(crate) fn open(dir: &Path) -> Result<Self, SnapshotFileError> {
        let path = dir.join(FOLDER);
        if !fs::exists(&path).map_err(refused("look for", &path))? {
            let created = DirBuilder::new().mode(0o700).create(&path);
            created.map_err(refused("create", &path))?;
            sync_dir(dir).map_err(refused("sync", dir))?;
        }
        let folder = Self {
            path,
            made: None,
            incoming: None,
            complete: None,
        };
        for name in [MADE, MAKING] {
            folder.remove(name)?;
        }
        Ok(folder)
    }

    /// Makes a snapshot of the applied state, with the payloads that only the log has, in place of an older one; `None`
    /// if nothing is applied yet.
    ///
    /// # Errors
    /// [`SnapshotFileError`].
    pub fn make(
        &mut self,
        state: &StateReader,
        log: &impl LogReader,
    ) -> Result<Option<(SnapshotMeta, SnapshotFile)>, SnapshotFileError> {
        self.made = None;
        let (making, made) = (self.path.join(MAKING), self.path.join(MADE));
        let mut tries = 0;
        let written = loop {
            let file = create(&making).map_err(refused("create", &making))?;
            let out = BufWriter::with_capacity(PIECE_BYTES, file);
            // A state that is being replaced is there again soon.
            if let Some(written) = state.with_rows(log, |rows| snapshot::write(out, rows)) {
                break written;
            }
            tries += 1;
            if tries == TRIES_MAX {
                let what = "the log does not have entries whose payloads are kept".to_owned();
                let source = StateStoreError {
                    action: "read",
                    what,
                }
                .into();
                let path = making;
                return Err(SnapshotFileError::Make { path, source });
            }
            std::thread::sleep(TRY_AGAIN);
        };
        let (out, meta, name) = match written {
            Ok(written) => written,
            Err(WriteSnapshotError::Empty) => return Ok(None),
            Err(source) => {
                let path = making;
                return Err(SnapshotFileError::Make { path, source });
            }
        };
        let write = refused("write", &making);
        let synced = out.into_inner().map_err(io::IntoInnerError::into_error);
        let synced = synced.and_then(|file| file.sync_all());
        synced.map_err(write)?;
        self.rename(&making, &made)?;
        let file = File::open(&made).map_err(refused("open", &made))?;
        self.made = Some((name, file));
        Ok(Some((meta, name)))
    }

    /// Reads bytes of the snapshot that was made; `None` if it is not that one.
    ///
    /// # Errors
    /// [`SnapshotFileError`].
    pub fn read(
        &self,
        wanted: &SnapshotFile,
        offset: u64,
        len: u32,
    ) -> Result<Option<Bytes>, SnapshotFileError> {
        let Some((_, file)) = self.made.as_ref().filter(|(made, _)| made == wanted) else {
            return Ok(None);
        };
        let left = wanted.bytes.saturating_sub(offset).min(u64::from(len));
        let mut bytes = vec![0; usize::try_from(left).expect("a u32 fits")];
        let read = file.read_exact_at(&mut bytes, offset);
        read.map_err(refused("read", &self.path.join(MADE)))?;
        Ok(Some(bytes.into()))
    }

    /// Returns how much is there of a file that is to be received, all of it only if it is complete and was checked.
    /// What is there of any other is removed, but for the last one that was complete.
    ///
    /// # Errors
    /// [`SnapshotFileError`].
    pub fn find(&mut self, file: SnapshotFile) -> Result<u64, SnapshotFileError> {
        if let Some(incoming) = self.incoming.as_ref().filter(|it| it.file == file) {
            return Ok(incoming.reader.position());
        }
        self.incoming = None;
        let (part, complete) = (name(&file, "part"), name(&file, "snap"));
        self.remove_received(&[&part, &complete])?;
        let path = self.path.join(&complete);
        if fs::exists(&path).map_err(refused("look for", &path))? {
            self.complete = Some(complete);
            return Ok(file.bytes);
        }
        let reader = self.check_part(file)?;
        let position = reader.position();
        let path = self.path.join(&part);
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        let out = opened.map_err(refused("open", &path))?;
        self.incoming = Some(Incoming { file, reader, out });
        Ok(position)
    }

    /// Adds bytes to the file that is received, and checks them. What does not belong at its end is left aside.
    ///
    /// # Errors
    /// [`SnapshotFileError`].
    pub fn write(
        &mut self,
        file: SnapshotFile,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Received, SnapshotFileError> {
        let position = self.find(file)?;
        let Some(incoming) = &mut self.incoming else {
            return Ok(Received::Complete);
        };
        if offset != position {
            return Ok(Received::Next(position));
        }
        if let Err(error) = incoming.reader.push(bytes) {
            self.discard()?;
            return Ok(Received::Damaged(error.to_string()));
        }
        let part = self.path.join(name(&file, "part"));
        let written = incoming.out.write_all_at(bytes, offset);
        written.map_err(refused("write", &part))?;
        if !incoming.reader.is_complete() {
            return Ok(Received::Next(incoming.reader.position()));
        }
        let synced = incoming.out.sync_all();
        synced.map_err(refused("sync", &part))?;
        self.incoming = None;
        let complete = name(&file, "snap");
        self.rename(&part, &self.path.join(&complete))?;
        self.complete = Some(complete);
        Ok(Received::Complete)
    }

    /// Removes what was received, but for the last one that was complete.
    ///
    /// # Errors
    /// [`SnapshotFileError`].
    pub fn discard(&mut self) -> Result<(), SnapshotFileError> {
        self.incoming = None;
        self.remove_received(&[])
    }

    /// Reads what is there of a file again. What does not fit begins anew.
    fn check_part(&self, file: SnapshotFile) -> Result<SnapshotReader, SnapshotFileError> {
        let mut reader = SnapshotReader::new(file);
        let path = self.path.join(name(&file, "part"));
        let mut part = match File::open(&path) {
            Ok(part) => part,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(reader),
            Err(error) => return Err(refused("open", &path)(error)),
        };
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = part.read(&mut piece).map_err(refused("read", &path))?;
            if read == 0 && !reader.is_complete() {
                return Ok(reader);
            }
            // One that is complete was not synced: it begins anew too.
            if read == 0 || reader.push(&piece[..read]).is_err() {
                fs::remove_file(&path).map_err(refused("remove", &path))?;
                return Ok(SnapshotReader::new(file));
            }
        }
    }

    fn remove_received(&self, but: &[&str]) -> Result<(), SnapshotFileError> {
        for entry in fs::read_dir(&self.path).map_err(refused("list", &self.path))? {
            let found = entry.map_err(refused("list", &self.path))?.file_name();
            let found = found.to_string_lossy();
            let kept = self.complete.as_deref() == Some(&found) || but.contains(&&*found);
            if found.starts_with(RECEIVED) && !kept {
                self.remove(&found)?;
            }
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), SnapshotFileError> {
        remove(&self.path.join(name))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), SnapshotFileError> {
        fs::rename(from, to).map_err(refused("rename", from))?;
        sync_dir(&self.path).map_err(refused("sync", &self.path))
    }
}

/// The snapshot that is being installed.
pub(crate) struct Installing {
    folder: PathBuf,
}

impl Installing {
    /// In the data folder `dir`.
    pub(crate) fn of(dir: &Path) -> Self {
        Self {
            folder: dir.join(FOLDER),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join(INSTALL)
    }

    /// Takes a received file, durably: nobody else removes it from now on.
    pub(crate) fn claim(&self, file: &SnapshotFile) -> Result<(), SnapshotFileError> {
        let received = self.folder.join(name(file, "snap"));
        fs::rename(&received, self.path()).map_err(refused("rename", &received))?;
        sync_dir(&self.folder).map_err(refused("sync", &self.folder))
    }

    /// Removes it.
    pub(crate) fn remove(&self) -> Result<(), SnapshotFileError> {
        remove(&self.path())
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

fn remove(path: &Path) -> Result<(), SnapshotFileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(refused("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn name(file: &SnapshotFile, suffix: &str) -> String {
    let SnapshotFile {
        index,
        term,
        bytes,
        hash,
    } = file;
    format!("{RECEIVED}{index}-{term}-{bytes}-{hash:016x}.{suffix}")
}

fn refused(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SnapshotFileError {
    let path = path.to_owned();
    move |source| SnapshotFileError::Io {
        action,
        path,
        source,
    }
}
