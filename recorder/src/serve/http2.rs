//! Serves one HTTP/2 client connection: a task for each request, the engine's hooks for all of them.
//!
//! A stop announces itself to the client (GOAWAY): requests that are under way end, new ones go elsewhere.
//! The connection ends when it lies idle, and when nothing moves on it though requests are open.
//!
//! What the engine does to HTTP/2: informational answers (1xx) and the fields behind a *request's* body are
//! not passed on. A request that is malformed beyond what the `h2` library answers itself is refused unseen;
//! it is recorded without its head.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use captures::Ending;
use http::header::{COOKIE, HOST};
use http::{HeaderValue, Method};
use pingora::apps::HttpServerApp;
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Accept, H2Options, HttpSession, default_h2_options, handshake};
use pingora::protocols::{Digest, GetSocketDigest};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::connection::Connection;
use crate::gate::{Refused, RequestHead, Visit};
use crate::serve::entry::{Host, stop};
use crate::serve::line::Line;

/// Malformed requests after which a connection is closed.
const MALFORMED: u32 = 32;
/// How long a client that was told to go may take to hang up.
const FAREWELL: Duration = Duration::from_secs(5);
/// What of a request's body may be under way, per request and on the connection in all.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What of an answer may wait to be sent, per request.
const SEND_BUFFER: usize = 64 << 10;

/// Serves `stream`, whose client speaks HTTP/2.
pub(super) async fn serve<S>(
    host: Arc<Host>,
    connection: Arc<Connection>,
    stream: S,
    mut announced: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + AsRawFd + Unpin + Send + Sync + 'static,
{
    let line = Line::new(stream);
    let digest = Arc::new(Digest { socket_digest: line.get_socket_digest(), ..Digest::default() });
    let moved = line.moved();
    let Ok(Ok(mut link)) = timeout(host.limits.patience, handshake(Box::new(line), Some(options()))).await
    else {
        return;
    };
    let mut requests = JoinSet::new();
    let mut stopping = false;
    let mut malformed = 0;
    loop {
        let quiet = match (requests.is_empty(), stopping) {
            (false, _) => host.limits.patience,
            (true, false) => host.limits.idle,
            (true, true) => FAREWELL,
        };
        let turn = async {
            tokio::select! {
                biased;
                () = stop(&mut announced), if !stopping => Turn::Stop,
                Some(_) = requests.join_next() => Turn::Ended,
                accepted = HttpSession::from_h2_conn(&mut link, Arc::clone(&digest)) => match accepted {
                    Ok(Some(H2Accept::Session(request))) => Turn::Request(Box::new(request)),
                    Ok(Some(H2Accept::Rejected)) => Turn::Malformed,
                    Ok(None) | Err(_) => Turn::Over,
                },
            }
        };
        match timeout(quiet, turn).await {
            Ok(Turn::Request(request)) => {
                let visit = host.visit(Arc::clone(&connection));
                requests.spawn(exchange(Arc::clone(&host), visit, *request, announced.clone()));
            }
            Ok(Turn::Ended) => {}
            Ok(Turn::Malformed) => {
                let visit = host.visit(Arc::clone(&connection));
                let head = RequestHead { arrived: visit.now(), bytes: Vec::new() };
                let (ending, detail) = (Ending::RequestInvalid, "http/2: malformed");
                visit.record(Refused { head, ending, detail, answer: &[] });
                malformed += 1;
                if malformed == MALFORMED {
                    break;
                }
            }
            Ok(Turn::Over) => break,
            // Nobody is there any more, or nobody listens.
            Err(_) if stopping && requests.is_empty() => break,
            Err(_) if !requests.is_empty() && !moved.swap(false, Ordering::Relaxed) => break,
            Err(_) if !requests.is_empty() => {}
            Ok(Turn::Stop) | Err(_) => {
                link.graceful_shutdown();
                stopping = true;
            }
        }
    }
    // The requests that are left learn that their client is gone, and say so in the record.
    drop(link);
    while requests.join_next().await.is_some() {}
}

enum Turn {
    Stop,
    Ended,
    Request(Box<HttpSession>),
    Malformed,
    Over,
}

fn options() -> H2Options {
    let mut options = default_h2_options();
    options
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER);
    options
}

async fn exchange(
    host: Arc<Host>,
    visit: Arc<Visit>,
    mut request: HttpSession,
    announced: watch::Receiver<bool>,
) {
    let raw = request.pseudo_raw_h1_request_header();
    let head = request.req_header_mut();
    visit.begin(RequestHead { arrived: visit.now(), bytes: raw_head(&raw, head) });
    if head.method == Method::CONNECT {
        // The engine says so, and calls no hook.
        visit.on_answer(b"HTTP/1.1 405 \r\n");
    }
    join_cookies(head);
    // The engine hands a connection's context to HTTP/1 requests alone; this is where the hooks find it.
    head.extensions_mut().insert(Arc::clone(&visit));
    let mut session = ServerSession::new_http2(request);
    session.set_write_timeout(Some(host.limits.patience));
    host.engine.process_new_http(session, &announced).await;
    visit.settle();
}

/// A request's head in the form of HTTP/1: the pseudo fields make the first line, and `:authority` the `Host`
/// when there is none.
fn raw_head(raw: &[u8], head: &RequestHeader) -> Vec<u8> {
    let (Some(authority), false) = (head.uri.authority(), head.headers.contains_key(HOST)) else {
        return raw.to_vec();
    };
    let line = raw.iter().position(|&byte| byte == b'\n').map_or(raw.len(), |end| end + 1);
    let host = ["Host: ".as_bytes(), authority.as_str().as_bytes(), b"\r\n"].concat();
    [&raw[..line], &host, &raw[line..]].concat()
}

/// Makes one field of the many that HTTP/2 may split cookies into (RFC 9113, 8.2.3): HTTP/1 has one.
fn join_cookies(head: &mut RequestHeader) {
    let mut crumbs = head.headers.get_all(COOKIE).iter();
    if crumbs.nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = head.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        let _ = head.insert_header(COOKIE, whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_is_recorded_as_the_host() {
        let check = |uri: &str, raw: &str, expected: &str| {
            let mut head = RequestHeader::build("GET", b"/", None).unwrap();
            head.set_uri(uri.parse().unwrap());
            if raw.contains("host") {
                head.insert_header(HOST, "shop.test").unwrap();
            }
            assert_eq!(raw_head(raw.as_bytes(), &head), expected.as_bytes());
        };
        check(
            "https://shop.test/a",
            "GET /a HTTP/2\r\naccept: */*\r\n\r\n",
            "GET /a HTTP/2\r\nHost: shop.test\r\naccept: */*\r\n\r\n",
        );
        let with_host = "GET /a HTTP/2\r\nhost: shop.test\r\n\r\n";
        check("https://shop.test/a", with_host, with_host);
        check("/a", "GET /a HTTP/2\r\n\r\n", "GET /a HTTP/2\r\n\r\n");
    }

    #[test]
    fn split_cookies_are_joined_in_order() {
        let mut head = RequestHeader::build("GET", b"/", None).unwrap();
        for crumb in ["a=1", "b=2", "c=3"] {
            head.append_header(COOKIE, crumb).unwrap();
        }
        join_cookies(&mut head);
        let joined: Vec<&HeaderValue> = head.headers.get_all(COOKIE).iter().collect();
        assert_eq!(joined, ["a=1; b=2; c=3"]);
    }
}
