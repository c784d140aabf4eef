//! The rows of history.
//!
//! ```text
//! 0x10                             rules    as in `corgi_base::history`
//! 0x11                             floor    ms:u64 seq:u64
//! 0x12 channel:rest                channel  passed_ms:u64 passed_seq:u64
//! 0x13 index:u64 channel:rest      block    ms:u64 seq:u64 skipped:u32 payload_bytes:u64 op:u32 (op:u32)*
//! 0x14 index:u64 channel:rest      copied   (op:u32 payload:bytes)*
//! (bytes = len:u32 then as many)
//! ```
//!
//! Tag bytes are on disk: add, never reuse. Whoever reads rows in their order meets the rules first, the channels
//! before their blocks, and the blocks in log order.
//!
//! Copied rows hold the payloads of a block whose entry the log may not have any more. They are not read at start, are
//! no part of what the state is hashed by, and each node has its own: of a block, there is one or there is none.

use super::kept::Block;
use bytes::{BufMut, Bytes};
use corgi_base::codec::{DecodeError, Out, Reader, put_bytes};
use corgi_base::{LogIndex, MessageId, Op, Rules};

const RULES: u8 = 0x10;
const FLOOR: u8 = 0x11;
const CHANNEL: u8 = 0x12;
const BLOCK: u8 = 0x13;
const COPIED: u8 = 0x14;

/// Names a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowKey {
    /// How much is kept.
    Rules,
    /// Up to where channels of which nothing is known may have had messages.
    Floor,
    /// A channel that has something.
    Channel(Bytes),
    /// A channel's messages in one entry.
    Block(LogIndex, Bytes),
}

impl RowKey {
    /// Whether a row with this first byte is one of history.
    pub fn is_tag(tag: u8) -> bool {
        (RULES..=BLOCK).contains(&tag)
    }

    /// Returns the bytes.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Rules => Bytes::from_static(&[RULES]),
            Self::Floor => Bytes::from_static(&[FLOOR]),
            Self::Channel(channel) => channel_key(channel),
            Self::Block(index, channel) => block_key(*index, channel),
        }
    }

    /// Reads the bytes; names are copies, because a row may share the buffer of a whole scan.
    ///
    /// # Errors
    /// [`DecodeError`] if they are no key of a row of history.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes.clone());
        let key = match r.u8("history key")? {
            RULES => Self::Rules,
            FLOOR => Self::Floor,
            CHANNEL => return Ok(Self::Channel(Bytes::copy_from_slice(&r.rest()))),
            BLOCK => {
                let index = LogIndex(r.u64("history entry")?);
                return Ok(Self::Block(index, Bytes::copy_from_slice(&r.rest())));
            }
            tag => {
                return Err(DecodeError::Unknown {
                    field: "history key",
                    value: tag.into(),
                });
            }
        };
        r.finish()?;
        Ok(key)
    }
}

/// A row that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its key.
    pub key: Bytes,
    /// What it is now; `None` if there is none any more.
    pub row: Option<Bytes>,
}

impl Change {
    pub(super) fn rules(rules: &Rules) -> Self {
        Self {
            key: RowKey::Rules.encode(),
            row: Some(encode_rules(rules)),
        }
    }

    pub(super) fn floor(floor: MessageId) -> Self {
        Self {
            key: RowKey::Floor.encode(),
            row: Some(encode_id(floor)),
        }
    }

    pub(super) fn channel(channel: &[u8], passed: MessageId) -> Self {
        Self {
            key: channel_key(channel),
            row: Some(encode_id(passed)),
        }
    }

    pub(super) fn no_channel(channel: &[u8]) -> Self {
        Self {
            key: channel_key(channel),
            row: None,
        }
    }

    pub(super) fn block(channel: &[u8], block: &Block) -> Self {
        Self {
            key: block_key(block.index, channel),
            row: Some(encode_block(block)),
        }
    }

    pub(super) fn no_block(channel: &[u8], index: LogIndex) -> Self {
        Self {
            key: block_key(index, channel),
            row: None,
        }
    }
}

/// Whether the key of a row is that of copied payloads.
pub fn is_copied(key: &[u8]) -> bool {
    key.first() == Some(&COPIED)
}

/// Returns the first key that copied payloads may have, and the first behind them.
pub fn copied_range() -> [[u8; 1]; 2] {
    [[COPIED], [COPIED + 1]]
}

/// Returns of which entry a row has copied payloads.
pub fn copied_index(key: &Bytes) -> Option<LogIndex> {
    let index = key
        .get(1..)
        .filter(|_| is_copied(key))?
        .first_chunk::<8>()?;
    Some(LogIndex(u64::from_be_bytes(*index)))
}

/// Returns the key of the row with a channel's messages in an entry.
pub fn block_key(index: LogIndex, channel: &[u8]) -> Bytes {
    entry_key(BLOCK, index, channel)
}

/// Returns which entry the row of a block is about, and the key of the row with its copied payloads; `None` if the key
/// is another's.
pub fn copy_of_block(key: &[u8]) -> Option<(LogIndex, Bytes)> {
    let (tag, rest) = key.split_first()?;
    let (index, channel) = rest.split_first_chunk::<8>().filter(|_| *tag == BLOCK)?;
    let index = LogIndex(u64::from_be_bytes(*index));
    Some((index, copied_key(index, channel)))
}

/// Returns the payloads of a block whose row this is, from the operations of its entry.
///
/// # Errors
/// [`DecodeError`] if the row is none, or not of that entry.
pub fn copy(row: &Bytes, ops: &[Op]) -> Result<Copied, DecodeError> {
    let block = decode_block(LogIndex(0), row.clone())?;
    let payload = |k: &u32| match ops.get(*k as usize) {
        Some(Op::Publish { payload, .. }) => Ok((*k, payload.clone())),
        _ => Err(DecodeError::Invalid {
            field: "history operation",
        }),
    };
    block
        .kept()
        .iter()
        .map(payload)
        .collect::<Result<_, _>>()
        .map(Copied)
}

/// Returns the key of the row with the copied payloads of a channel in an entry.
pub fn copied_key(index: LogIndex, channel: &[u8]) -> Bytes {
    entry_key(COPIED, index, channel)
}

fn channel_key(channel: &[u8]) -> Bytes {
    [&[CHANNEL], channel].concat().into()
}

fn entry_key(tag: u8, index: LogIndex, channel: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(9 + channel.len());
    out.put_u8(tag);
    out.put_u64(index.0);
    out.put_slice(channel);
    out.into()
}

/// The payloads of a block, by the numbers of their operations, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied(pub Vec<(u32, Bytes)>);

impl Copied {
    /// Returns the row's value.
    pub fn encode(&self) -> Bytes {
        let bytes = self.0.iter().map(|(_, payload)| 8 + payload.len()).sum();
        let mut out = Vec::with_capacity(bytes);
        for (op, payload) in &self.0 {
            out.put_u32(*op);
            put_bytes(&mut out, payload);
        }
        out.into()
    }

    /// Reads the row's value; payloads share its buffer.
    ///
    /// # Errors
    /// [`DecodeError`] if it is none.
    pub fn decode(row: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(row);
        let mut payloads = Vec::new();
        while r.left() > 0 {
            payloads.push((r.u32("copied operation")?, r.bytes("copied payload")?));
        }
        Ok(Self(payloads))
    }

    /// Returns the payload of an operation.
    pub fn get(&self, op: u32) -> Option<&Bytes> {
        let at = self.0.binary_search_by_key(&op, |(op, _)| *op).ok()?;
        self.0.get(at).map(|(_, payload)| payload)
    }
}

pub(super) fn encode_rules(rules: &Rules) -> Bytes {
    let mut out = Vec::new();
    rules.put(&mut Out(&mut out));
    out.into()
}

pub(super) fn decode_rules(row: Bytes) -> Result<Rules, DecodeError> {
    let mut r = Reader::new(row);
    let rules = Rules::decode(&mut r)?;
    r.finish()?;
    Ok(rules)
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
