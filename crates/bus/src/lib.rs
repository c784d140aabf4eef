//! Who listens: channels, patterns, the fan-out of applied batches, and counts over all nodes.
//!
//! ```text
//!   session ── subscribe, unsubscribe, close ──▶ ┌─────┐
//!                                                │ Bus │ ── Delivery per client ──▶ connections
//!   state ──── applied batch ── publish × n ───▶ └─────┘
//! ```
//!
//! A node has one [`Bus`]. Clients are opened, subscribe to exact channels, to patterns and to shard
//! channels, and are closed. For each applied batch the node starts a [`FanOut`], publishes the batch's messages in
//! log order, and finishes it: out comes one [`Delivery`] per client that listens to anything in
//! the batch, made of slices of a buffer that all clients of one protocol version share.
//!
//! A client that reads too slowly is detached: the fan-out leaves it out, and the node reads what it
//! misses from the log and puts it through a [`Replay`] for it alone, until it is attached again.
//!
//! What other nodes say of their subscribers is counted ([`Bus::count_elsewhere`]) with the names that
//! they listen to: the same lookup finds those on this node and the number of those on others.
//!
//! Invariants
//! - A replayed operation gives a client the same frames in the same order as the fan-out would.
//! - A client gets a message once per matching subscription, as in Redis: first as `message` for
//!   the exact channel, then as `pmessage` for each matching pattern, in byte order of the patterns
//!   (Redis leaves that order open). Messages keep the order in which they were published.
//! - Shard channels are apart: what is published to them reaches their subscribers only, as
//!   `smessage`, and confirmations count them by themselves.
//! - A frame is encoded at most once per protocol version and matching name, and only if somebody
//!   needs it. A thousand subscribers of a channel share its bytes; one more costs an index, a
//!   comparison and no copy.
//! - A publish costs by the subscriptions that match: one hash lookup for the channel, and for the
//!   patterns a walk over those literal prefixes with which the channel begins. Both are remembered
//!   while the same channel is published again.
//! - The same calls give the same results. Hash maps are only looked up, never iterated; all lists
//!   that leave the crate are sorted.
//! - Names are copied into their own allocation, once per channel or pattern: a name never keeps
//!   the read buffer alive out of which it was parsed.
//!
//! Not here: what a frame looks like (the caller passes an [`Encoder`]), queues and their limits
//! (`node`; a [`Delivery`] knows its size), how nodes tell each other, permissions, Raft, the disk.
//!
//! Tests: `tests/model.rs` compares random histories with a naive model, `tests/fan_out.rs` runs
//! the golden scripts in `scripts/`, `tests/cost.rs` counts what a publish looks at and what it
//! copies.
#![deny(clippy::iter_over_hash_type)]

mod bus;
mod elsewhere;
mod fan_out;
mod patterns;
mod topics;

pub use bus::{Bus, Options, Replay};
pub use fan_out::{Delivery, FanOut, Piece};

use bytes::BytesMut;
use corgi_base::{Protocol, Via};

/// Writes the push that tells a client of a message. The bus does not know how frames look.
pub trait Encoder {
    /// Appends one whole frame to `out`, leaving what is there as it is: `message channel payload`,
    /// `pmessage pattern channel payload` or `smessage channel payload`
    /// (<https://redis.io/docs/latest/develop/pubsub/#format-of-pushed-messages>).
    fn message(
        &self,
        protocol: Protocol,
        via: Via<'_>,
        channel: &[u8],
        payload: &[u8],
        out: &mut BytesMut,
    );
}
