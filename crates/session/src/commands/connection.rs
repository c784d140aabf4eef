//! Handshake and housekeeping: `AUTH`, `ECHO`, `HELLO`, `PING`, `QUIT`, `RESET`, `SELECT`.

use super::{Args, Command, Step, client, integer, required};
use crate::ask::{Ask, Seq};
use crate::connection::Connection;
use crate::env::Env;
use crate::errors::{self, ErrorText};
use bytes::Bytes;
use corgi_base::Protocol;
use corgi_resp::Reply;

/// `HELLO`'s arguments (<https://redis.io/docs/latest/commands/hello/>). Of a repeated option the
/// last one counts.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Hello {
    pub(crate) protocol: Option<Protocol>,
    pub(crate) auth: Option<(Bytes, Bytes)>,
    /// The inner `None` takes the name away.
    pub(crate) name: Option<Option<Bytes>>,
}

/// `AUTH [username] password` (<https://redis.io/docs/latest/commands/auth/>).
pub(crate) fn parse_auth(args: &mut Args) -> Result<Command, ErrorText> {
    let first = required(args);
    match (args.next(), args.next()) {
        (None, _) => Ok(Command::Auth {
            user: None,
            password: first,
        }),
        (Some(password), None) => Ok(Command::Auth {
            user: Some(first),
            password,
        }),
        (Some(_), Some(_)) => Err(Bytes::from_static(errors::SYNTAX)),
    }
}

/// `ECHO message` (<https://redis.io/docs/latest/commands/echo/>).
pub(crate) fn parse_echo(args: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Echo(required(args)))
}

/// `HELLO [protover [AUTH username password] [SETNAME clientname]]`.
pub(crate) fn parse_hello(args: &mut Args) -> Result<Command, ErrorText> {
    let mut hello = Hello::default();
    if let Some(version) = args.next() {
        hello.protocol = Some(match integer(&version) {
            Some(2) => Protocol::Resp2,
            Some(3) => Protocol::Resp3,
            Some(_) => return Err(Bytes::from_static(errors::NO_PROTO)),
            None => return Err(Bytes::from_static(errors::PROTO_NOT_AN_INTEGER)),
        });
    }
    while let Some(option) = args.next() {
        if option.eq_ignore_ascii_case(b"auth") {
            let (Some(user), Some(password)) = (args.next(), args.next()) else {
                return Err(errors::hello_option(&option));
            };
            hello.auth = Some((user, password));
        } else if option.eq_ignore_ascii_case(b"setname") {
            let name = args.next().ok_or_else(|| errors::hello_option(&option))?;
            hello.name = Some(client::valid_name(&name)?);
        } else {
            return Err(errors::hello_option(&option));
        }
    }
    Ok(Command::Hello(hello))
}

/// `PING [message]` (<https://redis.io/docs/latest/commands/ping/>).
pub(crate) fn parse_ping(args: &mut Args) -> Result<Command, ErrorText> {
    let text = args.next();
    if args.next().is_some() {
        return Err(errors::wrong_arity("ping"));
    }
    Ok(Command::Ping(text))
}

/// `QUIT` (<https://redis.io/docs/latest/commands/quit/>); whatever follows the name is ignored.
pub(crate) fn parse_quit(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Quit)
}

/// `RESET` (<https://redis.io/docs/latest/commands/reset/>).
pub(crate) fn parse_reset(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Reset)
}

/// `SELECT index` (<https://redis.io/docs/latest/commands/select/>).
pub(crate) fn parse_select(args: &mut Args) -> Result<Command, ErrorText> {
    let Some(database) = integer(&required(args)) else {
        return Err(Bytes::from_static(errors::NOT_AN_INTEGER));
    };
    match i32::try_from(database) {
        Ok(database) => Ok(Command::Select(database)),
        Err(_) => Err(Bytes::from_static(errors::OUT_OF_INT_RANGE)),
    }
}

pub(crate) fn auth(
    conn: &mut Connection,
    user: Option<Bytes>,
    password: &[u8],
) -> Result<Reply, ErrorText> {
    if user.is_none() && conn.acl.default_user().nopass() {
        return Err(Bytes::from_static(errors::NO_PASSWORD_CONFIGURED));
    }
    let user = user.unwrap_or_else(|| Bytes::from_static(b"default"));
    if conn.authenticate(&user, password) {
        Ok(Reply::ok())
    } else {
        conn.denials.note_auth("AUTH", &user);
        Err(Bytes::from_static(errors::WRONG_PASS))
    }
}

/// A version other than the present one takes a barrier: the node must know where in the stream of
/// deliveries the new encoding starts.
pub(crate) fn hello(seq: Seq, conn: &mut Connection, env: &Env, hello: Hello) -> Step {
    if let Some((user, password)) = hello.auth
        && !conn.authenticate(&user, &password)
    {
        conn.denials.note_auth("HELLO", &user);
        return Step::Answer(Reply::Error(Bytes::from_static(errors::WRONG_PASS)));
    }
    if !conn.may_run() {
        return Step::Answer(Reply::Error(Bytes::from_static(errors::HELLO_NO_AUTH)));
    }
    if let Some(name) = hello.name {
        conn.name = name;
    }
    match hello.protocol {
        Some(protocol) if protocol != conn.protocol => {
            Step::Barrier(Ask::SetProtocol { seq, protocol })
        }
        Some(_) | None => Step::Answer(conn.hello(env)),
    }
}

/// While RESP2 is subscribed the reply has the shape of a message, so that client libraries do not
/// mistake it.
pub(crate) fn ping(conn: &Connection, text: Option<Bytes>) -> Reply {
    if conn.resp2_subscribed() {
        return Reply::Array(vec![
            Reply::bulk("pong"),
            Reply::Bulk(text.unwrap_or_default()),
        ]);
    }
    text.map_or_else(|| Reply::Simple(Bytes::from_static(b"PONG")), Reply::Bulk)
}

pub(crate) fn select(conn: &mut Connection, env: &Env, database: i32) -> Result<Reply, ErrorText> {
    match u8::try_from(database) {
        Ok(database) if u32::from(database) < env.databases => {
            conn.database = database;
            Ok(Reply::ok())
        }
        Ok(_) | Err(_) => Err(Bytes::from_static(errors::DATABASE_OUT_OF_RANGE)),
    }
}
