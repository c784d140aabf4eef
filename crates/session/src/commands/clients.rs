//! `CLIENT INFO|LIST|KILL|PAUSE|UNPAUSE|UNBLOCK`: about all clients of the process
//! (<https://redis.io/docs/latest/commands/client-list/>).

use super::{Args, Command, integer, owned, required};
use crate::env::Env;
use crate::errors::{self, ErrorText};
use crate::local::{ClientFilter, ClientIs, ClientKind, ClientTest, ClientsAsk, LocalAsk, Pause};
use bytes::Bytes;
use corgi_base::ClientId;
use corgi_resp::Reply;

/// Letters that the field `flags` of a client may hold, in Redis and Valkey.
const FLAGS: &[u8] = b"ANOSMPxbtRBudUreTciEI";

fn ask(ask: ClientsAsk) -> Result<Command, ErrorText> {
    Ok(Command::Local(LocalAsk::Clients(ask)))
}

fn syntax() -> ErrorText {
    Bytes::from_static(errors::SYNTAX)
}

pub(crate) fn parse_info(_: &mut Args) -> Result<Command, ErrorText> {
    ask(ClientsAsk::Info)
}

/// `CLIENT KILL addr:port`, or filters.
pub(crate) fn parse_kill(args: &mut Args) -> Result<Command, ErrorText> {
    if args.len() == 1 {
        return ask(ClientsAsk::KillAddr(owned(&required(args))));
    }
    ask(ClientsAsk::Kill(filter(args, true)?))
}

/// `CLIENT LIST [filters]`.
pub(crate) fn parse_list(args: &mut Args) -> Result<Command, ErrorText> {
    ask(ClientsAsk::List(filter(args, false)?))
}

/// `CLIENT PAUSE milliseconds [WRITE|ALL]`.
pub(crate) fn parse_pause(args: &mut Args) -> Result<Command, ErrorText> {
    let time = required(args);
    let pause = match args.next().map(|word| word.to_ascii_lowercase()).as_deref() {
        None | Some(b"all") => Pause::All,
        Some(b"write") => Pause::Writes,
        Some(_) => return Err(Bytes::from_static(errors::PAUSE_MODE)),
    };
    if args.next().is_some() {
        return Err(errors::subcommand_arguments("client", b"PAUSE"));
    }
    let ms = match integer(&time) {
        None => return Err(Bytes::from_static(errors::TIMEOUT_NOT_AN_INTEGER)),
        Some(ms) => {
            u64::try_from(ms).map_err(|_negative| Bytes::from_static(errors::TIMEOUT_NEGATIVE))?
        }
    };
    ask(ClientsAsk::Pause { ms, pause })
}

/// `CLIENT UNBLOCK id [TIMEOUT|ERROR]`.
pub(crate) fn parse_unblock(args: &mut Args) -> Result<Command, ErrorText> {
    let id = required(args);
    let error = match args.next().map(|word| word.to_ascii_lowercase()).as_deref() {
        None | Some(b"timeout") => false,
        Some(b"error") => true,
        Some(_) => return Err(Bytes::from_static(errors::UNBLOCK_REASON)),
    };
    if args.next().is_some() {
        return Err(errors::subcommand_arguments("client", b"UNBLOCK"));
    }
    let id = integer(&id).ok_or_else(|| Bytes::from_static(errors::NOT_AN_INTEGER))?;
    // Nobody has a number below 1.
    let client = ClientId(u64::try_from(id).unwrap_or(0));
    Ok(Command::Unblock { client, error })
}

pub(crate) fn parse_unpause(_: &mut Args) -> Result<Command, ErrorText> {
    ask(ClientsAsk::Unpause)
}

/// Reads pairs of option and value. `ID` takes as many numbers as follow.
fn filter(args: &mut Args, kill: bool) -> Result<ClientFilter, ErrorText> {
    let mut filter = ClientFilter::default();
    while let Some(option) = args.next() {
        // After the numbers of CLIENT LIST, what is no option was meant as one of them.
        let last = filter.tests.last().map(|test| &test.is);
        let unknown = match last {
            Some(ClientIs::Id(_)) if !kill => || Bytes::from_static(errors::CLIENT_ID),
            Some(_) | None => syntax,
        };
        let option = option.to_ascii_lowercase();
        let (not, name) = match option.strip_prefix(b"not-") {
            Some(name) => (true, name),
            None => (false, &option[..]),
        };
        let value = args.next().ok_or_else(unknown)?;
        let is = match name {
            b"skipme" if !not => {
                filter.skip_me = Some(yes_or_no(&value)?);
                continue;
            }
            b"id" => ids(&value, args, kill)?,
            b"addr" => ClientIs::Addr(owned(&value)),
            b"db" => ClientIs::Database(database(&value)?),
            b"flags" => ClientIs::Flags(flags(&value)?),
            b"idle" => ClientIs::IdleMin(positive("idle", &value)?),
            b"ip" => ClientIs::Ip(owned(&value)),
            b"laddr" => ClientIs::LocalAddr(owned(&value)),
            b"lib-name" => ClientIs::LibName(owned(&value)),
            b"lib-ver" => ClientIs::LibVer(owned(&value)),
            b"maxage" => ClientIs::AgeMin(positive("maxage", &value)?),
            b"name" => ClientIs::Name(owned(&value)),
            b"type" => ClientIs::Kind(kind(&value)?),
            b"user" => ClientIs::User(owned(&value)),
            _ => return Err(unknown()),
        };
        filter.tests.push(ClientTest { not, is });
    }
    Ok(filter)
}

/// Returns the error for a filter that asks for a user that does not exist.
pub(crate) fn unknown_user(ask: &LocalAsk, env: &Env) -> Option<Reply> {
    let LocalAsk::Clients(ClientsAsk::List(filter) | ClientsAsk::Kill(filter)) = ask else {
        return None;
    };
    let users = env.users.load();
    let unknown = filter.tests.iter().find_map(|test| match &test.is {
        ClientIs::User(name) if users.user(name).is_none() => Some(name),
        _ => None,
    });
    unknown.map(|name| Reply::Error(errors::no_such_user(name)))
}

fn ids(first: &Bytes, args: &mut Args, kill: bool) -> Result<ClientIs, ErrorText> {
    let wrong = || {
        Bytes::from_static(if kill {
            errors::CLIENT_ID_POSITIVE
        } else {
            errors::CLIENT_ID
        })
    };
    let id = |word: &Bytes| integer(word).and_then(|id| u64::try_from(id).ok());
    // Nobody has the number 0: CLIENT LIST finds nobody, CLIENT KILL refuses it.
    let mut ids = vec![id(first).filter(|id| *id > 0 || !kill).ok_or_else(wrong)?];
    while let Some(word) = args.as_slice().first() {
        match id(word) {
            Some(0) if kill => return Err(wrong()),
            Some(id) => ids.push(id),
            // An option follows. A word that is neither is found out there.
            None => break,
        }
        args.next();
    }
    Ok(ClientIs::Id(ids))
}

fn kind(word: &[u8]) -> Result<ClientKind, ErrorText> {
    match &word.to_ascii_lowercase()[..] {
        b"normal" => Ok(ClientKind::Normal),
        b"pubsub" => Ok(ClientKind::Pubsub),
        b"master" | b"primary" => Ok(ClientKind::Master),
        b"replica" | b"slave" => Ok(ClientKind::Replica),
        _ => Err(errors::client_type(word)),
    }
}

fn yes_or_no(word: &[u8]) -> Result<bool, ErrorText> {
    match &word.to_ascii_lowercase()[..] {
        b"yes" => Ok(true),
        b"no" => Ok(false),
        _ => Err(syntax()),
    }
}

fn positive(option: &str, word: &[u8]) -> Result<u64, ErrorText> {
    let number = integer(word);
    number
        .and_then(|n| u64::try_from(n).ok())
        .filter(|n| *n > 0)
        .ok_or_else(|| errors::client_number(option, number.is_some()))
}

fn database(word: &[u8]) -> Result<u32, ErrorText> {
    let number = integer(word).and_then(|n| u32::try_from(n).ok());
    number.ok_or_else(|| Bytes::from_static(errors::DATABASE_OUT_OF_RANGE))
}

fn flags(word: &Bytes) -> Result<Bytes, ErrorText> {
    if word.iter().all(|letter| FLAGS.contains(letter)) {
        Ok(owned(word))
    } else {
        Err(errors::client_flags(word))
    }
}
