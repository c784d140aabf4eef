//! All users, as they are at one point of the log.

use super::rule::{RuleError, join_selectors, words};
use super::user::{Password, User, is_name};
use crate::errors::{self, ErrorText};
use bytes::Bytes;
#[cfg(feature = "loom")]
use loom::sync::Mutex;
#[cfg(feature = "loom")]
use loom::sync::atomic::{AtomicU64, Ordering};
use std::collections::BTreeMap;
use std::fmt::Write as _;
#[cfg(not(feature = "loom"))]
use std::sync::Mutex;
#[cfg(not(feature = "loom"))]
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

const DEFAULT: &[u8] = b"default";

/// The users, after so many changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    revision: u64,
    users: BTreeMap<Bytes, Arc<User>>,
    default: Arc<User>,
}

impl Default for Acl {
    /// Nobody but `default`, who may do everything without a password.
    fn default() -> Self {
        Self::stored(0, std::iter::empty())
    }
}

impl Acl {
    /// Returns the users with these definitions, and `default` if it is not among them.
    pub fn stored(revision: u64, definitions: impl Iterator<Item = (Bytes, Bytes)>) -> Self {
        let user = |(name, definition): (Bytes, Bytes)| {
            let user = User::stored(name.clone(), &definition);
            (name, Arc::new(user))
        };
        Self::new(revision, definitions.map(user).collect())
    }

    fn new(revision: u64, mut users: BTreeMap<Bytes, Arc<User>>) -> Self {
        let default = users
            .entry(Bytes::from_static(DEFAULT))
            .or_insert_with(|| Arc::new(User::open()));
        Self {
            revision,
            default: default.clone(),
            users,
        }
    }

    /// Returns the users after a change: those of `changes` have these definitions, or are gone; all others are as they
    /// were, unless `replace`.
    #[must_use]
    pub fn changed(
        &self,
        revision: u64,
        replace: bool,
        changes: impl Iterator<Item = (Bytes, Option<Bytes>)>,
    ) -> Self {
        let mut users = if replace {
            BTreeMap::new()
        } else {
            self.users.clone()
        };
        for (name, definition) in changes {
            match definition {
                Some(definition) => {
                    let user = User::stored(name.clone(), &definition);
                    users.insert(name, Arc::new(user));
                }
                None => {
                    users.remove(&name);
                }
            }
        }
        Self::new(revision, users)
    }

    /// Returns how many changes there have been.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Returns a user.
    pub fn user(&self, name: &[u8]) -> Option<&Arc<User>> {
        self.users.get(name)
    }

    /// Returns the user that connections begin as.
    pub fn default_user(&self) -> &Arc<User> {
        &self.default
    }

    /// Returns all users by name.
    pub fn users(&self) -> impl Iterator<Item = &Arc<User>> {
        self.users.values()
    }

    /// Returns the user that a name and a password belong to.
    pub(crate) fn authenticate(&self, name: &[u8], password: &[u8]) -> Option<&Arc<User>> {
        // The digest is computed for an unknown user too, so that the time tells nothing about names.
        let given = Password::of(password);
        let user = self.user(name);
        let accepted = user.unwrap_or(&self.default).lets_in(given);
        user.filter(|_| accepted)
    }

    /// Returns a user's definition after rules of `ACL SETUSER`. `all_channels` is what a new user begins with:
    /// `acl-pubsub-default`.
    ///
    /// # Errors
    /// A whole error text.
    pub fn set_user(
        &self,
        name: &Bytes,
        rules: &[Bytes],
        all_channels: bool,
    ) -> Result<Bytes, ErrorText> {
        if !is_name(name) {
            return Err(Bytes::from_static(errors::ACL_USER_NAME));
        }
        let rules = join_selectors(rules).map_err(|open| errors::acl_unmatched(&open))?;
        let before = match self.user(name) {
            Some(user) => (**user).clone(),
            None => User::new(name.clone(), all_channels),
        };
        let after = before
            .with_rules(&rules, all_channels)
            .map_err(|(rule, error)| errors::acl_modifier(&rule, &error.to_string()))?;
        Ok(after.definition())
    }

    /// Returns the lines of an ACL file: `user <name> <definition>`, by name.
    pub fn to_file(&self) -> Vec<u8> {
        let mut file = Vec::new();
        for user in self.users.values() {
            for part in [b"user ", &user.name[..], b" ", &user.definition(), b"\n"] {
                file.extend_from_slice(part);
            }
        }
        file
    }

    /// Reads the lines of an ACL file, whose name is for the error texts. Returns the users' definitions; a user
    /// `default` that is not in it is open to all.
    ///
    /// # Errors
    /// All that is wrong, in one text without a code.
    pub fn from_file(
        file_name: &str,
        text: &[u8],
        all_channels: bool,
    ) -> Result<Vec<(Bytes, Bytes)>, String> {
        let mut found = BTreeMap::new();
        let mut wrong = String::new();
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let words: Vec<Bytes> = words(line).map(Bytes::copy_from_slice).collect();
            let [first, rest @ ..] = &words[..] else {
                continue;
            };
            let parsed = match rest {
                [name, rules @ ..] if first.eq_ignore_ascii_case(b"user") => {
                    define(name, rules, all_channels).map(|definition| (name.clone(), definition))
                }
                _ => Err("should start with user keyword followed by the username".to_owned()),
            };
            let result = parsed.and_then(|(name, definition)| {
                let before = found.insert(name.clone(), definition);
                before.map_or(Ok(()), |_| {
                    Err(format!("duplicate user '{}' found", name.escape_ascii()))
                })
            });
            if let Err(why) = result {
                // Writing to a string does not fail.
                let _ = write!(wrong, "{file_name}:{number}: {why}. ");
            }
        }
        if wrong.is_empty() {
            Ok(found.into_iter().collect())
        } else {
            Err(wrong.trim_end().to_owned())
        }
    }
}

/// Returns the definition of a user that is made by rules from nothing. `default` begins as everybody's, as in Redis.
///
/// # Errors
/// What is wrong, without a code.
pub fn define(name: &Bytes, rules: &[Bytes], all_channels: bool) -> Result<Bytes, String> {
    if !is_name(name) {
        return Err("usernames can't contain spaces or null characters".to_owned());
    }
    let rules = join_selectors(rules).map_err(|open| {
        let open = open.escape_ascii();
        format!("unmatched parenthesis in selector starting at '{open}'")
    })?;
    let user = User::new(name.clone(), all_channels);
    let made = user.with_rules(&rules, all_channels);
    let made = made.map_err(|(rule, error): (Bytes, RuleError)| {
        format!(
            "Error in applying operation '{}': {error}",
            rule.escape_ascii()
        )
    })?;
    Ok(made.definition())
}

/// Returns the definition of `default` with a password, as `requirepass` sets it; `None` without one.
pub fn require_pass(secret: &[u8]) -> Option<(Bytes, Bytes)> {
    if secret.is_empty() {
        return None;
    }
    let rules = [Bytes::from([b">", secret].concat())];
    let user = User::open().with_rules(&rules, true);
    let definition = user.ok()?.definition();
    Some((Bytes::from_static(DEFAULT), definition))
}

/// The users as a node's sessions see them: replaced by the node, read by all connections. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Users(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Counts the replacements, so that sessions see without a lock that there was none.
    version: AtomicU64,
    acl: Mutex<Arc<Acl>>,
}

impl Users {
    /// Returns a place for these users.
    pub fn new(acl: Acl) -> Self {
        let users = Self::default();
        users.replace(Arc::new(acl));
        users
    }

    /// Takes on other users, from the next command of every connection on.
    pub fn replace(&self, acl: Arc<Acl>) {
        *self.0.acl.lock().unwrap_or_else(PoisonError::into_inner) = acl;
        self.0.version.fetch_add(1, Ordering::Release);
    }

    /// Returns the number of replacements so far.
    pub(crate) fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    /// Returns the users as they are now.
    pub fn load(&self) -> Arc<Acl> {
        let acl = self.0.acl.lock().unwrap_or_else(PoisonError::into_inner);
        acl.clone()
    }
}

/// `cargo nextest run --release -p corgi-session --lib --features loom interleavings`: in every order in which the
/// threads can run, and with every value that a processor may let them see.
#[cfg(all(test, feature = "loom"))]
mod interleavings {
    use super::*;

    #[test]
    fn whoever_sees_the_number_of_a_replacement_sees_the_users() {
        loom::model(|| {
            let users = Users::default();
            let session = users.clone();
            let session = loom::thread::spawn(move || {
                let version = session.version();
                (version, session.load().revision)
            });
            users.replace(Arc::new(Acl::stored(7, std::iter::empty())));
            let (version, revision) = session.join().expect("it ends");
            assert!(version == 0 || revision == 7);
        });
    }
}
