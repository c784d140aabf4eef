//! A process that is killed while it writes: everything it has acknowledged is there at the next
//! start.
//!
//! The test runs its own binary again as the process that writes. That one prints a line after each
//! write has returned, and writes on until it is killed; the moment of the kill is drawn by
//! counting lines, so it falls anywhere in the next writes, flushes and truncations.
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{all_up_to, batch_entry, batch_write, open_dir};
use bytes::Bytes;
use corgi_base::LogIndex;
use corgi_consensus::storage::{LogReader as _, LogWriter as _};
use corgi_log::{Stores, dump_log};
use corgi_state::store::{StateStore as _, StateWrite};
use tempfile::TempDir;

const KILLS: u64 = 24;
/// Tells the test binary that it is the process to be killed, and in which folder.
const CHILD: &str = "CORGI_LOG_CRASH_TEST_DIR";

/// What the child has said before it died.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ack {
    boot: u64,
    last: u64,
    commit: u64,
    /// Up to here the applied state was flushed.
    flushed: u64,
}

impl Ack {
    fn parse(line: &str) -> Option<Self> {
        let mut numbers = line
            .strip_prefix("ack ")?
            .split(' ')
            .map(|word| word.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(Self {
            boot: next()?,
            last: next()?,
            commit: next()?,
            flushed: next()?,
        })
    }

    fn print(self) {
        let Self {
            boot,
            last,
            commit,
            flushed,
        } = self;
        // Not the print macros: the test harness would hold them back.
        let mut out = std::io::stdout().lock();
        writeln!(out, "ack {boot} {last} {commit} {flushed}").unwrap();
        out.flush().unwrap();
    }
}

/// Returns the rows as they are when `applied` is applied: two per entry, of which half survive the
/// next ones.
fn state_write(index: u64) -> StateWrite {
    let value = Bytes::from(index.to_string());
    let slot = Bytes::from(format!("slot {}", index % 50));
    let puts = vec![
        (Bytes::from_static(b"applied"), value.clone()),
        (slot, value),
    ];
    StateWrite {
        applied: LogIndex(index),
        puts,
        deletes: Vec::new(),
    }
}

fn rows_at(applied: u64) -> Vec<(Bytes, Bytes)> {
    let mut rows = std::collections::BTreeMap::new();
    for index in applied.saturating_sub(49).max(1)..=applied {
        rows.extend(state_write(index).puts);
    }
    rows.into_iter().collect()
}

/// Writes until it is killed. Each boot is a new leader in a new term, so it replaces what was not
/// committed.
fn child(path: &Path) {
    let mut dir = open_dir(path).unwrap();
    let boot = dir.identity().boot.0;
    let Stores {
        mut writer,
        mut state,
        ..
    } = dir.open_stores().unwrap();
    let bounds = writer.bounds().unwrap();
    let mut last = bounds.hard_state.commit.0;
    let mut commit = last;
    let mut flushed = state.applied().0;
    for round in 1_u64.. {
        let first = last + 1;
        last += 1 + round % 5;
        // A group of two writes, the second of which replaces the end of the first.
        let group = [
            batch_write(first..=last + 2, boot, commit),
            batch_write(last..=last, boot, commit),
        ];
        writer.write(&group).unwrap();
        Ack {
            boot,
            last,
            commit,
            flushed,
        }
        .print();
        if round % 2 == 0 {
            commit = last - round % 3;
            writer
                .write(&[batch_write(last + 1..=last + 1, boot, commit)])
                .unwrap();
            last += 1;
            for index in state.applied().0 + 1..=commit {
                state.write(&state_write(index)).unwrap();
            }
        }
        if round % 7 == 0 {
            state.flush().unwrap();
            flushed = state.flushed().unwrap().get().0;
        }
        if round % 20 == 0 {
            writer
                .truncate(&all_up_to(flushed.saturating_sub(30)))
                .unwrap();
        }
        Ack {
            boot,
            last,
            commit,
            flushed,
        }
        .print();
    }
}

/// Runs the child, kills it after `lines` acknowledgements, and returns the last one it made.
fn run_and_kill(path: &Path, lines: u64) -> Option<Ack> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "crash::acknowledged_writes_survive_kills",
            "--nocapture",
        ])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut last = None;
    let mut seen = 0;
    let mut line = String::new();
    let mut killed = lines == 0;
    if killed {
        child.kill().unwrap();
    }
    // After the kill the pipe still holds what was acknowledged before it.
    while output.read_line(&mut line).unwrap() > 0 {
        if let Some(ack) = Ack::parse(line.trim_end()) {
            last = Some(ack);
            seen += 1;
        }
        line.clear();
        if seen >= lines && !killed {
            child.kill().unwrap();
            killed = true;
        }
    }
    let status = child.wait().unwrap();
    assert_eq!(status.code(), None, "the child ended on its own: {status}");
    last
}

/// Checks a folder against the last acknowledgement of the boot that was just killed.
fn check(path: &Path, ack: Ack) {
    let dumped = dump_log(path, &mut std::io::sink()).unwrap();
    let stores = open_dir(path).unwrap().open_stores().unwrap();
    let bounds = stores.writer.bounds().unwrap();
    assert_eq!(dumped.bounds.last_index, bounds.last_index);
    let (first, last) = (bounds.truncated_index.0 + 1, bounds.last_index.0);
    let commit = bounds.hard_state.commit.0;
    assert!(last >= ack.last, "{last} entries, {ack:?}");
    assert!(commit >= ack.commit, "commit {commit}, {ack:?}");
    assert_eq!(stores.reader.verify(), Ok(last + 1 - first));

    let entries = stores
        .reader
        .entries(LogIndex(first), LogIndex(last + 1), u64::MAX)
        .unwrap();
    for (index, entry) in (first..=last).zip(&entries) {
        assert_eq!(*entry, batch_entry(index, entry.term.0), "entry {index}");
    }
    let acked_term = stores.reader.term(LogIndex(ack.last)).unwrap().0;
    assert_eq!(
        acked_term, ack.boot,
        "an acknowledged entry was replaced, {ack:?}"
    );

    let applied = stores.state.applied().0;
    assert!(
        (ack.flushed..=last).contains(&applied),
        "applied {applied}, {ack:?}"
    );
    assert_eq!(stores.state.rows().unwrap(), rows_at(applied));
}

#[test]
fn acknowledged_writes_survive_kills() {
    if let Some(path) = std::env::var_os(CHILD) {
        child(Path::new(&path));
        return;
    }
    let root = TempDir::new().unwrap();
    let mut boot = 0;
    let mut previous: Option<Ack> = None;
    for round in 0..KILLS {
        // From "while it opens" to some hundred writes.
        let lines = round * 7919 % 101 + u64::from(round > 0);
        let ack = run_and_kill(root.path(), lines);
        if let Some(ack) = ack {
            assert!(ack.boot > boot, "boot {} after {boot}", ack.boot);
            boot = ack.boot;
            if let Some(previous) = previous {
                assert!(ack.commit >= previous.commit, "{ack:?} after {previous:?}");
            }
            check(root.path(), ack);
            previous = Some(ack);
        }
    }
    let last = previous.expect("the child has acknowledged something");
    assert!(last.commit > KILLS, "the child made no progress: {last:?}");
}
