//! The metrics of a replay that is going on, as Prometheus reads them.

use std::future::pending;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use captures::{Histogram, Interval};
use replayer::Progress;

use super::page::Page;
use super::{Names, answer, guard, page_of};
use crate::complain::{Complaint, Exit, reason};

/// The upper bounds of the buckets of response times, in microseconds.
const BOUNDS: [u64; 14] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000,
];

/// What a replay has done so far, for whoever asks.
#[derive(Clone, Debug)]
pub(crate) struct Scoreboard(Arc<Mutex<Score>>);

#[derive(Debug)]
struct Score {
    routes: Vec<String>,
    /// All that was settled, as if it were one second.
    sum: Interval,
    latest: Option<Progress>,
}

impl Scoreboard {
    /// Shows the replay of a plan with these `routes` at `address`.
    pub(crate) fn serve(address: SocketAddr, routes: &[String]) -> Result<Self, Complaint> {
        let score = Score { routes: routes.to_vec(), sum: Interval::default(), latest: None };
        let board = Self(Arc::new(Mutex::new(score)));
        let listener = TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        let listener = listener.map_err(|error| {
            let mend = "give another address, or end what listens there";
            Complaint::new(Exit::Usage, format!("--metrics {address}"), reason(&error), mend)
        })?;
        let shown = board.clone();
        let router = Router::new()
            .route("/metrics", get(async move || page_of(shown.text())))
            .layer(from_fn_with_state(Arc::new(Names(Vec::new())), guard));
        answer(listener, router, pending())?;
        Ok(board)
    }

    /// Takes what was settled.
    pub(crate) fn on_settled(&self, progress: Option<&Progress>, settled: &[Interval]) {
        let mut score = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        settled.iter().for_each(|interval| score.sum.merge(interval));
        // What was observed is told by those who were asked.
        score.sum.observed.clear();
        if let Some(progress) = progress {
            score.latest = Some(progress.clone());
        }
    }

    fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).text()
    }
}

impl Score {
    fn text(&self) -> String {
        let Self { routes, sum, latest } = self;
        let mut page = Page::default();
        let named = |route: u16| routes.get(usize::from(route)).map_or("other", String::as_str);
        page.family(
            "highwater_replay_requests_total",
            "counter",
            "Requests that ended, by route and how: a status, or a kind of failure.",
        );
        for route in &sum.routes {
            let statuses = route.statuses.iter().map(|(status, count)| (status.to_string(), count));
            let failures = route.failures.iter().map(|(kind, count)| (kind.as_str().to_owned(), count));
            for (result, count) in statuses.chain(failures) {
                let labels = [("route", named(route.route)), ("result", &result)];
                page.sample("highwater_replay_requests_total", &labels, count);
            }
        }
        page.family(
            "highwater_replay_response_seconds",
            "histogram",
            "From the moment a request was due to the end of its answer.",
        );
        for route in &sum.routes {
            let labels = [("route", named(route.route))];
            let sum = route.response.mean().mul_f64(route.response.len() as f64);
            page.buckets("highwater_replay_response_seconds", &labels, &buckets(&route.response), sum);
        }
        for (name, help, value) in [
            ("highwater_replay_planned_total", "Requests that were due.", sum.planned),
            (
                "highwater_replay_completed_total",
                "Requests that ended, but for those that were skipped.",
                sum.completed,
            ),
            ("highwater_replay_retried_total", "Requests that were sent a second time.", sum.retried),
            (
                "highwater_replay_connections_opened_total",
                "Connections that were made.",
                sum.connections_opened,
            ),
            ("highwater_replay_sent_bytes_total", "Bytes sent.", sum.bytes_out.as_u64()),
            ("highwater_replay_received_bytes_total", "Bytes received.", sum.bytes_in.as_u64()),
        ] {
            page.single(name, "counter", help, value);
        }
        if let Some(latest) = latest {
            for (name, help, value) in [
                ("highwater_replay_scale", "The scale of the load, as planned.", latest.scale),
                (
                    "highwater_replay_planned_rate",
                    "Requests due in the last settled second.",
                    latest.planned.as_per_second(),
                ),
                (
                    "highwater_replay_completed_rate",
                    "Requests that ended in it.",
                    latest.completed.as_per_second(),
                ),
                (
                    "highwater_replay_in_flight",
                    "The mean number of requests in flight in it.",
                    latest.in_flight,
                ),
                ("highwater_replay_elapsed_seconds", "Time since the start.", latest.elapsed.as_secs_f64()),
                ("highwater_replay_planned_seconds", "The planned length.", latest.total.as_secs_f64()),
            ] {
                page.single(name, "gauge", help, value);
            }
        }
        page.into_text()
    }
}

/// The counts up to each bound.
fn buckets(histogram: &Histogram) -> Vec<(Option<Duration>, u64)> {
    let mut counts = vec![0; BOUNDS.len()];
    for (micros, count) in histogram.pairs() {
        if let Some(at) = BOUNDS.iter().position(|bound| micros <= *bound) {
            counts[at] += count;
        }
    }
    let mut below = 0;
    let bounded = BOUNDS.iter().zip(counts).map(|(bound, count)| {
        below += count;
        (Some(Duration::from_micros(*bound)), below)
    });
    let mut buckets: Vec<_> = bounded.collect();
    buckets.push((None, histogram.len()));
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_holds_what_is_no_longer_than_its_bound() {
        let mut lengths = Histogram::new();
        [900, 1_000, 1_200, 40_000_000].iter().for_each(|&micros| lengths.record_micros(micros, 1));

        let buckets = buckets(&lengths);

        assert_eq!(buckets[0], (Some(Duration::from_millis(1)), 2));
        assert_eq!(buckets[1].1, 3);
        assert_eq!(buckets[13], (Some(Duration::from_secs(30)), 3));
        assert_eq!(buckets[14], (None, 4));
    }
}
