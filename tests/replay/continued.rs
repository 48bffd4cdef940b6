//! Requests that ask before they send their body: `Expect: 100-continue`.

use std::sync::mpsc;

use captures::{Exchange, Header};

use super::*;
use crate::support::write_capture_changed;

/// A server that answers the head of a request by `said`; gives what came on each connection, to its end.
fn server(said: &'static [u8]) -> (u16, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, came) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let (mut all, mut byte) = (Vec::new(), [0]);
            while !all.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
                all.push(byte[0]);
            }
            if all.is_empty() {
                // It only asked whether somebody is there.
                continue;
            }
            stream.write_all(said).unwrap();
            if !said.starts_with(b"HTTP/1.1 4") {
                let mut body = [0; 5];
                stream.read_exact(&mut body).unwrap();
                all.extend(body);
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            }
            let _ = stream.read_to_end(&mut all);
            let _ = sender.send(all);
        }
    });
    (port, came)
}

#[test]
fn a_body_follows_when_it_is_welcome_or_nobody_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, out) = (folder.path().join("c.capture"), folder.path().join("r.run"));
    let request = Recorded {
        arrived: Duration::ZERO,
        connection: 1,
        method: "PUT",
        target: "/a".to_owned(),
        body: b"12345".to_vec(),
    };
    write_capture_changed(&capture, &[request], "192.0.2.1:80", |exchange: &mut Exchange| {
        exchange.request.headers.push(Header { name: b"Expect".to_vec(), value: b"100-Continue".to_vec() });
    });
    let refused = &b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n"[..];
    for (said, status, body) in [
        (&b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"[..], "200", "12345"),
        (b"", "200", "12345"),
        (refused, "417", ""),
    ] {
        let (port, came) = server(said);
        let target = format!("http://127.0.0.1:{port}");
        let args =
            ["replay", capture.to_str().unwrap(), "--target", &target, "--allow-unsafe", "--json", "--quiet"];
        let output = run(&[&args[..], &["--breaker", "off", "--out", out.to_str().unwrap()]].concat());
        let shown = replayed(&output);
        std::fs::remove_file(&out).unwrap();
        let came = String::from_utf8(came.recv().unwrap()).unwrap();
        let (head, rest) = came.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("\r\nExpect: 100-continue\r\n"), "{head}");
        assert_eq!((rest, &shown["statuses"][status]), (body, &1.into()), "{shown:#}");
        // Nobody said anything: it waited a second.
        let waited = shown["response_ms"]["max"].as_f64().unwrap();
        assert!(waited >= 990.0 || !said.is_empty(), "{shown:#}");
    }
}
