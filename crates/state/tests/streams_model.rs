//! Random operations on streams against a model so naive that it can be believed: lists that are searched from the
//! start. Every answer must be the same, and the rows must hold all there is.

use bytes::Bytes;
use corgi_base::MessageId;
use corgi_base::answer::{Answer, KeyError};
use corgi_base::streams::{
    Claim, Delivered, GroupStart, Keep, Limits, NewId, Refs, StreamError, StreamOp, Trim, id,
};
use corgi_state::streams::{At, Row, RowKey, Streams};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const KEYS: [&[u8]; 2] = [b"s", b"t"];
const CONSUMERS: [&[u8]; 3] = [b"a", b"b", b"c"];
const GROUPS: [&[u8]; 2] = [b"g", b"h"];

/// What can be drawn; ids are drawn from a few, so that most have been seen.
#[derive(Clone, Debug)]
enum Step {
    Add(usize, Option<u64>, u8),
    Del(usize, Vec<u64>),
    Trim(usize, u64, u8),
    TrimFrom(usize, u64),
    Range(usize, u64, u64, bool),
    Create(usize, usize, u64),
    Destroy(usize, usize),
    Read(usize, usize, u64, bool),
    History(usize, usize, u64),
    Ack(usize, Vec<u64>),
    Claim(usize, usize, Vec<u64>, u64, bool),
    AutoClaim(usize, usize, u64, u64, u64),
    Pending(usize, u64),
    Leave(usize, usize),
    DelEx(usize, Vec<u64>, u8),
    Wait(u64),
    Restore,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..KEYS.len();
    let group = || 0..GROUPS.len();
    let who = || 0..CONSUMERS.len();
    let n = || 0_u64..24;
    let some = || prop::collection::vec(0_u64..24, 1..4);
    prop_oneof![
        6 => (key(), prop::option::of(n()), 0_u8..4).prop_map(|(k, i, v)| Step::Add(k, i, v)),
        1 => (key(), some()).prop_map(|(k, i)| Step::Del(k, i)),
        1 => (key(), 0_u64..6, 0_u8..3).prop_map(|(k, n, r)| Step::Trim(k, n, r)),
        1 => (key(), n()).prop_map(|(k, n)| Step::TrimFrom(k, n)),
        2 => (key(), n(), n(), any::<bool>()).prop_map(|(k, a, b, r)| Step::Range(k, a, b, r)),
        2 => (key(), group(), n()).prop_map(|(k, g, i)| Step::Create(k, g, i)),
        1 => (key(), group()).prop_map(|(k, g)| Step::Destroy(k, g)),
        6 => (group(), who(), 1_u64..4, any::<bool>()).prop_map(|(g, c, n, a)| Step::Read(g, c, n, a)),
        2 => (group(), who(), n()).prop_map(|(g, c, i)| Step::History(g, c, i)),
        3 => (group(), some()).prop_map(|(g, i)| Step::Ack(g, i)),
        3 => (group(), who(), some(), 0_u64..40, any::<bool>())
            .prop_map(|(g, c, i, m, f)| Step::Claim(g, c, i, m, f)),
        2 => (group(), who(), n(), 0_u64..40, 1_u64..3)
            .prop_map(|(g, c, i, m, n)| Step::AutoClaim(g, c, i, m, n)),
        3 => (group(), 0_u64..40).prop_map(|(g, m)| Step::Pending(g, m)),
        1 => (group(), who()).prop_map(|(g, c)| Step::Leave(g, c)),
        1 => (key(), some(), 0_u8..3).prop_map(|(k, i, r)| Step::DelEx(k, i, r)),
        2 => (0_u64..20).prop_map(Step::Wait),
        1 => Just(Step::Restore),
    ]
}

/// `(id, consumer, when, how often)`.
type Given = (MessageId, Bytes, u64, u64);

#[derive(Clone, Debug, Default)]
struct NaiveGroup {
    last: MessageId,
    consumers: BTreeSet<Bytes>,
    pending: Vec<Given>,
}

#[derive(Clone, Debug, Default)]
struct Naive {
    last: MessageId,
    entries: Vec<(MessageId, u8)>,
    groups: BTreeMap<Bytes, NaiveGroup>,
}

fn seq(seq: u64) -> MessageId {
    MessageId { ms: 1, seq }
}

fn refs(number: u8) -> Refs {
    [Refs::Keep, Refs::Delete, Refs::Acked][usize::from(number)]
}

fn bulk(id: MessageId) -> Answer {
    Answer::Bulk(id.to_string().into())
}

fn entry((id, value): (MessageId, u8)) -> Answer {
    let fields = ["f".to_owned(), value.to_string()];
    let fields = fields.map(|part| Answer::Bulk(part.into())).to_vec();
    Answer::Array(vec![bulk(id), Answer::Array(fields)])
}

impl Naive {
    fn find(&self, id: MessageId) -> Option<(MessageId, u8)> {
        self.entries.iter().find(|(at, _)| *at == id).copied()
    }

    fn needed(&self, id: MessageId) -> bool {
        let pending = |group: &NaiveGroup| group.pending.iter().any(|given| given.0 == id);
        self.groups
            .values()
            .any(|group| id > group.last || pending(group))
    }

    fn delete(&mut self, id: MessageId, refs: Refs) -> i64 {
        let there = self.find(id).is_some();
        if refs == Refs::Acked && self.needed(id) {
            return 2;
        }
        if refs == Refs::Delete {
            for group in self.groups.values_mut() {
                group.pending.retain(|given| given.0 != id);
            }
        }
        self.entries.retain(|(at, _)| *at != id);
        if there { 1 } else { -1 }
    }

    fn trim(&mut self, old: impl Fn(&Self, MessageId) -> bool, refs: Refs) -> Answer {
        let mut count = 0;
        for (id, _) in self.entries.clone() {
            if old(self, id) && self.delete(id, refs) == 1 {
                count += 1;
            }
        }
        Answer::Int(count)
    }
}

/// The streams under test beside their models.
#[derive(Default)]
struct Both {
    streams: Streams,
    keys: BTreeMap<Bytes, MessageId>,
    rows: BTreeMap<Bytes, Bytes>,
    naive: BTreeMap<Bytes, Naive>,
    now: u64,
    ops: u64,
}

fn name(bytes: &'static [u8]) -> Bytes {
    Bytes::from_static(bytes)
}

impl Both {
    fn run(&mut self, op: &StreamOp) -> Answer {
        self.ops += 1;
        let id = MessageId {
            ms: 0,
            seq: self.ops,
        };
        let keys = self.keys.clone();
        let find = |key: &Bytes| Ok::<_, KeyError>(keys.get(key).copied());
        let now_ms = self.now;
        let done = self.streams.execute(op, &find, At { now_ms, id });
        if let Some(key) = done.made {
            self.keys.insert(key, id);
        }
        for key in self.streams.take_changed() {
            match self.streams.row(&key) {
                Some(row) => self.rows.insert(key.encode(), row),
                None => self.rows.remove(&key.encode()),
            };
        }
        done.answer
    }

    fn add(&mut self, key: &Bytes, id: Option<u64>, value: u8) -> (Answer, Answer) {
        let new = id.map_or(NewId::AutoSeq(1), |id| NewId::Exact(seq(id + 1)));
        let answer = self.run(&StreamOp::Add {
            key: key.clone(),
            existing: false,
            producer: None,
            trim: None,
            refs: Refs::Keep,
            id: new,
            fields: vec![name(b"f"), value.to_string().into()],
        });
        let last = self
            .naive
            .get(key)
            .map_or_else(MessageId::default, |s| s.last);
        let id = match id {
            Some(id) => seq(id + 1),
            None if last.ms == 1 => seq(last.seq + 1),
            None => seq(0),
        };
        if id <= last {
            return (answer, Answer::Error(StreamError::IdNotGrowing.into()));
        }
        let naive = self.naive.entry(key.clone()).or_default();
        naive.last = id;
        naive.entries.push((id, value));
        (answer, bulk(id))
    }

    fn read(&mut self, group: &Bytes, who: &Bytes, count: u64, no_ack: bool) -> (Answer, Answer) {
        let key = name(KEYS[0]);
        let answer = self.run(&StreamOp::ReadGroup {
            group: group.clone(),
            consumer: who.clone(),
            streams: vec![(key.clone(), None)],
            limits: Limits {
                count: Some(count),
                ..Limits::default()
            },
            no_ack,
            claim_ms: None,
        });
        let now = self.now;
        let naive = self.naive.get_mut(&key);
        let entries = naive.as_ref().map_or(Vec::new(), |s| s.entries.clone());
        let Some(found) = naive.and_then(|s| s.groups.get_mut(group)) else {
            return (answer.clone(), no_group_to_read(&answer));
        };
        found.consumers.insert(who.clone());
        let last = found.last;
        let new = entries.into_iter().filter(|(id, _)| *id > last);
        let new: Vec<_> = new.take(usize::try_from(count).expect("small")).collect();
        for (id, _) in &new {
            found.last = *id;
            if !no_ack {
                found.pending.retain(|given| given.0 != *id);
                found.pending.push((*id, who.clone(), now, 1));
            }
        }
        let expected = if new.is_empty() {
            Answer::NilArray
        } else {
            let entries = new.into_iter().map(entry).collect();
            Answer::Streams(vec![(key, Answer::Array(entries))])
        };
        (answer, expected)
    }

    fn history(&mut self, group: &Bytes, who: &Bytes, after: MessageId) -> (Answer, Answer) {
        let key = name(KEYS[0]);
        let answer = self.run(&StreamOp::ReadGroup {
            group: group.clone(),
            consumer: who.clone(),
            streams: vec![(key.clone(), Some(after))],
            limits: Limits::default(),
            no_ack: false,
            claim_ms: None,
        });
        let now = self.now;
        let Some(naive) = self.naive.get_mut(&key) else {
            return (answer.clone(), no_group_to_read(&answer));
        };
        let entries = naive.entries.clone();
        let Some(found) = naive.groups.get_mut(group) else {
            return (answer.clone(), no_group_to_read(&answer));
        };
        found.consumers.insert(who.clone());
        found.pending.sort_by_key(|given| given.0);
        let mut expected = Vec::new();
        let mine = found.pending.iter_mut();
        for given in mine.filter(|given| given.1 == *who && given.0 > after) {
            let found = entries.iter().find(|(id, _)| *id == given.0);
            expected.push(match found {
                Some(found) => {
                    (given.2, given.3) = (now, given.3 + 1);
                    entry(*found)
                }
                None => Answer::Array(vec![bulk(given.0), Answer::NilArray]),
            });
        }
        let expected = Answer::Streams(vec![(key, Answer::Array(expected))]);
        (answer, expected)
    }

    /// `XCLAIM` and `XAUTOCLAIM` claim what both the caller names and has been pending for long enough.
    fn claim(
        &mut self,
        group: &Bytes,
        who: &Bytes,
        ids: &[MessageId],
        min_idle_ms: u64,
        force: bool,
    ) -> (Answer, Answer) {
        let key = name(KEYS[0]);
        let answer = self.run(&StreamOp::Claim {
            key: key.clone(),
            group: group.clone(),
            consumer: who.clone(),
            ids: ids.to_vec(),
            claim: Claim {
                min_idle_ms,
                delivered: Delivered::Now,
                retry_count: None,
                force,
                just_id: false,
                last_id: None,
            },
        });
        let now = self.now;
        let naive = self.naive.get_mut(&key);
        let Some((entries, found)) = naive.and_then(|s| {
            let entries = s.entries.clone();
            Some((entries, s.groups.get_mut(group)?))
        }) else {
            return (answer.clone(), no_key_or_group(&answer));
        };
        found.consumers.insert(who.clone());
        let mut expected = Vec::new();
        for id in ids {
            let Some(there) = entries.iter().find(|(at, _)| at == id) else {
                found.pending.retain(|given| given.0 != *id);
                continue;
            };
            let given = found.pending.iter().find(|given| given.0 == *id).cloned();
            let count = match given {
                Some(given) if now - given.2 < min_idle_ms => continue,
                Some(given) => given.3 + 1,
                None if force => 2,
                None => continue,
            };
            found.pending.retain(|given| given.0 != *id);
            found.pending.push((*id, who.clone(), now, count));
            expected.push(entry(*there));
        }
        (answer, Answer::Array(expected))
    }

    fn auto_claim(
        &mut self,
        group: &Bytes,
        who: &Bytes,
        from: MessageId,
        min_idle_ms: u64,
        count: u64,
    ) -> (Answer, Answer) {
        let key = name(KEYS[0]);
        let answer = self.run(&StreamOp::AutoClaim {
            key: key.clone(),
            group: group.clone(),
            consumer: who.clone(),
            min_idle_ms,
            from,
            count,
            just_id: true,
        });
        let now = self.now;
        let naive = self.naive.get_mut(&key);
        let Some((entries, found)) = naive.and_then(|s| {
            let entries = s.entries.clone();
            Some((entries, s.groups.get_mut(group)?))
        }) else {
            return (answer.clone(), no_key_or_group(&answer));
        };
        found.consumers.insert(who.clone());
        found.pending.sort_by_key(|given| given.0);
        let (mut claimed, mut deleted, mut go_on) = (Vec::new(), Vec::new(), seq(0));
        go_on.ms = 0;
        let mut looked_at = 0;
        for given in found.pending.clone() {
            if given.0 < from {
                continue;
            }
            if (claimed.len() + deleted.len()) as u64 == count || looked_at == count * 10 {
                go_on = given.0;
                break;
            }
            looked_at += 1;
            if !entries.iter().any(|(id, _)| *id == given.0) {
                found.pending.retain(|other| other.0 != given.0);
                deleted.push(bulk(given.0));
            } else if now - given.2 >= min_idle_ms {
                found.pending.retain(|other| other.0 != given.0);
                found.pending.push((given.0, who.clone(), now, given.3));
                claimed.push(bulk(given.0));
            }
        }
        let parts = [bulk(go_on), Answer::Array(claimed), Answer::Array(deleted)];
        (answer, Answer::Array(parts.to_vec()))
    }

    fn pending(&mut self, group: &Bytes, min_idle_ms: u64) -> (Answer, Answer) {
        let key = name(KEYS[0]);
        let answer = self.run(&StreamOp::PendingRange {
            key: key.clone(),
            group: group.clone(),
            min_idle_ms,
            from: MessageId::default(),
            to: id::MAX,
            count: 100,
            consumer: None,
        });
        let now = self.now;
        let naive = self.naive.get_mut(&key);
        let Some(found) = naive.and_then(|s| s.groups.get_mut(group)) else {
            return (answer.clone(), no_key_or_group(&answer));
        };
        found.pending.sort_by_key(|given| given.0);
        let number = |number: u64| Answer::Int(i64::try_from(number).expect("small"));
        let given = found
            .pending
            .iter()
            .filter(|given| now - given.2 >= min_idle_ms);
        let given = given.map(|(id, who, when, count)| {
            let who = Answer::Bulk(who.clone());
            Answer::Array(vec![bulk(*id), who, number(now - when), number(*count)])
        });
        (answer, Answer::Array(given.collect()))
    }

    fn restore(&self) {
        let mut restored = Streams::default();
        for (key, row) in &self.rows {
            let key = RowKey::decode(key).expect("a key of this build");
            restored
                .restore(key, row.clone())
                .expect("a row of this build");
        }
        restored.restored();
        assert_eq!(
            restored, self.streams,
            "the rows hold all there is, and it is counted right"
        );
        let rows: Vec<Bytes> = self.streams.rows().iter().map(RowKey::encode).collect();
        assert!(rows.iter().eq(self.rows.keys()), "no row is left over");
        let heads = self.streams.rows();
        let heads = heads.iter().filter(|key| key.row == Row::Head).count();
        assert_eq!(heads, self.keys.len());
    }
}

/// The group is not there, so that the answer must be the error that says so.
fn no_group_to_read(answer: &Answer) -> Answer {
    let right = answer_text(answer).ends_with("in XREADGROUP with GROUP option");
    assert!(right, "{answer:?}");
    answer.clone()
}

fn no_key_or_group(answer: &Answer) -> Answer {
    let right = answer_text(answer).starts_with("NOGROUP No such key 's' or consumer group");
    assert!(right, "{answer:?}");
    answer.clone()
}

fn answer_text(answer: &Answer) -> String {
    match answer {
        Answer::Error(error) => error.to_string(),
        other => panic!("an error is due: {other:?}"),
    }
}

impl Both {
    fn step(&mut self, step: Step) -> (Answer, Answer) {
        let key = |at: usize| name(KEYS[at]);
        let group = |at: usize| name(GROUPS[at]);
        let who = |at: usize| name(CONSUMERS[at]);
        let ids = |of: Vec<u64>| of.into_iter().map(seq).collect::<Vec<_>>();
        match step {
            Step::Add(k, id, value) => self.add(&key(k), id, value),
            Step::Read(g, c, count, no_ack) => self.read(&group(g), &who(c), count, no_ack),
            Step::History(g, c, after) => self.history(&group(g), &who(c), seq(after)),
            Step::Claim(g, c, of, idle, force) => {
                self.claim(&group(g), &who(c), &ids(of), idle, force)
            }
            Step::AutoClaim(g, c, from, idle, count) => {
                self.auto_claim(&group(g), &who(c), seq(from), idle, count)
            }
            Step::Pending(g, idle) => self.pending(&group(g), idle),
            Step::Del(k, of) => {
                let (key, ids) = (key(k), ids(of));
                let op = StreamOp::Del {
                    key: key.clone(),
                    ids: ids.clone(),
                };
                let answer = self.run(&op);
                let naive = self.naive.get_mut(&key);
                let deleted = naive.map_or(0, |s| {
                    ids.iter()
                        .filter(|id| s.delete(**id, Refs::Keep) == 1)
                        .count()
                });
                (answer, Answer::count(deleted))
            }
            Step::DelEx(k, of, how) => {
                let (key, ids, refs) = (key(k), ids(of), refs(how));
                let op = StreamOp::DelEx {
                    key: key.clone(),
                    refs,
                    ids: ids.clone(),
                };
                let answer = self.run(&op);
                let mut naive = self.naive.get_mut(&key);
                let one = |id: &MessageId| naive.as_mut().map_or(-1, |s| s.delete(*id, refs));
                let each: Vec<i64> = ids.iter().map(one).collect();
                (
                    answer,
                    Answer::Array(each.into_iter().map(Answer::Int).collect()),
                )
            }
            Step::Trim(k, count, how) => {
                let (key, refs) = (key(k), refs(how));
                let (keep, limit) = (Keep::Newest(count), None);
                let trim = Trim { keep, limit };
                let op = StreamOp::Trim {
                    key: key.clone(),
                    trim,
                    refs,
                };
                let answer = self.run(&op);
                let long = |s: &Naive, _| s.entries.len() as u64 > count;
                let naive = self.naive.get_mut(&key);
                (answer, naive.map_or(Answer::Int(0), |s| s.trim(long, refs)))
            }
            Step::TrimFrom(k, from) => {
                let (key, from, refs) = (key(k), seq(from), Refs::Keep);
                let (keep, limit) = (Keep::From(from), None);
                let trim = Trim { keep, limit };
                let op = StreamOp::Trim {
                    key: key.clone(),
                    trim,
                    refs,
                };
                let answer = self.run(&op);
                let naive = self.naive.get_mut(&key);
                let old = |_: &Naive, id| id < from;
                (answer, naive.map_or(Answer::Int(0), |s| s.trim(old, refs)))
            }
            Step::Range(k, from, to, reverse) => {
                let (key, from, to) = (key(k), seq(from), seq(to));
                let answer = self.run(&StreamOp::Range {
                    key: key.clone(),
                    from,
                    to,
                    reverse,
                    count: None,
                });
                let naive = self.naive.get(&key);
                let mut entries = naive.map_or(Vec::new(), |s| s.entries.clone());
                entries.retain(|(id, _)| from <= *id && *id <= to);
                if reverse {
                    entries.reverse();
                }
                (
                    answer,
                    Answer::Array(entries.into_iter().map(entry).collect()),
                )
            }
            Step::Create(k, g, after) => {
                let (key, group, after) = (key(k), group(g), seq(after));
                let answer = self.run(&StreamOp::GroupCreate {
                    key: key.clone(),
                    group: group.clone(),
                    start: GroupStart {
                        after: Some(after),
                        entries_read: None,
                    },
                    make: true,
                });
                let naive = self.naive.entry(key).or_default();
                if naive.groups.contains_key(&group) {
                    return (answer, Answer::Error(StreamError::GroupExists.into()));
                }
                let last = after;
                let made = NaiveGroup {
                    last,
                    ..NaiveGroup::default()
                };
                naive.groups.insert(group, made);
                (answer, Answer::Ok)
            }
            Step::Destroy(k, g) => {
                let (key, group) = (key(k), group(g));
                let op = StreamOp::GroupDestroy {
                    key: key.clone(),
                    group: group.clone(),
                };
                let answer = self.run(&op);
                let Some(naive) = self.naive.get_mut(&key) else {
                    return (answer, Answer::Error(StreamError::GroupNeedsKey.into()));
                };
                (answer, Answer::flag(naive.groups.remove(&group).is_some()))
            }
            Step::Ack(g, of) => {
                let (key, group, ids) = (key(0), group(g), ids(of));
                let op = StreamOp::Ack {
                    key: key.clone(),
                    group: group.clone(),
                    ids: ids.clone(),
                };
                let answer = self.run(&op);
                let naive = self.naive.get_mut(&key);
                let acked = naive.and_then(|s| s.groups.get_mut(&group)).map_or(0, |g| {
                    let before = g.pending.len();
                    g.pending.retain(|given| !ids.contains(&given.0));
                    before - g.pending.len()
                });
                (answer, Answer::count(acked))
            }
            Step::Leave(g, c) => {
                let (key, group, who) = (key(0), group(g), who(c));
                let op = StreamOp::ConsumerDelete {
                    key: key.clone(),
                    group: group.clone(),
                    consumer: who.clone(),
                };
                let answer = self.run(&op);
                let naive = self.naive.get_mut(&key);
                let Some(found) = naive.and_then(|s| s.groups.get_mut(&group)) else {
                    answer_text(&answer);
                    return (answer.clone(), answer);
                };
                found.consumers.remove(&who);
                let before = found.pending.len();
                found.pending.retain(|given| given.1 != who);
                (answer, Answer::count(before - found.pending.len()))
            }
            Step::Wait(ms) => {
                self.now += ms;
                (Answer::Ok, Answer::Ok)
            }
            Step::Restore => {
                self.restore();
                (Answer::Ok, Answer::Ok)
            }
        }
    }
}

proptest! {
    #[test]
    fn streams_answer_as_the_model_does(steps in prop::collection::vec(step(), 1..80)) {
        let mut both = Both::default();
        for step in steps {
            let shown = format!("{step:?}");
            let (answer, expected) = both.step(step);
            prop_assert_eq!(answer, expected, "{}", shown);
        }
        both.restore();
    }
}
