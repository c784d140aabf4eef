//! What entries do to the state.

use bytes::Bytes;
use corgi_base::{
    BatchHead, BatchName, BatchNumber, Boot, ClusterId, Effects, EntryHead, InstanceId, LogIndex,
    Member, MessageId, NodeId, Nonce, Op, Term, UserChanges,
};
use corgi_state::{ApplyError, State, replay};
use proptest::prelude::*;

fn node(id: u64) -> NodeId {
    NodeId::new(id).expect("not 0")
}

fn bootstrap() -> EntryHead {
    let member = |id: u64| Member {
        id: node(id),
        instance: InstanceId(u128::from(id) * 100),
        addr: Bytes::from(format!("host{id}:1")),
    };
    EntryHead::Bootstrap {
        cluster: ClusterId(7),
        members: vec![member(1), member(2)],
    }
}

fn open(id: u64, instance: u128, boot: u64) -> EntryHead {
    EntryHead::OpenSession {
        node: node(id),
        instance: InstanceId(instance),
        boot: Boot(boot),
        nonce: Nonce(u128::from(boot)),
    }
}

fn batch(origin: u64, boot: u64, number: u64, ops: u32, stamp: (u64, u64)) -> EntryHead {
    EntryHead::Batch(BatchHead {
        origin: node(origin),
        boot: Boot(boot),
        number: BatchNumber(number),
        ops,
        stamp: MessageId {
            ms: stamp.0,
            seq: stamp.1,
        },
        acl: 0,
    })
}

fn publishes(count: u32) -> Bytes {
    let mut out = Vec::new();
    for k in 0..count {
        let payload = Bytes::from(k.to_string());
        Op::Publish {
            channel: Bytes::from_static(b"news"),
            payload,
        }
        .encode(&mut out);
    }
    out.into()
}

/// Applies the next entry.
fn apply(state: &mut State, head: &EntryHead, data: Bytes) -> Result<Effects, ApplyError> {
    state.apply(state.applied().next(), Term(1), head.encode(), data)
}

fn with_session() -> State {
    let mut state = State::new(node(1));
    assert_eq!(
        apply(&mut state, &bootstrap(), Bytes::new()),
        Ok(Effects::Membership)
    );
    apply(&mut state, &open(1, 100, 3), Bytes::new()).expect("known");
    state
}

#[test]
fn session_needs_the_bound_folder_and_a_later_boot() {
    let mut state = with_session();
    let mut accepted = |head: &EntryHead| match apply(&mut state, head, Bytes::new()) {
        Ok(Effects::Session { accepted, .. }) => accepted,
        other => panic!("{other:?}"),
    };
    assert!(!accepted(&open(1, 100, 3)), "the same boot again");
    assert!(!accepted(&open(1, 100, 2)), "an earlier boot");
    assert!(!accepted(&open(2, 100, 9)), "another node's folder");
    assert!(!accepted(&open(3, 300, 1)), "no member");
    assert!(accepted(&open(1, 100, 4)), "a later boot");
    assert!(accepted(&open(2, 200, 1)), "another member");
    let sessions: Vec<_> = state.sessions().collect();
    assert_eq!(
        sessions,
        [
            (node(1), Boot(4), BatchNumber(0)),
            (node(2), Boot(1), BatchNumber(0))
        ]
    );
}

#[test]
fn batch_takes_effect_and_its_ids_are_a_function_of_the_entry() {
    let mut state = with_session();
    let effects = apply(&mut state, &batch(1, 3, 1, 3, (50, 4)), publishes(3)).expect("next");
    let Effects::Batch(applied) = effects else {
        panic!("{effects:?}")
    };
    assert_eq!(applied.ops.len(), 3);
    assert_eq!(applied.index, LogIndex(3));
    assert_eq!(state.last_id(), MessageId { ms: 50, seq: 6 });
}

#[test]
fn replay_tells_what_apply_delivered() {
    let mut state = with_session();
    let entries = [
        (batch(1, 3, 1, 3, (50, 4)), publishes(3)),
        (batch(1, 3, 2, 0, (51, 0)), Bytes::new()),
        (open(1, 100, 4), Bytes::new()),
        (open(1, 100, 3), Bytes::new()),
        (batch(1, 4, 1, 1, (60, 0)), publishes(1)),
        (EntryHead::Formed, Bytes::new()),
    ];
    for (head, data) in entries {
        let applied = apply(&mut state, &head, data.clone()).expect("next");
        let again = replay(head.encode(), data).expect("known");
        let delivered = match applied {
            Effects::Batch(batch) if !batch.ops.is_empty() => Some((batch.first, batch.ops)),
            _ => None,
        };
        let again = again.map(|again| (again.first, again.ops));
        assert_eq!(again, delivered, "{head:?}");
    }
    assert_eq!(
        replay(Bytes::new(), Bytes::new()),
        Ok(None),
        "a new leader's"
    );
    assert!(replay(Bytes::from_static(b"\x01\xff"), Bytes::new()).is_err());
}

#[test]
fn batch_given_up_takes_its_number_but_no_id() {
    let mut state = with_session();
    apply(&mut state, &batch(1, 3, 1, 0, (50, 0)), Bytes::new()).expect("next");
    assert_eq!(state.last_id(), MessageId::default());
    apply(&mut state, &batch(1, 3, 2, 1, (50, 0)), publishes(1)).expect("next");
    assert_eq!(state.last_id(), MessageId { ms: 50, seq: 0 });
}

#[test]
fn batch_out_of_order_is_refused_and_changes_nothing() {
    let mut state = with_session();
    apply(&mut state, &batch(1, 3, 1, 1, (50, 0)), publishes(1)).expect("next");
    let before = state.clone();
    for head in [
        batch(1, 3, 1, 1, (60, 0)),
        batch(1, 3, 3, 1, (60, 0)),
        batch(1, 2, 2, 1, (60, 0)),
        batch(2, 1, 1, 1, (60, 0)),
    ] {
        let error = apply(&mut state, &head, publishes(1)).expect_err("out of order");
        assert!(matches!(error, ApplyError::OutOfOrder { .. }), "{error}");
    }
    let error = apply(&mut state, &batch(1, 3, 2, 1, (50, 0)), publishes(1)).expect_err("old id");
    assert!(matches!(error, ApplyError::IdNotGrowing { .. }), "{error}");
    let error = apply(&mut state, &batch(1, 3, 2, 2, (60, 0)), publishes(1)).expect_err("count");
    assert!(matches!(error, ApplyError::Unknown { .. }), "{error}");
    assert_eq!(state, before);
}

#[test]
fn unknown_kind_is_an_error() {
    let mut state = with_session();
    let error = state
        .apply(
            state.applied().next(),
            Term(1),
            Bytes::from_static(&[1, 0xee]),
            Bytes::new(),
        )
        .expect_err("unknown");
    assert!(
        error
            .to_string()
            .contains("entry kind has the unknown value 238"),
        "{error}"
    );
}

#[test]
fn second_bootstrap_changes_nothing() {
    let mut state = with_session();
    let other = EntryHead::Bootstrap {
        cluster: ClusterId(8),
        members: Vec::new(),
    };
    apply(&mut state, &other, Bytes::new()).expect("known");
    assert_eq!(state.cluster(), Some(ClusterId(7)));
    assert_eq!(state.members().count(), 2);
}

proptest! {
    /// Whatever is written after each step, and however the steps are grouped, what is read back is the state.
    #[test]
    fn rows_restore_the_state(steps in prop::collection::vec((0u8..5, any::<bool>()), 0..40)) {
        let mut state = State::new(node(1));
        let mut stored = std::collections::BTreeMap::new();
        let mut boots = [0u64; 3];
        for (step, write) in steps {
            let formed = state.cluster().is_some();
            match step {
                0 => drop(apply(&mut state, &bootstrap(), Bytes::new())),
                1 | 2 if formed => {
                    boots[usize::from(step)] += 1;
                    let head = open(step.into(), u128::from(step) * 100, boots[usize::from(step)]);
                    drop(apply(&mut state, &head, Bytes::new()));
                }
                3 => {
                    let next = state.sessions().next().map(|(id, boot, last)| (id, boot, last.next()));
                    if let Some((id, boot, number)) = next {
                        let stamp = (state.last_id().ms + 1, 0);
                        let head = batch(id.get(), boot.0, number.0, 2, stamp);
                        prop_assert!(apply(&mut state, &head, publishes(2)).is_ok());
                    }
                }
                4 => {
                    let voters = vec![node(1), node(2)];
                    state
                        .apply_members(state.applied().next(), Term(2), voters, vec![node(3)], Bytes::new())
                        .expect("nothing unknown");
                }
                _ => state.apply_empty(state.applied().next(), Term(2)),
            }
            if write && let Some(write) = state.take_write() {
                prop_assert_eq!(write.applied, state.applied());
                stored.extend(write.puts);
                let rows: Vec<_> = stored.clone().into_iter().collect();
                let restored = State::restore(node(1), &rows).expect("own rows");
                prop_assert_eq!(restored.rows(), state.rows());
                prop_assert_eq!(state.rows(), rows);
            }
        }
    }
}

fn users(replace: bool, changes: &[(&'static str, Option<&'static str>)]) -> UserChanges {
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    let changes = changes
        .iter()
        .map(|(name, definition)| (bytes(name), definition.map(bytes)))
        .collect();
    UserChanges { replace, changes }
}

fn encoded(changes: UserChanges) -> Bytes {
    let mut out = Vec::new();
    Op::Users(changes).encode(&mut out);
    out.into()
}

fn checked(number: u64, ops: u32, acl: u64) -> EntryHead {
    let EntryHead::Batch(head) = batch(1, 3, number, ops, (50 + number, 0)) else {
        panic!("not a batch");
    };
    EntryHead::Batch(BatchHead { acl, ..head })
}

fn defined(state: &State) -> Vec<(Bytes, Bytes)> {
    let users = state.users();
    users
        .map(|(name, def)| (name.clone(), def.clone()))
        .collect()
}

#[test]
fn users_change_in_log_order_and_survive() {
    let mut state = with_session();
    let first = users(false, &[("alice", Some("on")), ("bob", Some("off"))]);
    let effects = apply(&mut state, &checked(1, 1, 0), encoded(first.clone()));
    let name = BatchName {
        origin: node(1),
        boot: Boot(3),
        number: BatchNumber(1),
    };
    assert_eq!(
        effects,
        Ok(Effects::Users {
            changes: first,
            revision: 1,
            batch: Some(name),
        })
    );
    let second = users(false, &[("alice", None), ("carol", Some("on"))]);
    apply(&mut state, &checked(2, 1, 1), encoded(second)).expect("next");
    let now = [
        (Bytes::from("bob"), Bytes::from("off")),
        (Bytes::from("carol"), Bytes::from("on")),
    ];
    assert_eq!((state.users_revision(), defined(&state)), (2, now.to_vec()));
    let again = State::restore(node(1), &state.rows()).expect("its own rows");
    assert_eq!(again.rows(), state.rows());
    let third = users(true, &[("dave", Some("on"))]);
    apply(&mut state, &checked(3, 1, 2), encoded(third)).expect("next");
    assert_eq!(defined(&state), [("dave".into(), "on".into())]);
    let deleted = state.take_write().expect("changes").deletes;
    assert!(deleted.iter().any(|key| key.ends_with(b"carol")));
}

#[test]
fn the_state_of_a_snapshot_says_how_far_it_is_applied() {
    let state = with_session();
    let mut rows = state.rows();
    let restored = State::of_snapshot(&rows).expect("its own rows");
    assert_eq!(
        (restored.applied(), restored.rows()),
        (state.applied(), rows.clone())
    );
    rows.retain(|(key, _)| key.len() > 1);
    assert!(!rows.is_empty(), "the rest is there");
    assert!(State::of_snapshot(&rows).is_err());
    assert!(State::of_snapshot(&[]).is_err());
}

/// SEC-11.
#[test]
fn a_batch_checked_against_older_users_has_no_effect() {
    let mut state = with_session();
    let change = encoded(users(false, &[("alice", Some("off"))]));
    apply(&mut state, &checked(1, 1, 0), change.clone()).expect("next");
    let void = |number| {
        Ok(Effects::Void(BatchName {
            origin: node(1),
            boot: Boot(3),
            number: BatchNumber(number),
        }))
    };
    assert_eq!(apply(&mut state, &checked(2, 2, 0), publishes(2)), void(2));
    assert_eq!(
        apply(&mut state, &checked(3, 1, 0), change.clone()),
        void(3),
        "a change of users too: it was made from others"
    );
    assert_eq!(state.users_revision(), 1);
    let effects = apply(&mut state, &checked(4, 1, 1), publishes(1));
    assert!(matches!(effects, Ok(Effects::Batch(_))), "{effects:?}");
    // What was given up has no effect anyway, and its ids are not used again.
    let effects = apply(&mut state, &checked(5, 0, 0), Bytes::new());
    assert!(matches!(effects, Ok(Effects::Batch(_))), "{effects:?}");
    assert_eq!(state.last_id(), MessageId { ms: 54, seq: 0 });
}

#[test]
fn only_the_first_beginning_counts() {
    let mut state = with_session();
    let seed = |name| EntryHead::Users(users(false, &[(name, Some("on"))]));
    let effects = apply(&mut state, &seed("alice"), Bytes::new());
    assert!(matches!(effects, Ok(Effects::Users { batch: None, .. })));
    assert_eq!(
        apply(&mut state, &seed("bob"), Bytes::new()),
        Ok(Effects::None)
    );
    assert_eq!(defined(&state), [("alice".into(), "on".into())]);
}
