//! What can be done with keys of any type (<https://redis.io/docs/latest/commands/?group=generic>).

use super::strings::{expiry, number};
use super::{Args, Command, required};
use crate::connection::Connection;
use crate::env::Env;
use crate::errors::{self, ErrorText};
use bytes::Bytes;
use corgi_base::KeyOp;
use corgi_base::keys::{About, ExpireIf, Unit};

/// After how many keys `SCAN` stops if it is not told.
const SCAN_COUNT: u64 = 10;

const OBJECT_HELP: &[&str] = &[
    "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCODING <key>",
    "    Tell how the value of a key is kept.",
    "FREQ <key>",
    "    Tell how often a key is used; not possible here.",
    "IDLETIME <key>",
    "    Tell for how many seconds a key has not been written.",
    "REFCOUNT <key>",
    "    Tell how many know the value of a key.",
];

/// A command whose databases only its connection knows.
#[derive(Debug, PartialEq)]
pub(crate) enum Across {
    /// `COPY`.
    Copy {
        key: Bytes,
        to: Bytes,
        /// The connection's own if not given.
        db: Option<i64>,
        replace: bool,
    },
    /// `MOVE`.
    Move { key: Bytes, db: i64 },
    /// `SWAPDB`.
    Swap(i64, i64),
}

fn op(op: KeyOp) -> Result<Command, ErrorText> {
    Ok(Command::Keys(op))
}

fn syntax<T>() -> Result<T, ErrorText> {
    Err(Bytes::from_static(errors::SYNTAX))
}

/// Reads the number of a database, there or not.
fn database(arg: &Bytes) -> Result<i64, ErrorText> {
    let db = number(arg)?;
    let small = i32::try_from(db).is_ok();
    small
        .then_some(db)
        .ok_or(Bytes::from_static(errors::OUT_OF_INT_RANGE))
}

/// `DEL key [key …]`, `UNLINK key [key …]`.
pub(crate) fn parse_del(args: &mut Args) -> Result<Command, ErrorText> {
    op(KeyOp::Del(args.collect()))
}

/// `EXISTS key [key …]`, `TOUCH key [key …]`.
pub(crate) fn parse_exists(args: &mut Args) -> Result<Command, ErrorText> {
    op(KeyOp::Exists(args.collect()))
}

/// `TYPE key`.
pub(crate) fn parse_type(args: &mut Args) -> Result<Command, ErrorText> {
    op(KeyOp::Type(required(args)))
}

/// `TTL`, `PTTL`, `EXPIRETIME`, `PEXPIRETIME`.
pub(crate) fn parse_ttl(args: &mut Args, unit: Unit, absolute: bool) -> Result<Command, ErrorText> {
    let key = required(args);
    op(KeyOp::Ttl {
        key,
        unit,
        absolute,
    })
}

/// `EXPIRE`, `PEXPIRE`, `EXPIREAT`, `PEXPIREAT`: `key time [NX|XX|GT|LT …]`.
pub(crate) fn parse_expire(
    args: &mut Args,
    command: &'static str,
    unit: Unit,
    absolute: bool,
) -> Result<Command, ErrorText> {
    let (key, time) = (required(args), required(args));
    let mut only = ExpireIf::default();
    for arg in args {
        match &arg.to_ascii_uppercase()[..] {
            b"NX" => only.nx = true,
            b"XX" => only.xx = true,
            b"GT" => only.gt = true,
            b"LT" => only.lt = true,
            _ => return Err(errors::unsupported_option(&arg)),
        }
    }
    if only.nx && (only.xx || only.gt || only.lt) {
        return Err(Bytes::from_static(errors::EXPIRE_NX));
    }
    if only.gt && only.lt {
        return Err(Bytes::from_static(errors::EXPIRE_GT_LT));
    }
    let expiry = expiry(command, number(&time)?, unit, absolute)?;
    op(KeyOp::Expire { key, expiry, only })
}

/// `PERSIST key`.
pub(crate) fn parse_persist(args: &mut Args) -> Result<Command, ErrorText> {
    op(KeyOp::Persist(required(args)))
}

/// `RENAME key newkey`, `RENAMENX key newkey`.
pub(crate) fn parse_rename(args: &mut Args, nx: bool) -> Result<Command, ErrorText> {
    let (key, to) = (required(args), required(args));
    op(KeyOp::Rename { key, to, nx })
}

/// `COPY source destination [DB database] [REPLACE]`.
pub(crate) fn parse_copy(args: &mut Args) -> Result<Command, ErrorText> {
    let (key, to) = (required(args), required(args));
    let (mut db, mut replace) = (None, false);
    while let Some(arg) = args.next() {
        if arg.eq_ignore_ascii_case(b"replace") {
            replace = true;
        } else if arg.eq_ignore_ascii_case(b"db")
            && let Some(number_of_db) = args.next()
        {
            db = Some(database(&number_of_db)?);
        } else {
            return syntax();
        }
    }
    Ok(Command::Across(Across::Copy {
        key,
        to,
        db,
        replace,
    }))
}

/// `MOVE key database`.
pub(crate) fn parse_move(args: &mut Args) -> Result<Command, ErrorText> {
    let (key, db) = (required(args), database(&required(args))?);
    Ok(Command::Across(Across::Move { key, db }))
}

/// `SWAPDB database database`.
pub(crate) fn parse_swapdb(args: &mut Args) -> Result<Command, ErrorText> {
    let read = |arg: &Bytes, error: &'static [u8]| {
        super::integer(arg)
            .filter(|db| i32::try_from(*db).is_ok())
            .ok_or_else(|| Bytes::from_static(error))
    };
    let (one, other) = (required(args), required(args));
    let one = read(&one, errors::FIRST_DATABASE)?;
    let other = read(&other, errors::SECOND_DATABASE)?;
    Ok(Command::Across(Across::Swap(one, other)))
}

/// `KEYS pattern`.
pub(crate) fn parse_keys(args: &mut Args) -> Result<Command, ErrorText> {
    op(KeyOp::Keys(required(args)))
}

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`.
pub(crate) fn parse_scan(args: &mut Args) -> Result<Command, ErrorText> {
    let cursor = required(args);
    let cursor = std::str::from_utf8(&cursor)
        .ok()
        .and_then(|c| c.parse().ok());
    let cursor = cursor.ok_or(Bytes::from_static(errors::CURSOR))?;
    let (mut pattern, mut count, mut kind) = (None, SCAN_COUNT, None);
    while let Some(arg) = args.next() {
        let Some(value) = args.next() else {
            return syntax();
        };
        match &arg.to_ascii_uppercase()[..] {
            b"MATCH" => pattern = Some(value),
            b"COUNT" => match u64::try_from(number(&value)?) {
                Ok(1..) => count = number(&value)?.unsigned_abs(),
                Ok(0) | Err(_) => return syntax(),
            },
            b"TYPE" => kind = Some(value.to_ascii_lowercase().into()),
            _ => return syntax(),
        }
    }
    op(KeyOp::Scan {
        cursor,
        count,
        pattern,
        kind,
    })
}

/// `RANDOMKEY`.
pub(crate) fn parse_randomkey(_: &mut Args) -> Result<Command, ErrorText> {
    op(KeyOp::RandomKey)
}

/// `DBSIZE`.
pub(crate) fn parse_dbsize(_: &mut Args) -> Result<Command, ErrorText> {
    op(KeyOp::DbSize)
}

/// `FLUSHDB [ASYNC|SYNC]`, `FLUSHALL [ASYNC|SYNC]`: one is as good as the other.
pub(crate) fn parse_flush(args: &mut Args, all: bool) -> Result<Command, ErrorText> {
    let how = args.next();
    let right = how
        .is_none_or(|how| how.eq_ignore_ascii_case(b"sync") || how.eq_ignore_ascii_case(b"async"));
    if !right || args.next().is_some() {
        return syntax();
    }
    op(KeyOp::Flush { all })
}

/// `OBJECT ENCODING|FREQ|IDLETIME|REFCOUNT key`.
pub(crate) fn parse_object(args: &mut Args, about: About) -> Result<Command, ErrorText> {
    let key = required(args);
    op(KeyOp::Object { key, about })
}

pub(crate) fn parse_object_help(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Help(OBJECT_HELP))
}

impl Across {
    /// Returns the operation for a client of this database.
    pub(crate) fn resolve(self, conn: &Connection, env: &Env) -> Result<KeyOp, ErrorText> {
        let database = |db: i64| {
            let known = u8::try_from(db)
                .ok()
                .filter(|db| u32::from(*db) < env.databases);
            known.ok_or(Bytes::from_static(errors::DATABASE_OUT_OF_RANGE))
        };
        let own = conn.database;
        match self {
            Self::Copy {
                key,
                to,
                db,
                replace,
            } => {
                let db = db.map_or(Ok(own), database)?;
                if db == own && key == to {
                    return Err(Bytes::from_static(errors::SAME_OBJECT));
                }
                Ok(KeyOp::Copy {
                    key,
                    to,
                    db,
                    replace,
                })
            }
            Self::Move { key, db } => {
                let db = database(db)?;
                if db == own {
                    return Err(Bytes::from_static(errors::SAME_OBJECT));
                }
                Ok(KeyOp::Move { key, db })
            }
            Self::Swap(one, other) => Ok(KeyOp::Swap(database(one)?, database(other)?)),
        }
    }
}
