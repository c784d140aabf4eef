//! What a session tells of itself: to its connection, to `CLIENT LIST`.

use super::{Barrier, Session};
use crate::ask::Seq;
use crate::local::View;
use crate::transaction::Multi;
use bytes::Bytes;
use corgi_base::{ClientId, Protocol, SubscriptionKind};

impl Session {
    /// Returns what `CLIENT LIST` shows.
    pub fn view(&self) -> View {
        let multi = self.conn.multi.as_ref().map(Multi::len);
        // A transaction that runs is still one.
        let exec = self.barrier.as_ref().and_then(|b| b.exec.as_ref());
        View {
            name: self.conn.name.clone(),
            lib_name: self.conn.lib_name.clone(),
            lib_ver: self.conn.lib_ver.clone(),
            user: self.conn.user.name().clone(),
            authenticated: self.authenticated(),
            database: self.conn.database.into(),
            protocol: self.conn.protocol,
            channels: self.channels,
            patterns: self.patterns,
            shard_channels: self.conn.shard_subscriptions,
            multi: multi.or_else(|| exec.map(|exec| exec.count())),
            multi_bytes: self.conn.multi.as_ref().map_or(0, Multi::bytes),
            watched: self.conn.watched.len(),
            command: self.last,
            commands: self.next.0,
            monitor: self.conn.monitor,
            paused: self.postponed.is_some(),
            blocked: self.blocks(),
            no_evict: self.conn.no_evict,
            no_touch: self.conn.no_touch,
            may_redirect: self.conn.may_redirect,
            output: self.unwritten(),
        }
    }

    /// Returns how many bytes wait to be written, with the messages that follow the reply of an `EXEC` which is not
    /// complete yet.
    pub fn unwritten(&self) -> usize {
        let exec = self.barrier.as_ref().and_then(|b| b.exec.as_ref());
        self.replies.output.len() + exec.map_or(0, |exec| exec.held_bytes())
    }

    /// Returns whether more should be read from the socket. If not, the client is ahead of what may
    /// run or of what it reads itself, and TCP shall slow it down.
    pub fn wants_input(&self) -> bool {
        let done = self.ending || self.ended;
        let waits = (self.barrier.is_some() && self.held_back) || self.postponed.is_some();
        !done && !waits && !self.full()
    }

    /// Returns whether the connection is to be closed once [`Session::output`] is written: after
    /// `QUIT`, a protocol error or [`Told::Close`](crate::Told::Close).
    pub fn closing(&self) -> bool {
        self.ended || (self.ending && self.replies.outstanding() == 0)
    }

    /// Returns how many bytes of a request it holds that has begun and is not complete.
    pub fn request_bytes(&self) -> usize {
        let postponed = self.postponed.iter().flatten();
        self.decoder.request_bytes() + postponed.map(Bytes::len).sum::<usize>()
    }

    /// Returns whether a command waits for the end of a pause.
    pub fn postpones(&self) -> bool {
        self.postponed.is_some()
    }

    /// Returns whether a command waits for entries of a stream, as long as its client wants.
    pub fn blocks(&self) -> bool {
        let asked = |barrier: &Barrier| barrier.blocks && barrier.question.is_none();
        self.barrier.as_ref().is_some_and(asked)
    }

    /// Returns the number of the request that has begun and is not complete, if there is one.
    pub fn unfinished(&self) -> Option<Seq> {
        let within = self.decoder.is_within_request() && !self.ending && !self.ended;
        within.then_some(self.next)
    }

    /// Returns the number that `CLIENT ID` answers.
    pub fn id(&self) -> ClientId {
        self.conn.id
    }

    /// Returns the protocol version in which replies now leave.
    pub fn protocol(&self) -> Protocol {
        self.conn.protocol
    }

    /// Returns whether the client may run commands.
    pub fn authenticated(&self) -> bool {
        self.conn.may_run()
    }

    /// Returns how many channels and patterns the node last counted.
    pub fn subscriptions(&self) -> u64 {
        self.conn.subscriptions
    }

    /// Returns whether the client is subscribed to anything.
    pub fn listens(&self) -> bool {
        self.conn.listens()
    }

    /// Returns whether the client is shown what others send.
    pub fn monitors(&self) -> bool {
        self.conn.monitor
    }

    /// Takes over the node's count of what the client listens to.
    pub(super) fn count(&mut self, kind: SubscriptionKind, count: u64) {
        let of_kind = match kind {
            SubscriptionKind::Channel => &mut self.channels,
            SubscriptionKind::Pattern => &mut self.patterns,
            SubscriptionKind::Shard => {
                self.conn.shard_subscriptions = count;
                return;
            }
        };
        let before = self.conn.subscriptions;
        self.conn.subscriptions = count;
        *of_kind = (*of_kind + count).saturating_sub(before);
    }
}
