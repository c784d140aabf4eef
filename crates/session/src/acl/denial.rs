//! What was denied, for `ACL LOG` (<https://redis.io/docs/latest/commands/acl-log/>).

use super::Denied;
use bytes::Bytes;

/// Of a longer name only the beginning is kept.
const NAME_BYTES_MAX: usize = 4096;
/// A client that is denied more at once is not told of further.
const NOTES_MAX: usize = 128;

/// Why something was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A wrong name or password.
    Auth,
    /// The command.
    Command,
    /// One of its keys.
    Key,
    /// One of its channels.
    Channel,
    /// The user that a certificate names, who is not there or is switched off.
    Certificate,
}

impl Reason {
    /// Returns Redis' name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Command => "command",
            Self::Key => "key",
            Self::Channel => "channel",
            Self::Certificate => "tls-cert",
        }
    }
}

/// Where the command stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// By itself.
    TopLevel,
    /// In a transaction.
    Multi,
    /// In a script.
    Script,
}

impl Context {
    /// Returns Redis' name.
    pub fn name(self) -> &'static str {
        match self {
            Self::TopLevel => "toplevel",
            Self::Multi => "multi",
            Self::Script => "lua",
        }
    }
}

/// Something that a client may not do, and wanted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Why.
    pub reason: Reason,
    /// Where.
    pub context: Context,
    /// The command, the key, or the channel.
    pub object: Bytes,
    /// As whom.
    pub user: Bytes,
}

/// What one client was denied since somebody last looked: each once, with how often.
#[derive(Debug, Default)]
pub(crate) struct Denials(Vec<(Denial, u64)>);

impl Denials {
    /// Notes that a user may not run a command.
    pub(crate) fn note(&mut self, denied: &Denied, context: Context, command: &str, user: &[u8]) {
        let (reason, object) = match denied {
            Denied::Command => (Reason::Command, command.as_bytes()),
            Denied::Key { name, .. } => (Reason::Key, &name[..]),
            Denied::Channel { name, .. } => (Reason::Channel, &name[..]),
        };
        self.add(reason, context, object, user);
    }

    /// Notes that a name or a password was wrong.
    pub(crate) fn note_auth(&mut self, command: &str, user: &[u8]) {
        self.add(Reason::Auth, Context::TopLevel, command.as_bytes(), user);
    }

    /// Notes that a certificate names nobody.
    pub(crate) fn note_certificate(&mut self, user: &[u8]) {
        self.add(Reason::Certificate, Context::TopLevel, b"", user);
    }

    /// Takes what was noted.
    pub(crate) fn take(&mut self) -> Vec<(Denial, u64)> {
        std::mem::take(&mut self.0)
    }

    fn add(&mut self, reason: Reason, context: Context, object: &[u8], user: &[u8]) {
        // Copies: a slice would keep the whole read buffer alive.
        let kept = |name: &[u8]| Bytes::copy_from_slice(&name[..name.len().min(NAME_BYTES_MAX)]);
        let denial = Denial {
            reason,
            context,
            object: kept(object),
            user: kept(user),
        };
        match self.0.iter().position(|(known, _)| *known == denial) {
            Some(at) => self.0[at].1 += 1,
            None if self.0.len() < NOTES_MAX => self.0.push((denial, 1)),
            None => {}
        }
    }
}
