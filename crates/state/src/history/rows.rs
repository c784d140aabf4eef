//! The rows of history.
//!
//! ```text
//! 0x10                             floor    ms:u64 seq:u64
//! 0x11 channel:rest                channel  passed_ms:u64 passed_seq:u64
//! 0x12 channel:bytes index:u64     block    ms:u64 seq:u64 skipped:u32 payload_bytes:u64 op:u32 (op:u32)*
//! (bytes = len:u32 then as many)
//! ```
//!
//! Tag bytes are on disk: add, never reuse. Whoever reads rows in their order meets the channels before their blocks,
//! and a channel's blocks in log order.

use super::kept::Block;
use bytes::{BufMut, Bytes};
use corgi_base::codec::{DecodeError, Reader, put_bytes};
use corgi_base::{LogIndex, MessageId};

const FLOOR: u8 = 0x10;
const CHANNEL: u8 = 0x11;
const BLOCK: u8 = 0x12;

/// Names a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowKey {
    /// Up to where channels of which nothing is known may have had messages.
    Floor,
    /// A channel that has something.
    Channel(Bytes),
    /// A channel's messages in one entry.
    Block(Bytes, LogIndex),
}

impl RowKey {
    /// Whether a row with this first byte is one of history.
    pub fn is_tag(tag: u8) -> bool {
        (FLOOR..=BLOCK).contains(&tag)
    }

    /// Returns the bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::Floor => out.put_u8(FLOOR),
            Self::Channel(channel) => {
                out.put_u8(CHANNEL);
                out.put_slice(channel);
            }
            Self::Block(channel, index) => {
                out.put_u8(BLOCK);
                put_bytes(&mut out, channel);
                out.put_u64(index.0);
            }
        }
        out.into()
    }

    /// Reads the bytes; names are copies, because a row may share the buffer of a whole scan.
    ///
    /// # Errors
    /// [`DecodeError`] if they are no key of a row of history.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes.clone());
        match r.u8("history key")? {
            FLOOR => {
                r.finish()?;
                Ok(Self::Floor)
            }
            CHANNEL => Ok(Self::Channel(Bytes::copy_from_slice(&r.rest()))),
            BLOCK => {
                let channel = Bytes::copy_from_slice(&r.bytes("history channel")?);
                let index = LogIndex(r.u64("history entry")?);
                r.finish()?;
                Ok(Self::Block(channel, index))
            }
            tag => Err(DecodeError::Unknown {
                field: "history key",
                value: tag.into(),
            }),
        }
    }
}

pub(super) fn encode_id(id: MessageId) -> Bytes {
    let mut out = Vec::with_capacity(16);
    out.put_u64(id.ms);
    out.put_u64(id.seq);
    out.into()
}

pub(super) fn decode_id(row: Bytes) -> Result<MessageId, DecodeError> {
    let mut r = Reader::new(row);
    let id = MessageId {
        ms: r.u64("history id")?,
        seq: r.u64("history id")?,
    };
    r.finish()?;
    Ok(id)
}

pub(super) fn encode_block(block: &Block) -> Bytes {
    let mut out = Vec::with_capacity(28 + 4 * block.ops.len());
    out.put_u64(block.stamp.ms);
    out.put_u64(block.stamp.seq);
    out.put_u32(block.skipped);
    out.put_u64(block.payload_bytes);
    for op in &block.ops {
        out.put_u32(*op);
    }
    out.into()
}

pub(super) fn decode_block(index: LogIndex, row: Bytes) -> Result<Block, DecodeError> {
    let mut r = Reader::new(row);
    let stamp = MessageId {
        ms: r.u64("history stamp")?,
        seq: r.u64("history stamp")?,
    };
    let skipped = r.u32("history skipped")?;
    let payload_bytes = r.u64("history bytes")?;
    let mut ops = Vec::with_capacity(r.left() / 4);
    while r.left() > 0 {
        ops.push(r.u32("history operation")?);
    }
    let grow = ops.is_sorted_by(|before, after| before < after);
    if !grow || skipped as usize >= ops.len() {
        return Err(DecodeError::Invalid {
            field: "history operations",
        });
    }
    Ok(Block {
        index,
        stamp,
        ops: ops.into(),
        skipped,
        payload_bytes,
    })
}
