//! What Raft messages promise and entries change, for the simulator: the proof that a promise holds
//! lies in the sender's durable image, which only the simulator sees.

use crate::message::Envelope;
use crate::storage::{EntryType, LogEntry};
use crate::work::MemberChange;
use bytes::Bytes;
use corgi_base::{LogIndex, NodeId, Term};
use protobuf::Message as _;
use raft::eraftpb::{ConfChange, ConfChangeType, Message, MessageType};

/// What the sender of a message must have on disk when the message leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// It voted for `candidate` in `term`.
    Vote {
        /// The term.
        term: Term,
        /// Who has the vote; the sender itself when it asks for votes.
        candidate: NodeId,
    },
    /// Its log agrees with the leader's of `term` up to `index`.
    Append {
        /// The term.
        term: Term,
        /// The last entry accepted.
        index: LogIndex,
    },
    /// It is in `term`.
    Term(Term),
    /// Nothing: a question before an election binds nobody.
    Nothing,
}

/// Returns what a message sent by `from` promises, or `None` if the bytes are no Raft message.
pub fn promise(from: NodeId, bytes: &Bytes) -> Option<Promise> {
    let message = Message::parse_from_carllerche_bytes(bytes).ok()?;
    let term = Term(message.term);
    let granted = !message.reject;
    Some(match message.get_msg_type() {
        MessageType::MsgRequestPreVote | MessageType::MsgRequestPreVoteResponse => Promise::Nothing,
        MessageType::MsgRequestVote => Promise::Vote {
            term,
            candidate: from,
        },
        MessageType::MsgRequestVoteResponse if granted => Promise::Vote {
            term,
            candidate: NodeId::new(message.to)?,
        },
        MessageType::MsgAppendResponse if granted => Promise::Append {
            term,
            index: LogIndex(message.index),
        },
        MessageType::MsgHup
        | MessageType::MsgBeat
        | MessageType::MsgPropose
        | MessageType::MsgAppend
        | MessageType::MsgAppendResponse
        | MessageType::MsgRequestVoteResponse
        | MessageType::MsgSnapshot
        | MessageType::MsgHeartbeat
        | MessageType::MsgHeartbeatResponse
        | MessageType::MsgUnreachable
        | MessageType::MsgSnapStatus
        | MessageType::MsgCheckQuorum
        | MessageType::MsgTransferLeader
        | MessageType::MsgTimeoutNow
        | MessageType::MsgReadIndex
        | MessageType::MsgReadIndexResp => Promise::Term(term),
    })
}

/// Returns what an entry of the log changes about the members, if it does.
pub fn change(entry: &LogEntry) -> Option<MemberChange> {
    if entry.entry_type != EntryType::ConfChange {
        return None;
    }
    let change = ConfChange::parse_from_carllerche_bytes(&entry.data).ok()?;
    let node = NodeId::new(change.node_id)?;
    Some(match change.get_change_type() {
        ConfChangeType::AddNode => MemberChange::AddVoter(node),
        ConfChangeType::AddLearnerNode => MemberChange::AddLearner(node),
        ConfChangeType::RemoveNode => MemberChange::Remove(node),
    })
}

/// Returns the data of an entry that makes a change of the members.
///
/// # Panics
/// Never: a message in memory can be written to memory.
pub fn encode_change(change: MemberChange) -> Bytes {
    let (kind, node) = match change {
        MemberChange::AddLearner(node) => (ConfChangeType::AddLearnerNode, node),
        MemberChange::AddVoter(node) => (ConfChangeType::AddNode, node),
        MemberChange::Remove(node) => (ConfChangeType::RemoveNode, node),
    };
    let mut message = ConfChange::default();
    message.set_change_type(kind);
    message.node_id = node.get();
    let bytes = message.write_to_bytes();
    bytes
        .expect("a message in memory can be written to memory")
        .into()
}

/// Returns the text that logs show of a message, for traces.
pub fn describe(bytes: &Bytes) -> String {
    Message::parse_from_carllerche_bytes(bytes)
        .ok()
        .and_then(|message| Envelope::new(&message))
        .map_or_else(|| "no Raft message".to_owned(), |e| format!("{e:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_the_members_is_read_from_its_entry() {
        let mut entry = LogEntry {
            index: LogIndex(1),
            term: Term(1),
            entry_type: EntryType::ConfChange,
            context: Bytes::new(),
            data: Bytes::new(),
        };
        let three = NodeId::new(3).unwrap();
        for made in [
            MemberChange::AddLearner(three),
            MemberChange::AddVoter(three),
            MemberChange::Remove(three),
        ] {
            entry.data = encode_change(made);
            assert_eq!(change(&entry), Some(made));
        }
        entry.entry_type = EntryType::Normal;
        assert_eq!(change(&entry), None);
    }

    fn encode(kind: MessageType, reject: bool) -> Bytes {
        let mut message = Message::default();
        message.set_msg_type(kind);
        message.to = 2;
        message.term = 7;
        message.index = 9;
        message.reject = reject;
        message.write_to_bytes().unwrap().into()
    }

    #[test]
    fn votes_and_accepted_entries_are_promises() {
        let me = NodeId::new(1).unwrap();
        let of = |kind, reject| promise(me, &encode(kind, reject)).unwrap();
        let term = Term(7);
        let vote = |candidate| Promise::Vote {
            term,
            candidate: NodeId::new(candidate).unwrap(),
        };
        assert_eq!(of(MessageType::MsgRequestVoteResponse, false), vote(2));
        assert_eq!(of(MessageType::MsgRequestVote, false), vote(1));
        let index = LogIndex(9);
        let append = Promise::Append { term, index };
        assert_eq!(of(MessageType::MsgAppendResponse, false), append);
        for (kind, reject) in [
            (MessageType::MsgAppendResponse, true),
            (MessageType::MsgRequestVoteResponse, true),
            (MessageType::MsgAppend, false),
        ] {
            assert_eq!(of(kind, reject), Promise::Term(term));
        }
        let asked = of(MessageType::MsgRequestPreVote, false);
        assert_eq!(asked, Promise::Nothing);
        assert_eq!(promise(me, &Bytes::from_static(b"\xff")), None);
    }
}
