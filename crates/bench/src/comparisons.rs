//! What is compared with what, and the budget of each comparison.

mod durable;
mod fanout;
mod growth;
mod states;

use crate::targets::{Server, Setup, Sync};
use crate::work::{Scale, Work};

/// One of those that are compared.
#[derive(Clone, Debug)]
pub struct Contender {
    /// The name for people: `Corgi`, `Redis XADD`.
    pub label: String,
    /// The server.
    pub setup: Setup,
    /// What is done to it.
    pub work: Work,
    /// How much of what grows, where something does.
    pub x: Option<u32>,
}

impl Contender {
    /// Returns one by its parts.
    pub fn new(label: &str, setup: Setup, work: Work) -> Self {
        Self {
            label: label.to_owned(),
            setup,
            work,
            x: None,
        }
    }
}

/// What a figure is measured against.
#[derive(Clone, Debug)]
pub enum Against {
    /// The better of these contenders, by place; those that are missing do not count.
    Best(Vec<usize>),
    /// Nothing: the figure itself is what counts.
    Itself,
}

/// Which side of a limit is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Good {
    /// More is better.
    High,
    /// Less is better.
    Low,
}

/// What a figure should be.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Which figure.
    pub measure: &'static str,
    /// Of which contender, by place.
    pub of: usize,
    /// Against what.
    pub against: Against,
    /// Which side is good.
    pub good: Good,
    /// The limit, as a ratio or as the figure itself. Without one the ratio is only told.
    pub limit: Option<f64>,
    /// What we aim at.
    pub aim: Option<f64>,
}

impl Budget {
    /// Returns a budget against the better of some contenders.
    pub fn new(
        measure: &'static str,
        of: usize,
        best: &[usize],
        good: Good,
        limits: (f64, f64),
    ) -> Self {
        Self {
            measure,
            of,
            against: Against::Best(best.to_vec()),
            good,
            limit: Some(limits.0),
            aim: Some(limits.1),
        }
    }

    /// Returns a budget for a figure itself, of which less is better.
    pub fn of_itself(measure: &'static str, limits: Option<(f64, f64)>) -> Self {
        Self {
            measure,
            of: 0,
            against: Against::Itself,
            good: Good::Low,
            limit: limits.map(|(limit, _)| limit),
            aim: limits.map(|(_, aim)| aim),
        }
    }

    /// Returns a ratio that is told without a budget.
    pub fn told(measure: &'static str, of: usize, best: &[usize], good: Good) -> Self {
        Self {
            measure,
            of,
            against: Against::Best(best.to_vec()),
            good,
            limit: None,
            aim: None,
        }
    }
}

/// A plot of figures over what grows.
#[derive(Clone, Copy, Debug)]
pub struct Plot {
    /// What grows.
    pub x: &'static str,
    /// The figures that are drawn.
    pub measures: &'static [&'static str],
}

/// A comparison.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// By which it is asked for.
    pub name: String,
    /// For people.
    pub title: String,
    /// In the order in which they run.
    pub contenders: Vec<Contender>,
    /// What is looked at.
    pub budgets: Vec<Budget>,
    /// Where something grows.
    pub plot: Option<Plot>,
}

/// Returns all comparisons.
pub fn all(scale: Scale) -> Vec<Comparison> {
    let mut all = Vec::new();
    all.extend(fanout::comparisons(scale));
    all.extend(durable::comparisons(scale));
    all.extend(growth::comparisons(scale));
    all.extend(states::comparisons(scale));
    all
}

const REDIS: Setup = Setup::new(Server::Redis, 1, Sync::Nothing);
const VALKEY: Setup = Setup::new(Server::Valkey, 1, Sync::Nothing);
const REDIS_ALWAYS: Setup = Setup::new(Server::Redis, 1, Sync::Always);
const VALKEY_ALWAYS: Setup = Setup::new(Server::Valkey, 1, Sync::Always);

/// Returns the same work on Corgi, and on Redis and Valkey without persistence.
fn three(work: &Work) -> Vec<Contender> {
    vec![
        Contender::new("Corgi", Setup::CORGI, work.clone()),
        Contender::new("Redis", REDIS, work.clone()),
        Contender::new("Valkey", VALKEY, work.clone()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_different_and_budgets_are_of_contenders_that_are_there() {
        for scale in [Scale::Quick, Scale::Full] {
            let all = all(scale);
            let names: BTreeSet<&str> = all.iter().map(|one| one.name.as_str()).collect();
            assert_eq!(names.len(), all.len());
            for comparison in &all {
                let count = comparison.contenders.len();
                assert!(count > 0, "{}", comparison.name);
                for budget in &comparison.budgets {
                    assert!(budget.of < count, "{}", comparison.name);
                    if let Against::Best(rivals) = &budget.against {
                        let fine = rivals.iter().all(|at| *at < count && *at != budget.of);
                        assert!(fine && !rivals.is_empty(), "{}", comparison.name);
                    }
                    let (limit, aim) = (budget.limit.unwrap_or(1.0), budget.aim.unwrap_or(1.0));
                    let harder = match budget.good {
                        Good::High => aim >= limit,
                        Good::Low => aim <= limit,
                    };
                    assert!(
                        harder,
                        "{}: the aim is easier than the budget",
                        comparison.name
                    );
                }
            }
        }
    }
}
