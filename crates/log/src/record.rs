//! The keys and records of the Raft log, byte by byte.
//!
//! All integers are big-endian, so that keys sort by number.
//!
//! | key              | record                                                                   |
//! |------------------|--------------------------------------------------------------------------|
//! | `0x01 index:u64` | `format:u8 type:u8 term:u64 previous:u32 crc:u32 context:bytes data`     |
//! | `0x02`           | `format:u8 term:u64 vote:u64 commit:u64 crc:u32`                         |
//! | `0x03`           | `format:u8 index:u64 term:u64 chain:u32 crc:u32`                         |
//! | `0x04`           | `format:u8 crc:u32`                                                      |
//!
//! The checksum of an entry covers its index and every other byte of its record, `previous`
//! included, which is the checksum of the entry before it. So each record can be checked alone, and
//! two neighbours against each other: an entry that was put elsewhere, or one of another history
//! between sound ones, does not fit.
//!
//! Tag and format bytes are for ever: add, never reuse (docs/disk-format.md).

use bytes::Bytes;
use corgi_base::codec::{DecodeError, Reader};
use corgi_base::{LogIndex, NodeId, Term};
use corgi_consensus::storage::{EntryType, HardState, LogEntry};

/// How long an entry's key is.
pub(crate) const ENTRY_KEY_BYTES: usize = 9;
/// The first byte of an entry's key.
pub(crate) const ENTRY: u8 = 0x01;
/// The key of the hard state.
pub(crate) const HARD_STATE: [u8; 1] = [0x02];
/// The key of what is known of the last entry that was removed from the front.
pub(crate) const TRUNCATED: [u8; 1] = [0x03];
/// The key that is there while the applied state has yet to be replaced by the snapshot that the log was reset to.
pub(crate) const INSTALLING: [u8; 1] = [0x04];

const FORMAT: u8 = 1;
/// Where an entry's checksum stands.
const CRC_AT: usize = 1 + 1 + 8 + 4;
const CRC_END: usize = CRC_AT + 4;

/// The checksum of an entry, which the next one repeats. 0 before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain(pub(crate) u32);

/// An entry with its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredEntry {
    pub(crate) entry: LogEntry,
    /// What the entry says of the one before it.
    pub(crate) previous: Chain,
    /// What the next one must say of it.
    pub(crate) chain: Chain,
}

/// A position in the log: what must be known of an entry to write or check the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) index: LogIndex,
    pub(crate) term: Term,
    pub(crate) chain: Chain,
}

/// Returns an entry's key.
pub(crate) fn entry_key(index: LogIndex) -> [u8; ENTRY_KEY_BYTES] {
    let mut key = [ENTRY; ENTRY_KEY_BYTES];
    key[1..].copy_from_slice(&index.0.to_be_bytes());
    key
}

/// Returns the index of an entry's key, `None` for any other key.
pub(crate) fn parse_entry_key(key: &[u8]) -> Option<LogIndex> {
    let index = key.strip_prefix(&[ENTRY])?;
    Some(LogIndex(u64::from_be_bytes(index.try_into().ok()?)))
}

/// Returns how many bytes an entry's key and record have.
pub(crate) fn entry_bytes(entry: &LogEntry) -> u64 {
    (ENTRY_KEY_BYTES + CRC_END + 4 + entry.payload_bytes()) as u64
}

/// Appends an entry's record and returns its place in the chain.
pub(crate) fn encode_entry(entry: &LogEntry, previous: Chain, out: &mut Vec<u8>) -> Chain {
    let start = out.len();
    out.push(FORMAT);
    out.push(entry.entry_type as u8);
    out.extend_from_slice(&entry.term.0.to_be_bytes());
    out.extend_from_slice(&previous.0.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    corgi_base::codec::put_bytes(out, &entry.context);
    out.extend_from_slice(&entry.data);
    let record = &mut out[start..];
    let crc = entry_crc(entry.index, record);
    record[CRC_AT..CRC_END].copy_from_slice(&crc.to_be_bytes());
    Chain(crc)
}

fn entry_crc(index: LogIndex, record: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&index.0.to_be_bytes());
    let crc = crc32c::crc32c_append(crc, &record[..CRC_AT]);
    crc32c::crc32c_append(crc, &record[CRC_END..])
}

/// Reads an entry's record; context and data share one buffer.
///
/// The error says what does not fit.
pub(crate) fn decode_entry(index: LogIndex, record: &[u8]) -> Result<StoredEntry, String> {
    let fields = |error: DecodeError| error.to_string();
    let mut reader = Reader::new(Bytes::copy_from_slice(record));
    let format = reader.u8("record format").map_err(fields)?;
    let entry_type = reader.u8("entry type").map_err(fields)?;
    let term = Term(reader.u64("term").map_err(fields)?);
    let previous = Chain(reader.u32("previous checksum").map_err(fields)?);
    let stored = reader.u32("checksum").map_err(fields)?;
    let computed = entry_crc(index, record);
    if format != FORMAT {
        return Err(format!("record format {format} is unknown"));
    }
    if stored != computed {
        return Err(format!(
            "checksum {stored:08x} stored, {computed:08x} computed"
        ));
    }
    let entry_type = match entry_type {
        0 => EntryType::Normal,
        1 => EntryType::ConfChange,
        2 => EntryType::ConfChangeV2,
        other => return Err(format!("entry type {other} is unknown")),
    };
    let context = reader.bytes("context").map_err(fields)?;
    let data = reader.rest();
    let entry = LogEntry {
        index,
        term,
        entry_type,
        context,
        data,
    };
    Ok(StoredEntry {
        entry,
        previous,
        chain: Chain(stored),
    })
}

/// Returns the record of a hard state.
pub(crate) fn encode_hard_state(hard_state: &HardState) -> Vec<u8> {
    let mut out = vec![FORMAT];
    out.extend_from_slice(&hard_state.term.0.to_be_bytes());
    out.extend_from_slice(&hard_state.vote.map_or(0, NodeId::get).to_be_bytes());
    out.extend_from_slice(&hard_state.commit.0.to_be_bytes());
    seal(out)
}

/// Reads the record of a hard state. The error says what does not fit.
pub(crate) fn decode_hard_state(record: &[u8]) -> Result<HardState, String> {
    let fields = |mut reader: Reader| {
        let hard_state = HardState {
            term: Term(reader.u64("term")?),
            vote: NodeId::new(reader.u64("vote")?),
            commit: LogIndex(reader.u64("commit")?),
        };
        reader.finish().map(|()| hard_state)
    };
    fields(unseal(record)?).map_err(|error: DecodeError| error.to_string())
}

/// Returns the record of the last entry that was removed from the front.
pub(crate) fn encode_truncated(mark: &Mark) -> Vec<u8> {
    let mut out = vec![FORMAT];
    out.extend_from_slice(&mark.index.0.to_be_bytes());
    out.extend_from_slice(&mark.term.0.to_be_bytes());
    out.extend_from_slice(&mark.chain.0.to_be_bytes());
    seal(out)
}

/// Reads the record of the last entry that was removed from the front. The error says what does not
/// fit.
pub(crate) fn decode_truncated(record: &[u8]) -> Result<Mark, String> {
    let fields = |mut reader: Reader| {
        let mark = Mark {
            index: LogIndex(reader.u64("truncated index")?),
            term: Term(reader.u64("truncated term")?),
            chain: Chain(reader.u32("truncated chain")?),
        };
        reader.finish().map(|()| mark)
    };
    fields(unseal(record)?).map_err(|error: DecodeError| error.to_string())
}

/// Returns the record that says that the applied state has yet to be replaced.
pub(crate) fn encode_installing() -> Vec<u8> {
    seal(vec![FORMAT])
}

/// Reads the record that says that the applied state has yet to be replaced. The error says what does not fit.
pub(crate) fn decode_installing(record: &[u8]) -> Result<(), String> {
    let rest = unseal(record)?.finish();
    rest.map_err(|error| error.to_string())
}

/// Appends the checksum of a small record.
pub(crate) fn seal(mut record: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&record);
    record.extend_from_slice(&crc.to_be_bytes());
    record
}

/// Checks format and checksum of a small record and returns the fields between them.
pub(crate) fn unseal(record: &[u8]) -> Result<Reader, String> {
    let Some((body, crc)) = record.split_last_chunk::<4>() else {
        return Err(format!("{} bytes are too few", record.len()));
    };
    let (stored, computed) = (u32::from_be_bytes(*crc), crc32c::crc32c(body));
    if stored != computed {
        return Err(format!(
            "checksum {stored:08x} stored, {computed:08x} computed"
        ));
    }
    let mut reader = Reader::new(Bytes::copy_from_slice(body));
    match reader.u8("record format") {
        Ok(FORMAT) => Ok(reader),
        Ok(format) => Err(format!("record format {format} is unknown")),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry() -> LogEntry {
        LogEntry {
            index: LogIndex(300),
            term: Term(5),
            entry_type: EntryType::ConfChange,
            context: Bytes::from_static(b"head"),
            data: Bytes::from_static(b"payload"),
        }
    }

    proptest! {
        #[test]
        fn entries_are_read_as_written(
            index: u64, term: u64, kind in 0..3_usize, previous: u32,
            context: Vec<u8>, data: Vec<u8>,
        ) {
            let kinds = [EntryType::Normal, EntryType::ConfChange, EntryType::ConfChangeV2];
            let entry = LogEntry {
                index: LogIndex(index),
                term: Term(term),
                entry_type: kinds[kind],
                context: context.into(),
                data: data.into(),
            };
            let mut record = Vec::new();
            let chain = encode_entry(&entry, Chain(previous), &mut record);
            prop_assert_eq!(entry_bytes(&entry), (ENTRY_KEY_BYTES + record.len()) as u64);
            let stored = StoredEntry { entry, previous: Chain(previous), chain };
            prop_assert_eq!(decode_entry(LogIndex(index), &record), Ok(stored));
        }

        #[test]
        fn small_records_are_read_as_written(a: u64, b: u64, c: u64, d: u32) {
            let (term, commit) = (Term(a), LogIndex(c));
            let hard_state = HardState { term, vote: NodeId::new(b), commit };
            let record = encode_hard_state(&hard_state);
            prop_assert_eq!(decode_hard_state(&record), Ok(hard_state));
            let mark = Mark { index: LogIndex(a), term: Term(b), chain: Chain(d) };
            prop_assert_eq!(decode_truncated(&encode_truncated(&mark)), Ok(mark));
            prop_assert_eq!(decode_installing(&encode_installing()), Ok(()));
        }

        #[test]
        fn keys_sort_by_index(a: u64, b: u64) {
            prop_assert_eq!(a.cmp(&b), entry_key(LogIndex(a)).cmp(&entry_key(LogIndex(b))));
            prop_assert_eq!(parse_entry_key(&entry_key(LogIndex(a))), Some(LogIndex(a)));
        }
    }

    #[test]
    fn every_flipped_bit_of_a_record_is_noticed() {
        let mut record = Vec::new();
        encode_entry(&entry(), Chain(9), &mut record);
        for bit in 0..record.len() * 8 {
            let mut damaged = record.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_entry(LogIndex(300), &damaged).is_err(), "bit {bit}");
        }
        for len in 0..record.len() {
            assert!(
                decode_entry(LogIndex(300), &record[..len]).is_err(),
                "{len} bytes"
            );
        }
        let record = encode_hard_state(&HardState::default());
        for bit in 0..record.len() * 8 {
            let mut damaged = record.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_hard_state(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_record_under_another_index_is_noticed() {
        let mut record = Vec::new();
        encode_entry(&entry(), Chain(9), &mut record);
        assert!(decode_entry(LogIndex(301), &record).is_err());
    }

    #[test]
    fn bytes_on_disk_are_as_documented() {
        let mut record = Vec::new();
        let chain = encode_entry(&entry(), Chain(0x0102_0304), &mut record);
        let mut expected = vec![1, 1, 0, 0, 0, 0, 0, 0, 0, 5, 1, 2, 3, 4];
        expected.extend_from_slice(&chain.0.to_be_bytes());
        expected.extend_from_slice(&[0, 0, 0, 4]);
        expected.extend_from_slice(b"headpayload");
        assert_eq!(record, expected);
        assert_eq!(entry_key(LogIndex(300)), [1, 0, 0, 0, 0, 0, 0, 1, 44]);
    }
}
