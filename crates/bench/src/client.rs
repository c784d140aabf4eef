//! Blocking clients for what is asked seldom: whether a server is there, and what it says of itself.

use crate::wire::encode;
use anyhow::{Context, Result, bail};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// A server that takes longer for one reply is not there.
const REPLY_WITHIN: Duration = Duration::from_secs(10);

/// Opens a connection to a port of this machine, on which nothing waits for more to send.
///
/// # Errors
/// If nobody accepts it.
pub(crate) fn open(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))
        .with_context(|| format!("connect to port {port}"))?;
    stream.set_nodelay(true).context("set TCP_NODELAY")?;
    Ok(stream)
}

fn open_buffered(port: u16) -> Result<BufReader<TcpStream>> {
    let stream = open(port)?;
    stream
        .set_read_timeout(Some(REPLY_WITHIN))
        .context("set the time for a reply")?;
    Ok(BufReader::new(stream))
}

/// A client of the Redis protocol.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects to a port of this machine.
    ///
    /// # Errors
    /// If nobody accepts the connection.
    pub(crate) fn connect(port: u16) -> Result<Self> {
        Ok(Self {
            stream: open_buffered(port)?,
        })
    }

    /// Sends a command whose reply is not an array, and returns that as text.
    ///
    /// # Errors
    /// If the reply is an error, an array, or does not come.
    pub(crate) fn ask(&mut self, words: &[&str]) -> Result<String> {
        let socket = self.stream.get_mut();
        socket.write_all(&encode(words)).context("send a command")?;
        let mut line = String::new();
        self.stream
            .read_line(&mut line)
            .with_context(|| format!("read the reply to {}", words[0]))?;
        let line = line.trim_end();
        match line.split_at_checked(1) {
            Some(("+" | ":", text)) => Ok(text.to_owned()),
            Some(("$", length)) => {
                let length: usize = length.parse().context("the reply is nothing")?;
                let mut text = vec![0; length + 2];
                self.stream.read_exact(&mut text).context("read a reply")?;
                text.truncate(length);
                Ok(String::from_utf8_lossy(&text).into_owned())
            }
            _ => bail!("{} was answered with {line:?}", words[0]),
        }
    }
}

/// A client of NATS.
#[derive(Debug)]
pub(crate) struct NatsClient {
    stream: BufReader<TcpStream>,
}

/// What a client of NATS says first. Without `verbose` publishes are answered by the stream only.
pub(crate) const NATS_HELLO: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"corgi-bench\",\
    \"version\":\"0\",\"headers\":false,\"no_responders\":false}\r\n";

impl NatsClient {
    /// Connects to a port of this machine; returns the server's version too.
    ///
    /// # Errors
    /// If no server of NATS is there.
    pub(crate) fn connect(port: u16) -> Result<(Self, String)> {
        let mut stream = open_buffered(port)?;
        let mut info = String::new();
        stream
            .read_line(&mut info)
            .context("read what NATS says first")?;
        let version = json_field(&info, "version").context("NATS did not tell its version")?;
        let version = version.to_owned();
        let socket = stream.get_mut();
        socket
            .write_all(NATS_HELLO.as_bytes())
            .context("send CONNECT")?;
        Ok((Self { stream }, version))
    }

    /// Sends a request and returns the answer.
    ///
    /// # Errors
    /// If none comes.
    pub(crate) fn request(&mut self, subject: &str, body: &str) -> Result<String> {
        let length = body.len();
        let text = format!("SUB _INBOX.r 1\r\nPUB {subject} _INBOX.r {length}\r\n{body}\r\n");
        let socket = self.stream.get_mut();
        socket
            .write_all(text.as_bytes())
            .context("send a request")?;
        loop {
            let mut line = String::new();
            let read = self.stream.read_line(&mut line).context("read an answer")?;
            let line = line.trim_end();
            if read == 0 || line.starts_with("-ERR") {
                bail!("NATS answered {subject} with {line:?}");
            }
            if line.starts_with("MSG ") {
                let length = line.rsplit(' ').next().unwrap_or_default();
                let length: usize = length.parse().context("read the length of an answer")?;
                let mut text = vec![0; length + 2];
                self.stream
                    .read_exact(&mut text)
                    .context("read an answer")?;
                return Ok(String::from_utf8_lossy(&text).trim_end().to_owned());
            }
        }
    }
}

/// Returns a field of JSON whose value is a string without escapes.
pub(crate) fn json_field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("\"{name}\":"))?;
    let (value, _) = rest.trim_start().strip_prefix('"')?.split_once('"')?;
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::json_field;

    #[test]
    fn fields_are_found_by_name() {
        let text = r#"INFO {"server_id":"x","version": "2.15.1","n":1}"#;
        assert_eq!(json_field(text, "version"), Some("2.15.1"));
        assert_eq!(json_field(text, "n"), None);
        assert_eq!(json_field(text, "none"), None);
    }
}
