//! The groups of a stream; making, setting and removing groups and their consumers: `XGROUP`.

use super::execute::At;
use super::group::Group;
use super::rows::Row;
use super::stream::Stream;
use bytes::Bytes;
use corgi_base::MessageId;
use corgi_base::answer::Answer;
use corgi_base::streams::{GroupStart, StreamError, error::Name};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

/// All groups of a stream. Whoever may change one is noted, so that an operation costs by the groups that it concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Groups {
    groups: BTreeMap<Bytes, Group>,
    touched: BTreeSet<Bytes>,
    /// What they take, each as it was counted last.
    bytes: usize,
}

impl Deref for Groups {
    type Target = BTreeMap<Bytes, Group>;

    fn deref(&self) -> &Self::Target {
        &self.groups
    }
}

impl Groups {
    pub(super) fn get_mut(&mut self, name: &Bytes) -> Option<&mut Group> {
        let (kept, _) = self.groups.get_key_value(name)?;
        if !self.touched.contains(name) {
            self.touched.insert(kept.clone());
        }
        self.groups.get_mut(name)
    }

    pub(super) fn insert(&mut self, name: Bytes, group: Group) {
        self.touched.insert(name.clone());
        self.groups.insert(name, group);
    }

    pub(super) fn remove(&mut self, name: &Bytes) -> Option<Group> {
        self.touched.remove(name);
        let removed = self.groups.remove(name)?;
        self.bytes -= removed.counted;
        Some(removed)
    }

    /// Removes a message from what all groups have pending.
    pub(super) fn forget(&mut self, id: MessageId) {
        for (name, group) in &mut self.groups {
            if group.forget(id) {
                self.touched.insert(name.clone());
            }
        }
    }

    /// Counts what the groups take that may have changed, and takes their rows that have.
    pub(super) fn take_changed(&mut self) -> Vec<Row> {
        let mut changed = Vec::new();
        for name in std::mem::take(&mut self.touched) {
            if let Some(group) = self.groups.get_mut(&name) {
                changed.append(&mut group.take_changed());
                let bytes = group.memory();
                self.bytes = self.bytes - group.counted + bytes;
                group.counted = bytes;
            }
        }
        changed
    }

    /// Returns what they take, as it was counted by [`Groups::take_changed`].
    pub(super) fn memory(&self) -> usize {
        self.bytes
    }
}

impl Stream {
    pub(super) fn group_create(
        &mut self,
        group: &Bytes,
        start: GroupStart,
    ) -> Result<Answer, StreamError> {
        if self.groups.contains_key(group) {
            return Err(StreamError::GroupExists);
        }
        let last = start.after.unwrap_or(self.last);
        // A copy: what is kept must not keep a whole entry in memory.
        let name = Bytes::copy_from_slice(group);
        let made = Group::new(name.clone(), last, self.entries_read(start));
        self.groups.insert(name, made);
        Ok(Answer::Ok)
    }

    pub(super) fn group_set(
        &mut self,
        key: &Bytes,
        group: &Bytes,
        start: GroupStart,
    ) -> Result<Answer, StreamError> {
        let last = start.after.unwrap_or(self.last);
        let read = self.entries_read(start);
        self.group_named(key, group)?.set(last, read);
        Ok(Answer::Ok)
    }

    pub(super) fn group_destroy(&mut self, group: &Bytes) -> Answer {
        let removed = self.groups.remove(group);
        if let Some(mut removed) = removed {
            let changed = removed.take_changed();
            let rows = removed.rows().chain(changed).collect::<Vec<_>>();
            rows.into_iter().for_each(|row| self.touch(row));
            return Answer::Int(1);
        }
        Answer::Int(0)
    }

    pub(super) fn consumer_create(
        &mut self,
        key: &Bytes,
        group: &Bytes,
        consumer: &Bytes,
        at: At,
    ) -> Result<Answer, StreamError> {
        let made = self.group_named(key, group)?.create(consumer, at.now_ms);
        Ok(Answer::flag(made))
    }

    pub(super) fn consumer_delete(
        &mut self,
        key: &Bytes,
        group: &Bytes,
        consumer: &Bytes,
    ) -> Result<Answer, StreamError> {
        let had = self.group_named(key, group)?.delete(consumer);
        Ok(Answer::count(had))
    }

    /// No group has read more than there has been.
    fn entries_read(&self, start: GroupStart) -> Option<u64> {
        start.entries_read.map(|read| read.min(self.added))
    }

    fn group_named(&mut self, key: &Bytes, group: &Bytes) -> Result<&mut Group, StreamError> {
        self.groups.get_mut(group).ok_or(StreamError::NoGroup {
            key: Name(key.clone()),
            group: Name(group.clone()),
        })
    }
}
