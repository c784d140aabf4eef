//! Client connections: listening, accepting, turning away, serving, and ending all of them.
//!
//! | module | holds |
//! |---|---|
//! | [`listen`] | binding `bind`, `port` and `unixsocket` |
//! | [`accept`] | the loop that accepts, whatever errors accepting gives |
//! | [`connection`] | one connection from its first byte to its last |
//! | [`deadlines`] | until when its client must have said something |
//! | [`stream`] | its socket |
//! | [`tls`] | its socket, if it is of `tls-port` |
//! | [`troubles`] | what the log says of those who cannot be talked to |
//! | [`place`] | its place among the clients, and the seam to the node |
//! | [`outbox`] | what the node has told it |
//! | [`ledger`] | what the node counts as waiting for it |
//!
//! Not here: what bytes mean (`corgi-resp`), what commands do (`corgi-session`, `corgi-node`).

pub(crate) mod accept;
mod connection;
mod deadlines;
mod ledger;
pub(crate) mod listen;
pub(crate) mod outbox;
pub(crate) mod place;
mod stream;
mod tls;
mod troubles;

#[cfg(test)]
mod tests;

pub(crate) use accept::{Clients, Settings};
pub(crate) use outbox::Outbox;
pub(crate) use place::{Counters, Host};
