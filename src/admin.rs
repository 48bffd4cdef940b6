//! The admin listener of a recorder (metrics, health, pause and resume), and that of a replay (metrics).
//!
//! It is for the machine itself and for whoever the operator lets reach it; it knows no passwords. Against a
//! browser that is led astray: only a `Host` that is an address, `localhost` or a name the operator gave is
//! answered (a name may have been made to point here), nothing is changed by a GET, and a request with an
//! `Origin` changes nothing. Served by a thread and a runtime of its own: it answers however busy the workers
//! are, until the process ends or another one takes over.

mod exposition;
mod page;
mod process;
pub(crate) mod replaying;

use std::net::{IpAddr, TcpListener};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HOST, ORIGIN};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use recorder::Monitor;

use crate::complain::{Complaint, Exit, reason};

/// The names by which it may be called.
struct Names(Vec<String>);

/// Answers on `listener` until the process ends.
pub(crate) fn serve(listener: TcpListener, names: Vec<String>, monitor: Monitor) -> Result<(), Complaint> {
    let until = monitor.clone().taken_over();
    let names = Arc::new(Names(names));
    let admin = Arc::new(monitor);
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/recording/pause", post(pause))
        .route("/recording/resume", post(resume))
        .layer(from_fn_with_state(names, guard))
        .with_state(admin);
    answer(listener, router, until)
}

/// Answers by `router` on a thread of its own, `until` that or the end of the process.
fn answer(
    listener: TcpListener,
    router: Router,
    until: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Complaint> {
    let cannot = |error: std::io::Error| {
        Complaint::new(Exit::Fault, "the admin listener", reason(&error), "free some descriptors or memory")
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(cannot)?;
    let listener = {
        let _context = runtime.enter();
        tokio::net::TcpListener::from_std(listener).map_err(cannot)?
    };
    let thread = std::thread::Builder::new().name("admin".to_owned());
    thread
        .spawn(move || {
            runtime.block_on(async { axum::serve(listener, router).with_graceful_shutdown(until).await })
        })
        .map(drop)
        .map_err(cannot)
}

/// Lets a request pass that comes by a trusted name, and no change that a web page asks for.
async fn guard(State(names): State<Arc<Names>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(|host| is_trusted(host, &names.0)) {
        let answer = "the Host is neither an address nor a name given by --admin-host\n";
        return (StatusCode::MISDIRECTED_REQUEST, answer).into_response();
    }
    if request.method() != Method::GET && request.headers().contains_key(ORIGIN) {
        return (StatusCode::FORBIDDEN, "not for web pages\n").into_response();
    }
    next.run(request).await
}

/// Whether `host`, with or without a port, cannot be a name that somebody else made point here.
fn is_trusted(host: &str, names: &[String]) -> bool {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) && (!name.contains(':') || name.ends_with(']')) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    address.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

async fn metrics(State(monitor): State<Arc<Monitor>>) -> Response {
    page_of(exposition::text(&monitor, &process::Process::read()))
}

fn page_of(text: String) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn ready(State(monitor): State<Arc<Monitor>>) -> Response {
    if monitor.is_ready() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response()
    }
}

async fn pause(State(monitor): State<Arc<Monitor>>) -> &'static str {
    monitor.pause();
    "paused\n"
}

async fn resume(State(monitor): State<Arc<Monitor>>) -> &'static str {
    monitor.resume();
    "recording\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_or_a_name_that_was_given() {
        let check = |host: &str, expected| {
            assert_eq!(is_trusted(host, &["shop-recorder".to_owned()]), expected, "{host}");
        };
        check("127.0.0.1:9900", true);
        check("127.0.0.1", true);
        check("[::1]:9900", true);
        check("10.1.2.3:9900", true);
        check("localhost:9900", true);
        check("Shop-Recorder:9900", true);
        check("evil.test:9900", false);
        check("127.0.0.1.evil.test", false);
        check("", false);
        check("localhost.evil.test:9900", false);
    }
}
