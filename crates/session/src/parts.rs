//! Long lists of names, in parts.
//!
//! A node does what one ask wants in one go. A list of a hundred thousand channels would keep its other clients
//! waiting, so a session asks for it in parts, one after the other, as if the client had sent as many commands. Each
//! name has its own confirmation in any case.

use crate::ask::{Ask, Seq};
use crate::session::Question;
use bytes::Bytes;
use corgi_base::SubscriptionKind;
use std::vec;

/// A part takes a few milliseconds.
const NAMES_MAX: usize = 1000;

/// The names of a command that have not been asked for.
#[derive(Debug)]
pub(crate) struct Parts {
    on: bool,
    kind: SubscriptionKind,
    names: vec::IntoIter<Bytes>,
}

impl Parts {
    /// Leaves the first part in `question`, and returns the others, if there are any.
    pub(crate) fn after_the_first(question: &mut Question) -> Option<Self> {
        let (on, kind, names) = match question {
            Question::Node(Ask::Subscribe { kind, names, .. }) => (true, *kind, names),
            Question::Node(Ask::Unsubscribe { kind, names, .. }) => (false, *kind, names),
            _ => return None,
        };
        (names.len() > NAMES_MAX).then(|| Self {
            on,
            kind,
            names: names.split_off(NAMES_MAX).into_iter(),
        })
    }

    /// Takes the next part.
    pub(crate) fn next(&mut self, seq: Seq) -> Option<Ask> {
        let kind = self.kind;
        let names: Vec<Bytes> = self.names.by_ref().take(NAMES_MAX).collect();
        if names.is_empty() {
            return None;
        }
        Some(if self.on {
            Ask::Subscribe { seq, kind, names }
        } else {
            Ask::Unsubscribe { seq, kind, names }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::Told;
    use crate::env::Env;
    use crate::session::Session;
    use bytes::BytesMut;
    use corgi_base::ClientId;
    use std::sync::Arc;

    #[test]
    fn a_long_list_is_asked_for_in_parts_and_the_next_command_waits_for_the_last() {
        let mut session = Session::new(ClientId(1), Arc::<Env>::default());
        let names: Vec<Bytes> = (0..2500).map(|n| format!("c{n}").into()).collect();
        let mut input = BytesMut::from(&b"SUBSCRIBE"[..]);
        for name in &names {
            input.extend_from_slice(b" ");
            input.extend_from_slice(name);
        }
        input.extend_from_slice(b"\r\nPUBSUB NUMPAT\r\n");
        session.read(&mut input);
        let mut asked = Vec::new();
        for part in [1000, 1000, 500] {
            let asks = session.take_asks();
            let [Ask::Subscribe { seq, kind, names }] = &asks[..] else {
                panic!("{asks:?}");
            };
            assert_eq!(names.len(), part);
            asked.extend(names.clone());
            for (count, name) in (1..).zip(names) {
                session.tell(Told::Subscription {
                    on: true,
                    kind: *kind,
                    name: Some(name.clone()),
                    count,
                });
            }
            session.tell(Told::Done { seq: *seq });
            session.read(&mut input);
        }
        assert_eq!(asked, names);
        assert!(session.output().len() > 2500 * 20);
        // In subscribed mode it is refused, which takes no ask.
        assert!(session.take_asks().is_empty() && input.is_empty());
    }

    #[test]
    fn short_lists_and_other_asks_are_left_alone() {
        let mut question = Question::Node(Ask::Unsubscribe {
            seq: Seq(0),
            kind: SubscriptionKind::Pattern,
            names: vec![Bytes::from_static(b"a"); NAMES_MAX],
        });
        assert!(Parts::after_the_first(&mut question).is_none());
        let mut other = Question::Node(Ask::Reset { seq: Seq(0) });
        assert!(Parts::after_the_first(&mut other).is_none());
    }
}
