//! What a new leader knows from its log.

use super::*;
use corgi_base::{ClusterId, LogIndex, Nonce, Op};

const fn node(id: u64) -> NodeId {
    match NodeId::new(id) {
        Some(node) => node,
        None => panic!("nodes are counted from 1"),
    }
}

const N1: NodeId = node(1);
const N2: NodeId = node(2);

fn bootstrap() -> EntryHead {
    let member = |id: u64| Member {
        id: node(id),
        instance: InstanceId(id.into()),
        addr: Bytes::from_static(b"h:1"),
    };
    EntryHead::Bootstrap {
        cluster: ClusterId(1),
        members: vec![member(1), member(2)],
    }
}

fn session(id: u64, boot: u64) -> EntryHead {
    EntryHead::OpenSession {
        node: node(id),
        instance: InstanceId(id.into()),
        boot: Boot(boot),
        nonce: Nonce(boot.into()),
    }
}

fn batch(origin: NodeId, boot: u64, number: u64, ops: u32, ms: u64) -> EntryHead {
    EntryHead::Batch(BatchHead {
        origin,
        boot: Boot(boot),
        number: BatchNumber(number),
        ops,
        stamp: MessageId { ms, seq: 0 },
        acl: 0,
    })
}

/// Returns the state after these entries.
fn state(entries: &[EntryHead]) -> State {
    let mut state = State::new(N1);
    for (index, head) in (1..).zip(entries) {
        let mut data = Vec::new();
        if let EntryHead::Batch(head) = head {
            let op = Op::Publish {
                channel: Bytes::new(),
                payload: Bytes::new(),
            };
            (0..head.ops).for_each(|_| op.encode(&mut data));
        }
        let applied = state.apply(LogIndex(index), Term(1), head.encode(), data.into());
        applied.expect("the entries are in order");
    }
    state
}

/// Returns what a leader knows that has applied `applied` and has `tail` in its log besides.
fn leading(applied: &[EntryHead], tail: &[EntryHead]) -> (Leading, State) {
    let state = state(applied);
    let contexts = tail.iter().map(EntryHead::encode);
    (Leading::new(Term(2), &state, contexts), state)
}

fn judge(leading: &Leading, boot: u64, number: u64) -> Verdict {
    leading.judge(N2, Boot(boot), BatchNumber(number))
}

fn wall(wall_ms: u64) -> Now {
    Now {
        mono_ms: 0,
        wall_ms,
    }
}

#[test]
fn numbers_go_on_where_the_whole_log_ends() {
    let applied = [bootstrap(), session(2, 1), batch(N2, 1, 1, 1, 5)];
    let (leading, _) = leading(&applied, &[batch(N2, 1, 2, 1, 6), batch(N2, 1, 3, 0, 7)]);
    assert_eq!(judge(&leading, 1, 1), Verdict::Appended);
    assert_eq!(judge(&leading, 1, 3), Verdict::Appended);
    assert_eq!(judge(&leading, 1, 4), Verdict::Next);
    assert_eq!(judge(&leading, 1, 6), Verdict::Expect(BatchNumber(4)));
}

#[test]
fn a_session_in_the_tail_fences_the_older_boot() {
    let applied = [bootstrap(), session(2, 1), batch(N2, 1, 1, 1, 5)];
    let (leading, state) = leading(&applied, &[session(2, 2)]);
    assert_eq!(judge(&leading, 1, 2), Verdict::NoSession);
    assert_eq!(judge(&leading, 2, 1), Verdict::Next);
    assert!(
        !leading.may_open(&state, N2, InstanceId(2), Boot(2)),
        "it is in the log"
    );
    assert!(leading.may_open(&state, N2, InstanceId(2), Boot(3)));
}

#[test]
fn a_session_counts_though_its_member_is_bound_only_in_the_tail() {
    let tail = [
        bootstrap(),
        session(2, 1),
        batch(N2, 1, 1, 1, 5),
        session(2, 2),
        session(1, 1),
    ];
    let (leading, state) = leading(&[], &tail);
    assert_eq!(
        judge(&leading, 1, 2),
        Verdict::NoSession,
        "apply would refuse it"
    );
    assert_eq!(judge(&leading, 2, 1), Verdict::Next);
    assert_eq!(leading.judge(N1, Boot(1), BatchNumber(1)), Verdict::Next);
    assert!(
        !leading.may_open(&state, N2, InstanceId(9), Boot(3)),
        "another data folder"
    );
}

#[test]
fn only_members_with_their_own_folder_and_a_later_boot_open_sessions() {
    let (mut leading, state) = leading(&[bootstrap(), session(2, 5)], &[]);
    assert!(!leading.may_open(&state, node(3), InstanceId(3), Boot(1)));
    assert!(!leading.may_open(&state, N2, InstanceId(3), Boot(6)));
    assert!(!leading.may_open(&state, N2, InstanceId(2), Boot(5)));
    assert!(leading.may_open(&state, N2, InstanceId(2), Boot(6)));
    leading.appended_session(&state, N2, InstanceId(2), Boot(4));
    assert_eq!(
        judge(&leading, 5, 1),
        Verdict::Next,
        "a refused request changes nothing"
    );
    assert_eq!(
        leading.judge(N1, Boot(1), BatchNumber(1)),
        Verdict::NoSession
    );
}

#[test]
fn entries_without_a_head_are_passed_over() {
    let state = state(&[bootstrap(), session(2, 1)]);
    let contexts = [
        Bytes::new(),
        batch(N2, 1, 1, 1, 5).encode(),
        Bytes::from_static(b"\xff"),
    ];
    let leading = Leading::new(Term(2), &state, contexts.into_iter());
    assert_eq!(judge(&leading, 1, 2), Verdict::Next);
}

#[test]
fn stamps_never_go_back_over_a_clock_jump() {
    let (mut leading, _) = leading(&[bootstrap(), session(2, 1)], &[batch(N2, 1, 1, 3, 100)]);
    let mut last = MessageId { ms: 100, seq: 2 };
    for (number, clock) in (2..).zip([50, 100, 101, 7, 101, 1000, 0]) {
        let stamp = leading.stamp(wall(clock), Some(clock));
        assert!(stamp > last, "{stamp} after {last} at {clock}");
        let head = BatchHead {
            origin: N2,
            boot: Boot(1),
            number: BatchNumber(number),
            ops: 4,
            stamp,
            acl: 0,
        };
        leading.appended_batch(&head);
        last = MessageId {
            ms: stamp.ms,
            seq: stamp.seq + 3,
        };
    }
    // No time has passed on the monotonic clock, so that no jump of the others moves log time.
    assert_eq!(last, MessageId { ms: 100, seq: 30 });
}

#[test]
fn an_empty_batch_takes_no_id() {
    let (mut leading, _) = leading(&[bootstrap(), session(2, 1)], &[]);
    let stamp = leading.stamp(wall(100), Some(100));
    let EntryHead::Batch(head) = batch(N2, 1, 1, 0, stamp.ms) else {
        unreachable!()
    };
    leading.appended_batch(&head);
    assert_eq!(leading.stamp(wall(100), Some(100)), stamp);
    assert_eq!(judge(&leading, 1, 2), Verdict::Next);
}
