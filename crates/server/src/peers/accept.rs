//! The incoming half: connections of peers, which we only read.

use super::frame::{self, FrameError, FrameReader};
use super::handshake::{Acceptor, HandshakeError, MESSAGE_BYTES_MAX};
use super::pending::Ticket;
use super::stream::{NoTls, ReadHalf, WriteHalf, accepted};
use super::{Shared, tune};
use crate::seldom::Seldom;
use corgi_base::NodeId;
use corgi_base::codec::DecodeError;
use corgi_node::{Lane, PeerHello, PeerMessage, Refusal};
use slog::{debug, warn};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// After a failed accept, as when there are no file descriptors left, which does not get better at
/// once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Which connections are read, and what the log has heard.
#[derive(Debug, Default)]
pub(super) struct Accepted {
    /// The current connection of each peer and lane; told when a newer one takes its place.
    current: Mutex<BTreeMap<(NodeId, Lane), Arc<Notify>>>,
    logged: Seldom,
}

impl Accepted {
    /// Makes a connection the current one and ends the one before.
    fn replace(&self, key: (NodeId, Lane)) -> Arc<Notify> {
        let stop = Arc::new(Notify::new());
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(older) = current.insert(key, Arc::clone(&stop)) {
            older.notify_one();
        }
        stop
    }

    /// Ends the connections of a peer.
    pub(super) fn end(&self, peer: NodeId) {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        for lane in [Lane::Control, Lane::Bulk, Lane::Snapshot] {
            if let Some(stop) = current.get(&(peer, lane)) {
                stop.notify_one();
            }
        }
    }

    fn remove(&self, key: (NodeId, Lane), stop: &Arc<Notify>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current
            .get(&key)
            .is_some_and(|newest| Arc::ptr_eq(newest, stop))
        {
            current.remove(&key);
        }
    }
}

/// Accepts connections until it is dropped, and with it all that it accepted.
pub(super) async fn run(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let room = shared.pending.room().await;
        match listener.accept().await {
            Ok((stream, addr)) => {
                let ticket = shared.pending.enter(addr.ip(), room);
                connections.spawn(serve(Arc::clone(&shared), stream, addr, ticket));
            }
            Err(err) => {
                let local = listener.local_addr().map(|addr| addr.ip());
                let ip = local.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
                if shared.accepted.logged.should_log(ip, "accept") {
                    warn!(shared.log, "cannot accept peer connections, trying on";
                        "error" => %err);
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum AcceptError {
    #[error("no whole handshake within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("there were too many others that shook hands")]
    Evicted,
    #[error("the connection ended during the handshake")]
    HungUp,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Handshake(HandshakeError),
    #[error("{0}")]
    Refused(Refusal),
}

struct Incoming {
    reader: FrameReader<ReadHalf>,
    // Held because dropping it would close the connection half-way, which the peer takes as its
    // end.
    _write: WriteHalf,
    hello: PeerHello,
    lane: Lane,
}

async fn serve(shared: Arc<Shared>, stream: TcpStream, addr: SocketAddr, ticket: Ticket) {
    let limit = shared.settings.handshake_timeout;
    let mut members = shared.members.subscribe();
    let shaken = tokio::select! {
        shaken = timeout(limit, shake(&shared, stream)) => shaken,
        () = ticket.evicted() => Ok(Err(AcceptError::Evicted)),
    };
    drop(ticket);
    let incoming = match shaken.unwrap_or(Err(AcceptError::TimedOut(limit))) {
        Ok(incoming) => incoming,
        Err(err) => return log_failure(&shared, addr, &err),
    };
    let key = (incoming.hello.id, incoming.lane);
    let stop = shared.accepted.replace(key);
    debug!(shared.log, "peer connected";
        "peer" => key.0.get(), "lane" => ?key.1, "addr" => %addr);
    shared.peer_is_there(key.0);
    let hello = incoming.hello;
    let mut read = pin!(read(&shared, incoming));
    let end = loop {
        tokio::select! {
            biased;
            () = stop.notified() => break Ok(()),
            Ok(()) = members.changed() => {
                if let Err(refusal) = shared.events.check(&hello) {
                    break Err(ReadError::Refused(refusal));
                }
            }
            end = &mut read => break end,
        }
    };
    shared.accepted.remove(key, &stop);
    match end {
        Ok(()) => debug!(shared.log, "peer connection ended";
            "peer" => key.0.get(), "lane" => ?key.1, "addr" => %addr),
        Err(err) => warn!(shared.log, "closed a peer connection";
            "peer" => key.0.get(), "lane" => ?key.1, "addr" => %addr, "error" => %err),
    }
}

async fn shake(shared: &Shared, stream: TcpStream) -> Result<Incoming, AcceptError> {
    tune(&stream).map_err(FrameError::from)?;
    let tls = shared.settings.tls.as_deref();
    let (read, mut write) = accepted(stream, tls).await.map_err(FrameError::from)?;
    let mut reader = FrameReader::new(read, MESSAGE_BYTES_MAX);
    let message = reader.next().await?.ok_or(AcceptError::HungUp)?;
    let secret = shared.settings.secret.bytes().clone();
    let own = shared.events.hello();
    let hello = Acceptor::hello(secret, &own, &super::nonce(), message);
    let (acceptor, challenge) = refusing(&mut write, hello).await?;
    say(&mut write, &challenge).await?;
    let proof = reader.next().await?.ok_or(AcceptError::HungUp)?;
    let acceptor = refusing(&mut write, acceptor.proof(proof)).await?;
    let ours = shared.events.check(&acceptor.peer);
    say(&mut write, &acceptor.verdict(&ours)).await?;
    ours.map_err(AcceptError::Refused)?;
    let answer = reader.next().await?.ok_or(AcceptError::HungUp)?;
    refusing(&mut write, acceptor.answer(answer)).await?;
    reader.set_bytes_max(shared.settings.frame_bytes_max);
    Ok(Incoming {
        reader,
        _write: write,
        hello: acceptor.peer,
        lane: acceptor.lane,
    })
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("not a message: {0}")]
    Decode(#[from] DecodeError),
    #[error("{0}")]
    Refused(Refusal),
}

async fn read(shared: &Shared, mut incoming: Incoming) -> Result<(), ReadError> {
    loop {
        match incoming.reader.next().await {
            Ok(Some(bytes)) => {
                let message = PeerMessage::decode(incoming.lane, bytes)?;
                shared.events.message(incoming.hello.id, message);
            }
            Ok(None) => return Ok(()),
            // How a peer's process ends when it is killed, possibly within a frame; that the peer
            // is lost is logged by the link to it.
            Err(FrameError::Io(err)) if is_hang_up(&err) => return Ok(()),
            Err(err) => return Err(err.into()),
        }
    }
}

fn is_hang_up(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::TimedOut
    )
}

fn log_failure(shared: &Shared, addr: SocketAddr, err: &AcceptError) {
    let what = match err {
        // Port scanners, health checks, and peers that lost one lane while they dialled the other.
        AcceptError::HungUp
        | AcceptError::Frame(FrameError::Io(_) | FrameError::Tls(NoTls::HungUp)) => {
            debug!(shared.log, "a peer connection ended before it began";
                "addr" => %addr, "error" => %err);
            return;
        }
        AcceptError::TimedOut(_) => "timed out",
        AcceptError::Evicted => "evicted",
        AcceptError::Frame(FrameError::Tls(_) | FrameError::SpeaksTls) => "TLS",
        AcceptError::Frame(_) => "frame",
        AcceptError::Handshake(HandshakeError::RefusedByPeer(_)) => "refused by peer",
        AcceptError::Handshake(HandshakeError::Malformed(_)) => "malformed",
        AcceptError::Handshake(HandshakeError::Refused { .. }) => "refused unproven",
        AcceptError::Refused(_) => "refused",
    };
    if shared.accepted.logged.should_log(addr.ip(), what) {
        warn!(shared.log, "refused a peer connection"; "addr" => %addr, "error" => %err);
    }
}

pub(super) async fn say(write: &mut WriteHalf, message: &[u8]) -> Result<(), AcceptError> {
    let sent = frame::send(write, message).await;
    sent.map_err(|err| AcceptError::Frame(err.into()))
}

/// Tells the peer that it is refused, if it is.
pub(super) async fn refusing<T>(
    write: &mut WriteHalf,
    result: Result<T, HandshakeError>,
) -> Result<T, AcceptError> {
    if let Err(HandshakeError::Refused {
        tell: Some(tell), ..
    }) = &result
    {
        say(write, tell).await?;
    }
    result.map_err(AcceptError::Handshake)
}
