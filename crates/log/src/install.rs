//! Installing a snapshot: the log and the applied state are replaced by it, as one thing that a crash cannot halve.
//!
//! | step | what is on disk after it | what a start after a crash does |
//! |---|---|---|
//! | 1. claim | the received file is `snapshots/install.snap`, and reads as it was made | removes it; nothing has happened |
//! | 2. reset the log | one synced write: no entries, truncated at the snapshot, hard state, note | steps 3 and 4 |
//! | 3. replace the state | `state/` has the rows of the snapshot, flushed | steps 3 and 4 |
//! | 4. finish | the note is gone, and the file | |
//!
//! A file that is damaged after step 2 costs the state, not the node: its log is sound, and empty, so that it starts
//! without a state and gets another snapshot.
//!
//! The note is a row of `raft/` ([`LogBounds::installing`](corgi_consensus::storage::LogBounds)).

use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use corgi_base::{LogIndex, SnapshotFile, Term};
use corgi_consensus::storage::{LogInstall, LogWriter as _, WriteLogError};
use corgi_state::snapshot::SnapshotRows;
use corgi_state::store::{StateStore as _, StateStoreError};

use crate::raft_log::RocksLogWriter;
use crate::snapshots::{Installing, SnapshotFileError};
use crate::state::RocksState;

/// Why a snapshot was not installed. The process must end; the next start goes on where it makes sense.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A file could not be read, renamed or removed.
    #[error(transparent)]
    File(#[from] SnapshotFileError),
    /// The log could not be written.
    #[error(transparent)]
    Log(#[from] WriteLogError),
    /// The applied state could not be replaced.
    #[error("install {path}: {source}")]
    State {
        /// The snapshot.
        path: PathBuf,
        /// What went wrong.
        source: StateStoreError,
    },
    /// The file is not any more what was received. Nothing was replaced.
    #[error(
        "{path} is damaged: it was received whole. Check the disk; the next start receives it again"
    )]
    Damaged {
        /// The snapshot.
        path: PathBuf,
    },
    /// The snapshot could not be read.
    #[error("read {path}: {source}")]
    Read {
        /// The snapshot.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// The steps of one installation, in order. For tests, which stop after each.
#[derive(Debug)]
pub struct Install<'a> {
    /// The data folder.
    pub dir: &'a Path,
    /// The Raft log.
    pub log: &'a mut RocksLogWriter,
    /// The applied state.
    pub state: &'a mut RocksState,
}

impl Install<'_> {
    /// Does all steps. The file must have been received and checked.
    ///
    /// # Errors
    /// [`InstallError`].
    pub fn run(&mut self, file: &SnapshotFile, install: &LogInstall) -> Result<(), InstallError> {
        self.claim(file)?;
        if !self.intact(install.index, install.term) {
            let path = Installing::of(self.dir).path();
            return Err(InstallError::Damaged { path });
        }
        self.log.install(install)?;
        self.replace_state(install.index, install.term)?;
        self.finish()
    }

    /// Step 1.
    ///
    /// # Errors
    /// [`InstallError`].
    pub fn claim(&mut self, file: &SnapshotFile) -> Result<(), InstallError> {
        Ok(Installing::of(self.dir).claim(file)?)
    }

    /// Whether the claimed file is there and reads as it was made.
    pub fn intact(&self, index: LogIndex, term: Term) -> bool {
        let rows = Self::rows(&Installing::of(self.dir).path(), index, term);
        rows.is_ok_and(|mut rows| rows.all(|row| row.is_ok()))
    }

    fn rows(path: &Path, index: LogIndex, term: Term) -> io::Result<SnapshotRows<BufReader<File>>> {
        let input = File::open(path)?;
        let (bytes, hash) = end(&input)?;
        let file = SnapshotFile {
            index,
            term,
            bytes,
            hash,
        };
        Ok(SnapshotRows::new(BufReader::new(input), file))
    }

    /// Step 3.
    ///
    /// # Errors
    /// [`InstallError`].
    pub fn replace_state(&mut self, index: LogIndex, term: Term) -> Result<(), InstallError> {
        let path = Installing::of(self.dir).path();
        let rows = Self::rows(&path, index, term);
        let mut rows = rows.map_err(|source| InstallError::Read {
            path: path.clone(),
            source,
        })?;
        let replaced = self.state.replace(index, &mut rows);
        replaced.map_err(|source| InstallError::State {
            path: path.clone(),
            source,
        })
    }

    /// Step 4.
    ///
    /// # Errors
    /// [`InstallError`].
    pub fn finish(&mut self) -> Result<(), InstallError> {
        self.log.installed()?;
        Ok(Installing::of(self.dir).remove()?)
    }
}

/// Returns how long a snapshot is, and the hash at its end.
fn end(file: &File) -> io::Result<(u64, u64)> {
    let bytes = file.metadata()?.len();
    let mut hash = [0; 8];
    let at = bytes.checked_sub(8).ok_or(io::ErrorKind::UnexpectedEof)?;
    file.read_exact_at(&mut hash, at)?;
    Ok((bytes, u64::from_be_bytes(hash)))
}
