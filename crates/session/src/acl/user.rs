//! One user: passwords and permissions.

use super::Denied;
use super::patterns::has_spaces;
use super::rule::{RuleError, Source, join_selectors, words};
use super::selector::Selector;
use crate::ask::UsersAsk;
use crate::dispatch;
use crate::errors;
use crate::table::Spec;
use bytes::Bytes;
use corgi_base::{Op, SubscriptionKind};
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::{Choice, ConstantTimeEq};

/// A password, kept only as its SHA-256 digest, as Redis does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Password([u8; 32]);

impl Password {
    pub(super) fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Reads 64 hexadecimal digits in lower case.
    fn from_hex(hex: &[u8]) -> Result<Self, RuleError> {
        if hex.len() != 64 {
            return Err(RuleError::BadHash);
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(hex.chunks(2)) {
            for digit in pair {
                let value = match digit {
                    b'0'..=b'9' => digit - b'0',
                    b'a'..=b'f' => digit - b'a' + 10,
                    _ => return Err(RuleError::BadHash),
                };
                *byte = *byte << 4 | value;
            }
        }
        Ok(Self(digest))
    }

    pub(super) fn hex(&self) -> String {
        hex(&self.0)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Returns bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A user as the cluster knows it at one point of its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub(super) name: Bytes,
    enabled: bool,
    nopass: bool,
    pub(super) passwords: Vec<Password>,
    /// The first one is the user's own, the others come in brackets.
    pub(super) selectors: Vec<Selector>,
    /// Whether nothing at all is denied, so that nothing need be looked at.
    allows_all: bool,
}

impl User {
    /// Returns a user that can do nothing yet.
    pub(super) fn new(name: Bytes, all_channels: bool) -> Self {
        Self {
            name,
            enabled: false,
            nopass: false,
            passwords: Vec::new(),
            selectors: vec![Selector::new(all_channels)],
            allows_all: false,
        }
    }

    /// Returns `default` as it is when nothing was configured: everybody may do everything.
    pub(super) fn open() -> Self {
        let mut user = Self::new(Bytes::from_static(b"default"), true);
        user.enabled = true;
        user.nopass = true;
        user.selectors[0].keys.set_all(true);
        user.selectors[0].commands.set_all(true);
        user.allows_all = true;
        user
    }

    /// Reads what [`User::definition`] wrote, here or on another node.
    pub(super) fn stored(name: Bytes, definition: &[u8]) -> Self {
        let mut user = Self::new(name, false);
        let rules: Vec<Bytes> = words(definition).map(Bytes::copy_from_slice).collect();
        for rule in join_selectors(&rules).unwrap_or_default() {
            // What a later release has written and this one does not understand, allows nothing here.
            let _not_understood = user.apply(&rule, false, Source::Stored);
        }
        user.finish();
        user
    }

    /// Takes rules in order: all of them, or none.
    ///
    /// # Errors
    /// The first rule that is wrong, and why.
    pub(super) fn with_rules(
        &self,
        rules: &[Bytes],
        all_channels: bool,
    ) -> Result<Self, (Bytes, RuleError)> {
        let mut user = self.clone();
        for rule in rules {
            user.apply(rule, all_channels, Source::Client)
                .map_err(|error| (rule.clone(), error))?;
        }
        user.finish();
        Ok(user)
    }

    fn finish(&mut self) {
        self.allows_all = self.selectors.iter().any(Selector::allows_all);
    }

    fn apply(&mut self, rule: &[u8], all_channels: bool, source: Source) -> Result<(), RuleError> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        if rule.is_empty() || is("sanitize-payload") || is("skip-sanitize-payload") {
            // Whether payloads of RESTORE are checked: there is no RESTORE.
        } else if is("on") {
            self.enabled = true;
        } else if is("off") {
            self.enabled = false;
        } else if is("nopass") {
            self.nopass = true;
            self.passwords.clear();
        } else if is("resetpass") {
            self.nopass = false;
            self.passwords.clear();
        } else if is("clearselectors") {
            self.selectors.truncate(1);
        } else if is("reset") {
            *self = Self::new(self.name.clone(), all_channels);
        } else {
            match rule {
                [b'>', secret @ ..] => self.add_password(Password::of(secret)),
                [b'#', hash @ ..] => self.add_password(Password::from_hex(hash)?),
                [b'<', secret @ ..] => self.remove_password(Password::of(secret))?,
                [b'!', hash @ ..] => self.remove_password(Password::from_hex(hash)?)?,
                [b'(', rules @ .., b')'] => {
                    self.selectors
                        .push(Selector::parse(rules, all_channels, source)?);
                }
                _ => self.selectors[0].apply(rule, source)?,
            }
        }
        Ok(())
    }

    fn add_password(&mut self, password: Password) {
        self.nopass = false;
        if !self.passwords.contains(&password) {
            self.passwords.push(password);
        }
    }

    fn remove_password(&mut self, password: Password) -> Result<(), RuleError> {
        let at = self.passwords.iter().position(|old| *old == password);
        self.passwords.remove(at.ok_or(RuleError::NoSuchPassword)?);
        Ok(())
    }

    /// Returns the name.
    pub fn name(&self) -> &Bytes {
        &self.name
    }

    /// Returns whether any password is right.
    pub(crate) fn nopass(&self) -> bool {
        self.nopass
    }

    /// Returns whether a connection of this user needs no `AUTH`.
    pub fn open_to_all(&self) -> bool {
        self.enabled && self.nopass
    }

    /// Whether anybody may become this user.
    pub(crate) fn enabled(&self) -> bool {
        self.enabled
    }

    /// Returns whether a client may become this user. Takes the same time for every password: all digests are compared,
    /// each in constant time.
    pub(super) fn lets_in(&self, given: Password) -> bool {
        let matches = self.passwords.iter().map(|one| one.0.ct_eq(&given.0));
        let right = matches.fold(Choice::from(0), |any, one| any | one);
        let right = bool::from(right) || self.nopass;
        right && self.enabled
    }

    /// Checks a request, whose first argument is the command's name.
    ///
    /// # Errors
    /// [`Denied`], what the selector that allows most denies.
    pub(crate) fn check(&self, row: &Spec, args: &[Bytes]) -> Result<(), Denied> {
        if self.allows_all {
            return Ok(());
        }
        let mut most = Denied::Command;
        for selector in &self.selectors {
            match selector.check(row, args) {
                Ok(()) => return Ok(()),
                Err(denied) if denied.progress() >= most.progress() => most = denied,
                Err(_) => {}
            }
        }
        Err(most)
    }

    /// Checks an operation.
    ///
    /// # Errors
    /// [`Denied`].
    pub(crate) fn allows_op(&self, op: &Op) -> Result<(), Denied> {
        match op {
            Op::Publish { channel, .. } => self.check_command("publish", channel).1,
            Op::ShardPublish { channel, .. } => self.check_command("spublish", channel).1,
            Op::Key { op, .. } => self.check_request(op.command(), &op.request()).1,
            Op::HistoryRules(_) => {
                let words = ["config", "set", "history", ""];
                let args = words.map(|word| Bytes::from_static(word.as_bytes()));
                self.check_request("config", &args).1
            }
            // Checked as what was asked for, or without an effect of its own.
            Op::Guard { .. } | Op::Users(_) => Ok(()),
        }
    }

    /// Checks an operation that was allowed earlier, against what the user may do now.
    ///
    /// # Errors
    /// A whole error text.
    pub fn check_op(&self, op: &Op) -> Result<(), Bytes> {
        let command = match op {
            Op::Publish { .. } => "publish",
            Op::ShardPublish { .. } => "spublish",
            Op::Key { op, .. } => op.command(),
            Op::Guard { .. } => "exec",
            Op::Users(_) => "acl",
            Op::HistoryRules(_) => "config",
        };
        self.allows_op(op)
            .map_err(|denied| errors::no_permission(&denied, &self.name, command))
    }

    /// Checks a change of users that was allowed earlier, against what the user may do now.
    ///
    /// # Errors
    /// A whole error text.
    pub fn check_users_ask(&self, ask: &UsersAsk) -> Result<(), Bytes> {
        let subcommand = match ask {
            UsersAsk::Set { .. } => "setuser",
            UsersAsk::Delete(_) => "deluser",
            UsersAsk::Replace(_) => "load",
        };
        self.check_again("acl", &Bytes::from_static(subcommand.as_bytes()))
    }

    /// Checks a subscription that was allowed earlier, against what the user may do now.
    ///
    /// # Errors
    /// A whole error text.
    pub fn check_subscription(&self, kind: SubscriptionKind, name: &Bytes) -> Result<(), Bytes> {
        let command = match kind {
            SubscriptionKind::Channel => "subscribe",
            SubscriptionKind::Pattern => "psubscribe",
            SubscriptionKind::Shard => "ssubscribe",
        };
        self.check_again(command, name)
    }

    /// Checks a command with one argument. Returns its full name too.
    fn check_command(
        &self,
        command: &'static str,
        argument: &Bytes,
    ) -> (&'static str, Result<(), Denied>) {
        let args = [Bytes::from_static(command.as_bytes()), argument.clone()];
        self.check_request(command, &args)
    }

    /// Checks a request whose command is known. Returns its full name too.
    fn check_request(
        &self,
        command: &'static str,
        args: &[Bytes],
    ) -> (&'static str, Result<(), Denied>) {
        match dispatch::lookup(args) {
            Ok((row, _)) => (row.name, self.check(row, args)),
            Err(_unknown) => (command, Err(Denied::Command)),
        }
    }

    fn check_again(&self, command: &'static str, argument: &Bytes) -> Result<(), Bytes> {
        let (name, checked) = self.check_command(command, argument);
        checked.map_err(|denied| errors::no_permission(&denied, &self.name, name))
    }

    /// Returns the flags as `ACL GETUSER` shows them.
    pub(crate) fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec![if self.enabled { "on" } else { "off" }];
        if self.nopass {
            flags.push("nopass");
        }
        flags
    }

    /// Returns the digests of the passwords, in hexadecimal digits.
    pub(crate) fn password_hashes(&self) -> impl Iterator<Item = String> {
        self.passwords.iter().map(Password::hex)
    }

    /// Returns the rules of each selector, the user's own first: for commands, keys and channels.
    pub(crate) fn shown(&self) -> Vec<[Bytes; 3]> {
        let shown = |selector: &Selector| {
            [
                selector.commands.describe().into(),
                selector.keys.describe().into(),
                selector.channels.describe().into(),
            ]
        };
        self.selectors.iter().map(shown).collect()
    }

    /// Returns the rules that make this user from one that can do nothing: what `ACL LIST` shows behind the name, what
    /// files hold, and what the cluster keeps.
    pub fn definition(&self) -> Bytes {
        let flags = self
            .flags()
            .into_iter()
            .map(|flag| flag.as_bytes().to_vec());
        let mut parts: Vec<Vec<u8>> = flags.collect();
        parts.extend(
            self.password_hashes()
                .map(|hash| format!("#{hash}").into_bytes()),
        );
        for (k, selector) in self.selectors.iter().enumerate() {
            let rules = selector.describe();
            parts.push(match k {
                0 => rules,
                _ => in_parentheses(&rules),
            });
        }
        parts.join(&b' ').into()
    }
}

/// Returns the rules of a selector as one rule. The first word that ends with a parenthesis ends it, so that a pattern
/// which does must come last: it was last when the selector was made, for the same reason. Redis writes it where it
/// writes patterns, and reads back something else.
fn in_parentheses(rules: &[u8]) -> Vec<u8> {
    let closes = |word: &&[u8]| matches!(word, [b'~' | b'&' | b'%', .., b')']);
    let (last, mut words): (Vec<&[u8]>, Vec<&[u8]>) =
        rules.split(|byte| *byte == b' ').partition(closes);
    words.extend(last);
    [b"(", &words.join(&b' ')[..], b")"].concat()
}

/// Returns whether a user can have this name.
pub(super) fn is_name(name: &[u8]) -> bool {
    !has_spaces(name)
}
