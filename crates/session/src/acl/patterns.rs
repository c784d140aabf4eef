//! Which keys and channels a selector allows.

use super::rule::RuleError;
use crate::keys::{ChannelUse, KeyFlags};
use bytes::Bytes;
use corgi_base::glob;

/// What may be done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) read: bool,
    pub(super) write: bool,
}

impl Access {
    const ALL: Self = Self {
        read: true,
        write: true,
    };

    /// Returns what a command with these flags needs.
    fn needed(flags: KeyFlags) -> Self {
        let writes = [KeyFlags::INSERT, KeyFlags::DELETE, KeyFlags::UPDATE];
        Self {
            read: flags.contains(KeyFlags::ACCESS),
            write: writes.iter().any(|flag| flags.contains(*flag)),
        }
    }

    fn covers(self, needed: Self) -> bool {
        (self.read || !needed.read) && (self.write || !needed.write)
    }
}

/// The keys that are allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Keys {
    all: bool,
    patterns: Vec<(Access, Bytes)>,
}

impl Keys {
    pub(super) fn set_all(&mut self, all: bool) {
        self.all = all;
        self.patterns.clear();
    }

    /// Takes `~pattern`, or `%R~pattern` and its kin.
    pub(super) fn add(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        if self.all {
            return Err(RuleError::AfterAllKeys);
        }
        let mut access = Access {
            read: false,
            write: false,
        };
        let (access, pattern) = match rule {
            [b'~', pattern @ ..] => (Access::ALL, pattern),
            [b'%', rest @ ..] => {
                let mut rest = rest;
                loop {
                    match rest {
                        [b'R' | b'r', tail @ ..] if !access.read => {
                            access.read = true;
                            rest = tail;
                        }
                        [b'W' | b'w', tail @ ..] if !access.write => {
                            access.write = true;
                            rest = tail;
                        }
                        [b'~', pattern @ ..] if access.read || access.write => {
                            break (access, pattern);
                        }
                        _ => return Err(RuleError::Syntax),
                    }
                }
            }
            _ => return Err(RuleError::Syntax),
        };
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        match self.patterns.iter_mut().find(|(_, old)| old == pattern) {
            Some((old, _)) => {
                old.read |= access.read;
                old.write |= access.write;
            }
            None => {
                let pattern = Bytes::copy_from_slice(pattern);
                self.patterns.push((access, pattern));
            }
        }
        // `%R~* %W~*` is shown as `~*`, and so it must be the same.
        if self
            .patterns
            .iter()
            .any(|(access, pattern)| *access == Access::ALL && pattern == "*")
        {
            self.set_all(true);
        }
        Ok(())
    }

    pub(super) fn all(&self) -> bool {
        self.all
    }

    pub(super) fn allow(&self, key: &[u8], flags: KeyFlags) -> bool {
        let needed = Access::needed(flags);
        self.all
            || self
                .patterns
                .iter()
                .any(|(access, pattern)| access.covers(needed) && glob::matches(pattern, key))
    }

    /// Returns the rules as `ACL LIST` shows them; empty for none.
    pub(super) fn describe(&self) -> Vec<u8> {
        if self.all {
            return b"~*".to_vec();
        }
        let rule = |(access, pattern): &(Access, Bytes)| {
            let sign: &[u8] = match (access.read, access.write) {
                (true, true) => b"~",
                (true, false) => b"%R~",
                (false, _) => b"%W~",
            };
            [sign, pattern].concat()
        };
        let rules: Vec<_> = self.patterns.iter().map(rule).collect();
        rules.join(&b' ')
    }
}

/// The channels that are allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Channels {
    all: bool,
    patterns: Vec<Bytes>,
}

impl Channels {
    pub(super) fn new(all: bool) -> Self {
        Self {
            all,
            patterns: Vec::new(),
        }
    }

    pub(super) fn set_all(&mut self, all: bool) {
        *self = Self::new(all);
    }

    /// Takes the pattern of `&pattern`.
    pub(super) fn add(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        if self.all {
            return Err(RuleError::AfterAllChannels);
        }
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        if !self.patterns.iter().any(|old| old == pattern) {
            self.patterns.push(Bytes::copy_from_slice(pattern));
        }
        Ok(())
    }

    pub(super) fn all(&self) -> bool {
        self.all
    }

    /// Returns whether a channel may be used. A pattern must be one of the patterns, letter by letter: whether one
    /// pattern is contained in another is a question without a simple answer.
    pub(super) fn allow(&self, name: &[u8], used: ChannelUse) -> bool {
        self.all
            || self.patterns.iter().any(|pattern| match used {
                ChannelUse::SubscribePattern => pattern == name,
                ChannelUse::Publish | ChannelUse::Subscribe => glob::matches(pattern, name),
            })
    }

    /// Returns the patterns as `ACL GETUSER` shows them; empty for none.
    pub(super) fn describe(&self) -> Vec<u8> {
        if self.all {
            return b"&*".to_vec();
        }
        let rules: Vec<_> = self
            .patterns
            .iter()
            .map(|pattern| [b"&", &pattern[..]].concat())
            .collect();
        rules.join(&b' ')
    }
}

/// Definitions are lines of words, so that no word may hold what separates them.
pub(super) fn has_spaces(word: &[u8]) -> bool {
    word.iter()
        .any(|byte| matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r' | 0))
}
