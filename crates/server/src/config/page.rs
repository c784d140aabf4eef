//! The table of options for people: `docs/config.md` and the list in `--help`.

use super::options::{Kind, OPTIONS, OptionSpec};
use std::fmt::Write;

/// Returns the text of `docs/config.md`. A test keeps the file equal to it.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Configuration\n\n\
         <!-- Written from the table in crates/server/src/config/options.rs; a test compares. \
         -->\n\n\
         Corgi starts as redis-server does:\n\n\
         ```sh\n\
         corgi-server                                  # one node on 127.0.0.1:6379, data in \
         ./data\n\
         corgi-server corgi.conf                       # options from a file\n\
         corgi-server corgi.conf --port 7000           # and from the command line, which wins\n\
         corgi-server - < corgi.conf                   # a file from standard input\n\
         corgi-server --check-config corgi.conf        # say what is wrong with it, start nothing\n\
         ```\n\n\
         A file has the syntax of redis.conf: one option a line, `name value …`; `#` starts a \
         line that is a\ncomment; `\"…\"` and `'…'` quote; `include path` reads another file in \
         its place. A later line replaces an\nearlier one. A name that is not in the table below \
         is an error, also if Redis knows it: nothing is ignored\nsilently. All that is wrong is \
         reported at once.\n\n\
         Memory sizes are written as in Redis: `1024`, `64kb`, `16mb`, `1gb` (and `1k` is 1000 \
         bytes). Times are\nmilliseconds, or written with a unit: `600`, `600ms`, `3s`.\n\n\
         A running node takes new values of the options marked with **set** by `CONFIG SET`, each node for \
         itself; `CONFIG\nREWRITE` writes them to its file. All others need a restart.\n\n\
         | option | takes | default | what it is for |\n|---|---|---|---|\n",
    );
    for spec in OPTIONS {
        let (kind, default) = (spec.kind_in_words(), spec.default_in_words());
        writeln!(
            out,
            "| `{}` | {kind} | {default} | {}{} |",
            spec.name,
            if spec.mutable { "**set** " } else { "" },
            spec.doc
        )
        .expect("a String takes all");
    }
    out
}

/// Returns one line for each option, for `--help`.
pub(super) fn help_lines() -> String {
    let mut out = String::new();
    for spec in OPTIONS {
        let default = spec.default_in_words().replace('`', "");
        let line = format!(
            "  --{:<28} {} (default: {default})",
            spec.name,
            spec.kind_in_words()
        );
        writeln!(out, "{}", line.trim_end()).expect("a String takes all");
    }
    out
}

impl OptionSpec {
    fn kind_in_words(&self) -> String {
        match self.kind {
            Kind::Integer { min, max } if max > 1 << 53 => format!("number, {min} or more"),
            Kind::Integer { min, max } => format!("number, {min} to {max}"),
            Kind::Signed { min, .. } => format!("number, {min} or more"),
            Kind::Memory { min, max } => {
                format!(
                    "memory size, {} to {}",
                    size_in_words(min),
                    size_in_words(max)
                )
            }
            Kind::Millis { min, max } => format!("time, {min} to {max} ms"),
            Kind::Octal => "permissions in octal".to_owned(),
            Kind::YesNo => "yes or no".to_owned(),
            Kind::Text => "text".to_owned(),
            Kind::Secret => "secret".to_owned(),
            Kind::Enum(words) => words.join(", "),
            Kind::List => "list".to_owned(),
        }
    }

    fn default_in_words(&self) -> String {
        match (self.derived, self.default) {
            (Some(from), _) => from.to_owned(),
            (None, "") => "none".to_owned(),
            (None, default) => format!("`{default}`"),
        }
    }
}

fn size_in_words(bytes: u64) -> String {
    [(30, "gb"), (20, "mb"), (10, "kb")]
        .into_iter()
        .find(|(shift, _)| bytes >= 1 << shift && bytes.is_multiple_of(1 << shift))
        .map_or_else(
            || bytes.to_string(),
            |(shift, unit)| format!("{}{unit}", bytes >> shift),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With `UPDATE_GOLDENFILES=1` the file is written instead, as for the golden scripts.
    #[test]
    fn the_page_of_options_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/config.md");
        if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
            std::fs::write(path, markdown()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            page == markdown(),
            "docs/config.md: write it with UPDATE_GOLDENFILES=1"
        );
    }
}
