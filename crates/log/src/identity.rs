//! The identity file: whose data a folder holds.
//!
//! ```text
//! magic "CORGI-ID"  format:u16  instance:u128  node:u64  boot:u64    (node is 0 until a cluster has given an id)
//! formed:u8  cluster:u128  founder:u64          (both 0 while formed is 0)
//! floor_term:u64  floor_commit:u64
//! crc:u32                                       CRC-32C of everything before it
//! ```
//!
//! In every format, present and future, the magic and the format stand first and the checksum
//! stands last, so that a file of a newer release is told from a damaged one. A file is replaced as
//! a whole: a crash leaves the old or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use corgi_base::codec::{DecodeError, Reader};
use corgi_base::{Boot, ClusterId, Formation, InstanceId, LogIndex, NodeId, Term};

/// The name of the file.
pub(crate) const FILE_NAME: &str = "identity";
/// The format of the whole folder.
pub(crate) const FORMAT: u16 = 1;

const TEMPORARY_NAME: &str = "identity.new";
const MAGIC: &[u8; 8] = b"CORGI-ID";
const CRC_BYTES: usize = 4;

/// Whose data a folder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The folder's random name: an emptied folder has another.
    pub instance: InstanceId,
    /// The node; `None` until a cluster has given it an id.
    pub node: Option<NodeId>,
    /// How often it has been started.
    pub boot: Boot,
    /// The cluster, once the node belongs to one.
    pub formation: Option<Formation>,
    /// What the Raft log has held for certain.
    pub floor: Floor,
}

/// What a Raft log has held for certain when the identity was last written. Neither ever goes back,
/// so a log with less has lost what was synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Floor {
    /// The term of its hard state.
    pub term: Term,
    /// An entry that was committed.
    pub commit: LogIndex,
}

/// Why the bytes of an identity file are not one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// They are not what was written.
    Damaged(String),
    /// They are sound, and of another release.
    UnknownFormat(u16),
}

impl From<DecodeError> for Malformed {
    fn from(error: DecodeError) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl Identity {
    /// Returns the bytes of the file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&FORMAT.to_be_bytes());
        out.extend_from_slice(&self.instance.0.to_be_bytes());
        out.extend_from_slice(&self.node.map_or(0, NodeId::get).to_be_bytes());
        out.extend_from_slice(&self.boot.0.to_be_bytes());
        out.push(u8::from(self.formation.is_some()));
        let cluster = self.formation.map_or(0, |formation| formation.cluster.0);
        out.extend_from_slice(&cluster.to_be_bytes());
        let founder = self
            .formation
            .map_or(0, |formation| formation.founder.get());
        out.extend_from_slice(&founder.to_be_bytes());
        out.extend_from_slice(&self.floor.term.0.to_be_bytes());
        out.extend_from_slice(&self.floor.commit.0.to_be_bytes());
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        out
    }

    /// Reads the bytes of a file.
    pub(crate) fn decode(file: &[u8]) -> Result<Self, Malformed> {
        let damaged = |what: String| Err(Malformed::Damaged(what));
        let Some((body, crc)) = file.split_last_chunk::<CRC_BYTES>() else {
            return damaged(format!("{} bytes are too few", file.len()));
        };
        if !body.starts_with(MAGIC) {
            return damaged("it does not begin with CORGI-ID".to_owned());
        }
        let (stored, computed) = (u32::from_be_bytes(*crc), crc32c::crc32c(body));
        if stored != computed {
            return damaged(format!(
                "checksum {stored:08x} stored, {computed:08x} computed"
            ));
        }
        let mut reader = Reader::new(Bytes::copy_from_slice(&body[MAGIC.len()..]));
        let format = u16::from_be_bytes([reader.u8("format")?, reader.u8("format")?]);
        if format != FORMAT {
            return Err(Malformed::UnknownFormat(format));
        }
        let instance = InstanceId(reader.u128("instance")?);
        let node = NodeId::new(reader.u64("node")?);
        let boot = Boot(reader.u64("boot")?);
        let formation = match reader.u8("formed")? {
            0 => {
                reader.u128("cluster")?;
                reader.u64("founder")?;
                None
            }
            1 => Some(Formation {
                cluster: ClusterId(reader.u128("cluster")?),
                founder: reader.node_id("founder")?,
            }),
            value => return damaged(format!("formed is {value}")),
        };
        let floor = Floor {
            term: Term(reader.u64("floor term")?),
            commit: LogIndex(reader.u64("floor commit")?),
        };
        reader.finish()?;
        Ok(Self {
            instance,
            node,
            boot,
            formation,
            floor,
        })
    }

    /// Puts the file into `dir`, durably, in place of an older one.
    pub(crate) fn store(&self, dir: &Path) -> io::Result<()> {
        let temporary = dir.join(TEMPORARY_NAME);
        // A crash may have left one, with other permissions if somebody copied the folder.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(&self.encode())?;
        file.sync_all()?;
        fs::rename(&temporary, path(dir))?;
        sync_dir(dir)
    }
}

/// Returns where the identity of a folder is.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(FILE_NAME)
}

/// Makes the creation and renaming of files in a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identity(formed: bool) -> Identity {
        let founder = NodeId::new(1).unwrap();
        Identity {
            instance: InstanceId(7),
            node: NodeId::new(3),
            boot: Boot(12),
            formation: formed.then_some(Formation {
                cluster: ClusterId(9),
                founder,
            }),
            floor: Floor {
                term: Term(4),
                commit: LogIndex(99),
            },
        }
    }

    proptest! {
        #[test]
        fn decoding_reverses_encoding(
            instance: u128, node: u64, boot: u64,
            formation in proptest::option::of((any::<u128>(), 1_u64..)),
            floor_term: u64, floor_commit: u64,
        ) {
            let identity = Identity {
                instance: InstanceId(instance),
                node: NodeId::new(node),
                boot: Boot(boot),
                formation: formation.map(|(cluster, founder)| Formation {
                    cluster: ClusterId(cluster),
                    founder: NodeId::new(founder).unwrap(),
                }),
                floor: Floor { term: Term(floor_term), commit: LogIndex(floor_commit) },
            };
            prop_assert_eq!(Identity::decode(&identity.encode()), Ok(identity));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_damage() {
        let sound = identity(true).encode();
        assert_eq!(sound.len(), 87, "docs/disk-format.md says 87");
        for bit in 0..sound.len() * 8 {
            let mut file = sound.clone();
            file[bit / 8] ^= 1 << (bit % 8);
            assert!(
                matches!(Identity::decode(&file), Err(Malformed::Damaged(_))),
                "bit {bit}"
            );
        }
        for len in 0..sound.len() {
            assert!(matches!(
                Identity::decode(&sound[..len]),
                Err(Malformed::Damaged(_))
            ));
        }
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let mut file = identity(false).encode();
        file.truncate(file.len() - CRC_BYTES);
        file[9] = 2;
        file.extend_from_slice(b"fields of the future");
        let crc = crc32c::crc32c(&file);
        file.extend_from_slice(&crc.to_be_bytes());
        assert_eq!(Identity::decode(&file), Err(Malformed::UnknownFormat(2)));
    }
}
