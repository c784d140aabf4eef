//! A stopped node's log as text, for people and for tests.
//!
//! The output is part of the interface: fields are added at the end of a line, and lines of a new
//! kind begin with a new word. One line each, in this order:
//!
//! ```text
//! identity node=1 boot=3 instance=<32 hex> cluster=<32 hex or -> founder=<id or -> floor=5@2
//! hard-state term=2 vote=1 commit=17                      vote=- if there is none
//! bounds truncated=0@0 last=17@2                          index@term
//! state applied=17                        or: state damaged: <what>, or: state missing
//! entry 1@1 normal bootstrap cluster=<32 hex> members=1,2,3
//! entry 2@1 normal empty                                  the first entry of a leader
//! entry 3@1 normal open-session node=1 boot=1 instance=<32 hex> nonce=<32 hex>
//! entry 4@1 normal formed
//! entry 5@1 normal batch origin=1 boot=1 number=1 ops=2 stamp=1700000000000-0
//! 1700000000000-0 publish "news" "hello"
//! 1700000000000-1 publish "news" "a \"quoted\" word\n\x00"
//! entry 6@2 conf-change context=12 data=9                 bytes; also conf-change-v2
//! end entries=6 operations=2
//! ```
//!
//! Lines of operations begin with a digit, all others with a letter. Channel and payload are
//! quoted: `\"`, `\\`, `\n`, `\r`, `\t` as usual, every other byte outside of 0x20..0x7e as `\x`
//! and two lower-case hexadecimal digits.
//!
//! Entries after `commit` may still be replaced. An operation in the log is not always one that
//! took effect: a batch that its origin sent twice stands here twice and counts once.
//!
//! Every checksum and the chain between the entries are checked; `end` is written only if all is
//! well.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use corgi_base::codec::DecodeError;
use corgi_base::op::decode_ops;
use corgi_base::{BatchHead, EntryHead, LogIndex, NodeId, Op, UserChanges};
use corgi_consensus::storage::{EntryType, LogBounds, LogEntry, ReadLogError};

use crate::dir::{self, LOCK, RAFT, STATE};
use crate::error::{OpenError, OpenStoreError};
use crate::identity::{self, Identity};
use crate::raft_log::open_log_read_only;
use crate::state::open_state_read_only;

/// What a dump has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DumpSummary {
    /// Whose log it is.
    pub identity: Identity,
    /// Its bounds and hard state.
    pub bounds: LogBounds,
    /// The last entry applied, `None` if the applied state is missing or damaged.
    pub applied: Option<LogIndex>,
    /// How many entries there are.
    pub entries: u64,
    /// How many operations there are in them.
    pub operations: u64,
}

/// Why a dump was refused or broken off.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The folder is in use, is not one of ours, or cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no node in the folder.
    #[error("{path} does not exist: this is not the data folder of a node")]
    NoNode {
        /// What was looked for.
        path: PathBuf,
    },
    /// The log cannot be opened.
    #[error(transparent)]
    OpenLog(#[from] OpenStoreError),
    /// An entry is damaged; those before it have been written.
    #[error(transparent)]
    Read(#[from] ReadLogError),
    /// An entry is sound, but says something that this release does not know.
    #[error("entry {index} cannot be decoded: {source}")]
    Decode {
        /// The entry.
        index: LogIndex,
        /// What it is about.
        source: DecodeError,
    },
    /// The output could not be written.
    #[error("write the dump")]
    Write(#[from] io::Error),
}

/// Writes the log of the stopped node in `dir` to `out`, in the format that the module describes,
/// checking every record.
///
/// Changes nothing of the data (RocksDB adds to its own `LOG` files); holds the folder's lock while it
/// runs.
///
/// # Errors
/// [`DumpError`]. What was written until then is right.
pub fn dump_log(dir: &Path, out: &mut impl Write) -> Result<DumpSummary, DumpError> {
    for needed in [identity::path(dir), dir.join(LOCK), dir.join(RAFT)] {
        if !needed.exists() {
            return Err(DumpError::NoNode { path: needed });
        }
    }
    let _lock = dir::lock(dir, &dir.join(LOCK), false)?;
    let no_node = || DumpError::NoNode {
        path: identity::path(dir),
    };
    let identity = dir::load(dir)?.ok_or_else(no_node)?;
    let (reader, bounds) = open_log_read_only(&dir.join(RAFT))?;
    write_head(out, &identity, &bounds)?;
    let applied = write_state(out, &dir.join(STATE))?;
    if let Some(what) = dir::lost(&bounds, applied.unwrap_or_default(), &identity.floor) {
        let path = dir.join(RAFT);
        return Err(OpenStoreError::LogDamaged { path, what }.into());
    }
    let mut summary = DumpSummary {
        identity,
        bounds,
        applied,
        entries: 0,
        operations: 0,
    };
    for stored in reader.scan_all() {
        summary.entries += 1;
        summary.operations += write_entry(out, stored?.entry)?;
    }
    writeln!(
        out,
        "end entries={} operations={}",
        summary.entries, summary.operations
    )?;
    out.flush()?;
    Ok(summary)
}

fn write_head(out: &mut impl Write, identity: &Identity, bounds: &LogBounds) -> io::Result<()> {
    let Identity {
        instance,
        node,
        boot,
        formation,
        floor,
    } = identity;
    write!(
        out,
        "identity node={} boot={boot} instance={instance} ",
        node.map_or(0, NodeId::get)
    )?;
    match formation {
        Some(formed) => write!(out, "cluster={} founder={}", formed.cluster, formed.founder)?,
        None => write!(out, "cluster=- founder=-")?,
    }
    writeln!(out, " floor={}@{}", floor.commit, floor.term)?;
    let hard_state = &bounds.hard_state;
    let vote = hard_state
        .vote
        .map_or_else(|| "-".to_owned(), |node| node.to_string());
    writeln!(
        out,
        "hard-state term={} vote={vote} commit={}",
        hard_state.term, hard_state.commit
    )?;
    writeln!(
        out,
        "bounds truncated={}@{} last={}@{}",
        bounds.truncated_index, bounds.truncated_term, bounds.last_index, bounds.last_term
    )
}

/// Damage in the applied state is worth a line and no more: the log can rebuild it.
fn write_state(out: &mut impl Write, path: &Path) -> io::Result<Option<LogIndex>> {
    if !path.exists() {
        writeln!(out, "state missing")?;
        return Ok(None);
    }
    match open_state_read_only(path) {
        Ok(state) => {
            writeln!(out, "state applied={}", state.applied())?;
            Ok(Some(state.applied()))
        }
        Err(error) => {
            writeln!(
                out,
                "state damaged: {}",
                error.to_string().replace('\n', " ")
            )?;
            Ok(None)
        }
    }
}

/// Writes an entry with its operations, and returns how many these are.
fn write_entry(out: &mut impl Write, entry: LogEntry) -> Result<u64, DumpError> {
    let LogEntry {
        index,
        term,
        entry_type,
        context,
        data,
    } = entry;
    let kind = match entry_type {
        EntryType::Normal => "normal",
        EntryType::ConfChange => "conf-change",
        EntryType::ConfChangeV2 => "conf-change-v2",
    };
    write!(out, "entry {index}@{term} {kind} ")?;
    if entry_type != EntryType::Normal {
        write!(out, "context={} data={}", context.len(), data.len())?;
        if context.is_empty() {
            writeln!(out)?;
        } else {
            let head = EntryHead::decode(context);
            write!(out, " ")?;
            write_other(
                out,
                &head.map_err(|source| DumpError::Decode { index, source })?,
            )?;
        }
        return Ok(0);
    }
    if context.is_empty() && data.is_empty() {
        writeln!(out, "empty")?;
        return Ok(0);
    }
    let undecodable = |source| DumpError::Decode { index, source };
    match EntryHead::decode(context).map_err(undecodable)? {
        EntryHead::Batch(head) => {
            let ops = decode_ops(head.ops, data).map_err(undecodable)?;
            write_batch(out, &head, &ops)?;
            Ok(ops.len() as u64)
        }
        head => {
            write_other(out, &head)?;
            Ok(0)
        }
    }
}

fn write_batch(out: &mut impl Write, head: &BatchHead, ops: &[Op]) -> io::Result<()> {
    let BatchHead {
        origin,
        boot,
        number,
        ops: count,
        stamp,
        acl,
    } = head;
    let checked = match acl {
        0 => String::new(),
        acl => format!(" acl={acl}"),
    };
    writeln!(
        out,
        "batch origin={origin} boot={boot} number={number} ops={count} stamp={stamp}{checked}"
    )?;
    for (seq, op) in (stamp.seq..).zip(ops) {
        let ms = stamp.ms;
        let (name, channel, payload) = match op {
            Op::Publish { channel, payload } => ("publish", channel, payload),
            Op::ShardPublish { channel, payload } => ("spublish", channel, payload),
            Op::Key { db, op } => {
                write!(out, "{ms}-{seq} db={db}")?;
                for arg in op.request() {
                    write!(out, " {}", quoted(&arg))?;
                }
                writeln!(out)?;
                continue;
            }
            Op::Guard { ops, watched } => {
                write!(out, "{ms}-{seq} guard ops={ops}")?;
                for watch in watched {
                    write!(
                        out,
                        " {}:{}@{}",
                        watch.db,
                        quoted(&watch.key),
                        watch.version
                    )?;
                }
                writeln!(out)?;
                continue;
            }
            Op::Users(changes) => {
                write!(out, "{ms}-{seq} ")?;
                write_users(out, changes)?;
                continue;
            }
            Op::HistoryRules(change) => {
                writeln!(out, "{ms}-{seq} {change}")?;
                continue;
            }
        };
        let (channel, payload) = (quoted(channel), quoted(payload));
        writeln!(out, "{ms}-{seq} {name} {channel} {payload}")?;
    }
    Ok(())
}

/// Names who changed; passwords, even as digests, are not shown.
fn write_users(out: &mut impl Write, changes: &UserChanges) -> io::Result<()> {
    write!(out, "users")?;
    if changes.replace {
        write!(out, " replace")?;
    }
    for (name, definition) in &changes.changes {
        let sign = if definition.is_some() { "" } else { "-" };
        write!(out, " {sign}{}", quoted(name))?;
    }
    writeln!(out)
}

fn write_other(out: &mut impl Write, head: &EntryHead) -> io::Result<()> {
    match head {
        EntryHead::OpenSession {
            node,
            instance,
            boot,
            nonce,
        } => {
            let who = format!("node={node} boot={boot} instance={instance} nonce={nonce}");
            writeln!(out, "open-session {who}")
        }
        EntryHead::Bootstrap { cluster, members } => {
            let ids: Vec<String> = members.iter().map(|member| member.id.to_string()).collect();
            writeln!(out, "bootstrap cluster={cluster} members={}", ids.join(","))
        }
        EntryHead::Formed => writeln!(out, "formed"),
        EntryHead::Join { member, replaces } => {
            let replaces = replaces.map_or_else(String::new, |node| format!(" replaces={node}"));
            let (node, instance, addr) = (member.id, member.instance, quoted(&member.addr));
            writeln!(
                out,
                "join node={node} instance={instance} addr={addr}{replaces}"
            )
        }
        EntryHead::Leave { node } => writeln!(out, "leave node={node}"),
        EntryHead::Time { stamp } => writeln!(out, "time stamp={stamp}"),
        EntryHead::Feature { level } => writeln!(out, "feature level={level}"),
        EntryHead::Users(changes) => write_users(out, changes),
        EntryHead::History(rules) => writeln!(out, "{rules}"),
        EntryHead::Batch(head) => write_batch(out, head, &[]),
    }
}

/// Returns any bytes as printable text in quotes.
fn quoted(bytes: &Bytes) -> String {
    let mut text = String::with_capacity(bytes.len() + 2);
    text.push('"');
    for &byte in bytes {
        match byte {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            0x20..=0x7e => text.push(byte.into()),
            _ => write!(text, "\\x{byte:02x}").expect("writing to a string cannot fail"),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_are_quoted_on_one_line() {
        let all: Bytes = (0..=255_u8).collect::<Vec<_>>().into();
        let text = quoted(&all);
        assert!(text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)));
        assert_eq!(
            quoted(&Bytes::from_static(b"a \"b\"\\\n\r\t\0\xff")),
            r#""a \"b\"\\\n\r\t\x00\xff""#
        );
        assert_eq!(quoted(&Bytes::new()), r#""""#);
    }
}
