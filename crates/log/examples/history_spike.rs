//! Measures three ways of keeping a channel's recent messages, for docs/adr/0004-history-layout.md.
//!
//! ```text
//! message  channel, id            -> payload                 a row per message
//! batch    channel, first id      -> (id, payload)*          a row per entry and channel
//! index    channel, entry index   -> operation number*       the same, but payloads stay in the
//!                                                            Raft log until it is truncated
//! ```
//!
//! The Raft log itself costs all of them the same and is left out, except where `index` reads it.
//! All databases are without WAL and compression, as the applied state is. Figures are CPU time of
//! the whole process, background threads included, and bytes handed to `write`; both settle
//! compactions first. Run: `cargo run --release -p corgi-log --example history_spike`
#![expect(clippy::print_stdout, reason = "a program that prints a table")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use corgi_base::Op;
use corgi_base::op::decode_ops;
use rocksdb::{
    DB, DBCompressionType, Direction, IteratorMode, Options, ReadOptions, WaitForCompactOptions,
};
use rocksdb::{WriteBatch, WriteOptions};

type Done<T> = Result<T, Box<dyn std::error::Error>>;

/// Messages of one entry: what a busy leader gathers while an fsync is in flight.
const BATCH: u64 = 64;
/// How many messages a reader asks for, and how many expiry leaves.
const LAST: usize = 100;
const READS: u32 = 300;

/// The first byte of a row of `index`: the payloads are in the Raft log, or follow.
const IN_LOG: u8 = 0;
const COPIED: u8 = 1;

struct Message {
    channel: u64,
    payload: Bytes,
}

/// Keeps the messages of one kind of layout.
trait Layout {
    fn name(&self) -> &'static str;
    /// Stores the messages of an entry.
    fn apply(&self, index: u64, messages: &[Message]) -> Done<()>;
    /// Reads the newest messages of a channel; returns how many bytes of payload.
    fn last(&self, channel: u64) -> Done<usize>;
    /// Removes all but the newest messages of a channel, to the granularity of a row.
    fn expire(&self, channel: u64) -> Done<()>;
    /// Makes the Raft log up to `upto` removable.
    fn before_truncation(&self, upto: u64) -> Done<()>;
    fn db(&self) -> &DB;
}

struct PerMessage(DB);
struct PerBatch(DB);
struct Index {
    db: DB,
    raft: DB,
}

fn open(path: &Path) -> Done<DB> {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(32 << 20);
    options.set_max_background_jobs(2);
    Ok(DB::open(&options, path)?)
}

fn write(db: &DB, batch: WriteBatch) -> Done<()> {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    Ok(db.write_opt(batch, &options)?)
}

/// Returns a key of a channel; `at` is an id or an index.
fn key(channel: u64, at: u64) -> Vec<u8> {
    let name = format!("channel:{channel}");
    let mut key = (name.len() as u16).to_be_bytes().to_vec();
    key.extend_from_slice(name.as_bytes());
    key.extend_from_slice(&at.to_be_bytes());
    // An id has a second half, the sequence.
    key.extend_from_slice(&0_u64.to_be_bytes());
    key
}

fn at(key: &[u8]) -> u64 {
    let start = key.len() - 16;
    u64::from_be_bytes(key[start..start + 8].try_into().expect("eight bytes"))
}

/// Walks a channel's rows from the newest to the oldest until `visit` has enough.
fn backwards(db: &DB, channel: u64, mut visit: impl FnMut(u64, &[u8]) -> Done<bool>) -> Done<()> {
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(key(channel, 0));
    let from = key(channel, u64::MAX);
    for row in db.iterator_opt(IteratorMode::From(&from, Direction::Reverse), options) {
        let (key, value) = row?;
        if !visit(at(&key), &value)? {
            break;
        }
    }
    Ok(())
}

/// Returns where the rows begin that hold more than the newest messages.
fn cut(db: &DB, channel: u64, messages_in: fn(&[u8]) -> usize) -> Done<Option<u64>> {
    let (mut messages, mut cut) = (0, None);
    backwards(db, channel, |at, value| {
        if messages >= LAST {
            cut = Some(at + 1);
            return Ok(false);
        }
        messages += messages_in(value);
        Ok(true)
    })?;
    Ok(cut)
}

fn expire(db: &DB, channel: u64, messages_in: fn(&[u8]) -> usize) -> Done<()> {
    if let Some(cut) = cut(db, channel, messages_in)? {
        let mut batch = WriteBatch::default();
        batch.delete_range(key(channel, 0), key(channel, cut));
        write(db, batch)?;
    }
    Ok(())
}

/// Groups an entry's messages by channel: numbers of operations.
fn by_channel(messages: &[Message]) -> BTreeMap<u64, Vec<u32>> {
    let mut channels: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for (number, message) in (0..).zip(messages) {
        channels.entry(message.channel).or_default().push(number);
    }
    channels
}

/// Returns the row of a channel's messages in one entry: `(number, len, payload)*`.
fn batch_row<'a>(messages: impl Iterator<Item = (u32, &'a Bytes)>) -> Vec<u8> {
    let mut row = Vec::new();
    for (number, payload) in messages {
        row.extend_from_slice(&number.to_be_bytes());
        row.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        row.extend_from_slice(payload);
    }
    row
}

/// Calls `visit` with each payload of a batch row.
fn payloads(mut row: &[u8], mut visit: impl FnMut(&[u8])) {
    while let Some((head, rest)) = row.split_first_chunk::<8>() {
        let len = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let (payload, rest) = rest.split_at(len);
        visit(payload);
        row = rest;
    }
}

fn count_payloads(row: &[u8]) -> usize {
    let mut count = 0;
    payloads(row, |_| count += 1);
    count
}

impl Layout for PerMessage {
    fn name(&self) -> &'static str {
        "message"
    }

    fn apply(&self, index: u64, messages: &[Message]) -> Done<()> {
        let mut batch = WriteBatch::default();
        for (number, message) in (0..).zip(messages) {
            batch.put(
                key(message.channel, index * BATCH + number),
                &message.payload,
            );
        }
        write(&self.0, batch)
    }

    fn last(&self, channel: u64) -> Done<usize> {
        let (mut bytes, mut count) = (0, 0);
        backwards(&self.0, channel, |_, payload| {
            bytes += Bytes::copy_from_slice(payload).len();
            count += 1;
            Ok(count < LAST)
        })?;
        Ok(bytes)
    }

    fn expire(&self, channel: u64) -> Done<()> {
        expire(&self.0, channel, |_| 1)
    }

    fn before_truncation(&self, _: u64) -> Done<()> {
        Ok(())
    }

    fn db(&self) -> &DB {
        &self.0
    }
}

impl Layout for PerBatch {
    fn name(&self) -> &'static str {
        "batch"
    }

    fn apply(&self, index: u64, messages: &[Message]) -> Done<()> {
        let mut batch = WriteBatch::default();
        for (channel, numbers) in by_channel(messages) {
            let numbers = numbers.into_iter();
            let row = batch_row(numbers.map(|n| (n, &messages[n as usize].payload)));
            batch.put(key(channel, index), row);
        }
        write(&self.0, batch)
    }

    fn last(&self, channel: u64) -> Done<usize> {
        let (mut bytes, mut count) = (0, 0);
        backwards(&self.0, channel, |_, row| {
            payloads(row, |payload| {
                bytes += Bytes::copy_from_slice(payload).len();
                count += 1;
            });
            Ok(count < LAST)
        })?;
        Ok(bytes)
    }

    fn expire(&self, channel: u64) -> Done<()> {
        expire(&self.0, channel, count_payloads)
    }

    fn before_truncation(&self, _: u64) -> Done<()> {
        Ok(())
    }

    fn db(&self) -> &DB {
        &self.0
    }
}

impl Index {
    fn entry(&self, index: u64) -> Done<Vec<Op>> {
        let record = self
            .raft
            .get(index.to_be_bytes())?
            .ok_or("the log holds the entry")?;
        let (crc, data) = record
            .split_first_chunk::<4>()
            .ok_or("a record has a checksum")?;
        if *crc != crc32c::crc32c(data).to_be_bytes() {
            return Err("wrong checksum".into());
        }
        Ok(decode_ops(BATCH as u32, Bytes::copy_from_slice(data))?)
    }
}

impl Layout for Index {
    fn name(&self) -> &'static str {
        "index"
    }

    fn apply(&self, index: u64, messages: &[Message]) -> Done<()> {
        let mut batch = WriteBatch::default();
        for (channel, numbers) in by_channel(messages) {
            let mut row = vec![IN_LOG];
            row.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
            batch.put(key(channel, index), row);
        }
        write(&self.db, batch)
    }

    fn last(&self, channel: u64) -> Done<usize> {
        let (mut bytes, mut count) = (0, 0);
        backwards(&self.db, channel, |index, row| {
            let ops = self.entry(index)?;
            for number in row[1..].chunks_exact(4) {
                let number = u32::from_be_bytes([number[0], number[1], number[2], number[3]]);
                let (Op::Publish { payload, .. } | Op::ShardPublish { payload, .. }) =
                    &ops[number as usize]
                else {
                    return Err("only messages are written here".into());
                };
                bytes += Bytes::copy_from_slice(payload).len();
                count += 1;
            }
            Ok(count < LAST)
        })?;
        Ok(bytes)
    }

    fn expire(&self, channel: u64) -> Done<()> {
        expire(&self.db, channel, |row| match row[0] {
            IN_LOG => row.len() / 4,
            _ => count_payloads(&row[1..]),
        })
    }

    /// Copies what is still retained out of the log: the rows become those of `batch`. What is
    /// retained is known from the channels' heads in memory; here it is everything.
    fn before_truncation(&self, upto: u64) -> Done<()> {
        for index in 1..=upto {
            let mut channels: BTreeMap<Bytes, Vec<(u32, Bytes)>> = BTreeMap::new();
            for (number, op) in (0..).zip(self.entry(index)?) {
                let (Op::Publish { channel, payload } | Op::ShardPublish { channel, payload }) = op
                else {
                    return Err("only messages are written here".into());
                };
                channels.entry(channel).or_default().push((number, payload));
            }
            let mut batch = WriteBatch::default();
            for (channel, messages) in channels {
                let channel = std::str::from_utf8(&channel)?.parse()?;
                let mut row = vec![COPIED];
                row.extend(batch_row(messages.iter().map(|(n, payload)| (*n, payload))));
                batch.put(key(channel, index), row);
            }
            write(&self.db, batch)?;
        }
        Ok(())
    }

    fn db(&self) -> &DB {
        &self.db
    }
}

/// CPU time of this process in microseconds and bytes it handed to `write`.
fn used() -> Done<(u64, u64)> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .ok_or("stat")?
        .split_whitespace()
        .collect();
    let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    let io = fs::read_to_string("/proc/self/io")?;
    let wchar = io
        .lines()
        .find_map(|line| line.strip_prefix("wchar: "))
        .ok_or("wchar")?;
    Ok((ticks * 10_000, wchar.parse()?))
}

/// Does `work`, lets the database settle, and returns CPU microseconds and bytes per unit.
fn measure(db: &DB, units: u64, work: impl FnOnce() -> Done<()>) -> Done<(f64, f64)> {
    let (cpu, bytes) = used()?;
    work()?;
    db.flush()?;
    db.wait_for_compact(&WaitForCompactOptions::default())?;
    let (cpu_after, bytes_after) = used()?;
    let per_unit = |n: u64| n as f64 / units as f64;
    Ok((per_unit(cpu_after - cpu), per_unit(bytes_after - bytes)))
}

/// The messages of an entry: the same for every layout.
fn messages(index: u64, channels: u64, payload: &Bytes) -> Vec<Message> {
    let mix = |n: u64| (n ^ (n >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    let one = |number| Message {
        channel: mix(index * BATCH + number) % channels,
        payload: payload.clone(),
    };
    (0..BATCH).map(one).collect()
}

fn fill_raft(raft: &DB, entries: u64, channels: u64, payload: &Bytes) -> Done<()> {
    for index in 1..=entries {
        let mut data = Vec::new();
        for Message { channel, payload } in messages(index, channels, payload) {
            Op::Publish {
                channel: channel.to_string().into(),
                payload,
            }
            .encode(&mut data);
        }
        let mut batch = WriteBatch::default();
        batch.put(
            index.to_be_bytes(),
            [&crc32c::crc32c(&data).to_be_bytes()[..], &data].concat(),
        );
        write(raft, batch)?;
    }
    raft.flush()?;
    Ok(raft.wait_for_compact(&WaitForCompactOptions::default())?)
}

fn run(layout: &dyn Layout, count: u64, channels: u64, payload: &Bytes) -> Done<()> {
    let entries = count / BATCH;
    let db = layout.db();
    let (write_cpu, write_bytes) = measure(db, count, || {
        (1..=entries).try_for_each(|i| layout.apply(i, &messages(i, channels, payload)))
    })?;
    let started = Instant::now();
    let mut bytes = 0;
    for read in 0..READS {
        bytes += layout.last(u64::from(read) * 7919 % channels)?;
    }
    let read_us = started.elapsed().as_micros() as f64 / f64::from(READS);
    let found = bytes / payload.len() / READS as usize;
    // A half of the log is truncated while all of it is still retained: the worst case.
    let truncated = entries / 2;
    let (out_cpu, out_bytes) = measure(db, truncated * BATCH, || {
        layout.before_truncation(truncated)
    })?;
    let (expire_cpu, expire_bytes) = measure(db, count, || {
        (0..channels).try_for_each(|channel| layout.expire(channel))
    })?;
    let size = payload.len();
    let name = layout.name();
    print!("| {size:4} B | {channels:6} | {name:7} | {write_cpu:5.2} µs | {write_bytes:6.0} B ");
    print!("| {read_us:6.0} µs ({found:3}) | {out_cpu:5.2} µs | {out_bytes:6.0} B ");
    println!("| {expire_cpu:5.2} µs | {expire_bytes:5.0} B |");
    Ok(())
}

fn main() -> Done<()> {
    println!("per message; read: {LAST} newest of a channel (messages found); entries of {BATCH}");
    println!(
        "| payload | channels | layout | write CPU | written | read | copy-out CPU | written | \
         expiry CPU | written |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (payload, count) in [(100, 1_000_000), (1024, 200_000)] {
        let payload = Bytes::from(vec![b'x'; payload]);
        for channels in [10, 10_000] {
            let root = tempfile::tempdir()?;
            let path = |name: &str| root.path().join(name);
            let raft = open(&path("raft"))?;
            fill_raft(&raft, count / BATCH, channels, &payload)?;
            run(
                &PerMessage(open(&path("message"))?),
                count,
                channels,
                &payload,
            )?;
            run(&PerBatch(open(&path("batch"))?), count, channels, &payload)?;
            run(
                &Index {
                    db: open(&path("index"))?,
                    raft,
                },
                count,
                channels,
                &payload,
            )?;
        }
    }
    Ok(())
}
