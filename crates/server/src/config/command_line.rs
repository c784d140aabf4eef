//! The command line of `corgi-server`, with the rules of redis-server.

use super::page;
use super::raw::RawConfig;
use super::split::split_args;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// What the command line asks for.
#[derive(Debug)]
pub enum Command {
    /// Run with this configuration.
    Run(RawConfig),
    /// Say what is wrong with this configuration and run nothing.
    CheckConfig(RawConfig),
    /// Print the log of the stopped node whose data is in this folder.
    DumpLog(PathBuf),
    /// Print [`help`].
    Help,
    /// Print [`version`].
    Version,
}

/// A command line that cannot be understood. The process exits with 2.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} (corgi-server --help shows what can be given)")]
pub struct UsageError(String);

impl Command {
    /// Reads the command line without the program's name, the files that it names, and standard
    /// input if it says `-`.
    ///
    /// As with redis-server the first argument may be a file; `-`, first or last, is a file from
    /// standard input; then come `--name value …`. What follows a name directly is its value, even
    /// if it begins with `--`; and `--name value` may also be one argument. See
    /// <https://redis.io/docs/latest/operate/oss_and_stack/management/config/>.
    ///
    /// # Errors
    /// [`UsageError`] for arguments in places where they mean nothing. Wrong names and values are
    /// not errors here: [`super::Config::new`] reports them, together.
    pub fn from_args(
        args: impl IntoIterator<Item = OsString>,
        stdin: &mut dyn Read,
    ) -> Result<Self, UsageError> {
        let args: Vec<Vec<u8>> = args.into_iter().map(OsStringExt::into_vec).collect();
        match args.first().map(Vec::as_slice) {
            Some(b"-h" | b"--help") => return Ok(Self::Help),
            Some(b"-v" | b"--version") => return Ok(Self::Version),
            Some(b"--dump-log") => {
                let [_, dir] = args.as_slice() else {
                    return Err(UsageError("--dump-log takes one data folder".to_owned()));
                };
                return Ok(Self::DumpLog(OsString::from_vec(dir.clone()).into()));
            }
            _ => {}
        }
        Reading {
            raw: RawConfig::default(),
            check: false,
        }
        .read(&args, stdin)
    }
}

struct Reading {
    raw: RawConfig,
    check: bool,
}

impl Reading {
    fn read(mut self, args: &[Vec<u8>], stdin: &mut dyn Read) -> Result<Command, UsageError> {
        let (mut rest, mut stdin_asked) = (args, false);
        if let [flag, ..] = rest
            && flag == b"--check-config"
        {
            self.check = true;
            rest = &rest[1..];
        }
        if let [file, ..] = rest
            && !file.starts_with(b"-")
        {
            self.file(file);
            rest = &rest[1..];
        }
        if let [dash, after @ ..] = rest
            && dash == b"-"
        {
            stdin_asked = true;
            rest = after;
        } else if let [before @ .., dash] = rest
            && dash == b"-"
        {
            stdin_asked = true;
            rest = before;
        }
        if stdin_asked {
            self.standard_input(stdin);
        }
        self.options(rest)?;
        Ok(if self.check {
            Command::CheckConfig(self.raw)
        } else {
            Command::Run(self.raw)
        })
    }

    fn file(&mut self, path: &[u8]) {
        let path = OsString::from_vec(path.to_vec());
        self.raw.add_file(Path::new(&path));
    }

    fn standard_input(&mut self, stdin: &mut dyn Read) {
        let mut text = Vec::new();
        match stdin.read_to_end(&mut text) {
            Ok(_) => self.raw.add_text("(standard input)", &text),
            Err(err) => {
                let text = format!("cannot read the configuration from standard input: {err}");
                self.raw.add_problem(None, text);
            }
        }
    }

    fn options(&mut self, mut rest: &[Vec<u8>]) -> Result<(), UsageError> {
        while let [argument, after @ ..] = rest {
            rest = after;
            let Some(name) = argument.strip_prefix(b"--") else {
                let shown = String::from_utf8_lossy(argument);
                return Err(UsageError(format!("'{shown}' is not expected here")));
            };
            if name == b"check-config" {
                self.check = true;
                if let [file, after @ ..] = rest
                    && !file.starts_with(b"-")
                {
                    self.file(file);
                    rest = after;
                }
                continue;
            }
            let Some(mut words) = split_args(name) else {
                // Not all of it: it may be a password.
                let shown = name.split(|byte| *byte == b' ').next().unwrap_or_default();
                let shown = String::from_utf8_lossy(shown);
                return Err(UsageError(format!(
                    "a quote is not closed behind '--{shown}'"
                )));
            };
            if words.is_empty() {
                return Err(UsageError("'--' must be followed by a name".to_owned()));
            }
            let name = words.remove(0);
            // The first value may look like a name, because a password may.
            let first = usize::from(words.is_empty() && !rest.is_empty());
            let more = rest[first..]
                .iter()
                .take_while(|word| !word.starts_with(b"--"))
                .count();
            let (values, after) = rest.split_at(first + more);
            words.extend(values.iter().cloned());
            rest = after;
            self.raw.add_argument(&name, words);
        }
        Ok(())
    }
}

/// Returns the version line, in the form of redis-server's.
pub fn version() -> String {
    format!("Corgi server v={}", env!("CARGO_PKG_VERSION"))
}

/// Returns the text of `--help`.
pub fn help() -> String {
    format!(
        "{}\n\n\
         A fault-tolerant message bus that speaks the Redis protocol.\n\n\
         Usage: corgi-server [corgi.conf | -] [--name value ...]\n       \
         corgi-server --check-config [corgi.conf] [--name value ...]\n       \
         corgi-server --dump-log DIR\n       \
         corgi-server -h | --help | -v | --version\n\n\
         Examples:\n  \
         corgi-server                        one node on 127.0.0.1:6379, data in ./data\n  \
         corgi-server corgi.conf             options from a file, as in redis.conf\n  \
         corgi-server --port 7777 --dir /var/lib/corgi\n  \
         corgi-server corgi.conf --loglevel verbose\n  \
         corgi-server - < corgi.conf         a file from standard input\n\n\
         Options (docs/config.md says more):\n{}",
        version(),
        page::help_lines()
    )
}
