//! Finding, on made traffic whose truth is known because it was made.

use captures::{
    Body, ConnectionId, Ending, Exchange, ExchangeId, Header, Offset, Passage, Request, Response, SessionId,
    SessionKey, Version,
};
use proptest::prelude::*;

use super::*;
use crate::schedule::mix;

/// Exchanges, made one after another.
#[derive(Default)]
pub(crate) struct Traffic {
    pub(crate) exchanges: Vec<Exchange>,
    draws: u64,
}

/// An answer to be.
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

pub(crate) fn answer(status: u16, kind: &'static str, body: impl Into<String>) -> Answer {
    Answer { status, headers: vec![("Content-Type", kind.to_owned())], body: body.into() }
}

impl Answer {
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

fn headers(lines: &str) -> Vec<Header> {
    lines
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| Header { name: name.into(), value: value.into() })
        .collect()
}

impl Traffic {
    /// 32 letters and digits that nobody had before.
    pub(crate) fn token(&mut self) -> String {
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        self.draws += 1;
        let seed = self.draws;
        (0..32).map(|at| char::from(LETTERS[(mix(seed << 8 | at) % 62) as usize])).collect()
    }

    /// One exchange of `session`, 10 ms after the one before. `head`: lines of `Name: value`.
    pub(crate) fn exchange(&mut self, session: u64, line: &str, head: &str, body: &str, answer: Answer) {
        let id = self.exchanges.len() as u64;
        let (method, target) = line.split_once(' ').unwrap();
        let at = |millis: u64| Offset::from_millis(id * 10 + millis);
        let whole = |text: &str| Body { length: text.len() as u64, stored: text.into(), ..Body::default() };
        let answered = answer
            .headers
            .iter()
            .map(|(name, value)| Header { name: (*name).into(), value: value.clone().into_bytes() });
        self.exchanges.push(Exchange {
            id: ExchangeId(id),
            connection: ConnectionId(session),
            session: SessionId(session),
            session_key: SessionKey::Cookie,
            arrived: at(0),
            request_done: Some(at(1)),
            response_began: Some(at(2)),
            ended: at(3),
            attempts: 1,
            request: Request {
                method: method.into(),
                target: target.into(),
                version: Version::Http11,
                headers: headers(&format!("Host: shop.test\nAccept-Language: en-US,en;q=0.9\n{head}")),
                body: whole(body),
                trailers: Vec::new(),
            },
            response: Some(Response {
                status: answer.status,
                version: Version::Http11,
                headers: answered.collect(),
                body: whole(&answer.body),
                trailers: Vec::new(),
            }),
            ending: Ending::Completed,
            passage: Passage::default(),
        });
    }

    pub(crate) fn found(&self) -> Found {
        let mut finder = Finder::new();
        self.exchanges.iter().for_each(|exchange| finder.add(exchange));
        finder.finish()
    }
}

/// Every proposed binding as `rule -> place of route`.
pub(crate) fn bindings(found: &Found) -> Vec<String> {
    let mut all: Vec<String> = found
        .rules
        .rules
        .iter()
        .flat_map(|rule| {
            rule.into.iter().map(move |into| format!("{} -> {} of {}", rule.name, into.place, into.route))
        })
        .collect();
    all.sort();
    all
}

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

#[test]
fn a_login_with_a_form_token_and_a_session_cookie_is_found_in_one_session() {
    let mut traffic = Traffic::default();
    let [csrf, cookie, sid, csrf2] = [(); 4].map(|()| traffic.token());
    let page =
        format!("<form method=post><input type=hidden name=csrfmiddlewaretoken value='{csrf}'></form>");
    traffic.exchange(
        1,
        "GET /login/",
        "",
        "",
        answer(200, "text/html", page).with("Set-Cookie", format!("csrftoken={cookie}; Path=/")),
    );
    traffic.exchange(
        1,
        "POST /login/",
        &format!("{FORM}\nCookie: csrftoken={cookie}"),
        &format!("csrfmiddlewaretoken={csrf}&username=ann&password=x"),
        answer(302, "text/html", "")
            .with("Location", "/")
            .with("Set-Cookie", format!("sessionid={sid}; HttpOnly")),
    );
    let page = format!("<input name=csrfmiddlewaretoken value={csrf2}>");
    traffic.exchange(
        1,
        "GET /",
        &format!("Cookie: csrftoken={cookie}; sessionid={sid}"),
        "",
        answer(200, "text/html", page),
    );
    traffic.exchange(
        1,
        "POST /logout/",
        &format!("{FORM}\nCookie: csrftoken={cookie}; sessionid={sid}"),
        &format!("csrfmiddlewaretoken={csrf2}"),
        answer(302, "text/html", "").with("Location", "/login/"),
    );
    assert_eq!(
        bindings(&traffic.found()),
        [
            "cookie csrftoken -> cookie csrftoken of *",
            "cookie sessionid -> cookie sessionid of *",
            "input csrfmiddlewaretoken of GET / -> form csrfmiddlewaretoken of POST /logout/",
            "input csrfmiddlewaretoken of GET /login/ -> form csrfmiddlewaretoken of POST /login/",
        ]
    );
}

#[test]
fn a_token_of_an_api_joins_what_looked_like_two_sessions_and_ids_are_followed() {
    let mut traffic = Traffic::default();
    for user in [1_u64, 2] {
        let token = traffic.token();
        let order = 40 + user;
        let login = format!(r#"{{"access_token":"{token}","user":{{"id":{user},"name":"ann"}}}}"#);
        let json = "Content-Type: application/json";
        traffic.exchange(
            user,
            "POST /api/login",
            json,
            r#"{"user":"ann","password":"x"}"#,
            answer(200, "application/json", login),
        );
        let bearer = format!("Authorization: Bearer {token}\n{json}");
        // Another session: the recorder knows no token in a body.
        let session = user + 10;
        traffic.exchange(
            session,
            &format!("GET /api/users/{user}"),
            &bearer,
            "",
            answer(200, "application/json", r#"{"theme":"dark"}"#),
        );
        traffic.exchange(
            session,
            "POST /api/orders",
            &bearer,
            r#"{"product_id":7,"quantity":1}"#,
            answer(201, "application/json", format!(r#"{{"id":{order},"product_id":7,"quantity":1}}"#)),
        );
        traffic.exchange(
            session,
            &format!("GET /api/orders/{order}"),
            &bearer,
            "",
            answer(200, "application/json", "{}"),
        );
        traffic.exchange(
            session,
            "POST /api/payments",
            &bearer,
            &format!(r#"{{"order_id":{order},"quantity":1}}"#),
            answer(201, "application/json", "{}"),
        );
        traffic.exchange(
            session,
            "GET /api/products/7?page=1",
            &bearer,
            "",
            answer(200, "application/json", "{}"),
        );
    }
    let found = traffic.found();
    assert_eq!(
        bindings(&found),
        [
            "json /access_token of POST /api/login -> header authorization of GET /api/orders/{}",
            "json /access_token of POST /api/login -> header authorization of GET /api/products/{}",
            "json /access_token of POST /api/login -> header authorization of GET /api/users/{}",
            "json /access_token of POST /api/login -> header authorization of POST /api/orders",
            "json /access_token of POST /api/login -> header authorization of POST /api/payments",
            "json /id of POST /api/orders -> json /order_id of POST /api/payments",
            "json /id of POST /api/orders -> segment 3 of GET /api/orders/{}",
            "json /user/id of POST /api/login -> segment 3 of GET /api/users/{}",
        ]
    );
    assert_eq!(found.joined.len(), 2);
}

#[test]
fn an_object_made_by_a_form_is_followed_from_the_page_that_shows_it() {
    let mut traffic = Traffic::default();
    let page = |ids: &[u64]| {
        let rows: String =
            ids.iter().map(|id| format!("<a href='/admin/product/{id}/change/'>x</a>")).collect();
        answer(200, "text/html", rows)
    };
    traffic.exchange(1, "GET /admin/product/", "", "", page(&[1, 2, 3]));
    traffic.exchange(1, "GET /admin/product/2/change/", "", "", answer(200, "text/html", ""));
    traffic.exchange(
        1,
        "POST /admin/product/add/",
        FORM,
        "name=x",
        answer(302, "text/html", "").with("Location", "/admin/product/"),
    );
    traffic.exchange(1, "GET /admin/product/", "", "", page(&[4, 1, 2, 3]));
    traffic.exchange(1, "GET /admin/product/4/change/", "", "", answer(200, "text/html", ""));
    traffic.exchange(
        1,
        "POST /admin/product/4/change/",
        FORM,
        "name=y",
        answer(302, "text/html", "").with("Location", "/admin/product/"),
    );
    traffic.exchange(1, "GET /admin/product/3/change/", "", "", answer(200, "text/html", ""));
    assert_eq!(
        bindings(&traffic.found()),
        [
            "link /admin/product/{}/change/ segment 3 of GET /admin/product/ -> segment 3 of GET /admin/product/{}/change/",
            "link /admin/product/{}/change/ segment 3 of GET /admin/product/ -> segment 3 of POST /admin/product/{}/change/",
        ]
    );
}

/// Visitors of a site without any token: pages, a catalogue with numbers and UUIDs, searches, pages of lists,
/// languages, validators of caches.
fn tokenless(traffic: &mut Traffic, session: u64, visits: &[u8]) {
    let uuid = |n: u64| {
        let bits = mix(n);
        format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            bits >> 32,
            bits & 0xFFFF,
            bits >> 52,
            bits & 0xFFF,
            mix(bits) >> 16
        )
    };
    let list: String = (0..8)
        .map(|n| format!("<a href=/product/{}>p</a><a href='/items/{n}?ref=list'>i</a>", uuid(n)))
        .collect();
    let json: String = (0..8).map(|n| format!(r#"{{"id":{n},"uuid":"{}","page":{n}}},"#, uuid(n))).collect();
    let json = format!("[{}]", json.trim_end_matches(','));
    for &visit in visits {
        let n = u64::from(visit) % 8;
        match visit % 7 {
            0 => traffic.exchange(
                session,
                "GET /",
                "Cookie: lang=en-US",
                "",
                answer(200, "text/html", list.clone())
                    .with("Set-Cookie", "lang=en-US")
                    .with("ETag", "\"5f3a-61b2c9d8e7\""),
            ),
            1 => traffic.exchange(
                session,
                &format!("GET /product/{}", uuid(n)),
                "If-None-Match: \"5f3a-61b2c9d8e7\"",
                "",
                answer(304, "text/html", ""),
            ),
            2 => traffic.exchange(
                session,
                &format!("GET /items/{n}?ref=list"),
                "",
                "",
                answer(200, "text/html", list.clone()),
            ),
            3 => traffic.exchange(
                session,
                &format!("GET /search?q=shoes&page={n}"),
                "",
                "",
                answer(
                    200,
                    "text/html",
                    format!("<input name=q value=shoes><input type=hidden name=page value={n}>{list}"),
                ),
            ),
            4 => traffic.exchange(
                session,
                "GET /api/items",
                "",
                "",
                answer(200, "application/json", json.clone()).with("Date", "Thu, 26 Nov 2026 12:00:00 GMT"),
            ),
            5 => traffic.exchange(
                session,
                &format!("GET /api/items/{}", uuid(n)),
                "",
                "",
                answer(200, "application/json", format!(r#"{{"id":{n},"enabled":true,"quantity":1}}"#)),
            ),
            _ => traffic.exchange(
                session,
                &format!("GET /static/app.{:08x}.js", mix(n) as u32),
                "",
                "",
                answer(200, "text/javascript", "var x = 1;"),
            ),
        }
    }
}

#[test]
fn a_site_without_tokens_has_no_bindings_with_one_visitor_and_with_many() {
    let visits: Vec<u8> = (0..200).map(|n| mix(n) as u8).collect();
    for visitors in [1, 2, 20] {
        let mut traffic = Traffic::default();
        for visitor in 0..visitors {
            tokenless(&mut traffic, visitor, &visits[..10 + 7 * visitor as usize]);
        }
        assert_eq!(bindings(&traffic.found()), [""; 0], "{visitors} visitors");
    }
}

/// A shopper: cookie, form token, order number, download key; mixed with what everybody sees.
fn shopper(traffic: &mut Traffic, session: u64, order: u64, visits: &[u8]) {
    let [sid, csrf, key] = [(); 3].map(|()| traffic.token());
    let cookie = format!("Cookie: sid={sid}; lang=en-US");
    traffic.exchange(
        session,
        "GET /",
        "",
        "",
        answer(200, "text/html", "")
            .with("Set-Cookie", format!("sid={sid}"))
            .with("Set-Cookie", "lang=en-US"),
    );
    tokenless(traffic, session, visits);
    traffic.exchange(
        session,
        "GET /checkout",
        &cookie,
        "",
        answer(200, "text/html", format!("<form><input name=_csrf value={csrf}><input name=step value=1>")),
    );
    traffic.exchange(
        session,
        "POST /checkout",
        &format!("{cookie}\n{FORM}"),
        &format!("_csrf={csrf}&step=1&quantity=2"),
        answer(303, "text/html", "").with("Location", format!("/orders/{order}")),
    );
    traffic.exchange(
        session,
        &format!("GET /orders/{order}"),
        &cookie,
        "",
        answer(200, "text/html", format!("<a href='/invoice?key={key}'>download</a>")),
    );
    traffic.exchange(
        session,
        &format!("GET /invoice?key={key}"),
        &cookie,
        "",
        answer(200, "application/pdf", ""),
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn of_mixed_traffic_all_that_is_true_is_found_and_nothing_else(
        shoppers in 1_u64..12,
        visits in proptest::collection::vec(any::<u8>(), 0..40),
        first_order in 1_u64..5_000,
    ) {
        let mut traffic = Traffic::default();
        for shopper_number in 0..shoppers {
            let cut = visits.len() * (shopper_number as usize + 1) / shoppers as usize;
            shopper(&mut traffic, shopper_number, first_order + shopper_number, &visits[..cut]);
            tokenless(&mut traffic, 100 + shopper_number, &visits);
        }
        prop_assert_eq!(
            bindings(&traffic.found()),
            [
                "cookie sid -> cookie sid of *",
                "input _csrf of GET /checkout -> form _csrf of POST /checkout",
                "link /invoice query key of GET /orders/{} -> query key of GET /invoice",
                "location segment 2 of POST /checkout -> segment 2 of GET /orders/{}",
            ]
        );
    }
}
