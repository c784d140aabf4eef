//! What the log says of those who connect and cannot be talked to. A line a minute for each address, because everybody
//! can cause them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use slog::{Logger, warn};

use crate::seldom::Seldom;

/// Shared by all connections.
#[derive(Debug)]
pub(crate) struct Troubles {
    log: Logger,
    seldom: Seldom,
}

impl Troubles {
    /// Says it in `log`.
    pub(crate) fn new(log: &Logger) -> Self {
        Self {
            log: log.clone(),
            seldom: Seldom::default(),
        }
    }

    /// A client could not agree on TLS with us.
    pub(crate) fn no_handshake(&self, addr: &str, error: &io::Error) {
        if self.seldom.should_log(ip(addr), "handshake") {
            warn!(self.log, "refused a client on tls-port"; "addr" => addr, "error" => %error);
        }
    }

    /// A client begins TLS where none is spoken.
    pub(crate) fn speaks_tls(&self, addr: &str) {
        if self.seldom.should_log(ip(addr), "speaks TLS") {
            warn!(self.log, "refused a client that speaks TLS on the plain port: it wants tls-port";
                "addr" => addr);
        }
    }
}

/// Those without an address share one.
fn ip(addr: &str) -> IpAddr {
    let addr = addr.parse::<SocketAddr>();
    addr.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |addr| addr.ip())
}
