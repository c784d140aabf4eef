//! Property: how the bytes of a client are cut into reads changes neither what the node is asked
//! nor what the client is sent.
//!
//! A small model plays the node. It answers either *late*, when all bytes have arrived, and then
//! also delivers a subscriber's messages; or *eagerly*, after every piece (without deliveries,
//! whose place among the replies of other commands rightly depends on when they happen).

use bytes::{Bytes, BytesMut};
use corgi_base::{ClientId, Op, SubscriptionKind, Via};
use corgi_resp::{Reply, encode_message};
use corgi_session::{Acl, Ask, Env, KeyQuery, Session, Told, Users, require_pass};
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Answers {
    Late,
    Eager,
}

/// One connection, its model node, and all that happened.
struct Run {
    session: Session,
    input: BytesMut,
    answers: Answers,
    subscribed: Vec<(SubscriptionKind, Bytes)>,
    asks: Vec<Ask>,
    written: Vec<u8>,
}

impl Run {
    fn new(env: &Arc<Env>, answers: Answers) -> Self {
        Self {
            session: Session::new(ClientId(1), Arc::clone(env)),
            input: BytesMut::new(),
            answers,
            subscribed: Vec::new(),
            asks: Vec::new(),
            written: Vec::new(),
        }
    }

    fn all(mut self, pieces: &[&[u8]]) -> (Vec<Ask>, Vec<u8>, bool) {
        let mut waiting = Vec::new();
        for piece in pieces {
            self.input.extend_from_slice(piece);
            self.session.read(&mut self.input);
            waiting.append(&mut self.session.take_asks());
            if self.answers == Answers::Eager {
                self.answer(&mut waiting);
            }
        }
        self.answer(&mut waiting);
        self.written
            .extend(self.session.output().take().into_iter().flatten());
        (self.asks, self.written, self.session.closing())
    }

    /// Answers until nothing more is asked.
    fn answer(&mut self, waiting: &mut Vec<Ask>) {
        while !waiting.is_empty() {
            for ask in std::mem::take(waiting) {
                for told in self.told(&ask) {
                    self.session.tell(told);
                }
                self.asks.push(ask);
            }
            self.session.read(&mut self.input);
            waiting.append(&mut self.session.take_asks());
        }
    }

    fn told(&mut self, ask: &Ask) -> Vec<Told> {
        match ask {
            Ask::WriteAll { seq, ops } => {
                let (mut replies, mut messages) = (Vec::new(), Vec::new());
                for op in ops {
                    for told in self.told(&Ask::Write {
                        seq: *seq,
                        op: op.clone(),
                    }) {
                        match told {
                            Told::Reply { reply, .. } => replies.push(reply),
                            message => messages.push(message),
                        }
                    }
                }
                let reply = Reply::Array(replies);
                messages.insert(0, Told::Reply { seq: *seq, reply });
                messages
            }
            Ask::Write { seq, op } => {
                let (kind, via, channel, payload) = match op {
                    Op::Publish { channel, payload } => {
                        (SubscriptionKind::Channel, Via::Channel, channel, payload)
                    }
                    Op::ShardPublish { channel, payload } => {
                        (SubscriptionKind::Shard, Via::Shard, channel, payload)
                    }
                    Op::Key { .. } => {
                        let (seq, reply) = (*seq, Reply::ok());
                        return vec![Told::Reply { seq, reply }];
                    }
                    Op::Guard { .. } | Op::Users(_) | Op::HistoryRules(_) => return Vec::new(),
                };
                let listens = self.subscribed.contains(&(kind, channel.clone()));
                let mut told = vec![Told::Reply {
                    seq: *seq,
                    reply: Reply::Integer(listens.into()),
                }];
                if listens && self.answers == Answers::Late {
                    let mut message = BytesMut::new();
                    let protocol = self.session.protocol();
                    encode_message(via, channel, payload, protocol, &mut message);
                    told.push(Told::Deliver(message.freeze()));
                }
                told
            }
            Ask::Subscribe { seq, kind, names } => {
                let mut told = Vec::new();
                for name in names {
                    if !self.subscribed.contains(&(*kind, name.clone())) {
                        self.subscribed.push((*kind, name.clone()));
                    }
                    told.push(self.confirmed(true, *kind, Some(name)));
                }
                told.push(Told::Done { seq: *seq });
                told
            }
            Ask::Unsubscribe { seq, kind, names } => {
                let mut names = names.clone();
                if names.is_empty() {
                    let of_kind = self.subscribed.iter().filter(|(k, _)| k == kind);
                    names = of_kind.map(|(_, name)| name.clone()).collect();
                }
                let mut told = Vec::new();
                for name in &names {
                    self.subscribed
                        .retain(|held| held != &(*kind, name.clone()));
                    told.push(self.confirmed(false, *kind, Some(name)));
                }
                if names.is_empty() {
                    told.push(self.confirmed(false, *kind, None));
                }
                told.push(Told::Done { seq: *seq });
                told
            }
            Ask::SetProtocol { seq, .. } => vec![Told::Done { seq: *seq }],
            Ask::Reset { seq } => {
                self.subscribed.clear();
                vec![Told::Done { seq: *seq }]
            }
            Ask::Wait { seq, .. } | Ask::Unblock { seq, .. } => vec![Told::Reply {
                seq: *seq,
                reply: Reply::NullArray,
            }],
            Ask::Read { seq, query } => {
                let seq = *seq;
                vec![match query {
                    KeyQuery::Op { .. } | KeyQuery::History(_) => Told::Reply {
                        seq,
                        reply: Reply::bulk("answer"),
                    },
                    KeyQuery::Versions(keys) => Told::Versions {
                        seq,
                        versions: vec![Default::default(); keys.len()],
                    },
                }]
            }
            Ask::As { .. } => Vec::new(),
            Ask::Users { seq, .. } => vec![Told::Reply {
                seq: *seq,
                reply: Reply::ok(),
            }],
            Ask::PubSub { seq, .. } | Ask::Cluster { seq, .. } | Ask::Info { seq, .. } => {
                vec![Told::Reply {
                    seq: *seq,
                    reply: Reply::bulk("answer"),
                }]
            }
        }
    }

    fn confirmed(&self, on: bool, kind: SubscriptionKind, name: Option<&Bytes>) -> Told {
        let shard = |kind| kind == SubscriptionKind::Shard;
        let counted = |other| shard(kind) == shard(other);
        Told::Subscription {
            on,
            kind,
            name: name.cloned(),
            count: self.subscribed.iter().filter(|(k, _)| counted(*k)).count() as u64,
        }
    }
}

/// Bytes of one request, sometimes inline, sometimes nonsense.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "PING",
        "PING x",
        "PING x y",
        "ECHO hello",
        "PUBLISH a 1",
        "PUBLISH b 2",
        "PUBLISH a",
        "SUBSCRIBE a b a",
        "SSUBSCRIBE a b",
        "SUNSUBSCRIBE",
        "SPUBLISH a 1",
        "PSUBSCRIBE a*",
        "UNSUBSCRIBE",
        "UNSUBSCRIBE a",
        "PUNSUBSCRIBE",
        "HELLO 2",
        "HELLO 3",
        "HELLO 3 AUTH default secret SETNAME me",
        "AUTH secret",
        "AUTH wrong",
        "SELECT 3",
        "CLIENT ID",
        "CLIENT GETNAME",
        "CLIENT SETNAME me",
        "PUBSUB NUMPAT",
        "INFO",
        "COMMAND COUNT",
        "RESET",
        "MULTI",
        "MULTI",
        "EXEC",
        "EXEC",
        "EXEC",
        "DISCARD",
        "WATCH a",
        "UNWATCH",
        "nosuch a b",
    ]);
    let words = known.prop_map(|line| line.split(' ').map(|w| w.as_bytes().to_vec()).collect());
    let any = vec(vec(any::<u8>(), 0..20), 1..4);
    prop_oneof![
        6 => words.prop_map(|words: Vec<Vec<u8>>| array(&words)),
        2 => any.prop_map(|words| array(&words)),
        2 => Just(b"PUBLISH a inline\r\n".to_vec()),
        1 => Just(b"\r\n*0\r\n".to_vec()),
        1 => Just(array(&[b"QUIT".to_vec()])),
        1 => Just(b"*1\r\n:1\r\n".to_vec()),
    ]
}

fn array(words: &[Vec<u8>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn cut<'a>(bytes: &'a [u8], at: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = at.iter().map(|i| i.index(bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let mut pieces = Vec::new();
    let mut from = 0;
    for to in cuts.into_iter().chain([bytes.len()]) {
        pieces.push(&bytes[from..to]);
        from = to;
    }
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cuts_change_nothing(
        requests in vec(request(), 1..30),
        at in vec(any::<prop::sample::Index>(), 0..20),
        locked in any::<bool>(),
        late in any::<bool>(),
        commands_max in 1_usize..6,
    ) {
        let password = if locked { require_pass(b"secret") } else { None };
        let env = Arc::new(Env {
            users: Users::new(Acl::stored(0, password.into_iter())),
            max_outstanding_commands: commands_max,
            ..Env::default()
        });
        let answers = if late { Answers::Late } else { Answers::Eager };
        let bytes = requests.concat();
        let whole = Run::new(&env, answers).all(&[&bytes]);
        let pieces = Run::new(&env, answers).all(&cut(&bytes, &at));
        prop_assert_eq!(&whole, &pieces);
        // Each byte alone is the hardest cut.
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&whole, &Run::new(&env, answers).all(&single));
    }
}
