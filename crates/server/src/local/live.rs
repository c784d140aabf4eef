//! What is configured now: `CONFIG GET|SET|REWRITE`
//! (<https://redis.io/docs/latest/commands/config-set/>).
//!
//! `CONFIG SET` works out a whole new configuration from all that was written, so that it is checked as a file is, and
//! takes it only if nothing is wrong. What connections look at all the time are numbers beside it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use corgi_base::{RulesChange, glob};
use corgi_node::ShownRules;
use corgi_session::Reply;

use super::rewrite;
use crate::clients::Settings;
use crate::config::options::{self, FIXED, Kind, OptionSpec};
use crate::config::split::split_args;
use crate::config::{Config, OutputLimit, RawConfig, history};
use crate::files;
use crate::tls::Reload;

const UNPOISONED: &str = "a panic ends the process, so nobody sees a poisoned lock";
/// Stands for no limit where a number must stand.
const NONE: u64 = u64::MAX;
/// Options that name files: not to be changed by whoever can send commands, in Redis' words.
const PROTECTED: [&str; 3] = ["dir", "logfile", "enable-debug-command"];

/// The configuration of a running process.
#[derive(Debug)]
pub(crate) struct Live {
    state: Mutex<State>,
    file: Option<PathBuf>,
    /// Nobody in tests.
    tls: Option<Reload>,
    /// What the cluster says of the history of channels.
    rules: ShownRules,
    clients_max: AtomicU64,
    idle_ms: AtomicU64,
    keepalive_s: AtomicU64,
    protected: AtomicBool,
    auth_failures: AtomicU64,
    slow_micros: AtomicU64,
    latency_ms: AtomicU64,
    hard: AtomicU64,
    soft: AtomicU64,
    soft_s: AtomicU64,
}

#[derive(Debug)]
struct State {
    raw: RawConfig,
    config: Arc<Config>,
}

impl Live {
    /// Starts with what was written, where it was written first, and who is told of other files of TLS.
    pub(crate) fn new(
        config: Config,
        file: Option<PathBuf>,
        tls: Option<Reload>,
        rules: ShownRules,
    ) -> Self {
        let live = Self {
            state: Mutex::new(State {
                raw: config.raw().clone(),
                config: Arc::new(config),
            }),
            file,
            tls,
            rules,
            clients_max: AtomicU64::new(0),
            idle_ms: AtomicU64::new(0),
            keepalive_s: AtomicU64::new(0),
            protected: AtomicBool::new(false),
            auth_failures: AtomicU64::new(0),
            slow_micros: AtomicU64::new(NONE),
            latency_ms: AtomicU64::new(0),
            hard: AtomicU64::new(0),
            soft: AtomicU64::new(0),
            soft_s: AtomicU64::new(0),
        };
        live.publish(&live.config());
        live
    }

    /// Returns what holds now.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.state.lock().expect(UNPOISONED).config.clone()
    }

    /// Takes what clients are served with at first, which need not be what was written.
    pub(crate) fn begin(&self, settings: &Settings) {
        self.clients_max
            .store(settings.clients_max, Ordering::Relaxed);
        let idle_ms = u64::try_from(settings.idle_max.as_millis()).unwrap_or(u64::MAX);
        self.idle_ms.store(idle_ms, Ordering::Relaxed);
        self.keepalive_s
            .store(settings.keepalive.as_secs(), Ordering::Relaxed);
        self.protected.store(settings.protected, Ordering::Relaxed);
    }

    /// Returns how many clients may be connected.
    pub(crate) fn clients_max(&self) -> u64 {
        self.clients_max.load(Ordering::Relaxed)
    }

    /// Returns how long a client may say nothing; zero for ever.
    pub(crate) fn idle_max(&self) -> Duration {
        Duration::from_millis(self.idle_ms.load(Ordering::Relaxed))
    }

    /// Returns after how much silence a client's machine is probed; zero for never.
    pub(crate) fn keepalive(&self) -> Duration {
        Duration::from_secs(self.keepalive_s.load(Ordering::Relaxed))
    }

    /// Returns how many wrong passwords an address may show in a minute; 0 is no limit.
    pub(crate) fn auth_failures_max(&self) -> u64 {
        self.auth_failures.load(Ordering::Relaxed)
    }

    /// Whether only clients of this machine are let in as long as nobody needs a password.
    pub(crate) fn protected(&self) -> bool {
        self.protected.load(Ordering::Relaxed)
    }

    /// Returns from how many microseconds on a command is slow.
    pub(crate) fn slow_micros(&self) -> Option<u64> {
        Some(self.slow_micros.load(Ordering::Relaxed)).filter(|micros| *micros != NONE)
    }

    /// Returns from how many milliseconds on a command is an event; 0 for never.
    pub(crate) fn latency_ms(&self) -> u64 {
        self.latency_ms.load(Ordering::Relaxed)
    }

    /// Returns how many bytes of replies may wait for one client.
    pub(crate) fn output(&self) -> OutputLimit {
        OutputLimit {
            hard: self.hard.load(Ordering::Relaxed),
            soft: self.soft.load(Ordering::Relaxed),
            seconds: self.soft_s.load(Ordering::Relaxed),
        }
    }

    /// `CONFIG GET`.
    pub(crate) fn get(&self, patterns: &[Bytes]) -> Reply {
        let config = self.config();
        let rules = self.rules.load();
        let own = config.bare().iter().map(|(name, value)| {
            let of_cluster = history::value(name, &rules);
            (*name, of_cluster.unwrap_or_else(|| value.clone()))
        });
        let fixed = FIXED
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        let mut all: Vec<_> = own.chain(fixed).collect();
        all.sort_unstable();
        // A name that was asked for without a pattern is given back as it was written, as in Redis.
        let pair = |(name, value): (&str, String)| {
            let asked = patterns
                .iter()
                .find(|pattern| glob::matches(&pattern.to_ascii_lowercase(), name.as_bytes()))?;
            let same = asked.eq_ignore_ascii_case(name.as_bytes());
            let name = if same {
                asked.clone()
            } else {
                Bytes::copy_from_slice(name.as_bytes())
            };
            Some((Reply::Bulk(name), Reply::bulk(value)))
        };
        Reply::Map(all.into_iter().filter_map(pair).collect())
    }

    /// `CONFIG SET`: all or nothing. Returns the new configuration, for those parts that do not look here.
    ///
    /// # Errors
    /// The text for the client.
    pub(crate) fn set(&self, pairs: &[(Bytes, Bytes)]) -> Result<Arc<Config>, String> {
        let mut state = self.state.lock().expect(UNPOISONED);
        let mut raw = state.raw.clone();
        let mut seen = BTreeSet::new();
        for (name, value) in pairs {
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            let failed = |why: &str| {
                format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}")
            };
            let fixed = FIXED.iter().find(|(fixed, _)| *fixed == name);
            if let Some((_, holds)) = fixed {
                if holds.as_bytes() != value.as_ref() {
                    return Err(failed("can't set immutable config"));
                }
                continue;
            }
            let Some(spec) = options::find(&name) else {
                let name: String = name
                    .chars()
                    .map(|c| if c.is_control() { ' ' } else { c })
                    .collect();
                return Err(format!(
                    "ERR Unknown option or number of arguments for CONFIG SET - '{name}'"
                ));
            };
            if PROTECTED.contains(&spec.name) {
                return Err(failed("can't set protected config"));
            }
            if spec.name == "requirepass" {
                return Err(failed(
                    "it changes a user of the whole cluster, so that it must be set alone",
                ));
            }
            if !spec.mutable {
                return Err(failed("can't set immutable config"));
            }
            if !seen.insert(spec.name) {
                return Err(failed("duplicate parameter"));
            }
            if let Some(why) = refused(spec, value) {
                return Err(failed(&why));
            }
            let words = match spec.kind {
                Kind::List => split_args(value).ok_or_else(|| failed("a quote is not closed"))?,
                _ => vec![value.to_vec()],
            };
            if spec.kind == Kind::List {
                // Classes that are not named keep what they have.
                let mut both = raw.clone();
                both.add_by_command(spec, words);
                let config = Config::changed(both).map_err(|error| failed(&error.first()))?;
                let all = config.bare().iter().find(|(known, _)| *known == spec.name);
                let all = all.map_or("", |(_, value)| value.as_str());
                raw.set_by_command(spec, vec![all.as_bytes().to_vec()]);
            } else {
                raw.set_by_command(spec, words);
            }
            Config::changed(raw.clone()).map_err(|error| failed(&error.first()))?;
        }
        let config =
            Config::changed(raw.clone()).map_err(|error| format!("ERR {}", error.first()))?;
        let config = if seen.contains("maxclients") {
            let wanted = config.maxclients as u64;
            let room = files::room(wanted);
            if room < wanted {
                return Err(format!(
                    "ERR CONFIG SET failed (possibly related to argument 'maxclients') - The operating system is not \
                     able to handle the specified number of clients, try with {room}"
                ));
            }
            config
        } else {
            // As many as there was room for when it was set.
            config.with_maxclients(state.config.maxclients)
        };
        self.set_tls(&seen, &config)?;
        state.raw = raw;
        state.config = Arc::new(config);
        let config = state.config.clone();
        drop(state);
        self.publish(&config);
        Ok(config)
    }

    /// Uses other files or settings of TLS: all of one command together, because a key goes with its certificate.
    fn set_tls(&self, seen: &BTreeSet<&'static str>, config: &Config) -> Result<(), String> {
        let first = seen.iter().find(|name| name.starts_with("tls-"));
        let (Some(name), Some(tls)) = (first, &self.tls) else {
            return Ok(());
        };
        // Files may be on a slow disk: the other connections of this thread go to another one meanwhile.
        let set = tokio::task::block_in_place(|| tls.set(config.tls.clone()));
        set.map_err(|error| {
            format!(
                "ERR CONFIG SET failed (possibly related to argument '{name}') - Unable to update TLS configuration: \
                 {error}"
            )
        })
    }

    /// `CONFIG SET` of what is the cluster's: the change that it is.
    ///
    /// # Errors
    /// The text for the client.
    pub(crate) fn rules_change(&self, pairs: &[(Bytes, Bytes)]) -> Result<RulesChange, String> {
        history::change(pairs, &self.rules.load()).map_err(|(name, why)| {
            format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}")
        })
    }

    /// `CONFIG REWRITE`.
    ///
    /// # Errors
    /// The text for the client.
    pub(crate) fn rewrite(&self) -> Result<(), String> {
        let Some(file) = &self.file else {
            return Err("ERR The server is running without a config file".to_owned());
        };
        let state = self.state.lock().expect(UNPOISONED);
        rewrite::file(file, &state.raw)
            .map_err(|error| format!("ERR Rewriting config file: {error}"))
    }

    fn publish(&self, config: &Config) {
        let set = |place: &AtomicU64, value| place.store(value, Ordering::Relaxed);
        set(&self.clients_max, config.maxclients as u64);
        set(&self.idle_ms, config.timeout_s.saturating_mul(1000));
        set(&self.keepalive_s, config.tcp_keepalive_s);
        self.protected
            .store(config.protected_mode, Ordering::Relaxed);
        set(&self.auth_failures, config.auth_failures_max);
        set(&self.slow_micros, config.slowlog_micros.unwrap_or(NONE));
        set(&self.latency_ms, config.latency_threshold_ms);
        set(&self.hard, config.normal_output.hard);
        set(&self.soft, config.normal_output.soft);
        set(&self.soft_s, config.normal_output.seconds);
    }
}

/// Returns why a value is none of an option, in Redis' words where Redis has such options.
fn refused(spec: &OptionSpec, value: &[u8]) -> Option<String> {
    let own = match spec.kind {
        Kind::List => return None,
        _ => spec.parse(&[value.to_vec()]).err()?,
    };
    let is_number = std::str::from_utf8(value).is_ok_and(|text| text.parse::<i64>().is_ok());
    let between =
        |min: i128, max: i128| format!("argument must be between {min} and {max} inclusive");
    Some(match spec.kind {
        Kind::Integer { .. } | Kind::Signed { .. } if !is_number => {
            "argument couldn't be parsed into an integer".to_owned()
        }
        Kind::Integer { min, max } => between(min.into(), max.into()),
        Kind::Signed { min, max } => between(min.into(), max.into()),
        Kind::YesNo => "argument must be 'yes' or 'no'".to_owned(),
        Kind::Enum(words) => {
            let words = words.join(", ");
            format!("argument(s) must be one of the following: {words}")
        }
        _ => own,
    })
}

impl Default for Live {
    /// A process that was started without arguments.
    fn default() -> Self {
        let raw = RawConfig::default();
        let config = Config::new(raw).expect("nothing is wrong with nothing");
        let rules = ShownRules::new(config.history.clone());
        Self::new(config, None, None, rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(live: &Live, pairs: &[(&'static str, &'static str)]) -> Result<(), String> {
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(name, value)| (bytes(name), bytes(value)))
            .collect();
        live.set(&pairs).map(drop)
    }

    fn get(live: &Live, pattern: &'static str) -> Vec<(Reply, Reply)> {
        match live.get(&[Bytes::from_static(pattern.as_bytes())]) {
            Reply::Map(pairs) => pairs,
            other => panic!("not a map: {other:?}"),
        }
    }

    fn one(live: &Live, name: &'static str) -> String {
        match &get(live, name)[..] {
            [(_, Reply::Bulk(value))] => String::from_utf8_lossy(value).into_owned(),
            other => panic!("not one value: {other:?}"),
        }
    }

    #[test]
    fn new_values_hold_at_once_and_are_given_back() {
        let live = Live::default();
        set(
            &live,
            &[("TIMEOUT", "7"), ("slowlog-log-slower-than", "-1")],
        )
        .unwrap();
        assert_eq!(live.idle_max(), Duration::from_secs(7));
        assert_eq!(live.slow_micros(), None);
        assert_eq!(
            (one(&live, "timeout"), one(&live, "SLOWLOG-LOG-*")),
            ("7".into(), "-1".into())
        );
        set(&live, &[("slowlog-log-slower-than", "0")]).unwrap();
        assert_eq!(live.slow_micros(), Some(0));
        assert_eq!(one(&live, "save"), "");
        // As in Redis, users are no option that is shown.
        assert_eq!(get(&live, "user"), []);
        assert_eq!(
            get(&live, "*").len(),
            options::OPTIONS.len() - 1 + FIXED.len()
        );
    }

    #[test]
    fn nothing_is_set_if_one_value_is_wrong() {
        let live = Live::default();
        let failed = |name: &str, why: &str| {
            format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}")
        };
        let cases: [(&[(&str, &str)], String); 9] = [
            (
                &[("timeout", "7"), ("requirepass", "secret")],
                failed(
                    "requirepass",
                    "it changes a user of the whole cluster, so that it must be set alone",
                ),
            ),
            (
                &[("user", "alice on")],
                failed("user", "can't set immutable config"),
            ),
            (
                &[("timeout", "7"), ("nosuch", "1")],
                "ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'".to_owned(),
            ),
            (
                &[("timeout", "7"), ("port", "1")],
                failed("port", "can't set immutable config"),
            ),
            (
                &[("timeout", "7"), ("dir", "/")],
                failed("dir", "can't set protected config"),
            ),
            (
                &[("timeout", "7"), ("timeout", "8")],
                failed("timeout", "duplicate parameter"),
            ),
            (
                &[("timeout", "x")],
                failed("timeout", "argument couldn't be parsed into an integer"),
            ),
            (
                &[("appendonly", "no")],
                failed("appendonly", "can't set immutable config"),
            ),
            (
                &[("maxclients", "0")],
                failed(
                    "maxclients",
                    "argument must be between 1 and 1000000 inclusive",
                ),
            ),
        ];
        for (pairs, error) in cases {
            let pairs: Vec<_> = pairs.to_vec();
            let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
            let pairs: Vec<_> = pairs.iter().map(|(n, v)| (bytes(n), bytes(v))).collect();
            assert_eq!(live.set(&pairs).map(drop), Err(error));
        }
        assert_eq!(live.idle_max(), Duration::ZERO);
        set(&live, &[("appendonly", "yes")]).unwrap();
    }

    #[test]
    fn classes_that_are_not_named_keep_their_limits() {
        let live = Live::default();
        const NAME: &str = "client-output-buffer-limit";
        set(&live, &[(NAME, "normal 1mb 0 0")]).unwrap();
        set(&live, &[(NAME, "pubsub 2mb 1mb 0")]).unwrap();
        assert_eq!(live.output().hard, 1 << 20);
        assert_eq!(
            one(&live, NAME),
            "normal 1048576 0 0 slave 0 0 0 pubsub 2097152 1048576 0"
        );
    }
}
