//! Access control lists: who may run which commands on which keys and channels
//! (<https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/>).
//!
//! ```text
//!   rules ─▶ User ─ definition ─▶ the log ─▶ state rows ─▶ Acl (on every node) ─▶ Users ─▶ sessions check
//! ```
//!
//! A user is changed by rules (`on >secret ~a* &news.* +@pubsub`), and kept as the rules that make it from nothing, its
//! *definition*: one line of text, the same that `ACL LIST` shows. Definitions are what the cluster replicates; what
//! they mean follows on each node from its own command table.
//!
//! Invariants
//! - Rules are taken as a whole or not at all.
//! - `definition` read back gives the same user.
//! - There is always a user `default`.
//! - Passwords are kept as digests, and compared in constant time; an unknown user takes as long as a known one.
//! - What this release does not understand in a definition of a later one allows nothing.
//!
//! Not here: files, the log of all that was denied, when a change takes effect (the node).
//!
//! Tests: beside the code; texts were compared with redis-server 7.0 and Valkey 9.1.

mod commands;
mod denial;
mod foreign;
mod patterns;
mod rule;
mod selector;
mod user;
mod users;

pub(crate) use commands::{CATEGORIES, in_category};
pub(crate) use denial::Denials;
pub use denial::{Context, Denial, Reason};
pub use user::User;
pub(crate) use user::hex;
pub use users::{Acl, Users, define, require_pass};

use bytes::Bytes;

/// What a user may not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The command.
    Command,
    /// The command with this key.
    Key {
        /// Which argument it is.
        at: usize,
        /// The key.
        name: Bytes,
    },
    /// The command with this channel or pattern.
    Channel {
        /// Which argument it is.
        at: usize,
        /// The channel or pattern.
        name: Bytes,
    },
}

impl Denied {
    /// How far the check got: of several selectors the one that allows most says what is wrong.
    fn progress(&self) -> (u8, usize) {
        match self {
            Self::Command => (0, 0),
            Self::Key { at, .. } => (1, *at),
            Self::Channel { at, .. } => (2, *at),
        }
    }
}

#[cfg(test)]
mod tests;
