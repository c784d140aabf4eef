//! The way of this node's batches to the leader, and of all nodes' batches into a leader's log.

use super::Running;
use crate::errors;
use crate::leading::{Leading, Verdict};
use crate::origin::{Outgoing, Session};
use crate::peer::PeerMessage;
use crate::shared::Shared;
use bytes::Bytes;
use corgi_base::op::decode_ops;
use corgi_base::{BatchHead, BatchNumber, Boot, EntryHead, InstanceId, NodeId, Nonce, Now};
use corgi_consensus::Role;
use corgi_consensus::storage::LogReader;
use slog::{info, warn};

/// A request to open a session may get lost; ask again after this time.
const SESSION_RETRY_MS: u64 = 200;

impl<R: LogReader> Running<R> {
    /// Sends again what is not applied, and waits before the next time.
    pub(crate) fn resend_from_start(&mut self, shared: &mut Shared, now: Now) {
        #[cfg(feature = "seeded-bugs")]
        if shared.bug == Some(corgi_consensus::SeededBug::ForwardedTwice) {
            shared.origin.copy_oldest();
        }
        shared.origin.rewind();
        self.resend_ms = now.mono_ms + shared.config.timeouts.write_ms / 4;
    }

    /// Takes a batch of another node's clients, if this node leads. If not, or if there is no room, the batch is
    /// dropped: its origin sends it again.
    pub(super) fn forwarded(
        &mut self,
        shared: &mut Shared,
        now: Now,
        from: NodeId,
        boot: Boot,
        batch: Outgoing,
    ) {
        if decode_ops(batch.ops, batch.data.clone()).is_err() {
            // Appended, it would stop every node.
            warn!(shared.log, "dropped a malformed batch"; "peer" => %from);
            return;
        }
        if let Appended::Expects(number) = self.append_batch(shared, now, from, boot, batch) {
            shared
                .out
                .send
                .push((from, PeerMessage::Expect { boot, number }));
        }
    }

    fn append_batch(
        &mut self,
        shared: &Shared,
        now: Now,
        origin: NodeId,
        boot: Boot,
        batch: Outgoing,
    ) -> Appended {
        let median_ms = shared
            .vitals
            .median_clock(now, shared.config.id, self.state.voters());
        let Some(leading) = &mut self.leading else {
            return Appended::No;
        };
        let Outgoing {
            number,
            ops,
            data,
            acl,
        } = batch;
        match leading.judge(origin, boot, number) {
            Verdict::Next => {
                let head = BatchHead {
                    origin,
                    boot,
                    number,
                    ops,
                    stamp: leading.stamp(now, median_ms),
                    acl,
                };
                match self.group.propose(EntryHead::Batch(head).encode(), data) {
                    Ok(_) => {
                        leading.appended_batch(&head);
                        Appended::Yes
                    }
                    Err(_) => Appended::No,
                }
            }
            Verdict::Appended => Appended::Yes,
            Verdict::Expect(next) => Appended::Expects(next),
            Verdict::NoSession => Appended::No,
        }
    }

    pub(super) fn append_session(
        &mut self,
        node: NodeId,
        instance: InstanceId,
        boot: Boot,
        nonce: Nonce,
    ) {
        let Some(leading) = &mut self.leading else {
            return;
        };
        if !leading.may_open(&self.state, node, instance, boot) {
            return;
        }
        let head = EntryHead::OpenSession {
            node,
            instance,
            boot,
            nonce,
        };
        if self.group.propose(head.encode(), Bytes::new()).is_ok() {
            leading.appended_session(&self.state, node, instance, boot);
        }
    }

    /// Notes who leads now.
    pub(super) fn follow_leader(&mut self, shared: &mut Shared, now: Now) {
        let status = self.group.status();
        if status.role != Role::Leader {
            self.leading = None;
            self.leadership.lost();
            self.orders.lost();
        } else if self
            .leading
            .as_ref()
            .is_none_or(|leading| leading.term != status.term)
        {
            let unapplied = self.group.entries_after(self.state.applied());
            let heads = unapplied.into_iter().map(|(_, context)| context);
            self.leading = Some(Leading::new(status.term, &self.state, heads));
        }
        let route = status.leader.map(|leader| (leader, status.term));
        if route == self.route {
            return;
        }
        self.route = route;
        match route {
            Some((leader, term)) => {
                info!(shared.log, "leader"; "leader" => leader.get(), "term" => term.0);
                shared.origin.led_from(now.mono_ms);
                if leader == shared.config.id {
                    // A follower that lags may not know where this leader is, and could not answer it.
                    for peer in shared.peers_up.clone() {
                        self.introduce(shared, peer);
                    }
                }
                self.resend_from_start(shared, now);
                if let Session::Closed { asked_ms } = &mut shared.origin.session {
                    *asked_ms = None;
                }
            }
            None => info!(shared.log, "no leader"; "term" => status.term.0),
        }
    }

    pub(super) fn open_session(&mut self, shared: &mut Shared, now: Now) {
        let Session::Closed { asked_ms } = shared.origin.session else {
            return;
        };
        let Some((leader, _)) = self.route else {
            return;
        };
        if asked_ms.is_some_and(|asked| now.mono_ms < asked + SESSION_RETRY_MS) {
            return;
        }
        let (id, instance) = (shared.config.id, shared.config.instance);
        let (boot, nonce) = (shared.config.boot, shared.config.nonce);
        if leader == id {
            if self.state.member(id).is_none() {
                return;
            }
            self.append_session(id, instance, boot, nonce);
        } else {
            shared.out.send.push((
                leader,
                PeerMessage::OpenSession {
                    instance,
                    boot,
                    nonce,
                },
            ));
        }
        shared.origin.session = Session::Closed {
            asked_ms: Some(now.mono_ms),
        };
    }

    pub(super) fn send_batches(&mut self, shared: &mut Shared, now: Now) {
        let Some((leader, _)) = self.route else {
            return;
        };
        let acl = shared.access.revision();
        for waiter in shared.origin.cut(acl, now.mono_ms) {
            let error = errors::waited_too_long(shared.config.timeouts.write_ms);
            shared.fail_write(waiter, error);
        }
        let (id, boot) = (shared.config.id, shared.origin.boot());
        while let Some(batch) = shared.origin.to_send() {
            if leader == id {
                match self.append_batch(shared, now, id, boot, batch) {
                    Appended::Yes => {}
                    // No room, or leadership is on its way elsewhere: the next tick or the next leader.
                    Appended::No | Appended::Expects(_) => return,
                }
            } else {
                let Outgoing {
                    number,
                    ops,
                    data,
                    acl,
                } = batch;
                let message = PeerMessage::Forward {
                    boot,
                    number,
                    ops,
                    data,
                    acl,
                };
                shared.out.send.push((leader, message));
            }
            shared.origin.sent();
        }
    }

    pub(super) fn ask_read(&mut self, shared: &mut Shared, now: Now) {
        #[cfg(feature = "seeded-bugs")]
        if shared.bug == Some(corgi_consensus::SeededBug::SubscribeWithoutReadIndex)
            && let Some(id) = shared.reads.wants_question(now.mono_ms)
        {
            shared.reads.asked(now.mono_ms, id);
            let granted = corgi_consensus::ReadGrant {
                id,
                index: Default::default(),
            };
            shared.reads.grant(granted);
        }
        if let Some(id) = shared.reads.wants_question(now.mono_ms)
            && self.group.read_index(id).is_ok()
        {
            shared.reads.asked(now.mono_ms, id);
        }
    }
}

/// What became of a batch that was to be appended.
enum Appended {
    /// It is in the log.
    Yes,
    /// Not now.
    No,
    /// Another one must come first.
    Expects(BatchNumber),
}
