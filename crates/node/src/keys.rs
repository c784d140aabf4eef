//! Commands on keys: reads that go past the log, when expiries are due, and what is refused before it has a number.
//!
//! A read is answered from the applied state once that has everything which was acknowledged before the read was asked
//! (a read index, as for `SUBSCRIBE`), or at once with `read-consistency local`. It sees a key until the log has let it
//! expire: two nodes may differ in how far they are, never in what there was. Only *how long* a key still has is told
//! by this node's clock, because log time stands still while nobody writes.

use crate::errors;
use crate::history::{Asked, EXPIRY_SLACK_MS};
use crate::reads::{KeyRead, Waiting};
use crate::running::Running;
use crate::shared::Shared;
use bytes::Bytes;
use corgi_base::{EntryHead, KeyOp, Now, Op, Outcome};
use corgi_consensus::storage::LogReader;
use corgi_session::{KeyQuery, Reply, Told, reply_of};
use corgi_state::State;
use corgi_state::keys::When;

/// The feature level from which on there are keys.
pub(crate) const KEYS_LEVEL: u32 = 2;

/// What a node knows of the keys besides the state, to refuse what it must not propose.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeyFacts {
    /// What all keys take.
    pub(crate) bytes: u64,
    /// The feature level of the cluster.
    pub(crate) level: u32,
}

impl Shared {
    /// Returns why these operations are refused, if they are.
    pub(crate) fn refuse_keys(&self, ops: &[Op]) -> Option<Bytes> {
        let of_keys = |op: &Op| matches!(op, Op::Key { .. } | Op::Guard { .. });
        if !ops.iter().any(of_keys) {
            return None;
        }
        if self.keys.level < KEYS_LEVEL {
            return Some(errors::no_keys_yet(self.keys.level, KEYS_LEVEL));
        }
        let max = self.config.limits.keys_bytes_max;
        let full = max > 0 && self.keys.bytes > max;
        let grows = |op: &Op| matches!(op, Op::Key { op, .. } if op.may_grow());
        (full && ops.iter().any(grows)).then(|| Bytes::from_static(errors::OUT_OF_MEMORY))
    }

    /// Takes a read. Returns it if it is answered at once.
    pub(crate) fn ask_keys(&mut self, read: KeyRead) -> Option<KeyRead> {
        if self.config.local_reads && self.keys.level >= KEYS_LEVEL {
            return Some(read);
        }
        if self.quorum.is_lost() {
            let loss_ms = self.config.timeouts.quorum_loss_ms;
            let error = errors::cluster_down_read(loss_ms);
            self.clients.error(read.client, read.seq, error);
            return None;
        }
        self.reads.ask(Waiting::Keys(read));
        None
    }
}

impl<R: LogReader> Running<R> {
    /// Answers a read from the state as it is.
    pub(crate) fn answer_keys(&self, shared: &mut Shared, now: Now, read: KeyRead) {
        if let (
            Some(until_ms),
            KeyQuery::Op {
                db,
                op: KeyOp::Stream(op),
            },
        ) = (read.until_ms, &read.query)
        {
            return self.read_or_wait(shared, now, &read, *db, op, until_ms);
        }
        let KeyRead {
            client, seq, query, ..
        } = read;
        let told = match query {
            KeyQuery::Op { db, op } => {
                let when = when(&self.state, now, client.0 ^ seq.0.rotate_left(32));
                let reply = reply_of(self.state.keys().read(db, &op, when));
                Told::Reply { seq, reply }
            }
            KeyQuery::History(query) => {
                return self.answer_history(shared, Asked::new(client, seq, query));
            }
            KeyQuery::Versions(keys) => {
                let version = |(db, key)| self.state.keys().version(db, &key);
                let versions = keys.into_iter().map(version).collect();
                Told::Versions { seq, versions }
            }
        };
        shared.clients.tell(client, told);
    }

    /// Lets time pass in the log, if this node leads and something is due by it that no entry will let expire.
    pub(super) fn pass_time(&mut self, shared: &mut Shared, now: Now) {
        shared.keys = KeyFacts {
            bytes: self.state.keys().bytes(),
            level: self.state.feature_level(),
        };
        let keys = self.state.keys().next_expiry();
        let keys = keys.map(|due_ms| u64::try_from(due_ms).unwrap_or(0));
        let history = self.state.history().next_expiry();
        let history = history.map(|due_ms| due_ms.saturating_add(EXPIRY_SLACK_MS));
        let Some(due_ms) = keys.into_iter().chain(history).min() else {
            return;
        };
        let median_ms = shared
            .vitals
            .median_clock(now, shared.config.id, self.state.voters());
        let Some(leading) = &mut self.leading else {
            return;
        };
        if leading.last_id().ms > due_ms {
            return;
        }
        let stamp = leading.stamp(now, median_ms);
        let head = EntryHead::Time { stamp };
        if stamp.ms > due_ms && self.group.propose(head.encode(), Bytes::new()).is_ok() {
            leading.appended_id(stamp);
        }
    }
}

pub(crate) fn when(state: &State, now: Now, salt: u64) -> When {
    let id = state.last_id();
    let millis = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    When {
        id,
        now_ms: millis(id.ms.max(now.wall_ms)),
        salt: salt ^ now.mono_ms,
    }
}

/// Returns what one operation is answered. `listeners` are those that a message reached.
pub(crate) fn reply(outcome: Option<&Outcome>, listeners: u64) -> Reply {
    match outcome {
        Some(Outcome::Answered(answer)) => reply_of(answer.clone()),
        Some(Outcome::Void) => Reply::Null,
        Some(Outcome::Published) | None => {
            Reply::Integer(i64::try_from(listeners).unwrap_or(i64::MAX))
        }
    }
}

/// Returns what several operations that belong together are answered: nothing, if a watched key had changed.
pub(crate) fn reply_all(guard: Option<&Outcome>, mut replies: Vec<Reply>) -> Reply {
    match guard {
        None => Reply::Array(replies),
        Some(Outcome::Void) => Reply::NullArray,
        Some(_) => Reply::Array(replies.split_off(1)),
    }
}
