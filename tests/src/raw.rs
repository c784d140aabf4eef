//! A client that sends bytes as they are, for input that no client library produces.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// A TCP connection with deadlines.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl RawClient {
    /// Connects to a port of this machine. Every read ends with an error after `timeout`.
    ///
    /// # Panics
    /// If nobody takes the connection.
    pub fn connect(port: u16, timeout: Duration) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the port is served");
        stream
            .set_read_timeout(Some(timeout))
            .expect("a positive timeout");
        stream
            .set_write_timeout(Some(timeout))
            .expect("a positive timeout");
        stream.set_nodelay(true).expect("a TCP socket");
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the other side has closed or takes nothing for the timeout.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a command as an array of bulk strings.
    ///
    /// # Errors
    /// As [`RawClient::send`].
    pub fn command(&mut self, args: &[&[u8]]) -> io::Result<()> {
        self.send(&encode(args))
    }

    /// Reads one line, without its end.
    ///
    /// # Panics
    /// If none comes within the timeout, or the connection ends first.
    pub fn line(&mut self) -> String {
        let line = self.try_line();
        line.unwrap_or_else(|| panic!("the connection ended before a line: {:?}", self.buffer))
    }

    /// Reads one line, without its end, or `None` if the connection ends first.
    ///
    /// # Panics
    /// If neither happens within the timeout.
    pub fn try_line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece) {
                Ok(0) => return None,
                Ok(read) => self.buffer.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no line in time: {error}"),
            }
        }
    }

    /// Reads as many bytes as `expected` has, which must be those.
    ///
    /// # Panics
    /// If others come, too few within the timeout, or the connection ends first.
    pub fn expect(&mut self, expected: &str) {
        let mut piece = [0; 4096];
        while self.buffer.len() < expected.len() {
            match self.stream.read(&mut piece) {
                Ok(0) => panic!("closed instead of {expected:?} after {:?}", self.buffer),
                Ok(read) => self.buffer.extend_from_slice(&piece[..read]),
                Err(error) => panic!("{error} instead of {expected:?} after {:?}", self.buffer),
            }
        }
        let got: Vec<u8> = self.buffer.drain(..expected.len()).collect();
        let got = String::from_utf8_lossy(&got);
        assert_eq!(got, expected);
    }

    /// Reads lines up to and with `line`.
    ///
    /// # Panics
    /// As [`RawClient::line`].
    pub fn skip_to(&mut self, line: &str) {
        while self.line() != line {}
    }

    /// Sends a command and reads the one line of its reply.
    ///
    /// # Panics
    /// If the connection ends or no line comes in time.
    pub fn ask(&mut self, args: &[&[u8]]) -> String {
        self.command(args).expect("the connection is open");
        self.line()
    }

    /// Reads until the other side closes, and returns what came. A reset counts as closing.
    ///
    /// # Panics
    /// If the other side does not close in time.
    pub fn until_closed(&mut self) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.buffer);
        let mut piece = [0; 4096];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return all,
                Ok(read) => all.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return all,
                Err(error) => panic!("not closed, but {error}; so far {all:?}"),
            }
        }
    }

    /// Says that nothing more will be sent.
    ///
    /// # Panics
    /// If the socket is not connected any more.
    pub fn finish(&self) {
        self.stream
            .shutdown(Shutdown::Write)
            .expect("the socket is connected");
    }

    /// Sends a command and returns how long its one-line reply took, and the reply.
    ///
    /// # Panics
    /// As [`RawClient::ask`].
    pub fn timed(&mut self, args: &[&[u8]]) -> (Duration, String) {
        let start = Instant::now();
        let line = self.ask(args);
        (start.elapsed(), line)
    }
}

/// Returns a command as an array of bulk strings.
pub fn encode(args: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        assert_eq!(encode(&[b"PING", b""]), b"*2\r\n$4\r\nPING\r\n$0\r\n\r\n");
    }
}
