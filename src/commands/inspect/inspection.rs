//! Counts what is in a capture, exchange by exchange.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use captures::{Ending, Exchange, Histogram, Offset, Routes, route_of};

use super::session_key;

/// What a capture came to.
#[derive(Debug, Default)]
pub(super) struct Inspection {
    pub(super) exchanges: u64,
    pub(super) attempts: u64,
    pub(super) first: Option<Offset>,
    pub(super) last: Option<Offset>,
    pub(super) connections: BTreeSet<u64>,
    pub(super) sessions: BTreeSet<u64>,
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
    pub(super) retried: u64,
    pub(super) unforwarded: u64,
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
        self.sessions.insert(exchange.session.0);
        *self.session_keys.entry(session_key(exchange.session_key)).or_default() += 1;
        *self.endings.entry(exchange.ending).or_default() += 1;
        *self.methods.entry(String::from_utf8_lossy(&exchange.request.method).into_owned()).or_default() += 1;
        *self.per_second.entry(exchange.arrived.second()).or_default() += 1;
        self.request_bytes += exchange.request.body.length;
        self.cut_bodies += u64::from(!exchange.request.body.is_whole());
        let number =
            usize::from(self.routes.number(&route_of(&exchange.request.method, &exchange.request.target)));
        self.of_routes.resize_with(self.of_routes.len().max(number + 1), OfRoute::default);
        let route = &mut self.of_routes[number];
        route.count += 1;
        route.service.record(exchange.ended.since(exchange.arrived));
        match &exchange.response {
            Some(response) => {
                *self.statuses.entry(response.status).or_default() += 1;
                self.response_bytes += response.body.length;
                self.cut_bodies += u64::from(!response.body.is_whole());
                route.errors += u64::from(response.status >= 500);
            }
            None => route.errors += 1,
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
