//! The history of channels in the replicated state: what of an entry is kept, and that the rows hold all of it.

use bytes::Bytes;
use corgi_base::{
    Answer, BatchHead, BatchNumber, Boot, ClusterId, Effects, EntryHead, InstanceId, KeyOp,
    LogIndex, Member, MessageId, NodeId, Nonce, Op, Outcome, Retention, Rules, RulesChange, Term,
    UserChanges, Watch,
};
use corgi_state::history::Passed;
use corgi_state::{HISTORY_LEVEL, State};
use std::collections::BTreeMap;

const NODE: NodeId = NodeId::new(1).unwrap();
const END: MessageId = MessageId {
    ms: u64::MAX,
    seq: u64::MAX,
};

/// A state, and the rows that its writes have left.
struct Machine {
    state: State,
    rows: BTreeMap<Bytes, Bytes>,
    batches: u64,
    acl: u64,
}

impl Machine {
    fn new(level: u32) -> Self {
        let mut machine = Self {
            state: State::new(NODE),
            rows: BTreeMap::new(),
            batches: 0,
            acl: 0,
        };
        let instance = InstanceId(1);
        let member = Member {
            id: NODE,
            instance,
            addr: Bytes::new(),
        };
        machine.head(&EntryHead::Bootstrap {
            cluster: ClusterId(1),
            members: vec![member],
        });
        machine.head(&EntryHead::Feature { level });
        machine.head(&EntryHead::OpenSession {
            node: NODE,
            instance,
            boot: Boot(1),
            nonce: Nonce(1),
        });
        machine
    }

    fn head(&mut self, head: &EntryHead) -> Effects {
        self.entry(head, Bytes::new())
    }

    fn entry(&mut self, head: &EntryHead, data: Bytes) -> Effects {
        let index = self.state.applied().next();
        let applied = self.state.apply(index, Term(1), head.encode(), data);
        let write = self.state.take_write().expect("something was applied");
        for key in write.deletes {
            self.rows.remove(&key);
        }
        self.rows.extend(write.puts);
        let rows: Vec<_> = self.rows.clone().into_iter().collect();
        assert_eq!(self.state.rows(), rows);
        let restored = State::of_snapshot(&rows).expect("its own rows");
        assert_eq!(restored.rows(), rows);
        assert_eq!(restored.hash(), self.state.hash());
        assert_eq!(restored.history().totals(), self.state.history().totals());
        applied.expect("a good entry")
    }

    fn batch(&mut self, ms: u64, ops: &[Op]) -> Effects {
        self.batches += 1;
        let mut data = Vec::new();
        ops.iter().for_each(|op| op.encode(&mut data));
        let head = EntryHead::Batch(BatchHead {
            origin: NODE,
            boot: Boot(1),
            number: BatchNumber(self.batches),
            ops: u32::try_from(ops.len()).expect("few"),
            stamp: MessageId { ms, seq: 0 },
            acl: self.acl,
        });
        self.entry(&head, data.into())
    }

    fn read(&self, channel: &str, from: MessageId) -> Result<Vec<(u64, u32)>, Passed> {
        let parts = self
            .state
            .history()
            .range(channel.as_bytes(), from, END, 100, false)?;
        let each = parts.iter().flat_map(|part| {
            let message = |(_, op): &(MessageId, u32)| (part.index.0, *op);
            part.messages.iter().map(message)
        });
        Ok(each.collect())
    }

    fn all(&self, channel: &str) -> Vec<(u64, u32)> {
        let all = self.read(channel, MessageId::default());
        all.expect("from what there is")
    }
}

fn publish(channel: &'static str) -> Op {
    Op::Publish {
        channel: Bytes::from_static(channel.as_bytes()),
        payload: Bytes::from_static(b"hello"),
    }
}

#[test]
fn only_what_took_effect_is_kept() {
    let mut machine = Machine::new(HISTORY_LEVEL);
    let other = Op::ShardPublish {
        channel: Bytes::from_static(b"a"),
        payload: Bytes::from_static(b"shard"),
    };
    machine.batch(1, &[publish("a"), other, publish("b"), publish("a")]);
    assert_eq!(machine.state.applied(), LogIndex(4));
    assert_eq!(machine.all("a"), [(4, 0), (4, 3)]);
    // A key that was watched has changed.
    let key = Bytes::from_static(b"key");
    let set = KeyOp::SetNx {
        key: key.clone(),
        value: Bytes::from_static(b"1"),
    };
    machine.batch(2, &[Op::Key { db: 0, op: set }]);
    let watch = Watch {
        db: 0,
        key,
        version: MessageId::default(),
    };
    let guard = Op::Guard {
        ops: 2,
        watched: vec![watch],
    };
    machine.batch(3, &[guard, publish("a"), publish("b"), publish("a")]);
    assert_eq!(machine.all("a"), [(4, 0), (4, 3), (6, 3)]);
    assert_eq!(machine.all("b"), [(4, 2)]);
    // A batch that was checked against users that have changed since.
    machine.batch(4, &[Op::Users(UserChanges::default())]);
    let void = machine.batch(5, &[publish("a")]);
    assert!(matches!(void, Effects::Void(_)));
    machine.acl = 1;
    machine.batch(6, &[publish("a")]);
    assert_eq!(machine.all("a"), [(4, 0), (4, 3), (6, 3), (9, 0)]);
}

#[test]
fn what_was_published_before_all_nodes_kept_it_is_not_promised() {
    let mut machine = Machine::new(HISTORY_LEVEL - 1);
    machine.batch(5, &[publish("a")]);
    assert_eq!(machine.all("a"), []);
    machine.head(&EntryHead::Feature {
        level: HISTORY_LEVEL,
    });
    machine.batch(9, &[publish("a")]);
    assert_eq!(machine.all("a"), [(6, 0)]);
    let first = MessageId { ms: 9, seq: 0 };
    let before = MessageId { ms: 5, seq: 0 };
    assert_eq!(machine.read("a", before), Err(Passed { first }));
    assert_eq!(
        machine.read("a", MessageId { ms: 5, seq: 1 }),
        Ok(vec![(6, 0)])
    );
}

#[test]
fn rules_are_said_once_and_changed_by_anybody() {
    let mut machine = Machine::new(HISTORY_LEVEL);
    let rules = |maxlen| Rules {
        others: Retention {
            maxlen,
            ttl_ms: 1000,
        },
        ..Rules::default()
    };
    assert_eq!(machine.head(&EntryHead::History(rules(3))), Effects::Rules);
    assert_eq!(machine.head(&EntryHead::History(rules(9))), Effects::None);
    assert_eq!(machine.state.history().rules(), &rules(3));
    for ms in 1..=5 {
        machine.batch(ms, &[publish("a")]);
    }
    assert_eq!(machine.all("a").len(), 3);
    let change = RulesChange {
        maxlen: Some(2),
        ..RulesChange::default()
    };
    let Effects::Batch(batch) = machine.batch(6, &[Op::HistoryRules(change)]) else {
        panic!("no batch");
    };
    assert_eq!(batch.outcomes, [Outcome::Answered(Answer::Ok)]);
    assert_eq!(machine.state.history().rules(), &rules(2));
    assert_eq!(machine.all("a").len(), 2);
}

#[test]
fn time_alone_lets_messages_expire() {
    let mut machine = Machine::new(HISTORY_LEVEL);
    machine.batch(1000, &[publish("a"), publish("b")]);
    assert_eq!(machine.state.history().next_expiry(), Some(301_000));
    let stamp = |ms| MessageId { ms, seq: 0 };
    machine.head(&EntryHead::Time {
        stamp: stamp(300_999),
    });
    assert_eq!(machine.state.history().totals().channels, 2);
    machine.head(&EntryHead::Time {
        stamp: stamp(301_000),
    });
    assert_eq!(machine.state.history().totals(), Default::default());
    assert_eq!(machine.state.history().next_expiry(), None);
    // Who had read the last one has missed nothing.
    let last = MessageId { ms: 1000, seq: 1 };
    assert_eq!(
        machine.read("c", last),
        Err(Passed {
            first: MessageId { ms: 1000, seq: 2 }
        })
    );
    let after = MessageId { ms: 1000, seq: 2 };
    assert_eq!(machine.read("a", after), Ok(vec![]));
}
