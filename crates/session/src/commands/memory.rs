//! `MEMORY …` (<https://redis.io/docs/latest/commands/memory-stats/>).

use super::{Args, Command, integer, required};
use crate::errors::{self, ErrorText};
use crate::local::{LocalAsk, MemoryAsk};
use bytes::Bytes;
use corgi_resp::Reply;

const HELP: &[&str] = &[
    "MEMORY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DOCTOR",
    "    Tell people about memory.",
    "MALLOC-STATS",
    "    Say that the allocator keeps no statistics.",
    "PURGE",
    "    Do nothing: the allocator gives memory back by itself.",
    "STATS",
    "    Give what takes how much.",
    "USAGE <key> [SAMPLES <count>]",
    "    Give how much a key takes.",
];

fn ask(ask: MemoryAsk) -> Result<Command, ErrorText> {
    Ok(Command::Local(LocalAsk::Memory(ask)))
}

pub(crate) fn parse_doctor(_: &mut Args) -> Result<Command, ErrorText> {
    ask(MemoryAsk::Doctor)
}

pub(crate) fn parse_help(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Help(HELP))
}

pub(crate) fn parse_malloc_stats(_: &mut Args) -> Result<Command, ErrorText> {
    let text = Bytes::from_static(b"Stats not supported for the current allocator");
    Ok(Command::Constant(Reply::Verbatim(text)))
}

pub(crate) fn parse_purge(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Constant(Reply::ok()))
}

pub(crate) fn parse_stats(_: &mut Args) -> Result<Command, ErrorText> {
    ask(MemoryAsk::Stats)
}

/// `MEMORY USAGE key [SAMPLES count]`: what one key takes is not told, so that none is found.
pub(crate) fn parse_usage(args: &mut Args) -> Result<Command, ErrorText> {
    required(args);
    while let Some(option) = args.next() {
        let (true, Some(count)) = (option.eq_ignore_ascii_case(b"samples"), args.next()) else {
            return Err(Bytes::from_static(errors::SYNTAX));
        };
        match integer(&count) {
            None => return Err(Bytes::from_static(errors::NOT_AN_INTEGER)),
            Some(count) if count < 0 => return Err(Bytes::from_static(errors::SYNTAX)),
            Some(_) => {}
        }
    }
    Ok(Command::Constant(Reply::Null))
}
