//! `CONFIG GET|SET|REWRITE|RESETSTAT|HELP` (<https://redis.io/docs/latest/commands/config-set/>). Which options there
//! are is the process' affair.

use super::{Args, Command, owned};
use crate::errors::{self, ErrorText};
use crate::local::{ConfigAsk, LocalAsk};
use bytes::Bytes;

const HELP: &[&str] = &[
    "CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GET <pattern> [<pattern> ...]",
    "    Give the options of this node whose names match, with their values.",
    "RESETSTAT",
    "    Forget what INFO has counted.",
    "REWRITE",
    "    Write the options that were set to the configuration file.",
    "SET <name> <value> [<name> <value> ...]",
    "    Set options of this node, all of them or none.",
];

fn ask(ask: ConfigAsk) -> Result<Command, ErrorText> {
    Ok(Command::Local(LocalAsk::Config(ask)))
}

pub(crate) fn parse_get(args: &mut Args) -> Result<Command, ErrorText> {
    ask(ConfigAsk::Get(args.map(|word| owned(&word)).collect()))
}

pub(crate) fn parse_help(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Help(HELP))
}

pub(crate) fn parse_resetstat(_: &mut Args) -> Result<Command, ErrorText> {
    ask(ConfigAsk::ResetStat)
}

pub(crate) fn parse_rewrite(_: &mut Args) -> Result<Command, ErrorText> {
    ask(ConfigAsk::Rewrite)
}

pub(crate) fn parse_set(args: &mut Args) -> Result<Command, ErrorText> {
    if !args.len().is_multiple_of(2) {
        return Err(Bytes::from_static(errors::SYNTAX));
    }
    let mut pairs = Vec::new();
    while let (Some(name), Some(value)) = (args.next(), args.next()) {
        pairs.push((owned(&name), owned(&value)));
    }
    ask(ConfigAsk::Set(pairs))
}
