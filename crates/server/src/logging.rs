//! Logging: one root logger, for people or for programs.
//!
//! ```text
//!   any thread ──record──▶ level ──▶ queue ──▶ thread "log" ──▶ standard error or logfile
//!                            └─── critical records ───────────▶ written at once
//! ```
//!
//! Invariants
//! - No record is dropped: whoever logs into a full queue waits.
//! - Every record is one line, whatever a client or a peer put into it: control characters are
//!   escaped.
//! - A critical record is on its way to the system before the call returns, because the process
//!   ends next.
//! - raft-rs' own records (`mod=raft`) are never shown below `info`: at `debug` it prints whole
//!   messages, and payloads are never logged.
//!
//! Not here: rotation (rename the file and restart), colours.

use crate::config::{Config, LogFormat};
use slog::{Drain, KV, Key, Level, Logger, Never, OwnedKVList, Record, o};
use slog_async::{Async, AsyncGuard, OverflowStrategy};
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Records that may wait for the log thread: a second or so of a busy debug log.
const QUEUE_RECORDS: usize = 4096;

/// Writes out what is queued when it is dropped: keep it until the end of `main`, and let nothing
/// end the process before.
#[must_use = "the queued lines are lost when the process ends without it"]
pub struct LogGuard {
    _queue: AsyncGuard,
    level: LevelSwitch,
}

impl LogGuard {
    /// Returns what says how much is logged.
    pub fn level(&self) -> LevelSwitch {
        self.level.clone()
    }
}

impl fmt::Debug for LogGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogGuard").finish_non_exhaustive()
    }
}

/// Starts the log as `loglevel`, `logfile` and `log-format` say.
///
/// # Errors
/// If the log file cannot be opened.
pub fn start(config: &Config) -> io::Result<(Logger, LogGuard)> {
    let out: Box<dyn Write + Send> = match &config.logfile {
        Some(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
        None => Box::new(io::stderr()),
    };
    Ok(to_writer(out, config.log_format, config.loglevel))
}

/// The least important level that is logged. Its copies are one.
#[derive(Clone, Debug)]
pub struct LevelSwitch(Arc<AtomicUsize>);

impl LevelSwitch {
    fn new(level: Level) -> Self {
        Self(Arc::new(AtomicUsize::new(level.as_usize())))
    }

    /// Logs from now on what is at least as important as `level`.
    pub fn set(&self, level: Level) {
        self.0.store(level.as_usize(), Ordering::Relaxed);
    }

    fn lets_through(&self, level: Level) -> bool {
        level.as_usize() <= self.0.load(Ordering::Relaxed)
    }
}

impl Default for LevelSwitch {
    fn default() -> Self {
        Self::new(Level::Info)
    }
}

/// Logs panics before they end the process, which a queued record would not survive.
pub fn log_panics(log: &Logger) {
    let log = log.clone();
    std::panic::set_hook(Box::new(move |info| {
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        let payload = info.payload();
        let text = payload
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        slog::crit!(log, "panic, a bug in Corgi"; "location" => location, "error" => text);
    }));
}

fn to_writer(out: Box<dyn Write + Send>, format: LogFormat, level: Level) -> (Logger, LogGuard) {
    let line = OneLine {
        line: Vec::new(),
        out,
    };
    let format: Box<dyn Drain<Ok = (), Err = io::Error> + Send> = match format {
        LogFormat::Term => {
            let decorator = slog_term::PlainDecorator::new(line);
            Box::new(
                slog_term::FullFormat::new(decorator)
                    .use_utc_timestamp()
                    .build(),
            )
        }
        LogFormat::Json => {
            let json = slog_json::Json::new(line)
                .add_default_keys()
                .set_flush(true);
            Box::new(json.build())
        }
    };
    let output = Output(Arc::new(Mutex::new(format)));
    let (queue, guard) = Async::new(output.clone())
        .chan_size(QUEUE_RECORDS)
        .overflow_strategy(OverflowStrategy::Block)
        .thread_name("log".to_owned())
        .build_with_guard();
    let level = LevelSwitch::new(level);
    let root = Root {
        level: level.clone(),
        queue,
        output,
    };
    let guard = LogGuard {
        _queue: guard,
        level,
    };
    (Logger::root(root, o!()), guard)
}

/// The end of the way, shared by the log thread and critical records.
#[derive(Clone)]
struct Output(Arc<Mutex<Box<dyn Drain<Ok = (), Err = io::Error> + Send>>>);

impl Drain for Output {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        let format = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A log that cannot be written, as on a full disk, must not stop the server; there is no
        // better place left to say so.
        let _lost = format.log(record, values);
        Ok(())
    }
}

struct Root {
    level: LevelSwitch,
    queue: Async,
    output: Output,
}

impl Drain for Root {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        if !self.is_enabled(record.level()) {
            return Ok(());
        }
        if !record.level().is_at_least(Level::Info) && is_raft(record, values) {
            return Ok(());
        }
        if record.level() == Level::Critical {
            return self.output.log(record, values);
        }
        // Fails only when the guard is gone, at the very end of the process.
        if self.queue.log(record, values).is_err() {
            return self.output.log(record, values);
        }
        Ok(())
    }

    fn is_enabled(&self, level: Level) -> bool {
        self.level.lets_through(level)
    }
}

fn is_raft(record: &Record<'_>, values: &OwnedKVList) -> bool {
    struct Find(bool);
    impl slog::Serializer for Find {
        fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
            self.0 |= key == "mod" && value.to_string() == "raft";
            Ok(())
        }

        fn emit_str(&mut self, key: Key, value: &str) -> slog::Result {
            self.0 |= key == "mod" && value == "raft";
            Ok(())
        }
    }
    let mut find = Find(false);
    // A value that cannot be shown is not the one that is looked for.
    let _unshown = values.serialize(record, &mut find);
    find.0
}

/// Collects a record and writes it as one line, with one call.
struct OneLine {
    line: Vec<u8>,
    out: Box<dyn Write + Send>,
}

impl Write for OneLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let record = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        if record.is_empty() {
            return Ok(());
        }
        let mut line = Vec::with_capacity(self.line.len());
        for byte in record {
            if byte.is_ascii_control() {
                write!(line, "\\x{byte:02x}")?;
            } else {
                line.push(*byte);
            }
        }
        line.push(b'\n');
        self.line.clear();
        self.out.write_all(&line)?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slog::{crit, debug, info, warn};

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Memory {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn records_of_any_content_are_one_line_each() {
        let memory = Memory::default();
        let (log, guard) = to_writer(Box::new(memory.clone()), LogFormat::Term, Level::Info);
        for i in 0..2 * QUEUE_RECORDS {
            info!(log, "said"; "channel" => "a\n\x1b[2J", "i" => i);
        }
        debug!(log, "hidden");
        drop(guard);
        let text = memory.text();
        assert_eq!(text.lines().count(), 2 * QUEUE_RECORDS, "none is dropped");
        assert!(
            text.contains(r"a\x0a\x1b[2J"),
            "{}",
            text.lines().next().unwrap()
        );
        assert!(!text.contains("hidden"));
    }

    #[test]
    fn json_lines_hold_the_keys() {
        let memory = Memory::default();
        let (log, guard) = to_writer(Box::new(memory.clone()), LogFormat::Json, Level::Warning);
        let log = log.new(o!("node" => 1));
        info!(log, "hidden");
        warn!(log, "odd"; "error" => "a\nb");
        drop(guard);
        let text = memory.text();
        assert_eq!(text.lines().count(), 1);
        for part in [
            r#""msg":"odd""#,
            r#""level":"WARN""#,
            r#""node":1"#,
            r#""error":"a\nb""#,
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn raft_is_never_shown_below_info() {
        let memory = Memory::default();
        let (log, guard) = to_writer(Box::new(memory.clone()), LogFormat::Term, Level::Trace);
        let raft = log.new(o!("mod" => "raft")).new(o!("term" => 1));
        debug!(raft, "a whole message");
        info!(raft, "became leader");
        debug!(log.new(o!("mod" => "peers")), "connected");
        drop(guard);
        let text = memory.text();
        assert!(!text.contains("a whole message"));
        assert!(text.contains("became leader") && text.contains("connected"));
    }

    #[test]
    fn critical_records_are_written_before_the_call_returns() {
        let memory = Memory::default();
        let (log, _guard) = to_writer(Box::new(memory.clone()), LogFormat::Term, Level::Info);
        crit!(log, "the disk failed");
        assert!(memory.text().contains("the disk failed"));
    }
}
