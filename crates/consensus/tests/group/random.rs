//! Random runs: whatever the network, the disks and the processes do, Raft's promises hold after every step; and once
//! all is well again, the cluster goes on.
//!
//! A seed decides everything. When one fails its number is in the message: `CORGI_SEED=<seed> cargo test -p
//! corgi-consensus random` runs that one alone.

use crate::cluster::{Cluster, node, roomy_config};
use crate::event::What;
use corgi_base::{LogIndex, NodeId, Term};
use corgi_consensus::mem::MemLog;
use corgi_consensus::storage::{LogEntry, LogReader as _, LogWriter as _};
use corgi_consensus::{Committed, GroupConfig, MemberChange, Payload, Role};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The shape of a run.
#[derive(Clone, Copy)]
struct Shape {
    voters: u64,
    learners: u64,
    spares: u64,
    /// Whether logs are truncated, so that who was away needs a snapshot.
    truncates: bool,
    /// Whether members come and go.
    changes: bool,
    steps: usize,
    /// How many times as many faults there are as usual.
    hurry: usize,
}

#[test]
fn random_three_voters() {
    seeds(
        120,
        Shape {
            voters: 3,
            learners: 1,
            spares: 0,
            truncates: true,
            changes: false,
            steps: 3000,
            hurry: 1,
        },
    );
}

#[test]
fn random_five_voters() {
    seeds(
        90,
        Shape {
            voters: 5,
            learners: 0,
            spares: 0,
            truncates: true,
            changes: false,
            steps: 3000,
            hurry: 1,
        },
    );
}

#[test]
fn random_sole_voter_with_learner() {
    seeds(
        60,
        Shape {
            voters: 1,
            learners: 1,
            spares: 0,
            truncates: true,
            changes: false,
            steps: 2000,
            hurry: 8,
        },
    );
}

#[test]
fn random_members_come_and_go() {
    seeds(
        160,
        Shape {
            voters: 2,
            learners: 0,
            spares: 2,
            truncates: true,
            changes: true,
            steps: 3000,
            hurry: 1,
        },
    );
}

fn seeds(count: u64, shape: Shape) {
    let only = std::env::var("CORGI_SEED")
        .ok()
        .map(|seed| seed.parse().expect("CORGI_SEED is a number"));
    let seeds = only.map_or(0..count, |seed: u64| seed..seed + 1);
    let (mut committed, mut installed) = (0, 0);
    for seed in seeds.clone() {
        match catch_unwind(AssertUnwindSafe(|| Run::new(seed, shape).run())) {
            Ok((entries, snapshots)) => {
                committed += entries;
                installed += snapshots;
            }
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
                panic!("seed {seed}: {}", text.unwrap_or_default());
            }
        }
    }
    // A run in which nothing can happen proves nothing.
    assert!(
        only.is_some() || committed > 20 * seeds.clone().count(),
        "only {committed} entries committed"
    );
    assert!(
        only.is_some() || installed > seeds.count() / 4,
        "only {installed} snapshots installed"
    );
}

/// Equal inputs give equal outputs, down to the order of messages.
#[test]
fn random_run_can_be_repeated() {
    let shape = Shape {
        voters: 3,
        learners: 0,
        spares: 1,
        truncates: true,
        changes: true,
        steps: 3000,
        hurry: 1,
    };
    let run = || {
        let mut run = Run::new(2, shape);
        run.record = Some(Vec::new());
        run.run();
        run.record.unwrap()
    };
    let (first, second) = (run(), run());
    assert!(first.len() > 1000, "only {} events", first.len());
    assert_eq!(first, second);
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn node(&mut self, cluster: &Cluster) -> NodeId {
        node(1 + self.below(cluster.nodes.len()) as u64)
    }
}

struct Run {
    cluster: Cluster,
    random: Random,
    shape: Shape,
    /// How often, in a hundred steps, a disk gets its turn. Slow disks have many writes on their way.
    disk_speed: usize,
    /// Steps between two faults, on average.
    fault_every: usize,
    leaders: BTreeMap<Term, NodeId>,
    /// What every node must hand out at index + 1.
    committed: Vec<Committed>,
    /// What everybody's state is after each entry.
    hashes: BTreeMap<LogIndex, u64>,
    max_commit: LogIndex,
    proposals: u64,
    installed: usize,
    /// What happened, if that is wanted.
    record: Option<Vec<String>>,
}

impl Run {
    fn new(seed: u64, shape: Shape) -> Self {
        let mut random = Random(seed);
        let config = GroupConfig {
            election_ticks_max: 20,
            seed: random.next() >> 1,
            // Small enough to be in the way.
            append_bytes_max: 40,
            inflight_appends_max: 4,
            uncommitted_bytes_max: 200,
            committed_bytes_max: 60,
            tail_bytes_max: 100,
            ..roomy_config()
        };
        let disk_speed = [8, 16, 25][random.below(3)];
        let fault_every = [15, 40, 150][random.below(3)];
        Self {
            cluster: Cluster::new(config, shape.voters, shape.learners, shape.spares),
            random,
            shape,
            disk_speed,
            fault_every,
            leaders: BTreeMap::new(),
            committed: Vec::new(),
            hashes: BTreeMap::new(),
            max_commit: LogIndex(0),
            proposals: 0,
            installed: 0,
            record: None,
        }
    }

    /// Returns how many entries were committed before all was made well again, and how many snapshots were installed.
    fn run(&mut self) -> (usize, usize) {
        for step in 0..self.shape.steps {
            self.step();
            self.check();
            if step % 50 == 0 {
                self.check_logs_match();
            }
        }
        let committed = self.committed.len();
        self.recover();
        self.check_logs_match();
        (committed, self.installed)
    }

    fn step(&mut self) {
        if self.random.below(self.fault_every / self.shape.hurry) == 0 {
            self.fault();
        }
        let id = self.random.node(&self.cluster);
        let cluster = &mut self.cluster;
        match self.random.below(100) {
            0..45 => {
                for _ in 0..self.random.below(8) {
                    self.deliver();
                }
            }
            45..60 => {
                // Clocks run about equally fast.
                let all = self.random.below(8) > 0;
                for id in if all { cluster.ids() } else { vec![id] } {
                    cluster.input(id, |group| group.tick());
                }
            }
            60..70 => {
                self.proposals += 1;
                let data = format!("proposal {}", self.proposals).into_bytes();
                let leader = self.leader().filter(|_| self.random.below(4) > 0);
                // A refusal is one of the things that may happen.
                let _ = self.cluster.propose(leader.unwrap_or(id), data);
            }
            70..72 => {
                cluster.flush(id);
                if self.shape.truncates {
                    cluster.truncate(id, self.random.below(300) as u64);
                }
            }
            72..74 => {
                let _ = cluster.read(id);
            }
            74 => self.transfer_or_change(id),
            75..80 if self.shape.truncates => match self.random.below(16) {
                0..4 => cluster.make_snapshot(id),
                4 => cluster.give_up(id),
                _ => drop(cluster.accept(id)),
            },
            _ if self.random.below(25) < self.disk_speed => {
                for _ in 0..=self.random.below(3) {
                    cluster.persist(id);
                }
            }
            _ => {}
        }
    }

    /// Delivers one message, mostly in order; at times one overtakes the others, arrives twice, or never.
    fn deliver(&mut self) {
        let network = &mut self.cluster.network;
        if network.is_empty() {
            return;
        }
        let any = self.random.below(network.len());
        match self.random.below(40) {
            0 => drop(network.remove(any)),
            1 => self.cluster.deliver_at(any, true),
            2..6 => self.cluster.deliver_at(any, false),
            _ => self.cluster.deliver_at(0, false),
        }
    }

    /// Something breaks, or what is broken is made well again.
    fn fault(&mut self) {
        let id = self.random.node(&self.cluster);
        match self.random.below(16) {
            0 => self.cluster.cut(id, true),
            1..4 => self.cluster.cut(id, false),
            4..6 => self.cluster.crash(id, self.random.below(4)),
            6..12 => self.cluster.start(id),
            12 => self.cluster.pause(id, true),
            13 if self.may_lose_state() => {
                self.cluster.crash(id, 0);
                self.cluster.lose_state(id);
            }
            _ => self.cluster.pause(id, false),
        }
    }

    /// One at a time: those who have theirs must be able to commit.
    fn may_lose_state(&mut self) -> bool {
        let ids = self.cluster.ids();
        let lost = ids.into_iter().any(|id| self.cluster.lost_state(id));
        let enough = self.shape.voters > 2 && !self.shape.changes;
        self.shape.truncates && enough && !lost && self.random.below(3) == 0
    }

    fn transfer_or_change(&mut self, other: NodeId) {
        let Some(leader) = self.leader() else { return };
        if !self.shape.changes || self.random.below(4) == 0 {
            self.cluster
                .input(leader, |group| group.transfer_leader(other));
            return;
        }
        let change = match self.random.below(4) {
            0 => MemberChange::AddLearner(other),
            1 => MemberChange::Remove(other),
            _ => MemberChange::AddVoter(other),
        };
        let _ = self.cluster.change(leader, change);
    }

    fn leader(&self) -> Option<NodeId> {
        let leads = |id: &NodeId| {
            self.cluster
                .life(*id)
                .is_some_and(|life| life.group.status().role == Role::Leader)
        };
        self.cluster.ids().into_iter().rev().find(leads)
    }

    fn check(&mut self) {
        for event in self.cluster.take_events() {
            if let Some(record) = &mut self.record {
                record.push(event.to_string());
            }
            match event.what {
                What::Commit(entry) => self.check_committed(event.node, &entry),
                What::Read(grant) => assert!(
                    grant.index <= self.max_commit.max(LogIndex(self.committed.len() as u64)),
                    "a read waits for an entry that is not committed"
                ),
                What::Refused(_)
                | What::Role(..)
                | What::Send(..)
                | What::Offered(_)
                | What::Install(_)
                | What::Persist(_)
                | What::Persisted => {}
                What::Installed(_) => self.installed += 1,
            }
        }
        for id in self.cluster.ids() {
            let Some(life) = self.cluster.life(id) else {
                continue;
            };
            let status = life.group.status();
            let applied = &life.applied;
            if applied.index > LogIndex(0) {
                let hash = *self.hashes.entry(applied.index).or_insert(applied.hash);
                assert_eq!(applied.hash, hash, "{id:?} has another state");
            }
            if status.role == Role::Leader {
                let leader = *self.leaders.entry(status.term).or_insert(id);
                assert_eq!(leader, id, "two leaders of term {}", status.term);
            }
            if status.commit_index > self.max_commit {
                self.max_commit = status.commit_index;
                self.check_majority_holds(status.commit_index, None);
            }
            // What was handed out stays on this node's disk, whatever is still on its way there.
            let truncated = truncated(&self.cluster.nodes[&id].disk);
            if let Some(last) = (life.handed_out.0 as usize).checked_sub(1)
                && life.handed_out >= truncated
            {
                let expected = Some(self.committed[last].term);
                assert_eq!(
                    self.term_on_disk(id, life.handed_out),
                    expected,
                    "{id:?} lost an entry"
                );
            }
        }
    }

    fn check_committed(&mut self, id: NodeId, entry: &Committed) {
        let position = entry.index.0 as usize - 1;
        if let Some(known) = self.committed.get(position) {
            assert_eq!(known, entry, "{id:?} has another entry");
            return;
        }
        assert_eq!(position, self.committed.len(), "{id:?} skipped entries");
        self.committed.push(entry.clone());
        self.check_majority_holds(entry.index, Some(entry.term));
    }

    /// Only with fixed members: otherwise the majority in question is that of the leader's members.
    fn check_majority_holds(&self, index: LogIndex, term: Option<Term>) {
        if self.shape.changes {
            return;
        }
        let mut copies: BTreeMap<Term, u64> = BTreeMap::new();
        let mut truncated_copies = 0;
        for voter in (1..=self.shape.voters).map(node) {
            // Only what is committed is truncated, or replaced by a snapshot.
            truncated_copies += u64::from(index < truncated(&self.cluster.nodes[&voter].disk));
            if let Some(term) = self.term_on_disk(voter, index) {
                *copies.entry(term).or_default() += 1;
            }
        }
        let held = match term {
            Some(term) => copies.get(&term).copied().unwrap_or(0),
            None => copies.into_values().max().unwrap_or(0),
        };
        assert!(
            held + truncated_copies > self.shape.voters / 2,
            "{index} is committed, and on {held} disks"
        );
    }

    fn term_on_disk(&self, id: NodeId, index: LogIndex) -> Option<Term> {
        self.cluster.nodes[&id].disk.reader().term(index).ok()
    }

    /// Logs that agree on one entry agree on all before it.
    fn check_logs_match(&self) {
        let logs: Vec<_> = self
            .cluster
            .nodes
            .values()
            .map(|node| whole(&node.disk))
            .collect();
        for (k, left) in logs.iter().enumerate() {
            for right in &logs[k + 1..] {
                let (from, to) = (left.0.max(right.0), left.end().min(right.end()));
                let terms = |log: &Log, index: u64| log.1[(index - log.0) as usize].term;
                let mut differ = false;
                for index in from..to {
                    let same = terms(left, index) == terms(right, index);
                    assert!(!(differ && same), "logs meet again at {index}");
                    differ |= !same;
                    let equal =
                        left.1[(index - left.0) as usize] == right.1[(index - right.0) as usize];
                    assert_eq!(same, equal, "two entries of one term at {index}");
                }
            }
        }
    }

    /// All faults end: a new proposal must get through to every node that is a member.
    fn recover(&mut self) {
        for id in self.cluster.ids() {
            self.cluster.cut(id, false);
            self.cluster.start(id);
            self.cluster.pause(id, false);
        }
        for _ in 0..400 {
            for id in self.cluster.ids() {
                self.cluster.input(id, |group| group.tick());
                // What was offered may have been lost.
                self.cluster.give_up(id);
            }
            self.cluster.stabilize();
            self.check();
            let Some(leader) = self.leader() else {
                continue;
            };
            let Some(Ok(position)) = self.cluster.propose(leader, b"the last".to_vec()) else {
                continue;
            };
            self.cluster.stabilize();
            self.check();
            let last = self.committed.last().expect("elections append entries");
            let proposed =
                matches!(&last.payload, Payload::Proposal { data, .. } if data == "the last");
            if proposed && last.index == position.index && self.everyone_has(last.index) {
                return;
            }
        }
        let lives = self.cluster.ids().into_iter();
        let lives = lives.filter_map(|id| Some((id, self.cluster.life(id)?)));
        let stand: Vec<_> = lives
            .map(|(id, life)| {
                (
                    id,
                    life.group.status(),
                    life.applied.index,
                    life.group.state_lost(),
                )
            })
            .collect();
        panic!("no progress after all faults had ended: {stand:#?}");
    }

    fn everyone_has(&self, index: LogIndex) -> bool {
        let leader = self
            .leader()
            .and_then(|id| self.cluster.life(id))
            .expect("just proposed");
        let members = leader.applied.voters.iter().chain(&leader.applied.learners);
        members.into_iter().all(|id| {
            self.cluster
                .life(*id)
                .is_some_and(|life| life.applied.index >= index)
        })
    }
}

/// The first index of a log, and its entries.
struct Log(u64, Vec<LogEntry>);

impl Log {
    fn end(&self) -> u64 {
        self.0 + self.1.len() as u64
    }
}

fn truncated(disk: &MemLog) -> LogIndex {
    let bounds = disk.writer().bounds();
    bounds.expect("a log in memory can be read").truncated_index
}

fn whole(disk: &MemLog) -> Log {
    let bounds = disk.writer().bounds();
    let last = bounds.expect("a log in memory can be read").last_index;
    let first = truncated(disk).next();
    let entries = disk.reader().entries(first, last.next(), u64::MAX);
    Log(first.0, entries.expect("they are there"))
}
