//! Who waits for what an entry adds is given it.

use super::Running;
use crate::blocked::{Reader, Wanted, Watched};
use crate::errors;
use crate::history::Asked;
use crate::keys::when;
use crate::origin::Wants;
use crate::reads::KeyRead;
use crate::shared::Shared;
use bytes::Bytes;
use corgi_base::streams::StreamOp;
use corgi_base::{Answer, AppliedBatch, ClientId, KeyOp, Now, Op};
use corgi_consensus::storage::LogReader;
use corgi_session::{HistoryQuery, Seq, reply_of, waiting_for};
use std::collections::BTreeSet;

impl<R: LogReader> Running<R> {
    /// Answers a read that may wait: at once if there is something.
    pub(crate) fn read_or_wait(
        &self,
        shared: &mut Shared,
        now: Now,
        read: &KeyRead,
        db: u8,
        op: &StreamOp,
        until_ms: u64,
    ) {
        let (client, seq) = (read.client, read.seq);
        if let Some(query) = waiting_for(op) {
            return self.history_or_wait(shared, (client, seq), query, op, until_ms);
        }
        let op = Box::new(self.state.keys().settled(db, op));
        let answer = self.answer_to(now, read.client.0, db, &op);
        if answer != Answer::NilArray {
            return shared.clients.reply(client, seq, reply_of(answer));
        }
        self.begin_waiting(shared, (client, seq), Wanted::Streams { db, op }, until_ms);
    }

    /// The same of the history of channels: from the end means after what is published by now.
    fn history_or_wait(
        &self,
        shared: &mut Shared,
        (client, seq): (ClientId, Seq),
        query: HistoryQuery,
        op: &StreamOp,
        until_ms: u64,
    ) {
        let query = self.settled(query);
        if !self.history_waits(&query) {
            return self.answer_history(shared, Asked::new(client, seq, query));
        }
        let op = Box::new(op.clone());
        let wanted = Wanted::History { query, op };
        self.begin_waiting(shared, (client, seq), wanted, until_ms);
    }

    fn begin_waiting(
        &self,
        shared: &mut Shared,
        (client, seq): (ClientId, Seq),
        wanted: Wanted,
        until_ms: u64,
    ) {
        if shared.quorum.is_lost() {
            let loss_ms = shared.config.timeouts.quorum_loss_ms;
            return shared
                .clients
                .error(client, seq, errors::cluster_down_read(loss_ms));
        }
        let allowed = shared.access.check_waiting(client, &wanted.op());
        let reader = Reader::new(client, seq, wanted, until_ms);
        let waits = allowed.and_then(|()| shared.blocked.wait(reader));
        if let Err(text) = waits {
            shared.clients.error(client, seq, text);
        }
    }

    fn answer_to(&self, now: Now, salt: u64, db: u8, op: &StreamOp) -> Answer {
        let op = KeyOp::Stream(Box::new(op.clone()));
        let when = when(&self.state, now, salt);
        self.state.keys().read(db, &op, when)
    }

    /// Answers those who wait for what the last entry concerned.
    pub(crate) fn wake(&mut self, shared: &mut Shared, now: Now) {
        for (db, key) in self.state.take_touched() {
            shared.blocked.touch(Watched::Key(db, key));
        }
        while let Some((thing, numbers)) = shared.blocked.take_woken() {
            let (db, key) = match thing {
                Watched::Key(db, key) => (db, key),
                Watched::Channel(_) => {
                    for number in numbers {
                        self.serve_history(shared, number);
                    }
                    continue;
                }
            };
            let mut asking = asking(shared, &numbers);
            for number in numbers {
                self.serve(shared, now, number, (db, &key), &mut asking);
            }
        }
    }

    /// Takes note of what a batch has published.
    pub(crate) fn touch_channels(&self, shared: &mut Shared, batch: &AppliedBatch) {
        if shared.blocked.is_empty() {
            return;
        }
        for op in &batch.ops {
            if let Op::Publish { channel, .. } = op {
                shared.blocked.touch(Watched::Channel(channel.clone()));
            }
        }
    }

    fn serve_history(&self, shared: &mut Shared, number: u64) {
        let reader = shared.blocked.reader(number);
        let there = reader.is_some_and(|reader| match &reader.wanted {
            Wanted::History { query, .. } => !self.history_waits(query),
            Wanted::Streams { .. } => false,
        });
        if there
            && let Some(reader) = shared.blocked.remove(number)
            && let Wanted::History { query, .. } = reader.wanted
        {
            self.answer_history(shared, Asked::new(reader.client, reader.seq, query));
        }
    }

    fn serve(
        &self,
        shared: &mut Shared,
        now: Now,
        number: u64,
        (db, key): (u8, &Bytes),
        asking: &mut BTreeSet<Bytes>,
    ) {
        let Some(reader) = shared.blocked.reader(number) else {
            return;
        };
        let Wanted::Streams { op, .. } = &reader.wanted else {
            return;
        };
        let answer = match &**op {
            StreamOp::ReadGroup { group, .. } if reader.asked || asking.contains(group) => return,
            StreamOp::ReadGroup { group, .. } => {
                match self.state.keys().group_has_news(db, key, group) {
                    Ok(true) => {
                        asking.insert(group.clone());
                        return propose(shared, now, number);
                    }
                    Ok(false) => return,
                    Err(error) => Answer::Error(error),
                }
            }
            // Whoever does not read in a group waits for another stream if this one is gone.
            _ if !self.state.keys().is_stream(db, key) => return,
            op => self.answer_to(now, number, db, op),
        };
        if answer != Answer::NilArray
            && let Some(reader) = shared.blocked.remove(number)
        {
            let reply = reply_of(answer);
            shared.clients.reply(reader.client, reader.seq, reply);
        }
    }
}

/// Returns the groups of which one of these is being given something.
fn asking(shared: &Shared, numbers: &[u64]) -> BTreeSet<Bytes> {
    let readers = numbers
        .iter()
        .filter_map(|number| shared.blocked.reader(*number));
    let groups = readers.filter(|reader| reader.asked).filter_map(|reader| {
        let Wanted::Streams { op, .. } = &reader.wanted else {
            return None;
        };
        match &**op {
            StreamOp::ReadGroup { group, .. } => Some(group.clone()),
            _ => None,
        }
    });
    groups.collect()
}

/// Proposes what a reader waits for.
fn propose(shared: &mut Shared, now: Now, number: u64) {
    if let Some(reader) = shared.blocked.reader(number) {
        let (client, seq, op): (_, _, Op) = (reader.client, reader.seq, reader.wanted.op());
        shared.blocked.asked(number);
        shared.write(now, client, seq, Wants::One, &[op]);
    }
}
