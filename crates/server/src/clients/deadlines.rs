//! Until when a client must have said something.
//!
//! | of whom | what | until |
//! |---|---|---|
//! | anybody who neither listens, also as a monitor, nor waits | anything | `timeout` after the last byte in either direction |
//! | a stranger, where there is a password or TLS | `AUTH` or `HELLO … AUTH` with it, a whole handshake | [`STRANGER_MAX`] after it came |
//! | who has begun a request | the rest of it, or [`PROGRESS_BYTES`] | [`REQUEST_MAX`] after its last progress |
//!
//! The second and the third keep those who come to hold connections, and never say anything whole, from holding them
//! for ever. Who is not read at the moment, because it is ahead of its answers, need not send.

use std::time::Duration;

use corgi_session::Seq;
use tokio::time::Instant;

/// What a client library needs for its password, on a slow network.
pub(crate) const STRANGER_MAX: Duration = Duration::from_secs(10);
/// A client that means well has its request ready when it begins to send it.
pub(crate) const REQUEST_MAX: Duration = Duration::from_secs(30);
/// A large message on a slow network brings so much in that time.
const PROGRESS_BYTES: usize = 64 << 10;

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// `timeout`; zero for none.
    pub(crate) idle: Duration,
    /// Usually [`STRANGER_MAX`].
    pub(crate) stranger: Duration,
    /// Usually [`REQUEST_MAX`].
    pub(crate) request: Duration,
}

impl Patience {
    /// With `timeout` and the usual bounds.
    pub(crate) fn new(idle: Duration) -> Self {
        Self {
            idle,
            stranger: STRANGER_MAX,
            request: REQUEST_MAX,
        }
    }
}

/// How a client stands at the end of a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// It has shown a password, or there is none; and hands are shaken, if they are.
    pub(crate) authenticated: bool,
    /// The request that has begun and is not whole, while its client is read.
    pub(crate) unfinished: Option<Seq>,
    /// It may say nothing for ever: it listens, or waits for an answer.
    pub(crate) may_idle: bool,
}

#[derive(Clone, Copy, Debug)]
struct Begun {
    request: Seq,
    at: Instant,
    bytes: usize,
}

/// The clocks of one connection.
#[derive(Debug)]
pub(crate) struct Deadlines {
    patience: Patience,
    /// When something last came from the client or went to it.
    active: Instant,
    stranger_since: Option<Instant>,
    begun: Option<Begun>,
    may_idle: bool,
}

impl Deadlines {
    /// Starts when a client is accepted.
    pub(crate) fn new(patience: Patience, now: Instant) -> Self {
        Self {
            patience,
            active: now,
            stranger_since: None,
            begun: None,
            may_idle: false,
        }
    }

    /// Takes a new `timeout`; zero for none.
    pub(crate) fn set_idle(&mut self, idle: Duration) {
        self.patience.idle = idle;
    }

    /// Bytes came.
    pub(crate) fn received(&mut self, now: Instant, bytes: usize) {
        self.active = now;
        if let Some(begun) = &mut self.begun {
            begun.bytes += bytes;
            if begun.bytes >= PROGRESS_BYTES {
                (begun.at, begun.bytes) = (now, 0);
            }
        }
    }

    /// Bytes went.
    pub(crate) fn sent(&mut self, now: Instant) {
        self.active = now;
    }

    /// Takes how the client stands now.
    pub(crate) fn stands(&mut self, now: Instant, standing: Standing) {
        self.may_idle = standing.may_idle;
        if standing.authenticated {
            self.stranger_since = None;
        } else {
            self.stranger_since.get_or_insert(now);
        }
        self.begun = standing.unfinished.map(|request| {
            let same = self.begun.filter(|begun| begun.request == request);
            same.unwrap_or(Begun {
                request,
                at: now,
                bytes: 0,
            })
        });
    }

    /// Returns when the connection ends if nothing changes.
    pub(crate) fn next(&self) -> Option<Instant> {
        let idle = !self.patience.idle.is_zero() && !self.may_idle;
        let idle = idle.then(|| self.active + self.patience.idle);
        let stranger = self.stranger_since.map(|at| at + self.patience.stranger);
        let request = self.begun.map(|begun| begun.at + self.patience.request);
        [idle, stranger, request].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn standing(authenticated: bool, unfinished: Option<u64>) -> Standing {
        Standing {
            authenticated,
            unfinished: unfinished.map(Seq),
            may_idle: false,
        }
    }

    #[test]
    fn a_stranger_has_ten_seconds_whatever_it_says() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new(Patience::new(Duration::ZERO), start);
        deadlines.stands(start, standing(false, None));
        deadlines.received(start + 5 * SECOND, 100);
        deadlines.stands(start + 5 * SECOND, standing(false, None));
        assert_eq!(deadlines.next(), Some(start + STRANGER_MAX));
        deadlines.stands(start + 6 * SECOND, standing(true, None));
        assert_eq!(deadlines.next(), None);
        // `RESET` makes it a stranger again.
        deadlines.stands(start + 7 * SECOND, standing(false, None));
        assert_eq!(deadlines.next(), Some(start + 7 * SECOND + STRANGER_MAX));
    }

    #[test]
    fn a_request_that_comes_byte_by_byte_has_half_a_minute() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new(Patience::new(Duration::ZERO), start);
        for second in 0..20 {
            let now = start + second * SECOND;
            deadlines.received(now, 1);
            deadlines.stands(now, standing(true, Some(7)));
            assert_eq!(deadlines.next(), Some(start + REQUEST_MAX));
        }
        let now = start + 20 * SECOND;
        deadlines.stands(now, standing(true, Some(8)));
        assert_eq!(deadlines.next(), Some(now + REQUEST_MAX), "the next one");
        deadlines.stands(now, standing(true, None));
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn a_large_request_has_time_as_long_as_it_comes_on() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new(Patience::new(Duration::ZERO), start);
        deadlines.stands(start, standing(true, Some(0)));
        let now = start + 29 * SECOND;
        deadlines.received(now, PROGRESS_BYTES);
        deadlines.stands(now, standing(true, Some(0)));
        assert_eq!(deadlines.next(), Some(now + REQUEST_MAX));
    }

    #[test]
    fn idleness_counts_from_the_last_byte_in_either_direction() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new(Patience::new(3 * SECOND), start);
        let waits = Standing {
            may_idle: true,
            ..standing(true, None)
        };
        deadlines.stands(start, waits);
        assert_eq!(deadlines.next(), None);
        deadlines.sent(start + 5 * SECOND);
        deadlines.stands(start + 5 * SECOND, standing(true, None));
        assert_eq!(deadlines.next(), Some(start + 8 * SECOND));
        deadlines.set_idle(Duration::ZERO);
        assert_eq!(deadlines.next(), None);
    }
}
