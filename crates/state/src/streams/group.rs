//! One group: how far it has been given the stream, its consumers, and what is pending.

use super::rows::{Row, put_id, put_maybe, read_id, read_maybe};
use bytes::{BufMut, Bytes};
use corgi_base::MessageId;
use corgi_base::codec::{DecodeError, Reader};
use std::collections::{BTreeMap, BTreeSet};

/// A message that was given out and not acknowledged yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    /// To whom; nobody after `XNACK`.
    pub(super) consumer: Option<Bytes>,
    /// When; 0 after `XNACK`.
    pub(super) delivered: u64,
    /// How often.
    pub(super) count: u64,
}

/// Who reads in a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Consumer {
    /// When it last asked.
    pub(super) seen: u64,
    /// When it last was given something.
    pub(super) active: Option<u64>,
    pub(super) pending: BTreeSet<MessageId>,
}

/// One group of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    name: Bytes,
    pub(super) last: MessageId,
    /// How many entries of the stream it has been given, if that is known.
    pub(super) read: Option<u64>,
    consumers: BTreeMap<Bytes, Consumer>,
    pending: BTreeMap<MessageId, Pending>,
    /// The pending messages, those that have waited longest first.
    by_time: BTreeSet<(u64, MessageId)>,
    changed: Vec<Row>,
    consumer_bytes: usize,
    /// What it took when that was counted last.
    pub(super) counted: usize,
}

fn consumer_bytes(name: &Bytes) -> usize {
    128 + name.len()
}

impl Group {
    pub(super) fn new(name: Bytes, last: MessageId, read: Option<u64>) -> Self {
        let changed = vec![Row::Group(name.clone())];
        Self {
            name,
            last,
            read,
            consumers: BTreeMap::new(),
            pending: BTreeMap::new(),
            by_time: BTreeSet::new(),
            changed,
            consumer_bytes: 0,
            counted: 0,
        }
    }

    pub(super) fn take_changed(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.changed)
    }

    pub(super) fn set(&mut self, last: MessageId, read: Option<u64>) {
        if (self.last, self.read) != (last, read) {
            (self.last, self.read) = (last, read);
            self.changed.push(Row::Group(self.name.clone()));
        }
    }

    pub(super) fn consumers(&self) -> &BTreeMap<Bytes, Consumer> {
        &self.consumers
    }

    pub(super) fn pending(&self) -> &BTreeMap<MessageId, Pending> {
        &self.pending
    }

    /// Returns what has been pending since `until` or longer, the longest first.
    pub(super) fn waiting_since(&self, until: u64) -> impl Iterator<Item = MessageId> {
        let last = (until, corgi_base::streams::id::MAX);
        self.by_time.range(..=last).map(|(_, id)| *id)
    }

    /// Makes a consumer, if there is none of that name yet.
    pub(super) fn create(&mut self, consumer: &Bytes, now: u64) -> bool {
        let new = !self.consumers.contains_key(consumer);
        if new {
            // A copy: what is kept must not keep a whole entry in memory.
            let consumer = Bytes::copy_from_slice(consumer);
            let row = Row::Consumer(self.name.clone(), consumer.clone());
            self.changed.push(row);
            self.consumer_bytes += consumer_bytes(&consumer);
            let seen = now;
            self.consumers.insert(
                consumer,
                Consumer {
                    seen,
                    ..Consumer::default()
                },
            );
        }
        new
    }

    /// Notes that a consumer has asked, and whether it was given something.
    pub(super) fn meet(&mut self, consumer: &Bytes, now: u64, given: bool) {
        self.create(consumer, now);
        if let Some(met) = self.consumers.get_mut(consumer) {
            let active = if given { Some(now) } else { met.active };
            (met.seen, met.active) = (now, active);
        }
        let row = Row::Consumer(self.name.clone(), consumer.clone());
        self.changed.push(row);
    }

    /// Removes a consumer; returns how many messages it had pending, which are forgotten.
    pub(super) fn delete(&mut self, consumer: &Bytes) -> usize {
        let Some(removed) = self.consumers.remove(consumer) else {
            return 0;
        };
        self.consumer_bytes -= consumer_bytes(consumer);
        let row = Row::Consumer(self.name.clone(), consumer.clone());
        self.changed.push(row);
        for id in &removed.pending {
            self.forget(*id);
        }
        removed.pending.len()
    }

    /// Makes a message pending, whoever had it before.
    pub(super) fn assign(&mut self, id: MessageId, to: Pending) {
        let owner = to.consumer.clone();
        let delivered = to.delivered;
        if let Some(before) = self.pending.insert(id, to) {
            self.by_time.remove(&(before.delivered, id));
            self.disown(before.consumer.as_ref(), id);
        }
        self.by_time.insert((delivered, id));
        if let Some(owner) = owner.as_ref().and_then(|name| self.consumers.get_mut(name)) {
            owner.pending.insert(id);
        }
        self.changed.push(Row::Pending(self.name.clone(), id));
    }

    /// Removes a message from what is pending; returns whether it was.
    pub(super) fn forget(&mut self, id: MessageId) -> bool {
        let Some(before) = self.pending.remove(&id) else {
            return false;
        };
        self.by_time.remove(&(before.delivered, id));
        self.disown(before.consumer.as_ref(), id);
        self.changed.push(Row::Pending(self.name.clone(), id));
        true
    }

    fn disown(&mut self, consumer: Option<&Bytes>, id: MessageId) {
        if let Some(owner) = consumer.and_then(|name| self.consumers.get_mut(name)) {
            owner.pending.remove(&id);
        }
    }

    /// Returns the name of a consumer in the buffer that is kept, so that many messages share it.
    pub(super) fn kept_name(&self, consumer: &Bytes) -> Bytes {
        let kept = self.consumers.get_key_value(consumer);
        kept.map_or_else(|| consumer.clone(), |(name, _)| name.clone())
    }

    pub(super) fn memory(&self) -> usize {
        256 + self.name.len() + self.pending.len() * 160 + self.consumer_bytes
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = Row> {
        let name = || self.name.clone();
        let consumers = self.consumers.keys();
        let pending = self.pending.keys();
        std::iter::once(Row::Group(name()))
            .chain(consumers.map(move |consumer| Row::Consumer(name(), consumer.clone())))
            .chain(pending.map(move |id| Row::Pending(name(), *id)))
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(25);
        put_id(&mut out, self.last);
        put_maybe(&mut out, self.read);
        out.into()
    }

    pub(super) fn decode(name: Bytes, value: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(value);
        let last = read_id(&mut r, "group's last id")?;
        let read = read_maybe(&mut r, "entries read")?;
        r.finish()?;
        let mut group = Self::new(name, last, read);
        group.changed.clear();
        Ok(group)
    }

    pub(super) fn consumer_row(&self, consumer: &Bytes) -> Option<Bytes> {
        let consumer = self.consumers.get(consumer)?;
        let mut out = Vec::with_capacity(17);
        out.put_u64(consumer.seen);
        put_maybe(&mut out, consumer.active);
        Some(out.into())
    }

    pub(super) fn restore_consumer(
        &mut self,
        name: Bytes,
        value: Bytes,
    ) -> Result<(), DecodeError> {
        let mut r = Reader::new(value);
        let consumer = Consumer {
            seen: r.u64("seen time")?,
            active: read_maybe(&mut r, "active time")?,
            pending: BTreeSet::new(),
        };
        r.finish()?;
        self.consumer_bytes += consumer_bytes(&name);
        self.consumers.insert(name, consumer);
        Ok(())
    }

    pub(super) fn pending_row(&self, id: MessageId) -> Option<Bytes> {
        let pending = self.pending.get(&id)?;
        let mut out = Vec::new();
        out.put_u64(pending.delivered);
        out.put_u64(pending.count);
        out.put_u8(pending.consumer.is_some().into());
        out.put_slice(pending.consumer.as_deref().unwrap_or_default());
        Some(out.into())
    }

    pub(super) fn restore_pending(
        &mut self,
        id: MessageId,
        value: Bytes,
    ) -> Result<(), DecodeError> {
        let field = "consumer of a pending message";
        let mut r = Reader::new(value);
        let (delivered, count) = (r.u64("delivered")?, r.u64("deliveries")?);
        let consumer = match (r.u8(field)?, r.rest()) {
            (0, rest) if rest.is_empty() => None,
            (1, name) if self.consumers.contains_key(&name) => Some(self.kept_name(&name)),
            _ => return Err(DecodeError::Invalid { field }),
        };
        self.assign(
            id,
            Pending {
                consumer,
                delivered,
                count,
            },
        );
        self.changed.clear();
        Ok(())
    }
}
