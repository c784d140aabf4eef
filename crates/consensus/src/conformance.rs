//! What every Raft log must do, as one suite that any implementation of the storage traits can run.
//!
//! The in-memory log passes it in this crate and RocksDB in `corgi-log`; that is what allows the
//! simulator to trust the first as a model of the second. Each check gets a fresh log from the
//! caller, and panics with the difference if the log does not keep the contract of
//! [`crate::storage`].
//!
//! Not here: damage to stored bytes and failing disks, which only some stores can have.

use bytes::Bytes;
use corgi_base::{FlushedIndex, LogIndex, NodeId, Term};

use crate::storage::{
    EntryType, HardState, LogBounds, LogEntry, LogReader, LogWrite, LogWriter, ReadLogError,
    TruncateLimits, Truncated,
};

mod front;
mod random;

/// A place that holds one log, outliving the processes that open it.
pub trait LogFixture {
    /// Its reading side.
    type Reader: LogReader;
    /// Its writing side.
    type Writer: LogWriter;

    /// Opens the log: empty at first, with what has survived later. The handles of an earlier
    /// opening are gone.
    fn open(&mut self) -> (Self::Reader, Self::Writer);

    /// Ends the process that holds the handles without a warning: all that was not synced is lost.
    fn crash(&mut self, reader: Self::Reader, writer: Self::Writer);
}

/// Runs every check, each on a fresh log from `fresh`.
///
/// # Panics
/// If the log does not do what the traits promise.
pub fn suite<F: LogFixture>(mut fresh: impl FnMut() -> F) {
    new_log_is_empty(fresh());
    appended_entries_are_read_back(fresh());
    ranges_are_half_open_and_end_with_the_log(fresh());
    max_bytes_ends_a_range_but_never_before_the_first_entry(fresh());
    indexes_outside_the_log_are_typed_errors(fresh());
    a_suffix_is_replaced_by_a_shorter_one(fresh());
    a_suffix_is_replaced_by_a_longer_one(fresh());
    all_entries_are_replaced_from_the_first_on(fresh());
    hard_state_is_kept_with_and_without_entries(fresh());
    writes_of_one_call_take_effect_in_order(fresh());
    an_empty_write_changes_nothing(fresh());
    acknowledged_writes_survive_a_crash(fresh());
    a_replaced_suffix_does_not_return_after_a_crash(fresh());
    readers_see_finished_writes(fresh());
    front::suite(&mut fresh);
    for seed in 1..=8 {
        random::operations_agree_with_a_model(fresh(), seed);
    }
}

/// Returns an entry whose bytes follow from its index and term.
fn entry(index: u64, term: u64) -> LogEntry {
    LogEntry {
        index: LogIndex(index),
        term: Term(term),
        entry_type: EntryType::Normal,
        context: Bytes::from(format!("head {index}")),
        data: Bytes::from(format!("data {index}@{term}")),
    }
}

fn entries(indexes: std::ops::RangeInclusive<u64>, term: u64) -> Vec<LogEntry> {
    indexes.map(|index| entry(index, term)).collect()
}

fn hard_state(term: u64, commit: u64) -> HardState {
    HardState {
        term: Term(term),
        vote: NodeId::new(term % 3),
        commit: LogIndex(commit),
    }
}

/// Returns a write of entries in their last term, with the hard state that goes with them.
fn write(entries: Vec<LogEntry>, commit: u64) -> LogWrite {
    let term = entries.last().map_or(0, |entry| entry.term.0);
    LogWrite {
        entries,
        hard_state: Some(hard_state(term, commit)),
    }
}

fn append(writer: &mut impl LogWriter, entries: Vec<LogEntry>) {
    writer
        .write(&[write(entries, 0)])
        .expect("the write succeeds");
}

/// Removes the entries up to and including `upto` from the front.
fn truncate(writer: &mut impl LogWriter, upto: u64) -> Option<Truncated> {
    let limits = TruncateLimits {
        flushed: FlushedIndex::read_back(LogIndex(upto)),
        hold: None,
        retain_bytes: 0,
        step_bytes: 0,
    };
    writer.truncate(&limits).expect("the log is truncated")
}

fn bounds(writer: &impl LogWriter) -> LogBounds {
    writer.bounds().expect("the bounds are sound")
}

fn read(reader: &impl LogReader, low: u64, high: u64) -> Vec<LogEntry> {
    reader
        .entries(LogIndex(low), LogIndex(high), u64::MAX)
        .expect("the range is in the log")
}

/// Asserts that the log is exactly `want`, through every way of reading it.
fn assert_log(reader: &impl LogReader, writer: &impl LogWriter, want: &[LogEntry]) {
    let bounds = bounds(writer);
    let first = bounds.truncated_index.0 + 1;
    assert_eq!(read(reader, first, first + want.len() as u64), want);
    let last = want.last().map(|entry| (entry.index, entry.term));
    let last = last.unwrap_or((bounds.truncated_index, bounds.truncated_term));
    assert_eq!((bounds.last_index, bounds.last_term), last);
    for entry in want {
        assert_eq!(reader.term(entry.index), Ok(entry.term));
    }
    let (index, last) = (last.0.next(), last.0);
    let beyond = ReadLogError::Unavailable { index, last };
    assert_eq!(
        reader.entries(index, index.next(), u64::MAX),
        Err(beyond.clone())
    );
    assert_eq!(reader.term(index), Err(beyond));
}

fn new_log_is_empty<F: LogFixture>(mut log: F) {
    let (reader, writer) = log.open();
    assert_eq!(bounds(&writer), LogBounds::default());
    assert_log(&reader, &writer, &[]);
    assert_eq!(
        reader.term(LogIndex(0)),
        Ok(Term(0)),
        "the term before the first entry is 0"
    );
}

fn appended_entries_are_read_back<F: LogFixture>(mut log: F) {
    let (reader, mut writer) = log.open();
    let mut want = entries(1..=3, 1);
    want[0].context = Bytes::new();
    want[0].data = Bytes::new();
    want[1].entry_type = EntryType::ConfChange;
    want[2].entry_type = EntryType::ConfChangeV2;
    want[2].data = Bytes::from(vec![0xff; 300 * 1024]);
    append(&mut writer, want[..2].to_vec());
    append(&mut writer, want[2..].to_vec());
    assert_log(&reader, &writer, &want);
}

fn ranges_are_half_open_and_end_with_the_log<F: LogFixture>(mut log: F) {
    let (reader, mut writer) = log.open();
    append(&mut writer, entries(1..=5, 1));
    assert_eq!(read(&reader, 2, 4), entries(2..=3, 1));
    assert_eq!(read(&reader, 5, 6), entries(5..=5, 1));
    assert_eq!(read(&reader, 4, 100), entries(4..=5, 1));
    assert_eq!(read(&reader, 3, 3), []);
    assert_eq!(
        read(&reader, 9, 9),
        [],
        "an empty range is answered wherever it lies"
    );
}

fn max_bytes_ends_a_range_but_never_before_the_first_entry<F: LogFixture>(mut log: F) {
    let (reader, mut writer) = log.open();
    let mut want = entries(1..=4, 1);
    for entry in &mut want {
        entry.context = Bytes::from_static(b"ctx");
        entry.data = Bytes::from(vec![7; 97]);
    }
    append(&mut writer, want.clone());
    let count = |low: u64, max_bytes: u64| {
        let read = reader.entries(LogIndex(low), LogIndex(5), max_bytes);
        read.expect("the range is in the log").len()
    };
    // Context and data count, exactly the limit still fits.
    for (max_bytes, expected) in [
        (0, 1),
        (99, 1),
        (100, 1),
        (199, 1),
        (200, 2),
        (399, 3),
        (400, 4),
        (u64::MAX, 4),
    ] {
        assert_eq!(
            count(1, max_bytes),
            expected,
            "entries within {max_bytes} bytes"
        );
    }
    assert_eq!(count(4, 0), 1);
}

fn indexes_outside_the_log_are_typed_errors<F: LogFixture>(mut log: F) {
    let (reader, mut writer) = log.open();
    append(&mut writer, entries(1..=2, 1));
    let compacted = ReadLogError::Compacted {
        index: LogIndex(0),
        truncated: LogIndex(0),
    };
    assert_eq!(
        reader.entries(LogIndex(0), LogIndex(2), u64::MAX),
        Err(compacted)
    );
    let beyond = ReadLogError::Unavailable {
        index: LogIndex(7),
        last: LogIndex(2),
    };
    assert_eq!(
        reader.entries(LogIndex(7), LogIndex(9), u64::MAX),
        Err(beyond.clone())
    );
    assert_eq!(reader.term(LogIndex(7)), Err(beyond));
}

fn a_suffix_is_replaced_by_a_shorter_one<F: LogFixture>(mut log: F) {
    let (reader, mut writer) = log.open();
    append(&mut writer, entries(1..=9, 1));
    append(&mut writer, entries(4..=5, 2));
    let want = [entries(1..=3, 1), entries(4..=5, 2)].concat();
    assert_log(&reader, &writer, &want);
}

fn a_suffix_is_replaced_by_a_longer_one<F: LogFixture>(mut log: F) {
    let (reader, mut writer) = log.open();
    append(&mut writer, entries(1..=4, 1));
    append(&mut writer, entries(4..=8, 3));
    let want = [entries(1..=3, 1), entries(4..=8, 3)].concat();
    assert_log(&reader, &writer, &want);
}

fn all_entries_are_replaced_from_the_first_on<F: LogFixture>(mut log: F) {
    let (reader, mut writer) = log.open();
    append(&mut writer, entries(1..=4, 1));
    append(&mut writer, entries(1..=2, 2));
    assert_log(&reader, &writer, &entries(1..=2, 2));
}

fn hard_state_is_kept_with_and_without_entries<F: LogFixture>(mut log: F) {
    let (reader, mut writer) = log.open();
    let voted = HardState {
        term: Term(1),
        vote: NodeId::new(3),
        commit: LogIndex(0),
    };
    let only = |hard_state| LogWrite {
        entries: Vec::new(),
        hard_state: Some(hard_state),
    };
    writer.write(&[only(voted)]).expect("the write succeeds");
    assert_eq!(bounds(&writer).hard_state, voted);
    let committed = HardState {
        commit: LogIndex(2),
        ..voted
    };
    let both = LogWrite {
        entries: entries(1..=2, 1),
        hard_state: Some(committed),
    };
    writer.write(&[both]).expect("the write succeeds");
    assert_eq!(bounds(&writer).hard_state, committed);
    let neither = LogWrite {
        entries: entries(3..=3, 1),
        hard_state: None,
    };
    writer.write(&[neither]).expect("the write succeeds");
    assert_eq!(
        bounds(&writer).hard_state,
        committed,
        "entries alone leave the hard state"
    );
    let no_vote = HardState {
        term: Term(2),
        vote: None,
        ..committed
    };
    writer.write(&[only(no_vote)]).expect("the write succeeds");
    log.crash(reader, writer);
    let (reader, writer) = log.open();
    assert_eq!(bounds(&writer).hard_state, no_vote);
    assert_log(&reader, &writer, &entries(1..=3, 1));
}

fn writes_of_one_call_take_effect_in_order<F: LogFixture>(mut log: F) {
    let (reader, mut writer) = log.open();
    append(&mut writer, entries(1..=6, 1));
    // The second replaces a part of the first, the third goes on after it, the fourth moves the
    // hard state alone.
    let last = HardState {
        term: Term(4),
        vote: NodeId::new(2),
        commit: LogIndex(1),
    };
    let group = [
        write(entries(3..=5, 2), 0),
        write(entries(4..=4, 3), 1),
        LogWrite {
            entries: entries(5..=5, 3),
            hard_state: None,
        },
        LogWrite {
            entries: Vec::new(),
            hard_state: Some(last),
        },
    ];
    writer.write(&group).expect("the write succeeds");
    let want = [entries(1..=2, 1), entries(3..=3, 2), entries(4..=5, 3)].concat();
    assert_log(&reader, &writer, &want);
    assert_eq!(bounds(&writer).hard_state, last);
    // A later write of a call may begin below the first one.
    let group = [write(entries(5..=6, 5), 0), write(entries(2..=3, 6), 0)];
    writer.write(&group).expect("the write succeeds");
    let want = [entries(1..=1, 1), entries(2..=3, 6)].concat();
    assert_log(&reader, &writer, &want);
    log.crash(reader, writer);
    let (reader, writer) = log.open();
    assert_log(&reader, &writer, &want);
}

fn an_empty_write_changes_nothing<F: LogFixture>(mut log: F) {
    let (reader, mut writer) = log.open();
    append(&mut writer, entries(1..=2, 1));
    let before = bounds(&writer);
    writer.write(&[]).expect("the write succeeds");
    writer
        .write(&[LogWrite::default(), LogWrite::default()])
        .expect("the write succeeds");
    assert_eq!(bounds(&writer), before);
    assert_log(&reader, &writer, &entries(1..=2, 1));
}

fn acknowledged_writes_survive_a_crash<F: LogFixture>(mut log: F) {
    let mut want = Vec::new();
    for round in 1..=5 {
        let (reader, mut writer) = log.open();
        assert_log(&reader, &writer, &want);
        let more = entries(round * 3 - 2..=round * 3, round);
        want.extend(more.clone());
        let written = write(more, round);
        writer
            .write(std::slice::from_ref(&written))
            .expect("the write succeeds");
        log.crash(reader, writer);
        let (reader, writer) = log.open();
        assert_eq!(Some(bounds(&writer).hard_state), written.hard_state);
        assert_log(&reader, &writer, &want);
    }
}

fn a_replaced_suffix_does_not_return_after_a_crash<F: LogFixture>(mut log: F) {
    let (reader, mut writer) = log.open();
    append(&mut writer, entries(1..=20, 1));
    append(&mut writer, entries(5..=6, 2));
    log.crash(reader, writer);
    let (reader, mut writer) = log.open();
    let mut want = [entries(1..=4, 1), entries(5..=6, 2)].concat();
    assert_log(&reader, &writer, &want);
    append(&mut writer, entries(7..=8, 2));
    want.extend(entries(7..=8, 2));
    assert_log(&reader, &writer, &want);
}

fn readers_see_finished_writes<F: LogFixture>(mut log: F) {
    let (reader, mut writer) = log.open();
    for index in 1..=20 {
        append(&mut writer, entries(index..=index, 1));
        assert_eq!(read(&reader, 1, index + 1), entries(1..=index, 1));
        assert_eq!(reader.term(LogIndex(index)), Ok(Term(1)));
    }
}
