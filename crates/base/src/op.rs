//! What a client can ask the log to record, and its bytes.
//!
//! A batch's data is its operations one after the other; the number of operations stands in the entry's head.
//!
//! ```text
//! operation = tag:u8 fields
//! 0x01 publish        channel:bytes payload:bytes   (bytes = len:u32 then as many)
//! 0x02 shard publish  channel:bytes payload:bytes
//! 0x10 key            db:u8 key operation           (see `keys`)
//! 0x11 guard          ops:u32 count:u32 (db:u8 key:bytes ms:u64 seq:u64)*
//! 0x20 users          changes                       (alone in its batch)
//! 0x30 history rules  change                        (alone in its batch; see `history`)
//! ```

use crate::codec::{DecodeError, Length, Out, Put, Reader, put_bytes};
use crate::history::RulesChange;
use crate::ids::MessageId;
use crate::keys::{KeyOp, Watch, database};
use crate::users::UserChanges;
use bytes::{BufMut, Bytes};

const PUBLISH: u8 = 0x01;
const SHARD_PUBLISH: u8 = 0x02;
const KEY: u8 = 0x10;
const GUARD: u8 = 0x11;
const USERS: u8 = 0x20;
const HISTORY_RULES: u8 = 0x30;

/// One operation of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// `PUBLISH channel payload`.
    Publish {
        /// Any bytes, also none.
        channel: Bytes,
        /// Any bytes, also none.
        payload: Bytes,
    },
    /// `SPUBLISH channel payload`.
    ShardPublish {
        /// Any bytes, also none.
        channel: Bytes,
        /// Any bytes, also none.
        payload: Bytes,
    },
    /// An operation on the keys of a database.
    Key {
        /// 0 to 15.
        db: u8,
        /// What is done.
        op: KeyOp,
    },
    /// `WATCH`: the operations that follow have an effect only if keys have not changed.
    Guard {
        /// How many operations it is about.
        ops: u32,
        /// The keys.
        watched: Vec<Watch>,
    },
    /// `ACL SETUSER`, `DELUSER`, `LOAD`: a change of the cluster's users.
    Users(UserChanges),
    /// `CONFIG SET history-…`: a change of how much of each channel is kept.
    HistoryRules(RulesChange),
}

impl Op {
    /// Returns whether the operation must be alone in its batch: what comes after a change of users must have been
    /// checked against what they may do then, and what a batch publishes is kept by one set of rules.
    pub fn is_alone(&self) -> bool {
        match self {
            Self::Users(_) | Self::HistoryRules(_) => true,
            Self::Publish { .. }
            | Self::ShardPublish { .. }
            | Self::Key { .. }
            | Self::Guard { .. } => false,
        }
    }

    /// Appends the operation's bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        match self {
            Self::Publish { channel, payload } => {
                out.put_u8(PUBLISH);
                put_bytes(out, channel);
                put_bytes(out, payload);
            }
            Self::ShardPublish { channel, payload } => {
                out.put_u8(SHARD_PUBLISH);
                put_bytes(out, channel);
                put_bytes(out, payload);
            }
            Self::Key { db, op } => {
                out.put_slice(&[KEY, *db]);
                op.put(&mut Out(out));
            }
            Self::Guard { ops, watched } => put_guard(&mut Out(out), *ops, watched),
            Self::Users(changes) => {
                out.put_u8(USERS);
                changes.encode(out);
            }
            Self::HistoryRules(change) => {
                out.put_u8(HISTORY_RULES);
                change.put(&mut Out(out));
            }
        }
    }

    /// Returns how many bytes [`Op::encode`] appends.
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Publish { channel, payload } | Self::ShardPublish { channel, payload } => {
                1 + 4 + channel.len() + 4 + payload.len()
            }
            Self::Key { op, .. } => {
                let mut length = Length(2);
                op.put(&mut length);
                length.0
            }
            Self::Guard { ops, watched } => {
                let mut length = Length::default();
                put_guard(&mut length, *ops, watched);
                length.0
            }
            Self::Users(changes) => 1 + changes.encoded_len(),
            Self::HistoryRules(change) => {
                let mut length = Length(1);
                change.put(&mut length);
                length.0
            }
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        match reader.u8("operation tag")? {
            PUBLISH => Ok(Self::Publish {
                channel: reader.bytes("channel")?,
                payload: reader.bytes("payload")?,
            }),
            SHARD_PUBLISH => Ok(Self::ShardPublish {
                channel: reader.bytes("channel")?,
                payload: reader.bytes("payload")?,
            }),
            KEY => Ok(Self::Key {
                db: database(reader)?,
                op: KeyOp::decode(reader)?,
            }),
            GUARD => guard(reader),
            USERS => Ok(Self::Users(UserChanges::decode(reader)?)),
            HISTORY_RULES => Ok(Self::HistoryRules(RulesChange::decode(reader)?)),
            tag => Err(DecodeError::Unknown {
                field: "operation tag",
                value: tag.into(),
            }),
        }
    }
}

fn put_guard(out: &mut impl Put, ops: u32, watched: &[Watch]) {
    out.u8(GUARD);
    out.u32(ops);
    out.u32(u32::try_from(watched.len()).expect("limits keep every list below 4 billion"));
    for Watch { db, key, version } in watched {
        out.u8(*db);
        out.bytes(key);
        out.u64(version.ms);
        out.u64(version.seq);
    }
}

fn guard(reader: &mut Reader) -> Result<Op, DecodeError> {
    let ops = reader.u32("guarded operations")?;
    let mut watched = Vec::new();
    for _ in 0..reader.u32("watched keys")? {
        watched.push(Watch {
            db: database(reader)?,
            key: reader.bytes("watched key")?,
            version: MessageId {
                ms: reader.u64("version ms")?,
                seq: reader.u64("version seq")?,
            },
        });
    }
    Ok(Op::Guard { ops, watched })
}

/// Reads `count` operations; channels and payloads share the buffer of `data`.
///
/// # Errors
/// [`DecodeError`] if the bytes end early, go on, hold a tag that this build does not know, or something besides an
/// operation that must be alone.
pub fn decode_ops(count: u32, data: Bytes) -> Result<Vec<Op>, DecodeError> {
    let mut reader = Reader::new(data);
    // An operation takes at least one byte: a wrong count allocates no more than the data it came with.
    let mut ops = Vec::with_capacity((count as usize).min(reader.left()));
    for _ in 0..count {
        ops.push(Op::decode(&mut reader)?);
    }
    reader.finish()?;
    if ops.len() > 1 && ops.iter().any(Op::is_alone) {
        return Err(DecodeError::Invalid {
            field: "operation that must be alone",
        });
    }
    Ok(ops)
}
