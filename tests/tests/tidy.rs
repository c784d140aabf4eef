//! House rules that no compiler checks: length of files and lines, leftovers, allowances without a reason.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Beyond this a file says in its header why it is long.
const FILE_LINES_MAX: usize = 700;

/// Rust is formatted to 100; this leaves room for text that rustfmt does not break, in any kind of file.
const LINE_COLUMNS_MAX: usize = 120;

/// The words that a long file's header must have.
const LONG_BECAUSE: &str = "long because";

/// Kinds of files that people write and read as text.
const READ: [&str; 9] = ["rs", "md", "toml", "py", "js", "yml", "yaml", "sh", "txt"];

/// Files that git knows or would add: not build output, not what is ignored.
fn files() -> Vec<PathBuf> {
    let root = corgi_tests::binary::repository();
    let output = Command::new("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "-z",
        ])
        .current_dir(root)
        .output()
        .expect("git can be run");
    assert!(
        output.status.success(),
        "git ls-files ended with {}",
        output.status
    );
    let listed = String::from_utf8(output.stdout).expect("names of our files are text");
    // A file that is deleted and not yet committed is still listed.
    listed
        .split_terminator('\0')
        .map(|name| root.join(name))
        .filter(|p| p.is_file())
        .collect()
}

fn kind(path: &Path) -> &str {
    path.extension()
        .and_then(|kind| kind.to_str())
        .unwrap_or_default()
}

#[test]
fn long_files_say_why() {
    for path in files().iter().filter(|path| kind(path) == "rs") {
        let text = fs::read_to_string(path).expect("our files can be read");
        let header = text.lines().take_while(|line| line.starts_with("//!"));
        let explained = header
            .map(str::to_lowercase)
            .any(|line| line.contains(LONG_BECAUSE));
        let lines = text.lines().count();
        assert!(
            lines <= FILE_LINES_MAX || explained,
            "{} has {lines} lines: split it, or say in its header \"{LONG_BECAUSE} …\"",
            path.display()
        );
    }
}

#[test]
fn lines_are_not_too_wide() {
    let mut complaints = Vec::new();
    // Generated, or given as they are.
    let exempt = |path: &Path| {
        path.ends_with("LICENSE")
            || path.ends_with("package-lock.json")
            || path.ends_with("docs/config.md")
    };
    for path in files()
        .iter()
        .filter(|path| READ.contains(&kind(path)) && !exempt(path))
    {
        let text = fs::read_to_string(path).expect("our files can be read");
        for (number, line) in (1..).zip(text.lines()) {
            let bare = line
                .trim_start()
                .trim_start_matches(['/', '!'])
                .trim_start();
            let table = bare.starts_with('|');
            // Messages: rustfmt leaves them, and a person who looks for one looks for words that follow each other.
            let message = kind(path) == "rs" && (bare.starts_with('"') || line.ends_with('\\'));
            let address = line.contains("https://");
            if line.chars().count() > LINE_COLUMNS_MAX && !table && !message && !address {
                complaints.push(format!("{}:{number}", path.display()));
            }
        }
    }
    assert!(
        complaints.is_empty(),
        "over {LINE_COLUMNS_MAX} columns:\n{}",
        complaints.join("\n")
    );
}

#[test]
fn nothing_is_left_for_later_in_silence() {
    // Put together here, so that this file does not complain of itself.
    let words = ["to".to_owned() + "do!", "unimpl".to_owned() + "emented!"];
    let marks = [
        "TO".to_owned() + "DO",
        "FIX".to_owned() + "ME",
        "XX".to_owned() + "X",
    ];
    let mut complaints = Vec::new();
    for path in files().iter().filter(|path| kind(path) == "rs") {
        let text = fs::read_to_string(path).expect("our files can be read");
        for (number, line) in (1..).zip(text.lines()) {
            let code = words.iter().any(|word| line.contains(word.as_str()));
            let mut parts = line.split(|c: char| !c.is_alphanumeric());
            if code || parts.any(|part| marks.iter().any(|mark| mark == part)) {
                complaints.push(format!("{}:{number}", path.display()));
            }
        }
    }
    assert!(
        complaints.is_empty(),
        "finish it, or say what is missing:\n{}",
        complaints.join("\n")
    );
}

#[test]
fn allowances_have_a_reason() {
    // `expect` is better, because it ends with its cause; code that several test binaries share cannot have it.
    let openings = ["#[".to_owned() + "allow(", "#![".to_owned() + "allow("];
    for path in files().iter().filter(|path| kind(path) == "rs") {
        let text = fs::read_to_string(path).expect("our files can be read");
        for opening in &openings {
            for (at, _) in text.match_indices(opening.as_str()) {
                let attribute = text[at..].split(")]").next().unwrap_or_default();
                let place = text[..at].lines().count() + 1;
                let path = path.display();
                assert!(
                    attribute.contains("reason = "),
                    "{path}:{place}: allowed without a reason"
                );
            }
        }
    }
}

#[test]
fn tests_neither_sleep_nor_are_skipped() {
    let sleep = "sle".to_owned() + "ep(";
    let ignore = "#[ign".to_owned() + "ore";
    let root = corgi_tests::binary::repository();
    // The one place that waits between two looks at a condition.
    let waiting = fs::read_to_string(root.join("tests/src/wait.rs")).expect("our file");
    assert!(
        waiting.contains(sleep.as_str()),
        "the exception is no longer needed"
    );
    for path in files().iter().filter(|path| kind(path) == "rs") {
        let text = fs::read_to_string(path).expect("our files can be read");
        assert!(
            !text.contains(ignore.as_str()),
            "{} skips a test",
            path.display()
        );
        let in_tests = path.components().any(|part| part.as_os_str() == "tests")
            || path
                .file_stem()
                .is_some_and(|name| name.to_string_lossy().ends_with("tests"));
        if in_tests && !path.ends_with("tests/src/wait.rs") {
            assert!(
                !text.contains(sleep.as_str()),
                "{} waits for a time",
                path.display()
            );
        }
    }
}

#[test]
fn pure_crates_forbid_iterating_over_hash_maps() {
    let root = corgi_tests::binary::repository();
    for name in [
        "base",
        "resp",
        "session",
        "bus",
        "state",
        "consensus",
        "node",
    ] {
        let text = fs::read_to_string(root.join("crates").join(name).join("src/lib.rs"))
            .expect("each crate has a lib.rs");
        let denied = text.contains("#![deny(clippy::iter_over_hash_type)]");
        assert!(
            denied,
            "crates/{name} may iterate in an order that differs between nodes"
        );
    }
}
