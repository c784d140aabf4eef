//! Glob matching against the answers of a real server, and against a plain recursive matcher.

use corgi_base::glob::{literal_prefix, matches};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Pattern, text, and whether redis-server 7.0.15 lists a channel of that name for
/// `PUBSUB CHANNELS pattern`.
const REDIS: &[(&[u8], &[u8], bool)] = &[
    (b"*", b"", false),
    (b"", b"", true),
    (b"**", b"", false),
    (b"", b"a", false),
    (b"*", b"a", true),
    (b"?", b"", false),
    (b"?", b"a", true),
    (b"a*", b"a", true),
    (b"a**", b"a", true),
    (b"a*?", b"a", false),
    (b"*a*", b"bab", true),
    (b"h[ae]llo", b"hello", true),
    (b"h[^e]llo", b"hello", false),
    (b"h[^e]llo", b"hallo", true),
    (b"[a-c]", b"b", true),
    (b"[c-a]", b"b", true),
    (b"[]a]", b"a", false),
    (b"[]", b"a", false),
    (b"[^]", b"a", true),
    (b"[^]a", b"xa", true),
    (b"[", b"[", false),
    (b"[", b"a", false),
    (b"[^", b"a", true),
    (b"[a", b"a", true),
    (b"[a", b"b", false),
    (b"[^a", b"b", true),
    (b"[a-", b"-", true),
    (b"[a-]", b"-", false),
    (b"[a-]", b"^", true),
    (b"[a-]", b"_", true),
    (b"[a-]", b"`", true),
    (b"[a-]x", b"_", true),
    (b"[\\]]", b"]", true),
    (b"[\\", b"\\", true),
    (b"[\\a-z]", b"-", true),
    (b"[\\a-z]", b"b", false),
    (b"[a-\\]]", b"_]", true),
    (b"[a-\\]]", b"]", false),
    (b"\\*", b"*", true),
    (b"\\*", b"a", false),
    (b"\\a", b"a", true),
    (b"\\", b"\\", true),
    (b"a\\", b"a\\", true),
    (b"\\\\", b"\\", true),
    (b"[*]", b"*", true),
    (b"[?]", b"a", false),
    (b"A", b"a", false),
    (b"*]", b"a]", true),
    (b"[a]*[b]", b"axxb", true),
    (b"a\x00b", b"a\x00b", true),
    (b"[\x80-\xff]", b"\xc3", true),
    (b"[^^]", b"^", false),
    (b"[a^]", b"^", true),
    (b"[-a]", b"-", true),
    (b"[!a]", b"b", false),
    (b"[a-c-e]", b"d", false),
    (b"[a-c-e]", b"-", true),
    (b"[*", b"*", true),
];

#[test]
fn answers_as_redis() {
    for (pattern, text, expected) in REDIS {
        assert_eq!(
            matches(pattern, text),
            *expected,
            "pattern {:?}, text {:?}",
            pattern.escape_ascii().to_string(),
            text.escape_ascii().to_string()
        );
    }
}

#[test]
fn range_across_128_compares_unsigned_bytes() {
    assert!(matches(b"[\x01-\xff]", b"a"));
    assert!(!matches(b"[\x80-\xff]", b"a"));
}

#[test]
fn prefix_stops_at_the_first_wildcard() {
    for (pattern, prefix) in [
        ("", ""),
        ("news", "news"),
        ("news.*", "news."),
        ("*", ""),
        ("a?b", "a"),
        ("a[b]c", "a"),
        (r"\*\?x*", "*?x"),
        (r"ab\", r"ab\"),
        ("a]b-^*", "a]b-^"),
    ] {
        assert_eq!(
            literal_prefix(pattern.as_bytes()),
            prefix.as_bytes(),
            "pattern {pattern}"
        );
    }
}

/// A matcher that tries every star against every piece of text takes longer than the age of the
/// universe for this: that the test ends is what it shows.
#[test]
fn many_stars_end_in_polynomial_time_and_without_recursion() {
    let mut pattern = b"a*".repeat(2_000);
    pattern.push(b'b');
    let text = vec![b'a'; 4_000];
    assert!(!matches(&pattern, &text));
    assert!(matches(
        &[&pattern[..], b"*"].concat(),
        &[&text[..], b"b"].concat()
    ));
    assert!(!matches(&b"[".repeat(100_000), &text));
    assert!(matches(&b"*".repeat(1_000_000), b"x"));
}

/// A single long piece behind a star is the costly case: it is tried at every place of the text.
#[test]
fn a_match_that_takes_too_long_is_given_up() {
    let text = vec![b'a'; 1 << 20];
    let piece = |length: usize| [b"*", &b"a".repeat(length)[..], b"b"].concat();
    assert!(!matches(&piece(1 << 19), &text));
    let class = [b"[", &b"b".repeat(1 << 20)[..], b"a]"].concat();
    assert!(!matches(&class.repeat(20), &text));
    assert!(matches(&class, b"a"));
    // What is long and simple is still found.
    let found = [&text[..], b"b"].concat();
    assert!(matches(&text, &text) && matches(b"*b", &found) && matches(&piece(2), &found));
}

/// One element of a pattern, read from its bytes.
#[derive(Debug)]
enum Element {
    Star,
    Any,
    OneOf {
        negated: bool,
        ranges: Vec<(u8, u8)>,
    },
}

fn parse(pattern: &[u8]) -> Vec<Element> {
    let mut bytes = pattern.iter().copied().peekable();
    let literal = |byte| Element::OneOf {
        negated: false,
        ranges: vec![(byte, byte)],
    };
    let mut elements = Vec::new();
    while let Some(byte) = bytes.next() {
        elements.push(match byte {
            b'*' => Element::Star,
            b'?' => Element::Any,
            b'\\' => literal(bytes.next().unwrap_or(b'\\')),
            b'[' => {
                let negated = bytes.next_if_eq(&b'^').is_some();
                let mut ranges = Vec::new();
                loop {
                    let mut ahead = bytes.clone();
                    let (first, second, third) = (ahead.next(), ahead.next(), ahead.next());
                    let taken = match (first, second, third) {
                        (None, ..) => 0,
                        (Some(b'\\'), Some(escaped), _) => {
                            ranges.push((escaped, escaped));
                            2
                        }
                        (Some(b']'), ..) => 1,
                        (Some(a), Some(b'-'), Some(z)) => {
                            ranges.push((a.min(z), a.max(z)));
                            3
                        }
                        (Some(a), ..) => {
                            ranges.push((a, a));
                            1
                        }
                    };
                    bytes.by_ref().take(taken).for_each(drop);
                    if matches!(first, None | Some(b']')) {
                        break;
                    }
                }
                Element::OneOf { negated, ranges }
            }
            byte => literal(byte),
        });
    }
    elements
}

fn reference(elements: &[Element], text: &[u8]) -> bool {
    match (elements, text) {
        ([], _) => text.is_empty(),
        ([Element::Star, rest @ ..], _) => {
            (0..=text.len()).any(|taken| reference(rest, &text[taken..]))
        }
        (_, []) => false,
        ([Element::Any, rest @ ..], [_, tail @ ..]) => reference(rest, tail),
        ([Element::OneOf { negated, ranges }, rest @ ..], [byte, tail @ ..]) => {
            let listed = ranges.iter().any(|(a, z)| (a..=z).contains(&byte));
            listed != *negated && reference(rest, tail)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn equals_the_recursive_matcher(
        pattern in vec(select(b"aabc**?[]^-\\".as_slice()), 0..12),
        text in vec(select(b"aaabbc]^-\\".as_slice()), 0..10),
    ) {
        let expected = if text.is_empty() {
            pattern.is_empty()
        } else {
            reference(&parse(&pattern), &text)
        };
        prop_assert_eq!(matches(&pattern, &text), expected);
    }

    #[test]
    fn every_match_begins_with_the_prefix(
        pattern in vec(select(b"ab*?[]\\".as_slice()), 0..8),
        text in vec(select(b"ab]\\".as_slice()), 0..8),
    ) {
        if matches(&pattern, &text) {
            prop_assert!(text.starts_with(&literal_prefix(&pattern)));
        }
    }

    #[test]
    fn escaped_text_matches_itself_and_is_its_own_prefix(text: Vec<u8>) {
        let pattern: Vec<u8> = text.iter().flat_map(|byte| [b'\\', *byte]).collect();
        prop_assert!(matches(&pattern, &text));
        prop_assert_eq!(literal_prefix(&pattern), text);
    }
}
