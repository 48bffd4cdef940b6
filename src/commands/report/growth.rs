//! Reads back what `highwater forecast` wrote, to draw it in a page with the rest.
//!
//! `forecast.json` holds the future but not the history; that is drawn from `history.csv` where one lies
//! beside it.

use std::fs;
use std::path::{Path, PathBuf};

use captures::Rate;
use modeler::{
    Bounds, CapacityGiven, Event, Exhaustion, ExhaustionMonth, ExhaustionStep, Forecast, ForecastScore,
    ForecastStep, Foretold, History, PeakFactor, Step, StoredForecast, StoredPlan, StoredRisk,
    StoredScenario, TrendChange, moment_of,
};

use super::{files, not_ours};
use crate::complain::Complaint;

/// The forecast in `folder` or in its folder `forecast`; `None` when there is none.
pub(super) fn found_in(folder: &Path) -> Result<Option<Forecast>, Complaint> {
    let inner = folder.join("forecast");
    let Some(place) = [folder, &inner].into_iter().find(|place| place.join("forecast.json").exists()) else {
        return Ok(None);
    };
    let path = place.join("forecast.json");
    let bytes = fs::read(&path).map_err(|error| Complaint::cannot_open(&path, &error))?;
    let stored: StoredForecast = serde_json::from_slice(&bytes).map_err(|_| not_ours(&path))?;
    let mut forecast = restored(&stored).ok_or_else(|| not_ours(&path))?;
    let history =
        [place, folder].into_iter().map(|place| place.join("history.csv")).find(|path| path.exists());
    if let Some(history) = history {
        add_history(&mut forecast, &history)?;
    }
    Ok(Some(forecast))
}

fn add_history(forecast: &mut Forecast, path: &PathBuf) -> Result<(), Complaint> {
    let text = fs::read_to_string(path).map_err(|error| Complaint::cannot_open(path, &error))?;
    let history = History::parse(&text).map_err(|_| not_ours(path))?;
    if history.step != forecast.step {
        return Ok(());
    }
    let future = forecast.steps.first().map(|step| step.at);
    forecast.history = history.observations;
    forecast.history.retain(|observation| future.is_none_or(|future| observation.at < future));
    // What its author wrote over it, a reader must know: that it was invented, for one.
    if let Some(remark) = text.lines().next().and_then(|line| line.strip_prefix('#')) {
        forecast.warnings.insert(0, format!("The history says of itself: {}", files::plain(remark.trim())));
    }
    Ok(())
}

fn restored(stored: &StoredForecast) -> Option<Forecast> {
    let day = |text: &str| moment_of(text).map(|at| at.date());
    let steps = stored.steps.iter().map(|step| {
        Some(ForecastStep {
            at: moment_of(&step.ds)?,
            volume: step.yhat,
            interval_80: bounds(step.interval_80),
            interval_95: bounds(step.interval_95),
            mean_rate: Rate::per_second(step.mean_rate)?,
            peak_rate: Rate::per_second(step.peak_rate)?,
            event_multiple: step.event_multiple,
        })
    });
    let steps: Vec<ForecastStep> = steps.collect::<Option<_>>()?;
    let events = stored.events.iter().map(|event| {
        Some(Event {
            name: event.name.clone(),
            first: day(&event.first)?,
            last: day(&event.last)?,
            multiple: event.multiple,
            spread: event.spread,
            fitted_from: event.fitted_from,
        })
    });
    Some(Forecast {
        step: step_of(stored.step_seconds)?,
        history: Vec::new(),
        capacity: stored.capacity.as_ref().and_then(|capacity| {
            let rates =
                capacity.interval.map(|[low, high]| Rate::per_second(low).zip(Rate::per_second(high)));
            Some(CapacityGiven {
                rate: Rate::per_second(capacity.rate_per_second)?,
                interval: rates.flatten().map(|(low, high)| Bounds { low, high }),
            })
        }),
        capacity_volume: stored.capacity.as_ref().and_then(|capacity| capacity.volume_per_step),
        events: events.collect::<Option<_>>()?,
        peak_factor: stored.peak_factor.map_or(PeakFactor::MeanOnly, PeakFactor::Given),
        exhaustion: stored.exhaustion.as_ref().map(|exhaustion| {
            let moment = |text: &Option<String>| text.as_deref().and_then(moment_of);
            let by_date = steps.iter().zip(&exhaustion.probability);
            Exhaustion {
                p10: moment(&exhaustion.p10),
                p50: moment(&exhaustion.p50),
                p90: moment(&exhaustion.p90),
                beyond_ratio: exhaustion.beyond_horizon_ratio,
                by_date: by_date
                    .map(|(step, &probability)| ExhaustionStep { at: step.at, probability })
                    .collect(),
                by_month: exhaustion
                    .by_month
                    .iter()
                    .filter_map(|month| {
                        Some(ExhaustionMonth {
                            month: day(&month.month)?,
                            probability: month.probability,
                            shortage: month.shortage,
                        })
                    })
                    .collect(),
            }
        }),
        plan: match &stored.plan {
            Some(plan) => Some(StoredPlan::plan(plan)?),
            None => None,
        },
        scenarios: stored.scenarios.iter().map(StoredScenario::answer).collect::<Option<_>>()?,
        risks: stored.risks.iter().map(StoredRisk::risk).collect::<Option<_>>()?,
        tried: stored
            .tried
            .iter()
            .map(|origin| {
                let foretold =
                    |(at, volume): &(String, f64)| Some(Foretold { at: moment_of(at)?, volume: *volume });
                origin.iter().map(foretold).collect::<Option<Vec<_>>>()
            })
            .collect::<Option<_>>()?,
        growth_per_year_ratio: stored.growth_per_year_ratio,
        changes: stored
            .changes
            .iter()
            .map(|change| {
                Some(TrendChange {
                    at: moment_of(&change.ds)?,
                    growth_before_ratio: change.growth_before_ratio,
                    growth_after_ratio: change.growth_after_ratio,
                    level_ratio: change.level_ratio,
                })
            })
            .collect::<Option<_>>()?,
        score: stored.backtest.as_ref().map(|score| ForecastScore {
            origins: score.origins,
            mase: score.mase,
            coverage_80: score.coverage_80,
            coverage_95: score.coverage_95,
            typical_miss_ratio: score.typical_miss_ratio,
        }),
        warnings: stored.warnings.clone(),
        seed: stored.seed,
        steps,
    })
}

fn bounds([low, high]: [f64; 2]) -> Bounds<f64> {
    Bounds { low, high }
}

fn step_of(seconds: u64) -> Option<Step> {
    match seconds {
        3_600 => Some(Step::Hour),
        86_400 => Some(Step::Day),
        604_800 => Some(Step::Week),
        _ if seconds > 0 && seconds.is_multiple_of(60) => u32::try_from(seconds / 60).ok().map(Step::Minutes),
        _ => None,
    }
}
