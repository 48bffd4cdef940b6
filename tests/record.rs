//! `highwater record` in front of real servers.

mod answers;
mod correlated;
mod faults;
mod files;
mod gate;
mod mask;
pub(crate) mod operation;
mod policy;
mod protocols;
mod replayed;
mod start;
mod upstream;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use captures::{
    CaptureReader, DropReason, Ending, Exchange, Header, Masking, SessionKey, Tally, header_value,
};

use crate::support::nginx::Nginx;
use crate::support::{Running, has, highwater, quiet_machine, until};

/// A recorder at work.
pub(crate) struct Recorder {
    pub(crate) port: u16,
    capture: PathBuf,
    said: Arc<Mutex<String>>,
    listener: Option<JoinHandle<()>>,
    process: Running,
}

impl Recorder {
    /// Records what goes to `upstream` into a capture in `folder`.
    pub(crate) fn start(folder: &Path, upstream: impl ToString, more: &[&str]) -> Self {
        Self::start_as(highwater(), folder, upstream, more)
    }

    /// The same with a command that ends in the binary.
    pub(crate) fn start_as(command: Command, folder: &Path, upstream: impl ToString, more: &[&str]) -> Self {
        let (mut recorder, stderr) = Self::spawn(command, folder, upstream, more);
        let heard = Arc::clone(&recorder.said);
        recorder.listener = Some(std::thread::spawn(move || {
            for line in stderr.lines() {
                *heard.lock().unwrap() += &(line.unwrap() + "\n");
            }
        }));
        recorder.port = until("the recorder to be ready", || port_in(&recorder.said()));
        recorder
    }

    /// The same; nobody reads what it says after its first line, and stderr is closed.
    pub(crate) fn start_unheard(command: Command, folder: &Path, upstream: impl ToString) -> Self {
        let (mut recorder, mut stderr) = Self::spawn(command, folder, upstream, &[]);
        let mut ready = String::new();
        stderr.read_line(&mut ready).unwrap();
        recorder.port = port_in(&ready).unwrap();
        recorder
    }

    fn spawn(
        mut command: Command,
        folder: &Path,
        upstream: impl ToString,
        more: &[&str],
    ) -> (Self, BufReader<ChildStderr>) {
        let capture = folder.join("test.capture");
        command.args(["record", "--listen", "127.0.0.1:0", "--upstream", &upstream.to_string(), "--out"]);
        command.arg(&capture).args(more).stderr(Stdio::piped());
        let mut process = Running(command.spawn().unwrap());
        let stderr = BufReader::new(process.0.stderr.take().unwrap());
        (Self { port: 0, capture, said: Arc::default(), listener: None, process }, stderr)
    }

    /// What it printed on stderr so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent =
            Command::new("sh").args(["-c", &format!("kill -{signal} {}", self.process.0.id())]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end, and for the last of what it says.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let status = until("the recorder to end", || self.process.0.try_wait().unwrap());
        if let Some(listener) = self.listener.take() {
            listener.join().unwrap();
        }
        status
    }

    /// Stops it and reads what it recorded: a whole, closed file whose accounts agree.
    pub(crate) fn stop(mut self) -> (Vec<Exchange>, Tally) {
        let (exchanges, tally) = self.stop_unheard();
        let seen = format!("seen {}, recorded {},", tally.seen, tally.recorded);
        // Who reads its last words may be behind.
        until(&seen, || self.said().contains(&seen).then_some(()));
        (exchanges, tally)
    }

    /// The same, and keeps its port: a server that came by it would be taken for the recorded origin.
    pub(crate) fn stop_and_keep_its_port(self) -> TcpListener {
        let port = self.port;
        self.stop();
        TcpListener::bind(("127.0.0.1", port)).unwrap()
    }

    /// The same as a stop, whatever it says about it.
    pub(crate) fn stop_unheard(&mut self) -> (Vec<Exchange>, Tally) {
        self.signal("TERM");
        assert_eq!(self.ended().code(), Some(0), "{}", self.said());
        let mut reader = self.reader();
        let exchanges: Vec<Exchange> = reader.by_ref().map(Result::unwrap).collect();
        assert_eq!(reader.damage(), []);
        assert!(reader.closed());
        let tally = reader.tallies().last().unwrap().clone();
        let dropped: u64 = tally.dropped.iter().map(|(_, count)| count).sum();
        assert_eq!(tally.recorded, exchanges.len() as u64);
        assert_eq!(tally.recorded + tally.filtered + tally.sampled_out + dropped, tally.seen);
        (exchanges, tally)
    }

    pub(crate) fn reader(&self) -> CaptureReader<BufReader<std::fs::File>> {
        CaptureReader::open(BufReader::new(std::fs::File::open(&self.capture).unwrap())).unwrap()
    }

    /// Sends `raw` and reads until the connection is closed.
    pub(crate) fn ask(&self, raw: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(raw.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// The port in the line that says a recorder is ready.
fn port_in(said: &str) -> Option<u16> {
    let address = said.strip_prefix("recording 127.0.0.1:")?;
    address.split(' ').next()?.parse().ok()
}

/// A server that treats each connection as `behave` says.
pub(crate) fn upstream(behave: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let behave = Arc::new(behave);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let behave = Arc::clone(&behave);
            let Ok(stream) = stream else { return };
            std::thread::spawn(move || behave(stream));
        }
    });
    address
}

/// The head of the next request on a connection; `None` when it is closed.
pub(crate) fn next_head(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    Some(String::from_utf8(head).unwrap())
}

/// Answers every request with `response`.
pub(crate) fn answering(response: &'static str) -> SocketAddr {
    upstream(move |mut stream| {
        while next_head(&mut stream).is_some() {
            stream.write_all(response.as_bytes()).unwrap();
        }
    })
}

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
pub(crate) const GET: &str = "GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n";

fn names_and_values(headers: &[Header]) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    headers.iter().map(|header| format!("{}: {}", text(&header.name), text(&header.value))).collect()
}

/// What curl gets from `port`: body (with `--head` the head), then status and a few headers.
/// Without the line that says when: two questions may fall into two seconds.
fn curl(port: u16, args: &[&str], path: &str) -> Vec<u8> {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "30", "--write-out"])
        .arg("\n%{http_code} %{content_type} %{size_download} %header{etag} %header{content-range}")
        .args(args)
        .arg(format!("http://127.0.0.1:{port}/{path}"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?} {path}: {}", String::from_utf8_lossy(&output.stderr));
    let mut got = output.stdout;
    if args.contains(&"--head") {
        let from = got.windows(6).position(|start| start == b"Date: ").expect("nginx dates its answers");
        let length = got[from..].iter().position(|&byte| byte == b'\n').unwrap() + 1;
        got.drain(from..from + length);
    }
    got
}

/// Bytes that look like noise: they do not compress, and no two parts are alike.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[test]
fn curl_gets_through_the_recorder_what_it_gets_from_nginx() {
    if !has("nginx") || !has("curl") {
        return;
    }
    let _alone = quiet_machine();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    std::fs::create_dir(&root).unwrap();
    // Started by root, nginx serves as somebody else.
    for place in [folder.path(), &root] {
        std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o1777)).unwrap();
    }
    let big = noise(100 << 20);
    std::fs::write(root.join("big"), &big).unwrap();
    std::fs::write(root.join("small"), b"small").unwrap();
    let upload = folder.path().join("upload");
    std::fs::write(&upload, &big[..3_000_000]).unwrap();
    let upload = upload.to_str().unwrap();
    let nginx = Nginx::start(folder.path(), Some(&root));
    let recorder = Recorder::start(folder.path(), nginx.address(), &[]);

    let cases: [(&[&str], &str); 9] = [
        (&[], "small"),
        (&[], "big"),
        (&[], "missing"),
        (&["--head"], "small"),
        (&["--range", "1000000-1999999"], "big"),
        (&["--http1.0"], "small"),
        (&["--data", "a=1&b=2"], "small"),
        (&["--request", "OPTIONS"], "small"),
        (&["--header", "If-None-Match: *"], "small"),
    ];
    assert!(curl(nginx.port, &[], "small").starts_with(b"small\n200 "));
    for (args, path) in cases {
        assert!(curl(recorder.port, args, path) == curl(nginx.port, args, path), "{args:?} {path}");
    }
    for (args, path) in [
        (&["--upload-file", upload][..], "sized"),
        (&["--upload-file", upload, "--header", "Transfer-Encoding: chunked"], "chunked"),
        (&["--upload-file", upload, "--header", "Expect: 100-continue"], "expected"),
    ] {
        curl(recorder.port, args, path);
        assert!(std::fs::read(root.join(path)).unwrap() == big[..3_000_000], "{args:?}");
    }
    let first_of_two = format!("http://127.0.0.1:{}/first", recorder.port);
    curl(recorder.port, &[&first_of_two], "second");

    let through = cases.len() + 3 + 2;
    let lines = 1 + cases.len() + through;
    until("nginx to write its log", || (nginx.lines().len() == lines).then_some(()));
    let (exchanges, tally) = recorder.stop();

    assert_eq!(tally.seen, through as u64);
    assert!(exchanges.iter().all(|exchange| exchange.attempts == 1 && exchange.ending == Ending::Completed));
    let download = exchanges.iter().find(|exchange| exchange.request.target == b"/big").unwrap();
    let body = &download.response.as_ref().unwrap().body;
    assert_eq!((body.length, body.stored.as_slice()), (100 << 20, &big[..64 << 10]));
    assert!(body.digest.is_some());
    let on = |target: &[u8]| {
        let exchange = exchanges.iter().find(|exchange| exchange.request.target == target);
        exchange.unwrap().connection
    };
    assert_eq!(on(b"/first"), on(b"/second"));
    assert_ne!(on(b"/first"), on(b"/big"));
}

#[test]
fn under_load_the_capture_counts_what_nginx_counts() {
    if !has("nginx") || !has("wrk") {
        return;
    }
    let _alone = quiet_machine();
    let folder = tempfile::tempdir().unwrap();
    let nginx = Nginx::start(folder.path(), None);
    let recorder = Recorder::start(folder.path(), nginx.address(), &[]);
    let url = format!("http://127.0.0.1:{}/", recorder.port);

    let wrk = Command::new("wrk").args(["-t1", "-c64", "-d3s", &url]).output().unwrap();

    let report = String::from_utf8(wrk.stdout).unwrap();
    assert!(!report.contains("Non-2xx") && !report.contains("Socket errors"), "{report}");
    let (exchanges, tally) = recorder.stop();
    let forwarded = exchanges.iter().filter(|exchange| exchange.attempts > 0).count();
    let lines = until("nginx to write its log", || {
        let lines = nginx.lines().len();
        (lines >= forwarded).then_some(lines)
    });
    assert_eq!(tally.dropped, []);
    assert_eq!((forwarded, tally.seen), (lines, lines as u64));
    let mut ids: Vec<u64> = exchanges.iter().map(|exchange| exchange.id.0).collect();
    ids.sort_unstable();
    assert!(ids.iter().copied().eq(0..lines as u64));
    let sane = |exchange: &Exchange| {
        let (asked, began) = (exchange.request_done.unwrap(), exchange.response_began.unwrap());
        exchange.arrived <= asked && asked <= began && began <= exchange.ended
    };
    // Those that wrk broke off at its end have no answer.
    let mut completed = exchanges.iter().filter(|exchange| exchange.ending == Ending::Completed);
    assert!(completed.all(sane));
}

#[test]
fn both_heads_are_recorded_as_they_were_received() {
    let folder = tempfile::tempdir().unwrap();
    let server =
        answering("HTTP/1.1 200 Fine\r\nx-LOWER: 1\r\nX-b: 2\r\nX-a: 3\r\nContent-Length: 2\r\n\r\nok");
    let recorder = Recorder::start(folder.path(), server, &[]);

    recorder.ask("GET /a%20b?c=d#e HTTP/1.1\r\nhOst: shop\r\nX-z: 1\r\nAccept: */*\r\nX-Z: 2\r\nConnection: close\r\n\r\n");

    let (exchanges, _) = recorder.stop();
    let [exchange] = &exchanges[..] else { panic!("{exchanges:?}") };
    assert_eq!(exchange.request.target, b"/a%20b?c=d#e");
    assert_eq!(
        names_and_values(&exchange.request.headers),
        ["hOst: shop", "X-z: 1", "Accept: */*", "X-Z: 2", "Connection: close"]
    );
    let response = exchange.response.as_ref().unwrap();
    assert_eq!(names_and_values(&response.headers), ["x-LOWER: 1", "X-b: 2", "X-a: 3", "Content-Length: 2"]);
    assert_eq!(response.body.stored, b"ok");
}

#[test]
fn secrets_never_reach_the_file_and_sessions_can_still_be_followed() {
    let folder = tempfile::tempdir().unwrap();
    let server = answering(
        "HTTP/1.1 200 OK\r\nSet-Cookie: sid=SecretOfSession; Path=/\r\nX-Api-Key: SecretOfServer\r\nContent-Length: 0\r\n\r\n",
    );
    let recorder = Recorder::start(folder.path(), server, &["--mask-header", "X-Mine"]);

    recorder.ask(
        "GET /1 HTTP/1.1\r\nHost: shop\r\nAuthorization: Basic SecretOfUser\r\nConnection: close\r\n\r\n",
    );
    recorder.ask(
        "GET /2 HTTP/1.1\r\nHost: shop\r\nCookie: a=SecretOfAds; sid=SecretOfSession\r\nX-Mine: SecretOfMine\r\nOcp-Apim-Subscription-Key: SecretOfKey\r\nConnection: close\r\n\r\n",
    );

    let masking = recorder.reader().header().masking.clone();
    let Masking::Pseudonyms { rules: masked, .. } = masking else { panic!("{masking:?}") };
    for entry in ["header authorization", "header *subscription-key*", "header x-mine"] {
        assert!(masked.iter().any(|listed| listed == entry), "{masked:?} lacks {entry}");
    }
    let (exchanges, _) = recorder.stop();
    for exchange in &exchanges {
        let response = exchange.response.as_ref().unwrap();
        for header in exchange.request.headers.iter().chain(&response.headers) {
            let value = String::from_utf8(header.value.clone()).unwrap();
            assert!(!value.contains("SecretOf"), "{value}");
        }
    }
    let set = header_value(&exchanges[0].response.as_ref().unwrap().headers, "set-cookie").unwrap();
    let pseudonym = set.strip_prefix(b"sid=").and_then(|rest| rest.strip_suffix(b"; Path=/")).unwrap();
    assert_eq!(pseudonym.len(), "SecretOfSession".len());
    let sent = header_value(&exchanges[1].request.headers, "cookie").unwrap();
    assert!(sent.ends_with(&[b"; sid=", pseudonym].concat()));
    assert_eq!(exchanges[0].session, exchanges[1].session);
    assert_eq!(
        [exchanges[0].session_key, exchanges[1].session_key],
        [SessionKey::Header, SessionKey::Cookie]
    );
}

#[test]
fn the_file_is_for_its_owner_alone_and_says_where_it_was_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let server = answering(OK);
    let recorder = Recorder::start(folder.path(), server, &[]);
    let header = recorder.reader().header().clone();

    let mode = std::fs::metadata(&recorder.capture).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(header.listen, [format!("127.0.0.1:{}", recorder.port)]);
    assert!(header.upstream.contains(&server.to_string()));
}

#[test]
fn replayed_traffic_passes_unrecorded_unless_asked_for() {
    let replayed = "GET / HTTP/1.1\r\nHost: shop\r\nhighwater-replay: 1\r\nConnection: close\r\n\r\n";
    for (flags, recorded) in [(&[][..], 1), (&["--record-replayed"], 2)] {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::start(folder.path(), answering(OK), flags);
        assert!(recorder.ask(replayed).ends_with("ok"));
        assert!(recorder.ask(GET).ends_with("ok"));

        let (exchanges, tally) = recorder.stop();

        assert_eq!((exchanges.len(), tally.filtered), (recorded, 2 - recorded as u64));
    }
}

#[test]
fn an_informational_answer_passes_and_is_not_the_response() {
    let folder = tempfile::tempdir().unwrap();
    let server = answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let recorder = Recorder::start(folder.path(), server, &[]);

    let answer = recorder.ask(GET);

    assert!(answer.starts_with("HTTP/1.1 103 ") && answer.contains("HTTP/1.1 200 "), "{answer}");
    assert_eq!(recorder.stop().0[0].response.as_ref().unwrap().status, 200);
}

#[test]
fn pipelined_requests_are_answered_in_order_on_one_connection() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(folder.path(), answering(OK), &[]);
    let first: String = (0..9).map(|at| format!("GET /{at} HTTP/1.1\r\nHost: shop\r\n\r\n")).collect();

    let answer = recorder.ask(&(first + GET));

    assert_eq!(answer.matches("HTTP/1.1 200").count(), 10);
    let (exchanges, _) = recorder.stop();
    assert_eq!(exchanges.len(), 10);
    assert!(exchanges.iter().all(|exchange| exchange.connection == exchanges[0].connection));
}

#[test]
fn an_upgraded_connection_is_one_exchange_whose_bytes_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let server = upstream(|mut stream| {
        next_head(&mut stream).unwrap();
        let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        stream.write_all(switch.as_bytes()).unwrap();
        let mut buffer = vec![0; 65_536];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            stream.write_all(&buffer[..read]).unwrap();
        }
    });
    let recorder = Recorder::start(folder.path(), server, &[]);
    let mut stream = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
    stream
        .write_all(b"GET /ws HTTP/1.1\r\nHost: shop\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        .unwrap();
    assert!(next_head(&mut stream).unwrap().starts_with("HTTP/1.1 101"));
    let sent = noise(300_000);
    for piece in sent.chunks(10_000) {
        stream.write_all(piece).unwrap();
        let mut back = vec![0; piece.len()];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, piece);
    }
    drop(stream);
    until("the exchange to reach the file", || recorder.reader().next()).unwrap();

    let (exchanges, _) = recorder.stop();

    let response = exchanges[0].response.as_ref().unwrap();
    assert_eq!(response.status, 101);
    assert_eq!((exchanges[0].request.body.length, response.body.length), (300_000, 300_000));
    assert_eq!(exchanges[0].request.body.stored, b"");
}

#[test]
fn with_recording_off_it_proxies_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::start(folder.path(), answering(OK), &["--recording", "off"]);

    assert!(recorder.ask(GET).ends_with("ok"));
    recorder.signal("INT");

    assert_eq!(recorder.ended().code(), Some(0));
    assert!(!recorder.capture.exists());
    assert!(
        recorder.said().contains("seen 1, recorded 0, filtered 1, sampled out 0, dropped 0"),
        "{}",
        recorder.said()
    );
}

#[test]
fn a_full_queue_drops_records_and_no_requests() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(folder.path(), answering(OK), &["--queue-bytes", "2KiB"]);
    let burst: String = (0..199).map(|at| format!("GET /{at} HTTP/1.1\r\nHost: shop\r\n\r\n")).collect();

    let answer = recorder.ask(&(burst + GET));

    assert_eq!(answer.matches("HTTP/1.1 200").count(), 200);
    let (_, tally) = recorder.stop();
    assert_eq!(tally.seen, 200);
    assert!(matches!(tally.dropped[..], [(DropReason::QueueFull, 1..)]), "{tally:?}");
}
