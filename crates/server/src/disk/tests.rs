//! In which order things reach the disk and the node.

use super::*;
use bytes::Bytes;
use corgi_base::{ClusterId, LogIndex, NodeId, Term};
use corgi_consensus::storage::{EntryType, HardState, LogEntry};
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

    fn install(&mut self, file: &SnapshotFile, _: &LogInstall) -> anyhow::Result<Rows> {
        self.notes.note(format!("install {}", file.index));
        Ok(Rows::new())
    }

    fn truncate(&mut self, limits: &TruncateLimits) -> anyhow::Result<Option<Truncated>> {
        let (index, hold) = (limits.flushed.get(), limits.hold);
        self.notes.note(format!("truncate {index} hold {hold:?}"));
        let term = Term(1);
        Ok(Some(Truncated { index, term }))
    }

    fn begin_flush(&mut self, _: Option<LogIndex>, _: u64) -> anyhow::Result<()> {
        self.notes.note("begin flush");
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

fn install_job(index: u64) -> Job<u64> {
    let (index, term) = (LogIndex(index), Term(1));
    let file = SnapshotFile {
        index,
        term,
        bytes: 1,
        hash: 1,
    };
    let log = LogInstall {
        index,
        term,
        hard_state: HardState::default(),
    };
    Job::Install {
        file,
        log,
        token: index.0,
    }
}

fn worker(notes: &Notes, fails: bool) -> Worker<Noting> {
    let notes = notes.clone();
    Worker::new(Noting { notes, fails }, 1 << 40, Arc::default())
}

fn quiet() -> Logger {
    Logger::root(Discard, o!())
}

/// Notes what the node would be told.
fn note(notes: &Notes, event: Event<u64>) {
    match event {
        Event::Grown => notes.note("grown"),
        Event::Persisted(tokens) => notes.note(format!("persisted {tokens:?}")),
        Event::Installed(token, _) => notes.note(format!("installed {token}")),
        Event::Truncated(truncated) => notes.note(format!("truncated {}", truncated.index)),
    }
}

/// Does `jobs` as one round and returns what happened in which order.
fn round(jobs: Vec<Job<u64>>) -> Vec<String> {
    let notes = Notes::default();
    let mut worker = worker(&notes, false);
    let (steps, told) = (worker.steps.clone(), notes.clone());
    let mut tell = |event| {
        let looks = matches!(event, Event::Grown);
        assert!(
            !looks || steps.count() % 2 == 1,
            "what looks at the disk is watched"
        );
        note(&told, event);
    };
    worker.work(jobs, &quiet(), &mut tell).expect("no error");
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
    let mut worker = worker(&notes, true);
    let told = notes.clone();
    let jobs = vec![log_job(1, 1), state_job(1)];
    let done = worker.work(jobs, &quiet(), &mut |done| note(&told, done));
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
    let worker = worker(&notes, false);
    // As the node does: what is persisted is committed, and applying it is a write of the state.
    let told = |event| match event {
        Event::Grown => notes.note("grown"),
        Event::Persisted(tokens) => queue.push(tokens.into_iter().map(state_job).collect()),
        other => panic!("{other:?}"),
    };
    worker.run(&queue, &quiet(), told).expect("no error");
    assert_eq!(notes.taken(), ["log [1]", "state 1", "flush"]);
}

#[test]
fn the_state_is_flushed_elsewhere_when_the_log_has_grown_enough_and_then_the_log_is_truncated() {
    let notes = Notes::default();
    let queue = Queue::default();
    let large = usize::try_from(FLUSH_AFTER_BYTES).expect("fits");
    queue.push(vec![log_job(1, large), state_job(1)]);
    let worker = worker(&notes, false);
    let mut rounds = 0;
    let told = |event| {
        if event == Event::Grown {
            return;
        }
        note(&notes, event);
        rounds += 1;
        let flushed = FlushedIndex::read_back(LogIndex(1));
        match rounds {
            // Not flushed again while a flush is under way.
            1 => queue.push(vec![log_job(2, large), state_job(2)]),
            2 => queue.push(vec![Job::Flushed(flushed), Job::Hold(Some(LogIndex(7)))]),
            _ => queue.close(),
        }
    };
    worker.run(&queue, &quiet(), told).expect("no error");
    let expected = [
        "log [1]",
        "persisted [1]",
        "state 1",
        "begin flush",
        "log [2]",
        "persisted [2]",
        "state 2",
        "truncate 1 hold Some(7)",
        "truncated 1",
        "begin flush",
        "flush",
    ];
    assert_eq!(notes.taken(), expected);
}

#[test]
fn nothing_passes_the_installation_of_a_snapshot() {
    let flushed = FlushedIndex::read_back(LogIndex(1));
    let jobs = vec![
        log_job(1, 1),
        Job::Flushed(flushed),
        state_job(1),
        install_job(9),
        log_job(10, 1),
        state_job(10),
    ];
    assert_eq!(
        round(jobs),
        [
            "log [1]",
            "persisted [1]",
            "state 1",
            "install 9",
            "installed 9",
            "log [10]",
            "persisted [10]",
            "state 10",
            "truncate 1 hold None",
            "truncated 1",
        ]
    );
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
