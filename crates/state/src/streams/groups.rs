//! Making, setting and removing groups and their consumers: `XGROUP`.

use super::execute::At;
use super::group::Group;
use super::stream::Stream;
use bytes::Bytes;
use corgi_base::answer::Answer;
use corgi_base::streams::{GroupStart, StreamError, error::Name};

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
