//! Splits a configuration line into words, with the quoting rules of redis.conf.
//!
//! The rules are those that <https://redis.io/docs/latest/operate/oss_and_stack/management/config/>
//! describes and redis-cli shares: words are separated by blanks; `"…"` understands `\n`, `\r`,
//! `\t`, `\b`, `\a`, `\xHH` and takes any other escaped byte as itself; `'…'` understands only
//! `\'`. A closing quote must be followed by a blank or the end of the line.

/// Returns the words of a line, or `None` if a quote is not closed or is followed by something else
/// than a blank.
pub fn split_args(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let (word, left) = one_word(rest)?;
        words.push(word);
        rest = left.trim_ascii_start();
    }
    Some(words)
}

/// Reads the word at the start of `rest`, which does not begin with a blank.
fn one_word(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    loop {
        match rest {
            [] | [b' ' | b'\t' | b'\r' | b'\n' | 0, ..] => {
                return Some((word, rest.get(1..).unwrap_or_default()));
            }
            // A quote may also open in the middle of a word, as in Redis.
            [b'"', ..] => return double_quoted(word, &rest[1..]),
            [b'\'', ..] => return single_quoted(word, &rest[1..]),
            [byte, ..] => {
                word.push(*byte);
                rest = &rest[1..];
            }
        }
    }
}

fn double_quoted(mut word: Vec<u8>, mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    loop {
        let taken = match rest {
            [] => return None,
            [b'"', ..] => return Some((word, after_quote(&rest[1..])?)),
            [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                word.push(hex(*high) * 16 + hex(*low));
                4
            }
            [b'\\', escaped, ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                2
            }
            [byte, ..] => {
                word.push(*byte);
                1
            }
        };
        rest = &rest[taken..];
    }
}

fn single_quoted(mut word: Vec<u8>, mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    loop {
        let taken = match rest {
            [] => return None,
            [b'\'', ..] => return Some((word, after_quote(&rest[1..])?)),
            [b'\\', b'\'', ..] => {
                word.push(b'\'');
                2
            }
            [byte, ..] => {
                word.push(*byte);
                1
            }
        };
        rest = &rest[taken..];
    }
}

fn after_quote(rest: &[u8]) -> Option<&[u8]> {
    match rest {
        [] => Some(rest),
        [byte, ..] if byte.is_ascii_whitespace() || *byte == 0x0b => Some(rest),
        _ => None,
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.to_ascii_uppercase() - b'A' + 10,
    }
}

/// Returns a word as it may be written in a configuration file.
pub(crate) fn quote(word: &str) -> String {
    quote_bytes(word.as_bytes())
}

/// Returns a word of any bytes as it may be written in a configuration file.
pub(crate) fn quote_bytes(word: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\' | b'#');
    let mut out = String::new();
    if !word.is_empty() && word.iter().all(|byte| plain(*byte)) {
        out.extend(word.iter().map(|byte| char::from(*byte)));
        return out;
    }
    out.push('"');
    for &byte in word {
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            b' '..=b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<Vec<String>> {
        let words = split_args(line.as_bytes())?;
        Some(
            words
                .into_iter()
                .map(|w| String::from_utf8(w).unwrap())
                .collect(),
        )
    }

    #[test]
    fn words_and_quotes_are_split_as_redis_does() {
        let ok = |line: &str, expected: &[&str]| {
            assert_eq!(words(line).unwrap(), expected, "{line}");
        };
        ok("", &[]);
        ok("  \t ", &[]);
        ok("port 6379", &["port", "6379"]);
        ok("  bind  127.0.0.1\t-::1  ", &["bind", "127.0.0.1", "-::1"]);
        ok(r#"requirepass "a b""#, &["requirepass", "a b"]);
        ok(r#"x "\x41\n\t\"\q" y"#, &["x", "A\n\t\"q", "y"]);
        ok(r#"x "\xZZ""#, &["x", "xZZ"]);
        ok(r"x 'a\'b\n'", &["x", r"a'b\n"]);
        ok(r#"x """#, &["x", ""]);
        ok(r#"ab"cd""#, &["abcd"]);
    }

    #[test]
    fn unbalanced_quotes_are_refused() {
        for line in [r#"x "a"#, "x 'a", r#"x "a"b"#, "x 'a'b", r#"x "a\""#] {
            assert_eq!(words(line), None, "{line}");
        }
    }

    #[test]
    fn bytes_need_not_be_text() {
        assert_eq!(split_args(br#""\xff\x00""#), Some(vec![vec![0xff, 0]]));
    }

    #[test]
    fn a_quoted_word_splits_into_itself() {
        for word in ["", "a", "a b", "a\"b\\c'", "#x", "\u{e9}\n"] {
            assert_eq!(words(&quote(word)).unwrap(), [word]);
        }
    }
}
