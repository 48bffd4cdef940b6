//! Logs a session in that began before the capture: a login that was recorded apart is put before it.
//!
//! The session sends a cookie or a token that no answer of the capture gave. A login gives such values, so its answers
//! supply them: whichever the session has newest under that name. What the login itself carries from answer to request
//! (a form token) is found in it like in any capture.

use std::collections::HashSet;
use std::time::Duration;

use captures::{ConnectionId, Exchange, ExchangeId, Offset, header_value};

use crate::correlate::answer::{Given, walk_body, walk_head};
use crate::correlate::asked::header_fields;
use crate::correlate::pattern::{Extractor, GivenKind, Part, PartRef, Place, PlaceKind};
use crate::correlate::rules::{ANY_ROUTE, Injection, Missing, Rule};
use crate::correlate::track::{content, received};
use crate::correlate::value::{Strength, strength};
use crate::response::head_end;

/// The most sessions that are told apart.
const MAX_SESSIONS: usize = 1 << 20;
/// The numbers of the exchanges that are put in; no capture has so many of its own.
const FIRST_ID: u64 = 1 << 62;
/// Between the end of the login and what follows it.
const PAUSE: Duration = Duration::from_millis(100);
/// Header fields in which a token of a login is sent.
const TOKEN_FIELDS: [&str; 4] = ["authorization", "x-auth-token", "x-access-token", "x-session-token"];
/// Header fields in which the value of a cookie against forgery is sent.
const FORGERY_FIELDS: [&str; 3] = ["x-csrftoken", "x-csrf-token", "x-xsrf-token"];

/// A login that is put before sessions.
#[derive(Debug)]
pub struct LoginFlow {
    exchanges: Vec<Exchange>,
    span: Duration,
    cookies: Vec<String>,
    token: Option<Extractor>,
    seen: HashSet<u64>,
    next: u64,
    /// Sessions that it was put before.
    pub sessions: u64,
}

impl LoginFlow {
    /// The login of the first session in `exchanges` that sends one of the `logins` and is not refused: what the
    /// session asks up to there. `None` when there is no such session.
    pub fn new(exchanges: &[Exchange], logins: &[Injection]) -> Option<Self> {
        let is_login = |exchange: &Exchange| {
            let route = captures::route_of(&exchange.request.method, &exchange.request.target);
            exchange.response.as_ref().is_some_and(|response| response.status < 400)
                && logins.iter().any(|login| login.route == route)
        };
        let at = exchanges.iter().position(is_login)?;
        let (session, connection) = (exchanges[at].session, exchanges[at].connection);
        let mut exchanges: Vec<Exchange> = exchanges[..=at]
            .iter()
            .filter(|exchange| exchange.session == session || exchange.connection == connection)
            .cloned()
            .collect();
        exchanges.sort_by_key(|exchange| (exchange.ended, exchange.id));
        let first = exchanges.iter().map(|exchange| exchange.arrived).min()?;
        let last = exchanges.iter().map(|exchange| exchange.ended).max()?;
        let mut cookies = Vec::new();
        let mut tokens = Vec::new();
        for exchange in &exchanges {
            let Some(response) = &exchange.response else { continue };
            let mut take = |given: Given<'_>| {
                if given.kind == GivenKind::Cookie && given.part == PartRef::Whole && !given.value.is_empty()
                {
                    let name = String::from_utf8_lossy(given.name).into_owned();
                    if !cookies.contains(&name) {
                        cookies.push(name);
                    }
                }
                if matches!(given.kind, GivenKind::Json | GivenKind::Header)
                    && strength(given.value) == Strength::Token
                    && let Some(rank) = rank_of_token(given.name)
                {
                    let name = String::from_utf8_lossy(given.name).into_owned();
                    tokens.push((rank, Extractor { kind: given.kind, name, part: given.part.owned() }));
                }
            };
            let fields =
                response.headers.iter().map(|header| (header.name.as_slice(), header.value.as_slice()));
            walk_head(fields, &mut take);
            if let Some(body) = content(response) {
                let kind = header_value(&response.headers, "content-type").unwrap_or_default();
                walk_body(kind, &body, &mut take);
            }
        }
        tokens.sort_by_key(|(rank, _)| *rank);
        Some(Self {
            exchanges,
            span: last.since(first) + PAUSE,
            cookies,
            token: tokens.into_iter().next().map(|(_, token)| token),
            seen: HashSet::new(),
            next: FIRST_ID,
            sessions: 0,
        })
    }

    /// The rules by which sessions take what the login gives.
    pub fn rules(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        for cookie in &self.cookies {
            let extractor = |part| Extractor { kind: GivenKind::Cookie, name: cookie.clone(), part };
            let own = [(PlaceKind::Cookie, cookie.as_str())];
            rules.push(rule(extractor(Part::Whole), &own));
            let lower = cookie.to_ascii_lowercase();
            if lower.contains("csrf") || lower.contains("xsrf") {
                let part = if lower == "xsrf-token" { Part::Decoded } else { Part::Whole };
                let fields = FORGERY_FIELDS.map(|name| (PlaceKind::Header, name));
                rules.push(rule(extractor(part), &fields));
            }
        }
        if let Some(token) = &self.token {
            rules.push(rule(token.clone(), &TOKEN_FIELDS.map(|name| (PlaceKind::Header, name))));
        }
        rules
    }

    /// Takes the next exchange of the capture, and gives what is to be sent before it: the login, when a session
    /// begins with what only a login gives. All of the capture is moved by the length of the login.
    pub fn before(&mut self, exchange: &mut Exchange) -> Vec<Exchange> {
        let arrived = exchange.arrived;
        let is_first = self.seen.len() < MAX_SESSIONS && self.seen.insert(exchange.session.0);
        let login =
            if is_first && self.is_logged_in(exchange) { self.login(exchange, arrived) } else { Vec::new() };
        shift(exchange, self.span, Offset::ZERO);
        login
    }

    /// Whether a session's first request carries what a login gives.
    fn is_logged_in(&self, exchange: &Exchange) -> bool {
        let mut text = Vec::new();
        received(exchange, &mut text);
        let head = head_end(&text).unwrap_or(text.len());
        header_fields(&text, head).any(|(name, range)| {
            let value = String::from_utf8_lossy(&text[range]).into_owned();
            if name == b"cookie" {
                let mut names =
                    value.split(';').filter_map(|pair| pair.split_once('=')).map(|(name, _)| name.trim());
                return names.any(|name| self.cookies.iter().any(|known| known == name));
            }
            self.token.is_some() && TOKEN_FIELDS.iter().any(|field| field.as_bytes() == name)
        })
    }

    fn login(&mut self, exchange: &Exchange, arrived: Offset) -> Vec<Exchange> {
        self.sessions += 1;
        let first = self.exchanges.iter().map(|exchange| exchange.arrived).min().unwrap_or(Offset::ZERO);
        let mut login = self.exchanges.clone();
        for step in &mut login {
            step.id = ExchangeId(self.next);
            self.next += 1;
            step.session = exchange.session;
            step.session_key = exchange.session_key;
            // On the session's own connection: what follows waits for it.
            step.connection = ConnectionId(exchange.connection.0);
            shift(step, arrived.since_start(), first);
        }
        login
    }
}

/// Moves an exchange to where it lies `later` than it lay after `from`.
fn shift(exchange: &mut Exchange, later: Duration, from: Offset) {
    let moved = |at: Offset| Offset::ZERO.plus(at.since(from)).plus(later);
    exchange.arrived = moved(exchange.arrived);
    exchange.request_done = exchange.request_done.map(moved);
    exchange.response_began = exchange.response_began.map(moved);
    exchange.ended = moved(exchange.ended);
}

fn rule(extractor: Extractor, into: &[(PlaceKind, &str)]) -> Rule {
    Rule {
        name: format!("{extractor} of the login"),
        route: ANY_ROUTE.to_owned(),
        extractor,
        into: into
            .iter()
            .map(|(kind, name)| Injection {
                route: ANY_ROUTE.to_owned(),
                place: Place { kind: *kind, name: (*name).to_owned() },
            })
            .collect(),
        newest: true,
        created: false,
        missing: Missing::Recorded,
        evidence: None,
    }
}

/// How much a name speaks for the token that requests carry: the less, the more; `None` for none.
fn rank_of_token(name: &[u8]) -> Option<u8> {
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    if name.contains("refresh") || name.contains("csrf") {
        None
    } else if name.contains("access") {
        Some(0)
    } else if name.contains("token") || name.contains("jwt") {
        Some(1)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::correlate::find::tests::{Traffic, answer};

    const TOKEN: &str = "kJ8sQ2mNv0ZpL4xT";

    #[test]
    fn a_login_is_put_before_sessions_that_began_with_its_cookie_and_before_no_others() {
        let mut traffic = Traffic::default();
        traffic.exchange(1, "GET /login", "", "", answer(200, "text/html", "<form></form>"));
        let set = answer(302, "text/html", "").with("Set-Cookie", format!("sid={TOKEN}"));
        let form = "Content-Type: application/x-www-form-urlencoded\r\n";
        traffic.exchange(1, "POST /login", form, "user=ann&password=x", set);
        let found = traffic.found();
        let mut flow = LoginFlow::new(&traffic.exchanges, &found.logins).unwrap();
        assert_eq!(flow.exchanges.len(), 2);
        assert_eq!(
            flow.rules().iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>(),
            ["cookie sid of the login"]
        );

        let mut capture = Traffic::default();
        for (session, head) in
            [(7, "Cookie: sid=old; a=b\r\n"), (7, "Cookie: sid=old\r\n"), (8, "Cookie: a=b\r\n")]
        {
            capture.exchange(session, "GET /", head, "", answer(200, "text/plain", "x"));
        }
        let counts: Vec<usize> = capture
            .exchanges
            .iter_mut()
            .map(|exchange| {
                let arrived = exchange.arrived;
                let before = flow.before(exchange);
                assert!(
                    before
                        .iter()
                        .all(|step| step.session == exchange.session && step.ended <= exchange.arrived)
                );
                assert_eq!(exchange.arrived.since(arrived), flow.span);
                before.len()
            })
            .collect();
        assert_eq!(counts, [2, 0, 0]);
    }

    #[test]
    fn the_token_that_grants_access_is_taken_and_not_the_one_that_renews_it() {
        let mut traffic = Traffic::default();
        let tokens = format!(r#"{{"refresh":"{TOKEN}a1","access":"{TOKEN}b2"}}"#);
        let kind = "Content-Type: application/json\r\n";
        let body = r#"{"username":"ann","password":"x"}"#;
        traffic.exchange(1, "POST /token", kind, body, answer(200, "application/json", tokens));
        let flow = LoginFlow::new(&traffic.exchanges, &traffic.found().logins).unwrap();
        let rules = flow.rules();
        assert_eq!(rules[0].extractor.to_string(), "json /access");
        assert_eq!(rules[0].into[0].place.to_string(), "header authorization");
    }
}
