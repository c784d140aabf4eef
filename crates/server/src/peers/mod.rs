//! The transport between nodes: authenticated connections that carry [`PeerMessage`]s.
//!
//! ```text
//!   Peers::send ─▶ queue ─▶ link ══ control ══▶ accept ─▶ PeerEvents::message
//!    (any thread)   each       ══ bulk ═══════▶           (the other node)
//!                   lane       ══ snapshot ═══▶
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `frame` | length-limited, checksummed frames |
//! | `handshake` | who is who, as pure state machines |
//! | `stream` | the socket, plain or with TLS |
//! | `queue` | what waits for one lane, and the writes |
//! | `link` | the three connections that we dial, to send |
//! | `accept` | the connections that peers dial, to receive |
//! | `pending` | how many strangers may shake hands at once |
//! | `probe` | who listens at an address |
//! | `join` | a node without a cluster, which waits to be called |
//!
//! Each pair of nodes has up to six connections: each side dials three, one for each
//! [`corgi_node::Lane`], and sends only on those. So a message that is small and urgent never waits
//! behind entries, nor these behind a snapshot, and neither side needs to agree on who calls whom.
//!
//! Invariants
//! - No byte is decoded as a message before both sides proved that they know the cluster's secret
//!   and [`PeerEvents::check`] accepted the peer.
//! - Nobody whom [`PeerEvents::check`] does not accept any more stays connected.
//! - Messages of one lane arrive in the order sent, without gap, until [`PeerEvents::down`];
//!   what was queued then is lost, and [`PeerEvents::send_failed`] says so.
//! - Every queue is bounded; [`Peers::send`] never waits.
//! - No lock of this module is held while an event is called, so that events may take the node's
//!   lock and call [`Peers::send`] under it.
//!
//! Not here: which certificates are good (`crate::tls`), and what messages mean.
//!
//! Tests: the pure parts next to themselves; `tests` runs whole transports on loopback.

mod accept;
mod frame;
mod handshake;
pub(crate) mod join;
mod link;
mod pending;
mod probe;
mod queue;
mod stream;
#[cfg(test)]
mod tests;

use crate::config::Secret;
use crate::tls::Tls;
use corgi_base::NodeId;
use corgi_node::{InitialMember, PeerHello, PeerMessage, Probe, Refusal};
use link::Link;
use pending::Pending;
use slog::{Logger, o};
use socket2::{SockRef, TcpKeepalive};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// A peer whose machine does not acknowledge for so long is lost. Longer than an election, so that
/// a hiccup of the network does not throw away the queues.
const DEAD_AFTER: Duration = Duration::from_secs(5);

/// What the transport needs to know of the node, and what it tells it.
///
/// The methods are called from the transport's tasks, must be quick, and may call [`Peers::send`].
/// The value must not own the [`Peers`] that own it.
pub trait PeerEvents: Send + Sync + 'static {
    /// Who this node says it is.
    fn hello(&self) -> PeerHello;

    /// Whether a peer, whose knowledge of the secret is proven, may talk to this node.
    ///
    /// # Errors
    /// [`Refusal`], which is sent to the peer.
    fn check(&self, hello: &PeerHello) -> Result<(), Refusal>;

    /// All lanes to a peer are up.
    fn up(&self, hello: PeerHello);

    /// A peer closed a lane that was up, as the system does for a process that dies. [`PeerEvents::down`] follows.
    fn hung_up(&self, peer: NodeId);

    /// A lane to a peer that was up is lost, or the peer is no member any more.
    fn down(&self, peer: NodeId);

    /// A peer that we called refused us. Only kinds other than `Secret` and `Version` are proven to
    /// come from a node that knows the secret.
    fn refused(&self, peer: NodeId, refusal: Refusal);

    /// The answer to `Peers::probe`.
    fn probed(&self, number: u64, answer: Result<PeerHello, String>);

    /// A message arrived.
    fn message(&self, from: NodeId, message: PeerMessage);

    /// Messages for which [`Peers::send`] returned true were lost with the link to a peer.
    fn send_failed(&self, peer: NodeId);
}

/// How the transport behaves.
#[derive(Clone, Debug)]
pub struct PeerSettings {
    /// This node.
    pub id: NodeId,
    /// What all nodes of the cluster know; empty if they have no secret.
    pub secret: Secret,
    /// The longest message. Must be the same, or nearly, on all nodes.
    pub frame_bytes_max: usize,
    /// How many bytes may wait for the control lane of a peer.
    pub control_queue_bytes_max: usize,
    /// How many bytes may wait for the bulk lane of a peer.
    pub bulk_queue_bytes_max: usize,
    /// How many bytes may wait for the snapshot lane of a peer.
    pub snapshot_queue_bytes_max: usize,
    /// Encrypts the connections, if it does.
    pub(crate) tls: Option<Arc<Tls>>,
    /// How long a handshake may take, from the dial to the last verdict.
    pub handshake_timeout: Duration,
}

impl PeerSettings {
    /// Returns the usual settings.
    pub fn new(id: NodeId, secret: Secret, frame_bytes_max: usize) -> Self {
        Self {
            id,
            secret,
            frame_bytes_max,
            control_queue_bytes_max: 4 << 20,
            bulk_queue_bytes_max: 64 << 20,
            // One chunk is under way to a peer, or two when the first is late.
            snapshot_queue_bytes_max: 4 << 20,
            tls: None,
            handshake_timeout: Duration::from_secs(5),
        }
    }
}

struct Shared {
    settings: PeerSettings,
    events: Arc<dyn PeerEvents>,
    log: Logger,
    pending: Arc<Pending>,
    /// Counts how often the members have changed, so that those who were let in before are looked at again.
    members: watch::Sender<u64>,
    accepted: accept::Accepted,
    links: RwLock<BTreeMap<NodeId, Arc<Link>>>,
}

impl Shared {
    /// A peer has reached us, so it can probably be reached.
    fn peer_is_there(&self, peer: NodeId) {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(&peer) {
            link.peer_is_there();
        }
    }
}

/// The running transport. Dropping it closes all connections, without events.
pub struct Peers {
    shared: Arc<Shared>,
    runtime: tokio::runtime::Handle,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers")
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}

impl Peers {
    /// Accepts peers from `listeners` on the current tokio runtime, and dials nobody yet.
    ///
    /// # Errors
    /// If a listener cannot be used.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(
        settings: PeerSettings,
        listeners: Vec<std::net::TcpListener>,
        events: Arc<dyn PeerEvents>,
        log: &Logger,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            settings,
            events,
            log: log.new(o!("mod" => "peers")),
            pending: Arc::new(Pending::new(listeners.len())),
            members: watch::Sender::new(0),
            accepted: accept::Accepted::default(),
            links: RwLock::default(),
        });
        let runtime = tokio::runtime::Handle::current();
        let mut tokio_listeners = Vec::new();
        for listener in listeners {
            listener.set_nonblocking(true)?;
            tokio_listeners.push(tokio::net::TcpListener::from_std(listener)?);
        }
        let tasks = tokio_listeners
            .into_iter()
            .map(|listener| {
                runtime
                    .spawn(accept::run(listener, Arc::clone(&shared)))
                    .abort_handle()
            })
            .collect();
        Ok(Self {
            shared,
            runtime,
            tasks: Mutex::new(tasks),
        })
    }

    /// Keeps links to exactly these members, this node left out, and asks [`PeerEvents::check`] again about everybody
    /// who is connected: what the node has learned may tell who they are not. May be called from any thread;
    /// the events for links that end come later, from the transport's tasks.
    pub fn set_members(&self, members: Vec<InitialMember>) {
        let mut links = self
            .shared
            .links
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        for (peer, link) in links.iter() {
            if !members.iter().any(|member| member.id == *peer) {
                link.set_target(None);
                // It calls again, and is told that it is no member.
                self.shared.accepted.end(*peer);
            }
        }
        for member in members {
            if member.id == self.shared.settings.id {
                continue;
            }
            // A link outlives a membership, so that the last `down` of one and the first `up` of
            // the next come from the same task, in that order.
            let link = links.entry(member.id).or_insert_with(|| {
                let (link, task) = Link::start(&self.shared, member.id, &self.runtime);
                tasks.push(task);
                link
            });
            link.set_target(Some(member.addr));
        }
        self.shared.members.send_modify(|changes| *changes += 1);
    }

    /// Finds out who listens at an address; [`PeerEvents::probed`] tells.
    pub(crate) fn probe(&self, probe: Probe) {
        let shared = Arc::clone(&self.shared);
        self.runtime.spawn(async move {
            let answer = probe::run(&shared, &probe).await;
            shared.events.probed(probe.number, answer);
        });
    }

    /// Queues a message for a peer. Never waits; may be called from any thread and under any lock
    /// that the events do not hold while they wait for another.
    ///
    /// Returns false, and drops the message, if the link to the peer is down or its lane is full.
    pub fn send(&self, peer: NodeId, message: PeerMessage) -> bool {
        let links = self
            .shared
            .links
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        links.get(&peer).is_some_and(|link| link.send(&message))
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        for task in self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

/// Prepares a connection of either side.
fn tune(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(DEAD_AFTER))?;
    let probes = TcpKeepalive::new()
        .with_time(Duration::from_secs(2))
        .with_interval(Duration::from_secs(1))
        .with_retries(3);
    socket.set_tcp_keepalive(&probes)
}

fn nonce() -> handshake::Nonce {
    let mut nonce = handshake::Nonce::default();
    getrandom::fill(&mut nonce).expect("the system has randomness");
    nonce
}
