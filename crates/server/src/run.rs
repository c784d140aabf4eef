//! Starting, running and stopping: what is opened in which order, and which thread does what.
//!
//! The threads and the way of a `PUBLISH` through them are in docs/adr/0003-threads.md.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use corgi_base::{ClusterId, FEATURE_LEVEL, InstanceId, NodeId, Nonce};
use corgi_consensus::PersistToken;
use corgi_consensus::storage::LogWriter;
use corgi_log::{DataDir, RocksLogReader, SnapshotFolder, Stores};
use corgi_node::{Node, NodeConfig, NodeStart, ShownRules};
use corgi_resp::Limits;
use corgi_session::{Env, Secret, Users};
use corgi_state::State;
use corgi_state::store::StateStore;
use slog::{Logger, crit, info, o, warn};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::clients::listen::Bound;
use crate::clients::{Clients, Settings};
use crate::config::{self, BindAddr, Config};
use crate::core::{Clock, Core};
use crate::disk::{Event, Folder, Job, Queue, Steps, Worker, stall};
use crate::facts::Process;
use crate::files;
use crate::local::Local;
use crate::local::live::Live;
use crate::local::users_file::UsersFile;
use crate::logging::LevelSwitch;
use crate::peers::join::{self, Waiting};
use crate::peers::{PeerSettings, Peers};
use crate::ports;
use crate::readers::{self, ReadQueue};
use crate::space::{Space, SpaceWatch};
use crate::stop::{Stop, StopReason, disk_failed, watch_signals};
use crate::tls::{Reload, Tls};
use crate::upkeep::{self, Task, Upkeep};

type ServerCore = Core<RocksLogReader>;
type DiskQueue = Queue<Job<PersistToken>>;
type UpkeepQueue = Queue<Task>;

/// How a server that had started came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Orderly,
    /// The node could not go on; the log says why.
    Failed,
}

/// Runs a node until it is asked to stop. `config_file` is where `CONFIG REWRITE` writes to; `level` says how much is
/// logged.
///
/// # Errors
/// What kept it from starting: the data folder, a port. Whatever goes wrong later is in the log.
pub fn run(
    config: &Config,
    config_file: Option<PathBuf>,
    level: LevelSwitch,
    log: &Logger,
) -> anyhow::Result<Ended> {
    let tls = load_tls(config)?;
    let reload = Reload::new(tls.clone(), log);
    reload.at_hangup().context("listen for SIGHUP")?;
    announce(config, log);
    let maxclients = files::room_for_clients(config.maxclients as u64, log)?;
    let config = &config.with_maxclients(usize::try_from(maxclients).unwrap_or(usize::MAX));
    let clock = Clock::start();
    let queue = Arc::new(DiskQueue::default());
    let (stop, mut stop_requests) = Stop::new();
    let reads = Arc::<ReadQueue>::default();
    let mut opened = open_folder(config, log)?;
    let peer_listeners = ports::bind_peers(config)?;
    watch_signals(stop.clone(), log)?;
    if waits_to_join(config, &opened)
        && !join(
            config,
            &mut opened,
            &peer_listeners,
            tls.as_ref(),
            &mut stop_requests,
            log,
        )?
    {
        return Ok(Ended::Orderly);
    }
    let users = Users::new(config.users());
    let upkeep_queue = Arc::<UpkeepQueue>::default();
    let rules = ShownRules::new(config.history.clone());
    let made = make_node(
        config,
        (users.clone(), rules.clone()),
        opened,
        clock,
        upkeep_queue.clone(),
        log,
    )?;
    let Made {
        node,
        folder,
        reader,
        snapshots,
        id,
    } = made;
    let client_listeners = ports::bind_clients(config, tls.as_ref())?;

    let core = ServerCore::new(
        node,
        clock,
        queue.clone(),
        reads.clone(),
        upkeep_queue.clone(),
        stop.clone(),
    );
    let core = Arc::new(core);
    let readers = readers::start(
        config.limits().cursors.reads_max,
        &reads,
        (&reader, &folder.state.reader()),
        &core,
    )?;
    let space = Space::of(config.dir.clone(), core.clone(), log)?;
    let log_bytes = folder.log_bytes.clone();
    let upkeep = Upkeep {
        state: folder.state.reader(),
        reader: reader.clone(),
        snapshots,
        log: log.new(o!("mod" => "upkeep")),
    };
    let upkeep = upkeep_thread(upkeep, &core, &queue, &upkeep_queue, config.dir.clone())?;
    let steps = Arc::<Steps>::default();
    if let Some(limit) = config.disk_stall() {
        stall::watch(steps.clone(), limit, stop.clone(), &config.dir, log)?;
    }
    let worker = Worker::new(folder, config.log_retain_bytes, steps);
    let disk = disk_thread(worker, space.clone(), &core, &queue, &config.dir, log)?;
    let all_channels = config.acl_all_channels;
    let users_file = UsersFile::new(config.aclfile.clone(), users.clone(), all_channels, log);
    let live = Live::new(config.clone(), config_file.clone(), Some(reload), rules);
    let process = process(config, config_file, log_bytes)?;
    let local = Arc::new(Local::new(process, users_file, live, level, stop));
    local.registry.set_held_max(config.clients_output_bytes_max);
    let raft = RaftThread {
        core: core.clone(),
        tick: Duration::from_millis(config.timeouts().tick_ms),
        peers: PeerSettings {
            tls: tls.clone(),
            ..PeerSettings::new(
                id,
                config.cluster_secret.clone(),
                config::PEER_FRAME_BYTES_MAX,
            )
        },
        listeners: peer_listeners,
        log: log.clone(),
    };
    let space = SpaceWatch::start(space)?;
    let (stop_raft, raft_stops) = watch::channel(false);
    let raft = raft.start(raft_stops)?;

    let serving = Serving {
        config,
        users,
        secret: secret()?,
        core,
        local,
        log,
    };
    let runtime = client_runtime()?;
    let reason =
        runtime.block_on(serving.serve(client_listeners, &mut stop_requests, &stop_raft))?;
    runtime.shutdown_background();
    stop_raft.send_replace(true);
    raft.join().expect("a panic ends the process");
    if reason == StopReason::Hangs {
        // All sockets are closed: the thread that asked sees this, and ends the process. Nothing more is done here,
        // because whatever asks the disk will not return, and that may be the log too.
        drop(stop_requests);
        loop {
            std::thread::park();
        }
    }
    drop(space);
    reads.close();
    for reader in readers {
        reader.join().expect("a panic ends the process");
    }
    upkeep_queue.close();
    upkeep.join().expect("a panic ends the process");
    queue.close();
    disk.join().expect("a panic ends the process");
    info!(log, "stopped");
    Ok(how_it_ended(reason, &mut stop_requests, log))
}

/// What goes wrong while a process stops in order is not less wrong for it.
fn how_it_ended(
    reason: StopReason,
    later: &mut mpsc::UnboundedReceiver<StopReason>,
    log: &Logger,
) -> Ended {
    let mut ended = Ended::Orderly;
    if matches!(reason, StopReason::Fatal(_) | StopReason::Hangs) {
        ended = Ended::Failed;
    }
    while let Ok(reason) = later.try_recv() {
        match reason {
            StopReason::Fatal(text) => {
                crit!(log, "the node could not go on while it was stopped"; "error" => text);
                ended = Ended::Failed;
            }
            // It has said so itself.
            StopReason::Hangs => ended = Ended::Failed,
            StopReason::Signal(_) | StopReason::Removed(_) => {}
        }
    }
    ended
}

fn load_tls(config: &Config) -> anyhow::Result<Option<Arc<Tls>>> {
    let tls = config.tls.clone().map(Tls::load).transpose();
    Ok(tls.context("set up TLS")?.map(Arc::new))
}

/// Says with what this process starts.
fn announce(config: &Config, log: &Logger) {
    let mut options = String::new();
    for (name, value) in config.effective() {
        let gap = if options.is_empty() { "" } else { "; " };
        write!(options, "{gap}{name} {value}").expect("a String takes all");
    }
    info!(log, "starting"; "version" => env!("CARGO_PKG_VERSION"), "pid" => std::process::id(),
        "options" => options);
    for warning in config.warnings() {
        warn!(log, "about the configuration"; "warning" => warning);
    }
    let open_to_others = !config.bind.iter().all(BindAddr::is_loopback);
    if open_to_others && protected(config) {
        warn!(
            log,
            "protected mode: clients of other machines are refused until there is a \
            password (requirepass)"
        );
    }
}

fn protected(config: &Config) -> bool {
    config.protected_mode && config.users().default_user().open_to_all()
}

/// The data folder, and what is in it.
struct Opened {
    dir: DataDir,
    stores: Stores,
}

fn open_folder(config: &Config, log: &Logger) -> anyhow::Result<Opened> {
    let new_instance = InstanceId(random_u128()?);
    let mut dir = DataDir::open(&config.dir, config.node_id, new_instance, log)?;
    let stores = dir.open_stores()?;
    Ok(Opened { dir, stores })
}

fn waits_to_join(config: &Config, opened: &Opened) -> bool {
    config.cluster_join && opened.dir.identity().formation.is_none()
}

/// Waits until a cluster takes this node in, and records it; false if asked to stop before that.
/// Clients are not served yet: their port is not even open.
fn join(
    config: &Config,
    opened: &mut Opened,
    listeners: &[std::net::TcpListener],
    tls: Option<&Arc<Tls>>,
    stop_requests: &mut mpsc::UnboundedReceiver<StopReason>,
    log: &Logger,
) -> anyhow::Result<bool> {
    let identity = opened.dir.identity();
    let waiting = Waiting {
        id: identity.node,
        instance: identity.instance,
        secret: config.cluster_secret.clone(),
        tls: tls.cloned(),
    };
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("wait to be let into a cluster")?;
    let taken = runtime.block_on(async {
        tokio::select! {
            taken = join::wait(&waiting, listeners, log) => {
                taken.map(Some).context("wait to be let into a cluster")
            }
            Some(reason) = stop_requests.recv() => {
                say(&reason, log);
                Ok(None)
            }
        }
    })?;
    let Some((id, formation)) = taken else {
        return Ok(false);
    };
    let assigned = opened.dir.assign(id);
    assigned.context("record the id that the cluster gave")?;
    opened.dir.form(formation)?;
    Ok(true)
}

/// A node, and what its threads work on.
struct Made {
    node: Node<RocksLogReader>,
    folder: Folder,
    reader: RocksLogReader,
    snapshots: SnapshotFolder,
    id: NodeId,
}

/// Makes the node from what is on disk.
fn make_node(
    config: &Config,
    (users, history): (Users, ShownRules),
    opened: Opened,
    clock: Clock,
    upkeep: Arc<UpkeepQueue>,
    log: &Logger,
) -> anyhow::Result<Made> {
    let Opened { mut dir, stores } = opened;
    if dir.identity().node.is_none() {
        let assigned = dir.assign(Config::default_node_id());
        assigned.context("record the node's id")?;
    }
    let identity = *dir.identity();
    let id = identity.node.expect("it was assigned");
    let node_config = NodeConfig {
        id,
        instance: identity.instance,
        boot: identity.boot,
        nonce: Nonce(random_u128()?),
        formation: identity.formation,
        new_cluster: ClusterId(random_u128()?),
        initial_members: config.initial_members(id),
        feature_level: FEATURE_LEVEL,
        seed: getrandom::u64().context("draw a random number")?,
        users,
        all_channels: config.acl_all_channels,
        local_reads: config.local_reads,
        history,
        timeouts: config.timeouts(),
        limits: config.limits(),
    };
    let start = NodeStart {
        bounds: stores.writer.bounds().context("read the Raft log")?,
        reader: stores.reader.clone(),
        state_rows: stores.state.rows()?,
    };
    let node = Node::new(node_config, start, clock.now(), log).context("start the node")?;
    let log_bytes = Arc::new(AtomicU64::new(stores.writer.bytes()));
    let folder = Folder {
        dir,
        log: stores.writer,
        state: stores.state,
        log_bytes,
        upkeep,
    };
    Ok(Made {
        node,
        folder,
        reader: stores.reader,
        snapshots: stores.snapshots,
        id,
    })
}

/// Draws what nobody may guess.
fn secret() -> anyhow::Result<Secret> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("draw a random number")?;
    Ok(Secret(bytes))
}

fn random_u128() -> anyhow::Result<u128> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).context("draw a random number")?;
    Ok(u128::from_be_bytes(bytes))
}

fn process(
    config: &Config,
    config_file: Option<PathBuf>,
    log_bytes: Arc<AtomicU64>,
) -> anyhow::Result<Process> {
    let (high, low) = (
        random_u128()?,
        getrandom::u32().context("draw a random number")?,
    );
    Ok(Process {
        redis_version: String::from_utf8_lossy(&Env::default().redis_version).into_owned(),
        run_id: format!("{high:032x}{low:08x}"),
        // As Redis does.
        port: if config.port == 0 {
            config.tls_port
        } else {
            config.port
        },
        hz: 1000 / config.timeouts().tick_ms.max(1),
        config_file,
        log_bytes,
    })
}

fn client_runtime() -> anyhow::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder
        .thread_name("client")
        .enable_all()
        .build()
        .context("start the client threads")
}

/// Starts the thread that writes. It ends when the queue is closed and empty.
fn disk_thread(
    worker: Worker<Folder>,
    space: Arc<Space<RocksLogReader>>,
    core: &Arc<ServerCore>,
    queue: &Arc<DiskQueue>,
    dir: &Path,
    log: &Logger,
) -> anyhow::Result<JoinHandle<()>> {
    let (core, queue, dir) = (core.clone(), queue.clone(), dir.to_owned());
    let log = log.new(o!("mod" => "disk"));
    let work = move || {
        let tell = |event| match event {
            Event::Grown => space.look(),
            Event::Persisted(tokens) => core.enter(|node, now| {
                for token in tokens {
                    node.persisted(now, token);
                }
            }),
            Event::Installed(token, rows) => {
                let restored = State::of_snapshot(&rows);
                drop(core.enter(|node, now| node.installed(now, token, restored)));
            }
            Event::Truncated(truncated) => core.enter(|node, now| node.truncated(now, truncated)),
        };
        if let Err(error) = worker.run(&queue, &log, tell) {
            disk_failed(&log, &dir, &error);
        }
    };
    let thread = std::thread::Builder::new().name("disk".to_owned());
    thread.spawn(work).context("start the disk thread")
}

/// Starts the thread for what takes long on the disk. It ends when its queue is closed and empty.
fn upkeep_thread(
    upkeep: Upkeep,
    core: &Arc<ServerCore>,
    disk: &Arc<DiskQueue>,
    queue: &Arc<UpkeepQueue>,
    dir: PathBuf,
) -> anyhow::Result<JoinHandle<()>> {
    let (core, disk, log) = (core.clone(), disk.clone(), upkeep.log.clone());
    let done = move |done| match done {
        upkeep::Done::Flushed(index) => {
            disk.push(vec![Job::Flushed(index)]);
            disk.wake();
        }
        upkeep::Done::Snapshot(done) => core.enter(|node, now| node.snapshot_done(now, done)),
    };
    let failed = move |error: &anyhow::Error| disk_failed(&log, &dir, error);
    upkeep.start(queue.clone(), done, failed)
}

/// What the raft thread needs: it ticks the node and serves all sockets between nodes, so that no
/// number of clients can keep a heartbeat waiting.
struct RaftThread {
    core: Arc<ServerCore>,
    tick: Duration,
    peers: PeerSettings,
    listeners: Vec<std::net::TcpListener>,
    log: Logger,
}

impl RaftThread {
    /// Connects the node to its peers and starts the thread. It ends when `stop` turns true.
    fn start(self, stop: watch::Receiver<bool>) -> anyhow::Result<JoinHandle<()>> {
        let Self {
            core,
            tick,
            peers,
            listeners,
            log,
        } = self;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("start the raft thread")?;
        {
            // Nothing runs on it before the thread does, so that no event comes before the node can
            // answer it.
            let _on_its_runtime = runtime.enter();
            let peers = Peers::start(peers, listeners, core.clone(), &log);
            core.connect(peers.context("listen for peers")?);
        }
        let thread = std::thread::Builder::new().name("raft".to_owned());
        let run = move || runtime.block_on(tick_until(stop, &core, tick));
        thread.spawn(run).context("start the raft thread")
    }
}

/// Ticks the node until `stop` turns true.
async fn tick_until(mut stop: watch::Receiver<bool>, core: &ServerCore, tick: Duration) {
    let mut ticks = interval(tick);
    // After a stall one tick, not all that were missed: a node that was paused must not conclude
    // that the time in which nobody could reach it was time in which nobody tried.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stop.changed() => return,
        }
        core.enter(|node, now| node.tick(now));
    }
}

/// Serves clients on the client threads, while the main thread waits for the end.
struct Serving<'a> {
    config: &'a Config,
    users: Users,
    /// Random, and told to nobody.
    secret: Secret,
    core: Arc<ServerCore>,
    local: Arc<Local>,
    log: &'a Logger,
}

impl Serving<'_> {
    async fn serve(
        self,
        bound: Vec<Bound>,
        stop_requests: &mut mpsc::UnboundedReceiver<StopReason>,
        stop_raft: &watch::Sender<bool>,
    ) -> anyhow::Result<StopReason> {
        let mut clients = self.accept(bound)?;
        let asked = stop_requests.recv().await;
        let mut reason = asked.context("wait to be asked to stop")?;
        say(&reason, self.log);
        clients.stop_accepting();
        if matches!(reason, StopReason::Signal(_)) {
            tokio::select! {
                () = self.hand_over() => {}
                Some(worse) = stop_requests.recv() => {
                    say(&worse, self.log);
                    reason = worse;
                }
            }
        }
        if reason == StopReason::Hangs {
            // Whoever is elected instead should not have to wait for our clients.
            stop_raft.send_replace(true);
        }
        clients.stop().await;
        if reason != StopReason::Hangs {
            info!(self.log, "closed all clients");
        }
        Ok(reason)
    }

    fn accept(&self, bound: Vec<Bound>) -> anyhow::Result<Clients> {
        let mut listeners = Vec::new();
        for socket in bound {
            listeners.push(socket.watched()?);
        }
        let addrs = listeners
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ");
        let settings = self.settings();
        let host = self.core.clone();
        let clients = Clients::start(listeners, settings, host, self.local.clone(), self.log);
        info!(self.log, "ready to accept connections"; "addr" => addrs);
        Ok(clients)
    }

    fn settings(&self) -> Settings {
        let config = self.config;
        Settings {
            clients_max: config.maxclients as u64,
            idle_max: Duration::from_secs(config.timeout_s),
            keepalive: Duration::from_secs(config.tcp_keepalive_s),
            protected: config.protected_mode,
            env: Arc::new(Env {
                users: self.users.clone(),
                secret: self.secret,
                databases: config.databases,
                limits: Limits::for_bulk(config.proto_max_bulk_len),
                max_subscriptions: config.client_subscriptions_max,
                max_publish_rate: config.client_publish_rate_max,
                clock: Local::micros,
                corgi_version: Bytes::from_static(env!("CARGO_PKG_VERSION").as_bytes()),
                ..Env::default()
            }),
        }
    }

    /// Lets the node give up leadership and finish what its clients wait for; not longer than a
    /// write may take, because then every one of them has its answer.
    async fn hand_over(&self) {
        self.core.enter(|node, now| node.shut_down(now));
        let timeouts = self.config.timeouts();
        let mut ticks = interval(Duration::from_millis(timeouts.tick_ms));
        let done = async {
            while !self.core.enter(|node, _| node.may_stop()) {
                ticks.tick().await;
            }
        };
        match timeout(Duration::from_millis(timeouts.write_ms), done).await {
            Ok(()) => info!(self.log, "handed over"),
            Err(_) => warn!(
                self.log,
                "stopping although writes are under way or nobody took over"
            ),
        }
    }
}

fn say(reason: &StopReason, log: &Logger) {
    match reason {
        StopReason::Signal(name) => info!(log, "stopping"; "signal" => name),
        StopReason::Removed(text) => {
            warn!(log, "removed from the cluster, stopping"; "reason" => text);
        }
        StopReason::Fatal(text) => {
            crit!(log, "the node cannot go on, stopping"; "error" => text);
        }
        // It is said where it does not keep others waiting: the log may be on the disk that hangs.
        StopReason::Hangs => {}
    }
}

/// Prints the log of a stopped node.
///
/// # Errors
/// If the folder is in use, damaged or no data folder, or if the output cannot be written.
pub fn dump_log(dir: &Path) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    corgi_log::dump_log(dir, &mut out)?;
    std::io::Write::flush(&mut out).context("write the dump")
}

#[cfg(test)]
mod tests {
    use super::*;
    use slog::Discard;

    #[test]
    fn an_orderly_stop_in_which_the_node_fails_is_no_success() {
        let log = Logger::root(Discard, o!());
        let signal = || StopReason::Signal("SIGTERM");
        let (stop, mut later) = Stop::new();
        assert_eq!(how_it_ended(signal(), &mut later, &log), Ended::Orderly);
        stop.request(StopReason::Removed("by n1".to_owned()));
        assert_eq!(how_it_ended(signal(), &mut later, &log), Ended::Orderly);
        stop.request(StopReason::Fatal("damaged".to_owned()));
        assert_eq!(how_it_ended(signal(), &mut later, &log), Ended::Failed);
        stop.request(StopReason::Hangs);
        assert_eq!(how_it_ended(signal(), &mut later, &log), Ended::Failed);
        let fatal = StopReason::Fatal("damaged".to_owned());
        assert_eq!(how_it_ended(fatal, &mut later, &log), Ended::Failed);
        stop.request(signal());
        assert_eq!(how_it_ended(signal(), &mut later, &log), Ended::Orderly);
    }
}
