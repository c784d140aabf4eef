//! Who waits for something new: `XREAD BLOCK`, `XREADGROUP BLOCK`.
//!
//! ```text
//!   Ask::Wait ─ there is something ──────────────────────────▶ answered
//!        │ nothing                                               ▲
//!        ▼                                                       │
//!     Reader, found by each thing that it watches ── an entry is applied that concerns one of them
//!        │
//!        └─ its time is up, CLIENT UNBLOCK: nil or an error; its connection ends: nothing
//! ```
//!
//! An applied entry that concerns nothing that is watched costs one lookup for each key that it changes, however many
//! wait. Readers of the same thing come in the order in which they began to wait on this node. Entry by entry: who
//! waits sees what is there after all operations of an entry.
//!
//! `XREAD` is answered from the state right behind the entry, on every node. What a group gives is a write: of all of a
//! node's readers of one group the first proposes its `XREADGROUP` when the group has something to give, and the next
//! one when that is applied. If a reader of another node was given it, the reader goes on waiting in its old place.
//!
//! Another kind of reader (of something that is no key) is a further [`Watched`], with who marks it by
//! [`Blocked::touch`], and a further [`Wanted`], with what it is answered in `running/wake.rs`. Order, time, ends and
//! limits are the same for all.
//!
//! Not here: what is read (`state`); when somebody is woken (`running/wake.rs`).

use crate::errors;
use crate::origin::Wants;
use crate::reads::KeyRead;
use crate::shared::Shared;
use bytes::Bytes;
use corgi_base::streams::StreamOp;
use corgi_base::{ClientId, KeyOp, Now, Op};
use corgi_session::{HistoryQuery, KeyQuery, Reply, Seq};
use std::collections::{BTreeMap, BTreeSet};

/// Something that an entry of the log may concern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Watched {
    /// A key of a database.
    Key(u8, Bytes),
    /// What is published to a channel.
    Channel(Bytes),
}

/// What a reader waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Entries of streams of a database.
    Streams { db: u8, op: Box<StreamOp> },
    /// What channels are published, as [`HistoryQuery::Read`] asks; the operation is what the client has asked.
    History {
        query: HistoryQuery,
        op: Box<StreamOp>,
    },
}

impl Wanted {
    fn watched(&self) -> BTreeSet<Watched> {
        let (db, op) = match self {
            Self::Streams { db, op } => (db, op),
            Self::History { query, .. } => {
                let channel =
                    |(channel, _): &(Bytes, _)| Watched::Channel(Bytes::copy_from_slice(channel));
                return match query {
                    HistoryQuery::Read { channels, .. } => channels.iter().map(channel).collect(),
                    _ => BTreeSet::new(),
                };
            }
        };
        let of = |key: &Bytes| Watched::Key(*db, Bytes::copy_from_slice(key));
        match &**op {
            StreamOp::Read { streams, .. } => streams.iter().map(|(key, _)| of(key)).collect(),
            StreamOp::ReadGroup { streams, .. } => streams.iter().map(|(key, _)| of(key)).collect(),
            _ => BTreeSet::new(),
        }
    }

    /// Returns the operation, which says what its client must be permitted.
    pub(crate) fn op(&self) -> Op {
        let (db, op) = match self {
            Self::Streams { db, op } => (*db, op),
            Self::History { op, .. } => (0, op),
        };
        Op::Key {
            db,
            op: KeyOp::Stream(op.clone()),
        }
    }
}

/// How the waiting of a reader shall end whose operation is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    TimeUp,
    Unblocked,
}

impl Ended {
    /// By `CLIENT UNBLOCK`, with `ERROR` or without.
    fn by_command(error: bool) -> Self {
        if error { Self::Unblocked } else { Self::TimeUp }
    }

    fn reply(self) -> Reply {
        match self {
            Self::TimeUp => Reply::NullArray,
            Self::Unblocked => Reply::error(errors::UNBLOCKED),
        }
    }
}

/// A client that waits.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) client: ClientId,
    pub(crate) seq: Seq,
    pub(crate) wanted: Wanted,
    /// `u64::MAX` for as long as it takes.
    pub(crate) until_ms: u64,
    /// Its operation is under way: what it is told is the log's.
    pub(crate) asked: bool,
    ended: Option<Ended>,
}

impl Reader {
    pub(crate) fn new(client: ClientId, seq: Seq, wanted: Wanted, until_ms: u64) -> Self {
        Self {
            client,
            seq,
            wanted,
            until_ms,
            asked: false,
            ended: None,
        }
    }
}

/// All that wait on a node.
#[derive(Debug)]
pub(crate) struct Blocked {
    /// By when they began to wait: by number.
    readers: BTreeMap<u64, Reader>,
    next: u64,
    of_client: BTreeMap<ClientId, u64>,
    watching: BTreeMap<Watched, BTreeSet<u64>>,
    deadlines: BTreeSet<(u64, u64)>,
    woken: BTreeSet<Watched>,
    /// How many things all readers watch, and how many these may be.
    watched: usize,
    watched_max: usize,
}

impl Blocked {
    pub(crate) fn new(watched_max: usize) -> Self {
        Self {
            readers: BTreeMap::new(),
            next: 0,
            of_client: BTreeMap::new(),
            watching: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            woken: BTreeSet::new(),
            watched: 0,
            watched_max,
        }
    }

    /// Lets a client wait. An error if too much is waited for.
    pub(crate) fn wait(&mut self, reader: Reader) -> Result<(), Bytes> {
        let watched = reader.wanted.watched();
        if self.watched + watched.len() > self.watched_max {
            return Err(errors::too_many_wait(self.watched, self.watched_max));
        }
        self.watched += watched.len();
        let number = self.next;
        self.next += 1;
        for thing in watched {
            self.watching.entry(thing).or_default().insert(number);
        }
        self.deadlines.insert((reader.until_ms, number));
        let before = self.of_client.insert(reader.client, number);
        assert!(before.is_none(), "a client waits for one command at a time");
        self.readers.insert(number, reader);
        Ok(())
    }

    pub(crate) fn reader(&self, number: u64) -> Option<&Reader> {
        self.readers.get(&number)
    }

    pub(crate) fn readers(&self) -> impl Iterator<Item = (u64, &Reader)> {
        self.readers
            .iter()
            .map(|(number, reader)| (*number, reader))
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<Reader> {
        let reader = self.readers.remove(&number)?;
        self.of_client.remove(&reader.client);
        self.deadlines.remove(&(reader.until_ms, number));
        for thing in reader.wanted.watched() {
            self.watched -= 1;
            if let Some(numbers) = self.watching.get_mut(&thing) {
                numbers.remove(&number);
                if numbers.is_empty() {
                    self.watching.remove(&thing);
                }
            }
        }
        Some(reader)
    }

    /// Forgets a client. What is under way for it goes on.
    pub(crate) fn forget(&mut self, client: ClientId) {
        if let Some(number) = self.of_client.get(&client) {
            self.remove(*number);
        }
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.readers.is_empty()
    }

    /// Takes note that an entry concerns something.
    pub(crate) fn touch(&mut self, thing: Watched) {
        if self.watching.contains_key(&thing) {
            self.woken.insert(thing);
        }
    }

    /// Takes note that everything may be different.
    pub(crate) fn touch_all(&mut self) {
        self.woken.extend(self.watching.keys().cloned());
    }

    /// Returns the next thing that an entry concerned, and who waits for it, those first who have waited longest.
    pub(crate) fn take_woken(&mut self) -> Option<(Watched, Vec<u64>)> {
        let thing = self.woken.pop_first()?;
        let numbers = self.watching.get(&thing);
        let numbers = numbers.into_iter().flatten().copied().collect();
        Some((thing, numbers))
    }

    /// Takes note that a reader's operation is under way.
    pub(crate) fn asked(&mut self, number: u64) {
        if let Some(reader) = self.readers.get_mut(&number) {
            reader.asked = true;
        }
    }

    /// Takes the answer to a write. Returns it unless the client goes on waiting, because it was given nothing.
    pub(crate) fn answered(&mut self, client: ClientId, seq: Seq, reply: Reply) -> Option<Reply> {
        let Some(number) = self.of_client.get(&client).copied() else {
            return Some(reply);
        };
        let Some(reader) = self.readers.get_mut(&number) else {
            return Some(reply);
        };
        if reader.seq != seq || reply != Reply::NullArray {
            self.remove(number);
            return Some(reply);
        }
        if let Some(ended) = reader.ended {
            self.remove(number);
            return Some(ended.reply());
        }
        reader.asked = false;
        // What was added meanwhile has woken nobody.
        for thing in reader.wanted.watched() {
            self.touch(thing);
        }
        None
    }

    /// Returns those whose time is up, and forgets them. Who is being given something has to wait for that.
    pub(crate) fn take_due(&mut self, now_ms: u64) -> Vec<(Reader, Reply)> {
        let due = self.deadlines.range(..=(now_ms, u64::MAX));
        let due: Vec<u64> = due.map(|(_, number)| *number).collect();
        let end = |number: &u64| self.end(*number, Ended::TimeUp);
        due.iter().filter_map(end).collect()
    }

    /// Ends the waiting of a client. Whether it waited, and what it is told if nothing is under way for it.
    pub(crate) fn unblock(
        &mut self,
        client: ClientId,
        error: bool,
    ) -> (bool, Option<(Reader, Reply)>) {
        let how = Ended::by_command(error);
        match self.of_client.get(&client).copied() {
            Some(number) => (true, self.end(number, how)),
            None => (false, None),
        }
    }

    fn end(&mut self, number: u64, how: Ended) -> Option<(Reader, Reply)> {
        let reader = self.readers.get_mut(&number)?;
        if reader.asked {
            reader.ended.get_or_insert(how);
            return None;
        }
        Some((self.remove(number)?, how.reply()))
    }

    /// Returns all clients that wait.
    pub(crate) fn clients(&self) -> Vec<ClientId> {
        self.of_client.keys().copied().collect()
    }
}

impl Shared {
    /// Begins what may wait. Returns what is read first; who reads in a group asks the log first.
    pub(crate) fn begin_waiting(
        &mut self,
        now: Now,
        (client, seq): (ClientId, Seq),
        db: u8,
        op: Box<StreamOp>,
        block_ms: u64,
    ) -> Option<KeyRead> {
        let until_ms = match block_ms {
            0 => u64::MAX,
            block_ms => now.mono_ms.saturating_add(block_ms),
        };
        if op.is_read() {
            let op = KeyOp::Stream(op);
            return Some(KeyRead {
                client,
                seq,
                query: KeyQuery::Op { db, op },
                deadline_ms: now.mono_ms + self.config.timeouts.write_ms,
                until_ms: Some(until_ms),
            });
        }
        let wanted = Wanted::Streams { db, op };
        let op = wanted.op();
        let mut reader = Reader::new(client, seq, wanted, until_ms);
        reader.asked = true;
        match self.blocked.wait(reader) {
            Ok(()) => self.write(now, client, seq, Wants::One, &[op]),
            Err(text) => self.clients.error(client, seq, text),
        }
        None
    }

    /// Ends the waiting of a client. Returns whether it waited.
    pub(crate) fn unblock(&mut self, client: ClientId, error: bool) -> bool {
        if let Some(seq) = self.reads.take_waiting(client) {
            let reply = Ended::by_command(error).reply();
            self.clients.reply(client, seq, reply);
            return true;
        }
        let (waited, ended) = self.blocked.unblock(client, error);
        if let Some((reader, reply)) = ended {
            self.clients.reply(reader.client, reader.seq, reply);
        }
        waited
    }
}

#[cfg(test)]
mod tests;
