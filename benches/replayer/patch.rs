//! What it costs to put the values of answers into requests: the same replay with and without.
//!
//! Every connection is a visitor who gets a session cookie and a form token, and sends the cookie with every request,
//! the token with every second one. The requests that leave are of the same size either way. CPU of the sending
//! thread counts, as the run itself tells it: the highest rate of a thread that never waits is its inverse. What
//! reading the capture and finding the bindings takes beforehand is not part of it.

use captures::{
    Body, CaptureWriter, ConnectionId, Ending, Exchange, ExchangeId, Header, Offset, Passage, Request,
    Response, SessionId, SessionKey, Tally, Version,
};

use crate::median;
use crate::sides::{CONNECTIONS, REQUESTS, timed};
use crate::sink::Sink;
use crate::support::capture_header;

/// Prints the cost of a request with and without values bound, and the ratio.
pub(crate) fn compare(rounds: usize) {
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("visitors.capture");
    write(&capture);
    let mut number = 1_000_000_u64;
    let sink = Sink::answering(move |received| {
        number += 1;
        if received.starts_with(b"GET /login") { first_answer(number) } else { ok() }
    });
    println!(
        "CPU per request in µs, of the sending thread: {CONNECTIONS} visitors back to back; a cookie in every request, a token in every second one"
    );
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let cost = |name: &str, flag: &str| {
            let run = folder.path().join(format!("{name}{round}.run"));
            let (told, _) = timed(&format!(
                "{} replay {} --target http://{} --threads 1 --json --allow-unsafe --breaker off {flag} --out {}",
                env!("CARGO_BIN_EXE_highwater"),
                capture.display(),
                sink.address,
                run.display()
            ));
            let told: serde_json::Value = serde_json::from_str(&told).unwrap();
            assert_eq!(told["ok"], REQUESTS);
            let bound = told["bindings"]["bound"].as_u64().unwrap_or_default();
            assert_eq!(bound > REQUESTS, flag.is_empty(), "{}", told["bindings"]);
            told["generator_cpu_seconds"].as_f64().unwrap() * 1e6 / REQUESTS as f64
        };
        let plain = cost("plain", "--no-correlate");
        let bound = cost("bound", "");
        println!("round {round}: {bound:.2} with values bound, {plain:.2} without");
        ratios.push(bound / plain);
    }
    println!("with ÷ without: median {:.3} (goal ≤ 1.1)", median(&mut ratios));
}

fn ok() -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()
}

/// Cookie and token of the visitor of this number.
fn values(number: u64) -> (String, String) {
    let bits = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (
        format!("{bits:016x}q{:07}", number % 10_000_000),
        format!("{:016x}z{:07}", bits.rotate_left(31), number % 10_000_000),
    )
}

fn page(number: u64) -> String {
    format!("<form><input type=hidden name=token value={}></form>", values(number).1)
}

fn first_answer(number: u64) -> Vec<u8> {
    let (cookie, page) = (values(number).0, page(number));
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nSet-Cookie: sid={cookie}; Path=/\r\nContent-Length: {}\r\n\r\n{page}",
        page.len()
    )
    .into_bytes()
}

/// Everything is due in the first milliseconds: each connection then sends as soon as it is answered.
fn write(path: &std::path::Path) {
    let mut writer =
        CaptureWriter::create(std::fs::File::create(path).unwrap(), &capture_header("192.0.2.1:80")).unwrap();
    for at in 0..REQUESTS {
        writer.push(&exchange(at)).unwrap();
    }
    writer.finish(&Tally { seen: REQUESTS, recorded: REQUESTS, ..Tally::default() }).unwrap();
}

fn exchange(at: u64) -> Exchange {
    let (visitor, step) = (at % CONNECTIONS, at / CONNECTIONS);
    let (cookie, token) = values(visitor);
    let header = |name: &str, value: String| Header { name: name.into(), value: value.into_bytes() };
    let whole = |text: String| Body { length: text.len() as u64, stored: text.into(), ..Body::default() };
    let (mut headers, mut body, mut answer) =
        (vec![header("Host", "shop.test".to_owned())], String::new(), "ok".to_owned());
    let mut answered = vec![header("Content-Type", "text/plain".to_owned())];
    if step == 0 {
        answered = vec![
            header("Content-Type", "text/html".to_owned()),
            header("Set-Cookie", format!("sid={cookie}; Path=/")),
        ];
        answer = page(visitor);
    } else {
        headers.push(header("Cookie", format!("sid={cookie}")));
        if step % 2 == 1 {
            headers.push(header("Content-Type", "application/x-www-form-urlencoded".to_owned()));
            body = format!("token={token}&quantity=1");
        }
    }
    let is_post = !body.is_empty();
    let moment = Offset::from_nanos(at);
    Exchange {
        id: ExchangeId(at),
        connection: ConnectionId(visitor),
        session: SessionId(visitor),
        session_key: SessionKey::Connection,
        arrived: moment,
        request_done: Some(moment),
        response_began: Some(moment),
        ended: moment,
        attempts: 1,
        request: Request {
            method: if is_post { b"POST".to_vec() } else { b"GET".to_vec() },
            target: if step == 0 { b"/login".to_vec() } else { b"/cart".to_vec() },
            version: Version::Http11,
            headers,
            body: whole(body),
            trailers: Vec::new(),
        },
        response: Some(Response {
            status: 200,
            version: Version::Http11,
            headers: answered,
            body: whole(answer),
            trailers: Vec::new(),
        }),
        ending: Ending::Completed,
        passage: Passage::default(),
    }
}
