//! What all sessions of a listener share.

use bytes::Bytes;
use corgi_resp::Limits;
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::ConstantTimeEq;

/// The password of the user `default`, kept only as its SHA-256 digest.
#[derive(Clone, PartialEq, Eq)]
pub struct Password {
    digest: [u8; 32],
}

impl Password {
    /// Takes `requirepass` as configured; an empty one means that no password is needed, and gives
    /// `None`.
    pub fn new(secret: &[u8]) -> Option<Self> {
        (!secret.is_empty()).then(|| Self {
            digest: Sha256::digest(secret).into(),
        })
    }

    /// Returns whether a client gave the right password. Takes the same time however much of it is
    /// right, because only digests are compared, and those in constant time.
    pub fn matches(&self, given: &[u8]) -> bool {
        let given: [u8; 32] = Sha256::digest(given).into();
        self.digest.ct_eq(&given).into()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// What all sessions of a listener share: fixed while they live.
#[derive(Clone, Debug)]
pub struct Env {
    /// The password that `AUTH` must give; `None` lets everybody in.
    pub requirepass: Option<Password>,
    /// `SELECT` accepts 0 to one less. Channels are the same in all of them, as in Redis.
    pub databases: u32,
    /// What `HELLO` gives as `version`; client libraries gate features on it.
    pub redis_version: Bytes,
    /// The version of this program, for the node's `INFO`.
    pub corgi_version: Bytes,
    /// What `HELLO` gives as `mode`: how the listener looks to clients.
    pub mode: Bytes,
    /// What `HELLO` gives as `role`.
    pub role: Bytes,
    /// The request decoder's limits.
    pub limits: Limits,
    /// A session that waits for so many replies executes nothing more until some of them are in.
    pub max_outstanding_commands: usize,
    /// Likewise for the bytes of commands that wait and of replies that were not yet written. One
    /// command may pass it.
    pub max_outstanding_bytes: usize,
}

impl Default for Env {
    /// A listener without a password that looks like one Redis 7.4.
    fn default() -> Self {
        Self {
            requirepass: None,
            databases: 16,
            redis_version: Bytes::from_static(b"7.4.0"),
            corgi_version: Bytes::from_static(env!("CARGO_PKG_VERSION").as_bytes()),
            mode: Bytes::from_static(b"standalone"),
            role: Bytes::from_static(b"master"),
            limits: Limits::default(),
            // Enough to fill several entries of the log from one connection, few enough that a
            // thousand such connections do not fill the machine.
            max_outstanding_commands: 1024,
            max_outstanding_bytes: 4 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_password_matches() {
        let password = Password::new(b"secret").expect("not empty");
        assert!(password.matches(b"secret"));
        for wrong in [&b""[..], b"secre", b"secret ", b"Secret"] {
            assert!(!password.matches(wrong));
        }
    }

    #[test]
    fn an_empty_password_is_none_and_none_is_printed() {
        assert_eq!(Password::new(b""), None);
        assert_eq!(
            format!("{:?}", Password::new(b"secret")),
            "Some(Password(…))"
        );
    }
}
