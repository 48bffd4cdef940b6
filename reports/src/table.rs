//! Tables: the same rows for the page and for the terminal.

pub(crate) mod found;
pub(crate) mod plan;

use captures::Run;
use modeler::{Crowding, Forecast, LatencyShape, Model};
use serde::Serialize;

use crate::account::{self, Account, Level};
use crate::evidence::{Check, Evidence};
use crate::{title, words};

/// A table, ready to read.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Table {
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Row>,
    pub(crate) note: Option<String>,
}

/// A column.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// Whether it holds words, which begin on the left; numbers end on the right.
    pub(crate) text: bool,
}

/// A row.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// `good` or `bad` colours its last cell, `chosen` makes it bold.
    pub(crate) tone: Option<&'static str>,
    pub(crate) cells: Vec<String>,
}

/// Routes beyond this number are left to report.json.
const MOST_ROUTES: usize = 24;

/// A table with these columns; a name that begins with a colon is one of words.
fn with(columns: &[&str]) -> Table {
    let column =
        |name: &&str| Column { name: name.trim_start_matches(':').to_owned(), text: name.starts_with(':') };
    Table { columns: columns.iter().map(column).collect(), ..Table::default() }
}

impl Table {
    fn push(&mut self, tone: Option<&'static str>, cells: impl IntoIterator<Item = String>) {
        self.rows.push(Row { tone, cells: cells.into_iter().collect() });
    }

    /// Leaves out columns in which no row says anything.
    fn without_empty_columns(mut self) -> Self {
        let says = |at: usize| {
            self.rows
                .iter()
                .any(|row| row.cells.get(at).is_some_and(|cell| !matches!(cell.as_str(), "" | "–")))
        };
        let kept: Vec<bool> = (0..self.columns.len()).map(says).collect();
        let mut keep = kept.iter();
        self.columns.retain(|_| keep.next().copied().unwrap_or(true));
        for row in &mut self.rows {
            let mut keep = kept.iter();
            row.cells.retain(|_| keep.next().copied().unwrap_or(true));
        }
        self
    }

    fn noted(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// The table as aligned plain text, each line indented by `indent` spaces.
    pub(crate) fn text(&self, indent: usize) -> String {
        let width_of = |text: &str| text.chars().count();
        let mut widths: Vec<usize> = self.columns.iter().map(|column| width_of(&column.name)).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(&row.cells) {
                *width = (*width).max(width_of(cell));
            }
        }
        let heads: Vec<String> = self.columns.iter().map(|column| column.name.clone()).collect();
        let mut out = String::new();
        for cells in std::iter::once(&heads).chain(self.rows.iter().map(|row| &row.cells)) {
            let mut line = " ".repeat(indent);
            for ((cell, width), column) in cells.iter().zip(&widths).zip(&self.columns) {
                let cell: String = cell.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                let room = " ".repeat(width.saturating_sub(width_of(&cell)));
                line.push_str(&if column.text {
                    format!("{cell}{room}  ")
                } else {
                    format!("{room}{cell}  ")
                });
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

fn dash() -> String {
    "–".to_owned()
}

/// The load levels; `None` without points.
pub(crate) fn levels(evidence: &Evidence<'_>) -> Option<Table> {
    let points = evidence.points();
    if points.is_empty() {
        return None;
    }
    let objective = evidence.objective();
    let mut table = with(&[
        "load",
        "offered/s",
        "answered/s",
        "in flight",
        "p50",
        "p95",
        "p99",
        "errors",
        ":state",
        ":objective",
    ]);
    for point in points {
        let quantile = |at: f64| point.response_at(at).map_or_else(dash, words::length);
        let met = objective.and_then(|objective| account::point_meets(point, objective));
        let (tone, verdict) = match met {
            Some(true) => (Some("good"), "holds"),
            Some(false) => (Some("bad"), "fails"),
            None => (None, "–"),
        };
        let state = match (point.draining, point.saturated) {
            (true, _) => "working off a backlog",
            (_, true) => "overload",
            _ => "",
        };
        table.push(
            tone,
            [
                point.scale.map_or_else(dash, words::times),
                point.offered.map_or_else(dash, words::rate),
                words::rate(point.throughput),
                point.concurrency.map_or_else(dash, words::number),
                quantile(0.5),
                quantile(0.95),
                quantile(0.99),
                words::percent(point.error_ratio),
                state.to_owned(),
                verdict.to_owned(),
            ],
        );
    }
    let named = objective.map_or_else(String::new, |it| format!(" Objective: {}.", words::objective(it)));
    let table = table.without_empty_columns();
    let measured = if points.iter().all(|point| point.windows.is_empty()) {
        "As the table of points has it."
    } else {
        "Steady windows, warm-up cut; answered without error; response = done − ready, failures included."
    };
    Some(table.noted(format!("{measured}{named}")))
}

/// The routes of a stretch of `run`; `None` without any.
pub(crate) fn routes(run: &Run, level: &Level) -> Option<Table> {
    let account = Account::of(run, &level.seconds);
    if account.routes.is_empty() {
        return None;
    }
    let all = account.overall.total().max(1) as f64;
    let mut table = with(&[":route", "requests", "share", "p50", "p95", "p99", "errors"]);
    for (number, sums) in account.routes.iter().take(MOST_ROUTES) {
        let name = run.header.routes.get(usize::from(*number)).map_or("unnamed", String::as_str);
        table.push(
            None,
            [
                name.to_owned(),
                words::count(sums.total()),
                words::percent(sums.total() as f64 / all),
                words::length(sums.response.quantile(0.5)),
                words::length(sums.response.quantile(0.95)),
                words::length(sums.response.quantile(0.99)),
                words::percent(account::error_ratio(sums)),
            ],
        );
    }
    let left = account.routes.len().saturating_sub(MOST_ROUTES);
    Some(if left > 0 { table.noted(format!("{left} further routes are in report.json.")) } else { table })
}

/// The trials of a check, by load.
pub(crate) fn trials(check: &Check) -> Table {
    let measure = title::judged(Some(&check.objective)).name();
    let mut table = with(&[
        "offered/s",
        "of predicted capacity",
        &format!("{measure} response"),
        "errors",
        ":expected",
        ":measured",
    ]);
    let mut trials = check.trials.clone();
    trials.sort_by(|one, other| one.offered.as_per_second().total_cmp(&other.offered.as_per_second()));
    let said = |holds: bool| if holds { "holds" } else { "fails" };
    for trial in &trials {
        let share = trial.offered.as_per_second() / check.predicted.as_per_second().max(1e-9);
        let is_open = check.interval.is_some_and(|it| trial.offered >= it.low && trial.offered <= it.high);
        table.push(
            Some(if trial.met { "good" } else { "bad" }),
            [
                words::rate(trial.offered),
                format!("{:.0} %", share * 100.0),
                words::length(trial.response),
                words::percent(trial.error_ratio),
                (if is_open { "near the limit" } else { said(share <= 1.0) }).to_owned(),
                said(trial.met).to_owned(),
            ],
        );
    }
    table.noted(format!("Objective: {}.", words::objective(&check.objective)))
}

/// The families of a model; `None` without any.
pub(crate) fn families(model: &Model) -> Option<Table> {
    if model.families.is_empty() {
        return None;
    }
    let mut table = with(&[":family", "weight", "error at left-out loads", ":parameters", ":remark"]);
    let best = model.families.iter().map(|fit| fit.weight).fold(0.0, f64::max);
    for fit in &model.families {
        let parameters = fit.parameters.iter().map(|parameter| {
            let interval = parameter.interval.map_or_else(String::new, |interval| {
                format!(" [{}, {}]", words::number(interval.low), words::number(interval.high))
            });
            let bound = if parameter.on_bound { " (on its bound)" } else { "" };
            format!("{} {}{interval}{bound}", parameter.name, words::number(parameter.value))
        });
        table.push(
            (fit.weight > 0.0 && fit.weight >= best).then_some("chosen"),
            [
                title::family_name(fit.family).to_owned(),
                format!("{:.0} %", fit.weight * 100.0),
                fit.left_out_error_ratio.map_or_else(dash, words::percent),
                parameters.collect::<Vec<_>>().join("; "),
                fit.excluded.clone().unwrap_or_default(),
            ],
        );
    }
    Some(table.noted(
        "Throughput by requests in flight. Weights by leave-one-load-out; in brackets: 95 % intervals by Student's t.",
    ))
}

/// The response curves of a model; `None` without any.
pub(crate) fn curves(model: &Model) -> Option<Table> {
    if model.latency.is_empty() {
        return None;
    }
    let mut table = with(&[":quantile", ":curve", "median error"]);
    for curve in &model.latency {
        let shape = match curve.shape {
            LatencyShape::Queueing { service, growth, waiting, law } => {
                let growth =
                    if growth > 0.0 { format!(" + {} · ρ", words::number(growth)) } else { String::new() };
                let law = match law {
                    Crowding::Kingman { exponent } => format!("ρ^{} / (1 − ρ)", words::number(exponent)),
                    Crowding::Waiting { servers } => format!("waiting of M/M/{servers}"),
                    Crowding::Response { servers } => format!("response of M/M/{servers}"),
                };
                format!(
                    "{} × (1{growth} + {} · {law}), ρ = offered / {}",
                    words::length(service),
                    words::number(waiting),
                    curve.ceiling.map_or_else(|| "ceiling".to_owned(), words::rate)
                )
            }
            LatencyShape::Polynomial => "ln R regressed on ρ, ρ², ρ³ and −ln(1 − ρ), rising".to_owned(),
            LatencyShape::Monotone => {
                "straight lines between measured loads, on the logarithm, never falling".to_owned()
            }
        };
        table.push(None, [curve.measure.name(), shape, words::percent(curve.fit_error_ratio)]);
    }
    Some(table.noted("Fitted to the windows that were not in overload."))
}

/// The growth, at a dozen moments of the horizon.
pub(crate) fn growth(forecast: &Forecast) -> Table {
    let mut table = with(&[
        ":from (UTC)",
        "busiest minute, req/s",
        "mean, req/s",
        "80 % interval of the mean",
        "capacity exceeded by then",
    ]);
    let seconds = forecast.step.length().as_secs_f64();
    let every = forecast.steps.len().div_ceil(13).max(1);
    for (at, step) in
        forecast.steps.iter().enumerate().filter(|(at, _)| at % every == 0 || at + 1 == forecast.steps.len())
    {
        let shortage = forecast.exhaustion.as_ref().and_then(|exhaustion| exhaustion.by_date.get(at));
        table.push(
            None,
            [
                words::date(step.at.date()),
                words::rate(step.peak_rate),
                words::rate(step.mean_rate),
                format!(
                    "{}–{}",
                    words::number(step.interval_80.low / seconds),
                    words::number(step.interval_80.high / seconds)
                ),
                shortage.map_or_else(dash, |step| words::percent(step.probability)),
            ],
        );
    }
    table
}
