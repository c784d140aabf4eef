//! TLS: from the files that the configuration names to what connections are made with.
//!
//! | module | holds |
//! |---|---|
//! | [`files`] | reading certificates and keys, and what is wrong with them |
//! | [`reload`] | reading them again, or others, while the process runs |
//! | [`configs`] | who must show a certificate, which certificates are good |
//! | [`subject`] | whose a certificate is |
//!
//! Invariants
//! - Whatever is wrong with a file is told with the option that names it and with what to do.
//! - Files are read again as a whole: all that is new is used, or nothing is, and what was there goes on.
//! - A connection keeps what it began with.
//! - Types of rustls stay inside this crate.
//!
//! Not here: sockets (`clients::tls`, `peers::stream`).

mod configs;
mod files;
mod reload;
mod subject;
#[cfg(test)]
pub(crate) mod tests;

use rustls::{ClientConfig, ServerConfig};
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::secret_file;

use files::Files;
pub(crate) use reload::Reload;
pub(crate) use subject::common_name;

/// Whether clients show a certificate: `tls-auth-clients`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthClients {
    /// They must.
    Required,
    /// Who shows one must show a good one.
    Optional,
    /// They are not asked.
    No,
}

/// What the configuration says about TLS, if there is any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// Whether there is a `tls-port`.
    pub clients: bool,
    /// `tls-cluster`: whether nodes talk TLS to each other.
    pub cluster: bool,
    /// `tls-cert-file`: this node's certificate, and those that lead from it to the authority's.
    pub cert_file: Option<PathBuf>,
    /// `tls-key-file`: its key.
    pub key_file: Option<PathBuf>,
    /// `tls-ca-cert-file`: the authorities whose certificates are good.
    pub ca_cert_file: Option<PathBuf>,
    /// `tls-ca-cert-dir`: a folder of the same.
    pub ca_cert_dir: Option<PathBuf>,
    /// `tls-auth-clients`.
    pub auth_clients: AuthClients,
    /// `tls-auth-clients-user`: whether a client is the user that its certificate names.
    pub names_users: bool,
    /// Whether TLS 1.2 is spoken, and TLS 1.3: `tls-protocols`.
    pub protocols: (bool, bool),
}

impl TlsOptions {
    /// Whether certificates of others are ever looked at.
    fn needs_authorities(&self) -> bool {
        self.cluster || (self.clients && self.auth_clients != AuthClients::No)
    }
}

/// What is wrong with the value of an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsProblem {
    /// The name of the option.
    pub(crate) option: &'static str,
    /// What is wrong, and what to do.
    pub(crate) text: String,
}

impl TlsProblem {
    fn new(option: &'static str, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { option, text }
    }
}

/// All that is wrong. Never empty.
#[derive(Debug, thiserror::Error)]
pub(crate) struct TlsError(pub(crate) Vec<TlsProblem>);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (k, TlsProblem { option, text }) in self.0.iter().enumerate() {
            let gap = if k == 0 { "" } else { "; " };
            write!(f, "{gap}{option}: {text}")?;
        }
        Ok(())
    }
}

/// What connections between nodes are made with: both sides show the same certificate.
#[derive(Clone, Debug)]
pub(crate) struct PeerTls {
    pub(crate) accept: Arc<ServerConfig>,
    pub(crate) dial: Arc<ClientConfig>,
}

/// What new connections are made with now.
#[derive(Debug)]
struct Current {
    clients: Arc<ServerConfig>,
    names_users: bool,
    peers: Option<PeerTls>,
}

impl Current {
    fn read(options: &TlsOptions) -> Result<Self, TlsError> {
        let files = Files::read(options).map_err(TlsError)?;
        let one = |problem| TlsError(vec![problem]);
        let clients = configs::for_clients(&files, options).map_err(one)?;
        let peers = options.cluster.then(|| configs::for_peers(&files, options));
        let peers = peers.transpose().map_err(one)?;
        Ok(Self {
            clients: Arc::new(clients),
            names_users: options.names_users,
            peers,
        })
    }
}

/// The TLS of this process. Connections ask for what they are made with when they begin.
#[derive(Debug)]
pub(crate) struct Tls {
    /// Held while files are read, so that two changes do not mix; connections do not wait for it.
    options: Mutex<TlsOptions>,
    current: RwLock<Current>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] with all that is wrong with them.
    pub(crate) fn load(options: TlsOptions) -> Result<Self, TlsError> {
        let current = RwLock::new(Current::read(&options)?);
        let options = Mutex::new(options);
        Ok(Self { options, current })
    }

    /// Reads the files again, for connections that begin from now on.
    ///
    /// # Errors
    /// As [`Tls::load`]; then nothing has changed.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        let options = self.options();
        self.use_now(Current::read(&options)?);
        Ok(())
    }

    /// Goes by other options, for connections that begin from now on.
    ///
    /// # Errors
    /// As [`Tls::load`]; then nothing has changed.
    pub(crate) fn replace(&self, new: TlsOptions) -> Result<(), TlsError> {
        let mut options = self.options();
        self.use_now(Current::read(&new)?);
        *options = new;
        Ok(())
    }

    /// What to tell the operator if others may read the key.
    pub(crate) fn key_warning(&self) -> Option<String> {
        let path = self.options().key_file.clone()?;
        let mode = std::fs::metadata(&path).ok()?.permissions().mode() & 0o7777;
        secret_file::warning(&path.display().to_string(), "the key of TLS", mode)
    }

    fn options(&self) -> MutexGuard<'_, TlsOptions> {
        self.options.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn use_now(&self, new: Current) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// Returns what a client's connection is made with.
    pub(crate) fn clients(&self) -> Arc<ServerConfig> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.clients.clone()
    }

    /// Whether a client is the user that its certificate names.
    pub(crate) fn names_users(&self) -> bool {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.names_users
    }

    /// Returns what a connection between nodes is made with; `None` if it is plain.
    pub(crate) fn peers(&self) -> Option<PeerTls> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.peers.clone()
    }
}
