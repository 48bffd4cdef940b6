//! The metrics as Prometheus reads them (text format 0.0.4).
//!
//! Counters begin at zero with the process. Every label has few values: routes and status codes are bounded
//! by the recorder, the rest by this text.

use std::time::Duration;

use captures::DropReason;
use recorder::{Latencies, Monitor, UpstreamState};

use super::page::Page;
use super::process::Process;

/// The upper bounds of latencies with the counts up to them; all of them under the last.
fn buckets(latencies: &Latencies) -> Vec<(Option<Duration>, u64)> {
    let bounded = latencies.at_most().map(|(bound, count)| (Some(bound), count));
    bounded.chain([(None, latencies.count_all())]).collect()
}

/// All metrics of a recorder.
pub(super) fn text(monitor: &Monitor, process: &Process) -> String {
    let metrics = monitor.metrics();
    let mut page = Page::default();

    page.family("highwater_build_info", "gauge", "The version of this program.");
    page.sample("highwater_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);

    page.family("highwater_requests_total", "counter", "Exchanges that ended, by route and class of status.");
    for each in &metrics.requests {
        let class = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"][usize::from(each.class).min(5)];
        let labels = [("method", each.method.as_str()), ("route", &each.route), ("class", class)];
        page.sample("highwater_requests_total", &labels, each.count);
    }
    page.family("highwater_responses_total", "counter", "Exchanges that ended, by status code.");
    for (status, count) in &metrics.statuses {
        let code = status.map_or_else(|| "other".to_owned(), |status| status.to_string());
        page.sample("highwater_responses_total", &[("code", &code)], count);
    }
    page.histogram(
        "highwater_exchange_seconds",
        "From the request's head to the end of the exchange.",
        &buckets(&metrics.exchange),
        metrics.exchange.total(),
    );
    page.histogram(
        "highwater_upstream_first_byte_seconds",
        "From a connection to a server until the head of its answer.",
        &buckets(&metrics.first_byte),
        metrics.first_byte.total(),
    );
    page.histogram(
        "highwater_upstream_seconds",
        "From a connection to a server until the end of the exchange.",
        &buckets(&metrics.upstream),
        metrics.upstream.total(),
    );
    for (name, help, value) in [
        ("highwater_request_body_bytes_total", "Bytes of request bodies.", metrics.received.as_u64()),
        ("highwater_response_body_bytes_total", "Bytes of response bodies.", metrics.sent.as_u64()),
        ("highwater_connections_accepted_total", "Client connections accepted.", metrics.accepted),
        (
            "highwater_accept_failures_total",
            "Failed attempts to accept a connection, mostly for want of descriptors.",
            metrics.accept_failures,
        ),
        (
            "highwater_tls_handshake_failures_total",
            "TLS handshakes of clients that came to nothing.",
            metrics.handshake_failures,
        ),
    ] {
        page.single(name, "counter", help, value);
    }
    for (name, help, value) in [
        ("highwater_requests_in_flight", "Exchanges under way.", metrics.in_flight),
        ("highwater_connections", "Client connections that are open.", metrics.connections),
        ("highwater_queue_bytes", "Bytes that wait to be written.", metrics.queued.as_u64()),
        ("highwater_queue_limit_bytes", "The most bytes that may wait.", metrics.queue_limit.as_u64()),
        ("highwater_file_bytes", "Bytes in the capture that is being written.", metrics.file.as_u64()),
        ("highwater_write_failing", "1 while the capture cannot be written.", u64::from(metrics.failing)),
        ("highwater_recording_paused", "1 while recording is paused.", u64::from(metrics.paused)),
        ("highwater_ready", "1 while new connections are taken.", u64::from(monitor.is_ready())),
    ] {
        page.single(name, "gauge", help, value);
    }

    let mut servers: Vec<(&str, String, &UpstreamState)> = metrics
        .upstreams
        .iter()
        .map(|state| (state.server.as_str(), state.address.to_string(), state))
        .collect();
    servers.dedup_by(|one, other| (one.0, &one.1) == (other.0, &other.1));
    for (name, kind, help, value) in [
        (
            "highwater_upstream_up",
            "gauge",
            "1 while an address of a server takes connections and its checks go well.",
            (|state| u64::from(state.up)) as fn(&UpstreamState) -> u64,
        ),
        ("highwater_upstream_active", "gauge", "Requests that are at an address.", |state| state.active),
        ("highwater_upstream_failures_total", "counter", "Requests that an address failed.", |state| {
            state.failures
        }),
    ] {
        page.family(name, kind, help);
        for (server, address, state) in &servers {
            page.sample(name, &[("server", server), ("address", address)], value(state));
        }
    }

    let accounts = &metrics.accounts;
    for (name, help, value) in [
        ("highwater_exchanges_seen_total", "Exchanges that ended: the sum of the next four.", accounts.seen),
        ("highwater_exchanges_recorded_total", "Exchanges written to the capture.", accounts.recorded),
        ("highwater_exchanges_filtered_total", "Exchanges left out by a filter.", accounts.filtered),
        ("highwater_exchanges_sampled_out_total", "Exchanges left out by sampling.", accounts.sampled_out),
    ] {
        page.single(name, "counter", help, value);
    }
    page.family("highwater_exchanges_dropped_total", "counter", "Exchanges lost, by reason.");
    for reason in DropReason::ALL {
        let lost = accounts.dropped.iter().filter(|(known, _)| *known == reason);
        let lost: u64 = lost.map(|(_, count)| count).sum();
        page.sample("highwater_exchanges_dropped_total", &[("reason", reason.as_str())], lost);
    }

    page.optional("process_cpu_seconds_total", "counter", "Processor time used.", process.cpu_seconds);
    page.optional("process_resident_memory_bytes", "gauge", "Memory in use.", process.resident_bytes);
    page.optional("process_open_fds", "gauge", "Open descriptors.", process.open_descriptors);
    page.optional("process_max_fds", "gauge", "The most descriptors.", process.most_descriptors);
    page.optional(
        "process_start_time_seconds",
        "gauge",
        "When the process began, in seconds since 1970.",
        process.start_seconds,
    );
    page.into_text()
}
