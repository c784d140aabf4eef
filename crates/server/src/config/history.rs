//! How much of channels is kept: the words behind `history`, and those of `CONFIG SET` for all of it.

use super::options::{self, Value};
use bytes::Bytes;
use corgi_base::{Retention, Rules, RulesChange};
use std::fmt::Write as _;

/// The options that are the cluster's: those of a file count for one that has none.
pub(crate) const NAMES: [&str; 4] = [
    "history",
    "history-maxbytes",
    "history-maxlen",
    "history-ttl",
];

/// Reads `<pattern> [maxlen <n>] [ttl <seconds>]`, any number of times. What is not said of a pattern is as in
/// `others`.
pub(super) fn patterns(
    words: &[String],
    others: Retention,
) -> Result<Vec<(Bytes, Retention)>, String> {
    let mut patterns: Vec<(Bytes, Retention)> = Vec::new();
    let mut words = words.iter().peekable();
    while let Some(pattern) = words.next() {
        let mut retention = others;
        let mut said = false;
        while let Some(word) = words.next_if(|word| is_limit(word)) {
            let number = words.next().map(|number| number.parse::<u64>());
            let Some(Ok(number)) = number else {
                return Err(format!("'{word}' takes a whole number"));
            };
            said = true;
            if word.eq_ignore_ascii_case("maxlen") {
                retention.maxlen = number;
            } else {
                retention.ttl_ms = number.saturating_mul(1000);
            }
        }
        if !said {
            return Err(format!(
                "'{pattern}' is not followed by maxlen and a number, or ttl and seconds"
            ));
        }
        let pattern = Bytes::from(pattern.clone());
        if patterns.iter().any(|(known, _)| *known == pattern) {
            let pattern = pattern.escape_ascii();
            return Err(format!("the pattern '{pattern}' is there twice"));
        }
        patterns.push((pattern, retention));
    }
    Ok(patterns)
}

fn is_limit(word: &str) -> bool {
    word.eq_ignore_ascii_case("maxlen") || word.eq_ignore_ascii_case("ttl")
}

/// Returns the patterns as they are written.
pub(super) fn shown(patterns: &[(Bytes, Retention)]) -> String {
    let mut out = String::new();
    for (pattern, Retention { maxlen, ttl_ms }) in patterns {
        let gap = if out.is_empty() { "" } else { " " };
        let (pattern, ttl) = (String::from_utf8_lossy(pattern), ttl_ms / 1000);
        write!(out, "{gap}{pattern} maxlen {maxlen} ttl {ttl}").expect("a String takes all");
    }
    out
}

/// Whether `CONFIG SET` of this changes the cluster.
pub(crate) fn is_of_cluster(name: &[u8]) -> bool {
    NAMES
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

/// Returns an option as `CONFIG GET` gives it, where the cluster has these rules.
pub(crate) fn value(name: &str, rules: &Rules) -> Option<String> {
    Some(match name {
        "history" => shown(&rules.patterns),
        "history-maxbytes" => rules.max_bytes.to_string(),
        "history-maxlen" => rules.others.maxlen.to_string(),
        "history-ttl" => (rules.others.ttl_ms / 1000).to_string(),
        _ => return None,
    })
}

/// Works out what `CONFIG SET` changes, where the cluster has these rules.
///
/// # Errors
/// The name of the option, and what is wrong.
pub(crate) fn change(
    pairs: &[(Bytes, Bytes)],
    rules: &Rules,
) -> Result<RulesChange, (&'static str, String)> {
    let mut change = RulesChange::default();
    let mut words = None;
    for (name, value) in pairs {
        let known = NAMES
            .iter()
            .find(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        let Some(&known) = known else {
            let why = "options of one node and of the cluster cannot be set together".to_owned();
            return Err(("history", why));
        };
        let wrong = |why| (known, why);
        let spec = options::find(known).expect("a name of the table");
        let parts = match known {
            "history" => super::split::split_args(value)
                .ok_or_else(|| wrong("a quote is not closed".to_owned()))?,
            _ => vec![value.to_vec()],
        };
        let twice = match (known, spec.parse(&parts).map_err(wrong)?) {
            ("history-maxbytes", Value::Number(number)) => {
                change.max_bytes.replace(number).is_some()
            }
            ("history-maxlen", Value::Number(number)) => change.maxlen.replace(number).is_some(),
            ("history-ttl", Value::Number(seconds)) => change
                .ttl_ms
                .replace(seconds.saturating_mul(1000))
                .is_some(),
            (_, Value::List(list)) => words.replace(list).is_some(),
            (_, other) => unreachable!("{known} is {other:?}"),
        };
        if twice {
            return Err(wrong("duplicate parameter".to_owned()));
        }
    }
    if let Some(words) = words {
        let others = change.applied_to(rules).others;
        let patterns = patterns(&words, others).map_err(|why| ("history", why))?;
        change.patterns = Some(patterns);
    }
    Ok(change)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&'static str, &'static str)]) -> Vec<(Bytes, Bytes)> {
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        pairs.iter().map(|(n, v)| (bytes(n), bytes(v))).collect()
    }

    #[test]
    fn a_change_names_what_it_changes_and_nothing_else() {
        let rules = Rules::default();
        let set = [("HISTORY-MAXLEN", "5"), ("history", "a* ttl 7 b maxlen 0")];
        let changed = change(&pairs(&set), &rules).expect("good values");
        let patterns = vec![
            (
                Bytes::from_static(b"a*"),
                Retention {
                    maxlen: 5,
                    ttl_ms: 7000,
                },
            ),
            (
                Bytes::from_static(b"b"),
                Retention {
                    maxlen: 0,
                    ttl_ms: 300_000,
                },
            ),
        ];
        let expected = RulesChange {
            maxlen: Some(5),
            patterns: Some(patterns),
            ..RulesChange::default()
        };
        assert_eq!(changed, expected);
        let after = changed.applied_to(&rules);
        assert_eq!(
            value("history", &after).as_deref(),
            Some("a* maxlen 5 ttl 7 b maxlen 0 ttl 300")
        );
        assert_eq!(value("history-ttl", &after).as_deref(), Some("300"));
        let cleared = change(&pairs(&[("history", "")]), &after).expect("good values");
        assert_eq!(cleared.patterns, Some(Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |set: &[(&'static str, &'static str)]| {
            let (name, why) = change(&pairs(set), &Rules::default()).expect_err("wrong values");
            format!("{name}: {why}")
        };
        assert_eq!(
            wrong(&[("history-ttl", "1"), ("timeout", "1")]),
            "history: options of one node and of the cluster cannot be set together"
        );
        assert_eq!(
            wrong(&[("history", "a* maxlen many")]),
            "history: 'maxlen' takes a whole number"
        );
        assert_eq!(
            wrong(&[("history", "a*")]),
            "history: 'a*' is not followed by maxlen and a number, or ttl and seconds"
        );
        assert_eq!(
            wrong(&[("history", "a maxlen 1 a ttl 1")]),
            "history: the pattern 'a' is there twice"
        );
        assert_eq!(
            wrong(&[("history-maxlen", "1"), ("history-maxlen", "2")]),
            "history-maxlen: duplicate parameter"
        );
        assert!(wrong(&[("history-maxlen", "-1")]).starts_with("history-maxlen: "));
    }
}
