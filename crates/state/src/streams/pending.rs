//! What is pending: `XACK` and its kin, `XPENDING`, `XCLAIM`, `XAUTOCLAIM`, `XNACK`.

use super::execute::At;
use super::group::{Group, Pending};
use super::read::{entry_answer, id_answer, number};
use super::stream::{Stream, saturated};
use bytes::Bytes;
use corgi_base::MessageId;
use corgi_base::answer::Answer;
use corgi_base::streams::{Claim, Delivered, Nack, Refs};
use std::collections::BTreeMap;

/// How many messages `XAUTOCLAIM` looks at for each that it may claim.
const ATTEMPTS_FACTOR: usize = 10;

impl Stream {
    pub(super) fn ack(&mut self, group: &Bytes, ids: &[MessageId]) -> Answer {
        let Some(group) = self.groups.get_mut(group) else {
            return Answer::Int(0);
        };
        Answer::count(ids.iter().filter(|id| group.forget(**id)).count())
    }

    /// For each id: -1 it was not pending, 1 it is deleted, 2 it is acknowledged, and others need it.
    pub(super) fn ack_delete(&mut self, group: &Bytes, refs: Refs, ids: &[MessageId]) -> Answer {
        let one = |stream: &mut Self, id: MessageId| {
            let group = stream.groups.get_mut(group);
            if !group.is_some_and(|group| group.forget(id)) {
                return -1;
            }
            // What was deleted before is as good as deleted now.
            stream.delete_with(refs, id).max(1)
        };
        Answer::Array(ids.iter().map(|id| Answer::Int(one(self, *id))).collect())
    }

    /// For each id: -1 there is none, 1 it is deleted, 2 a group needs it.
    pub(super) fn delete_ex(&mut self, refs: Refs, ids: &[MessageId]) -> Answer {
        let one = |id: &MessageId| Answer::Int(self.delete_with(refs, *id));
        Answer::Array(ids.iter().map(one).collect())
    }

    fn delete_with(&mut self, refs: Refs, id: MessageId) -> i64 {
        // What is not there, but still to come for a group, counts as needed: as in Redis.
        if refs == Refs::Acked && self.is_referenced(id) {
            return 2;
        }
        if refs == Refs::Delete {
            self.unreference(id);
        }
        if self.delete(id) { 1 } else { -1 }
    }

    /// Makes messages nobody's, to be given out again before all others; returns how many.
    pub(super) fn nack(
        &mut self,
        group: &Bytes,
        what: Nack,
        ids: &[MessageId],
        retry_count: Option<u64>,
        force: bool,
    ) -> Answer {
        let mut given_back = 0_usize;
        for id in ids {
            let exists = self.entry(*id).is_some();
            let Some(group) = self.groups.get_mut(group) else {
                break;
            };
            let before = match group.pending().get(id) {
                Some(pending) => pending.count,
                None if force && exists => 0,
                None => continue,
            };
            let count = match (retry_count, what) {
                (Some(count), _) => count,
                (None, Nack::Silent) => before.saturating_sub(1),
                (None, Nack::Fail) => before,
                (None, Nack::Fatal) => i64::MAX as u64,
            };
            let (consumer, delivered) = (None, 0);
            group.assign(
                *id,
                Pending {
                    consumer,
                    delivered,
                    count,
                },
            );
            given_back += 1;
        }
        Answer::count(given_back)
    }

    /// Claims the messages that are named; `group` and `consumer` are there.
    pub(super) fn claim(
        &mut self,
        group: &Bytes,
        consumer: &Bytes,
        ids: &[MessageId],
        claim: Claim,
        at: At,
    ) -> Answer {
        let now = i64::try_from(at.now_ms).unwrap_or(i64::MAX);
        let delivered = match claim.delivered {
            Delivered::Now => now,
            Delivered::Ago(ms) => now.saturating_sub(ms),
            Delivered::At(ms) => ms,
        };
        // A time that is none is now, as in Redis.
        let delivered = Some(delivered).filter(|ms| (0..=now).contains(ms));
        let delivered = delivered.unwrap_or(now).unsigned_abs();
        let mut claimed = Vec::new();
        for id in ids {
            let fields = self.entry(*id).map(<[Bytes]>::to_vec);
            let Some(group) = self.groups.get_mut(group) else {
                break;
            };
            let Some(fields) = fields else {
                group.forget(*id);
                continue;
            };
            let before = match group.pending().get(id) {
                Some(before) if !is_idle(before, claim.min_idle_ms, at) => continue,
                Some(before) => before.count,
                None if claim.force => 1,
                None => continue,
            };
            let again = u64::from(!claim.just_id);
            let count = before.saturating_add(again).min(i64::MAX as u64);
            let count = claim.retry_count.unwrap_or(count);
            let owner = Some(group.kept_name(consumer));
            group.assign(
                *id,
                Pending {
                    consumer: owner,
                    delivered,
                    count,
                },
            );
            claimed.push(if claim.just_id {
                id_answer(*id)
            } else {
                entry_answer(*id, &fields)
            });
        }
        if let Some(group) = self.groups.get_mut(group) {
            group.meet(consumer, at.now_ms, !claimed.is_empty());
        }
        Answer::Array(claimed)
    }

    /// Claims what has been pending for long: `[where to go on, claimed, deleted]`.
    pub(super) fn auto_claim(
        &mut self,
        group: &Bytes,
        consumer: &Bytes,
        claim: (u64, bool),
        from: MessageId,
        count: u64,
        at: At,
    ) -> Answer {
        let (min_idle_ms, just_id) = claim;
        let mut left = saturated(count);
        let looked_at = left.saturating_mul(ATTEMPTS_FACTOR);
        let (mut claimed, mut deleted, mut go_on) = (Vec::new(), Vec::new(), None);
        let ids: Vec<MessageId> = self.groups.get(group).map_or_else(Vec::new, |group| {
            let pending = group.pending().range(from..);
            let ids = pending.map(|(id, _)| *id);
            ids.take(looked_at.saturating_add(1)).collect()
        });
        for (position, id) in ids.into_iter().enumerate() {
            if left == 0 || position == looked_at {
                go_on = Some(id);
                break;
            }
            let fields = self.entry(id).map(<[Bytes]>::to_vec);
            let Some(group) = self.groups.get_mut(group) else {
                break;
            };
            let Some(fields) = fields else {
                group.forget(id);
                deleted.push(id_answer(id));
                left -= 1;
                continue;
            };
            let before = &group.pending()[&id];
            if !is_idle(before, min_idle_ms, at) {
                continue;
            }
            let count = before.count.saturating_add(u64::from(!just_id));
            let owner = Some(group.kept_name(consumer));
            group.assign(
                id,
                Pending {
                    consumer: owner,
                    delivered: at.now_ms,
                    count: count.min(i64::MAX as u64),
                },
            );
            claimed.push(if just_id {
                id_answer(id)
            } else {
                entry_answer(id, &fields)
            });
            left -= 1;
        }
        if let Some(group) = self.groups.get_mut(group) {
            group.meet(consumer, at.now_ms, !claimed.is_empty());
        }
        Answer::Array(vec![
            id_answer(go_on.unwrap_or_default()),
            Answer::Array(claimed),
            Answer::Array(deleted),
        ])
    }
}

/// What nobody owns is idle for ever.
fn is_idle(pending: &Pending, min_idle_ms: u64, at: At) -> bool {
    pending.consumer.is_none() || at.now_ms.saturating_sub(pending.delivered) >= min_idle_ms
}

/// `XPENDING` without a range: how many, the first, the last, how many each consumer has.
pub(super) fn summary(group: &Group) -> Answer {
    let pending = group.pending();
    let (Some(first), Some(last)) = (pending.keys().next(), pending.keys().next_back()) else {
        return Answer::Array(vec![
            Answer::Int(0),
            Answer::Nil,
            Answer::Nil,
            Answer::NilArray,
        ]);
    };
    let consumers = group.consumers().iter();
    let busy = consumers.filter(|(_, consumer)| !consumer.pending.is_empty());
    let busy = busy.map(|(name, consumer)| {
        let count = consumer.pending.len().to_string();
        Answer::Array(vec![Answer::Bulk(name.clone()), Answer::Bulk(count.into())])
    });
    Answer::Array(vec![
        Answer::count(pending.len()),
        id_answer(*first),
        id_answer(*last),
        Answer::Array(busy.collect()),
    ])
}

/// `XPENDING` with a range: for each message its id, consumer, idle time, and how often it was delivered.
pub(super) fn range(
    group: &Group,
    (from, to): (MessageId, MessageId),
    min_idle_ms: u64,
    count: u64,
    consumer: Option<&Bytes>,
    now: u64,
) -> Answer {
    if from > to {
        return Answer::Array(Vec::new());
    }
    let pending: &BTreeMap<MessageId, Pending> = group.pending();
    let idle = |pending: &Pending| now.saturating_sub(pending.delivered);
    let rows = pending
        .range(from..=to)
        .filter(|(_, pending)| consumer.is_none_or(|name| pending.consumer.as_ref() == Some(name)))
        .filter(|(_, pending)| idle(pending) >= min_idle_ms)
        .take(saturated(count))
        .map(|(id, pending)| {
            Answer::Array(vec![
                id_answer(*id),
                Answer::Bulk(pending.consumer.clone().unwrap_or_default()),
                number(idle(pending)),
                number(pending.count),
            ])
        });
    Answer::Array(rows.collect())
}
