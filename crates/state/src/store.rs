//! What must keep the applied state, whatever that is.

use crate::history::Copied;
use bytes::Bytes;
use corgi_base::{FlushedIndex, LogIndex};

/// Changes to the rows of the applied state, with the applied index among them: all or nothing survives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateWrite {
    /// The entry up to which the log is applied once this is written.
    pub applied: LogIndex,
    /// Rows to set; the last of equal keys counts.
    pub puts: Vec<(Bytes, Bytes)>,
    /// Rows to remove.
    pub deletes: Vec<Bytes>,
}

/// Why the applied state could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{action} the applied state: {what}")]
pub struct StateStoreError {
    /// `read`, `write` or `flush`.
    pub action: &'static str,
    /// What the disk said, or what does not fit.
    pub what: String,
}

/// Reads payloads of history that were copied out of the log, beside the writer.
pub trait CopiedReader {
    /// Returns the copies of what a channel keeps of an entry, if there are any.
    ///
    /// # Errors
    /// [`StateStoreError`] if the disk refuses or what it holds is damaged.
    fn copied(&self, index: LogIndex, channel: &[u8]) -> Result<Option<Copied>, StateStoreError>;
}

/// Of a store that keeps no copies.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCopies;

impl CopiedReader for NoCopies {
    fn copied(&self, _: LogIndex, _: &[u8]) -> Result<Option<Copied>, StateStoreError> {
        Ok(None)
    }
}

/// Keeps the rows of the applied state. Writes are atomic and ordered, but not synced: what is lost in a crash is
/// applied again from the log.
pub trait StateStore: Send {
    /// Returns all rows in key order, but for copies of payloads ([`CopiedReader`]).
    ///
    /// # Errors
    /// [`StateStoreError`] if the disk refuses or what it holds is damaged.
    fn rows(&self) -> Result<Vec<(Bytes, Bytes)>, StateStoreError>;

    /// Writes in order; not synced.
    ///
    /// # Errors
    /// [`StateStoreError`], after which the process must end.
    fn write(&mut self, write: &StateWrite) -> Result<(), StateStoreError>;

    /// Makes everything written so far survive a crash.
    ///
    /// # Errors
    /// [`StateStoreError`], after which the process must end.
    fn flush(&mut self) -> Result<(), StateStoreError>;

    /// Returns up to which entry the state survives a crash, as read back from what is flushed.
    ///
    /// # Errors
    /// [`StateStoreError`] if the record is damaged or cannot be read.
    fn flushed(&self) -> Result<FlushedIndex, StateStoreError>;

    /// Replaces all rows by those of a snapshot, and makes them survive a crash. Not atomic: a crash in between leaves
    /// anything, and the log says that it must be done again (`LogBounds::installing`).
    ///
    /// # Errors
    /// [`StateStoreError`], after which the process must end; also any error of `rows`.
    fn replace(
        &mut self,
        applied: LogIndex,
        rows: &mut dyn Iterator<Item = Result<(Bytes, Bytes), StateStoreError>>,
    ) -> Result<(), StateStoreError>;
}
