//! What was written, where: settings from files, standard input and the command line, in the order
//! in which they count.
//!
//! Nothing is decided here but names and syntax; what the values mean is [`super::Config`]'s
//! affair. Problems are collected, not returned at the first, so that all can be shown at once.

use super::options::{self, Kind, OptionSpec};
use super::split::split_args;
use crate::secret_file;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Deeper than this, files include each other in circles.
const INCLUDE_DEPTH_MAX: usize = 16;

/// Where a setting was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In a file, or in standard input.
    Line {
        /// The path as it was given.
        file: String,
        /// The line, counted from 1.
        line: usize,
    },
    /// On the command line.
    Argument(String),
    /// By `CONFIG SET`.
    Command,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => write!(f, "{file}:{line}"),
            Self::Argument(name) => write!(f, "--{name}"),
            Self::Command => f.write_str("CONFIG SET"),
        }
    }
}

/// One thing that is wrong, in the user's words. Shown on one line, whatever those are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written, if at one place.
    pub origin: Option<Origin>,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "{}: {}", OneLine(origin), OneLine(&self.text)),
            None => OneLine(&self.text).fmt(f),
        }
    }
}

/// Shows control characters as the escapes by which quotes in a file may name them.
pub(crate) struct OneLine<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for OneLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 4];
        for char in self.0.to_string().chars() {
            match char {
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                char if char.is_control() => {
                    for byte in char.encode_utf8(&mut bytes).bytes() {
                        write!(f, "\\x{byte:02x}")?;
                    }
                }
                char => f.write_char(char)?,
            }
        }
        Ok(())
    }
}

/// One option as it was written.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) spec: &'static OptionSpec,
    pub(crate) words: Vec<Vec<u8>>,
    pub(crate) origin: Origin,
}

/// Everything that was written. Its words may hold secrets, so it does not show them.
#[derive(Clone, Default)]
pub struct RawConfig {
    settings: Vec<Setting>,
    problems: Vec<Problem>,
    /// The permissions of each file that was read.
    modes: BTreeMap<String, u32>,
}

impl fmt::Debug for RawConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self
            .settings
            .iter()
            .map(|setting| setting.spec.name)
            .collect();
        f.debug_struct("RawConfig")
            .field("names", &names)
            .field("problems", &self.problems)
            .finish_non_exhaustive()
    }
}

impl RawConfig {
    /// Reads a file and those it includes. What cannot be read becomes a problem.
    pub fn add_file(&mut self, path: &Path) {
        self.read_file(path, None, 0);
    }

    /// Takes the text of a configuration that came from elsewhere than a file.
    pub fn add_text(&mut self, name: &str, text: &[u8]) {
        self.read_text(name, text, 0);
    }

    /// Takes one option of the command line: its name without `--`, and its values.
    pub fn add_argument(&mut self, name: &[u8], words: Vec<Vec<u8>>) {
        let origin = Origin::Argument(String::from_utf8_lossy(name).into_owned());
        if name.eq_ignore_ascii_case(b"include") {
            self.include(&words, origin, 0);
        } else {
            self.set(name, words, origin);
        }
    }

    /// Takes an option of `CONFIG SET`, in the place of what `CONFIG SET` said of it before.
    pub(crate) fn set_by_command(&mut self, spec: &'static OptionSpec, words: Vec<Vec<u8>>) {
        let others =
            |setting: &Setting| setting.spec.name != spec.name || setting.origin != Origin::Command;
        self.settings.retain(others);
        self.add_by_command(spec, words);
    }

    /// Takes an option of `CONFIG SET` beside what it said before: for options that are written part by part.
    pub(crate) fn add_by_command(&mut self, spec: &'static OptionSpec, words: Vec<Vec<u8>>) {
        self.settings.push(Setting {
            spec,
            words,
            origin: Origin::Command,
        });
    }

    /// Returns the words of each option whose value is not from a file: what a file must say to mean the same. Users
    /// are left out: those of the cluster are in its log.
    pub(crate) fn changed(&self) -> BTreeMap<&'static str, Vec<Vec<u8>>> {
        let mut last: BTreeMap<&'static str, &Setting> = BTreeMap::new();
        for setting in &self.settings {
            last.insert(setting.spec.name, setting);
        }
        let from_file = |setting: &Setting| matches!(setting.origin, Origin::Line { .. });
        let words = |setting: &Setting| match setting.spec.kind {
            Kind::List => {
                let words = setting.words.iter();
                let words = words.flat_map(|word| word.split(u8::is_ascii_whitespace));
                words
                    .filter(|word| !word.is_empty())
                    .map(<[u8]>::to_vec)
                    .collect()
            }
            _ => setting.words.clone(),
        };
        last.into_iter()
            .filter(|(name, setting)| *name != "user" && !from_file(setting))
            .map(|(name, setting)| (name, words(setting)))
            .collect()
    }

    /// Notes that something is wrong that is not a setting.
    pub(crate) fn add_problem(&mut self, origin: Option<Origin>, text: String) {
        self.problems.push(Problem { origin, text });
    }

    /// Takes what went wrong so far.
    pub(crate) fn take_problems(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.problems)
    }

    /// Returns all settings of a name, in order; the last one counts.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Setting> {
        self.settings
            .iter()
            .filter(move |setting| setting.spec.name == name)
    }

    /// Returns a warning for each file that sets a secret and that others may read.
    pub(crate) fn files_readable_by_others(&self) -> Vec<String> {
        let secret = |setting: &&Setting| {
            // Rules of users have passwords.
            setting.spec.kind == Kind::Secret || setting.spec.name == "user"
        };
        let mut warnings = BTreeMap::new();
        for setting in self.settings.iter().filter(secret) {
            if let Origin::Line { file, .. } = &setting.origin
                && let Some(mode) = self.modes.get(file)
                && let Some(warning) = secret_file::warning(file, secret_file::PASSWORDS, *mode)
            {
                warnings.insert(file, warning);
            }
        }
        warnings.into_values().collect()
    }

    fn read_file(&mut self, path: &Path, from: Option<Origin>, depth: usize) {
        let name = path.display().to_string();
        match read(path) {
            Ok((text, mode)) => {
                self.modes.insert(name.clone(), mode);
                self.read_text(&name, &text, depth);
            }
            Err(err) => {
                self.add_problem(
                    from,
                    format!("cannot read the configuration file {name}: {err}"),
                );
            }
        }
    }

    fn read_text(&mut self, file: &str, text: &[u8], depth: usize) {
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let origin = Origin::Line {
                file: file.to_owned(),
                line: number + 1,
            };
            let Some(mut words) = split_args(line) else {
                self.add_problem(
                    Some(origin),
                    "a quote is not closed, or not followed by a blank".to_owned(),
                );
                continue;
            };
            let name = words.remove(0);
            if name.eq_ignore_ascii_case(b"include") {
                self.include(&words, origin, depth);
            } else {
                self.set(&name, words, origin);
            }
        }
    }

    fn include(&mut self, words: &[Vec<u8>], origin: Origin, depth: usize) {
        let [path] = words else {
            let text = format!("include: takes one path, {} were given", words.len());
            self.add_problem(Some(origin), text);
            return;
        };
        if depth == INCLUDE_DEPTH_MAX {
            let text = format!("include: files are nested more than {INCLUDE_DEPTH_MAX} deep");
            self.add_problem(Some(origin), text);
            return;
        }
        let Ok(path) = std::str::from_utf8(path) else {
            self.add_problem(
                Some(origin),
                "include: the path is not UTF-8 text".to_owned(),
            );
            return;
        };
        self.read_file(Path::new(path), Some(origin), depth + 1);
    }

    fn set(&mut self, name: &[u8], words: Vec<Vec<u8>>, origin: Origin) {
        let name = String::from_utf8_lossy(name);
        if let Some(spec) = options::find(&name) {
            self.settings.push(Setting {
                spec,
                words,
                origin,
            });
            return;
        }
        let hint = options::nearest(&name)
            .map_or_else(String::new, |known| format!("; did you mean '{known}'?"));
        let text = format!("unknown option '{}'{hint}", name.escape_debug());
        self.add_problem(Some(origin), text);
    }
}

/// Returns what is in a file, and its permissions.
fn read(path: &Path) -> io::Result<(Vec<u8>, u32)> {
    let mut file = File::open(path)?;
    let mode = secret_file::mode(&file)?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok((text, mode))
}
