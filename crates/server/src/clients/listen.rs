//! Binding the sockets that clients and peers connect to.
//!
//! Sockets are bound before anything else of a start can be seen from outside, so that a port that
//! is taken is an error of the start that names the address, and not a server that nobody can
//! reach.

use std::fmt;
use std::fs::DirBuilder;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::stream::Stream;
use super::tls::TlsStream;
use crate::tls::Tls;

/// A socket that clients connect to.
#[derive(Debug)]
pub(crate) enum Listener {
    /// One address of `bind` with `port`.
    Tcp(TcpListener, SocketAddr),
    /// One address of `bind` with `tls-port`.
    Tls(TcpListener, SocketAddr, Arc<Tls>),
    /// `unixsocket`; removed when this is dropped.
    Unix(UnixListener, SocketFile),
}

impl Listener {
    /// Accepts one client, and tells whether it is on this machine.
    ///
    /// # Errors
    /// What the operating system says. The listener remains good.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, bool)> {
        match self {
            Self::Tcp(listener, _) => {
                let (stream, peer) = listener.accept().await?;
                let local = peer.ip().to_canonical().is_loopback();
                Ok((Stream::Tcp(stream), local))
            }
            Self::Tls(listener, _, tls) => {
                let (stream, peer) = listener.accept().await?;
                let local = peer.ip().to_canonical().is_loopback();
                let stream = TlsStream::new(stream, tls.clients(), tls.names_users())?;
                Ok((Stream::Tls(Box::new(stream)), local))
            }
            Self::Unix(listener, file) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream, file.0.clone()), true))
            }
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(_, addr) => write!(f, "{addr}"),
            Self::Tls(_, addr, _) => write!(f, "{addr} (TLS)"),
            Self::Unix(_, file) => write!(f, "{}", file.0.display()),
        }
    }
}

/// The file of a Unix socket.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It is in nobody's way: the next start replaces it.
        let _left_behind = std::fs::remove_file(&self.0);
    }
}

/// Binds a TCP socket and lets it listen, without a runtime.
///
/// # Errors
/// Names the address and what the operating system says, such as that the address is in use.
pub(crate) fn bind_tcp(addr: SocketAddr, backlog: i32) -> anyhow::Result<std::net::TcpListener> {
    let bind = || -> io::Result<Socket> {
        let domain = Domain::for_address(addr);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        if addr.is_ipv6() {
            // `::` must not take the IPv4 port too: that has its own address in `bind`.
            socket.set_only_v6(true)?;
        }
        // A restart must not wait for the connections of the process before.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        socket.listen(backlog)?;
        Ok(socket)
    };
    Ok(bind().with_context(|| format!("listen on {addr}"))?.into())
}

/// One address to listen on, as configured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// An IP address or a host name.
    pub(crate) host: &'a str,
    /// Whether this machine may lack it.
    pub(crate) optional: bool,
}

/// Binds every address that is wanted. An optional one that this machine does not have is left out,
/// as Redis does for addresses with a `-` before them; one whose port is taken is an error all the
/// same.
///
/// # Errors
/// As [`bind_tcp`], or if a name cannot be resolved, or if nothing is left.
pub(crate) fn bind_all(
    wanted: &[Wanted<'_>],
    port: u16,
    backlog: i32,
) -> anyhow::Result<Vec<std::net::TcpListener>> {
    let mut bound = Vec::new();
    let mut skipped = None;
    for &Wanted { host, optional } in wanted {
        let resolve = (host, port).to_socket_addrs();
        let addrs = resolve.with_context(|| format!("find the address of {host} to listen on"))?;
        for addr in addrs {
            match bind_tcp(addr, backlog) {
                Ok(listener) => bound.push(listener),
                Err(error) if optional && not_here(&error) => skipped = Some(error),
                Err(error) => return Err(error),
            }
        }
    }
    match (bound.is_empty(), skipped) {
        (true, Some(error)) => Err(error),
        (true, None) => bail!("no address to listen on for port {port}: set bind"),
        (false, _) => Ok(bound),
    }
}

/// Returns whether a machine lacks an address or a whole protocol.
fn not_here(error: &anyhow::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    const EPROTONOSUPPORT: i32 = 93;
    error.downcast_ref::<io::Error>().is_some_and(|error| {
        error.kind() == io::ErrorKind::AddrNotAvailable
            || matches!(error.raw_os_error(), Some(EAFNOSUPPORT | EPROTONOSUPPORT))
    })
}

/// A socket that is bound and listens, and that no runtime watches yet: clients may connect, and
/// wait.
#[derive(Debug)]
pub(crate) enum Bound {
    /// From [`bind_all`].
    Tcp(std::net::TcpListener),
    /// From [`bind_all`], for `tls-port`.
    Tls(std::net::TcpListener, Arc<Tls>),
    /// From [`bind_unix`].
    Unix(std::os::unix::net::UnixListener, SocketFile),
}

impl Bound {
    /// Hands the socket to the current runtime.
    ///
    /// # Errors
    /// If the runtime cannot watch it.
    pub(crate) fn watched(self) -> anyhow::Result<Listener> {
        match self {
            Self::Tcp(listener) => {
                let (listener, addr) = watched_tcp(listener)?;
                Ok(Listener::Tcp(listener, addr))
            }
            Self::Tls(listener, tls) => {
                let (listener, addr) = watched_tcp(listener)?;
                Ok(Listener::Tls(listener, addr, tls))
            }
            Self::Unix(listener, file) => {
                let listener = UnixListener::from_std(listener);
                let shown = file.0.display();
                Ok(Listener::Unix(
                    listener.with_context(|| format!("listen on {shown}"))?,
                    file,
                ))
            }
        }
    }
}

fn watched_tcp(listener: std::net::TcpListener) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let addr = listener
        .local_addr()
        .context("read the address of a socket")?;
    let listener = TcpListener::from_std(listener);
    let listener = listener.with_context(|| format!("listen on {addr}"))?;
    Ok((listener, addr))
}

/// Binds a Unix socket and lets it listen, without a runtime.
///
/// A file left by a process that is gone is replaced; one that somebody listens on is an error.
/// `mode` are the permissions (`unixsocketperm`; the umask decides without). The socket is made in
/// a folder that only this user may enter and moved into place with its permissions set, so that at
/// no moment others can connect who should not.
///
/// # Errors
/// Names the path and what the operating system says.
pub(crate) fn bind_unix(path: &Path, mode: Option<u32>) -> anyhow::Result<Bound> {
    let shown = path.display();
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        bail!("{shown} is in use by another process: stop that one, or set another unixsocket");
    }
    let mut private = path.as_os_str().to_owned();
    private.push(format!(".{}", std::process::id()));
    let private = PathBuf::from(private);
    DirBuilder::new()
        .mode(0o700)
        .create(&private)
        .with_context(|| format!("create {} for {shown}", private.display()))?;
    let made = || -> anyhow::Result<std::os::unix::net::UnixListener> {
        let inside = private.join("s");
        let listener = std::os::unix::net::UnixListener::bind(&inside)
            .with_context(|| format!("listen on {shown}"))?;
        listener
            .set_nonblocking(true)
            .with_context(|| format!("listen on {shown}"))?;
        if let Some(mode) = mode {
            std::fs::set_permissions(&inside, std::fs::Permissions::from_mode(mode))
                .with_context(|| format!("set the permissions of {shown}"))?;
        }
        std::fs::rename(&inside, path).with_context(|| format!("put {shown} in place"))?;
        Ok(listener)
    }();
    std::fs::remove_dir_all(&private).with_context(|| format!("remove {}", private.display()))?;
    Ok(Bound::Unix(made?, SocketFile(path.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: &str = "127.0.0.1";
    /// From TEST-NET-1 (RFC 5737): no machine has it.
    const NOWHERE: &str = "192.0.2.1";

    fn must(host: &str) -> Wanted<'_> {
        Wanted {
            host,
            optional: false,
        }
    }

    fn may(host: &str) -> Wanted<'_> {
        Wanted {
            host,
            optional: true,
        }
    }

    #[test]
    fn a_taken_port_is_an_error_that_names_the_address() {
        let first = bind_tcp("127.0.0.1:0".parse().expect("an address"), 16).expect("any port");
        let addr = first.local_addr().expect("bound");
        let error = bind_tcp(addr, 16).expect_err("taken");
        let text = format!("{error:#}");
        assert!(
            text.contains(&addr.to_string()) && text.contains("in use"),
            "{text}"
        );
    }

    #[test]
    fn an_optional_address_may_be_missing_but_not_the_only_one() {
        let both = bind_all(&[must(LOCAL), may(NOWHERE)], 0, 16).expect("one is there");
        assert_eq!(both.len(), 1);
        assert!(bind_all(&[may(NOWHERE)], 0, 16).is_err());
        assert!(bind_all(&[must(LOCAL), must(NOWHERE)], 0, 16).is_err());
        assert!(bind_all(&[], 0, 16).is_err());
    }

    #[test]
    fn a_unix_socket_has_its_permissions_and_a_stale_file_is_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("corgi.sock");
        let listener = bind_unix(&path, Some(0o700)).expect("bind");
        let mode = std::fs::metadata(&path)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(bind_unix(&path, Some(0o700)).is_err(), "somebody listens");
        drop(listener);
        assert!(!path.exists());

        drop(std::os::unix::net::UnixListener::bind(&path).expect("bind"));
        assert!(path.exists(), "left behind");
        bind_unix(&path, Some(0o700)).expect("nobody listens");
    }

    #[tokio::test]
    async fn a_client_of_a_unix_socket_has_its_path_as_address() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("corgi sock");
        let listener = bind_unix(&path, None).expect("bind");
        let listener = listener.watched().expect("a runtime");
        let _client = std::os::unix::net::UnixStream::connect(&path).expect("somebody listens");
        let (stream, local) = listener.accept().await.expect("a client");
        let shown = format!("{}/corgi_sock:0", dir.path().display());
        let ends = stream.ends();
        assert_eq!((&ends.addr, &ends.local_addr), (&shown, &shown));
        assert!(local && ends.unix);
    }
}
