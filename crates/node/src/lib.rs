//! One node's decisions, without I/O.
