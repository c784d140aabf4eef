//! One stream: its entries, what it has been through, its groups, and the attempts of its producers.

use super::attempts::Producers;
use super::group::Group;
use super::groups::Groups;
use super::rows::{Row, put_id, read_id};
use bytes::{BufMut, Bytes};
use corgi_base::MessageId;
use corgi_base::codec::{DecodeError, Reader, put_bytes};
use corgi_base::streams::{Keep, NewId, Refs, StreamError, Trim, id};
use std::collections::BTreeMap;
use std::ops::Bound;

/// For how long a second attempt of a producer is known as one, unless `XCFGSET` says otherwise.
const DURATION_S: u32 = 100;
/// Of how many entries of each producer, unless `XCFGSET` says otherwise.
const ATTEMPTS_MAX: u32 = 100;

/// One stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    pub(super) last: MessageId,
    pub(super) max_deleted: MessageId,
    /// How many entries it has ever had.
    pub(super) added: u64,
    pub(super) duration_s: u32,
    pub(super) attempts_max: u32,
    /// How many attempts have added an entry, and how many were a second one.
    pub(super) tried: u64,
    pub(super) again: u64,
    entries: BTreeMap<MessageId, Vec<Bytes>>,
    pub(super) groups: Groups,
    producers: Producers,
    entry_bytes: usize,
    /// What it took when that was counted last.
    pub(super) counted: usize,
    changed: Vec<Row>,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            last: MessageId::default(),
            max_deleted: MessageId::default(),
            added: 0,
            duration_s: DURATION_S,
            attempts_max: ATTEMPTS_MAX,
            tried: 0,
            again: 0,
            entries: BTreeMap::new(),
            groups: Groups::default(),
            producers: Producers::default(),
            entry_bytes: 0,
            counted: 0,
            changed: vec![Row::Head],
        }
    }
}

fn entry_bytes(fields: &[Bytes]) -> usize {
    96 + fields.iter().map(|part| 40 + part.len()).sum::<usize>()
}

impl Stream {
    /// Returns how many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the id of the last entry that was added, deleted or not.
    pub fn last_id(&self) -> MessageId {
        self.last
    }

    /// Returns the id of the newest entry that is there.
    pub fn top(&self) -> Option<MessageId> {
        self.entries.last_key_value().map(|(id, _)| *id)
    }

    /// Returns the id of the oldest entry that is there.
    pub fn first(&self) -> Option<MessageId> {
        self.entries.first_key_value().map(|(id, _)| *id)
    }

    /// Returns after which id a group has not been given anything yet.
    pub fn group_last(&self, group: &Bytes) -> Option<MessageId> {
        self.groups.get(group).map(|group| group.last)
    }

    /// Returns an entry's fields and values.
    pub fn entry(&self, id: MessageId) -> Option<&[Bytes]> {
        self.entries.get(&id).map(Vec::as_slice)
    }

    /// Returns the entries between two ids, both included.
    pub fn range(
        &self,
        from: MessageId,
        to: MessageId,
    ) -> impl DoubleEndedIterator<Item = (MessageId, &[Bytes])> {
        // A BTreeMap panics over a range that ends before it begins.
        let (from, to) = if from <= to {
            (Bound::Included(from), Bound::Included(to))
        } else {
            (Bound::Excluded(id::MAX), Bound::Unbounded)
        };
        let entries = self.entries.range((from, to));
        entries.map(|(id, fields)| (*id, fields.as_slice()))
    }

    /// Returns about how many bytes of memory it takes.
    pub fn memory(&self) -> usize {
        512 + self.entry_bytes + self.groups.memory() + self.producers.memory()
    }

    pub(super) fn touch(&mut self, row: Row) {
        self.changed.push(row);
    }

    pub(super) fn take_changed(&mut self) -> Vec<Row> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.append(&mut self.groups.take_changed());
        changed
    }

    /// Returns the id that an entry would get.
    pub(super) fn new_id(&self, new: NewId, own: MessageId) -> Result<MessageId, StreamError> {
        let Some(after_last) = id::next(self.last) else {
            return Err(StreamError::Exhausted);
        };
        let id = match new {
            NewId::Auto => own.max(after_last),
            NewId::AutoSeq(ms) if ms == self.last.ms => match self.last.seq.checked_add(1) {
                Some(seq) => MessageId { ms, seq },
                None => return Err(StreamError::IdNotGrowing),
            },
            NewId::AutoSeq(ms) => MessageId { ms, seq: 0 },
            NewId::Exact(id) => id,
        };
        if id <= self.last {
            return Err(StreamError::IdNotGrowing);
        }
        Ok(id)
    }

    /// Adds an entry after all others.
    pub(super) fn add(&mut self, id: MessageId, fields: &[Bytes]) {
        assert!(id > self.last, "new_id() has said which ids may be added");
        // One copy for all: what is kept must not keep a whole log entry in memory.
        let mut whole = Vec::with_capacity(fields.iter().map(Bytes::len).sum());
        fields.iter().for_each(|part| whole.put_slice(part));
        let mut whole = Bytes::from(whole);
        let fields: Vec<Bytes> = fields
            .iter()
            .map(|part| whole.split_to(part.len()))
            .collect();
        self.entry_bytes += entry_bytes(&fields);
        self.entries.insert(id, fields);
        self.last = id;
        self.added += 1;
        self.changed.extend([Row::Head, Row::Entry(id)]);
    }

    fn drop_entry(&mut self, id: MessageId) -> bool {
        let Some(fields) = self.entries.remove(&id) else {
            return false;
        };
        self.entry_bytes -= entry_bytes(&fields);
        self.changed.push(Row::Entry(id));
        true
    }

    /// Deletes one entry, as `XDEL`.
    pub(super) fn delete(&mut self, id: MessageId) -> bool {
        let deleted = self.drop_entry(id);
        if deleted && id > self.max_deleted {
            self.max_deleted = id;
            self.changed.push(Row::Head);
        }
        deleted
    }

    /// Returns whether a group still needs an entry: it has it pending, or was not given it yet.
    pub(super) fn is_referenced(&self, id: MessageId) -> bool {
        let needs = |group: &Group| id > group.last || group.pending().contains_key(&id);
        self.groups.values().any(needs)
    }

    /// Removes a message from what all groups have pending.
    pub(super) fn unreference(&mut self, id: MessageId) {
        self.groups.forget(id);
    }

    /// Trims; returns how many entries that deleted.
    pub(super) fn trim(&mut self, trim: Trim, refs: Refs) -> usize {
        let limit = trim.limit.map_or(usize::MAX, saturated);
        let surplus = match trim.keep {
            Keep::Newest(count) => self.entries.len().saturating_sub(saturated(count)),
            Keep::From(_) => usize::MAX,
        };
        let old = |id: &MessageId| match trim.keep {
            Keep::Newest(_) => true,
            Keep::From(from) => *id < from,
        };
        // With ACKED the entries that are still needed stay, and those behind them may go.
        let candidates: Vec<MessageId> = self
            .entries
            .keys()
            .take_while(|id| old(id))
            .filter(|id| refs != Refs::Acked || !self.is_referenced(**id))
            .take(surplus.min(limit))
            .copied()
            .collect();
        for id in &candidates {
            if refs == Refs::Delete {
                self.unreference(*id);
            }
            self.drop_entry(*id);
        }
        candidates.len()
    }

    /// Returns the entry of an attempt, if it is still known.
    pub(super) fn attempt(&mut self, pid: &Bytes, iid: &Bytes, now: u64) -> Option<MessageId> {
        self.expire_attempts(pid, now, saturated(self.attempts_max.into()));
        self.producers.entry(pid, iid)
    }

    /// Remembers an attempt.
    pub(super) fn remember(&mut self, pid: &Bytes, iid: &Bytes, entry: MessageId, now: u64) {
        // One more is to come.
        let room = saturated(self.attempts_max.into()).saturating_sub(1);
        self.expire_attempts(pid, now, room);
        let (pid, iid) = (Bytes::copy_from_slice(pid), Bytes::copy_from_slice(iid));
        self.changed
            .extend([Row::Head, Row::Attempt(pid.clone(), iid.clone())]);
        self.producers.insert(pid, iid, entry, now);
        self.tried += 1;
    }

    fn expire_attempts(&mut self, pid: &Bytes, now: u64, max: usize) {
        let kept_ms = u64::from(self.duration_s) * 1000;
        while let Some(iid) = self.producers.remove_oldest(pid, max, now, kept_ms) {
            self.changed.push(Row::Attempt(pid.clone(), iid));
        }
    }

    /// Forgets all attempts.
    pub(super) fn forget_attempts(&mut self) {
        self.changed.extend(self.producers.rows());
        self.producers = Producers::default();
    }

    /// Returns how many producers and attempts are known.
    pub(super) fn attempts_known(&self) -> (usize, usize) {
        self.producers.known()
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = Row> {
        std::iter::once(Row::Head)
            .chain(self.entries.keys().copied().map(Row::Entry))
            .chain(self.groups.values().flat_map(Group::rows))
            .chain(self.producers.rows())
    }

    pub(super) fn row(&self, row: &Row) -> Option<Bytes> {
        match row {
            Row::Head => Some(self.encode()),
            Row::Entry(id) => self.entries.get(id).map(|fields| {
                let mut out = Vec::with_capacity(entry_bytes(fields));
                out.put_u32(u32::try_from(fields.len()).expect("an operation has a limit"));
                fields.iter().for_each(|part| put_bytes(&mut out, part));
                out.into()
            }),
            Row::Group(group) => self.groups.get(group).map(Group::encode),
            Row::Consumer(group, consumer) => self.groups.get(group)?.consumer_row(consumer),
            Row::Pending(group, id) => self.groups.get(group)?.pending_row(*id),
            Row::Attempt(pid, iid) => self.producers.row(pid, iid),
        }
    }

    fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(64);
        put_id(&mut out, self.last);
        put_id(&mut out, self.max_deleted);
        out.put_u64(self.added);
        out.put_u32(self.duration_s);
        out.put_u32(self.attempts_max);
        out.put_u64(self.tried);
        out.put_u64(self.again);
        out.into()
    }

    pub(super) fn restore(head: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(head);
        let stream = Self {
            last: read_id(&mut r, "last id")?,
            max_deleted: read_id(&mut r, "max deleted id")?,
            added: r.u64("entries added")?,
            duration_s: r.u32("duration")?,
            attempts_max: r.u32("attempts")?,
            tried: r.u64("attempts tried")?,
            again: r.u64("attempts again")?,
            changed: Vec::new(),
            ..Self::default()
        };
        r.finish()?;
        Ok(stream)
    }

    pub(super) fn restore_row(&mut self, row: &Row, value: Bytes) -> Result<(), DecodeError> {
        // A copy: the row may share the buffer of a whole scan.
        let value = Bytes::copy_from_slice(&value);
        match row {
            Row::Head => {}
            Row::Entry(id) => {
                let mut r = Reader::new(value);
                let count = r.u32("fields")?;
                let mut fields = Vec::new();
                for _ in 0..count {
                    fields.push(r.bytes("field")?);
                }
                r.finish()?;
                self.entry_bytes += entry_bytes(&fields);
                self.entries.insert(*id, fields);
            }
            Row::Group(name) => {
                let group = Group::decode(name.clone(), value)?;
                self.groups.insert(name.clone(), group);
            }
            Row::Consumer(group, consumer) => {
                self.group_of_row(group)?
                    .restore_consumer(consumer.clone(), value)?;
            }
            Row::Pending(group, id) => self.group_of_row(group)?.restore_pending(*id, value)?,
            Row::Attempt(pid, iid) => {
                let mut r = Reader::new(value);
                let entry = read_id(&mut r, "entry of an attempt")?;
                let at = r.u64("time of an attempt")?;
                r.finish()?;
                self.producers.insert(pid.clone(), iid.clone(), entry, at);
            }
        }
        Ok(())
    }

    fn group_of_row(&mut self, group: &Bytes) -> Result<&mut Group, DecodeError> {
        let field = "group of a row";
        self.groups
            .get_mut(group)
            .ok_or(DecodeError::Invalid { field })
    }
}

pub(super) fn saturated(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
