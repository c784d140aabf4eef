//! corgi-bench against real servers: that it counts what it should. How fast anything is, is not looked at here.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use corgi_bench::cli;
use corgi_bench::load::closed::{self, Closed};
use corgi_bench::load::open::{self, Open};
use corgi_bench::load::{Listen, Verb};
use corgi_bench::targets::{Binaries, Running, Server, Setup, Sync};
use corgi_bench::work::{Scale, Work, publishing};
use corgi_tests::binary;
use std::time::Duration;

/// Starts Corgi.
fn corgi() -> Running {
    Setup::CORGI.start(&binaries()).unwrap()
}

fn binaries() -> Binaries {
    Binaries {
        given: vec![(Server::Corgi, binary::server().to_owned())],
    }
}

/// Starts Redis, if it is on this machine.
fn redis() -> Option<Running> {
    let binaries = binaries();
    binaries.get(Server::Redis).ok()?;
    let setup = Setup::new(Server::Redis, 1, Sync::Always);
    Some(setup.start(&binaries).unwrap())
}

fn small(publishers: usize, depth: usize) -> Closed {
    Closed {
        warm: Duration::from_millis(20),
        measure: Duration::from_millis(100),
        ..publishing(Scale::Quick, publishers, depth, 64)
    }
}

#[test]
fn what_is_delivered_is_what_was_published_times_its_subscribers() {
    let plans = [
        (Verb::Publish, Listen::Exact),
        (Verb::Publish, Listen::Pattern),
        (Verb::ShardPublish, Listen::Sharded),
    ];
    for running in [Some(corgi()), redis()].into_iter().flatten() {
        for (verb, listen) in plans {
            let plan = Closed {
                verb,
                listen,
                channels: 2,
                subscribers: 4,
                ..small(2, 8)
            };
            // It ends with an error if one message is lost, doubled or out of order at one of them.
            let outcome = closed::run(&plan, &running).unwrap();
            assert!(outcome.acknowledged > 0);
            // Two subscribers to each channel.
            assert_eq!(outcome.delivered, 2 * outcome.acknowledged, "{listen:?}");
            assert!(outcome.figures["server_pss_bytes"] > 0.0);
        }
    }
}

#[test]
fn acknowledged_publishes_are_counted_on_one_node_and_on_three() {
    let three = Setup::CORGI_3.start(&binaries()).unwrap();
    assert_eq!(three.nodes.len(), 3);
    for running in [corgi(), three] {
        let outcome = closed::run(&small(4, 4), &running).unwrap();
        assert!(outcome.acknowledged > 0);
        assert_eq!(outcome.delivered, 0);
        assert!(!outcome.figures.contains_key("delivered_per_s"));
    }
}

#[test]
fn at_a_fixed_rate_each_message_has_a_latency() {
    for running in [Some(corgi()), redis()].into_iter().flatten() {
        let plan = Open {
            verb: Verb::Publish,
            payload: 32,
            rate: 2000,
            warm: 20,
            measure: 200,
            delivered: true,
        };
        let figures = open::run(&plan, &running).unwrap();
        for name in [
            "ack_p50_us",
            "ack_max_us",
            "delivery_p50_us",
            "delivery_max_us",
        ] {
            assert!(figures[name] > 0.0, "{figures:?}");
        }
    }
}

#[test]
fn streams_of_redis_are_written_in_groups_that_are_confirmed() {
    let Some(running) = redis() else {
        return;
    };
    // Without a replica WAIT 1 cannot be met, and a group that is not confirmed must not count.
    let plan = Closed {
        verb: Verb::StreamAdd,
        ..small(2, 4)
    };
    closed::run(&plan, &running).unwrap();
    let unconfirmed = Closed {
        group: Some(closed::Group {
            words: &["WAIT", "1", "1"],
            at_least: 1,
        }),
        ..plan
    };
    let error = closed::run(&unconfirmed, &running).unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("confirmed by 0 others"), "{text}");
}

#[test]
fn what_is_held_is_weighed() {
    let binaries = binaries();
    for work in [Work::Idle(20), Work::Channels(3000)] {
        let ran = work.run(&Setup::CORGI, &binaries).unwrap();
        let (before, after) = (
            ran.figures["before_pss_bytes"],
            ran.figures["after_pss_bytes"],
        );
        assert!(before > 0.0 && after > 0.0, "{work:?}");
        assert!(ran.command.contains(" --port PORT "), "{}", ran.command);
    }
}

#[test]
fn a_node_is_killed_and_serves_again() {
    let ran = Work::Restart(1000).run(&Setup::CORGI, &binaries()).unwrap();
    assert!(ran.figures["restart_seconds"] > 0.0);
}

#[test]
fn what_was_acknowledged_while_the_leader_died_is_delivered() {
    // It ends with an error if not.
    let ran = Work::Failover.run(&Setup::CORGI_3, &binaries()).unwrap();
    assert!(ran.figures["ack_gap_ms"] > 0.0 && ran.figures["delivery_gap_ms"] > 0.0);
}

#[test]
fn subscribers_that_do_not_read_do_not_hold_up_the_one_that_does() {
    let plan = Open {
        verb: Verb::Publish,
        payload: 1024,
        rate: 2000,
        warm: 100,
        measure: 1000,
        delivered: true,
    };
    let work = Work::Stalled(10, plan);
    let ran = work.run(&Setup::CORGI, &binaries()).unwrap();
    assert!(ran.figures["server_pss_bytes"] > 0.0);
}

#[test]
fn a_figure_is_kept_and_told_with_its_budget_and_who_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results");
    let server = binary::server().display().to_string();
    let mut out = Vec::new();
    let mut call = |line: &[&str]| {
        let fixed = ["--results", results.to_str().unwrap()];
        let docs = ["--docs", folder.path().to_str().unwrap()];
        let words = [line, &fixed, &docs].concat();
        let words = words.into_iter().map(str::to_owned);
        cli::run(words, &mut out).map(|_met| ())
    };
    let nobody = ["--redis-server", "/nowhere", "--valkey-server", "/nowhere"];
    let run = [
        "run",
        "--quick",
        "--rounds",
        "1",
        "conns",
        "--corgi-server",
        &server,
    ];
    call(&[&run[..], &nobody].concat()).unwrap();
    call(&["report"]).unwrap();
    let page = std::fs::read_to_string(folder.path().join("performance.md")).unwrap();
    assert!(
        page.contains("Redis is missing: /nowhere is no file"),
        "{page}"
    );
    assert!(page.contains("memory, bytes each"), "{page}");
    assert!(results.join("conns.json").is_file());
    assert_eq!(std::fs::read_dir(&results).unwrap().count(), 1);
}
