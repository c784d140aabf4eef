//! Operations, from the key to the answer.

use super::Streams;
use super::pending;
use super::read::{Budget, id_answer};
use super::rows::{Row, RowKey};
use super::stream::Stream;
use bytes::{BufMut, Bytes};
use corgi_base::MessageId;
use corgi_base::answer::{Answer, KeyError};
use corgi_base::streams::{
    Limits, NewId, Producer, Refs, StreamError, StreamOp, Trim, error::Name,
};
use xxhash_rust::xxh3::xxh3_128;

/// When an operation takes place.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// The log's time.
    pub now_ms: u64,
    /// The operation's own id.
    pub id: MessageId,
}

/// Which stream a key holds; none if there is no such key.
///
/// It gives [`KeyError::WrongType`] for a key that holds something else.
pub type Find<'a> = dyn Fn(&Bytes) -> Result<Option<MessageId>, KeyError> + 'a;

/// What came of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// What is answered.
    pub answer: Answer,
    /// The key that must name a new stream from now on; the stream has the operation's id.
    pub made: Option<Bytes>,
    /// Whether entries or ids of the stream have changed, which is what `WATCH` sees: not what a group was given.
    pub written: bool,
}

impl Streams {
    /// Executes an operation.
    pub fn execute(&mut self, op: &StreamOp, find: &Find<'_>, at: At) -> Executed {
        let mut made = None;
        let answer = self.run(op, find, at, &mut made);
        let written = made.is_some() || (answer.is_ok() && writes(op, answer.as_ref().ok()));
        Executed {
            answer: answer.into(),
            made,
            written,
        }
    }

    /// Answers an operation that changes nothing ([`StreamOp::is_read`]).
    ///
    /// # Errors
    /// [`KeyError`], which is the answer.
    pub fn read(&self, op: &StreamOp, find: &Find<'_>, now_ms: u64) -> Result<Answer, KeyError> {
        let none = Stream::default();
        let at = |key: &Bytes| -> Result<Option<&Stream>, KeyError> {
            Ok(find(key)?.and_then(|id| self.streams.get(&id)))
        };
        let there = |key: &Bytes| at(key)?.ok_or(KeyError::NoSuchKey);
        Ok(match op {
            StreamOp::Len(key) => Answer::count(at(key)?.map_or(0, Stream::len)),
            StreamOp::Range {
                key,
                from,
                to,
                reverse,
                count,
            } => match at(key)? {
                Some(stream) => stream.range_answer(*from, *to, *reverse, *count),
                None => Answer::Array(Vec::new()),
            },
            StreamOp::Read { streams, limits } => {
                let mut budget = Budget::new(*limits);
                let mut read = Vec::new();
                for (key, after) in streams {
                    let stream = at(key)?.unwrap_or(&none);
                    if let Some(entries) = stream.read_after(*after, &mut budget) {
                        read.push((key.clone(), entries));
                    }
                }
                some_streams(read)
            }
            StreamOp::Info(key) => there(key)?.info(),
            StreamOp::InfoFull { key, count } => there(key)?.info_full(*count),
            StreamOp::InfoGroups(key) => there(key)?.info_groups(),
            StreamOp::InfoConsumers { key, group } => {
                there(key)?.info_consumers(key, group, now_ms)?
            }
            StreamOp::Pending { key, group } => {
                let stream = at(key)?;
                let found = stream.and_then(|stream| stream.groups.get(group));
                pending::summary(found.ok_or_else(|| no_key_or_group(key, group))?)
            }
            StreamOp::PendingRange {
                key,
                group,
                min_idle_ms,
                from,
                to,
                count,
                consumer,
            } => {
                let stream = at(key)?;
                let found = stream.and_then(|stream| stream.groups.get(group));
                let found = found.ok_or_else(|| no_key_or_group(key, group))?;
                let ends = (*from, *to);
                pending::range(found, ends, *min_idle_ms, *count, consumer.as_ref(), now_ms)
            }
            write => unreachable!("{write:?} is no read: StreamOp::is_read says so"),
        })
    }

    fn run(
        &mut self,
        op: &StreamOp,
        find: &Find<'_>,
        at: At,
        made: &mut Option<Bytes>,
    ) -> Result<Answer, KeyError> {
        if op.is_read() {
            return self.read(op, find, at.now_ms);
        }
        match op {
            StreamOp::ReadGroup {
                group,
                consumer,
                streams,
                limits,
                no_ack,
                claim_ms,
            } => {
                let who = (group, consumer);
                return self.read_group(who, streams, *limits, (*no_ack, *claim_ms), find, at);
            }
            StreamOp::Add { key, existing, .. } if find(key)?.is_none() => {
                if *existing {
                    return Ok(Answer::Nil);
                }
                // An id that is refused makes no stream.
                let mut stream = Stream::default();
                let answer = execute_one(&mut stream, key, op, at)?;
                self.streams.insert(at.id, stream);
                *made = Some(key.clone());
                self.collect(at.id);
                return Ok(answer);
            }
            StreamOp::GroupCreate { key, make, .. } if *make && find(key)?.is_none() => {
                self.streams.insert(at.id, Stream::default());
                *made = Some(key.clone());
            }
            _ => {}
        }
        let key = op
            .key()
            .expect("all but reads of several streams have one key");
        let found = match made {
            Some(_) => Some(at.id),
            None => find(key)?,
        };
        let Some((id, stream)) = found.and_then(|id| Some((id, self.streams.get_mut(&id)?))) else {
            return without_stream(op);
        };
        let answer = execute_one(stream, key, op, at);
        self.collect(id);
        answer
    }

    fn collect(&mut self, id: MessageId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            // The groups count what they take when their rows are taken.
            let rows = stream.take_changed();
            let bytes = stream.memory();
            self.bytes = self.bytes - stream.counted + bytes;
            stream.counted = bytes;
            let keys = rows.into_iter().map(|row| RowKey { stream: id, row });
            self.changed.extend(keys);
        }
    }

    fn read_group(
        &mut self,
        (group, consumer): (&Bytes, &Bytes),
        streams: &[(Bytes, Option<MessageId>)],
        limits: Limits,
        (no_ack, claim_ms): (bool, Option<u64>),
        find: &Find<'_>,
        at: At,
    ) -> Result<Answer, KeyError> {
        // All or nothing: one group that is not there refuses the whole operation.
        let mut found = Vec::new();
        for (key, after) in streams {
            let id = find(key)?.filter(|id| self.has_group(*id, group));
            let id = id.ok_or_else(|| StreamError::NoGroupToRead {
                key: Name(key.clone()),
                group: Name(group.clone()),
            })?;
            found.push((key, id, *after));
        }
        let mut budget = Budget::new(limits);
        let mut read = Vec::new();
        for (key, id, after) in found {
            let stream = self.streams.get_mut(&id).expect("it has the group");
            stream.meet(group, consumer, at, false);
            let entries = match after {
                Some(after) => Some(stream.read_history(group, consumer, after, &mut budget, at)),
                None => stream.read_new(group, consumer, no_ack, claim_ms, &mut budget, at),
            };
            // What is not pending afterwards does not count as activity, as in Redis.
            if after.is_none() && entries.is_some() && !no_ack {
                stream.meet(group, consumer, at, true);
            }
            if let Some(entries) = entries {
                read.push((key.clone(), entries));
            }
            self.collect(id);
        }
        Ok(some_streams(read))
    }

    fn has_group(&self, stream: MessageId, group: &Bytes) -> bool {
        let stream = self.streams.get(&stream);
        stream.is_some_and(|stream| stream.groups.contains_key(group))
    }
}

impl Stream {
    fn meet(&mut self, group: &Bytes, consumer: &Bytes, at: At, given: bool) {
        if let Some(group) = self.groups.get_mut(group) {
            group.meet(consumer, at.now_ms, given);
        }
    }

    fn add_produced(
        &mut self,
        producer: Option<&Producer>,
        trim: Option<Trim>,
        refs: Refs,
        new: NewId,
        fields: &[Bytes],
        at: At,
    ) -> Result<Answer, StreamError> {
        let attempt = producer.map(|producer| {
            let iid = producer.iid.clone();
            (&producer.pid, iid.unwrap_or_else(|| digest(fields)))
        });
        if let Some((pid, iid)) = &attempt
            && let Some(entry) = self.attempt(pid, iid, at.now_ms)
        {
            self.again += 1;
            self.touch(Row::Head);
            return Ok(id_answer(entry));
        }
        let id = self.new_id(new, at.id)?;
        self.add(id, fields);
        if let Some((pid, iid)) = &attempt {
            self.remember(pid, iid, id, at.now_ms);
        }
        if let Some(trim) = trim {
            self.trim(trim, refs);
        }
        Ok(id_answer(id))
    }

    fn set_id(
        &mut self,
        last: MessageId,
        added: Option<u64>,
        max_deleted: Option<MessageId>,
    ) -> Result<Answer, StreamError> {
        if last < self.max_deleted {
            return Err(StreamError::SetIdBelowDeleted);
        }
        if let Some(top) = self.top() {
            if last < top {
                return Err(StreamError::SetIdBelowTop);
            }
            if added.is_some_and(|added| added < self.len() as u64) {
                return Err(StreamError::AddedBelowLength);
            }
        }
        self.last = last;
        self.added = added.unwrap_or(self.added);
        self.max_deleted = max_deleted.unwrap_or(self.max_deleted);
        self.touch(Row::Head);
        Ok(Answer::Ok)
    }

    fn configure(&mut self, duration_s: Option<u64>, max: Option<u64>) -> Answer {
        let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let duration_s = duration_s.map_or(self.duration_s, small);
        let max = max.map_or(self.attempts_max, small);
        if (duration_s, max) != (self.duration_s, self.attempts_max) {
            (self.duration_s, self.attempts_max) = (duration_s, max);
            self.forget_attempts();
            self.touch(Row::Head);
        }
        Answer::Ok
    }
}

fn execute_one(
    stream: &mut Stream,
    key: &Bytes,
    op: &StreamOp,
    at: At,
) -> Result<Answer, KeyError> {
    Ok(match op {
        StreamOp::Add {
            producer,
            trim,
            refs,
            id,
            fields,
            ..
        } => stream.add_produced(producer.as_ref(), *trim, *refs, *id, fields, at)?,
        StreamOp::Del { ids, .. } => {
            Answer::count(ids.iter().filter(|id| stream.delete(**id)).count())
        }
        StreamOp::DelEx { refs, ids, .. } => stream.delete_ex(*refs, ids),
        StreamOp::Trim { trim, refs, .. } => Answer::count(stream.trim(*trim, *refs)),
        StreamOp::SetId {
            last,
            added,
            max_deleted,
            ..
        } => stream.set_id(*last, *added, *max_deleted)?,
        StreamOp::Configure {
            duration_s, max, ..
        } => stream.configure(*duration_s, *max),
        StreamOp::GroupCreate { group, start, .. } => stream.group_create(group, *start)?,
        StreamOp::GroupSetId { group, start, .. } => stream.group_set(key, group, *start)?,
        StreamOp::GroupDestroy { group, .. } => stream.group_destroy(group),
        StreamOp::ConsumerCreate {
            group, consumer, ..
        } => stream.consumer_create(key, group, consumer, at)?,
        StreamOp::ConsumerDelete {
            group, consumer, ..
        } => stream.consumer_delete(key, group, consumer)?,
        StreamOp::Ack { group, ids, .. } => stream.ack(group, ids),
        StreamOp::AckDel {
            group, refs, ids, ..
        } => stream.ack_delete(group, *refs, ids),
        StreamOp::Nack {
            group,
            what,
            ids,
            retry_count,
            force,
            ..
        } => {
            if !stream.groups.contains_key(group) {
                return Err(no_key_or_group(key, group).into());
            }
            stream.nack(group, *what, ids, *retry_count, *force)
        }
        StreamOp::Claim {
            group,
            consumer,
            ids,
            claim,
            ..
        } => {
            let Some(found) = stream.groups.get_mut(group) else {
                return Err(no_key_or_group(key, group).into());
            };
            if let Some(last) = claim.last_id.filter(|last| *last > found.last) {
                found.set(last, found.read);
            }
            found.meet(consumer, at.now_ms, false);
            stream.claim(group, consumer, ids, *claim, at)
        }
        StreamOp::AutoClaim {
            group,
            consumer,
            min_idle_ms,
            from,
            count,
            just_id,
            ..
        } => {
            let Some(found) = stream.groups.get_mut(group) else {
                return Err(no_key_or_group(key, group).into());
            };
            found.meet(consumer, at.now_ms, false);
            let claim = (*min_idle_ms, *just_id);
            stream.auto_claim(group, consumer, claim, *from, *count, at)
        }
        other => unreachable!("{other:?} is not executed on one stream: Streams::run has done it"),
    })
}

/// What a write answers where there is no stream.
fn without_stream(op: &StreamOp) -> Result<Answer, KeyError> {
    match op {
        StreamOp::SetId { .. } | StreamOp::Configure { .. } => Err(KeyError::NoSuchKey),
        StreamOp::GroupCreate { .. }
        | StreamOp::GroupSetId { .. }
        | StreamOp::GroupDestroy { .. }
        | StreamOp::ConsumerCreate { .. }
        | StreamOp::ConsumerDelete { .. } => Err(StreamError::GroupNeedsKey.into()),
        StreamOp::Claim { key, group, .. }
        | StreamOp::AutoClaim { key, group, .. }
        | StreamOp::Nack { key, group, .. } => Err(no_key_or_group(key, group).into()),
        StreamOp::DelEx { ids, .. } | StreamOp::AckDel { ids, .. } => {
            Ok(Answer::Array(ids.iter().map(|_| Answer::Int(-1)).collect()))
        }
        _ => Ok(Answer::Int(0)),
    }
}

/// Whether an operation that was answered like this has changed what `WATCH` sees.
fn writes(op: &StreamOp, answer: Option<&Answer>) -> bool {
    match op {
        StreamOp::Add { .. } => answer != Some(&Answer::Nil),
        StreamOp::SetId { .. } => true,
        StreamOp::Del { .. } | StreamOp::Trim { .. } => answer != Some(&Answer::Int(0)),
        StreamOp::DelEx { .. } | StreamOp::AckDel { .. } => {
            matches!(answer, Some(Answer::Array(each)) if each.contains(&Answer::Int(1)))
        }
        _ => false,
    }
}

fn some_streams(read: Vec<(Bytes, Answer)>) -> Answer {
    if read.is_empty() {
        Answer::NilArray
    } else {
        Answer::Streams(read)
    }
}

fn no_key_or_group(key: &Bytes, group: &Bytes) -> StreamError {
    StreamError::NoKeyOrGroup {
        key: Name(key.clone()),
        group: Name(group.clone()),
    }
}

/// Names an attempt by what it adds: `IDMPAUTO`. Lengths are in it, so that no two lists are one.
fn digest(fields: &[Bytes]) -> Bytes {
    let mut whole = Vec::new();
    for part in fields {
        whole.put_u64(part.len() as u64);
        whole.put_slice(part);
    }
    Bytes::copy_from_slice(&xxh3_128(&whole).to_be_bytes())
}
