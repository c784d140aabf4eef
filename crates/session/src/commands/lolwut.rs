//! `LOLWUT [VERSION version] [argument …]` (<https://redis.io/docs/latest/commands/lolwut/>).

use super::{Args, Command, integer};
use crate::env::Env;
use crate::errors::{self, ErrorText};
use bytes::Bytes;
use corgi_resp::Reply;

const CORGI: &str = r"
     /\        /\
    /  \______/  \
   |              |
   |   o      o   |       ________________
    \     __     /_______/                \__
     \    \/    /                          / \
      \__ -- __/                          |  /
         |                                |_/
         |    _______________________     |
         |   | |   |             |   |   |
         |___| |___|             |___|___|
";

pub(crate) fn parse(args: &mut Args) -> Result<Command, ErrorText> {
    if let Some(option) = args.next()
        && option.eq_ignore_ascii_case(b"version")
        && let Some(version) = args.next()
        && integer(&version).is_none()
    {
        return Err(Bytes::from_static(errors::NOT_AN_INTEGER));
    }
    Ok(Command::Lolwut)
}

/// Returns a corgi; the last line is for those who look for a version.
pub(crate) fn draw(env: &Env) -> Reply {
    let redis = String::from_utf8_lossy(&env.redis_version);
    let corgi = String::from_utf8_lossy(&env.corgi_version);
    let text = format!(
        "{CORGI}\nShort legs, long memory: no message that it has taken is lost.\n\n\
         Redis ver. {redis} (Corgi {corgi})\n"
    );
    Reply::Verbatim(text.into())
}
