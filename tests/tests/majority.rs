//! Nodes without a majority, and nodes that stand still.

use corgi_tests::{Cluster, Node, RawClient, node, wait};
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

/// `quorum-loss-timeout` is 3 s and the probes are half a second apart; the rest is for a busy machine.
const TOLD_WITHIN: Duration = Duration::from_secs(6);
/// The same, less what may pass between the loss and the first look at the clock.
const NOT_BEFORE: Duration = Duration::from_secs(2);
/// Far less than the `write-timeout` of that test.
const STOPPED_WITHIN: Duration = Duration::from_secs(5);
/// How long the leader stands still.
const PAUSE: Duration = Duration::from_secs(5);
/// An election takes 0.6 s to 1.2 s, rarely two are needed; the rest is for a busy machine.
const AGAIN_WITHIN: Duration = Duration::from_secs(4);

fn signal(node: &Node, signal: Signal) {
    let pid = i32::try_from(node.pid()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a pid"), signal).expect("a child can be sent a signal");
}

fn subscribe(node: &Node) -> RawClient {
    let mut client = RawClient::connect(node.port, Duration::from_secs(20));
    let confirmed = client.ask(&[b"SUBSCRIBE", b"a"]);
    assert_eq!(confirmed, "*3");
    for expected in ["$9", "subscribe", "$1", "a", ":1"] {
        assert_eq!(client.line(), expected);
    }
    client
}

#[test]
fn a_node_without_a_majority_closes_its_subscribers_refuses_new_ones_and_recovers() {
    let mut cluster = Cluster::start(3);
    let mut subscriber = subscribe(&cluster.nodes[0]);
    cluster.nodes[1].kill();
    cluster.nodes[2].kill();
    let since = Instant::now();
    let told = subscriber.line();
    let took = since.elapsed();
    assert!(told.starts_with("-CLUSTERDOWN "), "{told}");
    assert!(
        took > NOT_BEFORE && took < TOLD_WITHIN,
        "told after {took:?}"
    );
    assert_eq!(subscriber.try_line(), None, "and closed");
    let quorum = cluster.nodes[0].info("raft_quorum");
    assert_eq!(quorum.as_deref(), Some("lost"));
    let mut client = RawClient::connect(cluster.nodes[0].port, node::REPLY_TIMEOUT);
    let (took, refused) = client.timed(&[b"SUBSCRIBE", b"a"]);
    assert!(refused.starts_with("-CLUSTERDOWN "), "{refused}");
    assert!(
        took < Duration::from_secs(1),
        "refused at once, not after {took:?}"
    );
    assert_eq!(client.ask(&[b"PING"]), "+PONG");

    cluster.nodes[1].spawn();
    cluster.nodes[2].spawn();
    wait::until_true(wait::SOON, "the majority is back", || {
        cluster.nodes[0].info("raft_quorum").as_deref() == Some("ok")
    });
    drop(subscribe(&cluster.nodes[0]));
}

#[test]
fn a_node_without_a_majority_stops_at_once_and_says_what_became_of_its_writes() {
    let mut cluster = Cluster::start_with(3, &["--write-timeout", "60000"]);
    let leader = cluster.leader();
    let mut client = RawClient::connect(cluster.nodes[leader].port, node::REPLY_TIMEOUT);
    for other in (0..3).filter(|other| *other != leader) {
        cluster.nodes[other].kill();
    }
    wait::until_true(wait::SOON, "the leader has lost the others", || {
        cluster.nodes[leader].info("raft_peers_up").as_deref() == Some("0")
    });
    client
        .command(&[b"PUBLISH", b"a", b"x"])
        .expect("it is there");
    wait::until_true(wait::SOON, "the write waits", || {
        let under_way = ["raft_pending_bytes", "raft_batches_in_flight"];
        let waits = |field| cluster.nodes[leader].info(field).is_some_and(|n| n != "0");
        under_way.into_iter().any(waits)
    });
    let since = Instant::now();
    assert!(cluster.nodes[leader].terminate().success());
    let took = since.elapsed();
    assert!(took < STOPPED_WITHIN, "{took:?}");
    let reply = client.line();
    let honest = ["-INDETERMINATE ", "-CLUSTERDOWN "];
    assert!(honest.iter().any(|code| reply.starts_with(code)), "{reply}");
}

#[test]
fn a_leader_that_stands_still_is_replaced_and_follows_when_it_goes_on() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let other = (leader + 1) % 3;
    let mut listener = subscribe(&cluster.nodes[leader]);
    let mut client = RawClient::connect(cluster.nodes[other].port, node::REPLY_TIMEOUT);
    assert!(client.ask(&[b"PUBLISH", b"a", b"0"]).starts_with(':'));

    signal(&cluster.nodes[leader], Signal::STOP);
    let paused = Instant::now();
    let mut published = 1;
    let mut acknowledged = vec!["0".to_owned()];
    let mut longest = Duration::ZERO;
    while paused.elapsed() < PAUSE {
        let payload = published.to_string();
        let (took, reply) = client.timed(&[b"PUBLISH", b"a", payload.as_bytes()]);
        longest = longest.max(took);
        if reply.starts_with(':') {
            acknowledged.push(payload);
        } else {
            assert!(reply.starts_with("-INDETERMINATE "), "{reply}");
        }
        published += 1;
    }
    signal(&cluster.nodes[leader], Signal::CONT);
    assert!(
        longest < AGAIN_WITHIN,
        "the longest answer took {longest:?}"
    );
    assert!(client.ask(&[b"PUBLISH", b"a", b"end"]).starts_with(':'));

    // A subscriber of the node that stood still has missed nothing, and gets all in order.
    let mut heard = Vec::new();
    while heard.last().is_none_or(|last| last != "end") {
        let frame: Vec<String> = (0..7).map(|_| listener.line()).collect();
        heard.push(frame[6].clone());
    }
    heard.retain(|payload| acknowledged.contains(payload));
    assert_eq!(heard, acknowledged);
}
