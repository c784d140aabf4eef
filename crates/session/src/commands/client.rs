//! `CLIENT ID|SETNAME|GETNAME|SETINFO|HELP` (<https://redis.io/docs/latest/commands/client/>).

use super::{Args, Command, owned, required};
use crate::connection::Connection;
use crate::errors::{self, ErrorText};
use bytes::Bytes;
use corgi_resp::Reply;

/// What `CLIENT SETINFO` can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attribute {
    LibName,
    LibVer,
}

const HELP: &[&str] = &[
    "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GETNAME",
    "    Give the name of this connection.",
    "ID",
    "    Give the number of this connection.",
    "SETINFO <LIB-NAME|LIB-VER> <value>",
    "    Tell the client library's name or version.",
    "SETNAME <name>",
    "    Name this connection.",
];

pub(crate) fn parse_getname(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::ClientGetName)
}

pub(crate) fn parse_help(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Help(HELP))
}

pub(crate) fn parse_id(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::ClientId)
}

pub(crate) fn parse_setinfo(args: &mut Args) -> Result<Command, ErrorText> {
    let (option, value) = (required(args), required(args));
    let attribute = if option.eq_ignore_ascii_case(b"lib-name") {
        Attribute::LibName
    } else if option.eq_ignore_ascii_case(b"lib-ver") {
        Attribute::LibVer
    } else {
        return Err(errors::unrecognized_option(&option));
    };
    if !printable(&value) {
        return Err(errors::client_attribute(&option));
    }
    Ok(Command::ClientSetInfo {
        attribute,
        value: given(&value),
    })
}

pub(crate) fn parse_setname(args: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::ClientSetName(valid_name(&required(args))?))
}

/// Checks a connection's name; an empty one takes the name away.
pub(super) fn valid_name(name: &Bytes) -> Result<Option<Bytes>, ErrorText> {
    if printable(name) {
        Ok(given(name))
    } else {
        Err(Bytes::from_static(errors::CLIENT_NAME))
    }
}

pub(crate) fn name(conn: &Connection) -> Reply {
    conn.name.clone().map_or(Reply::Null, Reply::Bulk)
}

pub(crate) fn set_name(conn: &mut Connection, name: Option<Bytes>) -> Reply {
    conn.name = name;
    Reply::ok()
}

pub(crate) fn set_info(conn: &mut Connection, attribute: Attribute, value: Option<Bytes>) -> Reply {
    match attribute {
        Attribute::LibName => conn.lib_name = value,
        Attribute::LibVer => conn.lib_ver = value,
    }
    Reply::ok()
}

/// A list of clients separates its fields by spaces and its lines by line ends, so names have
/// neither.
fn printable(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_graphic)
}

fn given(bytes: &Bytes) -> Option<Bytes> {
    (!bytes.is_empty()).then(|| owned(bytes))
}
