//! The traffic: wrk back to back, and a replay at a fixed rate.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use captures::{
    Body, CaptureHeader, CaptureWriter, ConnectionId, Ending, Exchange, ExchangeId, Header, Masking, Offset,
    Passage, Request, Response, Run, SessionId, SessionKey, Tally, Version,
};

use crate::sides::{BODIES, Place, Proxy, Side, body, placed};
use crate::support::highwater;

const CONNECTIONS: u64 = 64;
const DISTINCT: usize = 1_000;

/// What wrk asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    Small,
    Heads,
    Bodies,
}

/// What one measurement came to.
pub(crate) struct Measured {
    pub(crate) side: Side,
    pub(crate) rate: f64,
    pub(crate) cpu_per_100k: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) errors: u64,
}

impl Load {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Small => "small GETs",
            Self::Heads => "headers",
            Self::Bodies => "headers and 2 kB bodies",
        }
    }

    pub(crate) const fn about(self) -> &'static str {
        match self {
            Self::Small => "1 000 targets, the fields that wrk sends by itself",
            Self::Heads => {
                "1 000 distinct GETs with heads of about 700 B, answered without a body to speak of"
            }
            Self::Bodies => "the same heads; half are POSTs of 2 kB, half are answered with 2 kB",
        }
    }

    /// Sends for `seconds` through `proxy`.
    pub(crate) fn drive(self, folder: &Path, proxy: &Proxy, seconds: u64, pinned: bool) -> Measured {
        let script = folder.join(format!("{self:?}.lua"));
        std::fs::write(&script, self.script()).unwrap();
        let before = proxy.cpu_seconds();
        let output = placed("wrk", Place::Traffic, pinned)
            .args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s"), "-s"])
            .arg(&script)
            .arg(format!("http://{}/", proxy.address))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let cpu = proxy.cpu_seconds_at_rest() - before;
        let said = String::from_utf8_lossy(&output.stdout);
        let line =
            said.lines().find_map(|line| line.strip_prefix("result ")).unwrap_or_else(|| panic!("{said}"));
        let fields: Vec<f64> = line.split(' ').map(|field| field.parse().unwrap()).collect();
        let [requests, micros, errors, p50, p99] = fields[..] else { panic!("{line}") };
        Measured {
            side: proxy.side,
            rate: requests / micros * 1e6,
            cpu_per_100k: cpu / requests * 1e5,
            p50_ms: p50 / 1e3,
            p99_ms: p99 / 1e3,
            errors: errors as u64,
        }
    }

    /// A script for wrk: every request is made beforehand, so that making it costs nothing later.
    fn script(self) -> String {
        let mut requests = String::new();
        for at in 0..DISTINCT {
            let Asked { method, target, headers, body } = self.request(at);
            let head: String = headers.iter().map(|(name, value)| format!("{name}: {value}\\r\\n")).collect();
            let host = if headers.is_empty() { "Host: 127.0.0.1\\r\\n" } else { "" };
            let length =
                if body.is_empty() { String::new() } else { format!("Content-Length: {}\\r\\n", body.len()) };
            let body = body.replace('"', "\\\"");
            writeln!(requests, "\"{method} {target} HTTP/1.1\\r\\n{host}{head}{length}\\r\\n{body}\",")
                .unwrap();
        }
        format!(
            "local requests = {{\n{requests}}}\nlocal at = 0\n\
             request = function() at = at % #requests + 1 return requests[at] end\n\
             done = function(summary, latency, _)\n  \
             local e = summary.errors\n  \
             io.write(string.format('result %d %d %d %d %d\\n', summary.requests, summary.duration,\n    \
             e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99)))\nend\n"
        )
    }

    fn request(self, at: usize) -> Asked {
        let number = at.wrapping_mul(2_654_435_761) % 1_000_003;
        let small = || (format!("/product/{number}?from=list"), "GET", String::new());
        let (target, method, body) = match self {
            Self::Small | Self::Heads => small(),
            Self::Bodies if at.is_multiple_of(2) => {
                (format!("/cart/{number}/items"), "POST", body(at % BODIES))
            }
            Self::Bodies => (format!("/body/{}.json?of={number}", at % BODIES), "GET", String::new()),
        };
        let headers = if self == Self::Small { Vec::new() } else { browser_fields(number) };
        Asked { method, target, headers, body }
    }
}

struct Asked {
    method: &'static str,
    target: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

/// About 700 bytes, as a browser sends them.
fn browser_fields(number: usize) -> Vec<(&'static str, String)> {
    let id = |salt: u64| (number as u64 + salt).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let agents = [
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
        "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
    ];
    vec![
        ("Host", "shop.example".to_owned()),
        ("User-Agent", agents[number % agents.len()].to_owned()),
        (
            "Accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
                .to_owned(),
        ),
        (
            "Accept-Language",
            ["en-GB,en;q=0.5", "de-DE,de;q=0.8,en;q=0.3", "fr-FR,fr;q=0.9"][number % 3].to_owned(),
        ),
        ("Accept-Encoding", "gzip, deflate, br, zstd".to_owned()),
        ("Referer", format!("https://shop.example/category/{}?page={}", number % 40, number % 9)),
        (
            "Cookie",
            format!(
                "sid={:016x}{:016x}; theme=dark; _ga=GA1.1.{}.{}; cart={:016x}",
                id(1),
                id(2),
                id(3) >> 34,
                id(4) >> 34,
                id(5)
            ),
        ),
        ("Content-Type", "application/json".to_owned()),
        ("X-Request-Id", format!("{:016x}-{:08x}", id(6), id(7) >> 32)),
        ("Sec-Fetch-Dest", "document".to_owned()),
        ("Sec-Fetch-Mode", "navigate".to_owned()),
        ("Sec-Fetch-Site", "same-origin".to_owned()),
    ]
}

/// The same requests at a fixed rate, sent when they are due whatever the answers do.
pub(crate) struct Open {
    capture: PathBuf,
}

impl Open {
    /// `seconds` of `rate` requests a second, on many connections.
    pub(crate) fn new(folder: &Path, rate: f64, seconds: u64) -> Self {
        let capture = folder.join("open.capture");
        let header = CaptureHeader {
            tool: "bench".to_owned(),
            started: 1_790_000_000_000_000_000,
            listen: vec!["192.0.2.2:80".to_owned()],
            upstream: vec!["192.0.2.1:80".to_owned()],
            servers: Vec::new(),
            recording: [0; 16],
            segment: 0,
            session_keys: Vec::new(),
            filters: Vec::new(),
            masking: Masking::None,
            sampling_ratio: 1.0,
            body_limit: 65_536,
        };
        let mut writer = CaptureWriter::create(std::fs::File::create(&capture).unwrap(), &header).unwrap();
        let count = (rate * seconds as f64) as u64;
        for id in 0..count {
            let arrived = Offset::ZERO.plus(Duration::from_secs_f64(id as f64 / rate));
            writer.push(&exchange(id, arrived)).unwrap();
        }
        writer.finish(&Tally { seen: count, recorded: count, ..Tally::default() }).unwrap();
        Self { capture }
    }

    /// The median and the 99th percentile in microseconds, and how many were sent.
    pub(crate) fn drive(&self, folder: &Path, proxy: &Proxy, pinned: bool) -> (f64, f64, u64) {
        let out = folder.join("open.run");
        let output = placed(highwater().get_program().to_str().unwrap(), Place::Traffic, pinned)
            .args(["replay", self.capture.to_str().unwrap(), "--allow-unsafe", "--threads", "1", "--quiet"])
            .args(["--target", &format!("http://{}", proxy.address), "--out"])
            .arg(&out)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        // 5 says that the machine was too busy to be on time, which the numbers show.
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 5)), "{said}");
        let overall = Run::read(std::fs::File::open(&out).unwrap()).unwrap().overall();
        let _ = std::fs::remove_file(out);
        let micros = |quantile| overall.latency.quantile(quantile).as_secs_f64() * 1e6;
        (micros(0.5), micros(0.99), overall.latency.len())
    }
}

fn exchange(id: u64, arrived: Offset) -> Exchange {
    let asked = Load::Bodies.request(usize::try_from(id).unwrap() % DISTINCT);
    let header = |(name, value): (&str, String)| Header { name: name.into(), value: value.into() };
    let stored = asked.body.into_bytes();
    Exchange {
        id: ExchangeId(id),
        connection: ConnectionId(id % CONNECTIONS),
        session: SessionId(id % CONNECTIONS),
        session_key: SessionKey::Connection,
        arrived,
        request_done: Some(arrived),
        response_began: Some(arrived),
        ended: arrived.plus(Duration::from_millis(1)),
        attempts: 1,
        request: Request {
            method: asked.method.into(),
            target: asked.target.into(),
            version: Version::Http11,
            headers: asked.headers.into_iter().map(header).collect(),
            body: Body { length: stored.len() as u64, stored, ..Body::default() },
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
    }
}
