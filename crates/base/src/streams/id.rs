//! Ids of streams as text, read as Redis reads them.

use super::NewId;
use crate::ids::MessageId;

/// The largest id.
pub const MAX: MessageId = MessageId {
    ms: u64::MAX,
    seq: u64::MAX,
};

/// Returns the id that follows; `None` after the largest.
pub fn next(id: MessageId) -> Option<MessageId> {
    match id.seq.checked_add(1) {
        Some(seq) => Some(MessageId { ms: id.ms, seq }),
        None => Some(MessageId {
            ms: id.ms.checked_add(1)?,
            seq: 0,
        }),
    }
}

/// Returns the id before; `None` before 0-0.
pub fn previous(id: MessageId) -> Option<MessageId> {
    match id.seq.checked_sub(1) {
        Some(seq) => Some(MessageId { ms: id.ms, seq }),
        None => Some(MessageId {
            ms: id.ms.checked_sub(1)?,
            seq: u64::MAX,
        }),
    }
}

/// Reads `ms-seq` or `ms`, which means `ms-missing_seq`. `-` and `+` are no ids here: `XADD`, `XDEL`, `XREAD`, ….
pub fn parse(text: &[u8], missing_seq: u64) -> Option<MessageId> {
    let (ms, seq) = match text.iter().position(|byte| *byte == b'-') {
        Some(at) => (&text[..at], number(&text[at + 1..])?),
        None => (text, missing_seq),
    };
    Some(MessageId {
        ms: number(ms)?,
        seq,
    })
}

/// Reads the id of `XADD`: also `*` and `ms-*`.
pub fn parse_new(text: &[u8]) -> Option<NewId> {
    if text == b"*" {
        return Some(NewId::Auto);
    }
    match text.strip_suffix(b"-*") {
        Some(ms) => Some(NewId::AutoSeq(number(ms)?)),
        None => parse(text, 0).map(NewId::Exact),
    }
}

/// An end of a range as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The id itself belongs to the range.
    Inclusive(MessageId),
    /// The id itself does not: `(id`.
    Exclusive(MessageId),
}

/// Reads an end of a range: also `-`, `+` and `(id`.
pub fn parse_end(text: &[u8], missing_seq: u64) -> Option<End> {
    match text {
        b"-" => Some(End::Inclusive(MessageId::default())),
        b"+" => Some(End::Inclusive(MAX)),
        [b'(', id @ ..] if !id.is_empty() => parse(id, missing_seq).map(End::Exclusive),
        _ => parse(text, missing_seq).map(End::Inclusive),
    }
}

/// As `strtoull`: blanks, a plus and zeros may come first; nothing may follow.
fn number(text: &[u8]) -> Option<u64> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = text.iter().position(|byte| !blank(byte))?;
    let text = &text[start..];
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| {
        if !digit.is_ascii_digit() {
            return None;
        }
        sum.checked_mul(10)?.checked_add((digit - b'0').into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64, seq: u64) -> MessageId {
        MessageId { ms, seq }
    }

    #[test]
    fn ids_are_read_as_redis_reads_them() {
        for (text, expected) in [
            ("7", Some(id(7, 9))),
            ("7-3", Some(id(7, 3))),
            (" 7-+3", Some(id(7, 3))),
            ("007-03", Some(id(7, 3))),
            ("18446744073709551615-0", Some(id(u64::MAX, 0))),
            ("18446744073709551616-0", None),
            ("-", None),
            ("+", None),
            ("", None),
            ("-7", None),
            ("7-", None),
            ("7--3", None),
            ("7-3-1", None),
            ("7-*", None),
            ("7 ", None),
        ] {
            assert_eq!(parse(text.as_bytes(), 9), expected, "{text:?}");
        }
    }

    #[test]
    fn new_ids_and_ends_of_ranges() {
        assert_eq!(parse_new(b"*"), Some(NewId::Auto));
        assert_eq!(parse_new(b"5-*"), Some(NewId::AutoSeq(5)));
        assert_eq!(parse_new(b"5"), Some(NewId::Exact(id(5, 0))));
        assert_eq!(parse_new(b"-*"), None);
        assert_eq!(parse_end(b"-", 0), Some(End::Inclusive(id(0, 0))));
        assert_eq!(parse_end(b"+", 0), Some(End::Inclusive(MAX)));
        assert_eq!(parse_end(b"(5", 7), Some(End::Exclusive(id(5, 7))));
        assert_eq!(parse_end(b"(-", 0), None);
        assert_eq!(parse_end(b"(", 0), None);
    }

    #[test]
    fn neighbours_carry_and_end() {
        assert_eq!(next(id(1, u64::MAX)), Some(id(2, 0)));
        assert_eq!(next(MAX), None);
        assert_eq!(previous(id(2, 0)), Some(id(1, u64::MAX)));
        assert_eq!(previous(id(0, 0)), None);
    }
}
