//! Counts what passes, whether or not it is recorded, for whoever watches the recorder.
//!
//! Each worker counts in a [`Meter`] of its own, under a lock that only a reader ever contends for; a request
//! that was seen before costs no allocation. Routes are told apart up to the limit of the captures, and only
//! those that were answered with success once: what a scanner tries is counted under `other`. No header, body
//! or query gets in here, and of a path only segments that are plain short words.

mod latencies;
mod route;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use captures::{Bytes, Tally};

pub use latencies::Latencies;
use route::{KnownRoutes, RouteTable};

use crate::upstream::UpstreamState;

/// The most status codes that are told apart; servers may invent hundreds.
const MAX_STATUSES: usize = 64;

/// What a recording has done since it began, and what it is doing.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Exchanges that ended, by route and class of status; only what is above zero.
    pub requests: Vec<RouteCount>,
    /// Exchanges that ended, by status; `None` is the rest: without a status, or one of too many.
    pub statuses: Vec<(Option<u16>, u64)>,
    /// From the request's head to the end of the exchange, by the clock of the proxy.
    pub exchange: Latencies,
    /// From the moment a request could be sent to a server until its answer's head.
    pub first_byte: Latencies,
    /// From the moment a request could be sent to a server until the end of the exchange.
    pub upstream: Latencies,
    /// Bytes of request bodies.
    pub received: Bytes,
    /// Bytes of response bodies.
    pub sent: Bytes,
    /// Exchanges under way.
    pub in_flight: u64,
    /// Client connections that are open.
    pub connections: u64,
    /// Client connections that were accepted.
    pub accepted: u64,
    /// Attempts to accept a connection that failed, mostly for want of descriptors.
    pub accept_failures: u64,
    /// TLS handshakes of clients that came to nothing; what such a client wanted is not known.
    pub handshake_failures: u64,
    /// Bytes that wait for the writer.
    pub queued: Bytes,
    /// The most that may wait.
    pub queue_limit: Bytes,
    /// What became of the exchanges.
    pub accounts: Tally,
    /// What is known of each address of each server.
    pub upstreams: Vec<UpstreamState>,
    /// Bytes in the files.
    pub file: Bytes,
    /// Whether recording is paused.
    pub paused: bool,
    /// Whether the capture cannot be written at present.
    pub failing: bool,
}

/// How many exchanges of a route ended with a class of status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteCount {
    /// The method; empty where routes are counted together.
    pub method: String,
    /// The path's shape, or `other`.
    pub route: String,
    /// The first digit of the status; 0 without an answer.
    pub class: u8,
    /// How many.
    pub count: u64,
}

/// The meters of all workers.
#[derive(Debug)]
pub(crate) struct Meters {
    table: Arc<RouteTable>,
    each: Mutex<Vec<Arc<Meter>>>,
    accepted: AtomicU64,
    accept_failures: AtomicU64,
    handshake_failures: AtomicU64,
}

impl Meters {
    pub(crate) fn new() -> Self {
        Self {
            table: Arc::default(),
            each: Mutex::default(),
            accepted: AtomicU64::new(0),
            accept_failures: AtomicU64::new(0),
            handshake_failures: AtomicU64::new(0),
        }
    }

    /// One more meter, for one worker.
    pub(crate) fn meter(&self) -> Arc<Meter> {
        let shard = Shard { routes: KnownRoutes::of(Arc::clone(&self.table)), ..Shard::default() };
        let meter = Arc::new(Meter {
            in_flight: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            shard: Mutex::new(shard),
        });
        self.each.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&meter));
        meter
    }

    pub(crate) fn on_accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn on_accept_failed(&self) {
        self.accept_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn on_handshake_failed(&self) {
        self.handshake_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// What all of them counted; what is not theirs is left at its default.
    pub(crate) fn sum(&self) -> Metrics {
        let mut sum = Shard::default();
        let mut metrics = Metrics {
            accepted: self.accepted.load(Ordering::Relaxed),
            accept_failures: self.accept_failures.load(Ordering::Relaxed),
            handshake_failures: self.handshake_failures.load(Ordering::Relaxed),
            ..Metrics::default()
        };
        for meter in self.each.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            metrics.in_flight += meter.in_flight.load(Ordering::Relaxed);
            metrics.connections += meter.connections.load(Ordering::Relaxed);
            sum.add(&meter.shard());
        }
        metrics.requests = sum.requests(&self.table.names());
        metrics.statuses = sum.statuses;
        metrics.statuses.sort_unstable();
        metrics.exchange = sum.exchange;
        metrics.first_byte = sum.first_byte;
        metrics.upstream = sum.upstream;
        metrics.received = Bytes::new(sum.received);
        metrics.sent = Bytes::new(sum.sent);
        metrics
    }
}

/// Counts for one worker.
#[derive(Debug)]
pub(crate) struct Meter {
    in_flight: AtomicU64,
    connections: AtomicU64,
    shard: Mutex<Shard>,
}

/// How an exchange went that has ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Passed<'a> {
    /// Method and target of the request, when it is known.
    pub(crate) request: Option<(&'a str, &'a [u8])>,
    /// The status of the answer, when there was one.
    pub(crate) status: Option<u16>,
    pub(crate) took: Duration,
    pub(crate) first_byte: Option<Duration>,
    pub(crate) upstream: Option<Duration>,
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

impl Meter {
    /// A client connected; it counts as open until the guard is dropped.
    pub(crate) fn connection(self: &Arc<Self>) -> impl Drop + use<> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(self))
    }

    /// An exchange began.
    pub(crate) fn on_began(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// One that began has ended.
    pub(crate) fn on_ended(&self, passed: &Passed<'_>) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.shard().count(passed);
    }

    /// One was refused before it began.
    pub(crate) fn on_refused(&self, passed: &Passed<'_>) {
        self.shard().count(passed);
    }

    fn shard(&self) -> MutexGuard<'_, Shard> {
        self.shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct OpenConnection(Arc<Meter>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What one worker counted.
#[derive(Debug, Default)]
struct Shard {
    routes: KnownRoutes,
    /// By the route's number, then by the first digit of the status.
    by_route: Vec<[u64; 6]>,
    /// Of routes that have no number.
    by_other: [u64; 6],
    statuses: Vec<(Option<u16>, u64)>,
    exchange: Latencies,
    first_byte: Latencies,
    upstream: Latencies,
    received: u64,
    sent: u64,
}

impl Shard {
    fn count(&mut self, passed: &Passed<'_>) {
        let class = usize::from(passed.status.unwrap_or(0) / 100).min(5);
        let is_served = matches!(class, 1..=3);
        let route = passed.request.and_then(|(method, target)| self.routes.number(method, target, is_served));
        match route {
            None => self.by_other[class] += 1,
            Some(number) => {
                if self.by_route.len() <= number {
                    self.by_route.resize(number + 1, [0; 6]);
                }
                self.by_route[number][class] += 1;
            }
        }
        count_status(&mut self.statuses, passed.status, 1);
        self.exchange.count(passed.took);
        if let Some(took) = passed.first_byte {
            self.first_byte.count(took);
        }
        if let Some(took) = passed.upstream {
            self.upstream.count(took);
        }
        self.received += passed.received;
        self.sent += passed.sent;
    }

    fn add(&mut self, other: &Self) {
        let routes = self.by_route.len().max(other.by_route.len());
        self.by_route.resize(routes, [0; 6]);
        for (ours, theirs) in self.by_route.iter_mut().zip(&other.by_route) {
            add_all(ours, theirs);
        }
        add_all(&mut self.by_other, &other.by_other);
        for &(status, count) in &other.statuses {
            count_status(&mut self.statuses, status, count);
        }
        self.exchange.add(&other.exchange);
        self.first_byte.add(&other.first_byte);
        self.upstream.add(&other.upstream);
        self.received += other.received;
        self.sent += other.sent;
    }

    fn requests(&self, names: &[String]) -> Vec<RouteCount> {
        let named = names.iter().zip(&self.by_route).map(|(name, counts)| {
            let (method, route) = name.split_once(' ').unwrap_or(("", name));
            (method, route, counts)
        });
        let mut requests = Vec::new();
        for (method, route, counts) in named.chain([("", captures::OTHER_ROUTE, &self.by_other)]) {
            for (class, &count) in (0..).zip(counts).filter(|&(_, &count)| count > 0) {
                requests.push(RouteCount {
                    method: method.to_owned(),
                    route: route.to_owned(),
                    class,
                    count,
                });
            }
        }
        requests
    }
}

fn add_all(ours: &mut [u64; 6], theirs: &[u64; 6]) {
    for (ours, theirs) in ours.iter_mut().zip(theirs) {
        *ours += theirs;
    }
}

fn count_status(statuses: &mut Vec<(Option<u16>, u64)>, status: Option<u16>, more: u64) {
    if let Some((_, count)) = statuses.iter_mut().find(|(known, _)| *known == status) {
        *count += more;
    } else if status.is_none() || statuses.len() < MAX_STATUSES {
        statuses.push((status, more));
    } else {
        count_status(statuses, None, more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(target: &str, status: u16) -> Passed<'_> {
        Passed { request: Some(("GET", target.as_bytes())), status: Some(status), ..Passed::default() }
    }

    #[test]
    fn what_all_workers_counted_is_one_sum() {
        let meters = Meters::new();
        let (one, two) = (meters.meter(), meters.meter());
        for (meter, target, status) in [
            (&one, "/a", 200),
            (&two, "/b?q=1", 200),
            (&two, "/a", 404),
            (&one, "/a", 200),
            (&one, "/c", 404),
        ] {
            meter.on_began();
            meter.on_ended(&passed(target, status));
        }
        one.on_began();
        let _open = two.connection();

        let metrics = meters.sum();

        let counted: Vec<(&str, u8, u64)> =
            metrics.requests.iter().map(|each| (each.route.as_str(), each.class, each.count)).collect();
        assert_eq!(counted, [("/a", 2, 2), ("/a", 4, 1), ("/b", 2, 1), ("other", 4, 1)]);
        assert_eq!(metrics.statuses, [(Some(200), 3), (Some(404), 2)]);
        assert_eq!((metrics.in_flight, metrics.connections), (1, 1));
        assert_eq!(metrics.exchange.count_all(), 5);
    }

    #[test]
    fn a_hundred_thousand_paths_are_few_routes() {
        let meters = Meters::new();
        let meter = meters.meter();
        for at in 0..100_000_u32 {
            let word: String = at.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
            meter.on_began();
            meter.on_ended(&passed(&format!("/{word}"), 200 + u16::try_from(at % 700).unwrap()));
        }

        let metrics = meters.sum();

        assert!(metrics.requests.len() <= (captures::MAX_ROUTES + 1) * 6);
        assert!(metrics.statuses.len() <= MAX_STATUSES + 1);
        assert_eq!(metrics.requests.iter().map(|each| each.count).sum::<u64>(), 100_000);
        assert_eq!(metrics.statuses.iter().map(|(_, count)| count).sum::<u64>(), 100_000);
    }
}
