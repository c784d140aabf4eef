//! In which order things reach the disk and the node.

use super::*;
use bytes::Bytes;
use corgi_base::{ClusterId, LogIndex, NodeId, Term};
use corgi_consensus::storage::{EntryType, LogEntry};
use slog::{Discard, o};
use std::cell::RefCell;
use std::rc::Rc;

/// Notes what is done, in one list with what the node is told.
#[derive(Clone, Default)]
struct Notes(Rc<RefCell<Vec<String>>>);

impl Notes {
    fn note(&self, text: impl Into<String>) {
        self.0.borrow_mut().push(text.into());
    }

    fn taken(&self) -> Vec<String> {
        self.0.take()
    }
}

struct Noting {
    notes: Notes,
    fails: bool,
}

impl Disk for Noting {
    fn form(&mut self, formation: Formation) -> anyhow::Result<()> {
        self.notes.note(format!("form {}", formation.founder));
        Ok(())
    }

    fn write_log(&mut self, writes: &[LogWrite]) -> anyhow::Result<()> {
        ensure!(!self.fails, "no space left");
        let indexes = writes
            .iter()
            .flat_map(|write| &write.entries)
            .map(|entry| entry.index.0);
        self.notes
            .note(format!("log {:?}", indexes.collect::<Vec<_>>()));
        Ok(())
    }

    fn sync_mark(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    fn write_state(&mut self, write: &StateWrite) -> anyhow::Result<()> {
        self.notes.note(format!("state {}", write.applied));
        Ok(())
    }

    fn flush_state(&mut self) -> anyhow::Result<()> {
        self.notes.note("flush");
        Ok(())
    }
}

fn log_job(index: u64, bytes: usize) -> Job<u64> {
    let entry = LogEntry {
        index: LogIndex(index),
        term: Term(1),
        entry_type: EntryType::Normal,
        context: Bytes::new(),
        data: Bytes::from(vec![0; bytes]),
    };
    Job::Log(
        LogWrite {
            entries: vec![entry],
            hard_state: None,
        },
        index,
    )
}

fn state_job(applied: u64) -> Job<u64> {
    Job::State(StateWrite {
        applied: LogIndex(applied),
        ..StateWrite::default()
    })
}

fn form_job() -> Job<u64> {
    let founder = NodeId::new(1).expect("not zero");
    Job::Form(Formation {
        cluster: ClusterId(7),
        founder,
    })
}

/// Does `jobs` as one round and returns what happened in which order.
fn round(jobs: Vec<Job<u64>>) -> Vec<String> {
    let notes = Notes::default();
    let mut worker = Worker::new(
        Noting {
            notes: notes.clone(),
            fails: false,
        },
        Arc::default(),
    );
    let told = notes.clone();
    worker
        .work(jobs, &mut |event| match event {
            Event::Grown => told.note("grown"),
            Event::Persisted(tokens) => told.note(format!("persisted {tokens:?}")),
        })
        .expect("no error");
    notes.taken()
}

#[test]
fn log_writes_that_wait_share_one_sync_also_across_state_writes() {
    let jobs = vec![
        log_job(1, 1),
        state_job(1),
        log_job(2, 1),
        log_job(3, 1),
        state_job(2),
    ];
    assert_eq!(
        round(jobs),
        ["log [1, 2, 3]", "persisted [1, 2, 3]", "state 1", "state 2"]
    );
}

#[test]
fn nothing_passes_a_record_of_the_cluster() {
    let jobs = vec![
        log_job(1, 1),
        state_job(1),
        form_job(),
        log_job(2, 1),
        state_job(2),
    ];
    assert_eq!(
        round(jobs),
        [
            "log [1]",
            "persisted [1]",
            "state 1",
            "form 1",
            "log [2]",
            "persisted [2]",
            "state 2"
        ]
    );
}

#[test]
fn a_failed_write_is_reported_and_nothing_is_told_or_written_after_it() {
    let notes = Notes::default();
    let mut worker = Worker::new(
        Noting {
            notes: notes.clone(),
            fails: true,
        },
        Arc::default(),
    );
    let told = notes.clone();
    let done = worker.work(vec![log_job(1, 1), state_job(1)], &mut |_| {
        told.note("told");
    });
    assert_eq!(
        format!("{:#}", done.expect_err("it failed")),
        "no space left"
    );
    assert!(notes.taken().is_empty());
}

#[test]
fn what_finishing_a_job_causes_is_done_before_a_closed_queue_ends_and_the_state_is_flushed() {
    let notes = Notes::default();
    let queue = Queue::default();
    queue.push(vec![log_job(1, 1)]);
    queue.close();
    let worker = Worker::new(
        Noting {
            notes: notes.clone(),
            fails: false,
        },
        Arc::default(),
    );
    let log = Logger::root(Discard, o!());
    // As the node does: what is persisted is committed, and applying it is a write of the state.
    let applied = |event| {
        if let Event::Persisted(tokens) = event {
            queue.push(tokens.into_iter().map(state_job).collect());
        }
    };
    worker.run(&queue, &log, applied).expect("no error");
    assert_eq!(notes.taken(), ["log [1]", "state 1", "flush"]);
}

#[test]
fn the_state_is_flushed_when_the_log_has_grown_enough() {
    let notes = Notes::default();
    let queue = Queue::default();
    let large = usize::try_from(FLUSH_AFTER_BYTES).expect("fits");
    queue.push(vec![log_job(1, large), state_job(1)]);
    let worker = Worker::new(
        Noting {
            notes: notes.clone(),
            fails: false,
        },
        Arc::default(),
    );
    let log = Logger::root(Discard, o!());
    let mut rounds = 0;
    worker
        .run(&queue, &log, |event| {
            rounds += usize::from(event != Event::Grown);
            match rounds {
                0 => {}
                1 => queue.push(vec![log_job(2, 1)]),
                _ => queue.close(),
            }
        })
        .expect("no error");
    assert_eq!(notes.taken(), ["log [1]", "state 1", "flush", "log [2]"]);
}

#[test]
fn before_megabytes_are_acknowledged_somebody_looks_how_much_room_is_left() {
    let half = usize::try_from(LOOK_AFTER_BYTES / 2).expect("fits");
    let jobs = |index| vec![log_job(index, half), form_job()];
    let jobs: Vec<_> = (1..=3).flat_map(jobs).collect();
    let of_log = |line: &String| !line.starts_with("form");
    let seen: Vec<_> = round(jobs).into_iter().filter(of_log).collect();
    assert_eq!(
        seen,
        [
            "log [1]",
            "persisted [1]",
            "log [2]",
            "grown",
            "persisted [2]",
            "log [3]",
            "persisted [3]"
        ]
    );
}
