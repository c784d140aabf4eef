//! Whether a majority answers this node (P8).
//!
//! A node that is cut off, if only in one direction, looks alive to its subscribers: nothing
//! arrives, as in a quiet hour. So each node asks for a read index at least twice a second
//! ([`crate::reads`]), which takes a majority that hears the leader and a leader that hears this
//! node. If none is answered for `quorum-loss-timeout`, subscribers are closed, and new ones
//! refused, until one is.
//!
//! Time counts as far as the node lived through it: a process that was paused gets as long as any other to ask again.

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Lost,
    Found,
}

/// The watch of one node.
#[derive(Debug)]
pub(crate) struct Quorum {
    loss_ms: u64,
    /// The most that one look may count: more has passed in a pause.
    step_ms_max: u64,
    looked_ms: Option<u64>,
    confirmed_ms: Option<u64>,
    silent_ms: u64,
    lost: bool,
}

impl Quorum {
    /// Nothing is lost yet.
    pub(crate) fn new(loss_ms: u64) -> Self {
        Self {
            loss_ms,
            step_ms_max: probe_ms(loss_ms),
            looked_ms: None,
            confirmed_ms: None,
            silent_ms: 0,
            lost: false,
        }
    }

    /// Whether no majority answers.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Takes note of the time, and of when the last question was asked that a majority has answered.
    pub(crate) fn look(&mut self, now_ms: u64, confirmed_ms: Option<u64>) -> Option<Change> {
        let passed = now_ms - self.looked_ms.replace(now_ms).unwrap_or(now_ms);
        self.silent_ms += passed.min(self.step_ms_max);
        if confirmed_ms != self.confirmed_ms {
            self.confirmed_ms = confirmed_ms;
            // What was answered was asked after the last answered question: less time cannot have been lived since.
            let since = confirmed_ms.map_or(0, |asked| now_ms - asked);
            self.silent_ms = self.silent_ms.min(since);
            // A late answer to an early question says little.
            if self.silent_ms < self.loss_ms {
                return std::mem::take(&mut self.lost).then_some(Change::Found);
            }
        }
        if self.silent_ms < self.loss_ms || self.lost {
            return None;
        }
        self.lost = true;
        Some(Change::Lost)
    }
}

/// Returns how often a majority is asked for a sign of life: at least twice a second, and several
/// times before its loss.
pub(crate) fn probe_ms(loss_ms: u64) -> u64 {
    (loss_ms / 6).clamp(1, 500)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_a_loss_and_one_answer_ends_it() {
        let mut quorum = Quorum::new(3000);
        assert_eq!(quorum.look(1000, None), None);
        for now in (1010..4000).step_by(10) {
            assert_eq!(quorum.look(now, None), None, "at {now}");
        }
        assert_eq!(quorum.look(4000, None), Some(Change::Lost));
        assert_eq!(quorum.look(4010, None), None, "it is told once");
        assert!(quorum.is_lost());
        assert_eq!(quorum.look(4020, Some(4015)), Some(Change::Found));
        assert!(!quorum.is_lost());
        assert_eq!(quorum.look(4500, Some(4400)), None);
    }

    #[test]
    fn the_silence_begins_when_the_last_answered_question_was_asked() {
        let mut quorum = Quorum::new(3000);
        quorum.look(0, None);
        quorum.look(500, None);
        // The answer took a second; what happened meanwhile is not known.
        quorum.look(1000, Some(0));
        for now in (1010..3000).step_by(10) {
            assert_eq!(quorum.look(now, Some(0)), None, "at {now}");
        }
        assert_eq!(quorum.look(3000, Some(0)), Some(Change::Lost));
    }

    #[test]
    fn an_answer_to_a_question_of_long_ago_does_not_end_a_loss() {
        let mut quorum = Quorum::new(300);
        quorum.look(0, None);
        (0..1000).for_each(|now| _ = quorum.look(now, None));
        assert_eq!(quorum.look(1000, Some(600)), None);
        assert!(quorum.is_lost());
        assert_eq!(quorum.look(1001, Some(900)), Some(Change::Found));
    }

    #[test]
    fn a_pause_is_not_silence() {
        let mut quorum = Quorum::new(3000);
        quorum.look(0, None);
        quorum.look(10, Some(5));
        assert_eq!(
            quorum.look(60_000, Some(5)),
            None,
            "it has not lived through it"
        );
        // The answer to a question of before the pause comes after it.
        assert_eq!(quorum.look(60_010, Some(9)), None);
        assert!(!quorum.is_lost());
        assert_eq!(quorum.look(60_100, Some(60_050)), None);
    }
}
