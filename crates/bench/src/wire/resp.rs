//! Counts replies and pushes of the Redis protocol.
//!
//! It keeps no bytes but the beginning of two strings, so that a cut is nothing special. Nested arrays are counted,
//! not descended into: an array adds its elements to those that are missing.

use super::{Frame, Kept, Kind, Malformed};

/// No server that is measured answers with more at once; beyond this the stream is out of step.
const LENGTH_MAX: i64 = 512 * 1024 * 1024;

#[derive(Clone, Copy, Debug)]
enum State {
    /// Before the byte that says what comes.
    Type,
    /// Within the first line of an element.
    Line {
        kind: u8,
        negative: bool,
        digits: i64,
    },
    /// Within a string, or the line end behind it.
    Bulk { left: usize },
}

/// Reads replies and pushes, cut anywhere.
#[derive(Clone, Debug)]
pub struct RespReader {
    state: State,
    /// Elements that the frame still lacks; 0 between frames.
    missing: i64,
    /// The type byte of the whole frame.
    outer: u8,
    /// How many strings the frame has had.
    strings: usize,
    /// The first string of an array: `message`, `subscribe`, …
    first: Kept,
    number: i64,
    last: Kept,
}

impl Default for RespReader {
    fn default() -> Self {
        Self::new()
    }
}

impl RespReader {
    /// Returns a reader at the beginning of a stream.
    pub const fn new() -> Self {
        Self {
            state: State::Type,
            missing: 0,
            outer: 0,
            strings: 0,
            first: Kept::EMPTY,
            number: 0,
            last: Kept::EMPTY,
        }
    }

    /// Takes the next bytes and shows each frame that they complete.
    ///
    /// # Errors
    /// If they are not of the protocol.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(&Frame),
    ) -> Result<(), Malformed> {
        while let Some((&byte, rest)) = bytes.split_first() {
            match &mut self.state {
                State::Type => {
                    if self.missing == 0 {
                        self.begin(byte);
                    }
                    self.begin_element(byte)?;
                    bytes = rest;
                }
                State::Line { kind, .. } if byte == b'\n' => {
                    let kind = *kind;
                    bytes = rest;
                    self.end_line(kind)?;
                    self.end_element_if_whole(&mut each);
                }
                State::Line {
                    kind,
                    negative,
                    digits,
                } => {
                    match (*kind, byte) {
                        (b'+' | b'-' | b'(' | b',' | b'#', _) => {
                            if byte != b'\r' {
                                self.last.push(&[byte]);
                            }
                        }
                        (_, b'0'..=b'9') => {
                            *digits = digits.saturating_mul(10) + i64::from(byte - b'0');
                        }
                        (_, b'-') => *negative = true,
                        (_, b'\r') => {}
                        _ => return Err(unexpected(byte, "in a number")),
                    }
                    bytes = rest;
                }
                State::Bulk { left } => {
                    let now = (*left).min(bytes.len());
                    // The last two are the line end.
                    let text = now.min(left.saturating_sub(2));
                    *left -= now;
                    if self.last.len < super::KEPT {
                        self.last.push(&bytes[..text]);
                    }
                    bytes = &bytes[now..];
                    if *left == 0 {
                        self.end_string();
                        self.end_element_if_whole(&mut each);
                    }
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, byte: u8) {
        self.missing = 1;
        self.outer = byte;
        self.strings = 0;
        self.number = 0;
        self.first.clear();
        self.last.clear();
    }

    fn begin_element(&mut self, byte: u8) -> Result<(), Malformed> {
        match byte {
            b'+' | b'-' | b':' | b'$' | b'*' | b'>' | b'%' | b'~' | b'_' | b'#' | b',' | b'('
            | b'=' | b'!' => {
                if matches!(byte, b'+' | b'-' | b'$' | b'=' | b'!') {
                    self.last.clear();
                }
                self.state = State::Line {
                    kind: byte,
                    negative: false,
                    digits: 0,
                };
                Ok(())
            }
            _ => Err(unexpected(byte, "where a reply begins")),
        }
    }

    /// Ends the first line of an element. A string that is to come leaves the element open.
    fn end_line(&mut self, kind: u8) -> Result<(), Malformed> {
        let State::Line {
            negative, digits, ..
        } = self.state
        else {
            return Ok(());
        };
        let value = if negative { -digits } else { digits };
        self.state = State::Type;
        match kind {
            b'$' | b'=' | b'!' if value >= 0 => {
                let left = usize::try_from(value).ok().filter(|_| value <= LENGTH_MAX);
                let left = left.ok_or_else(|| Malformed(format!("a string of {value} bytes")))?;
                self.state = State::Bulk { left: left + 2 };
            }
            b'*' | b'>' | b'~' | b'%' if value >= 0 => {
                let elements = if kind == b'%' {
                    value.saturating_mul(2)
                } else {
                    value
                };
                if elements > LENGTH_MAX {
                    return Err(Malformed(format!("an array of {elements} elements")));
                }
                self.missing += elements - 1;
            }
            b':' => {
                self.number = value;
                self.missing -= 1;
            }
            b'+' => {
                self.end_string();
            }
            // Nothing, a boolean, a number with a fraction, an error.
            _ => self.missing -= 1,
        }
        Ok(())
    }

    fn end_string(&mut self) {
        self.state = State::Type;
        self.missing -= 1;
        if self.strings == 0 && matches!(self.outer, b'*' | b'>') {
            self.first = self.last;
        }
        self.strings += 1;
    }

    fn end_element_if_whole(&mut self, each: &mut impl FnMut(&Frame)) {
        if self.missing > 0 || !matches!(self.state, State::Type) {
            return;
        }
        let kind = match (self.outer, self.first.bytes()) {
            (b'-' | b'!', _) => Kind::Error,
            (b'*' | b'>', b"message" | b"pmessage" | b"smessage") => Kind::Message,
            (b'*' | b'>', b"subscribe" | b"psubscribe" | b"ssubscribe") => Kind::Subscribed,
            _ => Kind::Ok,
        };
        each(&Frame {
            kind,
            number: self.number,
            last: self.last,
        });
    }
}

fn unexpected(byte: u8, place: &str) -> Malformed {
    Malformed(format!("\"{}\" {place}", byte.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(frame: &Frame) -> String {
        let last = frame.last.bytes().escape_ascii();
        format!("{:?} {} {last}", frame.kind, frame.number)
    }

    fn read(pieces: &[&[u8]]) -> Result<Vec<String>, Malformed> {
        let mut reader = RespReader::new();
        let mut seen = Vec::new();
        for piece in pieces {
            reader.feed(piece, |frame| seen.push(shown(frame)))?;
        }
        Ok(seen)
    }

    const STREAM: &[u8] = b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\nhe\r\no\r\n\
        :12\r\n-ERR no\r\n+PONG\r\n$-1\r\n*2\r\n*2\r\n:1\r\n$0\r\n\r\n*0\r\n>4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\na\r\n$2\r\nhi\r\n\
        %1\r\n+k\r\n#t\r\n_\r\n,1.5\r\n:-3\r\n$3\r\n1-1\r\n*-1\r\n";

    const FRAMES: [&str; 14] = [
        "Subscribed 1 a",
        "Message 0 he\\r\\no",
        "Ok 12 ",
        "Error 0 ERR no",
        "Ok 0 PONG",
        "Ok 0 ",
        "Ok 1 ",
        "Message 0 hi",
        "Ok 0 kt",
        "Ok 0 ",
        "Ok 0 1.5",
        "Ok -3 ",
        "Ok 0 1-1",
        "Ok 0 ",
    ];

    #[test]
    fn frames_are_the_same_at_every_cut() {
        assert_eq!(read(&[STREAM]), Ok(FRAMES.map(str::to_owned).to_vec()));
        for at in 0..STREAM.len() {
            let (one, two) = STREAM.split_at(at);
            assert_eq!(
                read(&[one, two]),
                Ok(FRAMES.map(str::to_owned).to_vec()),
                "cut at {at}"
            );
        }
        let bytes: Vec<&[u8]> = STREAM.chunks(1).collect();
        assert_eq!(read(&bytes), Ok(FRAMES.map(str::to_owned).to_vec()));
    }

    #[test]
    fn a_deep_nest_is_counted_not_descended_into() {
        let mut deep = b"*1\r\n".repeat(100_000);
        deep.extend_from_slice(b":5\r\n");
        assert_eq!(read(&[&deep]), Ok(vec!["Ok 5 ".to_owned()]));
    }

    #[test]
    fn of_a_long_string_the_beginning_is_kept() {
        let mut bytes = b"$100000\r\n".to_vec();
        bytes.extend(vec![b'x'; 100_000]);
        bytes.extend_from_slice(b"\r\n:1\r\n");
        let seen = read(&[&bytes]).expect("the protocol is kept");
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0].len(), "Ok 0 ".len() + super::super::KEPT);
    }

    #[test]
    fn what_is_not_of_the_protocol_is_refused() {
        for (bytes, says) in [
            (&b"HTTP/1.1"[..], "\"H\" where a reply begins"),
            (b"$x\r\n", "\"x\" in a number"),
            (b"$999999999999\r\n", "a string of 999999999999 bytes"),
            (b"*999999999999\r\n", "an array of 999999999999 elements"),
        ] {
            assert_eq!(read(&[bytes]), Err(Malformed(says.to_owned())));
        }
    }
}
