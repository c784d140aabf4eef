//! Why an operation on a stream had no effect.

use bytes::Bytes;

/// Why an operation on a stream had no effect. The texts are Redis' texts, code first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// `XADD` with an id that is not after the last one.
    #[error("ERR The ID specified in XADD is equal or smaller than the target stream top item")]
    IdNotGrowing,
    /// `XADD` after the last id that there can be.
    #[error("ERR The stream has exhausted the last possible ID, unable to add more items")]
    Exhausted,
    /// `XSETID` below what was deleted.
    #[error("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id")]
    SetIdBelowDeleted,
    /// `XSETID` below the last entry.
    #[error("ERR The ID specified in XSETID is smaller than the target stream top item")]
    SetIdBelowTop,
    /// `XSETID` with fewer entries than there are.
    #[error("ERR The entries_added specified in XSETID is smaller than the target stream length")]
    AddedBelowLength,
    /// `XGROUP` on a key that is not there.
    #[error(
        "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM \
         option to create an empty stream automatically."
    )]
    GroupNeedsKey,
    /// `XGROUP CREATE` of a group that is there.
    #[error("BUSYGROUP Consumer Group name already exists")]
    GroupExists,
    /// `XGROUP` and `XINFO` on a group that is not there.
    #[error("NOGROUP No such consumer group '{group}' for key name '{key}'")]
    NoGroup {
        /// The key.
        key: Name,
        /// The group.
        group: Name,
    },
    /// A group that is not there, or its key is not.
    #[error("NOGROUP No such key '{key}' or consumer group '{group}'")]
    NoKeyOrGroup {
        /// The key.
        key: Name,
        /// The group.
        group: Name,
    },
    /// `XREADGROUP` in a group that is not there.
    #[error(
        "NOGROUP No such key '{key}' or consumer group '{group}' in XREADGROUP with GROUP option"
    )]
    NoGroupToRead {
        /// The key.
        key: Name,
        /// The group.
        group: Name,
    },
}

/// A name in a text: what is no UTF-8 in it is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(pub Bytes);

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}
