//! Counts over the whole cluster: what `PUBLISH` and `PUBSUB` say on every node, right after a subscription is
//! confirmed, and after nodes have died and come back.

use corgi_tests::{Cluster, Node, RawClient, node, wait};
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

/// How often one node subscribes and another counts at once.
const ROUNDS: usize = 200;
/// The subscribers of a dead node count for 0.3 s more; the rest is for a busy machine.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(2);
/// A peer that stands still is waited for 0.3 s, once.
const DELAYED_AT_MOST: Duration = Duration::from_secs(2);

fn client(node: &Node) -> RawClient {
    RawClient::connect(node.port, node::REPLY_TIMEOUT)
}

/// Sends a command of one name and reads its confirmation.
fn confirmed(client: &mut RawClient, command: &[u8], name: &str) {
    assert_eq!(client.ask(&[command, name.as_bytes()]), "*3");
    let kind = String::from_utf8_lossy(command).to_lowercase();
    for expected in [format!("${}", kind.len()), kind, format!("${}", name.len())] {
        assert_eq!(client.line(), expected);
    }
    assert_eq!(client.line(), name);
    assert!(client.line().starts_with(':'));
}

fn numsub(client: &mut RawClient, name: &str) -> String {
    assert_eq!(client.ask(&[b"PUBSUB", b"NUMSUB", name.as_bytes()]), "*2");
    client.line();
    client.line();
    client.line()
}

#[test]
fn every_node_counts_a_subscription_as_soon_as_it_is_confirmed_and_no_longer_than_it_lasts() {
    let cluster = Cluster::start(3);
    let mut publishers: Vec<RawClient> = cluster.nodes.iter().map(client).collect();
    let mut subscribers: Vec<RawClient> = cluster.nodes.iter().map(client).collect();
    for round in 0..ROUNDS {
        let (at, other) = (round % 3, (round + 1 + round / 3 % 2) % 3);
        let (on, off) = match round % 2 {
            0 => (&b"SUBSCRIBE"[..], &b"UNSUBSCRIBE"[..]),
            _ => (&b"PSUBSCRIBE"[..], &b"PUNSUBSCRIBE"[..]),
        };
        let name = format!("round-{round}");
        let publisher = &mut publishers[other];
        confirmed(&mut subscribers[at], on, &name);
        let count = publisher.ask(&[b"PUBLISH", name.as_bytes(), b"x"]);
        assert_eq!(count, ":1", "n{} counts in round {round}", other + 1);
        for _ in 0..if round % 2 == 0 { 7 } else { 9 } {
            subscribers[at].line();
        }
        confirmed(&mut subscribers[at], off, &name);
        let count = publisher.ask(&[b"PUBLISH", name.as_bytes(), b"x"]);
        assert_eq!(count, ":0", "n{} counts in round {round}", other + 1);
    }
}

#[test]
fn a_killed_node_takes_its_subscribers_with_it_and_counts_again_when_it_is_back() {
    let mut cluster = Cluster::start(3);
    let mut staying = client(&cluster.nodes[0]);
    confirmed(&mut staying, b"SUBSCRIBE", "a");
    let mut going = client(&cluster.nodes[2]);
    confirmed(&mut going, b"SUBSCRIBE", "a");
    let mut others: Vec<RawClient> = cluster.nodes[..2].iter().map(client).collect();
    for other in &mut others {
        assert_eq!(numsub(other, "a"), ":2");
    }
    cluster.nodes[2].kill();
    let since = Instant::now();
    for other in &mut others {
        wait::until_true(wait::SOON, "the dead node is forgotten", || {
            numsub(other, "a") == ":1"
        });
    }
    let took = since.elapsed();
    assert!(took < FORGOTTEN_WITHIN, "forgotten after {took:?}");

    cluster.nodes[2].start();
    let mut back = client(&cluster.nodes[2]);
    assert_eq!(back.ask(&[b"PUBLISH", b"a", b"x"]), ":1", "it was told");
    let mut again = client(&cluster.nodes[2]);
    confirmed(&mut again, b"SUBSCRIBE", "a");
    for other in &mut others {
        assert_eq!(numsub(other, "a"), ":2");
    }
}

#[test]
fn a_node_that_stands_still_delays_no_subscription_for_long() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let (paused, at) = ((leader + 1) % 3, (leader + 2) % 3);
    let pid = i32::try_from(cluster.nodes[paused].pid()).ok();
    let pid = pid.and_then(Pid::from_raw).expect("a pid");
    kill_process(pid, Signal::STOP).expect("a child can be stopped");
    let since = Instant::now();
    let mut subscriber = client(&cluster.nodes[at]);
    for n in 0..20 {
        confirmed(&mut subscriber, b"SUBSCRIBE", &format!("s{n}"));
    }
    let took = since.elapsed();
    kill_process(pid, Signal::CONT).expect("a child can go on");
    assert!(took < DELAYED_AT_MOST, "20 subscriptions took {took:?}");
    let mut woken = client(&cluster.nodes[paused]);
    wait::until_true(wait::SOON, "the node that was paused counts", || {
        numsub(&mut woken, "s19") == ":1"
    });
}
