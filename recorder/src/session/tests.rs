//! Visitors, told apart.

use captures::{Body, Ending, ExchangeId, Header, Passage, Request, Response, Version};

use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;

/// An exchange on connection 0 that ends at 1 ms; each line is `> Name: value` of the request or
/// `< Name: value` of the response.
pub(crate) fn exchange(lines: &[&str]) -> Exchange {
    let headers = |side: &str| -> Vec<Header> {
        let sent = lines.iter().filter_map(|line| line.strip_prefix(side));
        sent.filter_map(|line| line.split_once(": "))
            .map(|(name, value)| Header { name: name.into(), value: value.into() })
            .collect()
    };
    Exchange {
        id: ExchangeId(0),
        connection: ConnectionId(0),
        session: SessionId(0),
        session_key: SessionKey::Connection,
        arrived: Offset::ZERO,
        request_done: None,
        response_began: None,
        ended: Offset::from_millis(1),
        attempts: 1,
        request: Request {
            method: b"GET".to_vec(),
            target: b"/".to_vec(),
            version: Version::Http11,
            headers: headers("> "),
            body: Body::default(),
            trailers: Vec::new(),
        },
        response: Some(Response {
            status: 200,
            version: Version::Http11,
            headers: headers("< "),
            body: Body::default(),
            trailers: Vec::new(),
        }),
        ending: Ending::Completed,
        passage: Passage::default(),
    }
}

fn on(connection: u64, lines: &[&str]) -> Exchange {
    Exchange { connection: ConnectionId(connection), ..exchange(lines) }
}

fn at_minute(minute: u64, lines: &[&str]) -> Exchange {
    let at = Offset::from_secs(60 * minute);
    Exchange { arrived: at, ended: at, ..exchange(lines) }
}

const BY_DEFAULT: &str = "cookie,header:authorization,connection";

fn sessions_by(keys: &str) -> Sessions {
    let keys = keys.split(',').map(|key| KeyRule::parse(key).unwrap()).collect();
    let policy = SessionPolicy { keys, idle: Duration::from_secs(30 * 60) };
    Sessions::new(policy, vec![Network::parse("10.0.0.0/8").unwrap()], [0; 16])
}

/// From this client, on a connection of its own.
fn directly(client: [u8; 4]) -> Origin {
    Origin { client: Ipv4Addr::from(client).into(), shared_connection: false }
}

/// From this client, on a connection of a trusted proxy.
fn through_a_proxy(client: [u8; 4]) -> Origin {
    Origin { shared_connection: true, ..directly(client) }
}

/// The numbers of the sessions of these exchanges, in order.
fn sessions_of(exchanges: &[Exchange]) -> Vec<u64> {
    let mut sessions = sessions_by(BY_DEFAULT);
    exchanges.iter().map(|exchange| sessions.of(exchange, directly([192, 0, 2, 1])).session.0).collect()
}

/// The same for exchanges from different places.
fn told_apart_by(keys: &str, exchanges: &[(Origin, Exchange)]) -> Vec<u64> {
    let mut sessions = sessions_by(keys);
    exchanges.iter().map(|(origin, exchange)| sessions.of(exchange, *origin).session.0).collect()
}

#[test]
fn a_visitor_is_followed_from_the_first_answer_through_a_rotated_login() {
    let visits = [
        on(1, &["< Set-Cookie: sid=aa; Path=/"]),
        on(2, &["> Cookie: theme=dark; sid=aa", "< Set-Cookie: sid=bb; Path=/"]),
        on(3, &["> Cookie: sid=bb"]),
        on(4, &["> Cookie: sid=cc"]),
    ];

    assert_eq!(sessions_of(&visits), [0, 0, 0, 1]);
}

#[test]
fn a_cookie_beats_a_credential_beats_a_connection() {
    let mut sessions = sessions_by(BY_DEFAULT);
    let mut kind = |lines: &[&str]| sessions.of(&exchange(lines), directly([192, 0, 2, 1])).key;

    assert_eq!(kind(&["> Cookie: PHPSESSID=1", "> Authorization: Bearer x"]), SessionKey::Cookie);
    assert_eq!(kind(&["> Cookie: theme=dark", "> Authorization: Bearer x"]), SessionKey::Header);
    assert_eq!(kind(&["> Cookie: theme=dark"]), SessionKey::Connection);
}

#[test]
fn a_known_name_beats_one_that_only_looks_like_a_session() {
    let visits = [
        exchange(&["> Cookie: _hjSession_1=x; JSESSIONID=a"]),
        exchange(&["> Cookie: _hjSession_1=y; JSESSIONID=a"]),
        exchange(&["> Cookie: _hjSession_1=y"]),
    ];

    assert_eq!(sessions_of(&visits), [0, 0, 1]);
}

#[test]
fn visitors_who_share_a_connection_are_told_apart_by_the_cookies_they_get() {
    let visits = [
        exchange(&["< Set-Cookie: sid=aa"]),
        exchange(&["< Set-Cookie: sid=bb"]),
        exchange(&["> Cookie: sid=aa"]),
        exchange(&["> Cookie: sid=bb"]),
    ];

    assert_eq!(sessions_of(&visits), [0, 1, 0, 1]);
}

#[test]
fn without_cookies_a_connection_is_a_session() {
    assert_eq!(sessions_of(&[on(1, &[]), on(2, &[]), on(1, &[])]), [0, 1, 0]);
}

#[test]
fn a_deleted_cookie_is_no_key() {
    let visits = [
        on(1, &["> Cookie: sid=aa", "< Set-Cookie: sid=gone; Max-Age=0"]),
        on(2, &["> Cookie: sid=gone"]),
        on(3, &["> Cookie: sid=", "< Set-Cookie: sid=; Path=/"]),
        on(4, &["> Cookie: sid="]),
    ];

    assert_eq!(sessions_of(&visits), [0, 1, 2, 3]);
}

#[test]
fn thirty_idle_minutes_end_a_session() {
    let cookie = &["> Cookie: sid=aa"][..];

    assert_eq!(sessions_of(&[at_minute(0, cookie), at_minute(29, cookie), at_minute(58, cookie)]), [0, 0, 0]);
    assert_eq!(sessions_of(&[at_minute(0, cookie), at_minute(30, cookie)]), [0, 1]);
}

#[test]
fn the_first_key_of_the_list_decides() {
    let here = directly([192, 0, 2, 1]);
    let asking = |target: &str, lines: &[&str]| {
        let mut exchange = exchange(lines);
        exchange.request.target = target.into();
        (here, exchange)
    };
    let visits = [
        asking("/?a=1&user=7", &["> Cookie: shop=1", "> X-User: ann"]),
        asking("/", &["> Cookie: shop=2", "> x-user: ann"]),
        asking("/?user=7", &["> Cookie: shop=1"]),
        asking("/", &["> Cookie: Shop=1; sid=x"]),
    ];
    let check = |keys: &str, expected: [u64; 4]| assert_eq!(told_apart_by(keys, &visits), expected, "{keys}");

    check("cookie:shop,connection", [0, 1, 0, 2]);
    check("header:X-User,connection", [0, 0, 1, 1]);
    check("query:user,connection", [0, 1, 0, 1]);
    check("cookie:shop,header:x-user", [0, 1, 0, 2]);
    check("cookie,connection", [0, 0, 0, 1]);
    check("connection", [0, 0, 0, 0]);
}

#[test]
fn without_any_key_a_request_is_a_session_by_itself() {
    let visits = [(directly([192, 0, 2, 1]), exchange(&[])), (directly([192, 0, 2, 1]), exchange(&[]))];

    assert_eq!(told_apart_by("cookie:shop", &visits), [0, 1]);
}

#[test]
fn clients_are_told_apart_by_address_and_agent() {
    let firefox = &["> User-Agent: Firefox"][..];
    let visits = [
        (directly([192, 0, 2, 1]), on(1, firefox)),
        (directly([192, 0, 2, 1]), on(2, firefox)),
        (directly([192, 0, 2, 1]), on(3, &["> User-Agent: curl"])),
        (directly([192, 0, 2, 2]), on(1, firefox)),
        (through_a_proxy([192, 0, 2, 2]), on(4, firefox)),
    ];

    assert_eq!(told_apart_by("ip+ua,connection", &visits), [0, 0, 1, 2, 2]);
    assert_eq!(sessions_by("ip+ua").of(&visits[0].1, visits[0].0).key, SessionKey::AddressAgent);
}

#[test]
fn a_connection_of_a_trusted_proxy_is_nobodys_session() {
    let visits = [
        (through_a_proxy([192, 0, 2, 1]), on(1, &[])),
        (through_a_proxy([192, 0, 2, 2]), on(1, &[])),
        (through_a_proxy([192, 0, 2, 1]), on(2, &[])),
        // The proxy named nobody: all that is known is itself.
        (through_a_proxy([10, 0, 0, 1]), on(1, &[])),
        (through_a_proxy([10, 0, 0, 1]), on(1, &[])),
    ];

    assert_eq!(told_apart_by(BY_DEFAULT, &visits), [0, 1, 0, 2, 3]);
}

#[test]
fn a_page_that_ends_after_what_it_made_its_visitor_ask_for_is_the_same_session() {
    // The image was asked for with the cookie that the page's head had set, and ended before the page did.
    let visits =
        [on(2, &["> Cookie: sid=aa"]), on(1, &["< Set-Cookie: sid=aa"]), on(3, &["> Cookie: sid=aa"])];

    assert_eq!(sessions_of(&visits), [0, 0, 0]);
}

#[test]
fn recorders_draw_alike_for_a_key_that_both_meet_and_once_for_a_session() {
    let draws = |salt: u8, exchanges: &[Exchange]| -> Vec<u64> {
        let mut sessions = Sessions { salt: [salt; 16], ..sessions_by(BY_DEFAULT) };
        exchanges.iter().map(|exchange| sessions.of(exchange, directly([192, 0, 2, 1])).draw).collect()
    };
    let first =
        draws(1, &[on(7, &["< Set-Cookie: sid=aa"]), on(8, &["> Cookie: sid=aa", "< Set-Cookie: sid=bb"])]);
    let second =
        draws(2, &[on(9, &["> Authorization: x", "> Cookie: sid=aa"]), on(9, &["> Cookie: sid=bb"])]);

    assert_eq!(first[0], first[1]);
    assert_eq!(first[0], second[0]);
    assert_ne!(second[0], second[1]);
    assert_ne!(draws(1, &[on(7, &[])]), draws(2, &[on(7, &[])]));
}

#[test]
fn memory_is_bounded_and_what_is_used_stays() {
    let mut recent = Recent::new(100);
    recent.insert(0, 'a');
    for key in 1..10_000 {
        recent.insert(key, 'b');
        assert_eq!(recent.get(&0), Some('a'));
        assert!(recent.young.len() + recent.old.len() <= 101);
    }
    assert_eq!(recent.get(&1), None);
}
