//! Bytes that come from other nodes, behind the frame and its checksum: payloads, the operations of a forwarded batch,
//! and heads of entries. Each is an error, or something that is written with exactly these bytes.
#![no_main]

use bytes::Bytes;
use corgi_base::EntryHead;
use corgi_base::op::decode_ops;
use corgi_node::{Lane, PeerMessage};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    for lane in [Lane::Control, Lane::Bulk] {
        let Ok(message) = PeerMessage::decode(lane, bytes.clone()) else {
            continue;
        };
        let (mut written, payload) = message.encode();
        written.extend_from_slice(&payload);
        assert_eq!(written, data);
        if let PeerMessage::Forward { ops, data, .. } = message
            && let Ok(decoded) = decode_ops(ops, data.clone())
        {
            let mut written = Vec::new();
            for op in &decoded {
                op.encode(&mut written);
            }
            assert_eq!(written, data);
        }
    }
    if let Ok(head) = EntryHead::decode(bytes.clone()) {
        assert_eq!(head.encode(), bytes);
    }
});
