//! Redis serialization protocol.
mod reply;
pub use reply::Reply;
