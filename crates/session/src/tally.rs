//! What became of commands: for `INFO commandstats`, `SLOWLOG` and `LATENCY`.
//!
//! A command takes from when it is executed until its reply is known; for a write that is until it is committed, synced
//! and applied. Its caller says what time it is ([`crate::Session::set_now`]); the session looks itself only when a
//! command has ended that needs nobody else ([`crate::Env::clock`]). Commands of one kind that began and ended at the
//! same times are counted together, so that a pipeline costs one line.

use crate::ask::Seq;
use crate::table::{Flags, Spec};
use bytes::Bytes;
use corgi_resp::Reply;
use std::collections::VecDeque;

/// What became of a few commands of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The full name, as in `client|id`; `None` for a command that does not exist.
    pub command: Option<&'static str>,
    /// How many.
    pub calls: u64,
    /// How long each took.
    pub micros: u64,
    /// How it went.
    pub outcome: Outcome,
    /// The first word of the error, if there was one.
    pub error: Option<Bytes>,
    /// What the client sent, secrets left out; only of a command that took long, which is alone then.
    pub args: Option<Vec<Bytes>>,
}

/// How a command went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it should.
    Done,
    /// It was refused before it began.
    Rejected,
    /// It ended with an error.
    Failed,
}

/// A command as `MONITOR` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The database that the connection has chosen.
    pub database: u32,
    /// What the client sent, secrets left out.
    pub args: Vec<Bytes>,
}

/// A command that is under way.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) spec: &'static Spec,
    pub(crate) at: u64,
    pub(crate) args: Option<Vec<Bytes>>,
}

/// Commands under way, and those that have finished since they were last taken.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) now: u64,
    /// From how many microseconds on a command is slow.
    pub(crate) slow: Option<u64>,
    /// Commands are shown to others.
    pub(crate) observed: bool,
    shown: Vec<Shown>,
    head: u64,
    begun: VecDeque<Option<Begun>>,
    finished: Vec<Finished>,
}

impl Tally {
    /// Notes a command that was refused.
    pub(crate) fn rejected(&mut self, spec: Option<&'static Spec>, error: &Bytes) {
        self.add(Finished {
            command: spec.map(|spec| spec.name),
            calls: 1,
            micros: 0,
            outcome: Outcome::Rejected,
            error: Some(code(error)),
            args: None,
        });
    }

    /// Returns whether anybody wants to know what the client sends.
    pub(crate) fn keeps_args(&self) -> bool {
        self.slow.is_some() || self.observed
    }

    /// Shows a command that begins; those of administrators are not shown, as in Redis.
    pub(crate) fn show(&mut self, spec: &Spec, database: u32, args: Option<&Vec<Bytes>>) {
        if let Some(args) = args
            && self.observed
            && !spec.flags.contains(Flags::ADMIN)
            && !spec.flags.contains(Flags::SKIP_MONITOR)
        {
            let args = args.clone();
            self.shown.push(Shown { database, args });
        }
    }

    /// Takes what is to be shown.
    pub(crate) fn take_shown(&mut self) -> Vec<Shown> {
        std::mem::take(&mut self.shown)
    }

    /// Begins a command that is executed now.
    pub(crate) fn begin(&self, spec: &'static Spec, args: Option<Vec<Bytes>>) -> Begun {
        Begun {
            spec,
            at: self.now,
            args,
        }
    }

    /// Lets a command wait for its reply.
    pub(crate) fn wait(&mut self, seq: Seq, begun: Begun) {
        if self.begun.is_empty() {
            self.head = seq.0;
        }
        while self.head + (self.begun.len() as u64) < seq.0 {
            self.begun.push_back(None);
        }
        self.begun.push_back(Some(begun));
    }

    /// Counts the time of a command that waits from now on.
    pub(crate) fn resume(&mut self, seq: Seq) {
        let at = seq.0.checked_sub(self.head);
        let at = at.and_then(|at| usize::try_from(at).ok());
        let slot = at.and_then(|at| self.begun.get_mut(at));
        if let Some(Some(begun)) = slot {
            begun.at = self.now;
        }
    }

    /// Ends a command that waited.
    pub(crate) fn replied(&mut self, seq: Seq, reply: Option<&Reply>) {
        let at = seq.0.checked_sub(self.head);
        let slot = at
            .and_then(|at| usize::try_from(at).ok())
            .and_then(|at| self.begun.get_mut(at));
        if let Some(begun) = slot.and_then(Option::take) {
            self.end(begun, reply);
        }
        while self.begun.front().is_some_and(Option::is_none) {
            self.begun.pop_front();
            self.head += 1;
        }
    }

    /// Ends a command.
    pub(crate) fn end(&mut self, begun: Begun, reply: Option<&Reply>) {
        let micros = self.now.saturating_sub(begun.at);
        let error = match reply {
            Some(Reply::Error(text)) => Some(code(text)),
            _ => None,
        };
        let slow = self.slow.is_some_and(|slow| micros >= slow);
        self.add(Finished {
            command: Some(begun.spec.name),
            calls: 1,
            micros,
            outcome: if error.is_some() {
                Outcome::Failed
            } else {
                Outcome::Done
            },
            error,
            args: begun.args.filter(|_| slow),
        });
    }

    /// Takes what has finished.
    pub(crate) fn take(&mut self) -> Vec<Finished> {
        std::mem::take(&mut self.finished)
    }

    fn add(&mut self, more: Finished) {
        if let Some(last) = self.finished.last_mut()
            && last.args.is_none()
            && more.args.is_none()
            && (last.command, last.micros, last.outcome)
                == (more.command, more.micros, more.outcome)
            && last.error == more.error
        {
            last.calls += more.calls;
        } else {
            self.finished.push(more);
        }
    }
}

/// Returns the first word of an error.
fn code(text: &Bytes) -> Bytes {
    let end = text.iter().position(|byte| *byte == b' ');
    text.slice(..end.unwrap_or(text.len()).min(64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::find;

    fn spec() -> &'static Spec {
        find(b"publish").expect("in the table")
    }

    #[test]
    fn waiting_for_others_is_no_time_that_a_command_takes() {
        let mut tally = Tally::default();
        let begun = tally.begin(spec(), None);
        tally.wait(Seq(0), begun);
        tally.now = 5_000_000;
        tally.resume(Seq(0));
        tally.now = 5_000_007;
        tally.replied(Seq(0), None);
        assert_eq!(tally.take()[0].micros, 7);
    }

    #[test]
    fn commands_that_took_the_same_time_are_one_line() {
        let mut tally = Tally::default();
        for seq in 0..3 {
            let begun = tally.begin(spec(), None);
            tally.wait(Seq(seq), begun);
        }
        tally.now = 70;
        for seq in [1, 0] {
            tally.replied(Seq(seq), Some(&Reply::Integer(1)));
        }
        tally.now = 90;
        tally.replied(Seq(2), Some(&Reply::error("TRYAGAIN later")));
        let took = tally.take();
        assert_eq!(took.len(), 2);
        assert_eq!((took[0].calls, took[0].micros), (2, 70));
        assert_eq!(
            (took[0].outcome, took[1].outcome),
            (Outcome::Done, Outcome::Failed)
        );
        assert_eq!(took[1].error.as_deref(), Some(&b"TRYAGAIN"[..]));
        assert!(tally.take().is_empty() && tally.begun.is_empty());
    }

    #[test]
    fn commands_between_those_that_wait_leave_no_gap() {
        let mut tally = Tally::default();
        for seq in [4, 7] {
            let begun = tally.begin(spec(), None);
            tally.wait(Seq(seq), begun);
        }
        tally.replied(Seq(7), None);
        tally.replied(Seq(5), None);
        assert_eq!(tally.take().len(), 1, "only 7 waited");
        tally.replied(Seq(4), None);
        assert!(tally.begun.is_empty());
    }

    #[test]
    fn only_slow_commands_keep_what_was_sent() {
        let mut tally = Tally {
            slow: Some(10),
            ..Tally::default()
        };
        let args = || Some(vec![Bytes::from_static(b"publish")]);
        let (fast, slow) = (tally.begin(spec(), args()), tally.begin(spec(), args()));
        tally.now = 9;
        tally.end(fast, None);
        tally.now = 10;
        tally.end(slow, None);
        let took = tally.take();
        assert_eq!(
            (took[0].args.is_some(), took[1].args.is_some()),
            (false, true)
        );
    }
}
