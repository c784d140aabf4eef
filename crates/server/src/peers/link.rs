//! The outgoing half: three connections to one peer, one for each lane, dialled again and again.
//!
//! A link is up when all its lanes are. When one is lost, all are dialled anew and what was queued
//! is gone; whoever sent it makes it good.

use super::frame::{self, FrameError, FrameReader};
use super::handshake::{Dialer, HandshakeError, MESSAGE_BYTES_MAX};
use super::queue::{LaneQueue, Outgoing};
use super::stream::{ReadHalf, WriteHalf, dialled};
use super::{Shared, tune};
use crate::tls::Tls;
use bytes::Bytes;
use corgi_base::NodeId;
use corgi_node::{Lane, PeerHello, PeerMessage, Refusal, RefusalKind};
use slog::{Logger, error, info, o, warn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

/// The first wait after a failed dial.
const BACK_OFF_MIN: Duration = Duration::from_millis(50);
/// The longest wait: a peer that starts is reached within this.
const BACK_OFF_MAX: Duration = Duration::from_secs(1);
/// Longer than this a link must have lived to be dialled again at once; a peer that hangs up on
/// every link gets no storm of dials.
const SETTLED: Duration = Duration::from_secs(1);
/// For one address. A host that does not answer at all must not delay the next attempt for the many
/// seconds between the system's own.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// What the rest of the process holds of a link.
#[derive(Debug)]
pub(super) struct Link {
    /// Where the peer is; `None` once it is no member any more.
    target: watch::Sender<Option<Bytes>>,
    control: LaneQueue,
    bulk: LaneQueue,
    snapshot: LaneQueue,
    bytes_max: usize,
    told_too_long: AtomicBool,
    /// Cuts short the wait for a peer that could not be reached.
    there: Notify,
    log: Logger,
}

impl Link {
    /// Starts a link without a target. The task ends when the runtime does, or with the returned
    /// handle.
    pub(super) fn start(
        shared: &Arc<Shared>,
        peer: NodeId,
        runtime: &tokio::runtime::Handle,
    ) -> (Arc<Self>, tokio::task::AbortHandle) {
        let settings = &shared.settings;
        let (target, watched) = watch::channel(None);
        let link = Arc::new(Self {
            target,
            control: LaneQueue::new(settings.control_queue_bytes_max),
            bulk: LaneQueue::new(settings.bulk_queue_bytes_max),
            snapshot: LaneQueue::new(settings.snapshot_queue_bytes_max),
            bytes_max: settings.frame_bytes_max,
            told_too_long: AtomicBool::new(false),
            there: Notify::new(),
            log: shared.log.new(o!("peer" => peer.get())),
        });
        let task = Task {
            shared: Arc::clone(shared),
            link: Arc::clone(&link),
            peer,
            seen: Seen::Nothing,
            back_off: BACK_OFF_MIN,
            members: shared.members.subscribe(),
        };
        (link, runtime.spawn(task.run(watched)).abort_handle())
    }

    /// Says where the peer is, or that it is no member any more.
    pub(super) fn set_target(&self, addr: Option<Bytes>) {
        self.target.send_if_modified(|target| {
            let modified = *target != addr;
            *target = addr;
            modified
        });
    }

    /// Dials at once if the peer could not be reached before.
    pub(super) fn peer_is_there(&self) {
        self.there.notify_one();
    }

    fn lane(&self, lane: Lane) -> &LaneQueue {
        match lane {
            Lane::Control => &self.control,
            Lane::Bulk => &self.bulk,
            Lane::Snapshot => &self.snapshot,
        }
    }

    fn open(&self) {
        for queue in [&self.control, &self.bulk, &self.snapshot] {
            queue.open();
        }
    }

    /// Drops what waits, and returns whether anything was lost.
    fn close(&self) -> bool {
        let queues = [&self.control, &self.bulk, &self.snapshot];
        // All of them must be closed, also after one that had something.
        queues.map(LaneQueue::close).contains(&true)
    }

    /// Queues a message, or returns false.
    pub(super) fn send(&self, message: &PeerMessage) -> bool {
        let outgoing = Outgoing::new(message);
        let bytes = outgoing.payload_bytes();
        if bytes > self.bytes_max {
            // The peer would close the connection, with all that is queued behind.
            if !self.told_too_long.swap(true, Ordering::Relaxed) {
                error!(self.log, "a message is too long for the peer connection";
                    "bytes" => bytes, "bytes_max" => self.bytes_max);
            }
            return false;
        }
        self.lane(message.lane()).push(outgoing)
    }
}

/// What the log was last told about the peer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Nothing,
    Up,
    Unreachable,
    RefusedByPeer(RefusalKind),
    RefusedByUs(RefusalKind),
}

#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("cannot find the address: {0}")]
    Resolve(io::Error),
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("no answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("the connection ended during the handshake")]
    HungUp,
    #[error("the peer restarted between two connections")]
    Restarted,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Handshake(HandshakeError),
    #[error("the peer is refused: {0}")]
    RefusedByUs(Refusal),
}

struct Connection {
    read: ReadHalf,
    write: WriteHalf,
}

/// A connection for each lane.
struct Connections {
    control: Connection,
    bulk: Connection,
    snapshot: Connection,
}

struct Task {
    shared: Arc<Shared>,
    link: Arc<Link>,
    peer: NodeId,
    seen: Seen,
    back_off: Duration,
    /// Changes when it should be checked again whether the peer is who it should be.
    members: watch::Receiver<u64>,
}

impl Task {
    async fn run(mut self, mut target: watch::Receiver<Option<Bytes>>) {
        loop {
            let addr = target.borrow_and_update().clone();
            let Some(addr) = addr else {
                self.seen = Seen::Nothing;
                self.back_off = BACK_OFF_MIN;
                if target.changed().await.is_err() {
                    return;
                }
                continue;
            };
            self.members.mark_unchanged();
            let dialled = tokio::select! {
                biased;
                changed = target.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                dialled = self.dial_all(&addr) => dialled,
            };
            let wait = match dialled {
                Ok((connections, hello)) => {
                    self.carry(connections, hello, &addr, &mut target).await
                }
                Err(err) => self.failed(err, &addr),
            };
            // Not after a refusal, and not at once after a link that did not last: two nodes that call
            // each other back would leave no pause at all.
            let wakeable = matches!(self.seen, Seen::Unreachable | Seen::Up);
            let pause = match self.seen {
                Seen::Up => BACK_OFF_MIN,
                _ => Duration::ZERO,
            };
            let there = async {
                sleep(pause).await;
                self.link.there.notified().await;
            };
            tokio::select! {
                _changed = target.changed() => {}
                () = there, if wakeable => {}
                () = sleep(wait) => {}
            }
            // Either way the next round looks at the target.
            target.mark_unchanged();
        }
    }

    async fn dial_all(&self, addr: &Bytes) -> Result<(Connections, PeerHello), DialError> {
        let ((control, first), (bulk, second), (snapshot, third)) = tokio::try_join!(
            self.dial(addr, Lane::Control),
            self.dial(addr, Lane::Bulk),
            self.dial(addr, Lane::Snapshot)
        )?;
        if [first.instance, second.instance] != [third.instance; 2] {
            return Err(DialError::Restarted);
        }
        let connections = Connections {
            control,
            bulk,
            snapshot,
        };
        Ok((connections, third))
    }

    async fn dial(&self, addr: &Bytes, lane: Lane) -> Result<(Connection, PeerHello), DialError> {
        let limit = self.shared.settings.handshake_timeout;
        timeout(limit, async {
            let halves = open(addr, self.shared.settings.tls.as_deref()).await?;
            self.shake(halves, lane).await
        })
        .await
        .map_err(|_elapsed| DialError::TimedOut(limit))?
    }

    async fn shake(
        &self,
        (read, mut write): (ReadHalf, WriteHalf),
        lane: Lane,
    ) -> Result<(Connection, PeerHello), DialError> {
        let mut reader = FrameReader::new(read, MESSAGE_BYTES_MAX);
        let secret = self.shared.settings.secret.bytes().clone();
        let own = self.shared.events.hello();
        let (dialer, hello) = Dialer::new(secret, &own, self.peer, lane, &super::nonce());
        say(&mut write, &hello).await?;
        let challenge = reader.next().await?.ok_or(DialError::HungUp)?;
        let (dialer, proof) = refusing(&mut write, dialer.challenge(challenge)).await?;
        say(&mut write, &proof).await?;
        let verdict = reader.next().await?.ok_or(DialError::HungUp)?;
        let dialer = refusing(&mut write, dialer.verdict(verdict)).await?;
        let ours = self.shared.events.check(&dialer.peer);
        say(&mut write, &dialer.answer(&ours)).await?;
        ours.map_err(DialError::RefusedByUs)?;
        Ok((
            Connection {
                read: reader.into_inner(),
                write,
            },
            dialer.peer,
        ))
    }

    /// Carries messages until a lane is lost or the target changes. Returns how long to wait before
    /// the next dial.
    async fn carry(
        &mut self,
        mut connections: Connections,
        hello: PeerHello,
        addr: &Bytes,
        target: &mut watch::Receiver<Option<Bytes>>,
    ) -> Duration {
        let since = Instant::now();
        // Before `up`, because the node answers `up` with messages.
        self.link.open();
        info!(self.link.log, "connected to peer"; "addr" => shown(addr));
        self.seen = Seen::Up;
        self.shared.events.up(hello);
        let cause = {
            let mut control = pin!(run_lane(&mut connections.control, &self.link.control));
            let mut bulk = pin!(run_lane(&mut connections.bulk, &self.link.bulk));
            let mut snapshot = pin!(run_lane(&mut connections.snapshot, &self.link.snapshot));
            loop {
                tokio::select! {
                    biased;
                    _changed = target.changed() => {
                        // Once more, so that the next dial does not wait.
                        target.mark_changed();
                        break Lost::Target;
                    }
                    Ok(()) = self.members.changed() => {
                        if let Err(refusal) = self.shared.events.check(&hello) {
                            break Lost::Trust(refusal);
                        }
                    }
                    err = &mut control => break Lost::Lane(Lane::Control, err),
                    err = &mut bulk => break Lost::Lane(Lane::Bulk, err),
                    err = &mut snapshot => break Lost::Lane(Lane::Snapshot, err),
                }
            }
        };
        let lost = self.link.close();
        match cause {
            Lost::Target => {
                info!(self.link.log, "disconnected from peer"; "addr" => shown(addr));
            }
            Lost::Trust(refusal) => {
                warn!(self.link.log, "peer is not who it should be"; "addr" => shown(addr),
                    "kind" => ?refusal.kind, "error" => %refusal);
                self.seen = Seen::RefusedByUs(refusal.kind);
            }
            Lost::Lane(lane, err) => {
                warn!(self.link.log, "lost the connection to peer"; "addr" => shown(addr),
                    "lane" => ?lane, "error" => %err);
                if is_hang_up(&err) {
                    self.shared.events.hung_up(self.peer);
                }
            }
        }
        self.shared.events.down(self.peer);
        if lost {
            self.shared.events.send_failed(self.peer);
        }
        if since.elapsed() >= SETTLED {
            self.back_off = BACK_OFF_MIN;
            return Duration::ZERO;
        }
        self.next_back_off()
    }

    /// Tells the log and the node, and returns how long to wait before the next dial.
    fn failed(&mut self, err: DialError, addr: &Bytes) -> Duration {
        let (seen, wait) = match &err {
            DialError::Handshake(HandshakeError::RefusedByPeer(refusal)) => {
                (Seen::RefusedByPeer(refusal.kind), BACK_OFF_MAX)
            }
            DialError::RefusedByUs(refusal)
            | DialError::Handshake(HandshakeError::Refused { refusal, .. }) => {
                (Seen::RefusedByUs(refusal.kind), BACK_OFF_MAX)
            }
            _ => (Seen::Unreachable, self.next_back_off()),
        };
        if seen != self.seen {
            let addr = shown(addr);
            match seen {
                Seen::RefusedByPeer(kind) => warn!(self.link.log, "peer refuses this node";
                    "addr" => addr, "kind" => ?kind, "error" => %err),
                Seen::RefusedByUs(kind) => warn!(self.link.log, "peer is not who it should be";
                    "addr" => addr, "kind" => ?kind, "error" => %err),
                _ => info!(self.link.log, "cannot reach peer, trying on";
                    "addr" => addr, "error" => %err),
            }
            self.seen = seen;
        }
        if let DialError::Handshake(HandshakeError::RefusedByPeer(refusal)) = err {
            self.shared.events.refused(self.peer, refusal);
        }
        wait
    }

    /// Between half of the current wait and all of it, so that nodes do not dial in step.
    fn next_back_off(&mut self) -> Duration {
        let wait = self.back_off;
        self.back_off = (2 * wait).min(BACK_OFF_MAX);
        let random = getrandom::u32().expect("the system has randomness");
        wait / 2 + (wait / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

enum Lost {
    Target,
    Trust(Refusal),
    Lane(Lane, io::Error),
}

/// Writes what is queued until the connection ends. The peer says nothing on it, so anything to
/// read is its end.
async fn run_lane(connection: &mut Connection, queue: &LaneQueue) -> io::Error {
    let mut byte = [0];
    tokio::select! {
        read = connection.read.read(&mut byte) => match read {
            Ok(0) => closed(),
            // TLS that ends without a word, as when the peer's process dies.
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => closed(),
            Ok(_) => io::Error::other("the peer sent something on a connection that only we use"),
            Err(err) => err,
        },
        written = queue.write_to(&mut connection.write) => {
            let Err(err) = written;
            err
        }
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed it")
}

/// Whether the peer's system said that the connection is closed. When nothing is heard any more it is something else.
fn is_hang_up(err: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(err.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// Connects to an address, with TLS if there is `tls`.
pub(super) async fn open(
    addr: &Bytes,
    tls: Option<&Tls>,
) -> Result<(ReadHalf, WriteHalf), DialError> {
    let stream = connect(addr).await?;
    tune(&stream).map_err(DialError::Connect)?;
    let halves = dialled(stream, tls).await.map_err(FrameError::from)?;
    Ok(halves)
}

async fn connect(addr: &Bytes) -> Result<TcpStream, DialError> {
    let addr = str::from_utf8(addr)
        .map_err(|err| DialError::Resolve(io::Error::new(io::ErrorKind::InvalidInput, err)))?;
    // At each dial, because names move to other addresses, as in containers.
    let resolved = tokio::net::lookup_host(addr)
        .await
        .map_err(DialError::Resolve)?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for addr in resolved {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(addr)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(err)) => last = err,
            Err(_elapsed) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(DialError::Connect(last))
}

pub(super) async fn say(write: &mut WriteHalf, message: &[u8]) -> Result<(), DialError> {
    let sent = frame::send(write, message).await;
    sent.map_err(|err| DialError::Frame(err.into()))
}

/// Tells the peer that it is refused, if it is.
pub(super) async fn refusing<T>(
    write: &mut WriteHalf,
    result: Result<T, HandshakeError>,
) -> Result<T, DialError> {
    if let Err(HandshakeError::Refused {
        tell: Some(tell), ..
    }) = &result
    {
        say(write, tell).await?;
    }
    result.map_err(DialError::Handshake)
}

fn shown(addr: &Bytes) -> String {
    String::from_utf8_lossy(addr).into_owned()
}
