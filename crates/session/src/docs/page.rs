//! docs/compatibility.md.

use super::{DOCS, Doc, records};
use crate::table::{Spec, commands};
use std::collections::BTreeMap;
use std::fmt::Write as _;

const HEAD: &str = "# Compatibility\n\n\
    <!-- Written from crates/session/src/docs and the command table; a test compares. -->\n\n\
    The reference is Redis 7.2 and later: where Redis 8.2 and Valkey 9.1 agree, Corgi does the same, and where they \
    differ\nit does as Redis. Errors have Redis' texts where Redis has the case. What differs is listed here; what is \
    not listed as\ndifferent is meant to be the same.\n";

const COMPARED: &str = "\n## How it is compared\n\n\
    `scripts/fuzz` sends 10,000 random sequences of commands of each kind (messaging, introspection, access control) \
    over\nthree connections, in RESP2 and RESP3, to Corgi and to Redis 8.2, and compares every reply and every push:\n\
    others each time. What it found is mended or listed here, and the last run of 30,000 found nothing more, in seven\n\
    minutes on two cores. `scripts/test` does so with some hundreds of each, the same ones each time. Beside the\n\
    commands listed below, only this may differ:\n\n\
    | what | why |\n|---|---|\n\
    | ids, addresses and sizes of clients; times; versions; the number of commands; modules | it is another process \
    |\n\
    | the order of what comes from a hash table: `PUBSUB CHANNELS`, the patterns of one message, subscriptions that \
    end at once | Redis promises none |\n\
    | the name and the line of a script, at the end of an error that happened in it | Redis and Valkey differ; there is \
    no interpreter |\n\
    | ranges of bytes above 127 in patterns, as `[a-\\xff]` | bytes are compared without a sign; Redis does so on ARM, \
    and with a sign on x86 |\n\
    | `sanitize-payload` in the rules of users | is not shown, as in Valkey: there is no `RESTORE` |\n\
    | a write in a transaction after it has subscribed | the writes of a transaction are one entry of the log, and \
    its subscriptions count from after it |\n\
    | `QUIT` without replies, after `CLIENT REPLY OFF` | closes the connection; \
    Redis keeps it, and answers nothing any more |\n\
    | `CLIENT REPLY` in a transaction | Redis gives fewer replies than commands; Valkey refuses it |\n\
    | a user that `AUTH` or `HELLO` refuses in a transaction | is an error among the replies, as in Valkey: Redis 8.2 \
    loses it, so that replies are missing |\n";

/// Returns the text of docs/compatibility.md. A test keeps the file equal to it.
pub fn markdown() -> String {
    let mut groups: BTreeMap<&str, Vec<&Doc>> = BTreeMap::new();
    let rows = commands().iter();
    for row in rows.flat_map(|row: &Spec| std::iter::once(row).chain(row.subcommands)) {
        if let Some(doc) = DOCS
            .get(row.name)
            .filter(|_| row.subcommands.is_empty() || row.arity == -1)
        {
            groups.entry(doc.group).or_default().push(doc);
        }
    }
    let mut out = [HEAD, COMPARED].concat();
    for (group, docs) in groups {
        write!(
            out,
            "\n## {group}\n\n| command | as Redis | what it does |\n|---|---|---|\n"
        )
        .expect("a String");
        for doc in docs {
            let name = doc.name.replace('|', " ").to_ascii_uppercase();
            let same = if doc.differs.is_empty() {
                "yes".to_owned()
            } else {
                format!("differs: {}", doc.differs)
            };
            writeln!(out, "| `{name}` | {same} | {} |", doc.summary).expect("a String");
        }
    }
    out.push_str("\n## Not there\n\n| commands | why |\n|---|---|\n");
    for record in records(include_str!("absent.txt")) {
        if let [_, why, names @ ..] = &record[..] {
            let names: Vec<_> = names
                .iter()
                .flat_map(|line| line.split(' '))
                .map(|name| format!("`{}`", name.replace('|', " ").to_ascii_uppercase()))
                .collect();
            writeln!(out, "| {} | {why} |", names.join(" ")).expect("a String");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/compatibility.md");
        if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
            std::fs::write(path, markdown()).expect("docs is writable");
        }
        let file = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            file == markdown(),
            "docs/compatibility.md: write it with UPDATE_GOLDENFILES=1"
        );
    }

    #[test]
    fn no_command_that_is_here_is_listed_as_absent() {
        for record in records(include_str!("absent.txt")) {
            assert!(record.len() >= 3, "{record:?}");
            for name in record[2..].iter().flat_map(|line| line.split(' ')) {
                assert!(!DOCS.contains_key(name), "{name}");
            }
        }
    }
}
