//! One client connection as a state machine.
mod ask;
pub use ask::{Ask, PubSubQuery, Seq, Told};
