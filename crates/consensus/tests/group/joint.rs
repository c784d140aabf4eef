//! Leaving a joint configuration is an entry without data, which is easily mistaken for a new leader's empty entry.
//! Corgi proposes no joint changes; a log that holds one must be applied right all the same.

use crate::cluster::{node, roomy_config};
use bytes::Bytes;
use corgi_base::{LogIndex, Term};
use corgi_consensus::mem::MemLog;
use corgi_consensus::storage::{EntryType, HardState, LogEntry, LogWrite, LogWriter as _};
use corgi_consensus::{Committed, Group, GroupStart, MemberChange, Payload};
use protobuf::Message as _;
use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2};
use slog::{Discard, Logger, o};

/// Two learners, added through a joint configuration that is left by an entry of its own.
fn enter() -> Bytes {
    let changes = [2, 3].map(|id| {
        let mut change = ConfChangeSingle::default();
        change.set_change_type(ConfChangeType::AddLearnerNode);
        change.node_id = id;
        change
    });
    let mut enter = ConfChangeV2::default();
    enter.set_transition(ConfChangeTransition::Explicit);
    enter.set_changes(changes.to_vec().into());
    enter
        .write_to_bytes()
        .expect("memory can be written to")
        .into()
}

fn entry(index: u64, data: Bytes) -> LogEntry {
    let (index, term) = (LogIndex(index), Term(1));
    LogEntry {
        index,
        term,
        entry_type: EntryType::ConfChangeV2,
        context: Bytes::new(),
        data,
    }
}

#[test]
fn joint_leave_without_data_is_applied() {
    let disk = MemLog::new();
    let mut writer = disk.writer();
    let entries = vec![entry(1, enter()), entry(2, Bytes::new())];
    let hard_state = HardState {
        term: Term(1),
        vote: Some(node(1)),
        commit: LogIndex(0),
    };
    writer
        .write(&[LogWrite {
            entries,
            hard_state: Some(hard_state),
        }])
        .unwrap();
    let start = GroupStart {
        bounds: writer.bounds().unwrap(),
        applied: LogIndex(0),
        state_lost: false,
        voters: vec![node(1)],
        learners: vec![],
    };
    let log = Logger::root(Discard, o!());
    let mut group = Group::new(&roomy_config(), start, disk.reader(), &log).unwrap();
    group.lead_alone();

    let committed = run(&mut group, &mut writer);
    let members = Payload::Members {
        voters: vec![node(1)],
        learners: vec![node(2), node(3)],
        context: Bytes::new(),
    };
    assert_eq!(committed[0].payload, members);
    assert_eq!(committed[1].payload, members);
    assert_eq!(committed[2].payload, Payload::Empty);
    assert_eq!(committed.len(), 3);

    // Had the group stayed joint, raft would have put an empty entry in the place of this change.
    group
        .propose_change(MemberChange::Remove(node(3)), Bytes::new())
        .unwrap();
    let committed = run(&mut group, &mut writer);
    let members = Payload::Members {
        voters: vec![node(1)],
        learners: vec![node(2)],
        context: Bytes::new(),
    };
    assert_eq!(committed[0].payload, members);
}

fn run(
    group: &mut Group<corgi_consensus::mem::MemLogReader>,
    writer: &mut corgi_consensus::mem::MemLogWriter,
) -> Vec<Committed> {
    let mut committed = Vec::new();
    while let Some(work) = group.work() {
        committed.extend(work.committed);
        if let Some(persist) = work.persist {
            writer
                .write(&[persist.write])
                .expect("a disk in memory does not fail");
            drop(group.persisted(persist.token));
        }
        if let Some(last) = committed.last() {
            group.applied(last.index);
        }
    }
    committed
}
