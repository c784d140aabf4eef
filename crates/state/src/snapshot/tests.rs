//! What is written is read back, in pieces of any size; anything else is refused, and the place named.

use super::*;
use crate::rows::OriginRow;
use corgi_base::{BatchNumber, Boot, Nonce};
use proptest::prelude::*;

fn node(id: u64) -> NodeId {
    NodeId::new(id).expect("not 0")
}

type Row = (Bytes, Bytes);

/// A state with so many sessions.
fn rows(sessions: u64) -> Vec<Row> {
    let mut meta = Meta::new(node(1));
    meta.applied = LogIndex(17);
    meta.applied_term = Term(3);
    meta.hash = 99;
    meta.learners = vec![node(4)];
    let mut rows = vec![(Key::Meta.encode(), meta.encode())];
    for id in 1..=sessions {
        let row = OriginRow {
            boot: Boot(id),
            nonce: Nonce(7),
            last: BatchNumber(id * 2),
        };
        rows.push((Key::Origin(node(id)).encode(), row.encode()));
    }
    rows
}

fn snapshot(rows: &[Row]) -> (Vec<u8>, SnapshotFile) {
    let (bytes, meta, file) = write(Vec::new(), rows.iter().cloned().map(Ok)).unwrap();
    assert_eq!((meta.index, meta.term), (LogIndex(17), Term(3)));
    assert_eq!((meta.voters, meta.learners), (vec![node(1)], vec![node(4)]));
    assert_eq!(file.bytes, bytes.len() as u64);
    (bytes, file)
}

/// Reads a file in pieces of `piece` bytes.
fn read(bytes: &[u8], file: SnapshotFile, piece: usize) -> Result<Vec<Row>, SnapshotError> {
    let mut reader = SnapshotReader::new(file);
    let mut rows = Vec::new();
    for piece in bytes.chunks(piece) {
        assert!(!reader.is_complete());
        rows.extend(reader.push(piece)?);
    }
    assert!(reader.is_complete(), "{reader:?}");
    assert_eq!(reader.header().unwrap().state_hash, 99);
    Ok(rows)
}

#[test]
fn what_is_written_is_read_back_in_pieces_of_any_size() {
    // The second has several frames.
    for sessions in [0, 3, 12_000] {
        let rows = rows(sessions);
        let (bytes, file) = snapshot(&rows);
        for piece in [1, 7, 4096, bytes.len()] {
            assert!(read(&bytes, file, piece).unwrap() == rows);
        }
        let all: Result<Vec<Row>, _> = SnapshotRows::new(&bytes[..], file).collect();
        assert!(all.unwrap() == rows);
    }
}

#[test]
fn a_large_row_goes_alone_and_memory_holds_one_frame() {
    let mut rows = rows(1);
    rows.push((Bytes::from_static(&[0x7f]), vec![5; 3 * CHUNK_BYTES].into()));
    let (bytes, file) = snapshot(&rows);
    assert!(read(&bytes, file, 1000).unwrap() == rows);
}

#[test]
fn equal_rows_make_equal_files() {
    assert_eq!(snapshot(&rows(5000)), snapshot(&rows(5000)));
}

#[test]
fn a_state_in_which_nothing_is_applied_is_none() {
    let nothing = write(Vec::new(), std::iter::empty());
    assert!(matches!(nothing, Err(WriteSnapshotError::Empty)));
    let mut rows = rows(2);
    rows.remove(0);
    let headless = write(Vec::new(), rows.into_iter().map(Ok));
    assert!(matches!(headless, Err(WriteSnapshotError::Meta(_))));
}

#[test]
fn a_file_of_another_entry_or_with_more_behind_it_is_refused() {
    let (mut bytes, file) = snapshot(&rows(3));
    let index = LogIndex(18);
    let error = read(&bytes, SnapshotFile { index, ..file }, 9).unwrap_err();
    assert_eq!((error.offset, &*error.what), (8, "it is of entry 17@3"));
    bytes.push(0);
    let error = read(&bytes, file, bytes.len()).unwrap_err();
    assert!(error.what.starts_with("it is longer than"), "{error}");
    let hash = file.hash + 1;
    bytes.pop();
    let error = read(&bytes, SnapshotFile { hash, ..file }, 9).unwrap_err();
    assert!(error.what.starts_with("a wrong hash"), "{error}");
}

#[test]
fn a_file_that_ends_early_is_an_error_of_its_rows() {
    let rows = rows(3);
    let (bytes, file) = snapshot(&rows);
    let mut short = SnapshotRows::new(&bytes[..bytes.len() - 1], file);
    let got: Vec<_> = short.by_ref().collect();
    let error = got.last().unwrap().clone().unwrap_err();
    assert!(error.what.contains("the snapshot ends after"), "{error}");
    assert!(short.next().is_none());
}

proptest! {
    #[test]
    fn a_changed_byte_is_found_wherever_it_is(at in any::<prop::sample::Index>(), flip in 1u8..) {
        let (mut bytes, file) = snapshot(&rows(40));
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        for piece in [bytes.len(), 16] {
            let error = read(&bytes, file, piece).expect_err("one byte is another");
            prop_assert!(error.offset <= at as u64, "{error} but byte {at} was changed");
        }
    }

    #[test]
    fn other_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
        let (_, file) = snapshot(&rows(4));
        let mut head = MAGIC.to_vec();
        head.extend(&bytes);
        for bytes in [bytes, head] {
            let mut reader = SnapshotReader::new(file);
            let _ = reader.push(&bytes);
            prop_assert!(!reader.is_complete());
        }
    }
}

#[test]
fn what_a_power_cut_leaves_of_a_snapshot_in_memory_is_gone_on_from() {
    let (bytes, file) = snapshot(&rows(50));
    let mut snapshots = crate::mem_snapshots::MemSnapshots::default();
    let half = bytes.len() / 2;
    snapshots.write(file, 0, &bytes[..half]).unwrap();
    snapshots.lose_after(|held| held - 7);
    let at = snapshots.find(file);
    assert_eq!(at, half as u64 - 7);
    snapshots.write(file, at, &bytes[half - 7..]).unwrap();
    assert_eq!(snapshots.received(), Some(file));
    snapshots.lose_after(|_| 0);
    assert_eq!(snapshots.rows(file), rows(50), "what is complete is synced");
}
