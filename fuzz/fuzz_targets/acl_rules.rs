//! Rules of `ACL SETUSER` and lines of an ACL file: what is accepted becomes a definition that means the same user
//! again, however it is read.
//!
//! The input is rules, separated by blanks.
#![no_main]

use bytes::Bytes;
use corgi_session::{Acl, define};
use libfuzzer_sys::fuzz_target;

const NAME: Bytes = Bytes::from_static(b"u");

fuzz_target!(|data: &[u8]| {
    // Whole lines, also ones that name users twice or none.
    let _problems_or_users = Acl::from_file("users.acl", data, false);
    // As one rule, blanks and all, and as many.
    let one = vec![Bytes::copy_from_slice(data)];
    for (rules, all_channels) in [(words(data), false), (words(data), true), (one, false)] {
        let Ok(definition) = define(&NAME, &rules, all_channels) else {
            continue;
        };
        // As rules again, whatever a new user begins with.
        for begins in [false, true] {
            assert_eq!(
                define(&NAME, &words(&definition), begins),
                Ok(definition.clone())
            );
        }
        // As the log keeps it.
        let acl = Acl::stored(1, [(NAME, definition.clone())].into_iter());
        assert_eq!(
            acl.user(&NAME).map(|user| user.definition()),
            Some(definition.clone())
        );
        // As a file keeps it.
        let file = acl.to_file();
        let users = Acl::from_file("users.acl", &file, false).expect("our own file");
        assert_eq!(Acl::stored(1, users.into_iter()).to_file(), file);
        // As a change of a user that is there already: adding nothing changes nothing.
        assert_eq!(acl.set_user(&NAME, &[], all_channels), Ok(definition));
    }
});

fn words(rules: &[u8]) -> Vec<Bytes> {
    let words = rules.split(u8::is_ascii_whitespace);
    words
        .filter(|word| !word.is_empty())
        .map(Bytes::copy_from_slice)
        .collect()
}
