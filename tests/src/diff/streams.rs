//! Scripts of commands on streams and their groups, and what may differ in the answers.
//!
//! Ids are small and few, so that commands meet. Times that have to pass are 0 or far more than a script takes.

use super::run::{Item, Transcript};
use super::script::Line;
use super::wire::Value;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

type Args = Vec<Vec<u8>>;

const KEYS: [&str; 4] = ["s", "s", "t", "k"];
const GROUPS: [&str; 3] = ["g", "g", "h"];
const CONSUMERS: [&str; 3] = ["a", "b", ""];
const IDS: [&str; 16] = [
    "1-0", "1-1", "1-2", "2-0", "2-1", "3", "3-1", "3-2", "4-0", "5-0", "5-7", "6", "7-0", "9-9",
    "0-1", "12",
];
const ODD_IDS: [&str; 12] = [
    "0",
    "0-0",
    "x",
    "1-x",
    "-",
    "+",
    "$",
    ">",
    "18446744073709551615-18446744073709551615",
    "18446744073709551616",
    "-1",
    "",
];

fn words(text: &str) -> Args {
    let words = text.split_ascii_whitespace();
    words.map(|word| word.as_bytes().to_vec()).collect()
}

fn word(choices: &'static [&'static str]) -> impl Strategy<Value = Args> {
    select(choices).prop_map(words)
}

/// A word that may be empty.
fn name(choices: &'static [&'static str]) -> impl Strategy<Value = Args> {
    select(choices).prop_map(|name| vec![name.as_bytes().to_vec()])
}

fn id() -> impl Strategy<Value = Args> {
    prop_oneof![20 => name(&IDS), 1 => name(&ODD_IDS)]
}

fn ids() -> impl Strategy<Value = Args> {
    vec(id(), 1..4).prop_map(|ids| ids.concat())
}

/// `IDS n id …`, at times with another number than that of the ids.
fn counted_ids() -> impl Strategy<Value = Args> {
    let wrong = prop_oneof![12 => Just(0), 1 => -3..3i64];
    (vec(id(), 1..4), wrong).prop_map(|(ids, wrong)| {
        let count = i64::try_from(ids.len()).unwrap_or(0) + wrong;
        let mut args = words(&format!("IDS {count}"));
        args.extend(ids.concat());
        args
    })
}

fn maybe(words: &'static [&'static str]) -> impl Strategy<Value = Args> {
    prop_oneof![3 => Just(Args::new()), 1 => word(words)]
}

fn join(verb: &'static str, parts: Vec<BoxedStrategy<Args>>) -> BoxedStrategy<Vec<Args>> {
    let parts = parts.prop_map(move |parts| {
        let mut args = words(verb);
        args.extend(parts.concat());
        vec![args]
    });
    parts.boxed()
}

fn end() -> BoxedStrategy<Args> {
    let exclusive = name(&IDS).prop_map(|id| vec![[b"(", &id[0][..]].concat()]);
    prop_oneof![4 => id(), 2 => exclusive, 1 => name(&ODD_IDS), 1 => word(&["(-", "(0-0", "(x", "(5"])].boxed()
}

fn from() -> BoxedStrategy<Args> {
    prop_oneof![3 => Just(words("-")), 2 => end()].boxed()
}

fn to() -> BoxedStrategy<Args> {
    prop_oneof![3 => Just(words("+")), 2 => end()].boxed()
}

const REFS: [&str; 3] = ["KEEPREF", "DELREF", "ACKED"];
const TRIMS: [&str; 18] = [
    "MAXLEN 2",
    "MAXLEN = 3",
    "MAXLEN 0",
    "MAXLEN ~ 1000",
    "MAXLEN ~ 1000 LIMIT 10",
    "MINID 3",
    "MINID = 2-1",
    "MINID ~ 0",
    "MINID ~ 0 LIMIT 0",
    "MAXLEN 5 MINID 3",
    "MAXLEN -1",
    "MAXLEN x",
    "MAXLEN",
    "MAXLEN 3 LIMIT 2",
    "LIMIT 5",
    "MINID x",
    "MAXLEN ~ 1000 LIMIT -1",
    "MAXLEN 4 ACKED",
];
const COUNTS: [&str; 7] = [
    "COUNT 1", "COUNT 2", "COUNT 0", "COUNT -1", "COUNT x", "COUNT", "NOSUCH",
];

fn key() -> BoxedStrategy<Args> {
    word(&KEYS).boxed()
}

fn group() -> BoxedStrategy<Args> {
    word(&GROUPS).boxed()
}

fn consumer() -> BoxedStrategy<Args> {
    name(&CONSUMERS).boxed()
}

/// Adds, mostly with growing ids.
fn adding() -> BoxedStrategy<Vec<Args>> {
    let new = prop_oneof![
        10 => id(),
        4 => word(&["1-*", "3-*", "7-*", "12-*"]),
        2 => word(&["*"]),
        1 => word(&["-*", "x-*", "*-1", "0-*"]),
    ];
    let fields = prop_oneof![8 => word(&["f v", "f v g w", "f 1"]), 1 => word(&["f", ""])];
    join(
        "XADD",
        vec![
            key(),
            maybe(&["NOMKSTREAM", "KEEPREF", "DELREF", "ACKED", "KEEPREF ACKED"]).boxed(),
            maybe(&TRIMS).boxed(),
            new.boxed(),
            fields.boxed(),
        ],
    )
}

fn reading() -> BoxedStrategy<Vec<Args>> {
    let after = || prop_oneof![6 => id(), 1 => word(&["$", "+", "0"])];
    let one = || (key(), after().boxed());
    let streams = vec(one(), 1..3).prop_map(|streams| {
        let (keys, ids): (Vec<Args>, Vec<Args>) = streams.into_iter().unzip();
        [words("STREAMS"), keys.concat(), ids.concat()].concat()
    });
    let in_group = || {
        let after = prop_oneof![6 => word(&[">"]), 3 => word(&["0", "1-1", "3"]), 1 => id()];
        vec((key(), after), 1..3).prop_map(|streams| {
            let (keys, ids): (Vec<Args>, Vec<Args>) = streams.into_iter().unzip();
            [words("STREAMS"), keys.concat(), ids.concat()].concat()
        })
    };
    prop_oneof![
        3 => join("XRANGE", vec![key(), from(), to(), maybe(&COUNTS).boxed()]),
        2 => join("XREVRANGE", vec![key(), to(), from(), maybe(&COUNTS).boxed()]),
        3 => join("XREAD", vec![maybe(&COUNTS).boxed(), streams.boxed()]),
        8 => join("XREADGROUP GROUP", vec![
            group(), consumer(), maybe(&COUNTS).boxed(), maybe(&["NOACK"]).boxed(), in_group().boxed(),
        ]),
    ]
    .boxed()
}

fn deleting() -> BoxedStrategy<Vec<Args>> {
    let refs = || maybe(&REFS).boxed();
    prop_oneof![
        3 => join("XDEL", vec![key(), ids().boxed()]),
        2 => join("XTRIM", vec![key(), word(&TRIMS).boxed(), refs()]),
        2 => join("XDELEX", vec![key(), refs(), counted_ids().boxed()]),
        2 => join("XACKDEL", vec![key(), group(), refs(), counted_ids().boxed()]),
        1 => join("XSETID", vec![key(), id().boxed(), maybe(&[
            "ENTRIESADDED 3", "ENTRIESADDED 50 MAXDELETEDID 2-0", "ENTRIESADDED -1 MAXDELETEDID 1", "MAXDELETEDID 4",
            "ENTRIESADDED 20 MAXDELETEDID 99", "NOSUCH",
        ]).boxed()]),
        1 => join("DEL", vec![key()]),
    ]
    .boxed()
}

fn grouping() -> BoxedStrategy<Vec<Args>> {
    let start = || prop_oneof![3 => word(&["0", "$", "0-0"]), 2 => id()].boxed();
    let read = || {
        maybe(&[
            "MKSTREAM",
            "ENTRIESREAD 2",
            "MKSTREAM ENTRIESREAD 1",
            "ENTRIESREAD -1",
            "ENTRIESREAD -2",
            "ENTRIESREAD x",
            "ENTRIESREAD",
            "NOSUCH",
        ])
        .boxed()
    };
    prop_oneof![
        6 => join("XGROUP CREATE", vec![key(), group(), start(), read()]),
        2 => join("XGROUP SETID", vec![
            key(), group(), start(), maybe(&["ENTRIESREAD 1", "NOSUCH", "MKSTREAM"]).boxed(),
        ]),
        1 => join("XGROUP DESTROY", vec![key(), group()]),
        2 => join("XGROUP CREATECONSUMER", vec![key(), group(), consumer()]),
        2 => join("XGROUP DELCONSUMER", vec![key(), group(), consumer()]),
    ]
    .boxed()
}

fn acknowledging() -> BoxedStrategy<Vec<Args>> {
    let idle = || prop_oneof![5 => word(&["0"]), 1 => word(&["1000000", "-1", "x"])].boxed();
    let claim = vec(
        word(&[
            "IDLE 5000000",
            "IDLE 0",
            "TIME 1000",
            "TIME 99999999999999",
            "RETRYCOUNT 7",
            "RETRYCOUNT 0",
            "FORCE",
            "FORCE",
            "JUSTID",
            "LASTID 3-0",
            "LASTID 9",
            "IDLE x",
            "TIME x",
            "RETRYCOUNT x",
            "LASTID x",
            "NOSUCH",
        ]),
        0..3,
    )
    .prop_map(|options| options.concat());
    let auto = maybe(&[
        "COUNT 1",
        "COUNT 2 JUSTID",
        "JUSTID",
        "COUNT 0",
        "COUNT x",
        "NOSUCH",
    ]);
    prop_oneof![
        3 => join("XACK", vec![key(), group(), ids().boxed()]),
        2 => join("XPENDING", vec![key(), group()]),
        3 => join("XPENDING", vec![
            key(), group(), maybe(&["IDLE 0", "IDLE 1000000", "IDLE x", "IDLE"]).boxed(), from(), to(),
            word(&["10", "1", "0", "-1", "x"]).boxed(),
            prop_oneof![2 => Just(Args::new()).boxed(), 1 => consumer()].boxed(),
        ]),
        4 => join("XCLAIM", vec![key(), group(), consumer(), idle(), ids().boxed(), claim.boxed()]),
        3 => join("XAUTOCLAIM", vec![key(), group(), consumer(), idle(), from(), auto.boxed()]),
    ]
    .boxed()
}

fn asking() -> BoxedStrategy<Vec<Args>> {
    prop_oneof![
        2 => join("XLEN", vec![key()]),
        3 => join("XINFO STREAM", vec![key()]),
        2 => join("XINFO STREAM", vec![
            key(), word(&["FULL", "FULL COUNT 1", "FULL COUNT 0", "FULL x", "HALF"]).boxed(),
        ]),
        3 => join("XINFO GROUPS", vec![key()]),
        3 => join("XINFO CONSUMERS", vec![key(), group()]),
    ]
    .boxed()
}

fn around() -> BoxedStrategy<Vec<Args>> {
    let lines = select(
        &[
            "SET k v",
            "SET s v",
            "TYPE s",
            "EXISTS s t",
            "RENAME s t",
            "RENAME t s",
            "COPY s t",
            "COPY s t REPLACE",
            "COPY s s DB 1",
            "MOVE s 1",
            "SELECT 1",
            "SELECT 0",
            "SWAPDB 0 1",
            "PERSIST s",
            "EXPIRE s 1000",
            "FLUSHDB",
            "GET s",
            "APPEND s x",
            "INCR s",
            "STRLEN s",
            "GETDEL s",
            "SETRANGE s 0 x",
            "MSETNX s 1 u 2",
            "SETNX s v",
            "MGET s k",
            "MULTI",
            "MULTI",
            "EXEC",
            "EXEC",
            "EXEC",
            "DISCARD",
            "WATCH s",
            "WATCH t",
            "HELLO 3",
            "HELLO 3",
            "HELLO 2",
            "SCAN 0 TYPE stream MATCH nosuch*",
            "XINFO",
            "XINFO nosuch",
            "XGROUP",
            "XGROUP nosuch s",
            "XADD s",
            "XREAD STREAMS",
            "XREAD STREAMS s",
            "XREAD STREAMS s t 0",
            "XREAD COUNT 1",
            "XREADGROUP STREAMS s >",
            "XREADGROUP GROUP g STREAMS s >",
            "XREADGROUP GROUP g a STREAMS s t >",
            "XREAD GROUP g a STREAMS s >",
            "XREAD NOACK STREAMS s 0",
            "XREAD BLOCK x STREAMS s 0",
            "XREAD BLOCK -1 STREAMS s 0",
            "XREAD BLOCK 99999999999999999999 STREAMS s 0",
            "COMMAND GETKEYS xread COUNT 1 STREAMS s t 0 0",
            "COMMAND GETKEYS xreadgroup GROUP g a STREAMS s >",
            "COMMAND GETKEYSANDFLAGS xread STREAMS s 0",
            "COMMAND GETKEYS xadd s * f v",
            "COMMAND GETKEYS xgroup create s g 0",
            "COMMAND GETKEYSANDFLAGS xautoclaim s g a 0 0",
        ][..],
    );
    lines.prop_map(|line| vec![words(line)]).boxed()
}

/// What streams are used for, and what can be done with any key.
pub(super) fn streams() -> BoxedStrategy<Vec<Args>> {
    prop_oneof![
        10 => adding(),
        8 => reading(),
        4 => deleting(),
        4 => grouping(),
        5 => acknowledging(),
        4 => asking(),
        4 => around(),
    ]
    .boxed()
}

/// Two connections that wait for what others add, take away, or forbid.
pub(super) fn blocking() -> BoxedStrategy<Vec<Args>> {
    let block = || word(&["BLOCK 0", "BLOCK 0", "BLOCK 100000", "COUNT 1 BLOCK 0"]);
    let after = || prop_oneof![4 => id(), 1 => word(&["+", "0"])];
    let two = (key(), key(), after(), after())
        .prop_map(|(one, other, a, b)| [words("STREAMS"), one, other, a, b].concat());
    let one = (key(), after()).prop_map(|(key, after)| [words("STREAMS"), key, after].concat());
    let given = (key(), word(&[">", ">", ">", "0"]));
    let given = given.prop_map(|(key, after)| [words("STREAMS"), key, after].concat());
    let around = select(
        &[
            "DEL s",
            "DEL t",
            "SET s v",
            "SET k v",
            "FLUSHALL",
            "RENAME s t",
            "RENAME t s",
            "COPY s t REPLACE",
            "MOVE s 1",
            "SWAPDB 0 1",
            "SELECT 1",
            "SELECT 0",
            "XGROUP DESTROY s g",
            "XGROUP DESTROY s h",
            "HELLO 3",
            "HELLO 2",
            "MULTI",
            "EXEC",
            "XTRIM s MAXLEN 1",
            "XTRIM s MAXLEN 0",
            "XGROUP SETID s g 0",
            "XSETID s 20",
        ][..],
    );
    prop_oneof![
        6 => join("XREAD", vec![block().boxed(), one.boxed()]),
        2 => join("XREAD", vec![block().boxed(), two.boxed()]),
        6 => join("XREADGROUP GROUP", vec![
            group(), consumer(), block().boxed(), maybe(&["NOACK"]).boxed(), given.boxed(),
        ]),
        10 => adding(),
        4 => join("XGROUP CREATE", vec![key(), group(), word(&["$", "0"]).boxed(), Just(words("MKSTREAM")).boxed()]),
        4 => around.prop_map(|line| vec![words(line)]),
        1 => join("XPENDING", vec![key(), group()]),
        1 => join("XINFO GROUPS", vec![key()]),
    ]
    .boxed()
}

/// Fields of `XINFO` that tell how a real server keeps a stream in memory, or that Redis has since 8.6.
const HIDDEN: [&[u8]; 8] = [
    b"radix-tree-keys",
    b"radix-tree-nodes",
    b"idmp-duration",
    b"idmp-maxsize",
    b"pids-tracked",
    b"iids-tracked",
    b"iids-added",
    b"iids-duplicates",
];
/// Fields that count from now.
const TIMES: [&[u8]; 5] = [
    b"idle",
    b"inactive",
    b"seen-time",
    b"active-time",
    b"delivery-time",
];

/// Masks errors of arguments: a real server looks at some only once it has found the key and the group, so that whether
/// it tells of the one or of the other differs. Fixed scripts compare their texts.
pub fn forgive(transcript: &mut Transcript) {
    for items in &mut transcript.0 {
        let mut odd = false;
        let mut queued = false;
        for item in items {
            match item {
                Item::Sent(line) => {
                    odd = is_odd(line) || (line.name() == b"EXEC" && queued);
                    queued = is_odd(line) || (queued && line.name() != b"EXEC");
                }
                Item::Came(value) if odd => forgive_value(value),
                Item::Came(_) | Item::Closed | Item::Silence => {}
            }
        }
    }
}

fn forgive_value(value: &mut Value) {
    if says_nothing(value) {
        *value = Value::Line(b'-', b"(one of several)".to_vec());
    } else if let Value::List(_, values) = value {
        values.iter_mut().for_each(forgive_value);
    }
}

/// Masks times, and ids that are times.
pub(super) fn mask(line: &Line, value: &mut Value) {
    mask_ids(value);
    match (&line.name()[..], &line.subcommand()[..]) {
        (b"XINFO", _) => mask_info(value),
        (b"XPENDING", _) if line.args.len() > 3 => mask_idle(value),
        _ => {}
    }
}

/// Whether an answer is an error, or that nothing was found.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Line(_, text) => value.error().is_some() || text == b"0" || text == b"-1",
        Value::List(_, items) => items.iter().all(says_nothing),
        Value::Null(_) => true,
        _ => value.error().is_some(),
    }
}

/// Whether a line has an argument that is wrong at its place, or may be.
fn is_odd(line: &Line) -> bool {
    const ODD: [&str; 12] = [
        "x",
        "NOSUCH",
        "-1",
        "-2",
        "-",
        "+",
        "$",
        ">",
        "",
        "18446744073709551616",
        "(x",
        "1-x",
    ];
    let last = line.args.last().map(|arg| arg.to_ascii_uppercase());
    let unfinished = last.is_some_and(|arg| arg.iter().all(u8::is_ascii_uppercase));
    let odd = |arg: &Vec<u8>| ODD.iter().any(|odd| odd.as_bytes() == arg);
    unfinished || counts_wrong(line) || line.args.iter().skip(2).any(odd)
}

/// Whether there are more or fewer ids than a line says.
fn counts_wrong(line: &Line) -> bool {
    let Some(at) = line.args.iter().position(|arg| arg == b"IDS") else {
        return false;
    };
    let ids = line.args.len().saturating_sub(at + 2);
    line.args.get(at + 1) != Some(&ids.to_string().into_bytes())
}

/// An id that was made of a clock.
fn mask_ids(value: &mut Value) {
    match value {
        Value::Bytes(_, text) if is_time(text) => *text = b"(time)".to_vec(),
        Value::Line(b':', text) if is_time(text) => *text = b"(time)".to_vec(),
        Value::List(_, items) => items.iter_mut().for_each(mask_ids),
        Value::Map(_, pairs) => pairs.iter_mut().for_each(|(key, value)| {
            mask_ids(key);
            mask_ids(value);
        }),
        _ => {}
    }
}

fn is_time(text: &[u8]) -> bool {
    let ms = text.split(|byte| *byte == b'-').next().unwrap_or_default();
    ms.len() == 13 && ms.iter().all(u8::is_ascii_digit)
}

fn mask_time(value: &mut Value) {
    if let Value::Line(b':', digits) = value
        && digits != b"-1"
    {
        *digits = b"(ms)".to_vec();
    }
}

/// Masks fields of one or more descriptions, which are maps, or lists of pairs in RESP2.
fn mask_info(value: &mut Value) {
    match value {
        Value::Map(_, pairs) => {
            pairs.retain(|(key, _)| !is_one_of(key, &HIDDEN));
            for (key, value) in pairs {
                mask_field(key, value);
            }
        }
        Value::List(_, items) if items.len() % 2 == 0 && items.first().is_some_and(is_name) => {
            let mut kept = Vec::new();
            for pair in items.chunks_exact_mut(2) {
                let [key, value] = pair else { continue };
                mask_field(key, value);
                if !is_one_of(key, &HIDDEN) {
                    kept.extend([key.clone(), value.clone()]);
                }
            }
            *items = kept;
        }
        Value::List(_, items) => items.iter_mut().for_each(mask_info),
        _ => {}
    }
}

fn mask_field(key: &Value, value: &mut Value) {
    match key {
        key if is_one_of(key, &TIMES) => mask_time(value),
        Value::Bytes(_, name) if name == b"pel" || name == b"pending" => mask_pending(value),
        _ => mask_info(value),
    }
}

/// `pel` of a group has an id, a consumer, a time, and a number; `pending` of a consumer has no consumer.
fn mask_pending(value: &mut Value) {
    let Value::List(_, entries) = value else {
        return;
    };
    for entry in entries {
        if let Value::List(_, parts) = entry
            && let Some(at) = parts.len().checked_sub(2)
            && !matches!(&parts[at], Value::Line(b':', text) if text == b"1000")
        {
            mask_time(&mut parts[at]);
        }
    }
}

/// `XPENDING` with a range: id, consumer, idle time, number.
fn mask_idle(value: &mut Value) {
    let Value::List(_, entries) = value else {
        return;
    };
    for entry in entries {
        if let Value::List(_, parts) = entry
            && parts.len() == 4
        {
            mask_time(&mut parts[2]);
        }
    }
}

fn is_name(value: &Value) -> bool {
    matches!(value, Value::Bytes(b'$', text) if text.first().is_some_and(u8::is_ascii_lowercase))
}

fn is_one_of(value: &Value, names: &[&[u8]]) -> bool {
    matches!(value, Value::Bytes(_, text) if names.contains(&text.as_slice()))
}
