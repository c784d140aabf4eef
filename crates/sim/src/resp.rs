//! What a client reads: a strict parser of replies and pushes, on its own so that a fault of the
//! encoder cannot hide behind the same fault here
//! (<https://redis.io/docs/latest/develop/reference/protocol-spec/>).

use bytes::{Buf, Bytes, BytesMut};

/// Corgi nests a reply no deeper than this (a map of arrays in `HELLO`).
const DEPTH_MAX: usize = 4;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `+text`.
    Simple(Bytes),
    /// `-text`.
    Error(Bytes),
    /// `:n`.
    Integer(i64),
    /// `$` or `=`.
    Bulk(Bytes),
    /// `$-1`, `*-1` or `_`.
    Null,
    /// `*`; a map (`%`) is given as its keys and values in turn.
    Array(Vec<Self>),
    /// `>`.
    Push(Vec<Self>),
}

/// Takes one whole frame out of `input`; `None` if it is not whole yet.
///
/// # Errors
/// A text that says what is not RESP.
pub fn take(input: &mut BytesMut) -> Result<Option<Value>, String> {
    let mut at = 0;
    match parse(input, &mut at, 0)? {
        Some(value) => {
            input.advance(at);
            Ok(Some(value))
        }
        None => Ok(None),
    }
}

fn parse(input: &[u8], at: &mut usize, depth: usize) -> Result<Option<Value>, String> {
    if depth > DEPTH_MAX {
        return Err("a reply is nested too deep".to_owned());
    }
    let Some(line) = line(input, at)? else {
        return Ok(None);
    };
    let Some((kind, rest)) = line.split_first() else {
        return Err("an empty line".to_owned());
    };
    let text = || Bytes::copy_from_slice(rest);
    match kind {
        b'+' => Ok(Some(Value::Simple(text()))),
        b'-' => Ok(Some(Value::Error(text()))),
        b':' => Ok(Some(Value::Integer(number(rest)?))),
        b'_' if rest.is_empty() => Ok(Some(Value::Null)),
        b'$' | b'=' => match number(rest)? {
            -1 => Ok(Some(Value::Null)),
            len => bulk(input, at, len),
        },
        b'*' | b'>' | b'%' => {
            let count = match (kind, number(rest)?) {
                (b'*', -1) => return Ok(Some(Value::Null)),
                (b'%', pairs) => pairs * 2,
                (_, count) => count,
            };
            let count =
                u32::try_from(count).map_err(|error| format!("{count} elements: {error}"))?;
            let mut items = Vec::new();
            for _ in 0..count {
                match parse(input, at, depth + 1)? {
                    Some(item) => items.push(item),
                    None => return Ok(None),
                }
            }
            Ok(Some(match kind {
                b'>' => Value::Push(items),
                _ => Value::Array(items),
            }))
        }
        kind => Err(format!("a frame begins with byte {kind}")),
    }
}

/// Returns the line at `at` without its CRLF.
fn line<'i>(input: &'i [u8], at: &mut usize) -> Result<Option<&'i [u8]>, String> {
    let rest = &input[*at..];
    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
        return Ok(None);
    };
    if end == 0 || rest[end - 1] != b'\r' {
        return Err("a line ends without CR".to_owned());
    }
    *at += end + 1;
    Ok(Some(&rest[..end - 1]))
}

fn number(text: &[u8]) -> Result<i64, String> {
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}

fn bulk(input: &[u8], at: &mut usize, len: i64) -> Result<Option<Value>, String> {
    let len = usize::try_from(len).map_err(|error| format!("{len} bytes: {error}"))?;
    let rest = &input[*at..];
    if rest.len() < len + 2 {
        return Ok(None);
    }
    if &rest[len..len + 2] != b"\r\n" {
        return Err("a bulk string does not end with CRLF".to_owned());
    }
    *at += len + 2;
    Ok(Some(Value::Bulk(Bytes::copy_from_slice(&rest[..len]))))
}

/// Appends a command as an array of bulk strings.
pub fn put_command(args: &[&[u8]], out: &mut BytesMut) {
    out.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8]) -> Result<Vec<Value>, String> {
        let mut input = BytesMut::from(text);
        let mut values = Vec::new();
        while let Some(value) = take(&mut input)? {
            values.push(value);
        }
        assert!(input.is_empty(), "left over: {input:?}");
        Ok(values)
    }

    #[test]
    fn every_frame_that_a_node_sends_is_read() {
        let bulk = |text: &'static str| Value::Bulk(Bytes::from_static(text.as_bytes()));
        assert_eq!(
            all(b"+OK\r\n-ERR no\r\n:-7\r\n$1\r\na\r\n$-1\r\n*-1\r\n_\r\n").unwrap(),
            [
                Value::Simple("OK".into()),
                Value::Error("ERR no".into()),
                Value::Integer(-7),
                bulk("a"),
                Value::Null,
                Value::Null,
                Value::Null,
            ]
        );
        assert_eq!(
            all(b">2\r\n$1\r\na\r\n:1\r\n%1\r\n$1\r\nk\r\n*0\r\n").unwrap(),
            [
                Value::Push(vec![bulk("a"), Value::Integer(1)]),
                Value::Array(vec![bulk("k"), Value::Array(vec![])]),
            ]
        );
    }

    #[test]
    fn a_part_of_a_frame_is_none_and_stays() {
        let whole = b"*2\r\n$2\r\nab\r\n:1\r\n";
        for cut in 0..whole.len() {
            let mut input = BytesMut::from(&whole[..cut]);
            assert_eq!(take(&mut input), Ok(None));
            assert_eq!(input.len(), cut);
        }
    }

    #[test]
    fn what_is_not_resp_is_an_error() {
        for wrong in [
            "a\r\n",
            "+a\n",
            "\r\n",
            ":x\r\n",
            "$1\r\nabc\r\n",
            "$-2\r\n",
        ] {
            assert!(all(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn commands_are_arrays_of_bulk_strings() {
        let mut out = BytesMut::new();
        put_command(&[b"PUBLISH", b"a", b""], &mut out);
        assert_eq!(&out[..], b"*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n$0\r\n\r\n");
    }
}
