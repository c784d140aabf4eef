//! Readers on other threads while the writer appends, replaces and truncates: they see entries that were
//! written, or a typed "not there", and never take a removal for damage.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::common::{all_up_to, batch_entry, batch_write};
use corgi_base::LogIndex;
use corgi_consensus::storage::{LogReader as _, LogWriter as _, ReadLogError};
use corgi_log::{RocksLogReader, open_log};
use tempfile::TempDir;

/// Reads around `near` until told to stop; returns how many reads found something.
fn read_until(reader: &RocksLogReader, near: &AtomicU64, stop: &AtomicBool) -> u64 {
    let mut found = 0;
    let mut step: u64 = 0;
    while !stop.load(Ordering::Relaxed) {
        step += 1;
        let around = near.load(Ordering::Relaxed);
        let low = (around + step % 7).saturating_sub(step % 40);
        match reader.entries(LogIndex(low), LogIndex(low + 1 + step % 9), 1000) {
            Ok(entries) => {
                for (index, entry) in (low..).zip(&entries) {
                    assert_eq!(*entry, batch_entry(index, entry.term.0));
                }
                assert!(!entries.is_empty());
                found += 1;
            }
            Err(ReadLogError::Compacted { .. } | ReadLogError::Unavailable { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        match reader.term(LogIndex(low)) {
            Ok(_) | Err(ReadLogError::Compacted { .. } | ReadLogError::Unavailable { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    found
}

#[test]
fn readers_never_take_a_removal_for_damage() {
    let root = TempDir::new().unwrap();
    let (reader, mut writer) = open_log(&root.path().join("raft")).unwrap();
    let (near, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let readers = [reader.clone(), reader.clone()];
        let (near, stop) = (&near, &stop);
        let threads: Vec<_> = readers
            .into_iter()
            .map(|reader| scope.spawn(move || read_until(&reader, near, stop)))
            .collect();
        let mut commit = 0;
        for term in 1..=300 {
            // Each leader replaces what the one before it did not commit, with more or with less.
            let last = commit + 2 + term * 7 % 11;
            writer
                .write(&[batch_write(commit + 1..=last, term, commit)])
                .unwrap();
            commit += term % 3;
            let only_commit = batch_write(last + 1..=last + 1, term, commit);
            writer.write(&[only_commit]).unwrap();
            near.store(last, Ordering::Relaxed);
            if term % 10 == 0 {
                writer
                    .truncate(&all_up_to(commit.saturating_sub(15)))
                    .unwrap();
            }
        }
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            assert!(thread.join().unwrap() > 0, "a reader found nothing");
        }
    });
    let bounds = writer.bounds().unwrap();
    let count = bounds.last_index.0 - bounds.truncated_index.0;
    assert_eq!(reader.verify(), Ok(count));
}
