//! Replies and pushes of either protocol version, told apart by their first byte.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// One reply or push, as it was sent. The type bytes are kept: a null of RESP2 is not a null of RESP3.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// `+ - : , # (`: one line, with its type byte.
    Line(u8, Vec<u8>),
    /// `$ = !`: bytes with a length, with its type byte.
    Bytes(u8, Vec<u8>),
    /// `* ~ >`: values, with its type byte.
    List(u8, Vec<Self>),
    /// `% |`: pairs, with its type byte.
    Map(u8, Vec<(Self, Self)>),
    /// `$-1`, `*-1` and `_`, as the line that it was.
    Null(&'static str),
}

impl Value {
    /// Whether this came by itself (RESP3), or has the shape of what does (RESP2).
    pub fn push_name(&self) -> Option<&[u8]> {
        let Self::List(b'>' | b'*', items) = self else {
            return None;
        };
        match items.first() {
            Some(Self::Bytes(b'$', name)) => Some(name),
            _ => None,
        }
    }

    /// The text of an error.
    pub fn error(&self) -> Option<&[u8]> {
        match self {
            Self::Line(b'-', text) | Self::Bytes(b'!', text) => Some(text),
            _ => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(kind, text) => write!(f, "{}{}", char::from(*kind), text.escape_ascii()),
            Self::Bytes(b'$', bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Self::Bytes(kind, bytes) => {
                write!(f, "{}\"{}\"", char::from(*kind), bytes.escape_ascii())
            }
            Self::List(kind, items) => {
                write!(f, "{}[", char::from(*kind))?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i == 0 { "" } else { " " })?;
                }
                f.write_str("]")
            }
            Self::Map(kind, pairs) => {
                write!(f, "{}{{", char::from(*kind))?;
                for (i, (key, value)) in pairs.iter().enumerate() {
                    write!(f, "{}{key}: {value}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
            Self::Null(line) => f.write_str(line),
        }
    }
}

/// Takes one value off the front of `bytes`, if it is whole.
///
/// # Panics
/// If the bytes are no reply: the server under test is at fault.
pub fn decode(bytes: &mut &[u8]) -> Option<Value> {
    let line = take_line(bytes)?;
    let (&kind, rest) = line.split_first().expect("a reply has a type byte");
    let count = || -> Option<usize> {
        let text = std::str::from_utf8(rest).expect("a length is text");
        let count: i64 = text
            .parse()
            .unwrap_or_else(|_| panic!("no length: {text:?}"));
        usize::try_from(count).ok()
    };
    match kind {
        b'+' | b'-' | b':' | b',' | b'#' | b'(' => Some(Value::Line(kind, rest.to_vec())),
        b'_' => Some(Value::Null("_")),
        b'$' | b'=' | b'!' => {
            let Some(length) = count() else {
                return Some(Value::Null("$-1"));
            };
            let (body, after) = bytes.split_at_checked(length + 2)?;
            *bytes = after;
            let body = body.strip_suffix(b"\r\n");
            Some(Value::Bytes(
                kind,
                body.expect("the length is right").to_vec(),
            ))
        }
        b'*' | b'~' | b'>' => {
            let Some(length) = count() else {
                return Some(Value::Null("*-1"));
            };
            let items = (0..length).map(|_| decode(bytes)).collect::<Option<_>>()?;
            Some(Value::List(kind, items))
        }
        b'%' | b'|' => {
            let length = count().expect("a map is never null");
            let pair = |_| Some((decode(bytes)?, decode(bytes)?));
            let pairs = (0..length).map(pair).collect::<Option<_>>()?;
            Some(Value::Map(kind, pairs))
        }
        other => panic!(
            "a reply begins with {:?}: {}",
            char::from(other),
            line.escape_ascii()
        ),
    }
}

fn take_line<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    let line = &bytes[..end];
    *bytes = &bytes[end + 2..];
    Some(line)
}

/// A connection that reads whole values.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// Why no value came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoValue {
    /// The server closed.
    Closed,
    /// Nothing came in time.
    Silence,
}

impl Wire {
    /// Connects to a port of this machine.
    ///
    /// # Errors
    /// If nobody takes the connection.
    pub fn connect(port: u16, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
        })
    }

    /// Sends bytes; that the server has closed shows when reading.
    pub fn send(&mut self, bytes: &[u8]) {
        let _shows_when_reading = self.stream.write_all(bytes);
    }

    /// Reads the next value, if it comes within a time.
    ///
    /// # Errors
    /// [`NoValue`] if none comes.
    ///
    /// # Panics
    /// If the socket takes no timeout.
    pub fn read_within(&mut self, time: Duration) -> Result<Value, NoValue> {
        let patience = self.stream.read_timeout().expect("a socket has a timeout");
        let set = |time| self.stream.set_read_timeout(time);
        set(Some(time)).expect("a socket takes a timeout");
        let value = self.read();
        let set = |time| self.stream.set_read_timeout(time);
        set(patience).expect("a socket takes a timeout");
        value
    }

    /// Reads the next value.
    ///
    /// # Errors
    /// [`NoValue`] if none comes.
    pub fn read(&mut self) -> Result<Value, NoValue> {
        loop {
            let mut rest = self.buffer.as_slice();
            if let Some(value) = decode(&mut rest) {
                let used = self.buffer.len() - rest.len();
                self.buffer.drain(..used);
                return Ok(value);
            }
            let mut piece = [0; 16 << 10];
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(NoValue::Closed),
                Ok(count) => self.buffer.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(NoValue::Closed);
                }
                Err(_) => return Err(NoValue::Silence),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut bytes: &[u8]) -> Vec<String> {
        let mut values = Vec::new();
        while let Some(value) = decode(&mut bytes) {
            values.push(value.to_string());
        }
        assert!(bytes.is_empty(), "{}", bytes.escape_ascii());
        values
    }

    #[test]
    fn values_of_both_versions_are_read_and_keep_their_types() {
        assert_eq!(
            all(b"+OK\r\n:1\r\n$2\r\nab\r\n$-1\r\n*-1\r\n_\r\n*2\r\n$0\r\n\r\n:0\r\n"),
            ["+OK", ":1", "\"ab\"", "$-1", "*-1", "_", "*[\"\" :0]"]
        );
        assert_eq!(
            all(b"%1\r\n+a\r\n#t\r\n>2\r\n$1\r\nx\r\n,1.5\r\n~1\r\n=5\r\ntxt:x\r\n"),
            ["%{+a: #t}", ">[\"x\" ,1.5]", "~[=\"txt:x\"]"]
        );
    }

    #[test]
    fn a_part_of_a_value_is_none() {
        let whole = b"*2\r\n$2\r\nab\r\n%1\r\n+a\r\n:1\r\n";
        for end in 0..whole.len() {
            assert_eq!(decode(&mut &whole[..end]), None, "{end}");
        }
    }
}
