//! What became of each write, against what its client was told.

use super::canon::Canon;
use crate::history::{ConnId, Outcome, Violation, label};
use bytes::Bytes;
use corgi_base::{LogIndex, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// One write as its client knows it.
#[derive(Debug)]
struct Write {
    conn: ConnId,
    /// Its place in its connection.
    nth: u64,
    channel: Bytes,
    /// All operations below this position were acknowledged, or stand before one that was, when
    /// this write was sent: it must come after them.
    after: usize,
    outcome: Option<Outcome>,
}

/// All writes of a run.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    writes: BTreeMap<Bytes, Write>,
    sent: BTreeMap<ConnId, u64>,
    /// The last write of each connection that took effect.
    last: BTreeMap<ConnId, u64>,
    /// One more than the highest position that a client knows to be acknowledged.
    acked_below: usize,
    acked: BTreeSet<usize>,
    /// How far each process has applied the log.
    applied: BTreeMap<NodeId, LogIndex>,
    counts: [u64; 4],
}

impl Writes {
    /// Returns the position that everything sent from now on must be at or after.
    pub(crate) fn acked_below(&self) -> usize {
        self.acked_below
    }

    pub(crate) fn counts(&self) -> [u64; 4] {
        self.counts
    }

    pub(crate) fn invoked(
        &mut self,
        conn: ConnId,
        channel: &Bytes,
        payload: &Bytes,
    ) -> Result<(), Violation> {
        self.counts[0] += 1;
        let sent = self.sent.entry(conn).or_default();
        *sent += 1;
        let write = Write {
            conn,
            nth: *sent,
            channel: channel.clone(),
            after: self.acked_below,
            outcome: None,
        };
        let before = self.writes.insert(payload.clone(), write);
        assert!(before.is_none(), "payloads are unique");
        Ok(())
    }

    /// Takes a write that was applied for the first time.
    pub(crate) fn appeared(&mut self, position: usize, canon: &Canon) -> Result<(), Violation> {
        let op = &canon.ops()[position];
        let name = label(&op.payload);
        let Some(write) = self.writes.get(&op.payload) else {
            return Violation::of("I02", format!("{name} was applied, but nobody sent it"));
        };
        if write.channel != op.channel {
            let text = format!("{name} was sent to another channel than it was applied to");
            return Violation::of("I02", text);
        }
        if write.outcome == Some(Outcome::Failed) {
            let text = format!("{name} was refused, but is in entry {}", op.index);
            return Violation::of("I03", text);
        }
        if position < write.after {
            let text = format!(
                "{name} was sent when the operation at {} was acknowledged, but stands at {position}",
                write.after - 1
            );
            return Violation::of("I07", text);
        }
        let last = self.last.entry(write.conn).or_default();
        if write.nth <= *last {
            let text = format!("{name} took effect after a later write of {:?}", write.conn);
            return Violation::of("I07", text);
        }
        *last = write.nth;
        Ok(())
    }

    pub(crate) fn node_started(&mut self, node: NodeId) {
        self.applied.remove(&node);
    }

    pub(crate) fn node_applied(&mut self, node: NodeId, index: LogIndex) {
        self.applied.insert(node, index);
    }

    /// Takes a success that a node gave out: it must have applied the write itself (P1).
    pub(crate) fn acked(
        &mut self,
        node: NodeId,
        payload: &Bytes,
        canon: &Canon,
    ) -> Result<(), Violation> {
        match canon.position(payload) {
            Some(position) => {
                self.acked.insert(position);
                let index = canon.ops()[position].index;
                let applied = self.applied.get(&node).copied().unwrap_or_default();
                if applied < index {
                    let text = format!(
                        "{node:?} acknowledged {} of entry {index}, but has applied up to {applied}",
                        label(payload)
                    );
                    return Violation::of("I14", text);
                }
                Ok(())
            }
            None => {
                let text = format!(
                    "{node:?} acknowledged {}, which no node has applied",
                    label(payload)
                );
                Violation::of("I14", text)
            }
        }
    }

    pub(crate) fn returned(
        &mut self,
        payload: &Bytes,
        outcome: &Outcome,
        canon: &Canon,
    ) -> Result<(), Violation> {
        let name = label(payload);
        let write = self
            .writes
            .get_mut(payload)
            .expect("only what was sent returns");
        assert_eq!(write.outcome, None, "a write returns once");
        let position = canon.position(payload);
        self.counts[match outcome {
            Outcome::Ok => 1,
            Outcome::Failed => 2,
            Outcome::Unknown | Outcome::Silence { .. } => 3,
        }] += 1;
        match (outcome, position) {
            (Outcome::Ok, Some(position)) => self.acked_below = self.acked_below.max(position + 1),
            (Outcome::Ok, None) => {
                return Violation::of("I01", format!("{name} was acknowledged, but nobody has it"));
            }
            (Outcome::Failed, Some(position)) => {
                let index = canon.ops()[position].index;
                return Violation::of(
                    "I03",
                    format!("{name} was refused, but is in entry {index}"),
                );
            }
            (Outcome::Failed | Outcome::Unknown, _) => {}
            (
                Outcome::Silence {
                    answerable_since,
                    sent,
                },
                _,
            ) => {
                if answerable_since <= sent {
                    let text = format!(
                        "{name} got no answer, though its node was up since {answerable_since} and \
                         it was sent at {sent}"
                    );
                    return Violation::of("I21", text);
                }
            }
        }
        write.outcome = Some(outcome.clone());
        Ok(())
    }

    /// Compares what a node holds at the end with what was acknowledged.
    pub(crate) fn drained(
        &self,
        node: NodeId,
        truncated: LogIndex,
        payloads: &[Bytes],
        canon: &Canon,
    ) -> Result<(), Violation> {
        let held: BTreeSet<&Bytes> = payloads.iter().collect();
        let lost: Vec<usize> = self
            .acked
            .iter()
            .copied()
            .filter(|position| {
                let op = &canon.ops()[*position];
                op.index > truncated && !held.contains(&op.payload)
            })
            .collect();
        let (Some(first), Some(last)) = (lost.first(), lost.last()) else {
            return Ok(());
        };
        let kind = match (self.acked.first(), self.acked.last()) {
            (Some(start), _) if start == first => "a prefix",
            (_, Some(end)) if end == last => "a postfix",
            _ => "from the middle",
        };
        let text = format!(
            "{node:?} lacks {} acknowledged writes, {kind}: the first is {}",
            lost.len(),
            label(&canon.ops()[*first].payload)
        );
        Violation::of("I01", text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::canon::tests::{batch, node};
    use super::super::members::Members;
    use super::*;

    const A: ConnId = ConnId(1);

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    struct Bench {
        canon: Canon,
        writes: Writes,
    }

    impl Bench {
        /// Sends the writes over one connection.
        fn sent(names: &[&'static str]) -> Self {
            let mut bench = Self {
                canon: Canon::default(),
                writes: Writes::default(),
            };
            for name in names {
                bench.send(A, name);
            }
            bench
        }

        fn send(&mut self, conn: ConnId, name: &'static str) {
            let channel = bytes("ch");
            self.writes.invoked(conn, &channel, &bytes(name)).unwrap();
        }

        fn apply(&mut self, name: &'static str) -> Result<(), Violation> {
            let next = self.canon.last().0 + 1;
            let entry = batch(next, next, "ch", name);
            self.canon
                .applied(node(1), &entry, &[node(1)], &Members::default())
                .unwrap();
            self.writes.node_applied(node(1), entry.index);
            self.writes
                .appeared(self.canon.ops().len() - 1, &self.canon)
        }

        fn returned(&mut self, name: &'static str, outcome: Outcome) -> Result<(), Violation> {
            self.writes.returned(&bytes(name), &outcome, &self.canon)
        }

        fn ok(&mut self, name: &'static str) -> Result<(), Violation> {
            self.writes.acked(node(1), &bytes(name), &self.canon)?;
            self.returned(name, Outcome::Ok)
        }
    }

    fn broken(result: Result<(), Violation>) -> &'static str {
        result.expect_err("a violation").invariant
    }

    #[test]
    fn a_write_that_is_applied_and_acknowledged_is_fine() {
        let mut bench = Bench::sent(&["x", "y"]);
        bench.apply("x").unwrap();
        bench.ok("x").unwrap();
        bench.apply("y").unwrap();
        bench.returned("y", Outcome::Unknown).unwrap();
        let held = [bytes("x"), bytes("y")];
        let (writes, canon) = (&bench.writes, &bench.canon);
        writes.drained(node(2), LogIndex(0), &held, canon).unwrap();
    }

    #[test]
    fn a_phantom_is_caught() {
        assert_eq!(broken(Bench::sent(&[]).apply("x")), "I02");
    }

    #[test]
    fn a_refused_write_that_takes_effect_is_caught_in_either_order() {
        let mut bench = Bench::sent(&["x"]);
        bench.returned("x", Outcome::Failed).unwrap();
        assert_eq!(broken(bench.apply("x")), "I03");
        let mut bench = Bench::sent(&["x"]);
        bench.apply("x").unwrap();
        assert_eq!(broken(bench.returned("x", Outcome::Failed)), "I03");
    }

    #[test]
    fn an_acknowledgement_of_nothing_is_caught() {
        let mut bench = Bench::sent(&["x"]);
        let x = bytes("x");
        assert_eq!(broken(bench.writes.acked(node(1), &x, &bench.canon)), "I14");
        assert_eq!(broken(bench.returned("x", Outcome::Ok)), "I01");
    }

    #[test]
    fn an_acknowledgement_of_what_its_node_has_not_applied_is_caught() {
        let mut bench = Bench::sent(&["x"]);
        bench.apply("x").unwrap();
        let acked = |bench: &mut Bench, by| bench.writes.acked(node(by), &bytes("x"), &bench.canon);
        acked(&mut bench, 1).unwrap();
        assert_eq!(broken(acked(&mut bench, 2)), "I14");
        bench.writes.node_started(node(1));
        assert_eq!(broken(acked(&mut bench, 1)), "I14");
    }

    #[test]
    fn a_write_before_one_that_was_acknowledged_before_it_was_sent_is_caught() {
        let mut bench = Bench::sent(&["x"]);
        bench.apply("x").unwrap();
        bench.ok("x").unwrap();
        bench.send(ConnId(2), "y");
        // As if a later reading of the log had "y" where "x" stands.
        assert_eq!(bench.writes.writes[&bytes("y")].after, 1);
        let mut other = Bench::sent(&[]);
        std::mem::swap(&mut bench.canon, &mut other.canon);
        assert_eq!(broken(bench.apply("y")), "I07");
    }

    #[test]
    fn a_pipeline_out_of_order_is_caught() {
        let mut bench = Bench::sent(&["x", "y"]);
        bench.apply("y").unwrap();
        assert_eq!(broken(bench.apply("x")), "I07");
    }

    #[test]
    fn silence_counts_only_while_the_node_could_answer() {
        let silence = |answerable_since| Outcome::Silence {
            answerable_since,
            sent: 10,
        };
        let mut bench = Bench::sent(&["x", "y"]);
        bench.returned("x", silence(11)).unwrap();
        assert_eq!(broken(bench.returned("y", silence(10))), "I21");
    }

    #[test]
    fn a_node_without_an_acknowledged_write_is_caught() {
        let mut bench = Bench::sent(&["x", "y", "z"]);
        for name in ["x", "y", "z"] {
            bench.apply(name).unwrap();
            bench.ok(name).unwrap();
        }
        for (held, kind) in [
            ([bytes("x"), bytes("y")], "postfix"),
            ([bytes("y"), bytes("z")], "prefix"),
            ([bytes("x"), bytes("z")], "middle"),
        ] {
            let lost = bench
                .writes
                .drained(node(2), LogIndex(0), &held, &bench.canon)
                .unwrap_err();
            assert_eq!(lost.invariant, "I01");
            assert!(lost.text.contains(kind), "{lost}");
        }
    }
}
