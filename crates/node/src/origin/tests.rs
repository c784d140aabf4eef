//! What goes in which batch, what is sent again, and who is told what.

use super::*;

const TIMEOUT_MS: u64 = 1000;

fn origin() -> Origin {
    let limits = OriginLimits {
        batch_bytes_max: 40,
        in_flight_max: 2,
        pending_bytes_max: 100,
        write_timeout_ms: TIMEOUT_MS,
    };
    let mut origin = Origin::new(Boot(1), limits);
    origin.session = Session::Open;
    origin
}

fn waiter(seq: u64) -> Waiter {
    Waiter {
        client: ClientId(1),
        seq: Seq(seq),
        wants: Wants::One,
        user: UserKey::default(),
    }
}

/// An operation of as many bytes, 9 of which are its frame.
fn op(bytes: usize) -> Op {
    Op::Publish {
        channel: Bytes::new(),
        payload: vec![b'x'; bytes - 9].into(),
    }
}

fn write(origin: &mut Origin, now_ms: u64, seq: u64, bytes: usize) -> bool {
    origin.write(now_ms, waiter(seq), &[op(bytes)])
}

/// Cuts batches, of which none comes too late.
fn cut(origin: &mut Origin, now_ms: u64) {
    assert_eq!(origin.cut(0, now_ms), []);
}

/// Sends all that may be sent; returns numbers and operation counts.
fn send(origin: &mut Origin) -> Vec<(u64, u32)> {
    let mut sent = Vec::new();
    while let Some(batch) = origin.to_send() {
        sent.push((batch.number.0, batch.ops));
        origin.sent();
    }
    sent
}

fn waiters(seqs: impl IntoIterator<Item = u64>) -> Vec<Waiter> {
    seqs.into_iter().map(waiter).collect()
}

/// Writes so many operations of so many bytes as one.
fn write_all(origin: &mut Origin, now_ms: u64, seq: u64, ops: &[usize]) -> bool {
    let wants = Wants::All(u32::try_from(ops.len()).unwrap());
    let ops: Vec<Op> = ops.iter().map(|bytes| op(*bytes)).collect();
    origin.write(
        now_ms,
        Waiter {
            wants,
            ..waiter(seq)
        },
        &ops,
    )
}

#[test]
fn what_was_written_together_is_in_one_batch() {
    let mut origin = origin();
    assert!(write(&mut origin, 0, 0, 20));
    assert!(write_all(&mut origin, 0, 1, &[10, 10, 10]));
    assert!(write(&mut origin, 0, 2, 10));
    assert!(write_all(&mut origin, 0, 3, &[10, 10]));
    cut(&mut origin, 0);
    assert_eq!(send(&mut origin), [(1, 1), (2, 4)], "a group is not split");
    assert_eq!(origin.applied(BatchNumber(1)), waiters([0]));
    let asked: Vec<_> = origin
        .applied(BatchNumber(2))
        .iter()
        .map(|w| w.wants)
        .collect();
    assert_eq!(asked, [Wants::All(3), Wants::One]);
}

#[test]
fn a_group_larger_than_a_batch_has_one_for_itself() {
    let mut origin = origin();
    assert!(
        write_all(&mut origin, 0, 0, &[30; 5]),
        "alone it may be larger than all that may wait"
    );
    assert!(!write(&mut origin, 0, 1, 10));
    cut(&mut origin, 0);
    assert_eq!(send(&mut origin), [(1, 5)]);
    assert_eq!(origin.pending_bytes(), 0);
}

#[test]
fn a_batch_holds_what_waits_up_to_its_limit() {
    let mut origin = origin();
    for seq in 0..5 {
        assert!(write(&mut origin, 0, seq, 20));
    }
    cut(&mut origin, 0);
    assert_eq!(
        send(&mut origin),
        [(1, 2), (2, 2)],
        "the window holds two batches"
    );
    assert_eq!((origin.in_flight(), origin.pending_bytes()), (2, 20));
    assert_eq!(origin.applied(BatchNumber(1)), waiters(0..2));
    cut(&mut origin, 0);
    assert_eq!(send(&mut origin), [(3, 1)]);
}

#[test]
fn an_operation_larger_than_a_batch_goes_alone() {
    let mut origin = origin();
    write(&mut origin, 0, 0, 70);
    write(&mut origin, 0, 1, 20);
    cut(&mut origin, 0);
    assert_eq!(send(&mut origin), [(1, 1), (2, 1)]);
}

#[test]
fn nothing_gets_a_number_before_the_session_is_open() {
    let mut origin = origin();
    origin.session = Session::Closed { asked_ms: None };
    write(&mut origin, 0, 0, 20);
    cut(&mut origin, 0);
    assert_eq!(send(&mut origin), []);
    let expired = origin.expire(TIMEOUT_MS);
    assert_eq!(
        (expired.unsent, expired.unknown),
        (waiters([0]), Vec::new())
    );
    assert!(!origin.is_waited_for());
}

#[test]
fn too_many_waiting_bytes_are_refused_but_never_the_first_operation() {
    let mut origin = origin();
    origin.session = Session::Closed { asked_ms: None };
    assert!(
        write(&mut origin, 0, 0, 300),
        "alone it may be larger than the limit"
    );
    assert!(!write(&mut origin, 0, 1, 20));
    assert_eq!(origin.pending_bytes(), 300);
    origin.expire(TIMEOUT_MS);
    assert!(write(&mut origin, TIMEOUT_MS, 2, 20));
}

#[test]
fn much_younger_operations_wait_for_the_next_batch() {
    let mut origin = origin();
    origin.session = Session::Closed { asked_ms: None };
    write(&mut origin, 0, 0, 10);
    write(&mut origin, TIMEOUT_MS / 4, 1, 10);
    write(&mut origin, TIMEOUT_MS / 4 + 1, 2, 10);
    origin.session = Session::Open;
    cut(&mut origin, 0);
    assert_eq!(send(&mut origin), [(1, 2), (2, 1)]);
}

#[test]
fn rewinding_sends_all_that_is_not_applied_again_in_order() {
    let mut origin = origin();
    (0..4).for_each(|seq| assert!(write(&mut origin, 0, seq, 20)));
    cut(&mut origin, 0);
    assert_eq!(send(&mut origin), [(1, 2), (2, 2)]);
    origin.rewind();
    assert_eq!(send(&mut origin), [(1, 2), (2, 2)]);
    origin.applied(BatchNumber(1));
    origin.rewind();
    assert_eq!(send(&mut origin), [(2, 2)]);
}

#[test]
fn the_same_missing_batch_is_sent_again_once_per_round_trip() {
    let mut origin = origin();
    (0..4).for_each(|seq| assert!(write(&mut origin, 0, seq, 20)));
    cut(&mut origin, 0);
    send(&mut origin);
    origin.rewind_to(BatchNumber(1), 0);
    assert_eq!(send(&mut origin).len(), 2);
    origin.rewind_to(BatchNumber(1), EXPECT_RETRY_MS - 1);
    assert_eq!(send(&mut origin).len(), 0);
    origin.rewind_to(BatchNumber(2), EXPECT_RETRY_MS - 1);
    assert_eq!(send(&mut origin), [(2, 2)]);
    origin.rewind_to(BatchNumber(2), 2 * EXPECT_RETRY_MS);
    assert_eq!(send(&mut origin), [(2, 2)]);
}

#[test]
fn a_number_out_of_range_does_no_harm() {
    let mut origin = origin();
    (0..4).for_each(|seq| assert!(write(&mut origin, 0, seq, 20)));
    cut(&mut origin, 0);
    origin.applied(BatchNumber(1));
    origin.rewind_to(BatchNumber(99), 0);
    assert_eq!(send(&mut origin), [], "the leader says that it has all");
    origin.rewind_to(BatchNumber(0), 0);
    assert_eq!(send(&mut origin), [(2, 2)]);
    origin.applied(BatchNumber(2));
    assert_eq!(
        (send(&mut origin), origin.oldest()),
        (vec![], BatchNumber(3))
    );
}

#[test]
fn what_was_sent_is_unknown_what_was_not_is_refused() {
    let mut origin = origin();
    (0..5).for_each(|seq| assert!(write(&mut origin, 0, seq, 20)));
    cut(&mut origin, 0);
    send(&mut origin);
    assert_eq!(origin.expire(TIMEOUT_MS - 1), Expired::default());
    let expired = origin.expire(TIMEOUT_MS);
    assert_eq!(
        (expired.unknown, expired.unsent),
        (waiters(0..4), waiters([4]))
    );
    assert_eq!(
        origin.expire(2 * TIMEOUT_MS),
        Expired::default(),
        "each is told once"
    );
}

#[test]
fn an_expired_batch_goes_on_empty_and_nobody_is_told_again() {
    let mut origin = origin();
    (0..3).for_each(|seq| assert!(write(&mut origin, 0, seq, 20)));
    cut(&mut origin, 0);
    send(&mut origin);
    origin.expire(TIMEOUT_MS);
    let empty = origin.to_send().expect("it is sent again");
    assert_eq!(
        (empty.number, empty.ops, empty.data),
        (BatchNumber(1), 0, Bytes::new())
    );
    assert_eq!(send(&mut origin), [(1, 0), (2, 0)]);
    // Whichever of the two forms the log has, nobody waits.
    assert_eq!(origin.applied(BatchNumber(1)), []);
}

#[test]
fn a_younger_batch_keeps_its_own_deadline() {
    let mut origin = origin();
    write(&mut origin, 0, 0, 40);
    write(&mut origin, 500, 1, 40);
    cut(&mut origin, 0);
    send(&mut origin);
    assert_eq!(origin.expire(TIMEOUT_MS).unknown, waiters([0]));
    assert_eq!(send(&mut origin), [(1, 0), (2, 1)]);
    assert_eq!(origin.applied(BatchNumber(1)), []);
    assert_eq!(origin.applied(BatchNumber(2)), waiters([1]));
}

#[test]
#[should_panic(expected = "applied in order")]
fn a_batch_out_of_order_is_a_fault_of_the_log() {
    let mut origin = origin();
    (0..4).for_each(|seq| assert!(write(&mut origin, 0, seq, 20)));
    cut(&mut origin, 0);
    origin.applied(BatchNumber(2));
}

#[test]
fn what_is_taken_back_is_written_again_in_order() {
    let mut origin = origin();
    assert!(write(&mut origin, 5, 0, 20));
    assert!(write_all(&mut origin, 5, 1, &[10, 10]));
    assert!(write(&mut origin, 7, 2, 20));
    assert_eq!(origin.cut(3, 9), []);
    assert!(write(&mut origin, 9, 3, 10));
    send(&mut origin);
    let taken = origin.take_back();
    let seqs: Vec<_> = taken.iter().map(|taken| taken.waiter.seq.0).collect();
    assert_eq!(seqs, [0, 1, 2, 3]);
    assert_eq!(taken[1].ops, [op(10), op(10)]);
    assert_eq!((taken[0].since_ms, taken[3].since_ms), (5, 9));
    assert!(origin.take_back().is_empty(), "nothing is taken twice");
    // Their numbers come empty, then the same again under later ones.
    origin.write_again(taken);
    assert!(origin.applied(BatchNumber(1)).is_empty());
    assert_eq!(origin.cut(4, 9), []);
    let next = origin.to_send().expect("a batch");
    assert_eq!((next.number.0, next.ops, next.acl), (3, 3, 4));
}

#[test]
fn a_change_of_users_has_a_batch_for_itself() {
    let mut origin = origin();
    let users = Op::Users(corgi_base::UserChanges::default());
    assert!(write(&mut origin, 0, 0, 10));
    assert!(origin.write(0, waiter(1), &[users]));
    assert!(write(&mut origin, 0, 2, 10));
    cut(&mut origin, 0);
    assert_eq!(send(&mut origin), [(1, 1), (2, 1)]);
    origin.applied(BatchNumber(1));
    cut(&mut origin, 0);
    assert_eq!(send(&mut origin), [(3, 1)]);
}

#[test]
fn batches_that_a_snapshot_has_are_skipped_and_the_next_one_goes_on() {
    let mut origin = origin();
    for seq in 1..=3 {
        assert!(write(&mut origin, 0, seq, 30));
    }
    cut(&mut origin, 0);
    assert_eq!(send(&mut origin), [(1, 1), (2, 1)]);
    origin.rewind();
    assert_eq!(origin.skip_to(BatchNumber(1)), waiters([1]));
    assert_eq!(send(&mut origin), [(2, 1)], "the snapshot does not have it");
    assert_eq!(origin.skip_to(BatchNumber(1)), [], "that is known");
    cut(&mut origin, 0);
    assert_eq!(send(&mut origin), [(3, 1)]);
    assert_eq!(origin.skip_to(BatchNumber(3)), waiters([2, 3]));
    assert_eq!(origin.in_flight(), 0);
}

#[test]
fn what_has_waited_for_long_is_refused_when_its_turn_comes() {
    let mut origin = origin();
    for (seq, now_ms) in [(0, 0), (1, 1), (2, 2), (3, 2)] {
        write(&mut origin, now_ms, seq, 20);
    }
    assert_eq!(origin.cut(0, 751), waiters([0, 1]));
    assert_eq!(send(&mut origin), [(1, 2)]);
    assert_eq!(origin.pending_bytes(), 0);
    // Without a turn it waits to the end.
    write(&mut origin, 800, 4, 20);
    write(&mut origin, 801, 5, 30);
    write(&mut origin, 802, 6, 30);
    cut(&mut origin, 900);
    assert_eq!(origin.cut(0, 1700), [], "the window is full");
    let expired = origin.expire(1802);
    assert_eq!(expired.unsent, waiters([5, 6]));
}

#[test]
fn what_has_waited_for_a_leader_is_not_refused_for_it() {
    let mut origin = origin();
    write(&mut origin, 0, 0, 20);
    origin.led_from(900);
    cut(&mut origin, 901);
    assert_eq!(send(&mut origin), [(1, 1)]);
    // No longer than it may wait at all.
    write(&mut origin, 910, 1, 40);
    write(&mut origin, 911, 2, 40);
    cut(&mut origin, 912);
    origin.led_from(1900);
    assert_eq!(origin.expire(1911).unsent, waiters([2]));
}

/// Writes more than can be taken, for so long, and returns how many were answered with success in time.
fn overload(writes_per_ms: u64, until_ms: u64) -> u64 {
    const ROUND_MS: u64 = 100;
    let limits = OriginLimits {
        batch_bytes_max: 1000,
        in_flight_max: 1,
        pending_bytes_max: usize::MAX,
        write_timeout_ms: TIMEOUT_MS,
    };
    let mut origin = Origin::new(Boot(1), limits);
    origin.session = Session::Open;
    let (mut done_ms, mut number, mut good) = (0, 0, 0);
    for now_ms in 0..until_ms {
        for _ in 0..writes_per_ms {
            write(&mut origin, now_ms, 0, 10);
        }
        origin.expire(now_ms);
        if origin.in_flight() > 0 && now_ms >= done_ms {
            number += 1;
            good += origin.applied(BatchNumber(number)).len() as u64;
        }
        if origin.in_flight() == 0 {
            origin.cut(0, now_ms);
            send(&mut origin);
            done_ms = now_ms + ROUND_MS;
        }
    }
    good
}

#[test]
fn ten_times_too_much_leaves_nearly_as_much_done_as_just_enough() {
    let until_ms = 20 * TIMEOUT_MS;
    let peak = overload(1, until_ms);
    assert!(peak > 19_000, "{peak} of 20000: it is just enough");
    for times in [2, 10] {
        let good = overload(times, until_ms);
        assert!(
            good * 10 > peak * 8,
            "{good} at {times} times, {peak} at its best"
        );
    }
}
