//! Channels in bulk and odd ones: 100,000 on one connection, empty names and payloads, shard channels.

use corgi_tests::raw::encode;
use corgi_tests::{Cluster, RawClient};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);
const CHANNELS: usize = 100_000;

fn name(n: usize) -> String {
    format!("channel:{n}")
}

/// Sends commands of 1000 names each, and reads all confirmations, which count up, or down.
fn change(client: &mut RawClient, command: &str, word: &str, count: impl Fn(usize) -> usize) {
    for first in (0..CHANNELS).step_by(1000) {
        let names: Vec<String> = (first..first + 1000).map(name).collect();
        let mut args: Vec<&[u8]> = vec![command.as_bytes()];
        args.extend(names.iter().map(|name| name.as_bytes()));
        client.send(&encode(&args)).expect("the connection is open");
        for (n, name) in (first..).zip(&names) {
            client.expect(&format!(
                "*3\r\n${}\r\n{word}\r\n${}\r\n{name}\r\n:{}\r\n",
                word.len(),
                name.len(),
                count(n)
            ));
        }
    }
}

#[test]
fn a_connection_may_have_a_hundred_thousand_channels() {
    let cluster = Cluster::start(3);
    let mut subscriber = RawClient::connect(cluster.nodes[1].port, SOON);
    let mut publisher = RawClient::connect(cluster.nodes[0].port, SOON);
    let start = Instant::now();
    change(&mut subscriber, "SUBSCRIBE", "subscribe", |n| n + 1);
    change(&mut subscriber, "SSUBSCRIBE", "ssubscribe", |n| n + 1);
    for n in [0, 4711, CHANNELS - 1] {
        for (command, word) in [("PUBLISH", "message"), ("SPUBLISH", "smessage")] {
            let name = name(n);
            let reply = publisher.ask(&[command.as_bytes(), name.as_bytes(), b"x"]);
            assert!(reply.starts_with(':'), "{reply}");
            subscriber.expect(&format!(
                "*3\r\n${}\r\n{word}\r\n${}\r\n{name}\r\n$1\r\nx\r\n",
                word.len(),
                name.len()
            ));
        }
    }
    change(&mut subscriber, "UNSUBSCRIBE", "unsubscribe", |n| {
        CHANNELS - n - 1
    });
    // All of a kind at once: 100,000 confirmations in no promised order.
    subscriber.command(&[b"SUNSUBSCRIBE"]).unwrap();
    subscriber.skip_to(":0");
    assert_eq!(
        subscriber.ask(&[b"PING"]),
        "+PONG",
        "nothing is subscribed any more"
    );
    assert!(start.elapsed() < SOON, "took {:?}", start.elapsed());
}

#[test]
fn names_and_payloads_may_be_empty() {
    let cluster = Cluster::start(3);
    let mut subscriber = RawClient::connect(cluster.nodes[2].port, SOON);
    subscriber.command(&[b"SUBSCRIBE", b""]).unwrap();
    subscriber.expect("*3\r\n$9\r\nsubscribe\r\n$0\r\n\r\n:1\r\n");
    // No pattern but the empty one matches the empty name, as in Redis.
    subscriber.command(&[b"PSUBSCRIBE", b"", b"*"]).unwrap();
    subscriber.expect("*3\r\n$10\r\npsubscribe\r\n$0\r\n\r\n:2\r\n");
    subscriber.expect("*3\r\n$10\r\npsubscribe\r\n$1\r\n*\r\n:3\r\n");
    subscriber.command(&[b"SSUBSCRIBE", b""]).unwrap();
    subscriber.expect("*3\r\n$10\r\nssubscribe\r\n$0\r\n\r\n:1\r\n");
    let mut publisher = RawClient::connect(cluster.nodes[0].port, SOON);
    publisher.ask(&[b"PUBLISH", b"", b""]);
    publisher.ask(&[b"SPUBLISH", b"", b""]);
    subscriber.expect("*3\r\n$7\r\nmessage\r\n$0\r\n\r\n$0\r\n\r\n");
    subscriber.expect("*4\r\n$8\r\npmessage\r\n$0\r\n\r\n$0\r\n\r\n$0\r\n\r\n");
    subscriber.expect("*3\r\n$8\r\nsmessage\r\n$0\r\n\r\n$0\r\n\r\n");
    // What was never subscribed is confirmed all the same.
    subscriber
        .command(&[b"UNSUBSCRIBE", b"never", b""])
        .unwrap();
    subscriber.expect("*3\r\n$11\r\nunsubscribe\r\n$5\r\nnever\r\n:3\r\n");
    subscriber.expect("*3\r\n$11\r\nunsubscribe\r\n$0\r\n\r\n:2\r\n");
}
