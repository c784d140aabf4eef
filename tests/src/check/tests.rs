//! Every rule, broken once.

use super::*;
use proptest::prelude::*;

fn publisher(attempts: &[(&str, Outcome, u32)]) -> PublisherHistory {
    PublisherHistory {
        name: "p".to_owned(),
        attempts: attempts
            .iter()
            .map(|&(payload, outcome, connection)| Attempt {
                payload: payload.to_owned(),
                outcome,
                connection,
            })
            .collect(),
    }
}

fn acknowledged(payloads: &[&str]) -> PublisherHistory {
    let attempts: Vec<_> = payloads
        .iter()
        .map(|payload| (*payload, Outcome::Acknowledged, 0))
        .collect();
    publisher(&attempts)
}

fn subscriber(name: &str, complete: bool, received: &[&str]) -> SubscriberHistory {
    SubscriberHistory {
        name: name.to_owned(),
        received: received
            .iter()
            .map(|payload| (*payload).to_owned())
            .collect(),
        complete,
    }
}

#[test]
fn a_flawless_run_has_no_violations() {
    let publishers = [
        publisher(&[
            ("a1", Outcome::Acknowledged, 0),
            ("a2", Outcome::Unknown, 0),
            ("a3", Outcome::Refused, 1),
            ("a4", Outcome::Unknown, 1),
        ]),
        acknowledged(&["b1", "b2"]),
    ];
    let subscribers = [
        subscriber("s1", true, &["b1", "a1", "a2", "b2"]),
        subscriber("s2", true, &["b1", "a1", "a2", "b2"]),
        subscriber("killed", false, &["b1", "a1"]),
        subscriber("late", false, &["a2", "b2"]),
        subscriber("never saw one", false, &[]),
    ];
    assert_eq!(check(&publishers, &subscribers), []);
}

#[test]
fn an_acknowledged_message_that_is_missing_is_lost() {
    let found = check(
        &[acknowledged(&["a1", "a2"])],
        &[subscriber("s", true, &["a1"])],
    );
    assert_eq!(
        found,
        [Violation::Lost {
            subscriber: "s".into(),
            payload: "a2".into()
        }]
    );
}

#[test]
fn a_message_that_arrives_twice_is_a_duplicate() {
    let found = check(
        &[acknowledged(&["a1"])],
        &[subscriber("s", true, &["a1", "a1"])],
    );
    assert_eq!(
        found,
        [Violation::Duplicate {
            subscriber: "s".into(),
            payload: "a1".into()
        }]
    );
}

#[test]
fn a_message_of_unknown_fate_may_not_arrive_twice_either() {
    let publishers = [publisher(&[("a1", Outcome::Unknown, 0)])];
    let found = check(&publishers, &[subscriber("s", true, &["a1", "a1"])]);
    assert_eq!(
        found,
        [Violation::Duplicate {
            subscriber: "s".into(),
            payload: "a1".into()
        }]
    );
}

#[test]
fn a_message_that_nobody_sent_is_a_phantom() {
    let found = check(&[acknowledged(&[])], &[subscriber("s", true, &["x"])]);
    assert_eq!(
        found,
        [Violation::Phantom {
            subscriber: "s".into(),
            payload: "x".into()
        }]
    );
}

#[test]
fn a_message_that_was_refused_must_not_arrive() {
    let publishers = [publisher(&[("a1", Outcome::Refused, 0)])];
    let found = check(&publishers, &[subscriber("s", true, &["a1"])]);
    assert_eq!(
        found,
        [Violation::Refused {
            subscriber: "s".into(),
            payload: "a1".into()
        }]
    );
}

#[test]
fn subscribers_must_agree_on_the_order() {
    let publishers = [acknowledged(&["a"]), acknowledged(&["b"])];
    let subscribers = [
        subscriber("s1", true, &["a", "b"]),
        subscriber("s2", true, &["b", "a"]),
    ];
    assert!(matches!(
        check(&publishers, &subscribers)[..],
        [Violation::Order { at: 0, .. }]
    ));
}

#[test]
fn messages_of_one_connection_keep_their_order() {
    let found = check(
        &[acknowledged(&["a1", "a2"])],
        &[subscriber("s", true, &["a2", "a1"])],
    );
    let expected = Violation::PublisherOrder {
        subscriber: "s".into(),
        earlier: "a1".into(),
        later: "a2".into(),
    };
    assert_eq!(found, [expected]);
}

#[test]
fn another_connection_may_overtake_an_unknown_one() {
    let publishers = [publisher(&[
        ("a1", Outcome::Unknown, 0),
        ("a2", Outcome::Acknowledged, 1),
    ])];
    assert_eq!(
        check(&publishers, &[subscriber("s", true, &["a2", "a1"])]),
        []
    );
}

#[test]
fn a_partial_subscriber_may_not_have_a_hole() {
    let publishers = [acknowledged(&["a1", "a2", "a3"])];
    let subscribers = [
        subscriber("s", true, &["a1", "a2", "a3"]),
        subscriber("hole", false, &["a1", "a3"]),
    ];
    assert!(matches!(
        &check(&publishers, &subscribers)[..],
        [Violation::Order { subscriber, at: 1, .. }] if subscriber == "hole"
    ));
}

#[test]
fn a_partial_subscriber_may_not_have_what_the_complete_one_has_not() {
    let publishers = [publisher(&[
        ("a1", Outcome::Acknowledged, 0),
        ("a2", Outcome::Unknown, 0),
    ])];
    let subscribers = [
        subscriber("s", true, &["a1"]),
        subscriber("more", false, &["a1", "a2"]),
    ];
    assert!(matches!(
        &check(&publishers, &subscribers)[..],
        [Violation::Order { subscriber, at: 1, expected: None, .. }] if subscriber == "more"
    ));
}

#[test]
fn a_payload_that_is_sent_twice_makes_the_test_void() {
    let found = check(&[acknowledged(&["a", "a"])], &[]);
    assert_eq!(
        found,
        [Violation::PayloadNotUnique {
            payload: "a".into()
        }]
    );
}

proptest! {
    /// Whatever the interleaving, taking one delivered message away, doubling it or swapping it with its neighbour is
    /// seen.
    #[test]
    fn any_single_damage_to_a_run_is_seen(
        turns in prop::collection::vec(0..3_usize, 2..60),
        at in any::<prop::sample::Index>(),
        damage in 0..3_u8,
    ) {
        let mut publishers = vec![PublisherHistory::default(); 3];
        let mut order = Vec::new();
        for turn in turns {
            let payload = format!("{turn}-{}", publishers[turn].attempts.len());
            order.push(payload.clone());
            let outcome = Outcome::Acknowledged;
            publishers[turn].attempts.push(Attempt { payload, outcome, connection: 0 });
        }
        let whole = SubscriberHistory { name: "a".into(), received: order.clone(), complete: true };
        prop_assert_eq!(check(&publishers, &[whole.clone(), whole.clone()]), []);
        let at = at.index(order.len() - 1);
        match damage {
            0 => drop(order.remove(at)),
            1 => order.insert(at, order[at].clone()),
            _ => order.swap(at, at + 1),
        }
        let damaged = SubscriberHistory { name: "b".into(), received: order, complete: true };
        prop_assert_ne!(check(&publishers, &[whole, damaged]), []);
    }
}
