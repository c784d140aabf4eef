//! Keys on three nodes, with redis-cli: written here, read there, through a restart of all, and gone when their time
//! has come.

use corgi_tests::{Cluster, Node, wait};
use std::process::Command;

/// Asks a node; the answer as redis-cli prints it.
fn cli(node: &Node, args: &[&str]) -> String {
    let port = node.port.to_string();
    let mut command = Command::new("redis-cli");
    command.args(["-p", &port]).args(args);
    let output = command
        .output()
        .expect("redis-cli is installed (scripts/setup)");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn what_one_node_acknowledged_every_node_reads_also_after_a_restart_of_all() {
    let mut cluster = Cluster::start(3);
    let [one, two, three] = &cluster.nodes[..] else {
        panic!("three nodes");
    };
    assert_eq!(cli(one, &["SET", "k", "first"]), "OK");
    assert_eq!(cli(two, &["GET", "k"]), "first");
    assert_eq!(cli(two, &["APPEND", "k", "+second"]), "12");
    assert_eq!(cli(three, &["GETRANGE", "k", "6", "-1"]), "second");
    for (n, node) in (1..).zip([one, two, three]) {
        assert_eq!(cli(node, &["INCR", "n"]), n.to_string());
    }
    assert_eq!(
        cli(one, &["-n", "3", "SET", "k", "of 3", "EX", "1000"]),
        "OK"
    );
    assert_eq!(cli(three, &["-n", "3", "DBSIZE"]), "1");
    let ttl: i64 = cli(two, &["-n", "3", "TTL", "k"]).parse().expect("seconds");
    assert!((900..=1000).contains(&ttl), "{ttl}");
    assert_eq!(
        cli(two, &["INCR", "k"]),
        "ERR value is not an integer or out of range"
    );
    assert_eq!(
        cli(two, &["LPUSH", "k", "x"]).split(',').next(),
        Some("ERR unknown command 'LPUSH'")
    );

    for node in &mut cluster.nodes {
        node.kill();
    }
    cluster.nodes.iter_mut().for_each(Node::spawn);
    cluster.wait_ready();
    for node in &cluster.nodes {
        assert_eq!(cli(node, &["MGET", "k", "n", "nosuch"]), "first+second\n3");
        assert_eq!(cli(node, &["-n", "3", "GET", "k"]), "of 3");
    }
    assert_eq!(cli(&cluster.nodes[1], &["FLUSHALL"]), "OK");
    assert_eq!(cli(&cluster.nodes[0], &["KEYS", "*"]), "");
}

#[test]
fn a_key_goes_on_all_nodes_although_nobody_writes() {
    let cluster = Cluster::start(3);
    assert_eq!(
        cli(&cluster.nodes[0], &["SET", "k", "v", "PX", "300"]),
        "OK"
    );
    for node in &cluster.nodes {
        wait::until_true(wait::SOON, "the key is gone", || {
            cli(node, &["EXISTS", "k"]) == "0"
        });
    }
}

#[test]
fn exec_fails_if_a_watched_key_was_written_on_another_node() {
    let cluster = Cluster::start(3);
    let mut watcher =
        corgi_tests::RawClient::connect(cluster.nodes[0].port, corgi_tests::node::REPLY_TIMEOUT);
    for (written, outcome) in [(true, "*-1"), (false, "*2")] {
        assert_eq!(watcher.ask(&[b"WATCH", b"k"]), "+OK");
        if written {
            assert_eq!(cli(&cluster.nodes[1], &["SET", "k", "other"]), "OK");
        }
        assert_eq!(watcher.ask(&[b"MULTI"]), "+OK");
        assert_eq!(watcher.ask(&[b"GET", b"k"]), "+QUEUED");
        assert_eq!(watcher.ask(&[b"SET", b"k", b"mine"]), "+QUEUED");
        assert_eq!(watcher.ask(&[b"EXEC"]), outcome);
        let now = cli(&cluster.nodes[2], &["GET", "k"]);
        assert_eq!(now, if written { "other" } else { "mine" });
    }
}
