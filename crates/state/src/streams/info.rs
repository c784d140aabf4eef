//! What is told about a stream: `XINFO`, and how far behind a group is.

use super::group::Group;
use super::read::{entry_answer, id_answer, number};
use super::stream::{Stream, saturated};
use bytes::Bytes;
use corgi_base::MessageId;
use corgi_base::answer::Answer;
use corgi_base::streams::{StreamError, error::Name, id};

/// Redis keeps so many entries in one node of its radix tree; there is none here, but tools draw the figure.
const ENTRIES_IN_NODE: usize = 100;

fn pair(name: &'static str, value: Answer) -> (Answer, Answer) {
    (Answer::Bulk(Bytes::from_static(name.as_bytes())), value)
}

fn maybe(value: Option<u64>) -> Answer {
    value.map_or(Answer::Nil, number)
}

impl Stream {
    /// Returns whether an entry after `after` was deleted one by one, so that counting is no use.
    pub(super) fn has_tombstones_after(&self, after: MessageId) -> bool {
        let zero = MessageId::default();
        match self.first() {
            None => false,
            Some(first) if self.max_deleted == zero || first > self.max_deleted => false,
            Some(_) => after <= self.max_deleted,
        }
    }

    /// Returns how many entries there have been up to an id, if that can be known.
    pub(super) fn entries_up_to(&self, upto: MessageId) -> Option<u64> {
        let zero = MessageId::default();
        if self.added == 0 {
            return Some(0);
        }
        let Some(first) = self.first() else {
            return (upto <= self.last).then_some(self.added);
        };
        if upto != zero && upto < self.max_deleted {
            return None;
        }
        if upto == self.last {
            return Some(self.added);
        }
        if upto > self.last {
            return None;
        }
        let whole = self.max_deleted == zero || self.max_deleted < first;
        let before = self.added.checked_sub(self.len() as u64)?;
        match upto.cmp(&first) {
            std::cmp::Ordering::Less if whole => Some(before),
            std::cmp::Ordering::Equal if whole => Some(before + 1),
            _ => None,
        }
    }

    fn lag(&self, group: &Group) -> Option<u64> {
        if self.added == 0 || self.is_empty() {
            return Some(0);
        }
        if let Some(first) = self.first()
            && group.last < first
            && self.max_deleted < first
        {
            return Some(self.len() as u64);
        }
        match group.read {
            Some(read) if !self.has_tombstones_after(group.last) => {
                Some(self.added.saturating_sub(read))
            }
            _ => self
                .entries_up_to(group.last)
                .map(|read| self.added.saturating_sub(read)),
        }
    }

    fn head_info(&self) -> Vec<(Answer, Answer)> {
        let nodes = self.len().div_ceil(ENTRIES_IN_NODE);
        let (pids, iids) = self.attempts_known();
        vec![
            pair("length", Answer::count(self.len())),
            pair("radix-tree-keys", Answer::count(nodes)),
            pair("radix-tree-nodes", Answer::count(nodes + 1)),
            pair("last-generated-id", id_answer(self.last)),
            pair("max-deleted-entry-id", id_answer(self.max_deleted)),
            pair("entries-added", number(self.added)),
            pair(
                "recorded-first-entry-id",
                id_answer(self.first().unwrap_or_default()),
            ),
            pair("idmp-duration", number(self.duration_s.into())),
            pair("idmp-maxsize", number(self.attempts_max.into())),
            pair("pids-tracked", Answer::count(pids)),
            pair("iids-tracked", Answer::count(iids)),
            pair("iids-added", number(self.tried)),
            pair("iids-duplicates", number(self.again)),
        ]
    }

    pub(super) fn info(&self) -> Answer {
        let entry = |found: Option<MessageId>| match found {
            Some(id) => entry_answer(id, self.entry(id).unwrap_or_default()),
            None => Answer::Nil,
        };
        let mut info = self.head_info();
        info.extend([
            pair("groups", Answer::count(self.groups.len())),
            pair("first-entry", entry(self.first())),
            pair("last-entry", entry(self.top())),
        ]);
        Answer::Map(info)
    }

    /// `count` 0 is all.
    pub(super) fn info_full(&self, count: u64) -> Answer {
        let most = if count == 0 {
            usize::MAX
        } else {
            saturated(count)
        };
        let entries = self.range(MessageId::default(), id::MAX).take(most);
        let entries = entries.map(|(id, fields)| entry_answer(id, fields));
        let mut info = self.head_info();
        info.push(pair("entries", Answer::Array(entries.collect())));
        let groups = self.groups.iter();
        let groups = groups.map(|(name, group)| self.group_full(name, group, most));
        info.push(pair("groups", Answer::Array(groups.collect())));
        Answer::Map(info)
    }

    fn group_full(&self, name: &Bytes, group: &Group, most: usize) -> Answer {
        let owner = |name: &Option<Bytes>| Answer::Bulk(name.clone().unwrap_or_default());
        let pending = group.pending().iter().take(most).map(|(id, pending)| {
            Answer::Array(vec![
                id_answer(*id),
                owner(&pending.consumer),
                number(pending.delivered),
                number(pending.count),
            ])
        });
        let consumers = group.consumers().iter().map(|(name, consumer)| {
            let pending = consumer.pending.iter().take(most).map(|id| {
                let pending = &group.pending()[id];
                Answer::Array(vec![
                    id_answer(*id),
                    number(pending.delivered),
                    number(pending.count),
                ])
            });
            Answer::Map(vec![
                pair("name", Answer::Bulk(name.clone())),
                pair("seen-time", number(consumer.seen)),
                pair(
                    "active-time",
                    consumer.active.map_or(Answer::Int(-1), number),
                ),
                pair("pel-count", Answer::count(consumer.pending.len())),
                pair("pending", Answer::Array(pending.collect())),
            ])
        });
        Answer::Map(vec![
            pair("name", Answer::Bulk(name.clone())),
            pair("last-delivered-id", id_answer(group.last)),
            pair("entries-read", maybe(group.read)),
            pair("lag", maybe(self.lag(group))),
            pair("pel-count", Answer::count(group.pending().len())),
            pair("pending", Answer::Array(pending.collect())),
            pair("consumers", Answer::Array(consumers.collect())),
        ])
    }

    pub(super) fn info_groups(&self) -> Answer {
        let groups = self.groups.iter().map(|(name, group)| {
            Answer::Map(vec![
                pair("name", Answer::Bulk(name.clone())),
                pair("consumers", Answer::count(group.consumers().len())),
                pair("pending", Answer::count(group.pending().len())),
                pair("last-delivered-id", id_answer(group.last)),
                pair("entries-read", maybe(group.read)),
                pair("lag", maybe(self.lag(group))),
            ])
        });
        Answer::Array(groups.collect())
    }

    pub(super) fn info_consumers(
        &self,
        key: &Bytes,
        group: &Bytes,
        now: u64,
    ) -> Result<Answer, StreamError> {
        let Some(found) = self.groups.get(group) else {
            return Err(StreamError::NoGroup {
                key: Name(key.clone()),
                group: Name(group.clone()),
            });
        };
        let consumers = found.consumers().iter().map(|(name, consumer)| {
            let inactive = consumer.active.map(|active| now.saturating_sub(active));
            Answer::Map(vec![
                pair("name", Answer::Bulk(name.clone())),
                pair("pending", Answer::count(consumer.pending.len())),
                pair("idle", number(now.saturating_sub(consumer.seen))),
                pair("inactive", inactive.map_or(Answer::Int(-1), number)),
            ])
        });
        Ok(Answer::Array(consumers.collect()))
    }
}
