//! A readable encoder that counts what it encodes.

use bytes::{BufMut, BytesMut};
use corgi_base::{Protocol, Via};
use corgi_bus::Encoder;
use std::cell::Cell;

/// Writes `[message a x]` for RESP2 and `>[message a x]` for RESP3.
#[derive(Debug, Default)]
pub(crate) struct Readable {
    /// How many frames were encoded.
    pub(crate) frames: Cell<usize>,
}

impl Encoder for Readable {
    fn message(
        &self,
        protocol: Protocol,
        via: Via<'_>,
        channel: &[u8],
        payload: &[u8],
        out: &mut BytesMut,
    ) {
        self.frames.set(self.frames.get() + 1);
        if protocol == Protocol::Resp3 {
            out.put_u8(b'>');
        }
        match via {
            Via::Channel => out.put_slice(b"[message"),
            Via::Shard => out.put_slice(b"[smessage"),
            Via::Pattern(pattern) => {
                out.put_slice(b"[pmessage ");
                out.put_slice(pattern);
            }
        }
        for field in [channel, payload] {
            out.put_u8(b' ');
            out.put_slice(field);
        }
        out.put_u8(b']');
    }
}
