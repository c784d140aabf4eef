//! What a client can ask the log to record, and its bytes.
//!
//! A batch's data is its operations one after the other; the number of operations stands in the entry's head.
//!
//! ```text
//! operation = tag:u8 fields
//! 0x01 publish        channel:bytes payload:bytes   (bytes = len:u32 then as many)
//! 0x02 shard publish  channel:bytes payload:bytes
//! ```

use crate::codec::{DecodeError, Reader, put_bytes};
use bytes::{BufMut, Bytes};

const PUBLISH: u8 = 0x01;
const SHARD_PUBLISH: u8 = 0x02;

/// One operation of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// `PUBLISH channel payload`.
    Publish {
        /// Any bytes, also none.
        channel: Bytes,
        /// Any bytes, also none.
        payload: Bytes,
    },
    /// `SPUBLISH channel payload`.
    ShardPublish {
        /// Any bytes, also none.
        channel: Bytes,
        /// Any bytes, also none.
        payload: Bytes,
    },
}

impl Op {
    /// Appends the operation's bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        match self {
            Self::Publish { channel, payload } => {
                out.put_u8(PUBLISH);
                put_bytes(out, channel);
                put_bytes(out, payload);
            }
            Self::ShardPublish { channel, payload } => {
                out.put_u8(SHARD_PUBLISH);
                put_bytes(out, channel);
                put_bytes(out, payload);
            }
        }
    }

    /// Returns how many bytes [`Op::encode`] appends.
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Publish { channel, payload } | Self::ShardPublish { channel, payload } => {
                1 + 4 + channel.len() + 4 + payload.len()
            }
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        match reader.u8("operation tag")? {
            PUBLISH => Ok(Self::Publish {
                channel: reader.bytes("channel")?,
                payload: reader.bytes("payload")?,
            }),
            SHARD_PUBLISH => Ok(Self::ShardPublish {
                channel: reader.bytes("channel")?,
                payload: reader.bytes("payload")?,
            }),
            tag => Err(DecodeError::Unknown {
                field: "operation tag",
                value: tag.into(),
            }),
        }
    }
}

/// Reads `count` operations; channels and payloads share the buffer of `data`.
///
/// # Errors
/// [`DecodeError`] if the bytes end early, go on, or hold a tag that this build does not know.
pub fn decode_ops(count: u32, data: Bytes) -> Result<Vec<Op>, DecodeError> {
    let mut reader = Reader::new(data);
    // An operation takes at least one byte: a wrong count allocates no more than the data it came with.
    let mut ops = Vec::with_capacity((count as usize).min(reader.left()));
    for _ in 0..count {
        ops.push(Op::decode(&mut reader)?);
    }
    reader.finish()?;
    Ok(ops)
}
