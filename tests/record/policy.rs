//! What `highwater record` leaves out on purpose, and how it says so.

use std::io::Write;
use std::net::SocketAddr;

use captures::{Exchange, SessionKey, sha256};
use serde_json::{Value, json};

use super::{Recorder, answering, next_head, upstream};
use crate::support::{json, run};

/// What `inspect --json` says of a capture whose recorder was stopped. Every exchange is in one place.
fn inspected(recorder: Recorder) -> (Vec<Exchange>, Value) {
    let capture = recorder.capture.display().to_string();
    let (exchanges, _) = recorder.stop();
    let said = json(&run(&["inspect", &capture, "--json"]), 0);
    let count = |name: &str| said[name].as_u64().unwrap();
    let all = |name: &str| said[name].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum::<u64>();
    assert_eq!(
        count("seen"),
        count("complete") + all("partial") + count("filtered") + count("sampled_out") + all("dropped"),
        "{said}"
    );
    (exchanges, said)
}

fn targets(exchanges: &[Exchange]) -> Vec<String> {
    exchanges.iter().map(|exchange| String::from_utf8(exchange.request.target.clone()).unwrap()).collect()
}

/// Sends these requests on one connection; each is a request line and headers, separated by `|`.
fn ask_all(recorder: &Recorder, requests: impl IntoIterator<Item = String>) {
    let requests: Vec<String> = requests.into_iter().collect();
    for requests in requests.chunks(50) {
        let mut raw = String::new();
        for (at, request) in requests.iter().enumerate() {
            let mut parts = request.split('|');
            raw += &format!("{} HTTP/1.1\r\nHost: shop\r\n", parts.next().unwrap());
            parts.for_each(|header| raw += &format!("{header}\r\n"));
            raw += if at + 1 == requests.len() { "Connection: close\r\n\r\n" } else { "\r\n" };
        }
        let answers = recorder.ask(&raw);
        assert_eq!(answers.matches("HTTP/1.1 ").count(), requests.len(), "{answers}");
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// 200 visitors, known by a cookie, each asking five times, all mixed up; gives how often each was recorded.
fn sampled(share: &str) -> (Vec<usize>, Value) {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(folder.path(), answering(OK), &["--sample", share]);
    let requests = (0..5).flat_map(|at| (0..200).map(move |visitor| (visitor, at)));
    ask_all(
        &recorder,
        requests.map(|(visitor, at)| format!("GET /{visitor}/{at}|Cookie: sid=visitor{visitor}")),
    );
    let (exchanges, said) = inspected(recorder);
    let mut recorded = vec![0; 200];
    for target in targets(&exchanges) {
        recorded[target.split('/').nth(1).unwrap().parse::<usize>().unwrap()] += 1;
    }
    (recorded, said)
}

#[test]
fn a_sample_holds_whole_sessions_and_a_smaller_one_is_part_of_it() {
    let (half, said) = sampled("50%");
    let (tenth, _) = sampled("1/10");

    assert!(half.iter().chain(&tenth).all(|&count| count == 0 || count == 5), "{half:?} {tenth:?}");
    let sessions = |recorded: &[usize]| recorded.iter().filter(|&&count| count > 0).count();
    // The draw is a hash of the cookie: every run chooses the same. Four standard deviations either way.
    assert!((72..=128).contains(&sessions(&half)) && (4..=37).contains(&sessions(&tenth)));
    assert!(half.iter().zip(&tenth).all(|(half, tenth)| tenth <= half));
    let recorded = 5 * sessions(&half) as u64;
    assert_eq!((said["seen"].as_u64(), said["recorded"].as_u64()), (Some(1_000), Some(recorded)));
    assert_eq!((&said["sampled_out"], &said["sampling_ratio"]), (&json!(1_000 - recorded), &json!(0.5)));
    assert_eq!(said["sessions_by"]["cookie"], recorded);
}

#[test]
fn filters_leave_out_what_was_named_and_count_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = upstream(|mut stream| {
        while let Some(head) = next_head(&mut stream) {
            let status = if head.contains("broken") { "503 Unavailable" } else { "200 OK" };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let rules = [
        "--include",
        "/api/*",
        "--include",
        "status=5xx",
        "--exclude",
        "GET /api/health*",
        "--exclude",
        "header.user-agent=*bot *",
    ];
    let recorder = Recorder::start(folder.path(), server, &rules);

    ask_all(
        &recorder,
        [
            "GET /api/1",
            "GET /",
            "GET /broken",
            "GET /api/healthz",
            "POST /api/healthz|Content-Length: 0",
            "GET /api/2|User-Agent: a bot of mine",
            "GET /api/3?x=/y|User-Agent: robot",
        ]
        .map(str::to_owned),
    );

    let (exchanges, said) = inspected(recorder);
    assert_eq!(targets(&exchanges), ["/api/1", "/broken", "/api/healthz", "/api/3?x=/y"]);
    assert_eq!((&said["seen"], &said["filtered"]), (&json!(7), &json!(3)));
    assert_eq!(said["filters"][2], "--exclude 'GET /api/health*'");
}

#[test]
fn a_rule_that_means_nothing_is_refused_with_its_name() {
    for (flag, value, told) in [
        ("--include", "health", "health"),
        ("--exclude", "status=20", "status=404,5xx"),
        ("--session", "cookie:", "cookie:NAME"),
        ("--sample", "0%", "above 0"),
        ("--body", "image/*=some", "image/*=digest"),
        ("--response-body", "whole:1GiB", "at most 16MiB"),
        ("--session-idle", "0s", "above zero"),
    ] {
        let args = [
            "record",
            "--listen",
            "127.0.0.1:0",
            "--upstream",
            "127.0.0.1:9",
            "--out",
            "/nowhere/x",
            flag,
            value,
        ];
        let output = run(&args);
        assert_eq!(output.status.code(), Some(2), "{flag} {value}");
        let said = crate::support::stderr(&output);
        assert!(said.contains(flag) && said.contains(told), "{said}");
    }
}

/// Answers with the rest of the path as the content type, and `body`.
fn typed(body: &'static [u8], more: &'static str) -> SocketAddr {
    upstream(move |mut stream| {
        while let Some(head) = next_head(&mut stream) {
            let content_type = head.split(['/', ' ']).skip(2).take(2).collect::<Vec<_>>().join("/");
            let length = body.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n{more}\r\n"
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(body).unwrap();
        }
    })
}

#[test]
fn of_each_type_of_body_is_kept_what_the_policy_says() {
    let folder = tempfile::tempdir().unwrap();
    let rules = [
        "--mask",
        "none",
        "--body",
        "application/json=whole:10,text/*=prefix:4",
        "--response-body",
        "image/*=digest,font/*=none",
        "--body-limit",
        "7",
    ];
    let recorder = Recorder::start(folder.path(), typed(b"123456789", ""), &rules);

    let types = ["application/json", "text/css", "image/png", "font/woff", "video/mp4"];
    ask_all(&recorder, types.map(|content_type| format!("GET /{content_type}")));

    let (exchanges, said) = inspected(recorder);
    let kept: Vec<(String, bool, bool)> = exchanges
        .iter()
        .map(|exchange| {
            let body = &exchange.response.as_ref().unwrap().body;
            assert_eq!(body.length, 9);
            assert!(body.digest.is_none_or(|digest| digest == sha256(b"123456789")));
            (String::from_utf8(body.stored.clone()).unwrap(), body.digest.is_some(), body.cut)
        })
        .collect();
    let expected = [
        ("123456789", false, false),
        ("1234", true, true),
        ("", true, true),
        ("", false, true),
        ("1234567", true, true),
    ];
    assert_eq!(kept, expected.map(|(stored, digest, cut)| (stored.to_owned(), digest, cut)));
    assert_eq!(said["bodies_cut"], 4);
    assert_eq!(said["filters"][3], "--response-body font/*=none");
}

const PLAIN: &[u8] = b"<html>tide and flood, tide and flood, tide and flood, tide and flood, tide and flood, tide and flood, tide and flood, tide and flood, </html>";
/// The same by `gzip.compress(PLAIN, mtime=0)` of Python.
const GZIPPED: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xb3\xc9\x28\xc9\xcd\xb1\x2b\xc9\x4c\x49\x55\x48\xcc\x4b\x51\x48\xcb\xc9\xcf\x4f\xd1\x51\xa0\x37\xdf\x46\x1f\xec\x0c\x00\x6c\xb4\x38\x17\x8d\x00\x00\x00";

#[test]
fn bodies_are_decoded_when_asked_for_and_only_where_they_can_be() {
    let check = |bodies: &str, more: &'static str, body: &'static [u8], expected: (&[u8], bool)| {
        let folder = tempfile::tempdir().unwrap();
        let server = typed(body, more);
        let recorder = Recorder::start(folder.path(), server, &["--mask", "none", "--bodies", bodies]);
        let capture = recorder.capture.display().to_string();
        ask_all(&recorder, ["GET /text/html".to_owned()]);
        let (exchanges, _) = recorder.stop();
        let kept = &exchanges[0].response.as_ref().unwrap().body;
        assert_eq!((kept.stored.as_slice(), kept.decoded), expected, "{bodies} {more}");
        assert_eq!((kept.length, kept.cut), (body.len() as u64, false));
        let line = json(&run(&["inspect", &capture, "--exchanges", "--json"]), 0);
        assert_eq!(line["response_body_decoded"], expected.1);
        let digest: String = sha256(expected.0).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(line["response_body_sha256"], digest);
    };
    check("received", "Content-Encoding: gzip\r\n", GZIPPED, (GZIPPED, false));
    check("decoded", "Content-Encoding: gzip\r\n", GZIPPED, (PLAIN, true));
    check("decoded", "Content-Encoding: secret\r\n", GZIPPED, (GZIPPED, false));
    check("decoded", "Content-Encoding: gzip\r\n", &GZIPPED[..20], (&GZIPPED[..20], false));
    check("decoded", "", PLAIN, (PLAIN, false));
}

#[test]
fn a_login_that_rotates_the_cookie_stays_one_session() {
    let folder = tempfile::tempdir().unwrap();
    let server = upstream(|mut stream| {
        while let Some(head) = next_head(&mut stream) {
            let set = match head.split(' ').nth(1) {
                Some("/") => "Set-Cookie: shop=before; Path=/\r\n",
                Some("/login") => "Set-Cookie: shop=after; Path=/\r\n",
                _ => "",
            };
            stream
                .write_all(format!("HTTP/1.1 200 OK\r\n{set}Content-Length: 0\r\n\r\n").as_bytes())
                .unwrap();
        }
    });
    let recorder = Recorder::start(folder.path(), server, &["--session", "cookie:shop,connection"]);

    for request in [
        "GET /",
        "POST /login|Content-Length: 0|Cookie: a=b; shop=before",
        "GET /cart|Cookie: shop=after",
        "GET /cart|Cookie: shop=other",
    ] {
        ask_all(&recorder, [request.to_owned()]);
    }

    let (exchanges, said) = inspected(recorder);
    let sessions: Vec<u64> = exchanges.iter().map(|exchange| exchange.session.0).collect();
    assert_eq!(sessions, [0, 0, 0, 1]);
    assert_eq!(said["session_keys"], json!(["cookie:shop", "connection"]));
}

#[test]
fn behind_a_trusted_proxy_clients_are_told_apart_by_the_address_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--session", "ip+ua,connection", "--trusted-proxy", "127.0.0.0/8"];
    let recorder = Recorder::start(folder.path(), answering(OK), &flags);

    ask_all(
        &recorder,
        [
            "GET /|X-Forwarded-For: 192.0.2.1|User-Agent: a",
            "GET /|X-Forwarded-For: 192.0.2.2|User-Agent: a",
            "GET /|X-Forwarded-For: 192.0.2.1|User-Agent: b",
            "GET /",
            "GET /",
        ]
        .map(str::to_owned),
    );
    ask_all(&recorder, ["GET /|X-Forwarded-For: 192.0.2.1|User-Agent: a".to_owned()]);

    let (exchanges, said) = inspected(recorder);
    let sessions: Vec<u64> = exchanges.iter().map(|exchange| exchange.session.0).collect();
    assert_eq!(sessions, [0, 1, 2, 3, 4, 0]);
    assert_eq!(exchanges[0].session_key, SessionKey::AddressAgent);
    assert_eq!(said["sessions_by"]["address_agent"], 4);
}

#[test]
fn a_replay_of_a_sample_is_as_much_as_all_of_production_was() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--sample", "25%", "--exclude", "/health"];
    let recorder = Recorder::start(folder.path(), answering(OK), &flags);
    let capture = recorder.capture.display().to_string();
    ask_all(&recorder, (0..100).map(|visitor| format!("GET /{visitor}|Cookie: sid=visitor{visitor}")));
    ask_all(&recorder, (0..100).map(|_| "GET /health".to_owned()));
    let (exchanges, _) = recorder.stop();

    let replay =
        run(&["replay", &capture, "--target", "http://127.0.0.1:9", "--scale", "2x", "--dry-run", "--json"]);

    let (plan, said) = (json(&replay, 0), crate::support::stderr(&replay));
    let (recorded, span) = (exchanges.len() as f64, plan["span_seconds"].as_f64().unwrap());
    let near = |name: &str, expected: f64| {
        let found = plan[name].as_f64().unwrap();
        assert!((found / expected - 1.0).abs() < 1e-6, "{name}: {found}, not {expected}");
    };
    near("requests", recorded);
    near("copies_at_1x", 4.0);
    near("rate_per_second", 4.0 * recorded / span);
    // Of the sessions that were drawn, a quarter of those a hundred would have been recorded.
    near("held_back_ratio", 25.0 / (25.0 + recorded));
    assert!(
        said.starts_with("a sample: the capture holds 25.0000 % of the sessions, 1x takes 4.0000 copies")
    );
    assert!(said.contains("(100 filtered by the recorder)"), "{said}");
}
