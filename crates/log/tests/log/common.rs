//! What the tests share.

use std::ffi::OsString;
use std::path::Path;
use std::{fs, io};

use bytes::Bytes;
use corgi_base::FlushedIndex;
use corgi_base::{BatchHead, BatchNumber, Boot, EntryHead, InstanceId, LogIndex, NodeId, Term};
use corgi_base::{MessageId, Op};
use corgi_consensus::storage::{EntryType, HardState, LogEntry, LogWrite, TruncateLimits};
use corgi_log::{DataDir, OpenError};

pub(crate) fn node(id: u64) -> NodeId {
    NodeId::new(id).unwrap()
}

pub(crate) fn quiet() -> slog::Logger {
    slog::Logger::root(slog::Discard, slog::o!())
}

pub(crate) fn open_dir(path: &Path) -> Result<DataDir, OpenError> {
    DataDir::open(path, node(1), InstanceId(77), &quiet())
}

/// Copies the folder of an open database as it is on disk: what a process that is killed now would
/// leave.
///
/// A database removes files in the background, so a copy counts only if nothing changed while it
/// was made.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    for _ in 0..1000 {
        let before = listing(from);
        if copy_files(from, to).is_ok() && listing(from) == before {
            return;
        }
        let _ = fs::remove_dir_all(to);
    }
    panic!("{} does not come to rest", from.display());
}

fn listing(dir: &Path) -> Vec<(OsString, u64)> {
    let files = fs::read_dir(dir).unwrap().map(Result::unwrap);
    // A file that is removed meanwhile has no length; the next listing differs.
    let len = |file: &fs::DirEntry| file.metadata().map_or(u64::MAX, |data| data.len());
    let mut files: Vec<_> = files.map(|file| (file.file_name(), len(&file))).collect();
    files.sort();
    files
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}

/// Returns a batch entry of one operation, all of which follows from its index and term.
pub(crate) fn batch_entry(index: u64, term: u64) -> LogEntry {
    let mut data = Vec::new();
    let payload = format!(
        "message {index} of term {term} {}",
        "x".repeat(index as usize % 200)
    );
    let channel = Bytes::from_static(b"ch");
    Op::Publish {
        channel,
        payload: payload.into(),
    }
    .encode(&mut data);
    let head = BatchHead {
        origin: node(1),
        boot: Boot(term),
        number: BatchNumber(index),
        ops: 1,
        stamp: MessageId {
            ms: 1000 + index,
            seq: 0,
        },
        acl: 0,
    };
    LogEntry {
        index: LogIndex(index),
        term: Term(term),
        entry_type: EntryType::Normal,
        context: EntryHead::Batch(head).encode(),
        data: data.into(),
    }
}

pub(crate) fn batch_write(
    indexes: std::ops::RangeInclusive<u64>,
    term: u64,
    commit: u64,
) -> LogWrite {
    let hard_state = HardState {
        term: Term(term),
        vote: Some(node(1)),
        commit: LogIndex(commit),
    };
    let entries = indexes.map(|index| batch_entry(index, term)).collect();
    LogWrite {
        entries,
        hard_state: Some(hard_state),
    }
}

/// Returns limits that allow to remove all entries up to and including `upto`.
pub(crate) fn all_up_to(upto: u64) -> TruncateLimits {
    TruncateLimits {
        flushed: FlushedIndex::read_back(LogIndex(upto)),
        hold: None,
        retain_bytes: 0,
        step_bytes: 0,
    }
}
