//! `kill -9` under load: every acknowledged message is delivered once, in one order, and is in every node's log.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use corgi_tests::check::{self, SubscriberHistory};
use corgi_tests::dump::Logged;
use corgi_tests::{Cluster, Listener, Load, PROTOCOLS, RawClient, Subscription, node};
use std::time::{Duration, Instant};

const CHANNEL: &str = "load";
const END: &str = "the end";

/// Acknowledged publishes that each publisher must have before and after each fault.
const STRETCH: usize = 2000;

/// The same where faults come quickly.
const SHORT_STRETCH: usize = 50;

/// An election takes 0.6 s to 1.2 s, rarely two are needed; the rest is for a busy machine.
const AGAIN_WITHIN: Duration = Duration::from_secs(5);

/// `write-timeout` is 2.5 s; the rest is for a busy machine.
const REFUSED_WITHIN: Duration = Duration::from_secs(5);

/// One subscriber by channel and one by pattern on each node, RESP2 and RESP3.
fn listen(cluster: &Cluster) -> Vec<(usize, Listener)> {
    let mut listeners = Vec::new();
    for (at, node) in cluster.nodes.iter().enumerate() {
        listeners.push((at, listen_by_channel(node.port, at)));
        let pattern = Subscription::Pattern("lo?d".to_owned());
        let protocol = PROTOCOLS[(at + 1) % 2];
        listeners.push((at, Listener::start(node.port, protocol, pattern).unwrap()));
    }
    listeners
}

fn listen_by_channel(port: u16, at: usize) -> Listener {
    let subscription = Subscription::Channel(CHANNEL.to_owned());
    Listener::start(port, PROTOCOLS[at % 2], subscription).unwrap()
}

fn ports(cluster: &Cluster) -> Vec<u16> {
    cluster.nodes.iter().map(|node| node.port).collect()
}

/// Publishes the last message of a test through each node's own connection until one acknowledges it.
fn publish_end(cluster: &Cluster) {
    let mut connection = cluster.nodes[0].connect(PROTOCOLS[0]).unwrap();
    redis::cmd("PUBLISH")
        .arg(CHANNEL)
        .arg(END)
        .exec(&mut connection)
        .unwrap();
}

/// What a listener heard up to the last message, as the checker wants it.
fn history(name: String, listener: &Listener, complete: bool) -> SubscriberHistory {
    if complete {
        listener.wait_for(END);
    }
    let received = listener.payloads();
    SubscriberHistory {
        name,
        received: up_to_end(received),
        complete,
    }
}

fn up_to_end(mut payloads: Vec<String>) -> Vec<String> {
    if let Some(end) = payloads.iter().position(|payload| payload == END) {
        payloads.truncate(end);
    }
    payloads
}

fn log_history(id: usize, logged: Vec<Logged>) -> SubscriberHistory {
    let payloads: Vec<String> = logged.into_iter().map(|logged| logged.payload).collect();
    assert!(
        payloads.iter().any(|payload| payload == END),
        "log {id} lacks the last message"
    );
    SubscriberHistory {
        name: format!("log {id}"),
        received: up_to_end(payloads),
        complete: true,
    }
}

fn log_histories(cluster: &mut Cluster) -> Vec<SubscriberHistory> {
    let logs = cluster.stop_and_dump(CHANNEL);
    (1..)
        .zip(logs)
        .map(|(id, logged)| log_history(id, logged))
        .collect()
}

/// Kills `victim` under load and starts it again; everything that was promised must have been kept.
fn kill_and_restart(choose: impl FnOnce(&mut Cluster) -> usize) {
    let mut cluster = Cluster::start(3);
    let listeners = listen(&cluster);
    let load = Load::start(&ports(&cluster), CHANNEL);
    load.wait_more(&[0, 1, 2], STRETCH);

    let victim = choose(&mut cluster);
    let others: Vec<usize> = (0..3).filter(|at| *at != victim).collect();
    cluster.nodes[victim].kill();
    let gap = load.first_after(&others, Instant::now());
    println!(
        "node {} killed: acknowledged again {gap:?} later",
        victim + 1
    );
    assert!(
        gap < AGAIN_WITHIN,
        "acknowledged again only {gap:?} after the kill"
    );
    load.wait_more(&others, STRETCH);

    cluster.nodes[victim].start();
    let late = listen_by_channel(cluster.nodes[victim].port, victim);
    load.wait_more(&[0, 1, 2], STRETCH);
    let publishers = load.stop();
    publish_end(&cluster);

    let mut subscribers: Vec<SubscriberHistory> = listeners
        .iter()
        .enumerate()
        .map(|(n, (at, listener))| {
            history(
                format!("subscriber {n} of node {}", at + 1),
                listener,
                *at != victim,
            )
        })
        .collect();
    late.wait_for(END);
    subscribers.push(history(
        "subscriber after the restart".to_owned(),
        &late,
        false,
    ));
    for (at, listener) in &listeners {
        assert_eq!(
            listener.ended().is_some(),
            *at == victim,
            "{:?}",
            listener.ended()
        );
    }
    drop((listeners, late));
    subscribers.extend(log_histories(&mut cluster));
    check::assert_kept(&publishers, &subscribers);
}

#[test]
fn killing_the_leader_under_load_loses_nothing_that_was_acknowledged() {
    kill_and_restart(Cluster::leader);
}

#[test]
fn killing_a_follower_under_load_loses_nothing_that_was_acknowledged() {
    kill_and_restart(|cluster| (cluster.leader() + 1) % 3);
}

#[test]
fn killing_all_nodes_under_load_loses_nothing_that_was_acknowledged() {
    let mut cluster = Cluster::start(3);
    let early = listen(&cluster);
    let load = Load::start(&ports(&cluster), CHANNEL);
    load.wait_more(&[0, 1, 2], STRETCH);
    cluster.nodes.iter_mut().for_each(corgi_tests::Node::kill);
    cluster.nodes.iter_mut().for_each(corgi_tests::Node::spawn);
    cluster.wait_ready();
    let late: Vec<Listener> = (0..3)
        .map(|at| listen_by_channel(cluster.nodes[at].port, at))
        .collect();
    load.wait_more(&[0, 1, 2], STRETCH);
    let publishers = load.stop();
    publish_end(&cluster);
    let mut subscribers = Vec::new();
    for (at, listener) in &early {
        listener.wait_end();
        subscribers.push(history(
            format!("early subscriber of node {}", at + 1),
            listener,
            false,
        ));
    }
    for (at, listener) in late.iter().enumerate() {
        listener.wait_for(END);
        subscribers.push(history(
            format!("late subscriber of node {}", at + 1),
            listener,
            false,
        ));
    }
    drop((early, late));
    subscribers.extend(log_histories(&mut cluster));
    check::assert_kept(&publishers, &subscribers);
}

/// All at once and again and again: nothing may depend on what only memory has.
#[test]
fn killing_all_nodes_twenty_times_loses_nothing_that_was_acknowledged() {
    let mut cluster = Cluster::start(3);
    let load = Load::start(&ports(&cluster), CHANNEL);
    for _ in 0..20 {
        load.wait_more(&[0, 1, 2], SHORT_STRETCH);
        cluster.nodes.iter_mut().for_each(corgi_tests::Node::kill);
        cluster.nodes.iter_mut().for_each(corgi_tests::Node::spawn);
        cluster.wait_ready();
    }
    load.wait_more(&[0, 1, 2], SHORT_STRETCH);
    let publishers = load.stop();
    publish_end(&cluster);
    let logs = log_histories(&mut cluster);
    check::assert_kept(&publishers, &logs);
}

#[test]
fn a_cluster_that_nothing_happens_to_keeps_its_promises_too() {
    let mut cluster = Cluster::start(3);
    let listeners = listen(&cluster);
    let load = Load::start(&ports(&cluster), CHANNEL);
    load.wait_more(&[0, 1, 2], 3 * STRETCH);
    let publishers = load.stop();
    publish_end(&cluster);
    let mut subscribers: Vec<SubscriberHistory> = listeners
        .iter()
        .map(|(at, listener)| history(format!("subscriber of node {}", at + 1), listener, true))
        .collect();
    drop(listeners);
    subscribers.extend(log_histories(&mut cluster));
    check::assert_kept(&publishers, &subscribers);
}

#[test]
fn a_publish_without_a_majority_is_answered_within_write_timeout() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let survivor = (leader + 1) % 3;
    let other = (leader + 2) % 3;
    let mut before = RawClient::connect(cluster.nodes[survivor].port, node::REPLY_TIMEOUT);
    cluster.nodes[leader].kill();
    cluster.nodes[other].kill();
    // The first may have been sent to a leader that is gone; later ones find that there is none.
    for n in 0..3 {
        let (took, reply) = before.timed(&[b"PUBLISH", b"minority", b"x"]);
        let honest = reply.starts_with("-CLUSTERDOWN ") || reply.starts_with("-INDETERMINATE ");
        assert!(honest, "publish {n} was answered {reply:?}");
        assert!(took < REFUSED_WITHIN, "publish {n} took {took:?}");
    }
    // Commands that need no majority go on.
    assert_eq!(before.ask(&[b"PING"]), "+PONG");
    cluster.nodes[leader].spawn();
    cluster.nodes[other].spawn();
    cluster.wait_ready();
    let reply = before.ask(&[b"PUBLISH", b"minority", b"again"]);
    assert!(
        reply.starts_with(':'),
        "the same connection is served again, not {reply:?}"
    );
}

/// A leader that lost its followers must not go on acknowledging.
#[test]
fn a_leader_without_followers_is_honest_too() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let mut client = RawClient::connect(cluster.nodes[leader].port, node::REPLY_TIMEOUT);
    assert!(
        client
            .ask(&[b"PUBLISH", b"alone", b"before"])
            .starts_with(':')
    );
    for at in (0..3).filter(|at| *at != leader) {
        cluster.nodes[at].kill();
    }
    for n in 0..3 {
        let (took, reply) = client.timed(&[b"PUBLISH", b"alone", b"x"]);
        let honest = reply.starts_with("-CLUSTERDOWN ") || reply.starts_with("-INDETERMINATE ");
        assert!(honest, "publish {n} was answered {reply:?}");
        assert!(took < REFUSED_WITHIN, "publish {n} took {took:?}");
    }
}

/// A batch that waited out its time is sent on empty, so that it cannot surface long after.
#[test]
fn a_publish_that_was_refused_never_appears() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let survivor = (leader + 1) % 3;
    for at in (0..3).filter(|at| *at != survivor) {
        cluster.nodes[at].kill();
    }
    let mut client = RawClient::connect(cluster.nodes[survivor].port, node::REPLY_TIMEOUT);
    let mut refused = Vec::new();
    for n in 0..5 {
        let payload = format!("minority {n}");
        let reply = client.ask(&[b"PUBLISH", CHANNEL.as_bytes(), payload.as_bytes()]);
        if reply.starts_with("-CLUSTERDOWN ") {
            refused.push(payload);
        } else {
            assert!(reply.starts_with("-INDETERMINATE "), "{reply:?}");
        }
    }
    for at in (0..3).filter(|at| *at != survivor) {
        cluster.nodes[at].spawn();
    }
    cluster.wait_ready();
    let listener = listen_by_channel(cluster.nodes[leader].port, 0);
    publish_end(&cluster);
    listener.wait_for(END);
    assert_eq!(
        listener.payloads(),
        [END],
        "nothing surfaces after the nodes are back"
    );
    drop(listener);
    for (id, log) in (1..).zip(cluster.stop_and_dump(CHANNEL)) {
        for logged in log {
            assert!(
                !refused.contains(&logged.payload),
                "log {id} has {}",
                logged.payload
            );
        }
    }
}
