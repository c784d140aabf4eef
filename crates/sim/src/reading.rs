//! What clients make of the bytes that they read: every frame must be what is due.

use crate::clients::{Pending, Role};
use crate::history::{ConnId, Outcome, Record, Topic, Violation, label};
use crate::resp::{Value, take};
use crate::world::{Event, World};
use bytes::Bytes;
use corgi_base::SubscriptionKind;

/// What tells the last word to a subscriber from the answer to a write.
const LOST: &[u8] = b"no majority has answered this node";
/// What a node says to all its clients before it stops, because it was removed.
const REMOVED: &[u8] = b"was removed from the cluster";

fn says(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|part| part == words)
}

impl World {
    pub(crate) fn down(&mut self, conn: ConnId, bytes: &Bytes) -> Result<(), Violation> {
        self.trace.mix_bytes(bytes);
        self.trace
            .say(|| format!("{conn:?} gets {:?}", crate::wire::shown(bytes)));
        let Some(id) = self.arrived(conn, bytes) else {
            return Ok(());
        };
        if self.clients[id].chunk.is_none() || self.draining {
            self.client_reads(id, usize::MAX)?;
        }
        Ok(())
    }

    /// A client reads up to so many bytes, frame by frame.
    pub(crate) fn client_reads(&mut self, id: usize, max: usize) -> Result<(), Violation> {
        let Some(conn) = self.clients[id].conn else {
            return Ok(());
        };
        let mut read = 0;
        while read < max && self.clients[id].conn == Some(conn) {
            let Some(found) = self.conns.get_mut(&conn) else {
                break;
            };
            let before = found.unread.len();
            let value = match take(&mut found.unread) {
                Ok(Some(value)) => value,
                Ok(None) => {
                    // A frame larger than the window needs room to become whole.
                    self.make_room(conn, read, true);
                    return Ok(());
                }
                Err(text) => return Violation::of("resp", format!("{conn:?}: {text}")),
            };
            read += before - found.unread.len();
            self.client_hears(id, conn, value)?;
        }
        self.make_room(conn, read, false);
        Ok(())
    }

    /// Tells the node's side that the client has taken bytes out of its buffers: the frames that it
    /// has read and, if `all`, the incomplete one behind them, which waits in the client's memory.
    fn make_room(&mut self, conn: ConnId, read: usize, all: bool) {
        let wait = self.rng.between(50, 2000);
        if let Some(found) = self.conns.get_mut(&conn) {
            let bytes = found.taken(read, all);
            if bytes > 0 {
                self.after(wait, Event::Room { conn, bytes });
            }
        }
    }

    fn client_hears(&mut self, id: usize, conn: ConnId, value: Value) -> Result<(), Violation> {
        let resp3 = self.clients[id].resp3;
        match value {
            Value::Push(items) if resp3 => self.pushed(id, conn, items),
            Value::Array(items) if !resp3 => self.pushed(id, conn, items),
            Value::Array(_) if self.clients[id].pending.front() == Some(&Pending::Hello) => {
                self.clients[id].pending.pop_front();
                Ok(())
            }
            Value::Integer(_) => self.published(id, Outcome::Ok),
            Value::Simple(_) => match self.clients[id].pending.pop_front() {
                Some(Pending::Errand(errand)) => {
                    self.errand_ended(errand, Outcome::Ok)?;
                    self.client_leaves(id)
                }
                other => Violation::of("P4", format!("+OK, but {other:?} is due")),
            },
            Value::Error(text) => self.refused(id, conn, &text),
            value => Violation::of("resp", format!("{conn:?} reads {value:?}")),
        }
    }

    fn pushed(&mut self, id: usize, conn: ConnId, items: Vec<Value>) -> Result<(), Violation> {
        let mut parts = Vec::new();
        for item in items {
            match item {
                Value::Bulk(bytes) => parts.push(bytes),
                Value::Integer(_) => {}
                item => return Violation::of("resp", format!("{conn:?} reads {item:?} in a push")),
            }
        }
        let mut parts = parts.into_iter();
        let mut part = || parts.next().unwrap_or_default();
        let what = part();
        let (kind, name) = match &what[..] {
            b"message" | b"subscribe" | b"unsubscribe" => (SubscriptionKind::Channel, part()),
            b"pmessage" | b"psubscribe" | b"punsubscribe" => (SubscriptionKind::Pattern, part()),
            b"smessage" | b"ssubscribe" | b"sunsubscribe" => (SubscriptionKind::Shard, part()),
            what => return Violation::of("resp", format!("{conn:?} reads a push {what:?}")),
        };
        let topic = Topic { kind, name };
        match &what[..] {
            b"message" | b"smessage" => {
                let channel = topic.name.clone();
                self.heard(id, conn, topic, channel, part())
            }
            b"pmessage" => {
                let channel = part();
                self.heard(id, conn, topic, channel, part())
            }
            b"subscribe" | b"psubscribe" | b"ssubscribe" => self.confirmed(id, conn, topic),
            _ => self.left(id, conn, topic),
        }
    }

    fn heard(
        &mut self,
        id: usize,
        conn: ConnId,
        topic: Topic,
        channel: Bytes,
        payload: Bytes,
    ) -> Result<(), Violation> {
        let unanswered = |pending: &Pending| match pending {
            Pending::Publish { payload: own, .. } => *own == payload,
            Pending::Hello
            | Pending::Listen { .. }
            | Pending::Leave { .. }
            | Pending::Errand(_) => false,
        };
        if self.clients[id].pending.iter().any(unanswered) {
            let name = label(&payload);
            let text = format!("{conn:?} heard its own {name} before the reply to it");
            return Violation::of("P4", text);
        }
        self.record(&Record::Heard {
            conn,
            topic,
            channel,
            payload,
        })
    }

    fn confirmed(&mut self, id: usize, conn: ConnId, topic: Topic) -> Result<(), Violation> {
        self.clients[id].unblocked = self.now;
        match self.clients[id].pending.pop_front() {
            Some(Pending::Listen { topic: asked, .. }) if asked == topic => {
                self.record(&Record::Listens { conn, topic })
            }
            other => {
                let text = format!("{conn:?} is confirmed {topic:?}, but waits for {other:?}");
                Violation::of("P4", text)
            }
        }
    }

    fn left(&mut self, id: usize, conn: ConnId, topic: Topic) -> Result<(), Violation> {
        match self.clients[id].pending.pop_front() {
            Some(Pending::Leave { topic: asked }) if asked == topic => {
                self.record(&Record::Stopped { conn, topic })
            }
            other => {
                let text = format!("{conn:?} has left {topic:?}, but waits for {other:?}");
                Violation::of("P4", text)
            }
        }
    }

    fn published(&mut self, id: usize, outcome: Outcome) -> Result<(), Violation> {
        match self.clients[id].pending.pop_front() {
            Some(Pending::Publish { payload, .. }) => {
                let client = &mut self.clients[id];
                client.done |= outcome == Outcome::Ok;
                self.record(&Record::Returned { payload, outcome })
            }
            other => Violation::of("P4", format!("an answer to PUBLISH, but {other:?} is due")),
        }
    }

    fn refused(&mut self, id: usize, conn: ConnId, text: &Bytes) -> Result<(), Violation> {
        let code = text.split(|byte| *byte == b' ').next().unwrap_or_default();
        let front = self.clients[id].pending.front().cloned();
        match (code, front) {
            // Stands for no answer: the connection ends behind it.
            (b"LAGGED", _) => Ok(()),
            (b"CLUSTERDOWN", _) if says(text, REMOVED) => Ok(()),
            (_, Some(Pending::Errand(errand))) => {
                self.clients[id].pending.pop_front();
                let unknown = code == b"INDETERMINATE";
                let end = if unknown {
                    Outcome::Unknown
                } else {
                    Outcome::Failed
                };
                self.errand_ended(errand, end)?;
                self.client_leaves(id)
            }
            // The last word to a subscriber whose node has lost its majority; it answers no command but `SUBSCRIBE`.
            (b"CLUSTERDOWN", front)
                if says(text, LOST) && !matches!(front, Some(Pending::Listen { .. })) =>
            {
                Ok(())
            }
            (b"INDETERMINATE", Some(Pending::Publish { .. })) => {
                self.published(id, Outcome::Unknown)
            }
            (b"CLUSTERDOWN" | b"TRYAGAIN" | b"MISCONF", Some(Pending::Publish { .. })) => {
                self.published(id, Outcome::Failed)
            }
            (b"CLUSTERDOWN", Some(Pending::Listen { command, .. })) => {
                let of_command = |pending: &mut Pending| match pending {
                    Pending::Listen { command: of, .. } => *of == command,
                    Pending::Hello
                    | Pending::Publish { .. }
                    | Pending::Leave { .. }
                    | Pending::Errand(_) => false,
                };
                let client = &mut self.clients[id];
                client.unblocked = self.now;
                while client.pending.pop_front_if(of_command).is_some() {}
                // A subscriber that does not listen tries elsewhere.
                match client.role {
                    Role::Subscriber | Role::Echo => self.client_leaves(id),
                    Role::Publisher | Role::Churner | Role::Probe | Role::Admin => Ok(()),
                }
            }
            (_, front) => {
                let text = String::from_utf8_lossy(text);
                Violation::of(
                    "P5",
                    format!("{conn:?} reads {text:?} when {front:?} is due"),
                )
            }
        }
    }
}
