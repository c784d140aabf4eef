//! Publishers: redis-rs on threads that note what they sent and what became of it.

use crate::check::{Attempt, Outcome, PublisherHistory};
use crate::{node, wait};
use redis::{Connection, ConnectionLike, ProtocolVersion, Value};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Commands in one pipeline: enough that batches are under way whenever a node dies.
const PIPELINE: usize = 8;

#[derive(Debug, Default)]
struct Progress {
    history: PublisherHistory,
    acknowledged: usize,
    last_acknowledged: Option<Instant>,
    /// The longest time between two acknowledgements since [`Load::begin_gaps`].
    longest_gap: Duration,
}

#[derive(Debug)]
struct Publisher {
    progress: Arc<Mutex<Progress>>,
    thread: JoinHandle<()>,
}

/// Publishers that go on until they are told to stop.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    publishers: Vec<Publisher>,
}

impl Load {
    /// Starts one publisher for each of `ports`, RESP2 and RESP3 by turns, all to `channel`. Each connects again
    /// whenever it has lost its connection; what was under way then is of unknown fate and is not sent again.
    pub fn start(ports: &[u16], channel: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let publishers = ports
            .iter()
            .enumerate()
            .map(|(at, &port)| {
                let name = format!("p{}", at + 1);
                let progress = Arc::new(Mutex::new(Progress {
                    history: PublisherHistory {
                        name,
                        attempts: Vec::new(),
                    },
                    ..Progress::default()
                }));
                let (there, stop) = (Arc::clone(&progress), Arc::clone(&stop));
                let (protocol, channel) = (crate::PROTOCOLS[at % 2], channel.to_owned());
                let thread =
                    thread::spawn(move || publish(port, protocol, &channel, &there, &stop));
                Publisher { progress, thread }
            })
            .collect();
        Self { stop, publishers }
    }

    /// How many publishes of publisher `at` have been acknowledged.
    pub fn acknowledged(&self, at: usize) -> usize {
        lock(&self.publishers[at].progress).acknowledged
    }

    /// Waits until each publisher of `which` has `more` acknowledged publishes than now.
    ///
    /// # Panics
    /// If one has not in time.
    pub fn wait_more(&self, which: &[usize], more: usize) {
        let goals: Vec<(usize, usize)> = which
            .iter()
            .map(|&at| (at, self.acknowledged(at) + more))
            .collect();
        let what = format!("each of the publishers {which:?} has {more} more acknowledged");
        wait::until_true(wait::SOON * 2, &what, || {
            goals
                .iter()
                .all(|&(at, goal)| self.acknowledged(at) >= goal)
        });
    }

    /// Waits until any publisher of `which` is acknowledged a publish, and returns how long after `since` that was.
    ///
    /// # Panics
    /// If none is in time.
    pub fn first_after(&self, which: &[usize], since: Instant) -> Duration {
        wait::until(wait::SOON, "a publish is acknowledged again", || {
            let last = which.iter().filter_map(|&at| {
                lock(&self.publishers[at].progress)
                    .last_acknowledged
                    .filter(|at| *at > since)
            });
            last.min().map(|at| at - since)
        })
    }

    /// Begins to look for the longest time without an acknowledgement anew.
    pub fn begin_gaps(&self) {
        for publisher in &self.publishers {
            lock(&publisher.progress).longest_gap = Duration::ZERO;
        }
    }

    /// Returns the longest time that any publisher of `which` was without an acknowledgement since
    /// [`Load::begin_gaps`].
    pub fn longest_gap(&self, which: &[usize]) -> Duration {
        let gaps = which
            .iter()
            .map(|&at| lock(&self.publishers[at].progress).longest_gap);
        gaps.max().unwrap_or_default()
    }

    /// Lets the publishers finish what is under way, and returns what they know.
    ///
    /// # Panics
    /// If one panicked.
    pub fn stop(self) -> Vec<PublisherHistory> {
        self.stop.store(true, Ordering::Relaxed);
        self.publishers
            .into_iter()
            .map(|publisher| {
                publisher.thread.join().expect("a publisher does not panic");
                std::mem::take(&mut lock(&publisher.progress).history)
            })
            .collect()
    }
}

fn publish(
    port: u16,
    protocol: ProtocolVersion,
    channel: &str,
    progress: &Mutex<Progress>,
    stop: &AtomicBool,
) {
    let mut connection_number = 0;
    let mut sequence = 0;
    let mut connected: Option<Connection> = None;
    while !stop.load(Ordering::Relaxed) {
        let Some(connection) = &mut connected else {
            connection_number += 1;
            connected = node::connect(port, protocol).ok();
            if connected.is_none() {
                // The node is down: its port refuses at once, and asking without a pause would take a whole core.
                thread::park_timeout(Duration::from_millis(20));
            }
            continue;
        };
        let name = lock(progress).history.name.clone();
        let payloads: Vec<String> = (sequence..)
            .take(PIPELINE)
            .map(|n| format!("{name}-{connection_number}-{n}"))
            .collect();
        sequence += PIPELINE;
        let outcomes = send(connection, channel, &payloads);
        let mut progress = lock(progress);
        for (payload, outcome) in payloads.into_iter().zip(&outcomes) {
            let (outcome, connection) = (*outcome, connection_number);
            progress.history.attempts.push(Attempt {
                payload,
                outcome,
                connection,
            });
        }
        let acknowledged = outcomes
            .iter()
            .filter(|o| **o == Outcome::Acknowledged)
            .count();
        progress.acknowledged += acknowledged;
        if acknowledged > 0 {
            let now = Instant::now();
            if let Some(last) = progress.last_acknowledged.replace(now) {
                progress.longest_gap = progress.longest_gap.max(now - last);
            }
        }
        if !connection.is_open() || outcomes.contains(&Outcome::Unknown) {
            connected = None;
        }
    }
}

/// Sends a pipeline and returns the outcome of each. When the connection breaks amid the replies all are unknown: the
/// client library keeps those that came to itself, and "unknown" demands less of the servers, never more.
fn send(connection: &mut Connection, channel: &str, payloads: &[String]) -> Vec<Outcome> {
    let mut pipeline = redis::pipe();
    for payload in payloads {
        pipeline.cmd("PUBLISH").arg(channel).arg(payload);
    }
    let replies =
        connection.req_packed_commands(&pipeline.get_packed_pipeline(), 0, payloads.len());
    match replies {
        Ok(replies) => {
            assert_eq!(replies.len(), payloads.len(), "one reply for each command");
            replies.iter().map(outcome).collect()
        }
        Err(_) => vec![Outcome::Unknown; payloads.len()],
    }
}

fn outcome(reply: &Value) -> Outcome {
    match reply {
        Value::Int(_) => Outcome::Acknowledged,
        Value::ServerError(error) if error.code() == "INDETERMINATE" => Outcome::Unknown,
        Value::ServerError(error) => {
            let code = error.code();
            assert!(
                ["CLUSTERDOWN", "TRYAGAIN", "MISCONF"].contains(&code),
                "a PUBLISH failed with an error that promises nothing: {error:?}"
            );
            Outcome::Refused
        }
        other => panic!("a PUBLISH was answered {other:?}"),
    }
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().expect("no holder panics")
}
