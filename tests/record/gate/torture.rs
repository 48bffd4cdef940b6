//! Requests from the test suites of other parsers, and payloads of known desyncs, through the real recorder.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::record::{Recorder, upstream};

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// The upstream answered, or was asked.
    Passed,
    /// It was answered, or the connection closed, before anything went upstream.
    Refused,
}

struct Case {
    file: String,
    verdict: String,
    /// How the engine alone answered.
    stock: String,
    raw: Vec<u8>,
}

fn corpus() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus/http1-torture");
    if !folder.exists() {
        eprintln!("skipped: {} is not there", folder.display());
    }
    folder.exists().then_some(folder)
}

fn cases(folder: &Path) -> Vec<Case> {
    let table = std::fs::read_to_string(folder.join("trusted_proxies.tsv")).unwrap();
    let case = |line: &str| {
        let columns: Vec<&str> = line.split('\t').collect();
        Case {
            file: columns[0].to_owned(),
            verdict: columns[1].to_owned(),
            stock: columns[8].to_owned(),
            raw: std::fs::read(folder.join(columns[0])).unwrap(),
        }
    };
    table.lines().skip(1).map(case).collect()
}

/// A request as the upstream read it: its first line and its body, transfer coding removed.
type Seen = (String, Vec<u8>);

/// Reads one request that has one reading only; `None` at the end, an error for anything else.
fn read_strictly(stream: &mut impl BufRead) -> Result<Option<Seen>, String> {
    let mut line = || -> Result<Option<Vec<u8>>, String> {
        let mut line = Vec::new();
        stream.read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
        if line.is_empty() {
            return Ok(None);
        }
        let text = line.strip_suffix(b"\r\n").ok_or("a line is unfinished or ends in a bare line feed")?;
        match text.iter().find(|&&byte| byte == b'\r' || byte == b'\n' || byte == 0) {
            Some(byte) => Err(format!("a line has a byte {byte}")),
            None => Ok(Some(text.to_vec())),
        }
    };
    let Some(first) = line()? else { return Ok(None) };
    let first = String::from_utf8_lossy(&first).into_owned();
    let (mut lengths, mut codings, mut hosts) = (Vec::new(), Vec::new(), 0);
    loop {
        let field = line()?.ok_or("the head is unfinished")?;
        if field.is_empty() {
            break;
        }
        let field = String::from_utf8_lossy(&field).into_owned();
        let (name, value) = field.split_once(':').ok_or(format!("no field: {field}"))?;
        match name.to_ascii_lowercase().as_str() {
            "content-length" => lengths.push(value.trim().to_owned()),
            "transfer-encoding" => codings.push(value.trim().to_owned()),
            "host" => hosts += 1,
            name if name.contains(|letter: char| letter.is_whitespace()) => {
                return Err(format!("field {name:?}"));
            }
            _ => {}
        }
    }
    if hosts > 1 {
        return Err("two hosts".to_owned());
    }
    let mut body = Vec::new();
    match (&lengths[..], &codings[..]) {
        ([], []) => {}
        ([length], []) => {
            let count: usize = length.parse().map_err(|_| format!("length {length}"))?;
            if length != &count.to_string() {
                return Err(format!("length {length}"));
            }
            body = vec![0; count];
            stream.read_exact(&mut body).map_err(|_| "the body is unfinished")?;
        }
        ([], [coding]) if coding == "chunked" => loop {
            let mut size = String::new();
            stream.read_line(&mut size).map_err(|error| error.to_string())?;
            let digits = size.strip_suffix("\r\n").ok_or("the body is unfinished")?;
            let size = usize::from_str_radix(digits, 16).map_err(|_| format!("size {digits}"))?;
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).map_err(|_| "the body is unfinished")?;
            if !chunk.ends_with(b"\r\n") {
                return Err("a chunk does not end".to_owned());
            }
            if size == 0 {
                break;
            }
            body.extend(&chunk[..size]);
        },
        _ => return Err(format!("two framings: {lengths:?} {codings:?}")),
    }
    Ok(Some((first, body)))
}

#[derive(Default)]
pub(super) struct Heard {
    whole: Vec<Seen>,
    unfinished: usize,
    odd: Vec<String>,
}

/// A server that answers what has one reading, and says what else came.
pub(super) fn listening() -> (std::net::SocketAddr, Arc<Mutex<Heard>>) {
    let heard = Arc::new(Mutex::new(Heard::default()));
    let hears = Arc::clone(&heard);
    let address = upstream(move |stream| {
        let mut writer = stream.try_clone().unwrap();
        let mut reader = BufReader::new(stream);
        loop {
            match read_strictly(&mut reader) {
                Ok(None) => return,
                Ok(Some(seen)) => {
                    hears.lock().unwrap().whole.push(seen);
                    let _ = writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                }
                Err(reason) => {
                    let mut hears = hears.lock().unwrap();
                    if reason.contains("unfinished") || reason.contains("reset") {
                        hears.unfinished += 1;
                    } else {
                        hears.odd.push(reason);
                    }
                    return;
                }
            }
        }
    });
    (address, heard)
}

/// Sends a request and waits until it is clear what became of it.
fn try_one(port: u16, raw: &[u8]) -> (Fate, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let _ = stream.write_all(raw);
    let mut answer = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        // Nothing comes after an answer but the next one, which follows at once.
        let patience = if answer.is_empty() { 2_000 } else { 150 };
        stream.set_read_timeout(Some(Duration::from_millis(patience))).unwrap();
        match stream.read(&mut buffer) {
            Ok(read @ 1..) => answer.extend(&buffer[..read]),
            end => {
                let text = String::from_utf8_lossy(&answer).into_owned();
                let waited = end.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
                // Silence means that the upstream has the head and waits for the rest.
                let passed = text.starts_with("HTTP/1.1 200") || (text.is_empty() && waited);
                return (if passed { Fate::Passed } else { Fate::Refused }, text);
            }
        }
    }
}

fn has_host(raw: &[u8]) -> bool {
    String::from_utf8_lossy(raw).to_ascii_lowercase().contains("\nhost:")
}

#[test]
fn public_torture_requests_are_refused_or_pass_with_one_reading() {
    let Some(folder) = corpus() else { return };
    let cases = cases(&folder);
    let own = tempfile::tempdir().unwrap();
    let (address, heard) = listening();
    let flags = ["--mask", "none", "--header-timeout", "500ms", "--body-limit", "1MiB"];
    let recorder = Recorder::start(own.path(), address, &flags);
    let port = recorder.port;

    let next = AtomicUsize::new(0);
    let fates: Vec<Mutex<Option<(Fate, String)>>> = cases.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..48 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let at = cases.iter().position(|other| std::ptr::eq(other, case)).unwrap();
                    *fates[at].lock().unwrap() = Some(try_one(port, &case.raw));
                }
            });
        }
    });
    let (exchanges, tally) = recorder.stop();

    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (case, fate) in cases.iter().zip(&fates) {
        let (fate, answer) = fate.lock().unwrap().clone().unwrap();
        let kind = match case.verdict.as_str() {
            verdict if verdict.starts_with("reject-after") || verdict == "reject" => "invalid",
            "reject-or-normalise" => "known desyncs",
            verdict => verdict,
        };
        let count = counts.entry(kind).or_default();
        count.1 += 1;
        if fate == Fate::Refused {
            count.0 += 1;
        } else if matches!(kind, "invalid" | "known desyncs") {
            eprintln!("passed: {} {}", case.verdict, case.file);
        }
        let sound = case.verdict == "accept" && has_host(&case.raw) && case.stock.starts_with("200");
        assert!(!sound || fate == Fate::Passed, "{} is sound and got {answer:?}", case.file);
    }
    for (kind, (refused, all)) in &counts {
        eprintln!("{kind}: {refused} of {all} refused before anything went upstream");
    }
    let heard = heard.lock().unwrap();
    assert_eq!(heard.odd, [] as [String; 0]);
    // As many as nginx refuses, of each kind (53 of 70 and 32 of 36 of those at hand).
    assert!(counts["invalid"].0 * 70 >= 53 * counts["invalid"].1);
    assert!(counts["known desyncs"].0 * 36 >= 32 * counts["known desyncs"].1);

    // What the upstream read is what the capture says it did.
    let line = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
    let mut recorded: Vec<(String, Vec<u8>)> = exchanges
        .iter()
        .filter(|exchange| exchange.attempts > 0 && !exchange.passage.unfinished)
        .map(|exchange| (line(&exchange.request.method), exchange.request.body.stored.clone()))
        .collect();
    let method = |first: &str| first.split(' ').next().unwrap_or_default().to_owned();
    let mut seen: Vec<(String, Vec<u8>)> =
        heard.whole.iter().map(|(first, body)| (method(first), body.clone())).collect();
    recorded.sort();
    seen.sort();
    assert!(recorded == seen, "{} recorded, {} seen", recorded.len(), seen.len());
    let unfinished = exchanges.iter().filter(|exchange| exchange.passage.unfinished).count();
    eprintln!(
        "{} exchanges seen: {} whole upstream and in the capture, {unfinished} unfinished in both ({})",
        tally.seen,
        seen.len(),
        heard.unfinished
    );
    assert_eq!(unfinished, heard.unfinished);
}
