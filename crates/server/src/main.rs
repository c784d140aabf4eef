//! `corgi-server`: reads the command line and hands over to the library.
//!
//! Exit codes: 0 after an orderly stop, 1 for what went wrong while starting or running, 2 for a
//! command line or a configuration that cannot be used.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use corgi_server::config::{Command, Config, RawConfig, help, version};
use corgi_server::{Ended, dump_log, logging, run};

const FAILED: u8 = 1;
const UNUSABLE: u8 = 2;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    // As the parser sees it: a first argument without a dash is the configuration file.
    let file = args
        .first()
        .filter(|arg| !arg.as_encoded_bytes().starts_with(b"-"));
    let file = file.map(PathBuf::from);
    match Command::from_args(args, &mut io::stdin().lock()) {
        Ok(Command::Help) => print(&help()),
        Ok(Command::Version) => print(&version()),
        Ok(Command::DumpLog(dir)) => match dump_log(&dir) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&error, FAILED),
        },
        Ok(Command::CheckConfig(raw)) => configure(raw, |config| {
            let warnings = config
                .warnings()
                .iter()
                .map(|warning| format!("warning: {warning}\n"));
            print(&format!(
                "{}the configuration can be used",
                warnings.collect::<String>()
            ))
        }),
        Ok(Command::Run(raw)) => configure(raw, |config| serve(&config, file)),
        Err(error) => complain(&error.into(), UNUSABLE),
    }
}

fn configure(raw: RawConfig, then: impl FnOnce(Config) -> ExitCode) -> ExitCode {
    match Config::new(raw) {
        Ok(config) => then(config),
        Err(error) => complain(&error.into(), UNUSABLE),
    }
}

fn serve(config: &Config, file: Option<PathBuf>) -> ExitCode {
    let (log, guard) = match logging::start(config) {
        Ok(started) => started,
        Err(error) => {
            let path = config.logfile.clone().unwrap_or_default();
            let error = anyhow::Error::new(error).context(format!("open {}", path.display()));
            return complain(&error.context("start the log"), FAILED);
        }
    };
    logging::log_panics(&log);
    match run(config, file, guard.level(), &log) {
        Ok(Ended::Orderly) => ExitCode::SUCCESS,
        Ok(Ended::Failed) => ExitCode::from(FAILED),
        Err(error) => {
            if config.logfile.is_some() {
                slog::crit!(log, "cannot start"; "error" => format!("{error:#}"));
            }
            complain(&error, FAILED)
        }
    }
}

/// Nobody is left to be told if these two cannot be written, so that is no error.
fn print(text: &str) -> ExitCode {
    let _closed = writeln!(io::stdout(), "{}", text.trim_end());
    ExitCode::SUCCESS
}

fn complain(error: &anyhow::Error, code: u8) -> ExitCode {
    let _closed = writeln!(io::stderr(), "corgi-server: {error:#}");
    ExitCode::from(code)
}
