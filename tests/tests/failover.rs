//! How long publishers wait when the leader goes, in each way in which it can go. `scripts/failover` runs the long
//! measurement of docs/failover.md; without it a few rounds are enough to see a mistake.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use corgi_tests::{Cluster, Load, Network, wait};
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const CHANNEL: &str = "load";
/// Set by scripts/failover: how often each of them is done.
const ROUNDS: &str = "CORGI_FAILOVER_ROUNDS";
/// Acknowledged publishes of each publisher between two rounds.
const STRETCH: usize = 200;

/// Whether this is the measurement, and not one test of many.
fn is_measured() -> bool {
    std::env::var_os(ROUNDS).is_some()
}

fn rounds() -> usize {
    let set = std::env::var(ROUNDS).ok();
    set.and_then(|rounds| rounds.parse().ok()).unwrap_or(5)
}

/// Takes the leader away once in each round. `away` says since when publishes count, for how long the leader is away,
/// and how it comes back.
fn measure(what: &str, median_max: Duration, max: Duration, away: fn(&mut Cluster, usize, &Load)) {
    measure_in(Cluster::start(3), what, median_max, max, away);
}

fn measure_in(
    mut cluster: Cluster,
    what: &str,
    median_max: Duration,
    max: Duration,
    away: impl Fn(&mut Cluster, usize, &Load),
) {
    let ports: Vec<u16> = cluster.nodes.iter().map(|node| node.port).collect();
    let load = Load::start(&ports, CHANNEL);
    let mut gaps = Vec::new();
    for _ in 0..rounds() {
        load.wait_more(&[0, 1, 2], STRETCH);
        let leader = cluster.leader();
        away(&mut cluster, leader, &load);
        let others: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
        gaps.push(load.longest_gap(&others));
        cluster.wait_ready();
    }
    drop(load.stop());
    gaps.sort_unstable();
    let at = |percent: usize| gaps[(gaps.len() * percent / 100).min(gaps.len() - 1)];
    println!(
        "| {what} | {} | {} | {} | {} |",
        gaps.len(),
        at(50).as_millis(),
        at(99).as_millis(),
        gaps[gaps.len() - 1].as_millis()
    );
    assert!(at(50) <= median_max, "{what}: the median is {:?}", at(50));
    assert!(gaps[gaps.len() - 1] <= max, "{what}: {gaps:?}");
}

fn signal(cluster: &Cluster, at: usize, signal: Signal) {
    let pid = i32::try_from(cluster.nodes[at].pid()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// Waits until another node than `old` leads, and publishers of the others have gone on.
fn others_go_on(cluster: &mut Cluster, old: usize, load: &Load) {
    let others: Vec<usize> = (0..3).filter(|at| *at != old).collect();
    wait::until_true(wait::SOON, "another node leads", || {
        others.iter().any(|at| cluster.nodes[*at].leads())
    });
    load.wait_more(&others, STRETCH);
}

#[test]
fn the_leader_is_killed() {
    let (median, max) = (Duration::from_millis(300), Duration::from_secs(1));
    measure("`kill -9`", median, max, |cluster, leader, load| {
        load.begin_gaps();
        cluster.nodes[leader].kill();
        others_go_on(cluster, leader, load);
        cluster.nodes[leader].spawn();
    });
}

#[test]
fn the_leader_is_stopped_in_order_and_nobody_is_refused() {
    // The goal is for a machine that does nothing else, as scripts/failover asks for one. Beside other tests it is no
    // more than for `kill -9`.
    let max = if is_measured() { 200 } else { 1000 };
    let (median, max) = (Duration::from_millis(300), Duration::from_millis(max));
    measure("`SIGTERM`", median, max, |cluster, leader, load| {
        load.begin_gaps();
        assert!(cluster.nodes[leader].terminate().success());
        others_go_on(cluster, leader, load);
        cluster.nodes[leader].spawn();
    });
}

#[test]
fn the_leader_is_paused() {
    let (median, max) = (Duration::from_secs(2), Duration::from_secs(2));
    measure("`SIGSTOP`", median, max, |cluster, leader, load| {
        load.begin_gaps();
        signal(cluster, leader, Signal::STOP);
        let others: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
        // Without a question to the node that is paused.
        load.wait_more(&others, STRETCH);
        signal(cluster, leader, Signal::CONT);
    });
}

#[test]
fn the_leader_is_cut_off() {
    let (median, max) = (Duration::from_secs(2), Duration::from_secs(2));
    let network = Network::default();
    let (cluster, doors) = Cluster::start_behind(&network, 3);
    let away = |cluster: &mut Cluster, leader: usize, load: &Load| {
        load.begin_gaps();
        network.cut(doors[leader], cluster.nodes[leader].pid());
        others_go_on(cluster, leader, load);
        network.mend();
        wait::until_true(wait::SOON, "the old leader has stepped down", || {
            !cluster.nodes[leader].leads()
        });
    };
    measure_in(cluster, "`cut off`", median, max, away);
}

/// For how long nodes are under full load at least; one round without it.
fn full_load() -> Duration {
    let set = std::env::var("CORGI_FULL_LOAD_SECONDS").ok();
    let seconds = set.and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

/// Publishes of one round through each node.
const FULL_LOAD: u64 = 100_000;

/// `redis-benchmark` on its way: as many publishes as a node takes, until there were [`FULL_LOAD`].
struct Benchmark(Child);

impl Benchmark {
    fn start(port: u16) -> Self {
        let mut command = Command::new("redis-benchmark");
        command.args(["-p", &port.to_string()]);
        command.args(["-c", "50", "-P", "16", "-n", &FULL_LOAD.to_string(), "-q"]);
        command.args(["PUBLISH", CHANNEL, &"x".repeat(100)]);
        command.stdout(Stdio::null());
        let child = command.spawn();
        Self(child.expect("redis-benchmark is installed (scripts/setup)"))
    }

    fn wait(mut self) {
        let ended = wait::until(2 * wait::SOON, "redis-benchmark has ended", || {
            self.0.try_wait().unwrap()
        });
        assert!(ended.success(), "redis-benchmark: {ended}");
    }
}

impl Drop for Benchmark {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _status = self.0.wait();
    }
}

#[test]
fn full_load_causes_no_election() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let number = |field: &str| -> u64 {
        let value = cluster.nodes[leader].info(field);
        value.and_then(|value| value.parse().ok()).unwrap()
    };
    let (term, before) = (number("raft_term"), number("published_messages"));
    let (since, mut rounds) = (Instant::now(), 0);
    while rounds == 0 || since.elapsed() < full_load() {
        let ports = cluster.nodes.iter().map(|node| node.port);
        let all: Vec<_> = ports.map(Benchmark::start).collect();
        all.into_iter().for_each(Benchmark::wait);
        rounds += 1;
    }
    let published = number("published_messages") - before;
    let (took, now) = (since.elapsed(), number("raft_term"));
    println!("full load for {took:.1?}, {published} messages: term {term}, then {now}");
    assert!(published >= rounds * FULL_LOAD, "{published} in {rounds}");
    assert_eq!(now, term, "nobody was elected");
}

#[test]
fn a_rolling_restart_fails_no_publish_on_the_other_nodes() {
    let mut cluster = Cluster::start(3);
    for at in 0..3 {
        let others: Vec<u16> = (0..3)
            .filter(|other| *other != at)
            .map(|other| cluster.nodes[other].port)
            .collect();
        let load = Load::start(&others, CHANNEL);
        load.wait_more(&[0, 1], STRETCH);
        assert!(cluster.nodes[at].terminate().success());
        load.wait_more(&[0, 1], STRETCH);
        cluster.nodes[at].start();
        load.wait_more(&[0, 1], STRETCH);
        for publisher in load.stop() {
            let all = publisher.attempts.iter();
            let failed: Vec<_> = all
                .filter(|attempt| attempt.outcome != corgi_tests::Outcome::Acknowledged)
                .collect();
            assert!(
                failed.is_empty(),
                "node {} was restarted: {failed:?}",
                at + 1
            );
        }
    }
}
