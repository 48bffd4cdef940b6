//! Knows the servers that requests go to: which is next, which are well, how busy each is.
//!
//! A *server* is what the user named once, with a weight; requests are balanced over servers. A name may have
//! several *addresses*: they are one server's, tried in the resolver's order, and the one that took a
//! connection last goes first. Health and connections are counted by address, in atomics that all workers
//! share; one short lock decides whose turn it is, and is not taken where there is one server.
//!
//! A server that cannot be connected to is passed over while there are others. When all are down the request
//! is sent all the same: what the client is told comes from the upstream, not from our opinion of it.

mod answer;
mod balance;
mod health;
mod key;
mod order;
mod settings;
mod watch;

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use captures::Offset;

pub(crate) use answer::{refusal, status_for, what_happened};
pub use balance::Balance;
use balance::{Wheel, hash, rendezvous};
use health::Health;
pub(crate) use key::session_key;
pub(crate) use order::{in_received_order, without_chunks, without_hop_by_hop};
pub use settings::{Check, HealthChecks, HostHeader};
pub(crate) use watch::{Checks, watch};

use crate::config::Upstreams;

/// All servers, shared by the workers.
#[derive(Debug)]
pub(crate) struct Servers {
    balance: Balance,
    servers: Vec<Server>,
    weights: Vec<u32>,
    seeds: Vec<u64>,
    addresses: Vec<Address>,
    wheel: Mutex<Wheel>,
}

#[derive(Debug)]
struct Server {
    typed: String,
    addresses: Range<usize>,
    /// The address that took a connection last, counted from the server's first.
    preferred: AtomicUsize,
    active: AtomicU64,
}

#[derive(Debug)]
struct Address {
    at: SocketAddr,
    server: usize,
    health: Health,
    active: AtomicU64,
    failures: AtomicU64,
}

/// What is known of one address of a server at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamState {
    /// The server, as typed.
    pub server: String,
    /// The address.
    pub address: SocketAddr,
    /// Whether its last connection came about and the checks, if any, say that it is well.
    pub up: bool,
    /// Requests that are there at this moment.
    pub active: u64,
    /// Requests that it failed so far, by taking no connection or by breaking off.
    pub failures: u64,
}

/// What a choice depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// The addresses that this request could not be brought to.
    pub(crate) tried: &'a [usize],
    /// Whether the request may be sent to another server after one took no connection, and may be the one
    /// that finds out whether a server takes connections again.
    pub(crate) repeatable: bool,
    pub(crate) now: Offset,
}

impl Servers {
    /// The servers of a configuration, all of them up.
    pub(crate) fn new(upstreams: &Upstreams) -> Self {
        let (mut servers, mut addresses) = (Vec::new(), Vec::new());
        for (number, server) in upstreams.servers.iter().enumerate() {
            let first = addresses.len();
            addresses.extend(server.addresses.iter().map(|&at| Address {
                at,
                server: number,
                health: Health::new(),
                active: AtomicU64::new(0),
                failures: AtomicU64::new(0),
            }));
            servers.push(Server {
                typed: server.typed.clone(),
                addresses: first..addresses.len(),
                preferred: AtomicUsize::new(0),
                active: AtomicU64::new(0),
            });
        }
        let weights: Vec<u32> = upstreams.servers.iter().map(|server| server.weight).collect();
        Self {
            balance: upstreams.balance,
            seeds: upstreams.servers.iter().map(|server| hash(&[server.typed.as_bytes()])).collect(),
            wheel: Mutex::new(Wheel::new(weights.clone())),
            weights,
            servers,
            addresses,
        }
    }

    /// The address that a request goes to next: an index in the order of the capture's servers. `key` gives
    /// the hash of the request's session.
    pub(crate) fn choose(&self, asked: Asked<'_>, key: impl FnOnce() -> u64) -> usize {
        if self.addresses.len() == 1 {
            return 0;
        }
        let hashed = self.balance == Balance::Hash && self.servers.len() > 1;
        let key = if hashed { key() } else { 0 };
        let Asked { now, .. } = asked;
        for probing in [asked.repeatable, false] {
            let usable =
                |at: usize| self.is_open(asked, at) && self.addresses[at].health.is_usable(now, probing);
            match self.pick(key, usable) {
                Some(at) if self.addresses[at].health.claim(now) => return at,
                Some(_) => {}
                None => break,
            }
        }
        self.pick(key, |at| self.is_open(asked, at)).unwrap_or(0)
    }

    /// Whether there is another address that this request may be brought to.
    pub(crate) fn has_more(&self, asked: Asked<'_>) -> bool {
        (0..self.addresses.len()).any(|at| self.is_open(asked, at))
    }

    fn is_open(&self, asked: Asked<'_>, at: usize) -> bool {
        let same_server = |tried: &usize| self.addresses[*tried].server == self.addresses[at].server;
        !asked.tried.contains(&at) && (asked.repeatable || asked.tried.iter().all(same_server))
    }

    fn pick(&self, key: u64, eligible: impl Fn(usize) -> bool) -> Option<usize> {
        let has_one = |server: usize| self.servers[server].addresses.clone().any(&eligible);
        let chosen = if self.servers.len() == 1 {
            0
        } else {
            let wheel = || self.wheel.lock().unwrap_or_else(PoisonError::into_inner);
            match self.balance {
                Balance::RoundRobin => wheel().next(has_one)?,
                Balance::LeastConnections => {
                    let busy = |server: usize| self.servers[server].active.load(Ordering::Relaxed);
                    wheel().least(busy, has_one)?
                }
                Balance::Hash => rendezvous(&self.seeds, &self.weights, key, has_one)?,
            }
        };
        let Server { addresses, preferred, .. } = &self.servers[chosen];
        let (count, first) = (addresses.len(), preferred.load(Ordering::Relaxed));
        (0..count).map(|step| addresses.start + (first + step) % count).find(|&at| eligible(at))
    }

    /// A request is there until the answer is dropped.
    pub(crate) fn hold(self: &Arc<Self>, at: usize) -> Held {
        self.addresses[at].active.fetch_add(1, Ordering::Relaxed);
        self.servers[self.addresses[at].server].active.fetch_add(1, Ordering::Relaxed);
        Held { servers: Arc::clone(self), at }
    }

    /// The address took no connection.
    pub(crate) fn on_refused(&self, at: usize, now: Offset) {
        self.on_failure(at);
        self.addresses[at].health.on_refused(now);
    }

    /// The address took a connection.
    pub(crate) fn on_connected(&self, at: usize) {
        let address = &self.addresses[at];
        address.health.on_connected();
        let server = &self.servers[address.server];
        if server.addresses.len() > 1 {
            server.preferred.store(at - server.addresses.start, Ordering::Relaxed);
        }
    }

    /// The address failed a request.
    pub(crate) fn on_failure(&self, at: usize) {
        self.addresses[at].failures.fetch_add(1, Ordering::Relaxed);
    }

    /// What is known of each address, in the order of the capture's servers.
    pub(crate) fn states(&self) -> Vec<UpstreamState> {
        let state = |address: &Address| UpstreamState {
            server: self.servers[address.server].typed.clone(),
            address: address.at,
            up: address.health.is_up(),
            active: address.active.load(Ordering::Relaxed),
            failures: address.failures.load(Ordering::Relaxed),
        };
        self.addresses.iter().map(state).collect()
    }
}

/// A request that is at an address.
#[derive(Debug)]
pub(crate) struct Held {
    servers: Arc<Servers>,
    at: usize,
}

impl Held {
    /// The address, an index in the order of the capture's servers.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let address = &self.servers.addresses[self.at];
        address.active.fetch_sub(1, Ordering::Relaxed);
        self.servers.servers[address.server].active.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
