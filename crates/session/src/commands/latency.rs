//! `LATENCY …`: what took long (<https://redis.io/docs/latest/commands/latency-latest/>).

use super::{Args, Command, owned, required};
use crate::errors::ErrorText;
use crate::local::{LatencyAsk, LocalAsk};

const HELP: &[&str] = &[
    "LATENCY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DOCTOR",
    "    Tell people what took long.",
    "GRAPH <event>",
    "    Draw how long an event took.",
    "HISTOGRAM [<command> ...]",
    "    Give how many calls of commands took how long.",
    "HISTORY <event>",
    "    Give when an event took how long.",
    "LATEST",
    "    Give the last and the longest of each event.",
    "RESET [<event> ...]",
    "    Forget events.",
];

fn ask(ask: LatencyAsk) -> Result<Command, ErrorText> {
    Ok(Command::Local(LocalAsk::Latency(ask)))
}

pub(crate) fn parse_doctor(_: &mut Args) -> Result<Command, ErrorText> {
    ask(LatencyAsk::Doctor)
}

pub(crate) fn parse_graph(args: &mut Args) -> Result<Command, ErrorText> {
    ask(LatencyAsk::Graph(owned(&required(args))))
}

pub(crate) fn parse_help(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Help(HELP))
}

pub(crate) fn parse_histogram(args: &mut Args) -> Result<Command, ErrorText> {
    let names = args.map(|word| word.to_ascii_lowercase().into()).collect();
    ask(LatencyAsk::Histogram(names))
}

pub(crate) fn parse_history(args: &mut Args) -> Result<Command, ErrorText> {
    ask(LatencyAsk::History(owned(&required(args))))
}

pub(crate) fn parse_latest(_: &mut Args) -> Result<Command, ErrorText> {
    ask(LatencyAsk::Latest)
}

pub(crate) fn parse_reset(args: &mut Args) -> Result<Command, ErrorText> {
    ask(LatencyAsk::Reset(args.map(|word| owned(&word)).collect()))
}
