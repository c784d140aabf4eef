//! A client's socket, TCP with or without TLS, or Unix, driven by readiness.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{Interest, Ready};
use tokio::net::{TcpStream, UnixStream};

use super::tls::TlsStream;
use crate::local::registry::Ends;

/// Probes after which a silent peer is given up. Redis sends three, a third of the interval apart.
const KEEPALIVE_PROBES: u32 = 3;

/// One read of a socket: large enough that a pipelining client's commands share a batch of the log.
pub(crate) const READ_BYTES: usize = 64 << 10;

thread_local! {
    /// What sockets are read into, one for each thread, so that waiting connections need none.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// Lends this thread's buffer of [`READ_BYTES`], which holds anything.
///
/// # Panics
/// If called again from `read`.
pub(crate) fn with_scratch<T>(read: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| read(scratch))
}

/// One accepted connection. All calls but [`Stream::ready`] return at once.
#[derive(Debug)]
pub(crate) enum Stream {
    /// From `port`.
    Tcp(TcpStream),
    /// From `tls-port`.
    Tls(Box<TlsStream>),
    /// From `unixsocket`, which has this path.
    Unix(UnixStream, PathBuf),
}

impl Stream {
    /// Sets what every client socket needs: small replies leave at once, and a vanished peer is
    /// noticed after about twice `keepalive` (`tcp-keepalive`; none for zero).
    ///
    /// # Errors
    /// What the operating system says, for instance because the client is gone already.
    pub(crate) fn prepare(&self, keepalive: Duration) -> io::Result<()> {
        let Some(stream) = self.tcp() else {
            return Ok(());
        };
        stream.set_nodelay(true)?;
        if !keepalive.is_zero() {
            let interval = (keepalive / KEEPALIVE_PROBES).max(Duration::from_secs(1));
            let probes = TcpKeepalive::new()
                .with_time(keepalive)
                .with_interval(interval)
                .with_retries(KEEPALIVE_PROBES);
            SockRef::from(stream).set_tcp_keepalive(&probes)?;
        }
        Ok(())
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Tls(stream) => Some(&stream.socket),
            Self::Unix(..) => None,
        }
    }

    /// Returns between which addresses it is, as `CLIENT LIST` shows them. A Unix socket has the path of the listening
    /// one on both sides, as in Redis.
    pub(crate) fn ends(&self) -> Ends {
        match self {
            Self::Tcp(stream) => ends_of_tcp(stream),
            Self::Tls(stream) => ends_of_tcp(&stream.socket),
            // The system knows it by the name that it had before others could see it.
            Self::Unix(stream, path) => {
                let path = path.display().to_string();
                let addr = format!("{}:0", path.replace(char::is_whitespace, "_"));
                Ends {
                    addr: addr.clone(),
                    local_addr: addr,
                    unix: true,
                    fd: stream.as_raw_fd(),
                }
            }
        }
    }

    /// Waits until the client is known as far as the socket tells: for TLS, until hands are shaken. Requests that come
    /// with it are lost.
    ///
    /// # Errors
    /// That it leaves, or does not speak TLS.
    pub(crate) async fn established(&mut self) -> io::Result<()> {
        while self.shakes_hands() {
            self.flush()?;
            let mut interest = Interest::READABLE;
            if self.wants_write() {
                interest |= Interest::WRITABLE;
            }
            if self.ready(Some(interest)).await?.is_readable() {
                match with_scratch(|scratch| self.try_read(scratch)) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Whether nothing can be said yet, because the two sides have not agreed on how.
    pub(crate) fn shakes_hands(&self) -> bool {
        matches!(self, Self::Tls(stream) if stream.shakes_hands())
    }

    /// Returns the user that the client's certificate names, once, if it is to name one.
    pub(crate) fn take_user(&mut self) -> Option<Bytes> {
        match self {
            Self::Tls(stream) => stream.take_user(),
            Self::Tcp(_) | Self::Unix(..) => None,
        }
    }

    /// Whether something that was written waits for the socket to take it.
    pub(crate) fn wants_write(&self) -> bool {
        matches!(self, Self::Tls(stream) if stream.wants_write())
    }

    /// Writes what waits, as far as the socket takes it.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tls(stream) => stream.flush(),
            Self::Tcp(_) | Self::Unix(..) => Ok(()),
        }
    }

    /// Waits until one of `interest` may succeed. Never returns for `None`.
    ///
    /// # Errors
    /// If the runtime shuts down.
    pub(crate) async fn ready(&self, interest: Option<Interest>) -> io::Result<Ready> {
        match (self, interest) {
            (_, None) => std::future::pending().await,
            (Self::Tcp(stream), Some(interest)) => stream.ready(interest).await,
            (Self::Tls(stream), Some(interest)) => stream.socket.ready(interest).await,
            (Self::Unix(stream, _), Some(interest)) => stream.ready(interest).await,
        }
    }

    /// Reads what is there into `buf`, which is [`with_scratch`]'s; 0 is the end.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is there, what is wrong with the client's TLS, or what the operating system says.
    pub(crate) fn try_read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(buf),
            Self::Tls(stream) => stream.try_read(buf),
            Self::Unix(stream, _) => stream.try_read(buf),
        }
    }

    /// Takes from the socket what is there, whatever it is; 0 is the end.
    fn try_discard(&self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(buf),
            Self::Tls(stream) => stream.socket.try_read(buf),
            Self::Unix(stream, _) => stream.try_read(buf),
        }
    }

    /// Writes as much of `pieces` as the socket takes now.
    ///
    /// # Errors
    /// `WouldBlock` if it takes nothing, or what the operating system says.
    pub(crate) fn try_write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write_vectored(pieces),
            Self::Tls(stream) => stream.try_write(pieces),
            Self::Unix(stream, _) => stream.try_write_vectored(pieces),
        }
    }

    /// Sends a line to a client that was just accepted, as far as its socket takes it at once. One of `tls-port` cannot
    /// be told anything so early.
    pub(crate) fn say(&self, line: &[u8]) {
        // Not by the runtime, which does not know yet that a new socket has room.
        let _gone = match self {
            Self::Tcp(stream) => SockRef::from(stream).send(line),
            Self::Unix(stream, _) => SockRef::from(stream).send(line),
            Self::Tls(_) => return,
        };
    }

    /// Tells the client that nothing more comes, and lets it still send.
    pub(crate) fn end_output(&mut self) {
        // An error means that the client is gone, which is as good.
        let _gone = match self {
            Self::Tcp(stream) => SockRef::from(&*stream).shutdown(Shutdown::Write),
            Self::Tls(stream) => {
                stream.end_output();
                SockRef::from(&stream.socket).shutdown(Shutdown::Write)
            }
            Self::Unix(stream, _) => SockRef::from(&*stream).shutdown(Shutdown::Write),
        };
    }
}

fn ends_of_tcp(stream: &TcpStream) -> Ends {
    let shown = |addr: io::Result<SocketAddr>| {
        addr.map_or_else(|_| "?:0".to_owned(), |addr| addr.to_string())
    };
    Ends {
        addr: shown(stream.peer_addr()),
        local_addr: shown(stream.local_addr()),
        unix: false,
        fd: stream.as_raw_fd(),
    }
}

/// Ends a connection such that the last reply arrives.
///
/// Closing a TCP socket that holds unread input makes the kernel send a reset, and a reset makes
/// the client's kernel throw away what the client has not read yet: the very error that says why.
/// So the output is ended first, and input is thrown away until the client closes, but not longer
/// than `time_max` nor more than `bytes_max`.
pub(crate) async fn close_gently(mut stream: Stream, time_max: Duration, bytes_max: usize) {
    stream.end_output();
    let discard = async {
        let mut left = bytes_max;
        while left > 0 && stream.ready(Some(Interest::READABLE)).await.is_ok() {
            match with_scratch(|scratch| stream.try_discard(scratch)) {
                Ok(0) => return,
                Ok(n) => left = left.saturating_sub(n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    // Out of time is the same as done: the connection is closed now.
    let _out_of_time = tokio::time::timeout(time_max, discard).await;
}
