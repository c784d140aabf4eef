//! Checks that a subscriber gets all messages of each publisher, once, in the order that they were sent.

use std::fmt;

/// What was wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Messages before this one have not come.
    Lost {
        /// Whose.
        publisher: u32,
        /// The first that is missing.
        from: u64,
        /// The one that came instead.
        came: u64,
    },
    /// It came before, or after one that was sent later.
    Again {
        /// Whose.
        publisher: u32,
        /// The one that came.
        came: u64,
        /// The one that was next.
        next: u64,
    },
    /// It is of nobody that is known, or has no head.
    Unknown,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Lost {
                publisher,
                from,
                came,
            } => write!(
                f,
                "of publisher {publisher} the messages {from} to {} are missing",
                came.saturating_sub(1)
            ),
            Self::Again {
                publisher,
                came,
                next,
            } => write!(
                f,
                "of publisher {publisher} message {came} came where {next} was next: doubled or out of order"
            ),
            Self::Unknown => write!(f, "a message came that nobody here has sent"),
        }
    }
}

impl std::error::Error for Broken {}

/// What one subscriber expects next of each publisher.
#[derive(Clone, Debug)]
pub struct Order {
    next: Vec<u64>,
}

impl Order {
    /// Returns a subscriber that has seen nothing of `publishers` publishers.
    pub fn new(publishers: usize) -> Self {
        Self {
            next: vec![0; publishers],
        }
    }

    /// Takes a message by the head of its payload.
    ///
    /// # Errors
    /// If it is not the next one of its publisher.
    pub fn see(&mut self, head: Option<(u32, u64)>) -> Result<(), Broken> {
        let (publisher, came) = head.ok_or(Broken::Unknown)?;
        let next = self.next.get_mut(publisher as usize);
        let next = next.ok_or(Broken::Unknown)?;
        if came > *next {
            return Err(Broken::Lost {
                publisher,
                from: *next,
                came,
            });
        }
        if came < *next {
            return Err(Broken::Again {
                publisher,
                came,
                next: *next,
            });
        }
        *next += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small generator, so that the shuffles are the same in every run.
    fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    /// Messages of three publishers, mixed, each publisher's in order.
    fn mixed(seed: &mut u64) -> Vec<(u32, u64)> {
        let mut sent = [0; 3];
        (0..200)
            .map(|_| {
                let publisher = u32::try_from(random(seed) % 3).expect("small");
                let at = &mut sent[publisher as usize];
                *at += 1;
                (publisher, *at - 1)
            })
            .collect()
    }

    fn check(messages: &[(u32, u64)]) -> Result<(), Broken> {
        let mut order = Order::new(3);
        messages
            .iter()
            .try_for_each(|message| order.see(Some(*message)))
    }

    #[test]
    fn loss_doubles_and_reordering_are_found() {
        let mut seed = 0x5eed;
        for _ in 0..200 {
            let messages = mixed(&mut seed);
            assert_eq!(check(&messages), Ok(()));
            // A message that another of its publisher follows, so that the hole can be seen.
            let at = usize::try_from(random(&mut seed)).unwrap_or(7) % 100;
            let (publisher, number) = messages[at];

            let mut lost = messages.clone();
            lost.remove(at);
            let found = Broken::Lost {
                publisher,
                from: number,
                came: number + 1,
            };
            assert_eq!(check(&lost), Err(found));

            let mut doubled = messages.clone();
            doubled.insert(at + 1, messages[at]);
            let found = Broken::Again {
                publisher,
                came: number,
                next: number + 1,
            };
            assert_eq!(check(&doubled), Err(found));

            let mut swapped = messages.clone();
            let later = (at + 1..).find(|later| messages[*later].0 == publisher);
            swapped.swap(at, later.expect("another follows"));
            assert!(matches!(check(&swapped), Err(Broken::Lost { .. })));
        }
    }

    #[test]
    fn what_nobody_sent_is_found() {
        assert_eq!(check(&[(3, 0)]), Err(Broken::Unknown));
        assert_eq!(Order::new(1).see(None), Err(Broken::Unknown));
    }
}
