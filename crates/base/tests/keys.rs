//! Round trips of operations on keys, of guards and of the passing of time.

use bytes::Bytes;
use corgi_base::codec::DecodeError;
use corgi_base::keys::{About, ExpireIf, Expiry, SetIf, Unit};
use corgi_base::op::decode_ops;
use corgi_base::{EntryHead, KeyOp, MessageId, Op, Watch};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn list() -> impl Strategy<Value = Vec<Bytes>> {
    vec(bytes(), 0..4)
}

fn id() -> impl Strategy<Value = MessageId> {
    any::<(u64, u64)>().prop_map(|(ms, seq)| MessageId { ms, seq })
}

fn expiry() -> impl Strategy<Value = Expiry> {
    prop_oneof![
        Just(Expiry::None),
        any::<i64>().prop_map(Expiry::In),
        any::<i64>().prop_map(Expiry::At),
        Just(Expiry::Keep),
        Just(Expiry::Persist),
    ]
}

fn only() -> impl Strategy<Value = ExpireIf> {
    any::<(bool, bool, bool, bool)>().prop_map(|(nx, xx, gt, lt)| ExpireIf { nx, xx, gt, lt })
}

fn string() -> impl Strategy<Value = KeyOp> {
    let set_if = prop::sample::select(vec![SetIf::Always, SetIf::Absent, SetIf::Present]);
    let two = || (bytes(), bytes());
    prop_oneof![
        (two(), set_if, expiry(), any::<bool>()).prop_map(|((key, value), only, expiry, get)| {
            KeyOp::Set {
                key,
                value,
                only,
                expiry,
                get,
            }
        }),
        two().prop_map(|(key, value)| KeyOp::SetNx { key, value }),
        bytes().prop_map(KeyOp::Get),
        bytes().prop_map(KeyOp::GetDel),
        (bytes(), expiry()).prop_map(|(key, expiry)| KeyOp::GetEx { key, expiry }),
        list().prop_map(KeyOp::MGet),
        (vec(two(), 0..3), any::<bool>()).prop_map(|(pairs, nx)| KeyOp::MSet {
            pairs: pairs.into_iter().flat_map(|(k, v)| [k, v]).collect(),
            nx,
        }),
        two().prop_map(|(key, value)| KeyOp::Append { key, value }),
        bytes().prop_map(KeyOp::StrLen),
        (bytes(), any::<(i64, i64)>()).prop_map(|(key, (start, end))| KeyOp::GetRange {
            key,
            start,
            end
        }),
        (two(), any::<u64>()).prop_map(|((key, value), offset)| KeyOp::SetRange {
            key,
            offset,
            value
        }),
        (bytes(), any::<i64>()).prop_map(|(key, by)| KeyOp::IncrBy { key, by }),
        two().prop_map(|(key, by)| KeyOp::IncrByFloat { key, by }),
    ]
}

fn generic() -> impl Strategy<Value = KeyOp> {
    let unit = prop::sample::select(vec![Unit::Seconds, Unit::Millis]);
    let about = prop::sample::select(vec![
        About::Encoding,
        About::IdleTime,
        About::Freq,
        About::RefCount,
    ]);
    let scan = (
        any::<(u64, u64)>(),
        option::of(bytes()),
        option::of(bytes()),
    );
    prop_oneof![
        list().prop_map(KeyOp::Del),
        list().prop_map(KeyOp::Exists),
        bytes().prop_map(KeyOp::Type),
        (bytes(), unit, any::<bool>()).prop_map(|(key, unit, absolute)| KeyOp::Ttl {
            key,
            unit,
            absolute
        }),
        (bytes(), expiry(), only()).prop_map(|(key, expiry, only)| KeyOp::Expire {
            key,
            expiry,
            only
        }),
        bytes().prop_map(KeyOp::Persist),
        (bytes(), bytes(), any::<bool>()).prop_map(|(key, to, nx)| KeyOp::Rename { key, to, nx }),
        (bytes(), bytes(), 0..16u8, any::<bool>()).prop_map(|(key, to, db, replace)| {
            KeyOp::Copy {
                key,
                to,
                db,
                replace,
            }
        }),
        (bytes(), 0..16u8).prop_map(|(key, db)| KeyOp::Move { key, db }),
        bytes().prop_map(KeyOp::Keys),
        scan.prop_map(|((cursor, count), pattern, kind)| KeyOp::Scan {
            cursor,
            count,
            pattern,
            kind
        }),
        Just(KeyOp::RandomKey),
        Just(KeyOp::DbSize),
        any::<bool>().prop_map(|all| KeyOp::Flush { all }),
        (0..16u8, 0..16u8).prop_map(|(one, other)| KeyOp::Swap(one, other)),
        (bytes(), about).prop_map(|(key, about)| KeyOp::Object { key, about }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let key_op = prop_oneof![string(), generic()];
    let watch = (0..16u8, bytes(), id()).prop_map(|(db, key, version)| Watch { db, key, version });
    prop_oneof![
        9 => (0..16u8, key_op).prop_map(|(db, op)| Op::Key { db, op }),
        1 => (any::<u32>(), vec(watch, 0..3)).prop_map(|(ops, watched)| Op::Guard { ops, watched }),
    ]
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
fn the_bytes_are_these() {
    let key = Op::Key {
        db: 3,
        op: KeyOp::Expire {
            key: "k".into(),
            expiry: Expiry::In(-2),
            only: ExpireIf {
                gt: true,
                ..ExpireIf::default()
            },
        },
    };
    let bytes = b"\x10\x03\x44\0\0\0\x01k\x01\xff\xff\xff\xff\xff\xff\xff\xfe\x04";
    assert_eq!(encode(&[key])[..], bytes[..]);
    let guard = Op::Guard {
        ops: 1,
        watched: vec![Watch {
            db: 2,
            key: "k".into(),
            version: MessageId { ms: 5, seq: 6 },
        }],
    };
    let bytes = b"\x11\0\0\0\x01\0\0\0\x01\x02\0\0\0\x01k\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x06";
    assert_eq!(encode(&[guard])[..], bytes[..]);
}

#[test]
fn what_no_parser_writes_is_an_error() {
    for (what, bytes) in [
        ("no such database", &b"\x10\x10\x4c"[..]),
        (
            "an odd number of pairs",
            b"\x10\0\x07\0\0\0\x01\0\0\0\x01k\0",
        ),
        ("neither yes nor no", b"\x10\0\x4d\x02"),
        ("no such condition", b"\x10\0\x44\0\0\0\x01k\0\x10"),
        ("no such operation", b"\x10\0\xff"),
        ("more keys than bytes", b"\x10\0\x40\xff\xff\xff\xff"),
        ("more watched than bytes", b"\x11\0\0\0\0\xff\xff\xff\xff"),
    ] {
        assert!(decode_ops(1, Bytes::from_static(bytes)).is_err(), "{what}");
    }
}

proptest! {
    #[test]
    fn operations_survive_the_round_trip(ops in vec(op(), 0..8)) {
        let count = u32::try_from(ops.len()).expect("few");
        prop_assert_eq!(decode_ops(count, encode(&ops)), Ok(ops));
    }

    #[test]
    fn cut_operations_are_an_error(op in op(), cut: prop::sample::Index) {
        let data = encode(&[op]);
        let decoded = decode_ops(1, data.slice(..cut.index(data.len())));
        prop_assert!(matches!(decoded, Err(DecodeError::Truncated { .. })), "{:?}", decoded);
    }

    #[test]
    fn time_survives_the_round_trip(stamp in id()) {
        let head = EntryHead::Time { stamp };
        prop_assert_eq!(EntryHead::decode(head.encode()), Ok(head));
    }

    /// Whatever decodes is exactly what encodes to the same bytes: nothing is ignored.
    #[test]
    fn arbitrary_bytes_decode_one_way(
        tag in 0x10..0x12u8, db in 0..3u8, op in 0..0x50u8, rest in vec(0..6u8, 0..40),
    ) {
        let bytes = Bytes::from([&[tag, db, op][..], &rest].concat());
        if let Ok(ops) = decode_ops(1, bytes.clone()) {
            prop_assert_eq!(encode(&ops), bytes);
        }
    }

    /// Permissions are checked with the request that an operation could have come from.
    #[test]
    fn every_operation_has_a_request(op in prop_oneof![string(), generic()]) {
        prop_assert!(op.request()[0].eq_ignore_ascii_case(op.command().as_bytes()));
    }
}
