//! Runs of fixed seeds: those that once found something, and some more.

use corgi_sim::{Options, run};

/// Seeds that break a promise today if what they once found is taken back, whether they are run with `--light`, and
/// what that was. Seeds name other runs when the simulator draws differently: what else was found is kept by the tests
/// that `docs/simulation.md` names.
const REGRESSIONS: [(u64, bool, &str); 4] = [
    (
        4,
        false,
        "an answer to a read index was thrown away if the question had been repeated since: over slow links no \
         subscription was ever confirmed (I21)",
    ),
    (
        79,
        false,
        "a member was removed after whoever had asked for it was told that it is not: the request came twice, and was \
         refused once because another change was under way (I17)",
    ),
    (
        7324,
        false,
        "a removed node stopped after a while whether it was still needed or not: the last member, which had not heard \
         that the removal is committed, waited for its acknowledgement for ever (I20)",
    ),
    (
        1857,
        true,
        "a founder whose folder was put back to the time when it voted alone led, and wrote, before it met the others \
         (I13)",
    ),
];

/// Seeds that are run always, whatever they once found.
const FIXED: std::ops::RangeInclusive<u64> = 5..=20;
/// Fresh seeds begin here. Change it to look elsewhere.
const FRESH: u64 = 20_000;

fn holds(seed: u64) {
    let outcome = run(seed, Options::default());
    if let Some(violation) = outcome.violation {
        panic!("{violation}\nagain: corgi-sim --seed {seed} --verbose");
    }
}

#[test]
fn seeds_that_once_failed_hold() {
    for (seed, light, what) in REGRESSIONS {
        let options = Options {
            light,
            ..Options::default()
        };
        let violation = run(seed, options).violation;
        let flag = if light { " --light" } else { "" };
        assert_eq!(
            violation, None,
            "{what}\nagain: corgi-sim --seed {seed} --verbose{flag}"
        );
    }
}

#[test]
fn fixed_seeds_hold() {
    FIXED.for_each(holds);
}

#[test]
fn fresh_seeds_hold() {
    (FRESH..FRESH + 30).for_each(holds);
}

#[test]
fn a_seed_run_twice_does_the_same() {
    for seed in [1, 2, 3, 4, 5] {
        let (first, second) = (run(seed, Options::default()), run(seed, Options::default()));
        assert_eq!(first.hash, second.hash, "seed {seed}");
        assert_eq!(first.ledger.events, second.ledger.events);
        assert!(first.ledger.deliveries > 0, "seed {seed} did something");
    }
}

#[test]
fn keeping_the_text_changes_nothing() {
    let silent = run(7, Options::default());
    let options = Options {
        keep: corgi_sim::Keep::Last(10),
        ..Options::default()
    };
    let kept = run(7, options);
    assert_eq!(silent.hash, kept.hash);
    assert_eq!(kept.lines.len(), 10);
}
