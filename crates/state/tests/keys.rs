//! Operations on keys against a naive model: random ones, on a few keys so that they meet, in entries of the log. After
//! each entry every answer is compared, and what comes back from the rows with what is in memory.

use bytes::Bytes;
use corgi_base::keys::{About, DATABASES, ExpireIf, Expiry, SetIf, Unit};
use corgi_base::streams::{GroupStart, NewId, Refs, StreamOp};
use corgi_base::{
    Answer, BatchHead, BatchNumber, Boot, ClusterId, Effects, EntryHead, InstanceId, KeyError,
    KeyOp, Member, MessageId, NodeId, Nonce, Op, Outcome, Term, Watch,
};
use corgi_state::State;
use corgi_state::keys::When;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A key's value and when it expires.
type Held = (Vec<u8>, Option<i64>);

/// What the keys should be: no order, no versions, no accounts.
#[derive(Clone, Default)]
struct Model(BTreeMap<(u8, Bytes), Held>);

impl Model {
    fn value(&self, db: u8, key: &Bytes) -> Option<Vec<u8>> {
        self.0.get(&(db, key.clone())).map(|held| held.0.clone())
    }

    fn expires(&self, db: u8, key: &Bytes) -> Option<i64> {
        self.0.get(&(db, key.clone())).and_then(|held| held.1)
    }

    fn set(&mut self, db: u8, key: &Bytes, value: Vec<u8>, at: Option<i64>, now: i64) {
        self.0.insert((db, key.clone()), (value, at));
        // What is over before it begins.
        if at.is_some_and(|at| at <= now) {
            self.0.remove(&(db, key.clone()));
        }
    }

    fn keep(&mut self, db: u8, key: &Bytes, value: Vec<u8>) {
        let at = self.expires(db, key);
        self.0.insert((db, key.clone()), (value, at));
    }

    fn expire(&mut self, now: i64) {
        self.0.retain(|_, held| held.1.is_none_or(|at| at >= now));
    }

    fn apply(&mut self, db: u8, op: &KeyOp, now: i64) -> Answer {
        let bulk = |value: Option<Vec<u8>>| Answer::bulk_or_nil(value.map(Bytes::from));
        match op {
            KeyOp::Set {
                key,
                value,
                only,
                expiry,
                get,
            } => {
                let before = self.value(db, key);
                let sets = match only {
                    SetIf::Always => true,
                    SetIf::Absent => before.is_none(),
                    SetIf::Present => before.is_some(),
                };
                if sets && *expiry == Expiry::Keep {
                    self.keep(db, key, value.to_vec());
                } else if sets {
                    let at = new_expiry(*expiry, None, now);
                    self.set(db, key, value.to_vec(), at, now);
                }
                match (get, sets) {
                    (true, _) => bulk(before),
                    (false, true) => Answer::Ok,
                    (false, false) => Answer::Nil,
                }
            }
            KeyOp::Get(key) => bulk(self.value(db, key)),
            KeyOp::GetDel(key) => bulk(self.0.remove(&(db, key.clone())).map(|held| held.0)),
            KeyOp::Append { key, value } => {
                let mut all = self.value(db, key).unwrap_or_default();
                all.extend_from_slice(value);
                let length = all.len();
                self.keep(db, key, all);
                Answer::count(length)
            }
            KeyOp::SetRange { key, offset, value } => {
                let mut all = self.value(db, key).unwrap_or_default();
                let offset = usize::try_from(*offset).expect("the test asks small ones");
                if value.is_empty() {
                    return Answer::count(all.len());
                }
                while all.len() < offset + value.len() {
                    all.push(0);
                }
                all.splice(offset..offset + value.len(), value.to_vec());
                let length = all.len();
                self.keep(db, key, all);
                Answer::count(length)
            }
            KeyOp::IncrBy { key, by } => {
                let value = self.value(db, key).unwrap_or_else(|| b"0".to_vec());
                let text = String::from_utf8_lossy(&value).into_owned();
                let number = text.parse::<i64>().ok().filter(|n| n.to_string() == text);
                let Some(number) = number else {
                    return Answer::Error(KeyError::NotAnInteger);
                };
                let Some(sum) = number.checked_add(*by) else {
                    return Answer::Error(KeyError::Overflow);
                };
                self.keep(db, key, sum.to_string().into());
                Answer::Int(sum)
            }
            KeyOp::MSet { pairs, nx } => {
                let there = |pair: &[Bytes]| self.value(db, &pair[0]).is_some();
                if *nx && pairs.chunks(2).any(there) {
                    return Answer::Int(0);
                }
                for pair in pairs.chunks(2) {
                    self.set(db, &pair[0], pair[1].to_vec(), None, now);
                }
                if *nx { Answer::Int(1) } else { Answer::Ok }
            }
            KeyOp::Del(keys) => {
                let gone = keys
                    .iter()
                    .filter(|key| self.0.remove(&(db, (*key).clone())).is_some());
                Answer::count(gone.count())
            }
            KeyOp::Expire { key, expiry, only } => {
                let Some(value) = self.value(db, key) else {
                    return Answer::Int(0);
                };
                let before = self.expires(db, key);
                let at = new_expiry(*expiry, before, now).expect("the test asks times");
                let sets = (!only.nx || before.is_none())
                    && (!only.xx || before.is_some())
                    && (!only.gt || before.is_some_and(|before| at > before))
                    && (!only.lt || before.is_none_or(|before| at < before));
                if sets {
                    self.set(db, key, value, Some(at), now);
                }
                Answer::flag(sets)
            }
            KeyOp::Persist(key) => {
                let at = self.expires(db, key);
                if let Some(value) = self.value(db, key).filter(|_| at.is_some()) {
                    self.set(db, key, value, None, now);
                }
                Answer::flag(at.is_some())
            }
            KeyOp::Ttl { key, absolute, .. } => Answer::Int(match self.0.get(&(db, key.clone())) {
                None => -2,
                Some((_, None)) => -1,
                Some((_, Some(at))) if *absolute => *at,
                Some((_, Some(at))) => at - now,
            }),
            KeyOp::Rename { key, to, nx } => {
                let Some(held) = self.0.get(&(db, key.clone())).cloned() else {
                    return Answer::Error(KeyError::NoSuchKey);
                };
                if *nx && self.value(db, to).is_some() {
                    return Answer::Int(0);
                }
                self.0.remove(&(db, key.clone()));
                self.0.insert((db, to.clone()), held);
                if *nx { Answer::Int(1) } else { Answer::Ok }
            }
            KeyOp::Copy {
                key,
                to,
                db: other,
                replace,
            } => {
                let held = self.0.get(&(db, key.clone())).cloned();
                let held = held.filter(|_| *replace || self.value(*other, to).is_none());
                Answer::flag(held.is_some_and(|held| {
                    self.0.insert((*other, to.clone()), held);
                    true
                }))
            }
            KeyOp::Swap(one, other) => {
                let all = std::mem::take(&mut self.0).into_iter();
                let swapped = |db| match db {
                    _ if db == *one => *other,
                    _ if db == *other => *one,
                    db => db,
                };
                self.0 = all
                    .map(|((db, key), held)| ((swapped(db), key), held))
                    .collect();
                Answer::Ok
            }
            KeyOp::Flush { all } => {
                self.0.retain(|(of, _), _| !*all && *of != db);
                Answer::Ok
            }
            KeyOp::DbSize => Answer::count(self.0.keys().filter(|(of, _)| *of == db).count()),
            other => panic!("the test does not ask {other:?}"),
        }
    }
}

fn new_expiry(expiry: Expiry, before: Option<i64>, now: i64) -> Option<i64> {
    match expiry {
        Expiry::None | Expiry::Persist => None,
        Expiry::In(ms) => Some(now + ms),
        Expiry::At(ms) => Some(ms),
        Expiry::Keep => before,
    }
}

fn key() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["a", "b", "c", "d"])
        .prop_map(|key| Bytes::from_static(key.as_bytes()))
}

fn value() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        (-3..3i64).prop_map(|n| Bytes::from(n.to_string())),
        Just(Bytes::from(i64::MAX.to_string())),
        vec(any::<u8>(), 0..4).prop_map(Bytes::from),
    ]
}

fn time() -> impl Strategy<Value = Expiry> {
    prop_oneof![
        (-20..60i64).prop_map(Expiry::In),
        (900..1400i64).prop_map(Expiry::At)
    ]
}

fn op() -> impl Strategy<Value = KeyOp> {
    let only = prop::sample::select(vec![SetIf::Always, SetIf::Absent, SetIf::Present]);
    let expiry = prop_oneof![3 => Just(Expiry::None), 1 => Just(Expiry::Keep), 3 => time()];
    let set = (key(), value(), only, expiry, any::<bool>());
    let set = set.prop_map(|(key, value, only, expiry, get)| KeyOp::Set {
        key,
        value,
        only,
        expiry,
        get,
    });
    let flags = any::<(bool, bool, bool, bool)>().prop_map(|(nx, xx, gt, lt)| ExpireIf {
        nx: nx && !(xx || gt || lt),
        xx,
        gt,
        lt: lt && !gt,
    });
    let pairs = || vec((key(), value()), 1..3);
    let flat = |pairs: Vec<(Bytes, Bytes)>| pairs.into_iter().flat_map(|(k, v)| [k, v]).collect();
    prop_oneof![
        8 => set,
        3 => key().prop_map(KeyOp::Get),
        1 => key().prop_map(KeyOp::GetDel),
        2 => (key(), value()).prop_map(|(key, value)| KeyOp::Append { key, value }),
        1 => (key(), 0..6u64, value())
            .prop_map(|(key, offset, value)| KeyOp::SetRange { key, offset, value }),
        2 => (key(), -3..3i64).prop_map(|(key, by)| KeyOp::IncrBy { key, by }),
        1 => (pairs(), any::<bool>()).prop_map(move |(pairs, nx)| KeyOp::MSet { pairs: flat(pairs), nx }),
        1 => vec(key(), 1..3).prop_map(KeyOp::Del),
        3 => (key(), time(), flags).prop_map(|(key, expiry, only)| KeyOp::Expire { key, expiry, only }),
        1 => key().prop_map(KeyOp::Persist),
        3 => (key(), any::<bool>())
            .prop_map(|(key, absolute)| KeyOp::Ttl { key, unit: Unit::Millis, absolute }),
        2 => (key(), key(), any::<bool>()).prop_map(|(key, to, nx)| KeyOp::Rename { key, to, nx }),
        2 => (key(), key(), 0..2u8, any::<bool>())
            .prop_map(|(key, to, db, replace)| KeyOp::Copy { key, to, db, replace }),
        1 => Just(KeyOp::Swap(0, 1)),
        1 => any::<bool>().prop_map(|all| KeyOp::Flush { all }),
        1 => Just(KeyOp::DbSize),
    ]
}

fn node() -> NodeId {
    NodeId::new(1).expect("not 0")
}

/// A state with a session, and what numbers its entries.
struct Log {
    state: State,
    number: u64,
    id: MessageId,
}

impl Log {
    fn new() -> Self {
        let mut log = Self {
            state: State::new(node()),
            number: 0,
            id: MessageId { ms: 1000, seq: 0 },
        };
        let instance = InstanceId(1);
        let member = Member {
            id: node(),
            instance,
            addr: Bytes::new(),
        };
        log.entry(
            &EntryHead::Bootstrap {
                cluster: ClusterId(1),
                members: vec![member],
            },
            Bytes::new(),
        );
        log.entry(
            &EntryHead::OpenSession {
                node: node(),
                instance,
                boot: Boot(1),
                nonce: Nonce(1),
            },
            Bytes::new(),
        );
        log
    }

    fn entry(&mut self, head: &EntryHead, data: Bytes) -> Effects {
        let index = self.state.applied().next();
        let applied = self.state.apply(index, Term(1), head.encode(), data);
        applied.expect("entries are in order")
    }

    /// Applies a batch so many milliseconds later.
    fn batch(&mut self, later_ms: u64, ops: &[Op]) -> Vec<Outcome> {
        let mut data = Vec::new();
        ops.iter().for_each(|op| op.encode(&mut data));
        self.number += 1;
        self.id.ms += later_ms;
        self.id.seq += 1;
        let head = BatchHead {
            origin: node(),
            boot: Boot(1),
            number: BatchNumber(self.number),
            ops: u32::try_from(ops.len()).expect("few"),
            stamp: self.id,
            acl: 0,
        };
        self.id.seq += ops.len() as u64;
        match self.entry(&EntryHead::Batch(head), data.into()) {
            Effects::Batch(batch) => batch.outcomes,
            other => panic!("{other:?}"),
        }
    }

    fn time(&mut self, later_ms: u64) {
        self.id.ms += later_ms;
        self.id.seq += 1;
        self.entry(&EntryHead::Time { stamp: self.id }, Bytes::new());
    }

    fn answer(&mut self, op: KeyOp) -> Answer {
        match self.batch(1, &[Op::Key { db: 0, op }]).remove(0) {
            Outcome::Answered(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn read(&self, op: &KeyOp) -> Answer {
        let when = When {
            id: self.id,
            now_ms: i64::try_from(self.id.ms).expect("small"),
            salt: 7,
        };
        self.state.keys().read(0, op, when)
    }
}

fn set(key: &'static str, expiry: Expiry) -> KeyOp {
    KeyOp::Set {
        key: Bytes::from_static(key.as_bytes()),
        value: Bytes::from_static(b"v"),
        only: SetIf::Always,
        expiry,
        get: false,
    }
}

fn get(key: &'static str) -> KeyOp {
    KeyOp::Get(Bytes::from_static(key.as_bytes()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn keys_do_what_a_naive_model_does(
        batches in vec((0..30u64, any::<bool>(), vec((0..2u8, op()), 1..6)), 1..30),
    ) {
        let (mut log, mut model) = (Log::new(), Model::default());
        for (later, time, ops) in batches {
            if time {
                log.time(later);
                model.expire(i64::try_from(log.id.ms).unwrap());
            }
            let key = |(db, op): &(u8, KeyOp)| Op::Key { db: *db, op: op.clone() };
            let outcomes = log.batch(later, &ops.iter().map(key).collect::<Vec<_>>());
            let now = i64::try_from(log.id.ms).unwrap();
            model.expire(now);
            for ((db, op), outcome) in ops.iter().zip(outcomes) {
                prop_assert_eq!(outcome, Outcome::Answered(model.apply(*db, op, now)), "{:?}", op);
            }
            let mut live = log.state.clone();
            live.take_write();
            let restored = State::restore(node(), &live.rows()).unwrap();
            prop_assert_eq!(restored, live);
        }
        let bytes = log.state.keys().bytes();
        prop_assert_eq!(bytes == 0, model.0.is_empty());
        for db in 0..DATABASES {
            log.batch(0, &[Op::Key { db, op: KeyOp::Flush { all: false } }]);
        }
        prop_assert_eq!(log.state.keys().bytes(), 0);
        prop_assert_eq!(log.state.keys().next_expiry(), None);
    }

    #[test]
    fn a_scan_finds_all_that_is_there_all_the_time(
        kept in 1..60usize,
        count in 1..20u64,
        others in vec(0..100usize, 0..30),
    ) {
        let mut log = Log::new();
        let name = |kind: &str, n: usize| Bytes::from(format!("{kind}{n}"));
        for n in 0..kept {
            let pairs = vec![name("kept", n), Bytes::new()];
            log.answer(KeyOp::MSet { pairs, nx: false });
        }
        let (mut found, mut cursor, mut others) = (Vec::new(), 0, others.into_iter());
        loop {
            let op = KeyOp::Scan { cursor, count, pattern: Some("kept*".into()), kind: None };
            let Answer::Array(parts) = log.read(&op) else { panic!("an array") };
            let (Answer::Bulk(next), Answer::Array(keys)) = (&parts[0], &parts[1]) else {
                panic!("{parts:?}")
            };
            found.extend(keys.iter().map(|key| format!("{key:?}")));
            cursor = std::str::from_utf8(next).unwrap().parse().unwrap();
            if cursor == 0 {
                break;
            }
            if let Some(n) = others.next() {
                log.answer(KeyOp::MSet { pairs: vec![name("other", n), Bytes::new()], nx: false });
            }
        }
        let all = found.len();
        found.sort();
        found.dedup();
        prop_assert_eq!((found.len(), all), (kept, kept), "each once");
    }
}

fn add(key: Bytes, fields: [&'static str; 2]) -> KeyOp {
    KeyOp::Stream(Box::new(StreamOp::Add {
        key,
        existing: false,
        producer: None,
        trim: None,
        refs: Refs::Keep,
        id: NewId::Auto,
        fields: fields.map(Bytes::from).to_vec(),
    }))
}

/// Streams, and what happens to the keys that name them.
fn stream_op() -> impl Strategy<Value = KeyOp> {
    let group = |key| {
        KeyOp::Stream(Box::new(StreamOp::GroupCreate {
            key,
            group: "g".into(),
            start: GroupStart {
                after: None,
                entries_read: None,
            },
            make: true,
        }))
    };
    prop_oneof![
        4 => key().prop_map(|key| add(key, ["f", "v"])),
        1 => key().prop_map(group),
        4 => op(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn every_stream_has_one_key_and_goes_with_it(
        batches in vec((0..30u64, vec((0..2u8, stream_op()), 1..6)), 1..30),
    ) {
        let mut log = Log::new();
        for (later, ops) in batches {
            let key = |(db, op): (u8, KeyOp)| Op::Key { db, op };
            log.batch(later, &ops.into_iter().map(key).collect::<Vec<_>>());
            let mut live = log.state.clone();
            live.take_write();
            let rows = live.rows();
            prop_assert_eq!(State::restore(node(), &rows).unwrap(), live);
            let of_streams = |tag: u8| rows.iter().filter(|(key, _)| key[0] == tag).count();
            let keys = rows.iter().filter(|(key, row)| key[0] == 0x08 && row[0] == 2);
            prop_assert_eq!(keys.count(), of_streams(0x0a));
            if of_streams(0x0a) == 0 {
                prop_assert_eq!((0x0b..0x10).map(of_streams).sum::<usize>(), 0);
            }
        }
        log.batch(0, &[Op::Key { db: 0, op: KeyOp::Flush { all: true } }]);
        prop_assert_eq!(log.state.keys().bytes(), 0);
        prop_assert!(log.state.rows().iter().all(|(key, _)| key[0] < 0x08));
    }
}

#[test]
fn a_stream_is_a_value_among_others() {
    let mut log = Log::new();
    let key = Bytes::from_static(b"s");
    let answer = log.answer(add(key.clone(), ["f", "v"]));
    assert_eq!(answer, Answer::Bulk(log_id(&log).into()));
    let added = log.state.keys().version(0, &key);
    log.answer(add(key.clone(), ["f", "v"]));
    assert_ne!(log.state.keys().version(0, &key), added, "WATCH sees it");
    let wrong = Answer::Error(KeyError::WrongType);
    assert_eq!(log.read(&KeyOp::Get(key.clone())), wrong);
    let kind = log.read(&KeyOp::Type(key.clone()));
    assert_eq!(kind, Answer::Status("stream"));
    let about = About::Encoding;
    let encoding = log.read(&KeyOp::Object {
        key: key.clone(),
        about,
    });
    assert_eq!(encoding, Answer::Bulk("stream".into()));
    let length = |key: &Bytes| KeyOp::Stream(Box::new(StreamOp::Len(key.clone())));
    let to = Bytes::from_static(b"to");
    let copy = KeyOp::Copy {
        key: key.clone(),
        to: to.clone(),
        db: 0,
        replace: false,
    };
    assert_eq!(log.answer(copy), Answer::Int(1));
    log.answer(add(to.clone(), ["f", "v"]));
    assert_eq!(log.read(&length(&to)), Answer::Int(3));
    assert_eq!(log.read(&length(&key)), Answer::Int(2), "it is another one");
    log.answer(set("s", Expiry::None));
    assert_eq!(log.read(&length(&key)), wrong);
    assert_eq!(log.answer(add(key, ["f", "v"])), wrong);
}

fn log_id(log: &Log) -> String {
    let MessageId { ms, seq } = log.state.last_id();
    format!("{ms}-{seq}")
}

#[test]
fn a_key_expires_by_the_stamp_of_whatever_comes_next() {
    let mut log = Log::new();
    log.answer(set("k", Expiry::In(50)));
    assert_eq!(log.state.keys().next_expiry(), Some(1051));
    log.batch(
        50,
        &[Op::Publish {
            channel: "c".into(),
            payload: "m".into(),
        }],
    );
    assert_eq!(
        log.read(&get("k")),
        Answer::Bulk("v".into()),
        "its last millisecond"
    );
    log.time(1);
    assert_eq!(log.read(&get("k")), Answer::Nil);
    assert_eq!(log.state.keys().next_expiry(), None);
}

#[test]
fn a_key_that_changed_makes_what_it_guards_void() {
    let mut log = Log::new();
    let key = Bytes::from_static(b"k");
    let guarded = |version: MessageId| {
        let watched = vec![Watch {
            db: 0,
            key: Bytes::from_static(b"k"),
            version,
        }];
        let publish = Op::Publish {
            channel: "c".into(),
            payload: "m".into(),
        };
        let write = Op::Key {
            db: 0,
            op: set("other", Expiry::None),
        };
        vec![
            Op::Guard { ops: 2, watched },
            publish.clone(),
            write,
            publish,
        ]
    };
    let absent = log.state.keys().version(0, &key);
    assert_eq!(absent, MessageId::default());
    let outcomes = log.batch(1, &guarded(absent));
    let done = Outcome::Answered(Answer::Ok);
    let published = Outcome::Published;
    assert_eq!(
        outcomes,
        [
            published.clone(),
            published.clone(),
            done,
            published.clone()
        ]
    );
    log.answer(KeyOp::Del(vec!["other".into()]));
    log.answer(set("k", Expiry::None));
    let outcomes = log.batch(1, &guarded(absent));
    let void = Outcome::Void;
    assert_eq!(
        outcomes,
        [void.clone(), void.clone(), void, published],
        "the last is not guarded"
    );
    assert_eq!(log.read(&get("other")), Answer::Nil);
    // Written again with the same value: another version.
    let version = log.state.keys().version(0, &key);
    log.answer(set("k", Expiry::None));
    assert_ne!(log.state.keys().version(0, &key), version);
}
