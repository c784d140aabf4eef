//! Checking and reading a snapshot, piece by piece.

use super::{Header, MAGIC};
use crate::store::StateStoreError;
use bytes::{Buf, Bytes, BytesMut};
use corgi_base::SnapshotFile;
use corgi_base::codec::{DecodeError, Reader};
use std::collections::VecDeque;
use std::{fmt, io};
use xxhash_rust::xxh3::Xxh3;

/// What is between the last row and the end of the file: a length of 0, the count of rows, and the hash.
const END_BYTES: usize = 4 + 8 + 8;

/// Why the bytes are not the snapshot that they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot of entry {index} is damaged at byte {offset}: {what}")]
pub struct SnapshotError {
    /// Which snapshot.
    pub index: u64,
    /// Where in the file the part begins that is wrong.
    pub offset: u64,
    /// What does not fit.
    pub what: String,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Magic,
    Header,
    Rows,
    Nothing,
}

/// Takes the bytes of a file in order, in pieces of any size, and gives its rows. What it keeps is one frame.
pub struct SnapshotReader {
    file: SnapshotFile,
    next: Next,
    /// What has come and was not looked at.
    buffer: BytesMut,
    /// Where `buffer` begins in the file.
    offset: u64,
    hash: Box<Xxh3>,
    header: Option<Header>,
    rows: u64,
    last_key: Option<Bytes>,
}

impl fmt::Debug for SnapshotReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotReader")
            .field("file", &self.file)
            .field("next", &self.next)
            .field("position", &self.position())
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl SnapshotReader {
    /// Begins with the first byte of `file`.
    pub fn new(file: SnapshotFile) -> Self {
        Self {
            file,
            next: Next::Magic,
            buffer: BytesMut::new(),
            offset: 0,
            hash: Box::new(Xxh3::new()),
            header: None,
            rows: 0,
            last_key: None,
        }
    }

    /// Returns which byte of the file must come next.
    pub fn position(&self) -> u64 {
        self.offset + self.buffer.len() as u64
    }

    /// Whether the whole file has come, and is as it was made.
    pub fn is_complete(&self) -> bool {
        self.next == Next::Nothing
    }

    /// Returns what the snapshot says of itself, once that has come.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Takes the next bytes, and returns the rows that are complete with them.
    ///
    /// # Errors
    /// [`SnapshotError`] at the first part that is not as it was made.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<(Bytes, Bytes)>, SnapshotError> {
        if bytes.len() as u64 > self.file.bytes - self.position() {
            return Err(self.wrong(format!("it is longer than {} bytes", self.file.bytes)));
        }
        self.buffer.extend_from_slice(bytes);
        let mut rows = Vec::new();
        while self.step(&mut rows)? {}
        if self.position() == self.file.bytes && self.next != Next::Nothing {
            return Err(self.wrong("it ends too early"));
        }
        Ok(rows)
    }

    /// Looks at the next part. Returns whether there may be another one.
    fn step(&mut self, rows: &mut Vec<(Bytes, Bytes)>) -> Result<bool, SnapshotError> {
        match self.next {
            Next::Magic => {
                if self.buffer.len() < MAGIC.len() {
                    return Ok(false);
                }
                if !self.buffer.starts_with(MAGIC) {
                    return Err(self.wrong("it does not begin as a snapshot does"));
                }
                self.take(MAGIC.len());
                self.next = Next::Header;
                Ok(true)
            }
            Next::Header | Next::Rows => self.frame(rows),
            Next::Nothing => Ok(false),
        }
    }

    fn frame(&mut self, rows: &mut Vec<(Bytes, Bytes)>) -> Result<bool, SnapshotError> {
        let Some(len) = self.buffer.first_chunk::<4>() else {
            return Ok(false);
        };
        let len = u64::from(u32::from_be_bytes(*len));
        if len == 0 {
            return self.end();
        }
        if len + 8 + END_BYTES as u64 > self.file.bytes - self.offset {
            return Err(self.wrong(format!("{len} bytes do not fit into what is left of it")));
        }
        let Some((crc, payload)) = self.buffer[4..].split_first_chunk::<4>() else {
            return Ok(false);
        };
        let Some(payload) = payload.get(..usize::try_from(len).unwrap_or(usize::MAX)) else {
            return Ok(false);
        };
        if *crc != crc32c::crc32c(payload).to_be_bytes() {
            return Err(self.wrong("a wrong checksum"));
        }
        let size = payload.len();
        let payload = self.buffer_slice(8, size);
        if self.next == Next::Header {
            self.take_header(payload)?;
            self.next = Next::Rows;
        } else {
            self.take_rows(payload, rows)?;
        }
        self.take(8 + size);
        Ok(true)
    }

    /// Returns a copy of its own, so that rows share a frame and not more.
    fn buffer_slice(&self, from: usize, len: usize) -> Bytes {
        Bytes::copy_from_slice(&self.buffer[from..from + len])
    }

    fn take_header(&mut self, payload: Bytes) -> Result<(), SnapshotError> {
        let header = Header::decode(payload).map_err(|error| self.wrong(error))?;
        let (index, term) = (header.meta.index, header.meta.term);
        if (index, term) != (self.file.index, self.file.term) {
            return Err(self.wrong(format!("it is of entry {index}@{term}")));
        }
        self.header = Some(header);
        Ok(())
    }

    fn take_rows(
        &mut self,
        payload: Bytes,
        rows: &mut Vec<(Bytes, Bytes)>,
    ) -> Result<(), SnapshotError> {
        let mut r = Reader::new(payload);
        while r.left() > 0 {
            let row = r.bytes("key").and_then(|key| Ok((key, r.bytes("value")?)));
            let (key, value) = row.map_err(|error: DecodeError| self.wrong(error))?;
            if self.last_key.as_ref().is_some_and(|last| *last >= key) {
                return Err(self.wrong("rows out of order"));
            }
            if self.rows == 0 && Header::of_row(&key, &value).ok() != self.header {
                return Err(self.wrong("its first row does not say what its head says"));
            }
            self.last_key = Some(key.clone());
            self.rows += 1;
            rows.push((key, value));
        }
        Ok(())
    }

    fn end(&mut self) -> Result<bool, SnapshotError> {
        if self.buffer.len() < END_BYTES {
            return Ok(false);
        }
        let mut r = Reader::new(self.buffer_slice(4, END_BYTES - 4));
        let (count, hash) = (
            r.u64("row count").map_err(|error| self.wrong(error))?,
            r.u64("hash").map_err(|error| self.wrong(error))?,
        );
        if self.next == Next::Header || self.rows == 0 || count != self.rows {
            return Err(self.wrong(format!("{count} rows were written, {} are here", self.rows)));
        }
        self.hash.update(&self.buffer[..END_BYTES - 8]);
        if hash != self.hash.digest() || hash != self.file.hash {
            return Err(self.wrong("a wrong hash over the whole file"));
        }
        self.offset += END_BYTES as u64;
        self.buffer.advance(END_BYTES);
        if self.offset != self.file.bytes {
            return Err(self.wrong("bytes after its end"));
        }
        self.next = Next::Nothing;
        Ok(false)
    }

    fn take(&mut self, count: usize) {
        self.hash.update(&self.buffer[..count]);
        self.offset += count as u64;
        self.buffer.advance(count);
    }

    fn wrong(&self, what: impl fmt::Display) -> SnapshotError {
        SnapshotError {
            index: self.file.index.0,
            offset: self.offset,
            what: what.to_string(),
        }
    }
}

/// The rows of a file, checked: for [`crate::store::StateStore::replace`]. Ends with an error unless the file was read
/// to its end.
#[derive(Debug)]
pub struct SnapshotRows<R> {
    input: R,
    reader: SnapshotReader,
    rows: VecDeque<(Bytes, Bytes)>,
    piece: Vec<u8>,
    failed: bool,
}

impl<R: io::Read> SnapshotRows<R> {
    /// Reads `file` from its first byte on.
    pub fn new(input: R, file: SnapshotFile) -> Self {
        Self {
            input,
            reader: SnapshotReader::new(file),
            rows: VecDeque::new(),
            piece: vec![0; 64 << 10],
            failed: false,
        }
    }

    /// Reads until a row is here or the file is complete.
    fn fill(&mut self) -> Result<(), String> {
        while self.rows.is_empty() && !self.reader.is_complete() {
            let count = self.input.read(&mut self.piece);
            let count = count.map_err(|error| error.to_string())?;
            if count == 0 {
                let (position, bytes) = (self.reader.position(), self.reader.file.bytes);
                return Err(format!(
                    "the snapshot ends after {position} of {bytes} bytes"
                ));
            }
            let rows = self.reader.push(&self.piece[..count]);
            self.rows.extend(rows.map_err(|error| error.to_string())?);
        }
        Ok(())
    }
}

impl<R: io::Read> Iterator for SnapshotRows<R> {
    type Item = Result<(Bytes, Bytes), StateStoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        if let Err(what) = self.fill() {
            self.failed = true;
            let action = "read a snapshot of";
            return Some(Err(StateStoreError { action, what }));
        }
        self.rows.pop_front().map(Ok)
    }
}
