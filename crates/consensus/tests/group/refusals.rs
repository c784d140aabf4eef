//! What a group does not take: logs that lost something, and messages that no group of ours sends.

use crate::cluster::{node, roomy_config};
use bytes::Bytes;
use corgi_base::{LogIndex, Term};
use corgi_consensus::mem::{MemLog, MemLogReader};
use corgi_consensus::storage::{HardState, LogBounds, LogWriter as _};
use corgi_consensus::{Group, GroupStart, StartError, StepError};
use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};
use slog::{Discard, Logger, o};

fn start(bounds: LogBounds, applied: u64) -> Result<Group<MemLogReader>, StartError> {
    let (voters, learners) = (vec![node(1), node(2), node(3)], vec![]);
    let start = GroupStart {
        bounds,
        applied: LogIndex(applied),
        state_lost: false,
        voters,
        learners,
    };
    Group::new(
        &roomy_config(),
        start,
        MemLog::new().reader(),
        &Logger::root(Discard, o!()),
    )
}

fn bounds(truncated: u64, last: u64) -> LogBounds {
    LogBounds {
        hard_state: HardState {
            term: Term(3),
            vote: None,
            commit: LogIndex(last),
        },
        truncated_index: LogIndex(truncated),
        truncated_term: Term(1),
        last_index: LogIndex(last),
        last_term: Term(3),
        installing: false,
    }
}

#[test]
fn state_ahead_of_the_log_is_refused() {
    let (applied, last) = (LogIndex(6), LogIndex(5));
    let error = start(bounds(2, 5), 6).unwrap_err();
    assert_eq!(error, StartError::AppliedBeyondLog { applied, last });
}

#[test]
fn state_behind_the_log_is_refused() {
    let (applied, truncated) = (LogIndex(1), LogIndex(2));
    let error = start(bounds(2, 5), 1).unwrap_err();
    assert_eq!(error, StartError::AppliedBeforeLog { applied, truncated });
}

#[test]
fn log_without_its_committed_end_is_refused() {
    let mut bounds = bounds(2, 5);
    bounds.hard_state.commit = LogIndex(7);
    let error = start(bounds, 3).unwrap_err();
    assert_eq!(
        error,
        StartError::CommitBeyondLog {
            commit: LogIndex(7),
            last: LogIndex(5)
        }
    );
}

#[test]
fn log_without_its_hard_state_is_refused() {
    let mut bounds = bounds(2, 5);
    bounds.hard_state = HardState::default();
    let error = start(bounds, 3).unwrap_err();
    assert_eq!(
        error,
        StartError::TermBehindLog {
            term: Term(0),
            last_term: Term(3)
        }
    );
}

#[test]
fn stored_commit_may_lag_behind_applied() {
    let mut bounds = bounds(2, 5);
    bounds.hard_state.commit = LogIndex(3);
    assert_eq!(start(bounds, 5).unwrap().status().commit_index, LogIndex(5));
}

fn fresh() -> Group<MemLogReader> {
    let empty = MemLog::new()
        .writer()
        .bounds()
        .expect("a log in memory can be read");
    start(empty, 0).expect("an empty log is a fine start")
}

fn message(kind: MessageType, from: u64, to: u64) -> Bytes {
    let mut message = Message::default();
    message.set_msg_type(kind);
    (message.from, message.to) = (from, to);
    message
        .write_to_bytes()
        .expect("memory can be written to")
        .into()
}

#[test]
fn messages_that_are_not_what_the_transport_says_are_refused() {
    let mut group = fresh();
    let garbage = Bytes::from_static(b"\xff\xff\xff");
    assert!(matches!(
        group.step(node(2), &garbage),
        Err(StepError::Malformed(_))
    ));
    for (from, to) in [(3, 1), (2, 3), (0, 1), (2, 0)] {
        let bytes = message(MessageType::MsgHeartbeat, from, to);
        let node = node(2);
        assert!(matches!(
            group.step(node, &bytes),
            Err(StepError::WrongAddress { .. })
        ));
    }
}

#[test]
fn messages_that_no_group_sends_are_refused() {
    let mut group = fresh();
    for kind in [
        MessageType::MsgHup,
        MessageType::MsgBeat,
        MessageType::MsgPropose,
        // One without a file.
        MessageType::MsgSnapshot,
        MessageType::MsgReadIndex,
        MessageType::MsgTransferLeader,
        MessageType::MsgCheckQuorum,
        MessageType::MsgUnreachable,
        MessageType::MsgSnapStatus,
    ] {
        let error = group.step(node(2), &message(kind, 2, 1)).unwrap_err();
        assert!(matches!(error, StepError::Refused(_)), "{kind:?}: {error}");
        assert!(group.work().is_none(), "{kind:?} made work");
    }
}

#[test]
fn answers_of_strangers_are_refused() {
    let bytes = message(MessageType::MsgAppendResponse, 9, 1);
    assert!(matches!(
        fresh().step(node(9), &bytes),
        Err(StepError::Refused(_))
    ));
}

#[test]
fn lost_state_starts_as_one_that_neither_leads_nor_applies() {
    let start = GroupStart {
        bounds: bounds(5, 5),
        applied: LogIndex(0),
        state_lost: true,
        // Whatever a state before the first entry says: it must not make this node its cluster's only voter.
        voters: vec![node(1)],
        learners: vec![],
    };
    let log = Logger::root(Discard, o!());
    let mut group = Group::new(&roomy_config(), start, MemLog::new().reader(), &log).unwrap();
    group.lead_alone();
    (0..50).for_each(|_| group.tick());
    group.campaign();
    assert!(group.state_lost() && !group.status().voter);
    assert_eq!(group.status().commit_index, LogIndex(5));
    assert!(group.work().is_none());
}
