//! When a subscription may count.

use super::*;

const RETRY_MS: u64 = 100;
/// Beyond the times of the tests that are not about it.
const PROBE_MS: u64 = 10_000;

fn reads() -> Reads {
    let mut reads = Reads::new(NodeId::new(1).expect("not 0"), Boot(1), RETRY_MS, PROBE_MS);
    let probe = question(&mut reads, 0);
    reads.grant(grant(probe, 0));
    reads
}

fn read(client: u64, deadline_ms: u64) -> Waiting {
    Waiting::Subscription(Read {
        client: ClientId(client),
        seq: Seq(0),
        kind: SubscriptionKind::Channel,
        names: vec![Bytes::from_static(b"a")],
        deadline_ms,
        announced: Vec::new(),
        told: Until::default(),
    })
}

fn clients(reads: &[Waiting]) -> Vec<u64> {
    reads.iter().map(|read| read.client().0).collect()
}

fn question(reads: &mut Reads, now_ms: u64) -> ReadId {
    let id = reads.wants_question(now_ms).expect("somebody waits");
    reads.asked(now_ms, id);
    id
}

fn grant(id: ReadId, index: u64) -> ReadGrant {
    ReadGrant {
        id,
        index: LogIndex(index),
    }
}

#[test]
fn one_question_serves_all_that_were_asked_before_it() {
    let mut reads = reads();
    assert_eq!(reads.wants_question(0), None);
    reads.ask(read(1, 900));
    reads.ask(read(2, 900));
    let first = question(&mut reads, 0);
    reads.ask(read(3, 900));
    assert_eq!(reads.wants_question(1), None, "one is under way");
    reads.grant(grant(first, 5));
    assert_eq!(
        reads.take_ready(LogIndex(4)),
        [],
        "its position is not applied"
    );
    let second = question(&mut reads, 2);
    assert_eq!(clients(&reads.take_ready(LogIndex(5))), [1, 2]);
    reads.grant(grant(second, 5));
    assert_eq!(clients(&reads.take_ready(LogIndex(5))), [3]);
}

#[test]
fn a_lost_question_is_asked_again_under_another_id() {
    let mut reads = reads();
    reads.ask(read(1, 900));
    let lost = question(&mut reads, 0);
    reads.ask(read(2, 900));
    assert_eq!(reads.wants_question(RETRY_MS - 1), None);
    let again = question(&mut reads, RETRY_MS);
    assert_ne!(lost, again);
    reads.grant(grant(again, 2));
    assert_eq!(clients(&reads.take_ready(LogIndex(9))), [1]);
    let third = question(&mut reads, RETRY_MS);
    reads.grant(grant(again, 2));
    assert_eq!(
        reads.take_ready(LogIndex(9)),
        [],
        "it was asked before read 2"
    );
    reads.grant(grant(third, 3));
    assert_eq!(clients(&reads.take_ready(LogIndex(9))), [2]);
}

#[test]
fn a_round_trip_that_is_longer_than_the_wait_is_answered_nevertheless() {
    let mut reads = reads();
    reads.ask(read(1, 900));
    let asked: Vec<ReadId> = (0..4).map(|k| question(&mut reads, k * RETRY_MS)).collect();
    reads.grant(grant(asked[0], 1));
    assert_eq!(clients(&reads.take_ready(LogIndex(9))), [1]);
    assert_eq!(reads.confirmed_ms(), Some(0));
}

#[test]
fn an_id_that_was_never_asked_is_not_used_up() {
    let mut reads = reads();
    reads.ask(read(1, 900));
    let id = reads.wants_question(0);
    assert_eq!(reads.wants_question(0), id, "raft did not take it");
}

#[test]
fn a_read_expires_wherever_it_is() {
    let mut reads = reads();
    reads.ask(read(1, 10));
    let granted = question(&mut reads, 0);
    reads.grant(grant(granted, 99));
    reads.ask(read(2, 20));
    question(&mut reads, 0);
    reads.ask(read(3, 30));
    assert_eq!(clients(&reads.expire(10)), [1]);
    assert_eq!(clients(&reads.expire(20)), [2]);
    assert_eq!(clients(&reads.expire(30)), [3]);
    assert_eq!(reads.take_ready(LogIndex(100)), []);
    assert_eq!(reads.give_up(), [], "nobody waits any more");
}

#[test]
fn a_closed_client_is_forgotten_wherever_its_read_is() {
    for step in 0..3 {
        let mut reads = reads();
        reads.ask(read(1, 900));
        reads.ask(read(2, 900));
        let id = (step > 0).then(|| question(&mut reads, 0));
        if let Some(id) = id.filter(|_| step > 1) {
            reads.grant(grant(id, 1));
        }
        reads.forget(ClientId(1));
        if step < 2 {
            let id = id.unwrap_or_else(|| question(&mut reads, 0));
            reads.grant(grant(id, 1));
        }
        assert_eq!(clients(&reads.take_ready(LogIndex(1))), [2], "step {step}");
    }
}

#[test]
fn a_question_is_asked_now_and_then_although_nobody_reads() {
    let mut reads = reads();
    assert_eq!(reads.confirmed_ms(), Some(0));
    assert_eq!(reads.wants_question(PROBE_MS - 1), None);
    let lost = question(&mut reads, PROBE_MS);
    let again = question(&mut reads, PROBE_MS + RETRY_MS);
    assert_ne!(lost, again);
    assert_eq!(reads.confirmed_ms(), Some(0), "nobody has answered");
    reads.grant(grant(again, 1));
    let asked = PROBE_MS + RETRY_MS;
    assert_eq!(
        reads.confirmed_ms(),
        Some(asked),
        "when it was asked, not answered"
    );
    assert_eq!(reads.take_ready(LogIndex(1)), []);
}

#[test]
fn only_reads_without_a_position_are_given_up() {
    let mut reads = reads();
    reads.ask(read(1, 900));
    let first = question(&mut reads, 1);
    reads.grant(grant(first, 5));
    reads.ask(read(2, 900));
    question(&mut reads, 2);
    reads.ask(read(3, 900));
    assert_eq!(clients(&reads.give_up()), [3, 2]);
    assert_eq!(clients(&reads.take_ready(LogIndex(5))), [1]);
}

#[test]
fn who_would_wait_can_be_told_to_stop_before_it_is_known_what_there_is() {
    let mut reads = reads();
    let wait = |client, until_ms| {
        Waiting::Keys(KeyRead {
            client: ClientId(client),
            seq: Seq(client + 10),
            query: KeyQuery::Versions(Vec::new()),
            deadline_ms: 1000,
            until_ms,
        })
    };
    reads.ask(wait(1, None));
    reads.ask(wait(2, Some(u64::MAX)));
    question(&mut reads, 0);
    assert_eq!(reads.take_waiting(ClientId(1)), None, "it does not wait");
    assert_eq!(reads.take_waiting(ClientId(2)), Some(Seq(12)));
    assert_eq!(reads.take_waiting(ClientId(2)), None);
    assert_eq!(clients(&reads.give_up()), [1]);
}
