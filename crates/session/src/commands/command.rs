//! `COMMAND [COUNT|INFO|LIST|HELP]`, from the table
//! (<https://redis.io/docs/latest/commands/command/>).

use super::{Args, Command, required};
use crate::errors::{self, ErrorText};
use crate::table::{self, Spec};
use bytes::Bytes;
use corgi_base::glob;
use corgi_resp::Reply;

/// Which commands `COMMAND LIST` gives.
#[derive(Debug, PartialEq)]
pub(crate) enum Filter {
    All,
    /// Those of an ACL category, named without its `@`.
    Category(Bytes),
    /// Those of a module: none, because there are no modules.
    Module,
    /// Those whose names match a glob pattern, in any case.
    Pattern(Bytes),
}

const HELP: &[&str] = &[
    "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "(no subcommand)",
    "    Describe all commands.",
    "COUNT",
    "    Give the number of commands.",
    "INFO [<command-name> ...]",
    "    Describe the named commands, or all.",
    "LIST [FILTERBY (MODULE <name>|ACLCAT <category>|PATTERN <pattern>)]",
    "    Give the names of commands.",
];

pub(crate) fn parse_all(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::TableInfo(Vec::new()))
}

/// What stands in the row of a command that needs a subcommand. Its arity is -2, and with a second
/// argument the subcommand's row is taken, so that a request for the bare name ends at the arity
/// check.
pub(crate) fn parse_container(_: &mut Args) -> Result<Command, ErrorText> {
    Err(Bytes::from_static(errors::SYNTAX))
}

pub(crate) fn parse_count(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::TableCount)
}

pub(crate) fn parse_help(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Help(HELP))
}

pub(crate) fn parse_info(args: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::TableInfo(args.collect()))
}

/// `COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]`.
pub(crate) fn parse_list(args: &mut Args) -> Result<Command, ErrorText> {
    let syntax = || Bytes::from_static(errors::SYNTAX);
    if args.len() == 0 {
        return Ok(Command::TableList(Filter::All));
    }
    if args.len() != 3 || !required(args).eq_ignore_ascii_case(b"filterby") {
        return Err(syntax());
    }
    let (by, what) = (required(args), required(args).to_ascii_lowercase().into());
    let filter = match &by.to_ascii_lowercase()[..] {
        b"aclcat" => Filter::Category(what),
        b"module" => Filter::Module,
        b"pattern" => Filter::Pattern(what),
        _ => return Err(syntax()),
    };
    Ok(Command::TableList(filter))
}

pub(crate) fn count() -> Reply {
    Reply::Integer(table::commands().len() as i64)
}

/// Describes the named commands, or all if none is named; null for one that does not exist.
pub(crate) fn info(names: &[Bytes]) -> Reply {
    if names.is_empty() {
        return Reply::Array(table::commands().iter().map(describe).collect());
    }
    Reply::Array(
        names
            .iter()
            .map(|name| named(name).map_or(Reply::Null, describe))
            .collect(),
    )
}

pub(crate) fn list(filter: &Filter) -> Reply {
    let rows = table::commands()
        .iter()
        .flat_map(|row| std::iter::once(row).chain(row.subcommands));
    let wanted = |row: &&Spec| match filter {
        Filter::All => true,
        Filter::Category(name) => row.categories.iter().any(|c| &c.as_bytes()[1..] == name),
        Filter::Module => false,
        Filter::Pattern(pattern) => glob::matches(pattern, row.name.as_bytes()),
    };
    Reply::Array(
        rows.filter(wanted)
            .map(|row| Reply::bulk(row.name))
            .collect(),
    )
}

/// Finds `command` or `command|subcommand`.
fn named(name: &[u8]) -> Option<&'static Spec> {
    match name.iter().position(|b| *b == b'|') {
        None => table::find(name),
        Some(at) => table::find_subcommand(table::find(&name[..at])?, &name[at + 1..]),
    }
}

/// Returns Redis' ten elements: name, arity, flags, first key, last key, step, ACL categories,
/// tips, key specifications, subcommands. No command has keys.
fn describe(row: &Spec) -> Reply {
    let simple = |text: &'static str| Reply::Simple(Bytes::from_static(text.as_bytes()));
    Reply::Array(vec![
        Reply::bulk(row.name),
        Reply::Integer(row.arity.into()),
        Reply::Set(row.flags.names().map(simple).collect()),
        Reply::Integer(0),
        Reply::Integer(0),
        Reply::Integer(0),
        Reply::Set(row.categories.iter().copied().map(simple).collect()),
        Reply::Set(row.tips.iter().copied().map(Reply::bulk).collect()),
        Reply::Set(Vec::new()),
        subcommands(row),
    ])
}

/// A container's subcommands are an array, and the lack of any an empty set: so Redis does.
fn subcommands(row: &Spec) -> Reply {
    match row.subcommands {
        [] => Reply::Set(Vec::new()),
        rows => Reply::Array(rows.iter().map(describe).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_alone_describes_every_row_and_count_counts_them() {
        let rows = table::commands().len();
        assert_eq!(count(), Reply::Integer(rows as i64));
        let Reply::Array(all) = info(&[]) else {
            panic!("an array");
        };
        assert_eq!(all.len(), rows);
        for row in all {
            assert!(matches!(row, Reply::Array(elements) if elements.len() == 10));
        }
        let Reply::Array(names) = list(&Filter::All) else {
            panic!("an array");
        };
        let subcommands: usize = table::commands()
            .iter()
            .map(|row| row.subcommands.len())
            .sum();
        assert_eq!(names.len(), rows + subcommands);
    }
}
