//! Configuration: from the command line and redis.conf files to typed values.
//!
//! ```text
//!   arguments, files ──Command──▶ RawConfig ──Config::new──▶ Config ──▶ the parts of the server
//!                                 what was written           what it means
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`options`] | the table of options, from which help and docs/config.md are written |
//! | `command_line` | the arguments of `corgi-server` |
//! | `raw` | what was written, and where |
//! | `build`, `values`, `tls`, `history` | the checks of values and of their relations |
//! | `page` | the table for people |
//! | [`split`], [`units`] | words and quotes; sizes and times |
//!
//! Invariants
//! - A name that is not in the table is an error; nothing is ignored silently. What is accepted
//!   but has no effect yet is a warning.
//! - All problems are reported together, each with its file and line or its argument.
//! - Secrets never appear in `Debug`, in [`Config::effective`], in a problem or in a warning.
//!
//! Not here: how a running server takes new values (`local`), and settings that are replicated.
//!
//! Tests: each module's own, and `tests` for whole configurations and command lines.

#[cfg(test)]
mod any_text_tests;
mod build;
mod command_line;
pub(crate) mod history;
pub mod options;
mod page;
mod raw;
pub mod split;
#[cfg(test)]
mod tests;
mod tls;
pub mod units;
mod values;

pub use build::ConfigError;
pub use command_line::{Command, UsageError, help, version};
pub use page::markdown;
pub use raw::{Origin, Problem, RawConfig};
pub use values::{OutputLimit, PubsubOutput};

use crate::tls::TlsOptions;
use bytes::Bytes;
use corgi_base::{NodeId, Rules};
use corgi_node::{CursorLimits, InitialMember, Limits, Timeouts};
use corgi_session::Acl;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The largest value of `proto-max-bulk-len`.
pub const BULK_BYTES_MAX: u64 = 64 << 20;

/// What one write may take beyond `proto-max-bulk-len`: its other strings.
const WRITE_BYTES_MORE: usize = 1 << 20;
/// Keys that all blocked clients may watch together: about 100 MB.
const BLOCKED_KEYS_MAX: usize = 500_000;

/// The largest frame between nodes: the largest write that any node may take, and its surroundings. It does not follow
/// a node's own options: a leader's entry that another node did not take would stop the cluster.
pub const PEER_FRAME_BYTES_MAX: usize = BULK_BYTES_MAX as usize + 2 * WRITE_BYTES_MORE;

/// Bytes that are never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Bytes);

impl Secret {
    /// Wraps the bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "(none)" } else { "(set)" })
    }
}

/// One address of `bind` or `peer-bind`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindAddr {
    /// An IP address or a host name; `*` and `::*` have become `0.0.0.0` and `::`.
    pub host: String,
    /// Whether it may be missing on this machine.
    pub optional: bool,
}

impl BindAddr {
    /// Whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(ip) => ip.is_loopback(),
            Err(_name) => self.host.eq_ignore_ascii_case("localhost"),
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Term,
    /// One JSON object a line.
    Json,
}

/// Who may send a command that is dangerous.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Allowed {
    /// Nobody.
    #[default]
    Nobody,
    /// Clients of this machine.
    Local,
    /// All who may send commands.
    All,
}

/// What the configuration means: every default applied, every relation checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The TCP port for clients; 0 for none.
    pub port: u16,
    /// The TCP port for clients that speak TLS; 0 for none.
    pub tls_port: u16,
    /// What TLS is spoken with, if it is spoken at all.
    pub tls: Option<TlsOptions>,
    /// The addresses to listen on for clients.
    pub bind: Vec<BindAddr>,
    /// The Unix socket for clients.
    pub unixsocket: Option<PathBuf>,
    /// Its permissions, unless the umask decides.
    pub unixsocketperm: Option<u32>,
    /// Whether clients of other machines are refused while there is no password.
    pub protected_mode: bool,
    /// The password of clients; empty for none.
    pub requirepass: Secret,
    /// The file with users, if there is one.
    pub aclfile: Option<PathBuf>,
    /// Whether a new user may use all channels.
    pub acl_all_channels: bool,
    /// The definitions of users, by name.
    users: Vec<(Bytes, Bytes)>,
    /// How many clients may be connected at once.
    pub maxclients: usize,
    /// After how many idle seconds a client is closed; 0 for never.
    pub timeout_s: u64,
    /// After how many silent seconds a client's machine is probed; 0 for never.
    pub tcp_keepalive_s: u64,
    /// How many connections may wait to be accepted.
    pub tcp_backlog: u32,
    /// How many databases `SELECT` accepts.
    pub databases: u32,
    /// The longest string that a client may send.
    pub proto_max_bulk_len: usize,
    /// The folder for data.
    pub dir: PathBuf,
    /// The least important level that is logged.
    pub loglevel: slog::Level,
    /// The file to log to; standard error if there is none.
    pub logfile: Option<PathBuf>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// How many bytes of replies may wait for one client.
    pub normal_output: OutputLimit,
    /// How many bytes may wait for one subscriber.
    pub pubsub_output: PubsubOutput,
    /// How many bytes may wait for all subscribers; `u64::MAX` for no limit.
    pub clients_output_bytes_max: u64,
    /// The number of this node, if one was written.
    pub node_id: Option<NodeId>,
    /// Whether a new node waits to be let into a cluster.
    pub cluster_join: bool,
    /// The TCP port for other nodes; 0 for none.
    pub peer_port: u16,
    /// The addresses to listen on for other nodes.
    pub peer_bind: Vec<BindAddr>,
    /// The first members as written, ordered by id; empty if none were.
    pub initial_cluster: Vec<InitialMember>,
    /// What the nodes of the cluster prove to each other that they know.
    pub cluster_secret: Secret,
    /// Without a leader's sign of life before an election.
    pub election_timeout_ms: u64,
    /// Between a leader's signs of life.
    pub heartbeat_interval_ms: u64,
    /// How long a write may wait.
    pub write_timeout_ms: u64,
    /// How much of the newest log is kept at least.
    pub log_retain_bytes: u64,
    /// How much of a snapshot is sent at once.
    pub snapshot_chunk_bytes: u32,
    /// How much must be free on the disk for new writes.
    pub disk_free_bytes_min: u64,
    /// The same in percent of the disk.
    pub disk_free_percent_min: u64,
    /// How much all keys may take; 0 for no bound.
    pub keys_bytes_max: u64,
    /// Whether keys are read without a majority.
    pub local_reads: bool,
    /// How much of channels a cluster keeps that has not said so.
    pub history: Rules,
    /// How long a write to the disk may take before the process ends; 0 for ever.
    pub disk_stall_timeout_ms: u64,
    /// How long no majority may answer before subscribers are closed.
    pub quorum_loss_timeout_ms: u64,
    /// From how many microseconds on a command is slow, if any is.
    pub slowlog_micros: Option<u64>,
    /// To how many channels and patterns a client may be subscribed; 0 for no limit.
    pub client_subscriptions_max: u64,
    /// How many messages a client may publish in a second; 0 for no limit.
    pub client_publish_rate_max: u64,
    /// How many wrong passwords an address may show in a minute; 0 is no limit.
    pub auth_failures_max: u64,
    /// How many denials are kept.
    pub acl_log_len: usize,
    /// How many slow commands are kept.
    pub slowlog_len: usize,
    /// From how many milliseconds on a command is an event; 0 for never.
    pub latency_threshold_ms: u64,
    /// Who may send `DEBUG`.
    pub debug_command: Allowed,
    raw: RawConfig,
    warnings: Vec<String>,
    effective: Vec<(&'static str, String)>,
    bare: Vec<(&'static str, String)>,
}

impl Config {
    /// Works out what was written.
    ///
    /// # Errors
    /// [`ConfigError`] with all that is wrong.
    pub fn new(raw: RawConfig) -> Result<Self, ConfigError> {
        build::build(raw, true)
    }

    /// Works out what was written and then changed in a running process. The files of TLS are not read: one that is
    /// half replaced just now is no reason against another change.
    ///
    /// # Errors
    /// [`ConfigError`] with all that is wrong.
    pub(crate) fn changed(raw: RawConfig) -> Result<Self, ConfigError> {
        build::build(raw, false)
    }

    /// Returns what is allowed but should be known, a sentence each. For the log at start.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns every option with its value as in a file, in the order of the table; secrets are
    /// only shown to be set.
    pub fn effective(&self) -> &[(&'static str, String)] {
        &self.effective
    }

    /// Returns the same with room for only so many clients.
    pub(crate) fn with_maxclients(&self, clients: usize) -> Self {
        let mut config = self.clone();
        config.maxclients = clients;
        for (name, value) in config.effective.iter_mut().chain(&mut config.bare) {
            if *name == "maxclients" {
                *value = clients.to_string();
            }
        }
        config
    }

    /// Returns the users that were written: they count as long as the cluster has none.
    pub fn users(&self) -> Acl {
        Acl::stored(0, self.users.iter().cloned())
    }

    /// Returns what was written.
    pub(crate) fn raw(&self) -> &RawConfig {
        &self.raw
    }

    /// Returns every option with its value as `CONFIG GET` gives it, sorted by name; secrets are only shown to be set.
    pub fn bare(&self) -> &[(&'static str, String)] {
        &self.bare
    }

    /// Returns the number of a node for which none was written, and to which no cluster has given one.
    pub fn default_node_id() -> NodeId {
        NodeId::new(1).expect("1 is not 0")
    }

    /// Returns the first members of the cluster: those that were written, or this node, whose
    /// number is `own`, alone.
    pub fn initial_members(&self, own: NodeId) -> Vec<InitialMember> {
        if !self.initial_cluster.is_empty() {
            return self.initial_cluster.clone();
        }
        let host = self
            .peer_bind
            .first()
            .map_or("127.0.0.1", |addr| addr.host.as_str());
        let addr = if host.contains(':') {
            format!("[{host}]:{}", self.peer_port)
        } else {
            format!("{host}:{}", self.peer_port)
        };
        vec![InitialMember {
            id: own,
            addr: addr.into(),
        }]
    }

    /// Returns the node's timeouts. The tick is a sixth of the heartbeat, so that both timeouts of
    /// Raft are many ticks.
    pub fn timeouts(&self) -> Timeouts {
        Timeouts {
            tick_ms: (self.heartbeat_interval_ms / 6).max(1),
            election_ms: self.election_timeout_ms,
            heartbeat_ms: self.heartbeat_interval_ms,
            write_ms: self.write_timeout_ms,
            quorum_loss_ms: self.quorum_loss_timeout_ms,
        }
    }

    /// Returns the node's bounds. Only those on what waits for clients are options so far.
    pub fn limits(&self) -> Limits {
        Limits {
            // Large enough that an fsync is shared by many messages, small enough that an entry
            // does not hold up those behind it.
            batch_bytes_max: 256 << 10,
            // One on the disk, one on the way, and room for both to be replaced at once.
            batches_in_flight_max: 4,
            // What a request may hold, with what its encoding adds.
            write_bytes_max: self.proto_max_bulk_len + WRITE_BYTES_MORE,
            pending_bytes_max: 16 << 20,
            client_queue_bytes_max: self.pubsub_output.hard,
            client_queue_bytes_low: self.pubsub_output.low,
            clients_queue_bytes_max: self.clients_output_bytes_max,
            cursors: CursorLimits::default(),
            // For two others with a million channels each, which take about 200 bytes.
            counts_bytes_max: 512 << 20,
            append_bytes_max: 256 << 10,
            inflight_appends_max: 128,
            uncommitted_bytes_max: 64 << 20,
            committed_bytes_max: 8 << 20,
            tail_bytes_max: 64 << 20,
            snapshot_chunk_bytes: self.snapshot_chunk_bytes,
            disk_free_bytes_min: self.disk_free_bytes_min,
            disk_free_percent_min: self.disk_free_percent_min,
            keys_bytes_max: self.keys_bytes_max,
            blocked_keys_max: BLOCKED_KEYS_MAX,
        }
    }

    /// Returns how long a write to the disk may take before the process ends.
    pub(crate) fn disk_stall(&self) -> Option<Duration> {
        let ms = self.disk_stall_timeout_ms;
        (ms > 0).then(|| Duration::from_millis(ms))
    }
}
