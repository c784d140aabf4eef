//! Who may form a cluster with whom, and what a node says when it may not.

#![expect(
    clippy::print_stdout,
    reason = "a test that checks nothing must say so"
)]

use corgi_tests::node::has_all;
use corgi_tests::{Cluster, Listener, Node, PROTOCOLS, RawClient, Subscription, node, ports, wait};
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The promise.
const READY_WITHIN: Duration = Duration::from_secs(1);

fn secret(text: &str) -> Vec<String> {
    vec!["--cluster-secret".to_owned(), text.to_owned()]
}

/// Whether the node answers a PUBLISH with an acknowledgement now.
fn acknowledges(node: &Node) -> bool {
    let Ok(mut connection) = node.connect(PROTOCOLS[0]) else {
        return false;
    };
    redis::cmd("PUBLISH")
        .arg("a")
        .arg("b")
        .query::<i64>(&mut connection)
        .is_ok()
}

/// Starts the node, waits for its end, and returns what it logged.
fn refused(node: &mut Node) -> String {
    node.spawn();
    let status = node.wait_exit();
    assert_eq!(status.code(), Some(1), "{}", node.log());
    node.log()
}

#[test]
fn a_single_node_with_an_empty_folder_is_ready_at_once() {
    // The best of a few, because whatever else runs on the machine can only make it longer.
    let ready = |_| {
        let mut node = Node::single(&[]);
        let start = Instant::now();
        node.start();
        start.elapsed()
    };
    let took: Vec<Duration> = (0..3).map(ready).collect();
    println!("ready after {took:?}");
    assert!(took.iter().any(|took| *took < READY_WITHIN), "{took:?}");
}

#[test]
fn five_nodes_found_one_cluster_and_two_of_them_may_go() {
    let mut cluster = Cluster::start(5);
    let told = |node: &Node, field: &str| node.info(field).expect("it is in INFO");
    let same = |field: &str| {
        let all = cluster.nodes.iter().map(|node| told(node, field));
        all.collect::<std::collections::BTreeSet<_>>()
    };
    wait::until_true(wait::SOON, "all five vote, and every node knows it", || {
        same("raft_voters") == ["1,2,3,4,5".to_owned()].into()
    });
    assert_eq!(
        same("raft_cluster_id").len(),
        1,
        "{:?}",
        same("raft_cluster_id")
    );
    let leader = cluster.leader();
    cluster.nodes[leader].kill();
    cluster.nodes[(leader + 1) % 5].kill();
    for at in (2..5).map(|k| (leader + k) % 5) {
        cluster.nodes[at].wait_ready();
    }
}

/// Where `unshare` may not make a mount namespace, which takes root, names cannot be made to mean something else.
fn may_change_names() -> bool {
    let status = Command::new("unshare").args(["--mount", "true"]).status();
    let may = status.is_ok_and(|status| status.success());
    if !may {
        println!("skipped: no mount namespace can be made here (it takes root)");
    }
    may
}

#[test]
fn a_member_that_is_known_by_name_is_found_where_the_name_points_at_that_time() {
    if !may_change_names() {
        return;
    }
    let (ports, temp) = ([ports::free(), ports::free()], TempDir::new().unwrap());
    let hosts = temp.path().join("hosts");
    let point_at = |addr: &str| {
        let text = format!("127.0.0.1 localhost\n{addr} two.corgi.test\n");
        fs::write(&hosts, text).unwrap();
    };
    let members = format!("1=127.0.0.1:{},2=two.corgi.test:{}", ports[0], ports[1]);
    let node = |id: u64, bind: &str| {
        let dir = temp.path().join(format!("n{id}"));
        fs::create_dir_all(&dir).unwrap();
        let args = ["--initial-cluster", &members, "--peer-bind", bind];
        let args = args.map(str::to_owned).into();
        let mut node = Node::new(id, ports::free(), ports[id as usize - 1], &dir, args);
        let inner = node.command();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.arg("mount --bind \"$0\" /etc/hosts && exec \"$@\"");
        command.arg(&hosts).arg(inner.get_program());
        command.args(inner.get_args());
        node.spawn_command(command);
        node
    };
    // At first nobody is there.
    point_at("127.0.0.3");
    let mut one = node(1, "127.0.0.1");
    let two = node(2, "127.0.0.2");
    one.wait_log(&["cannot reach peer", "two.corgi.test"]);
    assert!(!acknowledges(&one));
    point_at("127.0.0.2");
    one.wait_ready();
    drop(two);
    point_at("127.0.0.3");
    let mut two = node(2, "127.0.0.3");
    two.wait_ready();
    one.wait_ready();
}

#[test]
fn nodes_with_different_secrets_form_no_cluster() {
    let mut cluster = Cluster::prepare(2, |id| secret(&format!("secret {id}")));
    cluster.nodes.iter_mut().for_each(Node::spawn);
    for node in &cluster.nodes {
        let line = node.wait_log(&["secret"]);
        assert!(
            !line.contains("secret 1") && !line.contains("secret 2"),
            "it is told: {line}"
        );
    }
    for node in &mut cluster.nodes {
        assert!(node.runs(), "a peer with a wrong secret ends no node");
        assert!(!acknowledges(node), "node {} serves alone", node.id);
    }
}

#[test]
fn a_node_with_a_wrong_secret_is_kept_out_of_a_cluster_that_goes_on() {
    let mut cluster = Cluster::prepare(3, |_| secret("right"));
    cluster.nodes.iter_mut().for_each(Node::spawn);
    cluster.wait_ready();
    let victim = &mut cluster.nodes[2];
    victim.kill();
    let mut command = victim.command();
    command.args(["--cluster-secret", "wrong"]);
    victim.spawn_command(command);
    cluster.nodes[0].wait_log(&["secret"]);
    assert!(acknowledges(&cluster.nodes[0]), "the others go on");
    let victim = &mut cluster.nodes[2];
    assert!(!acknowledges(victim));
    victim.kill();
    victim.start();
}

#[test]
fn an_emptied_folder_under_an_id_that_has_voted_is_refused() {
    let mut cluster = Cluster::start(3);
    let victim = (cluster.leader() + 1) % 3;
    cluster.nodes[victim].kill();
    fs::remove_dir_all(cluster.nodes[victim].dir()).unwrap();
    let log = refused(&mut cluster.nodes[victim]);
    let last: Vec<&str> = log
        .lines()
        .filter(|line| has_all(line, &["folder"]))
        .collect();
    assert!(
        last.iter().any(|line| has_all(line, &["new", "id"])),
        "it says that the way back is a new id: {last:?}"
    );
    assert!(
        acknowledges(&cluster.nodes[(victim + 1) % 3]),
        "the others go on"
    );
}

#[test]
fn a_second_node_with_the_same_id_is_refused() {
    let mut cluster = Cluster::start(3);
    let original = &cluster.nodes[0];
    let temp = TempDir::new().unwrap();
    let members: Vec<String> = cluster
        .nodes
        .iter()
        .map(|node| format!("{}=127.0.0.1:{}", node.id, node.peer_port))
        .collect();
    // The twin listens elsewhere, but calls itself node 1 towards the same members.
    let peer_port = ports::free();
    let members = members
        .join(",")
        .replace(&original.peer_port.to_string(), &peer_port.to_string());
    let mut args = vec!["--initial-cluster".to_owned(), members];
    args.extend(secret("a secret of the tests"));
    let mut twin = Node::new(1, ports::free(), peer_port, temp.path(), args);
    let log = refused(&mut twin);
    assert!(
        log.lines()
            .any(|line| has_all(line, &["id", "1", "folder"])),
        "{log}"
    );
    assert!(cluster.nodes.iter_mut().all(Node::runs));
    assert!(
        acknowledges(&cluster.nodes[0]),
        "the one that was there first goes on"
    );
}

#[test]
fn the_folder_of_another_node_is_refused() {
    let mut cluster = Cluster::start(3);
    cluster.nodes.iter_mut().for_each(Node::kill);
    let mut command = cluster.nodes[1].command();
    // The last value given counts, as in redis-server.
    command.arg("--dir").arg(cluster.nodes[0].dir());
    cluster.nodes[1].spawn_command(command);
    let status = cluster.nodes[1].wait_exit();
    assert!(!status.success());
    let log = cluster.nodes[1].log();
    let named = log
        .lines()
        .any(|line| has_all(line, &["node", "1", "2", "data"]));
    assert!(named, "it names both ids: {log}");
    cluster.nodes.iter_mut().for_each(Node::spawn);
    cluster.wait_ready();
}

#[test]
fn a_folder_that_is_in_use_is_refused() {
    let mut node = Node::single(&[]);
    node.start();
    let temp = TempDir::new().unwrap();
    let mut second = Node::new(1, ports::free(), ports::free(), temp.path(), Vec::new());
    let mut command = second.command();
    command.arg("--dir").arg(node.dir());
    second.spawn_command(command);
    assert!(!second.wait_exit().success());
    let log = second.log();
    assert!(log.lines().any(|line| has_all(line, &["in use"])), "{log}");
    assert!(acknowledges(&node), "the first goes on");
}

#[test]
fn members_of_another_cluster_are_refused() {
    let mut first = Cluster::start(3);
    let mut second = Cluster::start(3);
    // Node 3 of the second cluster is told that its peers are those of the first.
    first.nodes[2].kill();
    second.nodes[2].kill();
    let peer_port = first.nodes[2].peer_port.to_string();
    let members = |cluster: &Cluster| -> String {
        let member = |node: &Node| format!("{}=127.0.0.1:{}", node.id, node.peer_port);
        cluster
            .nodes
            .iter()
            .map(member)
            .collect::<Vec<_>>()
            .join(",")
    };
    let mut command = second.nodes[2].command();
    command.args([
        "--peer-port",
        &peer_port,
        "--initial-cluster",
        &members(&first),
    ]);
    second.nodes[2].spawn_command(command);
    // It belongs to the second cluster, whose members it knows from its log; the first sees a stranger on node 3's
    // port.
    first.nodes[0].wait_log(&["refuses", "belongs to cluster"]);
    assert!(acknowledges(&first.nodes[0]));
    assert!(acknowledges(&second.nodes[0]));
}

#[test]
fn all_nodes_restart_at_once_and_serve_again() {
    let mut cluster = Cluster::start(3);
    for _ in 0..2 {
        for node in &mut cluster.nodes {
            assert!(node.terminate().success(), "{}", node.log());
        }
        cluster.nodes.iter_mut().for_each(Node::spawn);
        cluster.wait_ready();
    }
}

#[test]
fn a_node_that_is_alone_of_three_waits_for_the_others() {
    let mut cluster = Cluster::prepare(3, |_| secret("shared"));
    cluster.nodes[0].spawn();
    cluster.nodes[1].spawn();
    // Two of three: the first formation waits for all, so that no two halves can form two clusters.
    wait::until_true(wait::SOON, "the node answers", || {
        cluster.nodes[0].connect(PROTOCOLS[0]).is_ok()
    });
    let mut client = RawClient::connect(cluster.nodes[0].port, node::REPLY_TIMEOUT);
    assert_eq!(client.ask(&[b"PING"]), "+PONG");
    let reply = client.ask(&[b"PUBLISH", b"early", b"x"]);
    assert!(reply.starts_with("-CLUSTERDOWN "), "{reply:?}");
    cluster.nodes[2].spawn();
    cluster.wait_ready();
    let reply = client.ask(&[b"PUBLISH", b"early", b"y"]);
    assert!(reply.starts_with(':'), "{reply:?}");
}

#[test]
fn a_node_that_is_terminated_hands_over_and_clients_of_the_others_notice_nothing() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let other = (leader + 1) % 3;
    let subscription = Subscription::Channel("handed".to_owned());
    let listener = Listener::start(cluster.nodes[other].port, PROTOCOLS[1], subscription).unwrap();
    let mut client = cluster.nodes[other].connect(PROTOCOLS[0]).unwrap();
    let mut publish = |payload: &str| {
        redis::cmd("PUBLISH")
            .arg("handed")
            .arg(payload)
            .query::<i64>(&mut client)
            .unwrap()
    };
    publish("before");
    let status = cluster.nodes[leader].terminate();
    assert!(status.success(), "{status}");
    publish("after");
    listener.wait_for("after");
    assert_eq!(listener.payloads(), ["before", "after"]);
}
