//! A node without a cluster, which waits to be called by a member of one.
//!
//! A member calls twice. With the first call it finds out who is here, and hangs up. Then the
//! cluster agrees on the new node's id and on its data folder, and calls to stay: the id that it
//! calls, and the cluster that it says it belongs to, are then this node's.

use super::accept::{AcceptError, refusing, say};
use super::frame::{FrameError, FrameReader};
use super::handshake::{Acceptor, MESSAGE_BYTES_MAX, called_id};
use super::pending::{Pending, Room};
use super::stream::accepted;
use super::tune;
use crate::config::Secret;
use crate::tls::Tls;
use corgi_base::{Boot, Formation, InstanceId, NodeId, Nonce};
use corgi_node::{PeerHello, Refusal, RefusalKind};
use slog::{Logger, debug, info};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// As for all handshakes.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// After a failed accept, which does not get better at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who waits.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    /// The node's id, if it has one.
    pub(crate) id: Option<NodeId>,
    /// Its data folder.
    pub(crate) instance: InstanceId,
    /// What the nodes of the cluster know.
    pub(crate) secret: Secret,
    /// Encrypts the calls, if it does.
    pub(crate) tls: Option<Arc<Tls>>,
}

/// Waits until a cluster takes this node in; returns its id and the cluster. The listeners stay
/// open.
///
/// # Errors
/// If a listener cannot be used.
pub(crate) async fn wait(
    waiting: &Waiting,
    listeners: &[std::net::TcpListener],
    log: &Logger,
) -> io::Result<(NodeId, Formation)> {
    let mut accepts = JoinSet::new();
    let pending = Arc::new(Pending::new(listeners.len()));
    for listener in listeners {
        let listener = listener.try_clone()?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        accepts.spawn(accept(
            listener,
            Arc::clone(&pending),
            waiting.clone(),
            log.clone(),
        ));
    }
    info!(
        log,
        "waits to be let into a cluster: send CLUSTER MEET with this node's host and peer-port \
        to a member"
    );
    match accepts.join_next().await {
        Some(Ok(taken)) => Ok(taken),
        Some(Err(error)) => Err(io::Error::other(error)),
        None => Err(io::Error::other("there is no peer-port to be called at")),
    }
}

async fn accept(
    listener: TcpListener,
    pending: Arc<Pending>,
    waiting: Waiting,
    log: Logger,
) -> (NodeId, Formation) {
    let mut calls = JoinSet::new();
    loop {
        tokio::select! {
            (room, accepted) = accept_one(&listener, &pending) => match accepted {
                Ok((stream, addr)) => {
                    let (waiting, log) = (waiting.clone(), log.clone());
                    let ticket = pending.enter(addr.ip(), room);
                    calls.spawn(async move {
                        let answered = tokio::select! {
                            answered = timeout(HANDSHAKE_MAX, answer(stream, &waiting)) => answered,
                            () = ticket.evicted() => Ok(Err(AcceptError::Evicted)),
                        };
                        let answered = answered.unwrap_or(Err(AcceptError::TimedOut(HANDSHAKE_MAX)));
                        answered
                            .inspect_err(|error| debug!(log, "a call came to nothing"; "error" => %error))
                            .ok()
                    });
                }
                Err(error) => {
                    debug!(log, "cannot accept peer connections, trying on"; "error" => %error);
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(done) = calls.join_next() => {
                if let Ok(Some(taken)) = done {
                    return taken;
                }
            }
        }
    }
}

/// May be dropped: a call that waits is accepted the next time.
async fn accept_one(
    listener: &TcpListener,
    pending: &Pending,
) -> (Room, io::Result<(TcpStream, SocketAddr)>) {
    let room = pending.room().await;
    (room, listener.accept().await)
}

/// Answers one call. Whoever hangs up without its last word only wanted to know who is here.
async fn answer(stream: TcpStream, waiting: &Waiting) -> Result<(NodeId, Formation), AcceptError> {
    tune(&stream).map_err(FrameError::from)?;
    let tls = waiting.tls.as_deref();
    let (read, mut write) = accepted(stream, tls).await.map_err(FrameError::from)?;
    let mut reader = FrameReader::new(read, MESSAGE_BYTES_MAX);
    let message = reader.next().await?.ok_or(AcceptError::HungUp)?;
    let called = refusing(&mut write, called_id(message.clone())).await?;
    let own = PeerHello {
        id: waiting.id.unwrap_or(called),
        instance: waiting.instance,
        // It has not been started as a member yet.
        boot: Boot(0),
        nonce: Nonce(0),
        formation: None,
    };
    let secret = waiting.secret.bytes().clone();
    let hello = Acceptor::hello(secret, &own, &super::nonce(), message);
    let (acceptor, challenge) = refusing(&mut write, hello).await?;
    say(&mut write, &challenge).await?;
    let proof = reader.next().await?.ok_or(AcceptError::HungUp)?;
    let acceptor = refusing(&mut write, acceptor.proof(proof)).await?;
    let formation = acceptor.peer.formation;
    let ours = match formation {
        Some(_) => Ok(()),
        None => Err(Refusal {
            kind: RefusalKind::NotMember,
            text: "this node waits for a member of a cluster, and the caller is none yet"
                .to_owned(),
        }),
    };
    say(&mut write, &acceptor.verdict(&ours)).await?;
    ours.map_err(AcceptError::Refused)?;
    let verdict = reader.next().await?.ok_or(AcceptError::HungUp)?;
    refusing(&mut write, acceptor.answer(verdict)).await?;
    let formation = formation.expect("a caller without a cluster was refused");
    Ok((own.id, formation))
}
