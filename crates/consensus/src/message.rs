//! Raft messages as opaque bytes for the transport.

use bytes::Bytes;
use corgi_base::NodeId;
use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};
use std::fmt;

/// One Raft message to a peer. Only the group makes these, and it lets them out only when they may be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Whom it is for.
    pub to: NodeId,
    /// Whether it carries entries: it then travels apart from heartbeats and votes, which must not wait behind it.
    pub bulk: bool,
    /// The message; only another group reads it.
    pub bytes: Bytes,
    summary: Summary,
}

/// What logs and golden scripts show of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Summary {
    kind: MessageType,
    term: u64,
    log_term: u64,
    index: u64,
    commit: u64,
    entries: usize,
    reject: bool,
    /// The entry of the snapshot that is offered or asked for; 0 if none is.
    snapshot: u64,
}

impl Envelope {
    /// Returns `None` for a message to nobody.
    pub(crate) fn new(message: &Message) -> Option<Self> {
        let to = NodeId::new(message.to)?;
        let kind = message.get_msg_type();
        let bytes = message
            .write_to_bytes()
            .expect("a message in memory can be written to memory");
        Some(Self {
            to,
            bulk: kind == MessageType::MsgAppend && !message.entries.is_empty(),
            bytes: bytes.into(),
            summary: Summary {
                kind,
                term: message.term,
                log_term: message.log_term,
                index: message.index,
                commit: message.commit,
                entries: message.entries.len(),
                reject: message.reject,
                snapshot: match kind {
                    MessageType::MsgSnapshot => message.get_snapshot().get_metadata().index,
                    _ => message.request_snapshot,
                },
            },
        })
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = &self.summary;
        write!(
            f,
            "→ {:?} {} term={}",
            self.to,
            &format!("{:?}", s.kind)[3..],
            s.term
        )?;
        match s.kind {
            MessageType::MsgAppend => {
                write!(
                    f,
                    " prev={}@{} entries={} commit={}",
                    s.index, s.log_term, s.entries, s.commit
                )
            }
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => {
                write!(f, " last={}@{}", s.index, s.log_term)
            }
            MessageType::MsgAppendResponse if s.snapshot > 0 => {
                write!(f, " wants a snapshot of {}", s.snapshot)
            }
            MessageType::MsgAppendResponse if s.reject => write!(f, " reject at={}", s.index),
            MessageType::MsgSnapshot => write!(f, " of {}", s.snapshot),
            MessageType::MsgAppendResponse => write!(f, " match={}", s.index),
            MessageType::MsgRequestVoteResponse | MessageType::MsgRequestPreVoteResponse => {
                write!(f, " {}", if s.reject { "reject" } else { "grant" })
            }
            MessageType::MsgHeartbeat => write!(f, " commit={}", s.commit),
            MessageType::MsgReadIndexResp => write!(f, " index={}", s.index),
            MessageType::MsgHup
            | MessageType::MsgBeat
            | MessageType::MsgPropose
            | MessageType::MsgHeartbeatResponse
            | MessageType::MsgUnreachable
            | MessageType::MsgSnapStatus
            | MessageType::MsgCheckQuorum
            | MessageType::MsgTransferLeader
            | MessageType::MsgTimeoutNow
            | MessageType::MsgReadIndex => Ok(()),
        }
    }
}

/// Whether a follower asks for a snapshot with this message, which then also says where its log ends.
pub(crate) fn asks_for_snapshot(message: &Message) -> bool {
    message.get_msg_type() == MessageType::MsgAppendResponse
        && message.request_snapshot != raft::INVALID_INDEX
}

/// Whether a message is a promise about this node's disk (an append is accepted, a vote is given), so that it must not
/// leave before the disk has what is promised. The others say only what term the sender is in: while no change of term
/// or vote is on its way to the disk they may leave at once, and must, because a leader counts them as signs of life
/// while a disk stalls.
pub(crate) fn promises_durability(message: &Message) -> bool {
    match message.get_msg_type() {
        MessageType::MsgHeartbeat
        | MessageType::MsgHeartbeatResponse
        | MessageType::MsgReadIndex
        | MessageType::MsgReadIndexResp
        | MessageType::MsgRequestPreVote
        | MessageType::MsgRequestPreVoteResponse
        | MessageType::MsgTransferLeader => false,
        // Who asks for a snapshot says what it has in its log, too.
        MessageType::MsgAppendResponse => !message.reject || asks_for_snapshot(message),
        MessageType::MsgHup
        | MessageType::MsgBeat
        | MessageType::MsgPropose
        | MessageType::MsgAppend
        | MessageType::MsgRequestVote
        | MessageType::MsgRequestVoteResponse
        | MessageType::MsgSnapshot
        | MessageType::MsgUnreachable
        | MessageType::MsgSnapStatus
        | MessageType::MsgCheckQuorum
        | MessageType::MsgTimeoutNow => true,
    }
}

/// Why a message is not for raft-rs, which takes it from anybody and may then panic: none of ours sends these.
pub(crate) fn refusal(message: &Message) -> Option<&'static str> {
    match message.get_msg_type() {
        MessageType::MsgPropose => Some("batches are forwarded by the node, not by raft"),
        MessageType::MsgTransferLeader => Some("only a leader's own node asks it to hand over"),
        MessageType::MsgReadIndex if message.entries.len() != 1 => Some("a read has one context"),
        MessageType::MsgReadIndex
        | MessageType::MsgReadIndexResp
        | MessageType::MsgHup
        | MessageType::MsgBeat
        | MessageType::MsgAppend
        | MessageType::MsgAppendResponse
        | MessageType::MsgRequestVote
        | MessageType::MsgRequestVoteResponse
        | MessageType::MsgSnapshot
        | MessageType::MsgHeartbeat
        | MessageType::MsgHeartbeatResponse
        | MessageType::MsgUnreachable
        | MessageType::MsgSnapStatus
        | MessageType::MsgCheckQuorum
        | MessageType::MsgTimeoutNow
        | MessageType::MsgRequestPreVote
        | MessageType::MsgRequestPreVoteResponse => None,
    }
}
