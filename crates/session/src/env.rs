//! What all sessions of a listener share.

use crate::acl::Users;
use crate::scripts::Scripts;
use bytes::Bytes;
use corgi_resp::Limits;
use std::fmt;

/// Random bytes that nobody may see.
#[derive(Clone, Copy, Default)]
pub struct Secret(pub [u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What all sessions of a listener share: fixed while they live, but for the users.
#[derive(Clone, Debug)]
pub struct Env {
    /// Who may do what. The node replaces it when the cluster's users change.
    pub users: Users,
    /// What `ACL GENPASS` is made from: random, and told to nobody.
    pub secret: Secret,
    /// The scripts that `EVALSHA` finds. The nodes of a cluster do not share them, nor do Redis' replicas.
    pub scripts: Scripts,
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
    /// To how many channels and patterns together one client may be subscribed; 0 for no limit.
    pub max_subscriptions: u64,
    /// How many messages one client may publish in a second; 0 for no limit.
    pub max_publish_rate: u64,
    /// Gives the time of [`crate::Session::set_now`], for commands that end before their caller looks again; one that
    /// stands still is none.
    pub clock: fn() -> u64,
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
            users: Users::default(),
            secret: Secret::default(),
            scripts: Scripts::default(),
            databases: 16,
            redis_version: Bytes::from_static(b"7.4.0"),
            corgi_version: Bytes::from_static(env!("CARGO_PKG_VERSION").as_bytes()),
            mode: Bytes::from_static(b"standalone"),
            role: Bytes::from_static(b"master"),
            max_subscriptions: 0,
            max_publish_rate: 0,
            clock: || 0,
            limits: Limits::default(),
            // Enough to fill several entries of the log from one connection, few enough that a
            // thousand such connections do not fill the machine.
            max_outstanding_commands: 1024,
            max_outstanding_bytes: 4 << 20,
        }
    }
}
