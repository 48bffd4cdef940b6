//! What is written is read again, by our own readers and as the formats say.

use super::*;
use crate::capture::Masking;
use crate::exchange::{Response, Version, tests_support};
use crate::foreign::{read_gor, read_har};

fn header() -> CaptureHeader {
    CaptureHeader {
        tool: "highwater 1".to_owned(),
        started: 1_600_000_000_000_000_000,
        listen: Vec::new(),
        upstream: Vec::new(),
        servers: vec!["192.0.2.9:80".to_owned()],
        recording: [0; 16],
        segment: 0,
        session_keys: Vec::new(),
        filters: Vec::new(),
        masking: Masking::None,
        sampling_ratio: 1.0,
        body_limit: 100,
    }
}

fn asked(millis: u64, body: &[u8], answer: &[u8]) -> Exchange {
    let mut exchange = tests_support::exchange(millis);
    let field = |name: &str, value: &str| Header { name: name.into(), value: value.into() };
    exchange.request.method = b"POST".to_vec();
    exchange.request.target = b"/a?b='c'".to_vec();
    exchange.request.headers = vec![field("Host", "shop.test"), field("X-A", "1"), field("x-a", "2")];
    exchange.request.body = Body { length: body.len() as u64, stored: body.to_vec(), ..Body::default() };
    exchange.ended = exchange.arrived.plus(std::time::Duration::from_millis(250));
    exchange.response_began = Some(exchange.arrived.plus(std::time::Duration::from_millis(200)));
    exchange.response = Some(Response {
        status: 201,
        version: Version::Http11,
        headers: vec![
            field("Content-Type", "text/plain"),
            field("Set-Cookie", "a=b"),
            field("Set-Cookie", "c=d"),
        ],
        body: Body { length: answer.len() as u64, stored: answer.to_vec(), ..Body::default() },
        trailers: Vec::new(),
    });
    exchange
}

fn written(format: ExportFormat, exchanges: &[Exchange]) -> (Vec<u8>, BTreeMap<&'static str, u64>) {
    let mut bytes = Vec::new();
    let mut export = Export::begin(&mut bytes, format, &header()).unwrap();
    for exchange in exchanges {
        export.push(exchange).unwrap();
    }
    let (_, lost) = export.finish().unwrap();
    (bytes, lost)
}

#[test]
fn a_round_trip_through_har_and_gor_keeps_what_they_can_hold() {
    let binary: Vec<u8> = (0..=255).collect();
    let sent = [asked(1_500, b"hello", &binary), asked(2_000, &binary, b"ok")];
    for format in [ExportFormat::Har, ExportFormat::Gor] {
        let (bytes, lost) = written(format, &sent);
        assert!(lost.is_empty(), "{lost:?}");
        let mut found = Vec::new();
        let account = match format {
            ExportFormat::Har => read_har(&bytes[..], |entry| found.push(entry.exchange)).unwrap(),
            _ => read_gor(&bytes[..], |entry| found.push(entry.exchange)).unwrap(),
        };
        assert!(account.skipped.is_empty() && found.len() == 2, "{account:?}");
        for (was, is) in sent.iter().zip(&found) {
            assert_eq!(is.request.body, was.request.body);
            assert_eq!(is.request.target, was.request.target);
            let fields = |headers: &[Header]| -> Vec<Header> { plain_fields(headers).cloned().collect() };
            assert_eq!(fields(&is.request.headers), fields(&was.request.headers));
            let (was_answer, is_answer) = (was.response.as_ref().unwrap(), is.response.as_ref().unwrap());
            assert_eq!((is_answer.status, &is_answer.body), (was_answer.status, &was_answer.body));
            assert_eq!(fields(&is_answer.headers), fields(&was_answer.headers));
            assert_eq!(
                u128::from(is.arrived.as_nanos()),
                (header().started as u128) + u128::from(was.arrived.as_nanos())
            );
            assert_eq!(is.ended.since(is.arrived), was.ended.since(was.arrived));
            assert_eq!(is.response_began.unwrap().since(is.arrived).as_millis(), 200);
        }
    }
}

#[test]
fn what_a_format_cannot_hold_is_counted() {
    let mut cut = asked(0, b"hello", b"ok");
    cut.request.body.cut = true;
    cut.attempts = 2;
    let mut separator = asked(0, b"x", b"ok");
    separator.request.body.stored = "a\n🐵🙈🙉\nb".into();
    let (_, lost) = written(ExportFormat::Gor, &[cut.clone(), separator]);
    let expected =
        [("bodies_that_are_cut", 1), ("exchanges_with_the_separator_in_a_body", 1), ("retries", 1)];
    assert_eq!(lost, BTreeMap::from(expected));
    let (_, lost) = written(ExportFormat::K6, &[cut]);
    assert_eq!(lost, BTreeMap::from([("requests_whose_body_is_cut", 1)]));
}

#[test]
fn a_table_quotes_what_must_be_quoted_and_curl_everything() {
    let mut exchange = asked(1_500, b"", b"ok");
    exchange.request.target = b"/a,\"b\"'c'".to_vec();
    let (bytes, _) = written(ExportFormat::Csv, &[exchange.clone()]);
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains("1600000001.500000000,POST,shop.test,\"/a,\"\"b\"\"'c'\","), "{text}");
    let (bytes, _) = written(ExportFormat::Curl, &[exchange]);
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains("\no='http://shop.test'; curl -sS "), "{text}");
    assert!(text.ends_with(" \"${BASE_URL:-$o}\"'/a,\"b\"'\\''c'\\'''\n"), "{text}");
}

#[test]
fn moments_are_written_as_iso_8601_has_them() {
    assert_eq!(iso(951_782_399_123_456_789), "2000-02-28T23:59:59.123456Z");
    assert_eq!(iso(951_782_400_000_000_000), "2000-02-29T00:00:00.000000Z");
}

#[test]
fn parquet_ends_with_what_it_holds() {
    let mut unanswered = asked(2_000, b"", b"");
    unanswered.response = None;
    let (file, lost) = written(ExportFormat::Parquet, &[asked(1_500, b"hello", b"ok"), unanswered]);

    // The format: its magic at both ends; before the last the length of the description, which begins with the
    // version (field 1, an integer: 1) and the schema (field 2, a list of 17 structs).
    let (body, end) = file.split_at(file.len() - 8);
    assert!(lost.is_empty() && file.starts_with(b"PAR1") && end.ends_with(b"PAR1"));
    let length = usize::try_from(u32::from_le_bytes(end[..4].try_into().unwrap())).unwrap();
    let description = &body[body.len() - length..];
    assert_eq!(description[..5], [0x15, 2, 0x19, 0xFC, 17]);
    // The first page's head: a page of data (field 1: 0), sizes, two values in plain and runs.
    assert_eq!(file[4..7], [0x15, 0, 0x15]);
    let page = file.windows(9).position(|part| part == [0x2C, 0x15, 4, 0x15, 0, 0x15, 6, 0x15, 6]);
    assert!(page.is_some_and(|page| page < 20), "{page:?}");
}

#[test]
fn a_server_that_is_known_by_name_alone_has_no_address_in_har() {
    for (server, expected) in [
        ("192.0.2.9:80", Some("192.0.2.9")),
        ("[2001:db8::1]:443", Some("2001:db8::1")),
        ("2001:db8::1", Some("2001:db8::1")),
        ("shop.test:443", None),
    ] {
        let mut exchange = asked(0, b"", b"ok");
        exchange.passage.server = Some(0);
        let header = CaptureHeader { servers: vec![server.to_owned()], ..header() };
        let mut bytes = Vec::new();
        let mut export = Export::begin(&mut bytes, ExportFormat::Har, &header).unwrap();
        export.push(&exchange).unwrap();
        export.finish().unwrap();
        let har: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(har["log"]["entries"][0]["serverIPAddress"].as_str(), expected, "{server}");
    }
}
