//! What a connection knows about itself between commands.

use crate::env::Env;
use bytes::Bytes;
use corgi_base::{ClientId, Protocol};
use corgi_resp::Reply;

/// The user that a password alone belongs to, and for now the only one.
const DEFAULT_USER: &[u8] = b"default";

/// The state that commands of one connection read and change.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ClientId,
    pub(crate) protocol: Protocol,
    pub(crate) authenticated: bool,
    pub(crate) database: u32,
    /// Channels and patterns, as the node last counted them.
    pub(crate) subscriptions: u64,
    /// Shard channels, likewise.
    pub(crate) shard_subscriptions: u64,
    pub(crate) name: Option<Bytes>,
    pub(crate) lib_name: Option<Bytes>,
    pub(crate) lib_ver: Option<Bytes>,
}

impl Connection {
    pub(crate) fn new(id: ClientId, env: &Env) -> Self {
        Self {
            id,
            protocol: Protocol::Resp2,
            authenticated: env.requirepass.is_none(),
            database: 0,
            subscriptions: 0,
            shard_subscriptions: 0,
            name: None,
            lib_name: None,
            lib_ver: None,
        }
    }

    /// Returns whether the client is subscribed to anything.
    pub(crate) fn listens(&self) -> bool {
        self.subscriptions + self.shard_subscriptions > 0
    }

    /// Returns whether replies could be mistaken for messages, so that most commands are refused.
    pub(crate) fn resp2_subscribed(&self) -> bool {
        self.protocol == Protocol::Resp2 && self.listens()
    }

    /// Checks a user and a password; a failure changes nothing, as in Redis.
    pub(crate) fn authenticate(&mut self, env: &Env, user: &[u8], password: &[u8]) -> bool {
        // The digest is computed for an unknown user too, so that the time tells nothing about
        // names.
        let right = env
            .requirepass
            .as_ref()
            .is_none_or(|secret| secret.matches(password));
        let accepted = right && user == DEFAULT_USER;
        self.authenticated |= accepted;
        accepted
    }

    /// Forgets what `RESET` forgets. The client library's name and version stay, as in Redis: they
    /// describe the program behind the connection.
    pub(crate) fn reset(&mut self, env: &Env) {
        self.protocol = Protocol::Resp2;
        self.authenticated = env.requirepass.is_none();
        self.database = 0;
        self.subscriptions = 0;
        self.shard_subscriptions = 0;
        self.name = None;
    }

    /// Returns the reply of `HELLO` (<https://redis.io/docs/latest/commands/hello/>).
    pub(crate) fn hello(&self, env: &Env) -> Reply {
        let version = match self.protocol {
            Protocol::Resp2 => 2,
            Protocol::Resp3 => 3,
        };
        let field = |name: &'static str, value| (Reply::bulk(name), value);
        Reply::Map(vec![
            field("server", Reply::bulk("redis")),
            field("version", Reply::Bulk(env.redis_version.clone())),
            field("proto", Reply::Integer(version)),
            field("id", Reply::Integer(self.id_number())),
            field("mode", Reply::Bulk(env.mode.clone())),
            field("role", Reply::Bulk(env.role.clone())),
            field("modules", Reply::Array(Vec::new())),
        ])
    }

    /// Returns the id as replies show it.
    pub(crate) fn id_number(&self) -> i64 {
        i64::try_from(self.id.0).expect("a node does not accept 2^63 connections")
    }
}
