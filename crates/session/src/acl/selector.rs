//! One set of permissions: commands, keys and channels that are allowed together.

use super::Denied;
use super::commands::Commands;
use super::patterns::{Channels, Keys};
use super::rule::{RuleError, Source, words};
use crate::history::channel_of;
use crate::keys::{ChannelUse, KeyFlags};
use crate::table::{Flags, Spec};
use bytes::Bytes;

/// What a user may do. A request is allowed if one selector of its user allows all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selector {
    pub(super) commands: Commands,
    pub(super) keys: Keys,
    pub(super) channels: Channels,
}

impl Selector {
    /// Returns a selector that allows nothing, or only channels.
    pub(super) fn new(all_channels: bool) -> Self {
        Self {
            channels: Channels::new(all_channels),
            ..Self::default()
        }
    }

    /// Returns a selector for the rules between its brackets.
    pub(super) fn parse(
        rules: &[u8],
        all_channels: bool,
        source: Source,
    ) -> Result<Self, RuleError> {
        let mut selector = Self::new(all_channels);
        for rule in words(rules) {
            selector.apply(rule, source)?;
        }
        Ok(selector)
    }

    /// Takes one rule.
    pub(super) fn apply(&mut self, rule: &[u8], source: Source) -> Result<(), RuleError> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        if is("allkeys") || rule == b"~*" {
            self.keys.set_all(true);
        } else if is("resetkeys") {
            self.keys.set_all(false);
        } else if is("allchannels") || rule == b"&*" {
            self.channels.set_all(true);
        } else if is("resetchannels") {
            self.channels.set_all(false);
        } else if is("allcommands") {
            self.commands.set_all(true);
        } else if is("nocommands") {
            self.commands.set_all(false);
        } else {
            match rule {
                [b'~' | b'%', ..] => self.keys.add(rule)?,
                [b'&', pattern @ ..] => self.channels.add(pattern)?,
                [sign @ (b'+' | b'-'), b'@', category @ ..] => {
                    self.commands
                        .set_category(*sign == b'+', text(category)?, source)?;
                }
                [sign @ (b'+' | b'-'), command @ ..] => {
                    self.commands
                        .set_command(*sign == b'+', text(command)?, source)?;
                }
                _ => return Err(RuleError::Syntax),
            }
        }
        Ok(())
    }

    /// Returns whether nothing is denied.
    pub(super) fn allows_all(&self) -> bool {
        self.commands.all() && self.keys.all() && self.channels.all()
    }

    /// Checks a request, whose first argument is the command's name.
    pub(super) fn check(&self, row: &Spec, args: &[Bytes]) -> Result<(), Denied> {
        if !row.flags.contains(Flags::NO_AUTH) && !self.commands.allows(row, args) {
            return Err(Denied::Command);
        }
        if !self.keys.all() || !self.channels.all() {
            let keys = row
                .keys
                .iter()
                .filter(|spec| !spec.flags.contains(KeyFlags::NOT_KEY));
            for spec in keys {
                let flags = spec.flags_in(args);
                for at in spec.find(args) {
                    let name = args[at].clone();
                    // Who may listen to a channel may read its history.
                    if let Some(channel) = channel_of(&name) {
                        if !self.channels.allow(&channel, ChannelUse::Subscribe) {
                            return Err(Denied::Channel { at, name });
                        }
                    } else if !self.keys.allow(&name, flags) {
                        return Err(Denied::Key { at, name });
                    }
                }
            }
        }
        if let Some(spec) = row.channels
            && !self.channels.all()
        {
            for (at, channel) in (spec.first..).zip(spec.find(args)) {
                let listened = channel_of(channel);
                let channel_or_history = listened.as_ref().unwrap_or(channel);
                if !self.channels.allow(channel_or_history, spec.used) {
                    let name = channel.clone();
                    return Err(Denied::Channel { at, name });
                }
            }
        }
        Ok(())
    }

    /// Returns the selector's rules: keys, channels, commands.
    pub(super) fn describe(&self) -> Vec<u8> {
        let mut parts = Vec::new();
        let keys = self.keys.describe();
        if !keys.is_empty() {
            parts.push(keys);
        }
        if !self.channels.all() {
            parts.push(b"resetchannels".to_vec());
        }
        let channels = self.channels.describe();
        if !channels.is_empty() {
            parts.push(channels);
        }
        parts.push(self.commands.describe().into_bytes());
        parts.join(&b' ')
    }
}

/// Names of commands and categories are text; what is none, names none.
fn text(name: &[u8]) -> Result<&str, RuleError> {
    std::str::from_utf8(name).map_err(|_not_text| RuleError::Unknown)
}
