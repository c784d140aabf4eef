//! What the node has told a session and the session has not heard yet.
//!
//! The node fills it under its lock; the connection's task empties it. Filling and waking are
//! apart, so that no task is woken while the node's lock is held: a task that wakes at once would
//! only wait for that lock.

use corgi_session::Told;
use tokio::sync::Notify;

use crate::sync::{Mutex, MutexGuard};

/// A queue from the node to one connection. One task takes from it; anybody may push.
///
/// Its length is bounded by the node, which counts the bytes that wait for a connection
/// ([`corgi_node::QueuedBytes`]), and keeps those that have too many from growing.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    told: Mutex<Vec<Told>>,
    news: Notify,
}

impl Outbox {
    /// Appends, and returns whether the task must be woken: only whoever filled an empty outbox
    /// wakes it.
    pub(crate) fn push(&self, told: Vec<Told>) -> bool {
        let mut waiting = self.lock();
        let was_empty = waiting.is_empty();
        if was_empty {
            *waiting = told;
            !waiting.is_empty()
        } else {
            waiting.extend(told);
            false
        }
    }

    /// Lets [`Outbox::news`] return, now or at its next call.
    pub(crate) fn wake(&self) {
        self.news.notify_one();
    }

    /// Takes all that waits, in the order pushed.
    pub(crate) fn take(&self) -> Vec<Told> {
        std::mem::take(&mut *self.lock())
    }

    /// Returns once something may have been pushed since the last time. May be dropped at any await
    /// and called again without losing a wake-up.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Told>> {
        self.told
            .lock()
            .expect("a panic ends the process, so nobody sees a poisoned lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::sync::Arc;

    fn told(n: u8) -> Told {
        Told::Deliver(Bytes::copy_from_slice(&[n]))
    }

    #[test]
    fn keeps_the_order_and_wakes_only_when_it_was_empty() {
        let outbox = Outbox::default();
        assert!(!outbox.push(Vec::new()), "nothing to tell, nobody to wake");
        assert!(outbox.push(vec![told(1), told(2)]));
        assert!(!outbox.push(vec![told(3)]));
        assert_eq!(outbox.take(), [told(1), told(2), told(3)]);
        assert_eq!(outbox.take(), []);
        assert!(outbox.push(vec![told(4)]), "it is empty again");
    }

    #[tokio::test]
    async fn a_wake_up_before_the_wait_is_not_lost() {
        let outbox = Outbox::default();
        outbox.push(vec![told(1)]);
        outbox.wake();
        outbox.news().await;
        assert_eq!(outbox.take(), [told(1)]);
    }

    #[tokio::test]
    async fn a_dropped_wait_does_not_swallow_the_wake_up() {
        let outbox = Outbox::default();
        tokio::select! {
            biased;
            () = outbox.news() => panic!("nothing was pushed"),
            () = std::future::ready(()) => {}
        }
        outbox.wake();
        outbox.news().await;
    }

    #[test]
    fn everything_pushed_by_other_threads_arrives_once_and_in_their_order() {
        const EACH: u8 = 100;
        let outbox = Arc::new(Outbox::default());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let pushers: Vec<_> = (0..2)
            .map(|pusher: u8| {
                let outbox = outbox.clone();
                std::thread::spawn(move || {
                    for n in 0..EACH {
                        if outbox.push(vec![told(pusher * EACH + n)]) {
                            outbox.wake();
                        }
                    }
                })
            })
            .collect();
        let mut got = Vec::new();
        while got.len() < 2 * usize::from(EACH) {
            runtime.block_on(outbox.news());
            got.extend(outbox.take());
        }
        for pusher in pushers {
            pusher.join().expect("a pusher");
        }
        for pusher in 0..2 {
            let of_one = got.iter().filter(|told| match told {
                Told::Deliver(bytes) => bytes[0] / EACH == pusher,
                _ => false,
            });
            assert!(
                of_one.eq(&(0..EACH)
                    .map(|n| told(pusher * EACH + n))
                    .collect::<Vec<_>>())
            );
        }
    }
}
