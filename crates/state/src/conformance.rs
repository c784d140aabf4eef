//! What every store of the applied state must do, as one suite that any implementation can run.
//!
//! The in-memory store passes it in this crate and RocksDB in `corgi-log`; that is what allows the
//! simulator to trust the first as a model of the second. Each check gets a fresh store from the
//! caller, and panics with the difference if the store does not keep the contract of
//! [`crate::store`].
//!
//! Where the trait leaves it open, the suite decides: a row that one write both removes and sets is
//! set.

use std::collections::BTreeMap;

use bytes::Bytes;
use corgi_base::LogIndex;

use crate::store::{StateStore, StateWrite};

/// A place that holds one applied state, outliving the processes that open it.
pub trait StateFixture {
    /// The store.
    type Store: StateStore;

    /// Opens it: empty at first, with what has survived later. The handle of an earlier opening is
    /// gone.
    fn open(&mut self) -> Self::Store;

    /// Ends the process that holds the handle without a warning.
    fn crash(&mut self, store: Self::Store);
}

/// Runs every check, each on a fresh store from `fresh`.
///
/// # Panics
/// If the store does not do what the trait promises.
pub fn suite<F: StateFixture>(mut fresh: impl FnMut() -> F) {
    new_state_is_empty(fresh());
    rows_come_in_key_order(fresh());
    the_last_of_equal_keys_counts(fresh());
    removed_rows_are_gone(fresh());
    a_row_removed_and_set_by_one_write_is_set(fresh());
    empty_keys_and_values_are_rows(fresh());
    flushed_rows_survive_a_crash(fresh());
    a_crash_keeps_a_prefix_not_before_the_last_flush(fresh());
    flushing_twice_is_harmless(fresh());
    what_is_flushed_is_what_a_crash_leaves(fresh());
    a_replaced_state_is_the_new_one_and_survives(fresh());
    for seed in 1..=4 {
        random_writes_agree_with_a_model(fresh(), seed);
    }
}

type Rows = Vec<(Bytes, Bytes)>;

fn row(key: &str, value: &str) -> (Bytes, Bytes) {
    (
        Bytes::copy_from_slice(key.as_bytes()),
        Bytes::copy_from_slice(value.as_bytes()),
    )
}

fn put(store: &mut impl StateStore, applied: u64, puts: &[(&str, &str)], deletes: &[&str]) {
    let write = StateWrite {
        applied: LogIndex(applied),
        puts: puts.iter().map(|(key, value)| row(key, value)).collect(),
        deletes: deletes
            .iter()
            .map(|key| Bytes::copy_from_slice(key.as_bytes()))
            .collect(),
    };
    store.write(&write).expect("the write succeeds");
}

fn rows(store: &impl StateStore) -> Rows {
    store.rows().expect("the rows are sound")
}

fn new_state_is_empty<F: StateFixture>(mut state: F) {
    let store = state.open();
    assert_eq!(rows(&store), []);
    state.crash(store);
    assert_eq!(rows(&state.open()), []);
}

fn rows_come_in_key_order<F: StateFixture>(mut state: F) {
    let mut store = state.open();
    put(
        &mut store,
        1,
        &[
            ("b", "1"),
            ("a\0b", "2"),
            ("ab", "3"),
            ("\u{7f}", "4"),
            ("a", "5"),
        ],
        &[],
    );
    put(&mut store, 2, &[("aa", "6")], &[]);
    let keys: Vec<Bytes> = rows(&store).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["a", "a\0b", "aa", "ab", "b", "\u{7f}"]);
}

fn the_last_of_equal_keys_counts<F: StateFixture>(mut state: F) {
    let mut store = state.open();
    put(
        &mut store,
        1,
        &[("k", "1"), ("other", "x"), ("k", "2")],
        &[],
    );
    assert_eq!(rows(&store), [row("k", "2"), row("other", "x")]);
    put(&mut store, 2, &[("k", "3")], &[]);
    assert_eq!(rows(&store), [row("k", "3"), row("other", "x")]);
}

fn removed_rows_are_gone<F: StateFixture>(mut state: F) {
    let mut store = state.open();
    put(&mut store, 1, &[("a", "1"), ("b", "2")], &[]);
    put(&mut store, 2, &[("c", "3")], &["a", "never there"]);
    assert_eq!(rows(&store), [row("b", "2"), row("c", "3")]);
    store.flush().expect("the flush succeeds");
    state.crash(store);
    let mut store = state.open();
    assert_eq!(rows(&store), [row("b", "2"), row("c", "3")]);
    put(&mut store, 3, &[("a", "4")], &[]);
    assert_eq!(rows(&store), [row("a", "4"), row("b", "2"), row("c", "3")]);
}

fn a_row_removed_and_set_by_one_write_is_set<F: StateFixture>(mut state: F) {
    let mut store = state.open();
    put(&mut store, 1, &[("a", "1")], &[]);
    put(&mut store, 2, &[("a", "2")], &["a"]);
    assert_eq!(rows(&store), [row("a", "2")]);
}

fn empty_keys_and_values_are_rows<F: StateFixture>(mut state: F) {
    let mut store = state.open();
    put(&mut store, 1, &[("", "no key"), ("no value", "")], &[]);
    store.flush().expect("the flush succeeds");
    state.crash(store);
    assert_eq!(
        rows(&state.open()),
        [row("", "no key"), row("no value", "")]
    );
}

fn flushed_rows_survive_a_crash<F: StateFixture>(mut state: F) {
    for round in 1..=4_u64 {
        let mut store = state.open();
        assert_eq!(rows(&store).len() as u64, round - 1);
        put(&mut store, round, &[(&format!("row {round}"), "x")], &[]);
        store.flush().expect("the flush succeeds");
        state.crash(store);
    }
    assert_eq!(rows(&state.open()).len(), 4);
}

fn a_crash_keeps_a_prefix_not_before_the_last_flush<F: StateFixture>(mut state: F) {
    let mut store = state.open();
    let mut prefixes = Vec::new();
    for applied in 1..=20_u64 {
        // Each write touches two rows: a half of one would agree with no prefix.
        let value = applied.to_string();
        let slot = format!("slot {}", applied % 3);
        put(
            &mut store,
            applied,
            &[("applied", &value), (&slot, &value)],
            &[],
        );
        if applied == 10 {
            store.flush().expect("the flush succeeds");
        }
        if applied >= 10 {
            prefixes.push(rows(&store));
        }
    }
    state.crash(store);
    let left = rows(&state.open());
    assert!(
        prefixes.contains(&left),
        "no prefix of the writes after the flush: {left:?}"
    );
}

fn flushing_twice_is_harmless<F: StateFixture>(mut state: F) {
    let mut store = state.open();
    store.flush().expect("flushing nothing succeeds");
    put(&mut store, 1, &[("a", "1")], &[]);
    store.flush().expect("the flush succeeds");
    store.flush().expect("the flush succeeds");
    assert_eq!(rows(&store), [row("a", "1")]);
}

fn what_is_flushed_is_what_a_crash_leaves<F: StateFixture>(mut state: F) {
    let mut store = state.open();
    let flushed = |store: &F::Store| store.flushed().expect("the record is sound").get();
    assert_eq!(flushed(&store), LogIndex(0));
    put(&mut store, 7, &[("a", "1")], &[]);
    assert!(flushed(&store) <= LogIndex(7));
    store.flush().expect("the flush succeeds");
    assert_eq!(flushed(&store), LogIndex(7));
    put(&mut store, 8, &[("a", "2")], &[]);
    // A store may flush on its own, but then it must say so.
    let before = flushed(&store);
    state.crash(store);
    let left = if before == LogIndex(7) { "1" } else { "2" };
    let left = [row("a", left), row("a", "2")];
    let store = state.open();
    assert!(left.contains(&rows(&store)[0]));
    assert!(flushed(&store) >= before);
}

fn a_replaced_state_is_the_new_one_and_survives<F: StateFixture>(mut state: F) {
    let mut store = state.open();
    put(&mut store, 5, &[("gone", "x"), ("kept", "old")], &[]);
    store.flush().expect("the flush succeeds");
    put(&mut store, 6, &[("gone too", "x")], &[]);
    let new = [row("added", "1"), row("kept", "new")];
    for _ in 0..2 {
        let mut given = new.iter().cloned().map(Ok);
        let replaced = store.replace(LogIndex(40), &mut given);
        replaced.expect("the rows are replaced");
        assert_eq!(rows(&store), new);
        let flushed = store.flushed().expect("the record is sound");
        assert_eq!(flushed.get(), LogIndex(40));
        state.crash(store);
        store = state.open();
        assert_eq!(rows(&store), new);
    }
    put(&mut store, 41, &[("added", "2")], &["kept"]);
    assert_eq!(rows(&store), [row("added", "2")]);
    let broken = crate::store::StateStoreError {
        action: "read",
        what: "a test".to_owned(),
    };
    let given = store.replace(LogIndex(50), &mut std::iter::once(Err(broken.clone())));
    assert_eq!(given, Err(broken), "an error of the rows is passed on");
}

fn random_writes_agree_with_a_model<F: StateFixture>(mut state: F, seed: u64) {
    let mut random = seed;
    // Numerical Recipes' linear congruential generator: its high bits are good enough to pick rows.
    let mut next = move |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) % below
    };
    let mut model = BTreeMap::new();
    let mut store = state.open();
    for applied in 1..=200 {
        let mut write = StateWrite {
            applied: LogIndex(applied),
            ..StateWrite::default()
        };
        for _ in 0..next(3) {
            let key = Bytes::from(format!("key {}", next(20)));
            model.remove(&key);
            write.deletes.push(key);
        }
        for _ in 0..next(4) {
            let key = Bytes::from(format!("key {}", next(20)));
            let value = Bytes::from(format!("value {applied} {}", next(1000)));
            model.insert(key.clone(), value.clone());
            write.puts.push((key, value));
        }
        store.write(&write).expect("the write succeeds");
        if next(10) == 0 {
            store.flush().expect("the flush succeeds");
            state.crash(store);
            store = state.open();
        }
        let expected: Rows = model.clone().into_iter().collect();
        assert_eq!(rows(&store), expected, "seed {seed} after write {applied}");
    }
}
