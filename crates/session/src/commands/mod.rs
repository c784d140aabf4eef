//! What each command means: typed commands, their parsers, and what they do to a connection.
//!
//! A parser checks syntax and touches nothing; [`Command::run`] acts on the connection's own state
//! and says what must happen next: an answer, or a question to the node. Neither can see a socket
//! or another connection.

pub(crate) mod acl;
pub(crate) mod admin;
pub(crate) mod client;
pub(crate) mod clients;
pub(crate) mod cluster;
pub(crate) mod command;
pub(crate) mod config;
pub(crate) mod connection;
pub(crate) mod consumers;
pub(crate) mod generic;
pub(crate) mod latency;
pub(crate) mod lolwut;
pub(crate) mod memory;
pub(crate) mod pubsub;
pub(crate) mod scripting;
pub(crate) mod server;
pub(crate) mod slowlog;
pub(crate) mod streams;
pub(crate) mod strings;
pub(crate) mod transaction;

use crate::ask::{Ask, ClusterAsk, PubSubQuery, Seq, UsersAsk};
use crate::connection::Connection;
use crate::docs;
use crate::env::Env;
use crate::errors::{self, ErrorText};
use crate::local::LocalAsk;
use bytes::Bytes;
use corgi_base::streams::StreamOp;
use corgi_base::{ClientId, KeyOp, Op, SubscriptionKind};
use corgi_resp::Reply;

/// The arguments that a parser has not read yet.
pub(crate) type Args = std::vec::IntoIter<Bytes>;

/// A command whose syntax is right.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Acl(acl::AclCommand),
    Auth {
        user: Option<Bytes>,
        password: Bytes,
    },
    ClientCapa {
        redirect: bool,
    },
    ClientGetName,
    ClientId,
    ClientNoEvict(bool),
    ClientNoTouch(bool),
    ClientReply(client::ReplyMode),
    ClientSetInfo {
        attribute: client::Attribute,
        value: Option<Bytes>,
    },
    ClientSetName(Option<Bytes>),
    Cluster(ClusterAsk),
    /// The same answer for everybody.
    Constant(Reply),
    TableCount,
    TableInfo(Vec<Bytes>),
    TableList(command::Filter),
    Discard,
    Docs(Vec<Bytes>),
    Echo(Bytes),
    Eval {
        script: scripting::Script,
        arguments: Vec<Bytes>,
    },
    Exec,
    Hello(connection::Hello),
    Help(&'static [&'static str]),
    Info(Vec<Bytes>),
    /// An operation on keys of another database too.
    Across(generic::Across),
    /// An operation on keys.
    Keys(KeyOp),
    /// A read of streams that may wait.
    Wait {
        op: Box<StreamOp>,
        block_ms: u64,
    },
    Unblock {
        client: ClientId,
        error: bool,
    },
    Multi,
    Local(LocalAsk),
    Lolwut,
    Monitor,
    Ping(Option<Bytes>),
    PubSub(PubSubQuery),
    Quit,
    Reset,
    ScriptExists(Vec<Bytes>),
    ScriptFlush,
    ScriptLoad(Bytes),
    Select(i32),
    Subscribe {
        kind: SubscriptionKind,
        names: Vec<Bytes>,
    },
    Unsubscribe {
        kind: SubscriptionKind,
        names: Vec<Bytes>,
    },
    Users(UsersAsk),
    Unwatch,
    Watch(Vec<Bytes>),
    /// An operation that the log records.
    Write(Op),
}

/// What follows from a command.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// It is done; this is its reply.
    Answer(Reply),
    /// It is done; after this reply the connection ends.
    Leave(Reply),
    /// It is done; this is its reply even if replies are off.
    Insist(Reply),
    /// It is done, and has no reply.
    Silent,
    /// The process answers it, alone.
    Local(LocalAsk),
    /// The node records it, together with what comes before and after.
    Write(Op),
    /// The node answers it from the keys, or records it if it changes them.
    Keys {
        /// The database.
        db: u8,
        /// What is done.
        op: KeyOp,
        /// For how long it may wait until there is something, if it may; 0 for as long as it takes.
        block_ms: Option<u64>,
    },
    /// The node records them as one step; then the reply is nil.
    Script(Vec<Op>),
    /// The node acts on it alone: after all that came before, and before anything that comes after.
    Barrier(Ask),
}

impl Step {
    /// Whether nobody else has to do anything for it.
    pub(crate) fn is_done(&self) -> bool {
        matches!(
            self,
            Self::Answer(_) | Self::Leave(_) | Self::Insist(_) | Self::Silent
        )
    }
}

impl From<Result<Reply, ErrorText>> for Step {
    fn from(result: Result<Reply, ErrorText>) -> Self {
        Self::Answer(result.unwrap_or_else(Reply::Error))
    }
}

impl Command {
    /// Acts on the connection.
    pub(crate) fn run(self, seq: Seq, conn: &mut Connection, env: &Env) -> Step {
        match self {
            Self::Acl(command) => command.run(seq, conn, env).into(),
            Self::Auth { user, password } => connection::auth(conn, user, &password).into(),
            Self::ClientCapa { redirect } => {
                conn.may_redirect |= redirect;
                Step::Answer(Reply::ok())
            }
            Self::ClientGetName => Step::Answer(client::name(conn)),
            Self::ClientId => Step::Answer(Reply::Integer(conn.id_number())),
            Self::ClientNoEvict(on) => {
                conn.no_evict = on;
                Step::Answer(Reply::ok())
            }
            Self::ClientNoTouch(on) => {
                conn.no_touch = on;
                Step::Answer(Reply::ok())
            }
            Self::ClientReply(mode) => client::reply(conn, mode),
            Self::ClientSetInfo { attribute, value } => {
                Step::Answer(client::set_info(conn, attribute, value))
            }
            Self::ClientSetName(name) => Step::Answer(client::set_name(conn, name)),
            Self::Cluster(ask) => Step::Barrier(Ask::Cluster { seq, ask }),
            Self::Constant(reply) => Step::Answer(reply),
            Self::TableCount => Step::Answer(command::count()),
            Self::TableInfo(names) => Step::Answer(command::info(&names)),
            Self::TableList(filter) => Step::Answer(command::list(&filter)),
            Self::Discard => transaction::discard(conn).into(),
            Self::Docs(names) => Step::Answer(docs::reply(&names)),
            Self::Echo(text) => Step::Answer(Reply::Bulk(text)),
            Self::Eval { script, arguments } => {
                let step = scripting::eval(conn, env, &script, arguments);
                pubsub::paced(conn, env, step)
            }
            // With a `MULTI` before it, it is a matter of the session.
            Self::Exec => Step::Answer(Reply::error(errors::EXEC_WITHOUT_MULTI)),
            Self::Hello(hello) => connection::hello(seq, conn, env, hello),
            Self::Help(lines) => Step::Answer(help(lines)),
            Self::Info(sections) => Step::Barrier(Ask::Info { seq, sections }),
            Self::Across(command) => match command.resolve(conn, env) {
                Ok(op) => Self::Keys(op).run(seq, conn, env),
                Err(text) => Step::Answer(Reply::Error(text)),
            },
            Self::Keys(op) => Step::Keys {
                db: conn.database,
                op,
                block_ms: None,
            },
            Self::Wait { op, block_ms } => Step::Keys {
                db: conn.database,
                op: KeyOp::Stream(op),
                block_ms: Some(block_ms),
            },
            Self::Unblock { client, error } => Step::Barrier(Ask::Unblock { seq, client, error }),
            Self::Multi => transaction::multi(conn).into(),
            Self::Local(ask) => match clients::unknown_user(&ask, env) {
                Some(error) => Step::Answer(error),
                None => Step::Local(ask),
            },
            Self::Lolwut => Step::Answer(lolwut::draw(env)),
            Self::Monitor => {
                conn.monitor = true;
                Step::Answer(Reply::ok())
            }
            Self::Ping(text) => Step::Answer(connection::ping(conn, text)),
            Self::PubSub(query) => Step::Barrier(Ask::PubSub { seq, query }),
            Self::Quit => Step::Leave(Reply::ok()),
            Self::Reset => Step::Barrier(Ask::Reset { seq }),
            Self::ScriptExists(names) => Step::Answer(scripting::exists(env, &names)),
            Self::ScriptFlush => {
                env.scripts.flush();
                Step::Answer(Reply::ok())
            }
            Self::ScriptLoad(script) => scripting::load(env, &script).into(),
            Self::Select(database) => connection::select(conn, env, database).into(),
            Self::Subscribe { kind, names } => pubsub::subscribe(seq, conn, env, kind, names),
            Self::Unsubscribe { kind, names } => {
                Step::Barrier(Ask::Unsubscribe { seq, kind, names })
            }
            Self::Users(ask) => Step::Barrier(Ask::Users { seq, ask }),
            Self::Unwatch => Step::Answer(transaction::unwatch(conn)),
            Self::Watch(keys) => transaction::watch(seq, conn, env, keys),
            Self::Write(op) => pubsub::paced(conn, env, Step::Write(op)),
        }
    }
}

/// Returns the array of lines that Redis' `HELP` subcommands give: a head, the lines, and `HELP`
/// itself.
fn help(lines: &[&'static str]) -> Reply {
    let last = ["HELP", "    Print this help."];
    let line = |text: &&'static str| Reply::Simple(Bytes::from_static(text.as_bytes()));
    Reply::Array(lines.iter().chain(&last).map(line).collect())
}

/// Returns the next argument, which the arity has promised.
fn required(args: &mut Args) -> Bytes {
    args.next()
        .expect("the table's arity was checked before the parser was called")
}

/// Copies what outlives its request: a slice would keep the whole read buffer alive.
fn owned(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// Reads an integer as strictly as Redis: no sign `+`, no leading zeros, no spaces.
fn integer(bytes: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.parse::<i64>().ok().filter(|n| n.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::integer;

    #[test]
    fn integers_are_strict() {
        assert_eq!(integer(b"0"), Some(0));
        assert_eq!(integer(b"-15"), Some(-15));
        for wrong in [
            &b""[..],
            b"+1",
            b"01",
            b"-0",
            b" 1",
            b"1 ",
            b"x",
            b"99999999999999999999",
        ] {
            assert_eq!(integer(wrong), None, "{wrong:?}");
        }
    }
}
