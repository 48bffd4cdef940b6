//! Points from a table: `n,x` (a closed load) or `rate,p95,…` (an open one).
//!
//! Columns, in any order; unknown ones are ignored:
//!
//! | column | also called | meaning |
//! |---|---|---|
//! | `n` | `concurrency`, `load`, `users`, `clients`, `processors`, `connections` | requests in flight |
//! | `x` | `throughput`, `completed` | answers per second |
//! | `rate` | `offered` | offered requests per second |
//! | `p50`, `p95`, `p99.9`, …, `mean` | with `_ms` | response in milliseconds |
//! | `errors` | `error_ratio` | share of errors, in `0..=1` |

use std::time::Duration;

use captures::{Histogram, Rate};

use crate::error::ModelError;
use crate::point::{Point, QuantileAt};

/// The most rows a table may have.
const MOST_ROWS: usize = 10_000;
/// The most requests in flight, or per second, that are believed.
const MOST_LOAD: f64 = 1e12;
/// The fewest of them that are believed, unless there are none.
const LEAST_LOAD: f64 = 1e-9;
/// The longest response that is believed, in milliseconds: eleven days.
const LONGEST_MS: f64 = 1e9;

/// Below this share of the offered rate, a row of a table counts as saturated.
const ACHIEVED_RATIO: f64 = 0.99;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Column {
    Concurrency,
    Throughput,
    Offered,
    Quantile(f64),
    Mean,
    Errors,
    Other,
}

/// Reads the points of a table; `name` is how its points are called.
///
/// # Errors
/// [`ModelError::Table`] names the first line that cannot be understood.
pub fn points_from_table(text: &str, name: &str) -> Result<Vec<Point>, ModelError> {
    let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate().filter(|(_, line)| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#')
    });
    let wrong = |line: usize, what: String| ModelError::Table { line: line + 1, what };
    let (first, heading) = lines.next().ok_or_else(|| wrong(0, "the table is empty".to_owned()))?;
    let columns: Vec<Column> = heading.split(',').map(column_of).collect();
    let has = |column: Column| columns.contains(&column);
    let open = has(Column::Offered);
    let closed = has(Column::Concurrency) && has(Column::Throughput);
    if !open && !closed {
        return Err(wrong(first, "the columns are neither n,x nor rate,p95,…".to_owned()));
    }
    let measured = columns
        .iter()
        .any(|column| matches!(column, Column::Quantile(_) | Column::Mean | Column::Throughput));
    if !measured {
        return Err(wrong(first, "no column says what was measured".to_owned()));
    }
    let mut points = Vec::new();
    for (at, line) in lines {
        if points.len() >= MOST_ROWS {
            return Err(ModelError::TooManyRows { line: at + 1, most: MOST_ROWS });
        }
        let cells: Vec<&str> = line.split(',').collect();
        if cells.len() != columns.len() {
            return Err(wrong(at, format!("{} cells under {} columns", cells.len(), columns.len())));
        }
        if let Some(what) = out_of_reach(&columns, &cells) {
            return Err(ModelError::OutOfReach { line: at + 1, what });
        }
        points
            .push(row(&columns, &cells, format!("{name}, line {}", at + 1)).map_err(|what| wrong(at, what))?);
    }
    Ok(points)
}

fn column_of(title: &str) -> Column {
    let title = title.trim().trim_matches('"').to_ascii_lowercase();
    let title = title.trim_end_matches("_ms");
    match title {
        "n" | "concurrency" | "load" | "users" | "clients" | "processors" | "connections" | "in_flight" => {
            Column::Concurrency
        }
        "x" | "throughput" | "completed" | "achieved" => Column::Throughput,
        "rate" | "offered" => Column::Offered,
        "mean" | "response" => Column::Mean,
        "errors" | "error_ratio" => Column::Errors,
        _ => match title.strip_prefix('p').map(str::parse::<f64>) {
            Some(Ok(percent)) if percent > 0.0 && percent < 100.0 => {
                Column::Quantile((percent * 1e7).round() / 1e9)
            }
            _ => Column::Other,
        },
    }
}

/// The first cell that no service reaches; arithmetic on it would lose all meaning.
fn out_of_reach(columns: &[Column], cells: &[&str]) -> Option<String> {
    columns.iter().zip(cells).find_map(|(column, cell)| {
        let cell = cell.trim().trim_matches('"');
        let (least, most, unit) = match column {
            Column::Concurrency => (LEAST_LOAD, MOST_LOAD, "requests in flight"),
            Column::Throughput | Column::Offered => (LEAST_LOAD, MOST_LOAD, "requests per second"),
            Column::Quantile(_) | Column::Mean => (0.0, LONGEST_MS, "milliseconds"),
            Column::Errors | Column::Other => return None,
        };
        let number = cell.parse::<f64>().ok()?;
        if number > most {
            return Some(format!("'{cell}' is more than {most:e} {unit}"));
        }
        (number > 0.0 && number < least).then(|| format!("'{cell}' is less than {least:e} {unit}"))
    })
}

fn row(columns: &[Column], cells: &[&str], source: String) -> Result<Point, String> {
    let mut offered = None;
    let mut throughput = None;
    let mut concurrency = None;
    let mut mean_response = None;
    let mut error_ratio = 0.0;
    let mut quantiles = Vec::new();
    for (&column, cell) in columns.iter().zip(cells) {
        if column == Column::Other {
            continue;
        }
        let cell = cell.trim().trim_matches('"');
        let number = cell.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
        let number = number.ok_or_else(|| format!("'{cell}' is not a number of zero or more"))?;
        match column {
            Column::Concurrency if number <= 0.0 => {
                return Err("the concurrency must be above zero".to_owned());
            }
            Column::Offered if number <= 0.0 => return Err("the rate must be above zero".to_owned()),
            Column::Concurrency => concurrency = Some(number),
            Column::Throughput => throughput = Rate::per_second(number),
            Column::Offered => offered = Rate::per_second(number),
            Column::Mean => mean_response = Some(milliseconds(number)?),
            Column::Quantile(quantile) => {
                quantiles.push(QuantileAt { quantile, response: milliseconds(number)? })
            }
            Column::Errors if number > 1.0 => return Err("errors is a share, between 0 and 1".to_owned()),
            Column::Errors => error_ratio = number,
            Column::Other => {}
        }
    }
    quantiles.sort_by(|a, b| a.quantile.total_cmp(&b.quantile));
    let achieved = throughput.map(Rate::as_per_second);
    let carried = offered.map(|rate| rate.as_per_second() * (1.0 - error_ratio));
    let saturated =
        achieved.zip(carried).is_some_and(|(achieved, carried)| achieved < ACHIEVED_RATIO * carried);
    let throughput = throughput.or_else(|| Rate::per_second(carried?)).unwrap_or(Rate::ZERO);
    let little = |n: f64| {
        mean_response.map(|r: Duration| (n - throughput.as_per_second() * r.as_secs_f64()).abs() / n)
    };
    Ok(Point {
        source,
        scale: None,
        length: Duration::ZERO,
        offered,
        throughput,
        throughput_error: None,
        little_gap_ratio: concurrency.and_then(little),
        concurrency: concurrency
            .or_else(|| mean_response.map(|r| throughput.as_per_second() * r.as_secs_f64())),
        mean_response,
        quantiles,
        response: Histogram::new(),
        error_ratio,
        saturated,
        draining: false,
        windows: Vec::new(),
        resources: Vec::new(),
        routes: Vec::new(),
    })
}

fn milliseconds(number: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(number / 1e3)
        .ok()
        .filter(|length| !length.is_zero())
        .ok_or_else(|| format!("'{number}' is not a response in milliseconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_table_are_read() {
        let closed = points_from_table("n,x\n1,64.9\n18,995.9\n", "t").expect("is whole");
        assert_eq!(closed[1].concurrency, Some(18.0));
        assert_eq!(closed[1].throughput.as_per_second(), 995.9);
        let open =
            points_from_table("# offered\nrate,p95_ms,x\n100,20,100\n200,900,150\n", "t").expect("is whole");
        assert_eq!(open[0].response_at(0.95), Some(Duration::from_millis(20)));
        assert_eq!((open[0].saturated, open[1].saturated), (false, true));
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = |text: &str| points_from_table(text, "t").expect_err("is bad").to_string();
        assert_eq!(error("n,x\n1,2\n1,two\n"), "line 3: 'two' is not a number of zero or more");
        assert_eq!(error("n,x\n1\n"), "line 2: 1 cells under 2 columns");
        assert_eq!(error("a,b\n1,2\n"), "line 1: the columns are neither n,x nor rate,p95,…");
        assert_eq!(error("n,x\n0,2\n"), "line 2: the concurrency must be above zero");
        assert_eq!(error(""), "line 1: the table is empty");
        assert_eq!(error("n,x\n1,2\n1e300,3\n"), "line 3: '1e300' is more than 1e12 requests in flight");
        assert_eq!(error("n,x\n1,2e12\n"), "line 2: '2e12' is more than 1e12 requests per second");
        assert_eq!(error("rate,p95\n1,2e9\n"), "line 2: '2e9' is more than 1e9 milliseconds");
        assert_eq!(error("n,x\n1,1e-300\n"), "line 2: '1e-300' is less than 1e-9 requests per second");
        let long = format!("n,x\n{}", "1,2\n".repeat(MOST_ROWS + 1));
        assert_eq!(error(&long), "line 10002: more than 10000 rows");
    }
}
