//! A capture that is replayed through a second recorder: both captures tell the same.

use std::io::{Read, Write};
use std::net::TcpStream;

use captures::{Exchange, Header, sha256};

use super::{Recorder, answering, names_and_values, next_head, noise, upstream};
use crate::support::{replayed, run};

/// What belongs to one hop alone, what names the target, and what a replay marks itself with.
const NOT_COMPARED: [&str; 11] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
    "highwater-replay",
];

#[test]
fn what_is_replayed_through_a_second_recorder_is_recorded_alike() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let first = Recorder::start(folders[0].path(), echo(), &["--mask", "none"]);
    for connection in 0..4 {
        let mut stream = TcpStream::connect(("127.0.0.1", first.port)).unwrap();
        for at in 0..8 {
            stream.write_all(&request(connection, at)).unwrap();
            let head = next_head(&mut stream).unwrap();
            let length = length_in(&head);
            stream.read_exact(&mut vec![0; length]).unwrap();
        }
    }
    let capture = first.capture.display().to_string();
    let (recorded, _) = first.stop();

    // Another server: where the capture was recorded, nothing may be replayed.
    let second = Recorder::start(folders[1].path(), echo(), &["--mask", "none", "--record-replayed"]);
    let target = format!("http://127.0.0.1:{}", second.port);
    let out = folders[1].path().join("again.run").display().to_string();
    let args =
        ["replay", &capture, "--target", &target, "--allow-unsafe", "--out", &out, "--json", "--quiet"];
    replayed(&run(&args));
    let (again, _) = second.stop();

    let [recorded, again] = [recorded, again].map(in_order);
    assert_eq!(recorded.len(), 32);
    assert_eq!(told(&recorded), told(&again));
}

#[test]
fn a_secret_kept_by_mask_none_reaches_the_second_recorder() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let first = Recorder::start(folders[0].path(), answering(ok), &["--mask", "none"]);
    first.ask("GET /mine HTTP/1.1\r\nHost: shop\r\nCookie: sid=secret\r\nConnection: close\r\n\r\n");
    let capture = first.capture.display().to_string();
    first.stop();

    let second = Recorder::start(folders[1].path(), answering(ok), &["--mask", "none", "--record-replayed"]);
    let target = format!("http://127.0.0.1:{}", second.port);
    let out = folders[1].path().join("again.run").display().to_string();
    replayed(&run(&["replay", &capture, "--target", &target, "--out", &out, "--json", "--quiet"]));

    let (again, _) = second.stop();
    assert_eq!(captures::header_value(&again[0].request.headers, "cookie"), Some(&b"sid=secret"[..]));
}

/// Each differs from every other in method, headers or body.
fn request(connection: usize, at: usize) -> Vec<u8> {
    let target = format!("/{connection}/{at}%20x?q={at}&q=%C3%A4");
    let common = format!("hOst: shop\r\nX-Twice: a\r\naccept: */*\r\nX-Twice: b{at}\r\nX-Empty:\r\n");
    let body = noise(1 + connection * 3_000 + at * 777);
    match at % 4 {
        0 => format!("GET {target} HTTP/1.1\r\n{common}\r\n").into_bytes(),
        1 => format!("DELETE {target} HTTP/1.1\r\n{common}\r\n").into_bytes(),
        2 => {
            let head = format!("POST {target} HTTP/1.1\r\n{common}Content-Length: {}\r\n\r\n", body.len());
            [head.as_bytes(), &body].concat()
        }
        _ => {
            let head = format!("PUT {target} HTTP/1.1\r\n{common}Transfer-Encoding: chunked\r\n\r\n");
            let chunk = format!("{:x}\r\n", body.len());
            [head.as_bytes(), chunk.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat()
        }
    }
}

/// A server that answers with as many bytes as the target is long, and then some.
fn echo() -> std::net::SocketAddr {
    upstream(|mut stream| {
        while let Some(head) = next_head(&mut stream) {
            if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
                let mut body = Vec::new();
                let mut byte = [0];
                // What ends a chunked body might stand in it, too: noise of this seed does not hold it.
                while !body.ends_with(b"\r\n0\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                    body.push(byte[0]);
                }
            } else {
                stream.read_exact(&mut vec![0; length_in(&head)]).unwrap();
            }
            let target = head.split(' ').nth(1).unwrap();
            let body = noise(target.len() * 100);
            let answer =
                format!("HTTP/1.1 200 OK\r\nX-Of: {target}\r\nContent-Length: {}\r\n\r\n", body.len());
            if stream.write_all(&[answer.as_bytes(), &body].concat()).is_err() {
                return;
            }
        }
    })
}

fn length_in(head: &str) -> usize {
    let lines = head.lines().map(str::to_ascii_lowercase);
    let lengths = lines.filter_map(|line| line.strip_prefix("content-length:").map(str::to_owned));
    lengths.map(|length| length.trim().parse().unwrap()).next().unwrap_or(0)
}

fn in_order(mut exchanges: Vec<Exchange>) -> Vec<Exchange> {
    exchanges.sort_by(|a, b| a.request.target.cmp(&b.request.target));
    exchanges
}

/// Method, target, headers, body lengths and digests of request and answer, a line each.
fn told(exchanges: &[Exchange]) -> Vec<String> {
    let line = |exchange: &Exchange| {
        let (request, response) = (&exchange.request, exchange.response.as_ref().unwrap());
        assert!(request.body.is_whole() && response.body.is_whole());
        format!(
            "{} {} {:?} {:?} {} {:?} {:?}",
            String::from_utf8_lossy(&request.method),
            String::from_utf8_lossy(&request.target),
            compared(&request.headers, &["content-length"]),
            sha256(&request.body.stored),
            response.status,
            compared(&response.headers, &[]),
            sha256(&response.body.stored),
        )
    };
    exchanges.iter().map(line).collect()
}

/// The fields that go from end to end, but for `others`: a replay states the length of a body that came in chunks.
fn compared(headers: &[Header], others: &[&str]) -> Vec<String> {
    let kept = |header: &&Header| !NOT_COMPARED.iter().chain(others).any(|name| header.is(name));
    names_and_values(&headers.iter().filter(kept).cloned().collect::<Vec<_>>())
}
