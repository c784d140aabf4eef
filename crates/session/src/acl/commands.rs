//! Which commands a selector allows.
//!
//! Rules count in the order given: `+@all -@dangerous +info` allows `info`. The rules are kept as text, because they
//! are shown, and because they say what becomes of commands that a later release adds.

use super::foreign;
use super::patterns::has_spaces;
use super::rule::{RuleError, Source};
use crate::table::{self, Spec};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Redis' categories, in the order in which `ACL CAT` lists them.
pub(crate) const CATEGORIES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// The commands that are allowed, and the rules that say so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Commands {
    /// Whether all are allowed but what the rules take away.
    base: bool,
    /// `+` or `-` and a name of a command or category, in order, without those that have no effect any more.
    rules: Vec<(bool, String)>,
    /// By full name.
    allowed: BTreeSet<&'static str>,
    /// Commands that are allowed only with certain first arguments.
    first_args: BTreeMap<&'static str, BTreeSet<Bytes>>,
}

impl Commands {
    /// `+@all` or `-@all`: what was said before does not count any more.
    pub(super) fn set_all(&mut self, allow: bool) {
        *self = Self::default();
        self.base = allow;
        if allow {
            for row in table::commands() {
                self.set(row, true);
            }
        }
    }

    /// Takes a rule for a category, whose name comes without `@`.
    pub(super) fn set_category(
        &mut self,
        allow: bool,
        category: &str,
        source: Source,
    ) -> Result<(), RuleError> {
        let name = category.to_ascii_lowercase();
        if name == "all" {
            self.set_all(allow);
            return Ok(());
        }
        if !CATEGORIES.contains(&name.as_str()) && source == Source::Client {
            return Err(RuleError::Unknown);
        }
        for row in in_category(&name) {
            self.set_one(row, allow);
        }
        self.remember(allow, format!("@{name}"));
        Ok(())
    }

    /// Takes a rule for a command, a subcommand (`config|get`), or, to allow it, a command with a first argument.
    pub(super) fn set_command(
        &mut self,
        allow: bool,
        text: &str,
        source: Source,
    ) -> Result<(), RuleError> {
        // As text it would be several rules, where it is read again.
        if has_spaces(text.as_bytes()) {
            return Err(RuleError::Syntax);
        }
        let name = text.to_ascii_lowercase();
        match name.split_once('|') {
            None => match table::find(name.as_bytes()) {
                Some(row) => self.set(row, allow),
                None if source == Source::Stored || foreign::is_command(&name) => {}
                None => return Err(RuleError::Unknown),
            },
            Some((command, argument)) => {
                self.set_part(allow, command, argument, source)?;
            }
        }
        self.remember(allow, name);
        Ok(())
    }

    fn set_part(
        &mut self,
        allow: bool,
        command: &str,
        argument: &str,
        source: Source,
    ) -> Result<(), RuleError> {
        let row = table::find(command.as_bytes());
        if row.is_none() && !foreign::is_command(command) && source == Source::Client {
            return Err(RuleError::Unknown);
        }
        if argument.contains('|') && allow {
            return Err(RuleError::FirstArgOfSubcommand);
        }
        if argument.is_empty() && allow {
            return Err(RuleError::Syntax);
        }
        let Some(row) = row else {
            return Ok(());
        };
        if row.subcommands.is_empty() {
            if !allow {
                // Only the other way round is possible: deny the command, then allow some of its arguments.
                return Err(RuleError::Unknown);
            }
            let arguments = self.first_args.entry(row.name).or_default();
            arguments.insert(Bytes::copy_from_slice(argument.as_bytes()));
            return Ok(());
        }
        match table::find_subcommand(row, argument.as_bytes()) {
            Some(sub) => self.set(sub, allow),
            // Redis may have a subcommand that this server lacks. Its name cannot be told from a wrong one.
            None if source == Source::Stored => {}
            None => return Err(RuleError::Unknown),
        }
        Ok(())
    }

    /// Allows or denies a command with all its subcommands.
    fn set(&mut self, row: &'static Spec, allow: bool) {
        self.set_one(row, allow);
        for sub in row.subcommands {
            self.set_one(sub, allow);
        }
    }

    fn set_one(&mut self, row: &'static Spec, allow: bool) {
        if allow {
            self.allowed.insert(row.name);
        } else {
            self.allowed.remove(row.name);
        }
        self.first_args.remove(row.name);
    }

    /// Keeps a rule, and drops those that it makes void: for the same name, and for parts of that command.
    fn remember(&mut self, allow: bool, name: String) {
        self.rules.retain(|(_, old)| {
            let part = old.strip_prefix(name.as_str());
            !part.is_some_and(|rest| rest.is_empty() || rest.starts_with('|'))
        });
        self.rules.push((allow, name));
    }

    /// Returns whether all commands are allowed, with any argument.
    pub(super) fn all(&self) -> bool {
        self.base && self.rules.iter().all(|(allow, _)| *allow)
    }

    /// Returns whether a request is allowed; `args` begin with the command's name.
    pub(super) fn allows(&self, row: &Spec, args: &[Bytes]) -> bool {
        if self.allowed.contains(row.name) {
            return true;
        }
        let argument = args.get(1);
        let allowed = self.first_args.get(row.name);
        argument.zip(allowed).is_some_and(|(argument, allowed)| {
            allowed.iter().any(|one| one.eq_ignore_ascii_case(argument))
        })
    }

    /// Returns the rules as `ACL LIST` shows them.
    pub(super) fn describe(&self) -> String {
        let mut text = String::from(if self.base { "+@all" } else { "-@all" });
        for (allow, name) in &self.rules {
            text.push_str(if *allow { " +" } else { " -" });
            text.push_str(name);
        }
        text
    }
}

/// Returns the commands and subcommands of a category, named in lower case.
pub(crate) fn in_category(name: &str) -> impl Iterator<Item = &'static Spec> {
    let rows = table::commands().iter();
    let all = rows.flat_map(|row| std::iter::once(row).chain(row.subcommands));
    all.filter(move |row| {
        let categories = row.categories.iter();
        categories
            .filter_map(|category| category.strip_prefix('@'))
            .any(|category| category == name)
    })
}
