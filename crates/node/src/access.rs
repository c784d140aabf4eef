//! Who this node's clients are, and what they may do (ADR 7).
//!
//! ```text
//!   ACL SETUSER ─ rules ─▶ definition ─▶ an operation, checked against revision r
//!                             ▲                          │ applied
//!                             └── r is not the last ─────┴─▶ revision r + 1, on every node at this place of the log
//! ```
//!
//! Sessions check commands against the users as they see them. What they have let through may be overtaken by a change;
//! so a batch carries the revision that its operations were checked against, and has no effect behind a later one.
//!
//! When a change is applied here, all batches of this node that are under way come behind it, whether they are in the
//! log or not, and so are certain to have no effect: their operations are taken back, checked again, and written again
//! in the same order. Subscriptions that are not permitted any more end with their connections at the same place of the
//! log on every node.
//!
//! Not here: what rules mean (`session`), what is kept (`state`).

use crate::blocked::Reader;
use crate::errors;
use crate::origin::{Session, Waiter, Wants};
use crate::shared::Shared;
use bytes::Bytes;
use corgi_base::{BatchName, ClientId, Now, Op, SubscriptionKind, UserChanges};
use corgi_session::{Acl, Reply, Seq, Told, User, Users, UsersAsk};
use corgi_state::State;
use slog::{info, warn};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const KINDS: [SubscriptionKind; 3] = [
    SubscriptionKind::Channel,
    SubscriptionKind::Pattern,
    SubscriptionKind::Shard,
];

/// The user that every client begins as.
const DEFAULT: Bytes = Bytes::from_static(b"default");

/// A user that some client is or was, by a number that is never used again. 0 is `default`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UserKey(u32);

/// As whom a client acts, and against which revision of the users its last command was checked.
#[derive(Clone, Copy, Debug, Default)]
struct Identity {
    user: UserKey,
    revision: u64,
}

/// A change that a client waits for.
#[derive(Debug)]
struct Request {
    ask: UsersAsk,
    reply: Reply,
}

/// The users, and which of them this node's clients are.
#[derive(Debug)]
pub(crate) struct Access {
    /// What sessions see.
    shown: Users,
    acl: Arc<Acl>,
    /// The users of this node's configuration, for a cluster that has none; if it is more than the user that there is
    /// without any.
    configured: Option<Arc<Acl>>,
    all_channels: bool,
    names: Vec<Bytes>,
    /// Where each of them is.
    keys: BTreeMap<Bytes, UserKey>,
    /// Those that are not `default`, or were checked against a later revision than the first.
    identities: BTreeMap<ClientId, Identity>,
    requests: BTreeMap<(ClientId, Seq), Request>,
}

impl Access {
    /// `shown` has the users of the configuration.
    pub(crate) fn new(shown: Users, all_channels: bool) -> Self {
        let configured = shown.load();
        Self {
            acl: configured.clone(),
            shown,
            // Compared here, once: a pump asks for it.
            configured: (*configured != Acl::default()).then_some(configured),
            all_channels,
            names: vec![DEFAULT],
            keys: BTreeMap::from([(DEFAULT, UserKey::default())]),
            identities: BTreeMap::new(),
            requests: BTreeMap::new(),
        }
    }

    /// Returns how often the users have changed.
    pub(crate) fn revision(&self) -> u64 {
        self.acl.revision()
    }

    /// Returns the users that a cluster without any shall begin with, if this node has some.
    pub(crate) fn seed(&self, state: &State) -> Option<UserChanges> {
        let first = self
            .configured
            .as_ref()
            .filter(|_| state.users_revision() == 0);
        first.map(|configured| UserChanges {
            replace: true,
            changes: definitions(configured).collect(),
        })
    }

    /// Takes on the users of a state that was not reached entry by entry.
    pub(crate) fn restore(&mut self, state: &State) {
        if state.users_revision() > 0 {
            let users = state.users().map(|(name, def)| (name.clone(), def.clone()));
            self.set(Acl::stored(state.users_revision(), users));
        }
    }

    fn set(&mut self, acl: Acl) {
        self.acl = Arc::new(acl);
        self.shown.replace(self.acl.clone());
    }

    /// Whether this node's configuration has other users than the cluster.
    fn differs(&self) -> bool {
        let configured = self.configured.as_ref();
        configured.is_some_and(|configured| !configured.users().eq(self.acl.users()))
    }

    /// Takes note of who a client is.
    pub(crate) fn identify(&mut self, client: ClientId, user: &Bytes, revision: u64) {
        let known = self.keys.get(user).copied();
        let user = known.unwrap_or_else(|| {
            let at = u32::try_from(self.names.len()).expect("far fewer than 4 billion users");
            let name = Bytes::copy_from_slice(user);
            self.names.push(name.clone());
            self.keys.insert(name, UserKey(at));
            UserKey(at)
        });
        self.identities.insert(client, Identity { user, revision });
    }

    pub(crate) fn forget(&mut self, client: ClientId) {
        self.identities.remove(&client);
        self.requests.retain(|(of, _), _| *of != client);
    }

    /// Forgets a change that was refused, or whose fate is unknown.
    pub(crate) fn give_up(&mut self, client: ClientId, seq: Seq) {
        self.requests.remove(&(client, seq));
    }

    fn identity(&self, client: ClientId) -> Identity {
        self.identities.get(&client).copied().unwrap_or_default()
    }

    /// Returns as whom a client writes.
    pub(crate) fn user_of(&self, client: ClientId) -> UserKey {
        // Nobody has said anything as long as there is only `default`.
        if self.identities.is_empty() {
            return UserKey::default();
        }
        self.identity(client).user
    }

    fn user(&self, key: UserKey) -> Result<&User, Bytes> {
        let name = &self.names[key.0 as usize];
        let user = self.acl.user(name);
        user.map(|user| &**user).ok_or_else(errors::user_gone)
    }

    /// Checks what a client writes, if its session did not know the present users.
    pub(crate) fn check_write(&self, waiter: Waiter, ops: &[Op]) -> Result<(), Bytes> {
        if self.revision() == 0 || self.identity(waiter.client).revision >= self.revision() {
            return Ok(());
        }
        let user = self.user(waiter.user)?;
        ops.iter().try_for_each(|op| user.check_op(op))
    }

    /// Checks a subscription at the place of the log where it begins.
    pub(crate) fn check_subscription(
        &self,
        client: ClientId,
        kind: SubscriptionKind,
        names: &[Bytes],
    ) -> Result<(), Bytes> {
        if self.revision() == 0 {
            return Ok(());
        }
        let user = self.user(self.identity(client).user)?;
        names
            .iter()
            .try_for_each(|name| user.check_subscription(kind, name))
    }

    /// Checks what a client begins to wait for.
    pub(crate) fn check_waiting(&self, client: ClientId, op: &Op) -> Result<(), Bytes> {
        if self.revision() == 0 {
            return Ok(());
        }
        self.user(self.identity(client).user)?.check_op(op)
    }

    /// Returns the operation that makes a change, and the reply when it is applied; or the reply if there is nothing to
    /// change.
    fn compute(&self, ask: &UsersAsk) -> Result<(Option<UserChanges>, Reply), Bytes> {
        let (mut changes, reply) = match ask {
            UsersAsk::Set { name, rules } => {
                let definition = self.acl.set_user(name, rules, self.all_channels)?;
                let changes = UserChanges {
                    replace: false,
                    changes: vec![(name.clone(), Some(definition))],
                };
                (changes, Reply::ok())
            }
            UsersAsk::Delete(names) => {
                if names.iter().any(|name| name == "default") {
                    return Err(Bytes::from_static(errors::DEFAULT_USER));
                }
                let known = names.iter().filter(|name| self.acl.user(name).is_some());
                let gone: BTreeSet<&Bytes> = known.collect();
                let count = i64::try_from(gone.len()).unwrap_or(i64::MAX);
                if gone.is_empty() {
                    return Ok((None, Reply::Integer(0)));
                }
                let changes = UserChanges {
                    replace: false,
                    changes: gone.into_iter().cloned().map(|name| (name, None)).collect(),
                };
                (changes, Reply::Integer(count))
            }
            UsersAsk::Replace(users) => {
                let users = users.iter().cloned();
                let changes = UserChanges {
                    replace: true,
                    changes: users.map(|(name, def)| (name, Some(def))).collect(),
                };
                (changes, Reply::ok())
            }
        };
        if self.revision() == 0 && !changes.replace {
            // The cluster takes on this node's users as a whole: they count here already.
            let mut all: BTreeMap<Bytes, Option<Bytes>> = definitions(&self.acl).collect();
            all.extend(changes.changes);
            all.retain(|_, definition| definition.is_some());
            changes = UserChanges {
                replace: true,
                changes: all.into_iter().collect(),
            };
        }
        Ok((Some(changes), reply))
    }

    /// Checks a write again that was taken back. Returns what is to be written in its place, nothing for whom nobody
    /// waits any more, or what its client is told.
    fn check_again(&mut self, waiter: Waiter, ops: Vec<Op>) -> Result<Vec<Op>, Option<Reply>> {
        let refuse = |text: Bytes| Some(Reply::error(text));
        let key = (waiter.client, waiter.seq);
        let of_users = ops.iter().any(|op| matches!(op, Op::Users(_)));
        let request = of_users.then(|| self.requests.remove(&key));
        let user = self.user(waiter.user).map_err(refuse)?;
        let Some(request) = request else {
            let allowed = ops.iter().try_for_each(|op| user.check_op(op));
            return allowed.map(|()| ops).map_err(refuse);
        };
        let Request { ask, .. } = request.ok_or(None)?;
        user.check_users_ask(&ask).map_err(refuse)?;
        match self.compute(&ask).map_err(refuse)? {
            (None, reply) => Err(Some(reply)),
            (Some(changes), reply) => {
                self.requests.insert(key, Request { ask, reply });
                Ok(vec![Op::Users(changes)])
            }
        }
    }
}

fn definitions(acl: &Acl) -> impl Iterator<Item = (Bytes, Option<Bytes>)> {
    acl.users()
        .map(|user| (user.name().clone(), Some(user.definition())))
}

impl Shared {
    /// Takes a change of users that a client asks for.
    pub(crate) fn change_users(&mut self, now: Now, client: ClientId, seq: Seq, ask: UsersAsk) {
        match self.access.compute(&ask) {
            Err(text) => self.clients.error(client, seq, text),
            Ok((None, reply)) => self.clients.reply(client, seq, reply),
            Ok((Some(changes), reply)) => {
                let request = Request { ask, reply };
                self.access.requests.insert((client, seq), request);
                self.write(now, client, seq, Wants::One, &[Op::Users(changes)]);
            }
        }
    }

    /// Takes note of a change in the log.
    pub(crate) fn users_changed(
        &mut self,
        changes: UserChanges,
        revision: u64,
        batch: Option<BatchName>,
    ) {
        let before = self.access.acl.clone();
        let UserChanges { replace, changes } = changes;
        self.access
            .set(before.changed(revision, replace, changes.into_iter()));
        info!(self.log, "users changed"; "revision" => revision);
        if batch.is_none() && self.access.differs() {
            self.warn_of_other_users();
        }
        for waiter in batch.map(|name| self.void(name)).unwrap_or_default() {
            let request = self.access.requests.remove(&(waiter.client, waiter.seq));
            if let Some(Request { reply, .. }) = request {
                self.clients.reply(waiter.client, waiter.seq, reply);
            }
        }
        self.recheck_writes();
        self.recheck_subscriptions(&before);
        self.recheck_blocked();
    }

    /// Says that a configuration is not what counts.
    pub(crate) fn warn_of_other_users(&self) {
        warn!(self.log, "the users of this node's configuration are not those of the cluster, which count; change \
            them with ACL SETUSER, and the configuration to match";
            "revision" => self.access.revision());
    }

    /// Takes on the users of a state that was not reached entry by entry: what is under way was checked against others.
    pub(crate) fn users_restored(&mut self, state: &State) {
        let before = self.access.acl.clone();
        self.access.restore(state);
        if self.access.revision() != before.revision() {
            self.recheck_writes();
            self.recheck_subscriptions(&before);
            self.recheck_blocked();
        }
        if self.access.revision() > 0 && self.access.differs() {
            self.warn_of_other_users();
        }
    }

    /// Takes note that a batch is applied and had no effect of its own. Returns who waits for it.
    pub(crate) fn void(&mut self, name: BatchName) -> Vec<Waiter> {
        let ours = name.origin == self.config.id && name.boot == self.origin.boot();
        if ours {
            self.origin.applied(name.number)
        } else {
            Vec::new()
        }
    }

    /// Every write that is under way comes behind the last change of the users, and so has no effect.
    fn recheck_writes(&mut self) {
        let mut again = Vec::new();
        for mut taken in self.origin.take_back() {
            let Waiter { client, seq, .. } = taken.waiter;
            match self.access.check_again(taken.waiter, taken.ops) {
                Ok(ops) => {
                    taken.ops = ops;
                    again.push(taken);
                }
                Err(Some(reply)) => {
                    self.blocked.forget(client);
                    self.clients.reply(client, seq, reply);
                }
                Err(None) => {}
            }
        }
        self.origin.write_again(again);
    }

    /// Ends the waiting for what is not permitted any more. What is under way is checked with all other writes.
    fn recheck_blocked(&mut self) {
        let denied = |(number, reader): (u64, &Reader)| {
            let user = self.access.user(self.access.user_of(reader.client));
            let checked = user.and_then(|user| user.check_op(&reader.wanted.op()));
            Some((number, checked.err().filter(|_| !reader.asked)?))
        };
        let denied: Vec<(u64, Bytes)> = self.blocked.readers().filter_map(denied).collect();
        for (number, text) in denied {
            if let Some(reader) = self.blocked.remove(number) {
                self.clients.error(reader.client, reader.seq, text);
            }
        }
    }

    /// Ends the connections of users that are gone, and those with a subscription that is not permitted any more.
    fn recheck_subscriptions(&mut self, before: &Acl) {
        let mut ends = Vec::new();
        for client in self.clients.ids() {
            let key = self.access.user_of(client);
            let name = &self.access.names[key.0 as usize];
            let user = self.access.acl.user(name);
            if user == before.user(name) {
                continue;
            }
            let denied = |user: &Arc<User>| {
                KINDS.into_iter().any(|kind| {
                    let names = self.bus.names(client, kind);
                    names
                        .iter()
                        .any(|name| user.check_subscription(kind, name).is_err())
                })
            };
            // Until its session is in the log a node may not have applied all that changed before: it has let clients
            // in by users that are not the cluster's.
            let provisional = self.origin.session != Session::Open;
            if provisional || user.is_none_or(denied) {
                ends.push(client);
            }
        }
        for client in ends {
            info!(self.log, "closed a client whose permissions were revoked"; "client" => ?client);
            self.bus.reset(client);
            self.cursors.end(client);
            self.forget_reads(client);
            self.clients.tell(client, Told::Close { error: None });
        }
    }
}
