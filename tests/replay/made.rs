//! Values that no answer gives: tokens that are signed anew, moments that move along.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::UNIX_EPOCH;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use captures::{Exchange, Header};

use super::*;
use serde_json::Value;

use crate::support::write_capture_changed;

/// When the capture began, in seconds.
const RECORDED: u64 = 1_790_000_000;

/// What openssl says that the signature of `text` by `key` is (HS256).
fn signature(text: &str, key: &str) -> String {
    let mut openssl = Command::new("openssl")
        .args(["dgst", "-sha256", "-binary", "-hmac", key])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    openssl.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    URL_SAFE_NO_PAD.encode(openssl.wait_with_output().unwrap().stdout)
}

fn token(claims: &str, key: &str) -> String {
    let text = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = signature(&text, key);
    format!("{text}.{signature}")
}

/// A server that gives the lines of each head it was asked with.
fn server() -> (u16, mpsc::Receiver<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, asked) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let lines =
                BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
            let head: Vec<String> = lines.collect();
            if !head.is_empty() {
                let _ =
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                let _ = sender.send(head);
            }
        }
    });
    (port, asked)
}

#[test]
fn a_token_is_signed_anew_and_moments_keep_their_distance() {
    if !has("openssl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let claims = format!(r#"{{"sub":"u17","iat":{RECORDED},"exp":{}}}"#, RECORDED + 3_600);
    let recorded = token(&claims, "the key of production");
    let capture = folder.path().join("c.capture");
    let request = Recorded {
        arrived: Duration::ZERO,
        connection: 1,
        method: "GET",
        // Two hours after the beginning of the recording.
        target: format!("/slots?from={}", RECORDED + 7_200),
        body: Vec::new(),
    };
    write_capture_changed(&capture, &[request], "192.0.2.1:80", |exchange: &mut Exchange| {
        let value = format!("Bearer {recorded}").into_bytes();
        exchange.request.headers.push(Header { name: b"Authorization".to_vec(), value });
    });
    let rules = file(
        "rules.toml",
        "[[set]]\nput = \"header authorization\"\nvalue = \"Bearer {{jwt:keys.csv:secret}}\"\n\n\
         [[set]]\nrequest = \"GET /slots\"\nput = \"query from\"\nvalue = \"{{shifted}}\"\n",
    );
    let keys = file("keys.csv", "secret\nthe key of staging\n");
    let out = folder.path().join("r.run");
    let (port, asked) = server();
    let target = format!("http://127.0.0.1:{port}");
    let args = ["replay", capture.to_str().unwrap(), "--target", &target, "--rules", &rules, "--data", &keys];
    let shown = replayed(&run(&[&args[..], &["--json", "--quiet", "--out", out.to_str().unwrap()]].concat()));
    assert_eq!(shown["ok"], 1, "{shown:#}");
    let head = asked.recv().unwrap();
    let sent = head.iter().find_map(|line| line.strip_prefix("Authorization: Bearer ")).unwrap();
    let (text, signed) = sent.rsplit_once('.').unwrap();
    assert_eq!(signed, signature(text, "the key of staging"));
    let claims = URL_SAFE_NO_PAD.decode(text.split_once('.').unwrap().1).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["sub"], "u17");
    let moment = |claim: &str| claims[claim].as_u64().unwrap();
    assert_eq!(moment("exp") - moment("iat"), 3_600);
    // The replay began before its run was written to the end, and no more than a minute before.
    let ended =
        std::fs::metadata(&out).unwrap().modified().unwrap().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!((ended - 60..=ended).contains(&moment("iat")), "{claims} at {ended}");
    let from: u64 =
        head[0].split_once("from=").and_then(|(_, rest)| rest.split(' ').next()).unwrap().parse().unwrap();
    assert_eq!(from, moment("iat") + 7_200);
}
