//! The checkers find mistakes that are made on purpose, each within a bounded number of runs.
#![cfg(feature = "seeded-bugs")]

use corgi_sim::{Options, SeededBug, run};

/// Runs seeds until one breaks a promise; returns which promise and after how many runs.
fn hunt(bug: SeededBug) -> (String, u64) {
    for seed in 1..=300 {
        let options = Options {
            bug: Some(bug),
            ..Options::default()
        };
        if let Some(violation) = run(seed, options).violation {
            return (violation.to_string(), seed);
        }
    }
    panic!("{bug:?} was not found in 300 runs");
}

#[test]
fn ack_before_fsync_is_found() {
    let (violation, runs) = hunt(SeededBug::AckBeforeFsync);
    assert!(
        violation.starts_with("I14"),
        "after {runs} runs: {violation}"
    );
}

#[test]
fn answer_before_fsync_is_found() {
    let (violation, runs) = hunt(SeededBug::AnswerBeforeFsync);
    assert!(
        violation.starts_with("I14"),
        "after {runs} runs: {violation}"
    );
}

#[test]
fn a_vote_that_is_not_synced_is_found() {
    let (violation, runs) = hunt(SeededBug::VoteNotSynced);
    assert!(
        violation.starts_with("I13"),
        "after {runs} runs: {violation}"
    );
}

#[test]
fn a_log_truncated_too_early_is_found() {
    let (violation, runs) = hunt(SeededBug::TruncatedEarly);
    assert!(
        violation.starts_with("I24"),
        "after {runs} runs: {violation}"
    );
}

#[test]
fn a_subscription_without_read_index_is_found() {
    let (violation, runs) = hunt(SeededBug::SubscribeWithoutReadIndex);
    assert!(
        violation.starts_with("I08"),
        "after {runs} runs: {violation}"
    );
}

#[test]
fn a_batch_appended_twice_is_found() {
    let (violation, runs) = hunt(SeededBug::ForwardedTwice);
    assert!(
        violation.starts_with("I12"),
        "after {runs} runs: {violation}"
    );
}
