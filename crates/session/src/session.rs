//! The state machine of one connection.

use crate::acl::{Context, Denial};
use crate::ask::{Ask, KeyQuery, Seq, Told};
use crate::commands::client::ReplyMode;
use crate::commands::{Command, Step};
use crate::connection::Connection;
use crate::dispatch::{self, Checked, Refused};
use crate::env::Env;
use crate::errors;
use crate::history;
use crate::local::{LocalAsk, Pause};
use crate::output::Output;
use crate::parts::Parts;
use crate::redact::redact;
use crate::replies::Replies;
use crate::table::{Flags, Spec};
use crate::tally::{Finished, Shown, Tally};
use crate::transaction::{Exec, Watched};
use bytes::{Bytes, BytesMut};
use corgi_base::{ClientId, KeyOp, Op, Protocol};
use corgi_resp::{Decoder, ProtocolError, Reply, encode, encode_subscription};
use std::collections::BTreeMap;
use std::sync::Arc;

mod exec;
mod status;

/// Before `AUTH` no more than this waits to be written: strangers get no memory.
const UNAUTHENTICATED_BYTES_MAX: usize = 64 << 10;

/// A command that runs alone.
#[derive(Debug)]
struct Barrier {
    seq: Seq,
    /// Present until everything before it is answered.
    question: Option<Question>,
    /// What is to be asked next, if this is the group of an `EXEC` that had to come first.
    behind: Option<Question>,
    /// What to ask after that.
    parts: Option<Parts>,
    then: Then,
    /// The `EXEC` that the command is part of.
    exec: Option<Box<Exec>>,
    /// It may take as long as its client wants to wait.
    blocks: bool,
}

/// What a client waits for that wrote several operations as one step.
#[derive(Debug)]
enum Group {
    /// An `EXEC`.
    Exec(Exec),
    /// An `EVAL`, whose reply is nil.
    Script,
}

/// What must be asked, and of whom.
#[derive(Debug)]
pub(crate) enum Question {
    Node(Ask),
    Process(Box<LocalAsk>),
}

/// What the session itself does when the node is done with a barrier.
#[derive(Clone, Copy, Debug)]
enum Then {
    Nothing,
    Speak(Protocol),
    Reset,
}

impl Then {
    fn of(question: &Question) -> Self {
        let Question::Node(ask) = question else {
            return Self::Nothing;
        };
        match ask {
            Ask::SetProtocol { protocol, .. } => Self::Speak(*protocol),
            Ask::Reset { .. } => Self::Reset,
            Ask::Write { .. }
            | Ask::WriteAll { .. }
            | Ask::Read { .. }
            | Ask::Wait { .. }
            | Ask::Unblock { .. }
            | Ask::Subscribe { .. }
            | Ask::Unsubscribe { .. }
            | Ask::PubSub { .. }
            | Ask::Cluster { .. }
            | Ask::As { .. }
            | Ask::Users { .. }
            | Ask::Info { .. } => Self::Nothing,
        }
    }
}

/// One client connection. Four kinds of methods:
///
/// - what came from outside: [`Session::read`] (bytes of the client), [`Session::tell`] (the node),
///   [`Session::set_now`], [`Session::set_pause`] (the process);
/// - what the caller must now do: [`Session::take_asks`], [`Session::take_local_ask`],
///   [`Session::output`], [`Session::closing`];
/// - whether to go on: [`Session::wants_input`];
/// - what `INFO`, `CLIENT LIST` and logs show: [`Session::view`], [`Session::take_finished`],
///   [`Session::id`], …
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
    local_ask: Option<(Seq, Box<LocalAsk>)>,
    pause: Pause,
    /// A request that waits for the end of a pause.
    postponed: Option<Vec<Bytes>>,
    tally: Tally,
    /// The last command.
    last: &'static str,
    channels: u64,
    patterns: u64,
    /// Whom the node knows to be asking, and with which revision of the users.
    asked_as: (Bytes, u64),
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
            local_ask: None,
            pause: Pause::No,
            postponed: None,
            tally: Tally::default(),
            last: "NULL",
            channels: 0,
            patterns: 0,
            asked_as: (Bytes::from_static(b"default"), 0),
            held_back: false,
            ending: false,
            ended: false,
        }
    }

    /// Makes the client a user, because its socket has shown that it is that one. Nothing changes without such a user,
    /// or if it is switched off.
    pub fn log_in(&mut self, name: &[u8]) {
        if self.conn.refresh(&self.env) && self.conn.log_in(name) {
            self.decoder.set_authenticated(true);
            self.identify_another();
        }
    }

    /// Executes as many of the requests in `input` as may run now, and takes them out of it. What
    /// stays is either an incomplete request or waits for the node ([`Session::tell`]) or for
    /// output to be written.
    pub fn read(&mut self, input: &mut BytesMut) {
        let asked_before = self.asks.len();
        self.held_back = false;
        self.replies.release();
        self.send_barrier();
        self.resume();
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
                        .answer(seq, Some(&Reply::Error(text)), self.conn.protocol);
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
            Told::Versions { seq, versions } => {
                self.conn.watched.versions(versions);
                self.replied(seq, Reply::ok());
            }
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
                self.count(kind, count);
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

    /// Takes what the process must be asked. Answered by [`Told::Reply`].
    #[must_use = "an ask that is lost is never answered"]
    pub fn take_local_ask(&mut self) -> Option<(Seq, LocalAsk)> {
        let (seq, ask) = self.local_ask.take()?;
        Some((seq, *ask))
    }

    /// Takes what became of commands since the last time.
    pub fn take_finished(&mut self) -> Vec<Finished> {
        self.tally.take()
    }

    /// Takes what the client was denied since the last time, and how often.
    pub fn take_denials(&mut self) -> Vec<(Denial, u64)> {
        self.conn.denials.take()
    }

    /// Says what time it is, in microseconds of any clock: commands are measured with it.
    pub fn set_now(&mut self, micros: u64) {
        self.tally.now = micros;
        self.conn.now = micros;
    }

    /// Says from how many microseconds on a command is slow, so that what was sent is kept for
    /// [`Session::take_finished`].
    pub fn set_slow(&mut self, micros: Option<u64>) {
        self.tally.slow = micros;
    }

    /// Says whether commands are shown to others ([`Session::take_shown`]).
    pub fn set_observed(&mut self, observed: bool) {
        self.tally.observed = observed;
    }

    /// Takes the commands that began since the last time, for `MONITOR`.
    pub fn take_shown(&mut self) -> Vec<Shown> {
        self.tally.take_shown()
    }

    /// Lets commands wait, or no longer; then call [`Session::read`].
    pub fn set_pause(&mut self, pause: Pause) {
        self.pause = pause;
    }

    /// Returns what waits to be written.
    pub fn output(&mut self) -> &mut Output {
        self.replies.release();
        &mut self.replies.output
    }

    fn blocked(&self) -> bool {
        self.barrier.is_some() || self.postponed.is_some() || self.full()
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
        let request = match dispatch::check(&self.conn, args) {
            Ok(request) => request,
            Err(refused) => {
                self.tally.rejected(refused.spec, &refused.text);
                self.note(&refused);
                let (seq, silent) = (self.number(), self.silenced());
                let reply = Reply::Error(self.refused(refused));
                self.answer(seq, reply, silent);
                return;
            }
        };
        if self.pauses(&request) {
            self.postponed = Some(request.args);
            return;
        }
        self.run(request);
    }

    /// Checks and runs the request that a pause kept waiting anew: what its user may do can have changed.
    fn resume(&mut self) {
        if let Some(args) = self.postponed.take()
            && !self.ended
        {
            self.execute(args);
        }
    }

    fn pauses(&self, request: &Checked) -> bool {
        let writes = |spec: &Spec| match &self.conn.multi {
            Some(multi) if spec.name == "exec" => multi.writes(),
            _ => spec.flags.contains(Flags::WRITES),
        };
        match self.pause {
            Pause::No => false,
            Pause::Writes => writes(request.spec),
            Pause::All => true,
        }
    }

    fn run(&mut self, request: Checked) {
        let (seq, silent) = (self.number(), self.silenced());
        let spec = request.spec;
        self.last = spec.name;
        let cost = request.args.iter().map(Bytes::len).sum();
        let keeps = self.tally.keeps_args();
        let kept = keeps.then(|| redact(spec, &request.args));
        // A monitor is none any more when its RESET is done.
        if !(self.conn.monitor && spec.name == "reset") {
            self.tally
                .show(spec, self.conn.database.into(), kept.as_ref());
        }
        if let Some(multi) = &mut self.conn.multi
            && !spec.flags.contains(Flags::NOT_QUEUED)
        {
            let queued = multi.queue(request, self.env.limits.max_request_bytes);
            let queued = queued.map(|()| Reply::Simple(Bytes::from_static(b"QUEUED")));
            let reply = queued.unwrap_or_else(Reply::Error);
            return self.answer(seq, reply, silent);
        }
        let begun = self.tally.begin(spec, kept);
        let step = match request.parse() {
            Ok(Command::Exec) if self.conn.multi.is_some() => {
                self.tally.wait(seq, begun);
                let multi = self.conn.multi.take().unwrap_or_default();
                return self.exec(seq, multi, silent);
            }
            Ok(command) => command.run(seq, &mut self.conn, &self.env),
            Err(text) => Step::Answer(Reply::Error(text)),
        };
        self.decoder.set_authenticated(self.conn.may_run());
        self.identify_another();
        let step = history::turned(step, seq);
        if step.is_done() {
            self.tally.now = self.tally.now.max((self.env.clock)());
        }
        match step {
            Step::Answer(reply) => {
                self.tally.end(begun, Some(&reply));
                self.answer(seq, reply, silent);
            }
            Step::Insist(reply) => {
                self.tally.end(begun, Some(&reply));
                self.answer(seq, reply, false);
            }
            Step::Leave(reply) => {
                self.tally.end(begun, Some(&reply));
                self.answer(seq, reply, silent);
                self.ending = true;
            }
            Step::Silent => {
                self.tally.end(begun, None);
                self.replies.answer(seq, None, self.conn.protocol);
            }
            Step::Write(op) => {
                self.tally.wait(seq, begun);
                self.replies.wait(seq, cost, silent);
                self.identify();
                self.asks.push(Ask::Write { seq, op });
            }
            Step::Keys {
                db,
                op: KeyOp::Stream(op),
                block_ms: Some(block_ms),
            } => {
                self.tally.wait(seq, begun);
                self.replies.wait(seq, cost, silent);
                let ask = Ask::Wait {
                    seq,
                    db,
                    op,
                    block_ms,
                };
                self.set_barrier(seq, Question::Node(ask), None, None);
            }
            Step::Keys { db, op, .. } => {
                self.tally.wait(seq, begun);
                self.replies.wait(seq, cost, silent);
                if op.is_read() {
                    let query = KeyQuery::Op { db, op };
                    self.set_barrier(seq, Question::Node(Ask::Read { seq, query }), None, None);
                } else {
                    self.identify();
                    let op = Op::Key { db, op };
                    self.asks.push(Ask::Write { seq, op });
                }
            }
            Step::Script(ops) => {
                self.tally.wait(seq, begun);
                self.replies.wait(seq, cost, silent);
                self.identify();
                self.asks.push(Ask::WriteAll { seq, ops });
                self.groups.insert(seq, Group::Script);
            }
            Step::Barrier(ask) => {
                // RESET switches replies on before it is answered.
                let off = matches!(self.conn.replies, ReplyMode::Off);
                let silent = silent && !(off && matches!(ask, Ask::Reset { .. }));
                self.tally.wait(seq, begun);
                self.replies.wait(seq, cost, silent);
                self.set_barrier(seq, Question::Node(ask), None, None);
            }
            Step::Local(ask) => {
                self.tally.wait(seq, begun);
                self.replies.wait(seq, cost, silent);
                self.set_barrier(seq, Question::Process(Box::new(ask)), None, None);
            }
        }
    }

    /// Returns whether the command that is about to run gets no reply.
    fn silenced(&mut self) -> bool {
        match self.conn.replies {
            ReplyMode::On => false,
            ReplyMode::Off => true,
            ReplyMode::SkipNext => {
                self.conn.replies = ReplyMode::On;
                true
            }
        }
    }

    fn answer(&mut self, seq: Seq, reply: Reply, silent: bool) {
        let reply = (!silent).then_some(&reply);
        self.replies.answer(seq, reply, self.conn.protocol);
    }

    /// Lets a command run alone. One of a transaction brings that along, and what is to be asked after it.
    fn set_barrier(
        &mut self,
        seq: Seq,
        mut question: Question,
        behind: Option<Question>,
        exec: Option<Exec>,
    ) {
        let parts = Parts::after_the_first(&mut question);
        self.barrier = Some(Barrier {
            seq,
            parts,
            then: Then::of(&question),
            blocks: matches!(question, Question::Node(Ask::Wait { .. })),
            question: Some(question),
            behind,
            exec: exec.map(Box::new),
        });
        self.send_barrier();
    }

    /// Notes what was denied, for `ACL LOG`.
    fn note(&mut self, refused: &Refused) {
        if let (Some(denied), Some(spec)) = (&refused.denied, refused.spec) {
            let context = match self.conn.multi {
                Some(_) => Context::Multi,
                None => Context::TopLevel,
            };
            let user = self.conn.user.clone();
            self.conn
                .denials
                .note(denied, context, spec.name, user.name());
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
            let (seq, question) = (barrier.seq, barrier.question.take());
            match question {
                Some(Question::Node(ask)) => {
                    self.identify();
                    self.asks.push(ask);
                }
                Some(Question::Process(ask)) => self.local_ask = Some((seq, ask)),
                None => {}
            }
        }
    }

    /// Says who asks what comes next, if that is not known.
    fn identify(&mut self) {
        let (user, revision) = (self.conn.user.name(), self.conn.acl.revision());
        if (user, revision) != (&self.asked_as.0, self.asked_as.1) {
            self.asked_as = (user.clone(), revision);
            let user = user.clone();
            self.asks.push(Ask::As { user, revision });
        }
    }

    /// Says who the client is now, if it is another: the node ends the connections of users that are removed, also of
    /// those that ask nothing.
    fn identify_another(&mut self) {
        if *self.conn.user.name() != self.asked_as.0 {
            self.identify();
        }
    }

    /// Takes the barrier that `seq` is, if it is one.
    fn take_barrier(&mut self, seq: Seq) -> Option<Barrier> {
        let barrier = self.barrier.take_if(|barrier| barrier.seq == seq)?;
        assert!(
            barrier.question.is_none(),
            "the node answered {seq:?} before it was asked"
        );
        Some(barrier)
    }

    fn done(&mut self, seq: Seq) {
        if let Some(barrier) = &mut self.barrier
            && barrier.seq == seq
            && let Some(next) = barrier.parts.as_mut().and_then(|parts| parts.next(seq))
        {
            barrier.question = Some(Question::Node(next));
            return;
        }
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
                self.identify();
                (self.channels, self.patterns) = (0, 0);
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
            None => {
                self.tally.replied(seq, reply.as_ref());
                self.replies.fulfil(seq, reply.as_ref(), self.conn.protocol);
            }
        }
    }

    /// Takes the answer to one ask.
    fn replied(&mut self, seq: Seq, reply: Reply) {
        if let Some(group) = self.groups.remove(&seq) {
            return self.group_written(seq, group, reply);
        }
        // Either the barrier was refused, or the answer is all that it was for.
        match self.take_barrier(seq) {
            Some(Barrier {
                exec: Some(exec),
                behind,
                ..
            }) => return self.exec_answered(seq, behind, *exec, reply),
            // Waiting is no work.
            Some(Barrier { blocks: true, .. }) => self.tally.resume(seq),
            Some(_) | None => {}
        }
        self.tally.replied(seq, Some(&reply));
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
