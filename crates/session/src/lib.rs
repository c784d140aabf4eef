//! One client connection as a state machine, and the command table.
//!
//! ```text
//!   bytes ─ read ─▶ Decoder ─▶ dispatch ─▶ Command ─ run ─┬─ reply ─▶ slot ─▶ Output ─▶ bytes
//!                              (table)                    └─ Ask ─▶ the node
//!                                                                     │
//!                   Output ◀─ slot, delivery, confirmation ◀─ tell ─ Told
//! ```
//!
//! A [`Session`] is fed bytes and what the node says ([`Told`]); it gives back bytes and questions
//! for the node ([`Ask`]). It decides syntax, order and mode. The node decides everything that
//! others must agree with: what is recorded, who listens, how many there are.
//!
//! # Invariants
//! - Replies leave in the order of the requests, each once and whole ([`Ask::Write`] is pipelined,
//!   so many may wait).
//! - A *barrier* (`SUBSCRIBE` and its kin, `PUBSUB`, `INFO`, `RESET`, `HELLO` with another version)
//!   is sent to the node only when all earlier commands are answered, and nothing later runs before
//!   it is done: that is P4's position of a subscription.
//! - The protocol version and the subscribed mode change only while nothing else is in flight, at
//!   the point in the stream of deliveries at which the node says so.
//! - What the node tells reaches the client in the order told; a delivery never splits or overtakes
//!   a reply.
//! - Memory is bounded: a session with too many commands in flight, or too much unwritten output,
//!   executes nothing more and asks not to be read ([`Session::wants_input`]). Before `AUTH` the
//!   bounds are those for strangers.
//! - How the bytes were cut into reads changes nothing.
//!
//! # What is where
//! | module | holds |
//! |---|---|
//! | `ask`, `local` | the contracts with the node, and with the process around it |
//! | `session` | the state machine: barriers, limits, closing |
//! | `replies`, `output` | the order of replies; pieces to be written, large deliveries shared |
//! | `parts` | long lists of names, in parts |
//! | `docs` | what people read about commands |
//! | `table`, `dispatch` | one row a command; Redis' checks in Redis' order |
//! | `acl` | users, and what they may do |
//! | `pace` | how fast a client may publish |
//! | `history` | keys that are the history of a channel |
//! | `keys` | which arguments of a command are keys or channels |
//! | `commands` | parsers and actions, one file a group |
//! | `transaction` | `MULTI` to `EXEC` |
//! | `scripts` | the one script that `EVAL` knows |
//! | `connection`, `env` | what one connection and what all of them know |
//! | `tally`, `redact` | what became of commands; what of them others may see |
//! | `errors` | every error text |
//!
//! # Not here
//! Sockets, clocks, time-outs, TLS, the limit on clients; matching channels and counting
//! subscribers (the bus, through the node); encoding of messages (they arrive encoded); the text of
//! `INFO`.
//!
//! # Tests
//! Unit tests beside the code; `tests/scripts/*` are golden scripts, one behaviour a file, which
//! show what the client sends, what the session asks, what the node tells and what bytes leave
//! (`UPDATE_GOLDENFILES=1 cargo test -p corgi-session` writes them anew: read the difference);
//! `tests/splits.rs` is the property test of the last invariant. Texts and shapes were compared
//! with redis-server 7.0 and Valkey 9.1.
#![deny(clippy::iter_over_hash_type)]

mod acl;
mod answers;
mod ask;
mod commands;
mod connection;
mod dispatch;
mod docs;
mod env;
mod errors;
mod history;
mod keys;
mod local;
mod output;
mod pace;
mod parts;
mod redact;
mod replies;
mod scripts;
mod session;
mod table;
mod tally;
mod transaction;

pub use acl::{Acl, Context, Denial, Denied, Reason, User, Users, define, require_pass};
pub use answers::reply_of;
pub use ask::{Ask, ClusterAsk, KeyQuery, PubSubQuery, Seq, Told, UsersAsk};
// What the node needs to answer with: it knows sessions, not their wire format.
pub use corgi_resp::{Reply, encode_message};
pub use docs::markdown as compatibility;
pub use env::{Env, Secret};
pub use history::{
    HISTORY_PREFIX, HistoryQuery, channel_of, live_channel, live_payload, waiting_for,
};
pub use keys::{BeginSearch, ChannelSpec, ChannelUse, FindKeys, KeyFlags, KeySpec};
pub use local::{
    AclLogAsk, ClientFilter, ClientIs, ClientKind, ClientTest, ClientsAsk, ConfigAsk, LatencyAsk,
    LocalAsk, MemoryAsk, Pause, SlowLogAsk, View,
};
pub use output::Output;
pub use scripts::Scripts;
pub use session::Session;
pub use table::{Flags, Spec, commands};
pub use tally::{Finished, Outcome, Shown};
