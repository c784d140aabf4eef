//! Runs a comparison: all contenders in turns, round by round, so that a machine that changes changes for all.

use crate::comparisons::Comparison;
use crate::machine::{self, Machine};
use crate::results::{Measured, Results};
use crate::targets::{Binaries, Setup};
use anyhow::{Context, Result};

/// What holds for all comparisons of one call.
#[derive(Clone, Debug)]
pub struct Session {
    /// Where the servers are.
    pub binaries: Binaries,
    /// How often each contender runs.
    pub rounds: usize,
    /// Whether the runs are short.
    pub quick: bool,
    /// The commit of this repository, as text for people.
    pub commit: String,
    /// This machine.
    pub machine: Machine,
}

impl Session {
    /// Runs a comparison. `progress` is told of each run.
    ///
    /// # Errors
    /// If a server that is there does not serve, or loses, doubles or reorders messages.
    pub fn run(&self, comparison: &Comparison, mut progress: impl FnMut(&str)) -> Result<Results> {
        let mut contenders: Vec<Measured> = comparison
            .contenders
            .iter()
            .map(|contender| Measured {
                label: contender.label.clone(),
                x: contender.x,
                version: contender.setup.server.name().to_owned(),
                command: String::new(),
                work: contender.work.describe(),
                missing: self.missing(&contender.setup),
                rounds: Vec::new(),
            })
            .collect();
        for round in 0..self.rounds {
            for (contender, measured) in comparison.contenders.iter().zip(&mut contenders) {
                if measured.missing.is_some() {
                    continue;
                }
                let (name, label) = (&comparison.name, &contender.label);
                progress(&format!(
                    "{name}: round {} of {}: {label}",
                    round + 1,
                    self.rounds
                ));
                let ran = contender.work.run(&contender.setup, &self.binaries);
                let ran = ran.with_context(|| format!("{name}: {label}: {}", measured.work))?;
                let server = contender.setup.server.name();
                measured.version = format!("{server} {}", ran.version);
                measured.command = match contender.setup.nodes {
                    1 => ran.command,
                    nodes => format!("{nodes} × {}", ran.command),
                };
                measured.rounds.push(ran.figures);
            }
        }
        Ok(Results {
            name: comparison.name.clone(),
            date: machine::today(),
            commit: self.commit.clone(),
            quick: self.quick,
            machine: self.machine.clone(),
            contenders,
        })
    }

    fn missing(&self, setup: &Setup) -> Option<String> {
        let found = self.binaries.get(setup.server);
        found.err().map(|error| format!("{error:#}"))
    }
}
