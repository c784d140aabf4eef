//! The threads that read the log, for subscribers that lag and for those who read the history of channels.
//!
//! They wait for the disk so that nobody who holds the node's lock does. The node asks for few reads at a time for
//! subscribers, as many as there are threads, and for one at a time for a client, so that the queue is short.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use corgi_consensus::storage::LogReader;
use corgi_log::StateReader;
use corgi_node::{HistoryRead, LogRead};

use crate::core::Core;
use crate::sync::{Condvar, Mutex, MutexGuard};

const UNPOISONED: &str = "a panic ends the process, so nobody sees a poisoned lock";

/// One read.
#[derive(Debug)]
pub(crate) enum ReadJob {
    /// For subscribers that lag.
    Log(LogRead),
    /// For a client.
    History(HistoryRead),
}

/// Reads that wait for a thread.
#[derive(Debug)]
pub(crate) struct ReadQueue<T = ReadJob> {
    state: Mutex<State<T>>,
    news: Condvar,
}

#[derive(Debug)]
struct State<T> {
    reads: VecDeque<T>,
    closed: bool,
}

impl<T> Default for ReadQueue<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                reads: VecDeque::new(),
                closed: false,
            }),
            news: Condvar::new(),
        }
    }
}

impl<T> ReadQueue<T> {
    /// Appends. Call [`ReadQueue::wake`] afterwards, with no lock held.
    pub(crate) fn push(&self, reads: Vec<T>) {
        if !reads.is_empty() {
            self.lock().reads.extend(reads);
        }
    }

    /// Wakes as many threads as there are reads.
    pub(crate) fn wake(&self, reads: usize) {
        for _ in 0..reads {
            self.news.notify_one();
        }
    }

    /// Ends the threads; nobody waits for what is not read yet.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.news.notify_all();
    }

    /// Waits for a read and takes it; `None` once the queue is closed.
    pub(crate) fn take(&self) -> Option<T> {
        let mut state = self.lock();
        while !state.closed {
            if let Some(read) = state.reads.pop_front() {
                return Some(read);
            }
            state = self.news.wait(state).expect(UNPOISONED);
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect(UNPOISONED)
    }
}

/// Starts the threads, which end when the queue is closed.
pub(crate) fn start<R: LogReader + Clone + 'static>(
    count: usize,
    queue: &Arc<ReadQueue>,
    (reader, copies): (&R, &StateReader),
    core: &Arc<Core<R>>,
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let start = |_| {
        let (queue, reader, core) = (queue.clone(), reader.clone(), core.clone());
        let copies = copies.clone();
        let run = move || {
            while let Some(read) = queue.take() {
                match read {
                    ReadJob::Log(read) => {
                        let block = read.run(&reader);
                        core.enter(|node, now| node.log_read(now, block));
                    }
                    ReadJob::History(read) => {
                        let found = read.run(&reader, &copies);
                        core.enter(|node, now| node.history_read(now, found));
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("reader".to_owned());
        thread
            .spawn(run)
            .context("start a thread that reads the log")
    };
    (0..count).map(start).collect()
}
