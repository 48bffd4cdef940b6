//! The date on which capacity runs out, from the history and from simulated paths.
//!
//! What was observed comes first: a capacity that the latest season already exceeded does not run out in the
//! future.

use jiff::civil::DateTime;

use super::demand::{View, share_short};
use super::history::{History, Step};
use super::types::{Exhaustion, ExhaustionMonth, ExhaustionStep};

/// So many steps of the history are looked back through at most.
const MOST_LOOKED_BACK: usize = 100_000;

/// When the paths of `view` run out; `volume_per_rate` turns a rate into a volume of a step of the history.
pub(super) fn of(history: &History, view: &View<'_>, volume_per_rate: f64) -> Exhaustion {
    let futures = view.futures;
    let moments = &futures.moments;
    let volume = |path: usize| view.capacity_of(path) * volume_per_rate;
    // Where all paths have one capacity, the past is looked through once.
    let exact = (1..futures.luck.len()).all(|path| view.capacity_of(path) == view.capacity_of(0));
    let given = if exact && !futures.luck.is_empty() { exceeded_since(history, volume(0)) } else { None };
    let mut first: Vec<Option<DateTime>> = (0..futures.peaks.len())
        .map(|path| {
            let past = if exact { given } else { exceeded_since(history, volume(path)) };
            past.or_else(|| view.first_excess(path).map(|step| moments[step]))
        })
        .collect();
    // Those that never run out come last.
    first.sort_by_key(|at| at.unwrap_or(DateTime::MAX));
    let count = first.len().max(1);
    let date = |probability: f64| {
        let place = ((probability * count as f64).ceil() as usize).clamp(1, count) - 1;
        first.get(place).copied().flatten()
    };
    let mut passed = 0;
    let by_date: Vec<ExhaustionStep> = moments
        .iter()
        .map(|at| {
            while first.get(passed).is_some_and(|each| each.is_some_and(|each| each <= *at)) {
                passed += 1;
            }
            ExhaustionStep { at: *at, probability: passed as f64 / count as f64 }
        })
        .collect();
    let mut before = 0.0;
    let by_month = futures
        .months()
        .into_iter()
        .map(|(month, steps)| {
            let until = by_date[steps.end - 1].probability;
            let probability = until - std::mem::replace(&mut before, until);
            ExhaustionMonth { month, probability, shortage: share_short(&view.highest(&steps)) }
        })
        .collect();
    Exhaustion {
        p10: date(0.1),
        p50: date(0.5),
        p90: date(0.9),
        beyond_ratio: first.iter().filter(|at| at.is_none()).count() as f64 / count as f64,
        by_date,
        by_month,
    }
}

/// Since when steps have exceeded `volume`; `None` when the latest season does not.
///
/// Quiet days between busy ones do not end it: it goes on while no more than a season passes between two steps
/// that exceed. One step alone counts only when it is the last one; else it may have been an event.
pub(crate) fn exceeded_since(history: &History, volume: f64) -> Option<DateTime> {
    let patience = match history.step {
        Step::Week => 1,
        step => step.season(),
    };
    let known = history.observations.iter().rev().take(MOST_LOOKED_BACK).filter_map(|each| {
        let exceeds = each.volume? > volume;
        Some((each.at, exceeds))
    });
    let (mut since, mut quiet, mut latest, mut last_exceeds) = (None, 0, 0_usize, false);
    for (place, (at, exceeds)) in known.enumerate() {
        if exceeds {
            (since, quiet) = (Some(at), 0);
            latest += usize::from(place < patience);
            last_exceeds |= place == 0;
        } else {
            quiet += 1;
        }
        if quiet >= patience {
            break;
        }
    }
    since.filter(|_| last_exceeds || latest >= 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::history::Observation;

    fn check(volumes: &[f64], step: Step, day: Option<i8>) {
        let observations = volumes
            .iter()
            .enumerate()
            .map(|(index, &volume)| Observation {
                at: step.moment_after(jiff::civil::date(2026, 1, 1).at(0, 0, 0, 0), index),
                volume: Some(volume),
            })
            .collect();
        let since = exceeded_since(&History { step, observations }, 10.0);
        assert_eq!(since.map(|at| at.date().day()), day, "{volumes:?}");
    }

    #[test]
    fn a_capacity_is_exceeded_since_the_first_step_of_the_latest_streak() {
        check(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], Step::Day, None);
        check(&[11.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], Step::Day, None);
        check(&[1.0, 1.0, 1.0, 11.0], Step::Day, Some(4));
        // A quiet weekend does not end it.
        check(&[1.0, 11.0, 12.0, 13.0, 11.0, 2.0, 2.0], Step::Day, Some(2));
        // One busy day in the week before the last step may have been an event.
        check(&[1.0, 1.0, 1.0, 11.0, 1.0, 1.0], Step::Day, None);
        check(&[11.0, 1.0, 11.0], Step::Week, Some(15));
    }
}
