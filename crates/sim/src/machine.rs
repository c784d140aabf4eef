//! One machine: its disk, its clocks, and the process on it, if one runs.

use crate::folder::{Folder, Harm};
use crate::history::{ConnId, Micros};
use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::snapshots::Reset;
use crate::world::Event;
use bytes::Bytes;
use corgi_base::{Boot, ClientId, ClusterId, Formation, LogIndex, NodeId, Nonce, Now, Term};
use corgi_consensus::mem::{MemLogReader, MemLogWriter};
use corgi_consensus::storage::LogEntry;
use corgi_consensus::{Install, PersistToken};
use corgi_node::{
    DiskJob, DiskSpace, InitialMember, Limits, LogRead, Node, NodeConfig, NodeStart, PeerHello,
    SnapshotJob,
};
use corgi_session::Users;
use corgi_state::mem::MemStateStore;
use corgi_state::store::{StateStore, StateWrite};
use slog::Logger;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Wall clocks begin here, in milliseconds since 1970.
const WALL_START_MS: u64 = 1_800_000_000_000;

/// The two clocks of a machine: one runs too fast or too slow, the other is also set wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// The monotonic clock at `since`.
    mono: Micros,
    since: Micros,
    /// Parts of a million.
    rate: u64,
    wall_offset_ms: i64,
}

impl Clock {
    fn new() -> Self {
        Self {
            mono: 0,
            since: 0,
            rate: 1_000_000,
            wall_offset_ms: 0,
        }
    }

    fn mono(&self, now: Micros) -> Micros {
        self.mono + (now - self.since) * self.rate / 1_000_000
    }

    pub(crate) fn now(&self, now: Micros) -> Now {
        let mono_ms = self.mono(now) / 1000;
        let wall_ms = (WALL_START_MS + mono_ms).saturating_add_signed(self.wall_offset_ms);
        Now { mono_ms, wall_ms }
    }

    pub(crate) fn jump(&mut self, ms: i64) {
        self.wall_offset_ms += ms;
    }

    /// From now on the clock gains or loses so many parts of a million.
    pub(crate) fn drift(&mut self, now: Micros, rate: u64) {
        self.mono = self.mono(now);
        self.since = now;
        self.rate = rate;
    }

    /// How long something takes that lasts `span` on this clock.
    pub(crate) fn real(&self, span: Micros) -> Micros {
        span * 1_000_000 / self.rate
    }
}

/// What a machine is to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seat {
    /// Its folder is a member's, or will be one's.
    Member,
    /// It waits to be let in.
    Waiting,
    /// Its node was removed, and knows it.
    Left,
    /// It has refused to go on, for ever.
    Broken,
}

/// One machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) id: NodeId,
    pub(crate) clock: Clock,
    pub(crate) folder: Folder,
    /// An earlier copy of the folder.
    pub(crate) old: Option<Folder>,
    pub(crate) seat: Seat,
    /// Whether it joined a cluster that was there.
    joined: bool,
    /// The disk has lost or changed what it had promised to keep.
    pub(crate) harm: Option<Harm>,
    /// The feature level of the build on it.
    pub(crate) level: u32,
    /// Counts the processes that have run here.
    pub(crate) life: u64,
    pub(crate) process: Option<Process>,
    pub(crate) paused: bool,
    /// What happened to the process while it was paused.
    pub(crate) deferred: Vec<(u64, Event)>,
    /// Since when clients can have answers, or never.
    pub(crate) answerable_since: Micros,
    /// What a sync takes longer than usual.
    pub(crate) sync_extra: Micros,
    pub(crate) disk_fails: bool,
    /// How many faults fill the disk.
    pub(crate) full: u32,
    /// The process dies after so many further steps.
    pub(crate) fuse: Option<u64>,
    /// Whether the machine stays off until all is healed.
    pub(crate) abandoned: bool,
}

/// What is on its way to the disk.
#[derive(Debug)]
pub(crate) enum Group {
    Form(Formation),
    Install(Install),
    Writes {
        entries: Vec<LogEntry>,
        tokens: Vec<PersistToken>,
        state: Vec<StateWrite>,
    },
}

/// One process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) node: Node<MemLogReader>,
    pub(crate) writer: MemLogWriter,
    pub(crate) store: MemStateStore,
    pub(crate) queue: VecDeque<DiskJob>,
    /// Reads of the log that are under way, in the order asked for.
    pub(crate) reads: VecDeque<LogRead>,
    /// Work on snapshot files, in the order asked for.
    pub(crate) snapshots: VecDeque<SnapshotJob>,
    /// Entries after this one are to be kept.
    pub(crate) hold: Option<LogIndex>,
    /// Whether the log is to be truncated when the disk is free.
    pub(crate) truncate: bool,
    pub(crate) busy: Option<Group>,
    /// Counts the groups.
    pub(crate) group: u64,
    pub(crate) peers: Vec<NodeId>,
    /// The rows as written, with those that are not flushed.
    rows: BTreeMap<Bytes, Bytes>,
    pub(crate) applied: LogIndex,
    /// Up to where the rows are written.
    stored: LogIndex,
    pub(crate) conns: BTreeMap<ClientId, ConnId>,
    pub(crate) next_client: u64,
    pub(crate) led: Option<Term>,
    /// When a process that was asked to stop ends, ready or not.
    pub(crate) stop_by: Option<Micros>,
}

impl Machine {
    pub(crate) fn new(id: NodeId, rng: &mut Rng) -> Self {
        Self {
            id,
            clock: Clock::new(),
            folder: Folder::new(id, rng),
            old: None,
            seat: Seat::Member,
            joined: false,
            harm: None,
            level: corgi_base::FEATURE_LEVEL,
            life: 0,
            process: None,
            paused: false,
            deferred: Vec::new(),
            answerable_since: Micros::MAX,
            sync_extra: 0,
            disk_fails: false,
            full: 0,
            fuse: None,
            abandoned: false,
        }
    }

    /// Whether its process keeps connections with a peer.
    pub(crate) fn knows(&self, peer: NodeId) -> bool {
        let process = self.process.as_ref();
        process.is_some_and(|process| process.peers.contains(&peer))
    }

    /// Whether it is one that a fault may meet.
    pub(crate) fn is_member(&self) -> bool {
        self.seat == Seat::Member
    }

    /// Whether what the disk had is gone, so that nothing that runs on it can be what it was.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self.harm, Some(Harm::OldFolder | Harm::Wiped))
    }

    /// Starts a process on what the disk holds.
    ///
    /// # Errors
    /// The text with which the node refuses to start.
    pub(crate) fn start(
        &mut self,
        now: Micros,
        scenario: &Scenario,
        rng: &mut Rng,
        log: &Logger,
    ) -> Result<(), String> {
        self.life += 1;
        let bounds = self.folder.open()?;
        let writer = self.folder.log.writer();
        let store = self.folder.state.open();
        let stored = store.rows().map_err(|error| error.to_string())?;
        let start = NodeStart {
            bounds,
            reader: self.folder.log.reader(),
            state_rows: stored.clone(),
        };
        let config = self.config(scenario, rng);
        let node = Node::new(config, start, self.clock.now(now), log);
        let node = node.map_err(|error| error.to_string())?;
        self.answerable_since = now;
        self.process = Some(Process {
            node,
            writer,
            store,
            queue: VecDeque::new(),
            reads: VecDeque::new(),
            snapshots: VecDeque::new(),
            hold: None,
            truncate: false,
            busy: None,
            group: 0,
            peers: Vec::new(),
            rows: stored.into_iter().collect(),
            applied: self.folder.state.flushed_applied(),
            stored: self.folder.state.flushed_applied(),
            conns: BTreeMap::new(),
            next_client: 1,
            led: None,
            stop_by: None,
        });
        Ok(())
    }

    fn config(&self, scenario: &Scenario, rng: &mut Rng) -> NodeConfig {
        let member = |id| {
            NodeId::new(id).map(|id| InitialMember {
                id,
                addr: address(id),
            })
        };
        let first = if self.joined {
            self.id.get()..=self.id.get()
        } else {
            1..=scenario.nodes as u64
        };
        NodeConfig {
            id: self.id,
            instance: self.folder.instance,
            boot: self.folder.boot,
            nonce: Nonce(u128::from(rng.draw())),
            formation: self.folder.formation,
            new_cluster: ClusterId(u128::from(rng.draw())),
            initial_members: first.filter_map(member).collect(),
            feature_level: self.level,
            seed: rng.draw(),
            users: Users::default(),
            all_channels: false,
            local_reads: false,
            history: Default::default(),
            timeouts: scenario.timeouts,
            limits: scenario.limits,
        }
    }

    /// Ends the process. Chance decides how much of what was begun got to the disk; returns the
    /// entries that did, and the snapshot that the log was reset to.
    pub(crate) fn crash(&mut self, power: bool, rng: &mut Rng) -> (Vec<LogEntry>, Option<Reset>) {
        let Some(process) = self.process.take() else {
            return Default::default();
        };
        let reset = match &process.busy {
            Some(Group::Install(install)) => self.folder.crash_in_install(install, rng),
            Some(Group::Form(_) | Group::Writes { .. }) | None => None,
        };
        let whole = self.folder.crash(power, rng);
        self.paused = false;
        self.fuse = None;
        self.answerable_since = Micros::MAX;
        let entries = match process.busy {
            Some(Group::Form(formation)) if rng.chance(50) => {
                self.folder.formation = Some(formation);
                Vec::new()
            }
            Some(Group::Writes { entries, .. }) if whole => entries,
            Some(Group::Form(_) | Group::Install(_) | Group::Writes { .. }) | None => Vec::new(),
        };
        (entries, reset)
    }

    /// Takes on the cluster of a member that has called.
    pub(crate) fn admit(&mut self, formation: Formation) {
        self.folder.formation = Some(formation);
        self.seat = Seat::Member;
        self.joined = true;
    }

    /// Returns what a node that waits says of itself.
    pub(crate) fn waiting_hello(&self) -> PeerHello {
        PeerHello {
            id: self.id,
            instance: self.folder.instance,
            boot: Boot(0),
            nonce: Nonce(0),
            formation: None,
        }
    }

    /// Makes the folder an empty one.
    pub(crate) fn wipe(&mut self, rng: &mut Rng) {
        self.folder.harm(Harm::Wiped, None, self.id, rng);
        if self.joined {
            self.seat = Seat::Waiting;
        }
    }

    /// Returns whether the disk has room, as the file system tells it.
    pub(crate) fn space(&self, limits: &Limits) -> DiskSpace {
        let total = limits.disk_free_bytes_min * 10;
        let free = if self.full > 0 {
            limits.disk_free_bytes_min / 2
        } else {
            total / 2
        };
        DiskSpace { free, total }
    }

    /// Makes what is on its way durable; returns the entries, and the proofs for the node.
    ///
    /// With `lost` the disk says so and has not written anything.
    pub(crate) fn finish_group(&mut self, lost: bool) -> (Vec<LogEntry>, Vec<PersistToken>) {
        let Some(process) = &mut self.process else {
            return Default::default();
        };
        match process.busy.take() {
            Some(Group::Form(formation)) => {
                self.folder.formation = Some(formation);
                Default::default()
            }
            Some(Group::Writes {
                entries,
                tokens,
                state,
            }) => {
                if lost {
                    self.folder.log.forget_begun();
                } else {
                    process.writer.sync();
                    self.folder.synced();
                }
                for write in state {
                    process.write_state(write, self.folder.mistakes.splits_state);
                }
                (entries, tokens)
            }
            Some(Group::Install(_)) | None => Default::default(),
        }
    }

    /// Returns who the process says it is.
    pub(crate) fn hello(&self) -> Option<PeerHello> {
        self.process.as_ref().map(|process| process.node.hello())
    }
}

/// Returns where a node's peers find it.
pub(crate) fn address(id: NodeId) -> Bytes {
    Bytes::from(format!("n{id}:16379"))
}

impl Process {
    fn write_state(&mut self, write: StateWrite, split: bool) {
        let parts = if split {
            // The row without which the others mean nothing, and which all of them must go with.
            let meta = |(key, _): &(Bytes, Bytes)| key.len() == 1;
            let (meta, rows) = write.puts.into_iter().partition(meta);
            let early = StateWrite {
                applied: self.stored,
                puts: rows,
                deletes: write.deletes,
            };
            let late = StateWrite {
                applied: write.applied,
                puts: meta,
                deletes: Vec::new(),
            };
            vec![early, late]
        } else {
            vec![write]
        };
        for part in &parts {
            self.stored = part.applied;
            let written = self.store.write(part);
            written.expect("a disk in memory takes every write");
        }
    }

    /// Takes what may share the next sync. Returns the number of the group, if there is anything.
    pub(crate) fn begin_group(&mut self) -> Option<u64> {
        if self.busy.is_some() {
            return None;
        }
        if let Some(DiskJob::Form(formation)) = self.queue.front() {
            self.busy = Some(Group::Form(*formation));
            self.queue.pop_front();
            self.group += 1;
            return Some(self.group);
        }
        let installs = |job: &mut DiskJob| matches!(job, DiskJob::Install(_));
        if let Some(DiskJob::Install(install)) = self.queue.pop_front_if(installs) {
            self.busy = Some(Group::Install(install));
            self.group += 1;
            return Some(self.group);
        }
        let (mut writes, mut entries) = (Vec::new(), Vec::new());
        let (mut tokens, mut state) = (Vec::new(), Vec::new());
        while let Some(job) = self
            .queue
            .pop_front_if(|job| !matches!(job, DiskJob::Form(_) | DiskJob::Install(_)))
        {
            match job {
                DiskJob::Log(persist) => {
                    entries.extend(persist.write.entries.iter().cloned());
                    writes.push(persist.write);
                    tokens.push(persist.token);
                }
                DiskJob::State(write) => state.push(write),
                DiskJob::Hold(hold) => self.hold = hold,
                DiskJob::Form(_) | DiskJob::Install(_) => unreachable!("stays in the queue"),
            }
        }
        if tokens.is_empty() && state.is_empty() {
            return None;
        }
        self.writer.begin(&writes);
        self.busy = Some(Group::Writes {
            entries,
            tokens,
            state,
        });
        self.group += 1;
        Some(self.group)
    }

    /// Takes a write of rows and returns the hash over all rows then.
    pub(crate) fn take_rows(&mut self, write: &StateWrite) -> u64 {
        for key in &write.deletes {
            self.rows.remove(key);
        }
        for (key, value) in &write.puts {
            self.rows.insert(key.clone(), value.clone());
        }
        self.applied = write.applied;
        self.rows_hash()
    }

    /// Returns up to where the rows are written.
    pub(crate) fn stored(&self) -> LogIndex {
        self.stored
    }

    /// Takes the rows of a snapshot.
    pub(crate) fn set_rows(&mut self, rows: BTreeMap<Bytes, Bytes>, applied: LogIndex) {
        self.rows = rows;
        (self.applied, self.stored) = (applied, applied);
    }

    /// Returns the hash over all rows.
    pub(crate) fn rows_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.rows.hash(&mut hasher);
        hasher.finish()
    }
}
