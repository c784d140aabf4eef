//! The node as a whole: `INFO` (<https://redis.io/docs/latest/commands/info/>), `MONITOR`.

use super::{Args, Command};
use crate::errors::ErrorText;

/// `INFO [section …]`. Which sections exist is the node's affair; an unknown one is not an error.
pub(crate) fn parse_info(args: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Info(
        args.map(|section| section.to_ascii_lowercase().into())
            .collect(),
    ))
}

/// `MONITOR`: from now on the connection is shown what others send.
pub(crate) fn parse_monitor(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Monitor)
}
