//! Points from a table: `n,x` (a closed load) or `rate,p95,…` (an open one), from any tool.
//!
//! Columns in any order, separated by commas, semicolons or tabs; unknown ones are ignored:
//!
//! | column | also called | meaning |
//! |---|---|---|
//! | `n` | `concurrency`, `load`, `users`, `clients`, `processors`, `connections`, `vus`, `threads` | requests in flight |
//! | `x` | `throughput`, `completed`, `rps`, `tps`, `requests/sec` | answers per second |
//! | `rate` | `offered`, `arrival_rate` | offered requests per second |
//! | `p50`, `p95`, `p99.9`, …, `mean` | `p(95)`, `95% Line`, `avg`; with `_ms`, `_us`, `_s` | response, in milliseconds |
//! | `errors` | `error_ratio`, `error %` | share of errors, in `0..=1` or percent |
//! | `requests`, `seconds` | `count`, `samples`; `duration` | in place of `x`: requests in all, in how long |
//! | `second` | `time`, `timestamp` | rows are moments; levels are found among them |
//! | `cpu`, `%util`, `pool_active` with `pool_max` | `resource:NAME` | what was used of a resource |
//! | `route:GET /` | | requests per second of a route |
//!
//! Cells may carry their unit (`1.2ms`, `98.5/sec`, `0.1%`). The sample logs of JMeter and k6, a request a line,
//! are tables too (`samples`).

use std::time::Duration;

use captures::{Histogram, Rate};

use crate::column::{Column, column_of, is_percent};
use crate::error::ModelError;
use crate::plateau::{levels, warm_up};
use crate::point::{Point, QUANTILES, QuantileAt, RoutePoint};
use crate::resource::{ResourceUse, limit_of};

mod samples;

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

/// One line, as it was understood.
#[derive(Clone, Debug, Default)]
struct Row {
    line: usize,
    offered: Option<f64>,
    throughput: Option<f64>,
    concurrency: Option<f64>,
    mean_ms: Option<f64>,
    quantiles_ms: Vec<(f64, f64)>,
    error_ratio: f64,
    requests: Option<f64>,
    seconds: Option<f64>,
    resources: Vec<(String, f64)>,
    routes: Vec<(String, f64)>,
    throughput_error: Option<f64>,
    /// All responses, where a log has them one by one.
    response: Histogram,
}

/// Reads the points of a table; `name` is how its points are called.
///
/// # Errors
/// [`ModelError::Table`] names the first line that cannot be understood.
pub fn points_from_table(text: &str, name: &str) -> Result<Vec<Point>, ModelError> {
    let text = text.trim_start_matches('\u{feff}');
    if let Some(rows) = samples::rows(text)? {
        return at_levels(&rows).into_iter().map(|row| point(row, name)).collect();
    }
    let mut lines = text.lines().enumerate().filter(|(at, line)| {
        let line = line.trim();
        // The first line of what sadf prints for databases is a comment by its looks.
        let heading = *at == 0 && line.starts_with("# ") && line.contains(';');
        !line.is_empty() && (heading || (!line.starts_with("# ") && line != "#"))
    });
    let wrong = |line: usize, what: String| ModelError::Table { line: line + 1, what };
    let (first, heading) = lines.next().ok_or_else(|| wrong(0, "the table is empty".to_owned()))?;
    let separator = [';', '\t'].into_iter().find(|separator| heading.contains(*separator)).unwrap_or(',');
    let titles = cells_of(heading.trim_start_matches("# "), separator);
    let mut columns: Vec<Column> = titles.iter().map(|title| column_of(title)).collect();
    if titles.iter().any(|title| title.starts_with("%idle")) {
        // Beside it `CPU` says which one, as sar does.
        for (column, _) in columns.iter_mut().zip(&titles).filter(|(_, title)| *title == "CPU") {
            *column = Column::Other;
        }
    }
    let columns = columns;
    let has = |wanted: fn(&Column) -> bool| columns.iter().any(wanted);
    let counted = has(|c| *c == Column::Requests) && has(|c| *c == Column::Seconds);
    let throughput = has(|c| *c == Column::Throughput) || counted;
    let open = has(|c| *c == Column::Offered);
    let closed = has(|c| *c == Column::Concurrency) && throughput;
    if !open && !closed {
        return Err(wrong(first, "the columns are neither n,x nor rate,p95,…".to_owned()));
    }
    if !throughput && !has(|c| matches!(c, Column::Quantile(..) | Column::Mean(_))) {
        return Err(wrong(first, "no column says what was measured".to_owned()));
    }
    let mut rows: Vec<Row> = Vec::new();
    for (at, line) in lines {
        if rows.len() >= MOST_ROWS {
            return Err(ModelError::TooManyRows { line: at + 1, most: MOST_ROWS });
        }
        let cells = cells_of(line, separator);
        if cells.len() != columns.len() {
            return Err(wrong(at, format!("{} cells under {} columns", cells.len(), columns.len())));
        }
        if let Some(what) = out_of_reach(&columns, &cells) {
            return Err(ModelError::OutOfReach { line: at + 1, what });
        }
        let mut row = row(&columns, &cells).map_err(|what| wrong(at, what))?;
        row.line = at + 1;
        rows.push(row);
    }
    in_shares(&mut rows);
    if has(|c| *c == Column::Moment) {
        rows = at_levels(&rows);
    } else {
        refuse_repeats(&rows)?;
    }
    rows.into_iter().map(|row| point(row, name)).collect()
}

/// The cells of a line; a separator within quotes belongs to its cell.
fn cells_of(line: &str, separator: char) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    for letter in line.trim_end_matches('\r').chars() {
        match letter {
            '"' => quoted = !quoted,
            _ if letter == separator && !quoted => cells.push(String::new()),
            _ => {
                if let Some(cell) = cells.last_mut() {
                    cell.push(letter);
                }
            }
        }
    }
    cells.iter().map(|cell| cell.trim().to_owned()).collect()
}

/// The first cell that no service reaches; arithmetic on it would lose all meaning.
fn out_of_reach(columns: &[Column], cells: &[String]) -> Option<String> {
    columns.iter().zip(cells).find_map(|(column, cell)| {
        let (least, most, unit) = match column {
            Column::Concurrency => (LEAST_LOAD, MOST_LOAD, "requests in flight"),
            Column::Throughput | Column::Offered | Column::Route(_) => {
                (LEAST_LOAD, MOST_LOAD, "requests per second")
            }
            Column::Quantile(_, to_ms) | Column::Mean(to_ms) => (0.0, LONGEST_MS / to_ms, "milliseconds"),
            Column::Requests => (0.0, 1e15, "requests"),
            Column::Seconds => (0.0, LONGEST_MS / 1e3, "seconds"),
            Column::Errors(_) | Column::Moment | Column::Resource(_) | Column::Idle(_) | Column::Other => {
                return None;
            }
        };
        let number = number_of(column, cell)?;
        if number > most {
            return Some(format!("'{cell}' is more than {most:e} {unit}"));
        }
        (number > 0.0 && number < least).then(|| format!("'{cell}' is less than {least:e} {unit}"))
    })
}

fn row(columns: &[Column], cells: &[String]) -> Result<Row, String> {
    let mut row = Row::default();
    for (column, cell) in columns.iter().zip(cells) {
        if matches!(column, Column::Other | Column::Moment) {
            continue;
        }
        let number = number_of(column, cell)
            .filter(|number| number.is_finite() && *number >= 0.0)
            .ok_or_else(|| format!("'{cell}' is not a number of zero or more"))?;
        match column {
            Column::Concurrency if number <= 0.0 => {
                return Err("the concurrency must be above zero".to_owned());
            }
            Column::Offered if number <= 0.0 => return Err("the rate must be above zero".to_owned()),
            Column::Seconds if number <= 0.0 => return Err("the seconds must be above zero".to_owned()),
            Column::Concurrency => row.concurrency = Some(number),
            Column::Throughput => row.throughput = Some(number),
            Column::Offered => row.offered = Some(number),
            Column::Mean(to_ms) => row.mean_ms = Some(number * to_ms),
            Column::Quantile(quantile, to_ms) => row.quantiles_ms.push((*quantile, number * to_ms)),
            Column::Errors(whole) if number > *whole => {
                return Err(format!("errors is a share, between 0 and {whole}"));
            }
            Column::Errors(whole) => row.error_ratio = number / whole,
            Column::Requests => row.requests = Some(number),
            Column::Seconds => row.seconds = Some(number),
            Column::Resource(name) => row.resources.push((name.clone(), number)),
            Column::Idle(name) => row.resources.push((name.clone(), (100.0 - number).max(0.0))),
            Column::Route(name) => row.routes.push((name.clone(), number)),
            Column::Other | Column::Moment => {}
        }
    }
    row.quantiles_ms.sort_by(|a, b| a.0.total_cmp(&b.0));
    if let (None, Some(requests), Some(seconds)) = (row.throughput, row.requests, row.seconds) {
        row.throughput = Some(requests / seconds);
    }
    Ok(row)
}

/// The number of a cell in the unit of its column: tools write `1.2ms`, `98.5/sec` and `0.1%` into cells.
fn number_of(column: &Column, cell: &str) -> Option<f64> {
    let plain = cell.parse::<f64>().ok();
    if plain.is_some() {
        return plain;
    }
    let in_unit = |units: &[(&str, f64)]| {
        let of =
            |&(unit, times): &(&str, f64)| Some(cell.strip_suffix(unit)?.trim().parse::<f64>().ok()? * times);
        units.iter().find_map(of)
    };
    match column {
        Column::Throughput | Column::Offered | Column::Route(_) => in_unit(&[
            ("/sec", 1.0),
            ("/min", 1.0 / 60.0),
            ("/hour", 1.0 / 3_600.0),
            ("/s", 1.0),
            ("rps", 1.0),
            ("k", 1e3),
        ]),
        Column::Mean(to_ms) | Column::Quantile(_, to_ms) => {
            let units = [("us", 1e-3), ("µs", 1e-3), ("ms", 1.0), ("s", 1e3), ("m", 6e4)];
            in_unit(&units).map(|ms| ms / to_ms)
        }
        Column::Errors(whole) => in_unit(&[("%", whole / 100.0)]),
        _ => in_unit(&[("%", 1.0)]),
    }
}

/// Percentages of resources as shares: by their title, or because a share cannot be so large.
fn in_shares(rows: &mut [Row]) {
    let names: Vec<String> =
        rows.first().map_or(Vec::new(), |row| row.resources.iter().map(|r| r.0.clone()).collect());
    for name in names {
        let values =
            || rows.iter().flat_map(|row| &row.resources).filter(|each| each.0 == name).map(|each| each.1);
        let most = values().fold(0.0, f64::max);
        let share = limit_of(&name.to_ascii_lowercase(), &[]) == Some(1.0);
        if is_percent(&name) || (share && most > 1.5 && most <= 100.5) {
            for each in rows.iter_mut().flat_map(|row| &mut row.resources).filter(|each| each.0 == name) {
                each.1 /= 100.0;
            }
        }
    }
}

/// The same measurement twice would count twice, and make the answer look firmer than it is.
fn refuse_repeats(rows: &[Row]) -> Result<(), ModelError> {
    let load = |row: &Row| (row.offered, row.concurrency, row.throughput, row.mean_ms);
    for (at, row) in rows.iter().enumerate() {
        let same = |other: &&Row| load(other) == load(row) && other.quantiles_ms == row.quantiles_ms;
        if let Some(first) = rows[..at].iter().find(same) {
            let what = format!("the same as line {}: a measurement counts once", first.line);
            return Err(ModelError::Repeated { line: row.line, what });
        }
    }
    Ok(())
}

/// One row for each level that moments hold, its warm-up cut.
///
/// Quantiles are those of the merged histograms; without histograms they cannot be merged, and that of the level
/// is the median of theirs.
fn at_levels(rows: &[Row]) -> Vec<Row> {
    let loads: Vec<f64> = rows.iter().map(|row| row.offered.or(row.concurrency).unwrap_or(0.0)).collect();
    let mut found = Vec::new();
    for level in levels(&loads) {
        let series: Vec<f64> = rows[level.clone()]
            .iter()
            .map(|row| row.mean_ms.or(row.concurrency).or(row.throughput).unwrap_or(0.0))
            .collect();
        let kept = &rows[level.start + warm_up(&series)..level.end];
        let mean = |of: &dyn Fn(&Row) -> Option<f64>| {
            let known: Vec<f64> = kept.iter().filter_map(of).collect();
            (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
        };
        let median = |of: &dyn Fn(&Row) -> Option<f64>| {
            let mut known: Vec<f64> = kept.iter().filter_map(of).collect();
            known.sort_by(f64::total_cmp);
            (!known.is_empty()).then(|| crate::resample::quantile_of(&known, 0.5))
        };
        let Some(first) = kept.first() else { continue };
        let named = |pairs: fn(&Row) -> &Vec<(String, f64)>| -> Vec<(String, f64)> {
            let names = pairs(first).iter().enumerate();
            names
                .filter_map(|(at, (name, _))| Some((name.clone(), mean(&|row| Some(pairs(row).get(at)?.1))?)))
                .collect()
        };
        let throughput = mean(&|row| row.throughput);
        let spread = throughput.map(|mean| {
            let squares: f64 = kept.iter().filter_map(|row| row.throughput).map(|x| (x - mean).powi(2)).sum();
            (squares / (kept.len() as f64 - 1.0).max(1.0) / kept.len() as f64).sqrt()
        });
        let mut response = Histogram::new();
        kept.iter().for_each(|row| response.merge(&row.response));
        found.push(Row {
            response,
            line: first.line,
            offered: mean(&|row| row.offered),
            throughput,
            concurrency: mean(&|row| row.concurrency),
            mean_ms: mean(&|row| row.mean_ms),
            quantiles_ms: first
                .quantiles_ms
                .iter()
                .enumerate()
                .filter_map(|(at, (quantile, _))| {
                    Some((*quantile, median(&|row| Some(row.quantiles_ms.get(at)?.1))?))
                })
                .collect(),
            error_ratio: mean(&|row| Some(row.error_ratio)).unwrap_or(0.0),
            requests: mean(&|row| row.requests).map(|each| each * kept.len() as f64),
            seconds: mean(&|row| row.seconds).map(|each| each * kept.len() as f64),
            resources: named(|row| &row.resources),
            routes: named(|row| &row.routes),
            throughput_error: spread.filter(|spread| *spread > 0.0),
        });
    }
    found
}

fn point(row: Row, name: &str) -> Result<Point, ModelError> {
    let line = row.line;
    let milliseconds = |number: f64| {
        Duration::try_from_secs_f64(number / 1e3).ok().filter(|length| !length.is_zero()).ok_or_else(|| {
            ModelError::Table { line, what: format!("'{number}' is not a response in milliseconds") }
        })
    };
    let mean_response = row.mean_ms.map(milliseconds).transpose()?;
    let merged = &row.response;
    let quantiles_ms: Vec<(f64, f64)> = if merged.is_empty() {
        row.quantiles_ms.clone()
    } else {
        QUANTILES.iter().map(|&q| (q, merged.quantile(q).as_secs_f64() * 1e3)).collect()
    };
    let quantiles = quantiles_ms
        .iter()
        .map(|&(quantile, number)| Ok(QuantileAt { quantile, response: milliseconds(number)? }))
        .collect::<Result<Vec<_>, ModelError>>()?;
    let carried = row.offered.map(|rate| rate * (1.0 - row.error_ratio));
    let saturated =
        row.throughput.zip(carried).is_some_and(|(achieved, carried)| achieved < ACHIEVED_RATIO * carried);
    let throughput = row.throughput.or(carried).unwrap_or(0.0);
    let mean_seconds = mean_response.map(|length| length.as_secs_f64());
    let in_flight = mean_seconds.map(|mean| throughput * mean);
    let rate = |number: f64| Rate::per_second(number).unwrap_or(Rate::ZERO);
    let levels: Vec<(String, f64)> = row.resources.clone();
    let mut resources: Vec<ResourceUse> = row
        .resources
        .iter()
        .map(|(name, used)| ResourceUse {
            name: name.clone(),
            used: *used,
            limit: if is_percent(name) {
                Some(1.0)
            } else {
                limit_of(&name.to_ascii_lowercase(), &levels).or_else(|| limit_of(name, &levels))
            },
            by_second: Vec::new(),
            at_rest: None,
        })
        .collect();
    resources.sort_by(|one, other| one.name.cmp(&other.name));
    resources.dedup_by(|one, other| one.name == other.name);
    Ok(Point {
        source: format!("{name}, line {line}"),
        scale: None,
        length: row.seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or_default(),
        offered: row.offered.map(rate),
        throughput: rate(throughput),
        throughput_error: row.throughput_error.map(rate),
        little_gap_ratio: row.concurrency.zip(in_flight).map(|(n, in_flight)| (n - in_flight).abs() / n),
        concurrency: row.concurrency.or(in_flight).filter(|n| *n > 0.0),
        mean_response,
        quantiles,
        response: row.response,
        error_ratio: row.error_ratio,
        saturated,
        draining: false,
        windows: Vec::new(),
        resources,
        routes: row
            .routes
            .iter()
            .map(|(route, offered)| RoutePoint {
                route: route.clone(),
                offered: rate(*offered),
                error_ratio: row.error_ratio,
                response: Histogram::new(),
                windows: Vec::new(),
            })
            .collect(),
    })
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

    /// As JMeter's aggregate report, wrk, k6's summary and sadf write them.
    #[test]
    fn cells_with_units_and_titles_of_other_tools_are_understood() {
        let jmeter = "allThreads,# Samples,Average,95% Line,Error %,Throughput\n\
            10,3000,42,60,0.000%,98.5/sec\n80,18000,90,190,0.120%,36000/min\n";
        let points = points_from_table(jmeter, "t").expect("is JMeter's");
        assert_eq!(points[1].throughput.as_per_second(), 600.0);
        assert!((points[1].error_ratio - 0.0012).abs() < 1e-12);
        let wrk =
            "connections,Requests/sec,Latency Avg,99%\n1,1012.45,985.21us,2.30ms\n8,70.2k,1.14ms,1.02s\n";
        let points = points_from_table(wrk, "t").expect("is wrk's");
        assert_eq!(points[0].mean_response, Some(Duration::from_nanos(985_210)));
        assert_eq!(points[1].response_at(0.99), Some(Duration::from_millis(1_020)));
        assert_eq!(points[1].throughput.as_per_second(), 70_200.0);
        let k6 = "vus,http_reqs,http_req_duration_p(95),http_req_failed,duration_s\n10,6000,16.0,0.50%,60\n";
        assert!((points_from_table(k6, "t").expect("is k6's")[0].error_ratio - 0.005).abs() < 1e-12);
        let moments = "h;2026-11-26 10:00:00 UTC;-1;10.5;88;50;20\n".repeat(5);
        let sar = format!("# hostname;timestamp;CPU;%user;%idle;rate;p95\n{moments}");
        let points = points_from_table(&sar, "t").expect("is sadf's, with the load beside it");
        let cpu = points[0].resources.iter().find(|each| each.name == "%cpu").expect("is what is not idle");
        assert!((cpu.used - 0.12).abs() < 1e-9 && cpu.limit == Some(1.0), "{cpu:?}");
    }

    #[test]
    fn logs_of_single_samples_become_levels_with_merged_quantiles() {
        let mut jtl = "timeStamp,elapsed,label,responseCode,success,allThreads\n".to_owned();
        let mut k6 = "metric_name,timestamp,metric_value,expected_response\n".to_owned();
        for second in 0..30_u32 {
            let users = [5, 10, 20][second as usize / 10];
            k6 += &format!("vus,{second},{users},\n");
            for sample in 0..users * 4 {
                let (ms, fine) = (40 + sample % 50, sample != 7);
                jtl += &format!("{},{ms},home,200,{fine},{users}\n", second * 1_000 + sample);
                k6 += &format!(
                    "http_req_duration,{second},{ms},{fine}\nhttp_req_waiting,{second},{ms},{fine}\n"
                );
            }
        }
        for log in [jtl, k6] {
            let points = points_from_table(&log, "t").expect("is a log of samples");
            assert_eq!(
                points.iter().map(|point| point.concurrency).collect::<Vec<_>>(),
                [5.0, 10.0, 20.0].map(Some)
            );
            assert_eq!(points[2].throughput.as_per_second(), 79.0);
            let longest = points[1].response.quantile(1.0).as_secs_f64();
            assert!((longest / 0.079 - 1.0).abs() < 0.001, "{longest}");
            assert!((points[0].error_ratio - 0.05).abs() < 1e-12);
        }
        let bad = points_from_table("timeStamp,elapsed,allThreads\n1,x,3\n", "t").expect_err("is bad");
        assert_eq!(bad.to_string(), "line 2: elapsed is not a time in milliseconds");
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
