//! From a request to a typed command, with Redis' checks in Redis' order.

use crate::acl::{Denied, User};
use crate::commands::Command;
use crate::connection::Connection;
use crate::errors::{self, ErrorText};
use crate::history;
use crate::table::{self, Flags, Spec};
use bytes::Bytes;

/// A request whose command is known and may run now, or once `EXEC` comes.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) spec: &'static Spec,
    pub(crate) args: Vec<Bytes>,
    /// How many arguments name the command.
    skip: usize,
}

impl Checked {
    /// Returns why `user` may not run it any more, if that is so.
    pub(crate) fn denied(&self, user: &User) -> Option<Denied> {
        user.check(self.spec, &self.args).err()
    }

    /// Parses what follows the name.
    ///
    /// # Errors
    /// The text of the command's own check that fails.
    pub(crate) fn parse(self) -> Result<Command, ErrorText> {
        let mut args = self.args.into_iter();
        args.by_ref().take(self.skip).for_each(drop);
        (self.spec.parse)(&mut args)
    }
}

/// Why a request does not run, and which command it was, if any.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) spec: Option<&'static Spec>,
    pub(crate) text: ErrorText,
    /// What the user may not do, if that is why.
    pub(crate) denied: Option<Denied>,
}

/// Finds the command of a request and makes the checks that come before its own: known, then arity,
/// then authentication, then permissions, then subscribed mode.
///
/// # Errors
/// The first check that fails; nothing has happened then.
pub(crate) fn check(conn: &Connection, args: Vec<Bytes>) -> Result<Checked, Refused> {
    let (spec, skip) = lookup(&args).map_err(|text| Refused {
        spec: None,
        text,
        denied: None,
    })?;
    let refused = |text| {
        Err(Refused {
            spec: Some(spec),
            text,
            denied: None,
        })
    };
    if !spec.accepts(args.len()) {
        return refused(errors::wrong_arity(spec.name));
    }
    if !conn.may_run() && !spec.flags.contains(Flags::NO_AUTH) {
        return refused(Bytes::from_static(errors::NO_AUTH));
    }
    if conn.multi.is_some() && spec.flags.contains(Flags::NO_MULTI) {
        return refused(Bytes::from_static(errors::NOT_IN_MULTI));
    }
    if let Err(denied) = conn.user.check(spec, &args) {
        return Err(Refused {
            spec: Some(spec),
            text: errors::no_permission(&denied, conn.user.name(), spec.name),
            denied: Some(denied),
        });
    }
    if let Some(text) = history::refusal(conn, spec, &args) {
        return refused(text);
    }
    if conn.resp2_subscribed() && !spec.flags.contains(Flags::IN_SUBSCRIBED) {
        return refused(errors::subscribed_mode(spec.name));
    }
    Ok(Checked { spec, args, skip })
}

/// Returns the row, and how many arguments name it.
pub(crate) fn lookup(args: &[Bytes]) -> Result<(&'static Spec, usize), ErrorText> {
    let spec = args.first().and_then(|name| table::find(name));
    let Some(spec) = spec else {
        return Err(errors::unknown_command(args));
    };
    match args.get(1) {
        Some(name) if !spec.subcommands.is_empty() => table::find_subcommand(spec, name)
            .map(|sub| (sub, 2))
            .ok_or_else(|| errors::unknown_subcommand(spec.name, name)),
        _ => Ok((spec, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::{Acl, Users, require_pass};
    use crate::env::Env;
    use corgi_base::ClientId;

    fn with_password() -> Acl {
        Acl::stored(0, require_pass(b"secret").into_iter())
    }

    fn parse(conn: &Connection, args: Vec<Bytes>) -> Result<Command, ErrorText> {
        check(conn, args)
            .map_err(|refused| refused.text)
            .and_then(Checked::parse)
    }

    fn refusal(conn: &Connection, line: &str) -> String {
        let args = line
            .split(' ')
            .map(|w| Bytes::copy_from_slice(w.as_bytes()))
            .collect();
        let text = parse(conn, args).expect_err("the tests ask what is refused");
        String::from_utf8(text.to_vec()).expect("the tests send text")
    }

    #[test]
    fn checks_come_in_redis_order() {
        let env = Env {
            users: Users::new(with_password()),
            ..Env::default()
        };
        let mut conn = Connection::new(ClientId(1), &env);
        conn.subscriptions = 1;
        assert!(refusal(&conn, "nosuch").starts_with("ERR unknown command 'nosuch'"));
        assert_eq!(
            refusal(&conn, "client nosuch"),
            "ERR unknown subcommand 'nosuch'. Try CLIENT HELP."
        );
        assert_eq!(
            refusal(&conn, "publish a"),
            "ERR wrong number of arguments for 'publish' command"
        );
        assert_eq!(
            refusal(&conn, "publish a b"),
            "NOAUTH Authentication required."
        );
        conn.authenticated = true;
        assert!(refusal(&conn, "publish a b").starts_with("ERR Can't execute 'publish': only"));
        assert!(refusal(&conn, "CLIENT ID").starts_with("ERR Can't execute 'client|id': only"));
        assert_eq!(
            refusal(&conn, "client"),
            "ERR wrong number of arguments for 'client' command"
        );
        assert_eq!(
            refusal(&conn, "client id 1"),
            "ERR wrong number of arguments for 'client|id' command"
        );
    }

    #[test]
    fn subscribed_mode_is_a_matter_of_resp2_only() {
        let mut conn = Connection::new(ClientId(1), &Env::default());
        conn.subscriptions = 1;
        conn.protocol = corgi_base::Protocol::Resp3;
        let args = vec![Bytes::from_static(b"client"), Bytes::from_static(b"id")];
        assert_eq!(parse(&conn, args), Ok(Command::ClientId));
    }
}
