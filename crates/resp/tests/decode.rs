//! Properties of the request decoder.

use bytes::BytesMut;
use corgi_resp::{Decoder, Limits, ProtocolError, Request};
use proptest::collection::vec;
use proptest::prelude::*;
use redis_protocol::resp2::decode::decode as oracle;
use redis_protocol::resp2::types::OwnedFrame;

type Args = Vec<Vec<u8>>;

fn decoder() -> Decoder {
    let mut decoder = Decoder::new(Limits::default());
    decoder.set_authenticated(true);
    decoder
}

fn array(args: &[Vec<u8>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn plain(request: &Request) -> Args {
    request.args.iter().map(|arg| arg.to_vec()).collect()
}

/// Feeds the stream in pieces; the last size repeats.
fn feed(stream: &[u8], sizes: &[usize]) -> Result<Vec<Args>, ProtocolError> {
    let mut decoder = decoder();
    let mut input = BytesMut::new();
    let mut requests = Vec::new();
    let mut rest = stream;
    let mut sizes = sizes.iter().copied();
    let mut size = 1;
    while !rest.is_empty() {
        size = sizes.next().unwrap_or(size);
        let (piece, after) = rest.split_at(size.clamp(1, rest.len()));
        rest = after;
        input.extend_from_slice(piece);
        while let Some(request) = decoder.decode(&mut input)? {
            requests.push(plain(&request));
        }
    }
    Ok(requests)
}

fn args() -> impl Strategy<Value = Args> {
    let arg = prop_oneof![
        4 => vec(any::<u8>(), 0..20),
        1 => vec(any::<u8>(), 0..20_000),
        2 => vec(prop::sample::select(b"\r\n*$:0123 \"'".to_vec()), 0..20),
    ];
    vec(arg, 1..6)
}

/// Bytes that get far into the decoder: pieces of the protocol in any order.
fn almost_requests() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&[u8]> = vec![
        b"*",
        b"$",
        b"\r\n",
        b"\r",
        b"\n",
        b"0",
        b"1",
        b"2",
        b"3",
        b"-",
        b"+",
        b":",
        b"*1\r\n",
        b"*2\r\n",
        b"$1\r\na\r\n",
        b"$0\r\n\r\n",
        b"$3\r\nfoo\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"\"",
        b"'",
        b"\\x41",
        b" ",
        b"PING",
        b"\0",
        b"\xff",
    ];
    vec(prop::sample::select(pieces), 0..24).prop_map(|pieces| pieces.concat())
}

/// Drops what Redis, but not the oracle, skips: arrays of no or a negative number of elements.
fn skip_empty(mut bytes: &[u8]) -> &[u8] {
    while let Some(rest) = bytes.strip_prefix(b"*")
        && (rest.starts_with(b"0\r\n") || rest.starts_with(b"-"))
    {
        let end = rest
            .iter()
            .position(|&byte| byte == b'\n')
            .expect("an accepted header ends");
        bytes = &rest[end + 1..];
    }
    bytes
}

proptest! {
    #[test]
    fn requests_come_out_as_they_went_in(
        requests in vec(args(), 0..4),
        sizes in vec(1_usize..5000, 1..20),
    ) {
        let stream: Vec<u8> = requests.iter().flat_map(|args| array(args)).collect();
        prop_assert_eq!(feed(&stream, &[stream.len()]), Ok(requests.clone()));
        prop_assert_eq!(feed(&stream, &[1]), Ok(requests.clone()));
        prop_assert_eq!(feed(&stream, &sizes), Ok(requests));
    }

    #[test]
    fn flat_arrays_decode_as_the_oracle_decodes_them(args in args()) {
        let stream = array(&args);
        let (frame, consumed) = oracle(&stream).unwrap().unwrap();
        prop_assert_eq!(consumed, stream.len());
        let bulks = args.iter().cloned().map(OwnedFrame::BulkString).collect();
        prop_assert_eq!(frame, OwnedFrame::Array(bulks));
        prop_assert_eq!(feed(&stream, &[stream.len()]), Ok(vec![args]));
    }

    #[test]
    fn what_is_accepted_the_oracle_accepts_equally(
        mut stream in prop_oneof![args().prop_map(|args| array(&args)), almost_requests()],
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![any::<u8>(), prop::sample::select(b"\r\n*$-+0123456789".to_vec())],
    ) {
        if !stream.is_empty() {
            let at = at.index(stream.len().min(64));
            stream[at] = byte;
        }
        let mut input = BytesMut::from(&stream[..]);
        let mut decoder = decoder();
        let mut before = &stream[..];
        while let Ok(Some(request)) = decoder.decode(&mut input) {
            let consumed = &before[..before.len() - input.len()];
            before = &before[consumed.len()..];
            let array = skip_empty(consumed);
            if array.first() == Some(&b'*') {
                let (frame, len) = oracle(array).unwrap().unwrap();
                let bulks = plain(&request).into_iter().map(OwnedFrame::BulkString).collect();
                prop_assert_eq!(frame, OwnedFrame::Array(bulks));
                prop_assert_eq!(len, array.len());
            }
        }
    }

    #[test]
    fn the_cut_of_a_stream_does_not_matter(
        stream in prop_oneof![vec(any::<u8>(), 0..200), almost_requests()],
        sizes in vec(1_usize..40, 1..20),
    ) {
        let whole = feed(&stream, &[stream.len()]);
        prop_assert_eq!(&feed(&stream, &[1]), &whole);
        prop_assert_eq!(&feed(&stream, &sizes), &whole);
    }

    #[test]
    fn errors_are_for_ever(stream in prop_oneof![vec(any::<u8>(), 0..200), almost_requests()]) {
        let mut input = BytesMut::from(&stream[..]);
        let mut decoder = decoder();
        let end = loop {
            match decoder.decode(&mut input) {
                Ok(Some(request)) => prop_assert!(!request.args.is_empty()),
                end => break end,
            }
        };
        if end.is_err() {
            input.extend_from_slice(b"\r\n*1\r\n$4\r\nPING\r\nPING\r\n");
            let left = input.len();
            prop_assert_eq!(decoder.decode(&mut input), end);
            prop_assert_eq!(input.len(), left);
        } else {
            prop_assert_eq!(decoder.decode(&mut input), Ok(None));
        }
    }
}

#[test]
fn a_million_nested_arrays_are_one_error() {
    let stream = b"*1\r\n".repeat(1_000_000);
    assert_eq!(
        feed(&stream, &[stream.len()]),
        Err(ProtocolError::ExpectedBulk { got: b'*' })
    );
    assert_eq!(
        feed(&stream, &[1]),
        Err(ProtocolError::ExpectedBulk { got: b'*' })
    );
}

#[test]
fn inline_and_array_requests_mix_in_one_stream() {
    let stream = b"PING\r\n*2\r\n$4\r\nECHO\r\n$2\r\n\r\n\r\n\r\nSET \"a b\" 'c'\n*0\r\nPING\n";
    let words = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect();
    let expected: Vec<Args> = vec![
        words(&["PING"]),
        words(&["ECHO", "\r\n"]),
        words(&["SET", "a b", "c"]),
        words(&["PING"]),
    ];
    for sizes in [[1], [2], [7], [stream.len()]] {
        assert_eq!(feed(stream, &sizes).as_ref(), Ok(&expected));
    }
}
