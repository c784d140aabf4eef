//! Strings (<https://redis.io/docs/latest/develop/data-types/strings/>).

use super::{Args, Command, integer, required};
use crate::errors::{self, ErrorText};
use bytes::Bytes;
use corgi_base::KeyOp;
use corgi_base::keys::{Decimal, Expiry, SetIf, Unit};

fn op(op: KeyOp) -> Result<Command, ErrorText> {
    Ok(Command::Keys(op))
}

/// Reads a 64-bit number.
pub(super) fn number(arg: &Bytes) -> Result<i64, ErrorText> {
    integer(arg).ok_or(Bytes::from_static(errors::NOT_AN_INTEGER))
}

/// The latest expiry counted from now that cannot overflow once it is counted from 1970: until the year 2109.
const RELATIVE_MAX: i64 = i64::MAX - (1 << 42);

/// Returns a time in milliseconds that is given in a unit, from now or at a time; of either sign.
pub(super) fn expiry(
    command: &'static str,
    value: i64,
    unit: Unit,
    absolute: bool,
) -> Result<Expiry, ErrorText> {
    let ms = match unit {
        Unit::Seconds => value.checked_mul(1000),
        Unit::Millis => Some(value),
    };
    let max = if absolute { i64::MAX } else { RELATIVE_MAX };
    let ms = ms.filter(|ms| *ms <= max);
    let ms = ms.ok_or_else(|| errors::invalid_expire(command))?;
    Ok(if absolute {
        Expiry::At(ms)
    } else {
        Expiry::In(ms)
    })
}

/// Returns such a time for a key that is set now: it must come.
fn positive_expiry(
    command: &'static str,
    value: &Bytes,
    unit: Unit,
    absolute: bool,
) -> Result<Expiry, ErrorText> {
    let value = number(value)?;
    if value <= 0 {
        return Err(errors::invalid_expire(command));
    }
    expiry(command, value, unit, absolute)
}

/// The options of `SET` and `GETEX`.
#[derive(Default)]
struct Options {
    only: Option<SetIf>,
    get: bool,
    /// `KEEPTTL` or `PERSIST`.
    keeps: bool,
    expiry: Option<(Unit, bool, Bytes)>,
}

impl Options {
    /// Reads what follows the value of `SET`, or the key of `GETEX`: of that, `keep` is the word that it knows.
    fn read(args: &mut Args, keep: &str, sets: bool) -> Result<Self, ErrorText> {
        let mut options = Self::default();
        while let Some(arg) = args.next() {
            let word = arg.to_ascii_uppercase();
            match &word[..] {
                b"NX" if sets && options.only != Some(SetIf::Present) => {
                    options.only = Some(SetIf::Absent);
                }
                b"XX" if sets && options.only != Some(SetIf::Absent) => {
                    options.only = Some(SetIf::Present);
                }
                b"GET" if sets => options.get = true,
                word if word == keep.as_bytes() && options.expiry.is_none() => options.keeps = true,
                b"EX" | b"PX" | b"EXAT" | b"PXAT" if !options.keeps => {
                    let unit = if word[0] == b'P' {
                        Unit::Millis
                    } else {
                        Unit::Seconds
                    };
                    let absolute = word.len() == 4;
                    let value = args.next().ok_or(Bytes::from_static(errors::SYNTAX))?;
                    // The same option again is taken, as in Redis.
                    let before = options.expiry.replace((unit, absolute, value));
                    if before.is_some_and(|(u, a, _)| (u, a) != (unit, absolute)) {
                        return Err(Bytes::from_static(errors::SYNTAX));
                    }
                }
                _ => return Err(Bytes::from_static(errors::SYNTAX)),
            }
        }
        Ok(options)
    }

    fn expiry(&self, command: &'static str) -> Result<Option<Expiry>, ErrorText> {
        let given = self.expiry.as_ref();
        given
            .map(|(unit, absolute, value)| positive_expiry(command, value, *unit, *absolute))
            .transpose()
    }
}

/// `SET key value [NX|XX] [GET] [EX s|PX ms|EXAT s|PXAT ms|KEEPTTL]`.
pub(crate) fn parse_set(args: &mut Args) -> Result<Command, ErrorText> {
    let (key, value) = (required(args), required(args));
    let options = Options::read(args, "KEEPTTL", true)?;
    let unset = if options.keeps {
        Expiry::Keep
    } else {
        Expiry::None
    };
    op(KeyOp::Set {
        key,
        value,
        only: options.only.unwrap_or(SetIf::Always),
        expiry: options.expiry("set")?.unwrap_or(unset),
        get: options.get,
    })
}

/// `SETEX key seconds value`.
pub(crate) fn parse_setex(args: &mut Args) -> Result<Command, ErrorText> {
    set_with_expiry(args, "setex", Unit::Seconds)
}

/// `PSETEX key milliseconds value`.
pub(crate) fn parse_psetex(args: &mut Args) -> Result<Command, ErrorText> {
    set_with_expiry(args, "psetex", Unit::Millis)
}

fn set_with_expiry(
    args: &mut Args,
    command: &'static str,
    unit: Unit,
) -> Result<Command, ErrorText> {
    let (key, time, value) = (required(args), required(args), required(args));
    op(KeyOp::Set {
        key,
        value,
        only: SetIf::Always,
        expiry: positive_expiry(command, &time, unit, false)?,
        get: false,
    })
}

/// `SETNX key value`.
pub(crate) fn parse_setnx(args: &mut Args) -> Result<Command, ErrorText> {
    let (key, value) = (required(args), required(args));
    op(KeyOp::SetNx { key, value })
}

/// `GETSET key value`.
pub(crate) fn parse_getset(args: &mut Args) -> Result<Command, ErrorText> {
    let (key, value) = (required(args), required(args));
    op(KeyOp::Set {
        key,
        value,
        only: SetIf::Always,
        expiry: Expiry::None,
        get: true,
    })
}

/// `GET key`.
pub(crate) fn parse_get(args: &mut Args) -> Result<Command, ErrorText> {
    op(KeyOp::Get(required(args)))
}

/// `GETDEL key`.
pub(crate) fn parse_getdel(args: &mut Args) -> Result<Command, ErrorText> {
    op(KeyOp::GetDel(required(args)))
}

/// `GETEX key [EX s|PX ms|EXAT s|PXAT ms|PERSIST]`.
pub(crate) fn parse_getex(args: &mut Args) -> Result<Command, ErrorText> {
    let key = required(args);
    let options = Options::read(args, "PERSIST", false)?;
    let unset = if options.keeps {
        Expiry::Persist
    } else {
        Expiry::Keep
    };
    let expiry = options.expiry("getex")?.unwrap_or(unset);
    op(KeyOp::GetEx { key, expiry })
}

/// `MGET key [key …]`.
pub(crate) fn parse_mget(args: &mut Args) -> Result<Command, ErrorText> {
    op(KeyOp::MGet(args.collect()))
}

/// `MSET key value [key value …]`.
pub(crate) fn parse_mset(args: &mut Args) -> Result<Command, ErrorText> {
    set_many(args, "mset", false)
}

/// `MSETNX key value [key value …]`.
pub(crate) fn parse_msetnx(args: &mut Args) -> Result<Command, ErrorText> {
    set_many(args, "msetnx", true)
}

fn set_many(args: &mut Args, command: &'static str, nx: bool) -> Result<Command, ErrorText> {
    let pairs: Vec<Bytes> = args.collect();
    if !pairs.len().is_multiple_of(2) {
        return Err(errors::wrong_arity(command));
    }
    op(KeyOp::MSet { pairs, nx })
}

/// `APPEND key value`.
pub(crate) fn parse_append(args: &mut Args) -> Result<Command, ErrorText> {
    let (key, value) = (required(args), required(args));
    op(KeyOp::Append { key, value })
}

/// `STRLEN key`.
pub(crate) fn parse_strlen(args: &mut Args) -> Result<Command, ErrorText> {
    op(KeyOp::StrLen(required(args)))
}

/// `GETRANGE key start end`, which was `SUBSTR` once.
pub(crate) fn parse_getrange(args: &mut Args) -> Result<Command, ErrorText> {
    let key = required(args);
    let (start, end) = (number(&required(args))?, number(&required(args))?);
    op(KeyOp::GetRange { key, start, end })
}

/// `SETRANGE key offset value`.
pub(crate) fn parse_setrange(args: &mut Args) -> Result<Command, ErrorText> {
    let (key, offset, value) = (required(args), required(args), required(args));
    let offset = u64::try_from(number(&offset)?);
    let offset = offset.map_err(|_negative| Bytes::from_static(errors::OFFSET))?;
    op(KeyOp::SetRange { key, offset, value })
}

/// `INCR key`.
pub(crate) fn parse_incr(args: &mut Args) -> Result<Command, ErrorText> {
    let key = required(args);
    op(KeyOp::IncrBy { key, by: 1 })
}

/// `DECR key`.
pub(crate) fn parse_decr(args: &mut Args) -> Result<Command, ErrorText> {
    let key = required(args);
    op(KeyOp::IncrBy { key, by: -1 })
}

/// `INCRBY key increment`.
pub(crate) fn parse_incrby(args: &mut Args) -> Result<Command, ErrorText> {
    let (key, by) = (required(args), number(&required(args))?);
    op(KeyOp::IncrBy { key, by })
}

/// `DECRBY key decrement`.
pub(crate) fn parse_decrby(args: &mut Args) -> Result<Command, ErrorText> {
    let (key, by) = (required(args), number(&required(args))?);
    let by = by.checked_neg();
    let by = by.ok_or(Bytes::from_static(errors::DECREMENT_OVERFLOW))?;
    op(KeyOp::IncrBy { key, by })
}

/// `INCRBYFLOAT key increment`.
pub(crate) fn parse_incrbyfloat(args: &mut Args) -> Result<Command, ErrorText> {
    let (key, by) = (required(args), required(args));
    Decimal::parse(&by).map_err(|error| Bytes::from(error.to_string()))?;
    op(KeyOp::IncrByFloat { key, by })
}
