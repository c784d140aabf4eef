//! Whatever is handed from one thread to another, in thousands of the orders in which the threads can run.
//!
//! `cargo nextest run --release -p corgi-server --lib --features shuttle interleavings`
//!
//! | from → to | what must hold |
//! |---|---|
//! | node → disk thread ([`Queue`]) | all jobs, in order, before the end; no wake-up is lost |
//! | node → readers of the log ([`ReadQueue`]) | each read is done by one; the end reaches all |
//! | node → connection ([`Outbox`]) | everything told is heard, once and in order, although few are woken |
//! | node → peer (`peers::queue`) | what is taken in is sent, in order; a closed lane takes nothing |
//! | client → client (`CLIENT KILL`, `PAUSE`, `UNPAUSE`, `MONITOR`: `local::registry`) | nobody sleeps through it |
//! | clients → the sum of what they hold (`local::registry`) | it is the sum, whoever comes, goes, or is closed |
//!
//! A failure prints the order, which `shuttle::replay` runs again. The bytes that wait for a connection, a count
//! without a lock, are `corgi_node`'s and tried there, with the reorderings of memory besides.

use std::sync::Arc;

use bytes::Bytes;
use corgi_session::Told;
use shuttle::future::block_on;
use shuttle::thread;

use crate::clients::Outbox;
use crate::disk::{Queue, Taken};
use crate::readers::ReadQueue;

/// Half of them at random, half with few changes from one thread to another, which finds what random ones rarely do.
pub(crate) fn explore(run: fn()) {
    shuttle::check_random(run, 5_000);
    shuttle::check_pct(run, 5_000, 3);
}

fn told(n: u8) -> Told {
    Told::Deliver(Bytes::copy_from_slice(&[n]))
}

#[test]
fn the_disk_thread_gets_all_jobs_in_order_and_then_the_end() {
    explore(|| {
        let queue = Arc::new(Queue::default());
        let disk = thread::spawn({
            let queue = queue.clone();
            move || {
                let mut done = Vec::new();
                while let Taken::Jobs(jobs) = queue.take(None) {
                    // What one job brings about may be the next one, also when the queue is closed already.
                    if jobs.contains(&2) {
                        queue.push(vec![10]);
                    }
                    done.extend(jobs);
                }
                done
            }
        });
        // Whoever enters the node pushes in its order, and wakes when it has left it.
        let node = Arc::new(shuttle::sync::Mutex::new(0));
        let enter = || {
            let (queue, node) = (queue.clone(), node.clone());
            thread::spawn(move || {
                let mut decided = node.lock().expect("not poisoned");
                *decided += 1;
                queue.push(vec![*decided]);
                drop(decided);
                queue.wake();
            })
        };
        let entered = [enter(), enter(), enter()];
        for thread in entered {
            thread.join().expect("it ends");
        }
        queue.close();
        let done = disk.join().expect("it ends");
        let of_node: Vec<_> = done.iter().copied().filter(|job| *job < 10).collect();
        assert_eq!(of_node, [1, 2, 3]);
        assert_eq!(done.len(), 4, "{done:?}");
    });
}

#[test]
fn each_read_of_the_log_is_done_once_and_all_readers_end() {
    explore(|| {
        let queue = Arc::new(ReadQueue::default());
        let done = Arc::new(shuttle::sync::Mutex::new(Vec::new()));
        let reader = || {
            let (queue, done) = (queue.clone(), done.clone());
            thread::spawn(move || {
                while let Some(read) = queue.take() {
                    let mut done = done.lock().expect("not poisoned");
                    done.push(read);
                    // The last one ends them: whoever is lost keeps this from its end.
                    if done.len() == 3 {
                        queue.close();
                    }
                }
            })
        };
        let readers = [reader(), reader(), reader()];
        for reads in [vec![1, 2], vec![3]] {
            let count = reads.len();
            queue.push(reads);
            queue.wake(count);
        }
        for reader in readers {
            reader.join().expect("it ends");
        }
        let mut done = done.lock().expect("not poisoned").clone();
        done.sort_unstable();
        assert_eq!(done, [1, 2, 3]);
    });
}

#[test]
fn a_connection_hears_all_that_it_is_told() {
    explore(|| {
        let outbox = Arc::new(Outbox::default());
        let tell = |from: u8| {
            let outbox = outbox.clone();
            thread::spawn(move || {
                for n in [from, from + 1] {
                    if outbox.push(vec![told(n)]) {
                        outbox.wake();
                    }
                }
            })
        };
        let tellers = [tell(0), tell(10)];
        let mut heard = Vec::new();
        loop {
            heard.extend(outbox.take());
            if heard.len() == 4 {
                break;
            }
            block_on(outbox.news());
        }
        for teller in tellers {
            teller.join().expect("it ends");
        }
        for from in [0, 10] {
            let at = |n| heard.iter().position(|heard| *heard == told(n));
            assert!(at(from).is_some() && at(from) < at(from + 1), "{heard:?}");
        }
    });
}
