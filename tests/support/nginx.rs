//! A real nginx on a free port, with an access log that the tests read.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Running, free_port, until};

/// A running nginx.
pub(crate) struct Nginx {
    pub(crate) port: u16,
    log: PathBuf,
    process: Running,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Asked to end, the master ends its workers; killed, it would leave them behind.
        let _ = Command::new("kill").arg(self.process.0.id().to_string()).status();
        let _ = self.process.0.wait();
    }
}

/// One line of the access log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) at: f64,
    pub(crate) connection: u64,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) status: u16,
    pub(crate) marker: String,
}

impl Nginx {
    /// Serves `root`, or `ok` for every path when there is none, in `folder`.
    pub(crate) fn start(folder: &Path, root: Option<&Path>) -> Self {
        Self::listening(folder, root, "")
    }

    /// The same, with more words for its `listen`, and what they need.
    pub(crate) fn listening(folder: &Path, root: Option<&Path>, how: &str) -> Self {
        let port = free_port();
        let log = folder.join(format!("access-{port}.log"));
        let place = folder.display();
        let location = match root {
            Some(root) => format!(
                "root {};\n      dav_methods PUT DELETE;\n      create_full_put_path on;\n      client_max_body_size 0;\n      client_body_temp_path {place}/body-{port};",
                root.display()
            ),
            None => "return 200 'ok';".to_owned(),
        };
        let config = folder.join(format!("nginx-{port}.conf"));
        let text = format!(
            "daemon off; worker_processes 1; pid {place}/nginx-{port}.pid; error_log {place}/error-{port}.log;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n  log_format lines '$msec $connection $request_method $request_uri $status \"$http_highwater_replay\"';\n  \
             access_log {log} lines;\n  keepalive_requests 1000000; keepalive_timeout 600s; default_type text/plain;\n  \
             client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/fastcgi;\n  \
             uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;\n  \
             server {{ listen 127.0.0.1:{port} backlog=4096 {how};\n    location / {{\n      {location}\n    }}\n  }}\n}}\n",
            log = log.display(),
        );
        std::fs::write(&config, text).unwrap();
        let process = Command::new("nginx")
            .env("PATH", "/usr/sbin:/usr/bin:/bin")
            .args(["-c", &config.display().to_string(), "-p", &place.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let nginx = Self { port, log, process: Running(process) };
        until("nginx to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
        nginx
    }

    /// Its address as a target or upstream.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The access log so far.
    pub(crate) fn lines(&self) -> Vec<Line> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines()
            .filter_map(|line| {
                let fields: Vec<&str> = line.split(' ').collect();
                let [at, connection, method, target, status, marker] = fields[..] else { return None };
                // A connection that was opened and closed without a request.
                if status == "000" || method.is_empty() {
                    return None;
                }
                Some(Line {
                    at: at.parse().ok()?,
                    connection: connection.parse().ok()?,
                    method: method.to_owned(),
                    target: target.to_owned(),
                    status: status.parse().ok()?,
                    marker: marker.trim_matches('"').to_owned(),
                })
            })
            .collect()
    }
}
