//! Configuration files: any text is a configuration or problems in words, one line each, and a configuration that is
//! shown reads back as itself.
#![no_main]

use corgi_server::config::options::Kind;
use corgi_server::config::{Config, RawConfig};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // Other files are none of the input: `include` and the like could name one that never ends.
    if data.contains(&b'/') || contains(data, b"\\x2f") {
        return;
    }
    let Some(config) = read(data) else { return };
    let written = |line: &(&str, String)| format!("{} {}\n", line.0, line.1);
    let shown: String = config.effective().iter().map(written).collect();
    if shows_in_part(data) {
        return;
    }
    let again = read(shown.as_bytes()).unwrap_or_else(|| panic!("not read back: {shown}"));
    assert_eq!(again.effective(), config.effective());
});

fn read(text: &[u8]) -> Option<Config> {
    let mut raw = RawConfig::default();
    raw.add_text("a.conf", text);
    match Config::new(raw) {
        Ok(config) => {
            for warning in config.warnings() {
                assert!(!warning.contains('\n'), "{warning:?}");
            }
            Some(config)
        }
        Err(error) => {
            assert!(!error.problems.is_empty());
            for problem in error.problems {
                let shown = problem.to_string();
                assert!(!shown.contains(char::is_control), "{problem:?}");
            }
            None
        }
    }
}

/// Whether the text may have secrets, of which only is shown that they are set, or users, who have such.
fn shows_in_part(text: &[u8]) -> bool {
    let options = corgi_server::config::options::OPTIONS.iter();
    let mut partly = options.filter(|spec| spec.kind == Kind::Secret || spec.name == "user");
    partly.any(|spec| contains(text, spec.name.as_bytes()))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len())
        .any(|window| window.eq_ignore_ascii_case(part))
}
