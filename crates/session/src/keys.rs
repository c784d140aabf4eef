//! Where a command's arguments name keys and channels: for access control, and for clients that route by keys
//! (<https://redis.io/docs/latest/develop/reference/key-specs/>).

use bytes::Bytes;

/// What a command does with a key, as `COMMAND INFO` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyFlags(u16);

impl KeyFlags {
    /// Reads and writes the key.
    pub const RW: Self = Self(1);
    /// Only reads it.
    pub const RO: Self = Self(1 << 1);
    /// Only writes it.
    pub const OW: Self = Self(1 << 2);
    /// Only removes it.
    pub const RM: Self = Self(1 << 3);
    /// Its value may be returned, copied or used.
    pub const ACCESS: Self = Self(1 << 4);
    /// Its value may be changed.
    pub const UPDATE: Self = Self(1 << 5);
    /// Something may be added to its value.
    pub const INSERT: Self = Self(1 << 6);
    /// Something may be removed from its value.
    pub const DELETE: Self = Self(1 << 7);
    /// Not a key, but routed like one.
    pub const NOT_KEY: Self = Self(1 << 8);

    /// What it does depends on the other arguments.
    pub const VARIABLE: Self = Self(1 << 9);

    const NAMES: [(Self, &'static str); 10] = [
        (Self::RW, "RW"),
        (Self::RO, "RO"),
        (Self::OW, "OW"),
        (Self::RM, "RM"),
        (Self::ACCESS, "access"),
        (Self::UPDATE, "update"),
        (Self::INSERT, "insert"),
        (Self::DELETE, "delete"),
        (Self::NOT_KEY, "not_key"),
        (Self::VARIABLE, "variable_flags"),
    ];

    /// Returns whether all of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns the flags of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns the names that `COMMAND INFO` shows, in Redis' order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .into_iter()
            .filter(move |(flag, _)| self.contains(*flag))
            .map(|(_, name)| name)
    }
}

/// Where the first key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeginSearch {
    /// At this argument, the command's name being 0.
    Index(usize),
    /// After this word, in any case, looked for from an argument on.
    Keyword {
        /// The word, in upper case.
        word: &'static str,
        /// The first argument that may be it.
        from: usize,
    },
}

/// Which arguments from the first key on are keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindKeys {
    /// A range.
    Range {
        /// The last one, counted from the first; -1 is the last argument, -2 the one before.
        last: i32,
        /// From key to key.
        step: usize,
        /// With a `last` of -1: only the first of so many equal parts holds keys; 0 and 1 for all.
        limit: usize,
    },
    /// As many as an argument says.
    KeyNum {
        /// Where the number stands, counted from the begin.
        number: usize,
        /// Where the first key stands, counted from the begin.
        first: usize,
        /// From key to key.
        step: usize,
    },
}

/// One group of a command's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// What the command does with them.
    pub flags: KeyFlags,
    /// Where they begin.
    pub begin: BeginSearch,
    /// Which ones they are.
    pub find: FindKeys,
}

impl KeySpec {
    /// Returns a spec for the one key at argument `index`.
    pub const fn one(flags: KeyFlags, index: usize) -> Self {
        Self::range(flags, index, 0)
    }

    /// Returns a spec for the keys from argument `index` to `last`, counted from there, or from the end if negative.
    pub const fn range(flags: KeyFlags, index: usize, last: i32) -> Self {
        let find = FindKeys::Range {
            last,
            step: 1,
            limit: 0,
        };
        Self {
            flags,
            begin: BeginSearch::Index(index),
            find,
        }
    }

    /// Returns a spec for the keys among the pairs from argument `index` to the last.
    pub const fn pairs(flags: KeyFlags, index: usize) -> Self {
        let find = FindKeys::Range {
            last: -1,
            step: 2,
            limit: 0,
        };
        Self {
            flags,
            begin: BeginSearch::Index(index),
            find,
        }
    }

    /// Returns what is done with the keys of a request, the name counted. Where it depends on the arguments that is
    /// `SET`, which reads only with `GET`.
    pub fn flags_in(&self, args: &[Bytes]) -> KeyFlags {
        let variable = self.flags.contains(KeyFlags::VARIABLE);
        let mut options = args.iter().skip(3);
        if variable && !options.any(|arg| arg.eq_ignore_ascii_case(b"get")) {
            return KeyFlags::OW.with(KeyFlags::UPDATE);
        }
        self.flags.without(KeyFlags::VARIABLE)
    }

    /// Returns which of the arguments, the name counted, are keys. Arguments that do not fit give none.
    pub fn find(&self, args: &[Bytes]) -> Vec<usize> {
        let Some(begin) = self.begin(args) else {
            return Vec::new();
        };
        match self.find {
            FindKeys::Range { last, step, limit } => {
                let end = match usize::try_from(last) {
                    Ok(last) => begin + last + 1,
                    Err(_) if limit > 1 => begin + args.len().saturating_sub(begin) / limit,
                    Err(_) => {
                        let behind = usize::try_from(-1 - last).unwrap_or(0);
                        args.len().saturating_sub(behind)
                    }
                };
                (begin..end.min(args.len())).step_by(step.max(1)).collect()
            }
            FindKeys::KeyNum {
                number,
                first,
                step,
            } => {
                let count = args
                    .get(begin + number)
                    .and_then(|arg| std::str::from_utf8(arg).ok()?.parse::<usize>().ok());
                let keys = (begin + first..args.len()).step_by(step.max(1));
                // A number that is too large is refused, so that nothing is done with any.
                let count = count.filter(|count| *count <= keys.len());
                keys.take(count.unwrap_or(0)).collect()
            }
        }
    }

    fn begin(&self, args: &[Bytes]) -> Option<usize> {
        let at = match self.begin {
            BeginSearch::Index(index) => index,
            BeginSearch::Keyword { word, from } => {
                let rest = args.get(from..)?;
                let is_word = |arg: &Bytes| arg.eq_ignore_ascii_case(word.as_bytes());
                from + rest.iter().position(is_word)? + 1
            }
        };
        (at < args.len()).then_some(at)
    }
}

/// What a command does with the channels that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelUse {
    /// Publishes to them.
    Publish,
    /// Listens to them.
    Subscribe,
    /// Listens to the patterns that they are.
    SubscribePattern,
}

/// A command's channels: the arguments from `first` on, one or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelSpec {
    /// What for.
    pub used: ChannelUse,
    /// The first one, the command's name being 0.
    pub first: usize,
    /// Whether all arguments that follow are channels too.
    pub all: bool,
}

impl ChannelSpec {
    /// Returns a spec for publishing to the channel in argument 1.
    pub const PUBLISH: Self = Self {
        used: ChannelUse::Publish,
        first: 1,
        all: false,
    };
    /// Returns a spec for listening to all channels from argument 1 on.
    pub const SUBSCRIBE: Self = Self {
        used: ChannelUse::Subscribe,
        first: 1,
        all: true,
    };
    /// Returns a spec for listening to all patterns from argument 1 on.
    pub const PSUBSCRIBE: Self = Self {
        used: ChannelUse::SubscribePattern,
        first: 1,
        all: true,
    };

    /// Returns the channels among the arguments, the name counted.
    pub fn find<'a>(&self, args: &'a [Bytes]) -> &'a [Bytes] {
        let found = args.get(self.first..).unwrap_or_default();
        let count = if self.all { found.len() } else { 1 };
        &found[..count.min(found.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Vec<Bytes> {
        line.split(' ')
            .map(|word| Bytes::copy_from_slice(word.as_bytes()))
            .collect()
    }

    fn spec(begin: BeginSearch, find: FindKeys) -> KeySpec {
        KeySpec {
            flags: KeyFlags::RO,
            begin,
            find,
        }
    }

    #[test]
    fn ranges_count_from_the_first_key_or_from_the_end() {
        let one = KeySpec::one(KeyFlags::RW, 1);
        assert_eq!(one.find(&args("xadd s * f v")), [1]);
        assert!(one.find(&args("xadd")).is_empty());
        let all = KeySpec::range(KeyFlags::RO, 1, -1);
        assert_eq!(all.find(&args("watch a b c")), [1, 2, 3]);
        let but_last = KeySpec::range(KeyFlags::RO, 1, -2);
        assert_eq!(but_last.find(&args("blpop a b 0")), [1, 2]);
    }

    #[test]
    fn a_keyword_and_a_limit_find_the_keys_of_xread() {
        let streams = BeginSearch::Keyword {
            word: "STREAMS",
            from: 1,
        };
        let half = FindKeys::Range {
            last: -1,
            step: 1,
            limit: 2,
        };
        let xread = spec(streams, half);
        assert_eq!(xread.find(&args("xread count 2 streams a b 0 0")), [4, 5]);
        assert!(xread.find(&args("xread count 2")).is_empty());
        assert!(xread.find(&args("xread streams")).is_empty());
    }

    #[test]
    fn a_number_says_how_many_keys_follow() {
        let find = FindKeys::KeyNum {
            number: 0,
            first: 1,
            step: 1,
        };
        let eval = spec(BeginSearch::Index(2), find);
        assert_eq!(eval.find(&args("eval script 2 a b c")), [3, 4]);
        assert!(eval.find(&args("eval script 2 a")).is_empty());
        assert!(eval.find(&args("eval script -1 a")).is_empty());
        assert!(eval.find(&args("eval script x a")).is_empty());
    }

    #[test]
    fn channels_are_one_or_all() {
        let publish = args("publish c text");
        assert_eq!(ChannelSpec::PUBLISH.find(&publish), [Bytes::from("c")]);
        let subscribe = args("subscribe a b");
        assert_eq!(ChannelSpec::SUBSCRIBE.find(&subscribe).len(), 2);
        assert!(ChannelSpec::PSUBSCRIBE.find(&args("psubscribe")).is_empty());
    }
}
