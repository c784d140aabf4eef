//! Reading: `XRANGE`, `XREAD`, `XREADGROUP`.

use super::execute::At;
use super::group::{Group, Pending};
use super::stream::{Stream, saturated};
use bytes::Bytes;
use corgi_base::MessageId;
use corgi_base::answer::Answer;
use corgi_base::streams::{After, Limits, id};

pub(super) fn id_answer(id: MessageId) -> Answer {
    Answer::Bulk(id.to_string().into())
}

fn fields_answer(fields: &[Bytes]) -> Answer {
    Answer::Array(fields.iter().cloned().map(Answer::Bulk).collect())
}

pub(super) fn entry_answer(id: MessageId, fields: &[Bytes]) -> Answer {
    Answer::Array(vec![id_answer(id), fields_answer(fields)])
}

/// How much may still be read. `MAXCOUNT` and `MAXSIZE` are over all streams; the first entry is given in any case.
#[derive(Debug)]
pub(super) struct Budget {
    count: usize,
    all: usize,
    bytes: usize,
    of_stream: usize,
    none_yet: bool,
}

impl Budget {
    pub(super) fn new(limits: Limits) -> Self {
        let most = |limit: Option<u64>| limit.map_or(usize::MAX, saturated);
        Self {
            count: most(limits.count),
            all: most(limits.max_count),
            bytes: most(limits.max_bytes),
            of_stream: 0,
            none_yet: true,
        }
    }

    fn next_stream(&mut self) {
        self.of_stream = 0;
    }

    fn take(&mut self, fields: &[Bytes]) -> bool {
        let bytes = fields.iter().map(Bytes::len).sum::<usize>();
        let room = self.of_stream < self.count && self.all > 0;
        if !room || (bytes > self.bytes && !self.none_yet) {
            // Nothing that is smaller is given before it.
            if room {
                self.all = 0;
            }
            return false;
        }
        self.none_yet = false;
        self.of_stream += 1;
        self.all -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
        true
    }
}

impl Stream {
    pub(super) fn range_answer(
        &self,
        from: MessageId,
        to: MessageId,
        reverse: bool,
        count: Option<u64>,
    ) -> Answer {
        let most = match count {
            Some(0) => return Answer::NilArray,
            Some(count) => saturated(count),
            None => usize::MAX,
        };
        let range = self.range(from, to);
        let answer = |(id, fields): (MessageId, &[Bytes])| entry_answer(id, fields);
        Answer::Array(if reverse {
            range.rev().take(most).map(answer).collect()
        } else {
            range.take(most).map(answer).collect()
        })
    }

    /// Returns after which id something is read that says what there is now.
    pub(crate) fn after(&self, after: After) -> MessageId {
        match after {
            After::Id(id) => id,
            After::Top => self.last,
            After::ButLast => self.top().and_then(id::previous).unwrap_or_default(),
        }
    }

    /// Returns the entries for `XREAD`; `None` if there is nothing.
    pub(super) fn read_after(&self, after: After, budget: &mut Budget) -> Option<Answer> {
        let from = match after {
            After::Id(after) => id::next(after)?,
            After::Top => return None,
            After::ButLast => self.top()?,
        };
        if self.top()? < from {
            return None;
        }
        budget.next_stream();
        let range = self.range(from, id::MAX);
        let entries: Vec<Answer> = range
            .take_while(|(_, fields)| budget.take(fields))
            .map(|(id, fields)| entry_answer(id, fields))
            .collect();
        (!entries.is_empty()).then_some(Answer::Array(entries))
    }

    /// Returns what a consumer has pending after an id, and counts it as delivered once more. A message that was
    /// deleted has no fields.
    pub(super) fn read_history(
        &mut self,
        group: &Bytes,
        consumer: &Bytes,
        after: MessageId,
        budget: &mut Budget,
        at: At,
    ) -> Answer {
        budget.next_stream();
        let ids: Vec<MessageId> = match (id::next(after), self.groups.get(group)) {
            (Some(from), Some(group)) => {
                let consumer = group.consumers().get(consumer);
                let pending = consumer.into_iter().flat_map(|c| c.pending.range(from..));
                pending.copied().collect()
            }
            _ => Vec::new(),
        };
        let mut entries = Vec::new();
        for id in ids {
            let Some(fields) = self.entry(id) else {
                if !budget.take(&[]) {
                    break;
                }
                entries.push(Answer::Array(vec![id_answer(id), Answer::NilArray]));
                continue;
            };
            if !budget.take(fields) {
                break;
            }
            entries.push(entry_answer(id, fields));
            if let Some(group) = self.groups.get_mut(group) {
                deliver_again(group, id, consumer, at.now_ms);
            }
        }
        Answer::Array(entries)
    }

    /// Gives a consumer what is new in its group, after what others have had for `claim_ms`; `None` if there is
    /// nothing.
    pub(super) fn read_new(
        &mut self,
        group: &Bytes,
        consumer: &Bytes,
        no_ack: bool,
        claim_ms: Option<u64>,
        budget: &mut Budget,
        at: At,
    ) -> Option<Answer> {
        budget.next_stream();
        let mut entries = Vec::new();
        if let Some(idle_ms) = claim_ms {
            self.claim_idle(group, consumer, idle_ms, budget, at, &mut entries);
        }
        let last = self.groups.get(group)?.last;
        let from = id::next(last);
        let new: Vec<(MessageId, Answer)> = from.map_or_else(Vec::new, |from| {
            let range = self.range(from, id::MAX);
            range
                .take_while(|(_, fields)| budget.take(fields))
                .map(|(id, fields)| (id, entry_answer(id, fields)))
                .collect()
        });
        for (id, answer) in new {
            self.advance(group, id);
            if let Some(group) = self.groups.get_mut(group).filter(|_| !no_ack) {
                let consumer = Some(group.kept_name(consumer));
                let (delivered, count) = (at.now_ms, 1);
                group.assign(
                    id,
                    Pending {
                        consumer,
                        delivered,
                        count,
                    },
                );
            }
            entries.push(match claim_ms {
                Some(_) => with_delivery(answer, 0, 0),
                None => answer,
            });
        }
        (!entries.is_empty()).then_some(Answer::Array(entries))
    }

    fn claim_idle(
        &mut self,
        group: &Bytes,
        consumer: &Bytes,
        idle_ms: u64,
        budget: &mut Budget,
        at: At,
        entries: &mut Vec<Answer>,
    ) {
        let Some(found) = self.groups.get(group) else {
            return;
        };
        let Some(until) = at.now_ms.checked_sub(idle_ms) else {
            return;
        };
        let mut claimed = Vec::new();
        for id in found.waiting_since(until) {
            // What was deleted stays pending until somebody claims it by name.
            let Some(fields) = self.entry(id) else {
                continue;
            };
            if !budget.take(fields) {
                break;
            }
            let before = &found.pending()[&id];
            let idle = at.now_ms.saturating_sub(before.delivered);
            entries.push(with_delivery(entry_answer(id, fields), idle, before.count));
            claimed.push(id);
        }
        if let Some(group) = self.groups.get_mut(group) {
            for id in claimed {
                deliver_again(group, id, consumer, at.now_ms);
            }
        }
    }

    /// Returns whether the entry after an id is the next to be counted.
    fn counts_on(&self, last: MessageId) -> bool {
        self.first().is_some_and(|first| first <= last) && !self.has_tombstones_after(last)
    }

    /// Notes that a group has been given an entry.
    fn advance(&mut self, group: &Bytes, id: MessageId) {
        let Some(found) = self.groups.get(group) else {
            return;
        };
        let read = match found.read {
            // What was trimmed away before it was read was passed over without being counted.
            Some(read) if self.counts_on(found.last) => Some(read + 1),
            _ => self.entries_up_to(id),
        };
        if let Some(found) = self.groups.get_mut(group) {
            found.set(id, read);
        }
    }
}

fn deliver_again(group: &mut Group, id: MessageId, consumer: &Bytes, now: u64) {
    let count = group.pending().get(&id).map_or(0, |before| before.count);
    let consumer = Some(group.kept_name(consumer));
    let count = count.saturating_add(1).min(i64::MAX as u64);
    group.assign(
        id,
        Pending {
            consumer,
            delivered: now,
            count,
        },
    );
}

/// `XREADGROUP … CLAIM` tells of each entry for how long it has been pending, and how often it was delivered.
fn with_delivery(entry: Answer, idle_ms: u64, count: u64) -> Answer {
    match entry {
        Answer::Array(mut parts) => {
            parts.extend([number(idle_ms), number(count)]);
            Answer::Array(parts)
        }
        other => other,
    }
}

pub(super) fn number(number: u64) -> Answer {
    Answer::Int(i64::try_from(number).unwrap_or(i64::MAX))
}
