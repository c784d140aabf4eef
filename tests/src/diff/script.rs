//! What is sent on which connection, as data and as text.

use std::fmt;

/// How many connections a script has.
pub const CONNECTIONS: usize = 3;

/// One command on one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Below [`CONNECTIONS`].
    pub connection: usize,
    /// The command's arguments, its name first.
    pub args: Vec<Vec<u8>>,
}

impl Line {
    /// The command's name in upper case.
    pub fn name(&self) -> Vec<u8> {
        self.args
            .first()
            .map(|name| name.to_ascii_uppercase())
            .unwrap_or_default()
    }

    /// The first argument after the name, in upper case.
    pub fn subcommand(&self) -> Vec<u8> {
        self.args
            .get(1)
            .map(|name| name.to_ascii_uppercase())
            .unwrap_or_default()
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}>", self.connection)?;
        for arg in &self.args {
            let plain = !arg.is_empty() && arg.iter().all(|b| b.is_ascii_graphic() && *b != b'"');
            if plain && !arg.contains(&b'\\') {
                write!(f, " {}", arg.escape_ascii())?;
            } else {
                write!(f, " \"{}\"", arg.escape_ascii())?;
            }
        }
        Ok(())
    }
}

/// Commands in the order in which they are sent, each after all before it have been answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script(pub Vec<Line>);

impl Script {
    /// Reads what [`Script`]'s `Display` wrote: a line a command, words, or strings in quotes with Rust's escapes.
    /// Empty lines and those that begin with `#` are left out.
    ///
    /// # Panics
    /// If a line is none: scripts are part of the tests.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(lines.map(parse_line).collect())
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

fn parse_line(line: &str) -> Line {
    let (connection, rest) = line.split_once('>').expect("`connection> command`");
    let connection = connection.parse().expect("a connection's number");
    assert!(
        connection < CONNECTIONS,
        "there are {CONNECTIONS} connections: {line}"
    );
    let mut args = Vec::new();
    let mut rest = rest.trim_start();
    while !rest.is_empty() {
        let (arg, after) = match rest.strip_prefix('"') {
            Some(quoted) => parse_quoted(quoted),
            None => {
                let end = rest.find(' ').unwrap_or(rest.len());
                (rest.as_bytes()[..end].to_vec(), &rest[end..])
            }
        };
        args.push(arg);
        rest = after.trim_start();
    }
    Line { connection, args }
}

fn parse_quoted(text: &str) -> (Vec<u8>, &str) {
    let mut arg = Vec::new();
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return (arg, &text[at + 1..]),
            b'\\' => match bytes.next().map(|(_, escaped)| escaped) {
                Some(b'n') => arg.push(b'\n'),
                Some(b'r') => arg.push(b'\r'),
                Some(b't') => arg.push(b'\t'),
                Some(b'x') => {
                    let digits = text.get(at + 2..at + 4).expect("two digits after \\x");
                    arg.push(u8::from_str_radix(digits, 16).expect("hexadecimal digits"));
                    bytes.next();
                    bytes.next();
                }
                Some(other) => arg.push(other),
                None => panic!("a string ends within an escape: {text}"),
            },
            byte => arg.push(byte),
        }
    }
    panic!("a string has no end: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_back() {
        let text = "0> PUBLISH a \"\"\n1> SUBSCRIBE \"a b\" \"\\r\\n\\x00\\xff\\\"\\\\\"\n";
        let script = Script::parse(text);
        assert_eq!(script.0[1].args[2], b"\r\n\x00\xff\"\\");
        assert_eq!(script.to_string(), text);
    }
}
