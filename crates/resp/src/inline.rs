//! Inline requests: one line, split into arguments as `redis-cli` and a person at telnet expect.
//!
//! Words are separated by blanks. Inside double quotes `\n \r \t \b \a` and `\xHH` are escapes and
//! a backslash makes any other byte literal; inside single quotes only `\'` is special. Quotes may
//! open in the middle of a word, but after a closing one a blank or the end must follow. A NUL is a
//! byte like any other, where Redis would wait for ever.

use bytes::Bytes;

/// Splits a line, without its line end, into words. Words without quotes share the line's buffer.
///
/// Returns `None` if the quotes are unbalanced, and an empty list for a blank line.
pub(crate) fn split(line: &Bytes) -> Option<Vec<Bytes>> {
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        while line.get(at).is_some_and(|&byte| is_space(byte)) {
            at += 1;
        }
        if at == line.len() {
            return Some(words);
        }
        let start = at;
        while line
            .get(at)
            .is_some_and(|&byte| !ends_word(byte) && !is_quote(byte))
        {
            at += 1;
        }
        if line.get(at).is_some_and(|&byte| is_quote(byte)) {
            let mut word = line[start..at].to_vec();
            at = finish_quoted(line, at, &mut word)?;
            words.push(word.into());
        } else {
            words.push(line.slice(start..at));
        }
    }
}

/// Reads on in a word that has a quote at `at`; returns where the word ends.
fn finish_quoted(line: &[u8], mut at: usize, word: &mut Vec<u8>) -> Option<usize> {
    while let Some(&byte) = line.get(at) {
        at = match byte {
            b'"' => return double_quoted(line, at + 1, word),
            b'\'' => return single_quoted(line, at + 1, word),
            byte if ends_word(byte) => return Some(at),
            byte => {
                word.push(byte);
                at + 1
            }
        };
    }
    Some(at)
}

fn double_quoted(line: &[u8], mut at: usize, word: &mut Vec<u8>) -> Option<usize> {
    loop {
        match *line.get(at)? {
            b'"' => return closed(line, at),
            b'\\' => {
                let (byte, width) = escape(line.get(at + 1..)?)?;
                word.push(byte);
                at += 1 + width;
            }
            byte => {
                word.push(byte);
                at += 1;
            }
        }
    }
}

fn single_quoted(line: &[u8], mut at: usize, word: &mut Vec<u8>) -> Option<usize> {
    loop {
        match *line.get(at)? {
            b'\'' => return closed(line, at),
            b'\\' if line.get(at + 1) == Some(&b'\'') => {
                word.push(b'\'');
                at += 2;
            }
            byte => {
                word.push(byte);
                at += 1;
            }
        }
    }
}

/// A closing quote at `at` also ends the word, so that `"a"b` is an error and not one word or two.
fn closed(line: &[u8], at: usize) -> Option<usize> {
    match line.get(at + 1) {
        Some(&byte) if !is_space(byte) => None,
        _ => Some(at + 1),
    }
}

/// What the bytes after a backslash stand for, and how many they are. `None` at the end of the
/// line, where the quote is unbalanced anyway.
fn escape(rest: &[u8]) -> Option<(u8, usize)> {
    if let [b'x', high, low, ..] = rest
        && let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low))
    {
        return Some((high * 16 + low, 3));
    }
    let byte = match *rest.first()? {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        byte => byte,
    };
    Some((byte, 1))
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// C's `isspace`: what may stand between words. Vertical tab and form feed are skipped there, but
/// do not end a word; Redis' two sets differ, and so do these.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &'static [u8]) -> Option<Vec<Vec<u8>>> {
        let words = split(&Bytes::from_static(line))?;
        Some(words.into_iter().map(|word| word.to_vec()).collect())
    }

    #[test]
    fn lines_split_as_redis_splits_them() {
        // redis-server 7.0 was seen to do the same, but for the NUL.
        let table: &[(&[u8], &[&[u8]])] = &[
            (b"", &[]),
            (b" \t\r\x0b\x0c ", &[]),
            (b"PING", &[b"PING"]),
            (b"  ECHO\t a  ", &[b"ECHO", b"a"]),
            (b"a\x0bb", &[b"a\x0bb"]),
            (b"\x0bb\x0c ", &[b"b\x0c"]),
            (b"\"\" ''", &[b"", b""]),
            (b"a\"b\"", &[b"ab"]),
            (b"a'b c'", &[b"ab c"]),
            (
                b"\"\\x41\\xfF\\n\\r\\t\\b\\a\\q\\\\\\\"\"",
                &[b"A\xff\n\r\t\x08\x07q\\\""],
            ),
            (b"\"\\x4\" \"\\xg0\"", &[b"x4", b"xg0"]),
            (b"'a\\'b\\n\"'", &[b"a'b\\n\""]),
            (b"a\\x41 \\n", &[b"a\\x41", b"\\n"]),
            (b"a\xff\x00b", &[b"a\xff\x00b"]),
        ];
        for (line, expected) in table {
            let expected: Vec<Vec<u8>> = expected.iter().map(|word| word.to_vec()).collect();
            assert_eq!(words(line), Some(expected), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn unbalanced_quotes_are_refused() {
        for line in [
            &b"\"a"[..],
            b"'a",
            b"a\"",
            b"\"a\\",
            b"\"a\\\"",
            b"'a\\'",
            b"\"a\"b",
            b"'a'b",
            b"\"a\"\"b\"",
            b"\"a\\x4",
        ] {
            assert_eq!(words(line), None, "{}", line.escape_ascii());
        }
    }
}
