//! What a connection knows about itself between commands.

use crate::acl::{Acl, Denials, User};
use crate::commands::client::ReplyMode;
use crate::env::Env;
use crate::pace::Pace;
use crate::transaction::{Multi, Watched};
use bytes::Bytes;
use corgi_base::{ClientId, Protocol};
use corgi_resp::Reply;
use std::sync::Arc;

/// The state that commands of one connection read and change.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ClientId,
    pub(crate) protocol: Protocol,
    /// Whether somebody has logged in, or did not have to.
    pub(crate) authenticated: bool,
    /// The users as this connection last saw them, and which version of them that was.
    pub(crate) acl: Arc<Acl>,
    acl_version: u64,
    pub(crate) user: Arc<User>,
    pub(crate) database: u8,
    /// Channels and patterns, as the node last counted them.
    pub(crate) subscriptions: u64,
    /// Shard channels, likewise.
    pub(crate) shard_subscriptions: u64,
    pub(crate) name: Option<Bytes>,
    pub(crate) lib_name: Option<Bytes>,
    pub(crate) lib_ver: Option<Bytes>,
    /// Commands that wait for `EXEC`, after `MULTI`.
    pub(crate) multi: Option<Multi>,
    /// Keys that must not change before `EXEC`.
    pub(crate) watched: Watched,
    pub(crate) replies: ReplyMode,
    pub(crate) monitor: bool,
    pub(crate) no_evict: bool,
    pub(crate) no_touch: bool,
    /// The client can follow a redirection.
    pub(crate) may_redirect: bool,
    /// What it may not do, and wanted to.
    pub(crate) denials: Denials,
    /// What the time is.
    pub(crate) now: u64,
    /// How fast it publishes.
    pub(crate) pace: Pace,
}

impl Connection {
    pub(crate) fn new(id: ClientId, env: &Env) -> Self {
        let acl_version = env.users.version();
        let acl = env.users.load();
        let user = acl.default_user().clone();
        Self {
            id,
            protocol: Protocol::Resp2,
            authenticated: user.open_to_all(),
            acl,
            acl_version,
            user,
            database: 0,
            subscriptions: 0,
            shard_subscriptions: 0,
            name: None,
            lib_name: None,
            lib_ver: None,
            multi: None,
            watched: Watched::default(),
            replies: ReplyMode::On,
            monitor: false,
            no_evict: false,
            no_touch: false,
            may_redirect: false,
            denials: Denials::default(),
            now: 0,
            pace: Pace::default(),
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

    /// Looks whether the users have changed. `false` if this connection's is not there any more: then it must end.
    pub(crate) fn refresh(&mut self, env: &Env) -> bool {
        // Read before the users are, so that a change in between is seen the next time.
        let version = env.users.version();
        if version == self.acl_version {
            return true;
        }
        let acl = env.users.load();
        let Some(user) = acl.user(self.user.name()).cloned() else {
            return false;
        };
        (self.acl, self.acl_version, self.user) = (acl, version, user);
        true
    }

    /// Returns whether the client may run commands: it has logged in, or need not.
    pub(crate) fn may_run(&self) -> bool {
        self.authenticated || self.acl.default_user().open_to_all()
    }

    /// Checks a user and a password; a failure changes nothing, as in Redis.
    pub(crate) fn authenticate(&mut self, name: &[u8], password: &[u8]) -> bool {
        let user = self.acl.authenticate(name, password).cloned();
        let accepted = user.is_some();
        if let Some(user) = user {
            self.user = user;
            self.authenticated = true;
        }
        accepted
    }

    /// Makes the client a user who has shown what is needed; a failure changes nothing.
    pub(crate) fn log_in(&mut self, name: &[u8]) -> bool {
        let user = self.acl.user(name).filter(|user| user.enabled()).cloned();
        let Some(user) = user else {
            self.denials.note_certificate(name);
            return false;
        };
        self.user = user;
        self.authenticated = true;
        true
    }

    /// Forgets what `RESET` forgets. The client library's name and version stay, as in Redis: they
    /// describe the program behind the connection.
    pub(crate) fn reset(&mut self) {
        self.protocol = Protocol::Resp2;
        self.user = self.acl.default_user().clone();
        self.authenticated = self.user.open_to_all();
        self.database = 0;
        self.subscriptions = 0;
        self.shard_subscriptions = 0;
        self.name = None;
        self.multi = None;
        self.watched = Watched::default();
        self.replies = ReplyMode::On;
        self.monitor = false;
        self.no_evict = false;
        self.no_touch = false;
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
