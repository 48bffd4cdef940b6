//! What the recorder lets through to the upstream, what it refuses, and that each is recorded.

mod torture;
mod upgrades;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use captures::{Ending, Exchange};

use super::{GET, OK, Recorder, answering, names_and_values, next_head, upstream};
use crate::support::until;

/// Sends `raw` in one piece and reads until the connection is closed.
fn ask_bytes(recorder: &Recorder, raw: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    stream.write_all(raw).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// The one exchange of a recorder.
fn only(recorder: Recorder) -> Exchange {
    let (exchanges, tally) = recorder.stop();
    assert_eq!(tally.seen, 1);
    let [exchange] = &exchanges[..] else { panic!("{exchanges:?}") };
    exchange.clone()
}

#[test]
fn hostile_requests_are_refused_and_recorded_and_the_upstream_hears_nothing() {
    let cases: [(&str, u16); 14] = [
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6_0\r\n world\r\n0\r\n\r\n",
            400,
        ),
        ("POST / HTTP/1.1\r\n\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: y\nZ: 1\r\n\r\n", 400),
        ("GET foo/bar HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405),
        // The engine itself reads no quotes in a target.
        ("GET /?a=\"quoted\" HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ];
    let folder = tempfile::tempdir().unwrap();
    let heads = Arc::new(Mutex::new(0));
    let heard = Arc::clone(&heads);
    let server = upstream(move |mut stream| {
        while next_head(&mut stream).is_some() {
            *heard.lock().unwrap() += 1;
            stream.write_all(OK.as_bytes()).unwrap();
        }
    });
    let recorder = Recorder::start(folder.path(), server, &[]);

    for (raw, status) in cases {
        let answer = ask_bytes(&recorder, raw.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{raw:?} got {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{raw:?} got {answer:?}");
    }

    assert_eq!(*heads.lock().unwrap(), 0);
    let (mut exchanges, tally) = recorder.stop();
    assert_eq!(tally.seen, cases.len() as u64);
    exchanges.sort_by_key(|exchange| exchange.id);
    for (exchange, (raw, status)) in exchanges.iter().zip(cases) {
        assert_eq!((exchange.ending, exchange.attempts), (Ending::RequestInvalid, 0), "{raw:?}");
        assert_eq!(exchange.response.as_ref().map(|response| response.status), Some(status), "{raw:?}");
        assert!(!exchange.passage.detail.is_empty() && !exchange.passage.unfinished, "{raw:?}");
        assert!(raw.as_bytes().starts_with(&exchange.request.method), "{raw:?}");
    }
}

#[test]
fn requests_pass_wherever_they_are_cut() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(folder.path(), torture::listening().0, &["--mask", "none"]);
    let raw = "\r\nPOST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=\"y\"\r\nhello\r\n6\r\n world\r\n0\r\n\r\n\
               GET /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        .as_bytes();

    for cut in 1..raw.len() {
        let mut stream = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(&raw[..cut]).unwrap();
        stream.write_all(&raw[cut..]).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 2, "cut at {cut}: {answer}");
    }

    let (exchanges, tally) = recorder.stop();
    assert_eq!(tally.seen, 2 * (raw.len() as u64 - 1));
    assert!(exchanges.iter().all(|exchange| exchange.ending == Ending::Completed));
    let posts = exchanges.iter().filter(|exchange| exchange.request.method == b"POST");
    assert!(posts.clone().count() == raw.len() - 1);
    assert!(posts.clone().all(|exchange| exchange.request.body.stored == b"hello world"));
}

#[test]
fn a_body_that_goes_bad_on_the_way_never_reaches_the_upstream_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (heard, hears) = mpsc::channel();
    let heard = Mutex::new(heard);
    let server = upstream(move |mut stream| {
        next_head(&mut stream).unwrap();
        let mut chunk = [0; 10];
        stream.read_exact(&mut chunk).unwrap();
        let heard = heard.lock().unwrap().clone();
        heard.send(chunk.to_vec()).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        heard.send(rest).unwrap();
    });
    let recorder = Recorder::start(folder.path(), server, &["--mask", "none"]);
    let mut stream = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        .unwrap();
    assert_eq!(hears.recv().unwrap(), b"5\r\nhello\r\n");

    stream.write_all(b"5\r\nhello world\r\n0\r\n\r\n").unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);

    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let rest = hears.recv().unwrap();
    assert!(!String::from_utf8(rest).unwrap().contains("0\r\n\r\n"));
    let exchange = only(recorder);
    assert_eq!((exchange.ending, exchange.attempts), (Ending::RequestInvalid, 1));
    assert_eq!(exchange.response.unwrap().status, 400);
    assert!(exchange.passage.unfinished && exchange.passage.detail.contains("chunk"));
}

#[test]
fn trailers_are_recorded_and_go_no_further_in_either_direction() {
    let folder = tempfile::tempdir().unwrap();
    let (heard, hears) = mpsc::channel();
    let heard = Mutex::new(heard);
    let server = upstream(move |mut stream| {
        next_head(&mut stream).unwrap();
        let mut body = Vec::new();
        while !body.ends_with(b"0\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            body.push(byte[0]);
        }
        heard.lock().unwrap().send(body).unwrap();
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nok\r\n0\r\nX-Answer: 1\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let recorder = Recorder::start(folder.path(), server, &["--mask", "none"]);

    let mut stream = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\n")
        .unwrap();
    stream.write_all(b"x-Sum: 1\r\n\r\n").unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);

    assert_eq!(hears.recv().unwrap(), b"5\r\nhello\r\n0\r\n\r\n");
    assert!(answer.ends_with("2\r\nok\r\n0\r\n\r\n"), "{answer}");
    let exchange = only(recorder);
    assert_eq!(exchange.ending, Ending::Completed);
    assert_eq!(names_and_values(&exchange.request.trailers), ["x-Sum: 1"]);
    assert!(exchange.passage.altered && !exchange.passage.unfinished);
}

#[test]
fn a_head_that_drips_in_has_one_deadline_and_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(folder.path(), answering(OK), &["--header-timeout", "300ms"]);
    let mut slow = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    let mut dripping = slow.try_clone().unwrap();
    std::thread::spawn(move || {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(30_000));
        // Until the connection is closed: never a pause as long as the deadline, and never a whole head.
        head.bytes().all(|byte| {
            crate::support::pause(std::time::Duration::from_millis(1));
            dripping.write_all(&[byte]).is_ok()
        })
    });
    let mut answer = String::new();
    let _ = slow.read_to_string(&mut answer);

    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let exchange = only(recorder);
    assert_eq!((exchange.ending, exchange.attempts), (Ending::ClientTimedOut, 0));
    assert_eq!(exchange.request.target, b"/");
}

#[test]
fn who_begins_like_http_2_and_says_no_more_has_the_same_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(folder.path(), answering(OK), &["--header-timeout", "300ms"]);
    for begun in ["PRI", "PRI * HTTP/2.0\r\n\r\nSM\r\n"] {
        let mut stream = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
        stream.write_all(begun.as_bytes()).unwrap();
        let ended = stream.read(&mut [0]).map_err(|error| error.kind());
        assert!(matches!(ended, Ok(0) | Err(ErrorKind::ConnectionReset)), "{begun:?}: {ended:?}");
    }
}

#[test]
fn a_client_of_http_1_0_gets_no_chunks_and_the_end_of_the_connection_ends_the_body() {
    let folder = tempfile::tempdir().unwrap();
    let server = upstream(|mut stream| {
        let Some(head) = next_head(&mut stream) else { return };
        let (fields, body) = match head.starts_with("GET /chunks ") {
            true => {
                ("X-A: 1\r\nTransfer-Encoding: chunked\r\nX-B: 2", "6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n")
            }
            false => ("X-A: 1\r\nConnection: close\r\nX-B: 2", "hello world"),
        };
        stream.write_all(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{body}").as_bytes()).unwrap();
    });
    let recorder = Recorder::start(folder.path(), server, &[]);

    for path in ["/chunks", "/close"] {
        for more in ["", "Host: shop\r\n", "Host: shop\r\nConnection: keep-alive\r\n"] {
            let answer = recorder.ask(&format!("GET {path} HTTP/1.0\r\n{more}\r\n"));
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert_eq!(body, "hello world", "{path} {more}");
            let head = head.to_ascii_lowercase();
            assert!(!head.contains("transfer-encoding") && head.contains("connection: close"), "{head}");
            assert!(head.find("x-a: 1") < head.find("x-b: 2"), "{head}");
        }
        let newer = recorder.ask(&format!("GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"));
        assert!(newer.to_ascii_lowercase().contains("transfer-encoding: chunked"), "{newer}");
    }

    let (exchanges, _) = recorder.stop();
    assert_eq!(exchanges.len(), 8);
    assert!(exchanges.iter().all(|exchange| exchange.response.as_ref().unwrap().body.length == 11));
}

#[test]
fn a_fragment_is_recorded_as_it_came_and_said_to_have_been_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let (heard, hears) = mpsc::channel();
    let heard = Mutex::new(heard);
    let server = upstream(move |mut stream| {
        while let Some(head) = next_head(&mut stream) {
            heard.lock().unwrap().send(head.lines().next().unwrap().to_owned()).unwrap();
            stream.write_all(OK.as_bytes()).unwrap();
        }
    });
    let recorder = Recorder::start(folder.path(), server, &[]);
    for target in ["/a#b", "/a"] {
        recorder.ask(&format!("GET {target} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"));
        assert_eq!(hears.recv().unwrap(), "GET /a HTTP/1.1");
    }
    let (exchanges, _) = recorder.stop();
    let seen = |exchange: &Exchange| (exchange.request.target.clone(), exchange.passage.altered);
    assert_eq!(
        exchanges.iter().map(seen).collect::<Vec<_>>(),
        [(b"/a#b".to_vec(), true), (b"/a".to_vec(), false)]
    );
}

#[test]
fn an_idle_connection_is_closed_in_time_and_is_no_exchange() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(folder.path(), answering(OK), &["--keepalive", "200ms"]);
    let mut silent = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    assert_eq!(silent.read_to_end(&mut Vec::new()).unwrap(), 0);
    let mut once = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    once.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n").unwrap();

    let mut answer = String::new();
    once.read_to_string(&mut answer).unwrap();

    assert!(answer.ends_with("ok"), "{answer}");
    assert_eq!(only(recorder).ending, Ending::Completed);
}

#[test]
fn a_client_that_breaks_off_within_a_head_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::start(folder.path(), answering(OK), &[]);
    let mut stream = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    stream.write_all(b"GET /half HTTP/1.1\r\nHo").unwrap();
    drop(stream);
    until("the exchange to reach the file", || recorder.reader().next()).unwrap();
    let mut stopped = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    stopped.write_all(b"GET /stopped HTTP/1.1\r\nHo").unwrap();
    // What was sent before is read before.
    assert!(recorder.ask(GET).ends_with("ok"));

    recorder.signal("INT");
    recorder.signal("INT");

    let (mut exchanges, tally) = {
        recorder.ended();
        let mut reader = recorder.reader();
        let exchanges: Vec<Exchange> = reader.by_ref().map(Result::unwrap).collect();
        (exchanges, reader.tallies().last().unwrap().clone())
    };
    exchanges.sort_by_key(|exchange| exchange.id);
    assert_eq!(tally.seen, exchanges.len() as u64);
    assert_eq!((exchanges[0].ending, exchanges[0].attempts), (Ending::ClientAborted, 0));
    assert_eq!(exchanges[0].request.target, b"/half");
    let last = exchanges.iter().find(|exchange| exchange.request.target == b"/stopped").unwrap();
    assert_eq!((last.ending, last.response.as_ref()), (Ending::ProxyFailed, None));
}

#[test]
fn a_head_above_the_limit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(folder.path(), answering(OK), &["--max-head", "4KiB"]);
    let head = |length| {
        format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: {}\r\n\r\n", "y".repeat(length))
    };

    assert!(ask_bytes(&recorder, head(3_000).as_bytes()).starts_with("HTTP/1.1 200 "));
    assert!(ask_bytes(&recorder, head(100_000).as_bytes()).starts_with("HTTP/1.1 431 "));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(300));
    assert!(ask_bytes(&recorder, many.as_bytes()).starts_with("HTTP/1.1 431 "));

    let (_, tally) = recorder.stop();
    assert_eq!((tally.seen, tally.recorded), (3, 3));
}

#[test]
fn idle_connections_are_cheap_and_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(folder.path(), answering(OK), &["--threads", "1"]);
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", recorder.process.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let connect = |_| {
        let mut stream = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        next_head(&mut stream).unwrap();
        stream
    };
    drop((0..50).map(connect).collect::<Vec<_>>());
    let before = resident();

    let idle: Vec<TcpStream> = (0..1_000).map(connect).collect();

    let each = (resident() - before) / 1_000;
    eprintln!("an idle connection costs {each} KiB");
    assert!(each <= 56, "{each} KiB");
    drop(idle);
}

#[test]
fn an_answer_that_comes_before_the_request_is_whole_leaves_it_unfinished() {
    let folder = tempfile::tempdir().unwrap();
    let server = upstream(|mut stream| {
        next_head(&mut stream).unwrap();
        stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!").unwrap();
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let recorder = Recorder::start(folder.path(), server, &[]);
    let mut stream = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    stream.write_all(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n").unwrap();
    stream.write_all(&[b'x'; 300_000]).unwrap();
    let head = next_head(&mut stream).unwrap();
    stream.read_exact(&mut [0; 3]).unwrap();
    assert!(head.starts_with("HTTP/1.1 413 ") && head.contains("Connection: close"), "{head}");
    drop(stream);
    until("the exchange to reach the file", || recorder.reader().next()).unwrap();

    let exchange = only(recorder);

    assert_eq!((exchange.ending, exchange.response.unwrap().status), (Ending::ClientAborted, 413));
    assert!(exchange.passage.unfinished && exchange.request_done.is_none());
}

#[test]
fn a_client_that_sends_on_hears_why_it_was_refused() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(folder.path(), answering(OK), &[]);

    for _ in 0..20 {
        let mut stream = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
        stream.write_all(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: +500000\r\n\r\n").unwrap();
        stream.write_all(&[b'x'; 500_000]).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }

    assert_eq!(recorder.stop().1.seen, 20);
}

#[test]
fn a_secret_in_a_line_that_cannot_be_read_is_not_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(folder.path(), answering(OK), &[]);
    for line in [
        "Cookie : sid=TopSecret",
        "Cookie\t:TopSecret",
        "X: y\rCookie: TopSecret",
        "TopSecret",
        "X: y\n Cookie: TopSecret",
    ] {
        let raw = format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n");
        assert!(ask_bytes(&recorder, raw.as_bytes()).starts_with("HTTP/1.1 400 "));
    }

    let (exchanges, _) = recorder.stop();

    assert_eq!(exchanges.len(), 5);
    for exchange in exchanges {
        assert_eq!(names_and_values(&exchange.request.headers), ["Host: a"]);
        assert_eq!(exchange.request.target, b"/");
    }
}
