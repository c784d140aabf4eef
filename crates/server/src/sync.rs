//! Locks and atomics of what threads hand over to each other.
//!
//! With the feature `shuttle` they are those of a scheduler that runs one thread at a time and tries in which orders
//! they can run; a thread that waits for ever is found too. Only `interleavings` runs then: outside of that scheduler
//! they do not work.

#[cfg(feature = "shuttle")]
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard, atomic};
#[cfg(not(feature = "shuttle"))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};
