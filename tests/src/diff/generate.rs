//! Random but meaningful scripts.
//!
//! Names come from a few, so that commands meet; each command is now and then given wrong arguments.

use super::script::{CONNECTIONS, Line, Script};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

type Args = Vec<Vec<u8>>;

const CHANNELS: [&[u8]; 8] = [
    b"a",
    b"b",
    b"ab",
    b"news.eu",
    b"",
    b"a b",
    b"h?llo",
    b"\r\n\x00\xff",
];
const PATTERNS: [&[u8]; 16] = [
    b"*", b"a*", b"?", b"[ab]", b"[^a]", b"[a-c]*", b"h\\?llo", b"news.*", b"**", b"", b"[",
    b"[a-", b"[^", b"a\\", b"*b", b"\\*",
];
const KEYS: [&[u8]; 4] = [b"k", b"n", b"x y", b""];
/// What Laravel publishes to several channels with.
pub const LOOP_PUBLISH: &[u8] = b"for i = 2, #ARGV do redis.call('publish', ARGV[i], ARGV[1]) end";

fn words(text: &str) -> Args {
    text.split(' ')
        .map(|word| word.as_bytes().to_vec())
        .collect()
}

fn fixed(texts: &'static [&'static str]) -> impl Strategy<Value = Vec<Args>> {
    select(texts).prop_map(|text| text.split(" ; ").map(words).collect())
}

fn channel() -> impl Strategy<Value = Vec<u8>> {
    select(&CHANNELS[..]).prop_map(<[u8]>::to_vec)
}

fn pattern() -> impl Strategy<Value = Vec<u8>> {
    select(&PATTERNS[..]).prop_map(<[u8]>::to_vec)
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..6),
        1 => Just(vec![b'x'; 3000]),
    ]
}

fn with(verb: &'static str, rest: impl Strategy<Value = Args>) -> impl Strategy<Value = Vec<Args>> {
    rest.prop_map(move |rest| {
        let mut args = words(verb);
        args.extend(rest);
        vec![args]
    })
}

/// Subscriptions of all kinds.
fn listening() -> impl Strategy<Value = Vec<Args>> {
    prop_oneof![
        4 => with("SUBSCRIBE", vec(channel(), 1..4)),
        2 => with("UNSUBSCRIBE", vec(channel(), 0..3)),
        3 => with("PSUBSCRIBE", vec(pattern(), 1..4)),
        2 => with("PUNSUBSCRIBE", vec(pattern(), 0..3)),
        2 => with("SSUBSCRIBE", vec(channel(), 1..3)),
        1 => with("SUNSUBSCRIBE", vec(channel(), 0..3)),
    ]
}

fn publishing() -> impl Strategy<Value = Vec<Args>> {
    let one = || (channel(), payload()).prop_map(|(channel, payload)| vec![channel, payload]);
    let many = (payload(), vec(channel(), 0..3)).prop_map(|(payload, channels)| {
        let mut args = vec![LOOP_PUBLISH.to_vec(), b"0".to_vec(), payload];
        args.extend(channels);
        args
    });
    prop_oneof![
        6 => with("PUBLISH", one()),
        2 => with("SPUBLISH", one()),
        1 => with("EVAL", many),
    ]
}

fn asking() -> impl Strategy<Value = Vec<Args>> {
    prop_oneof![
        with("PUBSUB CHANNELS", vec(pattern(), 0..2)),
        with("PUBSUB SHARDCHANNELS", vec(pattern(), 0..2)),
        with("PUBSUB NUMSUB", vec(channel(), 0..4)),
        with("PUBSUB SHARDNUMSUB", vec(channel(), 0..4)),
        fixed(&[
            "PUBSUB NUMPAT",
            "PUBSUB",
            "PUBSUB nosuch",
            "PUBSUB NUMPAT x"
        ]),
    ]
}

fn transaction() -> impl Strategy<Value = Vec<Args>> {
    prop_oneof![
        4 => fixed(&["MULTI"]),
        4 => fixed(&["EXEC"]),
        1 => fixed(&["DISCARD", "WATCH k", "WATCH", "UNWATCH", "EXEC now", "MULTI now", "WATCH a b", "DISCARD x"]),
    ]
}

fn connection() -> impl Strategy<Value = Vec<Args>> {
    prop_oneof![
        with("PING", vec(payload(), 0..3)),
        with("ECHO", vec(payload(), 0..3)),
        fixed(&[
            "SELECT 0",
            "SELECT 3",
            "SELECT 15",
            "SELECT 16",
            "SELECT -1",
            "SELECT x",
            "SELECT"
        ]),
        fixed(&[
            "HELLO",
            "HELLO 2",
            "HELLO 3",
            "HELLO 4",
            "HELLO x",
            "HELLO 3 SETNAME me",
            "HELLO 2 SETNAME",
            "HELLO 3 NOSUCH",
            "HELLO 3 AUTH default wrong",
            "HELLO 3 AUTH default",
            "hello 3 setname you setname me",
        ]),
        fixed(&["RESET", "RESET now", "QUIT"]),
        fixed(&[
            "AUTH",
            "AUTH x",
            "AUTH default x",
            "AUTH nobody x",
            "AUTH a b c"
        ]),
        fixed(&[
            "nosuch",
            "nosuch a b",
            "PUBLISH",
            "PUBLISH a",
            "SUBSCRIBE",
            "PSUBSCRIBE",
            "SPUBLISH a",
            "SSUBSCRIBE"
        ]),
    ]
}

fn client() -> impl Strategy<Value = Vec<Args>> {
    fixed(&[
        "CLIENT",
        "CLIENT nosuch",
        "CLIENT ID",
        "CLIENT ID x",
        "CLIENT GETNAME",
        "CLIENT SETNAME",
        "CLIENT SETNAME me",
        "CLIENT SETNAME you\n",
        "CLIENT INFO",
        "CLIENT SETINFO LIB-NAME lib",
        "CLIENT SETINFO LIB-VER 1.0",
        "CLIENT SETINFO nosuch x",
        "CLIENT SETINFO lib-name a\nb",
        "CLIENT NO-EVICT ON",
        "CLIENT NO-EVICT x",
        "CLIENT NO-TOUCH ON",
        "CLIENT NO-TOUCH x",
        "CLIENT GETREDIR",
        "CLIENT TRACKINGINFO",
        "CLIENT TRACKING OFF",
        "CLIENT TRACKING x",
        "CLIENT UNBLOCK 0",
        "CLIENT UNBLOCK x",
        "CLIENT UNBLOCK 0 x",
        "CLIENT KILL 1.2.3.4:5",
        "CLIENT KILL ID 0",
        "CLIENT KILL ID x",
        "CLIENT KILL ID",
        "CLIENT KILL TYPE x",
        "CLIENT KILL TYPE replica",
        "CLIENT KILL ADDR 1.2.3.4:5",
        "CLIENT KILL SKIPME x",
        "CLIENT KILL USER nobody",
        "CLIENT KILL nosuch x",
        "CLIENT LIST TYPE x",
        "CLIENT LIST TYPE replica",
        "CLIENT LIST ID 0",
        "CLIENT LIST ID x",
        "CLIENT LIST ID 0 x",
        "CLIENT LIST ID 0 x y",
        "CLIENT LIST nosuch",
        "CLIENT REPLY x",
        "CLIENT REPLY",
        "CLIENT REPLY ON",
        "CLIENT REPLY OFF ; PING ; CLIENT SETNAME a ; CLIENT REPLY ON",
        "CLIENT REPLY SKIP ; PING",
        "CLIENT REPLY OFF ; SUBSCRIBE a ; RESET",
        "CLIENT REPLY SKIP ; RESET",
        "CLIENT REPLY SKIP ; SUBSCRIBE a",
        "CLIENT PAUSE 0 WRITE x",
        "CLIENT PAUSE -1",
        "CLIENT UNBLOCK 0 TIMEOUT x",
        "CLIENT KILL ID 0 MAXAGE x",
        "CLIENT KILL LADDR 1.2.3.4:5 SKIPME no",
        "CLIENT PAUSE x",
        "CLIENT PAUSE 0",
        "CLIENT UNPAUSE",
        "CLIENT CACHING YES",
    ])
}

fn server() -> impl Strategy<Value = Vec<Args>> {
    fixed(&[
        "TIME",
        "TIME x",
        "LASTSAVE",
        "DBSIZE",
        "WAIT",
        "WAIT x 0",
        "WAIT 0 x",
        "WAIT 0 -1",
        "WAIT 0 0",
        "WAITAOF x 0 0",
        "WAITAOF 2 0 0",
        "WAITAOF 0 -1 -1",
        "WAITAOF 0 0 -1",
        "COMMAND COUNT",
        "COMMAND INFO nosuch",
        "COMMAND INFO publish nosuch",
        "COMMAND DOCS nosuch",
        "COMMAND nosuch",
        "COMMAND LIST x",
        "COMMAND LIST FILTERBY x y",
        "COMMAND LIST FILTERBY PATTERN nosuch*",
        "COMMAND GETKEYS",
        "COMMAND GETKEYS publish a b",
        "COMMAND GETKEYS nosuch",
        "COMMAND GETKEYSANDFLAGS ping",
        "COMMAND GETKEYS eval x 2 a b",
        "COMMAND GETKEYS eval x 2 a",
        "COMMAND GETKEYS spublish a b",
        "COMMAND GETKEYSANDFLAGS watch a b",
        "COMMAND INFO publish spublish subscribe exec auth client|id",
        "COMMAND LIST FILTERBY ACLCAT nosuch",
        "CONFIG",
        "CONFIG nosuch",
        "CONFIG GET",
        "CONFIG GET databases",
        "CONFIG GET nosuch",
        "CONFIG GET databases data* nosuch",
        "CONFIG SET",
        "CONFIG SET nosuch x",
        "CONFIG SET timeout",
        "CONFIG SET timeout x",
        "CONFIG SET databases 3",
        "SLOWLOG LEN x",
        "SLOWLOG nosuch",
        "SLOWLOG GET x",
        "SLOWLOG GET -2",
        "LATENCY nosuch",
        "LATENCY RESET",
        "LATENCY HISTORY nosuch",
        "MEMORY nosuch",
        "MEMORY USAGE",
        "MODULE LIST",
        "SCRIPT",
        "SCRIPT nosuch",
        "SCRIPT EXISTS",
        "SCRIPT EXISTS x",
        "SCRIPT FLUSH x",
        "SCRIPT FLUSH",
        "EVALSHA x 0",
        "EVALSHA ffffffffffffffffffffffffffffffffffffffff 0",
        "EVAL x",
        "EVAL x y",
        "EVAL x -1",
        "EVAL x 3 a",
        "ACL WHOAMI",
        "ACL nosuch",
        "ACL USERS",
        "ACL GETUSER nobody",
        "ACL DELUSER nobody",
        "ACL LOG x",
        "ACL LOG RESET now",
        "ACL DELUSER default",
        "ACL CAT nosuch",
        "ACL GENPASS",
        "ACL GENPASS 5",
        "ACL GENPASS x",
        "ACL DRYRUN default publish a b",
        "ACL DRYRUN default nosuch",
        "ACL DRYRUN nobody ping",
        "ACL SETUSER",
        "ACL SETUSER u nosuch",
        "ACL SETUSER u +nosuch",
        "ACL SETUSER u +@nosuch",
        "REPLICAOF x",
        "REPLICAOF NO ONE",
        "SHUTDOWN NOSAVE SAVE",
        "SHUTDOWN ABORT",
        "SHUTDOWN x",
        "BGSAVE x",
        "LOLWUT VERSION x",
        "LASTSAVE x",
        "MEMORY USAGE nosuch",
    ])
}

/// What a user of ACLs does: one user with a few rules, seen from all sides.
fn access() -> impl Strategy<Value = Vec<Args>> {
    fixed(&[
        "ACL SETUSER u on >p +@all ~* &*",
        "ACL SETUSER u reset on >p +@connection +publish +subscribe &a",
        "ACL SETUSER u resetchannels &news.*",
        "ACL SETUSER u -@all +@pubsub +@connection",
        "ACL SETUSER u +client|id -publish",
        "ACL SETUSER u (+publish &b)",
        "ACL SETUSER u clearselectors",
        "ACL SETUSER u (~a +@all -publish &ab)",
        "ACL SETUSER u %R~a %W~b resetkeys ~c",
        "ACL SETUSER u %X~a",
        "ACL SETUSER u allchannels &c",
        "ACL SETUSER u (+publish",
        "ACL SETUSER u +@pubsub -@fast +spublish",
        "ACL SETUSER u +config|get|x",
        "ACL DRYRUN u eval x 1 a",
        "ACL DRYRUN u multi",
        "ACL DRYRUN u spublish ab x",
        "ACL DRYRUN u subscribe a b",
        "ACL CAT nosuch",
        "ACL SETUSER u nopass",
        "ACL SETUSER u off",
        "ACL SETUSER u <p",
        "ACL GETUSER u",
        "ACL LIST",
        "ACL DRYRUN u publish a b",
        "ACL DRYRUN u publish b b",
        "ACL DRYRUN u psubscribe news.*",
        "ACL DRYRUN u client id",
        "ACL DELUSER u",
        "AUTH u p",
        "AUTH u wrong",
        "HELLO 3 AUTH u p",
        "ACL WHOAMI",
    ])
}

/// Databases, expiry, reads and writes of a few keys. No time that passes while a script runs, and no order of a hash
/// table.
fn keys() -> impl Strategy<Value = Vec<Args>> {
    let key = || select(&KEYS[..]).prop_map(<[u8]>::to_vec);
    let value = || {
        prop_oneof![
            3 => select(&["1", "-7", "9223372036854775807", "01", "1.5", "text", ""][..])
                .prop_map(|value| value.as_bytes().to_vec()),
            1 => vec(any::<u8>(), 0..5),
        ]
    };
    let option = || {
        fixed(&[
            "NX",
            "XX",
            "GET",
            "KEEPTTL",
            "EX 1000",
            "PX 1000000",
            "EXAT 9999999999",
            "PXAT 1",
            "EX 0",
            "EX x",
            "EX",
            "PERSIST",
            "nosuch",
        ])
        .prop_map(|lines| lines.concat())
    };
    let set = (key(), value(), vec(option(), 0..3)).prop_map(|(key, value, options)| {
        let mut args = vec![b"SET".to_vec(), key, value];
        args.extend(options.concat());
        vec![args]
    });
    let getex = (key(), vec(option(), 0..2)).prop_map(|(key, options)| {
        let mut args = vec![b"GETEX".to_vec(), key];
        args.extend(options.concat());
        vec![args]
    });
    let verbs = |verbs: &'static [&'static str]| select(verbs).prop_map(words);
    let one = (
        verbs(&[
            "GET",
            "GETDEL",
            "STRLEN",
            "INCR",
            "DECR",
            "TYPE",
            "EXISTS",
            "DEL",
            "UNLINK",
            "TOUCH",
            "PERSIST",
            "EXPIRETIME",
            "MGET",
            "OBJECT REFCOUNT x",
            "OBJECT FREQ",
        ]),
        vec(key(), 1..3),
    );
    let two = (
        verbs(&[
            "APPEND",
            "SETNX",
            "GETSET",
            "INCRBY",
            "DECRBY",
            "INCRBYFLOAT",
            "MSET",
            "MSETNX",
            "SETEX",
            "MOVE",
        ]),
        vec(
            (key(), value()).prop_map(|(key, value)| vec![key, value]),
            1..3,
        )
        .prop_map(|all| all.concat()),
    );
    let names = (verbs(&["RENAME", "RENAMENX", "COPY"]), vec(key(), 2..3));
    let ranged = (
        verbs(&["GETRANGE", "SUBSTR"]),
        (key(), -5..6i64, -5..6i64)
            .prop_map(|(key, a, b)| vec![key, a.to_string().into(), b.to_string().into()]),
    );
    let set_range = (
        Just(words("SETRANGE")),
        (key(), -1..6i64, value())
            .prop_map(|(key, at, value)| vec![key, at.to_string().into(), value]),
    );
    let join = |(mut args, rest): (Args, Args)| {
        args.extend(rest);
        vec![args]
    };
    prop_oneof![
        6 => set,
        2 => getex,
        6 => one.prop_map(join),
        4 => two.prop_map(join),
        3 => names.prop_map(join),
        2 => ranged.prop_map(join),
        2 => set_range.prop_map(join),
        3 => fixed(&[
            "EXPIRE k 1000", "EXPIRE k 2000 GT", "EXPIRE k 500 LT", "EXPIRE k 100 NX", "EXPIRE k 100 XX", "EXPIRE k -1",
            "EXPIRE k 1 NX GT", "EXPIRE k 1 GT LT", "EXPIRE k 1 nosuch", "EXPIRE k x", "EXPIRE k 9223372036854775807",
            "EXPIREAT k 9999999999", "PEXPIREAT k 9999999999999 XX", "PEXPIRE n 1000000", "TTL nosuch", "TTL n x",
            "PEXPIRETIME k", "PSETEX k 0 v", "PSETEX k 1000000 v", "TTL k",
        ]),
        2 => fixed(&[
            "SELECT 1", "SELECT 0", "DBSIZE", "FLUSHDB", "FLUSHALL SYNC", "FLUSHALL x", "SWAPDB 0 1", "SWAPDB 0 x",
            "SWAPDB x 0", "SWAPDB 0 99", "COPY k n DB 1", "COPY k n DB 1 REPLACE", "COPY k k", "COPY k n DB x",
            "COPY k n DB 99", "COPY k n nosuch", "MOVE k 1", "MOVE k 99", "MOVE k x", "KEYS nosuch", "SCAN 0 MATCH nosuch*",
            "SCAN x", "SCAN 0 COUNT 0", "SCAN 0 COUNT x", "SCAN 0 nosuch", "KEYS *", "INCRBYFLOAT k 0.1", "OBJECT nosuch k",
            "INCRBYFLOAT k x", "INCRBYFLOAT n 1e2", "WATCH k", "UNWATCH",
        ]),
        3 => transaction(),
    ]
}

/// Which commands a script is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// Subscribing, publishing, transactions and the connection: most of all.
    Messaging,
    /// Texts and shapes of everything else.
    Introspection,
    /// Users and permissions.
    Access,
    /// Keys.
    Keys,
    /// Streams and their groups.
    Streams,
    /// Waiting for entries of streams.
    Blocking,
}

fn command(surface: Surface) -> BoxedStrategy<Vec<Args>> {
    match surface {
        Surface::Messaging => prop_oneof![
            8 => listening(),
            8 => publishing(),
            3 => asking(),
            4 => transaction(),
            3 => connection(),
            1 => client(),
        ]
        .boxed(),
        Surface::Introspection => prop_oneof![
            6 => server(),
            6 => client(),
            2 => connection(),
            1 => transaction(),
            1 => listening(),
            1 => asking(),
        ]
        .boxed(),
        Surface::Keys => keys().boxed(),
        Surface::Streams => super::streams::streams(),
        Surface::Blocking => super::streams::blocking(),
        Surface::Access => prop_oneof![
            8 => access(),
            2 => listening(),
            2 => publishing(),
            1 => connection(),
            1 => transaction(),
        ]
        .boxed(),
    }
}

/// Scripts of one surface.
pub fn scripts(surface: Surface) -> impl Strategy<Value = Script> {
    let step = (0..CONNECTIONS, command(surface));
    vec(step, 1..24).prop_map(|steps| {
        let lines = steps.into_iter().flat_map(|(connection, commands)| {
            commands
                .into_iter()
                .map(move |args| Line { connection, args })
        });
        Script(lines.collect())
    })
}
