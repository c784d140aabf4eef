//! Snapshots for those who are too far behind for the log: how one is made, fetched, and taken on.
//!
//! ```text
//!  leader                                                          follower
//!   raft wants one ─▶ Make ─▶ Made ─▶ raft offers it ── Raft ──▶ Finding ─▶ Find ─▶ Found
//!                                                                   │
//!   Read ◀──────────────────── SnapshotFetch ──────────────────  Fetching ◀───────────┐
//!    └──────────────────────── SnapshotChunk ─────────────────▶  Writing ─▶ Write ─▶ Written
//!                                                                   │ Received
//!                                                                raft ─▶ DiskJob::Install ─▶ installed
//! ```
//!
//! The receiver pulls: one piece is under way at a time, what is lost is asked for again, and after a restart it goes
//! on from what is on the disk. Whoever stops to ask does not keep the leader: after a while raft tries with entries
//! again, and if they are not there any more, with what is then the newest snapshot.
//!
//! A node that takes on a snapshot has skipped entries. Its subscribers are closed before anything else is delivered
//! (P2), and of its clients' batches those that are in the snapshot have a fate that nobody knows (P5).
//!
//! Not here: files (the server), what is in a snapshot (`corgi_state::snapshot`).

use crate::agreement::Agreement;
use crate::errors;
use crate::outputs::{DiskJob, SnapshotDone, SnapshotJob};
use crate::peer::PeerMessage;
use crate::running::{Running, own_session, send_raft};
use crate::shared::Shared;
use bytes::Bytes;
use corgi_base::codec::DecodeError;
use corgi_base::{ClientId, LogIndex, NodeId, Now, SnapshotFile};
use corgi_consensus::storage::LogReader;
use corgi_consensus::{Install, PersistToken, SnapshotOffer};
use corgi_state::State;
use slog::{info, warn};
use std::collections::{BTreeMap, BTreeSet};

/// A follower that has not asked for so many election timeouts is not waited for.
const PATIENCE_ELECTIONS: u64 = 5;
/// A follower that has taken a snapshot needs the entries after it: they are held for so many election timeouts more.
const LINGER_ELECTIONS: u64 = 2;

/// A follower that has been offered a snapshot.
#[derive(Clone, Copy, Debug)]
struct Transfer {
    /// The entries after this one are held for it.
    index: LogIndex,
    /// When it last asked for something, or has been offered the snapshot.
    heard_ms: u64,
    /// Whether it waits for the snapshot still.
    open: bool,
}

/// How far a snapshot is that this node receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It is looked up what is on the disk.
    Finding,
    /// The next bytes were asked for.
    Fetching { offset: u64, asked_ms: u64 },
    /// They are on their way to the disk.
    Writing,
}

#[derive(Debug)]
struct Receiving {
    offer: SnapshotOffer,
    step: Step,
}

/// A snapshot that is on its way to the disk.
#[derive(Debug)]
struct Installing {
    file: SnapshotFile,
    /// When the leader was last told that it is in use.
    told_ms: u64,
}

/// What a member has to do with snapshots.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    made: Option<SnapshotFile>,
    making: bool,
    transfers: BTreeMap<NodeId, Transfer>,
    /// Who waits for bytes that are being read.
    reading: BTreeSet<NodeId>,
    /// What the disk was last told to hold.
    held: Option<LogIndex>,
    receiving: Option<Receiving>,
    installing: Option<Installing>,
    pub(crate) counters: SnapshotCounters,
}

/// Counters for `INFO`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SnapshotCounters {
    /// The entry of the last one that was made here.
    pub(crate) made_index: LogIndex,
    pub(crate) made: u64,
    /// Those that followers have taken from this leader.
    pub(crate) sent: u64,
    pub(crate) installed: u64,
}

impl Snapshots {
    fn receives(&self, file: SnapshotFile) -> bool {
        let receiving = self.receiving.as_ref();
        receiving.is_some_and(|receiving| receiving.offer.file == file)
    }
}

impl<R: LogReader> Running<R> {
    /// Does what is due: makes what raft wants, gives up on those who do not ask, asks again for what is lost.
    pub(crate) fn tend_snapshots(&mut self, shared: &mut Shared, now: Now) {
        if self.group.take_snapshot_wanted() {
            self.make_snapshot(shared);
        }
        self.watch_transfers(shared, now);
        self.fetch_again(shared, now);
        self.tell_of_install(shared, now);
    }

    /// An installation may take longer than a leader waits for one who does not ask: it hears that there is nothing
    /// more to ask for.
    fn tell_of_install(&mut self, shared: &mut Shared, now: Now) {
        let leader = self.group.status().leader;
        if let (Some(installing), Some(leader)) = (&mut self.snapshots.installing, leader)
            && now.mono_ms >= installing.told_ms + shared.config.timeouts.election_ms
        {
            installing.told_ms = now.mono_ms;
            let file = installing.file;
            let nothing_more = PeerMessage::SnapshotFetch {
                file,
                offset: file.bytes,
                len: 0,
            };
            shared.out.send.push((leader, nothing_more));
        }
    }

    /// Takes note that a link to a peer is up: what was offered over the one before may be lost. The entries behind it
    /// stay meanwhile, because the peer may have fetched a part of it.
    pub(crate) fn offer_again(&mut self, peer: NodeId, now: Now) {
        if let Some(transfer) = self.snapshots.transfers.get_mut(&peer) {
            transfer.open = false;
            transfer.heard_ms = now.mono_ms;
            self.group.snapshot_failed(peer);
        }
    }

    fn make_snapshot(&mut self, shared: &mut Shared) {
        let snapshots = &mut self.snapshots;
        let newer = snapshots
            .made
            .is_none_or(|file| file.index < self.state.applied());
        // Raft asks again with every heartbeat. A disk that is almost full takes no copy of the state.
        if newer && !snapshots.making && !shared.room.is_low() {
            snapshots.making = true;
            shared.out.snapshots.push(SnapshotJob::Make);
        }
    }

    fn watch_transfers(&mut self, shared: &mut Shared, now: Now) {
        let election_ms = shared.config.timeouts.election_ms;
        let snapshots = &mut self.snapshots;
        let offered = self.group.snapshots_offered();
        for peer in &offered {
            let index = snapshots.made.map_or(LogIndex(0), |file| file.index);
            let transfer = Transfer {
                index,
                heard_ms: now.mono_ms,
                open: true,
            };
            let known = snapshots.transfers.entry(*peer).or_insert(transfer);
            if !known.open {
                *known = transfer;
            }
        }
        let leads = self.leading.is_some();
        snapshots.transfers.retain(|peer, transfer| {
            if transfer.open && !offered.contains(peer) {
                // Raft has heard from the follower that it has as much.
                transfer.open = false;
                transfer.heard_ms = now.mono_ms;
                snapshots.counters.sent += u64::from(leads);
            }
            let elections = if transfer.open {
                PATIENCE_ELECTIONS
            } else {
                LINGER_ELECTIONS
            };
            let waits = now.mono_ms < transfer.heard_ms + election_ms * elections;
            if transfer.open && !waits {
                self.group.snapshot_failed(*peer);
            }
            leads && waits
        });
        let hold = snapshots.transfers.values().map(|it| it.index).min();
        if hold != snapshots.held {
            snapshots.held = hold;
            shared.out.disk.push(DiskJob::Hold(hold));
        }
    }

    /// Takes what raft offers to this node.
    pub(crate) fn offered(&mut self, shared: &mut Shared, now: Now, offer: SnapshotOffer) {
        let file = offer.file;
        match &mut self.snapshots.receiving {
            Some(receiving) if receiving.offer.file == file => {
                receiving.offer = offer;
                if let Step::Fetching { offset, .. } = receiving.step {
                    self.fetch(shared, now, offset);
                }
            }
            receiving => {
                info!(shared.log, "receives a snapshot";
                    "peer" => %offer.from, "index" => file.index.0, "bytes" => file.bytes);
                let step = Step::Finding;
                *receiving = Some(Receiving { offer, step });
                shared.out.snapshots.push(SnapshotJob::Find(file));
            }
        }
    }

    fn fetch(&mut self, shared: &mut Shared, now: Now, offset: u64) {
        let Some(receiving) = &mut self.snapshots.receiving else {
            return;
        };
        let asked_ms = now.mono_ms;
        receiving.step = Step::Fetching { offset, asked_ms };
        let fetch = PeerMessage::SnapshotFetch {
            file: receiving.offer.file,
            offset,
            len: shared.config.limits.snapshot_chunk_bytes,
        };
        shared.out.send.push((receiving.offer.from, fetch));
    }

    fn fetch_again(&mut self, shared: &mut Shared, now: Now) {
        let Some(Receiving { offer, step }) = &self.snapshots.receiving else {
            return;
        };
        let caught_up = self.state.applied() >= offer.file.index;
        if caught_up && self.snapshots.installing.is_none() {
            // The log was enough.
            return self.stop_receiving(shared);
        }
        if let Step::Fetching { offset, asked_ms } = *step
            && now.mono_ms >= asked_ms + shared.config.timeouts.election_ms
        {
            self.fetch(shared, now, offset);
        }
    }

    fn stop_receiving(&mut self, shared: &mut Shared) {
        if self.snapshots.receiving.take().is_some() {
            shared.out.snapshots.push(SnapshotJob::Discard);
        }
    }

    /// Answers a follower that wants bytes of a snapshot.
    pub(crate) fn snapshot_fetched(
        &mut self,
        shared: &mut Shared,
        now: Now,
        to: NodeId,
        (file, offset, len): (SnapshotFile, u64, u32),
    ) {
        if let Some(transfer) = self.snapshots.transfers.get_mut(&to) {
            transfer.heard_ms = now.mono_ms;
        }
        if offset >= file.bytes {
            // It has all, and installs it.
            return;
        }
        if self.snapshots.made != Some(file) {
            let gone = PeerMessage::SnapshotGone(file);
            return shared.out.send.push((to, gone));
        }
        // One read at a time for each: what comes while it is under way has been asked for twice.
        if self.snapshots.reading.insert(to) {
            let len = len.min(shared.config.limits.snapshot_chunk_bytes);
            shared.out.snapshots.push(SnapshotJob::Read {
                to,
                file,
                offset,
                len,
            });
        }
    }

    /// Takes bytes of a snapshot.
    pub(crate) fn snapshot_chunk(
        &mut self,
        shared: &mut Shared,
        file: SnapshotFile,
        at: u64,
        bytes: Bytes,
    ) {
        if !self.snapshots.receives(file) {
            return;
        }
        let Some(receiving) = &mut self.snapshots.receiving else {
            return;
        };
        let asked = matches!(receiving.step, Step::Fetching { offset, .. } if offset == at);
        if asked && !bytes.is_empty() {
            receiving.step = Step::Writing;
            shared.out.snapshots.push(SnapshotJob::Write {
                file,
                offset: at,
                bytes,
            });
        }
    }

    /// Takes note that a peer does not have a snapshot any more, or cannot use the one that it got from here.
    pub(crate) fn snapshot_gone(&mut self, shared: &mut Shared, peer: NodeId, file: SnapshotFile) {
        if self.snapshots.receives(file) {
            info!(shared.log, "the snapshot is not there any more"; "peer" => %peer, "index" => file.index.0);
            self.stop_receiving(shared);
        } else if self.snapshots.made == Some(file) {
            warn!(shared.log, "a peer cannot use the snapshot: the next one is made anew";
                "peer" => %peer, "index" => file.index.0);
            self.forget_made();
            self.group.snapshot_failed(peer);
        }
    }

    fn forget_made(&mut self) {
        self.snapshots.made = None;
        self.group.snapshot_gone();
    }

    /// Takes what became of one of [`crate::Outputs::snapshots`].
    pub(crate) fn snapshot_done(&mut self, shared: &mut Shared, now: Now, done: SnapshotDone) {
        match done {
            SnapshotDone::Made { meta, file } => {
                info!(shared.log, "made a snapshot"; "index" => file.index.0, "bytes" => file.bytes);
                self.snapshots.making = false;
                self.snapshots.made = Some(file);
                self.snapshots.counters.made += 1;
                self.snapshots.counters.made_index = file.index;
                self.group.snapshot_made(meta, file);
            }
            SnapshotDone::Read {
                to,
                file,
                offset,
                bytes,
            } => {
                self.snapshots.reading.remove(&to);
                let message = match bytes {
                    Some(bytes) => PeerMessage::SnapshotChunk {
                        file,
                        offset,
                        bytes,
                    },
                    None => {
                        if self.snapshots.made == Some(file) {
                            self.forget_made();
                        }
                        PeerMessage::SnapshotGone(file)
                    }
                };
                shared.out.send.push((to, message));
            }
            // What comes of a file that is not received any more is of no use.
            SnapshotDone::Found { file, bytes: next } | SnapshotDone::Written { file, next }
                if self.snapshots.receives(file) =>
            {
                if next >= file.bytes {
                    self.received();
                } else {
                    self.fetch(shared, now, next);
                }
            }
            SnapshotDone::Received(file) if self.snapshots.receives(file) => self.received(),
            SnapshotDone::Damaged { file, what } if self.snapshots.receives(file) => {
                warn!(shared.log, "what was received is not the snapshot"; "error" => what);
                if let Some(receiving) = self.snapshots.receiving.take() {
                    let gone = PeerMessage::SnapshotGone(file);
                    shared.out.send.push((receiving.offer.from, gone));
                }
            }
            SnapshotDone::Found { .. }
            | SnapshotDone::Written { .. }
            | SnapshotDone::Received(_)
            | SnapshotDone::Damaged { .. } => {}
        }
    }

    /// The file is complete: raft decides whether it is needed still.
    fn received(&mut self) {
        if let Some(receiving) = self.snapshots.receiving.take() {
            self.group.accept(receiving.offer);
        }
    }

    /// Hands a snapshot that raft has taken to the disk.
    pub(crate) fn install(&mut self, shared: &mut Shared, now: Now, install: Install) {
        info!(shared.log, "installs a snapshot"; "index" => install.file.index.0);
        self.leadership.disk.handed_out(now.mono_ms);
        self.snapshots.installing = Some(Installing {
            file: install.file,
            told_ms: now.mono_ms,
        });
        // What was applied before comes before.
        if let Some(write) = self.state.take_write() {
            shared.out.disk.push(DiskJob::State(write));
        }
        shared.out.disk.push(DiskJob::Install(install));
    }

    /// Takes on the state that has replaced this node's own, which is returned.
    pub(crate) fn installed(
        &mut self,
        shared: &mut Shared,
        now: Now,
        token: PersistToken,
        restored: Result<State, DecodeError>,
    ) -> Option<State> {
        let state = match restored {
            Ok(state) => state,
            Err(error) => {
                shared.fail(format!(
                    "the snapshot holds a row that cannot be read: {error}. If a newer version of Corgi made it, start that \
                     version here."
                ));
                return None;
            }
        };
        let installing = self.snapshots.installing.take();
        assert_eq!(
            Some(state.applied()),
            installing.map(|installing| installing.file.index),
            "the state is that of the snapshot which was to be installed"
        );
        let (index, hash) = (state.applied(), state.hash());
        info!(shared.log, "installed a snapshot"; "index" => index.0, "skipped" => index.0 - self.state.applied().0);
        let replaced = std::mem::replace(&mut self.state, state);
        self.agreement = Agreement::new(index, hash);
        self.snapshots.counters.installed += 1;
        shared.skip_to(index, self.state.last_id());
        self.take_own_session(shared);
        // After that: what is left under way comes behind all that was skipped.
        shared.users_restored(&self.state);
        self.show_rules(shared);
        shared.blocked.touch_all();
        self.wake(shared, now);
        let (level, known) = (self.state.feature_level(), shared.config.feature_level);
        if shared.out.fatal.is_none() && level > known {
            shared.fail(errors::unknown_level(level, known));
        }
        if shared.out.fatal.is_some() {
            return Some(replaced);
        }
        self.members_changed(shared);
        self.leadership.disk.synced(now.mono_ms);
        let messages = self.group.installed(token);
        send_raft(shared, messages);
        Some(replaced)
    }

    /// Finds out from the state whose session this node's is, and which of its batches are in it.
    fn take_own_session(&mut self, shared: &mut Shared) {
        let id = shared.config.id;
        let Some((boot, nonce)) = self.state.session(id) else {
            return;
        };
        own_session(shared, boot, nonce, true);
        let own = (boot, nonce) == (shared.config.boot, shared.config.nonce);
        let row = self.state.sessions().find(|(node, ..)| *node == id);
        if let Some((.., last)) = row.filter(|_| own) {
            for waiter in shared.origin.skip_to(last) {
                shared.fail_write(waiter, errors::indeterminate_skipped());
            }
        }
    }
}

impl Shared {
    /// Entries were skipped up to `index`: whoever listens has missed something.
    fn skip_to(&mut self, index: LogIndex, last_id: corgi_base::MessageId) {
        self.cursors.skip_to(index, last_id);
        let first = self.cursors.next_id();
        let listens = |client: &ClientId| self.bus.listens(*client);
        for client in self.clients.ids().filter(listens).collect::<Vec<_>>() {
            self.close_lagged(client, first);
        }
    }
}
