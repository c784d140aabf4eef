//! Members that come and go under load: nothing that was acknowledged is lost, and nobody is elected by mistake.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use corgi_tests::check::{self, SubscriberHistory};
use corgi_tests::{Cluster, Listener, Load, Node, PROTOCOLS, Subscription, ports, wait};
use redis::RedisResult;

const CHANNEL: &str = "load";
const END: &str = "the end";
const SECRET: [&str; 2] = ["--cluster-secret", "a secret of the tests"];
/// Acknowledged publishes of each publisher before and after each change.
const STRETCH: usize = 300;

/// Prepares a node that waits to be let into a cluster, and starts it. Without a `node-id`: `id` is what the cluster
/// will give.
fn newcomer(cluster: &Cluster, id: u64) -> Node {
    let dir = cluster.folder().join(format!("n{id}"));
    std::fs::create_dir(&dir).unwrap();
    let args = ["--cluster-join", "yes", SECRET[0], SECRET[1]];
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    let mut node = Node::joining(id, ports::free(), ports::free(), &dir, args);
    node.spawn();
    node.wait_log(&["waits to be let into a cluster"]);
    node
}

fn ask(node: &Node, words: &[&str]) -> RedisResult<String> {
    let mut command = redis::cmd("CLUSTER");
    for word in words {
        command.arg(word);
    }
    command.query(&mut node.connect(PROTOCOLS[0])?)
}

/// Lets `new` in, asked of `at`, and waits until it votes.
fn meet(at: &Node, new: &mut Node, replaces: Option<u64>) {
    let port = new.peer_port.to_string();
    let old = replaces.map(|id| id.to_string());
    let mut words = vec!["MEET", "127.0.0.1", &port];
    words.extend(old.iter().flat_map(|id| ["REPLACE", id.as_str()]));
    // An earlier change may still be on its way.
    wait::until_true(wait::SOON, "the node is let in", || ask(at, &words).is_ok());
    new.wait_ready();
    let id = new.id;
    wait::until_true(wait::SOON, &format!("node {id} votes"), || {
        voters(at).contains(&id)
    });
    assert_eq!(
        new.info("raft_node_id"),
        Some(id.to_string()),
        "the cluster gives the id"
    );
}

fn forget(at: &Node, id: u64) {
    let id = id.to_string();
    wait::until_true(wait::SOON, &format!("node {id} is removed"), || {
        ask(at, &["FORGET", &id]).is_ok()
    });
}

fn voters(node: &Node) -> Vec<u64> {
    let voters = node.info("raft_voters").unwrap_or_default();
    voters.split(',').filter_map(|id| id.parse().ok()).collect()
}

fn listener(node: &Node) -> Listener {
    let subscription = Subscription::Channel(CHANNEL.to_owned());
    Listener::start(node.port, PROTOCOLS[0], subscription).unwrap()
}

/// Ends the load and checks what `listener` heard from the beginning to the end.
fn check(load: Load, node: &Node, listener: &Listener) {
    let publishers = load.stop();
    redis::cmd("PUBLISH")
        .arg(CHANNEL)
        .arg(END)
        .exec(&mut node.connect(PROTOCOLS[0]).unwrap())
        .unwrap();
    listener.wait_for(END);
    let mut received = listener.payloads();
    received.truncate(received.iter().position(|payload| payload == END).unwrap());
    let heard = SubscriberHistory {
        name: "listener".to_owned(),
        received,
        complete: true,
    };
    check::assert_kept(&publishers, &[heard]);
}

#[test]
fn from_one_to_three_to_five_and_back_under_load() {
    let mut cluster = Cluster::start(1);
    let heard = listener(&cluster.nodes[0]);
    let load = Load::start(&[cluster.nodes[0].port], CHANNEL);
    for id in 2..=5 {
        load.wait_more(&[0], STRETCH);
        let mut new = newcomer(&cluster, id);
        let asked = &cluster.nodes[cluster.nodes.len() - 1];
        meet(asked, &mut new, None);
        cluster.nodes.push(new);
    }
    assert_eq!(voters(&cluster.nodes[0]), [1, 2, 3, 4, 5]);
    for id in [4, 5, 2, 3] {
        load.wait_more(&[0], STRETCH);
        forget(&cluster.nodes[0], id);
        let gone = cluster.nodes.iter_mut().find(|node| node.id == id).unwrap();
        assert!(gone.wait_exit().success(), "a removed node ends in order");
        gone.wait_log(&["removed from the cluster, stopping"]);
    }
    load.wait_more(&[0], STRETCH);
    assert_eq!(voters(&cluster.nodes[0]), [1]);
    check(load, &cluster.nodes[0], &heard);
}

#[test]
fn a_dead_node_is_replaced_and_may_not_come_back() {
    let mut cluster = Cluster::start(3);
    let dead = (cluster.leader() + 1) % 3;
    let alive: Vec<usize> = (0..3).filter(|at| *at != dead).collect();
    let heard = listener(&cluster.nodes[alive[0]]);
    let ports: Vec<u16> = alive.iter().map(|at| cluster.nodes[*at].port).collect();
    let load = Load::start(&ports, CHANNEL);
    load.wait_more(&[0, 1], STRETCH);
    cluster.nodes[dead].kill();
    let dead_id = cluster.nodes[dead].id;
    let mut new = newcomer(&cluster, 4);
    meet(&cluster.nodes[alive[1]], &mut new, Some(dead_id));
    assert!(!voters(&new).contains(&dead_id));
    load.wait_more(&[0, 1], STRETCH);
    cluster.nodes[dead].spawn();
    let status = cluster.nodes[dead].wait_exit();
    assert!(status.success(), "it is told, and ends in order");
    cluster.nodes[dead].wait_log(&["was removed from this cluster"]);
    check(load, &cluster.nodes[alive[0]], &heard);
}

#[test]
fn the_leader_is_removed_and_the_others_notice_nothing() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let others: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
    let heard = listener(&cluster.nodes[others[0]]);
    let ports: Vec<u16> = others.iter().map(|at| cluster.nodes[*at].port).collect();
    let load = Load::start(&ports, CHANNEL);
    load.wait_more(&[0, 1], STRETCH);
    forget(&cluster.nodes[leader], cluster.nodes[leader].id);
    assert!(cluster.nodes[leader].wait_exit().success());
    load.wait_more(&[0, 1], STRETCH);
    check(load, &cluster.nodes[others[0]], &heard);
}

#[test]
fn failover_makes_the_asked_node_lead() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let next = (leader + 1) % 3;
    let refused = ask(&cluster.nodes[leader], &["FAILOVER"]).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("should send CLUSTER FAILOVER to a replica")
    );
    assert_eq!(ask(&cluster.nodes[next], &["FAILOVER"]).unwrap(), "OK");
    assert_eq!(cluster.leader(), next);
    let ids: Vec<String> = (0..3)
        .map(|at| ask(&cluster.nodes[at], &["MYID"]).unwrap())
        .collect();
    let nodes = ask(&cluster.nodes[leader], &["NODES"]).unwrap();
    for id in &ids {
        assert!(
            nodes.contains(id.as_str()) && id.len() == 40,
            "{id} in {nodes}"
        );
    }
}
