//! A seeded discrete-event simulator of services whose capacity is known, and what a replay against them
//! would have written down.
//!
//! A request takes a place in the pool, then a core, then waits for something else (a database, a disk), and
//! gives its place back. Leaving parts out gives M/M/c, M/D/c and a plain pool. A service by the universal
//! scalability law completes `X(n)` requests a second with `n` of them at work, and lets no more than `pool` in.

#[path = "../fixtures/run.rs"]
mod fixture;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use captures::{Bytes, ExchangeId, Interval, Observed, ObservedKind, Offset, Outcome, Run, RunEnd, Stage};
use rand::RngExt;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// A length of service.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Law {
    /// Exponential with this mean, in seconds.
    Exponential(f64),
    /// Always this, in seconds.
    Fixed(f64),
    /// At least so many seconds, and an exponential time on top.
    Shifted { least: f64, more: f64 },
}

/// A service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service {
    /// Requests that may be at work at once.
    pub(crate) pool: usize,
    /// Cores; a request needs one for `cpu`.
    pub(crate) cores: usize,
    /// The work on a core.
    pub(crate) cpu: Law,
    /// What follows while the place in the pool is kept.
    pub(crate) elsewhere: Law,
    /// σ, κ and λ of a service by the universal scalability law, in place of cores and the rest.
    pub(crate) usl: Option<[f64; 3]>,
}

/// What a simulation gave.
#[derive(Debug, Default)]
pub(crate) struct Simulated {
    /// When each request was due and done, in seconds.
    pub(crate) answered: Vec<(f64, f64)>,
    /// Cores at work, second by second.
    pub(crate) cores: Vec<f64>,
    /// Places of the pool in use, second by second.
    pub(crate) pool: Vec<f64>,
}

impl Law {
    fn draw(self, chance: &mut ChaCha8Rng) -> f64 {
        match self {
            Self::Exponential(mean) => mean * exponential(chance),
            Self::Fixed(length) => length,
            Self::Shifted { least, more } => least + more * exponential(chance),
        }
    }

    /// Its mean, in seconds.
    #[allow(dead_code, reason = "not every test that simulates asks for it")]
    pub(crate) const fn mean(self) -> f64 {
        match self {
            Self::Exponential(mean) | Self::Fixed(mean) => mean,
            Self::Shifted { least, more } => least + more,
        }
    }
}

fn exponential(chance: &mut ChaCha8Rng) -> f64 {
    -(1.0 - chance.random::<f64>()).ln()
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    OffCore(usize),
    Back(usize),
    Completion(u64),
}

struct World {
    service: Service,
    chance: ChaCha8Rng,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    order: u64,
    due: Vec<f64>,
    done: Vec<f64>,
    for_pool: VecDeque<usize>,
    for_core: VecDeque<usize>,
    at_work: Vec<usize>,
    in_pool: usize,
    on_core: usize,
    generation: u64,
    accounted: f64,
    cores: Vec<f64>,
    pool: Vec<f64>,
}

/// Poisson arrivals at each of `rates` in turn for `seconds`.
pub(crate) fn simulate(service: Service, rates: &[f64], seconds: f64, seed: u64) -> Simulated {
    let mut world = World {
        service,
        chance: ChaCha8Rng::seed_from_u64(seed),
        events: BinaryHeap::new(),
        order: 0,
        due: Vec::new(),
        done: Vec::new(),
        for_pool: VecDeque::new(),
        for_core: VecDeque::new(),
        at_work: Vec::new(),
        in_pool: 0,
        on_core: 0,
        generation: 0,
        accounted: 0.0,
        cores: Vec::new(),
        pool: Vec::new(),
    };
    let end = seconds * rates.len() as f64;
    world.arrive_after(0.0, rates[0]);
    while let Some(Reverse((nanos, _, event))) = world.events.pop() {
        let now = nanos as f64 / 1e9;
        world.account(now);
        match event {
            Event::Arrival => {
                if now >= end {
                    continue;
                }
                world.due.push(now);
                world.done.push(f64::NAN);
                world.for_pool.push_back(world.due.len() - 1);
                world.arrive_after(now, rates[((now / seconds) as usize).min(rates.len() - 1)]);
            }
            Event::OffCore(id) => {
                world.on_core -= 1;
                let length = service.elsewhere.draw(&mut world.chance);
                world.schedule(now + length, Event::Back(id));
            }
            Event::Back(id) => {
                world.done[id] = now;
                world.in_pool -= 1;
            }
            Event::Completion(generation) if generation == world.generation => {
                let pick = world.chance.random_range(0..world.at_work.len());
                let id = world.at_work.swap_remove(pick);
                world.done[id] = now;
                world.in_pool -= 1;
            }
            Event::Completion(_) => continue,
        }
        world.proceed(now);
    }
    Simulated {
        answered: world.due.into_iter().zip(world.done).collect(),
        cores: world.cores,
        pool: world.pool,
    }
}

impl World {
    fn schedule(&mut self, at: f64, event: Event) {
        self.order += 1;
        self.events.push(Reverse(((at * 1e9).ceil() as u64, self.order, event)));
    }

    fn arrive_after(&mut self, now: f64, rate: f64) {
        let at = now + exponential(&mut self.chance) / rate;
        self.schedule(at, Event::Arrival);
    }

    fn proceed(&mut self, now: f64) {
        while self.in_pool < self.service.pool {
            let Some(id) = self.for_pool.pop_front() else { break };
            self.in_pool += 1;
            match self.service.usl {
                Some(_) => self.at_work.push(id),
                None => self.for_core.push_back(id),
            }
        }
        while self.on_core < self.service.cores {
            let Some(id) = self.for_core.pop_front() else { break };
            self.on_core += 1;
            let length = self.service.cpu.draw(&mut self.chance);
            self.schedule(now + length, Event::OffCore(id));
        }
        if let Some([contention, coherency, rate]) = self.service.usl {
            self.generation += 1;
            let n = self.at_work.len() as f64;
            if n > 0.0 {
                let throughput = rate * n / (1.0 + contention * (n - 1.0) + coherency * n * (n - 1.0));
                let length = exponential(&mut self.chance) / throughput;
                self.schedule(now + length, Event::Completion(self.generation));
            }
        }
    }

    /// Adds what was in use since the last event to the seconds it was in use.
    fn account(&mut self, now: f64) {
        while self.accounted < now {
            let second = self.accounted as usize;
            let until = now.min((second + 1) as f64);
            self.cores.resize(second + 1, 0.0);
            self.pool.resize(second + 1, 0.0);
            self.cores[second] += self.on_core as f64 * (until - self.accounted);
            self.pool[second] += self.in_pool as f64 * (until - self.accounted);
            self.accounted = until;
        }
    }
}

/// What a replay would have written down; 1x is 50 requests a second.
pub(crate) fn run_of(rates: &[f64], seconds: f64, simulated: &Simulated) -> Run {
    let answered = &simulated.answered;
    let total = (seconds * rates.len() as f64) as usize;
    let last = answered.iter().map(|each| each.1).fold(0.0, f64::max) as usize + 1;
    let mut intervals: Vec<Interval> = (0..last.max(total))
        .map(|second| Interval { second: second as u64, ..Interval::default() })
        .collect();
    for &(due, done) in answered {
        let moment = |at: f64| Offset::from_nanos((at * 1e9) as u64);
        let outcome = Outcome {
            exchange: ExchangeId(0),
            copy: 0,
            route: 0,
            recorded_status: Some(200),
            due: moment(due),
            ready: moment(due),
            sent: Some(moment(due)),
            first_byte: Some(moment(done)),
            connecting: Duration::ZERO,
            done: moment(done),
            result: Ok(200),
            received: Bytes::new(0),
            reused: false,
            retried: false,
        };
        let interval = &mut intervals[due as usize];
        interval.planned += 1;
        interval.route_mut(0).count(&outcome);
        intervals[done as usize].completed += 1;
        for interval in &mut intervals[due as usize..=done as usize] {
            let second = interval.second as f64;
            interval.in_flight += done.min(second + 1.0) - due.max(second);
        }
    }
    for interval in &mut intervals {
        let second = interval.second as usize;
        let gauge = |name: &str, series: &[f64]| Observed {
            name: format!("app/{name}"),
            kind: ObservedKind::Gauge,
            value: series.get(second).copied().unwrap_or(0.0),
        };
        interval.observed = vec![gauge("cores_busy", &simulated.cores), gauge("pool_busy", &simulated.pool)];
    }
    let stage = |index: usize, rate: f64| Stage {
        begin: Offset::from_nanos((index as f64 * seconds * 1e9) as u64),
        end: Offset::from_nanos(((index + 1) as f64 * seconds * 1e9) as u64),
        from: rate / 50.0,
        to: rate / 50.0,
    };
    let stages = rates.iter().enumerate().map(|(index, &rate)| stage(index, rate)).collect();
    let run = fixture::run(stages, vec!["GET /".to_owned()], intervals);
    let ended = Offset::from_secs(last as u64);
    Run { end: Some(RunEnd { ended, ..RunEnd::default() }), ..run }
}
