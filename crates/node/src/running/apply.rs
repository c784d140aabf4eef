//! What Raft hands out, what a committed entry leads to on its node, and whether all nodes come to the same state.

use super::{Running, send_raft};
use crate::agreement::Verdict as Compared;
use crate::errors;
use crate::origin::Session;
use crate::outputs::DiskJob;
use crate::peer::PeerMessage;
use crate::shared::Shared;
use corgi_base::{Boot, Effects, NodeId, Nonce, Now, Op};
use corgi_consensus::storage::LogReader;
use corgi_consensus::{Committed, Payload};
use corgi_state::ApplyError;
use slog::{error, info};

impl<R: LogReader> Running<R> {
    /// Takes Raft's work.
    pub(super) fn drain(&mut self, shared: &mut Shared, now: Now) {
        while let Some(work) = self.group.work() {
            send_raft(shared, work.send);
            if let Some(install) = work.install {
                self.install(shared, now, install);
            }
            if let Some(persist) = work.persist {
                self.leadership.disk.handed_out(now.mono_ms);
                shared.out.disk.push(DiskJob::Log(persist));
            }
            for grant in work.reads {
                shared.reads.grant(grant);
            }
            if work.committed.is_empty() {
                continue;
            }
            let oldest = shared.origin.oldest();
            for committed in work.committed {
                if let Err(error) = self.apply(shared, committed) {
                    shared.fail(error.to_string());
                }
                self.wake(shared, now);
                if shared.out.fatal.is_some() {
                    // What follows may be another process' that has this node's name.
                    return;
                }
            }
            self.group.applied(self.state.applied());
            if shared.origin.oldest() != oldest {
                // Only progress of this node's own batches shows that they arrive.
                self.resend_ms = now.mono_ms + shared.config.timeouts.write_ms / 4;
            }
        }
    }

    pub(super) fn apply(
        &mut self,
        shared: &mut Shared,
        committed: Committed,
    ) -> Result<(), ApplyError> {
        let Committed {
            index,
            term,
            payload,
        } = committed;
        let mut delivered = None;
        match payload {
            Payload::Empty => self.state.apply_empty(index, term),
            Payload::Members {
                voters,
                learners,
                context,
            } => {
                info!(shared.log, "members changed";
                    "index" => index.0, "voters" => ?voters, "learners" => ?learners);
                self.state
                    .apply_members(index, term, voters, learners, context)?;
                self.members_changed(shared);
            }
            Payload::Proposal { context, data } => {
                match self.state.apply(index, term, context, data)? {
                    Effects::None => {}
                    Effects::Rules => self.show_rules(shared),
                    Effects::Batch(batch) => {
                        if let [Op::HistoryRules(_)] = &batch.ops[..] {
                            self.show_rules(shared);
                        }
                        shared.deliver(&batch);
                        self.touch_channels(shared, &batch);
                        delivered = Some(batch);
                    }
                    Effects::Void(name) => {
                        shared.cursors.void(index);
                        shared.void(name);
                    }
                    Effects::Users {
                        changes,
                        revision,
                        batch,
                    } => shared.users_changed(changes, revision, batch),
                    Effects::Session {
                        node,
                        boot,
                        nonce,
                        accepted,
                    } => {
                        if node == shared.config.id {
                            own_session(shared, boot, nonce, accepted);
                        }
                    }
                    Effects::Feature(level) => {
                        let known = shared.config.feature_level;
                        if level > known {
                            shared.fail(errors::unknown_level(level, known));
                        }
                        info!(shared.log, "feature level"; "level" => level);
                    }
                    Effects::Membership => {
                        self.tell_peers(shared);
                        info!(shared.log, "cluster"; "formed" => self.state.formed(),
                            "members" => self.state.members().count());
                    }
                }
            }
        }
        self.agreement.applied(index, self.state.hash());
        shared.cursors.applied(index, delivered);
        Ok(())
    }

    /// Compares this node's state with the others', and says what its own was where it is asked.
    pub(super) fn compare_states(&mut self, shared: &mut Shared, now: Now) {
        let mut tell = self.agreement.answers(now.mono_ms);
        if self.leading.is_some() {
            tell.extend(self.agreement.due(now.mono_ms));
        }
        for (index, hash) in tell {
            shared.tell_peers(None, &PeerMessage::StateHash { index, hash });
        }
        match self.agreement.verdict(self.state.voters()) {
            None => {}
            Some(Compared::Differs { index, .. }) if self.differed == Some(index) => {}
            Some(Compared::Differs { index, node }) => {
                self.differed = Some(index);
                    error!(shared.log, "the applied state differs from another node's";
                        "index" => index.0, "peer" => %node);
            }
            Some(Compared::Deviates {
                index,
                own,
                majority,
            }) => shared.fail(format!(
                "the applied state of this node at entry {index} has the hash {own:016x}, a majority has {majority:016x}: its \
                 disk or memory is damaged, and what it serves cannot be trusted. Check the machine; then replace this node \
                 by one with an empty folder and a new node-id."
            )),
        }
    }

    /// Tells a peer that has just come what the state is here, so that damage shows before it serves for long.
    pub(crate) fn greet(&self, shared: &mut Shared, peer: NodeId) {
        if self.leading.is_some()
            && let Some((index, hash)) = self.agreement.greet()
        {
            shared.tell_peers(Some(peer), &PeerMessage::StateHash { index, hash });
        }
    }
}

/// Whether this process is, or has just ceased to be, its node's origin.
pub(crate) fn own_session(shared: &mut Shared, boot: Boot, nonce: Nonce, accepted: bool) {
    let own = boot == shared.config.boot && nonce == shared.config.nonce;
    if own && accepted {
        info!(shared.log, "session opened"; "boot" => boot.0);
        shared.origin.session = Session::Open;
    } else if own && shared.origin.session != Session::Open {
        shared.fail(format!(
            "the cluster does not let boot {boot} of node {} publish: its id is bound to another data folder, or a later \
             boot has been seen. The folder is an old copy; replace this node by one with a new node-id.",
            shared.config.id
        ));
    } else if accepted && boot >= shared.config.boot {
        shared.fail(format!(
            "another process has started as node {} with boot {boot}, this one has boot {}: stop one of them, and never run \
             two on copies of one data folder.",
            shared.config.id, shared.config.boot
        ));
    }
}
