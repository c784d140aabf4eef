//! How much of each channel's messages is kept, changes of that, and their bytes.
//!
//! ```text
//! rules     = others:retention max_bytes:u64 patterns
//! change    = maxlen:u64? ttl_ms:u64? max_bytes:u64? patterns?
//! patterns  = count:u32 (pattern:bytes retention)*
//! retention = maxlen:u64 ttl_ms:u64
//! (x? = 0x00 | 0x01 x)
//! ```

use crate::codec::{DecodeError, Put, Reader};
use crate::glob;
use bytes::Bytes;
use std::fmt;

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

    fn put(self, out: &mut impl Put) {
        out.u64(self.maxlen);
        out.u64(self.ttl_ms);
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            maxlen: r.u64("history length")?,
            ttl_ms: r.u64("history ttl")?,
        })
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

/// Retentions by pattern; the first pattern that matches counts.
pub type Patterns = Vec<(Bytes, Retention)>;

/// How much of which channels is kept, and of all together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// For channels that match a pattern.
    pub patterns: Patterns,
    /// For all others.
    pub others: Retention,
    /// Bytes of all that is kept, payloads and what each message takes besides.
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

    /// Whether something of every channel is kept.
    pub fn keep_all(&self) -> bool {
        let mut all = self.patterns.iter().map(|(_, retention)| *retention);
        self.others.keeps() && all.all(Retention::keeps)
    }

    /// Puts the bytes.
    pub fn put(&self, out: &mut impl Put) {
        self.others.put(out);
        out.u64(self.max_bytes);
        put_patterns(&self.patterns, out);
    }

    /// Reads the bytes. Patterns are copies: rules are kept for long, and must not keep what they were read from.
    ///
    /// # Errors
    /// [`DecodeError`] if they are no rules.
    pub fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            others: Retention::decode(r)?,
            max_bytes: r.u64("history bytes")?,
            patterns: patterns(r)?,
        })
    }
}

/// A change of rules; what it does not name stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RulesChange {
    /// The length of channels that match no pattern.
    pub maxlen: Option<u64>,
    /// Their age, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// The bytes of all together.
    pub max_bytes: Option<u64>,
    /// All patterns.
    pub patterns: Option<Patterns>,
}

impl RulesChange {
    /// Returns rules with the change.
    #[must_use]
    pub fn applied_to(&self, rules: &Rules) -> Rules {
        let Retention { maxlen, ttl_ms } = rules.others;
        Rules {
            patterns: self.patterns.as_ref().unwrap_or(&rules.patterns).clone(),
            others: Retention {
                maxlen: self.maxlen.unwrap_or(maxlen),
                ttl_ms: self.ttl_ms.unwrap_or(ttl_ms),
            },
            max_bytes: self.max_bytes.unwrap_or(rules.max_bytes),
        }
    }

    /// Puts the bytes.
    pub fn put(&self, out: &mut impl Put) {
        for number in [self.maxlen, self.ttl_ms, self.max_bytes] {
            out.flag(number.is_some());
            number.into_iter().for_each(|number| out.u64(number));
        }
        out.flag(self.patterns.is_some());
        if let Some(patterns) = &self.patterns {
            put_patterns(patterns, out);
        }
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// [`DecodeError`] if they are no change of rules.
    pub fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        let number = |r: &mut Reader| match there(r)? {
            true => Ok(Some(r.u64("history rule")?)),
            false => Ok(None),
        };
        Ok(Self {
            maxlen: number(r)?,
            ttl_ms: number(r)?,
            max_bytes: number(r)?,
            patterns: if there(r)? { Some(patterns(r)?) } else { None },
        })
    }
}

/// As log dumps show them.
impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = RulesChange {
            maxlen: Some(self.others.maxlen),
            ttl_ms: Some(self.others.ttl_ms),
            max_bytes: Some(self.max_bytes),
            patterns: Some(self.patterns.clone()),
        };
        all.fmt(f)
    }
}

impl fmt::Display for RulesChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("history")?;
        let numbers = [
            ("maxlen", self.maxlen),
            ("ttl-ms", self.ttl_ms),
            ("maxbytes", self.max_bytes),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                write!(f, " {name}={number}")?;
            }
        }
        for (pattern, retention) in self.patterns.iter().flatten() {
            let Retention { maxlen, ttl_ms } = retention;
            write!(f, " \"{}\"={maxlen}/{ttl_ms}", pattern.escape_ascii())?;
        }
        Ok(())
    }
}

fn there(r: &mut Reader) -> Result<bool, DecodeError> {
    let field = "history rule is there";
    match r.u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::Invalid { field }),
    }
}

fn put_patterns(patterns: &Patterns, out: &mut impl Put) {
    out.u32(u32::try_from(patterns.len()).expect("limits keep every list below 4 billion"));
    for (pattern, retention) in patterns {
        out.bytes(pattern);
        retention.put(out);
    }
}

fn patterns(r: &mut Reader) -> Result<Patterns, DecodeError> {
    let mut patterns = Vec::new();
    for _ in 0..r.u32("history patterns")? {
        let pattern = Bytes::copy_from_slice(&r.bytes("history pattern")?);
        patterns.push((pattern, Retention::decode(r)?));
    }
    Ok(patterns)
}
