//! Where bodies end, and which go bad on the way.

use proptest::prelude::*;

use super::*;

/// How much of `raw` is the chunked body; `None` while more must come.
fn read(raw: &[u8]) -> Result<Option<usize>, Refusal> {
    let mut body = Body::chunked();
    let taken = body.on_bytes(raw)?;
    Ok(body.is_done().then_some(taken))
}

#[test]
fn chunked_bodies_end_where_the_grammar_says() {
    let check = |raw: &str, rest: &str| {
        assert_eq!(read(format!("{raw}{rest}").as_bytes()), Ok(Some(raw.len())), "{raw:?}");
    };
    check("0\r\n\r\n", "GET / HTTP/1.1\r\n\r\n");
    check("5\r\nhello\r\n6\r\n world\r\n000\r\n\r\n", "x");
    check("A\r\n0123456789\r\n0\r\n\r\n", "");
    check("5; ilovew3;what=these \t;a=\"q\\\"\";b\r\nhello\r\n0;x\r\n\r\n", "");
    check("0\r\nVary: *\r\nX:\r\n\r\n", "x");
}

#[test]
fn what_is_no_chunk_is_refused() {
    for raw in [
        "\r\n\r\n",
        " 0\r\n",
        "+5\r\n",
        "-0\r\n",
        "0x5\r\n",
        "5_0\r\n",
        "5 \r\n",
        "5\n",
        "5\r\r\n",
        "5;\r\n",
        "5;=a\r\n",
        "5;a=\r\n",
        "5;a=\"b\r\n",
        "5;a=\"b\"c\r\n",
        "5 a\r\n",
        ";a\r\n",
        "5;a\rb\r\n",
        "5;a\0\r\n",
        "5\r\nhello!\r\n",
        "5\r\nhello\n0",
        "5\r\nhello\r\r\n",
        "10000000000000000\r\n",
        "0\r\nX: y\n\r\n",
        "0\r\nX\r\n",
        "0\r\n X: y\r\n",
        "0\r\nContent-Length: 1\r\n\r\n",
        "0\r\nTransfer-Encoding: chunked\r\n",
        "0\r\nHost: b\r\n",
        "0\r\n\n",
        "0\r\n\rX\r\n",
    ] {
        assert!(read(raw.as_bytes()).is_err(), "{raw:?}");
    }
    assert!(read(format!("5;{}", "a".repeat(5_000)).as_bytes()).is_err());
    assert!(read(format!("0\r\nX: {}", "a".repeat(20_000)).as_bytes()).is_err());
}

#[test]
fn trailers_are_kept_as_they_came() {
    let mut body = Body::chunked();
    body.on_bytes(b"1\r\na\r\n0\r\nx-Sum: 1\r\nY: 2\r\n\r\n").unwrap();

    assert_eq!(body.take_trailers(), b"x-Sum: 1\r\nY: 2\r\n");
}

proptest! {
    #[test]
    fn any_chunks_are_followed_wherever_they_are_cut(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..5),
        extension in prop_oneof![Just(""), Just(";a"), Just(" ; a = \"b;\\\"\"")],
        trailer in prop_oneof![Just(""), Just("X: y\r\n")],
        step in 1..50_usize,
    ) {
        let mut raw = Vec::new();
        for chunk in &chunks {
            raw.extend(format!("{:x}{extension}\r\n", chunk.len()).into_bytes());
            raw.extend(chunk);
            raw.extend(b"\r\n");
        }
        raw.extend(format!("0\r\n{trailer}\r\n").into_bytes());
        let length = raw.len();
        raw.extend(b"GET / HTTP/1.1\r\n");

        let mut body = Body::chunked();
        let mut taken = 0;
        for piece in raw.chunks(step) {
            taken += body.on_bytes(piece).unwrap();
        }

        prop_assert!(body.is_done());
        prop_assert_eq!(taken, length);
        prop_assert_eq!(body.take_trailers(), trailer.as_bytes());
    }

    #[test]
    fn where_it_is_cut_does_not_change_the_verdict(
        raw in proptest::collection::vec(prop_oneof![
            Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'1'), Just(b';'), Just(b'='), Just(b'"'), Just(b' '),
            Just(b'\\'), Just(b'a'), Just(b':'),
        ], 0..40),
        step in 1..10_usize,
    ) {
        let mut body = Body::chunked();
        let mut taken = Ok(0);
        for piece in raw.chunks(step) {
            taken = taken.and_then(|before| body.on_bytes(piece).map(|more| before + more));
        }
        prop_assert_eq!(taken.map(|taken| body.is_done().then_some(taken)), read(&raw));
    }
}
