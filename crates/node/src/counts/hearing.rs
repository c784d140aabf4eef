//! What this node has heard of the others' counts, and how long it believes it.

use corgi_base::{Boot, NodeId};
use std::collections::BTreeMap;

/// A node whose link is down is gone after so long, if its system closed it: one that lives is called again, and
/// answers, long before.
const GONE_MS: u64 = 300;
/// If the link ended otherwise, and nothing is heard from it either for so long: more than its vitals take.
const UNHEARD_MS: u64 = 600;
/// A node that should have begun to tell by then has told already, and it got lost.
const ASK_MS: u64 = 300;

/// What is to be done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It begins: what was heard before holds until it is complete, unless it was another process that said so.
    Begins { same_process: bool },
    /// It comes next.
    Next,
    /// It is not for now: it has been taken already, or one before it is missing.
    Not,
    /// Nothing of what came before is known.
    Unknown,
    /// It is late: a newer one has begun.
    Old,
}

#[derive(Clone, Copy, Debug)]
struct Stream {
    boot: Boot,
    number: u64,
    next: u64,
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    stream: Option<Stream>,
    heard_ms: u64,
    /// When its link went down, and whether it was closed.
    down: Option<(u64, bool)>,
    /// When it was last asked, or would have been had it been silent.
    asked_ms: u64,
}

/// All that is heard.
#[derive(Debug)]
pub(crate) struct Hearing {
    /// A node that has been silent for so long is gone.
    silent_ms: u64,
    peers: BTreeMap<NodeId, Peer>,
}

impl Hearing {
    pub(crate) fn new(silent_ms: u64) -> Self {
        Self {
            silent_ms,
            peers: BTreeMap::new(),
        }
    }

    fn peer(&mut self, now_ms: u64, peer: NodeId) -> &mut Peer {
        self.peers.entry(peer).or_insert(Peer {
            stream: None,
            heard_ms: now_ms,
            down: None,
            asked_ms: now_ms,
        })
    }

    /// Anything was heard from a peer.
    pub(crate) fn heard(&mut self, now_ms: u64, peer: NodeId) {
        self.peer(now_ms, peer).heard_ms = now_ms;
    }

    /// The link to a peer is up.
    pub(crate) fn up(&mut self, now_ms: u64, peer: NodeId) {
        let peer = self.peer(now_ms, peer);
        peer.down = None;
        peer.heard_ms = now_ms;
        peer.asked_ms = now_ms;
    }

    /// The link to a peer is down; [`Hearing::hung_up`] may have come before.
    pub(crate) fn down(&mut self, now_ms: u64, peer: NodeId) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.down.get_or_insert((now_ms, false));
        }
    }

    /// A peer's system has closed the link.
    pub(crate) fn hung_up(&mut self, now_ms: u64, peer: NodeId) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.down = Some((now_ms, true));
        }
    }

    /// Judges message `seq` of a stream.
    pub(crate) fn judge(
        &mut self,
        now_ms: u64,
        from: NodeId,
        boot: Boot,
        number: u64,
        seq: u64,
    ) -> Verdict {
        let peer = self.peer(now_ms, from);
        let known = peer.stream.map(|stream| (stream.boot, stream.number));
        match &mut peer.stream {
            Some(stream) if known == Some((boot, number)) => {
                if seq == stream.next {
                    stream.next += 1;
                    Verdict::Next
                } else {
                    Verdict::Not
                }
            }
            Some(_) if known > Some((boot, number)) => Verdict::Old,
            before if seq == 0 => {
                let same_process = before.is_some_and(|stream| stream.boot == boot);
                *before = Some(Stream {
                    boot,
                    number,
                    next: 1,
                });
                Verdict::Begins { same_process }
            }
            _ => Verdict::Unknown,
        }
    }

    /// Returns which message of the current stream must come next.
    pub(crate) fn next(&self, from: NodeId) -> Option<u64> {
        let stream = self.peers.get(&from)?.stream?;
        Some(stream.next)
    }

    /// Returns the nodes that are gone: their counts no longer hold.
    pub(crate) fn gone(&mut self, now_ms: u64) -> Vec<NodeId> {
        let silent_ms = self.silent_ms;
        let gone = |peer: &Peer| match peer.down {
            Some((since_ms, true)) => now_ms >= since_ms + GONE_MS,
            Some((since_ms, false)) => {
                now_ms >= since_ms + GONE_MS && now_ms >= peer.heard_ms + UNHEARD_MS
            }
            None => now_ms >= peer.heard_ms + silent_ms,
        };
        let mut all = Vec::new();
        for (node, peer) in &mut self.peers {
            if gone(peer) && peer.stream.take().is_some() {
                all.push(*node);
            }
        }
        all
    }

    /// Returns the nodes that can be heard, but have not told their counts.
    pub(crate) fn untold(&mut self, now_ms: u64) -> Vec<NodeId> {
        let mut all = Vec::new();
        for (node, peer) in &mut self.peers {
            let can_answer = peer.down.is_none() && now_ms < peer.heard_ms + ASK_MS * 2;
            if peer.stream.is_some() || !can_answer {
                peer.asked_ms = now_ms;
            } else if now_ms >= peer.asked_ms + ASK_MS {
                peer.asked_ms = now_ms;
                all.push(*node);
            }
        }
        all
    }
}
