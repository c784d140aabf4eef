//! The values that have a form of their own, and how values are shown.

use super::options::{self, OptionSpec, Value};
use super::{split, units};
use corgi_base::NodeId;

/// How many bytes of messages may wait for one subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PubsubOutput {
    /// Beyond this it is fed from the log; `u64::MAX` for no limit.
    pub hard: u64,
    /// Then it gets more when no more than this waits.
    pub low: u64,
}

impl PubsubOutput {
    fn new(hard: u64, soft: u64) -> Self {
        let hard = if hard == 0 { u64::MAX } else { hard };
        // What is given at once is as much as this, and must fit below the hard limit with it.
        let low = if soft == 0 {
            hard / 4
        } else {
            soft.min(hard / 2)
        };
        Self { hard, low }
    }
}

/// What `client-output-buffer-limit` says, as far as it counts.
pub(super) struct OutputLimits {
    /// The last one given for `pubsub`.
    pub(super) pubsub: Option<PubsubOutput>,
    /// Something was said that does not count.
    pub(super) idle_words: bool,
}

/// Reads groups of class, hard limit, soft limit and seconds.
pub(super) fn output_limits(words: &[String]) -> Result<OutputLimits, String> {
    if words.is_empty() || !words.len().is_multiple_of(4) {
        return Err("takes groups of class, hard limit, soft limit and seconds".to_owned());
    }
    let mut limits = OutputLimits {
        pubsub: None,
        idle_words: false,
    };
    for group in words.chunks(4) {
        let hard = units::memory(&group[1])?;
        let soft = units::memory(&group[2])?;
        let seconds = units::integer(&group[3])?;
        limits.idle_words |= seconds != 0;
        match group[0].to_ascii_lowercase().as_str() {
            "pubsub" => limits.pubsub = Some(PubsubOutput::new(hard, soft)),
            "normal" | "replica" | "slave" => limits.idle_words = true,
            other => {
                return Err(format!(
                    "'{other}' is not one of: normal, replica, slave, pubsub"
                ));
            }
        }
    }
    Ok(limits)
}

/// Reads `id=host:port`.
pub(super) fn member(word: &str) -> Result<(NodeId, &str), String> {
    let wrong = |why: &str| format!("'{word}' is not id=host:peerport: {why}");
    let (id, addr) = word
        .split_once('=')
        .ok_or_else(|| wrong("there is no '='"))?;
    let id = id
        .parse()
        .map_err(|_not_a_number| wrong("the id is not a number"))?;
    let id = NodeId::new(id).ok_or_else(|| wrong("ids begin with 1"))?;
    let (host, port) = addr
        .rsplit_once(':')
        .ok_or_else(|| wrong("there is no port"))?;
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match bracketed {
        Some(ip) if ip.parse::<std::net::Ipv6Addr>().is_err() => {
            return Err(wrong("the brackets hold no IPv6 address"));
        }
        None if host.contains(':') => {
            return Err(wrong("an IPv6 address must be in brackets"));
        }
        None if host.is_empty() => return Err(wrong("there is no host")),
        Some(_) | None => {}
    }
    match port.parse::<u16>() {
        Ok(port) if port != 0 => Ok((id, addr)),
        _ => Err(wrong("the port is not 1 to 65535")),
    }
}

/// Returns a value as it may be shown.
pub(super) fn shown(spec: &OptionSpec, value: &Value) -> String {
    match value {
        Value::Number(number) if spec.kind == options::Kind::Octal => format!("{number:o}"),
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => if *flag { "yes" } else { "no" }.to_owned(),
        Value::Text(text) => split::quote(text),
        Value::Secret(bytes) => if bytes.is_empty() { "\"\"" } else { "(set)" }.to_owned(),
        Value::List(words) if words.is_empty() => "\"\"".to_owned(),
        Value::List(words) => words
            .iter()
            .map(|word| split::quote(word))
            .collect::<Vec<_>>()
            .join(" "),
    }
}
