//! Runs a recording: one thread accepts, the workers proxy, one thread writes.
//!
//! The engine's own server is not used: it waits at a stop, exits the process, and cannot say on which port
//! it listens. Here connections are dealt to the workers in turn, each worker has a runtime, an engine and a
//! pool of upstream connections of its own, and nothing is shared between them but the queue.
//!
//! A stop closes the listening socket, lets requests in flight end within the grace, closes idle connections
//! at once, then closes the file. A second stop ends the grace.
//!
//! A start touches the file last: what can fail has been done by then, so that a recording that cannot start
//! costs no older capture.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc as handover;
use std::thread::JoinHandle;
use std::time::Duration;

use captures::{Bytes, CaptureHeader, ConnectionId};
use pingora::apps::HttpServerApp;
use pingora::connectors::ConnectorOptions;
use pingora::proxy::{HttpProxy, http_proxy};
use pingora::server::configuration::ServerConf;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::assembly::{BodyPolicy, Room};
use crate::clock::Clock;
use crate::config::Config;
use crate::connection::Connection;
use crate::error::RecordError;
use crate::files::Segments;
use crate::gate::{self, Limits, Visit};
use crate::metrics::{Meter, Meters};
use crate::monitor::Monitor;
use crate::notice::Notice;
use crate::outlet::Outlet;
use crate::policy::Screen;
use crate::proxy::{Proxy, Tap};
use crate::redact::{MaskPolicy, Redaction};
use crate::spool::{Queue, Totals, write_all};
use crate::upstream::{self, Checks, Servers, UpstreamState};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;
/// How often a request is sent again, beyond once to every address.
const RETRIES: usize = 16;
/// The memory for bodies of exchanges that have not ended, beside that of the queue.
const IN_FLIGHT: Bytes = Bytes::new(64 << 20);
/// How long to wait when no connection can be accepted for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Listens on `address`; port 0 lets the machine choose.
///
/// # Errors
/// When something else listens there, or the address is not this machine's to listen on.
pub fn bind(address: SocketAddr) -> Result<TcpListener, RecordError> {
    let cannot = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => RecordError::ListenInUse { address },
        _ => RecordError::CannotListen { address, error },
    };
    let listener = TcpListener::bind(address).map_err(cannot)?;
    rustix::net::listen(&listener, BACKLOG).map_err(|error| cannot(error.into()))?;
    listener.set_nonblocking(true).map_err(cannot)?;
    Ok(listener)
}

/// Starts to proxy what comes to `listener`, and to record it into `sink`; without one, nothing is recorded.
///
/// What `sink` holds is replaced, but not before everything else has succeeded. `notice` hears what a user
/// should know at once; it is called on threads that no request waits for. The process's limit of open descriptors is
/// raised as far as it may be: each request takes two.
///
/// # Errors
/// When the upstream is the listener itself, the sink takes no header, or the machine gives no threads.
pub fn start(
    config: Config,
    listener: TcpListener,
    sink: Option<Segments>,
    notice: impl Fn(Notice) + Send + Sync + 'static,
) -> Result<Recording, RecordError> {
    let machine = |error| RecordError::Machine { error };
    let address = listener.local_addr().map_err(machine)?;
    if let Some(itself) = config.upstreams.addresses().find(|upstream| reaches(*upstream, address)) {
        return Err(RecordError::Loop { address: itself });
    }
    raise_descriptor_limit();
    let (clock, started) = Clock::start();
    let queue = Arc::new(Queue::new(config.files.queue));
    let tap = Arc::new(Tap {
        clock,
        queue: Arc::clone(&queue),
        bodies: BodyPolicy {
            request: config.policy.request_bodies.clone(),
            response: config.policy.response_bodies.clone(),
            key: match &config.masking {
                MaskPolicy::None => None,
                MaskPolicy::Pseudonyms { key, .. } => Some(*key),
            },
            room: Room::of(config.files.queue.plus(IN_FLIGHT)),
        },
        recording: sink.is_some(),
        record_replayed: config.policy.record_replayed,
        next_id: AtomicU64::new(0),
    });

    let engine_settings = Arc::new(ServerConf {
        upstream_keepalive_pool_size: config.upstreams.pool,
        // Every address may refuse, and a connection from the pool may die.
        max_retries: config.upstreams.addresses().count() + RETRIES,
        // Each engine reads the machine's certificates where it is not told otherwise, and panics where they
        // are broken: the configuration has made sure of them.
        ca_file: (!config.upstreams.trust_the_machine()).then(|| "/dev/null".to_owned()),
        ..ServerConf::default()
    });
    let (stop, stopping) = watch::channel(Phase::Running);
    let notice = Arc::new(notice);
    let servers = Arc::new(Servers::new(&config.upstreams));
    let meters = Arc::new(Meters::new());
    let mut threads = Vec::new();
    let mut deals = Vec::new();
    for _ in 0..config.threads.max(1) {
        let (deal, arrivals) = mpsc::unbounded_channel();
        let meter = meters.meter();
        let proxy = Proxy::new(Arc::clone(&tap), Arc::clone(&meter), Arc::clone(&servers), &config.upstreams);
        let worker = Worker {
            meter,
            engine: Arc::new(http_proxy(&engine_settings, proxy)),
            tap: Arc::clone(&tap),
            limits: config.downstream.limits(),
            grace: config.downstream.grace,
            stopping: stopping.clone(),
        };
        let runtime = runtime().map_err(machine)?;
        threads.push(spawn("worker", move || runtime.block_on(worker.run(arrivals)))?);
        deals.push(deal);
    }
    let runtime = runtime().map_err(machine)?;
    let checks = config.upstreams.health.clone().map(|settings| Checks {
        settings,
        peers: config.upstreams.peers(),
        hosts: config.upstreams.hosts(),
        options: ConnectorOptions::from_server_conf(&engine_settings),
    });
    let (watched, tell, mut stopped) = (Arc::clone(&servers), Arc::clone(&notice), stopping.clone());
    let watcher = self::runtime().map_err(machine)?;
    threads.push(spawn("watch", move || {
        watcher.block_on(async {
            tokio::select! {
                _ = stopped.wait_for(|phase| *phase != Phase::Running) => {}
                () = upstream::watch(watched, checks, |news| tell(news)) => {}
            }
        });
    })?);
    let (open, opened) = handover::channel();
    let monitor =
        Monitor::new(Arc::clone(&meters), Arc::clone(&queue), Arc::clone(&servers), stopping.clone());
    threads.push(spawn("accept", move || {
        if let Ok(listener) = opened.recv() {
            runtime.block_on(accept(listener, deals, stopping, &meters));
        }
    })?);
    let writer = match sink {
        None => None,
        Some(segments) => {
            let (begin, begun) = handover::channel();
            let from = Arc::clone(&queue);
            let write = move || Some(write_all(&from, begun.recv().ok()?, clock, |news| notice(news)));
            let writer = spawn("writer", write)?;
            let redaction = Redaction::new(config.masking.clone());
            let header = header(&config, address, started, &redaction)?;
            let screen = Screen::new(&config.policy, &config.upstreams.trusted_proxies, header.recording);
            let rotation = config.files.rotation;
            let outlet = Outlet::create(segments, header, rotation, screen, redaction, clock.moment())
                .map_err(|error| RecordError::CannotWrite { error })?;
            let _ = begin.send(outlet);
            Some(writer)
        }
    };
    let _ = open.send(listener);
    Ok(Recording {
        address,
        stopper: Stopper { stop: Arc::new(stop) },
        threads,
        writer,
        queue,
        servers,
        monitor,
    })
}

/// Best effort: where it may not be raised, the connections that do not fit wait to be accepted.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

fn header(
    config: &Config,
    address: SocketAddr,
    started: i128,
    redaction: &Redaction,
) -> Result<CaptureHeader, RecordError> {
    let servers: Vec<String> = config.upstreams.addresses().map(|server| server.to_string()).collect();
    let typed = config.upstreams.servers.iter().map(|server| server.typed.clone());
    let policy = &config.policy;
    let mut recording = [0; 16];
    getrandom::fill(&mut recording)
        .map_err(|error| RecordError::Machine { error: io::Error::other(error) })?;
    Ok(CaptureHeader {
        tool: concat!("highwater ", env!("CARGO_PKG_VERSION")).to_owned(),
        started,
        listen: vec![address.to_string()],
        upstream: typed.chain(servers.iter().cloned()).collect(),
        servers,
        recording,
        segment: 0,
        session_keys: policy.sessions.keys.iter().map(ToString::to_string).collect(),
        filters: policy.typed.clone(),
        masking: redaction.masking(),
        sampling_ratio: policy.sampling.as_f64(),
        body_limit: policy.request_bodies.limit().max(policy.response_bodies.limit()),
    })
}

/// A recording that runs.
#[derive(Debug)]
pub struct Recording {
    address: SocketAddr,
    stopper: Stopper,
    threads: Vec<JoinHandle<()>>,
    writer: Option<JoinHandle<Option<Totals>>>,
    queue: Arc<Queue>,
    servers: Arc<Servers>,
    monitor: Monitor,
}

impl Recording {
    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A handle to stop it with, from any thread.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// A view of the upstream servers, for any thread.
    pub fn upstreams(&self) -> UpstreamView {
        UpstreamView { servers: Arc::clone(&self.servers) }
    }

    /// A handle to watch it with, from any thread.
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    /// Waits until somebody stops it, requests in flight have ended and the file is closed.
    pub fn wait(self) -> Totals {
        for thread in self.threads {
            // A worker that panicked has lost its requests, which are recorded as ended by the proxy.
            let _ = thread.join();
        }
        self.queue.close();
        match self.writer.map(JoinHandle::join) {
            None | Some(Ok(None)) => self.queue.totals_without_file(),
            Some(Ok(Some(totals))) => totals,
            Some(Err(bug)) => std::panic::resume_unwind(bug),
        }
    }
}

/// Shows the state of the upstream servers.
#[derive(Clone, Debug)]
pub struct UpstreamView {
    servers: Arc<Servers>,
}

impl UpstreamView {
    /// What is known of each address at this moment, in the order of the capture's servers.
    pub fn states(&self) -> Vec<UpstreamState> {
        self.servers.states()
    }
}

/// Stops a recording.
#[derive(Clone, Debug)]
pub struct Stopper {
    stop: Arc<watch::Sender<Phase>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    Draining,
    Over,
}

impl Stopper {
    /// Lets requests in flight end, within the grace; the second time, ends the grace.
    pub fn stop(&self) {
        self.stop.send_modify(|phase| {
            *phase = if *phase == Phase::Running { Phase::Draining } else { Phase::Over };
        });
    }
}

/// Deals connections to the workers in turn until the recording is stopped.
async fn accept(
    listener: TcpListener,
    deals: Vec<mpsc::UnboundedSender<Arrival>>,
    mut stopping: watch::Receiver<Phase>,
    meters: &Meters,
) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let mut workers = deals.iter().cycle();
    let mut deal = |id, peer, stream| {
        if let Some(worker) = workers.next() {
            meters.on_accepted();
            let connection = Connection { id, peer, secure: false };
            let _ = worker.send((Arc::new(connection), stream));
        }
    };
    let mut next = (0..).map(ConnectionId);
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopping.wait_for(|phase| *phase != Phase::Running) => break,
            accepted = listener.accept() => accepted,
        };
        let accepted = accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer)));
        match (accepted, next.next()) {
            (Ok((stream, peer)), Some(id)) => deal(id, peer, stream),
            _ => {
                meters.on_accept_failed();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // What the machine has accepted for us already is served, not reset.
    if let Ok(listener) = listener.into_std() {
        while let (Ok((stream, peer)), Some(id)) = (listener.accept(), next.next()) {
            deal(id, peer, stream);
        }
    }
}

type Arrival = (Arc<Connection>, TcpStream);

struct Worker {
    engine: Arc<HttpProxy<Proxy>>,
    tap: Arc<Tap>,
    limits: Limits,
    meter: Arc<Meter>,
    grace: Duration,
    stopping: watch::Receiver<Phase>,
}

impl Worker {
    async fn run(mut self, mut arrivals: mpsc::UnboundedReceiver<Arrival>) {
        let (announce, announced) = watch::channel(false);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                arrival = arrivals.recv() => match arrival {
                    Some((connection, stream)) => {
                        if let Ok(stream) = prepared(stream) {
                            let meter = Arc::clone(&self.meter);
                            let open = meter.connection();
                            let visit = Arc::new(Visit::new(Arc::clone(&self.tap), meter, connection));
                            let engine = Arc::clone(&self.engine);
                            let served = gate::serve(engine, visit, stream, self.limits, announced.clone());
                            connections.spawn(async move {
                                served.await;
                                drop(open);
                            });
                        }
                    }
                    None => break,
                },
                Some(_) = connections.join_next() => {}
            }
        }
        announce.send_replace(true);
        self.engine.http_cleanup().await;
        tokio::select! {
            () = async { while connections.join_next().await.is_some() {} } => {}
            () = tokio::time::sleep(self.grace) => {}
            _ = self.stopping.wait_for(|phase| *phase == Phase::Over) => {}
        }
    }
}

fn prepared(stream: TcpStream) -> io::Result<tokio::net::TcpStream> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    tokio::net::TcpStream::from_std(stream)
}

/// Whether a connection to `upstream` ends at a listener on `listen`.
fn reaches(upstream: SocketAddr, listen: SocketAddr) -> bool {
    // Whoever can bind to an address, owns it.
    let is_ours = |ip: IpAddr| TcpListener::bind((ip, 0)).is_ok();
    upstream.port() == listen.port()
        && (upstream.ip() == listen.ip()
            || (listen.ip().is_unspecified() && is_ours(upstream.ip()))
            || (upstream.ip().is_unspecified() && listen.ip().is_loopback()))
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, RecordError> {
    let thread = std::thread::Builder::new().name(format!("record-{name}"));
    thread.spawn(work).map_err(|error| RecordError::Machine { error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_seen_through_every_spelling_of_the_machine() {
        let check = |upstream: &str, listen: &str, expected| {
            assert_eq!(
                reaches(upstream.parse().unwrap(), listen.parse().unwrap()),
                expected,
                "{upstream} {listen}"
            );
        };
        check("127.0.0.1:8080", "127.0.0.1:8080", true);
        check("127.0.0.1:8081", "127.0.0.1:8080", false);
        check("127.0.0.2:8080", "127.0.0.1:8080", false);
        check("127.0.0.1:8080", "0.0.0.0:8080", true);
        check("0.0.0.0:8080", "127.0.0.1:8080", true);
        check("192.0.2.1:8080", "0.0.0.0:8080", false);
    }
}
