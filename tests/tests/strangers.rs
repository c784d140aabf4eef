//! Whoever reaches the port of a node with a password, and does not know it, takes little of it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use corgi_tests::node::has_all;
use corgi_tests::{Node, RawClient, node, wait};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::os::unix::fs::PermissionsExt;

const STRANGERS: usize = 5000;
/// What all of them together may cost.
const COST_MAX: u64 = 100 << 20;
/// The longest request that is taken before a password is shown.
const ARGS: usize = 10;
const ARG: usize = 16 << 10;

fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// Reads one of the lines `VmRSS:`, `VmHWM:` of the process, in bytes.
fn resident(node: &Node, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    let kib: u64 = line
        .trim_matches(|c: char| !c.is_ascii_digit())
        .parse()
        .unwrap();
    kib << 10
}

/// As much as may be sent, but for the last byte.
fn unfinished_request() -> Vec<u8> {
    let mut request = format!("*{ARGS}\r\n").into_bytes();
    for _ in 0..ARGS {
        request.extend(format!("${ARG}\r\n").into_bytes());
        request.extend([b'x'; ARG]);
        request.extend(b"\r\n");
    }
    request.pop();
    request
}

#[test]
fn a_crowd_of_strangers_takes_little_memory() {
    raise_open_files();
    let mut node = Node::single(&["--requirepass", "geheim"]);
    node.spawn();
    node.wait_log(&["ready to accept connections"]);
    let connect = || RawClient::connect(node.port, node::REPLY_TIMEOUT);
    let mut publisher = connect();
    assert_eq!(publisher.ask(&[b"AUTH", b"geheim"]), "+OK");
    // The heap of a node that has done something.
    assert_eq!(publisher.ask(&[b"PUBLISH", b"a", b"x"]), ":0");
    let before = resident(&node, "VmRSS:");

    let request = unfinished_request();
    let strangers: Vec<_> = (0..STRANGERS)
        .map(|_| {
            let mut stranger = connect();
            // It may be closed before all is taken.
            let _all_taken = stranger.send(&request);
            stranger
        })
        .collect();
    let evicted = || node_says(&mut connect(), "evicted_clients:");
    wait::until_true(wait::SOON, "strangers are closed", || evicted() > 0);
    let cost = resident(&node, "VmHWM:").saturating_sub(before);
    assert!(
        cost <= COST_MAX,
        "{} MiB for {STRANGERS} strangers",
        cost >> 20
    );
    assert_eq!(publisher.ask(&[b"PUBLISH", b"a", b"x"]), ":0");
    drop(strangers);
}

/// Reads a number of `INFO`, with the password.
fn node_says(client: &mut RawClient, field: &str) -> u64 {
    assert_eq!(client.ask(&[b"AUTH", b"geheim"]), "+OK");
    client.command(&[b"INFO", b"stats"]).unwrap();
    loop {
        if let Some(number) = client.line().strip_prefix(field) {
            return number.parse().unwrap();
        }
    }
}

#[test]
fn users_that_everybody_may_read_are_warned_about_and_saved_for_their_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users.acl");
    fs::write(&file, "user default on nopass ~* &* +@all\n").unwrap();
    let chmod = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    chmod(0o644);
    let mut node = Node::single(&["--aclfile", file.to_str().unwrap()]);
    node.start();
    // What is logged may come a little after the reply.
    let warned = |node: &Node, mode: &str, times: usize| {
        let words = ["WARN", "users.acl", mode];
        let lines = || {
            node.log()
                .lines()
                .filter(|line| has_all(line, &words))
                .count()
        };
        wait::until_true(wait::SOON, "it is warned about", || lines() >= times);
        assert_eq!(lines(), times, "{}", node.log());
    };
    warned(&node, "0644", 1);
    let mut client = RawClient::connect(node.port, node::REPLY_TIMEOUT);
    assert_eq!(client.ask(&[b"ACL", b"LOAD"]), "+OK");
    warned(&node, "0644", 2);
    assert_eq!(client.ask(&[b"ACL", b"SAVE"]), "+OK");
    let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    assert_eq!(client.ask(&[b"ACL", b"LOAD"]), "+OK");
    chmod(0o604);
    assert_eq!(client.ask(&[b"ACL", b"LOAD"]), "+OK");
    warned(&node, "0604", 1);
    warned(&node, "06", 3);
}
