//! The history of channels on three nodes, with redis-cli: published here, read there; through failover, a restart of
//! all, truncation of the log, and on a node that has joined by a snapshot.

use corgi_tests::{Cluster, Node, ports, wait};
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

/// Publishes once the node can; an error that says that nothing was written is tried again.
fn publish(node: &Node, channel: &str, payload: &str) {
    wait::until_true(wait::SOON, "a message is published", || {
        cli(node, &["PUBLISH", channel, payload])
            .parse::<u64>()
            .is_ok()
    });
}

/// Reads a channel: ids and payloads.
fn read(node: &Node, channel: &str, from: &str) -> Vec<(String, String)> {
    let key = format!("__history__:{channel}");
    let lines = cli(node, &["XRANGE", &key, from, "+"]);
    let lines: Vec<&str> = lines.lines().filter(|line| !line.is_empty()).collect();
    let entries = lines.chunks(3);
    let entry = |entry: &[&str]| match entry {
        [id, "message", payload] => ((*id).to_owned(), (*payload).to_owned()),
        other => panic!("no entry: {other:?} of {lines:?}"),
    };
    entries.map(entry).collect()
}

fn payloads(entries: &[(String, String)]) -> Vec<&str> {
    entries
        .iter()
        .map(|(_, payload)| payload.as_str())
        .collect()
}

#[test]
fn what_one_node_published_every_node_reads_also_after_failover_and_a_restart_of_all() {
    let mut cluster = Cluster::start(3);
    for payload in ["1", "2", "3", "4", "5"] {
        publish(&cluster.nodes[0], "news", payload);
    }
    publish(&cluster.nodes[1], "other", "6");
    let two = &cluster.nodes[1];
    let all = read(two, "news", "-");
    assert_eq!(payloads(&all), ["1", "2", "3", "4", "5"]);
    let ids: Vec<&str> = all.iter().map(|(id, _)| id.as_str()).collect();
    let after = format!("({}", ids[2]);
    assert_eq!(read(two, "news", &after), all[3..]);
    assert_eq!(
        cli(
            two,
            &["XREVRANGE", "__history__:news", "+", "-", "COUNT", "1"]
        ),
        format!("{}\nmessage\n5", ids[4])
    );
    let streams = ["__history__:news", "__history__:other"];
    let read_on = [&["XREAD", "STREAMS"], &streams[..], &[ids[3], "0"]].concat();
    let answer = cli(two, &read_on);
    assert!(
        answer.starts_with(&format!("__history__:news\n{}\nmessage\n5\n", ids[4])),
        "{answer}"
    );
    assert!(answer.ends_with("message\n6"), "{answer}");
    assert_eq!(cli(two, &["XLEN", "__history__:news"]), "5");
    assert_eq!(cli(two, &["TYPE", "__history__:news"]), "stream");
    assert_eq!(cli(two, &["KEYS", "*"]), "");
    assert_eq!(cli(two, &["KEYS", "__history__:n*"]), "__history__:news");
    assert_eq!(cli(two, &["DBSIZE"]), "0");
    assert_eq!(cli(two, &["FLUSHALL"]), "OK");
    let refused = cli(two, &["XADD", "__history__:news", "*", "f", "v"]);
    assert!(refused.contains("is the history of a channel"), "{refused}");
    let info = cli(two, &["XINFO", "STREAM", "__history__:news"]);
    assert!(info.starts_with("length\n5\n"), "{info}");
    assert!(info.contains(ids[4]), "{info}");

    // The rules are the cluster's.
    let set = [
        "CONFIG",
        "SET",
        "history-maxlen",
        "3",
        "history",
        "o* ttl 99",
    ];
    assert_eq!(cli(&cluster.nodes[2], &set), "OK");
    for node in &cluster.nodes {
        wait::until_true(wait::SOON, "the rules are everywhere", || {
            cli(node, &["CONFIG", "GET", "history"]) == "history\no* maxlen 3 ttl 99"
        });
        assert_eq!(read(node, "news", "-"), all[2..]);
        assert_eq!(
            cli(node, &["XRANGE", "__history__:news", ids[0], "+"]),
            format!(
                "LAGGED first available id {}: what the channel had before is not kept any more",
                ids[2]
            )
        );
        // Whoever has read the last one that has passed has missed nothing.
        assert_eq!(read(node, "news", &format!("({}", ids[1])), all[2..]);
    }

    let leader = cluster.leader();
    cluster.nodes[leader].kill();
    let follower = &cluster.nodes[(leader + 1) % 3];
    publish(follower, "news", "7");
    let now = read(&cluster.nodes[(leader + 2) % 3], "news", "-");
    assert_eq!(payloads(&now), ["4", "5", "7"]);
    assert_eq!(now[..2], all[3..]);

    for node in &mut cluster.nodes {
        if node.runs() {
            node.kill();
        }
    }
    cluster.nodes.iter_mut().for_each(Node::spawn);
    cluster.wait_ready();
    for node in &cluster.nodes {
        assert_eq!(read(node, "news", "-"), now);
        assert_eq!(cli(node, &["XLEN", "__history__:other"]), "1");
    }
}

#[test]
fn what_the_log_has_lost_is_kept_and_a_new_node_has_it_too() {
    let args = [
        "--log-retain-bytes",
        "16kb",
        "--cluster-secret",
        "a secret of the tests",
        "--history-maxlen",
        "100",
    ];
    let mut cluster = Cluster::start_with(3, &args);
    for k in 0..5 {
        publish(&cluster.nodes[0], "kept", &format!("message {k}"));
    }
    let kept = read(&cluster.nodes[1], "kept", "-");
    assert_eq!(kept.len(), 5);
    let number = |node: &Node, field: &str| -> u64 {
        let value = node.info(field).and_then(|value| value.parse().ok());
        value.unwrap_or_default()
    };
    let goal = number(&cluster.nodes[0], "raft_applied_index");
    let fill = "x".repeat(1000);
    // The last of them are kept as well, some in the log and some beside it.
    for at in 0..3 {
        wait::until_true(wait::SOON * 4, "the log has been truncated", || {
            publish(&cluster.nodes[at], "fill", &fill);
            number(&cluster.nodes[at], "raft_first_index") > goal + 1
        });
    }
    for node in &cluster.nodes {
        assert_eq!(read(node, "kept", "-"), kept);
        assert_eq!(read(node, "kept", &format!("({}", kept[1].0)), kept[2..]);
    }
    let fills = read(&cluster.nodes[0], "fill", "-");
    cluster.nodes.iter_mut().for_each(Node::kill);
    cluster.nodes.iter_mut().for_each(Node::spawn);
    cluster.wait_ready();
    for node in &cluster.nodes {
        assert_eq!(read(node, "kept", "-"), kept);
        assert_eq!(read(node, "fill", "-"), fills);
    }

    let dir = cluster.folder().join("n4");
    std::fs::create_dir(&dir).expect("make a folder");
    let more = [&["--cluster-join", "yes"], &args[..4]].concat();
    let more = more.iter().map(|arg| (*arg).to_owned()).collect();
    let mut new = Node::joining(4, ports::free(), ports::free(), &dir, more);
    new.spawn();
    new.wait_log(&["waits to be let into a cluster"]);
    let port = new.peer_port.to_string();
    wait::until_true(wait::SOON, "the node is let in", || {
        cli(&cluster.nodes[0], &["CLUSTER", "MEET", "127.0.0.1", &port]) == "OK"
    });
    new.wait_ready();
    wait::until_true(wait::SOON, "it has installed a snapshot", || {
        number(&new, "raft_snapshots_installed") > 0
    });
    assert_eq!(read(&new, "kept", "-"), kept);
    assert_eq!(read(&new, "fill", "-"), fills);
    assert_eq!(
        cli(&new, &["CONFIG", "GET", "history-maxlen"]),
        "history-maxlen\n100"
    );
}
