//! Counts what is in a capture, exchange by exchange.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use captures::{Ending, Exchange, Histogram, Offset, RouteFinder, Routes, header_value};

use super::session_key;

/// What a capture came to.
#[derive(Debug, Default)]
pub(super) struct Inspection {
    pub(super) exchanges: u64,
    pub(super) attempts: u64,
    pub(super) first: Option<Offset>,
    pub(super) last: Option<Offset>,
    pub(super) connections: BTreeSet<u64>,
    pub(super) sessions: BTreeMap<u64, OfSession>,
    /// From the end of one exchange of a session to the arrival of its next.
    pub(super) think: Histogram,
    pub(super) hosts: BTreeMap<String, u64>,
    pub(super) protocols: BTreeMap<&'static str, u64>,
    pub(super) secure: u64,
    pub(super) largest_response: u64,
    pub(super) slowest: Vec<Slow>,
    /// By route, and how it went wrong.
    pub(super) errors: BTreeMap<(String, String), u64>,
    pub(super) finder: RouteFinder,
    pub(super) session_keys: BTreeMap<&'static str, u64>,
    pub(super) routes: Routes,
    pub(super) of_routes: Vec<OfRoute>,
    pub(super) statuses: BTreeMap<u16, u64>,
    pub(super) endings: BTreeMap<Ending, u64>,
    pub(super) methods: BTreeMap<String, u64>,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    pub(super) cut_bodies: u64,
    pub(super) per_second: BTreeMap<u64, u64>,
    /// Of those, the ones that were answered with 5xx or not at all.
    pub(super) wrong_per_second: BTreeMap<u64, u64>,
    pub(super) retried: u64,
    pub(super) unforwarded: u64,
}

/// Hosts and kinds of errors that are told apart.
const MOST_NAMES: usize = 1_000;
/// So many of the slowest exchanges are kept.
const SLOWEST: usize = 10;

/// One visitor's requests.
#[derive(Debug)]
pub(super) struct OfSession {
    pub(super) count: u64,
    pub(super) first: Offset,
    pub(super) last: Offset,
}

/// An exchange that took long.
#[derive(Debug)]
pub(super) struct Slow {
    pub(super) took: Duration,
    pub(super) id: u64,
    pub(super) arrived: Offset,
    pub(super) what: String,
    pub(super) status: Option<u16>,
}

#[derive(Debug, Default)]
pub(super) struct OfRoute {
    pub(super) count: u64,
    pub(super) errors: u64,
    pub(super) service: Histogram,
}

impl Inspection {
    pub(super) fn count(&mut self, exchange: &Exchange) {
        self.exchanges += 1;
        self.attempts += u64::from(exchange.attempts);
        self.retried += u64::from(exchange.attempts > 1);
        self.unforwarded += u64::from(exchange.attempts == 0);
        self.first = Some(self.first.map_or(exchange.arrived, |first| first.min(exchange.arrived)));
        self.last = Some(self.last.map_or(exchange.arrived, |last| last.max(exchange.arrived)));
        self.connections.insert(exchange.connection.0);
        self.count_session(exchange);
        self.count_names(exchange);
        *self.session_keys.entry(session_key(exchange.session_key)).or_default() += 1;
        *self.endings.entry(exchange.ending).or_default() += 1;
        *self.methods.entry(String::from_utf8_lossy(&exchange.request.method).into_owned()).or_default() += 1;
        *self.per_second.entry(exchange.arrived.second()).or_default() += 1;
        if exchange.response.as_ref().is_none_or(|response| response.status >= 500) {
            *self.wrong_per_second.entry(exchange.arrived.second()).or_default() += 1;
        }
        self.request_bytes += exchange.request.body.length;
        self.cut_bodies += u64::from(!exchange.request.body.is_whole());
        let name = self.finder.name(&exchange.request.method, &exchange.request.target);
        self.count_trouble(exchange, &name);
        let number = usize::from(self.routes.number(&name));
        self.of_routes.resize_with(self.of_routes.len().max(number + 1), OfRoute::default);
        let route = &mut self.of_routes[number];
        route.count += 1;
        route.service.record(exchange.ended.since(exchange.arrived));
        match &exchange.response {
            Some(response) => {
                *self.statuses.entry(response.status).or_default() += 1;
                self.response_bytes += response.body.length;
                self.largest_response = self.largest_response.max(response.body.length);
                self.cut_bodies += u64::from(!response.body.is_whole());
                route.errors += u64::from(response.status >= 500);
            }
            None => route.errors += 1,
        }
    }

    fn count_session(&mut self, exchange: &Exchange) {
        let (arrived, ended) = (exchange.arrived, exchange.ended);
        let fresh = || OfSession { count: 0, first: arrived, last: arrived };
        let session = self.sessions.entry(exchange.session.0).or_insert_with(fresh);
        if session.count > 0 && arrived > session.last {
            self.think.record(arrived.since(session.last));
        }
        session.count += 1;
        session.first = session.first.min(arrived);
        session.last = session.last.max(ended);
    }

    fn count_names(&mut self, exchange: &Exchange) {
        *self.protocols.entry(exchange.request.version.as_str()).or_default() += 1;
        self.secure += u64::from(exchange.passage.secure);
        let host = header_value(&exchange.request.headers, "host").map(String::from_utf8_lossy);
        let host = host.map_or_else(|| "none".to_owned(), |host| host.to_ascii_lowercase());
        if self.hosts.len() < MOST_NAMES || self.hosts.contains_key(&host) {
            *self.hosts.entry(host).or_default() += 1;
        } else {
            *self.hosts.entry("other".to_owned()).or_default() += 1;
        }
    }

    /// What took long, and what went wrong.
    fn count_trouble(&mut self, exchange: &Exchange, route: &str) {
        let took = exchange.ended.since(exchange.arrived);
        let status = exchange.response.as_ref().map(|response| response.status);
        if self.slowest.len() < SLOWEST || self.slowest.last().is_some_and(|last| last.took < took) {
            let (method, target) = (&exchange.request.method, &exchange.request.target);
            let what = format!("{} {}", String::from_utf8_lossy(method), String::from_utf8_lossy(target));
            let slow = Slow { took, id: exchange.id.0, arrived: exchange.arrived, what, status };
            let at = self.slowest.partition_point(|other| other.took >= took);
            self.slowest.insert(at, slow);
            self.slowest.truncate(SLOWEST);
        }
        let kind = match status {
            Some(status) if status >= 400 => status.to_string(),
            None => exchange.ending.as_str().to_owned(),
            Some(_) if exchange.ending != Ending::Completed => exchange.ending.as_str().to_owned(),
            Some(_) => return,
        };
        let key = (route.to_owned(), kind);
        if self.errors.len() < MOST_NAMES || self.errors.contains_key(&key) {
            *self.errors.entry(key).or_default() += 1;
        }
    }

    /// What went wrong most often first.
    pub(super) fn worst(&self) -> Vec<(&str, &str, u64)> {
        let mut worst: Vec<_> = self
            .errors
            .iter()
            .map(|((route, kind), count)| (route.as_str(), kind.as_str(), *count))
            .collect();
        worst.sort_by_key(|(route, kind, count)| (std::cmp::Reverse(*count), *route, *kind));
        worst
    }

    /// The hosts with the most requests first.
    pub(super) fn busiest_hosts(&self) -> Vec<(&str, u64)> {
        let mut hosts: Vec<_> = self.hosts.iter().map(|(host, count)| (host.as_str(), *count)).collect();
        hosts.sort_by_key(|(host, count)| (std::cmp::Reverse(*count), *host));
        hosts
    }

    /// The mean number of requests of a session, and how long the median session lasted.
    pub(super) fn session_length(&self) -> (f64, Duration) {
        let mut lengths: Vec<Duration> =
            self.sessions.values().map(|session| session.last.since(session.first)).collect();
        lengths.sort_unstable();
        let mean = self.exchanges as f64 / self.sessions.len().max(1) as f64;
        (mean, lengths.get(lengths.len() / 2).copied().unwrap_or_default())
    }

    /// The rate over the span, in so many equal parts: exchanges in each.
    pub(super) fn curve(&self, parts: u64) -> Vec<u64> {
        self.curve_of(&self.per_second, parts)
    }

    /// The same of some of the exchanges, counted by second.
    pub(super) fn curve_of(&self, per_second: &BTreeMap<u64, u64>, parts: u64) -> Vec<u64> {
        let Some(first) = self.first else { return Vec::new() };
        let seconds = self.seconds();
        let parts = parts.min(seconds).max(1);
        let mut counts = vec![0; usize::try_from(parts).unwrap_or(1)];
        for (&second, &count) in per_second {
            let at = (second - first.second()) * parts / seconds;
            if let Some(place) = usize::try_from(at).ok().and_then(|at| counts.get_mut(at)) {
                *place += count;
            }
        }
        counts
    }

    /// The seconds on the clock in which something arrived, from the first to the last.
    pub(super) fn seconds(&self) -> u64 {
        match (self.first, self.last) {
            (Some(first), Some(last)) => last.second() - first.second() + 1,
            _ => 1,
        }
    }

    pub(super) fn span(&self) -> Duration {
        match (self.first, self.last) {
            (Some(first), Some(last)) => last.since(first),
            _ => Duration::ZERO,
        }
    }

    pub(super) fn peak(&self) -> u64 {
        self.per_second.values().copied().max().unwrap_or(0)
    }

    /// The routes with the most requests first.
    pub(super) fn ranked(&self) -> Vec<(&str, &OfRoute)> {
        let mut ranked: Vec<(&str, &OfRoute)> =
            self.routes.names().iter().map(String::as_str).zip(&self.of_routes).collect();
        ranked.sort_by_key(|(name, route)| (std::cmp::Reverse(route.count), *name));
        ranked
    }

    /// Exchanges that went through whole.
    pub(super) fn complete(&self) -> u64 {
        self.endings.get(&Ending::Completed).copied().unwrap_or(0)
    }

    /// The others, by how they ended.
    pub(super) fn partial(&self) -> impl Iterator<Item = (Ending, u64)> + '_ {
        self.endings
            .iter()
            .map(|(ending, count)| (*ending, *count))
            .filter(|(ending, _)| *ending != Ending::Completed)
    }
}
