//! Decoded stretches of the log, kept while somebody needs them.

use corgi_base::{LogIndex, MessageId, Op};
use std::collections::BTreeMap;

/// What an operation takes besides its bytes.
const OP_BYTES: u64 = 80;

/// The operations of an entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// The id of operation 0.
    pub(crate) first: MessageId,
    /// Never empty. What delivers nothing is [`SILENT`], so that the others keep their places.
    pub(crate) ops: Vec<Op>,
}

/// An operation that delivers nothing, and holds nothing.
const SILENT: Op = Op::Guard {
    ops: 0,
    watched: Vec::new(),
};

/// What of an entry had no effect.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Void {
    /// All of it.
    Batch,
    /// These operations.
    Ops(Vec<u32>),
}

impl Batch {
    pub(crate) fn new(first: MessageId, mut ops: Vec<Op>) -> Self {
        for op in &mut ops {
            if matches!(op, Op::Key { .. } | Op::Guard { .. }) {
                *op = SILENT;
            }
        }
        Self { first, ops }
    }

    /// Returns the id of an operation.
    pub(crate) fn id(&self, k: u32) -> MessageId {
        MessageId {
            ms: self.first.ms,
            seq: self.first.seq + u64::from(k),
        }
    }

    /// Leaves out operations that had no effect.
    pub(crate) fn leave_out(&mut self, void: &[u32]) {
        for k in void {
            if let Some(op) = self.ops.get_mut(*k as usize) {
                *op = SILENT;
            }
        }
    }

    fn bytes(&self) -> u64 {
        let size = |op: &Op| op.encoded_len() as u64 + OP_BYTES;
        self.ops.iter().map(size).sum()
    }
}

/// Consecutive entries, of which most deliver something.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The entry after the last.
    next: LogIndex,
    /// Those that deliver something, ascending.
    batches: Vec<(LogIndex, Batch)>,
    bytes: u64,
    /// When it was last of use.
    used: u64,
}

impl Block {
    /// Returns a block without entries.
    pub(crate) fn starting_at(from: LogIndex) -> Self {
        Self {
            next: from,
            batches: Vec::new(),
            bytes: 0,
            used: 0,
        }
    }

    /// Appends the next entry.
    pub(crate) fn push(&mut self, index: LogIndex, batch: Option<Batch>) {
        assert_eq!(index, self.next, "a block has no gaps");
        self.next = index.next();
        if let Some(batch) = batch {
            self.bytes += batch.bytes();
            self.batches.push((index, batch));
        }
    }

    /// Leaves out what had no effect.
    pub(crate) fn leave_out(&mut self, void: &BTreeMap<LogIndex, Void>) {
        if !void.is_empty() {
            self.batches
                .retain_mut(|(index, batch)| match void.get(index) {
                    None => true,
                    Some(Void::Batch) => false,
                    Some(Void::Ops(ops)) => {
                        batch.leave_out(ops);
                        true
                    }
                });
            self.bytes = self.batches.iter().map(|(_, batch)| batch.bytes()).sum();
        }
    }

    /// Returns the entry after the last.
    pub(crate) fn next(&self) -> LogIndex {
        self.next
    }

    /// Returns what the entries from `index` on delivered.
    pub(crate) fn batches_from(&self, index: LogIndex) -> &[(LogIndex, Batch)] {
        let at = self.batches.partition_point(|(at, _)| *at < index);
        &self.batches[at..]
    }

    /// Returns what the block takes, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Blocks by their first entries, the ones of use last kept.
#[derive(Debug)]
pub(crate) struct Blocks {
    by_start: BTreeMap<LogIndex, Block>,
    bytes: u64,
    bytes_max: u64,
    block_bytes_max: u64,
    uses: u64,
}

impl Blocks {
    pub(crate) fn new(bytes_max: u64, block_bytes_max: u64) -> Self {
        Self {
            by_start: BTreeMap::new(),
            bytes: 0,
            bytes_max,
            block_bytes_max,
            uses: 0,
        }
    }

    fn start(&self, index: LogIndex) -> Option<LogIndex> {
        let (start, block) = self.by_start.range(..=index).next_back()?;
        (block.next > index).then_some(*start)
    }

    pub(crate) fn contains(&self, index: LogIndex) -> bool {
        self.start(index).is_some()
    }

    /// Returns the block with an entry.
    pub(crate) fn get(&mut self, index: LogIndex) -> Option<&Block> {
        let start = self.start(index)?;
        self.uses += 1;
        let block = self.by_start.get_mut(&start)?;
        block.used = self.uses;
        Some(block)
    }

    /// Returns where the first block begins that begins behind an entry.
    pub(crate) fn next_start(&self, index: LogIndex) -> Option<LogIndex> {
        let behind = index.next()..;
        self.by_start.range(behind).next().map(|(start, _)| *start)
    }

    /// Adds what was read.
    pub(crate) fn insert(&mut self, from: LogIndex, mut block: Block) {
        self.uses += 1;
        block.used = self.uses;
        self.bytes += block.bytes;
        if let Some(before) = self.by_start.insert(from, block) {
            self.bytes -= before.bytes;
        }
        self.evict(from);
    }

    /// Adds an entry that was just applied.
    pub(crate) fn append(&mut self, index: LogIndex, batch: Option<Batch>) {
        let bytes = batch.as_ref().map_or(0, Batch::bytes);
        self.uses += 1;
        let last = self.by_start.range_mut(..=index).next_back();
        match last {
            Some((start, block)) if block.next == index && block.bytes < self.block_bytes_max => {
                let start = *start;
                block.used = self.uses;
                block.push(index, batch);
                self.bytes += bytes;
                self.evict(start);
            }
            _ => {
                let mut block = Block::starting_at(index);
                block.push(index, batch);
                self.insert(index, block);
            }
        }
    }

    /// Drops the blocks that were of no use for longest, but not `kept`, which somebody needs now.
    fn evict(&mut self, kept: LogIndex) {
        while self.bytes > self.bytes_max {
            let others = self.by_start.iter().filter(|(start, _)| **start != kept);
            let Some(start) = others.min_by_key(|(_, block)| block.used).map(|(s, _)| *s) else {
                return;
            };
            if let Some(dropped) = self.by_start.remove(&start) {
                self.bytes -= dropped.bytes;
            }
        }
    }

    /// Drops all.
    pub(crate) fn clear(&mut self) {
        self.by_start.clear();
        self.bytes = 0;
    }
}
