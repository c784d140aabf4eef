//! What nodes say to each other, and its bytes. The transport frames and checks them; it knows only which lane each
//! takes.
//!
//! ```text
//! 0x01 raft          message:rest                                (a Raft message, opaque)
//! 0x02 forward       boot:u64 number:u64 ops:u32 data:rest       (a batch of the sender's clients, for the leader)
//! 0x03 expect        boot:u64 number:u64                         (the leader's next batch number for the receiver)
//! 0x04 open session  instance:u128 boot:u64 nonce:u128           (the sender asks to be an origin)
//! 0x05 formed        cluster:u128 founder:u64                    (the cluster that the receiver belongs to)
//! 0x06 contacts      count:u32 (node:u64 addr:bytes)*            (where the members are, as far as the sender knows)
//! 0x07 change        term:u64 number:u64 kind:u8 fields          (asks the leader of a term for a change)
//!                    kind 1 lead; 2 forget node:u64; 3 meet replaces:u64 addr:bytes
//! 0x08 changed       number:u64 ok:u8 [text:bytes]               (its answer; a text unless ok)
//! 0x09 forward       acl:u64 boot:u64 number:u64 ops:u32 data:rest  (the same, checked against users; acl is not 0)
//! 0x10 vitals        wall_ms:u64 level:u32 disk_low:u8           (the sender's clock, feature level, and disk)
//! 0x11 state hash    index:u64 hash:u64                          (the sender's state after that entry)
//! 0x20 fetch         file offset:u64 len:u32                     (asks for bytes of a snapshot that was offered)
//! 0x21 chunk         file offset:u64 data:rest                   (they are)
//! 0x22 gone          file                                        (the snapshot is not there any more)
//!                    file is index:u64 term:u64 bytes:u64 hash:u64
//! 0x30 counts        boot:u64 stream:u64 seq:u64 complete:u8 count:u32 (kind:u8 count:u32 name:bytes)*
//!                    kind 1 channel; 2 pattern; 3 shard channel  (how many listen on the sender)
//! 0x31 counts taken  boot:u64 stream:u64 next:u64                (the sender's answer to the receiver's counts)
//! 0x32 recount                                                   (the sender knows nothing of the receiver's counts)
//! ```

use crate::config::InitialMember;
use crate::members::Change;
use bytes::Bytes;
use corgi_base::codec::{DecodeError, Reader, put_bytes};
use corgi_base::{
    BatchNumber, Boot, ClusterId, Formation, InstanceId, LogIndex, NodeId, Nonce, SnapshotFile,
    SubscriptionKind, Term,
};
use std::fmt;

const RAFT: u8 = 0x01;
const FORWARD: u8 = 0x02;
const EXPECT: u8 = 0x03;
const OPEN_SESSION: u8 = 0x04;
const FORMED: u8 = 0x05;
const CONTACTS: u8 = 0x06;
const CHANGE: u8 = 0x07;
const CHANGED: u8 = 0x08;
const FORWARD_CHECKED: u8 = 0x09;
const LEAD: u8 = 1;
const FORGET: u8 = 2;
const MEET: u8 = 3;
const VITALS: u8 = 0x10;
const STATE_HASH: u8 = 0x11;
const SNAPSHOT_FETCH: u8 = 0x20;
const SNAPSHOT_CHUNK: u8 = 0x21;
const SNAPSHOT_GONE: u8 = 0x22;
const COUNTS: u8 = 0x30;
const COUNTS_TAKEN: u8 = 0x31;
const RECOUNT: u8 = 0x32;

/// Names are as long as a client likes; such counts must not delay heartbeats.
const CONTROL_BYTES_MAX: usize = 64 << 10;

/// Which of the three connections to a peer a message takes. Heartbeats and votes must not wait behind entries, and
/// entries not behind a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Small messages.
    Control,
    /// Entries and forwarded batches.
    Bulk,
    /// Snapshots.
    Snapshot,
}

/// One message to a peer. Lost ones are made good by whoever sent them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// A Raft message.
    Raft {
        /// Whether it carries entries.
        bulk: bool,
        /// The message.
        bytes: Bytes,
    },
    /// A numbered batch of the sender's clients, for the leader to append. It is not forwarded again, so that no batch
    /// can travel in circles.
    Forward {
        /// The sender's boot.
        boot: Boot,
        /// The batch's number within that boot.
        number: BatchNumber,
        /// How many operations.
        ops: u32,
        /// The operations.
        data: Bytes,
        /// The revision of the users that they were checked against.
        acl: u64,
    },
    /// The leader's answer to a forwarded batch that is not the next one.
    Expect {
        /// The receiver's boot, as the leader's log has it.
        boot: Boot,
        /// The number that must come next.
        number: BatchNumber,
    },
    /// The sender asks the leader to record its boot as its node's only origin.
    OpenSession {
        /// The sender's data folder.
        instance: InstanceId,
        /// The sender's boot.
        boot: Boot,
        /// The sender's process.
        nonce: Nonce,
    },
    /// A formed member tells a first member that has no cluster yet.
    Formed(Formation),
    /// A member tells where the members are: the receiver may not have applied the entries that say so.
    Contacts(Vec<InitialMember>),
    /// The sender's client asks the leader for a change. It is not forwarded again: a receiver that does not lead drops
    /// it, and the sender asks the next leader.
    Change {
        /// The term of the leader that is asked. Another one is asked anew: one that got this late would make what its
        /// successor has refused.
        term: Term,
        /// Names the request: the sender's boot and a counter. The leader does what has the same name once.
        number: u64,
        /// What is asked for.
        change: Change,
    },
    /// The leader's answer to a change that it was asked for.
    Changed {
        /// Which request.
        number: u64,
        /// Success, or an error text for the client.
        result: Result<(), Bytes>,
    },
    /// How the sender is, now and then.
    Vitals(Vitals),
    /// What the sender's applied state was after an entry, to be compared.
    StateHash {
        /// The entry.
        index: LogIndex,
        /// The state's running hash.
        hash: u64,
    },
    /// How many clients listen on the sender, by name: all names once, then those that have changed (P6).
    Counts {
        /// The sender's boot.
        boot: Boot,
        /// Numbers the sender's streams of counts: each tells everything from the start.
        stream: u64,
        /// The message's number within its stream.
        seq: u64,
        /// Whether with this message all names have been told once.
        complete: bool,
        /// Names, with the counts as they are now; a later one of the same name replaces it.
        counts: Vec<NameCount>,
    },
    /// The receiver's counts have been taken, all messages before one.
    CountsTaken {
        /// The receiver's boot.
        boot: Boot,
        /// The receiver's stream.
        stream: u64,
        /// The message that must come next.
        next: u64,
    },
    /// The sender knows nothing of the receiver's counts, and would like to be told.
    Recount,
    /// Asks for bytes of a snapshot that the receiver has offered.
    SnapshotFetch {
        /// Of which file.
        file: SnapshotFile,
        /// From where on.
        offset: u64,
        /// How many at most.
        len: u32,
    },
    /// Bytes of a snapshot.
    SnapshotChunk {
        /// Of which file.
        file: SnapshotFile,
        /// From where on.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// The sender does not have the snapshot any more.
    SnapshotGone(SnapshotFile),
}

/// How many clients of a node listen to a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameCount {
    /// What is named.
    pub kind: SubscriptionKind,
    /// The channel, the pattern, or the shard channel.
    pub name: Bytes,
    /// How many; 0 if nobody does any more.
    pub count: u64,
}

impl NameCount {
    /// Returns how many bytes it takes in a message.
    pub fn encoded_len(&self) -> usize {
        1 + 4 + 4 + self.name.len()
    }
}

/// How a node is: what the others go by and cannot know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vitals {
    /// Its wall clock.
    pub wall_ms: u64,
    /// What it can apply.
    pub level: u32,
    /// Whether its disk is almost full.
    pub disk_low: bool,
}

impl PeerMessage {
    /// Returns the connection to take.
    pub fn lane(&self) -> Lane {
        match self {
            Self::Raft { bulk: true, .. } | Self::Forward { .. } => Lane::Bulk,
            Self::Counts { .. } if self.payload_bytes() > CONTROL_BYTES_MAX => Lane::Bulk,
            Self::Raft { bulk: false, .. }
            | Self::Counts { .. }
            | Self::CountsTaken { .. }
            | Self::Recount
            | Self::Expect { .. }
            | Self::OpenSession { .. }
            | Self::Formed(_)
            | Self::Contacts(_)
            | Self::Change { .. }
            | Self::Changed { .. }
            | Self::Vitals(_)
            | Self::StateHash { .. } => Lane::Control,
            Self::SnapshotFetch { .. } | Self::SnapshotChunk { .. } | Self::SnapshotGone(_) => {
                Lane::Snapshot
            }
        }
    }

    /// Returns how many bytes of payload the message holds, for the limits of queues.
    pub fn payload_bytes(&self) -> usize {
        match self {
            Self::Raft { bytes, .. } => bytes.len(),
            Self::Forward { data, .. } => data.len(),
            Self::SnapshotChunk { bytes, .. } => bytes.len(),
            Self::Counts { counts, .. } => counts.iter().map(NameCount::encoded_len).sum(),
            Self::CountsTaken { .. }
            | Self::Recount
            | Self::Expect { .. }
            | Self::OpenSession { .. }
            | Self::Formed(_)
            | Self::Contacts(_)
            | Self::Change { .. }
            | Self::Changed { .. }
            | Self::Vitals(_)
            | Self::SnapshotFetch { .. }
            | Self::SnapshotGone(_)
            | Self::StateHash { .. } => 0,
        }
    }

    /// Returns the bytes as a head and a shared payload, which follow each other on the wire.
    pub fn encode(&self) -> (Vec<u8>, Bytes) {
        let mut head = Vec::with_capacity(45);
        let mut payload = Bytes::new();
        match self {
            Self::Raft { bytes, .. } => {
                head.push(RAFT);
                payload = bytes.clone();
            }
            Self::Forward {
                boot,
                number,
                ops,
                data,
                acl,
            } => {
                if *acl == 0 {
                    head.push(FORWARD);
                } else {
                    head.push(FORWARD_CHECKED);
                    head.extend_from_slice(&acl.to_be_bytes());
                }
                head.extend_from_slice(&boot.0.to_be_bytes());
                head.extend_from_slice(&number.0.to_be_bytes());
                head.extend_from_slice(&ops.to_be_bytes());
                payload = data.clone();
            }
            Self::Expect { boot, number } => {
                head.push(EXPECT);
                head.extend_from_slice(&boot.0.to_be_bytes());
                head.extend_from_slice(&number.0.to_be_bytes());
            }
            Self::OpenSession {
                instance,
                boot,
                nonce,
            } => {
                head.push(OPEN_SESSION);
                head.extend_from_slice(&instance.0.to_be_bytes());
                head.extend_from_slice(&boot.0.to_be_bytes());
                head.extend_from_slice(&nonce.0.to_be_bytes());
            }
            Self::Formed(formation) => {
                head.push(FORMED);
                head.extend_from_slice(&formation.cluster.0.to_be_bytes());
                head.extend_from_slice(&formation.founder.get().to_be_bytes());
            }
            Self::Contacts(members) => {
                head.push(CONTACTS);
                let count = u32::try_from(members.len()).expect("a cluster has few members");
                head.extend_from_slice(&count.to_be_bytes());
                for member in members {
                    head.extend_from_slice(&member.id.get().to_be_bytes());
                    put_bytes(&mut head, &member.addr);
                }
            }
            Self::Change {
                term,
                number,
                change,
            } => {
                head.push(CHANGE);
                head.extend_from_slice(&term.0.to_be_bytes());
                head.extend_from_slice(&number.to_be_bytes());
                put_change(&mut head, change);
            }
            Self::Changed { number, result } => {
                head.push(CHANGED);
                head.extend_from_slice(&number.to_be_bytes());
                head.push(result.is_ok().into());
                if let Err(text) = result {
                    put_bytes(&mut head, text);
                }
            }
            Self::Vitals(vitals) => {
                head.push(VITALS);
                head.extend_from_slice(&vitals.wall_ms.to_be_bytes());
                head.extend_from_slice(&vitals.level.to_be_bytes());
                head.push(vitals.disk_low.into());
            }
            Self::StateHash { index, hash } => {
                head.push(STATE_HASH);
                head.extend_from_slice(&index.0.to_be_bytes());
                head.extend_from_slice(&hash.to_be_bytes());
            }
            Self::Counts {
                boot,
                stream,
                seq,
                complete,
                counts,
            } => {
                head.reserve(self.payload_bytes());
                head.push(COUNTS);
                head.extend_from_slice(&boot.0.to_be_bytes());
                head.extend_from_slice(&stream.to_be_bytes());
                head.extend_from_slice(&seq.to_be_bytes());
                head.push((*complete).into());
                put_counts(&mut head, counts);
            }
            Self::CountsTaken { boot, stream, next } => {
                head.push(COUNTS_TAKEN);
                head.extend_from_slice(&boot.0.to_be_bytes());
                head.extend_from_slice(&stream.to_be_bytes());
                head.extend_from_slice(&next.to_be_bytes());
            }
            Self::Recount => head.push(RECOUNT),
            Self::SnapshotFetch { file, offset, len } => {
                head.push(SNAPSHOT_FETCH);
                put_file(&mut head, file);
                head.extend_from_slice(&offset.to_be_bytes());
                head.extend_from_slice(&len.to_be_bytes());
            }
            Self::SnapshotChunk {
                file,
                offset,
                bytes,
            } => {
                head.push(SNAPSHOT_CHUNK);
                put_file(&mut head, file);
                head.extend_from_slice(&offset.to_be_bytes());
                payload = bytes.clone();
            }
            Self::SnapshotGone(file) => {
                head.push(SNAPSHOT_GONE);
                put_file(&mut head, file);
            }
        }
        (head, payload)
    }

    /// Reads a message that came on `lane`.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not exactly one message that this build knows.
    pub fn decode(lane: Lane, bytes: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let message = match r.u8("peer message kind")? {
            RAFT => {
                return Ok(Self::Raft {
                    bulk: lane == Lane::Bulk,
                    bytes: r.rest(),
                });
            }
            kind @ (FORWARD | FORWARD_CHECKED) => {
                let field = "users' revision";
                let acl = if kind == FORWARD { 0 } else { r.u64(field)? };
                if kind == FORWARD_CHECKED && acl == 0 {
                    return Err(DecodeError::Invalid { field });
                }
                let boot = Boot(r.u64("boot")?);
                let number = BatchNumber(r.u64("batch number")?);
                let ops = r.u32("operation count")?;
                return Ok(Self::Forward {
                    boot,
                    number,
                    ops,
                    data: r.rest(),
                    acl,
                });
            }
            EXPECT => Self::Expect {
                boot: Boot(r.u64("boot")?),
                number: BatchNumber(r.u64("batch number")?),
            },
            OPEN_SESSION => Self::OpenSession {
                instance: InstanceId(r.u128("instance")?),
                boot: Boot(r.u64("boot")?),
                nonce: Nonce(r.u128("nonce")?),
            },
            FORMED => Self::Formed(Formation {
                cluster: ClusterId(r.u128("cluster")?),
                founder: r.node_id("founder")?,
            }),
            CONTACTS => {
                let count = r.u32("member count")?;
                let mut members = Vec::new();
                for _ in 0..count {
                    members.push(InitialMember {
                        id: r.node_id("member id")?,
                        addr: r.bytes("member address")?,
                    });
                }
                Self::Contacts(members)
            }
            CHANGE => Self::Change {
                term: Term(r.u64("term")?),
                number: r.u64("request")?,
                change: read_change(&mut r)?,
            },
            CHANGED => {
                let number = r.u64("request")?;
                let result = match r.u8("outcome")? {
                    1 => Ok(()),
                    0 => Err(r.bytes("error text")?),
                    value => {
                        return Err(DecodeError::Unknown {
                            field: "outcome",
                            value: value.into(),
                        });
                    }
                };
                Self::Changed { number, result }
            }
            VITALS => Self::Vitals(Vitals {
                wall_ms: r.u64("clock")?,
                level: r.u32("feature level")?,
                disk_low: read_bool(&mut r, "disk")?,
            }),
            STATE_HASH => Self::StateHash {
                index: LogIndex(r.u64("index")?),
                hash: r.u64("state hash")?,
            },
            COUNTS => Self::Counts {
                boot: Boot(r.u64("boot")?),
                stream: r.u64("stream")?,
                seq: r.u64("sequence")?,
                complete: read_bool(&mut r, "complete")?,
                counts: read_counts(&mut r)?,
            },
            COUNTS_TAKEN => Self::CountsTaken {
                boot: Boot(r.u64("boot")?),
                stream: r.u64("stream")?,
                next: r.u64("sequence")?,
            },
            RECOUNT => Self::Recount,
            SNAPSHOT_FETCH => Self::SnapshotFetch {
                file: read_file(&mut r)?,
                offset: r.u64("offset")?,
                len: r.u32("length")?,
            },
            SNAPSHOT_CHUNK => {
                return Ok(Self::SnapshotChunk {
                    file: read_file(&mut r)?,
                    offset: r.u64("offset")?,
                    bytes: r.rest(),
                });
            }
            SNAPSHOT_GONE => Self::SnapshotGone(read_file(&mut r)?),
            kind => {
                return Err(DecodeError::Unknown {
                    field: "peer message kind",
                    value: kind.into(),
                });
            }
        };
        r.finish()?;
        Ok(message)
    }
}

fn read_bool(r: &mut Reader, field: &'static str) -> Result<bool, DecodeError> {
    match r.u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::Invalid { field }),
    }
}

fn put_counts(out: &mut Vec<u8>, counts: &[NameCount]) {
    let len = u32::try_from(counts.len()).expect("a message has few names");
    out.extend_from_slice(&len.to_be_bytes());
    for NameCount { kind, name, count } in counts {
        out.push(match kind {
            SubscriptionKind::Channel => 1,
            SubscriptionKind::Pattern => 2,
            SubscriptionKind::Shard => 3,
        });
        let count = u32::try_from(*count).unwrap_or(u32::MAX);
        out.extend_from_slice(&count.to_be_bytes());
        put_bytes(out, name);
    }
}

fn read_counts(r: &mut Reader) -> Result<Vec<NameCount>, DecodeError> {
    let len = r.u32("number of names")?;
    let mut counts = Vec::new();
    for _ in 0..len {
        let kind = match r.u8("kind of name")? {
            1 => SubscriptionKind::Channel,
            2 => SubscriptionKind::Pattern,
            3 => SubscriptionKind::Shard,
            value => {
                return Err(DecodeError::Unknown {
                    field: "kind of name",
                    value: value.into(),
                });
            }
        };
        counts.push(NameCount {
            kind,
            count: r.u32("subscribers")?.into(),
            name: r.bytes("name")?,
        });
    }
    Ok(counts)
}

fn put_file(out: &mut Vec<u8>, file: &SnapshotFile) {
    for number in [file.index.0, file.term.0, file.bytes, file.hash] {
        out.extend_from_slice(&number.to_be_bytes());
    }
}

fn read_file(r: &mut Reader) -> Result<SnapshotFile, DecodeError> {
    Ok(SnapshotFile {
        index: LogIndex(r.u64("snapshot index")?),
        term: Term(r.u64("snapshot term")?),
        bytes: r.u64("snapshot length")?,
        hash: r.u64("snapshot hash")?,
    })
}

fn put_change(out: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Lead => out.push(LEAD),
        Change::Forget(node) => {
            out.push(FORGET);
            out.extend_from_slice(&node.get().to_be_bytes());
        }
        Change::Meet { addr, replaces } => {
            out.push(MEET);
            out.extend_from_slice(&replaces.map_or(0, NodeId::get).to_be_bytes());
            put_bytes(out, addr);
        }
    }
}

fn read_change(r: &mut Reader) -> Result<Change, DecodeError> {
    Ok(match r.u8("change")? {
        LEAD => Change::Lead,
        FORGET => Change::Forget(r.node_id("node")?),
        MEET => Change::Meet {
            replaces: NodeId::new(r.u64("replaced node")?),
            addr: r.bytes("address")?,
        },
        value => {
            return Err(DecodeError::Unknown {
                field: "change",
                value: value.into(),
            });
        }
    })
}

/// Who a node says it is, in the handshake of a peer connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerHello {
    /// Its id.
    pub id: NodeId,
    /// Its data folder.
    pub instance: InstanceId,
    /// How often the folder has been started.
    pub boot: Boot,
    /// Which process of that boot.
    pub nonce: Nonce,
    /// Its cluster, or `None` before it has one.
    pub formation: Option<Formation>,
}

/// Why a peer is not let in. The numbers are on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// It does not know the secret.
    Secret = 1,
    /// It speaks another version of the peer protocol.
    Version = 2,
    /// It belongs to another cluster.
    OtherCluster = 3,
    /// Its id is not one of the members.
    NotMember = 4,
    /// Its id is bound to another data folder.
    OtherInstance = 5,
    /// It has the id of the node that it talks to.
    SameId = 6,
    /// It was called by another id than it has.
    WrongId = 7,
    /// Its id has left the cluster, for ever.
    Removed = 8,
    /// Its folder is an old copy: a later start of it is known.
    OldFolder = 9,
}

impl RefusalKind {
    /// Returns the kind for its number.
    pub fn from_number(number: u8) -> Option<Self> {
        [
            Self::Secret,
            Self::Version,
            Self::OtherCluster,
            Self::NotMember,
            Self::OtherInstance,
            Self::SameId,
            Self::WrongId,
            Self::Removed,
            Self::OldFolder,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == number)
    }
}

/// A refusal in words: what was wrong, with what value, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What programs go by.
    pub kind: RefusalKind,
    /// What people read.
    pub text: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests;
