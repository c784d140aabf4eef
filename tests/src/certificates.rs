//! Certificates of an authority of their own, made by scripts/certificates.

use crate::binary;
use redis::{Client, ClientTlsConfig, Connection, ConnectionAddr, IntoConnectionInfo};
use redis::{ProtocolVersion, RedisConnectionInfo, RedisResult, TlsCertificates};
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

use crate::node::REPLY_TIMEOUT;

/// A folder with `ca`, `node` and `client`, each `.crt` and `.key`.
#[derive(Debug)]
pub struct Certificates(TempDir);

impl Certificates {
    /// Makes them.
    ///
    /// # Panics
    /// If openssl cannot.
    pub fn make() -> Self {
        let folder = TempDir::with_prefix("corgi-certificates-");
        let this = Self(folder.expect("the temporary folder can be written"));
        this.complete();
        this
    }

    /// Makes the certificates of nodes and clients again, good until yesterday.
    ///
    /// # Panics
    /// As [`Certificates::make`].
    pub fn expire(&self) {
        for name in ["node.crt", "client.crt"] {
            fs::remove_file(self.path(name)).expect("they were made");
        }
        self.make_missing("-1");
    }

    /// Makes those that are missing.
    ///
    /// # Panics
    /// As [`Certificates::make`].
    pub fn complete(&self) {
        self.make_missing("365");
    }

    fn make_missing(&self, days: &str) {
        let made = Command::new(binary::repository().join("scripts/certificates"))
            .arg(self.0.path())
            .env("CORGI_CERT_DAYS", days)
            .output()
            .expect("a script can be run");
        let errors = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "scripts/certificates: {errors}");
    }

    /// Returns the path of a file.
    pub fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// Takes over the files of others.
    ///
    /// # Panics
    /// If a file cannot be copied.
    pub fn replace(&self, with: &Self, names: &[&str]) {
        for name in names {
            // A new file in place of the old one, so that nobody reads half of it.
            let new = self.path("new");
            fs::copy(with.path(name), &new).expect("a file can be copied");
            fs::rename(&new, self.path(name)).expect("a file can be replaced");
        }
    }

    /// Returns the options of a node that uses them.
    pub fn options(&self) -> [String; 6] {
        [
            "--tls-cert-file".to_owned(),
            self.path("node.crt"),
            "--tls-key-file".to_owned(),
            self.path("node.key"),
            "--tls-ca-cert-file".to_owned(),
            self.path("ca.crt"),
        ]
    }

    /// Connects with redis-rs; `client` names the certificate that it shows, if any.
    ///
    /// # Errors
    /// If the node does not take the connection, or has no certificate of this authority.
    pub fn connect(
        &self,
        port: u16,
        protocol: ProtocolVersion,
        client: Option<&str>,
    ) -> RedisResult<Connection> {
        let read = |name: &str| fs::read(Path::new(&self.path(name))).expect("a file of ours");
        let address = ConnectionAddr::TcpTls {
            host: "localhost".to_owned(),
            port,
            insecure: false,
            tls_params: None,
        };
        let settings = RedisConnectionInfo::default().set_protocol(protocol);
        let info = address.into_connection_info()?.set_redis_settings(settings);
        let certificates = TlsCertificates {
            client_tls: client.map(|name| ClientTlsConfig {
                client_cert: read(&format!("{name}.crt")),
                client_key: read(&format!("{name}.key")),
            }),
            root_cert: Some(read("ca.crt")),
        };
        // Of the process, so that it may be there already.
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let client = Client::build_with_tls(info, certificates)?;
        let connection = client.get_connection_with_timeout(REPLY_TIMEOUT)?;
        connection.set_read_timeout(Some(REPLY_TIMEOUT))?;
        connection.set_write_timeout(Some(REPLY_TIMEOUT))?;
        Ok(connection)
    }
}
