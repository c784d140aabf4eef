//! Properties of the encoder: redis-protocol reads every reply back as one frame of the same value.

use bytes::{Bytes, BytesMut};
use corgi_base::{Protocol, Via};
use corgi_resp::{Reply, encode, encode_message};
use proptest::collection::vec;
use proptest::prelude::*;
use redis_protocol::resp2::decode::decode as decode_resp2;
use redis_protocol::resp2::types::OwnedFrame as Resp2;
use redis_protocol::resp3::decode::complete::decode as decode_resp3;
use redis_protocol::resp3::types::{OwnedFrame as Resp3, VerbatimStringFormat};

/// Bytes with everything that could be mistaken for protocol.
fn bytes() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        vec(any::<u8>(), 0..40),
        vec(
            prop::sample::select(b"\r\n\0+-:$*_#,>%~=1a\xff".to_vec()),
            0..20
        ),
    ]
    .prop_map(Bytes::from)
}

/// Errors that the oracle can read: its errors are UTF-8.
fn text() -> impl Strategy<Value = Bytes> {
    prop_oneof![any::<String>(), "[\r\n\\-+:$*a]{0,20}"].prop_map(Bytes::from)
}

fn leaf() -> impl Strategy<Value = Reply> {
    prop_oneof![
        bytes().prop_map(Reply::Simple),
        text().prop_map(Reply::Error),
        any::<i64>().prop_map(Reply::Integer),
        bytes().prop_map(Reply::Bulk),
        Just(Reply::Null),
        prop_oneof![any::<f64>(), (-1e6..1e6), any::<i32>().prop_map(f64::from)]
            .prop_map(Reply::Double),
        any::<bool>().prop_map(Reply::Boolean),
        bytes().prop_map(Reply::Verbatim),
    ]
}

/// Any reply. Sets and maps are left to the tests below, as the oracle keeps them in hash tables.
fn reply() -> impl Strategy<Value = Reply> {
    leaf().prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Reply::Array),
            vec((inner.clone(), inner), 0..4).prop_map(|pairs| Reply::Array(
                pairs
                    .into_iter()
                    .map(|(a, b)| { Reply::Array(vec![a, b]) })
                    .collect()
            )),
        ]
    })
}

fn line(text: &Bytes) -> Vec<u8> {
    let space = |byte: &u8| {
        if matches!(byte, b'\r' | b'\n' | 0) {
            b' '
        } else {
            *byte
        }
    };
    text.iter().map(space).collect()
}

fn line_text(text: &Bytes) -> String {
    String::from_utf8(line(text)).expect("replacing ASCII keeps UTF-8")
}

fn encoded(reply: &Reply, protocol: Protocol) -> BytesMut {
    let mut out = BytesMut::new();
    encode(reply, protocol, &mut out);
    out
}

/// What the reply must read back as, doubles aside.
fn resp2(reply: &Reply) -> Resp2 {
    match reply {
        Reply::Simple(text) => Resp2::SimpleString(line(text)),
        Reply::Error(text) => Resp2::Error(line_text(text)),
        Reply::Integer(value) => Resp2::Integer(*value),
        Reply::Bulk(bytes) | Reply::Verbatim(bytes) => Resp2::BulkString(bytes.to_vec()),
        Reply::Null | Reply::NullArray => Resp2::Null,
        Reply::Boolean(value) => Resp2::Integer(i64::from(*value)),
        Reply::Double(_) => {
            let out = encoded(reply, Protocol::Resp3);
            Resp2::BulkString(out[1..out.len() - 2].to_vec())
        }
        Reply::Array(items) | Reply::Push(items) | Reply::Set(items) => {
            Resp2::Array(items.iter().map(resp2).collect())
        }
        Reply::Keyed(pairs) => {
            let pair = |(key, value): &(Reply, Reply)| Resp2::Array(vec![resp2(key), resp2(value)]);
            Resp2::Array(pairs.iter().map(pair).collect())
        }
        Reply::Map(pairs) => Resp2::Array(
            pairs
                .iter()
                .flat_map(|(key, value)| [resp2(key), resp2(value)])
                .collect(),
        ),
    }
}

fn resp3(reply: &Reply) -> Resp3 {
    let attributes = None;
    match reply {
        Reply::Simple(text) => Resp3::SimpleString {
            data: line(text),
            attributes,
        },
        Reply::Error(text) => Resp3::SimpleError {
            data: line_text(text),
            attributes,
        },
        Reply::Integer(value) => Resp3::Number {
            data: *value,
            attributes,
        },
        Reply::Bulk(bytes) => Resp3::BlobString {
            data: bytes.to_vec(),
            attributes,
        },
        Reply::Null | Reply::NullArray => Resp3::Null,
        Reply::Boolean(value) => Resp3::Boolean {
            data: *value,
            attributes,
        },
        Reply::Double(value) => Resp3::Double {
            data: *value,
            attributes,
        },
        Reply::Verbatim(text) => {
            let format = VerbatimStringFormat::Text;
            Resp3::VerbatimString {
                data: text.to_vec(),
                format,
                attributes,
            }
        }
        Reply::Array(items) => Resp3::Array {
            data: items.iter().map(resp3).collect(),
            attributes,
        },
        Reply::Push(items) => Resp3::Push {
            data: items.iter().map(resp3).collect(),
            attributes,
        },
        Reply::Set(items) => Resp3::Set {
            data: items.iter().map(resp3).collect(),
            attributes,
        },
        Reply::Map(pairs) | Reply::Keyed(pairs) => {
            let data = pairs
                .iter()
                .map(|(key, value)| (resp3(key), resp3(value)))
                .collect();
            Resp3::Map { data, attributes }
        }
    }
}

fn one_resp2(out: &[u8]) -> Result<Resp2, TestCaseError> {
    let (frame, consumed) = decode_resp2(out).expect("valid").expect("complete");
    prop_assert_eq!(consumed, out.len(), "{}", out.escape_ascii());
    Ok(frame)
}

fn one_resp3(out: &[u8]) -> Result<Resp3, TestCaseError> {
    let (frame, consumed) = decode_resp3(out).expect("valid").expect("complete");
    prop_assert_eq!(consumed, out.len(), "{}", out.escape_ascii());
    Ok(frame)
}

proptest! {
    #[test]
    fn a_reply_reads_back_as_one_frame(reply in reply()) {
        prop_assert_eq!(one_resp2(&encoded(&reply, Protocol::Resp2))?, resp2(&reply));
        prop_assert_eq!(one_resp3(&encoded(&reply, Protocol::Resp3))?, resp3(&reply));
    }

    #[test]
    fn a_push_reads_back_as_one_frame(
        pattern in proptest::option::of(bytes()),
        shard in any::<bool>(),
        channel in bytes(),
        payload in bytes(),
    ) {
        let (name, via) = match &pattern {
            Some(pattern) => ("pmessage", Via::Pattern(pattern)),
            None if shard => ("smessage", Via::Shard),
            None => ("message", Via::Channel),
        };
        let mut parts = vec![Reply::bulk(name)];
        parts.extend(pattern.clone().map(Reply::Bulk));
        parts.extend([Reply::Bulk(channel.clone()), Reply::Bulk(payload.clone())]);
        let push = Reply::Push(parts);
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            let mut out = BytesMut::new();
            encode_message(via, &channel, &payload, protocol, &mut out);
            prop_assert_eq!(&out, &encoded(&push, protocol));
            match protocol {
                Protocol::Resp2 => prop_assert_eq!(one_resp2(&out)?, resp2(&push)),
                Protocol::Resp3 => prop_assert_eq!(one_resp3(&out)?, resp3(&push)),
            }
        }
    }

    #[test]
    fn maps_and_sets_read_back_as_one_frame(
        keys in proptest::collection::btree_set("[a-z\r\n]{0,8}", 0..8),
        value in leaf(),
    ) {
        let pairs = keys.iter().map(|key| (Reply::bulk(key.clone()), value.clone())).collect();
        let items = keys.iter().map(|key| Reply::bulk(key.clone())).collect();
        for reply in [Reply::Map(pairs), Reply::Set(items)] {
            prop_assert_eq!(one_resp2(&encoded(&reply, Protocol::Resp2))?, resp2(&reply));
            prop_assert_eq!(one_resp3(&encoded(&reply, Protocol::Resp3))?, resp3(&reply));
        }
    }

    #[test]
    fn an_error_of_any_bytes_is_one_line(text in bytes()) {
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            let mut expected = b"-".to_vec();
            expected.extend(line(&text));
            expected.extend_from_slice(b"\r\n");
            prop_assert_eq!(&encoded(&Reply::Error(text.clone()), protocol)[..], &expected[..]);
        }
    }
}
