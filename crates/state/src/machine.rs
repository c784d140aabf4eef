//! Applying entries.

mod facts;

use crate::history::{self, History};
use crate::keys::{Keyspace, When};
use crate::rows::{self, Meta, OriginRow};
use crate::store::StateWrite;
use bytes::Bytes;
use corgi_base::codec::DecodeError;
use corgi_base::op::decode_ops;
use corgi_base::{
    Answer, AppliedBatch, BatchHead, BatchName, BatchNumber, Boot, ClusterId, Effects, EntryHead,
    InstanceId, LogIndex, Member, MessageId, NodeId, Nonce, Op, Outcome, Stamp, Term, UserChanges,
};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The feature level from which on the history of channels is kept.
pub const HISTORY_LEVEL: u32 = 3;

/// An entry that this build cannot apply. The node must stop: to skip what the others apply would
/// be to differ from them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// A format, kind or operation that this build does not know, or bytes that are none.
    #[error(
        "entry {index} cannot be applied: {error}. If a newer version of Corgi wrote it, start that version here; if not, \
         replace this node by one with a new id."
    )]
    Unknown {
        /// Where it stands.
        index: LogIndex,
        /// What does not fit.
        error: DecodeError,
    },
    /// A batch out of its origin's order, which a leader never appends.
    #[error(
        "entry {index} holds batch {number} of {origin:?} boot {boot}, but batch {expected} of boot {expected_boot} must come \
         next: this log was not written by a correct leader. Stop all nodes and report it."
    )]
    OutOfOrder {
        /// Where it stands.
        index: LogIndex,
        /// Whose batch.
        origin: NodeId,
        /// The boot in the entry.
        boot: Boot,
        /// The number in the entry.
        number: BatchNumber,
        /// The boot that has the session.
        expected_boot: Boot,
        /// The number that must come next.
        expected: BatchNumber,
    },
    /// An id that does not grow.
    #[error(
        "entry {index} begins with the id {first}, which is not after {last}: this log was not written by a correct leader. \
         Stop all nodes and report it."
    )]
    IdNotGrowing {
        /// Where it stands.
        index: LogIndex,
        /// The entry's first id.
        first: MessageId,
        /// The last id before it.
        last: MessageId,
    },
}

/// The state of the cluster up to one entry of the log: the same on every node that has applied as much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    meta: Meta,
    origins: BTreeMap<NodeId, OriginRow>,
    members: BTreeMap<NodeId, Member>,
    /// Those that have left, and the data folders that they were bound to.
    gone: BTreeMap<NodeId, InstanceId>,
    /// New members, and whom they replace once they have caught up.
    heirs: BTreeMap<NodeId, NodeId>,
    /// The definitions of users.
    users: BTreeMap<Bytes, Bytes>,
    /// How often the users have changed.
    acl: u64,
    keys: Keyspace,
    history: History,
    /// The rows besides the meta row that have changed since the last [`State::take_write`].
    dirty: Vec<rows::Key>,
    /// Rows of history that have changed since then; of equal keys the last counts.
    dirty_history: Vec<history::Change>,
    /// What was applied at the last [`State::take_write`].
    written: LogIndex,
    touched: Touched,
}

/// The keys that the last entry may have changed, for those who wait. Nothing that a state is: two that differ only in
/// it are equal.
#[derive(Clone, Debug, Default)]
struct Touched(Vec<(u8, Bytes)>);

impl PartialEq for Touched {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Touched {}

impl State {
    /// Returns the state before the first entry: the founder alone votes.
    pub fn new(founder: NodeId) -> Self {
        Self::with_meta(Meta::new(founder))
    }

    fn with_meta(meta: Meta) -> Self {
        Self {
            meta,
            origins: BTreeMap::new(),
            members: BTreeMap::new(),
            gone: BTreeMap::new(),
            heirs: BTreeMap::new(),
            users: BTreeMap::new(),
            acl: 0,
            keys: Keyspace::default(),
            history: History::default(),
            dirty: Vec::new(),
            dirty_history: Vec::new(),
            written: LogIndex(0),
            touched: Touched::default(),
        }
    }

    /// Reads the state from its rows; none at all are the state before the first entry.
    ///
    /// # Errors
    /// [`DecodeError`] if a row does not hold what it should.
    pub fn restore(founder: NodeId, stored: &[(Bytes, Bytes)]) -> Result<Self, DecodeError> {
        if stored.is_empty() {
            return Ok(Self::new(founder));
        }
        Self::of_snapshot(stored)
    }

    /// Reads the state from the rows of one that has applied something.
    ///
    /// # Errors
    /// [`DecodeError`] if a row does not hold what it should, or the one that says how far it is applied is not there.
    pub fn of_snapshot(stored: &[(Bytes, Bytes)]) -> Result<Self, DecodeError> {
        let meta = rows::Key::Meta.encode();
        let found = stored.iter().find(|(key, _)| *key == meta);
        let (_, meta) = found.ok_or(DecodeError::Invalid {
            field: "state without its first row",
        })?;
        let mut state = Self::with_meta(Meta::decode(meta.clone())?);
        for (key, value) in stored {
            match rows::Key::decode(key)? {
                rows::Key::Meta => {}
                rows::Key::Origin(node) => {
                    state
                        .origins
                        .insert(node, OriginRow::decode(value.clone())?);
                }
                rows::Key::Member(node) => {
                    state
                        .members
                        .insert(node, rows::decode_member(node, value.clone())?);
                }
                rows::Key::Gone(node) => {
                    state.gone.insert(node, rows::decode_gone(value.clone())?);
                }
                rows::Key::Heir(node) => {
                    state.heirs.insert(node, rows::decode_heir(value.clone())?);
                }
                rows::Key::User(name) => {
                    let definition = Bytes::copy_from_slice(value);
                    state.users.insert(name, definition);
                }
                rows::Key::Users => state.acl = rows::decode_revision(value.clone())?,
                rows::Key::Value(db, name) => state.keys.restore(db, &name, value.clone())?,
                rows::Key::Stream(row) => state.keys.restore_stream(row, value.clone())?,
                rows::Key::History(row) => state.history.restore(row, value.clone())?,
            }
        }
        state.keys.restored();
        state.written = state.meta.applied;
        Ok(state)
    }

    /// Applies an entry that was proposed.
    ///
    /// # Errors
    /// [`ApplyError`], the same on every node of this build; the state is as it was before.
    ///
    /// # Panics
    /// If `index` is not the next one.
    pub fn apply(
        &mut self,
        index: LogIndex,
        term: Term,
        context: Bytes,
        data: Bytes,
    ) -> Result<Effects, ApplyError> {
        let unknown = |error| ApplyError::Unknown { index, error };
        let changed_from = self.changed();
        let effects = match EntryHead::decode(context.clone()).map_err(unknown)? {
            EntryHead::Batch(head) => self.apply_batch(index, head, data.clone())?,
            EntryHead::OpenSession {
                node,
                instance,
                boot,
                nonce,
            } => self.open_session(node, instance, boot, nonce),
            EntryHead::Bootstrap { cluster, members } => {
                self.bootstrap(cluster, members);
                Effects::Membership
            }
            EntryHead::Formed => {
                self.meta.formed = true;
                Effects::Membership
            }
            EntryHead::Join { .. } | EntryHead::Leave { .. } => {
                return Err(unknown(DecodeError::Invalid {
                    field: "entry kind of a proposal",
                }));
            }
            EntryHead::Feature { level } => {
                let before = self.meta.feature_level;
                self.meta.feature_level = before.max(level);
                if before < HISTORY_LEVEL && self.keeps_history() {
                    self.history.begin(self.meta.last_id);
                }
                Effects::Feature(self.meta.feature_level)
            }
            // A second beginning could only follow from a leader that did not know of the first.
            EntryHead::Users(_) if self.acl > 0 => Effects::None,
            EntryHead::Users(changes) => self.change_users(changes, None),
            EntryHead::History(_) if self.history.is_ruled() => Effects::None,
            EntryHead::History(rules) => {
                self.history.set_rules(rules, self.meta.last_id);
                Effects::Rules
            }
            EntryHead::Time { stamp } => {
                self.take_stamp(index, stamp, 1)?;
                Effects::None
            }
        };
        self.note_rows();
        self.advance(index, term);
        self.extend_hash(&[&context, &data], changed_from);
        Ok(effects)
    }

    /// Applies an entry without content.
    ///
    /// # Panics
    /// If `index` is not the next one.
    pub fn apply_empty(&mut self, index: LogIndex, term: Term) {
        self.advance(index, term);
        self.extend_hash(&[], self.changed());
    }

    /// Applies a change of who votes and who only receives. `context` is the head of the entry; empty for a change that
    /// binds nobody. A node that is in neither list any more has left for ever, and with it its session.
    ///
    /// # Errors
    /// [`ApplyError`], as for [`State::apply`].
    ///
    /// # Panics
    /// If `index` is not the next one.
    pub fn apply_members(
        &mut self,
        index: LogIndex,
        term: Term,
        voters: Vec<NodeId>,
        learners: Vec<NodeId>,
        context: Bytes,
    ) -> Result<(), ApplyError> {
        let changed_from = self.changed();
        if !context.is_empty() {
            let unknown = |error| ApplyError::Unknown { index, error };
            match EntryHead::decode(context.clone()).map_err(unknown)? {
                EntryHead::Join { member, replaces } => self.join(member, replaces),
                EntryHead::Leave { .. } => {}
                EntryHead::Batch(_)
                | EntryHead::OpenSession { .. }
                | EntryHead::Bootstrap { .. }
                | EntryHead::Formed
                | EntryHead::Feature { .. }
                | EntryHead::Users(_)
                | EntryHead::History(_)
                | EntryHead::Time { .. } => {
                    return Err(unknown(DecodeError::Invalid {
                        field: "entry kind of a change",
                    }));
                }
            }
        }
        let before = self.meta.voters.iter().chain(&self.meta.learners);
        let left: Vec<NodeId> = before
            .filter(|node| !voters.contains(node) && !learners.contains(node))
            .copied()
            .collect();
        for node in left {
            self.leave(node);
        }
        self.meta.voters = voters;
        self.meta.learners = learners;
        self.advance(index, term);
        self.extend_hash(&[&context], changed_from);
        Ok(())
    }

    fn join(&mut self, member: Member, replaces: Option<NodeId>) {
        let node = member.id;
        self.members.insert(node, member);
        self.dirty.push(rows::Key::Member(node));
        if let Some(replaced) = replaces {
            self.heirs.insert(node, replaced);
            self.dirty.push(rows::Key::Heir(node));
        }
    }

    fn leave(&mut self, node: NodeId) {
        if let Some(member) = self.members.remove(&node) {
            self.gone.insert(node, member.instance);
            self.dirty
                .extend([rows::Key::Member(node), rows::Key::Gone(node)]);
        }
        if self.origins.remove(&node).is_some() {
            self.dirty.push(rows::Key::Origin(node));
        }
        let done = |heir: &NodeId, replaced: &NodeId| *heir == node || *replaced == node;
        for (heir, _) in self
            .heirs
            .extract_if(.., |heir, replaced| done(heir, replaced))
        {
            self.dirty.push(rows::Key::Heir(heir));
        }
    }

    /// How many rows have changed since the last write.
    fn changed(&self) -> (usize, usize) {
        (self.dirty.len(), self.dirty_history.len())
    }

    fn advance(&mut self, index: LogIndex, term: Term) {
        assert_eq!(
            index,
            self.meta.applied.next(),
            "entries are applied in order, each once"
        );
        self.meta.applied = index;
        self.meta.applied_term = term;
    }

    /// Takes an entry into the running hash: what it said, and which rows it left behind. Two nodes
    /// with equal hashes have applied the same entries, to the same effect.
    fn extend_hash(&mut self, entry: &[&[u8]], (changed_from, history_from): (usize, usize)) {
        let mut hash = self.meta.hash;
        for part in entry {
            hash = xxh3_64_with_seed(part, hash);
        }
        for key in &self.dirty[changed_from..] {
            hash = xxh3_64_with_seed(&key.encode(), hash);
            // A removed row leaves its key.
            hash = xxh3_64_with_seed(&self.row(key).unwrap_or_default(), hash);
        }
        for history::Change { key, row } in &self.dirty_history[history_from..] {
            hash = xxh3_64_with_seed(key, hash);
            hash = xxh3_64_with_seed(row.as_deref().unwrap_or_default(), hash);
        }
        self.meta.hash = xxh3_64_with_seed(&self.meta.encode(), hash);
    }

    fn apply_batch(
        &mut self,
        index: LogIndex,
        head: BatchHead,
        data: Bytes,
    ) -> Result<Effects, ApplyError> {
        let BatchHead {
            origin,
            boot,
            number,
            ops,
            stamp,
            acl,
        } = head;
        let row = self.origins.get(&origin);
        let (expected_boot, expected) =
            row.map_or((Boot(0), BatchNumber(0)), |row| (row.boot, row.last.next()));
        if (boot, number) != (expected_boot, expected) {
            return Err(ApplyError::OutOfOrder {
                index,
                origin,
                boot,
                number,
                expected_boot,
                expected,
            });
        }
        let ops = decode_ops(ops, data).map_err(|error| ApplyError::Unknown { index, error })?;
        if !ops.is_empty() {
            self.take_stamp(index, stamp, ops.len() as u64)?;
        }
        let row = self.origins.get_mut(&origin);
        row.expect("a batch that is next has a session").last = number;
        self.dirty.push(rows::Key::Origin(origin));
        let name = BatchName {
            origin,
            boot,
            number,
        };
        if acl < self.acl && !ops.is_empty() {
            return Ok(Effects::Void(name));
        }
        if let [Op::Users(changes)] = &ops[..] {
            return Ok(self.change_users(changes.clone(), Some(name)));
        }
        let outcomes = self.execute(stamp, &ops);
        if self.keeps_history() {
            self.keep_messages(index, stamp, &ops, &outcomes);
        }
        Ok(Effects::Batch(AppliedBatch {
            index,
            origin,
            boot,
            number,
            first: stamp,
            ops,
            outcomes,
        }))
    }

    /// Takes on the ids of `count` operations, and lets what is due by then expire.
    fn take_stamp(&mut self, index: LogIndex, first: Stamp, count: u64) -> Result<(), ApplyError> {
        let last = self.meta.last_id;
        if first <= last {
            return Err(ApplyError::IdNotGrowing { index, first, last });
        }
        self.meta.last_id = MessageId {
            ms: first.ms,
            seq: first.seq + (count - 1),
        };
        self.keys.expire(millis(first.ms));
        self.history.expire(first.ms);
        Ok(())
    }

    /// Does the operations of a batch; the outcomes are left out if all of them are for those who listen.
    fn execute(&mut self, first: Stamp, ops: &[Op]) -> Vec<Outcome> {
        let listened = |op: &Op| matches!(op, Op::Publish { .. } | Op::ShardPublish { .. });
        if ops.iter().all(listened) {
            return Vec::new();
        }
        let mut void = 0;
        let mut outcomes = Vec::with_capacity(ops.len());
        for (k, op) in (0u64..).zip(ops) {
            if void > 0 {
                void -= 1;
                outcomes.push(Outcome::Void);
                continue;
            }
            outcomes.push(match op {
                Op::Publish { .. } | Op::ShardPublish { .. } | Op::Users(_) => Outcome::Published,
                Op::HistoryRules(change) => {
                    let rules = change.applied_to(self.history.rules());
                    let seq = first.seq + k;
                    self.history
                        .set_rules(rules, MessageId { ms: first.ms, seq });
                    Outcome::Answered(Answer::Ok)
                }
                Op::Key { db, op } => {
                    let seq = first.seq + k;
                    let when = When {
                        id: MessageId { ms: first.ms, seq },
                        now_ms: millis(first.ms),
                        salt: first.ms ^ seq.rotate_left(32),
                    };
                    Outcome::Answered(self.keys.execute(*db, op, when))
                }
                Op::Guard { watched, .. } if self.keys.unchanged(watched) => Outcome::Published,
                Op::Guard { ops, .. } => {
                    void = *ops;
                    Outcome::Void
                }
            });
        }
        outcomes
    }

    /// Takes the keys that the last entry may have changed, some of them twice.
    pub fn take_touched(&mut self) -> Vec<(u8, Bytes)> {
        std::mem::take(&mut self.touched.0)
    }

    /// Whether what is published is kept: from that level on, because older builds do not.
    fn keeps_history(&self) -> bool {
        self.meta.feature_level >= HISTORY_LEVEL
    }

    /// Keeps what a batch has published, by the rules behind it.
    fn keep_messages(&mut self, index: LogIndex, first: Stamp, ops: &[Op], outcomes: &[Outcome]) {
        let is_void = |k: usize| matches!(outcomes.get(k), Some(Outcome::Void));
        let messages = (0u32..).zip(ops).filter_map(|(k, op)| match op {
            Op::Publish { channel, payload } if !is_void(k as usize) => {
                Some((channel, k, payload.len() as u64))
            }
            _ => None,
        });
        self.history.published(index, first, messages);
    }

    /// Takes the rows of keys and of history that an entry changed among its rows.
    fn note_rows(&mut self) {
        let (keys, streams) = self.keys.take_dirty();
        self.touched.0 = self.keys.take_groups_changed();
        self.touched.0.extend(keys.iter().cloned());
        let value = |(db, name)| rows::Key::Value(db, name);
        self.dirty.extend(keys.into_iter().map(value));
        self.dirty
            .extend(streams.into_iter().map(rows::Key::Stream));
        self.dirty_history.append(&mut self.history.take_changed());
    }

    fn change_users(&mut self, changes: UserChanges, batch: Option<BatchName>) -> Effects {
        self.acl += 1;
        self.dirty.push(rows::Key::Users);
        if changes.replace {
            let names = self.users.keys().cloned().map(rows::Key::User);
            self.dirty.extend(names);
            self.users.clear();
        }
        for (name, definition) in &changes.changes {
            // Copies: what is kept must not keep a whole entry in memory.
            let name = Bytes::copy_from_slice(name);
            self.dirty.push(rows::Key::User(name.clone()));
            match definition {
                Some(definition) => {
                    let definition = Bytes::copy_from_slice(definition);
                    self.users.insert(name, definition);
                }
                None => {
                    self.users.remove(&name);
                }
            }
        }
        Effects::Users {
            changes,
            revision: self.acl,
            batch,
        }
    }

    fn open_session(
        &mut self,
        node: NodeId,
        instance: InstanceId,
        boot: Boot,
        nonce: Nonce,
    ) -> Effects {
        let bound = self
            .members
            .get(&node)
            .is_some_and(|member| member.instance == instance);
        let later = self.origins.get(&node).is_none_or(|row| boot > row.boot);
        let accepted = bound && later;
        if accepted {
            let last = BatchNumber(0);
            self.origins.insert(node, OriginRow { boot, nonce, last });
            self.dirty.push(rows::Key::Origin(node));
        }
        Effects::Session {
            node,
            boot,
            nonce,
            accepted,
        }
    }

    fn bootstrap(&mut self, cluster: ClusterId, members: Vec<Member>) {
        // A second one could only follow from a leader that did not know of the first: it changes nothing.
        if self.meta.cluster.is_some() {
            return;
        }
        self.meta.cluster = Some(cluster);
        for member in members {
            self.dirty.push(rows::Key::Member(member.id));
            self.members.insert(member.id, member);
        }
    }

    /// Returns what has changed since the last call, to be stored as one; `None` if nothing was applied.
    pub fn take_write(&mut self) -> Option<StateWrite> {
        if self.meta.applied == self.written {
            return None;
        }
        self.written = self.meta.applied;
        let mut history = std::mem::take(&mut self.dirty_history);
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.sort_unstable();
        dirty.dedup();
        dirty.push(rows::Key::Meta);
        let (mut puts, mut deletes) = (Vec::new(), Vec::new());
        for key in dirty {
            match self.row(&key) {
                Some(row) => puts.push((key.encode(), row)),
                None => deletes.push(key.encode()),
            }
        }
        // Stable: of equal keys the last stays the last.
        history.sort_by(|one, other| one.key.cmp(&other.key));
        for rows in history.chunk_by(|one, other| one.key == other.key) {
            match rows.last() {
                Some(history::Change {
                    key,
                    row: Some(row),
                }) => puts.push((key.clone(), row.clone())),
                Some(history::Change { key, row: None }) => deletes.push(key.clone()),
                None => {}
            }
        }
        Some(StateWrite {
            applied: self.meta.applied,
            puts,
            deletes,
        })
    }

    /// Returns all rows, by key: equal on all nodes that have applied as much.
    pub fn rows(&self) -> Vec<(Bytes, Bytes)> {
        let origins = self.origins.keys().map(|node| rows::Key::Origin(*node));
        let members = self.members.keys().map(|node| rows::Key::Member(*node));
        let gone = self.gone.keys().map(|node| rows::Key::Gone(*node));
        let heirs = self.heirs.keys().map(|node| rows::Key::Heir(*node));
        let users = self.users.keys().cloned().map(rows::Key::User);
        let places = self.keys.places().into_iter();
        let keys = std::iter::once(rows::Key::Meta)
            .chain(origins)
            .chain(members)
            .chain(gone)
            .chain(heirs)
            .chain(users)
            .chain([rows::Key::Users])
            .chain(places.map(|(db, name)| rows::Key::Value(db, name)))
            .chain(self.keys.stream_rows().into_iter().map(rows::Key::Stream))
            .chain(self.history.rows().into_iter().map(rows::Key::History));
        keys.filter_map(|key| Some((key.encode(), self.row(&key)?)))
            .collect()
    }

    /// Returns the row as it is now; `None` if there is none any more.
    fn row(&self, key: &rows::Key) -> Option<Bytes> {
        match key {
            rows::Key::Meta => Some(self.meta.encode()),
            rows::Key::Origin(node) => self.origins.get(node).map(OriginRow::encode),
            rows::Key::Member(node) => self.members.get(node).map(rows::encode_member),
            rows::Key::Gone(node) => self.gone.get(node).copied().map(rows::encode_gone),
            rows::Key::Heir(node) => self.heirs.get(node).copied().map(rows::encode_heir),
            rows::Key::User(name) => self.users.get(name).cloned(),
            // There is no such row before the first change.
            rows::Key::Users => (self.acl > 0).then(|| rows::encode_revision(self.acl)),
            rows::Key::Value(db, name) => self.keys.row(*db, name),
            rows::Key::Stream(row) => self.keys.stream_row(row),
            rows::Key::History(row) => self.history.row(row),
        }
    }
}

/// Returns log time as expiries count it.
fn millis(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
