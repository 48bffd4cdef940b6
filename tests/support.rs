//! What the end-to-end tests share: the binary, servers, captures made for a purpose, and patience.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use captures::{
    Body, CaptureHeader, CaptureWriter, ConnectionId, Ending, Exchange, ExchangeId, Header, Masking, Offset,
    Passage, Request, Response, SessionId, SessionKey, Tally, Version,
};

// Named, because the benchmarks take this file in from their own folder.
#[path = "support/nginx.rs"]
pub(crate) mod nginx;

/// The longest any condition is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The binary under test.
pub(crate) fn highwater() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_highwater"));
    command.stdin(Stdio::null());
    command
}

/// Runs the binary with `args`.
pub(crate) fn run(args: &[&str]) -> Output {
    highwater().args(args).output().unwrap()
}

/// What the binary printed on stderr.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The JSON object on stdout of a command that exited with `code`.
pub(crate) fn json(output: &Output, code: i32) -> serde_json::Value {
    assert_eq!(output.status.code(), Some(code), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The summary of a replay that went well, whether or not the machine let it be on time.
pub(crate) fn replayed(output: &Output) -> serde_json::Value {
    let busy = output.status.code() == Some(5) && stderr(output).contains("left late");
    json(output, if busy { 5 } else { 0 })
}

/// Tests that measure time or use much CPU hold this, so that they do not measure one another.
pub(crate) fn quiet_machine() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Waits until `condition` gives something.
pub(crate) fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for {what}");
        pause(Duration::from_millis(10));
    }
}

#[expect(clippy::disallowed_methods, reason = "tests of the real program live in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "polls a condition that has no event; never a fixed wait")]
pub(crate) fn pause(length: Duration) {
    std::thread::sleep(length);
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A child that is killed when the test ends, however it ends.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a program is on this machine; says so when a test is skipped for want of it. In continuous
/// integration everything must be there.
pub(crate) fn has(program: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|paths| {
        std::env::split_paths(&paths)
            .chain([PathBuf::from("/usr/sbin")])
            .any(|folder| folder.join(program).exists())
    });
    // Where everything is to be tested, nothing is skipped in silence.
    assert!(found || std::env::var_os("CI").is_none(), "{program} is not installed");
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// One request of a capture made by hand.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) arrived: Duration,
    pub(crate) connection: u64,
    pub(crate) method: &'static str,
    pub(crate) target: String,
    pub(crate) body: Vec<u8>,
}

/// Writes a capture of `requests`, recorded at an address where nothing listens.
pub(crate) fn write_capture(path: &Path, requests: &[Recorded]) {
    write_capture_of(path, requests, "192.0.2.1:80");
}

/// Writes a capture of `requests`, recorded in front of `upstream`.
pub(crate) fn write_capture_of(path: &Path, requests: &[Recorded], upstream: &str) {
    write_capture_changed(path, requests, upstream, |_| {});
}

/// The header of a capture made by hand, recorded in front of `upstream`.
pub(crate) fn capture_header(upstream: &str) -> CaptureHeader {
    CaptureHeader {
        tool: "tests".to_owned(),
        started: 1_790_000_000_000_000_000,
        listen: vec!["192.0.2.2:80".to_owned()],
        upstream: vec![upstream.to_owned()],
        masking: Masking::None,
        servers: Vec::new(),
        recording: [0; 16],
        segment: 0,
        session_keys: Vec::new(),
        filters: Vec::new(),
        sampling_ratio: 1.0,
        body_limit: 65_536,
    }
}

/// The same, with each exchange changed before it is written.
pub(crate) fn write_capture_changed(
    path: &Path,
    requests: &[Recorded],
    upstream: &str,
    change: impl Fn(&mut Exchange),
) {
    let mut writer =
        CaptureWriter::create(std::fs::File::create(path).unwrap(), &capture_header(upstream)).unwrap();
    for (id, request) in requests.iter().enumerate() {
        let arrived = Offset::ZERO.plus(request.arrived);
        let mut exchange = Exchange {
            id: ExchangeId(id as u64),
            connection: ConnectionId(request.connection),
            session: SessionId(request.connection),
            session_key: SessionKey::Connection,
            arrived,
            request_done: Some(arrived),
            response_began: Some(arrived),
            ended: arrived.plus(Duration::from_millis(1)),
            attempts: 1,
            request: Request {
                method: request.method.as_bytes().to_vec(),
                target: request.target.clone().into_bytes(),
                version: Version::Http11,
                headers: vec![Header { name: b"Host".to_vec(), value: b"recorded.test".to_vec() }],
                body: Body {
                    length: request.body.len() as u64,
                    stored: request.body.clone(),
                    digest: None,
                    decoded: false,
                    cut: false,
                },
                trailers: Vec::new(),
            },
            response: Some(Response {
                status: 200,
                version: Version::Http11,
                headers: Vec::new(),
                body: Body::default(),
                trailers: Vec::new(),
            }),
            ending: Ending::Completed,
            passage: Passage::default(),
        };
        change(&mut exchange);
        writer.push(&exchange).unwrap();
    }
    let count = requests.len() as u64;
    writer.finish(&Tally { seen: count, recorded: count, ..Tally::default() }).unwrap();
}

/// A server that answers every request after exactly `service`, at most `pool` at a time, in order of arrival.
///
/// Its capacity is `pool / service`, by construction.
pub(crate) struct PoolServer {
    pub(crate) address: SocketAddr,
    pub(crate) served: Arc<AtomicUsize>,
}

/// When each place of the pool is free again: a busy pool's moments follow from one another, not from how
/// late a thread woke up, so that its capacity is exact.
type Pool = Mutex<Vec<Instant>>;

impl PoolServer {
    pub(crate) fn start(pool: usize, service: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let served = Arc::new(AtomicUsize::new(0));
        let shared: Arc<Pool> = Arc::new(Mutex::new(vec![now(); pool]));
        let counter = Arc::clone(&served);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (shared, counter) = (Arc::clone(&shared), Arc::clone(&counter));
                let Ok(stream) = stream else { return };
                std::thread::Builder::new()
                    .stack_size(128 << 10)
                    .spawn(move || serve(stream, &shared, service, &counter))
                    .unwrap();
            }
        });
        Self { address, served }
    }
}

fn serve(stream: TcpStream, pool: &Pool, service: Duration, served: &AtomicUsize) {
    stream.set_nodelay(true).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        loop {
            line.clear();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let done = {
            let mut places = pool.lock().unwrap();
            let earliest = places.iter_mut().min().unwrap();
            *earliest = (*earliest).max(now()) + service;
            *earliest
        };
        // The service itself: the one place where the passing of time is the point.
        pause(done.saturating_duration_since(now()));
        served.fetch_add(1, Ordering::Relaxed);
        if writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
            return;
        }
    }
}
