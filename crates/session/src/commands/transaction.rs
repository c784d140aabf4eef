//! `MULTI`, `EXEC`, `DISCARD`, `WATCH`, `UNWATCH` (<https://redis.io/docs/latest/develop/using-commands/transactions/>). What
//! `EXEC` does is in [`crate::transaction`].

use super::{Args, Command, Step, owned};
use crate::ask::{Ask, KeyQuery, Seq};
use crate::connection::Connection;
use crate::env::Env;
use crate::errors::{self, ErrorText};
use crate::transaction::{Multi, Watched};
use bytes::Bytes;
use corgi_resp::Reply;

pub(crate) fn parse_discard(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Discard)
}

pub(crate) fn parse_exec(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Exec)
}

pub(crate) fn parse_multi(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Multi)
}

pub(crate) fn parse_unwatch(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Unwatch)
}

/// `WATCH key [key …]`.
pub(crate) fn parse_watch(args: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Watch(args.map(|key| owned(&key)).collect()))
}

/// A nested `MULTI` is refused and harms nothing, as in Redis.
pub(crate) fn multi(conn: &mut Connection) -> Result<Reply, ErrorText> {
    if conn.multi.is_some() {
        return Err(Bytes::from_static(errors::MULTI_NESTED));
    }
    conn.multi = Some(Multi::default());
    Ok(Reply::ok())
}

pub(crate) fn discard(conn: &mut Connection) -> Result<Reply, ErrorText> {
    if conn.multi.take().is_none() {
        return Err(Bytes::from_static(errors::DISCARD_WITHOUT_MULTI));
    }
    conn.watched = Watched::default();
    Ok(Reply::ok())
}

/// Refused between `MULTI` and `EXEC`, which harms nothing, as in Redis.
pub(crate) fn watch(seq: Seq, conn: &mut Connection, env: &Env, keys: Vec<Bytes>) -> Step {
    if conn.multi.is_some() {
        return Step::Answer(Reply::error(errors::WATCH_IN_MULTI));
    }
    let bytes_max = env.limits.max_request_bytes;
    match conn.watched.add(conn.database, keys, bytes_max) {
        Ok(new) if new.is_empty() => Step::Answer(Reply::ok()),
        Ok(new) => {
            let query = KeyQuery::Versions(new);
            Step::Barrier(Ask::Read { seq, query })
        }
        Err(text) => Step::Answer(Reply::Error(text)),
    }
}

pub(crate) fn unwatch(conn: &mut Connection) -> Reply {
    conn.watched = Watched::default();
    Reply::ok()
}
