//! Tables of what growth asks for, of the objective, and of runs over time.

use modeler::{Forecast, LatencyMeasure, Limit};

use super::{Table, dash, with};
use crate::account;
use crate::evidence::Evidence;
use crate::words;

/// How much of each limit, and of the error budget, each load level used; `None` without an objective or points.
pub(crate) fn budget(evidence: &Evidence<'_>) -> Option<Table> {
    let objective = evidence.objective()?;
    let points = evidence.points();
    if points.is_empty() {
        return None;
    }
    let mut heads = vec!["load".to_owned()];
    for limit in &objective.limits {
        heads.push(words::limit(limit));
        heads.push(match limit {
            Limit::Errors(_) => "error budget used".to_owned(),
            Limit::Latency(..) | Limit::Throughput(_) => "of the limit".to_owned(),
        });
    }
    heads.push(":objective".to_owned());
    let mut table = with(&heads.iter().map(String::as_str).collect::<Vec<_>>());
    for point in points {
        let mut cells = vec![point.scale.map_or_else(
            || point.offered.map_or_else(dash, |rate| format!("{}/s", words::rate(rate))),
            words::times,
        )];
        for limit in &objective.limits {
            let (measured, used) = match *limit {
                Limit::Latency(measure, longest) => {
                    let response = match measure {
                        LatencyMeasure::Mean => point.mean_response,
                        LatencyMeasure::Quantile(quantile) => point.response_at(quantile),
                    };
                    let share = response.map(|it| it.as_secs_f64() / longest.as_secs_f64().max(1e-12));
                    (response.map(words::length), share)
                }
                Limit::Errors(ratio) => {
                    (Some(words::percent(point.error_ratio)), Some(point.error_ratio / ratio.max(1e-12)))
                }
                Limit::Throughput(least) => (
                    Some(words::rate(point.throughput)),
                    Some(point.throughput.as_per_second() / least.as_per_second().max(1e-12)),
                ),
            };
            cells.push(measured.unwrap_or_else(dash));
            cells.push(
                used.map_or_else(dash, |share| format!("{} %", words::number((share * 100.0).round()))),
            );
        }
        let (tone, verdict) = match account::point_meets(point, objective) {
            Some(true) => (Some("good"), "holds"),
            Some(false) => (Some("bad"), "fails"),
            None => (None, "–"),
        };
        cells.push(verdict.to_owned());
        table.push(tone, cells);
    }
    Some(table.noted(
        "The error budget is the share of requests that the objective lets fail; above 100 % it is spent.",
    ))
}

/// Machines and cost by month; `None` without a plan.
pub(crate) fn plan(forecast: &Forecast) -> Option<Table> {
    let plan = forecast.plan.as_ref()?;
    let currency = plan.given.prices.as_ref().map_or("", |prices| prices.currency.as_str());
    let cost = format!("cost, {currency}");
    let each = format!("{currency} per million");
    let mut table = with(&[
        ":month",
        "highest peak, req/s",
        "80 % interval",
        "machines, median",
        "machines to have",
        "machines, 99 %",
        "requests",
        &cost,
        &each,
    ]);
    let count = |needed: Option<u32>| needed.map_or_else(|| "no number".to_owned(), |it| it.to_string());
    for month in &plan.months {
        let short = month.needed.is_none_or(|needed| needed > plan.given.instances);
        table.push(
            short.then_some("chosen"),
            [
                format!("{} {}", words::month_name(month.month.month()), month.month.year()),
                words::rate(month.peak),
                words::rates(&month.peak_80),
                count(month.needed_50),
                count(month.needed),
                count(month.needed_99),
                words::number(month.requests),
                month.cost.map_or_else(dash, words::number),
                month.cost_per_million.map_or_else(dash, words::number),
            ],
        );
    }
    let law = &plan.given.scale_out;
    let table = table.without_empty_columns();
    Some(table.noted(format!(
        "{} today; one alone carries {} req/s; contention {}{}, coherency {}; N+{}, at most {} used, a risk of {} \
         accepted, {} days from order to service. Bold: more than today.",
        words::machines(plan.given.instances),
        words::rate(plan.per_instance),
        words::number(law.contention),
        if law.assumed { " (assumed)" } else { "" },
        words::number(law.coherency),
        plan.given.spare,
        words::percent(plan.given.target_utilisation),
        words::percent(plan.given.risk_ratio),
        plan.given.lead_time_days
    )))
}

/// The futures side by side; `None` with the expected one alone.
pub(crate) fn scenarios(forecast: &Forecast) -> Option<Table> {
    if forecast.scenarios.len() < 2 {
        return None;
    }
    let mut table = with(&[
        ":future",
        ":assumes",
        ":runs out (10 %)",
        ":50 %",
        ":90 %",
        "within the horizon",
        "highest peak of capacity",
        "machines",
        ":order by",
        "cost",
    ]);
    let date = |at: Option<jiff::civil::DateTime>| {
        at.map_or_else(|| "later".to_owned(), |at| words::date(at.date()))
    };
    for answer in &forecast.scenarios {
        let given = &answer.scenario;
        let factors: Vec<String> = [
            ("growth", given.growth),
            ("traffic", given.traffic),
            ("events", given.event),
            ("cost of a request", given.cost),
        ]
        .into_iter()
        .filter(|(_, factor)| *factor != 1.0)
        .map(|(name, factor)| {
            let doubt = if name == "cost of a request" && given.cost_spread > 0.0 {
                format!(" (± {})", words::percent(1.96 * given.cost_spread))
            } else {
                String::new()
            };
            format!("{name} × {}{doubt}", words::number(factor))
        })
        .collect();
        table.push(
            None,
            [
                given.name.clone(),
                if factors.is_empty() { dash() } else { factors.join(", ") },
                date(answer.runs_out[0]),
                date(answer.runs_out[1]),
                date(answer.runs_out[2]),
                words::percent(answer.probability),
                words::percent(answer.highest_load),
                answer.instances.map_or_else(dash, |count| count.to_string()),
                answer.order.map_or_else(dash, |order| words::date(order.by)),
                answer.cost.map_or_else(dash, words::number),
            ],
        );
    }
    Some(
        table
            .without_empty_columns()
            .noted("Each on the same simulated paths, so that they differ by their factors alone."),
    )
}

/// What may go wrong, the gravest first; `None` without any.
pub(crate) fn risks(forecast: &Forecast) -> Option<Table> {
    if forecast.risks.is_empty() {
        return None;
    }
    let mut table = with(&[
        ":risk",
        ":when",
        "probability",
        "impact: above capacity",
        "machines that carry it",
        ":weight",
    ]);
    for risk in &forecast.risks {
        let when = if risk.from == risk.to {
            words::date(risk.from)
        } else {
            format!("{} – {}", words::date(risk.from), words::date(risk.to))
        };
        let weight = risk.weight();
        let (tone, word) = match weight {
            _ if weight >= 0.1 => (Some("bad"), "grave"),
            _ if weight >= 0.01 => (None, "watch"),
            _ => (Some("good"), "small"),
        };
        table.push(
            tone,
            [
                risk.name.clone(),
                when,
                words::percent(risk.probability),
                if risk.probability > 0.0 {
                    format!("+{}", words::percent(risk.excess_ratio))
                } else {
                    dash()
                },
                risk.instances.map_or_else(dash, |count| count.to_string()),
                word.to_owned(),
            ],
        );
    }
    Some(table.without_empty_columns().noted(
        "Probability that the peak exceeds the capacity of today; impact: by how much, in the median of those paths; \
         weight: their product, grave from 10 %, to be watched from 1 % on.",
    ))
}

/// Runs over time; `None` with fewer than two.
pub(crate) fn releases(evidence: &Evidence<'_>) -> Option<Table> {
    if evidence.releases.len() < 2 {
        return None;
    }
    let names: Vec<&str> =
        evidence.releases.last()?.routes.iter().take(8).map(|route| route.name.as_str()).collect();
    let mut heads =
        vec![":run".to_owned(), ":started".to_owned(), "capacity, req/s".to_owned(), "95 %".to_owned()];
    heads.extend(names.iter().map(|name| format!("p95 {name}")));
    heads.push(":worse than before".to_owned());
    let mut table = with(&heads.iter().map(String::as_str).collect::<Vec<_>>());
    for release in evidence.releases {
        let mut cells = vec![
            release.name.clone(),
            words::moment(release.started),
            release.capacity.map_or_else(dash, words::rate),
            release.interval.as_ref().map_or_else(dash, words::rates),
        ];
        for name in &names {
            let route = release.routes.iter().find(|route| route.name == *name);
            cells.push(route.map_or_else(dash, |route| words::length(route.p95)));
        }
        let worse = release.regressions.join("; ");
        cells.push(if worse.is_empty() { dash() } else { worse });
        table.push((!release.regressions.is_empty()).then_some("bad"), cells);
    }
    let level = evidence.releases.last().map_or("", |release| release.level.as_str());
    Some(table.noted(format!(
        "p95 by route {level}. Worse: a capacity whose 95 % interval lies below that of the run before, or a p95 that is \
         more than 10 % and 2 ms longer with a hundred requests or more; `highwater compare` judges two runs beyond noise."
    )))
}
