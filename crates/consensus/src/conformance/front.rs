//! What is removed from the front of a log, and how it is reset to a snapshot.

use corgi_base::{FlushedIndex, LogIndex, Term};

use super::{LogFixture, append, assert_log, bounds, entries, entry, hard_state, truncate, write};
use crate::storage::{
    HardState, LogInstall, LogReader, LogWrite, LogWriter, ReadLogError, TruncateLimits, Truncated,
};

pub(super) fn suite<F: LogFixture>(fresh: &mut impl FnMut() -> F) {
    truncated_entries_are_compacted_and_the_last_keeps_its_term(fresh());
    a_log_truncated_to_nothing_goes_on(fresh());
    the_newest_bytes_are_retained(fresh());
    nothing_is_removed_that_is_held_or_not_worth_it(fresh());
    truncation_raises_the_stored_commit(fresh());
    a_snapshot_replaces_all_that_the_log_held(fresh());
    a_log_that_was_reset_goes_on_after_the_snapshot(fresh());
}

fn truncated_entries_are_compacted_and_the_last_keeps_its_term<F: LogFixture>(mut log: F) {
    let (reader, mut writer) = log.open();
    writer
        .write(&[write(entries(1..=3, 1), 0), write(entries(4..=9, 2), 9)])
        .expect("the write succeeds");
    let gone = truncate(&mut writer, 3);
    let (index, term) = (LogIndex(3), Term(1));
    assert_eq!(gone, Some(Truncated { index, term }));
    assert_eq!(truncate(&mut writer, 2), None, "already gone");
    let check = |reader: &F::Reader, writer: &F::Writer| {
        let bounds = bounds(writer);
        assert_eq!(
            (bounds.truncated_index, bounds.truncated_term),
            (LogIndex(3), Term(1))
        );
        assert_log(reader, writer, &entries(4..=9, 2));
        assert_eq!(
            reader.term(LogIndex(3)),
            Ok(Term(1)),
            "raft asks for it at the edge"
        );
        for index in [LogIndex(0), LogIndex(2)] {
            let gone = ReadLogError::Compacted {
                index,
                truncated: LogIndex(3),
            };
            assert_eq!(reader.term(index), Err(gone));
        }
        let gone = ReadLogError::Compacted {
            index: LogIndex(3),
            truncated: LogIndex(3),
        };
        assert_eq!(
            reader.entries(LogIndex(3), LogIndex(6), u64::MAX),
            Err(gone)
        );
    };
    check(&reader, &writer);
    log.crash(reader, writer);
    let (reader, writer) = log.open();
    check(&reader, &writer);
}

fn a_log_truncated_to_nothing_goes_on<F: LogFixture>(mut log: F) {
    let (reader, mut writer) = log.open();
    writer
        .write(&[write(entries(1..=4, 2), 4)])
        .expect("the write succeeds");
    truncate(&mut writer, 4);
    assert_log(&reader, &writer, &[]);
    log.crash(reader, writer);
    let (reader, mut writer) = log.open();
    assert_log(&reader, &writer, &[]);
    writer
        .write(&[write(entries(5..=6, 2), 4)])
        .expect("the write succeeds");
    writer
        .write(&[write(entries(5..=7, 3), 5)])
        .expect("the write succeeds");
    assert_log(&reader, &writer, &entries(5..=7, 3));
}

/// Returns limits under which everything may go that is flushed.
fn limits(flushed: u64) -> TruncateLimits {
    TruncateLimits {
        flushed: FlushedIndex::read_back(LogIndex(flushed)),
        hold: None,
        retain_bytes: 0,
        step_bytes: 0,
    }
}

fn the_newest_bytes_are_retained<F: LogFixture>(mut log: F) {
    let (reader, mut writer) = log.open();
    // Many entries, each of 1,000 bytes: a log that estimates must not be far off.
    let all: Vec<_> = (1..=400).map(|index| sized(index, 1000)).collect();
    for group in all.chunks(20) {
        let written = write(group.to_vec(), group[0].index.0);
        writer.write(&[written]).expect("the write succeeds");
    }
    let retain = |retain_bytes| TruncateLimits {
        retain_bytes,
        ..limits(390)
    };
    for retain_bytes in [u64::MAX, 400_000] {
        let nothing = writer.truncate(&retain(retain_bytes));
        assert_eq!(nothing, Ok(None), "{retain_bytes} bytes are not exceeded");
    }
    let mut first = 1;
    for kept in [300, 100, 50] {
        let gone = writer.truncate(&retain(kept * 1000));
        let gone = gone.expect("the log is truncated").expect("by much");
        let left = 400 - gone.index.0;
        assert!(left >= kept, "{kept} were to stay, {left} did");
        assert!(
            left <= kept + 40,
            "{kept} were to stay, as many as {left} did"
        );
        first = gone.index.0 + 1;
        assert_log(&reader, &writer, &all[gone.index.0 as usize..]);
    }
    log.crash(reader, writer);
    let (reader, mut writer) = log.open();
    assert_log(&reader, &writer, &all[first as usize - 1..]);
    // Sizes are known after a start too, and the flushed index is the end in any case.
    let gone = writer.truncate(&retain(0)).expect("the log is truncated");
    assert_eq!(gone.map(|gone| gone.index), Some(LogIndex(390)));
    assert_log(&reader, &writer, &all[390..]);
}

fn sized(index: u64, bytes: usize) -> crate::storage::LogEntry {
    let mut entry = entry(index, 1);
    entry.data = vec![index as u8; bytes - entry.context.len()].into();
    entry
}

fn nothing_is_removed_that_is_held_or_not_worth_it<F: LogFixture>(mut log: F) {
    let (reader, mut writer) = log.open();
    let all: Vec<_> = (1..=10).map(|index| sized(index, 1000)).collect();
    let written = write(all.clone(), 10);
    writer.write(&[written]).expect("the write succeeds");
    let mut limits = limits(10);
    limits.step_bytes = 1_000_000;
    assert_eq!(writer.truncate(&limits), Ok(None), "not worth it");
    limits.step_bytes = 1;
    limits.hold = Some(LogIndex(0));
    assert_eq!(writer.truncate(&limits), Ok(None), "all is held");
    limits.hold = Some(LogIndex(4));
    let (index, term) = (LogIndex(4), Term(1));
    let gone = writer.truncate(&limits);
    assert_eq!(gone, Ok(Some(Truncated { index, term })));
    assert_log(&reader, &writer, &all[4..]);
}

fn truncation_raises_the_stored_commit<F: LogFixture>(mut log: F) {
    let (reader, mut writer) = log.open();
    writer
        .write(&[write(entries(1..=6, 2), 1)])
        .expect("the write succeeds");
    // What is applied and flushed is committed, whether or not that has been written since.
    truncate(&mut writer, 5);
    let raised = HardState {
        commit: LogIndex(5),
        ..hard_state(2, 1)
    };
    assert_eq!(bounds(&writer).hard_state, raised);
    log.crash(reader, writer);
    let (reader, writer) = log.open();
    assert_eq!(bounds(&writer).hard_state, raised);
    assert_log(&reader, &writer, &entries(6..=6, 2));
}

fn reset(index: u64, term: u64, hard_term: u64) -> LogInstall {
    LogInstall {
        index: LogIndex(index),
        term: Term(term),
        hard_state: hard_state(hard_term, index),
    }
}

fn a_snapshot_replaces_all_that_the_log_held<F: LogFixture>(mut log: F) {
    // Empty, behind the snapshot, up to it, and beyond it: an uncommitted end that nobody else has.
    for last in [0, 5, 40, 60] {
        let (reader, mut writer) = log.open();
        let at = bounds(&writer).last_index.0;
        if last > 0 {
            append_from(&mut writer, at + 1, at + last);
        }
        let install = reset(at + 40, at + 40, at + 41);
        writer.install(&install).expect("the log is reset");
        let check = |reader: &F::Reader, writer: &F::Writer, installing| {
            let bounds = bounds(writer);
            let truncated = (bounds.truncated_index, bounds.truncated_term);
            assert_eq!(truncated, (install.index, install.term));
            assert_eq!(bounds.hard_state, install.hard_state);
            assert_eq!(bounds.installing, installing);
            assert_log(reader, writer, &[]);
            assert_eq!(reader.term(install.index), Ok(install.term));
            let below = LogIndex(install.index.0 - 1);
            let gone = ReadLogError::Compacted {
                index: below,
                truncated: install.index,
            };
            assert_eq!(reader.term(below), Err(gone));
        };
        check(&reader, &writer, true);
        log.crash(reader, writer);
        let (reader, mut writer) = log.open();
        check(&reader, &writer, true);
        writer.installed().expect("that is noted");
        check(&reader, &writer, false);
        log.crash(reader, writer);
        let (reader, writer) = log.open();
        check(&reader, &writer, false);
        log.crash(reader, writer);
    }
}

/// Appends entries whose term is their first index.
fn append_from(writer: &mut impl LogWriter, first: u64, last: u64) {
    let entries: Vec<_> = (first..=last).map(|index| entry(index, first)).collect();
    let hard_state = Some(hard_state(first, first - 1));
    let write = LogWrite {
        entries,
        hard_state,
    };
    writer.write(&[write]).expect("the write succeeds");
}

fn a_log_that_was_reset_goes_on_after_the_snapshot<F: LogFixture>(mut log: F) {
    let (reader, mut writer) = log.open();
    append(&mut writer, entries(1..=9, 1));
    writer.install(&reset(7, 2, 2)).expect("the log is reset");
    writer.installed().expect("that is noted");
    writer
        .write(&[write(entries(8..=10, 3), 8)])
        .expect("the write succeeds");
    assert_log(&reader, &writer, &entries(8..=10, 3));
    log.crash(reader, writer);
    let (reader, mut writer) = log.open();
    assert_log(&reader, &writer, &entries(8..=10, 3));
    assert_eq!(reader.term(LogIndex(7)), Ok(Term(2)));
    truncate(&mut writer, 8);
    assert_log(&reader, &writer, &entries(9..=10, 3));
}
