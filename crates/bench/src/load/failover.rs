//! How long nobody is served when the leader of three is killed.
//!
//! A publisher and a subscriber are clients of the two nodes that live on. A publish may fail meanwhile; but what was
//! acknowledged must be delivered, once, in order.

use super::{Figures, Listen, READ_LEN, SILENCE_MAX, Verb, hold};
use crate::client;
use crate::targets::Running;
use crate::wire::{Kind, RespReader, head};
use anyhow::{Context, Result, anyhow, ensure};
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

/// Messages that are under way.
const DEPTH: u64 = 8;

/// Before the leader is killed.
const BEFORE: Duration = Duration::from_secs(1);

/// After it.
const AFTER: Duration = Duration::from_secs(4);

/// The longest time in which nothing came.
#[derive(Clone, Copy, Debug)]
struct Gap {
    last: Instant,
    longest: Duration,
}

impl Gap {
    fn new() -> Self {
        Self {
            last: Instant::now(),
            longest: Duration::ZERO,
        }
    }

    fn came(&mut self) {
        let now = Instant::now();
        self.longest = self.longest.max(now - self.last);
        self.last = now;
    }
}

/// Loads a cluster, kills its leader, and returns the longest gaps.
///
/// # Errors
/// If what was acknowledged is lost, doubled or out of order, or nobody is served any more.
pub fn run(running: &mut Running) -> Result<Figures> {
    let survivors: Vec<u16> = (0..running.nodes.len())
        .filter(|at| *at != running.leader)
        .map(|at| running.nodes[at].port)
        .collect();
    ensure!(
        survivors.len() >= 2,
        "a cluster of three is needed to kill one"
    );
    let [command, name] = Listen::Exact.words(0);
    let subscriber = hold::subscribe(survivors[1], &command, [name])?;
    let publisher = client::open(survivors[0])?;
    let end = Instant::now() + BEFORE + AFTER;
    let leader = &mut running.nodes[running.leader];
    let (published, delivered) = thread::scope(|scope| -> Result<_> {
        let publishing = scope.spawn(move || publish(publisher, end));
        let delivering = scope.spawn(move || deliver(subscriber));
        thread::sleep(BEFORE);
        leader.kill();
        let panicked = |_panic| anyhow!("a client panicked");
        let published = publishing.join().map_err(panicked)?;
        let delivered = delivering.join().map_err(panicked)?;
        Ok((published?, delivered?))
    })?;
    let (acknowledged, acks, failed) = published;
    let (messages, deliveries) = delivered;
    let lost = acknowledged.difference(&messages).next();
    ensure!(
        lost.is_none(),
        "message {lost:?} was acknowledged and is lost"
    );
    let milliseconds = |gap: Gap| gap.longest.as_secs_f64() * 1e3;
    Ok(Figures::from([
        ("ack_gap_ms".to_owned(), milliseconds(acks)),
        ("delivery_gap_ms".to_owned(), milliseconds(deliveries)),
        ("failed_publishes".to_owned(), failed as f64),
    ]))
}

/// The number of the message that says that no more follow.
const LAST: u64 = u64::MAX;

fn publish(mut stream: TcpStream, end: Instant) -> Result<(BTreeSet<u64>, Gap, u64)> {
    stream
        .set_read_timeout(Some(SILENCE_MAX))
        .context("set the time for reading")?;
    let command = Verb::Publish.command(0, 0, 100);
    let mut reader = RespReader::new();
    let mut buffer = vec![0; READ_LEN];
    let mut acknowledged = BTreeSet::new();
    let (mut gap, mut failed, mut sequence) = (Gap::new(), 0, 0);
    let mut send = |numbers: &[u64], gap: &mut Gap| -> Result<Vec<bool>> {
        let mut out = Vec::new();
        for number in numbers {
            command.write(&mut out, 0, *number);
        }
        stream.write_all(&out).context("send messages")?;
        let mut replies = Vec::new();
        while replies.len() < numbers.len() {
            let read = stream.read(&mut buffer).context("wait for replies")?;
            ensure!(read > 0, "a surviving node closed a connection");
            reader.feed(&buffer[..read], |frame| {
                replies.push(frame.kind == Kind::Ok);
                if frame.kind == Kind::Ok {
                    gap.came();
                }
            })?;
        }
        Ok(replies)
    };
    while Instant::now() < end {
        let numbers: Vec<u64> = (sequence..sequence + DEPTH).collect();
        sequence += DEPTH;
        for (number, ok) in numbers.iter().zip(send(&numbers, &mut gap)?) {
            if ok {
                acknowledged.insert(*number);
            } else {
                failed += 1;
            }
        }
    }
    let last = send(&[LAST], &mut gap)?;
    ensure!(
        last == [true],
        "{AFTER:?} after the leader was killed a publish still failed"
    );
    Ok((acknowledged, gap, failed))
}

fn deliver(mut stream: TcpStream) -> Result<(BTreeSet<u64>, Gap)> {
    stream
        .set_read_timeout(Some(SILENCE_MAX))
        .context("set the time for reading")?;
    let mut reader = RespReader::new();
    let mut buffer = vec![0; READ_LEN];
    let mut messages = BTreeSet::new();
    let (mut gap, mut done, mut wrong) = (Gap::new(), false, None);
    while !done {
        let read = stream.read(&mut buffer).context("wait for messages")?;
        ensure!(read > 0, "a surviving node closed a subscriber");
        reader.feed(&buffer[..read], |frame| {
            let Some((_, number)) = head(frame.last.bytes()) else {
                return;
            };
            gap.came();
            if number == LAST {
                done = true;
            } else if messages.last().is_some_and(|last| number <= *last) {
                wrong = Some(number);
            } else {
                messages.insert(number);
            }
        })?;
        ensure!(
            wrong.is_none(),
            "message {wrong:?} came twice or out of order"
        );
    }
    Ok((messages, gap))
}
