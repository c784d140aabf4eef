//! One client as a line of `CLIENT LIST` (<https://redis.io/docs/latest/commands/client-list/>), and which clients a
//! filter means.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use corgi_base::Protocol;
use corgi_session::{ClientFilter, ClientIs, ClientKind};

use super::registry::{Ends, Entry, Seen};

/// Returns the line, its end included. Fields that have no counterpart have the value of a Redis in which nothing of
/// the kind happens.
pub(crate) fn line(entry: &Entry, seen: &Seen, now: Instant) -> String {
    let view = &seen.view;
    let text = |value: &Option<Bytes>| {
        value.as_ref().map_or_else(String::new, |value| {
            String::from_utf8_lossy(value).into_owned()
        })
    };
    let mut out = String::with_capacity(320);
    let ends = &entry.ends;
    write!(
        out,
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} \
         multi={} watch={} qbuf={} qbuf-free={} argv-mem=0 multi-mem={} rbs=0 rbp=0 obl=0 oll={} omem={} \
         tot-mem={} events={} cmd={} user={} redir=-1 resp={} lib-name={} lib-ver={} io-thread=0 \
         tot-net-in={} tot-net-out={} tot-cmds={}",
        entry.id.0,
        ends.addr,
        ends.local_addr,
        ends.fd,
        text(&view.name),
        seconds(entry.since, now),
        seconds(seen.last_input, now),
        flags(entry, seen),
        view.database,
        view.channels,
        view.patterns,
        view.shard_channels,
        view.multi.map_or(-1, |queued| queued as i64),
        view.watched,
        seen.input,
        seen.input_capacity.saturating_sub(seen.input),
        view.multi_bytes,
        u8::from(view.output > 0),
        view.output,
        memory(seen),
        if view.output > 0 { "rw" } else { "r" },
        view.command,
        String::from_utf8_lossy(&view.user),
        match view.protocol {
            Protocol::Resp2 => 2,
            Protocol::Resp3 => 3,
        },
        text(&view.lib_name),
        text(&view.lib_ver),
        seen.bytes_in,
        seen.bytes_out,
        view.commands,
    )
    .expect("a String takes all");
    out.push('\n');
    out
}

/// Returns about how many bytes a client takes: its buffers, and its state.
pub(crate) fn memory(seen: &Seen) -> usize {
    size_of::<Entry>()
        + size_of::<Seen>()
        + seen.input_capacity
        + seen.view.multi_bytes
        + seen.view.output
}

fn seconds(since: Instant, now: Instant) -> u64 {
    now.saturating_duration_since(since).as_secs()
}

/// Redis' letters, in Redis' order.
fn flags(entry: &Entry, seen: &Seen) -> String {
    let view = &seen.view;
    let letters = [
        ('O', view.monitor),
        ('P', listens(seen)),
        ('x', view.multi.is_some()),
        ('b', view.paused || view.blocked),
        ('A', entry.killed()),
        ('U', entry.ends.unix),
        ('e', view.no_evict),
        ('T', view.no_touch),
    ];
    let set: String = letters
        .iter()
        .filter(|(_, set)| *set)
        .map(|(letter, _)| letter)
        .collect();
    if set.is_empty() { "N".to_owned() } else { set }
}

/// Whether a client has subscriptions.
pub(crate) fn listens(seen: &Seen) -> bool {
    seen.view.channels + seen.view.patterns + seen.view.shard_channels > 0
}

/// Returns whether a client passes all tests of a filter. Whether it is the one that asks is not looked at.
pub(crate) fn fits(filter: &ClientFilter, entry: &Entry, seen: &Seen, now: Instant) -> bool {
    filter
        .tests
        .iter()
        .all(|test| test.not != is(&test.is, entry, seen, now))
}

fn is(what: &ClientIs, entry: &Entry, seen: &Seen, now: Instant) -> bool {
    let view = &seen.view;
    let named = |own: &Option<Bytes>, name: &Bytes| own.as_deref().unwrap_or_default() == &name[..];
    match what {
        ClientIs::Addr(addr) => entry.ends.addr.as_bytes() == &addr[..],
        ClientIs::AgeMin(min) => seconds(entry.since, now) >= *min,
        ClientIs::Database(database) => view.database == *database,
        ClientIs::Flags(wanted) => {
            let flags = flags(entry, seen);
            wanted
                .iter()
                .all(|letter| flags.as_bytes().contains(letter))
        }
        ClientIs::Id(ids) => ids.contains(&entry.id.0),
        ClientIs::IdleMin(min) => seconds(seen.last_input, now) >= *min,
        ClientIs::Ip(ip) => entry
            .ends
            .addr
            .parse::<SocketAddr>()
            .is_ok_and(|addr| addr.ip().to_string().as_bytes() == &ip[..]),
        ClientIs::LocalAddr(addr) => entry.ends.local_addr.as_bytes() == &addr[..],
        ClientIs::LibName(name) => named(&view.lib_name, name),
        ClientIs::LibVer(version) => named(&view.lib_ver, version),
        ClientIs::Name(name) => named(&view.name, name),
        ClientIs::Kind(ClientKind::Normal) => !listens(seen),
        ClientIs::Kind(ClientKind::Pubsub) => listens(seen),
        ClientIs::Kind(ClientKind::Master | ClientKind::Replica) => false,
        ClientIs::User(user) => view.user == *user,
    }
}

/// Returns what `MONITOR` shows of a command: time, database, address, and the words, quoted.
pub(crate) fn monitored(micros: u128, database: u32, from: &Ends, args: &[Bytes]) -> Bytes {
    let addr = match from.addr.strip_suffix(":0").filter(|_| from.unix) {
        Some(path) => format!("unix:{path}"),
        None => from.addr.clone(),
    };
    let mut out = format!(
        "+{}.{:06} [{database} {addr}]",
        micros / 1_000_000,
        micros % 1_000_000
    );
    for arg in args {
        out.push_str(" \"");
        quote(arg, &mut out);
        out.push('"');
    }
    out.push_str("\r\n");
    out.into()
}

fn quote(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            7 => out.push_str("\\a"),
            8 => out.push_str("\\b"),
            b' '..=b'~' => out.push(char::from(*byte)),
            _ => write!(out, "\\x{byte:02x}").expect("a String takes all"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::registry::{Ends, Registry};
    use corgi_base::ClientId;
    use corgi_session::{ClientTest, Env, Session};
    use std::sync::Arc;
    use std::time::Duration;

    fn client(registry: &Registry, id: u64, change: impl FnOnce(&mut Seen)) -> Arc<Entry> {
        let ends = Ends {
            addr: format!("[::1]:{id}"),
            local_addr: "127.0.0.1:6379".to_owned(),
            unix: false,
            fd: 9,
        };
        let entry = registry.enter(ClientId(id), ends, Arc::default());
        let mut seen = Seen {
            view: Session::new(ClientId(id), Arc::new(Env::default())).view(),
            last_input: entry.since,
            input: 3,
            input_capacity: 10,
            bytes_in: 20,
            bytes_out: 30,
        };
        change(&mut seen);
        entry.see(seen);
        entry
    }

    #[test]
    fn a_line_has_redis_fields_in_redis_order() {
        let registry = Registry::new();
        let entry = client(&registry, 7, |seen| {
            seen.view.name = Some(Bytes::from_static(b"me"));
            seen.view.patterns = 2;
            seen.view.no_evict = true;
        });
        let now = entry.since + Duration::from_secs(5);
        let line = line(&entry, &entry.seen().expect("seen"), now);
        let names: Vec<_> = line
            .split_whitespace()
            .map(|field| field.split('=').next().unwrap_or_default())
            .collect();
        // As redis-server 8.2 lists them.
        let redis = "id addr laddr fd name age idle flags db sub psub ssub multi watch qbuf qbuf-free argv-mem \
            multi-mem rbs rbp obl oll omem tot-mem events cmd user redir resp lib-name lib-ver io-thread tot-net-in \
            tot-net-out tot-cmds";
        assert_eq!(names, redis.split_whitespace().collect::<Vec<_>>());
        assert!(line.starts_with(
            "id=7 addr=[::1]:7 laddr=127.0.0.1:6379 fd=9 name=me age=5 idle=5 flags=Pe db=0 "
        ));
        assert!(
            line.contains(" psub=2 ")
                && line.contains(" cmd=NULL user=default ")
                && line.ends_with('\n')
        );
    }

    #[test]
    fn every_test_of_a_filter_has_two_sides() {
        let registry = Registry::new();
        let one = client(&registry, 1, |_| {});
        client(&registry, 2, |seen| {
            seen.view.channels = 1;
            seen.view.database = 3;
            seen.view.name = Some(Bytes::from_static(b"n"));
            seen.view.lib_name = Some(Bytes::from_static(b"l"));
            seen.view.lib_ver = Some(Bytes::from_static(b"v"));
            seen.view.no_touch = true;
            seen.last_input += Duration::from_secs(50);
        });
        let text = Bytes::from_static;
        let only_two = [
            ClientIs::Addr(text(b"[::1]:2")),
            ClientIs::Database(3),
            ClientIs::Flags(text(b"TP")),
            ClientIs::Id(vec![2, 9]),
            ClientIs::Kind(ClientKind::Pubsub),
            ClientIs::LibName(text(b"l")),
            ClientIs::LibVer(text(b"v")),
            ClientIs::Name(text(b"n")),
        ];
        let now = one.since + Duration::from_secs(100);
        let ids = |not, is| -> Vec<u64> {
            let filter = ClientFilter {
                tests: vec![ClientTest { not, is }],
                skip_me: None,
            };
            let found = registry.select(&filter, now);
            found.iter().map(|(entry, _)| entry.id.0).collect()
        };
        for is in only_two {
            assert_eq!(ids(false, is.clone()), [2], "{is:?}");
            assert_eq!(ids(true, is.clone()), [1], "{is:?}");
        }
        for is in [ClientIs::IdleMin(60), ClientIs::Kind(ClientKind::Normal)] {
            assert_eq!(ids(false, is.clone()), [1], "{is:?}");
        }
        for is in [
            ClientIs::AgeMin(50),
            ClientIs::Ip(text(b"::1")),
            ClientIs::LocalAddr(text(b"127.0.0.1:6379")),
            ClientIs::User(text(b"default")),
        ] {
            assert_eq!(ids(false, is.clone()), [1, 2], "{is:?}");
        }
        assert_eq!(ids(false, ClientIs::Kind(ClientKind::Replica)), [0; 0]);
    }

    #[test]
    fn a_monitored_command_is_one_quoted_line() {
        let args = [
            Bytes::from_static(b"SET"),
            Bytes::from_static(b"a\"b\\\r\n\x00\xff"),
        ];
        let mut from = Ends {
            addr: "127.0.0.1:5".to_owned(),
            ..Ends::default()
        };
        assert_eq!(
            monitored(1_500_000, 2, &from, &args),
            "+1.500000 [2 127.0.0.1:5] \"SET\" \"a\\\"b\\\\\\r\\n\\x00\\xff\"\r\n"
        );
        from = Ends {
            addr: "/run/c.sock:0".to_owned(),
            unix: true,
            ..from
        };
        assert_eq!(
            monitored(1, 0, &from, &[]),
            "+0.000001 [0 unix:/run/c.sock]\r\n"
        );
    }
}
