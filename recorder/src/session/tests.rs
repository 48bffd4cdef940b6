//! Visitors, told apart.

use captures::{Body, Ending, ExchangeId, Header, Passage, Request, Response, Version};

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

/// The numbers of the sessions of these exchanges, in order.
fn sessions_of(exchanges: &[Exchange]) -> Vec<u64> {
    let mut sessions = Sessions::new();
    exchanges.iter().map(|exchange| sessions.of(exchange).0.0).collect()
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
    let mut sessions = Sessions::new();
    let mut kind = |lines: &[&str]| sessions.of(&exchange(lines)).1;

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
