//! The queue in front of the disk thread.
//!
//! Jobs are pushed under the node's lock, so that they stand in the order in which the node decided
//! them; the thread is woken after that lock is released. Its length is bounded by the node, which
//! limits the batches that are under way and the bytes that a leader may hold uncommitted.

use std::time::Instant;

use crate::sync::{Condvar, Mutex, MutexGuard};

/// A queue from many threads to one.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    news: Condvar,
}

#[derive(Debug)]
struct State<T> {
    jobs: Vec<T>,
    closed: bool,
}

/// What [`Queue::take`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken<T> {
    /// Everything that waited, in order; never empty.
    Jobs(Vec<T>),
    /// Nothing came in time.
    TimeOut,
    /// The queue is closed, and empty.
    Closed,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                jobs: Vec::new(),
                closed: false,
            }),
            news: Condvar::new(),
        }
    }
}

impl<T> Queue<T> {
    /// Appends. Call [`Queue::wake`] afterwards, with no lock held. A closed queue still takes jobs
    /// until it has been found empty: finishing one job may be the cause of the next.
    pub(crate) fn push(&self, jobs: Vec<T>) {
        let mut state = self.lock();
        if state.jobs.is_empty() {
            state.jobs = jobs;
        } else {
            state.jobs.extend(jobs);
        }
    }

    /// Wakes the thread that takes.
    pub(crate) fn wake(&self) {
        self.news.notify_one();
    }

    /// Lets [`Queue::take`] return [`Taken::Closed`] once nothing is left.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.news.notify_one();
    }

    /// Waits for jobs, not beyond `until` if given, and takes all there are.
    pub(crate) fn take(&self, until: Option<Instant>) -> Taken<T> {
        let mut state = self.lock();
        loop {
            if !state.jobs.is_empty() {
                return Taken::Jobs(std::mem::take(&mut state.jobs));
            }
            if state.closed {
                return Taken::Closed;
            }
            state = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self.news.wait(state).expect(UNPOISONED),
                Some(left) if left.is_zero() => return Taken::TimeOut,
                Some(left) => self.news.wait_timeout(state, left).expect(UNPOISONED).0,
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect(UNPOISONED)
    }
}

const UNPOISONED: &str = "a panic ends the process, so nobody sees a poisoned lock";

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn all_that_waits_is_taken_at_once_and_in_order() {
        let queue = Queue::default();
        queue.push(vec![1, 2]);
        queue.push(vec![3]);
        assert_eq!(queue.take(None), Taken::Jobs(vec![1, 2, 3]));
        assert_eq!(queue.take(Some(Instant::now())), Taken::TimeOut);
    }

    #[test]
    fn a_closed_queue_is_emptied_first() {
        let queue = Queue::default();
        queue.push(vec![1]);
        queue.close();
        queue.push(vec![2]);
        assert_eq!(queue.take(None), Taken::Jobs(vec![1, 2]));
        assert_eq!(queue.take(None), Taken::Closed);
    }

    #[test]
    fn a_waiting_thread_is_woken_by_a_push_and_by_closing() {
        let queue = Arc::new(Queue::default());
        let taker = std::thread::spawn({
            let queue = queue.clone();
            move || {
                let mut got = Vec::new();
                while let Taken::Jobs(jobs) = queue.take(None) {
                    got.extend(jobs);
                }
                got
            }
        });
        for n in 0..100 {
            queue.push(vec![n]);
            queue.wake();
        }
        queue.close();
        assert_eq!(
            taker.join().expect("the taker"),
            (0..100).collect::<Vec<_>>()
        );
    }
}
