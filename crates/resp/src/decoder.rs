//! The incremental decoder of requests.
//!
//! ```text
//!            ┌──────────── other byte ── Inline ── line ──▶ request
//!   Idle ────┤
//!    ▲       └─ '*' ── Count ── n > 0 ──▶ Header ── len ──▶ Bulk ── last ──▶ request
//!    └──────────────── n <= 0 ┘             ▲                │
//!                                           └── not last ────┘
//! ```
//!
//! Invariants
//! - Every byte is looked at a bounded number of times, however the stream is cut: the position in
//!   the request and in an unfinished line is kept between calls, and the bytes of an argument are
//!   skipped.
//! - A declared length allocates nothing: the list of arguments starts with at most 1024 places,
//!   and the buffer is made to fit an argument only once half of it has arrived.
//! - Nothing recurses: an argument that is not a bulk string is an error.
//! - What comes out does not depend on how the stream was cut. The one exception is on purpose: as
//!   soon as HTTP is seen, none of the inline requests before it in the same buffer are returned.

use crate::error::ProtocolError;
use crate::http::is_http;
use crate::inline;
use crate::request::{ARG_OVERHEAD, Limits, Request, UNAUTHENTICATED_ARGS, UNAUTHENTICATED_BULK};
use bytes::{Buf, Bytes, BytesMut};

/// How many arguments get a place before any has arrived. Redis' number: 32 KiB a connection at
/// worst.
const ARGS_AT_FIRST: usize = 1024;

/// From this length on the buffer is made to fit an argument; below, growing by reads is as good.
const FIT_FROM: usize = 16 * 1024;

#[derive(Clone, Copy, Debug)]
enum State {
    /// Between requests.
    Idle,
    /// In a line that is a request of its own.
    Inline,
    /// In the line that says how many arguments follow.
    Count,
    /// In the line that says how long the next argument is.
    Header,
    /// In an argument of that many bytes.
    Bulk(usize),
}

/// Decodes the requests of one connection from the bytes it sent, in order.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    authenticated: bool,
    state: State,
    /// How many bytes at the front of the buffer are known to hold no end of the current line.
    scanned: usize,
    /// How many bytes at the front of the buffer are inline lines known not to be HTTP.
    screened: usize,
    args: Vec<Bytes>,
    /// How many arguments of the current request are still to come.
    missing: usize,
    /// What the current request holds, as [`Limits::max_request_bytes`] counts it.
    held: usize,
    /// What of it has arrived and was taken out of the buffer.
    taken: usize,
    failed: Option<ProtocolError>,
    /// How many bytes were searched for the end of a line.
    #[cfg(test)]
    examined: usize,
}

impl Decoder {
    /// Starts before the first request, with the limits of a client that must authenticate: call
    /// [`Decoder::set_authenticated`] at once where no password is asked for.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            authenticated: false,
            state: State::Idle,
            scanned: 0,
            screened: 0,
            args: Vec::new(),
            missing: 0,
            held: 0,
            taken: 0,
            failed: None,
            #[cfg(test)]
            examined: 0,
        }
    }

    /// Says whether the client may use the full limits (`true`), or only 10 arguments of 16384
    /// bytes each because it must authenticate first (`false`). Holds from the next array or
    /// argument header on.
    pub fn set_authenticated(&mut self, authenticated: bool) {
        self.authenticated = authenticated;
    }

    /// Returns whether a request has begun that is not complete.
    pub fn is_within_request(&self) -> bool {
        !matches!(self.state, State::Idle)
    }

    /// Returns how many bytes the arguments of a request take that is not complete, without those that are still in the
    /// buffer.
    pub fn request_bytes(&self) -> usize {
        self.taken
    }

    /// Takes the next request from the front of `input`; `None` if it is not complete yet. Empty
    /// requests (a blank line, an array of no or a negative number of elements) are skipped, as
    /// Redis skips them.
    ///
    /// Between calls the caller may only append to `input`. Arguments are slices of its buffer.
    ///
    /// # Errors
    /// [`ProtocolError`] where the stream is not a request. The decoder is then spent: it returns
    /// the same error for ever and takes nothing more from `input`.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Request>, ProtocolError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let decoded = self.run(input);
        if let Err(error) = decoded {
            self.failed = Some(error);
            self.args = Vec::new();
            self.taken = 0;
        }
        decoded
    }

    fn run(&mut self, input: &mut BytesMut) -> Result<Option<Request>, ProtocolError> {
        loop {
            let moved = match self.state {
                State::Idle => self.idle(input),
                State::Inline => self.inline(input)?,
                State::Count => self.count(input)?,
                State::Header => self.header(input)?,
                State::Bulk(len) => self.bulk(input, len)?,
            };
            if !moved {
                return Ok(None);
            }
            if matches!(self.state, State::Idle) && !self.args.is_empty() {
                self.held = 0;
                self.taken = 0;
                return Ok(Some(Request {
                    args: std::mem::take(&mut self.args),
                }));
            }
        }
    }

    fn idle(&mut self, input: &BytesMut) -> bool {
        match input.first() {
            None => return false,
            Some(b'*') => self.state = State::Count,
            Some(_) => self.state = State::Inline,
        }
        true
    }

    fn inline(&mut self, input: &mut BytesMut) -> Result<bool, ProtocolError> {
        let Some(end) = self.find(input, b'\n', ProtocolError::TooBigInline)? else {
            return Ok(false);
        };
        self.screen(input, end)?;
        self.scanned = 0;
        self.screened = self.screened.saturating_sub(end + 1);
        let mut line = input.split_to(end + 1).freeze();
        line.truncate(end);
        if line.last() == Some(&b'\r') {
            line.truncate(end - 1);
        }
        self.args = inline::split(&line).ok_or(ProtocolError::UnbalancedQuotes)?;
        if self.args.len() > UNAUTHENTICATED_ARGS && !self.authenticated {
            return Err(ProtocolError::UnauthenticatedMultibulk);
        }
        let held = line
            .len()
            .saturating_add(self.args.len().saturating_mul(ARG_OVERHEAD));
        self.check_held(held)?;
        self.state = State::Idle;
        Ok(true)
    }

    /// Refuses the buffer if any of its inline lines is HTTP: the one that ends at `end`, or one
    /// that follows. Looks no further than the next array, because arguments may hold anything.
    fn screen(&mut self, input: &[u8], end: usize) -> Result<(), ProtocolError> {
        if self.screened > end {
            return Ok(());
        }
        while let Some(rest) = input.get(self.screened..)
            && rest.first() != Some(&b'*')
        {
            let end = rest.iter().position(|&byte| byte == b'\n');
            self.examine(end.map_or(rest.len(), |end| end + 1));
            let Some(end) = end else { break };
            if is_http(&rest[..end]) {
                return Err(ProtocolError::CrossProtocol);
            }
            self.screened += end + 1;
        }
        Ok(())
    }

    fn count(&mut self, input: &mut BytesMut) -> Result<bool, ProtocolError> {
        let invalid = ProtocolError::InvalidMultibulkLength;
        let Some(end) = self.header_end(input, ProtocolError::TooBigCount, invalid)? else {
            return Ok(false);
        };
        let count = parse_integer(&input[1..end]).ok_or(invalid)?;
        input.advance(end + 2);
        // Redis skips an array of a negative number of elements like an empty one, without a reply.
        let count = usize::try_from(count).unwrap_or(0);
        if count > self.limits.max_args {
            return Err(invalid);
        }
        if count > UNAUTHENTICATED_ARGS && !self.authenticated {
            return Err(ProtocolError::UnauthenticatedMultibulk);
        }
        if count == 0 {
            self.state = State::Idle;
            return Ok(true);
        }
        self.held = count.saturating_mul(ARG_OVERHEAD);
        self.check_held(self.held)?;
        self.missing = count;
        self.args = Vec::with_capacity(count.min(ARGS_AT_FIRST));
        self.state = State::Header;
        Ok(true)
    }

    fn header(&mut self, input: &mut BytesMut) -> Result<bool, ProtocolError> {
        match input.first() {
            None => return Ok(false),
            Some(b'$') => {}
            Some(&got) => return Err(ProtocolError::ExpectedBulk { got }),
        }
        let invalid = ProtocolError::InvalidBulkLength;
        let Some(end) = self.header_end(input, ProtocolError::TooBigBulkHeader, invalid)? else {
            return Ok(false);
        };
        let len = parse_integer(&input[1..end])
            .and_then(|len| usize::try_from(len).ok())
            .filter(|&len| len <= self.limits.proto_max_bulk_len)
            .ok_or(invalid)?;
        input.advance(end + 2);
        if len > UNAUTHENTICATED_BULK && !self.authenticated {
            return Err(ProtocolError::UnauthenticatedBulk);
        }
        self.held = self.held.saturating_add(len);
        self.check_held(self.held)?;
        self.state = State::Bulk(len);
        Ok(true)
    }

    fn bulk(&mut self, input: &mut BytesMut, len: usize) -> Result<bool, ProtocolError> {
        let needed = len.saturating_add(2);
        if input.len() < needed {
            // Half is there: making room for the other half at once saves copying while the buffer
            // grows, and a client gets no more memory than twice what it has sent.
            if len >= FIT_FROM && input.len() >= needed / 2 {
                input.reserve(needed - input.len());
            }
            return Ok(false);
        }
        if input[len..needed] != *b"\r\n" {
            return Err(ProtocolError::MissingBulkEnd);
        }
        self.args.push(input.split_to(len).freeze());
        self.taken = self.taken.saturating_add(len + ARG_OVERHEAD);
        input.advance(2);
        self.missing -= 1;
        self.state = if self.missing == 0 {
            State::Idle
        } else {
            State::Header
        };
        Ok(true)
    }

    fn check_held(&self, held: usize) -> Result<(), ProtocolError> {
        let limit = self.limits.max_request_bytes;
        if held > limit {
            Err(ProtocolError::TooBigRequest { limit })
        } else {
            Ok(())
        }
    }

    /// Finds the CR of a header line whose LF is there too.
    fn header_end(
        &mut self,
        input: &[u8],
        too_big: ProtocolError,
        invalid: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let Some(end) = self.find(input, b'\r', too_big)? else {
            return Ok(None);
        };
        match input.get(end + 1) {
            None => Ok(None),
            Some(b'\n') => {
                self.scanned = 0;
                Ok(Some(end))
            }
            Some(_) => Err(invalid),
        }
    }

    /// Finds `byte` in the current line, starting where the last call left off.
    fn find(
        &mut self,
        input: &[u8],
        byte: u8,
        too_big: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let max = self.limits.max_inline;
        let window = &input[..input.len().min(max.saturating_add(1))];
        let rest = window.get(self.scanned..).unwrap_or_default();
        let found = rest.iter().position(|&other| other == byte);
        self.examine(found.map_or(rest.len(), |at| at + 1));
        self.scanned += found.unwrap_or(rest.len());
        match found {
            Some(_) => Ok(Some(self.scanned)),
            None if window.len() > max => Err(too_big),
            None => Ok(None),
        }
    }

    #[cfg(test)]
    fn examine(&mut self, bytes: usize) {
        self.examined += bytes;
    }

    #[cfg(not(test))]
    fn examine(&mut self, _bytes: usize) {}
}

/// Reads an integer in the only form that Redis takes in a header: digits without leading zeros,
/// perhaps a minus, never `-0`, in the range of an `i64`.
fn parse_integer(text: &[u8]) -> Option<i64> {
    let (digits, negative) = match text.strip_prefix(b"-") {
        Some(digits) => (digits, true),
        None => (text, false),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] => {}
        _ => return None,
    }
    let mut value: i64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        let digit = i64::from(digit - b'0');
        value = value.checked_mul(10)?;
        // Counting down for negative numbers reaches the lowest one, which has no positive twin.
        value = if negative {
            value.checked_sub(digit)?
        } else {
            value.checked_add(digit)?
        };
    }
    Some(value)
}

#[cfg(test)]
mod tests;
