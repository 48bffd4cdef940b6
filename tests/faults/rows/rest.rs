//! What else goes through a proxy: upgrades, informational answers, methods and codes without bodies.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::scenario::{Fault, Run, Scene};
use crate::support::{now, pause};

/// A connection that has been upgraded; `None` when it was not.
fn upgraded(scene: &Scene) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(scene.to()).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let ask = "GET /echo HTTP/1.1\r\nHost: shop\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
               Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    stream.write_all(ask.as_bytes()).ok()?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    head.starts_with(b"HTTP/1.1 101").then_some(stream)
}

/// A masked text frame of five bytes.
const FRAME: [u8; 11] = [0x81, 0x85, 1, 2, 3, 4, b'h' ^ 1, b'e' ^ 2, b'l' ^ 3, b'l' ^ 4, b'o' ^ 1];

/// R22: upgrades that are answered at once, and many that last.
#[derive(Default)]
pub(crate) struct WebSockets;

impl Fault for WebSockets {
    fn begin(&mut self, scene: &mut Scene) {
        let ping = |stream: &mut TcpStream| {
            let mut back = [0; FRAME.len()];
            stream.write_all(&FRAME).and_then(|()| stream.read_exact(&mut back)).is_ok() && back == FRAME
        };
        let asked = scene.effort.of(1_000);
        let lasting = scene.effort.of(300);
        let (mut torn, mut open) = (0, Vec::new());
        for at in 0..asked {
            let mut stream = upgraded(scene);
            let lives = stream.as_mut().is_some_and(ping);
            torn += usize::from(!lives);
            if at < lasting {
                open.extend(stream.filter(|_| lives));
            }
        }
        let began = now();
        let minutes = Duration::from_secs(if scene.effort.quick { 1 } else { 120 });
        let mut lost: usize = 0;
        while began.elapsed() < minutes {
            open.retain_mut(|stream| {
                let lives = ping(stream);
                lost += usize::from(!lives);
                lives
            });
            pause(Duration::from_millis(500));
        }
        scene.connections = lasting as u64 + 8;
        scene.came.push(format!("{torn} upgrades torn, {lost} connections lost"));
        if torn + lost > 0 {
            scene
                .noticed
                .push((1, format!("{torn} of {asked} upgrades torn, {lost} of {lasting} connections lost")));
        }
    }

    fn lasts(&self) -> Duration {
        Duration::ZERO
    }

    fn delays(&self) -> bool {
        true
    }

    fn also(&mut self, run: &Run) -> Vec<(usize, String)> {
        let kept = run.kept.as_ref().unwrap();
        let upgrades: Vec<_> = kept.others.iter().filter(|one| one.request.target == b"/echo").collect();
        let mut problems = Vec::new();
        if upgrades.is_empty() {
            problems.push((2, "no upgrade is recorded".to_owned()));
        }
        let uneven = upgrades.iter().filter(|one| {
            let down = one.response.as_ref().map_or(0, |response| response.body.length);
            one.request.body.length != down || down % FRAME.len() as u64 != 0
        });
        if uneven.clone().count() > 0 {
            problems
                .push((2, format!("{} upgrades are recorded with other bytes than passed", uneven.count())));
        }
        let frames = upgrades.iter().filter(|one| {
            one.passage.frames.is_none_or(|frames| {
                frames.client != one.request.body.length / FRAME.len() as u64
                    || frames.upstream != frames.client
            })
        });
        let miscounted = frames.count();
        if miscounted > 0 {
            problems.push((2, format!("of {miscounted} upgrades the frames are not counted right")));
        }
        problems
    }
}

/// R23: everything that is not a plain request and a plain answer.
#[derive(Default)]
pub(crate) struct Unusual;

impl Fault for Unusual {
    fn begin(&mut self, scene: &mut Scene) {
        let close = "Host: shop\r\nConnection: close\r\n\r\n";
        let asked = [
            format!("GET /early HTTP/1.1\r\n{close}"),
            format!("GET /none HTTP/1.1\r\n{close}"),
            format!("GET /same HTTP/1.1\r\n{close}"),
            format!("HEAD /plain HTTP/1.1\r\n{close}"),
            format!("GET /trailers HTTP/1.1\r\nTE: trailers\r\n{close}"),
            format!("GET /close HTTP/1.1\r\n{close}"),
            format!("OPTIONS * HTTP/1.1\r\n{close}"),
            format!("CONNECT shop:443 HTTP/1.1\r\n{close}"),
            format!("POST /plain HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n{close}ok"),
            "GET /plain HTTP/1.0\r\n\r\n".to_owned(),
            format!(
                "GET /plain HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n{close}0\r\n\r\n"
            ),
            "GARBAGE\r\n\r\n".to_owned(),
        ];
        for wire in asked {
            let mut stream = TcpStream::connect(scene.to()).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let _ = stream.write_all(wire.as_bytes());
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            let answer = String::from_utf8_lossy(&answer);
            // The moment is another in every answer.
            let same: Vec<&str> =
                answer.lines().filter(|line| !line.to_ascii_lowercase().starts_with("date:")).collect();
            scene.came.push(format!("{:?}: {same:?}", wire.lines().next().unwrap_or_default()));
        }
    }

    fn lasts(&self) -> Duration {
        Duration::from_millis(100)
    }

    fn also(&mut self, run: &Run) -> Vec<(usize, String)> {
        // Every one of them that is an exchange is recorded: those that the service saw at least.
        let kept = run.kept.as_ref().unwrap();
        let problem = |target: &str| {
            let found = kept.others.iter().any(|one| one.request.target == target.as_bytes());
            (!found).then(|| (2, format!("{target} is not recorded")))
        };
        ["/early", "/none", "/same", "/trailers", "/close"].into_iter().filter_map(problem).collect()
    }
}
