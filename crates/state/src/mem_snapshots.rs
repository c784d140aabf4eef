//! Snapshot files in memory, for tests and simulation.
//!
//! Invariants
//! - One that was made, and one that was received as a whole, survive a crash; of one that is received the bytes so far
//!   may.
//! - What is received is checked by the same code as on a real disk.
//!
//! Not here: damaged disks.

use crate::snapshot::{SnapshotError, SnapshotReader, SnapshotRows, write};
use bytes::Bytes;
use corgi_base::{SnapshotFile, SnapshotMeta};

/// The snapshots of one node: the last that it made, and the one that it receives.
#[derive(Debug, Default)]
pub struct MemSnapshots {
    made: Option<(SnapshotFile, Bytes)>,
    incoming: Option<Incoming>,
}

#[derive(Debug)]
struct Incoming {
    file: SnapshotFile,
    bytes: Vec<u8>,
    reader: SnapshotReader,
}

impl MemSnapshots {
    /// Makes one of all rows of a state, in the place of the last.
    ///
    /// # Panics
    /// If the rows are those of no state.
    pub fn make(&mut self, rows: Vec<(Bytes, Bytes)>) -> (SnapshotMeta, SnapshotFile) {
        let written = write(Vec::new(), rows.into_iter().map(Ok));
        let (bytes, meta, file) = written.expect("something is applied");
        self.made = Some((file, bytes.into()));
        (meta, file)
    }

    /// Returns bytes of the one that was made; `None` if it is another.
    pub fn read(&self, file: SnapshotFile, offset: u64, len: u32) -> Option<Bytes> {
        let (_, bytes) = self.made.as_ref().filter(|(made, _)| *made == file)?;
        let from = usize::try_from(offset).ok()?;
        let to = bytes.len().min(from + len as usize);
        (from < to).then(|| bytes.slice(from..to))
    }

    /// Returns how many bytes of a file have been received; those of another are removed.
    pub fn find(&mut self, file: SnapshotFile) -> u64 {
        let incoming = self.incoming.take().filter(|known| known.file == file);
        let incoming = self.incoming.insert(incoming.unwrap_or_else(|| Incoming {
            file,
            bytes: Vec::new(),
            reader: SnapshotReader::new(file),
        }));
        incoming.bytes.len() as u64
    }

    /// Appends to the file that is received; returns how long it is, which is all of it only if it is as it was made.
    ///
    /// # Errors
    /// [`SnapshotError`] at what is not as it was made: the file is removed.
    pub fn write(
        &mut self,
        file: SnapshotFile,
        offset: u64,
        bytes: &[u8],
    ) -> Result<u64, SnapshotError> {
        let at = self.find(file);
        let incoming = self.incoming.as_mut().expect("it was just found");
        if offset == at {
            if let Err(error) = incoming.reader.push(bytes) {
                self.incoming = None;
                return Err(error);
            }
            incoming.bytes.extend_from_slice(bytes);
        }
        Ok(incoming.bytes.len() as u64)
    }

    /// Removes what has been received.
    pub fn discard(&mut self) {
        self.incoming = None;
    }

    /// Returns the rows of a file that was received as a whole.
    ///
    /// # Panics
    /// If it was not.
    pub fn rows(&self, file: SnapshotFile) -> Vec<(Bytes, Bytes)> {
        let incoming = self.incoming.as_ref().filter(|known| known.file == file);
        let incoming = incoming.expect("only what was received is installed");
        let rows = SnapshotRows::new(&incoming.bytes[..], file);
        let rows: Result<_, _> = rows.collect();
        rows.expect("what was received was checked")
    }

    /// Returns the file of the one that was made.
    pub fn made(&self) -> Option<SnapshotFile> {
        self.made.as_ref().map(|(file, _)| *file)
    }

    /// The power fails: of what was received, unless it is complete, so many bytes are left as `keep` says of how many
    /// there were.
    pub fn lose_after(&mut self, keep: impl FnOnce(usize) -> usize) {
        if let Some(incoming) = &mut self.incoming
            && !incoming.reader.is_complete()
        {
            incoming.bytes.truncate(keep(incoming.bytes.len()));
            incoming.reader = SnapshotReader::new(incoming.file);
            let read = incoming.reader.push(&incoming.bytes);
            read.expect("it was checked when it came");
        }
    }

    /// Returns the file that was received as a whole, if one was.
    pub fn received(&self) -> Option<SnapshotFile> {
        let incoming = self.incoming.as_ref();
        let whole = incoming.filter(|incoming| incoming.reader.is_complete());
        whole.map(|incoming| incoming.file)
    }

    /// Changes a bit of the one that was made, as a disk may.
    pub fn spoil(&mut self) {
        if let Some((_, bytes)) = &mut self.made {
            let mut spoiled = bytes.to_vec();
            let middle = spoiled.len() / 2;
            spoiled[middle] ^= 1;
            *bytes = spoiled.into();
        }
    }
}
