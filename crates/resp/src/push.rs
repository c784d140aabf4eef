//! Messages and confirmations, written straight into the buffer: what a bus sends most.
//!
//! The bytes are those of [`crate::encode()`] for the same [`crate::Reply::Push`]; the tests hold the
//! two together. Source: <https://redis.io/docs/latest/develop/interact/pubsub/>.

use crate::encode::{DECIMAL_MAX, put_header};
use bytes::{BufMut, BytesMut};
use corgi_base::{Protocol, SubscriptionKind, Via};

/// What a bulk string takes besides its bytes, at most.
const BULK_EXTRA: usize = 1 + DECIMAL_MAX + 2 + 2;
/// What the head of a push and its name take, at most.
const HEAD: usize = 32;

/// Appends one message for a subscriber: `message channel payload`, `smessage channel payload` on a
/// shard channel, or `pmessage pattern channel payload` if it came through a pattern.
pub fn encode_message(
    via: Via<'_>,
    channel: &[u8],
    payload: &[u8],
    protocol: Protocol,
    out: &mut BytesMut,
) {
    let pattern = match via {
        Via::Channel | Via::Shard => &[],
        Via::Pattern(pattern) => pattern,
    };
    let bytes = pattern.len() + channel.len() + payload.len();
    out.reserve(HEAD + 3 * BULK_EXTRA + bytes);
    out.put_u8(push_byte(protocol));
    match via {
        Via::Channel => out.put_slice(b"3\r\n$7\r\nmessage\r\n"),
        Via::Shard => out.put_slice(b"3\r\n$8\r\nsmessage\r\n"),
        Via::Pattern(pattern) => {
            out.put_slice(b"4\r\n$8\r\npmessage\r\n");
            put_bulk(pattern, out);
        }
    }
    put_bulk(channel, out);
    put_bulk(payload, out);
}

/// Appends the confirmation that one name of a `SUBSCRIBE`, `PSUBSCRIBE`, `SSUBSCRIBE` (`on`) or of
/// one of their opposites took effect, with the number of subscriptions that the connection now has:
/// of channels and patterns, or of shard channels.
///
/// `name` is `None` only where all were to be unsubscribed and there were none; it is then sent as
/// null.
pub fn encode_subscription(
    on: bool,
    kind: SubscriptionKind,
    name: Option<&[u8]>,
    count: u64,
    protocol: Protocol,
    out: &mut BytesMut,
) {
    out.reserve(HEAD + 2 * BULK_EXTRA + name.map_or(0, <[u8]>::len));
    out.put_u8(push_byte(protocol));
    out.put_slice(match (on, kind) {
        (true, SubscriptionKind::Channel) => b"3\r\n$9\r\nsubscribe\r\n",
        (false, SubscriptionKind::Channel) => b"3\r\n$11\r\nunsubscribe\r\n",
        (true, SubscriptionKind::Pattern) => b"3\r\n$10\r\npsubscribe\r\n",
        (false, SubscriptionKind::Pattern) => b"3\r\n$12\r\npunsubscribe\r\n",
        (true, SubscriptionKind::Shard) => b"3\r\n$10\r\nssubscribe\r\n",
        (false, SubscriptionKind::Shard) => b"3\r\n$12\r\nsunsubscribe\r\n",
    });
    match (name, protocol) {
        (Some(name), _) => put_bulk(name, out),
        (None, Protocol::Resp2) => out.put_slice(b"$-1\r\n"),
        (None, Protocol::Resp3) => out.put_slice(b"_\r\n"),
    }
    put_header(b':', count, out);
}

/// RESP2 has no type of its own for what no request asked for.
fn push_byte(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Resp2 => b'*',
        Protocol::Resp3 => b'>',
    }
}

fn put_bulk(bytes: &[u8], out: &mut BytesMut) {
    put_header(b'$', bytes.len() as u64, out);
    out.put_slice(bytes);
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reply, encode};
    use bytes::Bytes;

    const BOTH: [Protocol; 2] = [Protocol::Resp2, Protocol::Resp3];

    fn by_reply(parts: Vec<Reply>, protocol: Protocol) -> BytesMut {
        let mut out = BytesMut::new();
        encode(&Reply::Push(parts), protocol, &mut out);
        out
    }

    #[test]
    fn messages_equal_the_push_of_the_same_parts() {
        let large = vec![b'x'; 100_000];
        for protocol in BOTH {
            for payload in [&b""[..], b"hello", b"a\r\nb", &large] {
                let bulk = |bytes: &[u8]| Reply::Bulk(Bytes::copy_from_slice(bytes));
                let mut out = BytesMut::new();
                encode_message(Via::Channel, b"news", payload, protocol, &mut out);
                let parts = vec![bulk(b"message"), bulk(b"news"), bulk(payload)];
                assert_eq!(out, by_reply(parts, protocol));

                out.clear();
                encode_message(Via::Shard, b"news", payload, protocol, &mut out);
                let parts = vec![bulk(b"smessage"), bulk(b"news"), bulk(payload)];
                assert_eq!(out, by_reply(parts, protocol));

                out.clear();
                encode_message(Via::Pattern(b"n*"), b"", payload, protocol, &mut out);
                let parts = vec![bulk(b"pmessage"), bulk(b"n*"), bulk(b""), bulk(payload)];
                assert_eq!(out, by_reply(parts, protocol));
            }
        }
    }

    #[test]
    fn one_reserve_is_enough() {
        let mut out = BytesMut::new();
        encode_message(
            Via::Pattern(b"p"),
            b"c",
            b"payload",
            Protocol::Resp3,
            &mut out,
        );
        let extra = out.capacity() - out.len();
        assert!(
            extra < HEAD + 3 * BULK_EXTRA,
            "the head fits in what is reserved for it"
        );
    }

    #[test]
    fn confirmations_equal_the_push_of_the_same_parts() {
        use SubscriptionKind::{Channel, Pattern, Shard};
        let table = [
            (true, Channel, "subscribe"),
            (false, Channel, "unsubscribe"),
            (true, Pattern, "psubscribe"),
            (false, Pattern, "punsubscribe"),
            (true, Shard, "ssubscribe"),
            (false, Shard, "sunsubscribe"),
        ];
        for protocol in BOTH {
            for (on, kind, word) in table {
                for name in [Some("a channel"), Some(""), None] {
                    let mut out = BytesMut::new();
                    let bytes = name.map(str::as_bytes);
                    encode_subscription(on, kind, bytes, 7, protocol, &mut out);
                    let name = name.map_or(Reply::Null, Reply::bulk);
                    let parts = vec![Reply::bulk(word), name, Reply::Integer(7)];
                    assert_eq!(out, by_reply(parts, protocol));
                }
            }
        }
    }

    #[test]
    fn confirmations_are_those_of_redis() {
        let mut out = BytesMut::new();
        let kind = SubscriptionKind::Channel;
        encode_subscription(true, kind, Some(b"a"), 1, Protocol::Resp2, &mut out);
        encode_subscription(false, kind, None, 0, Protocol::Resp2, &mut out);
        encode_subscription(false, kind, None, 0, Protocol::Resp3, &mut out);
        assert_eq!(
            &out[..],
            b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n\
              *3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n\
              >3\r\n$11\r\nunsubscribe\r\n_\r\n:0\r\n"
        );
    }
}
