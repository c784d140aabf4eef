//! The history of channels on RocksDB: random publishing, trims, expiry, truncations, kills, restarts and snapshots;
//! after each step every message that the state keeps must be there, in the log or copied, and no copy of any other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::common::{copy_dir, node, open_dir};
use bytes::Bytes;
use corgi_base::{
    BatchHead, BatchNumber, Boot, ClusterId, EntryHead, InstanceId, LogIndex, Member, MessageId,
    Nonce, Op, Retention, Rules, Term,
};
use corgi_consensus::storage::{
    EntryType, HardState, LogEntry, LogInstall, LogReader as _, LogWrite, LogWriter as _,
    ReadLogError, TruncateLimits,
};
use corgi_log::{DataDir, Install, Received, Stores};
use corgi_state::State;
use corgi_state::history::{Copied, is_copied};
use corgi_state::store::{CopiedReader as _, StateStore as _};
use proptest::prelude::*;
use tempfile::TempDir;

const CHANNELS: [&str; 4] = ["a", "ab", "b", ""];
const END: MessageId = MessageId {
    ms: u64::MAX,
    seq: u64::MAX,
};

#[derive(Clone, Debug)]
enum Step {
    /// An entry: channels, and bytes of their payloads.
    Publish(Vec<(usize, usize)>),
    Wait(u64),
    /// Copies, and truncates the log unless a kill comes between.
    Flush {
        retain_bytes: u64,
        truncates: bool,
    },
    /// The process dies: what was not flushed is lost.
    Kill,
    /// An orderly end, and a start.
    Restart,
    /// A snapshot is made, and another node goes on from it.
    Snapshot,
}

fn step() -> impl Strategy<Value = Step> {
    let messages = prop::collection::vec((0..CHANNELS.len(), 0..300_usize), 1..6);
    let flush = (0..2000_u64, any::<bool>()).prop_map(|(retain_bytes, truncates)| Step::Flush {
        retain_bytes,
        truncates,
    });
    prop_oneof![
        12 => messages.prop_map(Step::Publish),
        2 => (0..30_u64).prop_map(Step::Wait),
        4 => flush,
        1 => Just(Step::Kill),
        1 => Just(Step::Restart),
        1 => Just(Step::Snapshot),
    ]
}

/// A data folder that is in use.
struct Disk {
    stores: Stores,
    _dir: DataDir,
    root: TempDir,
}

impl Disk {
    fn open(root: TempDir) -> Self {
        let mut dir = open_dir(root.path()).unwrap();
        let stores = dir.open_stores().unwrap();
        Self {
            stores,
            _dir: dir,
            root,
        }
    }
}

struct Run {
    disk: Option<Disk>,
    state: State,
    now_ms: u64,
    batches: u64,
    /// All that was ever published, and in which entries of which channels.
    payloads: BTreeMap<MessageId, Bytes>,
    places: BTreeSet<(LogIndex, &'static str)>,
}

impl Run {
    fn new() -> Self {
        let mut run = Self {
            disk: Some(Disk::open(TempDir::new().unwrap())),
            state: State::new(node(1)),
            now_ms: 1,
            batches: 0,
            payloads: BTreeMap::new(),
            places: BTreeSet::new(),
        };
        let instance = InstanceId(1);
        let member = Member {
            id: node(1),
            instance,
            addr: Bytes::new(),
        };
        let session = EntryHead::OpenSession {
            node: node(1),
            instance,
            boot: Boot(1),
            nonce: Nonce(1),
        };
        let rules = Rules {
            others: Retention {
                maxlen: 7,
                ttl_ms: 60,
            },
            max_bytes: 4000,
            ..Rules::default()
        };
        let first = [
            EntryHead::Bootstrap {
                cluster: ClusterId(1),
                members: vec![member],
            },
            EntryHead::Feature { level: 3 },
            session,
            EntryHead::History(rules),
        ];
        for head in first {
            run.append(&head, Bytes::new());
        }
        run
    }

    fn stores(&mut self) -> &mut Stores {
        &mut self.disk.as_mut().unwrap().stores
    }

    fn append(&mut self, head: &EntryHead, data: Bytes) {
        let index = self.state.applied().next();
        let entry = LogEntry {
            index,
            term: Term(1),
            entry_type: EntryType::Normal,
            context: head.encode(),
            data,
        };
        let hard_state = HardState {
            term: Term(1),
            vote: None,
            commit: index,
        };
        let write = LogWrite {
            entries: vec![entry.clone()],
            hard_state: Some(hard_state),
        };
        self.stores().writer.write(&[write]).unwrap();
        self.apply(entry);
    }

    fn apply(&mut self, entry: LogEntry) {
        let LogEntry {
            index,
            term,
            context,
            data,
            ..
        } = entry;
        self.state.apply(index, term, context, data).unwrap();
        let write = self.state.take_write().unwrap();
        self.stores().state.write(&write).unwrap();
    }

    fn publish(&mut self, messages: &[(usize, usize)]) {
        self.batches += 1;
        self.now_ms += 1;
        let index = self.state.applied().next();
        let mut data = Vec::new();
        for (seq, (channel, bytes)) in (0..).zip(messages) {
            let channel = CHANNELS[*channel];
            let payload = Bytes::from(format!("{index} {seq} {}", "x".repeat(*bytes)));
            let id = MessageId {
                ms: self.now_ms,
                seq,
            };
            self.payloads.insert(id, payload.clone());
            self.places.insert((index, channel));
            let channel = Bytes::from_static(channel.as_bytes());
            Op::Publish { channel, payload }.encode(&mut data);
        }
        let head = EntryHead::Batch(BatchHead {
            origin: node(1),
            boot: Boot(1),
            number: BatchNumber(self.batches),
            ops: u32::try_from(messages.len()).unwrap(),
            stamp: MessageId {
                ms: self.now_ms,
                seq: 0,
            },
            acl: 0,
        });
        self.append(&head, data.into());
    }

    fn wait(&mut self, ms: u64) {
        self.now_ms += ms + 1;
        let stamp = MessageId {
            ms: self.now_ms,
            seq: 0,
        };
        self.append(&EntryHead::Time { stamp }, Bytes::new());
    }

    fn flush(&mut self, retain_bytes: u64, truncates: bool) {
        let stores = self.stores();
        let upto = stores.writer.removable(None, retain_bytes);
        let flushed = stores.state.reader().flush_for(&stores.reader, upto);
        let flushed = flushed.unwrap();
        assert!(flushed.get() <= upto);
        if truncates {
            let limits = TruncateLimits {
                flushed,
                hold: None,
                retain_bytes,
                step_bytes: 0,
            };
            stores.writer.truncate(&limits).unwrap();
        }
    }

    /// Starts from what is in a folder.
    fn start(&mut self, root: TempDir) {
        let disk = Disk::open(root);
        let rows = disk.stores.state.rows().unwrap();
        self.state = State::restore(node(1), &rows).unwrap();
        let last = disk.stores.writer.bounds().unwrap().last_index;
        let reader = disk.stores.reader.clone();
        self.disk = Some(disk);
        let next = self.state.applied().next();
        if next <= last {
            let entries = reader.entries(next, last.next(), u64::MAX).unwrap();
            entries.into_iter().for_each(|entry| self.apply(entry));
        }
    }

    fn kill(&mut self) {
        let root = TempDir::new().unwrap();
        let old = self.disk.take().unwrap();
        for file in fs::read_dir(old.root.path()).unwrap() {
            let file = file.unwrap();
            let to = root.path().join(file.file_name());
            if file.file_type().unwrap().is_dir() {
                copy_dir(&file.path(), &to);
            } else {
                fs::copy(file.path(), to).unwrap();
            }
        }
        self.start(root);
    }

    fn restart(&mut self) {
        let Disk { stores, _dir, root } = self.disk.take().unwrap();
        drop((stores, _dir));
        self.start(root);
    }

    fn snapshot(&mut self) {
        let Stores {
            state,
            reader,
            snapshots,
            ..
        } = self.stores();
        let made = snapshots.make(&state.reader(), reader).unwrap();
        let (meta, file) = made.unwrap();
        let bytes = snapshots.read(&file, 0, u32::MAX).unwrap().unwrap();
        let mut disk = Disk::open(TempDir::new().unwrap());
        let received = disk.stores.snapshots.write(file, 0, &bytes).unwrap();
        assert_eq!(received, Received::Complete);
        let mut install = Install {
            dir: disk.root.path(),
            log: &mut disk.stores.writer,
            state: &mut disk.stores.state,
        };
        let hard_state = HardState {
            term: Term(1),
            vote: None,
            commit: meta.index,
        };
        let log = LogInstall {
            index: meta.index,
            term: meta.term,
            hard_state,
        };
        install.run(&file, &log).unwrap();
        let state = State::of_snapshot(&disk.stores.state.rows().unwrap()).unwrap();
        assert_eq!(state.rows(), self.state.rows());
        self.state = state;
        self.disk = Some(disk);
    }

    fn check(&mut self) {
        let copies = self.stores().state.reader();
        let reader = self.stores().reader.clone();
        let mut kept = BTreeSet::new();
        for channel in CHANNELS {
            let all = self
                .state
                .history()
                .range(
                    channel.as_bytes(),
                    MessageId::default(),
                    END,
                    usize::MAX,
                    false,
                )
                .unwrap();
            for part in all {
                kept.insert((part.index, channel));
                let copied = copies.copied(part.index, channel.as_bytes()).unwrap();
                let found = match reader.entries(part.index, part.index.next(), 0) {
                    Ok(entries) => of_entry(&entries[0]),
                    Err(ReadLogError::Compacted { .. }) => copied.expect("it is not in the log"),
                    Err(error) => panic!("{error}"),
                };
                for (id, op) in part.messages {
                    assert_eq!(found.get(op), self.payloads.get(&id));
                }
            }
        }
        for (index, channel) in self.places.difference(&kept) {
            let copied = copies.copied(*index, channel.as_bytes()).unwrap();
            assert_eq!(copied, None, "entry {index} of '{channel}' has passed");
        }
        let rows = copies.with_rows(&reader, |rows| {
            rows.map(|row| row.unwrap().0).collect::<Vec<Bytes>>()
        });
        let rows = rows.expect("nobody replaces it");
        assert!(rows.is_sorted());
        let count = rows.iter().filter(|key| is_copied(key)).count();
        assert_eq!(count, kept.len());
    }
}

/// Returns the payloads of all operations of an entry.
fn of_entry(entry: &LogEntry) -> Copied {
    let replayed = corgi_state::replay(entry.context.clone(), entry.data.clone());
    let ops = replayed.unwrap().unwrap().ops;
    let payload = |(k, op): (u32, Op)| match op {
        Op::Publish { payload, .. } => (k, payload),
        other => panic!("{other:?}"),
    };
    Copied((0..).zip(ops).map(payload).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_is_kept_is_in_the_log_or_copied(steps in prop::collection::vec(step(), 1..40)) {
        let mut run = Run::new();
        for step in &steps {
            match step {
                Step::Publish(messages) => run.publish(messages),
                Step::Wait(ms) => run.wait(*ms),
                Step::Flush { retain_bytes, truncates } => run.flush(*retain_bytes, *truncates),
                Step::Kill => run.kill(),
                Step::Restart => run.restart(),
                Step::Snapshot => run.snapshot(),
            }
            run.check();
        }
    }
}
