//! Replies to bytes.
//!
//! redis-protocol writes the leaves. Three things are written by hand, because its frames cannot
//! say them:
//! - headers of arrays, maps, sets and pushes: its maps and sets are hash tables, which would lose
//!   the order of the pairs, and its RESP2 has no null array. Whole frames would also copy the
//!   reply once more;
//! - errors: its error is a `str`, but an error repeats a client's arguments, which may be any
//!   bytes;
//! - doubles: it writes `1e300` with 301 digits, Redis does not.

use crate::reply::Reply;
use bytes::{BufMut, BytesMut};
use corgi_base::Protocol;
use redis_protocol::resp2::encode::extend_encode_borrowed as extend_resp2;
use redis_protocol::resp2::types::BorrowedFrame as Resp2;
use redis_protocol::resp3::encode::complete::extend_encode_borrowed as extend_resp3;
use redis_protocol::resp3::types::{BorrowedFrame as Resp3, VerbatimStringFormat};
use std::borrow::Cow;

/// The most bytes that a `u64` has in decimal.
pub(crate) const DECIMAL_MAX: usize = 20;

/// Appends one reply as a connection of the given protocol version expects it: exactly one frame,
/// whatever the bytes in it.
///
/// In simple strings and errors CR and LF become spaces, as in Redis, and so does NUL, which Redis
/// never has there. Recurses as deep as the reply is nested, which the code that makes replies
/// decides, not a client.
pub fn encode(reply: &Reply, protocol: Protocol, out: &mut BytesMut) {
    let resp3 = protocol == Protocol::Resp3;
    match reply {
        Reply::Simple(text) => leaf2(&Resp2::SimpleString(&one_line(text)), out),
        Reply::Error(text) => {
            out.put_u8(b'-');
            out.put_slice(&one_line(text));
            out.put_slice(b"\r\n");
        }
        Reply::Integer(value) => leaf2(&Resp2::Integer(*value), out),
        Reply::Bulk(bytes) => leaf2(&Resp2::BulkString(bytes), out),
        Reply::Null | Reply::NullArray if resp3 => leaf3(&Resp3::Null, out),
        Reply::Null => leaf2(&Resp2::Null, out),
        Reply::NullArray => out.put_slice(b"*-1\r\n"),
        Reply::Array(items) => aggregate(b'*', items, protocol, out),
        Reply::Push(items) => aggregate(if resp3 { b'>' } else { b'*' }, items, protocol, out),
        Reply::Set(items) => aggregate(if resp3 { b'~' } else { b'*' }, items, protocol, out),
        Reply::Keyed(pairs) => {
            put_header(if resp3 { b'%' } else { b'*' }, pairs.len() as u64, out);
            for (key, value) in pairs {
                if !resp3 {
                    put_header(b'*', 2, out);
                }
                encode(key, protocol, out);
                encode(value, protocol, out);
            }
        }
        Reply::Map(pairs) => {
            let (kind, count) = if resp3 {
                (b'%', pairs.len())
            } else {
                (b'*', 2 * pairs.len())
            };
            put_header(kind, count as u64, out);
            for (key, value) in pairs {
                encode(key, protocol, out);
                encode(value, protocol, out);
            }
        }
        Reply::Double(value) if resp3 => {
            out.put_u8(b',');
            out.put_slice(double_text(*value).as_bytes());
            out.put_slice(b"\r\n");
        }
        Reply::Double(value) => leaf2(&Resp2::BulkString(double_text(*value).as_bytes()), out),
        Reply::Boolean(value) if resp3 => {
            leaf3(
                &Resp3::Boolean {
                    data: *value,
                    attributes: None,
                },
                out,
            );
        }
        Reply::Boolean(value) => leaf2(&Resp2::Integer(i64::from(*value)), out),
        Reply::Verbatim(text) if resp3 => {
            let format = VerbatimStringFormat::Text;
            leaf3(
                &Resp3::VerbatimString {
                    data: text,
                    format,
                    attributes: None,
                },
                out,
            );
        }
        Reply::Verbatim(text) => leaf2(&Resp2::BulkString(text), out),
    }
}

fn aggregate(kind: u8, items: &[Reply], protocol: Protocol, out: &mut BytesMut) {
    put_header(kind, items.len() as u64, out);
    for item in items {
        encode(item, protocol, out);
    }
}

/// Appends a frame that has the same bytes in both versions.
fn leaf2(frame: &Resp2<'_>, out: &mut BytesMut) {
    let end = extend_resp2(out, frame, false).expect("the call makes the room it needs");
    cut(end, out);
}

fn leaf3(frame: &Resp3<'_>, out: &mut BytesMut) {
    let end = extend_resp3(out, frame, false).expect("the call makes the room it needs");
    cut(end, out);
}

/// redis-protocol counts digits with a floating-point logarithm and reserves one too many for
/// integers just below a large power of ten; the NUL that this leaves at the end would break the
/// next frame.
fn cut(end: usize, out: &mut BytesMut) {
    out.truncate(end);
}

/// Appends a type byte, a decimal number and CRLF.
pub(crate) fn put_header(kind: u8, number: u64, out: &mut BytesMut) {
    let mut digits = [0; DECIMAL_MAX];
    out.put_u8(kind);
    out.put_slice(decimal(number, &mut digits));
    out.put_slice(b"\r\n");
}

fn decimal(mut number: u64, digits: &mut [u8; DECIMAL_MAX]) -> &[u8] {
    let mut at = DECIMAL_MAX;
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).expect("a remainder of ten is below ten");
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}

/// The text with everything that could end a line too early replaced by spaces.
fn one_line(text: &[u8]) -> Cow<'_, [u8]> {
    let breaks = |byte: &u8| matches!(byte, b'\r' | b'\n' | 0);
    if !text.iter().any(breaks) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(
        text.iter()
            .map(|byte| if breaks(byte) { b' ' } else { *byte })
            .collect(),
    )
}

/// A double as Redis since 7.2 prints it: the shortest digits that read back as the same number; as
/// an integer where it is one below 2^62; with an exponent where the plain form would be long.
fn double_text(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if value == 0.0 || (value.fract() == 0.0 && value.abs() <= 4_611_686_018_427_387_904.0) {
        return format!("{value}");
    }
    // "d.ddde±x": the digits and the exponent of the first one.
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific
        .split_once('e')
        .expect("the format has an exponent");
    let exponent: i32 = exponent
        .parse()
        .expect("the exponent of a double is a small integer");
    let digits = i32::try_from(mantissa.bytes().filter(u8::is_ascii_digit).count())
        .expect("a double has at most 17 digits");
    // The power of ten of the last digit.
    let last = exponent + 1 - digits;
    let plain = if last >= 0 {
        exponent.abs() < digits + 7
    } else {
        last > -7 || exponent.abs() < 4
    };
    if plain {
        format!("{value}")
    } else {
        format!("{mantissa}e{exponent:+}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn bytes(reply: &Reply, protocol: Protocol) -> String {
        let mut out = BytesMut::from(&b"before"[..]);
        encode(reply, protocol, &mut out);
        assert_eq!(&out[..6], b"before");
        String::from_utf8(out[6..].to_vec()).unwrap()
    }

    fn check(reply: &Reply, resp2: &str, resp3: &str) {
        assert_eq!(bytes(reply, Protocol::Resp2), resp2, "{reply:?}");
        assert_eq!(bytes(reply, Protocol::Resp3), resp3, "{reply:?}");
    }

    #[test]
    fn every_type_is_written_as_redis_writes_it() {
        let one = || Reply::Integer(1);
        let same = |reply: Reply, text: &str| check(&reply, text, text);
        same(Reply::ok(), "+OK\r\n");
        same(Reply::error("ERR no"), "-ERR no\r\n");
        same(Reply::bulk("a\r\n\0"), "$4\r\na\r\n\0\r\n");
        same(Reply::bulk(""), "$0\r\n\r\n");
        same(Reply::Array(vec![]), "*0\r\n");
        same(
            Reply::Array(vec![one(), Reply::bulk("a")]),
            "*2\r\n:1\r\n$1\r\na\r\n",
        );
        check(&Reply::Null, "$-1\r\n", "_\r\n");
        check(&Reply::NullArray, "*-1\r\n", "_\r\n");
        check(&Reply::Boolean(true), ":1\r\n", "#t\r\n");
        check(&Reply::Boolean(false), ":0\r\n", "#f\r\n");
        check(&Reply::Double(3.5), "$3\r\n3.5\r\n", ",3.5\r\n");
        check(
            &Reply::Verbatim("a\r\nb".into()),
            "$4\r\na\r\nb\r\n",
            "=8\r\ntxt:a\r\nb\r\n",
        );
        check(&Reply::Push(vec![one()]), "*1\r\n:1\r\n", ">1\r\n:1\r\n");
        check(&Reply::Set(vec![one()]), "*1\r\n:1\r\n", "~1\r\n:1\r\n");
    }

    #[test]
    fn a_map_keeps_the_order_of_its_pairs() {
        let keys = [
            "server", "version", "proto", "id", "mode", "role", "modules",
        ];
        let pairs = keys.map(|key| (Reply::bulk(key), Reply::Null)).to_vec();
        let body = |null| {
            keys.map(|key| format!("${}\r\n{key}\r\n{null}", key.len()))
                .concat()
        };
        check(
            &Reply::Map(pairs),
            &format!("*14\r\n{}", body("$-1\r\n")),
            &format!("%7\r\n{}", body("_\r\n")),
        );
    }

    #[test]
    fn lines_cannot_be_split_by_what_is_in_them() {
        let evil = Bytes::from_static(b"a\r\n+b\n\r\0\xff");
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            let mut out = BytesMut::new();
            encode(&Reply::Error(evil.clone()), protocol, &mut out);
            encode(&Reply::Simple(evil.clone()), protocol, &mut out);
            assert_eq!(&out[..], b"-a  +b   \xff\r\n+a  +b   \xff\r\n");
        }
    }

    #[test]
    fn integers_near_powers_of_ten_have_no_stray_bytes() {
        let mut values = vec![0, i64::MAX, i64::MIN];
        for power in 0..19 {
            let power = 10_i64.pow(power);
            values.extend([power - 1, power, power + 1, 1 - power, -power, -power - 1]);
        }
        for value in values {
            let text = format!(":{value}\r\n");
            check(&Reply::Integer(value), &text, &text);
            if let Ok(number) = u64::try_from(value) {
                let mut out = BytesMut::new();
                put_header(b':', number, &mut out);
                assert_eq!(out, text.as_bytes());
            }
        }
        let mut out = BytesMut::new();
        put_header(b'*', u64::MAX, &mut out);
        assert_eq!(&out[..], b"*18446744073709551615\r\n");
    }

    #[test]
    fn doubles_have_the_form_of_redis() {
        let table = [
            (1.0, "1"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (0.000_123, "0.000123"),
            (0.000_001, "0.000001"),
            (0.000_000_1, "1e-7"),
            (1.5e-10, "1.5e-10"),
            (123_456.789, "123456.789"),
            (-4e18, "-4000000000000000000"),
            (5e18, "5e+18"),
            (1e20, "1e+20"),
            (-1e21, "-1e+21"),
            (3e300, "3e+300"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
            (-f64::NAN, "nan"),
        ];
        for (value, text) in table {
            assert_eq!(double_text(value), text);
        }
    }
}
