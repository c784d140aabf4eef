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
    pub(super) fn new(OutputLimit { hard, soft, .. }: OutputLimit) -> Self {
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

/// How many bytes of replies may wait for one client, and for how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimit {
    /// Beyond this it is closed; 0 for no limit.
    pub hard: u64,
    /// Beyond this it is closed after `seconds`; 0 for no limit.
    pub soft: u64,
    /// How long it may be beyond `soft`.
    pub seconds: u64,
}

/// What `client-output-buffer-limit` says.
#[derive(Clone, Copy, Default)]
pub(super) struct OutputLimits {
    /// The last one given for `normal`.
    pub(super) normal: Option<OutputLimit>,
    /// The last one given for `replica`.
    pub(super) replica: Option<OutputLimit>,
    /// The last one given for `pubsub`.
    pub(super) pubsub: Option<OutputLimit>,
}

impl OutputLimits {
    /// Returns this, with what it does not say taken from `earlier`.
    pub(super) fn over(self, earlier: Self) -> Self {
        Self {
            normal: self.normal.or(earlier.normal),
            replica: self.replica.or(earlier.replica),
            pubsub: self.pubsub.or(earlier.pubsub),
        }
    }

    /// Returns all classes, as Redis writes them.
    pub(super) fn shown(self) -> String {
        let class = |name: &str, limit: Option<OutputLimit>| {
            let OutputLimit {
                hard,
                soft,
                seconds,
            } = limit.unwrap_or_default();
            format!("{name} {hard} {soft} {seconds}")
        };
        [
            class("normal", self.normal),
            class("slave", self.replica),
            class("pubsub", self.pubsub),
        ]
        .join(" ")
    }
}

/// Reads groups of class, hard limit, soft limit and seconds.
pub(super) fn output_limits(words: &[String]) -> Result<OutputLimits, String> {
    if words.is_empty() || !words.len().is_multiple_of(4) {
        return Err("takes groups of class, hard limit, soft limit and seconds".to_owned());
    }
    let mut limits = OutputLimits::default();
    for group in words.chunks(4) {
        let limit = Some(OutputLimit {
            hard: units::memory(&group[1])?,
            soft: units::memory(&group[2])?,
            seconds: units::integer(&group[3])?,
        });
        match group[0].to_ascii_lowercase().as_str() {
            "pubsub" => limits.pubsub = limit,
            "normal" => limits.normal = limit,
            "replica" | "slave" => limits.replica = limit,
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

/// Returns a value as `CONFIG GET` gives it: bare, and without secrets.
pub(super) fn bare(spec: &OptionSpec, value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::List(words) => words.join(" "),
        Value::Secret(bytes) if bytes.is_empty() => String::new(),
        other => shown(spec, other),
    }
}

/// Returns a value as it may be shown.
pub(super) fn shown(spec: &OptionSpec, value: &Value) -> String {
    match value {
        Value::Number(number) if spec.kind == options::Kind::Octal => format!("{number:o}"),
        Value::Number(number) => number.to_string(),
        Value::Signed(number) => number.to_string(),
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
