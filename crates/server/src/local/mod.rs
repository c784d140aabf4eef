//! What only this process can answer ([`LocalAsk`]): who is connected, what commands took, what is configured.
//!
//! | module | holds |
//! |---|---|
//! | [`registry`] | all clients, pauses, monitors |
//! | [`mod@line`] | a client as a line of `CLIENT LIST`; filters |
//! | [`users_file`] | `aclfile` |
//! | [`stats`] | what became of commands |
//! | [`slowlog`], [`latency`] | which of them took long |
//! | `acl_log`, `guesses` | what was denied; who shows wrong passwords |
//! | [`live`], `rewrite` | what is configured now; back into the file |
//! | `memory` | what takes how much |
//!
//! Connections ask on their own threads; nothing here enters the node.

mod acl_log;
mod guesses;
mod latency;
pub(crate) mod line;
pub(crate) mod live;
mod memory;
pub(crate) mod registry;
mod rewrite;
mod slowlog;
pub(crate) mod stats;
pub(crate) mod users_file;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use corgi_base::{Op, RulesChange};
use corgi_session::{
    Ask, ClientFilter, ClientsAsk, ConfigAsk, Denial, Finished, LatencyAsk, LocalAsk, Reason,
    Reply, Seq, Shown, UsersAsk, View,
};

use self::acl_log::AclLog;
use self::guesses::Guesses;
use self::latency::Latency;
use self::live::Live;
use self::registry::{Entry, Registry};
use self::slowlog::{Slow, SlowLog};
use self::stats::Stats;
use self::users_file::UsersFile;
use crate::clients::{Counters, Host};
use crate::config::{Allowed, history};
use crate::facts::{Process, Rates};
use crate::logging::LevelSwitch;
use crate::stop::{Stop, StopReason};

const DEBUG_NOT_ALLOWED: &str = "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", \
    you can run it from a local connection, otherwise you need to set this option in the configuration file, and then \
    restart the server.";
const DEBUG_UNKNOWN: &str =
    "ERR unknown subcommand or wrong number of arguments: only DEBUG SLEEP is there";
/// `DEBUG SLEEP` takes no longer, so that the time can be added to any other.
const SLEEP_MAX: Duration = Duration::from_secs(86400);
/// A monitor that has more to read than this is closed.
const MONITOR_BYTES_MAX: u64 = 64 << 20;

/// When a client gets its answer.
#[derive(Debug)]
pub(crate) enum Answer {
    Now(Reply),
    After(Duration, Reply),
    /// The node answers this.
    Node(NodeAsk),
    /// Nobody does.
    Never,
}

/// What the process asks the node on behalf of a client.
#[derive(Debug)]
pub(crate) enum NodeAsk {
    /// Other users.
    Users(UsersAsk),
    /// To keep more or less of channels.
    Rules(RulesChange),
}

impl NodeAsk {
    /// Returns what a session would ask.
    pub(crate) fn of(self, seq: Seq) -> Ask {
        match self {
            Self::Users(ask) => Ask::Users { seq, ask },
            Self::Rules(change) => {
                let op = Op::HistoryRules(change);
                Ask::Write { seq, op }
            }
        }
    }
}

/// What all connections share besides the node.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) process: Process,
    pub(crate) counters: Counters,
    pub(crate) registry: Registry,
    pub(crate) stats: Stats,
    pub(crate) rates: Rates,
    pub(crate) users_file: UsersFile,
    pub(crate) live: Live,
    acl_log: AclLog,
    guesses: Guesses,
    /// How often something was denied, by [`Reason`]: a password, a command, a key, a channel.
    denials: [AtomicU64; 4],
    slowlog: SlowLog,
    latency: Latency,
    level: LevelSwitch,
    stop: Stop,
    started: Instant,
    /// When it was last told to save, in seconds since 1970.
    saved: AtomicU64,
}

impl Local {
    /// Starts to count and to measure.
    pub(crate) fn new(
        process: Process,
        users_file: UsersFile,
        live: Live,
        level: LevelSwitch,
        stop: Stop,
    ) -> Self {
        Self {
            process,
            users_file,
            counters: Counters::default(),
            registry: Registry::new(),
            stats: Stats::default(),
            rates: Rates::default(),
            live,
            acl_log: AclLog::default(),
            guesses: Guesses::default(),
            denials: Default::default(),
            slowlog: SlowLog::default(),
            latency: Latency::default(),
            level,
            stop,
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
    pub(crate) fn micros() -> u64 {
        static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);
        u64::try_from(BEGINNING.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Answers a client.
    pub(crate) fn answer(&self, me: &Arc<Entry>, ask: LocalAsk, host: &dyn Host) -> Answer {
        Answer::Now(match ask {
            LocalAsk::AclLog(ask) => self.acl_log.answer(ask, unix_ms()),
            LocalAsk::Clients(ask) => self.clients(me, ask),
            LocalAsk::Config(ask) => return self.configure(ask, host),
            LocalAsk::Debug(words) => return self.debug(me, &words),
            LocalAsk::LastSave => number(self.last_save()),
            LocalAsk::Latency(ask) => self.took_long(ask),
            LocalAsk::LoadUsers => match waiting(|| self.users_file.load()) {
                Ok(users) => return Answer::Node(NodeAsk::Users(UsersAsk::Replace(users))),
                Err(reply) => reply,
            },
            LocalAsk::Memory(ask) => self.memory(ask),
            LocalAsk::Save(text) => {
                self.saved.store(unix_time().as_secs(), Ordering::Relaxed);
                Reply::Simple(Bytes::from_static(text.as_bytes()))
            }
            LocalAsk::SaveUsers => waiting(|| self.users_file.save()),
            LocalAsk::Shutdown => {
                self.stop.request(StopReason::Signal("SHUTDOWN"));
                return Answer::Never;
            }
            LocalAsk::SlowLog(ask) => self.slowlog.answer(ask),
            LocalAsk::Time => {
                let now = unix_time();
                let bulk = |n: u64| Reply::bulk(n.to_string());
                Reply::Array(vec![bulk(now.as_secs()), bulk(now.subsec_micros().into())])
            }
        })
    }

    /// Counts what became of commands of a client.
    pub(crate) fn count(&self, finished: &[Finished], entry: &Entry, view: &View) {
        for finished in finished {
            self.stats.add(finished);
            let threshold_ms = self.live.latency_ms();
            let ms = finished.micros / 1000;
            if threshold_ms > 0 && ms >= threshold_ms {
                self.latency.add("command", unix_time().as_secs(), ms);
            }
            if let Some(args) = &finished.args {
                let slow = Slow {
                    at: unix_time().as_secs(),
                    micros: finished.micros,
                    args: args.clone(),
                    addr: entry.ends.addr.clone(),
                    name: view.name.clone().unwrap_or_default(),
                };
                self.slowlog.add(slow, self.live.config().slowlog_len);
            }
        }
    }

    /// Keeps what a client was denied, for `ACL LOG`, and ends it if its address has shown too many wrong passwords.
    pub(crate) fn denied(&self, entry: &Entry, denials: Vec<(Denial, u64)>) {
        if denials.is_empty() {
            return;
        }
        let seen = entry.seen();
        let line = seen.map(|seen| line::line(entry, &seen, Instant::now()));
        let client = line.unwrap_or_default();
        let max = self.live.config().acl_log_len;
        for (denial, times) in denials {
            if let Some(count) = self.denials_of(denial.reason) {
                count.fetch_add(times, Ordering::Relaxed);
            }
            if denial.reason == Reason::Auth
                && let Some(ip) = entry.ends.ip()
            {
                self.guesses.count(ip, times, Instant::now());
                if self.guessed_too_often(ip) {
                    entry.kill();
                }
            }
            let client = client.trim_end();
            self.acl_log.add(denial, times, client, unix_ms(), max);
        }
    }

    fn denials_of(&self, reason: Reason) -> Option<&AtomicU64> {
        let at = match reason {
            Reason::Auth => 0,
            Reason::Command => 1,
            Reason::Key => 2,
            Reason::Channel => 3,
            // Redis counts none of these.
            Reason::Certificate => return None,
        };
        self.denials.get(at)
    }

    /// Returns how often something was denied for a reason.
    pub(crate) fn denied_count(&self, reason: Reason) -> u64 {
        let count = self.denials_of(reason);
        count.map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Whether an address has shown more wrong passwords than `auth-failures-limit` allows.
    pub(crate) fn guessed_too_often(&self, ip: IpAddr) -> bool {
        let max = self.live.auth_failures_max();
        self.guesses.too_many(ip, max, Instant::now())
    }

    fn configure(&self, ask: ConfigAsk, host: &dyn Host) -> Answer {
        let done = match ask {
            ConfigAsk::Get(patterns) => return Answer::Now(self.live.get(&patterns)),
            ConfigAsk::ResetStat => {
                self.stats.reset();
                self.counters.reset();
                Ok(())
            }
            ConfigAsk::Rewrite => self.live.rewrite(),
            ConfigAsk::Set(pairs) => match &pairs[..] {
                [(name, password)] if name.eq_ignore_ascii_case(b"requirepass") => {
                    return Answer::Node(NodeAsk::Users(require_pass(password)));
                }
                pairs if pairs.iter().any(|(name, _)| history::is_of_cluster(name)) => {
                    match self.live.rules_change(pairs) {
                        Ok(change) => return Answer::Node(NodeAsk::Rules(change)),
                        Err(text) => Err(text),
                    }
                }
                _ => self.live.set(&pairs).map(|config| {
                    self.level.set(config.loglevel);
                    let all = config.clients_output_bytes_max;
                    self.registry.set_held_max(all);
                    host.set_output_limits(config.pubsub_output, all);
                    // Whoever only waits looks at its limits anew.
                    self.registry.all().iter().for_each(|entry| entry.wake());
                }),
            },
        };
        Answer::Now(done.map_or_else(Reply::error, |()| Reply::ok()))
    }

    /// `DEBUG SLEEP seconds`, which delays the client that asks and nobody else; nothing else is there.
    fn debug(&self, me: &Entry, words: &[Bytes]) -> Answer {
        let allowed = match self.live.config().debug_command {
            Allowed::Nobody => false,
            Allowed::Local => me.ends.of_this_machine(),
            Allowed::All => true,
        };
        if !allowed {
            return Answer::Now(Reply::error(DEBUG_NOT_ALLOWED));
        }
        match words {
            [sleep, time] if sleep.eq_ignore_ascii_case(b"sleep") => {
                let seconds = std::str::from_utf8(time).ok().and_then(|s| s.parse().ok());
                let time = seconds.and_then(|s: f64| Duration::try_from_secs_f64(s).ok());
                Answer::After(time.unwrap_or_default().min(SLEEP_MAX), Reply::ok())
            }
            _ => Answer::Now(Reply::error(DEBUG_UNKNOWN)),
        }
    }

    fn took_long(&self, ask: LatencyAsk) -> Reply {
        match ask {
            LatencyAsk::Doctor => self.latency.doctor(self.live.latency_ms()),
            LatencyAsk::Graph(event) => self.latency.graph(&event),
            LatencyAsk::Histogram(names) => self.stats.histograms(&names),
            LatencyAsk::History(event) => self.latency.history(&event),
            LatencyAsk::Latest => self.latency.latest(),
            LatencyAsk::Reset(events) => self.latency.reset(&events),
        }
    }

    /// Shows commands of a client to those that monitor.
    pub(crate) fn show(&self, entry: &Entry, shown: &[Shown]) {
        let micros = unix_time().as_micros();
        for shown in shown {
            let line = line::monitored(micros, shown.database, &entry.ends, &shown.args);
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
            ClientsAsk::Unpause => {
                self.registry.unpause();
                Reply::ok()
            }
        }
    }
}

/// Returns the change that gives the user `default` of the whole cluster another password, or none.
fn require_pass(password: &Bytes) -> UsersAsk {
    let name = Bytes::from_static(b"default");
    let rules = if password.is_empty() {
        vec![Bytes::from_static(b"nopass")]
    } else {
        let add = [b">", &password[..]].concat();
        vec![Bytes::from_static(b"resetpass"), add.into()]
    };
    UsersAsk::Set { name, rules }
}

fn number(n: u64) -> Reply {
    Reply::Integer(i64::try_from(n).unwrap_or(i64::MAX))
}

/// Does something that waits for the disk: the other connections of this thread go to another one meanwhile.
fn waiting<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// Returns the time since 1970; a clock set before that is as wrong as one at it.
fn unix_time() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

fn unix_ms() -> u64 {
    u64::try_from(unix_time().as_millis()).unwrap_or(u64::MAX)
}

/// Whether a filter leaves out the client because it is the one that asks.
fn skips(filter: &ClientFilter, default: bool, me: &Entry, entry: &Entry) -> bool {
    filter.skip_me.unwrap_or(default) && me.id == entry.id
}

impl Default for Local {
    fn default() -> Self {
        let (stop, _nobody) = Stop::new();
        Self::new(
            Process::default(),
            UsersFile::default(),
            Live::default(),
            LevelSwitch::default(),
            stop,
        )
    }
}
