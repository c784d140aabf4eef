//! Our types and raft-rs' types. Payloads are shared, never copied.

use crate::storage::{EntryType, HardState, LogEntry};
use crate::work::{ReadGrant, ReadId};
use bytes::Bytes;
use corgi_base::codec::Reader;
use corgi_base::{LogIndex, NodeId, SnapshotFile, SnapshotMeta, Term};
use raft::eraftpb;

pub(crate) fn entry_from_log(entry: LogEntry) -> eraftpb::Entry {
    let mut out = eraftpb::Entry::default();
    out.set_index(entry.index.0);
    out.set_term(entry.term.0);
    out.set_entry_type(match entry.entry_type {
        EntryType::Normal => eraftpb::EntryType::EntryNormal,
        EntryType::ConfChange => eraftpb::EntryType::EntryConfChange,
        EntryType::ConfChangeV2 => eraftpb::EntryType::EntryConfChangeV2,
    });
    out.context = entry.context;
    out.data = entry.data;
    out
}

pub(crate) fn entry_to_log(entry: &eraftpb::Entry) -> LogEntry {
    LogEntry {
        index: LogIndex(entry.index),
        term: Term(entry.term),
        entry_type: match entry.get_entry_type() {
            eraftpb::EntryType::EntryNormal => EntryType::Normal,
            eraftpb::EntryType::EntryConfChange => EntryType::ConfChange,
            eraftpb::EntryType::EntryConfChangeV2 => EntryType::ConfChangeV2,
        },
        context: entry.context.clone(),
        data: entry.data.clone(),
    }
}

pub(crate) fn hard_state_to_raft(hard_state: HardState) -> eraftpb::HardState {
    let mut out = eraftpb::HardState::default();
    out.set_term(hard_state.term.0);
    out.set_vote(hard_state.vote.map_or(0, NodeId::get));
    out.set_commit(hard_state.commit.0);
    out
}

pub(crate) fn hard_state_from_raft(hard_state: &eraftpb::HardState) -> HardState {
    HardState {
        term: Term(hard_state.term),
        vote: NodeId::new(hard_state.vote),
        commit: LogIndex(hard_state.commit),
    }
}

pub(crate) fn conf_state(voters: &[NodeId], learners: &[NodeId]) -> eraftpb::ConfState {
    let ids = |nodes: &[NodeId]| nodes.iter().map(|id| id.get()).collect::<Vec<_>>();
    let mut out = eraftpb::ConfState::default();
    out.set_voters(ids(voters));
    out.set_learners(ids(learners));
    out
}

/// The data names the file: `bytes:u64 hash:u64`.
pub(crate) fn snapshot_to_raft(meta: &SnapshotMeta, file: &SnapshotFile) -> eraftpb::Snapshot {
    let mut out = eraftpb::Snapshot::default();
    out.mut_metadata().index = meta.index.0;
    out.mut_metadata().term = meta.term.0;
    let members = conf_state(&meta.voters, &meta.learners);
    out.mut_metadata().set_conf_state(members);
    out.data = [file.bytes.to_be_bytes(), file.hash.to_be_bytes()]
        .concat()
        .into();
    out
}

/// Returns which file a snapshot is in; `None` if it does not say.
pub(crate) fn file_from_raft(snapshot: &eraftpb::Snapshot) -> Option<SnapshotFile> {
    let meta = snapshot.get_metadata();
    let mut r = Reader::new(Bytes::copy_from_slice(&snapshot.data));
    let file = SnapshotFile {
        index: LogIndex(meta.index),
        term: Term(meta.term),
        bytes: r.u64("snapshot length").ok()?,
        hash: r.u64("snapshot hash").ok()?,
    };
    r.finish().ok()?;
    (meta.index > 0 && file.bytes > 0).then_some(file)
}

pub(crate) fn encode_read_id(id: ReadId) -> Vec<u8> {
    [id.node.get(), id.boot, id.count]
        .iter()
        .flat_map(|n| n.to_be_bytes())
        .collect()
}

pub(crate) fn decode_read_state(state: &raft::ReadState) -> Option<ReadGrant> {
    let word = |k: usize| {
        let bytes = state.request_ctx.get(k * 8..k * 8 + 8)?;
        Some(u64::from_be_bytes(bytes.try_into().ok()?))
    };
    let id = ReadId {
        node: NodeId::new(word(0)?)?,
        boot: word(1)?,
        count: word(2)?,
    };
    Some(ReadGrant {
        id,
        index: LogIndex(state.index),
    })
}
