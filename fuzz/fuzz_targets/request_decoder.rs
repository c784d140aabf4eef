//! Bytes of a client: what is accepted, redis-protocol accepts equally, and where the stream is cut does not matter.
//!
//! The first byte of the input says how long the pieces are; the rest is the stream.
#![no_main]

use bytes::BytesMut;
use corgi_resp::{Decoder, Limits, ProtocolError, Request};
use libfuzzer_sys::fuzz_target;
use redis_protocol::resp2::decode::decode as oracle;
use redis_protocol::resp2::types::OwnedFrame;

type Decoded = (Vec<Request>, Option<ProtocolError>);

/// Small, so that inputs of a few kilobytes reach them.
const LIMITS: Limits = Limits {
    max_inline: 256,
    proto_max_bulk_len: 1024,
    max_args: 64,
    max_request_bytes: 2048,
};

fuzz_target!(|data: &[u8]| {
    let Some((size, stream)) = data.split_first() else {
        return;
    };
    for authenticated in [false, true] {
        let whole = decode(stream, stream.len(), authenticated);
        for size in [1, usize::from(*size)] {
            same(&whole, &decode(stream, size, authenticated));
        }
    }
    as_the_oracle(stream);
});

fn decoder(authenticated: bool) -> Decoder {
    let mut decoder = Decoder::new(LIMITS);
    decoder.set_authenticated(authenticated);
    decoder
}

/// Decodes the stream in pieces of this size.
fn decode(stream: &[u8], size: usize, authenticated: bool) -> Decoded {
    let mut decoder = decoder(authenticated);
    let mut input = BytesMut::new();
    let mut requests = Vec::new();
    for piece in stream.chunks(size.max(1)) {
        input.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(request)) => {
                    assert!(!request.args.is_empty());
                    requests.push(request);
                }
                Ok(None) => break,
                Err(error) => return (requests, Some(error)),
            }
        }
    }
    (requests, None)
}

/// The one exception is on purpose: of what is seen to be HTTP, no inline request before it in the same buffer is
/// returned, nor is it looked at. Cut elsewhere, such a line may be a request, or wrong.
fn same(whole: &Decoded, cut: &Decoded) {
    if whole.1 == Some(ProtocolError::CrossProtocol) {
        assert!(cut.1.is_some() && cut.0.starts_with(&whole.0));
    } else {
        assert_eq!(whole, cut);
    }
}

fn as_the_oracle(stream: &[u8]) {
    let mut decoder = decoder(true);
    let mut input = BytesMut::from(stream);
    let mut before = stream;
    while let Ok(Some(request)) = decoder.decode(&mut input) {
        let (consumed, rest) = before.split_at(before.len() - input.len());
        before = rest;
        let array = without_empty(consumed);
        if array.first() == Some(&b'*') {
            let (frame, len) = oracle(array).expect("accepted").expect("complete");
            let bulks = request.args.iter().map(|arg| arg.to_vec());
            assert_eq!(
                frame,
                OwnedFrame::Array(bulks.map(OwnedFrame::BulkString).collect())
            );
            assert_eq!(len, array.len());
        }
    }
}

/// Drops what Redis, but not the oracle, skips: arrays of no or a negative number of elements, and empty lines.
fn without_empty(mut bytes: &[u8]) -> &[u8] {
    let skipped = |line: &[u8]| match line.strip_prefix(b"*") {
        Some(count) => count.starts_with(b"0") || count.starts_with(b"-"),
        None => line.trim_ascii().is_empty(),
    };
    while let Some(end) = bytes.iter().position(|byte| *byte == b'\n')
        && skipped(&bytes[..end])
    {
        bytes = &bytes[end + 1..];
    }
    bytes
}
