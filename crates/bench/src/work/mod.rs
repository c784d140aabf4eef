//! The workloads: one run of each starts its server, loads it, and returns figures.

use crate::load::closed::{self, Closed, Group};
use crate::load::fill::fill;
use crate::load::open::{self, Open};
use crate::load::{Figures, Listen, Verb, failover, hold};
use crate::targets::{Binaries, Running, Setup};
use anyhow::Result;
use std::net::TcpStream;
use std::time::Duration;

/// How much of a workload is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Short runs of small things: shows that nothing is far off.
    Quick,
    /// What docs/performance.md is made of.
    Full,
}

impl Scale {
    /// Returns the first for quick runs, else the second.
    pub fn pick<T>(self, quick: T, full: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

/// One workload.
#[derive(Clone, Debug)]
pub enum Work {
    /// Publishers and subscribers, as fast as they are answered.
    Closed(Closed),
    /// The same while other connections hold so many patterns that match nothing.
    Patterns(usize, Closed),
    /// A fixed rate.
    Open(Open),
    /// The same after so many messages were published.
    Filled(u64, Open),
    /// The same beside so many subscribers that do not read.
    Stalled(usize, Open),
    /// So many subscribed connections that do nothing.
    Idle(usize),
    /// One connection that is subscribed to so many channels.
    Channels(usize),
    /// Kills a node after so many messages of 1 KiB, and starts it again.
    Restart(u64),
    /// Kills the leader of three under load.
    Failover,
}

impl Work {
    /// Starts a server and runs this on it.
    ///
    /// # Errors
    /// If the server is missing or does not serve, or what it did was wrong.
    pub fn run(&self, setup: &Setup, binaries: &Binaries) -> Result<Ran> {
        let mut running = setup.start(binaries)?;
        let port = running.port();
        let figures = match self {
            Self::Closed(plan) => closed::run(plan, &running)?.figures,
            Self::Patterns(count, plan) => {
                let _held = hold_patterns(port, *count)?;
                closed::run(plan, &running)?.figures
            }
            Self::Open(plan) => open::run(plan, &running)?,
            Self::Filled(count, plan) => {
                fill(port, *count, plan.payload)?;
                let mut figures = open::run(plan, &running)?;
                add_memory(&running, &mut figures)?;
                figures
            }
            Self::Stalled(count, plan) => {
                let _held = subscribers(port, *count)?;
                let mut figures = open::run(plan, &running)?;
                add_memory(&running, &mut figures)?;
                figures
            }
            Self::Idle(count) => memory_each(&running, *count, || subscribers(port, *count))?,
            Self::Channels(count) => {
                let names = (0..*count).map(|number| format!("channel:{number}"));
                memory_each(&running, *count, || {
                    Ok(vec![hold::subscribe(port, "SUBSCRIBE", names)?])
                })?
            }
            Self::Restart(count) => {
                fill(port, *count, 1024)?;
                let took = running.restart(setup, binaries)?;
                Figures::from([("restart_seconds".to_owned(), took.as_secs_f64())])
            }
            Self::Failover => failover::run(&mut running)?,
        };
        Ok(Ran::new(figures, &running))
    }

    /// Says in a few words what is done.
    pub fn describe(&self) -> String {
        match self {
            Self::Closed(plan) => describe(plan),
            Self::Patterns(count, plan) => {
                format!("{}, {count} patterns that match nothing", describe(plan))
            }
            Self::Open(plan) => describe_rate(plan),
            Self::Filled(count, plan) => {
                format!("{}, after {count} messages", describe_rate(plan))
            }
            Self::Stalled(count, plan) => {
                let rate = describe_rate(plan);
                format!("{rate}, {count} subscribers that do not read")
            }
            Self::Idle(count) => format!("{count} subscribed connections"),
            Self::Channels(count) => format!("SUBSCRIBE to {count} channels on one connection"),
            Self::Restart(count) => format!("kill -9 after {count} messages of 1 KiB, start"),
            Self::Failover => "PUBLISH of 100 B, depth 8; kill -9 of the leader".to_owned(),
        }
    }
}

fn add_memory(running: &Running, figures: &mut Figures) -> Result<()> {
    let memory = running.memory()?;
    figures.insert("server_pss_bytes".to_owned(), memory.pss as f64);
    Ok(())
}

/// Returns what each of `count` things takes that `hold` makes.
fn memory_each(
    running: &Running,
    count: usize,
    hold: impl FnOnce() -> Result<Vec<TcpStream>>,
) -> Result<Figures> {
    let before = running.memory()?.pss as f64;
    let _held = hold()?;
    let after = running.memory()?.pss as f64;
    let each = (after - before) / count as f64;
    Ok(Figures::from([
        ("memory_bytes_each".to_owned(), each),
        ("before_pss_bytes".to_owned(), before),
        ("after_pss_bytes".to_owned(), after),
    ]))
}

/// Opens connections that are subscribed to the first channel.
fn subscribers(port: u16, count: usize) -> Result<Vec<TcpStream>> {
    let [command, name] = Listen::Exact.words(0);
    (0..count)
        .map(|_| hold::subscribe(port, &command, [name.clone()]))
        .collect()
}

fn describe_rate(plan: &Open) -> String {
    let (verb, payload, rate) = (plan.verb.name(), plan.payload, plan.rate);
    let listening = if plan.delivered {
        ", one subscriber"
    } else {
        ""
    };
    let count = plan.measure;
    format!("{verb} of {payload} B at {rate}/s{listening}, {count} messages")
}

/// Holds patterns that match nothing, on several connections: Redis looks through all of one connection for each more.
fn hold_patterns(port: u16, count: usize) -> Result<Vec<TcpStream>> {
    const EACH: usize = 1000;
    let firsts = (0..count).step_by(EACH);
    firsts
        .map(|first| {
            let names = (first..count.min(first + EACH)).map(|number| format!("other:{number}:*"));
            hold::subscribe(port, "PSUBSCRIBE", names)
        })
        .collect()
}

fn describe(plan: &Closed) -> String {
    let mut text = format!(
        "{} of {} B, {} × depth {}",
        plan.verb.name(),
        plan.payload,
        plan.publishers,
        plan.depth
    );
    if let Some(group) = plan.group {
        text.push_str(&format!(", then {}", group.words.join(" ")));
    }
    if plan.subscribers > 0 {
        let how = match plan.listen {
            Listen::Exact => "subscribers",
            Listen::Pattern => "subscribers by pattern",
            Listen::Sharded => "shard subscribers",
        };
        let channels = plan.channels;
        text.push_str(&format!(
            ", {} {how}, {channels} channels",
            plan.subscribers
        ));
    }
    text.push_str(&format!(", {} s", plan.measure.as_secs_f64()));
    text
}

/// One run: its figures, and what ran.
#[derive(Clone, Debug)]
pub struct Ran {
    /// What was measured.
    pub figures: Figures,
    /// The server's version.
    pub version: String,
    /// The server's command.
    pub command: String,
}

impl Ran {
    fn new(figures: Figures, running: &Running) -> Self {
        Self {
            figures,
            version: running.version.clone(),
            command: running.command().to_owned(),
        }
    }
}

/// Returns a closed load of `PUBLISH` without subscribers.
pub fn publishing(scale: Scale, publishers: usize, depth: usize, payload: usize) -> Closed {
    Closed {
        verb: Verb::Publish,
        group: None,
        publishers,
        depth,
        channels: 1,
        payload,
        subscribers: 0,
        listen: Listen::Exact,
        warm: scale.pick(Duration::from_millis(100), Duration::from_secs(1)),
        measure: scale.pick(Duration::from_millis(300), Duration::from_secs(4)),
    }
}

/// The second of two Redis vouches for what was written before.
pub const WAIT: Group = Group {
    words: &["WAIT", "1", "0"],
    at_least: 1,
};

/// The disks of two Valkeys vouch for what was written before.
pub const WAIT_AOF: Group = Group {
    words: &["WAITAOF", "1", "1", "0"],
    at_least: 1,
};
