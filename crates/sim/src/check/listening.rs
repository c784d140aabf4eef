//! What each subscription heard, against the canon.
//!
//! ```text
//!   canon   ... 3   4   5   6   7   8   9 ...
//!               │       │           └ next: must come next, of those that match
//!               │       └ confirmed: everything from here on must be heard (P3, first half)
//!               └ floor: nothing before this may be heard (P3, second half)
//! ```

use super::canon::{Canon, CanonOp};
use crate::history::{ConnId, Topic, Violation, label};
use bytes::Bytes;
use corgi_base::glob::matches;
use corgi_base::{NodeId, SubscriptionKind};
use std::collections::{BTreeMap, VecDeque};

/// One subscription of one connection.
#[derive(Debug)]
struct Listener {
    /// The first position that it must not miss.
    from: usize,
    /// The first position that it may hear.
    floor: usize,
    /// Whether it has heard anything.
    heard: bool,
}

/// One connection.
#[derive(Debug, Default)]
struct Connection {
    /// The floors of subscriptions that were asked for and are not confirmed.
    asked: BTreeMap<Topic, VecDeque<usize>>,
    /// Confirmations on their way to the client.
    confirmed: BTreeMap<Topic, VecDeque<Listener>>,
    listeners: BTreeMap<Topic, Listener>,
    /// The position of the message heard last, over all subscriptions.
    last: usize,
}

/// All subscriptions of a run.
#[derive(Debug, Default)]
pub(crate) struct Listening {
    connections: BTreeMap<ConnId, Connection>,
    deliveries: u64,
}

/// Returns whether a subscription to `topic` hears what is published to `channel`.
fn hears(topic: &Topic, channel: &[u8]) -> bool {
    match topic.kind {
        SubscriptionKind::Channel => topic.name == channel,
        SubscriptionKind::Pattern => matches(&topic.name, channel),
        // The clients of the simulation publish to no shard channel.
        SubscriptionKind::Shard => false,
    }
}

/// Returns the first operation from `from` on that a subscription hears.
fn first<'c>(topic: &Topic, ops: &'c [CanonOp], from: usize) -> Option<(usize, &'c CanonOp)> {
    let rest = ops.iter().enumerate().skip(from);
    rest.into_iter().find(|(_, op)| hears(topic, &op.channel))
}

impl Listening {
    pub(crate) fn deliveries(&self) -> u64 {
        self.deliveries
    }

    pub(crate) fn asked(&mut self, conn: ConnId, topic: &Topic, floor: usize) {
        let asked = &mut self.connections.entry(conn).or_default().asked;
        asked.entry(topic.clone()).or_default().push_back(floor);
    }

    pub(crate) fn confirmed(
        &mut self,
        conn: ConnId,
        topic: &Topic,
        from: usize,
    ) -> Result<(), Violation> {
        let connection = self.connections.entry(conn).or_default();
        let floor = connection
            .asked
            .get_mut(topic)
            .and_then(VecDeque::pop_front);
        let Some(floor) = floor else {
            return Violation::of("I08", format!("{conn:?} did not ask for {topic:?}"));
        };
        let listener = Listener {
            from,
            floor,
            heard: false,
        };
        let confirmed = &mut connection.confirmed;
        confirmed
            .entry(topic.clone())
            .or_default()
            .push_back(listener);
        Ok(())
    }

    pub(crate) fn listens(&mut self, conn: ConnId, topic: &Topic) -> Result<(), Violation> {
        let connection = self.connections.entry(conn).or_default();
        let confirmed = connection.confirmed.get_mut(topic);
        let Some(listener) = confirmed.and_then(VecDeque::pop_front) else {
            let text = format!("{conn:?} reads a confirmation of {topic:?} that no node gave");
            return Violation::of("I08", text);
        };
        // Subscribing again changes nothing.
        connection
            .listeners
            .entry(topic.clone())
            .or_insert(listener);
        Ok(())
    }

    pub(crate) fn refused(&mut self, conn: ConnId, topic: &Topic) {
        let connection = self.connections.entry(conn).or_default();
        if let Some(asked) = connection.asked.get_mut(topic) {
            asked.pop_front();
        }
    }

    pub(crate) fn stopped(&mut self, conn: ConnId, topic: &Topic) {
        let connection = self.connections.entry(conn).or_default();
        connection.listeners.remove(topic);
    }

    pub(crate) fn closed(&mut self, conn: ConnId) {
        self.connections.remove(&conn);
    }

    pub(crate) fn heard(
        &mut self,
        conn: ConnId,
        topic: &Topic,
        channel: &Bytes,
        payload: &Bytes,
        canon: &Canon,
    ) -> Result<(), Violation> {
        self.deliveries += 1;
        let name = label(payload);
        let Some(position) = canon.position(payload) else {
            let text = format!("{conn:?} {topic:?} heard {name}, which nobody has applied");
            return Violation::of("I02", text);
        };
        let op = &canon.ops()[position];
        if op.channel != *channel || !hears(topic, channel) {
            let text = format!("{conn:?} {topic:?} heard {name} under the wrong channel");
            return Violation::of("I02", text);
        }
        let connection = self.connections.entry(conn).or_default();
        let Some(listener) = connection.listeners.get_mut(topic) else {
            let text = format!("{conn:?} heard {name} through {topic:?}, which has ended");
            return Violation::of("I06", text);
        };
        if position < connection.last {
            let text = format!(
                "{conn:?} {topic:?} heard {name} at {position} after the operation at {}",
                connection.last
            );
            return Violation::of("I05", text);
        }
        if listener.heard && position < listener.from {
            return Violation::of("I06", format!("{conn:?} {topic:?} heard {name} again"));
        }
        if position < listener.floor {
            let text = format!(
                "{conn:?} {topic:?} heard {name} at {position}, but it asked when the operation at {} \
                 was acknowledged",
                listener.floor - 1
            );
            return Violation::of("I08", text);
        }
        if let Some((missed, op)) = first(topic, canon.ops(), listener.from)
            && missed < position
        {
            let text = format!(
                "{conn:?} {topic:?} heard {name} at {position} but not {} at {missed}",
                label(&op.payload)
            );
            return Violation::of("I06", text);
        }
        listener.from = position + 1;
        listener.heard = true;
        connection.last = position;
        Ok(())
    }

    /// How many subscribers of each name a node counts on all nodes together, when nobody comes or goes.
    pub(crate) fn counted(
        &self,
        node: NodeId,
        counted: &BTreeMap<Topic, u64>,
    ) -> Result<(), Violation> {
        let mut truth = BTreeMap::new();
        let connections = self.connections.values();
        for topic in connections.flat_map(|connection| connection.listeners.keys()) {
            *truth.entry(topic.clone()).or_insert(0) += 1;
        }
        if *counted == truth {
            return Ok(());
        }
        let text = format!("{node:?} counts {counted:?}, clients listen to {truth:?}");
        Violation::of("P6", text)
    }

    /// Returns a subscription that has not heard all that is applied, and what comes next for it.
    pub(crate) fn behind(&self, canon: &Canon) -> Option<(ConnId, Topic, Bytes)> {
        for (conn, connection) in &self.connections {
            for (topic, listener) in &connection.listeners {
                if let Some((_, op)) = first(topic, canon.ops(), listener.from) {
                    return Some((*conn, topic.clone(), op.payload.clone()));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::canon::tests::{batch, node};
    use super::super::members::Members;
    use super::*;

    const A: ConnId = ConnId(1);

    /// Writes 0, 1, 2, … to channel `a`, and "other" to channel `b`.
    fn canon() -> Canon {
        let mut canon = Canon::default();
        let ops = [
            ("a", "0"),
            ("a", "1"),
            ("b", "other"),
            ("a", "2"),
            ("a", "3"),
        ];
        for (index, (channel, payload)) in (1..).zip(ops) {
            let entry = batch(index, index, channel, payload);
            canon
                .applied(node(1), &entry, &[node(1)], &Members::default())
                .unwrap();
        }
        canon
    }

    fn topic(kind: SubscriptionKind, name: &'static str) -> Topic {
        let name = Bytes::from_static(name.as_bytes());
        Topic { kind, name }
    }

    fn a() -> Topic {
        topic(SubscriptionKind::Channel, "a")
    }

    fn subscribed(topic: &Topic, floor: usize, from: usize) -> Listening {
        let mut listening = Listening::default();
        listening.asked(A, topic, floor);
        listening.confirmed(A, topic, from).unwrap();
        listening.listens(A, topic).unwrap();
        listening
    }

    fn hear(listening: &mut Listening, topic: &Topic, heard: &[&str]) -> Result<(), Violation> {
        let canon = canon();
        for payload in heard {
            let payload = Bytes::copy_from_slice(payload.as_bytes());
            let channel = if payload == "other" { "b" } else { "a" };
            let channel = Bytes::from_static(channel.as_bytes());
            listening.heard(A, topic, &channel, &payload, &canon)?;
        }
        Ok(())
    }

    fn broken(result: Result<(), Violation>) -> &'static str {
        result.expect_err("a violation").invariant
    }

    #[test]
    fn the_whole_stretch_is_fine_from_anywhere_between_floor_and_confirmation() {
        for start in ["0 1 2 3", "1 2 3", "2 3"] {
            let heard: Vec<&str> = start.split(' ').collect();
            let mut listening = subscribed(&a(), 0, 3);
            hear(&mut listening, &a(), &heard).unwrap();
            assert_eq!(listening.behind(&canon()), None);
        }
        let all = topic(SubscriptionKind::Pattern, "*");
        let mut listening = subscribed(&all, 0, 0);
        hear(&mut listening, &all, &["0", "1", "other", "2", "3"]).unwrap();
    }

    #[test]
    fn a_node_that_counts_one_too_many_or_too_few_is_caught() {
        let listening = subscribed(&a(), 0, 0);
        let counts = |names: &[(Topic, u64)]| names.iter().cloned().collect();
        listening.counted(node(1), &counts(&[(a(), 1)])).unwrap();
        let other = topic(SubscriptionKind::Pattern, "a");
        for wrong in [&[][..], &[(a(), 2)], &[(a(), 1), (other, 1)]] {
            assert_eq!(broken(listening.counted(node(1), &counts(wrong))), "P6");
        }
    }

    #[test]
    fn a_gap_is_caught_also_right_after_the_confirmation() {
        let mut listening = subscribed(&a(), 0, 0);
        assert_eq!(broken(hear(&mut listening, &a(), &["0", "2"])), "I06");
        let mut listening = subscribed(&a(), 0, 1);
        assert_eq!(broken(hear(&mut listening, &a(), &["2"])), "I06");
    }

    #[test]
    fn a_duplicate_or_a_step_back_is_caught() {
        let mut listening = subscribed(&a(), 0, 0);
        assert_eq!(broken(hear(&mut listening, &a(), &["0", "1", "1"])), "I06");
        let mut listening = subscribed(&a(), 0, 0);
        assert_eq!(broken(hear(&mut listening, &a(), &["0", "1", "0"])), "I05");
    }

    #[test]
    fn what_was_acknowledged_before_the_subscription_is_caught() {
        let mut listening = subscribed(&a(), 2, 3);
        assert_eq!(broken(hear(&mut listening, &a(), &["1"])), "I08");
    }

    #[test]
    fn two_subscriptions_of_a_connection_share_one_order() {
        let pattern = topic(SubscriptionKind::Pattern, "*");
        let mut listening = subscribed(&a(), 0, 0);
        listening.asked(A, &pattern, 0);
        listening.confirmed(A, &pattern, 0).unwrap();
        listening.listens(A, &pattern).unwrap();
        hear(&mut listening, &a(), &["0"]).unwrap();
        hear(&mut listening, &pattern, &["0"]).unwrap();
        hear(&mut listening, &a(), &["1"]).unwrap();
        hear(&mut listening, &pattern, &["1", "other"]).unwrap();
        hear(&mut listening, &a(), &["2", "3"]).unwrap();
        assert_eq!(broken(hear(&mut listening, &pattern, &["2"])), "I05");
    }

    #[test]
    fn phantoms_wrong_channels_and_ended_subscriptions_are_caught() {
        let mut listening = subscribed(&a(), 0, 0);
        assert_eq!(broken(hear(&mut listening, &a(), &["made up"])), "I02");
        assert_eq!(broken(hear(&mut listening, &a(), &["other"])), "I02");
        listening.stopped(A, &a());
        assert_eq!(broken(hear(&mut listening, &a(), &["0"])), "I06");
    }

    #[test]
    fn who_has_not_heard_everything_is_behind() {
        let mut listening = subscribed(&a(), 0, 0);
        hear(&mut listening, &a(), &["0", "1", "2"]).unwrap();
        let (conn, topic, next) = listening.behind(&canon()).unwrap();
        assert_eq!((conn, topic, next), (A, a(), Bytes::from_static(b"3")));
        listening.closed(A);
        assert_eq!(listening.behind(&canon()), None);
    }
}
