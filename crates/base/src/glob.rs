//! Redis' pattern language, in bounded time.
//!
//! What `PSUBSCRIBE`, `PUBSUB CHANNELS` and ACL rules understand
//! (<https://redis.io/docs/latest/commands/psubscribe/>):
//!
//! | pattern | matches |
//! |---|---|
//! | `*` | any bytes, also none |
//! | `?` | any one byte |
//! | `[abc]`, `[a-z]`, `[z-a]` | one of these bytes; the ends of a range may stand in either order |
//! | `[^abc]` | one byte that is none of these |
//! | `\x` | the byte `x`, also inside brackets |
//! | anything else | itself, upper and lower case being different |
//!
//! Patterns that say nothing sensible have a meaning too, because Redis gives them one:
//! - a class that is not closed ends with the pattern: `[a` is `[a]`, `[^` is `?`, `[` matches
//!   nothing;
//! - `]` closes a class wherever it stands, except as the end of a range: `[]a]` can match nothing,
//!   and `[a-]` is an unclosed range from `a` to `]`;
//! - a backslash at the end of the pattern is itself;
//! - the empty text is matched by the empty pattern only, not by `*`.
//!
//! Two deliberate differences:
//! - a match that takes more than 16 million comparisons is given up, and there is none: a pattern
//!   and a text of a megabyte each could otherwise stop a node for minutes;
//! - bytes are compared as 0 to 255. In a range with one end below 128 and one above, Redis depends
//!   on whether C's `char` is signed on the machine it was built for, and all nodes of a cluster
//!   must agree.
//!
//! Matching goes back only to the latest `*`. That is enough: whatever an earlier `*` could give
//! up, the latest can take. So a match costs at most pattern length times text length steps, never
//! exponential time, and there is no recursion. Tests: `tests/glob.rs` has a table of answers of a
//! real server and a proptest against a recursive matcher.

/// More comparisons than any match that somebody means, and fewer than a node may spend on one: some 20 ms.
const COMPARISONS_MAX: usize = 1 << 24;

/// Returns whether the whole text matches the pattern.
///
/// ```
/// use corgi_base::glob::matches;
/// assert!(matches(b"news.*", b"news.art"));
/// assert!(!matches(b"news.*", b"News.art"));
/// ```
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut p, mut t) = (0, 0);
    let mut comparisons = 0;
    // Behind the latest `*`, and where the text that it leaves over begins.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            if p == pattern.len() {
                return true;
            }
            star = Some((p, t));
            continue;
        }
        if let Some((matched, next)) = one(pattern, p, text[t]) {
            // A class is as many comparisons as it has bytes.
            comparisons += next - p;
            if comparisons > COMPARISONS_MAX {
                return false;
            }
            if matched {
                p = next;
                t += 1;
                continue;
            }
        }
        let Some((behind, from)) = star else {
            return false;
        };
        star = Some((behind, from + 1));
        p = behind;
        t = from + 1;
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Returns the bytes with which every text that matches the pattern begins: all up to the first
/// `*`, `?` or `[`, without the backslashes. An index over patterns uses it to leave out what
/// cannot match.
///
/// ```
/// use corgi_base::glob::literal_prefix;
/// assert_eq!(literal_prefix(br"room\*-[0-9]"), b"room*-");
/// ```
#[must_use]
pub fn literal_prefix(pattern: &[u8]) -> Vec<u8> {
    let mut prefix = Vec::new();
    let mut rest = pattern;
    loop {
        match rest {
            [] | [b'*' | b'?' | b'[', ..] => return prefix,
            [b'\\', byte, tail @ ..] | [byte, tail @ ..] => {
                prefix.push(*byte);
                rest = tail;
            }
        }
    }
}

/// Compares the pattern's element at `p`, which is not a `*`, with one byte of text. Returns
/// whether it matches and where the next element begins, or `None` at the end of the pattern.
fn one(pattern: &[u8], p: usize, byte: u8) -> Option<(bool, usize)> {
    Some(match pattern.get(p..)? {
        [] => return None,
        [b'?', ..] => (true, p + 1),
        [b'[', ..] => class(pattern, p + 1, byte),
        [b'\\', literal, ..] => (*literal == byte, p + 2),
        [literal, ..] => (*literal == byte, p + 1),
    })
}

/// Compares the class whose first byte behind the `[` stands at `p` with one byte of text.
fn class(pattern: &[u8], mut p: usize, byte: u8) -> (bool, usize) {
    let negated = pattern.get(p) == Some(&b'^');
    p += usize::from(negated);
    let mut listed = false;
    loop {
        // The order of the arms is the meaning: an escape goes first, then the end, then a range.
        match &pattern[p..] {
            [] => break,
            [b'\\', literal, ..] => {
                listed |= *literal == byte;
                p += 2;
            }
            [b']', ..] => {
                p += 1;
                break;
            }
            [from, b'-', to, ..] => {
                listed |= (*from.min(to)..=*from.max(to)).contains(&byte);
                p += 3;
            }
            [literal, ..] => {
                listed |= *literal == byte;
                p += 1;
            }
        }
    }
    (listed != negated, p)
}
