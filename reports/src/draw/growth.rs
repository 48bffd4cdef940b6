//! The chart of growth.

use jiff::civil::DateTime;
use modeler::{Bounds, Event, Forecast};

use super::caption;
use crate::chart::{Fan, Growth, Happening, Level, RunningOut};
use crate::{finding, title, words};

/// A growth chart has at most this many places of history and of future together.
const MOST_STEPS: usize = 320;

/// Events that are marked.
const MOST_EVENTS: usize = 6;
/// Changes of the trend that are marked, the latest.
const MOST_CHANGES: usize = 2;

/// History, forecast, capacity and events.
pub(super) fn growth(forecast: &Forecast) -> Growth {
    let step = forecast.step.length().as_secs_f64();
    let factor = forecast.peak_factor.factor() / step;
    let bucket = (forecast.history.len() + forecast.steps.len()).div_ceil(MOST_STEPS).max(1);
    // Whole weeks, so that each place holds each day once.
    let bucket =
        if bucket > 1 && step > 80_000.0 && step < 90_000.0 { bucket.div_ceil(7) * 7 } else { bucket };
    // What is left over at either end would look like a fall.
    let whole = |length: usize| length == bucket || bucket == 1;
    // The busiest step of each bucket stands for it, at its own date: there events and exhaustion stand too.
    let history =
        forecast.history.rchunks(bucket).rev().filter(|chunk| whole(chunk.len())).filter_map(|chunk| {
            let known = chunk.iter().filter_map(|seen| Some((epoch(seen.at), seen.volume?)));
            let busiest = known.max_by(|one, other| one.1.total_cmp(&other.1));
            let (at, volume) = busiest.map_or((epoch(chunk.first()?.at), None), |(at, it)| (at, Some(it)));
            Some((at, volume.map(|volume| volume * factor)))
        });
    let scaled = |range: &Bounds<f64>| (range.low * factor, range.high * factor);
    let fan = forecast.steps.chunks(bucket).filter(|chunk| whole(chunk.len())).filter_map(|chunk| {
        let busiest = chunk.iter().max_by(|one, other| one.volume.total_cmp(&other.volume))?;
        Some(Fan {
            at: epoch(busiest.at),
            middle: busiest.volume * factor,
            inner: scaled(&busiest.interval_80),
            outer: scaled(&busiest.interval_95),
        })
    });
    let each = match forecast.step {
        modeler::Step::Minutes(minutes) => format!("{bucket} steps of {minutes} minutes"),
        modeler::Step::Hour => format!("{bucket} hours"),
        modeler::Step::Day => format!("{bucket} days"),
        modeler::Step::Week => format!("{bucket} weeks"),
    };
    let place = if bucket > 1 { format!("Each point is the busiest of {each}; ") } else { String::new() };
    let peak = match forecast.peak_factor {
        modeler::PeakFactor::Given(factor) | modeler::PeakFactor::Measured { factor, .. } => {
            format!("busiest minute = mean × {}", words::number(factor))
        }
        modeler::PeakFactor::MeanOnly => "means only: no peak factor is known".to_owned(),
    };
    Growth {
        caption: caption(
            "growth",
            title::growth(forecast),
            format!(
                "{place}{peak}; trend and seasons continued as simulated paths, shaded: 80 % and 95 % of them; the date \
                 comes from the paths, not from the border of the shade"
            ),
        ),
        y_name: match forecast.peak_factor {
            modeler::PeakFactor::Given(_) | modeler::PeakFactor::Measured { .. } => {
                "requests per second in the busiest minute".to_owned()
            }
            modeler::PeakFactor::MeanOnly => "requests per second, mean".to_owned(),
        },
        history: history.collect(),
        today: forecast.steps.first().map(|step| epoch(step.at)),
        fan: fan.collect(),
        capacity: forecast.capacity.map(|capacity| Level {
            at: capacity.rate.as_per_second(),
            interval: capacity.interval.map(|it| (it.low.as_per_second(), it.high.as_per_second())),
            label: format!("capacity {}", words::rate(capacity.rate)),
        }),
        events: weightiest(forecast)
            .into_iter()
            .map(|event| Happening {
                at: epoch(event.first.at(0, 0, 0, 0)),
                label: format!("{} {}", event.name, words::times(event.multiple)),
            })
            .chain(forecast.changes.iter().rev().take(MOST_CHANGES).map(|change| Happening {
                at: epoch(change.at),
                label: format!(
                    "trend {} → {} a year",
                    finding::signed_percent(change.growth_before_ratio),
                    finding::signed_percent(change.growth_after_ratio)
                ),
            }))
            .collect(),
        running_out: running_out(forecast),
    }
}

/// The events that move the load most, in their order: a whole calendar of holidays has no room.
fn weightiest(forecast: &Forecast) -> Vec<&Event> {
    let mut events: Vec<&Event> = forecast.events.iter().collect();
    let weight = |event: &Event| event.multiple.max(1e-9).ln().abs();
    events.sort_by(|one, other| weight(other).total_cmp(&weight(one)));
    events.truncate(MOST_EVENTS);
    events.sort_by_key(|event| event.first);
    events
}

fn running_out(forecast: &Forecast) -> Option<RunningOut> {
    let exhaustion = forecast.exhaustion.as_ref()?;
    let middle = exhaustion.p50?;
    let horizon = forecast.steps.last().map(|step| epoch(step.at));
    let late = exhaustion.p90.map(epoch).or(horizon);
    let day = |at: DateTime| words::date(at.date());
    let early = exhaustion.p10.filter(|&early| early < middle);
    let sure = match (early, exhaustion.p90) {
        (Some(early), Some(late)) => format!("80 %: {} – {}", day(early), day(late)),
        (None, Some(late)) => format!("90 % by {}", day(late)),
        (_, None) => {
            format!("on {} of the paths by the horizon", words::percent(1.0 - exhaustion.beyond_ratio))
        }
    };
    let label = match forecast.exceeded_since() {
        Some(since) => format!("exceeded since {}", day(since)),
        None => format!("runs out {} ({sure})", day(middle)),
    };
    Some(RunningOut { at: epoch(middle), interval: early.map(epoch).zip(late), label })
}

/// Seconds since 1970-01-01 UTC.
pub(super) fn epoch(at: DateTime) -> f64 {
    words::epoch_of(at.date()).unwrap_or(0.0)
        + f64::from(at.hour()) * 3_600.0
        + f64::from(at.minute()) * 60.0
        + f64::from(at.second())
}
