//! What unit tests share.

use crate::config::{CursorLimits, InitialMember, Limits, NodeConfig, Timeouts};
use bytes::Bytes;
use corgi_base::{Boot, ClusterId, InstanceId, NodeId, Nonce};

pub(crate) fn node(id: u64) -> NodeId {
    NodeId::new(id).expect("nodes are counted from 1")
}

/// Returns the configuration of one of three nodes, with limits that nothing in these tests should reach.
pub(crate) fn config(id: u64) -> NodeConfig {
    let member = |id| InitialMember {
        id: node(id),
        addr: Bytes::from(format!("n{id}:1")),
    };
    NodeConfig {
        id: node(id),
        instance: InstanceId(id.into()),
        boot: Boot(1),
        nonce: Nonce(1),
        formation: None,
        new_cluster: ClusterId(9),
        initial_members: [1, 2, 3].map(member).into(),
        feature_level: 1,
        seed: 0,
        users: corgi_session::Users::default(),
        all_channels: false,
        local_reads: false,
        history: Default::default(),
        timeouts: Timeouts {
            tick_ms: 1,
            election_ms: 10,
            heartbeat_ms: 1,
            write_ms: 100,
            quorum_loss_ms: 100,
        },
        limits: Limits {
            batch_bytes_max: 1,
            batches_in_flight_max: 1,
            write_bytes_max: usize::MAX,
            pending_bytes_max: 1,
            client_queue_bytes_max: 1,
            client_queue_bytes_low: 1,
            clients_queue_bytes_max: 1,
            cursors: CursorLimits::default(),
            counts_bytes_max: 1 << 20,
            append_bytes_max: 1,
            inflight_appends_max: 1,
            uncommitted_bytes_max: 1,
            committed_bytes_max: 1,
            tail_bytes_max: 1,
            snapshot_chunk_bytes: 1,
            disk_free_bytes_min: 1,
            disk_free_percent_min: 1,
            keys_bytes_max: 0,
            blocked_keys_max: 1000,
        },
    }
}
