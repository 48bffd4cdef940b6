//! The same facts for machines: `report.json`.
//!
//! Its shape is a contract of its own: these structs are what is shown, not what is computed with. Rates are
//! per second, lengths of time in milliseconds, shares in `0..=1`.

use captures::{Histogram, Rate, RouteInterval, Run};
use modeler::{
    Bounds, Forecast, Model, Point, StoredExhaustionMonth, StoredForecast, StoredPlan, StoredRisk,
    StoredScenario, StoredTrendChange,
};
use serde::Serialize;

use crate::account::{self, Account};
use crate::evidence::{Baseline, Check, Evidence};
use crate::{advice, finding, page, words};

/// The JSON Schema of `report.json`.
pub const SCHEMA: &str = include_str!("report.schema.json");

#[derive(Serialize)]
struct Report<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: u32,
    tool: &'static str,
    title: &'a str,
    verdict: Verdict,
    objective: Option<String>,
    capacity: Option<Capacity>,
    ceiling: Option<Ceiling>,
    levels: Vec<Level>,
    families: Vec<Family>,
    backtest: Option<Backtest>,
    check: Option<Checked>,
    bottleneck: Option<Bottleneck<'a>>,
    routes: Vec<RouteLimit<'a>>,
    comparison: Option<Compared<'a>>,
    growth: Option<Growth>,
    recommendations: Vec<String>,
    releases: Vec<ReleaseFacts<'a>>,
    runs: Vec<RunFacts<'a>>,
    warnings: Vec<&'a str>,
}

#[derive(Serialize)]
struct Verdict {
    tone: &'static str,
    headline: String,
    lead: String,
    alarms: Vec<String>,
}

#[derive(Serialize)]
struct ReleaseFacts<'a> {
    name: &'a str,
    started: String,
    level: &'a str,
    capacity_per_second: Option<f64>,
    interval: Option<[f64; 2]>,
    routes: Vec<RouteFacts<'a>>,
    regressions: &'a [String],
}

#[derive(Serialize)]
struct RouteFacts<'a> {
    name: &'a str,
    p95_ms: f64,
    requests: u64,
}

#[derive(Serialize)]
struct Capacity {
    rate_per_second: f64,
    interval: [f64; 2],
    interval_80: [f64; 2],
    scale: Option<f64>,
    binding: String,
    bracketed: bool,
    verdict: &'static str,
    highest_pass_per_second: Option<f64>,
    lowest_fail_per_second: Option<f64>,
    next_load_per_second: f64,
}

#[derive(Serialize)]
struct Ceiling {
    rate_per_second: f64,
    interval: [f64; 2],
    measured: bool,
}

#[derive(Serialize)]
struct Level {
    source: String,
    scale: Option<f64>,
    offered_per_second: Option<f64>,
    answered_per_second: f64,
    in_flight: Option<f64>,
    mean_response_ms: Option<f64>,
    response_ms: Vec<QuantileFact>,
    error_ratio: f64,
    saturated: bool,
    draining: bool,
    meets_objective: Option<bool>,
}

#[derive(Serialize)]
struct QuantileFact {
    quantile: f64,
    milliseconds: f64,
}

#[derive(Serialize)]
struct Family {
    name: &'static str,
    weight: f64,
    left_out_error_ratio: Option<f64>,
    parameters: Vec<Parameter>,
    excluded: Option<String>,
}

#[derive(Serialize)]
struct Parameter {
    name: &'static str,
    value: f64,
    interval: Option<[f64; 2]>,
}

#[derive(Serialize)]
struct Backtest {
    fitted: usize,
    predicted: usize,
    mean_error_ratio: f64,
    largest_error_ratio: f64,
}

#[derive(Serialize)]
struct Checked {
    predicted_per_second: f64,
    measured_per_second: Option<f64>,
    bracketed: bool,
    deviation_ratio: Option<f64>,
    trials: Vec<Trial>,
}

#[derive(Serialize)]
struct Trial {
    offered_per_second: f64,
    response_ms: f64,
    error_ratio: f64,
    met: bool,
}

#[derive(Serialize)]
struct Bottleneck<'a> {
    resource: Option<&'a str>,
    bound_per_second: Option<f64>,
    measured: bool,
    because: &'a str,
}

#[derive(Serialize)]
struct RouteLimit<'a> {
    name: &'a str,
    share_ratio: f64,
    capacity_per_second: Option<f64>,
    interval: Option<[f64; 2]>,
    binds: bool,
    slow_ratio: Option<f64>,
    costs: Vec<RouteCost<'a>>,
}

#[derive(Serialize)]
struct RouteCost<'a> {
    resource: &'a str,
    cost: f64,
    interval: [f64; 2],
    share_ratio: f64,
}

#[derive(Serialize)]
struct Compared<'a> {
    baseline: &'a str,
    candidate: &'a str,
    allowed_ratio: f64,
    regressions: usize,
    differences: Vec<Difference<'a>>,
    shift: Vec<Difference<'a>>,
    left_out: Vec<LeftOut<'a>>,
    warnings: &'a [String],
}

#[derive(Serialize)]
struct LeftOut<'a> {
    route: &'a str,
    why: &'a str,
}

#[derive(Serialize)]
struct Difference<'a> {
    route: &'a str,
    measure: String,
    base: f64,
    candidate: f64,
    change: f64,
    interval: [f64; 2],
    p_value: f64,
    regressed: bool,
    improved: bool,
}

#[derive(Serialize)]
struct Growth {
    growth_per_year_ratio: f64,
    changes: Vec<StoredTrendChange>,
    capacity_per_second: Option<f64>,
    runs_out_p10: Option<String>,
    runs_out_p50: Option<String>,
    runs_out_p90: Option<String>,
    beyond_horizon_ratio: Option<f64>,
    by_month: Vec<StoredExhaustionMonth>,
    plan: Option<StoredPlan>,
    scenarios: Vec<StoredScenario>,
    risks: Vec<StoredRisk>,
    history_steps: usize,
    future_steps: usize,
}

#[derive(Serialize)]
struct RunFacts<'a> {
    tool: &'a str,
    started: String,
    target: &'a str,
    capture: &'a str,
    capture_sha256: String,
    capture_per_second: f64,
    seed: u64,
    held_back_ratio: f64,
    valid: bool,
    invalid_reason: Option<&'a str>,
    interrupted: bool,
    planned: u64,
    answered: u64,
    errors: u64,
    connections_opened: u64,
    bytes_out: u64,
    bytes_in: u64,
    retried: u64,
    generator_cpu_most: f64,
    response_ms: Times,
    latency_ms: Times,
    service_ms: Times,
    lag_ms: Times,
    routes: Vec<Route<'a>>,
}

#[derive(Serialize)]
struct Route<'a> {
    name: &'a str,
    requests: u64,
    errors: u64,
    response_ms: Times,
}

#[derive(Serialize)]
struct Times {
    mean: f64,
    p50: f64,
    p95: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

/// The facts of `evidence` as one JSON object.
pub fn json(evidence: &Evidence<'_>) -> String {
    let found = finding::finding(evidence);
    let model = evidence.model;
    let report = Report {
        schema: "report.schema.json",
        version: 1,
        tool: page::TOOL,
        title: evidence.title,
        verdict: Verdict {
            tone: found.tone.name(),
            headline: found.headline,
            lead: advice::lead(evidence),
            alarms: found.alarms,
        },
        objective: evidence.objective().map(ToString::to_string),
        capacity: model.map(capacity),
        ceiling: model.and_then(|model| model.ceiling.as_ref()).map(|ceiling| Ceiling {
            rate_per_second: ceiling.rate.as_per_second(),
            interval: pair(ceiling.interval),
            measured: ceiling.measured,
        }),
        levels: evidence.points().iter().map(|point| level(point, evidence)).collect(),
        families: model.into_iter().flat_map(|model| &model.families).map(family).collect(),
        backtest: model.and_then(|model| model.backtest.as_ref()).map(|backtest| Backtest {
            fitted: backtest.fitted,
            predicted: backtest.predicted,
            mean_error_ratio: backtest.mean_error_ratio,
            largest_error_ratio: backtest.largest_error_ratio,
        }),
        check: evidence.check.map(checked),
        bottleneck: model.and_then(|model| model.bottleneck.as_ref()).map(|found| Bottleneck {
            resource: found.resource.as_deref(),
            bound_per_second: found.bound.map(Rate::as_per_second),
            measured: found.measured,
            because: &found.because,
        }),
        routes: model.map_or_else(Vec::new, route_limits),
        comparison: evidence.baseline.map(compared),
        growth: evidence.forecast.map(growth),
        recommendations: advice::recommendations(evidence),
        releases: evidence
            .releases
            .iter()
            .map(|release| ReleaseFacts {
                name: &release.name,
                started: words::moment(release.started),
                level: &release.level,
                capacity_per_second: release.capacity.map(Rate::as_per_second),
                interval: release.interval.map(pair),
                routes: release
                    .routes
                    .iter()
                    .map(|route| RouteFacts {
                        name: &route.name,
                        p95_ms: milliseconds(route.p95),
                        requests: route.requests,
                    })
                    .collect(),
                regressions: &release.regressions,
            })
            .collect(),
        runs: evidence.runs.iter().map(run_facts).collect(),
        warnings: model
            .into_iter()
            .flat_map(|model| &model.warnings)
            .chain(evidence.forecast.into_iter().flat_map(|forecast| &forecast.warnings))
            .map(String::as_str)
            .collect(),
    };
    let mut text =
        serde_json::to_string_pretty(&report).expect("the keys are strings and numbers have a form");
    text.push('\n');
    text
}

fn pair(bounds: Bounds<Rate>) -> [f64; 2] {
    [bounds.low.as_per_second(), bounds.high.as_per_second()]
}

fn milliseconds(length: std::time::Duration) -> f64 {
    length.as_secs_f64() * 1e3
}

fn capacity(model: &Model) -> Capacity {
    let capacity = &model.capacity;
    Capacity {
        rate_per_second: capacity.rate.as_per_second(),
        interval: pair(capacity.interval),
        interval_80: pair(capacity.interval_80),
        scale: capacity.scale,
        binding: capacity.binding.name(),
        bracketed: capacity.bracketed,
        verdict: capacity.verdict.as_str(),
        highest_pass_per_second: capacity.highest_pass.map(Rate::as_per_second),
        lowest_fail_per_second: capacity.lowest_fail.map(Rate::as_per_second),
        next_load_per_second: capacity.next_load.as_per_second(),
    }
}

fn level(point: &Point, evidence: &Evidence<'_>) -> Level {
    Level {
        source: point.source.clone(),
        scale: point.scale,
        offered_per_second: point.offered.map(Rate::as_per_second),
        answered_per_second: point.throughput.as_per_second(),
        in_flight: point.concurrency,
        mean_response_ms: point.mean_response.map(milliseconds),
        response_ms: point
            .quantiles
            .iter()
            .map(|it| QuantileFact { quantile: it.quantile, milliseconds: milliseconds(it.response) })
            .collect(),
        error_ratio: point.error_ratio,
        saturated: point.saturated,
        draining: point.draining,
        meets_objective: evidence.objective().and_then(|objective| account::point_meets(point, objective)),
    }
}

fn family(fit: &modeler::FamilyFit) -> Family {
    Family {
        name: fit.family.name(),
        weight: fit.weight,
        left_out_error_ratio: fit.left_out_error_ratio,
        parameters: fit
            .parameters
            .iter()
            .map(|it| Parameter {
                name: it.name,
                value: it.value,
                interval: it.interval.map(|it| [it.low, it.high]),
            })
            .collect(),
        excluded: fit.excluded.clone(),
    }
}

fn checked(check: &Check) -> Checked {
    Checked {
        predicted_per_second: check.predicted.as_per_second(),
        measured_per_second: check.measured.map(Rate::as_per_second),
        bracketed: check.bracketed,
        deviation_ratio: check.deviation_ratio(),
        trials: check
            .trials
            .iter()
            .map(|trial| Trial {
                offered_per_second: trial.offered.as_per_second(),
                response_ms: milliseconds(trial.response),
                error_ratio: trial.error_ratio,
                met: trial.met,
            })
            .collect(),
    }
}

fn route_limits(model: &Model) -> Vec<RouteLimit<'_>> {
    let bound = model.binding_route();
    model.routes.iter().map(|route| route_limit(model, route, bound.as_ref())).collect()
}

fn route_limit<'a>(
    model: &'a Model,
    route: &'a modeler::RouteModel,
    bound: Option<&modeler::BindingRoute>,
) -> RouteLimit<'a> {
    let bound = bound.filter(|bound| bound.route == route.route);
    let costs = model.costs.iter().flat_map(|costs| costs.routes.iter().map(move |cost| (costs, cost)));
    RouteLimit {
        name: &route.route,
        share_ratio: route.share_ratio,
        capacity_per_second: route.capacity.map(Rate::as_per_second),
        interval: route.interval.map(pair),
        binds: bound.is_some(),
        slow_ratio: bound.map(|bound| bound.slow_ratio),
        costs: costs
            .filter(|(_, cost)| cost.route == route.route)
            .map(|(costs, cost)| RouteCost {
                resource: &costs.resource,
                cost: cost.cost,
                interval: [cost.interval.low, cost.interval.high],
                share_ratio: cost.share_ratio,
            })
            .collect(),
    }
}

fn compared(baseline: &Baseline) -> Compared<'_> {
    Compared {
        baseline: &baseline.name,
        candidate: &baseline.candidate,
        allowed_ratio: baseline.allowed_ratio,
        regressions: baseline.comparison.regressions().count(),
        differences: baseline.comparison.differences.iter().map(difference).collect(),
        shift: baseline.shift.iter().map(difference).collect(),
        left_out: baseline.comparison.left_out.iter().map(|(route, why)| LeftOut { route, why }).collect(),
        warnings: &baseline.warnings,
    }
}

fn difference(it: &modeler::Difference) -> Difference<'_> {
    Difference {
        route: &it.route,
        measure: words::measure(it.compared),
        base: it.base,
        candidate: it.candidate,
        change: it.change,
        interval: [it.interval.0, it.interval.1],
        p_value: it.p_value,
        regressed: it.regressed,
        improved: it.improved,
    }
}

fn growth(forecast: &Forecast) -> Growth {
    let exhaustion = forecast.exhaustion.as_ref();
    let date = |at: Option<jiff::civil::DateTime>| at.map(|at| at.date().to_string());
    let stored = StoredForecast::from(forecast);
    Growth {
        growth_per_year_ratio: forecast.growth_per_year_ratio,
        changes: stored.changes,
        capacity_per_second: forecast.capacity.map(|capacity| capacity.rate.as_per_second()),
        runs_out_p10: exhaustion.and_then(|exhaustion| date(exhaustion.p10)),
        runs_out_p50: exhaustion.and_then(|exhaustion| date(exhaustion.p50)),
        runs_out_p90: exhaustion.and_then(|exhaustion| date(exhaustion.p90)),
        beyond_horizon_ratio: exhaustion.map(|exhaustion| exhaustion.beyond_ratio),
        by_month: stored.exhaustion.map_or_else(Vec::new, |exhaustion| exhaustion.by_month),
        plan: stored.plan,
        scenarios: stored.scenarios,
        risks: stored.risks,
        history_steps: forecast.history.len(),
        future_steps: forecast.steps.len(),
    }
}

fn run_facts(run: &Run) -> RunFacts<'_> {
    let header = &run.header;
    let account = Account::whole(run);
    let route = |(number, sums): &(u16, RouteInterval)| Route {
        name: header.routes.get(usize::from(*number)).map_or("unnamed", String::as_str),
        requests: sums.total(),
        errors: sums.errors(),
        response_ms: times(&sums.response),
    };
    RunFacts {
        tool: &header.tool,
        started: words::moment(header.started),
        target: &header.target,
        capture: &header.capture,
        capture_sha256: header.capture_digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        capture_per_second: header.capture_rate.as_per_second(),
        seed: header.seed,
        held_back_ratio: header.held_back_ratio,
        valid: !finding::is_invalid(run),
        invalid_reason: run.end.as_ref().and_then(|end| end.invalid_reason.as_deref()),
        interrupted: run.end.as_ref().is_none_or(|end| end.interrupted),
        planned: account.planned,
        answered: account.overall.answered(),
        errors: account.overall.errors(),
        connections_opened: account.connections_opened,
        bytes_out: account.bytes_out,
        bytes_in: account.bytes_in,
        retried: account.retried,
        generator_cpu_most: account.generator_cpu_most,
        response_ms: times(&account.overall.response),
        latency_ms: times(&account.overall.latency),
        service_ms: times(&account.overall.service),
        lag_ms: times(&account.overall.lag),
        routes: account.routes.iter().map(route).collect(),
    }
}

fn times(histogram: &Histogram) -> Times {
    let at = |quantile: f64| milliseconds(histogram.quantile(quantile));
    Times {
        mean: milliseconds(histogram.mean()),
        p50: at(0.5),
        p95: at(0.95),
        p99: at(0.99),
        p999: at(0.999),
        max: milliseconds(histogram.max()),
    }
}
