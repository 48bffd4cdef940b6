//! The proxy engine as it comes, in ten lines: what `make bench-recorder` measures the recorder against.
//!
//! Its own server with its defaults: no filters, the allocator of the system, work stealing on.
//!
//!     stock_proxy LISTEN UPSTREAM [THREADS]

#![expect(clippy::unwrap_used, reason = "a tool of the benchmark, which says so by panicking")]

use std::net::SocketAddr;

use async_trait::async_trait;
use pingora::Result;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Server;
use pingora::upstreams::peer::HttpPeer;

struct Stock(SocketAddr);

#[async_trait]
impl ProxyHttp for Stock {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let (listen, upstream) = (args.next().unwrap(), args.next().unwrap().parse().unwrap());
    let mut server = Server::new(None).unwrap();
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Stock(upstream));
    service.threads = Some(args.next().map_or(2, |threads| threads.parse().unwrap()));
    service.add_tcp(&listen);
    server.add_service(service);
    server.run_forever();
}
