//! Nodes that are too far behind for the log: they come back by a snapshot, whenever and however often processes are
//! killed on the way.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use corgi_tests::check::{self, PublisherHistory, SubscriberHistory};
use corgi_tests::node::has_all;
use corgi_tests::{
    Certificates, Cluster, Listener, Load, Node, PROTOCOLS, Subscription, ports, wait,
};
use redis::RedisResult;
use std::fs;
use std::time::Duration;

const CHANNEL: &str = "load";
const END: &str = "the end";
const SECRET: [&str; 2] = ["--cluster-secret", "a secret of the tests"];
/// Little enough that it is passed within a second or two. Batches take room beside their messages.
const TINY_LOG: [&str; 2] = ["--log-retain-bytes", "16kb"];
/// So many round trips that a transfer takes long enough to be interrupted, and without history not too long.
const SLOW: [&str; 4] = ["--snapshot-chunk-bytes", "2", "--history-maxlen", "0"];

/// More entries than a leader sends to a follower that does not answer.
const UNDER_WAY: u64 = 1000;

fn cluster(more: &[&str]) -> Cluster {
    Cluster::start_with(3, &[&TINY_LOG, more].concat())
}

fn number(node: &Node, field: &str) -> u64 {
    let value = node.info(field).and_then(|value| value.parse().ok());
    value.unwrap_or_default()
}

fn applied(node: &Node) -> u64 {
    number(node, "raft_applied_index")
}

/// Waits until the log of each node of `at` begins after entry `index`.
fn wait_truncated(cluster: &Cluster, at: &[usize], index: u64) {
    for at in at {
        let node = &cluster.nodes[*at];
        let what = format!("node {} has truncated its log beyond {index}", node.id);
        wait::until_true(wait::SOON * 2, &what, || {
            number(node, "raft_first_index") > index + 1
        });
    }
}

/// Waits until a node has applied as much as another has now.
fn wait_caught_up(node: &Node, with: &Node) {
    let goal = applied(with);
    let what = format!("node {} has applied entry {goal}", node.id);
    wait::until_true(wait::SOON * 2, &what, || applied(node) >= goal);
}

fn listener(node: &Node) -> Listener {
    let subscription = Subscription::Channel(CHANNEL.to_owned());
    wait::until(wait::SOON, "a subscription is confirmed", || {
        Listener::start(node.port, PROTOCOLS[0], subscription.clone()).ok()
    })
}

/// What a listener has heard up to the end.
fn history(name: &str, listener: &Listener, complete: bool) -> SubscriberHistory {
    listener.wait_for(END);
    let mut received = listener.payloads();
    received.truncate(received.iter().position(|payload| payload == END).unwrap());
    SubscriberHistory {
        name: name.to_owned(),
        received,
        complete,
    }
}

fn publish_end(node: &Node) {
    wait::until_true(wait::SOON, "the end is published", || {
        let connection = node.connect(PROTOCOLS[0]);
        let published: RedisResult<()> = connection.and_then(|mut connection| {
            redis::cmd("PUBLISH")
                .arg(CHANNEL)
                .arg(END)
                .exec(&mut connection)
        });
        published.is_ok()
    });
}

/// Checks what publishers were told against what `complete` heard from the beginning, and `late` from some time on.
fn check(publishers: &[PublisherHistory], complete: &Listener, late: &[&Listener]) {
    let mut heard = vec![history("from the beginning", complete, true)];
    for (at, listener) in late.iter().enumerate() {
        heard.push(history(&format!("late {at}"), listener, false));
    }
    check::assert_kept(publishers, &heard);
}

/// A cluster under load, in which one follower is away for longer than the log is kept.
struct Behind {
    cluster: Cluster,
    /// The follower that is away.
    away: usize,
    /// Those that are not; the leader first.
    here: [usize; 2],
    heard: Listener,
    load: Load,
}

impl Behind {
    fn new(more: &[&str]) -> Self {
        let mut cluster = cluster(more);
        let leader = cluster.leader();
        let (away, other) = ((leader + 1) % 3, (leader + 2) % 3);
        let here = [leader, other];
        let heard = listener(&cluster.nodes[other]);
        let ports = here.map(|at| cluster.nodes[at].port);
        let load = Load::start(&ports, CHANNEL);
        load.wait_more(&[0, 1], 50);
        cluster.nodes[away].kill();
        let mut behind = Self {
            cluster,
            away,
            here,
            heard,
            load,
        };
        behind.outrun();
        behind
    }

    /// Waits until the logs of the others do not have any more what the one that is away needs next.
    fn outrun(&mut self) {
        let index = applied(&self.cluster.nodes[self.here[0]]);
        wait_truncated(&self.cluster, &self.here, index);
    }

    fn node(&self) -> &Node {
        &self.cluster.nodes[self.away]
    }

    fn spawn(&mut self) {
        self.cluster.nodes[self.away].spawn();
    }

    fn kill(&mut self) {
        self.cluster.nodes[self.away].kill();
    }

    /// Waits until the one that was away has come back by a snapshot, listens there, and checks all in the end.
    fn check_back(self) {
        let Self {
            cluster,
            away,
            here,
            heard,
            load,
        } = self;
        let node = &cluster.nodes[away];
        node.wait_log(&["installed a snapshot"]);
        let other = here
            .into_iter()
            .find(|at| cluster.nodes[*at].info("raft_role").is_some());
        let other = &cluster.nodes[other.unwrap()];
        wait_caught_up(node, other);
        let late = listener(node);
        load.wait_more(&[1], 200);
        let publishers = load.stop();
        publish_end(node);
        check(&publishers, &heard, &[&late]);
        let hash = |node: &Node| node.info("raft_state_hash");
        wait::until_true(wait::SOON, "all have the same state", || {
            applied(node) == applied(other) && hash(node) == hash(other)
        });
    }
}

#[test]
fn a_follower_that_was_away_too_long_comes_back_by_a_snapshot_under_load() {
    let mut behind = Behind::new(&[]);
    behind.spawn();
    behind.check_back();
}

#[test]
fn a_snapshot_is_sent_by_tls_where_nodes_talk_tls() {
    let certificates = Certificates::make();
    let options = certificates.options();
    let mut args = vec!["--tls-cluster", "yes"];
    args.extend(options.iter().map(String::as_str));
    let mut behind = Behind::new(&args);
    behind.spawn();
    behind.check_back();
}

#[test]
fn a_subscriber_of_a_node_that_skips_entries_is_closed_and_told_why() {
    let mut cluster = cluster(&[]);
    let leader = cluster.leader();
    let paused = (leader + 1) % 3;
    let late = listener(&cluster.nodes[paused]);
    let pid = i32::try_from(cluster.nodes[paused].pid()).ok();
    let pid = pid.and_then(rustix::process::Pid::from_raw).unwrap();
    let signal = |signal| rustix::process::kill_process(pid, signal).unwrap();
    signal(rustix::process::Signal::STOP);
    let load = Load::start(&[cluster.nodes[leader].port], CHANNEL);
    // What is on its way to it already, it needs no snapshot for.
    let index = applied(&cluster.nodes[leader]) + UNDER_WAY;
    wait_truncated(&cluster, &[leader, (leader + 2) % 3], index);
    signal(rustix::process::Signal::CONT);
    cluster.nodes[paused].wait_log(&["installed a snapshot"]);
    let why = late.wait_end();
    // A library may show no more than that the connection has ended.
    assert!(!why.is_empty(), "{why}");
    load.stop();
}

#[test]
fn an_emptied_node_is_replaced_under_load_and_the_new_one_begins_with_a_snapshot() {
    let mut behind = Behind::new(&[]);
    let dead = behind.node().id;
    let dir = behind.cluster.folder().join("n4");
    fs::create_dir(&dir).unwrap();
    let args = [
        "--cluster-join",
        "yes",
        SECRET[0],
        SECRET[1],
        TINY_LOG[0],
        TINY_LOG[1],
    ];
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    let mut new = Node::joining(4, ports::free(), ports::free(), &dir, args);
    new.spawn();
    new.wait_log(&["waits to be let into a cluster"]);
    let (port, dead) = (new.peer_port.to_string(), dead.to_string());
    let asked = &behind.cluster.nodes[behind.here[1]];
    wait::until_true(wait::SOON, "the node is let in", || {
        let mut meet = redis::cmd("CLUSTER");
        meet.arg("MEET").arg("127.0.0.1").arg(&port);
        meet.arg("REPLACE").arg(&dead);
        let connection = asked.connect(PROTOCOLS[0]);
        connection.is_ok_and(|mut connection| meet.query::<String>(&mut connection).is_ok())
    });
    new.wait_ready();
    wait::until_true(wait::SOON, "it votes in place of the dead one", || {
        let voters = new.info("raft_voters").unwrap_or_default();
        let voters: Vec<&str> = voters.split(',').collect();
        voters.contains(&"4") && !voters.contains(&dead.as_str())
    });
    behind.cluster.nodes[behind.away] = new;
    behind.check_back();
}

#[test]
fn a_follower_killed_again_and_again_while_it_receives_and_installs_comes_back() {
    let mut behind = Behind::new(&SLOW);
    let mut received = 0;
    for round in 0..8_u64 {
        behind.spawn();
        let before = behind.node().log().matches("receives a snapshot").count();
        wait::until_true(wait::SOON, "it receives a snapshot, or has one", || {
            let log = behind.node().log();
            log.matches("receives a snapshot").count() > before
                || log.matches("installed a snapshot").count() > 0
        });
        // From right at the beginning to well after the installation.
        wait::pass(Duration::from_millis(round * 15));
        behind.kill();
        received = behind.node().log().matches("receives a snapshot").count();
        behind.outrun();
    }
    assert!(received >= 4, "{received} times a snapshot was under way");
    behind.spawn();
    behind.check_back();
}

#[test]
fn the_leader_killed_while_it_sends_is_followed_by_another_that_sends() {
    let mut behind = Behind::new(&SLOW);
    behind.spawn();
    behind.node().wait_log(&["receives a snapshot"]);
    let leader = behind.here[0];
    behind.cluster.nodes[leader].kill();
    // Two of three go on: the one that receives is needed for every majority now.
    behind.load.wait_more(&[1], 100);
    behind.cluster.nodes[leader].start();
    behind.check_back();
}

#[test]
fn a_node_that_lost_its_applied_state_gets_a_snapshot_under_its_own_id() {
    let mut behind = Behind::new(&[]);
    behind.spawn();
    behind.node().wait_log(&["installed a snapshot"]);
    wait_caught_up(behind.node(), &behind.cluster.nodes[behind.here[0]]);
    let index = applied(&behind.cluster.nodes[behind.here[0]]);
    wait_truncated(&behind.cluster, &[behind.away], index);
    behind.kill();
    let state = behind.node().dir().join("state");
    let tables = fs::read_dir(&state)
        .unwrap()
        .map(|file| file.unwrap().path());
    let tables = tables.filter(|path| path.extension().is_some_and(|suffix| suffix == "sst"));
    for table in tables {
        let mut bytes = fs::read(&table).unwrap();
        let middle = bytes.len() / 4;
        bytes[middle] ^= 0x40;
        fs::write(&table, bytes).unwrap();
    }
    behind.spawn();
    let away = behind.away;
    let status = behind.cluster.nodes[away].wait_exit();
    assert!(!status.success(), "{status}");
    let log = behind.node().log();
    let said = log.lines().last().unwrap_or_default();
    assert!(
        has_all(said, &["state", "damaged", "remove the folder", "snapshot"]),
        "{said}"
    );
    fs::remove_dir_all(&state).unwrap();
    let before = log.matches("installed a snapshot").count();
    behind.spawn();
    wait::until_true(wait::SOON, "it has a new state", || {
        behind.node().log().matches("installed a snapshot").count() > before
    });
    behind.check_back();
}
