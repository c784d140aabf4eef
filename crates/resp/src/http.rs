//! Telling a browser from a Redis client.
//!
//! A page on any web site can make a visitor's browser send HTTP to a port on the visitor's machine
//! or network, with a body of the page's choice. Were the body's lines executed as inline requests,
//! the page would command the server. So an inline line that only HTTP sends ends the connection.

/// Words that start an HTTP request and are no Redis command. `GET` is both and needs a closer
/// look.
const METHODS: [&[u8]; 8] = [
    b"POST", b"HEAD", b"PUT", b"OPTIONS", b"DELETE", b"PATCH", b"TRACE", b"CONNECT",
];

/// Returns whether a line is the first of an HTTP request or its `Host` header.
pub(crate) fn is_http(line: &[u8]) -> bool {
    let mut words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let Some(first) = words.next() else {
        return false;
    };
    let host = b"Host:";
    if METHODS
        .iter()
        .any(|method| first.eq_ignore_ascii_case(method))
        || first
            .get(..host.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(host))
    {
        return true;
    }
    // A target is a path or, sent to a proxy, an address; a key that looks like either can still be
    // read with a request that is not inline.
    first.eq_ignore_ascii_case(b"GET")
        && words.next().is_some_and(|target| {
            target.starts_with(b"/")
                || target
                    .get(..4)
                    .is_some_and(|start| start.eq_ignore_ascii_case(b"http"))
        })
}

#[cfg(test)]
mod tests {
    use super::is_http;

    #[test]
    fn only_lines_of_http_are_http() {
        for line in [
            &b"POST / HTTP/1.1"[..],
            b"post /",
            b"HEAD / HTTP/1.0",
            b"PUT /a HTTP/1.1",
            b"OPTIONS * HTTP/1.1",
            b"GET / HTTP/1.1\r",
            b"GET http://a/ HTTP/1.1",
            b"Host: a",
            b"host:a",
        ] {
            assert!(is_http(line), "{}", line.escape_ascii());
        }
        for line in [
            &b""[..],
            b" ",
            b"PING",
            b"GET key",
            b"GET",
            b"PUBLISH POST /",
            b"POSTS",
            b"Hos",
            b"*1",
        ] {
            assert!(!is_http(line), "{}", line.escape_ascii());
        }
    }
}
