//! Reads what `corgi-server --dump-log DIR` prints of a stopped node.

use crate::binary;
use std::path::Path;
use std::process::{Command, Output};

/// One publish in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Its id, `ms-seq`.
    pub id: String,
    /// The channel, with every byte that is not printable ASCII still escaped.
    pub channel: String,
    /// The payload, likewise.
    pub payload: String,
}

/// Runs `--dump-log` on a folder.
///
/// # Panics
/// If the binary cannot be run.
pub fn run(dir: &Path) -> Output {
    Command::new(binary::server())
        .arg("--dump-log")
        .arg(dir)
        .output()
        .expect("the server binary can be run")
}

/// Returns the publishes to `channel` in the log of a stopped node, in log order.
///
/// # Panics
/// If the log cannot be dumped, or a line of it not read.
pub fn publishes(dir: &Path, channel: &str) -> Vec<Logged> {
    let output = run(dir);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "--dump-log {} ended with {}: {}",
        dir.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text.lines()
        .filter_map(parse_publish)
        .filter(|logged| logged.channel == channel)
        .collect()
}

/// Reads a line `<ms>-<seq> publish "<channel>" "<payload>"`, indented or not; any other line is none.
fn parse_publish(line: &str) -> Option<Logged> {
    let (id, rest) = line.trim().split_once(" publish ")?;
    let (channel, rest) = quoted(rest.trim_start())?;
    let (payload, _) = quoted(rest.trim_start())?;
    let id = id.split_whitespace().last()?.to_owned();
    Some(Logged {
        id,
        channel,
        payload,
    })
}

/// Reads a quoted string; an escaped quote or backslash loses its backslash, other escapes stay.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.strip_prefix('"')?.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 2..])),
            '\\' => match chars.next()?.1 {
                c @ ('"' | '\\') => value.push(c),
                c => value.extend(['\\', c]),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_is_read_with_its_escapes() {
        let logged = parse_publish(r#"  17-3 publish "a \"b\" \\" "x\x00y""#).unwrap();
        assert_eq!(
            logged,
            Logged {
                id: "17-3".into(),
                channel: r#"a "b" \"#.into(),
                payload: r"x\x00y".into()
            }
        );
    }

    #[test]
    fn other_lines_are_no_publishes() {
        assert_eq!(parse_publish("entry 3@1 batch origin=1"), None);
        assert_eq!(parse_publish(r#"1-0 publish "unfinished"#), None);
        assert_eq!(parse_publish(""), None);
    }
}
