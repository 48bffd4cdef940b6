//! Upgrades, also those that the upstream grants before it was asked.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use captures::{Ending, Frames};

use crate::record::{Recorder, next_head, noise, upstream};
use crate::support::until;

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
const ASK: &[u8] = b"GET /ws HTTP/1.1\r\nHost: shop\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// A frame of a client, with a mask of zeros.
fn frame(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    let mut frame = vec![0x82, 0x80 | 126];
    frame.extend(length.to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

#[test]
fn an_upgrade_that_is_granted_at_once_is_not_torn_down() {
    const EACH: usize = 250;
    let folder = tempfile::tempdir().unwrap();
    let server = upstream(|mut stream| {
        // The engine reads this before it is done with the request.
        stream.write_all(SWITCH.as_bytes()).unwrap();
        next_head(&mut stream).unwrap();
        let mut buffer = [0; 4_096];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..read]).is_err() {
                return;
            }
        }
    });
    let recorder = Recorder::start(folder.path(), server, &[]);
    let port = recorder.port;
    let one = || -> bool {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(ASK).unwrap();
        if next_head(&mut stream).is_none_or(|head| !head.starts_with("HTTP/1.1 101 ")) {
            return false;
        }
        let frame = frame(b"ping");
        let mut back = vec![0; frame.len()];
        (0..3).all(|_| {
            stream.write_all(&frame).is_ok() && stream.read_exact(&mut back).is_ok() && back == frame
        })
    };

    let torn: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(|| (0..EACH).filter(|_| !one()).count())).collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });

    eprintln!("{torn} of {} upgrades were torn down", 4 * EACH);
    assert_eq!(torn, 0);
    let (exchanges, tally) = recorder.stop();
    assert_eq!(tally.seen, 4 * EACH as u64);
    for exchange in &exchanges {
        assert_eq!(exchange.response.as_ref().unwrap().status, 101);
        assert_eq!(exchange.passage.frames, Some(Frames { client: 3, upstream: 3 }), "{exchange:?}");
    }
}

#[test]
fn frames_are_counted_each_way_and_what_comes_early_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let server = upstream(|mut stream| {
        next_head(&mut stream).unwrap();
        let greeting = [SWITCH.as_bytes(), b"\x81\x02hi\x89\x00"].concat();
        stream.write_all(&greeting).unwrap();
        let mut buffer = vec![0; 65_536];
        let mut heard = 0;
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            heard += read;
            if heard == 2 * (8 + 30_000) {
                stream.write_all(b"\x88\x00").unwrap();
                return;
            }
        }
    });
    let recorder = Recorder::start(folder.path(), server, &[]);
    let mut stream = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    // The first frame follows the request without waiting for an answer.
    let frame = frame(&noise(30_000));
    stream.write_all(&[ASK, &frame].concat()).unwrap();
    assert!(next_head(&mut stream).unwrap().starts_with("HTTP/1.1 101 "));
    stream.write_all(&frame).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"\x81\x02hi\x89\x00\x88\x00");
    drop(stream);
    until("the exchange to reach the file", || recorder.reader().next()).unwrap();

    let (exchanges, _) = recorder.stop();

    let exchange = &exchanges[0];
    assert_eq!(exchange.passage.frames, Some(Frames { client: 2, upstream: 3 }));
    assert_eq!(exchange.request.body.length, 2 * (8 + 30_000));
    assert_eq!((exchange.response.as_ref().unwrap().body.length, exchange.ending), (8, Ending::Completed));
}

#[test]
fn an_upgrade_that_is_not_granted_is_a_request_like_others() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(folder.path(), super::answering(super::OK), &[]);
    let mut stream = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();

    for _ in 0..3 {
        stream.write_all(ASK).unwrap();
        assert!(next_head(&mut stream).unwrap().starts_with("HTTP/1.1 200 "));
        stream.read_exact(&mut [0; 2]).unwrap();
    }
    stream.write_all(super::GET.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();

    assert!(answer.ends_with("ok"), "{answer}");
    let (exchanges, _) = recorder.stop();
    assert!(exchanges.iter().all(|exchange| exchange.ending == Ending::Completed));
    assert!(exchanges.iter().all(|exchange| exchange.passage.frames.is_none()));
}

#[test]
fn other_protocols_than_websocket_are_tunnelled_and_http2_is_not() {
    for (wish, status) in [("tcp", "101"), ("SPDY/3.1", "101"), ("h2c", "200"), ("h2c, tcp", "200")] {
        let folder = tempfile::tempdir().unwrap();
        let server = upstream(|mut stream| {
            let head = next_head(&mut stream).unwrap().to_ascii_lowercase();
            if !head.contains("\r\nupgrade: ") {
                stream.write_all(super::OK.as_bytes()).unwrap();
                return;
            }
            assert!(head.contains("\r\nconnection: upgrade\r\n"), "{head}");
            stream
                .write_all(
                    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nhello",
                )
                .unwrap();
            let mut said = [0; 3];
            stream.read_exact(&mut said).unwrap();
            stream.write_all(&said).unwrap();
        });
        let recorder = Recorder::start(folder.path(), server, &[]);
        let mut stream = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
        let ask =
            format!("POST /attach HTTP/1.1\r\nHost: shop\r\nUpgrade: {wish}\r\nConnection: Upgrade\r\n\r\n");
        stream.write_all(ask.as_bytes()).unwrap();
        assert_eq!(next_head(&mut stream).unwrap().split(' ').nth(1), Some(status), "{wish}");
        if status == "101" {
            stream.write_all(b"bye").unwrap();
            let mut rest = String::new();
            stream.read_to_string(&mut rest).unwrap();
            assert_eq!(rest, "hellobye");
        }
        drop(stream);
        until("the exchange to reach the file", || recorder.reader().next()).unwrap();

        let (exchanges, _) = recorder.stop();

        let response = exchanges[0].response.as_ref().unwrap();
        assert_eq!((response.status.to_string().as_str(), &exchanges[0].passage.frames), (status, &None));
        if status == "101" {
            assert_eq!((exchanges[0].request.body.length, response.body.length), (3, 8));
        }
    }
}

#[test]
fn a_101_that_nobody_asked_for_opens_no_tunnel() {
    let folder = tempfile::tempdir().unwrap();
    let (heard, hears) = std::sync::mpsc::channel();
    let heard = std::sync::Mutex::new(heard);
    let server = upstream(move |mut stream| {
        next_head(&mut stream).unwrap();
        stream.write_all(SWITCH.as_bytes()).unwrap();
        let mut rest = Vec::new();
        // Long enough for what should not come; the recorder ends nothing as long as this stays open.
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let _ = stream.read_to_end(&mut rest);
        let _ = heard.lock().unwrap().send(rest);
    });
    let recorder = Recorder::start(folder.path(), server, &[]);
    let mut stream = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n").unwrap();
    next_head(&mut stream);
    let _ = stream.write_all(b"GET /hidden HTTP/1.1\r\nHost: shop\r\n\r\n");
    drop(stream);

    assert_eq!(hears.recv().unwrap(), b"");
    until("the exchange to reach the file", || recorder.reader().next()).unwrap();
    assert!(recorder.stop().0.iter().all(|exchange| exchange.request.body.length == 0));
}
