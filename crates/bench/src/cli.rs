//! The command line: `list`, `run`, `report`.

use crate::comparisons::{self, Comparison};
use crate::machine;
use crate::report;
use crate::rounds::Session;
use crate::targets::{Binaries, Server};
use crate::work::Scale;
use anyhow::{Context, Result, bail, ensure};
use std::io::Write;
use std::path::PathBuf;

/// How it is used.
pub const USAGE: &str = "usage: corgi-bench list
       corgi-bench run [OPTION…] [NAME…]
       corgi-bench report [--results FOLDER] [--docs FOLDER]

list    the names of all comparisons
run     runs those whose names begin with a NAME (all without one), prints ratios, keeps the figures
report  writes performance.md and its plots from the figures that are kept

  --quick           short runs, two rounds; the figures are kept in --results only if that is given
  --rounds N        so often each server runs (5; quick 2)
  --results FOLDER  where figures are kept, a file for each comparison (docs/performance)
  --docs FOLDER     where performance.md is written (docs)
  --commit TEXT     what was measured, for the report
  --corgi-server PATH, --redis-server PATH, --valkey-server PATH, --nats-server PATH
                    the binaries, if not on the PATH (corgi-server: beside this program)";

/// What was asked for.
#[derive(Debug, PartialEq)]
enum Command {
    List,
    Run,
    Report,
}

#[derive(Debug)]
struct Arguments {
    command: Command,
    names: Vec<String>,
    quick: bool,
    rounds: Option<usize>,
    results: Option<PathBuf>,
    docs: PathBuf,
    commit: String,
    binaries: Binaries,
}

/// A mistake on the command line.
#[derive(Debug)]
pub struct Usage(pub String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n\n{USAGE}", self.0)
    }
}

impl std::error::Error for Usage {}

fn parse(words: impl IntoIterator<Item = String>) -> Result<Arguments> {
    let mut words = words.into_iter();
    let command = match words.next().as_deref() {
        Some("list") => Command::List,
        Some("run") => Command::Run,
        Some("report") => Command::Report,
        Some(other) => bail!(Usage(format!("'{other}' is neither list, run nor report"))),
        None => bail!(Usage("say what to do".to_owned())),
    };
    let mut arguments = Arguments {
        command,
        names: Vec::new(),
        quick: false,
        rounds: None,
        results: None,
        docs: PathBuf::from("docs"),
        commit: "unknown".to_owned(),
        binaries: Binaries::default(),
    };
    while let Some(word) = words.next() {
        let value = |words: &mut dyn Iterator<Item = String>| {
            let value = words.next();
            value.ok_or_else(|| Usage(format!("{word} needs a value")))
        };
        match word.as_str() {
            "--quick" => arguments.quick = true,
            "--rounds" => {
                let text = value(&mut words)?;
                let rounds = text.parse().ok().filter(|rounds| *rounds > 0);
                let wrong = || Usage(format!("--rounds must be 1 or more, not '{text}'"));
                arguments.rounds = Some(rounds.ok_or_else(wrong)?);
            }
            "--results" => arguments.results = Some(value(&mut words)?.into()),
            "--docs" => arguments.docs = value(&mut words)?.into(),
            "--commit" => arguments.commit = value(&mut words)?,
            option if option.starts_with("--") => {
                let all = [Server::Corgi, Server::Redis, Server::Valkey, Server::Nats];
                let server = all.into_iter().find(|one| one.binary() == &option[2..]);
                let unknown = || Usage(format!("there is no option '{option}'"));
                let server = server.ok_or_else(unknown)?;
                let path = value(&mut words)?.into();
                arguments.binaries.given.push((server, path));
            }
            _ => arguments.names.push(word),
        }
    }
    Ok(arguments)
}

/// Does what the words say, and writes to `out`. Returns whether all budgets that were looked at are met.
///
/// # Errors
/// If the words are wrong ([`Usage`]), or a run fails.
pub fn run(words: impl IntoIterator<Item = String>, out: &mut dyn Write) -> Result<bool> {
    let arguments = parse(words)?;
    let scale = if arguments.quick {
        Scale::Quick
    } else {
        Scale::Full
    };
    let all = comparisons::all(scale);
    match arguments.command {
        Command::List => {
            for comparison in chosen(&all, &arguments.names)? {
                writeln!(out, "{:28} {}", comparison.name, comparison.title)?;
            }
            Ok(true)
        }
        Command::Run => measure(&arguments, &chosen(&all, &arguments.names)?, out),
        Command::Report => {
            let results = arguments.results_folder();
            let count = report::write(&all, &results, &arguments.docs)?;
            let page = arguments.docs.join("performance.md");
            let of = all.len();
            writeln!(out, "{}: {count} of {of} comparisons", page.display())?;
            Ok(true)
        }
    }
}

impl Arguments {
    fn results_folder(&self) -> PathBuf {
        let default = || self.docs.join("performance");
        self.results.clone().unwrap_or_else(default)
    }
}

fn chosen<'a>(all: &'a [Comparison], names: &[String]) -> Result<Vec<&'a Comparison>> {
    for name in names {
        let known = all.iter().any(|one| one.name.starts_with(name.as_str()));
        ensure!(
            known,
            Usage(format!(
                "no comparison begins with '{name}'; see corgi-bench list"
            ))
        );
    }
    let wanted = |one: &&Comparison| {
        names.is_empty() || names.iter().any(|name| one.name.starts_with(name.as_str()))
    };
    Ok(all.iter().filter(wanted).collect())
}

fn measure(arguments: &Arguments, chosen: &[&Comparison], out: &mut dyn Write) -> Result<bool> {
    let session = Session {
        binaries: arguments.binaries.clone(),
        rounds: arguments
            .rounds
            .unwrap_or(if arguments.quick { 2 } else { 5 }),
        quick: arguments.quick,
        commit: arguments.commit.clone(),
        machine: machine::look()?,
    };
    let mut all_met = true;
    let mut failed: Vec<&str> = Vec::new();
    for comparison in chosen {
        let mut told = Ok(());
        let results = session.run(comparison, |text| {
            if told.is_ok() {
                told = writeln!(out, "# {text}").and_then(|()| out.flush());
            }
        });
        told.context("print the progress")?;
        let results = match results {
            Ok(results) => results,
            // The others are worth their time; the whole fails in the end.
            Err(error) => {
                writeln!(out, "FAILED: {error:#}")?;
                failed.push(comparison.name.as_str());
                continue;
            }
        };
        writeln!(out, "{}", comparison.title)?;
        for one in results
            .contenders
            .iter()
            .filter(|one| one.missing.is_some())
        {
            writeln!(out, "  {}", one.missing.as_deref().unwrap_or_default())?;
        }
        for line in report::lines(comparison, &results) {
            all_met &= line.met != Some(false);
            writeln!(out, "  {}", line.row(&comparison.name))?;
        }
        // Quick figures must not replace those of the report.
        if !arguments.quick || arguments.results.is_some() {
            results.write(&arguments.results_folder())?;
        }
    }
    ensure!(
        failed.is_empty(),
        "these comparisons failed: {}",
        failed.join(", ")
    );
    Ok(all_met)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Arguments> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_understood() {
        let line = "run fanout --quick --rounds 3 --redis-server /r --results x patterns";
        let arguments = parsed(line).expect("it is right");
        assert_eq!(arguments.command, Command::Run);
        assert_eq!(arguments.names, ["fanout", "patterns"]);
        assert!(arguments.quick);
        assert_eq!(arguments.rounds, Some(3));
        assert_eq!(arguments.binaries.given, [(Server::Redis, "/r".into())]);
        assert_eq!(arguments.results_folder(), PathBuf::from("x"));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, says) in [
            ("", "say what to do"),
            ("go", "'go' is neither list, run nor report"),
            ("run --rounds 0", "--rounds must be 1 or more, not '0'"),
            ("run --rounds", "--rounds needs a value"),
            ("run --fast", "there is no option '--fast'"),
        ] {
            let error = parsed(line).expect_err(line).to_string();
            assert!(error.starts_with(says), "{error}");
        }
        let mut out = Vec::new();
        let words = ["list", "nothing"].map(str::to_owned);
        let error = run(words, &mut out).expect_err("there is none such");
        assert!(error.is::<Usage>());
    }
}
