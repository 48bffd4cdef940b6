//! What goes wrong around a recorder: clients and servers that break off, disks that fill, signals.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::Duration;

use captures::{DropReason, Ending};

use super::{GET, OK, Recorder, answering, next_head, noise, upstream};
use crate::support::nginx::Nginx;
use crate::support::{free_port, has, highwater, json, now, quiet_machine, run, stderr, until};

#[test]
fn how_an_exchange_ended_says_who_broke_off() {
    let refused = format!("127.0.0.1:{}", free_port());
    let cut = upstream(|mut stream| {
        next_head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nten bytes.").unwrap();
    });
    let silent = upstream(|mut stream| {
        next_head(&mut stream);
    });
    let babbling = answering("SSH-2.0-OpenSSH_9.2\r\n\r\n");
    let slow = upstream(|mut stream| while next_head(&mut stream).is_some() {});
    for (server, flags, status, body, ending) in [
        (refused, &[][..], Some(502), 0, Ending::UpstreamRefused),
        (cut.to_string(), &[], Some(200), 10, Ending::UpstreamReset),
        (silent.to_string(), &[], Some(502), 0, Ending::UpstreamReset),
        (babbling.to_string(), &[], Some(502), 0, Ending::UpstreamInvalid),
        (slow.to_string(), &["--timeout", "200ms"], Some(504), 0, Ending::UpstreamTimedOut),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::start(folder.path(), &server, flags);
        recorder.ask(GET);

        let (exchanges, _) = recorder.stop();

        let exchange = &exchanges[0];
        let response = exchange.response.as_ref();
        assert_eq!(exchange.ending, ending, "{exchange:?}");
        assert_eq!(response.map(|response| response.status), status, "{exchange:?}");
        assert_eq!(response.map_or(0, |response| response.body.length), body, "{exchange:?}");
        assert_eq!(exchange.attempts, u32::from(ending != Ending::UpstreamRefused));
    }
}

#[test]
fn a_client_that_goes_away_is_recorded_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let server = upstream(|mut stream| {
        next_head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while stream.write_all(&[b'x'; 65_536]).is_ok() {}
    });
    let recorder = Recorder::start(folder.path(), server, &[]);

    let mut download = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    download.write_all(GET.as_bytes()).unwrap();
    download.read_exact(&mut [0; 100_000]).unwrap();
    drop(download);
    let mut upload = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    upload.write_all(b"PUT /up HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000\r\n\r\nten bytes.").unwrap();
    drop(upload);
    until("both exchanges to reach the file", || (recorder.reader().count() == 2).then_some(()));

    let (mut exchanges, _) = recorder.stop();

    exchanges.sort_by_key(|exchange| exchange.id);
    assert_eq!(
        exchanges.iter().map(|exchange| exchange.ending).collect::<Vec<_>>(),
        [Ending::ClientAborted; 2]
    );
    assert!(exchanges[0].response.as_ref().unwrap().body.length < 1_000_000_000);
    assert_eq!((exchanges[1].request.body.length, exchanges[1].request_done), (10, None));
}

#[test]
fn a_pooled_connection_that_died_is_retried_and_the_attempts_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let connections = AtomicUsize::new(0);
    let server = upstream(move |mut stream| {
        let first = connections.fetch_add(1, Ordering::SeqCst) == 0;
        next_head(&mut stream);
        stream.write_all(OK.as_bytes()).unwrap();
        next_head(&mut stream);
        if !first {
            stream.write_all(OK.as_bytes()).unwrap();
        }
    });
    let recorder = Recorder::start(folder.path(), server, &["--threads", "1"]);

    assert!(recorder.ask(GET).ends_with("ok"));
    assert!(recorder.ask(GET).ends_with("ok"));

    let (exchanges, _) = recorder.stop();
    assert_eq!(exchanges.iter().map(|exchange| exchange.attempts).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(exchanges[1].ending, Ending::Completed);
}

#[test]
fn a_stop_lets_requests_in_flight_end_and_does_not_wait_for_idle_connections() {
    let folder = tempfile::tempdir().unwrap();
    let (arrived, answer) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (here, now_answer) = (Arc::clone(&arrived), Arc::clone(&answer));
    let server = upstream(move |mut stream| {
        while let Some(head) = next_head(&mut stream) {
            if head.starts_with("GET /slow") {
                here.wait();
                now_answer.wait();
            }
            stream.write_all(OK.as_bytes()).unwrap();
        }
    });
    let mut recorder = Recorder::start(folder.path(), server, &["--grace", "60s"]);
    let mut idle = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    idle.write_all(b"GET /idle HTTP/1.1\r\nHost: shop\r\n\r\n").unwrap();
    next_head(&mut idle).unwrap();
    let mut busy = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: shop\r\n\r\n").unwrap();
    arrived.wait();

    let asked = now();
    recorder.signal("TERM");
    // The idle connection is closed although a request elsewhere goes on, and nothing new is accepted.
    idle.read_to_end(&mut Vec::new()).unwrap();
    until("the port to be closed", || TcpStream::connect(("127.0.0.1", recorder.port)).err());
    answer.wait();
    let mut rest = String::new();
    busy.read_to_string(&mut rest).unwrap();

    assert!(rest.ends_with("ok"), "{rest}");
    assert_eq!(recorder.ended().code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(20));
    let endings: Vec<Ending> = recorder.reader().map(|exchange| exchange.unwrap().ending).collect();
    assert_eq!(endings, [Ending::Completed; 2]);
}

#[test]
fn what_outlives_the_grace_is_cut_off_and_recorded_so() {
    let second_signal: (&[&str], &[&str]) = (&["--grace", "1h"], &["INT", "INT"]);
    for (flags, signals) in [(&["--grace", "100ms"][..], &["INT"][..]), second_signal] {
        let folder = tempfile::tempdir().unwrap();
        let (arrived, arrivals) = mpsc::channel();
        let arrived = Mutex::new(arrived);
        let server = upstream(move |mut stream| {
            while next_head(&mut stream).is_some() {
                arrived.lock().unwrap().send(()).unwrap();
            }
        });
        let mut recorder = Recorder::start(folder.path(), server, flags);
        let mut stuck = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
        stuck.write_all(GET.as_bytes()).unwrap();
        arrivals.recv().unwrap();

        for signal in signals {
            recorder.signal(signal);
            until("the port to be closed", || TcpStream::connect(("127.0.0.1", recorder.port)).err());
        }

        assert_eq!(recorder.ended().code(), Some(0));
        let mut reader = recorder.reader();
        let exchange = reader.next().unwrap().unwrap();
        assert_eq!((exchange.ending, exchange.response), (Ending::ProxyFailed, None));
        assert!(reader.next().is_none() && reader.closed());
        assert_eq!(reader.tallies().last().unwrap().seen, 1);
    }
}

#[test]
fn a_killed_recorder_leaves_all_but_the_last_second() {
    if !has("nginx") || !has("wrk") {
        return;
    }
    let _alone = quiet_machine();
    let folder = tempfile::tempdir().unwrap();
    let nginx = Nginx::start(folder.path(), None);
    let mut recorder = Recorder::start(folder.path(), nginx.address(), &[]);
    let url = format!("http://127.0.0.1:{}/", recorder.port);
    let mut wrk =
        Command::new("wrk").args(["-t1", "-c64", "-d5s", &url]).stdout(Stdio::null()).spawn().unwrap();
    until("some load", || (nginx.lines().len() > 10_000).then_some(()));

    recorder.signal("KILL");
    recorder.ended();
    let _ = wrk.kill();
    wrk.wait().unwrap();

    let lines = nginx.lines();
    let killed = lines.iter().map(|line| line.at).fold(0.0, f64::max);
    let before = lines.iter().filter(|line| line.at < killed - 1.0).count();
    let mut reader = recorder.reader();
    let read = reader.by_ref().map(Result::unwrap).count();
    assert!(read >= before, "read {read}, but {before} were older than a second");
    assert!(!reader.closed());
    let capture = recorder.capture.to_str().unwrap();
    let refused = run(&["inspect", capture, "--json"]);
    assert_eq!(refused.status.code(), Some(3), "{}", stderr(&refused));
    let salvaged = json(&run(&["inspect", capture, "--salvage", "--json"]), 0);
    assert_eq!(salvaged["exchanges"], read);
    let [damage] = &salvaged["damage"].as_array().unwrap()[..] else { panic!("{salvaged}") };
    assert!(damage["kind"] == "unclosed" || damage["kind"] == "torn", "{damage}");
}

/// The binary, with `limit` of the shell set.
pub(crate) fn limited(limit: &str) -> Command {
    let mut command = Command::new("sh");
    let script = format!("ulimit {limit}; exec \"$0\" \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_highwater")]).stdin(Stdio::null());
    command
}

/// An answer with a body of noise that is hard to compress.
fn long_answer() -> &'static str {
    let body = String::from_utf8(noise(60_000).iter().map(|byte| b' ' + byte % 90).collect()).unwrap();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).leak()
}

#[test]
fn a_full_disk_breaks_no_request_and_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let answer = long_answer();
    // In blocks of 512 bytes: a few of the bodies, which are alike and therefore compress.
    let recorder = Recorder::start_as(limited("-f 400"), folder.path(), answering(answer), &[]);

    for _ in 0..100 {
        assert!(recorder.ask(GET).ends_with(&answer[answer.len() - 60_000..]));
    }
    until("the disk to be full", || recorder.said().contains("cannot be written").then_some(()));
    let said = recorder.said();
    let (exchanges, tally) = recorder.stop();

    assert_eq!(said.matches("cannot be written").count(), 1, "{said}");
    assert_eq!(tally.seen, 100);
    assert!(matches!(tally.dropped[..], [(DropReason::WriteFailed, 1..)]), "{tally:?}");
    assert!(!exchanges.is_empty());
}

#[test]
fn a_recorder_whose_stderr_is_gone_records_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::start_unheard(highwater(), folder.path(), answering(OK));

    for _ in 0..50 {
        assert!(recorder.ask(GET).ends_with("ok"));
    }

    let (exchanges, tally) = recorder.stop_unheard();
    assert_eq!((exchanges.len(), tally.seen), (50, 50));
}

#[test]
fn a_full_disk_that_nobody_hears_of_breaks_no_request_and_no_account() {
    let folder = tempfile::tempdir().unwrap();
    let answer = long_answer();
    let mut recorder = Recorder::start_unheard(limited("-f 400"), folder.path(), answering(answer));

    for _ in 0..100 {
        assert!(recorder.ask(GET).ends_with(&answer[answer.len() - 60_000..]));
    }
    until("the disk to be full", || {
        let mut reader = recorder.reader();
        reader.by_ref().for_each(drop);
        reader.tallies().last().is_some_and(|tally| !tally.dropped.is_empty()).then_some(())
    });

    let (exchanges, tally) = recorder.stop_unheard();
    assert!(!exchanges.is_empty());
    assert_eq!(tally.seen, 100);
    assert!(matches!(tally.dropped[..], [(DropReason::WriteFailed, 1..)]), "{tally:?}");
}

#[test]
fn for_want_of_descriptors_it_is_the_proxy_that_failed() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start_as(limited("-n 60"), folder.path(), answering(OK), &["--threads", "1"]);
    let connect = |_| TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    let mut clients: Vec<TcpStream> = (0..60).map(connect).collect();
    let descriptors = format!("/proc/{}/fd", recorder.process.0.id());
    until("no descriptor to be left", || {
        let taken = |number| std::fs::symlink_metadata(format!("{descriptors}/{number}")).is_ok();
        (0..60).all(taken).then_some(())
    });

    clients[0].write_all(GET.as_bytes()).unwrap();
    let answer = next_head(&mut clients[0]).unwrap();

    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    drop(clients);
    let (exchanges, _) = recorder.stop();
    assert_eq!((exchanges[0].ending, exchanges[0].attempts), (Ending::ProxyFailed, 0));
}

#[test]
fn a_body_of_half_a_gigabyte_streams_in_constant_memory() {
    let _alone = quiet_machine();
    let folder = tempfile::tempdir().unwrap();
    let server = upstream(|mut stream| {
        next_head(&mut stream);
        let _ =
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 536870912\r\nConnection: close\r\n\r\n");
        for _ in 0..8_192 {
            let _ = stream.write_all(&[b'x'; 65_536]);
        }
    });
    let recorder = Recorder::start(folder.path(), server, &[]);
    let mut stream = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    stream.write_all(GET.as_bytes()).unwrap();
    next_head(&mut stream).unwrap();

    let read = std::io::copy(&mut stream, &mut std::io::sink()).unwrap();

    let status = std::fs::read_to_string(format!("/proc/{}/status", recorder.process.0.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert_eq!(read, 512 << 20);
    assert!(peak_kib < 100 << 10, "{peak_kib} KiB");
    assert_eq!(recorder.stop().0[0].response.as_ref().unwrap().body.length, 512 << 20);
}
