use super::*;

fn decoder() -> Decoder {
    let mut decoder = Decoder::new(Limits::default());
    decoder.set_authenticated(true);
    decoder
}

/// What a fresh decoder makes of the bytes: the requests, and the error if there is one.
fn run(mut decoder: Decoder, bytes: &[u8]) -> (Vec<Vec<Vec<u8>>>, Option<ProtocolError>) {
    let mut input = BytesMut::from(bytes);
    let mut requests = Vec::new();
    loop {
        match decoder.decode(&mut input) {
            Ok(Some(request)) => {
                requests.push(request.args.iter().map(|arg| arg.to_vec()).collect());
            }
            Ok(None) => return (requests, None),
            Err(error) => {
                assert_eq!(decoder.decode(&mut input), Err(error), "errors are sticky");
                input.extend_from_slice(b"\r\nPING\r\n");
                assert_eq!(decoder.decode(&mut input), Err(error), "errors are sticky");
                return (requests, Some(error));
            }
        }
    }
}

fn long(start: &str, len: usize) -> Vec<u8> {
    let mut line = start.as_bytes().to_vec();
    line.resize(len, b'1');
    line
}

#[test]
fn broken_requests_get_the_texts_of_redis() {
    // Down to the next comment, redis-server 7.0 was seen to answer the same.
    let multibulk = "Protocol error: invalid multibulk length";
    let bulk = "Protocol error: invalid bulk length";
    let quotes = "Protocol error: unbalanced quotes in request";
    let table: &[(&[u8], &str)] = &[
        (b"*\r\n", multibulk),
        (b"*-\r\n", multibulk),
        (b"*-0\r\n", multibulk),
        (b"*+1\r\n", multibulk),
        (b"*01\r\n", multibulk),
        (b"* 1\r\n", multibulk),
        (b"*1 \r\n", multibulk),
        (b"*a\r\n", multibulk),
        (b"*2147483648\r\n", multibulk),
        (b"*99999999999999999999\r\n", multibulk),
        (b"*1\r\n$\r\n", bulk),
        (b"*1\r\n$-1\r\n", bulk),
        (b"*1\r\n$-2\r\n", bulk),
        (b"*1\r\n$04\r\n", bulk),
        (b"*1\r\n$+4\r\n", bulk),
        (b"*1\r\n$16777217\r\n", bulk),
        (b"*1\r\n$9223372036854775807\r\n", bulk),
        (b"*1\r\n$9223372036854775808\r\n", bulk),
        (b"*1\r\nabc\r\n", "Protocol error: expected '$', got 'a'"),
        (b"*1\r\n*1\r\n", "Protocol error: expected '$', got '*'"),
        (b"*1\r\n:1\r\n", "Protocol error: expected '$', got ':'"),
        (b"*1\r\n\r\n", "Protocol error: expected '$', got ' '"),
        (b"*1\r\n\n", "Protocol error: expected '$', got ' '"),
        (b"*1\r\n\x01a", "Protocol error: expected '$', got '\x01'"),
        (b"ECHO \"a\r\n", quotes),
        (b"ECHO 'a\n", quotes),
        (b"ECHO \"a\"b\r\n", quotes),
        // Redis shows the byte as it is, and waits for ever after a NUL. Below, it takes any two
        // bytes for a line end, although the stream has slipped.
        (b"*1\r\n\xffa", "Protocol error: expected '$', got '\\xff'"),
        (b"*1\0\r\n", multibulk),
        (b"*1\rx", multibulk),
        (b"*1\r\n$4\rx", bulk),
        (
            b"*1\r\n$4\r\nPINGxx",
            "Protocol error: expected CRLF after bulk",
        ),
        (
            b"*1\r\n$4\r\nPING\rx",
            "Protocol error: expected CRLF after bulk",
        ),
    ];
    for (bytes, text) in table {
        let (requests, error) = run(decoder(), bytes);
        assert!(requests.is_empty(), "{}", bytes.escape_ascii());
        let error = error.map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some(*text), "{}", bytes.escape_ascii());
    }
}

#[test]
fn lines_that_do_not_end_are_refused_beyond_64_kib() {
    let table = [
        ("A", "Protocol error: too big inline request"),
        ("*", "Protocol error: too big mbulk count string"),
        ("*1\r\n$", "Protocol error: too big bulk count string"),
    ];
    for (start, text) in table {
        let before = start.len() - start.len().min(1);
        assert_eq!(
            run(decoder(), &long(start, before + 65536)),
            (vec![], None),
            "{start}"
        );
        for end in ["", "\r\n"] {
            let mut bytes = long(start, before + 65537);
            bytes.extend_from_slice(end.as_bytes());
            let error = run(decoder(), &bytes).1.map(|error| error.to_string());
            assert_eq!(error.as_deref(), Some(text));
        }
    }
    let mut fits = long("A", 65535);
    fits.extend_from_slice(b"\r\n");
    assert_eq!(
        run(decoder(), &fits).0.len(),
        1,
        "the CR counts, the LF does not"
    );
}

#[test]
fn unauthenticated_clients_get_small_limits() {
    let args = "Protocol error: unauthenticated multibulk length";
    let table: &[(&[u8], Option<&str>)] = &[
        (b"*10\r\n", None),
        (b"*11\r\n", Some(args)),
        (b"*1\r\n$16384\r\n", None),
        (
            b"*1\r\n$16385\r\n",
            Some("Protocol error: unauthenticated bulk length"),
        ),
        (b"a b c d e f g h i j\r\n", None),
        (b"a b c d e f g h i j k\r\n", Some(args)),
    ];
    for (bytes, text) in table {
        let error = run(Decoder::new(Limits::default()), bytes)
            .1
            .map(|error| error.to_string());
        assert_eq!(error.as_deref(), *text, "{}", bytes.escape_ascii());
        assert_eq!(run(decoder(), bytes).1, None, "{}", bytes.escape_ascii());
    }
}

#[test]
fn empty_requests_are_skipped() {
    let bytes = b"*0\r\n*-1\r\n*-5\r\n\r\n\n \t \r\n*-9223372036854775808\r\nPING\r\n*0\r\n";
    assert_eq!(run(decoder(), bytes), (vec![vec![b"PING".to_vec()]], None));
}

#[test]
fn http_executes_nothing_of_its_buffer() {
    for bytes in [
        &b"POST / HTTP/1.1\r\nPUBLISH x y\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\nPUBLISH x y\r\n",
        b"HEAD / HTTP/1.1\r\n",
        b"PUT / HTTP/1.1\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"Host: a\r\n",
        b"PUBLISH x y\r\nHost: a\r\n",
        b"PUBLISH x y\r\n\r\nPING\nPOST /\n",
    ] {
        let (requests, error) = run(decoder(), bytes);
        assert_eq!(requests.len(), 0, "{}", bytes.escape_ascii());
        assert_eq!(
            error,
            Some(ProtocolError::CrossProtocol),
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn http_inside_an_argument_is_data() {
    let payload = b"x\r\nPOST / HTTP/1.1\r\nHost: a\r\n";
    let mut bytes = b"PING\r\n*2\r\n$4\r\nECHO\r\n".to_vec();
    bytes.extend_from_slice(format!("${}\r\n", payload.len()).as_bytes());
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(b"\r\nPING\r\n");
    let (requests, error) = run(decoder(), &bytes);
    assert_eq!(error, None);
    assert_eq!(requests[1][1], payload);
    assert_eq!(requests.len(), 3);
}

#[test]
fn http_is_screened_again_after_an_array() {
    let (requests, error) = run(decoder(), b"*1\r\n$4\r\nPING\r\nPING\r\nHost: a\r\n");
    assert_eq!(
        requests.len(),
        1,
        "only the array: no browser starts with one"
    );
    assert_eq!(error, Some(ProtocolError::CrossProtocol));
}

#[test]
fn one_request_holds_no_more_than_the_limit() {
    let limits = Limits {
        max_request_bytes: 200,
        ..Limits::default()
    };
    let text = "Protocol error: too big request, the limit is 200 bytes in all";
    let table: &[(&[u8], Option<&str>)] = &[
        (b"*3\r\n", None),
        (b"*4\r\n", Some(text)),
        (b"*2\r\n$72\r\n", None),
        (b"*2\r\n$73\r\n", Some(text)),
        (b"*2\r\n$2\r\nab\r\n$71\r\n", Some(text)),
        (b"a b c\r\na b c\r\n", None),
        (b"a b c d\r\n", Some(text)),
    ];
    for (bytes, text) in table {
        let mut decoder = Decoder::new(limits);
        decoder.set_authenticated(true);
        let error = run(decoder, bytes).1.map(|error| error.to_string());
        assert_eq!(error.as_deref(), *text, "{}", bytes.escape_ascii());
    }
}

#[test]
fn declared_lengths_allocate_nothing() {
    let mut decoder = decoder();
    let mut input = BytesMut::from(&b"*10000\r\n$16777216\r\n"[..]);
    let capacity = input.capacity();
    assert_eq!(decoder.decode(&mut input), Ok(None));
    assert!(decoder.args.capacity() <= ARGS_AT_FIRST);
    assert!(input.capacity() <= capacity);
    let error = run(self::decoder(), b"*2147483647\r\n").1;
    assert!(matches!(error, Some(ProtocolError::TooBigRequest { .. })));
}

#[test]
fn the_buffer_fits_a_large_argument_once_half_is_there() {
    let mut decoder = decoder();
    let len = 1024 * 1024;
    let mut input = BytesMut::from(format!("*1\r\n${len}\r\n").as_bytes());
    input.extend_from_slice(&vec![b'x'; len / 2 - 1]);
    assert_eq!(decoder.decode(&mut input), Ok(None));
    input.extend_from_slice(b"xx");
    assert_eq!(decoder.decode(&mut input), Ok(None));
    assert!(input.capacity() >= len + 2);
    input.extend_from_slice(&vec![b'x'; len / 2 - 1]);
    input.extend_from_slice(b"\r\n");
    let start = input.as_ptr();
    let request = decoder.decode(&mut input).unwrap().unwrap();
    assert_eq!(request.args[0].len(), len);
    assert_eq!(
        request.args[0].as_ptr(),
        start,
        "the argument is not copied"
    );
}

#[test]
fn work_is_linear_when_a_stream_arrives_byte_by_byte() {
    let mut array = b"*5000\r\n".to_vec();
    for _ in 0..5000 {
        array.extend_from_slice(b"$5\r\nhello\r\n");
    }
    let mut inline = long("ECHO ", 60_000);
    inline.extend_from_slice(b"\r\n");
    let lines = b"PING\r\n".repeat(5000);
    let header = long("*", 65_536);
    for stream in [array, inline, lines, header] {
        let mut decoder = decoder();
        let mut input = BytesMut::new();
        for &byte in &stream {
            input.extend_from_slice(&[byte]);
            decoder.decode(&mut input).unwrap();
        }
        assert!(
            decoder.examined <= 3 * stream.len(),
            "{} bytes",
            stream.len()
        );
    }
}

#[test]
fn work_is_linear_when_many_lines_wait_in_one_buffer() {
    let stream = b"PING\r\n".repeat(20_000);
    let mut decoder = decoder();
    let mut input = BytesMut::from(&stream[..]);
    let mut count = 0;
    while decoder.decode(&mut input).unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 20_000);
    assert!(decoder.examined <= 2 * stream.len());
}

#[test]
fn integers_are_read_as_strictly_as_redis_reads_them() {
    for value in [0, 1, -1, 10, i64::MAX, i64::MIN, i64::MIN + 1] {
        assert_eq!(parse_integer(value.to_string().as_bytes()), Some(value));
    }
    for text in [
        "",
        "-",
        "-0",
        "00",
        "01",
        "+1",
        " 1",
        "1 ",
        "1a",
        "9223372036854775808",
    ] {
        assert_eq!(parse_integer(text.as_bytes()), None, "{text}");
    }
}
