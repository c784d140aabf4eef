//! Which sections `INFO` shows, and what stands in them.

use super::*;
use crate::feed::FeedCounters;

fn node() -> NodeFacts {
    let id = |id| NodeId::new(id).expect("not 0");
    NodeFacts {
        id: id(2),
        cluster: Some(ClusterId(10)),
        formed: true,
        quorum_lost: false,
        role: Role::Follower,
        term: Term(3),
        leader: Some(id(1)),
        commit: LogIndex(8),
        applied: LogIndex(7),
        first: LogIndex(1),
        state_lost: false,
        snapshots: Default::default(),
        last: LogIndex(9),
        voters: vec![id(1), id(2)],
        learners: Vec::new(),
        peers_up: 1,
        feature_level: 1,
        state_hash: 10,
        disk_low: false,
        pending_bytes: 5,
        batches_in_flight: 4,
        channels: 6,
        shard_channels: 5,
        patterns: 1,
        published: 11,
        delivered: 12,
        lagging: 2,
        feed: FeedCounters::default(),
        key_bytes: 320,
        history: Default::default(),
        keyspace: vec![(0, 2, 1), (3, 1, 0)],
    }
}

fn shown(asked: &[&'static str]) -> String {
    let facts = Facts {
        server: vec!["redis_version:7.4.0".to_owned()],
        ..Facts::default()
    };
    let asked: Vec<Bytes> = asked
        .iter()
        .map(|name| Bytes::from_static(name.as_bytes()))
        .collect();
    String::from_utf8(render(&facts, &node(), &asked).to_vec()).expect("it is text")
}

fn titles(asked: &[&'static str]) -> Vec<String> {
    let text = shown(asked);
    text.lines()
        .filter_map(|line| line.strip_prefix("# "))
        .map(str::to_owned)
        .collect()
}

#[test]
fn sections_come_in_redis_order_whatever_the_order_asked() {
    let default = [
        "Server",
        "Clients",
        "Memory",
        "Persistence",
        "Stats",
        "Replication",
        "CPU",
        "Modules",
        "Errorstats",
        "Cluster",
        "Keyspace",
        "History",
        "Raft",
    ];
    for asked in [&[][..], &["default"], &["server", "Default"]] {
        assert_eq!(titles(asked), default);
    }
    let mut all = default.to_vec();
    all.insert(8, "Commandstats");
    all.insert(10, "Latencystats");
    for asked in [&["all"][..], &["EVERYTHING"], &["default", "all"]] {
        assert_eq!(titles(asked), all);
    }
    let more = ["default", "commandstats"];
    assert_eq!(titles(&more)[8], "Commandstats");
    assert_eq!(titles(&["raft", "server", "nonsense"]), ["Server", "Raft"]);
    assert_eq!(shown(&["nonsense"]), "");
}

#[test]
fn sections_are_set_apart_by_an_empty_line() {
    let text = shown(&["server", "replication"]);
    assert!(
        text.starts_with("# Server\r\nredis_version:7.4.0\r\n\r\n# Replication\r\nrole:master\r\n")
    );
    let id = "000000000000000000000000000000000000000a";
    assert!(text.contains(&format!("\r\nmaster_replid:{id}\r\n")));
    assert!(text.contains("\r\nmaster_repl_offset:7\r\n"));
}

#[test]
fn raft_shows_where_the_node_stands() {
    let expected = "# Raft\r\nraft_node_id:2\r\nraft_cluster_id:0000000000000000000000000000000a\r\n\
        raft_formed:1\r\nraft_quorum:ok\r\nraft_role:follower\r\nraft_term:3\r\nraft_leader_id:1\r\n\
        raft_commit_index:8\r\nraft_applied_index:7\r\nraft_first_index:1\r\nraft_last_index:9\r\nraft_snapshot_index:0\r\nraft_snapshots_made:0\r\nraft_snapshots_sent:0\r\n\
         raft_snapshots_installed:0\r\nraft_state_lost:0\r\nraft_voters:1,2\r\n\
        raft_learners:\r\nraft_peers_up:1\r\nraft_feature_level:1\r\n\
         raft_state_hash:000000000000000a\r\nraft_disk_low:0\r\nraft_pending_bytes:5\r\nraft_batches_in_flight:4\r\n";
    assert_eq!(shown(&["raft"]), expected);
}

#[test]
fn keyspace_has_a_line_for_each_database_with_keys() {
    assert_eq!(
        shown(&["keyspace"]),
        "# Keyspace\r\ndb0:keys=2,expires=1,avg_ttl=0\r\ndb3:keys=1,expires=0,avg_ttl=0\r\n"
    );
    assert!(shown(&["memory"]).contains("\r\nused_memory_dataset:320\r\n"));
}
