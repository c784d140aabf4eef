//! Subscribers that do not read for a while: they keep their connections, cost next to nothing while they stand still,
//! and then get everything, each message once.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use corgi_tests::raw::encode;
use corgi_tests::{Cluster, Node, RawClient, wait};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const CHANNEL: &[u8] = b"load";
const SUBSCRIBED: &[u8] = b"*3\r\n$9\r\nsubscribe\r\n$4\r\nload\r\n:1\r\n";

/// So many subscribers stand still.
const STALLED: usize = 1000;
/// So many messages pass them by, of so many bytes: six times what the server may hold for all of them together.
const MESSAGES: usize = 3000;
const PAYLOAD: usize = 256;
/// What the process may take with all of them standing still, `maxmemory-clients` being 128 MB. In release builds it is
/// a third.
const RESIDENT_MAX: u64 = 600 << 20;

/// Lets this process, and those that it starts, have a socket for each subscriber.
fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// Subscribes over a Unix socket, whose buffers are small and the same everywhere.
fn subscribe(socket: &Path) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(wait::SOON)).unwrap();
    stream.write_all(&encode(&[b"SUBSCRIBE", CHANNEL])).unwrap();
    let mut confirmation = [0; SUBSCRIBED.len()];
    stream.read_exact(&mut confirmation).unwrap();
    assert_eq!(confirmation, SUBSCRIBED);
    stream
}

fn payload(n: usize, bytes: usize) -> Vec<u8> {
    let mut payload = format!("{n}:").into_bytes();
    payload.resize(bytes, b'x');
    payload
}

/// What a subscriber reads of `messages`.
fn stream(messages: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    messages
        .flat_map(|payload| encode(&[b"message", CHANNEL, &payload]))
        .collect()
}

/// Publishes in pipelines, each acknowledged before the next.
fn publish(client: &mut RawClient, messages: impl Iterator<Item = Vec<u8>>) {
    let messages: Vec<_> = messages.collect();
    for pipeline in messages.chunks(50) {
        let commands = pipeline
            .iter()
            .flat_map(|m| encode(&[b"PUBLISH", CHANNEL, m]));
        client.send(&commands.collect::<Vec<_>>()).unwrap();
        for _ in pipeline {
            let reply = client.line();
            assert!(reply.starts_with(':'), "{reply}");
        }
    }
}

/// Reads exactly what is expected.
fn read_all(stream: &mut UnixStream, expected: &[u8]) {
    let mut piece = vec![0; 256 << 10];
    let mut at = 0;
    while at < expected.len() {
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "closed after {at} of {} bytes", expected.len());
        assert!(
            expected[at..].starts_with(&piece[..read]),
            "a gap, a duplicate or another order between {at} and {}",
            at + read
        );
        at += read;
    }
}

fn resident(node: &Node, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .unwrap();
    let kib: u64 = line
        .trim_matches(|c: char| !c.is_ascii_digit())
        .parse()
        .unwrap();
    kib << 10
}

fn info(node: &Node, field: &str) -> u64 {
    node.info(field).unwrap().parse().unwrap()
}

fn wait_lagging(node: &Node, count: u64) {
    let what = format!("{count} clients lag");
    wait::until_true(wait::SOON, &what, || info(node, "lagging_clients") == count);
}

#[test]
fn a_thousand_stalled_subscribers_cost_little_and_then_get_everything() {
    raise_open_files();
    let sockets = tempfile::tempdir().unwrap();
    let socket = |id: u64| sockets.path().join(format!("{id}.sock"));
    let mut cluster = Cluster::prepare(3, |id| {
        let socket = socket(id).display().to_string();
        [
            "--cluster-secret",
            "a secret of the tests",
            "--unixsocket",
            &socket,
        ]
        .map(str::to_owned)
        .into()
    });
    cluster.nodes.iter_mut().for_each(Node::spawn);
    cluster.wait_ready();
    let leader = cluster.leader();
    let other = (0..3).find(|at| *at != leader).unwrap();

    let mut fast = subscribe(&socket(cluster.nodes[leader].id));
    let mut stalled: Vec<_> = (0..STALLED)
        .map(|_| subscribe(&socket(cluster.nodes[leader].id)))
        .collect();
    let before = resident(&cluster.nodes[leader], "VmRSS:");
    let expected = stream((0..MESSAGES).map(|n| payload(n, PAYLOAD)));
    let reader = thread::spawn({
        let expected = expected.clone();
        move || read_all(&mut fast, &expected)
    });

    let started = Instant::now();
    let mut publisher = RawClient::connect(cluster.nodes[leader].port, wait::SOON);
    let half = MESSAGES / 2;
    publish(&mut publisher, (0..half).map(|n| payload(n, PAYLOAD)));
    cluster.nodes[other].kill();
    publish(
        &mut publisher,
        (half..MESSAGES).map(|n| payload(n, PAYLOAD)),
    );
    reader.join().expect("the fast one gets everything");
    let published = started.elapsed();
    let node = &cluster.nodes[leader];
    wait_lagging(node, STALLED as u64);
    let (peak, now) = (resident(node, "VmHWM:"), resident(node, "VmRSS:"));
    let mib = |bytes: u64| bytes >> 20;
    println!(
        "{STALLED} stalled subscribers, {MESSAGES} messages of {PAYLOAD} bytes in {published:?}: resident {} MiB before, \
         {} MiB at the peak, {} MiB after; unbounded queues would be {} MiB",
        mib(before),
        mib(peak),
        mib(now),
        mib((expected.len() * STALLED) as u64)
    );
    assert!(peak <= RESIDENT_MAX, "{peak} bytes resident");

    let started = Instant::now();
    thread::scope(|scope| {
        for part in stalled.chunks_mut(STALLED / 8) {
            scope.spawn(|| {
                part.iter_mut()
                    .for_each(|stream| read_all(stream, &expected));
            });
        }
    });
    println!("all caught up in {:?}", started.elapsed());
    wait_lagging(node, 0);
    assert_eq!(info(node, "lagged_clients"), 0, "nobody is closed");
    let peak = resident(node, "VmHWM:");
    assert!(peak <= RESIDENT_MAX, "{peak} bytes resident");

    publish(&mut publisher, std::iter::once(payload(MESSAGES, PAYLOAD)));
    let last = stream(std::iter::once(payload(MESSAGES, PAYLOAD)));
    stalled
        .iter_mut()
        .for_each(|stream| read_all(stream, &last));
}

#[test]
fn a_subscriber_far_behind_is_fed_from_the_disk_while_messages_go_on() {
    let sockets = tempfile::tempdir().unwrap();
    let socket = sockets.path().join("c.sock");
    let mut node = Node::single(&["--unixsocket", &socket.display().to_string()]);
    node.start();
    let mut slow = subscribe(&socket);
    let mut publisher = RawClient::connect(node.port, wait::SOON);
    // More than is kept decoded in memory.
    let (far, more, bytes) = (2000, 500, 16 << 10);
    publish(&mut publisher, (0..far).map(|n| payload(n, bytes)));
    wait_lagging(&node, 1);
    let expected = stream((0..far + more).map(|n| payload(n, bytes)));
    let reader = thread::spawn(move || {
        read_all(&mut slow, &expected);
        slow
    });
    publish(&mut publisher, (far..far + more).map(|n| payload(n, bytes)));
    let mut slow = reader.join().expect("nothing is missing");
    wait_lagging(&node, 0);
    let (reads, read) = (
        info(&node, "cursor_reads"),
        info(&node, "cursor_read_bytes"),
    );
    println!("{reads} reads of the log, {read} bytes");
    assert!(read >= 8 << 20, "{read} bytes were read from the log");

    publish(&mut publisher, std::iter::once(payload(0, 10)));
    read_all(&mut slow, &stream(std::iter::once(payload(0, 10))));
}

#[test]
fn commands_of_a_subscriber_that_lags_are_answered_and_keep_their_order() {
    let limit = ["--client-output-buffer-limit", "pubsub 20kb 5kb 0"];
    let mut node = Node::single(&limit);
    node.start();
    let mut slow = RawClient::connect(node.port, Duration::from_secs(20));
    slow.command(&[b"HELLO", b"3"]).unwrap();
    slow.command(&[b"SUBSCRIBE", CHANNEL]).unwrap();
    slow.skip_to(">3");
    slow.skip_to(":1");
    let mut publisher = RawClient::connect(node.port, wait::SOON);
    // More than the sockets of a TCP connection take.
    let messages = 1500;
    publish(&mut publisher, (0..messages).map(|n| payload(n, 16 << 10)));
    wait_lagging(&node, 1);
    let own = [&b"PUBLISH"[..], CHANNEL, b"own"];
    slow.command(&own).unwrap();
    publish(&mut publisher, std::iter::once(b"other".to_vec()));
    slow.command(&[b"UNSUBSCRIBE", CHANNEL]).unwrap();
    slow.command(&[b"SUBSCRIBE", CHANNEL]).unwrap();
    slow.command(&[b"PING"]).unwrap();
    publish(&mut publisher, std::iter::once(b"after".to_vec()));

    // The sessions's words come in order; what was not written when it unsubscribed does not come at all.
    let mut seen = Vec::new();
    let mut next = 0;
    while seen.last().is_none_or(|line| line != "after") {
        let line = slow.line();
        if let Some((n, _)) = line.split_once(":x") {
            assert_eq!(n.parse(), Ok(next), "no gap and no duplicate");
            next += 1;
        } else if [
            ":1",
            ":0",
            "unsubscribe",
            "subscribe",
            "+PONG",
            "own",
            "after",
        ]
        .contains(&&line[..])
        {
            seen.push(line);
        }
    }
    assert!(next < messages, "the rest was not queued");
    let last = ["unsubscribe", ":0", "subscribe", ":1", "+PONG", "after"];
    assert!(seen.ends_with(&last.map(str::to_owned)), "{seen:?}");
    assert!(
        !seen.contains(&"own".to_owned())
            || seen.iter().position(|l| l == ":1") < seen.iter().position(|l| l == "own")
    );
    wait_lagging(&node, 0);
}
