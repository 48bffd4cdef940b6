//! A server that stamps the moment at which each request arrives, and answers at once.
//!
//! There are two stamps: the system's, when the request reached the socket, which is the arrival; and that of the
//! server's thread when it had read it, which waits for a processor and for what was read before.

use std::io::{BufRead, BufReader, IoSliceMut, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt::ReceiveTimestampns};
use rustix::event::{Timespec, epoll};
use rustix::net::SendFlags;
use rustix::time::{ClockId, clock_gettime};

use crate::support::now;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The server, one thread with one epoll set.
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    over: Arc<AtomicBool>,
}

/// The arrival of one request.
#[derive(Clone, Copy)]
struct Arrival {
    /// When it reached the socket, on the system's clock.
    reached: Duration,
    /// When the server had read it.
    read: Instant,
}

/// Arrivals, each list in order, in seconds since the first.
#[derive(Default)]
pub(crate) struct Arrivals {
    /// When requests reached their sockets.
    pub(crate) reached: Vec<f64>,
    /// When the server had read them.
    pub(crate) read: Vec<f64>,
}

impl Sink {
    pub(crate) fn start() -> Self {
        Self::answering(|_| ANSWER.to_vec())
    }

    /// One whose thread runs ahead of everything that is not in real time, where that is allowed.
    pub(crate) fn in_real_time() -> Self {
        Self::begin(|_| ANSWER.to_vec(), true, false)
    }

    /// One that answers each piece of what it receives by `answer`.
    pub(crate) fn answering(answer: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static) -> Self {
        Self::begin(answer, false, false)
    }

    /// One that never sleeps: whoever sends to it need not wake it, which takes longer than the sending.
    pub(crate) fn spinning() -> Self {
        Self::begin(|_| ANSWER.to_vec(), false, true)
    }

    fn begin(answer: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static, realtime: bool, spins: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        // A longer queue than the default, for thousands of connections at once.
        rustix::net::listen(&listener, 4_096).unwrap();
        // Accepted connections inherit it, and so it holds for what arrives before they are accepted.
        setsockopt(&listener, ReceiveTimestampns, &true).unwrap();
        let sink = Self {
            address: listener.local_addr().unwrap(),
            arrivals: Arc::new(Mutex::new(Vec::new())),
            over: Arc::new(AtomicBool::new(false)),
        };
        let (arrivals, over) = (Arc::clone(&sink.arrivals), Arc::clone(&sink.over));
        std::thread::spawn(move || {
            // A measuring instrument comes first, where that is allowed.
            let _ = rustix::process::nice(-19);
            if realtime {
                let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
                let _ = Command::new("chrt").args(["--fifo", "--pid", "20", &thread]).status();
            }
            let patience = Timespec { tv_sec: 0, tv_nsec: if spins { 0 } else { 50_000_000 } };
            serve(&listener, &arrivals, &over, patience, answer);
        });
        sink
    }

    /// How many requests have arrived.
    pub(crate) fn count(&self) -> usize {
        self.arrivals.lock().unwrap().len()
    }

    /// All arrivals since this was last asked.
    pub(crate) fn take(&self) -> Arrivals {
        let arrivals = std::mem::take(&mut *self.arrivals.lock().unwrap());
        let mut reached: Vec<Duration> = arrivals.iter().map(|arrival| arrival.reached).collect();
        reached.sort_unstable();
        let (Some(first), Some(first_read)) = (reached.first(), arrivals.first()) else {
            return Arrivals::default();
        };
        Arrivals {
            reached: reached.iter().map(|at| (*at - *first).as_secs_f64()).collect(),
            read: arrivals
                .iter()
                .map(|arrival| arrival.read.duration_since(first_read.read).as_secs_f64())
                .collect(),
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// A server in a process of its own, which has descriptors of its own; it ends with this.
pub(crate) struct Apart {
    pub(crate) address: SocketAddr,
    process: Child,
}

/// What makes this benchmark such a server.
pub(crate) const SERVE: &str = "--serve";

impl Apart {
    pub(crate) fn start() -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .arg(SERVE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { address: line.trim().parse().unwrap(), process }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// Serves until stdin ends.
pub(crate) fn serve_apart() {
    let sink = Sink::start();
    println!("{}", sink.address);
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn serve(
    listener: &TcpListener,
    arrivals: &Mutex<Vec<Arrival>>,
    over: &AtomicBool,
    timeout: Timespec,
    mut answer: impl FnMut(&[u8]) -> Vec<u8>,
) {
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    epoll::add(&set, listener, epoll::EventData::new_u64(u64::MAX), epoll::EventFlags::IN).unwrap();
    let mut connections: Vec<Option<OwnedFd>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut events = Vec::with_capacity(1_024);
    let mut buffer = vec![0_u8; 64 << 10];
    let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let mut stamped = Vec::new();
    while !over.load(Ordering::Relaxed) {
        events.clear();
        let _ = epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), Some(&timeout));
        for event in &events {
            if event.data.u64() == u64::MAX {
                while let Ok((stream, _)) = listener.accept() {
                    let at = free.pop().unwrap_or_else(|| {
                        connections.push(None);
                        connections.len() - 1
                    });
                    connections[at] = Some(accepted(&set, stream, at));
                }
                continue;
            }
            let at = usize::try_from(event.data.u64()).unwrap();
            let Some(socket) = &connections[at] else { continue };
            match receive(socket, &mut buffer, &mut control) {
                Ok((received, reached)) if received > 0 => {
                    let read = now();
                    let heads = memchr_heads(&buffer[..received]);
                    let answer = answer(&buffer[..received]);
                    for _ in 0..heads {
                        stamped.push(Arrival { reached, read });
                        let _ = rustix::net::send(socket, &answer, SendFlags::NOSIGNAL);
                    }
                }
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                _ => {
                    connections[at] = None;
                    free.push(at);
                }
            }
        }
        if !stamped.is_empty() {
            arrivals.lock().unwrap().append(&mut stamped);
        }
    }
}

/// Reads what there is, and when the last of it reached the socket.
fn receive(socket: &OwnedFd, buffer: &mut [u8], control: &mut [u8]) -> Result<(usize, Duration), Errno> {
    let mut pieces = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut pieces, Some(control), MsgFlags::empty())?;
    let stamp = message.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmTimestampns(stamp) => Some(Duration::from(stamp)),
        _ => None,
    });
    // Before the system has begun to stamp, and for the end of a connection, the moment of reading has to do.
    let now = || Duration::try_from(clock_gettime(ClockId::Realtime)).unwrap_or_default();
    Ok((message.bytes, stamp.unwrap_or_else(now)))
}

fn accepted(set: &OwnedFd, stream: TcpStream, at: usize) -> OwnedFd {
    stream.set_nonblocking(true).unwrap();
    stream.set_nodelay(true).unwrap();
    let socket = OwnedFd::from(stream);
    epoll::add(set, &socket, epoll::EventData::new_u64(at as u64), epoll::EventFlags::IN).unwrap();
    socket
}

/// How many requests end in these bytes; their bodies are empty.
fn memchr_heads(bytes: &[u8]) -> usize {
    bytes.windows(4).filter(|window| *window == b"\r\n\r\n").count()
}
