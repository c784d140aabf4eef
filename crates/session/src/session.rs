//! The state machine of one connection.

use crate::ask::{Ask, Seq, Told};
use crate::commands::{Command, Step};
use crate::connection::Connection;
use crate::dispatch::{self, Checked, Refused};
use crate::env::Env;
use crate::errors;
use crate::output::Output;
use crate::replies::Replies;
use crate::table::Flags;
use crate::transaction::{Exec, Multi, Watched};
use bytes::{Bytes, BytesMut};
use corgi_base::{ClientId, Protocol, SubscriptionKind};
use corgi_resp::{Decoder, ProtocolError, Reply, encode, encode_subscription};
use std::collections::BTreeMap;
use std::sync::Arc;

mod exec;

/// Before `AUTH` no more than this waits to be written: strangers get no memory.
const UNAUTHENTICATED_BYTES_MAX: usize = 64 << 10;

/// A command that runs alone.
#[derive(Debug)]
struct Barrier {
    seq: Seq,
    /// Present until everything before it is answered.
    ask: Option<Ask>,
    /// What is to be asked next, if this is the group of an `EXEC` that had to come first.
    behind: Option<Ask>,
    then: Then,
    /// The `EXEC` that the command is part of.
    exec: Option<Box<Exec>>,
}

/// What a client waits for that wrote several operations as one step.
#[derive(Debug)]
enum Group {
    /// An `EXEC`.
    Exec(Exec),
    /// An `EVAL`, whose reply is nil.
    Script,
}

/// What the session itself does when the node is done with a barrier.
#[derive(Clone, Copy, Debug)]
enum Then {
    Nothing,
    Speak(Protocol),
    Reset,
}

impl Then {
    fn of(ask: &Ask) -> Self {
        match ask {
            Ask::SetProtocol { protocol, .. } => Self::Speak(*protocol),
            Ask::Reset { .. } => Self::Reset,
            Ask::Write { .. }
            | Ask::WriteAll { .. }
            | Ask::Subscribe { .. }
            | Ask::Unsubscribe { .. }
            | Ask::PubSub { .. }
            | Ask::Cluster { .. }
            | Ask::Info { .. } => Self::Nothing,
        }
    }
}

/// One client connection. Four kinds of methods:
///
/// - what came from outside: [`Session::read`] (bytes of the client), [`Session::tell`] (the node);
/// - what the caller must now do: [`Session::take_asks`], [`Session::output`],
///   [`Session::closing`];
/// - whether to go on: [`Session::wants_input`];
/// - what `INFO` and logs show: [`Session::id`], [`Session::name`], …
///
/// After every `tell`, and after output was written, call `read` again with what is still buffered:
/// either may have made room for commands that had to wait. `read` without anything to do costs
/// nothing.
#[derive(Debug)]
pub struct Session {
    env: Arc<Env>,
    conn: Connection,
    decoder: Decoder,
    /// The number of the next command.
    next: Seq,
    replies: Replies,
    barrier: Option<Barrier>,
    /// Writes of several operations that are with the node.
    groups: BTreeMap<Seq, Group>,
    asks: Vec<Ask>,
    /// Requests are buffered that may not run yet.
    held_back: bool,
    /// Nothing more is read; the connection ends when all replies are out.
    ending: bool,
    /// Nothing more is done at all.
    ended: bool,
}

impl Session {
    /// Starts a connection that was just accepted: RESP2, and authenticated only if no password is
    /// set.
    pub fn new(id: ClientId, env: Arc<Env>) -> Self {
        let conn = Connection::new(id, &env);
        let mut decoder = Decoder::new(env.limits);
        decoder.set_authenticated(conn.may_run());
        Self {
            env,
            conn,
            decoder,
            next: Seq(0),
            replies: Replies::default(),
            barrier: None,
            groups: BTreeMap::new(),
            asks: Vec::new(),
            held_back: false,
            ending: false,
            ended: false,
        }
    }

    /// Executes as many of the requests in `input` as may run now, and takes them out of it. What
    /// stays is either an incomplete request or waits for the node ([`Session::tell`]) or for
    /// output to be written.
    pub fn read(&mut self, input: &mut BytesMut) {
        let asked_before = self.asks.len();
        self.held_back = false;
        while !self.ending && !self.ended {
            if self.blocked() {
                self.held_back = !input.is_empty();
                return;
            }
            match self.decoder.decode(input) {
                Ok(Some(request)) => self.execute(request.args),
                Ok(None) => return,
                Err(ProtocolError::CrossProtocol) => {
                    // A web page made a browser speak to us. Requests that it smuggled in ahead of
                    // the header line that gave it away are dropped with it, as long as the node
                    // has not seen them.
                    self.asks.truncate(asked_before);
                    self.ended = true;
                }
                Err(error) => {
                    let seq = self.number();
                    let text = errors::protocol(&error.to_string());
                    self.replies
                        .answer(seq, &Reply::Error(text), self.conn.protocol);
                    self.ending = true;
                }
            }
        }
        input.clear();
    }

    /// Takes in what the node says, in the order in which it must reach the client.
    ///
    /// # Panics
    /// If the node answers what was not asked, or twice: that is a fault of this program, not of a
    /// client.
    pub fn tell(&mut self, told: Told) {
        if self.closing() {
            // Deliveries and answers that were on their way when the last reply went out.
            return;
        }
        match told {
            Told::Reply { seq, reply } => self.replied(seq, reply),
            Told::Deliver(bytes) => {
                let exec = self.barrier.as_mut().and_then(|b| b.exec.as_mut());
                let bytes = match exec {
                    Some(exec) => exec.hold(bytes),
                    None => Some(bytes),
                };
                bytes
                    .into_iter()
                    .for_each(|bytes| self.replies.deliver(bytes));
            }
            Told::Subscription {
                on,
                kind,
                name,
                count,
            } => {
                match kind {
                    SubscriptionKind::Channel | SubscriptionKind::Pattern => {
                        self.conn.subscriptions = count;
                    }
                    SubscriptionKind::Shard => self.conn.shard_subscriptions = count,
                }
                let mut line = BytesMut::new();
                encode_subscription(
                    on,
                    kind,
                    name.as_deref(),
                    count,
                    self.conn.protocol,
                    &mut line,
                );
                match self.barrier.as_mut().and_then(|b| b.exec.as_mut()) {
                    Some(exec) => exec.append(|out| out.extend_from_slice(&line)),
                    None => self.replies.deliver(line.freeze()),
                }
            }
            Told::Done { seq } => self.done(seq),
            Told::Close { error } => self.close(error),
        }
        self.send_barrier();
    }

    /// Takes what the node must be asked, in order.
    #[must_use = "an ask that is lost is never answered"]
    pub fn take_asks(&mut self) -> Vec<Ask> {
        std::mem::take(&mut self.asks)
    }

    /// Returns what waits to be written.
    pub fn output(&mut self) -> &mut Output {
        &mut self.replies.output
    }

    /// Returns how many bytes wait to be written, with the messages that follow the reply of an `EXEC` which is not
    /// complete yet.
    pub fn unwritten(&self) -> usize {
        let exec = self.barrier.as_ref().and_then(|b| b.exec.as_ref());
        self.replies.output.len() + exec.map_or(0, |exec| exec.held_bytes())
    }

    /// Returns whether more should be read from the socket. If not, the client is ahead of what may
    /// run or of what it reads itself, and TCP shall slow it down.
    pub fn wants_input(&self) -> bool {
        let done = self.ending || self.ended;
        let waits = self.barrier.is_some() && self.held_back;
        !done && !waits && !self.full()
    }

    /// Returns whether the connection is to be closed once [`Session::output`] is written: after
    /// `QUIT`, a protocol error or [`Told::Close`].
    pub fn closing(&self) -> bool {
        self.ended || (self.ending && self.replies.outstanding() == 0)
    }

    /// Returns the number that `CLIENT ID` answers.
    pub fn id(&self) -> ClientId {
        self.conn.id
    }

    /// Returns the protocol version in which replies now leave.
    pub fn protocol(&self) -> Protocol {
        self.conn.protocol
    }

    /// Returns whether the client may run commands.
    pub fn authenticated(&self) -> bool {
        self.conn.may_run()
    }

    /// Returns the name of the user that the client acts as.
    pub fn user(&self) -> &Bytes {
        self.conn.user.name()
    }

    /// Returns the database that `SELECT` chose.
    pub fn database(&self) -> u32 {
        self.conn.database
    }

    /// Returns how many channels and patterns the node last counted.
    pub fn subscriptions(&self) -> u64 {
        self.conn.subscriptions
    }

    /// Returns whether the client is subscribed to anything.
    pub fn listens(&self) -> bool {
        self.conn.listens()
    }

    /// Returns how many shard channels the node last counted.
    pub fn shard_subscriptions(&self) -> u64 {
        self.conn.shard_subscriptions
    }

    /// Returns the name that `CLIENT SETNAME` or `HELLO` gave.
    pub fn name(&self) -> Option<&Bytes> {
        self.conn.name.as_ref()
    }

    /// Returns the client library's name, from `CLIENT SETINFO`.
    pub fn lib_name(&self) -> Option<&Bytes> {
        self.conn.lib_name.as_ref()
    }

    /// Returns the client library's version, from `CLIENT SETINFO`.
    pub fn lib_ver(&self) -> Option<&Bytes> {
        self.conn.lib_ver.as_ref()
    }

    /// Returns how many commands wait for `EXEC`; `None` without `MULTI`.
    pub fn multi(&self) -> Option<usize> {
        self.conn.multi.as_ref().map(Multi::len)
    }

    /// Returns how many bytes the commands take that wait for `EXEC`.
    pub fn multi_bytes(&self) -> usize {
        self.conn.multi.as_ref().map_or(0, Multi::bytes)
    }

    /// Returns how many keys are watched.
    pub fn watched(&self) -> usize {
        self.conn.watched.len()
    }

    fn blocked(&self) -> bool {
        self.barrier.is_some() || self.full()
    }

    fn full(&self) -> bool {
        let bytes_max = if self.conn.may_run() {
            self.env.max_outstanding_bytes
        } else {
            self.env
                .max_outstanding_bytes
                .min(UNAUTHENTICATED_BYTES_MAX)
        };
        self.replies.outstanding() >= self.env.max_outstanding_commands
            || self.replies.bytes() >= bytes_max
    }

    fn number(&mut self) -> Seq {
        let seq = self.next;
        self.next = Seq(seq.0 + 1);
        seq
    }

    fn execute(&mut self, args: Vec<Bytes>) {
        if !self.conn.refresh(&self.env) {
            // Its user is no more; the node closes the connection too, when it gets there.
            self.ending = true;
            return;
        }
        let seq = self.number();
        let cost = args.iter().map(Bytes::len).sum();
        let step = match dispatch::check(&self.conn, args) {
            Ok(request) if self.conn.multi.is_some() => match self.in_multi(seq, request) {
                Some(step) => step,
                None => return,
            },
            Ok(request) => match request.parse() {
                Ok(command) => command.run(seq, &mut self.conn, &self.env),
                Err(text) => Step::Answer(Reply::Error(text)),
            },
            Err(refused) => Step::Answer(Reply::Error(self.refused(refused))),
        };
        self.decoder.set_authenticated(self.conn.may_run());
        match step {
            Step::Answer(reply) => self.replies.answer(seq, &reply, self.conn.protocol),
            Step::Leave(reply) => {
                self.replies.answer(seq, &reply, self.conn.protocol);
                self.ending = true;
            }
            Step::Write(op) => {
                self.replies.wait(seq, cost);
                self.asks.push(Ask::Write { seq, op });
            }
            Step::Script(ops) => {
                self.replies.wait(seq, cost);
                self.asks.push(Ask::WriteAll { seq, ops });
                self.groups.insert(seq, Group::Script);
            }
            Step::Barrier(ask) => {
                self.replies.wait(seq, cost);
                self.barrier = Some(Barrier {
                    seq,
                    then: Then::of(&ask),
                    ask: Some(ask),
                    behind: None,
                    exec: None,
                });
                self.send_barrier();
            }
        }
    }

    /// Queues a command for `EXEC`, runs one that is not queued, or begins an `EXEC`, which goes on by itself.
    fn in_multi(&mut self, seq: Seq, request: Checked) -> Option<Step> {
        let bytes_max = self.env.limits.max_request_bytes;
        if !request.spec.flags.contains(Flags::NOT_QUEUED) {
            let queued = self
                .conn
                .multi
                .get_or_insert_default()
                .queue(request, bytes_max);
            let queued = queued.map(|()| Reply::Simple(Bytes::from_static(b"QUEUED")));
            return Some(queued.into());
        }
        match request.parse() {
            Ok(Command::Exec) => {
                let multi = self.conn.multi.take().unwrap_or_default();
                self.conn.watched = Watched::default();
                self.exec(seq, multi);
                None
            }
            Ok(command) => Some(command.run(seq, &mut self.conn, &self.env)),
            Err(text) => Some(Step::Answer(Reply::Error(text))),
        }
    }

    /// Returns the text for a command that was refused before it could be queued: the transaction fails, if there is
    /// one. If it was `EXEC`, it fails now.
    fn refused(&mut self, refused: Refused) -> Bytes {
        let exec = refused.spec.is_some_and(|spec| spec.name == "exec");
        if exec {
            self.conn.multi = None;
            self.conn.watched = Watched::default();
            return errors::exec_refused(&refused.text);
        }
        if let Some(multi) = &mut self.conn.multi {
            multi.abort();
        }
        refused.text
    }

    /// Sends the barrier's ask once every earlier reply has left: from then on its slot is the only
    /// one.
    fn send_barrier(&mut self) {
        if let Some(barrier) = &mut self.barrier
            && self.replies.is_next(barrier.seq)
            && !self.ended
        {
            self.asks.extend(barrier.ask.take());
        }
    }

    /// Takes the barrier that `seq` is, if it is one.
    fn take_barrier(&mut self, seq: Seq) -> Option<Barrier> {
        let barrier = self.barrier.take_if(|barrier| barrier.seq == seq)?;
        assert!(
            barrier.ask.is_none(),
            "the node answered {seq:?} before it was asked"
        );
        Some(barrier)
    }

    fn done(&mut self, seq: Seq) {
        let Some(mut barrier) = self.take_barrier(seq) else {
            panic!("the node completed {seq:?}, which is not the barrier in flight");
        };
        let reply = match barrier.then {
            Then::Nothing => None,
            Then::Speak(protocol) => {
                self.conn.protocol = protocol;
                Some(self.conn.hello(&self.env))
            }
            Then::Reset => {
                self.conn.reset();
                self.decoder.set_authenticated(self.conn.may_run());
                Some(Reply::Simple(Bytes::from_static(b"RESET")))
            }
        };
        match barrier.exec.take() {
            Some(mut exec) => {
                if let Some(reply) = reply {
                    exec.answer(&reply, self.conn.protocol);
                }
                self.exec_goes_on(seq, *exec);
            }
            None => self.replies.fulfil(seq, reply.as_ref(), self.conn.protocol),
        }
    }

    /// Takes the answer to one ask.
    fn replied(&mut self, seq: Seq, reply: Reply) {
        if let Some(group) = self.groups.remove(&seq) {
            return self.group_written(seq, group, reply);
        }
        // Either the barrier was refused, or the answer is all that it was for.
        if let Some(Barrier {
            exec: Some(exec),
            behind,
            ..
        }) = self.take_barrier(seq)
        {
            return self.exec_answered(seq, behind, *exec, reply);
        }
        self.replies.fulfil(seq, Some(&reply), self.conn.protocol);
    }

    /// Ends the connection on the node's word. The command behind a barrier has no outcome that the
    /// client could act on, so that the closing error stands for its reply.
    fn close(&mut self, error: Option<Bytes>) {
        // Unless it is a transaction, whose writes may be under way.
        let writes = |barrier: &Barrier| barrier.exec.as_ref().is_some_and(|e| e.group_asked());
        let barrier = self.barrier.as_ref().filter(|barrier| !writes(barrier));
        self.replies.abandon(usize::from(barrier.is_some()));
        if let Some(text) = error {
            let reply = Reply::Error(text);
            self.replies
                .output
                .write(|out| encode(&reply, self.conn.protocol, out));
        }
        self.ended = true;
    }
}
