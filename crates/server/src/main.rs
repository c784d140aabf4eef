//! The Corgi server.
fn main() {}
