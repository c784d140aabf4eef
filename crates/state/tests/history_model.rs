//! Random publishing, expiry and rules against a model so naive that it can be believed: one list of messages. What a
//! reader is told must be the same, and the rows must hold all there is.

use bytes::Bytes;
use corgi_base::{LogIndex, MessageId};
use corgi_state::history::{
    Change, History, MESSAGE_BYTES, Passed, Retention, RowKey, Rules, Totals,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

const CHANNELS: [&str; 4] = ["a", "ab", "b", ""];

#[derive(Clone, Debug)]
enum Step {
    /// An entry: channel, and bytes of the payload.
    Publish(Vec<(usize, u64)>),
    Wait(u64),
    Rules(Rules),
    Range(usize, usize, usize, usize, bool),
    Restore,
}

fn retention() -> impl Strategy<Value = Retention> {
    (0_u64..6, 0_u64..50).prop_map(|(maxlen, ttl_ms)| Retention { maxlen, ttl_ms })
}

fn rules() -> impl Strategy<Value = Rules> {
    let pattern = prop_oneof![Just("a*"), Just("b"), Just("*b")].prop_map(Bytes::from);
    let patterns = prop::collection::vec((pattern, retention()), 0..3);
    (patterns, retention(), 100_u64..2500).prop_map(|(patterns, others, max_bytes)| Rules {
        patterns,
        others,
        max_bytes,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let messages = prop::collection::vec((0..CHANNELS.len(), 0_u64..200), 1..6);
    let range = (
        0..CHANNELS.len(),
        0..40_usize,
        0..40_usize,
        0..8_usize,
        any::<bool>(),
    );
    prop_oneof![
        6 => messages.prop_map(Step::Publish),
        2 => (0_u64..30).prop_map(Step::Wait),
        1 => rules().prop_map(Step::Rules),
        5 => range.prop_map(|(channel, from, to, count, rev)| Step::Range(channel, from, to, count, rev)),
        1 => Just(Step::Restore),
    ]
}

#[derive(Clone, Debug)]
struct Message {
    channel: usize,
    index: LogIndex,
    id: MessageId,
    op: u32,
    bytes: u64,
    /// Not for readers any more, but its block is.
    skipped: bool,
}

/// All that is kept, oldest first.
#[derive(Debug, Default)]
struct Model {
    rules: Rules,
    kept: Vec<Message>,
    passed: BTreeMap<usize, MessageId>,
    floor: MessageId,
}

impl Model {
    fn rule(&self, channel: usize) -> Retention {
        self.rules.of(CHANNELS[channel].as_bytes())
    }

    fn passes(&mut self, channel: usize, id: MessageId) {
        let passed = self.passed.get(&channel).copied().unwrap_or_default();
        self.passed.insert(channel, passed.max(id));
    }

    /// Drops blocks with nothing left, and forgets channels with none.
    fn tidy(&mut self) {
        let kept = self.kept.clone();
        self.kept.retain(|message| {
            let same =
                |other: &Message| (other.channel, other.index) == (message.channel, message.index);
            kept.iter().any(|other| same(other) && !other.skipped)
        });
        for channel in 0..CHANNELS.len() {
            if !self.kept.iter().any(|message| message.channel == channel)
                && let Some(passed) = self.passed.remove(&channel)
            {
                self.floor = self.floor.max(passed);
            }
        }
    }

    fn skip(&mut self, which: impl Fn(&Message) -> bool) {
        for at in 0..self.kept.len() {
            if which(&self.kept[at]) {
                self.kept[at].skipped = true;
                let Message { channel, id, .. } = self.kept[at];
                self.passes(channel, id);
            }
        }
        self.tidy();
    }

    fn trim(&mut self) {
        for channel in 0..CHANNELS.len() {
            let ids = self.ids(channel);
            let maxlen = usize::try_from(self.rule(channel).maxlen).expect("a small one");
            if ids.len() > maxlen {
                let last = ids[ids.len() - maxlen - 1];
                self.skip(|message| message.channel == channel && message.id <= last);
            }
        }
        while self.bytes() > self.rules.max_bytes {
            let oldest = self
                .kept
                .iter()
                .min_by_key(|message| (message.index, CHANNELS[message.channel]));
            let (channel, index) = oldest
                .map(|oldest| (oldest.channel, oldest.index))
                .expect("it takes bytes");
            self.skip(|message| (message.channel, message.index) == (channel, index));
        }
    }

    fn bytes(&self) -> u64 {
        let all = self.kept.iter();
        all.map(|message| message.bytes + MESSAGE_BYTES).sum()
    }

    fn ids(&self, channel: usize) -> Vec<MessageId> {
        let of = |message: &&Message| message.channel == channel && !message.skipped;
        self.kept
            .iter()
            .filter(of)
            .map(|message| message.id)
            .collect()
    }

    fn range(
        &self,
        channel: usize,
        (from, to): (MessageId, MessageId),
        count: usize,
        newest_first: bool,
    ) -> Result<Vec<(LogIndex, MessageId, u32)>, Passed> {
        let passed = self.passed.get(&channel).copied().unwrap_or(self.floor);
        if from > MessageId::default() && from <= passed {
            let seq = passed.seq + 1;
            let after = MessageId { seq, ..passed };
            let first = self.ids(channel).first().copied().unwrap_or(after);
            return Err(Passed { first });
        }
        let of = |message: &&Message| {
            message.channel == channel && !message.skipped && from <= message.id && message.id <= to
        };
        let found = self.kept.iter().filter(of);
        let mut found: Vec<_> = found
            .map(|message| (message.index, message.id, message.op))
            .collect();
        if newest_first {
            found.reverse();
        }
        found.truncate(count);
        Ok(found)
    }
}

#[derive(Default)]
struct Both {
    model: Model,
    history: History,
    rows: BTreeMap<RowKey, Bytes>,
    now_ms: u64,
    last: MessageId,
    index: LogIndex,
    /// All that was ever given out, to ask from and to.
    seen: Vec<MessageId>,
}

impl Both {
    fn publish(&mut self, messages: &[(usize, u64)]) {
        self.index = self.index.next();
        let seq = if self.last.ms == self.now_ms {
            self.last.seq + 1
        } else {
            0
        };
        let stamp = MessageId {
            ms: self.now_ms,
            seq,
        };
        let names: Vec<Bytes> = CHANNELS.iter().map(|name| Bytes::from(*name)).collect();
        let taken = (0..)
            .zip(messages)
            .map(|(op, (channel, bytes))| (&names[*channel], op, *bytes));
        self.history.published(self.index, stamp, taken);
        for (op, (channel, bytes)) in (0..).zip(messages) {
            let id = MessageId {
                seq: stamp.seq + u64::from(op),
                ..stamp
            };
            (self.last, self.seen) = (id, [&self.seen[..], &[id]].concat());
            if self.model.rule(*channel).keeps() {
                let floor = self.model.floor;
                self.model.passed.entry(*channel).or_insert(floor);
                self.model.kept.push(Message {
                    channel: *channel,
                    index: self.index,
                    id,
                    op,
                    bytes: *bytes,
                    skipped: false,
                });
            }
        }
        self.model.trim();
    }

    fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
        self.history.expire(self.now_ms);
        let now_ms = self.now_ms;
        let rules = self.model.rules.clone();
        self.model.skip(|message| {
            let ttl_ms = rules.of(CHANNELS[message.channel].as_bytes()).ttl_ms;
            message.id.ms + ttl_ms <= now_ms
        });
    }

    fn set_rules(&mut self, rules: Rules) {
        self.history.set_rules(rules.clone(), self.last);
        if !self.model.rules.keep_all() {
            self.model.floor = self.model.floor.max(self.last);
        }
        self.model.rules = rules;
        let none = (0..CHANNELS.len()).filter(|channel| !self.model.rule(*channel).keeps());
        let none: Vec<usize> = none.collect();
        self.model.skip(|message| none.contains(&message.channel));
        self.model.trim();
    }

    fn compare(&mut self) {
        for Change { key, row } in self.history.take_changed() {
            let key = RowKey::decode(&key).expect("its own key");
            match row {
                Some(row) => self.rows.insert(key, row),
                None => self.rows.remove(&key),
            };
        }
        let all = self
            .history
            .rows()
            .into_iter()
            .filter_map(|key| Some((key.clone(), self.history.row(&key)?)));
        assert_eq!(all.collect::<BTreeMap<_, _>>(), self.rows);
        let totals = self.history.totals();
        assert_eq!(totals.bytes, self.model.bytes());
        assert!(totals.bytes <= self.history.rules().max_bytes);
        let (mut some, mut messages) = (0, 0);
        for (channel, name) in CHANNELS.iter().enumerate() {
            let ids = self.model.ids(channel);
            some += u64::from(!ids.is_empty());
            messages += ids.len() as u64;
            assert_eq!(self.history.len(name.as_bytes()), ids.len() as u64);
            let ends = ids.first().copied().zip(ids.last().copied());
            assert_eq!(self.history.ends(name.as_bytes()), ends);
        }
        assert_eq!((totals.channels, totals.messages), (some, messages));
    }

    fn range(&self, channel: usize, from: usize, to: usize, count: usize, newest_first: bool) {
        let id = |at: usize| match self.seen.len().checked_sub(at) {
            Some(at) => self.seen.get(at).copied(),
            None => Some(MessageId::default()),
        };
        let most = MessageId {
            ms: u64::MAX,
            seq: u64::MAX,
        };
        let (from, to) = (id(from).unwrap_or(most), id(to).unwrap_or(most));
        let name = CHANNELS[channel].as_bytes();
        let found = self.history.range(name, from, to, count, newest_first);
        let found = found.map(|parts| {
            let each = parts.iter().flat_map(|part| {
                let message = |(id, op): &(MessageId, u32)| (part.index, *id, *op);
                part.messages.iter().map(message)
            });
            each.collect::<Vec<_>>()
        });
        assert_eq!(
            found,
            self.model.range(channel, (from, to), count, newest_first)
        );
    }

    fn restore(&mut self) {
        let mut history = History::default();
        for (key, row) in &self.rows {
            let key = RowKey::decode(&key.encode()).expect("its own key");
            history.restore(key, row.clone()).expect("its own row");
        }
        assert!(history.take_changed().is_empty());
        self.history = history;
    }
}

proptest! {
    #[test]
    fn history_answers_as_the_model_does(steps in prop::collection::vec(step(), 1..80)) {
        let mut both = Both::default();
        for step in &steps {
            match step {
                Step::Publish(messages) => both.publish(messages),
                Step::Wait(ms) => both.wait(*ms),
                Step::Rules(rules) => both.set_rules(rules.clone()),
                Step::Range(channel, from, to, count, rev) => both.range(*channel, *from, *to, *count, *rev),
                Step::Restore => both.restore(),
            }
            both.compare();
        }
    }
}

#[test]
fn a_reader_is_told_what_has_passed() {
    let mut history = History::default();
    let rules = Rules {
        others: Retention {
            maxlen: 2,
            ttl_ms: 100,
        },
        ..Rules::default()
    };
    history.set_rules(rules, MessageId::default());
    let id = |ms, seq| MessageId { ms, seq };
    let channel = Bytes::from("news");
    for (index, ms) in [(1, 10), (2, 20), (3, 30)] {
        let one = std::iter::once((&channel, 0, 5));
        history.published(LogIndex(index), id(ms, 0), one);
    }
    let read = |history: &History, from| {
        let parts = history.range(b"news", from, id(u64::MAX, 0), 10, false)?;
        Ok(parts.iter().map(|part| part.index.0).collect::<Vec<u64>>())
    };
    assert_eq!(
        read(&history, id(0, 0)),
        Ok(vec![2, 3]),
        "from what there is"
    );
    assert_eq!(
        read(&history, id(10, 1)),
        Ok(vec![2, 3]),
        "all after the first was read"
    );
    assert_eq!(read(&history, id(9, 0)), Err(Passed { first: id(20, 0) }));
    history.expire(130);
    assert_eq!(history.totals(), Totals::default());
    assert_eq!(read(&history, id(20, 1)), Err(Passed { first: id(30, 1) }));
    assert_eq!(read(&history, id(30, 1)), Ok(vec![]), "all was read");
}
