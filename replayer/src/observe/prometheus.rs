//! Reads a page of metrics in Prometheus' text format.
//!
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>, version 0.0.4.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::Reading;

/// A page above this size is cut: 8 MiB.
const MAX_PAGE: u64 = 8 << 20;
/// How long one look may take.
const PATIENCE: Duration = Duration::from_millis(800);

/// Fetches the page. HTTP/1.0 keeps the answer free of chunks.
pub(super) fn look(authority: &str, path: &str, names: &[String]) -> io::Result<Vec<Reading>> {
    let address = authority
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {authority}\r\nAccept: text/plain\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_PAGE).read_to_end(&mut answer)?;
    let page = body_of(&answer).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "the answer is no page of metrics with status 200")
    })?;
    readings(&String::from_utf8_lossy(page), names).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "the page holds no metric in Prometheus' text format")
    })
}

pub(super) fn body_of(answer: &[u8]) -> Option<&[u8]> {
    let head = memchr::memmem::find(answer, b"\r\n\r\n")?;
    let status = answer.split(|&byte| byte == b' ').nth(1)?;
    (answer.starts_with(b"HTTP/1.") && status.starts_with(b"200")).then(|| &answer[head + 4..])
}

/// The numbers of a page: those whose metric, or whole name with labels, is among `names`; without names all
/// but the buckets of histograms. `None` for a page without any number: that is none of metrics.
fn readings(page: &str, names: &[String]) -> Option<Vec<Reading>> {
    let mut types: BTreeMap<&str, &str> = BTreeMap::new();
    let (mut readings, mut any) = (Vec::new(), false);
    for line in page.lines().map(str::trim) {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            if let Some((name, kind)) = typed.trim().split_once(char::is_whitespace) {
                types.insert(name, kind.trim());
            }
            continue;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((series, value)) = sample(line) else { continue };
        any = true;
        if !value.is_finite() {
            continue;
        }
        let metric = metric_of(series);
        let wanted = if names.is_empty() {
            !metric.ends_with("_bucket")
        } else {
            names.iter().any(|name| is_named(series, name))
        };
        if wanted {
            let counter = is_counter(metric, &types);
            readings.push(Reading { name: series.to_owned(), counter, value, scale: 1.0 });
        }
    }
    any.then_some(readings)
}

/// Whether a series is the one, or one of the metric, that is called `name`.
pub(super) fn is_named(series: &str, name: &str) -> bool {
    name == metric_of(series) || name == series
}

fn metric_of(series: &str) -> &str {
    series.split('{').next().unwrap_or(series)
}

/// The series (name and labels) and the value of a line. Label values may hold anything, spaces and braces too.
fn sample(line: &str) -> Option<(&str, f64)> {
    let end = match line.find(['{', ' ', '\t'])? {
        at if line[at..].starts_with('{') => at + end_of_labels(&line[at..])?,
        at => at,
    };
    let (series, rest) = line.split_at(end);
    let value: f64 = rest.split_whitespace().next()?.parse().ok()?;
    let metric = metric_of(series);
    let plain = metric.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'));
    (plain && !metric.starts_with(|first: char| first.is_ascii_digit())).then_some((series, value))
}

/// The length of `{…}` at the beginning of `text`.
fn end_of_labels(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn is_counter(metric: &str, types: &BTreeMap<&str, &str>) -> bool {
    match types.get(metric).copied() {
        Some("counter") => return true,
        Some(_) => return false,
        None => {}
    }
    let of_family = |suffix: &str| metric.strip_suffix(suffix).and_then(|family| types.get(family)).copied();
    let summed = ["_sum", "_count", "_bucket"].into_iter().find_map(of_family);
    matches!(summed, Some("histogram" | "summary"))
        || of_family("_total") == Some("counter")
        || metric.ends_with("_total")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# HELP load a level
# TYPE load gauge
load 0.75
# TYPE served counter
served{code=\"200\",path=\"/a b}\\\"\"} 1027 1395066363000
# TYPE took histogram
took_bucket{le=\"+Inf\"} 3
took_sum 1.5
took_count 3
odd_total 4
broken{ 1
nothing NaN
";

    fn check(names: &[&str], expected: &[(&str, bool, f64)]) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let read = readings(PAGE, &names).unwrap();
        let read: Vec<(&str, bool, f64)> =
            read.iter().map(|reading| (reading.name.as_str(), reading.counter, reading.value)).collect();
        assert_eq!(read, expected);
    }

    #[test]
    fn levels_and_counters_are_told_apart() {
        let served = "served{code=\"200\",path=\"/a b}\\\"\"}";
        check(
            &[],
            &[
                ("load", false, 0.75),
                (served, true, 1027.0),
                ("took_sum", true, 1.5),
                ("took_count", true, 3.0),
                ("odd_total", true, 4.0),
            ],
        );
        check(&["served", "took_bucket"], &[(served, true, 1027.0), ("took_bucket{le=\"+Inf\"}", true, 3.0)]);
    }

    #[test]
    fn a_page_without_any_number_is_no_page_of_metrics() {
        let none: [String; 0] = [];
        for page in
            ["", "<html>\n<p> 5 </p>\n", "{\"load\": 3}\nit is 5\n", "# TYPE load gauge\n", "9lives 3\n"]
        {
            assert_eq!(readings(page, &none), None, "{page}");
        }
        assert_eq!(readings("nothing NaN\n", &none), Some(vec![]));
        assert_eq!(readings("load 1\n", &["nosuch".to_owned()]), Some(vec![]));
    }

    #[test]
    fn only_a_good_answer_is_a_page() {
        assert_eq!(body_of(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nload 1\n"), Some(&b"load 1\n"[..]));
        assert_eq!(body_of(b"HTTP/1.1 404 Not Found\r\n\r\nload 1\n"), None);
        assert_eq!(body_of(b"load 1\n"), None);
    }
}
