//! The applied state as a file: written in one go, sent in pieces, checked while it is received.
//!
//! ```text
//! file   magic:8 frame(header) frame(rows)* end
//! frame  len:u32 crc32c:u32 payload            (len > 0; the checksum is over the payload)
//! header format:u8 index:u64 term:u64 state_hash:u64 nodes(voters) nodes(learners)
//! nodes  count:u32 (node:u64)*
//! rows   (key:bytes value:bytes)*              (bytes are len:u32 and so many; keys ascend over the whole file)
//! end    0:u32 rows:u64 hash:u64               (the hash is XXH3-64 over all that is before it)
//! ```
//!
//! A frame of rows is closed when it has [`CHUNK_BYTES`] or more, so that what is in memory at once is bounded by that
//! and the largest row. Where it is closed depends on nothing else: nodes with equal rows make equal files.
//!
//! Not here: files, folders, where the rows are kept.

mod read;

pub use read::{SnapshotError, SnapshotReader, SnapshotRows};

use crate::rows::{Key, Meta};
use crate::store::StateStoreError;
use bytes::Bytes;
use corgi_base::codec::{DecodeError, Reader, put_bytes};
use corgi_base::{LogIndex, NodeId, SnapshotFile, SnapshotMeta, Term};
use std::io;
use xxhash_rust::xxh3::Xxh3;

/// Rows are put together until they have so many bytes.
pub const CHUNK_BYTES: usize = 256 << 10;

const MAGIC: &[u8; 8] = b"CORGISNP";
const FORMAT: u8 = 1;

/// Why a snapshot was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteSnapshotError {
    /// The rows cannot be read.
    #[error(transparent)]
    Rows(#[from] StateStoreError),
    /// The first row is not the one that says what is applied: nothing is applied yet, or the rows are not in order.
    #[error("the applied state does not begin with a row that says what is applied: {0}")]
    Meta(DecodeError),
    /// There are no rows.
    #[error("nothing is applied yet")]
    Empty,
    /// The disk refused.
    #[error("write the snapshot: {0}")]
    Io(#[from] io::Error),
}

/// Writes the rows of the applied state, which come in key order and all of one moment.
///
/// # Errors
/// [`WriteSnapshotError`]; what was written is worth nothing then.
pub fn write<W: io::Write>(
    out: W,
    rows: impl Iterator<Item = Result<(Bytes, Bytes), StateStoreError>>,
) -> Result<(W, SnapshotMeta, SnapshotFile), WriteSnapshotError> {
    let mut rows = rows.peekable();
    let header = match rows.peek() {
        None => return Err(WriteSnapshotError::Empty),
        Some(Err(error)) => return Err(error.clone().into()),
        Some(Ok((key, value))) => Header::of_row(key, value).map_err(WriteSnapshotError::Meta)?,
    };
    let mut out = Out {
        out,
        hash: Xxh3::new(),
        bytes: 0,
    };
    out.put(MAGIC)?;
    out.frame(&header.encode())?;
    let mut chunk = Vec::new();
    let mut count = 0u64;
    for row in rows {
        let (key, value) = row?;
        count += 1;
        put_bytes(&mut chunk, &key);
        put_bytes(&mut chunk, &value);
        if chunk.len() >= CHUNK_BYTES {
            out.frame(&chunk)?;
            chunk.clear();
        }
    }
    if !chunk.is_empty() {
        out.frame(&chunk)?;
    }
    out.put(&[0; 4])?;
    out.put(&count.to_be_bytes())?;
    let hash = out.hash.digest();
    out.put(&hash.to_be_bytes())?;
    let file = SnapshotFile {
        index: header.meta.index,
        term: header.meta.term,
        bytes: out.bytes,
        hash,
    };
    Ok((out.out, header.meta, file))
}

struct Out<W> {
    out: W,
    hash: Xxh3,
    bytes: u64,
}

impl<W: io::Write> Out<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn frame(&mut self, payload: &[u8]) -> io::Result<()> {
        let len = u32::try_from(payload.len()).map_err(io::Error::other)?;
        self.put(&len.to_be_bytes())?;
        self.put(&crc32c::crc32c(payload).to_be_bytes())?;
        self.put(payload)
    }
}

/// What a snapshot says of itself; the same as its first row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What Raft needs to know.
    pub meta: SnapshotMeta,
    /// The running hash of the state (I15, I16).
    pub state_hash: u64,
}

impl Header {
    /// Reads it from the first row of a state.
    fn of_row(key: &Bytes, value: &Bytes) -> Result<Self, DecodeError> {
        if Key::decode(key)? != Key::Meta {
            return Err(DecodeError::Invalid {
                field: "first row of a state",
            });
        }
        let row = Meta::decode(value.clone())?;
        Ok(Self {
            meta: SnapshotMeta {
                index: row.applied,
                term: row.applied_term,
                voters: row.voters,
                learners: row.learners,
            },
            state_hash: row.hash,
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        for number in [self.meta.index.0, self.meta.term.0, self.state_hash] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        for nodes in [&self.meta.voters, &self.meta.learners] {
            let count = u32::try_from(nodes.len()).expect("a cluster has few members");
            out.extend_from_slice(&count.to_be_bytes());
            out.extend(nodes.iter().flat_map(|node| node.get().to_be_bytes()));
        }
        out
    }

    fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(payload);
        match r.u8("snapshot format")? {
            FORMAT => {}
            format => {
                return Err(DecodeError::Unknown {
                    field: "snapshot format",
                    value: format.into(),
                });
            }
        }
        let (index, term) = (LogIndex(r.u64("index")?), Term(r.u64("term")?));
        let state_hash = r.u64("state hash")?;
        let (voters, learners) = (
            read_nodes(&mut r, "voters")?,
            read_nodes(&mut r, "learners")?,
        );
        r.finish()?;
        Ok(Self {
            meta: SnapshotMeta {
                index,
                term,
                voters,
                learners,
            },
            state_hash,
        })
    }
}

fn read_nodes(r: &mut Reader, field: &'static str) -> Result<Vec<NodeId>, DecodeError> {
    let count = r.u32(field)?;
    (0..count).map(|_| r.node_id(field)).collect()
}

#[cfg(test)]
mod tests;
