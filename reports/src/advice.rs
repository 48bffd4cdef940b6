//! What to do about it: recommendations, each a whole sentence with its date or number, the most urgent first.

use captures::Rate;
use modeler::{Binding, Forecast, Order, Verdict};

use crate::evidence::Evidence;
use crate::{finding, words};

/// So much of what the model advises is told.
const MOST_OF_THE_MODEL: usize = 4;

/// The recommendations of a page.
pub(crate) fn recommendations(evidence: &Evidence<'_>) -> Vec<String> {
    let mut advice = Vec::new();
    if evidence.runs.iter().any(finding::is_invalid) {
        advice.push(
            "Replay again from a machine with more room: the generator was the bottleneck of a run."
                .to_owned(),
        );
    }
    if let Some(forecast) = evidence.forecast {
        if let Some(since) = forecast.exceeded_since() {
            advice.push(format!(
                "Act now: the recorded load has exceeded the capacity since {}.",
                words::date(since.date())
            ));
        }
        for order in forecast.plan.iter().flat_map(|plan| &plan.orders).take(3) {
            let overdue = is_overdue(forecast, order);
            let by = if overdue {
                format!("now, for {} has passed", words::date(order.by))
            } else {
                format!("by {}", words::date(order.by))
            };
            advice.push(format!(
                "Order {} {by}: the first of them serves from {} on, {} in all.",
                words::machines(order.instances),
                words::date(order.needed),
                words::machines(order.total)
            ));
        }
        let accepted = forecast.plan.as_ref().map_or(0.1, |plan| plan.given.risk_ratio);
        for risk in forecast.risks.iter().filter(|risk| risk.from == risk.to && risk.probability > accepted) {
            let machines = risk
                .instances
                .map_or_else(String::new, |count| format!("; {} would carry it", words::machines(count)));
            advice.push(format!(
                "Prepare {} ({}): with a probability of {} its peak exceeds the capacity{machines}.",
                risk.name,
                words::date(risk.from),
                words::percent(risk.probability)
            ));
        }
    }
    if let Some(model) = evidence.model {
        let capacity = &model.capacity;
        if !capacity.bracketed && capacity.next_load > Rate::ZERO {
            advice.push(format!(
                "Replay at {} requests per second next: the capacity is not bracketed by loads that passed and failed.",
                words::rate(capacity.next_load)
            ));
        }
        if matches!(capacity.verdict, Verdict::LowConfidence | Verdict::Refused) {
            advice.push("Do not buy by this number yet: it lies far beyond what was measured.".to_owned());
        }
    }
    if let Some(baseline) = evidence.baseline {
        let worse: Vec<String> = baseline.comparison.regressions().take(3).map(words::difference).collect();
        if !worse.is_empty() {
            advice.push(format!(
                "Find out what made {} slower than {}: {}.",
                baseline.candidate,
                baseline.name,
                worse.join("; ")
            ));
        }
    }
    if let Some(model) = evidence.model {
        advice.extend(model.advice.iter().take(MOST_OF_THE_MODEL).cloned());
    }
    let worse: Vec<&str> = evidence
        .releases
        .last()
        .into_iter()
        .flat_map(|release| &release.regressions)
        .map(String::as_str)
        .collect();
    if !worse.is_empty() {
        advice.push(format!("Find out what made the latest run worse: {}.", worse.join("; ")));
    }
    advice
}

/// What follows the headline: what binds, when growth exhausts it, what to order. Empty when nothing is known.
pub(crate) fn lead(evidence: &Evidence<'_>) -> String {
    let mut parts = Vec::new();
    if let Some(model) = evidence.model.filter(|model| model.objective.is_some()) {
        let (what, how) = finding::binding(&model.capacity, model);
        parts.push(match (model.binding_route(), model.capacity.binding) {
            (Some(bound), Binding::Latency(measure)) => {
                format!("{} of {} binds ({how})", measure.name(), bound.route)
            }
            _ if how.is_empty() => format!("bound by {what}"),
            _ => format!("bound by {what} ({how})"),
        });
    }
    if let Some(forecast) = evidence.forecast {
        if let Some(exhaustion) = &forecast.exhaustion
            && forecast.exceeded_since().is_none()
        {
            let month =
                |at: jiff::civil::DateTime| format!("{} {}", words::month_name(at.month()), at.year());
            let late = exhaustion.p90.map_or_else(|| "beyond the horizon".to_owned(), month);
            parts.push(match (exhaustion.p10, exhaustion.p50) {
                (Some(early), Some(middle)) if month(early) == late => {
                    format!("exhausted in {} (10–90 %)", month(middle))
                }
                (Some(early), Some(middle)) => {
                    format!("exhausted around {} (10–90 %: {} – {late})", month(middle), month(early))
                }
                (Some(early), None) => format!("exhausted in {} at the earliest (10 %)", month(early)),
                _ => "not exhausted within the horizon".to_owned(),
            });
        }
        if let Some(plan) = &forecast.plan {
            parts.push(plan.orders.first().map_or_else(
                || format!("{} of today suffice", words::machines(plan.given.instances)),
                |order| {
                    let machines = words::machines(order.instances);
                    if is_overdue(forecast, order) {
                        format!("order {machines} now")
                    } else {
                        format!("order {machines} by {}", words::date(order.by))
                    }
                },
            ));
        }
    }
    let text = parts.join("; ");
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        // A quantile keeps its name: p95.
        let first = if text.starts_with('p') && text[1..].starts_with(|it: char| it.is_ascii_digit()) {
            first.to_string()
        } else {
            first.to_uppercase().to_string()
        };
        format!("{first}{}.", letters.as_str())
    })
}

/// Whether the last day for an order lies before the forecast begins.
fn is_overdue(forecast: &Forecast, order: &Order) -> bool {
    forecast.steps.first().is_some_and(|step| order.by < step.at.date())
}
