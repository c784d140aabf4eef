//! What one channel has kept.

use super::MESSAGE_BYTES;
use bytes::Bytes;
use corgi_base::{LogIndex, MessageId, Retention};
use std::collections::VecDeque;

/// The messages of one channel in one entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The entry.
    pub index: LogIndex,
    /// The id of the entry's first operation; the next one has the next sequence.
    pub stamp: MessageId,
    /// The numbers of the operations within the entry, growing; never empty.
    pub ops: Box<[u32]>,
    /// So many of them, from the front, are not kept any more.
    pub skipped: u32,
    /// What the payloads take together, those that are skipped too: they are stored as long as the others.
    pub payload_bytes: u64,
}

impl Block {
    /// Returns the numbers of the operations that are kept.
    pub fn kept(&self) -> &[u32] {
        self.ops.get(self.skipped as usize..).unwrap_or_default()
    }

    /// Returns the id of an operation of the entry.
    pub fn id(&self, op: u32) -> MessageId {
        MessageId {
            ms: self.stamp.ms,
            seq: self.stamp.seq + u64::from(op),
        }
    }

    fn last_id(&self) -> MessageId {
        self.id(self.ops.last().copied().unwrap_or_default())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.payload_bytes + MESSAGE_BYTES * self.ops.len() as u64
    }
}

/// One or more messages of a block that a reader asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Their entry.
    pub index: LogIndex,
    /// Their ids and the numbers of their operations, in the order that was asked for.
    pub messages: Vec<(MessageId, u32)>,
    /// What the payloads of their block take together, also those that were not asked for.
    pub bytes: u64,
}

/// What one channel has kept. Its blocks are in log order, and each has something left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) name: Bytes,
    pub(super) retention: Retention,
    pub(super) blocks: VecDeque<Block>,
    /// Messages in all blocks that are kept.
    pub(super) count: u64,
    /// The last message that is not kept any more, or may have been.
    pub(super) passed: MessageId,
    /// Under which time the channel waits to expire, and how old it was when it was put in line: both may have passed.
    pub(super) due_ms: u64,
    pub(super) age: MessageId,
}

impl Kept {
    pub(super) fn new(name: Bytes, retention: Retention, passed: MessageId) -> Self {
        Self {
            name,
            retention,
            blocks: VecDeque::new(),
            count: 0,
            passed,
            due_ms: 0,
            age: MessageId::default(),
        }
    }

    /// Returns when the oldest message expires.
    pub(super) fn expires_ms(&self) -> Option<u64> {
        let first = self.blocks.front()?;
        Some(first.stamp.ms.saturating_add(self.retention.ttl_ms))
    }

    pub(super) fn first(&self) -> Option<MessageId> {
        let first = self.blocks.front()?;
        first.kept().first().map(|op| first.id(*op))
    }

    pub(super) fn last(&self) -> Option<MessageId> {
        self.blocks.back().map(Block::last_id)
    }

    pub(super) fn push(&mut self, block: Block) {
        self.count += block.kept().len() as u64;
        self.blocks.push_back(block);
    }

    /// Drops the oldest block as a whole.
    pub(super) fn pop(&mut self) -> Option<Block> {
        let block = self.blocks.pop_front()?;
        self.count -= block.kept().len() as u64;
        self.passed = block.last_id();
        Some(block)
    }

    /// Returns whether the oldest block holds nothing but what is too much.
    pub(super) fn front_is_too_much(&self) -> bool {
        let front = self.blocks.front().map_or(0, |block| block.kept().len());
        front > 0 && self.count.saturating_sub(front as u64) >= self.retention.maxlen
    }

    /// Skips what is too much of the oldest block. Returns whether there was any.
    pub(super) fn skip(&mut self) -> bool {
        let excess = self.count.saturating_sub(self.retention.maxlen);
        let Some(front) = self.blocks.front_mut().filter(|_| excess > 0) else {
            return false;
        };
        let excess = u32::try_from(excess).unwrap_or(u32::MAX);
        let skipped = front.skipped.saturating_add(excess);
        let last = front.ops.get(skipped.saturating_sub(1) as usize);
        let Some(last) = last.copied() else {
            return false;
        };
        front.skipped = skipped;
        self.count -= u64::from(excess);
        self.passed = front.id(last);
        true
    }

    pub(super) fn block(&self, index: LogIndex) -> Option<&Block> {
        let at = self
            .blocks
            .binary_search_by_key(&index, |block| block.index);
        self.blocks.get(at.ok()?)
    }

    /// Returns up to `count` messages with ids in `from..=to`, oldest first or newest first.
    pub(super) fn range(
        &self,
        from: MessageId,
        to: MessageId,
        count: usize,
        newest_first: bool,
    ) -> Vec<Part> {
        let mut left = count;
        let begin = self.blocks.partition_point(|block| block.last_id() < from);
        let end = self.blocks.partition_point(|block| block.stamp <= to);
        let blocks = self.blocks.range(begin..end.max(begin));
        let mut take = |block: &Block| {
            let id = |op: &u32| (block.id(*op), *op);
            let wanted = |(id, _): &(MessageId, u32)| (from..=to).contains(id);
            let messages: Vec<(MessageId, u32)> = if newest_first {
                let newest = block.kept().iter().rev().map(id);
                newest.filter(wanted).take(left).collect()
            } else {
                let oldest = block.kept().iter().map(id);
                oldest.filter(wanted).take(left).collect()
            };
            left -= messages.len();
            Part {
                index: block.index,
                bytes: block.payload_bytes,
                messages,
            }
        };
        let some = |part: &Part| !part.messages.is_empty();
        if newest_first {
            let parts = blocks.rev().map(&mut take);
            bounded(parts, count).filter(some).collect()
        } else {
            let parts = blocks.map(&mut take);
            bounded(parts, count).filter(some).collect()
        }
    }
}

/// Ends after the part with which `count` messages are there.
fn bounded(parts: impl Iterator<Item = Part>, count: usize) -> impl Iterator<Item = Part> {
    parts.scan(count, |left, part| {
        if *left == 0 {
            return None;
        }
        *left -= part.messages.len();
        Some(part)
    })
}
