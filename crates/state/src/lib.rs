//! The replicated state machine.
pub mod store;
