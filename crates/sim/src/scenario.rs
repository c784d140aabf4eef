//! What a seed chooses before anything happens.

use crate::history::Micros;
use crate::rng::Rng;
use corgi_node::{CursorLimits, Limits, Timeouts};

/// One millisecond of virtual time.
pub(crate) const MS: Micros = 1000;
/// One second of virtual time.
pub(crate) const SECOND: Micros = 1000 * MS;

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// F01: processes are killed and started again.
    Kill,
    /// F02: a node is asked to stop, hands over, stops, and starts again.
    Stop,
    /// F03: processes stand still, then go on.
    Pause,
    /// F04: one node is cut off from all others.
    Isolate,
    /// F04: two groups without a link between them.
    Halves,
    /// F04: every node sees only its neighbours in a ring.
    Ring,
    /// F04: two groups that only one node, which sees both, connects.
    Bridge,
    /// F04: messages of one direction between two nodes are lost.
    OneWay,
    /// F05: a node is cut off and comes back, again and again.
    Flap,
    /// F06: messages between two nodes take very long.
    SlowLink,
    /// F06: connections between nodes break.
    ResetLinks,
    /// F08: a wall clock jumps.
    ClockJump,
    /// F08: a node's clocks run fast or slow.
    ClockDrift,
    /// F09: members come, go and replace each other; leadership is asked for.
    Members,
    /// F09: a leader is cut off and asked to remove the others.
    Island,
    /// F10: some machines lose power, and what was not synced.
    PowerLoss,
    /// F10: all machines lose power at once.
    PowerLossAll,
    /// F11: a sync fails, which ends the process.
    DiskError,
    /// F12: reads fail, which ends the process.
    ReadError,
    /// F13: a disk is almost full for a while.
    DiskFull,
    /// F14: every sync of a node takes long.
    SlowDisk,
    /// F14: a disk stands still for a while.
    DiskStall,
    /// F15: a byte of a log changes on the disk.
    BitFlip,
    /// F16: the end of a log, or term and vote, are lost, or the log is an old copy.
    LostFile,
    /// F16: a folder is an old copy.
    OldFolder,
    /// F16: a folder is empty.
    Wipe,
    /// F15: a bit changes in a snapshot that a node keeps for others.
    SnapshotFlip,
    /// F16: the applied state is gone, the log is not.
    LostState,
    /// F18: a process dies between any two steps of what it has decided.
    Fuse,
    /// F21: clients vanish in the middle of what they do.
    ClientCrash,
    /// F22: a node is stopped and started as a later release.
    Upgrade,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 31] = [
        Self::Kill,
        Self::Stop,
        Self::Pause,
        Self::Isolate,
        Self::Halves,
        Self::Ring,
        Self::Bridge,
        Self::OneWay,
        Self::Flap,
        Self::SlowLink,
        Self::ResetLinks,
        Self::ClockJump,
        Self::ClockDrift,
        Self::Members,
        Self::Island,
        Self::PowerLoss,
        Self::PowerLossAll,
        Self::DiskError,
        Self::ReadError,
        Self::DiskFull,
        Self::SlowDisk,
        Self::DiskStall,
        Self::BitFlip,
        Self::LostFile,
        Self::OldFolder,
        Self::Wipe,
        Self::SnapshotFlip,
        Self::LostState,
        Self::Fuse,
        Self::ClientCrash,
        Self::Upgrade,
    ];
}

/// A run, as its seed chose it.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) nodes: usize,
    pub(crate) timeouts: Timeouts,
    pub(crate) limits: Limits,
    /// The least delay between two nodes, and what chance adds at most.
    pub(crate) delay: (Micros, Micros),
    /// What one group of writes takes.
    pub(crate) sync: (Micros, Micros),
    /// Bytes of the newest entries that stay in the log.
    pub(crate) retain_bytes: u64,
    /// How often the applied state is flushed.
    pub(crate) flush_every: Micros,
    /// Messages that wait on one lane before further ones are dropped.
    pub(crate) lane_max: usize,
    /// How long a connection that does not move lives.
    pub(crate) stall_max: Micros,
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
    pub(crate) churners: usize,
    pub(crate) echoes: usize,
    /// What publishers do: pipeline up to so many, with pauses around this, in payloads up to this.
    pub(crate) depth_max: u64,
    pub(crate) think: Micros,
    pub(crate) payload_max: u64,
    pub(crate) channels: u64,
    /// Bytes that a connection to a client holds in its buffers.
    pub(crate) window: usize,
    /// Percent of subscribers that read slowly or not at all.
    pub(crate) slow_percent: u64,
    pub(crate) faults: Vec<FaultKind>,
    pub(crate) fault_gap: Micros,
    /// A machine whose wall clock is wrong from the start, and by how much.
    pub(crate) wrong_clock: Option<(usize, i64)>,
    /// When the first fault may come; early ones fall into the birth of the cluster.
    pub(crate) faults_from: Micros,
    /// When the faults end.
    pub(crate) heal_at: Micros,
    /// Whether all nodes heal then, or just a majority.
    pub(crate) heal_all: bool,
}

impl Scenario {
    /// Draws a scenario.
    ///
    /// A `light` one has three nodes and little load: what the speed of the simulator is told for.
    pub(crate) fn draw(rng: &mut Rng, light: bool) -> Self {
        let mut scenario = Self::draw_any(rng);
        if light {
            scenario.nodes = 3;
            scenario.wrong_clock = None;
            (scenario.publishers, scenario.subscribers) = (1, 2);
            (scenario.churners, scenario.echoes) = (0, 0);
            (scenario.depth_max, scenario.think) = (1, 200 * MS);
        }
        scenario
    }

    fn draw_any(rng: &mut Rng) -> Self {
        let nodes = rng.pick(&[1, 2, 3, 3, 3, 3, 3, 4, 5, 5]);
        let tiny = rng.chance(40);
        let busy = rng.chance(30);
        let heal_at = rng.between(15, 40) * SECOND;
        let mut faults: Vec<FaultKind> = FaultKind::ALL
            .into_iter()
            .filter(|_| rng.chance(35))
            .collect();
        // One run in eight has no faults at all: a checker must also hold in quiet times.
        if rng.chance(12) {
            faults.clear();
        }
        // F08: one wrong clock must not matter, from the first entry on.
        let wrong_clock = rng.chance(25).then(|| {
            let ms = rng.skewed(1, 10 * 365 * 24 * 3_600_000);
            let ms = i64::try_from(ms).unwrap_or(1);
            (rng.index(nodes), if rng.chance(50) { ms } else { -ms })
        });
        let delay = rng.pick(&[(50, 200), (200, 2000), (1000, 10_000), (5000, 60_000)]);
        Self {
            nodes,
            timeouts: timeouts(rng),
            limits: limits(rng, tiny),
            delay,
            sync: rng.pick(&[(50, 300), (500, 5000), (2000, 30_000)]),
            retain_bytes: rng.pick(&[0, 1000, 20_000, 1 << 30]),
            flush_every: rng.skewed(100 * MS, 20 * SECOND),
            lane_max: if tiny { 64 } else { 16_384 },
            stall_max: rng.between(1, 8) * SECOND,
            publishers: usize::try_from(rng.between(1, 4)).unwrap_or(1),
            subscribers: usize::try_from(rng.between(1, 6)).unwrap_or(1),
            churners: usize::try_from(rng.below(3)).unwrap_or(0),
            echoes: usize::try_from(rng.below(2)).unwrap_or(0),
            depth_max: rng.pick(&[1, 1, 4, 16, 32]),
            think: if busy {
                5 * MS
            } else {
                rng.skewed(20 * MS, 500 * MS)
            },
            payload_max: rng.pick(&[0, 40, 200, 3000]),
            channels: rng.between(1, 5),
            window: rng.pick(&[512, 4096, 65_536]),
            slow_percent: rng.pick(&[0, 20, 50]),
            faults,
            wrong_clock,
            fault_gap: rng.skewed(300 * MS, 6 * SECOND),
            faults_from: if rng.chance(25) { 0 } else { 4 * SECOND },
            heal_at,
            heal_all: rng.chance(50),
        }
    }
}

fn timeouts(rng: &mut Rng) -> Timeouts {
    // The server's defaults, or a snappier set.
    if rng.chance(70) {
        Timeouts {
            tick_ms: 10,
            election_ms: 600,
            heartbeat_ms: 60,
            write_ms: 2500,
            quorum_loss_ms: 3000,
        }
    } else {
        Timeouts {
            tick_ms: 20,
            election_ms: 400,
            heartbeat_ms: 80,
            write_ms: rng.between(800, 1500),
            quorum_loss_ms: rng.between(1000, 2000),
        }
    }
}

fn limits(rng: &mut Rng, tiny: bool) -> Limits {
    if !tiny {
        return Limits {
            batch_bytes_max: 256 << 10,
            batches_in_flight_max: 4,
            write_bytes_max: 16 << 20,
            pending_bytes_max: 16 << 20,
            client_queue_bytes_max: 1 << 20,
            client_queue_bytes_low: 256 << 10,
            clients_queue_bytes_max: 64 << 20,
            cursors: CursorLimits::default(),
            counts_bytes_max: 64 << 20,
            append_bytes_max: 256 << 10,
            inflight_appends_max: 128,
            uncommitted_bytes_max: 64 << 20,
            committed_bytes_max: 8 << 20,
            tail_bytes_max: 64 << 20,
            snapshot_chunk_bytes: 256 << 10,
            disk_free_bytes_min: 1 << 30,
            disk_free_percent_min: 5,
            keys_bytes_max: 0,
            blocked_keys_max: 1_000_000,
        };
    }
    let client_queue_bytes_max = rng.pick(&[200, 2000, 20_000]);
    Limits {
        batch_bytes_max: rng.pick(&[1, 100, 1000]),
        batches_in_flight_max: rng.pick(&[1, 2, 8]),
        write_bytes_max: 16 << 20,
        pending_bytes_max: rng.pick(&[200, 2000, 20_000]),
        client_queue_bytes_max,
        client_queue_bytes_low: client_queue_bytes_max / rng.pick(&[1, 4, 20]),
        clients_queue_bytes_max: rng.pick(&[2000, 50_000, 1_000_000]),
        cursors: CursorLimits {
            // One entry at a time would be slower than what comes in.
            block_bytes_max: rng.pick(&[2000, 10_000, 50_000]),
            cache_bytes_max: rng.pick(&[0, 1000, 20_000]),
            reads_max: rng.pick(&[1, 2, 4]) as usize,
            feed_bytes_max: rng.pick(&[1000, 10_000, 50_000]),
        },
        // Whatever is too much is not counted, which no checker could tell from a mistake.
        counts_bytes_max: 64 << 20,
        append_bytes_max: rng.pick(&[0, 100, 2000]),
        inflight_appends_max: rng.pick(&[1, 2, 8]),
        uncommitted_bytes_max: rng.pick(&[4000, 8000, 50_000]),
        committed_bytes_max: rng.pick(&[0, 200, 5000]),
        tail_bytes_max: rng.pick(&[0, 500, 5000]),
        snapshot_chunk_bytes: rng.pick(&[100, 500, 4000]),
        disk_free_bytes_min: 1 << 30,
        disk_free_percent_min: 5,
        keys_bytes_max: 0,
        blocked_keys_max: 1_000_000,
    }
}
