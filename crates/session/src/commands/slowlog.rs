//! `SLOWLOG GET|LEN|RESET|HELP` (<https://redis.io/docs/latest/commands/slowlog-get/>).

use super::{Args, Command, integer};
use crate::errors::{self, ErrorText};
use crate::local::{LocalAsk, SlowLogAsk};
use bytes::Bytes;

/// How many `SLOWLOG GET` gives if it is not said.
const COUNT: u64 = 10;

const HELP: &[&str] = &[
    "SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GET [<count>]",
    "    Give the last slow commands, 10 unless said otherwise, all for -1: each with its number, its",
    "    time, the microseconds that it took, what was sent, by which address, and by which name.",
    "LEN",
    "    Count them.",
    "RESET",
    "    Forget them.",
];

fn ask(ask: SlowLogAsk) -> Result<Command, ErrorText> {
    Ok(Command::Local(LocalAsk::SlowLog(ask)))
}

pub(crate) fn parse_get(args: &mut Args) -> Result<Command, ErrorText> {
    let count = match args.next() {
        None => Some(COUNT),
        Some(_) if args.len() > 0 => return Err(errors::subcommand_arguments("slowlog", b"GET")),
        Some(word) => match integer(&word) {
            Some(-1) => None,
            count => Some(
                count
                    .and_then(|count| u64::try_from(count).ok())
                    .ok_or_else(|| Bytes::from_static(errors::SLOWLOG_COUNT))?,
            ),
        },
    };
    ask(SlowLogAsk::Get(count))
}

pub(crate) fn parse_help(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Help(HELP))
}

pub(crate) fn parse_len(_: &mut Args) -> Result<Command, ErrorText> {
    ask(SlowLogAsk::Len)
}

pub(crate) fn parse_reset(_: &mut Args) -> Result<Command, ErrorText> {
    ask(SlowLogAsk::Reset)
}
