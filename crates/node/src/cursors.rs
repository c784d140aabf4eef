//! Where the subscribers stand that do not keep up with the stream.
//!
//! ```text
//!            queue is full                            queue has drained
//!   live ───────────────────▶ draining ◀──────────────────────────────────▶ waiting ─▶ live
//!                                                 one part of a block            next = applied + 1
//! ```
//!
//! A subscriber that lags is a position in the log and no more, however many messages it is behind. What it needs next
//! is in a block: decoded entries that others near it use too. Blocks come from what is applied while somebody lags,
//! and from reads of the log, few at a time, which go through the positions in log order and then begin again: whoever
//! is near the one served before is served next and shares its block, and nobody is passed over.
//!
//! Not here: what a client may get and when (`feed`).

mod blocks;

use bytes::Bytes;
use corgi_base::{AppliedBatch, ClientId, LogIndex, MessageId, SubscriptionKind};
use corgi_consensus::storage::{EntryType, LogEntry, LogReader, ReadLogError};
use corgi_state::replay;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;

use blocks::Void;
pub(crate) use blocks::{Batch, Block, Blocks};

/// A read of the log, to be run off the node's lock.
#[derive(Debug)]
pub struct LogRead {
    from: LogIndex,
    to: LogIndex,
    bytes_max: u64,
}

impl LogRead {
    /// Returns the entry before which the read ends.
    pub(crate) fn to(&self) -> LogIndex {
        self.to
    }

    /// Reads and decodes. May wait for the disk.
    pub fn run(self, reader: &impl LogReader) -> LogBlock {
        let entries = reader.entries(self.from, self.to, self.bytes_max);
        LogBlock {
            from: self.from,
            result: entries.and_then(|entries| decode(self.from, entries)),
        }
    }
}

impl fmt::Display for LogRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.from, self.to)
    }
}

/// What a [`LogRead`] gave.
#[derive(Debug)]
pub struct LogBlock {
    from: LogIndex,
    result: Result<Block, ReadLogError>,
}

fn decode(from: LogIndex, entries: Vec<LogEntry>) -> Result<Block, ReadLogError> {
    let mut block = Block::starting_at(from);
    for entry in entries {
        let delivered = match entry.entry_type {
            EntryType::Normal => replay(entry.context, entry.data),
            EntryType::ConfChange | EntryType::ConfChangeV2 => Ok(None),
        };
        // It was applied from memory before it was read here.
        let delivered = delivered.map_err(|error| ReadLogError::Damaged {
            index: entry.index,
            what: error.to_string(),
        })?;
        block.push(
            entry.index,
            delivered.map(|it| Batch::new(it.first, it.ops)),
        );
    }
    Ok(block)
}

/// Up to where a subscriber has got everything: all before entry `index`, of that entry all before operation `op`, and
/// of that operation all up to the subscription `after`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) index: LogIndex,
    pub(crate) op: u32,
    pub(crate) after: Option<(SubscriptionKind, Bytes)>,
}

impl Position {
    /// Before the first operation of an entry.
    pub(crate) fn at(index: LogIndex) -> Self {
        Self {
            index,
            op: 0,
            after: None,
        }
    }
}

/// A subscriber that lags.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) position: Position,
    /// Subscriptions that came while the client lagged: they begin after this entry.
    since: BTreeMap<SubscriptionKind, BTreeMap<Bytes, LogIndex>>,
    waiting: bool,
}

impl Cursor {
    /// Whether a subscription gets the messages of entry `index`.
    pub(crate) fn wants(&self, kind: SubscriptionKind, name: &[u8], index: LogIndex) -> bool {
        let since = self.since.get(&kind).and_then(|names| names.get(name));
        since.is_none_or(|since| index > *since)
    }
}

/// What a waiting subscriber needs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: it has everything that is applied.
    Live,
    /// A block that is here.
    Block,
    /// What is being read: everybody before this entry waits for the same.
    Wait(LogIndex),
    /// A read.
    Read,
}

/// The log has lost entries that somebody needs, and it is being found out what the first message is that it still has.
#[derive(Debug)]
pub(crate) struct Lost {
    /// The last entry that is gone.
    pub(crate) truncated: LogIndex,
    /// Where to look next.
    pub(crate) next: LogIndex,
}

/// All subscribers of a node that lag.
#[derive(Debug)]
pub(crate) struct Cursors {
    cursors: BTreeMap<ClientId, Cursor>,
    /// Those that have room for more, by what they need.
    waiting: BTreeSet<(LogIndex, ClientId)>,
    /// Who was served last.
    pub(crate) sweep: (LogIndex, ClientId),
    pub(crate) blocks: Blocks,
    /// Reads under way: from, and to exclusively.
    reading: BTreeMap<LogIndex, LogIndex>,
    pub(crate) lost: Option<Lost>,
    /// What had no effect since somebody lags. The log does not tell it from other operations.
    void: BTreeMap<LogIndex, Void>,
    applied: LogIndex,
    /// The last id that was delivered.
    last_id: MessageId,
}

impl Cursors {
    pub(crate) fn new(blocks: Blocks) -> Self {
        Self {
            cursors: BTreeMap::new(),
            waiting: BTreeSet::new(),
            sweep: (LogIndex(0), ClientId(0)),
            blocks,
            reading: BTreeMap::new(),
            lost: None,
            void: BTreeMap::new(),
            applied: LogIndex(0),
            last_id: MessageId::default(),
        }
    }

    /// Takes note that an entry is applied, and of what it delivered.
    pub(crate) fn applied(&mut self, index: LogIndex, batch: Option<AppliedBatch>) {
        self.applied = index;
        let batch = batch.filter(|batch| !batch.ops.is_empty());
        if let Some(batch) = &batch {
            self.last_id = batch.first;
            self.last_id.seq += batch.ops.len() as u64 - 1;
        }
        if !self.cursors.is_empty() {
            let void = batch.as_ref().map(|batch| batch.void().collect());
            let void: Vec<u32> = void.unwrap_or_default();
            let mut batch = batch.map(|it| Batch::new(it.first, it.ops));
            if let Some(batch) = batch.as_mut().filter(|_| !void.is_empty()) {
                batch.leave_out(&void);
                self.void.insert(index, Void::Ops(void));
            }
            self.blocks.append(index, batch);
        }
    }

    /// Takes note that a batch had no effect. Nobody who begins to lag later needs it.
    pub(crate) fn void(&mut self, index: LogIndex) {
        if !self.cursors.is_empty() {
            self.void.insert(index, Void::Batch);
        }
    }

    /// Takes note that entries were skipped up to `index`, and what the last id was there.
    pub(crate) fn skip_to(&mut self, index: LogIndex, last_id: MessageId) {
        self.applied = index;
        self.last_id = last_id;
        self.blocks.clear();
        self.void.clear();
    }

    /// Returns the last entry that was applied.
    pub(crate) fn applied_index(&self) -> LogIndex {
        self.applied
    }

    /// Returns an id that the next message will not be below.
    pub(crate) fn next_id(&self) -> MessageId {
        MessageId {
            seq: self.last_id.seq + 1,
            ..self.last_id
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.cursors.len()
    }

    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn contains(&self, client: ClientId) -> bool {
        self.cursors.contains_key(&client)
    }

    /// Returns where a client stands, and the block with what it needs next, if that is here.
    pub(crate) fn at(&mut self, client: ClientId) -> Option<(&Cursor, &Block)> {
        let cursor = self.cursors.get(&client)?;
        Some((cursor, self.blocks.get(cursor.position.index)?))
    }

    /// Begins to keep the position of a client, which is still draining.
    pub(crate) fn begin(&mut self, client: ClientId, index: LogIndex) {
        let cursor = Cursor {
            position: Position::at(index),
            since: BTreeMap::new(),
            waiting: false,
        };
        let before = self.cursors.insert(client, cursor);
        assert!(before.is_none(), "{client:?} lags already");
    }

    /// Forgets a client, which is live or gone. Without anybody who lags nothing is kept.
    pub(crate) fn end(&mut self, client: ClientId) -> bool {
        let Some(cursor) = self.cursors.remove(&client) else {
            return false;
        };
        if cursor.waiting {
            self.waiting.remove(&(cursor.position.index, client));
        }
        if self.cursors.is_empty() {
            self.blocks.clear();
            self.void.clear();
            self.lost = None;
        }
        true
    }

    /// Takes note of a subscription that begins behind what is applied.
    pub(crate) fn subscribed(&mut self, client: ClientId, kind: SubscriptionKind, name: &[u8]) {
        if let Some(cursor) = self.cursors.get_mut(&client) {
            let names = cursor.since.entry(kind).or_default();
            // A copy, because names may be slices of what was read from the socket.
            names.insert(Bytes::copy_from_slice(name), self.applied);
        }
    }

    /// Takes note of the end of a subscription.
    pub(crate) fn unsubscribed(&mut self, client: ClientId, kind: SubscriptionKind, name: &[u8]) {
        let cursor = self.cursors.get_mut(&client);
        if let Some(names) = cursor.and_then(|cursor| cursor.since.get_mut(&kind)) {
            names.remove(name);
        }
    }

    /// Puts a client among those that have room for more, or takes it out.
    pub(crate) fn set_waiting(&mut self, client: ClientId, waits: bool) {
        let Some(cursor) = self.cursors.get_mut(&client) else {
            return;
        };
        let key = (cursor.position.index, client);
        cursor.waiting = waits;
        if waits {
            self.waiting.insert(key);
        } else {
            self.waiting.remove(&key);
        }
    }

    /// Moves a waiting client to where it now stands.
    pub(crate) fn moved(&mut self, client: ClientId, position: Position) {
        let Some(cursor) = self.cursors.get_mut(&client) else {
            return;
        };
        let (from, to) = (cursor.position.index, position.index);
        // A subscription that the position has reached has begun.
        cursor.since.retain(|_, names| {
            names.retain(|_, since| *since >= to);
            !names.is_empty()
        });
        cursor.position = position;
        if cursor.waiting && from != to {
            self.waiting.remove(&(from, client));
            self.waiting.insert((to, client));
        }
    }

    /// Returns the first waiting client behind a place.
    pub(crate) fn next_waiting(&self, place: (LogIndex, ClientId)) -> Option<(LogIndex, ClientId)> {
        let range = (Bound::Excluded(place), Bound::Unbounded);
        self.waiting.range(range).next().copied()
    }

    /// Returns the waiting clients that need an entry up to `index`.
    pub(crate) fn waiting_up_to(&self, index: LogIndex) -> Vec<ClientId> {
        let range = ..=(index, ClientId(u64::MAX));
        self.waiting
            .range(range)
            .map(|(_, client)| *client)
            .collect()
    }

    /// Returns what whoever stands at `index` needs.
    pub(crate) fn need(&self, index: LogIndex) -> Need {
        if index > self.applied {
            return Need::Live;
        }
        if self.blocks.contains(index) {
            return Need::Block;
        }
        match self.reading.range(..=index).next_back() {
            Some((_, to)) if *to > index => Need::Wait(*to),
            _ => Need::Read,
        }
    }

    pub(crate) fn reads_under_way(&self) -> usize {
        self.reading.len()
    }

    /// Begins a read from `index`, as far as nobody else reads or has it.
    pub(crate) fn read(&mut self, index: LogIndex, bytes_max: u64) -> LogRead {
        let read = self.reading.range(index..).next().map(|(from, _)| *from);
        let to = [
            read,
            self.blocks.next_start(index),
            Some(self.applied.next()),
        ];
        let to = to.into_iter().flatten().min().expect("the end of the log");
        self.reading.insert(index, to);
        LogRead {
            from: index,
            to,
            bytes_max,
        }
    }

    /// Takes the end of a read. Returns how many bytes it read.
    ///
    /// # Errors
    /// [`ReadLogError`], also that the log does not have the entries any more.
    pub(crate) fn take_block(&mut self, block: LogBlock) -> Result<u64, ReadLogError> {
        let LogBlock { from, result } = block;
        self.reading.remove(&from);
        let mut block = result?;
        block.leave_out(&self.void);
        let bytes = block.bytes();
        if !self.cursors.is_empty() {
            self.blocks.insert(from, block);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
