//! The text of `INFO` (<https://redis.io/docs/latest/commands/info/>): Redis' section and field names where they apply, and a
//! section `Raft`.

use crate::feed::FeedCounters;
use bytes::Bytes;
use corgi_base::{ClusterId, LogIndex, NodeId, Term};
use corgi_consensus::Role;
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
    pub(crate) last: LogIndex,
    pub(crate) voters: Vec<NodeId>,
    pub(crate) learners: Vec<NodeId>,
    pub(crate) peers_up: usize,
    pub(crate) feature_level: u32,
    pub(crate) state_hash: u64,
    pub(crate) disk_low: bool,
    pub(crate) pending_bytes: usize,
    pub(crate) batches_in_flight: usize,
    pub(crate) channels: u64,
    pub(crate) patterns: u64,
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) lagging: usize,
    pub(crate) feed: FeedCounters,
}

const SECTIONS: [&str; 8] = [
    "server",
    "clients",
    "memory",
    "persistence",
    "stats",
    "replication",
    "cpu",
    "raft",
];

/// Writes the sections asked for, in Redis' order; none means all, as do `all`, `default` and `everything`. Unknown
/// names are left out, as in Redis.
pub(crate) fn render(facts: &Facts, node: &NodeFacts, asked: &[Bytes]) -> Bytes {
    let wanted = |section: &str| {
        asked.is_empty()
            || asked.iter().any(|name| {
                [section, "all", "default", "everything"]
                    .iter()
                    .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
            })
    };
    let mut out = String::new();
    for section in SECTIONS.into_iter().filter(|section| wanted(section)) {
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

fn lines(section: &str, facts: &Facts, node: &NodeFacts) -> Vec<String> {
    match section {
        "server" => facts.server.clone(),
        "clients" => facts.clients.clone(),
        "memory" => facts.memory.clone(),
        "persistence" => facts.persistence.clone(),
        "stats" => [facts.stats.clone(), stats(node)].concat(),
        "cpu" => facts.cpu.clone(),
        // On this surface every node looks like the one Redis that there is.
        "replication" => vec![
            "role:master".to_owned(),
            "connected_slaves:0".to_owned(),
            "master_failover_state:no-failover".to_owned(),
            format!("master_repl_offset:{}", node.applied),
        ],
        _ => raft(node),
    }
}

fn stats(node: &NodeFacts) -> Vec<String> {
    vec![
        format!("pubsub_channels:{}", node.channels),
        format!("pubsub_patterns:{}", node.patterns),
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
        format!("raft_last_index:{}", node.last),
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
