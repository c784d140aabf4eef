//! How much of each channel is kept.

use bytes::Bytes;
use corgi_base::glob;

/// How much of a channel is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The newest so many messages; 0 keeps none.
    pub maxlen: u64,
    /// Those of the last so many milliseconds of log time; 0 keeps none.
    pub ttl_ms: u64,
}

impl Retention {
    /// Whether anything is kept.
    pub fn keeps(self) -> bool {
        self.maxlen > 0 && self.ttl_ms > 0
    }
}

impl Default for Retention {
    /// 1,000 messages, for five minutes.
    fn default() -> Self {
        Self {
            maxlen: 1000,
            ttl_ms: 300_000,
        }
    }
}

/// How much of which channels is kept, and of all together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// For channels that match a pattern; the first one that matches counts.
    pub patterns: Vec<(Bytes, Retention)>,
    /// For all others.
    pub others: Retention,
    /// Bytes of all that is kept, each message with [`super::MESSAGE_BYTES`] for what it takes besides its payload.
    pub max_bytes: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            patterns: Vec::new(),
            others: Retention::default(),
            max_bytes: 1 << 30,
        }
    }
}

impl Rules {
    /// Returns how much of a channel is kept.
    pub fn of(&self, channel: &[u8]) -> Retention {
        let rule = self
            .patterns
            .iter()
            .find(|(pattern, _)| glob::matches(pattern, channel));
        rule.map_or(self.others, |(_, retention)| *retention)
    }
}
