//! Answers of a catalogue that tells the time, numbers its orders and shows ads by chance: what two replays differ in
//! is noise, what a new version does otherwise is found and named.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{Recorder, next_head, upstream};
use crate::support::{json as shown, replayed, run, stderr};

/// What a new version does otherwise.
#[derive(Clone, Copy, PartialEq)]
enum Version {
    Old,
    /// Prices have another value.
    Dearer,
    /// A field of the page is not there any more.
    Poorer,
}

struct Catalogue {
    version: Version,
    draws: u64,
    seconds: u64,
    orders: Vec<String>,
    sessions: u64,
}

impl Catalogue {
    fn open(seed: u64, version: Version) -> SocketAddr {
        let catalogue = Self {
            version,
            draws: seed,
            seconds: seed * 100_003,
            orders: Vec::new(),
            sessions: seed * 1_000,
        };
        let catalogue = Arc::new(Mutex::new(catalogue));
        upstream(move |mut stream| {
            while let Some(head) = next_head(&mut stream) {
                let length = field(&head, "content-length").map_or(0, |length| length.parse().unwrap());
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                let answer = catalogue.lock().unwrap().answer(&head);
                stream.write_all(answer.as_bytes()).unwrap();
            }
        })
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.draws =
            self.draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.draws >> 33) % below
    }

    /// A moment, later with every answer.
    fn now(&mut self) -> String {
        self.seconds += 61;
        let seconds = self.seconds;
        format!(
            "2026-11-{:02}T{:02}:{:02}:{:02}Z",
            10 + seconds / 86_400 % 18,
            seconds / 3_600 % 24,
            seconds / 60 % 60,
            seconds % 60
        )
    }

    fn ad(&mut self) -> String {
        let ads = [
            "Buy shoes",
            "Hats for summer",
            "A quiet holiday by the sea",
            "Tea, fresh from the hills",
            "Bicycles",
        ];
        ads[usize::try_from(self.draw(5)).unwrap()].to_owned()
    }

    fn answer(&mut self, head: &str) -> String {
        let line = head.lines().next().unwrap().strip_suffix(" HTTP/1.1").unwrap().to_owned();
        let session = field(head, "cookie").and_then(|cookie| cookie.strip_prefix("sid=").map(str::to_owned));
        let (now, ad) = (self.now(), self.ad());
        let number = self.draw(1 << 31);
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["GET", "/"] => {
                self.sessions += 1;
                let sid = format!("q{:07}z{:08}x{:05}", self.sessions * 7_919, number, self.sessions);
                let stock = if self.version == Version::Poorer { "" } else { "<p id=stock>In stock: 12</p>" };
                let page = format!(
                    "<html><body><h1>Catalogue</h1><div class=ad><p>{ad}</p></div>{stock}<footer>{now}, request {number}</footer></body></html>"
                );
                answer(
                    "200 OK",
                    &format!("Content-Type: text/html\r\nSet-Cookie: sid={sid}; Path=/\r\n"),
                    &page,
                )
            }
            ["GET", path] if path.starts_with("/products/") => {
                let price = if self.version == Version::Dearer { 2_099 } else { 1_999 };
                let product = json!({
                    "id": path.rsplit('/').next().unwrap(),
                    "price": price,
                    "made_at": now,
                    "request": number,
                    "ads": (0..=self.draw(3)).map(|_| json!({"text": self.ad()})).collect::<Vec<_>>(),
                });
                answer("200 OK", "Content-Type: application/json\r\n", &product.to_string())
            }
            ["POST", "/orders"] => {
                self.orders.push(session.unwrap_or_default());
                let id = self.sessions / 1_000 * 1_000 + self.orders.len() as u64;
                answer(
                    "201 Created",
                    "Content-Type: application/json\r\n",
                    &json!({"id": id, "state": "open"}).to_string(),
                )
            }
            ["GET", path] => {
                let id: u64 = path.rsplit('/').next().unwrap().parse().unwrap();
                let at = usize::try_from(id % 1_000).unwrap().wrapping_sub(1);
                if self.orders.get(at).cloned() == session {
                    let order =
                        json!({"id": id, "state": "open", "seen_at": now, "self": format!("/orders/{id}")});
                    answer("200 OK", "Content-Type: application/json\r\n", &order.to_string())
                } else {
                    answer("404 Not Found", "", "")
                }
            }
            _ => answer("405 Method Not Allowed", "", ""),
        }
    }
}

fn answer(status: &str, fields: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn field(head: &str, name: &str) -> Option<String> {
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")))?;
    Some(line.split_once(':').unwrap().1.trim().to_owned())
}

/// Four people look around, and order.
fn visits(port: u16) {
    for _ in 0..4 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut cookie = String::new();
        let mut ask = |line: &str| {
            let length = if line.starts_with("POST") { "Content-Length: 0\r\n" } else { "" };
            write!(stream, "{line} HTTP/1.1\r\nHost: shop.test\r\n{cookie}{length}\r\n").unwrap();
            let head = next_head(&mut stream).unwrap();
            let mut body = vec![0; field(&head, "content-length").unwrap().parse().unwrap()];
            stream.read_exact(&mut body).unwrap();
            if let Some(set) = field(&head, "set-cookie") {
                cookie = format!("Cookie: {}\r\n", set.split(';').next().unwrap());
            }
            String::from_utf8(body).unwrap()
        };
        ask("GET /");
        ask("GET /products/3");
        ask("GET /products/5");
        let made: Value = serde_json::from_str(&ask("POST /orders")).unwrap();
        let order: Value = serde_json::from_str(&ask(&format!("GET /orders/{}", made["id"]))).unwrap();
        assert_eq!(order["state"], "open");
    }
}

/// Replays against a catalogue that opens for it, and keeps the answers; the run.
fn again(capture: &str, folder: &Path, seed: u64, version: Version) -> (Value, String) {
    let target = format!("http://{}", Catalogue::open(seed, version));
    let out = folder.join(format!("{seed}.run")).display().to_string();
    let args = [
        "replay",
        capture,
        "--target",
        &target,
        "--allow-unsafe",
        "--out",
        &out,
        "--json",
        "--quiet",
        "--scale",
        "3x",
        "--answers",
    ];
    (replayed(&run(&args)), out)
}

fn classes(diff: &Value) -> Vec<String> {
    let classes = diff["classes"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut all: Vec<String> = classes
        .map(|class| {
            let of =
                [&class["route"], &class["what"], &class["place"], &class["before"], &class["now"]].map(text);
            format!("{} | {}", of.join(" | "), class["count"])
        })
        .collect();
    all.sort();
    all
}

#[test]
fn what_two_replays_differ_in_is_noise_and_what_a_new_version_does_otherwise_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(folder.path(), Catalogue::open(1, Version::Old), &["--mask", "none"]);
    visits(recorder.port);
    let capture = recorder.capture.display().to_string();
    let _port = recorder.stop_and_keep_its_port();

    let (summary, first) = again(&capture, folder.path(), 2, Version::Old);
    assert_eq!(summary["same_status_ratio"].as_f64(), Some(1.0), "{summary}");
    // 20 requests of four people, in three copies, are few enough to keep all answers.
    assert_eq!(
        (summary["answers"]["kept"].as_u64(), summary["answers"]["left_out"].as_u64()),
        (Some(60), Some(0))
    );
    let (_, second) = again(&capture, folder.path(), 3, Version::Old);
    // The same application: no difference, also when nothing is presumed of times and tokens.
    for flags in [&[][..], &["--strict"]] {
        let same = shown(&run(&[&["diff", &first, &second, "--json", "--gate"], flags].concat()), 0);
        assert_eq!(classes(&same), [""; 0], "{same}");
        assert_eq!(same["overall"]["alike"].as_u64(), Some(60));
        assert!(same["learned_from"].as_u64().unwrap() > 0);
    }

    for (seed, version, expected) in [
        (4, Version::Dearer, "GET /products/{} | value | json /price | 1999 | 2099 | 24"),
        (6, Version::Poorer, "GET / | gone | page html/body/p#stock |  |  | 12"),
    ] {
        let (_, third) = again(&capture, folder.path(), seed, version);
        let (_, fourth) = again(&capture, folder.path(), seed + 1, version);
        let differ = shown(&run(&["diff", &third, &fourth, "--json"]), 0);
        assert_eq!(classes(&differ), [expected], "{differ}");
        // The same against the answers of the old version instead of the recorded ones.
        let differ = shown(&run(&["diff", &third, &fourth, "--base", &first, "--json"]), 0);
        assert_eq!(classes(&differ), [expected], "{differ}");
        let gate = run(&["diff", &third, &fourth, "--gate"]);
        assert_eq!(gate.status.code(), Some(99), "{}", stderr(&gate));
        assert!(String::from_utf8_lossy(&gate.stdout).contains("e.g. exchange "));
    }
}

#[test]
fn a_comparison_that_cannot_be_made_says_why_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(folder.path(), Catalogue::open(1, Version::Old), &["--mask", "none"]);
    visits(recorder.port);
    let capture = recorder.capture.display().to_string();
    let _port = recorder.stop_and_keep_its_port();
    let (_, first) = again(&capture, folder.path(), 2, Version::Old);
    let answers = folder.path().join("2.answers");
    let elsewhere = folder.path().join("other.capture");
    std::fs::copy(&answers, &elsewhere).unwrap();
    let check = |args: &[&str], part: &str| {
        let output = run(args);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains(part) && said.trim_end().lines().count() == 1, "{said}");
    };
    let other = elsewhere.display().to_string();
    check(&["diff", &first, "--capture", &other], "is not what");
    check(&["diff", &first, "--base", &other], "other.capture");
    std::fs::remove_file(&capture).unwrap();
    check(&["diff", &first], "say with --capture where it is now");
    std::fs::remove_file(&answers).unwrap();
    // Without answers, statuses are compared.
    assert_eq!(shown(&run(&["diff", &first, "--json"]), 0)["classes"], json!([]));
}
