//! A client's socket from `tls-port`: the same calls as on a plain one, with rustls between.
//!
//! Whatever is read of the socket is decrypted at once and handed out, so that nothing that was read waits here: when
//! the socket has nothing, the connection has nothing. What is written may wait here, at most [`PENDING_MAX`] of it and
//! only while the socket takes nothing.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use rustls::{ServerConfig, ServerConnection};
use tokio::net::TcpStream;

use super::stream::READ_BYTES;
use crate::tls::common_name;

/// The longest record: 16 KiB, its head, and what encryption adds.
const RECORD_MAX: usize = (16 << 10) + 5 + 2048;
/// One read of a socket: what a record that came in part adds to it fits into [`READ_BYTES`] with it.
const CIPHER_BYTES: usize = READ_BYTES - RECORD_MAX;
/// What is encrypted at once.
const PENDING_MAX: usize = 64 << 10;
/// The first byte of TLS: a record of the handshake.
const HANDSHAKE: u8 = 0x16;

thread_local! {
    /// What sockets are read into, one for each thread, so that waiting connections need none.
    static CIPHER: RefCell<Vec<u8>> = RefCell::new(vec![0; CIPHER_BYTES]);
}

/// Whether bytes that begin a connection are those of TLS, which no request of the Redis protocol begins with.
pub(crate) fn begins_tls(bytes: &[u8]) -> bool {
    bytes.starts_with(&[HANDSHAKE, 3])
}

/// One accepted connection.
pub(crate) struct TlsStream {
    pub(super) socket: TcpStream,
    session: ServerConnection,
    /// The client has begun to speak TLS.
    spoken: bool,
    /// The client says nothing more, in words of TLS.
    ended: bool,
    /// Its certificate is to say which user it is.
    names_user: bool,
}

impl TlsStream {
    /// Starts to serve TLS on a socket.
    ///
    /// # Errors
    /// None that a configuration which was loaded could cause.
    pub(crate) fn new(
        socket: TcpStream,
        config: Arc<ServerConfig>,
        names_user: bool,
    ) -> io::Result<Self> {
        let mut session = ServerConnection::new(config).map_err(io::Error::other)?;
        session.set_buffer_limit(Some(PENDING_MAX));
        Ok(Self {
            socket,
            session,
            spoken: false,
            ended: false,
            names_user,
        })
    }

    /// Returns the user that the client's certificate names, once: when hands are shaken.
    pub(crate) fn take_user(&mut self) -> Option<Bytes> {
        if !self.names_user || self.shakes_hands() {
            return None;
        }
        self.names_user = false;
        let certificate = self.session.peer_certificates()?.first()?;
        common_name(certificate).map(Bytes::copy_from_slice)
    }

    /// Whether it is not known yet who the client is, nor that it speaks TLS.
    pub(crate) fn shakes_hands(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Whether something waits for the socket to take it.
    pub(crate) fn wants_write(&self) -> bool {
        self.session.wants_write()
    }

    /// Writes what waits, as far as the socket takes it.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Socket(&self.socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what is there into `buf`, which has room for [`READ_BYTES`]; 0 is the end.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is there, or nothing for the connection; `InvalidData` with what is wrong with the
    /// client's TLS; or what the operating system says.
    pub(crate) fn try_read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        let read = CIPHER.with_borrow_mut(|cipher| {
            let n = self.socket.try_read(cipher)?;
            if n == 0 {
                // Without a word, as many clients leave. A request that was cut short by it is not run, so that whoever
                // cuts connections gains nothing.
                return Ok(Some(0));
            }
            self.spoken |= cipher[0] == HANDSHAKE;
            if !self.spoken {
                return Err(io::Error::new(io::ErrorKind::InvalidData, NoTls));
            }
            self.decrypt(&cipher[..n], buf)
        });
        match read {
            Ok(Some(n)) => Ok(n),
            Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => {
                // The reason, so that the client's side can tell it.
                let _gone = self.flush();
                Err(error)
            }
        }
    }

    /// Returns how many bytes for the connection were in `cipher`; none if there were only words of TLS.
    fn decrypt(&mut self, mut cipher: &[u8], buf: &mut [u8]) -> io::Result<Option<usize>> {
        let mut got = 0;
        while !cipher.is_empty() && self.session.read_tls(&mut cipher)? > 0 {
            let state = self
                .session
                .process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let mut plain = state.plaintext_bytes_to_read();
            while plain > 0 {
                let n = self.session.reader().read(&mut buf[got..])?;
                if n == 0 {
                    return Err(io::Error::other("a record is longer than TLS allows"));
                }
                got += n;
                plain -= n;
            }
            if state.peer_has_closed() {
                self.ended = true;
                break;
            }
        }
        Ok((got > 0 || self.ended).then_some(got))
    }

    /// Takes as much of `pieces` as can be encrypted now, and writes it as far as the socket takes it.
    ///
    /// # Errors
    /// `WouldBlock` if the socket has not taken what was taken before, or what the operating system says.
    pub(crate) fn try_write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.flush()?;
        if self.session.wants_write() || self.session.is_handshaking() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let n = self.session.writer().write_vectored(pieces)?;
        self.flush()?;
        Ok(n)
    }

    /// Tells the client, in words of TLS, that nothing more comes.
    pub(crate) fn end_output(&mut self) {
        // To others it would be garbage.
        if self.spoken {
            self.session.send_close_notify();
        }
        // An error means that the client is gone, which is as good.
        let _gone = self.flush();
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

/// What does not begin as TLS.
#[derive(Debug, thiserror::Error)]
#[error("it does not speak TLS: it wants the plain port, or has to be told to use TLS")]
struct NoTls;

/// The socket, for rustls to write to.
struct Socket<'a>(&'a TcpStream);

impl Write for Socket<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.try_write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
