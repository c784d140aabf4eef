//! The closed loop: each publisher has at most so many messages under way.
//!
//! A message is under way until it is acknowledged and, summed over all subscribers, delivered. Without the second half
//! a server that acknowledges before it delivers would be measured by how much memory it has for what it owes.

use super::connection::Connection;
use super::publisher::Publisher;
use super::{Figures, Latency, Listen, READ_LEN, SILENCE_MAX, Verb, reader};
use crate::order::{Broken, Order};
use crate::process;
use crate::targets::Running;
use crate::wire::{Kind, encode, head};
use anyhow::{Context, Result, bail, ensure};
use mio::{Events, Poll};
use std::time::{Duration, Instant};

/// So often it looks at the clock when nothing comes.
const LOOK: Duration = Duration::from_millis(20);

/// A command behind each group of messages that vouches for all of them.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// `WAIT 1 0`, `WAITAOF 1 1 0`.
    pub words: &'static [&'static str],
    /// The last integer of its reply must be at least this.
    pub at_least: i64,
}

/// What is to be sent to whom.
#[derive(Clone, Debug)]
pub struct Closed {
    /// How.
    pub verb: Verb,
    /// What is sent behind each `depth` messages; the next ones wait for its reply.
    pub group: Option<Group>,
    /// Connections that publish.
    pub publishers: usize,
    /// Messages under way on each of them.
    pub depth: usize,
    /// Channels, used in turns.
    pub channels: usize,
    /// Bytes of a message.
    pub payload: usize,
    /// Connections that listen, each to one channel.
    pub subscribers: usize,
    /// How they do.
    pub listen: Listen,
    /// Not measured.
    pub warm: Duration,
    /// Measured.
    pub measure: Duration,
}

#[derive(Debug)]
struct Subscriber {
    connection: Connection,
    order: Order,
    subscribed: bool,
}

/// What had happened at one moment.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Instant,
    acknowledged: u64,
    delivered: u64,
    server: Duration,
    own: Duration,
}

#[derive(Debug)]
struct Loop<'a> {
    plan: &'a Closed,
    running: &'a Running,
    poll: Poll,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    latency: Latency,
    delivered: u64,
    /// Deliveries of messages that were sent and have not come.
    owed: u64,
}

/// What a run measured, and how many messages it had from its beginning to its end.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was measured.
    pub figures: Figures,
    /// Messages that were acknowledged.
    pub acknowledged: u64,
    /// Messages that came, at all subscribers together.
    pub delivered: u64,
}

/// Sends for as long as the plan says, waits until all has come, and returns what was measured.
///
/// # Errors
/// If a message is refused, lost, doubled or out of order, or the server falls silent.
pub fn run(plan: &Closed, running: &Running) -> Result<Outcome> {
    let mut run = Loop::open(plan, running)?;
    run.subscribe()?;
    run.turns_until(true, plan.warm)?;
    run.latency.clear();
    let before = run.mark()?;
    run.turns_until(true, plan.measure)?;
    let after = run.mark()?;
    let memory = running.memory()?;
    let measured = run.latency.clone();
    run.finish()?;
    let mut figures = figures(before, after);
    measured.tell("ack", &mut figures);
    figures.insert("server_pss_bytes".to_owned(), memory.pss as f64);
    figures.insert("server_rss_bytes".to_owned(), memory.rss as f64);
    let end = run.mark()?;
    Ok(Outcome {
        figures,
        acknowledged: end.acknowledged,
        delivered: end.delivered,
    })
}

fn figures(before: Mark, after: Mark) -> Figures {
    let seconds = (after.at - before.at).as_secs_f64();
    let acknowledged = (after.acknowledged - before.acknowledged) as f64;
    let delivered = (after.delivered - before.delivered) as f64;
    let server = (after.server - before.server).as_secs_f64();
    let own = (after.own - before.own).as_secs_f64();
    let mut figures = Figures::from([
        ("acknowledged_per_s".to_owned(), acknowledged / seconds),
        ("server_cores".to_owned(), server / seconds),
        ("generator_cores".to_owned(), own / seconds),
    ]);
    if acknowledged > 0.0 {
        let each = server * 1e6 / acknowledged;
        figures.insert("server_us_per_message".to_owned(), each);
    }
    if delivered > 0.0 {
        figures.insert("delivered_per_s".to_owned(), delivered / seconds);
        let each = server * 1e6 / delivered;
        figures.insert("server_us_per_delivery".to_owned(), each);
    }
    figures
}

impl<'a> Loop<'a> {
    fn open(plan: &'a Closed, running: &'a Running) -> Result<Self> {
        ensure!(
            plan.publishers > 0 && plan.depth > 0,
            "a load needs at least one publisher and a depth of one"
        );
        ensure!(
            plan.subscribers.is_multiple_of(plan.channels),
            "{} subscribers cannot be shared out evenly among {} channels",
            plan.subscribers,
            plan.channels
        );
        let poll = Poll::new().context("open an epoll")?;
        let (server, port) = (running.server, running.port());
        let open = |token| Connection::open(port, reader(server), poll.registry(), token);
        let publishers: Result<Vec<Publisher>> = (0..plan.publishers)
            .map(|index| Publisher::new(plan, server, index, open(index)?))
            .collect();
        let publishers = publishers?;
        let subscribers: Result<Vec<Subscriber>> = (0..plan.subscribers)
            .map(|index| {
                let mut connection = open(plan.publishers + index)?;
                let words = plan.listen.words(index % plan.channels);
                connection.out().extend(encode(&words));
                Ok(Subscriber {
                    connection,
                    order: Order::new(plan.publishers),
                    subscribed: false,
                })
            })
            .collect();
        Ok(Self {
            plan,
            running,
            publishers,
            subscribers: subscribers?,
            poll,
            latency: Latency::default(),
            delivered: 0,
            owed: 0,
        })
    }

    fn subscribe(&mut self) -> Result<()> {
        for subscriber in &mut self.subscribers {
            subscriber.connection.flush()?;
        }
        let mut turns = Turns::new();
        while !self.subscribers.iter().all(|one| one.subscribed) {
            self.turn(&mut turns, false)?;
        }
        Ok(())
    }

    fn turns_until(&mut self, publish: bool, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        let mut turns = Turns::new();
        while turns.now < end {
            self.turn(&mut turns, publish)?;
        }
        Ok(())
    }

    /// Waits until all that was sent is acknowledged and delivered.
    fn finish(&mut self) -> Result<()> {
        let mut turns = Turns::new();
        while self.owed > 0 || !self.publishers.iter().all(|one| one.waits.is_idle()) {
            self.turn(&mut turns, false)
                .with_context(|| format!("{} deliveries are missing", self.owed))?;
        }
        Ok(())
    }

    fn mark(&self) -> Result<Mark> {
        let acknowledged = self.publishers.iter().map(|one| one.waits.acknowledged);
        Ok(Mark {
            at: Instant::now(),
            acknowledged: acknowledged.sum(),
            delivered: self.delivered,
            server: self.running.cpu()?,
            own: process::own_cpu()?,
        })
    }

    /// Takes what has come, and sends what there is room for.
    fn turn(&mut self, turns: &mut Turns, publish: bool) -> Result<()> {
        if publish {
            self.publish(turns.now);
        }
        for publisher in &mut self.publishers {
            publisher.flush()?;
        }
        match self.poll.poll(&mut turns.events, Some(LOOK)) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                return Err(error).context("wait for sockets");
            }
            _ => {}
        }
        turns.now = Instant::now();
        if turns.events.is_empty() {
            let silent = turns.now.duration_since(turns.heard);
            if silent > SILENCE_MAX {
                bail!("the server was silent for {silent:?}");
            }
            return Ok(());
        }
        turns.heard = turns.now;
        for event in &turns.events {
            let token = event.token().0;
            if event.is_readable() {
                match token.checked_sub(self.publishers.len()) {
                    None => self.read_publisher(token, turns.now, &mut turns.buffer)?,
                    Some(index) => self.read_subscriber(index, &mut turns.buffer)?,
                }
            } else if let Some(index) = token.checked_sub(self.publishers.len()) {
                self.subscribers[index].connection.flush()?;
            }
        }
        Ok(())
    }

    fn publish(&mut self, now: Instant) {
        let plan = self.plan;
        let each = (plan.subscribers / plan.channels) as u64;
        let limit = each * (plan.publishers * plan.depth) as u64;
        for publisher in &mut self.publishers {
            let mut room = publisher.room();
            if let Some(free) = limit.saturating_sub(self.owed).checked_div(each) {
                room = room.min(usize::try_from(free).unwrap_or(usize::MAX));
            }
            if plan.group.is_some() && room < plan.depth {
                continue;
            }
            if room > 0 {
                self.owed += room as u64 * each;
                publisher.publish(room, now);
            }
        }
    }

    fn read_publisher(&mut self, index: usize, now: Instant, buffer: &mut [u8]) -> Result<()> {
        let Publisher {
            connection, waits, ..
        } = &mut self.publishers[index];
        let latency = &mut self.latency;
        connection
            .read(buffer, |frame| waits.take(frame, now, latency))
            .with_context(|| format!("publisher {index}"))
    }

    fn read_subscriber(&mut self, index: usize, buffer: &mut [u8]) -> Result<()> {
        let subscriber = &mut self.subscribers[index];
        let (order, subscribed) = (&mut subscriber.order, &mut subscriber.subscribed);
        let mut came = 0;
        let mut broken: Option<Broken> = None;
        let mut refused = None;
        let read = subscriber
            .connection
            .read(buffer, |frame| match frame.kind {
                Kind::Message => {
                    came += 1;
                    if let Err(wrong) = order.see(head(frame.last.bytes())) {
                        broken.get_or_insert(wrong);
                    }
                }
                Kind::Subscribed => *subscribed = true,
                Kind::Ok | Kind::Ping => {}
                Kind::Error => {
                    refused.get_or_insert(frame.last);
                }
            });
        let who = || format!("subscriber {index}");
        if let Some(wrong) = broken {
            return Err(wrong).with_context(who);
        }
        if let Some(text) = refused {
            bail!("subscriber {index} was told {text:?}");
        }
        read.with_context(who)?;
        self.delivered += came;
        self.owed = self
            .owed
            .checked_sub(came)
            .context("more messages came than were sent")?;
        Ok(())
    }
}

/// What the turns of a loop share.
#[derive(Debug)]
struct Turns {
    now: Instant,
    heard: Instant,
    events: Events,
    buffer: Vec<u8>,
}

impl Turns {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            now,
            heard: now,
            events: Events::with_capacity(1024),
            buffer: vec![0; READ_LEN],
        }
    }
}
