//! The rows in which the state is stored.
//!
//! ```text
//! 0x01            meta    format:u8 (1) applied:u64 term:u64 hash:u64 level:u32 ms:u64 seq:u64 formed:u8
//!                         has_cluster:u8 cluster:u128 voters:u32 (node:u64)*  learners:u32 (node:u64)*
//! 0x02 node:u64   origin  boot:u64 nonce:u128 last:u64
//! 0x03 node:u64   member  instance:u128 addr:bytes
//! 0x04 node:u64   gone    instance:u128                          (an id that is never used again)
//! 0x05 node:u64   heir    replaces:u64                           (a new member, and whom it replaces)
//! 0x06 name:rest  user    definition:rest                        (text that only sessions understand)
//! 0x07            users   revision:u64                           (how often they have changed)
//! 0x08 db:u8 name:rest    key   type:u8 …                        (see `keys/rows.rs`)
//! 0x0a–0x0f       streams, the values of keys                    (see `streams/rows.rs`)
//! 0x10–0x14       history of channels                            (see `history/rows.rs`)
//! ```
//!
//! Tag bytes are on disk: add, never reuse.

use crate::history;
use crate::streams::RowKey;
use bytes::Bytes;
use corgi_base::codec::{DecodeError, Reader, put_bytes};
use corgi_base::keys::DATABASES;
use corgi_base::{
    BatchNumber, Boot, ClusterId, InstanceId, LogIndex, Member, MessageId, NodeId, Nonce, Term,
};

const FORMAT: u8 = 1;
const META: u8 = 0x01;
const ORIGIN: u8 = 0x02;
const MEMBER: u8 = 0x03;
const GONE: u8 = 0x04;
const HEIR: u8 = 0x05;
const USER: u8 = 0x06;
const USERS: u8 = 0x07;
const KEY: u8 = 0x08;

/// Names a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Meta,
    Origin(NodeId),
    Member(NodeId),
    Gone(NodeId),
    Heir(NodeId),
    User(Bytes),
    Users,
    Value(u8, Bytes),
    Stream(RowKey),
    History(history::RowKey),
}

impl Key {
    pub(crate) fn encode(&self) -> Bytes {
        let node = |node: &NodeId| node.get().to_be_bytes().to_vec();
        let (tag, rest) = match self {
            Self::Meta => (META, Vec::new()),
            Self::Origin(id) => (ORIGIN, node(id)),
            Self::Member(id) => (MEMBER, node(id)),
            Self::Gone(id) => (GONE, node(id)),
            Self::Heir(id) => (HEIR, node(id)),
            Self::User(name) => (USER, name.to_vec()),
            Self::Users => (USERS, Vec::new()),
            Self::Value(db, name) => (KEY, [&[*db], &name[..]].concat()),
            Self::Stream(row) => return row.encode(),
            Self::History(row) => return row.encode(),
        };
        [&[tag], &rest[..]].concat().into()
    }

    pub(crate) fn decode(key: &Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(key.clone());
        let key = match r.u8("state key")? {
            META => Self::Meta,
            ORIGIN => Self::Origin(r.node_id("origin key")?),
            MEMBER => Self::Member(r.node_id("member key")?),
            GONE => Self::Gone(r.node_id("gone key")?),
            HEIR => Self::Heir(r.node_id("heir key")?),
            // A copy: the row may share the buffer of a whole scan.
            USER => return Ok(Self::User(Bytes::copy_from_slice(&r.rest()))),
            USERS => Self::Users,
            KEY => {
                let field = "database of a key";
                let db = r.u8(field)?;
                if db >= DATABASES {
                    return Err(DecodeError::Invalid { field });
                }
                return Ok(Self::Value(db, Bytes::copy_from_slice(&r.rest())));
            }
            tag if RowKey::is_tag(tag) => return Ok(Self::Stream(RowKey::decode(key)?)),
            tag if history::RowKey::is_tag(tag) => {
                return Ok(Self::History(history::RowKey::decode(key)?));
            }
            tag => {
                return Err(DecodeError::Unknown {
                    field: "state key",
                    value: tag.into(),
                });
            }
        };
        r.finish()?;
        Ok(key)
    }
}

/// What there is once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) applied: LogIndex,
    pub(crate) applied_term: Term,
    /// Over all entries applied and what came of them.
    pub(crate) hash: u64,
    pub(crate) feature_level: u32,
    pub(crate) last_id: MessageId,
    pub(crate) formed: bool,
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) voters: Vec<NodeId>,
    pub(crate) learners: Vec<NodeId>,
}

impl Meta {
    pub(crate) fn new(founder: NodeId) -> Self {
        Self {
            applied: LogIndex(0),
            applied_term: Term(0),
            hash: 0,
            feature_level: 1,
            last_id: MessageId::default(),
            formed: false,
            cluster: None,
            voters: vec![founder],
            learners: Vec::new(),
        }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = vec![FORMAT];
        out.extend_from_slice(&self.applied.0.to_be_bytes());
        out.extend_from_slice(&self.applied_term.0.to_be_bytes());
        out.extend_from_slice(&self.hash.to_be_bytes());
        out.extend_from_slice(&self.feature_level.to_be_bytes());
        out.extend_from_slice(&self.last_id.ms.to_be_bytes());
        out.extend_from_slice(&self.last_id.seq.to_be_bytes());
        out.push(self.formed.into());
        out.push(self.cluster.is_some().into());
        out.extend_from_slice(&self.cluster.map_or(0, |cluster| cluster.0).to_be_bytes());
        for nodes in [&self.voters, &self.learners] {
            let count = u32::try_from(nodes.len()).expect("a cluster has few members");
            out.extend_from_slice(&count.to_be_bytes());
            out.extend(nodes.iter().flat_map(|node| node.get().to_be_bytes()));
        }
        out.into()
    }

    pub(crate) fn decode(value: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(value);
        match r.u8("state format")? {
            FORMAT => {}
            format => {
                return Err(DecodeError::Unknown {
                    field: "state format",
                    value: format.into(),
                });
            }
        }
        let applied = LogIndex(r.u64("applied index")?);
        let applied_term = Term(r.u64("applied term")?);
        let hash = r.u64("state hash")?;
        let feature_level = r.u32("feature level")?;
        let last_id = MessageId {
            ms: r.u64("last id ms")?,
            seq: r.u64("last id seq")?,
        };
        let formed = read_bool(&mut r, "formed")?;
        let has_cluster = read_bool(&mut r, "has cluster")?;
        let cluster = ClusterId(r.u128("cluster")?);
        let voters = read_nodes(&mut r, "voters")?;
        let learners = read_nodes(&mut r, "learners")?;
        r.finish()?;
        let cluster = has_cluster.then_some(cluster);
        Ok(Self {
            applied,
            applied_term,
            hash,
            feature_level,
            last_id,
            formed,
            cluster,
            voters,
            learners,
        })
    }
}

fn read_bool(r: &mut Reader, field: &'static str) -> Result<bool, DecodeError> {
    match r.u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::Invalid { field }),
    }
}

fn read_nodes(r: &mut Reader, field: &'static str) -> Result<Vec<NodeId>, DecodeError> {
    let count = r.u32(field)?;
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(r.node_id(field)?);
    }
    Ok(nodes)
}

/// The session of one node's clients: what was recorded when it was opened, and how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OriginRow {
    pub(crate) boot: Boot,
    pub(crate) nonce: Nonce,
    pub(crate) last: BatchNumber,
}

impl OriginRow {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(32);
        out.extend_from_slice(&self.boot.0.to_be_bytes());
        out.extend_from_slice(&self.nonce.0.to_be_bytes());
        out.extend_from_slice(&self.last.0.to_be_bytes());
        out.into()
    }

    pub(crate) fn decode(value: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(value);
        let row = Self {
            boot: Boot(r.u64("boot")?),
            nonce: Nonce(r.u128("nonce")?),
            last: BatchNumber(r.u64("last batch")?),
        };
        r.finish()?;
        Ok(row)
    }
}

pub(crate) fn encode_member(member: &Member) -> Bytes {
    let mut out = Vec::new();
    out.extend_from_slice(&member.instance.0.to_be_bytes());
    put_bytes(&mut out, &member.addr);
    out.into()
}

pub(crate) fn decode_member(id: NodeId, value: Bytes) -> Result<Member, DecodeError> {
    let mut r = Reader::new(value);
    let instance = InstanceId(r.u128("member instance")?);
    // A copy: the row may share the buffer of a whole scan.
    let addr = Bytes::copy_from_slice(&r.bytes("member address")?);
    r.finish()?;
    Ok(Member { id, instance, addr })
}

pub(crate) fn encode_revision(revision: u64) -> Bytes {
    Bytes::copy_from_slice(&revision.to_be_bytes())
}

pub(crate) fn decode_revision(value: Bytes) -> Result<u64, DecodeError> {
    let mut r = Reader::new(value);
    let revision = r.u64("users' revision")?;
    r.finish()?;
    Ok(revision)
}

pub(crate) fn encode_gone(instance: InstanceId) -> Bytes {
    Bytes::copy_from_slice(&instance.0.to_be_bytes())
}

pub(crate) fn decode_gone(value: Bytes) -> Result<InstanceId, DecodeError> {
    let mut r = Reader::new(value);
    let instance = InstanceId(r.u128("gone instance")?);
    r.finish()?;
    Ok(instance)
}

pub(crate) fn encode_heir(replaces: NodeId) -> Bytes {
    Bytes::copy_from_slice(&replaces.get().to_be_bytes())
}

pub(crate) fn decode_heir(value: Bytes) -> Result<NodeId, DecodeError> {
    let mut r = Reader::new(value);
    let replaces = r.node_id("replaced node")?;
    r.finish()?;
    Ok(replaces)
}
