//! Who waits for what an entry adds is given it.

use super::Running;
use crate::blocked::{Reader, Wanted, Watched};
use crate::errors;
use crate::keys::when;
use crate::origin::Wants;
use crate::reads::KeyRead;
use crate::shared::Shared;
use bytes::Bytes;
use corgi_base::streams::StreamOp;
use corgi_base::{Answer, KeyOp, Now, Op};
use corgi_consensus::storage::LogReader;
use corgi_session::reply_of;
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
        let op = Box::new(self.state.keys().settled(db, op));
        let answer = self.answer_to(now, read.client.0, db, &op);
        if answer != Answer::NilArray {
            return shared.clients.reply(client, seq, reply_of(answer));
        }
        if shared.quorum.is_lost() {
            let loss_ms = shared.config.timeouts.quorum_loss_ms;
            return shared
                .clients
                .error(client, seq, errors::cluster_down_read(loss_ms));
        }
        let wanted = Wanted::Streams { db, op };
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
            let Watched::Key(db, key) = thing;
            let mut asking = asking(shared, &numbers);
            for number in numbers {
                self.serve(shared, now, number, (db, &key), &mut asking);
            }
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
        let Wanted::Streams { op, .. } = &reader.wanted;
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
        let Wanted::Streams { op, .. } = &reader.wanted;
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
