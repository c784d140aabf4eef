//! The checker: compares what publishers were told with what subscribers received.
//!
//! Payloads are unique, so every check is a lookup. The outcome of a publish is one of three ([`Outcome`]); an unknown
//! one may have happened, at most once, at any time until the end.
//!
//! Subscribers are of two kinds. A *complete* one was confirmed before the first publish and lived until all were
//! decided: it must have every acknowledged message. A *partial* one lived for a part of that time (its node was
//! killed, or it came later): it must have a run without holes of what the complete ones have.
//!
//! Invariants checked: nothing acknowledged is lost, nothing arrives twice, nothing arrives that was not sent or was
//! refused, all orders are equal, and the messages of one connection keep their order.
//!
//! Not here: where the histories come from. Tested with histories that break each rule once.

use std::collections::HashMap;
use std::fmt;

/// What a publisher knows of one publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged: it must be there.
    Acknowledged,
    /// Refused with an error that says it did not happen: it must not be there.
    Refused,
    /// No answer, or one that says so: it may be there.
    Unknown,
}

/// One publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Unique over all publishers.
    pub payload: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Which of the publisher's connections sent it: order holds within one.
    pub connection: u32,
}

/// Everything that one publisher sent, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublisherHistory {
    /// For messages of the checker.
    pub name: String,
    /// In the order sent.
    pub attempts: Vec<Attempt>,
}

/// Everything that one subscriber received, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriberHistory {
    /// For messages of the checker.
    pub name: String,
    /// Payloads in the order received.
    pub received: Vec<String>,
    /// Whether it was there from before the first publish until all were decided.
    pub complete: bool,
}

/// One broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Acknowledged, and a complete subscriber does not have it.
    Lost {
        /// The subscriber.
        subscriber: String,
        /// The message.
        payload: String,
    },
    /// Received twice.
    Duplicate {
        /// The subscriber.
        subscriber: String,
        /// The message.
        payload: String,
    },
    /// Received, though nobody sent it.
    Phantom {
        /// The subscriber.
        subscriber: String,
        /// The message.
        payload: String,
    },
    /// Received, though its publisher was told that it did not happen.
    Refused {
        /// The subscriber.
        subscriber: String,
        /// The message.
        payload: String,
    },
    /// Not what the reference received next.
    Order {
        /// The subscriber.
        subscriber: String,
        /// The subscriber that it is compared with.
        reference: String,
        /// Where in the subscriber's history.
        at: usize,
        /// What the reference has there, if anything.
        expected: Option<String>,
        /// What the subscriber has there, if anything.
        found: Option<String>,
    },
    /// A message arrived before an earlier one of the same connection.
    PublisherOrder {
        /// The subscriber.
        subscriber: String,
        /// Sent first, received later.
        earlier: String,
        /// Sent later, received first.
        later: String,
    },
    /// The same payload was sent twice: the test is wrong.
    PayloadNotUnique {
        /// The message.
        payload: String,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost {
                subscriber,
                payload,
            } => {
                write!(f, "{subscriber} lost {payload}, which was acknowledged")
            }
            Self::Duplicate {
                subscriber,
                payload,
            } => write!(f, "{subscriber} got {payload} twice"),
            Self::Phantom {
                subscriber,
                payload,
            } => {
                write!(f, "{subscriber} got {payload}, which nobody sent")
            }
            Self::Refused {
                subscriber,
                payload,
            } => {
                write!(f, "{subscriber} got {payload}, which was refused")
            }
            Self::Order {
                subscriber,
                reference,
                at,
                expected,
                found,
            } => write!(
                f,
                "{subscriber} differs from {reference} at {at}: expected {expected:?}, got {found:?}"
            ),
            Self::PublisherOrder {
                subscriber,
                earlier,
                later,
            } => {
                write!(
                    f,
                    "{subscriber} got {later} before {earlier}, which was sent earlier"
                )
            }
            Self::PayloadNotUnique { payload } => write!(f, "{payload} was sent twice"),
        }
    }
}

/// What the checker knows of a payload that was sent.
#[derive(Clone, Copy)]
struct Sent {
    publisher: usize,
    position: usize,
    outcome: Outcome,
    connection: u32,
}

/// Returns every broken promise, in a fixed order; none if all were kept.
pub fn check(publishers: &[PublisherHistory], subscribers: &[SubscriberHistory]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let sent = index_sent(publishers, &mut violations);
    for subscriber in subscribers {
        check_membership(publishers, &sent, subscriber, &mut violations);
        check_publisher_order(publishers, &sent, subscriber, &mut violations);
    }
    check_equal_order(subscribers, &mut violations);
    violations
}

/// Checks, and fails the test with all that was found.
///
/// # Panics
/// If a promise was broken. The text names the first ones.
pub fn assert_kept(publishers: &[PublisherHistory], subscribers: &[SubscriberHistory]) {
    let violations = check(publishers, subscribers);
    let shown: Vec<String> = violations
        .iter()
        .take(20)
        .map(ToString::to_string)
        .collect();
    assert!(
        violations.is_empty(),
        "{} broken promises, the first:\n{}",
        violations.len(),
        shown.join("\n")
    );
}

fn index_sent<'a>(
    publishers: &'a [PublisherHistory],
    violations: &mut Vec<Violation>,
) -> HashMap<&'a str, Sent> {
    let mut sent = HashMap::new();
    for (publisher, history) in publishers.iter().enumerate() {
        for (position, attempt) in history.attempts.iter().enumerate() {
            let entry = Sent {
                publisher,
                position,
                outcome: attempt.outcome,
                connection: attempt.connection,
            };
            if sent.insert(attempt.payload.as_str(), entry).is_some() {
                violations.push(Violation::PayloadNotUnique {
                    payload: attempt.payload.clone(),
                });
            }
        }
    }
    sent
}

/// No loss, no duplicate, no phantom, nothing that was refused.
fn check_membership(
    publishers: &[PublisherHistory],
    sent: &HashMap<&str, Sent>,
    subscriber: &SubscriberHistory,
    violations: &mut Vec<Violation>,
) {
    let name = || subscriber.name.clone();
    let mut times: HashMap<&str, u32> = HashMap::new();
    for payload in &subscriber.received {
        let count = times.entry(payload).or_default();
        *count += 1;
        if *count == 2 {
            violations.push(Violation::Duplicate {
                subscriber: name(),
                payload: payload.clone(),
            });
        }
        match sent.get(payload.as_str()).map(|sent| sent.outcome) {
            None => {
                violations.push(Violation::Phantom {
                    subscriber: name(),
                    payload: payload.clone(),
                });
            }
            Some(Outcome::Refused) => {
                violations.push(Violation::Refused {
                    subscriber: name(),
                    payload: payload.clone(),
                });
            }
            Some(Outcome::Acknowledged | Outcome::Unknown) => {}
        }
    }
    if !subscriber.complete {
        return;
    }
    for attempt in publishers.iter().flat_map(|history| &history.attempts) {
        if attempt.outcome == Outcome::Acknowledged && !times.contains_key(attempt.payload.as_str())
        {
            let payload = attempt.payload.clone();
            violations.push(Violation::Lost {
                subscriber: name(),
                payload,
            });
        }
    }
}

/// Within one connection of one publisher, positions only grow.
fn check_publisher_order(
    publishers: &[PublisherHistory],
    sent: &HashMap<&str, Sent>,
    subscriber: &SubscriberHistory,
    violations: &mut Vec<Violation>,
) {
    let mut last: HashMap<(usize, u32), usize> = HashMap::new();
    for payload in &subscriber.received {
        let Some(entry) = sent.get(payload.as_str()) else {
            continue;
        };
        let highest = last
            .entry((entry.publisher, entry.connection))
            .or_insert(entry.position);
        if entry.position < *highest {
            violations.push(Violation::PublisherOrder {
                subscriber: subscriber.name.clone(),
                earlier: payload.clone(),
                later: publishers[entry.publisher].attempts[*highest]
                    .payload
                    .clone(),
            });
        }
        *highest = (*highest).max(entry.position);
    }
}

/// Complete subscribers received the same; partial ones a run of it.
fn check_equal_order(subscribers: &[SubscriberHistory], violations: &mut Vec<Violation>) {
    let Some(reference) = subscribers.iter().find(|subscriber| subscriber.complete) else {
        return;
    };
    let positions: HashMap<&str, usize> = reference
        .received
        .iter()
        .enumerate()
        .map(|(at, p)| (p.as_str(), at))
        .collect();
    for subscriber in subscribers {
        let start = if subscriber.complete {
            0
        } else {
            let first = subscriber.received.first();
            first
                .and_then(|payload| positions.get(payload.as_str()))
                .copied()
                .unwrap_or_default()
        };
        let expected = &reference.received[start..];
        let differs = subscriber
            .received
            .iter()
            .zip(expected)
            .position(|(got, want)| got != want);
        let shorter = subscriber.received.len().min(expected.len());
        let wrong_end = subscriber.received.len() > expected.len()
            || (subscriber.complete && subscriber.received.len() < expected.len());
        if let Some(at) = differs.or_else(|| wrong_end.then_some(shorter)) {
            violations.push(Violation::Order {
                subscriber: subscriber.name.clone(),
                reference: reference.name.clone(),
                at,
                expected: expected.get(at).cloned(),
                found: subscriber.received.get(at).cloned(),
            });
        }
    }
}

#[cfg(test)]
mod tests;
