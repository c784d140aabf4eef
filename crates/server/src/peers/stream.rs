//! The socket between two nodes, plain or with TLS, as a half that reads and a half that writes.

use super::frame::FrameError;
use crate::tls::Tls;
use rustls::pki_types::ServerName;
use rustls::{Error as TlsError, InvalidMessage};
use std::io;
use tokio::io::{AsyncRead, AsyncWrite, split};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub(super) type ReadHalf = Box<dyn AsyncRead + Send + Unpin>;
pub(super) type WriteHalf = Box<dyn AsyncWrite + Send + Unpin>;

/// Why there is no TLS connection to a peer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoTls {
    /// It says something else.
    #[error("the other side does not speak TLS: tls-cluster must be the same on all nodes")]
    NotSpoken,
    /// It left in the middle.
    #[error(
        "the other side ended the TLS handshake: its log says why; tls-cluster must be the same on \
         all nodes"
    )]
    HungUp,
    /// One side does not like the other's certificate, or its protocol.
    #[error("no TLS with the other side: {0}")]
    Refused(TlsError),
    /// The connection failed.
    #[error(transparent)]
    Io(io::Error),
}

impl From<io::Error> for NoTls {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Self::HungUp;
        }
        match error.downcast::<TlsError>() {
            Ok(TlsError::InvalidMessage(InvalidMessage::InvalidContentType)) => Self::NotSpoken,
            Ok(error) => Self::Refused(error),
            Err(error) => Self::Io(error),
        }
    }
}

impl From<NoTls> for FrameError {
    fn from(error: NoTls) -> Self {
        match error {
            NoTls::Io(error) => Self::Io(error),
            error => Self::Tls(error),
        }
    }
}

/// Takes on a connection that a peer has dialled.
pub(super) async fn accepted(
    stream: TcpStream,
    tls: Option<&Tls>,
) -> Result<(ReadHalf, WriteHalf), NoTls> {
    match tls.and_then(Tls::peers) {
        Some(tls) => Ok(halves(TlsAcceptor::from(tls.accept).accept(stream).await?)),
        None => Ok(plain(stream)),
    }
}

/// Takes on a connection that we have dialled.
pub(super) async fn dialled(
    stream: TcpStream,
    tls: Option<&Tls>,
) -> Result<(ReadHalf, WriteHalf), NoTls> {
    match tls.and_then(Tls::peers) {
        Some(tls) => {
            // Nobody looks at it.
            let name = ServerName::from(stream.peer_addr()?.ip());
            let connector = TlsConnector::from(tls.dial);
            Ok(halves(connector.connect(name, stream).await?))
        }
        None => Ok(plain(stream)),
    }
}

fn plain(stream: TcpStream) -> (ReadHalf, WriteHalf) {
    let (read, write) = stream.into_split();
    (Box::new(read), Box::new(write))
}

fn halves(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> (ReadHalf, WriteHalf) {
    let (read, write) = split(stream);
    (Box::new(read), Box::new(write))
}
