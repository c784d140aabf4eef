//! This node's clients as one origin of batches (P4).
//!
//! ```text
//!   write ─▶ pending ── cut, gets its number ──▶ in flight ── applied ──▶ reply
//!              │    │ its turn comes late          │ write-timeout
//!              │    ▼                              ▼
//!              │ -TRYAGAIN                   -INDETERMINATE, and the batch goes on empty under its number
//!              ▼ write-timeout
//!          -CLUSTERDOWN (never sent)
//! ```
//!
//! When more is written than the cluster takes, what waits grows old. An operation whose turn comes when little of its
//! time is left would be sent and then given up on all the same; one after the other would, and the cluster would work
//! for nobody. So it is refused instead, and those behind it have the time that they need.
//!
//! Invariants
//! - An operation is refused only before it is in a batch: from then on its fate is the log's.
//! - Operations that were written together are in one batch.
//! - Batches are numbered without gaps and sent in order; whatever was lost on the way is sent again from the first
//!   that is not applied. The leader appends each number once, so that nothing is applied twice.
//! - Replies follow the order of the log, and for each client that is the order in which it asked.
//!
//! Not here: who leads, and how a batch gets there.

use crate::access::UserKey;
use bytes::{Bytes, BytesMut};
use corgi_base::op::decode_ops;
use corgi_base::{BatchNumber, Boot, ClientId, Op};
use corgi_session::Seq;
use std::collections::VecDeque;

/// Answers that name the same missing batch within this time, more than a round trip, are about the same loss.
const EXPECT_RETRY_MS: u64 = 100;

/// Bounds and timeouts of an origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OriginLimits {
    pub(crate) batch_bytes_max: usize,
    pub(crate) in_flight_max: usize,
    pub(crate) pending_bytes_max: usize,
    pub(crate) write_timeout_ms: u64,
}

/// A client that waits for the fate of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) client: ClientId,
    pub(crate) seq: Seq,
    pub(crate) wants: Wants,
    /// As whom it wrote.
    pub(crate) user: UserKey,
}

/// What a client wrote, and what it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// One operation, and its reply.
    One,
    /// So many operations that belong together, and an array of their replies.
    All(u32),
}

impl Wants {
    /// Returns how many operations it is.
    pub(crate) fn ops(self) -> u32 {
        match self {
            Self::One => 1,
            Self::All(ops) => ops,
        }
    }
}

/// A write that is not in a batch yet.
#[derive(Debug)]
struct Pending {
    waiter: Waiter,
    since_ms: u64,
    bytes: usize,
    /// Whether it must have a batch of its own.
    alone: bool,
}

/// A numbered batch that is not known to be applied.
#[derive(Debug)]
struct Batch {
    number: BatchNumber,
    ops: u32,
    data: Bytes,
    /// One for each write, in the order of their operations; empty once they have been told that the fate is unknown.
    waiters: Vec<Waiter>,
    deadline_ms: u64,
    /// The revision of the users that the operations were checked against.
    acl: u64,
}

/// A write that was taken back before it had any effect.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) waiter: Waiter,
    pub(crate) since_ms: u64,
    pub(crate) ops: Vec<Op>,
}

/// A batch to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) number: BatchNumber,
    pub(crate) ops: u32,
    pub(crate) data: Bytes,
    pub(crate) acl: u64,
}

/// Whether the log lets this process be its node's origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    /// Not yet; when it was last asked for.
    Closed { asked_ms: Option<u64> },
    /// Yes.
    Open,
}

/// The clients that have waited for too long.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Expired {
    /// Their operations certainly were not sent.
    pub(crate) unsent: Vec<Waiter>,
    /// Their operations may take effect, now or later.
    pub(crate) unknown: Vec<Waiter>,
}

/// This process as an origin.
#[derive(Debug)]
pub(crate) struct Origin {
    boot: Boot,
    limits: OriginLimits,
    pub(crate) session: Session,
    pending: VecDeque<Pending>,
    /// The operations of all `pending` writes, encoded.
    pending_data: BytesMut,
    in_flight: VecDeque<Batch>,
    /// The number of the next batch to cut.
    next_number: BatchNumber,
    /// The first batch that has not been sent to the present leader.
    next_to_send: BatchNumber,
    /// The last number that a leader expected, and when this origin went back to it.
    expected: Option<(BatchNumber, u64)>,
    /// Since when the present leader is known.
    led_since_ms: u64,
}

impl Origin {
    pub(crate) fn new(boot: Boot, limits: OriginLimits) -> Self {
        Self {
            boot,
            limits,
            session: Session::Closed { asked_ms: None },
            pending: VecDeque::new(),
            pending_data: BytesMut::new(),
            in_flight: VecDeque::new(),
            next_number: BatchNumber(1),
            next_to_send: BatchNumber(1),
            expected: None,
            led_since_ms: 0,
        }
    }

    pub(crate) fn boot(&self) -> Boot {
        self.boot
    }

    /// Takes a write, as many operations as its waiter wants; `false` if too many bytes wait already.
    pub(crate) fn write(&mut self, now_ms: u64, waiter: Waiter, ops: &[Op]) -> bool {
        debug_assert_eq!(waiter.wants.ops() as usize, ops.len());
        let bytes = ops.iter().map(Op::encoded_len).sum();
        if !self.pending.is_empty()
            && self.pending_data.len() + bytes > self.limits.pending_bytes_max
        {
            return false;
        }
        self.queue(now_ms, waiter, ops, bytes);
        true
    }

    fn queue(&mut self, since_ms: u64, waiter: Waiter, ops: &[Op], bytes: usize) {
        self.pending_data.reserve(bytes);
        ops.iter().for_each(|op| op.encode(&mut self.pending_data));
        self.pending.push_back(Pending {
            waiter,
            since_ms,
            bytes,
            alone: ops.iter().any(Op::is_alone),
        });
    }

    /// Whether a client waits for an operation.
    pub(crate) fn is_waited_for(&self) -> bool {
        !self.pending.is_empty() || self.in_flight.iter().any(|b| !b.waiters.is_empty())
    }

    /// Returns how many bytes of operations wait to be put in a batch.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending_data.len()
    }

    /// Returns the first batch that is not applied, or the number of the next one.
    pub(crate) fn oldest(&self) -> BatchNumber {
        self.in_flight
            .front()
            .map_or(self.next_number, |b| b.number)
    }

    /// Returns how many batches are sent and not applied.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Puts what waits into batches, as many as may be in flight; all of it was checked against this revision of the
    /// users. Only to be called while a leader is known: a batch has a number, and what has a number can no longer be
    /// refused. Returns those who have waited too long for that to be worth while: their operations are dropped.
    pub(crate) fn cut(&mut self, acl: u64, now_ms: u64) -> Vec<Waiter> {
        let mut refused = Vec::new();
        if self.session != Session::Open {
            return refused;
        }
        while self.in_flight.len() < self.limits.in_flight_max {
            // A batch needs some time for its round; a quarter is longer than any but the slowest disk takes. Time
            // without a leader says nothing of how much is written.
            let age_ms = self.limits.write_timeout_ms / 4 * 3;
            if now_ms >= self.led_since_ms + age_ms {
                self.drop_older_than(now_ms, age_ms, &mut refused);
            }
            let Some(first) = self.pending.front() else {
                break;
            };
            let since_ms = first.since_ms;
            let deadline_ms = since_ms + self.limits.write_timeout_ms;
            let mut bytes = 0;
            let mut waiters = Vec::new();
            while let Some(next) = self.pending.front() {
                // Much younger operations go into the next batch: the deadline is the oldest one's.
                let young = next.since_ms > since_ms + self.limits.write_timeout_ms / 4;
                let full = bytes + next.bytes > self.limits.batch_bytes_max;
                let alone = next.alone;
                if !waiters.is_empty() && (full || young || alone) {
                    break;
                }
                bytes += next.bytes;
                waiters.push(next.waiter);
                self.pending.pop_front();
                if alone {
                    break;
                }
            }
            let data = self.pending_data.split_to(bytes).freeze();
            let number = self.next_number;
            self.next_number = number.next();
            let ops = waiters.iter().map(|waiter| waiter.wants.ops()).sum();
            self.in_flight.push_back(Batch {
                number,
                ops,
                data,
                waiters,
                deadline_ms,
                acl,
            });
        }
        refused
    }

    /// Drops what has waited for `age_ms` or longer, and adds whose it was.
    fn drop_older_than(&mut self, now_ms: u64, age_ms: u64, dropped: &mut Vec<Waiter>) {
        while let Some(first) = self.pending.front()
            && now_ms >= first.since_ms + age_ms
        {
            dropped.push(first.waiter);
            let bytes = first.bytes;
            drop(self.pending_data.split_to(bytes));
            self.pending.pop_front();
        }
    }

    /// Takes back all writes that are not applied, which the caller knows to have no effect from here on, wherever they
    /// are. Batches in flight go on empty, because their numbers must come.
    pub(crate) fn take_back(&mut self) -> Vec<Taken> {
        let mut taken = Vec::new();
        for batch in &mut self.in_flight {
            let data = std::mem::take(&mut batch.data);
            let ops = decode_ops(std::mem::take(&mut batch.ops), data);
            let mut ops = ops.expect("this origin has encoded them").into_iter();
            let since_ms = batch.deadline_ms - self.limits.write_timeout_ms;
            for waiter in batch.waiters.drain(..) {
                let count = waiter.wants.ops() as usize;
                let ops = ops.by_ref().take(count).collect();
                taken.push(Taken {
                    waiter,
                    since_ms,
                    ops,
                });
            }
        }
        let mut data = std::mem::take(&mut self.pending_data).freeze();
        for pending in self.pending.drain(..) {
            let count = pending.waiter.wants.ops();
            let ops = decode_ops(count, data.split_to(pending.bytes));
            taken.push(Taken {
                waiter: pending.waiter,
                since_ms: pending.since_ms,
                ops: ops.expect("this origin has encoded them"),
            });
        }
        taken
    }

    /// Takes writes that were taken back, in order. They have waited already, and are not refused.
    pub(crate) fn write_again(&mut self, writes: Vec<Taken>) {
        for Taken {
            waiter,
            since_ms,
            ops,
        } in writes
        {
            let bytes = ops.iter().map(Op::encoded_len).sum();
            self.queue(since_ms, waiter, &ops, bytes);
        }
    }

    /// Notes that from now on a leader is known, or another one.
    pub(crate) fn led_from(&mut self, now_ms: u64) {
        self.led_since_ms = now_ms;
    }

    /// Sends again from the first batch that is not applied: the leader is another one, or something was lost.
    pub(crate) fn rewind(&mut self) {
        self.next_to_send = self.oldest();
    }

    /// Puts the oldest batch in flight under way once more, under a new number: a mistake that the number is there to
    /// prevent.
    #[cfg(feature = "seeded-bugs")]
    pub(crate) fn copy_oldest(&mut self) {
        if let Some(oldest) = self.in_flight.front()
            && !oldest.waiters.is_empty()
        {
            let number = self.next_number;
            self.next_number = number.next();
            let copy = Batch {
                number,
                ops: oldest.ops,
                data: oldest.data.clone(),
                waiters: Vec::new(),
                deadline_ms: oldest.deadline_ms,
                acl: oldest.acl,
            };
            self.in_flight.push_back(copy);
        }
    }

    /// Sends again from `number`, which the leader says must come next. Every batch that was sent after the lost one
    /// makes it say so: the first answer counts, or one lost batch would have the whole window sent again as often as
    /// it is long.
    pub(crate) fn rewind_to(&mut self, number: BatchNumber, now_ms: u64) {
        if self
            .expected
            .is_some_and(|(last, at_ms)| last == number && now_ms < at_ms + EXPECT_RETRY_MS)
        {
            return;
        }
        self.expected = Some((number, now_ms));
        self.rewind();
        self.next_to_send = self.next_to_send.max(number).min(self.next_number);
    }

    /// Returns the next batch that the present leader has not been sent.
    pub(crate) fn to_send(&self) -> Option<Outgoing> {
        let first = self.in_flight.front()?.number;
        let at = self.next_to_send.0.checked_sub(first.0)?;
        let batch = self.in_flight.get(usize::try_from(at).ok()?)?;
        Some(Outgoing {
            number: batch.number,
            ops: batch.ops,
            data: batch.data.clone(),
            acl: batch.acl,
        })
    }

    /// Notes that the batch from [`Origin::to_send`] is on its way.
    pub(crate) fn sent(&mut self) {
        self.next_to_send = self.next_to_send.next();
    }

    /// Takes note that a batch of this boot is applied. Returns who waits for its writes, one for each, or nobody if
    /// they have been told already that its fate is unknown.
    ///
    /// # Panics
    /// If it is not the first one in flight: the log has them in order, and none is dropped here before it is applied.
    pub(crate) fn applied(&mut self, number: BatchNumber) -> Vec<Waiter> {
        let batch = self
            .in_flight
            .pop_front()
            .expect("only batches in flight can be applied");
        assert_eq!(batch.number, number, "batches are applied in order");
        self.next_to_send = self.next_to_send.max(number.next());
        batch.waiters
    }

    /// Takes note that the log has all batches of this boot up to `last`, and that nobody here saw what came of them.
    /// Returns who waits for that.
    pub(crate) fn skip_to(&mut self, last: BatchNumber) -> Vec<Waiter> {
        let mut waiters = Vec::new();
        while let Some(batch) = self.in_flight.pop_front_if(|batch| batch.number <= last) {
            waiters.extend(batch.waiters);
        }
        self.next_to_send = self.next_to_send.max(last.next());
        waiters
    }

    /// Gives up on what has waited for too long: operations that were never sent are dropped, batches that were go on
    /// without them.
    pub(crate) fn expire(&mut self, now_ms: u64) -> Expired {
        let mut expired = Expired::default();
        for batch in &mut self.in_flight {
            if now_ms >= batch.deadline_ms && !batch.waiters.is_empty() {
                expired.unknown.append(&mut batch.waiters);
                // If no leader has it yet, it is sent on empty, so that it does not surface long after.
                batch.ops = 0;
                batch.data = Bytes::new();
            }
        }
        if expired.unknown.is_empty() && self.pending.is_empty() {
            return expired;
        }
        if !expired.unknown.is_empty() {
            self.rewind();
        }
        self.drop_older_than(now_ms, self.limits.write_timeout_ms, &mut expired.unsent);
        expired
    }
}

#[cfg(test)]
mod tests;
