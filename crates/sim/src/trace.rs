//! What a run leaves behind: a hash over all events, and the text of them where it is wanted.

use crate::history::Micros;
use slog::{Drain, KV, Never, OwnedKVList, Record, Serializer};
use std::collections::VecDeque;
use std::fmt;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What becomes of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// No text is made.
    Nothing,
    /// The last lines are kept.
    Last(usize),
    /// All lines are printed.
    Print,
}

/// The hash is of what happened; two runs of a seed must have the same.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    text: Option<Arc<Mutex<Text>>>,
}

#[derive(Debug)]
struct Text {
    now: Micros,
    event: u64,
    lines: VecDeque<String>,
    keep: Keep,
}

impl Trace {
    pub(crate) fn new(keep: Keep) -> Self {
        let text = (keep != Keep::Nothing).then(|| {
            Arc::new(Mutex::new(Text {
                now: 0,
                event: 0,
                lines: VecDeque::new(),
                keep,
            }))
        });
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            text,
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// Takes numbers into the hash.
    pub(crate) fn mix(&mut self, number: u64) {
        self.hash = (self.hash.rotate_left(5) ^ number).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    /// Takes bytes into the hash.
    pub(crate) fn mix_bytes(&mut self, bytes: &[u8]) {
        self.mix(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let word = chunk
                .iter()
                .fold(0, |word, byte| word << 8 | u64::from(*byte));
            self.mix(word);
        }
    }

    pub(crate) fn at(&mut self, now: Micros, event: u64) {
        if let Some(text) = &self.text {
            let mut text = lock(text);
            (text.now, text.event) = (now, event);
        }
    }

    pub(crate) fn say(&self, line: impl FnOnce() -> String) {
        if let Some(text) = &self.text {
            lock(text).push(&line());
        }
    }

    /// Returns the lines that were kept.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = self.text.as_ref();
        text.map_or_else(Vec::new, |text| lock(text).lines.iter().cloned().collect())
    }

    /// Returns a logger whose records stand among the lines.
    pub(crate) fn logger(&self) -> slog::Logger {
        match &self.text {
            Some(text) => slog::Logger::root(Records(text.clone()), slog::o!()),
            None => slog::Logger::root(slog::Discard, slog::o!()),
        }
    }
}

fn lock(text: &Mutex<Text>) -> MutexGuard<'_, Text> {
    text.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Text {
    fn push(&mut self, line: &str) {
        let (seconds, micros) = (self.now / 1_000_000, self.now % 1_000_000);
        let line = format!("{seconds:>3}.{micros:06} #{} {line}", self.event);
        match self.keep {
            Keep::Nothing => {}
            Keep::Last(max) => {
                self.lines.push_back(line);
                if self.lines.len() > max {
                    self.lines.pop_front();
                }
            }
            // Whoever closes the pipe has seen enough.
            Keep::Print => drop(writeln!(std::io::stdout(), "{line}")),
        }
    }
}

/// Writes slog's records of level info and above, without any clock.
struct Records(Arc<Mutex<Text>>);

impl Drain for Records {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        if !record.level().is_at_least(slog::Level::Info) {
            return Ok(());
        }
        let mut pairs = Pairs(String::new());
        // Formatting into a string does not fail.
        drop(record.kv().serialize(record, &mut pairs));
        drop(values.serialize(record, &mut pairs));
        let level = record.level().as_short_str();
        lock(&self.0).push(&format!("      {level} {}{}", record.msg(), pairs.0));
        Ok(())
    }
}

struct Pairs(String);

impl Serializer for Pairs {
    fn emit_arguments(&mut self, key: slog::Key, value: &fmt::Arguments<'_>) -> slog::Result {
        self.0.push_str(&format!(" {key}={value}"));
        Ok(())
    }
}
