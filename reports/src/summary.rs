//! The same facts as plain text, for a terminal.

use std::fmt::Write;

use captures::{Histogram, Run};

use crate::account::Account;
use crate::evidence::Evidence;
use crate::table::{self, Table};
use crate::{finding, words};

/// The summary of `evidence`: the verdict, its facts, the load levels.
///
/// Holds no control characters but line feeds, whatever the evidence holds.
pub fn text(evidence: &Evidence<'_>) -> String {
    let found = finding::finding(evidence);
    let mut out = String::new();
    for alarm in &found.alarms {
        line(&mut out, alarm);
    }
    line(&mut out, &found.headline);
    let lead = crate::advice::lead(evidence);
    if !lead.is_empty() {
        line(&mut out, &lead);
    }
    if evidence.model.is_none() && evidence.forecast.is_none() {
        for run in evidence.runs {
            run_text(&mut out, run);
        }
    } else {
        let width = found.facts.iter().map(|fact| fact.name.chars().count()).max().unwrap_or(0);
        for fact in &found.facts {
            let name = format!("{:width$}", fact.name);
            let note = if fact.note.is_empty() { String::new() } else { format!(" ({})", fact.note) };
            line(&mut out, &format!("  {name}  {}{note}", fact.value));
        }
    }
    if let Some(check) = evidence.check {
        block(&mut out, &table::trials(check));
    }
    if let Some(levels) = table::levels(evidence) {
        block(&mut out, &levels);
    }
    let warnings = evidence.model.into_iter().flat_map(|model| &model.warnings);
    for warning in warnings.chain(evidence.forecast.into_iter().flat_map(|forecast| &forecast.warnings)) {
        line(&mut out, &format!("warning: {warning}"));
    }
    out
}

fn run_text(out: &mut String, run: &Run) {
    let account = Account::whole(run);
    let overall = &account.overall;
    let per_second = |value: f64| format!("{} req/s", words::number(value));
    let rows = [
        (
            "planned",
            format!("{} ({})", words::count(account.planned), per_second(account.planned_per_second())),
        ),
        (
            "answered",
            format!(
                "{} ({} while the plan ran)",
                words::count(account.overall.answered()),
                per_second(account.completed_per_second())
            ),
        ),
        ("errors", format!("{} ({})", words::count(overall.errors()), words::percent(account.error_ratio()))),
    ];
    for (name, value) in rows {
        line(out, &format!("  {name:9}  {value}"));
    }
    for (status, count) in &overall.statuses {
        line(out, &format!("    {status}        {}", words::count(*count)));
    }
    for (failure, count) in &overall.failures {
        line(out, &format!("    {:9}  {}", failure.as_str(), words::count(*count)));
    }
    let mut times = String::from("             p50      p95      p99    p99.9      max\n");
    for (name, histogram) in [
        ("response", &overall.response),
        ("latency", &overall.latency),
        ("service", &overall.service),
        ("lag", &overall.lag),
    ] {
        times.push_str(&times_line(name, histogram));
    }
    out.push_str(&times);
}

fn times_line(name: &str, histogram: &Histogram) -> String {
    let mut out = format!("  {name:9}");
    for quantile in [0.5, 0.95, 0.99, 0.999] {
        // Writing into a string cannot fail.
        let _ = write!(out, " {:>8}", words::length(histogram.quantile(quantile)));
    }
    let _ = writeln!(out, " {:>8}", words::length(histogram.max()));
    out
}

fn block(out: &mut String, table: &Table) {
    out.push('\n');
    out.push_str(&table.text(2));
    out.push('\n');
}

fn line(out: &mut String, text: &str) {
    out.extend(text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }));
    out.push('\n');
}
