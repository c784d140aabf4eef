//! What people read about each command: `COMMAND DOCS`, and docs/compatibility.md.
//!
//! | module | holds |
//! |---|---|
//! | `commands.txt` | a few lines a command |
//! | `absent.txt` | commands of Redis that are not here, and why |
//! | `syntax` | a command's arguments |
//! | `page` | the page for people |

mod page;
mod syntax;

pub use page::markdown;

use crate::table::{Spec, find, find_subcommand};
use bytes::Bytes;
use corgi_resp::Reply;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What is written about a command.
#[derive(Clone, Debug)]
struct Doc {
    /// The full name, as in the table of commands.
    name: &'static str,
    /// Since which version of Redis.
    since: &'static str,
    /// Redis' group.
    group: &'static str,
    /// How its time grows.
    complexity: &'static str,
    /// One sentence.
    summary: &'static str,
    /// See [`syntax`].
    syntax: String,
    /// How it differs from Redis; empty if it does not.
    differs: &'static str,
}

/// By name.
static DOCS: LazyLock<BTreeMap<&'static str, Doc>> = LazyLock::new(|| {
    let records = records(include_str!("commands.txt")).map(read);
    records.map(|doc| (doc.name, doc)).collect()
});

/// Cuts a text into its records, each some lines.
fn records(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    let records = text.split("\n\n");
    records
        .map(|record| record.lines().map(str::trim).collect::<Vec<_>>())
        .filter(|lines| lines.first().is_some_and(|line| !line.starts_with('#')))
}

fn read(lines: Vec<&'static str>) -> Doc {
    let mut facts = lines.get(1).map_or("", |line| line).splitn(3, ", ");
    let mut fact = || facts.next().unwrap_or_default();
    // A long one takes several lines.
    let syntax = lines.iter().filter_map(|line| line.strip_prefix("= "));
    let behind = |mark: &str| lines.iter().find_map(|line| line.strip_prefix(mark));
    Doc {
        name: lines[0],
        since: fact(),
        group: fact(),
        complexity: fact(),
        summary: lines.get(2).copied().unwrap_or_default(),
        syntax: syntax.collect::<Vec<_>>().join(" "),
        differs: behind("~ ").unwrap_or_default(),
    }
}

fn doc(name: &str) -> Option<&'static Doc> {
    DOCS.get(name)
}

/// `COMMAND DOCS`: of the named commands, or of all. Unknown names are left out, as in Redis.
pub(crate) fn reply(names: &[Bytes]) -> Reply {
    if names.is_empty() {
        let rows = crate::table::commands().iter();
        return Reply::Map(rows.filter_map(entry).collect());
    }
    let found = names.iter().filter_map(|name| {
        let row = match name.iter().position(|byte| *byte == b'|') {
            None => find(name)?,
            Some(at) => find_subcommand(find(&name[..at])?, &name[at + 1..])?,
        };
        entry(row)
    });
    Reply::Map(found.collect())
}

fn entry(row: &Spec) -> Option<(Reply, Reply)> {
    let doc = doc(row.name)?;
    let mut pairs: Vec<_> = [
        ("summary", doc.summary),
        ("since", doc.since),
        ("group", doc.group),
        ("complexity", doc.complexity),
    ]
    .into_iter()
    .map(|(name, value)| (Reply::bulk(name), Reply::bulk(value)))
    .collect();
    let arguments = syntax::arguments(&doc.syntax);
    if !arguments.is_empty() {
        pairs.push((Reply::bulk("arguments"), Reply::Array(arguments)));
    }
    if !row.subcommands.is_empty() {
        let rows = row.subcommands.iter().filter_map(entry).collect();
        pairs.push((Reply::bulk("subcommands"), Reply::Map(rows)));
    }
    Some((Reply::bulk(row.name), Reply::Map(pairs)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_line() {
        let rows = crate::table::commands().iter();
        for row in rows.flat_map(|row| std::iter::once(row).chain(row.subcommands)) {
            let doc = doc(row.name);
            let doc = doc.unwrap_or_else(|| panic!("{} is not in docs/commands.txt", row.name));
            assert!(
                doc.summary.ends_with('.') && !doc.complexity.is_empty(),
                "{}",
                row.name
            );
        }
    }

    #[test]
    fn docs_have_redis_shape_and_leave_unknown_names_out() {
        let names =
            ["GET-LOST", "client|id", "CONFIG"].map(|name| Bytes::from_static(name.as_bytes()));
        let Reply::Map(rows) = reply(&names) else {
            panic!("a map");
        };
        let name = |row: &(Reply, Reply)| row.0.clone();
        let names: Vec<_> = rows.iter().map(name).collect();
        assert_eq!(names, [Reply::bulk("client|id"), Reply::bulk("config")]);
        let Reply::Map(config) = &rows[1].1 else {
            panic!("a map");
        };
        let fields: Vec<_> = config.iter().map(name).collect();
        let expected = ["summary", "since", "group", "complexity", "subcommands"];
        assert_eq!(fields, expected.map(Reply::bulk));
    }
}
