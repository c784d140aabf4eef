//! The attempts of producers that a stream knows, so that a second one adds nothing: `XADD … IDMP`.

use super::rows::{Row, put_id};
use bytes::{BufMut, Bytes};
use corgi_base::MessageId;
use std::collections::BTreeMap;

/// What a producer has added, by attempt and in the order of the entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Attempts {
    by_iid: BTreeMap<Bytes, MessageId>,
    /// When each was. Where `XSETID` has set ids back, two attempts may have the same entry.
    by_entry: BTreeMap<(MessageId, Bytes), u64>,
}

/// All producers of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Producers {
    by_pid: BTreeMap<Bytes, Attempts>,
    attempts: usize,
    bytes: usize,
}

impl Producers {
    /// Returns the entry of an attempt.
    pub(super) fn entry(&self, pid: &Bytes, iid: &Bytes) -> Option<MessageId> {
        self.by_pid.get(pid)?.by_iid.get(iid).copied()
    }

    /// Adds an attempt that is not known.
    pub(super) fn insert(&mut self, pid: Bytes, iid: Bytes, entry: MessageId, at: u64) {
        self.attempts += 1;
        self.bytes += attempt_bytes(&iid);
        if !self.by_pid.contains_key(&pid) {
            self.bytes += producer_bytes(&pid);
        }
        let attempts = self.by_pid.entry(pid).or_default();
        attempts.by_iid.insert(iid.clone(), entry);
        attempts.by_entry.insert((entry, iid), at);
    }

    /// Forgets the oldest attempt of a producer if it has more than `max`, or if it was more than `kept_ms` ago.
    pub(super) fn remove_oldest(
        &mut self,
        pid: &Bytes,
        max: usize,
        now: u64,
        kept_ms: u64,
    ) -> Option<Bytes> {
        let attempts = self.by_pid.get_mut(pid)?;
        let oldest = attempts.by_entry.first_entry()?;
        if attempts.by_iid.len() <= max && now.saturating_sub(*oldest.get()) <= kept_ms {
            return None;
        }
        let ((_, iid), _) = oldest.remove_entry();
        attempts.by_iid.remove(&iid);
        self.attempts -= 1;
        self.bytes -= attempt_bytes(&iid);
        if attempts.by_iid.is_empty() {
            self.by_pid.remove(pid);
            self.bytes -= producer_bytes(pid);
        }
        Some(iid)
    }

    /// Returns how many producers and attempts are known.
    pub(super) fn known(&self) -> (usize, usize) {
        (self.by_pid.len(), self.attempts)
    }

    pub(super) fn memory(&self) -> usize {
        self.bytes
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = Row> {
        self.by_pid.iter().flat_map(|(pid, attempts)| {
            let iids = attempts.by_iid.keys();
            iids.map(|iid| Row::Attempt(pid.clone(), iid.clone()))
        })
    }

    pub(super) fn row(&self, pid: &Bytes, iid: &Bytes) -> Option<Bytes> {
        let attempts = self.by_pid.get(pid)?;
        let entry = *attempts.by_iid.get(iid)?;
        let mut out = Vec::with_capacity(24);
        put_id(&mut out, entry);
        out.put_u64(*attempts.by_entry.get(&(entry, iid.clone()))?);
        Some(out.into())
    }
}

fn producer_bytes(pid: &Bytes) -> usize {
    128 + pid.len()
}

fn attempt_bytes(iid: &Bytes) -> usize {
    192 + iid.len()
}
