//! The text of `INFO` (<https://redis.io/docs/latest/commands/info/>): Redis' section and field names where they apply, and a
//! section `Raft`.

use crate::feed::FeedCounters;
use crate::snapshots::SnapshotCounters;
use bytes::Bytes;
use corgi_base::{ClusterId, LogIndex, NodeId, Term};
use corgi_consensus::Role;
use corgi_state::history::Totals;
use std::fmt::Write as _;

/// What only the process around the node knows of itself: whole lines without line ends, `redis_version:7.4.0` and so
/// on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Section `Server`.
    pub server: Vec<String>,
    /// Section `Clients`.
    pub clients: Vec<String>,
    /// Section `Memory`.
    pub memory: Vec<String>,
    /// Section `Persistence`.
    pub persistence: Vec<String>,
    /// Section `Stats`; the node adds its own.
    pub stats: Vec<String>,
    /// Section `CPU`.
    pub cpu: Vec<String>,
    /// Section `Commandstats`.
    pub commandstats: Vec<String>,
    /// Section `Errorstats`.
    pub errorstats: Vec<String>,
    /// Section `Latencystats`.
    pub latencystats: Vec<String>,
}

/// What the node knows of itself.
#[derive(Clone, Debug)]
pub(crate) struct NodeFacts {
    pub(crate) id: NodeId,
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) formed: bool,
    pub(crate) quorum_lost: bool,
    pub(crate) role: Role,
    pub(crate) term: Term,
    pub(crate) leader: Option<NodeId>,
    pub(crate) commit: LogIndex,
    pub(crate) applied: LogIndex,
    pub(crate) first: LogIndex,
    pub(crate) last: LogIndex,
    pub(crate) state_lost: bool,
    pub(crate) snapshots: SnapshotCounters,
    pub(crate) voters: Vec<NodeId>,
    pub(crate) learners: Vec<NodeId>,
    pub(crate) peers_up: usize,
    pub(crate) feature_level: u32,
    pub(crate) state_hash: u64,
    pub(crate) disk_low: bool,
    pub(crate) pending_bytes: usize,
    pub(crate) batches_in_flight: usize,
    pub(crate) channels: u64,
    pub(crate) shard_channels: u64,
    pub(crate) patterns: u64,
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) lagging: usize,
    pub(crate) feed: FeedCounters,
    /// What all keys take.
    pub(crate) key_bytes: u64,
    /// The databases that have keys: how many, and how many of them expire.
    pub(crate) keyspace: Vec<(u8, usize, usize)>,
    /// What is kept of channels.
    pub(crate) history: Totals,
}

/// The sections in Redis' order, and whether they are shown when none is asked for. `History` and `Raft` come last,
/// because Redis has none.
const SECTIONS: [(&str, bool); 15] = [
    ("server", true),
    ("clients", true),
    ("memory", true),
    ("persistence", true),
    ("stats", true),
    ("replication", true),
    ("cpu", true),
    ("modules", true),
    ("commandstats", false),
    ("errorstats", true),
    ("latencystats", false),
    ("cluster", true),
    ("keyspace", true),
    ("history", true),
    ("raft", true),
];

/// Writes the sections asked for, in Redis' order; none means the default ones. Unknown names are left out, as in
/// Redis.
pub(crate) fn render(facts: &Facts, node: &NodeFacts, asked: &[Bytes]) -> Bytes {
    let asked_for = |name: &str| {
        asked
            .iter()
            .any(|asked| asked.eq_ignore_ascii_case(name.as_bytes()))
    };
    let all = asked_for("all") || asked_for("everything");
    let default = asked.is_empty() || asked_for("default");
    let wanted = |section: &str, by_default| all || (default && by_default) || asked_for(section);
    let mut out = String::new();
    let sections = SECTIONS
        .into_iter()
        .filter(|(section, by_default)| wanted(section, *by_default));
    for (section, _) in sections {
        if !out.is_empty() {
            out.push_str("\r\n");
        }
        let title = match section {
            "cpu" => "CPU".to_owned(),
            _ => section[..1].to_uppercase() + &section[1..],
        };
        out.push_str(&format!("# {title}\r\n"));
        for line in lines(section, facts, node) {
            out.push_str(&line);
            out.push_str("\r\n");
        }
    }
    out.into()
}

fn history(
    Totals {
        channels,
        messages,
        bytes,
    }: &Totals,
) -> Vec<String> {
    vec![
        format!("history_channels:{channels}"),
        format!("history_messages:{messages}"),
        format!("history_bytes:{bytes}"),
    ]
}

fn memory(node: &NodeFacts) -> Vec<String> {
    vec![format!("used_memory_dataset:{}", node.key_bytes)]
}

fn lines(section: &str, facts: &Facts, node: &NodeFacts) -> Vec<String> {
    match section {
        "server" => facts.server.clone(),
        "clients" => facts.clients.clone(),
        "memory" => [facts.memory.clone(), memory(node)].concat(),
        "persistence" => facts.persistence.clone(),
        "stats" => [facts.stats.clone(), stats(node)].concat(),
        "cpu" => facts.cpu.clone(),
        "commandstats" => facts.commandstats.clone(),
        "errorstats" => facts.errorstats.clone(),
        "latencystats" => facts.latencystats.clone(),
        // On the port that looks like one Redis it is none of a Redis Cluster, and modules there are none.
        "cluster" => vec!["cluster_enabled:0".to_owned()],
        "modules" => Vec::new(),
        "keyspace" => {
            let line = |(db, keys, expires): &(u8, usize, usize)| {
                format!("db{db}:keys={keys},expires={expires},avg_ttl=0")
            };
            node.keyspace.iter().map(line).collect()
        }
        "history" => history(&node.history),
        // On this surface every node looks like the one Redis that there is.
        "replication" => vec![
            "role:master".to_owned(),
            "connected_slaves:0".to_owned(),
            "master_failover_state:no-failover".to_owned(),
            format!("master_replid:{}", replication_id(node)),
            format!("master_replid2:{:040}", 0),
            format!("master_repl_offset:{}", node.applied),
            "second_repl_offset:-1".to_owned(),
            "repl_backlog_active:0".to_owned(),
            "repl_backlog_size:0".to_owned(),
            "repl_backlog_first_byte_offset:0".to_owned(),
            "repl_backlog_histlen:0".to_owned(),
        ],
        _ => raft(node),
    }
}

/// 40 digits as in Redis: the cluster's, because all its nodes have one history.
fn replication_id(node: &NodeFacts) -> String {
    let id = node.cluster.map(|id| id.to_string()).unwrap_or_default();
    format!("{id:0>40}")
}

fn stats(node: &NodeFacts) -> Vec<String> {
    vec![
        format!("pubsub_channels:{}", node.channels),
        format!("pubsub_patterns:{}", node.patterns),
        format!("pubsubshard_channels:{}", node.shard_channels),
        format!("published_messages:{}", node.published),
        format!("delivered_messages:{}", node.delivered),
        format!("lagging_clients:{}", node.lagging),
        format!("lagged_clients:{}", node.feed.closed),
        format!("cursors_begun:{}", node.feed.begun),
        format!("cursor_reads:{}", node.feed.reads),
        format!("cursor_read_bytes:{}", node.feed.read_bytes),
    ]
}

fn raft(node: &NodeFacts) -> Vec<String> {
    let ids = |nodes: &[NodeId]| {
        let mut out = String::new();
        for (k, id) in nodes.iter().enumerate() {
            let comma = if k == 0 { "" } else { "," };
            write!(out, "{comma}{id}").expect("a string takes all that is written to it");
        }
        out
    };
    let role = match node.role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    };
    let quorum = match (node.formed, node.quorum_lost) {
        (false, _) => "forming",
        (true, false) => "ok",
        (true, true) => "lost",
    };
    vec![
        format!("raft_node_id:{}", node.id),
        format!(
            "raft_cluster_id:{}",
            node.cluster.map(|id| id.to_string()).unwrap_or_default()
        ),
        format!("raft_formed:{}", u8::from(node.formed)),
        format!("raft_quorum:{quorum}"),
        format!("raft_role:{role}"),
        format!("raft_term:{}", node.term),
        format!("raft_leader_id:{}", node.leader.map_or(0, NodeId::get)),
        format!("raft_commit_index:{}", node.commit),
        format!("raft_applied_index:{}", node.applied),
        format!("raft_first_index:{}", node.first),
        format!("raft_last_index:{}", node.last),
        format!("raft_snapshot_index:{}", node.snapshots.made_index),
        format!("raft_snapshots_made:{}", node.snapshots.made),
        format!("raft_snapshots_sent:{}", node.snapshots.sent),
        format!("raft_snapshots_installed:{}", node.snapshots.installed),
        format!("raft_state_lost:{}", u8::from(node.state_lost)),
        format!("raft_voters:{}", ids(&node.voters)),
        format!("raft_learners:{}", ids(&node.learners)),
        format!("raft_peers_up:{}", node.peers_up),
        format!("raft_feature_level:{}", node.feature_level),
        format!("raft_state_hash:{:016x}", node.state_hash),
        format!("raft_disk_low:{}", u8::from(node.disk_low)),
        format!("raft_pending_bytes:{}", node.pending_bytes),
        format!("raft_batches_in_flight:{}", node.batches_in_flight),
    ]
}

#[cfg(test)]
mod tests;
