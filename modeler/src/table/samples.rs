//! Sample logs, a request a line: JMeter's (`timeStamp,elapsed,…,success,…,allThreads`) and k6's
//! (`metric_name,timestamp,metric_value,…`), to rows of a second each.
//!
//! Responses are counted into the histogram of their second, so that quantiles are those of all samples.

use std::collections::BTreeMap;
use std::time::Duration;

use captures::Histogram;

use super::{LONGEST_MS, Row, cells_of};
use crate::error::ModelError;

/// The most samples a log may have.
const MOST_SAMPLES: usize = 20_000_000;
/// The most seconds it may span: two days.
const MOST_SECONDS: usize = 172_800;

/// What one second had.
#[derive(Clone, Debug, Default)]
struct Second {
    line: usize,
    count: u64,
    failed: u64,
    sum_ms: f64,
    responses: Histogram,
    users: f64,
    told: u64,
}

/// Where a log keeps what is wanted.
enum Form {
    Jmeter { at: usize, elapsed: usize, threads: usize, success: Option<usize> },
    K6 { name: usize, at: usize, value: usize, expected: Option<usize> },
}

/// Rows of a second each; `None` when `text` is no sample log.
pub(super) fn rows(text: &str) -> Result<Option<Vec<Row>>, ModelError> {
    let mut lines = text.lines().enumerate();
    let Some(form) = lines.next().and_then(|(_, heading)| form_of(heading)) else { return Ok(None) };
    let mut seconds: BTreeMap<u64, Second> = BTreeMap::new();
    for (at, line) in lines {
        if line.trim().is_empty() {
            continue;
        }
        if at > MOST_SAMPLES || seconds.len() > MOST_SECONDS {
            return Err(ModelError::TooManyRows { line: at + 1, most: at });
        }
        let cells = cells_of(line, ',');
        let wrong = |what: &str| ModelError::Table { line: at + 1, what: what.to_owned() };
        let number = |index: usize| cells.get(index).and_then(|cell| cell.parse::<f64>().ok());
        let positive = |index: usize, what: &str| {
            number(index).filter(|number| (0.0..1e15).contains(number)).ok_or_else(|| wrong(what))
        };
        match form {
            Form::Jmeter { at: moment, elapsed, threads, success } => {
                let second = positive(moment, "timeStamp is not a time in milliseconds")? / 1e3;
                let ms = positive(elapsed, "elapsed is not a time in milliseconds")?;
                let users = positive(threads, "allThreads is not a number of threads")?;
                let failed = success.and_then(|index| cells.get(index)).is_some_and(|cell| cell == "false");
                let entry = seconds.entry(second as u64).or_default();
                entry.sample(at + 1, ms, failed);
                entry.users += users;
                entry.told += 1;
            }
            Form::K6 { name, at: moment, value, expected } => {
                let metric = cells.get(name).map_or("", String::as_str);
                if metric != "http_req_duration" && metric != "vus" {
                    continue;
                }
                let second = positive(moment, "timestamp is not a time in seconds")?;
                let number = positive(value, "metric_value is not a number of zero or more")?;
                let entry = seconds.entry(second as u64).or_default();
                if metric == "vus" {
                    entry.users += number;
                    entry.told += 1;
                } else {
                    let failed =
                        expected.and_then(|index| cells.get(index)).is_some_and(|cell| cell == "false");
                    entry.sample(at + 1, number, failed);
                }
            }
        }
    }
    Ok(Some(seconds.into_values().filter_map(Second::row).collect()))
}

fn form_of(heading: &str) -> Option<Form> {
    let titles = cells_of(heading, ',');
    let place = |wanted: &str| titles.iter().position(|title| title == wanted);
    match (place("timeStamp"), place("elapsed"), place("allThreads")) {
        (Some(at), Some(elapsed), Some(threads)) => {
            Some(Form::Jmeter { at, elapsed, threads, success: place("success") })
        }
        _ => Some(Form::K6 {
            name: place("metric_name")?,
            at: place("timestamp")?,
            value: place("metric_value")?,
            expected: place("expected_response"),
        }),
    }
}

impl Second {
    fn sample(&mut self, line: usize, ms: f64, failed: bool) {
        if self.count == 0 {
            self.line = line;
        }
        self.count += 1;
        self.failed += u64::from(failed);
        let ms = ms.min(LONGEST_MS);
        self.sum_ms += ms;
        self.responses.record(Duration::from_secs_f64(ms / 1e3));
    }

    /// A second without samples, or without users, says nothing.
    fn row(self) -> Option<Row> {
        if self.count == 0 || self.told == 0 || self.users <= 0.0 {
            return None;
        }
        let count = self.count as f64;
        let quantile = |quantile: f64| (quantile, self.responses.quantile(quantile).as_secs_f64() * 1e3);
        Some(Row {
            line: self.line,
            throughput: Some((self.count - self.failed) as f64),
            concurrency: Some(self.users / self.told as f64),
            mean_ms: Some(self.sum_ms / count),
            quantiles_ms: [0.5, 0.9, 0.95, 0.99].map(quantile).to_vec(),
            error_ratio: self.failed as f64 / count,
            response: self.responses,
            ..Row::default()
        })
    }
}
