//! The open loop: messages at a fixed rate, whatever the server does.
//!
//! Each message has a time at which it is due. Latencies count from there, so that a message that could not be sent in
//! time, because the ones before it were stuck, is as late as its publisher would have found it (no coordinated
//! omission).

use super::{Figures, Latency, Listen, READ_LEN, SILENCE_MAX, Verb};
use crate::client;
use crate::order::Order;
use crate::process;
use crate::targets::Running;
use crate::wire::{Kind, RespReader, head};
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

/// Between the last preparation and the first message.
const LEAD: Duration = Duration::from_millis(20);

/// What is to be sent.
#[derive(Clone, Debug)]
pub struct Open {
    /// How.
    pub verb: Verb,
    /// Bytes of a message.
    pub payload: usize,
    /// Messages in a second.
    pub rate: u32,
    /// Messages that are sent first and not measured.
    pub warm: u64,
    /// Messages that are measured.
    pub measure: u64,
    /// Whether somebody listens.
    pub delivered: bool,
}

/// When each message is due.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    begin: Instant,
    rate: u32,
}

impl Schedule {
    fn due(self, sequence: u64) -> Instant {
        let nanoseconds = sequence.saturating_mul(1_000_000_000) / u64::from(self.rate);
        self.begin + Duration::from_nanos(nanoseconds)
    }

    /// How many messages are due at `now`.
    fn count(self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.begin).as_nanos();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        // In two steps: nanoseconds times rate would not fit after a few hours.
        let (seconds, rest) = (passed / 1_000_000_000, passed % 1_000_000_000);
        let rate = u64::from(self.rate);
        seconds * rate + rest * rate / 1_000_000_000
    }
}

/// Sends all messages, waits until they have come, and returns latencies and what the server used.
///
/// # Errors
/// If a message is refused, lost, doubled or out of order, or the server falls silent.
pub fn run(plan: &Open, running: &Running) -> Result<Figures> {
    let port = running.port();
    let total = plan.warm + plan.measure;
    let mut publisher = client::open(port)?;
    let replies = publisher.try_clone().context("share a socket")?;
    let subscriber = if plan.delivered {
        let [command, name] = Listen::Exact.words(0);
        Some(super::hold::subscribe(port, &command, [name])?)
    } else {
        None
    };
    let (server, own, begun) = (running.cpu()?, process::own_cpu()?, Instant::now());
    let schedule = Schedule {
        begin: begun + LEAD,
        rate: plan.rate,
    };
    let (acknowledged, delivered) = thread::scope(|scope| -> Result<_> {
        let acks = scope.spawn(|| acknowledgements(replies, schedule, plan.warm, total));
        let messages = subscriber
            .map(|stream| scope.spawn(move || deliveries(stream, schedule, plan.warm, total)));
        let sent = send(plan, &mut publisher, schedule, total);
        if sent.is_err() {
            // The readers would wait for what does not come.
            publisher.shutdown(std::net::Shutdown::Both).ok();
        }
        let acknowledged = acks.join().map_err(|_panic| anyhow!("a reader panicked"))?;
        sent?;
        let delivered = match messages {
            Some(reader) => Some(
                reader
                    .join()
                    .map_err(|_panic| anyhow!("a reader panicked"))??,
            ),
            None => None,
        };
        Ok((acknowledged?, delivered))
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let mut figures = Figures::new();
    acknowledged.tell("ack", &mut figures);
    if let Some(delivered) = delivered {
        delivered.tell("delivery", &mut figures);
    }
    let used = (running.cpu()? - server).as_secs_f64();
    figures.insert(
        "server_us_per_message".to_owned(),
        used * 1e6 / total as f64,
    );
    figures.insert("server_cores".to_owned(), used / seconds);
    let own = (process::own_cpu()? - own).as_secs_f64();
    figures.insert("generator_cores".to_owned(), own / seconds);
    figures.insert("acknowledged_per_s".to_owned(), total as f64 / seconds);
    Ok(figures)
}

fn send(plan: &Open, stream: &mut TcpStream, schedule: Schedule, total: u64) -> Result<()> {
    let command = plan.verb.command(0, 0, plan.payload);
    stream
        .set_write_timeout(Some(SILENCE_MAX))
        .context("set the time for sending")?;
    let mut out = Vec::new();
    let mut sent = 0;
    while sent < total {
        let now = Instant::now();
        let due = schedule.count(now).min(total);
        if due == sent {
            thread::sleep(schedule.due(sent + 1).saturating_duration_since(now));
            continue;
        }
        out.clear();
        for sequence in sent..due {
            command.write(&mut out, 0, sequence);
        }
        stream.write_all(&out).context("send messages")?;
        sent = due;
    }
    Ok(())
}

fn acknowledgements(
    stream: TcpStream,
    schedule: Schedule,
    warm: u64,
    total: u64,
) -> Result<Latency> {
    let mut next = 0;
    read_all(stream, schedule, warm, total, |kind, _| {
        ensure!(
            kind != Kind::Message,
            "a message came where a reply was next"
        );
        next += 1;
        Ok(Some(next - 1))
    })
}

fn deliveries(stream: TcpStream, schedule: Schedule, warm: u64, total: u64) -> Result<Latency> {
    let mut order = Order::new(1);
    read_all(stream, schedule, warm, total, |kind, payload| {
        if kind != Kind::Message {
            return Ok(None);
        }
        let head = head(payload);
        order.see(head)?;
        Ok(head.map(|(_, sequence)| sequence))
    })
}

/// Reads until `total` messages were recognised by `sequence`, and records how late each was.
fn read_all(
    mut stream: TcpStream,
    schedule: Schedule,
    warm: u64,
    total: u64,
    mut sequence: impl FnMut(Kind, &[u8]) -> Result<Option<u64>>,
) -> Result<Latency> {
    stream
        .set_read_timeout(Some(SILENCE_MAX))
        .context("set the time for reading")?;
    let mut latency = Latency::default();
    let mut reader = RespReader::new();
    let mut buffer = vec![0; READ_LEN];
    let mut seen = 0;
    while seen < total {
        let read = stream
            .read(&mut buffer)
            .with_context(|| format!("wait for message {seen} of {total}"))?;
        ensure!(read > 0, "the server closed a connection");
        let now = Instant::now();
        let mut wrong = None;
        reader.feed(&buffer[..read], |frame| {
            if frame.kind == Kind::Error {
                let text = frame.last;
                wrong.get_or_insert_with(|| anyhow!("a publish failed: {text:?}"));
                return;
            }
            match sequence(frame.kind, frame.last.bytes()) {
                Ok(Some(number)) => {
                    seen += 1;
                    if number >= warm {
                        // Messages count from when they were due, which is one interval after the one before.
                        let late = now.saturating_duration_since(schedule.due(number + 1));
                        latency.add(late, 1);
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    wrong.get_or_insert(error);
                }
            }
        })?;
        if let Some(error) = wrong {
            bail!(error);
        }
    }
    Ok(latency)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_due_at_even_distances() {
        let begin = Instant::now();
        let schedule = Schedule {
            begin,
            rate: 10_000,
        };
        assert_eq!(schedule.count(begin), 0);
        assert_eq!(schedule.count(begin + Duration::from_micros(99)), 0);
        assert_eq!(schedule.count(begin + Duration::from_micros(100)), 1);
        assert_eq!(schedule.count(begin + Duration::from_secs(3)), 30_000);
        assert_eq!(schedule.due(30_000), begin + Duration::from_secs(3));
        for number in 1..1000 {
            let due = schedule.due(number);
            assert_eq!(schedule.count(due), number, "due at its own time");
        }
    }
}
