//! One client connection: bytes between its socket and its session, asks and answers between its
//! session and the node.
//!
//! ```text
//!   socket ─ fill ─▶ input ─▶ Session ─ asks ─▶ Host (the node)
//!   socket ◀─ write ─ output ◀─ Session ◀─ told ─ Outbox ◀┘
//! ```
//!
//! One task per connection, and none per message: each turn takes everything the node has told,
//! runs whatever of the input may run, and leaves the output in a few large writes. Nothing here
//! waits but the select at the end of a turn, so that a socket that takes nothing never keeps the
//! node's words or the closing from being seen.
//!
//! Invariants
//! - The host hears of the end of a connection exactly once, however it ends ([`Place`]).
//! - A socket is read only while its session wants input: a client that is ahead is slowed down by
//!   TCP.
//! - An idle connection holds no buffers.
//! - Once it ends, a connection ends within [`CLOSING_MAX`], whatever its client does.

use std::convert::Infallible;
use std::future::Future;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use corgi_session::{Reply, Seq, Session, Told};
use tokio::io::Interest;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::deadlines::{Deadlines, Patience, Standing};
use super::ledger::Ledger;
use super::place::Place;
use super::stream::{Stream, close_gently, with_scratch};
use super::tls::begins_tls;
use super::troubles::Troubles;
use crate::local::registry::Seen;
use crate::local::{Answer, Local};

/// How long the last replies may take to leave.
const CLOSING_MAX: Duration = Duration::from_secs(5);
/// How long, and for how many bytes, a client may go on sending after its connection was ended for
/// it: enough for what was on its way.
const LINGER_MAX: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 64 << 20;
/// A monitor is given more to show when no more than so much waits: what it does not read stays where it is counted.
const MONITOR_BYTES_LOW: usize = 256 << 10;
/// So much is read of a client whose command waits for others: its leaving is seen.
const PAUSED_INPUT_MAX: usize = 64 << 10;
/// Pieces of one vectored write. More would seldom be taken by the socket's buffer.
const PIECES_MAX: usize = 64;

/// Serves one client until it leaves, misbehaves, or `stop` turns true.
///
/// `place` is given back when the socket is closed; its host hears of the end before that.
pub(crate) fn serve(
    stream: Stream,
    session: Session,
    place: Place,
    patience: Patience,
    troubles: Arc<Troubles>,
    stop: watch::Receiver<bool>,
    hold: mpsc::Sender<Infallible>,
) -> impl Future<Output = ()> + Send {
    let ledger = Ledger::new(place.queued().clone());
    let connection = Connection {
        stream,
        session,
        place,
        troubles,
        ledger,
        input: BytesMut::new(),
        unanswered: 0,
        ended: false,
        stopping: false,
        last_input: Instant::now(),
        deadlines: Deadlines::new(patience, Instant::now()),
        bytes: (0, 0),
        monitors: false,
        paused_until: None,
        later: None,
        soft_since: None,
        closing_since: None,
    };
    connection.run(stop, hold)
}

#[derive(Debug)]
struct Connection {
    stream: Stream,
    session: Session,
    place: Place,
    troubles: Arc<Troubles>,
    ledger: Ledger,
    /// What was read and may not run yet, or is incomplete.
    input: BytesMut,
    /// Asks whose answers are not in.
    unanswered: usize,
    /// The client sends no more. It may still read: `nc` and shells pipe commands in and wait for
    /// the answers.
    ended: bool,
    /// The server stops.
    stopping: bool,
    last_input: Instant,
    deadlines: Deadlines,
    /// Bytes read and written.
    bytes: (u64, u64),
    /// The registry knows that it is a monitor.
    monitors: bool,
    /// When commands that wait may run.
    paused_until: Option<std::time::Instant>,
    /// A reply that is due later.
    later: Option<Box<(Instant, Seq, Reply)>>,
    /// Since when more waits to be written than the soft limit allows.
    soft_since: Option<Instant>,
    closing_since: Option<Instant>,
}

/// How a connection came to its end.
enum End {
    /// All was said; the client may still be sending.
    Finished,
    /// The socket failed or ran out of time.
    Broken,
}

impl Connection {
    async fn run(mut self, mut stop: watch::Receiver<bool>, _hold: mpsc::Sender<Infallible>) {
        let end = loop {
            if self.turn().is_err() {
                break End::Broken;
            }
            // One that ended itself is closing already, after its reply.
            if self.place.entry().killed() && self.closing_since.is_none() {
                break End::Broken;
            }
            // Whoever leaves while a command waits for what others add shall not be given any of it.
            if self.ended && self.session.blocks() {
                break End::Broken;
            }
            if self.finished() {
                break End::Finished;
            }
            if self.owes_too_much() {
                self.place.local().counters.cut();
                break End::Broken;
            }
            // A client that always has more to say must not keep its thread for itself.
            tokio::task::consume_budget().await;
            let deadline = self.deadline();
            let interest = self.interest();
            let wake = self.wake();
            // In no order of preference: what never stops to be ready, a client that sends without pause or messages
            // that come without pause, leaves the others their turn.
            tokio::select! {
                () = self.place.outbox().news() => {}
                ready = self.stream.ready(interest) => {
                    let Ok(ready) = ready else { break End::Broken };
                    if self.wants_input()
                        && ready.is_readable()
                        && let Err(error) = self.fill()
                    {
                        break self.unreadable(&error);
                    }
                }
                () = until(deadline) => break End::Broken,
                () = until(wake) => {}
                changed = stop.changed(), if !self.stopping => {
                    self.stopping = changed.is_err() || *stop.borrow_and_update();
                }
            }
        };
        let Self {
            stream,
            mut place,
            stopping,
            ..
        } = self;
        place.leave();
        // A stopping server does not wait for clients that hold their connection until they next
        // need it.
        if matches!(end, End::Finished) && !stopping {
            close_gently(stream, LINGER_MAX, LINGER_BYTES_MAX).await;
        } else {
            drop(stream);
        }
        drop(place);
    }

    /// Lets everything happen that can happen now.
    fn turn(&mut self) -> io::Result<()> {
        if let Some(user) = self.stream.take_user() {
            self.session.log_in(&user);
        }
        loop {
            self.converse();
            let wrote = self.write()?;
            // Room in the output may let commands run that were held back, or take what a monitor shows.
            if !wrote || (self.input.is_empty() && !self.place.entry().has_feed()) {
                break;
            }
        }
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        if self.closing_since.is_none() && (self.session.closing() || self.ended || self.stopping) {
            self.closing_since = Some(Instant::now());
        }
        self.report();
        Ok(())
    }

    /// Lets others know what has become of the client and its commands.
    fn report(&mut self) {
        let local = self.place.local();
        let finished = self.session.take_finished();
        let view = self.session.view();
        local.count(&finished, self.place.entry(), &view);
        if !view.paused {
            self.paused_until = None;
        }
        let held = self.input.capacity() + self.session.request_bytes() + view.multi_bytes;
        self.place.entry().see(Seen {
            view,
            last_input: self.last_input.into_std(),
            input: self.input.len(),
            input_capacity: self.input.capacity(),
            bytes_in: self.bytes.0,
            bytes_out: self.bytes.1,
        });
        let local = self.place.local();
        local.denied(self.place.entry(), self.session.take_denials());
        local.registry.holds(self.place.entry(), held as u64);
    }

    /// Returns when something happens that nobody tells of.
    fn wake(&self) -> Option<Instant> {
        let soft_s = self.place.local().live.output().seconds;
        let soft = self
            .soft_since
            .map(|since| since + Duration::from_secs(soft_s));
        let pause_over = self.paused_until.map(Instant::from_std);
        let later = self.later.as_ref().map(|later| later.0);
        [soft, pause_over, later].into_iter().flatten().min()
    }

    /// Whether more waits to be written than `client-output-buffer-limit` allows. Messages for subscribers are bounded
    /// elsewhere, without closing anybody.
    fn owes_too_much(&mut self) -> bool {
        if self.session.listens() {
            self.soft_since = None;
            return false;
        }
        let limit = self.place.local().live.output();
        let waiting = self.session.output().len() as u64;
        let beyond = |limit: u64| limit > 0 && waiting > limit;
        if !beyond(limit.soft) {
            self.soft_since = None;
        } else if self.soft_since.is_none() {
            self.soft_since = Some(Instant::now());
        }
        let seconds = Duration::from_secs(limit.seconds);
        let long = self
            .soft_since
            .is_some_and(|since| since.elapsed() >= seconds);
        beyond(limit.hard) || long
    }

    /// Lets the session and the node talk until neither has anything to say.
    fn converse(&mut self) {
        loop {
            self.session.set_now(Local::micros());
            for told in self.place.outbox().take() {
                self.hear(told);
            }
            if let Some(later) = self.later.take_if(|later| later.0 <= Instant::now()) {
                let (_, seq, reply) = *later;
                self.session.tell(Told::Reply { seq, reply });
            }
            let local = self.place.local();
            if self.monitors && self.session.unwritten() < MONITOR_BYTES_LOW {
                for line in self.place.entry().take_feed() {
                    self.session.tell(Told::Deliver(line));
                }
            }
            if !self.stopping {
                // By the pause that the session goes by, not by a later look: it may be over by then.
                let (pause, until) = local.registry.paused(std::time::Instant::now());
                self.session.set_pause(pause);
                self.paused_until = until;
                self.session.set_observed(local.registry.observed());
                self.session.set_slow(local.live.slow_micros());
                // Looked at after the pause: whoever ended this client did so before ending the pause.
                if !self.place.entry().killed() {
                    self.session.read(&mut self.input);
                }
                // Before the reply leaves: whoever has read it is shown everything, or nothing, from there on.
                if self.session.monitors() != self.monitors {
                    self.monitors = self.session.monitors();
                    local
                        .registry
                        .set_monitor(self.place.entry(), self.monitors);
                }
                local.show(self.place.entry(), &self.session.take_shown());
            }
            let asks = self.session.take_asks();
            let local_ask = self.session.take_local_ask();
            if asks.is_empty() && local_ask.is_none() {
                return;
            }
            self.unanswered += asks.iter().filter(|ask| ask.is_answered()).count();
            if !asks.is_empty() {
                self.place.ask(asks);
            }
            if let Some((seq, ask)) = local_ask {
                self.report();
                match self.place.answer(ask) {
                    Answer::Now(reply) => {
                        self.session.set_now(Local::micros());
                        self.session.tell(Told::Reply { seq, reply });
                    }
                    Answer::After(time, reply) => {
                        self.later = Some(Box::new((Instant::now() + time, seq, reply)));
                    }
                    Answer::Node(ask) => {
                        self.unanswered += 1;
                        self.place.ask(vec![ask.of(seq)]);
                    }
                    Answer::Never => {}
                }
                if self.place.entry().killed() {
                    // It ended itself: it is told so, as in Redis.
                    self.session.tell(Told::Close { error: None });
                }
            }
        }
    }

    fn hear(&mut self, told: Told) {
        let counted = match &told {
            Told::Deliver(bytes) => Some(bytes.len()),
            Told::Reply { .. } | Told::Versions { .. } | Told::Done { .. } => {
                self.unanswered = self.unanswered.saturating_sub(1);
                None
            }
            Told::Subscription { .. } | Told::Close { .. } => None,
        };
        self.session.tell(told);
        if let Some(counted) = counted {
            self.ledger.counted(counted, self.session.unwritten());
        }
    }

    /// Writes what the socket takes, and returns whether that was anything.
    fn write(&mut self) -> io::Result<bool> {
        let mut wrote = false;
        self.stream.flush()?;
        while !self.session.output().is_empty() {
            let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
            let chunks = self.session.output().chunks();
            let n = chunks.len().min(PIECES_MAX);
            for (piece, chunk) in pieces.iter_mut().zip(chunks) {
                *piece = IoSlice::new(chunk);
            }
            match self.stream.try_write(&pieces[..n]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.session.output().consume(n);
                    let drained = self.ledger.left(n);
                    self.place.wrote(n);
                    self.bytes.1 += n as u64;
                    self.deadlines.sent(Instant::now());
                    if drained {
                        self.place.drained();
                    }
                    wrote = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(wrote)
    }

    /// Reads what is there, at most a scratch buffer full.
    fn fill(&mut self) -> io::Result<()> {
        let read = with_scratch(|scratch| {
            let read = self.stream.try_read(scratch);
            if let Ok(n) = read {
                self.input.extend_from_slice(&scratch[..n]);
            }
            read
        });
        match read {
            Ok(0) => self.ended = true,
            Ok(_) if self.bytes.0 == 0 && begins_tls(&self.input) => {
                self.troubles.speaks_tls(&self.place.entry().ends.addr);
                return Err(io::ErrorKind::InvalidData.into());
            }
            Ok(n) => {
                self.last_input = Instant::now();
                self.deadlines.received(self.last_input, n);
                self.place.read(n);
                self.bytes.0 += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Returns how a connection ends that gave `error`.
    fn unreadable(&self, error: &io::Error) -> End {
        if error.kind() != io::ErrorKind::InvalidData {
            return End::Broken;
        }
        if self.stream.shakes_hands() {
            let addr = &self.place.entry().ends.addr;
            self.troubles.no_handshake(addr, error);
        }
        // TLS has told its client why.
        End::Finished
    }

    fn wants_input(&self) -> bool {
        let waits = self.session.postpones() || self.session.blocks();
        let paused = waits && self.input.len() < PAUSED_INPUT_MAX;
        self.closing_since.is_none() && (self.session.wants_input() || paused)
    }

    fn interest(&mut self) -> Option<Interest> {
        let writes = !self.session.output().is_empty() || self.stream.wants_write();
        match (self.wants_input(), writes) {
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, false) => Some(Interest::READABLE),
            (false, true) => Some(Interest::WRITABLE),
            (false, false) => None,
        }
    }

    /// Returns whether nothing is left to do: the client will not ask more, and has got its
    /// answers.
    fn finished(&mut self) -> bool {
        let answered = (self.ended || self.stopping) && self.unanswered == 0;
        let said = self.session.output().is_empty() && !self.stream.wants_write();
        (self.session.closing() || answered) && said
    }

    fn deadline(&mut self) -> Option<Instant> {
        if let Some(since) = self.closing_since {
            return Some(since + CLOSING_MAX);
        }
        self.deadlines.set_idle(self.place.local().live.idle_max());
        let unfinished = self.session.unfinished();
        // Who waits for the end of a pause, or for what others add, waits for others.
        let paused = self.session.postpones() || self.session.blocks();
        let standing = Standing {
            authenticated: !self.stream.shakes_hands() && (self.session.authenticated() || paused),
            unfinished: unfinished.filter(|_| self.wants_input() && !paused),
            may_idle: self.session.listens() || self.monitors || self.unanswered > 0 || paused,
        };
        self.deadlines.stands(Instant::now(), standing);
        self.deadlines.next()
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
