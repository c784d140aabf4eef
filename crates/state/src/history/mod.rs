//! What has been published to each channel: which entries of the log hold it, and how much of it is kept.
//!
//! ```text
//!   entry applied ── published ──▶ History ── range ──▶ Parts: (entry, numbers of its operations), read from the log
//!   log time ─────── expire ─────▶    │                        or from the copies made when the log was truncated
//!                                     └ take_changed ──▶ rows
//! ```
//!
//! Payloads are not here: the log holds each of them once already (ADR 4). Here is what says which are kept, by length
//! and age of each channel and by the size of all together; what a reader may ask for; and from where on it cannot be
//! sure of having missed nothing.
//!
//! Invariants
//! - The same on every node: it follows from the log alone, and time is log time.
//! - A channel with nothing left costs nothing. What it had passes into the *floor*: the largest id that a channel of
//!   which nothing is known may have had.
//! - Whoever reads from an id after which something may be gone is told so, and from where on all is there.
//! - No step takes time in the number of channels, but [`History::set_rules`].

mod kept;
mod rows;
mod rules;

pub use kept::{Block, Part};
pub use rows::RowKey;
pub use rules::{Retention, Rules};

use bytes::Bytes;
use corgi_base::codec::DecodeError;
use corgi_base::{LogIndex, MessageId};
use kept::Kept;
use std::collections::{BTreeMap, BTreeSet};

/// What a message takes besides its payload, about: its place in an entry, its part of a row, its channel's name.
pub const MESSAGE_BYTES: u64 = 64;

/// What was asked for may lie in part before what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the history before {first} is not kept any more")]
pub struct Passed {
    /// From there on all is there.
    pub first: MessageId,
}

/// The history of all channels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    rules: Rules,
    channels: BTreeMap<Bytes, Kept>,
    /// Channels that are not there have had nothing after it.
    floor: MessageId,
    bytes: u64,
    /// Channels by when something of theirs expires, and by how old their oldest message is. Both may have been true
    /// earlier: that is found out when their turn comes.
    due: BTreeSet<(u64, Bytes)>,
    ages: BTreeSet<(MessageId, Bytes)>,
    changed: BTreeSet<RowKey>,
}

impl History {
    /// Returns the rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Returns how many channels have something.
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// Returns the bytes of all that is kept, as [`Rules::max_bytes`] counts them.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes what an entry has published, in its order: channel, number of the operation, bytes of the payload. `stamp`
    /// is the id of the entry's first operation.
    pub fn published<'a>(
        &mut self,
        index: LogIndex,
        stamp: MessageId,
        messages: impl Iterator<Item = (&'a Bytes, u32, u64)>,
    ) {
        let mut blocks: BTreeMap<&Bytes, (Vec<u32>, u64)> = BTreeMap::new();
        for (channel, op, payload_bytes) in messages {
            let (ops, bytes) = blocks.entry(channel).or_default();
            ops.push(op);
            *bytes += payload_bytes;
        }
        for (channel, (ops, payload_bytes)) in blocks {
            let block = Block {
                index,
                stamp,
                ops: ops.into(),
                skipped: 0,
                payload_bytes,
            };
            self.push(channel, block);
        }
        self.shrink();
    }

    fn push(&mut self, channel: &Bytes, block: Block) {
        if !self.channels.contains_key(channel) {
            let retention = self.rules.of(channel);
            if !retention.keeps() {
                return;
            }
            // A copy: what is kept must not keep a whole entry in memory.
            let name = Bytes::copy_from_slice(channel);
            self.changed.insert(RowKey::Channel(name.clone()));
            self.channels.insert(name, Kept::new(retention, self.floor));
        }
        let Some((name, _)) = self.channels.get_key_value(channel) else {
            return;
        };
        let name = name.clone();
        self.changed
            .insert(RowKey::Block(name.clone(), block.index));
        self.bytes += block.bytes();
        if let Some(kept) = self.channels.get_mut(&name) {
            kept.push(block);
            if kept.blocks.len() == 1 {
                self.line_up(&name);
            }
        }
        self.trim(&name);
    }

    /// Puts a channel in line by its oldest message.
    fn line_up(&mut self, name: &Bytes) {
        let Some(kept) = self.channels.get_mut(name) else {
            return;
        };
        if let (Some(due_ms), Some(first)) = (kept.expires_ms(), kept.blocks.front()) {
            (kept.due_ms, kept.age) = (due_ms, first.stamp);
            self.due.insert((kept.due_ms, name.clone()));
            self.ages.insert((kept.age, name.clone()));
        }
    }

    /// Drops what is more than a channel may keep.
    fn trim(&mut self, name: &Bytes) {
        while self.channels.get(name).is_some_and(Kept::front_is_too_much) {
            self.pop(name);
        }
        let Some(kept) = self.channels.get_mut(name) else {
            return;
        };
        if kept.skip() {
            let index = kept.blocks.front().map(|block| block.index);
            let row = |index| RowKey::Block(name.clone(), index);
            self.changed.extend(index.map(row));
            self.changed.insert(RowKey::Channel(name.clone()));
        }
    }

    /// Drops a channel's oldest block, and the channel with its last one.
    fn pop(&mut self, name: &Bytes) {
        let Some(kept) = self.channels.get_mut(name) else {
            return;
        };
        self.changed.insert(RowKey::Channel(name.clone()));
        if let Some(block) = kept.pop() {
            self.bytes -= block.bytes();
            self.changed
                .insert(RowKey::Block(name.clone(), block.index));
        }
        if kept.blocks.is_empty() {
            let passed = kept.passed;
            self.due.remove(&(kept.due_ms, name.clone()));
            self.ages.remove(&(kept.age, name.clone()));
            self.channels.remove(name);
            self.raise_floor(passed);
        }
    }

    fn raise_floor(&mut self, passed: MessageId) {
        if passed > self.floor {
            self.floor = passed;
            self.changed.insert(RowKey::Floor);
        }
    }

    /// Drops what is too old at this log time.
    pub fn expire(&mut self, now_ms: u64) {
        while let Some((due_ms, _)) = self.due.first()
            && *due_ms <= now_ms
            && let Some((_, name)) = self.due.pop_first()
        {
            let expired = |kept: &Kept| kept.expires_ms().is_some_and(|at| at <= now_ms);
            while self.channels.get(&name).is_some_and(expired) {
                self.pop(&name);
            }
            if let Some(kept) = self.channels.get_mut(&name)
                && let Some(due_ms) = kept.expires_ms()
            {
                kept.due_ms = due_ms;
                self.due.insert((due_ms, name));
            }
        }
    }

    /// Drops the oldest until all together is small enough.
    fn shrink(&mut self) {
        while self.bytes > self.rules.max_bytes
            && let Some((age, name)) = self.ages.pop_first()
        {
            let front = self
                .channels
                .get(&name)
                .and_then(|kept| kept.blocks.front());
            if front.is_some_and(|front| front.stamp == age) {
                self.pop(&name);
            }
            if let Some(kept) = self.channels.get_mut(&name)
                && let Some(front) = kept.blocks.front()
            {
                kept.age = front.stamp;
                self.ages.insert((kept.age, name));
            }
        }
    }

    /// Takes other rules, from the entry whose last id is `last` on. What they do not keep is dropped; what earlier
    /// ones did not keep does not come back.
    pub fn set_rules(&mut self, rules: Rules, last: MessageId) {
        self.rules = rules;
        // A channel that was not kept may have had something.
        self.raise_floor(last);
        (self.due, self.ages) = (BTreeSet::new(), BTreeSet::new());
        for name in self.channels.keys().cloned().collect::<Vec<_>>() {
            let retention = self.rules.of(&name);
            if let Some(kept) = self.channels.get_mut(&name) {
                kept.retention = retention;
            }
            self.line_up(&name);
            if retention.keeps() {
                self.trim(&name);
            } else {
                while self.channels.contains_key(&name) {
                    self.pop(&name);
                }
            }
        }
        self.shrink();
    }

    /// Returns how many messages of a channel are kept.
    pub fn len(&self, channel: &[u8]) -> u64 {
        self.channels.get(channel).map_or(0, |kept| kept.count)
    }

    /// Returns the ids of the oldest and the newest message of a channel.
    pub fn ends(&self, channel: &[u8]) -> Option<(MessageId, MessageId)> {
        let kept = self.channels.get(channel)?;
        Some((kept.first()?, kept.last()?))
    }

    /// Returns the channels that have something, in the order of their names.
    pub fn names(&self) -> impl Iterator<Item = &Bytes> {
        self.channels.keys()
    }

    /// Returns where up to `count` messages with ids in `from..=to` are, oldest or newest first. The smallest id of all
    /// means: from what there is.
    ///
    /// # Errors
    /// [`Passed`] if a message from `from` on may not be kept any more.
    pub fn range(
        &self,
        channel: &[u8],
        from: MessageId,
        to: MessageId,
        count: usize,
        newest_first: bool,
    ) -> Result<Vec<Part>, Passed> {
        let kept = self.channels.get(channel);
        let passed = kept.map_or(self.floor, |kept| kept.passed);
        if from > MessageId::default() && from <= passed {
            let first = kept.and_then(Kept::first);
            let after = MessageId {
                ms: passed.ms,
                seq: passed.seq.saturating_add(1),
            };
            return Err(Passed {
                first: first.unwrap_or(after),
            });
        }
        Ok(match kept {
            Some(kept) if from <= to => kept.range(from, to, count, newest_first),
            Some(_) | None => Vec::new(),
        })
    }

    /// Returns what a channel has kept of an entry: what must be copied before the log is truncated beyond it.
    pub fn block(&self, channel: &[u8], index: LogIndex) -> Option<&Block> {
        self.channels.get(channel)?.block(index)
    }

    /// Returns the names of the rows that have changed since the last time; [`History::row`] says what they are now.
    pub fn take_changed(&mut self) -> BTreeSet<RowKey> {
        std::mem::take(&mut self.changed)
    }

    /// Returns what a row holds; `None` if there is none any more.
    pub fn row(&self, key: &RowKey) -> Option<Bytes> {
        match key {
            RowKey::Floor => {
                (self.floor > MessageId::default()).then(|| rows::encode_id(self.floor))
            }
            RowKey::Channel(name) => {
                let kept = self.channels.get(name)?;
                Some(rows::encode_id(kept.passed))
            }
            RowKey::Block(name, index) => self.block(name, *index).map(rows::encode_block),
        }
    }

    /// Returns the names of all rows, in the order in which [`History::restore`] takes them.
    pub fn rows(&self) -> impl Iterator<Item = RowKey> {
        let channels = self.channels.keys().cloned().map(RowKey::Channel);
        let blocks = self.channels.iter().flat_map(|(name, kept)| {
            let block = |block: &Block| RowKey::Block(name.clone(), block.index);
            kept.blocks.iter().map(block)
        });
        std::iter::once(RowKey::Floor).chain(channels).chain(blocks)
    }

    /// Takes a row, channels before their blocks and these in log order. The rules must have been set.
    ///
    /// # Errors
    /// [`DecodeError`] if the row does not hold what it should.
    pub fn restore(&mut self, key: RowKey, row: Bytes) -> Result<(), DecodeError> {
        match key {
            RowKey::Floor => self.floor = rows::decode_id(row)?,
            RowKey::Channel(name) => {
                let passed = rows::decode_id(row)?;
                let kept = Kept::new(self.rules.of(&name), passed);
                self.channels.insert(name, kept);
            }
            RowKey::Block(name, index) => {
                let block = rows::decode_block(index, row)?;
                let kept = self.channels.get_mut(&name).ok_or(DecodeError::Invalid {
                    field: "history block without its channel",
                })?;
                self.bytes += block.bytes();
                kept.push(block);
                if kept.blocks.len() == 1 {
                    self.line_up(&name);
                }
            }
        }
        Ok(())
    }
}
