//! Any text as a configuration file: it is a configuration or problems in words, and a configuration reads back as
//! itself. Beside random text, the files of `fuzz/corpus/conf`.

use super::options::{Kind, OPTIONS, OptionSpec};
use super::{Config, RawConfig};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::fs;
use std::path::Path;

/// Values that some option takes, and such as nearly are.
const VALUES: [&str; 26] = [
    "0",
    "1",
    "-1",
    "2",
    "65535",
    "65536",
    "18446744073709551616",
    "1kb",
    "64MB",
    "1g",
    "10x",
    "5s",
    "100ms",
    "0700",
    "yes",
    "No",
    "\"\"",
    "127.0.0.1 -::1 *",
    "\"a b\"",
    "'",
    "\"\\x00\\n\"",
    "normal 1mb 0 0",
    "pubsub 0 0 0",
    "1=127.0.0.1:7001,2=h:1",
    "debug",
    "json",
];

/// Not those that name other files or are shown in part only.
fn is_plain(spec: &OptionSpec) -> bool {
    spec.kind != Kind::Secret && spec.name != "user" && !spec.name.ends_with("file")
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let names: Vec<&str> = OPTIONS
        .iter()
        .filter(|spec| is_plain(spec))
        .map(|spec| spec.name)
        .collect();
    let written = (select(names), vec(select(&VALUES[..]), 0..3));
    prop_oneof![
        6 => written.prop_map(|(name, values)| format!("{name} {}", values.join(" ")).into_bytes()),
        1 => vec(any::<u8>().prop_filter("includes", |byte| *byte != b'/'), 0..40),
        1 => select(&b" \t\r\x0b\0#\"'\\x4"[..]).prop_map(|byte| vec![byte; 3]),
    ]
}

fn check(text: &[u8]) {
    let mut raw = RawConfig::default();
    raw.add_text("a.conf", text);
    match Config::new(raw) {
        Ok(config) => {
            let lines = config.effective().iter();
            let shown: String = lines
                .map(|(name, value)| format!("{name} {value}\n"))
                .collect();
            let mut again = RawConfig::default();
            again.add_text("b.conf", shown.as_bytes());
            let again = Config::new(again).unwrap_or_else(|error| panic!("{error}, of {shown}"));
            assert_eq!(again.effective(), config.effective());
        }
        Err(error) => {
            assert!(!error.problems.is_empty());
            for problem in error.problems {
                let shown = problem.to_string();
                assert!(!shown.contains(char::is_control), "{problem:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_lines_are_a_configuration_or_problems(lines in vec(line(), 0..4)) {
        check(&lines.join(&b'\n'));
    }
}

#[test]
fn the_corpus_is_a_configuration_or_problems() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/conf");
    let files: Vec<_> = fs::read_dir(folder).unwrap().collect();
    assert!(files.len() > 3);
    for file in files {
        check(&fs::read(file.unwrap().path()).unwrap());
    }
}
