//! How fast a client may publish: so many messages in any second, all at once if it has been quiet.
//!
//! Where the limit stands, time has been paid for up to [`Pace::paid_until`]: a message costs its part of a second, and
//! whoever has paid for more than a second ahead must wait. That needs one number a client, and no timer.

use corgi_base::Op;

/// A second, in the time of [`crate::Session::set_now`].
const SECOND: u64 = 1_000_000;

/// What one client has published lately.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    paid_until: u64,
}

impl Pace {
    /// Counts the messages among operations; `false`, with nothing counted, if they are too many for `rate` a second.
    /// A rate of 0 is no limit.
    pub(crate) fn allows(&mut self, ops: &[Op], rate: u64, now: u64) -> bool {
        let is_message = |op: &&Op| matches!(op, Op::Publish { .. } | Op::ShardPublish { .. });
        let messages = ops.iter().filter(is_message).count() as u64;
        if rate == 0 || messages == 0 {
            return true;
        }
        let paid = self.paid_until.max(now) + messages.saturating_mul(SECOND) / rate;
        let allowed = paid <= now + SECOND;
        if allowed {
            self.paid_until = paid;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn messages(count: usize) -> Vec<Op> {
        let message = Op::Publish {
            channel: Bytes::from_static(b"c"),
            payload: Bytes::new(),
        };
        vec![message; count]
    }

    #[test]
    fn a_second_holds_so_many_messages_however_they_come() {
        let mut pace = Pace::default();
        let (one, three) = (messages(1), messages(3));
        assert!(pace.allows(&three, 4, 10 * SECOND));
        assert!(pace.allows(&one, 4, 10 * SECOND));
        assert!(!pace.allows(&one, 4, 10 * SECOND), "the fifth");
        assert!(!pace.allows(&one, 4, 10 * SECOND + SECOND / 5));
        assert!(pace.allows(&one, 4, 10 * SECOND + SECOND / 4));
        assert!(
            !pace.allows(&three, 4, 10 * SECOND + SECOND / 2),
            "none of them"
        );
        assert!(pace.allows(&one, 4, 10 * SECOND + SECOND / 2));
        // A long silence is worth no more than a second.
        assert!(pace.allows(&messages(4), 4, 99 * SECOND));
        assert!(!pace.allows(&one, 4, 99 * SECOND));
    }

    #[test]
    fn without_a_rate_there_is_no_limit() {
        let mut pace = Pace::default();
        assert!(pace.allows(&messages(100_000), 0, 0));
        assert!(
            !pace.allows(&messages(3), 2, 0),
            "more than fit into any second"
        );
    }
}
