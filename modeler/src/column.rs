//! What the columns of a table mean, by their titles: ours, and those of k6, wrk, JMeter and sar.

/// What a column holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Column {
    /// Requests in flight.
    Concurrency,
    /// Answers per second.
    Throughput,
    /// Offered requests per second.
    Offered,
    /// A quantile of the response, with what its numbers are multiplied by to be milliseconds.
    Quantile(f64, f64),
    /// The mean response, likewise.
    Mean(f64),
    /// The share of errors, with what its numbers are divided by to be one.
    Errors(f64),
    /// Requests in all.
    Requests,
    /// Seconds measured.
    Seconds,
    /// When the row was measured: rows are moments, and levels are found among them.
    Moment,
    /// What was used of a resource.
    Resource(String),
    /// The share of a resource that was *not* used, in percent.
    Idle(String),
    /// Requests per second of a route.
    Route(String),
    /// Anything else.
    Other,
}

/// The meaning of `title`.
pub(crate) fn column_of(title: &str) -> Column {
    let typed = title.trim().trim_matches('"').trim();
    if let Some(route) = typed.strip_prefix("route:") {
        return Column::Route(route.trim().to_owned());
    }
    if let Some(name) = typed.strip_prefix("resource:") {
        return Column::Resource(name.trim().to_owned());
    }
    let lower = typed.to_ascii_lowercase().replace([' ', '-'], "_");
    let (name, to_ms) = without_unit(&lower);
    match name {
        "n" | "concurrency" | "load" | "users" | "clients" | "processors" | "connections" | "in_flight"
        | "vus" | "threads" | "allthreads" | "virtual_users" => Column::Concurrency,
        "x" | "throughput" | "completed" | "achieved" | "rps" | "tps" | "qps" | "req/s" | "requests/sec"
        | "requests/s" | "throughput_rps" => Column::Throughput,
        "rate" | "offered" | "arrival_rate" | "target_rate" | "offered_rps" => Column::Offered,
        "mean"
        | "avg"
        | "average"
        | "response"
        | "latency"
        | "mean_latency"
        | "avg_latency"
        | "lat_avg"
        | "latency_avg"
        | "mean_response"
        | "http_req_duration_avg" => Column::Mean(to_ms),
        "errors" | "error_ratio" | "error_rate" | "failed" | "http_req_failed" => Column::Errors(1.0),
        "error_%" | "errors_%" | "error_percent" | "errors_percent" => Column::Errors(100.0),
        "requests" | "total_requests" | "count" | "samples" | "#_samples" | "http_reqs" => Column::Requests,
        "seconds" | "duration" | "duration_s" | "duration_seconds" | "length" => Column::Seconds,
        "second" | "time" | "timestamp" | "t" | "elapsed" => Column::Moment,
        _ => quantile_of(name).map_or_else(|| resource_of(typed, &lower), |q| Column::Quantile(q, to_ms)),
    }
}

/// A title without its unit of time, and what makes milliseconds of it.
fn without_unit(title: &str) -> (&str, f64) {
    for (suffix, to_ms) in [("_ms", 1.0), ("_us", 1e-3), ("_sec", 1e3), ("_s", 1e3), ("_(ms)", 1.0)] {
        if let Some(rest) =
            title.strip_suffix(suffix).filter(|rest| quantile_of(rest).is_some() || is_mean(rest))
        {
            return (rest, to_ms);
        }
    }
    (title, 1.0)
}

fn is_mean(name: &str) -> bool {
    ["mean", "avg", "average", "response", "latency", "lat_avg", "latency_avg"].contains(&name)
}

/// `p95`, `p(95)`, `latency_p99.9`, `95%`, `95%_line`, `95th_pct`, `median`.
fn quantile_of(name: &str) -> Option<f64> {
    if matches!(name, "median" | "med") {
        return Some(0.5);
    }
    let last = name.rsplit('_').next().unwrap_or(name);
    let written = [
        last.strip_prefix('p').map(|rest| rest.trim_matches(['(', ')'])),
        name.strip_suffix("%_line"),
        name.strip_suffix("th_pct"),
        name.strip_suffix('%'),
    ];
    let percent = written
        .into_iter()
        .flatten()
        .filter_map(|digits| digits.parse::<f64>().ok())
        .find(|percent| *percent > 0.0 && *percent < 100.0)?;
    Some((percent * 1e7).round() / 1e9)
}

/// `cpu`, `%util`, `%user`, `pool_active`, `db_cpu_cores`; `%idle` is what is left.
fn resource_of(typed: &str, lower: &str) -> Column {
    const WORDS: [&str; 17] = [
        "cpu", "memory", "mem", "heap", "disk", "net", "util", "pool", "busy", "active", "in_use", "queue",
        "user", "iowait", "cores", "hit", "_max",
    ];
    if lower == "%idle" || lower == "cpu_idle_%" {
        return Column::Idle("%cpu".to_owned());
    }
    let known = lower.starts_with('%') || WORDS.iter().any(|word| lower.contains(word));
    if known { Column::Resource(typed.to_owned()) } else { Column::Other }
}

/// Whether the numbers of a resource of this title are percentages.
pub(crate) fn is_percent(title: &str) -> bool {
    let lower = title.to_ascii_lowercase();
    lower.contains('%') || lower.ends_with("_pct") || lower.ends_with("_percent")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_of_other_tools_are_understood() {
        for (title, column) in [
            ("\"processors\"", Column::Concurrency),
            ("vus", Column::Concurrency),
            ("Throughput", Column::Throughput),
            ("Requests/sec", Column::Throughput),
            ("p(95)", Column::Quantile(0.95, 1.0)),
            ("http_req_duration_p99.9", Column::Quantile(0.999, 1.0)),
            ("95% Line", Column::Quantile(0.95, 1.0)),
            ("99th pct", Column::Quantile(0.99, 1.0)),
            ("p95_s", Column::Quantile(0.95, 1e3)),
            ("Average", Column::Mean(1.0)),
            ("latency_us", Column::Mean(1e-3)),
            ("Error %", Column::Errors(100.0)),
            ("# Samples", Column::Requests),
            ("%user", Column::Resource("%user".to_owned())),
            ("%idle", Column::Idle("%cpu".to_owned())),
            ("route:GET /", Column::Route("GET /".to_owned())),
            ("Label", Column::Other),
        ] {
            assert_eq!(column_of(title), column, "{title}");
        }
    }
}
