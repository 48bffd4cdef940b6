//! A shop with sessions, form tokens and order numbers: recorded, then replayed against another one that knows none
//! of the recorded values.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::{Recorder, next_head, upstream};
use crate::support::{json, replayed, run, stderr};

/// What a shop remembers.
#[derive(Default)]
struct Memory {
    drawn: u64,
    /// The form token of each session that logged in.
    sessions: BTreeMap<String, String>,
    /// Orders, with the session they belong to.
    orders: Vec<String>,
    names: BTreeSet<String>,
    /// Its pages lack the token.
    is_mute: bool,
}

/// Two shops draw different values, and number their orders from different numbers on.
struct Shop {
    address: SocketAddr,
    memory: Arc<Mutex<Memory>>,
}

impl Shop {
    fn open(seed: u64) -> Self {
        let memory = Arc::new(Mutex::new(Memory { drawn: seed, ..Memory::default() }));
        let known = Arc::clone(&memory);
        let address = upstream(move |mut stream| {
            while let Some(head) = next_head(&mut stream) {
                let length = field(&head, "content-length").map_or(0, |length| length.parse().unwrap());
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                let answer = known.lock().unwrap().answer(seed, &head, &String::from_utf8(body).unwrap());
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        Self { address, memory }
    }

    /// One whose pages lack what later requests need.
    fn mute() -> Self {
        let shop = Self::open(70_000);
        shop.memory.lock().unwrap().is_mute = true;
        shop
    }

    fn orders(&self) -> usize {
        self.memory.lock().unwrap().orders.len()
    }
}

impl Memory {
    fn draw(&mut self) -> String {
        self.drawn =
            self.drawn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{:016x}q{:x}", self.drawn, self.drawn.rotate_left(17))
    }

    /// Chunked where a page has a form, so that the replay has to look through the chunks.
    fn answer(&mut self, seed: u64, head: &str, body: &str) -> String {
        let (line, _) = head.split_once("\r\n").unwrap();
        let request = line.strip_suffix(" HTTP/1.1").unwrap();
        let session = field(head, "cookie").and_then(|cookie| cookie.strip_prefix("sid=").map(str::to_owned));
        let token = session.as_ref().and_then(|session| self.sessions.get(session)).cloned();
        match (request, token) {
            ("POST /register", _) => {
                let name = body.split("name=").nth(1).unwrap().split('&').next().unwrap().to_owned();
                if !self.names.insert(name) {
                    return status("409 Conflict", "");
                }
                let (session, token) = (self.draw(), self.draw());
                self.sessions.insert(session.clone(), token);
                status("204 No Content", &format!("Set-Cookie: sid={session}; Path=/\r\n"))
            }
            ("GET /checkout", Some(token)) => {
                let page = if self.is_mute {
                    "<form><p>Come back later.</p></form>".to_owned()
                } else {
                    format!("<form><input type=hidden name=token value='{token}'></form>")
                };
                let (first, second) = page.split_at(page.len() - 20);
                let chunk = |part: &str| format!("{:x}\r\n{part}\r\n", part.len());
                format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n{}{}0\r\n\r\n",
                    chunk(first),
                    chunk(second)
                )
            }
            ("POST /orders", Some(token)) if body == format!("token={token}&quantity=1") => {
                self.orders.push(session.unwrap());
                let number = seed + self.orders.len() as u64;
                status("303 See Other", &format!("Location: /orders/{number}\r\n"))
            }
            ("POST /orders", Some(_)) => status("403 Forbidden", ""),
            (request, Some(_)) => {
                let number: Option<u64> =
                    request.strip_prefix("GET /orders/").and_then(|number| number.parse().ok());
                let at = number.and_then(|number| usize::try_from(number.checked_sub(seed + 1)?).ok());
                match at.and_then(|at| self.orders.get(at)) {
                    Some(owner) if Some(owner) == session.as_ref() => status("200 OK", ""),
                    _ => status("404 Not Found", ""),
                }
            }
            _ => status("401 Unauthorized", ""),
        }
    }
}

fn status(line: &str, fields: &str) -> String {
    let length = if line.starts_with("204") { "" } else { "Content-Length: 0\r\n" };
    format!("HTTP/1.1 {line}\r\n{fields}{length}\r\n")
}

fn field(head: &str, name: &str) -> Option<String> {
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")))?;
    Some(line.split_once(':').unwrap().1.trim().to_owned())
}

/// `shoppers` people register, order twice and look at their orders, each on a connection of its own.
fn shopping(port: u16, shoppers: usize) {
    for shopper in 0..shoppers {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut cookie = String::new();
        let mut ask = |line: &str, body: &str| {
            let kind =
                if body.is_empty() { "" } else { "Content-Type: application/x-www-form-urlencoded\r\n" };
            let length = if line.starts_with("GET") {
                String::new()
            } else {
                format!("Content-Length: {}\r\n", body.len())
            };
            write!(stream, "{line} HTTP/1.1\r\nHost: shop.test\r\n{cookie}{kind}{length}\r\n{body}").unwrap();
            let head = next_head(&mut stream).unwrap();
            if let Some(set) = field(&head, "set-cookie") {
                cookie = format!("Cookie: {}\r\n", set.split(';').next().unwrap());
            }
            let mut page = String::new();
            while head.contains("chunked") && !page.ends_with("0\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                page.push(char::from(byte[0]));
            }
            (head, page.split("\r\n").filter(|line| line.len() > 3).collect::<String>())
        };
        ask("POST /register", &format!("name=shopper{shopper}&password=pa55word"));
        for _ in 0..2 {
            let (_, page) = ask("GET /checkout", "");
            let token = page.split('\'').nth(1).unwrap().to_owned();
            let (head, _) = ask("POST /orders", &format!("token={token}&quantity=1"));
            let (head, _) = ask(&format!("GET {}", field(&head, "location").unwrap()), "");
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        }
    }
}

/// Replays a capture against a shop that opens for it; the summary, and the orders that were made.
fn again(capture: &str, folder: &std::path::Path, name: &str, flags: &[&str]) -> (Value, usize) {
    let shop = Shop::open(70_000);
    let target = format!("http://{}", shop.address);
    let out = folder.join(name).display().to_string();
    let mut args =
        vec!["replay", capture, "--target", &target, "--allow-unsafe", "--out", &out, "--json", "--quiet"];
    args.extend(flags);
    (replayed(&run(&args)), shop.orders())
}

#[test]
fn every_copy_of_a_session_lives_on_what_its_own_target_gave_it() {
    for mask in ["none", "default"] {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::start(
            folder.path(),
            Shop::open(300).address,
            if mask == "none" { &["--mask", "none"] } else { &[] },
        );
        shopping(recorder.port, 3);
        let capture = recorder.capture.display().to_string();
        let _port = recorder.stop_and_keep_its_port();

        let (naive, orders) =
            again(&capture, folder.path(), "naive.run", &["--no-correlate", "--breaker", "off"]);
        // Of seven requests, only the registration needs nothing.
        assert_eq!((naive["statuses"]["401"].as_u64(), orders), (Some(18), 0), "{mask}");

        for (scale, copies) in [("1x", 1), ("5x", 5)] {
            let (bound, orders) =
                again(&capture, folder.path(), &format!("{scale}.run"), &["--scale", scale]);
            assert_eq!(bound["same_status_ratio"].as_f64(), Some(1.0), "{mask} {scale}: {bound}");
            assert_eq!(bound["bindings"]["missing"].as_u64(), Some(0));
            assert_eq!(orders, 6 * copies, "{mask} {scale}");
        }

        // What is found is written down, and does the same when it is read.
        let rules = folder.path().join("rules.toml").display().to_string();
        let found = json(&run(&["correlate", &capture, "--out", &rules, "--json", "--quiet"]), 0);
        let names: Vec<&str> =
            found["rules"].as_array().unwrap().iter().map(|rule| rule["name"].as_str().unwrap()).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(
            sorted,
            ["cookie sid", "input token of GET /checkout", "location segment 2 of POST /orders"]
        );
        let (bound, orders) = again(
            &capture,
            folder.path(),
            "rules.run",
            &["--rules", &rules, "--expect", "recorded-status>=100%"],
        );
        assert_eq!((bound["same_status_ratio"].as_f64(), orders), (Some(1.0), 6), "{mask}");
    }
}

#[test]
fn a_rule_says_what_happens_without_its_value_and_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(folder.path(), Shop::open(300).address, &["--mask", "none"]);
    shopping(recorder.port, 1);
    let capture = recorder.capture.display().to_string();
    let _port = recorder.stop_and_keep_its_port();
    // Of seven requests: two orders are refused and their pages not found; or the orders are not sent; or nothing
    // after the first of them is.
    for (policy, sent, unbound, missing) in
        [("recorded", 7, 0, 2), ("skip", 5, 2, 2), ("end-session", 2, 5, 1)]
    {
        let rules = folder.path().join(format!("{policy}.toml"));
        let text = format!(
            "[[rule]]\ntake = \"cookie sid\"\ninto = [{{ put = \"cookie sid\" }}]\n\n[[rule]]\nname = \"token\"\n\
             answer = \"GET /checkout\"\ntake = \"input token\"\n\
             into = [{{ request = \"POST /orders\", put = \"form token\" }}]\nmissing = \"{policy}\"\n"
        );
        std::fs::write(&rules, text).unwrap();
        let shop = Shop::mute();
        let target = format!("http://{}", shop.address);
        let out = folder.path().join(format!("{policy}.run")).display().to_string();
        let rules = rules.display().to_string();
        let args = [
            "replay",
            &capture,
            "--target",
            &target,
            "--allow-unsafe",
            "--out",
            &out,
            "--json",
            "--quiet",
            "--breaker",
            "off",
            "--rules",
            &rules,
        ];
        let summary = replayed(&run(&args));
        assert_eq!(summary["sent"].as_u64(), Some(sent), "{policy}: {summary}");
        assert_eq!(summary["skipped"]["unbound"].as_u64(), Some(unbound), "{policy}: {summary}");
        let token =
            summary["bindings"]["rules"].as_array().unwrap().iter().find(|rule| rule["rule"] == "token");
        assert_eq!(token.unwrap()["missing"].as_u64(), Some(missing), "{policy}: {summary}");
    }
}

#[test]
fn what_is_wrong_with_rules_data_and_expectations_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(folder.path(), Shop::open(300).address, &["--mask", "none"]);
    shopping(recorder.port, 1);
    let capture = recorder.capture.display().to_string();
    let _port = recorder.stop_and_keep_its_port();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let rules = file("wrong.toml", "[[rule]]\ntake = \"cooky sid\"\ninto = [{ put = \"cookie sid\" }]\n");
    let sets = file("sets.toml", "[[set]]\nput = \"form name\"\nvalue = \"{{file:users.csv:name}}\"\n");
    let users = file("users.csv", "colour,shape\nred,round\n");
    for (flags, code, part) in [
        (vec!["--rules", &rules], 3, "rule 1: 'cooky' is no place of a value"),
        (vec!["--rules", &sets], 3, "set 1: {{file:users.csv:name}} names no column of a data file"),
        (vec!["--login", &users], 3, "no column (colour, shape) is a field of a login"),
        (vec!["--expect", "success"], 2, "--expect success: is no expectation"),
    ] {
        let mut args = vec!["replay", &capture, "--target", "http://127.0.0.1:9", "--dry-run"];
        args.extend(flags);
        let output = run(&args);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(part) && said.trim_end().lines().count() == 1, "{said}");
    }

    // With the sessions unbound, nothing but the registration does what it did.
    let shop = Shop::open(70_000);
    let target = format!("http://{}", shop.address);
    let out = folder.path().join("naive.run").display().to_string();
    let args = [
        "replay",
        &capture,
        "--target",
        &target,
        "--allow-unsafe",
        "--out",
        &out,
        "--quiet",
        "--no-correlate",
        "--breaker",
        "off",
    ];
    let output = run(&[&args[..], &["--expect", "recorded-status"]].concat());
    assert!(matches!(output.status.code(), Some(99 | 5)), "{}", stderr(&output));
    assert!(
        output.status.code() == Some(5)
            || stderr(&output).contains("14.29 % of the answers had the recorded status")
    );

    let diff = json(&run(&["diff", &out, "--json"]), 0);
    let refused: Vec<(u64, &str)> = diff["classes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|class| (class["recorded_status"].as_u64().unwrap(), class["now"].as_str().unwrap()))
        .collect();
    // In the order in which the routes were met: the checkout, the order, the look at it.
    assert_eq!(refused, [(200, "401"), (303, "401"), (200, "401")]);
}

/// A wiki: an editor must know the version that is being changed, or is told of a conflict.
fn wiki() -> (SocketAddr, Arc<Mutex<BTreeMap<String, u32>>>) {
    let pages = Arc::new(Mutex::new(BTreeMap::from([("start".to_owned(), 1)])));
    let known = Arc::clone(&pages);
    let address = upstream(move |mut stream| {
        while let Some(head) = next_head(&mut stream) {
            let length = field(&head, "content-length").map_or(0, |length| length.parse().unwrap());
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let body = String::from_utf8(body).unwrap();
            let asked = if body.is_empty() { head.split(' ').nth(1).unwrap() } else { &body };
            let value =
                |name: &str| Some(asked.split_once(name)?.1.split(['&', ' ']).next().unwrap().to_owned());
            let name = value("id=").unwrap().to_lowercase();
            let mut pages = known.lock().unwrap();
            let version = pages.get(&name).copied().unwrap_or(0);
            let page = |text: &str| {
                let length = text.len();
                format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n{text}"
                )
            };
            let robots = "<meta name=robots content=noindex>";
            let answer = if !body.is_empty() {
                if value("version=").unwrap() == version.to_string() {
                    pages.insert(name.clone(), version + 1);
                    status("302 Found", &format!("Location: /wiki?id={name}\r\n"))
                } else {
                    page("Somebody else was faster.")
                }
            } else if asked.contains("do=edit") {
                let text = if version == 0 { "" } else { "Words." };
                page(&format!("{robots}<textarea name=text>{text}</textarea>"))
            } else if version == 0 {
                page(robots)
            } else {
                page("<p>Words.</p>")
            };
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (address, pages)
}

#[test]
fn every_copy_writes_pages_of_its_own_in_a_wiki_where_visitors_choose_the_names() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(folder.path(), wiki().0, &["--mask", "none"]);
    for visitor in ["Ann", "Bob"] {
        let mut stream = TcpStream::connect(("127.0.0.1", recorder.port)).unwrap();
        let mut ask = |method: &str, target: &str, body: &str, expected: &str| {
            let length = if body.is_empty() {
                String::new()
            } else {
                format!(
                    "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
                    body.len()
                )
            };
            write!(
                stream,
                "{method} {target} HTTP/1.1\r\nHost: wiki.test\r\nCookie: who={visitor}\r\n{length}\r\n{body}"
            )
            .unwrap();
            let head = next_head(&mut stream).unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {expected}")), "{head}");
            let mut page = vec![0; field(&head, "content-length").unwrap().parse().unwrap()];
            stream.read_exact(&mut page).unwrap();
        };
        ask("GET", "/wiki?id=start", "", "200");
        for topic in ["Garden", "Kitchen"] {
            let name = format!("{visitor}s%20{topic}");
            ask("GET", &format!("/wiki?id={name}"), "", "200");
            for version in 0..2 {
                ask("GET", &format!("/wiki?id={name}&do=edit"), "", "200");
                let form = format!("id={name}&version={version}&text=Words.");
                ask("POST", "/wiki", &form, "302");
                ask("GET", &format!("/wiki?id={}", name.to_lowercase()), "", "200");
            }
        }
    }
    let capture = recorder.capture.display().to_string();
    let _port = recorder.stop_and_keep_its_port();
    let rules = folder.path().join("rules.toml").display().to_string();
    let found = json(&run(&["correlate", &capture, "--out", &rules, "--json", "--quiet"]), 0);
    let set = &found["sets"][0];
    assert_eq!(
        (set["put"].as_str(), set["names"].as_u64(), set["sessions"].as_u64(), set["written"].as_u64()),
        (Some("form id"), Some(4), Some(2), Some(4)),
        "{found}"
    );
    // Without the rule every copy but one meets conflicts, and there are no more pages than the recorded ones.
    let without = folder.path().join("without.toml").display().to_string();
    std::fs::write(&without, "").unwrap();
    for (rules, pages, is_same) in [(None, 21, true), (Some(&rules), 21, true), (Some(&without), 5, false)] {
        let (address, known) = wiki();
        let target = format!("http://{address}");
        let out = folder.path().join(format!("{pages}{}.run", rules.is_some())).display().to_string();
        let mut args = vec!["replay", &capture, "--target", &target, "--allow-unsafe", "--out", &out];
        args.extend(["--json", "--quiet", "--scale", "5x"]);
        args.extend(rules.into_iter().flat_map(|rules| ["--rules", rules]));
        let summary = replayed(&run(&args));
        let known = known.lock().unwrap();
        assert_eq!(known.len(), pages, "{known:?}");
        assert_eq!(summary["same_status_ratio"].as_f64() == Some(1.0), is_same, "{summary}");
        assert!(!is_same || known.values().all(|&version| version <= 2), "{known:?}");
    }
}
