//! A capture that is larger than memory should ever have to be: how much the replayer takes for it.
//!
//! The capture is made here, by the writer that records, and read by the reader that reads every capture: 10 GB of
//! requests and answers before compression. Its texts repeat themselves more than those of production, so that
//! the file takes less than a gigabyte of disk instead of several; what is read, decompressed and planned is 10 GB
//! all the same.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::time::Duration;

use captures::{
    Body, CaptureWriter, ConnectionId, Ending, Exchange, ExchangeId, Header, Offset, Passage, Request,
    Response, SessionId, SessionKey, Tally, Version,
};

use crate::memory::{begin, watched};
use crate::sink::Sink;
use crate::support::{capture_header, now};

/// The length of the recording.
const SPAN: Duration = Duration::from_secs(6 * 3_600);
/// Requests of a session, on one connection.
const SESSION: u64 = 10;

/// Prints it for `gigabytes` of content, in answers of about `body` bytes.
pub(crate) fn measure(gigabytes: u64, body: usize) {
    println!("\na capture of {gigabytes} GB of content, with answers of about {body} B");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.capture");
    let began = now();
    let (exchanges, content) = write(&path, gigabytes * 1_000_000_000, body);
    println!(
        "written in {:.0} s: {exchanges} exchanges, {:.2} GB of content, {:.0} MB of file",
        began.elapsed().as_secs_f64(),
        content as f64 / 1e9,
        path.metadata().unwrap().len() as f64 / 1e6
    );
    let sink = Sink::start();
    // The search for values that requests carry from answers reads the capture once more, and remembers.
    for (what, more) in [("as it was recorded", &["--no-correlate"][..]), ("with values bound", &[])] {
        let began = now();
        let run = folder.path().join(format!("{}.run", more.len()));
        let args = [&["--duration", "20s", "--allow-unsafe"], more].concat();
        let (summary, most) = watched(begin(&path, sink.address, &run, &args));
        println!(
            "{what}: read, planned and replayed for 20 s in {:.0} s: {:.1} MB resident at most, {:.1} MB its own ({:.0} B for each exchange); {} sent, {} ok",
            began.elapsed().as_secs_f64(),
            most.peak,
            most.own_peak,
            most.own_peak * 1e6 / exchanges as f64,
            summary["sent"],
            summary["ok"]
        );
    }
    println!("goal: 256 MB resident");
}

/// Writes `content` bytes; how many exchanges they made, and how many bytes it came to.
fn write(path: &Path, content: u64, body: usize) -> (u64, u64) {
    let header = capture_header("192.0.2.1:80");
    let mut writer = CaptureWriter::create(BufWriter::new(File::create(path).unwrap()), &header).unwrap();
    let first = exchange(0, 1, body);
    let exchanges = content / size(&first);
    let mut written = 0;
    for id in 0..exchanges {
        let exchange = exchange(id, exchanges, body);
        written += size(&exchange);
        writer.push(&exchange).unwrap();
    }
    writer.finish(&Tally { seen: exchanges, recorded: exchanges, ..Tally::default() }).unwrap();
    (exchanges, written)
}

/// What a request and its answer hold, without what the format adds.
fn size(exchange: &Exchange) -> u64 {
    let of = |headers: &[Header], body: &Body| {
        headers.iter().map(|header| header.name.len() + header.value.len()).sum::<usize>() + body.stored.len()
    };
    let request = of(&exchange.request.headers, &exchange.request.body) + exchange.request.target.len();
    let response = exchange.response.as_ref().map_or(0, |response| of(&response.headers, &response.body));
    (request + response) as u64
}

/// A session looks at ten products and puts each second one into its basket.
fn exchange(id: u64, of: u64, body: usize) -> Exchange {
    // A hundred sessions go on at a time, each with its own connection.
    let session = id / (100 * SESSION) * 100 + id % 100;
    let nanos = u64::try_from(SPAN.as_nanos()).unwrap() / of.max(1) * id;
    let arrived = Offset::from_nanos(nanos);
    let field = |name: &str, value: String| Header { name: name.into(), value: value.into_bytes() };
    let is_order = id % 2 == 1;
    let text = |text: Vec<u8>| Body {
        length: text.len() as u64,
        stored: text,
        digest: None,
        decoded: false,
        cut: false,
    };
    let product = id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 44;
    let order = format!("{{\"product\":{product},\"count\":{},\"note\":\"as a gift, please\"}}", id % 7);
    Exchange {
        id: ExchangeId(id),
        connection: ConnectionId(session),
        session: SessionId(session),
        session_key: SessionKey::Connection,
        arrived,
        request_done: Some(arrived),
        response_began: Some(arrived),
        ended: arrived.plus(Duration::from_millis(2)),
        attempts: 1,
        request: Request {
            method: if is_order { b"POST".to_vec() } else { b"GET".to_vec() },
            target: format!("/api/products/{product}?page={}", id % 13).into_bytes(),
            version: Version::Http11,
            headers: vec![
                field("Host", "recorded.test".to_owned()),
                field(
                    "User-Agent",
                    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0".to_owned(),
                ),
                field("Accept", "application/json, text/plain, */*".to_owned()),
                field("Accept-Language", "en-GB,en;q=0.5".to_owned()),
                field("Cookie", format!("session={:032x}; theme=dark", u128::from(session) << 64 | 0x5EED)),
            ],
            body: if is_order { text(order.into_bytes()) } else { Body::default() },
            trailers: Vec::new(),
        },
        response: Some(Response {
            status: 200,
            version: Version::Http11,
            headers: vec![
                field("Content-Type", "application/json".to_owned()),
                field("Cache-Control", "no-store".to_owned()),
                field("ETag", format!("\"{:016x}\"", product << 20 | id)),
            ],
            body: text(answer(id, product, body)),
            trailers: Vec::new(),
        }),
        ending: Ending::Completed,
        passage: Passage::default(),
    }
}

fn answer(id: u64, product: u64, length: usize) -> Vec<u8> {
    let mut text = format!("{{\"id\":{product},\"version\":{id},\"items\":[").into_bytes();
    let mut number = 0;
    while text.len() + 70 < length {
        let item =
            format!("{{\"sku\":\"A-{:06}\",\"price\":{}.99,\"stock\":true}},", product + number, number % 90);
        text.extend_from_slice(item.as_bytes());
        number += 1;
    }
    text.extend_from_slice(b"null]}");
    text
}
