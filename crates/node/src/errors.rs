//! The error texts that the node gives to clients: code first, then what happened, with what value, and what it means.

use bytes::Bytes;
use corgi_base::{ClusterId, MessageId, NodeId};

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

/// A write that was under way when this node took on a snapshot.
pub(crate) fn indeterminate_skipped() -> Bytes {
    Bytes::from_static(
        b"INDETERMINATE This node had fallen behind and took on a snapshot; the write may or may not have taken effect",
    )
}

/// Why a node stops whose cluster has moved on.
pub(crate) fn unknown_level(level: u32, known: u32) -> String {
    format!(
        "the cluster has taken on feature level {level}, this build knows {known}: start a later release here."
    )
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

/// Redis' text for more keys than may be.
pub(crate) const OUT_OF_MEMORY: &[u8] = b"OOM command not allowed when used memory > 'maxmemory'.";

/// Redis' text for a client that waited and was told not to.
pub(crate) const UNBLOCKED: &[u8] = b"UNBLOCKED client unblocked via CLIENT UNBLOCK";

/// A client would have to wait for more keys than may be.
pub(crate) fn too_many_wait(watched: usize, max: usize) -> Bytes {
    format!(
        "ERR not waiting: the blocked clients of this node watch {watched} keys already, and all of them may watch {max}. \
         Read fewer streams at once, or without BLOCK"
    )
    .into()
}

/// Keys need that all members know them.
pub(crate) fn no_keys_yet(level: u32, needed: u32) -> Bytes {
    format!(
        "TRYAGAIN The cluster has feature level {level}, keys need {needed}: nothing was written. The level rises when all \
         members are up and know it"
    )
    .into()
}

/// The cluster is not ready for the history of channels yet.
pub(crate) fn no_history_yet(level: u32, needed: u32) -> Bytes {
    format!(
        "TRYAGAIN The cluster has feature level {level}, the history of channels needs {needed}. The level rises when all \
         members are up and know it"
    )
    .into()
}

/// What was asked for is not kept any more.
pub(crate) fn passed(first: MessageId) -> Bytes {
    format!("LAGGED first available id {first}: what the channel had before is not kept any more")
        .into()
}

/// An answer that would be too large.
pub(crate) fn too_much_history(bytes: u64, max: u64) -> Bytes {
    format!("ERR The answer would have up to {bytes} bytes, {max} at once are read: use COUNT")
        .into()
}

/// `XREAD … MAXSIZE`.
pub(crate) const NO_MAXSIZE: &[u8] =
    b"ERR MAXSIZE is not there for the history of channels, use COUNT";

/// What is not there, as in Redis.
pub(crate) const NO_SUCH_KEY: &[u8] = b"ERR no such key";

/// What this node should have.
pub(crate) fn unreadable(what: &str) -> Bytes {
    format!("ERR The history cannot be read here: {what}. Ask another node").into()
}

/// Too much waits.
pub(crate) fn try_again(pending_bytes: usize) -> Bytes {
    format!(
        "TRYAGAIN Too many writes wait on this node ({pending_bytes} bytes); nothing was written, try again later"
    )
    .into()
}

/// What no entry of the log can hold.
pub(crate) fn too_large(bytes: usize, max: usize) -> Bytes {
    format!(
        "ERR The write takes {bytes} bytes, at most {max} can be agreed at once: nothing was written; send less at once, or \
         raise proto-max-bulk-len on all nodes"
    )
    .into()
}

/// A write has waited for its turn, and little is left of its time.
pub(crate) fn waited_too_long(write_ms: u64) -> Bytes {
    format!(
        "TRYAGAIN More is written than the cluster takes: no turn came within three quarters of {write_ms} ms; nothing was \
         written, try again later"
    )
    .into()
}

/// Redis' text for a user that there must be.
pub(crate) const DEFAULT_USER: &[u8] = b"ERR The 'default' user cannot be removed";

/// A client whose user was removed while its command was on its way; its connection ends.
pub(crate) fn user_gone() -> Bytes {
    Bytes::from_static(b"NOPERM The user of this connection was removed")
}

/// A subscriber that is so far behind that the log has lost what it must get next.
pub(crate) fn lagged(first: MessageId) -> Bytes {
    format!("LAGGED first available id {first}").into()
}

/// Redis' text for a failover that makes no sense.
pub(crate) const FAILOVER_ON_LEADER: &str =
    "ERR You should send CLUSTER FAILOVER to a replica: this node leads already";

/// Leadership was asked for and did not come.
pub(crate) fn no_failover(wait_ms: u64) -> Bytes {
    format!("TRYAGAIN Leadership did not come to this node within {wait_ms} ms; see CLUSTER NODES")
        .into()
}

/// A change of the members was sent, and then nothing was heard.
pub(crate) fn change_unknown(wait_ms: u64) -> Bytes {
    format!(
        "INDETERMINATE The change was asked for, but its outcome was not known within {wait_ms} ms; see CLUSTER NODES"
    )
    .into()
}

/// A change of the members was asked of two leaders: one refused it, and the other may have made it.
pub(crate) fn change_refused_by_one(text: &[u8]) -> Bytes {
    let said = String::from_utf8_lossy(text);
    format!(
        "INDETERMINATE The leader changed after the change was asked for, and it may have been made; see CLUSTER NODES. \
         One of the two leaders said: {said}"
    )
    .into()
}

/// Redis' text for an id that nobody has.
pub(crate) fn unknown_node(id: &[u8]) -> Bytes {
    let shown = id[..id.len().min(64)].escape_ascii();
    format!("ERR Unknown node {shown}").into()
}

/// Another change has to be complete first.
pub(crate) fn change_pending(learner: Option<NodeId>) -> Bytes {
    match learner {
        Some(node) => format!(
            "ERR Another change of the members is under way: node {node} has joined and does not vote yet. Wait for it, or \
             take it back with CLUSTER FORGET {node}"
        ),
        None => "ERR Another change of the members is under way; try again when it is done".to_owned(),
    }
    .into()
}

/// Raft does not take the change now.
pub(crate) fn change_refused(why: &str) -> Bytes {
    format!("TRYAGAIN The change was not made: {why}").into()
}

/// The leader that took the change has not got it committed.
pub(crate) fn change_lost() -> Bytes {
    Bytes::from_static(b"TRYAGAIN The change was not made: leadership changed on the way")
}

/// The members are not complete yet.
pub(crate) fn not_formed() -> Bytes {
    Bytes::from_static(b"CLUSTERDOWN The first members of initial-cluster are not all here yet")
}

/// The last voter cannot leave.
pub(crate) fn last_voter(node: NodeId) -> Bytes {
    format!("ERR Node {node} is the last one that votes; without it there is no cluster").into()
}

/// The change would leave a cluster that cannot decide anything.
pub(crate) fn too_few_up(up: usize, all: usize) -> Bytes {
    format!(
        "ERR The change would lose the majority: of {all} voters only {up} can be reached from the leader. Bring back or \
         replace nodes that are down first"
    )
    .into()
}

/// The leader is to leave, and nobody can follow.
pub(crate) fn no_heir() -> Bytes {
    Bytes::from_static(
        b"TRYAGAIN The leader is to leave, but no other voter can be reached to take over",
    )
}

/// This many members are the most.
pub(crate) fn too_many(max: usize) -> Bytes {
    format!("ERR A cluster has at most {max} members").into()
}

/// A node at this address is a member already.
pub(crate) fn address_taken(addr: &[u8]) -> Bytes {
    format!(
        "ERR The node at {} is a member already",
        addr.escape_ascii()
    )
    .into()
}

/// Nobody at the address of a `CLUSTER MEET` is ready to join.
pub(crate) fn no_target(addr: &[u8], why: &str) -> Bytes {
    let why = why.replace(char::is_control, " ");
    format!(
        "ERR The node at {} cannot join: {why}. The port is its peer-port, and it must have been started with cluster-join \
         yes and the same cluster-secret",
        addr.escape_ascii()
    )
    .into()
}

/// The node belongs to a cluster.
pub(crate) fn formed_already(addr: &[u8], ours: bool, cluster: ClusterId) -> Bytes {
    let addr = addr.escape_ascii();
    if ours {
        format!("ERR The node at {addr} belongs to this cluster already").into()
    } else {
        format!(
            "ERR The node at {addr} belongs to another cluster ({cluster}); only one with an empty dir can join"
        )
        .into()
    }
}

/// The data folder has been bound to an id before.
pub(crate) fn folder_used(addr: &[u8], node: NodeId) -> Bytes {
    format!(
        "ERR The data folder of the node at {} was node {node} of this cluster before; empty it first",
        addr.escape_ascii()
    )
    .into()
}

/// The id is or was another node's.
pub(crate) fn id_used(node: NodeId, free: NodeId) -> Bytes {
    format!(
        "ERR Node id {node} was used before in this cluster, and ids are never used again; start the node without node-id, or \
         with {free} or more"
    )
    .into()
}

/// This node has left the cluster.
pub(crate) fn removed() -> Bytes {
    Bytes::from_static(
        b"CLUSTERDOWN This node was removed from the cluster and stops; connect to another node",
    )
}
