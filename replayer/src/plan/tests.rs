//! What a recorded request becomes.

use captures::{
    Body, ConnectionId, Ending, Header, Offset, Passage, Request, Response, SessionId, SessionKey, Version,
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

/// The plan of what a selection takes.
pub(crate) fn selected(exchanges: impl IntoIterator<Item = Exchange>, selection: Selection) -> Plan {
    let mut planner = Planner::new(rewriting(), selection);
    exchanges.into_iter().for_each(|exchange| planner.add(&exchange));
    planner.finish(Share::ALL).unwrap()
}

/// The plan of a capture that holds this share of production.
pub(crate) fn sample_of(exchanges: impl IntoIterator<Item = Exchange>, share: Share) -> Plan {
    let mut planner = Planner::new(rewriting(), Selection::ALL);
    exchanges.into_iter().for_each(|exchange| planner.add(&exchange));
    planner.finish(share).unwrap()
}

fn header(name: &str, value: &str) -> Header {
    Header { name: name.as_bytes().to_vec(), value: value.as_bytes().to_vec() }
}

fn rewriting() -> Rewriting {
    Rewriting {
        authority: "staging:81".to_owned(),
        base_path: String::new(),
        secure: false,
        http2: false,
        allow_unsafe: true,
        rewrites: Rewrites::default(),
    }
}

fn check(change: impl FnOnce(&mut Exchange), expected: Result<&str, HeldBack>) {
    let mut recorded = exchange(1, 0, 1);
    change(&mut recorded);
    let mut text = Vec::new();
    let text = request_text(&recorded, &rewriting(), 0, &mut text)
        .map(|text| String::from_utf8(text.to_vec()).unwrap());
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
    check(|recorded| recorded.request.headers.push(header("Upgrade", "h2c")), Err(HeldBack::Upgrade));
    check(|recorded| recorded.request.headers.push(header("Upgrade", "websocket")), Err(HeldBack::Upgrade));
    check(|recorded| recorded.request.headers.push(header("X", "a\nb")), Err(HeldBack::Invalid));
    check(|recorded| recorded.request.body.cut = true, Err(HeldBack::BodyCut));
}

#[test]
fn the_handshake_of_a_websocket_is_sent_as_one() {
    check(
        |recorded| {
            recorded.request.headers = vec![
                header("Host", "shop.test"),
                header("Connection", "keep-alive, Upgrade"),
                header("Upgrade", "WebSocket"),
                header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
                header("Sec-WebSocket-Version", "13"),
            ];
        },
        Ok("GET /1 HTTP/1.1\r\nHost: staging:81\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            Sec-WebSocket-Version: 13\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Highwater-Replay: 1\r\n\r\n"),
    );
}

#[test]
fn unsafe_methods_are_held_back_until_they_are_allowed() {
    let mut planner = Planner::new(Rewriting { allow_unsafe: false, ..rewriting() }, Selection::ALL);
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
    assert_eq!(plan.text.len(), plan.text(&plan.requests[0]).unwrap().len() as u64);
    assert_eq!(plan.span(), Duration::from_secs(1));
    assert_eq!(plan.rate().as_per_second(), 100.0);
    assert_eq!(plan.requests.iter().filter(|request| request.is_last).count(), 4);
    assert_eq!(plan.requests[0].arrived, 0);
}

#[test]
fn a_capture_with_nothing_to_send_is_refused() {
    assert_eq!(Planner::new(rewriting(), Selection::ALL).finish(Share::ALL).unwrap_err(), PlanError::Empty);
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

#[test]
fn a_stretch_of_the_recording_is_replayed_with_its_own_span_and_rate() {
    // 10 a second for 10 s, 100 a second in the fifth.
    let recorded = || {
        (0..190).map(|id| {
            if id < 90 { id * 100 + if id >= 50 { 1_000 } else { 0 } } else { 5_000 + (id - 90) * 10 }
        })
    };
    let exchanges = || recorded().enumerate().map(|(id, at)| exchange(id as u64, at, id as u64 % 30));
    let busiest =
        selected(exchanges(), Selection { busiest: Some(Duration::from_secs(1)), ..Selection::ALL });
    assert_eq!((busiest.len(), busiest.span()), (100, Duration::from_secs(1)));
    assert_eq!(busiest.rate().as_per_second(), 100.0);

    let from = Some(Offset::from_secs(1));
    let window = Selection { from, to: Some(Offset::from_secs(4)), ..Selection::ALL };
    let plan = selected(exchanges(), window.clone());
    assert_eq!((plan.len(), plan.span(), plan.requests[0].arrived), (30, Duration::from_secs(3), 0));

    // Twice as fast: the same requests in half of the time.
    let fast = selected(exchanges(), Selection { speed: 2.0, ..window });
    assert_eq!((fast.len(), fast.span()), (30, Duration::from_millis(1_500)));
    assert_eq!(fast.requests[2].arrived, plan.requests[2].arrived / 2);
    assert_eq!(fast.rate().as_per_second(), 20.0);
}

#[test]
fn a_window_ends_where_the_recording_ends() {
    // 10 a second for 10 s, the last one at 9.9 s.
    let of = |selection| {
        let mut planner = Planner::new(rewriting(), selection);
        (0..100).for_each(|id| planner.add(&exchange(id, 500 + id * 100, id)));
        planner.finish(Share::ALL)
    };
    let secs = |seconds| Some(Offset::from_secs(seconds));
    let busiest = |seconds| Selection { busiest: Some(Duration::from_secs(seconds)), ..Selection::ALL };
    let between = |from, to| Selection { from, to, ..Selection::ALL };
    for (selection, requests, seconds, is_cut) in [
        (busiest(300), 100, 10.0, true),
        (busiest(10), 100, 10.0, false),
        (busiest(4), 40, 4.0, false),
        (between(None, secs(600)), 100, 10.0, true),
        (between(secs(0), secs(9)), 85, 8.5, false),
        (between(secs(9), secs(600)), 15, 1.5, true),
        (between(secs(9), None), 15, 1.5, false),
    ] {
        let shown = format!("{selection:?}");
        let plan = of(selection).unwrap();
        assert_eq!((plan.len(), plan.span().as_secs_f64()), (requests, seconds), "{shown}");
        assert_eq!(plan.window_is_cut(), is_cut, "{shown}");
        assert!((plan.rate().as_per_second() - 10.0).abs() < 1e-9, "{shown}");
        assert_eq!(plan.recorded_span(), Duration::from_secs(10));
    }
    let outside = of(between(secs(100), None)).unwrap_err();
    let ends = [500, 10_400].map(Duration::from_millis);
    assert_eq!(outside, PlanError::Outside { first: ends[0], last: ends[1] });
    assert!(outside.is_selection());
    let nowhere = of(Selection { include: vec![captures::RoutePattern::new("/nope")], ..Selection::ALL });
    assert!(nowhere.as_ref().unwrap_err().is_selection());
    assert!(nowhere.unwrap_err().mend().contains("GET /{}"));
}

#[test]
fn routes_that_are_left_out_are_counted_as_held_back() {
    let exchanges = (0..10).map(|id| {
        let mut exchange = exchange(id, id * 100, id);
        exchange.request.target = if id < 4 { b"/health".to_vec() } else { b"/a".to_vec() };
        exchange
    });
    let exclude = vec![captures::RoutePattern::new("/health")];
    let plan = selected(exchanges, Selection { exclude, ..Selection::ALL });
    assert_eq!((plan.len(), plan.held_back()), (6, &[(HeldBack::Route, 4)][..]));
    assert!((plan.held_back_ratio() - 0.4).abs() < 1e-9);
}

#[test]
fn users_are_the_mean_number_of_sessions_at_a_time() {
    // Ten sessions, one after another, each of 4 requests 1 s apart: with the gap behind the last, each lasts
    // 4 s, and one goes on at a time.
    let exchanges = (0..40).map(|id| exchange(id, id * 1_000, id / 4));
    let plan = plan_of(exchanges);
    assert!((plan.users().unwrap() - 1.0).abs() < 0.01, "{:?}", plan.users());
    assert_eq!(plan_of((0..5).map(|id| exchange(id, id * 10, id))).users(), None);
}

#[test]
fn the_pause_before_a_request_is_measured_from_its_predecessors_end() {
    // Each exchange takes 5 ms.
    let plan = plan_of([exchange(0, 0, 1), exchange(1, 105, 1), exchange(2, 200, 2), exchange(3, 107, 1)]);
    let thinks: Vec<u32> = plan.requests.iter().map(|request| request.think).collect();
    assert_eq!(thinks, [0, 100_000, 0, 0]);
}

#[test]
fn a_plan_that_is_too_large_for_memory_is_the_same_plan() {
    let exchanges = || {
        (0..300_u64).map(|id| {
            let mut exchange = exchange(id, id * 10, id % 9);
            exchange.request.method = b"POST".to_vec();
            exchange.request.body.stored = vec![u8::try_from(id % 251).unwrap(); 5_000];
            exchange.request.body.length = 5_000;
            exchange
        })
    };
    let small = plan_of(exchanges());
    let mut planner = Planner::new(rewriting(), Selection::ALL);
    planner.text = Arena::new(200_000);
    exchanges().for_each(|exchange| planner.add(&exchange));
    let large = planner.finish(Share::ALL).unwrap();
    assert!(large.is_on_disk() && !small.is_on_disk());
    for (one, other) in small.requests.iter().zip(&large.requests) {
        assert_eq!(small.text(one).unwrap(), large.text(other).unwrap());
    }
}
