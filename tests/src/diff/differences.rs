//! What may differ between Corgi and a real server, each with its reason, and the comparison of the rest.

use super::run::{Item, Transcript, is_push};
use super::script::{CONNECTIONS, Line, Script};
use super::streams;
use super::wire::Value;
use std::fmt::Write as _;

/// Fields of `CLIENT INFO` and `CLIENT LIST` that depend on time, memory, sockets, or the build.
const CLIENT_FIELDS: [&str; 24] = [
    "id",
    "addr",
    "laddr",
    "fd",
    "age",
    "idle",
    "qbuf",
    "qbuf-free",
    "argv-mem",
    "multi-mem",
    "rbs",
    "rbp",
    "obl",
    "oll",
    "omem",
    "tot-mem",
    "events",
    "io-thread",
    "tot-net-in",
    "tot-net-out",
    "tot-cmds",
    "watch",
    "capa",
    "ssub",
];

/// What ends a transaction.
const ENDS: [&[u8]; 3] = [b"EXEC", b"DISCARD", b"RESET"];

/// Returns what happened as text in which everything that may differ is masked, connection by connection.
pub fn masked(transcript: &Transcript) -> [Vec<String>; CONNECTIONS] {
    std::array::from_fn(|number| mask_connection(&transcript.0[number]))
}

/// Compares what happened with what should have; the answer shows the first difference with what led to it.
pub fn compare(expected: &Transcript, found: &Transcript) -> Option<String> {
    let (expected, found) = (masked(expected), masked(found));
    for (number, (expected, found)) in expected.iter().zip(&found).enumerate() {
        let same = expected
            .iter()
            .zip(found)
            .take_while(|(e, f)| e == f)
            .count();
        if same == expected.len() && same == found.len() {
            continue;
        }
        let mut text = format!("on connection {number}:\n");
        for line in &expected[same.saturating_sub(12)..same] {
            let _infallible = writeln!(text, "    {line}");
        }
        for (mark, lines) in [("-", expected), ("+", found)] {
            for line in lines.iter().skip(same).take(4) {
                let _infallible = writeln!(text, "  {mark} {line}");
            }
        }
        return Some(text);
    }
    None
}

/// Says why a script may be answered differently as a whole, if it may.
pub fn known(script: &Script) -> Option<&'static str> {
    let mut queuing = [None; CONNECTIONS];
    for line in &script.0 {
        let state = &mut queuing[line.connection];
        match line.name().as_slice() {
            // Within a transaction it is an error, and changes nothing.
            b"MULTI" => *state = state.or(Some(false)),
            name if ENDS.contains(&name) => *state = None,
            b"PUBLISH" | b"SPUBLISH" | b"EVAL" if *state == Some(true) => {
                return Some(
                    "the writes of a transaction are one entry of the log, and its subscriptions count from after it",
                );
            }
            b"CLIENT" if line.subcommand() == b"REPLY" && state.is_some() => {
                return Some("replies are switched off within a transaction: Valkey refuses it");
            }
            b"AUTH" | b"HELLO" if state.is_some() && shows_other_user(line) => {
                return Some("Redis 8.2 loses the error of a user that is refused within EXEC");
            }
            b"GETEX"
                if line
                    .args
                    .iter()
                    .skip(2)
                    .any(|arg| arg == b"0" || arg == b"x") =>
            {
                return Some(
                    "Redis 8.2 reads the time of GETEX only if there is a key; Valkey does as Corgi",
                );
            }
            b"INCRBYFLOAT" if keeps_large_numbers(script) => {
                return Some(
                    "Redis counts with 64 bits of digits: large decimal numbers lose their part behind the point",
                );
            }
            _ if listens(line) && state.is_some() => *state = Some(true),
            _ => {}
        }
    }
    None
}

/// Whether a script has numbers of 19 digits.
fn keeps_large_numbers(script: &Script) -> bool {
    let mut args = script.0.iter().flat_map(|line| &line.args);
    args.any(|arg| arg.starts_with(b"9223372036854775"))
}

/// Whether a line shows a password for another user than `default`, whose password is any.
fn shows_other_user(line: &Line) -> bool {
    let user = match line.name().as_slice() {
        b"AUTH" if line.args.len() == 3 => Some(1),
        b"HELLO" => {
            let mut args = line.args.iter();
            let auth = args.position(|arg| arg.eq_ignore_ascii_case(b"AUTH"));
            auth.map(|at| at + 1)
        }
        _ => None,
    };
    user.and_then(|at| line.args.get(at))
        .is_some_and(|name| name != b"default")
}

fn mask_connection(items: &[Item]) -> Vec<String> {
    let mut out: Vec<Masked> = Vec::new();
    let mut last: Option<Line> = None;
    let mut queued: Vec<Line> = Vec::new();
    for item in items {
        let masked = match item {
            Item::Sent(line) => {
                if last
                    .as_ref()
                    .is_some_and(|last| ENDS.contains(&last.name().as_slice()))
                {
                    queued.clear();
                }
                last = Some(line.clone());
                Masked::Text(line.to_string())
            }
            Item::Came(value) => {
                let value = match &last {
                    Some(_) if is_push(value) => value.clone(),
                    _ if is_hello(value) => mask_hello(value),
                    Some(line) if line.name() == b"EXEC" => mask_exec(&queued, value),
                    Some(line) => {
                        if *value == Value::Line(b'+', b"QUEUED".to_vec()) {
                            queued.push(line.clone());
                        }
                        mask_reply(line, value.clone())
                    }
                    None => value.clone(),
                };
                let anonymous = last.as_ref().is_some_and(|line| line.args.len() == 1);
                Masked::of(value, anonymous)
            }
            Item::Closed | Item::Silence => {
                queued.clear();
                Masked::Text(item.to_string())
            }
        };
        out.push(masked);
    }
    sort_runs(out)
}

/// Masks the replies of a transaction: each by its command. A subscription answers more than once, so that the replies
/// after it are in the wrong places, and some outside of the list: then each is masked by all commands.
fn mask_exec(queued: &[Line], value: &Value) -> Value {
    let by_all = |value: &Value| {
        let hidden = if is_hello(value) {
            mask_hello(value)
        } else {
            value.clone()
        };
        queued
            .iter()
            .fold(hidden, |value, line| mask_reply(line, value))
    };
    match value {
        Value::List(b'*', items) if items.len() == queued.len() && !queued.iter().any(listens) => {
            let replies = items.iter().zip(queued);
            let replies = replies.map(|(reply, line)| match is_hello(reply) {
                true => mask_hello(reply),
                false => mask_reply(line, reply.clone()),
            });
            Value::List(b'*', replies.collect())
        }
        // Names that came outside of the list, as many as there are commands.
        Value::List(b'*', items) if items.iter().all(|item| matches!(item, Value::Bytes(..))) => {
            by_all(value)
        }
        Value::List(b'*', items) if items.len() == queued.len() => {
            Value::List(b'*', items.iter().map(by_all).collect())
        }
        other => by_all(other),
    }
}

fn listens(line: &Line) -> bool {
    line.name().ends_with(b"SUBSCRIBE")
}

/// Masks what differs by nature in the reply to one command.
fn mask_reply(line: &Line, mut value: Value) -> Value {
    let name = String::from_utf8_lossy(&line.name()).into_owned();
    let sub = String::from_utf8_lossy(&line.subcommand()).into_owned();
    match (name.as_str(), sub.as_str()) {
        // Which connection it is.
        ("CLIENT", "ID") => mask_number(&mut value),
        ("CLIENT", "INFO" | "LIST") => mask_clients(&mut value),
        // The clock, and the size of the command table.
        ("TIME", _) => mask_time(&mut value),
        ("LASTSAVE", _) => mask_number(&mut value),
        ("COMMAND", "COUNT") => mask_number(&mut value),
        ("ACL", "GENPASS") => mask_all(&mut value),
        // What the build has: Redis brings a module along.
        ("MODULE", "LIST") => value = Value::List(b'*', Vec::new()),
        // A word that Valkey and Corgi do not show: there is no `RESTORE`.
        ("ACL", "GETUSER" | "LIST") => drop_word(&mut value, "sanitize-payload"),
        // Where in its text a script failed: Redis and Valkey say it differently, and here is no interpreter.
        ("EVAL" | "EVALSHA", _) => cut_place(&mut value),
        // The order of a hash table.
        ("PUBSUB", "CHANNELS" | "SHARDCHANNELS") | ("KEYS", _) => sort(&mut value),
        // A second may pass on the way.
        ("TTL", _) => mask_ttl(&mut value),
        // Counted from a clock, unless it was given.
        ("EXPIRETIME" | "PEXPIRETIME", _) => mask_expiry(&mut value),
        (stream, _) if stream.starts_with('X') => streams::mask(line, &mut value),
        _ => {}
    }
    value
}

/// How long a key still has, to a minute.
fn mask_ttl(value: &mut Value) {
    if let Value::Line(b':', digits) = value
        && let Ok(seconds) = String::from_utf8_lossy(digits).parse::<i64>()
        && seconds > 0
    {
        *digits = format!("{}m", (seconds + 59) / 60).into_bytes();
    }
}

/// When a key expires; times that scripts give begin with nines.
fn mask_expiry(value: &mut Value) {
    if let Value::Line(b':', digits) = value
        && digits[0] != b'-'
        && !digits.starts_with(b"9999")
    {
        *digits = b"*".to_vec();
    }
}

/// The microseconds have as many digits as they need.
fn mask_time(value: &mut Value) {
    if let Value::List(_, items) = value {
        for item in items {
            mask_time(item);
        }
    } else if let Value::Bytes(_, bytes) = value {
        *bytes = b"*".to_vec();
    }
}

fn mask_all(value: &mut Value) {
    match value {
        Value::List(_, items) => items.iter_mut().for_each(mask_all),
        Value::Bytes(b'$', bytes) => bytes.fill(b'*'),
        other => mask_number(other),
    }
}

/// Takes a word out of texts, and elements out of lists that are this word.
fn drop_word(value: &mut Value, word: &str) {
    match value {
        Value::List(_, items) => {
            items.retain(|item| !matches!(item, Value::Bytes(_, text) if text == word.as_bytes()));
            items.iter_mut().for_each(|item| drop_word(item, word));
        }
        Value::Map(_, pairs) => pairs
            .iter_mut()
            .for_each(|(_, value)| drop_word(value, word)),
        Value::Bytes(_, text) => {
            let plain = String::from_utf8_lossy(text).into_owned();
            *text = plain.replace(&format!(" {word} "), " ").into_bytes();
        }
        Value::Line(..) | Value::Null(_) => {}
    }
}

fn cut_place(value: &mut Value) {
    if let Value::Line(b'-', text) = value {
        let plain = String::from_utf8_lossy(text).into_owned();
        let what = plain.split(" script: ").next().unwrap_or_default();
        *text = what.as_bytes().to_vec();
    }
}

fn mask_number(value: &mut Value) {
    if let Value::Line(b':', digits) = value {
        *digits = b"(number)".to_vec();
    }
}

/// Whether a value is what `HELLO` answers. Told by its shape: a subscription within `MULTI` answers more than once, so
/// that the replies of `EXEC` are not in their places.
fn is_hello(value: &Value) -> bool {
    let first = match value {
        Value::Map(_, pairs) => pairs.first().map(|(key, _)| key),
        Value::List(_, items) => items.first(),
        _ => None,
    };
    matches!(first, Some(Value::Bytes(b'$', name)) if name == b"server")
}

/// Leaves out which connection and which build answered.
fn mask_hello(value: &Value) -> Value {
    const HIDDEN: [&[u8]; 4] = [b"id", b"version", b"modules", b"availability_zone"];
    let hidden =
        |key: &Value| matches!(key, Value::Bytes(b'$', key) if HIDDEN.contains(&key.as_slice()));
    match value {
        Value::Map(kind, pairs) => {
            let kept = pairs.iter().filter(|(key, _)| !hidden(key));
            Value::Map(*kind, kept.cloned().collect())
        }
        Value::List(kind, items) => {
            let kept = items.chunks(2).filter(|pair| !hidden(&pair[0]));
            Value::List(*kind, kept.flatten().cloned().collect())
        }
        other => other.clone(),
    }
}

fn mask_clients(value: &mut Value) {
    let (Value::Bytes(_, text) | Value::Line(b'+', text)) = value else {
        return;
    };
    let plain = String::from_utf8_lossy(text).into_owned();
    let lines = plain.lines().map(|line| {
        let fields = line.trim_start_matches("txt:").split(' ');
        let shown = fields.filter(|field| {
            let name = field.split('=').next().unwrap_or_default();
            !CLIENT_FIELDS.contains(&name)
        });
        shown.collect::<Vec<_>>().join(" ")
    });
    let mut lines: Vec<String> = lines.collect();
    lines.sort_unstable();
    *text = lines.join("\n").into_bytes();
}

fn sort(value: &mut Value) {
    if let Value::List(_, items) = value {
        items.sort_unstable();
    }
}

/// One line of the text, and whether its neighbours may be in another order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Masked {
    Text(String),
    /// One message by one of several patterns: a real server goes through them in the order of a hash table.
    ByPattern {
        group: String,
        pattern: String,
    },
    /// One of all subscriptions that end at once: likewise. The counts stay in order.
    Ended {
        name: String,
        rest: String,
    },
}

impl Masked {
    fn of(value: Value, anonymous: bool) -> Self {
        if let Value::List(kind, items) = &value {
            let name = value.push_name().unwrap_or_default();
            let text = |item: &Value| item.to_string();
            match (name, items.as_slice()) {
                (b"pmessage", [_, pattern, channel, payload]) => {
                    return Self::ByPattern {
                        group: format!("{}pmessage {channel} {payload}", char::from(*kind)),
                        pattern: text(pattern),
                    };
                }
                (b"unsubscribe" | b"punsubscribe" | b"sunsubscribe", [verb, name, count])
                    if anonymous =>
                {
                    return Self::Ended {
                        name: text(name),
                        rest: format!("{}{verb} {count}", char::from(*kind)),
                    };
                }
                _ => {}
            }
        }
        Self::Text(format!("   {value}"))
    }
}

fn sort_runs(items: Vec<Masked>) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = items.as_slice();
    while let Some(first) = rest.first() {
        let run = match first {
            Masked::Text(_) => 1,
            Masked::ByPattern { group, .. } => rest
                .iter()
                .take_while(|item| matches!(item, Masked::ByPattern { group: g, .. } if g == group))
                .count(),
            Masked::Ended { .. } => rest
                .iter()
                .take_while(|item| matches!(item, Masked::Ended { .. }))
                .count(),
        };
        let (these, after) = rest.split_at(run);
        let mut names: Vec<&String> = these
            .iter()
            .filter_map(|item| match item {
                Masked::ByPattern { pattern: name, .. } | Masked::Ended { name, .. } => Some(name),
                Masked::Text(_) => None,
            })
            .collect();
        names.sort_unstable();
        for (i, item) in these.iter().enumerate() {
            out.push(match item {
                Masked::Text(text) => text.clone(),
                Masked::ByPattern { group, .. } => format!("   {group} by {}", names[i]),
                Masked::Ended { rest, .. } => format!("   {rest} of {}", names[i]),
            });
        }
        rest = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::script::Script;
    use crate::diff::wire::decode;

    fn transcript(line: &str, replies: &[&[u8]]) -> Transcript {
        let mut all = Transcript::default();
        all.0[0].push(Item::Sent(Script::parse(line).0.remove(0)));
        let values = replies
            .iter()
            .map(|bytes| decode(&mut &bytes[..]).expect("whole"));
        all.0[0].extend(values.map(Item::Came));
        all
    }

    #[test]
    fn what_is_masked_does_not_count_and_everything_else_does() {
        let id = |n: &[u8]| transcript("0> CLIENT ID", &[n]);
        assert_eq!(compare(&id(b":1\r\n"), &id(b":27\r\n")), None);
        assert!(compare(&id(b":1\r\n"), &id(b"$1\r\n1\r\n")).is_some());
        let info = |text: &[u8]| transcript("0> CLIENT INFO", &[text]);
        let (one, two) = (
            &b"$12\r\nid=1 name=ab\r\n"[..],
            &b"$13\r\nid=22 name=ab\r\n"[..],
        );
        assert_eq!(compare(&info(one), &info(two)), None);
        assert!(compare(&info(one), &info(b"$12\r\nid=1 name=ac\r\n")).is_some());
        let pong = |text: &[u8]| transcript("0> PING", &[text]);
        assert!(compare(&pong(b"+PONG\r\n"), &pong(b"+PANG\r\n")).is_some());
        assert!(compare(&pong(b"+PONG\r\n"), &pong(b"$4\r\nPONG\r\n")).is_some());
        let twice = transcript("0> PING", &[b"+PONG\r\n", b"+PONG\r\n"]);
        assert!(compare(&pong(b"+PONG\r\n"), &twice).is_some());
    }

    #[test]
    fn what_transactions_do_differently_is_left_out_and_nothing_else() {
        let is_known = |text: &str| known(&Script::parse(text)).is_some();
        assert!(is_known(
            "0> MULTI\n0> SUBSCRIBE a\n0> MULTI\n0> PUBLISH a x"
        ));
        assert!(!is_known(
            "0> MULTI\n0> SUBSCRIBE a\n0> EXEC\n0> MULTI\n0> PUBLISH a x"
        ));
        assert!(is_known("0> MULTI\n0> AUTH nobody x\n0> EXEC"));
        assert!(is_known("0> MULTI\n0> HELLO 3 auth nobody x\n0> EXEC"));
        assert!(!is_known("0> MULTI\n0> AUTH default x\n0> AUTH x\n0> EXEC"));
        assert!(!is_known("0> MULTI\n1> AUTH nobody x\n0> EXEC"));
        assert!(!is_known("0> MULTI\n0> EXEC\n0> AUTH nobody x"));
    }

    #[test]
    fn only_the_order_of_one_messages_patterns_is_free() {
        let message = |pattern: &str, payload: &str| {
            let text = format!(
                "*4\r\n$8\r\npmessage\r\n$1\r\n{pattern}\r\n$1\r\nc\r\n$1\r\n{payload}\r\n"
            );
            text.into_bytes()
        };
        let (a, b, later) = (message("*", "1"), message("?", "1"), message("*", "2"));
        let seen = |parts: &[&Vec<u8>]| {
            let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_slice()).collect();
            transcript("0> PING", &parts)
        };
        assert_eq!(compare(&seen(&[&a, &b]), &seen(&[&b, &a])), None);
        assert!(compare(&seen(&[&a, &later]), &seen(&[&later, &a])).is_some());
        assert!(compare(&seen(&[&a, &b]), &seen(&[&a, &a])).is_some());
    }
}
