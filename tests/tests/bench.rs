//! corgi-bench against real servers: that it counts what it should. How fast anything is, is not looked at here.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use corgi_bench::load::closed::{self, Closed};
use corgi_bench::load::open::{self, Open};
use corgi_bench::load::{Listen, Verb};
use corgi_bench::targets::{Binaries, Running, Server, Setup, Sync};
use corgi_bench::work::{Scale, publishing};
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
            let figures = closed::run(&plan, &running).unwrap();
            let each = figures["delivered_per_s"] / figures["acknowledged_per_s"];
            // Two subscribers to each channel; at the moments of measuring some are on their way.
            assert!((1.0..=4.0).contains(&each), "{listen:?}: {figures:?}");
            assert!(figures["server_pss_bytes"] > 0.0);
        }
    }
}

#[test]
fn acknowledged_publishes_are_counted_on_one_node_and_on_three() {
    let three = Setup::CORGI_3.start(&binaries()).unwrap();
    assert_eq!(three.nodes.len(), 3);
    for running in [corgi(), three] {
        let figures = closed::run(&small(4, 4), &running).unwrap();
        assert!(figures["acknowledged_per_s"] > 0.0, "{figures:?}");
        assert!(figures["ack_p50_us"] <= figures["ack_max_us"]);
        assert!(!figures.contains_key("delivered_per_s"));
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
