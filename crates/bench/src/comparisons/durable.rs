//! Acknowledged messages that are on disk, on one node and on three.

use super::{
    Budget, Comparison, Contender, Good, REDIS, REDIS_ALWAYS, VALKEY, VALKEY_ALWAYS, three,
};
use crate::load::Verb;
use crate::load::closed::{Closed, Group};
use crate::load::open::Open;
use crate::targets::{Server, Setup, Sync};
use crate::work::{Scale, WAIT, WAIT_AOF, Work, publishing};

const RATE: &str = "acknowledged_per_s";
const CPU: &str = "server_us_per_message";

/// Returns the comparisons of durable publishes, and of latency.
pub(super) fn comparisons(scale: Scale) -> Vec<Comparison> {
    let mut all = Vec::new();
    for payload in [100, 1024] {
        for depth in [16, 256] {
            all.push(one_node(scale, depth, payload));
        }
    }
    all.push(one_connection(scale));
    all.push(three_nodes(scale));
    all.push(three_nodes_one_connection(scale));
    all.push(rate(scale));
    all
}

fn stream_add(plan: &Closed) -> Work {
    Work::Closed(Closed {
        verb: Verb::StreamAdd,
        ..plan.clone()
    })
}

fn one_node(scale: Scale, depth: usize, payload: usize) -> Comparison {
    let plan = publishing(scale, 16, depth, payload);
    let publish = Work::Closed(plan.clone());
    let add = stream_add(&plan);
    Comparison {
        name: format!("durable-16x{depth}-{payload}"),
        title: format!("Acknowledged PUBLISH of {payload} B on one node, 16 × depth {depth}"),
        contenders: vec![
            Contender::new("Corgi", Setup::CORGI, publish.clone()),
            Contender::new("Redis PUBLISH", REDIS, publish.clone()),
            Contender::new("Valkey PUBLISH", VALKEY, publish),
            Contender::new("Redis XADD always", REDIS_ALWAYS, add.clone()),
            Contender::new("Valkey XADD always", VALKEY_ALWAYS, add),
        ],
        budgets: vec![
            Budget::new(RATE, 0, &[1, 2], Good::High, (0.4, 1.0)),
            Budget::new(RATE, 0, &[3, 4], Good::High, (1.5, 3.0)),
            Budget::told(CPU, 0, &[3, 4], Good::Low),
        ],
        plot: None,
    }
}

fn one_connection(scale: Scale) -> Comparison {
    let plan = publishing(scale, 1, 1, 100);
    let add = stream_add(&plan);
    Comparison {
        name: "durable-1x1-100".to_owned(),
        title: "Acknowledged PUBLISH of 100 B on one node, one connection, depth 1".to_owned(),
        contenders: vec![
            Contender::new("Corgi", Setup::CORGI, Work::Closed(plan)),
            Contender::new("Redis XADD always", REDIS_ALWAYS, add.clone()),
            Contender::new("Valkey XADD always", VALKEY_ALWAYS, add),
        ],
        budgets: vec![
            Budget::new("ack_p50_us", 0, &[1, 2], Good::Low, (1.3, 1.0)),
            Budget::new("ack_p99_us", 0, &[1, 2], Good::Low, (1.3, 1.0)),
            Budget::told(CPU, 0, &[1, 2], Good::Low),
        ],
        plot: None,
    }
}

/// Three of each, and one Corgi; the places are used by the budgets.
fn replicated(plan: &Closed) -> Vec<Contender> {
    let waiting = |group: Group| {
        Work::Closed(Closed {
            verb: Verb::StreamAdd,
            group: Some(group),
            ..plan.clone()
        })
    };
    let stream = Work::Closed(Closed {
        verb: Verb::JetStream,
        ..plan.clone()
    });
    let own = Work::Closed(plan.clone());
    let with = |server, sync| Setup::new(server, 3, sync);
    vec![
        Contender::new("Corgi × 3", Setup::CORGI_3, own.clone()),
        Contender::new("Corgi × 1", Setup::CORGI, own),
        Contender::new(
            "Redis × 3 WAIT 1",
            with(Server::Redis, Sync::Always),
            waiting(WAIT),
        ),
        Contender::new(
            "Valkey × 3 WAITAOF 1 1",
            with(Server::Valkey, Sync::Always),
            waiting(WAIT_AOF),
        ),
        Contender::new(
            "NATS R3 always",
            with(Server::Nats, Sync::Always),
            stream.clone(),
        ),
        Contender::new("NATS R3 default", with(Server::Nats, Sync::Default), stream),
    ]
}

fn three_nodes(scale: Scale) -> Comparison {
    let plan = publishing(scale, 16, 16, 100);
    let budget = |rival, limits| Budget::new(RATE, 0, &[rival], Good::High, limits);
    Comparison {
        name: "replicated-16x16-100".to_owned(),
        title: "Acknowledged PUBLISH of 100 B on three nodes of one machine, 16 × depth 16"
            .to_owned(),
        contenders: replicated(&plan),
        budgets: vec![
            budget(1, (0.4, 0.6)),
            budget(2, (1.5, 4.0)),
            budget(3, (2.0, 6.0)),
            budget(4, (4.0, 10.0)),
            budget(5, (1.3, 3.0)),
        ],
        plot: None,
    }
}

fn three_nodes_one_connection(scale: Scale) -> Comparison {
    let plan = publishing(scale, 1, 1, 100);
    let budget = |rival, limits| Budget::new("ack_p50_us", 0, &[rival], Good::Low, limits);
    Comparison {
        name: "replicated-1x1-100".to_owned(),
        title: "Acknowledged PUBLISH of 100 B on three nodes of one machine, depth 1".to_owned(),
        contenders: replicated(&plan),
        budgets: vec![budget(2, (1.0, 0.7)), budget(4, (0.5, 0.3))],
        plot: None,
    }
}

fn rate(scale: Scale) -> Comparison {
    let work = Work::Open(Open {
        verb: Verb::Publish,
        payload: 100,
        rate: 10_000,
        warm: scale.pick(2_000, 20_000),
        measure: scale.pick(10_000, 200_000),
        delivered: true,
    });
    let told = |measure| Budget::told(measure, 0, &[1, 2], Good::Low);
    Comparison {
        name: "rate-10000-100".to_owned(),
        title: "Latency of 100 B at 10,000 messages a second, one subscriber".to_owned(),
        contenders: three(&work),
        budgets: vec![
            told("ack_p50_us"),
            told("ack_p99_us"),
            told("delivery_p50_us"),
            told("delivery_p99_us"),
        ],
        plot: None,
    }
}
