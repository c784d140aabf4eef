//! One socket that is never waited for.

use super::READ_LEN;
use crate::client;
use crate::wire::{Frame, Reader};
use anyhow::{Context, Result, bail};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{ErrorKind, Read as _, Write as _};

#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    reader: Reader,
    /// What is to be sent, and how much of it was.
    out: Vec<u8>,
    sent: usize,
}

impl Connection {
    pub(super) fn open(
        port: u16,
        reader: Reader,
        registry: &Registry,
        token: usize,
    ) -> Result<Self> {
        let stream = client::open(port)?;
        stream.set_nonblocking(true).context("open a socket")?;
        let mut stream = TcpStream::from_std(stream);
        registry
            .register(
                &mut stream,
                Token(token),
                Interest::READABLE | Interest::WRITABLE,
            )
            .context("register a socket")?;
        Ok(Self {
            stream,
            reader,
            out: Vec::new(),
            sent: 0,
        })
    }

    /// What was put here is sent by the next [`flush`](Self::flush).
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Sends what the socket takes.
    pub(super) fn flush(&mut self) -> Result<()> {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("send to the server"),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }

    /// Reads what is there. `buffer` is shared by all sockets.
    pub(super) fn read(&mut self, buffer: &mut [u8], mut each: impl FnMut(&Frame)) -> Result<()> {
        debug_assert_eq!(buffer.len(), READ_LEN);
        loop {
            match self.stream.read(buffer) {
                Ok(0) => bail!("the server closed a connection"),
                Ok(read) => {
                    self.reader.feed(&buffer[..read], &mut each)?;
                    // Less than was asked for: there was no more, and what comes now is told again (epoll(7)).
                    if read < buffer.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("read from the server"),
            }
        }
    }
}
