//! The command table: one row a command, sorted, data and a parser.
//!
//! What Redis publishes about a command (arity, flags, ACL categories, tips) was compared with the
//! answers of `COMMAND INFO` from real servers; client libraries route and retry by it. `COMMAND`,
//! the documentation and the tests are made from these rows. To add a command: a row here, a parser
//! and an action in `commands`.

mod client;
mod generic;
mod groups;
mod streams;
mod strings;
mod subcommands;

use crate::commands::{
    Args, Command, admin, cluster, command, connection, lolwut, pubsub, scripting, server,
    transaction,
};
use crate::errors::ErrorText;
use crate::keys::{BeginSearch, ChannelSpec, FindKeys, KeyFlags, KeySpec};
use corgi_base::SubscriptionKind::{Channel, Pattern, Shard};
use std::fmt;

/// Properties of a command, as `COMMAND INFO` shows them, and where it may run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// Concerns channels.
    pub const PUBSUB: Self = Self(1);
    /// Not from scripts.
    pub const NOSCRIPT: Self = Self(1 << 1);
    /// Also while data is loaded.
    pub const LOADING: Self = Self(1 << 2);
    /// Also on a node with old data.
    pub const STALE: Self = Self(1 << 3);
    /// Takes no time that grows with data.
    pub const FAST: Self = Self(1 << 4);
    /// Also before `AUTH`.
    pub const NO_AUTH: Self = Self(1 << 5);
    /// Also while a script runs for long.
    pub const ALLOW_BUSY: Self = Self(1 << 6);
    /// Changes how the server runs.
    pub const ADMIN: Self = Self(1 << 8);
    /// Not shown to `MONITOR`: what it runs is.
    pub const SKIP_MONITOR: Self = Self(1 << 16);
    /// May have no keys although it has a place for them.
    pub const NO_MANDATORY_KEYS: Self = Self(1 << 17);
    /// Where the keys are depends on other arguments.
    pub const MOVABLEKEYS: Self = Self(1 << 18);
    /// Not in the slow log: what it runs is.
    pub const SKIP_SLOWLOG: Self = Self(1 << 14);
    /// Not queued between `MULTI` and `EXEC`. Not shown by `COMMAND INFO`.
    pub const NOT_QUEUED: Self = Self(1 << 15);
    /// Also in RESP2's subscribed mode. Not shown by `COMMAND INFO`.
    pub const IN_SUBSCRIBED: Self = Self(1 << 7);
    /// Changes data.
    pub const WRITE: Self = Self(1 << 19);
    /// Refused when there is too much data.
    pub const DENYOOM: Self = Self(1 << 20);
    /// Reads or changes keys: in a transaction part of its one step. Not shown by `COMMAND INFO`.
    pub const KEYSPACE: Self = Self(1 << 21);
    /// Only reads data.
    pub const READONLY: Self = Self(1 << 10);
    /// May wait.
    pub const BLOCKING: Self = Self(1 << 11);
    /// Not while a copy of the data is loaded.
    pub const NO_ASYNC_LOADING: Self = Self(1 << 12);
    /// Not between `MULTI` and `EXEC`.
    pub const NO_MULTI: Self = Self(1 << 13);
    /// Changes data, or what others see: waits while writes are paused. Not shown by `COMMAND INFO`.
    pub const WRITES: Self = Self(1 << 9);

    const NONE: Self = Self(0);
    /// In the order in which Redis lists them.
    const NAMES: [(Self, &'static str); 18] = [
        (Self::WRITE, "write"),
        (Self::READONLY, "readonly"),
        (Self::DENYOOM, "denyoom"),
        (Self::ADMIN, "admin"),
        (Self::PUBSUB, "pubsub"),
        (Self::NOSCRIPT, "noscript"),
        (Self::BLOCKING, "blocking"),
        (Self::LOADING, "loading"),
        (Self::STALE, "stale"),
        (Self::SKIP_MONITOR, "skip_monitor"),
        (Self::SKIP_SLOWLOG, "skip_slowlog"),
        (Self::FAST, "fast"),
        (Self::NO_AUTH, "no_auth"),
        (Self::NO_MANDATORY_KEYS, "no_mandatory_keys"),
        (Self::MOVABLEKEYS, "movablekeys"),
        (Self::NO_ASYNC_LOADING, "no_async_loading"),
        (Self::NO_MULTI, "no_multi"),
        (Self::ALLOW_BUSY, "allow_busy"),
    ];

    /// Returns whether all of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns the flags of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the names that `COMMAND INFO` shows, in Redis' order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .into_iter()
            .filter(move |(flag, _)| self.contains(*flag))
            .map(|(_, name)| name)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// Turns the arguments after the name (and subcommand) into a command. The arity has been checked.
pub(crate) type Parse = fn(&mut Args) -> Result<Command, ErrorText>;

/// One command or subcommand.
#[derive(Debug)]
pub struct Spec {
    /// Lower case; a subcommand's is `command|subcommand`.
    pub name: &'static str,
    /// How many arguments, the name counted; negative means at least so many.
    pub arity: i8,
    /// See [`Flags`].
    pub flags: Flags,
    /// ACL categories, with their `@`.
    pub categories: &'static [&'static str],
    /// Hints for clients of clusters: how to route, how to combine replies.
    pub tips: &'static [&'static str],
    /// Which arguments are keys.
    pub keys: &'static [KeySpec],
    /// Which arguments are channels, as far as access to them is checked.
    pub channels: Option<ChannelSpec>,
    /// Sorted by name; a row with subcommands is only their container unless it may also stand
    /// alone.
    pub subcommands: &'static [Self],
    pub(crate) parse: Parse,
}

impl Spec {
    /// Returns whether a request of `count` arguments, the name counted, can be this command.
    pub fn accepts(&self, count: usize) -> bool {
        let wanted = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 {
            count >= wanted
        } else {
            count == wanted
        }
    }
}

/// Returns all commands, sorted by name.
pub fn commands() -> &'static [Spec] {
    COMMANDS
}

/// Finds a command by its name in any case.
pub(crate) fn find(name: &[u8]) -> Option<&'static Spec> {
    search(COMMANDS, 0, name)
}

/// Finds a subcommand by the name after the `|` in any case.
pub(crate) fn find_subcommand(container: &'static Spec, name: &[u8]) -> Option<&'static Spec> {
    search(container.subcommands, container.name.len() + 1, name)
}

/// Compares `name` with the rows' names from byte `skip` on.
fn search(rows: &'static [Spec], skip: usize, name: &[u8]) -> Option<&'static Spec> {
    let wanted = || name.iter().map(u8::to_ascii_lowercase);
    rows.binary_search_by(|row| row.name.bytes().skip(skip).cmp(wanted()))
        .ok()
        .map(|i| &rows[i])
}

/// A command that is only the name of its subcommands; the arity check lets nothing get here.
const fn container(
    name: &'static str,
    categories: &'static [&'static str],
    subcommands: &'static [Spec],
) -> Spec {
    let row = row(name, -2, Flags::NONE, categories, command::parse_container);
    Spec { subcommands, ..row }
}

const fn row(
    name: &'static str,
    arity: i8,
    flags: Flags,
    categories: &'static [&'static str],
    parse: Parse,
) -> Spec {
    Spec {
        name,
        arity,
        flags,
        categories,
        tips: &[],
        keys: &[],
        channels: None,
        subcommands: &[],
        parse,
    }
}

const fn with_tips(row: Spec, tips: &'static [&'static str]) -> Spec {
    Spec { tips, ..row }
}

const fn with_keys(row: Spec, keys: &'static [KeySpec]) -> Spec {
    Spec { keys, ..row }
}

const fn with_channels(row: Spec, channels: ChannelSpec) -> Spec {
    let channels = Some(channels);
    Spec { channels, ..row }
}

const ANY_TIME: Flags = Flags::LOADING.with(Flags::STALE);
const QUICK: Flags = ANY_TIME.with(Flags::FAST);
const HANDSHAKE: Flags = QUICK
    .with(Flags::NOSCRIPT)
    .with(Flags::NO_AUTH)
    .with(Flags::ALLOW_BUSY);
const OF_CLIENT: Flags = ANY_TIME.with(Flags::NOSCRIPT);
const LISTEN: Flags = ANY_TIME
    .with(Flags::PUBSUB)
    .with(Flags::NOSCRIPT)
    .with(Flags::IN_SUBSCRIBED);
const AROUND_EXEC: Flags = QUICK
    .with(Flags::NOSCRIPT)
    .with(Flags::ALLOW_BUSY)
    .with(Flags::NOT_QUEUED);
const SCRIPTED: Flags = Flags::NOSCRIPT
    .with(Flags::STALE)
    .with(Flags::SKIP_MONITOR)
    .with(Flags::WRITES)
    .with(Flags::NO_MANDATORY_KEYS)
    .with(Flags::MOVABLEKEYS);
const CHANGE: Flags = ANY_TIME.with(Flags::ADMIN);
const MANAGE: Flags = CHANGE.with(Flags::NOSCRIPT);
const COUNT: Flags = ANY_TIME.with(Flags::PUBSUB);

const FAST_CONNECTION: &[&str] = &["@fast", "@connection"];
const FAST_TRANSACTION: &[&str] = &["@fast", "@transaction"];
const SLOW_CONNECTION: &[&str] = &["@slow", "@connection"];
const SCRIPTING: &[&str] = &["@slow", "@scripting"];
const SLOW_PUBSUB: &[&str] = &["@pubsub", "@slow"];

const ADMIN: &[&str] = &["@admin", "@slow", "@dangerous"];
const ADMIN_CONNECTION: &[&str] = &["@admin", "@slow", "@dangerous", "@connection"];

/// As many keys as an argument says, and no telling what is done with them.
const SCRIPT_KEYS: &[KeySpec] = &[KeySpec {
    flags: KeyFlags::RW.with(KeyFlags::ACCESS).with(KeyFlags::UPDATE),
    begin: BeginSearch::Index(2),
    find: FindKeys::KeyNum {
        number: 0,
        first: 1,
        step: 1,
    },
}];

/// A shard channel is routed by its slot, as a key is.
const SHARD_CHANNEL: &[KeySpec] = &[KeySpec::one(KeyFlags::NOT_KEY, 1)];
const SHARD_CHANNELS: &[KeySpec] = &[KeySpec::range(KeyFlags::NOT_KEY, 1, -1)];

const SAVES: Flags = Flags::ADMIN
    .with(Flags::NOSCRIPT)
    .with(Flags::NO_ASYNC_LOADING);
const FOLLOWS: Flags = SAVES.with(Flags::STALE);
const WAITING: &[&str] = &["@slow", "@blocking", "@connection"];
const VARYING: &[&str] = &["nondeterministic_output"];
const AT_LEAST: &[&str] = &["request_policy:all_shards", "response_policy:agg_min"];
const EACH_NODE: &[&str] = &[
    "nondeterministic_output",
    "request_policy:all_nodes",
    "response_policy:special",
];

const UNORDERED: &[&str] = &["nondeterministic_output_order"];
const ALL_NODES: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];
const ALL_SHARDS: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];
const PER_SHARD: &[&str] = &[
    "nondeterministic_output",
    "request_policy:all_shards",
    "response_policy:special",
];

static COMMANDS: &[Spec] = &[
    container("acl", &["@slow"], subcommands::ACL),
    strings::APPEND,
    row(
        "auth",
        -2,
        HANDSHAKE,
        FAST_CONNECTION,
        connection::parse_auth,
    ),
    row("bgrewriteaof", 1, SAVES, ADMIN, admin::parse_bgrewriteaof),
    row("bgsave", -1, SAVES, ADMIN, admin::parse_bgsave),
    container("client", &["@slow"], client::CLIENT),
    container("cluster", &["@slow"], subcommands::CLUSTER),
    Spec {
        subcommands: subcommands::COMMAND,
        ..with_tips(
            row("command", -1, ANY_TIME, SLOW_CONNECTION, command::parse_all),
            UNORDERED,
        )
    },
    container("config", &["@slow"], groups::CONFIG),
    generic::COPY,
    generic::DBSIZE,
    row("debug", -2, MANAGE, ADMIN, admin::parse_debug),
    strings::DECR,
    strings::DECRBY,
    generic::DEL,
    row(
        "discard",
        1,
        AROUND_EXEC,
        FAST_TRANSACTION,
        transaction::parse_discard,
    ),
    row("echo", 2, QUICK, FAST_CONNECTION, connection::parse_echo),
    with_keys(
        row("eval", -3, SCRIPTED, SCRIPTING, scripting::parse_eval),
        SCRIPT_KEYS,
    ),
    with_keys(
        row("evalsha", -3, SCRIPTED, SCRIPTING, scripting::parse_evalsha),
        SCRIPT_KEYS,
    ),
    row(
        "exec",
        1,
        ANY_TIME
            .with(Flags::NOSCRIPT)
            .with(Flags::SKIP_SLOWLOG)
            .with(Flags::NOT_QUEUED),
        &["@slow", "@transaction"],
        transaction::parse_exec,
    ),
    generic::EXISTS,
    generic::EXPIRE,
    generic::EXPIREAT,
    generic::EXPIRETIME,
    generic::FLUSHALL,
    generic::FLUSHDB,
    strings::GET,
    strings::GETDEL,
    strings::GETEX,
    strings::GETRANGE,
    strings::GETSET,
    row(
        "hello",
        -1,
        HANDSHAKE,
        FAST_CONNECTION,
        connection::parse_hello,
    ),
    strings::INCR,
    strings::INCRBY,
    strings::INCRBYFLOAT,
    with_tips(
        row(
            "info",
            -1,
            ANY_TIME,
            &["@slow", "@dangerous"],
            server::parse_info,
        ),
        PER_SHARD,
    ),
    generic::KEYS,
    with_tips(
        row(
            "lastsave",
            1,
            QUICK,
            &["@admin", "@fast", "@dangerous"],
            admin::parse_lastsave,
        ),
        VARYING,
    ),
    container("latency", &["@slow"], groups::LATENCY),
    row(
        "lolwut",
        -1,
        Flags::READONLY.with(Flags::FAST),
        &["@read", "@fast"],
        lolwut::parse,
    ),
    container("memory", &["@slow"], groups::MEMORY),
    strings::MGET,
    container("module", &["@slow"], groups::MODULE),
    row("monitor", 1, MANAGE, ADMIN, server::parse_monitor),
    generic::MOVE,
    strings::MSET,
    strings::MSETNX,
    row(
        "multi",
        1,
        AROUND_EXEC,
        FAST_TRANSACTION,
        transaction::parse_multi,
    ),
    generic::OBJECT,
    generic::PERSIST,
    generic::PEXPIRE,
    generic::PEXPIREAT,
    generic::PEXPIRETIME,
    with_tips(
        row(
            "ping",
            -1,
            Flags::FAST.with(Flags::IN_SUBSCRIBED),
            FAST_CONNECTION,
            connection::parse_ping,
        ),
        ALL_SHARDS,
    ),
    strings::PSETEX,
    with_channels(
        row("psubscribe", -2, LISTEN, SLOW_PUBSUB, |args| {
            pubsub::parse_subscribe(Pattern, args)
        }),
        ChannelSpec::PSUBSCRIBE,
    ),
    generic::PTTL,
    with_channels(
        row(
            "publish",
            3,
            QUICK.with(Flags::PUBSUB).with(Flags::WRITES),
            &["@pubsub", "@fast"],
            pubsub::parse_publish,
        ),
        ChannelSpec::PUBLISH,
    ),
    container("pubsub", &["@slow"], subcommands::PUBSUB),
    row("punsubscribe", -1, LISTEN, SLOW_PUBSUB, |args| {
        pubsub::parse_unsubscribe(Pattern, args)
    }),
    row(
        "quit",
        -1,
        HANDSHAKE.with(Flags::IN_SUBSCRIBED).with(Flags::NOT_QUEUED),
        FAST_CONNECTION,
        connection::parse_quit,
    ),
    generic::RANDOMKEY,
    generic::RENAME,
    generic::RENAMENX,
    row("replicaof", 3, FOLLOWS, ADMIN, admin::parse_replicaof),
    row(
        "reset",
        1,
        HANDSHAKE.with(Flags::IN_SUBSCRIBED).with(Flags::NOT_QUEUED),
        FAST_CONNECTION,
        connection::parse_reset,
    ),
    row(
        "role",
        1,
        QUICK.with(Flags::NOSCRIPT),
        &["@admin", "@fast", "@dangerous"],
        cluster::parse_role,
    ),
    row(
        "save",
        1,
        SAVES.with(Flags::NO_MULTI),
        ADMIN,
        admin::parse_save,
    ),
    generic::SCAN,
    container("script", &["@slow"], subcommands::SCRIPT),
    row(
        "select",
        2,
        QUICK,
        FAST_CONNECTION,
        connection::parse_select,
    ),
    strings::SET,
    strings::SETEX,
    strings::SETNX,
    strings::SETRANGE,
    row(
        "shutdown",
        -1,
        MANAGE.with(Flags::NO_MULTI).with(Flags::ALLOW_BUSY),
        ADMIN,
        admin::parse_shutdown,
    ),
    row("slaveof", 3, FOLLOWS, ADMIN, admin::parse_replicaof),
    container("slowlog", &["@slow"], groups::SLOWLOG),
    with_channels(
        with_keys(
            row(
                "spublish",
                3,
                QUICK.with(Flags::PUBSUB).with(Flags::WRITES),
                &["@pubsub", "@fast"],
                pubsub::parse_spublish,
            ),
            SHARD_CHANNEL,
        ),
        ChannelSpec::PUBLISH,
    ),
    with_channels(
        with_keys(
            row("ssubscribe", -2, LISTEN, SLOW_PUBSUB, |args| {
                pubsub::parse_subscribe(Shard, args)
            }),
            SHARD_CHANNELS,
        ),
        ChannelSpec::SUBSCRIBE,
    ),
    strings::STRLEN,
    with_channels(
        row("subscribe", -2, LISTEN, SLOW_PUBSUB, |args| {
            pubsub::parse_subscribe(Channel, args)
        }),
        ChannelSpec::SUBSCRIBE,
    ),
    strings::SUBSTR,
    with_keys(
        row("sunsubscribe", -1, LISTEN, SLOW_PUBSUB, |args| {
            pubsub::parse_unsubscribe(Shard, args)
        }),
        SHARD_CHANNELS,
    ),
    generic::SWAPDB,
    with_tips(
        row("time", 1, QUICK, &["@fast"], admin::parse_time),
        VARYING,
    ),
    generic::TOUCH,
    generic::TTL,
    generic::TYPE,
    generic::UNLINK,
    row("unsubscribe", -1, LISTEN, SLOW_PUBSUB, |args| {
        pubsub::parse_unsubscribe(Channel, args)
    }),
    row(
        "unwatch",
        1,
        QUICK.with(Flags::NOSCRIPT).with(Flags::ALLOW_BUSY),
        FAST_TRANSACTION,
        transaction::parse_unwatch,
    ),
    with_tips(
        row("wait", 3, Flags::BLOCKING, WAITING, admin::parse_wait),
        AT_LEAST,
    ),
    with_tips(
        row("waitaof", 4, Flags::BLOCKING, WAITING, admin::parse_waitaof),
        AT_LEAST,
    ),
    with_keys(
        row(
            "watch",
            -2,
            AROUND_EXEC,
            FAST_TRANSACTION,
            transaction::parse_watch,
        ),
        &[KeySpec::range(KeyFlags::RO, 1, -1)],
    ),
    streams::XACK,
    streams::XACKDEL,
    streams::XADD,
    streams::XAUTOCLAIM,
    streams::XCFGSET,
    streams::XCLAIM,
    streams::XDEL,
    streams::XDELEX,
    streams::XGROUP,
    streams::XINFO,
    streams::XLEN,
    streams::XNACK,
    streams::XPENDING,
    streams::XRANGE,
    streams::XREAD,
    streams::XREADGROUP,
    streams::XREVRANGE,
    streams::XSETID,
    streams::XTRIM,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rows: &[Spec], prefix: &str) {
        assert!(
            rows.is_sorted_by(|a, b| a.name < b.name),
            "binary search needs it sorted"
        );
        for row in rows {
            assert!(row.name.starts_with(prefix), "{}", row.name);
            assert_eq!(row.name, row.name.to_ascii_lowercase());
            assert_ne!(row.arity, 0, "{}: the name counts", row.name);
            let speed = if row.flags.contains(Flags::FAST) {
                "@fast"
            } else {
                "@slow"
            };
            assert!(
                row.categories.contains(&speed),
                "{}: one of @fast and @slow",
                row.name
            );
            check(row.subcommands, &format!("{}|", row.name));
        }
    }

    #[test]
    fn the_table_is_sorted_and_consistent() {
        check(commands(), "");
    }

    #[test]
    fn every_row_is_found_in_any_case() {
        for row in commands() {
            let found = find(row.name.to_ascii_uppercase().as_bytes()).expect(row.name);
            assert_eq!(found.name, row.name);
            for sub in row.subcommands {
                let (_, name) = sub
                    .name
                    .split_once('|')
                    .expect("a subcommand has two parts");
                let found = find_subcommand(row, name.to_ascii_uppercase().as_bytes());
                assert_eq!(found.expect(sub.name).name, sub.name);
            }
        }
        assert!(find(b"").is_none() && find(b"pub").is_none() && find(b"publishe").is_none());
    }

    #[test]
    fn arity_counts_the_name() {
        let publish = find(b"publish").expect("in the table");
        assert!(publish.accepts(3) && !publish.accepts(2) && !publish.accepts(4));
        let subscribe = find(b"subscribe").expect("in the table");
        assert!(subscribe.accepts(2) && subscribe.accepts(200) && !subscribe.accepts(1));
    }
}
