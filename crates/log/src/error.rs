//! Why a data folder, or a store in it, cannot be used: each names the file, what is wrong, and the
//! way out.

use std::io;
use std::path::PathBuf;

use corgi_base::{ClusterId, LogIndex, NodeId};

/// Why [`crate::DataDir::open`] refused a folder.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the folder.
    #[error(
        "{dir} is in use by another process: stop that one, or give this node its own folder \
         (option dir)"
    )]
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// The operating system refused.
    #[error("{action} {path}")]
    Io {
        /// What was tried, such as `create`.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// There is data, but nothing says whose.
    #[error(
        "{path} is missing although {found} exists: put the file back; if it is lost, put the \
         folder aside and start with an empty one under a new node-id"
    )]
    IdentityMissing {
        /// The identity file.
        path: PathBuf,
        /// What there is.
        found: PathBuf,
    },
    /// The identity file is not what was written.
    #[error(
        "{path} is damaged ({what}): restore the file; if that is not possible, put the folder \
         aside and start with an empty one under a new node-id"
    )]
    IdentityDamaged {
        /// The identity file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// The folder was written by a release with another format.
    #[error(
        "{path} has format {format}, this release knows {known}: start the release that wrote it"
    )]
    UnknownFormat {
        /// The identity file.
        path: PathBuf,
        /// What it says.
        format: u16,
        /// What this build writes.
        known: u16,
    },
    /// The folder belongs to another node.
    #[error(
        "{dir} belongs to node {stored}, but this node has node-id {configured}: set node-id to \
         {stored}, or dir to this node's own folder"
    )]
    OtherNode {
        /// The folder.
        dir: PathBuf,
        /// Whose data it holds.
        stored: NodeId,
        /// Who wants it.
        configured: NodeId,
    },
    /// The folder once held a log and does no more.
    #[error(
        "{path} is missing although this node belongs to a cluster: it must not vote again \
         without its log. Put it back; if it is lost, start with an empty folder under a new \
         node-id"
    )]
    LogMissing {
        /// Where the log was.
        path: PathBuf,
    },
}

/// Why [`crate::DataDir::form`] could not record the cluster.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    /// The folder belongs to another cluster.
    #[error(
        "{path} belongs to cluster {stored}, not to {wanted}: start with an empty folder and a new \
         node-id to join another cluster"
    )]
    OtherCluster {
        /// The identity file.
        path: PathBuf,
        /// Which cluster it names.
        stored: ClusterId,
        /// Which one was to be recorded.
        wanted: ClusterId,
    },
    /// The file could not be written. What is on disk is unknown: the process must end.
    #[error("write {path}")]
    Io {
        /// The identity file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Why the Raft log or the applied state cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenStoreError {
    /// The Raft log is not what was written. Nothing of it may be used: a node that forgot what it
    /// promised could make the cluster lose what was acknowledged.
    #[error(
        "the Raft log in {path} is damaged ({what}): restore the folder as it was; if that is not \
         possible, put it aside and replace this node by one with an empty folder and a new node-id"
    )]
    LogDamaged {
        /// The database.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// The applied state is not what was written. The log, or a snapshot of another node, can rebuild it.
    #[error(
        "the applied state in {path} is damaged ({what}): {}",
        state_cure(path)
    )]
    StateDamaged {
        /// The database.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// The applied state ends before the log begins: it is an old copy.
    #[error(
        "the applied state in {path} reaches entry {applied}, but the Raft log begins after {truncated}: {}",
        state_cure(path)
    )]
    StateTooOld {
        /// The database.
        path: PathBuf,
        /// The last entry applied.
        applied: LogIndex,
        /// The last entry that was removed from the front of the log.
        truncated: LogIndex,
    },
    /// A snapshot cannot be kept, or the one whose installation a crash has cut short is not what was received.
    #[error(
        "the snapshots in {path}: {what}. If a file of a snapshot is damaged or lost, put the folder aside and \
         replace this node by one with an empty folder (CLUSTER MEET host port REPLACE id)"
    )]
    Snapshot {
        /// The data folder.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// The disk refused.
    #[error("open {path}: {what}")]
    Io {
        /// The database.
        path: PathBuf,
        /// What the disk said.
        what: String,
    },
}

/// Returns what to do about damage in the applied state.
pub(crate) fn state_cure(path: &std::path::Path) -> String {
    format!(
        "stop the node, remove the folder {} and start again; the state is applied again from the \
         Raft log, or comes from the leader as a snapshot (in a cluster of one nobody can send it: \
         restore the folder)",
        path.display()
    )
}
