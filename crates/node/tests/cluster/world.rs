//! Nodes, their disks and clients, and the network between them, in one process. It is long because each of these
//! acts on the others.
//!
//! Invariants
//! - Nothing happens by itself: a write waits for the disk until [`World::work_disk`], a message until
//!   [`World::deliver`], and time passes only in [`World::tick`].
//! - Messages travel as bytes, in order within a lane of a link, each lane apart.
//! - A crash loses what is not synced, and what of the applied state is not flushed.

use crate::client::Client;
use crate::folder::{Disk, Folder, node_id};
use crate::show;
use bytes::Bytes;
use corgi_base::{ClientId, ClusterId, InstanceId, LogIndex, NodeId, Nonce, Now, Term};
use corgi_consensus::mem::MemLogReader;
use corgi_consensus::storage::{LogEntry, LogReader, ReadLogError};
use corgi_node::{
    DiskJob, InitialMember, Lane, Limits, LogRead, Node, NodeConfig, PeerHello, PeerMessage, Probe,
    SnapshotJob, Timeouts,
};
use corgi_session::{Acl, Ask, Reply, Seq, Told, Users};
use corgi_state::store::NoCopies;
use slog::{Discard, Logger, o};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The clock of every machine when the world begins.
const WALL_MS: u64 = 1_000_000;

/// The client through which the world asks a node for `INFO`.
const WATCHER: ClientId = ClientId(1 << 40);

/// A process: its id, and a letter if there are several of one id (`2`, `2b`).
pub(crate) type Name = String;

/// One run of a node.
pub(crate) struct Process {
    /// At which node's address it listens.
    at: NodeId,
    pub(crate) node: Node<MemLogReader>,
    disk: Disk,
    pub(crate) jobs: VecDeque<DiskJob>,
    pub(crate) disk_held: bool,
    pub(crate) reads: VecDeque<LogRead>,
    pub(crate) reads_held: bool,
    /// Work on snapshot files.
    snapshots: VecDeque<SnapshotJob>,
    /// Entries up to here are no longer in the log.
    pub(crate) lost: LogIndex,
    reader: MemLogReader,
    pub(crate) peers: Vec<InitialMember>,
    told: Vec<(ClientId, Vec<Told>)>,
    users: Users,
    refusals: BTreeMap<Name, String>,
}

/// A log whose beginning is gone.
struct Truncated {
    reader: MemLogReader,
    lost: LogIndex,
}

impl LogReader for Truncated {
    fn entries(
        &self,
        low: LogIndex,
        high: LogIndex,
        max: u64,
    ) -> Result<Vec<LogEntry>, ReadLogError> {
        if low <= self.lost {
            let (index, truncated) = (low, self.lost);
            return Err(ReadLogError::Compacted { index, truncated });
        }
        self.reader.entries(low, high, max)
    }

    fn term(&self, index: LogIndex) -> Result<Term, ReadLogError> {
        self.reader.term(index)
    }
}

/// A queue of messages: from, to, lane.
pub(crate) type Link = (Name, Name, Lane);

/// Everything.
pub(crate) struct World {
    pub(crate) timeouts: Timeouts,
    pub(crate) limits: Limits,
    pub(crate) folders: BTreeMap<Name, Folder>,
    pub(crate) processes: BTreeMap<Name, Process>,
    pub(crate) clients: BTreeMap<String, Client>,
    links: BTreeSet<(Name, Name)>,
    pub(crate) queues: BTreeMap<Link, VecDeque<PeerMessage>>,
    pub(crate) held: BTreeSet<(Name, Name)>,
    pub(crate) cut: BTreeSet<Name>,
    pub(crate) mono_ms: u64,
    pub(crate) wall_skew_ms: i64,
    /// Clocks that are wrong by themselves.
    pub(crate) wrong_ms: BTreeMap<Name, i64>,
    /// Processes whose build can apply another feature level than 1.
    pub(crate) levels: BTreeMap<Name, u32>,
    /// The users in the configuration of processes, by name and definition.
    pub(crate) users: BTreeMap<Name, Vec<(Bytes, Bytes)>>,
    pub(crate) initial: Vec<u64>,
    /// Nodes with empty folders that wait to be told of a cluster, and those that have been.
    pub(crate) waiting: BTreeSet<Name>,
    joined: BTreeSet<Name>,
    pub(crate) lines: Vec<String>,
    pub(crate) quiet: bool,
    /// Whether messages that are about counts are shown.
    pub(crate) shows_counts: bool,
    /// Those that stop once their clients have been told.
    leavers: Vec<Name>,
    clients_opened: u64,
    starts: u64,
}

impl World {
    /// Prepares empty folders for the nodes `1..=count`; none of them runs.
    pub(crate) fn new(count: u64, timeouts: Timeouts, limits: Limits) -> Self {
        let folder = |id: u64| (id.to_string(), Folder::new(InstanceId(id.into())));
        Self {
            timeouts,
            limits,
            folders: (1..=count).map(folder).collect(),
            processes: BTreeMap::new(),
            clients: BTreeMap::new(),
            links: BTreeSet::new(),
            queues: BTreeMap::new(),
            held: BTreeSet::new(),
            cut: BTreeSet::new(),
            mono_ms: 0,
            wall_skew_ms: 0,
            wrong_ms: BTreeMap::new(),
            levels: BTreeMap::new(),
            users: BTreeMap::new(),
            initial: (1..=count).collect(),
            waiting: BTreeSet::new(),
            joined: BTreeSet::new(),
            lines: Vec::new(),
            quiet: false,
            shows_counts: false,
            leavers: Vec::new(),
            clients_opened: 0,
            starts: 0,
        }
    }

    /// Returns the time on the machine of a process.
    pub(crate) fn now(&self, name: &str) -> Now {
        let wrong_ms = self.wrong_ms.get(name).copied().unwrap_or(0);
        let skew_ms = self.wall_skew_ms + wrong_ms;
        let wall_ms = (WALL_MS + self.mono_ms).saturating_add_signed(skew_ms);
        Now {
            mono_ms: self.mono_ms,
            wall_ms,
        }
    }

    pub(crate) fn say(&mut self, line: String) {
        if !self.quiet {
            self.lines.push(line);
        }
    }

    /// Starts a node on its folder, at the address of node `at`. The first members that it is configured with are
    /// `self.initial`.
    pub(crate) fn start(&mut self, name: &str, at: NodeId) -> Result<(), String> {
        let id = parse_id(name)?;
        let (mono_ms, now) = (self.mono_ms, self.now(name));
        self.starts += 1;
        let member = |id: &u64| InitialMember {
            id: node_id(*id),
            addr: Bytes::from(format!("n{id}:16379")),
        };
        let initial = if self.joined.contains(name) {
            vec![id.get()]
        } else {
            self.initial.clone()
        };
        let folder = self.folders.get_mut(name).ok_or("no such folder")?;
        let (start, disk) = folder.open();
        let reader = start.reader.clone();
        let first_users = self.users.get(name).cloned().unwrap_or_default();
        let users = Users::new(Acl::stored(0, first_users.into_iter()));
        let config = NodeConfig {
            id,
            users: users.clone(),
            all_channels: false,
            local_reads: false,
            history: Default::default(),
            instance: folder.instance,
            boot: folder.boot,
            nonce: Nonce((u128::from(mono_ms) << 64) + u128::from(self.starts)),
            formation: folder.formation,
            new_cluster: ClusterId(u128::from(self.starts)),
            initial_members: initial.iter().map(member).collect(),
            feature_level: self.levels.get(name).copied().unwrap_or(1),
            seed: id.get() * 31 + folder.boot.0,
            timeouts: self.timeouts,
            limits: self.limits,
        };
        let node = Node::new(config, start, now, &Logger::root(Discard, o!()));
        let mut node = node.map_err(|error| format!("n{name} does not start: {error}"))?;
        node.client_opened(WATCHER, Default::default());
        self.processes.insert(
            name.to_owned(),
            Process {
                at,
                node,
                disk,
                jobs: VecDeque::new(),
                disk_held: false,
                reads: VecDeque::new(),
                reads_held: false,
                snapshots: VecDeque::new(),
                lost: LogIndex(0),
                reader,
                peers: Vec::new(),
                told: Vec::new(),
                users,
                refusals: BTreeMap::new(),
            },
        );
        self.settle();
        Ok(())
    }

    /// Ends a process at once, as `kill -9` does; nobody has noticed yet.
    pub(crate) fn crash(&mut self, name: &str) {
        if self.processes.remove(name).is_some() {
            self.folders[name].crash();
        }
        self.clients.retain(|_, client| client.process != name);
        self.queues.retain(|(from, _, _), _| from != name);
        self.disconnect(true, |from, to| from == name || to == name);
    }

    /// Breaks links: what is on its way is lost, and those who sent on them notice. `hung_up` if the other side closed
    /// them.
    pub(crate) fn disconnect(&mut self, hung_up: bool, broken: impl Fn(&str, &str) -> bool) {
        let gone: Vec<_> = self
            .links
            .iter()
            .filter(|(f, t)| broken(f, t))
            .cloned()
            .collect();
        for (from, to) in gone {
            self.queues.retain(|(f, t, _), _| (f, t) != (&from, &to));
            self.links.remove(&(from.clone(), to.clone()));
            let peer = parse_id(&to).expect("links lead to processes");
            let now = self.now(&from);
            if let Some(process) = self.processes.get_mut(&from) {
                if hung_up {
                    process.node.peer_hung_up(now, peer);
                }
                process.node.peer_down(now, peer);
            }
        }
        self.settle();
    }

    /// Lets every process call the peers that it has no link to. Returns whether any link came up.
    pub(crate) fn connect(&mut self) -> bool {
        let mut any = false;
        let names: Vec<Name> = self.processes.keys().cloned().collect();
        for from in &names {
            for to in &names {
                any |= self.call(from, to);
            }
            for to in self.waiting.clone() {
                any |= self.admit(from, &to);
            }
        }
        any
    }

    /// Lets a node that waits take on the cluster of a member that calls it.
    fn admit(&mut self, from: &str, to: &str) -> bool {
        let Some(caller) = self.processes.get(from) else {
            return false;
        };
        let peer = parse_id(to).expect("a node that waits has a number");
        let wanted = caller.peers.iter().any(|known| known.id == peer);
        let apart = self.cut.contains(from) || self.cut.contains(to);
        let Some(hello) = self.waiting_hello(to, peer).filter(|_| wanted && !apart) else {
            return false;
        };
        let formation = caller.node.hello().formation;
        if formation.is_none() || caller.node.check_peer(&hello).is_err() {
            return false;
        }
        self.waiting.remove(to);
        self.joined.insert(to.to_owned());
        let folder = self.folders.get_mut(to).expect("it has a folder");
        folder.formation = formation;
        self.start(to, peer)
            .expect("an empty folder can be started");
        true
    }

    fn waiting_hello(&self, name: &str, called: NodeId) -> Option<PeerHello> {
        let folder = self.folders.get(name)?;
        Some(PeerHello {
            id: called,
            instance: folder.instance,
            boot: folder.boot,
            nonce: Nonce(0),
            formation: folder.formation,
        })
    }

    /// Answers who is at an address: a node that waits, or a member.
    fn probe(&mut self, from: &str, probe: &Probe) {
        let addr = String::from_utf8_lossy(&probe.addr).into_owned();
        let at = addr
            .strip_prefix('n')
            .and_then(|rest| rest.strip_suffix(":16379"))
            .unwrap_or_default()
            .to_owned();
        let apart = self.cut.contains(from) || self.cut.contains(&at);
        let answer = if apart {
            None
        } else if self.waiting.contains(&at) {
            self.waiting_hello(&at, probe.id)
        } else {
            self.processes.get(&at).map(|process| process.node.hello())
        };
        let answer = answer.ok_or_else(|| "nobody answers".to_owned());
        let number = probe.number;
        self.input(from, |node, now| node.probed(now, number, answer));
    }

    fn call(&mut self, from: &str, to: &str) -> bool {
        let link = (from.to_owned(), to.to_owned());
        let (Some(caller), Some(called)) = (self.processes.get(from), self.processes.get(to))
        else {
            return false;
        };
        let wanted = caller.peers.iter().any(|peer| peer.id == called.at);
        let apart = self.cut.contains(from) || self.cut.contains(to);
        if !wanted || apart || self.links.contains(&link) {
            return false;
        }
        let (ours, theirs) = (caller.node.hello(), called.node.hello());
        let peer = called.at;
        let refused = called.node.check_peer(&ours).err();
        let refuses = caller.node.check_peer(&theirs).err();
        let now = self.now(from);
        let caller = self.processes.get_mut(from).expect("it calls");
        let by_peer = refused.is_some();
        if let Some(refusal) = refused.or(refuses) {
            let known = caller.refusals.insert(to.to_owned(), refusal.text.clone());
            if known.as_ref() != Some(&refusal.text) {
                if by_peer {
                    caller.node.peer_refused(now, peer, &refusal);
                }
                let who = if by_peer { "refused" } else { "refuses it" };
                self.say(format!("n{from} calls n{to}, {who}: {refusal}"));
                self.settle();
            }
            return false;
        }
        self.links.insert(link);
        caller.node.peer_up(now, theirs);
        self.settle();
        true
    }

    /// Does one job of a disk; `false` if there is none.
    pub(crate) fn work_disk(&mut self, name: &str) -> bool {
        let now = self.now(name);
        let Some(process) = self.processes.get_mut(name) else {
            return false;
        };
        let Some(job) = process.jobs.pop_front() else {
            return false;
        };
        let folder = self.folders.get_mut(name).expect("a process has a folder");
        if let DiskJob::Install(install) = &job {
            let line = format!("n{name} installs a snapshot of {}", install.file.index);
            self.lines.extend((!self.quiet).then_some(line));
        }
        process.disk.run(folder, job, &mut process.node, now);
        self.settle();
        true
    }

    /// Does one job on snapshot files; `false` if there is none.
    fn work_snapshots(&mut self, name: &str) -> bool {
        let now = self.now(name);
        let Some(process) = self.processes.get_mut(name) else {
            return false;
        };
        let Some(job) = process.snapshots.pop_front() else {
            return false;
        };
        let made = job == SnapshotJob::Make;
        if let Some(done) = self.folders[name].snapshot(job) {
            if made {
                let index = process.node.raft_status().map(|status| status.commit_index);
                let line = format!("n{name} makes a snapshot of {}", index.unwrap_or_default());
                self.lines.extend((!self.quiet).then_some(line));
            }
            process.node.snapshot_done(now, done);
        }
        self.settle();
        true
    }

    /// Flushes the state of a node and truncates its log.
    pub(crate) fn truncate(&mut self, name: &str, retain_bytes: u64) {
        let now = self.now(name);
        if let Some(process) = self.processes.get_mut(name) {
            process.disk.truncate(&mut process.node, now, retain_bytes);
        }
        self.settle();
    }

    /// Kills a process after the first step of the install that waits for its disk.
    pub(crate) fn crash_in_install(&mut self, name: &str) {
        if let Some(process) = self.processes.get_mut(name) {
            while let Some(job) = process.jobs.pop_front() {
                process.disk.begin_install(job);
            }
        }
        self.crash(name);
    }

    /// Runs one read of a log for those that lag; `false` if there is none.
    pub(crate) fn work_reads(&mut self, name: &str) -> bool {
        let now = self.now(name);
        let Some(process) = self.processes.get_mut(name) else {
            return false;
        };
        let Some(read) = process.reads.pop_front() else {
            return false;
        };
        let shown = format!("n{name} reads {read}");
        let reader = Truncated {
            reader: process.reader.clone(),
            lost: process.lost,
        };
        let block = read.run(&reader);
        process.node.log_read(now, block);
        self.say(shown);
        self.settle();
        true
    }

    /// Makes the applied state of a node survive a crash.
    pub(crate) fn flush(&mut self, name: &str) {
        if let Some(process) = self.processes.get_mut(name) {
            process.disk.flush();
        }
    }

    /// Delivers the oldest message of a queue; `false` if there is none.
    pub(crate) fn deliver(&mut self, link: &Link) -> bool {
        let Some(message) = self.queues.get_mut(link).and_then(VecDeque::pop_front) else {
            return false;
        };
        self.arrive(link, &message);
        true
    }

    /// Lets a message arrive: as bytes, which are read again.
    pub(crate) fn arrive(&mut self, link: &Link, message: &PeerMessage) {
        let (from, to, lane) = link;
        let (mut bytes, payload) = message.encode();
        bytes.extend_from_slice(&payload);
        let read = PeerMessage::decode(*lane, bytes.into()).expect("what was written can be read");
        assert_eq!(&read, message, "a message arrives as it was sent");
        let (now, from) = (self.now(to), parse_id(from).expect("links join processes"));
        if let Some(process) = self.processes.get_mut(to) {
            process.node.peer_message(now, from, read);
        }
        self.settle();
    }

    /// Lets time pass on some nodes.
    pub(crate) fn tick(&mut self, names: &[Name]) {
        self.mono_ms += self.timeouts.tick_ms;
        for name in names {
            let now = self.now(name);
            if let Some(process) = self.processes.get_mut(name) {
                process.node.tick(now);
            }
        }
        self.settle();
    }

    /// Gives one process an input.
    pub(crate) fn input(&mut self, name: &str, input: impl FnOnce(&mut Node<MemLogReader>, Now)) {
        let now = self.now(name);
        if let Some(process) = self.processes.get_mut(name) {
            input(&mut process.node, now);
        }
        self.settle();
    }

    /// Lets disks work and messages arrive, except where they are held, until nothing happens any more.
    pub(crate) fn stabilize(&mut self) {
        for _ in 0..10_000 {
            let mut busy = self.connect();
            for name in self.names() {
                while self
                    .processes
                    .get(&name)
                    .is_some_and(|process| !process.disk_held)
                    && self.work_disk(&name)
                {
                    busy = true;
                }
            }
            for name in self.names() {
                while self.work_snapshots(&name) {
                    busy = true;
                }
            }
            for name in self.names() {
                while self
                    .processes
                    .get(&name)
                    .is_some_and(|process| !process.reads_held)
                    && self.work_reads(&name)
                {
                    busy = true;
                }
            }
            let links: Vec<Link> = self.queues.keys().cloned().collect();
            for link in links {
                while !self.held.contains(&(link.0.clone(), link.1.clone())) && self.deliver(&link)
                {
                    busy = true;
                }
            }
            if !busy {
                return;
            }
        }
        panic!("the nodes never come to rest: {:?}", self.lines);
    }

    pub(crate) fn names(&self) -> Vec<Name> {
        self.processes.keys().cloned().collect()
    }

    /// Takes all outputs, and lets clients and their sessions talk, until nobody has anything to say.
    pub(crate) fn settle(&mut self) {
        loop {
            let mut busy = false;
            for name in self.names() {
                busy |= self.take_outputs(&name);
            }
            let clients: Vec<String> = self.clients.keys().cloned().collect();
            for name in clients {
                busy |= self.talk(&name);
            }
            if !busy {
                match self.leavers.pop() {
                    Some(name) => self.crash(&name),
                    None => return,
                }
            }
        }
    }

    fn take_outputs(&mut self, name: &str) -> bool {
        let now = self.now(name);
        let Some(process) = self.processes.get_mut(name) else {
            return false;
        };
        let out = process.node.outputs();
        if out.is_empty() {
            return false;
        }
        process.jobs.extend(out.disk);
        process.reads.extend(out.reads);
        process.snapshots.extend(out.snapshots);
        for read in out.history {
            let reader = Truncated {
                reader: process.reader.clone(),
                lost: process.lost,
            };
            let found = read.run(&reader, &NoCopies);
            process.node.history_read(now, found);
        }
        let mut gone = Vec::new();
        if let Some(peers) = out.peers {
            let stays = |old: &InitialMember| peers.iter().any(|peer| peer.id == old.id);
            let before = process.peers.iter().filter(|old| !stays(old));
            gone.extend(before.map(|old| old.id.to_string()));
            process.peers = peers;
        }
        process.told.extend(out.clients);
        for (to, message) in out.send {
            self.send(name, to, message);
        }
        // It calls again, and is told that it is no member.
        for gone in gone {
            self.disconnect(false, |f, t| [(f, t), (t, f)].contains(&(name, &gone)));
        }
        for probe in out.probes {
            self.probe(name, &probe);
        }
        if let Some(text) = out.removed {
            self.say(format!("n{name} stops: {text}"));
            self.leavers.push(name.to_owned());
        }
        if let Some(text) = out.fatal {
            self.say(format!("n{name} stops: {text}"));
            self.crash(name);
        }
        true
    }

    fn send(&mut self, from: &str, to: NodeId, message: PeerMessage) {
        let link = |(f, t): &&(Name, Name)| f == from && parse_id(t) == Ok(to);
        let targets: Vec<Name> = self
            .links
            .iter()
            .filter(link)
            .map(|l| l.1.clone())
            .collect();
        let apart = targets.iter().all(|t| self.cut.contains(t)) || self.cut.contains(from);
        let counts = show::counts(&message).filter(|_| self.shows_counts);
        if let Some(shown) = counts.or_else(|| show::message(&message)) {
            let lost = if targets.is_empty() || apart {
                " (lost)"
            } else {
                ""
            };
            self.say(format!("n{from} → {to:?} {shown}{lost}"));
        }
        if targets.is_empty()
            && let Some(process) = self.processes.get_mut(from)
        {
            process.node.send_failed(to);
        }
        for target in targets
            .into_iter()
            .filter(|t| !apart && !self.cut.contains(t))
        {
            let link = (from.to_owned(), target, message.lane());
            self.queues
                .entry(link)
                .or_default()
                .push_back(message.clone());
        }
    }

    /// Connects a client.
    pub(crate) fn open_client(&mut self, name: &str, process: &str) -> Result<(), String> {
        self.clients_opened += 1;
        let running = self.processes.get(process).ok_or("it does not run")?;
        let id = ClientId(self.clients_opened);
        let client = Client::new(id, process, running.users.clone());
        let queued = client.queued.clone();
        self.input(process, |node, _| node.client_opened(id, queued));
        self.clients.insert(name.to_owned(), client);
        Ok(())
    }

    /// Moves what a client, its session and its node have to say to each other.
    pub(crate) fn talk(&mut self, name: &str) -> bool {
        let process = self.clients.get(name).map(|client| client.process.clone());
        let now = self.now(&process.unwrap_or_default());
        let Some(client) = self.clients.get_mut(name) else {
            return false;
        };
        let Some(process) = self.processes.get_mut(&client.process) else {
            return false;
        };
        let mut told = Vec::new();
        for (_, list) in process.told.extract_if(.., |(id, _)| *id == client.id) {
            told.extend(list);
        }
        let heard = !told.is_empty();
        let asks = client.hear(told);
        let asked = !asks.is_empty();
        if asked {
            process.node.client_asks(now, client.id, asks);
        }
        let (lines, drained, closed) = client.write();
        let wrote = !lines.is_empty();
        if drained {
            process.node.client_drained(now, client.id);
        }
        if closed {
            process.node.client_closed(client.id);
            self.clients.remove(name);
        }
        for line in lines {
            self.say(format!("{name} ← {line}"));
        }
        if closed {
            self.say(format!("{name} is closed"));
        }
        heard || asked || wrote || closed
    }

    /// Returns a node's `INFO raft` by field.
    pub(crate) fn info(&mut self, name: &str) -> BTreeMap<String, String> {
        let ask = Ask::Info {
            seq: Seq(0),
            sections: vec![],
        };
        self.input(name, |node, now| node.client_asks(now, WATCHER, vec![ask]));
        let Some(process) = self.processes.get_mut(name) else {
            return BTreeMap::new();
        };
        let mut fields = BTreeMap::new();
        for (_, list) in process.told.extract_if(.., |(id, _)| *id == WATCHER) {
            for told in list {
                let Told::Reply {
                    reply: Reply::Verbatim(text),
                    ..
                } = told
                else {
                    continue;
                };
                let text = String::from_utf8_lossy(&text).into_owned();
                let pairs = text.lines().filter_map(|line| line.split_once(':'));
                fields.extend(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())));
            }
        }
        fields
    }
}

/// Returns the id in a process' name.
pub(crate) fn parse_id(name: &str) -> Result<NodeId, String> {
    let digits = name.trim_end_matches(char::is_alphabetic);
    let id = digits.parse().ok().and_then(NodeId::new);
    id.ok_or_else(|| format!("{name} is no node"))
}
