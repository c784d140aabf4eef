//! What a disk does to a process: an error of a sync ends it at once, and damage is noticed at the next start.

use corgi_tests::dump;
use corgi_tests::node::has_all;
use corgi_tests::{Node, RawClient, node};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A process whose sync failed is gone by then.
const GONE_WITHIN: Duration = Duration::from_secs(1);
/// `disk-stall-timeout` of that test.
const HANGS: Duration = Duration::from_secs(1);
/// Far more than the syncs that succeed.
const ATTEMPTS: usize = 2000;

/// `strace`, which must be able to trace here: what it shows is not shown otherwise.
fn strace() -> Command {
    let works = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .status();
    assert!(
        works.is_ok_and(|status| status.success()),
        "strace cannot trace here: scripts/setup installs it, a container needs --cap-add SYS_PTRACE"
    );
    Command::new("strace")
}

/// Publishes one by one until there is no answer; returns what was acknowledged, and when the last request was sent.
fn publish_until_the_end(node: &Node) -> (Vec<String>, Instant) {
    let mut client = RawClient::connect(node.port, node::REPLY_TIMEOUT);
    let mut acknowledged = Vec::new();
    for n in 0..ATTEMPTS {
        let payload = format!("message {n}");
        let sent = Instant::now();
        let asked = client.command(&[b"PUBLISH", b"a", payload.as_bytes()]);
        match asked.ok().and_then(|()| client.try_line()) {
            Some(reply) if reply.starts_with(':') => acknowledged.push(payload),
            _ => return (acknowledged, sent),
        }
    }
    panic!("no sync has failed in {ATTEMPTS} publishes");
}

#[test]
fn a_failed_sync_ends_the_process_within_a_second_and_nothing_is_acknowledged_after_it() {
    let mut node = Node::single(&[]);
    let inner = node.command();
    let mut command = strace();
    // Threads count their syncs on their own; it is the disk thread that has so many.
    command.args(["-f", "-o", "/dev/null", "-e", "trace=fdatasync"]);
    command.args(["-e", "inject=fdatasync:error=EIO:when=60+"]);
    command.arg(inner.get_program()).args(inner.get_args());
    node.spawn_command(command);
    node.wait_ready();
    let (acknowledged, sent) = publish_until_the_end(&node);
    let status = node.wait_exit();
    let took = sent.elapsed();
    assert!(!status.success(), "{status}");
    assert!(
        took < GONE_WITHIN,
        "gone only {took:?} after the last request"
    );
    assert!(!acknowledged.is_empty());
    let log = node.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("CRIT")).collect();
    assert_eq!(lines.len(), 1, "one clear line: {lines:?}");
    assert!(
        has_all(
            lines[0],
            &["cannot write to the data folder", "Input/output error"]
        ),
        "{}",
        lines[0]
    );

    node.start();
    assert!(node.terminate().success());
    let logged: Vec<String> = dump::publishes(node.dir(), "a")
        .into_iter()
        .map(|logged| logged.payload)
        .collect();
    assert!(
        logged.starts_with(&acknowledged),
        "what was acknowledged is there"
    );
    assert!(
        logged.len() <= acknowledged.len() + 1,
        "and at most the one without an answer"
    );
}

#[test]
fn a_disk_that_hangs_ends_the_process_with_one_line() {
    let mut node = Node::single(&["--disk-stall-timeout", "1000"]);
    let inner = node.command();
    let mut command = strace();
    command.args(["-f", "-o", "/dev/null", "-e", "trace=fdatasync"]);
    command.args(["-e", "inject=fdatasync:delay_enter=8000000:when=60+"]);
    command.arg(inner.get_program()).args(inner.get_args());
    node.spawn_command(command);
    node.wait_ready();
    let mut subscriber = RawClient::connect(node.port, node::REPLY_TIMEOUT);
    subscriber
        .command(&[b"SUBSCRIBE", b"b"])
        .expect("it is there");
    subscriber.skip_to(":1");
    let (acknowledged, sent) = publish_until_the_end(&node);
    // While the disk still hangs, which keeps the process from ending.
    assert_eq!(subscriber.try_line(), None, "nobody listens to it any more");
    let status = node.wait_exit();
    let took = sent.elapsed();
    assert!(!status.success(), "{status}");
    assert!(took > HANGS, "gone {took:?} after the last request");
    let log = node.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("CRIT")).collect();
    assert_eq!(lines.len(), 1, "one clear line: {lines:?}");
    assert!(
        has_all(lines[0], &["data", "hangs", "1000"]),
        "{}",
        lines[0]
    );

    node.start();
    assert!(node.terminate().success());
    let logged = dump::publishes(node.dir(), "a").into_iter();
    let logged: Vec<String> = logged.map(|logged| logged.payload).collect();
    assert!(logged.starts_with(&acknowledged));
}

#[test]
fn a_second_signal_ends_a_stop_that_waits_for_the_disk() {
    let mut node = Node::single(&["--disk-stall-timeout", "0"]);
    let inner = node.command();
    let mut command = strace();
    command.args(["-f", "-o", "/dev/null", "-e", "trace=fdatasync"]);
    command.args(["-e", "inject=fdatasync:delay_enter=12000000:when=60+"]);
    command.arg(inner.get_program()).args(inner.get_args());
    node.spawn_command(command);
    node.wait_ready();
    // Not that of strace, which passes no signals on.
    let id = node.info("process_id").and_then(|id| id.parse().ok());
    let node_process = Pid::from_raw(id.expect("a number")).expect("a process");
    let terminate = || kill_process(node_process, Signal::TERM).expect("it is there");
    let mut client = RawClient::connect(node.port, node::REPLY_TIMEOUT);
    // The first that hangs is answered after `write-timeout`, long before its sync is done.
    let publish: [&[u8]; 3] = [b"PUBLISH", b"a", b"x"];
    let hangs = (0..ATTEMPTS).any(|_| !client.ask(&publish).starts_with(':'));
    assert!(hangs, "no sync has hung in {ATTEMPTS} publishes");
    drop(client);
    terminate();
    node.wait_log(&["closed all clients"]);
    terminate();
    node.wait_log(&["stopping at once", "SIGTERM"]);
    assert_eq!(node.wait_exit().code(), Some(1));
}

/// The largest file of the log with the suffix.
fn largest(dir: &Path, suffix: &str) -> PathBuf {
    fs::read_dir(dir.join("raft"))
        .expect("the log is a folder")
        .map(|file| file.expect("it can be listed").path())
        .filter(|path| path.to_string_lossy().ends_with(suffix))
        .max_by_key(|path| fs::metadata(path).map_or(0, |data| data.len()))
        .expect("there is such a file")
}

/// Publishes, kills the process, damages the log, and returns what the next start says.
fn start_after(damage: impl FnOnce(&Path)) -> String {
    let mut node = Node::single(&[]);
    node.start();
    let mut client = RawClient::connect(node.port, node::REPLY_TIMEOUT);
    for _ in 0..50 {
        assert!(
            client
                .ask(&[b"PUBLISH", b"a", &[b'x'; 1000]])
                .starts_with(':')
        );
    }
    node.kill();
    damage(node.dir());
    node.spawn();
    let status = node.wait_exit();
    assert!(!status.success(), "{status}: {}", node.log());
    let log = node.log();
    log.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn a_flipped_byte_in_a_synced_log_is_named_at_the_next_start() {
    for from_end in [900, 30_000] {
        let said = start_after(|dir| {
            let path = largest(dir, ".log");
            let mut bytes = fs::read(&path).expect("the log can be read");
            let at = bytes.len() - from_end;
            bytes[at] ^= 0x10;
            fs::write(&path, bytes).expect("the log can be written");
        });
        assert!(
            has_all(&said, &["raft", "damaged", "new node-id"]),
            "{said}"
        );
    }
}

#[test]
fn a_log_whose_end_is_cut_off_is_named_at_the_next_start() {
    let said = start_after(|dir| {
        let path = largest(dir, ".log");
        let file = fs::OpenOptions::new()
            .write(true)
            .open(path)
            .expect("the log can be opened");
        let len = file.metadata().expect("it has a length").len();
        file.set_len(len - 5000).expect("it can be cut");
    });
    assert!(
        has_all(&said, &["raft", "its end is missing", "new node-id"]),
        "{said}"
    );
}
