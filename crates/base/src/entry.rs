//! The head of a log entry.
//!
//! A Raft entry carries two byte strings. `context` holds the head that is described here, `data` what the head is
//! about: for a batch, the origin's operations, untouched by the leader.
//!
//! ```text
//! head = format:u8 (1)  kind:u8  fields
//! 0x01 batch         origin:u64 boot:u64 number:u64 ops:u32 ms:u64 seq:u64
//! 0x02 open session  node:u64 instance:u128 boot:u64 nonce:u128
//! 0x03 bootstrap     cluster:u128 count:u32 (node:u64 instance:u128 addr:bytes)*
//! 0x04 formed
//! 0x05 join          node:u64 instance:u128 addr:bytes replaces:u64    (0 for nobody)
//! 0x06 leave         node:u64
//! 0x07 time          ms:u64 seq:u64
//! 0x10 feature       level:u32
//! 0x11 users         changes                                           (the users that a cluster begins with)
//! 0x12 checked batch acl:u64, then as in batch                         (acl is not 0)
//! 0x13 history       rules                                             (those that a cluster begins with)
//! ```
//!
//! `join` and `leave` stand on changes of the Raft configuration, whose data is Raft's own; the others on proposals.

use crate::codec::{DecodeError, Out, Reader, put_bytes};
use crate::history::Rules;
use crate::ids::{BatchNumber, Boot, ClusterId, InstanceId, MessageId, NodeId, Nonce};
use crate::users::UserChanges;
use bytes::Bytes;

const FORMAT: u8 = 1;
const BATCH: u8 = 0x01;
const OPEN_SESSION: u8 = 0x02;
const BOOTSTRAP: u8 = 0x03;
const FORMED: u8 = 0x04;
const JOIN: u8 = 0x05;
const LEAVE: u8 = 0x06;
const TIME: u8 = 0x07;
const FEATURE: u8 = 0x10;
const USERS: u8 = 0x11;
const CHECKED_BATCH: u8 = 0x12;
const HISTORY: u8 = 0x13;

/// What this build can apply. Raised when apply is to do something that an older build would do
/// otherwise; a cluster takes a level on when all its members have said that they can apply it.
///
/// | level | adds |
/// |---|---|
/// | 2 | operations on keys, guards, time entries |
/// | 3 | the history of channels |
pub const FEATURE_LEVEL: u32 = 3;

/// The leader's stamp on a batch: the id of its first operation.
pub type Stamp = MessageId;

/// One node as the replicated state knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id, never reused.
    pub id: NodeId,
    /// The data folder that the id is bound to.
    pub instance: InstanceId,
    /// `host:port` of its peer listener, resolved at each connect.
    pub addr: Bytes,
}

/// The birth of a cluster, as every member remembers it: Raft starts from "the founder alone votes, before the first
/// entry", and all other members come by entries of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Formation {
    /// The cluster's random name.
    pub cluster: ClusterId,
    /// The member that started it alone.
    pub founder: NodeId,
}

/// The head of a batch of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHead {
    /// The node whose clients sent the operations.
    pub origin: NodeId,
    /// The boot of the origin.
    pub boot: Boot,
    /// The number of the batch within the boot: 1, 2, 3, … without gaps.
    pub number: BatchNumber,
    /// How many operations the data holds; 0 when the batch was given up after `write-timeout`.
    pub ops: u32,
    /// The id of operation 0; operation `k` has `ms-(seq + k)`.
    pub stamp: Stamp,
    /// The revision of the users that the operations were checked against. If there is a later one when the batch is
    /// applied, none of them takes effect.
    pub acl: u64,
}

/// What an entry of the log is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryHead {
    /// Operations of one node's clients.
    Batch(BatchHead),
    /// A boot of a member asks to be its node's only origin.
    OpenSession {
        /// The member.
        node: NodeId,
        /// Its data folder.
        instance: InstanceId,
        /// Must be higher than the boots before.
        boot: Boot,
        /// Which process.
        nonce: Nonce,
    },
    /// The first entry of a cluster: who will be in it.
    Bootstrap {
        /// The cluster's random name.
        cluster: ClusterId,
        /// The first members, bound to their data folders before any of them may vote.
        members: Vec<Member>,
    },
    /// All first members vote: from here on clients are served.
    Formed,
    /// A node becomes a member: it receives the log from here on, and votes once it has caught up.
    Join {
        /// Its id, and the data folder that the id is bound to before it may vote.
        member: Member,
        /// The member that leaves when the new one has caught up.
        replaces: Option<NodeId>,
    },
    /// A member leaves, for ever.
    Leave {
        /// Its id, which is not used again.
        node: NodeId,
    },
    /// Time has passed, and something is due by it although nobody writes. It takes an id as an operation does.
    Time {
        /// Up to when.
        stamp: Stamp,
    },
    /// All members can apply this level: from here on apply may go by it.
    Feature {
        /// The level.
        level: u32,
    },
    /// The users that a cluster begins with, from the leader's configuration. Without effect if there are any.
    Users(UserChanges),
    /// How much of each channel a cluster keeps at first, from the leader's configuration. Without effect if it has
    /// been said.
    History(Rules),
}

impl EntryHead {
    /// Returns the bytes of the head.
    pub fn encode(&self) -> Bytes {
        let mut out = vec![FORMAT];
        match self {
            Self::Batch(head) => {
                if head.acl == 0 {
                    out.push(BATCH);
                } else {
                    out.push(CHECKED_BATCH);
                    out.extend_from_slice(&head.acl.to_be_bytes());
                }
                out.extend_from_slice(&head.origin.get().to_be_bytes());
                out.extend_from_slice(&head.boot.0.to_be_bytes());
                out.extend_from_slice(&head.number.0.to_be_bytes());
                out.extend_from_slice(&head.ops.to_be_bytes());
                out.extend_from_slice(&head.stamp.ms.to_be_bytes());
                out.extend_from_slice(&head.stamp.seq.to_be_bytes());
            }
            Self::OpenSession {
                node,
                instance,
                boot,
                nonce,
            } => {
                out.push(OPEN_SESSION);
                out.extend_from_slice(&node.get().to_be_bytes());
                out.extend_from_slice(&instance.0.to_be_bytes());
                out.extend_from_slice(&boot.0.to_be_bytes());
                out.extend_from_slice(&nonce.0.to_be_bytes());
            }
            Self::Bootstrap { cluster, members } => {
                out.push(BOOTSTRAP);
                out.extend_from_slice(&cluster.0.to_be_bytes());
                let count = u32::try_from(members.len()).expect("a cluster has few members");
                out.extend_from_slice(&count.to_be_bytes());
                for member in members {
                    put_member(&mut out, member);
                }
            }
            Self::Formed => out.push(FORMED),
            Self::Join { member, replaces } => {
                out.push(JOIN);
                put_member(&mut out, member);
                out.extend_from_slice(&replaces.map_or(0, NodeId::get).to_be_bytes());
            }
            Self::Leave { node } => {
                out.push(LEAVE);
                out.extend_from_slice(&node.get().to_be_bytes());
            }
            Self::Time { stamp } => {
                out.push(TIME);
                out.extend_from_slice(&stamp.ms.to_be_bytes());
                out.extend_from_slice(&stamp.seq.to_be_bytes());
            }
            Self::Feature { level } => {
                out.push(FEATURE);
                out.extend_from_slice(&level.to_be_bytes());
            }
            Self::Users(changes) => {
                out.push(USERS);
                changes.encode(&mut out);
            }
            Self::History(rules) => {
                out.push(HISTORY);
                rules.put(&mut Out(&mut out));
            }
        }
        out.into()
    }

    /// Reads a head.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not exactly one head of a format and kind that this build knows.
    pub fn decode(context: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(context);
        match r.u8("entry format")? {
            FORMAT => {}
            format => {
                return Err(DecodeError::Unknown {
                    field: "entry format",
                    value: format.into(),
                });
            }
        }
        let head = match r.u8("entry kind")? {
            BATCH => Self::Batch(batch(&mut r, 0)?),
            CHECKED_BATCH => {
                let acl = r.u64("users' revision")?;
                if acl == 0 {
                    return Err(DecodeError::Invalid {
                        field: "users' revision",
                    });
                }
                Self::Batch(batch(&mut r, acl)?)
            }
            USERS => Self::Users(UserChanges::decode(&mut r)?),
            HISTORY => Self::History(Rules::decode(&mut r)?),
            OPEN_SESSION => Self::OpenSession {
                node: r.node_id("node")?,
                instance: InstanceId(r.u128("instance")?),
                boot: Boot(r.u64("boot")?),
                nonce: Nonce(r.u128("nonce")?),
            },
            BOOTSTRAP => {
                let cluster = ClusterId(r.u128("cluster")?);
                let count = r.u32("member count")?;
                let mut members = Vec::new();
                for _ in 0..count {
                    members.push(member(&mut r)?);
                }
                Self::Bootstrap { cluster, members }
            }
            FORMED => Self::Formed,
            JOIN => Self::Join {
                member: member(&mut r)?,
                replaces: NodeId::new(r.u64("replaced node")?),
            },
            LEAVE => Self::Leave {
                node: r.node_id("node")?,
            },
            TIME => Self::Time {
                stamp: MessageId {
                    ms: r.u64("time ms")?,
                    seq: r.u64("time seq")?,
                },
            },
            FEATURE => Self::Feature {
                level: r.u32("feature level")?,
            },
            kind => {
                return Err(DecodeError::Unknown {
                    field: "entry kind",
                    value: kind.into(),
                });
            }
        };
        r.finish()?;
        Ok(head)
    }
}

fn batch(r: &mut Reader, acl: u64) -> Result<BatchHead, DecodeError> {
    Ok(BatchHead {
        origin: r.node_id("origin")?,
        boot: Boot(r.u64("boot")?),
        number: BatchNumber(r.u64("batch number")?),
        ops: r.u32("operation count")?,
        stamp: MessageId {
            ms: r.u64("stamp ms")?,
            seq: r.u64("stamp seq")?,
        },
        acl,
    })
}

fn put_member(out: &mut Vec<u8>, member: &Member) {
    out.extend_from_slice(&member.id.get().to_be_bytes());
    out.extend_from_slice(&member.instance.0.to_be_bytes());
    put_bytes(out, &member.addr);
}

fn member(r: &mut Reader) -> Result<Member, DecodeError> {
    Ok(Member {
        id: r.node_id("member id")?,
        instance: InstanceId(r.u128("member instance")?),
        addr: r.bytes("member address")?,
    })
}
