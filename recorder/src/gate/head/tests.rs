//! Which heads pass, and where they are cut does not matter.

use proptest::prelude::*;

use super::*;

const LIMITS: HeadLimits = HeadLimits { bytes: 2_000, fields: 5 };

fn read(raw: &[u8]) -> Result<Option<Head>, Refusal> {
    HeadReader::new(LIMITS).on_bytes(raw)
}

/// Whether `raw` is let through, or the status it is refused with.
fn check(raw: impl AsRef<[u8]>, expected: Result<&str, u16>) {
    let raw = raw.as_ref();
    let shown = raw.escape_ascii();
    let found = read(raw).map(|head| head.map(|head| format!("{:?}", head.body)));
    match (found, expected) {
        (Ok(Some(body)), Ok(expected)) => assert_eq!(body, expected, "{shown}"),
        (Ok(None), Ok("")) => {}
        (Err(refusal), Err(status)) => assert_eq!(refusal.status, status, "{shown}: {}", refusal.reason),
        (found, expected) => panic!("{shown}: {found:?} instead of {expected:?}"),
    }
}

#[test]
fn sound_heads_pass() {
    for fields in ["", "Cookie:\r\n", "X.y|z: a\tb \u{e9}\r\n", "Connection: keep-alive, Upgrade\r\n"] {
        check(format!("GET / HTTP/1.1\r\nHost: shop\r\n{fields}\r\n"), Ok("Length(0)"));
    }
    for target in ["/?a=b#c", "/a|b^c\"d", "/\u{e9}", "http://SHOP", "http://shop/a", "HTTPS://shop?b"] {
        check(format!("BREW {target} HTTP/1.1\r\nHost: shop\r\n\r\n"), Ok("Length(0)"));
    }
    for host in ["shop:80", "a_b.example:", "[::1]:80", "0.0.0.0=5000"] {
        check(format!("GET / HTTP/1.1\r\nHost: \t {host} \r\n\r\n"), Ok("Length(0)"));
    }
    check("GET / HTTP/1.0\r\n\r\n", Ok("Length(0)"));
    check("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Ok("Length(0)"));
    check("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\nbody", Ok("Length(12)"));
    check("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n", Ok(""));
    let raw = b"POST / HTTP/1.1\r\nHost: a\r\ntransfer-ENCODING: Chunked\r\n\r\n0\r\n";
    let chunked = read(raw).unwrap().unwrap();
    assert!(matches!(chunked.body, Body::Chunked(_)) && chunked.length == raw.len() - 3);
}

#[test]
fn empty_lines_in_front_are_passed_over_once_they_are_whole() {
    for (raw, expected) in [
        ("", Some(0)),
        ("\r", None),
        ("\r\n", Some(2)),
        ("\r\n\r", None),
        ("\r\n\r\nG", Some(4)),
        ("G\r\n", Some(0)),
        ("\rG", Some(0)),
        ("\n\r", Some(0)),
    ] {
        assert_eq!(empty_lines(raw.as_bytes()), expected, "{raw:?}");
    }
}

#[test]
fn requests_with_two_readings_are_refused() {
    for fields in [
        "Content-Length: 1\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 1",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Content-Length: 1\r\nContent-Length: 1",
        "Content-Length: 1, 1",
        "Content-Length: +1",
        "Content-Length: 01",
        "Content-Length:",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\r\n\nTransfer-Encoding: chunked",
        "X: y\0",
        "X: y\u{7f}",
        ": y",
        "X",
        "X\u{e9}: y",
        "Host: b",
        "Connection: close, Content-Length",
    ] {
        check(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"), Err(400));
    }
    for encoding in
        ["", "identity", "chunked, identity", ",chunked", "xchunked", "chunked\u{b}", "\"chunked\""]
    {
        let raw = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {encoding}\r\n\r\n");
        check(&raw, Err(if encoding.contains('\u{b}') { 400 } else { 501 }));
    }
    check("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Err(400));
}

#[test]
fn request_lines_that_are_none_are_refused() {
    for (line, status) in [
        ("GET foo/bar HTTP/1.1", 400),
        ("GET a:443 HTTP/1.1", 400),
        ("GET s://a/ HTTP/1.1", 400),
        ("GET http://u:p@a/ HTTP/1.1", 400),
        ("GET http:/// HTTP/1.1", 400),
        ("GET http://b/ HTTP/1.1", 400),
        ("GET * HTTP/1.1", 400),
        ("GET  / HTTP/1.1", 400),
        ("GET /  HTTP/1.1", 400),
        ("GET / HTTP/1.1 ", 400),
        ("GET /\tHTTP/1.1", 400),
        ("GET /\u{7f} HTTP/1.1", 400),
        ("GET /", 400),
        ("G(T / HTTP/1.1", 400),
        (" / HTTP/1.1", 400),
        ("GET / http/1.1", 400),
        ("GET / HTTP/11", 400),
        ("GET / HTTP/1.2", 505),
        ("PRI * HTTP/2.0", 505),
        ("CONNECT a:443 HTTP/1.1", 405),
    ] {
        check(format!("{line}\r\nHost: a\r\n\r\n"), Err(status));
    }
    check(b"GET /\xa0 HTTP/1.0\r\n\r\n", Err(400));
}

#[test]
fn hosts_are_one_and_sound() {
    for host in ["", "a b", "a,b", "a@b", "a:b", "a:1:2", "[::1", "[]", "a/b", "\u{e9}"] {
        check(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), Err(400));
    }
    check("GET / HTTP/1.1\r\n\r\n", Err(400));
}

#[test]
fn what_is_too_large_is_refused_before_it_is_whole() {
    check("x".repeat(2_001), Err(414));
    check(format!("GET / HTTP/1.1\r\n{}", "x".repeat(2_000)), Err(431));
    check(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(5)), Err(431));
    check(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(4)), Ok("Length(0)"));
}

#[test]
fn of_a_refused_head_the_lines_are_kept_that_can_be_read() {
    let check =
        |raw: &str, kept: usize| assert_eq!(sound_part(raw.as_bytes()), &raw.as_bytes()[..kept], "{raw:?}");
    check("GET / HTTP/1.1\r\nA: b\r\nCookie : secret\r\nC: d\r\n\r\n", 22);
    check("GET / HTTP/1.1\r\nA: b\r\nCookie: sec", 22);
    check("GET / HTTP/1.1\r\nA: b\r\n\r\nCookie: secret\r\n", 22);
    check("GET / HTTP/1.1\nCookie: secret\r\n", 0);
    check("Cookie: secret HTTP/1.1\r\nA: b\r\n", 0);
    check("GET secret HTTP/9.9\r\nA:", 21);
}

proptest! {
    #[test]
    fn where_a_head_is_cut_does_not_matter(
        parts in proptest::collection::vec(prop_oneof![
            Just("\r\n"), Just("\n"), Just("\r"), Just("Host: a"), Just("X: y"), Just(" "), Just(":"),
            Just("Content-Length: 5"), Just("Transfer-Encoding: chunked"), Just("HTTP/1.1"),
        ], 0..12),
        step in 1..20_usize,
    ) {
        let raw = format!("POST / HTTP/1.1\r\n{}", parts.concat()).into_bytes();
        let shown = |found: &Result<Option<Head>, Refusal>| format!("{found:?}");
        let whole = read(&raw);
        let mut reader = HeadReader::new(LIMITS);
        let mut found = Ok(None);
        for end in (step..raw.len()).step_by(step).chain([raw.len()]) {
            found = reader.on_bytes(&raw[..end]);
            if !matches!(found, Ok(None)) {
                break;
            }
        }
        prop_assert_eq!(shown(&found), shown(&whole));
    }

    #[test]
    fn what_passes_is_one_head_to_any_reader(raw in proptest::collection::vec(prop_oneof![
        Just(b'\r'), Just(b'\n'), Just(b' '), Just(b':'), any::<u8>(),
    ], 0..60)) {
        let raw = [b"GET / HTTP/1.1\r\nHost: a\r\n".as_slice(), &raw, b"\r\n\r\n"].concat();
        if let Ok(Some(head)) = read(&raw) {
            let text = &raw[..head.length];
            prop_assert!(text.ends_with(b"\r\n\r\n"));
            let ends = text.windows(2).filter(|pair| pair == b"\r\n").count();
            prop_assert_eq!(text.iter().filter(|&&byte| byte == b'\n' || byte == b'\r').count(), 2 * ends);
            prop_assert_eq!(text.windows(4).filter(|end| end == b"\r\n\r\n").count(), 1);
        }
    }
}
