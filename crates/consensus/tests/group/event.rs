//! What a cluster reports, in the notation of Corgi's logs: `n1@3` is node 1 in term 3, `17@3` entry 17 of term 3.

use corgi_base::{LogIndex, NodeId, Term};
use corgi_consensus::storage::{EntryType, HardState, LogEntry, LogWrite};
use corgi_consensus::{Committed, Envelope, Payload, ReadGrant, Role};
use std::fmt;

/// Something that a node did.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) node: NodeId,
    pub(crate) term: Term,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// The node has another role or another leader.
    Role(Role, Option<NodeId>),
    /// A message left; `false` if the network lost it at once.
    Send(Envelope, bool),
    /// A write is on its way to the disk.
    Persist(LogWrite),
    /// The oldest such write is synced.
    Persisted,
    /// A snapshot was offered to it.
    Offered(LogIndex),
    /// A snapshot is on its way to the disk.
    Install(LogIndex),
    /// It is there.
    Installed(LogIndex),
    /// An entry was handed out for applying.
    Commit(Committed),
    /// A read may be answered.
    Read(ReadGrant),
    /// A message was not taken.
    Refused(String),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{} ", self.node, self.term)?;
        match &self.what {
            What::Role(role, None) => write!(f, "is {role:?}"),
            What::Role(Role::Leader, Some(_)) => write!(f, "is Leader"),
            What::Role(role, Some(leader)) => write!(f, "is {role:?} of {leader:?}"),
            What::Send(envelope, true) => write!(f, "{envelope:?}"),
            What::Send(envelope, false) => write!(f, "{envelope:?} (lost)"),
            What::Persist(write) => write!(f, "persist{}", Written(write)),
            What::Persisted => write!(f, "persisted"),
            What::Offered(index) => write!(f, "is offered a snapshot of {index}"),
            What::Install(index) => write!(f, "install snapshot of {index}"),
            What::Installed(index) => write!(f, "installed snapshot of {index}"),
            What::Commit(entry) => {
                write!(
                    f,
                    "commit {}@{} {}",
                    entry.index,
                    entry.term,
                    Shown(&entry.payload)
                )
            }
            What::Read(grant) => write!(f, "read {} at {}", grant.id.count, grant.index),
            What::Refused(error) => write!(f, "does not take a message: {error}"),
        }
    }
}

struct Written<'a>(&'a LogWrite);

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(hard_state) = self.0.hard_state {
            write!(f, " {}", hard_state_line(hard_state))?;
        }
        if let (Some(first), Some(last)) = (self.0.entries.first(), self.0.entries.last()) {
            write!(f, " entries={}@{}", first.index, first.term)?;
            if first.index != last.index {
                write!(f, "..{}@{}", last.index, last.term)?;
            }
        }
        Ok(())
    }
}

struct Shown<'a>(&'a Payload);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Payload::Empty => write!(f, "empty"),
            Payload::Proposal { data, .. } => write!(f, "{}", short(data)),
            Payload::Members {
                voters, learners, ..
            } => {
                write!(f, "voters={voters:?} learners={learners:?}")
            }
        }
    }
}

/// Returns the hard state as scripts show it.
pub(crate) fn hard_state_line(hard_state: HardState) -> String {
    let vote = hard_state
        .vote
        .map_or_else(|| "none".to_owned(), |node| format!("{node:?}"));
    format!(
        "term={} vote={vote} commit={}",
        hard_state.term, hard_state.commit
    )
}

/// Returns an entry of a log as scripts show it.
pub(crate) fn entry_line(entry: &LogEntry) -> String {
    let what = match entry.entry_type {
        EntryType::Normal if entry.payload_bytes() == 0 => "empty".to_owned(),
        EntryType::Normal => short(&entry.data),
        EntryType::ConfChange | EntryType::ConfChangeV2 => "change".to_owned(),
    };
    format!("{}@{} {what}", entry.index, entry.term)
}

/// Proposals are words; those made large to reach a limit are shown by their size.
fn short(data: &[u8]) -> String {
    if data.len() > 20 {
        return format!("{} bytes", data.len());
    }
    format!("{:?}", String::from_utf8_lossy(data))
}
