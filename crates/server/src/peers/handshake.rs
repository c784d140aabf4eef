//! The handshake of a peer connection, as pure state machines: bytes in, bytes out.
//!
//! ```text
//!   dialer                                                acceptor
//!     ── Hello: version, lane, who I am, whom I call, nonce ──▶
//!     ◀── Challenge: who I am, nonce ──────────────────────────
//!     ── Proof: HMAC("dialer", Hello, Challenge) ─────────────▶  checks proof, then hello
//!     ◀── Verdict: yes or no, HMAC("acceptor", …, verdict) ────
//!     ── Verdict: yes or no, HMAC("dialer", …, verdict) ──────▶  messages may follow
//! ```
//!
//! Invariants
//! - The secret is never sent. Each side proves that it knows it over both nonces, both hellos, the
//!   lane and its own role, so that nothing recorded elsewhere, and nothing reflected, is a proof.
//! - The dialer proves itself first: a stranger who calls gets nothing to try secrets on.
//! - Nothing that a peer says of itself is believed, and no refusal in words is given or believed,
//!   before the proof. Without one there are only two refusals, by number: secret and version.
//! - Every message has a fixed layout and at most [`MESSAGE_BYTES_MAX`] bytes.
//!
//! ```text
//! Hello     = "CRGI" version:u8 0x01 lane:u8 hello to:u64 nonce:32
//! Challenge = "CRGI" version:u8 0x02 hello nonce:32
//! Proof     = "CRGI" version:u8 0x03 mac:32
//! Verdict   = "CRGI" version:u8 0x04 kind:u8 mac:32 text:rest     (kind 0 is yes)
//! Refusal   = "CRGI" version:u8 0x05 kind:u8                      (not authenticated)
//! hello     = id:u64 instance:u128 boot:u64 nonce:u128 formed:u8 cluster:u128 founder:u64
//! ```
//!
//! The first six bytes and the whole of Refusal stay the same in all versions.
//!
//! Not here: encryption. Whoever can change packets on the way can also change what follows the
//! handshake; against them the peer port needs TLS or a private network.

use bytes::Bytes;
use corgi_base::codec::{DecodeError, Reader};
use corgi_base::{Boot, ClusterId, Formation, InstanceId, NodeId};
use corgi_node::{Lane, PeerHello, Refusal, RefusalKind};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt::Write;
use subtle::ConstantTimeEq;

/// The longest message of the handshake.
pub(super) const MESSAGE_BYTES_MAX: usize = 1 << 10;
/// The version of the peer protocol: the handshake and the messages that follow.
pub(super) const VERSION: u8 = 1;

const MAGIC: &[u8] = b"CRGI";
const HELLO: u8 = 0x01;
const CHALLENGE: u8 = 0x02;
const PROOF: u8 = 0x03;
const VERDICT: u8 = 0x04;
const REFUSAL: u8 = 0x05;
/// A refusal is a few sentences; more would not fit a message.
const TEXT_BYTES_MAX: usize = 512;

/// A number that is used once.
pub(super) type Nonce = [u8; 32];
type Proof = [u8; 32];

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    /// The peer refused us.
    #[error("{0}")]
    RefusedByPeer(Refusal),
    /// We refuse the peer. The bytes, if any, tell it so.
    #[error("{refusal}")]
    Refused {
        refusal: Refusal,
        tell: Option<Vec<u8>>,
    },
    /// It is not a handshake.
    #[error("not a handshake of a Corgi node: {0}")]
    Malformed(#[from] DecodeError),
}

/// What both sides know in the end.
struct Transcript {
    secret: Bytes,
    /// Hello and Challenge, as they were sent.
    messages: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Role {
    Dialer,
    Acceptor,
}

impl Transcript {
    fn mac(&self, role: Role, about: &[u8]) -> Proof {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes any key");
        mac.update(match role {
            Role::Dialer => b"corgi peer dialer\0",
            Role::Acceptor => b"corgi peer accept\0",
        });
        // Hello and Challenge have fixed lengths, so that the border between the parts is certain.
        mac.update(&self.messages);
        mac.update(about);
        mac.finalize().into_bytes().into()
    }

    fn verdict(&self, role: Role, verdict: &Result<(), Refusal>) -> Vec<u8> {
        let (kind, text) = match verdict {
            Ok(()) => (0, ""),
            Err(refusal) => (refusal.kind as u8, refusal.text.as_str()),
        };
        let text = &text.as_bytes()[..text.floor_char_boundary(TEXT_BYTES_MAX)];
        let mut message = start(VERDICT);
        message.push(kind);
        message.extend_from_slice(&self.mac(role, &[&[VERDICT, kind][..], text].concat()));
        message.extend_from_slice(text);
        message
    }

    /// Reads the other side's verdict on us.
    fn read_verdict(&self, role: Role, message: Bytes) -> Result<(), HandshakeError> {
        let mut r = expect(message, VERDICT)?;
        let kind = r.u8("verdict")?;
        let mac = take(&mut r, "proof")?;
        let text = r.rest();
        let expected = self.mac(role, &[&[VERDICT, kind][..], &text].concat());
        if !equal(&mac, &expected) {
            return Err(refuse_secret());
        }
        if kind == 0 {
            return Ok(());
        }
        let value = kind.into();
        let kind = RefusalKind::from_number(kind);
        let kind = kind.ok_or(DecodeError::Unknown {
            field: "refusal",
            value,
        })?;
        let text = String::from_utf8_lossy(&text).replace(char::is_control, " ");
        Err(HandshakeError::RefusedByPeer(Refusal { kind, text }))
    }
}

/// The calling side, before the Challenge.
pub(super) struct Dialer {
    transcript: Transcript,
    to: NodeId,
}

/// The calling side, before the acceptor's Verdict.
pub(super) struct DialerProven {
    transcript: Transcript,
    to: NodeId,
    /// Who answered, as it says itself.
    pub(super) peer: PeerHello,
}

/// The calling side, before its own Verdict.
pub(super) struct DialerAdmitted {
    transcript: Transcript,
    /// Who answered, authenticated.
    pub(super) peer: PeerHello,
}

impl Dialer {
    /// Returns the machine and the Hello to send.
    pub(super) fn new(
        secret: Bytes,
        own: &PeerHello,
        to: NodeId,
        lane: Lane,
        nonce: &Nonce,
    ) -> (Self, Vec<u8>) {
        let mut message = start(HELLO);
        message.push(lane_number(lane));
        put_hello(&mut message, own);
        message.extend_from_slice(&to.get().to_be_bytes());
        message.extend_from_slice(nonce);
        let transcript = Transcript {
            secret,
            messages: message.clone(),
        };
        (Self { transcript, to }, message)
    }

    /// Takes the Challenge and returns the Proof to send.
    pub(super) fn challenge(
        mut self,
        message: Bytes,
    ) -> Result<(DialerProven, Vec<u8>), HandshakeError> {
        self.transcript.messages.extend_from_slice(&message);
        let mut r = expect(message, CHALLENGE)?;
        let peer = read_hello(&mut r)?;
        let _nonce: Nonce = take(&mut r, "nonce")?;
        r.finish()?;
        let mut proof = start(PROOF);
        proof.extend_from_slice(&self.transcript.mac(Role::Dialer, &[PROOF]));
        Ok((
            DialerProven {
                transcript: self.transcript,
                to: self.to,
                peer,
            },
            proof,
        ))
    }
}

impl DialerProven {
    /// Takes the acceptor's Verdict, which proves who the acceptor is.
    pub(super) fn verdict(self, message: Bytes) -> Result<DialerAdmitted, HandshakeError> {
        self.transcript.read_verdict(Role::Acceptor, message)?;
        let admitted = DialerAdmitted {
            transcript: self.transcript,
            peer: self.peer,
        };
        if admitted.peer.id == self.to {
            return Ok(admitted);
        }
        // An acceptor refuses this itself; one that did not is not to be trusted with messages.
        let refusal = wrong_id(self.to, admitted.peer.id);
        let tell = Some(admitted.answer(&Err(refusal.clone())));
        Err(HandshakeError::Refused { refusal, tell })
    }
}

impl DialerAdmitted {
    /// Returns our Verdict on the acceptor, to send.
    pub(super) fn answer(&self, verdict: &Result<(), Refusal>) -> Vec<u8> {
        self.transcript.verdict(Role::Dialer, verdict)
    }
}

/// The called side, before the Proof.
pub(super) struct Acceptor {
    transcript: Transcript,
    own: NodeId,
    to: NodeId,
    peer: PeerHello,
    lane: Lane,
}

/// The called side, before its Verdict and the dialer's.
pub(super) struct AcceptorProven {
    transcript: Transcript,
    /// Who called, authenticated.
    pub(super) peer: PeerHello,
    /// What the connection is for.
    pub(super) lane: Lane,
}

/// Returns by which id a Hello calls, for a node that has none of its own yet.
pub(super) fn called_id(message: Bytes) -> Result<NodeId, HandshakeError> {
    let mut r = expect(message, HELLO)?;
    r.u8("lane")?;
    read_hello(&mut r)?;
    Ok(r.node_id("called id")?)
}

impl Acceptor {
    /// Takes the Hello and returns the machine and the Challenge to send.
    pub(super) fn hello(
        secret: Bytes,
        own: &PeerHello,
        nonce: &Nonce,
        message: Bytes,
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        let mut messages = message.to_vec();
        let mut r = expect(message, HELLO)?;
        let lane = match r.u8("lane")? {
            0 => Lane::Control,
            1 => Lane::Bulk,
            2 => Lane::Snapshot,
            lane => {
                return Err(DecodeError::Unknown {
                    field: "lane",
                    value: lane.into(),
                }
                .into());
            }
        };
        let peer = read_hello(&mut r)?;
        let to = r.node_id("called id")?;
        let _nonce: Nonce = take(&mut r, "nonce")?;
        r.finish()?;
        let mut challenge = start(CHALLENGE);
        put_hello(&mut challenge, own);
        challenge.extend_from_slice(nonce);
        messages.extend_from_slice(&challenge);
        let transcript = Transcript { secret, messages };
        Ok((
            Self {
                transcript,
                own: own.id,
                to,
                peer,
                lane,
            },
            challenge,
        ))
    }

    /// Takes the Proof.
    pub(super) fn proof(self, message: Bytes) -> Result<AcceptorProven, HandshakeError> {
        let mut r = expect(message, PROOF)?;
        let mac = take(&mut r, "proof")?;
        r.finish()?;
        if !equal(&mac, &self.transcript.mac(Role::Dialer, &[PROOF])) {
            return Err(refuse_secret());
        }
        let proven = AcceptorProven {
            transcript: self.transcript,
            peer: self.peer,
            lane: self.lane,
        };
        if self.to == self.own {
            return Ok(proven);
        }
        let refusal = wrong_id(self.to, self.own);
        let tell = Some(proven.verdict(&Err(refusal.clone())));
        Err(HandshakeError::Refused { refusal, tell })
    }
}

impl AcceptorProven {
    /// Returns our Verdict on the dialer, to send.
    pub(super) fn verdict(&self, verdict: &Result<(), Refusal>) -> Vec<u8> {
        self.transcript.verdict(Role::Acceptor, verdict)
    }

    /// Takes the dialer's Verdict on us.
    pub(super) fn answer(&self, message: Bytes) -> Result<(), HandshakeError> {
        self.transcript.read_verdict(Role::Dialer, message)
    }
}

fn start(kind: u8) -> Vec<u8> {
    let mut message = MAGIC.to_vec();
    message.extend_from_slice(&[VERSION, kind]);
    message
}

/// Reads the start of a message of that kind, or a refusal in its place.
fn expect(message: Bytes, expected: u8) -> Result<Reader, HandshakeError> {
    let mut r = Reader::new(message);
    let magic: [u8; MAGIC.len()] = take(&mut r, "magic")?;
    if magic != MAGIC {
        return Err(DecodeError::Invalid { field: "magic" }.into());
    }
    let version = r.u8("version")?;
    let kind = r.u8("message kind")?;
    if kind == REFUSAL {
        return Err(bare_refusal(version, r.u8("refusal")?));
    }
    if version != VERSION {
        let text = format!(
            "the peer speaks version {version} of the peer protocol and this node version \
             {VERSION}; run versions of Corgi next to each other in one cluster"
        );
        return Err(refuse(RefusalKind::Version, text));
    }
    if kind != expected {
        let value = kind.into();
        return Err(DecodeError::Unknown {
            field: "message kind",
            value,
        }
        .into());
    }
    Ok(r)
}

/// A refusal without proof: anybody may have sent it, so only its number counts.
fn bare_refusal(version: u8, kind: u8) -> HandshakeError {
    let (kind, text) = match RefusalKind::from_number(kind) {
        Some(RefusalKind::Secret) => (
            RefusalKind::Secret,
            "the peer has another cluster-secret than this node".to_owned(),
        ),
        Some(RefusalKind::Version) => (
            RefusalKind::Version,
            format!(
                "the peer speaks version {version} of the peer protocol and refuses version \
                 {VERSION} of this node"
            ),
        ),
        _ => {
            return DecodeError::Unknown {
                field: "refusal",
                value: kind.into(),
            }
            .into();
        }
    };
    HandshakeError::RefusedByPeer(Refusal { kind, text })
}

fn refuse(kind: RefusalKind, text: String) -> HandshakeError {
    let mut tell = start(REFUSAL);
    tell.push(kind as u8);
    HandshakeError::Refused {
        refusal: Refusal { kind, text },
        tell: Some(tell),
    }
}

fn refuse_secret() -> HandshakeError {
    let text = "the peer does not know the cluster-secret of this node; set the same on all nodes";
    refuse(RefusalKind::Secret, text.to_owned())
}

fn wrong_id(called: NodeId, own: NodeId) -> Refusal {
    let mut text = format!("node {called} was called, but node {own} answered; ");
    write!(text, "check the addresses and ids in initial-cluster").expect("a String takes all");
    Refusal {
        kind: RefusalKind::WrongId,
        text,
    }
}

fn lane_number(lane: Lane) -> u8 {
    match lane {
        Lane::Control => 0,
        Lane::Bulk => 1,
        Lane::Snapshot => 2,
    }
}

fn put_hello(out: &mut Vec<u8>, hello: &PeerHello) {
    out.extend_from_slice(&hello.id.get().to_be_bytes());
    out.extend_from_slice(&hello.instance.0.to_be_bytes());
    out.extend_from_slice(&hello.boot.0.to_be_bytes());
    out.extend_from_slice(&hello.nonce.0.to_be_bytes());
    let (formed, cluster, founder) = match hello.formation {
        Some(formation) => (1, formation.cluster.0, formation.founder.get()),
        None => (0, 0, 0),
    };
    out.push(formed);
    out.extend_from_slice(&cluster.to_be_bytes());
    out.extend_from_slice(&founder.to_be_bytes());
}

fn read_hello(r: &mut Reader) -> Result<PeerHello, DecodeError> {
    let id = r.node_id("node id")?;
    let instance = InstanceId(r.u128("instance")?);
    let boot = Boot(r.u64("boot")?);
    let nonce = corgi_base::Nonce(r.u128("process")?);
    let formed = r.u8("formed")?;
    let cluster = ClusterId(r.u128("cluster")?);
    let founder = r.u64("founder")?;
    let formation = match (formed, NodeId::new(founder)) {
        (0, _) => None,
        (1, Some(founder)) => Some(Formation { cluster, founder }),
        _ => return Err(DecodeError::Invalid { field: "formation" }),
    };
    Ok(PeerHello {
        id,
        instance,
        boot,
        nonce,
        formation,
    })
}

fn take<const N: usize>(r: &mut Reader, field: &'static str) -> Result<[u8; N], DecodeError> {
    let mut bytes = [0; N];
    for byte in &mut bytes {
        *byte = r.u8(field)?;
    }
    Ok(bytes)
}

/// Takes the same time wherever the two differ.
fn equal(a: &Proof, b: &Proof) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
