//! Feeding subscribers that lag, until they are live again (P10).
//!
//! When more than a limit waits for a connection, what is applied from then on is not queued for it: it keeps a
//! position, and the bus leaves it out. Once it has written enough, it gets the next part from where it stands, and so
//! on, until it stands behind the last applied entry; then it is live again. All of this happens between two entries,
//! and live delivery stops and begins between entries too, so that no message is missed or doubled.
//!
//! What may wait for one connection shrinks as more waits for all (Choudhury and Hahne, "Dynamic queue length
//! thresholds", 1998): each may have an eighth of what is free, and never less than an eighth of the low-water mark.
//! However many stand still, some room is left for those that read.

use crate::cursors::{Blocks, Cursors, Lost, Need, Position};
use crate::errors;
use crate::shared::{RespEncoder, Shared};
use corgi_base::{ClientId, LogIndex, MessageId, Op, SubscriptionKind};
use corgi_consensus::storage::ReadLogError;
use corgi_session::{Told, live_channel, live_payload};
use slog::{debug, info};

/// What looking at an operation costs besides its bytes.
const LOOK_BYTES: u64 = 64;

/// Counters for `INFO`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FeedCounters {
    /// Connections that were closed because the log has lost what they must get next.
    pub(crate) closed: u64,
    /// Times that a connection began to lag.
    pub(crate) begun: u64,
    /// Reads of the log.
    pub(crate) reads: u64,
    /// Bytes that were read from the log.
    pub(crate) read_bytes: u64,
}

impl Shared {
    /// Returns how many bytes may wait for one connection at present.
    fn queue_bytes_max(&self) -> u64 {
        let limits = &self.config.limits;
        let free = limits
            .clients_queue_bytes_max
            .saturating_sub(self.clients.queued_total());
        let shared = (free / 8).max(limits.client_queue_bytes_low / 8);
        limits.client_queue_bytes_max.min(shared)
    }

    /// Whether a connection may be given `bytes` more of an applied entry. A connection without anything queued always
    /// may: a limit below one message must not stop it.
    pub(crate) fn has_room(&self, client: ClientId, bytes: usize) -> bool {
        let queued = self.clients.queued_bytes(client);
        queued == 0 || queued + bytes as u64 <= self.queue_bytes_max()
    }

    /// Stops to deliver to a connection: it has everything before entry `index`, and reads on from there.
    pub(crate) fn begin_lag(&mut self, client: ClientId, index: LogIndex) {
        debug!(self.log, "a subscriber lags"; "client" => ?client, "index" => index.0);
        self.feed_counters.begun += 1;
        self.bus.detach(client);
        self.cursors.begin(client, index);
        self.wait_or_watch(client);
    }

    /// A connection that is detached but has nothing to be fed with is live.
    pub(crate) fn end_lag(&mut self, client: ClientId) {
        if self.cursors.end(client) {
            self.bus.attach(client);
        }
    }

    /// Takes note that a connection has written enough to be given more.
    pub(crate) fn client_drained(&mut self, client: ClientId) {
        if self.cursors.contains(client) {
            self.wait_or_watch(client);
        }
    }

    fn wait_or_watch(&mut self, client: ClientId) {
        let low = self
            .queue_bytes_max()
            .min(self.config.limits.client_queue_bytes_low);
        let drained = self.clients.drained_or_watch(client, low);
        self.cursors.set_waiting(client, drained);
    }

    /// Takes what was read from the log.
    pub(crate) fn log_read(&mut self, block: crate::cursors::LogBlock) {
        match self.cursors.take_block(block) {
            Ok(bytes) => self.feed_counters.read_bytes += bytes,
            Err(ReadLogError::Compacted { truncated, .. }) => {
                let next = truncated.next();
                self.cursors.lost = Some(Lost { truncated, next });
            }
            Err(
                error @ (ReadLogError::Unavailable { .. }
                | ReadLogError::Damaged { .. }
                | ReadLogError::Io { .. }),
            ) => self.fail(format!("read the log for a subscriber: {error}")),
        }
    }

    /// Gives those that wait what is here, and asks for what is not. What one input may cost is bounded: the rest comes
    /// with the next one, at the latest the next tick.
    pub(crate) fn feed(&mut self) {
        if !self.cursors.has_waiting() {
            return;
        }
        let mut budget = self.config.limits.cursors.feed_bytes_max.max(1);
        self.find_first_available();
        while budget > 0 && self.feed_round(&mut budget) {}
    }

    /// Goes once through all that wait, from where the last round ended. Returns whether anything was done.
    fn feed_round(&mut self, budget: &mut u64) -> bool {
        let start = self.cursors.sweep;
        let mut place = start;
        let mut wrapped = false;
        let mut any = false;
        while *budget > 0 {
            let next = self.cursors.next_waiting(place);
            let Some((index, client)) = next.filter(|next| !wrapped || *next <= start) else {
                if wrapped {
                    break;
                }
                wrapped = true;
                place = (LogIndex(0), ClientId(0));
                continue;
            };
            place = (index, client);
            #[cfg(feature = "seeded-bugs")]
            let index = self.too_early(index);
            match self.cursors.need(index) {
                Need::Live => {
                    self.end_lag(client);
                    any = true;
                }
                Need::Block => {
                    self.cursors.sweep = place;
                    self.feed_client(client, budget);
                    any = true;
                }
                Need::Wait(to) => place = before(to),
                Need::Read if self.is_lost(index) => place = (index, ClientId(u64::MAX)),
                Need::Read => match self.begin_read(index) {
                    Some(to) => {
                        self.cursors.sweep = place;
                        place = before(to);
                        any = true;
                    }
                    None => match self.cursors.blocks.next_start(index) {
                        Some(start) => place = before(start),
                        None => place = before(self.cursors.applied_index().next()),
                    },
                },
            }
        }
        any
    }

    /// The mistake of taking a subscriber for live that stands before the last entry.
    #[cfg(feature = "seeded-bugs")]
    fn too_early(&self, index: LogIndex) -> LogIndex {
        let mistaken = self.bug == Some(corgi_consensus::SeededBug::HandOverDrops)
            && index == self.cursors.applied_index();
        if mistaken { index.next() } else { index }
    }

    /// Whether the log does not have an entry any more, and those that need it will be closed.
    fn is_lost(&self, index: LogIndex) -> bool {
        let lost = self.cursors.lost.as_ref();
        lost.is_some_and(|lost| index <= lost.truncated)
    }

    /// Begins to read, if not too many reads are under way.
    fn begin_read(&mut self, index: LogIndex) -> Option<LogIndex> {
        let limits = self.config.limits.cursors;
        if self.cursors.reads_under_way() >= limits.reads_max.max(1) {
            return None;
        }
        self.feed_counters.reads += 1;
        let read = self.cursors.read(index, limits.block_bytes_max);
        let to = read.to();
        self.out.reads.push(read);
        Some(to)
    }

    /// Gives a client what it may have of the block that it stands in.
    fn feed_client(&mut self, client: ClientId, budget: &mut u64) {
        let part = self
            .queue_bytes_max()
            .min(self.config.limits.client_queue_bytes_low);
        let part = usize::try_from(part).unwrap_or(usize::MAX);
        let Some((cursor, block)) = self.cursors.at(client) else {
            return;
        };
        let mut position = cursor.position.clone();
        let mut replay = self.bus.replay(&RespEncoder, client, part);
        let (mut cost, mut live) = (1, Vec::new());
        let mut whole = true;
        'block: for (at, batch) in block.batches_from(position.index) {
            if *at != position.index {
                position = Position::at(*at);
            }
            let wants = |kind: SubscriptionKind, name: &[u8]| cursor.wants(kind, name, *at);
            for op in &batch.ops[position.op as usize..] {
                cost += LOOK_BYTES;
                let after = &mut position.after;
                let done = match op {
                    Op::Publish { channel, payload } => {
                        live_channel(&mut live, channel);
                        let with_id = || live_payload(batch.id(position.op), payload);
                        (replay.is_only_exact(after)
                            || replay.publish(channel, payload, after, wants))
                            && replay.publish_exact(&live, with_id, after, wants)
                    }
                    Op::ShardPublish { channel, payload } => {
                        replay.publish_shard(channel, payload, after, wants)
                    }
                    // Delivers nothing.
                    Op::Key { .. } | Op::Guard { .. } | Op::Users(_) | Op::HistoryRules(_) => true,
                };
                if !done {
                    whole = false;
                    break 'block;
                }
                position.op += 1;
            }
        }
        if whole {
            position = Position::at(block.next());
        }
        let bytes = replay.finish();
        *budget = budget.saturating_sub(cost + bytes.len() as u64);
        self.cursors.moved(client, position);
        if !bytes.is_empty() {
            self.clients.tell(client, Told::Deliver(bytes));
        }
        self.wait_or_watch(client);
    }

    /// Looks for the first message that a log which has lost entries still has, and closes whoever needs an earlier
    /// one.
    fn find_first_available(&mut self) {
        while let Some(Lost { truncated, next }) = self.cursors.lost {
            let found = match self.cursors.need(next) {
                Need::Live => Some(self.cursors.next_id()),
                Need::Wait(_) => return,
                Need::Read => {
                    self.begin_read(next);
                    return;
                }
                Need::Block => {
                    let block = self.cursors.blocks.get(next);
                    let first = |block: &crate::cursors::Block| {
                        let batch = block.batches_from(next).first();
                        (block.next(), batch.map(|(_, batch)| batch.first))
                    };
                    let Some((behind, first)) = block.map(first) else {
                        return;
                    };
                    if first.is_none() {
                        self.cursors.lost = Some(Lost {
                            truncated,
                            next: behind,
                        });
                    }
                    first
                }
            };
            if let Some(first) = found {
                self.cursors.lost = None;
                for client in self.cursors.waiting_up_to(truncated) {
                    self.close_lagged(client, first);
                }
            }
        }
    }

    /// Closes a subscriber that cannot be given what it must get next.
    pub(crate) fn close_lagged(&mut self, client: ClientId, first: MessageId) {
        self.feed_counters.closed += 1;
        info!(self.log, "closed a subscriber that is behind what the log has";
            "client" => ?client, "first" => %first);
        self.cursors.end(client);
        self.bus.reset(client);
        self.forget_reads(client);
        let error = Some(errors::lagged(first));
        self.clients.tell(client, Told::Close { error });
    }
}

/// The place behind everybody who needs an earlier entry.
fn before(index: LogIndex) -> (LogIndex, ClientId) {
    (LogIndex(index.0 - 1), ClientId(u64::MAX))
}

/// Returns cursors within limits.
pub(crate) fn cursors(limits: &crate::config::CursorLimits) -> Cursors {
    Cursors::new(Blocks::new(limits.cache_bytes_max, limits.block_bytes_max))
}
