//! What has been published to each channel: which entries of the log hold it, and how much of it is kept.
//!
//! ```text
//!   entry applied ── published ──▶ History ── range ──▶ Parts: (entry, numbers of its operations), read from the log
//!   log time ─────── expire ─────▶    │                        or from the copies made before the log was truncated
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

pub use corgi_base::history::{Retention, Rules, RulesChange};
pub use kept::{Block, Part};
pub use rows::{
    Change, Copied, RowKey, block_key, copied_index, copied_key, copied_range, copy, copy_of_block,
    is_copied,
};

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

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Channels that have something.
    pub channels: u64,
    /// Messages that are kept.
    pub messages: u64,
    /// Bytes of all that is kept, as [`Rules::max_bytes`] counts them.
    pub bytes: u64,
}

/// The history of all channels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    rules: Rules,
    /// Whether the rules have been said, so that they have a row.
    ruled: bool,
    channels: BTreeMap<Bytes, Kept>,
    /// Channels that are not there have had nothing after it.
    floor: MessageId,
    bytes: u64,
    messages: u64,
    lines: Lines,
    changed: Vec<Change>,
}

/// Channels by when something of theirs expires, and by how old their oldest message is. Both may have been true
/// earlier: that is found out when their turn comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Lines {
    due: BTreeSet<(u64, Bytes)>,
    ages: BTreeSet<(MessageId, Bytes)>,
}

impl Lines {
    /// Puts a channel in line by its oldest message.
    fn add(&mut self, kept: &mut Kept) {
        if let (Some(due_ms), Some(first)) = (kept.expires_ms(), kept.blocks.front()) {
            (kept.due_ms, kept.age) = (due_ms, first.stamp);
            self.due.insert((kept.due_ms, kept.name.clone()));
            self.ages.insert((kept.age, kept.name.clone()));
        }
    }

    fn remove(&mut self, kept: &Kept) {
        self.due.remove(&(kept.due_ms, kept.name.clone()));
        self.ages.remove(&(kept.age, kept.name.clone()));
    }
}

impl History {
    /// Returns the rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Whether the rules have been said; until then they are the same on all nodes all the same.
    pub fn is_ruled(&self) -> bool {
        self.ruled
    }

    /// Returns how much there is.
    pub fn totals(&self) -> Totals {
        Totals {
            channels: self.channels.len() as u64,
            messages: self.messages,
            bytes: self.bytes,
        }
    }

    /// Returns a log time before which nothing expires; `None` if nothing will.
    pub fn next_expiry(&self) -> Option<u64> {
        self.lines.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// Begins to take what is published, after the entry whose last id is `last`.
    pub fn begin(&mut self, last: MessageId) {
        self.raise_floor(last);
    }

    /// Takes what an entry has published, in its order: channel, number of the operation, bytes of the payload. `stamp`
    /// is the id of the entry's first operation.
    pub fn published<'a>(
        &mut self,
        index: LogIndex,
        stamp: MessageId,
        messages: impl Iterator<Item = (&'a Bytes, u32, u64)>,
    ) {
        let mut messages: Vec<(&Bytes, u32, u64)> = messages.collect();
        // Stable: operations stay in their order.
        messages.sort_by_key(|(channel, ..)| *channel);
        for of_channel in messages.chunk_by(|(one, ..), (other, ..)| one == other) {
            let block = Block {
                index,
                stamp,
                ops: of_channel.iter().map(|(_, op, _)| *op).collect(),
                skipped: 0,
                payload_bytes: of_channel.iter().map(|(.., bytes)| bytes).sum(),
            };
            let (channel, ..) = of_channel[0];
            self.push(channel, block);
        }
        self.shrink();
    }

    fn push(&mut self, channel: &Bytes, block: Block) {
        let kept = match self.channels.get_mut(channel) {
            Some(kept) => kept,
            None => {
                let retention = self.rules.of(channel);
                if !retention.keeps() {
                    return;
                }
                // A copy: what is kept must not keep a whole entry in memory.
                let name = Bytes::copy_from_slice(channel);
                self.changed.push(Change::channel(&name, self.floor));
                let kept = Kept::new(name.clone(), retention, self.floor);
                self.channels.entry(name).or_insert(kept)
            }
        };
        self.changed.push(Change::block(&kept.name, &block));
        self.bytes += block.bytes();
        self.messages += block.ops.len() as u64;
        kept.push(block);
        if kept.blocks.len() == 1 {
            self.lines.add(kept);
        }
        let (bytes, messages) = trim(kept, &mut self.changed);
        self.bytes -= bytes;
        self.messages -= messages;
    }

    /// Drops a channel's oldest block, and the channel with its last one.
    fn pop(&mut self, name: &Bytes) {
        let Some(kept) = self.channels.get_mut(name) else {
            return;
        };
        if let Some(block) = kept.pop() {
            self.bytes -= block.bytes();
            self.messages -= block.kept().len() as u64;
            self.changed.push(Change::no_block(name, block.index));
        }
        let passed = kept.passed;
        if kept.blocks.is_empty() {
            self.changed.push(Change::no_channel(name));
            self.lines.remove(kept);
            self.channels.remove(name);
            self.raise_floor(passed);
        } else {
            self.changed.push(Change::channel(name, passed));
        }
    }

    fn raise_floor(&mut self, passed: MessageId) {
        if passed > self.floor {
            self.floor = passed;
            self.changed.push(Change::floor(passed));
        }
    }

    /// Drops what is too old at this log time.
    pub fn expire(&mut self, now_ms: u64) {
        while let Some((due_ms, _)) = self.lines.due.first()
            && *due_ms <= now_ms
            && let Some((_, name)) = self.lines.due.pop_first()
        {
            let expired = |kept: &Kept| kept.expires_ms().is_some_and(|at| at <= now_ms);
            while self.channels.get(&name).is_some_and(expired) {
                self.pop(&name);
            }
            if let Some(kept) = self.channels.get_mut(&name)
                && let Some(due_ms) = kept.expires_ms()
            {
                kept.due_ms = due_ms;
                self.lines.due.insert((due_ms, name));
            }
        }
    }

    /// Drops the oldest until all together is small enough.
    fn shrink(&mut self) {
        while self.bytes > self.rules.max_bytes
            && let Some((age, name)) = self.lines.ages.pop_first()
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
                self.lines.ages.insert((kept.age, name));
            }
        }
    }

    /// Takes other rules, from the entry whose last id is `last` on. What they do not keep is dropped; what earlier
    /// ones did not keep does not come back.
    pub fn set_rules(&mut self, rules: Rules, last: MessageId) {
        let before = std::mem::replace(&mut self.rules, rules);
        self.ruled = true;
        self.changed.push(Change::rules(&self.rules));
        if !before.keep_all() {
            // A channel that was not kept may have had something.
            self.raise_floor(last);
        }
        self.lines = Lines::default();
        for name in self.channels.keys().cloned().collect::<Vec<_>>() {
            let retention = self.rules.of(&name);
            let Some(kept) = self.channels.get_mut(&name) else {
                continue;
            };
            kept.retention = retention;
            self.lines.add(kept);
            if retention.keeps() {
                let (bytes, messages) = trim(kept, &mut self.changed);
                self.bytes -= bytes;
                self.messages -= messages;
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

    /// Returns the last id that a channel may have had and does not have any more.
    pub fn passed(&self, channel: &[u8]) -> MessageId {
        let kept = self.channels.get(channel);
        kept.map_or(self.floor, |kept| kept.passed)
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
        let passed = self.passed(channel);
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

    /// Returns the rows that have changed since the last time, in order; of some more than once the last counts.
    pub fn take_changed(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changed)
    }

    /// Returns what a row holds; `None` if there is none any more.
    pub fn row(&self, key: &RowKey) -> Option<Bytes> {
        match key {
            RowKey::Rules => self.ruled.then(|| rows::encode_rules(&self.rules)),
            RowKey::Floor => {
                (self.floor > MessageId::default()).then(|| rows::encode_id(self.floor))
            }
            RowKey::Channel(name) => {
                let kept = self.channels.get(name)?;
                Some(rows::encode_id(kept.passed))
            }
            RowKey::Block(index, name) => {
                let block = self.channels.get(name)?.block(*index)?;
                Some(rows::encode_block(block))
            }
        }
    }

    /// Returns the names of all rows, in the order in which [`History::restore`] takes them, which is that of their
    /// bytes.
    pub fn rows(&self) -> Vec<RowKey> {
        let mut keys = vec![RowKey::Rules, RowKey::Floor];
        keys.extend(self.channels.keys().cloned().map(RowKey::Channel));
        let mut blocks: Vec<RowKey> = Vec::new();
        for (name, kept) in &self.channels {
            let block = |block: &Block| RowKey::Block(block.index, name.clone());
            blocks.extend(kept.blocks.iter().map(block));
        }
        blocks.sort_unstable();
        keys.extend(blocks);
        keys
    }

    /// Takes a row, in the order of [`History::rows`].
    ///
    /// # Errors
    /// [`DecodeError`] if the row does not hold what it should.
    pub fn restore(&mut self, key: RowKey, row: Bytes) -> Result<(), DecodeError> {
        match key {
            RowKey::Rules => {
                self.rules = rows::decode_rules(row)?;
                self.ruled = true;
            }
            RowKey::Floor => self.floor = rows::decode_id(row)?,
            RowKey::Channel(name) => {
                let passed = rows::decode_id(row)?;
                let kept = Kept::new(name.clone(), self.rules.of(&name), passed);
                self.channels.insert(name, kept);
            }
            RowKey::Block(index, name) => {
                let block = rows::decode_block(index, row)?;
                let kept = self.channels.get_mut(&name).ok_or(DecodeError::Invalid {
                    field: "history block without its channel",
                })?;
                self.bytes += block.bytes();
                self.messages += block.kept().len() as u64;
                kept.push(block);
                if kept.blocks.len() == 1 {
                    self.lines.add(kept);
                }
            }
        }
        Ok(())
    }
}

/// Drops what is more than a channel may keep, which is never all. Returns how many bytes and messages that were.
fn trim(kept: &mut Kept, changed: &mut Vec<Change>) -> (u64, u64) {
    let (mut bytes, before) = (0, kept.count);
    while kept.front_is_too_much()
        && let Some(block) = kept.pop()
    {
        bytes += block.bytes();
        changed.push(Change::no_block(&kept.name, block.index));
    }
    if kept.skip()
        && let Some(front) = kept.blocks.front()
    {
        changed.push(Change::block(&kept.name, front));
    }
    if kept.count < before {
        changed.push(Change::channel(&kept.name, kept.passed));
    }
    (bytes, before - kept.count)
}
