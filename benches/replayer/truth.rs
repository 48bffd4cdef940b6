//! Servers whose response times are known: what the replayer reports of them, and what a closed loop would.
//!
//! A server here is a queue: a request begins its service when it has arrived and one of the servers is free, in
//! order of arrival (Lindley's recursion), and is answered at the end of its service, whose length is drawn from a
//! seeded generator. So the truth is known twice: by the recursion over the planned arrivals, beside the server's own record of those that came, and by the theory of
//! such queues.

mod theory;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::support::{Recorded, has, now, write_capture};

const SECONDS: f64 = 20.0;
const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)];
/// Of a stall, those that it reaches: the others are the time that loopback takes.
const STALLED: [(&str, f64); 2] = [("p99", 0.99), ("p999", 0.999)];
/// A departure this near is waited for without sleeping, so that it is not late.
const SPIN: Duration = Duration::from_micros(500);
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GOAL: f64 = 5.0;

/// How long a service takes, in seconds.
#[derive(Clone, Copy)]
enum Service {
    Fixed(f64),
    /// Exponential, of this mean.
    Exponential(f64),
}

impl Service {
    const fn mean(self) -> f64 {
        match self {
            Self::Fixed(mean) | Self::Exponential(mean) => mean,
        }
    }
}

/// A queue.
#[derive(Clone, Copy)]
struct Queue {
    servers: usize,
    service: Service,
    /// No service begins for so long, so long after the first arrival.
    stall: Option<(f64, f64)>,
}

/// A queue while it works. Moments are in seconds.
struct Stations {
    queue: Queue,
    free: Vec<f64>,
    draws: Draws,
    first: Option<f64>,
}

impl Stations {
    fn new(queue: Queue) -> Self {
        Self { queue, free: vec![0.0; queue.servers], draws: Draws(99), first: None }
    }

    /// When a request that arrives then is answered.
    fn answers_at(&mut self, arrived: f64) -> f64 {
        let begin = *self.first.get_or_insert(arrived);
        let server = self.free.iter_mut().min_by(|one, other| one.total_cmp(other)).unwrap();
        let mut start = arrived.max(*server);
        if let Some((after, length)) = self.queue.stall
            && (begin + after..begin + after + length).contains(&start)
        {
            start = begin + after + length;
        }
        let service = match self.queue.service {
            Service::Fixed(seconds) => seconds,
            Service::Exponential(mean) => self.draws.exponential(mean),
        };
        *server = start + service;
        *server
    }
}

/// Prints a row for each quantile of each queue.
pub(crate) fn measure() {
    println!("\nresponse times of servers whose truth is known, in ms ({SECONDS} s each)");
    println!(
        "{:<26} {:>4} {:>9} {:>9} {:>8} {:>9} {:>8} {:>9} {:>8} {:>11}",
        "", "", "reported", "recursion", "", "server's", "", "theory", "", "closed loop"
    );
    let fixed = Queue { servers: 8, service: Service::Fixed(0.010), stall: None };
    // Not every 100 ms: a peak of the plan in each window, and the ceiling would hold back what comes early.
    let bursts: Vec<f64> =
        (0..(SECONDS / 0.13) as u64).flat_map(|burst| std::iter::repeat_n(burst as f64 * 0.13, 24)).collect();
    // 24 at once at 8 servers: a third each is answered after one, two and three services.
    row("bursts of 24 at a pool of 8", fixed, &bursts, &|quantile| 0.010 * (quantile * 3.0).ceil());
    let (at, length) = (2.0, 0.1);
    let quick = Queue { servers: 1, service: Service::Fixed(20e-6), stall: Some((at, length)) };
    let even: Vec<f64> = (0..50_000).map(|one| f64::from(one) / 10_000.0).collect();
    // Who comes during the stall waits for its end and for those before; the backlog drains at what is left of the
    // rate. So a share of length / (1 − load) / run is late, evenly between nothing and the length.
    let share = length / 0.8 / 5.0;
    let stalled = move |quantile: f64| ((1.0 - (1.0 - quantile) / share) * length).max(20e-6);
    row("a stall of 100 ms, 10 000/s", quick, &even, &stalled);
    for load in [0.5, 0.8, 0.95] {
        let queue = Queue { servers: 4, service: Service::Exponential(0.008), stall: None };
        let rate = load * 4.0 / 0.008;
        let name = format!("M/M/4 at {:.0} %", load * 100.0);
        row(&name, queue, &poisson(rate), &|quantile| theory::erlang(rate, 0.008, 4, quantile));
    }
    for load in [0.5, 0.8, 0.95] {
        let queue = Queue { servers: 1, service: Service::Fixed(0.005), stall: None };
        let rate = load / 0.005;
        let name = format!("M/D/1 at {:.0} %", load * 100.0);
        row(&name, queue, &poisson(rate), &|quantile| theory::crommelin(rate, 0.005, quantile));
    }
    println!(
        "goal: within {GOAL} %. The theory is of an endless run: near saturation one of {SECONDS} s is a small sample of \
         it, and the recursion over its own arrivals is the truth."
    );
    println!(
        "closed loop: wrk with as many connections as requests are in service on the average (it guesses what stalls \
         hid from it, and adds that)"
    );
}

/// Arrivals of this mean rate, as Poisson's.
fn poisson(rate: f64) -> Vec<f64> {
    let (mut draws, mut at, mut moments) = (Draws(7), 0.0, Vec::new());
    while at < SECONDS {
        moments.push(at);
        at += draws.exponential(1.0 / rate);
    }
    moments
}

fn row(name: &str, queue: Queue, moments: &[f64], theory: &dyn Fn(f64) -> f64) {
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("c.capture");
    let requests: Vec<Recorded> = moments
        .iter()
        .zip(0_u64..)
        .map(|(at, number)| Recorded {
            arrived: Duration::from_secs_f64(*at),
            connection: number,
            method: "GET",
            target: "/".to_owned(),
            body: Vec::new(),
        })
        .collect();
    write_capture(&capture, &requests);
    let server = Known::start(queue);
    let output = Command::new(env!("CARGO_BIN_EXE_highwater"))
        .args(["replay", capture.to_str().unwrap(), "--threads", "1", "--quiet", "--json"])
        .args(["--connections", "3000", "--target", &format!("http://{}", server.address), "--out"])
        .arg(folder.path().join("r.run"))
        .output()
        .unwrap();
    let Ok(shown) = serde_json::from_slice::<serde_json::Value>(&output.stdout) else {
        println!("{name:<26} {}", String::from_utf8_lossy(&output.stderr).trim());
        return;
    };
    let mut stations = Stations::new(queue);
    let mut planned: Vec<f64> = moments.iter().map(|at| stations.answers_at(*at) - at).collect();
    let mut took = server.take();
    planned.sort_by(f64::total_cmp);
    took.sort_by(f64::total_cmp);
    let rate = moments.len() as f64 / moments[moments.len() - 1];
    let closed = closed_loop(queue, ((rate * queue.service.mean()).round() as usize).max(1));
    let quantiles = if queue.stall.is_some() { &STALLED[..] } else { &QUANTILES };
    for &(label, quantile) in quantiles {
        let reported = shown["response_ms"][label].as_f64().unwrap();
        let of = |times: &[f64]| times[((times.len() - 1) as f64 * quantile) as usize] * 1e3;
        let (by_plan, own) = (of(&planned), of(&took));
        let known = theory(quantile) * 1e3;
        let off = |truth: f64| format!("{:+.1} %", (reported / truth - 1.0) * 100.0);
        let closed = closed.iter().find(|(of, _)| *of == label).map_or(f64::NAN, |(_, ms)| *ms);
        println!(
            "{:<26} {label:>4} {reported:>9.3} {by_plan:>9.3} {:>8} {own:>9.3} {:>8} {known:>9.3} {:>8} {closed:>11.3}{}",
            if label == quantiles[0].0 { name } else { "" },
            off(by_plan),
            off(own),
            off(known),
            if output.status.code() == Some(5) { "  (the run calls itself invalid)" } else { "" },
        );
    }
}

/// What wrk says of the same queue.
fn closed_loop(queue: Queue, connections: usize) -> Vec<(&'static str, f64)> {
    if !has("wrk") {
        return Vec::new();
    }
    let server = Known::start(queue);
    let output = Command::new("wrk")
        .args([
            "-t1",
            &format!("-c{connections}"),
            "-d5s",
            "--latency",
            &format!("http://{}/", server.address),
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let millis = |text: &str| -> Option<f64> {
        [("us", 1e-3), ("ms", 1.0), ("s", 1e3)]
            .into_iter()
            .find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor))
    };
    let of = |percent: &str| text.lines().find_map(|line| millis(line.trim().strip_prefix(percent)?.trim()));
    [("p50", "50%"), ("p90", "90%"), ("p99", "99%")]
        .into_iter()
        .filter_map(|(label, percent)| Some((label, of(percent)?)))
        .collect()
}

/// A linear congruential generator (Knuth's MMIX), as elsewhere in these benchmarks.
struct Draws(u64);

impl Draws {
    fn exponential(&mut self, mean: f64) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let uniform = ((self.0 >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        -uniform.ln() * mean
    }
}

/// A server that is such a queue: one thread with one epoll set.
struct Known {
    address: SocketAddr,
    /// How long each request took: from its arrival to its answer, in seconds.
    took: Arc<Mutex<Vec<f64>>>,
    over: Arc<AtomicBool>,
}

impl Known {
    fn start(queue: Queue) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        rustix::net::listen(&listener, 4_096).unwrap();
        let known = Self {
            address: listener.local_addr().unwrap(),
            took: Arc::new(Mutex::new(Vec::new())),
            over: Arc::new(AtomicBool::new(false)),
        };
        let (took, over) = (Arc::clone(&known.took), Arc::clone(&known.over));
        std::thread::spawn(move || serve(&listener, queue, &took, &over));
        known
    }

    fn take(&self) -> Vec<f64> {
        std::mem::take(&mut *self.took.lock().unwrap())
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn serve(listener: &TcpListener, queue: Queue, took: &Mutex<Vec<f64>>, over: &AtomicBool) {
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    let _ = rustix::process::nice(-10);
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    epoll::add(&set, listener, epoll::EventData::new_u64(u64::MAX), epoll::EventFlags::IN).unwrap();
    let mut connections: Vec<Option<Arc<OwnedFd>>> = Vec::new();
    let mut events = Vec::with_capacity(1_024);
    let mut buffer = vec![0_u8; 64 << 10];
    let (mut stations, epoch) = (Stations::new(queue), now());
    // Departures, with the number of the request, its arrival and its connection.
    let mut leaving: BinaryHeap<Reverse<(Instant, u64, Instant, usize)>> = BinaryHeap::new();
    let mut number = 0_u64;
    while !over.load(Ordering::Relaxed) {
        let next = leaving.peek().map_or(Duration::from_millis(50), |Reverse((at, ..))| {
            at.saturating_duration_since(now()).min(Duration::from_millis(50))
        });
        events.clear();
        let next = next.saturating_sub(SPIN);
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(next.subsec_nanos()) };
        let _ = epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), Some(&timeout));
        for event in &events {
            if event.data.u64() == u64::MAX {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true).unwrap();
                    stream.set_nodelay(true).unwrap();
                    let token = epoll::EventData::new_u64(connections.len() as u64);
                    let socket = Arc::new(OwnedFd::from(stream));
                    epoll::add(&set, &socket, token, epoll::EventFlags::IN).unwrap();
                    connections.push(Some(socket));
                }
                continue;
            }
            let at = usize::try_from(event.data.u64()).unwrap();
            let Some(socket) = &connections[at] else { continue };
            match rustix::net::recv(&**socket, &mut buffer[..], RecvFlags::empty()) {
                // A request is small and comes whole; there is one at a time on a connection.
                Ok((received, _)) if received > 0 => {
                    let arrived = now();
                    let leaves = stations.answers_at(arrived.duration_since(epoch).as_secs_f64());
                    number += 1;
                    leaving.push(Reverse((epoch + Duration::from_secs_f64(leaves), number, arrived, at)));
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                _ => connections[at] = None,
            }
        }
        let moment = now();
        let mut done = Vec::new();
        while let Some(&Reverse((at, _, arrived, connection))) = leaving.peek()
            && at <= moment
        {
            leaving.pop();
            if let Some(socket) = &connections[connection] {
                let _ = rustix::net::send(&**socket, ANSWER, SendFlags::NOSIGNAL);
            }
            done.push(moment.duration_since(arrived).as_secs_f64());
        }
        if !done.is_empty() {
            took.lock().unwrap().append(&mut done);
        }
    }
}
