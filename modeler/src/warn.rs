//! What a reader must know before believing a model.

use crate::bounds::Verdict;
use crate::capacity::{Capacity, LowerBound};
use crate::model::{LoadUnit, ModelRequest};
use crate::plateau::change_ratio;
use crate::point::Point;
use crate::predict::Prediction;
use crate::study::Study;

/// With fewer loads an answer is only indicative.
const ENOUGH_LOADS: usize = 5;
/// In flight, throughput and response that disagree by more than this share are named.
const LITTLE_RATIO: f64 = 0.05;
/// A back-test that misses by more than this share is named.
const BACKTEST_RATIO: f64 = 0.1;

/// Whole sentences, in a fixed order.
pub(crate) fn warnings(
    study: &Study<'_>,
    points: &[Point],
    levels: usize,
    capacity: &Capacity,
    predictions: &[Prediction],
    request: &ModelRequest,
) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut say = |applies: bool, sentence: String| {
        if applies {
            warnings.push(sentence);
        }
    };
    let held_back = request.held_back_ratio;
    say(
        held_back > 0.0,
        format!(
            "Partial mix: {:.1} % of the capture's requests were held back from the replay.",
            held_back * 100.0
        ),
    );
    say(
        levels < ENOUGH_LOADS,
        format!(
            "{levels} different loads: the answer is indicative only; {ENOUGH_LOADS} or more make it firm."
        ),
    );
    capacity_warnings(study, capacity, &mut say);
    say(
        study.concluded.by_resource,
        "No load beyond the ceiling was measured: it is where an observed resource runs out by the utilisation law."
            .to_owned(),
    );
    for point in points.iter().filter(|point| point.draining) {
        say(true, format!("{}: still working off an earlier backlog; not used.", point.source));
    }
    for point in points.iter().filter(|point| !point.saturated && !point.draining) {
        let change = change_ratio(&point.windows).unwrap_or(0.0);
        say(
            change != 0.0,
            format!(
                "{}: not steady: the number in flight changed by {:+.0} % of its level while the load was held (Mann and Kendall); hold it for longer.",
                point.source,
                change * 100.0
            ),
        );
    }
    if let Some(sentence) = little(points) {
        say(true, sentence);
    }
    let windowed = points.iter().filter(|point| !point.windows.is_empty());
    for point in windowed.filter(|point| !point.saturated && !point.draining) {
        let gap = point.little_gap_ratio.unwrap_or(0.0);
        say(
            gap > LITTLE_RATIO,
            format!(
                "{}: in flight and throughput × response differ by {:.0} % (Little's law); the window may not be steady.",
                point.source,
                gap * 100.0
            ),
        );
    }
    for fit in study.fits.iter().filter(|fit| fit.excluded.is_some() && fit.family == crate::Family::Usl) {
        let reason = fit.excluded.as_deref().unwrap_or_default();
        say(reason.starts_with("foretells"), format!("The USL {reason}; it has no weight."));
    }
    if let Some(test) = study.backtest {
        say(
            test.mean_error_ratio > BACKTEST_RATIO,
            format!(
                "Back-test: fitted on the lower {} loads, the model misses the upper {} by {:.0} % in the mean.",
                test.fitted,
                test.predicted,
                test.mean_error_ratio * 100.0
            ),
        );
    }
    for prediction in predictions {
        let factor = prediction.load / study.largest_load;
        let sentence = match prediction.verdict {
            Verdict::Measured => continue,
            Verdict::Extrapolated => "extrapolated",
            Verdict::LowConfidence => "low confidence",
            Verdict::Refused if prediction.forced => "answered by force",
            Verdict::Refused => "refused, only bounds are given",
        };
        say(
            true,
            format!("Load {} is {factor:.2} times the largest measured load: {sentence}.", prediction.load),
        );
    }
    warnings
}

/// What Little's law says of the rows of a table, and how long they lasted by it; `None` when it holds.
fn little(points: &[Point]) -> Option<String> {
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        crate::resample::quantile_of(&values, 0.5)
    };
    let rows: Vec<(f64, f64)> = points
        .iter()
        .filter(|point| point.windows.is_empty() && point.little_gap_ratio.is_some())
        .filter_map(|point| {
            let in_flight = point.throughput.as_per_second() * point.mean_response?.as_secs_f64();
            Some((in_flight / point.concurrency?, point.length.as_secs_f64()))
        })
        .collect();
    if rows.is_empty() {
        return None;
    }
    let ratio = median(rows.iter().map(|row| row.0).collect());
    if (ratio - 1.0).abs() <= LITTLE_RATIO {
        return None;
    }
    let told = median(rows.iter().map(|row| row.1).collect());
    let lasted = if told > 0.0 {
        format!(": the rows lasted about {:.1} s, not {told:.0} s", ratio * told)
    } else {
        ": the time that requests were counted over is not what it was taken for".to_owned()
    };
    Some(format!(
        "Throughput × response is {ratio:.3} of what is in flight, in the median of {} rows (Little's law){lasted}.",
        rows.len()
    ))
}

fn capacity_warnings(study: &Study<'_>, capacity: &Capacity, say: &mut impl FnMut(bool, String)) {
    let open = study.unit == LoadUnit::Offered;
    let next = capacity.next_load.as_per_second();
    say(
        open && capacity.highest_pass.is_none(),
        format!("No measured load met the objective; measure lower ones, e.g. {next:.0} rps."),
    );
    say(
        open && capacity.lowest_fail.is_none(),
        format!(
            "Every measured load met the objective: the capacity is not bracketed; measure higher loads, e.g. {next:.0} rps."
        ),
    );
    say(
        !open && !capacity.bracketed,
        format!(
            "No plateau was measured: the throughput may still rise; measure higher loads, e.g. {next:.0} in flight."
        ),
    );
    if let Some(sentence) = capacity.lower_bound.map(lower_bound) {
        say(true, sentence);
        return;
    }
    let beyond = match capacity.verdict {
        Verdict::Measured => None,
        Verdict::Extrapolated => Some("extrapolated beyond the largest measured load"),
        Verdict::LowConfidence => Some("beyond 1.5 times the largest measured load: low confidence"),
        Verdict::Refused => Some(
            "beyond twice the largest measured load: what is given is the highest load that was measured to pass",
        ),
    };
    if let Some(beyond) = beyond {
        say(true, format!("The capacity is {beyond}."));
    }
}

/// Why no more than a lower bound is given, and what would give more.
fn lower_bound(why: LowerBound) -> String {
    let begin = "Lower bound only: what is given is the highest load that was measured to pass";
    match why {
        LowerBound::TooFar => {
            format!("{begin}; the capacity lies beyond twice the largest measured load, or nowhere in sight.")
        }
        LowerBound::NothingObserved { guess } => format!(
            "{begin}. No load failed, and no resource was observed whose limit is known; the responses alone lead to about {:.0} req/s, which is a guess. Observe the target (replay --observe …), or measure until a load fails.",
            guess.as_per_second()
        ),
        LowerBound::NotCovered { guess, explained_ratio } => format!(
            "{begin}. No load failed, and what was observed explains {:.0} % of a response without load: requests spend the rest where nobody looked, and that may end first. The responses lead to about {:.0} req/s, which is a guess. Observe what they wait for (a pool, a database), or measure until a load fails.",
            explained_ratio * 100.0,
            guess.as_per_second()
        ),
    }
}
