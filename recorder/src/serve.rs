//! Runs a recording: one thread accepts, the workers proxy, one thread writes.
//!
//! The engine's own server is not used: it waits at a stop, exits the process, and cannot say on which port
//! it listens. Here connections are dealt to the workers in turn, each worker has a runtime, an engine and a
//! pool of upstream connections of its own, and nothing is shared between them but the queue.
//!
//! A stop closes the listening socket, lets requests in flight end within the grace, closes idle connections
//! at once, then closes the file. A second stop ends the grace. When a newer process takes over, clients are
//! asked one by one to connect again, and idle connections are closed after the grace.
//!
//! A start touches the file last: what can fail has been done by then, so that a recording that cannot start
//! costs no older capture.

mod entry;
mod http2;
mod line;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc as handover;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use captures::{Bytes, CaptureHeader, ConnectionId, EventKind};
use pingora::apps::HttpServerApp;
use pingora::connectors::ConnectorOptions;
use pingora::prelude::fast_timeout::set_fast_timeout_to_tokio_threshold;
use pingora::proxy::http_proxy;
use pingora::server::configuration::ServerConf;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::assembly::{BodyPolicy, Room};
use crate::clock::{Clock, Oddity};
use crate::config::Config;
use crate::connection::Connection;
use crate::error::RecordError;
use crate::files::Segments;
use crate::metrics::Meters;
use crate::monitor::Monitor;
use crate::notice::Notice;
use crate::outlet::Outlet;
use crate::policy::Screen;
use crate::proxy::{Proxy, Tap};
use crate::redact::{MaskPolicy, Redaction};
use crate::serve::entry::Host;
use crate::spool::{Queue, Totals, write_all};
use crate::tls::Certificates;
use crate::upgrade::{self, Names, Upgrade};
use crate::upstream::{self, Checks, Servers};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;
/// How often a request is sent again, beyond once to every address.
const RETRIES: usize = 16;
/// The memory for bodies of exchanges that have not ended, beside that of the queue.
const IN_FLIGHT: Bytes = Bytes::new(64 << 20);
/// How long to wait when no connection can be accepted for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Timeouts above this cost a little more to set, and nothing once they are no longer needed. The engine keeps shorter
/// ones until they are over, some 150 bytes for each hundredth of a second: of ten minutes that is 9 MB a worker.
const LONG_TIMEOUT: Duration = Duration::from_secs(120);
/// How often the files of the certificates are looked at.
const LOOK: Duration = Duration::from_secs(1);

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

/// Where clients connect.
#[derive(Debug)]
pub struct Listener {
    /// The listening socket.
    pub socket: TcpListener,
    /// Whether TLS is spoken there.
    pub secure: bool,
}

/// Starts to proxy what comes to `listeners`, and to record it into `sink`; without one, nothing is recorded.
///
/// What `sink` holds is replaced, but not before everything else has succeeded. `notice` hears what a user
/// should know at once; it is called on threads that no request waits for. The process's limit of open
/// descriptors is raised as far as it may be: each request takes two.
///
/// # Errors
/// When the upstream is a listener itself, a listener lacks a certificate, the sink takes no header, or the
/// machine gives no threads.
pub fn start(
    mut config: Config,
    listeners: Vec<Listener>,
    sink: Option<Segments>,
    upgrade: Option<Upgrade>,
    notice: impl Fn(Notice) + Send + Sync + 'static,
) -> Result<Recording, RecordError> {
    let machine = |error| RecordError::Machine { error };
    let mut addresses = Vec::new();
    for listener in &listeners {
        let address = listener.socket.local_addr().map_err(machine)?;
        if let Some(itself) = config.upstreams.addresses().find(|upstream| reaches(*upstream, address)) {
            return Err(RecordError::Loop { address: itself });
        }
        addresses.push(address);
    }
    let certificates = config.downstream.certificates.clone();
    if listeners.iter().any(|listener| listener.secure) && certificates.is_none() {
        return Err(RecordError::NoCertificate);
    }
    raise_descriptor_limit();
    set_fast_timeout_to_tokio_threshold(Some(LONG_TIMEOUT));
    let heritage = upgrade.as_ref().and_then(Upgrade::names).cloned();
    let first_id = heritage.as_ref().map_or(0, |names| names.first_id);
    if let (Some(Names { key: Some(old), .. }), MaskPolicy::Pseudonyms { key, .. }) =
        (&heritage, &mut config.masking)
    {
        *key = *old;
    }
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
        next_id: AtomicU64::new(first_id),
        leaving: AtomicBool::new(false),
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
    let acceptor = certificates.clone().map(Certificates::acceptor);
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
            host: Arc::new(Host {
                engine: Arc::new(http_proxy(&engine_settings, proxy)),
                tap: Arc::clone(&tap),
                meter,
                meters: Arc::clone(&meters),
                limits: config.downstream.limits(),
                acceptor: acceptor.clone(),
            }),
            grace: config.downstream.grace,
            stopping: stopping.clone(),
        };
        let runtime = runtime().map_err(machine)?;
        threads.push(spawn("worker", move || {
            run_soon();
            runtime.block_on(worker.run(arrivals));
        })?);
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
    if let Some(certificates) = certificates {
        let (tell, stopped) = (Arc::clone(&notice), stopping.clone());
        let watcher = self::runtime().map_err(machine)?;
        threads.push(spawn("certificates", move || {
            watcher.block_on(look_after(&certificates, stopped, |news| tell(news)));
        })?);
    }
    let (open, opened) = handover::channel();
    let monitor =
        Monitor::new(Arc::clone(&meters), Arc::clone(&queue), Arc::clone(&servers), stopping.clone(), clock);
    let connections = Arc::new(AtomicU64::new(first_id));
    let estate = Arc::new(Mutex::new(None));
    let (tell, given, numbers) = (Arc::clone(&notice), Arc::clone(&estate), Arc::clone(&connections));
    threads.push(spawn("accept", move || {
        run_soon();
        if let Ok(listeners) = opened.recv() {
            runtime.block_on(accept_all(listeners, deals, stopping, meters, numbers, tell));
        }
        // Or they would listen on for nobody.
        given.lock().unwrap_or_else(PoisonError::into_inner).take();
    })?);
    let lock = sink.as_ref().and_then(Segments::shared_lock);
    let (news, mut names) = (Arc::clone(&notice), Names::default());
    let writer = match sink {
        None => None,
        Some(segments) => {
            let (begin, begun) = handover::channel();
            let from = Arc::clone(&queue);
            let write = move || Some(write_all(&from, begun.recv().ok()?, clock, |news| notice(news)));
            let writer = spawn("writer", write)?;
            let redaction = Redaction::new(config.masking.clone());
            let mut header = header(&config, &addresses, started, &redaction)?;
            if let Some(old) = &heritage {
                (header.recording, header.segment) = (old.recording, old.segment);
                queue.note(Oddity { moment: clock.moment(), kind: EventKind::TakenOver, nanos: 0 });
            }
            (names.recording, names.segment) = (header.recording, header.segment);
            let screen = Screen::new(&config.policy, &config.upstreams.trusted_proxies, header.recording)
                .counting_from(first_id);
            let (rotation, compression) = (config.files.rotation, config.files.compression);
            let now = clock.moment();
            let outlet = Outlet::create(segments, header, rotation, compression, screen, redaction, now)
                .map_err(|error| RecordError::CannotWrite { error })?;
            let _ = begin.send(outlet);
            Some(writer)
        }
    };
    let stopper = Stopper { stop: Arc::new(stop) };
    let mut offered = None;
    if let Some(mut upgrade) = upgrade {
        let (lock, is_given) = lock.map(|lock| (lock.file, lock.is_given)).unzip();
        upgrade.give_lock(lock);
        let (offer, ours) = upgrade.settle()?;
        let is_given = is_given.unwrap_or_default();
        is_given.store(false, Ordering::Relaxed);
        *estate.lock().unwrap_or_else(PoisonError::into_inner) = Some(ours);
        let taken = Arc::new(AtomicBool::new(false));
        offered = Some((offer.path().to_owned(), Arc::clone(&taken)));
        if let MaskPolicy::Pseudonyms { key, .. } = &config.masking {
            names.key = Some(*key);
        }
        let (queue, stopper) = (Arc::clone(&queue), stopper.clone());
        // Nobody waits for it: it ends when there is an heir, or with the process.
        spawn("upgrade", move || {
            let names = || {
                let used = tap.next_id.load(Ordering::Relaxed).max(connections.load(Ordering::Relaxed));
                let segment = queue.told().segment.max(names.segment) + upgrade::SEGMENTS;
                Names { segment, first_id: upgrade::next_range(used), ..names.clone() }
            };
            if offer.wait(&estate, names) {
                taken.store(true, Ordering::Relaxed);
                is_given.store(true, Ordering::Relaxed);
                tap.leaving.store(true, Ordering::Relaxed);
                stopper.leave();
                news(Notice::TakenOver);
            }
        })?;
    }
    let _ = open.send(listeners);
    Ok(Recording { addresses, stopper, offered, threads, writer, queue, monitor })
}

/// Best effort: where it may not be raised, the connections that do not fit wait to be accepted.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

fn header(
    config: &Config,
    addresses: &[SocketAddr],
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
        listen: addresses.iter().map(SocketAddr::to_string).collect(),
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
    addresses: Vec<SocketAddr>,
    stopper: Stopper,
    threads: Vec<JoinHandle<()>>,
    writer: Option<JoinHandle<Option<Totals>>>,
    queue: Arc<Queue>,
    monitor: Monitor,
    /// Where a newer process may take over, and whether one has.
    offered: Option<(PathBuf, Arc<AtomicBool>)>,
}

impl Recording {
    /// Where it listens, in the order of the listeners.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// A handle to stop it with, from any thread.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
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
        let mut totals = match self.writer.map(JoinHandle::join) {
            None | Some(Ok(None)) => self.queue.totals_without_file(),
            Some(Ok(Some(totals))) => totals,
            Some(Err(bug)) => std::panic::resume_unwind(bug),
        };
        if let Some((path, taken)) = self.offered
            && !taken.load(Ordering::Relaxed)
        {
            let _ = std::fs::remove_file(path);
        }
        totals.failed_handshakes = self.monitor.metrics().handshake_failures;
        totals
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
    /// A newer process has taken over.
    Leaving,
    Draining,
    Over,
}

impl Stopper {
    /// Lets requests in flight end, within the grace; the second time, ends the grace.
    pub fn stop(&self) {
        self.stop.send_modify(|phase| {
            *phase = match phase {
                Phase::Running | Phase::Leaving => Phase::Draining,
                Phase::Draining | Phase::Over => Phase::Over,
            };
        });
    }

    /// Leaves the rest to a newer process.
    fn leave(&self) {
        self.stop.send_if_modified(|phase| {
            let is_running = *phase == Phase::Running;
            if is_running {
                *phase = Phase::Leaving;
            }
            is_running
        });
    }
}

/// Deals what comes to `listeners` to the workers in turn until the recording is stopped.
async fn accept_all(
    listeners: Vec<Listener>,
    deals: Vec<mpsc::UnboundedSender<Arrival>>,
    stopping: watch::Receiver<Phase>,
    meters: Arc<Meters>,
    next: Arc<AtomicU64>,
    notice: Arc<impl Fn(Notice) + Send + Sync + 'static>,
) {
    let deals: Arc<[_]> = deals.into();
    let mut open = JoinSet::new();
    for listener in listeners {
        open.spawn(accept(
            listener,
            Arc::clone(&deals),
            Arc::clone(&next),
            stopping.clone(),
            Arc::clone(&meters),
            Arc::clone(&notice),
        ));
    }
    while open.join_next().await.is_some() {}
}

async fn accept(
    listener: Listener,
    deals: Arc<[mpsc::UnboundedSender<Arrival>]>,
    next: Arc<AtomicU64>,
    mut stopping: watch::Receiver<Phase>,
    meters: Arc<Meters>,
    notice: Arc<impl Fn(Notice) + Send + Sync>,
) {
    let Listener { socket, secure } = listener;
    let Ok(socket) = tokio::net::TcpListener::from_std(socket) else { return };
    let deal = |peer, stream| {
        meters.on_accepted();
        let id = next.fetch_add(1, Ordering::Relaxed);
        let worker = usize::try_from(id % deals.len() as u64).unwrap_or(0);
        let connection = Connection { id: ConnectionId(id), peer, secure };
        let _ = deals[worker].send((Arc::new(connection), stream));
    };
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopping.wait_for(|phase| *phase != Phase::Running) => break,
            accepted = socket.accept() => accepted,
        };
        match accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer))) {
            Ok((stream, peer)) => deal(peer, stream),
            Err(error) => {
                meters.on_accept_failed();
                notice(Notice::AcceptFailed(error));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // What the machine has accepted for us already is served, not reset.
    if let Ok(socket) = socket.into_std() {
        while let Ok((stream, peer)) = socket.accept() {
            deal(peer, stream);
        }
    }
}

type Arrival = (Arc<Connection>, TcpStream);

struct Worker {
    host: Arc<Host>,
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
                        let host = Arc::clone(&self.host);
                        connections.spawn(entry::serve(host, connection, stream, announced.clone()));
                    }
                    None => break,
                },
                Some(_) = connections.join_next() => {}
            }
        }
        if *self.stopping.borrow() == Phase::Leaving {
            // Who sends a request is told to connect again; who is silent is left in peace for a while, so that
            // no request meets a connection that is being closed.
            tokio::select! {
                () = async { while connections.join_next().await.is_some() {} } => {}
                () = tokio::time::sleep(self.grace) => {}
                _ = self.stopping.wait_for(|phase| matches!(phase, Phase::Draining | Phase::Over)) => {}
            }
        }
        announce.send_replace(true);
        self.host.engine.http_cleanup().await;
        tokio::select! {
            () = async { while connections.join_next().await.is_some() {} } => {}
            () = tokio::time::sleep(self.grace) => {}
            _ = self.stopping.wait_for(|phase| *phase == Phase::Over) => {}
        }
    }
}

/// Looks after the files of the certificates until the recording is stopped.
async fn look_after(
    certificates: &Certificates,
    mut stopping: watch::Receiver<Phase>,
    notice: impl Fn(Notice),
) {
    let looks = async {
        loop {
            tokio::time::sleep(LOOK).await;
            certificates.look().into_iter().for_each(&notice);
        }
    };
    tokio::select! {
        _ = stopping.wait_for(|phase| *phase != Phase::Running) => {}
        () = looks => {}
    }
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

/// Of this thread requests wait: when it wakes, it is not to wait for the writer's slice of the processor, or for anybody's.
fn run_soon() {
    // Where the kernel does not take it on, the writer yields often.
    let _ = timeslice::ask(timeslice::SHORTEST);
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
