//! Round trips of the bytes that go to disk and to peers, and what becomes of damaged ones.

use bytes::Bytes;
use corgi_base::codec::{DecodeError, Reader, put_bytes};
use corgi_base::op::decode_ops;
use corgi_base::{
    BatchHead, BatchNumber, Boot, ClusterId, EntryHead, InstanceId, Member, MessageId, NodeId,
    Nonce, Op, Retention, Rules, RulesChange, UserChanges,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn op() -> impl Strategy<Value = Op> {
    let bytes = (vec(any::<u8>(), 0..40), vec(any::<u8>(), 0..200));
    (any::<bool>(), bytes).prop_map(|(shard, (channel, payload))| {
        let (channel, payload) = (channel.into(), payload.into());
        if shard {
            Op::ShardPublish { channel, payload }
        } else {
            Op::Publish { channel, payload }
        }
    })
}

fn node_id() -> impl Strategy<Value = NodeId> {
    (1..=u64::MAX).prop_map(|id| NodeId::new(id).expect("the range begins at 1"))
}

fn member() -> impl Strategy<Value = Member> {
    (node_id(), any::<u128>(), vec(any::<u8>(), 0..30)).prop_map(|(id, instance, addr)| Member {
        id,
        instance: InstanceId(instance),
        addr: addr.into(),
    })
}

fn head() -> impl Strategy<Value = EntryHead> {
    let batch = (node_id(), any::<(u64, u64, u32, u64, u64, u64)>()).prop_map(
        |(origin, (boot, number, ops, ms, seq, acl))| {
            EntryHead::Batch(BatchHead {
                origin,
                boot: Boot(boot),
                number: BatchNumber(number),
                ops,
                stamp: MessageId { ms, seq },
                acl: acl.saturating_sub(u64::MAX / 2),
            })
        },
    );
    let session =
        (node_id(), any::<(u128, u64, u128)>()).prop_map(|(node, (instance, boot, nonce))| {
            EntryHead::OpenSession {
                node,
                instance: InstanceId(instance),
                boot: Boot(boot),
                nonce: Nonce(nonce),
            }
        });
    let bootstrap =
        (any::<u128>(), vec(member(), 0..6)).prop_map(|(cluster, members)| EntryHead::Bootstrap {
            cluster: ClusterId(cluster),
            members,
        });
    let join = (member(), proptest::option::of(node_id()))
        .prop_map(|(member, replaces)| EntryHead::Join { member, replaces });
    let leave = node_id().prop_map(|node| EntryHead::Leave { node });
    let feature = any::<u32>().prop_map(|level| EntryHead::Feature { level });
    prop_oneof![
        batch,
        session,
        bootstrap,
        Just(EntryHead::Formed),
        join,
        leave,
        feature,
        users().prop_map(EntryHead::Users),
        rules().prop_map(EntryHead::History),
    ]
}

fn retention() -> impl Strategy<Value = Retention> {
    any::<(u64, u64)>().prop_map(|(maxlen, ttl_ms)| Retention { maxlen, ttl_ms })
}

fn patterns() -> impl Strategy<Value = Vec<(Bytes, Retention)>> {
    let bytes = vec(any::<u8>(), 0..20).prop_map(Bytes::from);
    vec((bytes, retention()), 0..4)
}

fn rules() -> impl Strategy<Value = Rules> {
    (patterns(), retention(), any::<u64>()).prop_map(|(patterns, others, max_bytes)| Rules {
        patterns,
        others,
        max_bytes,
    })
}

fn rules_change() -> impl Strategy<Value = RulesChange> {
    let number = || proptest::option::of(any::<u64>());
    let all = (
        number(),
        number(),
        number(),
        proptest::option::of(patterns()),
    );
    all.prop_map(|(maxlen, ttl_ms, max_bytes, patterns)| RulesChange {
        maxlen,
        ttl_ms,
        max_bytes,
        patterns,
    })
}

fn users() -> impl Strategy<Value = UserChanges> {
    let bytes = || vec(any::<u8>(), 0..20).prop_map(Bytes::from);
    let change = (bytes(), proptest::option::of(bytes()));
    (any::<bool>(), vec(change, 0..5))
        .prop_map(|(replace, changes)| UserChanges { replace, changes })
}

fn encode(ops: &[Op]) -> Bytes {
    let mut out = Vec::new();
    for op in ops {
        let before = out.len();
        op.encode(&mut out);
        assert_eq!(out.len() - before, op.encoded_len());
    }
    out.into()
}

#[test]
fn a_change_of_users_is_alone() {
    let changes = UserChanges {
        replace: false,
        changes: vec![("ab".into(), Some("on".into())), ("c".into(), None)],
    };
    let users = Op::Users(changes);
    let data = encode(std::slice::from_ref(&users));
    assert_eq!(
        data[..],
        *b"\x20\0\0\0\0\x02\0\0\0\x02ab\x01\0\0\0\x02on\0\0\0\x01c\0"
    );
    assert_eq!(decode_ops(1, data), Ok(vec![users.clone()]));
    let publish = Op::Publish {
        channel: "a".into(),
        payload: "b".into(),
    };
    assert!(decode_ops(2, encode(&[users, publish])).is_err());
}

proptest! {
    #[test]
    fn a_change_of_users_survives_the_round_trip(changes in users()) {
        let op = Op::Users(changes);
        prop_assert_eq!(decode_ops(1, encode(std::slice::from_ref(&op))), Ok(vec![op]));
    }

    #[test]
    fn a_change_of_rules_survives_the_round_trip(change in rules_change(), before in rules()) {
        let after = change.applied_to(&before);
        prop_assert_eq!(after.max_bytes, change.max_bytes.unwrap_or(before.max_bytes));
        prop_assert_eq!(&after.patterns, change.patterns.as_ref().unwrap_or(&before.patterns));
        let op = Op::HistoryRules(change);
        prop_assert_eq!(decode_ops(1, encode(std::slice::from_ref(&op))), Ok(vec![op]));
    }

    #[test]
    fn operations_survive_the_round_trip(ops in vec(op(), 0..20)) {
        let data = encode(&ops);
        prop_assert_eq!(decode_ops(u32::try_from(ops.len()).unwrap(), data), Ok(ops));
    }

    #[test]
    fn operations_share_the_entry_s_buffer(ops in vec(op(), 1..5)) {
        let data = encode(&ops);
        let held = data.as_ptr_range();
        let count = u32::try_from(ops.len()).unwrap();
        for op in decode_ops(count, data.clone())? {
            let (Op::Publish { payload, .. } | Op::ShardPublish { payload, .. }) = op else {
                panic!("{op:?} is not what was written");
            };
            prop_assert!(payload.is_empty() || held.contains(&payload.as_ptr()));
        }
    }

    #[test]
    fn cut_operations_are_an_error(ops in vec(op(), 1..5), cut: prop::sample::Index) {
        let data = encode(&ops);
        let cut = cut.index(data.len());
        let decoded = decode_ops(u32::try_from(ops.len()).unwrap(), data.slice(..cut));
        prop_assert!(matches!(decoded, Err(DecodeError::Truncated { .. })), "{:?}", decoded);
    }

    #[test]
    fn a_wrong_operation_count_is_an_error(ops in vec(op(), 1..5), wrong in 0..u32::MAX) {
        prop_assume!(wrong as usize != ops.len());
        prop_assert!(decode_ops(wrong, encode(&ops)).is_err());
    }

    #[test]
    fn heads_survive_the_round_trip(head in head()) {
        prop_assert_eq!(EntryHead::decode(head.encode()), Ok(head));
    }

    #[test]
    fn cut_heads_are_an_error(head in head(), cut: prop::sample::Index) {
        let bytes = head.encode();
        let decoded = EntryHead::decode(bytes.slice(..cut.index(bytes.len())));
        prop_assert!(matches!(decoded, Err(DecodeError::Truncated { .. })), "{:?}", decoded);
    }

    #[test]
    fn longer_heads_are_an_error(head in head(), tail in vec(any::<u8>(), 1..9)) {
        let bytes = [&head.encode()[..], &tail].concat();
        prop_assert_eq!(
            EntryHead::decode(bytes.into()),
            Err(DecodeError::Trailing { left: tail.len() })
        );
    }

    /// Whatever decodes is exactly what encodes to the same bytes: nothing is ignored.
    #[test]
    fn arbitrary_bytes_never_panic_and_decode_one_way(
        kind in 0_u8..8, rest in vec(any::<u8>(), 0..80), count in 0_u32..4,
    ) {
        let bytes = Bytes::from([&[1, kind][..], &rest].concat());
        if let Ok(head) = EntryHead::decode(bytes.clone()) {
            prop_assert_eq!(head.encode(), bytes);
        }
        let bytes = Bytes::from([&[kind][..], &rest].concat());
        if let Ok(ops) = decode_ops(count, bytes.clone()) {
            prop_assert_eq!(encode(&ops), bytes);
        }
    }

    #[test]
    fn fields_are_read_as_written(a: u8, b: u32, c: u64, d: u128, bytes: Vec<u8>, rest: Vec<u8>) {
        let mut out = vec![a];
        out.extend_from_slice(&b.to_be_bytes());
        out.extend_from_slice(&c.to_be_bytes());
        out.extend_from_slice(&d.to_be_bytes());
        put_bytes(&mut out, &bytes);
        out.extend_from_slice(&rest);
        let mut reader = Reader::new(out.into());
        prop_assert_eq!(reader.u8("a")?, a);
        prop_assert_eq!(reader.u32("b")?, b);
        prop_assert_eq!(reader.u64("c")?, c);
        prop_assert_eq!(reader.u128("d")?, d);
        prop_assert_eq!(reader.bytes("bytes")?, bytes);
        prop_assert_eq!(reader.left(), rest.len());
        prop_assert_eq!(reader.rest(), rest);
    }
}

#[test]
fn errors_name_the_field() {
    let truncated = Reader::new(Bytes::from_static(&[0, 0, 0, 9, 1])).bytes("channel");
    assert_eq!(
        truncated,
        Err(DecodeError::Truncated {
            field: "channel",
            needed: 9,
            left: 1
        })
    );
    assert_eq!(
        EntryHead::decode(Bytes::from_static(&[2, 1])),
        Err(DecodeError::Unknown {
            field: "entry format",
            value: 2
        })
    );
    assert_eq!(
        EntryHead::decode(Bytes::from_static(&[1, 0])),
        Err(DecodeError::Unknown {
            field: "entry kind",
            value: 0
        })
    );
    let node_0 = EntryHead::decode([&[1, 2][..], &[0; 48]].concat().into());
    assert_eq!(node_0, Err(DecodeError::Invalid { field: "node" }));
    let tag = decode_ops(1, Bytes::from_static(&[0]));
    assert_eq!(
        tag,
        Err(DecodeError::Unknown {
            field: "operation tag",
            value: 0
        })
    );
}

/// A declared count or length costs nothing before the bytes are there.
#[test]
fn a_huge_count_on_few_bytes_allocates_little() {
    assert!(decode_ops(u32::MAX, Bytes::from_static(&[1, 255, 255, 255, 255])).is_err());
    let members = [&[1, 3][..], &[0; 16], &u32::MAX.to_be_bytes()].concat();
    assert!(EntryHead::decode(members.into()).is_err());
}

/// The bytes are on disk: a change here is a change of the format.
#[test]
fn bytes_are_as_documented() {
    let op = Op::Publish {
        channel: "ab".into(),
        payload: "c".into(),
    };
    assert_eq!(
        encode(&[op])[..],
        [1, 0, 0, 0, 2, b'a', b'b', 0, 0, 0, 1, b'c']
    );
    let op = Op::ShardPublish {
        channel: "a".into(),
        payload: "".into(),
    };
    assert_eq!(encode(&[op])[..], [2, 0, 0, 0, 1, b'a', 0, 0, 0, 0]);
    let batch = EntryHead::Batch(BatchHead {
        origin: NodeId::new(1).unwrap(),
        boot: Boot(2),
        number: BatchNumber(3),
        ops: 4,
        stamp: MessageId { ms: 5, seq: 6 },
        acl: 0,
    });
    let mut expected = vec![1, 1];
    for field in [1_u64, 2, 3] {
        expected.extend_from_slice(&field.to_be_bytes());
    }
    expected.extend_from_slice(&[0, 0, 0, 4]);
    for field in [5_u64, 6] {
        expected.extend_from_slice(&field.to_be_bytes());
    }
    assert_eq!(batch.encode(), expected);
    assert_eq!(EntryHead::Formed.encode()[..], [1, 4]);
    let node = NodeId::new(9).unwrap();
    assert_eq!(
        EntryHead::Leave { node }.encode()[..],
        [1, 6, 0, 0, 0, 0, 0, 0, 0, 9]
    );
}
