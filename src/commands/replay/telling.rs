//! What a replay says: before it, while it goes on, and at its end.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use captures::{Failure, Histogram, RouteInterval, RunEnd, Stage};
use replayer::{Finished, Plan, Progress, Totals};
use serde_json::{Map, Value, json};

use crate::Globals;
use crate::commands::files;
use crate::commands::replay::answers::Told;
use crate::commands::replay::bindings;
use crate::complain::say;

/// The first lines: what will be sent, what is held back, and what that means.
pub(super) fn introduce(plan: &Plan, stages: &[Stage], target: &str) {
    if plan.copies_at_1x() > 1.0 {
        say!(
            "a sample: the capture holds {:.4} % of the sessions, 1x takes {:.4} copies of each",
            100.0 / plan.copies_at_1x(),
            plan.copies_at_1x()
        );
    }
    if plan.held_back_ratio() > 0.0 {
        let held_back = plan.held_back().iter().map(|(reason, count)| format!("{count} {}", reason.as_str()));
        let filtered = (plan.filtered() > 0).then(|| format!("{} filtered by the recorder", plan.filtered()));
        say!(
            "partial mix: {:.1} % of the requests are held back ({}): the load is lighter than it was",
            plan.held_back_ratio() * 100.0,
            held_back.chain(filtered).collect::<Vec<_>>().join(", ")
        );
    }
    bindings::introduce(plan);
    let seconds: f64 = stages.iter().map(|stage| stage.end.since(stage.begin).as_secs_f64()).sum();
    let highest = stages.iter().map(|stage| stage.from.max(stage.to)).fold(0.0, f64::max);
    say!(
        "replaying {} requests of {} sessions on {} connections ({} at 1x) against {target}: {seconds:.0} s, up to {highest:.4}x = {:.0} req/s",
        plan.len(),
        plan.sessions(),
        plan.connections(),
        plan.rate(),
        highest * plan.rate().as_per_second(),
    );
    if plan.mix_is_changed() {
        say!("the mix is changed on purpose: this load is not the recorded one");
    }
}

/// The progress line: rewritten in place on a terminal, a line every five seconds elsewhere.
pub(super) struct Live {
    in_place: bool,
    quiet: bool,
    shown_at: Option<Duration>,
    stages: Vec<Stage>,
    /// Completions of the last seconds, for the sparkline.
    recent: VecDeque<f64>,
}

/// So many seconds are drawn.
const SPARKS: usize = 24;

impl Live {
    pub(super) fn new(globals: &Globals, stages: &[Stage]) -> Self {
        Self {
            in_place: io::stderr().is_terminal(),
            quiet: globals.quiet,
            shown_at: None,
            stages: stages.to_vec(),
            recent: VecDeque::new(),
        }
    }

    pub(super) fn show(&mut self, progress: &Progress) {
        self.recent.push_back(progress.completed.as_per_second());
        if self.recent.len() > SPARKS {
            self.recent.pop_front();
        }
        let pause = if self.in_place { Duration::ZERO } else { Duration::from_millis(4_500) };
        if self.quiet || self.shown_at.is_some_and(|at| progress.elapsed < at + pause) {
            return;
        }
        self.shown_at = Some(progress.elapsed);
        let elapsed = progress.elapsed.as_secs_f64();
        let stage = self.stages.iter().take_while(|stage| stage.end.as_secs_f64() <= elapsed).count() + 1;
        let fields = [
            // Of each field, how soon it goes where there is no room for all.
            (
                0,
                format!("{elapsed:>4.0} s, {:.0} s to go", (progress.total.as_secs_f64() - elapsed).max(0.0)),
            ),
            (7, format!("stage {}/{}", stage.min(self.stages.len()), self.stages.len())),
            (3, format!("{:>7.4}x", progress.scale)),
            (5, format!("planned {:>7.1}/s", progress.planned.as_per_second())),
            (2, format!("done {:>7.1}/s", progress.completed.as_per_second())),
            (6, format!("in flight {:>6.1}", progress.in_flight)),
            (4, format!("p50 {:>7.1} ms", millis(progress.response.quantile(0.5)))),
            (1, format!("p99 {:>7.1} ms", millis(progress.response.quantile(0.99)))),
            (0, format!("errors {}", progress.errors)),
            (8, if self.in_place { sparkline(&self.recent) } else { String::new() }),
        ];
        if self.in_place {
            let _ = write!(io::stderr(), "\r\x1b[K{}", fitted(&fields, width()));
        } else {
            say!("{}", fitted(&fields, usize::MAX));
        }
    }

    pub(super) fn end(&self) {
        if self.in_place && self.shown_at.is_some() {
            say!("");
        }
    }
}

/// The width of the terminal, less the last column: what is written there moves some of them on.
fn width() -> usize {
    /// Where it cannot be told.
    const USUAL: u16 = 80;
    let told = rustix::termios::tcgetwinsize(io::stderr()).map_or(0, |size| size.ws_col);
    usize::from(if told == 0 { USUAL } else { told }).saturating_sub(1)
}

/// The fields on one line of so many columns: those with the highest numbers go first where there is no room.
fn fitted(fields: &[(u8, String)], width: usize) -> String {
    let highest = fields.iter().map(|(number, _)| *number).max().unwrap_or(0);
    let line = |most: u8| {
        let kept = fields.iter().filter(|(number, text)| *number <= most && !text.is_empty());
        kept.map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("  ")
    };
    let mut fitting = (0..=highest).rev().map(line).filter(|line| line.chars().count() <= width);
    fitting.next().unwrap_or_else(|| line(0).chars().take(width).collect())
}

/// A column for each value, the highest of them all of full height.
fn sparkline(values: &VecDeque<f64>) -> String {
    const COLUMNS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let highest = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    values.iter().map(|value| COLUMNS[(value / highest * 7.0).round() as usize % 8]).collect()
}

fn millis(length: Duration) -> f64 {
    length.as_secs_f64() * 1e3
}

pub(super) fn summary(
    plan: &Plan,
    totals: &Totals,
    elapsed: Duration,
    end: &RunEnd,
    told: Option<&Told>,
) -> String {
    let mut text = String::new();
    let overall = &totals.overall;
    if let Some(why) = &end.stopped_by {
        let _ = writeln!(text, "stopped before its end: {why}");
    } else if end.interrupted {
        text.push_str("interrupted: the plan was not carried out to its end\n");
    }
    let _ = writeln!(
        text,
        "planned {} = sent {} + never sent {}; {} answered well, {} errors ({:.3} %), in {:.1} s",
        totals.planned,
        totals.sent(),
        totals.planned - totals.sent().min(totals.planned),
        totals.ok(),
        overall.errors(),
        100.0 * overall.errors() as f64 / totals.planned.max(1) as f64,
        elapsed.as_secs_f64(),
    );
    for (failure, count) in &overall.failures {
        let _ = writeln!(
            text,
            "  {}{}: {count}",
            if failure.is_skip() { "skipped, " } else { "" },
            failure.as_str()
        );
    }
    for (name, histogram) in [
        ("response", &overall.response),
        ("latency", &overall.latency),
        ("service", &overall.service),
        ("lag", &overall.lag),
    ] {
        let _ = writeln!(
            text,
            "  {name:<9} p50 {:>9.2} ms   p90 {:>9.2} ms   p99 {:>9.2} ms   max {:>9.2} ms",
            millis(histogram.quantile(0.5)),
            millis(histogram.quantile(0.9)),
            millis(histogram.quantile(0.99)),
            millis(histogram.max()),
        );
    }
    let behind = overall.latency.mean().saturating_sub(overall.response.mean());
    if behind > Duration::from_millis(1) && behind > overall.response.mean().mul_f64(0.1) {
        let _ = writeln!(
            text,
            "  sessions were slowed: requests waited {:.1} ms on average for their predecessors, so the offered load fell behind the plan",
            millis(behind)
        );
    }
    let _ = writeln!(
        text,
        "  {} connections, {} retried, {} sent, {} received, generator CPU {:.1} µs a request",
        totals.connections_opened,
        totals.retried,
        totals.bytes_out,
        totals.bytes_in,
        totals.cpu.as_secs_f64() * 1e6 / totals.sent().max(1) as f64
    );
    bindings::summary(&mut text, plan, totals);
    let mut ranked: Vec<(&String, &RouteInterval)> = plan.routes().iter().zip(&totals.routes).collect();
    ranked.sort_by_key(|(name, route)| (std::cmp::Reverse(route.total()), *name));
    // What answers did beside how long they took: a fast refusal is no capacity.
    let _ = writeln!(
        text,
        "  {:>9} {:>8} {:>11} {:>11} {:>8}{}  route",
        "requests",
        "errors",
        "p50",
        "p99",
        "status",
        if told.is_some() { "    alike" } else { "" }
    );
    for (name, route) in ranked.into_iter().take(12) {
        let _ = writeln!(
            text,
            "  {:>9} {:>8} {:>8.1} ms {:>8.1} ms {}{}  {}",
            route.total(),
            route.errors(),
            millis(route.response.quantile(0.5)),
            millis(route.response.quantile(0.99)),
            share(same_status(totals, route)),
            told.map(|told| format!(" {}", share(told.alike_ratio(name)))).unwrap_or_default(),
            files::plain(name)
        );
    }
    text
}

/// The share of a route's answers that have the status of the recorded ones; `None` when none was recorded.
fn same_status(totals: &Totals, route: &RouteInterval) -> Option<f64> {
    let of = totals.same_status.get(usize::from(route.route)).filter(|of| of.compared > 0)?;
    Some(of.ratio())
}

fn share(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| format!("{:>8}", "-"), |ratio| format!("{:>6.1} %", ratio * 100.0))
}

pub(super) fn shown(plan: &Plan, finished: &Finished, told: Option<&Told>) -> Value {
    let Finished { totals, end, elapsed, .. } = finished;
    let overall = &totals.overall;
    let routes: Vec<Value> = plan
        .routes()
        .iter()
        .zip(&totals.routes)
        .map(|(name, route)| of_route(name, route, totals, told))
        .collect();
    let of_kind = |skips: bool| -> Map<String, Value> {
        Failure::ALL
            .into_iter()
            .filter(|failure| failure.is_skip() == skips)
            .map(|failure| (failure.as_str().to_owned(), json!(totals.failures(failure))))
            .collect()
    };
    let mut errors = of_kind(false);
    let server: u64 =
        overall.statuses.iter().filter(|(status, _)| *status >= 500).map(|&(_, count)| count).sum();
    errors.insert("status_5xx".to_owned(), json!(server));
    errors.insert("unexpected_4xx".to_owned(), json!(overall.unexpected));
    json!({
        "planned": totals.planned,
        "sent": totals.sent(),
        "skipped": of_kind(true),
        "ok": totals.ok(),
        "errors": errors,
        "statuses": overall.statuses.iter().map(|(status, count)| (status.to_string(), json!(count))).collect::<Map<_, _>>(),
        "response_ms": quantiles(&overall.response),
        "latency_ms": quantiles(&overall.latency),
        "service_ms": quantiles(&overall.service),
        "lag_ms": quantiles(&overall.lag),
        "first_byte_ms": quantiles(&overall.first_byte),
        "connect_ms": quantiles(&totals.connect),
        "tls_ms": quantiles(&totals.tls),
        "valid": end.invalid_reason.is_none(),
        "invalid_reason": end.invalid_reason,
        "interrupted": end.interrupted,
        "stopped_by": end.stopped_by,
        "connections_opened": totals.connections_opened,
        "connections_most": totals.connections_most,
        "reused": totals.reused,
        "retried": totals.retried,
        "bytes_out": totals.bytes_out.as_u64(),
        "bytes_in": totals.bytes_in.as_u64(),
        "elapsed_seconds": elapsed.as_secs_f64(),
        "generator_cpu_seconds": totals.cpu.as_secs_f64(),
        "generator_resident_bytes": totals.resident.as_u64(),
        "generator_loop_delay_ms": millis(totals.loop_delay),
        "observed": totals.observed.iter().map(|(name, seen)| (name.clone(), json!({
            "mean": seen.mean(), "min": seen.least, "max": seen.most, "last": seen.last, "seconds": seen.count,
        }))).collect::<Map<_, _>>(),
        "unobserved": totals.unobserved,
        "same_status_ratio": totals.same_status_overall().ratio(),
        "bindings": bindings::shown(plan, totals),
        "held_back_ratio": plan.held_back_ratio(),
        "rate_at_1x_per_second": plan.rate().as_per_second(),
        "answers": told.map(Told::json),
        "routes": routes,
    })
}

fn of_route(name: &str, route: &RouteInterval, totals: &Totals, told: Option<&Told>) -> Value {
    json!({
        "route": name,
        "same_status_ratio": same_status(totals, route),
        "alike_ratio": told.and_then(|told| told.alike_ratio(name)),
        "requests": route.total(),
        "errors": route.errors(),
        "response_ms": quantiles(&route.response),
    })
}

fn quantiles(histogram: &Histogram) -> Value {
    json!({
        "mean": millis(histogram.mean()),
        "p50": millis(histogram.quantile(0.5)),
        "p90": millis(histogram.quantile(0.9)),
        "p95": millis(histogram.quantile(0.95)),
        "p99": millis(histogram.quantile(0.99)),
        "p999": millis(histogram.quantile(0.999)),
        "max": millis(histogram.max()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_what_matters_most_within_the_width() {
        let fields = [(0, "12 s".to_owned()), (2, "stage 1/2".to_owned()), (1, "p99 7 ms".to_owned())];
        for (width, expected) in [
            (80, "12 s  stage 1/2  p99 7 ms"),
            (25, "12 s  stage 1/2  p99 7 ms"),
            (24, "12 s  p99 7 ms"),
            (13, "12 s"),
            (3, "12 "),
            (0, ""),
        ] {
            assert_eq!(fitted(&fields, width), expected, "at {width}");
        }
        assert_eq!(fitted(&[(0, "▁▅█".to_owned())], 3), "▁▅█");
    }

    #[test]
    fn a_sparkline_has_a_column_for_each_value_and_its_highest_is_full() {
        assert_eq!(sparkline(&VecDeque::from([0.0, 5.0, 10.0])), "▁▅█");
        assert_eq!(sparkline(&VecDeque::from([0.0])), "▁");
        assert_eq!(sparkline(&VecDeque::new()), "");
    }
}
