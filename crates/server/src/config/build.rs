//! From what was written to what it means: values, defaults and relations.

use super::options::{self, Value};
use super::raw::{OneLine, Origin, Problem, RawConfig};
use super::values::{OutputLimit, OutputLimits, PubsubOutput, bare, member, output_limits, shown};
use super::{Allowed, BindAddr, Config, LogFormat, Secret, history};
use crate::secret_file;
use bytes::Bytes;
use corgi_base::{NodeId, Retention, Rules};
use corgi_node::InitialMember;
use corgi_session::{Acl, define, require_pass};
use slog::Level;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

/// As many as Redis takes.
const BIND_MAX: usize = 16;
/// As long as Redis takes.
const PASSWORD_BYTES_MAX: usize = 512;
/// More members make every write slower and no cluster safer.
const MEMBERS_MAX: usize = 9;

/// Everything that is wrong with a configuration. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// All problems, in the order in which they were found.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    /// Returns what is wrong first, without its place.
    pub fn first(&self) -> String {
        self.problems
            .first()
            .map_or_else(String::new, |problem| OneLine(&problem.text).to_string())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration cannot be used:")?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

pub(super) struct Builder {
    raw: RawConfig,
    problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
    effective: BTreeMap<&'static str, String>,
    bare: BTreeMap<&'static str, String>,
}

/// Works out a configuration; `starts` if the process is about to start with it, so that files must be good too.
pub(super) fn build(mut raw: RawConfig, starts: bool) -> Result<Config, ConfigError> {
    let problems = raw.take_problems();
    let mut b = Builder {
        raw,
        problems,
        warnings: Vec::new(),
        effective: BTreeMap::new(),
        bare: BTreeMap::new(),
    };
    let mut config = b.values();
    b.users(&mut config);
    b.peer_addresses(&mut config);
    b.tls(&mut config, starts);
    b.relations(&config);
    b.cautions(&config);
    if !b.problems.is_empty() {
        return Err(ConfigError {
            problems: b.problems,
        });
    }
    config.warnings = b.warnings;
    config.raw = b.raw;
    for spec in options::OPTIONS {
        let value = b
            .effective
            .remove(spec.name)
            .expect("values() reads every option");
        config.effective.push((spec.name, value));
    }
    config.bare = b.bare.into_iter().collect();
    Ok(config)
}

impl Builder {
    pub(super) fn problem(&mut self, name: &str, text: impl fmt::Display) {
        let origin = self.origin(name);
        self.problems.push(about(name, origin, &text));
    }

    pub(super) fn origin(&self, name: &str) -> Option<Origin> {
        self.raw
            .all(name)
            .last()
            .map(|setting| setting.origin.clone())
    }

    /// Returns the value of an option: the last that was written, or the default.
    fn value(&mut self, name: &'static str) -> Value {
        let spec = options::find(name).expect("a name of the table");
        let parsed = self
            .raw
            .all(name)
            .last()
            .map(|setting| spec.parse(&setting.words));
        let value = match parsed {
            None => spec.default_value(),
            Some(Ok(value)) => value,
            Some(Err(text)) => {
                self.problem(name, text);
                spec.default_value()
            }
        };
        self.effective.insert(name, shown(spec, &value));
        self.bare.insert(name, bare(spec, &value));
        value
    }

    fn number(&mut self, name: &'static str) -> u64 {
        match self.value(name) {
            Value::Number(number) => number,
            other => unreachable!("{name} is not a number but {other:?}"),
        }
    }

    fn signed(&mut self, name: &'static str) -> i64 {
        match self.value(name) {
            Value::Signed(number) => number,
            other => unreachable!("{name} is not a number but {other:?}"),
        }
    }

    /// For options whose bounds fit the type.
    fn small<T: TryFrom<u64>>(&mut self, name: &'static str) -> T {
        let number = self.number(name);
        T::try_from(number)
            .ok()
            .expect("the table's bounds fit the type")
    }

    pub(super) fn flag(&mut self, name: &'static str) -> bool {
        match self.value(name) {
            Value::Flag(flag) => flag,
            other => unreachable!("{name} is not yes or no but {other:?}"),
        }
    }

    pub(super) fn text(&mut self, name: &'static str) -> String {
        match self.value(name) {
            Value::Text(text) => text,
            other => unreachable!("{name} is not a text but {other:?}"),
        }
    }

    pub(super) fn path(&mut self, name: &'static str) -> Option<PathBuf> {
        let text = self.text(name);
        (!text.is_empty()).then(|| text.into())
    }

    pub(super) fn list(&mut self, name: &'static str) -> Vec<String> {
        match self.value(name) {
            Value::List(list) => list,
            other => unreachable!("{name} is not a list but {other:?}"),
        }
    }

    fn secret(&mut self, name: &'static str) -> Secret {
        let Value::Secret(bytes) = self.value(name) else {
            unreachable!("{name} is not a secret");
        };
        if bytes.len() > PASSWORD_BYTES_MAX {
            self.problem(name, format!("is longer than {PASSWORD_BYTES_MAX} bytes"));
        }
        if !bytes.is_empty() && bytes.trim_ascii().is_empty() {
            self.problem(
                name,
                "is nothing but blanks; leave it out or choose a real one",
            );
        }
        Secret::new(bytes)
    }

    fn values(&mut self) -> Config {
        let dir = self.path("dir").unwrap_or_else(|| {
            self.problem("dir", "must name a folder");
            PathBuf::from("./data")
        });
        let perm: u32 = self.small("unixsocketperm");
        self.appendfsync();
        let output = self.output_limits();
        Config {
            port: self.small("port"),
            tls_port: self.small("tls-port"),
            tls: None,
            bind: self.bind("bind"),
            unixsocket: self.path("unixsocket"),
            unixsocketperm: (perm != 0).then_some(perm),
            protected_mode: self.flag("protected-mode"),
            requirepass: self.secret("requirepass"),
            aclfile: self.path("aclfile"),
            acl_all_channels: self.text("acl-pubsub-default") == "allchannels",
            users: Vec::new(),
            maxclients: self.small("maxclients"),
            timeout_s: self.number("timeout"),
            tcp_keepalive_s: self.number("tcp-keepalive"),
            tcp_backlog: self.small("tcp-backlog"),
            databases: self.small("databases"),
            proto_max_bulk_len: self.small("proto-max-bulk-len"),
            dir,
            loglevel: self.loglevel(),
            logfile: self.path("logfile"),
            log_format: match self.text("log-format").as_str() {
                "json" => LogFormat::Json,
                _ => LogFormat::Term,
            },
            normal_output: output.normal.unwrap_or_default(),
            pubsub_output: PubsubOutput::new(output.pubsub.unwrap_or_default()),
            clients_output_bytes_max: match self.number("maxmemory-clients") {
                0 => u64::MAX,
                bytes => bytes,
            },
            node_id: self.node_id(),
            cluster_join: self.flag("cluster-join"),
            peer_port: self.small("peer-port"),
            peer_bind: self.bind("peer-bind"),
            initial_cluster: self.initial_cluster(),
            cluster_secret: self.secret("cluster-secret"),
            election_timeout_ms: self.number("election-timeout"),
            heartbeat_interval_ms: self.number("heartbeat-interval"),
            write_timeout_ms: self.number("write-timeout"),
            log_retain_bytes: self.number("log-retain-bytes"),
            snapshot_chunk_bytes: self.small("snapshot-chunk-bytes"),
            disk_free_bytes_min: self.number("disk-free-min"),
            disk_free_percent_min: self.number("disk-free-min-percent"),
            keys_bytes_max: self.number("maxmemory"),
            local_reads: self.text("read-consistency") == "local",
            history: self.history(),
            disk_stall_timeout_ms: self.number("disk-stall-timeout"),
            quorum_loss_timeout_ms: self.number("quorum-loss-timeout"),
            slowlog_micros: u64::try_from(self.signed("slowlog-log-slower-than")).ok(),
            client_subscriptions_max: self.number("client-subscriptions-limit"),
            client_publish_rate_max: self.number("client-publish-rate-limit"),
            auth_failures_max: self.number("auth-failures-limit"),
            acl_log_len: self.small("acllog-max-len"),
            slowlog_len: self.small("slowlog-max-len"),
            latency_threshold_ms: self.number("latency-monitor-threshold"),
            debug_command: match self.text("enable-debug-command").as_str() {
                "yes" => Allowed::All,
                "local" => Allowed::Local,
                _ => Allowed::Nobody,
            },
            raw: RawConfig::default(),
            warnings: Vec::new(),
            effective: Vec::new(),
            bare: Vec::new(),
        }
    }

    /// Reads the users, from the file or from lines.
    fn users(&mut self, config: &mut Config) {
        const NAME: &str = "user";
        let all_channels = config.acl_all_channels;
        let mut users: BTreeMap<Bytes, Bytes> = require_pass(config.requirepass.bytes())
            .into_iter()
            .collect();
        let lines: Vec<_> = self.raw.all(NAME).cloned().collect();
        let mut names = BTreeSet::new();
        for line in &lines {
            let words: Vec<Bytes> = line.words.iter().cloned().map(Bytes::from).collect();
            let wrong = match &words[..] {
                [] => Err("takes a name and rules".to_owned()),
                [name, ..] if !names.insert(name.clone()) => Err(format!(
                    "the user '{}' is defined twice",
                    name.escape_ascii()
                )),
                [name, rules @ ..] => define(name, rules, all_channels)
                    .map(|definition| drop(users.insert(name.clone(), definition))),
            };
            if let Err(text) = wrong {
                self.problems
                    .push(about(NAME, Some(line.origin.clone()), &text));
            }
        }
        let shown = names.iter().map(|name| name.escape_ascii().to_string());
        let shown = shown.collect::<Vec<_>>().join(" ");
        self.effective.insert(NAME, format!("\"{shown}\""));
        if let Some(path) = &config.aclfile {
            if !lines.is_empty() {
                self.problem(
                    NAME,
                    "cannot be used with aclfile: put all users in the file",
                );
            }
            let name = path.display().to_string();
            let read =
                secret_file::read(path).map_err(|error| format!("cannot read {name}: {error}"));
            let found = read.and_then(|read| {
                self.warnings.extend(read.warning(&name));
                Acl::from_file(&name, &read.text, all_channels)
            });
            match found {
                Ok(found) => users.extend(found),
                Err(text) => self.problem("aclfile", text),
            }
        }
        config.users = users.into_iter().collect();
    }

    fn appendfsync(&mut self) {
        let mode = self.text("appendfsync");
        if mode != "always" {
            let text = format!(
                "'{mode}' is not there yet; only 'always' is, with which an acknowledged write is \
                 on the disks of a majority"
            );
            self.problem("appendfsync", text);
        }
    }

    fn node_id(&mut self) -> Option<NodeId> {
        let id = NodeId::new(self.number("node-id"));
        id.filter(|_| self.origin("node-id").is_some())
    }

    fn loglevel(&mut self) -> Level {
        match self.text("loglevel").as_str() {
            "debug" => Level::Trace,
            "verbose" => Level::Debug,
            "warning" => Level::Warning,
            _ => Level::Info,
        }
    }

    fn bind(&mut self, name: &'static str) -> Vec<BindAddr> {
        // `bind ""` means no address, which a list of words cannot tell from nothing.
        let words = self.list(name);
        if words.len() > BIND_MAX {
            self.problem(name, format!("takes at most {BIND_MAX} addresses"));
        }
        let mut addrs = Vec::new();
        for word in &words {
            let host = word.strip_prefix('-').unwrap_or(word);
            let optional = host.len() < word.len();
            let host = match host {
                "*" => "0.0.0.0",
                "::*" => "::",
                host => host,
            };
            if host.is_empty() || host.parse::<std::net::SocketAddr>().is_ok() {
                self.problem(name, format!("'{word}' is not an address without a port"));
            }
            addrs.push(BindAddr {
                host: host.to_owned(),
                optional,
            });
        }
        addrs
    }

    /// Returns the limits of all classes, over all lines.
    fn output_limits(&mut self) -> OutputLimits {
        const NAME: &str = "client-output-buffer-limit";
        let spec = options::find(NAME).expect("a name of the table");
        let defaults: Vec<String> = spec.default.split(' ').map(str::to_owned).collect();
        let mut all = output_limits(&defaults).expect("a test parses every default");
        let lines: Vec<_> = self.raw.all(NAME).cloned().collect();
        for line in &lines {
            let parsed = spec.parse(&line.words).and_then(|value| match value {
                Value::List(words) => output_limits(&words),
                _ => unreachable!("{NAME} is a list"),
            });
            match parsed {
                Ok(limits) => {
                    all = limits.over(all);
                    let idle = |limit: Option<OutputLimit>| limit.is_some_and(|l| l.seconds != 0);
                    if idle(limits.pubsub) || limits.replica.is_some_and(|l| l.hard != 0) {
                        let origin = &line.origin;
                        self.warnings.push(format!(
                            "{origin}: {NAME}: no subscriber is closed for being slow, so that the seconds of \
                             the class pubsub have no effect, and the class replica has none"
                        ));
                    }
                }
                Err(text) => self
                    .problems
                    .push(about(NAME, Some(line.origin.clone()), &text)),
            }
        }
        self.effective.insert(NAME, all.shown());
        self.bare.insert(NAME, all.shown());
        all
    }

    /// Returns how much of channels is kept, over all lines.
    fn history(&mut self) -> Rules {
        const NAME: &str = "history";
        let spec = options::find(NAME).expect("a name of the table");
        let others = Retention {
            maxlen: self.number("history-maxlen"),
            ttl_ms: self.number("history-ttl").saturating_mul(1000),
        };
        let lines: Vec<_> = self.raw.all(NAME).cloned().collect();
        let (mut words, mut origin) = (Vec::new(), None);
        for line in &lines {
            match spec.parse(&line.words) {
                Ok(Value::List(more)) => words.extend(more),
                Ok(other) => unreachable!("{NAME} is {other:?}"),
                Err(text) => self
                    .problems
                    .push(about(NAME, Some(line.origin.clone()), &text)),
            }
            origin = Some(line.origin.clone());
        }
        let patterns = history::patterns(&words, others).unwrap_or_else(|text| {
            self.problems.push(about(NAME, origin, &text));
            Vec::new()
        });
        let shown = history::shown(&patterns);
        let quoted = if shown.is_empty() { "\"\"" } else { &shown };
        self.effective.insert(NAME, quoted.to_owned());
        self.bare.insert(NAME, shown);
        Rules {
            patterns,
            others,
            max_bytes: self.number("history-maxbytes"),
        }
    }

    fn initial_cluster(&mut self) -> Vec<InitialMember> {
        const NAME: &str = "initial-cluster";
        let words = self.list(NAME);
        let mut members: BTreeMap<NodeId, String> = BTreeMap::new();
        let mut addrs = BTreeSet::new();
        for word in words
            .iter()
            .flat_map(|word| word.split(','))
            .filter(|w| !w.is_empty())
        {
            let (id, addr) = match member(word) {
                Ok(member) => member,
                Err(text) => {
                    self.problem(NAME, text);
                    continue;
                }
            };
            if !addrs.insert(addr.to_ascii_lowercase()) {
                self.problem(NAME, format!("the address {addr} is listed twice"));
            }
            if members.insert(id, addr.to_owned()).is_some() {
                self.problem(NAME, format!("node {id} is listed twice"));
            }
        }
        if members.len() > MEMBERS_MAX {
            self.problem(NAME, format!("a cluster has at most {MEMBERS_MAX} members"));
        }
        members
            .into_iter()
            .map(|(id, addr)| InitialMember {
                id,
                addr: addr.into(),
            })
            .collect()
    }

    /// Fills in what `peer-port` and `peer-bind` are when they are not written.
    fn peer_addresses(&mut self, config: &mut Config) {
        if self.origin("peer-bind").is_none() {
            config.peer_bind = config.bind.clone();
            let shown = self.effective["bind"].clone();
            self.effective.insert("peer-bind", shown);
            let bare = self.bare["bind"].clone();
            self.bare.insert("peer-bind", bare);
        }
        if self.origin("peer-port").is_none() {
            let (name, port) = match (config.port, config.tls_port) {
                (0, port) if port != 0 => ("tls-port", port),
                (port, _) => ("port", port),
            };
            match port.checked_add(10_000) {
                Some(port) => config.peer_port = port,
                None if config.initial_cluster.is_empty() => self.warnings.push(format!(
                    "peer-port: {name} + 10000 is more than 65535 with {name} {port}, so nodes \
                     cannot reach this one; set peer-port if they should"
                )),
                None => self.problem(
                    name,
                    format!(
                        "{port} + 10000 is more than 65535 and cannot be the peer-port; set \
                         peer-port"
                    ),
                ),
            }
            self.effective
                .insert("peer-port", config.peer_port.to_string());
            self.bare.insert("peer-port", config.peer_port.to_string());
        }
    }

    fn relations(&mut self, config: &Config) {
        let (election, heartbeat) = (config.election_timeout_ms, config.heartbeat_interval_ms);
        if election < 5 * heartbeat {
            let text = format!(
                "{election} ms is less than five times heartbeat-interval ({heartbeat} ms), so \
                 that a few late signs of life would depose the leader"
            );
            self.problem("election-timeout", text);
        }
        let closed = config.port == 0 && config.tls_port == 0;
        if (closed || config.bind.is_empty()) && config.unixsocket.is_none() {
            let text =
                "no client could connect: there is neither a port and an address nor a unixsocket";
            self.problem("port", text);
        }
        if config.port != 0 && config.port == config.tls_port {
            let text = format!("{} is also the plain port", config.port);
            self.problem("tls-port", text);
        }
        let ports = [config.port, config.tls_port];
        if config.peer_port != 0 && ports.contains(&config.peer_port) {
            let text = format!("{} is also the port for clients", config.peer_port);
            self.problem("peer-port", text);
        }
        if config.cluster_join && config.peer_port == 0 {
            let text = "yes needs a peer-port, at which the cluster can call";
            self.problem("cluster-join", text);
        }
        if config.initial_cluster.is_empty() {
            return;
        }
        if config.cluster_join {
            let text = "is for the first members of a new cluster, and cluster-join yes for a node \
                 that comes later; leave one of them out";
            self.problem("initial-cluster", text);
            return;
        }
        let id = config.node_id.unwrap_or_else(Config::default_node_id);
        let own = config.initial_cluster.iter().find(|member| member.id == id);
        let Some(own) = own else {
            self.problem(
                "initial-cluster",
                format!("does not list this node, whose node-id is {id}"),
            );
            return;
        };
        let others = config.initial_cluster.len() > 1;
        let closed = config.peer_port == 0 && self.origin("peer-port").is_some();
        if others && (closed || config.peer_bind.is_empty()) {
            self.problem(
                "initial-cluster",
                "lists other nodes, but no peer-port is open for them",
            );
            return;
        }
        if config.peer_port != 0 {
            self.own_entry(config, own);
        }
    }

    /// The port at which others call this node should be the one at which it listens.
    fn own_entry(&mut self, config: &Config, own: &InitialMember) {
        let addr = String::from_utf8_lossy(&own.addr).into_owned();
        let listed = addr
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse::<u16>().ok());
        let Some(listed) = listed.filter(|port| *port != config.peer_port) else {
            return;
        };
        let (id, port) = (own.id, config.peer_port);
        if self.origin("peer-port").is_some() {
            // On purpose where a port is mapped on the way, as containers do.
            self.warnings.push(format!(
                "initial-cluster: node {id} is this node and listed with port {listed}, but its \
                 peer-port is {port}"
            ));
        } else {
            let text = format!(
                "node {id} is this node and listed with port {listed}, but its peer-port is \
                 {port} (port + 10000); set peer-port {listed}"
            );
            self.problem("initial-cluster", text);
        }
    }

    fn cautions(&mut self, config: &Config) {
        self.warnings.extend(self.raw.files_readable_by_others());
        let open = config.peer_port != 0 && config.peer_bind.iter().any(|addr| !addr.is_loopback());
        let tls = config.tls.as_ref().is_some_and(|tls| tls.cluster);
        if open && config.cluster_secret.is_empty() && !tls {
            self.warnings.push(
                "cluster-secret is empty and the peer port can be reached from other machines: \
                 whoever reaches it can pose as a node; tls-cluster keeps them out too"
                    .to_owned(),
            );
        }
        if config.write_timeout_ms < 2 * config.election_timeout_ms {
            self.warnings.push(format!(
                "write-timeout ({} ms) is less than twice election-timeout ({} ms): writes fail \
                 during an election instead of waiting for its end",
                config.write_timeout_ms, config.election_timeout_ms
            ));
        }
        if config.pubsub_output.hard == u64::MAX && config.clients_output_bytes_max == u64::MAX {
            self.warnings.push(
                "client-output-buffer-limit and maxmemory-clients: 0 is no limit: a subscriber \
                 that does not read can take all memory"
                    .to_owned(),
            );
        }
    }
}

/// The name is left out where the place already says it.
fn about(name: &str, origin: Option<Origin>, text: &dyn fmt::Display) -> Problem {
    let text = match &origin {
        Some(Origin::Argument(_) | Origin::Command) => text.to_string(),
        Some(Origin::Line { .. }) | None => format!("{name}: {text}"),
    };
    Problem { origin, text }
}
