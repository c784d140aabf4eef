//! Messages as bytes: what is written can be read, and nothing else can.

use super::*;
use proptest::prelude::*;

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn node() -> impl Strategy<Value = NodeId> {
    (1..=u64::MAX).prop_map(|id| NodeId::new(id).expect("not 0"))
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        Just(Change::Lead),
        node().prop_map(Change::Forget),
        (prop::option::of(node()), bytes())
            .prop_map(|(replaces, addr)| Change::Meet { replaces, addr }),
    ]
}

fn file() -> impl Strategy<Value = SnapshotFile> {
    (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>()).prop_map(
        |(index, term, bytes, hash)| SnapshotFile {
            index: LogIndex(index),
            term: Term(term),
            bytes,
            hash,
        },
    )
}

fn message() -> impl Strategy<Value = PeerMessage> {
    let founder = node();
    prop_oneof![
        (any::<bool>(), bytes()).prop_map(|(bulk, bytes)| PeerMessage::Raft { bulk, bytes }),
        (any::<[u64; 3]>(), any::<u32>(), bytes()).prop_map(|([boot, number, acl], ops, data)| {
            let (boot, number) = (Boot(boot), BatchNumber(number));
            PeerMessage::Forward {
                boot,
                number,
                ops,
                data,
                acl: acl.saturating_sub(u64::MAX / 2),
            }
        }),
        (any::<u64>(), any::<u64>()).prop_map(|(boot, number)| PeerMessage::Expect {
            boot: Boot(boot),
            number: BatchNumber(number)
        }),
        (any::<u128>(), any::<u64>(), any::<u128>()).prop_map(|(instance, boot, nonce)| {
            PeerMessage::OpenSession {
                instance: InstanceId(instance),
                boot: Boot(boot),
                nonce: Nonce(nonce),
            }
        }),
        (any::<u64>(), any::<u32>(), any::<bool>()).prop_map(|(wall_ms, level, disk_low)| {
            PeerMessage::Vitals(Vitals {
                wall_ms,
                level,
                disk_low,
            })
        }),
        (any::<u64>(), any::<u64>()).prop_map(|(index, hash)| PeerMessage::StateHash {
            index: LogIndex(index),
            hash
        }),
        (any::<u128>(), founder).prop_map(|(cluster, founder)| {
            PeerMessage::Formed(Formation {
                cluster: ClusterId(cluster),
                founder,
            })
        }),
        prop::collection::vec((node(), bytes()), 0..5).prop_map(|members| {
            let member = |(id, addr)| InitialMember { id, addr };
            PeerMessage::Contacts(members.into_iter().map(member).collect())
        }),
        (file(), any::<u64>(), any::<u32>())
            .prop_map(|(file, offset, len)| PeerMessage::SnapshotFetch { file, offset, len }),
        (file(), any::<u64>(), bytes()).prop_map(|(file, offset, bytes)| {
            PeerMessage::SnapshotChunk {
                file,
                offset,
                bytes,
            }
        }),
        file().prop_map(PeerMessage::SnapshotGone),
        (any::<u64>(), any::<u64>(), change()).prop_map(|(term, number, change)| {
            PeerMessage::Change {
                term: Term(term),
                number,
                change,
            }
        }),
        (any::<u64>(), prop::option::of(bytes())).prop_map(|(number, refused)| {
            PeerMessage::Changed {
                number,
                result: refused.map_or(Ok(()), Err),
            }
        }),
    ]
}

fn encoded(message: &PeerMessage) -> Vec<u8> {
    let (mut head, payload) = message.encode();
    head.extend_from_slice(&payload);
    head
}

proptest! {
    #[test]
    fn a_message_is_read_as_it_was_written(message in message()) {
        let bytes = encoded(&message);
        prop_assert_eq!(PeerMessage::decode(message.lane(), bytes.into()), Ok(message));
    }

    #[test]
    fn a_message_without_payload_is_neither_longer_nor_shorter(message in message()) {
        prop_assume!(!matches!(
            message,
            PeerMessage::Raft { .. }
                | PeerMessage::Forward { .. }
                | PeerMessage::SnapshotChunk { .. }
        ));
        prop_assert_eq!(message.payload_bytes(), 0);
        let mut bytes = encoded(&message);
        let shorter = Bytes::copy_from_slice(&bytes[..bytes.len() - 1]);
        prop_assert!(PeerMessage::decode(Lane::Control, shorter).is_err());
        bytes.push(0);
        prop_assert!(PeerMessage::decode(Lane::Control, bytes.into()).is_err());
    }

    #[test]
    fn garbage_is_an_error_or_a_message_of_the_same_bytes(garbage in bytes()) {
        for lane in [Lane::Control, Lane::Bulk] {
            if let Ok(message) = PeerMessage::decode(lane, garbage.clone()) {
                prop_assert_eq!(encoded(&message), &garbage[..]);
            }
        }
    }
}

#[test]
fn the_founder_is_never_node_0() {
    let bytes = [&[FORMED][..], &[0; 24]].concat();
    let read = PeerMessage::decode(Lane::Control, bytes.into());
    assert_eq!(read, Err(DecodeError::Invalid { field: "founder" }));
}

/// Found by the fuzz target `peer_message`: it was taken for a batch that was not checked.
#[test]
fn a_batch_that_was_checked_names_the_users() {
    let bytes = [&[FORWARD_CHECKED][..], &[0; 28]].concat();
    let read = PeerMessage::decode(Lane::Control, bytes.into());
    let field = "users' revision";
    assert_eq!(read, Err(DecodeError::Invalid { field }));
}

#[test]
fn a_payload_is_shared_and_not_copied() {
    let data = Bytes::from(vec![7; 100]);
    let (boot, number, ops) = (Boot(1), BatchNumber(1), 1);
    let (_, payload) = PeerMessage::Forward {
        boot,
        number,
        ops,
        data: data.clone(),
        acl: 0,
    }
    .encode();
    assert_eq!(payload.as_ptr(), data.as_ptr());
}

#[test]
fn refusals_keep_their_numbers() {
    let kinds: Vec<u8> = (0..=u8::MAX)
        .filter_map(RefusalKind::from_number)
        .map(|kind| kind as u8)
        .collect();
    assert_eq!(kinds, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
}
