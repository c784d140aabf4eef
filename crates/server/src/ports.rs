//! The sockets that the configuration names.

use std::sync::Arc;

use anyhow::Context;

use crate::clients::listen::{self, Bound, Wanted};
use crate::config::{BindAddr, Config};
use crate::tls::Tls;

fn bind(
    config: &Config,
    addrs: &[BindAddr],
    port: u16,
) -> anyhow::Result<Vec<std::net::TcpListener>> {
    let backlog = i32::try_from(config.tcp_backlog).unwrap_or(i32::MAX);
    let wanted: Vec<_> = addrs
        .iter()
        .map(|addr| Wanted {
            host: &addr.host,
            optional: addr.optional,
        })
        .collect();
    if port == 0 {
        Ok(Vec::new())
    } else {
        listen::bind_all(&wanted, port, backlog)
    }
}

/// Binds the sockets that clients will connect to.
///
/// # Errors
/// Names the option, and the address.
pub(crate) fn bind_clients(config: &Config, tls: Option<&Arc<Tls>>) -> anyhow::Result<Vec<Bound>> {
    let tcp = bind(config, &config.bind, config.port).context("open the port for clients")?;
    let mut clients: Vec<_> = tcp.into_iter().map(Bound::Tcp).collect();
    if let Some(tls) = tls {
        let bound = bind(config, &config.bind, config.tls_port);
        let bound = bound.context("open the TLS port for clients")?;
        clients.extend(
            bound
                .into_iter()
                .map(|socket| Bound::Tls(socket, tls.clone())),
        );
    }
    if let Some(path) = &config.unixsocket {
        clients.push(listen::bind_unix(path, config.unixsocketperm)?);
    }
    Ok(clients)
}

/// Binds the sockets that peers will connect to.
///
/// # Errors
/// Names the option, and the address.
pub(crate) fn bind_peers(config: &Config) -> anyhow::Result<Vec<std::net::TcpListener>> {
    bind(config, &config.peer_bind, config.peer_port).context("open the port for peers")
}
