//! The arguments of a command, from a line as people write it to what `COMMAND DOCS` gives
//! (<https://redis.io/docs/latest/commands/command-docs/>).
//!
//! ```text
//!   line  = item …            item = word | WORD | [ line ] | ( line | line … ) | item ...
//!   word  = a value, with its type behind a colon (string without)
//!   WORD  = itself; at the begin of an optional part or an alternative it is the token of what follows
//!   [ ]   = optional          ( | ) = one of          ... = once or more often
//! ```

use corgi_resp::Reply;

/// One argument.
#[derive(Debug, PartialEq)]
struct Arg {
    name: String,
    kind: &'static str,
    token: Option<String>,
    optional: bool,
    multiple: bool,
    args: Vec<Self>,
}

impl Arg {
    fn new(name: impl Into<String>, kind: &'static str) -> Self {
        Self {
            name: name.into(),
            kind,
            token: None,
            optional: false,
            multiple: false,
            args: Vec::new(),
        }
    }

    fn token(word: &str) -> Self {
        let mut arg = Self::new(word.to_ascii_lowercase(), "pure-token");
        arg.token = Some(word.to_owned());
        arg
    }

    fn value(word: &str) -> Self {
        let (name, kind) = word.split_once(':').unwrap_or((word, "string"));
        let kinds = ["string", "integer", "double", "key", "pattern", "unix-time"];
        let kind = kinds.into_iter().find(|known| *known == kind);
        Self::new(name, kind.unwrap_or("string"))
    }

    fn reply(&self) -> Reply {
        let text = |text: &str| Reply::bulk(text.to_owned());
        let mut pairs = vec![
            (text("name"), text(&self.name)),
            (text("type"), text(self.kind)),
        ];
        if self.args.is_empty() {
            pairs.push((text("display_text"), text(&self.name)));
        }
        if self.kind == "key" {
            pairs.push((text("key_spec_index"), Reply::Integer(0)));
        }
        if let Some(token) = &self.token {
            pairs.push((text("token"), text(token)));
        }
        let flags: Vec<_> = [(self.optional, "optional"), (self.multiple, "multiple")]
            .into_iter()
            .filter(|(set, _)| *set)
            .map(|(_, flag)| Reply::Simple(flag.into()))
            .collect();
        if !flags.is_empty() {
            pairs.push((text("flags"), Reply::Set(flags)));
        }
        if !self.args.is_empty() {
            let args = self.args.iter().map(Self::reply).collect();
            pairs.push((text("arguments"), Reply::Array(args)));
        }
        Reply::Map(pairs)
    }
}

/// Returns the arguments that a line describes; none for an empty one.
pub(super) fn arguments(line: &'static str) -> Vec<Reply> {
    let mut words = line.split_ascii_whitespace();
    let (args, _) = sequence(&mut words);
    args.iter().map(Arg::reply).collect()
}

/// Reads items up to a closing word, which it returns too. The lines are ours, so that the depth is.
fn sequence<'a>(words: &mut impl Iterator<Item = &'a str>) -> (Vec<Arg>, Option<&'a str>) {
    let mut args: Vec<Arg> = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "]" | ")" | "|" => return (args, Some(word)),
            "[" => {
                let (inner, _) = sequence(words);
                let mut arg = fold(inner);
                arg.optional = true;
                args.push(arg);
            }
            "(" => {
                let mut one_of = Arg::new("one", "oneof");
                loop {
                    let (inner, end) = sequence(words);
                    one_of.args.push(fold(inner));
                    if end != Some("|") {
                        break;
                    }
                }
                args.push(one_of);
            }
            "..." => {
                if let Some(last) = args.last_mut() {
                    last.multiple = true;
                }
            }
            word if word.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                args.push(Arg::token(word));
            }
            word => args.push(Arg::value(word)),
        }
    }
    (args, None)
}

/// Makes one argument of what stands in a pair of brackets.
fn fold(mut args: Vec<Arg>) -> Arg {
    let has_token = args.first().is_some_and(|first| first.kind == "pure-token");
    match (args.len(), has_token) {
        (1, _) => args.remove(0),
        (2, true) if args[1].token.is_none() => {
            let token = args.remove(0);
            let mut arg = args.remove(0);
            if arg.kind == "oneof" {
                arg.name = token.name;
            }
            arg.token = token.token;
            arg
        }
        (_, true) => {
            let token = args.remove(0);
            let mut block = Arg::new(token.name, "block");
            block.token = token.token;
            block.args = args;
            block
        }
        (_, false) => {
            let mut block = Arg::new("arguments", "block");
            block.args = args;
            block
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(args: &[Arg]) -> String {
        let one = |arg: &Arg| {
            let token = arg.token.as_deref().unwrap_or_default();
            let flags = [(arg.optional, "?"), (arg.multiple, "+")];
            let flags: String = flags
                .iter()
                .filter(|(set, _)| *set)
                .map(|(_, c)| *c)
                .collect();
            let inner = if arg.args.is_empty() {
                String::new()
            } else {
                format!("({})", shown(&arg.args))
            };
            format!("{}:{}:{token}{flags}{inner}", arg.name, arg.kind)
        };
        args.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    fn read(line: &str) -> String {
        shown(&sequence(&mut line.split_ascii_whitespace()).0)
    }

    #[test]
    fn lines_become_arguments_in_redis_shape() {
        assert_eq!(read(""), "");
        assert_eq!(read("channel:pattern ..."), "channel:pattern:+");
        assert_eq!(
            read("[ protover:integer [ AUTH username password ] [ SETNAME clientname ] ]"),
            "arguments:block:?(protover:integer: auth:block:AUTH?(username:string: password:string:) \
             clientname:string:SETNAME?)"
        );
        assert_eq!(
            read("[ TYPE ( NORMAL | PUBSUB ) ]"),
            "type:oneof:TYPE?(normal:pure-token:NORMAL pubsub:pure-token:PUBSUB)"
        );
        assert_eq!(
            read("( ON | OFF )"),
            "one:oneof:(on:pure-token:ON off:pure-token:OFF)"
        );
    }
}
