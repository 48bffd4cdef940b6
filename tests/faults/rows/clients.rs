//! Clients that go away, take their time, say too much, or say nothing.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::time::Duration;

use captures::Ending;

use crate::chaos::reset_on_close;
use crate::drive::{Outcome, Sent};
use crate::mix::{Kind, body};
use crate::scenario::{Fault, Run, Scene};
use crate::support::{now, pause, until};

/// A request whose client goes away after `bytes` of it.
fn upload_broken_off(to: SocketAddr, id: u64, bytes: usize, reset: bool) -> Option<Sent> {
    let kind = Kind::Post(80_000);
    let at = now();
    let mut stream = TcpStream::connect(to).ok()?;
    let wire = kind.wire(id);
    let head = wire.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    stream.write_all(&wire[..head + bytes]).ok()?;
    // What was sent is to be there before the connection ends.
    pause(Duration::from_millis(5));
    if reset {
        reset_on_close(&stream);
    }
    Some(Sent { id, kind, at, done: now(), outcome: Outcome::Broken("by the client".to_owned()) })
}

/// R16: uploads that break off, at every KiB.
#[derive(Default)]
pub(crate) struct UploadsBreakOff;

impl Fault for UploadsBreakOff {
    fn begin(&mut self, scene: &mut Scene) {
        let most = scene.effort.of(78);
        for kib in 0..most {
            for reset in [false, true] {
                let id = scene.next.fetch_add(1, Ordering::SeqCst);
                let to = scene.to();
                scene.sent.extend(upload_broken_off(to, id, kib << 10, reset));
            }
        }
        scene.connections = 4;
    }

    fn also(&mut self, run: &Run) -> Vec<(usize, String)> {
        aborted(run, Kind::Post(80_000))
    }
}

/// Own requests of `kind` that are not recorded as broken off by the client.
fn aborted(run: &Run, kind: Kind) -> Vec<(usize, String)> {
    let kept = run.kept.as_ref().unwrap();
    let own = run.sent.iter().filter(|one| one.kind == kind && matches!(one.outcome, Outcome::Broken(_)));
    let wrong = own.filter_map(|one| match kept.exchanges.get(&one.id) {
        None => Some((2, format!("request {} that its client broke off is not recorded", one.id))),
        // What was handed over whole before the client went is complete, as far as a proxy can know.
        Some(exchange)
            if exchange.ending == Ending::Completed
                && exchange
                    .response
                    .as_ref()
                    .is_some_and(|got| got.body.length == kind.down(one.id).len() as u64)
                && exchange.request_done.is_some() =>
        {
            None
        }
        Some(exchange) if exchange.ending != Ending::ClientAborted => {
            Some((2, format!("a client's abort was recorded as {}", exchange.ending.as_str())))
        }
        Some(_) => None,
    });
    wrong.collect()
}

/// R17: downloads that break off, ten thousand times.
#[derive(Default)]
pub(crate) struct DownloadsBreakOff;

impl Fault for DownloadsBreakOff {
    fn begin(&mut self, scene: &mut Scene) {
        let kind = Kind::Get(300_000);
        for at in 0..scene.effort.of(10_000) {
            let id = scene.next.fetch_add(1, Ordering::SeqCst);
            let began = now();
            let mut stream = TcpStream::connect(scene.to()).unwrap();
            stream.write_all(&kind.wire(id)).unwrap();
            let _ = stream.read(&mut [0; 4_096]);
            if at % 2 == 0 {
                reset_on_close(&stream);
            }
            let outcome = Outcome::Broken("by the client".to_owned());
            scene.sent.push(Sent { id, kind, at: began, done: now(), outcome });
        }
        scene.connections = 16;
    }

    fn also(&mut self, run: &Run) -> Vec<(usize, String)> {
        let mut problems = aborted(run, Kind::Get(300_000));
        // The clients of the mix, and their connections upstream.
        if run.used.descriptors_at_last > 64 + 2 * run.connections {
            problems.push((5, format!("{} descriptors are open at the end", run.used.descriptors_at_last)));
        }
        problems
    }
}

/// R18: two thousand clients that send a byte each second.
#[derive(Default)]
pub(crate) struct Dripping {
    clients: Vec<TcpStream>,
    opened: usize,
}

/// By then, a head that is not complete has been given up.
const HEAD_DEADLINE: Duration = Duration::from_secs(31);

impl Fault for Dripping {
    fn begin(&mut self, scene: &mut Scene) {
        self.opened = scene.effort.of(2_000);
        self.clients = (0..self.opened).map(|_| TcpStream::connect(scene.to()).unwrap()).collect();
        scene.connections = self.opened as u64;
        let wire =
            b"GET /slow HTTP/1.1\r\nHost: shop\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        let began = now();
        let deadline = if scene.effort.quick { Duration::from_secs(2) } else { HEAD_DEADLINE };
        for byte in wire.iter().cycle() {
            self.clients.retain_mut(|client| client.write_all(&[*byte]).is_ok() && !closed(client));
            if began.elapsed() > deadline || self.clients.is_empty() {
                break;
            }
            pause(Duration::from_secs(1));
        }
        if !scene.effort.quick && !self.clients.is_empty() {
            let left = self.clients.len();
            scene
                .noticed
                .push((5, format!("{left} of {} heads are still waited for after 31 s", self.opened)));
        }
    }

    fn lasts(&self) -> Duration {
        Duration::ZERO
    }

    fn end(&mut self, _: &mut Scene) {
        self.clients.clear();
    }

    fn delays(&self) -> bool {
        // A tenth more is allowed; 2 ms are less than that on a machine that also plays the clients.
        true
    }
}

fn closed(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let read = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    !matches!(read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// The first line of the answer to `wire`.
fn answer_to(to: SocketAddr, wire: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let _ = stream.write_all(wire);
    let mut answer = vec![0; 4_096];
    let read = stream.read(&mut answer).unwrap_or(0);
    let _ = stream.shutdown(Shutdown::Both);
    String::from_utf8_lossy(&answer[..read]).lines().next().unwrap_or("closed").to_owned()
}

/// R19: heads of every size, and many fields.
#[derive(Default)]
pub(crate) struct HugeHeads;

impl Fault for HugeHeads {
    fn begin(&mut self, scene: &mut Scene) {
        for kib in [8, 64, 512, 1_100] {
            let wire =
                [b"GET /plain HTTP/1.1\r\nHost: shop\r\nX-Big: ", &body(0, kib << 10)[..], b"\r\n\r\n"]
                    .concat();
            let wire: Vec<u8> = wire.iter().map(|&byte| if byte == b'\n' { b'-' } else { byte }).collect();
            let wire = String::from_utf8(wire).unwrap().replace("\r-", "\r\n");
            let came = answer_to(scene.to(), wire.as_bytes());
            scene.came.push(format!("{kib} KiB: {came}"));
        }
        for count in [200, 255, 256, 257, 1_000] {
            let fields: String = (1..count).map(|at| format!("X-{at}: {at}\r\n")).collect();
            let wire = format!("GET /plain HTTP/1.1\r\nHost: shop\r\n{fields}\r\n");
            let came = answer_to(scene.to(), wire.as_bytes());
            scene.came.push(format!("{count} fields: {came}"));
        }
    }
}

/// R20: a body of a gigabyte up, another down.
#[derive(Default)]
pub(crate) struct LongBodies {
    length: u64,
}

impl Fault for LongBodies {
    fn begin(&mut self, scene: &mut Scene) {
        self.length = if scene.effort.quick { 64 << 20 } else { 1 << 30 };
        let mut down = TcpStream::connect(scene.to()).unwrap();
        write!(down, "GET /long/{} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n", self.length)
            .unwrap();
        let read = std::io::copy(&mut down, &mut std::io::sink()).unwrap_or(0);
        scene.came.push(format!("down: {}", read > self.length));
        let mut up = TcpStream::connect(scene.to()).unwrap();
        let length = self.length;
        write!(up, "PUT /take/{length} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n").unwrap();
        let sent = std::io::copy(&mut std::io::repeat(b'y').take(length), &mut up).unwrap_or(0);
        let mut answer = String::new();
        let _ = up.read_to_string(&mut answer);
        scene.came.push(format!("up: {}", sent == length && answer.ends_with(&length.to_string())));
        if scene.came != ["down: true", "up: true"] {
            scene.noticed.push((1, format!("{:?}", scene.came)));
        }
        scene.connections = 2;
    }

    fn lasts(&self) -> Duration {
        Duration::ZERO
    }

    fn delays(&self) -> bool {
        true
    }

    fn memory_limit_kib(&self, _: u64) -> u64 {
        // 16 MiB for the bodies, and what the mix beside them queues.
        32 << 10
    }

    fn also(&mut self, run: &Run) -> Vec<(usize, String)> {
        let kept = run.kept.as_ref().unwrap();
        let mut problems = Vec::new();
        let find = |part: &[u8]| kept.others.iter().find(|one| one.request.target.starts_with(part));
        let (down, up) = (find(b"/long/"), find(b"/take/"));
        let bodies = [
            (down.and_then(|one| one.response.as_ref()).map(|one| &one.body), b'x'),
            (up.map(|one| &one.request.body), b'y'),
        ];
        for (body, byte) in bodies {
            let Some(body) = body else {
                problems.push((2, "a long body is not recorded".to_owned()));
                continue;
            };
            let mut digest = captures::Sha256::new();
            let piece = vec![byte; 1 << 20];
            (0..self.length >> 20).for_each(|_| digest.update(&piece));
            if body.length != self.length || !body.cut || body.digest != Some(digest.finish()) {
                problems.push((
                    2,
                    format!(
                        "a long body is recorded as {} bytes, cut {}, or with another digest",
                        body.length, body.cut
                    ),
                ));
            }
        }
        problems
    }
}

/// R21: eight thousand connections that say nothing more.
#[derive(Default)]
pub(crate) struct Idle {
    clients: Vec<TcpStream>,
}

impl Fault for Idle {
    fn begin(&mut self, scene: &mut Scene) {
        let wanted = scene.effort.of(8_000);
        for _ in 0..wanted {
            let Ok(mut stream) = TcpStream::connect(scene.to()) else { break };
            stream.write_all(b"GET /plain HTTP/1.1\r\nHost: shop\r\n\r\n").unwrap();
            let read = stream.read(&mut [0; 512]).unwrap_or(0);
            if read == 0 {
                break;
            }
            self.clients.push(stream);
        }
        scene.came.push(format!("{} idle connections", self.clients.len()));
        scene.connections = self.clients.len() as u64;
    }

    fn end(&mut self, scene: &mut Scene) {
        let open = self.clients.iter().filter(|client| !closed(client)).count();
        scene.came.push(format!("{open} still open"));
        self.clients.clear();
        let process = scene.subject.id();
        until("the descriptors to be free", || {
            (crate::proc::descriptors(process).unwrap_or(0) < 128).then_some(())
        });
    }

    fn memory_limit_kib(&self, connections: u64) -> u64 {
        // The mix beside them has a queue, too.
        (16 << 10) + 56 * connections
    }

    fn delays(&self) -> bool {
        true
    }
}
