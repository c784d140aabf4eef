//! What administrators and their tools send: `SAVE` and its kin, `SHUTDOWN`, `DEBUG`, `MODULE`, `REPLICAOF`, `WAIT`.

use super::{Args, Command, integer, required};
use crate::ask::ClusterAsk;
use crate::errors::{self, ErrorText};
use crate::local::LocalAsk;
use bytes::Bytes;
use corgi_resp::Reply;

const MODULE_HELP: &[&str] = &[
    "MODULE <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "LIST",
    "    Give an empty list: there are no modules.",
    "LOAD, LOADEX, UNLOAD",
    "    Always an error.",
];

fn local(ask: LocalAsk) -> Result<Command, ErrorText> {
    Ok(Command::Local(ask))
}

fn syntax() -> ErrorText {
    Bytes::from_static(errors::SYNTAX)
}

/// Whatever was acknowledged is in the log on disk, so that nothing is left to do. The texts are Redis', because tools
/// look at them.
pub(crate) fn parse_bgrewriteaof(_: &mut Args) -> Result<Command, ErrorText> {
    local(LocalAsk::Save(
        "Background append only file rewriting started",
    ))
}

/// `BGSAVE [SCHEDULE]`.
pub(crate) fn parse_bgsave(args: &mut Args) -> Result<Command, ErrorText> {
    match (args.next(), args.next()) {
        (None, _) => {}
        (Some(word), None) if word.eq_ignore_ascii_case(b"schedule") => {}
        (Some(_), _) => return Err(syntax()),
    }
    local(LocalAsk::Save("Background saving started"))
}

pub(crate) fn parse_save(_: &mut Args) -> Result<Command, ErrorText> {
    local(LocalAsk::Save("OK"))
}

pub(crate) fn parse_lastsave(_: &mut Args) -> Result<Command, ErrorText> {
    local(LocalAsk::LastSave)
}

/// `DEBUG …`: whether it is allowed comes before what it is, as in Redis.
pub(crate) fn parse_debug(args: &mut Args) -> Result<Command, ErrorText> {
    local(LocalAsk::Debug(args.collect()))
}

pub(crate) fn parse_module_help(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Help(MODULE_HELP))
}

pub(crate) fn parse_module_list(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Constant(Reply::Array(Vec::new())))
}

pub(crate) fn parse_module_load(_: &mut Args) -> Result<Command, ErrorText> {
    Err(Bytes::from_static(errors::NO_MODULES))
}

/// `REPLICAOF host port`: only `NO ONE`, which is so already.
pub(crate) fn parse_replicaof(args: &mut Args) -> Result<Command, ErrorText> {
    let (host, port) = (required(args), required(args));
    if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
        return Ok(Command::Constant(Reply::ok()));
    }
    let port = integer(&port).filter(|port| (0..=65535).contains(port));
    Err(Bytes::from_static(match port {
        Some(_) => errors::REPLICAOF,
        None => errors::INVALID_MASTER_PORT,
    }))
}

/// `SHUTDOWN [NOSAVE|SAVE] [NOW] [FORCE] [ABORT]`. Everything is saved already; a shutdown that has begun goes through.
pub(crate) fn parse_shutdown(args: &mut Args) -> Result<Command, ErrorText> {
    let (mut save, mut no_save, mut abort, mut words) = (false, false, false, 0);
    for word in args {
        words += 1;
        match &word.to_ascii_lowercase()[..] {
            b"save" => save = true,
            b"nosave" => no_save = true,
            // To hand over takes no longer than a client waits for a write, and nothing can fail that must be forced.
            b"now" | b"force" => {}
            b"abort" => abort = true,
            _ => return Err(syntax()),
        }
    }
    if (save && no_save) || (abort && words > 1) {
        return Err(syntax());
    }
    if abort {
        return Err(Bytes::from_static(errors::NO_SHUTDOWN));
    }
    local(LocalAsk::Shutdown)
}

pub(crate) fn parse_time(_: &mut Args) -> Result<Command, ErrorText> {
    local(LocalAsk::Time)
}

/// `WAIT numreplicas timeout`: what was acknowledged is on a majority, so that there is nothing to wait for.
pub(crate) fn parse_wait(args: &mut Args) -> Result<Command, ErrorText> {
    count(&required(args))?;
    timeout(&required(args))?;
    Ok(Command::Cluster(ClusterAsk::Wait { local: None }))
}

/// `WAITAOF numlocal numreplicas timeout`.
pub(crate) fn parse_waitaof(args: &mut Args) -> Result<Command, ErrorText> {
    let local = count(&required(args))?;
    if !(0..=1).contains(&local) {
        return Err(Bytes::from_static(errors::LOCAL_COUNT));
    }
    if count(&required(args))? < 0 {
        return Err(Bytes::from_static(errors::NOT_POSITIVE));
    }
    timeout(&required(args))?;
    // It is on this node's disk too, or a majority of others vouches for it.
    Ok(Command::Cluster(ClusterAsk::Wait { local: Some(1) }))
}

fn count(word: &[u8]) -> Result<i64, ErrorText> {
    integer(word).ok_or_else(|| Bytes::from_static(errors::NOT_AN_INTEGER))
}

fn timeout(word: &[u8]) -> Result<(), ErrorText> {
    match integer(word) {
        None => Err(Bytes::from_static(errors::TIMEOUT_NOT_AN_INTEGER)),
        Some(ms) if ms < 0 => Err(Bytes::from_static(errors::TIMEOUT_NEGATIVE)),
        Some(_) => Ok(()),
    }
}
