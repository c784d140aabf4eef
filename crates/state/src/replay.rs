//! What an entry that was applied before had delivered, read from the log again.

use bytes::Bytes;
use corgi_base::codec::DecodeError;
use corgi_base::op::decode_ops;
use corgi_base::{EntryHead, MessageId, Op};

/// The operations of an entry that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The id of operation 0; operation `k` has `ms-(seq + k)`.
    pub first: MessageId,
    /// What subscribers see, in order. Never empty.
    pub ops: Vec<Op>,
}

/// Returns what an applied entry delivered; `None` if nothing. This is the one place that says so besides
/// [`State::apply`](crate::State::apply), and must agree with it.
///
/// It can be told from the entry alone, but for one thing: a batch whose operations were checked against users that
/// have changed since had no effect ([`Effects::Void`](corgi_base::Effects::Void)), and whoever reads the log must
/// have taken note of that. Apply stops the node at a batch out of its origin's order, so that a batch
/// which was applied took effect as a whole; one that was given up holds no operations; a boot that is fenced cannot
/// have a batch behind the entry that fenced it, because no leader appends one and apply would stop. A rule that lets
/// single operations have no effect must be recorded where this can read it.
///
/// # Errors
/// [`DecodeError`] if the bytes are none that this build could have applied.
pub fn replay(context: Bytes, data: Bytes) -> Result<Option<Replayed>, DecodeError> {
    if context.is_empty() {
        return Ok(None);
    }
    match EntryHead::decode(context)? {
        EntryHead::Batch(head) => {
            let mut ops = decode_ops(head.ops, data)?;
            let first = head.stamp;
            ops.retain(|op| !matches!(op, Op::Users(_)));
            Ok((!ops.is_empty()).then_some(Replayed { first, ops }))
        }
        EntryHead::OpenSession { .. }
        | EntryHead::Bootstrap { .. }
        | EntryHead::Formed
        | EntryHead::Join { .. }
        | EntryHead::Leave { .. }
        | EntryHead::Feature { .. }
        | EntryHead::Users(_)
        | EntryHead::History(_)
        | EntryHead::Time { .. } => Ok(None),
    }
}
