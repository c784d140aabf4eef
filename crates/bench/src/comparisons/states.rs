//! What a server holds: a window of messages, connections, channels, a log; and what happens when a node dies.

use super::{Budget, Comparison, Contender, Good, three};
use crate::load::Verb;
use crate::load::open::Open;
use crate::targets::Setup;
use crate::work::{Scale, Work};

/// Returns the comparisons of what is held, and of a node that dies.
pub(super) fn comparisons(scale: Scale) -> Vec<Comparison> {
    vec![
        window(scale),
        idle(scale),
        channels(scale),
        restart(scale),
        stalled(scale),
        failover(),
    ]
}

/// A history of the last messages of 1 KiB: each push drops the oldest.
fn window(scale: Scale) -> Comparison {
    let sizes: &[u32] = scale.pick(&[2000, 200_000], &[2000, 200_000, 2_000_000]);
    let most = sizes.len() - 1;
    let plan = Open {
        verb: Verb::Publish,
        payload: 1024,
        rate: 20_000,
        warm: 20_000,
        measure: scale.pick(40_000, 1_000_000),
        delivered: true,
    };
    let contenders = sizes.iter().map(|size| {
        let retained = size.to_string();
        let setup = Setup::CORGI.with(&[
            "--history-maxlen",
            &retained,
            "--history-maxbytes",
            "16gb",
            "--history-ttl",
            "1000000",
            // What a window is read from.
            "--log-retain-bytes",
            "4gb",
        ]);
        Contender {
            x: Some(*size),
            ..Contender::new("Corgi", setup, Work::Filled(u64::from(*size), plan.clone()))
        }
    });
    let budget = |measure| Budget::new(measure, most, &[0], Good::Low, (1.5, 1.0));
    Comparison {
        name: "window".to_owned(),
        title: format!(
            "A window of {} messages of 1 KiB, against one of {}, {} messages a second",
            sizes[most], sizes[0], plan.rate
        ),
        contenders: contenders.collect(),
        budgets: vec![budget("ack_p99.99_us"), budget("ack_max_us")],
        plot: None,
    }
}

fn memory(name: &str, title: String, work: &Work) -> Comparison {
    Comparison {
        name: name.to_owned(),
        title,
        contenders: three(work),
        budgets: vec![Budget::new(
            "memory_bytes_each",
            0,
            &[1, 2],
            Good::Low,
            (1.0, 0.5),
        )],
        plot: None,
    }
}

fn idle(scale: Scale) -> Comparison {
    let count = scale.pick(1000, 5000);
    let title = format!("Memory of each of {count} idle connections, subscribed to one channel");
    memory("conns", title, &Work::Idle(count))
}

fn channels(scale: Scale) -> Comparison {
    let count = scale.pick(100_000, 1_000_000);
    let title = format!("Memory of each of {count} channels of one connection");
    memory("channels", title, &Work::Channels(count))
}

fn restart(scale: Scale) -> Comparison {
    let mebibytes = scale.pick(128, 1024);
    Comparison {
        name: "restart".to_owned(),
        title: format!(
            "kill -9, then start with {mebibytes} MiB of log to an acknowledged PUBLISH"
        ),
        contenders: vec![Contender::new(
            "Corgi",
            Setup::CORGI,
            Work::Restart(mebibytes * 1024),
        )],
        budgets: vec![Budget::of_itself("restart_seconds", Some((2.0, 0.5)))],
        plot: None,
    }
}

/// Redis is not there: with its default limits a thousand stalled subscribers may take 32 GB of it.
fn stalled(scale: Scale) -> Comparison {
    let plan = Open {
        verb: Verb::Publish,
        payload: 1024,
        rate: 10_000,
        warm: 10_000,
        measure: scale.pick(20_000, 600_000),
        delivered: true,
    };
    let with = |label: &str, count| {
        Contender::new(label, Setup::CORGI, Work::Stalled(count, plan.clone()))
    };
    Comparison {
        name: "stalled".to_owned(),
        title:
            "A fast subscriber of 10,000 messages of 1 KiB a second beside 1000 that do not read"
                .to_owned(),
        contenders: vec![
            with("Corgi, 1000 stalled", 1000),
            with("Corgi, none stalled", 0),
        ],
        budgets: vec![
            Budget::new("delivery_p99_us", 0, &[1], Good::Low, (2.0, 1.0)),
            // maxmemory-clients bounds what waits for all clients together.
            Budget::told("server_pss_bytes", 0, &[1], Good::Low),
        ],
        plot: None,
    }
}

fn failover() -> Comparison {
    Comparison {
        name: "failover".to_owned(),
        title: "The longest time without service when the leader of three is killed".to_owned(),
        contenders: vec![Contender::new("Corgi × 3", Setup::CORGI_3, Work::Failover)],
        budgets: vec![
            Budget::of_itself("ack_gap_ms", None),
            Budget::of_itself("delivery_gap_ms", None),
        ],
        plot: None,
    }
}
