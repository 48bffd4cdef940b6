//! What a recorded request becomes.

use captures::{
    Body, ConnectionId, Ending, Offset, Passage, Request, Response, SessionId, SessionKey, Version,
};

use super::*;

/// An exchange `GET /{id}` that arrived at `arrived_ms` on `connection`, in the session of that number.
pub(crate) fn exchange(id: u64, arrived_ms: u64, connection: u64) -> Exchange {
    Exchange {
        id: ExchangeId(id),
        connection: ConnectionId(connection),
        session: SessionId(connection),
        session_key: SessionKey::Connection,
        arrived: Offset::from_millis(arrived_ms),
        request_done: None,
        response_began: None,
        ended: Offset::from_millis(arrived_ms + 5),
        attempts: 1,
        request: Request {
            method: b"GET".to_vec(),
            target: format!("/{id}").into_bytes(),
            version: Version::Http11,
            headers: vec![header("Host", "shop.test")],
            body: Body::default(),
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

pub(crate) fn plan_of(exchanges: impl IntoIterator<Item = Exchange>) -> Plan {
    sample_of(exchanges, Share::ALL)
}

/// The plan of a capture that holds this share of production.
pub(crate) fn sample_of(exchanges: impl IntoIterator<Item = Exchange>, share: Share) -> Plan {
    let mut planner = Planner::new(rewriting());
    exchanges.into_iter().for_each(|exchange| planner.add(&exchange));
    planner.finish(share).unwrap()
}

fn header(name: &str, value: &str) -> Header {
    Header { name: name.as_bytes().to_vec(), value: value.as_bytes().to_vec() }
}

fn rewriting() -> Rewriting {
    Rewriting { authority: "staging:81".to_owned(), base_path: String::new(), allow_unsafe: true }
}

fn check(change: impl FnOnce(&mut Exchange), expected: Result<&str, HeldBack>) {
    let mut recorded = exchange(1, 0, 1);
    change(&mut recorded);
    let text = request_text(&recorded, &rewriting()).map(|text| String::from_utf8(text).unwrap());
    assert_eq!(text, expected.map(str::to_owned));
}

#[test]
fn host_becomes_the_targets_and_hop_by_hop_fields_go() {
    check(
        |recorded| {
            recorded.request.headers = vec![
                header("hOsT", "shop.test"),
                header("Connection", "keep-alive"),
                header("X-Forwarded-For", "10.0.0.1"),
                header("aCCept", "*/*"),
                header("Referer", "https://shop.test/cart"),
                header("Referer", "https://shop.test.evil/cart"),
                header("Transfer-Encoding", "chunked"),
            ];
            recorded.request.method = b"POST".to_vec();
            recorded.request.body =
                Body { length: 3, stored: b"a=1".to_vec(), digest: None, decoded: false, cut: false };
        },
        Ok("POST /1 HTTP/1.1\r\nHost: staging:81\r\naCCept: */*\r\nReferer: http://staging:81/cart\r\n\
            Referer: https://shop.test.evil/cart\r\nContent-Length: 3\r\nHighwater-Replay: 1\r\n\r\na=1"),
    );
}

#[test]
fn an_absolute_target_cannot_lead_elsewhere() {
    let sent = Ok("GET /x?y HTTP/1.1\r\nHost: staging:81\r\nHighwater-Replay: 1\r\n\r\n");
    check(|recorded| recorded.request.target = b"http://evil.test/x?y".to_vec(), sent);
    check(|recorded| recorded.request.target = b"evil.test/x".to_vec(), Err(HeldBack::Invalid));
}

#[test]
fn what_cannot_be_sent_as_it_was_is_held_back() {
    check(|recorded| recorded.request.target = b"/a b".to_vec(), Err(HeldBack::Invalid));
    check(|recorded| recorded.request.target = b"/a\r\nX: y".to_vec(), Err(HeldBack::Invalid));
    check(|recorded| recorded.request.method = b"GE T".to_vec(), Err(HeldBack::Invalid));
    check(|recorded| recorded.request.method = b"CONNECT".to_vec(), Err(HeldBack::Upgrade));
    check(|recorded| recorded.request.headers.push(header("Upgrade", "websocket")), Err(HeldBack::Upgrade));
    check(|recorded| recorded.request.headers.push(header("X", "a\nb")), Err(HeldBack::Invalid));
    check(|recorded| recorded.request.body.cut = true, Err(HeldBack::BodyCut));
}

#[test]
fn unsafe_methods_are_held_back_until_they_are_allowed() {
    let mut planner = Planner::new(Rewriting { allow_unsafe: false, ..rewriting() });
    for (id, method) in
        ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE", "get"].iter().enumerate()
    {
        let mut recorded = exchange(id as u64, id as u64, 1);
        recorded.request.method = method.as_bytes().to_vec();
        planner.add(&recorded);
    }
    let plan = planner.finish(Share::ALL).unwrap();
    assert_eq!(plan.len(), 3);
    assert_eq!(plan.held_back(), [(HeldBack::UnsafeMethod, 6)]);
    assert!((plan.held_back_ratio() - 6.0 / 9.0).abs() < 1e-12);
}

#[test]
fn equal_requests_share_their_text_and_the_span_gives_the_recorded_rate() {
    let plan = plan_of((0..100).map(|id| {
        let mut recorded = exchange(id, 1_000 + id * 10, id % 4);
        recorded.request.target = b"/same".to_vec();
        recorded
    }));
    assert_eq!(plan.text.len(), plan.text(&plan.requests[0]).len());
    assert_eq!(plan.span(), Duration::from_secs(1));
    assert_eq!(plan.rate().as_per_second(), 100.0);
    assert_eq!(plan.requests.iter().filter(|request| request.is_last).count(), 4);
    assert_eq!(plan.requests[0].arrived, 0);
}

#[test]
fn a_capture_with_nothing_to_send_is_refused() {
    assert_eq!(Planner::new(rewriting()).finish(Share::ALL).unwrap_err(), PlanError::Empty);
}

#[test]
fn of_a_sample_the_rate_is_productions_and_so_is_the_share_that_is_held_back() {
    let recorded = || (0..10).map(|id| exchange(id, 100 * id, id));
    let whole = plan_of(recorded());
    let twentieth = sample_of(recorded(), Share { sampling_ratio: 0.05, filtered: 200 });

    // 10 requests in 1 s; 20 times that in production, where as many were filtered as are replayed.
    assert!((whole.rate().as_per_second() - 10.0).abs() < 1e-9);
    assert!((twentieth.rate().as_per_second() - 200.0).abs() < 1e-9);
    assert_eq!((whole.held_back_ratio(), twentieth.held_back_ratio()), (0.0, 0.5));
}

#[test]
fn a_body_without_its_content_coding_is_sent_without_the_field_that_names_it() {
    check(
        |recorded| {
            recorded.request.headers.push(header("Content-Encoding", "gzip"));
            recorded.request.body =
                Body { length: 9, stored: b"a=1".to_vec(), decoded: true, ..Body::default() };
        },
        Ok("GET /1 HTTP/1.1\r\nHost: staging:81\r\nContent-Length: 3\r\nHighwater-Replay: 1\r\n\r\na=1"),
    );
}
