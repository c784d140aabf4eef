//! What was measured, one JSON file for each comparison, so that a rerun of one changes only its own.

use crate::load::Figures;
use crate::machine::Machine;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// The figures of one contender.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Its name within the comparison.
    pub label: String,
    /// How much of what grows, where something does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<u32>,
    /// The server and its version.
    pub version: String,
    /// The command of the server, and how many of it.
    pub command: String,
    /// What was done to it.
    pub work: String,
    /// Why there are no figures, if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// One for each round.
    pub rounds: Vec<Figures>,
}

impl Measured {
    /// Returns a figure of all rounds.
    pub fn figures(&self, measure: &str) -> Vec<f64> {
        let rounds = self.rounds.iter();
        rounds
            .filter_map(|round| round.get(measure).copied())
            .collect()
    }
}

/// The figures of one comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Its name.
    pub name: String,
    /// The day.
    pub date: String,
    /// The commit of this repository.
    pub commit: String,
    /// Whether it was a quick run.
    pub quick: bool,
    /// Where it ran.
    pub machine: Machine,
    /// In the order in which they ran.
    pub contenders: Vec<Measured>,
}

impl Results {
    /// Writes the file of this comparison.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let path = folder.join(format!("{}.json", self.name));
        let mut text = serde_json::to_string_pretty(self).context("encode results")?;
        text.push('\n');
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }

    /// Reads the file of a comparison; `None` if there is none.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn read(folder: &Path, name: &str) -> Result<Option<Self>> {
        let path = folder.join(format!("{name}.json"));
        if !path.exists() {
            return Ok(None);
        }
        let read = || -> Result<Self> { Ok(serde_json::from_slice(&fs::read(&path)?)?) };
        let results = read().with_context(|| format!("read {}", path.display()))?;
        Ok(Some(results))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_back_as_they_were_written() {
        let folder = tempfile::tempdir().expect("the temporary folder can be written");
        let results = Results {
            name: "x".to_owned(),
            date: "2026-11-25".to_owned(),
            commit: "abc".to_owned(),
            quick: true,
            machine: Machine::default(),
            contenders: vec![Measured {
                label: "Corgi".to_owned(),
                x: Some(3),
                version: "Corgi 1".to_owned(),
                command: "corgi-server".to_owned(),
                work: "PUBLISH".to_owned(),
                missing: None,
                rounds: vec![Figures::from([("a_per_s".to_owned(), 2.5)])],
            }],
        };
        results.write(folder.path()).expect("written");
        let read = Results::read(folder.path(), "x").expect("read");
        assert_eq!(read.as_ref(), Some(&results));
        assert_eq!(results.contenders[0].figures("a_per_s"), [2.5]);
        assert!(Results::read(folder.path(), "y").expect("read").is_none());
    }
}
