//! Round trips of the bytes of operations on streams, and what becomes of damaged ones.

use bytes::Bytes;
use corgi_base::MessageId;
use corgi_base::codec::{Out, Reader};
use corgi_base::streams::{
    After, Claim, Delivered, GroupStart, Keep, Limits, Nack, NewId, Producer, Refs, StreamOp, Trim,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn bytes() -> impl Strategy<Value = Bytes> + Clone {
    vec(any::<u8>(), 0..12).prop_map(Bytes::from)
}

fn id() -> impl Strategy<Value = MessageId> + Clone {
    any::<(u64, u64)>().prop_map(|(ms, seq)| MessageId { ms, seq })
}

fn ids() -> impl Strategy<Value = Vec<MessageId>> {
    vec(id(), 0..5)
}

fn maybe() -> impl Strategy<Value = Option<u64>> {
    any::<Option<u64>>()
}

fn refs() -> impl Strategy<Value = Refs> {
    prop_oneof![Just(Refs::Keep), Just(Refs::Delete), Just(Refs::Acked)]
}

fn trim() -> impl Strategy<Value = Trim> {
    let keep = prop_oneof![
        any::<u64>().prop_map(Keep::Newest),
        id().prop_map(Keep::From)
    ];
    (keep, maybe()).prop_map(|(keep, limit)| Trim { keep, limit })
}

fn limits() -> impl Strategy<Value = Limits> {
    (maybe(), maybe(), maybe()).prop_map(|(count, max_count, max_bytes)| Limits {
        count,
        max_count,
        max_bytes,
    })
}

fn start() -> impl Strategy<Value = GroupStart> {
    (option::of(id()), maybe()).prop_map(|(after, entries_read)| GroupStart {
        after,
        entries_read,
    })
}

fn claim() -> impl Strategy<Value = Claim> {
    let delivered = prop_oneof![
        Just(Delivered::Now),
        any::<i64>().prop_map(Delivered::Ago),
        any::<i64>().prop_map(Delivered::At)
    ];
    let flags = any::<(bool, bool)>();
    (any::<u64>(), delivered, maybe(), flags, option::of(id())).prop_map(
        |(min_idle_ms, delivered, retry_count, (force, just_id), last_id)| Claim {
            min_idle_ms,
            delivered,
            retry_count,
            force,
            just_id,
            last_id,
        },
    )
}

fn add() -> impl Strategy<Value = StreamOp> {
    let new = prop_oneof![
        Just(NewId::Auto),
        any::<u64>().prop_map(NewId::AutoSeq),
        id().prop_map(NewId::Exact)
    ];
    let producer = (bytes(), option::of(bytes())).prop_map(|(pid, iid)| Producer { pid, iid });
    let fields = vec((bytes(), bytes()), 1..4);
    let how = (any::<bool>(), option::of(producer), option::of(trim()));
    (bytes(), how, refs(), new, fields).prop_map(
        |(key, (existing, producer, trim), refs, id, fields)| StreamOp::Add {
            key,
            existing,
            producer,
            trim,
            refs,
            id,
            fields: fields.into_iter().flat_map(|(f, v)| [f, v]).collect(),
        },
    )
}

fn on_stream() -> impl Strategy<Value = StreamOp> {
    let after = prop_oneof![
        id().prop_map(After::Id),
        Just(After::Top),
        Just(After::ButLast)
    ];
    prop_oneof![
        add(),
        bytes().prop_map(StreamOp::Len),
        (bytes(), id(), id(), any::<bool>(), maybe()).prop_map(
            |(key, from, to, reverse, count)| StreamOp::Range {
                key,
                from,
                to,
                reverse,
                count
            }
        ),
        (vec((bytes(), after), 0..4), limits())
            .prop_map(|(streams, limits)| StreamOp::Read { streams, limits }),
        (bytes(), ids()).prop_map(|(key, ids)| StreamOp::Del { key, ids }),
        (bytes(), refs(), ids()).prop_map(|(key, refs, ids)| StreamOp::DelEx { key, refs, ids }),
        (bytes(), trim(), refs()).prop_map(|(key, trim, refs)| StreamOp::Trim { key, trim, refs }),
        (bytes(), id(), maybe(), option::of(id())).prop_map(|(key, last, added, max_deleted)| {
            StreamOp::SetId {
                key,
                last,
                added,
                max_deleted,
            }
        }),
        (bytes(), maybe(), maybe()).prop_map(|(key, duration_s, max)| StreamOp::Configure {
            key,
            duration_s,
            max
        }),
        bytes().prop_map(StreamOp::Info),
        (bytes(), any::<u64>()).prop_map(|(key, count)| StreamOp::InfoFull { key, count }),
        bytes().prop_map(StreamOp::InfoGroups),
        (bytes(), bytes()).prop_map(|(key, group)| StreamOp::InfoConsumers { key, group }),
    ]
}

fn on_group() -> impl Strategy<Value = StreamOp> {
    let what = prop_oneof![Just(Nack::Silent), Just(Nack::Fail), Just(Nack::Fatal)];
    let both = || (bytes(), bytes());
    let three = || (bytes(), bytes(), bytes());
    prop_oneof![
        (both(), start(), any::<bool>()).prop_map(|((key, group), start, make)| {
            StreamOp::GroupCreate {
                key,
                group,
                start,
                make,
            }
        }),
        (both(), start()).prop_map(|((key, group), start)| StreamOp::GroupSetId {
            key,
            group,
            start
        }),
        both().prop_map(|(key, group)| StreamOp::GroupDestroy { key, group }),
        three().prop_map(|(key, group, consumer)| StreamOp::ConsumerCreate {
            key,
            group,
            consumer
        }),
        three().prop_map(|(key, group, consumer)| StreamOp::ConsumerDelete {
            key,
            group,
            consumer
        }),
        (
            both(),
            vec((bytes(), option::of(id())), 0..4),
            limits(),
            any::<bool>(),
            maybe()
        )
            .prop_map(|((group, consumer), streams, limits, no_ack, claim_ms)| {
                StreamOp::ReadGroup {
                    group,
                    consumer,
                    streams,
                    limits,
                    no_ack,
                    claim_ms,
                }
            }),
        (both(), ids()).prop_map(|((key, group), ids)| StreamOp::Ack { key, group, ids }),
        (both(), refs(), ids()).prop_map(|((key, group), refs, ids)| StreamOp::AckDel {
            key,
            group,
            refs,
            ids
        }),
        (both(), what, ids(), maybe(), any::<bool>()).prop_map(
            |((key, group), what, ids, retry_count, force)| StreamOp::Nack {
                key,
                group,
                what,
                ids,
                retry_count,
                force
            }
        ),
        both().prop_map(|(key, group)| StreamOp::Pending { key, group }),
        (both(), any::<(u64, u64)>(), id(), id(), option::of(bytes())).prop_map(
            |((key, group), (min_idle_ms, count), from, to, consumer)| StreamOp::PendingRange {
                key,
                group,
                min_idle_ms,
                from,
                to,
                count,
                consumer
            }
        ),
        (three(), ids(), claim()).prop_map(|((key, group, consumer), ids, claim)| {
            StreamOp::Claim {
                key,
                group,
                consumer,
                ids,
                claim,
            }
        }),
        (three(), any::<(u64, u64, bool)>(), id()).prop_map(
            |((key, group, consumer), (min_idle_ms, count, just_id), from)| StreamOp::AutoClaim {
                key,
                group,
                consumer,
                min_idle_ms,
                from,
                count,
                just_id
            }
        ),
    ]
}

fn op() -> impl Strategy<Value = StreamOp> {
    prop_oneof![on_stream(), on_group()]
}

proptest! {
    #[test]
    fn operations_on_streams_come_back_as_they_were(op in op()) {
        let mut out = Vec::new();
        op.put(&mut Out(&mut out));
        let mut reader = Reader::new(out.into());
        prop_assert_eq!(StreamOp::decode(&mut reader), Ok(op));
        prop_assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn an_operation_that_is_cut_off_is_an_error(op in op(), cut in any::<prop::sample::Index>()) {
        let mut out = Vec::new();
        op.put(&mut Out(&mut out));
        out.truncate(cut.index(out.len()));
        prop_assert!(StreamOp::decode(&mut Reader::new(out.into())).is_err());
    }

    #[test]
    fn any_bytes_are_an_operation_or_an_error(bytes in vec(any::<u8>(), 0..80)) {
        if let Ok(op) = StreamOp::decode(&mut Reader::new(Bytes::from(bytes))) {
            let mut out = Vec::new();
            op.put(&mut Out(&mut out));
            prop_assert_eq!(StreamOp::decode(&mut Reader::new(out.into())), Ok(op));
        }
    }
}
