//! What only this process can answer ([`LocalAsk`]): who is connected, what commands took.
//!
//! | module | holds |
//! |---|---|
//! | [`registry`] | all clients, pauses, monitors |
//! | [`mod@line`] | a client as a line of `CLIENT LIST`; filters |
//! | [`users_file`] | `aclfile` |
//! | [`stats`] | what became of commands |
//!
//! Connections ask on their own threads; nothing here enters the node.

pub(crate) mod line;
pub(crate) mod registry;
pub(crate) mod stats;
pub(crate) mod users_file;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use corgi_session::{ClientFilter, ClientsAsk, Finished, LocalAsk, Reply, Shown, UsersAsk};

use self::registry::{Entry, Registry};
use self::stats::Stats;
use self::users_file::UsersFile;
use crate::clients::Counters;
use crate::facts::{Process, Rates};

/// A monitor that has more to read than this is closed.
const MONITOR_BYTES_MAX: u64 = 64 << 20;

/// What all connections share besides the node.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) process: Process,
    pub(crate) counters: Counters,
    pub(crate) registry: Registry,
    pub(crate) stats: Stats,
    pub(crate) rates: Rates,
    pub(crate) users_file: UsersFile,
    started: Instant,
    /// When it was last told to save, in seconds since 1970.
    saved: AtomicU64,
}

impl Local {
    /// Starts to count and to measure.
    pub(crate) fn new(process: Process, users_file: UsersFile) -> Self {
        Self {
            process,
            users_file,
            counters: Counters::default(),
            registry: Registry::new(),
            stats: Stats::default(),
            rates: Rates::default(),
            started: Instant::now(),
            saved: AtomicU64::new(unix_time().as_secs()),
        }
    }

    /// Returns how long the process runs.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns when it was last told to save: everything is always saved, but clients wait for this to change.
    pub(crate) fn last_save(&self) -> u64 {
        self.saved.load(Ordering::Relaxed)
    }

    /// Returns the clock by which commands are measured.
    pub(crate) fn micros(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Answers a client.
    ///
    /// # Errors
    /// What the node must be asked instead, which answers.
    pub(crate) fn answer(&self, me: &Arc<Entry>, ask: LocalAsk) -> Result<Reply, UsersAsk> {
        match ask {
            LocalAsk::Clients(ask) => Ok(self.clients(me, ask)),
            LocalAsk::LoadUsers => match self.users_file.load() {
                Ok(users) => Err(UsersAsk::Replace(users)),
                Err(reply) => Ok(reply),
            },
            LocalAsk::SaveUsers => Ok(self.users_file.save()),
        }
    }

    /// Counts what became of commands.
    pub(crate) fn count(&self, finished: &[Finished]) {
        finished
            .iter()
            .for_each(|finished| self.stats.add(finished));
    }

    /// Shows commands of a client to those that monitor.
    pub(crate) fn show(&self, entry: &Entry, shown: &[Shown]) {
        let micros = unix_time().as_micros();
        for shown in shown {
            let line = line::monitored(micros, shown.database, &entry.ends.addr, &shown.args);
            self.registry.show(&line, MONITOR_BYTES_MAX);
        }
    }

    fn clients(&self, me: &Arc<Entry>, ask: ClientsAsk) -> Reply {
        let now = Instant::now();
        match ask {
            ClientsAsk::Info => {
                let line = me.seen().map(|seen| line::line(me, &seen, now));
                Reply::Verbatim(line.unwrap_or_default().into())
            }
            ClientsAsk::List(filter) => {
                let lines: String = self
                    .registry
                    .select(&filter, now)
                    .iter()
                    .filter(|(entry, _)| !skips(&filter, false, me, entry))
                    .map(|(entry, seen)| line::line(entry, seen, now))
                    .collect();
                Reply::Verbatim(lines.into())
            }
            ClientsAsk::Kill(filter) => {
                let found = self.registry.select(&filter, now);
                let found = found
                    .iter()
                    .filter(|(entry, _)| !skips(&filter, true, me, entry));
                Reply::Integer(found.map(|(entry, _)| entry.kill()).count() as i64)
            }
            ClientsAsk::KillAddr(addr) => {
                let all = self.registry.all();
                let found = all
                    .iter()
                    .find(|entry| entry.ends.addr.as_bytes() == &addr[..]);
                match found {
                    Some(entry) => {
                        entry.kill();
                        Reply::ok()
                    }
                    None => Reply::Error(Bytes::from_static(b"ERR No such client")),
                }
            }
            ClientsAsk::Pause { ms, pause } => {
                self.registry.pause(Duration::from_millis(ms), pause, now);
                Reply::ok()
            }
            // No command blocks a client yet but a pause, which is not ended for one alone.
            ClientsAsk::Unblock { .. } => Reply::Integer(0),
            ClientsAsk::Unpause => {
                self.registry.unpause();
                Reply::ok()
            }
        }
    }
}

/// Returns the time since 1970; a clock set before that is as wrong as one at it.
fn unix_time() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

/// Whether a filter leaves out the client because it is the one that asks.
fn skips(filter: &ClientFilter, default: bool, me: &Entry, entry: &Entry) -> bool {
    filter.skip_me.unwrap_or(default) && me.id == entry.id
}

impl Default for Local {
    fn default() -> Self {
        Self::new(Process::default(), UsersFile::default())
    }
}
