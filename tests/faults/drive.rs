//! The clients: several connections that send the usual mix, each request when it is due, and write down
//! what became of it.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::mix::Kind;
use crate::support::{now, pause};
use crate::wire::{Head, broken};

/// The longest a client waits for anything.
const CLIENT_PATIENCE: Duration = Duration::from_secs(60);

/// What became of a request, as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// The answer that belongs to it, whole.
    Right,
    /// Another status.
    Status(u16),
    /// The right status with another body.
    WrongBody,
    /// No answer, or a part of one.
    Broken(String),
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    pub(crate) at: Instant,
    pub(crate) done: Instant,
    pub(crate) outcome: Outcome,
}

/// Everything that was sent, by number.
pub(crate) type Ledger = Vec<Sent>;

/// Clients at work.
pub(crate) struct Drive {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

struct Shared {
    next: Arc<AtomicU64>,
    over: AtomicBool,
    sent: Mutex<Ledger>,
}

impl Drive {
    /// `clients` connections that send `rate` requests a second together, numbered by `next`.
    pub(crate) fn start(to: SocketAddr, clients: usize, rate: f64, next: &Arc<AtomicU64>) -> Self {
        let shared =
            Arc::new(Shared { next: Arc::clone(next), over: AtomicBool::new(false), sent: Mutex::default() });
        let each = Duration::from_secs_f64(clients as f64 / rate);
        let clients = (0..clients)
            .map(|client| {
                let shared = Arc::clone(&shared);
                let first = now() + each.mul_f64(client as f64 / clients as f64);
                std::thread::spawn(move || send_all(to, &shared, first, each))
            })
            .collect();
        Self { shared, clients }
    }

    pub(crate) fn sent(&self) -> usize {
        self.shared.sent.lock().unwrap().len()
    }

    /// Lets what is under way end.
    pub(crate) fn stop(self) -> Ledger {
        self.shared.over.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.join().unwrap();
        }
        let mut sent = std::mem::take(&mut *self.shared.sent.lock().unwrap());
        sent.sort_by_key(|one| one.id);
        sent
    }
}

fn send_all(to: SocketAddr, shared: &Shared, first: Instant, each: Duration) {
    let mut due = first;
    let mut connection = None;
    while !shared.over.load(Ordering::SeqCst) {
        pause(due.saturating_duration_since(now()));
        // Who is late does not hurry: one request at a time, at most as often as planned.
        due = (due + each).max(now());
        let id = shared.next.fetch_add(1, Ordering::SeqCst);
        let sent = send(&mut connection, to, id, Kind::usual(id));
        if matches!(sent.outcome, Outcome::Broken(_)) {
            pause(Duration::from_millis(20));
        }
        shared.sent.lock().unwrap().push(sent);
    }
}

/// A connection of a client.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) fn open(to: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(CLIENT_PATIENCE))?;
        stream.set_write_timeout(Some(CLIENT_PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }
}

/// Sends one request on `connection`, or on a new one, which stays open when it may.
pub(crate) fn send(connection: &mut Option<Connection>, to: SocketAddr, id: u64, kind: Kind) -> Sent {
    let at = now();
    let outcome = match exchange(connection, to, id, kind) {
        Ok(outcome) => outcome,
        Err(error) => {
            *connection = None;
            Outcome::Broken(error.kind().to_string())
        }
    };
    Sent { id, kind, at, done: now(), outcome }
}

fn exchange(
    connection: &mut Option<Connection>,
    to: SocketAddr,
    id: u64,
    kind: Kind,
) -> std::io::Result<Outcome> {
    // A connection that the other side has closed meanwhile is no failure: nothing was sent on it yet.
    if connection.as_ref().is_some_and(|open| is_closed(open.0.get_ref())) {
        *connection = None;
    }
    let open = match connection {
        Some(open) => open,
        None => connection.insert(Connection::open(to)?),
    };
    open.0.get_mut().write_all(&kind.wire(id))?;
    let head = Head::read(&mut open.0)?.ok_or_else(|| broken("closed before a head"))?;
    let status: u16 = head.first.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let bodiless = matches!(kind, Kind::Head(_)) || matches!(status, 204 | 304);
    let body = if bodiless { Vec::new() } else { head.body(&mut open.0)? };
    if head.closes {
        *connection = None;
    }
    Ok(match () {
        () if status != kind.status() => Outcome::Status(status),
        () if body != kind.down(id) => Outcome::WrongBody,
        () => Outcome::Right,
    })
}

/// Whether the other side has said that it will send no more.
fn is_closed(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    !matches!(peeked, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}
