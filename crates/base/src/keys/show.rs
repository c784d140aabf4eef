//! Key operations as the commands that they come from: to be checked again, and to be shown.

use super::{About, Expiry, KeyOp, SetIf, Unit};
use bytes::Bytes;

impl KeyOp {
    /// Returns the name of the command, in lower case; of several that ask for the same, one.
    pub fn command(&self) -> &'static str {
        match self {
            Self::Set { .. } => "set",
            Self::SetNx { .. } => "setnx",
            Self::Get(_) => "get",
            Self::GetDel(_) => "getdel",
            Self::GetEx { .. } => "getex",
            Self::MGet(_) => "mget",
            Self::MSet { nx: false, .. } => "mset",
            Self::MSet { nx: true, .. } => "msetnx",
            Self::Append { .. } => "append",
            Self::StrLen(_) => "strlen",
            Self::GetRange { .. } => "getrange",
            Self::SetRange { .. } => "setrange",
            Self::IncrBy { .. } => "incrby",
            Self::IncrByFloat { .. } => "incrbyfloat",
            Self::Del(_) => "del",
            Self::Exists(_) => "exists",
            Self::Type(_) => "type",
            Self::Ttl { unit, absolute, .. } => match (unit, absolute) {
                (Unit::Seconds, false) => "ttl",
                (Unit::Millis, false) => "pttl",
                (Unit::Seconds, true) => "expiretime",
                (Unit::Millis, true) => "pexpiretime",
            },
            Self::Expire { expiry, .. } => match expiry {
                Expiry::At(_) => "pexpireat",
                Expiry::In(_) | Expiry::None | Expiry::Keep | Expiry::Persist => "pexpire",
            },
            Self::Persist(_) => "persist",
            Self::Rename { nx: false, .. } => "rename",
            Self::Rename { nx: true, .. } => "renamenx",
            Self::Copy { .. } => "copy",
            Self::Move { .. } => "move",
            Self::Keys(_) => "keys",
            Self::Scan { .. } => "scan",
            Self::RandomKey => "randomkey",
            Self::DbSize => "dbsize",
            Self::Flush { all: false } => "flushdb",
            Self::Flush { all: true } => "flushall",
            Self::Swap(..) => "swapdb",
            Self::Object { .. } => "object",
            Self::Stream(op) => op.command(),
        }
    }

    /// Returns the command with the arguments that name keys where the command has them. It is enough to check whether
    /// a user may run it, and to recognise it; options are left out.
    pub fn request(&self) -> Vec<Bytes> {
        let mut args = vec![Bytes::from_static(self.command().as_bytes())];
        match self {
            Self::Set {
                key,
                value,
                only,
                get,
                ..
            } => {
                args.extend([key.clone(), value.clone()]);
                let word = |word: &'static str| Bytes::from_static(word.as_bytes());
                args.extend((*only == SetIf::Absent).then(|| word("nx")));
                args.extend((*only == SetIf::Present).then(|| word("xx")));
                args.extend(get.then(|| word("get")));
            }
            Self::SetNx { key, value } | Self::Append { key, value } => {
                args.extend([key.clone(), value.clone()]);
            }
            Self::Get(key)
            | Self::GetDel(key)
            | Self::GetEx { key, .. }
            | Self::StrLen(key)
            | Self::Type(key)
            | Self::Ttl { key, .. }
            | Self::Persist(key) => args.push(key.clone()),
            Self::MGet(list)
            | Self::MSet { pairs: list, .. }
            | Self::Del(list)
            | Self::Exists(list) => args.extend(list.iter().cloned()),
            Self::GetRange { key, start, end } => {
                args.extend([key.clone(), number(*start), number(*end)]);
            }
            Self::SetRange { key, offset, value } => {
                args.extend([key.clone(), offset.to_string().into(), value.clone()]);
            }
            Self::IncrBy { key, by } => args.extend([key.clone(), number(*by)]),
            Self::IncrByFloat { key, by } => args.extend([key.clone(), by.clone()]),
            Self::Expire { key, expiry, .. } => {
                let ms = match expiry {
                    Expiry::In(ms) | Expiry::At(ms) => *ms,
                    Expiry::None | Expiry::Keep | Expiry::Persist => 0,
                };
                args.extend([key.clone(), number(ms)]);
            }
            Self::Rename { key, to, .. } | Self::Copy { key, to, .. } => {
                args.extend([key.clone(), to.clone()]);
            }
            Self::Move { key, db } => args.extend([key.clone(), number(i64::from(*db))]),
            Self::Keys(pattern) => args.push(pattern.clone()),
            Self::Scan { cursor, .. } => args.push(cursor.to_string().into()),
            Self::RandomKey | Self::DbSize | Self::Flush { .. } => {}
            Self::Stream(op) => return op.request(),
            Self::Swap(one, other) => args.extend([*one, *other].map(|db| number(db.into()))),
            Self::Object { key, about } => {
                let word = match about {
                    About::Encoding => "encoding",
                    About::IdleTime => "idletime",
                    About::Freq => "freq",
                    About::RefCount => "refcount",
                };
                args.extend([Bytes::from_static(word.as_bytes()), key.clone()]);
            }
        }
        args
    }
}

fn number(n: i64) -> Bytes {
    n.to_string().into()
}
