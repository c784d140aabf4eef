//! One message to many.

use super::{Budget, Comparison, Good, three};
use crate::load::closed::Closed;
use crate::load::{Listen, Verb};
use crate::work::{Scale, Work, publishing};

/// Returns the comparisons of fan-out.
pub(super) fn comparisons(scale: Scale) -> Vec<Comparison> {
    let mut all = Vec::new();
    for payload in [100, 1024] {
        for (subscribers, publishers, depth) in [
            (1, 1, 16),
            (1, 1, 256),
            (1, 16, 16),
            (10, 1, 256),
            (10, 16, 16),
            (100, 1, 16),
            (100, 1, 256),
            (1000, 1, 16),
            (1000, 1, 256),
        ] {
            let name = format!("fanout-{subscribers}-{publishers}x{depth}-{payload}");
            let plan = plan(scale, subscribers, publishers, depth, payload);
            all.push(comparison(name, plan));
        }
    }
    for (kind, verb, listen) in [
        ("pattern", Verb::Publish, Listen::Pattern),
        ("sharded", Verb::ShardPublish, Listen::Sharded),
    ] {
        let plan = Closed {
            verb,
            listen,
            ..plan(scale, 100, 1, 256, 100)
        };
        all.push(comparison(format!("fanout-{kind}-100-1x256-100"), plan));
    }
    let plan = Closed {
        channels: 10,
        ..plan(scale, 100, 10, 25, 100)
    };
    all.push(comparison("fanout-channels-100-10x25-100".to_owned(), plan));
    all
}

fn plan(
    scale: Scale,
    subscribers: usize,
    publishers: usize,
    depth: usize,
    payload: usize,
) -> Closed {
    Closed {
        subscribers,
        ..publishing(scale, publishers, depth, payload)
    }
}

fn comparison(name: String, plan: Closed) -> Comparison {
    let (rate, cpu) = ("delivered_per_s", "server_us_per_delivery");
    let rivals = [1, 2];
    let special = plan.channels > 1 || plan.listen != Listen::Exact;
    let budgets = match (plan.subscribers, plan.publishers * plan.depth) {
        _ if special => vec![
            Budget::told(rate, 0, &rivals, Good::High),
            Budget::told(cpu, 0, &rivals, Good::Low),
        ],
        // Bound by the time of one fsync.
        (1, 16) => vec![Budget::told(rate, 0, &rivals, Good::High)],
        (1, _) => vec![
            Budget::new(rate, 0, &rivals, Good::High, (0.7, 1.0)),
            Budget::told(cpu, 0, &rivals, Good::Low),
        ],
        _ => vec![
            Budget::new(rate, 0, &rivals, Good::High, (1.0, 1.5)),
            Budget::new(cpu, 0, &rivals, Good::Low, (0.7, 0.4)),
        ],
    };
    let how = match plan.listen {
        Listen::Exact => "",
        Listen::Pattern => " by pattern",
        Listen::Sharded => " of a shard channel",
    };
    let channels = match plan.channels {
        1 => "one channel".to_owned(),
        count => format!("{count} channels"),
    };
    Comparison {
        title: format!(
            "Fan-out of {} B to {} subscribers{how}, {channels}, {} × depth {}",
            plan.payload, plan.subscribers, plan.publishers, plan.depth
        ),
        name,
        contenders: three(&Work::Closed(plan)),
        budgets,
        plot: None,
    }
}
