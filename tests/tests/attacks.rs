//! What hostile clients try, against a real process: docs/security.md has the list, and where the rest is tested.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use corgi_tests::diff::Value;
use corgi_tests::diff::wire::Wire;
use corgi_tests::raw::encode;
use corgi_tests::{Node, RawClient, node};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

fn started(args: &[&str]) -> Node {
    let mut node = Node::single(args);
    node.start();
    node
}

fn client(node: &Node) -> RawClient {
    RawClient::connect(node.port, node::REPLY_TIMEOUT)
}

fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// Reads how much memory the process has, in bytes.
fn resident(node: &Node) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let digits = line.unwrap().trim_matches(|c: char| !c.is_ascii_digit());
    digits.parse::<u64>().unwrap() << 10
}

/// SEC-02, SEC-04: by users that have shown their password and may do nothing.
#[test]
fn lengths_that_users_without_rights_declare_take_no_memory() {
    const CLIENTS: usize = 1000;
    raise_open_files();
    let node = started(&["--proto-max-bulk-len", "64mb"]);
    let mut healthy = client(&node);
    let rules: [&[u8]; 6] = [b"ACL", b"SETUSER", b"u", b"on", b"nopass", b"-@all"];
    assert_eq!(healthy.ask(&rules), "+OK");
    let mut crowd: Vec<RawClient> = (0..CLIENTS)
        .map(|_| {
            let mut client = client(&node);
            assert_eq!(client.ask(&[b"AUTH", b"u", b"x"]), "+OK");
            client
        })
        .collect();
    let before = resident(&node);
    // What is declared is in the same packet as a command, so it is read once that is answered.
    let declared = b"*1024\r\n$7\r\nPUBLISH\r\n$67108864\r\n";
    let request = [&encode(&[b"ECHO", b"x"])[..], declared].concat();
    for client in &mut crowd {
        client.send(&request).unwrap();
    }
    for client in &mut crowd {
        assert!(client.line().starts_with("-NOPERM"));
    }
    assert_eq!(healthy.ask(&[b"PUBLISH", b"a", b"x"]), ":0");
    let each = resident(&node).saturating_sub(before) / CLIENTS as u64;
    println!("{each} bytes for each declared length of 64 MB");
    assert!(each < 64 << 10, "{each} bytes each");
}

/// Returns the middle of the round trips of a healthy client, while of `crowd` others half say nothing, and the other
/// half send a request byte by byte: some bytes with every request of the healthy one.
fn median_round_trip(node: &Node, crowd: usize) -> Duration {
    let mut healthy = client(node);
    let mut crowd: Vec<RawClient> = (0..crowd).map(|_| client(node)).collect();
    let half = crowd.len() / 2;
    let begin = b"*2\r\n$4\r\nECHO\r\n$4000\r\n";
    let (_idle, slow) = crowd.split_at_mut(half);
    let mut sent = vec![0; slow.len()];
    let mut times: Vec<Duration> = (0..400)
        .map(|round| {
            for at in (0..25).map(|more| (round * 25 + more) % half) {
                let byte = begin.get(sent[at]).copied().unwrap_or(b'x');
                slow[at].send(&[byte]).unwrap();
                sent[at] += 1;
            }
            let (time, reply) = healthy.timed(&[b"PING"]);
            assert_eq!(reply, "+PONG");
            time
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

/// SEC-07: a crowd of ten thousand is compared with one of fifty that sends as many bytes, so that the speed of the
/// machine does not count.
#[test]
fn ten_thousand_idle_and_slow_clients_leave_a_healthy_one_alone() {
    raise_open_files();
    let node = started(&["--maxclients", "11000"]);
    let few = median_round_trip(&node, 50);
    let many = median_round_trip(&node, 10_000);
    println!("a round trip takes {few:?} with 50 others and {many:?} with 10,000");
    let bound = few.max(Duration::from_millis(1)) * 2;
    assert!(many <= bound, "{many:?}, and {few:?} with 50");
}

/// Commands that answer with what clients have sent, or refuse it. What changes the connection's mode or waits is left
/// out: it does not have one reply each by its nature.
const COMMANDS: [&str; 26] = [
    "ECHO", "PING", "GET", "PUBLISH", "SPUBLISH", "PUBSUB", "ACL", "AUTH", "HELLO", "CONFIG",
    "COMMAND", "INFO", "SELECT", "OBJECT", "MEMORY", "LATENCY", "SLOWLOG", "MODULE", "EVAL",
    "EVALSHA", "SCRIPT", "WATCH", "DISCARD", "EXEC", "LOLWUT", "",
];
const WORDS: [&str; 22] = [
    "SETUSER", "GETUSER", "DRYRUN", "LOG", "CAT", "CHANNELS", "NUMSUB", "GET", "SET", "GETKEYS",
    "DOCS", "INFO", "LOAD", "HELP", "u", "2", "3", "default", "0", "timeout", "~a", "+ping",
];

fn argument() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => select(&WORDS[..]).prop_map(|word| word.as_bytes().to_vec()),
        2 => vec(any::<u8>(), 0..30),
        2 => vec(select(b"\r\n\0+-:$*%_#,(!=~> a".to_vec()), 0..30),
    ]
}

/// SEC-15: no bytes of a client end a reply, or begin one.
#[test]
fn each_command_has_one_reply_whatever_is_in_its_arguments() {
    let node = started(&[]);
    let name = prop_oneof![
        8 => select(&COMMANDS[..]).prop_map(|name| name.as_bytes().to_vec()),
        1 => argument(),
    ];
    let config = Config {
        cases: 3000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(15),
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&(name, vec(argument(), 0..5)), |(name, args)| {
        // A name that was made by chance may be a command that is left out above.
        prop_assume!(
            COMMANDS.contains(&&*String::from_utf8_lossy(&name))
                || name.len() > 12
                || !name.is_ascii()
        );
        let words: Vec<&[u8]> = [&name[..]]
            .into_iter()
            .chain(args.iter().map(|a| &a[..]))
            .collect();
        let mut wire = Wire::connect(node.port, node::REPLY_TIMEOUT).unwrap();
        wire.send(&[encode(&words), encode(&[b"ECHO", b"marker"])].concat());
        let first = wire.read();
        prop_assert!(first.is_ok(), "{:?}", first);
        let second = wire.read();
        // `AUTH`, `ACL` and the like may have taken the permission for the second.
        let marker = second == Ok(Value::Bytes(b'$', b"marker".to_vec()));
        prop_assert!(marker, "{:?} and then {:?}", first, second);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// SEC-20: what is in the data folder is its owner's only, however the process was started.
#[test]
fn the_data_folder_and_what_is_in_it_is_its_owners_only() {
    fn check(path: &Path) {
        let mode = fs::metadata(path).unwrap().permissions().mode() & 0o777;
        if path.is_dir() {
            assert_eq!(mode, 0o700, "{}: {mode:o}", path.display());
            for entry in fs::read_dir(path).unwrap() {
                check(&entry.unwrap().path());
            }
        }
    }
    let mut node = started(&[]);
    assert_eq!(client(&node).ask(&[b"PUBLISH", b"a", b"x"]), ":0");
    assert!(node.terminate().success());
    check(node.dir());
}

/// SEC-19.
#[test]
fn what_is_dangerous_cannot_be_switched_on_by_a_client() {
    let node = started(&[]);
    let mut client = client(&node);
    for option in [&b"dir"[..], b"logfile", b"enable-debug-command"] {
        let reply = client.ask(&[b"CONFIG", b"SET", option, b"yes"]);
        assert!(reply.contains("can't set protected config"), "{reply}");
    }
    let reply = client.ask(&[b"DEBUG", b"SLEEP", b"0"]);
    assert!(
        reply.starts_with("-ERR DEBUG command not allowed"),
        "{reply}"
    );
}
