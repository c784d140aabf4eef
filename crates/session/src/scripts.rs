//! The scripts that this node has seen: of all Lua only one is known, the loop with which Laravel publishes to many
//! channels. Their names, SHA-1 digests, depend on how the loop is laid out, so that there may be several.

use sha1::{Digest, Sha1};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Laravel's `RedisBroadcaster`, its white space made even.
const PUBLISH_LOOP: &str = "for i = 2, #ARGV do redis.call('publish', ARGV[i], ARGV[1]) end";

/// So many layouts are remembered; whoever uses another one has to send it again, as after a restart.
const SCRIPTS_MAX: usize = 100;

/// A script's name: the SHA-1 digest of its text.
pub(crate) type Sha = [u8; 20];

/// Returns the name of a script if it is the one that is known.
pub(crate) fn known(script: &[u8]) -> Option<Sha> {
    let white = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
    let words = script.split(white).filter(|word| !word.is_empty());
    let same = words.eq(PUBLISH_LOOP.split(' ').map(str::as_bytes));
    same.then(|| Sha1::digest(script).into())
}

/// Reads a name of 40 hexadecimal digits in any case.
pub(crate) fn sha(text: &[u8]) -> Option<Sha> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
    let digits: Vec<u8> = text.iter().map(digit).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|two| two[0] << 4 | two.get(1).unwrap_or(&0))
        .collect();
    (text.len() == 40).then(|| bytes.try_into().ok()).flatten()
}

/// The scripts that all connections of a node share.
#[derive(Clone, Debug, Default)]
pub struct Scripts(Arc<Mutex<VecDeque<Sha>>>);

impl Scripts {
    /// Remembers a script.
    pub(crate) fn add(&self, sha: Sha) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(&sha) {
            known.truncate(SCRIPTS_MAX - 1);
            known.push_front(sha);
        }
    }

    /// Returns whether a script is remembered.
    pub(crate) fn has(&self, sha: &Sha) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.contains(sha)
    }

    /// Forgets all scripts.
    pub(crate) fn flush(&self) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_white_space_may_differ() {
        for script in [
            PUBLISH_LOOP,
            "for i = 2, #ARGV do\n  redis.call('publish', ARGV[i], ARGV[1])\nend",
            "\n\tfor i = 2, #ARGV do\r\n\tredis.call('publish', ARGV[i], ARGV[1])\n\tend\n",
        ] {
            assert!(known(script.as_bytes()).is_some(), "{script}");
        }
        for script in [
            "",
            "return 1",
            "for i = 2, #ARGV do redis.call('spublish', ARGV[i], ARGV[1]) end",
            "for i = 1, #ARGV do redis.call('publish', ARGV[i], ARGV[1]) end",
            "for i = 2, #ARGV do redis.call('publish', ARGV[i], ARGV[1]) end return 1",
            "for i = 2, #ARGV do redis.call('publish ', ARGV[i], ARGV[1]) end",
        ] {
            assert_eq!(known(script.as_bytes()), None, "{script}");
        }
    }

    #[test]
    fn names_are_those_that_redis_gives() {
        let laravel = b"for i = 2, #ARGV do\n  redis.call('publish', ARGV[i], ARGV[1])\nend";
        let name = b"6f799f6e3f4ab9f8b891f6405d5fc1348a6a0595";
        assert_eq!(known(laravel), sha(name));
        assert_eq!(sha(name), sha(&name.to_ascii_uppercase()));
        for wrong in [&name[1..], b"", b"x", &[b'g'; 40], &[b'0'; 41], &[b'0'; 42]] {
            assert_eq!(sha(wrong), None);
        }
    }

    #[test]
    fn so_many_are_remembered() {
        let scripts = Scripts::default();
        let sha = |n: usize| [u8::try_from(n).expect("few"); 20];
        for n in 0..=SCRIPTS_MAX {
            scripts.add(sha(n));
            scripts.add(sha(n));
        }
        assert!(!scripts.has(&sha(0)) && scripts.has(&sha(1)) && scripts.has(&sha(SCRIPTS_MAX)));
        scripts.flush();
        assert!(!scripts.has(&sha(1)));
    }
}
