//! What a node is told when it starts. Every limit is here, so that tests can make them tiny.

use crate::history::ShownRules;
use bytes::Bytes;
use corgi_base::{Boot, ClusterId, Formation, InstanceId, NodeId, Nonce};
use corgi_consensus::storage::LogBounds;
use corgi_session::Users;

/// One of the first members, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialMember {
    /// Its id.
    pub id: NodeId,
    /// `host:port` of its peer listener.
    pub addr: Bytes,
}

/// Timeouts, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Between two calls of [`crate::Node::tick`]. Raft's ticks are these.
    pub tick_ms: u64,
    /// Without a leader's sign of life before an election; the real one lies between this and twice this.
    pub election_ms: u64,
    /// Between a leader's heartbeats.
    pub heartbeat_ms: u64,
    /// How long a write waits before its client is told that it failed or that its fate is unknown.
    pub write_ms: u64,
    /// Without an answer of a majority for so long, subscribers are closed and new ones refused.
    pub quorum_loss_ms: u64,
}

/// Bounds on what a node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of operations in one batch, unless one operation is larger.
    pub batch_bytes_max: usize,
    /// Batches that are sent and not applied yet.
    pub batches_in_flight_max: usize,
    /// Bytes of the operations of one write, which are one entry of the log: what a message between nodes can carry. A
    /// larger write is refused, because an entry that cannot be sent would stop the cluster.
    pub write_bytes_max: usize,
    /// Bytes of operations that wait to be put in a batch; beyond this a write gets `-TRYAGAIN`.
    pub pending_bytes_max: usize,
    /// Bytes of messages that wait for one connection; beyond this it is fed from the log.
    pub client_queue_bytes_max: u64,
    /// A connection that is fed from the log gets more when no more than so many bytes wait for it.
    pub client_queue_bytes_low: u64,
    /// Bytes of messages that wait for all connections together; the nearer, the earlier each of them is fed from the
    /// log.
    pub clients_queue_bytes_max: u64,
    /// Feeding from the log.
    pub cursors: CursorLimits,
    /// Bytes that names may take which clients of other nodes listen to; more are not counted.
    pub counts_bytes_max: usize,
    /// Payload bytes of one append message to a follower.
    pub append_bytes_max: u64,
    /// Append messages under way to one follower.
    pub inflight_appends_max: usize,
    /// Payload bytes that a leader holds uncommitted.
    pub uncommitted_bytes_max: u64,
    /// Payload bytes of committed entries that are applied in one go.
    pub committed_bytes_max: u64,
    /// Payload bytes of the log that are kept in memory.
    pub tail_bytes_max: u64,
    /// Bytes of a snapshot that are sent at once.
    pub snapshot_chunk_bytes: u32,
    /// Bytes that the keys of all databases may take; beyond this writes that add something get `-OOM`. 0 for no bound.
    pub keys_bytes_max: u64,
    /// Keys that all clients which wait for entries of streams may watch together.
    pub blocked_keys_max: usize,
    /// Bytes that must be free on the disk; with less, new writes get `-MISCONF`.
    pub disk_free_bytes_min: u64,
    /// The same in percent of the disk; the larger of the two counts.
    pub disk_free_percent_min: u64,
}

/// Bounds on feeding slow subscribers from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CursorLimits {
    /// Payload bytes of one read of the log.
    pub block_bytes_max: u64,
    /// Bytes of blocks that are kept for others that will need them.
    pub cache_bytes_max: u64,
    /// Reads under way at once.
    pub reads_max: usize,
    /// Bytes that are looked at and encoded within one input to the node.
    pub feed_bytes_max: u64,
}

impl Default for CursorLimits {
    fn default() -> Self {
        Self {
            // A read costs a seek; more at once would keep the encoding of a block from others for longer.
            block_bytes_max: 256 << 10,
            cache_bytes_max: 16 << 20,
            // Two keep one disk busy, and leave it to the log's writer otherwise.
            reads_max: 2,
            // Less than a millisecond under the node's lock.
            feed_bytes_max: 1 << 20,
        }
    }
}

/// Who a node is and how it behaves.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its id.
    pub id: NodeId,
    /// Its data folder.
    pub instance: InstanceId,
    /// How often the folder has been started.
    pub boot: Boot,
    /// A random number for this process.
    pub nonce: Nonce,
    /// The cluster that the folder belongs to, if it has one.
    pub formation: Option<Formation>,
    /// A random name for the cluster, should this node found one.
    pub new_cluster: ClusterId,
    /// The first members, this node among them. Ignored once a cluster is formed.
    pub initial_members: Vec<InitialMember>,
    /// The feature level that this build can apply: [`corgi_base::FEATURE_LEVEL`], other values are for tests.
    pub feature_level: u32,
    /// Chooses the election timeouts.
    pub seed: u64,
    /// The users as sessions see them: those of the configuration, until the node replaces them by the cluster's. A
    /// cluster that has none takes on its leader's.
    pub users: Users,
    /// Whether new users may use all channels: `acl-pubsub-default`.
    pub all_channels: bool,
    /// Whether keys are read as they are here, without asking a majority: `read-consistency local`.
    pub local_reads: bool,
    /// How much of channels is kept, as the process shows it: by the configuration, until the node replaces that by
    /// what the cluster says. A cluster that has said nothing takes on its leader's.
    pub history: ShownRules,
    /// Timeouts.
    pub timeouts: Timeouts,
    /// Bounds.
    pub limits: Limits,
}

/// What a node finds on its disk.
#[derive(Debug)]
pub struct NodeStart<R> {
    /// What the log holds.
    pub bounds: LogBounds,
    /// Reads the log.
    pub reader: R,
    /// The rows of the applied state. None at all, with a log that was truncated, is a state that is lost: the node
    /// waits for a snapshot then.
    pub state_rows: Vec<(Bytes, Bytes)>,
}
