//! How fast a capture is searched for bindings: megabytes of HTTP a second, on one core.
//!
//! Pages of a shop, lists in JSON and forms, in sessions with cookies, form tokens and order numbers.

#![expect(clippy::print_stdout, reason = "prints what it measured")]
#![expect(clippy::disallowed_methods, reason = "measures time")]

use std::fmt::Write;
use std::time::Instant;

use captures::{
    Body, ConnectionId, Ending, Exchange, ExchangeId, Header, Offset, Passage, Request, Response, SessionId,
    SessionKey, Version,
};
use replayer::correlate::Finder;

const SESSIONS: u64 = 400;

fn main() {
    let mut exchanges = Vec::new();
    for session in 0..SESSIONS {
        shopper(&mut exchanges, session);
    }
    let bytes: usize = exchanges.iter().map(size).sum();
    let mut rates = Vec::new();
    for _ in 0..5 {
        let mut finder = Finder::new();
        let began = Instant::now();
        exchanges.iter().for_each(|exchange| finder.add(exchange));
        let found = finder.finish();
        rates.push(bytes as f64 / 1e6 / began.elapsed().as_secs_f64());
        assert_eq!(found.rules.rules.len(), 3, "{:?}", found.rules);
    }
    rates.sort_by(f64::total_cmp);
    println!(
        "correlate: {} exchanges, {:.0} MB of HTTP: {:.0} MB/s (median of {}, {:.0} to {:.0})",
        exchanges.len(),
        bytes as f64 / 1e6,
        rates[2],
        rates.len(),
        rates[0],
        rates[4]
    );
}

fn shopper(exchanges: &mut Vec<Exchange>, session: u64) {
    let draw = |n: u64| {
        let bits = (session * 31 + n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        format!("{:016x}{:016x}", bits, bits.rotate_left(29).wrapping_mul(0xD1B5_4A32_D192_ED03))
    };
    let (sid, token) = (draw(1), draw(2));
    let cookie = format!("sid={sid}; lang=en-US");
    let mut list = String::new();
    let mut json = String::from("[");
    for product in 0..150 {
        let _ = writeln!(
            list,
            "<li class=\"product card\" data-sku=\"sku-{product}\"><a href=\"/product/{product}?from=list\" \
             class=\"link\"><img src=\"/img/{product}.webp\" alt=\"Product {product}\"></a><span class=\"price\">\
             {product}.99</span><p>A fine product for all seasons, made to last, in many colours.</p></li>"
        );
        let _ = write!(
            json,
            "{{\"id\":{product},\"name\":\"Product {product}\",\"price\":{product}.99,\"tags\":[\"new\",\"sale\"],\
             \"description\":\"A fine product for all seasons, made to last.\",\"stock\":{{\"count\":{product},\"open\":true}}}},"
        );
    }
    json.push_str("{}]");
    let form =
        format!("<form action=/orders method=post><input type=hidden name=csrf value={token}></form>{list}");
    let order = 10_000 + session;
    push(
        exchanges,
        session,
        "GET",
        "/",
        "",
        "",
        200,
        &[("Set-Cookie", &format!("sid={sid}"))],
        ("text/html", &list),
    );
    for page in 0..6 {
        push(
            exchanges,
            session,
            "GET",
            &format!("/list?page={page}"),
            &cookie,
            "",
            200,
            &[],
            ("text/html", &list),
        );
        push(exchanges, session, "GET", "/api/products", &cookie, "", 200, &[], ("application/json", &json));
    }
    push(exchanges, session, "GET", "/checkout", &cookie, "", 200, &[], ("text/html", &form));
    let body = format!("csrf={token}&quantity=2");
    let place = format!("/orders/{order}");
    push(
        exchanges,
        session,
        "POST",
        "/orders",
        &cookie,
        &body,
        303,
        &[("Location", &place)],
        ("text/html", ""),
    );
    push(exchanges, session, "GET", &place, &cookie, "", 200, &[], ("text/html", &list));
}

#[expect(clippy::too_many_arguments, reason = "one exchange, written in one line")]
fn push(
    exchanges: &mut Vec<Exchange>,
    session: u64,
    method: &str,
    target: &str,
    cookie: &str,
    body: &str,
    status: u16,
    fields: &[(&str, &str)],
    (kind, page): (&str, &str),
) {
    let id = exchanges.len() as u64;
    let header = |name: &str, value: &str| Header { name: name.into(), value: value.into() };
    let whole = |text: &str| Body { length: text.len() as u64, stored: text.into(), ..Body::default() };
    let mut headers =
        vec![header("Host", "shop.test"), header("User-Agent", "Mozilla/5.0"), header("Accept", "*/*")];
    if !cookie.is_empty() {
        headers.push(header("Cookie", cookie));
    }
    if !body.is_empty() {
        headers.push(header("Content-Type", "application/x-www-form-urlencoded"));
    }
    let mut answered =
        vec![header("Content-Type", kind), header("Server", "nginx"), header("Cache-Control", "no-store")];
    answered.extend(fields.iter().map(|(name, value)| header(name, value)));
    let at = Offset::from_millis(id);
    exchanges.push(Exchange {
        id: ExchangeId(id),
        connection: ConnectionId(session),
        session: SessionId(session),
        session_key: SessionKey::Cookie,
        arrived: at,
        request_done: Some(at),
        response_began: Some(at),
        ended: at,
        attempts: 1,
        request: Request {
            method: method.into(),
            target: target.into(),
            version: Version::Http11,
            headers,
            body: whole(body),
            trailers: Vec::new(),
        },
        response: Some(Response {
            status,
            version: Version::Http11,
            headers: answered,
            body: whole(page),
            trailers: Vec::new(),
        }),
        ending: Ending::Completed,
        passage: Passage::default(),
    });
}

fn size(exchange: &Exchange) -> usize {
    let of = |headers: &[Header]| {
        headers.iter().map(|header| header.name.len() + header.value.len() + 4).sum::<usize>()
    };
    let response = exchange.response.as_ref();
    exchange.request.target.len()
        + of(&exchange.request.headers)
        + exchange.request.body.stored.len()
        + response.map_or(0, |response| of(&response.headers) + response.body.stored.len())
}
