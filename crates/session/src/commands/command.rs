//! `COMMAND [COUNT|DOCS|GETKEYS|GETKEYSANDFLAGS|INFO|LIST|HELP]`, from the table
//! (<https://redis.io/docs/latest/commands/command/>).

use super::{Args, Command, required};
use crate::dispatch::lookup;
use crate::errors::{self, ErrorText};
use crate::keys::{BeginSearch, FindKeys, KeyFlags, KeySpec};
use crate::table::{self, Flags, Spec};
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
    "DOCS [<command-name> ...]",
    "    Describe the named commands, or all, for people.",
    "GETKEYS <full-command>",
    "    Give the keys in a command.",
    "GETKEYSANDFLAGS <full-command>",
    "    Give the keys in a command, and what it does with them.",
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

pub(crate) fn parse_docs(args: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Docs(args.collect()))
}

/// `COMMAND GETKEYS command [argument …]`.
pub(crate) fn parse_getkeys(args: &mut Args) -> Result<Command, ErrorText> {
    let keys = keys(args)?;
    let keys = keys.into_iter().map(|(key, _)| Reply::Bulk(key));
    Ok(Command::Constant(Reply::Array(keys.collect())))
}

/// `COMMAND GETKEYSANDFLAGS command [argument …]`.
pub(crate) fn parse_getkeysandflags(args: &mut Args) -> Result<Command, ErrorText> {
    let simple = |name: &'static str| Reply::Simple(Bytes::from_static(name.as_bytes()));
    let pair = |(key, flags): (Bytes, KeyFlags)| {
        let flags = flags.names().map(simple).collect();
        Reply::Array(vec![Reply::Bulk(key), Reply::Set(flags)])
    };
    let keys = keys(args)?.into_iter().map(pair);
    Ok(Command::Constant(Reply::Array(keys.collect())))
}

fn keys(args: &mut Args) -> Result<Vec<(Bytes, KeyFlags)>, ErrorText> {
    let error = |text: &'static [u8]| Bytes::from_static(text);
    let args: Vec<Bytes> = args.collect();
    let (spec, _) = lookup(&args).map_err(|_unknown| error(errors::INVALID_COMMAND))?;
    let real = |keys: &&KeySpec| !keys.flags.contains(KeyFlags::NOT_KEY);
    let mut specs = spec.keys.iter().filter(real).peekable();
    if specs.peek().is_none() {
        return Err(error(errors::NO_KEY_ARGUMENTS));
    }
    if !spec.accepts(args.len()) {
        return Err(error(errors::INVALID_ARGUMENT_COUNT));
    }
    let mut found = Vec::new();
    for keys in specs {
        let (places, flags) = (keys.find(&args), keys.flags_in(&args));
        found.extend(places.into_iter().map(|at| (args[at].clone(), flags)));
    }
    if found.is_empty() && !spec.flags.contains(Flags::NO_MANDATORY_KEYS) {
        return Err(error(errors::INVALID_ARGUMENTS));
    }
    Ok(found)
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
/// tips, key specifications, subcommands.
fn describe(row: &Spec) -> Reply {
    let simple = |text: &'static str| Reply::Simple(Bytes::from_static(text.as_bytes()));
    let [first, last, step] = key_range(row.keys).map(Reply::Integer);
    Reply::Array(vec![
        Reply::bulk(row.name),
        Reply::Integer(row.arity.into()),
        Reply::Set(row.flags.names().map(simple).collect()),
        first,
        last,
        step,
        Reply::Set(row.categories.iter().copied().map(simple).collect()),
        Reply::Set(row.tips.iter().copied().map(Reply::bulk).collect()),
        Reply::Set(row.keys.iter().map(key_spec).collect()),
        subcommands(row),
    ])
}

/// What older clients read: from where to where the keys are, if that is simple.
fn key_range(keys: &[KeySpec]) -> [i64; 3] {
    let mut range: Option<[i64; 3]> = None;
    for keys in keys {
        let (BeginSearch::Index(begin), FindKeys::Range { last, step, .. }) =
            (&keys.begin, &keys.find)
        else {
            continue;
        };
        let (begin, last) = (*begin as i64, i64::from(*last));
        let last = if last < 0 { last } else { begin + last };
        match &mut range {
            None => range = Some([begin, last, *step as i64]),
            // As in Redis, others count if they follow without a gap, key by key.
            Some([_, end, 1]) if *step == 1 && *end == begin - 1 => *end = last,
            Some(_) => {}
        }
    }
    range.unwrap_or_default()
}

fn key_spec(keys: &KeySpec) -> Reply {
    let field = |name: &'static str, value| (Reply::bulk(name), value);
    let number = |n: usize| Reply::Integer(n as i64);
    let simple = |text: &'static str| Reply::Simple(Bytes::from_static(text.as_bytes()));
    let typed = |name: &'static str, spec| {
        Reply::Map(vec![
            field("type", Reply::bulk(name)),
            field("spec", Reply::Map(spec)),
        ])
    };
    let begin = match keys.begin {
        BeginSearch::Index(index) => typed("index", vec![field("index", number(index))]),
        BeginSearch::Keyword { word, from } => typed(
            "keyword",
            vec![
                field("keyword", Reply::bulk(word)),
                field("startfrom", number(from)),
            ],
        ),
    };
    let find = match keys.find {
        FindKeys::Range { last, step, limit } => typed(
            "range",
            vec![
                field("lastkey", Reply::Integer(last.into())),
                field("keystep", number(step)),
                field("limit", number(limit)),
            ],
        ),
        FindKeys::KeyNum {
            number: at,
            first,
            step,
        } => typed(
            "keynum",
            vec![
                field("keynumidx", number(at)),
                field("firstkey", number(first)),
                field("keystep", number(step)),
            ],
        ),
    };
    Reply::Map(vec![
        field(
            "flags",
            Reply::Set(keys.flags.names().map(simple).collect()),
        ),
        field("begin_search", begin),
        field("find_keys", find),
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
