//! Who listens at an address: a handshake that ends before either side takes the other on.

use super::Shared;
use super::frame::FrameReader;
use super::handshake::{Dialer, HandshakeError, MESSAGE_BYTES_MAX};
use super::link::{DialError, open, refusing, say};
use corgi_base::NodeId;
use corgi_node::{Lane, PeerHello, Probe, RefusalKind};
use std::time::Duration;
use tokio::time::timeout;

/// Longer than a round trip and a busy machine; the client of `CLUSTER MEET` waits for it.
const ANSWER_MAX: Duration = Duration::from_millis(1500);

/// Returns who is there, authenticated, or why nobody is.
pub(super) async fn run(shared: &Shared, probe: &Probe) -> Result<PeerHello, String> {
    let asked = async {
        match ask(shared, probe, probe.id).await {
            // It has an id of its own.
            Err((DialError::Handshake(HandshakeError::RefusedByPeer(refusal)), Some(own)))
                if refusal.kind == RefusalKind::WrongId && own != probe.id =>
            {
                ask(shared, probe, own).await
            }
            answer => answer,
        }
    };
    match timeout(ANSWER_MAX, asked).await {
        Ok(Ok(hello)) => Ok(hello),
        Ok(Err((error, _))) => Err(error.to_string()),
        Err(_elapsed) => Err(format!("no answer within {} ms", ANSWER_MAX.as_millis())),
    }
}

/// Calls whoever is there by `id`; the id that it has itself comes with the error.
async fn ask(
    shared: &Shared,
    probe: &Probe,
    id: NodeId,
) -> Result<PeerHello, (DialError, Option<NodeId>)> {
    let none = |error: DialError| (error, None);
    let tls = shared.settings.tls.as_deref();
    let (read, mut write) = open(&probe.addr, tls).await.map_err(none)?;
    let mut reader = FrameReader::new(read, MESSAGE_BYTES_MAX);
    let secret = shared.settings.secret.bytes().clone();
    let own = shared.events.hello();
    let (dialer, hello) = Dialer::new(secret, &own, id, Lane::Control, &super::nonce());
    say(&mut write, &hello).await.map_err(none)?;
    let challenge = reader.next().await.map_err(|error| none(error.into()))?;
    let challenge = challenge.ok_or((DialError::HungUp, None))?;
    let (dialer, proof) = refusing(&mut write, dialer.challenge(challenge))
        .await
        .map_err(none)?;
    let theirs = Some(dialer.peer.id);
    let with = |error: DialError| (error, theirs);
    say(&mut write, &proof).await.map_err(with)?;
    let verdict = reader.next().await.map_err(|error| with(error.into()))?;
    let verdict = verdict.ok_or((DialError::HungUp, theirs))?;
    let dialer = refusing(&mut write, dialer.verdict(verdict))
        .await
        .map_err(with)?;
    // Without our verdict nothing follows from it, on either side.
    Ok(dialer.peer)
}
