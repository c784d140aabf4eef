//! The error texts that the node gives to clients: code first, then what happened, with what value, and what it means.

use bytes::Bytes;
use corgi_base::NodeId;

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

/// A subscriber, or a new subscription, of a node that no majority answers.
pub(crate) fn quorum_lost(loss_ms: u64) -> Bytes {
    format!(
        "CLUSTERDOWN The cluster is down: no majority has answered this node for {loss_ms} ms; subscribe again, here or at another node"
    )
    .into()
}

/// A write that was sent, and then nothing was heard.
pub(crate) fn indeterminate(write_ms: u64) -> Bytes {
    format!(
        "INDETERMINATE No majority confirmed the write within {write_ms} ms; it may or may not take effect"
    )
    .into()
}

/// A disk on the way of a write is almost full. `space` is what is free and what must be, of this node's own.
pub(crate) fn disk_low(node: NodeId, space: Option<(u64, u64)>) -> Bytes {
    let space = space.map_or_else(String::new, |(free, needed)| {
        format!(" ({free} bytes are free, {needed} must be)")
    });
    format!(
        "MISCONF The disk of node {node} is almost full{space}; nothing was written. Writes are taken again when there is room"
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

/// A subscriber that reads more slowly than messages arrive.
pub(crate) fn lagged(queued: u64, limit: u64) -> Bytes {
    format!(
        "LAGGED Messages arrive faster than this connection reads: {queued} bytes wait, the limit is {limit}; subscribe again"
    )
    .into()
}
