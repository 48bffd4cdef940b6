//! Several servers behind a recorder, and what they and their clients get to see of one another.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use captures::Ending;

use super::{GET, OK, Recorder, next_head, upstream};
use crate::support::{free_port, until};

/// A server that answers every request with its name, and can be killed and started again.
struct Server {
    address: SocketAddr,
    name: &'static str,
    /// What it answers to a check, if that is not yet 200.
    well: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    dead: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut server = Self {
            address: listener.local_addr().unwrap(),
            name,
            well: Arc::new(AtomicBool::new(true)),
            served: Arc::default(),
            dead: Arc::default(),
            connections: Arc::default(),
            accepting: None,
        };
        server.serve(listener);
        server
    }

    fn serve(&mut self, listener: TcpListener) {
        self.dead = Arc::default();
        let (dead, connections) = (Arc::clone(&self.dead), Arc::clone(&self.connections));
        let (served, well, name) = (Arc::clone(&self.served), Arc::clone(&self.well), self.name);
        self.accepting = Some(std::thread::spawn(move || {
            for stream in listener.incoming() {
                if dead.load(Ordering::SeqCst) {
                    return;
                }
                let mut stream = stream.unwrap();
                connections.lock().unwrap().push(stream.try_clone().unwrap());
                let (served, well) = (Arc::clone(&served), Arc::clone(&well));
                std::thread::spawn(move || {
                    while let Some(head) = next_head(&mut stream) {
                        let status = if head.contains("/healthz") {
                            if well.load(Ordering::SeqCst) { "204 No Content" } else { "503 Away" }
                        } else {
                            served.fetch_add(1, Ordering::SeqCst);
                            "200 OK"
                        };
                        let length = if status.starts_with("204") { 0 } else { name.len() };
                        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n");
                        let _ = stream.write_all((answer + &name[..length]).as_bytes());
                    }
                });
            }
        }));
    }

    /// Ends it as a crash does: the port closes and every connection breaks.
    fn kill(&mut self) {
        self.dead.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        self.accepting.take().unwrap().join().unwrap();
        for stream in self.connections.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn revive(&mut self) {
        let address = self.address;
        let listener = until("the port to be free again", || TcpListener::bind(address).ok());
        self.serve(listener);
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }
}

/// The server that answered a request of this client.
fn answerer(recorder: &Recorder, cookie: &str) -> String {
    let request = format!("GET / HTTP/1.1\r\nHost: shop\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n");
    let answer = recorder.ask(&request);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    answer.split("\r\n\r\n").nth(1).unwrap().to_owned()
}

#[test]
fn requests_are_dealt_by_weight_and_the_record_says_to_whom() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (Server::start("one"), Server::start("other"));
    let flags = ["--upstream", &other.address.to_string(), "--threads", "3"];
    let recorder = Recorder::start(folder.path(), format!("{}=3", one.address), &flags);

    for _ in 0..40 {
        recorder.ask(GET);
    }

    assert_eq!((one.served(), other.served()), (30, 10));
    let servers = recorder.reader().header().servers.clone();
    assert_eq!(servers, [one.address.to_string(), other.address.to_string()]);
    let (exchanges, _) = recorder.stop();
    assert_eq!(exchanges.iter().filter(|exchange| exchange.passage.server == Some(1)).count(), 10);
}

#[test]
fn a_session_stays_with_its_server_and_moves_only_when_that_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let mut servers = [Server::start("one"), Server::start("two"), Server::start("three")];
    let more = servers.each_ref().map(|server| server.address.to_string());
    let flags = ["--upstream", &more[1], "--upstream", &more[2], "--balance", "hash"];
    let recorder = Recorder::start(folder.path(), &more[0], &flags);
    let ask = || {
        let answered = |sid: u32| (sid, answerer(&recorder, &format!("theme=dark; sid={sid}")));
        (0..30).map(answered).collect::<BTreeMap<_, _>>()
    };

    let before = ask();
    assert_eq!(ask(), before);
    servers[1].kill();
    let after = ask();

    assert!(before.values().any(|server| server == "two"), "{before:?}");
    for (sid, server) in &before {
        assert!(after[sid] == *server || server == "two", "{sid} {before:?} {after:?}");
        assert_ne!(after[sid], "two");
    }
}

#[test]
fn a_server_that_dies_under_load_costs_no_get() {
    let folder = tempfile::tempdir().unwrap();
    let (mut one, other) = (Server::start("one"), Server::start("other"));
    let flags = ["--upstream", &other.address.to_string(), "--threads", "2"];
    let recorder = Recorder::start(folder.path(), one.address, &flags);

    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut stream = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
                    for _ in 0..500 {
                        stream.write_all(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n").unwrap();
                        let head = next_head(&mut stream).unwrap();
                        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
                        let length: usize = if head.contains("Content-Length: 3") { 3 } else { 5 };
                        stream.read_exact(&mut vec![0; length]).unwrap();
                    }
                })
            })
            .collect();
        until("some load", || (one.served() > 200).then_some(()));
        one.kill();
        for client in clients {
            client.join().unwrap();
        }
    });

    until("the loss to be told", || recorder.said().contains("is down").then_some(()));
    let down = format!("upstream {}: is down", one.address);
    assert_eq!(recorder.said().matches(&down).count(), 1, "{}", recorder.said());
    let (exchanges, tally) = recorder.stop();
    assert_eq!(tally.seen, 2_000);
    assert!(exchanges.iter().all(|exchange| exchange.ending == Ending::Completed));
    assert!(exchanges.iter().all(|exchange| exchange.attempts >= 1));
}

#[test]
fn only_what_may_be_repeated_goes_on_to_the_next_server() {
    let folder = tempfile::tempdir().unwrap();
    let gone = format!("127.0.0.1:{}", free_port());
    let alive = Server::start("alive");
    let flags = ["--upstream", &alive.address.to_string()];
    let post = "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

    let recorder = Recorder::start(folder.path(), &gone, &flags);
    let refused = recorder.ask(post);
    // From now on the lost server is passed over.
    let answers = [recorder.ask(post), recorder.ask(GET), recorder.ask(post)];
    let (exchanges, _) = recorder.stop();

    assert!(refused.starts_with("HTTP/1.1 502 "), "{refused}");
    assert!(!refused.to_ascii_lowercase().contains("pingora"), "{refused}");
    assert!(answers.iter().all(|answer| answer.ends_with("alive")), "{answers:?}");
    assert_eq!(exchanges[0].ending, Ending::UpstreamRefused);
    assert_eq!(exchanges[0].passage.detail, "connect refused");
    assert_eq!(
        exchanges.iter().map(|exchange| exchange.passage.server).collect::<Vec<_>>(),
        [None, Some(1), Some(1), Some(1)]
    );

    let recorder = Recorder::start(folder.path(), &gone, &[&flags[..], &["--force"]].concat());
    let answer = recorder.ask(GET);
    assert!(answer.ends_with("alive"), "{answer}");
    assert_eq!(recorder.stop().0[0].attempts, 1);
}

#[test]
fn when_all_servers_are_down_they_are_asked_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mut servers = [Server::start("one"), Server::start("two")];
    let more = servers[1].address.to_string();
    let recorder = Recorder::start(folder.path(), servers[0].address, &["--upstream", &more]);
    servers.iter_mut().for_each(Server::kill);
    for _ in 0..2 {
        assert!(recorder.ask(GET).starts_with("HTTP/1.1 502 "));
    }

    servers[1].revive();

    assert!(recorder.ask(GET).ends_with("two"));
}

/// Makes a server well, or not.
type Set = fn(&mut Server, bool);

#[test]
fn checks_find_out_who_is_down_and_who_is_up_again() {
    let checks: [(&str, Set); 2] = [
        ("http:/healthz", |server, well| server.well.store(well, Ordering::SeqCst)),
        ("tcp", |server, well| if well { server.revive() } else { server.kill() }),
    ];
    for (check, set) in checks {
        let folder = tempfile::tempdir().unwrap();
        let (mut one, other) = (Server::start("one"), Server::start("other"));
        let second = other.address.to_string();
        let flags = ["--upstream", &second, "--health", check, "--health-interval", "20ms"];
        let recorder = Recorder::start(folder.path(), one.address, &flags);
        assert!((0..2).any(|_| recorder.ask(GET).ends_with("one")));

        let address = one.address;
        set(&mut one, false);
        until("the check to fail", || recorder.said().contains(&format!("{address}: is down")).then_some(()));
        let before = one.served();
        assert!((0..6).all(|_| recorder.ask(GET).ends_with("other")));
        assert_eq!(one.served(), before);

        set(&mut one, true);
        until("the check to pass", || recorder.said().contains(&format!("{address}: is up")).then_some(()));
        assert!((0..2).any(|_| recorder.ask(GET).ends_with("one")));
        let told = recorder.said().matches(&format!("upstream {address}: ")).count();
        assert_eq!(told, 2, "{}", recorder.said());
        let (exchanges, _) = recorder.stop();
        assert!(exchanges.iter().all(|exchange| exchange.request.target == b"/"), "checks are no traffic");
    }
}

/// What reaches the upstream of a raw request.
fn arrives(flags: &[&str], request: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let seen = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&seen);
    let server = upstream(move |mut stream| {
        while let Some(head) = next_head(&mut stream) {
            *heard.lock().unwrap() = head;
            stream.write_all(OK.as_bytes()).unwrap();
        }
    });
    let recorder = Recorder::start(folder.path(), server, flags);
    let answer = recorder.ask(request);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    seen.lock().unwrap().clone()
}

#[test]
fn a_request_head_arrives_byte_by_byte_but_for_what_concerned_the_connection() {
    let sent = "GET /a%20b?c=%C3%A4 HTTP/1.1\r\nhOST: shop\r\nconnection: close\r\nX-Zebra: 1\r\n\
                ACCEPT: */*\r\nCookie: a=1\r\nCookie: b=2\r\nx-empty: \r\nUser-Agent: t/1\r\nkeep-Alive: 5\r\n\
                accept-Encoding: gzip, br\r\nX-Last: \"q\"\r\n\r\n";
    let expected = sent.replace("connection: close\r\n", "").replace("keep-Alive: 5\r\n", "");
    assert_eq!(arrives(&[], sent), expected);

    // As the help says: fields of one name are written together, where the first stood.
    let sent = "GET / HTTP/1.1\r\nHost: shop\r\nX-A: 1\r\nX-B: 2\r\nx-a: 3\r\nConnection: close\r\n\r\n";
    let expected = "GET / HTTP/1.1\r\nHost: shop\r\nX-A: 1\r\nx-a: 3\r\nX-B: 2\r\n\r\n";
    assert_eq!(arrives(&[], sent), expected);

    let sent = "GET / HTTP/1.0\r\nX-A: 1\r\nConnection: close\r\nX-B: 2\r\n\r\n";
    assert_eq!(arrives(&[], sent), "GET / HTTP/1.0\r\nX-A: 1\r\nX-B: 2\r\n\r\n");
}

#[test]
fn an_answers_head_arrives_byte_by_byte_but_for_what_concerned_the_connection() {
    let given = "HTTP/1.1 299 So So\r\nsERVER: x\r\nKeep-Alive: timeout=5\r\nx-b: 1\r\nX-B: 2\r\nEtag: \"e\"\r\n\
                 content-LENGTH: 2\r\nX-Last: z\r\n\r\n";
    let dated = given.replace("x-b: 1", "DATE: Sun, 06 Nov 1994 08:49:37 GMT\r\nx-b: 1");
    let (plain, with_date) = (given.to_owned(), dated.clone());
    let server = upstream(move |mut stream| {
        while let Some(head) = next_head(&mut stream) {
            let answer = if head.starts_with("GET /dated") { &with_date } else { &plain };
            stream.write_all((answer.to_owned() + "ok").as_bytes()).unwrap();
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(folder.path(), server, &[]);

    let answer = recorder.ask(&GET.replace("GET / ", "GET /dated "));
    let expected = dated.replace("Keep-Alive: timeout=5\r\n", "");
    let expected = expected.strip_suffix("\r\n").unwrap().to_owned() + "Connection: close\r\n\r\nok";
    assert_eq!(answer, expected);

    // As the help says: what has no date gets one.
    let answer = recorder.ask(GET);
    let expected = given.replace("Keep-Alive: timeout=5\r\n", "");
    let (date, rest) =
        answer.strip_prefix(expected.strip_suffix("\r\n").unwrap()).unwrap().split_once("\r\n").unwrap();
    assert!(date.starts_with("Date: ") && date.ends_with(" GMT"), "{answer}");
    assert_eq!(rest, "Connection: close\r\n\r\nok");
    let recorded = &recorder.stop().0[1].response.clone().unwrap().headers;
    assert_eq!(recorded.len(), 7, "as the upstream gave it");
}

#[test]
fn the_upstream_is_told_who_the_client_is_when_asked_for() {
    let request = "GET / HTTP/1.1\r\nHost: shop\r\nX-Forwarded-For: 203.0.113.9\r\n\
                   X-Forwarded-Proto: https\r\nConnection: close\r\n\r\n";
    let check = |flags: &[&str], expected: &str| {
        let head = arrives(flags, request);
        assert_eq!(head.strip_prefix("GET / HTTP/1.1\r\n"), Some(expected), "{flags:?}");
    };
    check(&[], "Host: shop\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\r\n");
    check(
        &["--forwarded", "append"],
        "Host: shop\r\nX-Forwarded-For: 203.0.113.9, 127.0.0.1\r\nX-Forwarded-Proto: http\r\n\
         X-Forwarded-Host: shop\r\nForwarded: for=127.0.0.1;host=shop;proto=http\r\n\r\n",
    );
    check(
        &["--forwarded", "append", "--trusted-proxy", "127.0.0.0/8", "--host-header", "inner:81"],
        "Host: inner:81\r\nX-Forwarded-For: 203.0.113.9, 127.0.0.1\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: shop\r\nForwarded: for=127.0.0.1;host=shop;proto=http\r\n\r\n",
    );
    check(
        &["--forwarded", "replace", "--trusted-proxy", "127.0.0.1"],
        "Host: shop\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: http\r\n\
         X-Forwarded-Host: shop\r\nForwarded: for=203.0.113.9;host=shop;proto=http\r\n\r\n",
    );
}

#[test]
fn what_breaks_during_an_upload_is_recorded_as_unfinished_and_its_connection_not_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let heads = Arc::new(Mutex::new(Vec::new()));
    let (opened, heard) = (Arc::clone(&connections), Arc::clone(&heads));
    let server = upstream(move |mut stream| {
        let number = opened.fetch_add(1, Ordering::SeqCst);
        while let Some(head) = next_head(&mut stream) {
            let line = head.lines().next().unwrap_or_default().to_owned();
            let breaks = line.contains("/lost");
            let uploads = line.contains("/up");
            heard.lock().unwrap().push((number, line));
            if breaks {
                return;
            }
            if uploads {
                let _ = stream.read_to_end(&mut Vec::new());
                return;
            }
            stream.write_all(OK.as_bytes()).unwrap();
        }
    });
    let recorder = Recorder::start(folder.path(), server, &["--threads", "1"]);
    let arrived = |path: &str| {
        until("the request to arrive", || {
            heads.lock().unwrap().iter().any(|(_, line): &(usize, String)| line.contains(path)).then_some(())
        });
    };
    recorder.ask(GET);

    let mut upload = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    upload.write_all(b"PUT /up HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000\r\n\r\nten bytes.").unwrap();
    arrived("/up");
    drop(upload);
    until("the abort to be recorded", || (recorder.reader().count() == 2).then_some(()));
    recorder.ask(GET);
    let mut lost = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    lost.write_all(b"POST /lost HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000\r\n\r\nten bytes.").unwrap();
    let answer = next_head(&mut lost).unwrap();

    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    let heads = heads.lock().unwrap().clone();
    let of = |at: usize| heads[at].0;
    assert_eq!(of(0), of(1), "the pool is used");
    assert_ne!(of(1), of(2), "but not after an abort");
    let (mut exchanges, _) = recorder.stop();
    exchanges.sort_by_key(|exchange| exchange.id);
    let unfinished: Vec<bool> = exchanges.iter().map(|exchange| exchange.passage.unfinished).collect();
    assert_eq!(unfinished, [false, true, false, true]);
    assert_eq!(exchanges[1].ending, Ending::ClientAborted);
    assert_eq!(exchanges[3].ending, Ending::UpstreamReset);
}

#[test]
fn a_server_that_is_too_slow_is_a_504() {
    let folder = tempfile::tempdir().unwrap();
    let slow = upstream(|mut stream| while next_head(&mut stream).is_some() {});
    let recorder = Recorder::start(folder.path(), slow, &["--read-timeout", "100ms"]);

    let answer = recorder.ask(GET);

    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert!(!answer.contains("Server:"), "{answer}");
    let exchange = &recorder.stop().0[0];
    assert_eq!(exchange.ending, Ending::UpstreamTimedOut);
    assert_eq!(exchange.passage.detail, "read timed out before the answer");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let check = |flags: &[&str], expected: &str| {
        let fixed = ["record", "--listen", "127.0.0.1:0", "--out", "/nonexistent/x.capture"];
        let output = crate::support::run(&[&fixed[..], flags].concat());
        let said = crate::support::stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
    };
    check(&["--upstream", "127.0.0.1:1=0"], "the weight is none");
    check(&["--upstream", "127.0.0.1:1=x"], "the weight is none");
    check(&["--upstream", "127.0.0.1:1", "--health", "http:healthz"], "give tcp or http:/PATH");
    check(&["--upstream", "127.0.0.1:1", "--trusted-proxy", "10.0.0.0/33"], "give an address or a range");
    check(&["--upstream", "127.0.0.1:1", "--host-header", "a b"], "give a name");
}
