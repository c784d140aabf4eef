//! How much waits for each connection: counted by the node, which adds, and by the connection, which subtracts.

#[cfg(feature = "loom")]
use loom::sync::Arc;
#[cfg(feature = "loom")]
use loom::sync::atomic::{AtomicU64, Ordering};
use std::fmt;
#[cfg(not(feature = "loom"))]
use std::sync::Arc;
use std::sync::OnceLock;
#[cfg(not(feature = "loom"))]
use std::sync::atomic::{AtomicU64, Ordering};

/// Set while the node waits for the queue to drain. In the same word as the count, so that of the node's look at the
/// count and the connection's last subtraction one is the first, and a wake-up cannot get lost between them.
const WATCHED: u64 = 1 << 63;

/// The bytes of messages that wait for one connection: the node adds what it tells, the connection subtracts what it
/// has written.
#[derive(Clone, Default)]
pub struct QueuedBytes(Arc<Inner>);

#[derive(Default)]
struct Inner {
    bytes: AtomicU64,
    /// With how many bytes a watched queue has drained.
    low: AtomicU64,
    /// Set when the node takes the connection in.
    total: OnceLock<Total>,
}

/// The bytes that wait for all connections of a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Total(Arc<AtomicU64>);

impl Total {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl QueuedBytes {
    /// Returns how many bytes wait.
    pub fn get(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed) & !WATCHED
    }

    /// Notes that as many more bytes wait.
    pub fn add(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(total) = self.0.total.get() {
            total.0.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Notes that as many bytes have been written, never more than were added. Returns whether
    /// [`crate::Node::client_drained`] must be called.
    #[must_use = "a subscriber that lags is fed only when the node hears that it has drained"]
    pub fn sub(&self, bytes: u64) -> bool {
        // Whoever sees the mark sees the level that was set before it.
        let before = self.0.bytes.fetch_sub(bytes, Ordering::Acquire);
        if let Some(total) = self.0.total.get() {
            total.0.fetch_sub(bytes, Ordering::Relaxed);
        }
        let left = (before & !WATCHED) - bytes;
        before & WATCHED != 0
            && left <= self.0.low.load(Ordering::Relaxed)
            && self.0.bytes.fetch_and(!WATCHED, Ordering::Relaxed) & WATCHED != 0
    }

    /// Puts the queue under a node's total.
    pub(crate) fn join(&self, total: Total) {
        total.0.fetch_add(self.get(), Ordering::Relaxed);
        let set = self.0.total.set(total);
        assert!(set.is_ok(), "a queue belongs to one connection of one node");
    }

    /// Takes what waits out of the total: the connection is gone.
    pub(crate) fn leave(&self) {
        let waiting = self.0.bytes.swap(0, Ordering::Relaxed) & !WATCHED;
        if let Some(total) = self.0.total.get() {
            total.0.fetch_sub(waiting, Ordering::Relaxed);
        }
    }

    /// Returns whether no more than `low` bytes wait. If more do, [`QueuedBytes::sub`] will say when that has changed.
    pub(crate) fn drained_or_watch(&self, low: u64) -> bool {
        self.0.low.store(low, Ordering::Relaxed);
        let before = self.0.bytes.fetch_or(WATCHED, Ordering::Release);
        if before & !WATCHED > low {
            return false;
        }
        self.0.bytes.fetch_and(!WATCHED, Ordering::Relaxed);
        true
    }
}

impl fmt::Debug for QueuedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("QueuedBytes").field(&self.get()).finish()
    }
}

/// `cargo nextest run --release -p corgi-node --lib --features loom interleavings`: in every order in which two threads
/// can run, and with every value that a processor may let them see.
#[cfg(all(test, feature = "loom"))]
mod interleavings {
    use super::*;

    #[test]
    fn a_queue_that_drains_is_told_of_once() {
        loom::model(|| {
            let queue = QueuedBytes::default();
            queue.join(Total::default());
            queue.add(2);
            let connection = queue.clone();
            let connection = loom::thread::spawn(move || [connection.sub(1), connection.sub(1)]);
            let at_once = queue.drained_or_watch(1);
            let told = connection.join().expect("it ends");
            let told = told.iter().filter(|told| **told).count();
            assert!(at_once || told == 1, "the node would wait for ever");
            assert!(told <= 1, "told {told} times");
            assert_eq!(queue.get(), 0);
        });
    }

    #[test]
    fn a_level_that_is_raised_counts_at_once() {
        loom::model(|| {
            let queue = QueuedBytes::default();
            queue.join(Total::default());
            queue.add(2);
            let connection = queue.clone();
            let connection = loom::thread::spawn(move || connection.sub(1));
            let at_once = queue.drained_or_watch(0) || queue.drained_or_watch(1);
            let told = connection.join().expect("it ends");
            assert!(at_once || told, "the node would wait for ever");
        });
    }

    #[test]
    fn the_total_is_nothing_when_all_is_written() {
        loom::model(|| {
            let total = Total::default();
            let threads = [1, 2].map(|bytes| {
                let queue = QueuedBytes::default();
                queue.join(total.clone());
                queue.add(bytes);
                loom::thread::spawn(move || {
                    let _nobody_watches = queue.sub(1);
                    queue.leave();
                })
            });
            for thread in threads {
                thread.join().expect("it ends");
            }
            assert_eq!(total.get(), 0);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(total: &Total, bytes: u64) -> QueuedBytes {
        let queue = QueuedBytes::default();
        queue.join(total.clone());
        queue.add(bytes);
        queue
    }

    #[test]
    fn the_total_is_the_sum_of_the_queues_that_are_there() {
        let total = Total::default();
        let (a, b) = (queue(&total, 10), queue(&total, 5));
        assert!(!a.sub(4), "nobody watches");
        assert_eq!((a.get(), b.get(), total.get()), (6, 5, 11));
        a.leave();
        assert_eq!(total.get(), 5);
    }

    #[test]
    fn a_watched_queue_says_once_that_it_has_drained() {
        let total = Total::default();
        let queue = queue(&total, 10);
        assert!(!queue.drained_or_watch(3));
        assert_eq!(queue.get(), 10, "the mark is no byte");
        assert!(!queue.sub(6));
        assert!(queue.sub(1));
        assert!(!queue.sub(1));
        assert_eq!(queue.get(), 2);
        assert!(queue.drained_or_watch(3), "it has drained already");
        assert!(!queue.sub(2), "so that nobody waits for it");
    }

    #[test]
    fn no_wake_up_is_lost_between_two_threads() {
        for _ in 0..2000 {
            let queue = queue(&Total::default(), 2);
            let writer = queue.clone();
            let thread = std::thread::spawn(move || writer.sub(1));
            let at_once = queue.drained_or_watch(1);
            let told = thread.join().expect("it ends");
            assert!(at_once || told, "the node would wait for ever");
        }
    }
}
