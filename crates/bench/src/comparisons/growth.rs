//! How cost grows as work grows: subscribers, bytes, patterns.

use super::{Budget, Comparison, Contender, Good, Plot, REDIS, VALKEY};
use crate::load::closed::Closed;
use crate::targets::Setup;
use crate::work::{Scale, Work, publishing};

/// Returns the comparisons with plots, and the budget of patterns, which is against Corgi's own figure.
pub(super) fn comparisons(scale: Scale) -> Vec<Comparison> {
    vec![subscribers(scale), payload(scale), patterns(scale)]
}

/// One contender for each server and size.
fn over(sizes: &[u32], work: impl Fn(usize) -> Work) -> Vec<Contender> {
    let servers = [
        ("Corgi", Setup::CORGI),
        ("Redis", REDIS),
        ("Valkey", VALKEY),
    ];
    let mut contenders = Vec::new();
    for (label, setup) in servers {
        for size in sizes {
            contenders.push(Contender {
                x: Some(*size),
                ..Contender::new(label, setup.clone(), work(*size as usize))
            });
        }
    }
    contenders
}

fn subscribers(scale: Scale) -> Comparison {
    let work = |count| {
        Work::Closed(Closed {
            subscribers: count,
            ..publishing(scale, 1, 64, 100)
        })
    };
    let sizes = scale.pick(&[1, 100, 1000][..], &[1, 100, 250, 500, 750, 1000]);
    Comparison {
        name: "growth-subscribers".to_owned(),
        title: "Cost of a message of 100 B over subscribers of one channel, depth 64".to_owned(),
        contenders: over(sizes, work),
        budgets: Vec::new(),
        plot: Some(Plot {
            x: "subscribers",
            measures: &["server_us_per_message", "delivered_per_s"],
        }),
    }
}

fn payload(scale: Scale) -> Comparison {
    let work = |payload| {
        Work::Closed(Closed {
            subscribers: 10,
            ..publishing(scale, 1, 64, payload)
        })
    };
    let sizes = scale.pick(
        &[16, 4096, 16_384][..],
        &[16, 1024, 2048, 4096, 8192, 16_384],
    );
    Comparison {
        name: "growth-payload".to_owned(),
        title: "Cost of a message to 10 subscribers over its bytes, depth 64".to_owned(),
        contenders: over(sizes, work),
        budgets: Vec::new(),
        plot: Some(Plot {
            x: "bytes of a message",
            measures: &["server_us_per_message", "delivered_per_s"],
        }),
    }
}

fn patterns(scale: Scale) -> Comparison {
    let plan = publishing(scale, 16, 16, 100);
    let sizes = scale.pick(&[1, 100_000][..], &[1, 1000, 10_000, 30_000, 100_000]);
    let most = sizes.len() - 1;
    Comparison {
        name: "patterns".to_owned(),
        title: "PUBLISH of 100 B, 16 × depth 16, over patterns that are held and match nothing"
            .to_owned(),
        contenders: over(sizes, |count| Work::Patterns(count, plan.clone())),
        budgets: vec![Budget::new(
            "acknowledged_per_s",
            most,
            &[0],
            Good::High,
            (0.9, 1.0),
        )],
        plot: Some(Plot {
            x: "patterns",
            measures: &["server_us_per_message", "acknowledged_per_s"],
        }),
    }
}
