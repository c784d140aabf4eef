//! The error texts that the node gives to clients: code first, then what happened, with what value, and what it means.

use bytes::Bytes;
use corgi_base::MessageId;

/// A write that was never sent.
pub(crate) fn cluster_down_write(write_ms: u64) -> Bytes {
    format!(
        "CLUSTERDOWN The cluster is down: no leader with a majority was found within {write_ms} ms; nothing was written"
    )
    .into()
}

/// A read or subscription that got no position.
pub(crate) fn cluster_down_read(write_ms: u64) -> Bytes {
    format!("CLUSTERDOWN The cluster is down: no majority answered within {write_ms} ms").into()
}

/// A write that was sent, and then nothing was heard.
pub(crate) fn indeterminate(write_ms: u64) -> Bytes {
    format!(
        "INDETERMINATE No majority confirmed the write within {write_ms} ms; it may or may not take effect"
    )
    .into()
}

/// Too much waits.
pub(crate) fn try_again(pending_bytes: usize) -> Bytes {
    format!(
        "TRYAGAIN Too many writes wait on this node ({pending_bytes} bytes); nothing was written, try again later"
    )
    .into()
}

/// A subscriber that is so far behind that the log has lost what it must get next.
pub(crate) fn lagged(first: MessageId) -> Bytes {
    format!("LAGGED first available id {first}").into()
}
