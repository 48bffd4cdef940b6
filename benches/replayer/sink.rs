//! A server that stamps the moment at which each request arrives, and answers at once.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::support::now;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The server, one thread with one epoll set.
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    arrivals: Arc<Mutex<Vec<Instant>>>,
    over: Arc<AtomicBool>,
}

impl Sink {
    pub(crate) fn start() -> Self {
        Self::answering(|_| ANSWER.to_vec())
    }

    /// One whose thread runs ahead of everything that is not in real time, where that is allowed.
    pub(crate) fn in_real_time() -> Self {
        Self::begin(|_| ANSWER.to_vec(), true)
    }

    /// One that answers each piece of what it receives by `answer`.
    pub(crate) fn answering(answer: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static) -> Self {
        Self::begin(answer, false)
    }

    fn begin(answer: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static, realtime: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        // A longer queue than the default, for thousands of connections at once.
        rustix::net::listen(&listener, 4_096).unwrap();
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
            serve(&listener, &arrivals, &over, answer);
        });
        sink
    }

    /// All arrivals since this was last asked, in seconds since the first of them.
    pub(crate) fn take(&self) -> Vec<f64> {
        let arrivals = std::mem::take(&mut *self.arrivals.lock().unwrap());
        let Some(first) = arrivals.first().copied() else { return Vec::new() };
        arrivals.into_iter().map(|at| at.duration_since(first).as_secs_f64()).collect()
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
    arrivals: &Mutex<Vec<Instant>>,
    over: &AtomicBool,
    mut answer: impl FnMut(&[u8]) -> Vec<u8>,
) {
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    epoll::add(&set, listener, epoll::EventData::new_u64(u64::MAX), epoll::EventFlags::IN).unwrap();
    let mut connections: Vec<Option<OwnedFd>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut events = Vec::with_capacity(1_024);
    let mut buffer = vec![0_u8; 64 << 10];
    let mut stamped = Vec::new();
    let timeout = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
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
            match rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((received, _)) if received > 0 => {
                    let moment = now();
                    let heads = memchr_heads(&buffer[..received]);
                    let answer = answer(&buffer[..received]);
                    for _ in 0..heads {
                        stamped.push(moment);
                        let _ = rustix::net::send(socket, &answer, SendFlags::NOSIGNAL);
                    }
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
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
