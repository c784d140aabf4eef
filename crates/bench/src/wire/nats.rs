//! Counts acknowledgements of the text protocol of NATS.
//!
//! A publisher gets `MSG subject sid [reply] length`, then the acknowledgement as JSON, for each of its messages.

use super::{Frame, Kept, Kind, Malformed};

/// The server's own description is the longest line.
const LINE_MAX: usize = 64 * 1024;

/// Reads what a server of NATS sends, cut anywhere.
#[derive(Clone, Debug, Default)]
pub struct NatsReader {
    line: Vec<u8>,
    /// Bytes that the payload and its line end still lack.
    left: usize,
    last: Option<Kept>,
}

impl NatsReader {
    /// Takes the next bytes and shows each acknowledgement, error and ping. `INFO`, `+OK` and `PONG` are shown as fine.
    ///
    /// # Errors
    /// If they are not of the protocol.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(&Frame),
    ) -> Result<(), Malformed> {
        while !bytes.is_empty() {
            if let Some(last) = &mut self.last {
                let now = self.left.min(bytes.len());
                last.push(&bytes[..now.min(self.left.saturating_sub(2))]);
                self.left -= now;
                bytes = &bytes[now..];
                if self.left == 0 {
                    each(&acknowledgement(*last));
                    self.last = None;
                }
                continue;
            }
            let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                self.line.extend_from_slice(bytes);
                if self.line.len() > LINE_MAX {
                    return Err(Malformed(format!("a line of more than {LINE_MAX} bytes")));
                }
                return Ok(());
            };
            self.line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.line);
            self.end_line(line.trim_ascii_end(), &mut each)?;
            // The buffer is used again.
            self.line = line;
            self.line.clear();
        }
        Ok(())
    }

    fn end_line(&mut self, line: &[u8], each: &mut impl FnMut(&Frame)) -> Result<(), Malformed> {
        let mut last = Kept::EMPTY;
        let kind = if line.starts_with(b"MSG ") {
            let length = line.rsplit(|byte| *byte == b' ').next();
            let length = length.and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
            let Some(length): Option<usize> = length else {
                return Err(Malformed(format!("\"{}\"", line.escape_ascii())));
            };
            self.left = length + 2;
            self.last = Some(last);
            return Ok(());
        } else if line == b"PING" {
            Kind::Ping
        } else if line.starts_with(b"-ERR") {
            last.push(line);
            Kind::Error
        } else if line.starts_with(b"INFO") || line == b"+OK" || line == b"PONG" {
            // All that is asked for by a PING of ours is a PONG.
            Kind::Subscribed
        } else {
            return Err(Malformed(format!("\"{}\"", line.escape_ascii())));
        };
        each(&Frame {
            kind,
            number: 0,
            last,
        });
        Ok(())
    }
}

fn acknowledgement(last: Kept) -> Frame {
    let text = last.bytes();
    let refused = text.windows(7).any(|part| part == b"\"error\"");
    Frame {
        kind: if refused { Kind::Error } else { Kind::Ok },
        number: 0,
        last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"INFO {\"max\":1}\r\nPONG\r\nMSG _I.1 1 27\r\n{\"stream\":\"BENCH\",\"seq\":10}\r\nPING\r\n\
        MSG _I.1 1 22\r\n{\"error\":{\"code\":503}}\r\n-ERR 'no'\r\n";

    fn read(pieces: &[&[u8]]) -> Vec<Kind> {
        let mut reader = NatsReader::default();
        let mut seen = Vec::new();
        for piece in pieces {
            let fed = reader.feed(piece, |frame| seen.push(frame.kind));
            fed.expect("the protocol is kept");
        }
        seen
    }

    #[test]
    fn frames_are_the_same_at_every_cut() {
        let expected = [
            Kind::Subscribed,
            Kind::Subscribed,
            Kind::Ok,
            Kind::Ping,
            Kind::Error,
            Kind::Error,
        ];
        for at in 0..STREAM.len() {
            let (one, two) = STREAM.split_at(at);
            assert_eq!(read(&[one, two]), expected, "cut at {at}");
        }
    }

    #[test]
    fn what_is_not_of_the_protocol_is_refused() {
        for bytes in [&b"*1\r\n"[..], b"MSG a 1 x\r\n"] {
            let mut reader = NatsReader::default();
            assert!(reader.feed(bytes, |_| ()).is_err());
        }
    }
}
