//! The same commands to Corgi and to real servers: every reply and every push is the same, but for what
//! `corgi_tests::diff::differences` lists.
//!
//! `CORGI_SEQUENCES` says how many random sequences each test runs (scripts/fuzz sets it); fixed ones are in
//! `tests/scripts`.

#![expect(
    clippy::print_stdout,
    reason = "how many sequences ran belongs into the log of the tests"
)]

use corgi_tests::diff::differences::{compare, known};
use corgi_tests::diff::generate::{Surface, scripts};
use corgi_tests::diff::streams;
use corgi_tests::diff::wire::Wire;
use corgi_tests::diff::{Peer, Reference, Script, Value, run};
use corgi_tests::raw::encode;
use corgi_tests::{Node, RawClient, binary, node};
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};
use std::collections::BTreeSet;
use std::fs;

/// Enough to meet what was changed, few enough for every run of the tests.
const SEQUENCES: u32 = 700;

/// The same sequences each time, so that continuous integration tells of changes of Corgi; others where their number is
/// given, to find what is not known yet.
fn seed() -> RngSeed {
    match std::env::var_os("CORGI_SEQUENCES") {
        Some(_) => RngSeed::Random,
        None => RngSeed::Fixed(2026),
    }
}

fn sequences(surface: Surface) -> u32 {
    match std::env::var("CORGI_SEQUENCES") {
        Ok(text) => text.parse().expect("CORGI_SEQUENCES is a number"),
        // Each takes as long as it is waited in vain.
        Err(_) if surface == Surface::Blocking => SEQUENCES / 7,
        Err(_) => SEQUENCES,
    }
}

/// What outlives connections, and so must be the same before every script.
fn clean(port: u16) {
    let mut client = RawClient::connect(port, node::REPLY_TIMEOUT);
    for command in [
        &[&b"ACL"[..], b"DELUSER", b"u"][..],
        &[b"SCRIPT", b"FLUSH"],
        &[b"FLUSHALL"],
    ] {
        client
            .send(&encode(command))
            .expect("the server takes commands");
        let _number_or_error = client.line();
    }
}

fn starts_corgi() -> Node {
    let mut corgi = Node::single(&[]);
    corgi.start();
    corgi
}

/// Compares on random sequences; on a difference shows the shortest sequence that was found, and what the other real
/// server does.
fn compare_on(surface: Surface) {
    let redis = Peer::start(Reference::Redis);
    let corgi = starts_corgi();
    let config = Config {
        cases: sequences(surface),
        max_shrink_iters: 2000,
        max_global_rejects: sequences(surface),
        failure_persistence: None,
        rng_seed: seed(),
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let result = runner.run(&scripts(surface), |script| {
        if let Some(reason) = known(&script) {
            return Err(TestCaseError::reject(reason));
        }
        clean(redis.port);
        clean(corgi.port);
        let run = |port| {
            let mut transcript = run(&script, port);
            if matches!(surface, Surface::Streams | Surface::Blocking) {
                streams::forgive(&mut transcript);
            }
            transcript
        };
        match compare(&run(redis.port), &run(corgi.port)) {
            None => Ok(()),
            Some(difference) => Err(TestCaseError::fail(difference)),
        }
    });
    match result {
        Ok(()) => println!(
            "{surface:?}: {} sequences without a difference",
            sequences(surface)
        ),
        Err(TestError::Fail(difference, script)) => {
            panic!(
                "- Redis, + Corgi, {difference}\n{script}{}",
                as_valkey(&script, corgi.port)
            )
        }
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

/// Says whether the other real server does as Corgi does.
fn as_valkey(script: &Script, corgi: u16) -> String {
    let valkey = Peer::start(Reference::Valkey);
    clean(valkey.port);
    clean(corgi);
    match compare(&run(script, valkey.port), &run(script, corgi)) {
        None => "Valkey does as Corgi does.".to_owned(),
        Some(difference) => format!("- Valkey, + Corgi, {difference}"),
    }
}

#[test]
fn random_messaging_is_answered_as_redis_answers_it() {
    compare_on(Surface::Messaging);
}

#[test]
fn random_introspection_is_answered_as_redis_answers_it() {
    compare_on(Surface::Introspection);
}

#[test]
fn random_access_control_is_answered_as_redis_answers_it() {
    compare_on(Surface::Access);
}

#[test]
fn random_commands_on_keys_are_answered_as_redis_answers_them() {
    compare_on(Surface::Keys);
}

#[test]
fn random_commands_on_streams_are_answered_as_redis_answers_them() {
    compare_on(Surface::Streams);
}

#[test]
fn random_waiting_for_streams_ends_as_redis_ends_it() {
    compare_on(Surface::Blocking);
}

#[test]
fn fixed_scripts_are_answered_as_redis_answers_them() {
    let redis = Peer::start(Reference::Redis);
    let corgi = starts_corgi();
    let folder = binary::repository().join("tests/scripts");
    let mut count = 0;
    let mut complaints = String::new();
    for entry in fs::read_dir(&folder).expect("the folder of scripts") {
        let path = entry.expect("an entry of the folder").path();
        let script = Script::parse(&fs::read_to_string(&path).expect("a script"));
        clean(redis.port);
        clean(corgi.port);
        if let Some(found) = compare(&run(&script, redis.port), &run(&script, corgi.port)) {
            complaints += &format!("{}: - Redis, + Corgi, {found}\n", path.display());
        }
        count += 1;
    }
    assert!(count > 0, "there are scripts in {}", folder.display());
    assert!(complaints.is_empty(), "{complaints}");
}

/// Returns all commands and subcommands, by their full names.
fn commands(port: u16) -> BTreeSet<String> {
    let mut wire = Wire::connect(port, node::REPLY_TIMEOUT).expect("the server takes connections");
    let mut ask = |words: &[&[u8]]| {
        wire.send(&encode(words));
        wire.read().expect("the server answers")
    };
    ask(&[b"HELLO", b"3"]);
    let Value::Map(_, docs) = ask(&[b"COMMAND", b"DOCS"]) else {
        panic!("COMMAND DOCS is a map");
    };
    let text = |value: &Value| match value {
        Value::Bytes(_, text) => String::from_utf8_lossy(text).to_ascii_uppercase(),
        other => panic!("a name, not {other}"),
    };
    let mut names = BTreeSet::new();
    for (name, doc) in &docs {
        names.insert(text(name));
        let Value::Map(_, fields) = doc else { continue };
        for (_, value) in fields
            .iter()
            .filter(|(name, _)| text(name) == "SUBCOMMANDS")
        {
            if let Value::Map(_, subcommands) = value {
                names.extend(subcommands.iter().map(|(name, _)| text(name)));
            }
        }
    }
    names
}

#[test]
fn every_command_of_redis_and_valkey_is_here_or_is_absent_for_a_reason() {
    let corgi = starts_corgi();
    let here = commands(corgi.port);
    let theirs = Reference::ALL
        .into_iter()
        .flat_map(|reference| commands(Peer::start(reference).port));
    let page = binary::repository().join("docs/compatibility.md");
    let page = fs::read_to_string(page).expect("the page");
    let (_, absent) = page.split_once("## Not there").expect("the last part");
    let is_absent = |name: &str| absent.contains(&format!("`{}`", name.replace('|', " ")));
    let unexplained: BTreeSet<_> = theirs
        .filter(|name| {
            let container = name.split('|').next().unwrap_or_default();
            !here.contains(name) && !is_absent(name) && !is_absent(container)
        })
        .collect();
    assert!(here.len() > 100, "{here:?}");
    assert!(
        unexplained.is_empty(),
        "neither in Corgi nor in crates/session/src/docs/absent.txt: {unexplained:?}"
    );
}

/// If this fails, the harness is at fault and the other tests mean nothing.
#[test]
fn a_real_server_does_not_differ_from_itself() {
    let valkey = Peer::start(Reference::Valkey);
    let mut runner = TestRunner::new(Config {
        cases: 150,
        failure_persistence: None,
        ..Config::default()
    });
    for surface in [Surface::Messaging, Surface::Introspection, Surface::Access] {
        let result = runner.run(&scripts(surface), |script| {
            clean(valkey.port);
            let first = run(&script, valkey.port);
            clean(valkey.port);
            match compare(&first, &run(&script, valkey.port)) {
                None => Ok(()),
                Some(difference) => Err(TestCaseError::fail(difference)),
            }
        });
        if let Err(TestError::Fail(difference, script)) = result {
            panic!("{surface:?}: {difference}\n{script}");
        }
    }
}
