//! The proxies that are compared, each started anew for each measurement, and the service behind them.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::proc::{children, cpu_seconds};
use crate::support::{Running, free_port, has, highwater, pause, until};

/// Where a part of the benchmark runs, when it is pinned.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    Traffic,
    Proxy,
}

/// `program`, on the processor of its `place` when things are pinned.
pub(crate) fn placed(program: &str, place: Place, pinned: bool) -> Command {
    if !pinned {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", if matches!(place, Place::Traffic) { "0" } else { "1" }, program]);
    command
}

/// What stands between wrk and the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Direct,
    Nginx,
    Haproxy,
    Stock,
    Off,
    On,
}

impl Side {
    pub(crate) const ALL: [Self; 6] =
        [Self::Direct, Self::Nginx, Self::Haproxy, Self::Stock, Self::Off, Self::On];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Stock => "stock pingora",
            Self::Off => "recording off",
            Self::On => "recording on",
        }
    }

    /// Whether what it takes is on this machine; says so when it is not.
    pub(crate) fn is_here(self) -> bool {
        match self {
            Self::Nginx => has("nginx"),
            Self::Haproxy => has("haproxy"),
            Self::Stock => {
                let here = stock_proxy().exists();
                if !here {
                    eprintln!(
                        "skipped: stock pingora (cargo build --release -p recorder --example stock_proxy)"
                    );
                }
                here
            }
            Self::Direct | Self::Off | Self::On => true,
        }
    }

    /// Starts it in front of `origin`; `more` are flags of ours.
    pub(crate) fn start(self, folder: &Path, origin: &Origin, pinned: bool, more: &[&str]) -> Proxy {
        let port = free_port();
        let listen = format!("127.0.0.1:{port}");
        let workers = if pinned { "1" } else { "2" };
        let mut capture = None;
        let process = match self {
            Self::Direct => {
                return Proxy { side: self, address: origin.address(), process: None, capture };
            }
            Self::Nginx => nginx(folder, "proxy", Place::Proxy, pinned, workers, &nginx_proxy(port, origin)),
            Self::Haproxy => {
                let config = folder.join("haproxy.cfg");
                std::fs::write(&config, haproxy_config(port, origin, workers)).unwrap();
                let mut command = placed("haproxy", Place::Proxy, pinned);
                silent(command.args(["-db", "-f"]).arg(config))
            }
            Self::Stock => {
                let mut command = placed(stock_proxy().to_str().unwrap(), Place::Proxy, pinned);
                silent(command.args([&listen, &origin.address(), workers]))
            }
            Self::Off | Self::On => {
                let mut command = placed(highwater().get_program().to_str().unwrap(), Place::Proxy, pinned);
                command.args(["record", "--listen", &listen, "--upstream", &origin.address()]);
                command.args(["--threads", workers]).args(more);
                if self == Self::Off {
                    command.args(["--recording", "off"]);
                } else {
                    let out = folder.join("bench.capture");
                    command.arg("--force").arg("--out").arg(&out);
                    capture = Some(out);
                }
                heard(command)
            }
        };
        let process = Running(process);
        until("the proxy to listen", || TcpStream::connect(&listen).ok());
        Proxy { side: self, address: listen, process: Some(process), capture }
    }
}

/// The proxy of the engine's own server, built beside the binary.
fn stock_proxy() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_highwater")).parent().unwrap().join("examples/stock_proxy")
}

fn silent(command: &mut Command) -> Child {
    // /usr/sbin is not on everybody's path.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    command
        .env("PATH", path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A recorder that has said it is ready; what it says later is read and forgotten.
fn heard(mut command: Command) -> Child {
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    said.read_line(&mut String::new()).unwrap();
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    child
}

/// A proxy at work.
pub(crate) struct Proxy {
    pub(crate) side: Side,
    pub(crate) address: String,
    process: Option<Running>,
    capture: Option<PathBuf>,
}

impl Proxy {
    /// The CPU seconds of all its processes so far.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.processes().into_iter().filter_map(cpu_seconds).sum()
    }

    /// The same, when it has caught up with what it put off: of that is a rate soon made that cannot last.
    pub(crate) fn cpu_seconds_at_rest(&self) -> f64 {
        let mut known = self.cpu_seconds();
        loop {
            pause(Duration::from_millis(200));
            let now = self.cpu_seconds();
            if now - known <= 0.01 {
                return now;
            }
            known = now;
        }
    }

    pub(crate) fn processes(&self) -> Vec<u32> {
        let Some(process) = &self.process else { return Vec::new() };
        let mut all = vec![process.0.id()];
        all.extend(children(process.0.id()));
        all
    }

    /// Stops a recorder; the size of its capture, and the number of exchanges in it.
    pub(crate) fn recorded(mut self) -> (u64, u64) {
        self.stop();
        let capture = self.capture.as_ref().unwrap();
        let file = std::fs::File::open(capture).unwrap();
        let bytes = file.metadata().unwrap().len();
        let exchanges = captures::CaptureReader::open(BufReader::new(file)).unwrap().count();
        (bytes, exchanges as u64)
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Asked to end, a master ends its workers; killed, it would leave them behind. The engine's own
            // server takes minutes over the first of these signals, and none over the other.
            let signal = if self.side == Side::Stock { "-INT" } else { "-TERM" };
            let _ = Command::new("kill").args([signal, &process.0.id().to_string()]).status();
            let _ = process.0.wait();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The service behind the proxies.
pub(crate) struct Origin {
    port: u16,
    process: Running,
}

/// How many distinct bodies the service has.
pub(crate) const BODIES: usize = 200;

impl Origin {
    pub(crate) fn start(folder: &Path, pinned: bool) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let port = free_port();
        let root = folder.join("root");
        std::fs::create_dir(&root).unwrap();
        // Started by root, nginx serves as somebody else.
        for place in [folder, &root] {
            std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        for at in 0..BODIES {
            std::fs::write(root.join(format!("{at}.json")), body(at)).unwrap();
        }
        let servers = format!(
            "default_type application/json; client_body_buffer_size 64k;\n\
             server {{ listen 127.0.0.1:{port} backlog=4096; root {};\n\
             location /body/ {{ rewrite ^/body/(.*)$ /$1 break; open_file_cache max=1000; }}\n\
             location / {{ return 200 'ok'; }} }}\n",
            root.display()
        );
        let process = Running(nginx(folder, "origin", Place::Traffic, pinned, "1", &servers));
        until("the service to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
        Self { port, process }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.process.0.id().to_string()).status();
        let _ = self.process.0.wait();
    }
}

/// About 2 kB of JSON, unlike the others.
pub(crate) fn body(at: usize) -> String {
    let mut state = at as u64 + 1;
    let mut items = String::new();
    while items.len() < 1_950 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let comma = if items.is_empty() { "" } else { "," };
        items += &format!(
            "{comma}{{\"id\":\"{:016x}\",\"name\":\"article {}\",\"price\":{},\"stock\":{}}}",
            state,
            state >> 50,
            (state >> 33) % 100_000,
            (state >> 20) % 90
        );
    }
    format!("{{\"items\":[{items}]}}")
}

fn nginx(folder: &Path, name: &str, place: Place, pinned: bool, workers: &str, servers: &str) -> Child {
    let shown = folder.display();
    let text = format!(
        "daemon off; worker_processes {workers}; pid {shown}/{name}.pid; error_log {shown}/{name}.log;\n\
         events {{ worker_connections 20000; }}\nworker_rlimit_nofile 20000;\n\
         http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 600s;\n\
         client_body_temp_path {shown}/{name}-body; proxy_temp_path {shown}/{name}-proxy; fastcgi_temp_path {shown}/f;\n\
         uwsgi_temp_path {shown}/u; scgi_temp_path {shown}/s;\n{servers}}}\n"
    );
    let config = folder.join(format!("{name}.conf"));
    std::fs::write(&config, text).unwrap();
    let mut command = placed("nginx", place, pinned);
    silent(command.arg("-c").arg(config).arg("-p").arg(folder))
}

fn nginx_proxy(port: u16, origin: &Origin) -> String {
    format!(
        "upstream service {{ server {}; keepalive 256; keepalive_requests 100000000; }}\n\
         server {{ listen 127.0.0.1:{port} backlog=4096;\n\
         location / {{ proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         proxy_set_header Host $host; }} }}\n",
        origin.address()
    )
}

fn haproxy_config(port: u16, origin: &Origin, workers: &str) -> String {
    format!(
        "global\n  maxconn 9000\n  nbthread {workers}\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  http-reuse always\n\
         frontend in\n  bind 127.0.0.1:{port}\n  default_backend out\n\
         backend out\n  server service {}\n",
        origin.address()
    )
}
