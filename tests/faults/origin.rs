//! The service behind the recorder: it does what each target says, and knows what it saw.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::chaos::reset_on_close;
use crate::mix::{self, Kind};
use crate::support::{pause, until};
use crate::wire::Head;

/// A service on a port of its own.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// How often each request came, whole.
    seen: Mutex<BTreeMap<u64, u32>>,
    /// Requests whose bodies were not what was sent.
    spoilt: AtomicU64,
    refusing: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Origin {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let origin = Self { address, shared: Arc::default() };
        origin.accept(listener);
        origin
    }

    fn accept(&self, listener: TcpListener) {
        let shared = Arc::clone(&self.shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.refusing.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .stack_size(256 << 10)
                    .spawn(move || serve(stream, &shared))
                    .unwrap();
            }
        });
    }

    /// How often each request came.
    pub(crate) fn seen(&self) -> BTreeMap<u64, u32> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// The number of requests whose bodies were not what was sent.
    pub(crate) fn spoilt(&self) -> u64 {
        self.shared.spoilt.load(Ordering::SeqCst)
    }

    /// Closes every connection and the port.
    pub(crate) fn refuse(&self) {
        self.shared.refusing.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts, which then lets go of the port.
        let _ = TcpStream::connect(self.address);
        until("the service to be gone", || TcpStream::connect(self.address).err());
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Is there again.
    pub(crate) fn serve_again(&self) {
        self.shared.refusing.store(false, Ordering::SeqCst);
        let listener = until("the port of the service", || TcpListener::bind(self.address).ok());
        self.accept(listener);
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if !self.shared.refusing.load(Ordering::SeqCst) {
            self.refuse();
        }
    }
}

fn serve(stream: TcpStream, shared: &Shared) {
    stream.set_nodelay(true).unwrap();
    {
        let mut open = shared.open.lock().unwrap();
        // Those that have ended are forgotten now and then.
        if open.len() >= 4_096 {
            open.retain(|one| one.peer_addr().is_ok());
        }
        if let Ok(clone) = stream.try_clone() {
            open.push(clone);
        }
    }
    let _ = answer_all(&stream, shared);
    let _ = stream.shutdown(Shutdown::Both);
}

fn answer_all(mut stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(head) = Head::read(&mut reader)? {
        let target = head.first.split(' ').nth(1).unwrap_or_default().to_owned();
        let Some((kind, id)) = Kind::read(&target) else {
            if !special(&head, &target, &mut reader, stream)? {
                return Ok(());
            }
            continue;
        };
        let up = head.body(&mut reader)?;
        if up != kind.up(id) {
            shared.spoilt.fetch_add(1, Ordering::SeqCst);
        }
        *shared.seen.lock().unwrap().entry(id).or_default() += 1;
        let down = kind.down(id);
        let fields = |rest: String| format!("HTTP/1.1 {} OK\r\nX-Number: {id}\r\n{rest}\r\n", kind.status());
        let sized = |length: usize| fields(format!("Content-Length: {length}\r\n"));
        match kind {
            Kind::Get(_) | Kind::Post(_) | Kind::PostChunked(_) => {
                stream.write_all(&[sized(down.len()).as_bytes(), &down].concat())?;
            }
            Kind::Chunked(_) => {
                let head = fields("Transfer-Encoding: chunked\r\n".to_owned());
                stream.write_all(&[head.as_bytes(), &mix::chunks(&down)].concat())?;
            }
            Kind::Head(length) => stream.write_all(sized(length).as_bytes())?,
            Kind::NoContent | Kind::NotModified => stream.write_all(fields(String::new()).as_bytes())?,
            Kind::Reset(length) => {
                stream.write_all(&[sized(down.len()).as_bytes(), &down[..length]].concat())?;
                // What was sent is to arrive before the reset does.
                pause(Duration::from_millis(50));
                reset_on_close(stream);
                return Ok(());
            }
            Kind::Hang => {
                let _ = reader.read(&mut [0]);
                return Ok(());
            }
            Kind::Drip(_) => {
                stream.write_all(sized(down.len()).as_bytes())?;
                for byte in down {
                    stream.write_all(&[byte])?;
                    pause(Duration::from_millis(100));
                }
            }
        }
    }
    Ok(())
}

/// Targets without a number: long bodies, upgrades, informational answers. Whether the connection goes on.
fn special(
    head: &Head,
    target: &str,
    reader: &mut BufReader<TcpStream>,
    mut stream: &TcpStream,
) -> io::Result<bool> {
    if let Some(length) = target.strip_prefix("/long/").and_then(|length| length.parse::<u64>().ok()) {
        stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes())?;
        io::copy(&mut io::repeat(b'x').take(length), &mut stream)?;
        return Ok(true);
    }
    if let Some(length) = target.strip_prefix("/take/").and_then(|length| length.parse::<u64>().ok()) {
        let taken = io::copy(&mut reader.take(length), &mut io::sink())?;
        let answer = taken.to_string();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
        stream.write_all(head.as_bytes())?;
        return Ok(taken == length);
    }
    if target.starts_with("/echo") {
        let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        stream.write_all(switch.as_bytes())?;
        io::copy(reader, &mut stream)?;
        return Ok(false);
    }
    let body = head.body(reader)?;
    let answer: &[u8] = match target {
        "/early" => {
            b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        }
        "/none" => b"HTTP/1.1 204 No Content\r\n\r\n",
        "/same" => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n",
        "/trailers" => {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n2\r\nok\r\n0\r\nX-End: 1\r\n\r\n"
        }
        "/close" => b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
        _ if head.first.starts_with("HEAD") => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
        _ => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    };
    stream.write_all(answer)?;
    let _ = body;
    Ok(target != "/close")
}
