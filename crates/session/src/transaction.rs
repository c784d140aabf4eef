//! Transactions: what is queued between `MULTI` and `EXEC`, and what becomes of it.
//!
//! ```text
//!   MULTI ─ QUEUED ─ QUEUED ─ EXEC ─▶ each command in its order ─┬─ the session's own: at once
//!                                                                ├─ a write, or a command on keys: part of one group,
//!                                                                │  one entry of the log
//!                                                                └─ the node's: asked alone, EXEC waits
//! ```
//!
//! All writes of a transaction are asked of the node as one group, which is in the log as a whole or not at all,
//! and which no other message comes between. Most transactions hold nothing but writes and commands that the session
//! answers itself; such an `EXEC` is pipelined as a single write is. One that holds a command for the node
//! (`SUBSCRIBE`, `PUBSUB`, `HELLO` with another version, …) is a barrier. Its commands run in their order, but all
//! its writes take effect in the place of the first one: to come in parts would be to not be a transaction.
//!
//! With watched keys the group comes first of all, and a guard before it: if one of the keys has changed, nothing of
//! the transaction happens.
//!
//! The replies are gathered, and leave as one array, whatever protocol version each of them was written in. As in
//! Redis a confirmation of a subscription is written where the reply would be, one for each name.

use crate::acl::Context;
use crate::ask::Seq;
use crate::commands::{Command, Step};
use crate::connection::Connection;
use crate::dispatch::Checked;
use crate::env::Env;
use crate::errors::{self, ErrorText};
use crate::session::Question;
use crate::table::{Flags, Spec};
use bytes::{BufMut, Bytes, BytesMut};
use corgi_base::{MessageId, Op, Protocol, SubscriptionKind, Watch};
use corgi_resp::{Reply, encode, request_bytes};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::vec::IntoIter;

/// What a queued command takes besides its arguments, and a watched key besides its name.
const QUEUED_BYTES: usize = 64;

/// The keys of `WATCH`, each with the version that it must still have when `EXEC` is applied.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    keys: BTreeMap<(u8, Bytes), MessageId>,
    /// Those whose versions have been asked for.
    asked: Vec<(u8, Bytes)>,
    bytes: usize,
}

impl Watched {
    /// Takes keys to be watched. Returns those whose versions must be asked for: what is watched already stays so.
    ///
    /// # Errors
    /// The text of the refusal if there are too many; none of these is watched then.
    pub(crate) fn add(
        &mut self,
        db: u8,
        keys: Vec<Bytes>,
        bytes_max: usize,
    ) -> Result<Vec<(u8, Bytes)>, ErrorText> {
        let keys: BTreeSet<_> = keys.into_iter().map(|key| (db, key)).collect();
        let new = keys.into_iter().filter(|key| !self.keys.contains_key(key));
        let new: Vec<_> = new.collect();
        let bytes: usize = new.iter().map(|(_, key)| key.len() + QUEUED_BYTES).sum();
        if self.bytes + bytes > bytes_max {
            return Err(errors::too_many_watched(bytes_max));
        }
        self.asked.clone_from(&new);
        Ok(new)
    }

    /// Takes the versions that were asked for.
    pub(crate) fn versions(&mut self, versions: Vec<MessageId>) {
        for (key, version) in std::mem::take(&mut self.asked).into_iter().zip(versions) {
            self.bytes += key.1.len() + QUEUED_BYTES;
            self.keys.insert(key, version);
        }
    }

    /// Returns the keys as the log takes them.
    fn into_guard(self) -> Vec<Watch> {
        let keys = self.keys.into_iter();
        keys.map(|((db, key), version)| Watch { db, key, version })
            .collect()
    }

    /// Returns how many keys are watched.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }
}

/// The commands since `MULTI`.
#[derive(Debug, Default)]
pub(crate) struct Multi {
    queued: Vec<Checked>,
    bytes: usize,
    aborted: bool,
}

impl Multi {
    /// Adds a command.
    ///
    /// # Errors
    /// The text of the refusal if the transaction is too large; it is aborted then.
    pub(crate) fn queue(
        &mut self,
        mut command: Checked,
        bytes_max: usize,
    ) -> Result<(), ErrorText> {
        if self.aborted {
            // Nothing of it will run, so that nothing need be kept.
            return Ok(());
        }
        let bytes = request_bytes(&command.args) + QUEUED_BYTES;
        if self.bytes + bytes > bytes_max {
            self.abort();
            return Err(errors::transaction_too_large(bytes_max));
        }
        self.bytes += bytes;
        command.args = copied(&command.args);
        self.queued.push(command);
        Ok(())
    }

    /// Lets `EXEC` fail: a command was refused.
    pub(crate) fn abort(&mut self) {
        *self = Self {
            aborted: true,
            ..Self::default()
        };
    }

    /// Returns how many commands are queued.
    pub(crate) fn len(&self) -> usize {
        self.queued.len()
    }

    /// Returns what the queued commands take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the rows of the commands.
    pub(crate) fn specs(&self) -> impl Iterator<Item = &'static Spec> {
        self.queued.iter().map(|command| command.spec)
    }

    /// Returns whether any of the commands waits while writes are paused.
    pub(crate) fn writes(&self) -> bool {
        self.specs().any(|spec| spec.flags.contains(Flags::WRITES))
    }

    /// Begins to run the commands.
    ///
    /// # Errors
    /// The text with which `EXEC` fails; nothing has run then.
    pub(crate) fn exec(
        self,
        watched: Watched,
        database: u8,
        bytes_max: usize,
    ) -> Result<Exec, ErrorText> {
        if self.aborted {
            return Err(Bytes::from_static(errors::EXEC_ABORTED));
        }
        let items: VecDeque<Item> = self.queued.into_iter().map(Item::Queued).collect();
        Ok(Exec {
            count: items.len(),
            items,
            parts: Vec::new(),
            queued_bytes: self.bytes,
            reply_bytes: 0,
            bytes_max,
            group: Group::Open {
                ops: Vec::new(),
                bytes: 0,
            },
            due: false,
            watched: watched.into_guard(),
            database,
            held: Vec::new(),
            held_bytes: 0,
        })
    }
}

/// Whether a command writes, if it does anything.
fn writes(command: &Command) -> bool {
    match command {
        Command::Write(_) | Command::Eval { .. } | Command::Across(_) => true,
        Command::Keys(op) => !op.is_read(),
        Command::Wait { op, .. } => !op.is_read(),
        _ => false,
    }
}

/// Copies arguments into one allocation: as slices of the read buffer they would keep all of it alive.
fn copied(args: &[Bytes]) -> Vec<Bytes> {
    let mut all = BytesMut::with_capacity(args.iter().map(Bytes::len).sum());
    args.iter().for_each(|arg| all.extend_from_slice(arg));
    let mut all = all.freeze();
    args.iter().map(|arg| all.split_to(arg.len())).collect()
}

/// Whether the transaction's writes are decided.
#[derive(Debug)]
enum Group {
    /// They have not been asked: these are known so far.
    Open { ops: Vec<Op>, bytes: usize },
    /// The node has them.
    Asked,
    /// One reply for each of them, or why there was none written.
    Decided(Result<IntoIter<Reply>, ErrorText>),
}

/// A part of the array.
#[derive(Debug)]
enum Part {
    /// Replies and confirmations, encoded.
    Encoded(BytesMut),
    /// The reply of a write.
    Written(Written, Protocol),
}

/// How a write is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Written {
    /// By the reply of its operation.
    One,
    /// A script of so many operations: by nil.
    Script(usize),
}

/// What is to be done next.
#[derive(Debug)]
pub(crate) enum Item {
    /// To look whether a command may run, and what it is.
    Queued(Checked),
    /// To run a command.
    Command(Command),
    /// To go on with one that has run.
    Ran(Outcome),
}

impl Item {
    fn error(text: impl Into<Bytes>) -> Self {
        Self::Ran(Outcome::Answered(Reply::error(text)))
    }

    /// Checks a queued command: what was permitted when it was queued need not be any more, and the client may have
    /// become another user since, also by a command before it.
    fn checked(self, conn: &mut Connection) -> Self {
        let Self::Queued(queued) = self else {
            return self;
        };
        if let Some(denied) = queued.denied(&conn.user) {
            let user = conn.user.clone();
            let (context, command) = (Context::Multi, queued.spec.name);
            conn.denials.note(&denied, context, command, user.name());
            return Self::error(errors::no_permission_any_more(&denied));
        }
        match queued.parse() {
            Ok(command) => Self::Command(command),
            Err(text) => Self::error(text),
        }
    }
}

/// What came of a command.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// This is its reply.
    Answered(Reply),
    /// It is in the group.
    Written(Written),
    /// The node or the process must be asked.
    Ask(Question),
}

/// An `EXEC` under way.
#[derive(Debug)]
pub(crate) struct Exec {
    count: usize,
    items: VecDeque<Item>,
    parts: Vec<Part>,
    queued_bytes: usize,
    /// What the encoded parts take, which is bounded too.
    reply_bytes: usize,
    bytes_max: usize,
    group: Group,
    /// A write's place has been passed.
    due: bool,
    /// What must not have changed.
    watched: Vec<Watch>,
    /// The client's database before it.
    database: u8,
    /// Messages that came after the writes were decided: they follow the array.
    held: Vec<Bytes>,
    held_bytes: usize,
}

impl Exec {
    /// Returns how many commands it has, with those that are done.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Takes what is to be done next. Once there are too many bytes of replies, commands that write nothing give an
    /// error.
    pub(crate) fn next(&mut self, conn: &mut Connection) -> Option<Item> {
        let full = self.reply_bytes > self.bytes_max;
        Some(match self.items.pop_front()?.checked(conn) {
            // Redis refuses what turns a connection into something else, but for `SUBSCRIBE` and `PSUBSCRIBE`, which
            // it once allowed.
            Item::Command(Command::Subscribe {
                kind: SubscriptionKind::Shard,
                ..
            }) => Item::error(errors::SSUBSCRIBE_IN_EXEC),
            Item::Command(Command::Monitor) => Item::error(errors::MONITOR_IN_EXEC),
            Item::Command(command) if full && !writes(&command) => {
                Item::error(errors::exec_replies_too_large(self.bytes_max))
            }
            item => item,
        })
    }

    /// Runs the writes that are still to come, because the group must be asked before another command: it is one step,
    /// in the place of its first operation. They run as the user that the client is now.
    pub(crate) fn gather(&mut self, seq: Seq, conn: &mut Connection, env: &Env) {
        for item in std::mem::take(&mut self.items) {
            // What they write to is the database that is chosen by then.
            let part = |spec: &Spec| {
                let flags = spec.flags;
                flags.contains(Flags::WRITES)
                    || flags.contains(Flags::KEYSPACE)
                    || spec.name == "select"
            };
            let writes = matches!(&item, Item::Queued(queued) if part(queued.spec));
            let item = match item {
                item if !writes => item,
                item => match item.checked(conn) {
                    Item::Command(command) => Item::Ran(self.ran(command.run(seq, conn, env))),
                    refused => refused,
                },
            };
            self.items.push_back(item);
        }
    }

    /// Takes what a command has come to; its operations go into the group.
    pub(crate) fn ran(&mut self, step: Step) -> Outcome {
        match step {
            Step::Answer(reply) | Step::Insist(reply) | Step::Leave(reply) => {
                Outcome::Answered(reply)
            }
            // The array has a place for it.
            Step::Silent => Outcome::Answered(Reply::ok()),
            Step::Write(op) => self.add(vec![op], Written::One),
            // Nothing waits within a transaction.
            Step::Keys { db, op, .. } => self.add(vec![Op::Key { db, op }], Written::One),
            Step::Script(ops) => {
                let written = Written::Script(ops.len());
                self.add(ops, written)
            }
            Step::Barrier(ask) => Outcome::Ask(Question::Node(ask)),
            Step::Local(ask) => Outcome::Ask(Question::Process(Box::new(ask))),
        }
    }

    fn add(&mut self, new: Vec<Op>, written: Written) -> Outcome {
        let Group::Open { ops, bytes } = &mut self.group else {
            return Outcome::Answered(Reply::error(errors::WRITES_DECIDED));
        };
        let more: usize = new.iter().map(Op::encoded_len).sum();
        if *bytes + more > self.bytes_max {
            let text = errors::transaction_too_large(self.bytes_max);
            return Outcome::Answered(Reply::Error(text));
        }
        *bytes += more;
        ops.extend(new);
        Outcome::Written(written)
    }

    /// Adds the reply of a command.
    pub(crate) fn answer(&mut self, reply: &Reply, protocol: Protocol) {
        self.append(|out| encode(reply, protocol, out));
    }

    /// Adds bytes that stand in the place of a reply.
    pub(crate) fn append(&mut self, write: impl FnOnce(&mut BytesMut)) {
        if !matches!(self.parts.last(), Some(Part::Encoded(_))) {
            self.parts.push(Part::Encoded(BytesMut::new()));
        }
        if let Some(Part::Encoded(out)) = self.parts.last_mut() {
            let before = out.len();
            write(out);
            self.reply_bytes += out.len() - before;
        }
    }

    /// Adds a place for the reply of a write, in the version that is spoken at that place.
    pub(crate) fn written(&mut self, written: Written, protocol: Protocol) {
        self.parts.push(Part::Written(written, protocol));
        self.due = true;
    }

    /// Returns whether the group must be asked before another command of the node.
    pub(crate) fn group_due(&self) -> bool {
        self.due && matches!(self.group, Group::Open { .. })
    }

    /// Returns whether it depends on keys that must not have changed: then its group comes first.
    pub(crate) fn is_guarded(&self) -> bool {
        !self.watched.is_empty()
    }

    /// Takes the operations to ask the node for them.
    pub(crate) fn take_group(&mut self) -> Vec<Op> {
        let Group::Open { mut ops, .. } = std::mem::replace(&mut self.group, Group::Asked) else {
            return Vec::new();
        };
        if self.is_guarded() {
            let count = u32::try_from(ops.len()).expect("a request holds far fewer than 4 billion");
            let watched = std::mem::take(&mut self.watched);
            let guard = Op::Guard {
                ops: count,
                watched,
            };
            ops.insert(0, guard);
        }
        ops
    }

    /// Returns whether nothing has run before the group: then its fate is that of the whole transaction.
    pub(crate) fn came_first(&self) -> bool {
        self.parts.is_empty() && !self.due
    }

    /// Returns the client's database before it.
    pub(crate) fn database(&self) -> u8 {
        self.database
    }

    /// Returns whether the operations are with the node: their fate is not known.
    pub(crate) fn group_asked(&self) -> bool {
        matches!(self.group, Group::Asked)
    }

    /// Returns whether the fate of the operations is known.
    pub(crate) fn group_decided(&self) -> bool {
        matches!(self.group, Group::Decided(_))
    }

    /// Takes the node's answer to the group: an array with a reply for each operation, or an error.
    pub(crate) fn decide(&mut self, answer: Reply) {
        self.group = Group::Decided(match answer {
            Reply::Error(text) => Err(text),
            Reply::Array(replies) => Ok(replies.into_iter()),
            one => Ok(vec![one].into_iter()),
        });
    }

    /// Keeps a message back if it has to follow the array; gives it back if not.
    pub(crate) fn hold(&mut self, message: Bytes) -> Option<Bytes> {
        if self.group_decided() {
            self.held_bytes += message.len();
            self.held.push(message);
            return None;
        }
        Some(message)
    }

    /// Returns how many bytes of messages are kept back.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Returns what the transaction takes while it waits.
    pub(crate) fn bytes(&self) -> usize {
        self.queued_bytes + self.reply_bytes
    }

    /// Ends it. Returns its array, and the messages that follow.
    pub(crate) fn finish(self) -> (Bytes, Vec<Bytes>) {
        let mut written = match self.group {
            Group::Decided(result) => result,
            Group::Open { .. } | Group::Asked => Ok(Vec::new().into_iter()),
        };
        let mut out = BytesMut::with_capacity(self.reply_bytes);
        out.put_slice(format!("*{}\r\n", self.count).as_bytes());
        for part in self.parts {
            let (written_as, protocol) = match part {
                Part::Encoded(bytes) => {
                    out.put_slice(&bytes);
                    continue;
                }
                Part::Written(written_as, protocol) => (written_as, protocol),
            };
            let reply = match (&mut written, written_as) {
                (Err(text), _) => Reply::Error(text.clone()),
                (Ok(replies), Written::One) => {
                    replies.next().expect("the node answers each operation")
                }
                (Ok(replies), Written::Script(ops)) => {
                    replies.by_ref().take(ops).for_each(drop);
                    Reply::Null
                }
            };
            encode(&reply, protocol, &mut out);
        }
        (out.freeze(), self.held)
    }
}
