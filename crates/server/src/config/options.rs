//! The table of options: the one place that says which names there are and what each takes.
//!
//! `--help`, `docs/config.md`, the parser and the suggestion for a misspelt name all read it. It
//! holds only what works: a name of redis.conf that is missing here is an error, not ignored.

use super::split::split_args;
use super::units;

/// What an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number within bounds, both included.
    Integer {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// A whole number that may be negative, within bounds, both included.
    Signed {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// A memory size within bounds, both included.
    Memory {
        /// The least, in bytes.
        min: u64,
        /// The greatest, in bytes.
        max: u64,
    },
    /// A time within bounds, both included.
    Millis {
        /// The least, in milliseconds.
        min: u64,
        /// The greatest, in milliseconds.
        max: u64,
    },
    /// File permissions in octal.
    Octal,
    /// `yes` or `no`.
    YesNo,
    /// One word of text; `""` for none.
    Text,
    /// One word of bytes that is never shown.
    Secret,
    /// One of these words.
    Enum(&'static [&'static str]),
    /// Any number of words, also written as one word with blanks in it.
    List,
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// Its name, in lower case.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What it is when it is not written: a value as in a file, or empty if `derived` says it.
    pub default: &'static str,
    /// Where the default comes from when it is not a fixed value.
    pub derived: Option<&'static str>,
    /// What it is for, in one sentence.
    pub doc: &'static str,
    /// Whether a running server takes a new value by `CONFIG SET`.
    pub mutable: bool,
}

/// A value that has the form its option asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Of the numeric kinds.
    Number(u64),
    /// Of [`Kind::Signed`].
    Signed(i64),
    /// Of [`Kind::YesNo`].
    Flag(bool),
    /// Of [`Kind::Text`] and [`Kind::Enum`], the latter in lower case.
    Text(String),
    /// Of [`Kind::Secret`].
    Secret(Vec<u8>),
    /// Of [`Kind::List`].
    List(Vec<String>),
}

const fn option(name: &'static str, kind: Kind, default: &'static str) -> OptionSpec {
    OptionSpec {
        name,
        kind,
        default,
        derived: None,
        doc: "",
        mutable: false,
    }
}

impl OptionSpec {
    const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }

    const fn derived(mut self, from: &'static str) -> Self {
        self.derived = Some(from);
        self
    }

    const fn mutable(mut self) -> Self {
        self.mutable = true;
        self
    }

    /// Reads what was written behind the name.
    pub(crate) fn parse(&self, words: &[Vec<u8>]) -> Result<Value, String> {
        if self.kind == Kind::List {
            return list(words).map(Value::List);
        }
        let [word] = words else {
            return Err(format!("takes one value, {} were given", words.len()));
        };
        if self.kind == Kind::Secret {
            return Ok(Value::Secret(word.clone()));
        }
        let text = as_text(word)?;
        match self.kind {
            Kind::Integer { min, max } => bounded(units::integer(text)?, min, max, ""),
            Kind::Signed { min, max } => match units::signed(text)? {
                number if (min..=max).contains(&number) => Ok(Value::Signed(number)),
                number => Err(format!(
                    "{number} is out of range, it must be {min} to {max}"
                )),
            },
            Kind::Memory { min, max } => bounded(units::memory(text)?, min, max, " bytes"),
            Kind::Millis { min, max } => bounded(units::millis(text)?, min, max, " ms"),
            Kind::Octal => bounded(units::octal(text)?, 0, 0o777, ""),
            Kind::YesNo => match text.to_ascii_lowercase().as_str() {
                "yes" => Ok(Value::Flag(true)),
                "no" => Ok(Value::Flag(false)),
                _ => Err(format!("'{text}' is neither 'yes' nor 'no'")),
            },
            Kind::Enum(words) => {
                let lower = text.to_ascii_lowercase();
                if words.contains(&lower.as_str()) {
                    Ok(Value::Text(lower))
                } else {
                    Err(format!("'{text}' is not one of: {}", words.join(", ")))
                }
            }
            Kind::Text => Ok(Value::Text(text.to_owned())),
            Kind::Secret | Kind::List => unreachable!("handled above"),
        }
    }

    /// Returns the value of the default.
    pub(crate) fn default_value(&self) -> Value {
        let mut words = split_args(self.default.as_bytes()).expect("a test parses every default");
        if words.is_empty() && self.kind != Kind::List {
            words.push(Vec::new());
        }
        self.parse(&words).expect("a test parses every default")
    }
}

fn bounded(number: u64, min: u64, max: u64, unit: &str) -> Result<Value, String> {
    if (min..=max).contains(&number) {
        Ok(Value::Number(number))
    } else {
        Err(format!(
            "{number}{unit} is out of range, it must be {min} to {max}{unit}"
        ))
    }
}

fn as_text(word: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(word)
        .map_err(|_not_text| format!("'{}' is not UTF-8 text", String::from_utf8_lossy(word)))
}

fn list(words: &[Vec<u8>]) -> Result<Vec<String>, String> {
    let mut list = Vec::new();
    for word in words {
        list.extend(as_text(word)?.split_ascii_whitespace().map(str::to_owned));
    }
    Ok(list)
}

const PORT: Kind = Kind::Integer { min: 0, max: 65535 };
const SECONDS: Kind = Kind::Integer {
    min: 0,
    max: 0x7fff_ffff,
};

/// All options, in the order in which they are shown.
pub static OPTIONS: &[OptionSpec] = &[
    option("port", PORT, "6379").doc("The TCP port for clients; 0 opens none."),
    option("bind", Kind::List, "127.0.0.1 -::1").doc(
        "The addresses to listen on for clients; `*` is every IPv4 address, `::*` every IPv6 \
         address, and `-` before one means that it may be missing on this machine.",
    ),
    option("tls-port", PORT, "0")
        .doc("The TCP port for clients that speak TLS, beside or instead of `port`; 0 opens none."),
    option("tls-cert-file", Kind::Text, "").mutable().doc(
        "The PEM file with this node's certificate, followed by those that lead from it to the \
         authority's; for `tls-port` and `tls-cluster`. Read again at `SIGHUP`, with the three below.",
    ),
    option("tls-key-file", Kind::Text, "")
        .mutable()
        .doc("The PEM file with the key of `tls-cert-file`."),
    option("tls-ca-cert-file", Kind::Text, "").mutable().doc(
        "The PEM file with the certificates of the authorities that clients' certificates, and \
         those of the other nodes, must come from.",
    ),
    option("tls-ca-cert-dir", Kind::Text, "")
        .mutable()
        .doc("A folder of files like `tls-ca-cert-file`."),
    option(
        "tls-auth-clients",
        Kind::Enum(&["yes", "no", "optional"]),
        "yes",
    )
    .mutable()
    .doc(
        "Whether clients of `tls-port` must show a certificate (`yes`), may (`optional`), or are \
         not asked (`no`).",
    ),
    option("tls-auth-clients-user", Kind::Enum(&["off", "cn"]), "off")
        .mutable()
        .doc(
            "Whether a client of `tls-port` is the user whose name is the common name (`cn`) of the certificate that \
             it shows, without a password. Without such a user, or if that is `off`, it is `default` as on `port`.",
        ),
    option("tls-protocols", Kind::List, "TLSv1.2 TLSv1.3")
        .mutable()
        .doc("Which of TLSv1.2 and TLSv1.3 are spoken; older ones are not safe and never are."),
    option("tls-cluster", Kind::YesNo, "no").doc(
        "Whether the nodes talk TLS to each other; each shows `tls-cert-file`, which must come \
         from `tls-ca-cert-file` and be good for servers and for clients. The same on all nodes.",
    ),
    option("unixsocket", Kind::Text, "")
        .doc("The path of a Unix socket for clients, beside or instead of the TCP port."),
    option("unixsocketperm", Kind::Octal, "0")
        .doc("The permissions of the Unix socket; 0 leaves them to the umask."),
    option("protected-mode", Kind::YesNo, "yes")
        .mutable()
        .doc("Refuses clients that do not come from this machine while there is no `requirepass`."),
    option("requirepass", Kind::Secret, "").mutable().doc(
        "The password of the user `default`, for a cluster that has no users yet. Later it has no \
         effect in a file, and is changed with `ACL SETUSER`, or with `CONFIG SET` alone. An \
         `aclfile` with a user `default` goes before it.",
    ),
    option("user", Kind::List, "").derived("nobody but `default`").doc(
        "A user and its rules, as `ACL SETUSER` takes them, for a cluster that has no users yet; \
         may be given several times, but not with `aclfile`.",
    ),
    option("aclfile", Kind::Text, "").doc(
        "The path of a file with a line `user <name> <rules>` for each user. It is read at start \
         for a cluster that has no users yet, and by `ACL LOAD`; `ACL SAVE` writes it.",
    ),
    option(
        "acl-pubsub-default",
        Kind::Enum(&["resetchannels", "allchannels"]),
        "resetchannels",
    )
    .doc("Which channels a new user may use before a rule says so: none, or all."),
    option(
        "acllog-max-len",
        Kind::Integer {
            min: 0,
            max: 1_000_000,
        },
        "128",
    )
    .mutable()
    .doc("How many entries of what was denied are kept for `ACL LOG`."),
    option(
        "maxclients",
        Kind::Integer {
            min: 1,
            max: 1_000_000,
        },
        "10000",
    )
    .mutable()
    .doc("How many clients may be connected at once; one more is refused with an error."),
    option("timeout", SECONDS, "0")
        .mutable()
        .doc("Closes a client that has been idle for so many seconds; 0 never does."),
    option("tcp-keepalive", SECONDS, "300").mutable().doc(
        "After so many seconds of silence a client's machine is asked for a sign of life; 0 \
         never asks.",
    ),
    option("tcp-backlog", Kind::Integer { min: 1, max: 65535 }, "511")
        .doc("How many connections may wait to be accepted; the system may hold fewer."),
    option(
        "databases",
        Kind::Integer {
            min: 1,
            max: 16,
        },
        "16",
    )
    .doc("How many databases `SELECT` accepts; channels are the same in all of them, as in Redis."),
    option(
        "proto-max-bulk-len",
        Kind::Memory {
            min: 1 << 20,
            max: super::BULK_BYTES_MAX,
        },
        "16mb",
    )
    .doc("The longest string that a client may send, and so the largest message."),
    option(
        "appendfsync",
        Kind::Enum(&["always", "everysec", "no"]),
        "always",
    )
    .doc(
        "When the log is forced to the disk; only `always`, before a write is acknowledged, is \
         there yet.",
    ),
    option("dir", Kind::Text, "./data").doc("The folder for data, created if it is missing."),
    option(
        "loglevel",
        Kind::Enum(&["debug", "verbose", "notice", "warning"]),
        "notice",
    )
    .mutable()
    .doc("How much is logged: each level includes those behind it."),
    option("logfile", Kind::Text, "")
        .doc("The file to log to, appended; without one the log goes to standard error."),
    option("log-format", Kind::Enum(&["term", "json"]), "term")
        .doc("Log lines for people (`term`) or one JSON object a line (`json`)."),
    option(
        "client-output-buffer-limit",
        Kind::List,
        "normal 64mb 0 0 pubsub 1mb 256kb 0",
    )
    .mutable()
    .doc(
        "Groups of class, hard limit, soft limit and seconds; may be written once for each \
         class. A client of the class `normal` is closed when more than the hard limit of replies waits for \
         it, or more than the soft limit for so many seconds; 0 is no limit. Of the class `pubsub` the sizes \
         count: a subscriber for which more than the hard \
         limit waits gets what follows from the log on disk, in parts, whenever no more than the \
         soft limit waits, until it has caught up. A hard limit of 0 is none; a soft limit of 0 is \
         a quarter of the hard limit, and it is never more than half of it. No subscriber is \
         closed for being slow, so that its seconds, and the class `replica`, have no effect.",
    ),
    option(
        "maxmemory",
        Kind::Memory {
            min: 0,
            max: u64::MAX,
        },
        "256mb",
    )
    .doc(
        "How much the keys of all databases may take; beyond that what adds something is refused with `-OOM`, at the \
         node that it is sent to. 0 is no limit. Nothing is evicted.",
    ),
    option("read-consistency", Kind::Enum(&["linearizable", "local"]), "linearizable").doc(
        "Whether a read of keys asks a majority, and so sees all that was acknowledged before it (`linearizable`), or is \
         answered from what this node has, also without a majority (`local`).",
    ),
    option("history-maxlen", Kind::Integer { min: 0, max: u64::MAX }, "1000").mutable().doc(
        "How many of the newest messages of each channel are kept, to be read under `__history__:<channel>`; 0 keeps \
         none. This and the next three are the whole cluster's: those of a file count for one that has not been told, \
         from its leader, and `CONFIG SET` on any node changes them on all.",
    ),
    option("history-ttl", SECONDS, "300").mutable().doc("For how many seconds; 0 keeps none."),
    option(
        "history-maxbytes",
        Kind::Memory {
            min: 0,
            max: 1 << 50,
        },
        "1gb",
    )
    .mutable()
    .doc(
        "How much may be kept of all channels together, each message with 64 bytes more than its payload; beyond that \
         the oldest go first.",
    ),
    option("history", Kind::List, "").derived("no pattern").mutable().doc(
        "`<pattern> [maxlen <n>] [ttl <seconds>]`: other limits for the channels that match; the first pattern that \
         matches counts, and what it does not say is as for all others. May be given several times in a file; \
         `CONFIG SET history` gives all patterns at once.",
    ),
    option(
        "maxmemory-clients",
        Kind::Memory {
            min: 0,
            max: u64::MAX,
        },
        "128mb",
    )
    .mutable()
    .doc(
        "How much may wait for all subscribers together; 0 is no limit. Each of them may have an \
         eighth of what is free of it (but always an eighth of the soft limit for subscribers); \
         beyond that it gets what follows from the log, and nobody is closed. As much again may be what all clients have \
         sent and is not executed yet; beyond that those that hold most of it are closed, but for those with \
         `CLIENT NO-EVICT ON`.",
    ),
    option(
        "client-subscriptions-limit",
        Kind::Integer {
            min: 0,
            max: u64::MAX,
        },
        "0",
    )
    .doc(
        "To how many channels and patterns together one client may be subscribed; 0 is no limit. A `SUBSCRIBE` that \
         could pass it is an error and subscribes to nothing.",
    ),
    option(
        "client-publish-rate-limit",
        Kind::Integer {
            min: 0,
            max: 1_000_000,
        },
        "0",
    )
    .doc(
        "How many messages one client may publish in a second, all at once if it likes; 0 is no limit. What comes \
         faster gets `-TRYAGAIN` and is not published.",
    ),
    option("auth-failures-limit", Kind::Integer { min: 0, max: 1_000_000 }, "0")
        .mutable()
        .doc(
            "How many wrong passwords one address may show to this node in a minute; 0 is no limit. Beyond, the \
             connection is closed and new ones from that address are turned away until the minute is over. Behind a \
             proxy all clients have one address.",
        ),
    option("slowlog-log-slower-than", Kind::Signed { min: -1, max: i64::MAX }, "10000")
        .mutable()
        .doc(
            "Commands that take at least so many microseconds are kept for `SLOWLOG`; 0 keeps all, -1 none. A \
             write takes until a majority has it on disk.",
        ),
    option("slowlog-max-len", Kind::Integer { min: 0, max: 1_000_000 }, "128")
        .mutable()
        .doc("How many of them are kept."),
    option("latency-monitor-threshold", Kind::Integer { min: 0, max: 0x7fff_ffff }, "0")
        .mutable()
        .doc("Commands that take at least so many milliseconds are events for `LATENCY`; 0 is none."),
    option("enable-debug-command", Kind::Enum(&["no", "yes", "local"]), "no")
        .doc("Whether `DEBUG SLEEP` is allowed: to nobody, to all, or to clients of this machine."),
    option(
        "node-id",
        Kind::Integer {
            min: 1,
            max: u64::MAX,
        },
        "1",
    )
    .doc(
        "The number of this node in its cluster; never reused, also not after a node has lost \
         its data.",
    ),
    option("cluster-join", Kind::YesNo, "no").doc(
        "A node with an empty `dir` waits until `CLUSTER MEET` on a member names its host and peer \
         port. The cluster gives it a `node-id` if none is written. Ignored once it belongs to a \
         cluster.",
    ),
    option("peer-port", PORT, "0")
        .derived("`port` (or else `tls-port`) + 10000")
        .doc("The TCP port for the other nodes of the cluster; 0 opens none."),
    option("peer-bind", Kind::List, "")
        .derived("`bind`")
        .doc("The addresses to listen on for the other nodes, written as for `bind`."),
    option("initial-cluster", Kind::List, "").doc(
        "The first members of a new cluster, this one among them: \
         `1=host:peerport,2=host:peerport,3=host:peerport`. Ignored once the cluster exists; \
         without it a node is a cluster of one.",
    ),
    option("cluster-secret", Kind::Secret, "")
        .doc("What the nodes of a cluster prove to each other that they know; it is never sent."),
    option(
        "election-timeout",
        Kind::Millis {
            min: 50,
            max: 60_000,
        },
        "600",
    )
    .doc(
        "Without a sign of life of the leader for so long, up to twice this, a follower starts \
         an election; at least five times `heartbeat-interval`.",
    ),
    option(
        "heartbeat-interval",
        Kind::Millis {
            min: 6,
            max: 10_000,
        },
        "60",
    )
    .doc("How often the leader gives a sign of life; also sets the clock tick, a sixth of it."),
    option(
        "write-timeout",
        Kind::Millis {
            min: 100,
            max: 600_000,
        },
        "2500",
    )
    .doc(
        "How long a write may wait for a majority before its client is told that it failed or \
         that its fate is unknown.",
    ),
    option(
        "quorum-loss-timeout",
        Kind::Millis {
            min: 100,
            max: 600_000,
        },
        "3000",
    )
    .doc(
        "A node that no majority has answered for so long closes its subscribers and refuses new \
         ones with `-CLUSTERDOWN`, until one answers again.",
    ),
    option(
        "log-retain-bytes",
        Kind::Memory {
            min: 4 << 10,
            max: 1 << 50,
        },
        "1gb",
    )
    .doc(
        "How much of the newest log is kept at least, for subscribers and nodes that are behind. A subscriber that \
         needs older messages is closed with `-LAGGED`, a node gets a snapshot.",
    ),
    option(
        "snapshot-chunk-bytes",
        Kind::Memory {
            min: 1,
            max: 1 << 20,
        },
        "256kb",
    )
    .doc("How much of a snapshot is sent to a node at once."),
    option(
        "disk-free-min",
        Kind::Memory {
            min: 0,
            max: 1 << 50,
        },
        "1gb",
    )
    .doc(
        "With less free on the disk of `dir`, new writes are refused with `-MISCONF` until a fifth \
         more is free; also where the leader, or too many others, have so little.",
    ),
    option(
        "disk-free-min-percent",
        Kind::Integer { min: 0, max: 50 },
        "5",
    )
    .doc("The same in percent of the disk's size; the larger of `disk-free-min` and this counts."),
    option(
        "disk-stall-timeout",
        Kind::Millis {
            min: 0,
            max: 3_600_000,
        },
        "20000",
    )
    .doc(
        "When one write to the disk of `dir` takes longer, the process ends; 0 lets it hang. A leader gives leadership \
         away after a second.",
    ),
];

/// Names of redis.conf that clients and tools ask for, with what holds here. They cannot be written.
pub static FIXED: &[(&str, &str)] = &[
    ("appendonly", "yes"),
    ("cluster-enabled", "no"),
    ("daemonize", "no"),
    ("dbfilename", ""),
    ("io-threads", "1"),
    ("latency-tracking", "yes"),
    ("lazyfree-lazy-eviction", "no"),
    ("lua-time-limit", "0"),
    ("masterauth", ""),
    ("maxmemory-policy", "noeviction"),
    ("min-replicas-to-write", "0"),
    ("min-slaves-to-write", "0"),
    ("notify-keyspace-events", ""),
    ("repl-backlog-size", "0"),
    ("replica-read-only", "no"),
    ("replicaof", ""),
    ("save", ""),
    ("slave-read-only", "no"),
    ("slaveof", ""),
    ("supervised", "no"),
];

/// Returns the option of that name, in upper or lower case.
pub fn find(name: &str) -> Option<&'static OptionSpec> {
    OPTIONS
        .iter()
        .find(|spec| spec.name.eq_ignore_ascii_case(name))
}

/// Returns the option whose name is nearest to a misspelt one, if one is near enough to be meant.
pub fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    OPTIONS
        .iter()
        .map(|spec| {
            (
                edit_distance(name.as_bytes(), spec.name.as_bytes()),
                spec.name,
            )
        })
        .filter(|(distance, known)| *distance <= 1.max(known.len() / 4))
        .min()
        .map(|(_, known)| known)
}

/// How many bytes must be changed, added, left out or exchanged with their neighbour.
fn edit_distance(a: &[u8], b: &[u8]) -> usize {
    // A name that is much too long is near to none; this also bounds the work.
    if a.len() > 64 {
        return usize::MAX;
    }
    let mut cost = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            cost[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let same = usize::from(a[i - 1] != b[j - 1]);
                let mut best = cost[i - 1][j - 1] + same;
                best = best.min(cost[i - 1][j] + 1).min(cost[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(cost[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    cost[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_has_the_form_it_asks_for() {
        for spec in OPTIONS {
            spec.default_value();
            assert!(spec.doc.ends_with('.'), "{}", spec.name);
            assert_eq!(spec.name, spec.name.to_ascii_lowercase());
            assert_eq!(
                OPTIONS
                    .iter()
                    .filter(|other| other.name == spec.name)
                    .count(),
                1
            );
        }
    }

    #[test]
    fn a_misspelt_name_is_recognised_and_a_foreign_one_is_not() {
        assert_eq!(nearest("prot"), Some("port"));
        assert_eq!(nearest("porrt"), Some("port"));
        assert_eq!(nearest("requirepas"), Some("requirepass"));
        assert_eq!(nearest("initial-clutser"), Some("initial-cluster"));
        assert_eq!(nearest("LogFile2"), Some("logfile"));
        assert_eq!(nearest("daemonize"), None);
        assert_eq!(nearest(&"x".repeat(1000)), None);
    }
}
