//! Patterns: the matcher agrees with a table of all positions, which knows nothing of going back, and what the literal
//! prefix promises is so. That a match takes long is for libFuzzer's own limit of time to find.
//!
//! The first byte of the input says how much of the rest is the pattern.
#![no_main]

use corgi_base::glob::{literal_prefix, matches};
use libfuzzer_sys::fuzz_target;

enum Element {
    Any,
    Byte(Box<[bool; 256]>),
}

fuzz_target!(|data: &[u8]| {
    let Some((share, rest)) = data.split_first() else {
        return;
    };
    let (pattern, text) = rest.split_at(rest.len() * usize::from(*share) / 255);
    let matched = matches(pattern, text);
    assert_eq!(matched, by_table(&elements(pattern), pattern, text));
    assert!(!matched || text.starts_with(&literal_prefix(pattern)));
});

/// `table[t]`: whether the elements so far match the first `t` bytes of the text.
fn by_table(elements: &[Element], pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let mut table = vec![false; text.len() + 1];
    table[0] = true;
    for element in elements {
        match element {
            Element::Any => {
                for t in 1..table.len() {
                    table[t] |= table[t - 1];
                }
            }
            Element::Byte(allowed) => {
                for t in (1..table.len()).rev() {
                    table[t] = table[t - 1] && allowed[usize::from(text[t - 1])];
                }
                table[0] = false;
            }
        }
    }
    table[text.len()]
}

fn elements(pattern: &[u8]) -> Vec<Element> {
    let mut elements = Vec::new();
    let mut rest = pattern.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        let mut allowed = Box::new([false; 256]);
        match byte {
            b'*' => {
                elements.push(Element::Any);
                continue;
            }
            b'?' => allowed.fill(true),
            b'[' => class(&mut rest, &mut allowed),
            b'\\' => allowed[usize::from(rest.next().unwrap_or(b'\\'))] = true,
            literal => allowed[usize::from(literal)] = true,
        }
        elements.push(Element::Byte(allowed));
    }
    elements
}

/// Reads a class whose `[` was read.
fn class<I: Iterator<Item = u8> + Clone>(
    rest: &mut std::iter::Peekable<I>,
    allowed: &mut [bool; 256],
) {
    let negated = rest.next_if_eq(&b'^').is_some();
    while let Some(byte) = rest.next() {
        let mut ahead = rest.clone();
        match (byte, ahead.next(), ahead.next()) {
            (b'\\', Some(literal), _) => {
                allowed[usize::from(literal)] = true;
                rest.next();
            }
            (b']', _, _) => break,
            (from, Some(b'-'), Some(to)) => {
                for listed in from.min(to)..=from.max(to) {
                    allowed[usize::from(listed)] = true;
                }
                rest.next();
                rest.next();
            }
            (literal, _, _) => allowed[usize::from(literal)] = true,
        }
    }
    if negated {
        for listed in allowed.iter_mut() {
            *listed = !*listed;
        }
    }
}
