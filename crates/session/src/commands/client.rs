//! `CLIENT …`, as far as it concerns the connection itself
//! (<https://redis.io/docs/latest/commands/client/>).

use super::{Args, Command, Step, owned, required};
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

/// What becomes of the replies to a client's commands (`CLIENT REPLY`). Messages always arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ReplyMode {
    #[default]
    On,
    Off,
    /// The reply to the next command is left out.
    SkipNext,
}

const HELP: &[&str] = &[
    "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CACHING (YES|NO)",
    "    Always an error: there is no tracking of keys.",
    "CAPA <option> [<option> ...]",
    "    Tell what the client is capable of.",
    "GETNAME",
    "    Give the name of this connection.",
    "GETREDIR",
    "    Give -1: nothing is tracked.",
    "ID",
    "    Give the number of this connection.",
    "INFO",
    "    Describe this connection.",
    "KILL <addr:port>",
    "    Close the connection from that address.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Close the connections that fit, unless SKIPME no without this one. Options are those of LIST.",
    "LIST [<option> <value> [<option> <value> [...]]]",
    "    Describe the connections of this node that fit. Options, each also as NOT-<option>:",
    "    * ADDR <addr:port>",
    "    * DB <database>",
    "    * FLAGS <flags>",
    "    * ID <client-id> [<client-id> ...]",
    "    * IDLE <seconds>",
    "    * IP <address>",
    "    * LADDR <addr:port>",
    "    * LIB-NAME <name>",
    "    * LIB-VER <version>",
    "    * MAXAGE <seconds>",
    "    * NAME <name>",
    "    * SKIPME (YES|NO)",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "    * USER <name>",
    "NO-EVICT (ON|OFF)",
    "    Keep this connection when memory for clients runs out.",
    "NO-TOUCH (ON|OFF)",
    "    Let the commands of this connection not count as use of keys.",
    "PAUSE <milliseconds> [WRITE|ALL]",
    "    Let the commands of all clients of this node, or those that write, wait.",
    "REPLY (ON|OFF|SKIP)",
    "    Say whether this connection gets replies.",
    "SETINFO <LIB-NAME|LIB-VER> <value>",
    "    Tell the client library's name or version.",
    "SETNAME <name>",
    "    Name this connection.",
    "TRACKING (ON|OFF) [<option> ...]",
    "    OFF does nothing; ON is an error: there is no tracking of keys.",
    "TRACKINGINFO",
    "    Say that nothing is tracked.",
    "UNBLOCK <client-id> [TIMEOUT|ERROR]",
    "    End the wait of a blocked client.",
    "UNPAUSE",
    "    End a pause.",
];

/// `CLIENT CACHING YES|NO`: only for connections that track keys, which none does.
pub(crate) fn parse_caching(_: &mut Args) -> Result<Command, ErrorText> {
    Err(Bytes::from_static(errors::NOT_TRACKING))
}

/// `CLIENT CAPA capability …`: unknown ones are ignored, as in Valkey.
pub(crate) fn parse_capa(args: &mut Args) -> Result<Command, ErrorText> {
    let redirect = args.any(|word| word.eq_ignore_ascii_case(b"redirect"));
    Ok(Command::ClientCapa { redirect })
}

pub(crate) fn parse_getredir(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Constant(Reply::Integer(-1)))
}

pub(crate) fn parse_no_evict(args: &mut Args) -> Result<Command, ErrorText> {
    on_or_off(&required(args)).map(Command::ClientNoEvict)
}

pub(crate) fn parse_no_touch(args: &mut Args) -> Result<Command, ErrorText> {
    on_or_off(&required(args)).map(Command::ClientNoTouch)
}

/// `CLIENT REPLY ON|OFF|SKIP`.
pub(crate) fn parse_reply(args: &mut Args) -> Result<Command, ErrorText> {
    let mode = match &required(args).to_ascii_lowercase()[..] {
        b"on" => ReplyMode::On,
        b"off" => ReplyMode::Off,
        b"skip" => ReplyMode::SkipNext,
        _ => return Err(Bytes::from_static(errors::SYNTAX)),
    };
    Ok(Command::ClientReply(mode))
}

/// `CLIENT TRACKING ON|OFF [option …]`.
pub(crate) fn parse_tracking(args: &mut Args) -> Result<Command, ErrorText> {
    let on = on_or_off(&required(args))?;
    const OPTIONS: [&str; 6] = ["redirect", "bcast", "prefix", "optin", "optout", "noloop"];
    while let Some(option) = args.next() {
        let option = option.to_ascii_lowercase();
        let known = OPTIONS.iter().find(|known| known.as_bytes() == option);
        let known = known.ok_or_else(|| Bytes::from_static(errors::SYNTAX))?;
        if matches!(*known, "redirect" | "prefix") && args.next().is_none() {
            return Err(Bytes::from_static(errors::SYNTAX));
        }
    }
    if on {
        return Err(Bytes::from_static(errors::TRACKING));
    }
    Ok(Command::Constant(Reply::ok()))
}

/// `CLIENT TRACKINGINFO`.
pub(crate) fn parse_trackinginfo(_: &mut Args) -> Result<Command, ErrorText> {
    let field = |name: &'static str, value| (Reply::bulk(name), value);
    Ok(Command::Constant(Reply::Map(vec![
        field("flags", Reply::Set(vec![Reply::bulk("off")])),
        field("redirect", Reply::Integer(-1)),
        field("prefixes", Reply::Array(Vec::new())),
    ])))
}

fn on_or_off(word: &[u8]) -> Result<bool, ErrorText> {
    match &word.to_ascii_lowercase()[..] {
        b"on" => Ok(true),
        b"off" => Ok(false),
        _ => Err(Bytes::from_static(errors::SYNTAX)),
    }
}

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

/// `ON` is answered, the others are not; `SKIP` has no effect while replies are off.
pub(crate) fn reply(conn: &mut Connection, mode: ReplyMode) -> Step {
    match (mode, conn.replies) {
        (ReplyMode::On, _) => {
            conn.replies = ReplyMode::On;
            return Step::Insist(Reply::ok());
        }
        (ReplyMode::SkipNext, ReplyMode::Off) => {}
        (mode, _) => conn.replies = mode,
    }
    Step::Silent
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
