//! The README's table of commands says what the command table says.

use corgi_session::{Spec, commands};
use std::collections::BTreeSet;
use std::path::Path;

const TABLE: &str = "| commands | |";
const OTHERS: &str = "everything else";

/// All commands that do something, subcommands as `command|subcommand`.
fn table() -> BTreeSet<String> {
    let leaves = |spec: &'static Spec| -> Vec<String> {
        if spec.subcommands.is_empty() {
            vec![spec.name.to_owned()]
        } else {
            let subcommands = spec.subcommands.iter();
            subcommands.map(|spec| spec.name.to_owned()).collect()
        }
    };
    commands().iter().flat_map(leaves).collect()
}

/// The words in backticks, in lower case.
fn quoted(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(str::to_lowercase)
}

/// The commands that a list names; a subcommand stands after its command or after another one of the same.
fn named(list: &str) -> Vec<String> {
    let mut all = Vec::new();
    for part in list.split(';') {
        let mut container: Option<&Spec> = None;
        for words in quoted(part) {
            let name = words.replace(' ', "|");
            let first = words.split(' ').next().unwrap_or_default();
            if first != words {
                container = commands().iter().find(|spec| spec.name == first);
            }
            let subcommands = container.map_or(&[][..], |spec| spec.subcommands);
            let full = |spec: &&Spec| {
                spec.name
                    .split_once('|')
                    .is_some_and(|(_, sub)| sub == name)
            };
            let subcommand = subcommands.iter().find(full);
            all.push(subcommand.map_or_else(|| name.clone(), |spec| spec.name.to_owned()));
        }
    }
    all
}

#[test]
fn every_command_is_in_the_readme_and_no_other() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let text = std::fs::read_to_string(path).expect("our file");
    let (_, rest) = text.split_once(TABLE).expect("the table of commands");
    let rows = rest.trim_start().lines().skip(1);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let (table, mut there) = (table(), BTreeSet::new());
    for row in rows {
        let cells: Vec<&str> = row.split(" | ").collect();
        let (names, remarks) = (cells[0], cells[1]);
        if names.contains(OTHERS) {
            for name in named(names) {
                let known = commands().iter().any(|spec| spec.name == name);
                assert!(!known, "{name} is there: {row}");
            }
            continue;
        }
        let first = names.split('`').nth(1).unwrap_or_default();
        let container = first.split(' ').next().unwrap_or_default();
        for later in remarks.split(';').filter(|part| part.contains("not yet")) {
            for name in quoted(later).map(|words| words.replace(' ', "|")) {
                let full = format!("{}|{name}", container.to_lowercase());
                assert!(
                    !table.contains(&name) && !table.contains(&full),
                    "{name} is there: {row}"
                );
            }
        }
        there.extend(named(names));
    }
    // A command that stands for itself stands for its subcommands, and each that has some has `HELP`.
    let covered = |name: &&String| {
        let container = name.split('|').next().unwrap_or_default();
        name.ends_with("|help") || there.contains(container)
    };
    let missing: Vec<_> = table
        .difference(&there)
        .filter(|name| !covered(name))
        .collect();
    assert!(missing.is_empty(), "not in the README: {missing:?}");
    let containers = |name: &String| commands().iter().any(|spec| spec.name == *name);
    let unknown: Vec<_> = there
        .difference(&table)
        .filter(|name| !containers(name))
        .collect();
    assert!(unknown.is_empty(), "no such command: {unknown:?}");
}
